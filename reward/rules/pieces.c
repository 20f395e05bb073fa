#include "reward/rules/pieces.h"

#include <string.h>

#include "core/check.h"
#include "reward/rules/runes.h"

#include <utf8proc.h>

struct piece piece_of(const char *text)
{
    return (struct piece){text, strlen(text)};
}

bool piece_equal(struct piece a, struct piece b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.at, b.at, a.size) == 0);
}

bool piece_is(struct piece piece, const char *text)
{
    return piece_equal(piece, piece_of(text));
}

bool piece_starts(struct piece piece, const char *head)
{
    size_t length = strlen(head);
    return piece.size >= length && memcmp(piece.at, head, length) == 0;
}

size_t piece_find(struct piece piece, const char *what, size_t from)
{
    if (from >= piece.size)
        return piece.size;
    const char *found = memmem(piece.at + from, piece.size - from, what, strlen(what));
    return found != NULL ? (size_t)(found - piece.at) : piece.size;
}

size_t piece_find_last(struct piece piece, const char *what)
{
    size_t length = strlen(what);
    for (size_t i = piece.size; i >= length; i--) {
        if (memcmp(piece.at + i - length, what, length) == 0)
            return i - length;
    }
    return piece.size;
}

size_t piece_count(struct piece piece, const char *what)
{
    size_t count = 0, length = strlen(what);
    for (size_t at = piece_find(piece, what, 0); at < piece.size;
         at = piece_find(piece, what, at + length))
        count++;
    return count;
}

struct piece piece_from(struct piece piece, size_t from)
{
    size_t begin = from < piece.size ? from : piece.size;
    return (struct piece){piece.at + begin, piece.size - begin};
}

struct piece piece_to(struct piece piece, size_t to)
{
    return (struct piece){piece.at, to < piece.size ? to : piece.size};
}

static bool is_inner(char byte)
{
    return ((unsigned char)byte & 0xC0) == 0x80;
}

struct piece piece_last(struct piece piece, size_t count)
{
    size_t from = piece.size;
    while (from > 0 && count > 0) {
        from--;
        while (from > 0 && is_inner(piece.at[from]))
            from--;
        count--;
    }
    return piece_from(piece, from);
}

size_t piece_runes(struct piece piece)
{
    size_t count = 0;
    for (size_t i = 0; i < piece.size; i++)
        count += !is_inner(piece.at[i]);
    return count;
}

size_t piece_rune_size(struct piece piece, size_t place)
{
    size_t end = place;
    if (end < piece.size)
        end++;
    while (end < piece.size && is_inner(piece.at[end]))
        end++;
    return end - place;
}

static uint32_t rune_at(struct piece piece, size_t place)
{
    utf8proc_int32_t rune = 0;
    size_t size = piece_rune_size(piece, place);
    if (utf8proc_iterate((const utf8proc_uint8_t *)piece.at + place, (utf8proc_ssize_t)size,
                         &rune) <= 0)
        return 0xFFFD;
    return (uint32_t)rune;
}

struct piece piece_trimmed(struct piece piece)
{
    while (piece.size > 0 && rune_is_space(rune_at(piece, 0)))
        piece = piece_from(piece, piece_rune_size(piece, 0));
    while (piece.size > 0) {
        struct piece last = piece_last(piece, 1);
        if (!rune_is_space(rune_at(last, 0)))
            break;
        piece.size -= last.size;
    }
    return piece;
}

bool piece_build_start(struct pieces *pieces, struct piece_build *build, size_t limit)
{
    *build = (struct piece_build){arena_alloc(pieces->arena, limit + 1), 0, limit};
    if (build->text == NULL)
        pieces->full = true;
    return build->text != NULL;
}

void piece_build_add(struct piece_build *build, const char *text, size_t size)
{
    CHECK(size <= build->limit - build->size);
    if (size > 0)
        memcpy(build->text + build->size, text, size);
    build->size += size;
}

void piece_build_text(struct piece_build *build, const char *text)
{
    piece_build_add(build, text, strlen(text));
}

struct piece piece_built(const struct piece_build *build)
{
    return (struct piece){build->text, build->size};
}

struct piece pieces_replace(struct pieces *pieces, struct piece piece, const char *before,
                            const char *after)
{
    size_t count = piece_count(piece, before), length = strlen(before);
    struct piece_build build;
    if (count == 0)
        return piece;
    if (!piece_build_start(pieces, &build, piece.size + count * strlen(after)))
        return (struct piece){"", 0};
    size_t done = 0;
    for (size_t at = piece_find(piece, before, 0); at < piece.size;
         at = piece_find(piece, before, done)) {
        piece_build_add(&build, piece.at + done, at - done);
        piece_build_text(&build, after);
        done = at + length;
    }
    piece_build_add(&build, piece.at + done, piece.size - done);
    return piece_built(&build);
}

struct piece pieces_join(struct pieces *pieces, struct piece a, struct piece b, struct piece c,
                         struct piece d)
{
    struct piece_build build;
    if (!piece_build_start(pieces, &build, a.size + b.size + c.size + d.size))
        return (struct piece){"", 0};
    piece_build_add(&build, a.at, a.size);
    piece_build_add(&build, b.at, b.size);
    piece_build_add(&build, c.at, c.size);
    piece_build_add(&build, d.at, d.size);
    return piece_built(&build);
}
