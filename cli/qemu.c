#include <cli/qemu.h>
#include <cli/host.h>

#include <stdlib.h>
#include <string.h>

struct line {
    const char **argv;
    uint32_t used;
    bool full;
};

static const char *const cpu = "EPYC,+svm,+npt,+x2apic";

/* By enum iommu_kind: the machine, and the IOMMU, which must come before all devices. */
static const char *const machines[] = {"q35", "q35,kernel-irqchip=split", "q35,kernel-irqchip=split"};
static const char *const iommus[] = {NULL, "intel-iommu,intremap=on,eim=on", "amd-iommu,intremap=on,xtsup=on,pt=off"};

const char *qemu_program(void)
{
    const char *given = getenv("HAIRLINE_QEMU");
    return given ? given : "qemu-system-x86_64";
}

static void add(struct line *line, const char *word)
{
    line->full |= line->used == QEMU_ARGS - 1;
    if (!line->full)
        line->argv[line->used++] = word;
}

static void add_pair(struct line *line, const char *option, const char *value)
{
    add(line, option);
    add(line, value);
}

static const char *modules(const char *at, const struct job *job)
{
    const char *all = host_text("%s/root.img root,%s/vmm.img vmm,%s/lan.img lan,%s/plan.bin plan", at, at, at, at);
    for (uint32_t i = 0; i < job->plan.files; i++)
        all = host_text("%s,%s/f%u f%u", all, at, i, i);
    return all;
}

static void add_machine(struct line *line, const struct job *job)
{
    add_pair(line, "-machine", machines[job->iommu]);
    add_pair(line, "-cpu", cpu);
    add(line, "-nodefaults");
    add(line, "-no-user-config");
    add(line, "-no-reboot");
    add_pair(line, "-display", "none");
    add_pair(line, "-serial", "stdio");
    add_pair(line, "-m", host_text("%luM", job->memory >> 20));
    add_pair(line, "-smp", host_text("%u", job->cores));
}

/* A device on a root port of its own, but with AMD's IOMMU on bus 0: it asks for a port's bus number before firmware
   gives one, and takes what is behind it for 00:00.0. What is written to a disk is lost. */
static void add_device(struct line *line, const char *folder, const struct job *job, uint32_t i)
{
    const struct job_device *device = &job->device[i];
    bool port = job->iommu != IOMMU_AMDVI;
    const char *bus = port ? host_text("port%u", i) : "pcie.0";
    if (port)
        add_pair(line, "-device", host_text("pcie-root-port,id=%s,chassis=%u,slot=%u", bus, i + 1, i + 1));
    if (device->kind == DEVICE_IGB) {
        add_pair(line, "-netdev", host_text("user,id=net%u%s", i, device->forward));
        add_pair(line, "-device", host_text("igb,bus=%s,netdev=net%u,mac=02:68:6c:01:00:%02x", bus, i, i + 1));
    } else {
        add_pair(line, "-drive", host_text("if=none,id=disk%u,format=raw,snapshot=on,file=%s/d%u", i, folder, i));
        add_pair(line, "-device", host_text("nvme,bus=%s,drive=disk%u,serial=hairline-%u", bus, i, i));
    }
}

static bool has_word(char *const words[], const char *word)
{
    while (*words && strcmp(*words, word) != 0)
        words++;
    return *words != NULL;
}

/* QEMU 10.0 can lose bits of CPU 0's mode, nested paging and GIF among them, when another CPU loads x87 state (XRSTOR,
   FXRSTOR, FLDENV, FRSTOR) at the same moment. They change only where VMs run: then its CPUs take turns. */
static const char *accelerator(const struct job *job)
{
    for (uint32_t i = 0; i < job->plan.vms; i++)
        if (job->plan.vm[i].cores & 1 && job->cores > 1) {
            host_say("slower: `%s` may run on core 0, where QEMU 10 loses bits of the processor's mode unless the emulated cores take "
                     "turns on one of the host's (thread=single); keep VMs off core 0, or say -- -accel ...",
                     job->plan.vm[i].name);
            return "tcg,thread=single";
        }
    return "tcg";
}

/* The last -cpu, -m, -smp counts, but the first -accel. */
bool qemu_arguments(const char *folder, const struct job *job, char *const args[], const char *argv[QEMU_ARGS])
{
    struct line line = {.argv = argv};
    add(&line, qemu_program());
    add_machine(&line, job);
    if (iommus[job->iommu])
        add_pair(&line, "-device", iommus[job->iommu]);
    add_pair(&line, "-kernel", host_text("%s/hairline.elf", folder));
    add_pair(&line, "-initrd", modules(folder, job));
    for (uint32_t i = 0; i < job->devices; i++)
        add_device(&line, folder, job, i);
    if (!has_word(args, "-accel"))
        add_pair(&line, "-accel", accelerator(job));
    while (*args)
        add(&line, *args++);
    argv[line.used] = NULL;
    return !line.full || host_fail("too many arguments for QEMU");
}
