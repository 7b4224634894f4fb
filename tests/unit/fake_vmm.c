#include <stdlib.h>
#include <string.h>
#include <lan/switch.h>
#include <vmm/virtio/virtio.h>

struct fake fake;

uint64_t fake_sm_up(uint64_t sm)
{
    fake.bells[sm]++;
    return OK;
}

void switch_bell(uint32_t port) { fake_sm_up(LAN_SM_PORT + port); }
void switch_pause(void) {}

void pci_add(uint32_t slot, const uint8_t bytes[256]) { memcpy(fake.pci[slot], bytes, 256); }
uint32_t pci_memory(uint32_t slot) { return fake.bar1[slot] ? fake.bar1[slot] : PCI_MEM(slot); }
bool pci_msix_enabled(uint32_t slot) { return slot < PCI_SLOTS && !fake.msix_off; }
bool pci_msix_masked(uint32_t slot) { return slot < PCI_SLOTS && fake.msix_masked; }

void apic_send_msi(uint32_t address, uint32_t data, uint32_t self)
{
    (void)address, (void)self;
    fake.message[fake.messages++ % FAKE_LOG] = data;
}

uint32_t console_write(const char *data, uint32_t size)
{
    uint32_t n = size < fake.out_room ? size : fake.out_room;
    memcpy(fake.out + fake.out_size, data, n);
    fake.out_size += n;
    fake.out_room -= n;
    return n;
}

uint32_t console_read(char *data, uint32_t size)
{
    uint32_t n = size < fake.in_size ? size : fake.in_size;
    memcpy(data, fake.in, n);
    fake.in_size -= n;
    memmove(fake.in, fake.in + n, fake.in_size);
    return n;
}

/* The control line has the same bytes. */
bool fake_random(uint64_t *word)
{
    if (!fake.random)
        return false;
    fake.random--;
    *word = fake.random_word;
    fake.random_word += fake.random_step;
    return true;
}

uint32_t console_ask(const char *data, uint32_t size) { return console_write(data, size); }
uint32_t console_answer(char *data, uint32_t size) { return console_read(data, size); }

bool console_ready(void) { return fake.in_size; }
bool console_answered(void) { return fake.in_size; }
bool console_hears(enum console_device device) { return device == CONSOLE_VIRTIO && !fake.claimed; }
void console_wrote(enum console_device device, char last) { (void)device, (void)last; }

void fake_start(void) { fake_start_lan(PLAN_MTU); }

void fake_start_lan(uint16_t mtu)
{
    memset(&fake, 0, sizeof fake);
    fake.config = calloc(1, sizeof *fake.config);
    fake.config->tsc_hz = 1ull << 62; /* no exit is long; a test may change it */
    fake.control = calloc(1, sizeof *fake.control);
    fake.ram = calloc(1, FAKE_RAM);
    fake.msix = calloc(VMM_MSIX_PAGES, PAGE_SIZE);
    fake.lan = calloc(1, LAN_PORT_BYTES(mtu));
    fake.out_room = FAKE_LOG;
    fake.config->plan.memory = FAKE_RAM;
    fake.config->plan.lan = 1;
    fake.config->plan.mtu = mtu;
    for (uint32_t i = 0; i < 6; i++)
        fake.config->plan.mac[i] = plan_mac_byte(0, 1, i);
    fake.config->plan.disks = 2;
    fake.config->plan.disk[0].flags = DISK_VOLATILE;
    fake.config->plan.disk[1].flags = DISK_READONLY;
    for (uint32_t i = 0; i < 2; i++) {
        fake.disk[i] = malloc(FAKE_DISK);
        for (uint32_t b = 0; b < FAKE_DISK; b++)
            fake.disk[i][b] = (uint8_t)(b / 512 + b + i);
        fake.config->disk[i] = (struct vm_file){(uintptr_t)fake.disk[i], FAKE_DISK};
    }
    virtio_init();
    virtio_work(~0ull); /* what an earlier test left to do */
}

void fake_start_volumes(uint32_t volumes)
{
    memset(&fake, 0, sizeof fake);
    fake.config = calloc(1, sizeof *fake.config);
    fake.control = calloc(1, sizeof *fake.control);
    fake.ram = calloc(1, FAKE_RAM);
    fake.msix = calloc(VMM_MSIX_PAGES, PAGE_SIZE);
    fake.lan = calloc(1, LINK_STORE * LAN_PORT_STRIDE + LAN_PORT_BYTES(PLAN_MTU_MAX));
    fake.out_room = FAKE_LOG;
    fake.config->tsc_hz = 1ull << 50; /* an answer is never late; a test may change it */
    fake.config->plan.memory = FAKE_RAM;
    fake.config->plan.store = fake.config->plan.server = 1;
    for (uint32_t i = 0; i < 6; i++)
        fake.config->plan.mac[i] = plan_mac_byte(1, 0, i);
    fake.config->plan.disks = volumes;
    for (uint32_t i = 0; i < volumes; i++) {
        fake.config->plan.disk[i] = (struct plan_disk){PLAN_NO_FILE, DISK_VOLUME, "root"};
        fake.config->plan.disk[i].volume[0] = (char)('a' + i);
    }
}

void fake_stop(void)
{
    free(fake.config);
    free(fake.control);
    free(fake.ram);
    free(fake.msix);
    free(fake.lan);
    for (uint32_t i = 0; i < PLAN_DISKS; i++)
        free(fake.disk[i]);
}
