/* AMD-Vi: what a unit must have, the tables it reads, and the bits of page tables that are for it.
 */
#include "rig_iommu.h"

#define AMDVI IOMMU_AMDVI
enum {
    DEVICE_TABLE = 0x00,
    EVENT_BASE = 0x10,
    CONTROL = 0x18,
    EXCLUSION = 0x20,
    EXCLUSION_LIMIT = 0x28,
    FEATURES = 0x30,
    EVENT_HEAD = 0x2010,
    EVENT_TAIL = 0x2018,
    STATUS = 0x2020
};
#define RID     0x0123ull
#define ADDRESS 0x000ffffffffff000ull
#define MAY     (3ull << 61)

static uint64_t *entry(uint32_t unit, uint64_t rid)
{
    return (uint64_t *)(*fake64(unit, DEVICE_TABLE) & ADDRESS) + 4 * rid;
}
static uint64_t *interrupts(uint32_t unit, uint64_t rid)
{
    return (uint64_t *)(entry(unit, rid)[2] & 0xfffffffffffc0ull);
}

/* Valid, translated by four levels, no right to anything; fixed interrupts aborted, all others,
 * too. */
static bool blocked(uint32_t unit, uint64_t rid)
{
    const uint64_t *e = entry(unit, rid), *table = (const uint64_t *)(e[0] & ADDRESS);
    for (uint32_t i = 0; i < TABLE_ENTRIES; i++)
        if (table[i])
            return false;
    return (e[0] & ~ADDRESS) == (4 << 9 | 3) && e[1] == 0 && e[2] == 1 && e[3] == 0;
}

static void a_unit_that_lacks_something_is_refused(void **state)
{
    (void)state;
    struct kernel_stat before = counters;
    fake_regions(AMDVI);
    before.objects_free = counters.objects_free;
    fake_reset(0, AMDVI);
    *fake64(0, FEATURES) &= ~(1ull << 6);
    assert_int_equal(start_unit(0, AMDVI, 2), bad(BAD_ARG, 1));
    *fake64(0, FEATURES) = 3 << 10 | 1 << 6; /* levels: reserved */
    assert_int_equal(start_unit(0, AMDVI, 2), bad(BAD_ARG, 1));
    assert_int_equal(start_unit(0, IOMMU_VTD, 2), bad(BAD_ARG, 1)); /* four frames */
    fake_reset(0, AMDVI);
    assert_int_equal(start_unit(0, AMDVI, 257), bad(BAD_ARG, 3));
    assert_int_equal(graph(CALL_PD_CREATE, 60 | (uint64_t)SLOT_ROOT_PD << 16, PD_HOST,
                           root->frames_left - 546, 0, 0),
                     OK);
    assert_int_equal(start_unit(0, AMDVI, 2), NO_MEMORY);
    assert_int_equal(end(60), OK);
    assert_int_equal(*fake64(0, CONTROL), 0);
    assert_int_equal(counters.frames_free, before.frames_free);
    assert_int_equal(counters.objects_free, before.objects_free);
}

static void a_unit_starts_with_all_blocked(void **state)
{
    (void)state;
    uint32_t left = root->frames_left;
    uint64_t frame, bits;
    *fake64(0, EXCLUSION) = 3;
    *fake64(0, STATUS) = 3 << 3; /* left on by firmware */
    *fake64(0, CONTROL) = 1 | 1 << 2 | 1 << 12;
    assert_int_equal(start_unit(0, AMDVI, 2), OK);
    assert_true(ptab_lookup(kernel_space, IOMMU_WINDOW, &frame, &bits)); /* its registers */
    assert_int_equal(bits, PTE_NX | PTE_UNCACHED | PTE_WRITE | PTE_PRESENT);
    assert_int_equal(left - root->frames_left, 547);
    assert_int_equal(*fake64(0, CONTROL), 1 | 1 << 2 | 1 << 10 | 1 << 12 | 1 << 17 | 1ull << 50);
    assert_int_equal(*fake64(0, DEVICE_TABLE) & 0xfff, 511); /* 512 frames */
    assert_int_equal(*fake64(0, EXCLUSION), 0);
    for (uint32_t rid = 0; rid < 1u << 16; rid++)
        assert_true(blocked(0, rid));
    assert_int_equal(commands_since(0, AMDVI, 8), 1);
    fake_reset(1, AMDVI);
    *fake64(1, FEATURES) = 1 << 6 | 1ull << 63; /* short entries; SNP */
    left = root->frames_left;
    assert_int_equal(start_unit(1, AMDVI, 1), OK);
    assert_int_equal(left - root->frames_left, 35);
    assert_int_equal(*fake64(1, DEVICE_TABLE), *fake64(0, DEVICE_TABLE)); /* one for both */
    assert_int_equal(*fake64(1, CONTROL), 1 | 1 << 2 | 1 << 10 | 1 << 12);
    assert_int_equal(*fake64(1, EXCLUSION), cpu_pa(&iommus[1].done) & ~0xfffull);
    assert_int_equal(*fake64(1, EXCLUSION_LIMIT), *fake64(1, EXCLUSION));
}

static void map(uint64_t pd, uint64_t va, uint64_t perm, uint64_t frames)
{
    assert_int_equal(graph(CALL_MR_MAP, RAM | pd << 16 | perm << 32, va, 0, frames, 0), OK);
}

/* 48882 2.2.3: the level of the table that an entry leads to, 0 at a leaf; rights in each. */
static void page_tables_carry_its_bits(void **state)
{
    (void)state;
    uint64_t guest = make_pd(PD_GUEST, 20, 20);
    map(guest, 0, MR_READ | MR_WRITE, 512);
    map(guest, 0x200000, MR_READ, 1);
    map(guest, 1ull << 30, MR_READ | MR_WRITE, 512 * 512);
    const uint64_t *top = ((struct pd *)object_at(guest))->table, *third = frame_table(top[0]),
                   *second = frame_table(third[0]), *first = frame_table(second[1]);
    uint64_t bits = MAY | 7 << 9;
    assert_int_equal(top[0] & bits, MAY | 3 << 9);
    assert_int_equal(third[0] & bits, MAY | 2 << 9);
    assert_int_equal(second[1] & bits, MAY | 1 << 9);
    assert_int_equal(second[0] & bits, MAY); /* 2 MiB */
    assert_int_equal(third[1] & bits, MAY);  /* 1 GiB */
    assert_int_equal(first[0] & bits, 1ull << 61);
    assert_int_equal(top[1], 0);
}

static void a_function_reads_its_guests_table(void **state)
{
    (void)state;
    uint64_t guest = make_pd(PD_GUEST, 20, 20), dv = make_dv(guest, 0, RID);
    assert_int_equal(entry(0, RID)[0],
                     ((struct pd *)object_at(guest))->table_pa | MAY | 4 << 9 | 3);
    assert_int_equal(entry(0, RID)[1], 1);
    assert_int_equal(entry(0, RID)[2] & ~0xfffffffffffc0ull, 2ull << 60 | 9 << 1 | 1);
    assert_int_equal(commands_since(0, AMDVI, 8), 1);
    for (uint32_t rid = 0; rid < 512; rid++)
        assert_int_equal(blocked(0, rid), rid != RID);
    make_dv(guest, 0, 0x77);
    assert_int_equal(entry(0, 0x77)[1], 2);
    assert_true(interrupts(0, 0x77) == interrupts(0, RID) + 2 * 512);
    fake[0].commands = 0;
    assert_int_equal(end(dv), OK);
    assert_true(blocked(0, RID));
    assert_int_equal(commands_since(0, AMDVI, 8), 1);
    assert_int_equal(end(guest), OK);
    assert_true(blocked(0, 0x77));
}

static void interrupts_have_two_formats(void **state)
{
    (void)state;
    uint64_t guest = make_pd(PD_GUEST, 20, 20), wide = make_dv(guest, 0, RID),
             narrow = make_dv(guest, 1, RID & 0xff);
    uint64_t vcpu = make_owner(guest, 1);
    uint32_t id = cores[1].apic_id;
    assert_int_equal(set_irq(wide, vcpu, 5, 0x41), OK);
    assert_int_equal(set_irq(narrow, vcpu, 5, 0x41), OK);
    assert_int_equal(interrupts(0, RID)[10], 1 << 8 | 1);
    assert_int_equal(interrupts(0, RID)[11], 0x41);
    assert_int_equal(((uint32_t *)interrupts(1, RID & 0xff))[5], 0x41 << 16 | 1 << 8 | 1);
    cores[1].apic_id = 0x12345678;
    assert_int_equal(set_irq(narrow, vcpu, 6, 0x41), bad(BAD_ARG, 1));
    assert_int_equal(set_irq(wide, vcpu, 6, 0x42), OK);
    assert_int_equal(interrupts(0, RID)[12], 0x345678 << 8 | 1);
    assert_int_equal(interrupts(0, RID)[13], 0x12ull << 56 | 0x42);
    cores[1].apic_id = id;
    const uint64_t *gone = interrupts(0, RID);
    const uint32_t *gone_narrow = (const uint32_t *)interrupts(1, RID & 0xff);
    assert_int_equal(set_irq(wide, 0, 5, 0), OK);
    assert_int_equal(gone[10] | gone[11], 0);
    dv_forget(object_at(vcpu));
    assert_true(iommu_stale);
    loose_core(1);
    assert_int_equal(gone[12] | gone_narrow[5], 0);
}

static void put_event(uint32_t n, uint64_t low, uint64_t high)
{
    uint64_t *event = (uint64_t *)(*fake64(0, EVENT_BASE) & ADDRESS) + 2 * n;
    event[0] = low;
    event[1] = high;
    *fake64(0, EVENT_TAIL) = (n + 1) * 16 % PAGE_SIZE;
}

static void events_come_in_order(void **state)
{
    (void)state;
    assert_int_equal(pop_fault(0), 0);
    put_event(0, 0, 0x7654321000); /* the tail was there first */
    assert_int_equal(pop_fault(0), 0);
    assert_int_equal(*fake64(0, EVENT_HEAD), 0);
    put_event(0, 2ull << 60 | 0xbull << 51 | RID, 0x7654321000);
    put_event(1, 1ull << 60 | 0x33, 0x5000);
    assert_int_equal(pop_fault(0), RID << 48 | 0x7654321ull << 8 | 0x2b);
    assert_int_equal(*fake64(0, EVENT_HEAD), 16);
    *fake64(0, STATUS) = 1; /* overflow */
    assert_int_equal(pop_fault(0), 0x33ull << 48 | 0x5ull << 8 | 0x10);
    assert_int_equal(*fake64(0, STATUS), 1); /* written to clear it */
    assert_int_equal(*fake64(0, CONTROL) & 0xf, 5);
    assert_int_equal(pop_fault(0), 0);
    for (uint32_t i = 2; i < 600; i++) { /* around the ring */
        put_event(i % 256, 2ull << 60 | i, (uint64_t)i << 12);
        assert_int_equal(pop_fault(0), (uint64_t)i << 48 | i << 8 | 0x20);
    }
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(a_unit_that_lacks_something_is_refused),
        cmocka_unit_test(a_unit_starts_with_all_blocked),
        RIG_TEST(page_tables_carry_its_bits),
        RIG_TEST(a_function_reads_its_guests_table),
        RIG_TEST(interrupts_have_two_formats),
        RIG_TEST(events_come_in_order),
    };
    return RIG_RUN(all);
}
