# Packaged kernels and the userlands for them: $(O)/kernels/NAME/{vmlinuz,vmlinux,initrd,initrd-net,initrd-service,root.ext4}.
# The tool asks for the ones a plan names; `make guest` makes the usual one.
guest: $(O)/kernels/debian/initrd

USERLAND     = guest/common.sh guest/mkinitrd
NET_PROGRAMS = $(O)/guest/hairline-guest
ISCSI        = $(O)/guest/open-iscsi
VBLADE       = $(O)/guest/vblade
GATEWAY      = $(O)/guest/gateway
SERVICE      = $(VBLADE)/vblade $(GATEWAY)/dnsmasq $(GATEWAY)/nft $(GATEWAY)/chronyd

$(O)/kernels/%/vmlinuz: guest/fetch-kernel
	@mkdir -p $(O)/kernels
	@guest/fetch-kernel $* $(@D)
# Those of the tests, pinned; and the newest, asked for each time.
LOCKED = $(sort $(shell awk '$$1 !~ /^\#/ { print $$1 }' tests/kernels.lock))
$(LOCKED:%=$(O)/kernels/%/vmlinuz): tests/kernels.lock
$(O)/kernels/newest/vmlinuz: always
always:
.PHONY: always
$(ISCSI)/iscsistart: guest/fetch-iscsi
	@mkdir -p $(O)/guest
	@guest/fetch-iscsi $(@D)
$(VBLADE)/vblade: guest/fetch-vblade
	@mkdir -p $(O)/guest
	@guest/fetch-vblade $(@D)
$(GATEWAY)/dnsmasq: guest/fetch-gateway
	@mkdir -p $(O)/guest
	@guest/fetch-gateway $(@D)
$(GATEWAY)/nft $(GATEWAY)/chronyd: $(GATEWAY)/dnsmasq ;
$(O)/kernels/%/vmlinux: $(O)/kernels/%/vmlinuz ;
$(O)/kernels/%/initrd: $(O)/kernels/%/vmlinuz guest/init guest/lease $(USERLAND)
	@guest/mkinitrd plain $(@D) $@
$(O)/kernels/%/initrd-net: $(O)/kernels/%/vmlinuz guest/init-net $(USERLAND) $(NET_PROGRAMS) $(ISCSI)/iscsistart
	@LD_LIBRARY_PATH=$(abspath $(ISCSI)) guest/mkinitrd net $(@D) $@ $(NET_PROGRAMS) $(ISCSI)/iscsistart
# With the tool, which is there (it may be what calls this), and what `hairline create` makes a VM of.
TOOL_SOURCES = $(wildcard cli/*.[ch] cli/*/*.[ch] abi/*.h)
$(O)/kernels/%/initrd-service: $(O)/kernels/%/initrd guest/init-service guest/gateway.sh $(USERLAND) $(SERVICE) $(TOOL_SOURCES)
	@LD_LIBRARY_PATH=$(abspath $(GATEWAY)) guest/mkinitrd service $(@D) $@ $(SERVICE) /sbin/mke2fs $(O)/hairline-tool
$(O)/kernels/%/root.ext4: $(O)/kernels/%/vmlinuz guest/init-net $(USERLAND) $(NET_PROGRAMS)
	@guest/mkinitrd root $(@D) $@ $(NET_PROGRAMS)

.PHONY: guest
.PRECIOUS: $(O)/kernels/%/vmlinuz $(O)/kernels/%/headers

include guest/bare/rules.mk

# A static program that any Linux guest can carry.
$(O)/guest/hairline-guest: guest/hairline-guest.c abi/vm.h Makefile
	@mkdir -p $(@D)
	$(HOSTCC) $(WARN) -O2 -I. -static -o $@ $<

# An installed Debian on a disk, kept outside of this tree: guest/disk/mkdisk.
$(O)/debian-disk: $(wildcard guest/disk/*)
	@mkdir -p $(@D)
	@guest/disk/mkdisk $@

# Debian's cluster packages as a service VM's userland, kept outside of this tree: guest/cluster/mkuserland.
cluster: $(O)/cluster
$(O)/cluster: $(wildcard guest/cluster/*)
	@mkdir -p $(@D)
	@guest/cluster/mkuserland $@
.PHONY: cluster

# And what modules for its kernel are built with.
$(O)/kernels/debian-disk/headers: $(O)/debian-disk
	@[ -d $@/usr ] || guest/disk/mkdisk $<
$(O)/kernels/debian-disk/hairline.ko: $(O)/kernels/debian-disk/version
$(O)/kernels/debian-disk/version: $(O)/kernels/debian-disk/headers ;

# The module for a launch beneath the packaged kernel (linux/), with that kernel's headers. Kbuild writes beside its sources, so
# it gets a copy; and $(O) would mean something to it.
LINUX_SOURCES = $(wildcard linux/*) $(wildcard boot/uefi/*.[ch] boot/uefi/*.inc abi/*.h lib/hw/*.h) kernel/cpu.h kernel/config.h
$(O)/kernels/%/headers: $(O)/kernels/%/vmlinuz guest/fetch-headers
	@guest/fetch-headers $(@D)
	@touch $@
$(O)/kernels/%/hairline.ko: $(O)/kernels/%/headers $(LINUX_SOURCES)
	@rm -rf $(@D)/module && mkdir -p $(@D)/module
	@cp --parents $(LINUX_SOURCES) $(@D)/module
	@env -u MAKEFLAGS make -s -C $(@D)/headers/usr/src/linux-headers-$$(cat $(@D)/version) M=$(abspath $(@D))/module/linux CONFIG_DEBUG_INFO_BTF_MODULES= modules
	@cp $(@D)/module/linux/hairline.ko $@
