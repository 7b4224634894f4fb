#include <boot/uefi/handover.h>
#include <cli/host.h>
#include <cli/image/efi.h>
#include <lib/sha256.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* PE/COFF: places in the header; where the optional header begins in a file that has "PE\0\0" at
   its word 60. */
enum {
    PE_AT = 60,
    SECTIONS_AT = 6,
    OPTIONAL_SIZE_AT = 20,
    OPTIONAL_AT = 24,
    IMAGE_SIZE_AT = OPTIONAL_AT + 56,
    SUBSYSTEM_AT = OPTIONAL_AT + 68,
    CHECKSUM_AT = OPTIONAL_AT + 64,
    SIGNATURES_AT = OPTIONAL_AT + 112 + 4 * 8 /* data directory 4: address, bytes */
};
#define DRIVER    11u /* subsystem: EFI boot service driver */
#define PAGE      4096u
#define SECTOR    512u
#define READ_DATA 0x40000040u /* initialized data, readable */
#define HEAD      PAGE        /* bytes of all headers: boot/uefi/pe.S */

/* Shim starts nothing without it (SBAT.md of shim): how old versions are shut out. */
static const char sbat[] = "sbat,1,SBAT Version,sbat,1,"
                           "https://github.com/rhboot/shim/blob/main/SBAT.md\n"
                           "hairline,1,Hairline,hairline,0.1,hairline\n";

struct pe_section {
    char name[8];
    uint32_t size, at, file_size, file_at, unused[3], flags;
};

struct pe {
    FILE *file;
    uint8_t head[HEAD];
    uint32_t at, file_at; /* the end so far, in memory and in the file */
    uint8_t pcr11[EFI_DIGEST];
};

bool efi_map(const char *path, struct efi_bytes *bytes)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0)
        return host_fail("cannot read %s: %s", path, strerror(errno));
    void *at = status.st_size ? mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0)
                              : MAP_FAILED;
    close(fd);
    if (at == MAP_FAILED)
        return host_fail("%s is empty: name another file", path);
    *bytes = (struct efi_bytes){at, (uint64_t)status.st_size};
    return true;
}

/* ---- measurements ----------------------------------------------------------------- */

static void digest_of(const void *bytes, uint64_t size, uint8_t digest[EFI_DIGEST])
{
    struct sha256 s;
    sha256_begin(&s);
    sha256_add(&s, bytes, size);
    sha256_end(&s, digest);
}

/* A PCR becomes the digest of itself and the new one (TPM 2.0, part 1, 17.2). */
static void extend(uint8_t pcr[EFI_DIGEST], const uint8_t digest[EFI_DIGEST])
{
    uint8_t both[2 * EFI_DIGEST];
    memcpy(both, pcr, EFI_DIGEST);
    memcpy(both + EFI_DIGEST, digest, EFI_DIGEST);
    digest_of(both, sizeof(both), pcr);
}

static void extend_by(uint8_t pcr[EFI_DIGEST], const void *bytes, uint64_t size)
{
    uint8_t digest[EFI_DIGEST];
    digest_of(bytes, size, digest);
    extend(pcr, digest);
}

/* Authenticode: all of an unsigned file but its checksum and the place that tells of signatures.
   Its sections fill it and are in order. */
static void authenticode(const struct efi_bytes *file, uint8_t digest[EFI_DIGEST])
{
    uint32_t pe = *(const uint32_t *)(const void *)(file->at + PE_AT), checksum = pe + CHECKSUM_AT,
             signatures = pe + SIGNATURES_AT;
    struct sha256 s;
    sha256_begin(&s);
    sha256_add(&s, file->at, checksum);
    sha256_add(&s, file->at + checksum + 4, signatures - checksum - 4);
    sha256_add(&s, file->at + signatures + 8, file->size - signatures - 8);
    sha256_end(&s, digest);
}

/* What firmware measures when it starts the file (TCG PC Client Firmware Profile 3.3.4, as EDK II
   does it): a boot option to PCR 4, a driver to PCR 2. */
static void expect_file(struct efi_expected *expected, const struct efi_bytes *file, bool driver)
{
    static const char calling[] = "Calling EFI Application from Boot Option";
    static const uint8_t separator[4] = {0}; /* ends what comes before a boot option's own code */
    uint8_t digest[EFI_DIGEST], *pcr = expected->pcr[expected->count].value;
    expected->pcr[expected->count++].number = driver ? 2 : 4;
    memset(pcr, 0, EFI_DIGEST);
    authenticode(file, digest);
    if (driver) {
        extend(pcr, digest);
        extend_by(pcr, separator, sizeof(separator));
        return;
    }
    extend_by(pcr, calling, sizeof(calling) - 1);
    extend_by(pcr, separator, sizeof(separator));
    extend(pcr, digest);
}

void efi_show(const struct efi_expected *expected)
{
    for (uint32_t i = 0; i < expected->count; i++) {
        printf("PCR %-2u sha256 ", expected->pcr[i].number);
        for (unsigned byte = 0; byte < EFI_DIGEST; byte++)
            printf("%02x", expected->pcr[i].value[byte]);
        putchar('\n');
    }
}

/* ---- the file ---------------------------------------------------------------------- */

static uint32_t *word_at(struct pe *pe, uint32_t place)
{
    uint32_t start = *(uint32_t *)(void *)(pe->head + PE_AT);
    return (uint32_t *)(void *)(pe->head + start + place);
}

static bool put(struct pe *pe, const void *bytes, uint64_t size)
{
    static const uint8_t zeros[SECTOR];
    uint64_t rest = -size % SECTOR;
    pe->file_at += (uint32_t)(size + rest);
    return host_goes_on() && fwrite(bytes, 1, size, pe->file) == size &&
           fwrite(zeros, 1, rest, pe->file) == rest;
}

static struct pe_section *new_section(struct pe *pe)
{
    uint16_t *count = (uint16_t *)word_at(pe, SECTIONS_AT);
    uint32_t start = *(uint32_t *)(void *)(pe->head + PE_AT);
    uint16_t *optional_size = (uint16_t *)word_at(pe, OPTIONAL_SIZE_AT);
    struct pe_section *table = (void *)(pe->head + start + OPTIONAL_AT + *optional_size);
    if ((uint8_t *)(table + *count + 1) > pe->head + HEAD)
        return NULL;
    return &table[(*count)++];
}

/* Add a section. One whose name begins with a dot is for others than the stub, and not measured. */
static bool add_section(struct pe *pe, const char *name, const struct efi_bytes *bytes)
{
    struct pe_section *s = new_section(pe);
    if (!s || bytes->size > 0x80000000u - pe->file_at)
        return host_fail("the plan's files are too many or too large for one of 2 GiB: use smaller "
                         "ones");
    memcpy(s->name, name, strnlen(name, sizeof(s->name)));
    s->size = (uint32_t)bytes->size;
    s->at = pe->at;
    s->file_at = pe->file_at;
    s->file_size = (uint32_t)((bytes->size + SECTOR - 1) / SECTOR * SECTOR);
    s->flags = READ_DATA;
    pe->at += (s->size + PAGE - 1) / PAGE * PAGE;
    if (name[0] != '.')
        extend_by(pe->pcr11, bytes->at, bytes->size);
    if (!put(pe, bytes->at, bytes->size))
        return host_fail("cannot write the section %s: %s", name, strerror(errno));
    return true;
}

static bool efi_add_file(struct pe *pe, const char *name, const char *path)
{
    struct efi_bytes bytes;
    return efi_map(path, &bytes) && add_section(pe, name, &bytes);
}

static bool add_kernel(struct pe *pe, uint32_t more)
{
    struct efi_bytes bytes;
    return efi_kernel(host_image("hairline64.elf"), more, &bytes) &&
           add_section(pe, UEFI_KERNEL, &bytes);
}

static bool add_stub(struct pe *pe)
{
    struct efi_bytes stub;
    if (!efi_map(host_image("uefi.efi"), &stub))
        return false;
    memcpy(pe->head, stub.at, HEAD);
    pe->at = *word_at(pe, IMAGE_SIZE_AT);
    if (!put(pe, stub.at, stub.size))
        return host_fail("cannot write the stub: %s", strerror(errno));
    return true;
}

/* The headers were written as the stub's; now as they have become. */
static bool finish(struct pe *pe)
{
    *word_at(pe, IMAGE_SIZE_AT) = pe->at;
    bool written = fseek(pe->file, 0, SEEK_SET) == 0 &&
                   fwrite(pe->head, 1, HEAD, pe->file) == HEAD && fflush(pe->file) == 0;
    if (!written)
        return host_fail("cannot write the header: %s", strerror(errno));
    return true;
}

/* What the stub needs to know before it looks at the plan; firmware measures it with the file. */
static bool add_host(struct pe *pe, const struct job *job)
{
    const struct uefi_host host = {.cores = job->kept_cores,
                                   .serial = job->host_disk.path ? HOST_SERIAL : 0,
                                   .memory = job->kept_memory};
    uint16_t *subsystem = (uint16_t *)word_at(pe, SUBSYSTEM_AT);
    *subsystem = DRIVER;
    return add_section(pe, UEFI_HOST, &(struct efi_bytes){(const uint8_t *)&host, sizeof(host)});
}

static bool efi_fill(struct pe *pe, const struct job *job, const char *folder)
{
    static const char *const programs[] = {"root", "vmm", "lan"};
    bool ok =
        add_stub(pe) &&
        add_section(pe, ".sbat", &(struct efi_bytes){(const uint8_t *)sbat, sizeof(sbat) - 1}) &&
        add_kernel(pe, job->more_frames);
    for (size_t i = 0; ok && i < sizeof(programs) / sizeof(programs[0]); i++)
        ok = efi_add_file(pe, programs[i], host_text("%s/%s.img", folder, programs[i]));
    ok = ok && efi_add_file(pe, "plan", host_text("%s/plan.bin", folder));
    for (uint32_t i = 0; ok && i < job->plan.files; i++)
        ok = efi_add_file(pe, host_text("f%u", i), host_text("%s/f%u", folder, i));
    ok = ok && (!job->kept_cores || add_host(pe, job));
    return ok && finish(pe);
}

static bool sign(const char *file, const char *key, const char *cert)
{
    const char *argv[] = {"sbsign", "--key", key, "--cert", cert, "--output", file, file, NULL};
    const char *const needed[] = {key, cert};
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
        if (access(needed[i], R_OK) != 0)
            return host_fail("cannot read %s: %s", needed[i], strerror(errno));
    const char *log = host_text("%s.log", file);
    bool done = host_run_into(log, argv) == 0;
    unlink(log);
    if (!done)
        return host_fail("sbsign could not sign with %s and %s: name PEM files of an RSA key and "
                         "its certificate",
                         key, cert);
    return true;
}

static bool write_new(const struct job *job, const char *folder, const char *path,
                      struct efi_expected *expected)
{
    static struct pe pe;
    struct efi_bytes whole;
    pe = (struct pe){.file = fopen(path, "w+e")};
    if (!pe.file)
        return host_fail("cannot write %s: %s", path, strerror(errno));
    bool filled = efi_fill(&pe, job, folder), closed = fclose(pe.file) == 0;
    if (filled && !closed)
        host_fail("cannot write %s: %s", path, strerror(errno));
    if (!filled || !closed || !efi_map(path, &whole))
        return false;
    *expected = (struct efi_expected){0};
    expect_file(expected, &whole, job->kept_cores != 0);
    if (!job->kept_cores) {
        expected->pcr[expected->count].number = 11;
        memcpy(expected->pcr[expected->count++].value, pe.pcr11, EFI_DIGEST);
    }
    return true;
}

bool efi_write(const struct job *job, const char *folder, const char *file, const char *key,
               const char *cert, struct efi_expected *expected)
{
    const char *new = host_text("%s.new", file);
    bool ok = write_new(job, folder, new, expected) && (!key || sign(new, key, cert));
    if (ok && rename(new, file) != 0)
        ok = host_fail("cannot write %s: %s", file, strerror(errno));
    if (!ok)
        unlink(new);
    return ok;
}

/* Does it have our first measured section, and are all within it? */
static bool is_whole(const struct efi_bytes *file)
{
    const uint8_t *pe = file->at + *(const uint32_t *)(const void *)(file->at + PE_AT);
    if (pe + OPTIONAL_AT > file->at + HEAD || memcmp(pe, "PE\0\0", 4) != 0)
        return false;
    uint16_t count = *(const uint16_t *)(const void *)(pe + SECTIONS_AT),
             optional = *(const uint16_t *)(const void *)(pe + OPTIONAL_SIZE_AT);
    const struct pe_section *s = (const void *)(pe + OPTIONAL_AT + optional), *end = s + count;
    if ((const uint8_t *)end > file->at + HEAD)
        return false;
    bool found = false;
    for (; s < end; s++) {
        if ((uint64_t)s->file_at + s->file_size > file->size)
            return false;
        found = found || strncmp(s->name, UEFI_KERNEL, sizeof(s->name)) == 0;
    }
    return found;
}

bool efi_is_ours(const char *path)
{
    struct stat status;
    struct efi_bytes file;
    bool can_be = access(path, R_OK) == 0 && stat(path, &status) == 0 && S_ISREG(status.st_mode) &&
                  status.st_size >= HEAD;
    if (!can_be || !efi_map(path, &file) ||
        *(const uint32_t *)(const void *)(file.at + PE_AT) > HEAD)
        return false;
    bool ours = is_whole(&file);
    munmap((void *)(uintptr_t)file.at, file.size);
    return ours;
}
