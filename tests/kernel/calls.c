/* Every system call with every kind of wrong argument, and what threads may not do. */
#include "calls.h"

#define VTD    0xfed90000ull /* QEMU's */
#define WINDOW 0x50000000ull

bool calls_unit;

static bool take_region(void)
{
    return kit_region(C_MR) && mr_split(C_NEW, SLOT_ROOT_PD, C_MR, C_MR_FRAMES) == OK &&
           revoke(SLOT_ROOT_PD, C_NEW) == OK;
}

/* One frame of devices' addresses. If that is where VT-d has its registers, they are taken for unit
 * 0. */
static bool take_devices(void)
{
    const struct boot_info *boot = (const struct boot_info *)ROOT_INFO;
    uint32_t i = 0;
    while (i < boot->ranges && VTD - boot->range[i].base >= boot->range[i].size)
        i++;
    uint64_t frame = (VTD - boot->range[i].base) >> PAGE_SHIFT;
    bool ok = mr_split(C_NEW, SLOT_ROOT_PD, SLOT_ROOT_MR + i, frame) == OK &&
              mr_split(C_DEVICE, SLOT_ROOT_PD, C_NEW, 1) == OK;
    ok = ok && mr_split(C_COPY, SLOT_ROOT_PD, C_DEVICE, 1) == OK &&
         mr_map(C_NEW, SLOT_ROOT_PD, MR_READ, WINDOW, 0, 1) == OK;
    uint32_t version = ok ? *(volatile uint32_t *)WINDOW : 0;
    ok = ok && mr_unmap(C_NEW, 0) == OK;
    calls_unit = version && version + 1;
    ok = ok && (!calls_unit || iommu_start(SLOT_ROOT_SYS, C_NEW, IOMMU_VTD, C_BUSES).status == OK);
    kit_print("     an IOMMU: %s\n", calls_unit ? "VT-d" : "none");
    return revoke(SLOT_ROOT_PD, C_NEW) == OK && revoke(SLOT_ROOT_PD, C_COPY) == OK && ok;
}

static void on_call(void) { pt_reply(0); }

void calls_setup(void)
{
    bool ok = kit_domain(C_PD, 64, 64) &&
              pd_create(C_GUEST, SLOT_ROOT_PD, SLOT_ROOT_SYS, PD_GUEST, 0, 32, 16, 0) == OK;
    ok = ok && kit_handler(0, C_PD, 0);
    ok = ok && ec_create(C_VCPU, C_GUEST, 0, EC_VCPU, 0, 0, 0, 0).status == OK;
    ok = ok && ec_create(C_FREE_THREAD, C_PD, 0, EC_THREAD, 0x30001000, 0, 0, 0).status == OK;
    ok = ok && pt_create(C_PT, SLOT_ROOT_PD, C_HANDLER, (uint64_t)(uintptr_t)on_call, 0, 0) == OK;
    ok = ok && sm_create(C_SM, SLOT_ROOT_PD, 1000000) == OK;
    ok = ok && sm_create(C_STALE, SLOT_ROOT_PD, 0) == OK && destroy(C_STALE) == OK;
    ok = ok && kit_thread(1, C_PD, 0, kit_park, 0, 1);
    ok = ok && (!calls_unit || dv_create(C_DV, C_GUEST, SLOT_ROOT_SYS, C_RID, 0) == OK);
    kit_check("setup", ok);
}

void calls_teardown(void)
{
    bool ok =
        destroy(C_SM) == OK && destroy(C_PT) == OK && destroy(C_GUEST) == OK && destroy(C_PD) == OK;
    for (uint64_t slot = C_PD; slot < C_LOCAL; slot++)
        if (slot != C_MR)
            kit_empty(slot);
    kit_empty(C_HANDLER);
    kit_end(1);
    kit_check("teardown", ok);
}

bool calls_expect(const char *name, const char *what, uint64_t got, enum status status,
                  unsigned arg)
{
    uint64_t want = (uint64_t)status | (uint64_t)arg << 8;
    if (got == want)
        return true;
    kit_print("     %s, %s: status %lx, not %lx\n", name, what, got, want);
    return false;
}

bool calls_covered(const char *name, uint64_t rows, uint64_t without)
{
    bool all = true;
    for (uint64_t call = 0; call < CALL_COUNT; call++)
        if (!(rows & CALLS_BIT(call)) != !!(without & CALLS_BIT(call))) {
            kit_print("     %s: call %lu has %s\n", name, call,
                      rows & CALLS_BIT(call) ? "rows, and should have none" : "no row");
            all = false;
        }
    return all;
}

void kit_main(void)
{
    kit_print("cores: %u\n", kit_cores());
    kit_check("regions", take_region() && take_devices());
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
