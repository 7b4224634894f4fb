/*
 * Says hello and powers off: the smallest whole life of a VM.
 * name=NAME on the command line is who it says it is; the second
 * line is the TSC at its start.
 */
#include "bare.h"

void guest_main(void)
{
    uint64_t start = rdtsc();
    char name[32];
    guest_print("hello from %s\n",
                guest_option("name", name, sizeof(name)) ? name : "a bare guest");
    guest_print("bench name=start ticks=%lu\n", start);
}
