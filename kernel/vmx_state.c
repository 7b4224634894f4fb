/*
 * Intel VMX: a vCPU's state, copied in groups of registers out of the VMCS at an exit
 * and into it at the reply. Own core.
 */
#include <apic.h>
#include <core.h>
#include <vmx.h>

/* Another guest may have run on the core since. */
static void focus(struct ec *ec) { vcpu_load_core(cpu_core(), ec); }

/* Where the instruction that exited ends; 0: none did. */
static uint64_t next_rip(const struct ec *ec)
{
    return vcpu_is_instruction(ec) ? cpu_vmread(VMCS_RIP) + cpu_vmread(VMCS_LENGTH) : 0;
}

/* The guest goes on at `rip`, out of the shadows of STI and MOV SS. Behind an instruction that is
   done, one that steps has its trap. */
static void go_on(uint64_t rip, bool done)
{
    enum { STEP = 1 << 14 };
    cpu_vmwrite(VMCS_RIP, rip);
    vmx_set_control(VMCS_BLOCKING, BLOCKING_INTR, false);
    if (done && cpu_vmread(VMCS_RFLAGS) & RFLAGS_TF)
        cpu_vmwrite(VMCS_PENDING_DEBUG, STEP);
}

void vmx_skip(void) { go_on(cpu_vmread(VMCS_RIP) + cpu_vmread(VMCS_LENGTH), true); }

/* What an entry would refuse (SDM3 26.2.1.3, 26.3.1.5): error codes in real mode, which has none;
   what is injected in a shadow, which it ends; of exceptions only a #DB with RFLAGS.TF. */
void vmx_inject(struct ec *ec, uint64_t event)
{
    uint64_t real = 0;
    if (event & INJECT_ERROR && !(cpu_vmread(VMCS_CR0) & CR0_PE))
        real = INJECT_ERROR;
    if (event & INJECT_VALID)
        vmx_set_control(VMCS_BLOCKING, BLOCKING_INTR, false);
    ec->vcpu->inject = event;
    cpu_vmwrite(VMCS_INJECT, event & 0xffffffff & ~real);
    cpu_vmwrite(VMCS_INJECT_ERROR, event >> 32);
}

void vmx_skip_or_fault(struct ec *ec, bool legal)
{
    if (legal)
        vmx_skip();
    else
        vmx_inject(ec, INJECT_VALID | INJECT_ERROR | INJECT_EXCEPTION | 13);
}

/* May the guest take an interrupt at its next instruction? Not before a trap: an entry that injects
   forgets one that is pending (SDM3 26.7.3). */
static bool is_open(const struct ec *ec)
{
    return !(ec->vcpu->inject & INJECT_VALID) && cpu_vmread(VMCS_RFLAGS) & RFLAGS_IF &&
           !(cpu_vmread(VMCS_BLOCKING) & BLOCKING_INTR) && !cpu_vmread(VMCS_PENDING_DEBUG);
}

void vmx_offer(struct ec *ec)
{
    struct vcpu *v = ec->vcpu;
    bool wants = v->offered >> 4 > v->cr8, now = wants && is_open(ec);
    if (now) {
        vmx_inject(ec, INJECT_VALID | v->offered);
        v->offered = 0;
    }
    vmx_set_control(VMCS_PRIMARY, PRIMARY_INTR_WINDOW, wants && !now);
}

/* Not behind MOV SS, nor before a trap, nor while an event is delivered again: it would replace
   that, which may be an interrupt that the APIC gives no second time. */
bool vmx_give_nmi(struct ec *ec)
{
    focus(ec);
    bool blocked = cpu_vmread(VMCS_BLOCKING) & (BLOCKING_NMI | BLOCKING_SS) ||
                   ec->vcpu->inject & INJECT_VALID || cpu_vmread(VMCS_PENDING_DEBUG);
    if (blocked)
        vmx_set_control(VMCS_PRIMARY, PRIMARY_NMI_WINDOW, true);
    else
        vmx_inject(ec, INJECT_VALID | INJECT_NMI | 2);
    return !blocked;
}

void vmx_info(struct ec *ec, unsigned event, struct exit_info *info)
{
    focus(ec);
    uint64_t q = cpu_vmread(VMCS_QUALIFICATION); /* SDM3 27.2.1 */
    *info = (struct exit_info){0};
    if (event == EVENT_MSR) {
        info->number = (uint32_t)ec->regs.rcx;
        info->flags = cpu_vmread(VMCS_REASON) == VMX_WRMSR ? EXIT_WRITE : EXIT_READ;
    } else if (event == EVENT_PORT) {
        info->number = q >> 16 & 0xffff;
        info->size = (uint8_t)((q & 7) + 1);
        info->flags = (uint8_t)((q & 8 ? EXIT_READ : EXIT_WRITE) | (q & 16 ? EXIT_STRING : 0));
    } else if (event == EVENT_MEMORY) {
        info->address = cpu_vmread(VMCS_ADDRESS);
        info->flags = q & 2 ? EXIT_WRITE : EXIT_READ;
        info->flags = q & 4 ? EXIT_EXECUTE : info->flags;
    } else if (event == EVENT_EXCEPTION) {
        uint64_t e = cpu_vmread(VMCS_EVENT);
        info->number = e & 0xff;
        info->flags = e & INJECT_ERROR ? EXIT_ERROR : 0;
        info->error = e & INJECT_ERROR ? (uint32_t)cpu_vmread(VMCS_EVENT_ERROR) : 0;
    }
}

void vmx_record(struct ec *ec, struct vcpu_stat *s)
{
    s->end_code = cpu_vmread(VMCS_REASON);
    s->end_rax = ec->regs.rax;
    s->end_rip = cpu_vmread(VMCS_RIP);
    s->end_cr3 = cpu_vmread(VMCS_CR3);
}

/* ---- segments: the processor's order is ES CS SS DS FS GS LDTR TR; GDTR and IDTR stand apart ----
 */

static uint64_t place(unsigned segment)
{
    if (segment == SEG_LDTR)
        return 12;
    /* mutant: vmx-segment */
    return segment == SEG_TR ? 14 : 2 * segment;
}

static void store_segment(struct segment *s, unsigned i)
{
    uint64_t rights = cpu_vmread(VMCS_RIGHTS + place(i));
    *s = (struct segment){.selector = (uint16_t)cpu_vmread(VMCS_SELECTOR + place(i)),
                          .attrib = (uint16_t)((rights & 0xff) | (rights >> 4 & 0xf00)),
                          .limit = (uint32_t)cpu_vmread(VMCS_LIMIT + place(i)),
                          .base = cpu_vmread(VMCS_BASE + place(i))};
    if (rights & RIGHTS_UNUSABLE)
        s->attrib &= (uint16_t)~0x80;
}

static void load_segment(const struct segment *s, unsigned i)
{
    uint64_t a = s->attrib;
    cpu_vmwrite(VMCS_SELECTOR + place(i), s->selector);
    cpu_vmwrite(VMCS_RIGHTS + place(i),
                (a & 0xff) | (a & 0xf00) << 4 | (a & 0x80 ? 0 : RIGHTS_UNUSABLE));
    cpu_vmwrite(VMCS_LIMIT + place(i), s->limit);
    cpu_vmwrite(VMCS_BASE + place(i), s->base);
}

static void store_segments(struct exit_state *x)
{
    for (unsigned i = 0; i < SEG_COUNT; i++)
        if (i != SEG_GDTR && i != SEG_IDTR)
            store_segment(&x->seg[i], i);
    x->seg[SEG_GDTR] = (struct segment){.limit = (uint32_t)cpu_vmread(VMCS_GDTR_LIMIT),
                                        .base = cpu_vmread(VMCS_GDTR_BASE)};
    x->seg[SEG_IDTR] = (struct segment){.limit = (uint32_t)cpu_vmread(VMCS_IDTR_LIMIT),
                                        .base = cpu_vmread(VMCS_IDTR_BASE)};
    x->cpl = cpu_vmread(VMCS_RIGHTS + place(SEG_SS)) >> 5 & 3;
}

static void load_segments(const struct exit_state *x)
{
    for (unsigned i = 0; i < SEG_COUNT; i++)
        if (i != SEG_GDTR && i != SEG_IDTR)
            load_segment(&x->seg[i], i);
    cpu_vmwrite(VMCS_GDTR_LIMIT, x->seg[SEG_GDTR].limit);
    cpu_vmwrite(VMCS_GDTR_BASE, x->seg[SEG_GDTR].base);
    cpu_vmwrite(VMCS_IDTR_LIMIT, x->seg[SEG_IDTR].limit);
    cpu_vmwrite(VMCS_IDTR_BASE, x->seg[SEG_IDTR].base);
}

void vmx_start_at(struct ec *ec, uint8_t page)
{
    focus(ec);
    cpu_vmwrite(VMCS_SELECTOR + place(SEG_CS), (uint64_t)page << 8);
    cpu_vmwrite(VMCS_BASE + place(SEG_CS), (uint64_t)page << 12);
}

/* ---- control registers ---- */

uint64_t vmx_efer(struct ec *ec)
{
    focus(ec);
    return cpu_vmread(VMCS_EFER);
}

/* The entry asks for long mode by a control of its own (SDM3 26.3.1.1). */
static void set_efer(uint64_t value)
{
    cpu_vmwrite(VMCS_EFER, value);
    /* mutant: vmx-entry */
    vmx_set_control(VMCS_ENTRY, ENTRY_LONG_MODE, value & EFER_LMA);
}

void vmx_write_efer(struct ec *ec, uint64_t value)
{
    focus(ec);
    set_efer((value & ~(uint64_t)EFER_LMA) | (cpu_vmread(VMCS_EFER) & EFER_LMA));
}

static void store_control(const struct ec *ec, struct exit_state *x)
{
    x->cr0 = (cpu_vmread(VMCS_CR0) & ~(uint64_t)CR0_KEPT) | cpu_vmread(VMCS_CR0_SHADOW);
    x->cr2 = ec->vcpu->cr2, x->cr3 = cpu_vmread(VMCS_CR3);
    x->cr4 = cpu_vmread(VMCS_CR4) & ~(uint64_t)CR4_KEPT;
    x->xcr0 = ec->vcpu->xcr0, x->dr6 = cpu_dr6(), x->dr7 = cpu_vmread(VMCS_DR7);
}

static void vmx_load_control(struct ec *ec, const struct exit_state *x)
{
    struct vcpu *v = ec->vcpu;
    uint64_t xcr0 = once(x->xcr0) & 7;
    cpu_vmwrite(VMCS_CR0, (x->cr0 & ~(uint64_t)CR0_KEPT) | CR0_NE);
    cpu_vmwrite(VMCS_CR0_SHADOW, x->cr0 & CR0_KEPT);
    cpu_vmwrite(VMCS_CR3, x->cr3);
    /* mutant: vmx-cr4 */
    cpu_vmwrite(VMCS_CR4, x->cr4 | CR4_KEPT);
    cpu_vmwrite(VMCS_DR7, x->dr7);
    vcpu_unload(cpu_core()); /* CR2, DR6 and XCR0 are in the core */
    v->cr2 = x->cr2;
    v->dr6 = (uint32_t)x->dr6; /* the kernel's MOV to DR6 raises #GP for more */
    if (xcr0 == 1 || xcr0 == 3 || xcr0 == 7)
        v->xcr0 = xcr0;
    focus(ec);
    if (v->inject & INJECT_VALID)
        vmx_inject(ec, v->inject); /* CR0.PE */
}

/* A guest with its own core halts by itself, and would halt on wherever its VMM sends it; and not
   every event may be injected then (SDM3 26.3.1.5). */
static void wake_up(const struct ec *ec)
{
    if (ec->core_mode)
        cpu_vmwrite(VMCS_ACTIVITY, 0);
}

/* ---- groups ---- */

static void vmx_store_rare(const struct ec *ec, struct exit_state *x, uint64_t mtd)
{
    if (mtd & (MTD_CONTROL | MTD_SYSCALL)) /* some of it is in the core */
        vmx_go_home();
    if (mtd & MTD_REST)
        cpu_copy_words(&x->rsi, &ec->regs.rsi, 11);
    if (mtd & MTD_TIMER)
        x->deadline = ec->timer.deadline;
    if (mtd & MTD_CONTROL)
        store_control(ec, x);
    if (mtd & MTD_SEGS)
        store_segments(x);
    if (mtd & MTD_SYSCALL) {
        cpu_copy_words(&x->star, ec->vcpu->msr, VMX_MSRS); /* in their order */
        x->sysenter_cs = cpu_vmread(VMCS_SYSENTER_CS);
        x->sysenter_esp = cpu_vmread(VMCS_SYSENTER_ESP);
        x->sysenter_eip = cpu_vmread(VMCS_SYSENTER_EIP);
        x->pat = cpu_vmread(VMCS_PAT);
    }
}

void vmx_store(struct ec *ec, struct exit_state *x, uint64_t mtd)
{
    focus(ec);
    if (mtd & MTD_ACDB)
        x->rax = ec->regs.rax, x->rcx = ec->regs.rcx, x->rdx = ec->regs.rdx, x->rbx = ec->regs.rbx;
    if (mtd & MTD_RIP)
        x->rip = cpu_vmread(VMCS_RIP), x->next_rip = next_rip(ec);
    if (mtd & MTD_FLAGS)
        x->rflags = cpu_vmread(VMCS_RFLAGS), x->rsp = cpu_vmread(VMCS_RSP);
    if (mtd & MTD_INFO)
        vmx_info(ec, ec->event, &x->info);
    if (mtd & MTD_INJECT) {
        uint64_t blocking = cpu_vmread(VMCS_BLOCKING);
        x->inject = ec->vcpu->inject;
        x->intr = ec->vcpu->offered ? ec->vcpu->offered | INTR_PENDING : 0;
        x->shadow = (blocking & BLOCKING_INTR ? SHADOW_INTR : 0) |
                    (blocking & BLOCKING_NMI ? SHADOW_NMI : 0);
    }
    if (mtd & (MTD_EFER | MTD_CR8)) {
        x->efer = cpu_vmread(VMCS_EFER);
        x->cr8 = ec->vcpu->cr8;
    }
    vmx_store_rare(ec, x, mtd);
}

static void load_syscall(struct ec *ec, const struct exit_state *x)
{
    uint64_t *m = ec->vcpu->msr;
    cpu_copy_words(m, &x->star, VMX_MSRS);
    for (uint64_t i = 0; i < VMX_MSRS; i++)
        /* mutant: vmx-syscall */
        m[i] = vmx_legal(i, m[i]);
    cpu_wrmsr(MSR_CSTAR, m[VMX_CSTAR]);
    cpu_vmwrite(VMCS_SYSENTER_CS, x->sysenter_cs);
    cpu_vmwrite(VMCS_SYSENTER_ESP, x->sysenter_esp);
    cpu_vmwrite(VMCS_SYSENTER_EIP, x->sysenter_eip);
    cpu_vmwrite(VMCS_PAT, x->pat);
}

static void vmx_load_rare(struct ec *ec, const struct exit_state *x, uint64_t mtd)
{
    if (mtd & MTD_REST)
        cpu_copy_words(&ec->regs.rsi, &x->rsi, 11);
    if (mtd & MTD_FLAGS) {
        cpu_vmwrite(VMCS_RFLAGS, x->rflags);
        cpu_vmwrite(VMCS_RSP, x->rsp);
    }
    if (mtd & MTD_APIC && ec->core_mode)
        apic_write_for_guest(once(x->apic_reg), once(x->apic_value));
    if (mtd & MTD_TIMER)
        vcpu_set_deadline(ec, once(x->deadline));
    if (mtd & MTD_TSC)
        cpu_vmwrite(VMCS_TSC_OFFSET, x->tsc_offset);
    if (mtd & MTD_CR8 && !ec->core_mode)
        ec->vcpu->cr8 = x->cr8 & 15;
    if (mtd & MTD_EFER)
        set_efer(x->efer);
    if (mtd & MTD_CONTROL)
        vmx_load_control(ec, x);
    if (mtd & MTD_SEGS)
        load_segments(x);
    if (mtd & MTD_SYSCALL)
        load_syscall(ec, x);
}

uint64_t vmx_load(struct ec *ec, const struct exit_state *x, uint64_t mtd)
{
    focus(ec);
    if (mtd & MTD_ACDB)
        ec->regs.rax = x->rax, ec->regs.rcx = x->rcx, ec->regs.rdx = x->rdx, ec->regs.rbx = x->rbx;
    if (mtd & MTD_RIP) {
        uint64_t rip = once(x->rip), next = next_rip(ec);
        go_on(rip, next && rip == next);
        wake_up(ec);
    }
    if (mtd & MTD_INJECT) {
        uint64_t inject = once(x->inject), intr = once(x->intr);
        if (inject & INJECT_VALID) { /* else a redelivery stays */
            vmx_inject(ec, inject);
            wake_up(ec);
        }
        if ((ec->vcpu->inject & (INJECT_VALID | INJECT_TYPE)) == (INJECT_VALID | INJECT_NMI))
            vmx_set_control(VMCS_PRIMARY, PRIMARY_NMI_WINDOW, true);
        if (!ec->core_mode)
            ec->vcpu->offered = intr & INTR_PENDING ? (uint8_t)intr : 0;
    }
    vmx_load_rare(ec, x, mtd);
    if (mtd & (MTD_INJECT | MTD_CR8 | MTD_FLAGS))
        vmx_offer(ec);
    return mtd;
}
