/* text/pretokenizer.c - the steps of pretokenizer.h, the later ones inside the earlier ones. */
#include "text/pretokenizer.h"

#include <string.h>

static enum status add_step(struct pretokenizer *pretokenizer, struct pretokenizer_step **step)
{
    if (pretokenizer->count == PRETOKENIZER_STEPS_MAX)
        return FAIL(STATUS_UNSUPPORTED, "more than %d pre-tokenizers", PRETOKENIZER_STEPS_MAX);
    *step = &pretokenizer->steps[pretokenizer->count];
    memset(*step, 0, sizeof **step);
    buffer_init(&(*step)->scratch, 0);
    return STATUS_OK;
}

enum status pretokenizer_split(struct pretokenizer *pretokenizer, const char *pattern, bool literal,
                               enum split_behavior behavior, bool invert)
{
    struct pretokenizer_step *step = NULL;
    TRY(add_step(pretokenizer, &step));
    step->kind = STEP_SPLIT;
    step->behavior = behavior;
    step->invert = invert;
    TRY(pattern_compile(&step->pattern, pattern, literal));
    pretokenizer->count++;
    return STATUS_OK;
}

enum status pretokenizer_space(struct pretokenizer *pretokenizer)
{
    struct pretokenizer_step *step = NULL;
    TRY(add_step(pretokenizer, &step));
    step->kind = STEP_SPACE;
    pretokenizer->count++;
    return STATUS_OK;
}

enum status pretokenizer_mark(struct pretokenizer *pretokenizer, const char *mark,
                              enum mark_front front)
{
    struct pretokenizer_step *step = NULL;
    TRY(add_step(pretokenizer, &step));
    if (mark[0] == '\0' || strlen(mark) >= sizeof step->mark)
        return FAIL(STATUS_UNSUPPORTED, "a mark of %zu bytes is not supported", strlen(mark));
    step->kind = STEP_MARK;
    step->front = front;
    memcpy(step->mark, mark, strlen(mark));
    pretokenizer->count++;
    return STATUS_OK;
}

void pretokenizer_destroy(struct pretokenizer *pretokenizer)
{
    for (size_t i = 0; i < pretokenizer->count; i++) {
        pattern_free(&pretokenizer->steps[i].pattern);
        buffer_free(&pretokenizer->steps[i].scratch);
    }
    memset(pretokenizer, 0, sizeof *pretokenizer);
}

struct run {
    struct pretokenizer *pretokenizer;
    enum status (*piece)(void *context, const uint8_t *bytes, size_t size);
    void *context;
};

static enum status run_step(const struct run *run, size_t depth, const uint8_t *text, size_t size,
                            bool start);

/* ---- split ---- */

struct span {
    size_t begin, end;
    bool match, held; /* held: waits for what comes behind it */
};

struct splitting {
    const struct run *run;
    size_t depth;
    const uint8_t *text;
    enum split_behavior behavior;
    bool start;
    struct span last; /* the piece in hand */
    bool match;       /* of the item before */
};

static enum status put(const struct splitting *splitting, size_t begin, size_t end)
{
    return run_step(splitting->run, splitting->depth + 1, splitting->text + begin, end - begin,
                    splitting->start && begin == 0);
}

static enum status put_last(struct splitting *splitting)
{
    if (!splitting->last.held)
        return STATUS_OK;
    splitting->last.held = false;
    return put(splitting, splitting->last.begin, splitting->last.end);
}

/* One match or gap; together they cover the text. */
static enum status item(struct splitting *splitting, size_t begin, size_t end, bool match)
{
    if (splitting->behavior == SPLIT_ISOLATED)
        return put(splitting, begin, end);
    if (splitting->behavior == SPLIT_REMOVED)
        return match ? STATUS_OK : put(splitting, begin, end);
    bool joins = false;
    if (splitting->behavior == SPLIT_MERGED_WITH_PREVIOUS)
        joins = match && !splitting->match;
    else if (splitting->behavior == SPLIT_MERGED_WITH_NEXT)
        joins = !match && splitting->match;
    else
        joins = match == splitting->match;
    splitting->match = match;
    if (joins && splitting->last.held) {
        splitting->last.end = end;
        return STATUS_OK;
    }
    TRY(put_last(splitting));
    splitting->last = (struct span){begin, end, match, true};
    return STATUS_OK;
}

static enum status run_split(const struct run *run, size_t depth, const uint8_t *text, size_t size,
                             bool start)
{
    const struct pretokenizer_step *step = &run->pretokenizer->steps[depth];
    struct splitting splitting = {run, depth, text, step->behavior, start, {0}, false};
    struct pattern_search search = {0};
    size_t done = 0, range[2];
    bool found = false;
    while (true) {
        TRY(pattern_next(&step->pattern, &search, text, size, range, &found));
        if (!found)
            break;
        if (range[0] > done)
            TRY(item(&splitting, done, range[0], step->invert));
        TRY(item(&splitting, range[0], range[1], !step->invert));
        done = range[1];
    }
    if (done < size)
        TRY(item(&splitting, done, size, step->invert));
    return put_last(&splitting);
}

/* ---- the steps that change the text ---- */

static enum status run_space(const struct run *run, size_t depth, const uint8_t *text, size_t size,
                             bool start)
{
    struct buffer *scratch = &run->pretokenizer->steps[depth].scratch;
    if (text[0] == ' ')
        return run_step(run, depth + 1, text, size, start);
    buffer_clear(scratch);
    TRY(buffer_text(scratch, " "));
    TRY(buffer_append(scratch, text, size));
    return run_step(run, depth + 1, scratch->bytes, scratch->size, start);
}

static enum status run_mark(const struct run *run, size_t depth, const uint8_t *text, size_t size,
                            bool start)
{
    struct pretokenizer_step *step = &run->pretokenizer->steps[depth];
    size_t mark_size = strlen(step->mark);
    bool marked = text[0] == ' ' || (size >= mark_size && memcmp(text, step->mark, mark_size) == 0);
    buffer_clear(&step->scratch);
    if (!marked && (step->front == MARK_ALWAYS || (step->front == MARK_FIRST && start)))
        TRY(buffer_text(&step->scratch, step->mark));
    for (size_t at = 0; at < size;) {
        const uint8_t *space = memchr(text + at, ' ', size - at);
        size_t end = space ? (size_t)(space - text) : size;
        TRY(buffer_append(&step->scratch, text + at, end - at));
        if (space != NULL)
            TRY(buffer_text(&step->scratch, step->mark));
        at = end + 1;
    }
    return run_step(run, depth + 1, step->scratch.bytes, step->scratch.size, start);
}

static enum status run_step(const struct run *run, size_t depth, const uint8_t *text, size_t size,
                            bool start)
{
    if (size == 0)
        return STATUS_OK;
    if (depth == run->pretokenizer->count)
        return run->piece(run->context, text, size);
    switch (run->pretokenizer->steps[depth].kind) {
    case STEP_SPLIT:
        return run_split(run, depth, text, size, start);
    case STEP_SPACE:
        return run_space(run, depth, text, size, start);
    case STEP_MARK:
        break;
    }
    return run_mark(run, depth, text, size, start);
}

enum status pretokenizer_run(struct pretokenizer *pretokenizer, const uint8_t *text, size_t size,
                             bool start,
                             enum status (*piece)(void *context, const uint8_t *bytes, size_t size),
                             void *context)
{
    const struct run run = {pretokenizer, piece, context};
    return run_step(&run, 0, text, size, start);
}
