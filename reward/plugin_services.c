/* reward/plugin_services.c - see the header. */
#include "reward/plugin_services.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/clock.h"
#include "core/log.h"

static struct plugin_services_given services;

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

static int run_sandboxed(const weir_reward_host *host, const weir_reward_run *run,
                         weir_reward_run_result *result)
{
    if (run == NULL || result == NULL || run->struct_size < sizeof *run ||
        result->struct_size < sizeof *result || run->argv == NULL || run->argv[0] == NULL)
        return EINVAL;
    return services.run_sandboxed != NULL ? services.run_sandboxed(host, run, result) : ENOTSUP;
}

static void run_release(const weir_reward_host *host, weir_reward_run_result *result)
{
    if (services.run_release != NULL)
        services.run_release(host, result);
}

static int judge(const weir_reward_host *host, weir_reward_str request_json, int64_t deadline_ns,
                 weir_reward_str *answer_json)
{
    if (request_json.ptr == NULL || answer_json == NULL)
        return EINVAL;
    return services.judge != NULL ? services.judge(host, request_json, deadline_ns, answer_json)
                                  : ENOTSUP;
}

static void judge_release(const weir_reward_host *host, weir_reward_str *answer_json)
{
    if (services.judge_release != NULL)
        services.judge_release(host, answer_json);
}

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

void plugin_services_give(const struct plugin_services_given *given)
{
    services = *given;
}
