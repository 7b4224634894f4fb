/* The messages of a device: to where its guest said, and nowhere else. */
#include "devices.h"

struct counts {
    uint16_t a[2], b[2], other[2]; /* of guests 1 and 2 */
    uint64_t nmi[2];
};

static struct counts counts(void)
{
    struct counts c;
    for (uint32_t n = 1; n <= 2; n++) {
        c.a[n - 1] = guest_count(n, COUNT_A);
        c.b[n - 1] = guest_count(n, COUNT_B);
        c.other[n - 1] = guest_count(n, COUNT_OTHER);
        c.nmi[n - 1] = guest_nmis(n);
    }
    return c;
}

/* Send it: what has it changed? */
static struct counts send(uint64_t address, uint32_t data)
{
    struct counts before = counts(), after;
    edu_message(address, data);
    edu_interrupt();
    after = counts();
    for (uint32_t i = 0; i < 2; i++) {
        after.a[i] = (uint16_t)(after.a[i] - before.a[i]);
        after.b[i] = (uint16_t)(after.b[i] - before.b[i]);
        after.other[i] = (uint16_t)(after.other[i] - before.other[i]);
        after.nmi[i] -= before.nmi[i];
    }
    return after;
}

/* As docs/abi.md says of CALL_DV_IRQ's value. */
static struct counts send_value(uint64_t v)
{
    return kind == IOMMU_VTD ? send(0xfee00010 | (v & 0x7fff) << 5 | (v >> 15 & 1) << 2, 0)
                             : send(0xfee00000, (uint32_t)v);
}

static bool only(struct counts c, uint16_t a, uint16_t b)
{
    bool ok = c.a[0] == a && c.b[0] == b && !c.other[0] && !c.a[1] && !c.b[1] && !c.other[1] &&
              !c.nmi[0] && !c.nmi[1];
    if (!ok)
        kit_print("     guest 1: %u %u %u, %lu NMIs; guest 2: %u %u %u, %lu\n", c.a[0], c.b[0],
                  c.other[0], c.nmi[0], c.a[1], c.b[1], c.other[1], c.nmi[1]);
    return ok;
}

static uint64_t irq(uint64_t dv, uint64_t vcpu, uint64_t index, uint64_t vector)
{
    return dv_irq(dv, vcpu, index, vector).status;
}

static void irq_arguments(void)
{
    bool bad = delegate(SLOT_ROOT_PD, D_DV, SLOT_ROOT_PD, D_WEAK, RIGHT_DESTROY) != OK;
    bad |= wrong("right", irq(D_WEAK, D_VCPU + 1, 0, VECTOR_A), BAD_RIGHT, 1);
    kit_empty(D_WEAK);
    bad |= delegate(SLOT_ROOT_PD, D_VCPU + 1, SLOT_ROOT_PD, D_WEAK, EC_SETUP) != OK;
    bad |= wrong("vCPU's right", irq(D_DV, D_WEAK, 0, VECTOR_A), BAD_RIGHT, 1);
    kit_empty(D_WEAK);
    bad |= wrong("another's vCPU", irq(D_DV, D_VCPU + 2, 0, VECTOR_A), BAD_ARG, 1);
    bad |= wrong("a thread", irq(D_DV, SLOT_ROOT_EC, 0, VECTOR_A), BAD_RIGHT, 1);
    bad |= wrong("index", irq(D_DV, D_VCPU + 1, DV_IRQS, VECTOR_A), BAD_ARG, 2);
    bad |= wrong("index off", irq(D_DV, 0, DV_IRQS, 0), BAD_ARG, 2);
    bad |= wrong("vector", irq(D_DV, D_VCPU + 1, 0, 31), BAD_ARG, 2);
    bad |= wrong("vector", irq(D_DV, D_VCPU + 1, 0, 256), BAD_ARG, 2);
    kit_check("arguments of CALL_DV_IRQ", !bad);
}

/* Leaves interrupt 3 on: its value. */
static uint64_t arrive(void)
{
    struct result a = dv_irq(D_DV, D_VCPU + 1, 0, VECTOR_A),
                  b = dv_irq(D_DV, D_VCPU + 1, 3, VECTOR_B);
    bool ok = a.status == OK && b.status == OK;
    kit_check("a message arrives at its vector",
              ok && only(send_value(a.value), 1, 0) && only(send_value(b.value), 0, 1));
    ok = irq(D_DV, D_VCPU + 1, 0, VECTOR_B) == OK && only(send_value(a.value), 0, 1);
    kit_check("then at another", ok);
    kit_check("then nowhere", irq(D_DV, 0, 0, 0) == OK && only(send_value(a.value), 0, 0));
    return b.value;
}

/* Messages with the format of a machine without interrupt remapping: each core, all cores. */
static bool forge_plain(void)
{
    static const uint64_t to[] = {0xfee00000, 0xfee01000, 0xfee02000, 0xfee03000,
                                  0xfeeff000, 0xfee0100c, 0xfeeff00c};
    bool ok = true;
    for (uint32_t i = 0; i < sizeof(to) / sizeof(to[0]); i++)
        ok &= only(send(to[i], VECTOR_A), 0, 0) && only(send(to[i], 0x400), 0, 0) &&
              only(send(to[i], 0x4050), 0, 0);
    return ok;
}

/* All entries but those that are given (0 and `but`): of the whole table, of others' functions,
 * behind it. */
static bool forge_value(uint64_t but)
{
    bool ok = true;
    for (uint64_t v = 1; v < 0x800; v += v < 40 ? 1 : 37)
        ok &= v == but || only(send_value(v), 0, 0);
    return ok && (kind == IOMMU_AMDVI ||
                  (only(send_value(0x7fff), 0, 0) && only(send_value(0xffff), 0, 0) &&
                   only(send(0xfee00018, 16), 0, 0)));
}

static void forge(uint64_t mine)
{
    bool ok = dv_create(D_OTHER_DV, D_GUEST + 2, SLOT_ROOT_SYS, rid ^ 0x80, 0) == OK;
    for (uint64_t i = 0; i < DV_IRQS; i++)
        ok &= irq(D_OTHER_DV, D_VCPU + 2, i, VECTOR_A) == OK;
    kit_check("another function with interrupts", ok);
    if (kind == IOMMU_AMDVI)
        kit_check("plain messages are blocked", forge_plain());
    else /* it should not (VT-d 5.1.4): EIME is set and CFIS is not */
        kit_print("     not tested: QEMU 10.0 lets VT-d's compatibility format through\n");
    kit_check("entries of others are blocked", forge_value(mine));
    kit_check("its own still arrives", only(send_value(mine), 0, 1));
    if (kind == IOMMU_VTD) {
        has_fault(0);
        send_value(DV_IRQS);
        kit_check("a forged message is recorded", has_fault(DV_IRQS << PAGE_SHIFT));
    }
}

/* The core goes back to all; nothing may point to it. */
static void core_ends(uint64_t mine)
{
    bool bad = destroy(D_SC + 1) != OK;
    bad |= wrong("core", irq(D_DV, D_VCPU + 1, 3, VECTOR_B), BAD_CAP, 1);
    has_fault(0);
    bool ok = !bad && only(send_value(mine), 0, 0);
    kit_check("no interrupts for a core that is no longer the guest's",
              ok && has_fault(mine << PAGE_SHIFT));
}

void messages_test(void)
{
    irq_arguments();
    uint64_t mine = arrive();
    forge(mine);
    core_ends(mine);
}
