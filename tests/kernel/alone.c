/*
 * Cores that guests have for themselves, from a program in root's place: what
 * reaches them, what leaves them, and what is left of them.
 */
#include "kit.h"

#include <guest/bare/hypercall.h>

#define CORES      4u
#define GUESTS     3u
#define VCPUS      2u /* of a guest */
#define FRAMES     64u
#define WINDOW(g)  (0x50000000ull + (uint64_t)(g)*FRAMES * PAGE_SIZE)
#define EVENTS(v)  (1u + 32u * (v))
#define CODE       0x1000u
#define TABLE      0x2000u
#define IDT        0x3000u
#define GDT        0x3800u
#define STUBS      0x4000u
#define STACK(v)   (0x8000u + 0x1000u * (v))
#define COUNT      0x10000u
#define PATIENCE   20000000ull /* TSC ticks, which are instructions of all cores */
#define RESTARTS   200u
#define END_PORT   0x61u /* a guest that left quietly ends by it */
#define KILL_LIMIT 60000u
#define MTD_ALL    (MTD_ACDB | MTD_RIP | MTD_FLAGS | MTD_CONTROL | MTD_SEGS | MTD_EFER | MTD_INJECT)

enum slot {
    A_MR = KIT_FREE,
    A_REST,
    A_OTHER,
    A_PT,
    A_BELL,
    A_PONG,
    A_VMM,
    A_COPY,
    A_FILL,
    A_GUEST,
    A_VCPU = A_GUEST + GUESTS,
    A_SC = A_VCPU + GUESTS * VCPUS,
    A_LAST = A_SC + GUESTS * VCPUS
};

struct shared {
    volatile uint32_t done, arg, rounds, result[6];
};

#define GUEST_CODE(name) extern const uint8_t guest_##name[];
GUEST_CODE(timer)
GUEST_CODE(listen)
GUEST_CODE(icr)
GUEST_CODE(flood)
GUEST_CODE(nmi)
GUEST_CODE(stuck)
GUEST_CODE(spin)
GUEST_CODE(waiting)
GUEST_CODE(quiet)
GUEST_CODE(end_port)
GUEST_CODE(allowed)
GUEST_CODE(obey)
GUEST_CODE(end)
GUEST_CODE(stubs)
GUEST_CODE(stubs_end)

static volatile uint64_t last_event, msr_events, pongs;
static uint64_t stat_index[GUESTS * VCPUS];
static bool spin_in_vmm, impossible_first;
static volatile uint32_t vmm_vector; /* what a recalled vCPU is sent; 0: its end */

/* Sleep: a deadline is also the end of the emulator's turn for a guest that never stops. */
static void rest(uint64_t ticks) { bell_wait(KIT_SCRATCH, tsc() + ticks); }

static bool wait_for(uint64_t sm)
{
    const uint64_t end = tsc() + PATIENCE;
    for (;;) {
        uint64_t s = sm_down(sm, tsc() + 2000);
        if (s != TIMEOUT || tsc() >= end)
            return s == OK;
    }
}

static struct shared *shared(uint32_t g) { return (struct shared *)WINDOW(g); }
static volatile uint32_t *counted(uint32_t g) { return (volatile uint32_t *)(WINDOW(g) + COUNT); }
static const volatile struct vcpu_stat *stat_of(uint32_t i)
{
    return &kit_stat->vcpu[stat_index[i]];
}

/* ---- the VMM ---------------------------------------------------------------- */
static void flat(struct segment *s, uint16_t selector, uint16_t attrib)
{
    *s = (struct segment){selector, attrib, 0xffffffff, 0};
}

static void set_start(struct exit_state *x, uint64_t vcpu)
{
    for (uint32_t i = SEG_ES; i <= SEG_GS; i++)
        flat(&x->seg[i], 0x10, 0xc93);
    flat(&x->seg[SEG_CS], 8, 0xc9b);
    x->seg[SEG_GDTR] = (struct segment){0, 0, 0x17, GDT};
    x->seg[SEG_IDTR] = (struct segment){0, 0, 0x7ff, IDT};
    x->seg[SEG_LDTR] = (struct segment){0, 0x82, 0, 0};
    x->seg[SEG_TR] = (struct segment){0, 0x8b, 0x67, GDT + 0x100};
    x->cr0 = 0x11;
    x->dr6 = 0xffff0ff0, x->dr7 = 0x400, x->xcr0 = 1;
    x->rip = CODE, x->rsp = STACK(vcpu + 1), x->rflags = 2;
}

/* Every event's portal: id = event | vCPU << 8. What is not expected ends the vCPU. */
static void on_event(uint64_t id, struct utcb *u)
{
    uint64_t event = id & 0xff;
    last_event = event;
    if (event == EVENT_START) {
        set_start(&u->exit, id >> 8);
        u->exit.cr4 = impossible_first ? 1u << 31 : 0;
        u->mtd = MTD_ALL;
    } else if (event == EVENT_INVALID && impossible_first) {
        set_start(&u->exit, id >> 8);
        u->exit.cr4 = 0;
        u->mtd = MTD_ALL;
    } else if (event == EVENT_MSR) {
        msr_events++;
        u->exit.rip = u->exit.next_rip;
        u->mtd = MTD_RIP;
    } else if (event == EVENT_RECALL && vmm_vector) {
        u->exit.apic_reg = 0x3f;
        u->exit.apic_value = vmm_vector;
        u->mtd = MTD_APIC;
    } else {
        u->mtd = MTD_KILL;
    }
    while (spin_in_vmm)
        ;
    pt_reply(0);
}

/* ---- making guests ---------------------------------------------------------- */
static void copy(uint64_t to, const uint8_t *from, const uint8_t *end)
{
    for (volatile uint8_t *p = (volatile uint8_t *)to; from < end; from++, p++)
        *p = *from;
}

static void write_memory(uint32_t g, const uint8_t *code)
{
    volatile uint64_t *memory = (volatile uint64_t *)WINDOW(g), *idt = memory + IDT / 8,
                      *gdt = memory + GDT / 8;
    for (uint32_t i = 0; i < 0x12000 / 8; i++)
        memory[i] = 0;
    copy(WINDOW(g) + CODE, code, code + 0x400 < guest_end ? code + 0x400 : guest_end);
    guest_fit_hypercalls((volatile uint8_t *)memory + CODE,
                         (volatile uint8_t *)memory + CODE + 0x400);
    copy(WINDOW(g) + STUBS, guest_stubs, guest_stubs_end);
    for (uint64_t v = 0; v < 256; v++)
        idt[v] = (STUBS + 16 * v) | 8 << 16 | 0x8e0000000000;
    gdt[1] = 0x00cf9b000000ffff;
    gdt[2] = 0x00cf93000000ffff;
}

static bool make_vcpu(uint32_t g, uint32_t v, uint64_t vmm, uint32_t core)
{
    uint32_t i = g * VCPUS + v;
    struct result r = ec_create(A_VCPU + i, A_GUEST + g, core, EC_VCPU, 0, EVENTS(v), 0, 0);
    stat_index[i] = r.value;
    bool ok = r.status == OK && kit_handler(i, vmm, core);
    for (uint64_t e = 0; ok && e < EVENT_COUNT; e++) {
        ok = pt_create(A_PT, SLOT_ROOT_PD, KIT_THREAD + i, address_of((void *)(uintptr_t)on_event),
                       MTD_RIP | MTD_INFO, e | v << 8) == OK;
        ok = ok && delegate(SLOT_ROOT_PD, A_PT, A_GUEST + g, EVENTS(v) + e, PT_CALL) == OK;
        kit_empty(A_PT);
    }
    return ok;
}

/* A guest with one vCPU; its memory is at WINDOW(g) for us. */
static bool make_guest(uint32_t g, const uint8_t *code, uint64_t vmm, uint32_t core)
{
    write_memory(g, code);
    bool ok = pd_create(A_GUEST + g, SLOT_ROOT_PD, SLOT_ROOT_SYS, PD_GUEST, 0, 24, 16, 0) == OK;
    ok = ok && mr_map(A_MR, A_GUEST + g, MR_READ | MR_WRITE | MR_EXEC, 0, g * FRAMES, FRAMES) == OK;
    return ok && make_vcpu(g, 0, vmm, core);
}

static uint64_t run(uint32_t g, uint32_t v)
{
    uint32_t i = g * VCPUS + v;
    return sc_create(A_SC + i, SLOT_ROOT_SYS, A_VCPU + i, 5, SC_WHOLE_CORE, 0);
}

static bool wait_done(uint32_t g, uint32_t value)
{
    uint64_t end = tsc() + PATIENCE;
    while (shared(g)->done != value && tsc() < end)
        rest(2000);
    return shared(g)->done == value;
}

static bool start(uint32_t g, const uint8_t *code, uint32_t core)
{
    return make_guest(g, code, SLOT_ROOT_PD, core) && run(g, 0) == OK;
}

static bool end_guest(uint32_t g)
{
    bool ok = destroy(A_GUEST + g) == OK;
    for (uint32_t i = g * VCPUS; i < (g + 1) * VCPUS; i++)
        kit_end(i);
    for (uint64_t slot = A_PT; slot < A_LAST; slot++)
        if ((slot - A_VCPU) / VCPUS == g || (slot - A_SC) / VCPUS == g || slot == A_GUEST + g)
            kit_empty(slot);
    return ok;
}

static bool becomes_set(const volatile uint64_t *word)
{
    for (uint64_t end = tsc() + PATIENCE; !*word && tsc() < end;)
        rest(2000);
    return *word;
}

static bool leave(uint32_t g, enum after policy)
{
    if (disengage(A_GUEST + g, policy, END_PORT, 1, END_PORT) != OK)
        return false;
    return becomes_set(&stat_of(g * VCPUS)->disengaged);
}

static uint64_t exits_of(uint32_t g)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < CAUSE_COUNT; i++)
        sum += stat_of(g * VCPUS)->exits[i];
    return sum;
}

static bool is(const char *what, uint64_t got, uint64_t want)
{
    if (got != want)
        kit_print("     %s: %lx, not %lx\n", what, got, want);
    return got == want;
}

/* ---- the core afterwards ---------------------------------------------------- */
static void pong(void)
{
    for (;;) {
        bell_wait(A_BELL, tsc() + 100000); /* by the core's timer, too */
        pongs++;
        bell_ring(A_PONG);
    }
}

/* `core` runs an ordinary thread, which other cores and its timer wake. */
static bool is_ordinary(uint32_t core)
{
    bool ok = sm_create(A_BELL, SLOT_ROOT_PD, 0) == OK && sm_create(A_PONG, SLOT_ROOT_PD, 0) == OK;
    ok = ok && kit_thread(KIT_THREADS - 1, SLOT_ROOT_PD, core, pong, KIT_EMPTY, 5);
    for (uint32_t i = 0; ok && i < 4; i++) {
        if (i & 1)
            bell_ring(A_BELL);
        ok = wait_for(A_PONG);
    }
    kit_end(KIT_THREADS - 1);
    ok &= destroy(A_BELL) == OK;
    return destroy(A_PONG) == OK && ok;
}

/* ---- tests ------------------------------------------------------------------ */
static void arguments(void)
{
    uint64_t vcpu = A_VCPU, sc = A_SC;
    bool ok = make_guest(0, guest_listen, SLOT_ROOT_PD, 1);
    ok = ok && is("a thread", sc_create(sc, SLOT_ROOT_SYS, SLOT_ROOT_EC, 5, SC_WHOLE_CORE, 0),
                  BUSY | 1 << 8);
    ok = ok && is("a period", sc_create(sc, SLOT_ROOT_SYS, vcpu, 5, SC_WHOLE_CORE, 1000),
                  BAD_ARG | 4 << 8);
    ok = ok && delegate(SLOT_ROOT_PD, SLOT_ROOT_SYS, SLOT_ROOT_PD, A_COPY, SYS_TIME) == OK;
    ok = ok && is("no right to cores", sc_create(sc, A_COPY, vcpu, 5, SC_WHOLE_CORE, 0),
                  BAD_RIGHT | 1 << 8);
    ok = ok &&
         is("disengage a shared one", disengage(A_GUEST, AFTER_STRICT, 0, 0, 0), BAD_ARG | 1 << 8);
    ok = ok && kit_thread(KIT_THREADS - 1, SLOT_ROOT_PD, 1, kit_park, KIT_EMPTY, 5);
    ok = ok && is("a core with time on it", run(0, 0), BUSY | 1 << 8);
    kit_end(KIT_THREADS - 1);
    ok = ok && run(0, 0) == OK && wait_done(0, 1) && is("twice", run(0, 0), BUSY | 1 << 8);
    ok = ok && kit_handler(KIT_THREADS - 1, SLOT_ROOT_PD, 1) && make_vcpu(0, 1, SLOT_ROOT_PD, 1);
    ok = ok && is("time on an owned core",
                  sc_create(A_COPY + 1, SLOT_ROOT_SYS, A_VCPU + 1, 5, 1000, 0), BUSY | 1 << 8);
    ok = ok && is("a second owner", run(0, 1), BUSY | 1 << 8) &&
         is("one is shared", disengage(A_GUEST, 0, 0, 0, 0), BAD_ARG | 1 << 8);
    ok = ok && destroy(A_VCPU + 1) == OK &&
         is("policy", disengage(A_GUEST, 2, 0, 0, 0), BAD_ARG | 2 << 8);
    ok = ok && leave(0, AFTER_STRICT) && is("again", disengage(A_GUEST, 0, 0, 0, 0), BUSY | 1 << 8);
    ok = ok && is("a vCPU in it", ec_create(A_FILL, A_GUEST, 2, EC_VCPU, 0, 1, 0, 0).status,
                  BUSY | 1 << 8);
    kit_end(KIT_THREADS - 1);
    kit_empty(A_COPY);
    kit_check("arguments", end_guest(0) && ok);
}

/* Timer and self-IPI come without an exit, with and without a VMM. */
static void own_interrupts(void)
{
    bool ok = make_guest(0, guest_timer, SLOT_ROOT_PD, 1);
    shared(0)->rounds = 100;
    ok = ok && run(0, 0) == OK && wait_done(0, 1);
    ok = ok && is("timer interrupts", counted(0)[0x40], 100) &&
         is("from itself", counted(0)[0x41], 100);
    uint64_t exits = exits_of(0) - stat_of(0)->exits[CAUSE_NMI];
    ok = ok && is("exits but the start", exits, 1);
    kit_check("a vCPU takes its own interrupts", end_guest(0) && is_ordinary(1) && ok);
}

/* Recall guest 0 and have its VMM send `vector`; did it come? */
static bool sends(uint32_t vector)
{
    uint32_t before = counted(0)[vector];
    uint64_t end = tsc() + PATIENCE;
    vmm_vector = vector;
    if (ec_recall(A_VCPU) != OK)
        return false;
    while (counted(0)[vector] == before && tsc() < end)
        rest(1000);
    return counted(0)[vector] == before + 1;
}

/* A VMM's messages come by the core's own APIC to a guest that halts. None is below 32. */
static void from_its_vmm(void)
{
    bool ok = make_guest(0, guest_listen, SLOT_ROOT_PD, 1) && run(0, 0) == OK && wait_done(0, 1);
    for (uint32_t i = 0; i < 100 && ok; i++)
        ok = sends(i & 1 ? 0x51 : 0x20) && sends(0xff);
    ok = ok && is("of a low vector", sends(31), false) && sends(0x51);
    vmm_vector = 0;
    kit_check("a VMM's interrupts", end_guest(0) && is_ordinary(1) && ok);
}

/* Everything that can be written to an ICR, by guest 0 on core 1. Guest 1 on core 2 and the kernel
 * on all see nothing. */
static uint32_t fill_icr(uint32_t only_mode)
{
    static const uint32_t targets[] = {0, 1, 2, 3, 0xffffffff, 4, 5, 6, 0xf, 0xffff, 0x1000f, 0xff};
    static const uint32_t vectors[] = {16, 31, 32, 0x80, 0xf0, 0xf1, 0xff};
    volatile uint32_t *table = (volatile uint32_t *)(WINDOW(0) + TABLE);
    uint32_t n = 0;
    for (uint32_t target = 0; target < 12; target++)
        for (uint32_t how = 0; how < 8; how++, n++) { /* shorthand, logical */
            uint32_t vector = vectors[n % 7];
            table[2 * n] = vector | only_mode << 8 | (how & 4) << 9 | (how & 3) << 18 | 1 << 14;
            table[2 * n + 1] = targets[target];
        }
    return n;
}

static bool nobody_heard(void)
{
    uint32_t sum = 0;
    for (uint32_t v = 0; v < 256; v++)
        sum += counted(1)[v];
    return is("interrupts elsewhere", sum, 0);
}

static bool send_all(uint32_t mode, bool alone)
{
    bool ok = make_guest(0, guest_icr, SLOT_ROOT_PD, 1);
    uint64_t before = msr_events;
    uint32_t n = shared(0)->arg = fill_icr(mode);
    volatile uint32_t *hold = (volatile uint32_t *)(WINDOW(0) + CODE);
    uint32_t first = *hold;
    if (alone)
        *hold = 0xfeeb; /* jmp . until it has left */
    ok = ok && run(0, 0) == OK;
    if (alone) {
        ok = ok && becomes_set(&stat_of(0)->first) && leave(0, AFTER_STRICT);
        *hold = first;
    }
    ok = ok && is("done", wait_done(0, 1), true) && nobody_heard();
    bool to_vmm = (mode == 5 || mode == 6) && !alone;
    ok = ok && is("to the VMM", msr_events - before, to_vmm ? n : 0);
    uint32_t own = 0;
    for (uint32_t v = 0; v < 256; v++)
        own += counted(0)[v];
    for (uint32_t v = 0; v < 32; v++) /* these it can have by 83Fh only */
        ok = ok && (v == 2 || is("below 32", counted(0)[v], 0));
    bool arrives = mode == 0 || mode == 1 || mode == 4;
    if (arrives != (own != 0)) {
        kit_print("     mode %u: %u interrupts at itself\n", mode, own);
        ok = false;
    }
    return end_guest(0) && ok;
}

static void icr(void)
{
    bool ok = start(1, guest_listen, 2) && wait_done(1, 1);
    uint64_t exits = exits_of(1);
    for (uint32_t mode = 0; ok && mode < 8; mode++)
        ok = send_all(mode, false) && send_all(mode, true);
    ok = ok && is("the other guest's exits but NMIs",
                  exits_of(1) - stat_of(1 * VCPUS)->exits[CAUSE_NMI], exits - 0);
    kit_check("no ICR write reaches another's core",
              end_guest(1) && is_ordinary(2) && is_ordinary(3) && ok);
}

/* The first vCPU sends vector 32 to a core that is about to be its sibling's. */
static void siblings(void)
{
    bool ok = true;
    for (uint32_t i = 0; ok && i < 20; i++) {
        ok = make_guest(0, guest_flood, SLOT_ROOT_PD, 1) && make_vcpu(0, 1, SLOT_ROOT_PD, 2) &&
             run(0, 0) == OK && wait_done(0, 1);
        for (uint64_t end = tsc() + i * 100; tsc() < end;)
            ;
        ok = ok && run(0, 1) == OK;
        rest(1 + i * 300);
        ok = ok && (i & 1 ? destroy(A_VCPU + 1) : destroy(A_SC + 1)) == OK;
        ok = ok && is("a vCPU without its core", STATUS_CODE(destroy(A_VCPU + 1)), BAD_CAP);
        ok = is_ordinary(2) && ok;
        ok = end_guest(0) && ok;
    }
    kit_check("a sibling's interrupts while a core changes hands", ok && is_ordinary(1));
}

/* QEMU says who it is (CPUID 4000_0000h). Bochs's ticks of several processors are no instructions.
 */
static bool ticks_are_instructions(void)
{
    return cpu_cpuid(0x40000000, 0).ebx == 0x54474354; /* "TCGT" */
}

/* Destroyed from here while it runs with interrupts off. */
static void kill(void)
{
    bool ok = start(0, guest_spin, 1) && wait_done(0, 1) && leave(0, AFTER_STRICT);
    uint64_t begin = tsc();
    ok = ok && destroy(A_GUEST) == OK;
    uint64_t took = tsc() - begin;
    kit_print("     killed in %lu instructions of all cores\n", took);
    end_guest(0);
    bool soon = took <= KILL_LIMIT || !ticks_are_instructions();
    kit_check("a guest that lets nothing in is killed", ok && soon && is_ordinary(1));
}

static void kill_waiting(void)
{
    bool ok = true;
    for (uint32_t alone = 0; ok && alone < 2; alone++) {
        ok = start(0, guest_waiting, 1) && wait_done(0, 1) && (!alone || leave(0, AFTER_STRICT));
        ok = end_guest(0) && is_ordinary(1) && ok;
    }
    kit_check("interrupts that a guest leaves behind", ok);
}

static void kill_in_vmm(void)
{
    spin_in_vmm = true;
    bool ok = start(0, guest_listen, 1);
    rest(100000);
    ok = ok && end_guest(0);
    spin_in_vmm = false;
    ok = make_guest(0, guest_listen, SLOT_ROOT_PD, 1) &&
         revoke(A_GUEST, EVENTS(0) + EVENT_START) == OK && run(0, 0) == OK && ok;
    ok = end_guest(0) && ok;
    kit_check("a VMM that loops, a guest that never began", ok && is_ordinary(1));
}

/* A guest of a shared core begins with a state that the processor refuses, then with interrupts
 * off: the core is still the kernel's. */
static void refused_state(void)
{
    impossible_first = true;
    bool ok = make_guest(0, guest_spin, SLOT_ROOT_PD, 1) &&
              sc_create(A_SC, SLOT_ROOT_SYS, A_VCPU, 5, 100000, 0) == OK;
    ok = ok && wait_done(0, 1) && is("refused", stat_of(0)->exits[EVENT_INVALID], 1) &&
         is_ordinary(1);
    impossible_first = false;
    kit_check("a refused state leaves the core its interrupts", end_guest(0) && ok);
}

static bool intel(void) { return cpu_cpuid(0, 0).ecx == CPUID_INTEL; }

static const struct forbidden {
    const char *name;
    const uint8_t *code;
    uint32_t event, exit[2]; /* the processor's own code, too: AMD's, Intel's; 0: it is #UD there */
} * forbidden_acts(uint32_t *n)
{
#define ACT(name, event, amd, intel)                                                               \
    {                                                                                              \
#name, guest_##name, event, { amd, intel }                                                 \
    }
    GUEST_CODE(in)
    GUEST_CODE(out)
    GUEST_CODE(outs) GUEST_CODE(rdmsr) GUEST_CODE(wrmsr) GUEST_CODE(read) GUEST_CODE(write);
    GUEST_CODE(vmrun)
    GUEST_CODE(vmload)
    GUEST_CODE(vmsave) GUEST_CODE(stgi) GUEST_CODE(clgi) GUEST_CODE(skinit) GUEST_CODE(invlpga);
    GUEST_CODE(vmxon)
    GUEST_CODE(vmxoff)
    GUEST_CODE(vmclear) GUEST_CODE(vmptrld) GUEST_CODE(vmptrst) GUEST_CODE(vmlaunch);
    GUEST_CODE(vmresume) GUEST_CODE(vmread) GUEST_CODE(vmwrite) GUEST_CODE(invept);
    GUEST_CODE(invvpid);
    GUEST_CODE(invd) GUEST_CODE(rsm) GUEST_CODE(rdpmc) GUEST_CODE(triple);
    static const struct forbidden acts[] = {
        ACT(in, EVENT_PORT, 0x7b, 30),       ACT(out, EVENT_PORT, 0x7b, 30),
        ACT(outs, EVENT_PORT, 0x7b, 30),     ACT(rdmsr, EVENT_MSR, 0x7c, 31),
        ACT(wrmsr, EVENT_MSR, 0x7c, 32),     ACT(read, EVENT_MEMORY, 0x400, 48),
        ACT(write, EVENT_MEMORY, 0x400, 48), ACT(vmrun, EVENT_OPCODE, 0x80, 0),
        ACT(vmload, EVENT_OPCODE, 0x82, 0),  ACT(vmsave, EVENT_OPCODE, 0x83, 0),
        ACT(stgi, EVENT_OPCODE, 0x84, 0),    ACT(clgi, EVENT_OPCODE, 0x85, 0),
        ACT(skinit, EVENT_OPCODE, 0x86, 0),  ACT(invlpga, EVENT_OPCODE, 0x7a, 0),
        ACT(vmclear, EVENT_OPCODE, 0, 19),   ACT(vmlaunch, EVENT_OPCODE, 0, 20),
        ACT(vmptrld, EVENT_OPCODE, 0, 21),   ACT(vmptrst, EVENT_OPCODE, 0, 22),
        ACT(vmread, EVENT_OPCODE, 0, 23),    ACT(vmresume, EVENT_OPCODE, 0, 24),
        ACT(vmwrite, EVENT_OPCODE, 0, 25),   ACT(vmxoff, EVENT_OPCODE, 0, 26),
        ACT(vmxon, EVENT_OPCODE, 0, 27),     ACT(invept, EVENT_OPCODE, 0, 50),
        ACT(invvpid, EVENT_OPCODE, 0, 53),   ACT(invd, EVENT_OPCODE, 0x76, 13),
        ACT(rsm, EVENT_OPCODE, 0x73, 0),     ACT(rdpmc, EVENT_OPCODE, 0x6f, 15),
        ACT(triple, EVENT_SHUTDOWN, 0x7f, 2)};
    *n = sizeof(acts) / sizeof(acts[0]);
    return acts;
}

/* A guest without a VMM has ended, and its core stays where it is. */
static bool wait_end(uint32_t g) { return becomes_set(&stat_of(g * VCPUS)->end_event); }

/* Strict: each ends the guest, and the record says by what. */
static bool ends(const struct forbidden *f)
{
    bool ok = start(0, f->code, 1) && wait_done(0, 2) && leave(0, AFTER_STRICT);
    shared(0)->arg = 1;
    ok = ok && wait_end(0);
    ok = is(f->name, stat_of(0)->end_event, f->event + 1) &&
         is(f->name, stat_of(0)->end_code, f->exit[intel()]) && shared(0)->done == 2 && ok;
    if (ok && f->event != EVENT_SHUTDOWN)
        ok = stat_of(0)->end_rip >= CODE && stat_of(0)->end_rip < CODE + 0x100;
    return end_guest(0) && ok;
}

static void strict(void)
{
    uint32_t n;
    const struct forbidden *f = forbidden_acts(&n);
    for (uint32_t i = 0; i < n; i++) {
        if (!f[i].exit[intel()] || ends(&f[i]))
            continue;
        kit_print("     %s\n", f[i].name);
        kit_check("strict", false);
    }
    kit_check("what a guest without a VMM may not do ends it", is_ordinary(1));
}

static void quiet(void)
{
    bool ok = start(0, guest_quiet, 1) && wait_done(0, 2) && leave(0, AFTER_QUIET);
    shared(0)->arg = 1;
    ok = ok && wait_done(0, 1);
    ok = is("in al", shared(0)->result[0], 0xff) && is("in ax", shared(0)->result[1], 0xffff) && ok;
    ok = is("in eax", shared(0)->result[2], 0xffffffff) &&
         is("rdmsr", shared(0)->result[3] & shared(0)->result[4], 0xffffffff) && ok;
    ok = is("memory", shared(0)->result[5], 0xffffffff) && ok;
    ok = end_guest(0) && ok;
    ok = start(0, guest_end_port, 1) && wait_done(0, 2) && leave(0, AFTER_QUIET) && ok;
    shared(0)->arg = 1;
    ok = ok && wait_end(0) && is("ended by", stat_of(0)->end_event, EVENT_PORT + 1) &&
         is("the port that ends it", stat_of(0)->end_info.number, END_PORT) && shared(0)->done == 2;
    kit_check("quiet: ports, MSRs and memory are not there", end_guest(0) && ok);
}

static void allowed(void)
{
    bool ok = start(0, guest_allowed, 1) && wait_done(0, 2) && leave(0, AFTER_STRICT);
    shared(0)->rounds = 1000;
    shared(0)->arg = 1;
    ok = ok && wait_done(0, 1) && is("vmmcall", shared(0)->result[0], (uint32_t)-38);
    ok = ok && counted(0)[1] > 0 && /* an Intel processor has no choice */
         is("exits by CPUID", stat_of(0)->exits[CAUSE_CPUID] - stat_of(0)->engaged[CAUSE_CPUID],
            intel() ? 1000 : 0);
    ok = ok && is("ended", stat_of(0)->end_event, 0) && is("recall", ec_recall(A_VCPU), OK);
    uint64_t exits = exits_of(0) - stat_of(0)->exits[CAUSE_NMI];
    rest(100000);
    ok = ok && is("exits while it halts", exits_of(0) - stat_of(0)->exits[CAUSE_NMI], exits);
    kit_check("what a guest without a VMM may do", end_guest(0) && ok);
}

/* The VMM's domain ends and its frames are others', while the guest runs on the core where the VMM
 * had run. */
static void vmm_ends(void)
{
    bool ok = kit_domain(A_VMM, 64, 64) && make_guest(0, guest_obey, A_VMM, 1) && run(0, 0) == OK &&
              wait_done(0, 1);
    ok = ok && leave(0, AFTER_STRICT) && destroy(A_VMM) == OK &&
         is("pd", pd_create(A_FILL, SLOT_ROOT_PD, 0, PD_HOST, 0, 3000, 4, 0), OK);
    for (uint64_t i = 0; ok && i < 1000 && mr_map(A_MR, A_FILL, MR_READ, i << 30, 0, 1) == OK; i++)
        ;
    for (uint32_t i = 1; ok && i <= 50; i++) {
        shared(0)->arg = i;
        for (uint64_t end = tsc() + PATIENCE; shared(0)->result[0] != i && tsc() < end;)
            rest(2000);
        ok = is("interrupts", counted(0)[0x50], i);
    }
    ok &= destroy(A_FILL) == OK;
    kit_check("the guest outlives its VMM and its VMM's tables", end_guest(0) && ok);
}

static void nmis(void)
{
    bool ok = make_guest(0, guest_nmi, SLOT_ROOT_PD, 1);
    shared(0)->rounds = 1000;
    shared(0)->arg = kit_stat->core[1].apic_id;
    ok = ok && run(0, 0) == OK && wait_done(0, 1) && is("NMIs", counted(0)[2], 1000);
    kit_check("a storm of NMIs to itself", end_guest(0) && is_ordinary(1) && ok);
}

/* One that stays in its handler, and one that sends NMIs for ever; with and without a VMM. */
static void kill_at_nmi(void)
{
    bool ok = true;
    for (uint32_t i = 0; ok && i < 4; i++) {
        ok = make_guest(0, i & 1 ? guest_stuck : guest_nmi, SLOT_ROOT_PD, 1);
        shared(0)->rounds = UINT32_MAX;
        shared(0)->arg = kit_stat->core[1].apic_id;
        ok = ok && run(0, 0) == OK;
        for (uint64_t end = tsc() + PATIENCE; !counted(0)[2] && tsc() < end;)
            rest(2000);
        ok = ok && counted(0)[2] && (i < 2 || leave(0, AFTER_STRICT));
        ok = end_guest(0) && is_ordinary(1) && ok;
    }
    kit_check("a guest at its NMIs is killed", ok);
}

static void restarts(void)
{
    bool ok = true;
    struct kit_count before = kit_count();
    for (uint32_t i = 0; ok && i < RESTARTS; i++) {
        ok = start(0, i & 1 ? guest_spin : guest_waiting, 1 + i % 3) && wait_done(0, 1) &&
             (i % 5 == 0 || leave(0, i & 1));
        ok = end_guest(0) && ok && kit_same(before, kit_count());
    }
    kit_check("200 restarts leave nothing behind",
              ok && is_ordinary(1) && is_ordinary(2) && is_ordinary(3));
}

/* ---- sealed memory: frames of A_REST ---------------------------------------- */
#define SEALED     0x60000000ull
#define SEALED_RUN 200u

static uint64_t map_sealed(uint64_t pd)
{
    return mr_map(A_REST, pd, MR_READ | MR_WRITE, SEALED, 0, SEALED_RUN);
}

static bool refused(const char *when, bool scrub)
{
    bool ok = is("map here", map_sealed(SLOT_ROOT_PD), BUSY | 1 << 8) &&
              is("map there", map_sealed(A_GUEST), BUSY | 1 << 8);
    ok = is("split", mr_split(A_COPY, SLOT_ROOT_PD, A_REST, 1), BUSY | 1 << 8) && ok;
    ok = is("destroy", destroy(A_REST), BUSY | 1 << 8) &&
         is("seal", mr_seal(A_REST, A_GUEST), BUSY | 1 << 8) && ok;
    if (scrub)
        ok = is("unmap", mr_unmap(A_REST, A_GUEST), BUSY | 1 << 8) &&
             is("scrub", mr_scrub(A_REST), BUSY | 1 << 8) && ok;
    if (!ok)
        kit_print("     %s\n", when);
    return ok;
}

static void sealed(void)
{
    volatile uint64_t *memory = (volatile uint64_t *)SEALED;
    bool ok = start(0, guest_listen, 1) && wait_done(0, 1) && map_sealed(SLOT_ROOT_PD) == OK &&
              map_sealed(A_GUEST) == OK;
    for (uint64_t i = 0; i < SEALED_RUN * PAGE_SIZE / 8; i++)
        memory[i] = ~i;
    ok = ok && delegate(SLOT_ROOT_PD, A_REST, SLOT_ROOT_PD, A_COPY, RIGHT_ALL & ~MR_SEAL) == OK;
    ok = ok && is("no right", mr_seal(A_COPY, A_GUEST), BAD_RIGHT | 1 << 8) &&
         revoke(SLOT_ROOT_PD, A_COPY) == OK;
    ok = ok && is("to a host", mr_seal(A_REST, SLOT_ROOT_PD), BAD_ARG | 1 << 8);
    ok = ok && mr_seal(A_REST, A_GUEST) == OK && refused("sealed", true);
    ok = ok &&
         mr_map(A_OTHER, SLOT_ROOT_PD, MR_READ, SEALED, 0, 8) == OK; /* our own mapping is gone */
    ok = ok && leave(0, AFTER_STRICT) && refused("alone", true);
    ok = ok && destroy(A_GUEST) == OK &&
         is("map the dead's", map_sealed(SLOT_ROOT_PD), BUSY | 1 << 8);
    ok = ok && is("split the dead's", mr_split(A_COPY, SLOT_ROOT_PD, A_REST, 1), BUSY | 1 << 8);
    uint32_t steps = 1;
    for (; ok && mr_scrub(A_REST) == AGAIN; steps++)
        ok = is("half clean", map_sealed(SLOT_ROOT_PD), BUSY | 1 << 8);
    ok = ok && steps > 1 && mr_scrub(A_REST) == OK;
    ignore(mr_unmap(A_OTHER, SLOT_ROOT_PD)); /* what stays is in the way of the next mapping */
    ok = ok && map_sealed(SLOT_ROOT_PD) == OK;
    for (uint64_t i = 0; ok && i < SEALED_RUN * PAGE_SIZE / 8; i++)
        ok = memory[i] == 0;
    ignore(mr_unmap(A_REST, 0)); /* to tidy up: the pool is compared at the end */
    end_guest(0);
    kit_check("sealed memory", ok);
}

/* Memory for all guests; what follows is A_REST, of a sealed region's size. */
static bool take_memory(void)
{
    return kit_region(A_MR) && mr_split(A_REST, SLOT_ROOT_PD, A_MR, 1024) == OK &&
           mr_split(A_OTHER, SLOT_ROOT_PD, A_REST, SEALED_RUN) == OK;
}

static bool map_windows(void)
{
    bool ok = true;
    for (uint32_t g = 0; ok && g < GUESTS; g++)
        ok = mr_map(A_MR, SLOT_ROOT_PD, MR_READ | MR_WRITE, WINDOW(g), g * FRAMES, FRAMES) == OK;
    return ok && map_sealed(SLOT_ROOT_PD) == OK &&
           mr_unmap(A_REST, 0) == OK; /* the tables are there from now on */
}

/* Not more than there are: kit_cores() would wait for one that does not come. */
static bool start_cores(void)
{
    bool ok = true;
    for (uint32_t i = 1; i < CORES && ok; i++)
        ok = kit_core(i);
    return ok;
}

void kit_main(void)
{
    kit_check("four cores", start_cores());
    kit_check("memory",
              take_memory() && map_windows() && sm_create(KIT_SCRATCH, SLOT_ROOT_PD, 0) == OK);
    struct kit_count before = kit_count();
    arguments();
    own_interrupts();
    from_its_vmm();
    siblings();
    kill();
    kill_waiting();
    kill_in_vmm();
    strict();
    quiet();
    allowed();
    vmm_ends();
    nmis();
    kill_at_nmi();
    restarts();
    sealed();
    icr();
    refused_state();
    struct kit_count now = kit_count();
    kit_check("all is given back", is("frames", now.frames, before.frames) &&
                                       is("objects", now.objects, before.objects));
}
