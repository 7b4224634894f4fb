/* What a guest may expect of its platform: platform.c asks for one thing a run. */
#ifndef GUEST_PLATFORM_H
#define GUEST_PLATFORM_H

#include "bare.h"

/* Tell the console, or nobody, that it is not so, and end. */
void expect(bool right, const char *what);

/* platform_cpu.c */
void step_processor(void); /* what a processor does for itself, or the kernel for it */
void step_ports(void);     /* MSRs and ports */
void step_halt(void);
void step_priority(void);
void task_priority(void);

/* platform_steps.S: run with RFLAGS.TF; where each instruction ends, up to a 0. */
void steps_processor(void);
void steps_ports(void);
void steps_halt(void);
void steps_priority(void);
extern const uint64_t ends_processor[], ends_ports[], ends_halt[], ends_priority[];

#endif
