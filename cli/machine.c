#include <cli/machine.h>
#include <cli/host.h>
#include <cli/qemu.h>
#include <cli/target.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define QEMU_OLDEST 9 /* the first with x2APIC in its emulation */

static bool qemu_is_usable(void)
{
    unsigned version = 0;
    FILE *pipe = popen("exec \"${HAIRLINE_QEMU:-qemu-system-x86_64}\" --version 2>/dev/null", "re");
    bool known = pipe && fscanf(pipe, "QEMU emulator version %u", &version) == 1;
    if (pipe)
        pclose(pipe);
    if (!known)
        return host_fail("cannot run %s: install qemu-system-x86 %u.0 or later, or let ./hairline do it", qemu_program(), QEMU_OLDEST);
    return version >= QEMU_OLDEST || host_fail("QEMU %u is too old: %u.0 is the first with all that this needs", version, QEMU_OLDEST);
}

/* QEMU splits -initrd at commas and spaces: the folder's path must have neither. */
static bool make_folder(struct machine *machine)
{
    const char *base = getenv("TMPDIR");
    if (!base || strlen(base) > 40 || strpbrk(base, ", "))
        base = "/tmp";
    snprintf(machine->folder, sizeof(machine->folder), "%s/hairline.XXXXXX", base);
    if (mkdtemp(machine->folder))
        return true;
    machine->folder[0] = 0;
    return host_fail("cannot make a folder in %s: %s", base, strerror(errno));
}

/* In the child: the pipes as stdin and stdout, errors to a file, no signals blocked; then QEMU. */
static void __attribute__((noreturn)) become_qemu(const char *const argv[], int in, int out, const char *errors)
{
    sigset_t none;
    int err = open(errors, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    execvp(argv[0], host_argv(argv));
    _exit(127);
}

static bool spawn(struct machine *machine, const char *const argv[])
{
    int in[2], out[2];
    const char *errors = host_text("%s/errors", machine->folder);
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
        return host_fail("cannot make pipes: %s", strerror(errno));
    machine->pid = fork();
    if (machine->pid == 0)
        become_qemu(argv, in[0], out[1], errors);
    close(in[0]);
    close(out[1]);
    machine->input = in[1];
    machine->output = out[0];
    if (machine->pid > 0)
        return true;
    machine->pid = 0;
    return host_fail("cannot start QEMU: %s", strerror(errno));
}

static bool start_target(struct machine *machine, const struct job *job)
{
    if (!job->iscsi.path)
        return true;
    machine->target = target_start(machine->folder, job->iscsi_port);
    return machine->target > 0;
}

bool machine_start(struct machine *machine, const struct job *job, char *const args[])
{
    const char *argv[QEMU_ARGS];
    *machine = (struct machine){.input = -1, .output = -1};
    return qemu_is_usable() && make_folder(machine) && job_stage(job, machine->folder, false) && job_stage_devices(job, machine->folder) &&
           start_target(machine, job) && qemu_arguments(machine->folder, job, args, argv) && spawn(machine, argv);
}

int machine_stop(struct machine *machine, bool kill_it)
{
    int status = 0;
    if (kill_it)
        kill(machine->pid, SIGKILL);
    close(machine->input);
    close(machine->output);
    pid_t gone;
    do
        gone = waitpid(machine->pid, &status, 0);
    while (gone < 0 && errno == EINTR);
    machine->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

void machine_show_errors(const struct machine *machine)
{
    char line[1024];
    FILE *file = fopen(host_text("%s/errors", machine->folder), "re");
    while (file && fgets(line, sizeof(line), file))
        fputs(line, stderr);
    if (file)
        fclose(file);
}

void machine_remove(struct machine *machine)
{
    if (machine->target)
        target_stop(machine->target);
    DIR *folder = machine->folder[0] ? opendir(machine->folder) : NULL;
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder)
        closedir(folder);
    if (machine->folder[0])
        rmdir(machine->folder);
}
