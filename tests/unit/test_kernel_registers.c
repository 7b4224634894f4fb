/* The model of the processor's registers, and the kernel's sequences on it one by one. rig.c runs
 * all of the kernel on it. */
#include "rig.h"
#include "model.h"

enum {
    SVR = 0x80f,
    LVT_TIMER = 0x832,
    LINT0 = 0x835,
    INITIAL_COUNT = 0x838,
    ON = 0x1ff,
    MASKED = 1 << 16
};

static struct access {
    uint32_t msr;
    uint64_t value;
} now;
static void write_now(void) { cpu_wrmsr(now.msr, now.value); }
static void read_now(void) { (void)cpu_rdmsr(now.msr); }

/* Writes to a core that the kernel has set up, so x2APIC mode, software-enabled, long mode with
 * paging. */
static const struct access refused[] = {
    {MSR_APIC_BASE, 0xfee00900}, /* back to xAPIC mode */
    {MSR_APIC_BASE, 0xfee00400}, /* x2APIC mode of a disabled APIC */
    {MSR_APIC_BASE, 0xfee00c01},
    {MSR_APIC_BASE, 0x10000000fee00c00},
    {0x802, 1}, /* for reading only: ID, version, LDR, ISR, TMR, IRR, current count */
    {0x803, 0},
    {0x80d, 1},
    {0x810, 0},
    {0x818, 0},
    {0x827, 0},
    {0x839, 0},
    {0x808, 0x100},
    {0x80b, 1}, /* EOI takes 0 only, ESR too */
    {0x828, 1},
    {SVR, 0x10ff},
    {0x830, 0x1000},
    {0x830, 0x300f0},
    {0x830, 0x1000f0},
    {0x830, 0x300}, /* reserved types; its own NMI by shorthand; a vector below 16 */
    {0x830, 0x700},
    {0x830, 0x40400},
    {0x830, 0x0f},
    {0x83f, 0x0f},
    {0x83f, 0x100},
    {LVT_TIMER, 0x700f0},
    {LVT_TIMER, 0x4f0},
    {LINT0, 0x20000},
    {0x837, 0x400},
    {INITIAL_COUNT, 1ull << 32},
    {0x83e, 4},
    {0x80e, 0},         /* DFR: not in x2APIC mode */
    {MSR_EFER, 0x1801}, /* LME, LMA off; reserved */
    {MSR_EFER, 0x1901},
    {MSR_EFER, 0x1d03},
    {0xc0000082, 1ull << 47},
    {0xc0000084, 1ull << 32},
    {MSR_GS_BASE, 0x8000000000000000},
    {MSR_VM_HSAVE, 0x1008},
    {MSR_VM_HSAVE, 1ull << 52},
    {0x277, 2},
    {0x277, 0x0800000000000000},
    {0xc0010114, 0x20},
};

static void what_the_manuals_refuse(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT(refused); i++) {
        now = refused[i];
        if (!model_refuses(write_now))
            fail_msg("WRMSR %x, %llx went through", now.msr, (unsigned long long)now.value);
    }
    static const uint32_t write_only[] = {0x80b, 0x83f, 0x80e, 0x12345};
    for (unsigned i = 0; i < COUNT(write_only); i++) {
        now.msr = write_only[i];
        assert_non_null(model_refuses(read_now));
    }
}

static void cr0_without_paging(void) { cpu_set_cr0(CR0_PE); }
static void cr0_nw(void) { cpu_set_cr0(CR0_PG | CR0_PE | 1 << 29); }
static void cr0_high(void) { cpu_set_cr0(1ull << 32 | CR0_PG | CR0_PE); }
static void cr4_without_pae(void) { cpu_set_cr4(CR4_OSXSAVE); }
static void cr4_high(void) { cpu_set_cr4(1ull << 32 | CR4_PAE); }
static void cr3_high(void) { cpu_set_cr3(1ull << 52); }
static void avx_alone(void) { cpu_xsetbv(5); }
static void no_x87(void) { cpu_xsetbv(2); }
static void not_there(void) { cpu_xsetbv(1ull << 63 | 7); }
static void too_early(void)
{
    cpu_set_cr4(CR4_PAE);
    cpu_xsetbv(7);
}
static void fpu_is_off(void)
{
    static uint8_t area[MACHINE_FPU] __attribute__((aligned(64)));
    cpu_xsave(area);
}
static void without_svme(void)
{
    cpu_wrmsr(MSR_EFER, 0xd01);
    cpu_vmsave(0x1000);
}

static void what_control_registers_refuse(void **state)
{
    (void)state;
    static void (*const sequence[])(void) = {
        cr0_without_paging, cr0_nw, cr0_high,  cr4_without_pae, cr4_high,   cr3_high,
        avx_alone,          no_x87, not_there, too_early,       fpu_is_off, without_svme};
    for (unsigned i = 0; i < COUNT(sequence); i++)
        if (!model_refuses(sequence[i]))
            fail_msg("sequence %u went through", i);
}

/* ---- the local APIC --------------------------------------------------------- */
static void enabled_last(void)
{
    cpu_wrmsr(SVR, 0xff);
    cpu_wrmsr(LVT_TIMER, VECTOR_TIMER);
    cpu_wrmsr(SVR, ON);
}
static void enabled_first(void)
{
    cpu_wrmsr(SVR, 0xff);
    cpu_wrmsr(SVR, ON);
    cpu_wrmsr(LVT_TIMER, VECTOR_TIMER);
}
static void timer_of_a_disabled_one(void)
{
    cpu_wrmsr(SVR, 0xff);
    cpu_wrmsr(INITIAL_COUNT, 5);
}

/* Off by software it masks its LVT, and keeps it masked: a kernel that enables it last has no
 * timer. */
static void off_means_masked(void **state)
{
    (void)state;
    assert_non_null(model_refuses(enabled_last));
    assert_null(model_refuses(enabled_first));
    assert_non_null(model_refuses(timer_of_a_disabled_one));
    uint64_t was = cpu_rdmsr(LVT_TIMER);
    cpu_wrmsr(SVR, 0xff);
    assert_int_equal(cpu_rdmsr(LVT_TIMER), was | MASKED);
    assert_int_equal(cpu_rdmsr(LINT0) & MASKED, MASKED);
    cpu_wrmsr(SVR, ON);
    assert_int_equal(cpu_rdmsr(LVT_TIMER), was | MASKED);
    cpu_wrmsr(LVT_TIMER, was);
}

static void init_apic(void) { apic_init(machine.core); }

/* Whatever firmware or a guest left: off altogether, in xAPIC mode, disabled, its timer masked. */
static void an_apic_comes_up_from_any_state(void **state)
{
    (void)state;
    static const uint64_t base[] = {0xfee00000, 0xfee00800, 0xfee00c00, 0xfee00d00},
                          svr[] = {0xff, 0x1ff, 0x3f};
    for (unsigned i = 0; i < COUNT(base) * COUNT(svr); i++) {
        model_reset();
        on_core(1);
        cpu_wrmsr(MSR_APIC_BASE, base[i / COUNT(svr)] & ~0x400ull);
        cpu_wrmsr(MSR_APIC_BASE, base[i / COUNT(svr)]);
        machine_cpu()->apic[SVR & 63] = svr[i % COUNT(svr)];
        if (model_refuses(init_apic))
            fail_msg("base %llx, SVR %llx: %s", (unsigned long long)base[i / COUNT(svr)],
                     (unsigned long long)svr[i % COUNT(svr)], model_refuses(init_apic));
        apic_init(machine.core);
        assert_int_equal(cpu_rdmsr(LVT_TIMER), VECTOR_TIMER);
        assert_int_equal(cpu_rdmsr(SVR), 0x100 | VECTOR_SPURIOUS);
        cpu_wrmsr(INITIAL_COUNT, 100);
        assert_int_equal(machine.cpu[1].timer_at, machine.tsc + 100);
    }
}

/* Given to a guest, and taken back from one that left it as it was given. */
static void an_apic_goes_to_a_guest_and_comes_back(void **state)
{
    (void)state;
    on_core(1);
    init_apic();
    machine.core->reclaim = 1; /* it is a guest's */
    apic_clear();
    machine.core->reclaim = 0;
    for (uint32_t r = LVT_TIMER; r <= 0x837; r++)
        assert_int_equal(cpu_rdmsr(r), MASKED);
    assert_int_equal(cpu_rdmsr(SVR), VECTOR_SPURIOUS);
    assert_null(model_refuses(init_apic));
    init_apic();
    assert_int_equal(cpu_rdmsr(LVT_TIMER), VECTOR_TIMER);
}

/* An EOI ends the highest one, wherever the loop that drains is looking. */
static void all_in_service_ends(void **state)
{
    (void)state;
    on_core(1);
    static const uint32_t vectors[] = {16, 31, 0x41, 0x42, 0x80, 0xef, 0xf0, 0xff};
    for (unsigned set = 1; set < 1u << COUNT(vectors); set++) {
        for (unsigned i = 0; i < COUNT(vectors); i++)
            if (set >> i & 1)
                model_in_service(vectors[i]);
        machine.ended = 0;
        apic_drain();
        for (uint32_t r = 0x810; r < 0x818; r++)
            assert_int_equal(cpu_rdmsr(r), 0);
        assert_int_equal(machine.ended, (unsigned)__builtin_popcount(set));
    }
}

/* ---- what firmware, the loader or microcode may have left ------------------- */
static void registers_that_guests_feel(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        on_core(i);
        assert_int_equal(cpu_rdmsr(MSR_PAT), 0x0007040600070406);
        assert_int_equal(cpu_rdmsr(MSR_TSC_AUX), 0);
    }
}

/* Zen 1, Zen 2, their copies of others, Zen 3, Zen 4, later ones, others'. */
static void processors_are_mended(void **state)
{
    (void)state;
    static const struct {
        uint32_t signature;
        bool below;
        uint64_t de, bp, de2, fp;
    } row[] = {{0x00800f12, false, 2, 0, 0, 0x200},
               {0x00810f81, false, 2, 0, 0, 0x200},
               {0x00820f01, false, 2, 0, 0, 0x200},
               {0x00800f12, true, 0, 0, 0, 0},
               {0x00830f10, false, 0x202, 1ull << 33, 2, 0},
               {0x00870f10, false, 0x202, 1ull << 33, 2, 0},
               {0x008a0f00, false, 0x202, 1ull << 33, 2, 0},
               {0x00850f00, false, 2, 0, 0, 0x200},
               {0x00830f10, true, 0, 0, 0, 0},
               {0x00a20f10, false, 0, 0, 0, 0},
               {0x00a00f11, false, 0, 0, 0, 0},
               {0x00a50f00, false, 0, 0, 0, 0},
               {0x00a10f11, false, 0, 0x20, 0, 0},
               {0x00a60f12, false, 0, 0x20, 0, 0},
               {0x00a70f41, false, 0, 0x20, 0, 0},
               {0x00aa0f02, false, 0, 0x20, 0, 0},
               {0x00a90f00, false, 0, 0x20, 0, 0},
               {0x00a10f11, true, 0, 0, 0, 0},
               {0x00b10f10, false, 0, 0, 0, 0},
               {0x000906ed, false, 0, 0, 0, 0},
               {0x00600f20, false, 0, 0, 0, 0}};
    for (unsigned i = 0; i < COUNT(row); i++) {
        model_reset();
        on_core(1);
        machine.signature = row[i].signature;
        machine.below = row[i].below;
        cpu_wrmsr(MSR_DE_CFG, 0x10000);
        cpu_wrmsr(MSR_BP_CFG, 0x10000);
        cpu_wrmsr(MSR_DE_CFG2, 0x10000);
        cpu_wrmsr(MSR_FP_CFG, 0x10000);
        core_init(&cores[1], 1, &objects[1].pd);
        assert_int_equal(cpu_rdmsr(MSR_DE_CFG), 0x10000 | row[i].de);
        assert_int_equal(cpu_rdmsr(MSR_BP_CFG), 0x10000 | row[i].bp);
        assert_int_equal(cpu_rdmsr(MSR_DE_CFG2), 0x10000 | row[i].de2);
        assert_int_equal(cpu_rdmsr(MSR_FP_CFG), 0x10000 | row[i].fp);
    }
}

/* SRSO_MSR_FIX (8000_0021h EAX[31]): what a guest trains is not what the kernel's returns go by. */
static void returns_are_kept_from_guests(void **state)
{
    (void)state;
    static const struct {
        uint32_t last_leaf, features;
        bool below, set;
    } row[] = {{0x80000021, 1u << 31, false, true},
               {0x80000021, ~(1u << 31), false, false},
               {0x80000020, ~0u, false, false},
               {0x80000021, 1u << 31, true, false}};
    for (unsigned i = 0; i < COUNT(row); i++) {
        model_reset();
        on_core(1);
        machine.last_leaf = row[i].last_leaf;
        machine.more_features = row[i].features;
        machine.below = row[i].below;
        cpu_wrmsr(MSR_BP_CFG, 0x10000);
        core_init(&cores[1], 1, &objects[1].pd);
        assert_int_equal(cpu_rdmsr(MSR_BP_CFG), 0x10000 | (row[i].set ? 0x10 : 0));
    }
    machine.last_leaf = 0;
}

/* A core that a system had before: what that wants trapped is over, and the kernel's branches are
   its own where the processor sees to that. */
static void a_core_begins_as_the_kernels(void **state)
{
    (void)state;
    static const struct {
        uint32_t last_leaf, features;
        bool set;
    } row[] = {{0x80000021, 1 << 8, true},
               {0x80000028, 1 << 8, true},
               {0x80000021, ~(1u << 8), false},
               {0x80000020, ~0u, false}, /* Intel answers leaves that are none by another's words */
               {0x80000008, ~0u, false}};
    for (unsigned i = 0; i < COUNT(row); i++) {
        model_reset();
        on_core(1);
        machine.last_leaf = row[i].last_leaf;
        machine.more_features = row[i].features;
        cpu_wrmsr(MSR_DEBUGCTL, 4); /* BLCKDB */
        core_init(&cores[1], 1, &objects[1].pd);
        assert_int_equal(cpu_rdmsr(MSR_DEBUGCTL), 0);
        assert_int_equal(cpu_rdmsr(MSR_EFER) & EFER_AIBRSE, row[i].set ? EFER_AIBRSE : 0);
    }
    machine.last_leaf = 0;
}

/* Its own core, which the installed system goes on with. */
static void a_core_that_comes_traps_what_it_did(void **state)
{
    (void)state;
    const uint64_t how[] = {CORE_COMES | CORE_KEEPS_APIC, CORE_COMES};
    for (unsigned i = 0; i < COUNT(how); i++) {
        model_reset();
        on_core(1);
        cpu_wrmsr(MSR_APIC_BASE, 0xfee00900);
        cpu_wrmsr(MSR_APIC_BASE, 0xfee00d00);
        assert_int_equal(graph(CALL_CORE_START, SLOT_ROOT_SYS, (0x55 + i) | how[i], 0, 0, 0), OK);
        cpu_wrmsr(MSR_DEBUGCTL, 4);
        core_init(&cores[1], 1, &objects[1].pd);
        assert_int_equal(cpu_rdmsr(MSR_DEBUGCTL), i ? 0 : 4);
    }
}

/* ---- without x2APIC mode ---------------------------------------------------- */
/* The page of registers (APM2 16.3.2). A command is being sent for some reads. */
static struct {
    uint32_t reg[64], sending, sent;
    uint64_t command[4];
} page;

static uint64_t read_page(uint64_t va, unsigned size)
{
    unsigned r = (unsigned)(va - APIC_WINDOW) / 16;
    assert_true(va >= APIC_WINDOW && r < COUNT(page.reg) && va % 16 == 0 && size == 4);
    if (r != APIC_ICR || !page.sending)
        return page.reg[r];
    page.sending--;
    return page.reg[r] | 1 << 12;
}

static void write_page(uint64_t va, unsigned size, uint64_t v)
{
    (void)read_page(va, size);
    unsigned r = (unsigned)(va - APIC_WINDOW) / 16;
    page.reg[r] = (uint32_t)v;
    assert_true((r != APIC_ICR && r != APIC_ICR_HIGH) || !page.sending);
    if (r != APIC_ICR)
        return;
    page.command[page.sent++ % COUNT(page.command)] = (uint64_t)page.reg[APIC_ICR_HIGH] << 32 | v;
    page.sending = 3;
}

static void without_x2apic_there_is_a_page(void **state)
{
    (void)state;
    model_reset();
    on_core(1);
    machine.no_x2apic = true;
    machine.read = read_page;
    machine.write = write_page;
    page.reg[APIC_ID] = 0x7b000000;
    cpu_wrmsr(MSR_APIC_BASE, 0xfed00100); /* moved, and off */
    core_init(&cores[1], 1, &objects[1].pd);
    assert_int_equal(cpu_rdmsr(MSR_APIC_BASE), 0xfee00900);
    assert_int_equal(cores[1].apic_id, 0x7b);
    assert_int_equal(page.reg[APIC_SVR], ON);
    assert_int_equal(page.reg[APIC_LVT_TIMER], VECTOR_TIMER);
    assert_int_equal(page.reg[APIC_LVT_LINT0], MASKED);
    apic_send(0x12, VECTOR_IPI);
    apic_send(0x34, SEND_NMI);
    assert_int_equal(page.sent, 2);
    assert_int_equal(page.command[0], 0x12ull << 56 | 0x40f1);
    assert_int_equal(page.command[1], 0x34ull << 56 | 0x4400);
    assert_int_equal(graph(CALL_CORE_START, SLOT_ROOT_SYS, 255, 0, 0, 0), bad(BAD_ARG, 2));
    machine.no_x2apic = false;
    model_reset();
    on_core(1);
    core_init(&cores[1], 1, &objects[1].pd);
    assert_true(apic_x2);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        RIG_TEST(what_the_manuals_refuse),
        RIG_TEST(what_control_registers_refuse),
        RIG_TEST(off_means_masked),
        cmocka_unit_test(registers_that_guests_feel),
        cmocka_unit_test(an_apic_comes_up_from_any_state),
        cmocka_unit_test(an_apic_goes_to_a_guest_and_comes_back),
        cmocka_unit_test(all_in_service_ends),
        cmocka_unit_test(processors_are_mended),
        cmocka_unit_test(returns_are_kept_from_guests),
        cmocka_unit_test(a_core_begins_as_the_kernels),
        cmocka_unit_test(a_core_that_comes_traps_what_it_did),
        cmocka_unit_test(without_x2apic_there_is_a_page),
    };
    return RIG_RUN(all);
}
