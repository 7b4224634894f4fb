#include <cli/host.h>
#include <cli/options.h>
#include <cli/plan/source.h>

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define VERSION "0.1"

static const char help_all[] =
    "hairline - virtual machines on a razor-thin hypervisor, in an emulated machine\n"
    "\n"
    "  hairline run [PLAN]        start the VMs of a plan (default: examples/pair.yaml)\n"
    "  hairline check PLAN        check a plan; --help explains every key of a plan\n"
    "  hairline build PLAN        write all that boots a plan: a folder, a file for UEFI, a stick\n"
    "  hairline update PLAN       put a plan on a stick beside the old one, to be tried once\n"
    "  hairline probe [PLAN]      show what a machine has and which devices can be assigned\n"
    "  hairline probe --here      say what Hairline would find on this machine\n"
    "  hairline stop|kill|start|restart|logs|console VM, list, top, events\n"
    "                             command a run that another terminal has, or from within a VM\n"
    "  hairline create PLAN, destroy VM\n"
    "                             in a VM: start more VMs, out of what the plan has to spare\n"
    "  hairline launch PLAN, leave\n"
    "                             on a Linux that runs: put Hairline beneath it, and away again\n"
    "  hairline map --svg FILE    a picture of the machine: who has which cores, memory, devices\n"
    "  hairline test              run every test; --quick, one stage, --all: --help tells\n"
    "  hairline bench             measure, in instructions; --vendor intel\n"
    "  hairline COMMAND --help    more about one command\n"
    "  hairline --version\n";

static const char help_run[] =
    "hairline run [PLAN] [--batch] [--timeout S] [--logs DIR] [--json FILE] [--vendor V]\n"
    "             [--firmware uefi] [-- ARGS]\n"
    "\n"
    "Starts the VMs of PLAN (default: examples/pair.yaml) in an emulated machine and shows\n"
    "their consoles, each line marked by its VM. Ctrl-] is the escape key: h lists the keys,\n"
    "1..9 focus a VM (what you type goes to it), s shows the status table, q quits.\n"
    "\n"
    "  --batch       take no input; the guests are told to power off after their checks\n"
    "                (`hairline.batch` on their command lines), and the run ends with them\n"
    "  --timeout S   stop after S seconds\n"
    "  --logs DIR    write each VM's console to DIR/NAME.log, Hairline's own to DIR/hairline.log\n"
    "  --json FILE   write what became of each VM and of the kernel's memory; `-` is standard "
    "output\n"
    "  --vendor V    whose processor the machine has: amd, in QEMU (default), or intel, in Bochs,\n"
    "                which is slower; that machine has no IOMMU, no devices, at most 8 cores\n"
    "  --firmware uefi  boot the way of a real machine: the file of `hairline build --efi`, "
    "signed\n"
    "                with a key made for this run, by UEFI firmware with Secure Boot on and a TPM\n"
    "  -- ARGS       more arguments for QEMU (Bochs), as they are\n"
    "\n"
    "Exit codes: 0 all VMs ended by themselves and no guest's check failed, 1 one died or a check\n"
    "failed, 2 a bad plan or usage (nothing was started), 124 time-out.\n"
    "HAIRLINE_QEMU names another QEMU than qemu-system-x86_64, HAIRLINE_OVMF another folder of "
    "firmware.\n";

static const char help_build[] =
    "hairline build PLAN [-o DIR [--iso]] [--efi FILE] [--usb FILE] [--sign KEY CERT] [--batch]\n"
    "\n"
    "  -o DIR        write all that boots the plan to a folder: hairline.elf, root.img, vmm.img, "
    "lan.img,\n"
    "                plan.bin and the plan's files f0, f1, ...; multiboot loaders take "
    "hairline.elf "
    "with the\n"
    "                others as modules whose strings end in root, vmm, lan, plan, f0, f1, ...\n"
    "  --efi FILE    write one file with all of that, which UEFI firmware starts by itself: as "
    "EFI/BOOT/BOOTX64.EFI\n"
    "                of a FAT volume, or as a boot option. The same bytes for the same plan\n"
    "  --usb FILE    write an image for a stick or a disc, which boots by UEFI (that file) and by "
    "BIOS (GRUB)\n"
    "  --iso         the same as DIR/hairline.iso\n"
    "  --sign KEY CERT  sign the file, for Secure Boot: PEM files of an RSA key and its "
    "certificate\n"
    "  --batch       compile the plan as `hairline run --batch` does\n"
    "\n"
    "With a file for UEFI it shows what the TPM's PCRs 4 and 11 will hold once firmware has "
    "started "
    "it.\n";

static const char help_probe[] =
    "hairline probe [PLAN] [--json FILE] [--plan FILE] [--timeout S] [-- ARGS]\n"
    "\n"
    "Boots the machine of PLAN (default: 4 cores, an Intel IOMMU, an 82576 and an NVMe "
    "controller), starts\n"
    "no VM, and shows its cores, memory, IOMMUs and PCI functions: which IOMMU serves each, "
    "whether a\n"
    "dedicated VM can have it and with which others, and why not.\n"
    "\n"
    "  --json FILE   write all that, too\n"
    "  --plan FILE   write a plan to start from: a dedicated VM for each function that can be "
    "assigned,\n"
    "                with the others of its group\n"
    "  --timeout S   stop after S seconds (default: 60)\n"
    "  -- ARGS       more arguments for QEMU, as they are, like -device ...\n"
    "\n"
    "Exit codes: 0 all was told, 1 the machine gave up, 2 usage or QEMU's refusal, 124 time-out.\n"
    "\n"
    "hairline probe --here [--root DIR] [--json FILE] [--plan FILE]\n"
    "\n"
    "Starts nothing, but looks at the machine on which it runs, as its Linux shows it (to root "
    "more "
    "than to\n"
    "others), and says of each thing that Hairline has to do with: fits; without, if Hairline "
    "starts "
    "but\n"
    "something cannot be had or used; missing, if it does not start; unknown.\n"
    "\n"
    "  --root DIR    look at the files below DIR instead: a recorded machine\n"
    "  --json FILE   write the lines, too\n"
    "  --plan FILE   write a plan to start from; FILE must not be there yet\n"
    "\n"
    "Exit codes: 0 nothing is missing, 1 something is, or could not be looked at, 2 usage.\n";

struct command {
    const char *name;
    const char *letters; /* of the options it takes */
    const char *help;
    int (*start)(const struct options *);
};

static const struct command commands[] = {
    {"run", "btljvfh", help_run, run},
    {"check", "h", check_help, check},
    {"build", "boieush", help_build, build},
    {"probe", "jtpHrh", help_probe, probe},
    {"stop", "th", control_help, control},
    {"kill", "h", control_help, control},
    {"start", "h", control_help, control},
    {"restart", "h", control_help, control},
    {"list", "jh", control_help, control},
    {"top", "jtwh", control_help, control},
    {"events", "jth", control_help, control},
    {"logs", "h", control_help, control},
    {"console", "th", control_help, control},
    {"update", "bsEkh", update_help, update},
    {"map", "gh", map_help, map},
    {"create", "h", create_help, control},
    {"destroy", "h", create_help, control},
    {"launch", "h", launch_help, launch},
    {"leave", "h", launch_help, launch_leave},
};

static const struct option long_options[] = {
    {"batch", no_argument, NULL, 'b'},          {"timeout", required_argument, NULL, 't'},
    {"logs", required_argument, NULL, 'l'},     {"json", required_argument, NULL, 'j'},
    {"output", required_argument, NULL, 'o'},   {"iso", no_argument, NULL, 'i'},
    {"firmware", required_argument, NULL, 'f'}, {"efi", required_argument, NULL, 'e'},
    {"usb", required_argument, NULL, 'u'},      {"sign", required_argument, NULL, 's'},
    {"plan", required_argument, NULL, 'p'},     {"vendor", required_argument, NULL, 'v'},
    {"here", no_argument, NULL, 'H'},           {"root", required_argument, NULL, 'r'},
    {"esp", required_argument, NULL, 'E'},      {"keep", no_argument, NULL, 'k'},
    {"svg", required_argument, NULL, 'g'},      {"html", required_argument, NULL, 'w'},
    {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0},
};

static bool set_timeout(struct options *options, const char *text)
{
    bool is_number = source_number(text, unit_none, &options->timeout);
    if (is_number && options->timeout > 0 && options->timeout < 1000000)
        return true;
    return host_fail("`%s` is not a number of seconds from 1 to 999999", text);
}

static bool set_firmware(struct options *options, const char *text)
{
    bool uefi = strcmp(text, "uefi") == 0;
    options->firmware = uefi ? FIRMWARE_UEFI : FIRMWARE_BIOS;
    if (uefi || strcmp(text, "bios") == 0)
        return true;
    return host_fail("`%s` is no firmware: write uefi, or bios (the default)", text);
}

/* The only option of two words. */
static bool set_signer(struct options *options, char *const cert)
{
    options->key = optarg;
    options->cert = cert;
    optind++;
    if (!cert)
        return host_fail("--sign takes two files: --sign KEY.pem CERT.pem");
    return true;
}

static bool set_vendor(struct options *options, const char *text)
{
    options->intel = strcmp(text, "intel") == 0;
    if (options->intel || strcmp(text, "amd") == 0)
        return true;
    return host_fail("`%s` is no vendor: write amd (QEMU, the default) or intel (Bochs)", text);
}

static bool set_option(struct options *options, int letter, char *const argv[])
{
    switch (letter) {
    case 'b': options->batch = true; return true;
    case 'l': options->logs = optarg; return true;
    case 'j': options->json = optarg; return true;
    case 'p':
    case 'g':
    case 'w':
    case 'o': options->output = optarg; return true;
    case 'i': options->iso = true; return true;
    case 'e': options->efi = optarg; return true;
    case 'u': options->usb = optarg; return true;
    case 'f': return set_firmware(options, optarg);
    case 's': return set_signer(options, argv[optind]);
    case 'h': options->help = true; return true;
    case 'E': options->esp = optarg; return true;
    case 'k': options->keep = true; return true;
    case 'H': options->here = true; return true;
    case 'r': options->root = optarg; return true;
    case 'v': return set_vendor(options, optarg);
    case 't': return set_timeout(options, optarg);
    default: return false;
    }
}

static bool parse(struct options *options, const struct command *command, int argc, char *argv[])
{
    for (;;) {
        int letter = getopt_long(argc, argv, "o:h", long_options, NULL);
        if (letter == -1)
            break;
        if (letter != '?' && !strchr(command->letters, letter))
            return host_fail(
                "%s does not take this option; `hairline %s --help` shows those it takes",
                command->name, command->name);
        if (!set_option(options, letter, argv))
            return false;
    }
    if (optind < argc)
        options->plan = argv[optind++];
    if (optind < argc)
        return host_fail("%s takes one name, and `%s` is too much", command->name, argv[optind]);
    return true;
}

/* How many arguments are before `--`; `*rest`: those behind it, which are QEMU's. */
static int own_arguments(int argc, char *argv[], char *const **rest)
{
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], "--") == 0) {
            *rest = argv + i + 1;
            argv[i] = NULL;
            return i;
        }
    *rest = argv + argc;
    return argc;
}

static int start(const struct command *command, int argc, char *argv[])
{
    struct options options = {.verb = command->name};
    static const char *const nameless = "list top events leave";
    bool lists = strstr(nameless, command->name) != NULL;
    argc = own_arguments(argc, argv, &options.args);
    if (!parse(&options, command, argc, argv))
        return EXIT_USAGE;
    if (options.help) {
        fputs(command->help, stdout);
        return 0;
    }
    if (options.here)
        return here_probe(&options);
    if (options.root) {
        host_fail("probe: --root goes with --here");
        return EXIT_USAGE;
    }
    if (!options.plan && command->start == run)
        options.plan = host_source("examples/pair.yaml");
    if (!options.plan && command->start != probe && command->start != map && !lists &&
        !options.keep) {
        bool names_vm = command->start == control && strcmp(command->name, "create") != 0;
        host_fail("%s: which %s?", command->name, names_vm ? "VM" : "plan");
        return EXIT_USAGE;
    }
    return command->start(&options);
}

static int command_line(int argc, char *argv[])
{
    const char *name = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(commands[i].name, name) == 0)
            return start(&commands[i], argc - 1, argv + 1);
    if (strcmp(name, "--version") == 0) {
        puts("hairline " VERSION);
        return 0;
    }
    if (argc == 1 || strcmp(name, "help") == 0 || strcmp(name, "--help") == 0) {
        fputs(help_all, stdout);
        return 0;
    }
    host_fail("`%s` is not a command; `hairline help` lists them", name);
    return EXIT_USAGE;
}

int main(int argc, char *argv[])
{
    int code = command_line(argc, argv);
    /* Who reads no further has what he wants. */
    bool written = (fflush(stdout) == 0 && !ferror(stdout)) || errno == EPIPE;
    if (!written)
        host_fail("cannot write to standard output");
    if (!written && code == 0)
        code = EXIT_USAGE;
    return code && host_caught() ? 128 + host_caught() : code;
}
