#include <cli/host.h>
#include <cli/image/efi.h>
#include <cli/machine/firmware.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Where scripts/host-driver has the driver. OVMF finds none on a SATA disk: it connects those
 * later.
 */
#define DRIVERS_DISK "virtio-blk-pci,drive=esp,addr=0x1e"

/* A file of the build without SMM: Debian's has Secure Boot. */
static const char *ovmf_file(const char *name)
{
    const char *given = getenv("HAIRLINE_OVMF");
    return host_text("%s/%s", given ? given : "/usr/share/OVMF", name);
}

static const char *firmware_code(void) { return ovmf_file("OVMF_CODE_4M.fd"); }

/* Beneath a host: the image is a driver, or, for a late launch, a file that firmware knows nothing
 * of; beside it module and tool, for a packaged system. Secure Boot is off, as the host's disk is
 * signed for no machine of ours. */
static bool make_driver(const struct job *job, const char *folder)
{
    struct efi_expected expected;
    const char *file = host_text("%s/hairline.efi", folder);
    const char *driver[] = {host_source("scripts/host-driver"), folder, NULL};
    const char *none[] = {"cp", ovmf_file("OVMF_VARS_4M.fd"), host_text("%s/vars.fd", folder),
                          NULL};
    const char *volume[] = {host_source("scripts/efi-volume"),
                            file,
                            host_text("%s/esp", folder),
                            "HAIRLINE/HAIRLINE.EFI",
                            job->host_tool.path,
                            job->host_module.path,
                            NULL};
    return host_run(job->host_late ? none : driver) == 0 &&
           efi_write(job, folder, file, NULL, NULL, &expected) && host_run(volume) == 0;
}

static bool make_volume(const struct job *job, const char *folder)
{
    struct efi_expected expected;
    const char *file = host_text("%s/hairline.efi", folder);
    const char *keys[] = {host_source("scripts/secure-boot"), folder, NULL};
    const char *volume[] = {host_source("scripts/efi-volume"), file, host_text("%s/esp", folder),
                            NULL};
    return host_run(keys) == 0 &&
           efi_write(job, folder, file, host_text("%s/db.key", folder),
                     host_text("%s/db.pem", folder), &expected) &&
           host_run(volume) == 0;
}

/* A socket where QEMU can connect before swtpm has begun; -1 after one line on stderr. */
static int open_door(const char *folder)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/tpm", folder);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
        listen(fd, 1) == 0)
        return fd;
    host_fail("cannot make the TPM's socket: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

static void __attribute__((noreturn)) become_swtpm(const char *folder, int door)
{
    const char *argv[] = {"swtpm",      "socket",
                          "--tpm2",     "--terminate",
                          "--tpmstate", host_text("dir=%s", folder),
                          "--ctrl",     host_text("type=unixio,fd=%d", door),
                          "--log",      host_text("file=%s/tpm.log", folder),
                          NULL};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    execvp(argv[0], host_argv(argv));
    _exit(127);
}

static pid_t start_tpm(const char *folder)
{
    int door = open_door(folder);
    pid_t pid = door >= 0 ? fork() : 0;
    if (door >= 0 && pid == 0)
        become_swtpm(folder, door);
    if (door >= 0)
        close(door);
    return pid > 0 ? pid : 0;
}

pid_t firmware_start(const struct job *job, const char *folder)
{
    const char *needed[] = {firmware_code(), "/usr/bin/swtpm", "/usr/bin/sbsign"};
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
        if (access(needed[i], R_OK) != 0) {
            host_fail("%s is missing: install ovmf, swtpm and sbsigntool, or let ./hairline do it",
                      needed[i]);
            return 0;
        }
    bool made = job->kept_cores ? make_driver(job, folder) : make_volume(job, folder);
    return made ? start_tpm(folder) : 0;
}

const char *const *firmware_arguments(const struct job *job, const char *folder)
{
    static const char *words[15];
    const char *given = getenv("HAIRLINE_TPM"); /* tpm-tis: one with a FIFO */
    const char *all[] = {
        "-drive",   host_text("if=pflash,format=raw,readonly=on,file=%s", firmware_code()),
        "-drive",   host_text("if=pflash,format=raw,file=%s/vars.fd", folder),
        "-drive",   host_text("if=none,id=esp,format=raw,snapshot=on,file=%s/esp", folder),
        "-device",  job->kept_cores ? DRIVERS_DISK : "ide-hd,drive=esp,bootindex=0",
        "-chardev", host_text("socket,id=tpm,path=%s/tpm", folder),
        "-tpmdev",  "emulator,id=tpm0,chardev=tpm",
        "-device",  host_text("%s,tpmdev=tpm0", given ? given : "tpm-crb"),
        NULL,
    };
    memcpy(words, all, sizeof(all));
    return words;
}
