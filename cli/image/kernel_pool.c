/*
 * The kernel's pool of frames is the end of its image. A plan that needs more than the kernel is
 * linked with gets an image that takes more memory and says so in its struct boot_info.
 */
#include <abi/boot.h>
#include <cli/host.h>
#include <cli/image/efi.h>

#include <elf.h>
#include <stdlib.h>
#include <string.h>

bool kernel_pool_tell(uint8_t *bytes, uint64_t size, uint32_t more, const char *path)
{
    static const struct boot_info linked = {.magic = BOOT_MAGIC};
    struct boot_info *info = NULL;
    uint32_t found = 0;
    for (uint64_t at = 0; at + sizeof(linked) <= size; at += PAGE_SIZE)
        if (memcmp(bytes + at, &linked, sizeof(linked)) == 0) {
            info = (void *)(bytes + at);
            found++;
        }
    if (found != 1)
        return host_fail("%s is no kernel whose pool can be made longer: build it again", path);
    info->more_frames = more;
    return true;
}

/* Which segment ends last in memory: the pool is its end. */
static Elf32_Phdr *last_segment(uint8_t *bytes)
{
    const Elf32_Ehdr *head = (const void *)bytes;
    Elf32_Phdr *segment = (void *)(bytes + head->e_phoff), *last = segment;
    for (Elf32_Phdr *s = segment; s < segment + head->e_phnum; s++)
        if (s->p_type == PT_LOAD && s->p_paddr + s->p_memsz > last->p_paddr + last->p_memsz)
            last = s;
    return last;
}

bool kernel_pool_lengthen(const char *path, uint32_t more, struct efi_bytes *longer)
{
    struct efi_bytes file;
    if (!efi_map(path, &file))
        return false;
    uint8_t *bytes = malloc(file.size);
    if (!bytes)
        return host_fail("no memory for the kernel's image");
    memcpy(bytes, file.at, file.size);
    last_segment(bytes)->p_memsz += more * PAGE_SIZE;
    *longer = (struct efi_bytes){bytes, file.size};
    return kernel_pool_tell(bytes, file.size, more, path);
}
