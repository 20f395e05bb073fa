/* Search/replace edits, and the patch in a response. */
#include <string.h>

#include "core/buffer.h"
#include "core/memory.h"
#include "reward/swe/patch.h"

#define SEARCH  "<<<<<<< SEARCH"
#define DIVIDER "======="
#define REPLACE ">>>>>>> REPLACE"

/* The next line of *rest, taken off it; false at the end. */
static bool next_line(struct answer_span *rest, struct answer_span *line)
{
    if (rest->size == 0)
        return false;
    const char *newline = memchr(rest->at, '\n', rest->size);
    size_t size = newline != NULL ? (size_t)(newline - rest->at) : rest->size;
    *line = (struct answer_span){rest->at, size};
    size_t used = newline != NULL ? size + 1 : size;
    *rest = (struct answer_span){rest->at + used, rest->size - used};
    return true;
}

static bool is_mark(struct answer_span line, const char *mark)
{
    line = answer_trimmed(line);
    return line.size == strlen(mark) && memcmp(line.at, mark, line.size) == 0;
}

/* "### path", "`path`", "path:" or the path alone; false when it cannot be one. */
static bool read_name(struct answer_span line, char path[TREE_PATH_MAX])
{
    line = answer_trimmed(line);
    if (line.size >= 3 && memcmp(line.at, "```", 3) == 0) /* a fence and its language */
        return false;
    while (line.size > 0 && strchr("#*` ", line.at[0]) != NULL) {
        line.at++;
        line.size--;
    }
    while (line.size > 0 && strchr("*`: \r", line.at[line.size - 1]) != NULL)
        line.size--;
    if (line.size == 0 || line.size >= TREE_PATH_MAX || memchr(line.at, ' ', line.size) != NULL)
        return false;
    memcpy(path, line.at, line.size);
    path[line.size] = '\0';
    return tree_path_ok(path);
}

/* How often `what` stands in the file as whole lines; *at is the first place. */
static size_t count_places(const struct tree_file *file, struct answer_span what, size_t *at)
{
    size_t count = 0, from = 0;
    while (what.size > 0 && from < file->size) {
        const char *found = memmem(file->bytes + from, file->size - from, what.at, what.size);
        if (found == NULL)
            break;
        size_t place = (size_t)(found - file->bytes);
        if (place == 0 || file->bytes[place - 1] == '\n') {
            if (count++ == 0)
                *at = place;
        }
        from = place + 1;
    }
    return count;
}

static enum status apply_edit(struct tree *tree, const char *path, struct answer_span search,
                              struct answer_span replace)
{
    const struct tree_file *file = tree_find(tree, path);
    if (answer_trimmed(search).size == 0 && file == NULL)
        return tree_put(tree, path, replace.at, replace.size);
    if (file == NULL)
        return FAIL(STATUS_INVALID, "an edit of %s, which does not exist", path);
    size_t at = 0, places = count_places(file, search, &at);
    if (places == 0 && search.size > 1) { /* the file may end without a newline */
        struct answer_span cut = {search.at, search.size - 1};
        bool last = file->size >= cut.size &&
                    memcmp(file->bytes + file->size - cut.size, cut.at, cut.size) == 0;
        places = last ? count_places(file, cut, &at) : 0;
        search = last ? cut : search;
    }
    if (places != 1)
        return FAIL(STATUS_INVALID, "the text of an edit stands %zu times in %s, not once", places,
                    path);
    struct buffer out;
    buffer_init(&out, TREE_BYTES_MAX);
    enum status status = buffer_append(&out, file->bytes, at);
    if (status == STATUS_OK)
        status = buffer_append(&out, replace.at, replace.size);
    if (status == STATUS_OK)
        status = buffer_append(&out, file->bytes + at + search.size, file->size - at - search.size);
    if (status == STATUS_OK)
        status = tree_put(tree, path, out.bytes, out.size);
    buffer_free(&out);
    return status;
}

/* The lines up to `mark`, which is taken off too. */
static bool read_until(struct answer_span *rest, const char *mark, struct answer_span *text)
{
    const char *begin = rest->at;
    struct answer_span line;
    while (next_line(rest, &line))
        if (is_mark(line, mark)) {
            *text = (struct answer_span){begin, (size_t)(line.at - begin)};
            return true;
        }
    return false;
}

enum status patch_edit(struct tree *tree, const char *text, size_t size, size_t *changed)
{
    char path[TREE_PATH_MAX] = "", named[TREE_PATH_MAX];
    struct answer_span rest = {text, size}, line, search, replace;
    *changed = 0;
    while (next_line(&rest, &line)) {
        if (!is_mark(line, SEARCH)) {
            if (answer_trimmed(line).size > 0 && read_name(line, named))
                memcpy(path, named, sizeof path);
            continue;
        }
        if (!read_until(&rest, DIVIDER, &search) || !read_until(&rest, REPLACE, &replace))
            return FAIL(STATUS_INVALID, "an edit has no " DIVIDER " or no " REPLACE);
        if (path[0] == '\0')
            return FAIL(STATUS_INVALID, "an edit does not say of which file");
        TRY(apply_edit(tree, path, search, replace));
        ++*changed;
    }
    return *changed > 0 ? STATUS_OK : FAIL(STATUS_INVALID, "the text has no edit in it");
}

enum status patch_response(struct tree *tree, struct answer_span response, size_t *changed)
{
    struct answer_span body, language;
    if (memmem(response.at, response.size, SEARCH, strlen(SEARCH)) != NULL)
        return patch_edit(tree, response.at, response.size, changed);
    if (answer_fenced(response, "diff patch", &body, &language))
        return patch_apply(tree, body.at, body.size, changed);
    const char *begin = memmem(response.at, response.size, "diff --git ", 11);
    if (begin == NULL)
        begin = memmem(response.at, response.size, "--- ", 4);
    if (begin != NULL && (begin == response.at || begin[-1] == '\n')) {
        size_t left = response.size - (size_t)(begin - response.at);
        if (memmem(begin, left, "\n+++ ", 5) != NULL)
            return patch_apply(tree, begin, left, changed);
    }
    return FAIL(STATUS_NOT_FOUND, "the response has no patch in it");
}
