# Fuzz targets of what reads input that nobody vouches for, each a program for libFuzzer with the sanitizers: `make fuzz`
# builds them, tests/fuzz/run runs them. FUZZ_NAME: the files of the tree beside NAME.c; FUZZ_NAME_FLAGS: more flags.
FUZZ       = acpi aoe assigned control create lan load multiboot pci plan scope vcpu virtio yaml
comma     := ,
FUZZ_FLAGS = $(WARN) -g -O1 -fsanitize=address,undefined,fuzzer -fno-sanitize-recover=all -fno-omit-frame-pointer -I. -D_GNU_SOURCE
FUZZ_FAKE  = -Itests/unit -include tests/unit/fake_vmm.h

FUZZ_acpi            = root/hardware/acpi.c root/hardware/scope.c
FUZZ_aoe             = $(wildcard vmm/virtio/*.c) lib/offload.c lib/format.c tests/unit/fake_vmm.c tests/unit/driver.c
FUZZ_aoe_FLAGS       = $(FUZZ_FAKE) -Itests/unit
FUZZ_scope           = root/hardware/scope.c
FUZZ_control         = root/vm/life.c root/console/control.c root/console/output.c root/console/report.c root/console/console.c lib/format.c
FUZZ_control_FLAGS   = -include tests/fuzz/root_hooks.h
FUZZ_create          = root/vm/create.c root/vm/store.c root/plan.c root/plan_later.c lib/format.c
FUZZ_create_FLAGS    = -Itests/unit -include stdbool.h -include tests/fuzz/create_hooks.h
FUZZ_vcpu            = $(filter-out %/offsets.c,$(wildcard kernel/*.c)) $(wildcard tests/invariant/*.c) tests/unit/rig.c tests/unit/rig_vcpu.c tests/unit/model.c tests/unit/model_vmx.c
FUZZ_vcpu_FLAGS      = -Itests/host -Itests/invariant -Ikernel -Itests/unit -DPOOL_FRAMES=1024u -DOBJECTS=1024u
FUZZ_vcpu_LIBS       = -lcmocka
FUZZ_multiboot_FLAGS = -Ikernel -Iboot -fno-sanitize=alignment
FUZZ_lan             = lan/switch.c lib/offload.c
FUZZ_load            = vmm/loaders/load.c vmm/loaders/load_bzimage.c vmm/loaders/load_multiboot.c vmm/loaders/load_pvh.c vmm/loaders/elf.c lib/format.c
FUZZ_load_FLAGS      = $(FUZZ_FAKE)
FUZZ_assigned             = vmm/platform/pci.c vmm/platform/pci_assigned.c vmm/platform/msix.c vmm/vcpu/apic.c vmm/vcpu/apic_real.c
FUZZ_assigned_FLAGS       = $(FUZZ_FAKE)
FUZZ_pci             = tests/fuzz/pci_space.c tests/fuzz/pci_kinds.c tests/fuzz/pci_found.c
FUZZ_pci_LIBS        = $(O)/tests/fuzz/pci_root.o $(O)/tests/fuzz/pci_vmm.o
FUZZ_TOOL            = tests/fuzz/tool.c root/plan.c root/hardware/scope.c lib/format.c lib/sha256.c $(filter-out cli/main.c,$(wildcard cli/*.c cli/*/*.c))
FUZZ_TOOL_LIBS       = -Wl,--wrap=host_run,--wrap=host_text -lcyaml -lyaml -ljson-c
FUZZ_plan            = $(FUZZ_TOOL)
FUZZ_plan_LIBS       = $(FUZZ_TOOL_LIBS)
FUZZ_yaml            = $(FUZZ_TOOL)
FUZZ_yaml_LIBS       = $(FUZZ_TOOL_LIBS)
FUZZ_virtio          = $(wildcard vmm/virtio/*.c) lan/switch.c lib/offload.c lib/format.c tests/unit/fake_vmm.c tests/unit/driver.c
FUZZ_virtio_FLAGS    = $(FUZZ_FAKE)

FUZZ_PROGRAMS = $(FUZZ:%=$(O)/tests/fuzz/%)
FUZZ_HEADERS  = $(wildcard abi/*.h lib/*.h lib/hw/*.h root/*.h root/*/*.h vmm/*.h vmm/*/*.h lan/*.h cli/*.h cli/*/*.h boot/*.[chS] boot/uefi/* kernel/*.h tests/unit/*.h tests/host/*.h tests/fuzz/*.h) tests/fuzz/rules.mk

define fuzz_target
$(O)/tests/fuzz/$(1): tests/fuzz/$(1).c tests/fuzz/driver.c $(FUZZ_$(1)) $(FUZZ_HEADERS)
	@mkdir -p $$(@D)
	clang $(FUZZ_FLAGS) $(FUZZ_$(1)_FLAGS) -o $$@ tests/fuzz/$(1).c tests/fuzz/driver.c $(FUZZ_$(1)) $(FUZZ_$(1)_LIBS)
endef
$(foreach t,$(FUZZ),$(eval $(call fuzz_target,$(t))))

# The two rooms that the target pci is about, each with flags of its own: root's accesses to devices are watched, the VMM's
# addresses are elsewhere.
PCI_ROOT = tests/fuzz/pci_device.c root/hardware/pci.c root/hardware/pci_bar.c root/hardware/assign.c root/hardware/config.c lib/format.c
PCI_VMM  = tests/fuzz/pci_guest.c vmm/platform/pci.c vmm/platform/pci_assigned.c vmm/platform/msix.c vmm/vcpu/apic.c vmm/vcpu/apic_real.c

# $(call pci_part,NAME,FILES,FLAGS): NAME.o of all of them.
define pci_part
$(O)/tests/fuzz/$(1).o: $(2) root/vm/device.c $(FUZZ_HEADERS)
	@mkdir -p $(O)/tests/fuzz/$(1)
	for f in $(2); do \
	    clang $(FUZZ_FLAGS:%fuzzer=%fuzzer-no-link) $(3) -c -o $(O)/tests/fuzz/$(1)/$$$$(basename $$$$f .c).o $$$$f || exit 1; done
	ld -r -o $$@ $(patsubst %.c,$(O)/tests/fuzz/$(1)/%.o,$(notdir $(2)))
endef
$(eval $(call pci_part,pci_root,$(PCI_ROOT),-include tests/fuzz/pci_hooks.h -fsanitize-coverage=trace-loads$(comma)trace-stores))
$(eval $(call pci_part,pci_vmm,$(PCI_VMM),$(FUZZ_FAKE)))
$(O)/tests/fuzz/pci: $(FUZZ_pci_LIBS)

fuzz: $(FUZZ_PROGRAMS)
.PHONY: fuzz
