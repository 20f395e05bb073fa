/* actor/serve.h - requests of the endpoint become sequences of the engine's batch.
 *
 * Two sides share a hub. Callers (the HTTP server, any thread) submit jobs: one job is one sequence to generate. The
 * engine's thread gives them slots in the order in which they came, lets the continuous batch run them beside whatever
 * else it decodes, and hands over tokens after each step.
 *
 *     caller: serve_submit -> (woken by `wake`) serve_job_* under serve_lock -> serve_release
 *     engine: serve_turn, engine_decode, serve_publish; again and again
 *
 * A token is a function of the weights, the tokens before it and (seed, group, sample, position): never of what else is
 * in the batch. On a training actor weights change between two tokens; a job says which versions it has seen.
 *
 * serve_release before the end cancels: the slot is free again before the next step. */
#ifndef ACTOR_SERVE_H
#define ACTOR_SERVE_H

#include "actor/engine.h"
#include "actor/report.h"

struct serve_hub;
struct serve_job;

enum serve_state { SERVE_WAITING, SERVE_RUNNING, SERVE_ENDED };
enum serve_finish {
    SERVE_FINISH_NONE,
    SERVE_FINISH_EOS,
    SERVE_FINISH_LENGTH,
    SERVE_FINISH_FAILED, /* cannot run here, no memory, or the process is leaving: job->why */
};

struct serve_best {
    uint32_t id;
    float logprob;
};

/* Log-probabilities are nats over the whole vocabulary at temperature 1, whatever the sampling. */
struct serve_job {
    struct slot_order order; /* ids are the job's own copy */
    enum serve_state state;
    enum serve_finish finish;
    char why[256];
    /* What there is so far, in order: */
    struct buffer ids;      /* uint32_t of generated tokens, the one that ends the text included */
    struct buffer logprobs; /* float of each; order.report */
    struct buffer best;     /* serve_best [order.report_top] of each; order.report */
    struct buffer
        prompt_logprobs;       /* float of each prompt token but the first; order.report_prompt */
    struct buffer prompt_best; /* likewise */
    uint64_t version_first, version_last; /* weights that made them; UINT64_MAX: none yet */
    int64_t submitted_ns, started_ns, first_ns, ended_ns;

    /* Of the hub: */
    uint32_t slot; /* SERVE_RUNNING */
    uint32_t holders;
    bool cancelled;
    void *owner; /* of the caller, given to wake */
    struct serve_job *next;
};

struct serve_config {
    uint32_t waiting_max; /* jobs that wait before a submit is refused */
    /* Under the lock, on the engine's thread: the job has something new. */
    void (*wake)(void *owner, struct serve_job *job);
    struct actor_metrics *metrics; /* borrowed */
};

MUST_CHECK enum status serve_create(struct serve_hub **hub, const struct serve_config *config);
void serve_destroy(struct serve_hub **hub); /* every job was released; NULL is fine */

/* ---- callers ---- */

/* All of a request or none. LIMIT: waiting_max jobs wait already. CANCELLED: the process is leaving. jobs [count] are
 * filled in; each is released later. */
MUST_CHECK enum status serve_submit(struct serve_hub *hub, const struct slot_order *orders,
                                    uint32_t count, void *owner, struct serve_job **jobs);
void serve_release(struct serve_hub *hub, struct serve_job **job); /* NULL is fine */
void serve_lock(struct serve_hub *hub);
void serve_unlock(struct serve_hub *hub);
static inline uint32_t serve_count(const struct serve_job *job) /* generated so far; locked */
{
    return (uint32_t)(job->ids.size / sizeof(uint32_t));
}
struct serve_load {
    uint32_t waiting, running, slots;
    double cache_used; /* share of the pages of keys and values */
};
void serve_get_load(struct serve_hub *hub, struct serve_load *load);

/* ---- the engine's thread ---- */

/* The engine's served slots are this hub's from now on. */
void serve_attach(struct serve_hub *hub, struct engine *engine);
/* Before a step: cancelled jobs leave, waiting ones get slots. */
void serve_turn(struct serve_hub *hub, struct engine *engine);
/* After it: tokens go to their jobs. */
void serve_publish(struct serve_hub *hub, struct engine *engine);
/* Jobs wait or run. */
bool serve_is_busy(struct serve_hub *hub);
/* An eventfd, readable after a submit; serve_turn empties it. */
int serve_fd(const struct serve_hub *hub);
/* No further jobs; those that are there end as FAILED with `why`. */
void serve_close(struct serve_hub *hub, struct engine *engine, const char *why);

#endif
