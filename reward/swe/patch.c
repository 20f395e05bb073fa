#include "reward/swe/patch.h"

#include <stdio.h>
#include <string.h>

#include "core/buffer.h"
#include "core/memory.h"

enum { FUZZ_MAX = 2, LINES_MAX = 1 << 20, HUNK_LINES_MAX = 1 << 16, PATCH_BYTES_MAX = 16 << 20 };

/* ---- lines ---- */

struct line {
    const char *at;
    size_t size; /* without its end */
};

struct lines {
    struct line *items; /* [count], owned; they point into the text */
    size_t count;
    bool ends; /* the last one ends with a newline */
    bool crlf; /* the first one ends with \r\n */
};

static enum status split(const char *text, size_t size, struct lines *lines)
{
    *lines = (struct lines){.ends = size == 0 || text[size - 1] == '\n'};
    size_t count = lines->ends ? 0 : 1;
    for (size_t i = 0; i < size; i++)
        count += text[i] == '\n';
    lines->items = count <= LINES_MAX ? memory_array(count + 1, sizeof *lines->items) : NULL;
    if (lines->items == NULL)
        return FAIL(STATUS_LIMIT, "a text of %zu lines", count);
    for (const char *at = text, *end = text + size; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline != NULL ? newline : end;
        lines->items[lines->count++] = (struct line){at, (size_t)(stop - at)};
        at = newline != NULL ? newline + 1 : end;
    }
    lines->crlf = lines->count > 0 && lines->items[0].size > 0 &&
                  lines->items[0].at[lines->items[0].size - 1] == '\r';
    return STATUS_OK;
}

static struct line without_cr(struct line line)
{
    if (line.size > 0 && line.at[line.size - 1] == '\r')
        line.size--;
    return line;
}

static bool same(struct line a, struct line b)
{
    a = without_cr(a);
    b = without_cr(b);
    return a.size == b.size && memcmp(a.at, b.at, a.size) == 0;
}

static bool begins(struct line line, const char *word)
{
    size_t length = strlen(word);
    return line.size >= length && memcmp(line.at, word, length) == 0;
}

/* ---- a hunk ---- */

struct hunk {
    size_t old_start, old_count, new_count;
    struct line *old, *made;    /* [old_count], [new_count] */
    char *old_kind, *made_kind; /* ' ' context, '-' or '+' */
    size_t at_old, at_made;     /* filled so far */
    bool no_newline;            /* the new text ends without one */
    size_t line;                /* of the patch, for sentences */
};

static void hunk_free(struct hunk *hunk)
{
    memory_free(hunk->old);
    memory_free(hunk->made);
    memory_free(hunk->old_kind);
    memory_free(hunk->made_kind);
    *hunk = (struct hunk){0};
}

bool patch_number(const char **at, const char *end, size_t *value)
{
    const char *from = *at;
    *value = 0;
    for (; *at < end && **at >= '0' && **at <= '9'; ++*at) {
        if (*value > SIZE_MAX / 20)
            return false;
        *value = *value * 10 + (size_t)(**at - '0');
    }
    return *at > from;
}

/* "-12,3" or "+12"; the count is 1 when it is left out. */
static bool read_range(const char **at, const char *end, char sign, size_t *start, size_t *count)
{
    if (*at >= end || **at != sign)
        return false;
    ++*at;
    *count = 1;
    if (!patch_number(at, end, start))
        return false;
    if (*at < end && **at == ',') {
        ++*at;
        return patch_number(at, end, count);
    }
    return true;
}

static enum status hunk_open(struct hunk *hunk, struct line header, size_t number)
{
    const char *end = header.at + header.size;
    size_t new_start = 0;
    *hunk = (struct hunk){.line = number};
    const char *at = header.at + 3; /* after "@@ " */
    bool read = read_range(&at, end, '-', &hunk->old_start, &hunk->old_count) && at < end &&
                *at++ == ' ' && read_range(&at, end, '+', &new_start, &hunk->new_count);
    if (!read || !begins((struct line){at, (size_t)(end - at)}, " @@") ||
        hunk->old_count > HUNK_LINES_MAX || hunk->new_count > HUNK_LINES_MAX)
        return FAIL(STATUS_INVALID, "line %zu of the patch is no hunk header", number);
    hunk->old = memory_array(hunk->old_count + 1, sizeof *hunk->old);
    hunk->made = memory_array(hunk->new_count + 1, sizeof *hunk->made);
    hunk->old_kind = memory_alloc(hunk->old_count + 1);
    hunk->made_kind = memory_alloc(hunk->new_count + 1);
    if (hunk->old == NULL || hunk->made == NULL || hunk->old_kind == NULL ||
        hunk->made_kind == NULL) {
        hunk_free(hunk);
        return FAIL(STATUS_NO_MEMORY, "a hunk");
    }
    return STATUS_OK;
}

static bool hunk_full(const struct hunk *hunk)
{
    return hunk->at_old == hunk->old_count && hunk->at_made == hunk->new_count;
}

static bool hunk_add(struct hunk *hunk, struct line line)
{
    char kind = line.size > 0 ? line.at[0] : ' '; /* an empty line lost its blank on the way */
    if (kind == '\r')
        kind = ' ';
    struct line text = line.size > 0 ? (struct line){line.at + 1, line.size - 1} : line;
    if (kind != ' ' && kind != '-' && kind != '+')
        return false;
    if ((kind != '+' && hunk->at_old == hunk->old_count) ||
        (kind != '-' && hunk->at_made == hunk->new_count))
        return false;
    if (kind != '+') {
        hunk->old_kind[hunk->at_old] = kind;
        hunk->old[hunk->at_old++] = text;
    }
    if (kind != '-') {
        hunk->made_kind[hunk->at_made] = kind;
        hunk->made[hunk->at_made++] = text;
    }
    return true;
}

/* Context lines at the two ends of the hunk that may be left out. */
static void context_ends(const struct hunk *hunk, size_t *head, size_t *tail)
{
    *head = *tail = 0;
    while (*head < hunk->old_count && hunk->old_kind[*head] == ' ' && *head < hunk->new_count &&
           hunk->made_kind[*head] == ' ')
        ++*head;
    while (*tail + *head < hunk->old_count && *tail + *head < hunk->new_count &&
           hunk->old_kind[hunk->old_count - 1 - *tail] == ' ' &&
           hunk->made_kind[hunk->new_count - 1 - *tail] == ' ')
        ++*tail;
}

static bool fits(const struct lines *file, const struct hunk *hunk, size_t head, size_t tail,
                 size_t at)
{
    size_t count = hunk->old_count - head - tail;
    if (at > file->count || count > file->count - at)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!same(file->items[at + i], hunk->old[head + i]))
            return false;
    return true;
}

/* The place nearest to `wanted`, at or after `from`. False: none. */
static bool find_place(const struct lines *file, const struct hunk *hunk, size_t head, size_t tail,
                       size_t from, size_t wanted, size_t *at)
{
    for (size_t distance = 0; distance <= file->count; distance++) {
        if (wanted + distance >= from && fits(file, hunk, head, tail, wanted + distance)) {
            *at = wanted + distance;
            return true;
        }
        if (distance > 0 && wanted >= distance && wanted - distance >= from &&
            fits(file, hunk, head, tail, wanted - distance)) {
            *at = wanted - distance;
            return true;
        }
    }
    return false;
}

/* ---- one file ---- */

struct target {
    char old[TREE_PATH_MAX], new[TREE_PATH_MAX]; /* "" is /dev/null */
    struct lines lines;                          /* of the old file */
    struct buffer out;                           /* the new file so far */
    size_t copied;                               /* old lines in it */
    long shift; /* how far the last hunk stood from where it said */
    bool no_newline, open;
};

static void target_free(struct target *target)
{
    memory_free(target->lines.items);
    buffer_free(&target->out);
    *target = (struct target){0};
}

static enum status put_line(struct target *target, struct line line, bool crlf)
{
    line = without_cr(line);
    TRY(buffer_append(&target->out, line.at, line.size));
    return buffer_append(&target->out, crlf ? "\r\n" : "\n", crlf ? 2 : 1);
}

static enum status copy_lines(struct target *target, size_t until)
{
    for (; target->copied < until; target->copied++) {
        struct line line = target->lines.items[target->copied];
        TRY(buffer_append(&target->out, line.at, line.size));
        TRY(buffer_append(&target->out, "\n", 1));
    }
    return STATUS_OK;
}

static enum status apply_hunk(struct target *target, const struct hunk *hunk)
{
    size_t head = 0, tail = 0, most_head = 0, most_tail = 0, at = 0;
    context_ends(hunk, &most_head, &most_tail);
    long wanted = (long)hunk->old_start - (hunk->old_count > 0 ? 1 : 0) + target->shift;
    bool found = false;
    for (size_t fuzz = 0; fuzz <= FUZZ_MAX && !found; fuzz++) {
        head = fuzz < most_head ? fuzz : most_head;
        tail = fuzz < most_tail ? fuzz : most_tail;
        if (fuzz > 0 && hunk->old_count - head - tail == 0)
            break; /* nothing would be left to find */
        long place = wanted + (long)head;
        found = find_place(&target->lines, hunk, head, tail, target->copied,
                           place > 0 ? (size_t)place : 0, &at);
    }
    if (!found)
        return FAIL(STATUS_INVALID, "the hunk of line %zu does not fit %s", hunk->line,
                    target->old[0] != '\0' ? target->old : target->new);
    target->shift += (long)at - (long)head - wanted;
    TRY(copy_lines(target, at));
    for (size_t i = head; i < hunk->new_count - tail; i++)
        TRY(put_line(target, hunk->made[i], target->lines.crlf));
    target->copied = at + hunk->old_count - head - tail;
    target->no_newline = target->no_newline || hunk->no_newline;
    return STATUS_OK;
}

static enum status target_close(struct tree *tree, struct target *target, size_t *changed)
{
    if (!target->open)
        return STATUS_OK;
    bool tail = target->copied < target->lines.count;
    TRY(copy_lines(target, target->lines.count));
    bool cut = tail ? !target->lines.ends : target->no_newline;
    if (cut && target->out.size > 0)
        target->out.size--;
    if (strcmp(target->old, target->new) != 0 && target->old[0] != '\0')
        tree_remove(tree, target->old);
    if (target->new[0] != '\0')
        TRY(tree_put(tree, target->new, target->out.bytes, target->out.size));
    ++*changed;
    target_free(target);
    return STATUS_OK;
}

/* "--- a/x.py<TAB>time" without its first word: the path, "" for /dev/null. */
static enum status read_path(struct line line, const struct tree *tree, char out[TREE_PATH_MAX])
{
    const char *at = line.at + 4, *end = line.at + line.size;
    const char *tab = memchr(at, '\t', (size_t)(end - at));
    struct line path = without_cr((struct line){at, (size_t)((tab != NULL ? tab : end) - at)});
    while (path.size > 0 && path.at[path.size - 1] == ' ')
        path.size--;
    if (path.size >= 2 && path.at[0] == '"' && path.at[path.size - 1] == '"')
        path = (struct line){path.at + 1, path.size - 2};
    out[0] = '\0';
    if (path.size == 9 && memcmp(path.at, "/dev/null", 9) == 0)
        return STATUS_OK;
    if (path.size == 0 || path.size >= TREE_PATH_MAX)
        return FAIL(STATUS_INVALID, "the patch names a file without a usable path");
    memcpy(out, path.at, path.size);
    out[path.size] = '\0';
    const char *slash = strchr(out, '/');
    bool prefixed = begins(path, "a/") || begins(path, "b/");
    if (slash != NULL &&
        (prefixed || (tree_find(tree, out) == NULL && tree_find(tree, slash + 1) != NULL)))
        memmove(out, slash + 1, strlen(slash + 1) + 1);
    return tree_path_ok(out)
               ? STATUS_OK
               : FAIL(STATUS_INVALID, "the patch names \"%.100s\", which is outside", out);
}

static enum status target_open(struct target *target, const struct tree *tree, struct line old,
                               struct line new)
{
    *target = (struct target){0};
    TRY(read_path(old, tree, target->old));
    TRY(read_path(new, tree, target->new));
    if (target->old[0] == '\0' && target->new[0] == '\0')
        return FAIL(STATUS_INVALID, "the patch changes /dev/null to /dev/null");
    const struct tree_file *file = target->old[0] != '\0' ? tree_find(tree, target->old) : NULL;
    if (file == NULL && target->old[0] != '\0')
        return FAIL(STATUS_INVALID, "the patch changes %s, which does not exist", target->old);
    if (target->old[0] == '\0' && tree_find(tree, target->new) != NULL)
        return FAIL(STATUS_INVALID, "the patch makes %s, which exists", target->new);
    buffer_init(&target->out, TREE_BYTES_MAX);
    TRY(split(file != NULL ? file->bytes : "", file != NULL ? file->size : 0, &target->lines));
    target->open = true;
    return STATUS_OK;
}

/* ---- the whole patch ---- */

/* One hunk from line *at on: its header and its lines. */
static enum status take_hunk(struct target *target, const struct lines *patch, size_t *at)
{
    struct hunk hunk;
    TRY(hunk_open(&hunk, patch->items[*at], *at + 1));
    size_t i = *at + 1;
    while (i < patch->count && !hunk_full(&hunk) &&
           (begins(patch->items[i], "\\") || hunk_add(&hunk, patch->items[i])))
        i++;
    enum status status =
        hunk_full(&hunk)
            ? STATUS_OK
            : FAIL(STATUS_INVALID, "the hunk of line %zu has not the lines it counts", hunk.line);
    if (status == STATUS_OK && i < patch->count && begins(patch->items[i], "\\")) {
        struct line last = patch->items[i - 1];
        hunk.no_newline = last.size > 0 && last.at[0] != '-';
        i++;
    }
    if (status == STATUS_OK)
        status = apply_hunk(target, &hunk);
    hunk_free(&hunk);
    *at = i;
    return status;
}

/* A rename without changes has no "---" line. */
static enum status take_rename(struct tree *tree, const struct lines *patch, size_t at,
                               size_t *changed)
{
    char from[TREE_PATH_MAX], to[TREE_PATH_MAX];
    struct line old = patch->items[at], new = at + 1 < patch->count ? patch->items[at + 1] : old;
    if (!begins(new, "rename to ") ||
        (at + 2 < patch->count && begins(patch->items[at + 2], "index ")))
        return STATUS_OK; /* changes follow, and name both paths themselves */
    snprintf(from, sizeof from, "%.*s", (int)(old.size - 12), old.at + 12);
    snprintf(to, sizeof to, "%.*s", (int)(new.size - 10), new.at + 10);
    const struct tree_file *file = tree_find(tree, from);
    if (file == NULL || !tree_path_ok(to))
        return FAIL(STATUS_INVALID, "the patch renames \"%.100s\" to \"%.100s\"", from, to);
    struct tree_file copy = *file;
    TRY(tree_put(tree, to, copy.bytes, copy.size));
    tree_remove(tree, from);
    ++*changed;
    return STATUS_OK;
}

static enum status apply_lines(struct tree *tree, const struct lines *patch, struct target *target,
                               size_t *changed)
{
    for (size_t i = 0; i < patch->count;) {
        struct line line = patch->items[i];
        bool pair =
            begins(line, "--- ") && i + 1 < patch->count && begins(patch->items[i + 1], "+++ ");
        if (pair) {
            TRY(target_close(tree, target, changed));
            TRY(target_open(target, tree, line, patch->items[i + 1]));
            i += 2;
        } else if (begins(line, "@@ ")) {
            if (!target->open)
                return FAIL(STATUS_INVALID, "line %zu of the patch: a hunk before any file", i + 1);
            TRY(take_hunk(target, patch, &i));
        } else if (begins(line, "GIT binary patch") || begins(line, "Binary files ")) {
            return FAIL(STATUS_INVALID, "line %zu of the patch: binary changes are not taken",
                        i + 1);
        } else {
            if (begins(line, "rename from ")) {
                TRY(target_close(tree, target, changed)); /* its lines stand in the tree */
                TRY(take_rename(tree, patch, i, changed));
            }
            i++;
        }
    }
    return target_close(tree, target, changed);
}

enum status patch_apply(struct tree *tree, const char *text, size_t size, size_t *changed)
{
    *changed = 0;
    if (size > PATCH_BYTES_MAX)
        return FAIL(STATUS_INVALID, "a patch of %zu bytes; %d is the most", size, PATCH_BYTES_MAX);
    struct lines patch;
    TRY(split(text, size, &patch));
    struct target target = {0};
    enum status status = apply_lines(tree, &patch, &target, changed);
    target_free(&target);
    memory_free(patch.items);
    if (status == STATUS_OK && *changed == 0)
        return FAIL(STATUS_INVALID, "the text has no change of a file in it");
    return status;
}
