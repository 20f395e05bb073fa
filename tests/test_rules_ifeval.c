/* links: reward_rules */
/* timeout: 20 */
/* IFEval: verdicts of every instruction, strict and loose, as the reference implementation gave them
 * (tests/golden/reward/ifeval.jsonl), arguments that are wrong, and hostile responses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "core/clock.h"
#include "reward/rules/ifeval.h"
#include "reward/rules/sentences.h"
#include "reward/rules/words.h"
#include "tests/rules_case.h"
#include "tests/slow.h"

struct tally {
    void *instance;
    size_t holds[32], fails[32]; /* per instruction id */
};

static void check_row(void *context, const json_t *row)
{
    struct tally *tally = context;
    struct rules_result result = rules_score_row(&ifeval_area, tally->instance, row);
    const json_t *list = json_object_get(result.fields, "list");
    if (result.status != WEIR_REWARD_OK || !json_equal(list, json_object_get(row, "expected")) ||
        !json_equal(json_object_get(result.fields, "loose"),
                    json_object_get(row, "expected_loose")))
        fail_msg("%s: status %d: %s", json_string_value(json_object_get(row, "id")), result.status,
                 json_dumps(result.fields, 0));
    const char *id =
        json_string_value(json_array_get(json_object_get(row, "instruction_id_list"), 0));
    for (size_t i = 0; ifeval_id(i) != NULL; i++) {
        if (strcmp(ifeval_id(i), id) != 0)
            continue;
        bool holds = json_is_true(json_array_get(list, 0));
        tally->holds[i] += holds;
        tally->fails[i] += !holds;
        assert_true(result.value == (holds ? 1.0 : 0.0));
    }
    rules_free(&result);
}

static void test_rules_ifeval_recorded_verdicts_are_the_references(void **state)
{
    (void)state;
    struct tally tally = {.instance = rules_open(&ifeval_area, "{}")};
    assert_true(rules_each_row("ifeval.jsonl", check_row, &tally) >= 100);
    size_t ids = 0;
    for (; ifeval_id(ids) != NULL; ids++) {
        if (tally.holds[ids] == 0 || tally.fails[ids] == 0 ||
            tally.holds[ids] + tally.fails[ids] < 4)
            fail_msg("%s has too few rows", ifeval_id(ids));
    }
    assert_int_equal(ids, 25);
    ifeval_area.destroy(tally.instance);
}

static void test_rules_ifeval_an_empty_response_fails_every_instruction(void **state)
{
    (void)state;
    struct rules_result result = rules_score(
        &ifeval_area, "{\"response\": \" \\n\", \"instruction_id_list\": [\"punctuation:no_comma\","
                      "\"length_constraints:number_words\"],"
                      "\"kwargs\": [{}, {\"num_words\": 5, \"relation\": \"less than\"}]}");
    assert_int_equal(result.status, WEIR_REWARD_OK);
    assert_true(result.value == 0.0);
    rules_assert_json(json_object_get(result.fields, "list"), "[false, false]");
    rules_assert_json(json_object_get(result.fields, "loose"), "[false, false]");
    rules_free(&result);
}

static const char two[] =
    "{\"response\": \"One, two\", \"instruction_id_list\": [\"punctuation:no_comma\","
    "\"keywords:existence\"], \"kwargs\": [{\"num_words\": null}, {\"keywords\": [\"two\"]}]}";

static void test_rules_ifeval_all_or_a_fraction(void **state)
{
    (void)state;
    json_t *row = rules_json(two);
    void *all = rules_open(&ifeval_area, "{}");
    void *fraction = rules_open(&ifeval_area, "{\"score\": \"fraction\"}");
    struct rules_result a = rules_score_row(&ifeval_area, all, row);
    struct rules_result b = rules_score_row(&ifeval_area, fraction, row);
    assert_true(a.value == 0.0);
    assert_true(b.value == 0.5);
    assert_true(json_real_value(json_object_get(a.fields, "strict_share")) == 0.5);
    rules_free(&a);
    rules_free(&b);
    ifeval_area.destroy(all);
    ifeval_area.destroy(fraction);
    json_decref(row);
    rules_refused(&ifeval_area, "{\"score\": \"most\"}", "all|fraction");
    rules_refused(&ifeval_area, "{\"scores\": \"all\"}", "scores");
}

static void test_rules_ifeval_thinking_is_not_the_response(void **state)
{
    (void)state;
    struct rules_result result = rules_score(
        &ifeval_area, "{\"response\": \"<think>well, so</think>\\n\\nFine\","
                      "\"instruction_id_list\": [\"punctuation:no_comma\"], \"kwargs\": [{}]}");
    assert_true(result.value == 1.0);
    rules_free(&result);
    result = rules_score(&ifeval_area,
                         "{\"response\": \"<think>no end\","
                         "\"instruction_id_list\": [\"punctuation:no_comma\"], \"kwargs\": [{}]}");
    assert_true(result.value == 0.0);
    rules_free(&result);
}

static void test_rules_ifeval_bad_arguments_are_unscorable_with_a_sentence(void **state)
{
    (void)state;
    static const struct {
        const char *row, *says;
    } rows[] = {
        {"{\"response\": \"x\"}", "instruction_id_list"},
        {"{\"response\": \"x\", \"instruction_id_list\": [], \"kwargs\": []}", "1 to 64"},
        {"{\"response\": \"x\", \"instruction_id_list\": [\"a:b\"], \"kwargs\": [{}]}", "a:b"},
        {"{\"response\": \"x\", \"instruction_id_list\": [\"punctuation:no_comma\"], \"kwargs\": "
         "[{}, {}]}",
         "kwargs"},
        {"{\"response\": \"x\", \"instruction_id_list\": [\"length_constraints:number_words\"], "
         "\"kwargs\": [{\"num_words\": \"5\", \"relation\": \"at least\"}]}",
         "num_words"},
        {"{\"response\": \"x\", \"instruction_id_list\": [\"length_constraints:number_words\"], "
         "\"kwargs\": [{\"num_words\": 5, \"relation\": \"at most\"}]}",
         "less than|at least"},
        {"{\"response\": \"x\", \"instruction_id_list\": [\"length_constraints:number_words\"], "
         "\"kwargs\": [{\"num_words\": 5, \"relation\": null}]}",
         "relation is missing"},
        {"{\"response\": \"x\", \"instruction_id_list\": [\"keywords:existence\"], "
         "\"kwargs\": [{\"keywords\": [\"(\"]}]}",
         "no pattern"},
        {"{\"response\": \"x\", \"instruction_id_list\": "
         "[\"length_constraints:nth_paragraph_first_word\"], \"kwargs\": [{\"num_paragraphs\": 2, "
         "\"nth_paragraph\": 3, \"first_word\": \"x\"}]}",
         "nth_paragraph"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rules_result result = rules_score(&ifeval_area, rows[i].row);
        const char *why = json_string_value(json_object_get(result.fields, "why"));
        assert_int_equal(result.status, WEIR_REWARD_UNSCORABLE);
        assert_non_null(why);
        if (strstr(why, rows[i].says) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", why, rows[i].says);
        assert_null(json_object_get(result.fields, "list"));
        rules_free(&result);
    }
}

static void test_rules_ifeval_truth_may_be_an_object_or_its_json(void **state)
{
    (void)state;
    struct rules_result result =
        rules_score(&ifeval_area, "{\"response\": \"a b\", \"ground_truth\": {\"kwargs\": null,"
                                  "\"instruction_id_list\": [\"punctuation:no_comma\"]}}");
    assert_true(result.value == 1.0);
    rules_free(&result);
    result = rules_score(&ifeval_area,
                         "{\"response\": \"a, b\", \"ground_truth\": \"{\\\"kwargs\\\": [{}],"
                         "\\\"instruction_id_list\\\": [\\\"punctuation:no_comma\\\"]}\"}");
    assert_true(result.status == WEIR_REWARD_OK && result.value == 0.0);
    rules_free(&result);
}

/* Every instruction over responses made to be slow for a backtracking matcher: linear, so well under a second each. */
static void test_rules_ifeval_hostile_responses_end_in_time(void **state)
{
    (void)state;
    static const char *const units[] = {"\n", "*", "[",   "* \n", "<<", "******", "\"", "a.) ",
                                        ". ", "'", "A'S", "```",  "[[", " \t",    "x",  "\xC3\x28"};
    size_t size = test_times(400000, 20000);
    char *text = malloc(size + 16);
    json_t *row = rules_json(
        "{\"kwargs\": [{}, {\"num_bullets\": 1}, {\"num_placeholders\": 1}, {\"num_sentences\": 3,"
        "\"relation\": \"at least\"}, {\"capital_frequency\": 3, \"capital_relation\": \"less "
        "than\"}, {}, {\"num_highlights\": 2}, {}, {}, {\"num_paragraphs\": 2}, {\"keywords\": "
        "[\"zebra\"]}, {\"language\": \"fr\"}], \"instruction_id_list\": "
        "[\"combination:two_responses\", \"detectable_format:number_bullet_lists\","
        "\"detectable_content:number_placeholders\", \"length_constraints:number_sentences\","
        "\"change_case:capital_word_frequency\", \"detectable_format:title\","
        "\"detectable_format:number_highlighted_sections\", \"detectable_format:json_format\","
        "\"startend:quotation\", \"length_constraints:number_paragraphs\", "
        "\"keywords:existence\", \"language:response_language\"]}");
    void *instance = rules_open(&ifeval_area, "{}");
    for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
        size_t used = 0, length = strlen(units[u]);
        for (; used + length <= size; used += length)
            memcpy(text + used, units[u], length);
        text[used] = '\0';
        struct reward_case one = {
            .row = row, .response = text, .response_size = used, .prompt = "", .data_source = ""};
        int64_t start = clock_now_ns();
        struct rules_result result = rules_score_case(&ifeval_area, instance, &one);
        assert_true(clock_now_ns() - start < INT64_C(8000000000));
        assert_int_equal(result.status, WEIR_REWARD_OK);
        rules_free(&result);
    }
    ifeval_area.destroy(instance);
    json_decref(row);
    free(text);
}

static size_t sentences(const char *text)
{
    struct arena *arena = NULL;
    struct runes runes;
    size_t count = 0;
    assert_int_equal(arena_create(&arena, 1 << 20), STATUS_OK);
    assert_true(runes_decode(arena, text, strlen(text), &runes));
    assert_true(sentences_count(arena, runes, &count));
    arena_destroy(&arena);
    return count;
}

static void test_rules_ifeval_sentences_are_counted_as_published(void **state)
{
    (void)state;
    assert_int_equal(sentences(""), 0);
    assert_int_equal(sentences("One"), 1);
    assert_int_equal(sentences("Dr. Brown came at 5 p.m. sharp. She left."), 2);
    assert_int_equal(sentences("It works at Foo Inc. The boss knows."), 2);
    assert_int_equal(sentences("He said \"Go.\" They went."), 2);
    assert_int_equal(sentences("See e.g. this one."), 2); /* a quirk of the published splitter */
    assert_int_equal(sentences("Wait... what? No!"), 2);
    assert_int_equal(sentences("J. Smith met A. Jones."), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules_ifeval_recorded_verdicts_are_the_references),
        cmocka_unit_test(test_rules_ifeval_an_empty_response_fails_every_instruction),
        cmocka_unit_test(test_rules_ifeval_all_or_a_fraction),
        cmocka_unit_test(test_rules_ifeval_thinking_is_not_the_response),
        cmocka_unit_test(test_rules_ifeval_bad_arguments_are_unscorable_with_a_sentence),
        cmocka_unit_test(test_rules_ifeval_truth_may_be_an_object_or_its_json),
        cmocka_unit_test(test_rules_ifeval_hostile_responses_end_in_time),
        cmocka_unit_test(test_rules_ifeval_sentences_are_counted_as_published),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
