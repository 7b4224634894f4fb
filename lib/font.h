/*
 * A font of our own for the console on a screen: printable ASCII, 20h to 7Eh. A glyph has 8 rows of
 * 5 dots, 5 bits a row, the top row in bits 39..35, the left dot in a row's highest bit. Each row
 * is drawn twice, in a cell of 8 by 16 pixels.
 */
#ifndef LIB_FONT_H
#define LIB_FONT_H

#include <stdint.h>

enum { FONT_FIRST = 0x20, FONT_LAST = 0x7e, FONT_WIDTH = 8, FONT_HEIGHT = 16 };

static const uint64_t font[FONT_LAST - FONT_FIRST + 1] = {
    0x0000000000, 0x2108420080, 0x5294000000, 0x52beafa940, 0x23e8e2f880, /*  !"#$ */
    0xce44444e60, 0x64a88ac9a0, 0x2108000000, 0x1110841040, 0x4104211100, /* %&'() */
    0x012aea9000, 0x0109f21000, 0x0000031888, 0x0001f00000, 0x00000018c0, /* *+,-. */
    0x0844444200, 0x74675cc5c0, 0x23284213e0, 0x74426443e0, 0x744260c5c0, /* /0123 */
    0x11952f8840, 0xfc3c10c5c0, 0x3221e8c5c0, 0xf844422100, 0x7462e8c5c0, /* 45678 */
    0x7462f08980, 0x018c031800, 0x018c031888, 0x1111041040, 0x003e0f8000, /* 9:;<= */
    0x4104111100, 0x7442220080, 0x746f5bc1e0, 0x22a31fc620, 0xf463e8c7c0, /* >?@AB */
    0x74610845c0, 0xe4a318cb80, 0xfc21c843e0, 0xfc21c84200, 0x746138c5e0, /* CDEFG */
    0x8c63f8c620, 0x71084211c0, 0x3884214980, 0x8ca98a4a20, 0x84210843e0, /* HIJKL */
    0x8eeb58c620, 0x8e7359ce20, 0x746318c5c0, 0xf463e84200, 0x74631ac9a0, /* MNOPQ */
    0xf463ea4a20, 0x7c20e087c0, 0xf908421080, 0x8c6318c5c0, 0x8c63152880, /* RSTUV */
    0x8c635aee20, 0x8c54454620, 0x8c54421080, 0xf8444443e0, 0x72108421c0, /* WXYZ[ */
    0x8410410420, 0x70842109c0, 0x22a2000000, 0x00000003e0, 0x4104000000, /* \]^_` */
    0x001c17c5e0, 0x843d18c7c0, 0x001f0841e0, 0x085f18c5e0, 0x001d1fc1e0, /* abcde */
    0x1909f21080, 0x001f18bc2e, 0x843d18c620, 0x20184211c0, 0x100c210a4c, /* fghij */
    0x84254c5240, 0x6108421060, 0x00355ad6a0, 0x003d18c620, 0x001d18c5c0, /* klmno */
    0x003d18fa10, 0x001f18bc21, 0x002d984200, 0x001f0707c0, 0x213e421060, /* pqrst */
    0x002318c5e0, 0x002318a880, 0x00235ad540, 0x0022a22a20, 0x002318bc2e, /* uvwxy */
    0x003e2223e0, 0x1908821060, 0x2108421084, 0xc108221300, 0x0011510000, /* z{|}~ */
};

/* The 5 dots of row `y`, 0..FONT_HEIGHT - 1, of a character's cell, the left one in bit 4; what is
 * no printable character is empty. */
static inline uint32_t font_row(uint32_t c, uint32_t y)
{
    uint64_t glyph = c >= FONT_FIRST && c <= FONT_LAST ? font[c - FONT_FIRST] : 0;
    return (uint32_t)(glyph >> (35 - y / 2 * 5)) & 31;
}

#endif
