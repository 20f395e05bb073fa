/* links: reward_judge */
/* timeout: 30 */
/* valgrind: no */
/* weir judge references and weir judge check, and the judge as a service of the plugin host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <math.h>

#include "core/clock.h"
#include "core/file.h"
#include "reward/judge/judge_command.h"
#include "reward/judge/service.h"
#include "tests/judge_server.h"

static struct judge_server server;
static char folder[64], judge_text[256];

static int begin(void **state)
{
    (void)state;
    memset(&server, 0, sizeof server);
    for (int i = 0; i < JUDGE_CONNECTIONS_MAX; i++)
        server.fd[i] = -1;
    snprintf(folder, sizeof folder, "/tmp/weir-judge-XXXXXX");
    assert_non_null(mkdtemp(folder));
    if (!judge_server_start(&server, 0))
        return -1;
    snprintf(judge_text, sizeof judge_text,
             "{\"base_url\":\"http://127.0.0.1:%d/"
             "v1\",\"model\":\"m\",\"retries\":0,\"cache\":\"%s/cache\"}",
             server.port, folder);
    return 0;
}

static int end(void **state)
{
    (void)state;
    judge_server_stop(&server);
    return file_remove_tree(folder) == STATUS_OK ? 0 : -1;
}

static void path_of(char path[FILE_PATH_MAX], const char *name)
{
    assert_int_equal(file_path(path, "%s/%s", folder, name), STATUS_OK);
}

static void write_file(const char *name, const char *text)
{
    char path[FILE_PATH_MAX];
    path_of(path, name);
    assert_int_equal(file_replace(path, text, strlen(text)), STATUS_OK);
}

/* Line `number` (from 0) of a file as JSON; a new reference. */
static json_t *line_of(const char *name, int number)
{
    char path[FILE_PATH_MAX];
    struct buffer text;
    buffer_init(&text, 0);
    path_of(path, name);
    assert_int_equal(file_read(path, &text), STATUS_OK);
    const char *at = buffer_string(&text);
    for (; number > 0; number--)
        at = strchr(at, '\n') + 1;
    json_t *json = json_loadb(at, strcspn(at, "\n"), 0, NULL);
    assert_non_null(json);
    buffer_free(&text);
    return json;
}

/* Runs `weir judge WORD --in in.jsonl --out out.jsonl --judge ... more`; the summary, a new reference. */
static json_t *run(const char *word, const char *more, const char *much, int wanted)
{
    char in[FILE_PATH_MAX], out[FILE_PATH_MAX], *text = NULL;
    size_t size = 0;
    path_of(in, "in.jsonl");
    path_of(out, "out.jsonl");
    const char *arguments[] = {"judge",   word,       "--in", in,   "--out", out,
                               "--judge", judge_text, more,   much, NULL};
    int count = more == NULL ? 8 : much == NULL ? 9 : 10;
    FILE *summary = open_memstream(&text, &size);
    int code = judge_command(count, (char **)(uintptr_t)arguments, summary);
    fclose(summary);
    assert_int_equal(code, wanted);
    json_t *json = json_loads(text, 0, NULL);
    free(text);
    return json;
}

static double number_of(const json_t *json, const char *key)
{
    const json_t *number = json_object_get(json, key);
    if (!json_is_number(number))
        fail_msg("%s is missing", key);
    return json_number_value(number);
}

/* A judge that prefers the larger "price N", and grades 5 what is price 9. */
static char *weighs(const json_t *body)
{
    const char *text = json_string_value(
        json_object_get(json_array_get(json_object_get(body, "messages"), 1), "content"));
    const char *first = strstr(text, "price "),
               *second = first != NULL ? strstr(first + 1, "price ") : NULL;
    if (strstr(text, "Answer A:") == NULL)
        return strdup(first != NULL && first[6] == '9' ? "[[5]]" : "[[1]]");
    return strdup(first[6] > second[6] ? "[[A]]" : first[6] < second[6] ? "[[B]]" : "[[C]]");
}

static void test_judge_references_chooses_the_best_and_keeps_its_games(void **state)
{
    (void)state;
    server.decide = weighs;
    write_file("in.jsonl", "{\"id\":1,\"prompt\":\"p\",\"candidates\":[\"price 3\",\"price "
                           "1\",{\"text\":\"price 9\"},\"price 5\",\"price 2\"]}\n"
                           "\n{\"id\":2,\"prompt\":[{\"role\":\"user\",\"content\":\"q\"}],"
                           "\"candidates\":[\"price 7\"]}\n"
                           "{\"id\":3,\"prompt\":\"p\",\"candidates\":[]}\n");
    json_t *summary = run("references", NULL, NULL, 0);
    assert_true(number_of(summary, "rows") == 3 && number_of(summary, "chosen") == 2);
    assert_true(number_of(summary, "games") == 6 && number_of(summary, "consistency") == 1);
    json_t *row = line_of("out.jsonl", 0);
    assert_string_equal(json_string_value(json_object_get(row, "reference")), "price 9");
    assert_true(number_of(row, "reference_index") == 2);
    assert_int_equal(json_array_size(json_object_get(row, "games")),
                     9); /* three rounds of two and a bye */
    assert_true(number_of(json_array_get(json_object_get(row, "places"), 0), "points") == 3);
    json_decref(row);
    row = line_of("out.jsonl", 1);
    assert_string_equal(json_string_value(json_object_get(row, "reference")), "price 7");
    json_decref(row);
    row = line_of("out.jsonl", 2);
    assert_string_equal(json_string_value(json_object_get(row, "status")), "unscorable");
    json_decref(row);
    json_decref(summary);
    unsigned asked = server.requests;
    summary = run("references", NULL, NULL, 0); /* again: all from the cache */
    assert_int_equal(server.requests, asked);
    json_decref(summary);
}

static void test_judge_references_judge_that_is_down_chooses_nothing(void **state)
{
    (void)state;
    write_file("in.jsonl",
               "{\"id\":1,\"prompt\":\"p\",\"candidates\":[\"price 3\",\"price 1\"]}\n");
    server.habit = JUDGE_500;
    json_t *summary = run("references", NULL, NULL, 0), *row = line_of("out.jsonl", 0);
    assert_true(number_of(summary, "chosen") == 0);
    assert_string_equal(json_string_value(json_object_get(row, "status")), "error");
    assert_null(json_object_get(row, "reference"));
    json_decref(summary);
    json_decref(row);
}

static void test_judge_check_measures_the_judge(void **state)
{
    (void)state;
    server.decide = weighs;
    write_file("in.jsonl",
               "{\"id\":1,\"prompt\":\"p\",\"ground_truth\":\"g\",\"responses\":[{\"text\":\"price "
               "9\",\"correct\":true},{\"text\":\"price 2\",\"correct\":false}]}\n"
               "{\"id\":2,\"prompt\":\"p\",\"ground_truth\":\"g\",\"responses\":[{\"text\":\"price "
               "9\",\"correct\":false},{\"text\":\"price 2\",\"correct\":true}]}\n");
    json_t *summary = run("check", "--pairs", "--padded", 0);
    assert_true(fabs(number_of(summary, "accuracy") - 0.5) < 1e-9);
    assert_true(number_of(summary, "pass_at_n") == 1 && number_of(summary, "best_of_n") == 0.5 &&
                number_of(summary, "gap") == 0.5);
    const json_t *pairs = json_object_get(summary, "pairs"),
                 *padded = json_object_get(summary, "padded");
    assert_true(number_of(pairs, "consistency") == 1 && number_of(pairs, "first_place") == 0.5 &&
                number_of(pairs, "count") == 2);
    assert_true(number_of(padded, "preference") == 0.5 &&
                json_is_true(json_object_get(padded, "passes")));
    assert_int_equal(
        strlen(json_string_value(json_object_get(json_object_get(summary, "judge"), "version"))),
        16);
    json_decref(summary);
}

static void test_judge_check_finds_a_judge_of_places(void **state)
{
    (void)state;
    write_file("in.jsonl", "{\"prompt\":\"p\",\"ground_truth\":\"g\",\"responses\":[{\"text\":"
                           "\"a\",\"correct\":true},{\"text\":\"b\",\"correct\":false}]}\n"
                           "{\"prompt\":\"p\",\"responses\":[]}\n");
    server.habit = JUDGE_FIRST_PLACE;
    json_t *summary = run("check", "--pairs", NULL, 0);
    assert_true(number_of(json_object_get(summary, "pairs"), "consistency") == 0);
    assert_true(number_of(json_object_get(summary, "pairs"), "first_place") == 1);
    assert_true(number_of(summary, "unreadable") == 2 && number_of(summary, "failed") == 1);
    json_decref(summary);
}

static void test_judge_command_mistakes_have_exit_codes(void **state)
{
    (void)state;
    write_file("in.jsonl", "{\"id\":1}\nnot json\n");
    assert_null(run("check", NULL, NULL, 4));
    assert_null(run("check", "--blind", "0", 2));
    assert_null(run("check", "--nothing", NULL, 2));
    assert_null(run("chek", NULL, NULL, 2));
    snprintf(judge_text, sizeof judge_text, "{\"model\":\"m\"}");
    write_file("in.jsonl", "");
    assert_null(run("check", NULL, NULL, 4));
}

static void test_judge_service_speaks_json(void **state)
{
    (void)state;
    struct judge *judge = NULL;
    struct buffer answer;
    char why[256];
    json_t *config = json_loads(judge_text, 0, NULL);
    buffer_init(&answer, 0);
    assert_int_equal(judge_create(config, &judge, why, sizeof why), 0);
    json_decref(config);
    int64_t deadline_ns = clock_now_ns() + 5000 * (int64_t)CLOCK_NS_PER_MS;
    const char *request =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"temperature\":1,\"sample\":3}";
    assert_int_equal(judge_service(judge, request, strlen(request), deadline_ns, &answer), 0);
    json_t *json = json_loads(buffer_string(&answer), 0, NULL);
    assert_string_equal(json_string_value(json_object_get(json, "text")), "Grade: [[4]]");
    assert_string_equal(json_string_value(json_object_get(json, "judge")), judge_version(judge));
    json_decref(json);
    static const char *const wrong[] = {"[]", "{", "{\"messages\":3}",
                                        "{\"messages\":[],\"temperature\":-1}",
                                        "{\"messages\":[],\"sample\":1.5}"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(judge_service(judge, wrong[i], strlen(wrong[i]), deadline_ns, &answer),
                         EINVAL);
    server.habit = JUDGE_500;
    request = "{\"messages\":[]}";
    assert_int_equal(judge_service(judge, request, strlen(request), deadline_ns, &answer), EIO);
    buffer_free(&answer);
    judge_destroy(&judge);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(test_judge_references_chooses_the_best_and_keeps_its_games),
        TEST(test_judge_references_judge_that_is_down_chooses_nothing),
        TEST(test_judge_check_measures_the_judge),
        TEST(test_judge_check_finds_a_judge_of_places),
        TEST(test_judge_command_mistakes_have_exit_codes),
        TEST(test_judge_service_speaks_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
