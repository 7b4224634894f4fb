# Unit tests of kernel/ on the host, with sanitizers: `make unit-kernel`. The kernel's C compiles unchanged; tests/host/cpu.h is the processor.
# invariant() is looked at after each object call, as in debug builds.
UNIT_KERNEL       = cap memory ptab pt time core vcpu step halt life vtd amdvi alone icr seal registers sealed vmx installed
UNIT_KERNEL_FLAGS = $(WARN) -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer --coverage \
                    -Itests/host -Itests/invariant -Ikernel -I. -Itests/unit -DPOOL_FRAMES=2048u -DOBJECTS=1024u -MMD -MP
UNIT_KERNEL_DIR   = $(O)/tests/unit/kernel
UNIT_KERNEL_OBJS  = $(patsubst %,$(UNIT_KERNEL_DIR)/%.o,$(filter-out %/offsets.c,$(wildcard kernel/*.c)) tests/invariant/invariant.c tests/invariant/check.c tests/invariant/look.c tests/unit/rig.c tests/unit/model.c tests/unit/model_vmx.c tests/unit/rig_vcpu.c tests/unit/rig_iommu.c)
UNIT_KERNEL_PROGRAMS = $(UNIT_KERNEL:%=$(O)/tests/unit/test_kernel_%)

$(UNIT_KERNEL_DIR)/%.o: % tests/unit/kernel.mk
	@mkdir -p $(@D)
	$(HOSTCC) $(UNIT_KERNEL_FLAGS) -c $< -o $@

$(UNIT_KERNEL_PROGRAMS): $(O)/tests/unit/test_%: $(UNIT_KERNEL_DIR)/tests/unit/test_%.c.o $(UNIT_KERNEL_OBJS)
	$(HOSTCC) $(UNIT_KERNEL_FLAGS) -o $@ $^ -lcmocka

# The kernel's assembly, in user mode. What it calls and the test does not run is not there.
UNIT_WINDOW = $(UNIT_KERNEL_DIR)/window/entry.S.o $(UNIT_KERNEL_DIR)/window/vmx_switch.S.o
$(UNIT_WINDOW): $(UNIT_KERNEL_DIR)/window/%.o: kernel/% kernel/entry.inc tests/unit/user_mode.inc $(O)/kernel/offsets.inc tests/unit/kernel.mk
	@mkdir -p $(@D)
	$(HOSTCC) -Wa,-I. -I. -I$(O) -Ikernel -include tests/unit/user_mode.inc -c $< -o $@
$(O)/tests/unit/test_kernel_window: tests/unit/test_kernel_window.c $(UNIT_WINDOW) $(wildcard kernel/*.h abi/*.h lib/hw/*.h)
	@mkdir -p $(@D)
	$(HOSTCC) $(WARN) -g -O1 -fno-pie -no-pie -Ikernel -I. -Itests/unit -Wl,--unresolved-symbols=ignore-all -o $@ $(filter %.c %.o,$^) -lcmocka

unit-kernel: $(UNIT_KERNEL_PROGRAMS) $(O)/tests/unit/test_kernel_window
	@find $(UNIT_KERNEL_DIR) -name '*.gcda' -delete
	@status=0; for t in $^; do (ulimit -t 600; $$t) || status=1; done; tests/coverage $(UNIT_KERNEL_DIR)/kernel; exit $$status

.PHONY: unit-kernel
.SECONDARY: $(UNIT_KERNEL_PROGRAMS:$(O)/tests/unit/%=$(UNIT_KERNEL_DIR)/tests/unit/%.c.o)
