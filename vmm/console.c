/* The byte rings in the control page, shared with root: the console's, which UART and virtio
 * console have together, and the control line's. */
#include <vmm/lock.h>
#include <lib/ring.h>

#define UART_FIFO 16u

static struct lock rings_lock;
static enum console_device owner = CONSOLE_NOBODY;
static bool prompt[2];

/* Append to a ring to root what fits of `size` bytes; the bytes taken. */
static uint32_t console_pass(char *ring, uint32_t ring_size, volatile uint32_t *head,
                             const volatile uint32_t *tail, const char *data, uint32_t size)
{
    lock_take(&rings_lock, NO_VCPU);
    uint32_t before = *head, n = ring_write(ring, ring_size, head, tail, data, size);
    lock_give(&rings_lock);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    /* Lost wake-up: the head is written before the tail is read, and root writes its tail before it
       reads the head again. If root had taken all, it may be asleep: ring. */
    if (n && *tail == before)
        bell_ring(VMM_SM_ROOT);
    return n;
}

uint32_t console_write(const char *data, uint32_t size)
{
    struct vm_control *c = control();
    return console_pass(c->out, CONSOLE_OUT, &c->out_head, &c->out_tail, data, size);
}

uint32_t console_ask(const char *data, uint32_t size)
{
    struct vm_control *c = control();
    return console_pass(c->ask, CONTROL_ASK, &c->ask_head, &c->ask_tail, data, size);
}

bool console_has_room(void)
{
    return control()->out_head - control()->out_tail <= CONSOLE_OUT - UART_FIFO;
}

/* Take what there is of a ring from root, `size` bytes at most; the bytes taken. */
static uint32_t console_fetch(const char *ring, uint32_t ring_size, const volatile uint32_t *head,
                              volatile uint32_t *tail, char *data, uint32_t size)
{
    lock_take(&rings_lock, NO_VCPU);
    uint32_t n = ring_read(ring, ring_size, head, tail, data, size);
    lock_give(&rings_lock);
    return n;
}

uint32_t console_read(char *data, uint32_t size)
{
    struct vm_control *c = control();
    return console_fetch(c->in, CONSOLE_IN, &c->in_head, &c->in_tail, data, size);
}

uint32_t console_answer(char *data, uint32_t size)
{
    struct vm_control *c = control();
    return console_fetch(c->answer, CONTROL_ANSWER, &c->answer_head, &c->answer_tail, data, size);
}

bool console_ready(void) { return control()->in_head - control()->in_tail - 1 < CONSOLE_IN; }

bool console_answered(void) { return control()->answer_head != control()->answer_tail; }

/* Input goes to the device that wrote last. Exception: it wrote a whole line while the other is at
 * a prompt; then that was a message, and the other keeps the input. */
void console_wrote(enum console_device device, char last)
{
    enum console_device other = device == CONSOLE_UART ? CONSOLE_VIRTIO : CONSOLE_UART;
    enum console_device before = owner;
    prompt[device] = last != '\n';
    owner = prompt[device] || !prompt[other] ? device : other;
    if (owner == CONSOLE_VIRTIO && before == CONSOLE_UART && console_ready())
        bell_ring(VMM_SM_WORK); /* the virtio console takes what the UART's driver left */
}

bool console_hears(enum console_device device)
{
    return owner == device || owner == CONSOLE_NOBODY;
}
