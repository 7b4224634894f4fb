# Unit tests of vmm/virt*.c and lan/ on the host, with sanitizers: `make unit-vmm`.
UNIT_VMM       = virtqueue virtio_blk virtio_net virtio_console lan
UNIT_VMM_FLAGS = $(WARN) -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -I. -Itests/unit \
                 -include tests/unit/fake_vmm.h
UNIT_VMM_CODE  = $(wildcard vmm/virt*.c) lan/switch.c tests/unit/fake_vmm.c tests/unit/driver.c

$(O)/tests/unit/test_%: tests/unit/test_%.c $(UNIT_VMM_CODE) $(wildcard vmm/virt*.h lan/*.h tests/unit/*.h) tests/unit/vmm.mk
	@mkdir -p $(@D)
	$(HOSTCC) $(UNIT_VMM_FLAGS) -o $@ $< $(UNIT_VMM_CODE) -lcmocka -lpthread

UNIT_VMM_PROGRAMS = $(UNIT_VMM:%=$(O)/tests/unit/test_%)
unit-vmm: $(UNIT_VMM_PROGRAMS)
	@for t in $(UNIT_VMM_PROGRAMS); do $$t || exit 1; done

.PHONY: unit-vmm
