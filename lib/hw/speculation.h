/* Intel's errors of speculation, as a processor denies them (docs/hardware.md): for the boot stub,
   and for `probe --here`, which says what that one will do. */
#ifndef LIB_HW_SPECULATION_H
#define LIB_HW_SPECULATION_H

#include <stdbool.h>
#include <stdint.h>

/* IA32_ARCH_CAPABILITIES (SDM4). */
#define MSR_ARCH_CAPABILITIES 0x10au
enum arch_capabilities {
    RDCL_NO = 1 << 0, /* neither Meltdown nor L1TF */
    MDS_NO = 1 << 5,
    PSCHANGE_MC_NO = 1 << 6, /* no iTLB multihit */
    TSX_CTRL = 1 << 7,
    TAA_NO = 1 << 8,
};

/* Does MDS or TAA leak what VERW does not clear? `rtm`, `md_clear`: CPUID leaf 7, EBX[11], EDX[10].
   Of what has MDS_NO and TAA, VERW clears only with the microcode that brought TSX_CTRL. */
static inline bool speculation_leaks(uint64_t says, bool rtm, bool md_clear)
{
    bool has_taa = rtm && !(says & TAA_NO);
    return says & MDS_NO ? has_taa && !(says & TSX_CTRL) : !md_clear;
}

#endif
