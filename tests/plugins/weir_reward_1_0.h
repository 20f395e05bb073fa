/* weir_reward_1_0.h - reward/weir_reward.h as it was in version 1.0: plugins built with it must run for ever.
 *
 * The interface of reward plugins. C ABI, version 1.0.
 *
 * A plugin is a shared object with one exported symbol, weir_reward_query. It includes this header and
 * nothing else of weir, so it can live and be built anywhere:
 *
 *     cc -shared -fPIC -O2 -o mine.so mine.c          then: reward.plugin: /path/to/mine.so
 *
 * It runs inside reward workers, never in the learner: a crash or a leak costs one worker. Structs
 * begin with their size so that both sides may grow; a different major version is refused with both numbers.
 * Strings are UTF-8 with a length and no NUL; they live until submit returns. reward/plugins/gsm8k.c is a
 * complete example to copy. */
#ifndef WEIR_REWARD_H
#define WEIR_REWARD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEIR_REWARD_ABI_MAJOR 1
#define WEIR_REWARD_ABI_MINOR 0

typedef struct {
    const char *ptr;
    uint64_t len;
} weir_reward_str;

enum { /* status of a result */
       WEIR_REWARD_OK = 0,
       WEIR_REWARD_SKIP = 1,       /* not applicable to this item */
       WEIR_REWARD_ERROR = 2,      /* the plugin failed: tried again, never a zero */
       WEIR_REWARD_TIMEOUT = 3,    /* likewise */
       WEIR_REWARD_UNSCORABLE = 4, /* this item can never be scored */
       WEIR_REWARD_CANCELLED = 5
};
enum {
    WEIR_REWARD_FIN_EOS = 0,
    WEIR_REWARD_FIN_LENGTH = 1,
    WEIR_REWARD_FIN_REPETITION = 2,
    WEIR_REWARD_FIN_ABORT = 3
};
enum {                                 /* caps of a plugin */
       WEIR_REWARD_CAP_BATCH = 1,      /* submit takes more than one item */
       WEIR_REWARD_CAP_GROUP = 2,      /* wants all samples of a group in one submit */
       WEIR_REWARD_CAP_NEEDS_IDS = 4,  /* reads token ids */
       WEIR_REWARD_CAP_THREADSAFE = 16 /* submit may run on several threads */
};

typedef struct {
    uint32_t struct_size;
    uint32_t finish_reason;
    uint64_t item_id;
    uint64_t group_id;
    uint32_t group_index; /* sample in its group */
    uint32_t group_size;
    weir_reward_str data_source;
    weir_reward_str prompt_text;
    weir_reward_str prompt_json;              /* chat messages, or empty */
    weir_reward_str response;                 /* the end-of-text token is not part of it */
    weir_reward_str ground_truth_json;        /* as in the data row: a JSON value */
    weir_reward_str extra_json;               /* the whole data row */
    const int32_t *prompt_ids, *response_ids; /* NULL without CAP_NEEDS_IDS */
    uint32_t n_prompt_ids, n_response_ids;
    const float *response_logprobs; /* NULL in this version */
    uint64_t policy_version, train_step;
    int64_t deadline_ns; /* CLOCK_MONOTONIC */
    uint32_t is_eval;
} weir_reward_item;

typedef struct {
    weir_reward_str name;
    double value;
} weir_reward_metric;

typedef struct {
    uint32_t struct_size;
    int32_t status;
    uint64_t item_id;
    double score; /* finite; NaN when status is not OK */
    uint32_t n_metrics;
    const weir_reward_metric *metrics; /* owned by the plugin until done returns */
    weir_reward_str detail_json;       /* likewise; an object or empty */
} weir_reward_result;

/* Called by the plugin exactly once an item, in any order, from any thread, at the latest at the deadline. */
typedef void (*weir_reward_done_fn)(void *user, const weir_reward_result *results, uint32_t n);

typedef struct {
    uint32_t struct_size;
    void (*log)(int level, const char *fmt, ...); /* 0 debug .. 3 error */
    void *reserved[8];                            /* judge and sandbox services arrive here */
} weir_reward_host;

typedef struct {
    uint32_t struct_size, abi_major, abi_minor;
    const char *name, *version;
    uint64_t caps;
    /* config_json: settings.reward.config. Returns 0, or an error text in err. */
    int (*create)(const char *config_json, const weir_reward_host *host, void **instance, char *err,
                  size_t errlen);
    /* 0, or EAGAIN: come back later. */
    int (*submit)(void *instance, const weir_reward_item *items, uint32_t n,
                  weir_reward_done_fn done, void *user);
    void (*cancel)(void *instance, uint64_t item_id); /* may be NULL */
    int (*health)(void *instance);                    /* 0 = fine; may be NULL */
    void (*destroy)(void *instance);
} weir_reward_plugin;

/* The one exported symbol. Returns NULL when it cannot serve this host version. */
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
const weir_reward_plugin *
weir_reward_query(uint32_t host_major, uint32_t host_minor);

#ifdef __cplusplus
}
#endif

#endif
