/* Exits of a vCPU, its local APIC and its UART, against a guest that does anything at any time. */
#include <setjmp.h>
#include <stdlib.h>
#include <vmm/platform/devices.h>
#include <vmm/vcpu/vcpu.h>
#include "test.h"

#define VECTOR 0x41u
#define VCPUS  4u

enum {
    X2APIC_TPR = 0x808,
    X2APIC_PPR = 0x80a,
    X2APIC_EOI = 0x80b,
    X2APIC_ISR2 = 0x812,
    X2APIC_ICR = 0x830,
    X2APIC_LVT_TIMER = 0x832,
    TSC_DEADLINE = 0x6e0
};
enum { X2APIC_LVT_LINT0 = 0x835, X2APIC_INITIAL = 0x838, X2APIC_CURRENT, X2APIC_DIVIDE = 0x83e };
enum {
    EOI_WORD = 0x4b564d04,
    EFER = 0xc0000080,
    TSC = 0x10,
    TSC_ADJUST = 0x3b,
    CLOCK = 0x4b564d01
};

struct fake fake;
struct vm_boot boot;
static struct utcb u;
static jmp_buf back;
static uint64_t written; /* to a port */
static uint32_t vendor;  /* of the processor, as CPUID leaf 0 has it */
#define AMD 0x444d4163u  /* "cAMD" */

uint64_t fake_sm_up(uint64_t sm)
{
    fake.bells[sm]++;
    return OK;
}
uint64_t fake_ec_recall(uint64_t slot)
{
    assert_in_range(slot, VMM_VCPU, VMM_VCPU + VCPUS - 1);
    fake.recalls[slot - VMM_VCPU]++;
    return OK;
}
void fake_pt_reply(uint64_t words)
{
    (void)words;
    longjmp(back, 1);
}
uint32_t devices_in(uint32_t self, uint32_t port, uint32_t size) { return self + port + size; }
void devices_out(uint32_t self, uint32_t port, uint32_t size, uint32_t value)
{
    (void)self, (void)port, (void)size;
    written = value;
}
uint32_t devices_holder(void) { return NO_VCPU; }
bool vm_ended(void) { return false; }
void vm_end(enum vm_reason reason, uint64_t value, uint64_t rip, uint64_t cr3)
{
    (void)reason, (void)value, (void)rip, (void)cr3;
}

/* Whatever a processor could have, it says that it has. Its caches: two and one of a core, one of
   all. */
struct cpuid fake_cpuid(uint32_t leaf, uint32_t subleaf)
{
    static const uint32_t caches[] = {0x1c004121, 0x1c004122, 0x1c004143, 0x1c03c163};
    if (leaf == 0)
        return (struct cpuid){0x1f, 0, vendor, 0};
    if (leaf == 0x80000000)
        return (struct cpuid){vendor == AMD ? 0x80000028 : 0x80000008, 0, vendor, 0};
    if (leaf == 4)
        return (struct cpuid){subleaf < COUNT(caches) ? caches[subleaf] : 0, 1, 2, 3};
    if (leaf == 0xd && subleaf == 0)
        return (struct cpuid){7, 0, 0, 0};
    return (struct cpuid){~0u, ~0u, ~0u, ~0u};
}

/* One exit: to the portal's entry and back by its reply. */
static void leave_guest(struct vcpu *v, void (*entry)(struct vcpu *v, struct utcb *u))
{
    if (!setjmp(back))
        entry(v, &u);
}

/* True: done; false: #GP. */
static bool msr(struct vcpu *v, uint32_t number, uint64_t *value, bool write)
{
    u.exit.info = (struct exit_info){.number = number, .flags = write ? EXIT_WRITE : EXIT_READ};
    u.exit.rax = (uint32_t)*value;
    u.exit.rdx = *value >> 32;
    u.exit.inject = 0;
    leave_guest(v, vcpu_msr);
    *value = u.exit.rdx << 32 | (uint32_t)u.exit.rax;
    return u.mtd & MTD_RIP;
}
static bool wrmsr(struct vcpu *v, uint32_t number, uint64_t value)
{
    return msr(v, number, &value, true);
}
static uint64_t rdmsr(struct vcpu *v, uint32_t number)
{
    uint64_t value = 0;
    assert_true(msr(v, number, &value, false));
    return value;
}

/* The processor delivers what is on offer. */
static void take_offer(void) { u.exit.intr = 0; }

static int setup(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof fake);
    memset(&u, 0, sizeof u);
    memset(vcpus, 0, sizeof vcpus);
    fake.config = calloc(1, sizeof *fake.config);
    fake.control = calloc(1, sizeof *fake.control);
    fake.ram = calloc(1, FAKE_RAM);
    fake.config->plan.memory = FAKE_RAM;
    fake.config->plan.vcpus = VCPUS;
    fake.config->tsc_hz = 2000000000;
    vendor = AMD;
    apic_init();
    msr_init();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(fake.config);
    free(fake.control);
    free(fake.ram);
    return 0;
}

static void an_nmi_waits_for_what_is_injected(void **state)
{
    (void)state;
    u.exit.rip = 0x1000;
    apic_request(0, REQUEST_NMI);
    u.exit.inject = INJECT_VALID | INJECT_EXCEPTION | 13;
    leave_guest(&vcpus[0], vcpu_recall);
    assert_int_equal(fake.recalls[0], 1); /* no second one: it would come before the guest runs */
    assert_true(u.mtd & MTD_TIMER && u.exit.deadline);
    assert_int_equal(u.exit.inject & 0xff, 13);
    u.exit.inject = 0;
    wrmsr(&vcpus[0], X2APIC_INITIAL, 0); /* the guest stops its timer: that moment stays */
    assert_true(u.mtd & MTD_TIMER && u.exit.deadline);
    leave_guest(&vcpus[0], vcpu_recall);
    assert_true(u.mtd & MTD_INJECT);
    assert_int_equal(u.exit.inject & 0x7ff, INJECT_NMI | 2);
    assert_int_equal(u.exit.deadline, 0);
}

/* From the delivery of one to the IRET of its handler others are blocked, and one of them is kept
 * (APM2 8.1.4). */
static void one_nmi_waits_for_the_other_ones_end(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        apic_request(0, REQUEST_NMI);
        u.exit.inject = 0;
        u.exit.rip = 0x1000 + i;
        leave_guest(&vcpus[0], vcpu_recall);
        assert_int_equal(u.exit.inject != 0, i == 0);
        assert_int_equal(u.exit.deadline, 0); /* nobody looks again: the IRET recalls */
        u.exit.shadow = SHADOW_NMI;
    }
    u.exit.shadow = 0;
    u.exit.rip = 0x2000; /* before the IRET, whose stack it still needs */
    leave_guest(&vcpus[0], vcpu_recall);
    assert_int_equal(u.exit.inject, 0);
    assert_true(u.mtd & MTD_TIMER && u.exit.deadline);
    u.exit.rip = 0x1002;
    leave_guest(&vcpus[0], vcpu_recall);
    assert_int_equal(u.exit.inject & 0x7ff, INJECT_NMI | 2);
    u.exit.inject = 0;
    u.exit.rip = 0x2001;
    leave_guest(&vcpus[0], vcpu_recall);
    u.exit.rip = 0x1003;
    leave_guest(&vcpus[0], vcpu_recall);
    assert_int_equal(u.exit.inject, 0); /* of three sent one was kept */
}

static void a_guest_sets_its_tsc(void **state)
{
    (void)state;
    assert_int_equal(rdmsr(&vcpus[0], TSC_ADJUST), 0);
    assert_true(wrmsr(&vcpus[0], X2APIC_LVT_TIMER, 2u << 17 | VECTOR));
    assert_true(wrmsr(&vcpus[0], TSC_DEADLINE, tsc() + 4000000000));
    uint64_t deadline = vcpus[0].deadline, guest = rdmsr(&vcpus[0], TSC_DEADLINE);
    assert_true(wrmsr(&vcpus[0], CLOCK, 0x1001));
    assert_true(wrmsr(&vcpus[0], TSC, 1000));
    assert_true(u.mtd & MTD_TSC);
    assert_in_range(u.exit.tsc_offset + tsc(), 1000, 4000001000);
    assert_int_equal(rdmsr(&vcpus[0], TSC_ADJUST), u.exit.tsc_offset);
    assert_in_range(rdmsr(&vcpus[0], TSC), 1000, 4000001000);
    assert_true(rdmsr(&vcpus[0], TSC_DEADLINE) - guest < 2 ||
                guest - rdmsr(&vcpus[0], TSC_DEADLINE) < 2); /* it is an address in time */
    assert_true(vcpus[0].deadline > deadline);
    uint64_t base;
    memcpy(&base, fake.ram + 0x1000 + 8, 8);
    assert_true(base - u.exit.tsc_offset <= tsc());
    assert_true(wrmsr(&vcpus[0], TSC_ADJUST, 0));
    assert_int_equal(u.exit.tsc_offset, 0);
    assert_true(wrmsr(&vcpus[0], TSC_DEADLINE, rdmsr(&vcpus[0], TSC) - 1)); /* past */
    assert_int_equal(u.exit.intr, INTR_PENDING | VECTOR);
    assert_true(wrmsr(&vcpus[0], TSC, 1000));
    assert_true(wrmsr(&vcpus[0], TSC_DEADLINE, ~0ull)); /* never */
    assert_int_equal(u.exit.deadline, ~0ull);
}

static void init_stops_and_sipi_starts(void **state)
{
    (void)state;
    assert_true(wrmsr(&vcpus[0], X2APIC_TPR, 0x95));
    apic_post(0, VECTOR, NO_VCPU);
    assert_true(wrmsr(&vcpus[1], X2APIC_ICR, 0x45ff)); /* a physical INIT to 0 */
    leave_guest(&vcpus[0], vcpu_recall);
    assert_true(u.mtd & MTD_HALT);
    assert_int_equal(u.exit.intr, 0);
    apic_request(0, REQUEST_NMI); /* lost, as by a processor that waits for SIPI */
    leave_guest(&vcpus[0], vcpu_recall);
    assert_true(u.mtd & MTD_HALT);
    assert_true(wrmsr(&vcpus[1], X2APIC_ICR, 0x4612));
    assert_true(wrmsr(&vcpus[1], X2APIC_ICR, 0x4613));
    leave_guest(&vcpus[0], vcpu_recall);
    assert_false(u.mtd & MTD_HALT);
    assert_int_equal(u.exit.seg[SEG_CS].base, 0x13000);
    assert_true(u.mtd & MTD_CR8);
    assert_int_equal(u.exit.cr8, 0);
    assert_int_equal(rdmsr(&vcpus[0], X2APIC_TPR), 0);
    assert_true(wrmsr(&vcpus[1], X2APIC_ICR, 0x4614)); /* it runs: nothing happens */
    u.exit.rip = 0x1234;
    leave_guest(&vcpus[0], vcpu_recall);
    assert_int_equal(u.exit.rip, 0x1234);
}

static void an_offer_not_taken_comes_back(void **state)
{
    (void)state;
    apic_post(0, VECTOR, NO_VCPU);
    apic_post(0, VECTOR, NO_VCPU);
    assert_int_equal(fake.recalls[0], 1);
    leave_guest(&vcpus[0], vcpu_recall);
    assert_int_equal(u.exit.intr, INTR_PENDING | VECTOR);
    apic_post(0, VECTOR + 0x10, NO_VCPU); /* more urgent */
    leave_guest(&vcpus[0], vcpu_recall);
    assert_int_equal(u.exit.intr, INTR_PENDING | (VECTOR + 0x10));
    take_offer();
    leave_guest(&vcpus[0], vcpu_recall);
    assert_int_equal(u.exit.intr, 0); /* the other is of lower priority */
    assert_true(wrmsr(&vcpus[0], X2APIC_EOI, 0));
    assert_int_equal(u.exit.intr, INTR_PENDING | VECTOR);
    take_offer();
    assert_int_equal(rdmsr(&vcpus[0], X2APIC_ISR2), 1u << (VECTOR & 31));
    assert_true(wrmsr(&vcpus[0], X2APIC_EOI, 0));
    assert_int_equal(rdmsr(&vcpus[0], X2APIC_ISR2), 0);
}

/* While the guest runs, that is the processor's to do: it knows CR8. */
static void the_task_priority_is_the_processors(void **state)
{
    (void)state;
    assert_true(wrmsr(&vcpus[0], X2APIC_TPR, VECTOR & 0xf0));
    assert_true(u.mtd & MTD_CR8);
    assert_int_equal(u.exit.cr8, VECTOR >> 4);
    apic_post(0, VECTOR, NO_VCPU);
    leave_guest(&vcpus[0], vcpu_recall);
    assert_int_equal(u.exit.intr, INTR_PENDING | VECTOR);
    assert_false(u.mtd & (MTD_HALT | MTD_CR8));
    leave_guest(&vcpus[0], vcpu_recall); /* it was held back */
    assert_int_equal(u.exit.intr, INTR_PENDING | VECTOR);
    assert_true(wrmsr(&vcpus[0], X2APIC_TPR, 0));
    assert_true(u.mtd & MTD_CR8);
    assert_int_equal(u.exit.cr8, 0);
    assert_int_equal(u.exit.intr, INTR_PENDING | VECTOR);
}

/* One register by two names; CR8 does not have the lower half. */
static void the_task_priority_is_cr8(void **state)
{
    (void)state;
    assert_true(wrmsr(&vcpus[0], X2APIC_TPR, 0x45));
    assert_int_equal(u.exit.cr8, 4);
    assert_int_equal(rdmsr(&vcpus[0], X2APIC_TPR), 0x45);
    assert_false(u.mtd & MTD_CR8); /* who reads writes nothing */
    assert_int_equal(rdmsr(&vcpus[0], X2APIC_PPR), 0x45);
    assert_true(wrmsr(&vcpus[0], X2APIC_TPR, 0x4a)); /* the upper half is there */
    assert_false(u.mtd & MTD_CR8);
    assert_int_equal(rdmsr(&vcpus[0], X2APIC_TPR), 0x4a);
    u.exit.cr8 = 7; /* the guest writes CR8, which does not exit */
    assert_int_equal(rdmsr(&vcpus[0], X2APIC_PPR), 0x70);
    assert_int_equal(rdmsr(&vcpus[0], X2APIC_TPR), 0x70);
    u.exit.cr8 = 4;
    assert_int_equal(rdmsr(&vcpus[0], X2APIC_TPR), 0x40);
    u.exit.cr8 = 15;
    assert_true(wrmsr(&vcpus[0], X2APIC_TPR, 0x4f)); /* the last write counts */
    assert_true(u.mtd & MTD_CR8);
    assert_int_equal(u.exit.cr8, 4);
    assert_int_equal(rdmsr(&vcpus[0], X2APIC_TPR), 0x4f);
    assert_true(wrmsr(&vcpus[0], X2APIC_TPR, 0xffffff35));
    assert_int_equal(u.exit.cr8, 3);
    assert_int_equal(rdmsr(&vcpus[0], X2APIC_TPR), 0x35);
}

/* SDM3 10.8.3.1: the higher class of CR8 and of what is in service. */
static void the_processors_priority_follows_cr8(void **state)
{
    (void)state;
    apic_post(0, VECTOR, NO_VCPU);
    leave_guest(&vcpus[0], vcpu_recall);
    take_offer();
    u.exit.cr8 = 3;
    assert_int_equal(rdmsr(&vcpus[0], X2APIC_PPR), VECTOR & 0xf0);
    u.exit.cr8 = 5;
    assert_int_equal(rdmsr(&vcpus[0], X2APIC_PPR), 0x50);
    u.exit.cr8 = 0;
    assert_int_equal(rdmsr(&vcpus[0], X2APIC_PPR), VECTOR & 0xf0);
    assert_true(wrmsr(&vcpus[0], X2APIC_EOI, 0));
    assert_int_equal(rdmsr(&vcpus[0], X2APIC_PPR), 0);
}

/* What CR8 holds back neither wakes a processor nor is it offered to one that sleeps. */
static void a_halted_processor_wakes_above_cr8(void **state)
{
    (void)state;
    u.exit.rflags = 1u << 9, u.exit.cr8 = VECTOR >> 4;
    apic_post(0, VECTOR, NO_VCPU);
    leave_guest(&vcpus[0], vcpu_hlt);
    assert_true(u.mtd & MTD_HALT);
    assert_int_equal(u.exit.intr, 0);
    apic_post(0, VECTOR + 1, NO_VCPU); /* of the same class */
    leave_guest(&vcpus[0], vcpu_recall);
    assert_true(u.mtd & MTD_HALT);
    assert_int_equal(u.exit.intr, 0);
    apic_post(0, VECTOR + 0x10, NO_VCPU);
    leave_guest(&vcpus[0], vcpu_recall);
    assert_false(u.mtd & MTD_HALT);
    assert_int_equal(u.exit.intr, INTR_PENDING | (VECTOR + 0x10));
    take_offer();
    leave_guest(&vcpus[0], vcpu_recall); /* it runs: the others wait for its EOI, and for CR8 */
    assert_int_equal(u.exit.intr, 0);
    assert_true(wrmsr(&vcpus[0], X2APIC_EOI, 0));
    assert_int_equal(u.exit.intr, INTR_PENDING | (VECTOR + 1));
    u.exit.cr8 = (VECTOR >> 4) - 1; /* it was held back, and is no more */
    leave_guest(&vcpus[0], vcpu_hlt);
    assert_false(u.mtd & MTD_HALT);
    assert_int_equal(u.exit.intr, INTR_PENDING | (VECTOR + 1));
}

static void an_nmi_wakes_whatever_cr8_is(void **state)
{
    (void)state;
    u.exit.rflags = 1u << 9, u.exit.cr8 = 15;
    apic_post(0, VECTOR, NO_VCPU);
    leave_guest(&vcpus[0], vcpu_hlt);
    assert_true(u.mtd & MTD_HALT);
    apic_request(0, REQUEST_NMI);
    leave_guest(&vcpus[0], vcpu_recall);
    assert_false(u.mtd & MTD_HALT);
    assert_int_equal(u.exit.inject & 0x7ff, INJECT_NMI | 2);
    assert_int_equal(u.exit.intr, INTR_PENDING | VECTOR); /* the processor's to hold back now */
}

/* A port's value has the size that the exit tells; a string is refused. */
static void ports_have_sizes(void **state)
{
    (void)state;
    static const struct {
        uint8_t size;
        uint64_t rax; /* of IN: devices_in() says 80h + size */
    } row[] = {{1, 0x1122334455667781}, {2, 0x1122334455660082}, {4, 0x84}};
    for (uint32_t i = 0; i < COUNT(row); i++) {
        u.exit.rip = 0x1000, u.exit.next_rip = 0x1002 + i;
        u.exit.rax = 0x1122334455667788;
        u.exit.info = (struct exit_info){.number = 0x80, .size = row[i].size, .flags = EXIT_READ};
        leave_guest(&vcpus[0], vcpu_port);
        assert_int_equal(u.exit.rax, row[i].rax);
        assert_int_equal(u.exit.rip, 0x1002 + i);
        assert_int_equal(u.mtd & (MTD_ACDB | MTD_RIP), MTD_ACDB | MTD_RIP);
        u.exit.info.flags = EXIT_WRITE;
        u.exit.rax = written = 0x1122334455667788;
        leave_guest(&vcpus[0], vcpu_port);
        assert_int_equal(written, 0x55667788 & 0xffffffff >> (32 - 8 * row[i].size));
        assert_int_equal(u.mtd & (MTD_ACDB | MTD_RIP), MTD_RIP);
        u.exit.info.flags |= EXIT_STRING;
        leave_guest(&vcpus[0], vcpu_port);
        assert_int_equal(u.mtd & (MTD_RIP | MTD_INJECT), MTD_INJECT);
        assert_int_equal(u.exit.inject & 0xff, 13);
        u.exit.inject = 0;
    }
}

static void exceptions_come_back_as_they_were(void **state)
{
    (void)state;
    static const struct exit_info debug = {.number = 1, .error = 9},
                                  alignment = {.number = 17, .error = 5, .flags = EXIT_ERROR};
    u.exit.info = debug;
    leave_guest(&vcpus[0], vcpu_exception);
    assert_int_equal(u.exit.inject, INJECT_VALID | INJECT_EXCEPTION | 1);
    u.exit.info = alignment;
    leave_guest(&vcpus[0], vcpu_exception);
    assert_int_equal(u.exit.inject,
                     INJECT_VALID | INJECT_EXCEPTION | INJECT_ERROR | 17 | 5ull << 32);
    assert_true(u.mtd & MTD_INJECT);
}

static void a_word_in_memory_ends_an_interrupt(void **state)
{
    (void)state;
    uint32_t *word = (uint32_t *)(void *)(fake.ram + 0x100);
    assert_false(wrmsr(&vcpus[0], EOI_WORD, (uint64_t)FAKE_RAM | 1));
    assert_false(wrmsr(&vcpus[0], EOI_WORD, ~0ull));
    assert_true(wrmsr(&vcpus[0], EOI_WORD, 0x101));
    apic_post(0, VECTOR, NO_VCPU);
    leave_guest(&vcpus[0], vcpu_recall);
    assert_int_equal(*word, 1);
    *word = 0;
    take_offer();
    assert_int_equal(rdmsr(&vcpus[0], X2APIC_ISR2), 0);
    apic_post(0, VECTOR, NO_VCPU);
    leave_guest(&vcpus[0], vcpu_recall);
    *word = 77; /* anything but "ended" */
    take_offer();
    assert_int_equal(rdmsr(&vcpus[0], X2APIC_ISR2), 1u << (VECTOR & 31));
    assert_int_equal(*word, 0);
}

static void a_deadline_in_the_past_fires_at_once(void **state)
{
    (void)state;
    assert_true(wrmsr(&vcpus[0], X2APIC_LVT_TIMER, 2u << 17 | VECTOR));
    assert_true(wrmsr(&vcpus[0], TSC_DEADLINE, 1));
    assert_int_equal(u.exit.intr, INTR_PENDING | VECTOR);
    assert_int_equal(u.exit.deadline, 0);
    assert_true(wrmsr(&vcpus[0], TSC_DEADLINE, ~0ull));
    assert_int_equal(u.exit.deadline, ~0ull);
}

enum { PERIODIC = 1u << 17 };
#define COUNT_ALL 0x10000000u /* ticks of the timer, of 2 of the TSC's each */

static void the_timers_mode_changes_while_it_counts(void **state)
{
    (void)state;
    assert_true(wrmsr(&vcpus[0], X2APIC_DIVIDE, 0xb)); /* by 1 */
    assert_true(wrmsr(&vcpus[0], X2APIC_LVT_TIMER, VECTOR));
    assert_true(wrmsr(&vcpus[0], X2APIC_INITIAL, COUNT_ALL));
    uint64_t deadline = vcpus[0].deadline;
    assert_int_equal(vcpus[0].period, 0);
    assert_true(wrmsr(&vcpus[0], X2APIC_LVT_TIMER, PERIODIC | VECTOR));
    assert_true(vcpus[0].deadline == deadline);
    assert_in_range(vcpus[0].period, 2ull * COUNT_ALL - 1, 2ull * COUNT_ALL);
    assert_true(wrmsr(&vcpus[0], X2APIC_LVT_TIMER, VECTOR));
    assert_true(vcpus[0].deadline == deadline);
    assert_int_equal(vcpus[0].period, 0);
    assert_true(wrmsr(&vcpus[0], X2APIC_LVT_TIMER, 2 * PERIODIC | VECTOR));
    assert_int_equal(vcpus[0].deadline, 0);
    assert_true(wrmsr(&vcpus[0], X2APIC_LVT_TIMER, PERIODIC | VECTOR)); /* nothing counts */
    assert_int_equal(vcpus[0].deadline, 0);
}

static void the_timers_speed_changes_while_it_counts(void **state)
{
    (void)state;
    assert_true(wrmsr(&vcpus[0], X2APIC_DIVIDE, 0xb));
    assert_true(wrmsr(&vcpus[0], X2APIC_LVT_TIMER, PERIODIC | VECTOR));
    assert_true(wrmsr(&vcpus[0], X2APIC_INITIAL, COUNT_ALL));
    uint64_t from = tsc();
    assert_true(wrmsr(&vcpus[0], X2APIC_DIVIDE, 1)); /* by 4 */
    uint64_t to = tsc();
    assert_in_range(vcpus[0].period, 8ull * COUNT_ALL - 4, 8ull * COUNT_ALL);
    assert_in_range(vcpus[0].deadline - from, 8ull * COUNT_ALL - 4 * (to - from) - 1000000000,
                    8ull * COUNT_ALL + (to - from));
    assert_in_range(rdmsr(&vcpus[0], X2APIC_CURRENT), COUNT_ALL / 2, COUNT_ALL);
}

static void efer_keeps_what_is_the_hypervisors(void **state)
{
    (void)state;
    u.exit.efer = 0x500;
    assert_false(wrmsr(&vcpus[0], EFER, 0x1500)); /* SVME */
    assert_false(wrmsr(&vcpus[0], EFER, 0));      /* LME in long mode */
    assert_true(wrmsr(&vcpus[0], EFER, 0x901));
    assert_int_equal(u.exit.efer, 0xd01);
}

/* Hlt with and without interrupts. */
static void a_halted_processor_wakes_for_what_it_can_hear(void **state)
{
    (void)state;
    u.exit.rflags = 0;
    leave_guest(&vcpus[0], vcpu_hlt);
    assert_true(u.mtd & MTD_HALT);
    apic_post(0, VECTOR, NO_VCPU);
    leave_guest(&vcpus[0], vcpu_recall);
    assert_true(u.mtd & MTD_HALT);
    apic_request(0, REQUEST_NMI);
    leave_guest(&vcpus[0], vcpu_recall);
    assert_false(u.mtd & MTD_HALT);
    u.exit.rflags = 1u << 9;
    u.exit.inject = 0;
    leave_guest(&vcpus[0], vcpu_hlt); /* the vector still waits */
    assert_false(u.mtd & MTD_HALT);
}

static void root_is_rung_when_it_had_nothing_to_do(void **state)
{
    (void)state;
    assert_int_equal(console_write("one\n", 4), 4);
    assert_int_equal(console_write("two\n", 4), 4); /* it has not read the first yet */
    assert_int_equal(fake.bells[VMM_SM_ROOT], 1);
    fake.control->out_tail = 8;
    assert_int_equal(console_write("three", 5), 5);
    assert_int_equal(fake.bells[VMM_SM_ROOT], 2);
    fake.control->out_tail = 8 - CONSOLE_OUT + 5; /* the ring is full */
    assert_int_equal(console_write("four", 4), 0);
    for (uint32_t room = 0; room <= 17; room++) { /* a driver fills the FIFO after one look */
        fake.control->out_tail = 8 - CONSOLE_OUT + 5 + room;
        assert_int_equal(uart_in(0x3fd, 1) & 0x60, room < 16 ? 0 : 0x60);
        uart_out(0x3f9, 1, 2);
        assert_int_equal(uart_in(0x3fa, 1) & 0xf, room < 16 ? 1 : 2);
        uart_out(0x3f9, 1, 0);
    }
    fake.control->out_tail = 1000000; /* impossible: full */
    assert_int_equal(console_write("five", 4), 0);
    fake.control->in_head = 1000000; /* impossible: empty */
    assert_int_equal(uart_in(0x3fd, 1) & 1, 0);
}

static void the_uart_keeps_its_registers(void **state)
{
    (void)state;
    uart_out(0x3fb, 1, 0x83);
    uart_out(0x3f8, 1, 1);
    uart_out(0x3fb, 1, 0x03);
    uart_out(0x3fc, 1, 0xff);
    uart_out(0x3ff, 1, 0x5a);
    uart_out(0x3fd, 1, 0xff);
    assert_int_equal(uart_in(0x3fc, 1), 0x1f);
    assert_int_equal(uart_in(0x3ff, 1), 0x5a);
    assert_int_equal(uart_in(0x3fe, 1), 0xf0); /* loop-back */
    uart_out(0x3f8, 1, 'x');
    assert_int_equal(fake.control->out_head, 0);
    uart_out(0x3fc, 1, 3);
    uart_out(0x3f8, 1, 'x');
    assert_int_equal(fake.control->out_head, 1);
    assert_int_equal(uart_in(0x3f8, 4), 0xffffffff);
}

static void say(const char *text)
{
    for (; *text; text++)
        uart_out(0x3f8, 1, (uint8_t)*text);
}

/* What is typed goes to the device with the prompt; else to that which a program wrote to last. */
static void input_goes_to_the_prompt(void **state)
{
    (void)state;
    uart_out(0x3fc, 1, 3);
    uart_out(0x3f9, 1, 0);
    console_wrote(CONSOLE_VIRTIO, '\n');
    assert_true(console_hears(CONSOLE_VIRTIO));
    uart_out(0x3f9, 1, 5);
    say("login: ");
    assert_true(console_hears(CONSOLE_UART) && !console_hears(CONSOLE_VIRTIO));
    console_wrote(CONSOLE_VIRTIO, 'a'); /* a message, in two parts */
    console_wrote(CONSOLE_VIRTIO, '\n');
    assert_true(console_hears(CONSOLE_UART));
    fake.control->in_head = 3;
    assert_int_equal(uart_in(0x3fd, 1) & 1, 1);
    say("root\nok\n");
    uint32_t before = fake.bells[VMM_SM_WORK];
    console_wrote(CONSOLE_VIRTIO, '#');
    assert_true(console_hears(CONSOLE_VIRTIO));
    assert_int_equal(fake.bells[VMM_SM_WORK], before + 1);
    assert_int_equal(uart_in(0x3fd, 1) & 1, 0);
    uart_out(0x3f9, 1, 0);
    say("a message of the kernel's");
    assert_true(console_hears(CONSOLE_VIRTIO));
    uart_out(0x3f9, 1, 5);
    console_wrote(CONSOLE_VIRTIO, '\n');
    say("done\n");
    assert_true(console_hears(CONSOLE_UART));
}

/* ---- a dedicated VM: its cores have the APIC IDs 5, 2, 33 and 7
 * -------------------------------------- */
static int setup_dedicated(void **state)
{
    static const uint32_t ids[VCPUS] = {5, 2, 33, 7};
    setup(state);
    fake.config->plan.mode = MODE_DEDICATED;
    memcpy(fake.config->apic_id, ids, sizeof ids);
    fake.config->apic_per_tsc = 1ull << 31; /* half a tick of the timer in one of the TSC */
    apic_init();
    return 0;
}

static uint32_t requested(void)
{
    uint32_t who = 0;
    for (uint32_t i = 0; i < VCPUS; i++) {
        who |= (uint32_t)(vcpus[i].request != 0) << i;
        vcpus[i].request = 0;
    }
    return who;
}

static void processors_start_by_their_real_ids(void **state)
{
    static const struct {
        uint64_t icr;
        uint32_t who;
    } sent[] = {
        {0x2100004500, 1u << 2},                           /* INIT to 33 */
        {0x0200004612, 1u << 1},                           /* SIPI to 2 */
        {0x0300004612, 0},                                 /* to nobody */
        {0x000c4500, 0xe},                                 /* all others */
        {0xffffffff00004500, 0xf},                         /* everybody */
        {0x000000a400004d00, 1u << 0 | 1u << 1 | 1u << 3}, /* logical: cluster 0, IDs 2, 5, 7 */
        {0x0002000200004d00, 1u << 2},                     /* cluster 2, ID 33 */
        {0x0000000500008500, 0},                           /* the end of an INIT */
    };
    (void)state;
    for (uint32_t i = 0; i < COUNT(sent); i++) {
        assert_true(wrmsr(&vcpus[0], X2APIC_ICR, sent[i].icr));
        assert_int_equal(requested(), sent[i].who);
    }
    assert_false(wrmsr(&vcpus[0], X2APIC_ICR, 0x200004041)); /* the kernel sends those itself */
    assert_false(wrmsr(&vcpus[0], X2APIC_ICR, 0x200004402));
    assert_int_equal(requested(), 0);
}

static void a_dedicated_processor_waits_for_sipi(void **state)
{
    (void)state;
    leave_guest(&vcpus[1], vcpu_start);
    assert_true(u.mtd & MTD_HALT);
    assert_true(wrmsr(&vcpus[0], X2APIC_ICR, 0x200004500));
    assert_true(wrmsr(&vcpus[0], X2APIC_ICR, 0x200004608));
    leave_guest(&vcpus[1], vcpu_recall);
    assert_false(u.mtd & MTD_HALT);
    assert_int_equal(u.exit.seg[SEG_CS].base, 0x8000);
    assert_int_equal(u.exit.deadline, 0);
    assert_int_equal(u.exit.intr, 0);
}

/* A message for it goes to the real APIC, one vector a reply. */
static void a_dedicated_processor_sends_itself_its_interrupts(void **state)
{
    (void)state;
    vcpus[1].idle = RUNNING;
    apic_send_msi(0xfee02000, 0x41, NO_VCPU);
    apic_send_msi(0xfee02000, 0x53, NO_VCPU);
    assert_int_equal(fake.recalls[1], 2);
    leave_guest(&vcpus[1], vcpu_recall);
    assert_true(u.mtd & MTD_APIC && u.exit.apic_reg == 0x3f && u.exit.apic_value == 0x53);
    assert_int_equal(fake.recalls[1], 3);
    leave_guest(&vcpus[1], vcpu_recall);
    assert_true(u.mtd & MTD_APIC && u.exit.apic_reg == 0x3f && u.exit.apic_value == 0x41);
    leave_guest(&vcpus[1], vcpu_recall);
    assert_false(u.mtd & MTD_APIC);
    assert_int_equal(fake.recalls[1], 3);
    apic_send_msi(0xfee05000, 0x41, 0); /* by its own handler, whose reply has something else */
    assert_true(wrmsr(&vcpus[0], X2APIC_LVT_LINT0, VECTOR));
    assert_int_equal(u.exit.apic_value, VECTOR);
    assert_int_equal(fake.recalls[0], 1);
    leave_guest(&vcpus[0], vcpu_recall);
    assert_true(u.mtd & MTD_APIC && u.exit.apic_value == 0x41);
    assert_int_equal(u.exit.intr, 0);
}

/* What the kernel is to write; 0: nothing. */
static uint64_t real_write(uint32_t number, uint64_t value)
{
    u.exit.apic_reg = u.exit.apic_value = 0;
    assert_true(wrmsr(&vcpus[0], number, value));
    if (u.mtd & MTD_APIC)
        assert_int_equal(u.exit.apic_reg, number - 0x800);
    return u.mtd & MTD_APIC ? u.exit.apic_value : 0;
}

static void local_vectors_are_the_kernels(void **state)
{
    (void)state;
    assert_int_equal(real_write(X2APIC_LVT_LINT0, VECTOR), VECTOR);
    assert_int_equal(real_write(X2APIC_LVT_LINT0, ~0ull), ~0u); /* who makes it harmless */
    assert_false(wrmsr(&vcpus[0], X2APIC_LVT_TIMER, 0));        /* these do not come to a VMM */
    assert_false(wrmsr(&vcpus[0], X2APIC_INITIAL, 0));
    assert_false(wrmsr(&vcpus[0], X2APIC_CURRENT, 0));
    assert_false(wrmsr(&vcpus[0], X2APIC_EOI, 0));
    assert_false(wrmsr(&vcpus[0], TSC_DEADLINE - 1, 0));
}

/* By 16, half a tick in one of the TSC: 32 of the TSC's are one of the count's. */
static void the_count_goes_down_at_the_timers_speed(void **state)
{
    (void)state;
    assert_int_equal(real_write(X2APIC_DIVIDE, 3), 3);
    uint64_t before = tsc(), first = rdmsr(&vcpus[0], X2APIC_CURRENT), from = tsc(), to;
    assert_in_range(first, 0xf0000000, 0xffffffff);
    do
        to = tsc();
    while (to - from < 20000000);
    uint64_t gone = first - rdmsr(&vcpus[0], X2APIC_CURRENT);
    assert_in_range(gone, (to - from) / 32 - 1, (tsc() - before) / 32 + 1);
    uint64_t value = 0;
    assert_false(msr(&vcpus[0], X2APIC_INITIAL, &value, false));
}

static const struct cpuid_row *row_of(const struct utcb *t, uint32_t leaf, uint32_t subleaf)
{
    for (uint32_t i = 0; i < t->rows; i++)
        if (t->cpuid[i].leaf == leaf &&
            (t->cpuid[i].subleaf == subleaf || t->cpuid[i].subleaf == CPUID_ANY))
            return &t->cpuid[i];
    fail();
    return NULL;
}

static void cpuid_tells_what_is_real(void **state)
{
    (void)state;
    u.rows = cpuid_table(u.cpuid, 2);
    assert_int_equal(row_of(&u, 1, 0)->ebx >> 24, 33);
    assert_int_equal(row_of(&u, 1, 0)->ecx & 1u << 24, 0); /* no TSC deadline */
    assert_int_equal(row_of(&u, 0xb, 0)->edx, 33);
    assert_int_equal(row_of(&u, 0xb, 1)->eax, 6); /* bits of 33: one package */
    assert_int_equal(row_of(&u, 0xb, 1)->ebx, VCPUS);
    assert_int_equal(row_of(&u, 0x40000001, 0)->eax & 1u << 6,
                     0); /* no word that ends an interrupt */
    assert_int_equal(row_of(&u, CPUID_HAIRLINE, 0)->eax, MODE_DEDICATED);
    assert_memory_equal(&row_of(&u, CPUID_HAIRLINE, 0)->ebx, "HairlineHair", 12);
    fake.config->plan.mode = MODE_SHARED;
    u.rows = cpuid_table(u.cpuid, 2);
    assert_int_equal(row_of(&u, 0xb, 0)->edx, 2);
    assert_int_equal(row_of(&u, 0xb, 1)->eax, 2);
    assert_int_equal(row_of(&u, 1, 0)->ecx & 1u << 24, 1u << 24);
    assert_int_equal(row_of(&u, CPUID_HAIRLINE, 0)->eax, MODE_SHARED);
}

/* Topology and caches are told in each vendor's own way, and what is hidden is hidden on both. */
static void cpuid_speaks_each_vendors_language(void **state)
{
    (void)state;
    static const struct {
        uint32_t vendor, caches[4], count, legacy, eax_of_21;
    } says[] = {
        {AMD, {0, 0, 0, 0}, 2u << 12 | (VCPUS - 1), 2, 0x65},
        {CPUID_INTEL, {0x0c000121, 0x0c000122, 0x0c000143, 0x0c00c163}, 0, 0, 0},
    };
    for (uint32_t i = 0; i < COUNT(says); i++) {
        vendor = says[i].vendor;
        u.rows = cpuid_table(u.cpuid, 1);
        assert_in_range(u.rows, 1, CPUID_ROWS);
        for (uint32_t cache = 0; cache < 4; cache++)
            assert_int_equal(row_of(&u, 4, cache)->eax, says[i].caches[cache]);
        assert_int_equal(row_of(&u, 4, 3)->edx, vendor == AMD ? 0 : 3);
        assert_int_equal(row_of(&u, 2, 0)->eax, vendor == AMD ? 0 : ~0u);
        assert_int_equal(row_of(&u, 0x80000008, 0)->ecx, says[i].count);
        assert_int_equal(row_of(&u, 0x80000001, 0)->ecx & 2, says[i].legacy);
        assert_int_equal(row_of(&u, 0x80000021, 0)->eax, says[i].eax_of_21);
        assert_int_equal(row_of(&u, 0x80000021, 0)->ecx, vendor == AMD ? 6 : 0);
        assert_int_equal(row_of(&u, 0, 0)->ecx, vendor);
        assert_int_equal(row_of(&u, 1, 0)->ecx & (1u << 3 | 1u << 5 | 1u << 17), 0);
        assert_int_equal(row_of(&u, 0x80000001, 0)->ecx & 1u << 2, 0); /* SVM */
        assert_int_equal(row_of(&u, 7, 0)->edx & 0xfc000000, 0);       /* controls of speculation */
    }
}

static void each_vendors_msrs_are_its_own(void **state)
{
    (void)state;
    static const struct {
        uint32_t msr;
        bool amd, intel;
        uint64_t value;
    } row[] = {
        {0x17, 0, 1, 0},
        {0x3a, 0, 1, 1},
        {0x4e, 0, 1, 1},
        {0x8b, 1, 1, 0},
        {0xce, 0, 1, 0},
        {0x10a, 0, 0, 0}, /* CPUID hides it */
        {0x140, 0, 1, 0},
        {0x1a0, 1, 1, 0x1801},
        {0x480, 0, 0, 0}, /* VMX */
        {0xc0010015, 1, 0, 1u << 24},
        {0xc0010114, 0, 0, 0}, /* SVM */
        {0xc0011029, 1, 0, 2},
    };
    uint64_t unclaimed = 0;
    for (uint32_t i = 0; i < 2 * COUNT(row); i++) {
        uint64_t value = 0;
        vendor = i & 1 ? AMD : CPUID_INTEL;
        bool there = i & 1 ? row[i / 2].amd : row[i / 2].intel;
        unclaimed += there ? 0 : 2;
        assert_int_equal(msr(&vcpus[0], row[i / 2].msr, &value, false), there);
        assert_int_equal(value, there ? row[i / 2].value : 0);
        assert_int_equal(wrmsr(&vcpus[0], row[i / 2].msr, 77), there);
        assert_int_equal(fake.control->unclaimed_msrs, unclaimed);
    }
}

/* Whatever the guest says, in any order: no address beyond its RAM, no vCPU that it does not have.
 */
static void any_exit_is_harmless(void **state)
{
    static void (*const entries[])(struct vcpu *, struct utcb *) = {
        vcpu_recall, vcpu_port,   vcpu_msr,    vcpu_msr,    vcpu_msr,
        vcpu_hlt,    vcpu_vmcall, vcpu_opcode, vcpu_xsetbv, vcpu_exception};
    static const uint32_t bases[] = {0x800, 0x800, 0x830,      0x4b564d00, 0x6e0,
                                     0x10,  0x270, 0xc0000080, 0xc0010000, 0};
    (void)state;
    srand(1);
    for (uint32_t i = 0; i < 200000; i++) {
        struct vcpu *v = &vcpus[(uint32_t)rand() % VCPUS];
        uint64_t *word = (uint64_t *)&u.exit;
        for (uint32_t n = 0; n < sizeof u.exit / 8; n += 1 + (uint32_t)rand() % 8)
            word[n] = (uint64_t)rand() << 33 ^ (uint64_t)rand() << 11 ^ (uint64_t)rand();
        u.exit.info.number = bases[(uint32_t)rand() % 10] + (uint32_t)rand() % 0x40;
        u.exit.info.size = (uint8_t)(1 << rand() % 3); /* the processor says it */
        fake.ram[(uint32_t)rand() % FAKE_RAM] = (uint8_t)rand();
        leave_guest(v, entries[(uint32_t)rand() % COUNT(entries)]);
        apic_send_msi((uint32_t)rand(), (uint32_t)rand(), NO_VCPU);
    }
}

#define TEST(f)           cmocka_unit_test_setup_teardown(f, setup, teardown)
#define TEST_DEDICATED(f) cmocka_unit_test_setup_teardown(f, setup_dedicated, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(an_nmi_waits_for_what_is_injected),
        TEST(one_nmi_waits_for_the_other_ones_end),
        TEST(a_guest_sets_its_tsc),
        TEST(init_stops_and_sipi_starts),
        TEST(an_offer_not_taken_comes_back),
        TEST(the_task_priority_is_the_processors),
        TEST(the_task_priority_is_cr8),
        TEST(the_processors_priority_follows_cr8),
        TEST(a_halted_processor_wakes_above_cr8),
        TEST(an_nmi_wakes_whatever_cr8_is),
        TEST(ports_have_sizes),
        TEST(exceptions_come_back_as_they_were),
        TEST(a_word_in_memory_ends_an_interrupt),
        TEST(a_deadline_in_the_past_fires_at_once),
        TEST(the_timers_mode_changes_while_it_counts),
        TEST(the_timers_speed_changes_while_it_counts),
        TEST(efer_keeps_what_is_the_hypervisors),
        TEST(a_halted_processor_wakes_for_what_it_can_hear),
        TEST(root_is_rung_when_it_had_nothing_to_do),
        TEST(the_uart_keeps_its_registers),
        TEST(input_goes_to_the_prompt),
        TEST_DEDICATED(processors_start_by_their_real_ids),
        TEST_DEDICATED(a_dedicated_processor_waits_for_sipi),
        TEST_DEDICATED(a_dedicated_processor_sends_itself_its_interrupts),
        TEST_DEDICATED(local_vectors_are_the_kernels),
        TEST_DEDICATED(the_count_goes_down_at_the_timers_speed),
        TEST_DEDICATED(cpuid_tells_what_is_real),
        TEST(cpuid_speaks_each_vendors_language),
        TEST(each_vendors_msrs_are_its_own),
        TEST(any_exit_is_harmless),
        TEST_DEDICATED(any_exit_is_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
