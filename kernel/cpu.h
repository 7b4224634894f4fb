/*
 * The processor, one accessor an instruction. The only C file with inline
 * assembly; host builds (unit tests, CBMC) put another cpu.h in its place.
 */
#ifndef KERNEL_CPU_H
#define KERNEL_CPU_H

#include <stdbool.h>
#include <stdint.h>
#include <config.h>

enum msr {
    MSR_APIC_BASE = 0x1b,
    MSR_MCG_STATUS = 0x17a,
    MSR_PAT = 0x277,
    MSR_EFER = 0xc0000080,
    MSR_STAR = 0xc0000081,
    MSR_LSTAR = 0xc0000082,
    MSR_SFMASK = 0xc0000084,
    MSR_GS_BASE = 0xc0000101,
    MSR_KGS_BASE = 0xc0000102,
    MSR_TSC_AUX = 0xc0000103,
    MSR_VM_HSAVE = 0xc0010117,
    MSR_DE_CFG = 0xc0011029,
    MSR_X2APIC = 0x800, /* + register / 16 */
    MSR_X2APIC_ICR = 0x830,
};
#define PAT_RESET 0x0007040600070406ull /* APM2 7.8.2 */
enum { EFER_SCE = 1, EFER_LME = 0x100, EFER_LMA = 0x400, EFER_NXE = 0x800, EFER_SVME = 0x1000 };
enum { CR0_WP = 1 << 16, CR0_TS = 1 << 3, CR0_NE = 1 << 5, CR0_PE = 1, CR0_ET = 1 << 4, CR0_MP = 1 << 1 };
#define CR0_PG (1u << 31)
enum {
    CR4_PAE = 1 << 5,
    CR4_MCE = 1 << 6,
    CR4_PGE = 1 << 7,
    CR4_OSFXSR = 1 << 9,
    CR4_UMIP = 1 << 11,
    CR4_OSXSAVE = 1 << 18,
    CR4_SMEP = 1 << 20,
    CR4_SMAP = 1 << 21
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

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

/* Kernel image and pool are mapped at a fixed distance from physical memory. */
static inline uint64_t cpu_pa(const void *kernel_address) { return (uint64_t)kernel_address - KERNEL_BASE; }
static inline void *cpu_pool_address(uint64_t pa) { return (void *)(pa + KERNEL_BASE); }

/* A value of which the compiler knows nothing: it would leave out a mask after a check, and the processor may not wait for the check. */
static inline uint64_t cpu_unknown(uint64_t v)
{
    __asm__("" : "+r"(v));
    return v;
}

static inline struct core *cpu_core(void)
{
    struct core *c;
    __asm__("mov %%gs:0, %0" : "=r"(c));
    return c;
}
static inline struct cpuid cpu_cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid r;
    __asm__("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "0"(leaf), "2"(subleaf));
    return r;
}
static inline uint64_t cpu_rdmsr(uint32_t msr)
{
    uint32_t lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return (uint64_t)hi << 32 | lo;
}
static inline void cpu_wrmsr(uint32_t msr, uint64_t v)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}
static inline uint64_t cpu_tsc(void)
{
    uint32_t lo, hi;
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (uint64_t)hi << 32 | lo;
}
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
static inline void cpu_write32(uint64_t va, uint32_t v) { __asm__ volatile("movl %0, (%1)" : : "r"(v), "r"(va) : "memory"); }
static inline void cpu_write64(uint64_t va, uint64_t v) { __asm__ volatile("movq %0, (%1)" : : "r"(v), "r"(va) : "memory"); }
static inline void cpu_wbinvd(void) { __asm__ volatile("wbinvd" : : : "memory"); }
static inline void cpu_outb(uint16_t port, uint8_t v) { __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
static inline uint8_t cpu_inb(uint16_t port)
{
    uint8_t v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline uint64_t cpu_cr0(void)
{
    uint64_t v;
    __asm__ volatile("mov %%cr0, %0" : "=r"(v));
    return v;
}
static inline uint64_t cpu_cr2(void)
{
    uint64_t v;
    __asm__ volatile("mov %%cr2, %0" : "=r"(v));
    return v;
}
static inline void cpu_set_cr0(uint64_t v) { __asm__ volatile("mov %0, %%cr0" : : "r"(v) : "memory"); }
static inline void cpu_set_cr3(uint64_t v) { __asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory"); }
static inline void cpu_set_cr4(uint64_t v) { __asm__ volatile("mov %0, %%cr4" : : "r"(v) : "memory"); }
static inline void cpu_get_dr(uint64_t dr[4])
{
    __asm__ volatile("mov %%db0, %0; mov %%db1, %1; mov %%db2, %2; mov %%db3, %3" : "=r"(dr[0]), "=r"(dr[1]), "=r"(dr[2]), "=r"(dr[3]));
}
static inline void cpu_set_dr(const uint64_t dr[4])
{
    __asm__ volatile("mov %0, %%db0; mov %1, %%db1; mov %2, %%db2; mov %3, %%db3" : : "r"(dr[0]), "r"(dr[1]), "r"(dr[2]), "r"(dr[3]));
}
static inline void cpu_xsetbv(uint64_t v) { __asm__ volatile("xsetbv" : : "c"(0), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))); }
static inline uint64_t cpu_xgetbv(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}
static inline void cpu_clts(void) { __asm__ volatile("clts"); }
static inline void cpu_xsave(void *area) { __asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(7), "d"(0) : "memory"); }
/* FNINIT: where no exception is pending, XSAVE and XRSTOR may leave the last x87 addresses in place; they are somebody else's.
   All that XCR0 allows: what the area does not have becomes as after a reset. */
static inline void cpu_xrstor(const void *area) { __asm__ volatile("fninit; xrstor64 (%0)" : : "r"(area), "a"(-1), "d"(-1) : "memory"); }
static inline void cpu_lgdt(const void *p) { __asm__ volatile("lgdt (%0)" : : "r"(p) : "memory"); }
static inline void cpu_lidt(const void *p) { __asm__ volatile("lidt (%0)" : : "r"(p) : "memory"); }
static inline void cpu_ltr(uint16_t sel) { __asm__ volatile("ltr %0" : : "r"(sel)); }
static inline void cpu_reload_segments(void)
{
    __asm__ volatile("pushq %0; lea 1f(%%rip), %%rax; pushq %%rax; lretq; 1:"
                     "mov %1, %%ss; mov %2, %%ds; mov %2, %%es; mov %2, %%fs; mov %2, %%gs; lldt %w2"
                     :
                     : "i"(0x08), "r"(0x10), "r"(0)
                     : "rax", "memory");
}
static inline void cpu_vmsave(uint64_t pa) { __asm__ volatile("vmsave %0" : : "a"(pa) : "memory"); }
static inline void cpu_relax(void) { __asm__ volatile("pause"); }
/* Let pending interrupts in, once. STGI: after #VMEXIT the entry code has set GIF already. */
static inline void cpu_irq_window(void) { __asm__ volatile("sti; nop; cli" : : : "memory"); }
/* Until an interrupt, if they are let in, or an NMI; at once if one came since this core looked at its doorbell (entry.S). */
void core_wait(bool interrupts);
static inline void cpu_idle(bool interrupts) { core_wait(interrupts); }
/* The chipset's reset register, port CF9h; where there is none, an exception without a gate (APM2 8.2.9). */
static inline void __attribute__((noreturn)) cpu_reset(void)
{
    const uint64_t no_table[2] = {0};
    cpu_outb(0xcf9, 6);
    for (;;)
        __asm__ volatile("lidt %0; int3" : : "m"(no_table));
}
/* Past the caches (MOVNTI, APM3): a guest that maps its memory uncached, and a device that does not look into caches, find
   the zeros and not what was in memory before. */
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
