/* links: actor */
/* label: integration */
/* timeout: 60 */
/* Scoring given ids: against float64 transformers, and that neither cuts nor company change a bit. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "actor/score.h"
#include "core/config.h"
#include "core/file.h"
#include "core/memory.h"
#include "model/safetensors.h"

#define GOLDEN SOURCE_DIR "/tests/golden/model/"

enum { SEQUENCES = 40, LENGTH_MAX = 90, TOP = 5 };

struct result {
    uint32_t count, top;
    float logprobs[LENGTH_MAX], top_logprobs[LENGTH_MAX * TOP];
    uint32_t top_ids[LENGTH_MAX * TOP];
    uint32_t times;
};

static struct result results[SEQUENCES], others[SEQUENCES];

struct bench {
    struct settings settings;
    struct config *config;
    struct engine engine;
    struct scorer *scorer;
    struct result *results;
};

static void must(enum status status)
{
    if (status != STATUS_OK)
        fail_msg("%s", status_last_error());
}

static enum status keep(void *self, const struct scored *scored)
{
    struct bench *bench = self;
    struct result *result = &bench->results[scored->tag];
    assert_in_range(scored->count, 1, LENGTH_MAX);
    assert_in_range(scored->top, 0, TOP);
    result->count = scored->count;
    result->top = scored->top;
    result->times++;
    memcpy(result->logprobs, scored->logprobs, scored->count * sizeof(float));
    size_t cells = (size_t)scored->count * scored->top;
    if (cells > 0) {
        memcpy(result->top_ids, scored->top_ids, cells * sizeof(uint32_t));
        memcpy(result->top_logprobs, scored->top_logprobs, cells * sizeof(float));
    }
    return STATUS_OK;
}

static struct bench *open_bench(const char *folder, const char *prefill, struct result *into)
{
    struct bench *bench = memory_alloc(sizeof *bench);
    assert_non_null(bench);
    char path[FILE_PATH_MAX];
    must(file_path(path, "model.path=%s", folder));
    const char *all[] = {path,
                         prefill,
                         "redis.mode=off",
                         "actor.slots=2",
                         "run.threads=2",
                         "data.prompt_tokens_max=90",
                         "sampling.response_tokens_max=10"};
    struct config_input input = {.overrides = all, .override_count = sizeof all / sizeof all[0]};
    must(settings_load(&bench->settings, &bench->config, &input));
    must(engine_create(&bench->engine, &bench->settings, 0, 1));
    must(engine_load_folder(&bench->engine, folder));
    bench->results = into;
    memset(into, 0, SEQUENCES * sizeof *into);
    must(scorer_create(&bench->scorer, &bench->engine, keep, bench));
    return bench;
}

static void close_bench(struct bench *bench)
{
    scorer_destroy(&bench->scorer);
    engine_destroy(&bench->engine);
    config_destroy(&bench->config);
    memory_free(bench);
}

static uint32_t run_all(struct bench *bench)
{
    uint32_t steps = 0;
    bool worked = true;
    while (scorer_pending(bench->scorer) > 0) {
        must(scorer_step(bench->scorer, &worked));
        assert_true(worked);
        assert_true(++steps < 1000);
    }
    must(scorer_step(bench->scorer, &worked));
    assert_false(worked);
    return steps;
}

/* ---- against the reference ---- */

static float *tensor_of(const struct safetensors *file, const char *name, int64_t *count)
{
    const struct safetensor *tensor = safetensors_find(file, name);
    assert_non_null(tensor);
    *count = 1;
    for (int32_t d = 0; d < tensor->dims; d++)
        *count *= tensor->shape[d];
    float *values = memory_array((size_t)*count, sizeof *values);
    assert_non_null(values);
    must(safetensor_to_f32(tensor, values));
    return values;
}

static void check_top(const struct result *result, const float *logits, uint32_t position)
{
    enum { VOCABULARY = 331 };
    const float *row = logits + (position - 1) * VOCABULARY;
    double sum = 0;
    for (int v = 0; v < VOCABULARY; v++)
        sum += exp((double)row[v]);
    for (uint32_t j = 0; j < TOP; j++) {
        uint32_t id = result->top_ids[position * TOP + j];
        double value = (double)result->top_logprobs[position * TOP + j];
        assert_true(fabs((double)row[id] - log(sum) - value) < 1e-4);
        uint32_t larger = 0;
        for (int v = 0; v < VOCABULARY; v++)
            larger += row[v] > row[id] + 2e-4f;
        assert_true(larger <= j);
    }
}

static void test_score_golden_logprobs_match_the_reference(void **state)
{
    (void)state;
    static const char *const names[] = {"qwen2", "minimax-m1-format"};
    for (int n = 0; n < 2; n++) {
        char folder[FILE_PATH_MAX], path[FILE_PATH_MAX];
        must(file_path(folder, GOLDEN "%s", names[n]));
        must(file_path(path, "%s/case.safetensors", folder));
        struct safetensors *file = NULL;
        must(safetensors_open(&file, path));
        int64_t count = 0, sequences = 0;
        float *lengths = tensor_of(file, "seq_lens", &sequences);
        float *ids = tensor_of(file, "input_ids", &count);
        float *logprob = tensor_of(file, "logprob", &count);
        struct bench *bench = open_bench(folder, "actor.prefill_tokens=64", results);
        int64_t at = 0, row = 0;
        for (int64_t s = 0; s < sequences; s++) {
            uint32_t list[LENGTH_MAX], length = (uint32_t)lengths[s];
            for (uint32_t i = 0; i < length; i++)
                list[i] = (uint32_t)ids[at + i];
            at += length;
            must(scorer_add(bench->scorer,
                            &(struct scorer_request){(uint64_t)s, list, length, TOP}));
        }
        run_all(bench);
        for (int64_t s = 0; s < sequences; s++) {
            char name[32];
            (void)snprintf(name, sizeof name, "logits.%d", (int)s);
            float *logits = tensor_of(file, name, &count);
            assert_int_equal(results[s].count, (int)lengths[s]);
            assert_true(isnan(results[s].logprobs[0]));
            for (uint32_t i = 1; i < results[s].count; i++, row++) {
                assert_true(fabsf(results[s].logprobs[i] - logprob[row]) < 1e-4f);
                check_top(&results[s], logits, i);
            }
            memory_free(logits);
        }
        memory_free(lengths);
        memory_free(ids);
        memory_free(logprob);
        safetensors_close(&file);
        close_bench(bench);
    }
}

/* ---- cuts and company ---- */

static uint32_t length_of(uint32_t s)
{
    return s == 7 ? 1 : 2 + s * 37 % (LENGTH_MAX - 2);
}

static void add_sequence(struct bench *bench, uint32_t s, uint32_t top)
{
    uint32_t ids[LENGTH_MAX], word = s + 1;
    for (uint32_t i = 0; i < length_of(s); i++) {
        word = word * 1664525u + 1013904223u;
        ids[i] = (word >> 8) % 331;
    }
    must(scorer_add(bench->scorer, &(struct scorer_request){s, ids, length_of(s), top}));
}

static void test_score_cuts_and_company_change_no_bit(void **state)
{
    (void)state;
    struct bench *bench =
        open_bench(GOLDEN "minimax-m1-format", "actor.prefill_tokens=600", results);
    for (uint32_t s = 0; s < SEQUENCES; s++)
        add_sequence(bench, s, s % 3 == 0 ? TOP : 0);
    assert_int_equal(scorer_pending(bench->scorer), SEQUENCES);
    run_all(bench);
    close_bench(bench);
    bench = open_bench(GOLDEN "minimax-m1-format", "actor.prefill_tokens=16", others);
    for (uint32_t s = SEQUENCES; s-- > 0;) {
        bool worked;
        add_sequence(bench, s, s % 2 == 0 ? TOP : 0);
        if (s % 4 == 0)
            must(scorer_step(bench->scorer, &worked));
    }
    assert_true(run_all(bench) > 10);
    close_bench(bench);
    for (uint32_t s = 0; s < SEQUENCES; s++) {
        assert_int_equal(results[s].times, 1);
        assert_int_equal(others[s].times, 1);
        assert_int_equal(others[s].count, length_of(s));
        assert_memory_equal(results[s].logprobs + 1, others[s].logprobs + 1,
                            (length_of(s) - 1) * sizeof(float));
        if (s % 6 == 0) {
            size_t cells = (size_t)(length_of(s) - 1) * TOP;
            assert_memory_equal(results[s].top_ids + TOP, others[s].top_ids + TOP,
                                cells * sizeof(uint32_t));
            assert_memory_equal(results[s].top_logprobs + TOP, others[s].top_logprobs + TOP,
                                cells * sizeof(float));
        }
    }
}

static void test_score_best_id_has_the_bits_of_its_own_logprob(void **state)
{
    (void)state;
    struct bench *bench = open_bench(GOLDEN "qwen2", "actor.prefill_tokens=64", results);
    for (uint32_t s = 0; s < SEQUENCES; s++)
        add_sequence(bench, s, TOP);
    run_all(bench);
    /* Each best id scored as the next token: the same sequence with its end exchanged. */
    uint32_t ids[LENGTH_MAX], s = 5, length = length_of(s), word = s + 1;
    for (uint32_t i = 0; i < length; i++) {
        word = word * 1664525u + 1013904223u;
        ids[i] = (word >> 8) % 331;
    }
    struct result first = results[s];
    for (uint32_t j = 0; j < TOP; j++) {
        ids[length - 1] = first.top_ids[(length - 1) * TOP + j];
        must(scorer_add(bench->scorer, &(struct scorer_request){j, ids, length, 0}));
    }
    run_all(bench);
    for (uint32_t j = 0; j < TOP; j++)
        assert_true(fabsf(results[j].logprobs[length - 1] -
                          first.top_logprobs[(length - 1) * TOP + j]) < 2e-6f);
    close_bench(bench);
}

/* ---- refusals ---- */

static void test_score_dropped_and_refused_ones_leave_the_others(void **state)
{
    (void)state;
    struct bench *bench = open_bench(GOLDEN "qwen2", "actor.prefill_tokens=16", results);
    uint32_t ids[128] = {1, 2, 331};
    assert_int_equal(scorer_add(bench->scorer, &(struct scorer_request){0, ids, 0, 0}),
                     STATUS_INVALID);
    assert_int_equal(scorer_add(bench->scorer, &(struct scorer_request){0, ids, 3, 0}),
                     STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "331 at position 2"));
    assert_int_equal(scorer_add(bench->scorer, &(struct scorer_request){0, ids, 101, 0}),
                     STATUS_LIMIT);
    assert_int_equal(scorer_add(bench->scorer, &(struct scorer_request){0, ids, 2, 65}),
                     STATUS_INVALID);
    assert_int_equal(scorer_pending(bench->scorer), 0);
    bool worked;
    for (int round = 0; round < 3; round++) {
        for (uint32_t s = 0; s < SEQUENCES; s++)
            add_sequence(bench, s, 0);
        must(scorer_step(bench->scorer, &worked));
        for (uint32_t s = 0; s < SEQUENCES; s++)
            if (s != 20 && s != SEQUENCES - 1)
                scorer_drop(bench->scorer, s);
        scorer_drop(bench->scorer, 12345);
        add_sequence(bench, 3, 0);
        assert_in_range(scorer_pending(bench->scorer), 2, 3);
        run_all(bench);
    }
    assert_int_equal(results[20].times, 3);
    assert_int_equal(results[SEQUENCES - 1].times, 3);
    assert_int_equal(results[3].times, 3);
    close_bench(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_score_golden_logprobs_match_the_reference),
        cmocka_unit_test(test_score_cuts_and_company_change_no_bit),
        cmocka_unit_test(test_score_best_id_has_the_bits_of_its_own_logprob),
        cmocka_unit_test(test_score_dropped_and_refused_ones_leave_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
