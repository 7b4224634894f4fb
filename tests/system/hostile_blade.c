/*
 * A server of volumes by ATA over Ethernet, in the place of vblade and called as it is:
 *   vblade [-s] [-r] -m MAC SHELF SLOT CARD FILE
 * The volume's name, FILE's last part, says how it misbehaves:
 *   late    answers after a second
 *   short   what is read is one byte too short
 *   error   says that it failed
 *   other   before each answer come others, with other tags, senders, commands, volumes
 *   swap    what is read is the block beside it
 *   crash   ends at each tenth request
 *   hang    answers its first twenty requests
 *   wild    each answer has changed bits, any length, and comes up to four times
 *   flood   sends frames that nobody asked for, to its client and to all, from the tenth request on
 * Any other name: it behaves.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define AOE     0x88a2
#define HEADER  36u
#define SECTOR  512u
#define LARGEST 9014u

enum {
    FROM = 6,
    FLAGS = 14,
    SHELF = 16,
    SLOT = 18,
    COMMAND = 19,
    TAG = 20,
    COUNT = 26,
    ATA = 27,
    LBA = 28
};
enum { READ = 0x24, WRITE = 0x34, FLUSH = 0xe7, IDENTIFY = 0xec };

static int wire, file;
static uint8_t own[6], client[6];
static uint64_t sectors;
static uint32_t asked; /* reads and writes */
static const char *kind;

static bool is(const char *name) { return strcmp(kind, name) == 0; }

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void send_frame(const uint8_t *frame, size_t size)
{
    ssize_t sent = send(wire, frame, size < 60 ? 60 : size, 0);
    (void)sent; /* one that is lost is asked for again */
}

/* ---- right answers ---------------------------------------------------------------- */

static uint64_t lba_of(const uint8_t *frame)
{
    uint64_t lba = 0;
    memcpy(&lba, frame + LBA, 6);
    return lba;
}

/* Make the right answer in the frame's place; its bytes. */
static size_t answer(uint8_t *frame)
{
    uint8_t command = frame[ATA], count = frame[COUNT];
    off_t at = (off_t)((lba_of(frame) ^ (is("swap") ? 8 : 0)) * SECTOR);
    size_t size = 0;
    frame[FLAGS] |= 8;
    frame[ATA] = 0x40;
    memcpy(frame, frame + FROM, 6);
    memcpy(frame + FROM, own, 6);
    if (command == IDENTIFY) {
        size = SECTOR;
        memset(frame + HEADER, 0, SECTOR);
        memcpy(frame + HEADER + 200, &sectors, sizeof sectors);
    } else if (command == READ) {
        size = count * SECTOR;
        if (pread(file, frame + HEADER, size, at) != (ssize_t)size)
            frame[ATA] = 0x41;
    } else if (command == WRITE) {
        at = (off_t)(lba_of(frame) * SECTOR);
        if (pwrite(file, frame + HEADER, count * SECTOR, at) != (ssize_t)(count * SECTOR))
            frame[ATA] = 0x41;
    } else if (command != FLUSH) {
        frame[ATA] = 0x41;
    }
    return HEADER + size;
}

/* ---- wrong ones --------------------------------------------------------------------- */

static void send_others(const uint8_t *right, size_t size)
{
    static const struct {
        uint8_t at, bits;
    } changed[] = {{TAG, 1},       {TAG + 3, 0x80}, {FROM + 5, 1}, {FLAGS, 8},
                   {SHELF + 1, 1}, {SLOT, 1},       {COMMAND, 1}};
    uint8_t frame[LARGEST];
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++) {
        memcpy(frame, right, size);
        memset(frame + HEADER, 0xbd, size - HEADER);
        frame[changed[i].at] ^= changed[i].bits;
        send_frame(frame, size);
    }
}

static void send_wild(const uint8_t *right, size_t size)
{
    uint8_t frame[LARGEST];
    for (long times = random() % 4; times >= 0; times--) {
        memcpy(frame, right, size);
        for (long bits = random() % 8; bits > 0; bits--)
            frame[FLAGS + random() % (long)(size - FLAGS)] ^= (uint8_t)(1u << random() % 8);
        send_frame(frame, random() % 2 ? size : (size_t)(random() % LARGEST));
    }
}

static void flood(void)
{
    static uint8_t frame[LARGEST];
    memcpy(frame + FROM, own, 6);
    frame[12] = AOE >> 8;
    frame[13] = AOE & 0xff;
    frame[FLAGS] = 0x18;
    for (uint32_t i = 0;; i++) {
        memcpy(frame, client, 6);
        if (i % 4 == 0)
            memset(frame, 0xff, 6);
        memcpy(frame + TAG, &i, sizeof i);
        send_frame(frame, i % 2 ? LARGEST : 60);
    }
}

static void begin_flood(void)
{
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0)
        flood();
}

/* What this volume's server does at a request, before anything else. False: it does not answer. */
static bool at_request(void)
{
    asked++;
    if (is("late"))
        sleep(1);
    if (is("crash") && asked % 10 == 0)
        exit(1);
    if (is("flood") && asked == 10)
        begin_flood();
    return !is("hang") || asked <= 20;
}

static void respond(uint8_t *frame)
{
    bool moves = frame[ATA] == READ || frame[ATA] == WRITE, reads = frame[ATA] == READ;
    if (moves && !at_request())
        return;
    size_t size = answer(frame);
    if (is("short") && reads)
        size--;
    if (is("error") && moves)
        frame[FLAGS] |= 4;
    if (is("other") && moves)
        send_others(frame, size);
    if (is("wild") && moves)
        send_wild(frame, size);
    else
        send_frame(frame, size);
}

/* ---- listening ------------------------------------------------------------------------ */

static void open_wire(const char *card)
{
    struct ifreq request = {0};
    int size = 4 << 20;
    wire = socket(AF_PACKET, SOCK_RAW, htons(AOE));
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", card);
    if (wire < 0 || ioctl(wire, SIOCGIFHWADDR, &request) < 0)
        fail(card);
    memcpy(own, request.ifr_hwaddr.sa_data, sizeof own);
    if (ioctl(wire, SIOCGIFINDEX, &request) < 0)
        fail(card);
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = htons(AOE), .sll_ifindex = request.ifr_ifindex};
    if (bind(wire, (struct sockaddr *)&address, sizeof address) < 0 ||
        setsockopt(wire, SOL_SOCKET, SO_RCVBUF, &size, sizeof size) < 0)
        fail("bind");
}

static void open_file(const char *path)
{
    struct stat status;
    file = open(path, O_RDWR);
    if (file < 0 || fstat(file, &status) < 0)
        fail(path);
    sectors = (uint64_t)status.st_size / SECTOR;
    kind = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
}

/* A frame that is sent again because the answer is late is not answered twice: its tag was. */
static bool is_new(const uint8_t *frame)
{
    static uint8_t last[4];
    bool same = is("late") && memcmp(last, frame + TAG, sizeof last) == 0;
    memcpy(last, frame + TAG, sizeof last);
    return !same;
}

static void serve(uint32_t shelf, uint32_t slot)
{
    static uint8_t frame[LARGEST + 2];
    for (;;) {
        ssize_t size = recv(wire, frame, sizeof frame, 0);
        if (size < (ssize_t)HEADER || frame[FLAGS] & 8 || frame[COMMAND] != 0 ||
            (uint32_t)(frame[SHELF] << 8 | frame[SHELF + 1]) != shelf || frame[SLOT] != slot ||
            frame[COUNT] * SECTOR > LARGEST - HEADER)
            continue;
        memcpy(client, frame + FROM, sizeof client);
        if (is_new(frame))
            respond(frame);
    }
}

int main(int argc, char **argv)
{
    while (getopt(argc, argv, "srm:") != -1)
        ;
    if (argc - optind != 4)
        return 2;
    open_file(argv[optind + 3]);
    open_wire(argv[optind + 2]);
    serve((uint32_t)atoi(argv[optind]), (uint32_t)atoi(argv[optind + 1]));
}
