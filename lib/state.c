/*
 * Whole register states, for the first instruction of a vCPU.
 */
#include <lib/hw/cpu.h>
#include <lib/state.h>
#include <lib/string.h>

#define ATTR_DATA16   0x093u
#define ATTR_CODE16   0x09bu
#define ATTR_DATA32   0xc93u
#define ATTR_CODE32   0xc9bu
#define ATTR_CODE64   0xa9bu
#define ATTR_LDT      0x082u
#define ATTR_TSS      0x08bu
#define CR0_PE        0x1u
#define CR0_ET        0x10u
#define CR0_PG        0x80000000u
#define CR4_PAE       0x20u
#define EFER_LONG     0x500u /* LME, LMA */
#define SELECTOR_CODE 0x10u
#define SELECTOR_DATA 0x18u
#define ALL_GROUPS                                                                                 \
    (MTD_ACDB | MTD_REST | MTD_RIP | MTD_FLAGS | MTD_INJECT | MTD_TIMER | MTD_CONTROL | MTD_SEGS | \
     MTD_SYSCALL | MTD_EFER | MTD_CR8)

static struct segment segment(uint16_t selector, uint16_t attrib, uint32_t limit, uint64_t base)
{
    return (struct segment){.selector = selector, .attrib = attrib, .limit = limit, .base = base};
}

/* The state after INIT (APM2 table 14-1), but with the given code and data segments. */
static struct exit_state *state_fresh(struct utcb *u, struct segment code, struct segment data)
{
    struct exit_state *s = &u->exit;
    memset(s, 0, sizeof(*s));
    u->mtd = ALL_GROUPS;
    for (uint32_t i = SEG_ES; i <= SEG_GS; i++)
        s->seg[i] = i == SEG_CS ? code : data;
    s->seg[SEG_GDTR] = s->seg[SEG_IDTR] = segment(0, 0, 0xffff, 0);
    s->seg[SEG_LDTR] = segment(0, ATTR_LDT, 0xffff, 0);
    s->seg[SEG_TR] = segment(0, ATTR_TSS, 0xffff, 0);
    s->rflags = 2;
    s->cr0 = CR0_ET;
    s->xcr0 = 1;
    s->dr6 = 0xffff0ff0;
    s->dr7 = 0x400;
    s->pat = PAT_RESET;
    return s;
}

void state_real(struct utcb *u, uint32_t sipi)
{
    state_fresh(u, segment((uint16_t)(sipi << 8), ATTR_CODE16, 0xffff, sipi << 12),
                segment(0, ATTR_DATA16, 0xffff, 0));
}

void state_boot(struct utcb *u, const struct vm_boot *b)
{
    struct segment code =
        segment(SELECTOR_CODE, b->long_mode ? ATTR_CODE64 : ATTR_CODE32, 0xffffffff, 0);
    struct exit_state *s = state_fresh(u, code, segment(SELECTOR_DATA, ATTR_DATA32, 0xffffffff, 0));
    s->cr0 |= CR0_PE;
    if (b->long_mode) {
        s->cr0 |= CR0_PG;
        s->cr4 = CR4_PAE;
        s->efer = EFER_LONG;
        s->cr3 = b->cr3;
    }
    s->seg[SEG_GDTR] = segment(0, 0, BOOT_GDT_SIZE - 1, b->gdt);
    s->rip = b->rip;
    s->rax = b->rax;
    s->rbx = b->rbx;
    s->rsi = b->rsi;
}
