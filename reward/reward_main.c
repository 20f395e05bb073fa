/* reward/reward_main.c - weir-reward: scores rollouts with a plugin. Started by `weir run` and `weir up`. */
#include "core/program.h"
#include "reward/reward_metrics.h"
#include "reward/plugin_host.h"
#include "reward/words.h"
#include "reward/worker.h"
#include "transport/monitor.h"
#include "transport/span_view.h"

#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct program program;
    int code = reward_word(argc, argv);
    if (code >= 0)
        return code;
    program_set_metrics(reward_metrics_table);
    code = program_start(&program, argc, argv, ROLE_NAME_REWARD,
                         "Scores finished rollouts with a reward plugin.");
    if (code >= 0)
        return code;
    if (program.check) {
        struct plugin_host *host = NULL;
        enum status status = plugin_host_open(&host, &program.settings.reward);
        if (status == STATUS_OK)
            printf("reward: plugin \"%s\"\n", plugin_host_name(host));
        plugin_host_close(&host, NULL);
        return program_end(&program, status);
    }
    struct reward_worker_options options = {.settings = &program.settings,
                                            .endpoint = program.endpoint,
                                            .run = program.run,
                                            .index = program.index};
    struct reward_worker *worker = NULL;
    enum status status = monitor_open_program(&options.monitor, &program);
    if (status == STATUS_OK)
        span_view_open(&program);
    if (status == STATUS_OK)
        status = reward_worker_create(&worker, &options);
    if (status == STATUS_OK)
        status = reward_worker_run(worker, program_stop_signals());
    reward_worker_destroy(&worker);
    monitor_close(&options.monitor);
    code = program_end(&program, status);
    if (status !=
        STATUS_OK) /* the plugin's thread may still run: nothing may be torn down under it */
        _exit(code);
    return code;
}
