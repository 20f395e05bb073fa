/* links: reward_judge */
/* verdicts, quoted text, blind majorities, switched places, Swiss rounds, calibration and the golden rows: all that
 * needs no judge. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/reward_shape.h"
#include "core/rng.h"
#include "reward/judge/calibrate.h"
#include "reward/judge/prompts.h"
#include "reward/judge/quote.h"
#include "reward/judge/rows.h"
#include "reward/judge/swiss.h"
#include "reward/judge/verdict.h"
#include "tests/slow.h"

enum { NONE = 99 };

static int read_as(enum verdict_mode mode, const char *text)
{
    int verdict = NONE;
    verdict_read(mode, text, strlen(text), &verdict);
    return verdict;
}

static void test_verdict_grade_last_readable_mark_counts(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int grade;
    } cases[] = {
        {"Grade: [[5]]", 5},
        {"[[1]] at first, then [[ 4 ]]", 4},
        {"[[3]]\n", 3},
        {"[[\t2\n]]", 2},
        {"[[\xc2\xa0"
         "2]]",
         2},
        {"[[[3]]]", 3},
        {"[[5]] out of [[6]]", 5},
        {"[RESULT] 4", 4},
        {"Feedback: fine [RESULT](3)", 3},
        {"[[5]] ... [RESULT] 2", 2},
        {"[RESULT] 2 ... [[5]]", 5},
        {"<think>[[1]] no [[2]]</think>fine [[4]]", 4},
        {"a</think>b [[2]]</think> [[3]]", 3},
        {"The <think> tag is missing. [[4]]", 4},
        {"", NONE},
        {"5", NONE},
        {"Grade: 5", NONE},
        {"[5]", NONE},
        {"[[5]", NONE},
        {"[ [5]]", NONE},
        {"[[0]]", NONE},
        {"[[6]]", NONE},
        {"[[-1]]", NONE},
        {"[[4.5]]", NONE},
        {"[[45]]", NONE},
        {"[[5/5]]", NONE},
        {"[[five]]", NONE},
        {"[[k]]", NONE},
        {"[[A]]", NONE},
        {"[RESULT] 4.5", NONE},
        {"[RESULT] 45", NONE},
        {"[RESULT] 6", NONE},
        {"[RESULT] (4", NONE},
        {"\xef\xbc\xbb\xef\xbc\xbb"
         "5\xef\xbc\xbd\xef\xbc\xbd",
         NONE}, /* full-width brackets */
        {"<think>so [[4]]", NONE},
        {"x</think><think>and again [[4]]", NONE},
        {"[[4]]</think>", NONE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (read_as(VERDICT_GRADE5, cases[i].text) != cases[i].grade)
            fail_msg("\"%s\" read as %d", cases[i].text, read_as(VERDICT_GRADE5, cases[i].text));
    int verdict = NONE;
    assert_true(
        verdict_read(VERDICT_GRADE5, "[[1]]\0[[3]]", 11, &verdict)); /* a NUL ends nothing */
    assert_int_equal(verdict, 3);
}

static void test_verdict_pair_modes_read_their_own_marks(void **state)
{
    (void)state;
    assert_int_equal(read_as(VERDICT_PAIR, "[[A]]"), 1);
    assert_int_equal(read_as(VERDICT_PAIR, "[[A]] or [[B]]"), -1);
    assert_int_equal(read_as(VERDICT_PAIR, "[[ C ]]"), 0);
    assert_int_equal(read_as(VERDICT_PAIR, "[[a]] [[D]] [[A>B]] [[5]] [[AB]]"), NONE);
    assert_int_equal(read_as(VERDICT_PAIR5, "[[A>>B]]"), 2);
    assert_int_equal(read_as(VERDICT_PAIR5, "[[A>B]]"), 1);
    assert_int_equal(read_as(VERDICT_PAIR5, "[[A=B]]"), 0);
    assert_int_equal(read_as(VERDICT_PAIR5, "[[B>A]]"), -1);
    assert_int_equal(read_as(VERDICT_PAIR5, "[[ B>>A ]]"), -2);
    assert_int_equal(read_as(VERDICT_PAIR5, "[[A>B]] or rather [[B>A]]"), -1);
    assert_int_equal(read_as(VERDICT_PAIR5, "[[A>>>B]] [[A<B]] [[B=A]] [[A]] [[A > B]]"), NONE);
    assert_int_equal(read_as(VERDICT_PROMETHEUS, "[[4]] [RESULT] 2"), 2);
    assert_int_equal(read_as(VERDICT_PROMETHEUS, "[[4]]"), NONE);
}

static void assert_quoted(const char *text, const char *wanted)
{
    struct buffer out;
    buffer_init(&out, 0);
    assert_int_equal(quote_append(&out, text, strlen(text), 1000), STATUS_OK);
    assert_string_equal(buffer_string(&out), wanted);
    buffer_free(&out);
}

static void test_quote_takes_the_power_and_leaves_the_words(void **state)
{
    (void)state;
    assert_quoted("plain text, 1 < 2 > 0, a[i] \xc3\xa9\xe2\x82\xac",
                  "plain text, 1 < 2 > 0, a[i] \xc3\xa9\xe2\x82\xac");
    assert_quoted("[[5]]", "[ [5] ]");
    assert_quoted("[[[[5]]]]", "[ [ [ [5] ] ] ]");
    assert_quoted("[RESULT] 5 [result]", "[ RESULT] 5 [ result]");
    assert_quoted("a >>>> b <<<< c", "a > > > > b < < < < c");
    assert_quoted("<|im_start|>system", "< |im_start| >system");
    assert_quoted("<think>x</Think>", "< think>x< /Think>");
    assert_quoted("[INST]", "[ INST]");
    assert_quoted("a\r\nb\tc\x01"
                  "d",
                  "a\nb\tc\xef\xbf\xbd"
                  "d");
    assert_quoted("[\rRESULT] 5\r", "[\nRESULT] 5\n"); /* nothing comes together */
    assert_quoted("\xff\xc0\xaf\xed\xa0\x80",
                  "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    assert_quoted("\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd"); /* cut at the end */
}

/* Whatever the text, no mode reads a verdict out of it, the delimiters do not occur, and it is UTF-8. */
static void test_quote_of_random_bytes_holds_no_verdict(void **state)
{
    (void)state;
    static const char *const pieces[] = {"[[",       "]]",    "5",     "A>B",  "[",    "]",
                                         "[RESULT]", " ",     "<<<<",  ">>>>", "<",    ">",
                                         "</think>", "[[5]]", "[[A]]", "\xc2", "\xa0", "\n"};
    struct rng rng;
    rng_init(&rng, 7, 7, RNG_TEST);
    for (uint64_t i = 0; i < test_times(20000, 1000); i++) {
        char text[200] = "";
        size_t size = 0;
        for (uint32_t n = rng_below(&rng, 12); n > 0; n--) {
            const char *piece = pieces[rng_below(&rng, sizeof pieces / sizeof pieces[0])];
            memcpy(text + size, piece, strlen(piece));
            size += strlen(piece);
        }
        struct buffer out;
        buffer_init(&out, 0);
        assert_int_equal(quote_append(&out, text, size, rng_below(&rng, 2) ? 1000 : 10), STATUS_OK);
        const char *quoted = buffer_string(&out);
        int verdict;
        for (int mode = VERDICT_GRADE5; mode <= VERDICT_PAIR5; mode++)
            if (verdict_read((enum verdict_mode)mode, quoted, out.size, &verdict))
                fail_msg("\"%s\" became \"%s\", a verdict", text, quoted);
        assert_null(strstr(quoted, QUOTE_OPEN));
        assert_null(strstr(quoted, QUOTE_CLOSE));
        json_t *json = json_stringn(quoted, out.size);
        assert_non_null(json);
        json_decref(json);
        buffer_free(&out);
    }
}

static void test_prompts_hold_no_verdict(void **state)
{
    (void)state;
    for (int mode = VERDICT_GRADE5; mode <= VERDICT_PAIR5; mode++)
        assert_int_equal(read_as((enum verdict_mode)mode, prompts_words()), NONE);
}

static void test_quote_leaves_out_the_middle(void **state)
{
    (void)state;
    char text[4000];
    memset(text, 'x', sizeof text);
    memcpy(text, "head", 4);
    memcpy(text + sizeof text - 4, "tail", 4);
    struct buffer out;
    buffer_init(&out, 0);
    assert_int_equal(quote_append(&out, text, sizeof text, 400), STATUS_OK);
    const char *quoted = buffer_string(&out);
    assert_true(out.size < 500 && memcmp(quoted, "head", 4) == 0);
    assert_non_null(strstr(quoted, "(... 3600 bytes left out ...)"));
    assert_string_equal(quoted + out.size - 4, "tail");
    buffer_free(&out);
}

static void test_verdict_majority_needs_agreement(void **state)
{
    (void)state;
    const int votes[] = {4, 4, 2, 5, 4};
    const bool all[] = {true, true, true, true, true}, some[] = {true, false, true, true, false};
    int verdict = NONE;
    assert_true(verdict_majority(votes, all, 5, 3, &verdict));
    assert_int_equal(verdict, 4);
    assert_false(verdict_majority(votes, all, 5, 4, &verdict));
    assert_false(verdict_majority(votes, some, 5, 1, &verdict)); /* three verdicts once each */
    assert_false(verdict_majority(votes, all, 0, 0, &verdict));
    assert_true(verdict_majority(votes, all, 1, 1, &verdict));
    const int tied[] = {1, 1, 5, 5};
    assert_false(verdict_majority(tied, all, 4, 2, &verdict));
    const bool none[] = {false, false};
    assert_false(verdict_majority(votes, none, 2, 0, &verdict));
}

static void test_pair_watch_alarms_when_places_decide(void **state)
{
    (void)state;
    struct pair_watch watch;
    const int win = 1, loss = -1, tie = 0;
    pair_watch_init(&watch, 10);
    assert_true(pair_watch_rates(&watch, 0.7).consistency == 1);
    for (int i = 0; i < 9; i++)
        pair_watch_push(&watch, &win, &loss);          /* the first place wins each time */
    assert_false(pair_watch_rates(&watch, 0.7).alarm); /* not full yet */
    pair_watch_push(&watch, &tie, &tie);
    struct pair_rates rates = pair_watch_rates(&watch, 0.7);
    assert_true(rates.alarm && fabs(rates.consistency - 0.1) < 1e-12);
    assert_true(fabs(rates.first - 0.95) < 1e-12);
    pair_watch_push(&watch, NULL, &win);
    assert_int_equal(watch.invalid, 1);
    for (int i = 0; i < 10; i++)
        pair_watch_push(&watch, &win, &win);
    rates = pair_watch_rates(&watch, 0.7);
    assert_true(!rates.alarm && rates.consistency == 1 && rates.first == 0.5);
    assert_int_equal(watch.pairs, 21);
}

/* ---- Swiss ---- */

/* Plays to the end with results by strength (equal: tie), or at random; checks what must hold each time. */
static uint32_t play_swiss(uint32_t players, uint32_t rounds, const double *strength,
                           struct rng *rng, bool random, double *points)
{
    struct swiss *swiss = NULL;
    assert_int_equal(swiss_create(&swiss, players, rounds, NULL, rng_u64(rng)), STATUS_OK);
    uint32_t count = 0;
    while (!swiss_finished(swiss)) {
        const struct swiss_game *games = swiss_games(swiss, &count);
        uint32_t open[SWISS_PLAYERS_MAX], opens = 0;
        for (uint32_t i = 0; i < count; i++)
            if (games[i].result == SWISS_OPEN)
                open[opens++] = i;
        assert_true(opens > 0);
        uint32_t pick = open[rng_below(rng, opens)]; /* results in any order */
        double a = strength[games[pick].a], b = strength[games[pick].b];
        int result = random ? (int)rng_below(rng, 3) : a > b ? 2 : a < b ? 0 : 1;
        assert_int_equal(swiss_report(swiss, pick, result), STATUS_OK);
    }
    struct swiss_place places[SWISS_PLAYERS_MAX];
    const struct swiss_game *games = swiss_games(swiss, &count);
    uint32_t byes[SWISS_PLAYERS_MAX] = {0};
    for (uint32_t i = 0; i < count; i++) {
        byes[games[i].a] += games[i].a == games[i].b;
        for (uint32_t j = 0; j < i; j++)
            assert_false((games[j].a == games[i].a && games[j].b == games[i].b) ||
                         (games[j].a == games[i].b && games[j].b == games[i].a));
    }
    for (uint32_t i = 0; i < players; i++)
        assert_true(byes[i] <= 1);
    assert_int_equal(count,
                     swiss_rounds(swiss) * ((players + 1) / 2)); /* nobody sat out otherwise */
    swiss_places(swiss, places);
    double sum = 0;
    for (uint32_t i = 0; i < players; i++)
        sum += places[i].points;
    assert_true(sum == count);
    *points = places[0].points;
    uint32_t winner = places[0].player;
    swiss_destroy(&swiss);
    return winner;
}

static void test_swiss_strongest_wins_whatever_the_number(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 11, 3, RNG_TEST);
    for (uint32_t players = 2; players <= (test_is_slow() ? 12u : 20u); players++)
        for (uint32_t rounds = 0; rounds <= players + 1; rounds++) {
            double strength[64], points;
            uint32_t best = 0;
            for (uint32_t i = 0; i < players; i++) {
                strength[i] = rng_uniform(&rng);
                best = strength[i] > strength[best] ? i : best;
            }
            uint32_t winner = play_swiss(players, rounds, strength, &rng, false, &points);
            if (rounds == 0 || (UINT32_C(1) << (rounds < 31 ? rounds : 31)) >= players)
                assert_int_equal(winner, best);
            play_swiss(players, rounds, strength, &rng, true, &points);
        }
}

static void test_swiss_breaks_ties_by_length_then_seed(void **state)
{
    (void)state;
    const uint64_t sizes[] = {50, 20, 90, 40};
    struct swiss *swiss = NULL;
    assert_int_equal(swiss_create(&swiss, 4, 3, sizes, 5), STATUS_OK);
    uint32_t count, next = 0;
    while (!swiss_finished(swiss)) {
        swiss_games(swiss, &count);
        assert_int_equal(swiss_report(swiss, next++, 1), STATUS_OK);
    }
    struct swiss_place places[4];
    swiss_places(swiss, places);
    const uint32_t wanted[] = {1, 3, 0, 2};
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(places[i].player, wanted[i]);
        assert_true(places[i].points == 1.5 && places[i].buchholz == 4.5);
    }
    assert_int_equal(swiss_report(swiss, 0, 1), STATUS_INVALID); /* closed */
    assert_int_equal(swiss_report(swiss, 99, 1), STATUS_INVALID);
    swiss_destroy(&swiss);
    assert_int_equal(swiss_create(&swiss, 0, 1, NULL, 1), STATUS_INVALID);
    assert_int_equal(swiss_create(&swiss, 1, 0, NULL, 1), STATUS_OK);
    assert_true(swiss_finished(swiss));
    swiss_destroy(&swiss);
}

/* ---- calibration ---- */

static void test_best_of_gap_is_pass_minus_best(void **state)
{
    (void)state;
    struct best_of sums = {0};
    const bool one[] = {false, true, false}, none[] = {false, false};
    const double finds[] = {1, 5, 2}, misses[] = {5, 1, 2}, shares[] = {4, 4, 1},
                 blind[] = {(double)NAN, (double)NAN, (double)NAN};
    best_of_add(&sums, one, finds, 3, 4);
    assert_true(best_of_gap(&sums) == 0 && best_of_pass(&sums) == 1 &&
                best_of_accuracy(&sums) == 1);
    best_of_add(&sums, one, misses, 3, 4);
    assert_true(best_of_gap(&sums) == 0.5);
    best_of_add(&sums, one, shares, 3, 4); /* half of the best ones are right */
    best_of_add(&sums, none, finds, 2, 4);
    assert_true(fabs(best_of_pass(&sums) - 0.75) < 1e-12);
    assert_true(fabs(best_of_best(&sums) - 1.5 / 4) < 1e-12);
    best_of_add(&sums, one, blind, 3, 4);
    assert_int_equal(sums.unreadable, 3);
    assert_true(fabs(best_of_accuracy(&sums) - (3.0 + 1 + 2 + 1) / 11) < 1e-12);
}

static void test_length_correction_removes_the_fitted_slope(void **state)
{
    (void)state;
    double reward[] = {0.1, 0.2, 0.3}, length[] = {100, 200, 400};
    length_correct_group(reward, length, 3, 0.1);
    for (int i = 0; i < 3; i++)
        assert_true(fabs(reward[i] - 0.2) < 1e-12);
    assert_true(fabs(length_correct(0.5, 400, 100, 0.1) - 0.3) < 1e-12);
    assert_true(fabs(length_correct(0.5, 0, 1, 0.1) - 0.5) < 1e-12);
    struct buffer out;
    buffer_init(&out, 0);
    assert_int_equal(calibrate_pad(&out, "An answer of a few words, to be padded.", 39, 2),
                     STATUS_OK);
    assert_true(out.size > 100 && out.size < 300 && memcmp(out.bytes, "An answer", 9) == 0);
    buffer_free(&out);
}

static void test_if_reward_follows_its_rule(void **state)
{
    (void)state;
    assert_true(if_reward(IF_RULE_GATE, 0.5, 1, 0, 0) == -1);
    assert_true(if_reward(IF_RULE_GATE, 1, 0, 0, 0) == 0);
    assert_true(if_reward(IF_RULE_PRODUCT, 0.5, 0, 0, 0) == 0.25);
    assert_true(if_reward(IF_RULE_SUM, 1, -1, 0.6, 0.4) == 0.6 - 0.4);
}

static void test_reward_shape_clips_normalises_and_caps(void **state)
{
    (void)state;
    struct reward_shape_config config = reward_shape_defaults();
    struct reward_shape shape = {0};
    assert_true(reward_shape_push(&shape, &config, 7) == 1 &&
                reward_shape_push(&shape, &config, -7) == -1);
    assert_true(isnan(reward_shape_push(&shape, &config, (double)NAN)) && shape.count == 2);
    shape = (struct reward_shape){0};
    config = (struct reward_shape_config){
        .clip = 0, .normalise = true, .memory = 1e9, .least_std = 0.05};
    for (int i = 0; i < 1000; i++)
        reward_shape_push(&shape, &config, i % 2 ? 3 : 1);
    assert_true(fabs(shape.mean - 2) < 1e-9 && fabs(shape.variance - 1) < 1e-9);
    assert_true(fabs(reward_shape_push(&shape, &config, 3) - 1) < 0.01);
    shape = (struct reward_shape){0};
    for (int i = 0; i < 10; i++)
        assert_true(fabs(reward_shape_push(&shape, &config, 0.7)) <
                    1e-9); /* a constant judge says nothing */
    assert_int_equal(reward_shape_cap(100, 90, 0.25), 30);
    assert_int_equal(reward_shape_cap(10, 90, 0.25), 10);
    assert_int_equal(reward_shape_cap(10, 90, 1), 10);
    assert_int_equal(reward_shape_cap(10, 90, 0), 0);
}

/* ---- rows ---- */

static int32_t score_text(const char *text, double *value, json_t **fields)
{
    json_t *row = json_loads(text, 0, NULL);
    assert_non_null(row);
    struct reward_case input = {.row = row, .response = "", .prompt = "", .data_source = ""};
    struct reward_outcome outcome = {WEIR_REWARD_UNSCORABLE, (double)NAN, json_object()};
    const char *kind = json_string_value(json_object_get(row, "kind"));
    assert_non_null(kind);
    assert_true(judge_row_score(kind, &input, &outcome));
    *value = outcome.value;
    *fields = outcome.fields;
    json_decref(row);
    return outcome.status;
}

/* expected -> value; expected_X -> field X, or true for no_pair_twice. */
static void check_golden(const json_t *row, int32_t status, double value, const json_t *fields)
{
    const char *key;
    json_t *wanted;
    const json_t *text = json_object_get(fields, "value");
    json_object_foreach((json_t *)(uintptr_t)row, key, wanted)
    {
        if (strcmp(key, "expected") == 0 && json_is_null(wanted))
            assert_int_equal(status, WEIR_REWARD_UNSCORABLE);
        else if (strcmp(key, "expected") == 0 && json_is_string(wanted))
            assert_true(json_equal((json_t *)(uintptr_t)text, wanted));
        else if (strcmp(key, "expected") == 0)
            assert_true(status == WEIR_REWARD_OK && value == json_number_value(wanted));
        else if (strncmp(key, "expected_", 9) == 0 && json_is_number(wanted))
            assert_true(json_number_value(json_object_get(fields, key + 9)) ==
                        json_number_value(wanted));
        else if (strncmp(key, "expected_", 9) == 0)
            assert_true(json_equal(json_object_get(fields, key + 9), wanted));
        else if (strcmp(key, "no_pair_twice") == 0)
            assert_true(json_equal(json_object_get(fields, key), wanted));
    }
}

static void test_judge_rows_golden(void **state)
{
    (void)state;
    static const char *const files[] = {"genrm_parse", "pairwise", "swiss", "length_bias"};
    uint32_t rows = 0;
    for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
        char path[FILE_PATH_MAX];
        assert_int_equal(file_path(path, SOURCE_DIR "/tests/golden/reward/%s.jsonl", files[f]),
                         STATUS_OK);
        struct buffer contents;
        buffer_init(&contents, 0);
        assert_int_equal(file_read(path, &contents), STATUS_OK);
        for (const char *line = buffer_string(&contents); *line != '\0';) {
            size_t size = strcspn(line, "\n");
            json_t *row = json_loadb(line, size, 0, NULL), *fields;
            assert_non_null(row);
            char *text = json_dumps(row, 0);
            double value;
            int32_t status = score_text(text, &value, &fields);
            check_golden(row, status, value, fields);
            rows++;
            free(text);
            json_decref(fields);
            json_decref(row);
            line += size + (line[size] == '\n');
        }
        buffer_free(&contents);
    }
    assert_int_equal(rows, 4 + 2 + 2 + 3);
}

static void test_judge_rows_position_switch_table(void **state)
{
    (void)state;
    const struct {
        const char *first, *second;
        int score;
        const char *state;
    } table[] = {{"\"A\"", "\"B\"", 1, "consistent"},   {"\"B\"", "\"A\"", -1, "consistent"},
                 {"\"C\"", "\"C\"", 0, "consistent"},   {"\"A\"", "\"A\"", 0, "inconsistent"},
                 {"\"B\"", "\"B\"", 0, "inconsistent"}, {"\"C\"", "\"B\"", 0, "inconsistent"},
                 {"\"A\"", "\"C\"", 0, "inconsistent"}, {"null", "\"B\"", 0, "invalid"},
                 {"\"A\"", "null", 0, "invalid"},       {"null", "null", 0, "invalid"},
                 {"\"x\"", "\"B\"", 0, "invalid"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char text[200];
        double value;
        json_t *fields;
        snprintf(text, sizeof text,
                 "{\"kind\":\"pairwise_position_switch\",\"pass1_policy_is_A\":%s,\"pass2_policy_"
                 "is_B\":%s}",
                 table[i].first, table[i].second);
        assert_int_equal(score_text(text, &value, &fields), WEIR_REWARD_OK);
        assert_true(value == table[i].score);
        assert_string_equal(json_string_value(json_object_get(fields, "state")), table[i].state);
        json_decref(fields);
    }
}

static void test_judge_rows_wrong_types_are_unscorable(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "{\"kind\":\"genrm_parse\",\"mode\":\"grade7\",\"judge_output\":\"[[5]]\"}",
        "{\"kind\":\"genrm_parse\",\"mode\":3,\"judge_output\":\"[[5]]\"}",
        "{\"kind\":\"genrm_parse\",\"mode\":\"grade5\",\"judge_output\":5}",
        "{\"kind\":\"genrm_parse\",\"mode\":\"grade5\"}",
        "{\"kind\":\"pairwise_position_switch\",\"pass1_policy_is_A\":1,\"pass2_policy_is_B\":"
        "\"A\"}",
        "{\"kind\":\"swiss\",\"strength\":[],\"rounds\":1}",
        "{\"kind\":\"swiss\",\"strength\":[1,\"2\"],\"rounds\":1}",
        "{\"kind\":\"swiss\",\"strength\":[1,2],\"rounds\":-1}",
        "{\"kind\":\"swiss\",\"strength\":[1,2],\"rounds\":1.5}",
        "{\"kind\":\"swiss\"}",
        "{\"kind\":\"length_bias\",\"steps\":7}",
        "{\"kind\":\"length_bias\",\"steps\":[[1,2]]}",
        "{\"kind\":\"length_bias\",\"steps\":[[0,0.1,0.1]]}",
        "{\"kind\":\"length_bias\",\"steps\":[{}]}"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double value;
        json_t *fields;
        if (score_text(rows[i], &value, &fields) != WEIR_REWARD_UNSCORABLE)
            fail_msg("%s was scored", rows[i]);
        assert_non_null(json_object_get(fields, "why"));
        json_decref(fields);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdict_grade_last_readable_mark_counts),
        cmocka_unit_test(test_verdict_pair_modes_read_their_own_marks),
        cmocka_unit_test(test_quote_takes_the_power_and_leaves_the_words),
        cmocka_unit_test(test_quote_of_random_bytes_holds_no_verdict),
        cmocka_unit_test(test_prompts_hold_no_verdict),
        cmocka_unit_test(test_quote_leaves_out_the_middle),
        cmocka_unit_test(test_verdict_majority_needs_agreement),
        cmocka_unit_test(test_pair_watch_alarms_when_places_decide),
        cmocka_unit_test(test_swiss_strongest_wins_whatever_the_number),
        cmocka_unit_test(test_swiss_breaks_ties_by_length_then_seed),
        cmocka_unit_test(test_best_of_gap_is_pass_minus_best),
        cmocka_unit_test(test_length_correction_removes_the_fitted_slope),
        cmocka_unit_test(test_if_reward_follows_its_rule),
        cmocka_unit_test(test_reward_shape_clips_normalises_and_caps),
        cmocka_unit_test(test_judge_rows_golden),
        cmocka_unit_test(test_judge_rows_position_switch_table),
        cmocka_unit_test(test_judge_rows_wrong_types_are_unscorable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
