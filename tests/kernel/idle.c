/* Starts two more cores, and then does nothing: for what happens to a core by itself (tests/system/test_lost_core.py). */
#include "kit.h"

enum { I_SLEEP = KIT_FREE };

void kit_main(void)
{
    for (uint32_t i = 1; i < 3; i++) {
        core_start(SLOT_ROOT_SYS, i);
        while (!kit_stat->core[i].online)
            __asm__ volatile("pause");
    }
    kit_check("three cores", sm_create(I_SLEEP, SLOT_ROOT_PD, 0) == OK);
    sm_down(I_SLEEP, 0);
}
