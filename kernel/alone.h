/* What remains of the hypervisor for a guest whose VMM has left (docs/decisions/0027). */
#ifndef KERNEL_ALONE_H
#define KERNEL_ALONE_H

#include <object.h>

/* CALL_DISENGAGE; see docs/abi.md. Graph lock. */
uint64_t alone_disengage(struct pd *self, uint64_t slot, uint64_t how);

/* A dedicated vCPU writes `icr` to its interrupt command register (APM2 16.5, 16.14): it reaches its own VM's
   cores and no other. False: INIT or SIPI while there is a VMM, which is to see to it. Own core, no lock. */
bool icr_write(struct ec *ec, uint64_t icr);

#endif
