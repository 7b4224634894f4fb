/* Starts two more cores, and then does nothing: for what happens to a core by itself
 * (tests/system/test_lost_core.py). On a busy host an emulated core may take its time. */
#include "kit.h"

enum { I_SLEEP = KIT_FREE };

void kit_main(void)
{
    while (!kit_core(1) || !kit_core(2)) {
    }
    kit_check("three cores", true);
    kit_check("a semaphore", sm_create(I_SLEEP, SLOT_ROOT_PD, 0) == OK);
    bell_wait(I_SLEEP, 0);
}
