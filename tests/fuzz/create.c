/*
 * VMs that are created: the input is what a VM writes to its disk for uploads,
 * and when it says `create` and `destroy`. Whatever comes, VMs that were created
 * have nothing that another has, and nothing but what is spare; the plan that
 * was booted stays as it was; and when all are gone, so is all of them.
 */
#include "fuzz.h"
#include "plan_record.h"
#include <root/console/command.h>
#include <root/plan.h>
#include <root/vm/create.h>
#include <root/vm/device.h>
#include <root/vm/fault.h>
#include <root/vm/lan.h>
#include <root/vm/life.h>
#include <root/vm/store.h>
#include <lib/cores.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CORES  8u
#define SPARES 0xe0ull /* cores 5, 6, 7 */
#define BOOTED 2u      /* VMs: the one that creates, and another */
#define MEBI   (1ull << 20)
#define SPARE  (64 * MEBI)
#define UPLOAD (2 * MEBI)

struct machine machine;
uint64_t fuzz_now;
static struct plan boot_plan;
static struct boot_info info;
static uint8_t *upload_bytes;
static uint64_t spare_base;
static bool bell[PLAN_VMS];
static uint32_t bells;
static uint8_t renewed; /* LANs whose switches were built anew, a bit each */
static uint8_t threads[MAX_CORES];

/* ---- the rest of root ------------------------------------------------------- */
void console_say(const char *fmt, ...) { fuzz_must(*fmt, "root says something"); }
void command_forget(const struct vm *vm) { fuzz_must(vm->created, "only such a VM goes"); }
uint64_t memory_read(uint64_t base, void *to, uint64_t size)
{
    memcpy(to, &boot_plan, size);
    return base ? OK : BAD_ARG;
}
uint64_t memory_take(uint64_t size, uint64_t align, struct region *taken)
{
    fuzz_must(size == SPARE && align == MEBI2, "the spare memory is taken");
    *taken = (struct region){SLOT_REGION, spare_base, size};
    return OK;
}
uint64_t memory_largest(void) { return SPARE; }
void *memory_open(uint64_t base, uint64_t size, uint64_t perm)
{
    fuzz_must(base == spare_base && size == SPARE && perm, "all of it is opened");
    return upload_bytes;
}
uint64_t memory_map(uint64_t base, uint64_t size, uint64_t pd, uint64_t perm, uint64_t va)
{
    return base + size + pd + perm + va ? OK : BAD_ARG;
}
uint64_t fault_prepare(uint32_t domain, uint64_t cores)
{
    fuzz_must(domain >= BOOTED && domain < PLAN_VMS && !(cores & ~(SPARES | 1)), "its handlers");
    return OK;
}
void fault_forget(uint32_t domain)
{
    fuzz_must(domain >= BOOTED && domain < PLAN_VMS, "only such a VM's go");
}
uint64_t lan_renew(uint32_t lan)
{
    fuzz_must(lan == 1, "only the LAN of who creates is touched");
    renewed |= 1;
    return OK;
}
void life_start(struct vm *vm) { vm->life = LIFE_RUNNING; }
void device_describe(const struct vm *vm, struct vm_config *config) { config->tpm = vm->index; }
bool vm_has_tpm(const struct vm *vm) { return vm->index == 1; }
uint64_t vm_help_budget(uint32_t core) { return core; }
uint64_t vm_help_period(void) { return 1; }
uint32_t vm_worker_core(const struct vm *vm) { return cores_worker(vm->plan); }
uint32_t vm_core(const struct vm *vm, uint32_t i) { return cores_vcpu(vm->plan, i); }
uint64_t vm_cores(const struct vm *vm) { return vm->plan->cores | 1ull << cores_worker(vm->plan); }
void image_copy_data(const struct image *image, void *to)
{
    fuzz_must(image && to, "not built here");
}
uint64_t fuzz_bell(uint64_t slot, bool made)
{
    bool *one = &bell[(slot - SLOT_VM) / VM_SLOTS];
    fuzz_must(!made || !*one, "the bell of one that went is gone");
    bells += (uint32_t)made - *one;
    *one = made;
    return OK;
}

/* ---- the machine ------------------------------------------------------------- */
static struct plan_vm *add(const char *name, uint64_t cores, uint32_t lan)
{
    uint32_t i = boot_plan.vms++;
    boot_plan.vm[i] = plan_record(i, name, cores, lan);
    return &boot_plan.vm[i];
}

static uint8_t *memory(uint64_t size)
{
    uint8_t *all = mmap(NULL, size + MEBI2, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    fuzz_must(all != MAP_FAILED, "there is memory");
    return (uint8_t *)round_up((uintptr_t)all, MEBI2);
}

void fuzz_begin(void)
{
    spare_base = (uintptr_t)memory(SPARE) - ROOT_PHYS;
    upload_bytes = memory(UPLOAD);
    for (uint8_t i = 0; i < MAX_CORES; i++)
        threads[i] = i;
    boot_plan = (struct plan){.magic = PLAN_MAGIC,
                              .version = PLAN_VERSION,
                              .lans = 2,
                              .files = 1,
                              .spare_cores = SPARES,
                              .spare_memory = SPARE,
                              .upload = UPLOAD};
    struct plan_vm *by = add("service", 2, 1);
    by->control = CONTROL_ALL;
    by->disks = 1;
    by->disk[0] = (struct plan_disk){.file = PLAN_NO_FILE, .flags = DISK_UPLOAD};
    add("other", 4, 2);
    info.modules = 2;
    info.module[0] = (struct boot_module){.base = 1, .size = sizeof(struct plan)};
    strcpy(info.module[0].name, "plan");
    info.module[1] = (struct boot_module){.base = 1, .size = MEBI};
    strcpy(info.module[1].name, "f0");
}

static void begin(void)
{
    memset(&machine, 0, sizeof(machine));
    machine.info = &info;
    machine.cores = CORES;
    memcpy(machine.thread_of, threads, sizeof(threads));
    machine.plan = plan_load(&info, CORES, true);
    fuzz_must(machine.plan, "the plan is good");
    machine.vms = machine.plan->vms;
    machine.clock.tsc_hz = 1000;
    for (uint32_t i = 0; i < BOOTED; i++)
        machine.vm[i] =
            (struct vm){.plan = &machine.plan->vm[i], .index = i, .first_vcpu = i, .files = &info};
    machine.vm[0].file[FILE_DISK] =
        (struct file){.base = (uintptr_t)upload_bytes - ROOT_PHYS, .size = UPLOAD};
    bells = renewed = 0;
    memset(bell, 0, sizeof(bell));
    fuzz_must(create_take() == OK && create_open() == OK, "there is spare memory");
}

/* ---- what must hold -------------------------------------------------------------- */
static bool is_created(const struct vm *vm) { return plan_is_vm(vm->plan) && vm->index >= BOOTED; }

static uint64_t end_of(const struct vm *vm) { return vm->store.base + vm->store.size; }

static void check_alone(const struct vm *vm)
{
    const struct plan_vm *p = vm->plan;
    fuzz_must(vm->created && p == &machine.plan->vm[vm->index], "it has its own record");
    fuzz_must(p->cores && !(p->cores & ~SPARES), "its cores are spare ones");
    fuzz_must(!p->sealed && !p->devices && !p->store && !p->control, "it has no more");
    fuzz_must(!p->lan || p->lan == 1, "its LAN is that of who created it");
    fuzz_must(vm->ram.base >= spare_base && vm->ram.size == p->memory, "its RAM is spare memory");
    fuzz_must(vm->store.base >= vm->ram.base + vm->ram.size && end_of(vm) <= spare_base + SPARE,
              "and so is its store");
    for (uint32_t i = 0; i < FILES; i++)
        fuzz_must(!vm->file[i].size || (vm->file[i].base >= vm->store.base &&
                                        vm->file[i].base + vm->file[i].size <= end_of(vm)),
                  "its files are in its store");
    for (uint32_t i = 0; i < sizeof(p->mac); i++)
        fuzz_must(p->mac[i] == plan_mac_byte(vm->index, p->lan, i), "its address is its own");
}

static void check_beside(const struct vm *a, const struct vm *b)
{
    fuzz_must(strcmp(a->plan->name, b->plan->name) != 0, "names are unique");
    fuzz_must(a->first_vcpu + a->plan->vcpus <= b->first_vcpu ||
                  b->first_vcpu + b->plan->vcpus <= a->first_vcpu,
              "vCPUs are one VM's");
    fuzz_must(!(a->plan->cores & b->plan->cores) ||
                  (a->plan->mode == MODE_SHARED && b->plan->mode == MODE_SHARED),
              "a core of a dedicated VM is its own");
    fuzz_must(!is_created(a) || !is_created(b) || end_of(a) <= b->ram.base ||
                  end_of(b) <= a->ram.base,
              "memory is one VM's");
}

static void check(void)
{
    uint32_t created = 0;
    for (uint32_t i = 0; i < BOOTED; i++)
        fuzz_must(memcmp(&machine.plan->vm[i], &boot_plan.vm[i], sizeof(struct plan_vm)) == 0,
                  "the plan stays as it was");
    fuzz_must(machine.vms == machine.plan->vms && machine.vms >= BOOTED, "VMs are counted once");
    for (const struct vm *vm = machine.vm; vm < machine.vm + machine.vms; vm++) {
        if (!plan_is_vm(vm->plan))
            continue;
        created += is_created(vm);
        if (is_created(vm))
            check_alone(vm);
        for (const struct vm *other = machine.vm; other < vm; other++)
            if (plan_is_vm(other->plan))
                check_beside(vm, other);
    }
    fuzz_must(bells == created, "each has its bell");
}

/* ---- what a VM does ---------------------------------------------------------------- */
/* A record that is good, but for what the input changes. */
static void upload(struct feed *f)
{
    struct upload *u = (void *)upload_bytes;
    uint32_t next = plan_next();
    *u = (struct upload){.magic = UPLOAD_MAGIC, .version = PLAN_VERSION, .files = 2};
    u->file[0].offset = u->file[1].offset = 4 * PAGE_SIZE;
    u->file[0].size = 1 + feed_32(f) % MEBI;
    u->file[1].size = PLAN_SECTOR;
    struct plan_vm *vm = &u->vm;
    *vm = boot_plan.vm[1];
    vm->name[0] = (char)('a' + feed_8(f) % 8);
    vm->cores = 1ull << (5 + feed_8(f) % 4);
    vm->memory = (1 + feed_8(f) % 16) * MEBI2;
    vm->vcpus = 1 + feed_8(f) % 4 * 20;
    vm->lan = feed_8(f) % 4 < 3 ? 1 : 0;
    vm->mtu = vm->lan ? PLAN_MTU : 0;
    vm->initrd = feed_8(f) & 1 ? 1 : PLAN_NO_FILE;
    if (feed_8(f) % 4 == 0) {
        vm->mode = MODE_DEDICATED;
        vm->disengage = DISENGAGE_NEVER;
        vm->vcpus = 1;
    }
    for (uint32_t n = 0; n < sizeof(vm->mac); n++)
        vm->mac[n] = plan_mac_byte(next % PLAN_VMS, vm->lan, n);
    for (uint8_t changes = feed_8(f) % 3; changes > 0; changes--) {
        uint32_t at = feed_32(f) % (feed_8(f) & 1 ? 256 : sizeof(*u));
        upload_bytes[at] = feed_8(f);
    }
}

static void say_create(void)
{
    const char *wrong = NULL;
    uint32_t before = machine.vms, had = bells;
    struct vm *vm = create_vm(&machine.vm[0], &wrong);
    fuzz_must(!vm == !!wrong, "a sentence, or a VM");
    fuzz_must(vm ? bells == had + 1 : bells == had && machine.vms == before, "all or nothing");
    fuzz_must(!vm || vm->dirty == vm->ram.size, "its RAM is to be cleared");
}

static void say_destroy(struct vm *vm)
{
    if (plan_is_vm(vm->plan) && !create_refuses(vm))
        create_destroy(vm);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    struct feed f = {data, size};
    const char *wrong;
    begin();
    while (f.left) {
        uint8_t what = feed_8(&f);
        struct vm *vm = &machine.vm[what / 4 % machine.vms];
        switch (what % 4) {
        case 0: vm->life = vm->life == LIFE_OFF ? LIFE_RUNNING : LIFE_OFF; break;
        case 1: say_destroy(vm); break;
        default: upload(&f); say_create();
        }
        check();
    }
    fuzz_must(!create_vm(&machine.vm[1], &wrong) && wrong, "only one VM creates");
    for (uint32_t i = machine.vms - 1; i >= BOOTED; i--) {
        machine.vm[i].life = LIFE_OFF;
        say_destroy(&machine.vm[i]);
        check();
    }
    fuzz_must(machine.vms == BOOTED, "nothing is left");
}
