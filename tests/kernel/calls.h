/*
 * The parts of the system-call test, and the objects that several of them use.
 */
#ifndef KERNEL_CALLS_H
#define KERNEL_CALLS_H

#include "kit.h"

/* Fixed objects, made by calls_setup(); each slot holds all rights. */
enum calls_slot {
    C_PD = KIT_FREE, /* a host domain with this image            */
    C_GUEST,         /* a guest domain                           */
    C_VCPU,          /* in C_GUEST                               */
    C_FREE_THREAD,   /* a thread without time                    */
    C_PT,            /* of C_HANDLER                             */
    C_SM,            /* count 1,000,000                          */
    C_MR,            /* C_MR_FRAMES of RAM, mapped nowhere       */
    C_DEVICE,        /* one frame of RANGE_DEVICE                */
    C_DV,            /* a function of C_GUEST, if calls_unit     */
    C_STALE,         /* a semaphore that was destroyed           */
    C_COPY,          /* for copies with fewer rights             */
    C_NEW,           /* where successful calls put what they make */
    C_LOCAL,         /* from here on each part's own             */
};
#define C_HANDLER   KIT_THREAD     /* the kit's handler 0, of C_PD */
#define C_TIME      (KIT_TIME + 1) /* of the kit's thread 1, of C_PD, which has nothing to do */
#define C_MR_FRAMES 2048u
#define C_RID       0x18u /* of C_DV */
#define C_BUSES     1u    /* behind the unit */

extern bool calls_unit; /* the machine has an IOMMU, and it was started as unit 0 */

void calls_setup(void);
void calls_teardown(void);
/* OK or the difference: reports FAIL with both statuses. Returns whether equal. */
bool calls_expect(const char *name, const char *what, uint64_t got, enum status status,
                  unsigned arg);

#define CALLS_BIT(call) (1ull << (call))
/* Each call has a row, or is one of those that have nothing to be tried; says which is not so. */
bool calls_covered(const char *name, uint64_t rows, uint64_t without);

void args_test(void);    /* args.c: each capability argument of each call   */
void numbers_test(void); /* numbers.c: each number                          */
void wild_test(void);    /* wild.c: user code that does what it must not    */
void life_test(void);    /* life.c: quotas, destruction, stale capabilities */
void time_test(void);    /* time.c: semaphores, deadlines, priorities, cores */

#endif
