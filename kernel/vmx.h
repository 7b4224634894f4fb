/* Intel VMX: virt.h's accessors. The vCPU's VMCS is current but where a function says that it makes
   it so. */
#ifndef KERNEL_VMX_H
#define KERNEL_VMX_H

#include <core.h>
#include <virt.h>
#include <vmcs.h>

unsigned vmx_event(struct ec *ec);
void vmx_deliver_again(struct ec *ec, uint64_t vectoring);
void vmx_info(struct ec *ec, unsigned event, struct exit_info *info);
void vmx_record(struct ec *ec, struct vcpu_stat *s);
void vmx_skip(void);
uint64_t vmx_efer(struct ec *ec);
void vmx_write_efer(struct ec *ec, uint64_t value);
void vmx_start_at(struct ec *ec, uint8_t page);
void vmx_inject(struct ec *ec, uint64_t event);
void vmx_store(struct ec *ec, struct exit_state *x, uint64_t mtd);
uint64_t vmx_load(struct ec *ec, const struct exit_state *x, uint64_t mtd);
/* Interrupts: what of the offer and the injection goes into the VMCS; after either has changed. */
void vmx_offer(struct ec *ec);
void vmx_go_home(void);
/* Bits that are the kernel's while a guest runs, which sees its own in their place: CR0.NE and
   CR4.VMXE, which VMX operation wants to be 1; CR0.CD and NW, which an exit leaves as they are: the
   core's caches would stay off for all (SDM3 27.5.1); CR4.MCE, without which a machine check is a
   shutdown instead of an exit (26.8). */
enum { CR0_KEPT = CR0_CD | CR0_NW | CR0_NE, CR4_KEPT = CR4_VMXE | CR4_MCE };
/* MSR bitmaps: of vCPUs that share their core; that have one; that have disengaged, too. */
enum msr_map { MAP_SHARED, MAP_OWN, MAP_ALONE, MAPS };
uint64_t vmx_msrs_pa(enum msr_map map);
/* Of vcpu.msr, as in exit_state; all but the last are numbered from MSR_STAR on. */
enum { VMX_STAR, VMX_LSTAR, VMX_CSTAR, VMX_SFMASK, VMX_KGS_BASE };
/* A WRMSR that exits is done, if it is of one of these; else false. */
bool vmx_keep_msr(struct ec *ec);
/* What vcpu.msr[i] may be, made of `value`: for another WRMSR raises #GP, in the kernel, too. */
uint64_t vmx_legal(uint64_t i, uint64_t value);
/* The instruction is done, or raises #GP(0). */
void vmx_skip_or_fault(struct ec *ec, bool legal);
void vmx_set_control(uint64_t field, uint64_t bits, bool on);

#define guest_control      vmx_control
#define guest_left         vmx_left
#define guest_wrote_msr    vmx_wrote_msr
#define guest_rax          vmx_rax
#define guest_cr4          vmx_cr4
#define guest_event(ec, c) vmx_event(ec)
#define guest_info         vmx_info
#define guest_record       vmx_record
#define guest_skip(c)      vmx_skip()
#define guest_efer         vmx_efer
#define guest_write_efer   vmx_write_efer
#define guest_start_at     vmx_start_at
#define guest_is_kernel(c) ((void)(c), false) /* there is no installed system */
#define guest_inject(c, e) vmx_inject((struct ec *)(c), e)
#define guest_store        vmx_store
#define guest_load         vmx_load

/* It needs none: the VMCS is reached by instructions. */
static inline struct control *vmx_control(struct ec *ec) { return (struct control *)ec; }

static inline void vmx_left(struct ec *ec, struct control *c)
{
    (void)c;
    uint64_t vectoring = cpu_vmread(VMCS_VECTORING);
    ec->vcpu->inject = 0;
    if (vectoring & INJECT_VALID)
        vmx_deliver_again(ec, vectoring);
}

static inline bool vmx_wrote_msr(struct control *c)
{
    (void)c; /* after an entry that failed the reason is an older exit's */
    return !cpu_core()->refused && cpu_vmread(VMCS_REASON) == VMX_WRMSR;
}

static inline uint64_t *vmx_rax(struct ec *ec, struct control *c)
{
    (void)c;
    return &ec->regs.rax;
}

static inline uint64_t vmx_cr4(struct control *c)
{
    (void)c;
    return cpu_vmread(VMCS_CR4);
}

#endif
