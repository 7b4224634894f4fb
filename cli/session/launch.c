/* Beneath the Linux that the tool runs on, by its module (linux/): in, and out again. */
#include <cli/host.h>
#include <cli/image/efi.h>
#include <cli/job.h>
#include <cli/machine/machine.h>
#include <cli/options.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define MODULE "/sys/module/hairline/parameters/"

const char launch_help[] =
    "hairline launch PLAN\n"
    "hairline leave\n"
    "\n"
    "launch puts Hairline beneath the Linux on which it runs: the VM of `mode: host` is that\n"
    "system, and the plan's other VMs start beside it. Linux gives up its last processors, as\n"
    "many as those VMs need, and memory. A launch that fails changes nothing. It takes root, and\n"
    "the module `hairline`, which modprobe finds or insmod has loaded.\n"
    "KVM's module, with no VM of its own, is unloaded. leave ends the VMs, loads KVM again, and\n"
    "the system is as it was.\n"
    "\n"
    "The system's kernel is trusted for DMA and interrupts (level L0), and nothing is measured:\n"
    "docs/host-mode.md.\n"
    "\n"
    "Exit codes: 0 done, 2 not done.\n";

static bool launch_load(void)
{
    const char *modprobe[] = {"modprobe", "-q", "hairline", NULL};
    if (access(MODULE "launch", F_OK) == 0 || host_run(modprobe) == 0)
        return true;
    return host_fail(
        "the module `hairline` is not there: build it for this kernel (linux/dkms.conf), "
        "and load it as root");
}

/* A parameter's value, without its line's end. */
static const char *launch_read(const char *parameter)
{
    static char value[300];
    int fd = open(parameter, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, value, sizeof(value) - 1) : 0;
    if (fd >= 0)
        close(fd);
    value[size > 0 ? size - 1 : 0] = 0;
    return value;
}

static bool launch_is_beneath(void) { return strcmp(launch_read(MODULE "launch"), "1") == 0; }

/* ---- KVM, which Debian loads on every machine, and which holds SVM ------------------------- */

#define KVM      "kvm_amd"
#define KVM_MARK "/run/hairline-kvm" /* it was loaded before the launch */

/* False: it was not loaded, or has a VM; the module says what becomes of the launch then. */
static bool launch_unload_kvm(void)
{
    const char *unload[] = {"modprobe", "-q", "-r", KVM, NULL};
    if (access("/sys/module/" KVM, F_OK) != 0)
        return false;
    int mark = open(KVM_MARK, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (mark < 0) {
        host_say(KVM " stays loaded: cannot write " KVM_MARK);
        return false;
    }
    close(mark);
    if (host_run(unload) != 0) {
        unlink(KVM_MARK);
        return false;
    }
    host_say(KVM " is unloaded: `hairline leave` loads it again");
    return true;
}

static void launch_load_kvm(void)
{
    const char *load[] = {"modprobe", KVM, NULL};
    if (unlink(KVM_MARK) == 0 && host_run(load) != 0)
        host_fail(KVM " is not loaded again: modprobe says why");
}

static bool launch_tell(const char *parameter, const char *value)
{
    int fd = open(parameter, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return host_fail("cannot write %s: %s; run as root", parameter, strerror(errno));
    ssize_t written = write(fd, value, strlen(value));
    int error = errno;
    close(fd);
    if (written >= 0)
        return true;
    bool said = error == EIO || error == EBUSY; /* the module refused, and says why */
    return host_fail("nothing changed: %s", said ? launch_read(MODULE "why") : strerror(error));
}

static bool launch_file(const struct job *job, const char *folder)
{
    struct efi_expected expected; /* by firmware: there is none here */
    const char *file = host_text("%s/hairline.efi", folder);
    if (!build_stage(job, folder, false) || !efi_write(job, folder, file, NULL, NULL, &expected) ||
        !launch_load())
        return false;
    host_hold_signals(); /* from here on it is done, or nothing is */
    if (!host_goes_on())
        return false;
    if (launch_is_beneath())
        return host_fail("Hairline is beneath this system already: `hairline leave` first");
    bool unloaded = launch_unload_kvm(), launched = launch_tell(MODULE "launch", file);
    if (unloaded && !launched)
        launch_load_kvm();
    return launched;
}

int launch(const struct options *options)
{
    static struct job job;
    struct machine machine = {0}; /* only its folder */
    if (!check_plan(&job, options->plan, false))
        return EXIT_USAGE;
    if (!job.kept_cores) {
        host_fail("launch: the plan has no VM of `mode: host`: add one, which is this system");
        return EXIT_USAGE;
    }
    bool ok = machine_folder(&machine) && launch_file(&job, machine.folder);
    machine_remove(&machine);
    if (!ok)
        return EXIT_USAGE;
    host_say("Hairline is beneath this system: level L0 (its kernel is trusted for DMA and "
             "interrupts), unmeasured");
    return 0;
}

int launch_leave(const struct options *options)
{
    (void)options;
    if (!launch_load())
        return EXIT_USAGE;
    bool beneath = launch_is_beneath();
    if (beneath && !launch_tell(MODULE "leave", "1"))
        return EXIT_USAGE;
    launch_load_kvm(); /* also behind a launch that was cut short */
    if (!beneath)
        host_fail("Hairline is not beneath this system");
    return beneath ? 0 : EXIT_USAGE;
}
