/* Execution contexts. */
#include <cap.h>
#include <core.h>
#include <ec.h>
#include <ptab.h>
#include <vcpu.h>

uint64_t ec_new_thread(struct pd *pd, uint8_t core, enum ec_kind kind, uint64_t utcb_va,
                       uint64_t entry, uint64_t sp, struct ec **out)
{
    struct ec *ec = object_new(OBJ_EC, pd);
    struct utcb *utcb = ec ? frame_new(pd) : 0;
    uint64_t s = utcb ? ptab_map(pd, utcb_va, cpu_pa(utcb) >> PAGE_SHIFT, 1, MR_READ | MR_WRITE)
                      : (uint64_t)NO_MEMORY;
    if (s) {
        if (utcb)
            frame_free(utcb);
        if (ec)
            object_free(ec);
        return s == BUSY ? bad(BUSY, 2) : s;
    }
    ec->kind = (uint8_t)kind;
    ec->core = core;
    ec->pd = pd;
    ec->way = WAY_SYSRET;
    ec->state = kind == EC_HANDLER ? STATE_IDLE : STATE_NEW;
    ec->utcb = utcb;
    ec->utcb_va = utcb_va;
    ec->sp = sp;
    ec->regs.rip = entry;
    ec->regs.rsp = sp;
    ec->regs.rsi = utcb_va;
    ec->regs.rflags =
        RFLAGS_FIXED | (core_owned(&cores[core]) ? 0 : RFLAGS_IF) | (pd->ports ? RFLAGS_IOPL : 0);
    *out = ec;
    return OK;
}

uint64_t ec_create(struct pd *self, uint64_t who, uint64_t utcb, uint64_t events, uint64_t entry,
                   uint64_t sp, uint64_t *value)
{
    void *o;
    uint64_t core = who >> 32 & 0xffff, kind = who >> 48;
    uint64_t s = cap_prepare(self, who, &o);
    if (s)
        return s;
    struct pd *pd = o;
    if (core >= core_count || !(pd->allowed >> core & 1) || kind > EC_VCPU ||
        (kind == EC_VCPU) != (pd->kind == PD_GUEST))
        return bad(BAD_ARG, 1);
    if (pd->disengaged || pd->sealed) /* what it has is nobody else's to look at */
        return bad(BUSY, 1);
    uint64_t stands_for = pd->ports ? core_count : 1;
    if (kind == EC_VCPU ? utcb >= stands_for : utcb & (PAGE_SIZE - 1) || utcb >= USER_END)
        return bad(BAD_ARG, 2);
    if (events > pd->slots - EVENT_COUNT)
        return bad(BAD_ARG, 3);
    if (entry >= USER_END)
        return bad(BAD_ARG, 4);
    if (sp >= USER_END)
        return bad(BAD_ARG, 5);
    struct ec *ec = 0;
    if (kind != EC_VCPU)
        s = ec_new_thread(pd, (uint8_t)core, (enum ec_kind)kind, utcb, entry, sp, &ec);
    else
        ec = vcpu_new(pd, (uint8_t)core, value);
    if (ec && kind == EC_VCPU && pd->ports)
        cores[utcb].installed = ec, pd->cores |= 1ull << utcb;
    if (!ec)
        return s ? s : (uint64_t)NO_MEMORY;
    ec->events = (uint16_t)events;
    return cap_hand_out(self, who, ec);
}

uint64_t ec_recall(struct pd *self, uint64_t slot)
{
    void *o;
    uint64_t s = cap_find(self, slot, OBJ_EC, EC_RECALL, 1, &o);
    if (s)
        return s;
    struct ec *ec = o;
    if (ec->kind != EC_VCPU)
        return bad(BAD_CAP, 1);
    if (ec->core == cpu_core()->number)
        vcpu_recall_local(ec);
    else if (!(__atomic_fetch_or(&ec->hazard, HAZARD_RECALL, __ATOMIC_ACQ_REL) & HAZARD_RECALL))
        core_post(ec);
    return OK;
}

uint64_t ec_unmap(struct ec *ec)
{
    if (!ec->utcb || ec->pd->head.dead)
        return 0;
    ptab_unmap(ec->pd, ec->utcb_va, 1);
    return core_users(ec->pd);
}

void ec_release(struct ec *ec)
{
    if (ec->kind == EC_VCPU)
        vcpu_release(ec);
    else if (!ec->pd->head.dead)
        frame_free(ec->utcb);
}
