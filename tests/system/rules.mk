# Guests that work and tell, beside which others misbehave. Read after the Makefile.
$(O)/tests/system/%.o: FLAGS = $(BARE_FLAGS)

$(O)/tests/witness.elf: $(BARE)/nvme.c.o $(BARE)/pci.c.o
$(O)/tests/asker.elf $(O)/tests/toucher.elf: $(BARE)/virtio.c.o $(BARE)/pci.c.o
$(O)/tests/bars.elf: $(BARE)/pci.c.o
$(O)/tests/asker.elf $(O)/tests/bars.elf $(O)/tests/metronome.elf $(O)/tests/toucher.elf $(O)/tests/victim.elf $(O)/tests/witness.elf: $(O)/tests/%.elf: $(BARE_COMMON) $(O)/tests/system/%.c.o guest/bare/link.ld
	ld $(LDFLAGS_T) --no-warn-rwx-segments -T guest/bare/link.ld -o $@ $(filter %.o,$^)

# 32-bit code in a file of its own.
$(O)/tests/lme.elf: tests/system/lme.S
	@mkdir -p $(O)/tests/system
	$(CC) -m32 -c $< -o $(O)/tests/system/lme.o
	ld -m elf_i386 -nostdlib --build-id=none -z noexecstack -N -Ttext 0x100000 -o $@ $(O)/tests/system/lme.o

# The kernel, linked for another place.
$(O)/tests/elsewhere.bin: $(KERNEL) kernel/link.ld
	@mkdir -p $(@D)
	ld $(LDFLAGS_T) --defsym=load_base=0x12345000 -T kernel/link.ld -o $(@:bin=elf) $(KERNEL)
	objcopy -O binary $(@:bin=elf) $@

# The same VMM, with a worker that misbehaves.
$(O)/tests/system/hostile_vmm.c.o: FLAGS = $(USER_FLAGS)
$(O)/tests/hostile_vmm.elf: $(filter-out %/main.c.o,$(call objs,vmm)) $(O)/tests/system/hostile_vmm.c.o $(LIB) lib/user.ld
	ld $(LDFLAGS_T) -T lib/user.ld -o $@ $(filter %.o,$^)
$(O)/tests/hostile_vmm.img: $(O)/tests/hostile_vmm.elf
	objcopy -O binary $< $@

system-guests: $(O)/tests/elsewhere.bin $(O)/tests/asker.elf $(O)/tests/bars.elf $(O)/tests/hostile_blade $(O)/tests/metronome.elf $(O)/tests/toucher.elf $(O)/tests/hostile_vmm.img $(O)/tests/victim.elf $(O)/tests/witness.elf $(O)/tests/lme.elf $(O)/tests/idle.img $(O)/tests/hostile_switch.img
.PHONY: system-guests

# A program in the LAN switch's place.
$(O)/tests/system/hostile_switch.c.o: FLAGS = $(USER_FLAGS)
$(O)/tests/hostile_switch.elf: $(O)/tests/system/hostile_switch.c.o $(O)/lan/switch.c.o $(LIB) lib/user.ld
	ld $(LDFLAGS_T) -T lib/user.ld -o $@ $(filter %.o,$^)
$(O)/tests/hostile_switch.img: $(O)/tests/hostile_switch.elf
	objcopy -O binary $< $@

# Programs in the place of a service VM's server, or of a host's root, static: any Linux can carry them.
$(O)/tests/hostile_blade $(O)/tests/kexec $(O)/tests/kvm_holder $(O)/tests/line_storm: $(O)/tests/%: tests/system/%.c
	@mkdir -p $(@D)
	$(HOSTCC) $(WARN) -D_GNU_SOURCE -O2 -I. -static -o $@ $<

# A module of a hostile Linux, for a packaged kernel.
$(O)/kernels/%/reach.ko: $(O)/kernels/%/headers tests/system/reach.c
	@rm -rf $(@D)/reach && mkdir -p $(@D)/reach
	@cp tests/system/reach.c $(@D)/reach && echo 'obj-m := reach.o' >$(@D)/reach/Kbuild
	@env -u MAKEFLAGS make -s -C $(@D)/headers/usr/src/linux-headers-$$(cat $(@D)/version) M=$(abspath $(@D))/reach CONFIG_DEBUG_INFO_BTF_MODULES= modules
	@cp $(@D)/reach/reach.ko $@
