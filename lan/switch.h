/*
 * The learning switch of one LAN: a user program in a domain of its own, which
 * shares one pair of rings with each VMM and trusts none of them.
 */
#ifndef LAN_SWITCH_H
#define LAN_SWITCH_H

#include <lan/lan_ring.h>
#include <lib/offload.h>

#define SWITCH_LEARNED 8u /* MACs learned per port, besides the plan's own */
#define SWITCH_BURST   8u /* slots of frames taken from a port before the next port's turn */

struct switch_port {
    struct lan_ring *to_lan,
        *to_vm;   /* shared with its VMM: also count the frames that are lost here */
    uint64_t mac; /* the plan's MAC of this port          */
    uint64_t learned[SWITCH_LEARNED]; /* other sources seen here; 0: none     */
    uint32_t learned_next;            /* the entry that is replaced next      */
};

struct lan_switch {
    uint32_t ports, mtu;
    uint32_t hub;  /* as in lan_config */
    uint32_t next; /* the port, modulo their number, whose turn comes first */
    struct switch_port port[PLAN_VMS];
    /* The frame under way, in its sender's ring; what is looked at of it are private copies. */
    const struct lan_frame *frame;
    uint32_t size, headers_size; /* bytes of the frame, and of the copy of its front */
    struct lan_offload offload;
    uint8_t headers[LAN_HEADERS];
};

/* Set up `config->ports` ports, at most PLAN_VMS; port i's rings are at `rings` + i *
 * LAN_PORT_STRIDE. */
void switch_init(struct lan_switch *s, const struct lan_config *config, uint8_t *rings);

/* Give every port one turn of SWITCH_BURST slots of frames. True: a frame was taken somewhere. */
bool switch_turn(struct lan_switch *s);

/* Ring the bell of port 0..ports-1's VMM (provided by main.c, or a test). */
void switch_bell(uint32_t port);

/* Called after each frame, and each part of one: the switch may rest here (provided likewise). */
void switch_pause(void);

#endif
