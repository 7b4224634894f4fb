#include <cli/host.h>
#include <cli/options.h>
#include <cli/picture/picture.h>
#include <cli/session/line.h>

const char map_help[] =
    "hairline map --svg FILE [PLAN]\n"
    "\n"
    "Draws the machine of PLAN: its cores, memory and devices, which VM has what, and what is "
    "sealed.\n"
    "Without PLAN, in a VM with a control line: the machine as it is.\n"
    "\n"
    "  --svg FILE    where to; `-` is standard output\n";

/* The machine as it is; NULL after one line on stderr. */
static struct json_object *look_once(void)
{
    struct line *line = line_is_inside() ? line_open() : NULL;
    struct json_object *look = line ? line_look(line) : NULL;
    if (line)
        line_close(line);
    else if (!line_is_inside())
        host_fail("map: which plan? Only in a VM with a control line it can do without");
    return look;
}

int map(const struct options *options)
{
    static struct picture picture;
    static struct job job;
    if (!options->output)
        host_fail("map: where to? write --svg FILE, or --svg - for standard output");
    if (!options->output || !host_may_write(options->output) ||
        (options->plan && !check_plan(&job, options->plan, false)))
        return EXIT_USAGE;
    struct json_object *look = options->plan ? NULL : look_once();
    if (look)
        picture_of_look(&picture, look);
    else if (options->plan)
        picture_of_job(&picture, &job, options->plan);
    else
        return EXIT_USAGE;
    json_object_put(look);
    return page_write(options->output, &picture, NULL) ? 0 : EXIT_USAGE;
}
