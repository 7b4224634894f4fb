/*
 * AMD SVM: the VMCB of each vCPU, what is intercepted, what is to be done before
 * it runs. Own core for everything that touches a running vCPU.
 */
#include <apic.h>
#include <cap.h>
#include <core.h>
#include <ipc.h>
#include <pool.h>
#include <sched.h>
#include <vcpu.h>
#include <vmcb.h>

static uint8_t iopm[3 * PAGE_SIZE] __attribute__((aligned(PAGE_SIZE))); /* all ones: every port exits (APM2 15.10.1) */
/* APM2 15.11. Of vCPUs that share their core; that have one; that have disengaged, too. */
static uint8_t msrpm[3][2 * PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
enum { MAP_SHARED, MAP_OWN, MAP_ALONE, MAPS };
enum { READ = 1, WRITE = 2 };
static struct vmcb host_vmcb[MAX_CORES] __attribute__((aligned(PAGE_SIZE)));
static struct {
    uint8_t byte[PAGE_SIZE];
} host_save[MAX_CORES] __attribute__((aligned(PAGE_SIZE)));
static uint64_t all_states; /* what XCR0 may hold */
static uint64_t stat_used;  /* bit i: stat.vcpu[i] belongs to a vCPU */

/* MSRs a guest reads and writes itself: VMRUN, VMSAVE and VMLOAD switch each of them. */
static const uint32_t own_msrs[] = {
    0xc0000100, 0xc0000101, 0xc0000102,             /* FS.base GS.base KernelGSbase */
    0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, /* STAR LSTAR CSTAR SFMASK */
    0x174,      0x175,      0x176,                  /* SYSENTER CS ESP EIP */
};

static void msr_allow(unsigned map, uint32_t msr, unsigned access)
{
    uint32_t bit = 2 * (msr & 0x1fff) + (msr >= 0xc0000000 ? 0x4000 : 0);
    msrpm[map][bit / 8] &= (uint8_t) ~(access << bit % 8);
}

/* The local APIC of a vCPU with a core of its own: all but what leaves the core (ICR) or could upset it (LVT but for the
   timer). While it has a VMM, that one answers for the timer's count, which an emulator under -icount cannot be asked:
   it counts from the write of the divider on, before those of the initial count, which would never let a guest be quiet. */
static void allow_apic(unsigned map)
{
    for (uint32_t r = 0; r < 0x40; r++) {
        bool count = r == 0x39 && map == MAP_OWN, start = r == 0x3e && map == MAP_OWN;
        bool kept = r == 0x30 || (r >= 0x33 && r <= 0x37) || r == 0x2f;
        msr_allow(map, MSR_X2APIC + r, (count ? 0 : READ) | (kept || start ? 0 : WRITE));
    }
}

void vcpu_init(void)
{
    for (uint32_t i = 0; i < sizeof iopm; i++)
        iopm[i] = 0xff;
    for (unsigned map = 0; map < MAPS; map++) {
        for (uint32_t i = 0; i < sizeof msrpm[map]; i++)
            msrpm[map][i] = 0xff;
        for (uint32_t i = 0; i < sizeof own_msrs / sizeof own_msrs[0]; i++)
            msr_allow(map, own_msrs[i], READ | WRITE);
        if (map != MAP_SHARED)
            allow_apic(map);
    }
    msr_allow(MAP_ALONE, MSR_EFER, READ);
}

void vcpu_core_init(struct core *c)
{
    cpu_wrmsr(MSR_VM_HSAVE, cpu_pa(&host_save[c->number]));
    c->host_vmcb_pa = cpu_pa(&host_vmcb[c->number]);
    cpu_vmsave(c->host_vmcb_pa);
    struct cpuid states = cpu_cpuid(0xd, 0);
    all_states = (uint64_t)states.edx << 32 | states.eax;
    cpu_xsetbv(7);
}

static void init_vmcb(struct vmcb *v, uint64_t nested_cr3)
{
    v->intercept_exception = 1u << 1 | 1u << 17 | 1u << 18; /* #DB and #AC loop for ever if a guest wants; #MC */
    v->intercept1 = I1_INTR | I1_NMI | I1_INIT | I1_RDPMC | I1_CPUID | I1_RSM | I1_INVD | I1_HLT | I1_INVLPGA | I1_PORT | I1_MSR |
                    I1_FREEZE | I1_SHUTDOWN;
    v->intercept2 = I2_SVM | I2_MONITOR | I2_MWAIT | I2_XSETBV;
    v->iopm_pa = cpu_pa(iopm);
    v->msrpm_pa = cpu_pa(msrpm[MAP_SHARED]);
    v->asid = 1; /* one for all: the TLB is flushed when a core changes vCPUs */
    v->vintr = VINTR_MASKING;
    v->nested = 1;
    v->nested_cr3 = nested_cr3;
    v->efer = EFER_SVME;
    v->pat = PAT_RESET;
}

struct ec *vcpu_new(struct pd *pd, uint8_t core, uint64_t *index)
{
    if (!~stat_used || pd->frames_left < 3 || stat.frames_free < 3)
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
    *index = (uint64_t)__builtin_ctzll(~stat_used);
    stat_used |= 1ull << *index;
    v->stat = &stat.vcpu[*index];
    *v->stat = (struct vcpu_stat){0};
    init_vmcb(v->vmcb, pd->table_pa);
    ec->vmcb_pa = cpu_pa(v->vmcb);
    ec->kind = EC_VCPU;
    ec->way = WAY_GUEST;
    ec->core = core;
    ec->pd = pd;
    ec->state = STATE_NEW;
    ec->hazard = HAZARD_START;
    pd->cores |= 1u << core;
    return ec;
}

void vcpu_own(struct ec *ec)
{
    struct vmcb *v = ec->vcpu->vmcb;
    v->intercept1 &= ~(uint32_t)(I1_INTR | I1_HLT);
    v->intercept2 &= ~(uint32_t)I2_XSETBV; /* who comes after it on this core gets all states anew (load) */
    v->vintr = 0;
    v->msrpm_pa = cpu_pa(msrpm[MAP_OWN]);
    ec->own = OWN_GIVEN;
}

/* Its VMM is about to go: from now on this core touches nothing of it, and no rendezvous interrupts it. */
static void leave(struct ec *ec)
{
    core_leave_space(cpu_core());
    struct vmcb *v = ec->vcpu->vmcb;
    v->intercept1 &= ~(uint32_t)I1_CPUID;
    v->intercept2 &= ~(uint32_t)(I2_MONITOR | I2_MWAIT);
    v->msrpm_pa = cpu_pa(msrpm[MAP_ALONE]);
    cpu_copy_words(ec->vcpu->stat->engaged, ec->vcpu->stat->exits, CAUSE_COUNT);
    __atomic_store_n(&ec->own, OWN_LEFT, __ATOMIC_RELEASE);
    __atomic_store_n(&ec->vcpu->stat->left, cpu_tsc(), __ATOMIC_RELEASE);
}

void vcpu_release(struct ec *ec)
{
    struct vcpu *v = ec->vcpu;
    stat_used &= ~(1ull << (v->stat - stat.vcpu));
    if (ec->pd->head.dead)
        return;
    frame_free(v->cpuid);
    frame_free(v->vmcb);
    frame_free(v);
}

/* Where each leaf's rows begin (1: the first row). Leaves come in four groups of CPUID_LEAVES: 0.., 40000000h.., 8.., C.. */
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
    cpu_copy_words((uint64_t *)ec->vcpu->cpuid, self->utcb->word, (rows * sizeof(struct cpuid_row) + 7) / 8);
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

/* The FPU, XCR0 and debug registers change hands only when another vCPU runs on the core. */
static void fpu_on(void) { cpu_clts(); }
static void fpu_off(void) { cpu_set_cr0(cpu_cr0() | CR0_TS); }

void vcpu_unload(struct core *c)
{
    if (!c->loaded)
        return;
    struct vcpu *v = c->loaded->vcpu;
    fpu_on();
    cpu_get_dr(v->dr);
    v->xcr0 = cpu_xgetbv();
    cpu_xsetbv(7);
    cpu_xsave(v->xsave);
    fpu_off();
    c->loaded = 0;
}

static void load(struct core *c, struct ec *ec)
{
    struct vcpu *v = ec->vcpu;
    vcpu_unload(c);
    fpu_on();
    cpu_set_dr(v->dr);
    cpu_xsetbv(all_states); /* a guest without a VMM may have used more than others get */
    cpu_xrstor(v->xsave);
    cpu_xsetbv(v->xcr0);
    fpu_off();
    c->loaded = ec;
    v->vmcb->tlb_control = 1; /* flush all (APM2 15.16.2) */
    if (!v->stat->first)
        v->stat->first = cpu_tsc();
}

static void start(struct ec *ec)
{
    if (ec->own) {
        apic_clear();
        if (cpu_core()->current != ec) /* it died meanwhile */
            return;
        __atomic_store_n(&ec->own, OWN_READY, __ATOMIC_RELEASE);
    }
    ec->vcpu->stat->exits[EVENT_START]++;
    ipc_event(ec, EVENT_START);
}

/* Until the next IRET there is one at work, with which this is one: a processor would keep it for after (APM2 8.1.4). It
   goes before an exception, which comes again when its instruction does. */
static void give_nmi(struct ec *ec)
{
    struct vmcb *v = ec->vcpu->vmcb;
    if (v->intercept1 & I1_IRET)
        return;
    v->intercept1 |= I1_IRET;
    v->inject = INJECT_VALID | INJECT_NMI | 2;
}

/* What its VMM is to be asked first, and its leaving: each by itself. Did something come up? */
static bool engaged_prepare(struct ec *ec)
{
    uint8_t h = ec->hazard, take = h & HAZARD_START ? HAZARD_START : h & HAZARD_RECALL ? HAZARD_RECALL : h & HAZARD_LEAVE;
    __atomic_fetch_and(&ec->hazard, (uint8_t)~take, __ATOMIC_ACQ_REL);
    if (take == HAZARD_START) {
        start(ec);
    } else if (take == HAZARD_RECALL) {
        ec->vcpu->stat->exits[EVENT_RECALL]++;
        ipc_event(ec, EVENT_RECALL);
    } else if (take == HAZARD_LEAVE) {
        leave(ec);
    }
    return take != 0;
}

void vcpu_prepare(struct ec *ec)
{
    if (ec->own != OWN_LEFT && engaged_prepare(ec))
        return;
    uint8_t hazard = __atomic_fetch_and(&ec->hazard, (uint8_t)(ec->own == OWN_LEFT ? HAZARD_END : ~HAZARD_NMI), __ATOMIC_ACQ_REL);
    if (hazard & HAZARD_END)
        cpu_idle(false); /* until the core is taken back */
    else if (hazard & HAZARD_NMI)
        give_nmi(ec);
    if (cores[ec->core].loaded != ec)
        load(&cores[ec->core], ec);
}
