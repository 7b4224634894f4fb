/* Starts two more cores, and then does nothing: for what happens to a core by itself
 * (tests/system/test_lost_core.py). */
#include "kit.h"

enum { I_SLEEP = KIT_FREE };

void kit_main(void)
{
    kit_await_core(1);
    kit_await_core(2);
    kit_check("three cores", kit_stat->core[1].online && kit_stat->core[2].online);
    kit_check("a semaphore", sm_create(I_SLEEP, SLOT_ROOT_PD, 0) == OK);
    bell_wait(I_SLEEP, 0);
}
