/* What the two files that check plans share. */
#ifndef ROOT_PLAN_RULES_H
#define ROOT_PLAN_RULES_H

#include <root/plan.h>

/* The private copy that was loaded, and what became of it since. */
extern struct plan plan_loaded;
/* VMs of it that were loaded: the first ones, and none of them goes. */
extern uint32_t plan_booted;

struct rule {
    bool broken;
    const char *what;
};

/* What the first of `rules` says that is broken; NULL: none is. */
static inline const char *first_broken(const struct rule *rule, uint32_t rules)
{
    for (uint32_t i = 0; i < rules; i++)
        if (rule[i].broken)
            return rule[i].what;
    return 0;
}

/* All that is checked of a VM when a plan is loaded, once more, beside all others. */
const char *plan_check_again(const struct boot_info *files, const struct plan_vm *vm);
/* Has the kernel what all VMs and LANs take? `hairline check` has counted that, too, but does not
   know what the processor adds. */
const char *plan_check_room(void);

#endif
