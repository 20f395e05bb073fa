/* reward/judge/client.h - asks a judge behind any OpenAI-compatible endpoint.
 *
 * One thread of the judge drives all connections (libcurl, keep-alive); judge_ask may be called from any number of
 * threads and blocks until there is an answer or the deadline has passed. What goes wrong stays a status and never
 * becomes an answer:
 *   TIMEOUT   the deadline passed, or the judge is down and nobody asks it for a while (a circuit breaker)
 *   NETWORK   no connection, a server error or 429 until the last retry
 *   CORRUPT   answers that are no chat completion, until the last retry
 *   INVALID   the server refuses the request (4xx): settings, the key, a prompt that is too long
 *   LIMIT     an answer larger than body_bytes_max, or the queue is full
 * Retries wait with exponential backoff and jitter, or as long as Retry-After says. */
#ifndef REWARD_JUDGE_CLIENT_H
#define REWARD_JUDGE_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "reward/judge/settings.h"

struct judge;

struct judge_answer {
    char *text; /* owned; judge_answer_free */
    char finish[24];
    uint64_t prompt_tokens, completion_tokens; /* 0 when cached */
    double cost;                               /* of this call; 0 when cached */
    double latency_ms;                         /* from the question to the answer */
    bool cached;
};

/* One question of judge_ask_all. */
struct judge_question {
    const json_t *messages; /* borrowed */
    double temperature;     /* below 0: that of the settings */
    uint32_t
        sample; /* blind judgments and second tries of one question differ in it, and in their seed */
    enum status status; /* result; answer is set when OK */
    struct judge_answer answer;
    char why[512]; /* sentence when not OK */
};

struct judge_counters {
    uint64_t questions, cached, attempts, retries,
        failures;          /* failures: questions without an answer */
    uint64_t refused_fast; /* of them: because the judge was down */
    uint64_t downs;        /* times it was found down */
    uint64_t prompt_tokens, completion_tokens;
    double cost;
    double p50_ms, p95_ms; /* of attempts that gave an answer; within 10% */
    uint64_t waiting;      /* questions without a result */
    bool down;
};

/* config: the object "judge", or one that holds it as its member. 0, or an errno code with a sentence in `why`. */
int judge_create(const json_t *config, struct judge **judge, char *why, size_t size);
/* Ends what is under way: those who wait get CANCELLED, as does who asks later. */
void judge_stop(struct judge *judge);
/* Stops it too. Nobody may be inside judge_ask any more. */
void judge_destroy(struct judge **judge);

/* deadline_ns: CLOCK_MONOTONIC. */
MUST_CHECK enum status judge_ask(struct judge *judge, const json_t *messages, int64_t deadline_ns,
                                 struct judge_answer *answer);
/* All at once; returns when each has its result. */
void judge_ask_all(struct judge *judge, struct judge_question *questions, size_t count,
                   int64_t deadline_ns);
void judge_answer_free(struct judge_answer *answer);
const char *judge_version(const struct judge *judge); /* 16 hex digits */
void judge_counters(struct judge *judge, struct judge_counters *counters);

#endif
