# Builds everything that runs on the target, and the host tool. `./hairline`
# installs what this needs and calls it; call it by hand for one part.
# Output goes to $(O); nothing else in the tree is written.
# DEBUG=1: a kernel that checks its invariant (tests/invariant/) after each
# call that changes the object graph, in build/debug.
# OBJECTS=N: a kernel with another number of objects; give it a folder of its own by O=. The invariant takes time for each.
# EPT=1: one whose guests have Intel's tables on AMD's processor, for tests/kernel/run; a folder of its own, too.
O      ?= build$(if $(DEBUG),/debug)
# The same folder by the same name always: dependency files name their targets.
override O := $(patsubst $(CURDIR)/%,%,$(abspath $(O)))
CC     ?= gcc
HOSTCC ?= gcc

WARN = -std=gnu11 -Wall -Wextra -Werror -Wconversion -Wsign-conversion -Wcast-qual -Wvla -Wshadow \
       -Wmissing-prototypes -Wstrict-prototypes -Wundef -Wpointer-arith -Wwrite-strings -Wold-style-definition
# No vector registers, so no code needs a stack of 16 bytes' alignment: two instructions less in many functions.
STACK = $(if $(findstring clang,$(CC)),-mstack-alignment=8,-mpreferred-stack-boundary=3)
# Reproducible: no paths, no dates, no build IDs in the binaries.
TARGET = -O2 -g -ffreestanding -fno-pic -fno-pie -mno-red-zone -mgeneral-regs-only $(STACK) -fno-stack-protector \
         -fno-asynchronous-unwind-tables -fcf-protection=none -fno-common -fno-strict-aliasing \
         -ffunction-sections -fdata-sections -ffile-prefix-map=$(CURDIR)=. -I. -I$(O) -MMD -MP
KERNEL_FLAGS = $(WARN) $(TARGET) -mcmodel=kernel -fno-jump-tables $(if $(DEBUG),-Itests/invariant) $(if $(OBJECTS)$(DEBUG),-DOBJECTS=$(or $(OBJECTS),1024u)) -Ikernel
USER_FLAGS   = $(WARN) $(TARGET)
LDFLAGS_T    = -nostdlib -static --build-id=none --gc-sections -z noexecstack -z max-page-size=4096

# Those of a folder and of the folders in it. Its offsets.c is not linked: offsets.inc is made from it.
objs = $(patsubst %,$(O)/%.o,$(filter-out %/offsets.c,$(wildcard $(1)/*.c $(1)/*.S $(1)/*/*.c $(1)/*/*.S)))

# The string functions are for clang, which calls them to fill structs; where nothing does, the linker drops them.
KERNEL = $(call objs,boot) $(call objs,kernel) $(O)/lib/string.c.o $(if $(DEBUG),$(call objs,tests/invariant))
LIB    = $(call objs,lib)
IMAGES = $(O)/hairline.elf $(O)/uefi.efi $(O)/root.img $(O)/vmm.img $(O)/lan.img

all: target cli
target: $(IMAGES)
deb: all
	@scripts/mkdeb $(O) $(O)/hairline.deb
	@scripts/mkdkms $(O)/hairline-dkms.deb $(LINUX_SOURCES)
.PHONY: deb

$(O)/boot/%.o $(O)/kernel/%.o $(O)/kernel/offsets.inc $(O)/tests/invariant/%.o: FLAGS = $(KERNEL_FLAGS)
$(O)/kernel/ptab.c.o: FLAGS = $(KERNEL_FLAGS) $(if $(EPT),-include tests/kernel/ept.h)
$(O)/lib/%.o $(O)/lib/offsets.inc $(O)/root/%.o $(O)/vmm/%.o $(O)/lan/%.o: FLAGS = $(USER_FLAGS)

$(O)/%.c.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -c $< -o $@
$(O)/%.S.o: %.S Makefile
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -c $< -o $@

# What assembly takes from C, as numbers: see kernel/offsets.c.
$(O)/%/offsets.inc: %/offsets.c Makefile
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -MT $@ -S $< -o $(@:inc=s)
	sed -n 's/.*"->\([A-Za-z0-9_]*\) [$$]\([-0-9a-fx]*\)".*/.set \1, \2/p' $(@:inc=s) >$@
$(O)/kernel/entry.S.o $(O)/kernel/svm_switch.S.o $(O)/kernel/vmx_switch.S.o $(O)/boot/ap.S.o: $(O)/kernel/offsets.inc
$(O)/lib/start.S.o: $(O)/lib/offsets.inc

# QEMU's -kernel wants a 32-bit ELF container around the 64-bit code.
# --emit-relocs: what changes if it lies elsewhere, for a packer (cli/image/efi.c).
$(O)/hairline64.elf: $(KERNEL) kernel/link.ld
	ld $(LDFLAGS_T) --emit-relocs -T kernel/link.ld -o $@ $(KERNEL)
$(O)/hairline.elf: $(O)/hairline64.elf
	objcopy -O elf32-i386 --strip-debug --remove-relocations='*' $< $@

# The UEFI stub: position independent, so its only relocations with addresses are the header's own.
UEFI = $(call objs,boot/uefi)
$(O)/boot/uefi/%.o: FLAGS = $(filter-out -fno-pic -fno-pie,$(USER_FLAGS)) -fpie -fno-jump-tables -Ikernel
$(O)/uefi.elf: $(UEFI) boot/uefi/pe.ld
	ld $(LDFLAGS_T) --emit-relocs -T boot/uefi/pe.ld -o $@ $(UEFI)
	@! readelf -rW $@ | awk '/^Relocation/ { in_code = $$3 ~ /text|data/ } in_code' | grep -E 'R_X86_64_(64|32)'
$(O)/uefi.efi: $(O)/uefi.elf
	objcopy -O binary $< $@

define user_program
$(O)/$(1).elf: $$(call objs,$(1)) $(LIB) lib/user.ld
	ld $(LDFLAGS_T) -T lib/user.ld -o $$@ $$(call objs,$(1)) $(LIB)
$(O)/$(1).img: $(O)/$(1).elf
	objcopy -O binary $$< $$@
endef
$(foreach p,root vmm lan,$(eval $(call user_program,$(p))))

include cli/rules.mk guest/rules.mk vmm/rules.mk $(wildcard tests/*/*.mk)

clean:
	rm -rf $(O)

.PHONY: all target cli clean
-include $(shell find $(O) -name '*.d' -type f 2>/dev/null)
