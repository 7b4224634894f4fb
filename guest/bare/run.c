/*
 * The bare guest's runtime behind start.S: start info, traps, serial, exit.
 */
#include "bare.h"
#include "hypercall.h"

#include <stdarg.h>

#define COM1             0x3f8
#define MULTIBOOT_MAGIC  0x2badb002u
#define MULTIBOOT_LINE   4u /* flag: the command line is valid */
#define EXIT_PORT        0xf4
#define PIC1_MASK        0x21 /* a bare PC's 8259s stay silent */
#define PIC2_MASK        0xa1
#define SLEEP_PORT       0x600 /* flat PC: SLP_TYP 5 << 2 | SLP_EN (ACPI 4.8.3.7) */
#define PM1_CONTROL_PORT 0x604 /* a bare q35's */

/* PVH: struct hvm_start_info; multiboot 1: the information structure. */
struct pvh_info {
    uint32_t magic, version, flags, modules;
    uint64_t module_list, command_line, rsdp;
};
struct multiboot_info {
    uint32_t flags, mem_lower, mem_upper, boot_device, command_line;
};

/* Long-mode gate descriptor (APM2 4.8.4). */
struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};
#define GATE_INTERRUPT 0x8e
#define CODE_SELECTOR  8 /* start.S: gdt */

/* What start.S pushes, from the last to the first. */
#define PUSHED(field, n)                                                                           \
    _Static_assert(__builtin_offsetof(struct frame, field) == 8 * (n), "start.S")
PUSHED(r15, 0);
PUSHED(r14, 1);
PUSHED(r13, 2);
PUSHED(r12, 3);
PUSHED(r11, 4);
PUSHED(r10, 5);
PUSHED(r9, 6);
PUSHED(r8, 7);
PUSHED(rbp, 8);
PUSHED(rdi, 9);
PUSHED(rsi, 10);
PUSHED(rdx, 11);
PUSHED(rcx, 12);
PUSHED(rbx, 13);
PUSHED(rax, 14);
PUSHED(vector, 15);
PUSHED(error, 16);
PUSHED(rip, 17);
PUSHED(cs, 18);
PUSHED(rflags, 19);
PUSHED(rsp, 20);
PUSHED(ss, 21);

struct __attribute__((packed)) table_pointer {
    uint16_t limit;
    uint64_t base;
};

static struct gate idt[256];
extern const struct table_pointer guest_idt;
const struct table_pointer guest_idt = {sizeof(idt) - 1, (uintptr_t)idt};

void (*guest_handler[256])(struct frame *);
static const char *command_line;
static int trapped = -1;
static uint64_t random_state = 88172645463325252ull;

void guest_gate(uint32_t vector, void (*entry)(void), uint32_t ist)
{
    uint64_t address = (uintptr_t)entry;
    idt[vector] = (struct gate){.offset_low = (uint16_t)address,
                                .selector = CODE_SELECTOR,
                                .ist = (uint8_t)ist,
                                .type = GATE_INTERRUPT,
                                .offset_middle = (uint16_t)(address >> 16),
                                .offset_high = (uint32_t)(address >> 32)};
}

static void gates(uint32_t ist)
{
    for (uint32_t v = 0; v < 256; v++)
        guest_gate(v, (void (*)(void))(uintptr_t)guest_traps[v], ist);
}

void guest_trap_stack(void) { gates(1); }

int guest_trapped(void)
{
    int vector = trapped;
    trapped = -1;
    guest_recover = 0;
    return vector;
}

void guest_trap(struct frame *f);
void guest_trap(struct frame *f)
{
    if (guest_recover && f->vector < 32) {
        f->rip = guest_recover;
        guest_recover = 0;
        trapped = (int)f->vector;
    } else if (guest_handler[f->vector]) {
        guest_handler[f->vector](f);
    } else {
        guest_print("guest: unexpected trap %lu, error %lx, rip %lx\n", f->vector, f->error,
                    f->rip);
        guest_exit(255);
    }
}

static void put(char c)
{
    while (!(in8(COM1 + 5) & 0x20))
        ;
    out8(COM1, (uint8_t)c);
}

void guest_serial_reset(void)
{
    out8(COM1 + 3, 3); /* 8N1, divisor latch closed */
    out8(COM1 + 1, 0); /* no interrupts             */
    out8(COM1 + 4, 3);
}

bool guest_key(char key) { return in8(COM1 + 5) & 1 && in8(COM1) == (uint8_t)key; }

static void put_number(uint64_t value, uint32_t base)
{
    char digits[20];
    uint32_t n = 0;
    do {
        digits[n++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    while (n)
        put(digits[--n]);
}

static void put_string(const char *s)
{
    while (*s)
        put(*s++);
}

void guest_print(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    for (; *format; format++) {
        if (*format != '%') {
            put(*format);
            continue;
        }
        bool wide = *++format == 'l';
        if (wide)
            format++;
        if (*format == 's')
            put_string(va_arg(args, const char *));
        else if (*format == 'c')
            put((char)va_arg(args, int));
        else
            put_number(wide ? va_arg(args, uint64_t) : va_arg(args, uint32_t),
                       *format == 'x' ? 16 : 10);
    }
    va_end(args);
}

bool guest_same(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static bool copy_word(const char *from, char *to, size_t size)
{
    while (*from && *from != ' ' && size > 1) {
        *to++ = *from++;
        size--;
    }
    *to = 0;
    return !*from || *from == ' ';
}

bool guest_option(const char *key, char *value, size_t size)
{
    for (const char *word = command_line; *word; word++) {
        const char *k = key;
        while (*k && *word == *k)
            word++, k++;
        if (!*k && *word == '=')
            return copy_word(word + 1, value, size);
        while (*word && *word != ' ')
            word++;
        if (!*word)
            break;
    }
    return false;
}

void guest_exit(uint32_t value)
{
    out32(EXIT_PORT, value);
    out8(SLEEP_PORT, 0x34);
    out16(PM1_CONTROL_PORT, 0x2000);
    for (;;)
        __asm__ volatile("cli; hlt");
}

void guest_eoi(struct frame *f)
{
    (void)f;
    wrmsr(MSR_X2APIC(APIC_EOI), 0);
}

void guest_apic_enable(void)
{
    out8(PIC1_MASK, 0xff);
    out8(PIC2_MASK, 0xff);
    wrmsr(APIC_BASE, rdmsr(APIC_BASE) | APIC_BASE_X2APIC);
    wrmsr(MSR_X2APIC(APIC_SVR), 0x1ff); /* enabled, spurious vector FFh */
}

uint64_t guest_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void seed_random(void)
{
    char text[20];
    if (!guest_option("seed", text, sizeof(text)))
        return;
    for (const char *c = text; *c; c++)
        random_state = random_state * 131 + (uint8_t)*c;
}

static const char *find_command_line(uintptr_t info, uint32_t magic)
{
    if (magic == MULTIBOOT_MAGIC) {
        const struct multiboot_info *m = (const void *)info;
        return m->flags & MULTIBOOT_LINE ? (const char *)(uintptr_t)m->command_line : "";
    }
    const struct pvh_info *p = (const void *)info;
    return p->command_line ? (const char *)p->command_line : "";
}

void guest_start(uint32_t info, uint32_t magic);
extern uint8_t text_begin[], text_end[]; /* link.ld */

void guest_start(uint32_t info, uint32_t magic)
{
    gates(0);
    __asm__ volatile("lidt %0" : : "m"(guest_idt));
    command_line = find_command_line(info, magic);
    seed_random();
    guest_fit_hypercalls(text_begin, text_end);
    guest_main();
    guest_exit(0);
}
