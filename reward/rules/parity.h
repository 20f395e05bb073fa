/* reward/rules/parity.h - scoring functions of verl (volcengine/verl b178a3cd) and TRL (huggingface/trl f2cd5771) with
 * the values those have, quirks included, so that a run can be compared with theirs number by number. They are for
 * comparison: the area math is the better judge. Pure, any thread. */
#ifndef REWARD_RULES_PARITY_H
#define REWARD_RULES_PARITY_H

#include <jansson.h>

#include "reward/rules/pieces.h"
#include "reward/rules/read.h"

/* The arguments of one call: from a row's "call", or from a rollout and the settings' "kwargs". */
struct parity_call {
    const json_t *arguments; /* an object */
    struct piece solution;   /* solution_str; at is NULL when there is none */
    const json_t *truth;     /* ground_truth, NULL for none */
    const json_t *ids;       /* completion_ids, a list; NULL when not known */
    int64_t tokens;          /* of the completion; -1 when not known */
};

/* A function: its value, further keys of its result in `fields`. Bad arguments go to the note. */
typedef double parity_fn(struct pieces *pieces, const struct parity_call *call, json_t *fields,
                         struct read_note *note);

parity_fn parity_gsm8k, parity_math_reward, parity_math_dapo, parity_default_score, parity_qa_em,
    parity_qa_subem, parity_think_format, parity_soft_overlong, parity_repetition_penalty;

/* Parts of them that others use. */
struct piece parity_dapo_normal(struct pieces *pieces, struct piece answer);
/* False where verl's strip_string raises. */
bool parity_math_stripped(struct pieces *pieces, struct piece answer, struct piece *stripped);

#endif
