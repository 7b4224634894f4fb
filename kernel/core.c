/* Cores: coming up, the graph lock, rendezvous, the inbox. */
#include <apic.h>
#include <cap.h>
#include <iommu.h>
#include <sched.h>
#include <virt.h>

struct core cores[MAX_CORES];
SHARED uint32_t core_count;
/* The masks of the rendezvous that is under way (core_sync). They are written under the graph lock,
   before each core's sync_wanted, whose release and acquire publish them. */
static uint64_t sync_purge, sync_flush;
static struct {
    uint32_t number, apic_id;
    bool adopted;
} asked; /* the core started last, which is on its way while no other has that number; graph lock */

static uint8_t stacks[MAX_CORES][PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
/* Read by entry.S: the stack of the core that starts; at first the boot core's */
uint64_t core_starting = (uint64_t)(stacks + 1);
/* The graph lock, a ticket lock: waiters are served in order */
static uint32_t tickets, served;
static uint64_t idt[512], drain_idt[512];

extern const uint8_t trap_stubs[], nmi_entry[], init_entry[], drain_entry[];
void core_first_resume(void) __attribute__((noreturn));
void core_main_ap(void) __attribute__((noreturn));

/* A waiter takes part in rendezvous while it spins. Otherwise it would wait for the holder, which
   waits in core_sync() for the waiter's core: a deadlock. */
void core_lock_graph(void)
{
    uint32_t mine = __atomic_fetch_add(&tickets, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&served, __ATOMIC_ACQUIRE) != mine) {
        core_sync_poll();
        cpu_relax();
    }
    check_lock(true);
}

void core_unlock_graph(void)
{
    check_lock(false);
    __atomic_store_n(&served, served + 1, __ATOMIC_RELEASE);
}

/* Threads of a core that a vCPU has for itself run with interrupts off: the interrupts that arrive
   there are the guest's. Graph lock, before the core has an owner; or on the core itself, after its
   owner is dead. */
static void mask_threads(const struct core *c, bool quiet)
{
    for (uint32_t i = 1; i < objects_end; i++) {
        struct ec *ec = &objects[i].ec;
        if (ec->head.type == OBJ_EC && ec->core == c->number)
            ec->regs.rflags =
                quiet ? ec->regs.rflags & ~(uint64_t)RFLAGS_IF : ec->regs.rflags | RFLAGS_IF;
    }
}

static void load_idt(const uint64_t *table)
{
    cpu_lidt(&(struct descriptor_pointer){sizeof idt - 1, (uint64_t)table});
}

/*
 * The local APIC becomes the kernel's again, after the vCPU that had the core is dead and in no
 * queue. Own core. Interrupts in service are ended (apic_drain). Interrupts that are pending are
 * let in once, through drain_idt, whose gates only end them: a guest can send itself vectors from
 * 16 up, and the kernel's own table has exceptions there.
 */
static void reclaim(struct core *c)
{
    check_that(is_own_core(c->number) && interrupts_off());
    apic_drain();
    apic_init(c);
    load_idt(drain_idt);
    apic_let_in();
    load_idt(idt);
    c->reclaim = 0;
    c->armed = 0;
    mask_threads(c, false);
}

void core_leave_space(struct core *c)
{
    c->cr3 = objects[1].pd.table_pa;
    cpu_set_cr3(c->cr3);
}

/* This core's part in a rendezvous. It drops every reference that it keeps beyond one entry into
   the kernel: the posted ECs (inbox), the vCPU whose FPU state is loaded, the host space with its
   TLB entries; `purge`: the dead ones in its queues. */
static void let_go(struct core *c)
{
    core_take_inbox();
    if (sync_flush >> c->number & 1 || (c->loaded && c->loaded->head.dead))
        vcpu_unload(c);
    core_leave_space(c);
    if (sync_purge >> c->number & 1) {
        sched_purge();
        if (c->reclaim)
            reclaim(c);
    }
    c->attention = 1; /* core_attention() picks who goes on, and loads its space */
}

void core_sync_poll(void)
{
    struct core *c = cpu_core();
    uint32_t wanted = __atomic_load_n(&c->sync_wanted, __ATOMIC_ACQUIRE);
    if (wanted == c->sync_done)
        return;
    let_go(c);
    __atomic_store_n(&c->sync_done, wanted, __ATOMIC_RELEASE);
}

/* Make core `c` enter the kernel: by an interrupt; by an NMI where interrupts are the guest's. Any
 * core. */
static void ring(struct core *c)
{
    bool owned = core_owned(c);
    if (owned)
        /* Lost wake-up: it is visible before the NMI is sent. */
        __atomic_store_n(&c->doorbell, 1, __ATOMIC_SEQ_CST);
    apic_send(c->apic_id, owned ? SEND_NMI : VECTOR_IPI);
}

uint64_t core_users(const struct pd *pd)
{
    check_that(has_graph_lock());
    uint64_t mask = pd->cores;
    /* TLB shootdown: the caller's writes to the table come before this load of cr3. A core that
       loads the table later therefore walks the new entries; one that loaded it earlier is in the
       mask. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < core_count; i++)
        mask |= (uint64_t)(once(cores[i].cr3) == pd->table_pa) << i;
    return mask;
}

/*
 * Wait until core `c` has answered. One that was not `called` may also just leave the kernel.
 *
 * Lost wake-up: the NMI can arrive after the core checked its doorbell and before its SYSRET. The
 * handler then finds the kernel interrupted and changes nothing, and the core goes on to a thread
 * that runs with interrupts off: nothing would bring it back. So the caller rings again after every
 * PATIENCE turns; an NMI in user mode enters the kernel.
 */
static void await(struct core *c, bool called)
{
    enum { PATIENCE = 4096 };
    const uint64_t limit = cpu_tsc() + (1ull << 33); /* 2 to 8 s: no call takes so long */
    for (uint32_t n = 1; __atomic_load_n(&c->sync_done, __ATOMIC_ACQUIRE) != c->sync_wanted; n++) {
        if (!called && __atomic_load_n(&c->outside, __ATOMIC_ACQUIRE))
            return;
        cpu_relax();
        if (n % PATIENCE)
            continue;
        if (called)
            ring(c);
        if (n > 1u << 20 && cpu_tsc() > limit)
            panic("a core does not answer: its number", c->number, 0);
    }
}

void core_sync(uint64_t purge, uint64_t flush)
{
    check_that(has_graph_lock());
    uint32_t self = cpu_core()->number;
    uint64_t called = purge | flush, waiting = 0;
    sync_purge = purge;
    sync_flush = flush;
    if (iommu_stale)
        iommu_flush(); /* before cores drop pending interrupts: no device adds one then */
    /* The caller's marks (`dead`, unmapped entries) are visible before `outside` is read. It pairs
       with COME_IN of entry.inc: a core that is seen outside reads the marks when it comes in; any
       other is waited for. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < core_count; i++) {
        if (i == self || (!(called >> i & 1) && once(cores[i].outside)))
            continue;
        waiting |= 1ull << i;
        __atomic_fetch_add(&cores[i].sync_wanted, 1, __ATOMIC_RELEASE);
        if (called >> i & 1)
            ring(&cores[i]);
    }
    if (called >> self & 1)
        let_go(&cores[self]);
    for (; waiting; waiting &= waiting - 1)
        await(&cores[__builtin_ctzll(waiting)], called >> __builtin_ctzll(waiting) & 1);
}

void core_post(struct ec *ec)
{
    if (__atomic_exchange_n(&ec->inboxed, 1, __ATOMIC_ACQ_REL))
        return;
    struct core *c = &cores[ec->core];
    struct ec *head = __atomic_load_n(&c->inbox, __ATOMIC_RELAXED);
    do
        ec->inbox_next = head;
    while (!__atomic_compare_exchange_n(&c->inbox, &head, ec, false, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED));
    ring(c);
}

void core_take_inbox(void)
{
    struct core *c = cpu_core();
    struct ec *ec = __atomic_exchange_n(&c->inbox, 0, __ATOMIC_ACQUIRE);
    for (struct ec *next; ec; ec = next) {
        next = ec->inbox_next;
        __atomic_store_n(&ec->inboxed, 0, __ATOMIC_SEQ_CST);
        if (ec->head.dead)
            continue;
        if (__atomic_exchange_n(&ec->woken, 0, __ATOMIC_ACQ_REL) ||
            (ec->state == STATE_HALTED && ec->hazard & HAZARDS_WAKE))
            sched_wake(ec);
    }
}

bool core_busy(uint8_t number)
{
    for (uint32_t i = 1; i < objects_end; i++)
        if (objects[i].head.type == OBJ_SC && objects[i].sc.core == number)
            return true;
    return cores[number].owner;
}

void core_give(struct ec *ec)
{
    struct core *c = &cores[ec->core];
    check_that(has_graph_lock() && !ec->head.dead);
    mask_threads(c, true);
    /* Who comes after it on this core gets all states of XCR0 anew (vcpu_load_core). */
    virt_take_core(ec);
    ec->core_mode = CORE_GIVEN;
    c->owner = ec;
    /* Afterwards a core that read `owner` as empty has sent its interrupt; others send NMIs. */
    core_sync(0, 0);
}

void core_attention(void)
{
    struct core *c = cpu_core();
    check_that(interrupts_off());
    for (;;) {
        c->attention = 0;
        /* Lost wake-up: a post or a panic that comes after what is read below sets it again. The
           exchange keeps the reads behind the write. */
        bool rung = __atomic_exchange_n(&c->doorbell, 0, __ATOMIC_SEQ_CST);
        while (panic_used)
            cpu_idle(false);
        if (rung) {
            core_take_inbox();
            core_sync_poll();
        }
        sched_pick();
        if (c->current || c->attention || c->doorbell)
            return;
        cpu_idle(!core_owned(c));
    }
}

static void set_gate(uint64_t *table, unsigned vector, const uint8_t *handler, uint64_t ist)
{
    uint64_t a = (uint64_t)handler;
    table[2 * vector] = (a & 0xffff) | SEL_KERNEL_CODE << 16 | ist << 32 | 0x8eull << 40 |
                        (a >> 16 & 0xffff) << 48; /* APM2 4.8.4 */
    table[2 * vector + 1] = a >> 32;
}

static void init_idt(void)
{
    enum { NMI = 2, DOUBLE_FAULT = 8, MACHINE_CHECK = 18 };
    for (unsigned v = 0; v < 256; v++)
        set_gate(idt, v, trap_stubs + TRAP_STUB * v,
                 v == DOUBLE_FAULT || v == MACHINE_CHECK ? IST_FATAL : 0);
    set_gate(idt, NMI, nmi_entry, IST_NMI);
    for (unsigned v = 0; v < 256; v++)
        set_gate(drain_idt, v, drain_entry, 0);
    set_gate(drain_idt, NMI, nmi_entry, IST_NMI);
    set_gate(idt, VECTOR_SX, init_entry, IST_FATAL);
    set_gate(drain_idt, VECTOR_SX, init_entry, IST_FATAL);
}

static void init_tables(struct core *c)
{
    uint64_t tss = (uint64_t)&c->tss;
    c->tss.rsp[0] = c->stack_top;
    c->tss.ist[IST_NMI - 1] = (uint64_t)(&c->nmi_stack + 1);
    c->tss.ist[IST_FATAL - 1] = (uint64_t)(&c->fatal_stack + 1);
    c->tss.iomap = sizeof c->tss;   /* no I/O bitmap: IOPL opens all ports to a thread, or none */
    c->gdt[1] = 0x00209b0000000000; /* kernel code; the order is SYSRET's (APM2 6.1.1) */
    c->gdt[2] = 0x0000930000000000;
    c->gdt[3] = 0x0000f30000000000; /* user data */
    c->gdt[4] = 0x0020fb0000000000; /* user code */
    c->gdt[5] =
        (sizeof c->tss - 1) | (tss & 0xffffff) << 16 | 0x89ull << 40 | (tss >> 24 & 0xff) << 56;
    c->gdt[6] = tss >> 32;
    c->gdt_at = (struct descriptor_pointer){sizeof c->gdt - 1, (uint64_t)c->gdt};
    cpu_lgdt(&c->gdt_at);
    load_idt(idt);
    cpu_reload_segments();
    cpu_ltr(SEL_TSS);
}

uint64_t core_idt(void) { return (uint64_t)idt; }

void core_init(struct core *c, uint32_t number, const struct pd *space)
{
    c->self = c;
    c->number = (uint8_t)number;
    c->stack_top = (uint64_t)(stacks + number + 1);
    c->cr3 = space->table_pa;
    if (number == 0)
        init_idt();
    cpu_set_cr3(c->cr3);
    init_tables(c);
    c->adopted = asked.adopted;
    core_init_registers(c);
    c->adopted ? apic_adopt(c) : apic_init(c);
    if (number == 0)
        apic_calibrate();
    vcpu_core_init(c);
    c->since = cpu_tsc();
    c->attention = 1;
    counters.core[number].apic_id = c->apic_id;
    __atomic_store_n(&core_count, number + 1, __ATOMIC_RELEASE);
    __atomic_store_n(&counters.core[number].online, 1, __ATOMIC_RELEASE); /* root waits for this */
}

void core_main_ap(void)
{
    core_init(&cores[core_count], core_count, &objects[1].pd);
    core_first_resume();
}

uint64_t core_start(struct pd *self, uint64_t sys, uint64_t apic_id)
{
    void *o;
    bool comes = apic_id & CORE_COMES, adopted = apic_id & CORE_KEEPS_APIC;
    apic_id &= ~(CORE_COMES | CORE_KEEPS_APIC);
    uint64_t s = cap_find(self, sys, OBJ_SYS, SYS_CORE, 1, &o);
    if (s)
        return s;
    if (apic_id >= (apic_x2 ? 1u << 20 : 255))
        return bad(BAD_ARG, 2);
    for (uint32_t i = 0; i < core_count; i++)
        if (cores[i].apic_id == apic_id)
            return bad(BUSY, 2);
    if (core_count == MAX_CORES)
        return NO_MEMORY;
    if (asked.number == core_count) {
        if (core_starting && asked.apic_id == apic_id && !comes) {
            apic_send(asked.apic_id, SEND_STARTUP | core_ap_page);
            return OK;
        }
        /* Two cores on one stack: the core given up might come at any time, so it is the exchange
           that decides whether it has its stack (entry.S, core_entry_ap) or never gets it. */
        if (!__atomic_exchange_n(&core_starting, 0, __ATOMIC_ACQ_REL))
            return BUSY;
        apic_send(asked.apic_id, SEND_INIT);
    }
    asked.number = core_count;
    asked.apic_id = (uint32_t)apic_id;
    asked.adopted = adopted;
    __atomic_store_n(&core_starting, (uint64_t)(stacks + core_count + 1), __ATOMIC_RELEASE);
    if (!comes)
        apic_send(asked.apic_id, SEND_INIT);
    return OK;
}
