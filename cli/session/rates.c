#include <cli/session/rates.h>
#include <cli/session/report.h>

#include <stdio.h>

struct rates rates_of(struct json_object *look, struct json_object *before, const char *name)
{
    struct rates rates = {.cause = "-"};
    struct json_object *vm = report_group(report_group(look, "vms"), name), *old;
    if (!before || !json_object_object_get_ex(report_group(before, "vms"), name, &old))
        return rates;
    double ticks = (double)(report_number(vm, "tsc") - report_number(old, "tsc"));
    if (ticks <= 0)
        return rates;
    double hz = (double)report_number(report_group(look, "machine"), "tsc_hz");
    rates.cpu = 100.0 * (double)(report_number(vm, "time") - report_number(old, "time")) / ticks;
    json_object_object_foreach(report_group(vm, "exits"), cause, count)
    {
        int64_t more =
            json_object_get_int64(count) - report_number(report_group(old, "exits"), cause);
        int64_t rate = (int64_t)((double)more * hz / ticks);
        rates.exits += rate;
        if (rate > rates.most) {
            rates.most = rate;
            rates.cause = cause;
        }
    }
    return rates;
}

void rates_cores(char text[static CORES_TEXT], uint64_t mask)
{
    size_t used = 0;
    text[0] = 0;
    for (unsigned core = 0; core < 64; core++) {
        if (!(mask >> core & 1))
            continue;
        unsigned last = core;
        while (last < 63 && mask >> (last + 1) & 1)
            last++;
        used += (size_t)snprintf(text + used, CORES_TEXT - used, "%s%u", used ? "," : "", core);
        if (last > core)
            used += (size_t)snprintf(text + used, CORES_TEXT - used, "-%u", last);
        core = last;
    }
}
