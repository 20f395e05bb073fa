/* model/verify.h - `weir verify`: does this build compute what the published model code computes?
 *
 * A reference case is a folder with config.json and model.safetensors (the model), and what Hugging Face
 * transformers got for it in float64. It is run through the production path - packed forward, LM head,
 * policy loss, backward, AdamW, prefill and decode - and every number is held against its bound.
 *
 * case.safetensors (s sequences packed one after another, of length L, vocabulary V):
 *   input_ids, seq_lens [s], prompt_lens [s]; logits.<i> [L, V] of sequence i; hidden.0.<k> of sequence 0
 *   (k = 0 embedding, then after each layer, the last one after the final norm); logprob, old_logprob,
 *   is_ratio: of token t + 1, L - 1 a sequence; entropy: L a sequence; advantage [s]; grad.<tensor>;
 *   adamw1.<tensor>: parameters after one AdamW step (decay on all) from these gradients; greedy_ids: the
 *   prompt of sequence 0 and its continuation; greedy_margin: distance of the two best logits.
 * case.json: loss_value (CISPO, weight within [1 - eps_low, 1 + eps_high], mean over response tokens),
 *   eps_low, eps_high, grad_norm, adamw {lr, beta1, beta2, eps, weight_decay}. */
#ifndef MODEL_VERIFY_H
#define MODEL_VERIFY_H

#include <stdio.h>

#include "model/model.h"

enum verify_check {
    VERIFY_HIDDEN,    /* max abs, relative to the largest hidden value */
    VERIFY_LOGITS,    /* max abs */
    VERIFY_LOGPROB,   /* max abs, nats */
    VERIFY_ENTROPY,   /* max abs, nats */
    VERIFY_RATIO,     /* max |ratio - reference| / max(1, reference) */
    VERIFY_LOSS,      /* abs */
    VERIFY_GRADIENT,  /* worst tensor: |g - reference| / |reference|, Euclidean */
    VERIFY_GRAD_NORM, /* relative */
    VERIFY_ADAMW,     /* max abs of the parameters after one step from the case's gradients */
    VERIFY_GREEDY,    /* tokens that differ where the margin allows no doubt */
    VERIFY_DECODE,    /* decode steps whose logits are not the bits of prefill */
    VERIFY_ROUTING,   /* largest gap of probability where experts were forced to the f32 choice */
    VERIFY_COUNT
};

struct verify_result {
    double error, bound;
    char where[PARAMETER_NAME_MAX]; /* the worst tensor or place; "" when there is one only */
};
struct verify_report {
    struct verify_result result[VERIFY_COUNT];
    int32_t tokens;         /* of all sequences */
    int32_t greedy_checked; /* decode steps compared before the margin gave out */
    int32_t greedy_count;   /* in the case */
    bool passed;            /* every error is within its bound */
};
const char *verify_check_name(enum verify_check check); /* "logits" */

/* Runs the case on a device (op_table_create). OK with report->passed = false when a bound is broken; a status
 * when the folder cannot be used: a missing or misshapen tensor or key is named. */
MUST_CHECK enum status verify_case(const char *folder, const char *device, int32_t threads,
                                   struct verify_report *report);
/* The same with a shape and backend of the caller's choice. */
MUST_CHECK enum status verify_shape(const char *folder, const struct model_shape *shape,
                                    const struct op_table *ops, struct verify_report *report);
/* verify [--device D] [--threads N] CASE_DIR...: a table on `out`. 0 all within bounds, 1 not, 2 a case or an
 * argument could not be used (the sentence is on `out` too). */
int verify_main(int argc, char **argv, FILE *out);

#endif
