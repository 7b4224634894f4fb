#include <cli/host.h>
#include <cli/machine/iscsi.h>
#include <cli/machine/machine.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* QEMU splits -initrd at commas and spaces, and Bochs its options at commas: the folder's path must
   have neither. */
bool machine_folder(struct machine *machine)
{
    const char *base = getenv("TMPDIR");
    if (!base || strlen(base) > 40 || strpbrk(base, ", "))
        base = "/tmp";
    snprintf(machine->folder, sizeof(machine->folder), "%s/hairline.XXXXXX", base);
    host_catch_signals();
    if (mkdtemp(machine->folder))
        return true;
    machine->folder[0] = 0;
    return host_fail("cannot make a folder in %s: %s", base, strerror(errno));
}

/* In the child: descriptor `from` as `to`, which exec keeps open. */
static void wire(int from, int to)
{
    if (from == to)
        fcntl(to, F_SETFD, 0);
    else if (from >= 0)
        dup2(from, to);
}

/* The child's side: its descriptors, stderr to a file, no signal blocked; then exec. The serial
   line comes last: until then descriptor 3 may be one of the others. */
static void __attribute__((noreturn))
become(const char *const argv[], const struct machine_wires *wires, const char *errors)
{
    sigset_t none;
    int err = open(errors, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    dup2(err, 2);
    wire(wires->in, 0);
    wire(wires->out, 1);
    wire(wires->serial, 3);
    execvp(argv[0], host_argv(argv));
    _exit(127);
}

static void close_wires(const struct machine_wires *wires)
{
    const int all[] = {wires->in, wires->out, wires->serial};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i] >= 0)
            close(all[i]);
}

bool machine_spawn(struct machine *machine, const char *const argv[],
                   const struct machine_wires *wires)
{
    const char *errors = host_text("%s/errors", machine->folder);
    machine->pid = fork();
    if (machine->pid == 0)
        become(argv, wires, errors);
    close_wires(wires);
    if (machine->pid > 0)
        return true;
    machine->pid = 0;
    return host_fail("cannot start %s: %s", machine->emulator, strerror(errno));
}

int machine_stop(struct machine *machine, bool kill_it)
{
    int status = 0;
    if (kill_it)
        kill(machine->pid, SIGKILL);
    if (machine->input >= 0)
        close(machine->input);
    close(machine->output);
    if (machine->host >= 0)
        close(machine->host);
    pid_t gone;
    do
        gone = waitpid(machine->pid, &status, 0);
    while (gone < 0 && errno == EINTR);
    machine->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* Is this what Bochs logs of its own accord? Those lines begin with the time in 11 digits and the
   level's letter: p is the one with which it gives up. */
static bool is_chatter(const char *line)
{
    size_t digits = strspn(line, "0123456789");
    return digits >= 11 && strchr("die", line[digits]) && line[digits + 1] == '[';
}

void machine_show_errors(const struct machine *machine)
{
    char line[1024];
    FILE *file = fopen(host_text("%s/errors", machine->folder), "re");
    while (file && fgets(line, sizeof(line), file))
        if (!is_chatter(line))
            fputs(line, stderr);
    if (file)
        fclose(file);
}

void machine_remove(struct machine *machine)
{
    if (machine->target)
        iscsi_stop(machine->target);
    if (machine->tpm)
        iscsi_stop(machine->tpm);
    DIR *folder = machine->folder[0] ? opendir(machine->folder) : NULL;
    struct dirent *entry = folder ? readdir(folder) : NULL;
    for (; entry; entry = readdir(folder))
        unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder)
        closedir(folder);
    if (machine->folder[0])
        rmdir(machine->folder);
}
