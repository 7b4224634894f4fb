/*
 * hairline.ko: a launch beneath the Linux that runs, and the way back (docs/host-mode.md). FILE is
 * of `hairline build --efi`; what a step took is given back when a later one fails:
 *
 *   echo FILE >/sys/module/hairline/parameters/launch
 *   echo 1 >/sys/module/hairline/parameters/leave
 *
 * And the line of a system beneath which Hairline has been since power-on, where Linux keeps
 * /dev/mem shut: by the same device.
 */
#include <linux/acpi.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/suspend.h>

#include "launch.h"

static bool launched, ending; /* ending: Linux suspends, or goes on as another one */
static char *why = "";        /* the last launch or leave was not */
module_param(why, charp, 0400);

/* ---- what a user does, with the parameters' lock held ------------------------- */
/* Not as the module is loaded, either: should its loading fail, it would be gone. */
static bool may_act(void)
{
    return capable(CAP_SYS_MODULE) && THIS_MODULE->state == MODULE_STATE_LIVE;
}

static int set_launch(const char *value, const struct kernel_param *unused)
{
    char *text;
    const char *wrong = ending ? "Linux is about to stop: wait until it runs again"
                               : "there is no memory for the path: free some";
    if (!may_act())
        return -EPERM;
    if (launched || !try_module_get(THIS_MODULE))
        return -EBUSY;
    text = kstrdup(value, GFP_KERNEL);
    if (text && !ending)
        wrong = steps_launch(strim(text));
    kfree(text);
    launched = !wrong;
    if (launched)
        return 0;
    module_put(THIS_MODULE);
    why = (char *)wrong;
    pr_err("hairline: no launch, nothing changed: %s\n", wrong);
    return -EIO;
}

static int come_out(void)
{
    const char *wrong = steps_leave();
    if (wrong) {
        why = (char *)wrong;
        pr_err("hairline: Linux stays beneath: %s\n", wrong);
        return -EBUSY;
    }
    launched = false;
    module_put(THIS_MODULE);
    return 0;
}

static int set_leave(const char *value, const struct kernel_param *unused)
{
    if (!may_act())
        return -EPERM;
    return launched ? come_out() : -ENOENT;
}

static const struct kernel_param_ops leave_ops = {.set = set_leave};
module_param_cb(leave, &leave_ops, NULL, 0200);

static int get_launch(char *buffer, const struct kernel_param *unused)
{
    return sysfs_emit(buffer, "%d\n", launched);
}

static const struct kernel_param_ops launch_ops = {.set = set_launch, .get = get_launch};
module_param_cb(launch, &launch_ops, NULL, 0600);

static unsigned long own_line; /* since power-on: number of its first page, Hairline's; or 0 */

/* Firmware's table of processors names it in place of those that Hairline keeps (root/host/hide.c).
 */
static unsigned long __init find_own_line(void)
{
    enum { OEM = 0x80 };
    struct acpi_table_header *madt;
    unsigned long found = 0;
    const u8 *at, *end;
    if (ACPI_FAILURE(acpi_get_table(ACPI_SIG_MADT, 0, &madt)))
        return 0;
    at = (const u8 *)madt + sizeof(struct acpi_table_madt);
    for (end = (const u8 *)madt + madt->length; at + 8 <= end && at[1] >= 2; at += at[1])
        if (at[0] == OEM && memcmp(at + 2, "Ha", 2) == 0)
            memcpy(&found, at + 4, sizeof(u32));
    acpi_put_table(madt);
    return found;
}

/* Root's tool speaks to Hairline by these pages. */
static int map_line(struct file *unused, struct vm_area_struct *area)
{
    unsigned long i;
    int status = 0;
    if (own_line)
        return vm_iomap_memory(area, own_line << PAGE_SHIFT, LAUNCH_LINE * PAGE_SIZE);
    kernel_param_lock(THIS_MODULE);
    for (i = 0; i < vma_pages(area) && !status; i++) {
        struct page *page = launched ? steps_line(area->vm_pgoff + i) : NULL;
        status = page ? vm_insert_page(area, area->vm_start + i * PAGE_SIZE, page) : -ENXIO;
    }
    kernel_param_unlock(THIS_MODULE);
    return status;
}

static const struct file_operations line_ops = {.owner = THIS_MODULE, .mmap = map_line};
static struct miscdevice line = {
    .minor = MISC_DYNAMIC_MINOR, .name = "hairline", .mode = 0600, .fops = &line_ops};

/* Suspended, the machine would lose Hairline and wake on bare processors. */
static int on_power(struct notifier_block *unused, unsigned long event, void *data)
{
    bool begins = event == PM_SUSPEND_PREPARE || event == PM_HIBERNATION_PREPARE, refused;
    kernel_param_lock(THIS_MODULE);
    refused = begins && launched;
    ending = begins && !launched;
    kernel_param_unlock(THIS_MODULE);
    if (!refused)
        return NOTIFY_DONE;
    pr_err("hairline: no suspend while Hairline runs beneath\n");
    return NOTIFY_BAD;
}

static struct notifier_block power = {.notifier_call = on_power};

/* A kernel that is started by kexec would take Hairline's memory for its own: all of it is one page
 * there. If the leave fails, the machine is reset at once. A power-off is root's to carry out. */
static int on_reboot(struct notifier_block *unused, unsigned long event, void *command)
{
    kernel_param_lock(THIS_MODULE);
    ending = true;
    if (launched && come_out() && event == SYS_RESTART)
        emergency_restart();
    kernel_param_unlock(THIS_MODULE);
    return NOTIFY_DONE;
}

static struct notifier_block reboot = {.notifier_call = on_reboot};

/* One that was not registered is not found. */
static void leave_notifiers(void)
{
    unregister_reboot_notifier(&reboot);
    unregister_pm_notifier(&power);
}

static int __init hairline_load(void)
{
    int status = register_pm_notifier(&power);
    own_line = find_own_line();
    if (!status)
        status = register_reboot_notifier(&reboot);
    if (!status)
        status = misc_register(&line);
    if (status)
        leave_notifiers();
    return status;
}

static void __exit hairline_unload(void)
{
    misc_deregister(&line);
    leave_notifiers();
}

module_init(hairline_load);
module_exit(hairline_unload);
MODULE_LICENSE("Dual BSD/GPL");
MODULE_DESCRIPTION("Hairline beneath a running Linux");
