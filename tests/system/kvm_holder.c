/* A VM of KVM's, which exists for as long as this runs: SVM is on meanwhile. It says `holds`. */
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0 || ioctl(kvm, KVM_CREATE_VM, 0ul) < 0)
        return 1;
    if (write(STDOUT_FILENO, "holds\n", 6) != 6)
        return 1;
    return pause();
}
