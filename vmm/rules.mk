# The ACPI source becomes bytes that dsdt.S includes.
$(O)/vmm/dsdt.aml: vmm/dsdt.asl
	@mkdir -p $(@D)
	iasl -va -p $(basename $@) $< >$(@D)/dsdt.log || { cat $(@D)/dsdt.log; false; }
$(O)/vmm/dsdt.S.o: $(O)/vmm/dsdt.aml
$(O)/vmm/dsdt.S.o: FLAGS = $(USER_FLAGS) -Wa,-I$(O)/vmm
