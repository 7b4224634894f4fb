/*
 * What the hypervisor does of a processor's work, as the processor does it: a guest that steps
 * takes its trap behind each instruction, and the task priority is one register.
 */
#include "platform.h"

#define STEP         0x4000u /* DR6.BS: a step's trap */
#define DR6_RESET    0xffff0ff0u
#define TF           0x100u
#define LOW          0x40u
#define CLASS        (LOW >> 4)
#define HIGH         0x60u
#define TIMER        0x70u
#define HELD         (CLASS + 1) /* CLASS must hold it off too, but QEMU 10.0 lets it through */
#define SLEEP        2000000u    /* timer ticks */
#define LVT_MASKED   0x10000u
#define LVT_PERIODIC 0x20000u
#define TRAPS        100u
#define ALL_CLASSES  15u

static volatile uint32_t low, high, timer;
static const uint64_t *volatile next;
static volatile uint32_t traps, misplaced, others;

static void count(struct frame *f)
{
    if (f->vector == LOW)
        low++;
    else if (f->vector == HIGH)
        high++;
    else
        timer++;
    wrmsr(MSR_X2APIC(APIC_EOI), 0);
}

static uint64_t read_dr6(void)
{
    uint64_t value;
    __asm__ volatile("mov %%dr6, %0" : "=r"(value));
    return value;
}

static void write_dr6(uint64_t value) { __asm__ volatile("mov %0, %%dr6" : : "r"(value)); }

static uint64_t read_tpr(void) { return rdmsr(MSR_X2APIC(APIC_TPR)); }
static void write_tpr(uint64_t value) { wrmsr(MSR_X2APIC(APIC_TPR), value); }
static void send(uint32_t vector) { wrmsr(MSR_X2APIC(APIC_SELF_IPI), vector); }

/* ---- stepping ----------------------------------------------------------------- */

static void on_trap(struct frame *f)
{
    traps++;
    others += read_dr6() != (DR6_RESET | STEP);
    misplaced += f->rip != *next;
    write_dr6(DR6_RESET);
    if (*next)
        next++;
    if (!*next || traps == TRAPS)
        f->rflags &= ~(uint64_t)TF;
}

static void run(void (*steps)(void), const uint64_t *ends)
{
    uint32_t n = 0;
    while (ends[n])
        n++;
    guest_handler[1] = on_trap;
    next = ends;
    traps = misplaced = others = 0;
    write_dr6(DR6_RESET);
    steps();
    expect(misplaced == 0, "a trap is not behind its instruction");
    expect(traps == n, "not a trap for each step");
    expect(others == 0, "DR6 does not tell of a step");
}

void step_processor(void) { run(steps_processor, ends_processor); }

void step_ports(void) { run(steps_ports, ends_ports); }

/* Again and again: the first may come before the sleep. */
static void arm(void)
{
    wrmsr(MSR_X2APIC(APIC_TIMER_DIVIDE), APIC_DIVIDE_BY_1);
    wrmsr(MSR_X2APIC(APIC_LVT_TIMER), LVT_PERIODIC | TIMER);
    wrmsr(MSR_X2APIC(APIC_TIMER_INITIAL), SLEEP);
}

static void disarm(void)
{
    wrmsr(MSR_X2APIC(APIC_LVT_TIMER), LVT_MASKED);
    wrmsr(MSR_X2APIC(APIC_TIMER_INITIAL), 0);
}

/* What ends the sleep comes during it, or the trap does: there is one trap. */
void step_halt(void)
{
    guest_handler[TIMER] = count;
    arm();
    interrupts_on();
    run(steps_halt, ends_halt);
    interrupts_off();
    disarm();
}

/* CR8 is written while a vector is on offer, which comes when it may. */
void step_priority(void)
{
    guest_handler[LOW] = count;
    for (uint32_t turn = 1; turn <= 10; turn++) {
        write_cr8(ALL_CLASSES);
        interrupts_on();
        send(LOW);
        run(steps_priority, ends_priority);
        expect(low == turn, "the vector did not come once");
        interrupts_off();
    }
}

/* ---- the task priority -------------------------------------------------------- */

static void is_one_register(void)
{
    for (uint64_t v = 0; v <= ALL_CLASSES; v++) {
        write_cr8(v);
        expect(read_tpr() == v << 4 && read_cr8() == v, "the TPR is not CR8");
    }
    for (uint64_t v = 0; v <= 0xff; v++) {
        write_tpr(v);
        expect(read_cr8() == v >> 4 && read_tpr() == v, "CR8 is not the TPR");
    }
    write_tpr(0x57);
    write_cr8(6);
    expect(read_tpr() == 0x60, "a write of CR8 leaves the TPR's lower half");
    expect((rdmsr(MSR_X2APIC(APIC_PPR)) & 0xf0) == 0x60, "the processor's priority is below CR8");
}

/* With exits between, at which a hypervisor may think of the vector again. */
static void some_exits(void)
{
    for (uint32_t i = 0; i < 20; i++) {
        rdmsr(MSR_X2APIC(APIC_ID));
        cpuid(0);
    }
}

static void by_cr8(uint64_t class) { write_cr8(class); }
static void by_msr(uint64_t class) { write_tpr(class << 4 | 3); }

static void holds_back(void (*set)(uint64_t class))
{
    low = high = 0;
    set(HELD);
    interrupts_on();
    send(LOW);
    some_exits();
    expect(low == 0, "a vector came through the priority");
    send(HIGH);
    some_exits();
    expect(high == 1, "a vector above the priority did not come");
    expect(low == 0, "a vector came through the priority behind another");
    set(0);
    some_exits();
    expect(low == 1 && high == 1, "a vector did not come when it could");
    interrupts_off();
}

/* It is there before the sleep, or comes by the same way during it. */
static void sleeps(void (*set)(uint64_t class))
{
    low = timer = 0;
    set(HELD);
    send(LOW);
    arm();
    for (uint32_t i = 1; i <= 5; i++) {
        wait_interrupt();
        expect(timer >= i, "it woke up for a vector that is held back");
    }
    disarm();
    expect(low == 0, "a vector came through the priority in a sleep");
    set(0);
    interrupts_on();
    some_exits();
    expect(low == 1, "a vector did not come after the sleep");
    interrupts_off();
}

/* Before its VMM hears that the vector was taken. */
static void write_in_handler(struct frame *f)
{
    write_cr8(ALL_CLASSES);
    write_cr8(0);
    expect(low < TRAPS, "a vector comes without end");
    count(f);
}

static void comes_once(void)
{
    guest_handler[LOW] = write_in_handler;
    low = 0;
    write_cr8(0);
    interrupts_on();
    for (uint32_t i = 1; i <= 10; i++) {
        send(LOW);
        some_exits();
        expect(low == i, "a vector did not come once");
    }
    interrupts_off();
    guest_handler[LOW] = count;
}

void task_priority(void)
{
    guest_handler[LOW] = guest_handler[HIGH] = guest_handler[TIMER] = count;
    is_one_register();
    write_tpr(0);
    comes_once();
    holds_back(by_cr8);
    holds_back(by_msr);
    sleeps(by_cr8);
    sleeps(by_msr);
}
