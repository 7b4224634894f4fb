/* The ICR filter: interprocessor interrupts of guests that own their cores. */
#ifndef KERNEL_ICR_H
#define KERNEL_ICR_H

#include <object.h>

/* A dedicated vCPU writes `icr` to its interrupt command register (APM2 16.5, 16.14): it reaches
   its own VM's cores and no other. False: INIT or SIPI while there is a VMM, which is to see to it.
   Own core, no lock. */
bool icr_write(struct ec *ec, uint64_t icr);

#endif
