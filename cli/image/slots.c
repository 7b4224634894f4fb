#include <cli/host.h>
#include <cli/image/efi.h>
#include <cli/image/slots.h>

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define FOLDER "EFI/BOOT"
#define KEPT   FOLDER "/BOOTX64.EFI"
#define OTHER  FOLDER "/OTHER.EFI"
#define NEW    FOLDER "/OTHER.NEW" /* while it is written */

#define SECTOR 512u

/* GUID partition table (UEFI 2.10, 5.3): where its header and an entry have what is asked for. */
enum { GPT_ENTRIES_AT = 72, GPT_COUNT = 80, GPT_SIZE = 84, GPT_FIRST_BLOCK = 32 };
static const uint8_t type_esp[16] = {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
                                     0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};
#define FAT32_NAME 82 /* where a volume of FAT32 alone says so */

/* ---- a mounted volume ------------------------------------------------------------- */

bool slots_have_room(const char *esp, const char *file)
{
    static const char *const goes[] = {OTHER, NEW}; /* NEW: of an update that was cut */
    struct stat status, old;
    struct statvfs volume;
    if (stat(file, &status) != 0 || statvfs(esp, &volume) != 0)
        return host_fail("cannot look at %s: %s", esp, strerror(errno));
    uint64_t room = (uint64_t)volume.f_bavail * volume.f_frsize;
    for (size_t i = 0; i < sizeof(goes) / sizeof(goes[0]); i++)
        if (stat(host_text("%s/%s", esp, goes[i]), &old) == 0)
            room += (uint64_t)old.st_size;
    if (room >= (uint64_t)status.st_size)
        return true;
    return host_fail(
        "the new file has %lu MiB, and the second slot of %s has room for %lu: write a "
        "new stick by `build --usb`",
        (status.st_size >> 20) + 1, esp, room >> 20);
}

/* Directory entries, too: syncfs writes the volume's. */
static bool flush(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool done = fd >= 0 && fsync(fd) == 0 && syncfs(fd) == 0;
    int error = errno;
    if (done)
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* what is read next is the disk's */
    if (fd >= 0)
        close(fd);
    if (!done)
        host_fail("cannot write %s: %s", path, strerror(error));
    return done;
}

static bool has_bytes_of(const char *path, const char *file)
{
    struct efi_bytes one, two;
    if (!efi_map(path, &one) || !efi_map(file, &two))
        return false;
    if (one.size == two.size && memcmp(one.at, two.at, one.size) == 0)
        return true;
    return host_fail("%s reads back as something else: take another stick", path);
}

/* The old other one goes first: there is room for two. */
bool slots_write(const char *esp, const char *file)
{
    const char *new = host_text("%s/" NEW, esp), *other = host_text("%s/" OTHER, esp);
    const char *copy[] = {"cp", file, new, NULL};
    unlink(new);
    unlink(other);
    bool ok = host_run(copy) == 0 && flush(new) && has_bytes_of(new, file);
    if (ok && rename(new, other) != 0)
        ok = host_fail("cannot write %s: %s", other, strerror(errno));
    if (!ok)
        unlink(new);
    return ok && flush(host_text("%s/" FOLDER, esp));
}

/* One operation of the file system: between two renames there would be no kept one. */
bool slots_exchange(const char *esp)
{
    const char *kept = host_text("%s/" KEPT, esp), *other = host_text("%s/" OTHER, esp);
    if (!efi_is_ours(other))
        return host_fail("%s has no other slot that could be kept: write one by `hairline update "
                         "PLAN`",
                         esp);
    if (renameat2(AT_FDCWD, other, AT_FDCWD, kept, RENAME_EXCHANGE) != 0)
        return host_fail("cannot exchange %s and %s: %s", other, kept,
                         errno == EINVAL ? "this needs Linux 6.0 or later" : strerror(errno));
    return flush(host_text("%s/" FOLDER, esp));
}

/* ---- an image --------------------------------------------------------------------- */

static uint64_t number_at(const uint8_t *bytes, size_t size)
{
    uint64_t number = 0;
    memcpy(&number, bytes, size);
    return number;
}

/* The byte where the volume of a GUID partition table begins; 0: there is none. */
static uint64_t slots_find_partition(const struct efi_bytes *image)
{
    const uint8_t *head = image->at + SECTOR;
    if (image->size < 2 * SECTOR || memcmp(head, "EFI PART", 8) != 0)
        return 0;
    uint64_t at = number_at(head + GPT_ENTRIES_AT, 8), count = number_at(head + GPT_COUNT, 4),
             size = number_at(head + GPT_SIZE, 4), blocks = image->size / SECTOR;
    for (uint64_t i = 0; at < blocks && i < count; i++) {
        if ((i + 1) * size > image->size - at * SECTOR || size < sizeof(type_esp) + 32)
            return 0;
        const uint8_t *entry = image->at + at * SECTOR + i * size;
        uint64_t first = number_at(entry + GPT_FIRST_BLOCK, 8);
        if (memcmp(entry, type_esp, sizeof(type_esp)) == 0)
            return first < blocks ? first * SECTOR : 0;
    }
    return 0;
}

/* mtools' name of an image's volume, which may be all of it; NULL after one line on stderr. */
static const char *volume_of(const char *image)
{
    struct efi_bytes bytes;
    if (!efi_map(image, &bytes))
        return NULL;
    bool alone = bytes.size >= SECTOR && memcmp(bytes.at + FAT32_NAME, "FAT32", 5) == 0;
    uint64_t offset = alone ? 0 : slots_find_partition(&bytes);
    munmap((void *)(uintptr_t)bytes.at, bytes.size);
    if (alone || offset)
        return host_text("%s@@%lu", image, offset);
    host_fail("%s has no EFI volume: name the image that `build --usb` wrote, or where the stick's "
              "second partition is mounted",
              image);
    return NULL;
}

/* A file of the image's, copied to `to`. */
static bool fetch(const char *volume, const char *name, const char *to, const char *log)
{
    const char *copy[] = {"mcopy", "-n", "-i", volume, host_text("::%s", name), to, NULL};
    return host_run_into(log, copy) == 0;
}

static bool move(const char *volume, const char *from, const char *to, const char *log)
{
    const char *rename_it[] = {"mren", "-i", volume, host_text("::%s", from), host_text("::%s", to),
                               NULL};
    return host_run_into(log, rename_it) == 0;
}

/* A copy of the image, which takes its place when all is done. */
static bool slots_begin(const char *image, const char *new)
{
    const char *copy[] = {"cp", "--sparse=always", image, new, NULL};
    return host_run(copy) == 0;
}

static bool slots_finish(const char *image, const char *new, bool ok)
{
    ok = ok && flush(new);
    if (ok && rename(new, image) != 0)
        ok = host_fail("cannot write %s: %s", image, strerror(errno));
    if (!ok)
        unlink(new);
    return ok;
}

bool slots_write_image(const char *image, const char *file, const char *folder)
{
    const char *new = host_text("%s.new", image), *log = host_text("%s/slots.log", folder);
    if (!slots_begin(image, new))
        return slots_finish(image, new, false);
    const char *volume = volume_of(new);
    const char *drop[] = {"mdel", "-i", volume, "::" OTHER, NULL};
    const char *put[] = {"mcopy", "-n", "-i", volume, file, "::" OTHER, NULL};
    host_run_into(log, drop);
    bool ok = host_run_into(log, put) == 0;
    if (!ok)
        host_fail(
            "the new file does not fit into the second slot of %s: write a new image by `build "
            "--usb`",
            image);
    return slots_finish(image, new, ok);
}

bool slots_exchange_image(const char *image, const char *folder)
{
    const char *new = host_text("%s.new", image), *log = host_text("%s/slots.log", folder),
               *other = host_text("%s/other", folder);
    const char *volume = volume_of(image);
    if (!volume)
        return false;
    if (!fetch(volume, OTHER, other, log) || !efi_is_ours(other))
        return host_fail("%s has no other slot that could be kept: write one by `hairline update "
                         "PLAN`",
                         image);
    if (!slots_begin(image, new))
        return slots_finish(image, new, false);
    volume = volume_of(new);
    bool ok = move(volume, KEPT, NEW, log) && move(volume, OTHER, KEPT, log) &&
              move(volume, NEW, OTHER, log);
    if (!ok)
        host_fail("mren cannot exchange the slots of %s", image);
    return slots_finish(image, new, ok);
}

/* ---- both ------------------------------------------------------------------------- */

bool slots_look(const char *esp, const char *folder, bool *is_image)
{
    struct stat status;
    if (stat(esp, &status) != 0)
        return host_fail("cannot look at %s: %s", esp, strerror(errno));
    *is_image = S_ISREG(status.st_mode);
    if (!*is_image && !S_ISDIR(status.st_mode))
        return host_fail("%s is neither a folder nor an image: mount the stick's second partition, "
                         "and name that folder",
                         esp);
    const char *kept = host_text("%s/" KEPT, *is_image ? folder : esp);
    if (*is_image && !host_may_write(esp))
        return false;
    if (*is_image) {
        const char *volume = volume_of(esp);
        kept = host_text("%s/kept", folder);
        if (!volume)
            return false;
        fetch(volume, KEPT, kept, host_text("%s/slots.log", folder));
    }
    if (efi_is_ours(kept))
        return true;
    return host_fail("%s/" KEPT " is not Hairline's: name the volume of a stick that `build --usb` "
                     "wrote",
                     esp);
}
