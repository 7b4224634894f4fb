/* Where root will put what VMs have (root/memory.c, store.c), in the order in which it does: each in one run of RAM. */
#include <cli/check.h>
#include <cli/host.h>
#include <abi/boot.h>

#define MEBI 0x100000ul
#define GIBI 0x40000000ul
/* QEMU's q35: of so much RAM or more, 2 GiB are below the devices' addresses, and the rest is above 4 GiB. */
#define SPLIT_FROM (2816 * MEBI)
#define SPLIT_LOW  (2048 * MEBI)
#define SPLIT_HIGH (4096 * MEBI)
/* Below the modules the kernel lies with its pool; firmware keeps something below the end of low RAM. */
#define KERNEL_END (20 * MEBI)
#define FIRMWARE   MEBI
/* A VM's VMM with all that it shares (disks aside), and a LAN's switch: less than this. */
#define STORE (4 * MEBI)
#define LAN   (2 * MEBI)
#define RUNS  (2 + 2 * PLAN_VMS + PLAN_LANS) /* each piece that is taken splits one */

struct run {
    uint64_t base, end;
};

struct ram {
    struct run run[RUNS];
    uint32_t runs;
};

static uint64_t round_up(uint64_t size, uint64_t to) { return (size + to - 1) / to * to; }

static void ram_open(struct ram *ram, const struct job *job, uint64_t memory)
{
    uint64_t low = memory < SPLIT_FROM ? memory : SPLIT_LOW, base = KERNEL_END;
    for (uint32_t i = 0; i < job->plan.files; i++)
        base += round_up(job->file[i].size, PAGE_SIZE);
    *ram = (struct ram){.runs = 2, .run = {{base, low - FIRMWARE}, {SPLIT_HIGH, SPLIT_HIGH + memory - low}}};
}

/* The highest place in the first run that has one; false: none has. */
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
        uint64_t base = round_up(ram->run[i].base, 2 * MEBI), size = ram->run[i].end > base ? ram->run[i].end - base : 0;
        most = size > most ? size : most;
    }
    return most / (2 * MEBI) * (2 * MEBI);
}

static uint64_t store(const struct job *job, const struct plan_vm *vm)
{
    uint64_t size = STORE;
    for (uint32_t i = 0; i < vm->disks; i++)
        size += vm->disk[i].flags == DISK_VOLATILE ? round_up(job->file[vm->disk[i].file].size, 2 * MEBI) : 0;
    return size;
}

/* The first piece that finds no place in a machine with `memory`: its VM and size; plan.vms: all find one. */
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
    return plan->vms;
}

void check_places(struct check *check)
{
    const struct job *job = check->job;
    struct ram ram, other;
    uint64_t size, none, enough = round_up(job->memory, GIBI);
    check->vm = fill(&ram, job, job->memory, &size);
    if (check->vm == job->plan.vms)
        return;
    while (fill(&other, job, enough, &none) < job->plan.vms)
        enough += GIBI;
    check_error(check, "memory",
                "`%s` needs %lu MiB in one piece, and the largest left of the machine's %lu MiB has %lu MiB: "
                "raise machine.memory to %luG",
                job->plan.vm[check->vm].name, size / MEBI, job->memory / MEBI, largest(&ram) / MEBI, enough / GIBI);
}
