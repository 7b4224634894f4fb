/* The numbers that start.S takes from C, and the order in which it lays its header out; see
 * kernel/offsets.c. */
#include <abi/image.h>
#include <lib/start.h>

#define NUMBER(name) __asm__ volatile(".ascii \"->" #name " %0\"" : : "i"(name))
#define AT(field)    __builtin_offsetof(struct image_header, field)

void offsets(void);
void offsets(void)
{
    NUMBER(IMAGE_MAGIC);
    NUMBER(ROOT_STACK_SIZE);
}

_Static_assert(AT(magic) == 0 && AT(entry) == 8 && AT(text) == 16 && AT(rodata) == 20 &&
                   AT(data) == 24,
               "start.S");
_Static_assert(sizeof(struct image_header) == 32, "start.S");
