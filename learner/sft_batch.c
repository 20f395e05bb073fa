#include "learner/sft_batch.h"

#include <string.h>

#include "core/check.h"
#include "core/memory.h"
#include "core/rng.h"

/* Keeps the orders of epochs, stages and documents apart. */
static const uint64_t EPOCH_STEP = 0x9E3779B97F4A7C15U, STAGE_STEP = 0xD1B54A32D192ED03U,
                      DOCUMENTS = 0x8CB92BA72F3D8DD7U;

int64_t sft_batch_longest(const struct settings *settings, const struct sft_rows *rows,
                          const struct sft_stages *stages)
{
    int64_t staged = sft_stages_longest(stages);
    if (settings->sft.mode == SFT_MODE_PRETRAIN)
        return (staged > 0 ? staged : (int64_t)settings->sft.sequence_tokens) + 1;
    return staged > 0 && staged < rows->longest ? staged : rows->longest;
}

enum status sft_batch_create(struct sft_batch *batch, const struct settings *settings,
                             const struct sft_rows *rows, const struct sft_stages *stages,
                             uint32_t count)
{
    *batch = (struct sft_batch){.count = count,
                                .rows = rows,
                                .stages = stages,
                                .pretrain = settings->sft.mode == SFT_MODE_PRETRAIN,
                                .seed = settings->run.seed,
                                .sequence_tokens = settings->sft.sequence_tokens,
                                .longest = sft_batch_longest(settings, rows, stages)};
    batch->sequences = memory_array(count, sizeof *batch->sequences);
    if (batch->sequences == NULL)
        return FAIL(STATUS_NO_MEMORY, "a batch of %u rows", count);
    if (!batch->pretrain)
        return STATUS_OK;
    if (rows->tokens < 2)
        return FAIL(STATUS_INVALID, "the documents have %lld tokens together, 2 are needed",
                    (long long)rows->tokens);
    size_t longest = (size_t)batch->longest;
    batch->place = memory_array((size_t)rows->count + 1, sizeof *batch->place);
    batch->ids = memory_array(count * (longest + 1), sizeof *batch->ids);
    batch->mask = memory_array(longest, sizeof *batch->mask);
    if (batch->place == NULL || batch->ids == NULL || batch->mask == NULL)
        return FAIL(STATUS_NO_MEMORY, "a batch of %u sequences of %zu tokens", count, longest);
    for (size_t i = 0; i < longest; i++)
        batch->mask[i] = 1;
    return STATUS_OK;
}

void sft_batch_destroy(struct sft_batch *batch)
{
    memory_free(batch->sequences);
    memory_free(batch->place);
    memory_free(batch->ids);
    memory_free(batch->mask);
    *batch = (struct sft_batch){0};
}

/* ---- mode pretrain ---- */

/* Document i of the epoch in hand. */
static const struct train_sequence *document(const struct sft_batch *batch, uint64_t i)
{
    return &batch->rows->rows[rng_permute(batch->order, batch->rows->count, i)];
}

static void set_order(struct sft_batch *batch, uint64_t order)
{
    if (batch->ordered && batch->order == order)
        return;
    batch->order = order;
    batch->ordered = true;
    for (uint64_t i = 0, at = 0; i <= batch->rows->count; i++) {
        batch->place[i] = at;
        at += i < batch->rows->count ? document(batch, i)->prompt_count : 0;
    }
}

/* Copies tokens [first, first + count) of the epoch. */
static void copy_tokens(const struct sft_batch *batch, uint64_t first, uint64_t count, uint32_t *to)
{
    uint64_t low = 0, high = batch->rows->count; /* place[low] <= first < place[high] */
    while (high - low > 1) {
        uint64_t middle = (low + high) / 2;
        *(batch->place[middle] <= first ? &low : &high) = middle;
    }
    while (count > 0) {
        const struct train_sequence *from = document(batch, low);
        uint64_t skip = first - batch->place[low], left = from->prompt_count - skip;
        uint64_t now = left < count ? left : count;
        memcpy(to, from->prompt_ids + skip, (size_t)now * sizeof *to);
        to += now;
        first += now;
        count -= now;
        low++;
    }
}

static uint64_t sequences_of(const struct sft_batch *batch, int64_t tokens)
{
    uint64_t predicted = (uint64_t)batch->rows->tokens - 1;
    return (predicted + (uint64_t)tokens - 1) / (uint64_t)tokens;
}

/* Sequence `index` of the epoch in hand, in place i of the batch. */
static void take(struct sft_batch *batch, uint32_t i, uint64_t index, int64_t tokens)
{
    uint32_t *ids = batch->ids + (size_t)i * (size_t)(batch->longest + 1);
    uint64_t first = index * (uint64_t)tokens, total = (uint64_t)batch->rows->tokens;
    uint64_t count = total - first < (uint64_t)tokens + 1 ? total - first : (uint64_t)tokens + 1;
    CHECK(count >= 2);
    copy_tokens(batch, first, count, ids);
    batch->sequences[i] = (struct train_sequence){.prompt_ids = ids,
                                                  .prompt_count = 1,
                                                  .response_ids = ids + 1,
                                                  .response_count = (uint32_t)count - 1,
                                                  .mask = batch->mask,
                                                  .advantage = 1,
                                                  .temperature = 1,
                                                  .group = i};
}

/* ---- mode sft ---- */

/* At most `most` tokens of it: the end goes. Where the prompt alone is longer, nothing is trained. */
static void shorten(struct train_sequence *sequence, int64_t most, const float *none)
{
    int64_t count = (int64_t)sequence->prompt_count + sequence->response_count;
    if (count <= most)
        return;
    if (sequence->prompt_count < (uint64_t)most) {
        sequence->response_count = (uint32_t)(most - sequence->prompt_count);
        return;
    }
    sequence->prompt_count = (uint32_t)most - 1;
    sequence->response_ids = sequence->prompt_ids + most - 1; /* one array: learner/sft_rows.c */
    sequence->response_count = 1;
    sequence->mask = none;
}

void sft_batch_fill(struct sft_batch *batch, uint64_t update)
{
    static const float none[1] = {0};
    const struct sft_stage *stage =
        batch->stages->count > 0 ? sft_stages_at(batch->stages, update) : NULL;
    uint64_t number = stage != NULL ? (uint64_t)(stage - batch->stages->rows) : 0;
    uint64_t seed = batch->seed + number * STAGE_STEP;
    int64_t tokens = stage != NULL ? stage->tokens : batch->sequence_tokens;
    uint64_t draw = (update - (stage != NULL ? stage->first : 0)) * batch->count;
    uint64_t all = batch->pretrain ? sequences_of(batch, tokens) : batch->rows->count;
    batch->epoch = (double)draw / (double)all;
    for (uint32_t i = 0; i < batch->count; i++, draw++) {
        uint64_t order = seed + draw / all * EPOCH_STEP;
        uint64_t index = rng_permute(order, all, draw % all);
        if (batch->pretrain) {
            set_order(batch, order ^ DOCUMENTS);
            take(batch, i, index, tokens);
            continue;
        }
        batch->sequences[i] = batch->rows->rows[index];
        batch->sequences[i].group = i;
        if (stage != NULL)
            shorten(&batch->sequences[i], tokens, none);
    }
}

uint32_t sft_batch_next(struct sft_batch *batch, uint64_t update, uint64_t *draw)
{
    int64_t tokens = batch->stages->count > 0 ? sft_stages_at(batch->stages, update)->tokens
                                              : batch->sequence_tokens;
    uint64_t all = batch->pretrain ? sequences_of(batch, tokens) : batch->rows->count;
    uint32_t count = 0;
    if (batch->pretrain)
        set_order(batch, DOCUMENTS);
    for (; count < batch->count && *draw < all; count++, (*draw)++) {
        if (batch->pretrain) {
            take(batch, count, *draw, tokens);
            continue;
        }
        batch->sequences[count] = batch->rows->rows[*draw];
        batch->sequences[count].group = count;
    }
    return count;
}
