/* A record of a plan that is good as it is: a small shared VM. */
#ifndef TESTS_PLAN_RECORD_H
#define TESTS_PLAN_RECORD_H

#include <abi/plan.h>
#include <string.h>

/* VM `index` of a plan, from 0, with the first file as its kernel; on LAN `lan`, 0: on none. */
static inline struct plan_vm plan_record(uint32_t index, const char *name, uint64_t cores,
                                         uint32_t lan)
{
    struct plan_vm vm = {.vcpus = 1, .memory = 4 << 20, .cores = cores, .lan = lan};
    strcpy(vm.name, name);
    vm.priority = PLAN_PRIORITY;
    vm.budget_us = PLAN_BUDGET_US;
    vm.initrd = PLAN_NO_FILE;
    vm.mtu = lan ? PLAN_MTU : 0;
    for (uint32_t n = 0; n < sizeof(vm.mac); n++)
        vm.mac[n] = plan_mac_byte(index, lan, n);
    return vm;
}

#endif
