#include <cli/host.h>
#include <cli/machine/iscsi.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRIES 100 /* of 100 ms, for tgtd to answer */

uint16_t iscsi_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool bound = fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0 &&
                 getsockname(fd, (struct sockaddr *)&address, &size) == 0;
    if (fd >= 0)
        close(fd);
    return bound ? ntohs(address.sin_port) : 0;
}

static void __attribute__((noreturn)) become_tgtd(const char *log, uint16_t port)
{
    const char *argv[] = {"tgtd", "-f", "--iscsi", host_text("portal=127.0.0.1:%u", port), NULL};
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644), none = open("/dev/null", O_RDONLY);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    dup2(none, 0);
    dup2(fd, 1);
    dup2(fd, 2);
    execvp(argv[0], host_argv(argv));
    _exit(127);
}

static bool tell_target(const char *log, const char *const argv[])
{
    return host_run_into(log, argv) == 0;
}

static bool set_up(const char *folder, const char *log, pid_t pid)
{
    const char *target[] = {"tgtadm",
                            "--lld",
                            "iscsi",
                            "--op",
                            "new",
                            "--mode",
                            "target",
                            "--tid",
                            "1",
                            "-T",
                            "iqn.2026-01.hairline:disk",
                            NULL};
    const char *disk[] = {"tgtadm",
                          "--lld",
                          "iscsi",
                          "--op",
                          "new",
                          "--mode",
                          "logicalunit",
                          "--tid",
                          "1",
                          "--lun",
                          "1",
                          "-b",
                          host_text("%s/iscsi", folder),
                          NULL};
    const char *open[] = {"tgtadm", "--lld", "iscsi", "--op", "bind",      "--mode",
                          "target", "--tid", "1",     "-I",   "127.0.0.1", NULL};
    bool ready = false;
    for (uint32_t i = 0; i < TRIES && !ready && host_goes_on() && waitpid(pid, NULL, WNOHANG) == 0;
         i++) {
        usleep(100000);
        ready = tell_target(log, target);
    }
    return ready && tell_target(log, disk) && tell_target(log, open);
}

pid_t iscsi_start(const char *folder, uint16_t port)
{
    const char *log = host_text("%s/tgtd", folder);
    setenv("TGT_IPC_SOCKET", host_text("%s/control", folder), 1);
    pid_t pid = fork();
    if (pid == 0)
        become_tgtd(log, port);
    if (pid > 0 && set_up(folder, log, pid))
        return pid;
    if (pid > 0)
        iscsi_stop(pid);
    host_fail("cannot serve the iSCSI disk with tgtd: install tgt, or let ./hairline do it");
    return 0;
}

void iscsi_stop(pid_t pid)
{
    if (waitpid(pid, NULL, WNOHANG) == 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
}
