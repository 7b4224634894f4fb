#include <root/vm/fault.h>
#include <root/vm/lan.h>
#include <root/vm/vm.h>
#include <lib/call.h>
#include <lib/cores.h>
#include <lib/quota.h>
#include <lib/string.h>

#define STARTS_MAX 5u

/* A switch's region: configuration, stack, data. */
#define CONFIG_SIZE ((uint64_t)PAGE_SIZE)
#define DATA_AT     (CONFIG_SIZE + VMM_STACK)

static struct lan {
    struct region region;
    uint32_t starts;
} lans[PLAN_LANS + 1];

static uint64_t lan_pd(uint32_t lan) { return SLOT_LAN + 2 * (lan - 1); }
uint64_t lan_bell(uint32_t lan) { return lan_pd(lan) + 1; }
uint32_t lan_core(uint32_t lan) { return cores_switch(machine.plan, lan, machine.cores); }

uint64_t lan_take(void)
{
    for (uint32_t i = 1; i <= machine.plan->lans; i++)
        if (memory_take(DATA_AT + machine.lan.data, PAGE_SIZE, &lans[i].region) != OK) {
            console_say("not enough memory for LAN %u", i);
            return NO_MEMORY;
        }
    return OK;
}

/* Ports: a VM's rings and its bell for each VM on this LAN, in the order of the plan. */
static uint64_t add_ports(uint32_t lan, struct lan_config *config)
{
    uint64_t status = OK;
    for (const struct vm *vm = machine.vm; vm < machine.vm + machine.vms && status == OK; vm++) {
        if (!plan_is_on(vm->plan, lan))
            continue;
        uint32_t link = vm->plan->store == lan ? LINK_STORE : LINK_LAN, port = config->ports++;
        for (uint32_t i = 0; i < sizeof(config->mac[port]); i++)
            config->mac[port][i] = plan_mac_byte(vm->index, lan, i);
        config->mtu = plan_mtu(vm->plan, link);
        if (link == LINK_STORE && vm->plan->server == vm->index + 1)
            config->hub = port + 1;
        status =
            memory_map(vm->store.base + vm->offset[PIECE_LAN + link], vm->size[PIECE_LAN + link],
                       lan_pd(lan), MR_READ | MR_WRITE, LAN_PORTS + port * LAN_PORT_STRIDE);
        if (status == OK)
            status = delegate(SLOT_ROOT_PD, vm_slot(vm, VM_BELL), lan_pd(lan), LAN_SM_PORT + port,
                              SM_UP);
    }
    return status;
}

static uint64_t map_own(uint32_t lan, const struct region *r)
{
    uint64_t status = image_map(&machine.lan, lan_pd(lan), r->base + DATA_AT);
    if (status == OK)
        status = memory_map(r->base, CONFIG_SIZE, lan_pd(lan), MR_READ, LAN_CONFIG);
    if (status == OK)
        status = memory_map(r->base + CONFIG_SIZE, VMM_STACK, lan_pd(lan), MR_READ | MR_WRITE,
                            LAN_STACK_TOP - VMM_STACK);
    return status;
}

/* Start the switch's thread. Priority inversion: a VM waits for the switch, so it runs above all
 * VMs of its LAN; otherwise a third could keep it from running. But for those that are created:
 * they have cores where no switch is. */
static uint64_t start_thread(uint32_t lan)
{
    uint64_t priority = 0;
    for (const struct vm *vm = machine.vm; vm < machine.vm + machine.vms; vm++)
        if (!vm->created && plan_is_on(vm->plan, lan) && vm->plan->priority > priority)
            priority = vm->plan->priority;
    return vm_help(lan_pd(lan), lan_core(lan), LAN_UTCB, machine.lan.entry, LAN_STACK_TOP,
                   priority);
}

static uint64_t lan_start(uint32_t lan)
{
    const struct region *r = &lans[lan].region;
    struct lan_config *config = (struct lan_config *)(ROOT_PHYS + r->base);
    memset(config, 0, DATA_AT);
    config->tsc_hz = machine.clock.tsc_hz;
    config->budget = vm_help_budget(lan_core(lan));
    config->period = vm_help_period();
    image_copy_data(&machine.lan, (void *)(ROOT_PHYS + r->base + DATA_AT));
    uint64_t status = pd_create(lan_pd(lan), SLOT_ROOT_PD, 0, PD_HOST, 0, POOL_LAN, QUOTA_LAN,
                                1ull << lan_core(lan));
    if (status == OK)
        status = map_own(lan, r);
    if (status == OK)
        status = add_ports(lan, config);
    if (status == OK) /* nobody ups it: the switch sleeps on it until a time */
        status = slot_hand_over(sm_create(SLOT_SCRATCH, lan_pd(lan), 0), lan_pd(lan), LAN_SM_NAP,
                                SM_DOWN);
    if (status == OK)
        status = delegate(SLOT_ROOT_PD, lan_bell(lan), lan_pd(lan), LAN_SM, SM_DOWN);
    if (status == OK)
        status = fault_watch(PLAN_VMS + lan - 1, lan_pd(lan));
    if (status == OK)
        status = start_thread(lan);
    if (status != OK)
        console_say("LAN %u cannot be built: status %u, argument %u", lan, STATUS_CODE(status),
                    (uint32_t)STATUS_ARG(status));
    return status;
}

/* A heavy step. It fails only where the switch had died for good. */
static void lan_end(uint32_t lan)
{
    machine.heavy = true;
    ignore(destroy(lan_pd(lan)));
}

uint64_t lan_renew(uint32_t lan)
{
    lan_end(lan);
    return lan_start(lan);
}

uint64_t lan_start_all(void)
{
    uint64_t status = OK;
    for (uint32_t i = 1; i <= machine.plan->lans && status == OK; i++) {
        const struct region *r = &lans[i].region;
        if (!memory_open(r->base, r->size, MR_READ | MR_WRITE))
            return BAD_ARG;
        status = sm_create(lan_bell(i), SLOT_ROOT_PD, 0);
        if (status == OK)
            status = lan_start(i);
    }
    return status;
}

void lan_turn(void)
{
    struct fault f;
    for (uint32_t i = 1; i <= machine.plan->lans; i++) {
        if (turn_heavy() || !fault_seen(PLAN_VMS + i - 1, &f))
            continue;
        bool again = lans[i].starts < STARTS_MAX - 1;
        lan_end(i);
        console_say("LAN %u died and %s: vector %lu, error 0x%lx, address 0x%lx, rip 0x%lx", i,
                    again ? "starts again" : "stays off", f.vector, f.error, f.cr2, f.rip);
        lans[i].starts += again;
        if (again)
            ignore(lan_start(i)); /* the console has the reason; the LAN stays off */
    }
}
