#include <cli/here/here.h>
#include <cli/host.h>

#include <abi/plan.h>
#include <lib/hw/speculation.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRMWARE "switch it on in the firmware, if it can be"
#define MSR_HINT "as root, after `modprobe msr`, it could be read"

/* What boot/processor.c asks for, by the names of Linux's flags. */
struct need {
    const char *flag, *item;
};

static const struct need both[] = {{"lm", "64-bit mode"},
                                   {"nx", "no-execute pages"},
                                   {"pdpe1gb", "1 GiB pages"},
                                   {"rdtscp", "RDTSCP"},
                                   {"avx", "AVX"},
                                   {NULL, NULL}};
static const struct need amd[] = {
    {"svm", "virtualization (SVM)"}, {"npt", "nested paging (NPT)"}, {NULL, NULL}};
static const struct need intel[] = {{"vmx", "virtualization (VMX)"}, {NULL, NULL}};
static const struct need vmx[] = {{"ept", "nested paging (EPT)"},
                                  {"ept_1gb", "nested pages of 1 GiB"},
                                  {"unrestricted_guest", "unrestricted guests"},
                                  {"vnmi", "virtual NMIs"},
                                  {NULL, NULL}};

/* The value of `key` in the first processor's part of /proc/cpuinfo; NULL: it has none. */
static const char *cpuinfo(const char *text, const char *key)
{
    size_t length = strlen(key);
    const char *end = strstr(text, "\n\n");
    for (const char *line = text; line && (!end || line < end); line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *colon = line + length + strspn(line + length, "\t ");
        if (strncmp(line, key, length) == 0 && *colon == ':')
            return host_text("%.*s", (int)strcspn(colon + 1, "\n"), colon + 1);
    }
    return NULL;
}

static bool has_flag(const char *flags, const char *flag)
{
    size_t length = strlen(flag);
    const char *at = flags ? strstr(flags, flag) : NULL;
    for (; at; at = strstr(at + length, flag))
        if ((at == flags || at[-1] == ' ') && (at[length] == ' ' || at[length] == 0))
            return true;
    return false;
}

/* One line for each need. */
static void tell_needs(struct here *here, const struct need *need, const char *flags)
{
    for (; need->flag; need++)
        if (has_flag(flags, need->flag))
            here_say(here, FITS, need->item, "there");
        else
            here_say(here, MISSING, need->item, "Linux shows none (flag %s): " FIRMWARE,
                     need->flag);
}

/* A dedicated guest has the APIC of its core for itself, which the kernel can only limit as MSRs.
 */
static void tell_apic(struct here *here, const char *flags)
{
    here->dedicated = has_flag(flags, "x2apic");
    if (here->dedicated)
        here_say(here, FITS, "x2APIC", "there");
    else
        here_say(here, WITHOUT, "x2APIC",
                 "Linux shows none (flag x2apic): shared VMs run, dedicated ones are refused; "
                 "some firmware has a switch for it");
}

static void tell_lock(struct here *here, bool known, bool locked, const char *item)
{
    if (!known)
        here_say(here, UNKNOWN, item, "cannot be read; " MSR_HINT);
    else if (locked)
        here_say(here, MISSING, item, "the firmware has locked virtualization off: " FIRMWARE);
    else
        here_say(here, FITS, item, "virtualization is not locked off");
}

static void tell_amd(struct here *here, const char *flags)
{
    enum { VM_CR_SVMDIS = 0x10 }; /* APM2 15.30.1 */
    uint64_t vm_cr = 0;
    tell_needs(here, amd, flags);
    bool known = here_msr(here, 0xc0010114, &vm_cr);
    tell_lock(here, known, vm_cr & VM_CR_SVMDIS, "firmware's lock (VM_CR)");
}

/* What Linux says of an error of speculation. */
static const char *linux_says(const struct here *here, const char *error)
{
    const char *path = host_text("/sys/devices/system/cpu/vulnerabilities/%s", error),
               *told = here_line(here, path);
    return told ? told : "";
}

static bool is_free(const struct here *here, const char *error)
{
    return strcmp(linux_says(here, error), "Not affected") == 0;
}

/* IA32_ARCH_CAPABILITIES, where it cannot be read: by Linux's word. */
static uint64_t guess_capabilities(const struct here *here)
{
    static const char mitigated[] = "Mitigation";
    uint64_t says = is_free(here, "meltdown") && is_free(here, "l1tf") ? RDCL_NO : 0;
    says |= is_free(here, "mds") ? MDS_NO : 0;
    says |= is_free(here, "itlb_multihit") ? PSCHANGE_MC_NO : 0;
    says |= is_free(here, "tsx_async_abort") ? TAA_NO : 0;
    bool ends_taa = strncmp(linux_says(here, "tsx_async_abort"), mitigated, strlen(mitigated)) == 0;
    return says | (ends_taa ? TSX_CTRL : 0);
}

static void tell_whether(struct here *here, bool fits, const char *item, enum verdict or_else,
                         const char *why)
{
    here_say(here, fits ? FITS : or_else, item, "%s", fits ? "the processor says so" : why);
}

/* As boot/processor.c asks. */
static void tell_speculation(struct here *here, const char *flags)
{
    uint64_t says = 0;
    bool shown = has_flag(flags, "arch_capabilities");
    if (shown && !here_msr(here, MSR_ARCH_CAPABILITIES, &says))
        says = guess_capabilities(here);
    bool leaks = speculation_leaks(says, has_flag(flags, "rtm"), has_flag(flags, "md_clear"));
    here->small_pages = !(says & PSCHANGE_MC_NO);
    tell_whether(here, says & RDCL_NO, "free of Meltdown and L1TF", MISSING,
                 "the processor does not say so (IA32_ARCH_CAPABILITIES), and Hairline does "
                 "nothing about it");
    tell_whether(here, !leaks, "free of MDS and TAA, or VERW clears what they leak", MISSING,
                 "the processor does not say so: update its microcode by the firmware");
    tell_whether(here, !here->small_pages, "free of iTLB multihit", WITHOUT,
                 "VMs have their memory in pages of 4 KiB, so some 120 GiB of it in all");
}

static void tell_intel(struct here *here, const char *flags, const char *controls)
{
    enum { LOCKED = 1, OUTSIDE_SMX = 4 }; /* SDM3 23.7 */
    uint64_t control = 0;
    tell_needs(here, intel, flags);
    bool known = here_msr(here, 0x3a, &control);
    tell_lock(here, known, (control & (LOCKED | OUTSIDE_SMX)) == LOCKED,
              "firmware's lock (FEATURE_CONTROL)");
    if (controls)
        tell_needs(here, vmx, controls);
    else if (has_flag(flags, "vmx"))
        here_say(here, UNKNOWN, "VMX controls",
                 "this Linux does not show them: 5.11 or later does");
    tell_speculation(here, flags);
}

/* How many numbers a list like 0-3,8 has. */
static uint32_t count_list(const char *list)
{
    uint32_t count = 0;
    while (list && *list) {
        char *end;
        unsigned long first = strtoul(list, &end, 10), last = first;
        if (*end == '-')
            last = strtoul(end + 1, &end, 10);
        count += last >= first ? (uint32_t)(last - first) + 1 : 0;
        list = *end == ',' ? end + 1 : NULL;
    }
    return count;
}

static void tell_cores(struct here *here)
{
    uint32_t count = count_list(here_line(here, "/sys/devices/system/cpu/online"));
    if (count)
        here->cores = count < MAX_CORES ? count : MAX_CORES;
    if (!count)
        here_say(here, UNKNOWN, "cores", "Linux does not say how many are online");
    else if (count > MAX_CORES)
        here_say(here, WITHOUT, "cores", "%u, of which Hairline uses the first %u", count,
                 MAX_CORES);
    else
        here_say(here, FITS, "cores", "%u", count);
    const char *threads =
        here_line(here, "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list");
    if (count_list(threads) > 1)
        here_say(here, WITHOUT, "SMT",
                 "core 0 has threads %s: two VMs on the threads of one core are refused, unless "
                 "the plan says share_siblings: true; switch SMT off in the firmware, or give "
                 "both threads to one VM",
                 threads);
    else if (threads)
        here_say(here, FITS, "SMT", "one thread a core");
}

static void tell_time(struct here *here, const char *flags)
{
    if (has_flag(flags, "constant_tsc") && has_flag(flags, "nonstop_tsc"))
        here_say(here, FITS, "time stamp counter", "invariant");
    else
        here_say(here, WITHOUT, "time stamp counter",
                 "not said to be invariant: guests' clocks may go wrong");
}

void here_processor(struct here *here)
{
    static char text[16384];
    size_t size = here_read(here, "/proc/cpuinfo", text, sizeof(text) - 1);
    text[size] = 0;
    const char *vendor = cpuinfo(text, "vendor_id"), *flags = cpuinfo(text, "flags"),
               *model = cpuinfo(text, "model name");
    bool is_amd = vendor && strstr(vendor, "AuthenticAMD"),
         is_intel = vendor && strstr(vendor, "GenuineIntel");
    if (!flags || !(is_amd || is_intel)) {
        here_say(here, MISSING, "processor", "no x86-64 processor of AMD's or Intel's");
        return;
    }
    here_say(here, FITS, "processor", "%s", model ? model + strspn(model, " ") : vendor + 1);
    if (has_flag(flags, "hypervisor"))
        here_say(here, WITHOUT, "a machine of its own",
                 "this is a VM: what it is given is less than what its host has");
    tell_needs(here, both, flags);
    tell_apic(here, flags);
    if (is_amd)
        tell_amd(here, flags);
    else
        tell_intel(here, flags, cpuinfo(text, "vmx flags"));
    tell_time(here, flags);
    tell_cores(here);
}
