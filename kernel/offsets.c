/*
 * The numbers that assembly takes from C. This file is never linked: the Makefile compiles it to
 * assembly text, and makes `.set NAME, VALUE` of each string `->NAME $VALUE` that it finds there
 * ($O/kernel/offsets.inc).
 */
#include <core.h>
#include <vmcs.h>

#define CORE_WORDS(x)                                                                              \
    x(current) x(stack_top) x(scratch) x(loaded) x(host_vmcb_pa) x(abroad) x(host_cr3) x(cr3)
#define CORE_BYTES(x) x(attention) x(doorbell) x(outside) x(launched) x(refused)
#define EC_BYTES(x)   x(hazard) x(way) x(state)
#define REST(x)       x(rsi) x(rdi) x(rbp) x(r8) x(r9) x(r10) x(r11) x(r12) x(r13) x(r14) x(r15)
#define REGS(x)       x(rax) x(rcx) x(rdx) x(rbx) REST(x) x(rip) x(rflags) x(rsp)
#define CONSTANTS(x)                                                                               \
    x(WAY_SYSRET) x(WAY_IRET) x(STATE_READY) x(CALL_PT_REPLY) x(CALL_PD_CREATE) x(SEL_KERNEL_CODE) \
        x(SEL_KERNEL_DATA) x(SEL_USER_DATA) x(SEL_USER_CODE) x(TRAP_STUB) x(KERNEL_BASE)           \
            x(VMCS_HOST_CR3)

#define NUMBER(name, value) __asm__ volatile(".ascii \"->" name " %0\"" : : "i"(value));
#define FIELD(structure, name, field, size)                                                        \
    NUMBER(name, __builtin_offsetof(struct structure, field))                                      \
    _Static_assert(sizeof(((struct structure *)0)->field) == (size),                               \
                   "entry.S takes " #field " by another size");
#define CORE_WORD(f) FIELD(core, "CORE_" #f, f, 8)
#define CORE_BYTE(f) FIELD(core, "CORE_" #f, f, 1)
#define EC_BYTE(f)   FIELD(ec, "EC_" #f, f, 1)
#define REG(r)       FIELD(ec, "EC_" #r, regs.r, 8)
#define CONSTANT(c)  NUMBER(#c, c)

void offsets(void);
void offsets(void)
{
    CORE_WORDS(CORE_WORD)
    CORE_BYTES(CORE_BYTE)
    FIELD(ec, "EC_vmcb_pa", vmcb_pa, 8)
    EC_BYTES(EC_BYTE)
    REGS(REG)
    CONSTANTS(CONSTANT)
}

#define AT(s, field) __builtin_offsetof(struct s, field)
_Static_assert(AT(core, doorbell) == AT(core, attention) + 1, "entry.S: one word");
_Static_assert(WAY_VMX < WAY_SYSRET && WAY_IRET < WAY_SYSRET && WAY_SYSRET < WAY_SVM,
               "entry.S: resume compares once");

/* Orders that C takes for granted: what is first; MTD_REST, a run of words in both (svm_state.c,
   vmx_state.c), and r8..r15, which vmx_operand() counts. */
_Static_assert(0 == AT(core, self) + AT(pd, head) + AT(ec, head) + AT(sc, head) + AT(pt, head) +
                        AT(sm, head) + AT(mr, head) + AT(mp, head) + AT(dv, head),
               "cpu_core() reads `self` at 0; objects[i].head is every type's");
#define PLACE(r)       REST_##r,
#define IN_A_ROW(s, r) (AT(s, r) - AT(s, rsi) == 8 * REST_##r)
#define IN_BOTH(r)                                                                                 \
    _Static_assert(IN_A_ROW(regs, r) && IN_A_ROW(exit_state, r), #r " is out of order");
enum { REST(PLACE) };
REST(IN_BOTH)
