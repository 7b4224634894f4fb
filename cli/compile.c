#include <cli/check.h>
#include <cli/host.h>
#include <abi/call.h>
#include <abi/utcb.h>
#include <abi/vm.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEBI 0x100000ul
/* What the machine needs beside VMs and files: kernel, root, LANs; and for each VM its VMM and alignment. */
#define OVERHEAD_MACHINE (48 * MEBI)
#define OVERHEAD_VM      (4 * MEBI)
enum { KERNEL_OBJECTS = 1023, OBJECTS_ROOT = 41, OBJECTS_VM = 33, OBJECTS_VCPU = 18, OBJECTS_LAN = 49, OBJECTS_DEVICE = 21 };

static const struct limit limit_memory = {unit_bytes, 2 * MEBI, GUEST_MSIX, 2 * MEBI, "a size from 2M to 3584M in steps of 2M, like 512M"};
static const struct limit limit_vcpus = {unit_none, 1, PLAN_VCPUS, 1, "a number from 1 to 8"};
static const struct limit limit_priority = {unit_none, 1, PLAN_PRIORITY_MAX, 1, "a number from 1 (low) to 24 (high)"};
static const struct limit limit_time = {unit_microseconds, PLAN_TIME_MIN_US, PLAN_TIME_MAX_US, 1, "a time from 100us to 10s, like 10ms"};
static const struct limit limit_mtu = {unit_none, PLAN_MTU, PLAN_MTU_MAX, 1, "a number from 1500 to 9000"};
static const struct limit limit_port = {unit_none, 1, 0xffff, 1, "a port from 1 to 0xffff"};

static const struct choice modes[] = {{"shared", MODE_SHARED}, {"dedicated", MODE_DEDICATED}, {0}};
static const struct choice exits[] = {{"off", EXIT_OFF}, {"restart", EXIT_RESTART}, {0}};
static const struct choice disengages[] = {{"auto", DISENGAGE_AUTO}, {"guest", DISENGAGE_GUEST}, {"never", DISENGAGE_NEVER}, {0}};
static const struct choice afters[] = {{"strict", AFTER_STRICT}, {"quiet", AFTER_QUIET}, {0}};
static const struct choice bools[] = {{"false", 0}, {"true", 1}, {0}};

/* The keys that only VMs of one mode have: a dedicated one has its cores for good, and no devices but its own. */
static const struct {
    const char *key;
    uint32_t mode;
} mode_keys[] = {{"devices", MODE_DEDICATED}, {"disengage", MODE_DEDICATED}, {"after", MODE_DEDICATED},
                 {"sealed", MODE_DEDICATED},  {"disks", MODE_SHARED},        {"lan", MODE_SHARED},
                 {"priority", MODE_SHARED},   {"budget", MODE_SHARED},       {"period", MODE_SHARED}};

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

uint64_t check_number(struct check *check, const char *path, const char *text, const struct limit *limit)
{
    uint64_t value;
    if (value_parse(text, limit->unit, &value) && value >= limit->min && value <= limit->max && value % limit->step == 0)
        return value;
    source_error_at(&check->source, path, "`%s` is `%s`: write %s", path, text, limit->form);
    return 0;
}

uint64_t check_vm_number(struct check *check, const char *key, const char *text, const struct limit *limit, uint64_t fallback)
{
    char path[SOURCE_PATH];
    snprintf(path, sizeof(path), "vms[%u].%s", check->vm, key);
    return text ? check_number(check, path, text, limit) : fallback;
}

/* "a, b or c" */
static const char *all_words(const struct choice *choice)
{
    const char *all = choice->word;
    for (const struct choice *c = choice + 1; c->word; c++)
        all = host_text("%s%s%s", all, c[1].word ? ", " : " or ", c->word);
    return all;
}

uint32_t check_choice(struct check *check, const char *path, const char *text, const struct choice *choice)
{
    if (!text)
        return choice->value;
    for (const struct choice *c = choice; c->word; c++)
        if (strcmp(c->word, text) == 0)
            return c->value;
    source_error_at(&check->source, path, "`%s` cannot be `%s`: write %s", path, text, all_words(choice));
    return 0;
}

static uint32_t vm_choice(struct check *check, const char *key, const char *text, const struct choice *choice)
{
    return check_choice(check, host_text("vms[%u].%s", check->vm, key), text, choice);
}

static void vm_mode(struct check *check, const char *text, struct plan_vm *vm)
{
    vm->mode = vm_choice(check, "mode", text, modes);
    for (size_t i = 0; i < sizeof(mode_keys) / sizeof(mode_keys[0]); i++)
        if (mode_keys[i].mode != vm->mode && source_find(&check->source, host_text("vms[%u].%s", check->vm, mode_keys[i].key)))
            check_error(check, mode_keys[i].key, "`%s` is for %s VMs, and `%s` is %s: take it out, or change its `mode`", mode_keys[i].key,
                        modes[mode_keys[i].mode].word, check->text->vms[check->vm].name, modes[vm->mode].word);
}

static bool is_name(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length < sizeof(((struct plan_vm *)0)->name) && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
}

static void vm_name(struct check *check, const char *name, struct plan_vm *vm)
{
    if (!is_name(name) || strcmp(name, "hairline") == 0)
        check_error(check, "name", "a VM cannot be called `%s`: write 1 to 31 of a-z, 0-9 and -, and not hairline", name);
    for (uint32_t i = 0; i < check->vm; i++)
        if (strcmp(check->text->vms[i].name, name) == 0)
            check_error(check, "name", "two VMs are called `%s`: give this one another name", name);
    snprintf(vm->name, sizeof(vm->name), "%s", name);
}

static void vm_schedule(struct check *check, const struct vm_text *text, struct plan_vm *vm)
{
    vm->priority = (uint32_t)check_vm_number(check, "priority", text->priority, &limit_priority, PLAN_PRIORITY);
    vm->budget_us = (uint32_t)check_vm_number(check, "budget", text->budget, &limit_time, PLAN_BUDGET_US);
    vm->period_us = (uint32_t)check_vm_number(check, "period", text->period, &limit_time, 0);
    if (vm->period_us && vm->budget_us > vm->period_us)
        check_error(check, "budget", "the budget (%u us) is longer than the period (%u us): make it shorter", vm->budget_us, vm->period_us);
}

static uint32_t vm_exit_port(struct check *check, const char *text)
{
    uint32_t port = (uint32_t)check_vm_number(check, "exit_port", text, &limit_port, 0);
    if (plan_port_is_taken(port))
        check_error(check, "exit_port", "port 0x%x belongs to a device: choose another, like 0xf4", port);
    return port;
}

/* What the VM in hand has at `key`; NULL: nothing, or more than one word. */
static const char *vm_word(const struct check *check, const char *key)
{
    const struct mark *mark = source_find(&check->source, host_text("vms[%u].%s", check->vm, key));
    return mark ? mark->value : NULL;
}

/* LANs get their numbers, from 1, as their names come up. */
static uint32_t vm_lan(struct check *check)
{
    struct plan *plan = &check->job->plan;
    const char *word = vm_word(check, "lan"), *name = word ? word : vm_word(check, "lan.name");
    if (!name)
        return 0;
    for (uint32_t i = 0; i < plan->lans; i++)
        if (strcmp(check->lan[i], name) == 0)
            return i + 1;
    if (!is_name(name) || plan->lans == PLAN_LANS) {
        check_error(check, "lan", "`%s` cannot be a LAN: write 1 to 31 of a-z, 0-9 and -, at most %u names", name, PLAN_LANS);
        return 0;
    }
    check->lan[plan->lans] = name;
    check->lan_vm[plan->lans] = check->vm;
    return ++plan->lans;
}

/* A LAN has one MTU. */
static uint16_t vm_mtu(struct check *check, uint32_t lan)
{
    if (!lan)
        return 0;
    uint16_t mtu = (uint16_t)check_vm_number(check, "lan.mtu", vm_word(check, "lan.mtu"), &limit_mtu, PLAN_MTU);
    const struct plan_vm *first = &check->job->plan.vm[check->lan_vm[lan - 1]];
    if (check->lan_vm[lan - 1] != check->vm && mtu && first->mtu && mtu != first->mtu)
        check_error(check, "lan.mtu", "LAN `%s` has an MTU of %u for `%s` and %u for `%s`: write the same `mtu` for all of its VMs",
                    check->lan[lan - 1], first->mtu, first->name, mtu, check->job->plan.vm[check->vm].name);
    return mtu;
}

static void compile_vm(struct check *check)
{
    const struct vm_text *text = &check->text->vms[check->vm];
    struct plan_vm *vm = &check->job->plan.vm[check->vm];
    vm_name(check, text->name, vm);
    vm_mode(check, text->mode, vm);
    vm->memory = check_vm_number(check, "memory", text->memory, &limit_memory, 0);
    vm->vcpus = (uint32_t)check_vm_number(check, "vcpus", text->vcpus, &limit_vcpus, 1);
    vm_schedule(check, text, vm);
    vm->on_exit = vm_choice(check, "on_exit", text->on_exit, exits);
    vm->exit_port = vm_exit_port(check, text->exit_port);
    vm->lan = vm_lan(check);
    vm->mtu = vm_mtu(check, vm->lan);
    vm->disengage = vm_choice(check, "disengage", text->disengage, disengages);
    vm->after = vm_choice(check, "after", text->after, afters);
    vm->sealed = vm_choice(check, "sealed", text->sealed, bools);
    check_devices(check);
    for (uint32_t i = 0; i < sizeof(vm->mac); i++)
        vm->mac[i] = plan_mac_byte(check->vm, vm->lan, i);
    check_files(check);
}

/* Words with which no Linux comes up in a VM. */
static const struct {
    const char *word, *unless, *why; /* `unless`: a word that makes it good, NULL: none does */
} bad_words[] = {
    {"nox2apic", NULL, "a VM's local APIC is in x2APIC mode only"},
    {"acpi=off", NULL, "a VM's x2APIC is found by ACPI only"},
    {"no-kvmclock", "tsc_early_khz=", "Linux learns the TSC's frequency from that clock only"},
};

/* Does `text` have `word`, as a whole or, if that ends with =, as a beginning of one? */
static bool has_word(const char *text, const char *word)
{
    size_t size = strlen(word);
    for (const char *at = text; (at = strstr(at, word)); at++)
        if ((at == text || at[-1] == ' ') && (word[size - 1] == '=' || at[size] == 0 || at[size] == ' '))
            return true;
    return false;
}

static void check_words(struct check *check)
{
    const struct plan_vm *vm = &check->job->plan.vm[check->vm];
    const char *text = check->text->vms[check->vm].cmdline ? check->text->vms[check->vm].cmdline : "";
    for (size_t i = 0; i < sizeof(bad_words) / sizeof(bad_words[0]) && check->image[check->vm].is_linux; i++)
        if (has_word(text, bad_words[i].word) && !(bad_words[i].unless && (vm->sealed || has_word(text, bad_words[i].unless))))
            check_error(check, "cmdline", "no Linux comes up here with `%s`: %s; take that word out", bad_words[i].word, bad_words[i].why);
}

/* The words that tell a guest who and where it is. */
static void add_words(const struct check *check, const struct plan_vm *vm, FILE *out)
{
    const struct plan *plan = &check->job->plan;
    fprintf(out, "hairline.name=%s", vm->name);
    if (vm->lan)
        fprintf(out, " hairline.ip=10.0.%u.%u/24", vm->lan, check->vm + 1);
    const char *separator = " hairline.peers=";
    for (uint32_t i = 0; vm->lan && i < plan->vms; i++)
        if (i != check->vm && plan->vm[i].lan == vm->lan) {
            fprintf(out, "%s%s:10.0.%u.%u", separator, plan->vm[i].name, vm->lan, i + 1);
            separator = ",";
        }
    if (vm->mode == MODE_DEDICATED)
        fprintf(out, " hairline.disengage=%s", disengages[vm->disengage].word);
    if (vm->mode == MODE_DEDICATED && check->job->iscsi.path)
        fprintf(out, " hairline.iscsi=10.0.2.2:%u", check->job->iscsi_port);
    if (check->batch)
        fputs(" hairline.batch", out);
}

/* How much of a command line is for the kernel: what follows a word `--` outside quotes is init's (Linux, kernel/params.c). */
static size_t kernel_part(const char *text)
{
    bool quoted = false;
    size_t i = 0;
    for (; text[i]; i++) {
        bool word =
            !quoted && (i == 0 || text[i - 1] == ' ') && strncmp(text + i, "--", 2) == 0 && (text[i + 2] == 0 || text[i + 2] == ' ');
        if (word)
            break;
        quoted ^= text[i] == '"';
    }
    while (i > 0 && text[i - 1] == ' ')
        i--;
    return i;
}

/* The plan's command line, with those words after the last that are the kernel's. */
static void compile_cmdline(struct check *check)
{
    struct plan_vm *vm = &check->job->plan.vm[check->vm];
    const char *text = check->text->vms[check->vm].cmdline ? check->text->vms[check->vm].cmdline : "";
    size_t kernels = kernel_part(text), size, most = sizeof(vm->cmdline) - (vm->sealed ? PLAN_CMDLINE_SEALED : 0);
    char *line;
    FILE *out = open_memstream(&line, &size);
    fprintf(out, "%.*s%s", (int)kernels, text, kernels ? " " : "");
    add_words(check, vm, out);
    fprintf(out, "%s%s", text[kernels] && text[kernels] != ' ' ? " " : "", text + kernels);
    fclose(out);
    if (size >= most)
        check_error(check, "cmdline", "the command line has %zu bytes with what the tool adds: keep it below %zu", size, most);
    snprintf(vm->cmdline, sizeof(vm->cmdline), "%s", line);
    free(line);
}

/* What root's quotas add up to (root/vm.c, root/device.h, root/lan.c): the kernel's table of objects is of one size. */
static uint32_t kernel_objects(const struct job *job, uint32_t vcpus)
{
    const struct plan *plan = &job->plan;
    uint32_t devices = 0, starts = 0; /* root's portal for the start of each sealed vCPU */
    for (uint32_t i = 0; i < plan->vms; i++) {
        devices += plan->vm[i].devices;
        starts += plan->vm[i].sealed ? plan->vm[i].vcpus : 0;
    }
    return starts + OBJECTS_DEVICE * devices + OBJECTS_ROOT + OBJECTS_VM * plan->vms + OBJECTS_VCPU * vcpus + OBJECTS_LAN * plan->lans;
}

/* The kernel of the VM in hand, where it goes (which is often far above the start, and more than its file), and its
   initrd above it, as vmm/load.c places them. */
static void check_fits(struct check *check)
{
    const struct plan_vm *vm = &check->job->plan.vm[check->vm];
    const struct job_file *file = check->job->file;
    uint64_t initrd = vm->initrd == PLAN_NO_FILE ? 0 : (file[vm->initrd].size + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE;
    uint64_t end = check->image[check->vm].end > file[vm->kernel].size ? check->image[check->vm].end : file[vm->kernel].size;
    uint64_t enough = (end + PAGE_SIZE + initrd + 2 * MEBI - 1) / (2 * MEBI) * 2;
    if (end > vm->memory)
        check_error(check, "kernel", "the kernel reaches up to %lu KiB and does not fit the VM's memory (%lu KiB): raise `memory` to %luM",
                    (end + 1023) >> 10, vm->memory >> 10, enough);
    else if (end + initrd > vm->memory)
        check_error(check, "initrd",
                    "the initrd (%lu KiB) does not fit the VM's memory (%lu KiB) above the kernel (up to %lu KiB): raise `memory` to %luM",
                    initrd >> 10, vm->memory >> 10, (end + 1023) >> 10, enough);
}

/* Kernel and initrd fit their VM; all VMs, files and copies fit into the machine. */
static void check_sizes(struct check *check)
{
    struct job *job = check->job;
    uint64_t need = OVERHEAD_MACHINE;
    uint32_t vcpus = 0;
    for (check->vm = 0; check->vm < job->plan.vms; check->vm++) {
        const struct plan_vm *vm = &job->plan.vm[check->vm];
        check_words(check);
        check_fits(check);
        for (uint32_t i = 0; i < vm->disks; i++)
            need += vm->disk[i].flags == DISK_VOLATILE ? job->file[vm->disk[i].file].size : 0;
        need += vm->memory + OVERHEAD_VM;
        vcpus += vm->vcpus;
    }
    for (uint32_t i = 0; i < job->plan.files; i++)
        need += job->file[i].size;
    if (need > job->memory)
        source_error_at(&check->source, "machine.memory",
                        "the VMs, their files and Hairline need %lu MiB and the machine has %lu MiB: raise machine.memory or lower a VM's",
                        (need + MEBI - 1) / MEBI, job->memory / MEBI);
    else
        check_places(check);
    if (vcpus > MAX_VCPUS)
        source_error_at(&check->source, "vms", "all VMs together have %u vCPUs: take them down to %u", vcpus, MAX_VCPUS);
    uint32_t objects = kernel_objects(job, vcpus);
    if (objects > KERNEL_OBJECTS)
        source_error_at(&check->source, "vms", "the VMs and LANs need about %u kernel objects of %u: take out VMs, vCPUs or LANs", objects,
                        KERNEL_OBJECTS);
}

static void compile(struct check *check)
{
    struct plan *plan = &check->job->plan;
    *plan =
        (struct plan){.magic = PLAN_MAGIC, .version = PLAN_VERSION, .flags = check->batch ? PLAN_BATCH : 0, .vms = check->text->vms_count};
    check_machine(check);
    if (check->source.errors)
        return;
    for (check->vm = 0; check->vm < plan->vms; check->vm++)
        compile_vm(check);
    check_cores(check);
    for (check->vm = 0; check->vm < plan->vms; check->vm++)
        compile_cmdline(check);
    if (check->source.errors == 0 && check_packages(check))
        check_sizes(check);
}

static bool load(struct job *job, const char *name, bool batch, void (*work)(struct check *))
{
    struct check check = {.job = job, .batch = batch};
    struct plan_text *text = NULL;
    *job = (struct job){.iscsi_port = job->iscsi_port};
    if (source_open(&check.source, name))
        text = text_load(&check.source);
    if (text) {
        const char *slash = strrchr(name, '/');
        check.text = text;
        check.folder = slash ? host_text("%.*s", (int)(slash - name) + 1, name) : host_text("./");
        work(&check);
        text_free(text);
    }
    source_close(&check.source);
    return check.source.errors == 0;
}

bool job_compile(struct job *job, const char *name, bool batch) { return load(job, name, batch, compile); }

bool job_machine(struct job *job, const char *name) { return load(job, name, false, check_machine); }
