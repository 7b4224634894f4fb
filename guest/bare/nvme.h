/*
 * A polled driver for the admin queue of an NVMe controller of the VM's own
 * (NVMe 1.4, 3.1 and 5), with which queues, data and messages can be aimed
 * anywhere. After nvme_find() it needs no port, so no VMM.
 */
#ifndef GUEST_NVME_H
#define GUEST_NVME_H

#include "bare.h"
#include <lib/hw/msix.h>

#define NVME_PAGE  4096u
#define NVME_QUEUE 64u /* entries: a page of commands */

/* What a witness's memory is full of: commands that put data there, in an attacker's memory, if a
   controller ever read one. Both have GUEST_MEMORY bytes of it. */
#define GUEST_MEMORY 0x800000u
#define NVME_LOOT    0x700000u

/* Where a write is an interrupt message (APM2 16.1, MSI), and the one of them that goes to this
 * core. */
#define NVME_MESSAGES ((uint64_t)MSI_ADDRESS)
static inline uint64_t nvme_own_address(void)
{
    return NVME_MESSAGES | rdmsr(MSR_X2APIC(APIC_ID)) << 12;
}

struct nvme_command {
    uint8_t opcode, flags;
    uint16_t id;
    uint32_t space, reserved[4];
    uint64_t data[2]; /* PRP entries */
    uint32_t word[6]; /* dwords 10 to 15 */
};
_Static_assert(sizeof(struct nvme_command) == NVME_PAGE / NVME_QUEUE, "4.2");

struct nvme {
    uint32_t slot, msix; /* on bus 0; the capability's offset */
    uint64_t registers, table;
    uint16_t tail, head; /* of commands; of answers, since the start */
};

/* Put the controller on bus 0 to use: registers and bus mastering on; false: there is none. */
bool nvme_find(struct nvme *n);
/* Its registers answer although its memory decoding was turned off, which its command register then
 * shows. */
bool nvme_hears_undecoded(const struct nvme *n);
/* Nobody has used it since its reset. (QEMU 10.0 keeps the addresses of the queues, firmware's the
 * first time.) */
bool nvme_is_new(const struct nvme *n);
/* Reset, then enable with these queues; 0: the driver's own. False: it does not get ready. */
bool nvme_start(struct nvme *n, uint64_t commands, uint64_t answers);
/* Identify of the controller (5.15), all of whose 4 KiB go to `to`, or from the next page on to
 * `rest`. */
struct nvme_command nvme_identify(uint64_t to, uint64_t rest);
/* One dword, 0, of the error log (5.14.1.1) to `to`. */
struct nvme_command nvme_zero(uint64_t to);
/* Have it do the command in the driver's own queue. */
void nvme_send(struct nvme *n, struct nvme_command command);
/* The oldest answer that is not taken yet has been seen to. */
void nvme_take(struct nvme *n);
/* Send, wait for the answer, take it; false: too long, or it says that there was an error. */
bool nvme_await(struct nvme *n, struct nvme_command command);
/* It has read or written in vain (CSTS.CFS); waits a while for that. */
bool nvme_gave_up(const struct nvme *n);
/* An entry of the MSI-X table; an admin queue uses entry 0. */
void nvme_message(const struct nvme *n, uint32_t entry, uint64_t address, uint32_t data);
/* Turn MSI-X on; the VMM looks at the table when that is written, even if it was on. */
void nvme_messages_on(const struct nvme *n);

#endif
