/*
 * The target `pci` is of three parts. pci_space.c is the machine's configuration
 * space: functions as QEMU's are, with what an input changes of them, and which of
 * their bits may be written. pci.c is root on that machine. pci_guest.c is the VMM
 * and its guest. Root and the VMM both have a pci_read and a pci_function: here
 * root's have other names.
 */
#ifndef FUZZ_PCI_H
#define FUZZ_PCI_H

#include "fuzz.h"
#include "pci_names.h"
#include <abi/vm.h>

enum {
    SPACE_BUSES = 4,
    SPACE_FUNCTIONS = 24, /* with virtual ones */
    SPACE_VMS = 2,
    SPACE_ECAM = 0xdfc00000u,    /* just below: */
    SPACE_WINDOWS = 0xe0000000u, /* what a bridge forwards: 16 MiB for each bus */
    SPACE_WINDOW = 0x1000000
};
#define SPACE_FAR 0x8000000000u /* where firmware places large BARs */

/* Who may write which bits. */
enum writer { BY_ROOT, BY_GUEST, WRITERS };

struct space_bar {
    uint64_t address, size; /* bytes; 0: there is none, or it is none that anybody could use */
};

/* ---- pci_kinds.c: functions of the emulator's --------------------------------------- */
struct space_reg {
    uint32_t at, value, writable;
};
struct space_kind {
    const struct space_reg *reg;
    uint32_t count;
};
/* No input asks for the last two by their numbers: a virtual function; one with memory far away. */
enum { KIND_VF = 6, KIND_FAR };
extern const struct space_kind space_kinds[];

/* ---- pci_space.c: configuration space -------------------------------------------- */
/* Once, and before each input. */
void space_begin(void);
void space_clear(void);
/* A function of the input's choice. */
void space_add(struct feed *f);
/* What happens later: a device has other registers than before. */
void space_change(struct feed *f);
/* What follows from writes so far: they hold only where there is something, virtual functions come
 * and go. After each call. */
void space_settle(void);
/* Root's next accesses, until the next call, are for this writer. */
void space_for(enum writer who);

/* All of it, SPACE_BUSES MiB. */
void *space_memory(void);
/* The function's registers, NULL: there is none; and as they were at first, but for BARs. `i`: in
 * the order of their making. */
uint8_t *space_page(uint32_t rid);
const uint8_t *space_first(uint32_t rid);
uint32_t space_count(void);
uint16_t space_rid(uint32_t i);
/* Where the capability is, 0: nowhere, or not whole. As the manual has it, and no matter what root
 * found. */
uint32_t space_capability(const uint8_t *page, uint32_t id, uint32_t size);
uint32_t space_pcie(const uint8_t *page);
uint32_t space_extended(const uint8_t *page, uint32_t id, uint32_t size);
/* BAR `i` as firmware set it up, and whether those bits of it that can be written hold `value`. */
struct space_bar space_bar(uint32_t rid, uint32_t i);
bool space_holds(uint32_t rid, uint32_t at, uint32_t value);
uint32_t space_writable(uint32_t rid, uint32_t at);
static inline uint32_t space_word(const uint8_t *page, uint32_t at, uint32_t bytes)
{
    uint32_t value = 0;
    memcpy(&value, page + at, bytes);
    return value;
}

/* ---- pci.c: root ------------------------------------------------------------------ */
/* The VMM of `vm` calls root's portal with these words. */
void root_called(uint32_t vm, const uint64_t word[4]);

/* ---- pci_guest.c: a VMM, and what its guest does ------------------------------------ */
void guest_run(uint32_t vm, const struct vm_config *config, struct feed *f);

#endif
