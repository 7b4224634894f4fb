# Unit tests of boot/ on the host, with sanitizers: `make unit-boot`. The processor is the test's.
UNIT_BOOT_FLAGS = $(WARN) -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer \
                  -Itests/host -Ikernel -Iboot -I. -Itests/unit

$(O)/tests/unit/test_boot_processor: tests/unit/test_boot_processor.c boot/processor.c boot/boot.h $(wildcard kernel/*.h tests/host/*.h lib/hw/*.h) tests/unit/boot.mk
	@mkdir -p $(@D)
	$(HOSTCC) $(UNIT_BOOT_FLAGS) -o $@ $< -lcmocka

$(O)/tests/unit/test_boot_memory: tests/unit/test_boot_memory.c $(wildcard boot/*.c boot/*.h boot/uefi/*.h abi/*.h) tests/unit/boot.mk
	@mkdir -p $(@D)
	$(HOSTCC) $(UNIT_BOOT_FLAGS) -fPIC -no-pie -Wl,--no-relax,--defsym=image_start=0xffffffff82000000,--defsym=kernel_end=0xffffffff83000000 -o $@ $< -lcmocka

$(O)/tests/unit/test_boot_pci: tests/unit/test_boot_pci.c boot/pci.c boot/boot.h $(wildcard kernel/*.h tests/host/*.h abi/*.h) tests/unit/boot.mk
	@mkdir -p $(@D)
	$(HOSTCC) $(UNIT_BOOT_FLAGS) -o $@ $< -lcmocka

$(O)/tests/unit/test_boot_uefi: tests/unit/test_boot_uefi.c $(wildcard boot/uefi/*.[ch] abi/*.h) tests/unit/boot.mk
	@mkdir -p $(@D)
	$(HOSTCC) $(UNIT_BOOT_FLAGS) -no-pie -o $@ $< -lcmocka

unit-boot: $(O)/tests/unit/test_boot_processor $(O)/tests/unit/test_boot_memory $(O)/tests/unit/test_boot_pci $(O)/tests/unit/test_boot_uefi
	@(ulimit -t 600; for p in $^; do $$p || exit 1; done)

.PHONY: unit-boot
