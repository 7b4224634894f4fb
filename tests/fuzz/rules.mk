# Fuzz targets of what reads input that nobody vouches for, each a program for libFuzzer with the sanitizers: `make fuzz`
# builds them, tests/fuzz/run runs them. FUZZ_NAME: the files of the tree beside NAME.c; FUZZ_NAME_FLAGS: more flags.
FUZZ       = acpi control lan load multiboot own plan scope vcpu virtio yaml
FUZZ_FLAGS = $(WARN) -g -O1 -fsanitize=address,undefined,fuzzer -fno-sanitize-recover=all -fno-omit-frame-pointer -I. -D_GNU_SOURCE
FUZZ_FAKE  = -Itests/unit -include tests/unit/fake_vmm.h

FUZZ_acpi            = root/acpi.c root/scope.c
FUZZ_scope           = root/scope.c
FUZZ_control         = root/life.c root/output.c root/report.c root/console.c lib/print.c
FUZZ_control_FLAGS   = -include tests/fuzz/root_hooks.h
FUZZ_vcpu            = $(wildcard kernel/*.c) $(wildcard tests/invariant/*.c) tests/unit/rig.c tests/unit/rig_vcpu.c tests/unit/model.c
FUZZ_vcpu_FLAGS      = -Itests/host -Itests/invariant -Ikernel -Itests/unit -Dstat=kernel_counters -DPOOL_FRAMES=1024u
FUZZ_vcpu_LIBS       = -lcmocka
FUZZ_multiboot_FLAGS = -Ikernel -Iboot -fno-sanitize=alignment
FUZZ_lan             = lan/switch.c
FUZZ_load            = vmm/load.c vmm/load_bzimage.c vmm/load_multiboot.c vmm/load_pvh.c vmm/elf.c lib/print.c
FUZZ_load_FLAGS      = $(FUZZ_FAKE)
FUZZ_own             = vmm/pci.c vmm/own.c vmm/msix.c vmm/apic.c
FUZZ_own_FLAGS       = $(FUZZ_FAKE)
FUZZ_TOOL            = tests/fuzz/tool.c root/plan.c lib/print.c $(filter-out cli/main.c,$(wildcard cli/*.c))
FUZZ_TOOL_LIBS       = -Wl,--wrap=host_run,--wrap=host_text -lcyaml -lyaml -ljson-c
FUZZ_plan            = $(FUZZ_TOOL)
FUZZ_plan_LIBS       = $(FUZZ_TOOL_LIBS)
FUZZ_yaml            = $(FUZZ_TOOL)
FUZZ_yaml_LIBS       = $(FUZZ_TOOL_LIBS)
FUZZ_virtio          = $(wildcard vmm/virt*.c) lan/switch.c tests/unit/fake_vmm.c tests/unit/driver.c
FUZZ_virtio_FLAGS    = $(FUZZ_FAKE)

FUZZ_PROGRAMS = $(FUZZ:%=$(O)/tests/fuzz/%)
FUZZ_HEADERS  = $(wildcard abi/*.h lib/*.h root/*.h vmm/*.h lan/*.h cli/*.h boot/* kernel/*.h tests/unit/*.h tests/host/*.h tests/fuzz/*.h) tests/fuzz/rules.mk

define fuzz_target
$(O)/tests/fuzz/$(1): tests/fuzz/$(1).c tests/fuzz/driver.c $(FUZZ_$(1)) $(FUZZ_HEADERS)
	@mkdir -p $$(@D)
	clang $(FUZZ_FLAGS) $(FUZZ_$(1)_FLAGS) -o $$@ tests/fuzz/$(1).c tests/fuzz/driver.c $(FUZZ_$(1)) $(FUZZ_$(1)_LIBS)
endef
$(foreach t,$(FUZZ),$(eval $(call fuzz_target,$(t))))

fuzz: $(FUZZ_PROGRAMS)
.PHONY: fuzz
