/*
 * Lost wake-ups in assembly: an NMI before each single instruction of the ways into an Intel guest
 * and into sleep. The kernel's own code runs here, one instruction after another (RFLAGS.TF); what
 * user mode cannot execute is made harmless by user_mode.inc.
 */
#define _GNU_SOURCE
#include "test.h"
#include <asm/prctl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include <core.h>

extern const uint8_t vmx_enter[], vmx_window[], vmx_window_end[], vmx_back[], vmx_not_yet[];
extern const uint8_t cpu_idle_end[], window_entered[], window_halted[], window_woken[];
uint64_t window_nmi(uint64_t frame[5]);
void window_go(uint64_t argument, const struct ec *ec, const void *where);

/* nmi_entry, on a stack of its own: where it returns to. And code from `where` on, by steps. */
__asm__(".globl window_nmi, window_go, window_entered, window_halted, window_woken, window_iret\n"
        "window_nmi: mov %rsp, nmi_caller(%rip); mov %rdi, %rsp; jmp nmi_entry\n"
        "window_iret: mov (%rsp), %rax; mov nmi_caller(%rip), %rsp; ret\n"
        "window_go: mov %rsi, %rbx; lea window_woken(%rip), %rax; push %rax\n"
        "pushfq; orl $0x100, (%rsp); popfq; jmp *%rdx\n"
        "window_entered: nop\n"
        "window_halted: nop\n"
        "window_woken: nop\n"
        ".local nmi_caller; .comm nmi_caller, 8\n");

/* Who the way back leads to: no further than to their first instruction. */
#define NEVER(name)                                                                                \
    void name(void);                                                                               \
    void name(void) { abort(); }
NEVER(vmx_go_home)
NEVER(vmx_go_abroad)
NEVER(vcpu_prepare)

enum { NOBODY_RINGS = 1000, HOST_STACK = 4096 };
static struct core core;
static struct ec guest;
static uint64_t kernel_stack[HOST_STACK];

static struct {
    unsigned steps, nmi_at;
    bool by_hazard;
    const void *end;
    uint64_t rsp;
} run;
static sigjmp_buf back;

static uint64_t nmi_returns_to(uint64_t rip)
{
    uint64_t frame[5] = {rip, SEL_KERNEL_CODE, 2, 0, SEL_KERNEL_DATA};
    return window_nmi(frame);
}

static bool is_end(const void *at)
{
    return at == window_entered || at == window_halted || at == window_woken ||
           at == (const void *)vmx_go_home || at == (const void *)vmx_go_abroad ||
           at == (const void *)vcpu_prepare;
}

/* Before each instruction. Who wants the core writes down why, then sends the NMI. */
static void step(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info;
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    const void *at = (const void *)r[REG_RIP];
    if (is_end(at)) {
        run.end = at, run.rsp = (uint64_t)r[REG_RSP];
        siglongjmp(back, 1);
    }
    run.steps++;
    if (run.steps != run.nmi_at + 1)
        return;
    if (run.by_hazard)
        guest.hazard = 1;
    else
        core.doorbell = 1;
    r[REG_RIP] = (greg_t)nmi_returns_to((uint64_t)at);
}

/* Where it ends. */
static const void *go(const void *where, uint64_t argument, unsigned nmi_at)
{
    core.self = &core;
    core.current = core.loaded = core.abroad = &guest;
    core.stack_top = (uint64_t)(kernel_stack + HOST_STACK);
    core.doorbell = core.outside = 0;
    guest.hazard = 0;
    run.steps = 0, run.nmi_at = nmi_at, run.end = NULL;
    if (!sigsetjmp(back, 1))
        window_go(argument, &guest, where);
    return run.end;
}

static void an_nmi_before_the_entry_keeps_the_guest_out(void **state)
{
    (void)state;
    for (unsigned how = 0; how < 8; how++) {
        core.launched = how & 1;
        run.by_hazard = how & 2;
        core.cr3 = 0x1000;
        core.host_cr3 = how & 4 ? 0x1000 : 0;
        assert_ptr_equal(go(vmx_enter, 0, NOBODY_RINGS), window_entered);
        assert_int_equal(core.outside, 1);
        unsigned steps = run.steps;
        assert_in_range(steps, 20, 50);
        for (unsigned at = 0; at < steps; at++) {
            core.host_cr3 = how & 4 ? 0x1000 : 0;
            if (go(vmx_enter, 0, at) != (const void *)vmx_go_home)
                fail_msg("an NMI before step %u of %u is lost", at, steps);
            assert_int_equal(core.outside, 0);
            if (!run.by_hazard) /* by vmx_not_yet */
                assert_int_equal(run.rsp, core.stack_top - 8);
        }
    }
}

/* No longer than that: behind a VMfail the guest's registers are in place, and are to be saved. */
static void elsewhere_an_nmi_changes_nothing(void **state)
{
    (void)state;
    assert_in_range(vmx_window_end - vmx_window, 40, 200);
    for (const uint8_t *at = vmx_enter - 16; at < vmx_back + 16; at++) {
        bool inside = at >= vmx_window && at < vmx_window_end;
        assert_int_equal(nmi_returns_to((uint64_t)at), inside ? vmx_not_yet : at);
    }
}

static void an_nmi_before_sleep_keeps_the_core_awake(void **state)
{
    (void)state;
    run.by_hazard = false;
    for (uint64_t interrupts = 0; interrupts < 2; interrupts++) {
        assert_ptr_equal(go((const void *)cpu_idle, interrupts, NOBODY_RINGS), window_halted);
        unsigned steps = run.steps;
        assert_in_range(steps, 4, 10);
        for (unsigned at = 0; at < steps; at++) {
            if (go((const void *)cpu_idle, interrupts, at) != window_woken)
                fail_msg("an NMI before step %u of %u is lost", at, steps);
            assert_int_equal(core.outside, 0);
        }
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_nmi_before_the_entry_keeps_the_guest_out),
        cmocka_unit_test(elsewhere_an_nmi_changes_nothing),
        cmocka_unit_test(an_nmi_before_sleep_keeps_the_core_awake),
    };
    static uint8_t signal_stack[1 << 16];
    const stack_t stack = {.ss_sp = signal_stack, .ss_size = sizeof signal_stack};
    const struct sigaction action = {.sa_sigaction = step, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    if (sigaltstack(&stack, NULL) || sigaction(SIGTRAP, &action, NULL) ||
        syscall(SYS_arch_prctl, ARCH_SET_GS, &core))
        return 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
