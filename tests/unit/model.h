/*
 * Registers of the processors, which refuse what the manuals refuse. A refused
 * access fails the test with a line that names the register, the value and the
 * rule; model_refuses() catches it instead.
 */
#ifndef TESTS_MODEL_H
#define TESTS_MODEL_H

#include <cpu.h>
#include <vmcb.h>

/* All cores as the boot stub hands them over, and as firmware may have left what the stub does not
 * touch. */
void model_reset(void);
/* The rule that the accesses of `sequence` break first; NULL: none. */
const char *model_refuses(void (*sequence)(void));
/* The core that executes has taken this interrupt: until its EOI it is in service. */
void model_in_service(uint32_t vector);
/* What an exit for v->code writes besides, of an instruction at v->rip: next_rip (APM2 15.7.1). */
void model_exit(struct vmcb *v);
/* It enters a guest. */
void model_vmrun(const struct vmcb *v);

/* Where the processor would fault, or do something else than what was written. */
void model_refuse(const char *name, uint64_t v, const char *rule);

/* ---- VMX: model_vmx.c ---- */
uint64_t model_vmx_capability(uint32_t msr);
/* VMLAUNCH or VMRESUME, and the state of the core that the guest gets. */
void model_vmx_enter(bool resume);
/* What an exit writes; what a test has set of VMCS_VECTORING and the like stays until the next. */
void model_vmx_exit(uint64_t reason);
/* A field of the VMCS there, as the processor sees it. */
uint64_t model_vmcs(uint64_t pa, uint64_t field);
void model_vmcs_set(uint64_t pa, uint64_t field, uint64_t v);
/* The rule that a VMCS or a core breaks that has nothing to do any more; NULL: none. */
const char *model_vmx_left(void);

#endif
