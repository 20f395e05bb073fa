/* Where a diff changes a tree, for bug localisation. */
#include <stdio.h>
#include <string.h>

#include "reward/swe/patch.h"

static size_t line_end(const char *text, size_t size, size_t at)
{
    const char *newline = memchr(text + at, '\n', size - at);
    return newline != NULL ? (size_t)(newline - text) : size;
}

static size_t indent_of(const char *text, size_t from, size_t to)
{
    size_t i = from;
    while (i < to && (text[i] == ' ' || text[i] == '\t'))
        i++;
    return i - from;
}

/* Name of the def in the line, its size; 0: the line is none. */
static size_t defined(const char *text, size_t from, size_t to, const char **name)
{
    from += indent_of(text, from, to);
    size_t skip = to - from > 10 && memcmp(text + from, "async def ", 10) == 0 ? 10
                  : to - from > 4 && memcmp(text + from, "def ", 4) == 0       ? 4
                                                                               : 0;
    if (skip == 0)
        return 0;
    *name = text + from + skip;
    size_t n = 0;
    while (from + skip + n < to && strchr("( :\t", (*name)[n]) == NULL)
        n++;
    return n;
}

/* The innermost function around line `wanted` (from 1): the last def above it that stands further left. */
static void add_function(json_t *places, const struct tree_file *file, size_t wanted)
{
    const char *name = NULL, *found = NULL;
    size_t found_size = 0, found_indent = 0, number = 1;
    for (size_t at = 0; at < file->size && number <= wanted; number++) {
        size_t end = line_end(file->bytes, file->size, at);
        size_t indent = indent_of(file->bytes, at, end),
               size = defined(file->bytes, at, end, &name);
        bool blank = at + indent >= end;
        if (size > 0) {
            found = name;
            found_size = size;
            found_indent = indent;
        } else if (found != NULL && !blank && indent <= found_indent &&
                   file->bytes[at + indent] != ')') {
            found = NULL; /* left it */
        }
        at = end + 1;
    }
    char place[TREE_PATH_MAX + 256];
    if (found != NULL && found_size < 250) {
        snprintf(place, sizeof place, "%s::%.*s", file->path, (int)found_size, found);
        json_object_set_new(places, place, json_true());
    }
}

static const struct tree_file *named_file(const struct tree *tree, const char *line, size_t size)
{
    char path[TREE_PATH_MAX];
    const char *tab = memchr(line, '\t', size);
    size_t n = tab != NULL ? (size_t)(tab - line) : size;
    if (n > 0 && line[n - 1] == '\r')
        n--;
    if (n < 4 || n - 4 >= sizeof path)
        return NULL;
    memcpy(path, line + 4, n - 4);
    path[n - 4] = '\0';
    const struct tree_file *file = tree_find(tree, path);
    const char *slash = strchr(path, '/');
    return file != NULL || slash == NULL ? file : tree_find(tree, slash + 1);
}

json_t *patch_places(const struct tree *tree, const char *text, size_t size)
{
    json_t *places = json_object();
    const struct tree_file *file = NULL;
    size_t old = 0;
    for (size_t at = 0, end; places != NULL && at < size; at = end + 1) {
        end = line_end(text, size, at);
        const char *line = text + at;
        size_t n = end - at;
        if (n > 4 && memcmp(line, "--- ", 4) == 0) {
            file = named_file(tree, line, n);
            old = 0;
            if (file != NULL)
                json_object_set_new(places, file->path, json_true());
        } else if (n > 4 && memcmp(line, "@@ -", 4) == 0) {
            const char *digits = line + 4;
            if (!patch_number(&digits, text + end, &old))
                old = 0;
        } else if (file != NULL && old > 0 && n > 0 && line[0] == '-') {
            add_function(places, file, old++);
        } else if (file != NULL && old > 1 && n > 0 && line[0] == '+' &&
                   !(n > 3 && memcmp(line, "+++ ", 4) == 0)) {
            add_function(places, file, old - 1);
        } else if (old > 0 && (n == 0 || line[0] == ' ')) {
            old++;
        }
    }
    return places;
}
