/* Interrupts and exceptions. */
#include <apic.h>
#include <pt.h>
#include <sched.h>

enum { NMI = 2, PAGE_FAULT = 14, MACHINE_CHECK = 18, EXCEPTIONS = 32 };

void trap_user(uint64_t vector, uint64_t error);
void trap_kernel(uint64_t vector, uint64_t error, uint64_t rip);

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

/* Say the first bank that has something (APM2 9.3.2): its status and its address. */
static void __attribute__((noreturn)) machine_check(void)
{
    uint32_t last = 4 * ((uint32_t)cpu_rdmsr(MSR_MCG_CAP) & 0xff) - 4, bank = 0;
    while (bank < last && !(cpu_rdmsr(MSR_MC0_STATUS + bank) >> 63))
        bank += 4;
    uint64_t status = cpu_rdmsr(MSR_MC0_STATUS + bank), has_address = status & 1ull << 58;
    panic("machine check, its bank's status and address:", status,
          has_address ? cpu_rdmsr(MSR_MC0_ADDR + bank) : 0);
}

void trap_user(uint64_t vector, uint64_t error)
{
    if (vector >= EXCEPTIONS) {
        interrupt(vector);
        return;
    }
    if (vector == MACHINE_CHECK)
        machine_check();
    if (vector == NMI) /* on the way back we look at the doorbell */
        return;
    struct ec *ec = cpu_core()->current;
    ec->fault[0] = vector;
    ec->fault[1] = error;
    ec->fault[2] =
        vector == PAGE_FAULT ? cpu_cr2() : 0; /* else it is the trace of somebody else's fault */
    pt_event(ec, 0);
}

void trap_kernel(uint64_t vector, uint64_t error, uint64_t rip)
{
    if (vector == MACHINE_CHECK)
        machine_check();
    if (vector < EXCEPTIONS)
        panic("exception, address, CR2:", vector | error << 32, rip);
    interrupt(vector);
}
