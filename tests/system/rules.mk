# Guests that work and tell, beside which others misbehave. Read after the Makefile.
$(O)/tests/system/%.o: FLAGS = $(BARE_FLAGS)

$(O)/tests/witness.elf: $(BARE)/nvme.c.o $(BARE)/pci.c.o
$(O)/tests/toucher.elf: $(BARE)/virtio.c.o $(BARE)/pci.c.o
$(O)/tests/metronome.elf $(O)/tests/toucher.elf $(O)/tests/victim.elf $(O)/tests/witness.elf: $(O)/tests/%.elf: $(BARE_COMMON) $(O)/tests/system/%.c.o guest/bare/link.ld
	ld $(LDFLAGS_T) --no-warn-rwx-segments -T guest/bare/link.ld -o $@ $(filter %.o,$^)

system-guests: $(O)/tests/metronome.elf $(O)/tests/toucher.elf $(O)/tests/victim.elf $(O)/tests/witness.elf
.PHONY: system-guests
