/* Interrupts and exceptions. */
#include <apic.h>
#include <ipc.h>
#include <sched.h>

enum { NMI = 2, PAGE_FAULT = 14, MACHINE_CHECK = 18, EXCEPTIONS = 32 };

void trap_user(uint64_t vector, uint64_t error);
void trap_kernel(uint64_t vector, uint64_t error, uint64_t rip);

static void say(const char *s)
{
    for (; *s; s++) {
        while (!(cpu_inb(0x3f8 + 5) & 0x20))
            cpu_relax();
        cpu_outb(0x3f8, (uint8_t)*s);
    }
}

static void say_hex(uint64_t v)
{
    char text[18] = " ";
    for (unsigned i = 0; i < 16; i++)
        text[i + 1] = "0123456789abcdef"[v >> (60 - 4 * i) & 15];
    say(text);
}

void kernel_panic(const char *what, uint64_t vector, uint64_t rip)
{
    say("\r\nhairline: kernel stopped: ");
    say(what);
    say_hex(vector);
    say_hex(rip);
    say_hex(cpu_cr2());
    say("\r\n");
    cpu_reset();
}

static void interrupt(uint64_t vector)
{
    core_come_in(); /* where the core was idle */
    if (vector != VECTOR_SPURIOUS)
        apic_eoi();
    if (vector == VECTOR_TIMER) {
        sched_tick();
    } else if (vector == VECTOR_IPI) {
        core_take_inbox();
        core_sync_poll();
    }
}

void trap_user(uint64_t vector, uint64_t error)
{
    if (vector >= EXCEPTIONS) {
        interrupt(vector);
        return;
    }
    if (vector == MACHINE_CHECK)
        kernel_panic("machine check", error, cpu_core()->current->regs.rip);
    if (vector == NMI) /* on the way back we look at the doorbell */
        return;
    struct ec *ec = cpu_core()->current;
    ec->fault[0] = vector;
    ec->fault[1] = error;
    ec->fault[2] = vector == PAGE_FAULT ? cpu_cr2() : 0; /* else it is the trace of somebody else's fault */
    ipc_event(ec, 0);
}

void trap_kernel(uint64_t vector, uint64_t error, uint64_t rip)
{
    if (vector < EXCEPTIONS)
        kernel_panic("exception, address, CR2:", vector | error << 32, rip);
    interrupt(vector);
}
