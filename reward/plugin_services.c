/* reward/plugin_services.c - see the header. */
#include "reward/plugin_services.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/buffer.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "reward/judge/service.h"
#include "sandbox/sandbox.h"

static struct {
    pthread_mutex_t
        mutex; /* guards opening; LOCK_WAIT and what sandbox_open takes are taken in it */
    bool offered, tried;
    struct sandbox *sandbox;
    struct judge *judge;
} services = {.mutex = PTHREAD_MUTEX_INITIALIZER};

__attribute__((format(printf, 2, 3))) static void plugin_log(int level, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    LOG_AT(level <= 0   ? LOG_LEVEL_DEBUG
           : level == 1 ? LOG_LEVEL_INFO
           : level == 2 ? LOG_LEVEL_WARN
                        : LOG_LEVEL_ERROR,
           "plugin", text, "%s", "");
}

/* ---- sandbox ---- */

/* NULL: there is none. It is opened once; a machine that cannot have one says why in the log. */
static struct sandbox *the_sandbox(void)
{
    pthread_mutex_lock(&services.mutex);
    if (services.offered && !services.tried) {
        struct sandbox_options options = {0};
        services.tried = true;
        if (sandbox_open(&services.sandbox, &options) != STATUS_OK)
            LOG_ERROR("plugin", "no sandbox for plugins", "why=\"%s\"",
                      status_sentence(status_last_error()));
    }
    struct sandbox *sandbox = services.sandbox;
    pthread_mutex_unlock(&services.mutex);
    return sandbox;
}

static int64_t or_default(int64_t wanted, int64_t standard)
{
    return wanted > 0 ? wanted : standard;
}

static struct sandbox_limits limits_of(const weir_reward_run *run)
{
    struct sandbox_limits limits = sandbox_limits_default();
    limits.wall_ms = or_default(run->wall_ms, limits.wall_ms);
    limits.cpu_ms = or_default(run->cpu_ms, limits.cpu_ms);
    limits.memory_bytes = or_default(run->memory_bytes, limits.memory_bytes);
    limits.output_bytes = or_default(run->output_bytes, limits.output_bytes);
    limits.processes = run->processes > 0 ? run->processes : limits.processes;
    return limits;
}

static void fill_result(weir_reward_run_result *result, struct sandbox_result *said)
{
    static const int32_t outcomes[] = {[SANDBOX_EXITED] = WEIR_REWARD_RUN_EXITED,
                                       [SANDBOX_SIGNALED] = WEIR_REWARD_RUN_SIGNALED,
                                       [SANDBOX_LIMIT] = WEIR_REWARD_RUN_LIMIT,
                                       [SANDBOX_INFRA] = WEIR_REWARD_RUN_INFRA};
    *result = (weir_reward_run_result){
        .struct_size = sizeof *result,
        .outcome = outcomes[said->outcome],
        .exit_code = said->exit_code,
        .signal = said->signal,
        .wall_ms = said->wall_ms,
        .cpu_ms = said->cpu_ms,
        .output = {(const char *)said->output, said->output_size},
        .error = {(const char *)said->error, said->error_size},
        .owned = said,
    };
    snprintf(result->text, sizeof result->text, "%s", said->text);
}

static int run_sandboxed(const weir_reward_host *host, const weir_reward_run *run,
                         weir_reward_run_result *result)
{
    (void)host;
    if (run == NULL || result == NULL || run->struct_size < sizeof *run ||
        result->struct_size < sizeof *result || run->argv == NULL || run->argv[0] == NULL)
        return EINVAL;
    struct sandbox *sandbox = the_sandbox();
    if (sandbox == NULL)
        return ENOTSUP;
    struct sandbox_result *said = memory_alloc(sizeof *said);
    struct sandbox_file *files = memory_array(run->n_files + 1U, sizeof *files);
    if (said != NULL && files != NULL) {
        for (uint32_t i = 0; i < run->n_files; i++)
            files[i] = (struct sandbox_file){.path = run->files[i].path,
                                             .bytes = run->files[i].bytes.ptr,
                                             .size = (size_t)run->files[i].bytes.len,
                                             .executable = run->files[i].executable != 0};
        struct sandbox_run inside = {SANDBOX_RUN,
                                     .argv = run->argv,
                                     .input = run->input.ptr,
                                     .input_size = (size_t)run->input.len,
                                     .files = files,
                                     .file_count = run->n_files,
                                     .execute_work = run->execute_work != 0};
        inside.limits = limits_of(run);
        sandbox_execute(sandbox, &inside, said);
        fill_result(result, said);
        said = NULL;
    }
    int code = said == NULL && files != NULL ? 0 : ENOMEM;
    memory_free(files);
    memory_free(said);
    return code;
}

static void run_release(const weir_reward_host *host, weir_reward_run_result *result)
{
    (void)host;
    if (result == NULL || result->owned == NULL)
        return;
    sandbox_result_free(result->owned);
    memory_free(result->owned);
    result->owned = NULL;
}

/* ---- judge ---- */

static int judge(const weir_reward_host *host, weir_reward_str request_json, int64_t deadline_ns,
                 weir_reward_str *answer_json)
{
    (void)host;
    if (request_json.ptr == NULL || answer_json == NULL)
        return EINVAL;
    if (services.judge == NULL)
        return ENOTSUP;
    struct buffer answer;
    buffer_init(&answer, 0);
    int code = judge_service(services.judge, request_json.ptr, (size_t)request_json.len,
                             deadline_ns, &answer);
    char *text = code == 0 ? memory_text(buffer_string(&answer)) : NULL;
    buffer_free(&answer);
    if (code == 0 && text == NULL)
        return ENOMEM;
    if (code == 0)
        *answer_json = (weir_reward_str){text, strlen(text)};
    return code;
}

static void judge_release(const weir_reward_host *host, weir_reward_str *answer_json)
{
    (void)host;
    if (answer_json == NULL)
        return;
    memory_free((void *)(uintptr_t)answer_json->ptr);
    *answer_json = (weir_reward_str){NULL, 0};
}

/* ---- life ---- */

const weir_reward_host *plugin_services(void)
{
    static const weir_reward_host host = {.struct_size = sizeof host,
                                          .log = plugin_log,
                                          .now_ns = clock_now_ns,
                                          .run_sandboxed = run_sandboxed,
                                          .run_release = run_release,
                                          .judge = judge,
                                          .judge_release = judge_release};
    return &host;
}

enum status plugin_services_open(const char *judge_config)
{
    char why[512] = "";
    services.offered = true;
    if (judge_config == NULL || judge_config[0] == '\0')
        return STATUS_OK;
    json_error_t error = {.text = "not an object"};
    json_t *config = json_loads(judge_config, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(config))
        snprintf(why, sizeof why, "%s", error.text);
    else
        judge_create(config, &services.judge, why, sizeof why);
    json_decref(config);
    return services.judge != NULL ? STATUS_OK : FAIL(STATUS_INVALID, "reward.judge: %s", why);
}

void plugin_services_close(void)
{
    judge_destroy(&services.judge);
    sandbox_close(&services.sandbox);
    services.offered = services.tried = false;
}
