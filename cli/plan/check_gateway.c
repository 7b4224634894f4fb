/* Gateways: VMs that have a network card of the machine's, and lead out of their LAN by it. Root
 * knows nothing of them: they, and the others on the LAN, are told by words. */
#include <cli/host.h>
#include <cli/plan/check.h>
#include <lib/cores.h>

#include <stdio.h>
#include <string.h>

#define CLASS_NETWORK 0x0200 /* base class << 8 | subclass: PCI Code and ID Assignment, 1 */

static const struct limit limit_forward = {unit_none, 1, 65535, 1, "a port from 1 to 65535"};
static const struct choice protocols[] = {{"tcp", 0}, {"udp", 1}, {0}};

static const struct gateway_text *gateway_of(const struct check *check, uint32_t vm)
{
    return check->text->vms[vm].gateway;
}

/* The VM of LAN `lan` that leads out of it; NULL: none. */
static const struct plan_vm *gateway_on(const struct check *check, uint32_t lan)
{
    const struct plan *plan = &check->job->plan;
    for (uint32_t i = 0; lan && i < plan->vms; i++)
        if (plan->vm[i].lan == lan && gateway_of(check, i))
            return &plan->vm[i];
    return NULL;
}

/* Has it a function that is, or by its address may be, a network card? */
static bool has_card(const struct plan_vm *vm)
{
    for (const struct plan_device *d = vm->device; d < vm->device + vm->devices; d++)
        if (d->by == DEVICE_ADDRESS || d->class == CLASS_NETWORK)
            return true;
    return false;
}

static const struct plan_vm *vm_on(const struct plan *plan, uint32_t lan, const char *name)
{
    for (const struct plan_vm *vm = plan->vm; vm < plan->vm + plan->vms; vm++)
        if (vm->lan == lan && strcmp(vm->name, name) == 0)
            return vm;
    return NULL;
}

static bool is_udp(const struct port_text *port)
{
    return port->proto && strcmp(port->proto, "udp") == 0;
}

/* Forward `n` of the VM in hand. */
static void check_port(struct check *check, uint32_t n)
{
    const struct plan_vm *vm = &check->job->plan.vm[check->vm], *to;
    const struct port_text *ports = gateway_of(check, check->vm)->forward, *port = &ports[n];
    const char *path = host_text("vms[%u].gateway.forward[%u]", check->vm, n);
    uint64_t number = check_number(check, host_text("%s.port", path), port->port, &limit_forward);
    check_choice(check, host_text("%s.proto", path), port->proto, protocols);
    if (port->to_port)
        check_number(check, host_text("%s.to_port", path), port->to_port, &limit_forward);
    for (uint32_t i = 0; number && i < n; i++) {
        uint64_t other;
        if (source_number(ports[i].port, unit_none, &other) && other == number &&
            is_udp(&ports[i]) == is_udp(port))
            source_error_at(&check->source, path,
                            "port %lu is forwarded already, to `%s`: choose another `port`", number,
                            ports[i].to);
    }
    to = vm_on(&check->job->plan, vm->lan, port->to);
    if (!to || to == vm)
        source_error_at(&check->source, path,
                        "`%s` is no other VM on the LAN of `%s`: mend `to`, or give it that `lan`",
                        port->to, vm->name);
}

static void check_gateway(struct check *check)
{
    const struct plan_vm *vm = &check->job->plan.vm[check->vm], *first = gateway_on(check, vm->lan);
    if (!vm->lan)
        check_error(check, "gateway", "there is no LAN that `%s` leads out of: give it a `lan`",
                    vm->name);
    else if (!has_card(vm))
        check_error(check, "gateway",
                    "`%s` has no network card of the machine's to lead out by: give it `devices: "
                    "[network/0]`",
                    vm->name);
    else if (first != vm)
        check_error(check, "gateway",
                    "`%s` leads out of this LAN already: a LAN has one gateway, take one out",
                    first->name);
    else
        for (uint32_t i = 0; i < gateway_of(check, check->vm)->forward_count; i++)
            check_port(check, i);
}

void check_gateways(struct check *check)
{
    for (check->vm = 0; check->vm < check->job->plan.vms; check->vm++)
        if (gateway_of(check, check->vm) && check->job->plan.vm[check->vm].mode != MODE_HOST)
            check_gateway(check);
}

/* ---- what VMs are told ---------------------------------------------------------------- */

bool check_is_gateway(const struct check *check, const struct plan_vm *vm)
{
    return gateway_of(check, (uint32_t)(vm - check->job->plan.vm)) != NULL;
}

void check_gateway_words(const struct check *check, FILE *out)
{
    const struct plan *plan = &check->job->plan;
    const struct plan_vm *vm = &plan->vm[check->vm], *gateway = gateway_on(check, vm->lan);
    const char *separator = " hairline.forward=";
    if (check->later && vm->lan && *check->later->gateway)
        fprintf(out, " hairline.gateway=%s", check->later->gateway);
    if (gateway)
        fprintf(out, " hairline.gateway=%s:10.0.%u.%u", gateway->name, vm->lan,
                plan_index(gateway) + 1);
    if (gateway != vm)
        return;
    const struct gateway_text *text = gateway_of(check, check->vm);
    for (const struct port_text *p = text->forward; p < text->forward + text->forward_count; p++) {
        const struct plan_vm *to = vm_on(plan, vm->lan, p->to);
        if (!to)
            continue;
        fprintf(out, "%s%s%s:10.0.%u.%u:%s", separator, is_udp(p) ? "udp/" : "", p->port, vm->lan,
                plan_index(to) + 1, p->to_port ? p->to_port : p->port);
        separator = ",";
    }
    uint32_t last =
        plan->vms + CORES_SPARE_HELPERS * (uint32_t)__builtin_popcountll(plan->spare_cores);
    if (plan->spare_cores && plan->vms < PLAN_VMS)
        fprintf(out, " hairline.later=%u-%u", plan->vms + 1, last < PLAN_VMS ? last : PLAN_VMS);
}
