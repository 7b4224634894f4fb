/*
 * A LAN switch that plays all its rights: its bell and a semaphore to sleep on,
 * the bells of its VMMs, its rings, any call, and its end. It stands in lan.img's
 * place. What it calls may be refused, so it ignores every status. The MTU of its LAN, less 1500,
 * says what it does (enum act).
 */
#include <lan/lan_ring.h>
#include <lan/switch.h>
#include <lib/call.h>

#define NAP       100u  /* ticks */
#define ROUNDS    1024u /* of one act in a mixture, at most */
#define CALLS     64u   /* call numbers, those that there are among them */
#define FAULTS    12u   /* slots of its fault portals: to call one is to die */
#define FAULT_END 28u
#define DEATH     512u /* one of so many acts of what is mortal */

static struct lan_switch lan;
static const struct lan_config *const config = (const struct lan_config *)LAN_CONFIG;

void switch_bell(uint32_t port) { ignore(sm_up(LAN_SM_PORT + port)); }
void switch_pause(void) {}

static uint64_t any(void)
{
    static uint64_t state;
    state = state ? state : tsc() | 1;
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static void *port_at(uint64_t port)
{
    return (void *)(LAN_PORTS + port % config->ports * LAN_PORT_STRIDE);
}
static struct lan_ring *any_ring(void)
{
    return any() & 1 ? lan_to_switch(port_at(any())) : lan_to_vm(port_at(any()), config->mtu);
}

/* ---- acts: one round of each ------------------------------------------------- */

static void sleep(void) { ignore(sm_down(LAN_SM_NAP, 0)); }
static void spin(void) {}
static void nap(void) { ignore(sm_down(any() & 1 ? LAN_SM : LAN_SM_NAP, tsc() + NAP)); }
static void ring(void) { switch_bell((uint32_t)(any() % config->ports)); }

/* Indices near each other, near their overflow, or anything; sizes likewise. */
static void scribble(void)
{
    struct lan_ring *r = any_ring();
    uint64_t value = any();
    uint32_t word = value & 3 ? (uint32_t)(value >> 32) : r->tail + (uint32_t)(value >> 32) % 130;
    switch (value >> 2 & 3) {
    case 0: r->head = word; break;
    case 1: r->tail = word; break;
    case 2:
        lan_ring_slot(r, config->mtu, word)->size =
            value & 16 ? (uint32_t)any() % 2048 : (uint32_t)any();
        break;
    default:
        ((volatile uint64_t *)port_at(any()))[any() % (LAN_PORT_BYTES(config->mtu) / 8)] = any();
        break;
    }
    if (value & 32)
        ring();
}

/* A frame that nobody sent, of any size. */
static void invent(void)
{
    uint64_t port = any() % config->ports;
    struct lan_ring *r = lan_to_vm(port_at(port), config->mtu);
    uint32_t size = any() & 3 ? 14 + (uint32_t)any() % 1500 : (uint32_t)any() % LAN_FRAME_MAX;
    struct lan_frame *f = lan_ring_free(r, config->mtu, size);
    if (!f)
        return;
    f->size = any() & 3 ? size : (uint32_t)any();
    for (uint32_t i = 0; i < sizeof f->offload && any() & 3; i++)
        ((uint8_t *)&f->offload)[i] = (uint8_t)any();
    for (uint32_t i = 0; i < 32; i++)
        f->data[i] = (uint8_t)any();
    if (lan_ring_publish(r, config->mtu, size))
        switch_bell((uint32_t)port);
}

/* An argument that may name a slot in each of its places, but for the portals. */
static uint64_t argument(void)
{
    uint64_t value = any(), slot = value >> 48 & 63;
    if (value & 1)
        return value;
    if (slot >= FAULTS && slot < FAULT_END)
        slot = LAN_SM;
    return slot * 0x1000100010001ull;
}

static void call(void)
{
    uint64_t number = any() % CALLS, first = argument();
    bool waits = number == CALL_PT_REPLY || number == CALL_SM_DOWN, portal = number == CALL_PT_CALL;
    if (!waits && !(portal && (first & 0xffff) >= FAULTS && (first & 0xffff) < FAULT_END))
        ignore(call5(number, first, argument(), argument(), argument(), argument()).status);
}

static void forward(void) { switch_turn(&lan); }

static void die(void) { *(volatile uint64_t *)(any() & 1 ? 0 : any()) = any(); }

static void mixture(void);
static void mortal(void);

static void (*const act[])(void) = {mixture, sleep, spin,    nap, ring,  scribble,
                                    invent,  call,  forward, die, mortal};
enum { ACTS = sizeof(act) / sizeof(act[0]), FIRST_MIXED = 2, LAST_MIXED = ACTS - 3 };

static void mixture(void)
{
    uint64_t which = FIRST_MIXED + any() % (LAST_MIXED - FIRST_MIXED + 1);
    for (uint64_t rounds = any() % ROUNDS; rounds; rounds--)
        act[which]();
}

static void mortal(void)
{
    mixture();
    if (any() % DEATH == 0)
        die();
}

void main(void);
void main(void)
{
    switch_init(&lan, config, (uint8_t *)LAN_PORTS);
    for (;;)
        act[config->mtu < PLAN_MTU + ACTS ? config->mtu - PLAN_MTU : 0]();
}
