/* actor/openai_answer.h - the answer to a completions request, whole or as a stream of events.
 *
 * An answer has one choice for each sequence (prompt times n), each fed from its job (actor/serve.h): take copies what is
 * new while the hub is locked, advance makes text of it, and the writers say what has not been said. Log-probabilities
 * are those of the whole vocabulary at temperature 1. One thread. */
#ifndef ACTOR_OPENAI_ANSWER_H
#define ACTOR_OPENAI_ANSWER_H

#include "actor/openai.h"
#include "actor/serve.h"

struct openai_choice {
    uint32_t index;                     /* in the answer: prompt * n + sample */
    const struct openai_prompt *prompt; /* borrowed from the request */
    struct serve_job *job;              /* of the owner of the answer; NULL: let go */
    /* Copies of what the job has: */
    struct buffer ids, logprobs, best, prompt_logprobs, prompt_best;
    uint64_t version_first, version_last;
    enum serve_finish job_finish;
    char why[256]; /* FAILED */

    struct openai_text text;
    struct buffer starts; /* uint32_t: characters before each counted token */
    uint32_t counted;     /* tokens of the answer; those after a stop string do not count */
    const char *finish;   /* "stop", "length"; NULL: it runs, or failed */
    bool ended;
    uint32_t prompt_characters; /* of the echoed prompt that is written, before its answer */
    /* Of a stream: */
    bool opened, closed;
    uint32_t told; /* tokens whose logprobs were sent */
};

struct openai_answer {
    const struct openai_source *source;   /* borrowed */
    const struct openai_request *request; /* borrowed */
    char id[48];
    int64_t created;               /* s since 1970 */
    struct openai_choice *choices; /* [count] */
    uint32_t count;
    bool finished; /* of a stream: [DONE] is written */
};

/* Sequences of the request, [openai_orders] of them, in the order of the choices. */
void openai_fill_orders(const struct openai_request *request, struct slot_order *orders);
MUST_CHECK enum status openai_answer_create(struct openai_answer *answer,
                                            const struct openai_source *source,
                                            const struct openai_request *request, uint64_t number);
void openai_answer_free(struct openai_answer *answer); /* a zeroed one is fine */
/* Under serve_lock. */
void openai_choice_take(struct openai_choice *choice);
/* After it. *ended: nothing more counts, the job may be let go. */
void openai_choice_advance(const struct openai_answer *answer, struct openai_choice *choice);
/* NULL: no sequence failed. */
const struct openai_choice *openai_answer_failed(const struct openai_answer *answer);
uint32_t openai_answer_tokens(const struct openai_answer *answer);
/* The whole answer; every choice has ended. NULL: no memory. */
json_t *openai_answer_json(const struct openai_answer *answer);
/* Appends server-sent events with what is new. NO_MEMORY. */
MUST_CHECK enum status openai_answer_events(struct openai_answer *answer, struct buffer *out);
/* Appends the text of a JSON value. NO_MEMORY, also for NULL. */
MUST_CHECK enum status openai_write_json(const json_t *json, struct buffer *out);

/* openai_logprobs.c: of the tokens [from, to) of a choice; with_prompt: those of its prompt before them. */
json_t *openai_logprobs_json(const struct openai_answer *answer, const struct openai_choice *choice,
                             bool with_prompt, uint32_t from, uint32_t to);

#endif
