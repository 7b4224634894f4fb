/*
 * User code that does what only the kernel may: the thread faults, its own
 * fault handler sees which way, and everybody else goes on.
 */
#include "calls.h"

enum slot { W_PD = C_LOCAL, W_FAULT, W_DONE };
enum vector {
    DE,
    DB,
    NMI,
    BP,
    OF,
    BR,
    UD,
    NM,
    DF,
    TS = 10,
    NP,
    SS,
    GP,
    PF,
    MF = 16,
    AC,
    XM = 19,
    NONE = 31
};
#define ANY_OF(a, b) (1u << (a) | 1u << (b))
#define ONLY(a)      (1u << (a))
#define EVENTS       20u
#define DONE_THERE   21u
#define KERNEL_TEXT  0xffffffff80100000ull
#define CATCHER      1u /* the kit's handler and thread */
#define VICTIM       2u

static volatile uint64_t resume_rip, resume_rsp, seen, reads_seen;
static const char constant = 1;

/* Portal: note the fault, go on at the label. */
static void on_fault(void)
{
    struct utcb *u = kit_utcb(CATCHER);
    seen = u->exit.info.number;
    u->exit.rip = resume_rip;
    u->exit.rsp = resume_rsp;
    u->exit.rflags = 2;
    u->mtd = MTD_RIP | MTD_FLAGS;
    pt_reply(0);
}

/* Vector of the fault that `act` ended in, or NONE. */
static uint64_t fault_of(void (*act)(void))
{
    seen = NONE;
    __asm__ volatile("movq $1f, %[rip]\n\t"
                     "lea -128(%%rsp), %%rsp\n\t"
                     "movq %%rsp, %[sp]\n\t"
                     "call *%[act]\n"
                     "1:\tmovq %[sp], %%rsp\n\t"
                     "lea 128(%%rsp), %%rsp"
                     : [rip] "=m"(resume_rip), [sp] "=m"(resume_rsp)
                     : [act] "r"(act)
                     : "memory", "cc", "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11",
                       "rbx", "r12", "r13", "r14", "r15");
    return seen;
}

#define ACT(name, text)                                                                            \
    static void name(void)                                                                         \
    {                                                                                              \
        __asm__ volatile(text : : "a"(0), "c"(0), "d"(0) : "memory", "cc", "rbx");                 \
    }

static uint8_t area[1024] __attribute__((aligned(64), used)); /* for the FPU's state */

ACT(do_cli, "cli")
ACT(do_sti, "sti")
ACT(do_hlt, "hlt")
ACT(do_in, "inb $0x60, %%al")
ACT(do_out, "outb %%al, $0x80")
ACT(do_in_com, "mov $0x3fd, %%dx; inb %%dx, %%al")
ACT(do_outs, "mov $0x80, %%dx; rep outsb")
ACT(get_cr0, "mov %%cr0, %%rax")
ACT(set_cr0, "mov %%rax, %%cr0")
ACT(get_cr3, "mov %%cr3, %%rax")
ACT(set_cr3, "mov %%rax, %%cr3")
ACT(set_cr4, "mov %%rax, %%cr4")
ACT(set_cr8, "mov %%rax, %%cr8")
ACT(set_dr7, "mov %%rax, %%dr7")
ACT(do_clts, "clts")
ACT(do_lmsw, "lmsw %%ax")
ACT(do_rdmsr, "mov $0xc0000080, %%ecx; rdmsr")
ACT(do_wrmsr, "mov $0xc0000082, %%ecx; wrmsr")
ACT(do_rdpmc, "rdpmc")
ACT(do_lgdt, "lgdt (%%rsp)")
ACT(do_lidt, "lidt (%%rsp)")
ACT(do_lldt, "lldt %%ax")
ACT(do_ltr, "mov $0x28, %%ax; ltr %%ax")
ACT(do_sgdt, "sgdt -64(%%rsp)")
ACT(do_sidt, "sidt -64(%%rsp)")
ACT(do_smsw, "smsw %%ax")
ACT(do_str, "str %%ax")
ACT(do_invlpg, "invlpg (%%rax)")
ACT(do_invd, "invd")
ACT(do_wbinvd, "wbinvd")
ACT(do_swapgs, "swapgs")
ACT(do_wrgsbase, "wrgsbase %%rax")
ACT(do_monitor, "monitor")
ACT(do_mwait, "mwait")
ACT(do_vmrun, "vmrun")
ACT(do_vmload, "vmload")
ACT(do_vmsave, "vmsave")
ACT(do_vmmcall, "vmmcall")
ACT(do_stgi, "stgi")
ACT(do_clgi, "clgi")
ACT(do_invlpga, "invlpga")
ACT(do_skinit, "skinit")
ACT(do_rsm, "rsm")
ACT(do_sysret, "sysretq")
ACT(do_sysenter, "sysenter")
ACT(do_sysexit, "sysexitl")
ACT(do_xsetbv, "xsetbv")
ACT(do_int_timer, "int $0xf0")
ACT(do_int_ipi, "int $0xf1")
ACT(do_int_80, "int $0x80")
ACT(do_int_df, "int $8")
ACT(do_int_nmi, "int $2")
ACT(do_int_pf, "int $14")
ACT(do_int3, "int3")
ACT(do_int1, ".byte 0xf1")
ACT(do_ud2, "ud2")
ACT(do_divide, "div %%ecx")
ACT(do_step, "pushfq; orl $0x100, (%%rsp); popfq; nop; nop")
ACT(do_iopl, "pushfq; orl $0x3000, (%%rsp); popfq; cli")
ACT(do_iret, "pushq $0x10; pushq %%rsp; pushq $2; pushq $8; pushq $0x400000; iretq")
ACT(do_lret, "pushq $8; pushq $0x400000; lretq")
ACT(do_ss, "mov $0x10, %%ax; mov %%ax, %%ss")
ACT(do_ds, "mov $0x10, %%ax; mov %%ax, %%ds")
ACT(do_tss_ds, "mov $0x28, %%ax; mov %%ax, %%ds")
ACT(do_ldt_ds, "mov $7, %%ax; mov %%ax, %%ds")
ACT(do_x87, "fld1")
ACT(do_sse, "xorps %%xmm0, %%xmm0")
ACT(do_avx, "vxorps %%ymm0, %%ymm0, %%ymm0")
ACT(do_xsave, "mov $area, %%eax; xsave64 (%%rax)")
ACT(do_xrstor, "mov $area, %%eax; xrstor64 (%%rax)")
ACT(do_fxsave, "mov $area, %%eax; fxsave64 (%%rax)")
ACT(do_fwait, "fwait")
ACT(read_kernel, "mov $0xffffffff80100000, %%rax; mov (%%rax), %%rax")
ACT(write_kernel, "mov $0xffffffff80100000, %%rax; mov %%rax, (%%rax)")
ACT(jump_kernel, "mov $0xffffffff80100000, %%rax; jmp *%%rax")
ACT(read_null, "mov (%%rax), %%rax")
ACT(jump_null, "jmp *%%rax")
ACT(read_wild, "mov $0x8000000000000000, %%rax; mov (%%rax), %%rax")
ACT(jump_wild, "mov $0x8000000000000000, %%rax; jmp *%%rax")
ACT(jump_edge, "mov $0x7fffffffffff, %%rax; jmp *%%rax")
ACT(stack_wild, "mov $0x8000000000000000, %%rsp; push %%rax")
ACT(stack_kernel, "mov $0xffffffff80200000, %%rsp; push %%rax")
ACT(gs_read, "mov %%gs:0, %%rax")

static void write_text(void) { *(volatile uint8_t *)IMAGE_BASE = 0; }
static void write_constant(void) { *(volatile char *)address_of(&constant) = 0; }
static void run_data(void) { __asm__ volatile("jmp *%0" : : "r"(&seen)); }
static void read_info(void) { (void)*(volatile uint8_t *)ROOT_INFO; }

static const struct {
    const char *name;
    void (*act)(void);
    uint32_t vectors; /* bit mask of what it may end in; NONE: no UMIP, or an emulator that lets
                         INVD and XSAVE through */
} acts[] = {
    {"cli", do_cli, ONLY(GP)},
    {"sti", do_sti, ONLY(GP)},
    {"hlt", do_hlt, ONLY(GP)},
    {"in", do_in, ONLY(GP)},
    {"out", do_out, ONLY(GP)},
    {"in from COM1", do_in_com, ONLY(GP)},
    {"outs", do_outs, ANY_OF(GP, NONE)},
    {"mov from cr0", get_cr0, ONLY(GP)},
    {"mov to cr0", set_cr0, ONLY(GP)},
    {"mov from cr3", get_cr3, ONLY(GP)},
    {"mov to cr3", set_cr3, ONLY(GP)},
    {"mov to cr4", set_cr4, ONLY(GP)},
    {"mov to cr8", set_cr8, ONLY(GP)},
    {"mov to dr7", set_dr7, ONLY(GP)},
    {"clts", do_clts, ONLY(GP)},
    {"lmsw", do_lmsw, ONLY(GP)},
    {"rdmsr", do_rdmsr, ONLY(GP)},
    {"wrmsr", do_wrmsr, ONLY(GP)},
    {"rdpmc", do_rdpmc, ONLY(GP)},
    {"lgdt", do_lgdt, ONLY(GP)},
    {"lidt", do_lidt, ONLY(GP)},
    {"lldt", do_lldt, ONLY(GP)},
    {"ltr", do_ltr, ONLY(GP)},
    {"sgdt", do_sgdt, ANY_OF(GP, NONE)},
    {"sidt", do_sidt, ANY_OF(GP, NONE)},
    {"smsw", do_smsw, ANY_OF(GP, NONE)},
    {"str", do_str, ANY_OF(GP, NONE)},
    {"invlpg", do_invlpg, ONLY(GP)},
    {"invd", do_invd, ANY_OF(GP, NONE)},
    {"wbinvd", do_wbinvd, ANY_OF(GP, NONE)},
    {"swapgs", do_swapgs, ONLY(GP)},
    {"wrgsbase", do_wrgsbase, ONLY(UD)},
    {"monitor", do_monitor, ANY_OF(UD, GP)},
    {"mwait", do_mwait, ANY_OF(UD, GP)},
    {"vmrun", do_vmrun, ANY_OF(UD, GP)},
    {"vmload", do_vmload, ANY_OF(UD, GP)},
    {"vmsave", do_vmsave, ANY_OF(UD, GP)},
    {"vmmcall", do_vmmcall, ANY_OF(UD, GP)},
    {"stgi", do_stgi, ANY_OF(UD, GP)},
    {"clgi", do_clgi, ANY_OF(UD, GP)},
    {"invlpga", do_invlpga, ANY_OF(UD, GP)},
    {"skinit", do_skinit, ANY_OF(UD, GP)},
    {"rsm", do_rsm, ONLY(UD)},
    {"sysret", do_sysret, ONLY(GP)},
    {"sysenter", do_sysenter, ANY_OF(UD, GP)},
    {"sysexit", do_sysexit, ANY_OF(UD, GP)},
    {"xsetbv", do_xsetbv, ANY_OF(UD, GP)},
    {"int timer", do_int_timer, ONLY(GP)},
    {"int ipi", do_int_ipi, ONLY(GP)},
    {"int 80h", do_int_80, ONLY(GP)},
    {"int 8", do_int_df, ONLY(GP)},
    {"int 2", do_int_nmi, ONLY(GP)},
    {"int 14", do_int_pf, ONLY(GP)},
    {"int3", do_int3, ANY_OF(GP, BP)},
    {"int1", do_int1, ANY_OF(GP, DB)},
    {"ud2", do_ud2, ONLY(UD)},
    {"divide by 0", do_divide, ONLY(DE)},
    {"single step", do_step, ONLY(DB)},
    {"iopl", do_iopl, ONLY(GP)},
    {"iret to ring 0", do_iret, ONLY(GP)},
    {"lret to ring 0", do_lret, ONLY(GP)},
    {"kernel ss", do_ss, ONLY(GP)},
    {"kernel ds", do_ds, ONLY(GP)},
    {"tss as ds", do_tss_ds, ONLY(GP)},
    {"ldt", do_ldt_ds, ONLY(GP)},
    {"x87", do_x87, ANY_OF(NM, UD)},
    {"sse", do_sse, ANY_OF(NM, UD)},
    {"avx", do_avx, ANY_OF(NM, UD)},
    {"xsave", do_xsave, ANY_OF(NM, UD) | ONLY(NONE)},
    {"xrstor", do_xrstor, ANY_OF(NM, UD) | ONLY(NONE)},
    {"fxsave", do_fxsave, ANY_OF(NM, UD)},
    {"fwait", do_fwait, ANY_OF(NM, UD)},
    {"read kernel", read_kernel, ONLY(PF)},
    {"write kernel", write_kernel, ONLY(PF)},
    {"jump to kernel", jump_kernel, ONLY(PF)},
    {"read 0", read_null, ONLY(PF)},
    {"jump to 0", jump_null, ONLY(PF)},
    {"read not canonical", read_wild, ONLY(GP)},
    {"jump not canonical", jump_wild, ONLY(GP)},
    {"jump to the edge", jump_edge, ANY_OF(PF, GP)},
    {"wild stack", stack_wild, ANY_OF(SS, GP)},
    {"kernel stack", stack_kernel, ONLY(PF)},
    {"gs", gs_read, ONLY(PF)},
    {"write text", write_text, ONLY(PF)},
    {"write constant", write_constant, ONLY(PF)},
    {"run data", run_data, ONLY(PF)},
    {"read root's info", read_info, ONLY(PF)},
};
#define ACTS (sizeof(acts) / sizeof(acts[0]))

static uint8_t results[ACTS];

/* Every 2 MiB of the upper half's last 4 GiB, and the first page of every level-4 entry. */
static volatile uint64_t probe_at;
static void probe(void) { (void)*(volatile uint8_t *)probe_at; }

static void try_read(uint64_t address)
{
    probe_at = address;
    if (fault_of(probe) != PF)
        reads_seen++;
}

static void probe_kernel_half(void)
{
    for (uint64_t at = 0xffffffff00000000ull; at; at += 0x200000)
        try_read(at);
    for (uint64_t at = 0xffff800000000000ull; at; at += 1ull << 39)
        try_read(at);
}

static void victim(void)
{
    for (uint32_t i = 0; i < ACTS; i++)
        results[i] = (uint8_t)fault_of(acts[i].act);
    probe_kernel_half();
    bell_ring(DONE_THERE);
    kit_park();
}

static void report(void)
{
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < ACTS; i++)
        if (!(acts[i].vectors >> results[i] & 1)) {
            kit_print("     %s ends in vector %u\n", acts[i].name, results[i]);
            wrong++;
        }
    kit_check("privileged instructions", wrong == 0);
    kit_check("the kernel's half reads as nothing", reads_seen == 0);
}

/* Without a fault portal a thread just stops; whoever shares the core goes on. */
static void stop_alone(void)
{
    bool ok = kit_thread(VICTIM, W_PD, 0, do_hlt, EVENTS + 1, 31);
    ok = ok && nop() == OK;
    kit_end(VICTIM);
    kit_check("a thread without a handler stops", ok);
}

void wild_test(void)
{
    bool ok = kit_domain(W_PD, 64, 32) && kit_handler(CATCHER, SLOT_ROOT_PD, 0);
    ok = ok && pt_create(W_FAULT, SLOT_ROOT_PD, KIT_THREAD + CATCHER,
                         address_of((void *)(uintptr_t)on_fault), MTD_RIP | MTD_FLAGS | MTD_INFO,
                         0) == OK;
    ok = ok && sm_create(W_DONE, SLOT_ROOT_PD, 0) == OK;
    ok = ok && delegate(SLOT_ROOT_PD, W_FAULT, W_PD, EVENTS, PT_CALL) == OK &&
         delegate(SLOT_ROOT_PD, W_DONE, W_PD, DONE_THERE, SM_UP) == OK;
    ok = ok && kit_thread(VICTIM, W_PD, 0, victim, EVENTS, 10) &&
         sm_down(W_DONE, tsc() + 10000000000ull) == OK;
    kit_check("wild thread runs", ok);
    report();
    kit_end(VICTIM);
    stop_alone();
    kit_end(CATCHER);
    kit_destroy(W_DONE);
    kit_destroy(W_PD);
    for (uint64_t slot = W_PD; slot <= W_DONE; slot++)
        kit_empty(slot);
}
