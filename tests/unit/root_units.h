/* Included before every file of root's for test_iommu: the kernel's units are the test's. */
#ifndef TESTS_ROOT_UNITS_H
#define TESTS_ROOT_UNITS_H

#include <lib/call.h>

struct result fake_start(uint64_t mr, uint64_t kind, uint64_t buses);
struct result fake_fault(uint64_t unit);
#define iommu_start(sys, mr, kind, buses) ((void)(sys), fake_start(mr, kind, buses))
#define iommu_fault(sys, unit)            ((void)(sys), fake_fault(unit))

#endif
