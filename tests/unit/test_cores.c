/* Which core a helper runs on: never one that a VM has for itself. Root refuses the one plan that
 * would leave none. */
#include "plan_record.h"
#include "test.h"
#include <lib/cores.h>
#include <root/console/console.h>
#include <root/hardware/threads.h>
#include <root/memory.h>
#include <root/plan.h>
#include <stdio.h>

static struct plan plan;
static char said[160];

uint64_t memory_read(uint64_t base, void *to, uint64_t size)
{
    (void)base;
    memcpy(to, &plan, size);
    return OK;
}

void console_say(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(said, sizeof said, fmt, args);
    va_end(args);
}

static void add(uint32_t mode, uint64_t cores, uint32_t lan)
{
    uint32_t i = plan.vms++;
    plan.vm[i] = plan_record(i, (char[]){(char)('a' + i), 0}, cores, lan);
    plan.vm[i].mode = mode;
    plan.vm[i].vcpus = (uint32_t)__builtin_popcountll(cores);
}

static int setup(void **state)
{
    (void)state;
    plan = (struct plan){.magic = PLAN_MAGIC, .version = PLAN_VERSION, .lans = 4, .files = 1};
    said[0] = 0;
    return 0;
}

static void assert_switches(uint32_t cores, const uint32_t at[4])
{
    for (uint32_t lan = 1; lan <= 4; lan++)
        assert_int_equal(cores_switch(&plan, lan, cores), at[lan - 1]);
}

static void vcpus_go_round(void **state)
{
    static const uint32_t at[] = {1, 3, 15, 1, 3};
    (void)state;
    add(MODE_SHARED, 0x800a, 0);
    for (uint32_t i = 0; i < COUNT(at); i++)
        assert_int_equal(cores_vcpu(&plan.vm[0], i), at[i]);
}

static void a_worker_keeps_off_dedicated_cores(void **state)
{
    (void)state;
    add(MODE_SHARED, 0xc, 0);
    add(MODE_DEDICATED, 0x30, 0);
    assert_int_equal(cores_worker(&plan.vm[0]), 2);
    assert_int_equal(cores_worker(&plan.vm[1]), 0);
}

static void switches_from_the_last_core_down(void **state)
{
    (void)state;
    add(MODE_SHARED, 0xe, 1);
    assert_switches(4, (const uint32_t[]){3, 2, 1, 0});
    assert_switches(3, (const uint32_t[]){2, 1, 0, 2});
    assert_switches(1, (const uint32_t[]){0, 0, 0, 0});
}

static void switches_keep_off_dedicated_cores(void **state)
{
    (void)state;
    add(MODE_SHARED, 2, 1);
    add(MODE_DEDICATED, 8, 0);
    assert_switches(4, (const uint32_t[]){2, 1, 0, 2});
    add(MODE_DEDICATED, 4, 0);
    assert_switches(4, (const uint32_t[]){1, 0, 1, 0});
    plan.vm[0].cores = 1;
    add(MODE_DEDICATED, 2, 0);
    assert_switches(4, (const uint32_t[]){0, 0, 0, 0}); /* root's, which nobody has for himself */
}

static void helpers_of_a_core_are_counted_where_they_are(void **state)
{
    static const uint32_t on[] = {2, 2, 2, 0};
    (void)state;
    add(MODE_SHARED, 6, 1);
    add(MODE_DEDICATED, 8, 0);
    for (uint32_t core = 0; core < 4; core++) /* LANs on 2, 1, 0, 2; workers on 1 and 0 */
        assert_int_equal(cores_helpers(&plan, core, 4), on[core]);
    /* With core 3 to spare: as many as there can be there, and on core 0, where those of dedicated
       VMs are that are created; and no switch is on it. */
    plan.vm[--plan.vms] = (struct plan_vm){0};
    plan.spare_cores = 8;
    assert_int_equal(cores_helpers(&plan, 3, 4), CORES_SPARE_HELPERS);
    assert_int_equal(cores_helpers(&plan, 0, 4), CORES_SPARE_HELPERS + 1);
}

static void root_takes_the_plan_and_none_with_core_0_dedicated(void **state)
{
    static const struct boot_info info = {
        .modules = 2,
        .module = {{.name = "plan", .size = sizeof(plan)}, {.name = "f0", .size = 1}}};
    (void)state;
    add(MODE_SHARED, 2, 1);
    add(MODE_DEDICATED, 8, 0);
    assert_non_null(plan_load(&info, 4, true));
    assert_string_equal(said, "");
    plan.vm[1].cores = 1;
    assert_null(plan_load(&info, 4, true));
    assert_string_equal(said, "plan: VM 2: its cores are not one a vCPU, without core 0");
}

/* Cores 2 and 3 are threads of one. */
static void two_vms_do_not_share_a_core_by_its_threads(void **state)
{
    static const struct boot_info info = {
        .modules = 2,
        .module = {{.name = "plan", .size = sizeof(plan)}, {.name = "f0", .size = 1}}};
    static const uint8_t thread_of[MAX_CORES] = {0, 1, 2,  2,  4,  5,  6,  7,
                                                 8, 9, 10, 11, 12, 13, 14, 15};
    (void)state;
    add(MODE_SHARED, 6, 0);
    add(MODE_SHARED, 8, 0);
    assert_non_null(plan_load(&info, 4, true));
    assert_false(plan_keeps_siblings_apart(thread_of));
    assert_string_equal(said, "plan: cores 2 of VM a and 3 of VM b are threads of one: choose "
                              "others, or say share_siblings: true");
    plan.flags = PLAN_SHARE_SIBLINGS;
    assert_non_null(plan_load(&info, 4, true));
    assert_true(plan_keeps_siblings_apart(thread_of));
    plan.flags = 0;
    plan.vm[1].cores = 4; /* the same core by turns, which the plan says by itself */
    assert_non_null(plan_load(&info, 4, true));
    assert_true(plan_keeps_siblings_apart(thread_of));
    plan.vm[0].cores = 0xc, plan.vm[1].cores = 2; /* both threads are one VM's */
    assert_non_null(plan_load(&info, 4, true));
    assert_true(plan_keeps_siblings_apart(thread_of));
}

/* Processors as CPUID tells: leaf Bh, its kind and width; threads a core of leaf 8000001Eh. */
static struct {
    uint32_t most, kind, bits, vendor, amd_most, threads;
} told;

static struct cpuid tell(uint32_t leaf, uint32_t subleaf)
{
    assert_int_equal(subleaf, 0);
    switch (leaf) {
    case 0: return (struct cpuid){told.most, 0, told.vendor, 0};
    case 0xb: return (struct cpuid){told.bits, told.kind != 0, told.kind << 8, 0};
    case 0x80000000: return (struct cpuid){told.amd_most, 0, 0, 0};
    case 0x8000001e: return (struct cpuid){0, (told.threads - 1) << 8, 0, 0};
    default: fail_msg("leaf %x", leaf);
    }
    return (struct cpuid){0};
}

static void threads_are_known(void **state)
{
    (void)state;
    told.most = 0x1f, told.kind = 1, told.bits = 1, told.vendor = CPUID_INTEL, told.threads = 1;
    assert_int_equal(threads_bits(tell), 1);
    told.bits = 0; /* SMT is off */
    assert_int_equal(threads_bits(tell), 0);
    told.kind = 0, told.vendor = 0, told.amd_most = 0x8000001f, told.threads = 2; /* Zen 1 */
    assert_int_equal(threads_bits(tell), 1);
    told.amd_most = 0x8000001d;
    assert_int_equal(threads_bits(tell), 0);
    told.amd_most = 0x8000001f, told.vendor = CPUID_INTEL;
    assert_int_equal(threads_bits(tell), 0);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(vcpus_go_round),
        TEST(a_worker_keeps_off_dedicated_cores),
        TEST(switches_from_the_last_core_down),
        TEST(switches_keep_off_dedicated_cores),
        TEST(helpers_of_a_core_are_counted_where_they_are),
        TEST(root_takes_the_plan_and_none_with_core_0_dedicated),
        TEST(two_vms_do_not_share_a_core_by_its_threads),
        TEST(threads_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
