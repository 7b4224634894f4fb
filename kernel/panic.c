#include <apic.h>
#include <panic.h>

static char text[256];
uint32_t panic_used;

static void say(const char *s)
{
    for (; *s && panic_used < sizeof text - 1; s++)
        text[panic_used++] = *s;
}

static void say_hex(uint64_t v)
{
    char digits[18] = " ";
    for (unsigned i = 0; i < 16; i++)
        digits[i + 1] = "0123456789abcdef"[v >> (60 - 4 * i) & 15];
    say(digits);
}

void panic(const char *what, uint64_t vector, uint64_t rip)
{
    say("\r\nhairline: kernel stopped: ");
    say(what);
    say_hex(vector);
    say_hex(rip);
    say_hex(cpu_cr2());
    say("\r\n");
    /* Lost wake-up: an NMI can come after a core looked at its doorbell and before its SYSRET. That
       window is over long before the last of these rounds. */
    for (uint32_t i = 0; i < 100 * core_count; i++)
        if (i % core_count != cpu_core()->number) {
            cores[i % core_count].doorbell = 1;
            apic_send(cores[i % core_count].apic_id, SEND_NMI);
        }
    cpu_set_cr3((uint64_t)boot_pml4);
    boot_last_words(text);
}
