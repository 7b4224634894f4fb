/*
 * What a wild guest does to its hypervisor. attack.c lists every attack with
 * the end that it is to have; the rest is their code.
 */
#ifndef GUEST_ATTACK_H
#define GUEST_ATTACK_H

#include "bare.h"
#include "virtio.h"

/* Processor. */
void attack_triple(void);
void attack_wild_code(void);
void attack_msr_storm(void);
void attack_spin(void);
void attack_x87_loads(void);
void attack_memory(void);
void attack_svm(void);
void attack_hlt(void);
void attack_db_storm(void);
void attack_db_loop(void);
void attack_ac_loop(void);
void attack_cr8_storm(void);
void attack_ipi_storm(void);
void attack_bad_state(void);
void attack_bad_cr0(void);
void attack_bad_cr4(void);
void attack_cpuid_storm(void);

/* Ports and floods. */
void attack_port_storm(void);
void attack_string_io(void);
void attack_pci_storm(void);
void attack_console_flood(void);
void attack_lan_flood(void);

/* Rings: each hostile chain is given to every virtio device there is. */
void attack_rings(void);

/* A device of its own. Does not come back: it ends without its VMM. */
void attack_dma(void);

/* legacy.S: leave long mode, deliver #AC at ring 3 on a misaligned stack for ever (CVE-2015-5307).
 */
void __attribute__((noreturn)) attack_ac_legacy(void);

/* The attack failed to end as the table says: report and exit 1. */
void __attribute__((noreturn)) attack_fail(const char *what);

#endif
