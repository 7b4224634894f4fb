/*
 * What the platform costs a guest: for each event the least of many RDTSC
 * differences, less the empty measurement. Under `-icount shift=0` a tick is
 * an instruction. Lines: bench name=NAME instructions=N
 */
#include "bare.h"

#define ROUNDS         1000u
#define LONG_ROUNDS    20u
#define VECTOR         0x40
#define UNUSED_PORT    0x80
#define TOUCH_BASE     0x4000000ull /* 64 MiB: RAM that nothing has used yet */
#define SHORT_DELAY    10000u       /* timer ticks */
#define LONG_DELAY     1010000u
#define RATIO_TICKS    (LONG_DELAY - SHORT_DELAY)
#define CPUID_DEADLINE (1u << 24) /* leaf 1, ECX */
#define LOOP_TURNS     1000000u   /* of two instructions: scripts/bench knows, too */

struct bench {
    const char *name;
    uint64_t (*measure)(void);
    bool vmmcall; /* makes sense only under a hypervisor */
};

extern volatile uint64_t arrived; /* TSC at the last interrupt; 0: none yet */
void on_interrupt(void);          /* bench_interrupt.S: sets it */

static uint64_t touched = TOUCH_BASE;
static bool has_deadline;

static void nothing(void) {}
static void run_cpuid(void) { cpuid(1); }
static void run_rdmsr(void) { rdmsr(APIC_BASE); }
static void run_wrmsr(void) { wrmsr(MSR_X2APIC(APIC_TPR), 0); }
static void run_port(void) { out8(UNUSED_PORT, 0); }
static void run_touch(void) { *(volatile uint8_t *)(touched += 4096) = 1; }

static void run_vmmcall(void)
{
    uint64_t number = ~0ull;
    __asm__ volatile(TRY "vmmcall" TRIED : "+a"(number) : : "rbx", "rcx", "rdx", "memory");
}

static void await(void)
{
    while (!arrived)
        __asm__ volatile("pause");
}

static void run_self_ipi(void)
{
    arrived = 0;
    wrmsr(MSR_X2APIC(APIC_SELF_IPI), VECTOR);
    await();
}

static uint64_t own_id; /* of this core's APIC */

static void run_icr(void)
{
    arrived = 0;
    wrmsr(MSR_X2APIC(APIC_ICR), own_id << 32 | VECTOR);
    await();
}

/* Ticks: the least of ROUNDS runs, with the measurement's own cost. */
static uint64_t least(void (*run)(void))
{
    uint64_t best = ~0ull;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint64_t start = rdtsc();
        run();
        uint64_t took = rdtsc() - start;
        best = took < best ? took : best;
    }
    return best;
}

static uint64_t net(void (*run)(void)) { return least(run) - least(nothing); }
static void run_loop(void)
{
    uint32_t turns = LOOP_TURNS;
    __asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(turns));
}

/* What is known beforehand, by which a tick can be told from an instruction. An interrupt of the
   hypervisor's may come into each of the rounds. */
static uint64_t measure_loop(void)
{
    uint64_t best = ~0ull;
    for (uint32_t i = 0; i < LONG_ROUNDS; i++) {
        uint64_t start = rdtsc();
        run_loop();
        uint64_t took = rdtsc() - start;
        best = took < best ? took : best;
    }
    return best;
}

static uint64_t measure_cpuid(void) { return net(run_cpuid); }
static uint64_t measure_rdmsr(void) { return net(run_rdmsr); }
static uint64_t measure_wrmsr(void) { return net(run_wrmsr); }
static uint64_t measure_vmmcall(void) { return net(run_vmmcall); }
static uint64_t measure_port(void) { return net(run_port); }
static uint64_t measure_self_ipi(void) { return net(run_self_ipi); }
static uint64_t measure_icr(void) { return net(run_icr); }
static uint64_t measure_touch(void) { return net(run_touch); }

/* Returns the TSC from which the delay counts. */
static uint64_t arm(uint64_t ticks)
{
    uint64_t now = rdtsc();
    if (has_deadline) {
        wrmsr(TSC_DEADLINE, now + ticks);
        return now;
    }
    wrmsr(MSR_X2APIC(APIC_TIMER_INITIAL), ticks);
    return rdtsc();
}

static void timer_setup(void)
{
    wrmsr(MSR_X2APIC(APIC_TIMER_DIVIDE), APIC_DIVIDE_BY_1);
    wrmsr(MSR_X2APIC(APIC_LVT_TIMER), (has_deadline ? 2u << 17 : 0u) | VECTOR);
}

static void run_arm(void) { arm(0xfffffff); }

static uint64_t measure_arm(void)
{
    timer_setup();
    uint64_t cost = net(run_arm);
    wrmsr(has_deadline ? TSC_DEADLINE : MSR_X2APIC(APIC_TIMER_INITIAL), 0);
    return cost;
}

/* TSC ticks from the armed timer to the handler's first RDTSC. */
static uint64_t delay(uint32_t ticks, uint32_t rounds)
{
    uint64_t best = ~0ull;
    for (uint32_t i = 0; i < rounds; i++) {
        arrived = 0;
        uint64_t start = arm(ticks);
        await();
        best = arrived - start < best ? arrived - start : best;
    }
    return best;
}

/* The timer's ticks are measured in TSC ticks by a long delay against a short one. */
static uint64_t measure_late(void)
{
    timer_setup();
    uint64_t brief = delay(SHORT_DELAY, ROUNDS);
    uint64_t ratio = delay(LONG_DELAY, LONG_ROUNDS) - brief; /* TSC ticks in RATIO_TICKS */
    uint64_t due = ratio * SHORT_DELAY / RATIO_TICKS;
    return brief > due ? brief - due : 0;
}

static const struct bench benches[] = {
    {"loop", measure_loop, false},         {"cpuid", measure_cpuid, false},
    {"rdmsr", measure_rdmsr, false},       {"wrmsr", measure_wrmsr, false},
    {"vmmcall", measure_vmmcall, true},    {"port-write", measure_port, false},
    {"self-ipi", measure_self_ipi, false}, {"icr", measure_icr, false},
    {"timer-arm", measure_arm, false},     {"timer-late", measure_late, false},
    {"first-touch", measure_touch, false},
};

void guest_main(void)
{
    has_deadline = cpuid(1).ecx & CPUID_DEADLINE;
    guest_apic_enable();
    own_id = rdmsr(MSR_X2APIC(APIC_ID));
    guest_gate(VECTOR, on_interrupt, 0);
    run_vmmcall();
    bool guest = guest_trapped() < 0;
    interrupts_on();
    for (uint32_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++)
        if (guest || !benches[i].vmmcall)
            guest_print("bench name=%s instructions=%lu\n", benches[i].name, benches[i].measure());
    interrupts_off();
}
