#include <root/console/probe.h>
#include <root/hardware/assign.h>
#include <root/hardware/iommu.h>
#include <root/vm/device.h>
#include <lib/format.h>

static void report_cores(void)
{
    for (uint32_t i = 0; i < machine.cores; i++)
        console_say("probe core=%u apic_id=%u thread_of=%u", i, kernel_stat()->core[i].apic_id,
                    machine.thread_of[i]);
}

static void report_memory(void)
{
    for (const struct boot_range *r = machine.info->range;
         r < machine.info->range + machine.info->ranges; r++)
        if (r->kind == RANGE_RAM)
            console_say("probe memory=0x%lx bytes=%lu", r->base, r->size);
}

static void report_iommus(void)
{
    const struct scopes *s = &machine.acpi.scopes;
    const char *wrong = iommu_problem();
    for (uint32_t i = 0; i < s->units; i++)
        console_say("probe iommu=%u kind=%s base=0x%lx", i,
                    s->unit[i].kind == IOMMU_VTD ? "VT-d" : "AMD-Vi", s->unit[i].base);
    console_say("probe assignment possible=%s why=\"%s\"", wrong ? "no" : "yes",
                wrong ? wrong : "");
}

/* A VM gets an isolation group as a whole (device.c, check_group). So why can no VM have `f`
 * together with its group? NULL: one can. */
static const char *group_wrong(const struct pci_function *f)
{
    static char text[80];
    uint32_t size = 0;
    for (uint32_t i = 0; i < pci_count(); i++) {
        const struct pci_function *other = pci_function(i);
        uint32_t rid = other->rid;
        if (other->header != 0 || pci_group(other) != pci_group(f))
            continue;
        size++;
        if (assign_wrong(other)) {
            format(text, sizeof(text), "its group has %02x:%02x.%x, which no VM can have", rid >> 8,
                   rid >> 3 & 31, rid & 7);
            return text;
        }
    }
    return size > PLAN_DEVICES ? "its group has more functions than a VM can have" : 0;
}

/* One function; `iommu` is -1 where no unit serves it. */
static void report_function(const struct pci_function *f)
{
    uint32_t unit, group = pci_group(f), rid = f->rid;
    const char *wrong = assign_wrong(f), *sign = iommu_of(f, &unit) ? "-" : "";
    wrong = wrong ? wrong : group_wrong(f);
    console_say("probe function=%02x:%02x.%x id=%04x:%04x class=0x%04x iommu=%s%u "
                "group=%02x:%02x.%x vfs=%u assignable=%s why=\"%s\"",
                rid >> 8, rid >> 3 & 31, rid & 7, f->id & 0xffff, f->id >> 16, f->class, sign,
                *sign ? 1 : unit, group >> 8, group >> 3 & 31, group & 7, f->vfs,
                wrong ? "no" : "yes", wrong ? wrong : "");
}

void probe_report(void)
{
    report_cores();
    report_memory();
    report_iommus();
    for (uint32_t i = 0; i < pci_count(); i++)
        report_function(pci_function(i));
    console_say("probe end=1");
}
