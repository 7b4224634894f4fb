/* The local APIC. */
#include <apic.h>

enum reg {
    APIC_ID = 0x02,
    APIC_TPR = 0x08,
    APIC_EOI = 0x0b,
    APIC_SPURIOUS = 0x0f,
    APIC_ISR = 0x10,
    APIC_IRR = 0x20,
    APIC_ICR = 0x30,
    APIC_LVT_TIMER = 0x32,
    APIC_LVT_THERMAL,
    APIC_LVT_PERF,
    APIC_LVT_LINT0,
    APIC_LVT_LINT1,
    APIC_LVT_ERROR,
    APIC_INITIAL = 0x38,
    APIC_DIVIDE = 0x3e
};
enum {
    LVT_MASKED = 1 << 16,
    LVT_MODE = 7 << 8,
    LVT_NMI = 4 << 8,
    DIVIDE_BITS = 0xb,
    DIVIDE_BY_1 = 0xb,
    SOFTWARE_ENABLE = 1 << 8,
    ICR_INIT = 5 << 8 | 1 << 14,
    ICR_SIPI = 6 << 8 | 1 << 14
};

static void write(enum reg r, uint64_t v) { cpu_wrmsr(MSR_X2APIC + (uint32_t)r, v); }
static uint64_t read(enum reg r) { return cpu_rdmsr(MSR_X2APIC + (uint32_t)r); }

void apic_init(struct core *c)
{
    cpu_wrmsr(MSR_APIC_BASE, cpu_rdmsr(MSR_APIC_BASE) | 0x800); /* enable; from disabled there is no other way to x2APIC (APM2 16.9) */
    cpu_wrmsr(MSR_APIC_BASE, cpu_rdmsr(MSR_APIC_BASE) | 0x400); /* x2APIC */
    c->apic_id = (uint32_t)read(APIC_ID);
    write(APIC_SPURIOUS, SOFTWARE_ENABLE | VECTOR_SPURIOUS); /* first: until then no LVT entry can be unmasked (APM2 16.4) */
    for (enum reg r = APIC_LVT_THERMAL; r <= APIC_LVT_ERROR; r++)
        write(r, LVT_MASKED);
    write(APIC_LVT_TIMER, VECTOR_TIMER);
    write(APIC_DIVIDE, DIVIDE_BY_1);
    write(APIC_TPR, 0);
}

/* One shot of 2^20 ticks, seen in the IRR: reading the current count would stop an emulator under -icount. */
void apic_calibrate(void)
{
    const uint64_t ticks = 1u << 20;
    uint64_t start = cpu_tsc();
    write(APIC_INITIAL, ticks);
    while (!(read((enum reg)(APIC_IRR + VECTOR_TIMER / 32)) & 1u << VECTOR_TIMER % 32))
        cpu_relax();
    stat.apic_per_tsc = (ticks << 32) / (cpu_tsc() - start);
}

void apic_set_timer(uint64_t at)
{
    uint64_t now = cpu_tsc(), wait = at > now ? at - now : 0;
    if (wait > 1u << 29)
        wait = 1u << 29;
    uint64_t ticks = (wait * (stat.apic_per_tsc & 0xffffffff) >> 32) + wait * (stat.apic_per_tsc >> 32);
    write(APIC_INITIAL, at ? (ticks ? ticks : 1) : 0);
}

void apic_clear(void)
{
    write(APIC_INITIAL, 0);
    for (enum reg r = APIC_LVT_TIMER; r <= APIC_LVT_ERROR; r++)
        write(r, LVT_MASKED);
    apic_let_in();               /* what came for the kernel; once disabled the APIC would keep it */
    if (!core_owned(cpu_core())) /* a rendezvous was among it, in which the guest died: the core is ordinary again */
        return;
    write(APIC_DIVIDE, 0);
    write(APIC_SPURIOUS, VECTOR_SPURIOUS);
}

void apic_drain(void)
{
    for (enum reg r = APIC_ISR + 7; r >= APIC_ISR; r--) /* downwards: an EOI ends the highest, wherever that is (APM2 16.6.4) */
        for (uint64_t bits = read(r); bits; bits &= bits - 1)
            apic_eoi();
}

/* The highest comes first, and after its end the next may take its time (APM2 16.6.4). Nothing new comes; should a bit
   stay nevertheless, this ends. */
void apic_let_in(void)
{
    for (enum reg r = APIC_IRR + 7; r >= APIC_IRR; r--)
        for (unsigned n = 0; n < 1024 && read(r); n++)
            cpu_irq_window();
}

void apic_write_for_guest(uint64_t reg, uint64_t value)
{
    static const uint32_t writable[] = {0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff}; /* from THERMAL on (APM2 16.4) */
    if (reg == APIC_DIVIDE)
        write(APIC_DIVIDE, value & DIVIDE_BITS);
    else if (reg >= APIC_LVT_THERMAL && reg <= APIC_LVT_ERROR) {
        bool harmless = (value & LVT_MODE) == 0 || (value & LVT_MODE) == LVT_NMI;
        write((enum reg)reg, harmless ? value & writable[reg - APIC_LVT_THERMAL] : LVT_MASKED);
    }
}

void apic_start(uint32_t apic_id, uint8_t page)
{
    write(APIC_ICR, (uint64_t)apic_id << 32 | ICR_INIT);
    write(APIC_ICR, (uint64_t)apic_id << 32 | ICR_SIPI | page);
    write(APIC_ICR, (uint64_t)apic_id << 32 | ICR_SIPI | page);
}

void apic_eoi(void) { write(APIC_EOI, 0); }
