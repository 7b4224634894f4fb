/*
 * Intel VMX: a VMCS is an array by field, of which its frame holds only which one it is. The
 * processors refuse what SDM3 24.11, 26 and 30 refuse. See model.h.
 */
#include "test.h"
#include "model.h"
#include <core.h>
#include <vmcs.h>

enum { REVISION = 0x1234, VMCSS = 64, FIELDS = 0x8000, LEAVES = 512, NOBODY = -1 };
enum { NEVER_WRITTEN = 0xa5 };

static struct vmcs {
    uint64_t pa;
    int core; /* on which it is active */
    bool launched;
    uint64_t field[FIELDS];
    bool written[FIELDS];
} vmcss[VMCSS];

/* What a core may still know of nested tables: leaves that it may have used since its last INVEPT.
 */
static struct known {
    uint32_t count;
    uint64_t pa, cr[3]; /* of whom: what it translated by when it left */
    const uint64_t *at[LEAVES];
    uint64_t leaf[LEAVES];
} known[MACHINE_CORES];

static int self(void) { return (int)(machine.core - cores); }

/* ---- capabilities (SDM3 A): a processor of today that fixes no more than it must ---- */
uint64_t model_vmx_capability(uint32_t msr)
{
    static const uint64_t value[17] = {[0x0] = 1ull << 55 | 6ull << 50 | 1024ull << 32 | REVISION,
                                       [0x1] = 0xff00000016,
                                       [0x2] = 0xfff9fffe0401e172,
                                       [0x3] = 0x1ffffff00036dff,
                                       [0x4] = 0x3ffff000011ff,
                                       [0x6] = 0x80000021,
                                       [0x7] = 0xffffffff,
                                       [0x8] = 0x2000,
                                       [0x9] = 0x1ff7fff,
                                       [0xb] = 0x5fffff00000000,
                                       [0xc] = 0xf0106734141,
                                       [0xd] = 0xff00000016,
                                       [0xe] = 0xfff9fffe04006172,
                                       [0xf] = 0x1ffffff00036dfb,
                                       [0x10] = 0x3ffff000011fb};
    return value[(msr - MSR_VMX_BASIC) % 17];
}

/* ---- the VMCS ---- */
static struct vmcs *vmcs_at(uint64_t pa)
{
    const uint32_t *frame = cpu_pool_address(pa);
    uint32_t number = frame[2] - 1;
    return number < VMCSS && vmcss[number].pa == pa ? &vmcss[number] : NULL;
}

/* One that is not there yet: its frame holds anything. One of the same address is over. */
static struct vmcs *vmcs_new(uint64_t pa)
{
    uint32_t at = VMCSS;
    for (uint32_t i = VMCSS; i > 0; i--)
        if (vmcss[i - 1].pa == pa || (vmcss[i - 1].pa == 0 && (at == VMCSS || vmcss[at].pa != pa)))
            at = i - 1;
    if (at == VMCSS) {
        model_refuse("VMCLEAR", pa, "the model has no more of them");
        return &vmcss[0];
    }
    if (vmcss[at].pa && vmcss[at].core != NOBODY)
        model_refuse("VMCLEAR", pa, "its frame was freed while a core had it");
    memset(&vmcss[at], NEVER_WRITTEN, sizeof vmcss[at]);
    memset(vmcss[at].written, 0, sizeof vmcss[at].written);
    vmcss[at].pa = pa;
    vmcss[at].core = NOBODY;
    vmcss[at].launched = false;
    ((uint32_t *)cpu_pool_address(pa))[2] = at + 1;
    return &vmcss[at];
}

static bool is_region(const char *what, uint64_t pa)
{
    bool page = pa && !(pa & 0xfff0000000000fff);
    if (!page)
        model_refuse(what, pa, "this is no page");
    else if ((*(const uint32_t *)cpu_pool_address(pa) & 0x7fffffff) != REVISION)
        model_refuse(what, pa, "it has another revision (SDM3 24.2)");
    else
        return true;
    return false;
}

static void check_root(const char *what)
{
    if (!machine_cpu()->vmxon)
        model_refuse(what, 0, "this core is not in VMX operation");
}

bool machine_vmxon(uint64_t pa)
{
    struct processor *p = machine_cpu();
    if (!(p->cr4 & CR4_VMXE) || (machine_rdmsr(MSR_FEATURE_CONTROL) & 5) != 5)
        model_refuse("VMXON", pa, "CR4.VMXE is off, or the MSR does not allow it (SDM3 23.7)");
    if (p->vmxon || !is_region("VMXON", pa))
        return false;
    for (unsigned i = 0; i < MACHINE_CORES; i++)
        if (machine.cpu[i].vmxon == pa)
            model_refuse("VMXON", pa, "another core has this region");
    p->vmxon = pa;
    return true;
}

bool machine_vmclear(uint64_t pa)
{
    check_root("VMCLEAR");
    if (!pa || pa & 0xfff || pa == machine_cpu()->vmxon) {
        model_refuse("VMCLEAR", pa, "this is no VMCS");
        return false;
    }
    struct vmcs *v = vmcs_at(pa);
    v = v ? v : vmcs_new(pa);
    if (v->core != NOBODY && v->core != self()) {
        model_refuse("VMCLEAR", pa, "it is active on another core (SDM3 24.11.1)");
        return false;
    }
    v->core = NOBODY;
    v->launched = false;
    if (machine_cpu()->vmcs == pa)
        machine_cpu()->vmcs = 0;
    return true;
}

bool machine_vmptrld(uint64_t pa)
{
    check_root("VMPTRLD");
    if (!is_region("VMPTRLD", pa) || pa == machine_cpu()->vmxon)
        return false;
    struct vmcs *v = vmcs_at(pa);
    if (!v) {
        model_refuse("VMPTRLD", pa, "it was not cleared first (SDM3 24.11.3)");
        return false;
    }
    if (v->core != NOBODY && v->core != self()) {
        model_refuse("VMPTRLD", pa, "it is active on another core (SDM3 24.11.1)");
        return false;
    }
    if (machine_cpu()->vmcs && machine_cpu()->vmcs != pa)
        model_refuse("VMPTRLD", pa, "the one before stays active, and its frame may be freed");
    v->core = self();
    machine_cpu()->vmcs = pa;
    return true;
}

static const struct {
    uint16_t first, last; /* in steps of 2 */
} there[] = {
    {0x0000, 0x0000}, {0x0800, 0x080e}, {0x0c00, 0x0c0c}, {0x2000, 0x2004}, {0x2010, 0x2010},
    {0x201a, 0x201a}, {0x2400, 0x2400}, {0x2800, 0x2806}, {0x2c00, 0x2c02}, {0x4000, 0x401e},
    {0x4400, 0x440e}, {0x4800, 0x482a}, {0x4c00, 0x4c00}, {0x6000, 0x600e}, {0x6400, 0x640a},
    {0x6800, 0x6826}, {0x6c00, 0x6c16},
};

static bool exists(uint64_t field)
{
    for (unsigned i = 0; i < COUNT(there); i++)
        if (field >= there[i].first && field <= there[i].last && field % 2 == 0)
            return true;
    return false;
}

static bool is_read_only(uint64_t field) { return (field >> 10 & 3) == 1; }

static uint64_t in_width(uint64_t field, uint64_t v)
{
    static const uint64_t mask[4] = {0xffff, ~0ull, 0xffffffff, ~0ull};
    return v & mask[field >> 13 & 3];
}

/* The current one, for an access to `field`. */
static struct vmcs *current_vmcs(const char *what, uint64_t field)
{
    static struct vmcs nothing;
    uint64_t pa = machine_cpu()->vmcs;
    struct vmcs *v = pa ? vmcs_at(pa) : NULL;
    if (!v)
        model_refuse(what, field, pa ? "the frame was written to" : "there is no current VMCS");
    else if (!exists(field))
        model_refuse(what, field, "there is no such field");
    else
        return v;
    return &nothing;
}

bool machine_vmwrite(uint64_t field, uint64_t value)
{
    struct vmcs *v = current_vmcs("VMWRITE", field);
    if (is_read_only(field))
        model_refuse("VMWRITE", field, "the field is for reading only");
    if (value != in_width(field, value) && (field >> 13 & 3) != 2)
        model_refuse("VMWRITE", field, "the value is wider than the field");
    v->field[field % FIELDS] = in_width(field, value);
    v->written[field % FIELDS] = true;
    return true;
}

uint64_t machine_vmread(uint64_t field)
{
    const struct vmcs *v = current_vmcs("VMREAD", field);
    return in_width(field, v->field[field % FIELDS]);
}

uint64_t model_vmcs(uint64_t pa, uint64_t field)
{
    const struct vmcs *v = vmcs_at(pa);
    assert_true(v && exists(field));
    return in_width(field, v->field[field % FIELDS]);
}

void model_vmcs_set(uint64_t pa, uint64_t field, uint64_t value)
{
    struct vmcs *v = vmcs_at(pa);
    assert_true(v && exists(field));
    v->field[field % FIELDS] = in_width(field, value);
    v->written[field % FIELDS] = true;
}

/* ---- nested tables ---- */
bool machine_invept(void)
{
    check_root("INVEPT");
    known[self()].count = 0;
    known[self()].pa = 0;
    return true;
}

static void learn(const uint64_t *table, unsigned level)
{
    struct known *k = &known[self()];
    for (unsigned i = 0; i < 512; i++) {
        uint64_t e = table[i];
        if (!(e & 7))
            continue;
        if (level && !(e & 0x80))
            learn(cpu_pool_address(e & 0xffffffffff000), level - 1);
        else if (k->count < LEAVES)
            k->at[k->count] = &table[i], k->leaf[k->count++] = e;
    }
}

static const uint16_t paging[] = {VMCS_CR0, VMCS_CR3, VMCS_CR4};

/* What the guest may reach by what the core knows, and by its table no more. */
static void check_translations(const struct vmcs *v)
{
    struct known *k = &known[self()];
    for (uint32_t i = 0; i < k->count; i++)
        if (*k->at[i] != k->leaf[i])
            model_refuse("an entry", v->pa, "translations are stale (SDM3 28.3.3)");
    for (unsigned i = 0; i < COUNT(paging); i++)
        if (k->pa && (k->pa != v->pa || k->cr[i] != v->field[paging[i]]))
            model_refuse("an entry", v->pa, "the VPID has another's translations, or older ones");
    k->count = 0;
    learn(cpu_pool_address(v->field[VMCS_EPTP] & 0xffffffffff000), 3);
}

/* ---- entries (SDM3 26.2) ---- */
static void check_fixed(const struct vmcs *v, uint64_t field, uint32_t msr, const char *name)
{
    uint64_t allowed = model_vmx_capability(msr), is = v->field[field];
    if ((uint32_t)allowed & ~is || is & ~(allowed >> 32))
        model_refuse(name, is, "the processor does not allow these controls (SDM3 A)");
}

static void check_controls(const struct vmcs *v)
{
    static const uint16_t zero[] = {VMCS_CR3_TARGETS, VMCS_EXIT_STORES, VMCS_EXIT_LOADS,
                                    VMCS_ENTRY_LOADS};
    check_fixed(v, VMCS_PIN, 0x48d, "pin controls");
    check_fixed(v, VMCS_PRIMARY, 0x48e, "primary controls");
    check_fixed(v, VMCS_SECONDARY, MSR_VMX_SECONDARY, "secondary controls");
    check_fixed(v, VMCS_EXIT, 0x48f, "exit controls");
    check_fixed(v, VMCS_ENTRY, 0x490, "entry controls");
    for (unsigned i = 0; i < COUNT(zero); i++)
        if (v->field[zero[i]])
            model_refuse("an entry", zero[i], "there is no such list");
    if (v->field[VMCS_PRIMARY] & PRIMARY_NMI_WINDOW && !(v->field[VMCS_PIN] & PIN_VIRTUAL_NMIS))
        model_refuse("an entry", 0, "an NMI window without virtual NMIs");
    if (!v->field[VMCS_VPID] != !(v->field[VMCS_SECONDARY] & SECONDARY_VPID))
        model_refuse("an entry", v->pa, "VPID 0 is the kernel's (SDM3 26.2.1.1)");
    if ((v->field[VMCS_EPTP] & 0xfff) != 0x1e || v->field[VMCS_LINK] != ~0ull)
        model_refuse("an entry", v->field[VMCS_EPTP], "EPTP or the link is none");
}

/* SDM3 26.2.2 to 26.2.4: the kernel, as after the exit. */
static void check_host(const struct vmcs *v)
{
    const struct core *c = machine.core;
    const struct processor *p = machine_cpu();
    if (v->field[VMCS_HOST_CR0] != (p->cr0 | CR0_TS) || v->field[VMCS_HOST_CR4] != p->cr4 ||
        v->field[VMCS_HOST_CR3] != c->cr3)
        model_refuse("an entry", v->pa, "the kernel's control registers are others");
    if (v->field[VMCS_HOST_EFER] != machine_rdmsr(MSR_EFER) ||
        v->field[VMCS_HOST_PAT] != machine_rdmsr(MSR_PAT))
        model_refuse("an entry", v->pa, "the kernel's EFER or PAT are others");
    if (v->field[VMCS_HOST_GS_BASE] != (uint64_t)c || v->field[VMCS_HOST_RSP] != c->stack_top ||
        v->field[VMCS_HOST_TR_BASE] != (uint64_t)&c->tss ||
        v->field[VMCS_HOST_GDTR_BASE] != (uint64_t)c->gdt ||
        v->field[VMCS_HOST_IDTR_BASE] != core_idt())
        model_refuse("an entry", v->pa, "the kernel's stack or tables are another core's");
    if (v->field[VMCS_HOST_CS] != SEL_KERNEL_CODE || v->field[VMCS_HOST_TR] != SEL_TSS)
        model_refuse("an entry", v->pa, "the kernel's selectors are others");
}

/* All but what the VMM may have left out: the guest's segments. */
static void check_written(const struct vmcs *v)
{
    for (uint64_t f = 0; f < FIELDS; f += 2) {
        bool segment = (f >= 0x800 && f <= 0x80e) || (f >= 0x4800 && f <= 0x4822) ||
                       (f >= 0x6806 && f <= 0x6818) || (f >= 0x6008 && f <= 0x600e) ||
                       f == 0x2000 || f == 0x2002 || f == 0x401c || f == 0x4828 ||
                       f == VMCS_INJECT_ERROR || f == VMCS_INJECT_LENGTH;
        if (exists(f) && !is_read_only(f) && !segment && !v->written[f])
            model_refuse("an entry", f, "the field was never written (SDM3 24.11.4)");
    }
}

/* SDM3 26.2.1.3, 26.3.1.5: what the kernel makes of an event, whoever wants it. */
static void check_event(const struct vmcs *v)
{
    uint64_t e = v->field[VMCS_INJECT], type = e & INJECT_TYPE, b = v->field[VMCS_BLOCKING];
    if (!(e & INJECT_VALID))
        return;
    if (e & INJECT_ERROR && !(v->field[VMCS_CR0] & CR0_PE))
        model_refuse("an entry", e, "an error code in real mode");
    if (b & BLOCKING_INTR) /* of exceptions: with RFLAGS.TF, unless a trap is pending (XSA-308) */
        model_refuse("an entry", e, "it comes in the shadow of STI or MOV SS");
    if (type == 0 && !(v->field[VMCS_RFLAGS] & RFLAGS_IF))
        model_refuse("an entry", e, "an interrupt for a guest with IF clear");
    if ((type == 0 || type == INJECT_NMI) && v->field[VMCS_PENDING_DEBUG])
        model_refuse("an entry", e, "the trap that is pending is forgotten (SDM3 26.7.3)");
    if (type == INJECT_NMI && b & BLOCKING_NMI)
        model_refuse("an entry", e, "NMIs are blocked");
    if (type >= 4 << 8 && (v->field[VMCS_INJECT_LENGTH] - 1 > 14))
        model_refuse("an entry", e, "an INT without a length");
}

void model_vmx_enter(bool resume)
{
    struct vmcs *v = current_vmcs("an entry", VMCS_PIN);
    struct core *c = machine.core;
    const struct ec *ec = c->current;
    if (ec->vmcb_pa != v->pa || v->core != self())
        model_refuse("an entry", v->pa, "another's VMCS is current");
    if (v->launched != resume)
        model_refuse("an entry", v->pa, "VMLAUNCH wants a clear VMCS, VMRESUME a launched one");
    check_controls(v);
    check_host(v);
    if (!resume)
        check_written(v);
    if (!(v->field[VMCS_CR0] & CR0_NE) || !(v->field[VMCS_CR4] & CR4_VMXE))
        model_refuse("an entry", v->field[VMCS_CR4], "CR0.NE and CR4.VMXE are fixed (SDM3 23.8)");
    if (v->field[VMCS_CR0] & (CR0_CD | CR0_NW))
        model_refuse("an entry", v->field[VMCS_CR0], "the caches would stay off (SDM3 27.5.1)");
    if (!(v->field[VMCS_CR4] & CR4_MCE))
        model_refuse("an entry", v->field[VMCS_CR4], "a machine check would be a shutdown (26.8)");
    if (!(v->field[VMCS_EFER] & EFER_LMA) != !(v->field[VMCS_ENTRY] & ENTRY_LONG_MODE))
        model_refuse("an entry", v->field[VMCS_EFER], "LMA is not what the entry asks for");
    if (v->field[VMCS_INJECT] & INJECT_VALID && v->field[VMCS_PRIMARY] & PRIMARY_INTR_WINDOW &&
        (v->field[VMCS_INJECT] & INJECT_TYPE) == 0)
        model_refuse("an entry", v->pa, "an interrupt goes in, and a window is asked for");
    check_event(v);
    check_translations(v);
    v->field[VMCS_VECTORING] = 0; /* until a test says what the next exit interrupted */
    v->launched = true;
}

/* SDM3 27.2 */
void model_vmx_exit(uint64_t reason)
{
    struct vmcs *v = current_vmcs("an exit", VMCS_REASON);
    struct processor *p = machine_cpu();
    if (reason & VMX_FAILED)
        v->launched = false; /* whether it is, is not told: a VMCLEAR makes it clear */
    v->field[VMCS_REASON] = reason;
    if (!(reason & VMX_FAILED)) {
        v->field[VMCS_INJECT] &= ~INJECT_VALID;
        v->field[VMCS_ENTRY] &= ~(uint64_t)ENTRY_LONG_MODE;
        v->field[VMCS_ENTRY] |= v->field[VMCS_EFER] & EFER_LMA ? ENTRY_LONG_MODE : 0;
    }
    known[self()].pa = v->pa;
    for (unsigned i = 0; i < COUNT(paging); i++)
        known[self()].cr[i] = v->field[paging[i]];
    p->cr0 = v->field[VMCS_HOST_CR0];
    p->cr4 = v->field[VMCS_HOST_CR4];
}

/* After the end of all guests. */
const char *model_vmx_left(void)
{
    for (unsigned i = 0; i < MACHINE_CORES; i++)
        if (machine.cpu[i].vmcs)
            return "a core has the VMCS of a guest that is gone";
    return NULL;
}
