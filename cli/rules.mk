# The host tool.
cli: $(O)/hairline-tool

CLI = $(call objs,cli)
$(O)/cli/%.o: CC = $(HOSTCC)
$(O)/cli/%.o: FLAGS = $(WARN) -O2 -g -D_GNU_SOURCE -ffile-prefix-map=$(CURDIR)=. -I. -MMD -MP
$(O)/hairline-tool: $(CLI)
	$(HOSTCC) -Wl,--build-id=none -o $@ $(CLI) -lcyaml -lyaml -ljson-c
