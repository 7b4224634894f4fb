/*
 * One attack a run: `test=NAME` on the command line. Those that survive print
 * `attack NAME: ok` and exit 0; `attack NAME: FAIL ...` and exit 1 say that
 * the platform answered wrongly. With `forever=1` the attack is repeated
 * until the VM is stopped.
 */
#include "attack.h"

struct attack {
    const char *name;
    void (*run)(void);
    const char *end; /* what a sound hypervisor lets it come to */
};

static const struct attack attacks[] = {
    {"triple", attack_triple, "dies: triple fault"},
    {"wild-code", attack_wild_code, "any; the VM alone"},
    {"msr-storm", attack_msr_storm, "ok"},
    {"cpuid-storm", attack_cpuid_storm, "ok"},
    {"port-storm", attack_port_storm, "ok"},
    {"pci-storm", attack_pci_storm, "ok"},
    {"string-io", attack_string_io, "ok"},
    {"spin", attack_spin, "runs until stopped"},
    {"x87-loads", attack_x87_loads, "ok"},
    {"console-flood", attack_console_flood, "runs until stopped"},
    {"lan-flood", attack_lan_flood, "runs until stopped"},
    {"rings", attack_rings, "ok"},
    {"dma", attack_dma, "ends without a VMM, value 0"},
    {"memory", attack_memory, "dies: memory, GPA f0000000h"},
    {"svm", attack_svm, "ok"},
    {"hlt", attack_hlt, "sleeps until stopped"},
    {"db-storm", attack_db_storm, "ok"},
    {"db-loop", attack_db_loop, "ok, or runs until stopped, or dies; QEMU 10.0 itself dies"},
    {"ac-loop", attack_ac_loop, "runs until stopped, or dies"},
    {"cr8-storm", attack_cr8_storm, "ok"},
    {"ipi-storm", attack_ipi_storm, "ok"},
    {"bad-state", attack_bad_state, "ok"},
    {"bad-cr0", attack_bad_cr0, "ok; dies: invalid, if the processor lets it in"},
    {"bad-cr4", attack_bad_cr4, "ok; dies: invalid, if the processor lets it in"},
};
#define ATTACKS (sizeof(attacks) / sizeof(attacks[0]))

static const char *running;

void attack_fail(const char *what)
{
    guest_print("attack %s: FAIL %s\n", running, what);
    guest_exit(1);
}

static void run(const struct attack *a)
{
    char forever[2];
    running = a->name;
    guest_print("attack %s: to end: %s\n", a->name, a->end);
    do
        a->run();
    while (guest_option("forever", forever, sizeof(forever)));
    guest_print("attack %s: ok\n", a->name);
    guest_exit(0);
}

void guest_main(void)
{
    char name[32] = "";
    guest_option("test", name, sizeof(name));
    guest_trap_stack();
    guest_apic_enable();
    for (uint32_t i = 0; i < ATTACKS; i++)
        if (guest_same(attacks[i].name, name))
            run(&attacks[i]);
    guest_print("attack: no test named '%s'\n", name);
    guest_exit(2);
}
