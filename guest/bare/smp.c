/*
 * Starts another processor, number 1 or `last=N`, by INIT, SIPI, SIPI (APM2 16.5) in x2APIC mode
 * and plays ping-pong with it by interrupts, both halting while they wait. Every other one goes to
 * the processor's place in its cluster of sixteen (APM2 16.14).
 */
#include "bare.h"

#define TRAMPOLINE ((uint32_t)(uintptr_t)guest_ap_base)
#define VECTOR     0x40
#define ROUNDS     1000u
#define LOGICAL    (1u << 11)
#define PATIENCE   200000000000ull /* TSC ticks */

static volatile uint32_t pings, pongs;    /* taken by the second, the first processor */
static volatile uint32_t ap_id, ap_place; /* what its APIC says of itself */
static volatile bool ap_ready;

static void on_ipi(struct frame *f)
{
    (void)f;
    if (rdmsr(MSR_X2APIC(APIC_ID)) == 0)
        pongs++;
    else
        pings++;
    wrmsr(MSR_X2APIC(APIC_EOI), 0);
}

static void send(uint32_t apic_id, uint32_t command)
{
    wrmsr(MSR_X2APIC(APIC_ICR), (uint64_t)apic_id << 32 | command);
}

void guest_ap_main(void)
{
    guest_apic_enable();
    ap_id = (uint32_t)rdmsr(MSR_X2APIC(APIC_ID));
    ap_place = (uint32_t)rdmsr(MSR_X2APIC(APIC_LDR));
    ap_ready = true;
    for (uint32_t round = 1;; round++) {
        while (pings < round)
            wait_interrupt();
        send(0, VECTOR);
    }
}

static bool start_ap(uint32_t apic_id)
{
    for (uint8_t *from = guest_ap_begin, *to = guest_ap_base; from < guest_ap_end;)
        *to++ = *from++;
    send(apic_id, APIC_ICR_INIT);
    send(apic_id, APIC_ICR_STARTUP | TRAMPOLINE >> 12);
    send(apic_id, APIC_ICR_STARTUP | TRAMPOLINE >> 12);
    for (uint64_t end = rdtsc() + PATIENCE; !ap_ready && rdtsc() < end;)
        __asm__ volatile("pause");
    return ap_ready;
}

static uint32_t partner(void)
{
    char text[8];
    uint32_t number = 0;
    if (!guest_option("last", text, sizeof(text)))
        return 1;
    for (const char *digit = text; *digit; digit++)
        number = 10 * number + (uint32_t)(*digit - '0');
    return number;
}

void guest_main(void)
{
    uint32_t other = partner(), place = other >> 4 << 16 | 1u << (other & 15);
    guest_apic_enable();
    guest_handler[VECTOR] = on_ipi;
    if (!start_ap(other)) {
        guest_print("smp: processor %u does not start\n", other);
        guest_exit(1);
    }
    if (ap_id != other || ap_place != place) {
        guest_print("smp: processor %u is %u, at place %x\n", other, ap_id, ap_place);
        guest_exit(2);
    }
    uint64_t start = rdtsc();
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        send(round & 1 ? other : place, round & 1 ? VECTOR : LOGICAL | VECTOR);
        while (pongs < round)
            wait_interrupt();
    }
    guest_print("smp: ok, %u rounds, %lu ticks each\n", ROUNDS, (rdtsc() - start) / ROUNDS);
}
