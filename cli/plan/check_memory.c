/* Whether all that a plan wants fits: kernel and initrd into their VM; VMs, files and copies into
   the machine's RAM, each in one piece, at the places that root will choose. */
#include <cli/host.h>
#include <cli/plan/check.h>
#include <abi/call.h>
#include <lib/quota.h>

#define GIBI 0x40000000ul
/* Memory beside VMs and files, bytes: kernel, root and LANs. */
#define OVERHEAD_MACHINE (48 * MEBI)
/* What an installed system needs at least, bytes, in the emulated machine. */
#define HOST_LEAST (512 * MEBI)
/* And of that below 4 GiB: firmware, its loader and Linux are there, too. */
#define HOST_LOW (256 * MEBI)
/* RAM below 4 GiB of a machine of which nothing is known, at most. */
#define LOW_ELSEWHERE (3072 * MEBI)
/* RAM of QEMU's q35, bytes: with so much or more, 2 GiB are below the devices' addresses, and the
 * rest is above 4 GiB. */
#define SPLIT_FROM (2816 * MEBI)
#define SPLIT_LOW  (2048 * MEBI)
#define SPLIT_HIGH (4096 * MEBI)
/* Low RAM, bytes: the kernel and its pool are below the modules; firmware keeps something at its
 * end. */
#define LOW_START    MEBI
#define KERNEL_START (16 * MEBI)
#define KERNEL_END   (54 * MEBI) /* with root, VMM and LAN, which come behind it */
#define FIRMWARE     MEBI
/* All files together, bytes: a loader puts them below 2 GiB, behind the kernel. */
#define FILES_MOST (1900 * MEBI)
/* By UEFI: firmware has the file, and what it made of it, below 4 GiB at once. */
#define FILES_UEFI_MOST (800 * MEBI)
/* And how many sections the file can have for them: its header is a page (boot/uefi/pe.S). Beneath
   an installed system one says so. */
#define SECTIONS_UEFI 88u
/* Upper limit of a VM's store without disks, with what alignment costs, and of a LAN's region,
 * bytes. */
#define STORE (4 * MEBI)
#define LAN   (2 * MEBI)
#define SPARE (PLAN_VMS + 1u)                /* in place of a VM: the spare memory */
#define RUNS  (4 + 2 * PLAN_VMS + PLAN_LANS) /* runs of RAM: each piece that is taken splits one */

/* ---- places: where root will put what VMs have (root/memory.c, store.c), in the order in which it
   does, each in one run of RAM */

struct run {
    uint64_t base, end;
};

struct ram {
    struct run run[RUNS];
    uint32_t runs;
};

static uint64_t round_up(uint64_t size, uint64_t to) { return (size + to - 1) / to * to; }

/* Bytes of the kernel's pool beyond those that its image is linked with. */
static uint64_t pool_more(const struct job *job) { return job->more_frames * (uint64_t)PAGE_SIZE; }

static void ram_open(struct ram *ram, const struct job *job, uint64_t memory)
{
    uint64_t low = memory < SPLIT_FROM ? memory : SPLIT_LOW, base = KERNEL_END + pool_more(job);
    for (uint32_t i = 0; i < job->plan.files; i++)
        base += round_up(job->file[i].size, PAGE_SIZE);
    *ram = (struct ram){.runs = 3,
                        .run = {{LOW_START, KERNEL_START},
                                {base, low - FIRMWARE},
                                {SPLIT_HIGH, SPLIT_HIGH + memory - low}}};
}

/* Take the highest place in the first run that has one, as root does; false: none has. */
static bool take(struct ram *ram, uint64_t size, uint64_t align)
{
    for (uint32_t i = 0; i < ram->runs; i++) {
        struct run *run = &ram->run[i];
        uint64_t at = run->end > size ? (run->end - size) / align * align : 0;
        if (at < run->base || at == 0)
            continue;
        if (ram->runs < RUNS)
            ram->run[ram->runs++] = (struct run){at + size, run->end};
        run->end = at;
        return true;
    }
    return false;
}

static uint64_t largest(const struct ram *ram)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < ram->runs; i++) {
        uint64_t base = round_up(ram->run[i].base, 2 * MEBI),
                 size = ram->run[i].end > base ? ram->run[i].end - base : 0;
        most = size > most ? size : most;
    }
    return most / (2 * MEBI) * (2 * MEBI);
}

static uint64_t store(const struct job *job, const struct plan_vm *vm)
{
    uint64_t size = STORE;
    for (uint32_t i = 0; i < vm->disks; i++)
        if (vm->disk[i].flags == DISK_VOLATILE)
            size += round_up(job->file[vm->disk[i].file].size, 2 * MEBI);
        else if (vm->disk[i].flags == DISK_UPLOAD)
            size += round_up(job->plan.upload, 2 * MEBI);
    return size;
}

/* The first VM of which a piece finds no place in a machine with `memory` bytes, and that piece's
 * `*size`; plan.vms: all find one. */
static uint32_t fill(struct ram *ram, const struct job *job, uint64_t memory, uint64_t *size)
{
    const struct plan *plan = &job->plan;
    ram_open(ram, job, memory);
    for (uint32_t i = 0; i < plan->vms; i++) {
        uint64_t need = plan->vm[i].memory;
        *size = need;
        if (!(need >= GIBI && take(ram, need, GIBI)) && !take(ram, need, 2 * MEBI))
            return i;
        *size = store(job, &plan->vm[i]);
        if (!take(ram, *size, 2 * MEBI))
            return i;
    }
    *size = LAN;
    for (uint32_t i = 0; i < plan->lans; i++)
        if (!take(ram, LAN, PAGE_SIZE))
            return plan->vms - 1;
    *size = plan->spare_memory;
    if (plan->spare_memory && !take(ram, plan->spare_memory, 2 * MEBI))
        return SPARE;
    return plan->vms;
}

static void check_places(struct check *check)
{
    const struct job *job = check->job;
    struct ram ram, other;
    uint64_t size, none, enough = round_up(job->memory, GIBI);
    check->vm = fill(&ram, job, job->memory, &size);
    if (check->vm == job->plan.vms)
        return;
    while (fill(&other, job, enough, &none) != job->plan.vms)
        enough += GIBI;
    bool is_vm = check->vm < job->plan.vms;
    source_error_at(&check->source, is_vm ? host_text("vms[%u].memory", check->vm) : "spare.memory",
                    "`%s` needs %lu MiB in one piece, and the largest left of the machine's %lu "
                    "MiB has %lu MiB: raise machine.memory to %luG",
                    is_vm ? job->plan.vm[check->vm].name : "spare", size / MEBI, job->memory / MEBI,
                    largest(&ram) / MEBI, enough / GIBI);
}

/* ---- sizes ------------------------------------------------------------------------ */

/* Do the kernel of the VM in hand and its initrd fit its memory, as vmm/loaders/load.c places them?
   The kernel often starts far above 0 and takes more than its file; the initrd is above it. */
void check_fits(struct check *check)
{
    const struct plan_vm *vm = &check->job->plan.vm[check->vm];
    const struct job_file *file = check->job->file;
    uint64_t initrd = vm->initrd == PLAN_NO_FILE
                          ? 0
                          : (file[vm->initrd].size + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE;
    uint64_t end = check->image[check->vm].end > file[vm->kernel].size ? check->image[check->vm].end
                                                                       : file[vm->kernel].size;
    uint64_t enough = (end + PAGE_SIZE + initrd + 2 * MEBI - 1) / (2 * MEBI) * 2;
    if (end > vm->memory)
        check_error(check, "kernel",
                    "the kernel reaches up to %lu KiB and does not fit the VM's memory (%lu KiB): "
                    "raise `memory` to %luM",
                    (end + 1023) >> 10, vm->memory >> 10, enough);
    else if (end + initrd > vm->memory)
        check_error(check, "initrd",
                    "the initrd (%lu KiB) does not fit the VM's memory (%lu KiB) above the kernel "
                    "(up to %lu KiB): raise `memory` to %luM",
                    initrd >> 10, vm->memory >> 10, (end + 1023) >> 10, enough);
}

/* All that is Hairline's and the VMs', but for the host and for files, bytes. */
static uint64_t check_need(const struct job *job)
{
    uint64_t need = OVERHEAD_MACHINE + pool_more(job) + job->plan.spare_memory;
    for (const struct plan_vm *vm = job->plan.vm; vm < job->plan.vm + job->plan.vms; vm++)
        need += vm->mode == MODE_HOST ? 0 : vm->memory + store(job, vm);
    return need;
}

/* A loader can take the files. */
static void check_files_size(struct check *check, uint64_t files)
{
    const struct job *job = check->job;
    uint64_t most = job->uefi ? FILES_UEFI_MOST : FILES_MOST;
    uint32_t sections = SECTIONS_UEFI - (job->kept_cores ? 1 : 0);
    if (files > most)
        source_error_at(&check->source, "vms",
                        "the files have %lu MiB, and a loader takes %lu MiB: give VMs volumes "
                        "instead of large disks",
                        files / MEBI, most / MEBI);
    if (job->uefi && job->plan.files > sections)
        source_error_at(&check->source, "vms",
                        "the plan has %u files, and one that starts by UEFI holds %u: have VMs "
                        "share kernels or disks",
                        job->plan.files, sections);
}

/* Bytes that a machine with an installed system has below 4 GiB for Hairline: the emulated one, if
   the plan has its disk; else one of which nothing is known. */
static uint64_t host_low(const struct job *job)
{
    uint64_t low = job->memory < SPLIT_FROM ? job->memory : SPLIT_LOW;
    return (job->host_disk.path ? low : LOW_ELSEWHERE) - HOST_LOW;
}

/* All VMs, files and copies fit into the machine. Beside a host, Hairline has one piece of it,
   which firmware or Linux takes below 4 GiB, and the files behind it; at power-on they are there
   once more, as firmware has loaded them. */
static void check_machine_size(struct check *check)
{
    struct job *job = check->job;
    uint64_t need = check_need(job), files = 0;
    for (uint32_t i = 0; i < job->plan.files; i++)
        files += job->file[i].size;
    check_files_size(check, files);
    if (job->kept_cores) {
        job->kept_memory = round_up(need, 2 * MEBI);
        need = job->kept_memory + HOST_LEAST;
        files *= job->host_late ? 1 : 2;
        uint64_t low = job->kept_memory + files;
        if (low > host_low(job)) {
            source_error_at(&check->source, "vms",
                            "the VMs beside the installed system and the files need %lu MiB below "
                            "4 GiB, of which there are %lu MiB for them: lower a VM's memory",
                            (low + MEBI - 1) / MEBI, host_low(job) / MEBI);
            return;
        }
    }
    need += files;
    if (need > job->memory)
        source_error_at(&check->source, "machine.memory",
                        "the VMs, their files and Hairline need %lu MiB and the machine has %lu "
                        "MiB: raise machine.memory or lower a VM's",
                        (need + MEBI - 1) / MEBI, job->memory / MEBI);
    else if (!job->kept_cores)
        check_places(check);
}

static uint64_t lesser(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* The kernel has the objects for the plan; and its pool gets the frames, with those for VMs that
   are created. */
static void check_kernel(struct check *check)
{
    struct job *job = check->job;
    const uint64_t most = POOL_KERNEL + POOL_MORE;
    uint32_t objects = quota_plan(&job->plan);
    uint64_t frames = pool_plan(&job->plan, 0);
    if (objects > QUOTA_KERNEL)
        source_error_at(
            &check->source, "vms",
            "the VMs and LANs need about %u kernel objects of %u: take out VMs, vCPUs or LANs",
            objects, QUOTA_KERNEL);
    else if (frames > most)
        source_error_at(&check->source, "vms",
                        "the VMs and LANs need about %lu frames of the kernel's %lu: take out VMs, "
                        "vCPUs or LANs, or lower the memory of large VMs",
                        frames, most);
    if (job->plan.flags & PLAN_SMALL_PAGES)
        frames += job->plan.spare_memory / QUOTA_TABLE;
    uint64_t more = lesser(frames, most) - lesser(frames, POOL_KERNEL);
    if (more > job->more_frames)
        job->more_frames = (uint32_t)more;
}

/* Kernel and initrd fit their VM; all VMs, files and copies fit into the machine. */
void check_sizes(struct check *check)
{
    struct job *job = check->job;
    uint32_t vcpus = 0, most = MAX_VCPUS;
    for (check->vm = 0; check->vm < job->plan.vms; check->vm++) {
        if (job->plan.vm[check->vm].mode == MODE_HOST) {
            most = MAX_VCPUS_BESIDE;
            continue;
        }
        vcpus += job->plan.vm[check->vm].vcpus;
        check_words(check);
        check_fits(check);
    }
    check_kernel(check);
    check_machine_size(check);
    if (vcpus > most)
        source_error_at(&check->source, "vms",
                        "all VMs together have %u vCPUs: take them down to %u", vcpus, most);
}
