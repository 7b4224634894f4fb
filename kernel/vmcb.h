/* The virtual machine control block (APM2 appendix B). */
#ifndef KERNEL_VMCB_H
#define KERNEL_VMCB_H

#include <abi/utcb.h>

struct vmcb {
    uint32_t intercept_cr, intercept_dr, intercept_exception, intercept1, intercept2; /* 000 */
    uint8_t reserved014[0x40 - 0x14];
    uint64_t iopm_pa, msrpm_pa, tsc_offset; /* 040 */
    uint32_t asid, tlb_control;             /* 058 */
    uint64_t vintr, shadow;                 /* 060 */
    uint64_t code, info1, info2, exit_int;  /* 070 */
    uint64_t nested;                        /* 090 */
    uint8_t reserved098[0xa8 - 0x98];
    uint64_t inject, nested_cr3, lbr; /* 0A8 */
    uint32_t clean, reserved0c4;      /* 0C0 */
    uint64_t next_rip;                /* 0C8 */
    uint8_t reserved0d0[0x400 - 0xd0];
    struct segment seg[SEG_COUNT]; /* 400: ES CS SS DS FS GS GDTR LDTR IDTR TR */
    uint8_t reserved4a0[0x4cb - 0x4a0];
    uint8_t cpl; /* 4CB */
    uint32_t reserved4cc;
    uint64_t efer; /* 4D0 */
    uint8_t reserved4d8[0x548 - 0x4d8];
    uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip; /* 548 */
    uint8_t reserved580[0x5d8 - 0x580];
    uint64_t rsp; /* 5D8 */
    uint8_t reserved5e0[0x5f8 - 0x5e0];
    uint64_t rax, star, lstar, cstar, sfmask, kernel_gs;   /* 5F8 */
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip, cr2; /* 628 */
    uint8_t reserved648[0x668 - 0x648];
    uint64_t pat; /* 668 */
    uint8_t reserved670[0x1000 - 0x670];
};

_Static_assert(sizeof(struct vmcb) == 0x1000, "VMCB");
_Static_assert(__builtin_offsetof(struct vmcb, iopm_pa) == 0x40, "VMCB");
_Static_assert(__builtin_offsetof(struct vmcb, code) == 0x70, "VMCB");
_Static_assert(__builtin_offsetof(struct vmcb, inject) == 0xa8, "VMCB");
_Static_assert(__builtin_offsetof(struct vmcb, next_rip) == 0xc8, "VMCB");
_Static_assert(__builtin_offsetof(struct vmcb, cpl) == 0x4cb, "VMCB");
_Static_assert(__builtin_offsetof(struct vmcb, efer) == 0x4d0, "VMCB");
_Static_assert(__builtin_offsetof(struct vmcb, rip) == 0x578, "VMCB");
_Static_assert(__builtin_offsetof(struct vmcb, rsp) == 0x5d8, "VMCB");
_Static_assert(__builtin_offsetof(struct vmcb, rax) == 0x5f8, "VMCB");
_Static_assert(__builtin_offsetof(struct vmcb, cr2) == 0x640, "VMCB");
_Static_assert(__builtin_offsetof(struct vmcb, pat) == 0x668, "VMCB");

enum intercept1 { /* 00C */
                  I1_INTR = 1u << 0,
                  I1_NMI = 1u << 1,
                  I1_INIT = 1u << 3,
                  I1_RDPMC = 1u << 15,
                  I1_CPUID = 1u << 18,
                  I1_RSM = 1u << 19,
                  I1_IRET = 1u << 20,
                  I1_INVD = 1u << 22,
                  I1_HLT = 1u << 24,
                  I1_INVLPGA = 1u << 26,
                  I1_PORT = 1u << 27,
                  I1_MSR = 1u << 28,
                  I1_FREEZE = 1u << 30,
};
#define I1_SHUTDOWN (1u << 31)
enum intercept2 { /* 010: VMRUN VMMCALL VMLOAD VMSAVE STGI CLGI SKINIT, MONITOR MWAIT, XSETBV */
                  I2_SVM = 0x7f,
                  I2_MONITOR = 1 << 10,
                  I2_MWAIT = 3 << 11,
                  I2_XSETBV = 1 << 13,
};
enum { CR8_WRITE = 1 << 24, VINTR_TPR = 0xf, VINTR_IRQ = 1 << 8, VINTR_MASKING = 1 << 24 };

enum exit_code {
    EXIT_FIRST = 0x40,
    EXIT_EXCEPTION = 0x40,
    EXIT_INTR = 0x60,
    EXIT_NMI = 0x61,
    EXIT_INIT = 0x63,
    EXIT_CPUID = 0x72,
    EXIT_IRET = 0x74,
    EXIT_HLT = 0x78,
    EXIT_PORT = 0x7b,
    EXIT_MSR = 0x7c,
    EXIT_SHUTDOWN = 0x7f,
    EXIT_VMMCALL = 0x81,
    EXIT_CR8 = 0x18,
    EXIT_MONITOR = 0x8a,
    EXIT_MWAIT = 0x8c, /* 8Bh; 8Ch: where MONITOR has armed it */
    EXIT_XSETBV = 0x8d,
    EXIT_NPF = 0x400,
};
#define EXIT_INVALID ~0u /* in 64 bits; an emulator stores 32 */

enum { PORT_IN = 1, PORT_STRING = 4 };  /* EXITINFO1 of IN, OUT, INS and OUTS (APM2 15.10.2) */
enum { NPF_WRITE = 2, NPF_FETCH = 16 }; /* EXITINFO1 of a nested page fault (APM2 15.25.6) */
enum { DR6_STEP = 1 << 14 };            /* BS: a step's trap (APM2 13.1.1.3) */

#endif
