/* Reads whole groups: the score of a sample is its rank by length in its group / (n - 1), -1 when the group came
 * incomplete or out of order. Config "{\"selftest\":0}" makes the self-test fail. Also a batch plugin that measures:
 * metric n is how many items its call had, cost 2. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "reward/weir_reward.h"

static int failing;

static int create(const char *config_json, const weir_reward_host *host, void **instance, char *err,
                  size_t errlen)
{
    weir_reward_run run = {.struct_size = sizeof run};
    weir_reward_run_result result = {.struct_size = sizeof result};
    failing = strstr(config_json, "selftest") != NULL;
    *instance = NULL;
    if (host->now_ns() <= 0 || host->run_sandboxed(host, &run, &result) != EINVAL)
        return snprintf(err, errlen, "the services of the host are not as promised");
    return 0;
}

static int selftest(void *instance, char *err, size_t errlen)
{
    (void)instance;
    return failing ? snprintf(err, errlen, "two and two is five") : 0;
}

static int submit(void *instance, const weir_reward_item *items, uint32_t n,
                  weir_reward_done_fn done, void *user)
{
    (void)instance, (void)items, (void)n, (void)done, (void)user;
    return EINVAL; /* submit_group is there */
}

static int submit_group(void *instance, const weir_reward_item *items, uint32_t n,
                        weir_reward_done_fn done, void *user)
{
    (void)instance;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t rank = 0;
        int whole = items[i].group_size == n && items[i].group_index == i &&
                    items[i].group_id == items[0].group_id;
        for (uint32_t other = 0; other < n; other++)
            rank += items[other].response.len < items[i].response.len;
        weir_reward_metric metric = {{"n", 1}, n};
        weir_reward_result result = {.struct_size = sizeof result,
                                     .item_id = items[i].item_id,
                                     .score = !whole  ? -1
                                              : n > 1 ? (double)rank / (n - 1)
                                                      : 0,
                                     .n_metrics = 1,
                                     .metrics = &metric,
                                     .cost = 2};
        done(user, &result, 1);
    }
    return 0;
}

static void destroy(void *instance)
{
    (void)instance;
}

const weir_reward_plugin *weir_reward_query(uint32_t host_major, uint32_t host_minor)
{
    static const weir_reward_plugin plugin = {.struct_size = sizeof plugin,
                                              .abi_major = WEIR_REWARD_ABI_MAJOR,
                                              .abi_minor = WEIR_REWARD_ABI_MINOR,
                                              .name = "groups",
                                              .version = "1",
                                              .caps = WEIR_REWARD_CAP_GROUP,
                                              .create = create,
                                              .submit = submit,
                                              .destroy = destroy,
                                              .selftest = selftest,
                                              .submit_group = submit_group};
    (void)host_major, (void)host_minor;
    return &plugin;
}
