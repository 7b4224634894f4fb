# Unit tests of what root reads from firmware and from devices, on the host, with sanitizers: `make unit-root`.
UNIT_ROOT_FLAGS   = $(WARN) -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -I. -Itests/unit
UNIT_ROOT_HEADERS = $(wildcard abi/*.h lib/*.h root/*.h tests/unit/*.h) tests/unit/root.mk
UNIT_ROOT_scope   = root/scope.c
UNIT_ROOT_pci     = root/pci.c root/bar.c root/config.c
UNIT_ROOT_rate    = root/rate.c
UNIT_ROOT_console = root/console.c lib/print.c
UNIT_ROOT_assign  = root/assign.c
UNIT_ROOT         = scope pci rate console assign

$(O)/tests/unit/test_scope: $(UNIT_ROOT_scope)
$(O)/tests/unit/test_pci: $(UNIT_ROOT_pci)
$(O)/tests/unit/test_rate: $(UNIT_ROOT_rate)
$(O)/tests/unit/test_assign: $(UNIT_ROOT_assign)
$(O)/tests/unit/test_console: $(UNIT_ROOT_console)
$(UNIT_ROOT:%=$(O)/tests/unit/test_%): $(O)/tests/unit/%: tests/unit/%.c $(UNIT_ROOT_HEADERS)
	@mkdir -p $(@D)
	$(HOSTCC) $(UNIT_ROOT_FLAGS) -o $@ $(filter %.c,$^) -lcmocka

unit-root: $(UNIT_ROOT:%=$(O)/tests/unit/test_%)
	@for t in $^; do (ulimit -t 600; $$t) || exit 1; done

.PHONY: unit-root
