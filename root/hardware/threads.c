#include <root/hardware/threads.h>
#include <stdbool.h>

enum { TOPOLOGY = 0xb, KIND_SMT = 1, AMD_MOST = 0x80000000u, AMD_NODE = 0x8000001eu };

uint32_t threads_bits(struct cpuid (*cpuid)(uint32_t leaf, uint32_t subleaf))
{
    struct cpuid level = cpuid(TOPOLOGY, 0), node = cpuid(AMD_NODE, 0);
    uint32_t bits = 0;
    if (cpuid(0, 0).eax >= TOPOLOGY && level.ebx && (level.ecx >> 8 & 0xff) == KIND_SMT)
        return level.eax & 31;
    if (cpuid(0, 0).ecx == CPUID_INTEL || cpuid(AMD_MOST, 0).eax < AMD_NODE)
        return 0;
    while (1u << bits < (node.ebx >> 8 & 0xff) + 1)
        bits++;
    return bits;
}
