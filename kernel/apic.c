/* The local APIC. */
#include <apic.h>

enum { LVT_MODE = 7 << 8 };

bool apic_x2;

/* Without x2APIC mode the registers are a page, 16 bytes for each (APM2 16.3.2). */
static void write(enum apic_register r, uint64_t v)
{
    if (apic_x2)
        cpu_wrmsr(MSR_X2APIC(r), v);
    else
        cpu_write32(APIC_WINDOW + 16 * r, (uint32_t)v);
}

static uint64_t read(enum apic_register r)
{
    return apic_x2 ? cpu_rdmsr(MSR_X2APIC(r)) : cpu_read32(APIC_WINDOW + 16 * r);
}

/* A vCPU with a core of its own has the local APIC, and reads and writes all of its registers
   itself (x2APIC MSRs, APM2 16.11), but for these: what is here is what it still does itself. */
static const struct {
    uint8_t from, to;            /* enum apic_register */
    uint8_t engaged, disengaged; /* while it has a VMM, and without one */
} apic_kept[] = {
    /* A local vector could be an SMI or an INIT: the kernel writes it, made harmless. */
    {APIC_LVT_CMCI, APIC_LVT_CMCI, READ, READ},
    {APIC_LVT_THERMAL, APIC_LVT_ERROR, READ, READ},
    /* What is sent leaves the core: icr.c. */
    {APIC_ICR, APIC_ICR, READ, READ},
    /* Under -icount an emulator cannot be asked for the count: the VMM answers, and counts from the
       divider's write. It does not see those of the initial count: a guest would never be quiet. */
    {APIC_TIMER_CURRENT, APIC_TIMER_CURRENT, WRITE, READ | WRITE},
    {APIC_TIMER_DIVIDE, APIC_TIMER_DIVIDE, READ, READ | WRITE},
};

unsigned apic_passed(uint32_t reg, bool disengaged)
{
    for (uint32_t i = 0; i < sizeof apic_kept / sizeof apic_kept[0]; i++)
        if (reg >= apic_kept[i].from && reg <= apic_kept[i].to)
            return disengaged ? apic_kept[i].disengaged : apic_kept[i].engaged;
    return READ | WRITE;
}

void apic_init(struct core *c)
{
    uint64_t base = (cpu_rdmsr(MSR_APIC_BASE) & 0xfff) | APIC_FRAME << PAGE_SHIFT | 0x800;
    cpu_wrmsr(MSR_APIC_BASE, base); /* on; from off there is no other way to x2APIC (APM2 16.9) */
    apic_x2 = cpu_cpuid(1, 0).ecx >> 21 & 1;
    if (apic_x2)
        cpu_wrmsr(MSR_APIC_BASE, base | 0x400);
    c->apic_id = (uint32_t)read(APIC_ID) >> (apic_x2 ? 0 : 24);
    write(APIC_SVR,
          APIC_SOFTWARE_ON |
              VECTOR_SPURIOUS); /* first: until then no LVT entry can be unmasked (APM2 16.4) */
    for (enum apic_register r = APIC_LVT_THERMAL; r <= APIC_LVT_ERROR; r++)
        write(r, APIC_LVT_MASKED);
    write(APIC_LVT_TIMER, VECTOR_TIMER);
    write(APIC_TIMER_DIVIDE, APIC_DIVIDE_BY_1);
    write(APIC_TPR, 0);
}

void apic_adopt(struct core *c) { c->apic_id = (uint32_t)read(APIC_ID); }

/* One shot of 2^20 ticks, seen in the IRR: reading the current count would stop an emulator under
 * -icount. */
void apic_calibrate(void)
{
    const uint64_t ticks = 1u << 20;
    uint64_t start = cpu_tsc();
    write(APIC_TIMER_INITIAL, ticks);
    while (!(read((enum apic_register)(APIC_IRR + VECTOR_TIMER / 32)) & 1u << VECTOR_TIMER % 32))
        cpu_relax();
    counters.apic_per_tsc = (ticks << 32) / (cpu_tsc() - start);
}

void apic_set_timer(uint64_t at)
{
    uint64_t now = cpu_tsc(), wait = at > now ? at - now : 0;
    if (wait > 1u << 29)
        wait = 1u << 29;
    uint64_t ticks =
        (wait * (counters.apic_per_tsc & 0xffffffff) >> 32) + wait * (counters.apic_per_tsc >> 32);
    ticks = ticks ? ticks : 1; /* 0 would stop it */
    write(APIC_TIMER_INITIAL, at ? ticks : 0);
}

void apic_clear(void)
{
    write(APIC_TIMER_INITIAL, 0);
    for (enum apic_register r = APIC_LVT_TIMER; r <= APIC_LVT_ERROR; r++)
        write(r, APIC_LVT_MASKED);
    apic_let_in(); /* what came for the kernel; once disabled the APIC would keep it */
    if (!core_owned(cpu_core())) /* a rendezvous was among it, in which the guest died: the core is
                                    ordinary again */
        return;
    write(APIC_TIMER_DIVIDE, 0);
    write(APIC_SVR, VECTOR_SPURIOUS);
}

void apic_drain(void)
{
    for (enum apic_register r = APIC_ISR + 7; r >= APIC_ISR;
         r--) /* downwards: an EOI ends the highest, wherever that is (APM2 16.6.4) */
        for (uint64_t bits = read(r); bits; bits &= bits - 1)
            apic_eoi();
}

/* The highest comes first, and after its end the next may take its time (APM2 16.6.4). Nothing new
   comes; should a bit stay nevertheless, this ends. */
void apic_let_in(void)
{
    for (enum apic_register r = APIC_IRR + 7; r >= APIC_IRR; r--)
        for (unsigned n = 0; n < 1024 && read(r); n++)
            cpu_irq_window();
}

void apic_write_for_guest(uint64_t reg, uint64_t value)
{
    static const uint32_t writable[] = {0x107ff, 0x107ff, 0x187ff, 0x187ff,
                                        0x100ff}; /* from THERMAL on (APM2 16.4) */
    if (reg == APIC_TIMER_DIVIDE)
        write(APIC_TIMER_DIVIDE, value & APIC_DIVIDE_BITS);
    else if (reg >= APIC_LVT_THERMAL && reg <= APIC_LVT_ERROR) {
        bool harmless = (value & LVT_MODE) == 0 || (value & LVT_MODE) == APIC_DELIVERY(APIC_NMI);
        write((enum apic_register)reg,
              harmless ? value & writable[reg - APIC_LVT_THERMAL] : APIC_LVT_MASKED);
    } else if (reg == APIC_SELF_IPI && value > 31 && value < 256)
        write(APIC_SELF_IPI, value);
}

static RARE void send_by_page(uint32_t apic_id, uint32_t command)
{
    while (read(APIC_ICR) & APIC_SENDING) /* the command before it */
        cpu_relax();
    write(APIC_ICR_HIGH, (uint64_t)apic_id << 24);
    write(APIC_ICR, command);
}

void apic_send(uint32_t apic_id, uint32_t what)
{
    cpu_fence();
    if (apic_x2)
        cpu_wrmsr(MSR_X2APIC(APIC_ICR), (uint64_t)apic_id << 32 | APIC_ASSERT | what);
    else
        send_by_page(apic_id, APIC_ASSERT | what);
}

void apic_eoi(void) { write(APIC_EOI, 0); }
