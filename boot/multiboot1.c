#include "boot.h"

/* Multiboot 0.6.96, section 3.3: the information and a module, by words; flags say what is there.
 */
enum { FLAGS = 0, MODULES = 5, MODULES_AT = 6, MAP_SIZE = 11, MAP_AT = 12 };
enum { START = 0, END = 1, STRING = 2, MODULE_WORDS = 4 };
#define HAS_MODULES 0x08u
#define HAS_MAP     0x40u
#define STRING_MAX  4096u

/* Memory map: before each line is a word with its size (3.3). */
static void multiboot1_read_map(uint64_t at, uint64_t end)
{
    for (at += 4; at + sizeof(struct memory_line) <= end;
         at += 4ull + *(const uint32_t *)boot_at(at - 4))
        boot_memory_add(boot_at(at));
}

void boot_multiboot1(uint32_t address)
{
    const uint32_t *info = boot_at(address);
    if (info[FLAGS] & HAS_MAP)
        multiboot1_read_map(info[MAP_AT], (uint64_t)info[MAP_AT] + info[MAP_SIZE]);
    const uint32_t *module = boot_at(info[MODULES_AT]);
    uint32_t modules = info[FLAGS] & HAS_MODULES ? info[MODULES] : 0;
    for (; modules; modules--, module += MODULE_WORDS)
        boot_module_add(module[START], module[END], boot_at(module[STRING]), STRING_MAX);
}
