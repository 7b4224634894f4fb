/*
 * The VMM, but for what it does once its guest is built: its VM's name says how it misbehaves.
 *   nap..     its worker sleeps for a moment, again and again
 *   end..     makes and ends what it can, also where it has nothing
 *   ring..    rings every bell that it has, and recalls its vCPUs
 *   fault..   faults in its first life, then calls its fault portal with nothing to say
 *   greedy..  asks for its own volume as often as its ring takes it, and tells how often it got it
 *   spy..     asks for every volume but its own, and writes to it, in its own name and in others';
 * tells what came of it wild..    plays all of its rights at random; wilder..: but those that end
 * it at once Any other name: it behaves. What it calls may be refused, so it ignores every status:
 * what counts is what the other VMs feel.
 */
#define main honest_main
#include <vmm/main.c>
#undef main
#include <lan/lan_ring.h>
#include <lib/format.h>
#include <lib/string.h>

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
    if (pd_create(NEW_SLOT, VMM_PD, 0, PD_HOST, 0, 3, 2, 0) == OK)
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

/* ---- another's volume, by the LAN that carries volumes ---------------------------- */
#define STORE_PORT  ((void *)(VMM_LANPORT + LINK_STORE * LAN_PORT_STRIDE))
#define HEADER      36u /* bytes of Ethernet's, AoE's and ATA's */
#define SPY_VOLUMES (PLAN_VMS * PLAN_DISKS)

static uint32_t own_answers, foreign_answers;

/* Ask volume `disk` of VM `vm` for its first sector, or write that, as VM `as`. */
static void ask_volume(uint32_t vm, uint32_t disk, uint32_t as, bool write)
{
    const uint8_t rest[HEADER - 12] = {0x88,
                                       0xa2,
                                       0x10,
                                       0,
                                       0,
                                       (uint8_t)(vm + 1),
                                       (uint8_t)disk,
                                       0,
                                       0,
                                       0,
                                       0,
                                       1,
                                       write ? 0x41 : 0x40,
                                       0,
                                       1,
                                       write ? 0x34 : 0x24};
    struct lan_frame *f = lan_ring_free(lan_to_switch(STORE_PORT), PLAN_MTU_MAX, HEADER + 512);
    if (!f)
        return;
    for (uint32_t i = 0; i < 6; i++) {
        f->data[i] = plan_mac_byte(config()->plan.server - 1, config()->plan.store, i);
        f->data[6 + i] = plan_mac_byte(as, config()->plan.store, i);
    }
    memcpy(f->data + 12, rest, sizeof rest);
    memset(f->data + HEADER, 0xee, 512);
    memset(&f->offload, 0, sizeof f->offload);
    f->size = HEADER + 512;
    if (lan_ring_publish(lan_to_switch(STORE_PORT), PLAN_MTU_MAX, HEADER + 512))
        ignore(sm_up(VMM_SM_STORE));
}

static void hear_volumes(void)
{
    struct lan_ring *r = lan_to_vm(STORE_PORT, PLAN_MTU_MAX);
    for (uint32_t i = 0; i < LAN_SLOTS; i++) {
        const struct lan_frame *f = lan_ring_oldest(r, PLAN_MTU_MAX);
        if (!f)
            return;
        bool answer = f->data[14] & 8 && f->data[19] == 0, /* to an ATA command */
            own = f->data[17] == plan_index(&config()->plan) + 1;
        own_answers += answer && own;
        foreign_answers += answer && !own;
        lan_ring_retire(r, PLAN_MTU_MAX, lan_frame_size(f));
    }
}

static void spy(void)
{
    static uint32_t next;
    char line[64];
    uint32_t me = plan_index(&config()->plan), vm = next / PLAN_DISKS % PLAN_VMS;
    if (vm != me) {
        ask_volume(vm, next % PLAN_DISKS, me, next & 1);
        ask_volume(vm, next % PLAN_DISKS, vm, true);
    }
    ask_volume(me, 0, me, false);
    ignore(sm_down(VMM_SM_WORK, tsc() + config()->tsc_hz / 1024));
    hear_volumes();
    next++;
    if (next % SPY_VOLUMES)
        return;
    format(line, sizeof line, "spy: %u answers of its own, %u of others\n", own_answers,
           foreign_answers);
    console_write(line, (uint32_t)strlen(line));
}

static void greedy(void)
{
    static uint64_t told;
    char line[64];
    uint32_t me = plan_index(&config()->plan);
    for (uint32_t i = 0; i < LAN_SLOTS; i++)
        ask_volume(me, 0, me, false);
    hear_volumes();
    if (tsc() - told < config()->tsc_hz / 8)
        return;
    told = tsc();
    format(line, sizeof line, "greedy: %u answers\n", own_answers);
    console_write(line, (uint32_t)strlen(line));
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
    return is("nap") || is("end") || is("ring") || is("fault") || is("wild") || is("spy") ||
           is("greedy");
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
        else if (is("spy"))
            spy();
        else if (is("greedy"))
            greedy();
        else if (is("fault"))
            fault();
        else
            act(wilder);
    }
}
