/* ops/eval/follow.c - `weir-eval --follow`: evaluates the versions of a run while it trains (docs/eval.md).
 *
 * A service of the fleet. It reads the folders that the learner leaves in RUN/eval (learner/eval_folder.h), each of which
 * is exactly one version, answers the prompts of all sets with its weights as `weir eval` does, and adds a row a set to
 * RUN/eval/table.jsonl. It can be killed at any time: answers that are on disk stay, and the reports have the same bytes.
 * It ends when the learner has said which version was the last, and that one is evaluated. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/program.h"
#include "ops/eval/eval.h"
#include "ops/eval/eval_metrics.h"
#include "ops/eval/follow.h"
#include "ops/eval/row.h"
#include "ops/eval_table.h"
#include "transport/monitor.h"

enum { PAUSE_MS = 200, NICE = 10, SCORE_ATTEMPTS = 2 };

struct follower {
    struct program program;
    struct settings settings; /* of an evaluation: eval_settings_of */
    struct eval_sets sets;
    struct follow_folder folder;
    struct redis_view *redis;
    struct monitor *monitor;
    struct eval_metrics metrics;
    int64_t published_ns;
    struct engine engine;
    bool has_engine;
    char model[FILE_PATH_MAX], reward[FILE_PATH_MAX + 32];
    struct eval eval; /* what all sets have in common */
};

static bool must_stop(const struct follower *follower)
{
    return atomic_load(follower->eval.stop) > 0;
}

/* ---- one version ---- */

static enum status load(struct follower *follower, const struct follow_version *version)
{
    struct engine *engine = &follower->engine;
    TRY(file_path(follower->model, "%s/step_%" PRIu64 "/hf", follower->folder.root,
                  version->version));
    follower->settings.model.path = follower->model;
    if (!follower->has_engine) {
        follower->has_engine = true; /* also after a failure something is to be destroyed */
        TRY(engine_create(engine, &follower->settings, 0, 1));
    }
    TRY(engine_load_folder(engine, follower->model));
    /* on a device of another kind weights are rounded otherwise */
    if (engine->numerics_id == version->numerics && engine->weights[0].digest != version->digest)
        return FAIL(STATUS_CORRUPT,
                    "%s has weights with digest %016" PRIx64
                    " where the learner's have %016" PRIx64,
                    follower->model, engine->weights[0].digest, version->digest);
    return STATUS_OK;
}

/* The scorer may be killed from outside. */
static enum status score(const struct follower *follower, const struct eval *eval)
{
    enum status status = STATUS_OK;
    for (int attempt = 0; attempt < SCORE_ATTEMPTS; attempt++) {
        status = eval_score(eval);
        if (status != STATUS_IO)
            break;
    }
    return must_stop(follower) ? FAIL(STATUS_CANCELLED, "stopped by a signal") : status;
}

static enum status add_row(struct follower *follower, const struct follow_version *version,
                           const char *set, const struct eval *eval, const json_t *report,
                           double seconds)
{
    char key[192];
    json_t *row = json_object();
    enum status status = eval_row_fill(row, set, report, eval->samples);
    snprintf(key, sizeof key, "eval/%s/version", set);
    json_object_set_new(row, key, json_integer((json_int_t)version->version));
    json_object_set_new(row, "seconds", json_real(seconds));
    if (status == STATUS_OK)
        status = follow_add_row(&follower->folder, version, row);
    if (status == STATUS_OK)
        LOG_INFO("eval", "evaluated", "version=%" PRIu64 " set=%s avg_at_n=%.4f seconds=%.1f",
                 version->version, set, eval_table_figure(row, "avg_at_n"), seconds);
    json_decref(row);
    return status;
}

static enum status evaluate_set(struct follower *follower, const struct follow_version *version,
                                const struct eval_set *set)
{
    int64_t begin_ns = clock_now_ns();
    struct eval eval = follower->eval;
    struct settings settings = follower->settings;
    json_t *report = NULL;
    settings.data.train = set->path;
    eval.settings = &settings;
    eval.engine = &follower->engine;
    TRY(file_path(eval.out, "%s/step_%" PRIu64 "/%s", follower->folder.root, version->version,
                  set->name));
    TRY(eval_generate(&eval));
    if (eval.score)
        TRY(score(follower, &eval));
    TRY(eval_figures(&eval, &report));
    FAULT("eval.reported");
    double seconds = (double)(clock_now_ns() - begin_ns) / CLOCK_NS_PER_S;
    metric_add(&follower->metrics.done, 1);
    metric_observe(&follower->metrics.seconds, seconds);
    enum status status = add_row(follower, version, set->name, &eval, report, seconds);
    json_decref(report);
    return status;
}

static enum status evaluate(struct follower *follower, const struct follow_version *version)
{
    TRY(load(follower, version));
    for (uint32_t i = 0; i < follower->sets.count; i++)
        if (!follow_has_row(&follower->folder, version, follower->sets.rows[i].name))
            TRY(evaluate_set(follower, version, &follower->sets.rows[i]));
    return STATUS_OK;
}

static void drop_engine(struct follower *follower)
{
    if (follower->has_engine)
        engine_destroy(&follower->engine);
    follower->has_engine = false;
}

/* A version that cannot be evaluated says so in the table, and the next one is tried. */
static enum status evaluate_or_say(struct follower *follower, const struct follow_version *version)
{
    char why[STATUS_TEXT_MAX];
    enum status status = evaluate(follower, version);
    if (status == STATUS_OK || status == STATUS_CANCELLED || must_stop(follower))
        return status;
    snprintf(why, sizeof why, "%s", status_last_error());
    metric_add(&follower->metrics.failed, 1);
    drop_engine(follower); /* sequences may be half done in it */
    return follow_add_verdict(&follower->folder, version, "failed", why);
}

/* ---- the service ---- */

static enum status skip(struct follower *follower, const size_t *waiting, size_t skipped)
{
    char why[128];
    for (size_t i = 0; i < skipped; i++) {
        snprintf(why, sizeof why, "%zu versions were waiting, eval.queue is %u", skipped + 1,
                 follower->settings.eval.queue);
        TRY(follow_add_verdict(&follower->folder, &follower->folder.versions[waiting[i]], "skipped",
                               why));
    }
    return STATUS_OK;
}

/* The main loop turned: for probes, and for Redis. */
static void beat(struct follower *follower)
{
    static struct buffer json; /* one evaluator a process */
    size_t count = 0;
    int64_t now_ns = clock_now_ns();
    monitor_beat(follower->monitor);
    if (follower->redis == NULL ||
        now_ns - follower->published_ns <
            (int64_t)follower->program.settings.redis.publish_ms * CLOCK_NS_PER_MS)
        return;
    follower->published_ns = now_ns;
    const struct metric_row *rows = eval_metrics_table(&count);
    redis_view_hash(follower->redis, "proc:eval:0",
                    monitor_stats(follower->monitor, rows, count, &follower->metrics, &json),
                    redis_process_expire_s(&follower->program.settings.redis));
}

static void show_figures(struct follower *follower)
{
    struct buffer text;
    buffer_init(&text, 0);
    if (eval_figures_text(follower->folder.rows, monitor_labels(follower->monitor), &text) ==
        STATUS_OK)
        monitor_put(follower->monitor, 0, buffer_string(&text));
    buffer_free(&text);
}

/* *worked: a version was evaluated. */
static enum status turn(struct follower *follower, bool *worked)
{
    static size_t waiting[FOLLOW_VERSIONS_MAX]; /* one thread */
    struct follow_folder *folder = &follower->folder;
    TRY(follow_scan(folder));
    size_t count = follow_waiting(folder, waiting);
    metric_set(&follower->metrics.waiting, (double)count);
    beat(follower);
    *worked = count > 0;
    if (count == 0)
        return STATUS_OK;
    size_t next = eval_next(count, follower->settings.eval.queue);
    TRY(skip(follower, waiting, next));
    metric_add(&follower->metrics.skipped, (double)next);
    struct follow_version version = folder->versions[waiting[next]];
    metric_set(&follower->metrics.version, (double)version.version);
    TRY(evaluate_or_say(follower, &version));
    show_figures(follower);
    TRY(follow_scan(folder));
    follow_clean(folder, follower->settings.eval.keep);
    return STATUS_OK;
}

static enum status serve(struct follower *follower)
{
    monitor_set_ready(follower->monitor, true, "");
    show_figures(follower);
    while (!must_stop(follower)) {
        bool worked = false, ended = follow_ended(&follower->folder); /* asked before the scan */
        enum status status = turn(follower, &worked);
        if (status == STATUS_CANCELLED)
            break;
        TRY(status);
        if (!worked && ended) {
            if (follow_complete_metrics(&follower->folder, follower->redis) != STATUS_OK)
                LOG_WARN("eval", "metrics.jsonl lacks the last figures", "why=\"%s\"",
                         status_last_error());
            return STATUS_OK;
        }
        if (!worked)
            clock_sleep_ms(PAUSE_MS);
    }
    LOG_INFO("eval", "stopped", "signals=%d", atomic_load(follower->eval.stop));
    return STATUS_OK;
}

/* ---- life ---- */

static void pass_on(struct eval *eval, const char *argument)
{
    if (eval->passed_on_count < EVAL_PASSED_ON_MAX)
        eval->passed_on[eval->passed_on_count++] = argument;
}

static enum status prepare(struct follower *follower)
{
    const struct program *program = &follower->program;
    const struct eval_settings *wanted = &program->settings.eval;
    struct eval *eval = &follower->eval;
    TRY(eval_sets_parse(&follower->sets, "eval.sets", wanted->sets));
    if (follower->sets.count == 0 || program->run_folder[0] == '\0')
        return FAIL(STATUS_INVALID, "--follow wants --folder RUN_FOLDER and eval.sets");
    follower->settings = eval_settings_of(&program->settings);
    *eval =
        (struct eval){.key_id = "id",
                      .samples = wanted->samples,
                      .limit = wanted->limit,
                      .resume = true,
                      .restart = true,
                      .quiet = true,
                      .plain = true,
                      .score = strcmp(follower->settings.reward.plugin, "none") != 0,
                      .report = {.success = wanted->success, .seed = program->settings.run.seed},
                      .stop = program_stop_signals(),
                      .monitor = follower->monitor};
    eval_default_ks(eval);
    for (size_t i = 0; i < program->file_count; i++) {
        pass_on(eval, "--config");
        pass_on(eval, program->files[i]);
    }
    for (size_t i = 0; i < program->override_count; i++)
        pass_on(eval, program->overrides[i]);
    snprintf(follower->reward, sizeof follower->reward, "reward.plugin=%s",
             follower->settings.reward.plugin);
    pass_on(eval, follower->reward);
    pass_on(eval, "redis.mode=off");
    pass_on(eval, "run.log_level=warn");
    TRY(follow_open(&follower->folder, program->run_folder, &follower->sets));
    return redis_view_open_set(&follower->redis, program->run, &program->settings.redis);
}

static enum status show(struct follower *follower)
{
    size_t count = 0;
    const struct metric_row *rows = eval_metrics_table(&count);
    char device[SETTINGS_DEVICE_MAX];
    TRY(monitor_open_program(&follower->monitor, &follower->program));
    const struct settings *settings = &follower->program.settings;
    settings_device(settings,
                    settings->eval.device[0] != 0 ? settings->eval.device : settings->actor.device,
                    0, device);
    monitor_set_device(follower->monitor, device);
    monitor_add(follower->monitor, rows, count, &follower->metrics);
    return STATUS_OK;
}

int follow_command(int argc, char **argv)
{
    struct follower *follower = memory_alloc(sizeof *follower);
    if (follower == NULL)
        return EXIT_CODE_FAILED;
    follower->folder.table_fd = -1;
    program_set_metrics(eval_docs_table);
    int code = program_start(&follower->program, argc, argv, "eval",
                             "Evaluates the versions of a run while it trains.");
    if (code < 0) {
        if (nice(NICE) == -1)
            LOG_INFO("eval", "runs at the priority of the others", "nice=%d", NICE);
        enum status status = show(follower);
        if (status == STATUS_OK)
            status = prepare(follower);
        if (status == STATUS_OK)
            status = serve(follower);
        char kept[STATUS_TEXT_MAX];
        status_keep(kept);
        redis_view_close(&follower->redis);
        drop_engine(follower);
        follow_close(&follower->folder);
        monitor_close(&follower->monitor);
        status_restore(kept);
        code = program_end(&follower->program, status);
    }
    memory_free(follower);
    return code;
}
