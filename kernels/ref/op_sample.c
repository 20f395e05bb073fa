/* kernels/ref/op_sample.c - Gumbel-max sampling from the kept ids, with core/rng.h's numbers. */
#include "kernels/ref/ref.h"

#include <math.h>
#include <stdbool.h>

#include "core/memory.h"
#include "core/rng.h"

/* -log(-log u), u = (word + 0.5) / 2^32 */
static double gumbel(const struct op_sample_row *row, int64_t v)
{
    uint32_t counter[4], words[4];
    uint32_t key[2] = {(uint32_t)row->seed, (uint32_t)(row->seed >> 32)};
    rng_counter(counter, row->group, row->sample, row->position, (uint32_t)(v / 4), RNG_SAMPLING);
    philox4x32(counter, key, words);
    return -log(-log(((double)words[v % 4] + 0.5) / 4294967296.0));
}

/* Marks the kept ids, largest logit first; ties go to the smaller id. Returns the sum of the kept
 * probabilities. Probabilities of top_p are shares of the whole softmax. */
static double keep(const struct op_sample *args, int64_t t, const float *logits, double temperature,
                   uint8_t *kept)
{
    const struct op_sample_row *row = &args->row[t];
    int64_t limit = row->top_k > 0 ? row->top_k : args->vocabulary;
    double mass = 0.0;
    for (int64_t v = 0; v < args->vocabulary; v++)
        kept[v] = 0;
    for (int64_t taken = 0; taken < limit && taken < args->vocabulary; taken++) {
        if (row->top_p < 1.0f && mass >= (double)row->top_p)
            break;
        int64_t best = -1;
        for (int64_t v = 0; v < args->vocabulary; v++)
            if (!kept[v] && (best < 0 || logits[v] > logits[best]))
                best = v;
        kept[best] = 1;
        mass += exp((double)logits[best] / temperature - (double)args->lse[t]);
    }
    return mass;
}

static void sample_row(const struct op_sample *args, int64_t t, uint8_t *kept)
{
    const struct op_sample_row *row = &args->row[t];
    const float *logits = args->logits + t * args->vocabulary;
    bool greedy = row->temperature == 0.0f;
    bool cut = !greedy && ((row->top_k > 0 && row->top_k < args->vocabulary) || row->top_p < 1.0f);
    double temperature = greedy ? 1.0 : (double)row->temperature;
    double mass = cut ? keep(args, t, logits, temperature, kept) : 1.0;
    double best = -INFINITY;
    int32_t token = 0;
    for (int32_t v = 0; v < args->vocabulary; v++) {
        double score = (double)logits[v] / temperature + (greedy ? 0.0 : gumbel(row, v));
        if ((!cut || kept[v]) && score > best) {
            best = score;
            token = v;
        }
    }
    double logprob = (double)logits[token] / temperature - (double)args->lse[t];
    double certainty = exp((double)logits[token] - (double)args->lse_raw[t]);
    args->token[t] = token;
    args->logprob[t] = (float)logprob;
    args->logprob_truncated[t] = (float)(cut ? logprob - log(mass) : logprob);
    args->confident[t] = certainty > (double)args->repetition_probability;
}

enum status ref_sample(void *context, const struct op_sample *args)
{
    (void)context;
    uint8_t *kept = memory_array((size_t)args->vocabulary, 1);
    if (!kept)
        return FAIL(STATUS_NO_MEMORY, "kept ids");
    for (int64_t t = 0; t < args->rows; t++)
        sample_row(args, t, kept);
    memory_free(kept);
    return STATUS_OK;
}
