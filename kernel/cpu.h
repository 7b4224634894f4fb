/*
 * The processor, one accessor an instruction. The only C file with inline
 * assembly (offsets.c aside, which is never linked, and lib/hw/cpuid.h); host builds (unit tests,
 * CBMC) put another cpu.h in its place.
 */
#ifndef KERNEL_CPU_H
#define KERNEL_CPU_H

#include <stdbool.h>
#include <stdint.h>
#include <config.h>
#include <lib/hw/cpuid.h>

enum msr {
    MSR_APIC_BASE = 0x1b,
    MSR_PRED_CMD = 0x49,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a,
    MSR_MC0_STATUS = 0x401, /* a bank has four */
    MSR_MC0_ADDR = 0x402,
    MSR_DEBUGCTL = 0x1d9,
    MSR_PAT = 0x277,
    MSR_EFER = 0xc0000080,
    MSR_STAR = 0xc0000081,
    MSR_LSTAR = 0xc0000082,
    MSR_CSTAR = 0xc0000083,
    MSR_SFMASK = 0xc0000084,
    MSR_GS_BASE = 0xc0000101,
    MSR_KGS_BASE = 0xc0000102,
    MSR_TSC_AUX = 0xc0000103,
    MSR_VM_CR = 0xc0010114,
    MSR_VM_HSAVE = 0xc0010117,
    MSR_FP_CFG = 0xc0011028,
    MSR_DE_CFG = 0xc0011029,
    MSR_BP_CFG = 0xc001102e,
    MSR_DE_CFG2 = 0xc00110e3,
};
enum { VM_CR_R_INIT = 2 }; /* INIT becomes #SX, which ends it (APM2 15.30.1) */
enum { EFER_SCE = 1, EFER_LME = 0x100, EFER_LMA = 0x400, EFER_NXE = 0x800, EFER_SVME = 0x1000 };
enum { EFER_AIBRSE = 1 << 21 };
enum { CR0_PE = 1, CR0_MP = 1 << 1, CR0_TS = 1 << 3, CR0_ET = 1 << 4, CR0_NE = 1 << 5 };
enum { CR0_WP = 1 << 16, CR0_NW = 1 << 29, CR0_CD = 1 << 30 };
#define CR0_PG (1u << 31)
enum {
    CR4_PAE = 1 << 5,
    CR4_MCE = 1 << 6,
    CR4_PGE = 1 << 7,
    CR4_OSFXSR = 1 << 9,
    CR4_UMIP = 1 << 11,
    CR4_VMXE = 1 << 13,
    CR4_OSXSAVE = 1 << 18,
    CR4_SMEP = 1 << 20,
    CR4_SMAP = 1 << 21,
    CR4_PKE = 1 << 22
};
enum {
    RFLAGS_FIXED = 2,
    RFLAGS_TF = 1 << 8,
    RFLAGS_IF = 1 << 9,
    RFLAGS_DF = 1 << 10,
    RFLAGS_IOPL = 3 << 12,
    RFLAGS_NT = 1 << 14,
    RFLAGS_AC = 1 << 18
};

/* Kernel image and pool are mapped at a fixed distance from physical memory. */
static inline uint64_t cpu_pa(const void *kernel_address)
{
    return (uint64_t)kernel_address - KERNEL_BASE;
}
static inline void *cpu_pool_address(uint64_t pa) { return (void *)(pa + KERNEL_BASE); }

/* Spectre v1: `v`, of which the compiler forgets what a range check said. It would leave out the
   mask behind that check, which keeps a load inside its table when the processor mispredicts the
   check. */
static inline uint64_t cpu_unknown(uint64_t v)
{
    __asm__("" : "+r"(v));
    return v;
}

/* A control register; what an instruction leaves in EDX:EAX. */
#define CPU_READ(name)                                                                             \
    ({                                                                                             \
        uint64_t v_;                                                                               \
        __asm__ volatile("mov %%" name ", %0" : "=r"(v_));                                         \
        v_;                                                                                        \
    })
#define CPU_READ_PAIR(instruction, ...)                                                            \
    ({                                                                                             \
        uint32_t lo_, hi_;                                                                         \
        __asm__ volatile(instruction : "=a"(lo_), "=d"(hi_) : __VA_ARGS__);                        \
        (uint64_t) hi_ << 32 | lo_;                                                                \
    })

static inline struct core *cpu_core(void)
{
    struct core *c;
    __asm__("mov %%gs:0, %0" : "=r"(c));
    return c;
}
static inline uint64_t cpu_rdmsr(uint32_t msr) { return CPU_READ_PAIR("rdmsr", "c"(msr)); }
static inline void cpu_wrmsr(uint32_t msr, uint64_t v)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}
static inline uint64_t cpu_tsc(void) { return CPU_READ_PAIR("rdtsc"); }
/* Registers of devices; in order with memory. */
static inline uint32_t cpu_read32(uint64_t va)
{
    uint32_t v;
    __asm__ volatile("movl (%1), %0" : "=r"(v) : "r"(va) : "memory");
    return v;
}
static inline uint64_t cpu_read64(uint64_t va)
{
    uint64_t v;
    __asm__ volatile("movq (%1), %0" : "=r"(v) : "r"(va) : "memory");
    return v;
}
static inline void cpu_write32(uint64_t va, uint32_t v)
{
    __asm__ volatile("movl %0, (%1)" : : "r"(v), "r"(va) : "memory");
}
static inline void cpu_write64(uint64_t va, uint64_t v)
{
    __asm__ volatile("movq %0, (%1)" : : "r"(v), "r"(va) : "memory");
}
static inline void cpu_wbinvd(void) { __asm__ volatile("wbinvd" : : : "memory"); }
static inline void cpu_clflush(volatile void *line)
{
    __asm__ volatile("clflush (%0)" : : "r"(line) : "memory");
}
static inline void cpu_outb(uint16_t port, uint8_t v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}
static inline void cpu_outl(uint16_t port, uint32_t v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}
static inline uint8_t cpu_inb(uint16_t port)
{
    uint8_t v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline uint64_t cpu_cr0(void) { return CPU_READ("cr0"); }
static inline uint64_t cpu_cr2(void) { return CPU_READ("cr2"); }
static inline void cpu_set_cr0(uint64_t v)
{
    __asm__ volatile("mov %0, %%cr0" : : "r"(v) : "memory");
}
static inline void cpu_set_cr3(uint64_t v)
{
    __asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory");
}
static inline void cpu_set_cr4(uint64_t v)
{
    __asm__ volatile("mov %0, %%cr4" : : "r"(v) : "memory");
}
static inline void cpu_get_dr(uint64_t dr[4])
{
    __asm__ volatile("mov %%db0, %0; mov %%db1, %1; mov %%db2, %2; mov %%db3, %3"
                     : "=r"(dr[0]), "=r"(dr[1]), "=r"(dr[2]), "=r"(dr[3]));
}
static inline void cpu_set_dr(const uint64_t dr[4])
{
    __asm__ volatile("mov %0, %%db0; mov %1, %%db1; mov %2, %%db2; mov %3, %%db3"
                     :
                     : "r"(dr[0]), "r"(dr[1]), "r"(dr[2]), "r"(dr[3]));
}
static inline void cpu_xsetbv(uint64_t v)
{
    __asm__ volatile("xsetbv" : : "c"(0), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)));
}
static inline uint64_t cpu_xgetbv(void) { return CPU_READ_PAIR("xgetbv", "c"(0)); }
/* Leave nothing for another domain to sample. Where microcode makes it so, VERW also clears the
   buffers from which MDS, TAA, MMIO stale data, RFDS and TSA leak (Intel: MD_CLEAR, CPUID 7
   EDX[10]; AMD: VERW_CLEAR, CPUID 80000021h EAX[5]); by an operand in memory only. Elsewhere it
   does nothing. Nought by one, which is nought, ends what Zen 1's divider shows of the one before
   (AMD-SB-7007). */
static inline void cpu_clear_buffers(void)
{
    static const uint16_t selector = SEL_KERNEL_DATA;
    __asm__ volatile("verw %0\n\tdivl %1" : : "m"(selector), "r"(1), "a"(0), "d"(0) : "cc");
}
static inline void cpu_clts(void) { __asm__ volatile("clts"); }
static inline void cpu_xsave(void *area)
{
    __asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(7), "d"(0) : "memory");
}
/* FNINIT: where no exception is pending, XSAVE and XRSTOR may leave the last x87 addresses in
   place; they are somebody else's. All that XCR0 allows: what the area does not have becomes as
   after a reset. */
static inline void cpu_xrstor(const void *area)
{
    __asm__ volatile("fninit; xrstor64 (%0)" : : "r"(area), "a"(-1), "d"(-1) : "memory");
}
static inline void cpu_lgdt(const void *p) { __asm__ volatile("lgdt (%0)" : : "r"(p) : "memory"); }
static inline void cpu_lidt(const void *p) { __asm__ volatile("lidt (%0)" : : "r"(p) : "memory"); }
static inline void cpu_ltr(uint16_t sel) { __asm__ volatile("ltr %0" : : "r"(sel)); }
static inline void cpu_reload_segments(void)
{
    __asm__ volatile(
        "pushq %0; lea 1f(%%rip), %%rax; pushq %%rax; lretq; 1:"
        "mov %1, %%ss; mov %2, %%ds; mov %2, %%es; mov %2, %%fs; mov %2, %%gs; lldt %w2"
        :
        : "i"(SEL_KERNEL_CODE), "r"(SEL_KERNEL_DATA), "r"(0)
        : "rax", "memory");
}
static inline void cpu_vmsave(uint64_t pa) { __asm__ volatile("vmsave %0" : : "a"(pa) : "memory"); }
/* VMX instructions. False: VMfail (SDM3 30.2). */
#define CPU_VMX(instruction, ...)                                                                  \
    ({                                                                                             \
        bool ok_;                                                                                  \
        __asm__ volatile(instruction : "=@cca"(ok_) : __VA_ARGS__ : "memory");                     \
        ok_;                                                                                       \
    })
static inline bool cpu_vmxon(uint64_t pa) { return CPU_VMX("vmxon %1", "m"(pa)); }
static inline bool cpu_vmclear(uint64_t pa) { return CPU_VMX("vmclear %1", "m"(pa)); }
static inline bool cpu_vmptrld(uint64_t pa) { return CPU_VMX("vmptrld %1", "m"(pa)); }
static inline bool cpu_vmwrite(uint64_t field, uint64_t v)
{
    return CPU_VMX("vmwrite %1, %2", "r"(v), "r"(field));
}
static inline uint64_t cpu_vmread(uint64_t field)
{
    uint64_t v;
    __asm__ volatile("vmread %1, %0" : "=r"(v) : "r"(field) : "cc", "memory");
    return v;
}
/* All translations through all nested tables (SDM3 28.3.3.1). */
static inline bool cpu_invept(void)
{
    const uint64_t every[2] = {0};
    return CPU_VMX("invept %1, %2", "m"(every), "r"(2ull));
}
static inline void cpu_set_cr2(uint64_t v) { __asm__ volatile("mov %0, %%cr2" : : "r"(v)); }
static inline uint64_t cpu_cr4(void) { return CPU_READ("cr4"); }
static inline uint64_t cpu_dr6(void) { return CPU_READ("db6"); }
static inline void cpu_set_dr6(uint64_t v) { __asm__ volatile("mov %0, %%db6" : : "r"(v)); }
/* NMIs come again after one that ended a guest's run (SDM3 27.3). */
void cpu_end_nmi(void);
static inline void cpu_fence(void) { __asm__ volatile("mfence; lfence" : : : "memory"); }
static inline void cpu_relax(void) { __asm__ volatile("pause"); }
/* Let pending interrupts in, once. STGI: after #VMEXIT the entry code has set GIF already. */
static inline void cpu_irq_window(void) { __asm__ volatile("sti; nop; cli" : : : "memory"); }
/* Until an interrupt, if they are let in, or an NMI; at once if one came since this core looked at
 * its doorbell (entry.S). */
void cpu_idle(bool interrupts);
/* The chipset's reset register, port CF9h; where there is none, an exception without a gate
 * (APM2 8.2.9). */
static inline void __attribute__((noreturn)) cpu_reset(void)
{
    const uint64_t no_table[2] = {0};
    cpu_outb(0xcf9, 6);
    for (;;)
        __asm__ volatile("lidt %0; int3" : : "m"(no_table));
}
/* For good to physical `to`, on tables that have it there and the stack where it is. */
static inline void cpu_go(uint64_t cr3, uint64_t to, uint64_t rdi, uint64_t rsi)
{
    __asm__ volatile("mov %0, %%cr3; push %1; ret" : : "r"(cr3), "r"(to), "D"(rdi), "S"(rsi));
}
/* Past the caches (MOVNTI, APM3): a guest that maps its memory uncached, and a device that does not
   look into caches, find the zeros and not what was in memory before. */
static inline void cpu_zero_page(void *page)
{
    for (uint64_t *word = page; word < (uint64_t *)page + 512; word++)
        __asm__ volatile("movnti %1, %0" : "=m"(*word) : "r"(0ull));
    __asm__ volatile("sfence" : : : "memory");
}
static inline void cpu_copy_words(uint64_t *to, const uint64_t *from, uint64_t words)
{
    __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
}

#endif
