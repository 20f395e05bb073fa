/* text/normalizer.c - the steps of normalizer.h. NFC, which most models use and most text already is, is done only around
 * the code points that it may change (Unicode Standard Annex 15, section 9: quick check). */
#include "text/normalizer.h"

#include <string.h>
#include <utf8proc.h>

#include "core/memory.h"
#include "text/utf8.h"

enum { POINTS = 0x30000 }; /* no canonical mapping begins beyond */

static const int nfc = UTF8PROC_STABLE | UTF8PROC_COMPOSE;

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
        if (forms[i].options == nfc && normalizer->changes == NULL)
            TRY(find_changes(normalizer));
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

/* NFC of the runs that begin with an unmarked code point and go on with marked ones; the rest is copied. A code point
 * that is not marked is a boundary: nothing before it acts on it, and it stays as it is. */
static enum status compose(struct normalizer *normalizer, const uint8_t *text, size_t size,
                           struct buffer *out, bool *changed)
{
    size_t copied = 0, starter = 0, length;
    for (size_t at = 0; at < size;) {
        if (!is_marked(normalizer->changes, utf8_point(text + at, &length))) {
            starter = at;
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
        utf8proc_ssize_t count = utf8proc_encode_char(utf8proc_tolower(point), bytes);
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
        return append_form(normalizer, step->form, text, size, out);
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
