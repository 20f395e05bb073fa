/* tests/kernel_cases_loss.h - parity cases: experts, LM head, sampling, policy loss, optimizer. */
#ifndef TESTS_KERNEL_CASES_LOSS_H
#define TESTS_KERNEL_CASES_LOSS_H

#include "tests/kernel_cases_dense.h"

/* ---- mixture of experts --------------------------------------------------------------------------- */

/* A random one-to-one map of entries and sorted rows, consistent in both directions. */
static inline void sort_of(struct judge *judge, int64_t entries, struct array **entry,
                           struct array **sorted)
{
    *entry = input_i32(judge, "entry", entries);
    *sorted = input_i32(judge, "sorted", entries);
    uint64_t seed = rng_u64(&judge->rng);
    for (int64_t i = 0; i < entries; i++) {
        (*entry)->i[i] = (int32_t)rng_permute(seed, (uint64_t)entries, (uint64_t)i);
        (*sorted)->i[(*entry)->i[i]] = (int32_t)i;
    }
}

/* Logits on a grid of 1/4: ties are frequent and exact, gaps far above f32 rounding. 5000 rows: more entries than
 * one block of a GPU sorts. */
static inline void case_moe_route(struct judge *judge)
{
    for (int r = 0; r <= COUNT(rows_list); r++)
        for (int64_t experts = 4; experts <= 32; experts *= 2) {
            int64_t rows = r < COUNT(rows_list) ? rows_list[r] : 5000, top = experts == 32 ? 4 : 2;
            if (rows == 5000 && experts != 8)
                continue;
            SHAPE(judge, "rows %" PRId64 " experts %" PRId64 " top %" PRId64, rows, experts, top);
            struct array *logits = input(judge, "logits", rows * experts, 0);
            for (int64_t i = 0; i < rows * experts; i++)
                logits->f[i] = 0.25f * ((float)rng_below(&judge->rng, 33) - 16.0f);
            struct array *p = output(judge, "probability", rows * experts, ELEMENTWISE);
            struct array *expert = output_i32(judge, "expert", rows * top);
            struct array *weight = output(judge, "weight", rows * top, ELEMENTWISE);
            struct array *entry = output_i32(judge, "entry", rows * top);
            struct array *sorted = output_i32(judge, "sorted", rows * top);
            struct array *offset = output_i32(judge, "expert_offset", experts + 1);
            RUN(judge, moe_route, .rows = rows, .experts = experts, .top = top,
                .logits = AT(logits), .probability = experts == 8 ? NULL : AT(p),
                .expert = AT(expert), .weight = AT(weight), .entry = AT(entry),
                .sorted = AT(sorted), .expert_offset = AT(offset), .raw = experts >= 16);
            judge_compare(judge);
        }
}

/* Differences of numbers of size 1: a sum's bound with E terms. */
static inline void case_moe_route_backward(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int64_t experts = 4; experts <= 8; experts += 4) {
            int64_t rows = rows_list[r], top = 2;
            SHAPE(judge, "rows %" PRId64 " experts %" PRId64, rows, experts);
            struct array *p = input(judge, "probability", rows * experts, 0);
            struct array *expert = input_i32(judge, "expert", rows * top);
            struct array *weight = input(judge, "weight", rows * top, 0);
            struct array *dweight = input(judge, "dweight", rows * top, 1);
            struct array *aux = r % 2 ? NULL : input(judge, "aux_gradient", experts, 0.01);
            struct array *dlogits =
                output_act(judge, "dlogits", rows * experts, 2 * sum_bound(experts));
            for (int64_t i = 0; i < rows * experts; i++)
                p->f[i] = (float)((0.5 + rng_uniform(&judge->rng)) / (double)experts);
            for (int64_t t = 0; t < rows; t++) {
                expert->i[t * top] = (int32_t)rng_below(&judge->rng, (uint32_t)experts);
                expert->i[t * top + 1] = (expert->i[t * top] + 1) % (int32_t)experts;
                weight->f[t * top] = (float)rng_uniform(&judge->rng);
                weight->f[t * top + 1] = 1.0f - weight->f[t * top];
            }
            RUN(judge, moe_route_backward, .rows = rows, .experts = experts, .top = top,
                .probability = AT(p), .expert = AT(expert), .weight = AT(weight),
                .dweight = AT(dweight), .aux_gradient = AT(aux), .dlogits = AT(dlogits),
                .raw = r % 3 == 1);
            judge_compare(judge);
        }
}

static inline void case_moe_gather(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 0; c < COUNT(channels_list); c++) {
            int64_t rows = rows_list[r], channels = channels_list[c], top = 2;
            SHAPE(judge, "rows %" PRId64 " channels %" PRId64, rows, channels);
            struct array *entry, *sorted;
            sort_of(judge, rows * top, &entry, &sorted);
            struct array *x = input_act(judge, "x", rows * channels, 1);
            struct array *y = output_act(judge, "y", rows * top * channels, 0);
            RUN(judge, moe_gather, .rows = rows, .channels = channels, .top = top, .x = AT(x),
                .entry = AT(entry), .y = AT(y));
            judge_compare(judge);
        }
}

static inline void case_moe_gather_backward(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 0; c < COUNT(channels_list); c++) {
            int64_t rows = rows_list[r], channels = channels_list[c], top = 2 + r % 2;
            SHAPE(judge, "rows %" PRId64 " channels %" PRId64 " top %" PRId64, rows, channels, top);
            struct array *entry, *sorted;
            sort_of(judge, rows * top, &entry, &sorted);
            struct array *dy = input_act(judge, "dy", rows * top * channels, 1);
            bool accumulate = c % 2 == 0;
            struct array *dx = accumulate
                                   ? in_out_act(judge, "dx", rows * channels, 1, sum_bound(top + 1))
                                   : output_act(judge, "dx", rows * channels, sum_bound(top));
            RUN(judge, moe_gather_backward, .rows = rows, .channels = channels, .top = top,
                .accumulate = accumulate, .dy = AT(dy), .sorted = AT(sorted), .dx = AT(dx));
            judge_compare(judge);
        }
}

static inline void case_moe_combine(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 0; c < COUNT(channels_list); c++) {
            int64_t rows = rows_list[r], channels = channels_list[c], top = 2 + r % 2;
            SHAPE(judge, "rows %" PRId64 " channels %" PRId64 " top %" PRId64, rows, channels, top);
            struct array *entry, *sorted;
            sort_of(judge, rows * top, &entry, &sorted);
            struct array *x = input_act(judge, "x", rows * top * channels, 1);
            struct array *weight = input(judge, "weight", rows * top, 0.5);
            struct array *y = output_act(judge, "y", rows * channels, sum_bound(top));
            RUN(judge, moe_combine, .rows = rows, .channels = channels, .top = top, .x = AT(x),
                .sorted = AT(sorted), .weight = AT(weight), .y = AT(y));
            judge_compare(judge);
        }
}

static inline void case_moe_combine_backward(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int c = 0; c < COUNT(channels_list); c++) {
            int64_t rows = rows_list[r], channels = channels_list[c], top = 2;
            bool in_place = c % 2 == 1;
            SHAPE(judge, "rows %" PRId64 " channels %" PRId64 "%s", rows, channels,
                  in_place ? " in place" : "");
            struct array *entry, *sorted;
            sort_of(judge, rows * top, &entry, &sorted);
            struct array *x = in_out_act(judge, "x", rows * top * channels, 1, UNIT);
            struct array *dy = input_act(judge, "dy", rows * channels, 1);
            struct array *weight = input(judge, "weight", rows * top, 0.5);
            struct array *dx =
                in_place ? x : output_act(judge, "dx", rows * top * channels, 2 * UNIT);
            struct array *dweight = output(judge, "dweight", rows * top, sum_bound(channels));
            RUN(judge, moe_combine_backward, .rows = rows, .channels = channels, .top = top,
                .x = AT(x), .dy = AT(dy), .sorted = AT(sorted), .weight = AT(weight), .dx = AT(dx),
                .dweight = AT(dweight));
            judge_compare(judge);
        }
}

/* ---- LM head -------------------------------------------------------------------------------------- */

struct head_shape {
    int64_t rows, channels, vocabulary;
    float temperature;
    bool bf16;
    double scale; /* of the weight: logits of size 2 */
    struct array *x, *weight, *packed, *target;
};

static inline struct head_shape head_shape(struct judge *judge, int r, int v, bool bf16)
{
    static const float temperatures[] = {1.0f, 0.7f, 1.6f};
    struct head_shape s = {.rows = rows_list[r],
                           .channels = channels_list[(r + v) % 6],
                           .vocabulary = vocabulary_list[v],
                           .temperature = temperatures[r % 3],
                           .bf16 = bf16};
    s.rows = s.rows > 65 ? 66 : s.rows;
    if (r == COUNT(rows_list) - 1 && v == COUNT(vocabulary_list) - 1 && !judge_small(judge)) {
        s.channels = 256;
        s.vocabulary = 4104;
    }
    SHAPE(judge, "rows %" PRId64 " channels %" PRId64 " vocabulary %" PRId64 " bf16 %d", s.rows,
          s.channels, s.vocabulary, bf16);
    s.x = input_act(judge, "x", s.rows * s.channels, 1);
    s.weight =
        input_act(judge, "weight", s.vocabulary * s.channels, 2.0 / sqrt((double)s.channels));
    s.target = input_i32(judge, "target", s.rows);
    for (int64_t t = 0; t < s.rows; t++)
        s.target->i[t] = t % 5 == 3 ? -1 : (int32_t)rng_below(&judge->rng, (uint32_t)s.vocabulary);
    struct op_table *a = judge->table[0], *b = judge->table[1];
    size_t first = a->packed_bytes(a->context, 1, s.vocabulary, s.channels);
    size_t second = b->packed_bytes(b->context, 1, s.vocabulary, s.channels);
    s.packed = opaque(judge, "packed", first > second ? first : second);
    RUN(judge, linear_pack, .experts = 1, .n = s.vocabulary, .k = s.channels,
        .weight = AT(s.weight), .packed = AT(s.packed));
    return s;
}

#define HEAD_PACKED(s) PACKED(1, (s).vocabulary, (s).channels, (s).packed, (s).weight)

/* Logits carry sum_bound(C); log-sum-exp averages such errors and adds its own sum. With bf16 a logit
 * on a rounding border may fall to the other side: half a bf16 ulp is 2^-9, a whole one 2^-8. */
static inline double head_bound(const struct head_shape *s)
{
    return s->bf16 ? 0x1p-7 : 4.0 * sum_bound(s->channels) + sum_bound(s->vocabulary);
}

static inline void case_lm_head(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int v = 0; v < COUNT(vocabulary_list); v++)
            for (int bf16 = 0; bf16 < 2; bf16++) {
                struct head_shape s = head_shape(judge, r, v, bf16 == 1);
                double bound = head_bound(&s);
                struct array *logits = output(judge, "logits", s.rows * s.vocabulary, bound);
                struct array *lse = output(judge, "lse", s.rows, bound);
                struct array *lse_raw = output(judge, "lse_raw", s.rows, bound);
                struct array *logprob = output(judge, "logprob", s.rows, bound);
                struct array *entropy = output(judge, "entropy", s.rows, bound);
                lse->size = lse_raw->size = logprob->size = entropy->size = 4.0; /* of a logit */
                bool all = r % 2 == 0;
                if (!judge->run_failed)
                    RUN(judge, lm_head, .rows = s.rows, .channels = s.channels,
                        .vocabulary = s.vocabulary, .temperature = s.temperature, .bf16 = s.bf16,
                        .x = AT(s.x), .packed = HEAD_PACKED(s),
                        .target = r == 1 ? NULL : AT(s.target), .logits = all ? AT(logits) : NULL,
                        .lse = AT(lse), .lse_raw = all ? AT(lse_raw) : NULL,
                        .logprob = r == 1 ? NULL : AT(logprob),
                        .entropy = r == 3 ? NULL : AT(entropy));
                judge_compare(judge);
            }
}

/* lse and entropy for the backward call, from the oracle. */
static inline void oracle_lse(struct judge *judge, const struct head_shape *s, struct array *lse,
                              struct array *entropy)
{
    struct op_table *oracle = judge->table[1];
    settle(judge, s->x);
    settle(judge, s->weight);
    const struct op_lm_head args = {.rows = s->rows,
                                    .channels = s->channels,
                                    .vocabulary = s->vocabulary,
                                    .temperature = s->temperature,
                                    .bf16 = s->bf16,
                                    .x = s->x->f,
                                    .packed = s->weight->f,
                                    .lse = lse->f,
                                    .entropy = entropy->f};
    CHECK(oracle->lm_head(oracle->context, &args) == STATUS_OK);
}

/* p = exp(z - lse) turns the error of z into a relative one; dx sums V products, dW at most `rows`. */
static inline void case_lm_head_backward(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int v = 0; v < COUNT(vocabulary_list); v++)
            for (int which = 0; which < 4; which++) { /* bf16, and with the entropy's gradient */
                bool bf16 = which % 2 == 1, with_entropy = which / 2 == 1;
                struct head_shape s = head_shape(judge, r, v, bf16);
                /* p (log p + H): log p is up to 20, so an error of z counts that much more */
                double bound = (with_entropy ? 16.0 : 4.0) * head_bound(&s);
                struct array *lse = input(judge, "lse", s.rows, 0);
                struct array *entropy = input(judge, "entropy", s.rows, 0);
                struct array *dlogprob = input(judge, "dlogprob", s.rows, 1);
                struct array *dentropy = input(judge, "dentropy", s.rows, 1);
                for (int64_t t = 0; t < s.rows; t++)
                    dlogprob->f[t] = t % 5 == 3 || t % 7 == 4 ? 0.0f : dlogprob->f[t];
                for (int64_t t = 0; t < s.rows; t++)
                    dentropy->f[t] = t % 5 == 3 || t % 7 == 2 ? 0.0f : dentropy->f[t];
                struct array *dx = output_act(judge, "dx", s.rows * s.channels, bound);
                struct array *dweight =
                    in_out(judge, "dweight", s.vocabulary * s.channels, 1, bound);
                /* dz is rounded before the products; rows of large dlogprob are 3 times the rms. */
                dx->inner = dweight->inner = 4 * BF16_UNIT;
                oracle_lse(judge, &s, lse, entropy);
                if (!judge->run_failed)
                    RUN(judge, lm_head_backward, .rows = s.rows, .channels = s.channels,
                        .vocabulary = s.vocabulary, .temperature = s.temperature, .bf16 = s.bf16,
                        .x = AT(s.x), .packed = HEAD_PACKED(s), .weight = AT(s.weight),
                        .target = AT(s.target), .lse = AT(lse), .dlogprob = AT(dlogprob),
                        .dx = AT(dx), .dweight = AT(dweight),
                        .dentropy = with_entropy ? AT(dentropy) : NULL, .entropy = AT(entropy));
                judge_compare(judge);
            }
}

/* ---- sampling ------------------------------------------------------------------------------------- */

static inline void sample_rows(struct judge *judge, struct op_sample_row *row, int64_t rows)
{
    static const float temperatures[] = {1.0f, 0.7f, 0.0f, 1.5f};
    static const float top_p[] = {1.0f, 0.9f, 0.5f};
    static const int32_t top_k[] = {0, 1, 40, 3};
    for (int64_t t = 0; t < rows; t++)
        row[t] = (struct op_sample_row){
            .seed = rng_u64(&judge->rng),
            .group = rng_u64(&judge->rng),
            .sample = rng_below(&judge->rng, 65536),
            .position = rng_below(&judge->rng, 1 << 24),
            .temperature = temperatures[t % COUNT(temperatures)],
            .top_p = top_p[t % COUNT(top_p)],
            .top_k = top_p[t % COUNT(top_p)] < 1.0f ? 0 : top_k[t / 3 % COUNT(top_k)],
        };
}

/* log-sum-exp of a row of logits at a temperature, 0 standing for 1. */
static inline float lse_of(const float *logits, int64_t vocabulary, double temperature)
{
    double sum = 0.0;
    for (int64_t v = 0; v < vocabulary; v++)
        sum += exp((double)logits[v] / (temperature == 0.0 ? 1.0 : temperature));
    return (float)log(sum);
}

/* Tokens must be equal: the two largest z + g of a row lie closer than f32 rounding about once in a
 * million rows. top_p and top_k are not combined here: tests/test_sample.c has their order. */
static inline void case_sample(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++)
        for (int v = 0; v < COUNT(vocabulary_list); v++) {
            int64_t rows = rows_list[r], vocabulary = vocabulary_list[v];
            SHAPE(judge, "rows %" PRId64 " vocabulary %" PRId64, rows, vocabulary);
            struct op_sample_row row[257];
            struct array *drawn = input_i32(judge, "row", rows * (int64_t)(sizeof *row / 4));
            sample_rows(judge, row, rows);
            memcpy(drawn->i, row, (size_t)rows * sizeof *row);
            struct array *logits = input(judge, "logits", rows * vocabulary, 2.5);
            struct array *lse = input(judge, "lse", rows, 0);
            struct array *lse_raw = input(judge, "lse_raw", rows, 0);
            for (int64_t t = 0; t < rows; t++) {
                if (t % 6 == 5)
                    logits->f[t * vocabulary + 2] = 25.0f;
                const float *one = logits->f + t * vocabulary;
                lse->f[t] = lse_of(one, vocabulary, (double)row[t].temperature);
                lse_raw->f[t] = lse_of(one, vocabulary, 1.0);
            }
            struct array *token = output_i32(judge, "token", rows);
            struct array *logprob = output(judge, "logprob", rows, ELEMENTWISE);
            logprob->size = 36.0; /* z - lse, and z reaches 25 / 0.7 */
            struct array *truncated =
                output(judge, "logprob_truncated", rows, sum_bound(vocabulary));
            truncated->size = 36.0;
            struct array *confident = output_u8(judge, "confident", rows);
            RUN(judge, sample, .rows = rows, .vocabulary = vocabulary, .logits = AT(logits),
                .lse = AT(lse), .lse_raw = AT(lse_raw), .row = AT(drawn),
                .repetition_probability = 0.99f, .token = AT(token), .logprob = AT(logprob),
                .logprob_truncated = AT(truncated), .confident = AT(confident));
            judge_compare(judge);
        }
}

/* ---- policy loss ---------------------------------------------------------------------------------- */

struct loss_arrays {
    struct array *start, *logprob, *logprob_old, *advantage, *mask, *scale;
};

static inline struct loss_arrays loss_arrays(struct judge *judge, int64_t rows, int64_t sequences)
{
    struct loss_arrays a = {input_i32(judge, "sequence_start", sequences + 1),
                            input(judge, "logprob", rows, 1),
                            input(judge, "logprob_old", rows, 1),
                            input(judge, "advantage", rows, 1),
                            input(judge, "mask", rows, 0),
                            input(judge, "scale", rows, 0)};
    for (int64_t s = 0; s <= sequences; s++)
        a.start->i[s] = (int32_t)(rows * s / sequences);
    for (int64_t s = 0; s < sequences; s++)
        for (int64_t t = a.start->i[s]; t < a.start->i[s + 1]; t++) {
            a.advantage->f[t] = a.advantage->f[a.start->i[s]];
            a.scale->f[t] = (float)(0.1 + 0.05 * (double)s);
            a.mask->f[t] = rng_below(&judge->rng, 4) > 0 ? 1.0f : 0.0f;
            a.logprob->f[t] = -fabsf(a.logprob->f[t]);
            a.logprob_old->f[t] = a.logprob->f[t] + 0.8f * a.logprob_old->f[t];
            if (a.mask->f[t] == 0.0f)
                a.logprob->f[t] = NAN;
            else if (t % 11 == 3)
                a.logprob->f[t] = a.logprob_old->f[t] + (t % 2 ? 30.0f : -30.0f);
        }
    return a;
}

/* One exp (its argument's rounding included) and a few products for each token; the loss sums in f64
 * terms that carry f32 errors. The mean log ratio of gspo sums up to 128 numbers. */
static inline void run_policy_loss(struct judge *judge, enum policy_loss kind, int64_t rows,
                                   float dual_clip)
{
    int64_t sequences = rows > 3 ? 3 : 1;
    SHAPE(judge, "kind %d rows %" PRId64 " dual_clip %g", (int)kind, rows, (double)dual_clip);
    struct loss_arrays a = loss_arrays(judge, rows, sequences);
    struct array *ratio = output(judge, "ratio", rows, 64 * UNIT);
    struct array *dlogprob = output(judge, "dlogprob", rows, 64 * UNIT);
    struct array *clipped = output_u8(judge, "clipped", rows);
    double loss[2] = {0.0, 0.0};
    RUN(judge, policy_loss, .kind = kind, .rows = rows, .sequences = sequences,
        .sequence_start = AT(a.start), .logprob = AT(a.logprob), .logprob_old = AT(a.logprob_old),
        .advantage = AT(a.advantage), .mask = AT(a.mask), .scale = AT(a.scale), .weight_min = 0.4f,
        .weight_max = 2.0f, .clip_low = 0.2f, .clip_high = 0.28f, .dual_clip = dual_clip,
        .ratio = AT(ratio), .dlogprob = AT(dlogprob), .clipped = AT(clipped), .loss = &loss[side]);
    judge_number(judge, "loss", loss, 64 * UNIT, 1.0);
    judge_compare(judge);
}

static inline void case_policy_loss(struct judge *judge)
{
    for (int r = 0; r < COUNT(rows_list); r++) {
        for (int kind = POLICY_LOSS_CISPO; kind <= POLICY_LOSS_SFT; kind++)
            run_policy_loss(judge, (enum policy_loss)kind, rows_list[r], 0.0f);
        run_policy_loss(judge, POLICY_LOSS_PPO_CLIP, rows_list[r], 3.0f);
    }
}

/* ---- optimizer ------------------------------------------------------------------------------------ */

/* Gradients from 1e-18 up (M1 section 3.2): their squares are denormal in f32 and v must not lose them
 * by more than the f32 format does. */
static inline void case_adamw(struct judge *judge)
{
    static const double sizes[] = {1.0, 1e-9, 1e-18};
    for (int c = 0; c < COUNT(count_list); c++)
        for (int g = 0; g < COUNT(sizes); g++) {
            int64_t count = count_list[c];
            SHAPE(judge, "count %" PRId64 " gradients of size %g", count, sizes[g]);
            struct array *grad = input(judge, "grad", count, sizes[g]);
            struct array *parameter = in_out(judge, "parameter", count, 1, 8 * UNIT);
            struct array *m = in_out(judge, "m", count, sizes[g], 8 * UNIT);
            struct array *v = in_out(judge, "v", count, 0, 16 * UNIT);
            for (int64_t i = 0; i < count; i++)
                v->f[i] = (float)(sizes[g] * sizes[g] * rng_uniform(&judge->rng));
            struct array *copy = output_act(judge, "copy", count, 8 * UNIT);
            RUN(judge, adamw, .count = count, .update = 1 + 7 * g, .lr = 1e-2, .beta1 = 0.9,
                .beta2 = 0.95, .eps = 1e-15, .weight_decay = 0.1, .grad_scale = 0.37,
                .parameter = AT(parameter), .m = AT(m), .v = AT(v), .grad = AT(grad),
                .copy = c % 2 ? NULL : AT(copy));
            judge_compare(judge);
        }
}

/* One rounding: exact against the oracle. */
static inline void case_add_float(struct judge *judge)
{
    for (int c = 0; c < COUNT(count_list); c++) {
        int64_t count = count_list[c];
        SHAPE(judge, "count %" PRId64, count);
        struct array *x = input(judge, "x", count, 1);
        struct array *y = in_out(judge, "y", count, 1, 0);
        RUN(judge, add_float, .count = count, .x = AT(x), .y = AT(y));
        judge_compare(judge);
    }
}

static inline void case_split(struct judge *judge)
{
    for (int c = 0; c < COUNT(count_list); c++) {
        int64_t count = count_list[c];
        SHAPE(judge, "count %" PRId64, count);
        struct array *x = input(judge, "x", count, 1);
        struct array *hi = output_act(judge, "hi", count, judge_bf16(judge) ? UNIT : 0);
        RUN(judge, split, .count = count, .x = AT(x), .hi = AT(hi));
        judge_compare(judge);
    }
}

/* f64 sums of f32 squares, which are exact in f64: only the order differs. */
static inline void case_grad_norm(struct judge *judge)
{
    static const int64_t counts[] = {1, 17, 4097, 65537};
    for (int c = 0; c < COUNT(counts); c++)
        for (int bad = 0; bad < 2; bad++) {
            int64_t count = counts[c];
            SHAPE(judge, "count %" PRId64 "%s", count, bad ? " with NaN and infinity" : "");
            struct array *grad = input(judge, "grad", count, 1e-12);
            if (bad) {
                grad->f[0] = NAN;
                grad->f[count - 1] = -INFINITY;
            }
            double squares[2] = {0.0, 0.0};
            int64_t non_finite[2] = {0, 0};
            RUN(judge, grad_norm, .count = count, .grad = AT(grad), .sum_squares = &squares[side],
                .non_finite = &non_finite[side]);
            if (!bad)
                judge_number(judge, "sum_squares", squares, 1e-13, 0.0);
            if (!judge->bits_only && non_finite[0] != non_finite[1])
                judge_fail(judge, "non_finite is %" PRId64 ", oracle %" PRId64, non_finite[0],
                           non_finite[1]);
            judge_compare(judge);
        }
}

#endif
