# The ACPI source becomes bytes that dsdt.S includes.
$(O)/vmm/platform/dsdt.aml: vmm/platform/dsdt.asl
	@mkdir -p $(@D)
	iasl -va -p $(basename $@) $< >$(@D)/dsdt.log || { cat $(@D)/dsdt.log; false; }
$(O)/vmm/platform/dsdt.S.o: $(O)/vmm/platform/dsdt.aml
$(O)/vmm/platform/dsdt.S.o: FLAGS = $(USER_FLAGS) -Wa,-I$(O)/vmm/platform
