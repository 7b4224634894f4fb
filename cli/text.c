#include <cli/text.h>
#include <cli/job.h>
#include <cli/walk.h>

#include <cyaml/cyaml.h>

#define TEXT(type, key, flags) CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER | (flags), struct type, key, 0, CYAML_UNLIMITED)
#define OPTIONAL               CYAML_FLAG_OPTIONAL

static const struct cyaml_schema_value word_schema = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 0, CYAML_UNLIMITED)};

static const struct cyaml_schema_field forward_fields[] = {
    CYAML_FIELD_SEQUENCE("forward", CYAML_FLAG_POINTER | OPTIONAL, struct forward_text, forward, &word_schema, 1, 8),
    CYAML_FIELD_END,
};
static const struct cyaml_schema_field device_fields[] = {
    CYAML_FIELD_MAPPING_PTR("igb", CYAML_FLAG_POINTER | OPTIONAL, struct device_text, igb, forward_fields),
    TEXT(device_text, nvme, OPTIONAL),
    CYAML_FIELD_END,
};
static const struct cyaml_schema_value device_schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct device_text, device_fields)};

static const struct cyaml_schema_field machine_fields[] = {
    TEXT(machine_text, cores, OPTIONAL),
    TEXT(machine_text, memory, OPTIONAL),
    TEXT(machine_text, iommu, OPTIONAL),
    CYAML_FIELD_SEQUENCE("devices", CYAML_FLAG_POINTER | OPTIONAL, struct machine_text, devices, &device_schema, 0, JOB_DEVICES),
    TEXT(machine_text, iscsi, OPTIONAL),
    CYAML_FIELD_END,
};

static const struct cyaml_schema_field disk_fields[] = {
    TEXT(disk_text, file, 0),
    TEXT(disk_text, mode, OPTIONAL),
    CYAML_FIELD_END,
};
static const struct cyaml_schema_value disk_schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct disk_text, disk_fields)};

/* Of a value that libcyaml does not read (cli/walk.c): the keys, if it is not one word. */
static const struct cyaml_schema_field lan_fields[] = {
    TEXT(lan_text, name, 0),
    TEXT(lan_text, mtu, OPTIONAL),
    CYAML_FIELD_END,
};

static const struct cyaml_schema_field vm_fields[] = {
    TEXT(vm_text, name, 0),
    TEXT(vm_text, mode, OPTIONAL),
    TEXT(vm_text, kernel, 0),
    TEXT(vm_text, initrd, OPTIONAL),
    TEXT(vm_text, cmdline, OPTIONAL),
    TEXT(vm_text, memory, 0),
    TEXT(vm_text, vcpus, OPTIONAL),
    CYAML_FIELD_IGNORE("cores", OPTIONAL),
    CYAML_FIELD_SEQUENCE("devices", CYAML_FLAG_POINTER | OPTIONAL, struct vm_text, devices, &word_schema, 1, PLAN_DEVICES),
    TEXT(vm_text, disengage, OPTIONAL),
    TEXT(vm_text, after, OPTIONAL),
    TEXT(vm_text, sealed, OPTIONAL),
    TEXT(vm_text, priority, OPTIONAL),
    TEXT(vm_text, budget, OPTIONAL),
    TEXT(vm_text, period, OPTIONAL),
    CYAML_FIELD_SEQUENCE("disks", CYAML_FLAG_POINTER | OPTIONAL, struct vm_text, disks, &disk_schema, 0, PLAN_DISKS),
    {.key = "lan", .value = {.type = CYAML_IGNORE, .flags = OPTIONAL, .mapping = {.fields = lan_fields}}},
    TEXT(vm_text, on_exit, OPTIONAL),
    TEXT(vm_text, exit_port, OPTIONAL),
    CYAML_FIELD_END,
};
static const struct cyaml_schema_value vm_schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct vm_text, vm_fields)};

static const struct cyaml_schema_field plan_fields[] = {
    CYAML_FIELD_MAPPING("machine", OPTIONAL, struct plan_text, machine, machine_fields),
    CYAML_FIELD_SEQUENCE("vms", CYAML_FLAG_POINTER, struct plan_text, vms, &vm_schema, 1, PLAN_VMS),
    CYAML_FIELD_END,
};
static const struct cyaml_schema_value plan_schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct plan_text, plan_fields)};

static const struct cyaml_config config = {.log_level = CYAML_LOG_ERROR, .mem_fn = cyaml_mem};

struct plan_text *text_load(struct source *source)
{
    struct plan_text *text = NULL;
    if (!walk(source, &plan_schema))
        return NULL;
    enum cyaml_err status = cyaml_load_data(source->bytes, source->size, &config, &plan_schema, (cyaml_data_t **)&text, NULL);
    if (status != CYAML_OK)
        source_error(source, 1, "cannot load this plan: %s", cyaml_strerror(status));
    return text;
}

void text_free(struct plan_text *text) { cyaml_free(&config, &plan_schema, text, 0); }
