/* The part of the firmware's interface that the stub uses (UEFI 2.10; TCG EFI Protocol 1.0).
   Members that it does not use are words. */
#ifndef BOOT_UEFI_EFI_H
#define BOOT_UEFI_EFI_H

#include <stdbool.h>
#include <stdint.h>

#define EFIAPI __attribute__((ms_abi))

typedef uint64_t efi_status; /* 0: done */
#define EFI_UNSUPPORTED (1ull << 63 | 3)
typedef void *efi_handle;

struct efi_guid {
    uint32_t a;
    uint16_t b, c;
    uint8_t d[8];
};

enum { EFI_AT_ADDRESS = 2, EFI_BELOW = 1 }; /* 7.2.1 AllocatePages */

struct efi_boot_services { /* 4.4 */
    uint64_t header[3], tpl[2];
    efi_status(EFIAPI *allocate_pages)(int how, int type, uint64_t pages, uint64_t *at);
    uint64_t free_pages;
    efi_status(EFIAPI *memory_map)(uint64_t *size, void *map, uint64_t *key, uint64_t *step,
                                   uint32_t *version);
    uint64_t pools[2];
    efi_status(EFIAPI *create_event)(uint32_t type, uint64_t level, void *notify, void *context,
                                     void *event);
    uint64_t events[5], protocols[3];
    efi_status(EFIAPI *handle_protocol)(efi_handle, const struct efi_guid *, void *interface);
    uint64_t reserved, handles[4], images[2];
    efi_status(EFIAPI *exit)(efi_handle, efi_status, uint64_t size, uint16_t *why);
    uint64_t unload;
    efi_status(EFIAPI *exit_boot_services)(efi_handle, uint64_t key);
    uint64_t monotonic;
    efi_status(EFIAPI *stall)(uint64_t microseconds);
    efi_status(EFIAPI *set_watchdog)(uint64_t seconds, uint64_t code, uint64_t size, void *data);
    uint64_t drivers[2], opens[3], handle_lists[2];
    efi_status(EFIAPI *locate_protocol)(const struct efi_guid *, void *registration,
                                        void *interface);
};

struct efi_text_output { /* 12.4 */
    uint64_t reset;
    efi_status(EFIAPI *output)(struct efi_text_output *, const uint16_t *string);
};

struct efi_table { /* 4.6 */
    struct efi_guid guid;
    uint64_t at;
};

struct efi_system { /* 4.3 */
    uint64_t header[3], vendor, revision, input[2], output_handle;
    struct efi_text_output *output;
    uint64_t error[2], runtime;
    const struct efi_boot_services *boot;
    uint64_t tables;
    const struct efi_table *table;
};

struct efi_loaded_image { /* 9.1 */
    uint64_t revision, parent, system, device, path, reserved, options[2];
    const uint8_t *base;
    uint64_t size;
};

struct efi_graphics { /* 12.9: EFI_GRAPHICS_OUTPUT_PROTOCOL */
    uint64_t functions[3];
    const struct {
        uint32_t modes, mode;
        const struct {
            uint32_t version, width, height, format, masks[4], pixels_a_line;
        } * info;
        uint64_t info_size, base, size;
    } * mode;
};
enum { EFI_LAST_RGB = 1 }; /* formats up to it have 32 bits, of which the lower 24 are colours */

struct efi_event { /* TCG EFI 6.6.3: EFI_TCG2_EVENT */
    uint32_t size, header_size;
    uint16_t version;
    uint32_t pcr, type;
    char text[8];
} __attribute__((packed));

struct efi_tpm_facts { /* TCG EFI 6.4.4: EFI_TCG2_BOOT_SERVICE_CAPABILITY */
    uint8_t size, versions[4], padding[3];
    uint32_t hashes, logs;
    bool present;
    uint8_t more[19];
};

struct efi_tpm { /* TCG EFI 6.2: EFI_TCG2_PROTOCOL */
    efi_status(EFIAPI *get_facts)(struct efi_tpm *, struct efi_tpm_facts *);
    uint64_t get_log;
    efi_status(EFIAPI *measure)(struct efi_tpm *, uint64_t flags, uint64_t data, uint64_t size,
                                const struct efi_event *);
};

struct efi_mp { /* PI 1.8, II-13.4: EFI_MP_SERVICES_PROTOCOL */
    efi_status(EFIAPI *count)(struct efi_mp *, uint64_t *all, uint64_t *enabled);
    uint64_t get_info, start_all;
    efi_status(EFIAPI *start_one)(struct efi_mp *, void(EFIAPI *what)(void *), uint64_t number,
                                  void *event, uint64_t microseconds, void *argument, bool *done);
    uint64_t switch_boot, enable;
    efi_status(EFIAPI *who_am_i)(struct efi_mp *, uint64_t *number);
};

struct efi_section { /* PE/COFF, section table */
    char name[8];
    uint32_t size, at, file_size, file_at, unused[3], flags; /* at: from the image's base */
};

_Static_assert(__builtin_offsetof(struct efi_boot_services, allocate_pages) == 40 &&
                   __builtin_offsetof(struct efi_boot_services, memory_map) == 56 &&
                   __builtin_offsetof(struct efi_boot_services, handle_protocol) == 152 &&
                   __builtin_offsetof(struct efi_boot_services, exit_boot_services) == 232 &&
                   __builtin_offsetof(struct efi_boot_services, set_watchdog) == 256 &&
                   __builtin_offsetof(struct efi_boot_services, locate_protocol) == 320 &&
                   __builtin_offsetof(struct efi_system, output) == 64 &&
                   __builtin_offsetof(struct efi_system, boot) == 96 &&
                   __builtin_offsetof(struct efi_loaded_image, base) == 64 &&
                   __builtin_offsetof(struct efi_tpm_facts, present) == 16 &&
                   sizeof(struct efi_tpm_facts) == 36,
               "as the specifications number them");

#endif
