#include <cli/host.h>
#include <cli/session/pages.h>
#include <abi/boot.h>
#include <abi/vm.h>
#include <lib/ring.h>

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PROCESSORS "/sys/firmware/acpi/tables/APIC"
#define PAGE       4096u
#define LOOK_US    2000 /* from one look at the rings to the next */

/* Map what is at byte `at` of the device, if it is the line. */
static bool pages_map(struct pages *pages, uint64_t at)
{
    const int access = PROT_READ | PROT_WRITE;
    int fd = open(pages->device, O_RDWR | O_CLOEXEC);
    void *there =
        fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*pages->at), access, MAP_SHARED, fd, (off_t)at);
    if (fd >= 0)
        close(fd);
    pages->at = there == MAP_FAILED ? NULL : there;
    return pages->at && memcmp(pages->at->message, BOOT_LINE, sizeof(BOOT_LINE)) == 0;
}

static void pages_unmap(struct pages *pages)
{
    if (pages->at)
        munmap(pages->at, sizeof(*pages->at));
    pages->at = NULL;
}

/* Up to `size` bytes of a file; 0: it cannot be read. */
static size_t read_some(const char *name, void *to, size_t size)
{
    size_t used = 0;
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    for (ssize_t n = 1; fd >= 0 && n > 0; used += n > 0 ? (size_t)n : 0)
        n = read(fd, (char *)to + used, size - used);
    if (fd >= 0)
        close(fd);
    return used;
}

/* Number of the first page, by the MADT (ACPI 5.2.12): each processor that Hairline keeps has
   become a structure that says so (root/host/hide.c). 0: there is none. */
static uint64_t find_page(void)
{
    enum { FIRST = 44, OEM = 0x80 };
    static uint8_t table[65536];
    size_t size = read_some(PROCESSORS, table, sizeof(table));
    for (size_t at = FIRST; at + 8 <= size && table[at + 1] >= 2; at += table[at + 1]) {
        uint32_t page;
        memcpy(&page, table + at + 4, sizeof(page));
        if (table[at] == OEM && memcmp(table + at + 2, BOOT_LINE, 2) == 0)
            return page;
    }
    return 0;
}

bool pages_open(struct pages *pages)
{
    /* The lock is the same file's, whichever device it goes by. */
    *pages =
        (struct pages){.device = "/dev/hairline", .fd = open(PROCESSORS, O_RDONLY | O_CLOEXEC)};
    if (pages_map(pages, 0))
        return true;
    pages_unmap(pages);
    uint64_t page = find_page();
    pages->device = "/dev/mem";
    if (page)
        pages_map(pages, page * PAGE);
    return page != 0;
}

void pages_close(struct pages *pages)
{
    pages_unmap(pages);
    if (pages->fd >= 0)
        close(pages->fd);
    pages->fd = -1;
}

void pages_drop(const struct pages *pages) { pages->at->answer_tail = pages->at->answer_head; }

size_t pages_read(const struct pages *pages, char *to, size_t size, uint64_t until)
{
    struct vm_control *c = pages->at;
    for (;;) {
        uint32_t n = ring_read(c->answer, CONTROL_ANSWER, &c->answer_head, &c->answer_tail, to,
                               (uint32_t)size);
        if (n || host_now_ms() >= until)
            return n;
        usleep(LOOK_US);
    }
}

bool pages_write(const struct pages *pages, const char *text, uint64_t until)
{
    struct vm_control *c = pages->at;
    for (;;) {
        text += ring_write(c->ask, CONTROL_ASK, &c->ask_head, &c->ask_tail, text,
                           (uint32_t)strlen(text));
        if (!*text || host_now_ms() >= until)
            return !*text;
        usleep(LOOK_US);
    }
}
