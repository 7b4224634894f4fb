#include <boot/uefi/handover.h>
#include <cli/host.h>
#include <cli/image/efi.h>

#include <elf.h>
#include <stdlib.h>
#include <string.h>

/* The kernel's ELF file: this tool's own build made it, so its tables are believed. */
struct linked {
    const char *path;
    const uint8_t *at;
    const Elf64_Ehdr *head;
    const Elf64_Phdr *segment;
    const Elf64_Shdr *section;
    uint64_t base, size, bytes; /* of the image: struct uefi_kernel            */
    uint64_t window;            /* the image's virtual address less its physical */
};

static void measure_image(struct linked *elf)
{
    uint64_t end = 0, used = 0;
    elf->base = ~0ull;
    for (uint32_t i = 0; i < elf->head->e_phnum; i++) {
        const Elf64_Phdr *s = &elf->segment[i];
        if (s->p_type != PT_LOAD)
            continue;
        elf->base = s->p_paddr < elf->base ? s->p_paddr : elf->base;
        end = s->p_paddr + s->p_memsz > end ? s->p_paddr + s->p_memsz : end;
        used = s->p_paddr + s->p_filesz > used ? s->p_paddr + s->p_filesz : used;
        elf->window = s->p_vaddr - s->p_paddr;
    }
    elf->size = end - elf->base;
    elf->bytes = used - elf->base;
}

/* Where in the image an address lies, physical or in the kernel's window; more than its size:
 * outside. Its end is a place in it. */
static uint64_t offset_of(const struct linked *elf, uint64_t address)
{
    uint64_t physical = address < elf->window ? address : address - elf->window;
    return physical - elf->base;
}

/* What a relocation means for an image that moves, its virtual addresses and its physical ones by
   the same distance. */
enum move { MOVE_NOT, MOVE_NARROW, MOVE_WIDE, MOVE_UNKNOWN };

static enum move kind_of_move(uint32_t type, bool inside)
{
    bool relative = type == R_X86_64_PC32 || type == R_X86_64_PLT32;
    if (type == R_X86_64_64)
        return inside ? MOVE_WIDE : MOVE_NOT;
    if (type == R_X86_64_32 || type == R_X86_64_32S)
        return inside ? MOVE_NARROW : MOVE_NOT;
    return relative && inside ? MOVE_NOT : MOVE_UNKNOWN;
}

static bool add_move(const struct linked *elf, const Elf64_Rela *r, const Elf64_Sym *symbols,
                     struct uefi_kernel *kernel)
{
    const Elf64_Sym *symbol = &symbols[ELF64_R_SYM(r->r_info)];
    uint64_t offset = offset_of(elf, r->r_offset);
    enum move move =
        kind_of_move(ELF64_R_TYPE(r->r_info), offset_of(elf, symbol->st_value) <= elf->size);
    if (move == MOVE_UNKNOWN || offset >= elf->bytes)
        return host_fail("%s cannot be moved: a relocation of type %lu at 0x%lx", elf->path,
                         ELF64_R_TYPE(r->r_info), r->r_offset);
    if (move != MOVE_NOT)
        kernel->move[kernel->moves++] = (uint32_t)offset | (move == MOVE_WIDE ? UEFI_WIDE : 0);
    return true;
}

static bool is_loaded_table(const struct linked *elf, const Elf64_Shdr *s)
{
    return s->sh_type == SHT_RELA && elf->section[s->sh_info].sh_flags & SHF_ALLOC;
}

static uint64_t count_relocations(const struct linked *elf)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < elf->head->e_shnum; i++)
        if (is_loaded_table(elf, &elf->section[i]))
            count += elf->section[i].sh_size / sizeof(Elf64_Rela);
    return count;
}

static bool add_moves(const struct linked *elf, struct uefi_kernel *kernel)
{
    bool ok = true;
    for (uint32_t i = 0; i < elf->head->e_shnum; i++) {
        const Elf64_Shdr *s = &elf->section[i];
        if (!is_loaded_table(elf, s))
            continue;
        const Elf64_Rela *r = (const void *)(elf->at + s->sh_offset);
        const Elf64_Sym *symbols = (const void *)(elf->at + elf->section[s->sh_link].sh_offset);
        for (uint64_t n = 0; ok && n < s->sh_size / sizeof(*r); n++)
            ok = add_move(elf, &r[n], symbols, kernel);
    }
    return ok;
}

static void add_image(const struct linked *elf, uint8_t *to)
{
    for (uint32_t i = 0; i < elf->head->e_phnum; i++) {
        const Elf64_Phdr *s = &elf->segment[i];
        if (s->p_type == PT_LOAD)
            memcpy(to + (s->p_paddr - elf->base), elf->at + s->p_offset, s->p_filesz);
    }
}

bool efi_kernel(const char *path, uint32_t more, struct efi_bytes *section)
{
    struct efi_bytes file;
    if (!efi_map(path, &file))
        return false;
    struct linked elf = {.path = path, .at = file.at, .head = (const void *)file.at};
    elf.segment = (const void *)(file.at + elf.head->e_phoff);
    elf.section = (const void *)(file.at + elf.head->e_shoff);
    measure_image(&elf);
    uint64_t most = sizeof(struct uefi_kernel) + count_relocations(&elf) * sizeof(uint32_t);
    struct uefi_kernel *kernel = calloc(1, most + elf.bytes);
    if (!kernel)
        return host_fail("no memory for the kernel's image");
    *kernel = (struct uefi_kernel){.base = elf.base,
                                   .size = elf.size + more * (uint64_t)PAGE_SIZE,
                                   .bytes = elf.bytes,
                                   .entry = (uint32_t)(elf.head->e_entry - elf.base)};
    if (!add_moves(&elf, kernel))
        return false;
    uint8_t *image = (uint8_t *)(kernel->move + kernel->moves);
    add_image(&elf, image);
    if (!kernel_pool_tell(image, elf.bytes, more, path))
        return false;
    *section = (struct efi_bytes){(const uint8_t *)kernel,
                                  sizeof(*kernel) + kernel->moves * sizeof(uint32_t) + elf.bytes};
    return true;
}
