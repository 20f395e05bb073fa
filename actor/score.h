/* actor/score.h - log-probabilities of given ids by the engine's model: `weir score`, and echo with logprobs of the
 * endpoint.
 *
 * Sequences wait in a queue; a step runs one forward call of up to rows_max rows, cut from as many open sequences as fit
 * the scorer's own cache (the engine's slots are untouched, so decode steps and score steps may alternate). Which
 * sequences share a step and where they are cut changes no bit: the forward pass keeps that promise. Every figure comes
 * from the engine's active weights; do not change them while score_pending is not 0.
 *
 *     TRY(scorer_create(&scorer, &engine, done, self));
 *     TRY(scorer_add(scorer, &request));
 *     while (scorer_pending(scorer) > 0)
 *         TRY(scorer_step(scorer, &worked));
 *
 * One thread: that of the engine. */
#ifndef ACTOR_SCORE_H
#define ACTOR_SCORE_H

#include "actor/engine.h"

enum { SCORE_TOP_MAX = 64 };

struct scorer_request {
    uint64_t tag;        /* the owner's name of it, unique among those that wait */
    const uint32_t *ids; /* [count] copied */
    uint32_t count;      /* at least 1, at most engine.positions_max */
    uint32_t top;        /* best ids of each position, 0 to SCORE_TOP_MAX */
};

/* Log-probabilities are f32 nats of the full softmax at temperature 1, position t given ids [0, t). Position 0 has
 * nothing before it: logprobs[0] is NAN, and its top entries are id 0 with NAN. */
struct scored {
    uint64_t tag;
    const uint32_t *ids; /* [count], all borrowed for the call */
    uint32_t count;
    uint32_t top;          /* as asked for, at most the vocabulary */
    const float *logprobs; /* [count] */
    const uint32_t
        *top_ids; /* [count, top] most probable first, ties to the smaller id; NULL when top is 0 */
    const float *top_logprobs; /* [count, top] */
};

typedef enum status (*scored_fn)(void *self, const struct scored *scored);

struct scorer;
/* done(self, ...) is called from scorer_step, for sequences that end together in the order in which they were added. It
 * may add sequences and must not drop any. */
MUST_CHECK enum status scorer_create(struct scorer **scorer, struct engine *engine, scored_fn done,
                                     void *self);
void scorer_destroy(struct scorer **scorer); /* before engine_destroy; NULL is fine */
/* INVALID: an empty one, an id outside the vocabulary (with its place). LIMIT: longer than positions_max. */
MUST_CHECK enum status scorer_add(struct scorer *scorer, const struct scorer_request *request);
/* Forgets a sequence that has not ended (its caller went away); an unknown tag is fine. */
void scorer_drop(struct scorer *scorer, uint64_t tag);
uint32_t scorer_pending(const struct scorer *scorer); /* sequences added and not ended */
/* One forward call; *worked: there was something to compute. Errors of done and of the device; after those of the
 * device the scorer can only be destroyed. */
MUST_CHECK enum status scorer_step(struct scorer *scorer, bool *worked);

#endif
