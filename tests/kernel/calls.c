/* Every system call with every kind of wrong argument, and what threads may not do. */
#include "calls.h"

static bool take_region(void)
{
    return kit_region(C_MR) && mr_split(C_NEW, SLOT_ROOT_PD, C_MR, C_MR_FRAMES) == OK && revoke(SLOT_ROOT_PD, C_NEW) == OK;
}

static void on_call(void) { pt_reply(0); }

void calls_setup(void)
{
    bool ok = kit_domain(C_PD, 64, 64) && pd_create(C_GUEST, SLOT_ROOT_PD, SLOT_ROOT_SYS, PD_GUEST, 0, 32, 16) == OK;
    ok = ok && kit_handler(0, C_PD, 0);
    ok = ok && ec_create(C_VCPU, C_GUEST, 0, EC_VCPU, 0, 0, 0, 0).status == OK;
    ok = ok && ec_create(C_FREE_THREAD, C_PD, 0, EC_THREAD, 0x30001000, 0, 0, 0).status == OK;
    ok = ok && pt_create(C_PT, SLOT_ROOT_PD, C_HANDLER, (uint64_t)(uintptr_t)on_call, 0, 0) == OK;
    ok = ok && sm_create(C_SM, SLOT_ROOT_PD, 1000000) == OK;
    ok = ok && sm_create(C_STALE, SLOT_ROOT_PD, 0) == OK && destroy(C_STALE) == OK;
    kit_check("setup", ok);
}

void calls_teardown(void)
{
    bool ok = destroy(C_SM) == OK && destroy(C_PT) == OK && destroy(C_GUEST) == OK && destroy(C_PD) == OK;
    for (uint64_t slot = C_PD; slot < C_LOCAL; slot++)
        if (slot != C_MR)
            revoke(SLOT_ROOT_PD, slot);
    revoke(SLOT_ROOT_PD, C_HANDLER);
    kit_check("teardown", ok);
}

bool calls_expect(const char *name, const char *what, uint64_t got, enum status status, unsigned arg)
{
    uint64_t want = (uint64_t)status | (uint64_t)arg << 8;
    if (got == want)
        return true;
    kit_print("     %s, %s: status %lx, not %lx\n", name, what, got, want);
    return false;
}

void kit_main(void)
{
    kit_print("cores: %u\n", kit_cores());
    kit_check("region", take_region());
    struct kit_count before = kit_count();
    calls_setup();
    args_test();
    numbers_test();
    calls_teardown();
    wild_test();
    life_test();
    time_test();
    kit_check("all is given back", kit_same(before, kit_count()));
}
