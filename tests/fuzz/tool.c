/* See tool.h. */
#include "tool.h"
#include "fuzz.h"
#include <cli/host.h>
#include <root/console/console.h>
#include <root/memory.h>
#include <root/plan.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

char *tool_said;
static char *folder;
static const struct plan *records; /* the boot module `plan` */

/* ---- what the tool would do to the host --------------------------------------- */
int __wrap_host_run(const char *const argv[]);
const char *__wrap_host_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Packages are there, or not to be had. */
int __wrap_host_run(const char *const argv[])
{
    (void)argv;
    return 0;
}

static struct text {
    struct text *next;
    char *bytes;
} * texts;

const char *__wrap_host_text(const char *format, ...)
{
    va_list args;
    struct text *text = malloc(sizeof(*text));
    va_start(args, format);
    if (!text || vasprintf(&text->bytes, format, args) < 0)
        abort();
    va_end(args);
    text->next = texts;
    texts = text;
    return text->bytes;
}

static void forget_texts(void)
{
    while (texts) {
        struct text *next = texts->next;
        free(texts->bytes);
        free(texts);
        texts = next;
    }
}

/* ---- files -------------------------------------------------------------------- */
static void put_file(const char *name, const void *bytes, size_t size)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
        abort();
}

static void make_folder(const char *path)
{
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        abort();
}

/* An ELF header, a page at 1 MiB where it starts, and a PVH note in a segment of its own or a
 * multiboot header behind both. */
static void put_elf(const char *name, bool pvh)
{
    static const uint8_t ident[] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
    enum { entry = 0x100000 };
    static const uint32_t multiboot[] = {0x1badb002, 0, -0x1badb002u},
                          note[] = {4, 4, 18, 0x6e6558, entry};
    static const uint64_t segments[2][7] = {{1, 0, entry, entry, 0, 4096, 4096},
                                            {4, 176, 0, 0, sizeof(note), 0, 4}};
    uint8_t file[512] = {0};
    memcpy(file, ident, sizeof(ident));
    file[26] = entry >> 16;
    file[32] = 64; /* where the program headers are */
    file[54] = 56, file[56] = pvh ? 2 : 1;
    memcpy(file + 64, segments, sizeof(segments));
    memcpy(file + 176, pvh ? note : multiboot, pvh ? sizeof(note) : sizeof(multiboot));
    put_file(name, file, sizeof(file));
}

static void put_packages(void)
{
    static const char *const names[] = {"vmlinuz", "initrd", "initrd-net", "root.ext4"};
    static const uint8_t sectors[2 * PLAN_SECTOR];
    make_folder(host_image("kernels"));
    make_folder(host_image("kernels/debian"));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        put_file(__wrap_host_text("../kernels/debian/%s", names[i]), sectors, sizeof(sectors));
}

void tool_begin(void)
{
    uint8_t bytes[2 * PLAN_SECTOR] = {0};
    if (asprintf(&folder, "%s.files", program_invocation_name) < 0)
        abort();
    make_folder(folder);
    setenv("HAIRLINE_HOME", folder, 1);
    put_file("Makefile", bytes, 1); /* which host_run does without */
    memcpy(bytes + 0x202, "HdrS\x0f\x02", 6);
    bytes[0x1f1] = 1;
    bytes[0x236] = 1;
    put_file("bzimage", bytes, sizeof(bytes));
    put_elf("pvh", true);
    put_elf("multiboot", false);
    put_file("disk", bytes, sizeof(bytes));
    put_file("odd", bytes, 700);
    put_file("empty", bytes, 0);
    put_packages();
}

/* ---- the two readers ---------------------------------------------------------- */
bool tool_checks(const char *text, size_t size, struct job *job)
{
    static char path[4096];
    FILE *normal = stderr;
    size_t said;
    forget_texts();
    free(tool_said);
    put_file("plan.yaml", text, size);
    snprintf(path, sizeof(path), "%s/plan.yaml", folder);
    memset(job, 0, sizeof(*job));
    stderr = open_memstream(&tool_said, &said);
    bool good = check_plan(job, path, false);
    fclose(stderr);
    stderr = normal;
    fuzz_must(good || *tool_said, "what is refused is refused with a sentence");
    return good;
}

void console_say(const char *fmt, ...) { (void)fmt; }

uint64_t memory_read(uint64_t base, void *to, uint64_t size)
{
    (void)base;
    memcpy(to, records, size);
    return OK;
}

bool has_host(const struct plan *plan)
{
    return plan->vms && plan->vm[plan->vms - 1].mode == MODE_HOST;
}

const struct plan *root_takes(const struct plan *plan, const struct job *job, uint32_t cores)
{
    static struct boot_info info;
    memset(&info, 0, sizeof(info));
    records = plan;
    info.more_frames = job->more_frames;
    if (has_host(&job->plan))
        info.flags = BOOT_HOST;
    info.module[info.modules++] = (struct boot_module){0x1000, sizeof(*plan), "plan"};
    for (uint32_t i = 0; i < job->plan.files; i++) {
        struct boot_module *m = &info.module[info.modules++];
        m->size = job->file[i].size;
        snprintf(m->name, sizeof(m->name), "f%u", i);
    }
    return plan_load(&info, cores, true);
}
