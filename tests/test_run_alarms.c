/* links: ops */
/* label: unit */
/* timeout: 20 */
/* Alarms of the supervisor on made views of a run, and what `weir doctor` makes of a whole run folder. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "ops/doctor.h"
#include "ops/run_alarms.h"

static struct settings settings;
static struct config *config;
static char folder[64];
static char said[8][ALERT_SENTENCE_MAX + 32];
static unsigned said_count;

static void on_say(void *self, const char *line)
{
    (void)self;
    assert_true(said_count < 8);
    snprintf(said[said_count++], sizeof said[0], "%s", line);
}

static int setup(void **state)
{
    struct config_input input = {0};
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/weir-alarms-XXXXXX");
    said_count = 0;
    if (mkdtemp(folder) == NULL)
        return 1;
    return config_load(&config, settings_sections, settings_section_count, &input, &settings) ==
                   STATUS_OK
               ? 0
               : 1;
}

static int teardown(void **state)
{
    (void)state;
    config_destroy(&config);
    return file_remove_tree(folder) == STATUS_OK ? 0 : 1;
}

static void write_text(const char *name, const char *text)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/%s", folder, name), STATUS_OK);
    assert_int_equal(file_replace(path, text, strlen(text)), STATUS_OK);
}

/* ---- the supervisor's ---- */

static void test_run_alarms_no_step_is_raised_once_and_over_once(void **state)
{
    struct watch watch = {.clock_ns = 1};
    struct run_alarms alarms = {.settings = &settings, .folder = folder, .say = on_say};
    struct run_alarm_view view = {.watch = &watch, .steps = 3, .running = true};
    int64_t now_ns = CLOCK_NS_PER_S;
    (void)state;
    settings.alerts.disk_free = 0;
    for (int second = 0; second < 1300; second++) {
        if (second == 1250)
            view.steps = 4;
        run_alarms_tick(&alarms, &view, now_ns);
        now_ns += CLOCK_NS_PER_S;
        watch.clock_ns += CLOCK_NS_PER_S;
        assert_int_equal(said_count, second <= 600 ? 0 : second < 1250 ? 1 : 2);
    }
    assert_non_null(strstr(said[0], "alarm: no_step: 601 s without a step, more than 600"));
    assert_string_equal(said[1], "alarm over: no_step");
}

/* The supervisor was suspended for an hour: its own clock of attention stood still. */
static void test_run_alarms_suspended_supervisor_counts_no_time(void **state)
{
    struct watch watch = {.clock_ns = 1};
    struct run_alarms alarms = {.settings = &settings, .folder = folder, .say = on_say};
    struct run_alarm_view view = {.watch = &watch, .steps = 3, .running = true};
    (void)state;
    settings.alerts.disk_free = 0;
    run_alarms_tick(&alarms, &view, CLOCK_NS_PER_S);
    watch.clock_ns += CLOCK_NS_PER_S;
    run_alarms_tick(&alarms, &view, 3600 * CLOCK_NS_PER_S);
    assert_int_equal(said_count, 0);
}

static void test_run_alarms_failing_rewards_are_counted_in_windows(void **state)
{
    struct watch watch = {.clock_ns = 1};
    struct run_alarms alarms = {.settings = &settings, .folder = folder, .say = on_say};
    struct run_alarm_view view = {.watch = &watch, .running = true};
    const struct {
        unsigned scored, retried, said;
    } rows[] = {{150, 0, 0},    /* too few */
                {199, 10, 0},   /* 10 of 209: under 5 % */
                {390, 21, 1},   /* 11 of 202: above */
                {600, 21, 2},   /* none of 210: over */
                {10, 0, 2},     /* the store began again */
                {100, 120, 3}}; /* 120 of 210 */
    (void)state;
    settings.alerts.disk_free = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char json[128];
        snprintf(json, sizeof json, "{\"counters\":{\"rollouts_scored\":%u,\"scores_retried\":%u}}",
                 rows[i].scored, rows[i].retried);
        view.status_json = json;
        run_alarms_tick(&alarms, &view, (int64_t)(i + 1) * 2 * CLOCK_NS_PER_S);
        assert_int_equal(said_count, rows[i].said);
    }
    assert_non_null(strstr(said[0], "errored: reward/errors is 0.05446, above 0.05"));
}

static void test_run_alarms_full_disk_is_raised(void **state)
{
    struct watch watch = {.clock_ns = 1};
    struct run_alarms alarms = {.settings = &settings, .folder = folder, .say = on_say};
    struct run_alarm_view view = {.watch = &watch, .running = true};
    (void)state;
    settings.alerts.disk_free = 1; /* no disk is wholly free */
    run_alarms_tick(&alarms, &view, CLOCK_NS_PER_S);
    assert_int_equal(said_count, 1);
    assert_non_null(strstr(said[0], "alarm: disk: disk/free_frac is "));
    settings.alerts.disk_free = 0;
    run_alarms_tick(&alarms, &view, 20 * CLOCK_NS_PER_S);
    assert_string_equal(said[1], "alarm over: disk");
}

static void test_run_alarms_stopped_process_is_named(void **state)
{
    struct watch watch = {
        .clock_ns = 10 * CLOCK_NS_PER_S, .stopped_ms = 10000, .silent_ms = 600000};
    struct process process = {.name = "actor.1", .pid = 77};
    struct run_alarms alarms = {.settings = &settings, .folder = folder, .say = on_say};
    struct run_alarm_view view = {
        .watch = &watch, .processes = &process, .count = 1, .running = true};
    (void)state;
    settings.alerts.disk_free = 0;
    run_alarms_tick(&alarms, &view, CLOCK_NS_PER_S);
    assert_int_equal(said_count, 0);
    process.health = (struct process_health){.state = 'T', .stopped_since_ns = CLOCK_NS_PER_S};
    run_alarms_tick(&alarms, &view, 3 * CLOCK_NS_PER_S);
    assert_int_equal(said_count, 1);
    assert_non_null(strstr(said[0], "alarm: heartbeat: actor.1 (pid 77) is stopped"));
    process.health = (struct process_health){.state = 'S', .silent_ms = 20000};
    run_alarms_tick(&alarms, &view, 5 * CLOCK_NS_PER_S); /* it trains: 20 s of 600 */
    assert_string_equal(said[1], "alarm over: heartbeat");
    process.health.silent_ms = 301000;
    run_alarms_tick(&alarms, &view, 7 * CLOCK_NS_PER_S);
    assert_non_null(strstr(said[2], "is silent"));
}

/* ---- weir doctor ---- */

/* 100 steps, of which those from 41 on have hardly a group that teaches; step 71 differs between actor and learner. */
static void make_run(double gap_s)
{
    struct buffer lines;
    buffer_init(&lines, 0);
    for (unsigned step = 1; step <= 100; step++)
        assert_int_equal(
            buffer_printf(&lines,
                          "{\"step\":%u,\"wall\":%.3f,\"mismatch/max_abs_dlogprob\":%g,"
                          "\"group/zero_std_frac\":%g,\"reward/mean\":0.4,\"reward/min\":0,"
                          "\"reward/max\":1,\"len/p99\":90,\"len/cap\":100,\"loss/policy\":%s}\n",
                          step, 1e9 + 10.0 * step + (step > 50 ? gap_s : 0), step == 71 ? 0.25 : 0,
                          step > 40 ? 0.7 + step / 1000.0 : 0.2, step == 90 ? "null" : "0.1"),
            STATUS_OK);
    write_text("metrics.jsonl", buffer_string(&lines));
    write_text("config.resolved.yaml", "alerts:\n  no_step_s: 300\n");
    buffer_free(&lines);
}

static void test_doctor_finds_thresholds_since_when_and_how_bad(void **state)
{
    static struct doctor doctor;
    (void)state;
    make_run(0);
    assert_int_equal(doctor_read(&doctor, folder, false, 2e9), STATUS_OK);
    assert_int_equal(doctor_crossed(&doctor), 3);
    const struct doctor_finding *groups = &doctor.findings[ALERT_zero_variance];
    assert_true(groups->crossed && groups->now);
    assert_int_equal(groups->since_step, 41);
    assert_int_equal(groups->steps, 60);
    assert_int_equal(groups->worst_step, 100);
    const struct doctor_finding *mismatch = &doctor.findings[ALERT_mismatch];
    assert_true(mismatch->crossed && !mismatch->now);
    assert_int_equal(mismatch->since_step, 71);
    assert_int_equal(mismatch->steps, 1);
    assert_int_equal(doctor.findings[ALERT_not_finite].since_step, 90);
    json_t *json = doctor_json(&doctor, "a", false);
    assert_int_equal(json_integer_value(json_object_get(json, "crossed")), 3);
    assert_int_equal(json_array_size(json_object_get(json, "rules")), ALERT_COUNT);
    json_decref(json);
}

static void begin_attempt(time_t when)
{
    char path[FILE_PATH_MAX];
    struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};
    assert_int_equal(file_path(path, "%s/logs/attempt_1", folder), STATUS_OK);
    assert_int_equal(file_make_dirs(path), STATUS_OK);
    write_text("logs/attempt_1/config.resolved.yaml", "");
    assert_int_equal(file_path(path, "%s/logs/attempt_1/config.resolved.yaml", folder), STATUS_OK);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* A pause between two attempts is no fault of the run; one within an attempt is. */
static void test_doctor_gap_between_attempts_is_no_alarm(void **state)
{
    static struct doctor doctor;
    (void)state;
    make_run(5000);
    assert_int_equal(doctor_read(&doctor, folder, false, 2e9), STATUS_OK);
    assert_int_equal(doctor.findings[ALERT_no_step].since_step, 51);
    begin_attempt(1000005500);
    assert_int_equal(doctor_read(&doctor, folder, false, 2e9), STATUS_OK);
    assert_false(doctor.findings[ALERT_no_step].crossed);
}

static void test_doctor_running_run_has_age_alarms_and_sick_processes(void **state)
{
    static struct doctor doctor;
    struct run_alarms alarms = {.settings = &settings, .folder = folder};
    (void)state;
    make_run(0);
    run_alarms_set(&alarms, ALERT_errored, true, "errored: half of \"them\"");
    write_text("processes.json", "{\"processes\":[{\"name\":\"actor.1\",\"state\":\"stopped\"},"
                                 "{\"name\":\"learner.0\",\"state\":\"silent\",\"since_ms\":9000},"
                                 "{\"name\":\"store.0\",\"state\":\"running\"}]}");
    assert_int_equal(doctor_read(&doctor, folder, true, 1e9 + 1000 + 301), STATUS_OK);
    assert_true(doctor.findings[ALERT_no_step].now);
    assert_string_equal(doctor.findings[ALERT_heartbeat].text, "actor.1 is stopped");
    assert_string_equal(doctor.findings[ALERT_errored].text, "errored: half of \"them\"");
    assert_true(doctor.findings[ALERT_errored].now);
    assert_int_equal(doctor_crossed(&doctor), 6);
    begin_attempt(4000000000); /* the supervisor was killed, and another one has said nothing yet */
    assert_int_equal(doctor_read(&doctor, folder, true, 1e9 + 1000 + 301), STATUS_OK);
    assert_true(doctor.findings[ALERT_errored].crossed && !doctor.findings[ALERT_errored].now);
    begin_attempt(1000000000);
    run_alarms_set(&alarms, ALERT_errored, false, "");
    assert_int_equal(doctor_read(&doctor, folder, true, 1e9 + 1000 + 299), STATUS_OK);
    assert_false(doctor.findings[ALERT_errored].now);
    assert_false(doctor.findings[ALERT_no_step].crossed);
}

/* A line of its own beside the alarms, which is no alarm. */
static void test_run_alarms_deaths_are_noted_and_are_no_alarm(void **state)
{
    static struct doctor doctor;
    struct run_alarms alarms = {.settings = &settings, .folder = folder, .say = on_say};
    char path[FILE_PATH_MAX];
    struct buffer text;
    (void)state;
    run_alarms_death(&alarms, "actor.0: killed by signal 9 (Killed) after \"0.1 s\"");
    run_alarms_death(&alarms, "learner.0: exit 70");
    assert_int_equal(said_count, 0); /* the supervisor has said it */
    assert_int_equal(file_path(path, "%s/alarms.jsonl", folder), STATUS_OK);
    buffer_init(&text, 0);
    assert_int_equal(file_read(path, &text), STATUS_OK);
    json_t *line = json_loads(strchr(buffer_string(&text), '\n') + 1, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(line, "kind")), "death");
    assert_string_equal(json_string_value(json_object_get(line, "text")), "learner.0: exit 70");
    assert_true(json_integer_value(json_object_get(line, "time_ms")) > 1700000000000);
    json_decref(line);
    buffer_free(&text);
    write_text("config.resolved.yaml", "");
    write_text("metrics.jsonl", "{\"step\":1,\"wall\":1}\n");
    assert_int_equal(doctor_read(&doctor, folder, false, 2e9), STATUS_OK);
    assert_int_equal(doctor_crossed(&doctor), 0);
}

static void test_doctor_empty_and_damaged_files_are_no_failure(void **state)
{
    static struct doctor doctor;
    struct buffer text;
    (void)state;
    write_text("config.resolved.yaml", "");
    write_text("metrics.jsonl", "{\"step\":1,\"wall\":1}\nnot json\n{\"step\":\"x\"}\n[]\n{\"st");
    write_text("alarms.jsonl", "{}\n{\"name\":\"unknown\"}\n{\"name\":7}\n");
    assert_int_equal(doctor_read(&doctor, folder, false, 2e9), STATUS_OK);
    assert_int_equal(doctor.steps, 1);
    assert_int_equal(doctor_crossed(&doctor), 0);
    buffer_init(&text, 0);
    assert_int_equal(doctor_text(&doctor, "a", &text), STATUS_OK);
    assert_non_null(strstr(buffer_string(&text), "no threshold was crossed"));
    buffer_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_run_alarms_no_step_is_raised_once_and_over_once),
        TEST(test_run_alarms_suspended_supervisor_counts_no_time),
        TEST(test_run_alarms_failing_rewards_are_counted_in_windows),
        TEST(test_run_alarms_full_disk_is_raised),
        TEST(test_run_alarms_stopped_process_is_named),
        TEST(test_run_alarms_deaths_are_noted_and_are_no_alarm),
        TEST(test_doctor_finds_thresholds_since_when_and_how_bad),
        TEST(test_doctor_gap_between_attempts_is_no_alarm),
        TEST(test_doctor_running_run_has_age_alarms_and_sick_processes),
        TEST(test_doctor_empty_and_damaged_files_are_no_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
