/*
 * PCI functions of segment 0 (PCIe 6.0 chapter 7), by memory-mapped configuration space. A function
 * is named by its requester ID: bus << 8 | device << 3 | function. What firmware set up (buses,
 * windows, BARs) is taken as it is. pci.c finds and resets functions; pci_bar.c knows where their
 * registers are, and their virtual functions'.
 */
#ifndef ROOT_PCI_H
#define ROOT_PCI_H

#include <lib/hw/msix.h>
#include <lib/hw/pci.h>
#include <stdbool.h>
#include <stdint.h>

#define PCI_FUNCTIONS 512u /* of the machine, without virtual ones */
enum pci_reset { RESET_NONE, RESET_FLR, RESET_AF, RESET_PM };

struct pci_bar {
    uint64_t address, size; /* bytes; 0: none, or I/O ports, which no VM gets */
    uint32_t flags;         /* bits 3..0 as in the register; BAR_64: the next is its upper half */
};

struct pci_function {
    uint16_t rid;
    uint32_t id;                 /* vendor | device << 16 */
    uint32_t class;              /* class << 8 | subclass */
    uint32_t header;             /* 0, or 1: a bridge     */
    struct pci_function *parent; /* the bridge it is behind; NULL: none */
    struct pci_function *pf;     /* of a virtual function */
    struct pci_bar bar[PCI_BARS];
    uint16_t msix, pcie, sriov, pm, af; /* offsets of capabilities; 0: it has none */
    uint32_t type;                      /* PCIe device/port type */
    uint32_t control, control2;         /* device control as firmware left it, without no-snoop */
    enum pci_reset reset;
    uint32_t msix_bar, msix_offset, msix_count;
    uint32_t secondary, subordinate;    /* a bridge's buses */
    struct pci_bar window[2];           /* and what it forwards: memory, prefetchable memory */
    uint32_t vfs, vf_offset, vf_stride; /* its virtual functions; 0: none that could be used */
    bool at_work;                       /* a thread of its VM is in config_write() */
    struct pci_bar vf_bar[PCI_BARS];    /* of the first; the others' follow */
    struct pci_sizes {                  /* of BARs whose size firmware chose */
        uint16_t at;                    /* the capability; 0: there is none */
        uint32_t count, control[PCI_BARS];
    } sizes, vf_sizes;
};

/* `size`: 1, 2 or 4 bytes, `offset` a multiple of it below 4096; no such function reads as all
 * ones. */
uint32_t pci_read(uint16_t rid, uint32_t offset, uint32_t size);
void pci_write(uint16_t rid, uint32_t offset, uint32_t size, uint32_t value);
static inline uint32_t pci_read16(const struct pci_function *f, uint32_t offset)
{
    return pci_read(f->rid, offset, 2);
}
static inline uint32_t pci_read32(const struct pci_function *f, uint32_t offset)
{
    return pci_read(f->rid, offset, 4);
}
static inline void pci_write16(const struct pci_function *f, uint32_t offset, uint32_t value)
{
    pci_write(f->rid, offset, 2, value);
}
static inline void pci_write32(const struct pci_function *f, uint32_t offset, uint32_t value)
{
    pci_write(f->rid, offset, 4, value);
}

/* Find all functions in the `buses` (0..256) first buses of the configuration space at physical
   `ecam`; once. Ports get access control services, functions that could be assigned have their BARs
   measured, with decoding off meanwhile. NULL: all were found; else why not, and nothing may be
   assigned. */
const char *pci_scan(uint64_t ecam, uint32_t buses);
/* Functions that pci_scan found, 0..PCI_FUNCTIONS: how many, the i-th, the one with `rid` (NULL:
 * none). */
uint32_t pci_count(void);
struct pci_function *pci_function(uint32_t i);
struct pci_function *pci_find(uint16_t rid);
/* Physical address of a function's configuration space, one page. */
uint64_t pci_ecam(uint16_t rid);
/* Buses in use: 1 .. 256. */
uint32_t pci_buses(void);

/* The last bus behind a bridge, as virtual functions may come on any of them; of another function
   its own. */
uint32_t pci_last_bus(const struct pci_function *f);

/* Where extended capability `id` is, of which `size` bytes will be used; 0: there is none, or not
 * all of it. */
uint16_t pci_find_extended(const struct pci_function *f, uint32_t id, uint32_t size);
/* Has it the registers that came with version 2 of the PCI Express capability? */
bool pci_has_control2(const struct pci_function *f);

/* Read addresses and sizes of the six BARs at `offset`, with decoding off meanwhile; write the
 * addresses. */
void pci_measure_bars(const struct pci_function *f, uint32_t offset, struct pci_bar bar[PCI_BARS]);
void pci_write_bars(const struct pci_function *f, uint32_t offset,
                    const struct pci_bar bar[PCI_BARS]);

/* Read the sizes that firmware chose for BARs (7.8.6, 7.8.7); write them again after a reset, which
 * may make them others, while decoding is off. */
void pci_read_sizes(struct pci_function *f);
void pci_write_sizes(const struct pci_function *f);

/* Give the virtual functions of `f` their places; they are there once its owner enables them. */
void pci_prepare_vfs(struct pci_function *f);
/* The same places again, after a reset. */
void pci_restore_vfs(const struct pci_function *f);
/* Virtual function `n` of `pf` as it will be; what only it can tell is not filled in. */
void pci_make_vf(struct pci_function *pf, uint32_t n, struct pci_function *vf);
/* Read capabilities and class; for a virtual function once it is there. */
void pci_read_capabilities(struct pci_function *f);
/* Does it answer? A virtual function does once its physical one has VF Enable and VF MSE set. */
bool pci_is_there(const struct pci_function *f);

/* Isolation group, named by a requester ID. Functions of one group can reach each other without
 * passing an IOMMU, so one VM gets all of them or none. */
uint16_t pci_group(const struct pci_function *f);
/* Does one of the `count` BARs that follow each other from `bar` on meet [address, address + size)?
 * One without a place, at 0, does not. */
static inline bool pci_bar_meets(const struct pci_bar *bar, uint64_t count, uint64_t address,
                                 uint64_t size)
{
    return bar->size && bar->address && address < bar->address + bar->size * count &&
           bar->address < address + size;
}

/* Is [address, address + size) forwarded to `f`, and does no other function's BAR meet it? */
bool pci_owns(const struct pci_function *f, uint64_t address, uint64_t size);

/* From life to life, in this order. Bus mastering off: no DMA and no message-signalled interrupts
 * any more. Decoding stays on: a guest may still access registers. */
void pci_quiet(const struct pci_function *f);
/* Transactions pending: does it wait for completions of earlier requests? A reset is to come after
 * them (6.6.2). */
bool pci_pending(const struct pci_function *f);
/* Begin a reset, which takes at most 100 ms; then, if that was by its power state, end it, which
 * takes 10 ms. */
void pci_reset(const struct pci_function *f);
void pci_wake(const struct pci_function *f);
/* Write the registers that a reset clears and that are root's, as they were before. Bus mastering
 * stays off, decoding is on. */
void pci_restore(const struct pci_function *f);

#endif
