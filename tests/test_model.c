/* links: model */
/* timeout: 60 */
/* The forward pass as a function of the sequence alone: not of the batch, the pieces of prefill, decode
 * or training, the threads, or how a slot came to its tokens. And its gradient against differences. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/checksum.h"
#include "core/memory.h"
#include "core/rng.h"
#include "model/internal.h" /* routing of the last call */
#include "model/model.h"
#include "tests/model_shapes.h"

enum { SEQUENCES = 4, LENGTH_MAX = 96, ROWS_MAX = 256, CHUNK = 8 };
static const int32_t lengths[SEQUENCES] = {1, 37, 83, 70};

struct setup {
    struct op_table *ops;
    struct model *model;
    struct model_cache *cache;
    struct model_weights weights;
    float *flat;
};

static struct model_shape dense_shape(void)
{
    struct model_shape shape = {.arch = ARCH_QWEN3,
                                .vocabulary = 131,
                                .hidden = 32,
                                .intermediate = 80,
                                .layers = 2,
                                .heads = 6,
                                .kv_heads = 2,
                                .head_size = 12,
                                .rotary = 12,
                                .qk_norm = true,
                                .tied = true,
                                .rope_theta = 1e6,
                                .rms_norm_eps = 1e-6,
                                .alpha_softmax = 1.0,
                                .beta_softmax = 1.0,
                                .alpha_mlp = 1.0,
                                .beta_mlp = 1.0,
                                .initializer_range = 0.2,
                                .positions_max = 4096};
    memset(shape.layer_kind, LAYER_SOFTMAX, sizeof(shape.layer_kind));
    return shape;
}

static void open_with(struct setup *setup, const struct model_shape *shape, int32_t threads,
                      const struct model_options *options)
{
    *setup = (struct setup){0};
    assert_int_equal(op_table_create_cpu(&setup->ops, threads), STATUS_OK);
    assert_int_equal(model_create(&setup->model, shape, setup->ops, options), STATUS_OK);
    const struct parameter_table *table = model_parameters(setup->model);
    setup->flat = calloc((size_t)table->elements, sizeof(float));
    parameter_table_init(table, shape, 7, setup->flat);
    /* Norm gains away from 1, or a gain that is left out would not show. */
    struct rng rng;
    rng_init(&rng, 7, 1, RNG_TEST);
    for (int64_t i = 0; i < table->count; i++)
        for (int64_t j = 0; table->rows[i].init != INIT_NORMAL && j < table->rows[i].count; j++)
            setup->flat[table->rows[i].offset + j] += 0.3F * (float)(rng_uniform(&rng) - 0.5);
    assert_int_equal(model_weights_create(setup->model, &setup->weights), STATUS_OK);
    assert_int_equal(model_weights_load(setup->model, &setup->weights, setup->flat, 1), STATUS_OK);
    assert_int_equal(model_cache_create(setup->model, SEQUENCES + 1, 16, 128, &setup->cache),
                     STATUS_OK);
}

static void open_setup(struct setup *setup, const struct model_shape *shape, int32_t threads,
                       bool train)
{
    struct model_options options = {.rows_max = ROWS_MAX, .lightning_chunk = CHUNK, .train = train};
    open_with(setup, shape, threads, &options);
}

static void close_setup(struct setup *setup)
{
    model_cache_destroy(&setup->cache);
    model_weights_destroy(setup->model, &setup->weights);
    model_destroy(&setup->model);
    op_table_destroy(&setup->ops);
    free(setup->flat);
}

static int32_t token(const struct setup *setup, int32_t sequence, int32_t position)
{
    struct rng rng;
    rng_init(&rng, (uint64_t)sequence + 1, (uint64_t)position, RNG_TEST);
    return (int32_t)rng_below(&rng, (uint32_t)model_get_shape(setup->model)->vocabulary);
}

/* Logprob of token t + 1 and entropy, of every sequence and position. */
struct scores {
    float logprob[SEQUENCES][LENGTH_MAX];
    float entropy[SEQUENCES][LENGTH_MAX];
};

/* A forward call of segments: tokens [position, position + count) of sequences; slots as given. */
struct piece {
    int32_t sequence, slot, position, count;
};

static void run_pieces(struct setup *setup, const struct piece *pieces, int32_t count, bool save,
                       struct scores *scores)
{
    struct op_segment segments[SEQUENCES + 1];
    int32_t ids[ROWS_MAX], target[ROWS_MAX], rows = 0;
    float logprob[ROWS_MAX], entropy[ROWS_MAX];
    for (int32_t i = 0; i < count; i++) {
        const struct piece *p = &pieces[i];
        segments[i] = (struct op_segment){p->slot, p->position, rows, p->count};
        for (int32_t t = 0; t < p->count; t++, rows++) {
            ids[rows] = token(setup, p->sequence, p->position + t);
            target[rows] = token(setup, p->sequence, p->position + t + 1);
        }
    }
    struct model_batch batch = {rows, ids, segments, count};
    act *hidden = NULL;
    if (model_forward(setup->model, &setup->weights, setup->cache, &batch, save, &hidden) !=
        STATUS_OK)
        fail_msg("%s", status_last_error());
    struct model_head head = {.rows = rows,
                              .temperature = 0.7F,
                              .target = target,
                              .logprob = logprob,
                              .entropy = entropy};
    assert_int_equal(model_head(setup->model, &setup->weights, hidden, &head), STATUS_OK);
    for (int32_t i = 0; i < count; i++) {
        const struct piece *p = &pieces[i];
        size_t bytes = (size_t)p->count * sizeof(float);
        memcpy(&scores->logprob[p->sequence][p->position], logprob + segments[i].row, bytes);
        memcpy(&scores->entropy[p->sequence][p->position], entropy + segments[i].row, bytes);
    }
}

static void open_all(struct setup *setup)
{
    for (int32_t s = 0; s < SEQUENCES; s++)
        assert_int_equal(model_cache_open(setup->cache, s, lengths[s]), STATUS_OK);
}

static void score_packed(struct setup *setup, struct scores *scores)
{
    struct piece pieces[SEQUENCES];
    open_all(setup);
    for (int32_t s = 0; s < SEQUENCES; s++)
        pieces[s] = (struct piece){s, s, 0, lengths[s]};
    run_pieces(setup, pieces, SEQUENCES, true, scores);
}

static void score_in_pieces(struct setup *setup, int32_t size, struct scores *scores)
{
    open_all(setup);
    for (int32_t s = 0; s < SEQUENCES; s++)
        for (int32_t at = 0; at < lengths[s]; at += size) {
            int32_t left = lengths[s] - at;
            struct piece piece = {s, s, at, left < size ? left : size};
            run_pieces(setup, &piece, 1, false, scores);
        }
}

/* Token by token, the sequences entering one after another, so batches of 1 to 4 rows mix positions. */
static void score_decode(struct setup *setup, struct scores *scores)
{
    int32_t done[SEQUENCES] = {0};
    open_all(setup);
    for (int32_t step = 0;; step++) {
        struct piece pieces[SEQUENCES];
        int32_t count = 0;
        for (int32_t s = SEQUENCES - 1; s >= 0; s--)
            if (done[s] < lengths[s] && step >= 11 * s)
                pieces[count++] = (struct piece){s, s, done[s]++, 1};
        if (count > 0)
            run_pieces(setup, pieces, count, false, scores);
        else if (step > 11 * SEQUENCES)
            return;
    }
}

static void check_same(const struct scores *a, const struct scores *b, const char *what)
{
    for (int32_t s = 0; s < SEQUENCES; s++)
        for (int32_t t = 0; t < lengths[s]; t++)
            if (memcmp(&a->logprob[s][t], &b->logprob[s][t], sizeof(float)) != 0 ||
                memcmp(&a->entropy[s][t], &b->entropy[s][t], sizeof(float)) != 0)
                fail_msg("%s: sequence %d token %d: logprob %.9g and %.9g", what, s, t,
                         (double)a->logprob[s][t], (double)b->logprob[s][t]);
}

static void check_invariance(const struct model_shape *shape)
{
    static struct scores packed, other;
    static const int32_t sizes[] = {1, 7, 13, 64};
    struct setup setup;
    open_setup(&setup, shape, 2, true);
    score_packed(&setup, &packed);
    close_setup(&setup);
    for (int32_t threads = 1; threads <= 3; threads += 2) {
        open_setup(&setup, shape, threads, false);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            score_in_pieces(&setup, sizes[i], &other);
            check_same(&packed, &other, "packed training, prefill in pieces");
        }
        memset(&other, 0, sizeof(other));
        score_decode(&setup, &other);
        check_same(&packed, &other, "packed training, decode");
        close_setup(&setup);
    }
    for (int32_t s = 0; s < SEQUENCES; s++)
        for (int32_t t = 0; t < lengths[s]; t++)
            assert_true(isfinite(packed.logprob[s][t]) && packed.logprob[s][t] < 0.0F);
}

/* Gemma 3 in small: the window ends inside the sequences. */
static struct model_shape gemma_shape(void)
{
    struct model_shape shape = dense_shape();
    shape.arch = ARCH_GEMMA3;
    shape.layers = 3;
    shape.norm_one_plus = shape.branch_norm = shape.gelu = shape.scaled_embedding = true;
    shape.query_scalar = 10;
    shape.window = 9;
    shape.rope_theta_sliding = 1e4;
    shape.layer_sliding[0] = shape.layer_sliding[2] = 1;
    return shape;
}

static void test_model_sliding_logprobs_depend_on_the_sequence_only(void **state)
{
    (void)state;
    struct model_shape shape = gemma_shape();
    check_invariance(&shape);
}

static void test_model_hybrid_logprobs_depend_on_the_sequence_only(void **state)
{
    (void)state;
    struct model_shape shape = hybrid_shape();
    check_invariance(&shape);
}

static void test_model_dense_logprobs_depend_on_the_sequence_only(void **state)
{
    (void)state;
    struct model_shape shape = dense_shape();
    check_invariance(&shape);
}

/* Sequence 2 forked at `split` to slot 4 must go on with the bits of its own prefill. */
static void check_fork(const struct model_shape *shape, int32_t split, bool open)
{
    static struct scores own, forked, mixed;
    struct setup setup;
    enum { SEQUENCE = 2, TARGET = SEQUENCES };
    open_setup(&setup, shape, 2, false);
    int32_t length = lengths[SEQUENCE];
    assert_int_equal(model_cache_open(setup.cache, SEQUENCE, length), STATUS_OK);
    struct piece all = {SEQUENCE, SEQUENCE, 0, length};
    run_pieces(&setup, &all, 1, false, &own);
    int32_t pages = model_cache_pages_free(setup.cache);
    assert_int_equal(model_cache_open(setup.cache, SEQUENCE, length), STATUS_OK);
    struct piece start = {SEQUENCE, SEQUENCE, 0, split};
    run_pieces(&setup, &start, 1, false, &mixed);
    if (open)
        assert_int_equal(model_cache_open(setup.cache, TARGET, length), STATUS_OK);
    assert_int_equal(model_cache_fork(setup.cache, SEQUENCE, TARGET, split), STATUS_OK);
    int32_t full = split / (int32_t)setup.ops->kv_tile;
    int32_t needed = model_cache_pages_needed(setup.cache, length);
    assert_int_equal(model_cache_pages_free(setup.cache), pages - (needed - full));
    /* The source goes on with another sequence's tokens, which the target must not see. */
    for (int32_t t = split; t < length; t++) {
        struct piece both[2] = {{1, SEQUENCE, t, 1}, {SEQUENCE, TARGET, t, 1}};
        run_pieces(&setup, both, 2, false, &forked);
    }
    assert_memory_equal(own.logprob[SEQUENCE] + split, forked.logprob[SEQUENCE] + split,
                        (size_t)(length - split) * sizeof(float));
    model_cache_close(setup.cache, SEQUENCE);
    model_cache_close(setup.cache, TARGET);
    model_cache_close(setup.cache, TARGET);
    assert_int_equal(model_cache_pages_free(setup.cache), 16);
    close_setup(&setup);
}

static void test_model_forked_slot_equals_own_prefill(void **state)
{
    (void)state;
    struct model_shape hybrid = hybrid_shape(), dense = dense_shape();
    check_fork(&hybrid, 29, false);
    check_fork(&hybrid, 64, true); /* a whole page and a whole number of chunks */
    check_fork(&hybrid, 67, true);
    check_fork(&dense, 70, false);
}

/* ---- cache limits ---- */

static enum status forward_one(struct setup *setup, int32_t slot, int32_t position, int32_t count)
{
    static const int32_t ids[ROWS_MAX];
    struct op_segment segment = {slot, position, 0, count};
    struct model_batch batch = {count, ids, &segment, 1};
    act *hidden = NULL;
    return model_forward(setup->model, &setup->weights, setup->cache, &batch, false, &hidden);
}

static void test_model_batches_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    struct setup setup;
    struct model_shape shape = hybrid_shape();
    open_setup(&setup, &shape, 1, false);
    assert_int_equal(forward_one(&setup, 0, 0, 4), STATUS_INVALID); /* not open */
    assert_int_equal(model_cache_open(setup.cache, 0, 10), STATUS_OK);
    assert_int_equal(forward_one(&setup, 0, 3, 1), STATUS_INVALID); /* holds nothing yet */
    assert_int_equal(forward_one(&setup, 0, 0, 11), STATUS_LIMIT);
    assert_int_equal(forward_one(&setup, 9, 0, 1), STATUS_INVALID);
    assert_int_equal(forward_one(&setup, 0, 0, 10), STATUS_OK);
    assert_int_equal(forward_one(&setup, 0, 10, 1), STATUS_LIMIT);
    int32_t bad_id = shape.vocabulary;
    struct op_segment segment = {0, 0, 0, 1};
    struct model_batch batch = {1, &bad_id, &segment, 1};
    act *hidden = NULL;
    assert_int_equal(
        model_forward(setup.model, &setup.weights, setup.cache, &batch, false, &hidden),
        STATUS_INVALID);
    assert_int_equal(model_cache_open(setup.cache, 1, 129), STATUS_INVALID);
    for (int32_t s = 0; s < 4; s++) /* 4 x 2 pages of 64 */
        assert_int_equal(model_cache_open(setup.cache, s, 128), STATUS_OK);
    assert_int_equal(model_cache_pages_free(setup.cache), 8);
    close_setup(&setup);
}

static void test_model_cache_full_is_a_limit_and_close_gives_back(void **state)
{
    (void)state;
    struct setup setup;
    struct model_shape shape = dense_shape();
    open_setup(&setup, &shape, 1, false);
    model_cache_destroy(&setup.cache);
    assert_int_equal(model_cache_create(setup.model, 3, 3, 128, &setup.cache), STATUS_OK);
    assert_int_equal(model_cache_open(setup.cache, 0, 128), STATUS_OK);
    assert_int_equal(model_cache_open(setup.cache, 1, 65), STATUS_LIMIT);
    assert_int_equal(model_cache_pages_free(setup.cache), 1);
    model_cache_close(setup.cache, 0);
    assert_int_equal(model_cache_open(setup.cache, 1, 65), STATUS_OK);
    close_setup(&setup);
}

/* A sibling shares the full pages: writing over them from position 0 must not go through. */
static void test_model_shared_page_is_not_written_again(void **state)
{
    (void)state;
    struct setup setup;
    struct model_shape shape = dense_shape();
    open_setup(&setup, &shape, 1, false);
    assert_int_equal(model_cache_open(setup.cache, 0, 100), STATUS_OK);
    assert_int_equal(forward_one(&setup, 0, 0, 80), STATUS_OK);
    assert_int_equal(model_cache_fork(setup.cache, 0, 1, 80), STATUS_OK);
    assert_int_equal(forward_one(&setup, 0, 0, 4), STATUS_INVALID);
    model_cache_close(setup.cache, 1);
    assert_int_equal(forward_one(&setup, 0, 0, 4), STATUS_OK);
    close_setup(&setup);
}

/* ---- weights and memory ---- */

static void test_model_repack_after_a_write_follows_the_flat_weights(void **state)
{
    (void)state;
    static struct scores before, changed, loaded;
    struct setup setup;
    struct model_shape shape = dense_shape();
    open_setup(&setup, &shape, 2, true);
    score_packed(&setup, &before);
    uint64_t digest = setup.weights.digest;
    const struct parameter_table *table = model_parameters(setup.model);
    for (int64_t i = 0; i < table->elements; i++)
        setup.flat[i] *= 1.01F;
    memcpy(setup.weights.flat, setup.flat, (size_t)table->elements * sizeof(float)); /* as AdamW */
    assert_int_equal(model_weights_repack(setup.model, &setup.weights), STATUS_OK);
    score_packed(&setup, &changed);
    assert_true(before.logprob[1][3] != changed.logprob[1][3]);
    uint64_t repacked = setup.weights.digest;
    assert_true(repacked != digest);
    assert_int_equal(model_weights_load(setup.model, &setup.weights, setup.flat, 2), STATUS_OK);
    assert_true(setup.weights.digest == repacked);
    assert_int_equal(setup.weights.version, 2);
    score_packed(&setup, &loaded);
    check_same(&changed, &loaded, "repack, load");
    close_setup(&setup);
}

static void test_model_workspace_grows_with_rows_only(void **state)
{
    (void)state;
    struct op_table *ops = NULL;
    struct model_shape shape = hybrid_shape();
    int64_t bytes[3] = {0};
    assert_int_equal(op_table_create_cpu(&ops, 1), STATUS_OK);
    struct model_options options = {.rows_max = 1024, .lightning_chunk = CHUNK, .train = true};
    assert_int_equal(model_workspace_bytes(&shape, ops, &options, &bytes[0]), STATUS_OK);
    options.rows_max = 2048;
    assert_int_equal(model_workspace_bytes(&shape, ops, &options, &bytes[1]), STATUS_OK);
    options.train = false;
    assert_int_equal(model_workspace_bytes(&shape, ops, &options, &bytes[2]), STATUS_OK);
    assert_true(bytes[1] > bytes[0] && bytes[1] <= 2 * bytes[0]);
    assert_true(bytes[2] < bytes[1] / 2);
    op_table_destroy(&ops);
}

static void test_model_out_of_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    struct op_table *ops = NULL;
    struct model_shape shape = hybrid_shape();
    struct model_options options = {.rows_max = 16, .lightning_chunk = CHUNK, .train = true};
    assert_int_equal(op_table_create_cpu(&ops, 1), STATUS_OK);
    int64_t blocks = memory_blocks_live();
    enum status status = STATUS_NO_MEMORY;
    for (int64_t n = 1; status != STATUS_OK && n < 100; n++) {
        struct model *model = NULL;
        struct model_cache *cache = NULL;
        memory_fail_after(n);
        status = model_create(&model, &shape, ops, &options);
        if (status == STATUS_OK)
            status = model_cache_create(model, 2, 4, 64, &cache);
        memory_fail_after(-1);
        assert_true(status == STATUS_OK || status == STATUS_NO_MEMORY);
        model_cache_destroy(&cache);
        model_destroy(&model);
        assert_int_equal(memory_blocks_live(), blocks);
    }
    assert_int_equal(status, STATUS_OK);
    op_table_destroy(&ops);
}

/* ---- gradient ---- */

/* loss = sum of c_t logprob_t over chosen rows + aux_coefficient * aux, of 3 short sequences. */
struct loss_case {
    struct setup setup;
    double aux_coefficient;
    int32_t ids[48], row_index[24], target[24];
    float dlogprob[24];
    float logprob[24]; /* of the last call */
    float *grads;
    uint64_t routing; /* of the experts chosen in the last call */
};

static uint64_t hash_routing(const struct model *model)
{
    const struct model_shape *shape = &model->shape;
    size_t bytes = (size_t)model->rows * (size_t)shape->experts_per_token * sizeof(int32_t);
    uint64_t hash = 0;
    for (int32_t l = 0; shape->experts > 0 && l < shape->layers; l++)
        hash = hash64(model->records[l].expert, bytes, hash);
    return hash;
}

static double run_loss(struct loss_case *c, const float *flat, bool backward)
{
    static const struct op_segment segments[3] = {{0, 0, 0, 21}, {1, 0, 21, 9}, {2, 0, 30, 18}};
    struct setup *setup = &c->setup;
    double aux = 0.0, loss = 0.0;
    act *hidden = NULL;
    assert_int_equal(model_weights_load(setup->model, &setup->weights, flat, 1), STATUS_OK);
    for (int32_t s = 0; s < 3; s++)
        assert_int_equal(model_cache_open(setup->cache, s, segments[s].count), STATUS_OK);
    struct model_batch batch = {48, c->ids, segments, 3};
    assert_int_equal(
        model_forward(setup->model, &setup->weights, setup->cache, &batch, true, &hidden),
        STATUS_OK);
    struct model_head head = {.rows = 24,
                              .row_index = c->row_index,
                              .temperature = 0.8F,
                              .target = c->target,
                              .logprob = c->logprob};
    assert_int_equal(model_head(setup->model, &setup->weights, hidden, &head), STATUS_OK);
    struct model_backward args = {.rows = 24,
                                  .row_index = c->row_index,
                                  .temperature = 0.8F,
                                  .target = c->target,
                                  .dlogprob = c->dlogprob,
                                  .aux_coefficient = c->aux_coefficient,
                                  .aux_loss = &aux};
    size_t bytes = (size_t)model_parameters(setup->model)->elements * sizeof(float);
    float *grads = calloc(1, bytes); /* memory of the cpu table is host memory */
    assert_int_equal(model_backward(setup->model, &setup->weights, hidden, &args, grads),
                     STATUS_OK);
    if (backward)
        memcpy(c->grads, grads, bytes);
    free(grads);
    c->routing = hash_routing(setup->model);
    for (int32_t i = 0; i < 24; i++)
        loss += (double)c->dlogprob[i] * (double)c->logprob[i];
    return loss + c->aux_coefficient * aux;
}

/* The loss at flat + step * direction within one tensor; false when an expert choice flipped, where the
 * loss jumps and differences say nothing. */
static bool move(struct loss_case *c, const struct parameter *row, const float *direction,
                 double step, double *loss)
{
    size_t bytes = (size_t)model_parameters(c->setup.model)->elements * sizeof(float);
    uint64_t routing = c->routing;
    float *moved = calloc(1, bytes);
    memcpy(moved, c->setup.flat, bytes);
    for (int64_t j = 0; j < row->count; j++)
        moved[row->offset + j] += (float)step * direction[j];
    *loss = run_loss(c, moved, false);
    free(moved);
    bool same = c->routing == routing;
    c->routing = routing;
    return same;
}

/* Central differences in random directions, each within one tensor so that every tensor counts. With
 * step h the loss changes by 2 h g.v; f32 logprobs carry 24 roundings of about 3e-7, hence 1e-3 at
 * h = 2e-3, and the third derivative adds h^2 of itself: 1 % of the typical slope covers it. */
static bool check_direction(struct loss_case *c, const struct parameter *row, struct rng *rng)
{
    const double h = 2e-3;
    float *direction = calloc((size_t)row->count, sizeof(float));
    double slope = 0.0, size = 0.0, up = 0.0, down = 0.0;
    for (int64_t j = 0; j < row->count; j++) {
        double gradient = (double)c->grads[row->offset + j];
        direction[j] = (float)rng_normal(rng) / sqrtf((float)row->count);
        slope += (double)direction[j] * gradient;
        size += gradient * gradient;
    }
    bool smooth = move(c, row, direction, h, &up) && move(c, row, direction, -h, &down);
    double difference = (up - down) / (2.0 * h);
    double bound = 1e-3 + 0.01 * sqrt(size / (double)row->count) + 0.01 * fabs(slope);
    if (smooth && !(fabs(difference - slope) <= bound))
        fail_msg("%s: slope %g, difference %g, bound %g", row->name, slope, difference, bound);
    free(direction);
    return smooth;
}

static void open_loss(struct loss_case *c, const struct model_shape *shape, double aux_coefficient,
                      bool recompute)
{
    struct model_options options = {
        .rows_max = ROWS_MAX, .lightning_chunk = CHUNK, .train = true, .recompute = recompute};
    memset(c, 0, sizeof(*c));
    open_with(&c->setup, shape, 2, &options);
    c->aux_coefficient = aux_coefficient;
    c->grads = calloc((size_t)model_parameters(c->setup.model)->elements, sizeof(float));
    struct rng rng;
    rng_init(&rng, 3, 2, RNG_TEST);
    for (int32_t i = 0; i < 48; i++)
        c->ids[i] = (int32_t)rng_below(&rng, (uint32_t)shape->vocabulary);
    for (int32_t i = 0; i < 24; i++) {
        c->row_index[i] = 2 * i + 1;
        c->target[i] = (int32_t)rng_below(&rng, (uint32_t)shape->vocabulary);
        c->dlogprob[i] = i == 5 ? 0.0F : (float)rng_normal(&rng) / 5.0F;
    }
}

static void check_gradient(const struct model_shape *shape, double aux_coefficient)
{
    enum { TRIES = 40 };
    static struct loss_case c;
    open_loss(&c, shape, aux_coefficient, false);
    const struct parameter_table *table = model_parameters(c.setup.model);
    struct rng rng;
    rng_init(&rng, 3, 3, RNG_TEST);
    (void)run_loss(&c, c.setup.flat, true);
    for (int64_t i = 0; i < table->count; i++) {
        bool smooth = false;
        for (int t = 0; !smooth && t < TRIES; t++)
            smooth = check_direction(&c, &table->rows[i], &rng);
        assert_true(smooth);
    }
    free(c.grads);
    close_setup(&c.setup);
}

static void test_model_hybrid_gradient_equals_differences(void **state)
{
    (void)state;
    struct model_shape shape = hybrid_shape();
    check_gradient(&shape, 0.0);
}

static void test_model_gradient_with_router_loss_equals_differences(void **state)
{
    (void)state;
    struct model_shape shape = hybrid_shape();
    check_gradient(&shape, 2.0); /* large, so that its part shows */
}

static void test_model_dense_gradient_equals_differences(void **state)
{
    (void)state;
    struct model_shape shape = dense_shape();
    check_gradient(&shape, 0.0);
}

static void test_model_sliding_gradient_equals_differences(void **state)
{
    (void)state;
    struct model_shape shape = gemma_shape();
    check_gradient(&shape, 0.0);
}

/* Recomputing runs the same ops on the same numbers. */
static void check_recompute(const struct model_shape *shape, double aux_coefficient)
{
    static struct loss_case kept, again;
    open_loss(&kept, shape, aux_coefficient, false);
    open_loss(&again, shape, aux_coefficient, true);
    double loss = run_loss(&kept, kept.setup.flat, true);
    assert_true(run_loss(&again, again.setup.flat, true) == loss);
    assert_memory_equal(kept.logprob, again.logprob, sizeof(kept.logprob));
    const struct parameter_table *table = model_parameters(kept.setup.model);
    double size = 0.0;
    for (int64_t i = 0; i < table->count; i++) {
        const struct parameter *row = &table->rows[i];
        for (int64_t j = row->offset; j < row->offset + row->count; j++)
            size += fabs((double)kept.grads[j]);
        if (memcmp(kept.grads + row->offset, again.grads + row->offset,
                   (size_t)row->count * sizeof(float)) != 0)
            fail_msg("%s: gradients differ with recompute", row->name);
    }
    assert_true(size > 0.0);
    free(kept.grads);
    free(again.grads);
    close_setup(&kept.setup);
    close_setup(&again.setup);
}

static void test_model_recomputed_gradient_has_the_bits_of_the_kept_one(void **state)
{
    (void)state;
    struct model_shape hybrid = hybrid_shape(), sliding = gemma_shape();
    check_recompute(&hybrid, 2.0);
    check_recompute(&sliding, 0.0);
}

/* ---- forced routing ---- */

enum { ROUTED_ROWS = 48, ROUTED_TOP = 2, ROUTED_LAYERS = 3 };
typedef int32_t routing_table[ROUTED_LAYERS][ROUTED_ROWS * ROUTED_TOP];

/* Forward and backward of the loss with `forced` experts, or the router's own. */
static void run_routed(struct loss_case *c, routing_table forced, routing_table chosen)
{
    int32_t *expert[ROUTED_LAYERS];
    for (int32_t l = 0; forced && l < ROUTED_LAYERS; l++)
        expert[l] = forced[l];
    model_force_routing(c->setup.model, forced ? expert : NULL);
    (void)run_loss(c, c->setup.flat, true);
    for (int32_t l = 0; l < ROUTED_LAYERS; l++)
        assert_int_equal(model_read_routing(c->setup.model, l, chosen[l]), STATUS_OK);
    model_force_routing(c->setup.model, NULL);
}

static void check_chosen(routing_table wanted, routing_table chosen)
{
    for (int32_t l = 0; l < ROUTED_LAYERS; l++)
        for (int32_t t = 0; t < ROUTED_ROWS; t++) { /* a pair may come in either order */
            const int32_t *a = wanted[l] + ROUTED_TOP * t, *b = chosen[l] + ROUTED_TOP * t;
            if (!((a[0] == b[0] && a[1] == b[1]) || (a[0] == b[1] && a[1] == b[0])))
                fail_msg("layer %d row %d: experts %d %d, wanted %d %d", l, t, b[0], b[1], a[0],
                         a[1]);
        }
}

static void test_model_forced_own_choice_changes_no_bit(void **state)
{
    (void)state;
    static struct loss_case c;
    static routing_table own, chosen;
    float logprob[24];
    struct model_shape shape = hybrid_shape();
    open_loss(&c, &shape, 0.0, false);
    size_t bytes = (size_t)model_parameters(c.setup.model)->elements * sizeof(float);
    float *grads = calloc(1, bytes);
    run_routed(&c, NULL, own);
    memcpy(logprob, c.logprob, sizeof(logprob));
    memcpy(grads, c.grads, bytes);
    run_routed(&c, own, chosen);
    assert_memory_equal(own, chosen, sizeof(own));
    assert_memory_equal(logprob, c.logprob, sizeof(logprob));
    assert_memory_equal(grads, c.grads, bytes);
    assert_true(model_forced_gap(c.setup.model) == 0.0);
    free(grads);
    free(c.grads);
    close_setup(&c.setup);
}

static void test_model_forced_experts_replace_the_choice(void **state)
{
    (void)state;
    static struct loss_case c;
    static routing_table own, other, chosen;
    float logprob[24];
    struct model_shape shape = hybrid_shape();
    open_loss(&c, &shape, 0.0, false);
    run_routed(&c, NULL, own);
    memcpy(logprob, c.logprob, sizeof(logprob));
    for (int32_t l = 0; l < ROUTED_LAYERS; l++) /* no pair out of 5 moves onto itself */
        for (int32_t i = 0; i < ROUTED_ROWS * ROUTED_TOP; i++)
            other[l][i] = (own[l][i] + 1) % shape.experts;
    run_routed(&c, other, chosen);
    check_chosen(other, chosen);
    double gap = model_forced_gap(c.setup.model);
    assert_true(gap > 0.0 && gap < 1.0);
    for (int32_t i = 0; i < 24; i++)
        assert_true(isfinite(c.logprob[i]) && c.logprob[i] != logprob[i]);
    run_routed(&c, NULL, chosen); /* and off again */
    assert_memory_equal(own, chosen, sizeof(own));
    assert_memory_equal(logprob, c.logprob, sizeof(logprob));
    free(c.grads);
    close_setup(&c.setup);
}

static void test_model_backward_without_its_forward_is_refused(void **state)
{
    (void)state;
    struct setup setup;
    struct model_shape shape = dense_shape();
    open_setup(&setup, &shape, 1, true);
    int32_t index = 0, target = 1;
    float dlogprob = 1.0F, logprob = 0.0F;
    float *grads = calloc((size_t)model_parameters(setup.model)->elements, sizeof(float));
    struct model_backward args = {.rows = 1,
                                  .row_index = &index,
                                  .temperature = 1.0F,
                                  .target = &target,
                                  .dlogprob = &dlogprob};
    act *hidden = NULL;
    int32_t ids[2] = {1, 2};
    struct op_segment segment = {0, 0, 0, 2};
    struct model_batch batch = {2, ids, &segment, 1};
    assert_int_equal(model_cache_open(setup.cache, 0, 2), STATUS_OK);
    for (int save = 0; save < 2; save++) {
        assert_int_equal(
            model_forward(setup.model, &setup.weights, setup.cache, &batch, save == 1, &hidden),
            STATUS_OK);
        struct model_head head = {.rows = 1,
                                  .row_index = &index,
                                  .temperature = save == 1 ? 2.0F : 1.0F,
                                  .target = &target,
                                  .logprob = &logprob};
        assert_int_equal(model_head(setup.model, &setup.weights, hidden, &head), STATUS_OK);
        assert_int_equal(model_backward(setup.model, &setup.weights, hidden, &args, grads),
                         STATUS_INVALID); /* not saved, then another temperature */
    }
    free(grads);
    close_setup(&setup);
}

static void test_model_sample_logprob_is_the_trained_one(void **state)
{
    (void)state;
    struct setup setup;
    struct model_shape shape = hybrid_shape();
    open_setup(&setup, &shape, 2, false);
    assert_int_equal(model_cache_open(setup.cache, 0, 20), STATUS_OK);
    int32_t ids[20], token_id[2];
    for (int32_t t = 0; t < 20; t++)
        ids[t] = token(&setup, 0, t);
    struct op_segment segment = {0, 0, 0, 20};
    struct model_batch batch = {20, ids, &segment, 1};
    act *hidden = NULL;
    assert_int_equal(
        model_forward(setup.model, &setup.weights, setup.cache, &batch, false, &hidden), STATUS_OK);
    int32_t index[2] = {19, 4};
    struct op_sample_row row[2] = {{.seed = 5, .group = 9, .temperature = 0.9F, .top_p = 1.0F},
                                   {.seed = 5, .position = 3, .temperature = 0.9F, .top_p = 0.5F}};
    float logprob[2], truncated[2], again[2];
    uint8_t confident[2];
    struct model_sample sample = {2, index, row, 0.99F, token_id, logprob, truncated, confident};
    assert_int_equal(model_sample(setup.model, &setup.weights, hidden, &sample), STATUS_OK);
    struct model_head head = {
        .rows = 2, .row_index = index, .temperature = 0.9F, .target = token_id, .logprob = again};
    assert_int_equal(model_head(setup.model, &setup.weights, hidden, &head), STATUS_OK);
    assert_memory_equal(logprob, again, sizeof(again));
    assert_true(truncated[1] > logprob[1]);
    /* Logits made one row at a time (as when the vocabulary is large) change nothing. */
    float pieces[2], logits[2 * 67], whole[2 * 67];
    int32_t token_pieces[2];
    head.logits = whole;
    assert_int_equal(model_head(setup.model, &setup.weights, hidden, &head), STATUS_OK);
    setup.model->logits_rows = 1;
    sample.token = token_pieces;
    sample.logprob = pieces;
    head.logits = logits;
    assert_int_equal(model_sample(setup.model, &setup.weights, hidden, &sample), STATUS_OK);
    assert_int_equal(model_head(setup.model, &setup.weights, hidden, &head), STATUS_OK);
    assert_memory_equal(token_id, token_pieces, sizeof(token_id));
    assert_memory_equal(logprob, pieces, sizeof(pieces));
    assert_memory_equal(whole, logits, sizeof(logits));
    row[1].temperature = 1.0F;
    assert_int_equal(model_sample(setup.model, &setup.weights, hidden, &sample), STATUS_INVALID);
    close_setup(&setup);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_hybrid_logprobs_depend_on_the_sequence_only),
        cmocka_unit_test(test_model_sliding_logprobs_depend_on_the_sequence_only),
        cmocka_unit_test(test_model_dense_logprobs_depend_on_the_sequence_only),
        cmocka_unit_test(test_model_forked_slot_equals_own_prefill),
        cmocka_unit_test(test_model_batches_that_do_not_fit_are_refused),
        cmocka_unit_test(test_model_cache_full_is_a_limit_and_close_gives_back),
        cmocka_unit_test(test_model_shared_page_is_not_written_again),
        cmocka_unit_test(test_model_repack_after_a_write_follows_the_flat_weights),
        cmocka_unit_test(test_model_workspace_grows_with_rows_only),
        cmocka_unit_test(test_model_out_of_memory_leaves_nothing_behind),
        cmocka_unit_test(test_model_hybrid_gradient_equals_differences),
        cmocka_unit_test(test_model_gradient_with_router_loss_equals_differences),
        cmocka_unit_test(test_model_dense_gradient_equals_differences),
        cmocka_unit_test(test_model_sliding_gradient_equals_differences),
        cmocka_unit_test(test_model_recomputed_gradient_has_the_bits_of_the_kept_one),
        cmocka_unit_test(test_model_forced_own_choice_changes_no_bit),
        cmocka_unit_test(test_model_forced_experts_replace_the_choice),
        cmocka_unit_test(test_model_backward_without_its_forward_is_refused),
        cmocka_unit_test(test_model_sample_logprob_is_the_trained_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
