# Bare guests: each is start.S + run.c + its own files, a PVH ELF.
BARE_FLAGS = $(WARN) $(TARGET)
BARE       = $(O)/guest/bare
BARE_COMMON = $(BARE)/start.S.o $(BARE)/run.c.o
BARE_hello  = hello.c
BARE_bench  = bench.c bench_interrupt.S
BARE_smp    = smp.c
BARE_attack = attack.c attack_cpu.c attack_ring.c attack_flood.c attack_dma.c nvme.c leave.c virtio.c pci.c legacy.S
BARE_attack_alone = attack_alone.c attack_alone_icr.c leave.c
BARE_canary = canary.c leave.c
BARE_platform = platform.c platform_cpu.c platform_steps.S leave.c
BARE_PROGRAMS = hello bench smp attack attack_alone canary platform
BARE_GUESTS = $(foreach g,$(BARE_PROGRAMS),$(BARE)/$(g).elf) $(BARE)/mboot.elf $(BARE)/mbench.elf

$(BARE)/%.o: FLAGS = $(BARE_FLAGS)

define bare_guest
$(BARE)/$(1).elf: $(BARE_COMMON) $(patsubst %,$(BARE)/%.o,$(2)) guest/bare/link.ld
	ld $(LDFLAGS_T) --no-warn-rwx-segments $(3) -T guest/bare/link.ld -o $$@ $$(filter %.o,$$^)
endef
$(foreach g,$(BARE_PROGRAMS),$(eval $(call bare_guest,$(g),$(BARE_$(g)))))
$(eval $(call bare_guest,mboot64,hello.c multiboot.S))
$(eval $(call bare_guest,mbench64,$(BARE_bench) multiboot.S))

# Where loaders put what they tell a kernel, if they are not careful; and where a PC has its ROMs.
$(foreach at,0x7fe0 0xffe0 0x1ffe0 0xe0000,$(eval $(call bare_guest,low64-$(at),hello.c multiboot.S,--defsym=base=$(at))))
$(foreach at,0x7fe0 0xffe0 0x1ffe0 0xe0000,$(eval $(call bare_guest,low-$(at),hello.c,--defsym=base=$(at))))

$(BARE)/mboot.elf $(BARE)/mbench.elf: $(BARE)/%.elf: $(BARE)/%64.elf
	objcopy -O elf32-i386 --strip-debug $< $@
$(BARE)/mboot-%.elf: $(BARE)/low64-%.elf
	objcopy -O elf32-i386 --strip-debug $< $@
BARE_LOW = $(foreach at,0x7fe0 0xffe0 0x1ffe0 0xe0000,$(BARE)/low-$(at).elf $(BARE)/mboot-$(at).elf)
guests: $(BARE_LOW)

guests: $(BARE_GUESTS)
target: guests
.PHONY: guests

# A Linux userland of one program and busybox, for the benchmarks.
$(O)/guest/bench-init: guest/bench-init.c
	@mkdir -p $(@D)
	$(HOSTCC) $(WARN) -O2 -static -s $< -o $@
$(O)/guest/bench.cpio: $(O)/guest/bench-init
	@rm -rf $@.d && mkdir -p $@.d
	cp $< $@.d/init && cp $$(command -v busybox) $@.d/busybox
	cd $@.d && printf 'init\nbusybox\n' | cpio --quiet --reproducible -o -H newc -R 0:0 >../$(@F)
bench: $(O)/guest/bench.cpio $(O)/tests/bench.img $(O)/kernels/debian/vmlinux guests
.PHONY: bench
