/* See guests.h. */
#include "guests.h"

#include <guest/bare/hypercall.h>

#define WINDOW   0x50000000ull
#define IDT      0x3000u
#define GDT      0x3800u
#define STACK    0x9000u
#define CODE_MAX 0x400u

static uint64_t stat_index[GUESTS];

void rest(uint64_t ticks) { bell_wait(G_NAP, tsc() + ticks); }

bool is(const char *what, uint64_t got, uint64_t want)
{
    if (got != want)
        kit_print("     %s: %lx, not %lx\n", what, got, want);
    return got == want;
}

uint64_t guest_window(uint32_t g) { return WINDOW + (uint64_t)g * GUEST_FRAMES * PAGE_SIZE; }
struct shared *guest_shared(uint32_t g) { return (struct shared *)guest_window(g); }
const volatile struct vcpu_stat *guest_stat(uint32_t g) { return &kit_stat->vcpu[stat_index[g]]; }

bool wait_done(uint32_t g, uint32_t value)
{
    uint64_t end = tsc() + PATIENCE;
    while (guest_shared(g)->done != value && tsc() < end)
        rest(2000);
    return guest_shared(g)->done == value;
}

bool becomes_set(const volatile uint64_t *word)
{
    for (uint64_t end = tsc() + PATIENCE; !*word && tsc() < end;)
        rest(2000);
    return *word;
}

uint64_t guest_exits(uint32_t g)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < CAUSE_COUNT; i++)
        sum += guest_stat(g)->exits[i];
    return sum;
}

void guest_start_state(struct exit_state *x)
{
    for (uint32_t i = SEG_ES; i <= SEG_GS; i++)
        x->seg[i] = (struct segment){0x10, 0xc93, 0xffffffff, 0};
    x->seg[SEG_CS] = (struct segment){8, 0xc9b, 0xffffffff, 0};
    x->seg[SEG_GDTR] = (struct segment){0, 0, 0x17, GDT};
    x->seg[SEG_IDTR] = (struct segment){0, 0, 0x7ff, IDT};
    x->seg[SEG_LDTR] = (struct segment){0, 0x82, 0, 0};
    x->seg[SEG_TR] = (struct segment){0, 0x8b, 0x67, GDT + 0x100};
    x->rax = x->rcx = x->rdx = x->rbx = 0;
    x->cpl = 0;
    x->cr0 = 0x11;
    x->cr2 = x->cr3 = x->cr4 = x->efer = x->inject = x->intr = 0;
    x->dr6 = 0xffff0ff0, x->dr7 = 0x400, x->xcr0 = 1;
    x->rip = GUEST_CODE, x->rsp = STACK, x->rflags = 2;
}

void guest_plain_vmm(uint64_t id, struct utcb *u)
{
    uint64_t event = id & 0xff;
    if (event == EVENT_START) {
        guest_start_state(&u->exit);
        u->mtd = GUEST_START_MTD;
    } else if (event == EVENT_HLT) {
        u->exit.rip = u->exit.next_rip;
        u->mtd = MTD_RIP | MTD_HALT;
    } else {
        u->mtd = event == EVENT_RECALL ? MTD_HALT : MTD_KILL;
    }
    pt_reply(0);
}

static void write_memory(uint32_t g, const uint8_t *code)
{
    volatile uint64_t *memory = (volatile uint64_t *)guest_window(g);
    volatile uint8_t *to = (volatile uint8_t *)memory + GUEST_CODE;
    for (uint32_t i = 0; i < 0x12000 / 8; i++)
        memory[i] = 0;
    for (uint32_t i = 0; i < CODE_MAX; i++)
        to[i] = code[i];
    guest_fit_hypercalls(to, to + CODE_MAX);
    memory[GDT / 8 + 1] = 0x00cf9b000000ffff;
    memory[GDT / 8 + 2] = 0x00cf93000000ffff;
}

static bool make_portals(uint32_t g, guest_vmm *vmm, uint64_t mtd)
{
    bool ok = true;
    for (uint64_t e = 0; ok && e < EVENT_COUNT; e++) {
        ok = pt_create(G_PORTAL, SLOT_ROOT_PD, KIT_THREAD + g, (uint64_t)(uintptr_t)vmm, mtd,
                       e | g << 8) == OK;
        ok = ok && delegate(SLOT_ROOT_PD, G_PORTAL, G_GUEST + g, GUEST_EVENTS0 + e, PT_CALL) == OK;
        kit_empty(G_PORTAL);
    }
    return ok;
}

bool guest_make(uint32_t g, const uint8_t *code, uint64_t pd, uint32_t core, guest_vmm *vmm,
                uint64_t mtd)
{
    write_memory(g, code);
    bool ok = pd_create(G_GUEST + g, SLOT_ROOT_PD, SLOT_ROOT_SYS, PD_GUEST, 0, 24, 16, 0) == OK;
    ok = ok && mr_map(G_MEMORY, G_GUEST + g, MR_READ | MR_WRITE | MR_EXEC, 0, g * GUEST_FRAMES,
                      GUEST_FRAMES) == OK;
    struct result r = ec_create(G_VCPU + g, G_GUEST + g, core, EC_VCPU, 0, GUEST_EVENTS0, 0, 0);
    stat_index[g] = r.value % MAX_VCPUS;
    return ok && r.status == OK && kit_handler(g, pd, core) && make_portals(g, vmm, mtd);
}

bool guest_end(uint32_t g)
{
    bool ok = destroy(G_GUEST + g) == OK;
    kit_end(g);
    kit_empty(G_GUEST + g);
    kit_empty(G_VCPU + g);
    kit_empty(G_TIME + g);
    return ok;
}

bool guests_memory(void)
{
    bool ok = sm_create(G_NAP, SLOT_ROOT_PD, 0) == OK && kit_region(G_MEMORY);
    ok = ok && mr_split(G_SPARE, SLOT_ROOT_PD, G_MEMORY, GUESTS * GUEST_FRAMES) == OK;
    ok = ok && mr_split(G_REST, SLOT_ROOT_PD, G_SPARE, GUEST_SPARE) == OK;
    return ok && mr_map(G_MEMORY, SLOT_ROOT_PD, MR_READ | MR_WRITE, WINDOW, 0,
                        GUESTS * GUEST_FRAMES) == OK;
}

/* Not more than there are: kit_cores() would wait for one that does not come. */
bool guests_cores(uint32_t cores)
{
    bool ok = true;
    for (uint32_t i = 1; ok && i < cores; i++)
        ok = kit_core(i);
    return ok;
}
