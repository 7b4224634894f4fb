/*
 * Text on a screen that only takes writes, which are slow: it does not scroll. Lines go down, then
 * on from the top; the line below the last one is empty. A step draws one character at most.
 */
#ifndef LIB_SCREEN_H
#define LIB_SCREEN_H

#include <abi/boot.h>
#include <lib/font.h>
#include <stdbool.h>

#define SCREEN_ROWS 256u

struct screen {
    uint8_t *at; /* NULL: there is none */
    const struct boot_screen *how;
    uint32_t columns, rows, row, column;
    uint16_t used[SCREEN_ROWS]; /* characters of each row that are not empty */
};

static inline void screen_dot(uint8_t *at, uint32_t bytes, bool lit)
{
    if (bytes == 4)
        *(volatile uint32_t *)(void *)at = lit ? 0xffffffu : 0;
    else
        for (uint32_t i = 0; i < bytes; i++)
            ((volatile uint8_t *)at)[i] = lit ? 0xff : 0;
}

/* At the cursor; it stays. */
static inline void screen_draw(const struct screen *s, uint32_t c)
{
    uint32_t bytes = s->how->bytes, pitch = s->how->pitch;
    uint8_t *line =
        s->at + (uint64_t)s->row * FONT_HEIGHT * pitch + (uint64_t)s->column * FONT_WIDTH * bytes;
    for (uint32_t y = 0; y < FONT_HEIGHT; y++, line += pitch)
        for (uint32_t x = 0; x < FONT_WIDTH; x++)
            screen_dot(line + x * bytes, bytes, font_row(c, y) << 2 & 0x80u >> x);
}

/* `at`: where `how->base` is mapped. What is there goes, all of it, or with `keep` only what is
 * written over. */
static inline void screen_open(struct screen *s, void *at, const struct boot_screen *how, bool keep)
{
    uint32_t rows = how->height / FONT_HEIGHT;
    *s = (struct screen){.how = how, .columns = how->width / FONT_WIDTH};
    if (rows < 2 || how->width < FONT_WIDTH)
        return;
    s->at = at;
    s->rows = rows < SCREEN_ROWS ? rows : SCREEN_ROWS;
    for (; s->row < s->rows; s->row++) {
        s->used[s->row] = keep && s->row ? (uint16_t)s->columns : 0;
        for (s->column = s->used[s->row]; s->column < s->columns; s->column++)
            screen_draw(s, ' ');
    }
    s->row = s->column = 0;
}

/* A step of going to the next row. True: there, and it is empty. */
static inline bool screen_next_row(struct screen *s)
{
    struct screen next = {.at = s->at, .how = s->how, .row = (s->row + 1) % s->rows};
    if (s->used[next.row] == 0) {
        s->row = next.row;
        s->column = 0;
        return true;
    }
    next.column = --s->used[next.row];
    screen_draw(&next, ' ');
    return false;
}

/* One step with `c`, a character, LF or BS; what cannot be shown is left out. True: it is done with
 * it; else call it again with the same. */
static inline bool screen_put(struct screen *s, char c)
{
    if (!s->at)
        return true;
    if (c == '\n')
        return screen_next_row(s);
    if (c == '\b' && s->column)
        s->column--;
    if (c < ' ' || c > '~')
        return true;
    if (s->column == s->columns) {
        screen_next_row(s);
        return false;
    }
    screen_draw(s, (uint8_t)c);
    s->column++;
    if (s->used[s->row] < s->column)
        s->used[s->row] = (uint16_t)s->column;
    return true;
}

#endif
