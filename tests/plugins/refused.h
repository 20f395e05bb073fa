/* A table that is right but for what the including fixture defines; nothing in it is ever called. */
#ifndef TESTS_PLUGINS_REFUSED_H
#define TESTS_PLUGINS_REFUSED_H

#include "reward/weir_reward.h"

#ifndef ABI_MAJOR
#define ABI_MAJOR WEIR_REWARD_ABI_MAJOR
#endif
#ifndef STRUCT_SIZE
#define STRUCT_SIZE sizeof(weir_reward_plugin)
#endif
#ifndef CAPS
#define CAPS 0
#endif

static int create(const char *config_json, const weir_reward_host *host, void **instance, char *err,
                  size_t errlen)
{
    (void)config_json, (void)host, (void)instance, (void)err, (void)errlen;
    return 0;
}

static int submit(void *instance, const weir_reward_item *items, uint32_t n,
                  weir_reward_done_fn done, void *user)
{
    (void)instance, (void)items, (void)n, (void)done, (void)user;
    return 0;
}

static void destroy(void *instance)
{
    (void)instance;
}

const weir_reward_plugin *weir_reward_query(uint32_t host_major, uint32_t host_minor)
{
    static const weir_reward_plugin plugin = {.struct_size = STRUCT_SIZE,
                                              .abi_major = ABI_MAJOR,
                                              .abi_minor = 3,
                                              .name = "refused",
                                              .version = "1",
                                              .caps = CAPS,
                                              .create = create,
                                              .submit = submit,
                                              .destroy = destroy};
    (void)host_major, (void)host_minor;
    return &plugin;
}

#endif
