#include <root/rate.h>

#define MASK      0xffffffu /* what every PM timer has; it wraps after 4.7 s */
#define BRACKETS  50u       /* readings for one sample  */
#define INTERVALS 3u
#define INTERVAL  (PM_TIMER_HZ / 20)
#define DEAD      10000000000ull /* TSC ticks in which a timer must have gone on for an interval */

struct sample {
    uint32_t timer;
    uint64_t tsc;
};

static uint64_t since(const struct rate_source *source, uint64_t before) { return source->tsc() - before; }

/* The timer between two readings of the TSC: of many the one where least came between. */
static struct sample take(const struct rate_source *source)
{
    struct sample best = {0, 0};
    uint64_t width = ~0ull;
    for (uint32_t i = 0; i < BRACKETS; i++) {
        uint64_t before = source->tsc();
        uint32_t timer = source->timer();
        uint64_t between = since(source, before);
        if (between >= width)
            continue;
        width = between;
        best = (struct sample){timer, before + width / 2};
    }
    return best;
}

static uint32_t passed(const struct sample *from, uint32_t timer) { return (timer - from->timer) & MASK; }

/* TSC ticks a second in the interval that begins now; the next one begins where it ends. */
static uint64_t interval(const struct rate_source *source, struct sample *from)
{
    while (passed(from, source->timer()) < INTERVAL)
        if (since(source, from->tsc) > DEAD)
            return 0;
    struct sample to = take(source);
    uint64_t rate = (to.tsc - from->tsc) * PM_TIMER_HZ / passed(from, to.timer);
    *from = to;
    return rate;
}

static uint64_t distance(uint64_t a, uint64_t b) { return a > b ? a - b : b - a; }

/* Two that agree are both right; one that does not had something else under way. */
uint64_t rate_measure(const struct rate_source *source)
{
    struct sample from = take(source);
    uint64_t rate[INTERVALS], best = 0, nearest = ~0ull;
    for (uint32_t i = 0; i < INTERVALS; i++) {
        rate[i] = interval(source, &from);
        if (rate[i] == 0)
            return 0;
        for (uint32_t k = 0; k < i; k++)
            if (distance(rate[i], rate[k]) < nearest) {
                nearest = distance(rate[i], rate[k]);
                best = (rate[i] + rate[k]) / 2;
            }
    }
    return best;
}
