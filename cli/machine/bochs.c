#include <cli/host.h>
#include <cli/machine/bochs.h>

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <string.h>
#include <unistd.h>

#define BOCHS_CPU       "corei7_skylake_x" /* its model with all of VMX that the kernel needs */
#define BOCHS_CORES     8u     /* it runs them by turns: each makes all others slower         */
#define BOCHS_MEMORY_MB 16384u /* what is touched takes as much of the host's                 */
#define BOCHS_ARGS      64     /* words of its command line, with the NULL                    */

bool bochs_takes(const struct job *job)
{
    if (job->iommu != IOMMU_NONE)
        return host_fail(
            "the emulated Intel machine has no IOMMU: take `iommu` out of the plan, or "
            "run it without --vendor intel");
    if (job->devices || job->iscsi.path)
        return host_fail("the emulated Intel machine has no devices for VMs: take `%s` out of the "
                         "plan, or run it without --vendor intel",
                         job->devices ? "devices" : "iscsi");
    if (job->uefi || job->kept_cores)
        return host_fail(
            "the emulated Intel machine has no UEFI: run it without --firmware uefi, or "
            "take `firmware` and a VM of `mode: host` out of the plan");
    if (job->cores > BOCHS_CORES)
        return host_fail("the emulated Intel machine has at most %u cores, and the plan asks for "
                         "%u: lower machine.cores, or run it without --vendor intel",
                         BOCHS_CORES, job->cores);
    if (job->memory >> 20 > BOCHS_MEMORY_MB)
        return host_fail(
            "the emulated Intel machine has at most %u MiB, and the plan asks for %lu: "
            "lower machine.memory, or run it without --vendor intel",
            BOCHS_MEMORY_MB, job->memory >> 20);
    return true;
}

static bool make_disc(const struct machine *machine, const char *disc)
{
    const char *argv[] = {host_source("scripts/mkiso"), "--mute", machine->folder, disc, NULL};
    if (host_run(argv) == 0)
        return true;
    return host_fail("the disc for the emulated machine cannot be made");
}

/* The serial line, whose end for Bochs is its descriptor 3. A pipe: Bochs waits until there is room
   in it. */
static bool connect_pipe(struct machine *machine, struct machine_wires *wires, const char **mode)
{
    int out[2];
    if (pipe2(out, O_CLOEXEC) != 0)
        return host_fail("cannot make a pipe: %s", strerror(errno));
    machine->output = out[0];
    wires->serial = out[1];
    *mode = "mode=file,dev=/dev/fd/3";
    return true;
}

/* Or, where somebody types, a terminal: what does not fit there, 64 KiB that nobody has read, Bochs
   loses. */
static bool connect_terminal(struct machine *machine, struct machine_wires *wires,
                             const char **mode)
{
    struct termios raw = {.c_cflag = CS8 | CREAD | CLOCAL};
    if (openpty(&machine->output, &wires->serial, NULL, &raw, NULL) != 0)
        return host_fail("cannot make a terminal: %s", strerror(errno));
    fcntl(machine->output, F_SETFD, FD_CLOEXEC);
    fcntl(wires->serial, F_SETFD, FD_CLOEXEC);
    machine->input = fcntl(machine->output, F_DUPFD_CLOEXEC, 0);
    *mode = "mode=term,dev=/dev/fd/3";
    return true;
}

static bool start_bochs(struct machine *machine, const struct job *job, char *const args[],
                        const char *disc, bool silent)
{
    const char *mode = NULL, *cores = host_text("%u", job->cores),
               *memory = host_text("%lu", job->memory >> 20);
    struct machine_wires wires = {.in = -1, .out = -1, .serial = -1};
    bool wired =
        silent ? connect_pipe(machine, &wires, &mode) : connect_terminal(machine, &wires, &mode);
    const char *argv[BOCHS_ARGS] = {
        host_source("scripts/bochs-machine"), BOCHS_CPU, cores, memory, disc, mode};
    uint32_t used = 6;
    while (*args && used < BOCHS_ARGS - 1)
        argv[used++] = *args++;
    if (*args)
        return host_fail("too many arguments for Bochs");
    return wired && machine_spawn(machine, argv, &wires);
}

bool bochs_start(struct machine *machine, const struct job *job, char *const args[], bool silent)
{
    *machine = (struct machine){
        .emulator = "Bochs", .input = -1, .output = -1, .host = -1, .begins_anew = true};
    if (!machine_folder(machine) || !build_stage(job, machine->folder, false))
        return false;
    const char *disc = host_text("%s/hairline.iso", machine->folder);
    return make_disc(machine, disc) && start_bochs(machine, job, args, disc, silent);
}
