#include <cli/host.h>
#include <cli/plan/kernel_image.h>
#include <abi/plan.h>

#include <elf.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct bytes {
    const uint8_t *at;
    uint64_t size;
};

/* Copy `size` bytes at `offset` out of the file; false when it has no such bytes. */
static bool get(const struct bytes *file, uint64_t offset, void *to, uint64_t size)
{
    if (offset > file->size || file->size - offset < size)
        return false;
    memcpy(to, file->at + offset, size);
    return true;
}

/* Linux/x86 boot protocol: "HdrS" at 202h, the version at 206h, xloadflags (bit 0: 64-bit entry) at
 * 236h. */
enum {
    SECTS_AT = 0x1f1,
    SYSSIZE_AT = 0x1f4,
    HDRS_AT = 0x202,
    VERSION_AT = 0x206,
    XLOADFLAGS_AT = 0x236,
    PREFERRED_AT = 0x258,
    INIT_SIZE_AT = 0x260
};

/* Kernels that would load and then not run, because they need what a VM does not have: each is
 * known by a text in it. */
static const char by_timer[] = "waits for an interval timer (8254), which a VM does not have";
static const struct {
    const char *text;
    uint8_t class; /* of the ELF file, 0: either */
    const char *name, *why;
} unfit[] = {
    {"Linux version ", ELFCLASS32, "a 32-bit Linux", "cannot use an x2APIC, as a 64-bit one can"},
    {"Manual reset required ('noreboot' specified)", 0, "Xen", "needs MTRRs and an IOAPIC"},
    {"GNU Mach ", 0, "GNU Mach", "leaves x2APIC mode, and a VM has no other"},
    {"@(#)FreeBSD ", 0, "FreeBSD", by_timer},
    {"@(#)NetBSD ", 0, "NetBSD", by_timer},
    {"@(#)OpenBSD ", 0, "OpenBSD", by_timer},
    {"Found no Xen signature!", 0, "GRUB for Xen", "finds its memory and its console by Xen only"},
    {"%s/i386-coreboot/%s.mod", 0, "GRUB for coreboot", "finds its memory by coreboot only"},
};

/* Files that have to be unpacked first, by their first bytes. */
static const struct {
    const char *magic, *program;
} packed[] = {{"\x1f\x8b", "gzip"}, {"\xfd\x37zXZ", "xz"}, {"\x28\xb5\x2f\xfd", "zstd"}};

static bool is_bzimage(const struct bytes *file)
{
    char magic[4];
    return get(file, HDRS_AT, magic, sizeof(magic)) && memcmp(magic, "HdrS", sizeof(magic)) == 0;
}

static bool has_64bit_entry(const struct bytes *file)
{
    uint16_t version, flags;
    return get(file, VERSION_AT, &version, sizeof(version)) &&
           get(file, XLOADFLAGS_AT, &flags, sizeof(flags)) && version >= 0x20c && (flags & 1) != 0;
}

/* Multiboot 1 (3.1.1): magic, flags, checksum; 4-byte aligned in the first 8 KiB. */
static bool is_multiboot(const struct bytes *file)
{
    struct {
        uint32_t magic, flags, checksum;
    } header;
    for (uint64_t at = 0; at + sizeof(header) <= 8192 && get(file, at, &header, sizeof(header));
         at += 4)
        if (header.magic == 0x1badb002 && header.magic + header.flags + header.checksum == 0)
            return true;
    return false;
}

/* PVH: the address in an ELF note of type 18 (XEN_ELFNOTE_PHYS32_ENTRY), name "Xen", among those at
 * [offset, offset + size). */
static bool has_pvh_note(const struct bytes *file, uint64_t offset, uint64_t size, uint64_t *entry)
{
    Elf64_Nhdr note; /* the same in 32-bit files */
    char name[4];
    *entry = 0;
    for (uint64_t at = 0; at < size && get(file, offset + at, &note, sizeof(note));) {
        if (note.n_type == 18 && note.n_namesz == sizeof(name) &&
            (note.n_descsz == 4 || note.n_descsz == 8) &&
            get(file, offset + at + sizeof(note), name, sizeof(name)) &&
            memcmp(name, "Xen", sizeof(name)) == 0)
            return get(file, offset + at + sizeof(note) + sizeof(name), entry, note.n_descsz);
        at += sizeof(note) + ((note.n_namesz + 3ull) & ~3ull) + ((note.n_descsz + 3ull) & ~3ull);
    }
    return false;
}

/* Program header `i` of a file of either class; false: it has none. */
static bool get_segment(const struct bytes *file, bool wide, uint32_t i, Elf64_Phdr *segment)
{
    Elf64_Ehdr wide_elf;
    Elf32_Ehdr elf;
    Elf32_Phdr s;
    if (wide)
        return get(file, 0, &wide_elf, sizeof(wide_elf)) && i < wide_elf.e_phnum &&
               get(file, wide_elf.e_phoff + i * sizeof(*segment), segment, sizeof(*segment));
    if (!get(file, 0, &elf, sizeof(elf)) || i >= elf.e_phnum ||
        !get(file, elf.e_phoff + i * sizeof(s), &s, sizeof(s)))
        return false;
    *segment = (Elf64_Phdr){.p_type = s.p_type,
                            .p_offset = s.p_offset,
                            .p_paddr = s.p_paddr,
                            .p_filesz = s.p_filesz,
                            .p_memsz = s.p_memsz};
    return true;
}

static bool is_pvh(const struct bytes *file, bool wide, uint64_t *entry)
{
    Elf64_Phdr segment;
    for (uint32_t i = 0; get_segment(file, wide, i, &segment); i++)
        if (segment.p_type == PT_NOTE &&
            has_pvh_note(file, segment.p_offset, segment.p_filesz, entry))
            return true;
    return false;
}

static uint64_t elf_entry(const struct bytes *file, bool wide)
{
    Elf64_Ehdr wide_elf = {0};
    Elf32_Ehdr elf = {0};
    if (wide)
        return get(file, 0, &wide_elf, sizeof(wide_elf)) ? wide_elf.e_entry : 0;
    return get(file, 0, &elf, sizeof(elf)) ? elf.e_entry : 0;
}

/* Bytes before the part that is loaded; in the file, once it is a bzImage. */
static uint64_t bzimage_setup(const struct bytes *file)
{
    uint8_t sectors = file->at[SECTS_AT];
    return 512 * (1ull + (sectors ? sectors : 4));
}

/* What is wrong with the place of a bzImage, in the file and in memory; NULL: nothing. The part
   that is loaded has `syssize` 16 bytes, of which the last may be less (Memtest86+). */
static const char *why_no_bzimage(const struct bytes *file)
{
    uint32_t syssize = 0;
    uint64_t preferred = 0;
    get(file, SYSSIZE_AT, &syssize, sizeof(syssize));
    get(file, PREFERRED_AT, &preferred, sizeof(preferred));
    if (bzimage_setup(file) + 16ull * syssize > file->size + 15)
        return "is cut off: a part of what is loaded is not in the file";
    if (preferred >= PLAN_MEMORY_MAX)
        return host_text("is to be loaded at the physical address %llxh, where no VM has memory: "
                         "name another kernel",
                         (unsigned long long)preferred);
    return NULL;
}

/* Where a bzImage ends once it has unpacked itself (boot protocol, pref_address and init_size). */
static uint64_t bzimage_end(const struct bytes *file)
{
    uint64_t preferred = 0, size = file->size - bzimage_setup(file);
    uint32_t init_size = 0;
    if (!get(file, PREFERRED_AT, &preferred, sizeof(preferred)) ||
        !get(file, INIT_SIZE_AT, &init_size, sizeof(init_size)))
        return 0;
    return preferred + (size > file->size || size < init_size ? init_size : size);
}

/* Why a VMM could not put the segment where it wants to be; NULL: it could, if the VM's memory goes
 * so far. */
static const char *why_no_place(const struct bytes *file, const Elf64_Phdr *s)
{
    if (s->p_paddr >= PLAN_MEMORY_MAX || s->p_memsz > PLAN_MEMORY_MAX)
        return host_text("has a segment at the physical address %llxh, where no VM has memory: "
                         "link it to lower ones",
                         (unsigned long long)s->p_paddr);
    if (s->p_offset > file->size || s->p_filesz > file->size - s->p_offset)
        return "is cut off: one of its segments is not in the file";
    if (s->p_filesz > s->p_memsz)
        return "has a segment that is larger than its place in memory: link it anew";
    return NULL;
}

/* Look at all that is loaded: where it ends, and that it can start at `entry`. NULL, or what is
 * wrong. */
static const char *look_at_segments(const struct bytes *file, bool wide, uint64_t entry,
                                    uint64_t *end)
{
    Elf64_Phdr segment;
    bool starts = false;
    for (uint32_t i = 0; get_segment(file, wide, i, &segment); i++) {
        if (segment.p_type != PT_LOAD || segment.p_memsz == 0)
            continue;
        const char *why = why_no_place(file, &segment);
        if (why)
            return why;
        uint64_t last = segment.p_paddr + segment.p_memsz;
        *end = last > *end ? last : *end;
        starts = starts || (entry >= segment.p_paddr && entry < last);
    }
    if (entry >> 32)
        return "has its entry above 4 GiB, and starts in 32-bit mode: link it to lower addresses";
    return starts ? NULL
                  : host_text("has its entry at the physical address %llxh, where none of its "
                              "segments is: link it anew",
                              (unsigned long long)entry);
}

static bool has_text(const struct bytes *file, const char *text)
{
    return memmem(file->at, file->size, text, strlen(text)) != NULL;
}

static const char *why_unfit(const struct bytes *file, uint8_t class)
{
    for (size_t i = 0; i < sizeof(unfit) / sizeof(unfit[0]); i++)
        if ((!unfit[i].class || unfit[i].class == class) && has_text(file, unfit[i].text))
            return host_text("is %s, which %s: name another kernel", unfit[i].name, unfit[i].why);
    return NULL;
}

static const char more[] = ": name a bzImage, a PVH ELF or a multiboot 1 ELF";

static const char *kind_of_elf(const struct bytes *file, uint8_t class, struct kernel_image *image)
{
    bool wide = class == ELFCLASS64;
    uint64_t entry;
    const char *why = why_unfit(file, class);
    if (why)
        return why;
    image->is_linux = has_text(file, "Linux version ");
    if (is_pvh(file, wide, &entry)) {
        image->kind = KERNEL_PVH;
    } else if (is_multiboot(file)) {
        image->kind = KERNEL_MULTIBOOT;
        entry = elf_entry(file, wide);
    } else {
        return host_text("is an ELF file without a PVH note or a multiboot 1 header%s", more);
    }
    return look_at_segments(file, wide, entry, &image->end);
}

static const char *kind_of(const struct bytes *file, struct kernel_image *image)
{
    uint8_t ident[EI_NIDENT] = {0};
    if (get(file, 0, ident, sizeof(ident)) && memcmp(ident, ELFMAG, SELFMAG) == 0)
        return kind_of_elf(file, ident[EI_CLASS], image);
    for (size_t i = 0; i < sizeof(packed) / sizeof(packed[0]); i++)
        if (memcmp(ident, packed[i].magic, strlen(packed[i].magic)) == 0)
            return host_text("is compressed by %s: name what `%s -dc` makes of it",
                             packed[i].program, packed[i].program);
    if (!is_bzimage(file))
        return host_text("is not a kernel image%s", more);
    if (!has_64bit_entry(file))
        return "is a bzImage without a 64-bit entry (a 32-bit program, a Linux older than 3.8, "
               "iPXE): name one that has it";
    image->kind = KERNEL_BZIMAGE;
    image->is_linux = true;
    image->end = bzimage_end(file);
    return why_no_bzimage(file);
}

const char *kernel_image_look(const char *path, struct kernel_image *image)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    *image = (struct kernel_image){0};
    if (fd < 0 || fstat(fd, &status) != 0)
        return "cannot be read: change its permissions";
    struct bytes file = {.size = (uint64_t)status.st_size};
    file.at = file.size ? mmap(NULL, file.size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    close(fd);
    if (file.at == MAP_FAILED)
        return "cannot be read: name another file";
    const char *wrong = kind_of(&file, image);
    munmap((void *)(uintptr_t)file.at, file.size);
    return wrong;
}
