#include <cli/host.h>
#include <cli/plan/check.h>

#include <cyaml/cyaml.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

/* ---- the schema, for both libraries --------------------------------------------- */

#define TEXT(type, key, flags)                                                                     \
    CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER | (flags), struct type, key, 0, CYAML_UNLIMITED)
#define OPTIONAL CYAML_FLAG_OPTIONAL

static const struct cyaml_schema_value word_schema = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 0, CYAML_UNLIMITED)};

static const struct cyaml_schema_field forward_fields[] = {
    CYAML_FIELD_SEQUENCE("forward", CYAML_FLAG_POINTER | OPTIONAL, struct forward_text, forward,
                         &word_schema, 1, 8),
    CYAML_FIELD_END,
};
static const struct cyaml_schema_field device_fields[] = {
    CYAML_FIELD_MAPPING_PTR("igb", CYAML_FLAG_POINTER | OPTIONAL, struct device_text, igb,
                            forward_fields),
    TEXT(device_text, nvme, OPTIONAL),
    CYAML_FIELD_END,
};
static const struct cyaml_schema_value device_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct device_text, device_fields)};

static const struct cyaml_schema_field host_fields[] = {
    TEXT(host_text, disk, 0),
    TEXT(host_text, launch, OPTIONAL),
    CYAML_FIELD_END,
};

static const struct cyaml_schema_field machine_fields[] = {
    TEXT(machine_text, cores, OPTIONAL),
    TEXT(machine_text, memory, OPTIONAL),
    TEXT(machine_text, iommu, OPTIONAL),
    TEXT(machine_text, firmware, OPTIONAL),
    TEXT(machine_text, share_siblings, OPTIONAL),
    TEXT(machine_text, small_pages, OPTIONAL),
    TEXT(machine_text, kernel_memory, OPTIONAL),
    CYAML_FIELD_SEQUENCE("devices", CYAML_FLAG_POINTER | OPTIONAL, struct machine_text, devices,
                         &device_schema, 0, JOB_DEVICES),
    TEXT(machine_text, iscsi, OPTIONAL),
    CYAML_FIELD_MAPPING_PTR("host", CYAML_FLAG_POINTER | OPTIONAL, struct machine_text, host,
                            host_fields),
    CYAML_FIELD_END,
};

static const struct cyaml_schema_field spare_fields[] = {
    CYAML_FIELD_IGNORE("cores", 0),
    TEXT(spare_text, memory, 0),
    CYAML_FIELD_END,
};

static const struct cyaml_schema_field disk_fields[] = {
    TEXT(disk_text, file, OPTIONAL),   TEXT(disk_text, mode, OPTIONAL),
    TEXT(disk_text, volume, OPTIONAL), TEXT(disk_text, from, OPTIONAL),
    TEXT(disk_text, upload, OPTIONAL), CYAML_FIELD_END,
};
static const struct cyaml_schema_value disk_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct disk_text, disk_fields)};

static const struct cyaml_schema_field volume_fields[] = {
    TEXT(volume_text, name, 0),
    TEXT(volume_text, size, 0),
    CYAML_FIELD_END,
};
static const struct cyaml_schema_value volume_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct volume_text, volume_fields)};

static const struct cyaml_schema_field port_fields[] = {
    TEXT(port_text, port, 0),         TEXT(port_text, to, 0), TEXT(port_text, to_port, OPTIONAL),
    TEXT(port_text, proto, OPTIONAL), CYAML_FIELD_END,
};
static const struct cyaml_schema_value port_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct port_text, port_fields)};

static const struct cyaml_schema_field gateway_fields[] = {
    CYAML_FIELD_SEQUENCE("forward", CYAML_FLAG_POINTER | OPTIONAL, struct gateway_text, forward,
                         &port_schema, 1, CHECK_FORWARDS),
    CYAML_FIELD_END,
};

/* Keys of `lan`, where that is not one word: libcyaml does not read it (walk_either). */
static const struct cyaml_schema_field lan_fields[] = {
    TEXT(lan_text, name, 0),
    TEXT(lan_text, mtu, OPTIONAL),
    CYAML_FIELD_END,
};

static const struct cyaml_schema_field vm_fields[] = {
    TEXT(vm_text, name, 0),
    TEXT(vm_text, mode, OPTIONAL),
    TEXT(vm_text, kernel, OPTIONAL), /* as `memory`, not for the host: check.c, vm_is_whole */
    TEXT(vm_text, initrd, OPTIONAL),
    TEXT(vm_text, cmdline, OPTIONAL),
    TEXT(vm_text, memory, OPTIONAL),
    TEXT(vm_text, vcpus, OPTIONAL),
    CYAML_FIELD_IGNORE("cores", OPTIONAL),
    CYAML_FIELD_SEQUENCE("devices", CYAML_FLAG_POINTER | OPTIONAL, struct vm_text, devices,
                         &word_schema, 1, PLAN_DEVICES),
    TEXT(vm_text, disengage, OPTIONAL),
    TEXT(vm_text, after, OPTIONAL),
    TEXT(vm_text, sealed, OPTIONAL),
    TEXT(vm_text, tpm, OPTIONAL),
    TEXT(vm_text, priority, OPTIONAL),
    TEXT(vm_text, budget, OPTIONAL),
    TEXT(vm_text, period, OPTIONAL),
    CYAML_FIELD_SEQUENCE("disks", CYAML_FLAG_POINTER | OPTIONAL, struct vm_text, disks,
                         &disk_schema, 0, PLAN_DISKS),
    CYAML_FIELD_SEQUENCE("volumes", CYAML_FLAG_POINTER | OPTIONAL, struct vm_text, volumes,
                         &volume_schema, 1, CHECK_VOLUMES),
    CYAML_FIELD_MAPPING_PTR("gateway", CYAML_FLAG_POINTER | OPTIONAL, struct vm_text, gateway,
                            gateway_fields),
    {.key = "lan",
     .value = {.type = CYAML_IGNORE, .flags = OPTIONAL, .mapping = {.fields = lan_fields}}},
    TEXT(vm_text, on_exit, OPTIONAL),
    TEXT(vm_text, exit_port, OPTIONAL),
    TEXT(vm_text, control, OPTIONAL),
    TEXT(vm_text, console, OPTIONAL),
    TEXT(vm_text, start, OPTIONAL),
    CYAML_FIELD_END,
};
static const struct cyaml_schema_value vm_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct vm_text, vm_fields)};

const char *check_vm_key(uint32_t i) { return vm_fields[i].key; }

static const struct cyaml_schema_field plan_fields[] = {
    CYAML_FIELD_MAPPING("machine", OPTIONAL, struct plan_text, machine, machine_fields),
    CYAML_FIELD_MAPPING("spare", OPTIONAL, struct plan_text, spare, spare_fields),
    CYAML_FIELD_SEQUENCE("vms", CYAML_FLAG_POINTER, struct plan_text, vms, &vm_schema, 1, PLAN_VMS),
    CYAML_FIELD_END,
};
static const struct cyaml_schema_value plan_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct plan_text, plan_fields)};

/* ---- the first pass, with libyaml -------------------------------------------------
   libcyaml checks a document against its schema too, but does not say on which line it fails. This
   pass checks against the same schema, tells the line, and marks where each value stands. */

struct walk {
    struct source *source;
    yaml_document_t document;
};

static void walk_value(struct walk *w, yaml_node_t *node, const struct cyaml_schema_value *schema,
                       const char *path);

static uint64_t line_of(const yaml_node_t *node) { return node->start_mark.line + 1; }

static const char *text_of(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

static const struct cyaml_schema_field *find_field(const struct cyaml_schema_field *fields,
                                                   const char *key)
{
    while (fields->key && strcmp(fields->key, key) != 0)
        fields++;
    return fields->key ? fields : NULL;
}

static void unknown_key(struct walk *w, const yaml_node_t *key,
                        const struct cyaml_schema_field *fields)
{
    const char *known = fields->key;
    for (const struct cyaml_schema_field *f = fields + 1; f[-1].key && f->key; f++)
        known = host_text("%s, %s", known, f->key);
    source_error(w->source, line_of(key), "unknown key `%s`; the keys here are %s", text_of(key),
                 known);
}

/* Has a pair before this one in `map` the same key? Maps of a plan are small: compare with all. */
static bool is_repeated(struct walk *w, yaml_node_t *map, yaml_node_pair_t *pair)
{
    yaml_node_t *key = yaml_document_get_node(&w->document, pair->key);
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < pair; p++) {
        yaml_node_t *other = yaml_document_get_node(&w->document, p->key);
        if (other->type == YAML_SCALAR_NODE && strcmp(text_of(other), text_of(key)) == 0) {
            source_error(w->source, line_of(key),
                         "`%s` is here a second time (first on line %lu); keep one of them",
                         text_of(key), line_of(other));
            return true;
        }
    }
    return false;
}

static void walk_pair(struct walk *w, yaml_node_t *map, yaml_node_pair_t *pair,
                      const struct cyaml_schema_field *fields, const char *path)
{
    yaml_node_t *key = yaml_document_get_node(&w->document, pair->key);
    if (key->type != YAML_SCALAR_NODE) {
        source_error(w->source, line_of(key), "this key is not a word; write `key: value`");
        return;
    }
    const struct cyaml_schema_field *f = find_field(fields, text_of(key));
    if (!f) {
        unknown_key(w, key, fields);
        return;
    }
    if (is_repeated(w, map, pair))
        return;
    char inner[SOURCE_PATH];
    snprintf(inner, sizeof(inner), "%s%s%s", path, *path ? "." : "", f->key);
    yaml_node_t *value = yaml_document_get_node(&w->document, pair->value);
    source_mark(w->source, inner, line_of(key),
                value->type == YAML_SCALAR_NODE ? text_of(value) : NULL);
    walk_value(w, value, &f->value, inner);
}

static void walk_mapping(struct walk *w, yaml_node_t *node, const struct cyaml_schema_value *schema,
                         const char *path)
{
    uint32_t errors = w->source->errors;
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top;
         p++)
        walk_pair(w, node, p, schema->mapping.fields, path);
    for (const struct cyaml_schema_field *f = schema->mapping.fields;
         f->key && w->source->errors == errors; f++) {
        bool found = (f->value.flags & CYAML_FLAG_OPTIONAL) != 0;
        for (yaml_node_pair_t *p = node->data.mapping.pairs.start;
             !found && p < node->data.mapping.pairs.top; p++)
            found = strcmp(text_of(yaml_document_get_node(&w->document, p->key)), f->key) == 0;
        if (!found)
            source_error(w->source, line_of(node), "the key `%s` is missing here; add it", f->key);
    }
}

static void walk_sequence(struct walk *w, yaml_node_t *node,
                          const struct cyaml_schema_value *schema, const char *path)
{
    int64_t count = node->data.sequence.items.top - node->data.sequence.items.start;
    if (count < schema->sequence.min || count > schema->sequence.max) {
        source_error_at(w->source, path, "`%s` has %ld entries; it takes %u to %u", path, count,
                        schema->sequence.min, schema->sequence.max);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        char inner[SOURCE_PATH];
        yaml_node_t *item =
            yaml_document_get_node(&w->document, node->data.sequence.items.start[i]);
        snprintf(inner, sizeof(inner), "%s[%u]", path, i);
        source_mark(w->source, inner, line_of(item),
                    item->type == YAML_SCALAR_NODE ? text_of(item) : NULL);
        walk_value(w, item, schema->sequence.entry, inner);
    }
}

static void walk_scalar(struct walk *w, yaml_node_t *node, const char *path)
{
    size_t length = node->data.scalar.length;
    if (length == 0)
        source_error(w->source, line_of(node), "`%s` has no value; give it one or take the key out",
                     path);
    for (size_t i = 0; i < length; i++)
        if ((uint8_t)text_of(node)[i] < ' ' || text_of(node)[i] == 0x7f) {
            source_error(w->source, line_of(node),
                         "`%s` has a control character in it; take it out", path);
            return;
        }
}

/* A value that libcyaml does not read, and the tool takes from the marks: one word, a list of
   words, or, where the schema has fields, a group of keys. */
static void walk_either(struct walk *w, yaml_node_t *node, const struct cyaml_schema_value *schema,
                        const char *path)
{
    static const struct cyaml_schema_value entry = {.type = CYAML_STRING};
    static const struct cyaml_schema_value list = {
        .type = CYAML_SEQUENCE, .sequence = {.entry = &entry, .min = 1, .max = 64}};
    const struct cyaml_schema_value group = {.type = CYAML_MAPPING,
                                             .mapping = {.fields = schema->mapping.fields}};
    const struct cyaml_schema_value *many = schema->mapping.fields ? &group : &list;
    walk_value(w, node, node->type == YAML_SCALAR_NODE ? &entry : many, path);
}

static void walk_value(struct walk *w, yaml_node_t *node, const struct cyaml_schema_value *schema,
                       const char *path)
{
    const char *name = *path ? path : "the plan";
    if (schema->type == CYAML_IGNORE)
        walk_either(w, node, schema, path);
    else if (schema->type == CYAML_MAPPING && node->type == YAML_MAPPING_NODE)
        walk_mapping(w, node, schema, path);
    else if (schema->type == CYAML_MAPPING)
        source_error(w->source, line_of(node), "`%s` is not a group; write `key: value` lines",
                     name);
    else if (schema->type == CYAML_SEQUENCE && node->type == YAML_SEQUENCE_NODE)
        walk_sequence(w, node, schema, path);
    else if (schema->type == CYAML_SEQUENCE)
        source_error(w->source, line_of(node),
                     "`%s` is not a list; write `- ` before each entry, or [ , ]", name);
    else if (node->type == YAML_SCALAR_NODE)
        walk_scalar(w, node, path);
    else
        source_error(w->source, line_of(node), "`%s` is not one value; write one after the colon",
                     name);
}

/* The line (from 1) of byte `offset`, at most the last line with a byte. */
static uint64_t line_at(const struct source *source, uint64_t offset)
{
    uint64_t at = 1;
    for (uint64_t i = 0; i < offset && i + 1 < source->size; i++)
        at += source->bytes[i] == '\n';
    return at;
}

/* Report a syntax error. A reader error (bytes that are not UTF-8) has its offset in another field.
 */
static void syntax_error(struct source *source, const yaml_parser_t *parser)
{
    bool unreadable = parser->error == YAML_READER_ERROR;
    source_error(source,
                 line_at(source, unreadable ? parser->problem_offset : parser->problem_mark.index),
                 "not YAML: %s; mend the syntax here or just above",
                 parser->problem ? parser->problem : "unreadable");
}

static void no_second_document(struct walk *w, yaml_parser_t *parser)
{
    if (!yaml_parser_load(parser, &w->document)) {
        syntax_error(w->source, parser);
        return;
    }
    yaml_node_t *root = yaml_document_get_root_node(&w->document);
    if (root)
        source_error(
            w->source, line_of(root),
            "a second document starts here; a plan is one, so take out the `---` before it");
    yaml_document_delete(&w->document);
}

/* The first pass. False after messages: libcyaml would refuse the plan, or read something else than
 * the user means. */
static bool walk(struct source *source)
{
    struct walk w = {.source = source};
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return false;
    yaml_parser_set_input_string(&parser, source->bytes, source->size);
    if (!yaml_parser_load(&parser, &w.document)) {
        syntax_error(source, &parser);
    } else {
        yaml_node_t *root = yaml_document_get_root_node(&w.document);
        if (root)
            walk_value(&w, root, &plan_schema, "");
        else
            source_error(source, 1, "the plan is empty; examples/pair.yaml shows one");
        yaml_document_delete(&w.document);
        no_second_document(&w, &parser);
    }
    yaml_parser_delete(&parser);
    return source->errors == 0;
}

/* ---- the second, with libcyaml ---------------------------------------------------- */

static const struct cyaml_config config = {.log_level = CYAML_LOG_ERROR, .mem_fn = cyaml_mem};

struct plan_text *check_yaml(struct source *source)
{
    struct plan_text *text = NULL;
    if (!walk(source))
        return NULL;
    enum cyaml_err status = cyaml_load_data(source->bytes, source->size, &config, &plan_schema,
                                            (cyaml_data_t **)&text, NULL);
    if (status != CYAML_OK)
        source_error(source, 1, "cannot load this plan: %s", cyaml_strerror(status));
    return text;
}

void check_yaml_free(struct plan_text *text) { cyaml_free(&config, &plan_schema, text, 0); }
