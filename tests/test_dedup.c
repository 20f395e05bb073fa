/* links: data_tools */
/* timeout: 30 */
/* dedup: planted duplicates are found, planted look-alikes stay, evaluation sets do not leak. */
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

#include "core/file.h"
#include "core/rng.h"
#include "ops/data/data.h"
#include "ops/data/dedup.h"
#include "ops/data/normal.h"
#include "tests/data_case.h"
#include "tests/slow.h"

/* ---- the normal text ---- */

static void expect_normal(const char *text, const char *wanted)
{
    struct normal normal;
    normal_init(&normal);
    must(normal_read(&normal, text, strlen(text)));
    assert_string_equal(buffer_string(&normal.text), wanted);
    normal_free(&normal);
}

static void test_dedup_texts_that_mean_the_same_are_one(void **state)
{
    (void)state;
    expect_normal("Janet\xe2\x80\x99s ducks: 16 EGGS!", "janet s ducks 16 eggs !");
    expect_normal("1,000 and 3.50 and 007 and 2.0", "1000 and 3.5 and 7 and 2");
    expect_normal("1,2,3 and 10,00", "1 2 3 and 10 0");
    expect_normal("$\\dfrac{1}{2}\\,x^{2}$", "frac 1 2 x ^ 2");
    expect_normal("\\( \\frac{1}{2} x^2 \\)", "frac 1 2 x ^ 2");
    expect_normal("\\left( a \\leq b \\right)", "( a le b )");
    expect_normal("two-digit and/or 3-4 5/6", "two digit and or 3 - 4 5 / 6");
    expect_normal("3 \xc3\x97 4 \xe2\x88\x92 \xef\xbc\xa1", "3 * 4 - a");
    expect_normal("\xe6\xb1\x82\xe5\x92\x8c", "\xe6\xb1\x82 \xe5\x92\x8c");
    /* primes and ratios are mathematics, apostrophes and quotes that open are not */
    expect_normal("f'(1), f\xe2\x80\xb2(1), f\xe2\x80\x99(1)", "f ' ( 1 ) f ' ( 1 ) f ' ( 1 )");
    expect_normal("f''(x)' and \\alpha'", "f ' ' ( x ) ' and alpha '");
    expect_normal("Tom's 'new' car isn't 5' long", "tom s new ' car isn t 5 long");
    expect_normal("2:3 and 12:30: 4", "2 : 3 and 12 : 30 4");
    expect_normal("bad \xff\xfe bytes", "bad bytes");
    expect_normal("", "");
}

/* ---- pairs ---- */

struct pair {
    const char *a, *answer_a, *b, *answer_b;
    enum dedup_reason reason; /* of b after a */
};

static const struct pair pairs[] = {
    /* the same text in other clothes */
    {"Find $x$ if $\\frac{1}{2}x = 1{,}000$.", "2000",
     "find x if \\( \\dfrac{1}{2} x = 1{,}000 \\)", "2000", DEDUP_EXACT},
    {"Compute the sum of all primes below 1,000.", "76127",
     "compute the sum of all  primes below 1000", "76127", DEDUP_EXACT},
    {"What is 3 + 4?", "7", "What is 3+4 ?", "8", DEDUP_CONFLICT},
    /* a rewording: the numbers and the answer stay */
    {"Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in "
     "May. How many clips did Natalia sell altogether in April and May?",
     "72",
     "Natalia sold clips to 48 of her friends in April, and she then sold half as many clips in "
     "May. How many clips altogether did Natalia sell in April and May?",
     "72", DEDUP_NEAR},
    {"Evaluate the limit \\( \\lim_{n\\to\\infty} \\frac{1}{n} \\sum_{k=0}^{n} "
     "\\frac{1}{1+\\frac{k^6}{n^3}} \\).",
     "0",
     "Calculate the limit: $$\\lim_{n \\to \\infty}\\frac{1}{n}\\sum_{k=0}^{n} "
     "{\\frac{1}{1+\\frac{k^6}{n^3}}}$$",
     "0", DEDUP_NEAR},
    /* a changed number, also as a word: another problem */
    {"Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in "
     "May. How many clips did Natalia sell altogether in April and May?",
     NULL,
     "Natalia sold clips to 58 of her friends in April, and then she sold half as many clips in "
     "May. How many clips did Natalia sell altogether in April and May?",
     NULL, DEDUP_KEPT},
    {"A baker has three trays with twelve rolls on each of them and sells all of the rolls by "
     "noon. How many rolls did the baker sell?",
     NULL,
     "A baker has four trays with twelve rolls on each of them and sells all of the rolls by "
     "noon. How many rolls did the baker sell?",
     NULL, DEDUP_KEPT},
    /* a changed operator or turning word */
    {"Let $f(x) = x^2 + 4x + 7$ for all real numbers x. Determine the value of f at the point 3.",
     NULL,
     "Let $f(x) = x^2 - 4x + 7$ for all real numbers x. Determine the value of f at the point 3.",
     NULL, DEDUP_KEPT},
    {"A farmer builds a fence of 100 m around a field with four sides. What is the maximum area "
     "that the field can have?",
     NULL,
     "A farmer builds a fence of 100 m around a field with four sides. What is the minimum area "
     "that the field can have?",
     NULL, DEDUP_KEPT},
    /* a changed name */
    {"Every morning Tom walks 5 miles to the lake and 3 miles back to the mill. How far does Tom "
     "walk in 7 days?",
     "56",
     "Every morning Anna walks 5 miles to the lake and 3 miles back to the mill. How far does Anna "
     "walk in 7 days?",
     "56", DEDUP_KEPT},
    /* the same words, another answer: one of them asks something else */
    {"In the game of the island each of 12 players gives a coin to the player on their east. How "
     "many coins does a player hold?",
     "12",
     "In the game of the island each of 12 players gives a coin to the player on their west. How "
     "many coins does a player hold?",
     "11", DEDUP_KEPT},
    {"Find x.", "1", "Find y.", "1", DEDUP_KEPT},
    {"a b", "1", "...", "1", DEDUP_EMPTY},
    /* a derivative is another function, a ratio no two numbers */
    {"Let f(x) = x^2. Find f(1).", "1", "Let f(x) = x^2. Find f'(1).", "2", DEDUP_KEPT},
    {"Divide 60 in 2:3.", "24", "Divide 60 in 2 3.", "x", DEDUP_KEPT},
};

static void judge_pair(const struct pair *pair, enum dedup_role role,
                       const struct dedup_options *options, struct dedup_verdict *verdict)
{
    struct dedup *dedup = NULL;
    uint32_t number;
    must(dedup_create(&dedup, options));
    must(dedup_add(dedup, role, pair->a, pair->answer_a, &number, verdict));
    assert_int_equal(verdict->reason, DEDUP_KEPT);
    must(dedup_add(dedup, DEDUP_TRAIN, pair->b, pair->answer_b, &number, verdict));
    assert_int_equal(number, 1);
    dedup_destroy(&dedup);
}

static void test_dedup_pairs_are_judged(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct dedup_verdict verdict;
        judge_pair(&pairs[i], DEDUP_TRAIN, &dedup_options_default, &verdict);
        if (verdict.reason != pairs[i].reason)
            fail_msg("pair %zu: %s, not %s", i, dedup_reason_name(verdict.reason),
                     dedup_reason_name(pairs[i].reason));
    }
}

static void test_dedup_options_lift_the_guards(void **state)
{
    (void)state;
    struct dedup_options options = dedup_options_default;
    struct dedup_verdict verdict;
    options.any_names = true;
    judge_pair(&pairs[9], DEDUP_TRAIN, &options, &verdict);
    assert_int_equal(verdict.reason, DEDUP_NEAR);
    options.any_answers = true;
    judge_pair(&pairs[10], DEDUP_TRAIN, &options, &verdict);
    assert_int_equal(verdict.reason, DEDUP_NEAR);
    options.any_numbers = true;
    judge_pair(&pairs[5], DEDUP_TRAIN, &options, &verdict);
    assert_int_equal(verdict.reason, DEDUP_NEAR);
    options.threshold = 2;
    judge_pair(&pairs[5], DEDUP_TRAIN, &options, &verdict);
    assert_int_equal(verdict.reason, DEDUP_KEPT);
}

/* ---- many rows with planted ones ---- */

enum { WORDS = 400, BASE = 600, LENGTH = 45 };

struct words {
    uint32_t at[LENGTH + 1];
    uint32_t number[3];
};

static void write_problem(const struct words *words, char *text, size_t size)
{
    size_t used = 0;
    for (int i = 0; i < LENGTH; i++) {
        int n = i % 15 == 7
                    ? snprintf(text + used, size - used, "%u ", words->number[i / 15])
                    : snprintf(text + used, size - used, "w%c%c%c ", 'a' + (int)(words->at[i] % 20),
                               'a' + (int)(words->at[i] / 20), 'x');
        used += (size_t)n;
    }
}

/* BASE problems of random words; of each one copy with two words replaced (a rewording) and one with one number
 * replaced (another problem). */
static void test_dedup_planted_rewordings_are_found_and_changed_numbers_stay(void **state)
{
    (void)state;
    uint64_t seed = getenv("TEST_SEED") != NULL ? strtoull(getenv("TEST_SEED"), NULL, 10) : 5;
    print_message("TEST_SEED=%llu\n", (unsigned long long)seed);
    uint32_t base = test_is_slow() ? BASE / 6 : BASE;
    struct dedup *dedup = NULL;
    struct rng rng;
    uint32_t number, found = 0, wrong = 0;
    static char text[4096];
    rng_init(&rng, seed, 0, RNG_TEST);
    must(dedup_create(&dedup, &dedup_options_default));
    for (uint32_t b = 0; b < base; b++) {
        struct words words, copy;
        struct dedup_verdict verdict;
        for (int i = 0; i <= LENGTH; i++)
            words.at[i] = rng_below(&rng, WORDS);
        for (int i = 0; i < 3; i++)
            words.number[i] = rng_below(&rng, 1000);
        write_problem(&words, text, sizeof text);
        must(dedup_add(dedup, DEDUP_TRAIN, text, NULL, &number, &verdict));
        wrong += verdict.reason != DEDUP_KEPT;
        uint32_t original = number;
        copy = words;
        copy.number[rng_below(&rng, 3)] += 1;
        write_problem(&copy, text, sizeof text);
        must(dedup_add(dedup, DEDUP_TRAIN, text, NULL, &number, &verdict));
        wrong += verdict.reason != DEDUP_KEPT;
        copy = words;
        copy.at[rng_below(&rng, LENGTH)] = rng_below(&rng, WORDS);
        copy.at[rng_below(&rng, LENGTH)] = rng_below(&rng, WORDS);
        write_problem(&copy, text, sizeof text);
        must(dedup_add(dedup, DEDUP_TRAIN, text, NULL, &number, &verdict));
        bool same = verdict.reason == DEDUP_NEAR || verdict.reason == DEDUP_EXACT;
        found += same && verdict.other == original;
    }
    print_message("recall %.3f, wrong %u of %u\n", (double)found / base, wrong, 2 * base);
    assert_true(found >= base * 97 / 100);
    assert_int_equal(wrong, 0);
    assert_int_equal(dedup_capped(dedup), 0);
    dedup_destroy(&dedup);
}

/* ---- evaluation sets ---- */

static const char eval_prompt[] =
    "A ship leaves the harbour of the old town at dawn and sails north for 17 hours before it "
    "turns to the east. How far is it from the harbour after 40 hours at 12 knots?";

static enum dedup_reason against(const char *prompt, const struct dedup_options *options,
                                 enum dedup_role role)
{
    struct dedup *dedup = NULL;
    struct dedup_verdict verdict;
    uint32_t number;
    must(dedup_create(&dedup, options));
    must(dedup_add(dedup, role, eval_prompt, "1", &number, &verdict));
    must(dedup_add(dedup, role, "What is 2 + 2?", "4", &number, &verdict));
    must(dedup_add(dedup, DEDUP_TRAIN, prompt, "9", &number, &verdict));
    dedup_destroy(&dedup);
    return verdict.reason;
}

static void test_dedup_evaluation_rows_do_not_leak(void **state)
{
    (void)state;
    struct dedup_options options = dedup_options_default;
    static const char inside[] =
        "Once upon a time there was a captain. A ship leaves the harbour of the old town at dawn "
        "and sails north for 17 hours. Who is the captain of this very old ship, and why?";
    assert_int_equal(against(eval_prompt, &options, DEDUP_EVAL), DEDUP_EVAL_EXACT);
    assert_int_equal(against(inside, &options, DEDUP_EVAL), DEDUP_EVAL_NGRAM);
    assert_int_equal(against(inside, &options, DEDUP_SFT), DEDUP_KEPT);
    assert_int_equal(against(eval_prompt, &options, DEDUP_SFT), DEDUP_SFT_EXACT);
    /* short ones match as a whole only */
    assert_int_equal(against("what is 2+2", &options, DEDUP_EVAL), DEDUP_EVAL_EXACT);
    assert_int_equal(against("What is 2 + 2 + 5 * 7?", &options, DEDUP_EVAL), DEDUP_KEPT);
    /* numbers: another one is another text, unless they are masked */
    static const char other[] = "Yes. The old town at dawn and sails north for 99 hours before it "
                                "stops, which makes everybody on the ship rather happy indeed.";
    assert_int_equal(against(other, &options, DEDUP_EVAL), DEDUP_KEPT);
    options.mask_numbers = true;
    options.ngram = 10;
    assert_int_equal(against(other, &options, DEDUP_EVAL), DEDUP_EVAL_NGRAM);
    options.ngram = 0;
    assert_int_equal(against(inside, &options, DEDUP_EVAL), DEDUP_KEPT);
}

/* "Let's think step by step and put the final answer in a box" stands in every row and says nothing. */
static void test_dedup_phrases_of_the_whole_set_do_not_count(void **state)
{
    (void)state;
    static const char phrase[] = "Please reason step by step and put your final answer within a "
                                 "box at the end of your response";
    struct dedup *dedup = NULL;
    struct dedup_verdict verdict;
    uint32_t number;
    char text[512];
    must(dedup_create(&dedup, &dedup_options_default));
    for (int i = 0; i < 6; i++) {
        snprintf(text, sizeof text, "Question number %d of the test: name river %d. %s", i, i * i,
                 phrase);
        must(dedup_add(dedup, DEDUP_EVAL, text, NULL, &number, &verdict));
    }
    snprintf(text, sizeof text, "Which city in the south has got the most bridges of all? %s",
             phrase);
    must(dedup_add(dedup, DEDUP_TRAIN, text, NULL, &number, &verdict));
    assert_int_equal(verdict.reason, DEDUP_KEPT);
    enum status status = dedup_add(dedup, DEDUP_EVAL, "late", NULL, &number, &verdict);
    assert_int_equal(status, STATUS_INVALID);
    dedup_destroy(&dedup);
}

static void test_dedup_memory_has_a_limit(void **state)
{
    (void)state;
    struct dedup_options options = dedup_options_default;
    struct dedup *dedup = NULL;
    struct dedup_verdict verdict;
    uint32_t number;
    enum status status = STATUS_OK;
    char text[64];
    options.memory_bytes = 4 << 20;
    must(dedup_create(&dedup, &options));
    for (int i = 0; i < 20000 && status == STATUS_OK; i++) {
        snprintf(text, sizeof text, "row %d of %d and %d", i, i * 7, i * 3);
        status = dedup_add(dedup, DEDUP_TRAIN, text, NULL, &number, &verdict);
    }
    assert_int_equal(status, STATUS_LIMIT);
    assert_true(dedup_bytes(dedup) < (16 << 20));
    dedup_destroy(&dedup);
}

/* ---- the command ---- */

static void test_dedup_command_writes_what_is_left_and_why(void **state)
{
    (void)state;
    char a[FILE_PATH_MAX], b[FILE_PATH_MAX], e[FILE_PATH_MAX], out[FILE_PATH_MAX];
    snprintf(folder, sizeof folder, "/tmp/weir-dedup-%d", (int)getpid());
    must(file_make_dirs(folder));
    write_file("a.jsonl",
               "{\"id\":\"a1\",  \"prompt\":\"Name a prime.\"}\n\n"
               "{\"id\":\"a2\",\"prompt\":[{\"role\":\"system\",\"content\":\"s\"},"
               "{\"role\":\"user\",\"content\":\"What is 2+2?\"}]}\n"
               "{\"id\":\"a3\",\"prompt\":[{\"role\":\"user\",\"content\":[{\"type\":"
               "\"text\",\"text\":\"What is\"},{\"type\":\"text\",\"text\":\"2+2?\"}]}]}\n"
               "{\"id\":\"a4\",\"prompt\":[{\"role\":\"user\",\"content\":[{\"type\":"
               "\"text\",\"text\":\"Name a lake.\"}]}]}\n");
    write_file("b.jsonl",
               "{\"id\":7,\"question\":\"name a PRIME\"}\n{\"problem\":\"Name a river\"}");
    write_file("e.jsonl", "{\"task_id\":\"e1\",\"question\":\"what is 2 + 2\"}\n");
    must(file_path(a, "%s/a.jsonl", folder));
    must(file_path(b, "%s/b.jsonl", folder));
    must(file_path(e, "%s/e.jsonl", folder));
    must(file_path(out, "%s/out", folder));
    char *argv[] = {"dedup", a, b, "--out", out, "--id", "id", "--against", e, NULL};
    assert_int_equal(dedup_command(9, argv), 0);
    expect_file("out/a.jsonl",
                "{\"id\":\"a1\",  \"prompt\":\"Name a prime.\"}\n"
                "{\"id\":\"a4\",\"prompt\":[{\"role\":\"user\",\"content\":[{\"type\":"
                "\"text\",\"text\":\"Name a lake.\"}]}]}\n");
    expect_file("out/b.jsonl", "{\"problem\":\"Name a river\"}\n");
    char path[FILE_PATH_MAX];
    struct buffer bytes;
    buffer_init(&bytes, 0);
    must(file_path(path, "%s/out/dropped.jsonl", folder));
    must(file_read(path, &bytes));
    assert_non_null(strstr(buffer_string(&bytes), "\"id\":\"a2\""));
    assert_non_null(strstr(buffer_string(&bytes), "\"reason\":\"eval_exact\""));
    assert_non_null(strstr(buffer_string(&bytes), "\"id\":\"a3\""));
    assert_null(strstr(buffer_string(&bytes), "\"reason\":\"empty\""));
    assert_non_null(strstr(buffer_string(&bytes), "\"reason\":\"exact\",\"like\":{\"id\":\"a1\""));
    buffer_free(&bytes);
    must(file_remove_tree(folder));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dedup_texts_that_mean_the_same_are_one),
        cmocka_unit_test(test_dedup_pairs_are_judged),
        cmocka_unit_test(test_dedup_options_lift_the_guards),
        cmocka_unit_test(test_dedup_planted_rewordings_are_found_and_changed_numbers_stay),
        cmocka_unit_test(test_dedup_evaluation_rows_do_not_leak),
        cmocka_unit_test(test_dedup_phrases_of_the_whole_set_do_not_count),
        cmocka_unit_test(test_dedup_memory_has_a_limit),
        cmocka_unit_test(test_dedup_command_writes_what_is_left_and_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
