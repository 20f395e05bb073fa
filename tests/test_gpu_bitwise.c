/* links: core kernels model */
/* label: gpu */
/* timeout: 300 */
/* The promise of docs/numerics.md on a GPU: the logprob of a token has the same bits when it is sampled alone, in a
 * batch of 7 or 64, beside prefills of other sequences, when its sequence is prefilled in pieces, and when the
 * learner's packed training forward computes it. Weights are random; shapes are those of real models.
 *
 * WEIR_TEST_DEVICE=cpu runs the small shape on the CPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench/random_model.h"

enum { PROMPT = 16, PREFILL_EVERY = 37, SKIPPED = 77, TRACE_WRONG = 3 };

static struct op_table *ops;

static void must(enum status status)
{
    if (status != STATUS_OK)
        fail_msg("%s", status_last_error());
}

struct replay {
    struct model_shape shape;
    struct model *actor, *learner;
    struct model_weights weights; /* one set, read by both */
    int32_t length;               /* tokens of the sequence */
    int32_t *ids;                 /* [length] prompt, then what was sampled alone */
    float *logprob;               /* [length] as sampled alone; prompt: 0 */
};

static void replay_open(struct replay *replay, const char *config, int32_t length,
                        enum model_head_precision lm_head)
{
    *replay = (struct replay){.length = length};
    random_model_shape(&replay->shape, config);
    struct model_options options = {.rows_max = 512, .lightning_chunk = 32, .lm_head = lm_head};
    must(model_create(&replay->actor, &replay->shape, ops, &options));
    options.rows_max = length + SKIPPED + 300;
    options.train = true;
    options.recompute = true;
    must(model_create(&replay->learner, &replay->shape, ops, &options));
    must(model_weights_create(replay->actor, &replay->weights));
    random_model_fill(replay->actor, &replay->weights, ops);
    replay->ids = memory_array((size_t)length, sizeof(int32_t));
    replay->logprob = memory_array((size_t)length, sizeof(float));
    assert_true(replay->ids && replay->logprob);
    for (int32_t t = 0; t < PROMPT; t++)
        replay->ids[t] =
            (int32_t)(random_bits((uint64_t)t + 99) % (uint32_t)replay->shape.vocabulary);
}

static void replay_close(struct replay *replay)
{
    model_weights_destroy(replay->actor, &replay->weights);
    model_destroy(&replay->learner);
    model_destroy(&replay->actor);
    memory_free(replay->ids);
    memory_free(replay->logprob);
}

static int32_t other_token(const struct replay *replay, int32_t slot, int32_t position)
{
    return (int32_t)(random_bits(((uint64_t)slot << 32) + (uint64_t)position) %
                     (uint32_t)replay->shape.vocabulary);
}

/* ---- sampling in a batch ---- */

struct batch_run {
    struct model_cache *cache;
    int32_t batch;   /* decoding sequences; the one under test is in the middle */
    int32_t *length; /* [batch] tokens in each slot */
    int32_t *last;   /* [batch] last token of each */
    struct op_segment *segments;
    struct op_sample_row *row;
    int32_t *ids, *token;
    float *logprob;
    uint8_t *confident;
};

static void run_open(struct batch_run *run, struct replay *replay, int32_t batch)
{
    int32_t tile = (int32_t)ops->kv_tile, positions = replay->length + 300;
    size_t slots = (size_t)batch + 1;
    *run = (struct batch_run){.batch = batch};
    must(model_cache_create(replay->actor, batch + 1, (batch + 1) * (positions / tile + 1),
                            positions, &run->cache));
    run->length = memory_array(slots, sizeof(int32_t));
    run->last = memory_array(slots, sizeof(int32_t));
    run->segments = memory_array(slots, sizeof(struct op_segment));
    run->row = memory_array(slots, sizeof(struct op_sample_row));
    run->ids = memory_array(slots + 512, sizeof(int32_t));
    run->token = memory_array(slots, sizeof(int32_t));
    run->logprob = memory_array(slots, sizeof(float));
    run->confident = memory_array(slots, 1);
}

static void run_close(struct batch_run *run)
{
    model_cache_destroy(&run->cache);
    memory_free(run->length);
    memory_free(run->last);
    memory_free(run->segments);
    memory_free(run->row);
    memory_free(run->ids);
    memory_free(run->token);
    memory_free(run->logprob);
    memory_free(run->confident);
}

/* All prompts, of different lengths, in one call; then each slot has one token to feed. */
static void run_prefill(struct batch_run *run, struct replay *replay)
{
    int32_t tested = run->batch / 2;
    for (int32_t s = 0; s < run->batch; s++) {
        int32_t count = s == tested ? PROMPT - 1 : 1 + (s * 5) % 40;
        must(model_cache_open(run->cache, s, replay->length + 200));
        for (int32_t t = 0; t < count; t++)
            run->ids[t] = s == tested ? replay->ids[t] : other_token(replay, s, t);
        struct op_segment segment = {.slot = s, .position = 0, .row = 0, .count = count};
        struct model_batch batch = {count, run->ids, &segment, 1};
        act *hidden = NULL;
        must(model_forward(replay->actor, &replay->weights, run->cache, &batch, false, &hidden));
        run->length[s] = count;
        run->last[s] = s == tested ? replay->ids[count] : other_token(replay, s, count);
    }
}

/* One token for every slot; with `beside` > 0 in one call with a prefill of so many tokens of another sequence. */
static void run_step(struct batch_run *run, struct replay *replay, int32_t beside)
{
    for (int32_t s = 0; s < run->batch; s++) {
        run->segments[s] =
            (struct op_segment){.slot = s, .position = run->length[s], .row = s, .count = 1};
        run->ids[s] = run->last[s];
        run->row[s] = (struct op_sample_row){.seed = 5,
                                             .group = s == run->batch / 2 ? 1 : 100 + (uint64_t)s,
                                             .position = (uint32_t)run->length[s] + 1,
                                             .temperature = 1.0F,
                                             .top_p = 1.0F};
    }
    struct model_batch batch = {run->batch, run->ids, run->segments, run->batch};
    struct model_sample sample = {.rows = run->batch,
                                  .row = run->row,
                                  .repetition_probability = 0.99F,
                                  .token = run->token,
                                  .logprob = run->logprob,
                                  .confident = run->confident};
    if (beside == 0) {
        must(model_decode(replay->actor, &replay->weights, run->cache, &batch, &sample));
    } else {
        act *hidden = NULL;
        run->segments[run->batch] =
            (struct op_segment){.slot = run->batch, .row = run->batch, .count = beside};
        for (int32_t t = 0; t < beside; t++)
            run->ids[run->batch + t] = other_token(replay, 1000 + beside, t);
        must(model_cache_open(run->cache, run->batch, beside));
        batch.rows += beside;
        batch.segment_count++;
        must(model_forward(replay->actor, &replay->weights, run->cache, &batch, false, &hidden));
        int32_t *index = memory_array((size_t)run->batch, sizeof(int32_t));
        for (int32_t s = 0; s < run->batch; s++)
            index[s] = s;
        sample.row_index = index;
        must(model_sample(replay->actor, &replay->weights, hidden, &sample));
        memory_free(index);
    }
    for (int32_t s = 0; s < run->batch; s++) {
        run->length[s]++;
        run->last[s] = run->token[s];
    }
}

/* ---- comparison ---- */

static int compare(const struct replay *replay, const char *what, int32_t first,
                   const float *logprob, const int32_t *ids)
{
    int wrong = 0;
    for (int32_t t = first; t < replay->length; t++) {
        bool same = memcmp(&logprob[t], &replay->logprob[t], sizeof(float)) == 0 &&
                    (!ids || ids[t] == replay->ids[t]);
        if (!same && wrong++ < TRACE_WRONG)
            print_message("%s: token %d is %d with logprob %.9g, alone %d with %.9g\n", what, t,
                          ids ? ids[t] : replay->ids[t], (double)logprob[t], replay->ids[t],
                          (double)replay->logprob[t]);
    }
    print_message("%-40s %d of %d logprobs differ\n", what, wrong, replay->length - first);
    return wrong;
}

static int sampled_in_batch(struct replay *replay, int32_t batch, bool reference, bool mixed)
{
    struct batch_run run;
    int32_t tested = batch / 2;
    float *logprob = memory_array((size_t)replay->length, sizeof(float));
    int32_t *ids = memory_array((size_t)replay->length, sizeof(int32_t));
    run_open(&run, replay, batch);
    run_prefill(&run, replay);
    for (int32_t t = PROMPT; t < replay->length; t++) {
        run_step(&run, replay, mixed && t % PREFILL_EVERY == 0 ? 1 + (t * 7) % 250 : 0);
        ids[t] = run.token[tested];
        logprob[t] = run.logprob[tested];
        if (reference) {
            replay->ids[t] = ids[t];
            replay->logprob[t] = logprob[t];
        }
        run.last[tested] = replay->ids[t];
    }
    run_close(&run);
    char what[64];
    snprintf(what, sizeof what, "batch %d%s", batch, mixed ? " beside prefills" : "");
    int wrong = reference ? 0 : compare(replay, what, PROMPT, logprob, ids);
    memory_free(logprob);
    memory_free(ids);
    return wrong;
}

/* The whole sequence through forward calls of `piece` rows (0: pieces of many sizes), targets scored. */
static int prefilled(struct replay *replay, int32_t piece)
{
    static const int32_t sizes[] = {100, 1, 128, 64, 33, 2, 257, 31};
    struct model_cache *cache = NULL;
    int32_t length = replay->length, pages = length / (int32_t)ops->kv_tile + 1;
    float *logprob = memory_array((size_t)length + 1, sizeof(float));
    int32_t *target = memory_array((size_t)length + 1, sizeof(int32_t));
    must(model_cache_create(replay->actor, 1, pages, length, &cache));
    must(model_cache_open(cache, 0, length));
    for (int32_t t = 0, n = 0; t < length; n++) {
        int32_t count = piece > 0 ? piece : sizes[n % 8];
        count = count < length - t ? count : length - t;
        struct op_segment segment = {.slot = 0, .position = t, .row = 0, .count = count};
        struct model_batch batch = {count, replay->ids + t, &segment, 1};
        act *hidden = NULL;
        must(model_forward(replay->actor, &replay->weights, cache, &batch, false, &hidden));
        for (int32_t i = 0; i < count; i++)
            target[i] = t + i + 1 < length ? replay->ids[t + i + 1] : -1;
        struct model_head head = {
            .rows = count, .temperature = 1.0F, .target = target, .logprob = logprob + t + 1};
        must(model_head(replay->actor, &replay->weights, hidden, &head));
        t += count;
    }
    model_cache_destroy(&cache);
    char what[64];
    snprintf(what, sizeof what, piece > 0 ? "prefill in pieces of %d" : "prefill in mixed pieces",
             piece);
    int wrong = compare(replay, what, PROMPT, logprob, NULL);
    memory_free(logprob);
    memory_free(target);
    return wrong;
}

/* Packed with two other sequences, activations saved, as the learner does it. */
static int trained(struct replay *replay)
{
    int32_t length = replay->length, rows = SKIPPED + length + 300;
    int32_t *ids = memory_array((size_t)rows, sizeof(int32_t));
    int32_t *target = memory_array((size_t)rows, sizeof(int32_t));
    float *logprob = memory_array((size_t)rows, sizeof(float));
    struct op_segment segments[3] = {
        {0, 0, 0, SKIPPED}, {1, 0, SKIPPED, length}, {2, 0, SKIPPED + length, 300}};
    struct model_cache *cache = NULL;
    must(model_cache_create(replay->learner, 3, rows / (int32_t)ops->kv_tile + 3, rows, &cache));
    for (int32_t s = 0; s < 3; s++)
        must(model_cache_open(cache, s, segments[s].count));
    for (int32_t t = 0; t < rows; t++) {
        bool tested = t >= SKIPPED && t < SKIPPED + length;
        ids[t] = tested ? replay->ids[t - SKIPPED] : other_token(replay, 7, t);
        target[t] = tested && t + 1 < SKIPPED + length ? replay->ids[t + 1 - SKIPPED] : -1;
    }
    struct model_batch batch = {rows, ids, segments, 3};
    act *hidden = NULL;
    must(model_forward(replay->learner, &replay->weights, cache, &batch, true, &hidden));
    struct model_head head = {
        .rows = rows, .temperature = 1.0F, .target = target, .logprob = logprob};
    must(model_head(replay->learner, &replay->weights, hidden, &head));
    model_cache_destroy(&cache);
    int wrong = compare(replay, "packed training forward", PROMPT, logprob + SKIPPED - 1, NULL);
    memory_free(ids);
    memory_free(target);
    memory_free(logprob);
    return wrong;
}

static void all_agree(const char *config, int32_t length, enum model_head_precision lm_head)
{
    struct replay replay;
    replay_open(&replay, config, length, lm_head);
    int wrong = sampled_in_batch(&replay, 1, true, false);
    wrong += sampled_in_batch(&replay, 7, false, true);
    wrong += sampled_in_batch(&replay, 64, false, false);
    wrong += prefilled(&replay, 0);
    wrong += prefilled(&replay, 512);
    wrong += trained(&replay);
    replay_close(&replay);
    assert_int_equal(wrong, 0);
}

static bool on_gpu(void)
{
    return strcmp(ops->name, "cpu") != 0;
}

static void test_gpu_bitwise_hybrid_experts(void **state)
{
    (void)state;
    all_agree(SHAPE_HYBRID, on_gpu() ? 4096 : 96, MODEL_HEAD_FP32);
}

static void test_gpu_bitwise_hybrid_head_fp32_out(void **state)
{
    (void)state;
    all_agree(SHAPE_HYBRID, on_gpu() ? 512 : 64, on_gpu() ? MODEL_HEAD_FP32_OUT : MODEL_HEAD_FP32);
}

static void test_gpu_bitwise_hybrid_head_bf16(void **state)
{
    (void)state;
    all_agree(SHAPE_HYBRID, on_gpu() ? 512 : 64, MODEL_HEAD_BF16);
}

static void test_gpu_bitwise_qwen2_half(void **state)
{
    (void)state;
    if (!on_gpu())
        skip();
    all_agree(SHAPE_QWEN2_HALF, 4096, MODEL_HEAD_FP32);
}

static void test_gpu_bitwise_qwen3_half(void **state)
{
    (void)state;
    if (!on_gpu())
        skip();
    all_agree(SHAPE_QWEN3_HALF, 512, MODEL_HEAD_FP32);
}

static void test_gpu_bitwise_qwen2_seven(void **state)
{
    (void)state;
    if (!on_gpu())
        skip();
    all_agree(SHAPE_QWEN2_SEVEN, 512, MODEL_HEAD_FP32);
}

/* Windows inside tiles and over their edges, heads of 256. */
static void test_gpu_bitwise_gemma3_small(void **state)
{
    (void)state;
    all_agree(SHAPE_GEMMA3_SMALL, on_gpu() ? 600 : 96, MODEL_HEAD_FP32);
}

static void test_gpu_bitwise_gemma3_one(void **state)
{
    (void)state;
    if (!on_gpu())
        skip();
    all_agree(SHAPE_GEMMA3_ONE, 1200, MODEL_HEAD_FP32);
}

int main(int argc, char **argv)
{
    const char *device = getenv("WEIR_TEST_DEVICE");
    enum status status = op_table_create(&ops, device ? device : "cuda:0", 2);
    if (status != STATUS_OK) { /* no GPU, or another one, is the only reason to skip */
        printf("%s%s\n", status == STATUS_UNSUPPORTED ? "skipped: " : "", status_last_error());
        return status == STATUS_UNSUPPORTED ? 77 : 1;
    }
    if (argc > 1) /* a part of the names */
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gpu_bitwise_hybrid_experts),
        cmocka_unit_test(test_gpu_bitwise_hybrid_head_fp32_out),
        cmocka_unit_test(test_gpu_bitwise_hybrid_head_bf16),
        cmocka_unit_test(test_gpu_bitwise_qwen2_half),
        cmocka_unit_test(test_gpu_bitwise_qwen3_half),
        cmocka_unit_test(test_gpu_bitwise_qwen2_seven),
        cmocka_unit_test(test_gpu_bitwise_gemma3_small),
        cmocka_unit_test(test_gpu_bitwise_gemma3_one),
    };
    int result = cmocka_run_group_tests(tests, NULL, NULL);
    op_table_destroy(&ops);
    return result;
}
