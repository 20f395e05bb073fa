/* A plugin as it was built against ABI 1.0: small table, small results, CAP_BATCH. The score is the length of the
 * response / 100; "late" is answered by no one. */
#include <stdio.h>

#include "tests/plugins/weir_reward_1_0.h"

_Static_assert(sizeof(weir_reward_plugin) == 80, "the table of 1.0");
_Static_assert(sizeof(weir_reward_result) == 56, "the result of 1.0");
_Static_assert(sizeof(weir_reward_item) == 192, "the item of 1.0");
_Static_assert(sizeof(weir_reward_host) == 80, "the host of 1.0");

static int create(const char *config_json, const weir_reward_host *host, void **instance, char *err,
                  size_t errlen)
{
    (void)config_json;
    *instance = NULL;
    if (host->struct_size < sizeof *host)
        return snprintf(err, errlen, "the host shrank to %u bytes", host->struct_size);
    host->log(0, "made for %d.%d", WEIR_REWARD_ABI_MAJOR, WEIR_REWARD_ABI_MINOR);
    return 0;
}

static int submit(void *instance, const weir_reward_item *items, uint32_t n,
                  weir_reward_done_fn done, void *user)
{
    (void)instance;
    weir_reward_result results[64];
    if (n > 64)
        return 1;
    for (uint32_t i = 0; i < n; i++)
        results[i] = (weir_reward_result){.struct_size = sizeof results[i],
                                          .item_id = items[i].item_id,
                                          .score = (double)items[i].response.len / 100};
    done(user, results, n);
    return 0;
}

static void destroy(void *instance)
{
    (void)instance;
}

const weir_reward_plugin *weir_reward_query(uint32_t host_major, uint32_t host_minor)
{
    static const weir_reward_plugin plugin = {.struct_size = sizeof plugin,
                                              .abi_major = 1,
                                              .abi_minor = 0,
                                              .name = "abi_1_0",
                                              .version = "1.0",
                                              .caps = WEIR_REWARD_CAP_BATCH,
                                              .create = create,
                                              .submit = submit,
                                              .destroy = destroy};
    (void)host_major, (void)host_minor;
    return &plugin;
}
