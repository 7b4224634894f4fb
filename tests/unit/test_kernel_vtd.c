/* VT-d: what a unit must have, what it is told in which order, and the tables it reads. */
#include "rig_iommu.h"

_Static_assert(IOMMU_WINDOW + MAX_IOMMUS * IOMMU_FRAMES * PAGE_SIZE <= APIC_WINDOW,
               "one page table has the windows");

#define VTD IOMMU_VTD
enum {
    CAP = 0x08,
    ECAP = 0x10,
    GSTS = 0x1c,
    RTADDR = 0x20,
    FSTS = 0x34,
    PMEN = 0x64,
    IQH = 0x80,
    IQT = 0x88,
    IQA = 0x90,
    IRTA = 0xb8,
    RECORD = 0x220
};
#define RID 0x0123ull

static uint64_t *root_table(void) { return (uint64_t *)*fake64(0, RTADDR); }
static uint64_t *irte(uint32_t n) { return (uint64_t *)(*fake64(0, IRTA) & ~0xfffull) + 2 * n; }
static uint64_t *context(uint64_t rid)
{
    return (uint64_t *)(root_table()[2 * (rid >> 8)] & ~0xfffull) + 2 * (rid & 0xff);
}

/* No test of its own domain: units stay. */
static void a_unit_that_lacks_something_is_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t reg;
        uint64_t flip;
    } row[] = {
        {CAP, 1ull << 10},   {CAP, 1ull << 34}, {CAP, 1ull << 35},
        {CAP, 1ull << 54},   {CAP, 1ull << 55}, {CAP, 6},
        {CAP, 1ull << 4},    {CAP, 1ull << 7},  {ECAP, 1 << 1},
        {ECAP, 1 << 3},      {ECAP, 1 << 4},    {CAP, 0xddull << 24 /* FRO: in the next page */},
        {CAP, 0xfeull << 40}};
    fake_regions(VTD);
    for (unsigned i = 0; i < COUNT(row); i++) {
        struct kernel_stat before = counters;
        uint64_t frame, bits;
        fake_reset(0, VTD);
        *fake64(0, row[i].reg & ~7u) ^= row[i].flip << 8 * (row[i].reg & 7);
        assert_int_equal(start_unit(0, VTD, 2), bad(BAD_ARG, 1));
        assert_int_equal(fake[0].globals, 0);
        assert_int_equal(counters.frames_free, before.frames_free);
        assert_int_equal(counters.objects_free, before.objects_free);
        assert_false(ptab_lookup(kernel_space, IOMMU_WINDOW, &frame, &bits));
    }
    fake_reset(0, VTD);
    *fake32(0, GSTS) = 1u << 31; /* at work, by tables of another kind */
    *fake64(0, RTADDR) = 0x5000 | 1 << 10;
    assert_int_equal(start_unit(0, VTD, 2), bad(BAD_ARG, 1));
    fake_reset(0, VTD);
    assert_int_equal(graph(CALL_PD_CREATE, 60 | (uint64_t)SLOT_ROOT_PD << 16, PD_HOST,
                           root->frames_left - 4, 0, 0),
                     OK);
    assert_int_equal(start_unit(0, VTD, 2), NO_MEMORY);
    assert_int_equal(end(60), OK);
}

static void a_unit_starts_in_order(void **state)
{
    (void)state;
    static const uint32_t commands[] = {1u << 30, 1u << 26, 1u << 26 | 1u << 24,
                                        1u << 26 | 1u << 31, 1u << 26 | 1u << 31 | 1u << 25};
    uint32_t left = root->frames_left;
    assert_int_equal(start_unit(0, VTD, 2), OK);
    assert_int_equal(left - root->frames_left, 5);
    assert_int_equal(fake[0].globals, COUNT(commands));
    for (unsigned i = 0; i < COUNT(commands); i++)
        assert_int_equal(fake[0].global[i], commands[i]); /* compatibility format (bit 23) never */
    assert_int_equal(*fake64(0, IRTA) & 0xfff, 0x807);    /* 32-bit APIC IDs, 256 entries */
    assert_int_equal(*fake64(0, IQA) & 0xfff, 0);
    assert_int_equal(commands_since(0, VTD, 1), 1);
    assert_int_equal(commands_since(0, VTD, 2), 1);
    assert_int_equal(commands_since(0, VTD, 4), 1);
    for (uint32_t bus = 0; bus < 256; bus++)
        assert_int_equal(root_table()[2 * bus] & 1, bus < 2);
    for (uint32_t rid = 0; rid < 512; rid++)
        assert_int_equal(context(rid)[0], 0);
    assert_int_equal(graph(CALL_MR_MAP,
                           DEVICE | (uint64_t)SLOT_ROOT_PD << 16 | (uint64_t)MR_READ << 32,
                           0x70000000, 0, 1, 0),
                     bad(BAD_CAP, 1));
}

/* Firmware keeps DMA out until the system does: by translation, by protected regions. */
static void leave_on_by_firmware(uint32_t unit)
{
    fake_reset(unit, VTD);
    *fake32(unit, GSTS) = 1u << 31 | 1u << 30 | 1u << 26 | 1u << 25 | 1u << 24;
    *fake64(unit, RTADDR) = 0x5000;
    *fake64(unit, IRTA) = 0x6000;
    *fake64(unit, IQA) = 0x7000;
    *fake64(unit, IQH) = 0x30;
    *fake64(unit, IQT) = 0x40;
    *fake32(unit, PMEN) = 1u << 31 | 1;
}

static void a_unit_that_firmware_left_on_is_taken_over(uint32_t unit)
{
    static const uint32_t on = 1u << 31 | 1u << 25;
    static const uint32_t commands[] = {on, on | 1u << 30, on | 1u << 26, on | 1u << 26 | 1u << 24};
    leave_on_by_firmware(unit);
    assert_int_equal(start_unit(unit, VTD, 1), OK);
    for (unsigned i = 0; i < COUNT(commands); i++)
        assert_int_equal(fake[unit].global[i], commands[i]);
    assert_int_equal(*fake32(unit, GSTS) >> 24, 0xc7);
    assert_int_not_equal(*fake64(unit, RTADDR), 0x5000);
    assert_int_not_equal(*fake64(unit, IRTA) & ~0xfffull, 0x6000);
    assert_int_equal(fake[unit].stale, 0);
    assert_int_equal(*fake32(unit, PMEN), 0);
}

static void units_are_of_one_kind_and_so_many(void **state)
{
    (void)state;
    assert_int_equal(start_unit(1, IOMMU_AMDVI, 1), bad(BAD_ARG, 2));
    uint64_t guest = 60;
    assert_int_equal(graph(CALL_PD_CREATE,
                           guest | (uint64_t)SLOT_ROOT_PD << 16 | (uint64_t)SLOT_ROOT_SYS << 32,
                           PD_GUEST, 4, 4, 0),
                     OK);
    assert_int_equal(start_unit(1, VTD, 1), BUSY);
    assert_int_equal(end(guest), OK);
    a_unit_that_firmware_left_on_is_taken_over(1);
    for (uint32_t i = 2; i < MAX_IOMMUS; i++) {
        fake_reset(i, VTD);
        assert_int_equal(start_unit(i, VTD, 1), OK);
    }
    assert_int_equal(start_unit(MAX_IOMMUS, VTD, 1), NO_MEMORY);
}

static void a_function_reads_its_guests_table(void **state)
{
    (void)state;
    uint64_t guest = make_pd(PD_GUEST, 20, 20), other = make_pd(PD_GUEST, 20, 20),
             who = (uint64_t)SLOT_ROOT_SYS << 32;
    uint64_t dv = make_dv(guest, 0, RID), slot = slot_new();
    assert_int_equal(context(RID)[0], ((struct pd *)object_at(guest))->table_pa | 1);
    assert_int_equal(context(RID)[1], 2 | 1 << 8);
    assert_int_equal(commands_since(0, VTD, 2), 1);
    assert_int_equal(graph(CALL_DV_CREATE, slot | other << 16 | who, RID, 0, 0, 0), bad(BUSY, 2));
    assert_int_equal(graph(CALL_DV_CREATE, slot | other << 16 | who, 0x200, 0, 0, 0),
                     bad(BAD_ARG, 2));
    assert_int_equal(graph(CALL_DV_CREATE, slot | other << 16 | who, RID | 4 << 16, 0, 0, 0),
                     bad(BAD_ARG, 2));
    assert_int_equal(graph(CALL_DV_CREATE, slot | (uint64_t)LAB << 16 | who, 0x100, 0, 0, 0),
                     bad(BAD_ARG, 1));
    make_dv(other, 1, RID & 0xff); /* behind another unit */
    uint64_t second = make_dv(guest, 0, 0x100);
    assert_int_equal(context(0x100)[1], 2 | 2 << 8);
    fake[0].commands = 0;
    assert_int_equal(end(dv), OK);
    assert_int_equal(context(RID)[0], 0);
    assert_int_equal(commands_since(0, VTD, 1), 1);
    assert_int_equal(commands_since(0, VTD, 2), 1);
    assert_int_equal(end(guest), OK);
    assert_int_equal(context(0x100)[0], 0);
    assert_int_equal(end(second), bad(BAD_CAP, 1));
}

static void sixteen_functions_a_unit(void **state)
{
    (void)state;
    uint64_t guest = make_pd(PD_GUEST, 20, 40), slot = slot_new();
    for (uint64_t i = 0; i < IOMMU_FUNCTIONS; i++)
        make_dv(guest, 0, i);
    assert_int_equal(
        graph(CALL_DV_CREATE, slot | guest << 16 | (uint64_t)SLOT_ROOT_SYS << 32, 0x50, 0, 0, 0),
        NO_MEMORY);
    assert_int_equal(end(guest), OK);
    for (uint64_t i = 0; i < IOMMU_FUNCTIONS; i++)
        assert_int_equal(context(i)[0], 0);
}

static void no_device_comes_to_sealed_memory(void **state)
{
    (void)state;
    uint64_t guest = make_pd(PD_GUEST, 20, 20), slot = slot_new();
    assert_int_equal(graph(CALL_MR_SEAL, RAM | guest << 16, 0, 0, 0, 0), OK);
    assert_int_equal(
        graph(CALL_DV_CREATE, slot | guest << 16 | (uint64_t)SLOT_ROOT_SYS << 32, RID, 0, 0, 0),
        bad(BUSY, 1));
    assert_int_equal(end(guest), OK);
    ((struct mr *)object_at(RAM))->dirty = 0;
}

static void an_interrupt_goes_to_a_core_of_the_guest(void **state)
{
    (void)state;
    uint64_t guest = make_pd(PD_GUEST, 20, 20), other = make_pd(PD_GUEST, 20, 20),
             dv = make_dv(guest, 0, RID);
    uint64_t vcpu = make_owner(guest, 1), shared = make_ec(guest, 0, EC_VCPU),
             theirs = make_ec(other, 1, EC_VCPU);
    assert_int_equal(set_irq(dv, theirs, 3, 0x40), bad(BAD_ARG, 1));
    assert_int_equal(set_irq(dv, shared, 3, 0x40), bad(BAD_ARG, 1)); /* its core is not its own */
    assert_int_equal(set_irq(dv, vcpu, 16, 0x40), bad(BAD_ARG, 2));
    assert_int_equal(set_irq(dv, vcpu, 3, 31), bad(BAD_ARG, 2));
    assert_int_equal(set_irq(dv, vcpu, 3, 256), bad(BAD_ARG, 2));
    assert_int_equal(set_irq(dv, 0, 16, 0), bad(BAD_ARG, 2));
    for (uint32_t i = 0; i < 256; i++)
        assert_int_equal(irte(i)[0], 0);
    fake[0].commands = 0;
    uint32_t written_back = machine.written_back;
    assert_int_equal(set_irq(dv, vcpu, 3, 0x40), OK);
    assert_int_equal(machine.written_back, written_back); /* a VMM may ask for this at will */
    assert_ptr_equal(machine.written_line, irte(3));
    assert_int_equal(((struct ec *)object_at(SLOT_ROOT_EC))->regs.rdx, 3);
    assert_int_equal(irte(3)[0], 1ull << 32 | 0x40 << 16 | 1);
    assert_int_equal(irte(3)[1], RID | 1 << 18);
    assert_int_equal(commands_since(0, VTD, 4), 1);
    assert_int_equal(set_irq(dv, 0, 3, 0), OK);
    assert_int_equal(irte(3)[0], 0);
    assert_int_equal(set_irq(dv, vcpu, 0, 32), OK);
    assert_int_equal(set_irq(dv, vcpu, 15, 255), OK);
    iommu_stale = false;
    dv_forget(object_at(vcpu)); /* the core goes back */
    assert_true(iommu_stale);
    assert_int_equal(irte(0)[0] | irte(15)[0], 0);
    iommu_stale = false;
    dv_forget(object_at(vcpu));
    assert_false(iommu_stale);
    assert_int_equal(set_irq(dv, vcpu, 15, 255), OK);
    loose_core(1);
    assert_int_equal(end(dv), OK);
    assert_int_equal(irte(15)[0], 0);
    dv = make_dv(guest, 0, RID);
    assert_int_equal(set_irq(dv, vcpu, 1, 0x40), bad(BAD_ARG, 1));
}

static void faults_come_in_order(void **state)
{
    (void)state;
    assert_int_equal(pop_fault(0), 0);
    *fake64(0, RECORD) = 0x123456000, *fake64(0, RECORD + 8) = 1ull << 63 | 5ull << 32 | RID;
    *fake64(0, RECORD + 16) = 0x42ull << 48,
                        *fake64(0, RECORD + 24) = 1ull << 63 | 0x25ull << 32 | 0x99;
    assert_int_equal(pop_fault(0), RID << 48 | 0x123456ull << 8 | 5);
    assert_int_equal(*fake64(0, RECORD + 8) >> 63, 0);
    assert_int_equal(*fake32(0, FSTS), 1); /* overflow, cleared by writing it */
    *fake64(0, RECORD) = 0x777000,
               *fake64(0, RECORD + 8) = 1ull << 63 | 6ull << 32 | RID; /* after the second */
    assert_int_equal(pop_fault(0), 0x99ull << 48 | 0x42ull << 8 | 0x25);
    assert_int_equal(pop_fault(0), RID << 48 | 0x777ull << 8 | 6);
    assert_int_equal(pop_fault(0), 0);
    assert_int_equal(graph(CALL_IOMMU_FAULT, SLOT_ROOT_SYS, MAX_IOMMUS, 0, 0, 0), bad(BAD_ARG, 2));
}

static uint32_t turns, told;

/* Somebody waits. */
static void who_was_asked_tells(void)
{
    turns++;
    for (uint32_t i = 0; i < MAX_IOMMUS; i++)
        if (fake[i].wait) {
            fake_tell(i);
            told++;
        }
}

static void units_are_waited_for_at_once(void **state)
{
    (void)state;
    uint64_t guest = make_pd(PD_GUEST, 20, 20), dv = make_dv(guest, 3, 0x12);
    void (*relax)(void) = machine.relax;
    assert_int_equal(
        graph(CALL_MR_MAP, RAM | guest << 16 | (uint64_t)MR_READ << 32, 0x1000, 0, 1, 0), OK);
    fake_slow = true;
    machine.relax = who_was_asked_tells;
    assert_int_equal(graph(CALL_MR_UNMAP, RAM | guest << 16, 0, 0, 0, 0), OK);
    uint32_t together = told / turns;
    assert_int_equal(set_irq(dv, make_owner(guest, 1), 3, 0x40), OK);
    fake_slow = false;
    machine.relax = relax;
    loose_core(1);
    assert_int_equal(together, MAX_IOMMUS);
    assert_int_equal(told, MAX_IOMMUS + 1); /* a VMM has no business with other units */
}

static void unmapping_waits_for_all_units(void **state)
{
    (void)state;
    uint64_t guest = make_pd(PD_GUEST, 20, 20);
    assert_int_equal(
        graph(CALL_MR_MAP, RAM | guest << 16 | (uint64_t)MR_READ << 32, 0x1000, 0, 1, 0), OK);
    fake[0].commands = fake[3].commands = 0;
    assert_int_equal(graph(CALL_MR_UNMAP, RAM | guest << 16, 0, 0, 0, 0), OK);
    assert_int_equal(commands_since(0, VTD, 2), 1);
    assert_int_equal(commands_since(3, VTD, 2), 1);
    for (uint32_t i = 0; i < 200; i++) { /* the queue wraps around */
        assert_int_equal(
            graph(CALL_MR_MAP, RAM | guest << 16 | (uint64_t)MR_READ << 32, 0x1000, 0, 1, 0), OK);
        assert_int_equal(graph(CALL_MR_UNMAP, RAM | guest << 16, 0, 0, 0, 0), OK);
    }
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(a_unit_that_lacks_something_is_refused),
        cmocka_unit_test(a_unit_starts_in_order),
        cmocka_unit_test(units_are_of_one_kind_and_so_many),
        RIG_TEST(a_function_reads_its_guests_table),
        RIG_TEST(sixteen_functions_a_unit),
        RIG_TEST(no_device_comes_to_sealed_memory),
        RIG_TEST(an_interrupt_goes_to_a_core_of_the_guest),
        RIG_TEST(faults_come_in_order),
        RIG_TEST(units_are_waited_for_at_once),
        RIG_TEST(unmapping_waits_for_all_units),
    };
    return RIG_RUN(all);
}
