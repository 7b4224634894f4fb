/* The end of the kernel. */
#ifndef KERNEL_PANIC_H
#define KERNEL_PANIC_H

#include <stdint.h>

/* The other cores are stopped, because no VM may go on beside a kernel that does not: by NMIs and
   the doorbell, with which they come to core_attention(). Then a last word, on the stub's page
   tables, and the machine is reset. */
void panic(const char *what, uint64_t vector, uint64_t rip) __attribute__((noreturn));

/* Characters of the message, never fewer again; not 0: other cores stop. A core that waited for one
   of them for too long adds its own. */
extern uint32_t panic_used;

/* boot/words.c: show `text` for 10 s, under BOOT_BATCH for none, and reset the machine. On page
 * tables that map all below 4 GiB one to one, and the image where it is. */
void boot_last_words(const char *text) __attribute__((noreturn));

#endif
