/* text/normalizer.c - the steps of normalizer.h. NFC, which most models use and most text already is, is done only around
 * the code points that it may change (Unicode Standard Annex 15, section 9: quick check). */
#include "text/normalizer.h"

#include <string.h>
#include <utf8proc.h>

#include "core/memory.h"
#include "text/utf8.h"

enum { POINTS = 0x30000 }; /* no canonical mapping begins beyond */

static const int nfc = UTF8PROC_STABLE | UTF8PROC_COMPOSE;

/* What utf8proc's tables (15.0) order, compose or decompose and those of Hugging Face's package (9.0) leave alone: code
 * points that came to Unicode between the two. They are left alone here, too. */
static const int32_t later[][2] = {
    {0x7fd, 0x7fd},     {0x898, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},
    {0xc3c, 0xc3c},     {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x1715, 0x1715},
    {0x1abf, 0x1ace},   {0x1df6, 0x1dfa},   {0x32ff, 0x32ff},   {0xa7f2, 0xa7f4},
    {0xa82c, 0xa82c},   {0xab69, 0xab69},   {0x10781, 0x10785}, {0x10787, 0x107b0},
    {0x107b2, 0x107ba}, {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10efd, 0x10eff},
    {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b},
    {0x1145e, 0x1145e}, {0x11839, 0x1183a}, {0x11930, 0x11930}, {0x11938, 0x11938},
    {0x1193d, 0x1193e}, {0x11943, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34},
    {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45},
    {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x16ff0, 0x16ff1}, {0x1e030, 0x1e06d},
    {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef},
    {0x1e4ec, 0x1e4ef}, {0x1f16c, 0x1f16c}, {0x1fbf0, 0x1fbf9}};

static bool is_later(int32_t point)
{
    size_t low = 0, high = sizeof later / sizeof later[0];
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (point > later[middle][1])
            low = middle + 1;
        else
            high = middle;
    }
    return low < sizeof later / sizeof later[0] && point >= later[low][0];
}

static enum status add_step(struct normalizer *normalizer, struct normalizer_step **step)
{
    if (normalizer->count == NORMALIZER_STEPS_MAX)
        return FAIL(STATUS_UNSUPPORTED, "more than %d normalizers", NORMALIZER_STEPS_MAX);
    *step = &normalizer->steps[normalizer->count];
    memset(*step, 0, sizeof **step);
    return STATUS_OK;
}

/* ---- NFC's quick check ---- */

static void mark(uint8_t *changes, int32_t point)
{
    changes[point / 8] |= (uint8_t)(1u << (point % 8));
}

static bool is_marked(const uint8_t *changes, int32_t point)
{
    return point < POINTS && (changes[point / 8] >> (point % 8) & 1) != 0;
}

/* What a code point with a canonical decomposition does: it may change, and what comes second in it may join. */
static void mark_decomposition(uint8_t *changes, int32_t point)
{
    int32_t parts[32];
    uint8_t bytes[4];
    utf8proc_ssize_t size = utf8proc_encode_char(point, bytes);
    utf8proc_ssize_t count =
        utf8proc_decompose(bytes, size, parts, 32, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
    for (utf8proc_ssize_t i = 1; i < count; i++)
        mark(changes, parts[i]);
    if (count > 0 && count < 32)
        count = utf8proc_normalize_utf32(parts, count, (utf8proc_option_t)nfc);
    if (count != 1 || parts[0] != point)
        mark(changes, point);
}

static enum status find_changes(struct normalizer *normalizer)
{
    normalizer->changes = memory_alloc(POINTS / 8);
    if (normalizer->changes == NULL)
        return FAIL(STATUS_NO_MEMORY, "table of NFC");
    for (int32_t point = 0x80; point < POINTS; point++) {
        const utf8proc_property_t *property = utf8proc_get_property(point);
        if (property->combining_class != 0)
            mark(normalizer->changes, point);
        if (property->decomp_seqindex != UINT16_MAX && property->decomp_type == 0)
            mark_decomposition(normalizer->changes, point);
    }
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++)
        for (int32_t point = later[i][0]; point <= later[i][1]; point++)
            normalizer->changes[point / 8] &= (uint8_t) ~(1u << (point % 8));
    for (int32_t point = 0x1161; point <= 0x1175; point++) /* vowels and finals of Hangul */
        mark(normalizer->changes, point);
    for (int32_t point = 0x11a8; point <= 0x11c2; point++)
        mark(normalizer->changes, point);
    return STATUS_OK;
}

enum status normalizer_form(struct normalizer *normalizer, const char *name)
{
    static const struct {
        const char *name;
        int options;
    } forms[] = {{"NFC", nfc},
                 {"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
                 {"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
                 {"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT}};
    struct normalizer_step *step = NULL;
    TRY(add_step(normalizer, &step));
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (strcmp(forms[i].name, name) != 0)
            continue;
        step->kind = NORMAL_FORM;
        step->form = forms[i].options;
        normalizer->count++;
        return STATUS_OK;
    }
    return FAIL(STATUS_UNSUPPORTED, "no Unicode form %s", name);
}

/* ---- the other steps ---- */

enum status normalizer_prepend(struct normalizer *normalizer, const char *text)
{
    struct normalizer_step *step = NULL;
    TRY(add_step(normalizer, &step));
    step->kind = NORMAL_PREPEND;
    step->text = memory_text(text);
    if (step->text == NULL)
        return FAIL(STATUS_NO_MEMORY, "normalizer");
    normalizer->count++;
    return STATUS_OK;
}

enum status normalizer_replace(struct normalizer *normalizer, const char *pattern, bool literal,
                               const char *text)
{
    struct normalizer_step *step = NULL;
    TRY(add_step(normalizer, &step));
    step->kind = NORMAL_REPLACE;
    TRY(pattern_compile(&step->pattern, pattern, literal));
    step->text = memory_text(text);
    if (step->text == NULL) {
        pattern_free(&step->pattern);
        return FAIL(STATUS_NO_MEMORY, "normalizer");
    }
    normalizer->count++;
    return STATUS_OK;
}

enum status normalizer_strip(struct normalizer *normalizer, bool left, bool right)
{
    struct normalizer_step *step = NULL;
    TRY(add_step(normalizer, &step));
    step->kind = NORMAL_STRIP;
    step->left = left;
    step->right = right;
    normalizer->count++;
    return STATUS_OK;
}

enum status normalizer_lowercase(struct normalizer *normalizer)
{
    struct normalizer_step *step = NULL;
    TRY(add_step(normalizer, &step));
    step->kind = NORMAL_LOWERCASE;
    normalizer->count++;
    return STATUS_OK;
}

void normalizer_destroy(struct normalizer *normalizer)
{
    for (size_t i = 0; i < normalizer->count; i++) {
        pattern_free(&normalizer->steps[i].pattern);
        memory_free(normalizer->steps[i].text);
    }
    memory_free(normalizer->changes);
    memory_free(normalizer->points);
    buffer_free(&normalizer->texts[0]);
    buffer_free(&normalizer->texts[1]);
    memset(normalizer, 0, sizeof *normalizer);
}

/* ---- run ---- */

static bool is_ascii(const uint8_t *text, size_t size)
{
    uint8_t all = 0;
    for (size_t i = 0; i < size; i++)
        all |= text[i];
    return all < 0x80;
}

/* Appends the Unicode form of a text. */
static enum status append_form(struct normalizer *normalizer, int form, const uint8_t *text,
                               size_t size, struct buffer *out)
{
    utf8proc_ssize_t count = 0;
    for (int round = 0; round < 2; round++) {
        count = utf8proc_decompose(text, (utf8proc_ssize_t)size, normalizer->points,
                                   (utf8proc_ssize_t)normalizer->points_capacity,
                                   (utf8proc_option_t)form);
        if (count < 0)
            return FAIL(STATUS_INVALID, "Unicode normalization: %s", utf8proc_errmsg(count));
        if ((size_t)count < normalizer->points_capacity)
            break;
        /* one more than needed: reencode writes a NUL */
        size_t capacity = (size_t)count + 64;
        int32_t *points =
            memory_grow(normalizer->points, normalizer->points_capacity * sizeof *points,
                        capacity * sizeof *points);
        if (points == NULL)
            return FAIL(STATUS_NO_MEMORY, "text of %zu characters", capacity);
        normalizer->points = points;
        normalizer->points_capacity = capacity;
    }
    utf8proc_ssize_t bytes = utf8proc_reencode(normalizer->points, count, (utf8proc_option_t)form);
    if (bytes < 0)
        return FAIL(STATUS_INVALID, "Unicode normalization: %s", utf8proc_errmsg(bytes));
    return bytes == 0 ? STATUS_OK : buffer_append(out, normalizer->points, (size_t)bytes);
}

/* The form of what stands between code points that are left alone. */
static enum status append_forms(struct normalizer *normalizer, int form, const uint8_t *text,
                                size_t size, struct buffer *out)
{
    size_t done = 0, length;
    for (size_t at = 0; at < size; at += length) {
        if (!is_later(utf8_point(text + at, &length)))
            continue;
        if (at > done)
            TRY(append_form(normalizer, form, text + done, at - done, out));
        TRY(buffer_append(out, text + at, length));
        done = at + length;
    }
    return done < size ? append_form(normalizer, form, text + done, size - done, out) : STATUS_OK;
}

/* NFC of the runs that begin with an unmarked code point and go on with marked ones; the rest is copied. A code point
 * that is not marked is a boundary: nothing before it acts on it, and it stays as it is. */
static enum status compose(struct normalizer *normalizer, const uint8_t *text, size_t size,
                           struct buffer *out, bool *changed)
{
    size_t copied = 0, starter = 0, length;
    if (normalizer->changes == NULL)
        TRY(find_changes(normalizer));
    for (size_t at = 0; at < size;) {
        if (!is_marked(normalizer->changes, utf8_point(text + at, &length))) {
            starter = is_later(utf8_point(text + at, &length)) ? at + length : at;
            at += length;
            continue;
        }
        size_t end = at;
        while (end < size && is_marked(normalizer->changes, utf8_point(text + end, &length)))
            end += length;
        TRY(buffer_append(out, text + copied, starter - copied));
        TRY(append_form(normalizer, nfc, text + starter, end - starter, out));
        *changed = true;
        at = copied = starter = end;
    }
    return *changed ? buffer_append(out, text + copied, size - copied) : STATUS_OK;
}

static enum status replace(const struct normalizer_step *step, const uint8_t *text, size_t size,
                           struct buffer *out, bool *changed)
{
    struct pattern_search search = {0};
    size_t done = 0, range[2];
    bool found = true;
    while (true) {
        TRY(pattern_next(&step->pattern, &search, text, size, range, &found));
        if (!found)
            break;
        TRY(buffer_append(out, text + done, range[0] - done));
        TRY(buffer_text(out, step->text));
        done = range[1];
        *changed = true;
    }
    return *changed ? buffer_append(out, text + done, size - done) : STATUS_OK;
}

static enum status strip(const struct normalizer_step *step, const uint8_t *text, size_t size,
                         struct buffer *out)
{
    size_t begin = 0, end = 0, length;
    bool leading = step->left;
    for (size_t at = 0; at < size; at += length) {
        bool space = utf8_is_space(utf8_point(text + at, &length));
        leading = leading && space;
        if (leading)
            begin = at + length;
        if (!space)
            end = at + length;
    }
    end = step->right ? end : size;
    return begin < end ? buffer_append(out, text + begin, end - begin) : STATUS_OK;
}

/* The letters of Unicode 16 that utf8proc's tables lack; others through them. */
static int32_t lower(int32_t point)
{
    static const int32_t newer[][2] = {
        {0x1c89, 0x1c8a}, {0xa7cb, 0x264}, {0xa7cc, 0xa7cd}, {0xa7da, 0xa7db}, {0xa7dc, 0x19b}};
    for (size_t i = 0; i < sizeof newer / sizeof newer[0]; i++)
        if (point == newer[i][0])
            return newer[i][1];
    if (point >= 0x10d50 && point <= 0x10d65) /* Garay */
        return point + 0x20;
    return utf8proc_tolower(point);
}

static enum status lowercase(const uint8_t *text, size_t size, struct buffer *out)
{
    size_t length;
    for (size_t at = 0; at < size; at += length) {
        uint8_t bytes[4];
        int32_t point = utf8_point(text + at, &length);
        if (point == 0x130) { /* the one letter that becomes two (SpecialCasing.txt) */
            TRY(buffer_text(out, "i\xcc\x87"));
            continue;
        }
        utf8proc_ssize_t count = utf8proc_encode_char(lower(point), bytes);
        TRY(buffer_append(out, bytes, (size_t)count));
    }
    return STATUS_OK;
}

static enum status run_step(struct normalizer *normalizer, const struct normalizer_step *step,
                            const uint8_t *text, size_t size, struct buffer *out, bool *changed)
{
    switch (step->kind) {
    case NORMAL_FORM:
        if (is_ascii(text, size))
            return STATUS_OK;
        if (step->form == nfc)
            return compose(normalizer, text, size, out, changed);
        *changed = true;
        return append_forms(normalizer, step->form, text, size, out);
    case NORMAL_PREPEND:
        *changed = true;
        TRY(buffer_text(out, step->text));
        return buffer_append(out, text, size);
    case NORMAL_REPLACE:
        return replace(step, text, size, out, changed);
    case NORMAL_STRIP:
        *changed = true;
        return strip(step, text, size, out);
    case NORMAL_LOWERCASE:
        break;
    }
    *changed = true;
    return lowercase(text, size, out);
}

enum status normalizer_run(struct normalizer *normalizer, const uint8_t **text, size_t *size)
{
    size_t turn = 0;
    for (size_t i = 0; i<normalizer->count && * size> 0; i++) {
        struct buffer *out = &normalizer->texts[turn];
        bool changed = false;
        buffer_clear(out);
        TRY(run_step(normalizer, &normalizer->steps[i], *text, *size, out, &changed));
        if (!changed)
            continue;
        *text = out->bytes;
        *size = out->size;
        turn = 1 - turn;
    }
    return STATUS_OK;
}
