/* The kernel's memory: one pool of frames, each paid for by a PD. Graph lock for all of it. */
#ifndef KERNEL_FRAME_H
#define KERNEL_FRAME_H

#include <object.h>

struct frame {
    uint8_t byte[PAGE_SIZE];
} __attribute__((aligned(PAGE_SIZE)));

extern struct frame pool[];

/* `more`: frames behind those that the image is linked with; with them at most POOL_MOST. */
void frame_init(uint32_t more);

/* A zeroed frame paid by `payer`, or NULL when its quota or the pool is used up. */
void *frame_new(struct pd *payer);
/* `frames` of them, one behind the other. */
void *frame_run(struct pd *payer, uint32_t frames);
/* Back to the pool and to the quota of whoever paid. */
void frame_free(void *frame);
/* All frames that `owner` still has, page tables and all. */
void frame_free_all(struct pd *owner);

/* The pool frame that a page-table entry points to. */
uint64_t *frame_table(uint64_t entry);

#endif
