# The host tool.
cli: $(O)/hairline-tool

# What root makes of the tables of IOMMUs, the tool makes of them, too.
CLI = $(call objs,cli) $(O)/cli/scope.o
$(O)/cli/scope.o: root/hardware/scope.c
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -c $< -o $@
$(O)/cli/%.o: CC = $(HOSTCC)
$(O)/cli/%.o: FLAGS = $(WARN) -O2 -g -D_GNU_SOURCE -ffile-prefix-map=$(CURDIR)=. -I. -MMD -MP
$(O)/cli/sha256.o: lib/sha256.c Makefile
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -c $< -o $@
$(O)/hairline-tool: $(CLI) $(O)/cli/sha256.o
	$(HOSTCC) -Wl,--build-id=none -o $@ $(CLI) $(O)/cli/sha256.o -lcyaml -lyaml -ljson-c -lutil
# The same without a library, for the emulated machine's installed Debian.
$(O)/hairline-static: $(CLI) $(O)/cli/sha256.o
	$(HOSTCC) -static -s -Wl,--build-id=none -o $@ $(CLI) $(O)/cli/sha256.o -lcyaml -lyaml -ljson-c -lutil
