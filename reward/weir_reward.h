/* weir_reward.h - the interface of reward plugins. C ABI, version 1.1.
 *
 * A plugin is a shared object with one exported symbol, weir_reward_query. It includes this header and
 * nothing else of weir, so it can live and be built anywhere:
 *
 *     cc -shared -fPIC -O2 -o mine.so mine.c          then: reward.plugin: /path/to/mine.so
 *
 * It runs inside reward workers, never in the learner: a crash or a leak costs one worker. Structs
 * begin with their size so that both sides may grow; a different major version is refused with both numbers.
 * Strings are UTF-8 with a length and no NUL; they live until submit returns. `weir plugin new NAME` writes an
 * example to start from, reward/plugins/gsm8k.c is a longer one.
 *
 * 1.1 adds to 1.0: host services (clock, sandbox, judge) in slots that were reserved, CAP_GROUP and
 * CAP_NEEDS_LOGPROBS, submit_group and selftest, cost. What was there kept its place: a plugin built for 1.0 runs
 * unchanged, and one built for 1.1 finds NULL services in an older host. */
#ifndef WEIR_REWARD_H
#define WEIR_REWARD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEIR_REWARD_ABI_MAJOR 1
#define WEIR_REWARD_ABI_MINOR 1

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
enum {                                     /* caps of a plugin */
       WEIR_REWARD_CAP_BATCH = 1,          /* submit takes more than one item */
       WEIR_REWARD_CAP_GROUP = 2,          /* wants all samples of a group in one submit */
       WEIR_REWARD_CAP_NEEDS_IDS = 4,      /* reads token ids */
       WEIR_REWARD_CAP_NEEDS_LOGPROBS = 8, /* reads response_logprobs (1.1) */
       WEIR_REWARD_CAP_THREADSAFE = 16     /* submit may run on several threads */
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
    const float *response_logprobs; /* [n_response_ids] nats; NULL without CAP_NEEDS_LOGPROBS */
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
    double
        cost; /* 1.1: what this score cost, in a unit of the plugin's choice (tokens, cents); 0: nothing */
} weir_reward_result;

/* The size of a result before 1.1. Results of one done call are struct_size bytes apart. */
#define WEIR_REWARD_RESULT_SIZE_1_0 56u

/* Called by the plugin exactly once an item, in any order, from any thread, at the latest at the deadline. */
typedef void (*weir_reward_done_fn)(void *user, const weir_reward_result *results, uint32_t n);

/* A program to run where it can do no harm: no network, a folder of its own, limits. Zero means the host's default
 * in every limit. Set struct_size. */
typedef struct {
    const char *path; /* relative, below the program's folder */
    weir_reward_str bytes;
    uint32_t executable;
} weir_reward_run_file;

typedef struct {
    uint32_t struct_size;
    uint32_t execute_work;   /* 1: programs of its folder may be run */
    const char *const *argv; /* NULL-terminated; argv[0] a path such as /usr/bin/python3 */
    weir_reward_str input;   /* its stdin */
    const weir_reward_run_file *files; /* [n_files] in its folder when it starts */
    uint32_t n_files, processes;
    int64_t wall_ms, cpu_ms, memory_bytes, output_bytes;
} weir_reward_run;

enum {                               /* outcome of a run */
       WEIR_REWARD_RUN_EXITED = 0,   /* exit_code */
       WEIR_REWARD_RUN_SIGNALED = 1, /* signal */
       WEIR_REWARD_RUN_LIMIT = 2,    /* time, memory, output ...: text says which */
       WEIR_REWARD_RUN_INFRA =
           3 /* the host's failure: answer with WEIR_REWARD_ERROR, never with a zero */
};

typedef struct {
    uint32_t struct_size;
    int32_t outcome, exit_code, signal;
    int64_t wall_ms, cpu_ms;
    weir_reward_str output, error; /* stdout and stderr as bytes; until run_release */
    char text[256];                /* one sentence */
    void *owned;                   /* the host's */
} weir_reward_run_result;

typedef struct weir_reward_host weir_reward_host;

/* What the host does for plugins. Lives as long as the instance; any thread. A pointer may be NULL in an older host,
 * and a service that this host cannot give returns ENOTSUP. */
struct weir_reward_host {
    uint32_t struct_size;
    void (*log)(int level, const char *fmt, ...); /* 0 debug .. 3 error */
    int64_t (*now_ns)(void);                      /* 1.1: the clock of deadline_ns */
    /* 1.1: blocks until the program and all it started are dead. 0, ENOTSUP, EINVAL; release every 0. */
    int (*run_sandboxed)(const weir_reward_host *host, const weir_reward_run *run,
                         weir_reward_run_result *result);
    void (*run_release)(const weir_reward_host *host, weir_reward_run_result *result);
    /* 1.1: blocks until the judge model answered. request: a JSON object {"messages": [...], "temperature", ...};
     * answer: {"text": ..., "judge": version}. 0, ENOTSUP, EIO (down, or out of time), EINVAL; release every 0. */
    int (*judge)(const weir_reward_host *host, weir_reward_str request_json, int64_t deadline_ns,
                 weir_reward_str *answer_json);
    void (*judge_release)(const weir_reward_host *host, weir_reward_str *answer_json);
    void *reserved[3];
};

typedef struct {
    uint32_t struct_size, abi_major, abi_minor;
    const char *name, *version;
    uint64_t caps;
    /* config_json: settings.reward.config. Returns 0, or an error text in err. */
    int (*create)(const char *config_json, const weir_reward_host *host, void **instance, char *err,
                  size_t errlen);
    /* 0, or EAGAIN: come back later. With CAP_GROUP: all samples of one group, in order, unless there is a
     * submit_group. Without CAP_BATCH and CAP_GROUP n is 1. */
    int (*submit)(void *instance, const weir_reward_item *items, uint32_t n,
                  weir_reward_done_fn done, void *user);
    /* Nobody waits for this item any more: its deadline passed after submit had returned. May be NULL. */
    void (*cancel)(void *instance, uint64_t item_id);
    /* 0 = fine. Asked twice a second while reward.reload is on; anything else, and a new instance of the same file takes
     * over while this one finishes its items. May be NULL. */
    int (*health)(void *instance);
    void (*destroy)(void *instance);
    /* ---- 1.1: read when struct_size says they are there ---- */
    /* May be NULL. Before an instance gets work: 0, or a sentence in err and it gets none. `weir plugin check` and
     * hot reload call it. */
    int (*selftest)(void *instance, char *err, size_t errlen);
    /* May be NULL. With CAP_GROUP: all n samples of one group, in order; submit then gets single items of groups
     * of one. */
    int (*submit_group)(void *instance, const weir_reward_item *items, uint32_t n,
                        weir_reward_done_fn done, void *user);
    void *reserved[4];
} weir_reward_plugin;

/* The size of the table before 1.1. */
#define WEIR_REWARD_PLUGIN_SIZE_1_0 80u

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
