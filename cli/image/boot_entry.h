/*
 * Firmware's boot entries, as efibootmgr shows and sets them (UEFI 2.10, 3.1, 3.3): one of
 * Hairline's, outside of the boot order, so that it is started only by BootNext, once, or by a
 * person in firmware's menu.
 */
#ifndef CLI_BOOT_ENTRY_H
#define CLI_BOOT_ENTRY_H

#include <stdbool.h>

struct boot_entry {
    bool have;     /* this Linux was started by UEFI, and sees firmware's variables */
    char disk[64]; /* with the volume: /dev/NAME                                    */
    unsigned part; /* its number there                                              */
    bool is_next;  /* an entry of ours is what firmware starts next                 */
    char ours[5];  /* the number of an entry of ours, "" if there is none           */
};

/* Look. `esp`: where the volume is mounted. False after one line on stderr. `log`: a file for what
   efibootmgr says. */
bool boot_entry_look(struct boot_entry *entry, const char *esp, const char *log);

/* Take an entry of ours away, and BootNext if it names that. False after one line on stderr. */
bool boot_entry_forget(struct boot_entry *entry, const char *log);

/* Make an entry for SLOTS_OTHER and have firmware start it next, once. False after one line on
 * stderr. */
bool boot_entry_try(struct boot_entry *entry, const char *log);

#endif
