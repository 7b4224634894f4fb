/*
 * The kernel booted on the host, driven call by call. Tests act as root, which
 * sleeps: its table and its authority stay. All that a test makes belongs to
 * LAB, a domain of its own; the end of a test destroys it and compares the
 * kernel's counters with those before.
 */
#ifndef TESTS_RIG_H
#define TESTS_RIG_H

#include "test.h"
#include <apic.h>
#include <cap.h>
#include <core.h>
#include <ec.h>
#include <pt.h>
#include <mr.h>
#include <pd.h>
#include <frame.h>
#include <ptab.h>
#include <sched.h>
#include <sm.h>
#include <vcpu.h>
#include <vmcb.h>
#include <abi/boot.h>
#include "../invariant/look.h"

/* Slots of root's table. The rig's RAM region has its frames from RAM_FRAME on; nothing is behind
 * them. */
enum { LAB = 40, RIG_FREE = 64, RAM = SLOT_ROOT_MR, DEVICE = SLOT_ROOT_MR + 1 };
enum {
    RAM_FRAME = 0x100000,
    RAM_FRAMES = 0x200000,
    DEVICE_FRAME = 0xfee00,
    DEVICE_FRAMES = 4 * MAX_IOMMUS
};
enum { LAB_FRAMES = 3 * MAX_VCPUS + 40, LAB_OBJECTS = MAX_VCPUS + 50, SLICE = 1000, EVENTS = 128 };

extern struct pd *root;

int rig_boot(void **state); /* once a program: init_kernel(), then a second core */
int rig_begin(void **state);
int rig_begin_guessing(void **state); /* the processor does not say where an instruction ends */
int rig_end(void **state);

#define RIG_TEST(f)          cmocka_unit_test_setup_teardown(f, rig_begin, rig_end)
#define RIG_TEST_GUESSING(f) cmocka_unit_test_setup_teardown(f, rig_begin_guessing, rig_end)
#define RIG_RUN(all)         cmocka_run_group_tests(all, rig_boot, NULL)

/* What a capability in root's table names. */
void *object_at(uint64_t slot);

/* Root makes things; each returns its slot in root's table and must succeed. Frames and objects
 * come out of LAB's. */
uint64_t make_pd(enum pd_kind kind, uint64_t frames, uint64_t objects_quota);
uint64_t make_ec(uint64_t pd, uint64_t core,
                 enum ec_kind kind); /* events from slot EVENTS of pd on */
uint64_t make_sc(uint64_t ec, uint64_t priority, uint64_t budget, uint64_t period);
uint64_t make_pt(uint64_t ec, uint64_t mtd, uint64_t id);
uint64_t make_sm(uint64_t count);
void give(uint64_t slot, uint64_t pd, uint64_t to,
          uint64_t rights); /* a copy into slot `to` of pd's table */
uint64_t slot_new(void);
void slots_again(
    uint64_t first); /* root's slots from `first` on are empty; slot_new() begins there */

/* A thread in a domain of its own, with time: its slot; that domain's in *pd. */
uint64_t make_thread(uint64_t core, uint64_t priority, uint64_t *pd);

uint64_t graph(uint64_t call, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4,
               uint64_t a5); /* as root, any core */
uint64_t end(uint64_t slot); /* CALL_DESTROY by root */

/* The core that executes: as far as entry.S would go, until user or guest code runs or nothing
 * does. */
void settle(void);
struct ec *current(void);
/* `ec`, which must be current, makes a system call; its rax as it is afterwards. */
uint64_t call(struct ec *ec, uint64_t number, uint64_t a1, uint64_t a2);
void reply(struct ec *ec, uint64_t words);
void vm_exit(struct ec *vcpu, uint64_t code); /* `vcpu`, current, exits: model_exit() */
void fault(struct ec *ec, uint64_t vector, uint64_t error);
void on_core(uint32_t number);
/* IPIs arrive wherever they wait; all cores settle. */
void deliver(void);
/* Time passes; timers fire when they are due, on all cores. */
void pass(uint64_t ticks);

#endif
