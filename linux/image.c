/*
 * The file of `hairline build --efi`, which the UEFI stub would have in memory by sections, put
 * where the kernel and root look for it; and how a processor comes to them. As boot/uefi/main.c and
 * boot/uefi/host.c do it, but the file is checked.
 */
#include <abi/vm.h>
#include <boot/uefi/efi.h>
#include <boot/uefi/handover.h>
#include <boot/uefi/state.h>
#include <cpu.h>

#include "launch.h"

#define STATES   65536u /* bytes: of the processors */
#define HANDOVER 8192u  /* bytes: struct uefi_handover and its map */
#define MAP_AT   4096u
#define X2APIC   0x802

enum { PE_AT = 60, SECTIONS_AT = 6, OPTIONAL_SIZE_AT = 20, OPTIONAL_AT = 24 };
#define BROKEN "the file is not what `hairline build --efi` wrote: build it again"

_Static_assert(sizeof(struct uefi_handover) <= MAP_AT, "both fit");
_Static_assert(LAUNCH_LINE == VM_CONTROL_PAGES, "as root has it");
_Static_assert(__builtin_offsetof(struct boot_cpu, state.rip) == 128 &&
                   __builtin_offsetof(struct boot_cpu, state.rsp) == 152,
               "as slide.S has them");

static uint64_t tables; /* late_switch() */
static uint64_t leave;
static struct boot_host *host;

static uint64_t round_up(uint64_t value, uint64_t to) { return (value + to - 1) & ~(to - 1); }

static void copy(void *to, const void *from, uint64_t size)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

/* ---- its sections ----------------------------------------------------------- */
static uint32_t sections(const struct launch *l)
{
    return *(const uint16_t *)(l->file + *(const uint32_t *)(l->file + PE_AT) + SECTIONS_AT);
}

/* Section `i`; NULL: there is none, or not all of it. */
static const struct efi_section *section(const struct launch *l, uint32_t i)
{
    uint32_t pe = *(const uint32_t *)(l->file + PE_AT);
    uint64_t table =
        (uint64_t)pe + OPTIONAL_AT + *(const uint16_t *)(l->file + pe + OPTIONAL_SIZE_AT);
    const struct efi_section *s = (const void *)(l->file + table + i * sizeof *s);
    bool is_there = i < sections(l) && table + (i + 1) * sizeof *s <= l->size &&
                    s->file_at <= l->size && s->size <= l->size - s->file_at;
    return is_there ? s : 0;
}

static bool is_called(const struct efi_section *s, const char *name)
{
    uint32_t i = 0;
    while (i < sizeof s->name && name[i] && s->name[i] == name[i])
        i++;
    return i == sizeof s->name || s->name[i] == name[i];
}

static const struct efi_section *find(const struct launch *l, const char *name)
{
    uint32_t i = 0;
    while (i < sections(l) && !is_called(section(l, i), name))
        i++;
    return section(l, i);
}

static bool is_module(const struct efi_section *s)
{
    return s->name[0] != '.' && !is_called(s, UEFI_KERNEL);
}

static bool is_kernel(const struct uefi_kernel *k, uint64_t size)
{
    if (size < sizeof *k || k->moves > (size - sizeof *k) / sizeof *k->move ||
        k->bytes > size - sizeof *k - k->moves * sizeof *k->move || k->bytes > k->size ||
        k->size > UEFI_LIMIT || k->entry >= k->bytes)
        return false;
    for (uint32_t i = 0; i < k->moves; i++)
        if ((k->move[i] & ~UEFI_WIDE) + 8ull > k->bytes)
            return false;
    return true;
}

/* All of its sections are there, and the kernel is one. */
static bool is_whole(const struct launch *l)
{
    const uint32_t *pe = (const void *)(l->file + PE_AT);
    if (l->size < MAP_AT || *pe > MAP_AT / 2 || *(const uint32_t *)(l->file + *pe) != 0x4550)
        return false;
    for (uint32_t i = 0; i < sections(l); i++)
        if (!section(l, i))
            return false;
    const struct efi_section *kernel = find(l, UEFI_KERNEL);
    return kernel && is_kernel((const void *)(l->file + kernel->file_at), kernel->size);
}

const char *image_read(struct launch *l)
{
    if (!is_whole(l))
        return BROKEN;
    const struct efi_section *wants = find(l, UEFI_HOST);
    if (!wants || wants->size < sizeof(struct uefi_host))
        return "the file's plan has no VM of `mode: host`: add one, which is this system";
    const struct uefi_host *h = (const void *)(l->file + wants->file_at);
    const struct uefi_kernel *k = (const void *)(l->file + find(l, UEFI_KERNEL)->file_at);
    uint32_t modules = 1;
    l->kept = h->cores;
    l->kernel.size = round_up(k->size, LAUNCH_ALIGN);
    l->memory.size = STATES + HANDOVER + h->memory + 2 * LAUNCH_ALIGN;
    for (uint32_t i = 0; i < sections(l); i++) {
        const struct efi_section *s = section(l, i);
        l->memory.size += is_module(s) ? round_up(s->size, 4096) : 0;
        modules += is_module(s);
    }
    l->memory.size = round_up(l->memory.size, LAUNCH_ALIGN);
    bool fits = h->cores && h->cores < MAX_CORES && modules <= BOOT_MODULES &&
                h->memory < 4 * UEFI_LIMIT && l->memory.size < 4 * UEFI_LIMIT;
    return fits ? 0 : BROKEN;
}

/* ---- in memory -------------------------------------------------------------- */
static void place_kernel(struct launch *l)
{
    const struct uefi_kernel *k = (const void *)(l->file + find(l, UEFI_KERNEL)->file_at);
    uint64_t distance = l->kernel.base - k->base;
    copy(l->kernel.at, k->move + k->moves, k->bytes);
    for (uint32_t i = 0; i < k->moves; i++) {
        uint8_t *at = l->kernel.at + (k->move[i] & ~UEFI_WIDE);
        if (k->move[i] & UEFI_WIDE)
            *(uint64_t *)at += distance;
        else
            *(uint32_t *)at += (uint32_t)distance;
    }
    l->entry = (uint32_t)l->kernel.base + k->entry;
}

static void add_module(struct uefi_handover *h, uint64_t base, uint64_t size, const char *name)
{
    struct uefi_module *m = &h->module[h->modules++];
    m->base = base;
    m->size = size;
    copy(m->name, name, sizeof m->name);
}

static void place_modules(struct launch *l, struct uefi_handover *h, uint64_t at)
{
    for (uint32_t i = 0; i < sections(l); i++) {
        const struct efi_section *s = section(l, i);
        if (!is_module(s))
            continue;
        copy(l->memory.at + at, l->file + s->file_at, s->size);
        add_module(h, l->memory.base + at, s->size, s->name);
        at += round_up(s->size, 4096);
    }
}

/* Both pieces are cleared. The states first, then the handover with its map, which is free once it
 * was read. */
void image_place(struct launch *l, uint64_t wish)
{
    const struct uefi_host *wants = (const void *)(l->file + find(l, UEFI_HOST)->file_at);
    struct uefi_handover *h = (void *)(l->memory.at + STATES);
    struct uefi_line *map = (void *)(l->memory.at + STATES + MAP_AT);
    place_kernel(l);
    host = l->host = (void *)l->memory.at;
    host->cpus = l->cpus;
    host->kept = l->kept;
    host->leave = wish;
    map[0] = (struct uefi_line){
        .type = UEFI_CONVENTIONAL, .base = l->kernel.base, .pages = l->kernel.size / 4096};
    map[1] = (struct uefi_line){
        .type = UEFI_CONVENTIONAL, .base = l->memory.base, .pages = l->memory.size / 4096};
    *h = (struct uefi_handover){.rsdp = l->rsdp,
                                .host = UEFI_LATE,
                                .serial = wants->serial,
                                .map = l->memory.base + STATES + MAP_AT,
                                .map_size = 2 * sizeof *map,
                                .map_step = sizeof *map};
    add_module(h, l->memory.base, STATES, (char[sizeof h->module->name]){BOOT_HOST_MODULE});
    place_modules(l, h, STATES + HANDOVER);
    l->handover = (uint32_t)l->memory.base + STATES;
    l->called = (uint32_t)l->memory.base + __builtin_offsetof(struct boot_host, called);
}

/* ---- processors ------------------------------------------------------------- */
void image_set_kept(struct launch *l, uint32_t i, uint32_t apic_id)
{
    l->host->cpu[i].apic_id = apic_id;
}

struct boot_cpu *image_cpu(struct launch *l, uint32_t i) { return &l->host->cpu[l->kept + i]; }

void image_begin(struct launch *l, uint64_t cr3, uint64_t low)
{
    tables = cr3;
    leave = low;
    __atomic_store_n(&host->called, host->cpu[0].apic_id + 1, __ATOMIC_SEQ_CST);
}

uint32_t image_answer(const struct launch *l)
{
    return __atomic_load_n(&l->host->asked, __ATOMIC_ACQUIRE);
}

void image_leave(struct boot_cpu *cpu)
{
    cpu->apic_id = (uint32_t)cpu_rdmsr(X2APIC);
    state_leave(&cpu->state);
    __atomic_fetch_add(&host->ready, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&host->called, __ATOMIC_ACQUIRE) != cpu->apic_id + 1) {
        if (__atomic_load_n(&host->asked, __ATOMIC_ACQUIRE) == BOOT_REFUSED)
            return;
        cpu_relax();
    }
    late_switch(tables, leave);
}
