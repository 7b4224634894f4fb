#include <cli/host.h>
#include <cli/session/stop.h>

#include <inttypes.h>

#define STOP_SECONDS 60u    /* for a guest to end, unless the user says otherwise */
#define AGAIN_MS     10000u /* after which it is asked again: it may just have been starting */

int stop_vm(const struct stop_way *by, const char *name, uint64_t seconds)
{
    uint64_t begun = host_now_ms(), asked = begun;
    seconds = seconds ? seconds : STOP_SECONDS;
    if (!by->tell(by->way, "ask", name))
        return EXIT_DIED;
    for (uint64_t now = begun; now - begun < seconds * 1000; now = host_now_ms()) {
        enum stop_state state = by->look(by->way, name);
        if (state != STOP_RUNS)
            return state == STOP_OFF ? 0 : EXIT_DIED;
        if (now - asked >= AGAIN_MS) {
            asked = now;
            by->tell(by->way, "ask", name); /* refused: it is ending, and the next look says so */
        }
    }
    host_say("%s has not ended in %" PRIu64 " s: it is killed", name, seconds);
    return by->tell(by->way, "stop", name) ? 0 : EXIT_DIED;
}
