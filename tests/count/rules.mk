# QEMU's plugin that counts instructions of each program, for scripts/bench. Read after the Makefile.
$(O)/tests/count.so: tests/count/count.c
	@mkdir -p $(@D)
	$(HOSTCC) $(WARN) -O2 -shared -fPIC -fvisibility=hidden -o $@ $<
# The kernel's code alone, as it lies in memory from kernel_text on.
$(O)/tests/kernel.text: $(O)/hairline64.elf
	@mkdir -p $(@D)
	objcopy -O binary -j .text $< $@

# A Linux userland whose first process is measured at its disk and its network: the usual one, with other files over it.
$(O)/guest/bench-io: guest/bench-io.c
	@mkdir -p $(@D)
	$(HOSTCC) $(WARN) -D_GNU_SOURCE -O2 -static -s $< -o $@
$(O)/guest/bench-io.initrd: guest/init-bench-io $(O)/guest/bench-io $(O)/kernels/debian/initrd
	@rm -rf $@.d && mkdir -p $@.d/bin
	cp guest/init-bench-io $@.d/init && cp $(O)/guest/bench-io $@.d/bin
	cd $@.d && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet --reproducible -o -H newc -R 0:0 >../$(@F).part
	cat $(O)/kernels/debian/initrd $@.part >$@
bench: $(O)/tests/count.so $(O)/tests/kernel.text $(O)/guest/bench-io.initrd $(O)/kernels/debian/initrd-service
