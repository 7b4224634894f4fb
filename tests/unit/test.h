/* cmocka with the headers it wants first. */
#ifndef TESTS_TEST_H
#define TESTS_TEST_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* HAIRLINE_UNIT=NAME: of this program only the test NAME. tests/run sets it. */
static void __attribute__((constructor)) test_choose(void)
{
    if (getenv("HAIRLINE_UNIT"))
        cmocka_set_test_filter(getenv("HAIRLINE_UNIT"));
}

#endif
