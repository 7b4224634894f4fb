/* Processors that Linux gives up, the last ones: it has the first for itself. */
#include <linux/cpu.h>
#include <linux/delay.h>
#include <asm/apic.h>
#include <asm/msr.h>

#include "launch.h"

#define X2APIC_ICR 0x830
#define INIT       0x4500 /* level: assert (APM2 16.5) */
#define STARTUP    0x4600

static unsigned int kept[LAUNCH_KEPT], taken; /* Linux's numbers of them */
static bool held;

static void send(unsigned int cpu, u32 command)
{
    wrmsrl(X2APIC_ICR, (u64)per_cpu(x86_cpu_to_apicid, cpu) << 32 | command);
    udelay(200);
}

const char *processors_take(struct launch *l)
{
    unsigned int cpu;
    for (cpu = nr_cpu_ids - 1; cpu > 0 && taken < l->kept; cpu--) {
        if (!cpu_online(cpu))
            continue;
        if (remove_cpu(cpu))
            return "Linux does not give up a processor: see its log";
        image_set_kept(l, taken, per_cpu(x86_cpu_to_apicid, cpu));
        kept[taken++] = cpu;
    }
    return taken == l->kept ? NULL : "Linux has too few processors: lower `cores` in the plan";
}

/* All of them stop first: one that Linux does not take must not go on in memory that is Linux's,
   and one of Hairline's must not miss another. */
void processors_give(void)
{
    unsigned int i;
    for (i = 0; i < taken; i++)
        send(kept[i], INIT);
    for (; taken; taken--)
        if (add_cpu(kept[taken - 1]))
            pr_err("hairline: processor %u does not come back\n", kept[taken - 1]);
}

uint32_t processors_wake(uint32_t address)
{
    unsigned int i;
    cpu_hotplug_disable();
    held = true;
    for (i = 0; i < taken; i++) {
        send(kept[i], INIT);
        send(kept[i], STARTUP | address >> PAGE_SHIFT);
        send(kept[i], STARTUP | address >> PAGE_SHIFT);
    }
    return per_cpu(x86_cpu_to_apicid, kept[0]);
}

void processors_free_hotplug(void)
{
    if (held)
        cpu_hotplug_enable();
    held = false;
}
