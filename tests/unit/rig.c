/* The machine that is not there, and the kernel on it. */
#include "rig.h"
#include "model.h"
#include <vmx.h>
#include <stdlib.h>

struct machine machine;
struct pd *root;

static jmp_buf way_out, no_work;
static struct kernel_stat before;
static uint64_t next_slot, next_utcb;

/* Symbols of entry.S and the linker script: an image of four pages. */
uint8_t image[4 * PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
__asm__(".globl image_start, kernel_text, kernel_text_end, kernel_rodata, kernel_rodata_end, "
        "kernel_data, kernel_data_end, kernel_end\n"
        ".set image_start, image; .set kernel_text, image; .set kernel_text_end, image + 4096\n"
        ".set kernel_rodata, image + 4096; .set kernel_rodata_end, image + 8192\n"
        ".set kernel_data, image + 8192; .set kernel_data_end, image + 12288; .set kernel_end, "
        "image + 16384");
extern const uint8_t trap_stubs[256 * 16], nmi_entry[16], init_entry[16], drain_entry[16],
    syscall_entry[16], vmx_back[16];
const uint8_t trap_stubs[256 * 16], nmi_entry[16], init_entry[16], drain_entry[16],
    syscall_entry[16], vmx_back[16];

uint8_t core_ap_page = 8; /* the boot stub's */

void init_kernel(const struct boot_info *info) __attribute__((noreturn));
void core_main_ap(void) __attribute__((noreturn));
void core_first_resume(void) __attribute__((noreturn));
uint64_t call_fast(uint64_t a1, uint64_t a2, uint64_t number);
void call_graph(uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t number);
void trap_user(uint64_t vector, uint64_t error);
void trap_kernel(uint64_t vector, uint64_t error, uint64_t rip);
void vmx_go_abroad(struct ec *ec);
void core_first_resume(void) { longjmp(way_out, 1); }

/* ---- the processor: what model.c does not have ------------------------------ */
void machine_say(uint8_t c)
{
    size_t n = strlen(machine.serial);
    if (n < sizeof machine.serial - 1)
        machine.serial[n] = (char)c;
}
_Alignas(PAGE_SIZE) char boot_pml4[PAGE_SIZE];
void boot_last_words(const char *text)
{
    for (; *text; text++)
        machine_say((uint8_t)*text);
    machine_halt();
}
void machine_go(uint64_t to, uint64_t rdi, uint64_t rsi)
{
    assert_int_equal(to, BOOT_LEAVE_AT);
    machine.left(rdi, rsi);
    abort();
}
void machine_zero(void *page)
{
    if ((uint64_t)page < KERNEL_BASE)
        memset(page, 0, PAGE_SIZE);
    else
        machine.zeroed(page);
}
void machine_copy(uint64_t *to, const uint64_t *from, uint64_t words)
{
    memcpy(to, from, words * 8);
}
void machine_copy_dr(uint64_t *to, const uint64_t *from) { memcpy(to, from, 4 * sizeof *to); }
void machine_idle(void)
{
    machine.core->outside = 1; /* entry.S: cpu_idle */
    longjmp(no_work, 1);
}
void machine_halt(void)
{
    if (machine.halted)
        machine.halted();
    fail_msg("%s", machine.serial);
    abort();
}

void on_core(uint32_t number) { machine.core = &cores[number]; }
struct ec *current(void) { return machine.core->current; }

/* The core that executes takes an interrupt. */
static void take(uint32_t vector)
{
    model_in_service(vector);
    trap_kernel(vector, 0, 0);
}

/* Other cores take their IPIs while this one spins. */
static void ipis_arrive(void)
{
    struct core *self = machine.core;
    for (uint32_t i = 0; i < core_count; i++)
        if (&cores[i] != self && machine.ipis & 1u << i) {
            machine.ipis &= ~(1u << i);
            on_core(i);
            take(VECTOR_IPI);
            cores[i].outside = 1; /* soon */
        }
    for (uint32_t i = 0; i < core_count; i++)
        if (&cores[i] != self && machine.nmis & 1u << i) { /* what core_attention() does first */
            machine.nmis &= ~(1u << i);
            on_core(i);
            core_take_inbox();
            core_sync_poll();
        }
    machine.core = self;
}

/* ---- running ---------------------------------------------------------------- */
/* vmx_switch.S: what a vCPU runs with is in the core. */
static void enter_vmx(struct core *c)
{
    if (c->current != c->abroad)
        vmx_go_abroad(c->current);
    if (c->host_cr3 != c->cr3)
        cpu_vmwrite(VMCS_HOST_CR3, c->host_cr3 = c->cr3);
    model_vmx_enter(c->launched);
    c->launched = 1; /* for whatever ends the guest's run */
}

/* The same: the core runs anything else. */
static void come_home(struct core *c, bool stays)
{
    if (virt_vmx && !(stays && c->abroad == c->current && !c->attention && !c->doorbell))
        vmx_go_home();
}

void settle(void)
{
    if (setjmp(no_work))
        return;
    machine.core->outside = 0;
    come_home(machine.core, true);
    for (;;) {
        if (machine.core->attention || machine.core->doorbell)
            core_attention();
        struct ec *ec = machine.core->current;
        if (!ec)
            machine.core->attention = 1;
        else if (ec->kind == EC_VCPU && (ec->hazard || machine.core->loaded != ec)) {
            come_home(machine.core, false);
            vcpu_prepare(ec);
        } else if (!machine.core->attention && !machine.core->doorbell)
            break;
    }
    if (machine.core->current->way == WAY_VMX)
        enter_vmx(machine.core);
    else if (machine.core->current->way == WAY_SVM)
        model_vmrun(machine.core->current->vcpu->vmcb);
    machine.core->outside = 1;
}

void deliver(void)
{
    struct core *self = machine.core;
    do
        for (uint32_t i = 0; i < core_count; i++) {
            on_core(i);
            if (machine.ipis & 1u << i) {
                machine.ipis &= ~(1u << i);
                take(VECTOR_IPI);
            }
            machine.nmis &= ~(1u << i); /* it wakes the core, no more: entry.S */
            settle();
        }
    while (machine.ipis | machine.nmis);
    machine.core = self;
}

/* The core whose timer fires first, by `end`; core_count: none. */
static uint32_t first_timer(uint64_t end)
{
    uint32_t first = core_count;
    for (uint32_t i = 0; i < core_count; i++)
        if (machine.cpu[i].timer_at && machine.cpu[i].timer_at <= end &&
            (first == core_count || machine.cpu[i].timer_at < machine.cpu[first].timer_at))
            first = i;
    return first;
}

void pass(uint64_t ticks)
{
    struct core *self = machine.core;
    uint64_t until = machine.tsc + ticks;
    for (;;) {
        uint32_t i = first_timer(until);
        if (i == core_count)
            break;
        on_core(i);
        machine.tsc = machine.cpu[i].timer_at;
        machine.cpu[i].timer_at = 0;
        take(VECTOR_TIMER);
        settle();
        deliver();
    }
    machine.tsc = until;
    machine.core = self;
}

/* What entry.S does with a system call. */
uint64_t call(struct ec *ec, uint64_t number, uint64_t a1, uint64_t a2)
{
    assert_ptr_equal(current(), ec);
    machine.core->outside = 0;
    ec->way = WAY_SYSRET;
    if (number >= CALL_PD_CREATE) {
        call_graph(a1, a2, 0, 0, 0, number);
    } else {
        uint64_t s = call_fast(a1, a2, number);
        if (machine.core->attention ? ec->state == STATE_READY : current() == ec)
            ec->regs.rax = s;
    }
    settle();
    return ec->regs.rax;
}

void reply(struct ec *ec, uint64_t words)
{
    assert_ptr_equal(current(), ec);
    machine.core->outside = 0;
    pt_reply(ec, words);
    settle();
}

void vm_exit(struct ec *vcpu, uint64_t code)
{
    assert_ptr_equal(current(), vcpu);
    if (virt_vmx) {
        model_vmx_exit(code);
    } else {
        vcpu->vcpu->vmcb->code = code;
        model_exit(vcpu->vcpu->vmcb);
    }
    machine.core->outside = 0;
    virt_vmx ? vmx_exit(vcpu) : svm_exit(vcpu);
    settle();
}

void fault(struct ec *ec, uint64_t vector, uint64_t error)
{
    assert_ptr_equal(current(), ec);
    ec->way = WAY_IRET;
    machine.core->outside = 0;
    trap_user(vector, error);
    settle();
}

/* ---- root ------------------------------------------------------------------- */
void *object_at(uint64_t slot) { return &objects[root->caps[slot].index]; }
uint64_t slot_new(void) { return next_slot++; }

void slots_again(uint64_t first)
{
    for (uint64_t slot = first; slot < root->slots; slot++)
        root->caps[slot] = (struct cap){0};
    next_slot = first;
}

/* Root's thread sleeps: lend its identity to a call. */
uint64_t graph(uint64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5)
{
    struct ec *self = object_at(SLOT_ROOT_EC), *was = machine.core->current;
    machine.core->current = self;
    call_graph(a1, a2, a3, a4, a5, number);
    machine.core->current = machine.core->current == self ? was : machine.core->current;
    deliver();
    settle();
    return self->regs.rax;
}

uint64_t end(uint64_t slot) { return graph(CALL_DESTROY, slot, 0, 0, 0, 0); }

uint64_t make_pd(enum pd_kind kind, uint64_t frames, uint64_t objects_quota)
{
    uint64_t slot = slot_new();
    assert_int_equal(graph(CALL_PD_CREATE,
                           slot | (uint64_t)LAB << 16 | (uint64_t)SLOT_ROOT_SYS << 32, kind, frames,
                           objects_quota, 0),
                     OK);
    return slot;
}

uint64_t make_ec(uint64_t pd, uint64_t core, enum ec_kind kind)
{
    uint64_t slot = slot_new(), utcb = kind == EC_VCPU ? 0 : next_utcb;
    next_utcb += PAGE_SIZE;
    assert_int_equal(graph(CALL_EC_CREATE, slot | pd << 16 | core << 32 | (uint64_t)kind << 48,
                           utcb, EVENTS, 0x1000, 0x2000),
                     OK);
    return slot;
}

uint64_t make_sc(uint64_t ec, uint64_t priority, uint64_t budget, uint64_t period)
{
    uint64_t slot = slot_new();
    assert_int_equal(graph(CALL_SC_CREATE, slot | (uint64_t)SLOT_ROOT_SYS << 16 | ec << 32,
                           priority, budget, period, 0),
                     OK);
    return slot;
}

uint64_t make_pt(uint64_t ec, uint64_t mtd, uint64_t id)
{
    uint64_t slot = slot_new();
    assert_int_equal(
        graph(CALL_PT_CREATE, slot | (uint64_t)LAB << 16 | ec << 32, 0x3000, mtd, id, 0), OK);
    return slot;
}

uint64_t make_sm(uint64_t count)
{
    uint64_t slot = slot_new();
    assert_int_equal(graph(CALL_SM_CREATE, slot | (uint64_t)LAB << 16, count, 0, 0, 0), OK);
    return slot;
}

void give(uint64_t slot, uint64_t pd, uint64_t to, uint64_t rights)
{
    assert_int_equal(graph(CALL_DELEGATE, SLOT_ROOT_PD | slot << 16, pd | to << 16, rights, 0, 0),
                     OK);
}

uint64_t make_thread(uint64_t core, uint64_t priority, uint64_t *pd)
{
    *pd = make_pd(PD_HOST, 16, 16);
    uint64_t ec = make_ec(*pd, core, EC_THREAD);
    make_sc(ec, priority, SLICE, 0);
    return ec;
}

/* ---- a program, a test ------------------------------------------------------ */
/* An answer to nobody: its thread waits for ever. */
static void root_sleeps(void)
{
    settle();
    reply(object_at(SLOT_ROOT_EC), 0);
    assert_null(current());
}

int rig_boot(void **state)
{
    (void)state;
    static struct boot_info info __attribute__((aligned(PAGE_SIZE))) = {
        .root_base = 0x800000, .root_entry = 0x400020, .root_text = 2, .ranges = 2};
    info.root_rodata = info.root_data = 1;
    info.range[0] = (struct boot_range){(uint64_t)RAM_FRAME << PAGE_SHIFT,
                                        (uint64_t)RAM_FRAMES << PAGE_SHIFT, RANGE_RAM, 0};
    info.range[1] = (struct boot_range){(uint64_t)DEVICE_FRAME << PAGE_SHIFT,
                                        (uint64_t)DEVICE_FRAMES << PAGE_SHIFT, RANGE_DEVICE, 0};
    machine.relax = ipis_arrive;
    model_reset();
    on_core(0);
    if (!setjmp(way_out))
        init_kernel(&info);
    root = &objects[2].pd;
    root_sleeps();
    assert_int_equal(graph(CALL_CORE_START, SLOT_ROOT_SYS, 1, 0, 0, 0), OK);
    on_core(1);
    if (!setjmp(way_out))
        core_main_ap();
    settle();
    on_core(0);
    return 0;
}

int rig_begin(void **state)
{
    (void)state;
    before = counters;
    next_slot = RIG_FREE;
    next_utcb = 0x10000000;
    on_core(0);
    return graph(CALL_PD_CREATE, LAB | (uint64_t)SLOT_ROOT_PD << 16, PD_HOST, LAB_FRAMES,
                 LAB_OBJECTS, 0) == OK
               ? 0
               : -1;
}

static void set_guessing(bool on)
{
    machine.no_next_rip = on;
    if (!virt_vmx)
        virt_core_init(machine.core);
}

int rig_begin_guessing(void **state)
{
    int status = rig_begin(state);
    set_guessing(true);
    return status;
}

int rig_end(void **state)
{
    (void)state;
    machine.prefixes = 0;
    machine.wild_next_rip = 0;
    machine.flushed = NULL;
    machine.icr = NULL;
    machine.window = NULL;
    machine.relax = ipis_arrive;
    on_core(0);
    set_guessing(false);
    assert_int_equal(end(LAB), OK);
    assert_null(cores[0].current);
    assert_null(cores[1].current);
    assert_null(cores[0].timers);
    assert_null(model_vmx_left());
    assert_int_equal(counters.frames_free, before.frames_free);
    assert_int_equal(counters.objects_free, before.objects_free);
    assert_int_equal(counters.table_frames, before.table_frames);
    slots_again(RIG_FREE);
    return 0;
}
