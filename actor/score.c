/* actor/score.c - see score.h. The last id of a sequence is never fed: nothing is asked after it. */
#include "actor/score.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "actor/best_ids.h"
#include "core/check.h"
#include "core/memory.h"

enum {
    SLOTS = 32,
    LOGITS_MAX = 4 << 20, /* floats of logits on the host at once */
};

struct entry {
    struct entry *next;
    uint64_t tag;
    uint32_t count, top;
    uint32_t fed; /* ids [0, fed) went through the model */
    int32_t slot; /* -1: waits */
    uint32_t *ids;
    float *logprobs;
    uint32_t *top_ids;
    float *top_logprobs;
};

/* A row of the step: what entry and position its figures are for. */
struct row {
    struct entry *entry;
    uint32_t position; /* of the id that the row predicts */
};

struct scorer {
    struct engine *engine;
    scored_fn done;
    void *self;
    struct model_cache *cache;
    bool slot_used[SLOTS];
    struct entry *first, **end; /* in order of arrival */
    uint32_t pending;
    int32_t rows_max, logits_rows;
    struct op_segment segments[SLOTS];
    int32_t segment_count, rows;
    int32_t *ids;       /* [rows_max] */
    struct row *row;    /* [rows_max] */
    int32_t *row_index; /* [rows_max] rows of one head call */
    int32_t *target;    /* [rows_max] */
    float *logprob;     /* [rows_max] */
    float *logits;      /* [logits_rows, V], made on first use */
};

/* ---- life ---- */

static enum status create_cache(struct scorer *scorer)
{
    const struct engine *engine = scorer->engine;
    int64_t tile = engine->ops->kv_tile;
    int64_t positions = engine->positions_max > (uint32_t)scorer->rows_max
                            ? (int64_t)engine->positions_max
                            : scorer->rows_max;
    int64_t pages = (positions + tile - 1) / tile + SLOTS;
    return model_cache_create(engine->model, SLOTS, (int32_t)pages, (int32_t)engine->positions_max,
                              &scorer->cache);
}

enum status scorer_create(struct scorer **scorer, struct engine *engine, scored_fn done, void *self)
{
    struct scorer *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "a scorer");
    made->engine = engine;
    made->done = done;
    made->self = self;
    made->end = &made->first;
    made->rows_max =
        (int32_t)(engine->settings->actor.prefill_tokens + engine->settings->actor.slots);
    size_t rows = (size_t)made->rows_max;
    made->ids = memory_array(rows, sizeof *made->ids);
    made->row = memory_array(rows, sizeof *made->row);
    made->row_index = memory_array(rows, sizeof *made->row_index);
    made->target = memory_array(rows, sizeof *made->target);
    made->logprob = memory_array(rows, sizeof *made->logprob);
    bool whole = made->ids && made->row && made->row_index && made->target && made->logprob;
    enum status status =
        whole ? create_cache(made) : FAIL(STATUS_NO_MEMORY, "a scorer of %zu rows", rows);
    if (status == STATUS_OK)
        *scorer = made;
    else
        scorer_destroy(&made);
    return status;
}

static void entry_destroy(struct entry *entry)
{
    memory_free(entry->ids);
    memory_free(entry->logprobs);
    memory_free(entry->top_ids);
    memory_free(entry->top_logprobs);
    memory_free(entry);
}

void scorer_destroy(struct scorer **scorer)
{
    struct scorer *gone = *scorer;
    if (gone == NULL)
        return;
    while (gone->first != NULL) {
        struct entry *entry = gone->first;
        gone->first = entry->next;
        entry_destroy(entry);
    }
    model_cache_destroy(&gone->cache);
    memory_free(gone->ids);
    memory_free(gone->row);
    memory_free(gone->row_index);
    memory_free(gone->target);
    memory_free(gone->logprob);
    memory_free(gone->logits);
    memory_free(gone);
    *scorer = NULL;
}

/* ---- the queue ---- */

static enum status check_request(const struct scorer *scorer, const struct scorer_request *request)
{
    const struct engine *engine = scorer->engine;
    if (request->count == 0)
        return FAIL(STATUS_INVALID, "no ids to score");
    if (request->count > engine->positions_max)
        return FAIL(STATUS_LIMIT,
                    "%u ids to score, the cache holds sequences of %u: raise "
                    "data.prompt_tokens_max or cut the text",
                    request->count, engine->positions_max);
    for (uint32_t i = 0; i < request->count; i++)
        if (request->ids[i] >= (uint32_t)engine->shape.vocabulary)
            return FAIL(STATUS_INVALID, "id %u at position %u: the vocabulary has %d",
                        request->ids[i], i, engine->shape.vocabulary);
    if (request->top > SCORE_TOP_MAX)
        return FAIL(STATUS_INVALID, "the %u best ids of each position: at most %d", request->top,
                    SCORE_TOP_MAX);
    return STATUS_OK;
}

static enum status entry_create(const struct scorer *scorer, const struct scorer_request *request,
                                struct entry **out)
{
    struct entry *entry = memory_alloc(sizeof *entry);
    if (entry == NULL)
        return FAIL(STATUS_NO_MEMORY, "a sequence of %u ids", request->count);
    uint32_t vocabulary = (uint32_t)scorer->engine->shape.vocabulary;
    entry->tag = request->tag;
    entry->count = request->count;
    entry->top = request->top < vocabulary ? request->top : vocabulary;
    entry->slot = -1;
    size_t cells = (size_t)entry->count * entry->top;
    entry->ids = memory_array(entry->count, sizeof *entry->ids);
    entry->logprobs = memory_array(entry->count, sizeof *entry->logprobs);
    if (cells > 0) {
        entry->top_ids = memory_array(cells, sizeof *entry->top_ids);
        entry->top_logprobs = memory_array(cells, sizeof *entry->top_logprobs);
    }
    bool whole =
        entry->ids && entry->logprobs && (cells == 0 || (entry->top_ids && entry->top_logprobs));
    if (!whole) {
        entry_destroy(entry);
        return FAIL(STATUS_NO_MEMORY, "a sequence of %u ids", request->count);
    }
    memcpy(entry->ids, request->ids, entry->count * sizeof *entry->ids);
    entry->logprobs[0] = NAN;
    for (uint32_t j = 0; j < entry->top; j++)
        entry->top_logprobs[j] = NAN;
    *out = entry;
    return STATUS_OK;
}

enum status scorer_add(struct scorer *scorer, const struct scorer_request *request)
{
    struct entry *entry = NULL;
    TRY(check_request(scorer, request));
    TRY(entry_create(scorer, request, &entry));
    *scorer->end = entry;
    scorer->end = &entry->next;
    scorer->pending++;
    return STATUS_OK;
}

uint32_t scorer_pending(const struct scorer *scorer)
{
    return scorer->pending;
}

static void remove_entry(struct scorer *scorer, struct entry **link)
{
    struct entry *entry = *link;
    if (entry->slot >= 0) {
        model_cache_close(scorer->cache, entry->slot);
        scorer->slot_used[entry->slot] = false;
    }
    *link = entry->next;
    if (scorer->end == &entry->next)
        scorer->end = link;
    scorer->pending--;
    entry_destroy(entry);
}

void scorer_drop(struct scorer *scorer, uint64_t tag)
{
    for (struct entry **link = &scorer->first; *link != NULL; link = &(*link)->next)
        if ((*link)->tag == tag) {
            remove_entry(scorer, link);
            return;
        }
}

/* ---- one step ---- */

/* False: neither slot nor pages for it now. */
static bool open_entry(struct scorer *scorer, struct entry *entry)
{
    int32_t slot = 0, positions = (int32_t)entry->count - 1;
    while (slot < SLOTS && scorer->slot_used[slot])
        slot++;
    if (slot == SLOTS ||
        model_cache_pages_free(scorer->cache) < model_cache_pages_needed(scorer->cache, positions))
        return false;
    if (model_cache_open(scorer->cache, slot, positions) != STATUS_OK)
        return false;
    scorer->slot_used[slot] = true;
    entry->slot = slot;
    return true;
}

/* In order of arrival, each as far as the rows go; the first that finds no room ends the step's batch. */
static void assemble(struct scorer *scorer)
{
    scorer->rows = scorer->segment_count = 0;
    for (struct entry *entry = scorer->first; entry != NULL; entry = entry->next) {
        uint32_t left = (uint32_t)(scorer->rows_max - scorer->rows);
        uint32_t missing = entry->count - 1 - entry->fed;
        uint32_t count = missing < left ? missing : left;
        if (missing == 0)
            continue; /* a single id */
        if (count == 0 || (entry->slot < 0 && !open_entry(scorer, entry)))
            return;
        scorer->segments[scorer->segment_count++] =
            (struct op_segment){.slot = entry->slot,
                                .position = (int32_t)entry->fed,
                                .row = scorer->rows,
                                .count = (int32_t)count};
        for (uint32_t i = 0; i < count; i++, scorer->rows++) {
            scorer->ids[scorer->rows] = (int32_t)entry->ids[entry->fed + i];
            scorer->row[scorer->rows] = (struct row){entry, entry->fed + i + 1};
        }
        entry->fed += count;
    }
}

/* The head on `count` rows named in row_index: all with or all without their best ids. */
static enum status score_rows(struct scorer *scorer, const act *hidden, int32_t count, bool top)
{
    const struct engine *engine = scorer->engine;
    struct model_head head = {.rows = count,
                              .row_index = scorer->row_index,
                              .temperature = 1.0F,
                              .target = scorer->target,
                              .logprob = scorer->logprob,
                              .logits = top ? scorer->logits : NULL};
    for (int32_t i = 0; i < count; i++) {
        const struct row *row = &scorer->row[scorer->row_index[i]];
        scorer->target[i] = (int32_t)row->entry->ids[row->position];
    }
    TRY(model_head(engine->model, &engine->weights[engine->active], hidden, &head));
    for (int32_t i = 0; i < count; i++) {
        const struct row *row = &scorer->row[scorer->row_index[i]];
        row->entry->logprobs[row->position] = scorer->logprob[i];
        if (!top)
            continue;
        struct entry *entry = row->entry;
        size_t at = (size_t)row->position * entry->top,
               vocabulary = (size_t)engine->shape.vocabulary;
        (void)best_ids(scorer->logits + (size_t)i * vocabulary, (uint32_t)vocabulary, entry->top,
                       entry->ids[row->position], scorer->logprob[i], entry->top_ids + at,
                       entry->top_logprobs + at);
    }
    return STATUS_OK;
}

static enum status need_logits(struct scorer *scorer)
{
    if (scorer->logits != NULL)
        return STATUS_OK;
    int32_t vocabulary = scorer->engine->shape.vocabulary, rows = LOGITS_MAX / vocabulary;
    rows = rows < 1 ? 1 : rows;
    scorer->logits_rows = rows < scorer->rows_max ? rows : scorer->rows_max;
    scorer->logits = memory_array((size_t)scorer->logits_rows * (size_t)vocabulary, sizeof(float));
    return scorer->logits != NULL
               ? STATUS_OK
               : FAIL(STATUS_NO_MEMORY, "logits of %d rows", scorer->logits_rows);
}

static enum status score_all(struct scorer *scorer, const act *hidden)
{
    int32_t plain = 0, count = 0;
    for (int32_t r = 0; r < scorer->rows; r++)
        if (scorer->row[r].entry->top == 0)
            scorer->row_index[plain++] = r;
    if (plain > 0)
        TRY(score_rows(scorer, hidden, plain, false));
    if (plain == scorer->rows)
        return STATUS_OK;
    TRY(need_logits(scorer));
    for (int32_t r = 0; r < scorer->rows; r++) {
        if (scorer->row[r].entry->top == 0)
            continue;
        scorer->row_index[count++] = r;
        if (count < scorer->logits_rows)
            continue;
        TRY(score_rows(scorer, hidden, count, true));
        count = 0;
    }
    return count > 0 ? score_rows(scorer, hidden, count, true) : STATUS_OK;
}

static enum status run_rows(struct scorer *scorer)
{
    const struct engine *engine = scorer->engine;
    const struct model_batch batch = {.rows = scorer->rows,
                                      .ids = scorer->ids,
                                      .segments = scorer->segments,
                                      .segment_count = scorer->segment_count};
    act *hidden = NULL;
    TRY(model_forward(engine->model, &engine->weights[engine->active], scorer->cache, &batch, false,
                      &hidden));
    return score_all(scorer, hidden);
}

/* Hands over what is complete. */
static enum status finish(struct scorer *scorer)
{
    for (struct entry **link = &scorer->first; *link != NULL;) {
        struct entry *entry = *link;
        if (entry->fed + 1 < entry->count) {
            link = &entry->next;
            continue;
        }
        const struct scored scored = {.tag = entry->tag,
                                      .ids = entry->ids,
                                      .count = entry->count,
                                      .top = entry->top,
                                      .logprobs = entry->logprobs,
                                      .top_ids = entry->top_ids,
                                      .top_logprobs = entry->top_logprobs};
        enum status status = scorer->done(scorer->self, &scored);
        remove_entry(scorer, link);
        TRY(status);
    }
    return STATUS_OK;
}

enum status scorer_step(struct scorer *scorer, bool *worked)
{
    *worked = scorer->first != NULL;
    if (scorer->first == NULL)
        return STATUS_OK;
    if (scorer->engine->active < 0)
        return FAIL(STATUS_INVALID, "%u sequences to score before there are weights",
                    scorer->pending);
    assemble(scorer);
    if (scorer->rows > 0)
        TRY(run_rows(scorer));
    return finish(scorer);
}
