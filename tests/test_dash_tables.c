/* links: dash */
/* label: unit */
/* timeout: 20 */
/* What the dashboard keeps in memory, and its checks of texts that anybody may send. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "core/rng.h"
#include "ops/dash/access.h"
#include "ops/dash/board.h"
#include "ops/dash/config_view.h"
#include "ops/dash/number.h"

static uint64_t seed(void)
{
    const char *text = getenv("TEST_SEED");
    uint64_t value = text != NULL ? strtoull(text, NULL, 10) : 8;
    print_message("TEST_SEED=%llu\n", (unsigned long long)value);
    return value;
}

/* ---- numbers ---- */

static void test_number_any_value_reads_back(void **state)
{
    struct rng rng;
    (void)state;
    rng_init(&rng, seed(), 1, RNG_TEST);
    for (int i = 0; i < 20000; i++) {
        char text[NUMBER_TEXT_MAX + 1];
        double value = (rng_uniform(&rng) - 0.5) * pow(10, (double)rng_below(&rng, 40) - 20);
        text[number_text(value, text)] = 0;
        double back = strtod(text, NULL);
        if (!(fabs(back - value) <= 1e-8 * fabs(value)))
            fail_msg("%.17g is written %s", value, text);
    }
}

static void test_number_edges_are_exact(void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},
                 {-0.0, "0"},
                 {1, "1"},
                 {-17, "-17"},
                 {0.5, "0.5"},
                 {1e15, "1000000000000000"},
                 {NAN, "null"},
                 {INFINITY, "null"},
                 {0.1, "0.1"},
                 {9.9999999999, "10"},
                 {0.000125, "0.000125"},
                 {-2.25, "-2.25"},
                 {123456789.5, "123456790"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[NUMBER_TEXT_MAX + 1];
        text[number_text(cases[i].value, text)] = 0;
        assert_string_equal(text, cases[i].text);
    }
    char text[NUMBER_TEXT_MAX + 1];
    text[number_seconds(1795462588.168, text)] = 0;
    assert_string_equal(text, "1795462588.168");
}

/* ---- metrics ---- */

static void add_step(struct metric_table *table, double step, const char *name, double value)
{
    size_t row;
    bool fresh;
    assert_int_equal(metric_table_row(table, step, step * 2, &row, &fresh), STATUS_OK);
    assert_int_equal(metric_table_set(table, row, name, value), STATUS_OK);
}

static char *ask(const struct metric_table *table, const struct metric_query *query,
                 struct buffer *json)
{
    buffer_clear(json);
    assert_int_equal(metric_table_json(table, query, json), STATUS_OK);
    return (char *)(uintptr_t)buffer_string(json);
}

static void test_metric_table_step_made_again_replaces_its_row(void **state)
{
    struct metric_table table = {0};
    struct buffer json;
    (void)state;
    buffer_init(&json, 0);
    add_step(&table, 1, "a", 10);
    add_step(&table, 3, "a", 30);
    add_step(&table, 2, "b", 20);
    add_step(&table, 3, "a", 31);
    struct metric_query query = {.names = "a,b,none", .to = INFINITY};
    assert_string_equal(ask(&table, &query, &json),
                        "{\"step\":[1,2,3],\"wall\":[2,4,6],\"series\":{\"a\":[10,null,31],"
                        "\"b\":[null,20,null],\"none\":[null,null,null]},\"total\":3}");
    query = (struct metric_query){.from = 2, .to = 2};
    assert_string_equal(
        ask(&table, &query, &json),
        "{\"step\":[2],\"wall\":[4],\"series\":{},\"names\":[\"a\",\"b\"],\"total\":3}");
    query = (struct metric_query){.from = 4, .to = 2};
    assert_non_null(strstr(ask(&table, &query, &json), "\"step\":[]"));
    metric_table_free(&table);
    buffer_free(&json);
}

static void test_metric_table_repeated_names_stand_once(void **state)
{
    struct metric_table table = {0};
    struct buffer json, names;
    (void)state;
    buffer_init(&json, 0);
    buffer_init(&names, 0);
    for (int i = 1; i <= 4000; i++)
        add_step(&table, i, "a", i);
    struct metric_query query = {.names = "a,a,none,,a,none", .from = 2, .to = 2};
    assert_string_equal(ask(&table, &query, &json),
                        "{\"step\":[2],\"wall\":[4],\"series\":{\"a\":[2],\"none\":[null]},"
                        "\"total\":4000}");
    for (int i = 0; i < METRIC_COLUMNS_MAX; i++)
        assert_int_equal(buffer_printf(&names, "n%d,", i), STATUS_OK);
    query = (struct metric_query){.names = buffer_string(&names), .to = INFINITY};
    buffer_clear(&json); /* 8.2 million numbers */
    assert_int_equal(metric_table_json(&table, &query, &json), STATUS_LIMIT);
    query.points = 100;
    assert_int_equal(metric_table_json(&table, &query, &json), STATUS_OK);
    metric_table_free(&table);
    buffer_free(&json);
    buffer_free(&names);
}

static void take_line(struct board *board, double step, double wall)
{
    json_t *line = json_pack("{s:f,s:f,s:s,s:f}", "step", step, "wall", wall, "digest", "00ff",
                             "reward/mean", 0.5);
    board_lock(board);
    board_take_metrics(board, line, true);
    board_unlock(board);
    json_decref(line);
}

static void test_board_steps_of_a_branch_that_is_gone_go(void **state)
{
    static struct board board;
    size_t row;
    (void)state;
    assert_int_equal(board_open(&board), STATUS_OK);
    for (int i = 1; i <= 9; i++)
        take_line(&board, i, 1000 + i);
    take_line(&board, 4, 1004); /* the file after Redis: nothing new */
    assert_int_equal(board.metrics.rows, 9);
    take_line(&board, 4, 2000);
    assert_int_equal(board.metrics.rows, 4);
    assert_true(metric_table_find(&board.metrics, 4, &row) && board.metrics.wall[row] == 2000);
    static char text[65536];
    bool lost;
    uint64_t at = 0;
    text[broadcast_read(&board.broadcast, &at, text, sizeof text - 1, &lost)] = 0;
    assert_non_null(strstr(text, "event: reset\ndata: {}\n\n"));
    board_close(&board);
}

static void take_text(struct board *board, const char *text, bool from_file)
{
    json_t *line = json_loads(text, 0, NULL);
    assert_non_null(line);
    board_lock(board);
    board_take_metrics(board, line, from_file);
    board_unlock(board);
    json_decref(line);
}

/* Rows of evaluations that end after the last step: as they are sent, and as they stand in eval/table.jsonl. */
static void test_board_late_figures_join_their_step(void **state)
{
    static struct board board;
    static char text[65536];
    struct buffer json;
    bool lost;
    (void)state;
    buffer_init(&json, 0);
    assert_int_equal(board_open(&board), STATUS_OK);
    for (int i = 1; i <= 9; i++)
        take_line(&board, i, 1000 + i);
    uint64_t at = board.broadcast.head;
    take_text(&board, "{\"step\":4,\"eval/a/reward\":0.25}", false);
    take_text(&board,
              "{\"step\":9,\"branch\":0,\"set\":\"a\",\"digest\":\"00ff\",\"wall\":5000,"
              "\"eval/a/reward\":0.75,\"n\":3}",
              false);
    take_text(&board,
              "{\"step\":5,\"branch\":0,\"set\":\"a\",\"digest\":\"00ff\",\"wall\":6000,"
              "\"eval/a/reward\":0.5}",
              false);
    take_text(&board, "{\"step\":77,\"eval/a/reward\":1}", false); /* of no step that is here */
    assert_int_equal(board.metrics.rows, 9);
    struct metric_query query = {.names = "eval/a/reward,n", .to = INFINITY};
    assert_int_equal(metric_table_json(&board.metrics, &query, &json), STATUS_OK);
    assert_non_null(strstr(buffer_string(&json),
                           "{\"eval/a/reward\":[null,null,null,0.25,0.5,null,null,null,0.75],"
                           "\"n\":[null,null,null,null,null,null,null,null,null]}"));
    assert_true(board.metrics.wall[4] == 1005 && board.metrics.wall[8] == 1009);
    assert_true(json_number_value(json_object_get(board.latest, "reward/mean")) == 0.5);
    assert_true(json_number_value(json_object_get(board.latest, "eval/a/reward")) == 0.75);
    assert_null(json_object_get(board.latest, "set"));
    text[broadcast_read(&board.broadcast, &at, text, sizeof text - 1, &lost)] = 0;
    assert_non_null(strstr(text, "{\"step\":4,\"wall\":1004,\"series\":{\"eval/a/reward\":0.25}}"));
    assert_null(strstr(text, "event: reset"));
    board_close(&board);
    buffer_free(&json);
}

static void take_event(struct board *board, double time_ms, const char *kind, const char *text)
{
    json_t *event = json_pack("{s:f,s:s,s:s}", "time_ms", time_ms, "kind", kind, "text", text);
    board_take_event(board, event);
    json_decref(event);
}

static const char *event_at(const struct board *board, size_t i)
{
    return i < board->events.count ? text_ring_at(&board->events, i)->text : "";
}

/* From files, the store and Redis, in any order: by time, and each alarm once. */
static void test_board_alarms_of_files_are_events_once(void **state)
{
    static struct board board;
    json_t *step = json_pack("{s:i,s:f,s:s}", "step", 7, "wall", 1000.25, "alarm", "low entropy");
    json_t *run = json_pack("{s:I,s:s,s:b,s:s}", "time_ms", (json_int_t)900000, "name", "disk",
                            "over", 1, "text", "disk");
    (void)state;
    assert_int_equal(board_open(&board), STATUS_OK);
    take_event(&board, 1000900, "alarm", "low entropy"); /* the store was told */
    for (int again = 0; again < 2; again++) { /* a file is read anew when it is replaced */
        board_take_step_alarm(&board, step);
        board_take_run_alarm(&board, run);
    }
    take_event(&board, 900003, "alarm over", "disk");
    json_t *death = json_pack("{s:i,s:s,s:s}", "time_ms", 1000200, "kind", "death", "text",
                              "actor.0: killed by signal 9 (Killed)");
    board_take_run_alarm(&board, death); /* of alarms.jsonl */
    board_take_event(&board, death);     /* of Redis */
    json_decref(death);
    assert_int_equal(board.events.count, 3);
    assert_non_null(strstr(event_at(&board, 0), "\"alarm over\",\"text\":\"disk\""));
    assert_non_null(strstr(event_at(&board, 1), "\"death\""));
    assert_non_null(strstr(event_at(&board, 2), "low entropy"));
    take_event(&board, 1200000, "alarm", "low entropy"); /* another one */
    assert_int_equal(board.events.count, 4);
    json_object_del(step, "alarm");
    board_take_step_alarm(&board, step);
    assert_int_equal(board.events.count, 4);
    json_decref(step);
    json_decref(run);
    board_close(&board);
}

static void test_board_versions_push_no_death_out(void **state)
{
    static struct board board;
    (void)state;
    assert_int_equal(board_open(&board), STATUS_OK);
    take_event(&board, 1, "death", "learner.0: exit 70");
    take_event(&board, 2, "branch", "version 3 of branch 1");
    for (int i = 0; i < 5000; i++) {
        char text[64];
        snprintf(text, sizeof text, "version %d of branch 1", i);
        take_event(&board, 10 + i, "version", text);
    }
    assert_int_equal(board.events.count, 2);
    assert_non_null(strstr(event_at(&board, 0), "learner.0: exit 70"));
    board_close(&board);
}

static void test_metric_table_decimated_keeps_every_extreme(void **state)
{
    enum { STEPS = 5000, POINTS = 100, SERIES = 3 };
    static double values[SERIES][STEPS];
    struct metric_table table = {0};
    struct buffer json;
    struct rng rng;
    (void)state;
    rng_init(&rng, seed(), 2, RNG_TEST);
    buffer_init(&json, 0);
    static const char *const names[SERIES] = {"a", "b", "c"};
    for (int i = 0; i < STEPS; i++)
        for (int k = 0; k < SERIES; k++) {
            values[k][i] = floor(rng_normal(&rng) * 1e6);
            add_step(&table, i, names[k], values[k][i]);
        }
    struct metric_query query = {.names = "a,b,c", .to = INFINITY, .points = POINTS};
    json_t *answer = json_loads(ask(&table, &query, &json), 0, NULL);
    const json_t *step = json_object_get(answer, "step");
    assert_true(json_array_size(step) <= POINTS * SERIES + 2);
    double last = -1;
    for (size_t i = 0; i < json_array_size(step); i++) {
        double now = json_number_value(json_array_get(step, i));
        assert_true(now > last);
        last = now;
    }
    assert_true(json_number_value(json_array_get(step, 0)) == 0 && last == STEPS - 1);
    for (int k = 0; k < SERIES; k++)
        for (int bin = 0; bin < POINTS / 2; bin++) {
            double least = INFINITY, greatest = -INFINITY;
            bool has_least = false, has_greatest = false;
            int begin = STEPS * bin / (POINTS / 2), end = STEPS * (bin + 1) / (POINTS / 2);
            for (int i = begin; i < end; i++) {
                least = fmin(least, values[k][i]);
                greatest = fmax(greatest, values[k][i]);
            }
            const json_t *series = json_object_get(json_object_get(answer, "series"), names[k]);
            for (size_t i = 0; i < json_array_size(step); i++) {
                double at = json_number_value(json_array_get(step, i));
                double value = json_number_value(json_array_get(series, i));
                assert_true(value == values[k][(int)at]);
                has_least |= at >= begin && at < end && value == least;
                has_greatest |= at >= begin && at < end && value == greatest;
            }
            assert_true(has_least && has_greatest);
        }
    json_decref(answer);
    metric_table_free(&table);
    buffer_free(&json);
}

/* ---- messages ---- */

static void test_broadcast_every_reader_sees_whole_messages(void **state)
{
    static struct broadcast broadcast;
    char out[512], text[2048];
    uint64_t fast = 0, slow = 0;
    bool lost = false;
    (void)state;
    assert_int_equal(broadcast_open(&broadcast, 4096, 7), STATUS_OK);
    for (int i = 0; i < 200; i++) {
        char data[32];
        int size = snprintf(data, sizeof data, "{\"n\":%d}", i);
        broadcast.step = (uint64_t)i;
        assert_int_equal(broadcast_add(&broadcast, "metrics", data, (size_t)size), STATUS_OK);
        size_t got = 0, part;
        while ((part = broadcast_read(&broadcast, &fast, out, 17, &lost)) > 0) {
            memcpy(text + got, out, part);
            got += part;
        }
        text[got] = 0;
        char wanted[200];
        snprintf(wanted, sizeof wanted,
                 "id: 0000000000000007-%016llx-%016x\nevent: metrics\ndata: {\"n\":%d}\n\n",
                 (unsigned long long)fast, (unsigned)i, i);
        assert_string_equal(text, wanted);
        assert_false(lost);
    }
    assert_int_equal(broadcast_read(&broadcast, &slow, out, sizeof out, &lost), 0);
    assert_true(lost && slow == broadcast.head);
    broadcast_close(&broadcast);
}

static void test_broadcast_large_message_makes_room(void **state)
{
    struct broadcast broadcast;
    static char data[3000], out[8000];
    bool lost;
    uint64_t at = 0;
    (void)state;
    assert_int_equal(broadcast_open(&broadcast, 4096, 7), STATUS_OK);
    assert_int_equal(broadcast_add(&broadcast, "a", "{}", 2), STATUS_OK);
    memset(data, 'x', sizeof data);
    assert_int_equal(broadcast_add(&broadcast, "b", data, sizeof data), STATUS_OK);
    assert_int_equal(broadcast_read(&broadcast, &at, out, sizeof out, &lost), 0);
    assert_true(lost); /* what came before went */
    assert_int_equal(broadcast_add(&broadcast, "c", data, sizeof data), STATUS_OK);
    size_t size = broadcast_read(&broadcast, &at, out, sizeof out, &lost);
    assert_true(!lost && size > sizeof data && memcmp(out, "id: ", 4) == 0);
    assert_int_equal(broadcast_add(&broadcast, "d", data, BROADCAST_BYTES_MAX / 4), STATUS_LIMIT);
    broadcast_close(&broadcast);
}

static void test_broadcast_resume_takes_ends_of_messages_only(void **state)
{
    static struct broadcast broadcast;
    char id[64];
    (void)state;
    assert_int_equal(broadcast_open(&broadcast, 4096, 7), STATUS_OK);
    for (int i = 0; i < 100; i++)
        assert_int_equal(broadcast_add(&broadcast, "e", "{}", 2), STATUS_OK);
    uint64_t end = broadcast.ends[90 % BROADCAST_ENDS];
    snprintf(id, sizeof id, "%016x-%016llx-%016x", 7U, (unsigned long long)end, 90U);
    struct broadcast_resume said = broadcast_resume(&broadcast, id);
    assert_true(said.known && said.position == end && said.has_step && said.step == 90);
    snprintf(id, sizeof id, "%016x-%016llx-%016x", 7U, (unsigned long long)end - 1, 90U);
    assert_false(broadcast_resume(&broadcast, id).known);
    snprintf(id, sizeof id, "%016x-%016llx-%016x", 8U, (unsigned long long)end, 90U);
    said = broadcast_resume(&broadcast, id);
    assert_true(!said.known && said.has_step && said.position == broadcast.head);
    static const char *const bad[] = {"", "7", "ffffffffffffffff", "g000000000000007-0-0",
                                      "0000000000000007-0000000000000000-00000000000000000"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(broadcast_resume(&broadcast, bad[i]).has_step);
    assert_false(broadcast_resume(&broadcast, NULL).known);
    broadcast_close(&broadcast);
}

/* ---- rollouts ---- */

static void add_rollout(struct rollout_list *list, int group, int sample, double reward,
                        const char *text)
{
    const struct rollout_row *added;
    json_t *rollout =
        json_pack("{s:i,s:i,s:i,s:i,s:f,s:s,s:s,s:s,s:s}", "group", group, "prompt_id", 100 + group,
                  "sample", sample, "attempt", 1, "reward", reward, "finish", "eos", "source",
                  group % 2 ? "odd" : "even", "text", text, "detail", "{\"a\":1}");
    assert_int_equal(rollout_list_add(list, rollout, &added), STATUS_OK);
    assert_non_null(added);
    assert_int_equal(rollout_list_add(list, rollout, &added), STATUS_OK);
    assert_null(added); /* it is there */
    json_decref(rollout);
}

static size_t count_rollouts(const struct rollout_list *list, const struct rollout_query *query,
                             char *first)
{
    struct buffer json;
    buffer_init(&json, 0);
    assert_int_equal(rollout_list_json(list, query, &json), STATUS_OK);
    json_t *answer = json_loads(buffer_string(&json), 0, NULL);
    assert_non_null(answer);
    const json_t *rows = json_object_get(answer, "rollouts");
    size_t count = json_array_size(rows);
    const char *id = json_string_value(json_object_get(json_array_get(rows, 0), "id"));
    snprintf(first, 64, "%s", id != NULL ? id : "");
    json_decref(answer);
    buffer_free(&json);
    return count;
}

static void test_rollout_list_filters_and_pages(void **state)
{
    struct rollout_list list;
    char first[64];
    (void)state;
    assert_int_equal(rollout_list_open(&list), STATUS_OK);
    for (int i = 0; i < 40; i++)
        add_rollout(&list, i / 4, i % 4, i, "a \n\t text with \"quotes\" and \xc3\xa4");
    struct rollout_query all = {.most = 10, .reward_min = NAN, .reward_max = NAN};
    assert_int_equal(count_rollouts(&list, &all, first), 10);
    assert_string_equal(first, "9.3.1");
    struct rollout_query page = all;
    page.before = "9.3.1";
    assert_int_equal(count_rollouts(&list, &page, first), 10);
    assert_string_equal(first, "9.2.1");
    page.before = "no such";
    assert_int_equal(count_rollouts(&list, &page, first), 0);
    struct rollout_query some = all;
    some.most = 100;
    some.source = "odd";
    some.reward_min = 20;
    some.reward_max = 30;
    assert_int_equal(count_rollouts(&list, &some, first),
                     7); /* groups 5 and 7: rewards 20..23, 28..30 of 31 */
    some = all;
    some.most = 100;
    some.text = "WITH \"Quotes";
    assert_int_equal(count_rollouts(&list, &some, first), 40);
    some.text = "7"; /* group 7, not prompt 107 */
    assert_int_equal(count_rollouts(&list, &some, first), 4);
    assert_string_equal(first, "7.3.1");
    some.text = "103";
    assert_int_equal(count_rollouts(&list, &some, first), 4);
    assert_string_equal(first, "3.3.1");
    some.text = "nowhere";
    assert_int_equal(count_rollouts(&list, &some, first), 0);
    rollout_list_close(&list);
}

static void test_rollout_list_long_texts_stay_within_bytes(void **state)
{
    enum { TEXT = 200000 };
    struct rollout_list list;
    char *text = memory_alloc(TEXT + 1);
    (void)state;
    for (int i = 0; i < TEXT; i += 2)
        memcpy(text + i, "\xc3\xa4", 2);
    assert_int_equal(rollout_list_open(&list), STATUS_OK);
    for (int i = 0; i < 100; i++)
        add_rollout(&list, i, 0, 0, text);
    assert_true(list.bytes <= ROLLOUT_LIST_BYTES && list.count > 20);
    const struct rollout_row *row = rollout_list_find(&list, "99.0.1");
    assert_non_null(row);
    json_t *summary =
        json_loads(row->summary, 0, NULL); /* cut between characters, or it would not parse */
    assert_non_null(summary);
    assert_true(strlen(json_string_value(json_object_get(summary, "excerpt"))) <= ROLLOUT_EXCERPT);
    json_decref(summary);
    json_t *whole = json_loads(row->whole, 0, NULL);
    assert_true(json_is_object(json_object_get(whole, "detail")));
    json_decref(whole);
    rollout_list_close(&list);
    memory_free(text);
}

/* ---- who may ask ---- */

static void test_access_host_only_our_names(void **state)
{
    struct access_rules here = {
        .host = "127.0.0.1", .name = "node7", .port = 8420, .loopback = true};
    struct access_rules all = {.host = "0.0.0.0", .name = "node7", .port = 8420};
    static const char *const good[] = {"localhost", "localhost:8420", "LOCALHOST:9",
                                       "127.0.0.1", "127.3.2.1:1",    "[::1]:8420"};
    static const char *const bad[] = {"evil.example",
                                      "localhost.evil.example",
                                      "evil.example:8420",
                                      "127.0.0.1.evil.example",
                                      "",
                                      ":8420",
                                      "[::1",
                                      "[]",
                                      "localhost:",
                                      "localhost:x",
                                      "127.0.0.1@evil.example",
                                      "localhost:1:2",
                                      "0x7f.1"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(access_host(&here, good[i]) || strcmp(good[i], "localhost:") == 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (strcmp(bad[i], "localhost:") != 0 && access_host(&here, bad[i]))
            fail_msg("Host \"%s\" is let in", bad[i]);
    assert_false(access_host(&here, NULL));
    assert_false(access_host(&here, "[2001:db8::7]")); /* bound to this machine alone */
    assert_true(access_host(&all, "[2001:db8::7]:8420"));
    assert_true(access_host(&all, "node7:8420"));
    assert_false(access_host(&all, "evil.example"));
}

static void test_access_origin_is_the_page_itself(void **state)
{
    (void)state;
    assert_true(access_origin(NULL, "localhost:1"));
    assert_true(access_origin("http://localhost:1", "localhost:1"));
    assert_true(access_origin("https://dash.example", "dash.example"));
    assert_false(access_origin("http://localhost:2", "localhost:1"));
    assert_false(access_origin("null", "localhost:1"));
    assert_false(access_origin("http://evil.example", "localhost:1"));
    assert_false(access_origin("http://localhost:1", NULL));
}

static void test_access_token_whole_or_not(void **state)
{
    struct access_rules rules = {.port = 8420, .token = "abcdefghijklmnop"}, none = {.port = 8420};
    (void)state;
    assert_true(access_bearer(&rules, "Bearer abcdefghijklmnop"));
    assert_true(access_bearer(&rules, "bearer abcdefghijklmnop"));
    assert_false(access_bearer(&rules, "Bearer abcdefghijklmno"));
    assert_false(access_bearer(&rules, "Bearer abcdefghijklmnopq"));
    assert_false(access_bearer(&rules, "Bearer "));
    assert_false(access_bearer(&rules, "Basic abcdefghijklmnop"));
    assert_false(access_bearer(&none, "Bearer "));
    assert_true(access_cookie(&rules, "a=b; weir_dash_8420=abcdefghijklmnop"));
    assert_true(access_cookie(&rules, "weir_dash_8420=abcdefghijklmnop;x=y"));
    assert_false(access_cookie(&rules, "weir_dash_8421=abcdefghijklmnop"));
    assert_false(access_cookie(&rules, "xweir_dash_8420=abcdefghijklmnop"));
    assert_false(access_cookie(&rules, "weir_dash_8420=abc"));
    assert_false(access_cookie(&none, "weir_dash_8420="));
}

static void test_access_names_stay_in_their_folder(void **state)
{
    static const char *const bad[] = {"",     ".",       "..",     "../x", "a/../b", "/etc/passwd",
                                      "a//b", ".hidden", "a/.git", "a\\b", "a b",    "a%2e",
                                      "a\nb", "c:x"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(access_file(bad[i]));
        assert_false(access_process(bad[i]));
    }
    assert_true(access_file("app.js") && access_file("charts/line.js"));
    assert_true(access_process("actor.3") && access_process("redis"));
    assert_false(access_process("a..b") || access_process("a/b") || access_process(NULL));
}

static void test_config_view_secrets_are_hidden(void **state)
{
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {"plain", "plain"},
        {"http://user:hunter2@host/x", "http://***@host/x"},
        {"{\"url\":\"u\",\"api_key\":\"hunter2\",\"key_env\":\"NAME\"}",
         "{\"url\":\"u\",\"api_key\":\"***\",\"key_env\":\"NAME\"}"},
        {"[{\"deep\":{\"Authorization\":\"hunter2\",\"max_tokens\":5}}]",
         "[{\"deep\":{\"Authorization\":\"***\",\"max_tokens\":5}}]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *shown = config_view_shown(cases[i].text);
        assert_string_equal(shown, cases[i].shown);
        memory_free(shown);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_number_any_value_reads_back),
        cmocka_unit_test(test_number_edges_are_exact),
        cmocka_unit_test(test_metric_table_step_made_again_replaces_its_row),
        cmocka_unit_test(test_metric_table_repeated_names_stand_once),
        cmocka_unit_test(test_board_steps_of_a_branch_that_is_gone_go),
        cmocka_unit_test(test_board_late_figures_join_their_step),
        cmocka_unit_test(test_board_alarms_of_files_are_events_once),
        cmocka_unit_test(test_board_versions_push_no_death_out),
        cmocka_unit_test(test_broadcast_large_message_makes_room),
        cmocka_unit_test(test_metric_table_decimated_keeps_every_extreme),
        cmocka_unit_test(test_broadcast_every_reader_sees_whole_messages),
        cmocka_unit_test(test_broadcast_resume_takes_ends_of_messages_only),
        cmocka_unit_test(test_rollout_list_filters_and_pages),
        cmocka_unit_test(test_rollout_list_long_texts_stay_within_bytes),
        cmocka_unit_test(test_access_host_only_our_names),
        cmocka_unit_test(test_access_origin_is_the_page_itself),
        cmocka_unit_test(test_access_token_whole_or_not),
        cmocka_unit_test(test_access_names_stay_in_their_folder),
        cmocka_unit_test(test_config_view_secrets_are_hidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
