/* Scores a response with the share of its bytes that are even: rewards of one group differ, at no cost, and
 * depend on nothing but the text. Empty responses get 0. */
#include <stdio.h>

#include "reward/weir_reward.h"

static int create(const char *config_json, const weir_reward_host *host, void **instance, char *err,
                  size_t errlen)
{
    (void)config_json, (void)host, (void)err, (void)errlen;
    *instance = NULL;
    return 0;
}

static int submit(void *instance, const weir_reward_item *items, uint32_t n,
                  weir_reward_done_fn done, void *user)
{
    (void)instance;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t even = 0, length = items[i].response.len;
        for (uint64_t b = 0; b < length; b++)
            even += items[i].response.ptr[b] % 2 == 0;
        weir_reward_result result = {.struct_size = sizeof result,
                                     .item_id = items[i].item_id,
                                     .score = length > 0 ? (double)even / (double)length : 0};
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
                                              .name = "share",
                                              .version = "1",
                                              .caps = WEIR_REWARD_CAP_BATCH |
                                                      WEIR_REWARD_CAP_THREADSAFE,
                                              .create = create,
                                              .submit = submit,
                                              .destroy = destroy};
    (void)host_major, (void)host_minor;
    return &plugin;
}
