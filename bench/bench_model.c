/* links: model */
/* Decode and training of a 10 M parameter Qwen3-shaped model on the CPU backend, one JSON line each:
 * tokens/s, the ceiling measured in the same run, and the target. Usage: bench_model [threads = 2].
 *
 * Ceilings: one sequence reads every weight once a token, so bytes of the packed weights / read speed of
 * a buffer of that size; 32 sequences and training are bound by arithmetic: 2 (decode) or 6 (training)
 * flop for each weight that multiplies a token, / speed of the largest linear at many rows. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "model/model.h"

enum {
    PROMPT = 64,
    DECODED = 96,
    SLOTS = 32,
    TRAIN_SEQUENCES = 8,
    TRAIN_LENGTH = 256,
    ROWS = TRAIN_SEQUENCES * TRAIN_LENGTH,
    REPEATS = 5,
    CEILING_REPEATS = 15,
    THREADS_MAX = 64
};

static void must(enum status status)
{
    if (status == STATUS_OK)
        return;
    (void)fprintf(stderr, "bench_model: %s\n", status_last_error());
    exit(1);
}

static double now_s(void)
{
    return (double)clock_now_ns() * 1e-9;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *seconds, int count)
{
    qsort(seconds, (size_t)count, sizeof(*seconds), ascending);
    return seconds[count / 2];
}

/* A ceiling is the best that was seen. */
static double fastest(const double *seconds, int count)
{
    double best = seconds[0];
    for (int i = 1; i < count; i++)
        best = seconds[i] < best ? seconds[i] : best;
    return best;
}

static struct model_shape shape_10m(void)
{
    struct model_shape shape = {.arch = ARCH_QWEN3,
                                .vocabulary = 2048,
                                .hidden = 320,
                                .intermediate = 1024,
                                .layers = 7,
                                .heads = 10,
                                .kv_heads = 2,
                                .head_size = 32,
                                .rotary = 32,
                                .qk_norm = true,
                                .rope_theta = 1e6,
                                .rms_norm_eps = 1e-6,
                                .alpha_softmax = 1.0,
                                .beta_softmax = 1.0,
                                .alpha_mlp = 1.0,
                                .beta_mlp = 1.0,
                                .initializer_range = 0.02,
                                .positions_max = 4096};
    memset(shape.layer_kind, LAYER_SOFTMAX, sizeof(shape.layer_kind));
    return shape;
}

/* ---- ceilings ---- */

typedef uint64_t v8 __attribute__((vector_size(64)));

struct reader {
    const v8 *from;
    int64_t count; /* multiple of 8 */
    v8 sum;
};

static void *read_all(void *argument)
{
    struct reader *reader = argument;
    v8 sum[8] = {{0}};
    for (int64_t i = 0; i < reader->count; i += 8)
        for (int j = 0; j < 8; j++)
            sum[j] ^= reader->from[i + j];
    for (int j = 0; j < 8; j++)
        reader->sum ^= sum[j];
    return NULL;
}

/* Bytes a second when `threads` threads read their share of `bytes`, again and again. */
static double read_speed(size_t bytes, int32_t threads)
{
    struct reader reader[THREADS_MAX] = {{0}};
    pthread_t thread[THREADS_MAX];
    double seconds[CEILING_REPEATS];
    int64_t share = (int64_t)(bytes / sizeof(v8)) / threads / 8 * 8;
    v8 *buffer = memory_array((size_t)(share * threads), sizeof(v8));
    if (!buffer)
        must(FAIL(STATUS_NO_MEMORY, "read buffer"));
    memset(buffer, 1, (size_t)(share * threads) * sizeof(v8));
    for (int r = 0; r < CEILING_REPEATS; r++) {
        double begin = now_s();
        for (int32_t t = 0; t < threads; t++) {
            reader[t].from = buffer + t * share;
            reader[t].count = share;
            if (pthread_create(&thread[t], NULL, read_all, &reader[t]) != 0)
                must(FAIL(STATUS_IO, "thread"));
        }
        for (int32_t t = 0; t < threads; t++)
            (void)pthread_join(thread[t], NULL);
        seconds[r] = now_s() - begin;
    }
    memory_free(buffer);
    return (double)(share * threads) * (double)sizeof(v8) / fastest(seconds, CEILING_REPEATS);
}

/* Flop a second of the model's largest linear (gate_up) at ROWS rows. */
static double linear_speed(const struct op_table *ops, const struct model_shape *shape)
{
    int64_t n = 2 * (int64_t)shape->intermediate, k = shape->hidden;
    void *w = NULL, *packed = NULL, *x = NULL, *y = NULL;
    double seconds[CEILING_REPEATS];
    must(ops->memory_create(ops->context, (size_t)(n * k) * sizeof(float), &w));
    must(ops->memory_create(ops->context, ops->packed_bytes(ops->context, 1, n, k), &packed));
    must(ops->memory_create(ops->context, (size_t)(ROWS * k) * sizeof(float), &x));
    must(ops->memory_create(ops->context, (size_t)(ROWS * n) * sizeof(float), &y));
    must(ops->linear_pack(ops->context, &(struct op_linear_pack){1, n, k, w, packed}));
    struct op_linear args = {.rows = ROWS,
                             .experts = 1,
                             .n = n,
                             .k = k,
                             .x_stride = k,
                             .y_stride = n,
                             .virtual_tp = 1,
                             .x = x,
                             .packed = packed,
                             .y = y};
    must(ops->linear(ops->context, &args));
    for (int r = 0; r < CEILING_REPEATS; r++) {
        double begin = now_s();
        must(ops->linear(ops->context, &args));
        seconds[r] = now_s() - begin;
    }
    void *memories[] = {w, packed, x, y};
    for (size_t i = 0; i < sizeof(memories) / sizeof(memories[0]); i++)
        ops->memory_destroy(ops->context, &memories[i]);
    return 2.0 * ROWS * (double)n * (double)k / fastest(seconds, CEILING_REPEATS);
}

/* ---- the model ---- */

struct bench {
    struct op_table *ops;
    struct model_shape shape;
    struct model *model;
    struct model_weights weights;
    double multiplied; /* weights that multiply a token: all but the embedding */
};

static void open_bench(struct bench *bench, int32_t threads)
{
    struct model_options options = {.rows_max = ROWS, .lightning_chunk = 32, .train = true};
    *bench = (struct bench){.shape = shape_10m()};
    must(op_table_create_cpu(&bench->ops, threads));
    must(model_create(&bench->model, &bench->shape, bench->ops, &options));
    const struct parameter_table *table = model_parameters(bench->model);
    float *flat = memory_array((size_t)table->elements, sizeof(float));
    if (!flat)
        must(FAIL(STATUS_NO_MEMORY, "weights"));
    parameter_table_init(table, &bench->shape, 1, flat);
    must(model_weights_create(bench->model, &bench->weights));
    must(model_weights_load(bench->model, &bench->weights, flat, 1));
    memory_free(flat);
    bench->multiplied =
        (double)table->elements - (double)bench->shape.vocabulary * bench->shape.hidden;
}

static void close_bench(struct bench *bench)
{
    model_weights_destroy(bench->model, &bench->weights);
    model_destroy(&bench->model);
    op_table_destroy(&bench->ops);
}

static int32_t pages_each(const struct bench *bench, int32_t positions)
{
    return (int32_t)(positions / bench->ops->kv_tile + 1);
}

/* One decode step of `count` sequences at `position`; ids in and out. */
static void decode_step(struct bench *bench, struct model_cache *cache, int32_t count,
                        int32_t position, int32_t *ids)
{
    struct op_segment segments[SLOTS];
    struct op_sample_row rows[SLOTS];
    int32_t index[SLOTS];
    float logprob[SLOTS];
    for (int32_t s = 0; s < count; s++) {
        segments[s] = (struct op_segment){s, position, s, 1};
        rows[s] = (struct op_sample_row){.seed = 1,
                                         .sample = (uint32_t)s,
                                         .position = (uint32_t)position,
                                         .temperature = 1.0F,
                                         .top_p = 1.0F};
        index[s] = s;
    }
    struct model_batch batch = {count, ids, segments, count};
    act *hidden = NULL;
    must(model_forward(bench->model, &bench->weights, cache, &batch, false, &hidden));
    struct model_sample sample = {.rows = count,
                                  .row_index = index,
                                  .row = rows,
                                  .repetition_probability = 0.99F,
                                  .token = ids,
                                  .logprob = logprob};
    must(model_sample(bench->model, &bench->weights, hidden, &sample));
}

static double decode_speed(struct bench *bench, int32_t count)
{
    static int32_t prompt[PROMPT];
    struct model_cache *cache = NULL;
    int32_t ids[SLOTS] = {0};
    double seconds[DECODED];
    int32_t positions = PROMPT + DECODED;
    must(model_cache_create(bench->model, count, count * pages_each(bench, positions), positions,
                            &cache));
    for (int32_t s = 0; s < count; s++) {
        struct op_segment segment = {s, 0, 0, PROMPT};
        struct model_batch batch = {PROMPT, prompt, &segment, 1};
        act *hidden = NULL;
        must(model_cache_open(cache, s, positions));
        must(model_forward(bench->model, &bench->weights, cache, &batch, false, &hidden));
    }
    for (int32_t t = 0; t < DECODED; t++) {
        double begin = now_s();
        decode_step(bench, cache, count, PROMPT + t, ids);
        seconds[t] = now_s() - begin;
    }
    model_cache_destroy(&cache);
    return count / median(seconds, DECODED);
}

/* ---- training ---- */

struct trainer {
    struct model_cache *cache;
    struct op_segment segments[TRAIN_SEQUENCES];
    int32_t ids[ROWS], target[ROWS];
    float logprob[ROWS], dlogprob[ROWS];
    void *grads, *m, *v;
};

static void train_step(struct bench *bench, struct trainer *trainer, int64_t update)
{
    const struct op_table *ops = bench->ops;
    int64_t count = model_parameters(bench->model)->elements;
    struct model_batch batch = {ROWS, trainer->ids, trainer->segments, TRAIN_SEQUENCES};
    act *hidden = NULL;
    must(model_forward(bench->model, &bench->weights, trainer->cache, &batch, true, &hidden));
    struct model_head head = {
        .rows = ROWS, .temperature = 1.0F, .target = trainer->target, .logprob = trainer->logprob};
    must(model_head(bench->model, &bench->weights, hidden, &head));
    struct model_backward backward = {.rows = ROWS,
                                      .temperature = 1.0F,
                                      .target = trainer->target,
                                      .dlogprob = trainer->dlogprob};
    must(model_backward(bench->model, &bench->weights, hidden, &backward, trainer->grads));
    struct op_adamw adamw = {.count = count,
                             .update = update,
                             .lr = 1e-4,
                             .beta1 = 0.9,
                             .beta2 = 0.95,
                             .eps = 1e-15,
                             .weight_decay = 0.1,
                             .grad_scale = 1.0,
                             .parameter = bench->weights.flat,
                             .m = trainer->m,
                             .v = trainer->v,
                             .grad = trainer->grads};
    must(ops->adamw(ops->context, &adamw));
    must(model_weights_repack(bench->model, &bench->weights));
}

static double train_speed(struct bench *bench)
{
    static struct trainer trainer;
    const struct op_table *ops = bench->ops;
    size_t bytes = (size_t)model_parameters(bench->model)->elements * sizeof(float);
    double seconds[REPEATS];
    must(ops->memory_create(ops->context, bytes, &trainer.grads));
    must(ops->memory_create(ops->context, bytes, &trainer.m));
    must(ops->memory_create(ops->context, bytes, &trainer.v));
    must(model_cache_create(bench->model, TRAIN_SEQUENCES,
                            TRAIN_SEQUENCES * pages_each(bench, TRAIN_LENGTH), TRAIN_LENGTH,
                            &trainer.cache));
    for (int32_t s = 0; s < TRAIN_SEQUENCES; s++) {
        trainer.segments[s] = (struct op_segment){s, 0, s * TRAIN_LENGTH, TRAIN_LENGTH};
        must(model_cache_open(trainer.cache, s, TRAIN_LENGTH));
    }
    for (int32_t t = 0; t < ROWS; t++) {
        trainer.ids[t] = t * 7 % bench->shape.vocabulary;
        trainer.target[t] = t * 11 % bench->shape.vocabulary;
        trainer.dlogprob[t] = -1.0F / ROWS;
    }
    for (int r = -1; r < REPEATS; r++) { /* the first one is not timed */
        double begin = now_s();
        train_step(bench, &trainer, r + 2);
        if (r >= 0)
            seconds[r] = now_s() - begin;
    }
    ops->memory_destroy(ops->context, &trainer.grads);
    ops->memory_destroy(ops->context, &trainer.m);
    ops->memory_destroy(ops->context, &trainer.v);
    model_cache_destroy(&trainer.cache);
    return ROWS / median(seconds, REPEATS);
}

static void report(const struct bench *bench, const char *name, int32_t threads, double speed,
                   double limit, double target)
{
    /* Good enough: the target of two AVX-512 cores, or half of what this machine can do. */
    double wanted = 0.5 * limit < target ? 0.5 * limit : target;
    (void)printf("{\"bench\": \"%s\", \"backend\": \"%s\", \"threads\": %d, \"parameters\": %lld, "
                 "\"tokens_per_s\": %.0f, \"limit\": %.0f, \"share\": %.3f, \"target\": %.0f, "
                 "\"half_limit\": %.0f, \"reached\": %s}\n",
                 name, bench->ops->name, threads,
                 (long long)model_parameters(bench->model)->elements, speed, limit, speed / limit,
                 target, 0.5 * limit, speed >= wanted ? "true" : "false");
}

int main(int argc, char **argv)
{
    long threads = argc > 1 ? strtol(argv[1], NULL, 10) : 2;
    if (threads < 1 || threads > THREADS_MAX) {
        (void)fprintf(stderr, "usage: bench_model [threads, 1 to %d]\n", THREADS_MAX);
        return 2;
    }
    static struct bench bench;
    open_bench(&bench, (int32_t)threads);
    double flops = linear_speed(bench.ops, &bench.shape);
    double bytes = bench.multiplied * (double)sizeof(float);
    double reads = read_speed((size_t)bytes, (int32_t)threads) / bytes;
    double decodes = flops / (2.0 * bench.multiplied);
    report(&bench, "decode_1", (int32_t)threads, decode_speed(&bench, 1), reads, 1200.0);
    report(&bench, "decode_32", (int32_t)threads, decode_speed(&bench, SLOTS), decodes, 8000.0);
    report(&bench, "train", (int32_t)threads, train_speed(&bench), decodes / 3.0, 3000.0);
    close_bench(&bench);
    return 0;
}
