/*
 * hairline.ko: a launch beneath the Linux that runs, and the way back (docs/host-mode.md). FILE is
 * of `hairline build --efi`; what a step took is given back when a later one fails:
 *
 *   echo FILE >/sys/module/hairline/parameters/launch
 *   echo 1 >/sys/module/hairline/parameters/leave
 */
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/efi.h>
#include <linux/kernel_read_file.h>
#include <linux/mem_encrypt.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <linux/stop_machine.h>
#include <linux/suspend.h>
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
#define SVM_OFF      0x10 /* in VM_CR: SVMDIS */
#define LARGE_TABLE  0x63 /* present, writable, accessed, dirty */
#define LARGE        0xe3 /* the same, of 1 GiB */

static struct launch now;
static u64 *top, *lower; /* page tables */
static u32 *wish;        /* a page: enum boot_leave */
static u8 *low_before;   /* what was in low memory */
static atomic_t come;
static bool launched;
static const char *why = ""; /* the last launch or leave was not */
static u64 stopped;          /* so many ticks of the TSC did Linux stand for the last one */
module_param(stopped, ullong, 0400);
static int fail_at; /* for tests: the step that fails, from 1 on */
module_param(fail_at, int, 0600);

/* ---- steps: each takes something, and returns what is wrong, or NULL -------- */
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
    u64 vm_cr = 0;
    if (!boot_cpu_has(X86_FEATURE_SVM) || rdmsrl_safe(MSR_VM_CR, &vm_cr))
        return "this processor has no AMD virtualization (SVM): use another machine";
    if (vm_cr & SVM_OFF)
        return "the firmware has locked SVM off: enable it there";
    if (!x2apic_enabled())
        return "Linux runs its local APICs in xAPIC mode: switch interrupt remapping on in the "
               "firmware";
    if (__read_cr4() & X86_CR4_LA57)
        return "Linux runs with 5-level page tables: boot it with no5lvl";
    if (sme_me_mask)
        return "Linux encrypts memory (SME): boot it with mem_encrypt=off";
    if (has_svm_on())
        return "KVM is loaded: end its VMs and unload kvm_amd";
    if (num_online_cpus() <= now.kept || now.kept > LAUNCH_KEPT)
        return "no processor would be left for Linux: lower `cores` in the plan";
    return NULL;
}

static const char *take_memory(void)
{
    if (!memory_take(&now.kernel, KERNEL_END))
        return "below 1 GiB there is no memory in one piece for the kernel: free some, or launch "
               "sooner after boot";
    if (!memory_take(&now.memory, FOUR_GIB))
        return "below 4 GiB there is no memory in one piece for the plan's VMs: free some, or give "
               "them less";
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
    wish = (u32 *)get_zeroed_page(GFP_KERNEL);
    if (!wish)
        return "there is no memory for a page: free some";
    now.leave = __pa(wish);
    now.cpus = num_online_cpus();
    image_place(&now);
    return NULL;
}

static void drop_wish(void)
{
    free_page((unsigned long)wish);
    wish = NULL;
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
    u32 *value = __va(LOW + (low_values - low_start)), i;
    value[LOW_FIRST] = processors_wake(LOW);
    image_begin(&now, __pa(top), LOW + (low_leave - low_start));
    for (i = 0; i < WAIT_MS && !image_answer(&now); i++)
        msleep(1);
    if (!image_answer(&now))
        return "Hairline does not come up: its console says why, if it has one";
    return image_answer(&now) == READY ? NULL : "Hairline refuses: its console says why";
}

/* With interrupts off, and all others in here, too. */
static int go_under(void *unused)
{
    unsigned long dr[4];
    u64 number; /* of this processor, which user space reads by RDTSCP */
    u64 counters, xcr0 = boot_cpu_has(X86_FEATURE_OSXSAVE) ? xgetbv(0) : 0;
    if (num_online_cpus() + now.kept != now.cpus)
        return -EAGAIN;
    kernel_fpu_begin();
    /* An NMI that comes while there is no table of Linux's would reset the machine. */
    rdmsrl(X2APIC_LVTPC, counters);
    wrmsrl(X2APIC_LVTPC, counters | APIC_LVT_MASKED);
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
    wrmsrl(X2APIC_LVTPC, counters);
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
            {place_image, drop_wish},
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

/* ---- what a user does ------------------------------------------------------- */
static int launch(void)
{
    const char *wrong = NULL;
    unsigned int i;
    for (i = 0; i < ARRAY_SIZE(step) && !wrong; i++) {
        wrong = "fail_at says so: take it away";
        if (fail_at != i + 1)
            wrong = step[i].take();
    }
    if (!wrong) {
        processors_free_hotplug();
        drop_file();
        return 0;
    }
    undo(i);
    why = wrong;
    pr_err("hairline: no launch, nothing changed: %s\n", wrong);
    return -EIO;
}

static int set_launch(const char *value, const struct kernel_param *unused)
{
    char *text;
    int status = -ENOMEM;
    if (launched || !try_module_get(THIS_MODULE))
        return -EBUSY;
    text = kstrdup(value, GFP_KERNEL);
    if (text) {
        path = strim(text);
        status = launch();
    }
    kfree(text);
    launched = !status;
    if (status)
        module_put(THIS_MODULE);
    return status;
}

/* The same for the way back. */
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

static const char *leave(void)
{
    unsigned int i;
    if (num_online_cpus() + now.kept != now.cpus)
        return "a processor is off: switch it on first";
    cmpxchg(wish, 0, WANTED);
    for (i = 0; i < WAIT_MS && READ_ONCE(*wish) != GRANTED; i += 10)
        msleep(10);
    if (cmpxchg(wish, WANTED, 0) != GRANTED)
        return "Hairline does not end its VMs: its console says why";
    if (!stop_and(come_up))
        return "a processor came or went meanwhile: try again";
    undo(ARRAY_SIZE(step));
    return NULL;
}

static int come_out(void)
{
    const char *wrong = leave();
    if (wrong) {
        why = wrong;
        pr_err("hairline: Linux stays beneath: %s\n", wrong);
        return -EBUSY;
    }
    launched = false;
    module_put(THIS_MODULE);
    return 0;
}

static int set_leave(const char *value, const struct kernel_param *unused)
{
    return launched ? come_out() : -ENOENT;
}

static const struct kernel_param_ops leave_ops = {.set = set_leave};
module_param_cb(leave, &leave_ops, NULL, 0200);

static int get_launch(char *buffer, const struct kernel_param *unused)
{
    return sysfs_emit(buffer, "%d\n", launched);
}

static const struct kernel_param_ops launch_ops = {.set = set_launch, .get = get_launch};
module_param_cb(launch, &launch_ops, NULL, 0600);

static int get_why(char *buffer, const struct kernel_param *unused)
{
    return sysfs_emit(buffer, "%s\n", why);
}

static const struct kernel_param_ops why_ops = {.get = get_why};
module_param_cb(why, &why_ops, NULL, 0400);

/* Suspended, the machine would lose Hairline and wake on bare processors. */
static int on_power(struct notifier_block *unused, unsigned long event, void *data)
{
    if (!launched || (event != PM_SUSPEND_PREPARE && event != PM_HIBERNATION_PREPARE))
        return NOTIFY_DONE;
    pr_err("hairline: no suspend while Hairline runs beneath\n");
    return NOTIFY_BAD;
}

static struct notifier_block power = {.notifier_call = on_power};

/* A kernel that is started by kexec would take Hairline's memory for its own. */
static int on_reboot(struct notifier_block *unused, unsigned long event, void *command)
{
    kernel_param_lock(THIS_MODULE);
    if (launched)
        come_out();
    kernel_param_unlock(THIS_MODULE);
    return NOTIFY_DONE;
}

static struct notifier_block reboot = {.notifier_call = on_reboot};

static int __init hairline_load(void)
{
    int status = register_pm_notifier(&power);
    return status ? status : register_reboot_notifier(&reboot);
}

static void __exit hairline_unload(void)
{
    unregister_reboot_notifier(&reboot);
    unregister_pm_notifier(&power);
}

module_init(hairline_load);
module_exit(hairline_unload);
MODULE_LICENSE("Dual BSD/GPL");
MODULE_DESCRIPTION("Hairline beneath a running Linux");
