/*
 * The life of a vCPU: what every vendor's needs. Its CPUID rows, its counters, the
 * state that changes hands between guests, and what is to be done before it runs.
 * Own core for everything that touches a running vCPU.
 */
#include <apic.h>
#include <cap.h>
#include <core.h>
#include <pt.h>
#include <frame.h>
#include <sched.h>
#include <virt.h>

uint64_t vcpu_states;
static bool has_barrier;          /* IBPB */
static bool stat_used[MAX_VCPUS]; /* counters.vcpu[i] belongs to a vCPU */

void vcpu_core_init(struct core *c)
{
    virt_core_init(c);
    struct cpuid states = cpu_cpuid(0xd, 0);
    vcpu_states = (uint64_t)states.edx << 32 | states.eax;
    cpu_xsetbv(7);
    has_barrier = (cpu_cpuid(0x80000008, 0).ebx >> 12 | cpu_cpuid(7, 0).edx >> 26) & 1;
}

struct ec *vcpu_new(struct pd *pd, uint8_t core, uint64_t *index)
{
    uint32_t stat = 0;
    while (stat < MAX_VCPUS && stat_used[stat])
        stat++;
    if (stat == MAX_VCPUS || pd->frames_left < 3 || counters.frames_free < 3)
        return 0;
    struct ec *ec = object_new(OBJ_EC, pd);
    if (!ec)
        return 0;
    struct vcpu *v = ec->vcpu = frame_new(pd);
    v->vmcb = frame_new(pd);
    v->cpuid = frame_new(pd);
    v->xcr0 = 1;
    v->xsave[25] = 0x1f; /* MXCSR = 1F80h, its reset value */
    v->xsave[24] = 0x80;
    *index = stat;
    stat_used[stat] = true;
    v->counters = &counters.vcpu[stat];
    *v->counters = (struct vcpu_stat){0};
    ec->kind = EC_VCPU;
    ec->core = core;
    ec->pd = pd;
    virt_new(ec);
    ec->state = STATE_NEW;
    ec->hazard = HAZARD_START;
    pd->cores |= 1ull << core;
    return ec;
}

/* Its VMM is about to go: from now on this core touches nothing of it, and no rendezvous interrupts
 * it. */
static void leave(struct ec *ec)
{
    core_leave_space(cpu_core());
    virt_disengage(ec);
    for (uint32_t i = 0; i < CPUID_LEAVES; i++) /* where CPUID still exits: 40000000h.. is gone */
        ec->vcpu->cpuid_first[1][i] = 0;
    cpu_copy_words(ec->vcpu->counters->engaged, ec->vcpu->counters->exits, CAUSE_COUNT);
    __atomic_store_n(&ec->core_mode, CORE_DISENGAGED, __ATOMIC_RELEASE);
    __atomic_store_n(&ec->vcpu->counters->disengaged, cpu_tsc(), __ATOMIC_RELEASE);
}

void vcpu_release(struct ec *ec)
{
    struct vcpu *v = ec->vcpu;
    stat_used[v->counters - counters.vcpu] = false;
    if (ec->pd->head.dead)
        return;
    frame_free(v->cpuid);
    frame_free(v->vmcb);
    frame_free(v);
}

/* Where each leaf's rows begin (1: the first row). Leaves come in four groups of CPUID_LEAVES: 0..,
 * 40000000h.., 8.., C.. */
static void index_rows(struct vcpu *v)
{
    for (uint32_t i = v->cpuid_rows; i >= 1; i--) {
        uint32_t leaf = v->cpuid[i - 1].leaf;
        if ((leaf & 0x3fffffff) < CPUID_LEAVES)
            v->cpuid_first[leaf >> 30][leaf & 0x3fffffff] = (uint8_t)i;
    }
}

uint64_t vcpu_set_cpuid(struct ec *self, uint64_t slot)
{
    void *o;
    uint64_t s = cap_find(self->pd, slot, OBJ_EC, EC_SETUP, 1, &o);
    if (s)
        return s;
    struct ec *ec = o;
    uint64_t rows = once(self->utcb->rows);
    if (ec->kind != EC_VCPU || rows == 0 || rows > CPUID_ROWS)
        return bad(BAD_ARG, 1);
    if (ec->state != STATE_NEW)
        return bad(BUSY, 1);
    cpu_copy_words((uint64_t *)ec->vcpu->cpuid, self->utcb->word,
                   (rows * sizeof(struct cpuid_row) + 7) / 8);
    ec->vcpu->cpuid_rows = (uint32_t)rows;
    index_rows(ec->vcpu);
    return OK;
}

void vcpu_recall_local(struct ec *ec)
{
    __atomic_fetch_or(&ec->hazard, HAZARD_RECALL, __ATOMIC_ACQ_REL);
    if (ec->state == STATE_HALTED)
        sched_wake(ec);
}

void vcpu_set_deadline(struct ec *ec, uint64_t deadline)
{
    if (deadline == ec->timer.deadline)
        return;
    sched_timer_clear(&ec->timer);
    if (deadline)
        sched_timer_set(&ec->timer, deadline);
}

/* The FPU, XCR0 and debug registers change hands only when another vCPU runs on the core. */
static void fpu_off(void) { cpu_set_cr0(cpu_cr0() | CR0_TS); }

void vcpu_unload(struct core *c)
{
    if (!c->loaded)
        return;
    struct vcpu *v = c->loaded->vcpu;
    cpu_clts();
    cpu_get_dr(v->dr);
    v->xcr0 = cpu_xgetbv();
    cpu_xsetbv(7);
    cpu_xsave(v->xsave);
    fpu_off();
    virt_current(c->loaded, false);
    c->loaded = 0;
}

void vcpu_load_core(struct core *c, struct ec *ec)
{
    struct vcpu *v = ec->vcpu;
    if (c->loaded == ec)
        return;
    vcpu_unload(c);
    if (has_barrier) /* Spectre v2: no branch is predicted by what another VM trained (APM2 3.2.9)
                      */
        cpu_wrmsr(MSR_PRED_CMD, 1);
    cpu_clts();
    cpu_set_dr(v->dr);
    cpu_xsetbv(vcpu_states); /* a guest without a VMM may have used more than others get */
    cpu_xrstor(v->xsave);
    cpu_xsetbv(v->xcr0);
    fpu_off();
    c->loaded = ec;
    virt_current(ec, true);
    cpu_clear_buffers(); /* MDS and its kin: what was stored of the vCPU before (sched_pick) */
    if (!v->counters->first)
        v->counters->first = cpu_tsc();
}

static void start(struct ec *ec)
{
    if (ec->core_mode) {
        if (!ec->pd->ports)
            apic_clear();
        if (cpu_core()->current != ec) /* it died meanwhile */
            return;
        __atomic_store_n(&ec->core_mode, CORE_OWNED, __ATOMIC_RELEASE);
    }
    ec->vcpu->counters->exits[EVENT_START]++;
    pt_event(ec, EVENT_START);
}

/* What its VMM is to be asked first, and its leaving: each by itself. Did something come up? */
static bool engaged_prepare(struct ec *ec)
{
    uint8_t waiting = ec->hazard & (HAZARD_START | HAZARD_RECALL | HAZARD_LEAVE),
            take = waiting & -waiting; /* the lowest first */
    __atomic_fetch_and(&ec->hazard, (uint8_t)~take, __ATOMIC_ACQ_REL);
    if (take == HAZARD_START) {
        start(ec);
    } else if (take == HAZARD_RECALL) {
        virt_no_instruction(ec);
        ec->vcpu->counters->exits[EVENT_RECALL]++;
        pt_event(ec, EVENT_RECALL);
    } else if (take == HAZARD_LEAVE) {
        leave(ec);
    }
    return take != 0;
}

/* After INIT, which is at work as long as its hazard is set (APM2 14.1.3). With a start-up IPI it
   runs, from real mode; without one it waits, on a core of its own for what rings it next. */
static RARE void start_again(struct ec *ec)
{
    /* Of a segment: selector, attributes, limit, base. */
    static const struct exit_state reset = {.rflags = RFLAGS_FIXED,
                                            .cr0 = 0x10, /* INIT leaves CD and NW, which are 0 */
                                            .dr6 = 0xffff0ff0,
                                            .dr7 = 0x400,
                                            .seg = {[SEG_ES] = {0, 0x93, 0xffff, 0},
                                                    [SEG_CS] = {0, 0x9b, 0xffff, 0},
                                                    [SEG_SS... SEG_GDTR] = {0, 0x93, 0xffff, 0},
                                                    [SEG_LDTR] = {0, 0x82, 0xffff, 0},
                                                    [SEG_IDTR] = {0, 0x93, 0xffff, 0},
                                                    [SEG_TR] = {0, 0x8b, 0xffff, 0}}};
    uint16_t sipi = once(ec->sipi);
    if (sipi) {
        __atomic_fetch_and(&ec->hazard, (uint8_t) ~(HAZARD_INIT | HAZARD_START | HAZARD_NMI),
                           __ATOMIC_ACQ_REL);
        /* Lost INIT: one that came since the look at the start-up IPI has taken that back. */
        if (once(ec->sipi) != sipi)
            __atomic_fetch_or(&ec->hazard, HAZARD_INIT, __ATOMIC_ACQ_REL);
        ec->nmi_kept = ec->vcpu->step = 0;
        virt_load(ec, &reset,
                  MTD_ACDB | MTD_REST | MTD_RIP | MTD_FLAGS | MTD_CONTROL | MTD_SEGS | MTD_EFER);
        virt_start_at(ec, (uint8_t)sipi);
    } else if (ec->core_mode) {
        cpu_idle(false);
    } else {
        ec->state = STATE_HALTED;
        sched_block();
    }
}

void vcpu_prepare(struct ec *ec)
{
    if (ec->hazard & HAZARD_INIT) {
        start_again(ec);
        return;
    }
    if (ec->core_mode != CORE_DISENGAGED && engaged_prepare(ec))
        return;
    uint8_t hazard = __atomic_fetch_and(
        &ec->hazard,
        (uint8_t)(ec->core_mode == CORE_DISENGAGED ? HAZARD_END | HAZARD_INIT : ~HAZARD_NMI),
        __ATOMIC_ACQ_REL);
    if (hazard & HAZARD_END)
        cpu_idle(false); /* until the core is taken back */
    else if (hazard & HAZARD_NMI)
        ec->nmi_kept = !virt_give_nmi(ec);
    vcpu_load_core(&cores[ec->core], ec);
}
