#include <cli/host.h>
#include <cli/image/boot_entry.h>
#include <cli/image/efi.h>
#include <cli/image/slots.h>
#include <cli/job.h>
#include <cli/machine/machine.h>
#include <cli/options.h>

#include <stdio.h>

const char update_help[] =
    "hairline update PLAN --esp WHERE [--sign KEY CERT] [--batch]\n"
    "hairline update --keep --esp WHERE\n"
    "\n"
    "Puts a plan on a stick of `hairline build --usb` beside the one that it has. A stick has two\n"
    "slots: the kept file, EFI/BOOT/BOOTX64.EFI, which UEFI firmware starts of its own accord, "
    "and\n"
    "the other one, EFI/BOOT/OTHER.EFI. The other one is written, and firmware is told to start "
    "it\n"
    "next, once (BootNext). What does not come up gives way to the kept one at the next start.\n"
    "\n"
    "  --esp WHERE   the folder where the stick's second partition is mounted, on a Linux that "
    "was\n"
    "                started by UEFI on the machine that is to start Hairline; on another one, "
    "nothing\n"
    "                starts the other file before it is kept. Or an image of a stick, which is "
    "changed\n"
    "                as a whole\n"
    "  --keep        exchange the two: firmware starts the new one from now on, and the old one "
    "is the\n"
    "                other. Nobody else does that: say it when the new one has come up\n"
    "  --sign KEY CERT  sign the file, for Secure Boot, as for `hairline build`\n"
    "  --batch       compile the plan as `hairline run --batch` does\n"
    "\n"
    "It shows what PCRs 4 and 11 will hold, as `hairline build` does. What a stick starts by BIOS\n"
    "stays as it is. Exit codes: 0 done, 2 not done; then the kept file is as it was.\n";

static const char *update_misused(const struct options *options)
{
    if (!options->esp)
        return "--esp is missing: say where the stick's second partition is mounted, or name an "
               "image";
    if (options->keep && (options->plan || options->key || options->batch))
        return "--keep takes --esp and nothing else: what is kept was written before";
    return NULL;
}

/* The plan's file, in the private folder. */
static const char *make_file(const struct options *options, const char *folder,
                             struct efi_expected *expected)
{
    static struct job job;
    const char *file = host_text("%s/hairline.efi", folder);
    if (!check_plan(&job, options->plan, options->batch))
        return NULL;
    if (job.kept_cores) {
        host_fail(
            "update: a VM of `mode: host` is on no stick: `build --efi FILE` writes what goes "
            "with its own disk");
        return NULL;
    }
    bool made = build_stage(&job, folder, false) &&
                efi_write(&job, folder, file, options->key, options->cert, expected);
    return made ? file : NULL;
}

/* The old entry goes before the file that it names: a cut leaves none that leads to half a file. */
static bool write_mounted(const struct options *options, const char *folder, bool *is_next)
{
    struct boot_entry entry;
    struct efi_expected expected;
    const char *log = host_text("%s/entries.log", folder);
    if (!boot_entry_look(&entry, options->esp, log))
        return false;
    const char *file = make_file(options, folder, &expected);
    if (!file || !slots_have_room(options->esp, file) ||
        (entry.have && !boot_entry_forget(&entry, log)) || !slots_write(options->esp, file) ||
        (entry.have && !boot_entry_try(&entry, log)))
        return false;
    *is_next = entry.have;
    efi_show(&expected);
    return true;
}

static bool write_image(const struct options *options, const char *folder)
{
    struct efi_expected expected;
    const char *file = make_file(options, folder, &expected);
    if (!file || !slots_write_image(options->esp, file, folder))
        return false;
    efi_show(&expected);
    return true;
}

static bool write_other(const struct options *options, const char *folder, bool is_image)
{
    bool is_next = false;
    bool ok = is_image ? write_image(options, folder) : write_mounted(options, folder, &is_next);
    if (!ok)
        return false;
    if (is_next)
        puts("Firmware starts it next, once: restart this machine.");
    else
        puts("Nothing starts it yet: there are no variables of firmware's here.");
    printf("Once it has come up: hairline update --keep --esp %s\n", options->esp);
    return true;
}

static bool keep_mounted(const struct options *options, const char *folder)
{
    struct boot_entry entry;
    if (!boot_entry_look(&entry, options->esp, host_text("%s/entries.log", folder)))
        return false;
    if (entry.is_next)
        return host_fail("update: the new file was not started yet: restart this machine first");
    return slots_exchange(options->esp);
}

static bool keep_other(const struct options *options, const char *folder, bool is_image)
{
    bool ok = is_image ? slots_exchange_image(options->esp, folder) : keep_mounted(options, folder);
    if (ok)
        puts("Firmware starts the new one from now on; the old one is the other.");
    return ok;
}

int update(const struct options *options)
{
    struct machine machine = {0}; /* only its folder */
    const char *wrong = update_misused(options);
    bool is_image;
    if (wrong)
        host_fail("update: %s", wrong);
    bool ok =
        !wrong && machine_folder(&machine) && slots_look(options->esp, machine.folder, &is_image);
    if (ok)
        ok = options->keep ? keep_other(options, machine.folder, is_image)
                           : write_other(options, machine.folder, is_image);
    machine_remove(&machine);
    return ok ? 0 : EXIT_USAGE;
}
