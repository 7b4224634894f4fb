/*
 * Compiled plans given to root, none of which it may take that the tool's check
 * refuses. The input changes fields and bytes of records that the tool made.
 * What root takes is written as a plan again; check must let it pass and make
 * the same records of it. What is not compared has no words in a plan: the kind
 * of a kernel image (its loader finds out), the command line's added words, and
 * numbers of files and LANs. What is in files is no matter of records: all are
 * kernels here.
 */
#include "fuzz.h"
#include "tool.h"
#include <root/plan.h>
#include <abi/utcb.h>

#include <stdio.h>
#include <stdlib.h>

#define PAIR                                                                                       \
    "machine: {cores: 4, memory: 1024G}\nvms:\n"                                                   \
    "  - {name: alpha, kernel: pvh, initrd: disk, memory: 512M, vcpus: 2, cores: [0, 1], lan: "    \
    "office, priority: 5, budget: 5ms,\n"                                                          \
    "     period: 10ms, disks: [{file: disk, mode: volatile}, {file: pvh, mode: read-only}], "     \
    "on_exit: restart, exit_port: 0xf4}\n"                                                         \
    "  - {name: beta, kernel: multiboot, initrd: odd, memory: 64M, lan: office, cmdline: quiet}\n" \
    "  - {name: gamma, kernel: bzimage, memory: 2M, vcpus: 8, lan: lab}\n"
#define OWN                                                                                        \
    "machine: {cores: 8, memory: 1024G, iommu: intel}\nvms:\n"                                     \
    "  - {name: web, mode: dedicated, kernel: pvh, memory: 512M, cores: [2, 3], devices: "         \
    "[network-vf/0, '01:00.0'], sealed: true,\n"                                                   \
    "     disengage: guest, after: quiet}\n"                                                       \
    "  - {name: db, mode: dedicated, kernel: bzimage, initrd: disk, memory: 3584M, cores: 1, "     \
    "devices: [nvme/3, 0x1234/255]}\n"                                                             \
    "  - {name: rest, kernel: multiboot, memory: 64M}\n"

#define STORE                                                                                      \
    "machine: {cores: 8, memory: 1024G, iommu: intel}\nvms:\n"                                     \
    "  - {name: service, mode: dedicated, disengage: never, kernel: bzimage, memory: 64M, cores: " \
    "1, "                                                                                          \
    "devices: [nvme/0],\n     volumes: [{name: a-root, size: 8M}, {name: a-data, size: 8M}, "      \
    "{name: b-root, size: 8M}]}\n"                                                                 \
    "  - {name: alpha, kernel: pvh, memory: 64M, lan: office, disks: [{volume: a-root, from: "     \
    "service},\n     {file: disk, mode: volatile}, {volume: a-data, from: service}]}\n"            \
    "  - {name: beta, kernel: pvh, memory: 64M, lan: office, disks: [{volume: b-root, from: "      \
    "service}]}\n"

#define SPARE                                                                                      \
    "machine: {cores: 8, memory: 1024G}\nspare: {cores: [5, 7], memory: 64M}\nvms:\n"              \
    "  - {name: service, control: all, kernel: pvh, memory: 64M, lan: office, disks: [{file: "     \
    "disk}, {upload: 8M}]}\n"                                                                      \
    "  - {name: alpha, kernel: pvh, memory: 64M, lan: office, control: own, console: shown}\n"

#define HOST                                                                                       \
    "machine: {cores: 8, memory: 1024G}\nvms:\n"                                                   \
    "  - {name: alpha, kernel: pvh, memory: 64M, lan: office, cores: [0]}\n"                       \
    "  - {name: web, mode: dedicated, kernel: pvh, memory: 64M, cores: [2]}\n"                     \
    "  - {name: host, mode: host}\n"

static struct job base[5];
static struct plan plan;

/* Numbers of a VM's record; those of its devices and disks follow as words. */
static const struct field {
    size_t offset, size;
} fields[] = {
#define FIELD(name)                                                                                \
    {                                                                                              \
        offsetof(struct plan_vm, name), sizeof(((struct plan_vm *)0)->name)                        \
    }
    FIELD(mode),      FIELD(vcpus),     FIELD(memory),  FIELD(cores),     FIELD(priority),
    FIELD(budget_us), FIELD(period_us), FIELD(on_exit), FIELD(exit_port), FIELD(kernel_type),
    FIELD(kernel),    FIELD(initrd),    FIELD(disks),   FIELD(lan),       FIELD(disengage),
    FIELD(after),     FIELD(sealed),    FIELD(devices), FIELD(disk),      FIELD(device),
    FIELD(mac),       FIELD(name),      FIELD(cmdline), FIELD(mtu),       FIELD(store),
    FIELD(server),    FIELD(control),   FIELD(console),
};
static const struct field heads[] = {
#define HEAD(name)                                                                                 \
    {                                                                                              \
        offsetof(struct plan, name), sizeof(((struct plan *)0)->name)                              \
    }
    HEAD(magic), HEAD(version),     HEAD(flags),        HEAD(vms),    HEAD(lans), HEAD(files),
    HEAD(tpm),   HEAD(spare_cores), HEAD(spare_memory), HEAD(upload), HEAD(held),
};

void fuzz_begin(void)
{
    static const char *const texts[] = {PAIR, OWN, STORE, SPARE, HOST};
    tool_begin();
    for (uint32_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        fuzz_must(tool_checks(texts[i], strlen(texts[i]), &base[i]),
                  "the plans to start from are good");
        for (uint32_t n = 0; n < base[i].plan.files; n++)
            base[i].file[n].path = strdup(base[i].file[n].path);
    }
}

/* ---- records -------------------------------------------------------------------- */
static void set(struct feed *f, uint8_t *record, const struct field *field)
{
    uint64_t value = feed_value(f);
    size_t words = field->size / 4, at = field->size > 8 ? feed_8(f) % words * 4 : 0;
    memcpy(record + field->offset + at, &value, field->size > 8 ? 4 : field->size);
}

static void change(struct feed *f)
{
    uint8_t what = feed_8(f), which = feed_8(f), who = feed_8(f) % PLAN_VMS;
    uint8_t *vm = (uint8_t *)&plan.vm[who];
    const struct field *field = &fields[which % (sizeof(fields) / sizeof(fields[0]))];
    if (what < 160)
        set(f, vm, field);
    else if (what < 180)
        set(f, (uint8_t *)&plan, &heads[which % (sizeof(heads) / sizeof(heads[0]))]);
    else if (what < 200) /* as another's */
        memcpy(vm + field->offset, (uint8_t *)&plan.vm[feed_8(f) % PLAN_VMS] + field->offset,
               field->size);
    else if (what < 220) /* the same, but with a name and an address of its own */
        plan.vm[who] = plan.vm[which % 3], plan.vm[who].name[0] = (char)('a' + who),
        plan.vm[who].mac[5] = (uint8_t)(who + 1);
    else
        ((uint8_t *)&plan)[feed_16(f) % sizeof(plan)] = feed_8(f);
}

/* ---- the plan that means them ----------------------------------------------------- */
static const char *path(const struct job *job, uint32_t file)
{
    return job->file[file].kind == FILE_EXT4 ? "ext4:4M" : job->file[file].path;
}

static void write_disks(FILE *out, const struct job *job, const struct plan_vm *vm)
{
    for (uint32_t i = 0; i < vm->disks; i++) {
        const struct plan_disk *d = &vm->disk[i];
        fputs(i ? "" : "    disks:\n", out);
        if (d->flags == DISK_VOLUME)
            fprintf(out, "      - {volume: '%s', from: '%s'}\n", d->volume,
                    plan.vm[vm->server - 1].name);
        else if (d->flags == DISK_UPLOAD)
            fprintf(out, "      - {upload: %luM}\n", plan.upload >> 20);
        else
            fprintf(out, "      - {file: \"%s\", mode: %s}\n", path(job, d->file),
                    d->flags == DISK_VOLATILE ? "volatile" : "read-only");
    }
}

/* What its clients have: sizes are not in a record. */
static void write_volumes(FILE *out, const struct plan_vm *service)
{
    const char *key = "    volumes:\n";
    for (const struct plan_vm *vm = plan.vm; vm < plan.vm + plan.vms; vm++)
        for (uint32_t i = 0; vm->mode != MODE_HOST && i < vm->disks; i++) {
            if (vm->disk[i].flags != DISK_VOLUME || vm->server - 1 != plan_index(service))
                continue;
            fprintf(out, "%s      - {name: '%s', size: 8M}\n", key, vm->disk[i].volume);
            key = "";
        }
}

static void write_cores(FILE *out, uint64_t cores)
{
    fputs("    cores: [", out);
    for (uint32_t core = 0; core < MAX_CORES; core++)
        if (cores >> core & 1)
            fprintf(out, "%u, ", core);
    fputs("]\n", out);
}

static void write_list(FILE *out, const struct job *job, const struct plan_vm *vm)
{
    write_cores(out, vm->cores);
    write_disks(out, job, vm);
    for (uint32_t i = 0; i < vm->devices; i++) {
        const struct plan_device *d = &vm->device[i];
        fputs(i ? "" : "    devices:\n", out);
        if (d->by == DEVICE_ADDRESS)
            fprintf(out, "      - '%02x:%02x.%x'\n", d->rid >> 8, d->rid >> 3 & 31, d->rid & 7);
        else
            fprintf(out, "      - 0x%04x%s/%u\n", d->class, d->by == DEVICE_VF ? "-vf" : "",
                    d->index);
    }
}

static void write_vm(FILE *out, const struct job *job, const struct plan_vm *vm)
{
    static const char *const disengage[] = {"auto", "guest", "never"};
    fprintf(out, "  - name: '%s'\n    mode: %s\n    kernel: \"%s\"\n", vm->name,
            vm->mode == MODE_DEDICATED ? "dedicated" : "shared", path(job, vm->kernel));
    if (vm->initrd != PLAN_NO_FILE)
        fprintf(out, "    initrd: \"%s\"\n", path(job, vm->initrd));
    fprintf(out, "    memory: %luK\n    vcpus: %u\n    on_exit: %s\n", vm->memory >> 10, vm->vcpus,
            vm->on_exit == EXIT_RESTART ? "restart" : "off");
    if (vm->exit_port)
        fprintf(out, "    exit_port: %u\n", vm->exit_port);
    if (vm->mode == MODE_SHARED)
        fprintf(out, "    priority: %u\n    budget: %uus\n", vm->priority, vm->budget_us);
    else
        fprintf(out, "    disengage: %s\n    after: %s\n    sealed: %s\n", disengage[vm->disengage],
                vm->after ? "quiet" : "strict", vm->sealed ? "true" : "false");
    if (vm->mode == MODE_SHARED && vm->period_us)
        fprintf(out, "    period: %uus\n", vm->period_us);
    if (vm->lan)
        fprintf(out, "    lan: {name: lan%u, mtu: %u}\n", vm->lan, vm->mtu);
    if (vm->control)
        fprintf(out, "    control: %s\n", vm->control == CONTROL_ALL ? "all" : "own");
    if (vm->console)
        fprintf(out, "    console: %s\n", vm->console == CONSOLE_OPEN ? "open" : "shown");
    write_list(out, job, vm);
    write_volumes(out, vm);
}

static char *write_plan(const struct plan *p, const struct job *job, uint32_t cores, size_t *size)
{
    char *text;
    FILE *out = open_memstream(&text, size);
    fprintf(out, "machine: {cores: %u, memory: 1024G, share_siblings: %s, small_pages: %s}\n",
            cores, p->flags & PLAN_SHARE_SIBLINGS ? "true" : "false",
            p->flags & PLAN_SMALL_PAGES ? "true" : "false");
    if (p->spare_memory)
        fprintf(out, "spare:\n    memory: %luK\n", p->spare_memory >> 10);
    if (p->spare_memory)
        write_cores(out, p->spare_cores);
    fputs("vms:\n", out);
    for (uint32_t i = 0; i < p->vms; i++) {
        write_vm(out, job, &p->vm[i]);
        fputs(p->tpm == i + 1 ? "    tpm: true\n" : "", out);
        fputs(p->held >> i & 1 ? "    start: command\n" : "", out);
    }
    if (has_host(&job->plan))
        fprintf(out, "  - name: '%s'\n    mode: host\n%s", plan_installed.name,
                plan_installed.control ? "    control: all\n" : "");
    fclose(out);
    return text;
}

/* ---- what must be so ----------------------------------------------------------------- */
static bool same_file(const struct job *a, uint32_t file_a, const struct job *b, uint32_t file_b)
{
    if (file_a == PLAN_NO_FILE || file_b == PLAN_NO_FILE)
        return file_a == file_b;
    return !strcmp(path(a, file_a), path(b, file_b));
}

static bool same_vm(const struct plan_vm *a, const struct job *job_a, const struct plan_vm *b,
                    const struct job *job_b)
{
    bool same = !strcmp(a->name, b->name) && a->mode == b->mode && a->vcpus == b->vcpus &&
                a->memory == b->memory && a->cores == b->cores;
    same &= a->priority == b->priority && a->budget_us == b->budget_us &&
            a->period_us == b->period_us && a->on_exit == b->on_exit;
    same &= a->exit_port == b->exit_port && !a->lan == !b->lan && a->disengage == b->disengage &&
            a->after == b->after && a->control == b->control && a->console == b->console;
    same &= a->mtu == b->mtu && a->server == b->server && !a->store == !b->store;
    same &= a->sealed == b->sealed && a->devices == b->devices && a->disks == b->disks;
    same &= !memcmp(a->device, b->device, a->devices * sizeof(a->device[0]));
    same &= same_file(job_a, a->kernel, job_b, b->kernel) &&
            same_file(job_a, a->initrd, job_b, b->initrd);
    for (uint32_t i = 0; same && i < a->disks; i++)
        same = a->disk[i].flags == b->disk[i].flags &&
               !strcmp(a->disk[i].volume, b->disk[i].volume) &&
               same_file(job_a, a->disk[i].file, job_b, b->disk[i].file);
    return same;
}

/* Two VMs are on one LAN in both, or in none. */
static bool same_lans(const struct plan *a, const struct plan *b)
{
    for (uint32_t i = 0; i < a->vms; i++)
        for (uint32_t n = 0; n < i; n++)
            if ((a->vm[i].lan == a->vm[n].lan) != (b->vm[i].lan == b->vm[n].lan))
                return false;
    return true;
}

static void check_text(const struct plan_vm *vm)
{
    size_t length = strnlen(vm->cmdline, sizeof(vm->cmdline));
    fuzz_must(length < sizeof(vm->cmdline), "a command line ends");
    for (size_t i = 0; i < length; i++)
        fuzz_must((uint8_t)vm->cmdline[i] >= ' ' && vm->cmdline[i] != 0x7f,
                  "a command line is text");
}

/* The tool counts the kernel's objects, the machine's memory, and what of it and of the cores an
 * installed system leaves, before it starts a machine; root finds out when they are used up. */
static bool lacks_objects(bool beneath)
{
    static const struct {
        const char *words;
        bool beneath; /* only there */
    } lack[] = {{"kernel objects", false},
                {"raise machine.memory", false},
                {"the VMs beside the installed system and the files need", true},
                {"no core is left for", true}};
    for (size_t i = 0; i < sizeof(lack) / sizeof(lack[0]); i++)
        if (lack[i].beneath <= beneath && strstr(tool_said, lack[i].words))
            return strchr(tool_said, '\n')[1] == 0;
    return false;
}

static void check_taken(const struct plan *taken, const struct job *job, uint32_t cores)
{
    static struct job again;
    size_t size;
    fuzz_must(taken->vms <= PLAN_VMS && taken->lans <= PLAN_LANS && !(taken->flags & ~15u),
              "the plan's head is within its bounds");
    for (uint32_t i = 0; i < taken->vms; i++)
        check_text(&taken->vm[i]);
    if (taken->vms == 0)
        return;
    char *text = write_plan(taken, job, cores, &size);
    bool good = tool_checks(text, size, &again);
    if (!good && !lacks_objects(has_host(&job->plan))) {
        fprintf(stderr, "%s%s", text, tool_said);
        fuzz_must(false, "check lets pass what root takes");
    }
    for (uint32_t i = 0; good && i < taken->vms; i++)
        fuzz_must(same_vm(&taken->vm[i], job, &again.plan.vm[i], &again),
                  "and it means the same to both");
    fuzz_must(!good || taken->tpm == again.plan.tpm, "and the same VM has the TPM");
    fuzz_must(!good ||
                  (taken->held == again.plan.held && taken->spare_cores == again.plan.spare_cores &&
                   taken->spare_memory == again.plan.spare_memory &&
                   taken->upload == again.plan.upload),
              "and as much is spare");
    fuzz_must(!good || same_lans(taken, &again.plan), "and the same VMs are on a LAN");
    free(text);
}

static uint32_t base_of(uint8_t how)
{
    if (how >= 0xe0)
        return 4;
    return how >= 0x80 ? 2 + (how >> 6 & 1) : how & 1;
}

void fuzz_one(const uint8_t *data, size_t size)
{
    struct feed f = {data, size};
    uint8_t how = feed_8(&f);
    const struct job *job = &base[base_of(how)];
    uint32_t cores = how & 2 ? 1 + (how >> 2) % MAX_CORES : MAX_CORES;
    plan = job->plan;
    while (f.left)
        change(&f);
    const struct plan *taken = root_takes(&plan, job, cores);
    if (taken)
        check_taken(taken, job, cores);
}
