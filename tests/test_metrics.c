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
// clang-format on
struct sample_metrics {
    SAMPLE_METRICS(METRIC_MEMBER)
};
#define ROW(...) METRIC_ROW(struct sample_metrics, __VA_ARGS__)
static const struct metric_row rows[] = {SAMPLE_METRICS(ROW)};
#undef ROW
enum { ROWS = sizeof rows / sizeof rows[0] };

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
    assert_string_equal(
        buffer_string(&text),
        "# HELP weir_actor_tokens_sampled Tokens sampled. Unit: tokens.\n"
        "# TYPE weir_actor_tokens_sampled counter\nweir_actor_tokens_sampled{rank=\"1\"} 5\n"
        "# HELP weir_reward_mean Mean reward\\nof a step.\n"
        "# TYPE weir_reward_mean gauge\nweir_reward_mean{rank=\"1\"} -Inf\n");
    buffer_clear(&text);
    assert_int_equal(metrics_prometheus(rows, 1, &metrics, NULL, &text), STATUS_OK);
    assert_non_null(strstr(buffer_string(&text), "\nweir_actor_tokens_sampled 5\n"));
    buffer_free(&text);
}

static void test_metrics_markdown_has_a_line_per_row(void **state)
{
    (void)state;
    struct buffer markdown;
    buffer_init(&markdown, 0);
    assert_int_equal(metrics_markdown("Actor", rows, 1, &markdown), STATUS_OK);
    assert_string_equal(buffer_string(&markdown),
                        "## Actor\n\n| metric | kind | unit | meaning |\n|---|---|---|---|\n"
                        "| `actor/tokens_sampled` | counter | tokens | Tokens sampled. |\n\n");
    buffer_free(&markdown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics_add_from_many_threads_loses_nothing),
        cmocka_unit_test(test_metrics_json_is_exact_and_null_when_not_finite),
        cmocka_unit_test(test_metrics_prometheus_has_help_type_labels),
        cmocka_unit_test(test_metrics_markdown_has_a_line_per_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
