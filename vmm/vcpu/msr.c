/*
 * Model-specific registers that are not the APIC's: the processor's few that
 * Linux touches, and the paravirtual clock, which tells the guest the TSC's
 * frequency and the date. Everything else is #GP and counted.
 */
#include <vmm/vcpu/vcpu.h>
#include <lib/string.h>

enum msr {
    MSR_TSC = 0x10,
    MSR_APIC_BASE = 0x1b,
    MSR_TSC_ADJUST = 0x3b,
    MSR_PAT = 0x277,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_CLOCK_WALL = 0x4b564d00,
    MSR_CLOCK_SYSTEM = 0x4b564d01,
    MSR_EOI_WORD = 0x4b564d04,
    MSR_EFER = 0xc0000080,
};

#define APIC_BASE_BSP 0x100u
#define EFER_LME      0x100u
#define EFER_LMA      0x400u
#define EFER_GUEST    0x901u /* NXE, LME, SCE: what the guest may write */
#define CLOCK_ENABLED 1u
#define CLOCK_STABLE  1u

/* Read as `value`; a write vanishes. Those of one vendor's processors are not on the others'. */
enum { BOTH, AMD, INTEL };
static const struct plain_msr {
    uint32_t msr, of;
    uint64_t value;
} plain[] = {
    {0x00000017, INTEL, 0},        /* platform                                           */
    {0x0000003a, INTEL, 1},        /* feature control: locked, without VMX               */
    {0x0000004e, INTEL, 1},        /* PPIN: locked, there is no number                   */
    {0x0000008b, BOTH, 0},         /* microcode level                                    */
    {0x000000ce, INTEL, 0},        /* platform: CPUID cannot be made to fault            */
    {0x00000140, INTEL, 0},        /* MISC_FEATURES: nor is it                           */
    {0x000001a0, BOTH, 0x1801},    /* MISC_ENABLE: fast strings, neither BTS nor PEBS    */
    {0x000001d9, BOTH, 0},         /* DEBUGCTL                                           */
    {0x000002ff, BOTH, 0xc06},     /* MTRR default type: enabled, write-back             */
    {0xc0010010, AMD, 0},          /* SYSCFG: no encryption, no fourth-gigabyte tricks   */
    {0xc0010015, AMD, 1u << 24},   /* HWCR: the TSC counts at the P0 frequency           */
    {0xc001001f, AMD, 1ull << 46}, /* NB_CFG: PCI registers beyond 255 by bits 27..24 of
                                      the address port                                   */
    {0xc0010055, AMD, 0},          /* interrupt pending message                          */
    {0xc0010058, AMD, 0},          /* MMIO configuration base: none                      */
    {0xc0011029, AMD, 1u << 1},    /* DE_CFG: LFENCE waits                               */
};

/* The records of the paravirtual clock, in guest memory (CPUID leaf 40000001h bits 3 and 24). */
struct clock_system {
    uint32_t version, pad;
    uint64_t tsc, ns; /* ns had passed when the TSC read so */
    uint32_t mul;
    int8_t shift; /* ns += ((now - tsc) << shift) * mul >> 32 */
    uint8_t flags, pad2[2];
};
struct clock_wall {
    uint32_t version, seconds, ns; /* the date at `ns` = 0 above */
};
_Static_assert(sizeof(struct clock_system) == 32 && sizeof(struct clock_wall) == 12,
               "as Linux has them");

bool msr_kept_x2apic;
static struct clock_system system_clock;
static struct clock_wall wall_clock;

void msr_init(void)
{
    const struct vm_config *c = config();
    uint64_t hz = c->tsc_hz, now = tsc();
    int8_t shift = 0;
    for (; hz > 2000000000; shift--)
        hz >>= 1;
    for (; hz <= 1000000000; shift++)
        hz <<= 1;
    system_clock =
        (struct clock_system){.version = 2, .tsc = now, .shift = shift, .flags = CLOCK_STABLE};
    system_clock.mul = (uint32_t)((1000000000ull << 32) / hz);
    uint64_t since = now - c->wall_tsc;
    uint64_t ns =
        c->wall_ns + since / c->tsc_hz * 1000000000 + since % c->tsc_hz * 1000000000 / c->tsc_hz;
    wall_clock = (struct clock_wall){2, (uint32_t)(ns / 1000000000), (uint32_t)(ns % 1000000000)};
}

/* The records change only with the guest's TSC: there is one frequency. Written when the guest says
 * where. */
static bool clock_put(uint64_t gpa, const void *record, size_t size)
{
    void *to = guest_memory(gpa, size);
    if (to)
        memcpy(to, record, size);
    return to != NULL;
}

static bool clock_system_write(struct vcpu *v, uint64_t value)
{
    struct clock_system record = system_clock;
    record.tsc += v->tsc_offset;
    v->kvmclock = value;
    return !(value & CLOCK_ENABLED) ||
           clock_put(value & ~(uint64_t)CLOCK_ENABLED, &record, sizeof(record));
}

/* The guest sets its TSC, by its value or by the adjustment that shows it (SDM3 17.17.3): what is
 * reckoned in it moves. */
static void tsc_write(struct vcpu *v, struct utcb *u, uint64_t offset)
{
    uint64_t deadline = apic_deadline_read(v);
    v->tsc_offset = u->exit.tsc_offset = offset;
    u->mtd |= MTD_TSC;
    clock_system_write(v, v->kvmclock);
    if (deadline)
        apic_deadline_write(v, u, deadline);
}

static bool efer_write(struct utcb *u, uint64_t value)
{
    struct exit_state *s = &u->exit;
    if (value & ~(uint64_t)(EFER_GUEST | EFER_LMA) ||
        ((value ^ s->efer) & EFER_LME && s->efer & EFER_LMA))
        return false;
    s->efer = (value & EFER_GUEST) | (s->efer & EFER_LMA);
    u->mtd |= MTD_EFER;
    return true;
}

static uint64_t apic_base(const struct vcpu *v) { return APIC_BASE | (v->id ? 0 : APIC_BASE_BSP); }

static const struct plain_msr *find_plain(uint32_t msr)
{
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        if (plain[i].msr == msr &&
            (plain[i].of == BOTH || plain[i].of == (cpuid_intel() ? INTEL : AMD)))
            return &plain[i];
    __atomic_fetch_add(&control()->unclaimed_msrs, 1, __ATOMIC_RELAXED);
    return NULL;
}

bool msr_read(struct vcpu *v, struct utcb *u, uint32_t msr, uint64_t *value)
{
    switch (msr) {
    case MSR_TSC: *value = tsc() + v->tsc_offset; return true;
    case MSR_TSC_ADJUST: *value = v->tsc_offset; return true;
    case MSR_APIC_BASE: *value = apic_base(v); return true;
    case MSR_PAT: *value = v->pat; return true;
    case MSR_TSC_DEADLINE: *value = apic_deadline_read(v); return true;
    case MSR_CLOCK_SYSTEM: *value = v->kvmclock; return true;
    case MSR_EFER: *value = u->exit.efer; return true;
    }
    const struct plain_msr *p = find_plain(msr);
    if (p)
        *value = p->value;
    return p != NULL;
}

bool msr_write(struct vcpu *v, struct utcb *u, uint32_t msr, uint64_t value)
{
    switch (msr) {
    case MSR_TSC: tsc_write(v, u, value - tsc()); return true;
    case MSR_TSC_ADJUST: tsc_write(v, u, value); return true;
    case MSR_TSC_DEADLINE: apic_deadline_write(v, u, value); return true;
    case MSR_APIC_BASE: /* there is no way out of x2APIC mode */
        msr_kept_x2apic |= value != apic_base(v);
        return value == apic_base(v);
    case MSR_PAT: v->pat = value; return true;
    case MSR_CLOCK_WALL: return clock_put(value, &wall_clock, sizeof(wall_clock));
    case MSR_CLOCK_SYSTEM: return clock_system_write(v, value);
    case MSR_EOI_WORD: return apic_eoi_word(v, value);
    case MSR_EFER: return efer_write(u, value);
    default: return find_plain(msr) != NULL;
    }
}
