/* Guests of a few bytes that count their interrupts. See devices.h. */
#include "devices.h"

static volatile bool unexpected[4];
static uint64_t vcpu_index[4];

/* The attributes of a segment register in real mode. */
static uint16_t attributes_of(uint32_t segment)
{
    switch (segment) {
    case SEG_CS: return 0x9b;
    case SEG_LDTR: return 0x82;
    case SEG_TR: return 0x8b;
    default: return 0x93;
    }
}

/* Handler of guest `n`: real mode at CODE with an empty stack. */
static void on_start(uint64_t n)
{
    struct utcb *u = kit_utcb((uint32_t)n);
    struct exit_state *x = &u->exit;
    memset(x, 0, sizeof(*x));
    for (uint32_t i = SEG_ES; i <= SEG_TR; i++)
        x->seg[i] = (struct segment){.attrib = attributes_of(i), .limit = 0xffff};
    x->cr0 = 0x10;
    x->xcr0 = 1;
    x->dr6 = 0xffff0ff0;
    x->dr7 = 0x400;
    x->rip = CODE;
    x->rflags = 2;
    x->rsp = 0x1000;
    u->mtd = MTD_RIP | MTD_FLAGS | MTD_CONTROL | MTD_SEGS | MTD_EFER;
    pt_reply(0);
}

static void on_exit(uint64_t n)
{
    unexpected[n] = true;
    kit_utcb((uint32_t)n)->mtd = MTD_KILL;
    pt_reply(0);
}

/* incw COUNTER; write 0 to x2APIC register 80Bh (EOI); iret. 32 bytes each. */
static void put_handler(uint8_t *code, uint16_t counter)
{
    static const uint8_t text[] = {0xff, 0x06, 0,    0,    0x66, 0x50, 0x66, 0x51, 0x66, 0x52, 0x66,
                                   0xb9, 0x0b, 0x08, 0,    0,    0x66, 0x31, 0xc0, 0x66, 0x31, 0xd2,
                                   0x0f, 0x30, 0x66, 0x5a, 0x66, 0x59, 0x66, 0x58, 0xcf};
    memcpy(code, text, sizeof(text));
    code[2] = (uint8_t)counter;
    code[3] = (uint8_t)(counter >> 8);
}

/* Where the handler of `vector` stands, from CODE. */
static uint8_t handler_offset(uint32_t vector)
{
    if (vector == VECTOR_A)
        return 0x40;
    return vector == VECTOR_B ? 0x60 : 0x80;
}

/* Turn the local APIC on (80Fh), then sleep with interrupts on. */
static void put_guest(uint8_t *page)
{
    static const uint8_t text[] = {0x66, 0xb9, 0x0f, 0x08, 0,    0,    0x66, 0xb8, 0xff, 0x01, 0,
                                   0,    0x66, 0x31, 0xd2, 0x0f, 0x30, 0xfb, 0xf4, 0xeb, 0xfd};
    memset(page, 0, PAGE_SIZE);
    memcpy(page + CODE, text, sizeof(text));
    for (uint16_t i = 0; i < 3; i++)
        put_handler(page + CODE + 0x40 + i * 0x20, (uint16_t)(COUNT_A + 2 * i));
    for (uint32_t v = 0; v < 255; v++) {
        page[4 * v] = handler_offset(v);
        page[4 * v + 1] = CODE >> 8;
    }
}

uint16_t guest_count(uint32_t n, uint32_t counter)
{
    return *(volatile uint16_t *)(at(F_GUEST + n) + counter);
}

uint64_t guest_nmis(uint32_t n) { return kit_stat->vcpu[vcpu_index[n]].exits[CAUSE_NMI]; }

bool make_guest(uint32_t n)
{
    uint64_t pd = D_GUEST + n;
    put_guest(at(F_GUEST + n));
    bool ok = pd_create(pd, SLOT_ROOT_PD, SLOT_ROOT_SYS, PD_GUEST, 0, 40, 40, 0) == OK;
    ok = ok && mr_map(D_RAM, pd, MR_READ | MR_WRITE | MR_EXEC, 0, F_GUEST + n, 1) == OK &&
         kit_handler(n, SLOT_ROOT_PD, n);
    for (uint32_t event = 0; ok && event < EVENT_COUNT; event++) {
        ok = pt_create(D_PORTAL, pd, KIT_THREAD + n,
                       address_of(event ? (void *)(uintptr_t)on_exit : (void *)(uintptr_t)on_start),
                       0, n) == OK &&
             delegate(SLOT_ROOT_PD, D_PORTAL, pd, EVENTS + event, PT_CALL) == OK &&
             revoke(SLOT_ROOT_PD, D_PORTAL) == OK;
    }
    struct result vcpu = ec_create(D_VCPU + n, pd, n, EC_VCPU, 0, EVENTS, 0, 0);
    vcpu_index[n] = vcpu.value;
    return ok && vcpu.status == OK &&
           sc_create(D_SC + n, SLOT_ROOT_SYS, D_VCPU + n, 1, SC_WHOLE_CORE, 0) == OK;
}

void end_guest(uint32_t n)
{
    kit_check("a guest ends", destroy(D_GUEST + n) == OK && !unexpected[n]);
    kit_end(n);
}
