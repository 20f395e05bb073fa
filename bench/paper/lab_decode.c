/* bench/paper/lab_decode.c - all samples of a generation batch, decoded together as an actor does: each prompt is
 * prefilled once, its siblings take a copy of the cache, and every step samples one token for each that goes on. */
#include <string.h>

#include "actor/repetition_guard.h"
#include "bench/paper/lab_state.h"
#include "core/checksum.h"
#include "core/memory.h"

enum { LAB_SAMPLES_LEAST = 256 };

bool lab_held_out(const struct task_problem *problem)
{
    return hash64(problem->prompt, problem->count * sizeof problem->prompt[0], 7) % 8 == 0;
}

/* ---- memory ---- */

static uint32_t most(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static bool allocate(struct lab_samples *samples)
{
    size_t n = samples->capacity, all = n * samples->response_max;
    samples->problem = memory_array(n, sizeof *samples->problem);
    samples->tokens = memory_array(all, sizeof *samples->tokens);
    samples->logprob = memory_array(all, sizeof *samples->logprob);
    samples->mask = memory_array(all, sizeof *samples->mask);
    samples->current = memory_array(all, 1);
    samples->length = memory_array(n, sizeof *samples->length);
    samples->done = memory_array(n, sizeof *samples->done);
    samples->cut = memory_array(n, sizeof *samples->cut);
    samples->run = memory_array(n, sizeof *samples->run);
    samples->sequences = memory_array(n, sizeof *samples->sequences);
    samples->reward = memory_array(n, sizeof *samples->reward);
    samples->advantage = memory_array(n, sizeof *samples->advantage);
    samples->ids = memory_array(n, sizeof *samples->ids);
    samples->slot = memory_array(n, sizeof *samples->slot);
    samples->index = memory_array(n, sizeof *samples->index);
    samples->segments = memory_array(n, sizeof *samples->segments);
    samples->rows = memory_array(n, sizeof *samples->rows);
    samples->token = memory_array(n, sizeof *samples->token);
    samples->step_logprob = memory_array(n, sizeof *samples->step_logprob);
    samples->confident = memory_array(n, 1);
    return samples->problem && samples->tokens && samples->logprob && samples->mask &&
           samples->current && samples->length && samples->done && samples->cut && samples->run &&
           samples->sequences && samples->reward && samples->advantage && samples->ids &&
           samples->slot && samples->index && samples->segments && samples->rows &&
           samples->token && samples->step_logprob && samples->confident;
}

enum status lab_samples_create(struct lab *lab)
{
    const struct lab_config *config = &lab->config;
    struct lab_samples *samples = memory_alloc(sizeof *samples);
    lab->samples = samples;
    if (samples == NULL)
        return FAIL(STATUS_NO_MEMORY, "samples");
    uint32_t n = most(config->prompts * config->group, config->score_prompts);
    samples->capacity = most(most(n, config->warm_batch), LAB_SAMPLES_LEAST);
    if ((int32_t)samples->capacity > lab->trainer.rows_max)
        return FAIL(STATUS_LIMIT, "%u samples decode together, the model takes %d rows",
                    samples->capacity, lab->trainer.rows_max);
    samples->response_max = config->response_max;
    if (!allocate(samples))
        return FAIL(STATUS_NO_MEMORY, "%u samples of %u tokens", samples->capacity,
                    config->response_max);
    TRY(packing_create(&samples->packing, lab->trainer.rows_max, lab->trainer.slots));
    samples->observed = memory_array((size_t)lab->trainer.rows_max, sizeof(float));
    if (samples->observed == NULL)
        return FAIL(STATUS_NO_MEMORY, "%d rows", lab->trainer.rows_max);
    int32_t tile = (int32_t)lab->trainer.ops->kv_tile;
    int32_t positions = TASK_PROMPT_MAX + (int32_t)config->response_max;
    int32_t pages = ((positions + tile - 1) / tile + 1) * (int32_t)samples->capacity;
    return model_cache_create(lab->trainer.model, (int32_t)samples->capacity, pages, positions,
                              &lab->cache);
}

void lab_samples_destroy(struct lab *lab)
{
    struct lab_samples *samples = lab->samples;
    model_cache_destroy(&lab->cache);
    if (samples == NULL)
        return;
    packing_destroy(&samples->packing);
    void *const blocks[] = {samples->problem,   samples->tokens,       samples->logprob,
                            samples->mask,      samples->current,      samples->length,
                            samples->done,      samples->cut,          samples->run,
                            samples->reward,    samples->sequences,    samples->advantage,
                            samples->ids,       samples->slot,         samples->index,
                            samples->segments,  samples->rows,         samples->token,
                            samples->confident, samples->step_logprob, samples->observed};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        memory_free(blocks[i]);
    memory_free(samples);
    lab->samples = NULL;
}

/* ---- decode ---- */

static void draw_problem(const struct lab *lab, uint64_t group, struct task_problem *problem)
{
    struct rng rng;
    rng_init(&rng, lab->config.seed, group + 1, RNG_TASK);
    do
        task_draw(lab->task, &rng, problem);
    while (lab_held_out(problem) != (group >= LAB_HELD_OUT));
}

/* Row r of the step belongs to sample s. */
static void add_row(struct lab *lab, const struct lab_generation *generation, uint32_t r,
                    uint32_t s)
{
    struct lab_samples *samples = lab->samples;
    samples->slot[r] = (int32_t)s;
    samples->rows[r] = (struct op_sample_row){
        .seed = lab->config.seed,
        .group = generation->first_group + s / samples->group,
        .sample = s % samples->group,
        .position = samples->problem[s / samples->group].count + samples->length[s],
        .temperature = generation->temperature,
        .top_p = 1};
}

static struct model_sample sample_of(const struct lab *lab, const struct lab_generation *generation,
                                     uint32_t rows)
{
    const struct lab_samples *samples = lab->samples;
    return (struct model_sample){.rows = (int32_t)rows,
                                 .row = samples->rows,
                                 .repetition_probability = generation->guard_probability,
                                 .token = samples->token,
                                 .logprob = samples->step_logprob,
                                 .confident = samples->confident};
}

/* The tokens that a step sampled for its rows. */
static void take(struct lab *lab, const struct lab_generation *generation, uint32_t rows)
{
    struct lab_samples *samples = lab->samples;
    for (uint32_t r = 0; r < rows; r++) {
        uint32_t s = (uint32_t)samples->slot[r];
        size_t at = (size_t)s * samples->response_max + samples->length[s]++;
        samples->tokens[at] = (uint32_t)samples->token[r];
        samples->logprob[at] = samples->step_logprob[r];
        struct repetition_guard guard = {generation->guard_tokens, samples->run[s]};
        samples->cut[s] = repetition_guard_push(&guard, samples->confident[r] != 0);
        samples->run[s] = guard.run;
        samples->done[s] = samples->token[r] == TOKEN_END || samples->cut[s] ||
                           samples->length[s] == samples->response_max;
    }
}

/* Prompts of the groups [first, last) in one forward call, then the first token of all their samples. */
static enum status prefill(struct lab *lab, const struct lab_generation *generation, uint32_t first,
                           uint32_t last)
{
    struct lab_samples *samples = lab->samples;
    struct packing *packing = &samples->packing; /* its ids, while nothing is packed */
    int32_t rows = 0, segments = 0;
    uint32_t sampled = 0;
    for (uint32_t g = first; g < last; g++) {
        const struct task_problem *problem = &samples->problem[g];
        uint32_t slot = g * samples->group;
        TRY(model_cache_open(lab->cache, (int32_t)slot,
                             (int32_t)(problem->count + samples->response_max)));
        samples->segments[segments++] =
            (struct op_segment){(int32_t)slot, 0, rows, (int32_t)problem->count};
        for (uint32_t i = 0; i < problem->count; i++)
            packing->ids[rows++] = (int32_t)problem->prompt[i];
        for (uint32_t i = 0; i < samples->group; i++) {
            samples->index[sampled] = rows - 1;
            add_row(lab, generation, sampled++, slot + i);
        }
    }
    struct model_batch batch = {rows, packing->ids, samples->segments, segments};
    act *hidden = NULL;
    struct trainer *trainer = &lab->trainer;
    TRY(model_forward(trainer->model, &trainer->weights, lab->cache, &batch, false, &hidden));
    struct model_sample sample = sample_of(lab, generation, sampled);
    sample.row_index = samples->index;
    TRY(model_sample(trainer->model, &trainer->weights, hidden, &sample));
    take(lab, generation, sampled);
    for (uint32_t g = first; g < last; g++)
        for (uint32_t i = 1; i < samples->group; i++)
            TRY(model_cache_fork(lab->cache, (int32_t)(g * samples->group),
                                 (int32_t)(g * samples->group + i),
                                 (int32_t)samples->problem[g].count));
    return STATUS_OK;
}

static enum status prefill_all(struct lab *lab, const struct lab_generation *generation)
{
    const struct lab_samples *samples = lab->samples;
    for (uint32_t first = 0, last; first < generation->groups; first = last) {
        uint32_t rows = 0;
        for (last = first; last < generation->groups; last++) {
            rows += samples->problem[last].count;
            if (rows > (uint32_t)lab->trainer.rows_max)
                break;
        }
        TRY(prefill(lab, generation, first, last));
    }
    return STATUS_OK;
}

static enum status decode_step(struct lab *lab, const struct lab_generation *generation,
                               uint32_t *rows_out)
{
    struct lab_samples *samples = lab->samples;
    uint32_t rows = 0;
    for (uint32_t s = 0; s < samples->count; s++) {
        if (samples->done[s])
            continue;
        uint32_t prompt = samples->problem[s / samples->group].count, length = samples->length[s];
        samples->ids[rows] =
            (int32_t)samples->tokens[(size_t)s * samples->response_max + length - 1];
        samples->segments[rows] =
            (struct op_segment){(int32_t)s, (int32_t)(prompt + length - 1), (int32_t)rows, 1};
        add_row(lab, generation, rows++, s);
    }
    *rows_out = rows;
    if (rows == 0)
        return STATUS_OK;
    struct model_batch batch = {(int32_t)rows, samples->ids, samples->segments, (int32_t)rows};
    struct model_sample sample = sample_of(lab, generation, rows);
    TRY(model_decode(lab->trainer.model, &lab->trainer.weights, lab->cache, &batch, &sample));
    take(lab, generation, rows);
    return STATUS_OK;
}

enum status lab_generate(struct lab *lab, const struct lab_generation *generation)
{
    struct lab_samples *samples = lab->samples;
    samples->group = generation->group;
    samples->count = generation->groups * generation->group;
    if (samples->count > samples->capacity)
        return FAIL(STATUS_LIMIT, "%u samples, room for %u", samples->count, samples->capacity);
    memset(samples->length, 0, samples->count * sizeof *samples->length);
    memset(samples->run, 0, samples->count * sizeof *samples->run);
    for (uint32_t g = 0; g < generation->groups; g++)
        draw_problem(lab, generation->first_group + g, &samples->problem[g]);
    TRY(prefill_all(lab, generation));
    for (uint32_t rows = 1; rows > 0;)
        TRY(decode_step(lab, generation, &rows));
    for (uint32_t s = 0; s < samples->count; s++) {
        model_cache_close(lab->cache, (int32_t)s);
        samples->reward[s] =
            task_reward(lab->task, &samples->problem[s / samples->group],
                        samples->tokens + (size_t)s * samples->response_max, samples->length[s]);
    }
    return STATUS_OK;
}

enum status lab_score(struct lab *lab, float temperature, double *score)
{
    struct lab_generation generation = {.first_group = LAB_HELD_OUT,
                                        .groups = lab->config.score_prompts,
                                        .group = 1,
                                        .temperature = temperature,
                                        .guard_probability = 0.99F};
    TRY(lab_generate(lab, &generation));
    double sum = 0;
    for (uint32_t s = 0; s < lab->samples->count; s++)
        sum += lab->samples->reward[s];
    *score = sum / lab->samples->count;
    return STATUS_OK;
}

enum status lab_sample(struct lab *lab, uint32_t count, uint32_t guard_tokens,
                       float guard_probability)
{
    struct lab_generation generation = {.first_group = LAB_HELD_OUT,
                                        .groups = count,
                                        .group = 1,
                                        .temperature = 1,
                                        .guard_tokens = guard_tokens,
                                        .guard_probability = guard_probability};
    return lab_generate(lab, &generation);
}

struct lab_response lab_response(const struct lab *lab, uint32_t index)
{
    const struct lab_samples *samples = lab->samples;
    size_t at = (size_t)index * samples->response_max;
    return (struct lab_response){.problem = &samples->problem[index / samples->group],
                                 .tokens = samples->tokens + at,
                                 .logprob = samples->logprob + at,
                                 .count = samples->length[index],
                                 .cut = samples->cut[index]};
}
