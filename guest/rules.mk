# Packaged kernels and the userland for them: $(O)/kernels/NAME/{vmlinuz,vmlinux,initrd}.
# The tool asks for the ones a plan names; `make guest` makes the usual one.
guest: $(O)/kernels/debian/initrd

$(O)/kernels/%/vmlinuz: guest/fetch-kernel
	@mkdir -p $(O)/kernels
	@guest/fetch-kernel $* $(@D)
$(O)/kernels/%/vmlinux: $(O)/kernels/%/vmlinuz ;
$(O)/kernels/%/initrd: $(O)/kernels/%/vmlinuz guest/init guest/mkinitrd
	@guest/mkinitrd $(@D)

.PHONY: guest
.PRECIOUS: $(O)/kernels/%/vmlinuz

include guest/bare/rules.mk
