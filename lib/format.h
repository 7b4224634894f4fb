/* Text into a bounded buffer. */
#ifndef LIB_FORMAT_H
#define LIB_FORMAT_H

#include <stdarg.h>
#include <stdint.h>

/*
 * %s %c %u %x %lu %lx %%, with a width and the flags `-` (left) and `0`.
 * Writes at most size - 1 characters and a terminating zero (size >= 1);
 * returns the number of characters written.
 */
uint32_t format(char *buf, uint32_t size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
uint32_t format_va(char *buf, uint32_t size, const char *fmt, va_list args)
    __attribute__((format(printf, 3, 0)));

#endif
