/* Files of pictures, and the page of `hairline top --html`. */
#include <cli/host.h>
#include <cli/picture/picture.h>
#include <cli/session/rates.h>
#include <cli/session/report.h>

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void row(FILE *out, const char *name, struct json_object *vm, const struct rates *rates)
{
    fputs("<tr><td>", out);
    svg_text(out, name, PICTURE_TEXT);
    fputs("</td><td>", out);
    svg_text(out, report_word(vm, "state"), PICTURE_TEXT);
    fprintf(out, "</td><td>%.1f</td><td>%" PRId64 "</td><td>", rates->cpu, rates->exits);
    svg_text(out, rates->cause, PICTURE_TEXT);
    fprintf(out, "</td><td>%" PRId64 "</td></tr>\n", report_number(vm, "restarts"));
}

/* XML, too, so that a test can read it. */
static void html(FILE *out, const struct picture *p, const struct picture_page *page)
{
    static const char head[] =
        "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>"
        "<meta charset=\"utf-8\"/><title>Hairline</title>%s\n<style>body { font-family: "
        "sans-serif; "
        "max-width: 60em; margin: 1em auto } td, th { padding: 0.2em 0.8em; text-align: left } "
        "svg { width: 100%%; height: auto }</style></head>\n<body>\n";
    static const char titles[] = "<p>%s</p>\n<table>\n<tr><th>VM</th><th>state</th><th>CPU %%</th>"
                                 "<th>exits/s</th><th>most by</th><th>restarts</th></tr>\n";
    time_t now = time(NULL);
    char date[32] = "";
    strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S UTC", gmtime(&now));
    fprintf(out, head, page->live ? "<meta http-equiv=\"refresh\" content=\"1\"/>" : "");
    svg_draw(out, p);
    fprintf(out, titles, date);
    json_object_object_foreach(report_group(page->look, "vms"), name, vm)
    {
        const struct rates rates = rates_of(page->look, page->before, name);
        row(out, name, vm, &rates);
    }
    fputs("</table>\n</body>\n</html>\n", out);
}

static bool page_put(FILE *out, const struct picture *p, const struct picture_page *page)
{
    if (page)
        html(out, p, page);
    else
        svg_draw(out, p);
    return fflush(out) == 0 && !ferror(out);
}

bool page_write(const char *path, const struct picture *p, const struct picture_page *page)
{
    char fresh[PATH_MAX];
    if (strcmp(path, "-") == 0)
        return page_put(stdout, p, page);
    snprintf(fresh, sizeof(fresh), "%s.%d", path, (int)getpid());
    FILE *out = fopen(fresh, "wxe");
    bool good = out && page_put(out, p, page);
    if (out && fclose(out) != 0)
        good = false;
    if (good && rename(fresh, path) == 0)
        return true;
    int why = errno;
    if (out)
        unlink(fresh);
    return host_fail("cannot write %s: %s", path, strerror(why));
}
