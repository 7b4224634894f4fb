/* The kernel's start on the boot core: its own space, root's domain, and off. */
#include <cap.h>
#include <core.h>
#include <ec.h>
#include <mr.h>
#include <pd.h>
#include <ptab.h>
#include <sched.h>
#include <virt.h>
#include <abi/boot.h>
#include <abi/image.h>

void init_kernel(const struct boot_info *info) __attribute__((noreturn));
void core_first_resume(void) __attribute__((noreturn));

extern uint8_t image_start[], kernel_data_end[];
/* The image's end. Not in frame.c, where the compiler would believe that it ends here. */
struct frame pool[POOL_FRAMES] __attribute__((section(".pool")));

static void must(bool ok, const char *what)
{
    if (!ok)
        panic(what, 0, 0);
}

static void map_into_root(struct pd *root, uint64_t va, uint64_t pa, uint64_t frames,
                          unsigned rights)
{
    must(!ptab_map(root, va, pa >> PAGE_SHIFT, frames, rights), "root's image cannot be mapped");
}

static void map_root_image(struct pd *root, const struct boot_info *info)
{
    uint64_t text = info->root_text, rodata = info->root_rodata, at = info->root_base;
    map_into_root(root, IMAGE_BASE, at, text, MR_READ | MR_EXEC);
    map_into_root(root, IMAGE_BASE + text * PAGE_SIZE, at + text * PAGE_SIZE, rodata, MR_READ);
    map_into_root(root, IMAGE_BASE + (text + rodata) * PAGE_SIZE, at + (text + rodata) * PAGE_SIZE,
                  info->root_data, MR_READ | MR_WRITE);
    map_into_root(root, ROOT_INFO, cpu_pa(info), sizeof *info / PAGE_SIZE, MR_READ);
}

/* All memory that is not the kernel's, and the counters' page, read-only. */
static void give_regions(struct pd *root, const struct boot_info *info)
{
    struct mr *region = mr_new(root, cpu_pa(&counters) >> PAGE_SHIFT,
                               (sizeof counters + PAGE_SIZE - 1) / PAGE_SIZE, RANGE_RAM);
    must(region, "no memory for regions");
    cap_set(root, SLOT_ROOT_STAT, region, MR_READ);
    for (uint32_t i = 0; i < info->ranges && i < BOOT_RANGES; i++) {
        const struct boot_range *r = &info->range[i];
        struct mr *mr = mr_new(root, r->base >> PAGE_SHIFT, r->size >> PAGE_SHIFT, r->kind);
        must(mr, "no memory for regions");
        cap_set(root, SLOT_ROOT_MR + i, mr, RIGHT_ALL);
    }
}

static void make_root(const struct boot_info *info)
{
    struct pd *root = pd_new(kernel_space, PD_HOST, PD_PORTS | PD_TABLE(ROOT_TABLE),
                             kernel_space->frames_left, kernel_space->objects_left - 1);
    must(root, "no memory for root");
    map_root_image(root, info);
    give_regions(root, info);
    struct object *sys = object_new(OBJ_SYS, root);
    struct ec *ec = 0;
    must(sys && !ec_new_thread(root, 0, EC_THREAD, ROOT_UTCB, info->root_entry, 0, &ec),
         "no memory for root");
    cap_set(root, SLOT_ROOT_PD, root, RIGHT_ALL & ~RIGHT_DESTROY);
    cap_set(root, SLOT_ROOT_SYS, sys, SYS_TIME | SYS_CORE | SYS_PORTS | SYS_GUEST | SYS_DEVICE);
    cap_set(root, SLOT_ROOT_EC, ec, EC_BIND);
    struct sc *sc = object_new(OBJ_SC, root);
    must(sc, "no memory for root");
    sc->priority = ROOT_PRIORITY;
    sc->budget = sc->remaining = 10000000;
    sc->time = &sc->spent;
    sc->home = sc->ec = ec;
    ec->sc = sc;
    ec->events = SLOT_ROOT_FAULT;
    sched_wake(ec);
}

void init_kernel(const struct boot_info *info)
{
    frame_init(info->more_frames);
    pd_make_kernel_space();
    virt_init();
    virt_since_power_on = (info->flags & (BOOT_HOST | BOOT_LATE)) == BOOT_HOST;
    core_init(&cores[0], 0, kernel_space);
    counters.image_bytes = (uint32_t)(kernel_data_end - image_start);
    make_root(info);
    core_first_resume();
}
