/* links: core */
/* eval_schedule: names of sets, which versions are due, which of those that wait is next, settings of an evaluation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "core/eval_schedule.h"

static struct eval_sets sets;

static enum status parse(const char *list)
{
    return eval_sets_parse(&sets, "eval.sets", list);
}

static void expect_refused(const char *list, const char *part)
{
    assert_int_equal(parse(list), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), part));
}

static void test_eval_schedule_sets_have_names_and_paths(void **state)
{
    (void)state;
    assert_int_equal(parse("aime = data/a.jsonl, data/gsm8k.test.jsonl ,x/y=z/q.jsonl"), STATUS_OK);
    assert_int_equal(sets.count, 3);
    assert_string_equal(sets.rows[0].name, "aime");
    assert_string_equal(sets.rows[0].path, "data/a.jsonl");
    assert_string_equal(sets.rows[1].name, "gsm8k");
    assert_string_equal(sets.rows[1].path, "data/gsm8k.test.jsonl");
    assert_string_equal(sets.rows[2].name, "q"); /* x/y is a folder, so the = is in the path */
    assert_string_equal(sets.rows[2].path, "x/y=z/q.jsonl");
    assert_int_equal(parse(""), STATUS_OK);
    assert_int_equal(sets.count, 0);
}

static void test_eval_schedule_names_that_cannot_be_folders_are_refused(void **state)
{
    (void)state;
    expect_refused("a=1.jsonl,a=2.jsonl", "two sets are named \"a\"");
    expect_refused("x/a.jsonl,y/a.jsonl", "name one");
    expect_refused("..=a.jsonl", "no name for a set");
    expect_refused("a b=a.jsonl", "no name for a set");
    expect_refused("hf=a.jsonl", "no name for a set");
    expect_refused("=a.jsonl", "no name for a set");
    expect_refused("a=", "names no file");
    expect_refused("a.jsonl,,b.jsonl", "comma");
}

static void test_eval_schedule_due_versions_are_multiples(void **state)
{
    (void)state;
    struct settings settings = {0};
    assert_false(eval_is_on(&settings));
    assert_false(eval_is_due(&settings, 0));
    settings.eval.every = 5;
    for (uint64_t version = 0; version < 30; version++)
        assert_int_equal(eval_is_due(&settings, version), version % 5 == 0);
}

/* The oldest first, until more wait than may. */
static void test_eval_schedule_skips_to_the_newest_above_the_queue(void **state)
{
    (void)state;
    assert_int_equal(eval_next(1, 1), 0);
    assert_int_equal(eval_next(2, 1), 1);
    assert_int_equal(eval_next(4, 4), 0);
    assert_int_equal(eval_next(5, 4), 4);
}

static void load(struct settings *settings, struct config **config, const char *override,
                 enum status expected)
{
    const char *overrides[] = {override, "sampling.response_tokens_max=64", "sampling.top_k=9",
                               "actor.slots=32", "actor.cache_tokens=4096"};
    struct config_input input = {.overrides = overrides, .override_count = 5};
    assert_int_equal(settings_load(settings, config, &input), expected);
}

static void test_eval_schedule_settings_of_an_evaluation_are_its_own(void **state)
{
    (void)state;
    struct settings settings, own;
    struct config *config = NULL;
    load(&settings, &config, "eval.threads=3", STATUS_OK);
    own = eval_settings_of(&settings);
    assert_true(own.sampling.temperature == 1.0 && own.sampling.top_p == 0.95);
    assert_int_equal(own.sampling.top_k, 0);
    assert_int_equal(own.sampling.response_tokens_max, 64);
    assert_int_equal(own.actor.slots, 32);
    assert_int_equal(own.actor.cache_tokens, 4096);
    assert_int_equal(own.run.threads, 3);
    config_destroy(&config);
    load(&settings, &config, "eval.tokens=128", STATUS_OK);
    own = eval_settings_of(&settings);
    assert_int_equal(own.sampling.response_tokens_max, 128);
    assert_int_equal(own.actor.cache_tokens, 0); /* was chosen for 64 */
    config_destroy(&config);
}

static void test_eval_schedule_a_schedule_without_sets_is_refused(void **state)
{
    (void)state;
    struct settings settings;
    struct config *config = NULL;
    load(&settings, &config, "eval.every=5", STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "eval.sets"));
    config_destroy(&config);
    load(&settings, &config, "eval.sets=hf=x.jsonl", STATUS_INVALID);
    config_destroy(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eval_schedule_sets_have_names_and_paths),
        cmocka_unit_test(test_eval_schedule_names_that_cannot_be_folders_are_refused),
        cmocka_unit_test(test_eval_schedule_due_versions_are_multiples),
        cmocka_unit_test(test_eval_schedule_skips_to_the_newest_above_the_queue),
        cmocka_unit_test(test_eval_schedule_settings_of_an_evaluation_are_its_own),
        cmocka_unit_test(test_eval_schedule_a_schedule_without_sets_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
