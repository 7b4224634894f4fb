/*
 * The VMM, but for what it does once its guest is built: its VM's name says how it misbehaves.
 *   nap..     its worker sleeps for a moment, again and again
 *   end..     makes and ends what it can, also where it has nothing
 *   ring..    rings every bell that it has, and recalls its vCPUs
 *   fault..   faults in its first life, then calls its fault portal with nothing to say
 *   wild..    plays all of its rights at random; wilder..: but those that end it at once
 * Any other name: it behaves. What it calls may be refused, so it ignores every status: what counts
 * is what the other VMs feel.
 */
#define main honest_main
#include <vmm/main.c>
#undef main

#define NAP      800u /* TSC ticks */
#define NEW_SLOT 400u
#define FOREIGN  3u /* a core where nothing of these VMs is */
#define LIVED    0xfa017edull

static bool is(const char *kind)
{
    const char *name = config()->plan.name;
    while (*kind && *kind == *name)
        kind++, name++;
    return *kind == 0;
}

static void end_things(void)
{
    for (uint64_t core = 0; core <= FOREIGN; core++) {
        if (ec_create(NEW_SLOT, VMM_PD, core, EC_THREAD, 0x1020f000, 0, 0x400000, 0).status == OK)
            ignore(destroy(NEW_SLOT));
        if (ec_create(NEW_SLOT, VMM_PD, core, EC_HANDLER, 0x1020f000, 0, 0, 0).status == OK)
            ignore(destroy(NEW_SLOT));
    }
    if (sm_create(NEW_SLOT, VMM_PD, 0) == OK)
        ignore(destroy(NEW_SLOT));
    if (pd_create(NEW_SLOT, VMM_PD, 0, PD_HOST, 0, 3, 2) == OK)
        ignore(destroy(NEW_SLOT));
}

static void ring_all(void)
{
    ignore(sm_up(VMM_SM_ROOT));
    ignore(sm_up(VMM_SM_LAN));
    for (uint32_t i = 0; i < config()->plan.vcpus; i++)
        ignore(ec_recall(VMM_VCPU + i));
}

/* The guest's memory is the same in its next life. */
static void fault(void)
{
    volatile uint64_t *lived = (volatile uint64_t *)(VMM_RAM + config()->plan.memory / 2);
    if (*lived != LIVED) {
        *lived = LIVED;
        *(volatile uint64_t *)0x123450 = 1;
    }
    for (uint64_t core = 0; core < MAX_CORES; core++)
        ignore(pt_call(VMM_FAULT + core, 0));
}

/* ---- at random ----------------------------------------------------------------- */
static uint64_t state;

static uint64_t any(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

static uint32_t some_word(void) { return (uint32_t)(any(2) ? any(~0ull) : any(1600)); }
static uint64_t some_slot(void) { return any(8) ? any(100) : any(512); }

static void scribble(volatile uint32_t *words, uint64_t count, uint32_t times)
{
    for (uint32_t i = 0; i < times; i++)
        words[any(count)] = some_word();
}

/* State, reason, rings' indices and all: root has to make do with it. */
static void spoil_control(bool wilder)
{
    volatile uint32_t *page = (volatile uint32_t *)VMM_CONTROL;
    uint64_t indices = __builtin_offsetof(struct vm_control, out_head) / 4;
    if (!wilder)
        scribble(page, indices, 4);
    scribble(page + indices, 4, 1);
    scribble(page + indices + 4, (CONSOLE_OUT + CONSOLE_IN) / 4, 40);
    ignore(sm_up(VMM_SM_ROOT));
}

static void spoil_lan(void)
{
    if (!config()->plan.lan)
        return;
    scribble((volatile uint32_t *)VMM_LANPORT, LAN_PORT_BYTES(1500) / 4, 8);
    scribble((volatile uint32_t *)VMM_LANPORT, 32, 2);
    ignore(sm_up(VMM_SM_LAN));
}

static void call_portal(uint64_t slot)
{
    struct utcb *u = (struct utcb *)VMM_UTCB;
    for (uint32_t i = 0; i < UTCB_WORDS; i++)
        u->word[i] = any(2) ? any(~0ull) : any(4096);
    ignore(pt_call(slot, any(66)));
}

static void call_any(bool wilder)
{
    uint64_t call = any(CALL_COUNT + 2),
             slots = some_slot() | some_slot() << 16 | some_slot() << 32 | any(8) << 48;
    if (call == CALL_PT_REPLY || call == CALL_SM_DOWN || (wilder && call == CALL_PT_CALL))
        return;
    ignore(call5(call, any(2) ? slots : some_slot(), any(2) ? any(~0ull) : any(5000),
                 any(2) ? any(~0ull) : any(70), any(~0ull), any(2) ? any(~0ull) : 0x400000)
               .status);
}

static void act(bool wilder)
{
    switch (any(10)) {
    case 0: spoil_control(wilder); break;
    case 1: spoil_lan(); break;
    case 2: ignore(sm_up(some_slot())); break;
    case 3: ignore(ec_recall(VMM_VCPU + any(8))); break;
    case 4: ignore(sm_down(some_slot(), tsc() + any(10000))); break;
    case 5: call_portal(VMM_PCI + any(16)); break;
    case 6:
        if (!wilder)
            call_portal(VMM_FAULT + any(16));
        break;
    default: call_any(wilder); break;
    }
}

static bool misbehaves(void)
{
    return is("nap") || is("end") || is("ring") || is("fault") || is("wild");
}

void main(void)
{
    if (!misbehaves())
        honest_main();
    const char *wrong = build();
    if (wrong)
        vm_refuse("kernel", wrong);
    __atomic_store_n(&control()->state, VM_RUNNING, __ATOMIC_RELEASE);
    ignore(sm_up(VMM_SM_ROOT));
    state = tsc() | 1;
    bool wilder = is("wilder");
    for (;;) {
        if (is("nap"))
            ignore(sm_down(VMM_SM_WORK, tsc() + NAP));
        else if (is("end"))
            end_things();
        else if (is("ring"))
            ring_all();
        else if (is("fault"))
            fault();
        else
            act(wilder);
    }
}
