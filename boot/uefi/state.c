/*
 * What a processor is at: the state with which a vCPU goes on in its place. Interrupts are off.
 * Nothing here is of the firmware's or of Linux's: the module for a launch beneath a running system
 * (linux/) has it, too.
 */
#include "state.h"
#include <cpu.h>

struct pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

/* A segment register as the descriptor table has it (APM2 4.7, 4.8). */
static struct segment segment(const struct pointer *gdt, uint16_t selector, uint64_t base)
{
    const uint64_t *d = (const void *)(gdt->base + (selector & ~7u));
    struct segment s = {.selector = selector, .base = base};
    if (selector < 8)
        return s;
    s.attrib = (uint16_t)((d[0] >> 40 & 0xff) | (d[0] >> 52 & 0xf) << 8);
    s.limit = (uint32_t)((d[0] & 0xffff) | (d[0] >> 32 & 0xf0000));
    s.limit = s.attrib & 0x800 ? s.limit << 12 | 0xfff : s.limit;
    if (!(s.attrib & 0x10)) /* of the system's, in 64-bit mode: it has 16 bytes */
        s.base = (d[0] >> 16 & 0xffffff) | (d[0] >> 32 & 0xff000000) | d[1] << 32;
    return s;
}

#define SELECTOR(name)                                                                             \
    ({                                                                                             \
        uint16_t s;                                                                                \
        __asm__ volatile("mov %%" name ", %0" : "=r"(s));                                          \
        s;                                                                                         \
    })
static void leave_segments(struct exit_state *x)
{
    struct pointer gdt, idt;
    uint16_t tr, ldt;
    __asm__ volatile("sgdt %0; sidt %1; str %2; sldt %3"
                     : "=m"(gdt), "=m"(idt), "=r"(tr), "=r"(ldt));
    x->seg[SEG_ES] = segment(&gdt, SELECTOR("es"), 0);
    x->seg[SEG_CS] = segment(&gdt, SELECTOR("cs"), 0);
    x->seg[SEG_SS] = segment(&gdt, SELECTOR("ss"), 0);
    x->seg[SEG_DS] = segment(&gdt, SELECTOR("ds"), 0);
    x->seg[SEG_FS] = segment(&gdt, SELECTOR("fs"), cpu_rdmsr(0xc0000100));
    x->seg[SEG_GS] = segment(&gdt, SELECTOR("gs"), cpu_rdmsr(MSR_GS_BASE));
    x->seg[SEG_LDTR] = segment(&gdt, ldt, 0);
    x->seg[SEG_TR] = segment(&gdt, tr, 0);
    x->seg[SEG_TR].attrib = tr ? x->seg[SEG_TR].attrib : 0x8b; /* there is always one, busy */
    x->seg[SEG_GDTR] = (struct segment){.limit = gdt.limit, .base = gdt.base};
    x->seg[SEG_IDTR] = (struct segment){.limit = idt.limit, .base = idt.base};
}

static void leave_msrs(struct exit_state *x)
{
    x->efer = cpu_rdmsr(MSR_EFER);
    x->star = cpu_rdmsr(MSR_STAR), x->lstar = cpu_rdmsr(MSR_LSTAR), x->cstar = cpu_rdmsr(MSR_CSTAR);
    x->sfmask = cpu_rdmsr(MSR_SFMASK), x->kernel_gs = cpu_rdmsr(MSR_KGS_BASE);
    x->sysenter_cs = cpu_rdmsr(0x174), x->sysenter_esp = cpu_rdmsr(0x175),
    x->sysenter_eip = cpu_rdmsr(0x176);
    x->pat = cpu_rdmsr(MSR_PAT);
}

void state_leave(struct exit_state *x)
{
    x->rflags = 2;
    x->cr0 = CPU_READ("cr0"), x->cr2 = CPU_READ("cr2"), x->cr3 = CPU_READ("cr3");
    x->cr4 = CPU_READ("cr4"), x->dr6 = CPU_READ("dr6"), x->dr7 = CPU_READ("dr7");
    x->xcr0 = x->cr4 & CR4_OSXSAVE ? cpu_xgetbv() : 1;
    leave_segments(x);
    leave_msrs(x);
}
