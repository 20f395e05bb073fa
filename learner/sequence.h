/* learner/sequence.h - what the trainer trains on: one prompt with one response. */
#ifndef LEARNER_SEQUENCE_H
#define LEARNER_SEQUENCE_H

#include <stdbool.h>
#include <stdint.h>

struct token_results;

/* A response token is trained when its mask is 1. Arrays are borrowed for the call. */
struct train_sequence {
    const uint32_t *prompt_ids; /* [prompt_count], > 0 */
    uint32_t prompt_count;
    const uint32_t *response_ids; /* [response_count], > 0 */
    uint32_t response_count;
    const float *logprob_old; /* [response_count] as streamed, or recomputed; NULL for sft */
    const float *
        logprob_streamed; /* [response_count] when logprob_old is recomputed; NULL: it is the streamed one */
    const float *mask; /* [response_count] */
    const uint8_t *
        current; /* [response_count] 1: made by exactly the weights being trained, cache included; NULL: none */
    double advantage;
    uint32_t group;  /* index of its group in the plan, ascending */
    uint32_t sample; /* index in that group */
    bool wanted;     /* its results are to be shown */
    struct token_results
        *results; /* filled by the update (learner/token_results.h); NULL: nobody asks */
    float temperature;
};

#endif
