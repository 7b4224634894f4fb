/*
 * What the boot stub hands to the kernel, and the kernel (unread but for the
 * ranges and the root image) to root: whole pages.
 */
#ifndef ABI_BOOT_H
#define ABI_BOOT_H

#include <abi/utcb.h>

#define BOOT_MAGIC   0x656e696c72696168ull /* "hairline" */
#define BOOT_RANGES  128
#define BOOT_MODULES 128

/* RANGE_HOST: what the installed system has, RAM and devices (BOOT_HOST). */
enum range_kind { RANGE_RAM, RANGE_DEVICE, RANGE_HOST };
enum boot_flag {
    BOOT_BATCH = 1, /* the plan's PLAN_BATCH: nobody is there to read the console */
    BOOT_HOST = 2,  /* the installed system goes on as a guest: module BOOT_HOST_MODULE */
    BOOT_LATE = 4,  /* it runs already: it has read the firmware's tables, and has the IOMMUs */
    BOOT_SMALL_PAGES = 8, /* the processor has iTLB multihit: PLAN_SMALL_PAGES, whatever the plan */
};
#define BOOT_HOST_MODULE "host" /* struct boot_host */

/* Codes on port 80h, which a board's POST display, or its management controller, shows: how far the
   machine has come, or why it stands. */
#define POST_PORT 0x80
enum post { POST_STUB = 0xb1, POST_KERNEL, POST_ROOT, POST_VMS, POST_REFUSED = 0xbe, POST_PANIC };

/* Where the loader or firmware shows pixels, the first three bytes of each of which are colours. */
struct boot_screen {
    uint64_t base;          /* physical; 0: there is none */
    uint32_t bytes;         /* of a pixel, 3 or 4 */
    uint32_t width, height; /* pixels */
    uint32_t pitch;         /* bytes from one line to the next */
};

struct boot_range {
    uint64_t base, size; /* bytes, page aligned; never overlaps the kernel */
    uint32_t kind, reserved;
};

struct boot_module {
    uint64_t base, size; /* bytes; base is page aligned; inside a RAM range unless empty */
    char name[48];       /* last word of the loader's string, zero-terminated */
};

/* Root's, beneath a system that runs already. */
enum boot_answer { BOOT_READY = 1, BOOT_REFUSED };
/* By a page of its own, `leave`, it asks to be let go, and root lets it (AFTER_LEAVE) when no VM is
   left. Then each VMMCALL of its kernel's ends at BOOT_LEAVE_AT, physical, on that core:
   64-bit mode, the first 4 GiB one to one, no interrupts, rdi as it was, rsi = the VMCB's physical
   address. */
enum boot_leave { LEAVE_NOT, LEAVE_WANTED, LEAVE_GRANTED };
/* What `message` of the installed system's struct vm_control says, so that its tool knows it. */
#define BOOT_LINE "Hairline"

/*
 * The machine's installed system (mode: host), which goes on as a guest. Each of its processors has
 * left its state here and waits, interrupts off, until `called` is its APIC ID + 1; then it comes
 * to the kernel as a core (CALL_CORE_START with CORE_COMES). The first `kept` of them are
 * Hairline's. Of a system that runs already (BOOT_LATE) the others come after BOOT_READY; those
 * that still wait at BOOT_REFUSED stay its own.
 */
struct boot_cpu {
    uint32_t apic_id, reserved;
    struct exit_state state;
};
struct boot_host {
    uint32_t cpus, kept;
    uint32_t ready;  /* of them have left their state      */
    uint32_t called; /* APIC ID + 1; 0: none. Root writes it */
    uint32_t asked;  /* BOOT_LATE: enum boot_answer, root's */
    uint32_t reserved;
    /* BOOT_LATE: physical address of a page that begins with enum boot_leave, and has its line
       behind it, VM_CONTROL_PAGES pages */
    uint64_t leave;
    struct boot_cpu cpu[];
};

struct boot_info {
    uint64_t magic;
    uint64_t rsdp;      /* physical address of the ACPI RSDP, 0: root searches E0000h..FFFFFh */
    uint64_t root_base; /* physical address of root's image (a module)       */
    uint64_t root_entry;
    uint32_t root_text, root_rodata, root_data; /* pages, in this order        */
    uint32_t ranges, modules, bsp_apic_id;
    uint32_t flags;       /* enum boot_flag */
    uint32_t host_serial; /* BOOT_HOST: I/O port of root's own 16550; 0: there is none */
    uint32_t more_frames; /* of the kernel's pool, behind its image: `hairline build` writes it */
    struct boot_screen screen;
    struct boot_range range[BOOT_RANGES];
    struct boot_module module[BOOT_MODULES];
} __attribute__((aligned(4096)));

#endif
