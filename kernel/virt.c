/* Whose virtualization this is. */
#include <virt.h>

bool virt_vmx;
bool virt_since_power_on;

void virt_init(void)
{
    virt_vmx = cpu_cpuid(0, 0).ecx == CPUID_INTEL;
    virt_vmx ? vmx_init() : svm_init();
}
