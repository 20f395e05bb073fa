/* tests/plugin_case.h - one item through a plugin host, for tests that load plugins. */
#ifndef TESTS_PLUGIN_CASE_H
#define TESTS_PLUGIN_CASE_H

#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "core/wait.h"
#include "reward/plugin_host.h"

#define FIXTURE(name)  BUILD_DIR "/tests/plugins/" name ".so"
#define BUILT_IN(name) BUILD_DIR "/plugins/" name ".so"

static inline struct reward_settings case_settings(const char *plugin, const char *config)
{
    return (struct reward_settings){.plugin = (char *)plugin,
                                    .config = (char *)config,
                                    .timeout_ms = 2000,
                                    .queue = 64,
                                    .threads = 1,
                                    .batch = 1,
                                    .clip_low = -10,
                                    .clip_high = 10};
}

static inline weir_reward_str case_text(const char *text)
{
    return (weir_reward_str){text, strlen(text)};
}

/* The texts are copied behind the job, so that a plugin that reads them after the job's end is seen. */
static inline struct plugin_job *case_job(const char *response, const char *truth)
{
    size_t response_size = strlen(response), truth_size = strlen(truth);
    struct plugin_job *job = memory_alloc(sizeof *job + response_size + truth_size);
    if (job == NULL)
        return NULL;
    char *texts = (char *)(job + 1);
    memcpy(texts, response, response_size);
    memcpy(texts + response_size, truth, truth_size);
    job->item = (weir_reward_item){.struct_size = sizeof job->item,
                                   .finish_reason = WEIR_REWARD_FIN_EOS,
                                   .group_size = 1,
                                   .data_source = case_text("test"),
                                   .prompt_text = case_text(""),
                                   .prompt_json = case_text(""),
                                   .response = {texts, response_size},
                                   .ground_truth_json = {texts + response_size, truth_size},
                                   .extra_json = case_text("")};
    return job;
}

static inline void case_drop(struct plugin_job *job)
{
    memory_free(job->detail);
    memset(job, 0x5a, sizeof *job);
    memory_free(job);
}

/* Waits for the next job; NULL when none came in time. */
static inline struct plugin_job *case_take(struct plugin_host *host, int64_t timeout_ms)
{
    int64_t deadline_ns = clock_now_ns() + timeout_ms * CLOCK_NS_PER_MS;
    struct plugin_job *job = NULL;
    while ((job = plugin_host_take(host, clock_now_ns())) == NULL && clock_now_ns() < deadline_ns) {
        struct pollfd fd = {.fd = plugin_host_fd(host), .events = POLLIN};
        if (wait_poll("case", "plugin", 5, &fd, 1) == STATUS_IO)
            break;
    }
    return job;
}

#endif
