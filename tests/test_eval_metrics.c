/* links: evaluate core */
/* Figures of evaluations as Prometheus text: the newest row of each set that has figures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "ops/eval/eval_metrics.h"

static void test_eval_metrics_shows_the_newest_figures_of_each_set(void **state)
{
    (void)state;
    struct buffer text;
    buffer_init(&text, 0);
    json_t *rows = json_loads(
        "[{\"set\":\"a\",\"eval/a/version\":1,\"eval/a/avg_at_n\":0.25},"
        " {\"set\":\"b\\\"\",\"eval/b\\\"/version\":1,\"eval/b\\\"/avg_at_n\":0.5},"
        " {\"set\":\"a\",\"eval/a/version\":2,\"eval/a/avg_at_n\":0.75,\"eval/a/len_mean\":12},"
        " {\"set\":\"a\",\"status\":\"skipped\"}, {\"status\":\"failed\"}]",
        0, NULL);
    assert_non_null(rows);
    assert_int_equal(eval_figures_text(rows, "run=\"r\"", &text), STATUS_OK);
    const char *got = buffer_string(&text);
    assert_non_null(strstr(got, "\nweir_eval_set_avg_at_n{run=\"r\",set=\"a\"} 0.75\n"));
    assert_non_null(strstr(got, "\nweir_eval_set_avg_at_n{run=\"r\",set=\"b\\\"\"} 0.5\n"));
    assert_non_null(strstr(got, "\nweir_eval_set_len_mean_tokens{run=\"r\",set=\"a\"} 12\n"));
    assert_non_null(strstr(got, "\nweir_eval_set_version{run=\"r\",set=\"a\"} 2\n"));
    assert_null(strstr(got, "0.25"));
    assert_null(strstr(got, "weir_eval_set_reward")); /* nobody has one: no family */
    const char *type = strstr(got, "# TYPE weir_eval_set_avg_at_n gauge");
    assert_non_null(type);
    assert_null(strstr(type + 1, "# TYPE weir_eval_set_avg_at_n gauge"));
    json_decref(rows);
    buffer_free(&text);
}

/* Names for Prometheus are distinct: a family stands once in an answer. */
static void test_eval_metrics_names_are_distinct(void **state)
{
    (void)state;
    size_t count = 0;
    const struct metric_row *rows = eval_docs_table(&count);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < i; j++) {
            char one[METRIC_NAME_BYTES], other[METRIC_NAME_BYTES];
            metric_prometheus_name(&rows[i], one);
            metric_prometheus_name(&rows[j], other);
            assert_string_not_equal(one, other);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eval_metrics_shows_the_newest_figures_of_each_set),
        cmocka_unit_test(test_eval_metrics_names_are_distinct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
