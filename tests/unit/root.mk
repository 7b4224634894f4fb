# Unit tests of what root reads from firmware and from devices, on the host, with sanitizers: `make unit-root`.
UNIT_ROOT_FLAGS   = $(WARN) -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -I. -Itests/unit
UNIT_ROOT_HEADERS = $(wildcard abi/*.h lib/*.h lib/hw/*.h root/*.h root/*/*.h tests/unit/*.h) tests/unit/root.mk
UNIT_ROOT_scope   = root/hardware/scope.c
UNIT_ROOT_pci     = root/hardware/pci.c root/hardware/pci_bar.c root/hardware/config.c
UNIT_ROOT_rate    = root/hardware/rate.c
UNIT_ROOT_console = root/console/console.c lib/format.c
UNIT_ROOT_command = root/console/command.c root/console/console.c lib/format.c
UNIT_ROOT_control = root/console/control.c lib/format.c
UNIT_ROOT_assign  = root/hardware/assign.c
UNIT_ROOT_bars    = root/vm/device.c lib/format.c
UNIT_ROOT_cores   = root/plan.c root/hardware/threads.c lib/format.c
UNIT_ROOT_plan    = root/plan.c root/plan_later.c lib/format.c
UNIT_ROOT_quota   = root/vm/vm.c root/vm/store.c root/vm/lan.c root/vm/seal.c root/vm/fault.c root/vm/image.c root/memory.c root/vm/device.c \
                    lib/format.c lib/sha256.c lib/state.c
UNIT_ROOT_tables  = root/hardware/acpi.c root/hardware/scope.c
UNIT_ROOT_uart    = root/console/uart.c
UNIT_ROOT_iommu   = root/hardware/iommu.c lib/format.c
UNIT_ROOT_hide    = root/host/hide.c
UNIT_ROOT         = scope pci rate console command control assign bars cores plan quota tables uart iommu hide

$(O)/tests/unit/test_scope: $(UNIT_ROOT_scope)
$(O)/tests/unit/test_pci: $(UNIT_ROOT_pci)
$(O)/tests/unit/test_rate: $(UNIT_ROOT_rate)
$(O)/tests/unit/test_assign: $(UNIT_ROOT_assign)
$(O)/tests/unit/test_bars: $(UNIT_ROOT_bars)
$(O)/tests/unit/test_bars: UNIT_ROOT_FLAGS += -include tests/unit/fake_cpuid.h
$(O)/tests/unit/test_console: $(UNIT_ROOT_console)
$(O)/tests/unit/test_command: $(UNIT_ROOT_command)
$(O)/tests/unit/test_control: $(UNIT_ROOT_control)
$(O)/tests/unit/test_cores: $(UNIT_ROOT_cores)
$(O)/tests/unit/test_plan: $(UNIT_ROOT_plan)
$(O)/tests/unit/test_quota: $(UNIT_ROOT_quota)
$(O)/tests/unit/test_hide: $(UNIT_ROOT_hide)
$(O)/tests/unit/test_tables: $(UNIT_ROOT_tables)
$(O)/tests/unit/test_uart: $(UNIT_ROOT_uart)
$(O)/tests/unit/test_iommu: $(UNIT_ROOT_iommu)
$(O)/tests/unit/test_iommu: UNIT_ROOT_FLAGS += -include tests/unit/root_units.h
$(O)/tests/unit/test_tables $(O)/tests/unit/test_uart: UNIT_ROOT_FLAGS += -include tests/unit/root_ports.h
$(O)/tests/unit/test_quota: UNIT_ROOT_FLAGS += -include tests/unit/root_calls.h
$(UNIT_ROOT:%=$(O)/tests/unit/test_%): $(O)/tests/unit/%: tests/unit/%.c $(UNIT_ROOT_HEADERS)
	@mkdir -p $(@D)
	$(HOSTCC) $(UNIT_ROOT_FLAGS) -o $@ $(filter %.c,$^) -lcmocka

unit-root: $(UNIT_ROOT:%=$(O)/tests/unit/test_%)
	@for t in $^; do (ulimit -t 600; $$t) || exit 1; done

.PHONY: unit-root
