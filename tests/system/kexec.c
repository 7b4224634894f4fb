/* kexec KERNEL INITRD WORDS: start another Linux from this one (kexec_file_load(2)), in order. */
#include <fcntl.h>
#include <linux/reboot.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char *argv[])
{
    int kernel = argc == 4 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1,
        initrd = argc == 4 ? open(argv[2], O_RDONLY | O_CLOEXEC) : -1;
    if (kernel < 0 || initrd < 0 ||
        syscall(SYS_kexec_file_load, kernel, initrd, strlen(argv[3]) + 1, argv[3], 0ul) != 0)
        return 1;
    return (int)syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
                        LINUX_REBOOT_CMD_KEXEC, NULL);
}
