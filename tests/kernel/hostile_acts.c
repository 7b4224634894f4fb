/* What the hostile VMM does: each attack is done again and again in its domain. Where a status is
 * ignored, the call may be refused: what counts is what the victim feels of it. */
#include "hostile.h"

volatile uint64_t argument, rounds, status;

static void note(uint64_t s)
{
    if (s != OK)
        status = s;
}

static void end_new(uint64_t made)
{
    note(made);
    if (made == OK)
        ignore(destroy(E_NEW));
}

static uint64_t new_ec(enum ec_kind kind)
{
    return ec_create(E_NEW, E_PD, argument, kind, 0x70000000, E_EMPTY, 0x400000, 0).status;
}

static void spin(void) {}
static void nap(void) { ignore(sm_down(E_BELL, tsc() + argument)); }
static void semaphore(void) { end_new(sm_create(E_NEW, E_PD, 0)); }
static void thread(void) { end_new(new_ec(EC_THREAD)); }
static void handler(void) { end_new(new_ec(EC_HANDLER)); }
static void portal(void) { end_new(pt_create(E_NEW, E_PD, E_HANDLER, 0x400000, 0, 0)); }
static void domain(void) { end_new(pd_create(E_NEW, E_PD, 0, PD_HOST, 0, 3, 2, 0)); }
static void up(void) { note(sm_up(E_BELL)); }
static void up_down(void)
{
    ignore(sm_up(E_BELL));
    ignore(sm_down(E_BELL, 0));
}
static void ring_root(void) { note(sm_up(E_ROOT_BELL)); }
static void recall(void) { note(ec_recall(E_VCPU)); }
static void work(void)
{
    for (volatile uint64_t i = 0; i < argument; i++)
        ;
}
static void work_up(void)
{
    work();
    up();
}
static void work_recall(void)
{
    work();
    recall();
}
static void work_ring(void)
{
    work();
    ring_root();
}
static void call(void) { ignore(pt_call(E_CALL, 8)); }
static void call_far(void) { ignore(pt_call(E_FAR, 8)); }
static void call_nap(void) { ignore(pt_call(E_NAP, 0)); }
static void copies(void)
{
    ignore(delegate(E_PD, E_BELL, E_GUEST, 100, SM_UP));
    ignore(revoke(E_GUEST, 100));
}
static void map(uint64_t pd)
{
    note(mr_map(E_REGION, pd, MR_READ, 0x60000000, 0, 1));
    note(mr_unmap(E_REGION, pd));
}
static void map_own(void) { map(E_PD); }
/* Its guest has no vCPU on the victim's core: those would be interrupted for it, which is for root
 * to know: no VMM has a region. */
static void map_guest(void) { map(E_GUEST); }
static void interrupt(void) { note(dv_irq(E_DV, 0, argument++ % DV_IRQS, 0).status); }
static void cpuid(void) { ignore(vcpu_cpuid(E_VCPU)); }
static void nothing(void) { note(nop()); }
static void unknown(void) { ignore(call5(CALL_COUNT + 1, 0, 0, 0, 0, 0).status); }
/* The calls of `argument`, one a round, with nothing in its hands. */
static void refused(void)
{
    uint64_t call = rounds % CALL_COUNT;
    while (!(argument >> call & 1))
        call = (call + 1) % CALL_COUNT;
    ignore(call5(call, 0, 0, 0, 0, 0).status);
}
static void forbidden(void) { ignore(destroy(E_PD)); }
static void handler_in_use(void)
{
    uint64_t made = ec_create(E_NEW, E_PD, argument, EC_HANDLER, 0x70000000, E_EMPTY, 0, 0).status;
    if (made == OK && pt_create(E_NEW + 1, E_PD, E_NEW, 0x400000, 0, 0) == OK)
        ignore(pt_call(E_NEW + 1, 0)); /* refused, or it faults for good: the core's own affair */
    end_new(made);
    ignore(revoke(E_PD, E_NEW + 1));
}

#define C(call) (1u << CALL_##call)
/* Of rights that no VMM and no switch has. */
#define ROOT_ONLY                                                                                  \
    (C(SC_CREATE) | C(MR_SPLIT) | C(CORE_START) | C(MR_SEAL) | C(MR_SCRUB) | C(DISENGAGE) |        \
     C(IOMMU_START) | C(IOMMU_FAULT) | C(DV_CREATE))
_Static_assert(CALL_COUNT <= 32, "a bit for each call");

const struct attack attacks[] = {
    {"spins", spin, 0, SAME | APART, 0},
    {"naps for 50", nap, 50, SAME, C(SM_DOWN)},
    {"naps for 100", nap, 100, SAME, C(SM_DOWN)},
    {"naps for 300", nap, 300, SAME, C(SM_DOWN)},
    {"naps for 500", nap, 500, SAME, C(SM_DOWN)},
    {"naps for 1,000", nap, 1000, SAME, C(SM_DOWN)},
    {"naps for 2,000", nap, 2000, SAME, C(SM_DOWN)},
    {"naps for 5,000", nap, 5000, SAME, C(SM_DOWN)},
    {"naps for 50,000", nap, 50000, SAME, C(SM_DOWN)},
    {"naps in a handler", call_nap, 100, SAME, C(PT_CALL) | C(PT_REPLY) | C(SM_DOWN)},
    {"ends semaphores", semaphore, 0, SAME | APART | FAR_VCPU, C(SM_CREATE) | C(DESTROY)},
    {"ends threads on core 0", thread, 0, SAME | APART, C(EC_CREATE) | C(DESTROY)},
    {"ends threads on core 1", thread, 1, SAME | APART | FAR_VCPU, C(EC_CREATE) | C(DESTROY)},
    {"ends threads on core 2", thread, 2, SAME | APART, C(EC_CREATE) | C(DESTROY)},
    {"ends handlers on core 0", handler, 0, SAME | APART, C(EC_CREATE) | C(DESTROY)},
    {"ends handlers on core 1", handler, 1, SAME | APART | FAR_VCPU, C(EC_CREATE) | C(DESTROY)},
    {"ends used handlers on core 1", handler_in_use, 1, APART | FAR_VCPU,
     C(EC_CREATE) | C(PT_CREATE) | C(DESTROY)},
    {"ends portals", portal, 0, SAME | APART, C(PT_CREATE) | C(DESTROY)},
    {"ends domains", domain, 0, SAME | APART, C(PD_CREATE) | C(DESTROY)},
    {"ups and downs a semaphore", up_down, 0, SAME | APART, C(SM_UP) | C(SM_DOWN)},
    {"rings root's bell", ring_root, 0, SAME | APART | ROOTS, C(SM_UP)},
    {"calls a portal", call, 0, SAME | APART, C(PT_CALL) | C(PT_REPLY)},
    {"calls a portal of another core", call_far, 0, SAME | APART, C(PT_CALL)},
    {"copies and revokes", copies, 0, SAME | APART, C(DELEGATE) | C(REVOKE)},
    {"calls what there is not", unknown, 0, SAME | APART, 0},
    {"calls what it may not", forbidden, 0, SAME | APART, C(DESTROY)},
    {"calls nothing at all", nothing, 0, SAME | APART, C(NOP)},
    {"asks for what only root may", refused, ROOT_ONLY, SAME | APART, ROOT_ONLY},
    {"sets its vCPU's CPUID", cpuid, 0, SAME | APART | FAR_VCPU, C(VCPU_CPUID)},
    {"maps and unmaps", map_own, 0, SAME | APART | FAR_VCPU, C(MR_MAP) | C(MR_UNMAP)},
    {"maps to its guest and unmaps", map_guest, 0, SAME | APART, C(MR_MAP) | C(MR_UNMAP)},
    {"turns a device's interrupts off", interrupt, 0, SAME | APART | FAR_VCPU, C(DV_IRQ)},
    {"wakes its worker there", up, 0, FAR_WAKE, C(SM_UP)},
    {"wakes its worker there after 100", work_up, 20, FAR_WAKE, C(SM_UP)},
    {"wakes its worker there after 500", work_up, 100, FAR_WAKE, C(SM_UP)},
    {"wakes its worker there after 1,000", work_up, 200, FAR_WAKE, C(SM_UP)},
    {"wakes its worker there after 2,500", work_up, 500, FAR_WAKE, C(SM_UP)},
    {"wakes its worker there after 5,000", work_up, 1000, FAR_WAKE, C(SM_UP)},
    {"recalls its vCPU there", recall, 0, FAR_VCPU, C(EC_RECALL)},
    {"recalls its vCPU there after 500", work_recall, 100, FAR_VCPU, C(EC_RECALL)},
    {"recalls its vCPU there after 5,000", work_recall, 1000, FAR_VCPU, C(EC_RECALL)},
    {"rings root's bell after 500", work_ring, 100, ROOTS, C(SM_UP)},
    {"naps for 100 until it is ended", nap, 100, ENDED, C(SM_DOWN)},
};
const uint32_t attack_count = sizeof(attacks) / sizeof(attacks[0]);
_Static_assert(sizeof(attacks) / sizeof(attacks[0]) <= ATTACKS_MAX, "what is known of each");

bool attacks_have_all_calls(void)
{
    uint32_t calls = 0;
    for (uint32_t i = 0; i < attack_count; i++)
        calls |= attacks[i].calls;
    for (uint32_t call = 0; call < CALL_COUNT; call++)
        if (!(calls >> call & 1))
            kit_print("     no attack by call %u\n", call);
    return calls == (uint32_t)((1ull << CALL_COUNT) - 1);
}
