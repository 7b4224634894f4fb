/*
 * Registers of the processors, which refuse what the manuals refuse. A refused
 * access fails the test with a line that names the register, the value and the
 * rule; model_refuses() catches it instead.
 */
#ifndef TESTS_MODEL_H
#define TESTS_MODEL_H

#include <cpu.h>
#include <vmcb.h>

/* All cores as the boot stub hands them over, and as firmware may have left what the stub does not touch. */
void model_reset(void);
/* The rule that the accesses of `sequence` break first; NULL: none. */
const char *model_refuses(void (*sequence)(void));
/* The core that executes has taken this interrupt: until its EOI it is in service. */
void model_in_service(uint32_t vector);
/* It enters a guest. */
void model_vmrun(const struct vmcb *v);

#endif
