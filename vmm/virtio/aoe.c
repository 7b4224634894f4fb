/* See aoe.h. Numbers: the AoE protocol's document (AoEr11), and ATA8-ACS. */
#include <lan/lan_ring.h>
#include <lib/format.h>
#include <lib/string.h>
#include <vmm/virtio/aoe.h>

#define SECTOR       512u
#define PIECE        8192u /* bytes of data in a frame */
#define WINDOW       16u   /* frames of a volume on their way: what the server has room for */
#define VOLUMES      8u    /* power of two, as WINDOW is: both are parts of a tag */
#define BURST        4u    /* of them sent in one go */
#define FRAME_MIN    60u   /* bytes, without the checksum (IEEE 802.3) */
#define FIRST_WAIT   3     /* 1/2^3 of a second for an answer, then twice as long, */
#define LONGEST_WAIT 0     /* up to a second */
#define READY_ROUNDS 16u   /* answers of a ready server: by then each volume has answered, too */
#define SAY_AFTER    8u    /* looks, about a second */
#define READY_SHELF  255u  /* 255.CLIENT: there as soon as all volumes are */

enum { ETHERTYPE_AOE = 0xa288 }; /* 88A2h in network order */
enum { VERSION_1 = 0x10, IS_ANSWER = 8, IS_ERROR = 4 };
enum { COMMAND_ATA = 0 };
enum { ATA_LBA48 = 0x40, ATA_TO_DISK = 1 };
enum { ATA_ERROR = 1, ATA_FAULT = 0x20 }; /* status */
static const uint8_t ata_command[] = {
    [AOE_READ] = 0x24, [AOE_WRITE] = 0x34, [AOE_FLUSH] = 0xe7, [AOE_IDENTIFY] = 0xec};

#define HAVE_DATA (1u << AOE_READ | 1u << AOE_IDENTIFY) /* their answers */

struct aoe_header { /* all in network order, but for the LBA */
    uint8_t to[6], from[6];
    uint16_t type;
    uint8_t flags, error;
    uint16_t shelf;
    uint8_t slot, command;
    uint32_t tag;                               /* comes back as it is */
    uint8_t ata_flags, ata_error, sectors, ata; /* command or status */
    uint8_t lba[6], reserved[2];
};
_Static_assert(sizeof(struct aoe_header) == 36, "as on the wire");

/* A request of the guest's, kept here: the guest may change its chain meanwhile. */
struct request {
    enum aoe_command command;
    bool failed;
    uint64_t sector, size;
    uint32_t pieces, next, flying; /* in all; the first that was not sent yet; on their way */
};

/* A frame on its way. */
struct flight {
    bool busy;
    uint32_t tag, request, index; /* whose, and which piece of it */
    uint64_t due, wait; /* TSC of its next sending; ticks between that and the one after it */
};

static struct volume {
    uint64_t sectors;
    uint16_t shelf; /* in network order */
    uint8_t slot;
    uint32_t first,
        begun;       /* requests, free-running: the oldest, of the queue's next chain; the next */
    uint32_t flying; /* frames on their way */
    const struct virtqueue *queue; /* while aoe_go is at it, */
    const struct chain *chain;     /* and its next chain     */
    struct request request[AOE_REQUESTS];
    struct flight flight[WINDOW];
} volumes[VOLUMES]; /* one behind the disks': whether the server is ready */
_Static_assert(PLAN_DISKS < VOLUMES, "and places that are never used, for tags");

static struct lock aoe_lock;      /* of the rings and of `volumes` */
static uint32_t last_tag, flying; /* frames on their way, of all volumes */
static uint8_t identity[SECTOR];

#define STORE_PORT ((void *)(VMM_LANPORT + LINK_STORE * LAN_PORT_STRIDE))
static struct lan_ring *to_server(void) { return lan_to_switch(STORE_PORT); }
static struct lan_ring *from_server(void) { return lan_to_vm(STORE_PORT, PLAN_MTU_MAX); }

static void write_mac(uint8_t mac[6], uint32_t vm)
{
    for (uint32_t i = 0; i < 6; i++)
        mac[i] = plan_mac_byte(vm, config()->plan.store, i);
}

/* ---- sending ------------------------------------------------------------------ */

static struct request *request(struct volume *v, uint32_t number)
{
    return &v->request[number % AOE_REQUESTS];
}

/* Bytes of data of piece `index`. */
static uint32_t piece_size(const struct request *r, uint32_t index)
{
    uint64_t left = r->size - (uint64_t)PIECE * index;
    return (uint32_t)(left < PIECE ? left : PIECE);
}

/* The chain of a frame's request as it is now, in `room` if it is not the queue's next. */
static const struct chain *chain_of(const struct volume *v, const struct flight *f,
                                    struct chain *room)
{
    if (f->request == v->first)
        return v->chain;
    ignore(virtqueue_peek(v->queue, f->request - v->first, room));
    return room;
}

static void write_header(const struct volume *v, const struct request *r, const struct flight *f,
                         struct aoe_header *h)
{
    uint32_t size = piece_size(r, f->index);
    uint64_t lba = r->sector + (uint64_t)f->index * (PIECE / SECTOR);
    *h = (struct aoe_header){.type = ETHERTYPE_AOE,
                             .flags = VERSION_1,
                             .shelf = v->shelf,
                             .slot = v->slot,
                             .command = COMMAND_ATA,
                             .tag = f->tag,
                             .sectors = (uint8_t)(size / SECTOR),
                             .ata = ata_command[r->command]};
    write_mac(h->to, config()->plan.server - 1);
    write_mac(h->from, plan_index(&config()->plan));
    if (r->command > AOE_WRITE)
        return;
    h->ata_flags = (uint8_t)(ATA_LBA48 | (r->command == AOE_WRITE ? ATA_TO_DISK : 0));
    for (uint32_t i = 0; i < sizeof(h->lba); i++)
        h->lba[i] = (uint8_t)(lba >> 8 * i);
}

/* False: the switch has not made room yet; it rings the worker's bell when it has. */
static bool send(struct volume *v, struct flight *f)
{
    const struct request *r = request(v, f->request);
    uint32_t data = r->command == AOE_WRITE ? piece_size(r, f->index) : 0;
    uint32_t size = data ? (uint32_t)sizeof(struct aoe_header) + data : FRAME_MIN;
    struct lan_frame *frame = lan_ring_free(to_server(), PLAN_MTU_MAX, size);
    struct aoe_header h;
    struct chain room;
    if (!frame)
        return false;
    write_header(v, r, f, &h);
    memset(&frame->offload, 0, sizeof frame->offload + FRAME_MIN);
    memcpy(frame->data, &h, sizeof h);
    if (data)
        virtqueue_read(chain_of(v, f, &room), AOE_WRITE_AT + (uint64_t)PIECE * f->index,
                       frame->data + sizeof h, data);
    frame->size = size;
    f->due = tsc() + f->wait;
    if (lan_ring_publish(to_server(), PLAN_MTU_MAX, size))
        bell_ring(VMM_SM_LAN + LINK_STORE);
    return true;
}

static void send_again(struct volume *v)
{
    for (struct flight *f = v->flight; f < v->flight + WINDOW; f++)
        if (f->busy && tsc() >= f->due) {
            f->wait = f->wait < config()->tsc_hz >> LONGEST_WAIT ? 2 * f->wait : f->wait;
            ignore(send(v, f)); /* no room: at the next look */
        }
}

/* A number that no frame of late had: behind it are the volume and its flight, by which an answer
   finds them. */
static uint32_t new_tag(const struct volume *v, const struct flight *f)
{
    last_tag += VOLUMES * WINDOW;
    return last_tag + (uint32_t)(v - volumes) * WINDOW + (uint32_t)(f - v->flight);
}

/* Send what the window has room for, BURST frames at most. True: there is more to send now. */
static bool send_new(struct volume *v)
{
    uint32_t sent = 0, n = v->first;
    for (struct flight *f = v->flight; f < v->flight + WINDOW; f++) {
        while (n != v->begun && request(v, n)->next == request(v, n)->pieces)
            n++;
        if (n == v->begun)
            break;
        if (f->busy)
            continue;
        if (sent == BURST)
            return true;
        *f = (struct flight){.tag = new_tag(v, f),
                             .request = n,
                             .index = request(v, n)->next,
                             .wait = config()->tsc_hz >> FIRST_WAIT};
        if (!send(v, f))
            break;
        f->busy = true;
        flying++;
        request(v, n)->flying++;
        request(v, n)->next++;
        sent++;
    }
    return false;
}

/* ---- answers ------------------------------------------------------------------ */

/* The frame of which a copy of its first bytes, `h`, is the answer, and its volume; NULL: of none.
 */
static struct flight *asked(const struct aoe_header *h, uint32_t size, struct volume **volume)
{
    uint8_t mac[6];
    write_mac(mac, config()->plan.server - 1);
    if (size < sizeof *h || memcmp(h->from, mac, sizeof mac) != 0 || h->type != ETHERTYPE_AOE ||
        (h->flags & ~IS_ERROR) != (VERSION_1 | IS_ANSWER) || h->command != COMMAND_ATA)
        return NULL;
    struct volume *v = &volumes[h->tag / WINDOW % VOLUMES];
    struct flight *f = &v->flight[h->tag % WINDOW];
    if (!f->busy || f->tag != h->tag || h->slot != v->slot || h->shelf != v->shelf)
        return NULL;
    *volume = v;
    return f;
}

/* Give up the frames of request `number`, and what was not sent of it. */
static void drop(struct volume *v, uint32_t number)
{
    struct request *r = request(v, number);
    for (struct flight *f = v->flight; f < v->flight + WINDOW; f++)
        if (f->busy && f->request == number) {
            f->busy = false;
            flying--;
            r->flying--;
        }
    r->next = r->pieces;
}

/* `f` is answered by `frame`, of `size` bytes with the header `h`. */
static void answer(struct volume *v, struct flight *f, const struct aoe_header *h,
                   const struct lan_frame *frame, uint32_t size)
{
    struct request *r = request(v, f->request);
    uint32_t data = 1u << r->command & HAVE_DATA ? piece_size(r, f->index) : 0;
    f->busy = false;
    flying--;
    r->flying--;
    if (h->flags & IS_ERROR || h->ata & (ATA_ERROR | ATA_FAULT) || size - sizeof *h < data) {
        r->failed = true;
        drop(v, f->request);
    } else if (r->command == AOE_READ) {
        struct chain room;
        virtqueue_write(chain_of(v, f, &room), (uint64_t)PIECE * f->index, frame->data + sizeof *h,
                        data);
    } else if (r->command == AOE_IDENTIFY) {
        memcpy(identity, frame->data + sizeof *h, sizeof identity);
    }
}

/* Take what has come for `mine`, and what is for nobody. What is the answer to another volume's
   frame is left to that one's turn, because only then its chain is known. */
static void take(struct volume *mine)
{
    for (uint32_t taken = 0; taken < LAN_SLOTS; taken++) {
        const struct lan_frame *frame = lan_ring_oldest(from_server(), PLAN_MTU_MAX);
        struct aoe_header h;
        struct volume *v = mine;
        if (!frame)
            return;
        uint32_t size = lan_frame_size(frame);
        /* TOCTOU: the switch may write there; once, and checked */
        memcpy(&h, frame->data, sizeof h);
        struct flight *f = asked(&h, size, &v);
        if (v != mine)
            break;
        if (f)
            answer(v, f, &h, frame, size);
        else
            from_server()->unread++;
        /* No bell: the switch does not wait for space. */
        lan_ring_retire(from_server(), PLAN_MTU_MAX, size);
    }
    bell_ring(VMM_SM_WORK); /* another's turn; or bounded, whatever a hostile server sends */
}

/* ---- requests ----------------------------------------------------------------- */

uint32_t aoe_begun(uint32_t disk) { return volumes[disk].begun - volumes[disk].first; }

void aoe_begin(uint32_t disk, enum aoe_command command, uint64_t sector, uint64_t size)
{
    struct volume *v = &volumes[disk];
    uint64_t pieces = command == AOE_FLUSH ? 1 : (size + PIECE - 1) / PIECE;
    lock_take(&aoe_lock, NO_VCPU);
    *request(v, v->begun++) = (struct request){
        .command = command, .sector = sector, .size = size, .pieces = (uint32_t)pieces};
    lock_give(&aoe_lock);
}

enum aoe_result aoe_go(uint32_t disk, const struct virtqueue *q, const struct chain *c)
{
    struct volume *v = &volumes[disk];
    enum aoe_result result = AOE_WAIT;
    lock_take(&aoe_lock, NO_VCPU);
    v->queue = q;
    v->chain = c;
    take(v);
    send_again(v);
    if (send_new(v))
        result = AOE_MORE;
    const struct request *r = request(v, v->first);
    if (v->first != v->begun && r->next == r->pieces && !r->flying) {
        result = r->failed ? AOE_FAILED : AOE_DONE;
        v->first++;
    }
    lock_give(&aoe_lock);
    return result;
}

void aoe_drop(uint32_t disk)
{
    struct volume *v = &volumes[disk];
    lock_take(&aoe_lock, NO_VCPU);
    for (; v->first != v->begun; v->first++)
        drop(v, v->first);
    lock_give(&aoe_lock);
}

bool aoe_waits(void) { return __atomic_load_n(&flying, __ATOMIC_RELAXED); }
uint64_t aoe_sectors(uint32_t disk) { return volumes[disk].sectors; }

/* ---- finding ------------------------------------------------------------------ */

/* Words 100 to 103: the sectors that 48-bit addresses reach (ATA8-ACS 7.16.7). */
static uint64_t identified_sectors(void)
{
    uint64_t sectors;
    memcpy(&sectors, identity + 200, sizeof sectors);
    return sectors;
}

static void identify(uint32_t disk) { aoe_begin(disk, AOE_IDENTIFY, 0, SECTOR); }

static void say_waiting(uint32_t disk)
{
    char line[96];
    format(line, sizeof line, "hairline: waits for volume %s of its service VM\n",
           config()->plan.disk[disk].volume);
    console_write(line, (uint32_t)strlen(line));
}

/* Ask for volume `disk`, and each time whether the server is ready. */
static bool find_volume(uint32_t disk)
{
    uint32_t rounds = 0, looks = 0;
    identify(disk);
    identify(PLAN_DISKS);
    while (rounds < READY_ROUNDS) {
        enum aoe_result mine = aoe_go(disk, NULL, NULL);
        if (mine == AOE_DONE) {
            volumes[disk].sectors = identified_sectors();
            return volumes[disk].sectors > 0;
        }
        if (mine == AOE_FAILED)
            identify(disk);
        looks++;
        if (looks == SAY_AFTER)
            say_waiting(disk);
        bell_wait(VMM_SM_NAP, tsc() + (config()->tsc_hz >> FIRST_WAIT));
        enum aoe_result ready = aoe_go(PLAN_DISKS, NULL, NULL);
        if (ready == AOE_DONE || ready == AOE_FAILED) {
            rounds += ready == AOE_DONE;
            identify(PLAN_DISKS);
        }
    }
    return false;
}

const char *aoe_find(void)
{
    const struct plan_vm *plan = &config()->plan;
    /* What was sent in an earlier life is not answered in this one. */
    last_tag = (uint32_t)tsc() & ~(VOLUMES * WINDOW - 1);
    for (uint32_t i = 0; i <= PLAN_DISKS; i++) {
        aoe_drop(i);
        uint32_t self = plan_index(plan) + 1, shelf = i < PLAN_DISKS ? self : READY_SHELF;
        volumes[i].shelf = __builtin_bswap16((uint16_t)shelf);
        volumes[i].slot = (uint8_t)(i < PLAN_DISKS ? i : self);
    }
    for (uint32_t i = 0; i < plan->disks; i++) {
        if (plan->disk[i].flags != DISK_VOLUME)
            continue;
        __atomic_store_n(&control()->state, VM_WAITING, __ATOMIC_RELEASE);
        bell_ring(VMM_SM_ROOT);
        bool found = find_volume(i);
        aoe_drop(i);
        aoe_drop(PLAN_DISKS);
        if (!found)
            return plan->disk[i].volume;
    }
    return NULL;
}
