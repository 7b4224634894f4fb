#include <cli/host.h>
#include <cli/machine/firmware.h>
#include <cli/machine/iscsi.h>
#include <cli/machine/qemu.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define QEMU_OLDEST 9   /* the first with x2APIC in its emulation */
#define QEMU_ARGS   256 /* words of its command line, with the NULL */
/* Bytes of the machine from which on it may be more than the host has free: only what is touched
   is taken. */
#define LARGE (16ull << 30)
/* And from which on the processor has a server's addresses: 40 bits are too few for a TiB. */
#define WIDE (512ull << 30)

/* ---- its command line ---------------------------------------------------------- */

struct line {
    const char **argv;
    uint32_t used;
    bool full;
};

static const char *const cpu = "EPYC,+svm,+npt,+x2apic";

/* By enum iommu_kind: the machine, and the IOMMU, which must come before all devices. */
static const char *const machines[] = {"q35", "q35,kernel-irqchip=split",
                                       "q35,kernel-irqchip=split"};
static const char *const iommu_devices[] = {NULL, "intel-iommu,intremap=on,eim=on",
                                            "amd-iommu,intremap=on,xtsup=on,pt=off"};

static const char *program(void)
{
    const char *given = getenv("HAIRLINE_QEMU");
    return given ? given : "qemu-system-x86_64";
}

static void add_word(struct line *line, const char *word)
{
    line->full |= line->used == QEMU_ARGS - 1;
    if (!line->full)
        line->argv[line->used++] = word;
}

static void add_pair(struct line *line, const char *option, const char *value)
{
    add_word(line, option);
    add_word(line, value);
}

static const char *modules(const char *at, const struct job *job)
{
    const char *all = host_text("%s/root.img root,%s/vmm.img vmm,%s/lan.img lan,%s/plan.bin plan",
                                at, at, at, at);
    for (uint32_t i = 0; i < job->plan.files; i++)
        all = host_text("%s,%s/f%u f%u", all, at, i, i);
    return all;
}

/* The host system's: its console is the first serial line; Hairline's is one that the firmware does
   not look for, or it would write to both; a disk, whose writes are lost; and words by which its
   system knows that nobody types, that it is to put Hairline beneath itself, and that it commands
   the VMs beside. */
static void add_host_system(struct line *line, const char *folder, const struct job *job)
{
    add_pair(line, "-chardev", "socket,id=host,fd=3");
    add_pair(line, "-serial", "chardev:host");
    add_pair(line, "-chardev", "stdio,id=hairline");
    add_pair(line, "-device",
             host_text("isa-serial,iobase=0x%x,irq=4,chardev=hairline", HOST_SERIAL));
    add_pair(line, "-drive",
             host_text("if=none,id=host,format=raw,snapshot=on,file=%s/host", folder));
    add_pair(line, "-device", "nvme,drive=host,serial=hairline-host,bootindex=0");
    if (job->plan.flags & PLAN_BATCH)
        add_pair(line, "-smbios", "type=11,value=hairline.batch");
    if (job->host_late)
        add_pair(line, "-smbios", "type=11,value=hairline.late");
    if (job->plan.vm[plan_host_vm(&job->plan)].control)
        add_pair(line, "-smbios", "type=11,value=hairline.control");
}

static void add_machine(struct line *line, const struct job *job)
{
    const char *board = machines[job->iommu];
    add_pair(line, "-machine", job->uefi ? host_text("%s,smm=off", board) : board);
    add_pair(line, "-cpu", job->memory < WIDE ? cpu : host_text("%s,phys-bits=46", cpu));
    add_word(line, "-nodefaults");
    add_word(line, "-no-user-config");
    add_word(line, "-no-reboot");
    add_pair(line, "-display", "none");
    add_pair(line, "-m", host_text("%luM", job->memory >> 20));
    add_pair(line, "-smp", host_text("%u", job->cores));
}

/* With a backend of its own, whose size no later -m may change. */
static void add_large_memory(struct line *line, const struct job *job)
{
    add_pair(line, "-object",
             host_text("memory-backend-ram,id=ram,size=%luM,reserve=off", job->memory >> 20));
    add_pair(line, "-machine", "memory-backend=ram");
}

/* Add a device on a root port of its own. With AMD's IOMMU it is on bus 0 instead: QEMU's model
   asks for a port's bus number before firmware sets it, and takes what is behind it for 00:00.0.
   Writes to a disk are lost. */
static void add_device(struct line *line, const char *folder, const struct job *job, uint32_t i)
{
    const struct job_device *device = &job->device[i];
    bool port = job->iommu != IOMMU_AMDVI;
    const char *bus = port ? host_text("port%u", i) : "pcie.0";
    if (port)
        add_pair(line, "-device",
                 host_text("pcie-root-port,id=%s,chassis=%u,slot=%u", bus, i + 1, i + 1));
    if (device->kind == DEVICE_IGB) {
        add_pair(line, "-netdev", host_text("user,id=net%u%s", i, device->forward));
        add_pair(line, "-device",
                 host_text("igb,bus=%s,netdev=net%u,mac=02:68:6c:01:00:%02x", bus, i, i + 1));
    } else {
        add_pair(line, "-drive",
                 host_text("if=none,id=disk%u,format=raw,snapshot=on,file=%s/d%u", i, folder, i));
        add_pair(line, "-device",
                 host_text("nvme,bus=%s,drive=disk%u,serial=hairline-%u", bus, i, i));
    }
}

static bool has_option(char *const words[], const char *word)
{
    while (*words && strcmp(*words, word) != 0)
        words++;
    return *words != NULL;
}

/* TCG's threads. QEMU 10.0 has a race: when a CPU loads x87 state (XRSTOR, FXRSTOR, FLDENV, FRSTOR)
   while CPU 0 changes its mode, CPU 0 can lose bits of that, nested paging and GIF among them. They
   change only where VMs run: then one thread runs all CPUs in turn. */
static const char *accelerator(const struct job *job)
{
    if (job->kept_cores) /* VMs run on all cores */
        return "tcg,thread=single";
    for (uint32_t i = 0; i < job->plan.vms; i++)
        if (job->plan.vm[i].cores & 1 && job->cores > 1) {
            host_say("slower: `%s` may run on core 0, where QEMU 10 loses bits of the processor's "
                     "mode unless the emulated cores take "
                     "turns on one of the host's (thread=single); keep VMs off core 0, or say -- "
                     "-accel ...",
                     job->plan.vm[i].name);
            return "tcg,thread=single";
        }
    return "tcg";
}

static void add_boot(struct line *line, const char *folder, const struct job *job)
{
    if (!job->uefi) {
        add_pair(line, "-kernel", host_text("%s/hairline.elf", folder));
        add_pair(line, "-initrd", modules(folder, job));
    }
    for (const char *const *word = firmware_arguments(job, folder); job->uefi && *word; word++)
        add_word(line, *word);
}

/* QEMU's arguments for the files in `folder`: the tool's own, then `args` (both lists end with
   NULL); false after one line on stderr. The last -cpu, -m, -smp counts, but the first -accel. */
static bool all_arguments(const char *folder, const struct job *job, char *const args[],
                          const char *argv[QEMU_ARGS])
{
    struct line line = {.argv = argv};
    add_word(&line, program());
    add_machine(&line, job);
    if (job->memory >= LARGE && !has_option(args, "-m"))
        add_large_memory(&line, job);
    if (iommu_devices[job->iommu])
        add_pair(&line, "-device", iommu_devices[job->iommu]);
    if (job->kept_cores)
        add_host_system(&line, folder, job);
    else
        add_pair(&line, "-serial", "stdio");
    add_boot(&line, folder, job);
    for (uint32_t i = 0; i < job->devices; i++)
        add_device(&line, folder, job, i);
    if (!has_option(args, "-accel"))
        add_pair(&line, "-accel", accelerator(job));
    while (*args)
        add_word(&line, *args++);
    argv[line.used] = NULL;
    if (line.full)
        return host_fail("too many arguments for QEMU");
    return true;
}

/* ---- its process --------------------------------------------------------------- */

static bool qemu_is_usable(void)
{
    unsigned version = 0;
    FILE *pipe = popen("exec \"${HAIRLINE_QEMU:-qemu-system-x86_64}\" --version 2>/dev/null", "re");
    bool known = pipe && fscanf(pipe, "QEMU emulator version %u", &version) == 1;
    if (pipe)
        pclose(pipe);
    if (!known)
        return host_fail(
            "cannot run %s: install qemu-system-x86 %u.0 or later, or let ./hairline do it",
            program(), QEMU_OLDEST);
    if (version < QEMU_OLDEST)
        return host_fail("QEMU %u is too old: %u.0 is the first with all that this needs", version,
                         QEMU_OLDEST);
    return true;
}

static bool spawn(struct machine *machine, const char *const argv[], bool has_host)
{
    int in[2], out[2], both[2] = {-1, -1};
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 ||
        (has_host && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both) != 0))
        return host_fail("cannot make pipes: %s", strerror(errno));
    machine->input = in[1];
    machine->output = out[0];
    machine->host = both[0];
    return machine_spawn(machine, argv, &(struct machine_wires){in[0], out[1], both[1]});
}

static bool start_target(struct machine *machine, const struct job *job)
{
    if (!job->iscsi.path)
        return true;
    machine->target = iscsi_start(machine->folder, job->iscsi_port);
    return machine->target > 0;
}

static bool start_firmware(struct machine *machine, const struct job *job)
{
    if (job->uefi)
        machine->tpm = firmware_start(job, machine->folder);
    return !job->uefi || machine->tpm > 0;
}

bool qemu_start(struct machine *machine, const struct job *job, char *const args[])
{
    const char *argv[QEMU_ARGS];
    *machine = (struct machine){.emulator = "QEMU", .input = -1, .output = -1, .host = -1};
    return qemu_is_usable() && machine_folder(machine) &&
           build_stage(job, machine->folder, false) && build_stage_devices(job, machine->folder) &&
           start_target(machine, job) && start_firmware(machine, job) &&
           all_arguments(machine->folder, job, args, argv) &&
           spawn(machine, argv, job->kept_cores != 0);
}
