/*
 * Attacks by the processor: wild code, storms of intercepted instructions,
 * endless exceptions, impossible states.
 */
#include "attack.h"

#define STORM         10000u
#define X87_LOADS     10000000u
#define SNIPPETS      20000u
#define SNIPPET       64u
#define VECTOR        0x40
#define CLASS         (VECTOR >> 4)
#define NO_MEMORY     0xf0000000ull /* no RAM and no device there */
#define EXCEPTION_DB  1
#define EXCEPTION_NMI 2
#define EXCEPTION_UD  6
#define EXCEPTION_GP  13
#define WILD_SLICE    200000u /* timer ticks */

static volatile uint64_t taken; /* interrupts or exceptions so far */

static void set_idt(uint16_t limit)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } idt = {limit, 0};
    __asm__ volatile("lidt %0" : : "m"(idt));
}

void attack_triple(void)
{
    set_idt(0);
    __asm__ volatile("int3");
    attack_fail("still alive");
}

void attack_spin(void)
{
    interrupts_off();
    for (;;)
        __asm__ volatile("");
}

/* Not an exit in it; but the emulator's CPU 0 must not run beside it (cli/machine/qemu.c:
 * accelerator). */
void attack_x87_loads(void)
{
    uint8_t environment[28]; /* APM1 6.9.1 */
    __asm__ volatile("fninit; fnstenv %0" : "=m"(environment));
    for (uint32_t i = 0; i < X87_LOADS; i++)
        __asm__ volatile("fldenv %0" : : "m"(environment));
}

void attack_hlt(void)
{
    for (;;)
        __asm__ volatile("cli; hlt");
}

void attack_memory(void)
{
    *(volatile uint32_t *)NO_MEMORY = 1;
    attack_fail("memory where there is none");
}

/* ---- wild code ------------------------------------------------------------ */

static uint8_t wild[SNIPPET + 16];
static uint8_t wild_stack[4096];
static uint32_t snippets;

/* What ends QEMU 10.0, not the guest: LTR (0F 00 /3), of a null selector, and MOV (8E) to segment
   registers 6 and 7. Looked for at every byte, for a jump may make an instruction of any. */
static bool kills_emulator(const uint8_t *code)
{
    return (code[0] == 0x0f && code[1] == 0x00 && (code[2] >> 3 & 7) == 3) ||
           (code[0] == 0x8e && (code[1] >> 3 & 7) >= 6);
}

static void wild_fill(void)
{
    for (uint32_t i = 0; i < SNIPPET; i++)
        wild[i] = (uint8_t)guest_random();
    for (uint32_t i = SNIPPET; i < sizeof(wild); i++)
        wild[i] = 0xcc; /* INT3 */
    for (uint32_t i = 0; i < SNIPPET; i++)
        if (kills_emulator(wild + i))
            wild[i] = 0x90; /* NOP */
}

/* Every trap, and the timer, starts the next snippet. */
static void wild_next(struct frame *f)
{
    if (snippets == SNIPPETS) {
        guest_serial_reset();
        guest_print("attack wild-code: ok\n");
        guest_exit(0);
    }
    snippets++;
    if (f->vector == VECTOR)
        wrmsr(MSR_X2APIC(APIC_EOI), 0);
    wrmsr(MSR_X2APIC(APIC_TIMER_INITIAL), WILD_SLICE);
    wild_fill();
    f->rip = (uintptr_t)wild;
    f->rsp = (uintptr_t)wild_stack + sizeof(wild_stack) / 2;
    f->rflags = 0x202;
    f->cs = 8;
    f->ss = 16;
}

void attack_wild_code(void)
{
    for (uint32_t v = 0; v < 256; v++)
        guest_handler[v] = wild_next;
    wrmsr(MSR_X2APIC(APIC_TIMER_DIVIDE), APIC_DIVIDE_BY_1);
    wrmsr(MSR_X2APIC(APIC_LVT_TIMER), VECTOR);
    __asm__ volatile("int3");
}

/* ---- storms ---------------------------------------------------------------- */

static void count(struct frame *f)
{
    taken++;
    if (f->vector >= 32)
        wrmsr(MSR_X2APIC(APIC_EOI), 0);
}

static int try_rdmsr(uint32_t msr)
{
    __asm__ volatile(TRY "rdmsr" TRIED : : "c"(msr) : "rax", "rdx", "memory");
    return guest_trapped();
}

static int try_wrmsr(uint32_t msr, uint64_t value)
{
    __asm__ volatile(TRY "wrmsr" TRIED
                     :
                     : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory");
    return guest_trapped();
}

/* What the guest itself cannot live without, or what would end it by intent. */
static bool vital_msr(uint32_t msr)
{
    static const uint32_t vital[] = {0xc0000080,
                                     0xc0000100,
                                     APIC_BASE,
                                     MSR_X2APIC(APIC_ICR),
                                     MSR_X2APIC(APIC_SELF_IPI),
                                     MSR_X2APIC(APIC_LVT_TIMER),
                                     TSC_DEADLINE,
                                     MSR_X2APIC(APIC_TIMER_DIVIDE)};
    for (uint32_t i = 0; i < sizeof(vital) / sizeof(vital[0]); i++)
        if (vital[i] == msr)
            return true;
    return false;
}

static void storm_msr(uint32_t msr, uint64_t value)
{
    int trap = try_rdmsr(msr);
    if (trap >= 0 && trap != EXCEPTION_GP)
        attack_fail("RDMSR ends in something other than #GP");
    trap = vital_msr(msr) ? -1 : try_wrmsr(msr, value);
    if (trap >= 0 && trap != EXCEPTION_GP)
        attack_fail("WRMSR ends in something other than #GP");
}

void attack_msr_storm(void)
{
    for (uint32_t v = 32; v < 256; v++)
        guest_handler[v] = count;
    guest_handler[EXCEPTION_NMI] = count;
    static const uint32_t bases[] = {0,          0x800,      0x40000000, 0x4b564d00,
                                     0xc0000000, 0xc0010000, 0xc0011000};
    for (uint32_t i = 0; i < STORM; i++) {
        uint32_t base = bases[guest_random() % (sizeof(bases) / sizeof(bases[0]))];
        storm_msr(base + (uint32_t)(guest_random() & 0xff),
                  i & 1 ? guest_random() : guest_random() & 0xff);
        if (i % 4 == 0)
            storm_msr((uint32_t)guest_random(), guest_random());
    }
}

void attack_cpuid_storm(void)
{
    struct cpuid before = cpuid(1);
    for (uint32_t i = 0; i < STORM; i++)
        cpuid(i & 1 ? (uint32_t)guest_random() : (uint32_t)(i % 64) << 26 | i % 32);
    if (cpuid(1).eax != before.eax || cpuid(1).edx != before.edx)
        attack_fail("CPUID changed");
}

void attack_ipi_storm(void)
{
    guest_handler[VECTOR] = count;
    interrupts_on();
    for (uint32_t i = 0; i < STORM; i++) {
        uint64_t before = taken;
        wrmsr(i & 1 ? MSR_X2APIC(APIC_SELF_IPI) : MSR_X2APIC(APIC_ICR),
              i & 1 ? VECTOR : 0x40000u | VECTOR);
        while (taken == before)
            ;
    }
    interrupts_off();
    for (uint32_t i = 0; i < STORM;
         i++) /* reserved vectors, all modes, any target but INIT and SIPI */
        try_wrmsr(MSR_X2APIC(APIC_ICR),
                  (guest_random() & 0xffffffff000c0800ull) | (guest_random() & 0xf));
}

/* A pending interrupt held off by CR8, let in by CR8, again and again. */
void attack_cr8_storm(void)
{
    guest_handler[VECTOR] = count;
    interrupts_on();
    for (uint32_t i = 0; i < STORM; i++) {
        uint64_t before = taken;
        write_cr8(15);
        wrmsr(MSR_X2APIC(APIC_SELF_IPI), VECTOR);
        if (taken != before)
            attack_fail("an interrupt came through CR8 = 15");
        write_cr8(CLASS + 1); /* CR8 = CLASS must hold it off too, but QEMU 10.0 lets it through */
        if (taken != before)
            attack_fail("an interrupt came through CR8");
        if (read_cr8() != CLASS + 1)
            attack_fail("CR8 does not keep its value");
        write_cr8(0);
        while (taken == before)
            ;
    }
    interrupts_off();
}

/* ---- instructions and states that a guest cannot have ---------------------- */

#define REFUSED(instruction)                                                                       \
    do {                                                                                           \
        __asm__ volatile(TRY instruction TRIED : : "a"(0), "c"(0) : "rdx", "memory");              \
        int trap = guest_trapped();                                                                \
        if (trap != EXCEPTION_UD && trap != EXCEPTION_GP)                                          \
            attack_fail(instruction " is carried out");                                            \
    } while (0)

void attack_svm(void)
{
    REFUSED("vmrun");
    REFUSED("vmload");
    REFUSED("vmsave");
    REFUSED("stgi");
    REFUSED("clgi");
    REFUSED("skinit");
    REFUSED("invlpga");
    REFUSED("rsm");
}

struct state {
    uint32_t msr;
    uint64_t value;
};

/* Every one of these must be refused (#GP) or be without effect on the next instruction. */
void attack_bad_state(void)
{
    static const struct state states[] = {
        {0xc0000080, 0},                     /* EFER: leave long mode under paging    */
        {0xc0000080, 0x1d01},                /* EFER.SVME                             */
        {0xc0000080, ~0ull},                 /* EFER: reserved bits                   */
        {APIC_BASE, 0},                      /* local APIC off                        */
        {APIC_BASE, 0xfee00900},             /* x2APIC back to xAPIC                  */
        {APIC_BASE, 0xfee00500},             /* x2APIC without the enable bit         */
        {APIC_BASE, ~0ull},                  /* reserved bits                         */
        {0x277, ~0ull},                      /* PAT: reserved types                   */
        {0xc0000100, 0x8000000000000000ull}, /* FS base: not canonical                */
        {0xc0000082, 0x8000000000000000ull}, /* LSTAR: not canonical                  */
        {0x174, ~0ull},                      /* SYSENTER_CS                           */
        {0xc0010117, 0x1000},                /* VM_HSAVE_PA                           */
        {0xc0010114, 0},                     /* VM_CR                                 */
        {0x10, 0},                           /* TSC                                   */
        {0x1d9, ~0ull},                      /* DEBUGCTL                              */
        {0xda0, ~0ull},                      /* XSS                                   */
    };
    for (uint32_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        try_wrmsr(states[i].msr, states[i].value);
    guest_apic_enable();
    __asm__ volatile(TRY "xsetbv" TRIED : : "a"(0), "c"(0), "d"(0) : "memory");
    if (guest_trapped() < 0)
        attack_fail("XCR0 takes 0");
}

/* These two: #GP by the processor; where an emulator lets them in, the next VMRUN fails
 * (APM2 15.5.1). */
void attack_bad_cr0(void)
{
    __asm__ volatile(TRY "mov %0, %%cr0" TRIED
                     :
                     : "r"(0xa0000033ull)
                     : "memory"); /* NW without CD */
    if (guest_trapped() != EXCEPTION_GP)
        attack_fail("CR0 takes NW without CD");
}

void attack_bad_cr4(void)
{
    __asm__ volatile(TRY "mov %0, %%cr4" TRIED : : "r"(~0ull) : "memory");
    if (guest_trapped() != EXCEPTION_GP)
        attack_fail("CR4 takes reserved bits");
}

/* ---- endless exceptions ----------------------------------------------------- */

void attack_db_storm(void)
{
    guest_handler[EXCEPTION_DB] = count;
    __asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq" : : : "memory", "cc");
    while (taken < STORM)
        ;
    __asm__ volatile("pushfq; andl $~0x100, (%%rsp); popfq" : : : "memory", "cc");
}

static void clear_debug(struct frame *f)
{
    (void)f;
    __asm__ volatile("mov %0, %%dr7" : : "r"(0x400ull));
}

/* CVE-2015-8104: a write watchpoint where #DB pushes its own frame. On real hardware this never
 * ends. */
void attack_db_loop(void)
{
    guest_handler[EXCEPTION_DB] = clear_debug;
    __asm__ volatile("mov %0, %%dr0" : : "r"(&guest_trap_slot));
    __asm__ volatile("mov %0, %%dr7"
                     :
                     : "r"(0x400ull | 2u | 9u << 16)); /* global 0, write, 8 bytes */
    __asm__ volatile(".byte 0xf1" : : : "memory");     /* INT1 */
}

void attack_ac_loop(void) { attack_ac_legacy(); }
