/* links: core kernels model */
/* bench/bench_gpu.c - decode and training speed of model/ on a GPU, each figure beside its limit.
 *
 *     bench_gpu [half|one|seven|hybrid] [decode|train|ops]      (all by default; WEIR_BENCH_DEVICE, cuda:0)
 * "long" trains one rollout of 80K tokens with a hybrid of 1.5 billion parameters.
 * "ops" runs a training step with a wait after every op and prints the time of each kind.
 *
 * Shapes are Qwen2.5 0.5B, 1.5B, 7B with random weights. JSON lines. Ceilings are measured first, in the same run: device
 * copy (read + write bytes) and a bf16 product of 8192^3. Limits (M1-SPEC and docs/numerics.md have the formulas):
 *   decode   bytes of a step / copy bandwidth: all weights once (the head as hi + mid, 4 bytes), the cache of
 *            every sequence once; target 45 % of it
 *   train    6 N + 6 heads D T layers FLOP a token (causal half), over 989 TFLOP/s; the norm, head and optimizer
 *            included in the time; target 35 % at 0.5B, 42 % at 1.5B */
#include "bench/random_model.h"
#include "core/clock.h"

enum {
    GEMM = 8192,
    COPIES = 8,
    DECODE_STEPS = 64,
    DECODE_WARM = 8,
    TRAIN_TOKENS = 16384,
    TRAIN_STEPS = 4,
    LONG_TOKENS = 81920,
    LIGHTNING_CHUNK = 64
};
static const double PEAK = 989e12;

static struct op_table *ops;
static double copy_rate, gemm_rate;

static double seconds_since(int64_t begin_ns)
{
    random_model_must(ops->finish(ops->context));
    return (double)(clock_now_ns() - begin_ns) / 1e9;
}

static int64_t begin(void)
{
    random_model_must(ops->finish(ops->context));
    return clock_now_ns();
}

static void *make(int64_t bytes)
{
    void *memory = NULL;
    random_model_must(ops->memory_create(ops->context, (size_t)bytes, &memory));
    return memory;
}

static void measure_ceilings(void)
{
    const int64_t bytes = (int64_t)GEMM * GEMM * 8;
    void *a = make(bytes), *b = make(bytes), *c = make(bytes);
    for (int round = 0; round < 2; round++) {
        int64_t start = begin();
        for (int i = 0; i < COPIES; i++)
            random_model_must(ops->memory_copy(ops->context, a, b, (size_t)bytes));
        copy_rate = 2.0 * (double)bytes * COPIES / seconds_since(start);
    }
    char *noise = memory_array(RANDOM_PATTERN, (size_t)ops->weight_bytes);
    random_model_pattern(ops, noise, 0.05F);
    for (int64_t at = 0; at + RANDOM_PATTERN * 2 < (int64_t)GEMM * GEMM * 2;
         at += RANDOM_PATTERN * 2) {
        random_model_must(
            ops->memory_write(ops->context, (char *)a + at, noise, RANDOM_PATTERN * 2));
        random_model_must(
            ops->memory_write(ops->context, (char *)b + at, noise, RANDOM_PATTERN * 2));
    }
    memory_free(noise);
    struct op_linear product = {.rows = GEMM,
                                .experts = 1,
                                .n = GEMM,
                                .k = GEMM,
                                .x_stride = GEMM,
                                .y_stride = GEMM,
                                .virtual_tp = 1,
                                .x = a,
                                .packed = b,
                                .y = c};
    for (int round = 0; round < 2; round++) {
        int64_t start = begin();
        for (int i = 0; i < COPIES; i++)
            random_model_must(ops->linear(ops->context, &product));
        gemm_rate = 2.0 * GEMM * GEMM * (double)GEMM * COPIES / seconds_since(start);
    }
    ops->memory_destroy(ops->context, &a);
    ops->memory_destroy(ops->context, &b);
    ops->memory_destroy(ops->context, &c);
    printf("{\"bench\":\"ceilings\",\"copy_TBps\":%.3f,\"gemm_8192_TFLOPs\":%.1f}\n",
           copy_rate / 1e12, gemm_rate / 1e12);
    fflush(stdout);
}

/* Weights that a token multiplies, without the embedding: what decode reads and 6 N counts. */
static int64_t body_weights(const struct model_shape *shape)
{
    int64_t heads = shape->heads + 2 * (int64_t)shape->kv_heads, h = shape->hidden;
    int64_t experts = shape->experts > 0 ? shape->experts_per_token : 1;
    return shape->layers * (h * heads * shape->head_size + h * shape->heads * shape->head_size +
                            3 * experts * h * shape->intermediate);
}

/* Attention FLOP a trained token: causal softmax layers 12 H D T / 2, lightning layers 3 H (4 D^2 + 4 C D). */
static double attention_flop(const struct model_shape *shape, int32_t length)
{
    double size = shape->head_size, flop = 0;
    for (int32_t l = 0; l < shape->layers; l++)
        flop += shape->layer_kind[l] == LAYER_SOFTMAX ? 6.0 * size * length
                                                      : 12.0 * size * (size + LIGHTNING_CHUNK);
    return flop * shape->heads;
}

/* ---- decode ---- */

static void bench_decode(const char *name, const struct model_shape *shape, int32_t batch,
                         int32_t context)
{
    struct model *model = NULL;
    struct model_weights weights;
    struct model_cache *cache = NULL;
    int32_t positions = context + DECODE_STEPS + 2 * DECODE_WARM;
    struct model_options options = {.rows_max = batch + 512, .lightning_chunk = LIGHTNING_CHUNK};
    random_model_must(model_create(&model, shape, ops, &options));
    random_model_must(model_weights_create(model, &weights));
    random_model_fill(model, &weights, ops);
    int32_t pages = (positions / (int32_t)ops->kv_tile + 1) * batch;
    random_model_must(model_cache_create(model, batch, pages, positions, &cache));
    size_t count = (size_t)batch;
    int32_t *ids = memory_array(count + 512, sizeof *ids),
            *token = memory_array(count, sizeof *token);
    struct op_segment *segments = memory_array(count, sizeof *segments);
    struct op_sample_row *rows = memory_array(count, sizeof *rows);
    float *logprob = memory_array(count, sizeof *logprob);
    for (int32_t s = 0; s < batch;
         s++) { /* contents do not matter: the cache is as long as it says */
        random_model_must(model_cache_open(cache, s, positions));
        for (int32_t at = 0; at < context; at += 512) {
            int32_t part = context - at < 512 ? context - at : 512;
            struct op_segment segment = {s, at, 0, part};
            struct model_batch prefill = {part, ids, &segment, 1};
            act *hidden = NULL;
            random_model_must(model_forward(model, &weights, cache, &prefill, false, &hidden));
        }
        rows[s] =
            (struct op_sample_row){.seed = 1, .group = (uint64_t)s, .temperature = 1, .top_p = 1};
    }
    int64_t start = 0;
    for (int32_t step = 0; step < DECODE_STEPS + DECODE_WARM; step++) {
        if (step == DECODE_WARM)
            start = begin();
        for (int32_t s = 0; s < batch; s++)
            segments[s] = (struct op_segment){s, context + step, s, 1};
        struct model_batch decode = {batch, ids, segments, batch};
        struct model_sample sample = {.rows = batch,
                                      .row = rows,
                                      .repetition_probability = 0.99F,
                                      .token = token,
                                      .logprob = logprob};
        random_model_must(model_decode(model, &weights, cache, &decode, &sample));
        memcpy(ids, token, count * sizeof *ids);
    }
    double step_s = seconds_since(start) / DECODE_STEPS;
    double kv = 2.0 * (double)shape->layers * shape->kv_heads * shape->head_size * 2.0;
    double bytes = 2.0 * (double)body_weights(shape) +
                   4.0 * (double)shape->vocabulary * shape->hidden +
                   (double)batch * (context + DECODE_STEPS / 2) * kv;
    printf(
        "{\"bench\":\"decode\",\"model\":\"%s\",\"batch\":%d,\"context\":%d,\"ms_per_step\":%.3f,"
        "\"tokens_per_s\":%.0f,\"limit_tokens_per_s\":%.0f,\"share_of_limit\":%.3f,\"target\":0.45}"
        "\n",
        name, batch, context, step_s * 1e3, batch / step_s, batch * copy_rate / bytes,
        bytes / copy_rate / step_s);
    fflush(stdout);
    model_cache_destroy(&cache);
    model_weights_destroy(model, &weights);
    model_destroy(&model);
    memory_free(ids);
    memory_free(token);
    memory_free(segments);
    memory_free(rows);
    memory_free(logprob);
}

/* ---- where the time of a step goes ---- */

static struct op_table *timed; /* the table that is timed */
enum op_number {
#define OP(op) NUMBER_##op,
    KERNEL_OPS(OP)
#undef OP
        NUMBER_COUNT
};
static double op_s[NUMBER_COUNT];
static int op_calls[NUMBER_COUNT];

#define OP(op)                                                               \
    static enum status timed_##op(void *context, const struct op_##op *args) \
    {                                                                        \
        int64_t start = begin();                                             \
        enum status status = timed->op(context, args);                       \
        op_s[NUMBER_##op] += seconds_since(start);                           \
        op_calls[NUMBER_##op]++;                                             \
        return status;                                                       \
    }
KERNEL_OPS(OP)
#undef OP

/* A copy of the table whose ops are timed one by one. */
static struct op_table timed_table(void)
{
    struct op_table table = *ops;
    timed = ops;
#define OP(op) table.op = timed_##op;
    KERNEL_OPS(OP)
#undef OP
    return table;
}

static void print_ops(const char *name, int steps)
{
    static const char *const names[] = {
#define OP(op) #op,
        KERNEL_OPS(OP)
#undef OP
    };
    for (int i = 0; i < NUMBER_COUNT; i++)
        if (op_calls[i] > 0)
            printf("{\"bench\":\"op\",\"model\":\"%s\",\"op\":\"%s\",\"calls\":%d,\"ms\":%.2f}\n",
                   name, names[i], op_calls[i] / steps, op_s[i] * 1e3 / steps);
    memset(op_s, 0, sizeof op_s);
    memset(op_calls, 0, sizeof op_calls);
    fflush(stdout);
}

/* ---- training ---- */

struct training {
    struct model *model;
    struct model_weights weights;
    struct model_cache *cache;
    float *master, *m, *v, *grads;
    int32_t *ids, *target;
    float *logprob, *dlogprob;
    struct op_segment *segments;
    int32_t sequences, tokens;
    double part_s[4]; /* forward, head, backward, optimizer */
};

static void train_step(struct training *t, int64_t update)
{
    int64_t elements = model_parameters(t->model)->elements, start = begin();
    random_model_must(ops->memory_zero(ops->context, t->grads, (size_t)elements * sizeof(float)));
    struct model_batch batch = {t->tokens, t->ids, t->segments, t->sequences};
    struct model_head head = {
        .rows = t->tokens, .temperature = 1, .target = t->target, .logprob = t->logprob};
    struct model_backward back = {
        .rows = t->tokens, .temperature = 1, .target = t->target, .dlogprob = t->dlogprob};
    act *hidden = NULL;
    double squares = 0;
    int64_t bad = 0;
    random_model_must(model_forward(t->model, &t->weights, t->cache, &batch, true, &hidden));
    t->part_s[0] = seconds_since(start);
    start = begin();
    random_model_must(model_head(t->model, &t->weights, hidden, &head));
    t->part_s[1] = seconds_since(start);
    start = begin();
    random_model_must(model_backward(t->model, &t->weights, hidden, &back, t->grads));
    t->part_s[2] = seconds_since(start);
    start = begin();
    struct op_grad_norm norm = {elements, t->grads, &squares, &bad};
    random_model_must(ops->grad_norm(ops->context, &norm));
    struct op_adamw adamw = {.count = elements,
                             .update = update,
                             .lr = 1e-6,
                             .beta1 = 0.9,
                             .beta2 = 0.95,
                             .eps = 1e-15,
                             .grad_scale = 1,
                             .parameter = t->master,
                             .m = t->m,
                             .v = t->v,
                             .grad = t->grads,
                             .copy = t->weights.flat};
    random_model_must(ops->adamw(ops->context, &adamw));
    random_model_must(model_weights_round(t->model, &t->weights, t->master, true));
    t->part_s[3] = seconds_since(start);
}

static void bench_train(const char *name, const struct model_shape *shape, int32_t length,
                        int32_t tokens, bool recompute, double target)
{
    struct training t = {.sequences = tokens / length, .tokens = tokens};
    struct model_options options = {.rows_max = tokens,
                                    .lightning_chunk = LIGHTNING_CHUNK,
                                    .train = true,
                                    .recompute = recompute};
    random_model_must(model_create(&t.model, shape, ops, &options));
    random_model_must(model_weights_create(t.model, &t.weights));
    random_model_fill(t.model, &t.weights, ops);
    int32_t pages = (length / (int32_t)ops->kv_tile + 1) * t.sequences;
    random_model_must(model_cache_create(t.model, t.sequences, pages, length, &t.cache));
    int64_t bytes = model_parameters(t.model)->elements * (int64_t)sizeof(float);
    t.master = make(bytes), t.m = make(bytes), t.v = make(bytes), t.grads = make(bytes);
    t.ids = memory_array((size_t)tokens, sizeof(int32_t));
    t.target = memory_array((size_t)tokens, sizeof(int32_t));
    t.logprob = memory_array((size_t)tokens, sizeof(float));
    t.dlogprob = memory_array((size_t)tokens, sizeof(float));
    t.segments = memory_array((size_t)t.sequences, sizeof(struct op_segment));
    for (int32_t i = 0; i < tokens; i++) {
        t.ids[i] = (int32_t)(random_bits((uint64_t)i) % (uint32_t)shape->vocabulary);
        t.target[i] = (int32_t)(random_bits((uint64_t)i + 1) % (uint32_t)shape->vocabulary);
        t.dlogprob[i] = -1.0F / (float)tokens;
    }
    for (int32_t s = 0; s < t.sequences; s++) {
        t.segments[s] = (struct op_segment){s, 0, s * length, length};
        random_model_must(model_cache_open(t.cache, s, length));
    }
    double best = 1e9, parts[4] = {0};
    for (int64_t step = 1; step <= (recompute ? 2 : TRAIN_STEPS); step++) {
        train_step(&t, step);
        double sum = t.part_s[0] + t.part_s[1] + t.part_s[2] + t.part_s[3];
        if (sum < best) {
            best = sum;
            memcpy(parts, t.part_s, sizeof parts);
        }
    }
    double weights = (double)body_weights(shape) + (double)shape->vocabulary * shape->hidden;
    double flop = 6.0 * weights + attention_flop(shape, length);
    double rate = tokens / best;
    int64_t left = 0, total = 0;
    random_model_must(ops->memory_left(ops->context, &left, &total));
    printf(
        "{\"bench\":\"train\",\"model\":\"%s\",\"length\":%d,\"tokens\":%d,\"tokens_per_s\":%.0f,"
        "\"mfu_of_989\":%.3f,\"target\":%.2f,\"share_of_gemm\":%.3f,\"ms\":{\"forward\":%.1f,"
        "\"head\":%.1f,"
        "\"backward\":%.1f,\"optimizer\":%.1f},\"memory_GB\":%.1f}\n",
        name, length, tokens, rate, rate * flop / PEAK, target, rate * flop / gemm_rate,
        parts[0] * 1e3, parts[1] * 1e3, parts[2] * 1e3, parts[3] * 1e3,
        (double)(total - left) / 1e9);
    fflush(stdout);
    void *owned[4] = {t.master, t.m, t.v, t.grads};
    for (int i = 0; i < 4; i++)
        ops->memory_destroy(ops->context, &owned[i]);
    model_cache_destroy(&t.cache);
    model_weights_destroy(t.model, &t.weights);
    model_destroy(&t.model);
    memory_free(t.ids);
    memory_free(t.target);
    memory_free(t.logprob);
    memory_free(t.dlogprob);
    memory_free(t.segments);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name, *config;
        double train_target; /* 0: not trained here */
    } shapes[] = {{"half", SHAPE_QWEN2_HALF, 0.35},
                  {"one", SHAPE_QWEN2_ONE, 0.42},
                  {"seven", SHAPE_QWEN2_SEVEN, 0},
                  {"hybrid", SHAPE_HYBRID, 0}};
    const char *device = getenv("WEIR_BENCH_DEVICE");
    random_model_must(op_table_create(&ops, device ? device : "cuda:0", 1));
    measure_ceilings();
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (argc > 1 && strcmp(argv[1], shapes[i].name) != 0 && strcmp(argv[1], "all") != 0)
            continue;
        struct model_shape shape;
        random_model_shape(&shape, shapes[i].config);
        if (argc <= 2 || strcmp(argv[2], "decode") == 0) {
            bench_decode(shapes[i].name, &shape, 1, 512);
            bench_decode(shapes[i].name, &shape, 64, 1024);
            bench_decode(shapes[i].name, &shape, 256, 1024);
        }
        if (argc > 2 && strcmp(argv[2], "ops") == 0) {
            struct op_table *plain = ops, table = timed_table();
            ops = &table;
            bench_train(shapes[i].name, &shape, 2048, TRAIN_TOKENS, false, 0);
            ops = plain;
            print_ops(shapes[i].name, TRAIN_STEPS);
        }
        if ((argc <= 2 || strcmp(argv[2], "train") == 0) && shapes[i].train_target > 0) {
            bench_train(shapes[i].name, &shape, 2048, TRAIN_TOKENS, false, shapes[i].train_target);
            bench_train(shapes[i].name, &shape, 8192, TRAIN_TOKENS, false, shapes[i].train_target);
        }
    }
    if (argc > 1 && strcmp(argv[1], "long") ==
                        0) { /* one rollout of 80K tokens, layers run again in the backward pass */
        struct model_shape shape;
        random_model_shape(&shape, SHAPE_HYBRID_BIG);
        bench_train("hybrid_big", &shape, LONG_TOKENS, LONG_TOKENS, true, 0);
    }
    op_table_destroy(&ops);
    return 0;
}
