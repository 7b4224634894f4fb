#include <cli/check.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    uint32_t class; /* base class << 8 | subclass: PCI Code and ID Assignment, 1 */
} classes[] = {{"network", 0x0200}, {"nvme", 0x0108}, {"sata", 0x0106}, {"usb", 0x0c03}};

/* BB:DD.F, all hexadecimal. */
static bool by_address(const char *text, struct plan_device *device)
{
    unsigned bus, slot, function;
    int used = 0;
    if (sscanf(text, "%2x:%2x.%1x%n", &bus, &slot, &function, &used) != 3 || text[used] ||
        strspn(text, "0123456789abcdefABCDEF:.") != (size_t)used)
        return false;
    *device = (struct plan_device){.by = DEVICE_ADDRESS, .rid = bus << 8 | slot << 3 | function};
    return slot < 32 && function < 8;
}

/* A word, or 0xCCSS. */
static bool class_of(const char *text, uint32_t *class)
{
    uint64_t value;
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
        if (strcmp(classes[i].name, text) == 0) {
            *class = classes[i].class;
            return true;
        }
    if (strncmp(text, "0x", 2) != 0 || !value_parse(text, unit_none, &value) || value > 0xffff)
        return false;
    *class = (uint32_t)value;
    return true;
}

/* CLASS/INDEX or CLASS-vf/INDEX. */
static bool by_class(const char *text, struct plan_device *device)
{
    char class[32];
    const char *slash = strchr(text, '/');
    size_t length = slash ? (size_t)(slash - text) : 0;
    uint64_t index;
    if (!length || length >= sizeof(class) || !value_parse(slash + 1, unit_none, &index) || index > PLAN_DEVICE_INDEX)
        return false;
    bool virtual = length > 3 && strncmp(slash - 3, "-vf", 3) == 0;
    snprintf(class, sizeof(class), "%.*s", (int)(length - (virtual ? 3 : 0)), text);
    *device = (struct plan_device){.by = virtual ? DEVICE_VF : DEVICE_CLASS, .index = (uint32_t)index};
    return class_of(class, &device->class);
}

/* The first device before number `n` of the VM in hand that is the same one: its line, 0: none. */
static uint64_t line_of_same(const struct check *check, uint32_t n)
{
    const struct plan_device *device = &check->job->plan.vm[check->vm].device[n];
    char path[SOURCE_PATH];
    for (uint32_t v = 0; v <= check->vm; v++)
        for (uint32_t i = 0; i < (v == check->vm ? n : check->job->plan.vm[v].devices); i++)
            if (memcmp(&check->job->plan.vm[v].device[i], device, sizeof(*device)) == 0) {
                snprintf(path, sizeof(path), "vms[%u].devices[%u]", v, i);
                return source_find(&check->source, path)->line;
            }
    return 0;
}

void check_devices(struct check *check)
{
    const struct vm_text *text = &check->text->vms[check->vm];
    struct plan_vm *vm = &check->job->plan.vm[check->vm];
    char key[32];
    vm->devices = text->devices_count;
    for (uint32_t i = 0; i < vm->devices; i++) {
        snprintf(key, sizeof(key), "devices[%u]", i);
        if (!by_address(text->devices[i], &vm->device[i]) && !by_class(text->devices[i], &vm->device[i])) {
            check_error(check, key,
                        "`%s` is no device: write an address like 01:00.0, or a class and an index like network/0, network-vf/0, "
                        "nvme/0, sata/0, usb/0, 0x0200/0",
                        text->devices[i]);
            vm->device[i] = (struct plan_device){.by = DEVICE_ADDRESS, .rid = ~check->vm, .index = i}; /* like no other */
        }
        uint64_t line = line_of_same(check, i);
        if (line)
            check_error(check, key, "device `%s` is given a second time (first on line %lu): a device has one VM", text->devices[i], line);
    }
}
