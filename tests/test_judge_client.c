/* links: reward_judge */
/* timeout: 30 */
/* valgrind: no */
/* the judge's client against a server with every bad habit: the status of each, retries, deadline, breaker, cache, key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <sys/stat.h>

#include "core/clock.h"
#include "core/file.h"
#include "reward/judge/cache.h"
#include "reward/judge/client.h"
#include "tests/judge_server.h"
#include "tests/slow.h"

static struct judge_server server;
static json_t *messages;
static char folder[64];

static int begin(void **state)
{
    (void)state;
    memset(&server, 0, sizeof server);
    for (int i = 0; i < JUDGE_CONNECTIONS_MAX; i++)
        server.fd[i] = -1;
    snprintf(folder, sizeof folder, "/tmp/weir-judge-XXXXXX");
    assert_non_null(mkdtemp(folder));
    messages = json_pack("[{s:s,s:s}]", "role", "user", "content", "What?");
    return judge_server_start(&server, 0) ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    judge_server_stop(&server);
    json_decref(messages);
    return file_remove_tree(folder) == STATUS_OK ? 0 : -1;
}

/* Fast retries; `more` overrides. */
static struct judge *open_judge(const char *more)
{
    char base[64], why[512] = "";
    struct judge *judge = NULL;
    snprintf(base, sizeof base, "http://127.0.0.1:%d/v1", server.port);
    json_t *config =
        json_pack("{s:s,s:s,s:i,s:i,s:i,s:i,s:i,s:f,s:f}", "base_url", base, "model", "m",
                  "retries", 2, "backoff_ms", 2, "backoff_max_ms", 10, "timeout_ms", 5000,
                  "down_after", 1000, "price_prompt", 1.0, "price_completion", 10.0);
    json_t *extra = json_loads(more, 0, NULL);
    assert_non_null(extra);
    json_object_update(config, extra);
    json_decref(extra);
    if (judge_create(config, &judge, why, sizeof why) != 0)
        fail_msg("%s", why);
    json_decref(config);
    return judge;
}

static int64_t in_ms(int64_t ms)
{
    return clock_now_ns() + ms * CLOCK_NS_PER_MS;
}

static enum status ask_for(struct judge *judge, int64_t ms, char *text, size_t size)
{
    struct judge_answer answer = {0};
    enum status status = judge_ask(judge, messages, in_ms(ms), &answer);
    if (status == STATUS_OK) {
        snprintf(text, size, "%s", answer.text);
        judge_answer_free(&answer);
    }
    return status;
}

static void test_judge_client_answers_and_counts(void **state)
{
    (void)state;
    struct judge *judge = open_judge("{}");
    struct judge_answer answer = {0};
    struct judge_counters counts;
    assert_int_equal(judge_ask(judge, messages, in_ms(5000), &answer), STATUS_OK);
    assert_string_equal(answer.text, "Grade: [[4]]");
    assert_string_equal(answer.finish, "stop");
    assert_int_equal(answer.prompt_tokens, 100);
    assert_true(fabs(answer.cost - 300e-6) < 1e-12 && !answer.cached && answer.latency_ms > 0);
    judge_answer_free(&answer);
    judge_counters(judge, &counts);
    assert_int_equal(counts.questions, 1);
    assert_int_equal(counts.attempts, 1);
    assert_int_equal(counts.retries + counts.failures + counts.cached + counts.waiting, 0);
    assert_int_equal(counts.completion_tokens, 20);
    assert_true(counts.p50_ms > 0 && counts.p95_ms >= counts.p50_ms &&
                fabs(counts.cost - 300e-6) < 1e-12);
    judge_destroy(&judge);
}

static void test_judge_client_body_holds_settings(void **state)
{
    (void)state;
    char text[4096];
    server.habit = JUDGE_LYING; /* repeats messages[1] */
    struct judge *judge = open_judge(
        "{\"temperature\":0.5,\"seed\":7,\"extra\":{\"top_p\":0.9,\"max_tokens\":null}}");
    json_array_append_new(messages, json_pack("{s:s,s:s}", "role", "user", "content", "second"));
    assert_int_equal(ask_for(judge, 5000, text, sizeof text), STATUS_OK);
    assert_string_equal(text, "second");
    judge_destroy(&judge);
}

struct habit_case {
    int habit;
    enum status status;
    unsigned requests; /* with 2 retries */
};

/* No habit gives an answer, a hang or a wrong status; afterwards the same judge works. */
static void test_judge_client_every_bad_habit_is_a_status(void **state)
{
    (void)state;
    const struct habit_case cases[] = {
        {JUDGE_CLOSES, STATUS_NETWORK, 3},    {JUDGE_500, STATUS_NETWORK, 3},
        {JUDGE_401, STATUS_INVALID, 1},       {JUDGE_REDIRECT, STATUS_INVALID, 1},
        {JUDGE_MALFORMED, STATUS_CORRUPT, 3}, {JUDGE_TRUNCATED, STATUS_NETWORK, 3},
        {JUDGE_ENDLESS, STATUS_LIMIT, 1},     {JUDGE_HTML, STATUS_CORRUPT, 3},
        {JUDGE_NO_CHOICES, STATUS_CORRUPT, 3}};
    struct judge *judge = open_judge("{\"body_bytes_max\":65536}");
    char text[100];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned before = server.requests;
        server.habit = cases[i].habit;
        enum status status = ask_for(judge, 10000, text, sizeof text);
        if (status != cases[i].status)
            fail_msg("habit %d: %s, %s", cases[i].habit, status_name(status), status_last_error());
        unsigned requests = server.requests - before;
        if (requests != cases[i].requests &&
            cases[i].habit != JUDGE_CLOSES) /* curl itself may try a reused one again */
            fail_msg("habit %d: %u requests", cases[i].habit, requests);
        server.habit = JUDGE_CORRECT;
        assert_int_equal(ask_for(judge, 10000, text, sizeof text), STATUS_OK);
    }
    server.habit = JUDGE_NULL_CONTENT; /* an answer, with nothing in it */
    assert_int_equal(ask_for(judge, 10000, text, sizeof text), STATUS_OK);
    assert_string_equal(text, "");
    judge_destroy(&judge);
}

static void test_judge_client_retries_until_it_works(void **state)
{
    (void)state;
    static const int habits[] = {JUDGE_500, JUDGE_MALFORMED, JUDGE_TRUNCATED, JUDGE_429};
    struct judge *judge = open_judge("{}");
    struct judge_counters counts;
    char text[100];
    for (size_t i = 0; i < 4; i++) {
        server.habit = habits[i];
        server.bad = habits[i] == JUDGE_429 ? 1 : 2;
        assert_int_equal(ask_for(judge, 10000, text, sizeof text), STATUS_OK);
        assert_string_equal(text, "Grade: [[4]]");
    }
    judge_counters(judge, &counts);
    assert_int_equal(counts.retries, 7);
    assert_int_equal(counts.failures, 0);
    assert_int_equal(counts.attempts, 11);
    judge_destroy(&judge);
}

static void test_judge_client_retry_after_is_honoured(void **state)
{
    (void)state;
    struct judge *judge = open_judge("{}");
    char text[100];
    server.habit = JUDGE_429;
    server.bad = 1;
    int64_t start_ns = clock_now_ns();
    assert_int_equal(ask_for(judge, 10000, text, sizeof text), STATUS_OK);
    assert_true(clock_now_ns() - start_ns >= 1000 * CLOCK_NS_PER_MS);
    server.bad = 1; /* no time for the pause that it asks for: given up at once */
    start_ns = clock_now_ns();
    assert_int_equal(ask_for(judge, 800, text, sizeof text), STATUS_TIMEOUT);
    assert_true(clock_now_ns() - start_ns < 700 * CLOCK_NS_PER_MS);
    assert_non_null(strstr(status_last_error(), "slow down"));
    judge_destroy(&judge);
}

static void test_judge_client_keeps_the_deadline(void **state)
{
    (void)state;
    static const int habits[] = {JUDGE_HANGS, JUDGE_SLOW, JUDGE_429};
    struct judge *judge = open_judge("{}");
    char text[100];
    server.slow_ms = 20000;
    for (size_t i = 0; i < 3; i++) {
        server.habit = habits[i];
        int64_t start_ns = clock_now_ns();
        assert_int_equal(ask_for(judge, 200, text, sizeof text), STATUS_TIMEOUT);
        int64_t took_ms = (clock_now_ns() - start_ns) / CLOCK_NS_PER_MS;
        assert_true(took_ms < 2000);
    }
    assert_int_equal(ask_for(judge, -5, text, sizeof text),
                     STATUS_TIMEOUT); /* over before it began */
    judge_destroy(&judge);
}

static void test_judge_client_attempt_timeout_is_retried(void **state)
{
    (void)state;
    struct judge *judge = open_judge("{\"timeout_ms\":150}");
    char text[100];
    server.habit = JUDGE_HANGS;
    server.bad = 1;
    assert_int_equal(ask_for(judge, 10000, text, sizeof text), STATUS_OK);
    judge_destroy(&judge);
}

static void test_judge_client_slow_judge_answers_in_the_end(void **state)
{
    (void)state;
    struct judge *judge = open_judge("{}");
    char text[100];
    server.habit = JUDGE_SLOW;
    server.slow_ms = 300;
    assert_int_equal(ask_for(judge, 10000, text, sizeof text), STATUS_OK);
    struct judge_counters counts;
    judge_counters(judge, &counts);
    assert_true(counts.p50_ms > 250 && counts.p50_ms < 3000);
    judge_destroy(&judge);
}

/* Nobody listens: fails fast after down_after attempts, and finds out by itself when the judge is back. */
static void test_judge_client_down_fails_fast_and_comes_back(void **state)
{
    (void)state;
    uint16_t port = server.port;
    char text[100];
    struct judge_counters counts;
    struct judge *judge =
        open_judge("{\"down_after\":3,\"down_ms\":300,\"retries\":10,\"wait_when_down\":false}");
    judge_server_stop(&server);
    assert_int_equal(ask_for(judge, 10000, text, sizeof text), STATUS_TIMEOUT);
    assert_non_null(strstr(status_last_error(), "down"));
    judge_counters(judge, &counts);
    assert_true(counts.down && counts.downs == 1 && counts.attempts == 3);
    int64_t start_ns = clock_now_ns();
    for (int i = 0; i < 50; i++)
        assert_int_equal(ask_for(judge, 10000, text, sizeof text), STATUS_TIMEOUT);
    assert_true(clock_now_ns() - start_ns < 290 * CLOCK_NS_PER_MS || test_is_slow());
    memset(&server, 0, sizeof server);
    for (int i = 0; i < JUDGE_CONNECTIONS_MAX; i++)
        server.fd[i] = -1;
    assert_true(judge_server_start(&server, port));
    clock_sleep_ms(400);
    assert_int_equal(ask_for(judge, 10000, text, sizeof text), STATUS_OK);
    judge_counters(judge, &counts);
    assert_true(!counts.down && counts.refused_fast >= 50);
    judge_destroy(&judge);
}

static void test_judge_client_waits_for_one_that_is_down(void **state)
{
    (void)state;
    char text[100];
    struct judge *judge = open_judge("{\"down_after\":2,\"down_ms\":100,\"retries\":10}");
    server.habit = JUDGE_500;
    server.bad = 4;
    assert_int_equal(ask_for(judge, 10000, text, sizeof text), STATUS_OK);
    judge_destroy(&judge);
}

/* ---- many threads ---- */

struct crowd {
    struct judge *judge;
    atomic_uint ok, other;
};

static void *crowd_asks(void *self)
{
    struct crowd *crowd = self;
    for (uint64_t i = 0; i < test_times(50, 10); i++) {
        struct judge_answer answer = {0};
        if (judge_ask(crowd->judge, messages, in_ms(20000), &answer) == STATUS_OK &&
            strcmp(answer.text, "Grade: [[4]]") == 0)
            crowd->ok++;
        else
            crowd->other++;
        judge_answer_free(&answer);
    }
    return NULL;
}

static void test_judge_client_many_threads_share_few_connections(void **state)
{
    (void)state;
    enum { THREADS = 16 };
    struct crowd crowd = {.judge = open_judge("{\"concurrency\":4,\"retries\":20}")};
    pthread_t threads[THREADS];
    server.habit = JUDGE_500;
    server.bad = 40;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_asks, &crowd), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(crowd.other, 0);
    assert_int_equal(crowd.ok, THREADS * test_times(50, 10));
    assert_true(server.connections <= 8); /* four at a time; one may be replaced */
    judge_destroy(&crowd.judge);
}

static void *asks_one(void *self)
{
    struct crowd *crowd = self;
    struct judge_answer answer = {0};
    if (judge_ask(crowd->judge, messages, in_ms(20000), &answer) == STATUS_CANCELLED)
        crowd->ok++;
    judge_answer_free(&answer);
    return NULL;
}

static void test_judge_client_full_queue_is_a_limit(void **state)
{
    (void)state;
    server.habit = JUDGE_SLOW;
    server.slow_ms = 300;
    struct judge *judge = open_judge("{\"concurrency\":1,\"queue_max\":2}");
    struct judge_question questions[3] = {{.messages = messages, .temperature = -1},
                                          {.messages = messages, .temperature = -1, .sample = 1},
                                          {.messages = messages, .temperature = -1, .sample = 2}};
    judge_ask_all(judge, questions, 3, in_ms(10000));
    assert_int_equal(questions[0].status, STATUS_OK);
    assert_int_equal(questions[1].status, STATUS_OK);
    assert_int_equal(questions[2].status, STATUS_LIMIT);
    for (int i = 0; i < 2; i++)
        judge_answer_free(&questions[i].answer);
    judge_destroy(&judge);
}

/* ---- cache ---- */

static void test_judge_client_cached_answer_costs_no_call(void **state)
{
    (void)state;
    char more[128];
    snprintf(more, sizeof more, "{\"cache\":\"%s/cache\"}", folder);
    struct judge_answer answer = {0};
    struct judge_counters counts;
    for (int round = 0; round < 2; round++) { /* the second judge opens what the first one left */
        struct judge *judge = open_judge(more);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(judge_ask(judge, messages, in_ms(5000), &answer), STATUS_OK);
            assert_string_equal(answer.text, "Grade: [[4]]");
            assert_true(answer.cached == (round > 0 || i > 0) &&
                        (!answer.cached || answer.cost == 0));
            judge_answer_free(&answer);
        }
        judge_counters(judge, &counts);
        assert_int_equal(counts.cached, round == 0 ? 2 : 3);
        assert_int_equal(server.requests, 1);
        judge_destroy(&judge);
    }
    snprintf(more, sizeof more, "{\"cache\":\"%s/cache\",\"temperature\":0.3}", folder);
    struct judge *other = open_judge(more); /* other settings, another judge */
    assert_int_equal(judge_ask(other, messages, in_ms(5000), &answer), STATUS_OK);
    assert_false(answer.cached);
    judge_answer_free(&answer);
    server.habit = JUDGE_500; /* failures are not kept */
    struct judge_question question = {.messages = messages, .temperature = -1, .sample = 5};
    judge_ask_all(other, &question, 1, in_ms(5000));
    assert_int_equal(question.status, STATUS_NETWORK);
    server.habit = JUDGE_CORRECT;
    judge_ask_all(other, &question, 1, in_ms(5000));
    assert_true(question.status == STATUS_OK && !question.answer.cached);
    judge_answer_free(&question.answer);
    judge_destroy(&other);
}

static struct cache *open_cache(const char *name, uint64_t most)
{
    char path[FILE_PATH_MAX];
    struct cache *cache = NULL;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(cache_open(&cache, path, most), STATUS_OK);
    return cache;
}

static struct cache_key numbered(uint32_t i)
{
    return cache_key_of(&i, sizeof i);
}

static bool has(struct cache *cache, uint32_t i)
{
    struct buffer value;
    char wanted[32];
    buffer_init(&value, 0);
    bool found = cache_find(cache, numbered(i), &value) == STATUS_OK;
    snprintf(wanted, sizeof wanted, "value %" PRIu32, i);
    if (found)
        assert_string_equal(buffer_string(&value), wanted);
    buffer_free(&value);
    return found;
}

static void put(struct cache *cache, uint32_t i)
{
    char value[32];
    int size = snprintf(value, sizeof value, "value %" PRIu32, i);
    assert_int_equal(cache_put(cache, numbered(i), value, (size_t)size), STATUS_OK);
}

static void test_judge_cache_is_bounded_and_shared(void **state)
{
    (void)state;
    enum { MOST = 64 << 10, COUNT = 5000 };
    struct cache *cache = open_cache("c", MOST), *other = open_cache("c", MOST);
    for (uint32_t i = 0; i < COUNT; i++) {
        put(i % 3 ? cache : other, i);
        assert_true(has(i % 2 ? cache : other, i)); /* each sees what the other wrote */
    }
    struct stat stat_now, stat_old;
    char path[FILE_PATH_MAX];
    snprintf(path, sizeof path, "%s/c/answers.log", folder);
    assert_int_equal(stat(path, &stat_now), 0);
    snprintf(path, sizeof path, "%s/c/answers.old", folder);
    assert_int_equal(stat(path, &stat_old), 0);
    assert_true(stat_now.st_size + stat_old.st_size <= MOST);
    assert_false(has(cache, 0)); /* the oldest are gone */
    uint64_t entries = cache_entries(cache);
    assert_true(entries > 300 && entries < 2000);
    cache_close(&cache);
    cache_close(&other);
    cache = open_cache("c", MOST);
    assert_int_equal(cache_entries(cache), entries);
    assert_true(has(cache, COUNT - 1));
    char large[MOST];
    memset(large, 'x', sizeof large);
    assert_int_equal(cache_put(cache, numbered(1), large, sizeof large), STATUS_LIMIT);
    cache_close(&cache);
}

/* Cut or damaged at any byte: what stands before it is found, nothing false is, and writing goes on. */
static void test_judge_cache_survives_any_cut(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX];
    struct cache *cache = open_cache("d", 1 << 20);
    for (uint32_t i = 0; i < 4; i++)
        put(cache, i);
    cache_close(&cache);
    snprintf(path, sizeof path, "%s/d/answers.log", folder);
    struct buffer whole;
    buffer_init(&whole, 0);
    assert_int_equal(file_read(path, &whole), STATUS_OK);
    for (size_t cut = 0; cut < 2 * whole.size; cut += test_is_slow() ? 17 : 3) {
        bool flip = cut >= whole.size;
        size_t at = flip ? cut - whole.size : cut;
        if (flip)
            whole.bytes[at] ^= 0x40;
        assert_int_equal(file_replace(path, whole.bytes, flip ? whole.size : at), STATUS_OK);
        if (flip)
            whole.bytes[at] ^= 0x40;
        cache = open_cache("d", 1 << 20);
        size_t record = whole.size / 4;
        for (uint32_t i = 0; i < 4; i++)
            assert_true(has(cache, i) == (at >= (i + 1) * record) || flip);
        put(cache, 77);
        assert_true(has(cache, 77));
        for (uint32_t i = 0; i < 4; i++) {
            put(cache, i);
            assert_true(has(cache, i));
        }
        cache_close(&cache);
    }
    buffer_free(&whole);
}

/* ---- settings and the key ---- */

static void assert_refused(const char *config, const char *word)
{
    char why[512] = "";
    struct judge *judge = NULL;
    json_t *json = json_loads(config, 0, NULL);
    assert_non_null(json);
    assert_true(judge_create(json, &judge, why, sizeof why) != 0);
    if (strstr(why, word) == NULL)
        fail_msg("%s: \"%s\" does not name %s", config, why, word);
    json_decref(json);
}

static void test_judge_settings_mistakes_are_named(void **state)
{
    (void)state;
    assert_refused("[]", "object");
    assert_refused("{}", "base_url");
    assert_refused("{\"base_url\":\"http://127.0.0.1/v1\"}", "model");
    assert_refused("{\"base_url\":\"ftp://x/v1\",\"model\":\"m\"}", "base_url");
    assert_refused("{\"base_url\":\"http://u:p@x/v1\",\"model\":\"m\"}", "base_url");
    assert_refused("{\"base_url\":\"http://x/v1\",\"model\":\"m\",\"api_key\":\"k\"}",
                   "api_key_env");
    assert_refused("{\"base_url\":\"http://x/v1\",\"model\":\"m\",\"retires\":2}", "retires");
    assert_refused("{\"base_url\":\"http://x/v1\",\"model\":\"m\",\"retries\":-1}", "retries");
    assert_refused("{\"base_url\":\"http://x/v1\",\"model\":\"m\",\"retries\":\"2\"}", "retries");
    assert_refused("{\"base_url\":\"http://x/v1\",\"model\":\"m\",\"seed\":1.5}", "seed");
    assert_refused("{\"base_url\":\"http://x/v1\",\"model\":\"m\",\"extra\":{\"messages\":[]}}",
                   "messages");
    assert_refused(
        "{\"base_url\":\"http://x/v1\",\"model\":\"m\",\"api_key_env\":\"WEIR_NOT_SET\"}",
        "WEIR_NOT_SET");
    assert_refused("{\"base_url\":\"http://x/v1\",\"model\":\"m\",\"api_key_file\":\"/nowhere\"}",
                   "/nowhere");
    assert_int_equal(setenv("WEIR_TEST_KEY", "a\nb", 1), 0);
    assert_refused(
        "{\"base_url\":\"http://127.0.0.1/v1\",\"model\":\"m\",\"api_key_env\":\"WEIR_TEST_KEY\"}",
        "WEIR_TEST_KEY");
    assert_int_equal(setenv("WEIR_TEST_KEY", "sk-1", 1), 0);
    assert_refused("{\"base_url\":\"http://example.org/"
                   "v1\",\"model\":\"m\",\"api_key_env\":\"WEIR_TEST_KEY\"}",
                   "https");
}

static void write_key(const char *path, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "sk-very-secret-1234\n", 20), 20);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

/* Everything that is written to stderr, and every error text, without the key. */
static void test_judge_client_key_stays_secret(void **state)
{
    (void)state;
    char path[128], more[256], log_path[128], text[100];
    snprintf(path, sizeof path, "%s/key", folder);
    snprintf(log_path, sizeof log_path, "%s/log", folder);
    snprintf(more, sizeof more, "{\"api_key_file\":\"%s\",\"down_after\":2,\"cache\":\"%s/k\"}",
             path, folder);
    write_key(path, 0644);
    char config[512];
    snprintf(config, sizeof config,
             "{\"base_url\":\"http://127.0.0.1/v1\",\"model\":\"m\",\"api_key_file\":\"%s\"}",
             path);
    assert_refused(config, "600");
    write_key(path, 0600);
    int kept = dup(2), log = open(log_path, O_WRONLY | O_CREAT, 0600);
    assert_true(kept >= 0 && log >= 0 && dup2(log, 2) == 2);
    struct judge *judge = open_judge(more);
    server.habit = JUDGE_401;
    enum status refused = ask_for(judge, 5000, text, sizeof text);
    bool shown = strstr(status_last_error(), "very-secret") != NULL;
    bool hidden = strstr(status_last_error(), "wrong key ****") != NULL;
    server.habit = JUDGE_500;
    for (int i = 0; i < 3; i++) {
        assert_true(ask_for(judge, 5000, text, sizeof text) != STATUS_OK);
        shown |= strstr(status_last_error(), "very-secret") != NULL;
    }
    judge_destroy(&judge);
    assert_int_equal(dup2(kept, 2), 2);
    close(kept);
    close(log);
    assert_int_equal(refused, STATUS_INVALID);
    assert_true(server.key_seen && !shown && hidden);
    struct buffer lines;
    buffer_init(&lines, 0);
    assert_int_equal(file_read(log_path, &lines), STATUS_OK);
    assert_non_null(strstr(buffer_string(&lines), "down")); /* something was logged */
    assert_null(strstr(buffer_string(&lines), "very-secret"));
    buffer_free(&lines);
}

static void test_judge_version_follows_what_changes_answers(void **state)
{
    (void)state;
    static const char *const same[] = {"{}", "{\"retries\":9}", "{\"price_prompt\":5}",
                                       "{\"timeout_ms\":77}"};
    static const char *const other[] = {"{\"model\":\"n\"}",  "{\"temperature\":1}",
                                        "{\"max_tokens\":5}", "{\"seed\":3}",
                                        "{\"seed\":null}",    "{\"extra\":{\"top_p\":1}}"};
    char version[JUDGE_VERSION_SIZE];
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        struct judge *judge = open_judge(same[i]);
        if (i == 0)
            snprintf(version, sizeof version, "%s", judge_version(judge));
        assert_string_equal(judge_version(judge), version);
        judge_destroy(&judge);
    }
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++) {
        struct judge *judge = open_judge(other[i]);
        assert_string_not_equal(judge_version(judge), version);
        judge_destroy(&judge);
    }
}

static void test_judge_client_closing_cancels_who_waits(void **state)
{
    (void)state;
    struct crowd crowd = {.judge = open_judge("{}")};
    struct judge_counters counts = {0};
    pthread_t thread;
    server.habit = JUDGE_HANGS;
    assert_int_equal(pthread_create(&thread, NULL, asks_one, &crowd), 0);
    while (server.requests == 0)
        clock_sleep_ms(2);
    judge_counters(crowd.judge, &counts);
    assert_int_equal(counts.waiting, 1);
    judge_stop(crowd.judge);
    pthread_join(thread, NULL);
    assert_int_equal(crowd.ok, 1);
    judge_destroy(&crowd.judge);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(test_judge_client_answers_and_counts),
        TEST(test_judge_client_body_holds_settings),
        TEST(test_judge_client_every_bad_habit_is_a_status),
        TEST(test_judge_client_retries_until_it_works),
        TEST(test_judge_client_retry_after_is_honoured),
        TEST(test_judge_client_keeps_the_deadline),
        TEST(test_judge_client_attempt_timeout_is_retried),
        TEST(test_judge_client_slow_judge_answers_in_the_end),
        TEST(test_judge_client_down_fails_fast_and_comes_back),
        TEST(test_judge_client_waits_for_one_that_is_down),
        TEST(test_judge_client_many_threads_share_few_connections),
        TEST(test_judge_client_full_queue_is_a_limit),
        TEST(test_judge_client_cached_answer_costs_no_call),
        TEST(test_judge_cache_is_bounded_and_shared),
        TEST(test_judge_cache_survives_any_cut),
        TEST(test_judge_settings_mistakes_are_named),
        TEST(test_judge_client_key_stays_secret),
        TEST(test_judge_version_follows_what_changes_answers),
        TEST(test_judge_client_closing_cancels_who_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
