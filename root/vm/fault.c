#include <root/console/console.h>
#include <root/console/uart.h>
#include <root/vm/fault.h>
#include <root/vm/vm.h>
#include <lib/bell.h>
#include <lib/string.h>

_Static_assert((int)LAN_FAULT == (int)VMM_FAULT, "one place for fault portals");

#define STACK     1024u
#define OWN_STACK 4096u

enum note { NOTE_NONE, NOTE_WRITING, NOTE_DONE, NOTE_TOLD };

static struct {
    /* enum note: the first thread to fault takes it; RELEASE once `fault` is whole */
    volatile uint32_t note;
    struct fault fault;
} seen[FAULT_DOMAINS];

/* Handler threads, by index; 0 is for root's own faults. */
static struct {
    uint32_t domain, core;
} handler[MAX_HANDLERS] = {{FAULT_ROOT, 0}};
static uint32_t handlers = 1;

static _Alignas(16) uint8_t stack[MAX_HANDLERS][STACK], own_stack[OWN_STACK];

/* End a fault handler's call: the faulting thread stops. The words are cleared, because the same
   handler serves calls (fault_serve), and a call that sends few words would see old ones. */
static void __attribute__((noreturn)) done(struct utcb *utcb)
{
    memset(utcb->word, 0, sizeof(utcb->word));
    utcb->mtd = MTD_KILL;
    pt_reply(0);
}

/* Runs on the core of the faulting thread, on that thread's time. */
static void __attribute__((noreturn)) handle(uint64_t domain, struct utcb *utcb)
{
    const struct exit_state *e = &utcb->exit;
    uint32_t none = NOTE_NONE;
    if (__atomic_compare_exchange_n(&seen[domain].note, &none, NOTE_WRITING, false,
                                    __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        seen[domain].fault = (struct fault){e->info.number, e->info.error, e->info.address, e->rip};
        __atomic_store_n(&seen[domain].note, NOTE_DONE, __ATOMIC_RELEASE);
        bell_ring(SLOT_BELL);
    }
    done(utcb);
}

/* Root's own fault. The VMs run on, and nobody watches them any more. A batch run ends the machine:
 * nobody could report its end. */
static void __attribute__((noreturn)) handle_own(uint64_t domain, struct utcb *utcb)
{
    const struct exit_state *e = &utcb->exit;
    (void)domain;
    console_say("root died: vector %lu, error 0x%lx, address 0x%lx, rip 0x%lx",
                (uint64_t)e->info.number, (uint64_t)e->info.error, e->info.address, e->rip);
    uart_finish();
    if (machine.info->flags & BOOT_BATCH)
        acpi_reset(&machine.acpi);
    done(utcb);
}

static uint64_t make_handler(uint32_t i, uint32_t core, uint8_t *top)
{
    return ec_create(SLOT_HANDLER + i, SLOT_ROOT_PD, core, EC_HANDLER, ROOT_HUTCB(i), 0, 0,
                     (uint64_t)top)
        .status;
}

uint64_t fault_init(void)
{
    uint64_t status = make_handler(0, 0, own_stack + OWN_STACK);
    if (status == OK)
        status = pt_create(SLOT_ROOT_FAULT, SLOT_ROOT_PD, SLOT_HANDLER, (uint64_t)handle_own,
                           MTD_INFO | MTD_RIP, 0);
    return status;
}

void fault_forget(uint32_t domain)
{
    for (uint32_t i = 1; i < handlers; i++)
        if (handler[i].domain == domain)
            handler[i].domain = FAULT_NOBODY;
}

/* The next one; where all have been made, one of nobody's ends, whose core nobody asks for. */
static uint32_t free_handler(void)
{
    for (uint32_t i = 1; handlers == MAX_HANDLERS && i < handlers; i++)
        if (handler[i].domain == FAULT_NOBODY) {
            ignore(destroy(SLOT_HANDLER + i)); /* it is there */
            return i;
        }
    return handlers;
}

uint64_t fault_prepare(uint32_t domain, uint64_t cores)
{
    for (uint32_t i = 1; i < handlers; i++) /* those of VMs that are gone first */
        if (handler[i].domain == FAULT_NOBODY && cores >> handler[i].core & 1) {
            handler[i].domain = domain;
            cores &= ~(1ull << handler[i].core);
        }
    for (; cores; cores &= cores - 1) {
        uint32_t core = (uint32_t)__builtin_ctzll(cores), i = free_handler();
        uint64_t status = i < MAX_HANDLERS ? make_handler(i, core, stack[i] + STACK) : NO_MEMORY;
        if (status != OK)
            return status;
        handler[i].domain = domain;
        handler[i].core = core;
        handlers += i == handlers;
    }
    return OK;
}

uint64_t fault_serve_on(uint32_t domain, uint32_t core, uint64_t pd,
                        void (*entry)(uint64_t, struct utcb *), uint64_t slot, uint64_t mtd,
                        uint64_t id)
{
    for (uint32_t i = 0; i < handlers; i++)
        if (handler[i].domain == domain && handler[i].core == core)
            return slot_hand_over(
                pt_create(SLOT_SCRATCH, pd, SLOT_HANDLER + i, (uint64_t)entry, mtd, id), pd, slot,
                PT_CALL);
    return BAD_CORE;
}

uint64_t fault_serve(uint32_t domain, uint64_t pd, void (*entry)(uint64_t, struct utcb *),
                     uint64_t slot, uint64_t mtd)
{
    uint64_t status = OK;
    for (uint32_t i = 0; i < handlers && status == OK; i++)
        if (handler[i].domain == domain)
            status = fault_serve_on(domain, handler[i].core, pd, entry, slot + handler[i].core, mtd,
                                    domain);
    return status;
}

uint64_t fault_watch(uint32_t domain, uint64_t pd)
{
    /* Old words: a thread of the former life may have been ended before done() cleared them. */
    for (uint32_t i = 1; i < handlers; i++)
        if (handler[i].domain == domain)
            memset(((struct utcb *)ROOT_HUTCB(i))->word, 0, UTCB_WORDS * sizeof(uint64_t));
    seen[domain].note = NOTE_NONE;
    return fault_serve(domain, pd, handle, VMM_FAULT, MTD_INFO | MTD_RIP);
}

bool fault_seen(uint32_t domain, struct fault *fault)
{
    if (__atomic_load_n(&seen[domain].note, __ATOMIC_ACQUIRE) != NOTE_DONE)
        return false;
    *fault = seen[domain].fault;
    seen[domain].note = NOTE_TOLD; /* later faults of its threads are not told */
    return true;
}
