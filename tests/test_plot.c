/* links: paper */
/* Plots of bench/paper: ticks, well-formed XML, text that must be escaped, values that must be left out. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <math.h>
#include <string.h>

#include "bench/paper/plot.h"

static void expect_ticks(double low, double high, bool logarithmic, const double *wanted,
                         uint32_t count)
{
    double ticks[PLOT_TICKS_MAX];
    assert_int_equal(plot_ticks(low, high, logarithmic, ticks), count);
    for (uint32_t i = 0; i < count; i++)
        assert_true(fabs(ticks[i] - wanted[i]) <= 1e-9 * fmax(fabs(wanted[i]), 1e-3 * high));
}

static void test_plot_linear_ticks_are_round(void **state)
{
    (void)state;
    expect_ticks(0, 1, false, (double[]){0, 0.2, 0.4, 0.6, 0.8, 1}, 6);
    expect_ticks(1, 30, false, (double[]){5, 10, 15, 20, 25, 30}, 6);
    expect_ticks(-0.3, 0.5, false, (double[]){-0.2, 0, 0.2, 0.4}, 4);
    expect_ticks(1e-7, 6e-7, false, (double[]){1e-7, 2e-7, 3e-7, 4e-7, 5e-7, 6e-7}, 6);
}

static void test_plot_log_ticks_are_decades(void **state)
{
    (void)state;
    expect_ticks(1, 1000, true, (double[]){1, 10, 100, 1000}, 4);
    expect_ticks(0.3, 6, true, (double[]){0.5, 1, 2, 5}, 4);
    expect_ticks(1e-20, 1, true, (double[]){1e-20, 1e-17, 1e-14, 1e-11, 1e-8, 1e-5, 1e-2}, 7);
    expect_ticks(3, 3.1, true, (double[]){3, 3.1}, 2); /* no round number between */
}

/* Every tag closed in order, every attribute quoted, entities whole. */
static void assert_well_formed(const char *text)
{
    char open[64][16];
    int depth = 0, tags = 0;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '&')
            assert_true(strncmp(c, "&lt;", 4) == 0 || strncmp(c, "&gt;", 4) == 0 ||
                        strncmp(c, "&amp;", 5) == 0);
        assert_true(*c != '>');
        if (*c != '<')
            continue;
        bool closing = c[1] == '/';
        const char *name = c + 1 + closing;
        size_t size = strcspn(name, " />");
        assert_true(size > 0 && size < sizeof open[0]);
        const char *end = name;
        for (bool quoted = false; quoted || *end != '>'; end++) {
            assert_true(*end != '\0' && (*end != '<' || quoted));
            quoted = *end == '"' ? !quoted : quoted;
        }
        if (closing) {
            assert_true(depth > 0 && strncmp(open[depth - 1], name, size) == 0 &&
                        open[depth - 1][size] == '\0');
            depth--;
        } else if (end[-1] != '/') {
            assert_true(depth < 64);
            memcpy(open[depth], name, size);
            open[depth++][size] = '\0';
        }
        tags++;
        c = end;
    }
    assert_int_equal(depth, 0);
    assert_true(tags > 10);
}

static void test_plot_all_kinds_well_formed(void **state)
{
    (void)state;
    static const double x[] = {1, 10, 100}, y[] = {0.1, NAN, 0.3}, low[] = {0.05, 0.1, 0.2},
                        high[] = {0.2, 0.3, 0.4}, zero[] = {0, 1e-3, 1};
    static const char *const names[] = {"a", "b", "c"};
    struct plot panels[3] = {
        {.title = "a < b & \"c\" > d",
         .x_label = "x",
         .y_label = "y",
         .mark = 0.25,
         .mark_name = "level"},
        {.title = "log", .x_label = "x", .y_label = "y", .x_log = true, .y_log = true},
        {.title = "bars", .x_label = "x", .y_label = "y", .x_names = names, .x_name_count = 3}};
    for (int p = 0; p < 3; p++) {
        panels[p].series_count = 2;
        panels[p].series[0] = (struct plot_series){
            .name = "one", .count = 3, .x = x, .y = y, .low = low, .high = high};
        panels[p].series[1] = (struct plot_series){.name = "two", .count = 3, .x = x, .y = zero};
    }
    panels[1].series[1].kind = PLOT_POINTS;
    panels[2].series[0].kind = panels[2].series[1].kind = PLOT_BARS;
    struct buffer svg;
    buffer_init(&svg, 0);
    assert_int_equal(plot_svg(panels, 3, 2, &svg), STATUS_OK);
    const char *text = buffer_string(&svg);
    assert_well_formed(text);
    assert_non_null(strstr(text, "a &lt; b &amp;"));
    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "inf"));
    assert_non_null(strstr(text, "viewBox=\"0 0 920 680\""));
    assert_int_equal(plot_svg(panels, 0, 2, &svg), STATUS_INVALID);
    buffer_free(&svg);
}

/* The middle value is missing: two points; 0 on a log axis: left out. */
static void test_plot_values_that_cannot_be_shown_are_left_out(void **state)
{
    (void)state;
    static const double x[] = {1, 2, 3}, y[] = {1, NAN, 2}, zero[] = {0, 1, 10};
    struct plot plot = {.title = "t", .x_label = "x", .y_label = "y", .series_count = 1};
    plot.series[0] = (struct plot_series){.count = 3, .x = x, .y = y};
    struct buffer svg;
    buffer_init(&svg, 0);
    assert_int_equal(plot_svg(&plot, 1, 1, &svg), STATUS_OK);
    const char *at = strstr(buffer_string(&svg), "<polyline");
    assert_non_null(at);
    int points = 0;
    for (const char *end = strchr(at, '>'); at < end; at++)
        points += *at == ',';
    assert_int_equal(points, 2);
    buffer_clear(&svg);
    plot.y_log = true;
    plot.series[0].y = zero;
    plot.series[0].kind = PLOT_POINTS;
    assert_int_equal(plot_svg(&plot, 1, 1, &svg), STATUS_OK);
    int circles = 0;
    for (at = buffer_string(&svg); (at = strstr(at, "<circle")) != NULL; at++)
        circles++;
    assert_int_equal(circles, 2);
    buffer_free(&svg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plot_linear_ticks_are_round),
        cmocka_unit_test(test_plot_log_ticks_are_decades),
        cmocka_unit_test(test_plot_all_kinds_well_formed),
        cmocka_unit_test(test_plot_values_that_cannot_be_shown_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
