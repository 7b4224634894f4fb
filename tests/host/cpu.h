/*
 * In kernel/cpu.h's place when kernel C is compiled for the host: the constants
 * are the kernel's own, the processors are `machine`, and what they refuse
 * stands in tests/unit/model.c. Kernel addresses are physical addresses here.
 */
#ifndef TESTS_HOST_CPU_H
#define TESTS_HOST_CPU_H

#include "../../kernel/cpu.h"

enum { MACHINE_CORES = MAX_CORES, MACHINE_FPU = 0x340, MACHINE_MSRS = 160 };

/* What each core has for itself. */
struct processor {
    uint64_t cr0, cr2, cr3, cr4, xcr0, dr[4], dr6;
    uint64_t vmxon, vmcs;       /* the region; the current VMCS. 0: none */
    uint64_t apic[64];          /* registers of the local APIC, by x2APIC number */
    uint64_t msr[MACHINE_MSRS]; /* others, by their row in model.c               */
    uint64_t bank[12];          /* of machine checks, four a bank                */
    uint8_t fpu[MACHINE_FPU];
    uint64_t timer_at; /* TSC at which the APIC timer fires; 0: never */
};

struct machine {
    struct core *core; /* the one that executes                             */
    struct processor cpu[MACHINE_CORES];
    bool intel;                  /* whose processor it is, by CPUID 0 ECX                */
    uint32_t signature;          /* CPUID 1 EAX                                          */
    uint64_t more_states;        /* that XCR0 may have, beside the model's own           */
    bool below;                  /* a hypervisor, by CPUID 1 ECX                         */
    uint32_t last_leaf;          /* of the extended ones: CPUID 8000_0000h EAX           */
    uint32_t more_features;      /* CPUID 8000_0021h EAX, if there is such a leaf or not */
    bool all_features;           /* all ones in its leaf 7                               */
    bool no_x2apic;              /* by the same                                          */
    bool no_next_rip;            /* exits do not say where an instruction ends           */
    uint32_t prefixes;           /* bytes of them before an instruction that exits       */
    uint64_t wild_next_rip;      /* what exits say that are no instructions              */
    uint64_t tsc;                /* stands still unless a test moves it                  */
    uint32_t ipis;               /* bit i: an IPI waits at core i                        */
    uint32_t nmis;               /* the same of NMIs                                     */
    uint32_t barriers;           /* IBPBs                                                */
    uint32_t clears;             /* of the core's buffers                                */
    bool buffered;               /* a vCPU's registers, which no VERW has cleared since  */
    bool no_barrier;             /* by CPUID; and no flush by ASID                       */
    uint32_t ended;              /* EOIs                                                 */
    uint32_t written_back;       /* WBINVDs                                              */
    volatile void *written_line; /* by the last CLFLUSH                                 */
    void (*icr)(uint64_t v);     /* told of every ICR write, which then goes nowhere     */
    void (*zeroed)(void *page);  /* told of pages outside host memory that are cleaned   */
    uint32_t nmis_ended;         /* IRETs for NMIs that ended a guest's run              */
    uint32_t started;            /* INIT, SIPI, SIPI that were sent                      */
    void (*before_and)(void);    /* what happens elsewhere before an atomic AND; once    */
    void (*relax)(void);         /* what happens elsewhere while a core spins            */
    void (*flushed)(void);       /* told of every CR3 write                              */
    void (*window)(void);        /* interrupts are let in for a moment                   */
    uint64_t (*read)(uint64_t va, unsigned bytes); /* registers of devices  */
    void (*write)(uint64_t va, unsigned bytes, uint64_t v);
    void (*left)(uint64_t rdi,
                 uint64_t vmcb); /* told of a core that is given back; does not return */
    void (*halted)(void);        /* told when the kernel has stopped; need not return  */
    char serial[128];            /* what the kernel said at the end                    */
};
extern struct machine machine;

static inline void machine_before_and(void)
{
    void (*happens)(void) = machine.before_and;
    machine.before_and = 0;
    if (happens)
        happens();
}
#define __atomic_fetch_and(...) (machine_before_and(), __atomic_fetch_and(__VA_ARGS__))

uint64_t machine_rdmsr(uint32_t msr);
void machine_wrmsr(uint32_t msr, uint64_t v);
void machine_set_cr0(uint64_t v);
void machine_set_dr6(uint64_t v);
void machine_set_cr3(uint64_t v);
void machine_set_cr4(uint64_t v);
void machine_xsetbv(uint64_t v);
struct cpuid machine_cpuid(uint32_t leaf);
struct processor *machine_cpu(void);
void machine_vmsave(uint64_t pa);
bool machine_vmxon(uint64_t pa);
bool machine_vmclear(uint64_t pa);
bool machine_vmptrld(uint64_t pa);
bool machine_vmwrite(uint64_t field, uint64_t v);
uint64_t machine_vmread(uint64_t field);
bool machine_invept(void);
void machine_xsave(void *area);
void machine_xrstor(const void *area);
void machine_say(uint8_t c);
void machine_zero(void *page);
void machine_go(uint64_t to, uint64_t rdi, uint64_t rsi);
void machine_copy(uint64_t *to, const uint64_t *from, uint64_t words);
void machine_copy_dr(uint64_t *to, const uint64_t *from);
void machine_idle(void) __attribute__((noreturn));
void machine_halt(void) __attribute__((noreturn));

#define cpu_pa(address)                 ((uint64_t)(address))
#define cpu_pool_address(pa)            ((void *)(pa))
#define cpu_core()                      (machine.core)
#define cpu_cpuid(leaf, subleaf)        ((void)(subleaf), machine_cpuid(leaf))
#define cpu_rdmsr(msr)                  machine_rdmsr(msr)
#define cpu_wrmsr(msr, v)               machine_wrmsr(msr, v)
#define cpu_tsc()                       (machine.tsc)
#define cpu_read32(va)                  ((uint32_t)machine.read(va, 4))
#define cpu_read64(va)                  machine.read(va, 8)
#define cpu_write32(va, v)              machine.write(va, 4, v)
#define cpu_write64(va, v)              machine.write(va, 8, v)
#define cpu_wbinvd()                    ((void)machine.written_back++)
#define cpu_clflush(at)                 ((void)(machine.written_line = (at)))
#define cpu_outb(port, v)               machine_say(v)
#define cpu_inb(port)                   0x20
#define cpu_cr0()                       (machine_cpu()->cr0)
#define cpu_cr2()                       (machine_cpu()->cr2)
#define cpu_set_cr2(v)                  ((void)(machine_cpu()->cr2 = (v)))
#define cpu_cr4()                       (machine_cpu()->cr4)
#define cpu_dr6()                       (machine_cpu()->dr6)
#define cpu_set_dr6(v)                  machine_set_dr6(v)
#define cpu_set_cr0(v)                  machine_set_cr0(v)
#define cpu_set_cr3(v)                  machine_set_cr3(v)
#define cpu_set_cr4(v)                  machine_set_cr4(v)
#define cpu_get_dr(to)                  machine_copy_dr(to, machine_cpu()->dr)
#define cpu_set_dr(from)                machine_copy_dr(machine_cpu()->dr, from)
#define cpu_xsetbv(v)                   machine_xsetbv(v)
#define cpu_xgetbv()                    (machine_cpu()->xcr0)
#define cpu_clear_buffers()             ((void)(machine.clears++, machine.buffered = false))
#define cpu_clts()                      machine_set_cr0(machine_cpu()->cr0 & ~(uint64_t)CR0_TS)
#define cpu_xsave(area)                 machine_xsave(area)
#define cpu_xrstor(area)                machine_xrstor(area)
#define cpu_lgdt(...)                   ((void)(__VA_ARGS__))
#define cpu_lidt(...)                   ((void)(__VA_ARGS__))
#define cpu_ltr(sel)                    ((void)(sel))
#define cpu_reload_segments()           ((void)0)
#define cpu_vmsave(pa)                  machine_vmsave(pa)
#define cpu_vmxon(pa)                   machine_vmxon(pa)
#define cpu_vmclear(pa)                 machine_vmclear(pa)
#define cpu_vmptrld(pa)                 machine_vmptrld(pa)
#define cpu_vmwrite(field, v)           machine_vmwrite(field, v)
#define cpu_vmread(field)               machine_vmread(field)
#define cpu_invept()                    machine_invept()
#define cpu_end_nmi()                   ((void)machine.nmis_ended++)
#define cpu_flags()                     0ull /* the kernel runs with interrupts off */
#define cpu_relax()                     machine.relax()
#define cpu_irq_window()                (machine.window ? machine.window() : (void)0)
#define cpu_idle(interrupts)            ((void)(interrupts), machine_idle())
#define cpu_reset()                     machine_halt()
#define cpu_go(cr3, to, rdi, rsi)       ((void)(cr3), machine_go(to, rdi, rsi))
#define cpu_zero_page(page)             machine_zero(page)
#define cpu_copy_words(to, from, words) machine_copy(to, from, words)

#endif
