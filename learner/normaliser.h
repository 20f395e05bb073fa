/* learner/normaliser.h - what a token's term of the loss is divided by.
 *
 * The counts are those of the whole minibatch, on all ranks, before it is cut into micro-batches: a mean
 * over a micro-batch is not the minibatch's mean. Only trained tokens count (mask 1), end of text included,
 * prompt and environment tokens not. Pure, any thread. M1-SPEC 3.4:
 *   prompt  w = 1 / (prompts * tokens of the token's group)     mean over prompts of token means, M1 eq. 4
 *   batch   w = 1 / tokens                                      one token mean, DAPO eq. 8
 *   sample  w = 1 / (responses * tokens of the token's response)  mean of the samples' token means, GRPO
 *   constant  w = 1 / (responses * normaliser_tokens)           Dr. GRPO (arXiv:2503.20783): no length in it
 *   combined  w = lambda w of sample + (1 - lambda) w of batch  M1 section 5 names it and gives no formula: ours
 *
 *     struct normaliser minibatch = {.kind = NORMALISER_PROMPT};
 *     for each group: normaliser_add_group(&minibatch, response_tokens, G);
 *     scale = normaliser_scale(&minibatch, group_tokens, response_tokens[i]);  */
#ifndef LEARNER_NORMALISER_H
#define LEARNER_NORMALISER_H

#include <stdint.h>

#include "core/settings.h"
#include "core/status.h"

C_BEGIN

struct normaliser {
    enum setting_normaliser kind;
    int64_t prompts;   /* groups with a trained token */
    int64_t responses; /* with a trained token */
    int64_t tokens;    /* trained */
    double constant;   /* tokens, > 0: NORMALISER_CONSTANT */
    double lambda;     /* 0 to 1: NORMALISER_COMBINED */
};

/* response_tokens [count] trained tokens of each response, >= 0; responses wholly masked count nowhere.
 * Returns the group's tokens. */
int64_t normaliser_add_group(struct normaliser *minibatch, const int64_t *response_tokens,
                             int32_t count);

/* w of every trained token of one response; 0 when the response has none. */
double normaliser_scale(const struct normaliser *minibatch, int64_t group_tokens,
                        int64_t response_tokens);

C_END
#endif
