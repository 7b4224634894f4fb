/* The switch's thread: it works while there are frames, in steps that its budget bears
 * (lib/pace.h), then sleeps on its bell. */
#include <lan/switch.h>
#include <lib/pace.h>

static struct lan_switch lan;
static struct pace pace;
static uint64_t limit; /* TSC: the end of the step */

void switch_bell(uint32_t port) { bell_ring(LAN_SM_PORT + port); }

void switch_pause(void)
{
    if (tsc() < limit)
        return;
    pace_end(&pace);
    pace_rest(&pace, LAN_SM_NAP);
    limit = pace_begin(&pace);
}

/* Sleep until the bell rings. The next turn looks at all ports, whoever rang. */
static void sleep(void)
{
    pace_end(&pace);
    bell_wait_all(LAN_SM, 0, pace.tsc_hz);
    pace_rest(&pace, LAN_SM_NAP);
    limit = pace_begin(&pace);
}

void main(void);

/* Entered by lib/start.S with the stack that root gave it; never returns. */
void main(void)
{
    const struct lan_config *config = (const struct lan_config *)LAN_CONFIG;
    switch_init(&lan, config, (uint8_t *)LAN_PORTS);
    pace =
        (struct pace){.tsc_hz = config->tsc_hz, .budget = config->budget, .period = config->period};
    limit = pace_begin(&pace);
    for (uint32_t i = 0; i < lan.ports;
         i++) /* a VMM may still sleep on a full ring of a switch that died */
        switch_bell(i);
    for (;;) {
        while (switch_turn(&lan))
            ;
        sleep();
    }
}
