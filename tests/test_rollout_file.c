/* links: learner ops PkgConfig::jansson */
/* Rollout files: what the learner writes is what the reader reads; the choice of groups; old files; hostile lines. And the
 * counts that histograms are made of. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/file.h"
#include "core/metric_alias.h"
#include "core/packed.h"
#include "learner/histograms.h"
#include "learner/learner_metrics.h"
#include "learner/rollout_log.h"
#include "learner/token_counts.h"
#include "learner/token_results.h"
#include "ops/rollout_file.h"

enum { GROUPS = 5, SAMPLES = 2, TOKENS = 4 };

static char folder[64];
static struct settings settings;
static struct group_data groups[GROUPS];
static struct group_sample samples[GROUPS][SAMPLES];
static struct train_sequence sequences[GROUPS * SAMPLES];
static struct token_results results[GROUPS * SAMPLES];
static uint64_t group_ids[GROUPS];
static const uint32_t prompt[] = {5, 6, 7}, ids[] = {1, 2, 3, 4294967295u};
static const float streamed[] = {-0.25f, -1e-7f, 0, -12.3456789f}, mask[] = {1, 1, 0, 1};
static float trained[] = {-0.5f, -2e-6f, -1, (float)NAN}, entropy[] = {1.5f, 0, 0.1f, 3},
             weight[] = {0.7788f, 1, 0.36788f, 3e10f};
static uint8_t clipped[] = {0, 0, 0, 1};
static const struct group_piece pieces[] = {{.count = 1, .version = 3}, {.count = 3, .version = 4}};
static const struct plan plan = {
    .version = 6, .group_count = GROUPS, .group_ids = group_ids, .cut_count = 1};

static struct rollout_step step_of(const bool *chosen)
{
    return (struct rollout_step){.step = plan.version,
                                 .groups = groups,
                                 .chosen = chosen,
                                 .group_count = GROUPS,
                                 .sequences = sequences,
                                 .sequence_count = GROUPS * SAMPLES - 1,
                                 .loss = &settings.loss,
                                 .response_cap = 16};
}

static int make(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/weir-rollouts-XXXXXX");
    settings =
        (struct settings){.run.seed = 3, .metrics = {.rollout_tokens = 20, .rollout_steps = 2}};
    for (uint32_t g = 0; g < GROUPS; g++) {
        group_ids[g] = 100 + g;
        groups[g] = (struct group_data){.group_id = 100 + g,
                                        .prompt_id = 7,
                                        .prompt_count = 3,
                                        .prompt_ids = prompt,
                                        .sample_count = SAMPLES,
                                        .samples = samples[g],
                                        .source = "a \"quoted\" source"};
        for (uint32_t s = 0; s < SAMPLES; s++) {
            uint32_t i = g * SAMPLES + s;
            samples[g][s] = (struct group_sample){.sample = s,
                                                  .attempt = 1,
                                                  .count = TOKENS,
                                                  .ids = ids,
                                                  .logprobs = streamed,
                                                  .mask = mask,
                                                  .piece_count = 2,
                                                  .pieces = pieces,
                                                  .finish = SEGMENT_EOS,
                                                  .reward = 0.5 + s};
            results[i] = (struct token_results){trained, entropy, weight, clipped, true};
            sequences[i] = (struct train_sequence){.response_count = TOKENS,
                                                   .group = g,
                                                   .sample = s,
                                                   .advantage = s == 0 ? -1 : 1,
                                                   .results = &results[i]};
        }
    }
    return mkdtemp(folder) == NULL;
}

static int unmake(void **state)
{
    (void)state;
    return file_remove_tree(folder) != STATUS_OK;
}

static void write_step(uint64_t step)
{
    struct rollout_log *log = NULL;
    bool chosen[GROUPS];
    assert_int_equal(rollout_log_open(&log, folder, &settings, step - 1), STATUS_OK);
    rollout_log_choose(log, &plan, groups, chosen);
    struct rollout_step put = step_of(chosen);
    put.step = step;
    assert_int_equal(rollout_log_put(log, &put), STATUS_OK);
    assert_int_equal(rollout_log_flush(log), STATUS_OK);
    rollout_log_close(&log);
}

static void test_rollout_file_holds_what_was_put(void **state)
{
    (void)state;
    struct rollout_file file;
    struct rollout_tokens rollout;
    bool all[GROUPS] = {true, true, true, true, true};
    char path[FILE_PATH_MAX];
    struct buffer text;
    buffer_init(&text, 0);
    struct rollout_step put = step_of(all);
    assert_int_equal(rollout_log_text(&put, &text), STATUS_OK);
    assert_int_equal(file_path(path, "%s/rollouts", folder), STATUS_OK);
    assert_int_equal(file_make_dirs(path), STATUS_OK);
    assert_int_equal(file_path(path, "%s/rollouts/step_000006.jsonl.zst", folder), STATUS_OK);
    assert_int_equal(packed_write(path, &text), STATUS_OK);
    buffer_free(&text);
    assert_int_equal(rollout_file_open(&file, folder, 6), STATUS_OK);
    const struct rollout_filter one = {
        .has_group = true, .group = 103, .has_sample = true, .sample = 1};
    assert_int_equal(rollout_file_next(&file, &one, &rollout), STATUS_OK);
    assert_int_equal(rollout.step, 6);
    assert_int_equal(rollout.group, 103);
    assert_int_equal(rollout.count, TOKENS);
    assert_string_equal(rollout.source, "a \"quoted\" source");
    assert_string_equal(rollout.finish, "eos");
    assert_true(rollout.reward == 1.5 && rollout.advantage == 1 && !rollout.masked);
    assert_memory_equal(rollout.ids, ids, sizeof ids);
    assert_memory_equal(rollout.prompt_ids, prompt, sizeof prompt);
    for (int i = 0; i < TOKENS; i++) {
        assert_true(fabsf(rollout.streamed[i] - streamed[i]) <= 1e-6f);
        assert_true(isnan(trained[i]) ? isnan(rollout.trained[i])
                                      : fabsf(rollout.trained[i] - trained[i]) <= 1e-6f);
        assert_true(fabsf(rollout.weight[i] - weight[i]) <= 1e-6f * fmaxf(1, weight[i]));
        assert_int_equal(rollout.clipped[i], clipped[i]);
        assert_int_equal(rollout.mask[i], mask[i] != 0);
    }
    assert_int_equal(rollout.piece_count, 2);
    assert_true(rollout.pieces[1].from == 1 && rollout.pieces[1].version == 4);
    assert_int_equal(rollout_file_next(&file, &one, &rollout), STATUS_NOT_FOUND);
    rollout_file_close(&file);
    /* the last sample was not admitted */
    const struct rollout_filter last = {
        .has_group = true, .group = 104, .has_sample = true, .sample = 1};
    assert_int_equal(rollout_file_open(&file, folder, 6), STATUS_OK);
    assert_int_equal(rollout_file_next(&file, &last, &rollout), STATUS_OK);
    assert_true(rollout.masked && rollout.trained == NULL && isnan(rollout.advantage));
    rollout_file_close(&file);
}

/* Groups of 8 tokens, room for 20: two of five, the same every time, others at another step. */
static void test_rollout_log_chooses_whole_groups_by_seed_and_step(void **state)
{
    (void)state;
    struct rollout_log *log = NULL;
    assert_int_equal(rollout_log_open(&log, folder, &settings, 0), STATUS_OK);
    bool seen[GROUPS] = {false};
    for (uint64_t step = 1; step <= 40; step++) {
        bool chosen[GROUPS], again[GROUPS];
        struct plan at = plan;
        at.version = step;
        rollout_log_choose(log, &at, groups, chosen);
        rollout_log_choose(log, &at, groups, again);
        assert_memory_equal(chosen, again, sizeof chosen);
        int count = 0;
        for (int g = 0; g < GROUPS; g++) {
            count += chosen[g];
            seen[g] = seen[g] || chosen[g];
        }
        assert_int_equal(count, 2);
    }
    for (int g = 0; g < GROUPS; g++)
        assert_true(seen[g]); /* (3/5)^40 < 2e-9 each */
    rollout_log_close(&log);
    settings.metrics.rollout_tokens = 3; /* none fits: the smallest stands for all */
    samples[2][1].count = 1;
    bool chosen[GROUPS];
    assert_int_equal(rollout_log_open(&log, folder, &settings, 0), STATUS_OK);
    rollout_log_choose(log, &plan, groups, chosen);
    for (int g = 0; g < GROUPS; g++)
        assert_int_equal(chosen[g], g == 2);
    rollout_log_close(&log);
    settings.metrics.rollout_tokens = 0;
    assert_int_equal(rollout_log_open(&log, folder, &settings, 0), STATUS_OK);
    assert_null(log);
}

static void test_rollout_log_keeps_the_newest_steps_and_removes_those_to_come(void **state)
{
    (void)state;
    uint64_t steps[8];
    uint32_t count = 0;
    for (uint64_t step = 1; step <= 5; step++)
        write_step(step);
    assert_int_equal(rollout_file_steps(folder, steps, 8, &count), STATUS_OK);
    assert_int_equal(count, 2);
    assert_true(steps[0] == 4 && steps[1] == 5);
    write_step(5); /* made again: opened at version 4 */
    assert_int_equal(rollout_file_steps(folder, steps, 1, &count), STATUS_OK);
    assert_true(count == 1 && steps[0] == 5);
    write_step(4);
    assert_int_equal(rollout_file_steps(folder, steps, 8, &count), STATUS_OK);
    assert_true(count == 1 && steps[0] == 4);
}

static void test_rollout_file_hostile_lines_are_refused(void **state)
{
    (void)state;
#define HEAD                                                                              \
    "{\"step\":1,\"group\":1,\"sample\":0,\"prompt_id\":1,\"attempt\":0,\"source\":\"\"," \
    "\"finish\":"                                                                         \
    "\"eos\",\"tokens\":1,\"reward\":0,\"shaped\":0,\"advantage\":null,"
    static const char *const lines[] = {
        "x",
        "[]",
        "{}",
        "{\"step\":-1}",
        HEAD "\"pieces\":[],\"prompt\":[],\"ids\":[1,2],\"logprobs\":[0,0]}",
        HEAD "\"pieces\":[],\"prompt\":[],\"ids\":[1],\"logprobs\":[0,0]}",
        HEAD "\"pieces\":[],\"prompt\":[],\"ids\":[-1],\"logprobs\":[0]}",
        HEAD "\"pieces\":[],\"prompt\":[],\"ids\":[4294967296],\"logprobs\":[0]}",
        HEAD "\"pieces\":[],\"prompt\":[],\"ids\":[1],\"logprobs\":[\"0\"]}",
        HEAD "\"pieces\":[{\"from\":2,\"version\":1}],\"prompt\":[],\"ids\":[1],\"logprobs\":[0]}",
        HEAD "\"pieces\":7,\"prompt\":[],\"ids\":[1],\"logprobs\":[0]}",
    };
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/rollouts", folder), STATUS_OK);
    assert_int_equal(file_make_dirs(path), STATUS_OK);
    assert_int_equal(file_path(path, "%s/rollouts/step_000001.jsonl.zst", folder), STATUS_OK);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct buffer text;
        struct rollout_file file;
        struct rollout_tokens rollout;
        buffer_init(&text, 0);
        assert_int_equal(buffer_text(&text, lines[i]), STATUS_OK);
        assert_int_equal(packed_write(path, &text), STATUS_OK);
        assert_int_equal(rollout_file_open(&file, folder, 1), STATUS_OK);
        assert_int_equal(rollout_file_next(&file, NULL, &rollout), STATUS_INVALID);
        rollout_file_close(&file);
        buffer_free(&text);
    }
}

/* ---- counts ---- */

static void test_token_counts_add_up_and_find_the_quantile(void **state)
{
    (void)state;
    struct token_counts sum = {0}, part = {0};
    for (int i = 0; i < 1000; i++) {
        struct counted_token token = {.probability = 0.5,
                                      .streamed = i < 100 ? 0.1 : 0.9,
                                      .logprob = log(0.5),
                                      .ratio = exp2(i * 0.004 - 2), /* 2^-2 to 2^2 */
                                      .advantage = i % 2 == 0 ? 1 : -1,
                                      .clipped = i >= 900,
                                      .index = (uint32_t)i,
                                      .span = 1000};
        token_counts_add(&part, &token);
        token.probability = (double)NAN;
        token_counts_add(&part, &token); /* passed over */
    }
    token_counts_merge(&sum, &part);
    token_counts_merge(&sum, &part);
    assert_int_equal(sum.positive, 1000);
    assert_int_equal(sum.negative_clipped, 100);
    assert_true(sum.fork[0] == 200 && sum.fork[1] == 200 && sum.fork[2] == 0);
    for (int i = 0; i < 99; i++) {
        double share = (i + 0.5) / 99, exact = exp2(share * 4 - 2);
        double found = token_counts_weight_quantile(&sum, share);
        assert_true(found > exact / 1.1 && found < exact * 1.1);
    }
    uint64_t weights = 0, positions = 0;
    for (int i = 0; i < COUNTS_WEIGHT_BINS; i++)
        weights += sum.weight[i];
    for (int i = 0; i < COUNTS_POSITIONS; i++)
        positions += sum.position_tokens[i];
    assert_true(weights == 2000 && positions == 2000);
    assert_true(sum.position_tokens[0] < 100 && sum.position_tokens[31] < 100);
    assert_true(token_counts_weight_quantile(&(struct token_counts){0}, 0.5) == 0);
}

static void test_histograms_are_json_whose_counts_add_up(void **state)
{
    (void)state;
    static struct token_counts counts; /* no token: numbers must be there all the same */
    settings.loss.weight_max = 5;
    struct step_distributions step = {.step = 6,
                                      .plan = &plan,
                                      .groups = groups,
                                      .sequences = sequences,
                                      .sequence_count = GROUPS * SAMPLES,
                                      .counts = &counts,
                                      .loss = &settings.loss,
                                      .response_cap = 16,
                                      .pearson = (double)NAN};
    struct buffer text;
    buffer_init(&text, 0);
    assert_int_equal(histograms_json(&step, &text), STATUS_OK);
    json_t *row = json_loadb((const char *)text.bytes, text.size, 0, NULL);
    assert_non_null(row);
    const json_t *lags = json_object_get(json_object_get(row, "version_lag"), "counts");
    assert_int_equal(json_array_size(lags), 3); /* version 5 trains tokens of version 3: lag 2 */
    assert_int_equal(json_integer_value(json_array_get(lags, 2)), GROUPS * SAMPLES);
    assert_true(histograms_lag_percentile(&plan, groups, 0.99) == 2);
    const json_t *advantage = json_object_get(json_object_get(row, "advantage"), "counts");
    uint64_t sum = 0;
    for (size_t i = 0; i < json_array_size(advantage); i++)
        sum += (uint64_t)json_integer_value(json_array_get(advantage, i));
    assert_int_equal(sum, GROUPS * SAMPLES);
    assert_true(json_is_null(json_object_get(json_object_get(row, "logprob_density"), "pearson")));
    json_decref(row);
    buffer_free(&text);
}

/* ---- names ---- */

static void test_metric_alias_names_are_of_one_metric_each(void **state)
{
    (void)state;
    assert_string_equal(metric_alias_of(ALIAS_VERL, "reward/mean"), "critic/score/mean");
    assert_string_equal(metric_alias_of(ALIAS_TRL, "reward/mean"), "reward");
    assert_string_equal(metric_alias_of(ALIAS_WEIR, "reward/mean"), "reward/mean");
    assert_string_equal(metric_alias_of(ALIAS_TRL, "perf/tok_s"), "perf/tok_s");
    size_t rows = 0;
    const struct metric_row *table = learner_metrics_table(&rows);
    for (size_t i = 0; i < metric_alias_count; i++) {
        bool known = false;
        for (size_t k = 0; k < rows; k++)
            known = known || strcmp(table[k].path, metric_aliases[i].weir) == 0;
        assert_true(known);
        for (size_t k = 0; k < i; k++) {
            const struct metric_alias *a = &metric_aliases[i], *b = &metric_aliases[k];
            assert_string_not_equal(a->weir, b->weir);
            assert_true(a->verl == NULL || b->verl == NULL || strcmp(a->verl, b->verl) != 0);
            assert_true(a->trl == NULL || b->trl == NULL || strcmp(a->trl, b->trl) != 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rollout_file_holds_what_was_put, make, unmake),
        cmocka_unit_test_setup_teardown(test_rollout_log_chooses_whole_groups_by_seed_and_step,
                                        make, unmake),
        cmocka_unit_test_setup_teardown(
            test_rollout_log_keeps_the_newest_steps_and_removes_those_to_come, make, unmake),
        cmocka_unit_test_setup_teardown(test_rollout_file_hostile_lines_are_refused, make, unmake),
        cmocka_unit_test(test_token_counts_add_up_and_find_the_quantile),
        cmocka_unit_test_setup_teardown(test_histograms_are_json_whose_counts_add_up, make, unmake),
        cmocka_unit_test(test_metric_alias_names_are_of_one_metric_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
