#include <cli/walk.h>
#include <cli/host.h>

#include <cyaml/cyaml.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

struct walk {
    struct source *source;
    yaml_document_t document;
};

static void walk_value(struct walk *w, yaml_node_t *node, const struct cyaml_schema_value *schema, const char *path);

static uint64_t line(const yaml_node_t *node) { return node->start_mark.line + 1; }

static const char *text(const yaml_node_t *node) { return (const char *)node->data.scalar.value; }

static const struct cyaml_schema_field *field(const struct cyaml_schema_field *fields, const char *key)
{
    while (fields->key && strcmp(fields->key, key) != 0)
        fields++;
    return fields->key ? fields : NULL;
}

static void unknown_key(struct walk *w, const yaml_node_t *key, const struct cyaml_schema_field *fields)
{
    const char *known = fields->key;
    for (const struct cyaml_schema_field *f = fields + 1; f[-1].key && f->key; f++)
        known = host_text("%s, %s", known, f->key);
    source_error(w->source, line(key), "unknown key `%s`; the keys here are %s", text(key), known);
}

/* Is this pair the first with its key? The plan's maps are small: compare with all before it. */
static bool is_repeated(struct walk *w, yaml_node_t *map, yaml_node_pair_t *pair)
{
    yaml_node_t *key = yaml_document_get_node(&w->document, pair->key);
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < pair; p++) {
        yaml_node_t *other = yaml_document_get_node(&w->document, p->key);
        if (other->type == YAML_SCALAR_NODE && strcmp(text(other), text(key)) == 0) {
            source_error(w->source, line(key), "`%s` is here a second time (first on line %lu); keep one of them", text(key), line(other));
            return true;
        }
    }
    return false;
}

static void walk_pair(struct walk *w, yaml_node_t *map, yaml_node_pair_t *pair, const struct cyaml_schema_field *fields, const char *path)
{
    yaml_node_t *key = yaml_document_get_node(&w->document, pair->key);
    if (key->type != YAML_SCALAR_NODE) {
        source_error(w->source, line(key), "this key is not a word; write `key: value`");
        return;
    }
    const struct cyaml_schema_field *f = field(fields, text(key));
    if (!f) {
        unknown_key(w, key, fields);
        return;
    }
    if (is_repeated(w, map, pair))
        return;
    char inner[SOURCE_PATH];
    snprintf(inner, sizeof(inner), "%s%s%s", path, *path ? "." : "", f->key);
    yaml_node_t *value = yaml_document_get_node(&w->document, pair->value);
    source_mark(w->source, inner, line(key), value->type == YAML_SCALAR_NODE ? text(value) : NULL);
    walk_value(w, value, &f->value, inner);
}

static void walk_mapping(struct walk *w, yaml_node_t *node, const struct cyaml_schema_value *schema, const char *path)
{
    uint32_t errors = w->source->errors;
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++)
        walk_pair(w, node, p, schema->mapping.fields, path);
    for (const struct cyaml_schema_field *f = schema->mapping.fields; f->key && w->source->errors == errors; f++) {
        bool found = (f->value.flags & CYAML_FLAG_OPTIONAL) != 0;
        for (yaml_node_pair_t *p = node->data.mapping.pairs.start; !found && p < node->data.mapping.pairs.top; p++)
            found = strcmp(text(yaml_document_get_node(&w->document, p->key)), f->key) == 0;
        if (!found)
            source_error(w->source, line(node), "the key `%s` is missing here; add it", f->key);
    }
}

static void walk_sequence(struct walk *w, yaml_node_t *node, const struct cyaml_schema_value *schema, const char *path)
{
    int64_t count = node->data.sequence.items.top - node->data.sequence.items.start;
    if (count < schema->sequence.min || count > schema->sequence.max) {
        source_error_at(w->source, path, "`%s` has %ld entries; it takes %u to %u", path, count, schema->sequence.min,
                        schema->sequence.max);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        char inner[SOURCE_PATH];
        yaml_node_t *item = yaml_document_get_node(&w->document, node->data.sequence.items.start[i]);
        snprintf(inner, sizeof(inner), "%s[%u]", path, i);
        source_mark(w->source, inner, line(item), item->type == YAML_SCALAR_NODE ? text(item) : NULL);
        walk_value(w, item, schema->sequence.entry, inner);
    }
}

static void walk_scalar(struct walk *w, yaml_node_t *node, const char *path)
{
    size_t length = node->data.scalar.length;
    if (length == 0)
        source_error(w->source, line(node), "`%s` has no value; give it one or take the key out", path);
    for (size_t i = 0; i < length; i++)
        if ((uint8_t)text(node)[i] < ' ' || text(node)[i] == 0x7f) {
            source_error(w->source, line(node), "`%s` has a control character in it; take it out", path);
            return;
        }
}

/* What libcyaml does not read, and the tool takes from the marks: one value, or a list of values, or, where the schema
   has fields, a group. */
static void walk_either(struct walk *w, yaml_node_t *node, const struct cyaml_schema_value *schema, const char *path)
{
    static const struct cyaml_schema_value entry = {.type = CYAML_STRING};
    static const struct cyaml_schema_value list = {.type = CYAML_SEQUENCE, .sequence = {.entry = &entry, .min = 1, .max = 64}};
    const struct cyaml_schema_value group = {.type = CYAML_MAPPING, .mapping = {.fields = schema->mapping.fields}};
    const struct cyaml_schema_value *many = schema->mapping.fields ? &group : &list;
    walk_value(w, node, node->type == YAML_SCALAR_NODE ? &entry : many, path);
}

static void walk_value(struct walk *w, yaml_node_t *node, const struct cyaml_schema_value *schema, const char *path)
{
    const char *name = *path ? path : "the plan";
    if (schema->type == CYAML_IGNORE)
        walk_either(w, node, schema, path);
    else if (schema->type == CYAML_MAPPING && node->type == YAML_MAPPING_NODE)
        walk_mapping(w, node, schema, path);
    else if (schema->type == CYAML_MAPPING)
        source_error(w->source, line(node), "`%s` is not a group; write `key: value` lines", name);
    else if (schema->type == CYAML_SEQUENCE && node->type == YAML_SEQUENCE_NODE)
        walk_sequence(w, node, schema, path);
    else if (schema->type == CYAML_SEQUENCE)
        source_error(w->source, line(node), "`%s` is not a list; write `- ` before each entry, or [ , ]", name);
    else if (node->type == YAML_SCALAR_NODE)
        walk_scalar(w, node, path);
    else
        source_error(w->source, line(node), "`%s` is not one value; write one after the colon", name);
}

/* The line (from 1) of byte `offset`, at most the last line with a byte. */
static uint64_t line_at(const struct source *source, uint64_t offset)
{
    uint64_t at = 1;
    for (uint64_t i = 0; i < offset && i + 1 < source->size; i++)
        at += source->bytes[i] == '\n';
    return at;
}

/* A reader error (bytes that are not UTF-8) has its offset elsewhere than the others. */
static void syntax_error(struct source *source, const yaml_parser_t *parser)
{
    bool unreadable = parser->error == YAML_READER_ERROR;
    source_error(source, line_at(source, unreadable ? parser->problem_offset : parser->problem_mark.index),
                 "not YAML: %s; mend the syntax here or just above", parser->problem ? parser->problem : "unreadable");
}

static void no_second_document(struct walk *w, yaml_parser_t *parser)
{
    if (!yaml_parser_load(parser, &w->document)) {
        syntax_error(w->source, parser);
        return;
    }
    yaml_node_t *root = yaml_document_get_root_node(&w->document);
    if (root)
        source_error(w->source, line(root), "a second document starts here; a plan is one, so take out the `---` before it");
    yaml_document_delete(&w->document);
}

bool walk(struct source *source, const struct cyaml_schema_value *schema)
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
            walk_value(&w, root, schema, "");
        else
            source_error(source, 1, "the plan is empty; examples/pair.yaml shows one");
        yaml_document_delete(&w.document);
        no_second_document(&w, &parser);
    }
    yaml_parser_delete(&parser);
    return source->errors == 0;
}
