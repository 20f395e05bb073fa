/* links: core kernels model */
/* bench/bench_head_ablation.c - what the precision of the LM head does to the agreement of actor and learner
 * (MiniMax-M1, arXiv:2506.13585, section 3.2 and figure 3), on a GPU.
 *
 * The learner's side computes the logprobs of one sequence in one packed forward pass. The actor's side computes them in
 * pieces of 64 rows, once with other product algorithms (cublasLt's free choice, split-K included: what two programs
 * with kernels of their own do) and once with ours. JSON lines: Pearson correlation of the probabilities, largest and
 * mean |dlogprob| for lm_head = bf16, fp32_out, fp32. With ours it must print 1 and 0. Weights are random,
 * the final gains 8; a trained model is more peaked still. */
#include <math.h>

#include "bench/random_model.h"

enum { TOKENS = 4096, PIECE = 64 };

struct side {
    struct op_table *ops;
    struct model *model;
    struct model_weights weights;
    struct model_cache *cache;
};

/* Gains of the final norm: logits eight times as large, so that their rounding counts. */
static void peak(struct side *side, const struct model_shape *shape)
{
    const float gain = 8.0F;
    size_t item = (size_t)side->ops->weight_bytes;
    char *gains = memory_array((size_t)shape->hidden, item);
    for (int32_t c = 0; c < shape->hidden; c++)
        memcpy(gains + (size_t)c * item, (const char *)&gain + sizeof gain - item, item);
    int64_t at = model_parameters(side->model)->final_norm;
    random_model_must(side->ops->memory_write(side->ops->context,
                                              (char *)side->weights.flat + at * (int64_t)item,
                                              gains, (size_t)shape->hidden * item));
    memory_free(gains);
}

static void side_open(struct side *side, const char *device, const struct model_shape *shape,
                      enum model_head_precision lm_head)
{
    random_model_must(op_table_create(&side->ops, device, 1));
    struct model_options options = {.rows_max = TOKENS, .lightning_chunk = 32, .lm_head = lm_head};
    random_model_must(model_create(&side->model, shape, side->ops, &options));
    random_model_must(model_weights_create(side->model, &side->weights));
    random_model_fill(side->model, &side->weights, side->ops);
    peak(side, shape);
    int32_t pages = TOKENS / (int32_t)side->ops->kv_tile + 1;
    random_model_must(model_cache_create(side->model, 1, pages, TOKENS, &side->cache));
}

static void side_close(struct side *side)
{
    model_cache_destroy(&side->cache);
    model_weights_destroy(side->model, &side->weights);
    model_destroy(&side->model);
    op_table_destroy(&side->ops);
}

/* ids [TOKENS]; logprob [TOKENS] of ids[t + 1], made in pieces of so many rows. */
static void side_score(struct side *side, const int32_t *ids, int32_t piece, float *logprob)
{
    int32_t *target = memory_array(TOKENS, sizeof *target);
    random_model_must(model_cache_open(side->cache, 0, TOKENS));
    for (int32_t t = 0; t < TOKENS; t += piece) {
        struct op_segment segment = {0, t, 0, piece};
        struct model_batch batch = {piece, ids + t, &segment, 1};
        act *hidden = NULL;
        random_model_must(
            model_forward(side->model, &side->weights, side->cache, &batch, false, &hidden));
        for (int32_t i = 0; i < piece; i++)
            target[i] = t + i + 1 < TOKENS ? ids[t + i + 1] : ids[0];
        struct model_head head = {
            .rows = piece, .temperature = 1.0F, .target = target, .logprob = logprob + t};
        random_model_must(model_head(side->model, &side->weights, hidden, &head));
    }
    memory_free(target);
}

/* The next token is the likeliest of a few candidates, so that probabilities are those of a text, not of noise. */
static void make_sequence(struct side *side, int32_t *ids)
{
    struct op_sample_row row = {.seed = 3, .temperature = 1.0F, .top_p = 1.0F};
    random_model_must(model_cache_open(side->cache, 0, TOKENS));
    ids[0] = 1;
    for (int32_t t = 0; t + 1 < TOKENS; t++) {
        struct op_segment segment = {0, t, 0, 1};
        struct model_batch batch = {1, ids + t, &segment, 1};
        float logprob = 0;
        row.position = (uint32_t)t + 1;
        struct model_sample sample = {.rows = 1,
                                      .row = &row,
                                      .repetition_probability = 0.99F,
                                      .token = ids + t + 1,
                                      .logprob = &logprob};
        random_model_must(model_decode(side->model, &side->weights, side->cache, &batch, &sample));
    }
}

static void compare(const char *head, const char *actor, const float *a, const float *b)
{
    double pa = 0, pb = 0, paa = 0, pbb = 0, pab = 0, worst = 0, mean = 0, smallest = 1,
           largest = 0;
    for (int32_t t = 0; t + 1 < TOKENS; t++) {
        double p = exp((double)a[t]), q = exp((double)b[t]), d = fabs((double)a[t] - (double)b[t]);
        pa += p, pb += q, paa += p * p, pbb += q * q, pab += p * q;
        worst = fmax(worst, d);
        mean += d;
        smallest = fmin(smallest, p), largest = fmax(largest, p);
    }
    double n = TOKENS - 1, bottom = sqrt((n * paa - pa * pa) * (n * pbb - pb * pb));
    printf("{\"bench\":\"head_ablation\",\"lm_head\":\"%s\",\"actor\":\"%s\",\"tokens\":%d,"
           "\"pearson\":%.9f,\"max_abs_dlogprob\":%.3g,\"mean_abs_dlogprob\":%.3g,"
           "\"probability_min\":%.2g,\"probability_max\":%.3f}\n",
           head, actor, TOKENS - 1, (n * pab - pa * pb) / bottom, worst, mean / n, smallest,
           largest);
    fflush(stdout);
}

int main(void)
{
    static const char *const names[] = {"fp32", "fp32_out", "bf16"};
    const char *device = getenv("WEIR_BENCH_DEVICE");
    char free_device[64];
    snprintf(free_device, sizeof free_device, "%s/free", device ? device : "cuda:0");
    struct model_shape shape;
    random_model_shape(&shape, SHAPE_QWEN2_HALF);
    int32_t *ids = memory_array(TOKENS, sizeof *ids);
    float *ours = memory_array(TOKENS, sizeof *ours), *other = memory_array(TOKENS, sizeof *other);
    for (int mode = MODEL_HEAD_BF16; mode >= MODEL_HEAD_FP32; mode--) {
        struct side learner, actor;
        side_open(&learner, device ? device : "cuda:0", &shape, (enum model_head_precision)mode);
        side_open(&actor, free_device, &shape, (enum model_head_precision)mode);
        if (mode == MODEL_HEAD_BF16)
            make_sequence(&learner, ids);
        side_score(&learner, ids, TOKENS, ours);
        side_score(&actor, ids, PIECE, other);
        compare(names[mode], "other algorithms", other, ours);
        side_score(&learner, ids, PIECE, other);
        compare(names[mode], "ours", other, ours);
        side_close(&actor);
        side_close(&learner);
    }
    memory_free(ids);
    memory_free(ours);
    memory_free(other);
    return 0;
}
