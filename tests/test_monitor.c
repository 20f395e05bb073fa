/* links: transport core */
/* timeout: 60 */
/* The monitor of a process: what /metrics, /live and /ready say, hostile and many requests, taken ports, figures of a GPU
 * from a library that stands for NVML. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/nvml.h"
#include "tests/local_port.h"
#include "tests/slow.h"
#include "transport/listen.h"
#include "transport/monitor.h"

enum { ANSWER_MAX = 1 << 18 };

// clang-format off
#define SAMPLE_METRICS(ROW) \
    ROW(COUNTER, tokens, "test/tokens_sampled", "tokens", "Tokens.") \
    ROW(GAUGE,   share,  "test/share",          "",       "A share.") \
    ROW(HISTOGRAM(METRIC_SECONDS), step, "test/step_seconds", "s", "Steps.")
// clang-format on
struct sample_metrics {
    SAMPLE_METRICS(METRIC_MEMBER)
};
#define ROW(...) METRIC_ROW(struct sample_metrics, __VA_ARGS__)
static const struct metric_row rows[] = {SAMPLE_METRICS(ROW)};
#undef ROW
enum { ROWS = sizeof rows / sizeof rows[0] };
static struct sample_metrics metrics;

static struct monitor *open_monitor(const char *run, const char *http, const char *folder)
{
    struct monitor *monitor = NULL;
    struct monitor_options options = {.http = http,
                                      .run = run,
                                      .role = "actor",
                                      .index = 3,
                                      .run_folder = folder,
                                      .silent_ms = 1000,
                                      .nvml = BUILD_DIR "/tests/fake_nvml.so"};
    assert_int_equal(monitor_open(&monitor, &options), STATUS_OK);
    return monitor;
}

static int connect_to(const char *address)
{
    int fd = local_connect(local_port_of(address), 20);
    assert_true(fd >= 0);
    return fd;
}

/* The whole answer, NUL-terminated; its size. */
static size_t say(const char *address, const char *request, size_t size, char *answer)
{
    int fd = connect_to(address);
    size_t got = 0;
    assert_int_equal(send(fd, request, size, MSG_NOSIGNAL), (ssize_t)size);
    for (ssize_t more;
         got + 1 < ANSWER_MAX && (more = recv(fd, answer + got, ANSWER_MAX - 1 - got, 0)) > 0;)
        got += (size_t)more;
    answer[got] = 0;
    close(fd);
    return got;
}

static const char *get(const struct monitor *monitor, const char *path)
{
    static char answer[ANSWER_MAX];
    char request[512];
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", path);
    say(monitor_address(monitor), request, (size_t)size, answer);
    return answer;
}

static bool is_code(const char *answer, const char *code)
{
    return strncmp(answer, "HTTP/1.1 ", 9) == 0 && strncmp(answer + 9, code, 3) == 0;
}

static void test_monitor_shows_tables_texts_and_the_process(void **state)
{
    (void)state;
    struct monitor *monitor = open_monitor("a \"b\"\\c", "auto", "");
    monitor_add(monitor, rows, ROWS, &metrics);
    metric_set(&metrics.tokens, 12);
    metric_observe(&metrics.step, 0.3);
    monitor_put(monitor, 1, "# TYPE more gauge\nmore{a=\"b\"} 1\n");
    const char *answer = get(monitor, "/metrics");
    assert_true(is_code(answer, "200"));
    assert_non_null(strstr(answer, "Content-Type: text/plain; version=0.0.4"));
    assert_non_null(strstr(answer, "\nweir_test_tokens_sampled_total{run=\"a \\\"b\\\"\\\\c\","
                                   "process=\"actor.3\",role=\"actor\"} 12\n"));
    assert_non_null(strstr(answer, "role=\"actor\",le=\"0.5\"} 1\n"));
    assert_non_null(strstr(answer, "\nmore{a=\"b\"} 1\n"));
    assert_non_null(strstr(answer, "\nweir_build_info{"));
    assert_non_null(strstr(answer, "\nprocess_cpu_seconds_total{"));
    assert_non_null(strstr(answer, "\nprocess_resident_memory_bytes{"));
    assert_non_null(strstr(answer, "\nprocess_start_time_seconds{"));
    assert_null(strstr(answer, "gpu"));
    const char *open_fds = strstr(answer, "\nprocess_open_fds{");
    assert_non_null(open_fds);
    assert_true(strtod(strchr(open_fds, '}') + 1, NULL) >= 3);
    monitor_close(&monitor);
}

static void test_monitor_live_follows_the_beat_and_ready_what_is_told(void **state)
{
    (void)state;
    struct monitor *monitor = open_monitor("a", "auto", "");
    assert_true(is_code(get(monitor, "/live"), "200")); /* it starts */
    assert_non_null(strstr(get(monitor, "/ready"), "actor.3 is not ready: it starts"));
    monitor_beat(monitor);
    assert_true(is_code(get(monitor, "/live"), "200"));
    clock_sleep_ms(1100);
    assert_true(is_code(get(monitor, "/live"), "503"));
    assert_non_null(strstr(get(monitor, "/live"), "longer than run.silent_s"));
    monitor_beat(monitor);
    assert_true(is_code(get(monitor, "/live"), "200"));
    monitor_set_ready(monitor, false, "it has no weights yet");
    assert_true(is_code(get(monitor, "/ready"), "503"));
    assert_non_null(strstr(get(monitor, "/ready"), "it has no weights yet"));
    monitor_set_ready(monitor, true, "");
    assert_true(is_code(get(monitor, "/ready"), "200"));
    assert_non_null(strstr(get(monitor, "/metrics"), "weir_process_ready{run=\"a\",process="
                                                     "\"actor.3\",role=\"actor\"} 1\n"));
    monitor_close(&monitor);
}

static void test_monitor_bad_requests_harm_nothing(void **state)
{
    (void)state;
    struct monitor *monitor = open_monitor("a", "auto", "");
    static char answer[ANSWER_MAX], big[1 << 17];
    monitor_add(monitor, rows, ROWS, &metrics);
    const char *const bad[] = {"\r\n\r\n",
                               "GET\r\n\r\n",
                               "GET /metrics HTTP/9.9\r\n\r\n",
                               "GET /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                               "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                               "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
                               "GET /../../etc/passwd HTTP/1.0\r\n\r\n"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int fd = connect_to(monitor_address(monitor));
        assert_true(send(fd, bad[i], strlen(bad[i]), MSG_NOSIGNAL) >= 0);
        shutdown(fd, SHUT_WR);
        struct timeval moment = {.tv_usec = 50000}; /* half a request may get no answer */
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof moment);
        while (recv(fd, answer, sizeof answer, 0) > 0)
            ;
        close(fd);
    }
    memset(big, 'a', sizeof big);
    int fd = connect_to(monitor_address(monitor));
    (void)!send(fd, "GET /", 5, MSG_NOSIGNAL);
    (void)!send(fd, big, sizeof big, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
    static const char post[] = "POST /live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    say(monitor_address(monitor), post, sizeof post - 1, answer);
    assert_true(is_code(answer, "405"));
    static const char head[] = "HEAD /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    say(monitor_address(monitor), head, sizeof head - 1, answer);
    assert_true(is_code(answer, "200"));
    assert_null(strstr(answer, "weir_"));
    assert_true(is_code(get(monitor, "/nothing"), "404"));
    assert_true(is_code(get(monitor, "/metrics?a=b"), "200"));
    monitor_close(&monitor);
}

/* All open before the first asks; the main loop's metrics move meanwhile. */
static void test_monitor_many_scrapes_at_once_are_all_answered(void **state)
{
    (void)state;
    enum { CLIENTS_MAX = 200 };
    static char answer[ANSWER_MAX];
    int clients = (int)test_times(CLIENTS_MAX, 50), fds[CLIENTS_MAX];
    struct monitor *monitor = open_monitor("a", "auto", "");
    monitor_add(monitor, rows, ROWS, &metrics);
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for (int i = 0; i < clients; i++)
        fds[i] = connect_to(monitor_address(monitor));
    for (int i = 0; i < clients; i++)
        assert_int_equal(send(fds[i], request, sizeof request - 1, MSG_NOSIGNAL),
                         sizeof request - 1);
    for (int i = 0; i < clients; i++) {
        size_t got = 0;
        for (ssize_t more; (more = recv(fds[i], answer + got, sizeof answer - 1 - got, 0)) > 0;)
            got += (size_t)more;
        answer[got] = 0;
        close(fds[i]);
        assert_true(is_code(answer, "200"));
        assert_non_null(strstr(answer, "process_start_time_seconds{"));
        metric_observe(&metrics.step, 0.01);
    }
    monitor_close(&monitor);
}

static void *observe_until(void *stop)
{
    while (!atomic_load((atomic_bool *)stop)) {
        metric_observe(&metrics.step, 0.02);
        metric_add(&metrics.tokens, 1);
    }
    return NULL;
}

static double sample_of(const char *text, const char *start)
{
    const char *at = strstr(text, start);
    assert_non_null(at);
    return strtod(strrchr(at, '}') != NULL ? strchr(at, '}') + 1 : at, NULL);
}

static void test_monitor_histograms_and_counters_hold_while_they_move(void **state)
{
    (void)state;
    atomic_bool stop = false;
    pthread_t thread;
    double before = 0;
    struct monitor *monitor = open_monitor("a", "auto", "");
    monitor_add(monitor, rows, ROWS, &metrics);
    assert_int_equal(pthread_create(&thread, NULL, observe_until, &stop), 0);
    for (int i = 0; i < (int)test_times(50, 5); i++) {
        const char *text = get(monitor, "/metrics");
        double last = 0;
        const char *at = text;
        while ((at = strstr(at, "\nweir_test_step_seconds_bucket{")) != NULL) {
            double count = strtod(strchr(at, '}') + 1, NULL);
            assert_true(count >= last);
            last = count;
            at++;
        }
        assert_true(last == sample_of(text, "\nweir_test_step_seconds_count{"));
        double tokens = sample_of(text, "\nweir_test_tokens_sampled_total{");
        assert_true(tokens >= before);
        before = tokens;
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    monitor_close(&monitor);
}

static void test_monitor_forgets_tables_and_keeps_its_start(void **state)
{
    (void)state;
    struct monitor *monitor = open_monitor("a", "auto", "");
    monitor_add(monitor, rows, ROWS, &metrics);
    const char *text = get(monitor, "/metrics");
    assert_non_null(strstr(text, "\nweir_test_tokens_sampled_total{"));
    double start_s = sample_of(text, "\nprocess_start_time_seconds{");
    monitor_forget(monitor);
    text = get(monitor, "/metrics");
    assert_null(strstr(text, "\nweir_test_tokens_sampled_total{"));
    assert_true(sample_of(text, "\nprocess_start_time_seconds{") == start_s);
    monitor_close(&monitor);
}

static void test_monitor_publishes_its_address_and_takes_it_away(void **state)
{
    (void)state;
    char folder[] = "/tmp/weir-monitor-XXXXXX", path[FILE_PATH_MAX], *line;
    assert_non_null(mkdtemp(folder));
    struct monitor *monitor = open_monitor("a", "127.0.0.1:0", folder);
    struct buffer text;
    buffer_init(&text, 0);
    assert_int_equal(file_path(path, "%s/http/actor.3", folder), STATUS_OK);
    assert_int_equal(file_read(path, &text), STATUS_OK);
    line = (char *)(uintptr_t)buffer_string(&text);
    assert_int_equal(line[strlen(line) - 1], '\n');
    line[strlen(line) - 1] = 0;
    assert_string_equal(line, monitor_address(monitor));
    assert_true(strncmp(line, "127.0.0.1:", 10) == 0);
    buffer_free(&text);
    monitor_close(&monitor);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(file_remove_tree(folder), STATUS_OK);
}

static void test_monitor_taken_port_gives_way_and_no_address_is_refused(void **state)
{
    (void)state;
    struct listener first;
    struct monitor *monitor = NULL, *silent;
    char host[LISTEN_NAME_MAX];
    uint32_t port, taken;
    assert_int_equal(listen_open(&first, "127.0.0.1:0", 0), STATUS_OK);
    assert_true(first.loopback);
    assert_int_equal(listen_split(first.address, host, &taken), STATUS_OK);
    monitor = open_monitor("a", first.address, "");
    assert_int_equal(listen_split(monitor_address(monitor), host, &port), STATUS_OK);
    assert_true(port > taken && port < taken + 64);
    assert_true(is_code(get(monitor, "/live"), "200"));
    monitor_close(&monitor);
    close(first.fd);
    silent = open_monitor("a", "", "");
    assert_string_equal(monitor_address(silent), "");
    monitor_close(&silent);
    const char *const bad[] = {"here", "127.0.0.1", "127.0.0.1:", ":80", "a:b", "a:70000", "a:-1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct monitor_options options = {.http = bad[i], .run = "a", .role = "actor"};
        assert_int_equal(monitor_open(&monitor, &options), STATUS_INVALID);
        assert_null(monitor);
    }
}

static void test_monitor_gpu_figures_are_in_stats_and_text(void **state)
{
    (void)state;
    struct buffer json;
    buffer_init(&json, 0);
    struct monitor *monitor = open_monitor("a", "auto", "");
    monitor_set_device(monitor, "cuda:0");
    const char *stats = monitor_stats(monitor, rows, 2, &metrics, &json);
    assert_non_null(strstr(stats, "\"device\":\"cuda:0\""));
    assert_non_null(strstr(stats, "\"gpu_name\":\"Fake \\\"G\\\" 80GB\""));
    assert_non_null(strstr(stats, "\"gpu_memory_used_bytes\":21474836480"));
    assert_non_null(strstr(stats, "\"gpu_busy_ratio\":0.87"));
    assert_non_null(strstr(stats, "\"test/share\":0"));
    const char *text = get(monitor, "/metrics");
    assert_true(sample_of(text, "\nweir_gpu_power_watts{") == 412.5);
    assert_true(sample_of(text, "\nweir_gpu_temperature_celsius{") == 61);
    assert_true(sample_of(text, "\nweir_gpu_throttled_by_power{") == 1);
    assert_true(sample_of(text, "\nweir_gpu_throttled_by_heat{") == 1);
    assert_true(sample_of(text, "\nweir_gpu_throttled_by_hardware{") == 0);
    assert_true(sample_of(text, "\nweir_gpu_ecc_corrected_total{") == 3);
    assert_true(sample_of(text, "\nweir_gpu_sm_clock_hertz{") == 1755e6);
    monitor_close(&monitor);
    monitor = open_monitor("a", "auto", "");
    monitor_set_device(monitor, "cuda:7"); /* which the library has not */
    stats = monitor_stats(monitor, rows, 2, &metrics, &json);
    assert_non_null(strstr(stats, "\"device\":\"cuda:7\""));
    assert_null(strstr(stats, "gpu_"));
    monitor_close(&monitor);
    buffer_free(&json);
}

static void test_nvml_what_a_gpu_cannot_say_is_no_number(void **state)
{
    (void)state;
    struct nvml *nvml = NULL;
    struct gpu_metrics gpu = {0};
    assert_int_equal(nvml_open(&nvml, "/nowhere/libnvidia-ml.so.1", 0), STATUS_NOT_FOUND);
    assert_null(nvml);
    assert_int_equal(nvml_open(&nvml, BUILD_DIR "/tests/fake_nvml.so", 0), STATUS_OK);
    setenv("FAKE_NVML_POOR", "1", 1);
    nvml_read(nvml, &gpu);
    unsetenv("FAKE_NVML_POOR");
    assert_true(metric_read(&gpu.memory_used) == 21474836480.0);
    assert_true(isnan(metric_read(&gpu.power)) && isnan(metric_read(&gpu.busy)));
    assert_true(isnan(metric_read(&gpu.throttle)) && isnan(metric_read(&gpu.ecc_corrected)));
    nvml_read(nvml, &gpu);
    assert_true(metric_read(&gpu.power) == 412.5);
    nvml_close(&nvml);
    assert_null(nvml);
}

static void test_monitor_none_is_fine(void **state)
{
    (void)state;
    struct buffer json;
    struct monitor *none = NULL;
    buffer_init(&json, 0);
    monitor_beat(NULL);
    monitor_put(NULL, 0, "");
    monitor_set_ready(NULL, true, "");
    monitor_set_device(NULL, "cuda:0");
    assert_string_equal(monitor_labels(NULL), "");
    metric_set(&metrics.share, 0.5);
    metric_set(&metrics.tokens, 1);
    assert_string_equal(monitor_stats(NULL, rows, 2, &metrics, &json),
                        "{\"test/tokens_sampled\":1,\"test/share\":0.5}");
    monitor_close(&none);
    buffer_free(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_monitor_shows_tables_texts_and_the_process),
        cmocka_unit_test(test_monitor_live_follows_the_beat_and_ready_what_is_told),
        cmocka_unit_test(test_monitor_bad_requests_harm_nothing),
        cmocka_unit_test(test_monitor_many_scrapes_at_once_are_all_answered),
        cmocka_unit_test(test_monitor_histograms_and_counters_hold_while_they_move),
        cmocka_unit_test(test_monitor_forgets_tables_and_keeps_its_start),
        cmocka_unit_test(test_monitor_publishes_its_address_and_takes_it_away),
        cmocka_unit_test(test_monitor_taken_port_gives_way_and_no_address_is_refused),
        cmocka_unit_test(test_monitor_gpu_figures_are_in_stats_and_text),
        cmocka_unit_test(test_nvml_what_a_gpu_cannot_say_is_no_number),
        cmocka_unit_test(test_monitor_none_is_fine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
