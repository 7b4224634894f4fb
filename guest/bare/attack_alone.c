/*
 * Attacks by a dedicated guest without a VMM: `acts=NAME:ARG:VALUE,...`, in
 * hex, one after another. An act that ends its VM is passed over in the next
 * life, which goes on with the one after it. The last act done, it powers off
 * (34h to port 600h), and sleeps in all lives after that. An act that has not
 * the effect that `after: quiet` promises is a triple fault in that act.
 */
#include "attack_alone.h"

#include <abi/vm.h>

#define PROGRESS 0x600000ull /* beyond all that the loader writes: stays from life to life */
#define MAGIC    0x616c6f6e65ull
#define KEPT     0x1122334455667788ull
#define ONES     (~0ull)
#define SELF_NMI 0x40400u
#define TRAP     0x100u /* RFLAGS.TF */
#define VECTOR   0x40u
#define PERIODIC 0x20000u
/* Timer ticks: 2 ms. QEMU runs a periodic timer once for each period that has passed, and nothing
   else meanwhile: its whole machine stops where the host cannot keep up. */
#define PERIOD 2000000u
#define LISTEN 100000000u /* TSC ticks: many periods */

struct progress {
    uint64_t magic, begun;
};

struct act {
    const char *name;
    void (*run)(uint64_t arg, uint64_t value);
    void (*before)(uint64_t arg, uint64_t value); /* while there is a VMM */
};

volatile uint64_t taken[256];

/* ---- ports: ones are read into what the size covers ------------------------- */

static void act_in8(uint64_t port, uint64_t unused)
{
    (void)unused;
    uint64_t rax = KEPT;
    __asm__ volatile("inb %w1, %b0" : "+a"(rax) : "d"(port));
    expect(rax == (KEPT | 0xff));
}

static void act_in16(uint64_t port, uint64_t unused)
{
    (void)unused;
    uint64_t rax = KEPT;
    __asm__ volatile("inw %w1, %w0" : "+a"(rax) : "d"(port));
    expect(rax == (KEPT | 0xffff));
}

static void act_in32(uint64_t port, uint64_t unused)
{
    (void)unused;
    uint64_t rax = KEPT;
    __asm__ volatile("inl %w1, %k0" : "+a"(rax) : "d"(port));
    expect(rax == 0xffffffff);
}

static void act_out8(uint64_t port, uint64_t value) { out8((uint16_t)port, (uint8_t)value); }
static void act_out16(uint64_t port, uint64_t value) { out16((uint16_t)port, (uint16_t)value); }
static void act_out32(uint64_t port, uint64_t value) { out32((uint16_t)port, (uint32_t)value); }

static uint8_t buffer[4];

static void act_ins(uint64_t port, uint64_t unused)
{
    (void)unused;
    uint64_t count = sizeof(buffer);
    void *p = buffer;
    __asm__ volatile("rep insb" : "+c"(count), "+D"(p) : "d"(port) : "memory");
    expect(false);
}

static void act_outs(uint64_t port, uint64_t unused)
{
    (void)unused;
    uint64_t count = sizeof(buffer);
    const void *p = buffer;
    __asm__ volatile("rep outsb" : "+c"(count), "+S"(p) : "d"(port) : "memory");
    expect(false);
}

/* ---- MSRs and memory ---------------------------------------------------------- */

static void act_rdmsr(uint64_t msr, uint64_t unused)
{
    (void)unused;
    expect(rdmsr((uint32_t)msr) == ONES);
}

static void act_wrmsr(uint64_t msr, uint64_t value) { wrmsr((uint32_t)msr, value); }

static void act_read(uint64_t address, uint64_t unused)
{
    (void)unused;
    expect(*(volatile uint64_t *)address == ONES);
}

static void act_write(uint64_t address, uint64_t value) { *(volatile uint64_t *)address = value; }

/* Ones are no instruction. */
static void act_fetch(uint64_t address, uint64_t unused)
{
    (void)unused;
    __asm__ volatile(TRY "jmp *%0" TRIED : : "r"(address) : "memory");
    expect(guest_trapped() == EXCEPTION_UD);
}

/* ---- instructions ------------------------------------------------------------- */

#define OPCODE(instruction)                                                                        \
    static void act_##instruction(uint64_t unused, uint64_t too)                                   \
    {                                                                                              \
        (void)unused, (void)too;                                                                   \
        __asm__ volatile(TRY #instruction TRIED : : "a"(0), "c"(0), "d"(0) : "memory");            \
        expect(guest_trapped() == EXCEPTION_UD);                                                   \
    }

OPCODE(vmrun)
OPCODE(vmload)
OPCODE(vmsave)
OPCODE(stgi)
OPCODE(clgi)
OPCODE(skinit)
OPCODE(invlpga)
OPCODE(invd)
OPCODE(rsm)
OPCODE(rdpmc)

static void act_triple(uint64_t unused, uint64_t too)
{
    (void)unused, (void)too;
    expect(false);
}

/* ---- what never ends, but for a count ----------------------------------------- */

static void count(struct frame *f)
{
    taken[f->vector]++;
    if (f->vector >= 32 || f->vector == 16)
        wrmsr(MSR_X2APIC(APIC_EOI), 0);
}

static void act_spin(uint64_t unused, uint64_t too)
{
    (void)unused, (void)too;
    for (;;)
        __asm__ volatile("");
}

static void act_hlt(uint64_t unused, uint64_t too)
{
    (void)unused, (void)too;
    for (;;)
        __asm__ volatile("cli; hlt");
}

/* `times` NMIs to itself; 0: for ever. */
static void act_nmi(uint64_t times, uint64_t unused)
{
    (void)unused;
    for (uint64_t i = 0; !times || i < times; i++)
        send_icr(SELF_NMI);
    expect(taken[EXCEPTION_NMI] > times / 2);
}

/* In its handler for ever, and asks for the next one all the time. */
static void deaf(struct frame *f)
{
    (void)f;
    for (;;)
        send_icr(SELF_NMI);
}

static void act_deaf(uint64_t unused, uint64_t too)
{
    (void)unused, (void)too;
    guest_handler[EXCEPTION_NMI] = deaf;
    send_icr(SELF_NMI);
    expect(false);
}

/* #DB after each instruction, `times` or for ever. */
static void act_db(uint64_t times, uint64_t unused)
{
    (void)unused;
    __asm__ volatile("pushfq; orl %0, (%%rsp); popfq" : : "i"(TRAP) : "memory", "cc");
    while (!times || taken[EXCEPTION_DB] < times)
        ;
    __asm__ volatile("pushfq; andl %0, (%%rsp); popfq" : : "i"(~TRAP) : "memory", "cc");
}

/* Over the page of ones, if there is one. */
static void act_scribble(uint64_t address, uint64_t value)
{
    for (;;)
        *(volatile uint64_t *)address = value;
}

/* ---- what is left on the core ------------------------------------------------- */

static void no_end(struct frame *f) { (void)f; }

/* Dies with an interrupt in service, every other vector waiting, priority raised, and the timer at
 * work. */
static void act_dirty(uint64_t unused, uint64_t too)
{
    (void)unused, (void)too;
    guest_handler[VECTOR] = no_end;
    wrmsr(MSR_X2APIC(APIC_SELF_IPI), VECTOR);
    interrupts_on();
    interrupts_off();
    wrmsr(MSR_X2APIC(APIC_TPR), 0xf0);
    wrmsr(MSR_X2APIC(APIC_TIMER_DIVIDE), APIC_DIVIDE_BY_1);
    wrmsr(MSR_X2APIC(APIC_LVT_TIMER), PERIODIC | VECTOR);
    wrmsr(MSR_X2APIC(APIC_TIMER_INITIAL), PERIOD);
    for (uint32_t v = 16; v < 256; v++)
        wrmsr(MSR_X2APIC(APIC_SELF_IPI), v);
    expect(false);
}

/* Nothing of that is there in the next life. */
static bool is_fresh(void)
{
    uint64_t bits = rdmsr(MSR_X2APIC(APIC_TPR)) | rdmsr(MSR_X2APIC(APIC_TIMER_INITIAL));
    for (uint32_t r = MSR_X2APIC(APIC_ISR); r < MSR_X2APIC(APIC_ISR) + 8; r++)
        bits |= rdmsr(r) | rdmsr(r - MSR_X2APIC(APIC_ISR) + MSR_X2APIC(APIC_IRR));
    interrupts_on();
    for (uint64_t end = rdtsc() + LISTEN; rdtsc() < end;)
        __asm__ volatile("pause");
    interrupts_off();
    for (uint32_t v = 0; v < 256; v++)
        bits |= taken[v];
    return bits == 0;
}

static void check_fresh(uint64_t unused, uint64_t too)
{
    (void)unused, (void)too;
    if (!is_fresh())
        guest_exit(1);
}

static void act_fresh(uint64_t unused, uint64_t too)
{
    (void)unused, (void)too;
    expect(is_fresh());
}

static const struct act acts[] = {
    {"in8", act_in8, 0},
    {"in16", act_in16, 0},
    {"in32", act_in32, 0},
    {"out8", act_out8, 0},
    {"out16", act_out16, 0},
    {"out32", act_out32, 0},
    {"ins", act_ins, 0},
    {"outs", act_outs, 0},
    {"rdmsr", act_rdmsr, 0},
    {"wrmsr", act_wrmsr, 0},
    {"read", act_read, 0},
    {"write", act_write, 0},
    {"fetch", act_fetch, 0},
    {"vmrun", act_vmrun, 0},
    {"vmload", act_vmload, 0},
    {"vmsave", act_vmsave, 0},
    {"stgi", act_stgi, 0},
    {"clgi", act_clgi, 0},
    {"skinit", act_skinit, 0},
    {"invlpga", act_invlpga, 0},
    {"invd", act_invd, 0},
    {"rsm", act_rsm, 0},
    {"rdpmc", act_rdpmc, 0},
    {"triple", act_triple, 0},
    {"spin", act_spin, 0},
    {"hlt", act_hlt, 0},
    {"nmi", act_nmi, 0},
    {"deaf", act_deaf, 0},
    {"db", act_db, 0},
    {"scribble", act_scribble, 0},
    {"dirty", act_dirty, 0},
    {"fresh", act_fresh, check_fresh},
    {"icr", act_icr, icr_engaged},
};
#define ACTS (sizeof(acts) / sizeof(acts[0]))

/* ---- the list ------------------------------------------------------------------- */

struct step {
    const struct act *act;
    uint64_t arg, value;
};

static char text[1024];
static struct step steps[64];
static uint32_t step_count;

/* The text up to the next of `,` and `:`, ended there; *more: it was `:`. */
static const char *cut(char **at, bool *more)
{
    const char *from = *at;
    while (**at && **at != ',' && **at != ':')
        ++*at;
    *more = **at == ':';
    if (**at)
        *(*at)++ = 0;
    return from;
}

static uint64_t number(const char *hex)
{
    uint64_t value = 0;
    for (; *hex; hex++)
        value = value << 4 | (uint64_t)(*hex <= '9' ? *hex - '0' : *hex - 'a' + 10);
    return value;
}

static const struct act *find(const char *name)
{
    for (uint32_t i = 0; i < ACTS; i++)
        if (guest_same(acts[i].name, name))
            return &acts[i];
    guest_print("attack_alone: no act '%s'\n", name);
    guest_exit(2);
}

static void read_list(void)
{
    guest_option("acts", text, sizeof(text));
    for (char *at = text; *at && step_count < sizeof(steps) / sizeof(steps[0]);) {
        bool more;
        struct step *s = &steps[step_count++];
        s->act = find(cut(&at, &more));
        s->arg = more ? number(cut(&at, &more)) : 0;
        s->value = more ? number(cut(&at, &more)) : 0;
    }
}

static struct progress *progress(void)
{
    struct progress *p = (struct progress *)PROGRESS;
    if (p->magic != MAGIC)
        *p = (struct progress){MAGIC, 0};
    return p;
}

void guest_main(void)
{
    struct progress *p = progress();
    guest_trap_stack();
    guest_apic_enable();
    for (uint32_t v = 0; v < 256; v++)
        guest_handler[v] = count;
    read_list();
    if (p->begun > step_count)
        act_hlt(0, 0);
    const struct step *next = &steps[p->begun];
    if (p->begun < step_count && next->act->before)
        next->act->before(next->arg, next->value);
    guest_print("attack_alone: from act %lu of %u\n", p->begun, step_count);
    guest_leave();
    while (p->begun < step_count) {
        next = &steps[p->begun++];
        next->act->run(next->arg, next->value);
    }
    p->begun++;
    out8(PORT_SLEEP, SLEEP_S5);
}
