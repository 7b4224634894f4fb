/*
 * The rest of the VMM, for tests of vmm/virtio/ on the host. Included before
 * every file (-include): it moves the fixed addresses of abi/vm.h into arrays
 * with sanitizer red zones around them, and catches the system calls.
 */
#ifndef TESTS_FAKE_VMM_H
#define TESTS_FAKE_VMM_H

#include <abi/vm.h>
#include <lib/call.h>
#include <stdbool.h>
#include <stddef.h>

#define FAKE_RAM  0x10000u /* bytes of guest memory */
#define FAKE_DISK 0x4000u  /* bytes of each disk    */
#define FAKE_LOG  256u

struct fake {
    struct vm_config *config;
    struct vm_control *control;
    uint8_t *ram, *msix, *disk[PLAN_DISKS];
    uint8_t *ecam[PLAN_DEVICES], *table[PLAN_DEVICES];
    struct utcb *utcb;   /* of the only handler */
    uint8_t *lan;        /* its ports: LAN_PORT_BYTES; with volumes as in abi/vm.h */
    void (*slept)(void); /* called where a thread sleeps; NULL: nothing happens meanwhile */
    uint8_t pci[16][256];
    bool msix_off, msix_masked;           /* of all functions               */
    uint32_t bar1[16];                    /* where it was moved, 0: nowhere */
    uint32_t messages, message[FAKE_LOG]; /* data words given to apic_send_msi   */
    uint32_t bells[CAP_SLOTS];            /* ups of each semaphore          */
    uint32_t recalls[PLAN_VCPUS];
    char out[FAKE_LOG], in[FAKE_LOG];     /* the console's rings            */
    uint32_t out_size, out_room, in_size; /* bytes                          */
    bool claimed;                         /* the input is the UART's        */
    /* The processor's random words: has it them, how many are ready, and what they are, but for a
       count in the low bits. */
    bool has_random;
    uint32_t random;
    uint64_t random_word, random_step;
};
extern struct fake fake;

#undef VMM_CONFIG
#undef VMM_CONTROL
#undef VMM_RAM
#undef VMM_MSIX
#undef VMM_LANPORT
#undef VMM_ECAM
#undef VMM_TABLE
#undef VMM_HUTCB
#define VMM_CONFIG   ((uintptr_t)fake.config)
#define VMM_CONTROL  ((uintptr_t)fake.control)
#define VMM_RAM      ((uintptr_t)fake.ram)
#define VMM_MSIX     ((uintptr_t)fake.msix)
#define VMM_LANPORT  ((uintptr_t)fake.lan)
#define VMM_ECAM(i)  ((uintptr_t)fake.ecam[i])
#define VMM_TABLE(i) ((uintptr_t)fake.table[i])
#define VMM_HUTCB(i) ((void)(i), (uintptr_t)fake.utcb)

/* In the place of lib/hw/random.h. */
#define LIB_HW_RANDOM_H
#define cpu_random fake_random
static inline bool cpu_has_random(void) { return fake.has_random; }
bool fake_random(uint64_t *word);

#define sm_up     fake_sm_up
#define sm_down   fake_sm_down
#define ec_recall fake_ec_recall
#define pt_reply  fake_pt_reply
#define pt_call   fake_pt_call
#define dv_irq    fake_dv_irq
uint64_t fake_sm_up(uint64_t sm);
static inline uint64_t fake_sm_down(uint64_t sm, uint64_t deadline)
{
    (void)sm, (void)deadline;
    if (fake.slept)
        fake.slept();
    return OK;
}
uint64_t fake_ec_recall(uint64_t slot);
void fake_pt_reply(uint64_t words) __attribute__((noreturn));
uint64_t fake_pt_call(uint64_t pt, uint64_t words);
struct result fake_dv_irq(uint64_t dv, uint64_t vcpu, uint64_t index, uint64_t vector);

/* Everything fresh: RAM zero, two disks of a pattern (the second read-only), a LAN, virtio_init
 * called. */
void fake_start(void);
void fake_start_lan(uint16_t mtu); /* the same, on a LAN of that MTU */
/* The same, of VM 2 and without a LAN, with `volumes` disks of VM 1's in place of files;
 * virtio_init is not called. */
void fake_start_volumes(uint32_t volumes);
void fake_stop(void);

#endif
