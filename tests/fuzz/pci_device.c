/* root/vm/device.c, and a way to make it forget. */
#include "pci_root.h"
#include <root/vm/device.c>

void root_forget(void)
{
    memset(assigned, 0, sizeof(assigned));
    memset(vf, 0, sizeof(vf));
    vfs = 0;
}
