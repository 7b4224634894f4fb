# QEMU's plugin that counts instructions of each program, for scripts/bench. Read after the Makefile.
$(O)/tests/count.so: tests/count/count.c
	@mkdir -p $(@D)
	$(HOSTCC) $(WARN) -O2 -shared -fPIC -fvisibility=hidden -o $@ $<
# The kernel's code alone, as it lies in memory from kernel_text on.
$(O)/tests/kernel.text: $(O)/hairline64.elf
	@mkdir -p $(@D)
	objcopy -O binary -j .text $< $@

# Linux userlands whose first process is measured: the usual one, and a service VM's, with other files over them.
$(O)/guest/bench-io: guest/bench-io.c
	@mkdir -p $(@D)
	$(HOSTCC) $(WARN) -D_GNU_SOURCE -O2 -static -s $< -o $@
$(O)/guest/bench-over: guest/init-bench-io $(USERLAND) $(O)/guest/bench-io $(O)/kernels/debian/vmlinuz
	@guest/mkinitrd bench $(O)/kernels/debian $@ $(O)/guest/bench-io
$(O)/guest/bench-io.initrd: $(O)/kernels/debian/initrd $(O)/guest/bench-over
	cat $^ >$@
$(O)/guest/bench-service.initrd: $(O)/kernels/debian/initrd-service $(O)/guest/bench-over
	cat $^ >$@
bench: $(O)/tests/count.so $(O)/tests/kernel.text $(O)/guest/bench-io.initrd $(O)/guest/bench-service.initrd
