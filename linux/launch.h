/*
 * A launch beneath a Linux that runs: what the module's files share. Those of Linux's side include
 * its headers first, the others the compiler's and Hairline's own: the two do not go together.
 */
#ifndef LINUX_LAUNCH_H
#define LINUX_LAUNCH_H

#define LAUNCH_KEPT  64u          /* processors, at most */
#define LAUNCH_ALIGN (2ull << 20) /* bytes: both pieces of memory begin and end at a multiple */
#define LAUNCH_LINE  6u           /* pages; abi/vm.h: VM_CONTROL_PAGES */

struct boot_cpu;
struct boot_host;

/* `at` is where Linux has what lies at the physical address. Sizes in bytes. */
struct launch_piece {
    uint64_t base, size;
    uint8_t *at;
};

struct launch {
    const uint8_t *file; /* hairline.efi, as `hairline build --efi` wrote it */
    uint64_t size;
    struct launch_piece kernel, memory; /* of Hairline's image; of all else that is Hairline's */
    uint64_t rsdp;                      /* physical address; 0: it is to be searched */
    uint32_t
        *wish; /* a page: enum boot_leave (abi/boot.h); behind it LAUNCH_LINE pages, the line */
    uint32_t kept, cpus;              /* processors: Hairline's; all */
    uint32_t entry, handover, called; /* physical addresses, for low.S */
    struct boot_host *host;
};

/* ---- steps.c, with the parameters' lock held ---- */
/* Launch the file of that path, and leave again. What is wrong, with nothing changed, or NULL. */
const char *steps_launch(char *file);
const char *steps_leave(void);
/* Page `i` of the line; NULL: there is none. */
struct page *steps_line(unsigned long i);

/* ---- image.c ---- */
/* Read the file: which processors and how much memory it wants. What is wrong with it, or NULL. */
const char *image_read(struct launch *l);
/* Put all of it into its memory, and fill in the rest of `l`. `wish`: its page's physical address.
 */
void image_place(struct launch *l, uint64_t wish);
void image_set_kept(struct launch *l, uint32_t i, uint32_t apic_id);
/* The first processor begins; the others go to `low` on the tables at `cr3`. What Hairline has said
 * since: 0 or enum boot_answer (abi/boot.h). */
void image_begin(struct launch *l, uint64_t cr3, uint64_t low);
uint32_t image_answer(const struct launch *l);
/* The i-th processor of the system's. */
struct boot_cpu *image_cpu(struct launch *l, uint32_t i);
/* slide.S calls it: this processor leaves its state, and itself when it is called. It returns if it
 * was not. */
void image_leave(struct boot_cpu *cpu);

/* ---- slide.S ---- */
/* This processor becomes a guest, or stays what it was. Interrupts are off. */
void late_slide(struct boot_cpu *cpu);
/* On the page tables at `cr3`, go to the code at low memory's `to`. */
void late_switch(uint64_t cr3, uint64_t to);

/* This processor, a guest, asks to be none. Interrupts are off. Not 0: nobody lets it go. */
int late_ask(void);
/* Where it comes out of low memory. */
void late_back(void);

/* ---- memory.c ---- */
/* Take `piece->size` bytes from Linux, below `limit`. False: there is no such run. */
bool memory_take(struct launch_piece *piece, uint64_t limit);
/* Cleared, they are Linux's again. Nothing happens if none were taken. */
void memory_give(struct launch_piece *piece);

/* ---- processors.c ---- */
/* Take as many as the file wants from Linux. What is wrong, or NULL. */
const char *processors_take(struct launch *l);
/* They are Linux's again, which begins them anew. Nothing happens if none were taken. */
void processors_give(void);
/* They begin at `address`, which is a page of low memory. From here on Linux switches no processor
   on or off: a kept one is not to start as one of its own. The APIC ID of the first. */
uint32_t processors_wake(uint32_t address);
/* It may again. Nothing happens if it could. */
void processors_free_hotplug(void);

/* ---- low.S ---- */
extern const char low_start[], low_end[], low_leave[], low_values[];
/* At its end, as many words. */
enum low_value { LOW_ENTRY, LOW_HANDOVER, LOW_CALLED, LOW_FIRST, LOW_TABLES, LOW_BACK = 6 };

#endif
