/* The processor as proofs see it: time and registers hold anything, memory is where the proof says.
 */
#ifndef KERNEL_CPU_H
#define KERNEL_CPU_H

#include <stdbool.h>
#include <stdint.h>
#include <config.h>
#include <lib/hw/cpu.h>

enum msr {
    MSR_APIC_BASE = 0x1b,
    MSR_VM_CR = 0xc0010114,
    MSR_VM_HSAVE = 0xc0010117,
    MSR_EFER = 0xc0000080,
    MSR_STAR = 0xc0000081,
    MSR_LSTAR = 0xc0000082,
    MSR_CSTAR = 0xc0000083,
    MSR_SFMASK = 0xc0000084,
    MSR_KGS_BASE = 0xc0000102,
    MSR_PRED_CMD = 0x49,
    MSR_MCG_STATUS = 0x17a
};
enum { VM_CR_R_INIT = 2 };
enum { EFER_SCE = 1, EFER_LME = 0x100, EFER_LMA = 0x400, EFER_NXE = 0x800, EFER_SVME = 0x1000 };
enum { CR0_PE = 1, CR0_TS = 1 << 3, CR0_NE = 1 << 5, CR0_NW = 1 << 29, CR0_CD = 1 << 30 };
enum { CR4_MCE = 1 << 6, CR4_VMXE = 1 << 13, CR4_OSXSAVE = 1 << 18 };
enum { CR4_PKE = 1 << 22 };
enum {
    RFLAGS_FIXED = 2,
    RFLAGS_TF = 1 << 8,
    RFLAGS_IF = 1 << 9,
    RFLAGS_DF = 1 << 10,
    RFLAGS_IOPL = 3 << 12,
    RFLAGS_NT = 1 << 14
};

struct cpuid nondet_cpuid(void);
uint64_t nondet_msr(void);

/* Given by each proof: its model of memory and of the core it runs on. */
uint64_t cpu_pa(const void *kernel_address);
void *cpu_pool_address(uint64_t pa);
uint64_t cpu_vmread(uint64_t field);
bool cpu_vmwrite(uint64_t field, uint64_t v);
struct core *cpu_core(void);
uint64_t cpu_tsc(void);
void cpu_zero_page(void *page);
void cpu_copy_words(uint64_t *to, const uint64_t *from, uint64_t words);

static inline uint64_t cpu_unknown(uint64_t v) { return v; }
static inline struct cpuid cpu_cpuid(uint32_t leaf, uint32_t subleaf)
{
    return (void)leaf, (void)subleaf, nondet_cpuid();
}
static inline void cpu_relax(void) {}
static inline void cpu_wbinvd(void) {}
static inline void cpu_clflush(volatile void *line) { (void)line; }
static inline uint64_t cpu_rdmsr(uint32_t msr) { return (void)msr, nondet_msr(); }
static inline void cpu_wrmsr(uint32_t msr, uint64_t v) { (void)msr, (void)v; }
static inline void cpu_write32(uint64_t va, uint32_t v) { (void)va, (void)v; }
static inline void cpu_vmsave(uint64_t pa) { (void)pa; }
static inline void cpu_set_cr3(uint64_t v) { (void)v; }
static inline void cpu_go(uint64_t cr3, uint64_t to, uint64_t rdi, uint64_t rsi)
{
    (void)cr3, (void)to, (void)rdi, (void)rsi;
}
static inline void cpu_set_cr0(uint64_t v) { (void)v; }
static inline uint64_t cpu_cr0(void) { return 0; }
static inline void cpu_get_dr(uint64_t dr[4]) { (void)dr; }
static inline void cpu_set_dr(const uint64_t dr[4]) { (void)dr; }
static inline void cpu_xsetbv(uint64_t v) { (void)v; }
static inline uint64_t cpu_xgetbv(void) { return 1; }
static inline void cpu_clear_buffers(void) {}
static inline void cpu_clts(void) {}
static inline void cpu_xsave(void *area) { (void)area; }
static inline void cpu_xrstor(const void *area) { (void)area; }
static inline void cpu_irq_window(void) {}
static inline bool cpu_vmxon(uint64_t pa) { return (void)pa, true; }
static inline bool cpu_vmclear(uint64_t pa) { return (void)pa, true; }
static inline bool cpu_vmptrld(uint64_t pa) { return (void)pa, true; }
static inline bool cpu_invept(void) { return true; }
static inline void cpu_set_cr2(uint64_t v) { (void)v; }
static inline uint64_t cpu_cr2(void) { return nondet_msr(); }
static inline uint64_t cpu_cr4(void) { return 0; }
static inline void cpu_set_cr4(uint64_t v) { (void)v; }
static inline uint64_t cpu_dr6(void) { return (uint32_t)nondet_msr(); }
static inline void cpu_set_dr6(uint64_t v) { (void)v; }
static inline void cpu_lgdt(const void *p) { (void)p; }
static inline void cpu_end_nmi(void) {}

#endif
