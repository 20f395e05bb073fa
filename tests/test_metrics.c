/* links: core */
/* metrics: adding from many threads, JSON, Prometheus and Markdown from one table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "core/metrics.h"

// clang-format off
#define SAMPLE_METRICS(ROW) \
    ROW(COUNTER, tokens,      "actor/tokens_sampled", "tokens", "Tokens sampled.") \
    ROW(GAUGE,   reward_mean, "reward/mean",          "",       "Mean reward\nof a step.")
#define TIMED_METRICS(ROW) \
    ROW(HISTOGRAM(1, 2, 4),   pause,  "actor/pause_ms", "ms", "A pause.") \
    ROW(HISTOGRAM(METRIC_SECONDS), step, "actor/step_s", "s", "A step.")
// clang-format on
struct sample_metrics {
    SAMPLE_METRICS(METRIC_MEMBER)
};
#define ROW(...) METRIC_ROW(struct sample_metrics, __VA_ARGS__)
static const struct metric_row rows[] = {SAMPLE_METRICS(ROW)};
#undef ROW
enum { ROWS = sizeof rows / sizeof rows[0] };
struct timed_metrics {
    TIMED_METRICS(METRIC_MEMBER)
};
#define ROW(...) METRIC_ROW(struct timed_metrics, __VA_ARGS__)
static const struct metric_row timed_rows[] = {TIMED_METRICS(ROW)};
#undef ROW
enum { TIMED_ROWS = sizeof timed_rows / sizeof timed_rows[0] };

static void *add_many(void *argument)
{
    struct sample_metrics *metrics = argument;
    for (int i = 0; i < 50000; i++)
        metric_add(&metrics->tokens, 1);
    return NULL;
}

static void test_metrics_add_from_many_threads_loses_nothing(void **state)
{
    (void)state;
    static struct sample_metrics metrics;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, &metrics), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(metric_read(&metrics.tokens) == 200000);
}

static void test_metrics_json_is_exact_and_null_when_not_finite(void **state)
{
    (void)state;
    static struct sample_metrics metrics;
    struct buffer json;
    buffer_init(&json, 0);
    metric_set(&metrics.tokens, 12345678);
    metric_set(&metrics.reward_mean, 0.1);
    assert_int_equal(metrics_json(rows, ROWS, &metrics, &json), STATUS_OK);
    assert_string_equal(buffer_string(&json),
                        "\"actor/tokens_sampled\":12345678,\"reward/mean\":0.1");
    buffer_clear(&json);
    metric_set(&metrics.tokens, 1.0 / 3);
    metric_set(&metrics.reward_mean, NAN);
    assert_int_equal(metrics_json(rows, ROWS, &metrics, &json), STATUS_OK);
    assert_string_equal(buffer_string(&json),
                        "\"actor/tokens_sampled\":0.3333333333333333,\"reward/mean\":null");
    buffer_free(&json);
}

static void test_metrics_prometheus_has_help_type_labels(void **state)
{
    (void)state;
    static struct sample_metrics metrics;
    struct buffer text;
    buffer_init(&text, 0);
    metric_set(&metrics.tokens, 5);
    metric_set(&metrics.reward_mean, -INFINITY);
    assert_int_equal(metrics_prometheus(rows, ROWS, &metrics, "rank=\"1\"", &text), STATUS_OK);
    assert_string_equal(buffer_string(&text),
                        "# HELP weir_actor_tokens_sampled_total Tokens sampled.\n"
                        "# TYPE weir_actor_tokens_sampled_total counter\n"
                        "# UNIT weir_actor_tokens_sampled_total tokens\n"
                        "weir_actor_tokens_sampled_total{rank=\"1\"} 5\n"
                        "# HELP weir_reward_mean Mean reward\\nof a step.\n"
                        "# TYPE weir_reward_mean gauge\nweir_reward_mean{rank=\"1\"} -Inf\n");
    buffer_clear(&text);
    assert_int_equal(metrics_prometheus(rows, 1, &metrics, NULL, &text), STATUS_OK);
    assert_non_null(strstr(buffer_string(&text), "\nweir_actor_tokens_sampled_total 5\n"));
    buffer_free(&text);
}

static void test_metrics_markdown_has_a_line_per_row(void **state)
{
    (void)state;
    struct buffer markdown;
    buffer_init(&markdown, 0);
    assert_int_equal(metrics_markdown("Actor", rows, 1, &markdown), STATUS_OK);
    assert_string_equal(buffer_string(&markdown),
                        "## Actor\n\n| metric | kind | unit | Prometheus | meaning |\n"
                        "|---|---|---|---|---|\n"
                        "| `actor/tokens_sampled` | counter | tokens | "
                        "`weir_actor_tokens_sampled_total` | Tokens sampled. |\n\n");
    buffer_free(&markdown);
}

static void test_metrics_histogram_counts_by_bound_in_base_units(void **state)
{
    (void)state;
    static struct timed_metrics metrics;
    struct buffer text;
    buffer_init(&text, 0);
    metrics_init(timed_rows, TIMED_ROWS, &metrics);
    const double values[] = {0.5, 1, 1.5, 4, 100, NAN};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        metric_observe(&metrics.pause, values[i]);
    assert_int_equal(metrics_prometheus(timed_rows, 1, &metrics, "run=\"a\"", &text), STATUS_OK);
    assert_string_equal(buffer_string(&text),
                        "# HELP weir_actor_pause_seconds A pause.\n"
                        "# TYPE weir_actor_pause_seconds histogram\n"
                        "# UNIT weir_actor_pause_seconds seconds\n"
                        "weir_actor_pause_seconds_bucket{run=\"a\",le=\"0.001\"} 2\n"
                        "weir_actor_pause_seconds_bucket{run=\"a\",le=\"0.002\"} 3\n"
                        "weir_actor_pause_seconds_bucket{run=\"a\",le=\"0.004\"} 4\n"
                        "weir_actor_pause_seconds_bucket{run=\"a\",le=\"+Inf\"} 5\n"
                        "weir_actor_pause_seconds_sum{run=\"a\"} 0.107\n"
                        "weir_actor_pause_seconds_count{run=\"a\"} 5\n");
    buffer_free(&text);
}

/* By hand: 10 observations, 4 up to 1, 4 more up to 2, 2 beyond 4. */
static void test_metrics_quantiles_are_linear_inside_a_bucket(void **state)
{
    (void)state;
    static struct timed_metrics metrics;
    struct buffer json;
    buffer_init(&json, 0);
    metrics_init(timed_rows, TIMED_ROWS, &metrics);
    assert_true(isnan(metric_quantile(&metrics.pause, 0.5)));
    for (int i = 0; i < 10; i++)
        metric_observe(&metrics.pause, i < 4 ? 1 : i < 8 ? 2 : 9);
    assert_true(fabs(metric_quantile(&metrics.pause, 0.5) - 1.25) < 1e-12);
    assert_true(fabs(metric_quantile(&metrics.pause, 0.2) - 0.5) < 1e-12);
    assert_true(metric_quantile(&metrics.pause, 0.99) ==
                4); /* as histogram_quantile: no more is known */
    assert_int_equal(metrics_json(timed_rows, 1, &metrics, &json), STATUS_OK);
    assert_string_equal(buffer_string(&json),
                        "\"actor/pause_ms/p50\":1.25,\"actor/pause_ms/p90\":4,"
                        "\"actor/pause_ms/p99\":4,\"actor/pause_ms/count\":10");
    buffer_free(&json);
}

static void *observe_many(void *argument)
{
    struct timed_metrics *metrics = argument;
    for (int i = 0; i < 20000; i++)
        metric_observe(&metrics->step, (i % 8) * 0.125);
    return NULL;
}

static void test_metrics_observations_of_many_threads_are_all_there(void **state)
{
    (void)state;
    static struct timed_metrics metrics;
    pthread_t threads[4];
    metrics_init(timed_rows, TIMED_ROWS, &metrics);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, observe_many, &metrics), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(metric_count(&metrics.step), 80000);
    assert_true(metric_read(&metrics.step.sum) == 80000 * 0.4375);
}

static void test_metrics_names_follow_prometheus(void **state)
{
    (void)state;
    static const struct {
        const char *path, *unit, *name;
        enum metric_kind kind;
        double scale;
    } cases[] = {
        {"reward/mean", "", "weir_reward_mean", METRIC_GAUGE, 1},
        {"learner/wait_s", "s", "weir_learner_wait_seconds", METRIC_GAUGE, 1},
        {"sync/seconds", "s", "weir_sync_seconds", METRIC_GAUGE, 1},
        {"time/step", "s", "weir_time_step_seconds", METRIC_GAUGE, 1},
        {"actor/swap_ms", "ms", "weir_actor_swap_seconds", METRIC_GAUGE, 1e-3},
        {"perf/tok_s", "tokens/s", "weir_perf_tokens_per_second", METRIC_GAUGE, 1},
        {"actor/tokens_per_s", "tokens/s", "weir_actor_tokens_per_second", METRIC_GAUGE, 1},
        {"len/p99", "tokens", "weir_len_p99_tokens", METRIC_GAUGE, 1},
        {"actor/tokens_sampled", "tokens", "weir_actor_tokens_sampled_total", METRIC_COUNTER, 1},
        {"actor/bytes_unacked", "bytes", "weir_actor_bytes_unacked", METRIC_GAUGE, 1},
        {"grad/below_1e-14", "", "weir_grad_below_1e_14", METRIC_GAUGE, 1},
        {"optim/updates", "updates", "weir_optim_updates_total", METRIC_COUNTER, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char name[METRIC_NAME_BYTES];
        struct metric_row row = {
            .path = cases[i].path, .unit = cases[i].unit, .kind = cases[i].kind};
        assert_true(metric_prometheus_name(&row, name) == cases[i].scale);
        assert_string_equal(name, cases[i].name);
    }
}

static void test_metrics_labels_are_escaped(void **state)
{
    (void)state;
    struct buffer labels;
    buffer_init(&labels, 0);
    assert_int_equal(metrics_label(&labels, "run", "a\"b\\c\nd"), STATUS_OK);
    assert_int_equal(metrics_label(&labels, "role", "actor"), STATUS_OK);
    assert_string_equal(buffer_string(&labels), "run=\"a\\\"b\\\\c\\nd\",role=\"actor\"");
    buffer_free(&labels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics_histogram_counts_by_bound_in_base_units),
        cmocka_unit_test(test_metrics_quantiles_are_linear_inside_a_bucket),
        cmocka_unit_test(test_metrics_observations_of_many_threads_are_all_there),
        cmocka_unit_test(test_metrics_names_follow_prometheus),
        cmocka_unit_test(test_metrics_labels_are_escaped),
        cmocka_unit_test(test_metrics_add_from_many_threads_loses_nothing),
        cmocka_unit_test(test_metrics_json_is_exact_and_null_when_not_finite),
        cmocka_unit_test(test_metrics_prometheus_has_help_type_labels),
        cmocka_unit_test(test_metrics_markdown_has_a_line_per_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
