#include <root/hardware/rate.h>

#define MASK      0xffffffu /* 24 bits, which every PM timer has; it wraps after 4.7 s */
#define BRACKETS  50u       /* readings for one sample  */
#define INTERVALS 3u
#define INTERVAL  (PM_TIMER_HZ / 20)
/* TSC ticks after which a timer that has not gone on for an interval is dead */
#define DEAD 10000000000ull

struct sample {
    uint32_t timer;
    uint64_t tsc;
};

static uint64_t since(const struct rate_source *source, uint64_t before)
{
    return source->tsc() - before;
}

/* One sample: the PM timer between two readings of the TSC. An interrupt or an emulator may come
 * between, so of BRACKETS the narrowest counts. */
static struct sample rate_take(const struct rate_source *source)
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

static uint32_t passed(const struct sample *from, uint32_t timer)
{
    return (timer - from->timer) & MASK;
}

/* TSC ticks a second in the interval that begins at `*from`, which moves to its end. 0: the timer
 * is dead. */
static uint64_t interval(const struct rate_source *source, struct sample *from)
{
    while (passed(from, source->timer()) < INTERVAL)
        if (since(source, from->tsc) > DEAD)
            return 0;
    struct sample to = rate_take(source);
    uint64_t rate = (to.tsc - from->tsc) * PM_TIMER_HZ / passed(from, to.timer);
    *from = to;
    return rate;
}

static uint64_t distance(uint64_t a, uint64_t b) { return a > b ? a - b : b - a; }

/* Of three intervals the two nearest each other count: one that was disturbed agrees with neither
 * of the others. */
static uint64_t rate_agreed(const uint64_t rate[INTERVALS])
{
    uint64_t best = 0, nearest = ~0ull;
    for (uint32_t i = 0; i < INTERVALS; i++)
        for (uint32_t k = 0; k < i; k++)
            if (distance(rate[i], rate[k]) < nearest) {
                nearest = distance(rate[i], rate[k]);
                best = (rate[i] + rate[k]) / 2;
            }
    return best;
}

uint64_t rate_measure(const struct rate_source *source)
{
    struct sample from = rate_take(source);
    uint64_t rate[INTERVALS];
    for (uint32_t i = 0; i < INTERVALS; i++) {
        rate[i] = interval(source, &from);
        if (rate[i] == 0)
            return 0;
    }
    return rate_agreed(rate);
}

/* The moment at which the second changes. TSC 0: the clock stands still. */
static struct sample next_second(const struct rate_source *source)
{
    uint64_t began = source->tsc(), now = began;
    uint32_t before = source->timer(), second = before;
    while (second == before && now - began <= DEAD) {
        second = source->timer();
        now = source->tsc();
    }
    return (struct sample){second, second == before ? 0 : now};
}

uint64_t rate_measure_seconds(const struct rate_source *source)
{
    struct sample from = next_second(source);
    uint64_t rate[INTERVALS];
    for (uint32_t i = 0; i < INTERVALS; i++) {
        struct sample to = next_second(source);
        uint32_t seconds = (to.timer + 60 - from.timer) % 60;
        if (from.tsc == 0 || to.tsc == 0 || seconds == 0)
            return 0;
        rate[i] = (to.tsc - from.tsc) / seconds;
        from = to;
    }
    return rate_agreed(rate);
}
