/*
 * The two slots of a volume from which UEFI firmware starts Hairline (its ESP): the file that
 * firmware starts of its own accord, the kept one, and the other one, beside it. Each is a whole
 * file of cli/image/efi.h. No step writes to the kept one; keeping exchanges the names.
 */
#ifndef CLI_SLOTS_H
#define CLI_SLOTS_H

#include <stdbool.h>

#define SLOTS_OTHER "\\EFI\\BOOT\\OTHER.EFI" /* as firmware names it */

/* Is `esp` an image (of `build --usb`, or of the volume alone), else a folder where the volume is
   mounted? False after one line on stderr if it is neither, or has no kept file of Hairline's. */
bool slots_look(const char *esp, const char *folder, bool *is_image);

/* Is there room for `file` on a mounted volume, once the other one has gone? False after one line
   on stderr. */
bool slots_have_room(const char *esp, const char *file);

/* Make `file` the other one of a mounted volume, or of an image; it has come to the disk then, and
   was read back. `folder`: a private one. False after one line on stderr: the kept one is as it
   was, and an image is whole as it was. */
bool slots_write(const char *esp, const char *file);
bool slots_write_image(const char *image, const char *file, const char *folder);

/* Exchange the two, whose other one has to be Hairline's. A power cut leaves one of them as kept:
   the name's entry is written as one (vfat: Linux 6.0 and later). False after one line on stderr:
   nothing has changed. */
bool slots_exchange(const char *esp);
bool slots_exchange_image(const char *image, const char *folder);

#endif
