#include "actor/report.h"

#include "actor/best_ids.h"
#include "core/memory.h"

enum { LOGITS_BYTES = 32 << 20 }; /* on the host, for best ids */

/* A row of the step whose head is asked for. */
struct asked {
    uint32_t slot, position;
    uint32_t top;
};

struct reporter {
    int32_t capacity;    /* of the lists: every row may be of a prompt, and every slot may sample */
    struct asked *asked; /* [capacity] */
    int32_t *row, *target;
    float *logprob;
    float *logits; /* [logits_rows, V] */
    int32_t logits_rows, count;
};

void reporter_destroy(struct reporter **pointer)
{
    struct reporter *reporter = *pointer;
    if (reporter == NULL)
        return;
    memory_free(reporter->asked);
    memory_free(reporter->row);
    memory_free(reporter->target);
    memory_free(reporter->logprob);
    memory_free(reporter->logits);
    memory_free(reporter);
    *pointer = NULL;
}

static enum status reporter_create(struct engine *engine)
{
    size_t vocabulary = (size_t)engine->shape.vocabulary;
    int32_t capacity =
        (int32_t)(engine->settings->actor.prefill_tokens + 2 * engine->desk.config.slots);
    struct reporter *reporter = memory_alloc(sizeof *reporter);
    if (reporter == NULL)
        return FAIL(STATUS_NO_MEMORY, "log-probabilities of %d rows", capacity);
    size_t rows = LOGITS_BYTES / (vocabulary * sizeof(float));
    reporter->capacity = capacity;
    reporter->logits_rows = rows < 1 ? 1 : rows > (size_t)capacity ? capacity : (int32_t)rows;
    reporter->asked = memory_array((size_t)capacity, sizeof *reporter->asked);
    reporter->row = memory_array((size_t)capacity, sizeof *reporter->row);
    reporter->target = memory_array((size_t)capacity, sizeof *reporter->target);
    reporter->logprob = memory_array((size_t)capacity, sizeof *reporter->logprob);
    reporter->logits = memory_array((size_t)reporter->logits_rows * vocabulary, sizeof(float));
    engine->reporter = reporter;
    if (reporter->asked == NULL || reporter->row == NULL || reporter->target == NULL ||
        reporter->logprob == NULL || reporter->logits == NULL) {
        reporter_destroy(&engine->reporter);
        return FAIL(STATUS_NO_MEMORY, "log-probabilities of %d rows", capacity);
    }
    return STATUS_OK;
}

/* ---- which rows ---- */

static void ask(struct reporter *reporter, const struct slot *slot, uint32_t index, int32_t row,
                uint32_t position, uint32_t id)
{
    reporter->asked[reporter->count] =
        (struct asked){.slot = index, .position = position, .top = slot->report_top};
    reporter->row[reporter->count] = row;
    reporter->target[reporter->count++] = (int32_t)id;
}

/* Rows of a prompt predict the token after them; the last one predicts what is sampled. */
static void ask_prompts(struct engine *engine)
{
    const struct decode_step *step = &engine->step;
    for (int32_t i = 0; i < step->segment_count; i++) {
        const struct op_segment *segment = &step->segments[i];
        const struct slot *slot = &engine->desk.slots[segment->slot];
        if (!slot->report_prompt || slot->response > 0)
            continue;
        for (int32_t r = 0; r < segment->count; r++) {
            uint32_t position = (uint32_t)(segment->position + r) + 1;
            if (position < slot->prompt)
                ask(engine->reporter, slot, (uint32_t)segment->slot, segment->row + r, position,
                    slot->ids[position]);
        }
    }
}

static void ask_samples(struct engine *engine)
{
    const struct decode_step *step = &engine->step;
    for (int32_t s = 0; s < step->samples; s++) {
        const struct slot *slot = &engine->desk.slots[step->slot_index[s]];
        if (slot->report)
            ask(engine->reporter, slot, step->slot_index[s], step->row_index[s], slot_length(slot),
                (uint32_t)step->token[s]);
    }
}

static bool anybody_asks(const struct engine *engine)
{
    const struct desk *desk = &engine->desk;
    for (uint32_t i = desk_leased(desk); engine->report != NULL && i < desk->config.slots; i++) {
        const struct slot *slot = &desk->slots[i];
        bool runs = slot->state == SLOT_PREFILL || slot->state == SLOT_DECODE;
        if (runs && (slot->report || slot->report_prompt))
            return true;
    }
    return false;
}

/* ---- what they say ---- */

static void say(struct engine *engine, int32_t at, const float *z)
{
    const struct reporter *reporter = engine->reporter;
    const struct asked *asked = &reporter->asked[at];
    uint32_t ids[REPORT_TOP_MAX], target = (uint32_t)reporter->target[at];
    uint32_t top = asked->top < REPORT_TOP_MAX ? asked->top : REPORT_TOP_MAX;
    float values[REPORT_TOP_MAX], logprob = reporter->logprob[at];
    top = best_ids(z, (uint32_t)engine->shape.vocabulary, top, target, logprob, ids, values);
    struct engine_report report = {.slot = asked->slot,
                                   .position = asked->position,
                                   .id = target,
                                   .logprob = logprob,
                                   .top = top,
                                   .top_ids = ids,
                                   .top_logprobs = values};
    engine->report(engine->report_self, &report);
}

enum status engine_report_step(struct engine *engine, const act *hidden)
{
    if (!anybody_asks(engine))
        return STATUS_OK;
    if (engine->reporter == NULL)
        TRY(reporter_create(engine));
    struct reporter *reporter = engine->reporter;
    reporter->count = 0;
    ask_prompts(engine);
    ask_samples(engine);
    for (int32_t at = 0, rows; at < reporter->count; at += rows) {
        rows = reporter->count - at;
        rows = rows < reporter->logits_rows ? rows : reporter->logits_rows;
        bool best = false;
        for (int32_t i = 0; i < rows; i++)
            best = best || reporter->asked[at + i].top > 0;
        struct model_head head = {.rows = rows,
                                  .row_index = reporter->row + at,
                                  .temperature = 1.0F,
                                  .target = reporter->target + at,
                                  .logprob = reporter->logprob + at,
                                  .logits = best ? reporter->logits : NULL};
        TRY(model_head(engine->model, &engine->weights[engine->active], hidden, &head));
        for (int32_t i = 0; i < rows; i++)
            say(engine, at + i, reporter->logits + (size_t)i * (size_t)engine->shape.vocabulary);
    }
    return STATUS_OK;
}
