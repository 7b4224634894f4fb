# Images that take root's place in a boot: system-call tests and micro-benchmarks.
KTEST = $(O)/tests/kernel
KTEST_calls = kit.c calls.c args.c numbers.c wild.c life.c time.c
KTEST_bench = kit.c bench.c
KTEST_devices = kit.c pci.c realmode.c devices.c messages.c
KTEST_alone = kit.c alone.c alone_guest.S
KTEST_storm = kit.c pci.c storm.c storm_acts.c alone_guest.S
KTEST_ending = kit.c ending.c
KTEST_idle = kit.c idle.c
KTEST_exact = kit.c guests.c exact.c exact_guest.S
KTEST_sealed = kit.c guests.c sealed.c sealed_guest.S
KTEST_hostile = kit.c guests.c hostile.c hostile_acts.c hostile_guest.S

$(KTEST)/%.o: FLAGS = $(USER_FLAGS)

define kernel_test
$(O)/tests/$(1).elf: $(patsubst %,$(KTEST)/%.o,$(KTEST_$(1))) $(LIB) lib/user.ld
	ld $(LDFLAGS_T) -T lib/user.ld -o $$@ $$(filter %.o,$$^)
$(O)/tests/$(1).img: $(O)/tests/$(1).elf
	objcopy -O binary $$< $$@
endef
$(foreach t,calls alone ending hostile sealed exact idle bench devices storm,$(eval $(call kernel_test,$(t))))

kernel-test: $(O)/tests/calls.img $(O)/tests/alone.img $(O)/tests/ending.img $(O)/tests/hostile.img $(O)/tests/sealed.img $(O)/tests/exact.img $(O)/tests/devices.img
kernel-bench: $(O)/tests/bench.img
kernel-storm: $(O)/tests/storm.img
.PHONY: kernel-test kernel-bench kernel-storm
