/*
 * Plans as people write them, and worse: the tool's check ends, says what is
 * wrong, and what it lets pass root takes.
 */
#include "fuzz.h"
#include "tool.h"

void fuzz_begin(void) { tool_begin(); }

void fuzz_one(const uint8_t *data, size_t size)
{
    static struct job job;
    if (tool_checks((const char *)data, size, &job))
        fuzz_must(root_takes(&job.plan, &job, job.cores), "root takes what check lets pass");
}
