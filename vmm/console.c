/* The console's two byte rings in the control page, shared with root: the UART's and the virtio
 * console's. */
#include <vmm/lock.h>
#include <lib/ring.h>

static struct lock console_lock;
static enum console_device owner = CONSOLE_NOBODY;
static bool prompt[2];

uint32_t console_write(const char *data, uint32_t size)
{
    struct vm_control *c = control();
    lock_take(&console_lock, NO_VCPU);
    uint32_t before = c->out_head;
    uint32_t n = ring_write(c->out, CONSOLE_OUT, &c->out_head, &c->out_tail, data, size);
    lock_give(&console_lock);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    /* Lost wake-up: the head is written before the tail is read, and root writes its tail before it
       reads the head again. If root had taken all, it may be asleep: ring. */
    if (n && c->out_tail == before)
        bell_ring(VMM_SM_ROOT);
    return n;
}

uint32_t console_space(void)
{
    uint32_t used = control()->out_head - control()->out_tail;
    return used > CONSOLE_OUT ? 0 : CONSOLE_OUT - used;
}

uint32_t console_read(char *data, uint32_t size)
{
    struct vm_control *c = control();
    lock_take(&console_lock, NO_VCPU);
    uint32_t n = ring_read(c->in, CONSOLE_IN, &c->in_head, &c->in_tail, data, size);
    lock_give(&console_lock);
    return n;
}

bool console_ready(void)
{
    uint32_t used = control()->in_head - control()->in_tail;
    return used && used <= CONSOLE_IN;
}

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
