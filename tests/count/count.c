/*
 * A plugin for QEMU's TCG: counts the instructions that each program executes on each core, and
 * prints the counts: as a line that begins with `mark`, whenever a guest executes its mark, a no-op
 * with the bytes MARK; and with `first.CORE`, when a core executes its first instruction of a
 * guest's. A program is known by its bytes, whatever else runs at the same addresses:
 * NAME=ADDRESS:FILE of each is an argument, behind to=FILE, where to print to; the first that fits
 * counts; what fits none is the guests' (`guest`). Counting makes a machine much slower, so it
 * begins with the first mark, which prints nothing.
 *
 * Debian has no header of that interface. What is used of it (QEMU 9.0, interface 2) is declared
 * here.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT   __attribute__((visibility("default")))
#define PROGRAMS 8u
#define CORES    8u
#define BYTES    15u /* of an instruction, at most (APM3 1.1) */

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info;
enum { NO_REGISTERS = 0 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to, size_t size);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id,
                                           void (*translated)(uint64_t id,
                                                              struct qemu_plugin_tb *tb));
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
                                            void (*executed)(unsigned core, void *data), int flags,
                                            void *data);
void qemu_plugin_reset(uint64_t id, void (*done)(uint64_t id));

EXPORT int qemu_plugin_version = 2;
EXPORT int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int count,
                               char **arguments);

static struct program {
    char name[16];
    uint64_t address, size;
    uint8_t *bytes;
} programs[PROGRAMS];
static unsigned count; /* the guests' are behind them */
static uint64_t executed[PROGRAMS][CORES];
static uint64_t plugin;
static FILE *output;
static bool counting;
static const uint8_t mark[] = {0x0f, 0x1f, 0x80, 'H', 'a', 'i', 'r'}; /* nopl disp32(%rax) */

/* The core is the one for which QEMU translated the code, if one thread runs all cores in turn (as
   of QEMU 10.0): the right one for a guest's, which no other core runs, and for no other. */
static void counted(unsigned core, void *data) { ((uint64_t *)data)[core % CORES]++; }

static void print(void)
{
    for (unsigned p = 0; p < count; p++) {
        uint64_t sum = 0;
        for (unsigned c = 0; c < CORES; c++)
            sum += executed[p][c];
        fprintf(output, " %s=%" PRIu64, programs[p].name, sum);
    }
    for (unsigned c = 0; c < CORES; c++)
        fprintf(output, " guest.%u=%" PRIu64, c, executed[count][c]);
    fputc('\n', output);
    fflush(output);
}

static void counted_guest(unsigned core, void *data)
{
    (void)data;
    uint64_t *n = &executed[count][core % CORES];
    (*n)++;
    if (*n > 1)
        return;
    fprintf(output, "first.%u", core % CORES);
    print();
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb);

/* What was translated before is forgotten. */
static void begin(uint64_t id)
{
    counting = true;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
}

static void marked(unsigned core, void *data)
{
    (void)core, (void)data;
    if (!counting) {
        qemu_plugin_reset(plugin, begin);
        return;
    }
    fputs("mark", output);
    print();
}

static unsigned whose(uint64_t address, const uint8_t *bytes, size_t size)
{
    for (unsigned p = 0; p < count; p++) {
        uint64_t at = address - programs[p].address;
        if (at < programs[p].size && size <= programs[p].size - at &&
            memcmp(programs[p].bytes + at, bytes, size) == 0)
            return p;
    }
    return count;
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint8_t bytes[BYTES];
        size_t size = qemu_plugin_insn_data(insn, bytes, sizeof bytes);
        unsigned p = whose(qemu_plugin_insn_vaddr(insn), bytes, size);
        if (counting)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, p == count ? counted_guest : counted,
                                                   NO_REGISTERS, executed[p]);
        if (p == count && size == sizeof mark && memcmp(bytes, mark, size) == 0)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, marked, NO_REGISTERS, NULL);
    }
}

/* NAME=ADDRESS:FILE */
static bool add(const char *argument)
{
    struct program *p = &programs[count];
    const char *equals = strchr(argument, '='), *colon = strchr(argument, ':');
    FILE *file = equals && colon ? fopen(colon + 1, "rb") : NULL;
    if (!file || count == PROGRAMS - 1)
        return false;
    snprintf(p->name, sizeof p->name, "%.*s", (int)(equals - argument), argument);
    p->address = strtoull(equals + 1, NULL, 16);
    fseek(file, 0, SEEK_END);
    p->size = (uint64_t)ftell(file);
    rewind(file);
    p->bytes = malloc(p->size);
    bool whole = p->bytes && fread(p->bytes, 1, p->size, file) == p->size;
    fclose(file);
    count++;
    return whole;
}

int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int arguments, char **argument)
{
    (void)info;
    output =
        arguments > 0 && strncmp(argument[0], "to=", 3) == 0 ? fopen(argument[0] + 3, "w") : NULL;
    for (int i = 1; i < arguments && output; i++)
        if (!add(argument[i])) {
            fprintf(stderr, "count: %s: no NAME=ADDRESS:FILE that can be read\n", argument[i]);
            return 1;
        }
    plugin = id;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return output ? 0 : 1;
}
