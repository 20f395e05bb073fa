/* reward/plugin_services.h - what this host does for plugins: log, clock, sandbox, judge. One table a process. */
#ifndef REWARD_PLUGIN_SERVICES_H
#define REWARD_PLUGIN_SERVICES_H

#include "core/status.h"
#include "reward/weir_reward.h"

/* Never NULL; any thread. run_sandboxed and judge return ENOTSUP unless plugin_services_open was called. */
const weir_reward_host *plugin_services(void);

/* From now on plugins have a sandbox, opened when the first of them runs a program (ENOTSUP then on a machine that
 * cannot have one), and the judge of judge_config (reward.judge, a JSON object; "" for none). INVALID with the judge's
 * sentence. Call it before the first plugin opens; plugin_services_close when the last is closed. */
MUST_CHECK enum status plugin_services_open(const char *judge_config);
void plugin_services_close(void);

#endif
