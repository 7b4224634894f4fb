# Builds everything that runs on the target, and the host tool. `./hairline`
# installs what this needs and calls it; call it by hand for one part.
# Output goes to $(O); nothing else in the tree is written.
# DEBUG=1: a kernel that checks its invariant (tests/invariant/) after each
# call that changes the object graph, in build/debug.
# OBJECTS=N: a kernel with another number of objects; give it a folder of its own by O=.
O      ?= build$(if $(DEBUG),/debug)
# The same folder by the same name always: dependency files name their targets.
override O := $(patsubst $(CURDIR)/%,%,$(abspath $(O)))
CC     ?= gcc
HOSTCC ?= gcc

WARN = -std=gnu11 -Wall -Wextra -Werror -Wconversion -Wsign-conversion -Wcast-qual -Wvla -Wshadow \
       -Wmissing-prototypes -Wstrict-prototypes -Wundef -Wpointer-arith -Wwrite-strings -Wold-style-definition
# Reproducible: no paths, no dates, no build IDs in the binaries.
TARGET = -O2 -g -ffreestanding -fno-pic -fno-pie -mno-red-zone -mgeneral-regs-only -fno-stack-protector \
         -fno-asynchronous-unwind-tables -fcf-protection=none -fno-common -fno-strict-aliasing \
         -ffunction-sections -fdata-sections -ffile-prefix-map=$(CURDIR)=. -I. -MMD -MP
KERNEL_FLAGS = $(WARN) $(TARGET) -mcmodel=kernel -fno-jump-tables $(if $(DEBUG),-Itests/invariant) $(if $(OBJECTS),-DOBJECTS=$(OBJECTS)) -Ikernel
USER_FLAGS   = $(WARN) $(TARGET)
LDFLAGS_T    = -nostdlib -static --build-id=none --gc-sections -z noexecstack -z max-page-size=4096

objs = $(patsubst %,$(O)/%.o,$(wildcard $(1)/*.c $(1)/*.S))

# The string functions are for clang, which calls them to fill structs; where nothing does, the linker drops them.
KERNEL = $(call objs,boot) $(call objs,kernel) $(O)/lib/string.c.o $(if $(DEBUG),$(call objs,tests/invariant))
LIB    = $(call objs,lib)
IMAGES = $(O)/hairline.elf $(O)/root.img $(O)/vmm.img $(O)/lan.img

all: target cli
target: $(IMAGES)

$(O)/boot/%.o $(O)/kernel/%.o $(O)/tests/invariant/%.o: FLAGS = $(KERNEL_FLAGS)
$(O)/lib/%.o $(O)/root/%.o $(O)/vmm/%.o $(O)/lan/%.o: FLAGS = $(USER_FLAGS)

$(O)/%.c.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -c $< -o $@
$(O)/%.S.o: %.S Makefile
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -c $< -o $@

# QEMU's -kernel wants a 32-bit ELF container around the 64-bit code.
$(O)/hairline64.elf: $(KERNEL) kernel/link.ld
	ld $(LDFLAGS_T) -T kernel/link.ld -o $@ $(KERNEL)
$(O)/hairline.elf: $(O)/hairline64.elf
	objcopy -O elf32-i386 --strip-debug $< $@

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
