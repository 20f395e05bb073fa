/* links: data_tools */
/* timeout: 20 */
/* filter: expressions, pass rates, and the rules for mathematics with examples on both sides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <getopt.h>
#include <unistd.h>

#include "core/file.h"
#include "ops/data/data.h"
#include "ops/data/expression.h"
#include "ops/data/math_clean.h"
#include "ops/data/rates.h"
#include "tests/data_case.h"

/* ---- expressions ---- */

static bool look_up(void *self, const char *name, struct expression_value *value)
{
    (void)self;
    if (strcmp(name, "half") == 0)
        *value = (struct expression_value){.known = true, .number = 0.5};
    else if (strcmp(name, "pass@10") == 0)
        *value = (struct expression_value){.known = true, .number = 0.25};
    else if (strcmp(name, "source") == 0)
        *value = (struct expression_value){.known = true, .text = "gsm8k/main"};
    else
        return strcmp(name, "unknown") == 0;
    return true;
}

static void expect_truth(const char *text, enum expression_truth wanted)
{
    struct expression *expression = NULL;
    enum expression_truth truth;
    const char *unknown = NULL;
    must(expression_parse(&expression, text));
    must(expression_evaluate(expression, look_up, NULL, &truth, &unknown));
    if (truth != wanted)
        fail_msg("%s: %d, not %d", text, (int)truth, (int)wanted);
    assert_true((truth == EXPRESSION_UNKNOWN) == (unknown != NULL));
    expression_free(&expression);
}

static void test_filter_expressions_mean_what_they_say(void **state)
{
    (void)state;
    expect_truth("0 < pass@10 < 0.9", EXPRESSION_TRUE);
    expect_truth("0<pass@10<0.9", EXPRESSION_TRUE);
    expect_truth("0 < pass@10 < 0.25", EXPRESSION_FALSE);
    expect_truth("0.25 <= pass@10 and half == .5", EXPRESSION_TRUE);
    expect_truth("half > 1 or half != 0 and half < 0", EXPRESSION_FALSE); /* and binds closer */
    expect_truth("(half < 1 or half != 0) and half < 0", EXPRESSION_FALSE);
    expect_truth("half < 1 || half > 0 && half < 0", EXPRESSION_TRUE);
    expect_truth("not half > 1", EXPRESSION_TRUE);
    expect_truth("!(half > 1) && !(half < 0)", EXPRESSION_TRUE);
    expect_truth("source ~ 'gsm8k*' and source != \"x\"", EXPRESSION_TRUE);
    expect_truth("source == 'gsm8k'", EXPRESSION_FALSE);
    expect_truth("unknown > 1", EXPRESSION_UNKNOWN);
    expect_truth("unknown > 1 and half > 1", EXPRESSION_FALSE);
    expect_truth("unknown > 1 or half < 1", EXPRESSION_TRUE);
    expect_truth("not unknown > 1", EXPRESSION_UNKNOWN);
    expect_truth("-1e3 < half < +1e3 ", EXPRESSION_TRUE);
}

static void expect_refused(const char *text, const char *sentence)
{
    struct expression *expression = NULL;
    enum expression_truth truth;
    const char *unknown;
    enum status status = expression_parse(&expression, text);
    if (status == STATUS_OK)
        status = expression_evaluate(expression, look_up, NULL, &truth, &unknown);
    if (status == STATUS_OK || strstr(status_last_error(), sentence) == NULL)
        fail_msg("%s: \"%s\" has no \"%s\"", text, status_last_error(), sentence);
    expression_free(&expression);
}

static void test_filter_bad_expressions_are_refused_by_column(void **state)
{
    (void)state;
    expect_refused("", "column 1");
    expect_refused("half", "a comparison");
    expect_refused("half < ", "column 8");
    expect_refused("half < 1 half", "column 10: the end");
    expect_refused("(half < 1", "\")\"");
    expect_refused("half < 1x", "a number");
    expect_refused("half < 'x", "with its end");
    expect_refused("harf < 1", "\"harf\"");
    expect_refused("source < 1", "compares the text");
    expect_refused("half ~ 1", "~ compares texts");
    expect_refused("half = 1", "a comparison");
    char deep[512];
    memset(deep, '(', 300);
    deep[300] = '\0';
    expect_refused(deep, "nested");
}

/* ---- rules ---- */

static const struct {
    const char *prompt, *answer, *reasons; /* "" : the row stays */
} cases[] = {
    {"Find the least nonnegative residue of \\( \\frac{31!}{22!} \\) modulo 11.", "1", ""},
    {"", "1", "empty"},
    {"What is $1 + 1$?", " ", "empty"},
    /* proof: asked for, not mentioned */
    {"Let $n$ be odd. Prove that $n^2-1$ is divisible by 8.", "8", "proof"},
    {"Show that $x^2 \\geq 0$.", "0", "proof"},
    {"If $a=b$, verify that $a^2=b^2$.", "0", "proof"},
    {"Determine $f$ and give a proof.", "x", "proof"},
    {"Bob needs 3 hours to prove a theorem. How many hours does he need for 5?", "15", ""},
    {"The measurements show that the car did 60 km in 2 hours. How fast was it?", "30", ""},
    {"How many steps has the shortest proof of the theorem in table 3?", "4", ""},
    /* true or false */
    {"True or false: 7 is prime.", "1", "true_false"},
    {"Is 7 prime?", "\\text{Yes}", "true_false,unparsable"},
    {"Is 91 prime?", "No.", "true_false"},
    {"Determine whether the series is correct or not; is the statement above true?", "7",
     "true_false"},
    {"If it is true that $x = 3$, what is $x^2$?", "9", ""},
    /* multiple choice */
    {"What is $1+1$? $\\textbf{(A)}\\ 3 \\qquad\\textbf{(B)}\\ 4 \\qquad\\textbf{(C)}\\ 2$", "2",
     "multiple_choice"},
    {"What is 1+1?\nA. 3\nB. 4\nC. 2", "C", "multiple_choice"},
    {"Which of the following is prime: 4, 6, 7?", "7", "multiple_choice"},
    {"What is the area?", "(B)", "multiple_choice"},
    {"In triangle ABC the points A, B and C lie on a circle. Find the angle at (A).", "30", ""},
    {"Compute the matrix product $AB$ and its trace.", "C", ""},
    /* parts */
    {"Let $x=3$. (a) Find $x^2$. (b) Find $x^3$.", "(9, 27)", "multi_part"},
    {"1. Compute $1+1$.\n2. Compute $2+2$.", "(2, 4)", "multi_part"},
    {"A car drives. Part (a): how far? Part (b): how long is it on the road?", "3", "multi_part"},
    {"What is $x$? What is $y$?", "(1, 2)", "multi_part"},
    {"Let $f(a) = 2$ and $f(b) = 3$. Find $f (a) + f (b)$.", "5", ""},
    {"Find all $x$ with (i) $x > 0$ and (ii) $x^2 = 4$.", "2", ""},
    {"A triangle has the sides:\n1. $a = 3$\n2. $b = 4$\nFind its area.", "6", ""},
    /* not whole */
    {"Compute $\\frac{1}{2} + x", "1", "incomplete"},
    {"Compute \\begin{pmatrix} 1 & 2", "1", "incomplete"},
    {"How many apples does Tom have, and", "1", "incomplete"},
    {"A robe costs $5 and a hat costs $7. What do 3 robes cost, in dollars and without $3 off?",
     "15", ""},
    /* figures */
    {"In the figure, what is the angle at $B$?", "40", "figure"},
    {"The graph below shows $f$. What is $f(2)$?", "4", "figure"},
    {"In the figure, what is the angle at $B$? [asy] draw((0,0)--(1,1)); [/asy]", "45", ""},
    /* answers that the checker reads */
    {"Solve $x$.", "\\frac{1}{2}", ""},
    {"Solve $x$.", "x^2 + 3x", ""},
    {"Solve $x$.", "(2, \\infty)", ""},
    {"Solve $x$.", "12 \\text{ cm}", ""},
    {"Solve $x$.", "$\\boxed{\\sqrt{2}}$", ""},
    {"Solve $x$.", "\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", ""},
    {"Solve $x$.", "all primes that are one modulo four", "unparsable"},
    {"Who is older?", "\\text{Evelyn}", "unparsable"},
    {"Solve $x$.", "\\frac{1}{", "unparsable"},
};

static void name_reasons(unsigned reasons, char text[256])
{
    text[0] = '\0';
    for (int i = 0; i < MATH_CLEAN_COUNT; i++)
        if ((reasons >> i & 1) != 0)
            snprintf(text + strlen(text), 256 - strlen(text), "%s%s", text[0] != '\0' ? "," : "",
                     math_clean_name((enum math_clean_reason)i));
}

static void test_filter_math_rules_on_both_sides(void **state)
{
    (void)state;
    struct math_clean *clean = NULL;
    int wrong = 0;
    must(math_clean_create(&clean));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned reasons = 0;
        char text[256];
        must(math_clean_check(clean, cases[i].prompt, cases[i].answer, &reasons));
        name_reasons(reasons, text);
        if (strcmp(text, cases[i].reasons) != 0) {
            print_error("\"%s\" => \"%s\": [%s], not [%s]\n", cases[i].prompt, cases[i].answer,
                        text, cases[i].reasons);
            wrong++;
        }
    }
    math_clean_destroy(&clean);
    assert_int_equal(wrong, 0);
}

/* ---- the command ---- */

static void open_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/weir-filter-%d", (int)getpid());
    must(file_make_dirs(folder));
    write_file("in.jsonl", "{\"id\": \"a\", \"x\": 0.1}\n"
                           "{\"id\":\"b\",\"data_source\":\"s\"}  \n"
                           "{\"id\":3,\"pass_rate\":0.7}\n"
                           "{\"id\":\"d\"}\n{\"id\":\"e\"}\n");
    struct buffer text;
    buffer_init(&text, 0);
    for (int i = 0; i < 10; i++) {
        must(buffer_printf(&text, "{\"id\":\"a\",\"value\":%d,\"tokens\":%d}\n", i < 3, 100 + i));
        must(buffer_printf(&text,
                           "{\"id\":\"b\",\"value\":1,\"tokens\":9,\"finish\":\"length\"}\n"));
        must(buffer_printf(&text, "{\"id\":3,\"value\":%s}\n", i < 5 ? "1" : "0.1"));
        must(buffer_printf(&text, "{\"id\":\"d\",\"value\":null}\n"));
    }
    write_file("scores.jsonl", buffer_string(&text));
    buffer_free(&text);
}

static int filter(const char *keep, const char *more)
{
    char in[FILE_PATH_MAX], rates[FILE_PATH_MAX], out[FILE_PATH_MAX];
    must(file_path(in, "%s/in.jsonl", folder));
    must(file_path(rates, "%s/scores.jsonl", folder));
    must(file_path(out, "%s/out.jsonl", folder));
    char *argv[] = {"filter", in,       "--rates",
                    rates,    "--keep", (char *)(uintptr_t)keep,
                    "--out",  out,      (char *)(uintptr_t)more,
                    NULL};
    optind = 0;
    return filter_command(more != NULL ? 9 : 8, argv);
}

static void test_filter_joins_rates_and_says_why(void **state)
{
    (void)state;
    open_folder();
    assert_int_equal(filter("0 < pass@10 < 0.9", NULL), 0);
    expect_file("out.jsonl", "{\"id\": \"a\", \"x\": 0.1,\"pass_rate\":0.3}\n"
                             "{\"id\":3,\"pass_rate\":0.5}\n");
    expect_file("out.jsonl.dropped.jsonl",
                "{\"id\":\"b\",\"line\":2,\"source\":\"s\",\"reasons\":[\"keep\"],\"n\":10,"
                "\"passed\":10}\n"
                "{\"id\":\"d\",\"line\":4,\"source\":\"in\",\"reasons\":[\"not_scored\"],\"n\":0,"
                "\"passed\":0}\n"
                "{\"id\":\"e\",\"line\":5,\"source\":\"in\",\"reasons\":[\"no_rates\"]}\n");
    /* by Codex eq. 1 pass@10 of ten samples is 0 or 1 */
    assert_int_equal(filter("0 < pass@10 < 0.9", "--unbiased"), 0);
    expect_file("out.jsonl", "");
    /* pass@2 of a: 1 - C(7,2)/C(10,2) = 1 - 21/45; of the third: 1 - 10/45 */
    assert_int_equal(
        filter("0.53 < pass@2 < 0.54 and tokens.p50 == 104 and tokens.max == 109", NULL), 0);
    expect_file("out.jsonl", "{\"id\": \"a\", \"x\": 0.1,\"pass_rate\":0.3}\n");
    assert_int_equal(filter("truncated == 1 and source == 's' and avg@10 == 1", NULL), 0);
    expect_file("out.jsonl", "{\"id\":\"b\",\"data_source\":\"s\",\"pass_rate\":1}\n");
    assert_int_equal(filter("row.x > 0", NULL), 0);
    expect_file("out.jsonl", "{\"id\": \"a\", \"x\": 0.1,\"pass_rate\":0.3}\n");
    assert_int_equal(filter("pass@11 > 0", NULL), 0); /* too few samples: unknown */
    expect_file("out.jsonl", "");
    assert_true(filter("nonsense > 0", NULL) != 0);
    must(file_remove_tree(folder));
}

static void test_filter_math_clean_reads_contents_in_parts(void **state)
{
    (void)state;
    static const char row[] =
        "{\"id\":\"a\",\"prompt\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"
        "\"What is\"},{\"type\":\"text\",\"text\":\"$1 + 1$?\"}]}],\"answer\":\"2\"}\n";
    char in[FILE_PATH_MAX], out[FILE_PATH_MAX];
    open_folder();
    write_file("in.jsonl", row);
    must(file_path(in, "%s/in.jsonl", folder));
    must(file_path(out, "%s/out.jsonl", folder));
    char *argv[] = {"filter", in, "--math-clean", "--out", out, NULL};
    optind = 0;
    assert_int_equal(filter_command(5, argv), 0);
    expect_file("out.jsonl", row);
    must(file_remove_tree(folder));
}

static void test_filter_bad_scores_are_named_by_line(void **state)
{
    (void)state;
    struct rates *rates = NULL;
    char path[FILE_PATH_MAX];
    open_folder();
    write_file("bad.jsonl", "{\"id\":\"a\",\"value\":1}\n{\"id\":\"a\"}\n");
    must(file_path(path, "%s/bad.jsonl", folder));
    must(rates_create(&rates, 0.5));
    assert_int_equal(rates_add(rates, path), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "bad.jsonl:2"));
    assert_int_equal(rates_count(rates), 1);
    assert_null(rates_find(rates, "zzz"));
    assert_int_equal(rates_find(rates, "a")->n, 1);
    rates_destroy(&rates);
    must(rates_create(&rates, 0.5));
    char id[32], line[64];
    struct buffer text;
    buffer_init(&text, 0);
    for (int i = 0; i < 3000; i++) { /* the table grows */
        snprintf(line, sizeof line, "{\"id\":\"r%d\",\"value\":%d}\n", i, i % 2);
        must(buffer_text(&text, line));
    }
    write_file("many.jsonl", buffer_string(&text));
    buffer_free(&text);
    must(file_path(path, "%s/many.jsonl", folder));
    must(rates_add(rates, path));
    for (int i = 0; i < 3000; i++) {
        snprintf(id, sizeof id, "r%d", i);
        assert_int_equal(rates_find(rates, id)->c, i % 2);
    }
    assert_int_equal(rates_unused(rates), 0);
    rates_destroy(&rates);
    must(file_remove_tree(folder));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filter_expressions_mean_what_they_say),
        cmocka_unit_test(test_filter_bad_expressions_are_refused_by_column),
        cmocka_unit_test(test_filter_math_rules_on_both_sides),
        cmocka_unit_test(test_filter_joins_rates_and_says_why),
        cmocka_unit_test(test_filter_math_clean_reads_contents_in_parts),
        cmocka_unit_test(test_filter_bad_scores_are_named_by_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
