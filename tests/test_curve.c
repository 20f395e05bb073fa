/* links: ops */
/* curve: blocks and chart as golden text; metrics.jsonl with partial, broken and repeated lines; the
 * step and waiting lines; JSON as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ops/curve.h"
#include "ops/json_text.h"
#include "ops/screen.h"

static struct curve curve;
static struct buffer text;

static int begin(void **state)
{
    (void)state;
    memset(&curve, 0, sizeof curve);
    buffer_init(&text, 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    buffer_free(&text);
    return 0;
}

static void assert_line(size_t width, bool unicode, const char *wanted)
{
    buffer_clear(&text);
    assert_int_equal(curve_line(&curve, width, unicode, &text), STATUS_OK);
    assert_string_equal(buffer_string(&text), wanted);
}

static void test_curve_line_shows_least_to_largest(void **state)
{
    (void)state;
    assert_line(10, true, "");
    for (uint64_t step = 1; step <= 8; step++)
        curve_add(&curve, step, 0.1 * (double)step);
    assert_line(8, true, "▁▂▃▄▅▆▇█");
    assert_line(99, false, "_.:-=+*#");
    assert_line(4, false, "_:+#"); /* means of two */
    assert_true(fabs(curve.first - (0.1)) <= 1e-12);
    assert_true(fabs(curve.last - (0.8)) <= 1e-12);
}

static void test_curve_flat_or_not_finite_stays_in_the_middle(void **state)
{
    (void)state;
    for (uint64_t step = 1; step <= 3; step++)
        curve_add(&curve, step, 0.5);
    curve_add(&curve, 4, NAN);
    assert_line(10, false, "===");
}

static void test_curve_repeated_step_replaces_what_followed(void **state)
{
    (void)state;
    for (uint64_t step = 1; step <= 6; step++)
        curve_add(&curve, step, (double)step);
    curve_add(&curve, 3, 10); /* a resumed learner makes step 3 again */
    assert_int_equal(curve.count, 3);
    assert_line(10, false, "_.#");
    assert_true(fabs(curve.last - (10)) <= 0);
}

static void test_curve_long_run_is_halved_and_stays_whole(void **state)
{
    (void)state;
    size_t steps = 3 * CURVE_POINTS_MAX;
    for (uint64_t step = 0; step < steps; step++)
        curve_add(&curve, step, (double)step);
    assert_true(curve.count <= CURVE_POINTS_MAX);
    assert_int_equal(curve.stride, 4);
    assert_int_equal(curve.points[0].step, 0);
    assert_true(fabs(curve.points[0].value - (1.5)) <= 1e-9); /* mean of 0, 1, 2, 3 */
    assert_true(fabs(curve.points[curve.count - 1].value - ((double)steps - 2.5)) <= 1e-9);
    assert_line(8, false, "_.:-=+*#");
}

static void test_curve_chart_is_as_drawn(void **state)
{
    (void)state;
    static const double values[] = {0.5, 0.6, 0.75, 0.7, 0.9, 1.0};
    for (uint64_t step = 0; step < 6; step++)
        curve_add(&curve, step + 1, values[step]);
    assert_int_equal(curve_chart(&curve, 12, 3, &text), STATUS_OK);
    assert_string_equal(buffer_string(&text), "    1.000 |        ****\n"
                                              "    0.750 |    ****\n"
                                              "    0.500 |****\n"
                                              "          +------------\n"
                                              "     step  1          6\n");
}

/* ---- metrics.jsonl ---- */

static unsigned taken;
static double last_step;

static void take(void *self, const json_t *object)
{
    (void)self;
    taken++;
    last_step = json_number_value(json_object_get(object, "step"));
}

static void write_at_end(const char *path, const char *bytes)
{
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    fputs(bytes, file);
    fclose(file);
}

static void test_curve_metrics_tail_waits_for_whole_lines(void **state)
{
    (void)state;
    char path[] = "/tmp/weir-metrics-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    unlink(path);
    struct metrics_tail tail;
    taken = 0;
    assert_int_equal(metrics_tail_open(&tail, path), STATUS_OK);
    assert_int_equal(metrics_tail_poll(&tail, take, NULL), STATUS_OK); /* not there yet */
    write_at_end(path, "{\"step\":1}\n{\"st");
    assert_int_equal(metrics_tail_poll(&tail, take, NULL), STATUS_OK);
    assert_int_equal(taken, 1);
    assert_int_equal(metrics_tail_poll(&tail, take, NULL), STATUS_OK);
    assert_int_equal(taken, 1);
    write_at_end(path, "ep\":2}\nno json\n[3]\n\n{\"step\":4}\n");
    assert_int_equal(metrics_tail_poll(&tail, take, NULL), STATUS_OK);
    assert_int_equal(taken, 3);
    assert_true(fabs(last_step - (4)) <= 0);
    assert_int_equal(tail.bad_lines, 2);
    unlink(path); /* made anew and shorter: from its beginning */
    write_at_end(path, "{\"step\":7}\n");
    assert_int_equal(metrics_tail_poll(&tail, take, NULL), STATUS_OK);
    assert_int_equal(taken, 4);
    assert_true(fabs(last_step - (7)) <= 0);
    char other[sizeof path + 4]; /* replaced by a longer one, whose lines begin elsewhere */
    snprintf(other, sizeof other, "%s.tmp", path);
    write_at_end(other, "{\"step\":7,\"more\":1}\n{\"step\":8}\n");
    assert_int_equal(rename(other, path), 0);
    assert_int_equal(metrics_tail_poll(&tail, take, NULL), STATUS_OK);
    assert_int_equal(taken, 6);
    assert_true(fabs(last_step - (8)) <= 0);
    assert_int_equal(tail.bad_lines, 2);
    metrics_tail_close(&tail);
    unlink(path);
}

static void test_curve_step_line_prints_what_is_there(void **state)
{
    (void)state;
    json_t *object = json_loads(
        "{\"step\":12,\"reward/mean\":0.7134,\"len/mean\":31.25,\"len/p99\":40,"
        "\"entropy/mean\":null,\"mismatch/max_abs_dlogprob\":0,\"mismatch/tokens\":123456,"
        "\"perf/tok_s\":2134.6,\"time/step\":2,\"learner/wait_s\":0.5,\"else\":1}",
        0, NULL);
    assert_int_equal(step_line(object, 100, &text), STATUS_OK);
    assert_string_equal(buffer_string(&text),
                        "step 12/100  reward 0.713  len 31.25 p99 40  mismatch 0 of 123456 tokens"
                        "  2135 tok/s  2 s  learner waited 25%");
    json_decref(object);
}

static void test_curve_waiting_line_says_what_the_store_knows(void **state)
{
    (void)state;
    assert_int_equal(waiting_line(NULL, &text), STATUS_OK);
    assert_string_equal(buffer_string(&text), "waiting for the store's first answer");
    buffer_clear(&text);
    assert_int_equal(waiting_line("{\"groups_open\":3,\"counters\":{\"tokens\":99}}", &text),
                     STATUS_OK);
    assert_string_equal(buffer_string(&text),
                        "waiting for the next step: 3 groups open, 99 tokens");
}

/* ---- JSON as text ---- */

static void test_curve_json_text_disarms_names_of_members(void **state)
{
    (void)state;
    json_t *value = json_loads("{\"a\\u001b[2J\":1,\"rows\":[{\"b\\r\":2}]}", 0, NULL);
    assert_int_equal(json_text(value, &text), STATUS_OK);
    assert_string_equal(buffer_string(&text), "a?[2J  1\n"
                                              "rows   \n"
                                              "  b?  \n"
                                              "  2   \n");
    json_decref(value);
}

static void test_curve_json_text_aligns_and_disarms(void **state)
{
    (void)state;
    json_t *value = json_loads("{\"run\":\"a\\u001b[2J\",\"version\":3,\"peers\":[{\"name\":"
                               "\"actor.0\",\"lag\":1},{\"name\":\"actor.10\",\"lag\":20}],"
                               "\"sub\":{\"x\":0.5},\"none\":null}",
                               0, NULL);
    assert_int_equal(json_text(value, &text), STATUS_OK);
    assert_string_equal(buffer_string(&text), "run      a?[2J\n"
                                              "version  3\n"
                                              "peers    \n"
                                              "  name      lag  \n"
                                              "  actor.0   1    \n"
                                              "  actor.10  20   \n"
                                              "sub      \n"
                                              "  x  0.5\n"
                                              "none     -\n");
    json_decref(value);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_curve_line_shows_least_to_largest),
        CASE(test_curve_flat_or_not_finite_stays_in_the_middle),
        CASE(test_curve_repeated_step_replaces_what_followed),
        CASE(test_curve_long_run_is_halved_and_stays_whole),
        CASE(test_curve_chart_is_as_drawn),
        CASE(test_curve_metrics_tail_waits_for_whole_lines),
        CASE(test_curve_step_line_prints_what_is_there),
        CASE(test_curve_waiting_line_says_what_the_store_knows),
        CASE(test_curve_json_text_aligns_and_disarms),
        CASE(test_curve_json_text_disarms_names_of_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
