/* links: learner */
/* timeout: 60 */
/* Numerical guards: a NaN in a logit, an advantage, a gradient, a weight or the optimizer's state skips the update with
 * its reason, master, m, v and the forward copy keep every bit, and the next update is as if nothing had been. A group
 * that breaks a promise of the store is left out. Alarms. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "learner/learner_state.h"
#include "tests/trainer_case.h"

static char model[FILE_PATH_MAX];
static struct case_batch batch;

static int setup(void **state)
{
    (void)state;
    char folder[FILE_PATH_MAX];
    case_folder(folder, "test_guards");
    case_model(model, folder, CASE_CONFIG_QWEN2);
    return 0;
}

static void open_trainer(struct trainer *trainer, const struct settings *settings)
{
    if (trainer_create(trainer, settings, model, 2 * CASE_TOKENS) != STATUS_OK)
        fail_msg("%s", status_last_error());
}

/* ---- five places ---- */

enum { ARRAYS = 4 }; /* master, m, v, flat */

static void copy_arrays(const struct trainer *trainer, float *copy[ARRAYS], size_t bytes[ARRAYS])
{
    const void *device[ARRAYS] = {trainer->master, trainer->m, trainer->v, trainer->weights.flat};
    size_t parameters = (size_t)model_parameters(trainer->model)->elements * sizeof(float);
    for (int i = 0; i < ARRAYS; i++) {
        bytes[i] = i < 3 ? parameters : (size_t)model_weights_bytes(trainer->model);
        copy[i] = malloc(bytes[i]);
        assert_non_null(copy[i]);
        assert_int_equal(
            trainer->ops->memory_read(trainer->ops->context, device[i], copy[i], bytes[i]),
            STATUS_OK);
    }
}

static void expect_skip(struct trainer *trainer, enum train_skip skip)
{
    float *before[ARRAYS], *after[ARRAYS];
    size_t bytes[ARRAYS];
    struct train_stats stats;
    uint64_t updates = trainer->updates, skipped = trainer->skipped,
             digest = trainer->weights.digest;
    copy_arrays(trainer, before, bytes);
    case_update(trainer, &batch, &stats);
    copy_arrays(trainer, after, bytes);
    assert_int_equal(stats.skip, skip);
    assert_true(stats.non_finite);
    assert_false(stats.updated);
    assert_int_equal(trainer->updates, updates);
    assert_int_equal(trainer->skipped, skipped + 1);
    assert_true(trainer->weights.digest == digest);
    for (int i = 0; i < ARRAYS; i++) {
        assert_memory_equal(before[i], after[i], bytes[i]);
        free(before[i]);
        free(after[i]);
    }
}

/* Two updates; `poison`, in between, makes one that is skipped. The digest at the end. */
static uint64_t two_updates(enum train_skip skip,
                            void (*poison)(struct trainer *trainer, bool poisoned))
{
    struct settings settings = case_settings();
    struct trainer trainer;
    struct train_stats stats;
    open_trainer(&trainer, &settings);
    case_fill(&batch, 5);
    case_update(&trainer, &batch, &stats);
    assert_true(stats.updated);
    if (poison != NULL) {
        poison(&trainer, true);
        expect_skip(&trainer, skip);
        poison(&trainer, false);
    }
    case_update(&trainer, &batch, &stats);
    assert_true(stats.updated);
    assert_int_equal(stats.skip, SKIP_NONE);
    uint64_t digest = trainer.weights.digest;
    trainer_destroy(&trainer);
    return digest;
}

static void expect_untouched(enum train_skip skip,
                             void (*poison)(struct trainer *trainer, bool poisoned))
{
    assert_true(two_updates(skip, poison) == two_updates(SKIP_NONE, NULL));
}

/* A logit: the head gives NaN for one row. */
static enum status (*true_head)(void *context, const struct op_lm_head *args);

static enum status bad_head(void *context, const struct op_lm_head *args)
{
    enum status status = true_head(context, args);
    if (args->logprob != NULL && args->rows > 0)
        args->logprob[args->rows / 2] = NAN;
    return status;
}

static void poison_logit(struct trainer *trainer, bool poisoned)
{
    if (poisoned)
        true_head = trainer->ops->lm_head;
    trainer->ops->lm_head = poisoned ? bad_head : true_head;
    memset(batch.mask, 0, sizeof batch.mask);
    for (uint32_t s = 0; s < CASE_SEQUENCES; s++)
        for (uint32_t t = 0; t < CASE_TOKENS; t++)
            batch.mask[s][t] = 1;
    if (!poisoned)
        case_fill(&batch, 5);
}

static void test_guards_nan_logit_is_skipped(void **state)
{
    (void)state;
    expect_untouched(SKIP_LOGPROB, poison_logit);
}

static void poison_advantage(struct trainer *trainer, bool poisoned)
{
    (void)trainer;
    static double kept;
    if (poisoned)
        kept = batch.sequences[3].advantage;
    batch.sequences[3].advantage = poisoned ? (double)NAN : kept;
}

static void test_guards_nan_advantage_is_skipped(void **state)
{
    (void)state;
    expect_untouched(SKIP_LOSS, poison_advantage);
}

static enum status spoil_gradient(void *self)
{
    struct trainer *trainer = self;
    const float bad = INFINITY;
    return trainer->ops->memory_write(trainer->ops->context, trainer->grads + 17, &bad, sizeof bad);
}

static void poison_gradient(struct trainer *trainer, bool poisoned)
{
    trainer->between = poisoned ? spoil_gradient : NULL;
    trainer->between_self = trainer;
}

static void test_guards_infinite_gradient_is_skipped(void **state)
{
    (void)state;
    expect_untouched(SKIP_GRADIENT, poison_gradient);
}

static void swap_element(struct trainer *trainer, float *array, bool poisoned)
{
    static float kept;
    const float bad = NAN;
    if (poisoned)
        assert_int_equal(
            trainer->ops->memory_read(trainer->ops->context, array + 5, &kept, sizeof kept),
            STATUS_OK);
    assert_int_equal(trainer->ops->memory_write(trainer->ops->context, array + 5,
                                                poisoned ? &bad : &kept, sizeof kept),
                     STATUS_OK);
}

static void poison_master(struct trainer *trainer, bool poisoned)
{
    swap_element(trainer, trainer->master, poisoned);
}

static void poison_m(struct trainer *trainer, bool poisoned)
{
    swap_element(trainer, trainer->m, poisoned);
}

static void poison_v(struct trainer *trainer, bool poisoned)
{
    swap_element(trainer, trainer->v, poisoned);
}

static void test_guards_nan_weight_or_optimizer_state_is_skipped(void **state)
{
    (void)state;
    expect_untouched(SKIP_STATE, poison_master);
    expect_untouched(SKIP_STATE, poison_m);
    expect_untouched(SKIP_STATE, poison_v);
}

/* Finite before, and not after: a step that f32 cannot hold. */
static void test_guards_weight_that_would_overflow_is_skipped(void **state)
{
    (void)state;
    struct settings settings = case_settings();
    struct trainer trainer;
    open_trainer(&trainer, &settings);
    settings.optim.lr = 3e38;
    case_fill(&batch, 5);
    expect_skip(&trainer, SKIP_STATE);
    settings.optim.lr = 1e-3;
    struct train_stats stats;
    case_update(&trainer, &batch, &stats);
    assert_true(stats.updated);
    trainer_destroy(&trainer);
}

/* ---- groups that break a promise ---- */

struct admission {
    struct learner *learner;
    struct settings settings;
    uint32_t prompt[2], ids[4];
    float logprobs[4], mask[4];
    struct group_piece pieces[2];
    struct group_sample samples[2];
    struct group_data group;
};

static void admission_open(struct admission *admission)
{
    static struct learner learner;
    *admission = (struct admission){.learner = &learner,
                                    .settings = case_settings(),
                                    .prompt = {1, 2},
                                    .ids = {3, 4, 5, 6},
                                    .logprobs = {-1, -2, -1, -2},
                                    .mask = {1, 1, 1, 1},
                                    .pieces = {{2, 4, 4}, {2, 5, 4}}};
    admission->settings.store.max_staleness = 1;
    learner = (struct learner){.settings = &admission->settings, .version = 5};
    learner.trainer.shape.vocabulary = CASE_VOCABULARY;
    learner.trainer.rows_max = 100;
    alarms_init(&learner.alarms);
    assert_int_equal(arena_create(&learner.arena, 1 << 20), STATUS_OK);
    for (uint32_t s = 0; s < 2; s++)
        admission->samples[s] = (struct group_sample){.sample = s,
                                                      .count = 4,
                                                      .ids = admission->ids,
                                                      .logprobs = admission->logprobs,
                                                      .mask = admission->mask,
                                                      .piece_count = 2,
                                                      .pieces = admission->pieces,
                                                      .reward = s};
    admission->group = (struct group_data){.group_id = 9,
                                           .temperature = 1,
                                           .prompt_count = 2,
                                           .prompt_ids = admission->prompt,
                                           .sample_count = 2,
                                           .samples = admission->samples};
}

static void admission_close(struct admission *admission)
{
    alarms_free(&admission->learner->alarms);
    arena_destroy(&admission->learner->arena);
}

/* Sequences admitted; `said` must be part of the alarm, NULL: there is none. */
static void expect_admitted(struct admission *admission, uint32_t wanted, const char *said)
{
    struct train_sequence sequences[2];
    uint32_t count = 0;
    if (learner_admit(admission->learner, &admission->group, 0, true, sequences, &count) !=
        STATUS_OK)
        fail_msg("%s", status_last_error());
    const char *text = alarms_text(&admission->learner->alarms);
    assert_int_equal(count, wanted);
    if (said == NULL)
        assert_null(text);
    else
        assert_true(text != NULL && strstr(text, said) != NULL);
    assert_int_equal((int)metric_read(&admission->learner->metrics.refused), said != NULL);
}

static void test_guards_sound_group_is_admitted(void **state)
{
    (void)state;
    struct admission admission;
    admission_open(&admission);
    expect_admitted(&admission, 2, NULL);
    admission_close(&admission);
}

static void test_guards_group_of_unknown_version_is_left_out(void **state)
{
    (void)state;
    struct admission admission;
    admission_open(&admission);
    admission.pieces[1].version = 6;
    expect_admitted(&admission, 0, "group 9 is left out: sample 0: tokens of version 6");
    admission_close(&admission);
}

static void test_guards_group_too_old_is_left_out_unless_masked(void **state)
{
    (void)state;
    struct admission admission;
    admission_open(&admission);
    admission.pieces[0] = (struct group_piece){2, 3, 3};
    expect_admitted(&admission, 0, "2 versions old");
    admission_close(&admission);
    admission_open(&admission);
    admission.pieces[0] = (struct group_piece){2, 3, 3};
    admission.mask[0] = admission.mask[1] = 0;
    expect_admitted(&admission, 2, NULL);
    admission_close(&admission);
}

static void test_guards_nan_reward_or_logprob_or_wrong_pieces_are_left_out(void **state)
{
    (void)state;
    struct admission admission;
    admission_open(&admission);
    admission.samples[1].reward = (double)NAN;
    expect_admitted(&admission, 0, "sample 1: reward nan");
    admission_close(&admission);
    admission_open(&admission);
    admission.logprobs[2] = NAN;
    expect_admitted(&admission, 0, "streamed logprob nan at token 2");
    admission_close(&admission);
    admission_open(&admission);
    admission.logprobs[2] = 0.5F;
    expect_admitted(&admission, 0, "streamed logprob 0.5 at token 2");
    admission_close(&admission);
    admission_open(&admission);
    admission.pieces[1].count = 1;
    expect_admitted(&admission, 0, "pieces of 3 tokens for 4");
    admission_close(&admission);
    admission_open(&admission);
    admission.pieces[1].count = 3;
    expect_admitted(&admission, 0, "pieces are longer");
    admission_close(&admission);
}

/* ---- alarms ---- */

static void test_guards_grad_norm_alarm_follows_the_median(void **state)
{
    (void)state;
    struct alarms alarms;
    alarms_init(&alarms);
    for (int i = 0; i < ALARM_NORMS_LEAST - 1; i++)
        alarms_grad_norm(&alarms, 1, 10);
    alarms_grad_norm(&alarms, 1000, 10); /* too few to compare with */
    assert_null(alarms_text(&alarms));
    alarms_grad_norm(&alarms, 9.9, 10);
    assert_null(alarms_text(&alarms));
    alarms_grad_norm(&alarms, 10.1, 10);
    assert_non_null(strstr(alarms_text(&alarms), "10 times 1, the median of the last 9"));
    assert_int_equal(alarms.count, 1);
    alarms_clear(&alarms);
    alarms_grad_norm(&alarms, 1e9, 0); /* switched off */
    assert_null(alarms_text(&alarms));
    for (int i = 0; i < 2 * ALARM_NORMS; i++)
        alarms_grad_norm(&alarms, 100, 0);
    alarms_grad_norm(&alarms, 900, 10); /* the window holds the new level alone */
    assert_null(alarms_text(&alarms));
    alarms_free(&alarms);
}

static void test_guards_alarms_of_a_step_are_one_text_with_a_limit(void **state)
{
    (void)state;
    struct alarms alarms;
    alarms_init(&alarms);
    alarms_raise(&alarms, "first %d", 1);
    alarms_raise(&alarms, "second");
    assert_string_equal(alarms_text(&alarms), "first 1; second");
    for (int i = 0; i < 1000; i++)
        alarms_raise(&alarms, "another one, %d", i);
    assert_int_equal(alarms.count, 1002);
    assert_true(strlen(alarms_text(&alarms)) <= ALARM_TEXT_MAX);
    alarms_free(&alarms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guards_nan_logit_is_skipped),
        cmocka_unit_test(test_guards_nan_advantage_is_skipped),
        cmocka_unit_test(test_guards_infinite_gradient_is_skipped),
        cmocka_unit_test(test_guards_nan_weight_or_optimizer_state_is_skipped),
        cmocka_unit_test(test_guards_weight_that_would_overflow_is_skipped),
        cmocka_unit_test(test_guards_sound_group_is_admitted),
        cmocka_unit_test(test_guards_group_of_unknown_version_is_left_out),
        cmocka_unit_test(test_guards_group_too_old_is_left_out_unless_masked),
        cmocka_unit_test(test_guards_nan_reward_or_logprob_or_wrong_pieces_are_left_out),
        cmocka_unit_test(test_guards_grad_norm_alarm_follows_the_median),
        cmocka_unit_test(test_guards_alarms_of_a_step_are_one_text_with_a_limit)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
