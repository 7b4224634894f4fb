#include <root/console/probe.h>
#include <root/hardware/assign.h>
#include <root/hardware/iommu.h>
#include <root/vm/device.h>

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

/* One function; `iommu` is -1 where no unit serves it. */
static void report_function(const struct pci_function *f)
{
    uint32_t unit, group = pci_group(f), rid = f->rid;
    bool reserved;
    const char *wrong = assign_wrong(f), *sign = iommu_of(f, &unit, &reserved) ? "" : "-";
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
