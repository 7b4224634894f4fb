# The guest that works and tells, beside which the others misbehave. Read after the Makefile.
$(O)/tests/system/%.o: FLAGS = $(BARE_FLAGS)

$(O)/tests/victim.elf: $(BARE_COMMON) $(O)/tests/system/victim.c.o guest/bare/link.ld
	ld $(LDFLAGS_T) --no-warn-rwx-segments -T guest/bare/link.ld -o $@ $(filter %.o,$^)

system-guests: $(O)/tests/victim.elf
.PHONY: system-guests
