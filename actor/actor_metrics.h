#ifndef ACTOR_ACTOR_METRICS_H
#define ACTOR_ACTOR_METRICS_H

#include "core/metrics.h"

// clang-format off
/*      kind     name                 path                        unit        meaning */
#define ACTOR_METRICS(ROW)                                                                                                   \
    ROW(COUNTER, tokens_sampled,      "actor/tokens_sampled",     "tokens",   "Tokens sampled.")                               \
    ROW(COUNTER, tokens_prefilled,    "actor/tokens_prefilled",   "tokens",   "Prompt and continued tokens run through the model.") \
    ROW(COUNTER, rollouts_finished,   "actor/rollouts_finished",  "rollouts", "Rollouts that ended for any reason.")           \
    ROW(COUNTER, rollouts_repetition, "actor/rollouts_repetition", "rollouts", "Rollouts cut by the repetition rule.")        \
    ROW(COUNTER, rollouts_continued,  "actor/rollouts_continued", "rollouts", "Leases that came with tokens of an earlier attempt.") \
    ROW(COUNTER, prefills_shared,     "actor/prefills_shared",    "rollouts", "Siblings that took their prompt from another sample's cache.") \
    ROW(COUNTER, decode_steps,        "actor/decode_steps",       "steps",    "Forward passes.")                               \
    ROW(COUNTER, frames_sent,         "actor/frames_sent",        "frames",   "Segment frames sent, repeats included.")        \
    ROW(GAUGE,   frames_unacked,      "actor/frames_unacked",     "frames",   "Frames the store has not on disk yet.")         \
    ROW(GAUGE,   bytes_unacked,       "actor/bytes_unacked",      "bytes",    "Memory of them.")                               \
    ROW(GAUGE,   sequences_running,   "actor/sequences_running",  "sequences", "Sequences in the batch now.")                  \
    ROW(GAUGE,   sequences_waiting,   "actor/sequences_waiting",  "sequences", "Leases held back for newer weights.")          \
    ROW(GAUGE,   kv_pages_free,       "actor/kv_pages_free",      "pages",    "KV cache pages free.")                          \
    ROW(GAUGE,   kv_used_frac,        "actor/kv_used_frac",       "",         "Share of the KV cache's pages in use.")         \
    ROW(HISTOGRAM(METRIC_SECONDS), step_s, "actor/decode_step_seconds", "s", "One decode step: forward pass and sampling.")    \
    ROW(HISTOGRAM(METRIC_LONG_SECONDS), first_token_s, "actor/first_token_seconds", "s", "From a lease's arrival to its first token, waiting for weights and room included.") \
    ROW(HISTOGRAM(METRIC_SECONDS), pause_s, "actor/swap_pause_seconds", "s", "Pause of decoding at each swap of the weights.") \
    ROW(GAUGE,   tokens_per_s,        "actor/tokens_per_s",       "tokens/s", "Sampled, over the last reporting interval.")    \
    ROW(GAUGE,   idle_frac,           "actor/idle_frac",          "",         "Share of the last interval without work.")      \
    ROW(GAUGE,   policy_version,      "actor/policy_version",     "version",  "Weights that sample right now.")                \
    ROW(COUNTER, swaps,               "actor/swaps",              "swaps",    "Weight swaps between two decode steps.")        \
    ROW(GAUGE,   swap_ms,             "actor/swap_ms",            "ms",       "Pause of decoding in the last swap.")           \
    ROW(COUNTER, redis_dropped,       "actor/redis_dropped",      "commands", "Commands of the view that did not reach Redis.") \
    ROW(COUNTER, digest_refused,      "actor/digest_refused",     "versions", "Weight copies whose digest was wrong: never served.") \
    ROW(COUNTER, serve_requests,      "serve/requests",           "requests", "Requests of the endpoint that were taken.") \
    ROW(COUNTER, serve_refused,       "serve/refused",            "requests", "Requests answered with an error.") \
    ROW(COUNTER, serve_cancelled,     "serve/cancelled",          "sequences", "Sequences that ended early: the client went away, or a stop string came.") \
    ROW(COUNTER, serve_prompt_tokens, "serve/prompt_tokens",      "tokens",   "Of the prompts of requests.") \
    ROW(COUNTER, serve_tokens,        "serve/tokens",             "tokens",   "Sampled for requests.") \
    ROW(GAUGE,   serve_waiting,       "serve/waiting",            "sequences", "Sequences of requests without a slot.") \
    ROW(GAUGE,   serve_running,       "serve/running",            "sequences", "Sequences of requests with one.")
// clang-format on

struct actor_metrics {
    ACTOR_METRICS(METRIC_MEMBER)
};

const struct metric_row *actor_metrics_table(size_t *count);

#endif
