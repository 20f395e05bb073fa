#include "learner/token_results.h"

#include <string.h>

#include "core/buffer.h"
#include "learner/trainer.h"
#include "learner/trainer_state.h"

enum { TOKEN_BYTES = 3 * sizeof(float) + 1 };

enum status token_results_make(struct arena *arena, struct train_sequence *sequences,
                               uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!sequences[i].wanted)
            continue;
        size_t tokens = sequences[i].response_count;
        struct token_results *results = arena_alloc(arena, sizeof *results);
        float *values = arena_array(arena, tokens * 3, sizeof *values);
        uint8_t *clipped = arena_alloc(arena, tokens);
        if (results == NULL || values == NULL || clipped == NULL)
            return FAIL(STATUS_LIMIT, "no room for the results of %zu tokens", tokens);
        *results = (struct token_results){.logprob = values,
                                          .entropy = values + tokens,
                                          .weight = values + 2 * tokens,
                                          .clipped = clipped};
        sequences[i].results = results;
    }
    return STATUS_OK;
}

void token_results_take(const struct trainer *trainer, const struct train_sequence *sequences,
                        uint32_t count)
{
    const struct trainer_scratch *scratch = trainer->scratch;
    for (uint32_t i = 0; i < count; i++) {
        struct token_results *results = sequences[i].results;
        if (results == NULL)
            continue;
        int32_t first = scratch->packing.starts[i];
        size_t size = sequences[i].response_count * sizeof(float);
        memcpy(results->logprob, scratch->logprob + first, size);
        memcpy(results->entropy, scratch->entropy + first, size);
        memcpy(results->weight, scratch->ratio + first, size);
        memcpy(results->clipped, scratch->clipped + first, sequences[i].response_count);
        results->filled = true;
    }
}

/* ---- ranks ---- */

static size_t bytes_of(const struct train_sequence *sequences, uint32_t first, uint32_t last)
{
    size_t bytes = 0;
    for (uint32_t i = first; i < last; i++)
        bytes +=
            sequences[i].results != NULL ? sequences[i].response_count * (size_t)TOKEN_BYTES : 0;
    return bytes;
}

static enum status send_share(const struct trainer *trainer, const struct train_sequence *sequences,
                              uint32_t first, uint32_t last)
{
    struct buffer bytes;
    enum status status = STATUS_OK;
    buffer_init(&bytes, 0);
    for (uint32_t i = first; i < last && status == STATUS_OK; i++) {
        const struct token_results *results = sequences[i].results;
        size_t count = sequences[i].response_count;
        if (results == NULL)
            continue;
        status = buffer_append(&bytes, results->logprob, count * 3 * sizeof(float));
        if (status == STATUS_OK)
            status = buffer_append(&bytes, results->clipped, count);
    }
    if (status == STATUS_OK)
        status = rank_wire_send(&trainer->ranks->wire, 0, COMMAND_RESULTS, bytes.bytes, bytes.size);
    buffer_free(&bytes);
    return status;
}

static enum status receive_share(const struct trainer *trainer, int rank,
                                 const struct train_sequence *sequences, uint32_t first,
                                 uint32_t last)
{
    struct buffer bytes;
    uint32_t kind = 0;
    buffer_init(&bytes, 0);
    enum status status = rank_wire_receive(&trainer->ranks->wire, rank, -1, &kind, &bytes);
    if (status == STATUS_OK &&
        (kind != COMMAND_RESULTS || bytes.size != bytes_of(sequences, first, last)))
        status = FAIL(STATUS_CORRUPT, "learner rank %d sent %zu bytes of results, %zu are due",
                      rank, bytes.size, bytes_of(sequences, first, last));
    const uint8_t *at = bytes.bytes;
    for (uint32_t i = first; i < last && status == STATUS_OK; i++) {
        struct token_results *results = sequences[i].results;
        size_t count = sequences[i].response_count;
        if (results == NULL)
            continue;
        memcpy(results->logprob, at, count * 3 * sizeof(float)); /* the three arrays are one */
        memcpy(results->clipped, at + count * 3 * sizeof(float), count);
        results->filled = true;
        at += count * (size_t)TOKEN_BYTES;
    }
    buffer_free(&bytes);
    return status;
}

enum status token_results_share(const struct trainer *trainer,
                                const struct train_sequence *sequences, uint32_t count)
{
    uint32_t first = 0, last = 0;
    if (trainer->ranks == NULL || bytes_of(sequences, 0, count) == 0)
        return STATUS_OK;
    if (trainer->ranks->wire.rank > 0) {
        (void)trainer_share(trainer, sequences, count, &first, &last);
        return send_share(trainer, sequences, first, last);
    }
    for (int rank = 1; rank < trainer->ranks->wire.count; rank++) {
        trainer_share_of(sequences, count, rank, trainer->ranks->wire.count, &first, &last);
        TRY(receive_share(trainer, rank, sequences, first, last));
    }
    return STATUS_OK;
}
