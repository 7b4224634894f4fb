/* The steps of a launch, and their undoing: each takes something, and returns what is wrong. */
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/efi.h>
#include <linux/kernel_read_file.h>
#include <linux/mem_encrypt.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/stop_machine.h>
#include <linux/version.h>
#include <linux/vmalloc.h>
#include <asm/apic.h>
#include <asm/debugreg.h>
#include <asm/fpu/api.h>
#include <asm/fpu/xcr.h>
#include <asm/msr.h>

#include "launch.h"

#define LOW          0x8000          /* low.S */
#define KERNEL_END   (1022ull << 20) /* boot/uefi/handover.h: UEFI_LIMIT */
#define FOUR_GIB     (1ull << 32)
#define WAIT_MS      60000 /* for Hairline to be ready */
#define READY        1     /* abi/boot.h: enum boot_answer */
#define WANTED       1     /* abi/boot.h: enum boot_leave */
#define GRANTED      2
#define X2APIC_LVTPC 0x834
#define X2APIC_LVTX  0x850 /* AMD's further ones, of which one counts instructions (IBS) */
#define COUNTERS     5
#define SVM_OFF      0x10 /* in VM_CR: SVMDIS */
#define SYSCFG_MSR   0xc0010010
#define SNP_ON       0x1000000 /* in SYSCFG: SNPEn */
#define LARGE_TABLE  0x63      /* present, writable, accessed, dirty */
#define LARGE        0xe3      /* the same, of 1 GiB */

static struct launch now;
static u64 *top, *lower; /* page tables */
static u8 *low_before;   /* what was in low memory */
static atomic_t come;
static u64 stopped; /* so many ticks of the TSC did Linux stand for the last launch or leave */
module_param(stopped, ullong, 0400);
static int fail_at; /* for tests: the step that fails, from 1 on */
module_param(fail_at, int, 0600);

static char *path; /* of the file */

static const char *read_file(void)
{
    void *file = NULL;
    ssize_t size = kernel_read_file_from_path(path, 0, &file, INT_MAX, NULL, READING_FIRMWARE);
    if (size < 0)
        return "the file cannot be read: name that of `hairline build --efi`, by its whole path";
    now = (struct launch){.file = file, .size = size};
    return image_read(&now);
}

static void drop_file(void)
{
    vfree(now.file);
    now.file = NULL;
}

static bool has_svm_on(void)
{
    unsigned int cpu;
    u64 efer;
    for_each_online_cpu(cpu) if (rdmsrl_on_cpu(cpu, MSR_EFER, &efer) ||
                                 efer & EFER_SVME) return true;
    return false;
}

static const char *check_machine(void)
{
    u64 vm_cr = 0, syscfg = 0;
    if (!boot_cpu_has(X86_FEATURE_SVM) || rdmsrl_safe(MSR_VM_CR, &vm_cr))
        return "this processor has no AMD virtualization (SVM): use another machine";
    if (vm_cr & SVM_OFF)
        return "the firmware has locked SVM off: enable it there";
    if (!x2apic_enabled())
        return "Linux is in xAPIC mode: switch interrupt remapping on in the firmware";
    if (__read_cr4() & X86_CR4_LA57)
        return "Linux runs with 5-level page tables: boot it with no5lvl";
    if (sme_me_mask)
        return "Linux encrypts memory (SME): boot it with mem_encrypt=off";
    if (!rdmsrl_safe(SYSCFG_MSR, &syscfg) && syscfg & SNP_ON)
        return "Linux checks who owns memory (SNP): switch it off in the firmware";
    if (__read_cr4() >> 32 & 1)
        return "Linux runs with FRED: boot it with fred=off";
    /* INVLPGB, bit 3 of that word, is #UD in a guest (APM2 B, VMCB 090h). */
    if (LINUX_VERSION_CODE >= KERNEL_VERSION(6, 15, 0) && boot_cpu_has(13 * 32 + 3))
        return "Linux flushes by INVLPGB: boot it with clearcpuid=419";
    /* Linux 5.13 and later reserve the first 64 KiB, for firmware that writes there. */
    if (!page_is_ram(LOW >> PAGE_SHIFT) || !PageReserved(pfn_to_page(LOW >> PAGE_SHIFT)))
        return "the page at 8000h is not free: use Linux 5.13 or later, or other firmware";
    if (has_svm_on())
        return "KVM is loaded: end its VMs and unload kvm_amd";
    if (num_online_cpus() <= now.kept || now.kept > LAUNCH_KEPT)
        return "no processor would be left for Linux: lower `cores` in the plan";
    return NULL;
}

static const char *take_memory(void)
{
    if (!memory_take(&now.kernel, KERNEL_END))
        return "no memory in one piece below 1 GiB: free some, or launch sooner after boot";
    if (!memory_take(&now.memory, FOUR_GIB))
        return "no memory in one piece below 4 GiB for the VMs: free some, or give them less";
    return NULL;
}

static void give_memory(void)
{
    memory_give(&now.memory);
    memory_give(&now.kernel);
}

static const char *place_image(void)
{
#ifdef CONFIG_EFI
    now.rsdp = efi.acpi20 == EFI_INVALID_TABLE_ADDR ? 0 : efi.acpi20;
#endif
    now.wish = alloc_pages_exact((1 + LAUNCH_LINE) * PAGE_SIZE, GFP_KERNEL | __GFP_ZERO);
    if (!now.wish)
        return "there is no memory for a few pages: free some";
    now.cpus = num_online_cpus();
    image_place(&now, __pa(now.wish));
    return NULL;
}

/* Who has its pages mapped keeps them. */
static void drop_line(void)
{
    if (now.wish)
        free_pages_exact(now.wish, (1 + LAUNCH_LINE) * PAGE_SIZE);
    now.wish = NULL;
}

struct page *steps_line(unsigned long i)
{
    return now.wish && i < LAUNCH_LINE ? virt_to_page(now.wish) + 1 + i : NULL;
}

/* The first 4 GiB one to one, and Linux's half. */
static const char *make_tables(void)
{
    unsigned int i;
    top = (u64 *)get_zeroed_page(GFP_KERNEL);
    lower = (u64 *)get_zeroed_page(GFP_KERNEL);
    if (!top || !lower)
        return "there is no memory for page tables: free some";
    memcpy(top + 256, (u64 *)__va(read_cr3_pa()) + 256, 2048);
    top[0] = __pa(lower) | LARGE_TABLE;
    for (i = 0; i < 4; i++)
        lower[i] = (u64)i << 30 | LARGE;
    return NULL;
}

static void free_tables(void)
{
    free_page((unsigned long)top);
    free_page((unsigned long)lower);
    top = lower = NULL;
}

static const char *take_low(void)
{
    u32 *value = __va(LOW + (low_values - low_start));
    low_before = kmemdup(__va(LOW), PAGE_SIZE, GFP_KERNEL);
    if (!low_before)
        return "there is no memory for what is in low memory: free some";
    memcpy(__va(LOW), low_start, low_end - low_start);
    value[LOW_ENTRY] = now.entry;
    value[LOW_HANDOVER] = now.handover;
    value[LOW_CALLED] = now.called;
    *(u64 *)(value + LOW_TABLES) = __pa(top);
    *(u64 *)(value + LOW_BACK) = (u64)late_back;
    return NULL;
}

static void give_low(void)
{
    if (low_before)
        memcpy(__va(LOW), low_before, PAGE_SIZE);
    kfree(low_before);
    low_before = NULL;
}

static const char *take_processors(void) { return processors_take(&now); }

static const char *start_hairline(void)
{
    u32 *value = __va(LOW + (low_values - low_start));
    unsigned long until = jiffies + msecs_to_jiffies(WAIT_MS);
    value[LOW_FIRST] = processors_wake(LOW);
    image_begin(&now, __pa(top), LOW + (low_leave - low_start));
    while (!image_answer(&now) && time_before(jiffies, until))
        msleep(1);
    if (!image_answer(&now))
        return "Hairline does not come up: its console says why, if it has one";
    return image_answer(&now) == READY ? NULL : "Hairline refuses: its console says why";
}

static u32 counter_lvt(unsigned int i) { return i ? X2APIC_LVTX + i - 1 : X2APIC_LVTPC; }

/* With interrupts off, and all others in here, too. */
static int go_under(void *unused)
{
    unsigned long dr[4];
    unsigned int i, counters = boot_cpu_has(X86_FEATURE_EXTAPIC) ? COUNTERS : 1;
    u64 number; /* of this processor, which user space reads by RDTSCP */
    u64 lvt[COUNTERS], xcr0 = boot_cpu_has(X86_FEATURE_OSXSAVE) ? xgetbv(0) : 0;
    if (num_online_cpus() + now.kept != now.cpus)
        return -EAGAIN;
    kernel_fpu_begin();
    /* An NMI that comes while there is no table of Linux's would reset the machine. */
    for (i = 0; i < counters; i++)
        if (!rdmsrl_safe(counter_lvt(i), &lvt[i]))
            wrmsrl_safe(counter_lvt(i), lvt[i] | APIC_LVT_MASKED);
    rdmsrl(MSR_TSC_AUX, number);
    get_debugreg(dr[0], 0);
    get_debugreg(dr[1], 1);
    get_debugreg(dr[2], 2);
    get_debugreg(dr[3], 3);
    late_slide(image_cpu(&now, atomic_inc_return(&come) - 1));
    set_debugreg(dr[0], 0);
    set_debugreg(dr[1], 1);
    set_debugreg(dr[2], 2);
    set_debugreg(dr[3], 3);
    wrmsrl(MSR_TSC_AUX, number);
    if (xcr0)
        xsetbv(0, xcr0); /* a vCPU begins with the states that a VMM may ask for: x87, SSE, AVX */
    for (i = 0; i < counters; i++)
        wrmsrl_safe(counter_lvt(i), lvt[i]);
    kernel_fpu_end();
    return 0;
}

static bool stop_and(int (*act)(void *))
{
    u64 begin = rdtsc_ordered();
    int status = stop_machine(act, NULL, cpu_online_mask);
    stopped = rdtsc_ordered() - begin;
    return !status;
}

/* From then on Hairline's memory reads as ones, its answer too. */
static const char *slide(void)
{
    atomic_set(&come, 0);
    if (has_svm_on())
        return "a VM of KVM's was started meanwhile: end it";
    if (!stop_and(go_under))
        return "a processor came or went meanwhile: try again";
    return image_answer(&now) == ~0u ? NULL
                                     : "Hairline does not take the system: its console says why";
}

static const struct {
    const char *(*take)(void);
    void (*give)(void);
} step[] = {{read_file, drop_file},
            {check_machine, NULL},
            {take_memory, give_memory},
            {place_image, drop_line},
            {make_tables, free_tables},
            {take_low, give_low},
            {take_processors, processors_give},
            {start_hairline, processors_free_hotplug},
            {slide, NULL}};

static void undo(unsigned int steps)
{
    for (; steps > 0; steps--)
        if (step[steps - 1].give)
            step[steps - 1].give();
}

const char *steps_launch(char *file)
{
    const char *wrong = NULL;
    unsigned int i;
    path = file;
    for (i = 0; i < ARRAY_SIZE(step) && !wrong; i++) {
        wrong = "fail_at says so: take it away";
        if (fail_at != i + 1)
            wrong = step[i].take();
    }
    if (wrong) {
        undo(i);
        return wrong;
    }
    processors_free_hotplug();
    drop_file();
    return NULL;
}

/* ---- the way back ------------------------------------------------------------ */
static int come_up(void *unused)
{
    int status;
    if (num_online_cpus() + now.kept != now.cpus)
        return -EAGAIN;
    kernel_fpu_begin();
    status = late_ask();
    kernel_fpu_end();
    return status ? -EIO : 0;
}

const char *steps_leave(void)
{
    unsigned long until = jiffies + msecs_to_jiffies(WAIT_MS);
    if (num_online_cpus() + now.kept != now.cpus)
        return "a processor is off: switch it on first";
    cmpxchg(now.wish, 0, WANTED);
    while (READ_ONCE(*now.wish) != GRANTED && time_before(jiffies, until))
        msleep(10);
    if (cmpxchg(now.wish, WANTED, 0) != GRANTED)
        return "Hairline does not end its VMs: its console says why";
    if (!stop_and(come_up))
        return "a processor came or went meanwhile: try again";
    undo(ARRAY_SIZE(step));
    return NULL;
}
