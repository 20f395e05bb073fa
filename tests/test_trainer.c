/* links: learner */
/* timeout: 60 */
/* One update: packing, normalisers, determinism, what is skipped, the mismatch counter, and a reference case. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "learner/packing.h"
#include "model/safetensors.h"
#include "tests/trainer_case.h"

static char model_m1[FILE_PATH_MAX], model_qwen2[FILE_PATH_MAX];
static struct case_batch batch;

static int setup(void **state)
{
    (void)state;
    char folder[FILE_PATH_MAX];
    case_folder(folder, "test_trainer/m1");
    case_model(model_m1, folder, CASE_CONFIG_M1);
    case_folder(folder, "test_trainer/qwen2");
    case_model(model_qwen2, folder, CASE_CONFIG_QWEN2);
    return 0;
}

static void open_trainer(struct trainer *trainer, const struct settings *settings,
                         const char *model)
{
    if (trainer_create(trainer, settings, model, 2 * CASE_TOKENS) != STATUS_OK)
        fail_msg("%s", status_last_error());
}

static size_t parameter_count(const struct trainer *trainer)
{
    return (size_t)model_parameters(trainer->model)->elements;
}

/* A host copy of master, m, v or the gradients; the caller frees. */
static float *copy_of(const struct trainer *trainer, const float *device)
{
    size_t bytes = parameter_count(trainer) * sizeof(float);
    float *host = malloc(bytes);
    assert_non_null(host);
    assert_int_equal(trainer->ops->memory_read(trainer->ops->context, device, host, bytes),
                     STATUS_OK);
    return host;
}

/* ---- packing ---- */

static void test_packing_two_sequences_rows_and_targets_are_right(void **state)
{
    (void)state;
    const uint32_t prompt_a[] = {10, 11, 12}, response_a[] = {20, 21}, prompt_b[] = {30},
                   response_b[] = {40, 41, 42};
    const float old_a[] = {-1, -2}, old_b[] = {-3, -4, -5}, mask_a[] = {1, 0}, mask_b[] = {0, 1, 1};
    const uint8_t current_b[] = {1, 0, 1};
    const float streamed_b[] = {-3.5F, -4.5F, -5.5F};
    const struct train_sequence a = {.prompt_ids = prompt_a,
                                     .prompt_count = 3,
                                     .response_ids = response_a,
                                     .response_count = 2,
                                     .logprob_old = old_a,
                                     .mask = mask_a,
                                     .advantage = 0.5,
                                     .temperature = 1};
    const struct train_sequence b = {.prompt_ids = prompt_b,
                                     .prompt_count = 1,
                                     .response_ids = response_b,
                                     .response_count = 3,
                                     .logprob_old = old_b,
                                     .logprob_streamed = streamed_b,
                                     .mask = mask_b,
                                     .current = current_b,
                                     .advantage = -2,
                                     .group = 1,
                                     .temperature = 1};
    struct packing packing;
    assert_int_equal(packing_create(&packing, 8, 4), STATUS_OK);
    packing_add(&packing, &a, 0.25);
    packing_add(&packing, &b, 0.125);
    assert_int_equal(packing.rows,
                     7); /* (3 + 2 - 1) + (1 + 3 - 1): the last token predicts nothing */
    const int32_t ids[] = {10, 11, 12, 20, 30, 40, 41}, row_index[] = {2, 3, 4, 5, 6},
                  target[] = {20, 21, 40, 41, 42}, starts[] = {0, 2, 5};
    assert_memory_equal(packing.ids, ids, sizeof ids);
    assert_int_equal(packing.heads, 5);
    assert_memory_equal(packing.row_index, row_index, sizeof row_index);
    assert_memory_equal(packing.target, target, sizeof target);
    assert_memory_equal(packing.starts, starts, sizeof starts);
    const float old[] = {-1, -2, -3, -4, -5}, mask[] = {1, 0, 0, 1, 1},
                advantage[] = {0.5, 0.5, -2, -2, -2}, scale[] = {0.25, 0.25, 0.125, 0.125, 0.125};
    const uint8_t current[] = {0, 0, 1, 0, 1};
    const float streamed[] = {-1, -2, -3.5F, -4.5F, -5.5F};
    assert_memory_equal(packing.logprob_old, old, sizeof old);
    assert_memory_equal(packing.logprob_streamed, streamed, sizeof streamed);
    assert_memory_equal(packing.mask, mask, sizeof mask);
    assert_memory_equal(packing.advantage, advantage, sizeof advantage);
    assert_memory_equal(packing.scale, scale, sizeof scale);
    assert_memory_equal(packing.current, current, sizeof current);
    const struct op_segment segments[] = {{0, 0, 0, 4}, {1, 0, 4, 3}};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(packing.segments[i].slot, segments[i].slot);
        assert_int_equal(packing.segments[i].position, 0);
        assert_int_equal(packing.segments[i].row, segments[i].row);
        assert_int_equal(packing.segments[i].count, segments[i].count);
    }
    packing_destroy(&packing);
}

static void test_packing_full_or_other_temperature_does_not_fit(void **state)
{
    (void)state;
    const uint32_t ids[16] = {0};
    const float zeros[16] = {0};
    struct train_sequence five = {.prompt_ids = ids,
                                  .prompt_count = 3,
                                  .response_ids = ids,
                                  .response_count = 3,
                                  .logprob_old = zeros,
                                  .mask = zeros,
                                  .advantage = 1,
                                  .temperature = 1};
    struct train_sequence three = five, nine = five;
    three.prompt_count = 1;
    nine.prompt_count = 7;
    struct packing packing;
    assert_int_equal(packing_create(&packing, 8, 2), STATUS_OK);
    assert_false(packing_fits(&packing, &nine));
    packing_add(&packing, &five, 1);
    assert_false(packing_fits(&packing, &five));
    assert_true(packing_fits(&packing, &three));
    three.temperature = 0.5F; /* one head call has one temperature */
    assert_false(packing_fits(&packing, &three));
    packing_clear(&packing);
    assert_true(packing_fits(&packing, &three));
    three.response_count = 1;
    packing_add(&packing, &three, 1);
    packing_add(&packing, &three, 1);
    assert_false(packing_fits(&packing, &three)); /* slots */
    packing_destroy(&packing);
}

static void test_trainer_sequence_too_long_for_any_micro_batch_is_named(void **state)
{
    (void)state;
    struct settings settings = case_settings();
    settings.learner.microbatch_tokens = 16;
    struct trainer trainer;
    assert_int_equal(trainer_create(&trainer, &settings, model_qwen2, 20), STATUS_OK);
    case_fill(&batch, 1);
    batch.sequences[4].prompt_count = batch.sequences[4].response_count = CASE_TOKENS - 1;
    struct trainer_loss objective = case_objective(&settings);
    struct train_stats stats;
    assert_int_equal(trainer_update(&trainer, batch.sequences + 4, 1, &objective, &stats),
                     STATUS_LIMIT);
    assert_non_null(strstr(status_last_error(), "23 + 23 tokens does not fit into 20 rows"));
    trainer_destroy(&trainer);
}

/* ---- loss and gradient of a minibatch ---- */

/* w of every trained token of sequence s, written out again from M1-SPEC 3.4. */
static double naive_scale(const struct case_batch *minibatch, uint32_t s, uint32_t normaliser)
{
    double tokens[CASE_SEQUENCES] = {0}, group[CASE_SEQUENCES] = {0}, all = 0, groups = 0,
           responses = 0;
    for (uint32_t i = 0; i < CASE_SEQUENCES; i++) {
        for (uint32_t t = 0; t < minibatch->sequences[i].response_count; t++)
            tokens[i] += minibatch->mask[i][t] != 0;
        group[minibatch->sequences[i].group] += tokens[i];
        all += tokens[i];
        responses += tokens[i] > 0;
    }
    for (uint32_t g = 0; g < CASE_SEQUENCES; g++)
        groups += group[g] > 0;
    if (normaliser == NORMALISER_BATCH)
        return 1 / all;
    if (normaliser == NORMALISER_SAMPLE)
        return 1 / (responses * tokens[s]);
    if (normaliser == NORMALISER_CONSTANT) /* normaliser_tokens 0 */
        return 1 / (responses * CASE_TOKENS);
    if (normaliser == NORMALISER_COMBINED)
        return 0.3 / (responses * tokens[s]) + 0.7 / all;
    return 1 / (groups * group[minibatch->sequences[s].group]);
}

static void test_trainer_loss_equals_naive_sum_for_each_normaliser(void **state)
{
    (void)state;
    for (uint32_t normaliser = NORMALISER_PROMPT; normaliser <= NORMALISER_COMBINED; normaliser++) {
        struct settings settings = case_settings();
        settings.loss.normaliser = normaliser;
        settings.loss.normaliser_lambda = 0.3;
        struct trainer trainer;
        open_trainer(&trainer, &settings, model_m1);
        case_fill(&batch, 2);
        for (uint32_t t = 0; t < CASE_TOKENS; t++)
            batch.mask[7][t] = 0; /* a response without a trained token counts nowhere */
        double loss = 0, terms = 0, tokens = 0, clipped = 0;
        for (uint32_t s = 0; s < CASE_SEQUENCES; s++) {
            float logprob[CASE_TOKENS];
            case_score(&trainer, &batch.sequences[s], logprob);
            for (uint32_t t = 0; t < batch.sequences[s].response_count; t++) {
                if (batch.mask[s][t] == 0)
                    continue;
                double ratio = exp((double)logprob[t] - (double)batch.old[s][t]);
                double term = naive_scale(&batch, s, normaliser) * fmin(ratio, 2.0) *
                              batch.sequences[s].advantage * (double)logprob[t];
                loss -= term;
                terms += fabs(term);
                tokens++;
                clipped += ratio > 2.0;
            }
        }
        struct train_stats stats;
        case_update(&trainer, &batch, &stats);
        assert_true(stats.updated);
        assert_true((double)stats.tokens == tokens);
        assert_true(clipped > 0 && (double)stats.clipped == clipped);
        /* A term has five f32 roundings and an expf of a difference of about 2: 1e-6 of its size. */
        if (!(fabs(stats.loss - loss) <= 1e-6 * terms))
            fail_msg("normaliser %u: loss %.9g, naive %.9g", normaliser, stats.loss, loss);
        trainer_destroy(&trainer);
    }
}

static void expect_split_equal(const char *model)
{
    struct settings whole = case_settings(), split = case_settings();
    split.learner.microbatch_tokens = 16; /* below the longest: most sequences go alone */
    struct trainer a, b;
    open_trainer(&a, &whole, model);
    open_trainer(&b, &split, model);
    assert_true(b.rows_max < a.rows_max);
    case_fill(&batch, 3);
    struct train_stats stats_a, stats_b;
    case_update(&a, &batch, &stats_a);
    case_update(&b, &batch, &stats_b);
    float *grad_a = copy_of(&a, a.grads), *grad_b = copy_of(&b, b.grads);
    double error = 0, norm = 0;
    for (size_t i = 0; i < parameter_count(&a); i++) {
        error += pow((double)grad_a[i] - (double)grad_b[i], 2);
        norm += pow((double)grad_a[i], 2);
    }
    print_message("relative difference of the gradients: %.3g\n", sqrt(error / norm));
    /* The same few hundred terms in another order: sqrt(300) * 2^-24 = 1e-6, and room for cancellation. */
    assert_true(sqrt(error / norm) < 5e-6);
    assert_true(norm > 0);
    assert_true(stats_a.loss == stats_b.loss || fabs(stats_a.loss - stats_b.loss) < 1e-12);
    assert_true(stats_a.tokens == stats_b.tokens);
    free(grad_a);
    free(grad_b);
    trainer_destroy(&a);
    trainer_destroy(&b);
}

static void test_trainer_micro_batches_change_gradients_by_rounding_only(void **state)
{
    (void)state;
    expect_split_equal(model_m1);
    expect_split_equal(model_qwen2);
}

static void test_trainer_same_data_same_digest_with_one_or_two_threads(void **state)
{
    (void)state;
    const char *models[] = {model_m1, model_qwen2};
    const uint32_t threads[] = {1, 1, 2};
    for (int m = 0; m < 2; m++) {
        uint64_t digest[3];
        for (int i = 0; i < 3; i++) {
            struct settings settings = case_settings();
            settings.run.threads = threads[i];
            settings.loss.aux_coefficient = 0.001;
            struct trainer trainer;
            open_trainer(&trainer, &settings, models[m]);
            uint64_t start = trainer.weights.digest;
            for (uint64_t u = 0; u < 3; u++) {
                struct train_stats stats;
                case_fill(&batch, 10 + u);
                case_update(&trainer, &batch, &stats);
                assert_true(stats.updated);
            }
            digest[i] = trainer.weights.digest;
            assert_true(digest[i] != start);
            assert_int_equal(trainer.updates, 3);
            trainer_destroy(&trainer);
        }
        assert_true(digest[0] == digest[1]);
        assert_true(digest[0] == digest[2]);
    }
}

/* ---- skipped updates ---- */

/* Runs the batch, which must be skipped: counted, and not one bit of parameters or moments moves. */
static void expect_skipped(struct trainer *trainer, bool non_finite)
{
    float *before[3] = {copy_of(trainer, trainer->master), copy_of(trainer, trainer->m),
                        copy_of(trainer, trainer->v)};
    uint64_t updates = trainer->updates, skipped = trainer->skipped,
             digest = trainer->weights.digest;
    struct train_stats stats;
    case_update(trainer, &batch, &stats);
    float *after[3] = {copy_of(trainer, trainer->master), copy_of(trainer, trainer->m),
                       copy_of(trainer, trainer->v)};
    assert_false(stats.updated);
    assert_true(stats.non_finite == non_finite);
    assert_int_equal(trainer->updates, updates);
    assert_int_equal(trainer->skipped, skipped + 1);
    assert_true(trainer->weights.digest == digest);
    for (int i = 0; i < 3; i++) {
        assert_memory_equal(before[i], after[i], parameter_count(trainer) * sizeof(float));
        free(before[i]);
        free(after[i]);
    }
}

static void test_trainer_batch_without_signal_is_skipped_and_counted(void **state)
{
    (void)state;
    struct settings settings = case_settings();
    settings.loss.aux_coefficient = 0.001; /* a gradient of its own, but no signal */
    struct trainer trainer;
    open_trainer(&trainer, &settings, model_m1);
    struct train_stats stats;
    case_fill(&batch, 4);
    case_update(&trainer, &batch, &stats); /* momentum that would move the weights */
    assert_true(stats.updated);
    for (uint32_t s = 0; s < CASE_SEQUENCES; s++)
        batch.sequences[s].advantage = 0;
    expect_skipped(&trainer, false);
    case_fill(&batch, 4);
    memset(batch.mask, 0, sizeof batch.mask);
    expect_skipped(&trainer, false);
    trainer_destroy(&trainer);
}

static void test_trainer_all_tokens_clipped_away_is_no_update(void **state)
{
    (void)state;
    struct settings settings = case_settings();
    settings.loss.kind = LOSS_GRPO;
    settings.loss.clip_low = settings.loss.clip_high = 0.2;
    struct trainer trainer;
    open_trainer(&trainer, &settings, model_qwen2);
    case_fill(&batch, 4);
    for (uint32_t s = 0; s < CASE_SEQUENCES; s++) {
        batch.sequences[s].advantage = 1;
        for (uint32_t t = 0; t < CASE_TOKENS; t++)
            batch.old[s][t] =
                -20; /* ratio far above 1 + clip_high: PPO's clipping has no gradient */
    }
    expect_skipped(&trainer, false);
    trainer_destroy(&trainer);
}

static void test_trainer_non_finite_weight_is_skipped_and_counted(void **state)
{
    (void)state;
    struct settings settings = case_settings();
    struct trainer trainer;
    open_trainer(&trainer, &settings, model_qwen2);
    const struct parameter_table *table = model_parameters(trainer.model);
    int64_t offset = -1;
    for (int64_t i = 0; i < table->count; i++)
        if (strcmp(table->rows[i].name, "model.norm.weight") == 0)
            offset = table->rows[i].offset;
    assert_true(offset >= 0);
    const float poison = NAN;
    assert_int_equal(trainer.ops->memory_write(trainer.ops->context, trainer.weights.flat + offset,
                                               &poison, sizeof poison),
                     STATUS_OK);
    assert_int_equal(model_weights_repack(trainer.model, &trainer.weights), STATUS_OK);
    case_fill(&batch, 5);
    expect_skipped(&trainer, true);
    trainer_destroy(&trainer);
}

/* ---- mismatch ---- */

static void test_trainer_mismatch_is_zero_for_own_tokens_and_one_ulp_is_seen(void **state)
{
    (void)state;
    const char *models[] = {model_m1, model_qwen2};
    for (int m = 0; m < 2; m++) {
        struct settings settings = case_settings();
        struct trainer trainer;
        open_trainer(&trainer, &settings, models[m]);
        case_fill(&batch, 6);
        uint64_t marked = 0;
        for (uint32_t s = 0; s < CASE_SEQUENCES; s++) {
            case_score(&trainer, &batch.sequences[s], batch.old[s]);
            for (uint32_t t = 0; t < batch.sequences[s].response_count; t++) {
                batch.current[s][t] = s != 5; /* sequence 5 is said to be older */
                marked += s != 5 && batch.mask[s][t] != 0;
            }
        }
        batch.mask[3][0] = 1;
        batch.old[5][0] -= 1; /* not compared */
        settings.optim.lr = 0;
        struct train_stats stats;
        case_update(&trainer, &batch, &stats);
        assert_true(stats.mismatch_max == 0.0);
        assert_true(stats.current_tokens >= marked && stats.current_tokens <= marked + 1);
        batch.old[3][0] = nextafterf(batch.old[3][0], -INFINITY);
        case_update(&trainer, &batch, &stats);
        assert_true(stats.mismatch_max > 0.0 && stats.mismatch_max < 1e-6);
        trainer_destroy(&trainer);
    }
}

/* ---- clipping, callback ---- */

static void test_trainer_gradient_is_clipped_to_the_norm(void **state)
{
    (void)state;
    struct settings settings = case_settings();
    settings.optim.grad_clip = 0;
    struct trainer free_trainer, clipped;
    struct train_stats stats, stats_clipped;
    open_trainer(&free_trainer, &settings, model_qwen2);
    case_fill(&batch, 7);
    case_update(&free_trainer, &batch, &stats);
    struct settings tight = settings;
    tight.optim.grad_clip = 0.25 * stats.grad_norm;
    open_trainer(&clipped, &tight, model_qwen2);
    case_update(&clipped, &batch, &stats_clipped);
    assert_true(stats.grad_norm == stats_clipped.grad_norm); /* reported before clipping */
    float *m_free = copy_of(&free_trainer, free_trainer.m),
          *m_clipped = copy_of(&clipped, clipped.m);
    double dot = 0, norm = 0, squares = 0;
    for (size_t i = 0; i < parameter_count(&clipped); i++) {
        dot += (double)m_free[i] * (double)m_clipped[i];
        norm += pow((double)m_free[i], 2);
        squares += pow((double)m_clipped[i], 2);
    }
    /* m = (1 - beta1) g after one update; f32 roundings only. */
    assert_true(fabs(dot / norm - 0.25) < 1e-6);
    assert_true(fabs(sqrt(squares) / (0.1 * tight.optim.grad_clip) - 1) < 1e-5);
    free(m_free);
    free(m_clipped);
    trainer_destroy(&free_trainer);
    trainer_destroy(&clipped);
}

static int calls;

static enum status count_call(void *self)
{
    (void)self;
    return ++calls < 3 ? STATUS_OK : FAIL(STATUS_CANCELLED, "third");
}

static void test_trainer_calls_between_micro_batches_and_heeds_its_failure(void **state)
{
    (void)state;
    struct settings settings = case_settings();
    settings.learner.microbatch_tokens = 16;
    struct trainer trainer;
    open_trainer(&trainer, &settings, model_qwen2);
    trainer.between = count_call;
    case_fill(&batch, 8);
    calls = 0;
    uint64_t digest = trainer.weights.digest;
    struct trainer_loss objective = case_objective(&settings);
    struct train_stats stats;
    assert_int_equal(trainer_update(&trainer, batch.sequences, CASE_SEQUENCES, &objective, &stats),
                     STATUS_CANCELLED);
    assert_int_equal(calls, 3);
    assert_true(trainer.weights.digest == digest);
    trainer_destroy(&trainer);
}

/* ---- recomputed anchor, rollout weight, KL, entropy ---- */

/* Scores of all responses, in one array; logprob[s] points to those of sequence s. */
static void score_all(struct trainer *trainer, float scores[CASE_SEQUENCES][CASE_TOKENS])
{
    float *logprob[CASE_SEQUENCES];
    for (uint32_t s = 0; s < CASE_SEQUENCES; s++)
        logprob[s] = scores[s];
    assert_int_equal(trainer_score(trainer, batch.sequences, CASE_SEQUENCES, logprob), STATUS_OK);
}

static void test_trainer_score_has_the_bits_of_each_sequence_alone(void **state)
{
    (void)state;
    static float scores[CASE_SEQUENCES][CASE_TOKENS], alone[CASE_TOKENS];
    const char *models[] = {model_m1, model_qwen2};
    for (int m = 0; m < 2; m++) {
        struct settings settings = case_settings();
        settings.learner.microbatch_tokens = 50;
        struct trainer trainer;
        open_trainer(&trainer, &settings, models[m]);
        case_fill(&batch, 21);
        uint64_t digest = trainer.weights.digest;
        score_all(&trainer, scores);
        for (uint32_t s = 0; s < CASE_SEQUENCES; s++) {
            case_score(&trainer, &batch.sequences[s], alone);
            assert_memory_equal(scores[s], alone,
                                batch.sequences[s].response_count * sizeof(float));
        }
        assert_true(trainer.weights.digest == digest && trainer.updates == 0);
        trainer_destroy(&trainer);
    }
}

/* The first update of a plan: every ratio is exactly 1, whatever the actors streamed, which the metrics still see. */
static void test_trainer_recomputed_anchor_begins_at_ratio_one(void **state)
{
    (void)state;
    static float scores[CASE_SEQUENCES][CASE_TOKENS];
    struct settings settings = case_settings();
    struct trainer trainer;
    open_trainer(&trainer, &settings, model_qwen2);
    case_fill(&batch, 22);
    score_all(&trainer, scores);
    for (uint32_t s = 0; s < CASE_SEQUENCES; s++) {
        batch.sequences[s].logprob_streamed = batch.sequences[s].logprob_old;
        batch.sequences[s].logprob_old = scores[s];
    }
    struct train_stats stats;
    case_update(&trainer, &batch, &stats);
    assert_true(stats.ratio_min == 1 && stats.ratio_max == 1);
    assert_true(stats.abs_diff_sum > 0 && stats.k3_sum > 0);
    trainer_destroy(&trainer);
}

/* A cap below every p_old / p_streamed multiplies the loss by itself; one above none changes nothing. */
static void test_trainer_rollout_weight_is_a_constant_factor(void **state)
{
    (void)state;
    static float streamed[CASE_SEQUENCES][CASE_TOKENS];
    struct settings settings = case_settings();
    settings.loss.kind = LOSS_GRPO;
    settings.loss.clip_low = 0.2;
    settings.loss.clip_high = 0.3;
    settings.optim.lr = 0;
    struct trainer trainer;
    open_trainer(&trainer, &settings, model_qwen2);
    case_fill(&batch, 23);
    for (uint32_t s = 0; s < CASE_SEQUENCES; s++) {
        for (uint32_t t = 0; t < CASE_TOKENS; t++)
            streamed[s][t] = batch.old[s][t] - 1;
        batch.sequences[s].logprob_streamed = streamed[s];
    }
    struct train_stats plain, capped, truncated;
    case_update(&trainer, &batch, &plain);
    settings.loss.rollout_weight_max = 2;
    case_update(&trainer, &batch, &capped);
    settings.loss.rollout_weight_max = 5;
    case_update(&trainer, &batch, &truncated);
    /* f32 scales */
    assert_true(fabs(capped.loss / plain.loss - 2) < 1e-6);
    assert_true(fabs(capped.grad_norm / plain.grad_norm - 2) < 1e-5);
    assert_true(fabs(truncated.loss / plain.loss - exp(1)) < 1e-6);
    assert_true(fabs(truncated.rollout_weight_sum / (double)truncated.tokens - exp(1)) < 1e-6);
    trainer_destroy(&trainer);
}

/* The start model is its own reference: no KL, no slope, not a bit changes; later there is some. */
static void test_trainer_kl_is_zero_at_the_start_and_not_after(void **state)
{
    (void)state;
    struct settings settings = case_settings(), with = settings;
    settings.loss.kind = with.loss.kind = LOSS_GRPO;
    settings.loss.clip_low = with.loss.clip_low = 0.2;
    settings.loss.clip_high = with.loss.clip_high = 0.3;
    with.loss.kl_coefficient = 0.5;
    with.model.path = model_m1;
    struct trainer plain, held;
    struct train_stats stats, stats_held;
    open_trainer(&plain, &settings, model_m1);
    open_trainer(&held, &with, model_m1);
    assert_true(held.reference.digest == held.weights.digest);
    case_fill(&batch, 24);
    case_update(&plain, &batch, &stats);
    case_update(&held, &batch, &stats_held);
    assert_true(stats_held.kl_sum == 0 && stats_held.loss == stats.loss);
    assert_true(plain.weights.digest == held.weights.digest);
    uint64_t reference = held.reference.digest;
    case_update(&held, &batch, &stats_held);
    assert_true(stats_held.kl_sum > 0);
    assert_true(held.reference.digest == reference && held.weights.digest != reference);
    trainer_destroy(&plain);
    trainer_destroy(&held);
}

static double loss_at(struct trainer *trainer, const float *master, const float *direction,
                      double step)
{
    size_t count = parameter_count(trainer);
    float *moved = malloc(count * sizeof *moved);
    assert_non_null(moved);
    for (size_t i = 0; i < count; i++)
        moved[i] = (float)((double)master[i] + step * (double)direction[i]);
    assert_int_equal(trainer_write(trainer, ARRAY_MASTER, moved), STATUS_OK);
    assert_int_equal(trainer_refresh(trainer, 0), STATUS_OK);
    struct train_stats stats;
    case_update(trainer, &batch, &stats);
    free(moved);
    return stats.loss;
}

/* The loss of KL and entropy alone along its own gradient, from weights that have left the start model. */
static void check_terms(double kl, double entropy)
{
    struct settings settings = case_settings();
    settings.loss.kind = LOSS_GRPO;
    settings.loss.clip_low = settings.loss.clip_high = 0.2;
    settings.loss.kl_coefficient = 0.5; /* makes the reference */
    settings.model.path = model_qwen2;
    settings.optim.lr = 3e-3;
    struct trainer trainer;
    struct train_stats stats;
    open_trainer(&trainer, &settings, model_qwen2);
    case_fill(&batch, 25);
    for (int i = 0; i < 4; i++)
        case_update(&trainer, &batch, &stats);
    for (uint32_t s = 0; s < CASE_SEQUENCES; s++)
        batch.sequences[s].advantage = 0;
    settings.optim.lr = 0;
    settings.loss.kl_coefficient = kl;
    settings.loss.entropy_coefficient = entropy;
    float *master = copy_of(&trainer, trainer.master);
    case_update(&trainer, &batch, &stats);
    assert_true(stats.updates == 1); /* a signal without advantages */
    float *gradient = copy_of(&trainer, trainer.grads);
    double norm = stats.grad_norm, step = fmin(2e-3 / norm, 0.01) / norm;
    double slope =
        (loss_at(&trainer, master, gradient, step) - loss_at(&trainer, master, gradient, -step)) /
        (2 * step);
    print_message("kl %g entropy %g: slope %.8g, |gradient|^2 %.8g\n", kl, entropy, slope,
                  norm * norm);
    /* f32 logits: the loss of size 0.01 to 5 is off by 1e-7 of it, its differences are 6e-4 to 4e-3. */
    assert_true(fabs(slope / (norm * norm) - 1) < 5e-3);
    free(master);
    free(gradient);
    trainer_destroy(&trainer);
}

static void test_trainer_kl_and_entropy_have_the_gradient_of_their_loss(void **state)
{
    (void)state;
    check_terms(1, 0);
    check_terms(0, 0.5);
    check_terms(0.3, 0.7);
}

/* beta1, beta2 and eps of the objective beat those of the settings: a schedule may change them. */
static void test_trainer_objective_may_bring_its_own_betas(void **state)
{
    (void)state;
    struct settings settings = case_settings(), other = settings;
    other.optim.beta1 = 0.5;
    other.optim.beta2 = 0.8;
    other.optim.eps = 1e-8;
    struct trainer own, scheduled;
    open_trainer(&own, &other, model_qwen2);
    open_trainer(&scheduled, &settings, model_qwen2);
    case_fill(&batch, 26);
    struct train_stats stats;
    case_update(&own, &batch, &stats);
    struct trainer_loss objective = case_objective(&settings);
    objective.beta1 = 0.5;
    objective.beta2 = 0.8;
    objective.eps = 1e-8;
    assert_int_equal(
        trainer_update(&scheduled, batch.sequences, CASE_SEQUENCES, &objective, &stats), STATUS_OK);
    assert_true(own.weights.digest == scheduled.weights.digest);
    trainer_destroy(&own);
    trainer_destroy(&scheduled);
}

/* ---- a reference case ---- */

struct golden {
    struct safetensors *file;
    int32_t ids[4096], lengths[64], prompts[64];
    double advantage[64], old[4096];
    struct train_sequence sequences[64];
    uint32_t prompt_ids[4096], count;
    float old_f32[4096], mask[4096];
};

static const struct safetensor *tensor_of(const struct golden *golden, const char *name)
{
    const struct safetensor *tensor = safetensors_find(golden->file, name);
    assert_non_null(tensor);
    assert_true(tensor->count <= 4096);
    return tensor;
}

static void open_golden(struct golden *golden, const char *folder)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/case.safetensors", folder), STATUS_OK);
    assert_int_equal(safetensors_open(&golden->file, path), STATUS_OK);
    golden->count = (uint32_t)tensor_of(golden, "seq_lens")->count;
    assert_in_range(golden->count, 1, 64);
    assert_int_equal(safetensor_to_i32(tensor_of(golden, "input_ids"), golden->ids), STATUS_OK);
    assert_int_equal(safetensor_to_i32(tensor_of(golden, "seq_lens"), golden->lengths), STATUS_OK);
    assert_int_equal(safetensor_to_i32(tensor_of(golden, "prompt_lens"), golden->prompts),
                     STATUS_OK);
    assert_int_equal(safetensor_to_f64(tensor_of(golden, "advantage"), golden->advantage),
                     STATUS_OK);
    assert_int_equal(safetensor_to_f64(tensor_of(golden, "old_logprob"), golden->old), STATUS_OK);
    int32_t start = 0, at = 0; /* old_logprob has one value less a sequence */
    for (uint32_t s = 0; s < golden->count; s++) {
        int32_t length = golden->lengths[s], prompt = golden->prompts[s];
        for (int32_t t = 0; t < length; t++) {
            golden->prompt_ids[start + t] = (uint32_t)golden->ids[start + t];
            golden->mask[start + t] = 1;
            if (t > 0)
                golden->old_f32[start + t] = (float)golden->old[at + t - 1];
        }
        golden->sequences[s] =
            (struct train_sequence){.prompt_ids = golden->prompt_ids + start,
                                    .prompt_count = (uint32_t)prompt,
                                    .response_ids = golden->prompt_ids + start + prompt,
                                    .response_count = (uint32_t)(length - prompt),
                                    .logprob_old = golden->old_f32 + start + prompt,
                                    .mask = golden->mask,
                                    .advantage = golden->advantage[s],
                                    .group = s,
                                    .temperature = 1};
        start += length;
        at += length - 1;
    }
}

/* Gradients of the tensors that the case names as the parameter table does; how many there were. */
static int compare_gradients(const struct golden *golden, const struct trainer *trainer)
{
    const struct parameter_table *table = model_parameters(trainer->model);
    float *grads = copy_of(trainer, trainer->grads);
    int compared = 0;
    for (int64_t i = 0; i < table->count; i++) {
        const struct parameter *row = &table->rows[i];
        char name[PARAMETER_NAME_MAX + 8];
        snprintf(name, sizeof name, "grad.%s", row->name);
        const struct safetensor *tensor = safetensors_find(golden->file, name);
        if (tensor == NULL || tensor->count != row->count)
            continue;
        double *reference = malloc((size_t)row->count * sizeof *reference), error = 0, norm = 0;
        assert_non_null(reference);
        assert_int_equal(safetensor_to_f64(tensor, reference), STATUS_OK);
        for (int64_t j = 0; j < row->count; j++) {
            error += pow((double)grads[row->offset + j] - reference[j], 2);
            norm += pow(reference[j], 2);
        }
        /* The bound of `weir verify`, and its floor for tensors whose gradient is noise: key biases. */
        if (!(sqrt(error) <= 1e-3 * fmax(sqrt(norm), 1e-5)))
            fail_msg("%s: off by %g of %g", name, sqrt(error), sqrt(norm));
        free(reference);
        compared++;
    }
    free(grads);
    return compared;
}

static double case_number(const char *folder, const char *key)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/case.json", folder), STATUS_OK);
    json_t *json = json_load_file(path, 0, NULL);
    assert_non_null(json);
    assert_true(json_is_number(json_object_get(json, key)));
    double value = json_number_value(json_object_get(json, key));
    json_decref(json);
    return value;
}

static void expect_golden(const char *folder)
{
    static struct golden golden;
    golden = (struct golden){0};
    open_golden(&golden, folder);
    struct settings settings = case_settings();
    settings.learner.microbatch_tokens = 32;
    settings.loss.normaliser = NORMALISER_BATCH;
    settings.loss.weight_min = 1 - case_number(folder, "eps_low");
    settings.loss.weight_max = 1 + case_number(folder, "eps_high");
    struct trainer trainer;
    assert_int_equal(trainer_create(&trainer, &settings, folder, 1024), STATUS_OK);
    struct trainer_loss objective = case_objective(&settings);
    struct train_stats stats;
    assert_int_equal(trainer_update(&trainer, golden.sequences, golden.count, &objective, &stats),
                     STATUS_OK);
    double loss = case_number(folder, "loss_value"), norm = case_number(folder, "grad_norm");
    print_message("%s: loss %.9g (reference %.9g), grad_norm %.9g (%.9g)\n", folder, stats.loss,
                  loss, stats.grad_norm, norm);
    assert_true(stats.updated);
    assert_true(fabs(stats.loss - loss) < 2e-5 * (1 + fabs(loss)));
    assert_true(fabs(stats.grad_norm / norm - 1) < 1e-4);
    assert_true(compare_gradients(&golden, &trainer) >= 10);
    trainer_destroy(&trainer);
    safetensors_close(&golden.file);
}

static void test_trainer_golden_cases_have_the_reference_loss_and_gradient(void **state)
{
    (void)state;
    expect_golden(SOURCE_DIR "/tests/golden/model/minimax-m1-format");
    expect_golden(SOURCE_DIR "/tests/golden/model/qwen2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packing_two_sequences_rows_and_targets_are_right),
        cmocka_unit_test(test_packing_full_or_other_temperature_does_not_fit),
        cmocka_unit_test(test_trainer_sequence_too_long_for_any_micro_batch_is_named),
        cmocka_unit_test(test_trainer_loss_equals_naive_sum_for_each_normaliser),
        cmocka_unit_test(test_trainer_micro_batches_change_gradients_by_rounding_only),
        cmocka_unit_test(test_trainer_same_data_same_digest_with_one_or_two_threads),
        cmocka_unit_test(test_trainer_batch_without_signal_is_skipped_and_counted),
        cmocka_unit_test(test_trainer_all_tokens_clipped_away_is_no_update),
        cmocka_unit_test(test_trainer_non_finite_weight_is_skipped_and_counted),
        cmocka_unit_test(test_trainer_mismatch_is_zero_for_own_tokens_and_one_ulp_is_seen),
        cmocka_unit_test(test_trainer_gradient_is_clipped_to_the_norm),
        cmocka_unit_test(test_trainer_calls_between_micro_batches_and_heeds_its_failure),
        cmocka_unit_test(test_trainer_score_has_the_bits_of_each_sequence_alone),
        cmocka_unit_test(test_trainer_recomputed_anchor_begins_at_ratio_one),
        cmocka_unit_test(test_trainer_rollout_weight_is_a_constant_factor),
        cmocka_unit_test(test_trainer_kl_is_zero_at_the_start_and_not_after),
        cmocka_unit_test(test_trainer_kl_and_entropy_have_the_gradient_of_their_loss),
        cmocka_unit_test(test_trainer_objective_may_bring_its_own_betas),
        cmocka_unit_test(test_trainer_golden_cases_have_the_reference_loss_and_gradient),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
