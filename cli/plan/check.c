#include <cli/host.h>
#include <cli/options.h>
#include <cli/plan/check.h>
#include <abi/vm.h>
#include <lib/flatpc.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct limit limit_memory = {unit_bytes, 2 * MEBI, PLAN_MEMORY_MAX, 2 * MEBI,
                                          "a size from 2M to 1024G in steps of 2M, like 512M"};
static const struct limit limit_vcpus = {unit_none, 1, PLAN_VCPUS, 1, "a number from 1 to 64"};
static const struct limit limit_priority = {unit_none, 1, PLAN_PRIORITY_MAX, 1,
                                            "a number from 1 (low) to 24 (high)"};
static const struct limit limit_time = {unit_microseconds, PLAN_TIME_MIN_US, PLAN_TIME_MAX_US, 1,
                                        "a time from 100us to 10s, like 10ms"};
static const struct limit limit_mtu = {unit_none, PLAN_MTU, PLAN_MTU_MAX, 1,
                                       "a number from 1500 to 9000"};
static const struct limit limit_port = {unit_none, 1, 0xffff, 1, "a port from 1 to 0xffff"};

_Static_assert(PLAN_MEMORY_MAX == 1ull << 40 && PLAN_VCPUS == 64 && PLAN_PRIORITY_MAX == 24 &&
                   PLAN_TIME_MIN_US == 100 && PLAN_TIME_MAX_US == 10000000 && PLAN_MTU == 1500 &&
                   PLAN_MTU_MAX == 9000,
               "as the words above say; cli/main.c, root/plan.c and docs/hairline.1, too");

static const struct choice modes[] = {
    {"shared", MODE_SHARED}, {"dedicated", MODE_DEDICATED}, {"host", MODE_HOST}, {0}};
static const struct choice exits[] = {{"off", EXIT_OFF}, {"restart", EXIT_RESTART}, {0}};
const struct choice disengages[] = {
    {"auto", DISENGAGE_AUTO}, {"guest", DISENGAGE_GUEST}, {"never", DISENGAGE_NEVER}, {0}};
static const struct choice controls[] = {
    {"none", CONTROL_NONE}, {"own", CONTROL_OWN}, {"all", CONTROL_ALL}, {0}};
static const struct choice consoles[] = {
    {"private", CONSOLE_PRIVATE}, {"shown", CONSOLE_SHOWN}, {"open", CONSOLE_OPEN}, {0}};
static const struct choice starts[] = {{"boot", 0}, {"command", 1}, {0}};
static const struct choice afters[] = {{"strict", AFTER_STRICT}, {"quiet", AFTER_QUIET}, {0}};
const struct choice check_bools[] = {{"false", 0}, {"true", 1}, {0}};

/* Keys that only VMs of one mode have. A dedicated VM has its cores for good, so it has no budget;
 * and PCI functions of its own. */
static const struct {
    const char *key;
    uint32_t mode;
} mode_keys[] = {{"devices", MODE_DEDICATED}, {"disengage", MODE_DEDICATED},
                 {"after", MODE_DEDICATED},   {"sealed", MODE_DEDICATED},
                 {"priority", MODE_SHARED},   {"budget", MODE_SHARED},
                 {"period", MODE_SHARED}};

void check_error(struct check *check, const char *key, const char *format, ...)
{
    char path[SOURCE_PATH], message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    snprintf(path, sizeof(path), "vms[%u].%s", check->vm, key);
    source_error_at(&check->source, path, "%s", message);
}

uint64_t check_number(struct check *check, const char *path, const char *text,
                      const struct limit *limit)
{
    uint64_t value;
    if (source_number(text, limit->unit, &value) && value >= limit->min && value <= limit->max &&
        value % limit->step == 0)
        return value;
    source_error_at(&check->source, path, "`%s` is `%s`: write %s", path, text, limit->form);
    return 0;
}

uint64_t check_vm_number(struct check *check, const char *key, const char *text,
                         const struct limit *limit, uint64_t fallback)
{
    char path[SOURCE_PATH];
    snprintf(path, sizeof(path), "vms[%u].%s", check->vm, key);
    return text ? check_number(check, path, text, limit) : fallback;
}

const char *check_vm_word(const struct check *check, const char *key)
{
    const struct mark *mark = source_find(&check->source, host_text("vms[%u].%s", check->vm, key));
    return mark ? mark->value : NULL;
}

/* The words of `choice` as text: "a, b or c". */
static const char *all_words(const struct choice *choice)
{
    const char *all = choice->word;
    for (const struct choice *c = choice + 1; c->word; c++)
        all = host_text("%s%s%s", all, c[1].word ? ", " : " or ", c->word);
    return all;
}

uint32_t check_choice(struct check *check, const char *path, const char *text,
                      const struct choice *choice)
{
    if (!text)
        return choice->value;
    for (const struct choice *c = choice; c->word; c++)
        if (strcmp(c->word, text) == 0)
            return c->value;
    source_error_at(&check->source, path, "`%s` cannot be `%s`: write %s", path, text,
                    all_words(choice));
    return 0;
}

static uint32_t vm_choice(struct check *check, const char *key, const char *text,
                          const struct choice *choice)
{
    return check_choice(check, host_text("vms[%u].%s", check->vm, key), text, choice);
}

static void vm_mode(struct check *check, const char *text, struct plan_vm *vm)
{
    vm->mode = vm_choice(check, "mode", text, modes);
    if (vm->mode == MODE_HOST)
        return;
    for (size_t i = 0; i < sizeof(mode_keys) / sizeof(mode_keys[0]); i++)
        if (mode_keys[i].mode != vm->mode &&
            source_find(&check->source, host_text("vms[%u].%s", check->vm, mode_keys[i].key)))
            check_error(check, mode_keys[i].key,
                        "`%s` is for %s VMs, and `%s` is %s: take it out, or change its `mode`",
                        mode_keys[i].key, modes[mode_keys[i].mode].word,
                        check->text->vms[check->vm].name, modes[vm->mode].word);
}

bool check_is_name(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && name[0] != '-' && length < sizeof(((struct plan_vm *)0)->name) &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
}

static void vm_name(struct check *check, const char *name, struct plan_vm *vm)
{
    if (!check_is_name(name) || strcmp(name, "hairline") == 0)
        check_error(check, "name",
                    "a VM cannot be called `%s`: write 1 to 31 of a-z, 0-9 and -, which is not "
                    "the first, and not hairline",
                    name);
    for (uint32_t i = 0; i < check->vm; i++)
        if (strcmp(check->text->vms[i].name, name) == 0)
            check_error(check, "name", "two VMs are called `%s`: give this one another name", name);
    snprintf(vm->name, sizeof(vm->name), "%s", name);
}

static void vm_schedule(struct check *check, const struct vm_text *text, struct plan_vm *vm)
{
    vm->priority = (uint32_t)check_vm_number(check, "priority", text->priority, &limit_priority,
                                             PLAN_PRIORITY);
    vm->budget_us =
        (uint32_t)check_vm_number(check, "budget", text->budget, &limit_time, PLAN_BUDGET_US);
    vm->period_us = (uint32_t)check_vm_number(check, "period", text->period, &limit_time, 0);
    if (vm->period_us && vm->budget_us > vm->period_us)
        check_error(check, "budget",
                    "the budget (%u us) is longer than the period (%u us): make it shorter",
                    vm->budget_us, vm->period_us);
}

static uint32_t vm_exit_port(struct check *check, const char *text)
{
    uint32_t port = (uint32_t)check_vm_number(check, "exit_port", text, &limit_port, 0);
    if (flatpc_port_is_taken(port))
        check_error(check, "exit_port", "port 0x%x belongs to a device: choose another, like 0xf4",
                    port);
    return port;
}

/* Number of the VM's LAN, from 1, in the order in which the names come up; 0: none. */
static uint32_t vm_lan(struct check *check)
{
    struct plan *plan = &check->job->plan;
    const char *word = check_vm_word(check, "lan"),
               *name = word ? word : check_vm_word(check, "lan.name");
    if (!name)
        return 0;
    for (uint32_t i = 0; i < plan->lans; i++)
        if (strcmp(check->lan[i], name) == 0)
            return i + 1;
    if (!check_is_name(name) || plan->lans == PLAN_LANS) {
        check_error(check, "lan",
                    "`%s` cannot be a LAN: write 1 to 31 of a-z, 0-9 and -, which is not the "
                    "first, at most %u names",
                    name, PLAN_LANS);
        return 0;
    }
    check->lan[plan->lans] = name;
    check->lan_vm[plan->lans] = check->vm;
    return ++plan->lans;
}

/* The MTU of the VM's LAN, bytes; a LAN has one for all its VMs. 0: no LAN. */
static uint16_t vm_mtu(struct check *check, uint32_t lan)
{
    if (!lan)
        return 0;
    uint16_t mtu = (uint16_t)check_vm_number(check, "lan.mtu", check_vm_word(check, "lan.mtu"),
                                             &limit_mtu, PLAN_MTU);
    const struct plan_vm *first = &check->job->plan.vm[check->lan_vm[lan - 1]];
    if (check->lan_vm[lan - 1] != check->vm && mtu && first->mtu && mtu != first->mtu)
        check_error(check, "lan.mtu",
                    "LAN `%s` has an MTU of %u for `%s` and %u for `%s`: write the same `mtu` for "
                    "all of its VMs",
                    check->lan[lan - 1], first->mtu, first->name, mtu,
                    check->job->plan.vm[check->vm].name);
    return mtu;
}

/* Virtual devices are its VMM's, and go with it. */
static void vm_virtual(struct check *check, const struct plan_vm *vm)
{
    static const char *const keys[] = {"disks", "volumes", "lan", "control"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (plan_has_virtual(vm) ||
            !source_find(&check->source, host_text("vms[%u].%s", check->vm, keys[i])))
            continue;
        if (vm->sealed)
            check_error(check, keys[i],
                        "a sealed VM has no `%s`: its VMM cannot see its memory; take it out, or "
                        "give the VM a PCI function",
                        keys[i]);
        else
            check_error(check, keys[i],
                        "`%s` of a dedicated VM is its VMM's, which leaves it: write `disengage: "
                        "never`, or take it out",
                        keys[i]);
    }
}

/* The machine's TPM has one owner. */
static void vm_tpm(struct check *check, const char *text)
{
    struct plan *plan = &check->job->plan;
    if (!vm_choice(check, "tpm", text, check_bools))
        return;
    if (plan->tpm)
        check_error(check, "tpm", "`%s` has the machine's TPM already: only one VM can have it",
                    plan->vm[plan->tpm - 1].name);
    plan->tpm = check->vm + 1;
}

/* What every VM needs but the host; false after an error for each that is missing. */
static bool vm_is_whole(struct check *check, const struct vm_text *text)
{
    const char *const key[] = {"kernel", "memory"}, *const value[] = {text->kernel, text->memory};
    for (size_t i = 0; i < sizeof(key) / sizeof(key[0]); i++)
        if (!value[i])
            source_error_at(&check->source, host_text("vms[%u]", check->vm),
                            "the key `%s` is missing here; add it", key[i]);
    return text->kernel && text->memory;
}

static void compile_vm(struct check *check)
{
    const struct vm_text *text = &check->text->vms[check->vm];
    struct plan_vm *vm = &check->job->plan.vm[check->vm];
    vm_name(check, text->name, vm);
    vm_mode(check, text->mode, vm);
    vm->control = vm_choice(check, "control", text->control, controls);
    if (vm->mode == MODE_HOST)
        check_host_vm(check);
    if (vm->mode == MODE_HOST || !vm_is_whole(check, text))
        return;
    vm->memory = check_vm_number(check, "memory", text->memory, &limit_memory, 0);
    vm->vcpus = (uint32_t)check_vm_number(check, "vcpus", text->vcpus, &limit_vcpus, 1);
    vm_schedule(check, text, vm);
    vm->on_exit = vm_choice(check, "on_exit", text->on_exit, exits);
    vm->exit_port = vm_exit_port(check, text->exit_port);
    vm->console = vm_choice(check, "console", text->console, consoles);
    check->job->plan.held |= (uint64_t)vm_choice(check, "start", text->start, starts) << check->vm;
    vm->lan = vm_lan(check);
    vm->mtu = vm_mtu(check, vm->lan);
    vm->disengage = vm_choice(check, "disengage", text->disengage, disengages);
    vm->after = vm_choice(check, "after", text->after, afters);
    vm->sealed = vm_choice(check, "sealed", text->sealed, check_bools);
    vm_virtual(check, vm);
    vm_tpm(check, text->tpm);
    check_devices(check);
    if (check->later && vm->lan) {
        vm->lan = check->later->lan;
        vm->mtu = (uint16_t)check->later->mtu;
    }
    for (uint32_t i = 0; i < sizeof(vm->mac); i++)
        vm->mac[i] = plan_mac_byte(check_first(check) + check->vm, vm->lan, i);
    check_files(check);
}

static void compile(struct check *check)
{
    struct plan *plan = &check->job->plan;
    *plan = (struct plan){.magic = PLAN_MAGIC,
                          .version = PLAN_VERSION,
                          .flags = check->batch ? PLAN_BATCH : 0,
                          .vms = check->text->vms_count};
    if (!check->later)
        check_machine(check);
    if (!check->source.errors)
        check_spare(check);
    if (check->source.errors)
        return;
    for (check->vm = 0; check->vm < plan->vms; check->vm++)
        compile_vm(check);
    check_volumes(check);
    check_gateways(check);
    check_cores(check);
    check_host(check);
    for (check->vm = 0; check->vm < plan->vms; check->vm++)
        check_cmdline(check);
    if (check->later)
        check_later(check);
    else if (check->source.errors == 0 && check_packages(check))
        check_sizes(check);
}

static bool load(struct job *job, const char *name, bool batch, const struct later *later,
                 void (*work)(struct check *))
{
    struct check check = {.job = job, .batch = batch, .later = later};
    struct plan_text *text = NULL;
    *job = (struct job){.iscsi_port = job->iscsi_port};
    if (source_open(&check.source, name))
        text = check_yaml(&check.source);
    if (text) {
        const char *slash = strrchr(name, '/');
        check.text = text;
        check.folder = slash ? host_text("%.*s", (int)(slash - name) + 1, name) : host_text("./");
        work(&check);
        check_yaml_free(text);
    }
    source_close(&check.source);
    return check.source.errors == 0;
}

bool check_plan(struct job *job, const char *name, bool batch)
{
    return load(job, name, batch, NULL, compile);
}

bool check_plans_machine(struct job *job, const char *name)
{
    return load(job, name, false, NULL, check_machine);
}

bool check_plan_later(struct job *job, const char *name, const struct later *later)
{
    return load(job, name, false, later, compile);
}

int check(const struct options *options)
{
    static struct job job;
    if (!check_plan(&job, options->plan, false))
        return EXIT_USAGE;
    printf("%s: %u VM%s, %u file%s: good\n", options->plan, job.plan.vms,
           job.plan.vms == 1 ? "" : "s", job.plan.files, job.plan.files == 1 ? "" : "s");
    check_promises(&job);
    return 0;
}
