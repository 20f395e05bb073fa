/* reward/python_host.h - a Python reward function as a plugin: reward.plugin: path/to/file.py:function
 *
 * reward.threads processes run reward/python/weir_reward_worker.py, which calls the function the way the library does
 * that it was written for (reward.style). A submit call waits for one process and comes back before the item's
 * deadline: a process that does not answer until then is killed with all it started. One that dies gets the request
 * once more in a new process, then the items are ERROR. Processes are made anew after 5,000 requests or 1 GiB. */
#ifndef REWARD_PYTHON_HOST_H
#define REWARD_PYTHON_HOST_H

#include "reward/plugin_instance.h"

/* Starts one process and lets it load the file. INVALID with what Python said; NOT_FOUND: the file. */
MUST_CHECK enum status python_host_open(struct plugin_instance *instance,
                                        const struct reward_settings *settings);

#endif
