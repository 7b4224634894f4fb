/* The switch's thread: it works while there are frames, then sleeps on its bell. */
#include <lan/switch.h>
#include <lib/call.h>

static struct lan_switch lan;

void switch_bell(uint32_t port) { sm_up(LAN_SM_PORT + port); }

void main(void);

/* Entered by lib/start.S with the stack that root gave it; never returns. */
void main(void)
{
    switch_init(&lan, (const struct lan_config *)LAN_CONFIG, (uint8_t *)LAN_PORTS);
    for (uint32_t i = 0; i < lan.ports; i++) /* some may wait for a switch that died */
        switch_bell(i);
    for (;;) {
        while (switch_turn(&lan))
            ;
        sm_down(LAN_SM, 0);
    }
}
