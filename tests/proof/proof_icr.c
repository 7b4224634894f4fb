/*
 * The ICR filter: whatever of 2^64 values a guest writes, whatever cores there
 * are and whoever owns them, what is sent goes to cores of the guest's own VM
 * that the value names, as a fixed interrupt or an NMI, and that are the
 * guest's already; and each of those gets it. Two cores: the one that sends, and
 * any other.
 */
#include "small.h"

#define KERNEL_CORE_H    /* of a core, the filter looks at these three: the rest is too much to be \
                            indexed by the solver */
struct core {
    struct ec *volatile owner;
    struct ec *installed;
    uint32_t apic_id;
};
static struct core cores[MAX_CORES];
#define KERNEL_APIC_H /* the way out of the core is looked at here */
#define SEND_NMI      (4u << 8)
void apic_send(uint32_t apic_id, uint32_t what);
void core_post(struct ec *ec);
#include <icr.c>

static struct ec vcpu[MAX_CORES];
static struct pd mine, other;
static struct core *this_core;
static unsigned sent[MAX_CORES], posted[MAX_CORES];
static bool waits[MAX_CORES];  /* an NMI is on its way */
static bool starts[MAX_CORES]; /* INIT is at work      */
static uint64_t value;

static unsigned core_of(uint32_t apic_id)
{
    for (unsigned i = 0; i < MAX_CORES; i++)
        if (cores[i].apic_id == apic_id)
            return i;
    check(false); /* to nobody's core */
    return 0;
}

static bool is_ours(unsigned i)
{
    return cores[i].owner && vcpu[i].pd == &mine && vcpu[i].core_mode >= CORE_OWNED &&
           !vcpu[i].head.dead;
}

void apic_send(uint32_t apic_id, uint32_t what)
{
    unsigned i = core_of(apic_id), mode = value >> 8 & 7;
    check(is_ours(i));
    check(mode == 4 ? what == SEND_NMI : mode <= 1 && what >= 32 && what == (value & 0xff));
    sent[i]++;
}

/* The destination as APM2 16.5 and 16.14 have it: bits 19..18 a shorthand, 11 logical, 63..32 whom.
 */
static bool is_meant(unsigned i)
{
    uint32_t to = value >> 32, id = cores[i].apic_id, cluster = id / 16, member = id % 16;
    switch (value >> 18 & 3) {
    case 1: return &cores[i] == this_core;
    case 2: return true;
    case 3: return &cores[i] != this_core;
    default: break;
    }
    if (to == 0xffffffff)
        return true;
    return value & 0x800 ? to / 0x10000 == cluster && to & 1u << member : to == id;
}

static uint64_t write_anything(bool installed)
{
    mine.ports = installed;
    for (unsigned i = 0; i < MAX_CORES; i++) {
        cores[i].apic_id = (uint32_t)any();
        assume(cores[i].apic_id < 1u << 20);
        for (unsigned k = 0; k < i; k++)
            assume(cores[i].apic_id != cores[k].apic_id);
        vcpu[i].pd = any() & 1 ? &mine : &other;
        vcpu[i].core = (uint8_t)i;
        vcpu[i].core_mode = any() & 7;
        vcpu[i].head.dead = any() & 1;
        vcpu[i].state = any() & 7;
        waits[i] = any() & 1;
        starts[i] = installed && any() & 1;
        vcpu[i].hazard = (waits[i] ? HAZARD_NMI : 0) | (starts[i] ? HAZARD_INIT : 0);
        cores[i].owner = any() & 1 ? &vcpu[i] : 0;
        cores[i].installed = any() & 1 ? &vcpu[i] : 0;
    }
    mine.cores = any() & ((1u << MAX_CORES) -
                          1); /* where it has vCPUs, and so where it owns cores (vcpu_new) */
    for (unsigned i = 0; i < MAX_CORES; i++)
        assume((!cores[i].owner && !cores[i].installed) || vcpu[i].pd != &mine ||
               mine.cores >> i & 1);
    uint64_t self = any();
    assume(self < MAX_CORES && cores[self].owner && vcpu[self].pd == &mine);
    this_core = &cores[self];
    value = any();
    return self;
}

/* Who gets an interrupt or an NMI of it: those that it means, and no others. */
static void check_sent(void)
{
    uint64_t mode = value >> 8 & 7;
    bool valid = mode == 4 || (mode <= 1 && (value & 0xff) >= 32);
    unsigned all = 0, meant = 0;
    for (unsigned i = 0; i < MAX_CORES; i++) {
        bool wanted = valid && is_ours(i) && is_meant(i) &&
                      (mode != 4 || (vcpu[i].state != STATE_HALTED && !starts[i]));
        bool noted = vcpu[i].hazard & HAZARD_NMI;
        all += sent[i];
        meant += wanted;
        check(sent[i] <= wanted && noted == (waits[i] || (wanted && mode == 4)));
        check(mode == 1 ||
              sent[i] == (wanted && !(mode == 4 && waits[i]))); /* who noted it sends it */
    }
    check(mode != 1 || all == (meant != 0)); /* lowest priority: one of them */
}

void filter(void)
{
    uint64_t self = write_anything(false), mode = value >> 8 & 7;
    bool done = icr_write(&vcpu[self], value);
    check(done != ((mode == 5 || mode == 6) &&
                   vcpu[self].core_mode !=
                       CORE_DISENGAGED)); /* INIT, SIPI: the VMM's business while there is one */
    check_sent();
}

void core_post(struct ec *to)
{
    check(mine.ports && to->pd == &mine);
    posted[to - vcpu]++;
}

/* Of the installed system, INIT and start-up IPIs, too: each to those of its own processors that it
   means, a start-up IPI only while INIT is at work there. */
void installed(void)
{
    uint64_t self = write_anything(true), mode = value >> 8 & 7;
    check(icr_write(&vcpu[self], value));
    check_sent();
    for (unsigned i = 0; i < MAX_CORES; i++) {
        bool its = cores[i].installed && vcpu[i].pd == &mine && is_meant(i),
             takes = (mode == 5 && value & 0x4000) || (mode == 6 && starts[i]);
        check(posted[i] == (its && takes));
        check(!(vcpu[i].hazard & HAZARD_INIT) == !(starts[i] || posted[i]));
    }
}
