# Unit tests of vmm/virtio/*.c, the vCPUs' exits and lan/ on the host, with sanitizers: `make unit-vmm`.
UNIT_VMM         = aoe virtqueue virtio_blk virtio_net virtio_console virtio_input virtio_rng lan lan_offload
UNIT_VMM_FLAGS   = $(WARN) -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -I. -Itests/unit \
                   -include tests/unit/fake_vmm.h
UNIT_VMM_CODE    = $(wildcard vmm/virtio/*.c) lan/switch.c lib/offload.c lib/format.c tests/unit/fake_vmm.c tests/unit/driver.c
UNIT_VCPU_CODE   = vmm/vcpu/vcpu.c vmm/vcpu/apic.c vmm/vcpu/apic_real.c vmm/vcpu/cpuid.c vmm/vcpu/msr.c lib/state.c vmm/console.c vmm/platform/uart.c
UNIT_ASSIGNED_CODE    = vmm/platform/pci.c vmm/platform/pci_assigned.c vmm/platform/msix.c vmm/vcpu/apic.c vmm/vcpu/apic_real.c
UNIT_VMM_HEADERS = $(wildcard abi/*.h lib/*.h lib/hw/*.h vmm/*.h vmm/*/*.h lan/*.h tests/unit/*.h) tests/unit/vmm.mk

UNIT_VMM_PROGRAMS = $(UNIT_VMM:%=$(O)/tests/unit/test_%)

$(UNIT_VMM_PROGRAMS): $(O)/tests/unit/%: tests/unit/%.c $(UNIT_VMM_CODE) $(UNIT_VMM_HEADERS)
	@mkdir -p $(@D)
	$(HOSTCC) $(UNIT_VMM_FLAGS) -o $@ $< $(UNIT_VMM_CODE) -lcmocka -lpthread

$(O)/tests/unit/test_vcpu: tests/unit/test_vcpu.c $(UNIT_VCPU_CODE) $(UNIT_VMM_HEADERS)
	@mkdir -p $(@D)
	$(HOSTCC) $(UNIT_VMM_FLAGS) -include tests/unit/fake_cpuid.h -o $@ $< $(UNIT_VCPU_CODE) -lcmocka

$(O)/tests/unit/test_pci_assigned: tests/unit/test_pci_assigned.c $(UNIT_ASSIGNED_CODE) $(UNIT_VMM_HEADERS)
	@mkdir -p $(@D)
	$(HOSTCC) $(UNIT_VMM_FLAGS) -o $@ $< $(UNIT_ASSIGNED_CODE) -lcmocka -lpthread

$(O)/tests/unit/test_acpi: tests/unit/test_acpi.c vmm/platform/acpi.c $(UNIT_VMM_HEADERS)
	@mkdir -p $(@D)
	$(HOSTCC) $(UNIT_VMM_FLAGS) -o $@ $< vmm/platform/acpi.c -lcmocka

$(O)/tests/unit/test_devices: tests/unit/test_devices.c vmm/platform/devices.c $(UNIT_VMM_HEADERS)
	@mkdir -p $(@D)
	$(HOSTCC) $(UNIT_VMM_FLAGS) -o $@ $< vmm/platform/devices.c -lcmocka

unit-vmm: $(UNIT_VMM_PROGRAMS) $(O)/tests/unit/test_vcpu $(O)/tests/unit/test_pci_assigned $(O)/tests/unit/test_acpi $(O)/tests/unit/test_devices
	@for t in $^; do (ulimit -t 600; $$t) || exit 1; done

.PHONY: unit-vmm
