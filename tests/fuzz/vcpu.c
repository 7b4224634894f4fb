/*
 * A vCPU's state as its VMM sets it, in the kernel on the host: the input is
 * answers, any bytes of a state and any groups of it, and the exits between
 * them. What the kernel keeps of the VMCB for itself stays, and the object graph
 * is sound.
 */
#include "fuzz.h"
#include <invariant.h>
#include <rig_vcpu.h>

static void **nothing;
/* All of a state; not what ends the vCPU, halts it, or asks to be woken. */
#define MTD_GROUPS ((uint64_t)(uint32_t) ~(MTD_KILL | MTD_HALT | MTD_TIMER))
#define INTERCEPTS1                                                                                \
    (I1_INTR | I1_NMI | I1_INIT | I1_CPUID | I1_RSM | I1_INVD | I1_INVLPGA | I1_PORT | I1_MSR |    \
     I1_FREEZE | I1_SHUTDOWN)

static struct vmcb first_vmcb;
static struct regs first_regs;

/* The VM is made once; each input begins with its vCPU at its first exit. */
void fuzz_begin(void)
{
    rig_boot(nothing);
    rig_begin(nothing);
    start_vcpu(MTD_GROUPS);
    first_vmcb = *vmcb;
    first_regs = vcpu->regs;
}

static void begin(void)
{
    if (current() != handler)
        vm_exit(vcpu, EXIT_HLT);
    *vmcb = first_vmcb;
    vcpu->vcpu->step = STEP_NONE;
    vcpu->regs = first_regs;
    memset(x, 0, sizeof *x);
}

static void check(uint64_t iopm, uint64_t msrpm)
{
    const struct pd *guest = object_at(guest_pd);
    fuzz_must(vmcb->nested == 1 && vmcb->nested_cr3 == guest->table_pa,
              "the guest has its own memory, by nested tables");
    fuzz_must(vmcb->asid == 1 && vmcb->iopm_pa == iopm && vmcb->msrpm_pa == msrpm,
              "ports and MSRs are intercepted as they were");
    fuzz_must((vmcb->efer & EFER_SVME) && (vmcb->vintr & VINTR_MASKING),
              "the host's interrupts are the host's");
    fuzz_must((vmcb->intercept1 & INTERCEPTS1) == INTERCEPTS1 &&
                  (vmcb->intercept2 & I2_SVM) == I2_SVM,
              "what must exit exits");
    fuzz_must(!(vmcb->intercept_cr & ~(uint32_t)CR8_WRITE) && vmcb->cpl <= 3,
              "no other register is watched");
    fuzz_must(vcpu->vcpu->step != STEP_CR8 || !(vmcb->vintr & VINTR_IRQ || vmcb->intercept_cr),
              "nothing is on offer while the guest steps over a write to CR8");
    fuzz_must(!vcpu->vcpu->step || vmcb->rflags & RFLAGS_TF, "a step of the kernel is one step");
    uint64_t xcr0 = vcpu->vcpu->xcr0;
    fuzz_must(xcr0 == 1 || xcr0 == 3 || xcr0 == 7, "XCR0 is one that the kernel can save");
}

static void set_state(struct feed *f)
{
    uint8_t how = feed_8(f);
    if (how & 1)
        memset(x, how & 2 ? 0xff : feed_8(f), sizeof *x);
    for (uint32_t n = how >> 3; n; n--) {
        uint64_t value = feed_value(f);
        memcpy((uint8_t *)x + feed_16(f) % (sizeof *x / 8) * 8, &value, 8);
    }
}

static void exits(struct feed *f)
{
    static const uint64_t codes[] = {EXIT_HLT,     EXIT_PORT, EXIT_MSR,           EXIT_CPUID,
                                     EXIT_VMMCALL, EXIT_NPF,  EXIT_IRET,          EXIT_SHUTDOWN,
                                     EXIT_CR8,     EXIT_INTR, EXIT_EXCEPTION + 1, EXIT_XSETBV};
    uint8_t code = feed_8(f);
    vmcb->info1 = feed_16(f), vmcb->info2 = feed_value(f);
    vmcb->next_rip = vmcb->rip + 2;
    vmcb->exit_int = code & 0x80 ? INJECT_VALID | INJECT_EXCEPTION | 14 : 0;
    vm_exit(vcpu, codes[(code & 0x7f) % COUNT(codes)]);
}

void fuzz_one(const uint8_t *data, size_t size)
{
    struct feed f = {data, size};
    begin();
    uint64_t iopm = vmcb->iopm_pa, msrpm = vmcb->msrpm_pa;
    while (f.left) {
        if (current() == handler) {
            set_state(&f);
            answer(feed_32(&f) & MTD_GROUPS);
        } else {
            exits(&f);
        }
        check(iopm, msrpm);
    }
    const char *broken = invariant_broken();
    fuzz_must(!broken, broken ? broken : "");
}
