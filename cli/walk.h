/*
 * The first pass over a plan, with libyaml: libcyaml checks a document against
 * its schema too, but does not say on which line it fails. This pass checks
 * against the same schema, tells the line, and marks where each value stands.
 */
#ifndef CLI_WALK_H
#define CLI_WALK_H

#include <cli/source.h>

struct cyaml_schema_value;

/* false after messages: libcyaml would refuse the plan, or read something else than the user means. */
bool walk(struct source *source, const struct cyaml_schema_value *schema);

#endif
