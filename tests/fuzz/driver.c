/* What every fuzz target needs to run under libFuzzer. */
#include "fuzz.h"
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

void fuzz_must(bool holds, const char *sentence)
{
    if (holds)
        return;
    fprintf(stderr, "fuzz: does not hold: %s\n", sentence);
    abort();
}

uint64_t feed_value(struct feed *f)
{
    static const uint64_t ends[] = {0,        1,          2,          0xff,
                                    0x1000,   0xffff,     0x10000,    0x100000,
                                    0x200000, 0x7fffffff, 0x80000000, 0xfffff000};
    static const uint64_t far[] = {0x100000000, 0x8000000000, 0xffffffffff, 0x7fffffffffff,
                                   1ull << 52,  ~0ull >> 1,   1ull << 63,   ~0ull - 4095};
    uint8_t how = feed_8(f);
    if (how < 64)
        return ends[how % (sizeof(ends) / sizeof(ends[0]))] - (how & 32 ? 1 : 0);
    if (how < 96)
        return far[how % (sizeof(far) / sizeof(far[0]))];
    return feed_number(f, 1u << how % 4);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    fuzz_begin();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_one(data, size);
    return 0;
}
