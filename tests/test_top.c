/* links: ops */
/* weir top: no line of the page is wider than the screen and no page higher, whatever the size; what matters is there at
 * 80x24; hostile text stays text; keys as terminals send them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ops/terminal.h"
#include "ops/top_page.h"

static struct top_view view;
static struct buffer text;

static json_t *json_of(const char *words)
{
    json_t *value = json_loads(words, 0, NULL);
    assert_non_null(value);
    return value;
}

/* A run with `actors` actors of which number `sick` is stopped. */
static int fill(unsigned actors, unsigned sick)
{
    view = (struct top_view){.up_s = 3700, .attempt = NAN, .eta_s = NAN};
    snprintf(view.run, sizeof view.run, "countdown-20260102-030405");
    snprintf(view.state, sizeof view.state, "running");
    snprintf(view.because, sizeof view.because,
             "the run waits for actor.1 because actor.1 (pid 77) is stopped (state T) since 0.4 s; "
             "it is killed and started again 10 s after it stopped (run.stopped_s)");
    for (int step = 1; step <= 300; step++) {
        char line[400];
        snprintf(line, sizeof line,
                 "{\"step\":%d,\"wall\":%d,\"reward/mean\":%f,\"len/mean\":%d,\"entropy/mean\":0.5,"
                 "\"cispo/clip_frac\":0.001,\"time/step\":2,\"learner/wait_s\":1,\"time/train\":1,"
                 "\"perf/tok_s\":12345,\"stale/mean\":1.5,\"stale/max\":3}",
                 step, 1000 + 2 * step, sin(step / 30.0), 100 + step);
        json_t *object = json_of(line);
        top_view_metrics(&view, object);
        json_decref(object);
    }
    json_t *table = json_pack("{s:i,s:[]}", "attempt", 2, "processes");
    json_t *status = json_pack("{s:i,s:i,s:[],s:{s:i,s:i}}", "version", 300, "steps", 1000, "peers",
                               "counters", "groups_open", 7, "groups_eligible", 3);
    json_t *rows = json_object_get(table, "processes"), *peers = json_object_get(status, "peers");
    json_array_append_new(rows, json_pack("{s:s,s:i,s:s,s:i}", "name", "learner.0", "pid", 11,
                                          "state", "running", "restarts", 0));
    for (unsigned i = 0; i < actors; i++) {
        char name[32];
        snprintf(name, sizeof name, "actor.%u", i);
        json_array_append_new(rows,
                              json_pack("{s:s,s:i,s:s,s:i}", "name", name, "pid", 100 + (int)i,
                                        "state", i == sick ? "stopped" : "running", "restarts", 1));
        json_array_append_new(peers,
                              json_pack("{s:s,s:i,s:b,s:i,s:i,s:i,s:i,s:{s:f,s:s}}", "role",
                                        "actor", "index", (int)i, "connected", 1, "version", 299,
                                        "up_ms", 5000, "leases", 3, "slots", 128, "stats",
                                        "actor/tokens_per_s", 100.0 + i, "host", "node"));
    }
    top_view_processes(&view, status, table);
    json_decref(table);
    json_decref(status);
    return top_view_pace(&view) > 0 ? 0 : -1;
}

static int begin(void **state)
{
    (void)state;
    buffer_init(&text, 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    top_view_free(&view);
    buffer_free(&text);
    return 0;
}

/* Columns of a line: escape sequences take none, a character of several bytes one. */
static unsigned columns_of(const char *line, size_t size)
{
    unsigned columns = 0;
    for (size_t i = 0; i < size; i++) {
        if (line[i] == '\033') {
            while (i < size && line[i] != 'm')
                i++;
            continue;
        }
        columns += ((unsigned char)line[i] & 0xc0) != 0x80;
    }
    return columns;
}

/* Renders; no line wider, not more lines than the screen has. */
static const char *page(unsigned columns, unsigned rows, size_t scroll, size_t *scroll_max)
{
    struct top_style style = {.columns = columns,
                              .rows = rows,
                              .colour = true,
                              .unicode = true,
                              .keys = true,
                              .scroll = scroll};
    unsigned lines = 1;
    buffer_clear(&text);
    assert_int_equal(top_page(&view, &style, scroll_max, &text), STATUS_OK);
    const char *at = buffer_string(&text);
    for (;; lines++) {
        size_t size = strcspn(at, "\n");
        if (columns_of(at, size) > columns)
            print_message("%ux%u, line %u: %.*s\n", columns, rows, lines, (int)size, at);
        assert_true(columns_of(at, size) <= columns);
        if (at[size] == 0)
            break;
        at += size + 1;
    }
    if (rows >= 16)
        assert_int_equal(lines, rows);
    return buffer_string(&text);
}

static void test_top_page_fits_every_screen(void **state)
{
    (void)state;
    static const unsigned actors[] = {1, 3, 60};
    size_t most;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(fill(actors[i], 1), 0);
        for (unsigned columns = 20; columns <= 260; columns += 20)
            for (unsigned rows = 5; rows <= 70; rows += 13)
                page(columns, rows, 0, &most);
        page(80, 24, 0, &most);
        page(200, 50, 0, &most);
        top_view_free(&view);
    }
}

static void test_top_page_shows_what_matters_at_80x24(void **state)
{
    (void)state;
    size_t most;
    assert_int_equal(fill(60, 57), 0);
    json_t *events = json_of("{\"events\":[{\"kind\":\"step\",\"text\":\"no\"},"
                             "{\"time_ms\":1,\"kind\":\"alarm\",\"text\":\"entropy collapses\"}]}");
    top_view_alarms(&view, events);
    json_decref(events);
    const char *shown = page(80, 24, 0, &most);
    static const char *const wanted[] = {"countdown-20260102-030405",
                                         "running",
                                         "step 300/1000 (30%)",
                                         "23 min left",
                                         "waits for actor.1",
                                         "reward",
                                         "entropy collapses",
                                         "entropy",
                                         "clip",
                                         "tok/s",
                                         "7 open 3 ready",
                                         "actor.57",
                                         "stopped",
                                         "actors min",
                                         "actors max",
                                         "q quit",
                                         "3/128",
                                         "299"};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        if (strstr(shown, wanted[i]) == NULL)
            print_message("\"%s\" is not in\n%s\n", wanted[i], shown);
        assert_non_null(strstr(shown, wanted[i]));
    }
}

static void test_top_page_scrolls_to_the_last_process_and_no_further(void **state)
{
    (void)state;
    size_t most = 0, again = 0;
    assert_int_equal(fill(60, 1000), 0);
    assert_null(strstr(page(80, 24, 0, &most), "actor.59"));
    assert_true(most > 0 && most < 61);
    assert_non_null(strstr(page(80, 24, most, &again), "actor.59"));
    assert_int_equal(again, most);
    assert_non_null(strstr(page(80, 24, 100000, &again), "actor.59"));
    assert_non_null(strstr(page(80, 24, 1, &again), "actor.0 "));
}

static void test_top_view_hostile_text_stays_on_its_line(void **state)
{
    (void)state;
    size_t most;
    view = (struct top_view){.up_s = NAN};
    json_t *events = json_of("{\"events\":[{\"kind\":\"alarm\",\"text\":"
                             "\"a\\u001b[2Jb\\n\\u4e2d\\u4e2dc\\u0007\"}]}");
    json_t *status = json_of("{\"peers\":[{\"role\":\"\\u001b[31mx\",\"index\":1,\"stats\":"
                             "{\"host\":\"\\u001b]0;x\\u0007\"}},{},7]}");
    top_view_alarms(&view, events);
    top_view_processes(&view, status, NULL);
    assert_string_equal(view.alarms[0].text, "a?[2Jb ??c?");
    const char *shown = page(200, 30, 0, &most);
    assert_null(strstr(shown, "\033[2J"));
    assert_null(strstr(shown, "\033[31m"));
    assert_null(strstr(shown, "\033]"));
    json_decref(events);
    json_decref(status);
}

static void test_top_view_empty_run_is_a_page(void **state)
{
    (void)state;
    size_t most;
    view = (struct top_view){.up_s = NAN, .attempt = NAN, .eta_s = NAN};
    assert_non_null(strstr(page(80, 24, 0, &most), "step 0"));
    assert_true(top_view_pace(&view) <= 0);
    assert_int_equal(top_line(&view, &text), STATUS_OK);
    json_t *json = top_view_json(&view);
    assert_true(json_is_null(json_object_get(json, "eta_s")));
    json_decref(json);
}

static void test_top_keys_are_as_terminals_send_them(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t used;
        enum terminal_key key;
    } cases[] = {
        {"q", 1, KEY_QUIT},          {"\003", 1, KEY_QUIT},       {"\033[A", 3, KEY_UP},
        {"\033OB", 3, KEY_DOWN},     {"\033[5~", 4, KEY_PAGE_UP}, {"\033[6~q", 4, KEY_PAGE_DOWN},
        {"\033[C", 3, KEY_RIGHT},    {"\033[D", 3, KEY_LEFT},     {"\033[H", 3, KEY_HOME},
        {"\033[4~", 4, KEY_END},     {"\033", 0, KEY_NONE},       {"\033[", 0, KEY_NONE},
        {"\033[1;5A", 6, KEY_OTHER}, {"x", 1, KEY_OTHER},         {"", 0, KEY_NONE},
        {"\033x", 1, KEY_OTHER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum terminal_key key;
        size_t used =
            terminal_parse_key((const unsigned char *)cases[i].bytes, strlen(cases[i].bytes), &key);
        if (used != cases[i].used || key != cases[i].key)
            print_message("case %zu: %zu bytes, key %d\n", i, used, (int)key);
        assert_int_equal(used, cases[i].used);
        assert_int_equal(key, cases[i].key);
    }
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_top_page_fits_every_screen),
        CASE(test_top_page_shows_what_matters_at_80x24),
        CASE(test_top_page_scrolls_to_the_last_process_and_no_further),
        CASE(test_top_view_hostile_text_stays_on_its_line),
        CASE(test_top_view_empty_run_is_a_page),
        CASE(test_top_keys_are_as_terminals_send_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
