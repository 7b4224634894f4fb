/*
 * The UEFI stub's way into host mode: a boot service driver, which the firmware starts before the
 * installed system. Hairline boots on a processor that it keeps, beside the firmware, which then
 * goes on as a guest with all others.
 */
#include "state.h"
#include "stub.h"
#include <cpu.h>

#define MEBI2        (2ull << 20)
#define RESERVED     0 /* memory that no system takes (UEFI 2.10, 7.2.1) */
#define TPL_CALLBACK 8
#define X2APIC       0xc00
#define STALL        100000 /* us, for processors to leave */
#define APIC_IDS     0xb    /* CPUID */

static const struct efi_guid mp_guid = {
    0x3fdda605, 0xa76e, 0x4f46, {0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08}};

_Static_assert(__builtin_offsetof(struct boot_cpu, state.rip) == 128 &&
                   __builtin_offsetof(struct boot_cpu, state.rsp) == 152,
               "as slide.S has them");

static struct boot_host *shared;
static struct efi_mp *mp;
static uint64_t kernel_entry, cpus, boot_cpu_number;
static bool start_failed;
static struct uefi_line host_line[2]; /* in the firmware's form: what Hairline has */

/* ---- memory --------------------------------------------------------------------------------- */
static uint64_t round_up(uint64_t value, uint64_t to) { return (value + to - 1) & ~(to - 1); }

void host_take_memory(const struct uefi_host *host, uint64_t kernel, uint64_t size)
{
    const uint64_t states = 65536; /* of the processors: a module, so nobody else gets it */
    uint64_t all = states + host->memory + 2 * MEBI2, at = FOUR_GIB - 1;
    for (uint32_t i = 0; i < handover.modules; i++)
        all += round_up(handover.module[i].size, 4096);
    if (stub_system->boot->allocate_pages(EFI_BELOW, RESERVED, all / 4096, &at))
        REFUSE("below 4 GiB there is no free run of memory for the plan's VMs",
               "give them less, or use a machine with more");
    host_line[0] =
        (struct uefi_line){.type = UEFI_CONVENTIONAL, .base = kernel, .pages = size / 4096};
    host_line[1] = (struct uefi_line){.type = UEFI_CONVENTIONAL, .base = at, .pages = all / 4096};
    handover.map = (uint64_t)host_line;
    handover.map_step = sizeof *host_line;
    handover.map_size = sizeof host_line;
    for (uint32_t i = 0; i < handover.modules; i++) {
        struct uefi_module *m = &handover.module[i];
        stub_copy(at, (const void *)m->base, m->size);
        m->base = at;
        at += round_up(m->size, 4096);
    }
    stub_add_module(at, states, (char[sizeof handover.module->name]){BOOT_HOST_MODULE});
    stub_clear(at, states);
    shared = (struct boot_host *)at;
}

/* ---- a processor ------------------------------------------------------------ */
/* From uefi_slide(). Its local APIC is in x2APIC mode once it goes: in the other one its registers
   would be a page, which cannot be watched without decoding instructions. Returns if the firmware
   starts no more of them. */
void host_leave(struct boot_cpu *cpu)
{
    cpu->apic_id = cpu_cpuid(APIC_IDS, 0).edx;
    state_leave(&cpu->state);
    __atomic_fetch_add(&shared->ready, 1, __ATOMIC_SEQ_CST);
    if (cpu == &shared->cpu[shared->kept]) { /* the boot processor, the last */
        while (__atomic_load_n(&shared->ready, __ATOMIC_SEQ_CST) != shared->cpus)
            cpu_relax();
        __atomic_store_n(&shared->called, shared->cpu[0].apic_id + 1, __ATOMIC_SEQ_CST);
    }
    while (__atomic_load_n(&shared->called, __ATOMIC_ACQUIRE) != cpu->apic_id + 1) {
        if (__atomic_load_n(&start_failed, __ATOMIC_ACQUIRE))
            return;
        cpu_relax();
    }
    cpu_wrmsr(MSR_APIC_BASE, cpu_rdmsr(MSR_APIC_BASE) | X2APIC);
    uefi_enter(kernel_entry, &handover, cpu == shared->cpu ? UEFI_MAGIC : 0);
}

/* ---- all of them ------------------------------------------------------------ */
static EFIAPI void come(void *cpu) { uefi_slide(cpu); }

/* The firmware runs come() on processor `number`, and does not wait for it: it ends in the guest.
   Text that is gone: the firmware unloads this image after a refusal, in which the others wait.
   They are back in the firmware before. */
static void start(uint64_t number, struct boot_cpu *cpu)
{
    void *event;
    if (stub_system->boot->create_event(0, TPL_CALLBACK, 0, 0, &event) ||
        mp->start_one(mp, come, number, event, 0, cpu, 0)) {
        __atomic_store_n(&start_failed, true, __ATOMIC_RELEASE);
        stub_system->boot->stall(STALL);
        REFUSE("the firmware does not start a processor", "update the firmware");
    }
}

void host_check(const struct uefi_host *host)
{
    uint64_t enabled;
    enum { AMD = 0x444d4163, X2APIC_THERE = 1 << 21, SVM = 1 << 2, OFF = 0x10 };
    if (cpu_cpuid(0, 0).ecx != AMD || !(cpu_cpuid(1, 0).ecx & X2APIC_THERE) ||
        !(cpu_cpuid(0x80000001, 0).ecx & SVM) || cpu_rdmsr(MSR_VM_CR) & OFF)
        REFUSE("mode host needs a processor of AMD's with x2APIC, and SVM that is not locked off",
               "use another machine, or enable it in the firmware");
    if (stub_system->boot->locate_protocol(&mp_guid, 0, &mp) || mp->count(mp, &cpus, &enabled) ||
        mp->who_am_i(mp, &boot_cpu_number))
        REFUSE("the firmware does not say which processors there are", "update the firmware");
    if (cpus <= host->cores || cpus != enabled || cpus > MAX_CORES)
        REFUSE("the plan wants other processors than the machine has", "change its `cores`");
}

void host_slide(const struct uefi_host *host, uint64_t entry)
{
    kernel_entry = entry;
    shared->cpus = (uint32_t)cpus;
    shared->kept = host->cores;
    struct boot_cpu *cpu = shared->cpu;
    for (uint64_t i = 0; i < cpus; i++) {
        if (i == boot_cpu_number)
            continue;
        start(i, cpu++);
        cpu += cpu == &shared->cpu[shared->kept];
    }
    uefi_slide(&shared->cpu[shared->kept]);
}
