/* links: ops reward */
/* label: integration */
/* timeout: 180 */
/* A run with everything that an objective may have: KL to the start model, entropy, a recomputed anchor with the
 * truncated rollout weight, batch std, shaped rewards, and settings that change on the way. Two ranks see the same
 * advantages, anchors and KL as one; a step trained again has its digest. */
#include <math.h>

#include "tests/story.h"

enum { STEPS = 4, LIMIT_MS = 60000 };

/* Blanks stand between the settings of a story, so the schedule comes by the environment. */
#define SCHEDULE \
    "step 3: loss.kind=dapo loss.kl_coefficient=0 loss.normaliser=combined optim.beta1=0.8"
#define COMMON                                                                                    \
    "run.steps=4 run.seed=5 store.max_staleness=0 store.group_size=8 store.groups_per_publish=8 " \
    "sampling.response_tokens_max=48 learner.checkpoint_every=4 loss.kind=grpo "                  \
    "loss.clip_high=0.2 loss.kl_coefficient=0.1 loss.entropy_coefficient=0.01 "                   \
    "loss.anchor=recomputed loss.rollout_weight_max=2 loss.advantage_std=batch "                  \
    "loss.advantage_mean=leave_one_out loss.normaliser=sample loss.overlong_buffer=24 "           \
    "loss.overlong=mask store.dynamic_sampling=false learner.updates_per_publish=2 "
#define RANKS COMMON "learner.ranks=2 weights.nccl_library=" BUILD_DIR "/tests/fake_nccl.so "

static json_t *one_rank(void)
{
    static json_t *lines;
    if (lines == NULL) {
        struct story_run run;
        story_run_whole(&run, "one", COMMON, LIMIT_MS);
        lines = story_metrics(&run);
        story_assert_steps(lines, STEPS);
    }
    return lines;
}

static void test_story_losses_options_and_schedule_show_in_the_metrics(void **state)
{
    (void)state;
    json_t *lines = one_rank();
    assert_true(story_number(lines, 0, "loss/kl") > 0); /* after the first of two updates */
    assert_true(story_number(lines, 1, "loss/kl") > 0);
    assert_true(story_number(lines, 2, "loss/kl") == 0); /* the schedule's step 3 */
    for (size_t i = 0; i < STEPS; i++) {
        double raw = story_number(lines, i, "reward/trained_mean"),
               shaped = story_number(lines, i, "reward/shaped_mean");
        print_message("step %zu: reward %.4f, shaped %.4f, masked %.3f, kl %.3g, rollout weight "
                      "%.9f\n",
                      i + 1, raw, shaped, story_number(lines, i, "train/masked_frac"),
                      story_number(lines, i, "loss/kl"),
                      story_number(lines, i, "is/rollout_weight"));
        assert_true(shaped < raw); /* answers of 24 tokens and more are there */
        assert_true(story_number(lines, i, "train/masked_frac") ==
                    story_number(lines, i, "len/truncated_frac"));
        /* the tokens are those of the very weights that score them again */
        assert_true(story_number(lines, i, "is/rollout_weight") == 1);
        assert_true(story_number(lines, i, "mismatch/max_abs_dlogprob") == 0);
    }
}

/* The bounds of tests/test_story_ranks.c, for the same reasons. */
static void test_story_losses_two_ranks_train_what_one_trains(void **state)
{
    (void)state;
    struct story_run run;
    story_run_whole(&run, "two", RANKS, LIMIT_MS);
    json_t *lines = story_metrics(&run);
    story_assert_steps(lines, STEPS);
    double one = story_number(one_rank(), 0, "optim/grad_norm"),
           two = story_number(lines, 0, "optim/grad_norm");
    print_message("step 1: gradient norm %.7f with one rank, %.7f with two\n", one, two);
    assert_true(fabs(one - two) <= 1e-3 * one);
    assert_true(fabs(story_number(one_rank(), 0, "loss/policy") -
                     story_number(lines, 0, "loss/policy")) <= 1e-3);
    assert_true(fabs(story_number(one_rank(), 0, "loss/kl") / story_number(lines, 0, "loss/kl") -
                     1) <= 1e-2);
    json_decref(lines);
}

static void replay(const char *name)
{
    struct story_run run;
    char out[FILE_PATH_MAX], err[FILE_PATH_MAX];
    story_name_run(&run, name);
    for (int step = 2; step <= STEPS; step++) {
        char number[16], said[64];
        snprintf(number, sizeof number, "%d", step);
        snprintf(said, sizeof said, "step %d: digest ", step);
        const char *arguments[] = {"replay", run.path, number, NULL};
        pid_t pid = story_spawn("weir", arguments, story_path(out, "replay.out"),
                                story_path(err, "replay.err"));
        assert_int_equal(story_wait_pid(pid, LIMIT_MS), 0);
        assert_true(story_said(out, said));
        assert_true(story_said(out, ": equal"));
    }
}

static void test_story_losses_replay_has_every_digest(void **state)
{
    (void)state;
    (void)one_rank();
    replay("one");
}

static int begin(void **state)
{
    (void)state;
    setenv("WEIR_SCHEDULE_CHANGES", SCHEDULE, 1);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_losses_options_and_schedule_show_in_the_metrics),
        STORY_TEST(test_story_losses_two_ranks_train_what_one_trains),
        STORY_TEST(test_story_losses_replay_has_every_digest),
    };
    story_begin("losses");
    story_make_model(&(struct story_model){14, true});
    return story_end(cmocka_run_group_tests(tests, begin, NULL));
}
