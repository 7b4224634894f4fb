# Unit tests of vmm/virt*.c, the vCPUs' exits and lan/ on the host, with sanitizers: `make unit-vmm`.
UNIT_VMM         = virtqueue virtio_blk virtio_net virtio_console lan
UNIT_VMM_FLAGS   = $(WARN) -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -I. -Itests/unit \
                   -include tests/unit/fake_vmm.h
UNIT_VMM_CODE    = $(wildcard vmm/virt*.c) lan/switch.c tests/unit/fake_vmm.c tests/unit/driver.c
UNIT_VCPU_CODE   = vmm/vcpu.c vmm/apic.c vmm/apic_real.c vmm/cpuid.c vmm/msr.c lib/state.c vmm/console.c vmm/uart.c
UNIT_OWN_CODE    = vmm/pci.c vmm/own.c vmm/msix.c vmm/apic.c
UNIT_VMM_HEADERS = $(wildcard abi/*.h lib/*.h vmm/*.h lan/*.h tests/unit/*.h) tests/unit/vmm.mk

UNIT_VMM_PROGRAMS = $(UNIT_VMM:%=$(O)/tests/unit/test_%)

$(UNIT_VMM_PROGRAMS): $(O)/tests/unit/%: tests/unit/%.c $(UNIT_VMM_CODE) $(UNIT_VMM_HEADERS)
	@mkdir -p $(@D)
	$(HOSTCC) $(UNIT_VMM_FLAGS) -o $@ $< $(UNIT_VMM_CODE) -lcmocka -lpthread

$(O)/tests/unit/test_vcpu: tests/unit/test_vcpu.c $(UNIT_VCPU_CODE) $(UNIT_VMM_HEADERS)
	@mkdir -p $(@D)
	$(HOSTCC) $(UNIT_VMM_FLAGS) -o $@ $< $(UNIT_VCPU_CODE) -lcmocka

$(O)/tests/unit/test_own: tests/unit/test_own.c $(UNIT_OWN_CODE) $(UNIT_VMM_HEADERS)
	@mkdir -p $(@D)
	$(HOSTCC) $(UNIT_VMM_FLAGS) -o $@ $< $(UNIT_OWN_CODE) -lcmocka -lpthread

$(O)/tests/unit/test_acpi: tests/unit/test_acpi.c vmm/acpi.c $(UNIT_VMM_HEADERS)
	@mkdir -p $(@D)
	$(HOSTCC) $(UNIT_VMM_FLAGS) -o $@ $< vmm/acpi.c -lcmocka

unit-vmm: $(UNIT_VMM_PROGRAMS) $(O)/tests/unit/test_vcpu $(O)/tests/unit/test_own $(O)/tests/unit/test_acpi
	@for t in $^; do (ulimit -t 600; $$t) || exit 1; done

.PHONY: unit-vmm
