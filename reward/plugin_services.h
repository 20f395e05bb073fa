/* reward/plugin_services.h - what this host does for plugins: log, clock, sandbox, judge. One table a process. */
#ifndef REWARD_PLUGIN_SERVICES_H
#define REWARD_PLUGIN_SERVICES_H

#include "reward/weir_reward.h"

/* Never NULL; any thread. run_sandboxed and judge return ENOTSUP until plugin_services_give. */
const weir_reward_host *plugin_services(void);

/* Sandbox and judge of this process, borrowed until its end; NULL: not available. Before the first plugin opens. */
struct plugin_services_given {
    int (*run_sandboxed)(const weir_reward_host *host, const weir_reward_run *run,
                         weir_reward_run_result *result);
    void (*run_release)(const weir_reward_host *host, weir_reward_run_result *result);
    int (*judge)(const weir_reward_host *host, weir_reward_str request_json, int64_t deadline_ns,
                 weir_reward_str *answer_json);
    void (*judge_release)(const weir_reward_host *host, weir_reward_str *answer_json);
};
void plugin_services_give(const struct plugin_services_given *given);

#endif
