#include <lib/format.h>
#include <lib/string.h>

struct out {
    char *buf;
    uint32_t used, size;
};

struct spec {
    uint32_t width;
    char pad; /* ' ' or '0' */
    uint8_t left, wide;
};

static void put(struct out *out, char c)
{
    if (out->used + 1 < out->size)
        out->buf[out->used++] = c;
}

static void put_padded(struct out *out, const struct spec *spec, const char *text, uint32_t length)
{
    uint32_t fill = spec->width > length ? spec->width - length : 0;
    for (uint32_t i = 0; !spec->left && i < fill; i++)
        put(out, spec->pad);
    for (uint32_t i = 0; i < length; i++)
        put(out, text[i]);
    for (uint32_t i = 0; spec->left && i < fill; i++)
        put(out, ' ');
}

static void put_number(struct out *out, const struct spec *spec, uint64_t value, uint32_t base)
{
    char digits[20];
    uint32_t at = sizeof(digits);
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    put_padded(out, spec, digits + at, (uint32_t)sizeof(digits) - at);
}

static const char *read_spec(const char *fmt, struct spec *spec)
{
    *spec = (struct spec){.pad = ' '};
    for (; *fmt == '-' || *fmt == '0'; fmt++) {
        spec->left |= *fmt == '-';
        spec->pad = *fmt == '0' ? '0' : spec->pad;
    }
    for (; *fmt >= '0' && *fmt <= '9'; fmt++)
        spec->width = spec->width * 10 + (uint32_t)(*fmt - '0');
    spec->wide = *fmt == 'l';
    return fmt + spec->wide;
}

uint32_t format_va(char *buf, uint32_t size, const char *fmt, va_list args)
{
    struct out out = {buf, 0, size};
    struct spec spec;
    for (; *fmt; fmt++) {
        if (*fmt != '%') {
            put(&out, *fmt);
            continue;
        }
        fmt = read_spec(fmt + 1, &spec);
        if (*fmt == 's') {
            const char *text = va_arg(args, const char *);
            put_padded(&out, &spec, text, (uint32_t)strlen(text));
        } else if (*fmt == 'c') {
            put(&out, (char)va_arg(args, int));
        } else if (*fmt == 'u' || *fmt == 'x') {
            put_number(&out, &spec, spec.wide ? va_arg(args, uint64_t) : va_arg(args, uint32_t),
                       *fmt == 'u' ? 10 : 16);
        } else {
            put(&out, *fmt);
        }
    }
    buf[out.used] = 0;
    return out.used;
}

uint32_t format(char *buf, uint32_t size, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    uint32_t used = format_va(buf, size, fmt, args);
    va_end(args);
    return used;
}
