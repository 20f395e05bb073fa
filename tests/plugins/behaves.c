/* A plugin that does what its item's response says; see test_plugin_host.c. Config {"refuse":1} is refused. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "reward/weir_reward.h"

static void sleep_ms(int ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    nanosleep(&pause, NULL);
}

static int cancelled, sick;

static void cancel(void *instance, uint64_t item_id)
{
    (void)instance;
    (void)item_id;
    cancelled++;
}

static int health(void *instance)
{
    (void)instance;
    return sick;
}

static int create(const char *config_json, const weir_reward_host *host, void **instance, char *err,
                  size_t errlen)
{
    if (strstr(config_json, "refuse") != NULL) {
        snprintf(err, errlen, "no, because the test says refuse");
        return EINVAL;
    }
    host->log(1, "created with %s", config_json);
    *instance = NULL;
    return 0;
}

static int says(const weir_reward_item *item, const char *word)
{
    return item->response.len == strlen(word) &&
           memcmp(item->response.ptr, word, strlen(word)) == 0;
}

static void answer(uint64_t id, double score, weir_reward_done_fn done, void *user)
{
    weir_reward_result result = {.struct_size = sizeof result, .item_id = id, .score = score};
    done(user, &result, 1);
}

/* Joined by destroy: no code of a plugin may run after it. */
static pthread_t threads[64];
static int thread_count;

struct later {
    uint64_t id;
    weir_reward_done_fn done;
    void *user;
    int after_ms;
};

static void *answer_later(void *self)
{
    struct later later = *(struct later *)self;
    free(self);
    sleep_ms(later.after_ms);
    answer(later.id, 0.5, later.done, later.user);
    return NULL;
}

static int start_later(uint64_t id, int after_ms, weir_reward_done_fn done, void *user)
{
    struct later *later = malloc(sizeof *later);
    if (later == NULL || thread_count == 64)
        return ENOMEM;
    *later = (struct later){id, done, user, after_ms};
    if (pthread_create(&threads[thread_count++], NULL, answer_later, later) != 0)
        abort();
    return 0;
}

static void answer_with_detail(uint64_t id, const char *detail, weir_reward_done_fn done,
                               void *user)
{
    weir_reward_metric metrics[2] = {{{"length\xff", 7}, 12}, {{"share", 5}, NAN}};
    weir_reward_result result = {.struct_size = sizeof result,
                                 .item_id = id,
                                 .score = 1,
                                 .n_metrics = 2,
                                 .metrics = metrics,
                                 .detail_json = {detail, strlen(detail)}};
    done(user, &result, 1);
}

/* The texts must stay readable until submit returns, whatever became of the answer. */
static void read_after_answer(const weir_reward_item *item, weir_reward_done_fn done, void *user)
{
    answer(item->item_id, 1, done, user);
    sleep_ms(30);
    if (!says(item, "read after"))
        abort();
}

static int answer_wrongly(const weir_reward_item *item, weir_reward_done_fn done, void *user)
{
    uint64_t id = item->item_id;
    if (says(item, "nan"))
        answer(id, NAN, done, user);
    else if (says(item, "high"))
        answer(id, 10.5, done, user);
    else if (says(item, "twice"))
        answer(id, 1, done, user), answer(id, 0, done, user);
    else if (says(item, "unknown item"))
        answer(id + 1000, 0, done, user), answer(id, 1, done, user);
    else if (says(item, "short result")) {
        weir_reward_result result = {.struct_size = 8, .item_id = id};
        done(user, &result, 1);
    } else if (says(item, "fail"))
        return EIO;
    return 0; /* "never" */
}

static int submit(void *instance, const weir_reward_item *items, uint32_t n,
                  weir_reward_done_fn done, void *user)
{
    static int refusals;
    const weir_reward_item *item = &items[0];
    uint64_t id = item->item_id;
    (void)instance;
    (void)n;
    if (says(item, "ok"))
        answer(id, 1, done, user);
    else if (says(item, "how many were cancelled"))
        answer(id, cancelled, done, user);
    else if (says(item, "be sick"))
        sick = 7, answer(id, 1, done, user);
    else if (says(item, "read after"))
        read_after_answer(item, done, user);
    else if (says(item, "later"))
        return start_later(id, 30, done, user);
    else if (says(item, "too late"))
        return start_later(id, 250, done, user);
    else if (says(item, "again") && ++refusals % 4 != 0)
        return EAGAIN;
    else if (says(item, "again"))
        answer(id, 1, done, user);
    else if (says(item, "always again"))
        return EAGAIN;
    else if (says(item, "hang"))
        sleep_ms(1000);
    else if (says(item, "answer and hang"))
        answer(id, 0.25, done, user), sleep_ms(1000);
    else if (says(item, "hang for ever"))
        for (;;)
            sleep_ms(1000);
    else if (says(item, "detail"))
        answer_with_detail(id, " {\"why\": \"because\"} ", done, user);
    else if (says(item, "bad detail"))
        answer_with_detail(id, "[1, 2", done, user);
    else
        return answer_wrongly(item, done, user);
    return 0;
}

static void destroy(void *instance)
{
    (void)instance;
    while (thread_count > 0)
        pthread_join(threads[--thread_count], NULL);
}

const weir_reward_plugin *weir_reward_query(uint32_t host_major, uint32_t host_minor)
{
    static const weir_reward_plugin plugin = {.struct_size = sizeof plugin,
                                              .abi_major = WEIR_REWARD_ABI_MAJOR,
                                              .abi_minor = WEIR_REWARD_ABI_MINOR,
                                              .name = "behaves",
                                              .version = "0.1",
                                              .create = create,
                                              .submit = submit,
                                              .cancel = cancel,
                                              .health = health,
                                              .destroy = destroy};
    (void)host_major;
    (void)host_minor;
    return &plugin;
}
