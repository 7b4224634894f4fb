/*
 * A volume: a disk whose blocks come from the VM's service VM, by ATA over Ethernet (AoE, protocol
 * revision 1) on a LAN of their own. A volume is shelf.slot there: the VM's number and the disk's.
 *
 * The server may be hostile. It decides what the volume's blocks are, and when; nothing else. An
 * answer counts if it is the server's, has the tag of a frame that is on its way, and is long
 * enough; any other is dropped. A frame without an answer is sent again, for as long as it takes:
 * a server that is restarted keeps its clients waiting, no more. A server that says that it failed,
 * or sends too little, makes the guest's request fail.
 *
 * A write is answered once it is on the medium (the server opens it O_SYNC), so a flush has only to
 * come after all writes before it; it is sent nevertheless, for servers that have a cache.
 */
#ifndef VMM_AOE_H
#define VMM_AOE_H

#include <vmm/virtio/virtio.h>

enum aoe_command { AOE_READ, AOE_WRITE, AOE_FLUSH, AOE_IDENTIFY };
enum aoe_result {
    AOE_DONE,   /* the oldest request is done                               */
    AOE_FAILED, /* and failed                                               */
    AOE_MORE,   /* go on at once                                            */
    AOE_WAIT,   /* go on when the worker's bell rings, or after some time   */
};

/* Ask the server for all volumes of the plan, and wait until it has answered; on the worker, before
 * the guest runs. NULL; or the name of a volume that a server which is ready does not have. */
const char *aoe_find(void);
/* Sectors of volume `disk`, 0..PLAN_DISKS - 1, once it was found. */
uint64_t aoe_sectors(uint32_t disk);
#define AOE_REQUESTS 16u /* under way at once, power of two */
#define AOE_WRITE_AT 16u /* bytes of a chain before what it writes */

/* Requests under way, 0..AOE_REQUESTS: those of the queue's next chains, in their order. Under the
 * device's lock, here and below. */
uint32_t aoe_begun(uint32_t disk);
/* Begin one more: `size` bytes, whole sectors of the volume. */
void aoe_begin(uint32_t disk, enum aoe_command command, uint64_t sector, uint64_t size);
/* Go on with all of them. What comes of it is about the oldest: done or failed, it is no longer
 * under way. The data is in its chain in `q`, whose next one is `c`: in the readable bytes from
 * AOE_WRITE_AT on (AOE_WRITE), or in the writable ones from 0 (AOE_READ). */
enum aoe_result aoe_go(uint32_t disk, const struct virtqueue *q, const struct chain *c);
/* All of them are given up. */
void aoe_drop(uint32_t disk);
/* Is an answer awaited? Then look again, soon. */
bool aoe_waits(void);

#endif
