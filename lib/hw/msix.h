/* MSI-X (PCI 3.0 6.8.2) and the messages of x86 (APM2 16.1; SDM3 10.11). */
#ifndef LIB_HW_MSIX_H
#define LIB_HW_MSIX_H

#include <stdint.h>

enum msix_register { /* offsets in the capability */
                     MSIX_CONTROL = 2,
                     MSIX_TABLE = 4, /* offset, and in bits 2..0 the BAR */
                     MSIX_PBA = 8    /* pending bits; the same */
};
enum msix_control { MSIX_LAST = 0x7ff, MSIX_MASK_ALL = 0x4000, MSIX_ENABLE = 0x8000 };

struct msix_entry {
    uint32_t address, address_high, data, control;
};
_Static_assert(sizeof(struct msix_entry) == 16, "6.8.2");
#define MSIX_ENTRY_MASKED 1u /* in its control */

#define MSI_ADDRESS 0xfee00000u /* to 0xfeefffff */

#endif
