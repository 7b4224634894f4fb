/* AMD SVM: virt.h's accessors. */
#ifndef KERNEL_SVM_H
#define KERNEL_SVM_H

#include <virt.h>
#include <vmcb.h>

enum { SVM_EXITS = EXIT_XSETBV - EXIT_FIRST + 1 };
extern const struct svm_exit {
    uint8_t event, length; /* event 0: svm_rare_event() knows; length: without prefixes */
} svm_exits[SVM_EXITS];
extern uint32_t svm_flush;   /* the VMCB's order to flush what guests have in the TLB */
extern bool svm_guesses_rip; /* the processor does not say where an instruction ends */

unsigned svm_rare_event(struct ec *ec) RARE;
void svm_refused(const struct ec *ec) RARE;
void svm_info(const struct ec *ec, unsigned event, struct exit_info *info);
void svm_record(const struct ec *ec, struct vcpu_stat *s);
uint64_t svm_efer(const struct ec *ec);
void svm_write_efer(struct ec *ec, uint64_t value);
void svm_store(const struct ec *ec, struct exit_state *x, uint64_t mtd);
uint64_t svm_load(struct ec *ec, const struct exit_state *x, uint64_t mtd);
/* As virt.h calls them. */
#define guest_control    svm_control
#define guest_left       svm_left
#define guest_wrote_msr  svm_wrote_msr
#define guest_event      svm_event
#define guest_skip       svm_skip
#define guest_rax        svm_rax
#define guest_cr4        svm_cr4
#define guest_inject     svm_inject
#define guest_info       svm_info
#define guest_record     svm_record
#define guest_efer       svm_efer
#define guest_write_efer svm_write_efer
#define guest_start_at   svm_start_at
#define guest_is_kernel  svm_is_kernel
#define guest_store      svm_store
#define guest_load       svm_load

#define SVM_TRAP (INJECT_VALID | INJECT_EXCEPTION | 1) /* #DB */

static inline struct control *svm_control(const struct ec *ec)
{
    return (struct control *)ec->vcpu->vmcb;
}
static inline struct vmcb *svm_vmcb(struct control *c) { return (struct vmcb *)c; }

static inline void svm_left(struct ec *ec, struct control *c)
{
    struct vmcb *v = svm_vmcb(c);
    v->tlb_control = 0;
    v->inject = v->exit_int & INJECT_VALID ? v->exit_int : 0; /* APM2 15.7.1 */
    if (__builtin_expect((uint32_t)v->code == EXIT_INVALID, 0))
        svm_refused(ec);
}

static inline bool svm_wrote_msr(struct control *c)
{
    struct vmcb *v = svm_vmcb(c);
    if (v->code != EXIT_MSR || v->info1 != 1)
        return false;
    if (svm_guesses_rip)
        v->next_rip = v->rip + 2;
    return true;
}

static inline unsigned svm_event(struct ec *ec, struct control *c)
{
    struct vmcb *v = svm_vmcb(c);
    uint64_t i = v->code - EXIT_FIRST;
    unsigned event = i < SVM_EXITS ? svm_exits[i].event : EVENT_START;
    if (event == EVENT_START)
        return svm_rare_event(ec);
    if (svm_guesses_rip)
        v->next_rip = event == EVENT_PORT ? v->info2 : v->rip + svm_exits[i].length;
    return event;
}

/* APM2 13.1.4: the trap of a guest that steps follows the instruction. */
static inline void svm_trap(struct vmcb *v)
{
    v->dr6 |= DR6_STEP;
    v->inject = SVM_TRAP;
}

static inline void svm_skip(struct control *c)
{
    struct vmcb *v = svm_vmcb(c);
    v->rip = v->next_rip;
    v->shadow = 0;
    if (__builtin_expect((v->rflags & RFLAGS_TF) != 0, 0))
        svm_trap(v);
}

static inline uint64_t *svm_rax(struct ec *ec, struct control *c)
{
    (void)ec;
    return &svm_vmcb(c)->rax;
}

static inline bool svm_is_kernel(struct control *c) { return svm_vmcb(c)->cpl == 0; }

static inline uint64_t svm_cr4(struct control *c) { return svm_vmcb(c)->cr4; }

static inline void svm_inject(struct control *c, uint64_t event) { svm_vmcb(c)->inject = event; }

#endif
