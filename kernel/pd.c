/* Protection domains. */
#include <cap.h>
#include <pd.h>
#include <ptab.h>
#include <virt.h>

struct pd *kernel_space;

extern uint8_t kernel_text[], kernel_text_end[], kernel_rodata[], kernel_rodata_end[],
    kernel_data[], kernel_end[];

static void map_kernel(const uint8_t *from, const uint8_t *to, unsigned rights)
{
    uint64_t frames = ((uint64_t)to - (uint64_t)from + PAGE_SIZE - 1) >> PAGE_SHIFT;
    if (ptab_map(kernel_space, (uint64_t)from, cpu_pa(from) >> PAGE_SHIFT, frames, rights))
        __builtin_trap();
}

void pd_make_kernel_space(void)
{
    kernel_space = &objects[1].pd;
    counters.objects = OBJECTS - 1;
    counters.objects_free = OBJECTS - 2;
    *kernel_space = (struct pd){.head = {.type = OBJ_PD, .gen = 1},
                                .frames_left = counters.frames,
                                .objects_left = OBJECTS - 2,
                                .allowed = ~0ull};
    kernel_space->table = frame_new(kernel_space);
    kernel_space->table_pa = cpu_pa(kernel_space->table);
    map_kernel(kernel_text, kernel_text_end, MR_READ | MR_EXEC);
    map_kernel(kernel_rodata, kernel_rodata_end, MR_READ);
    map_kernel(kernel_data, kernel_end + (counters.frames - POOL_FRAMES) * PAGE_SIZE,
               MR_READ | MR_WRITE);
    if (ptab_map(kernel_space, APIC_WINDOW, APIC_FRAME, 1, MR_READ | MR_WRITE | PTAB_DEVICE))
        __builtin_trap(); /* and so the tables of the other windows are there for good */
}

struct pd *pd_new(struct pd *owner, enum pd_kind kind, uint32_t flags, uint32_t frames,
                  uint32_t objects_quota)
{
    uint32_t tables = 1u << PD_TABLE_ORDER(flags);
    if (frames <= tables || frames > owner->frames_left || objects_quota >= owner->objects_left)
        return 0;
    struct pd *pd = object_new(OBJ_PD, owner);
    if (!pd)
        return 0;
    pd->frames_left = pd->frames_given = frames;
    pd->slots = CAP_SLOTS * tables;
    pd->caps = tables > 1 ? frame_run(pd, tables) : frame_new(pd);
    if (!pd->caps) { /* the free frames lie apart */
        object_free(pd);
        return 0;
    }
    owner->frames_left -= frames;
    owner->objects_left -= objects_quota;
    pd->kind = (uint8_t)kind;
    pd->ports = flags & PD_PORTS;
    pd->allowed = owner->allowed;
    pd->objects_left = pd->objects_given = objects_quota;
    pd->table = frame_new(pd);
    pd->table_pa = cpu_pa(pd->table);
    /* mutant: pd-kernel */
    if (kind == PD_HOST)
        pd->table[TABLE_ENTRIES - 1] = kernel_space->table[TABLE_ENTRIES - 1];
    return pd;
}

uint64_t pd_create(struct pd *self, uint64_t who, uint64_t kind, uint64_t frames,
                   uint64_t objects_quota, uint64_t cores)
{
    void *owner, *sys;
    uint64_t flags = kind >> 8;
    kind &= 0xff;
    uint64_t s = cap_prepare(self, who, &owner);
    unsigned need = (flags & PD_PORTS ? SYS_PORTS : 0) | (kind == PD_GUEST ? SYS_GUEST : 0);
    if (s == OK && need)
        s = cap_find(self, who >> 32, OBJ_SYS, need, 1, &sys);
    if (s)
        return s;
    if (kind > PD_GUEST || flags >> 16 || (flags & 0xff) > PD_PORTS ||
        (kind == PD_GUEST && flags & PD_PORTS && virt_vmx) || PD_TABLE_ORDER(flags) > PD_TABLE_MAX)
        return bad(BAD_ARG, 2);
    if (cores & ~((struct pd *)owner)->allowed)
        return bad(BAD_ARG, 5);
    if (frames <= 1ull << PD_TABLE_ORDER(flags) || frames > POOL_MOST)
        return bad(BAD_ARG, 3);
    if (objects_quota >= OBJECTS)
        return bad(BAD_ARG, 4);
    struct pd *pd = pd_new(owner, (enum pd_kind)kind, (uint32_t)flags, (uint32_t)frames,
                           (uint32_t)objects_quota);
    if (!pd)
        return NO_MEMORY;
    pd->allowed = cores ? cores : pd->allowed;
    return cap_hand_out(self, who, pd);
}
