/* SVG 1.1, without scripts, styles or fonts of others. */
#include <cli/picture/picture.h>

#include <stdlib.h>
#include <string.h>

#define WIDTH   960u
#define MARGIN  20u
#define INNER   (WIDTH - 2 * MARGIN)
#define LETTER  7u  /* width of one, about, of 12 px */
#define IN_ROW  16u /* cores */
#define BAND    18u /* height of a VM's part of a core */
#define BANDS   4u  /* of a core, at most; the last one tells of the rest */
#define BAR     34u /* height of memory and devices */
#define CARDS   3u  /* VMs in a row */
#define CARD    92u
#define GAP     6u
#define DEVICES 6u /* in a row */

/* So light that black is read on them. */
static const char *const colours[] = {"#a6cee3", "#b2df8a", "#fdbf6f", "#cab2d6",
                                      "#fb9a99", "#ffff99", "#8dd3c7", "#e5c494",
                                      "#d9d9d9", "#ffcce6", "#c7e9c0", "#9ecae1"};
static const char *colour(uint32_t vm)
{
    return colours[vm % (sizeof(colours) / sizeof(colours[0]))];
}

void svg_text(FILE *out, const char *text, size_t most)
{
    static const char special[] = "&<>\"'";
    for (size_t i = 0; text[i]; i++) {
        if (i + 1 >= most && text[i + 1]) {
            fputs("&#8230;", out);
            return;
        }
        if (text[i] < 0x20 || text[i] > 0x7e)
            fputc('?', out);
        else if (strchr(special, text[i]))
            fprintf(out, "&#%d;", text[i]);
        else
            fputc(text[i], out);
    }
}

struct place {
    uint32_t x, y, w, h;
};

/* As much of the text as the width holds; nothing, if that is next to nothing. */
static void svg_words(FILE *out, struct place at, const char *look, const char *text)
{
    if (at.w < 3 * LETTER)
        return;
    fprintf(out, "<text x=\"%u\" y=\"%u\"%s>", at.x, at.y, look);
    svg_text(out, text, at.w / LETTER);
    fputs("</text>\n", out);
}

static void heading(FILE *out, uint32_t y, const char *text)
{
    svg_words(out, (struct place){MARGIN, y, INNER, 0}, " font-weight=\"bold\" font-size=\"14\"",
              text);
}

/* All of the text is shown under the pointer. */
static void rect(FILE *out, struct place at, const char *fill, const char *text)
{
    static const char form[] = "<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" fill=\"%s\" "
                               "stroke=\"#666\"><title>";
    fprintf(out, form, at.x, at.y, at.w, at.h, fill);
    svg_text(out, text, PICTURE_TEXT);
    fputs("</title></rect>\n", out);
}

static void box(FILE *out, struct place at, const char *fill, const char *text)
{
    rect(out, at, fill, text);
    svg_words(out, (struct place){at.x + 5, at.y + at.h / 2 + 4, at.w > 8 ? at.w - 8 : 0, 0}, "",
              text);
}

/* The place of number `i` in rows of `columns`, from `first` on. */
static struct place cell(struct place first, uint32_t i, uint32_t columns)
{
    first.x += i % columns * (first.w + GAP);
    first.y += i / columns * (first.h + GAP);
    return first;
}

/* ---- the parts; each returns where the next begins -------------------------------- */

static uint32_t sharers(const struct picture *p, uint32_t core)
{
    uint32_t n = 0;
    for (uint32_t vm = 0; vm < p->vms; vm++)
        n += p->vm[vm].cores >> core & 1;
    return n;
}

static void draw_core(FILE *out, const struct picture *p, uint32_t core, struct place at)
{
    uint32_t bands = 0, all = sharers(p, core);
    char text[64];
    rect(out, at, "#fff", "");
    snprintf(text, sizeof(text), core ? "%u" : "%u, root", core);
    svg_words(out, (struct place){at.x + 5, at.y + 14, at.w, 0}, " fill=\"#444\"", text);
    for (uint32_t vm = 0; vm < p->vms && bands < BANDS; vm++) {
        if (!(p->vm[vm].cores >> core & 1))
            continue;
        bands++;
        bool rest = bands == BANDS && all > BANDS;
        snprintf(text, sizeof(text), "%u more", all - BANDS + 1);
        box(out, (struct place){at.x, at.y + 2 + BAND * bands, at.w, BAND},
            rest ? "#eee" : colour(vm), rest ? text : p->vm[vm].name);
    }
}

static uint32_t draw_cores(FILE *out, const struct picture *p, uint32_t y)
{
    uint32_t columns = p->cores < IN_ROW ? p->cores : IN_ROW, bands = 0;
    for (uint32_t core = 0; core < p->cores; core++)
        bands = sharers(p, core) > bands ? sharers(p, core) : bands;
    uint32_t w = INNER / columns - GAP;
    struct place first = {MARGIN, y + 10, w < 140 ? w : 140,
                          20 + BAND * (bands < BANDS ? bands : BANDS)};
    heading(out, y, "Cores");
    for (uint32_t core = 0; core < p->cores; core++)
        draw_core(out, p, core, cell(first, core, columns));
    return y + 40 + (p->cores + IN_ROW - 1) / IN_ROW * (first.h + GAP);
}

static uint32_t draw_memory(FILE *out, const struct picture *p, uint32_t y)
{
    uint64_t taken = 0, all = 0;
    for (uint32_t vm = 0; vm < p->vms; vm++)
        all += p->vm[vm].memory;
    all = p->memory > all ? p->memory : all;
    heading(out, y, p->memory ? "Memory" : "Memory of the VMs");
    if (all)
        rect(out, (struct place){MARGIN, y + 10, INNER, BAR}, "#fff", "");
    for (uint32_t vm = 0; vm < p->vms && all; vm++) {
        uint32_t from = (uint32_t)(taken * INNER / all);
        taken += p->vm[vm].memory;
        uint32_t to = (uint32_t)(taken * INNER / all);
        box(out, (struct place){MARGIN + from, y + 10, to - from, BAR}, colour(vm), p->vm[vm].name);
    }
    return y + 40 + BAR;
}

static uint32_t draw_devices(FILE *out, const struct picture *p, uint32_t y)
{
    const struct place first = {MARGIN, y + 10, INNER / DEVICES - GAP, BAR};
    uint32_t n = 0;
    for (uint32_t vm = 0; vm < p->vms; vm++)
        for (uint32_t i = 0; i < PLAN_DEVICES && p->vm[vm].device[i][0]; i++) {
            char text[PICTURE_TEXT + CHECK_DEVICE + 4];
            snprintf(text, sizeof(text), "%s: %s", p->vm[vm].device[i], p->vm[vm].name);
            box(out, cell(first, n, DEVICES), colour(vm), text);
            n++;
        }
    if (!n)
        return y;
    heading(out, y, "Devices");
    return y + 36 + (n + DEVICES - 1) / DEVICES * (BAR + GAP);
}

static uint32_t draw_vms(FILE *out, const struct picture *p, uint32_t y)
{
    const struct place first = {MARGIN, y + 10, INNER / CARDS - GAP, CARD};
    heading(out, y, "VMs");
    for (uint32_t i = 0; i < p->vms; i++) {
        const struct picture_vm *vm = &p->vm[i];
        const char *const line[] = {vm->how, vm->place, vm->has};
        struct place at = cell(first, i, CARDS), text = {at.x + 18, at.y + 22, at.w - 14, 0};
        rect(out, at, vm->off ? "#eee" : "#fff", vm->has);
        rect(out, (struct place){at.x, at.y, 10, CARD}, colour(i), "");
        svg_words(out, text, " font-weight=\"bold\" font-size=\"14\"", vm->name);
        for (uint32_t l = 0; l < 3; l++) {
            text.y += 18;
            svg_words(out, text, "", line[l]);
        }
    }
    return y + 18 + (p->vms + CARDS - 1) / CARDS * (CARD + GAP);
}

/* The drawing comes first, to a buffer: it says how high it is. */
void svg_draw(FILE *out, const struct picture *p)
{
    static const char head[] = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" "
                               "height=\"%u\" viewBox=\"0 0 %u %u\" font-family=\"sans-serif\" "
                               "font-size=\"12\">\n<rect width=\"%u\" height=\"%u\" "
                               "fill=\"#fff\"/>\n%s</svg>\n";
    char *drawing = NULL;
    size_t size;
    FILE *to = open_memstream(&drawing, &size);
    if (!to)
        return;
    svg_words(to, (struct place){MARGIN, 34, INNER / 2, 0},
              " font-size=\"20\" font-weight=\"bold\"", p->title);
    svg_words(to, (struct place){MARGIN, 54, INNER, 0}, " fill=\"#444\"", p->note);
    uint32_t y = draw_vms(to, p, draw_devices(to, p, draw_memory(to, p, draw_cores(to, p, 86))));
    fclose(to);
    fprintf(out, head, WIDTH, y, WIDTH, y, WIDTH, y, drawing);
    free(drawing);
}
