/* learner/rollout_lines.h - the text of rollout files; between rollout_log.c and rollout_lines.c. Any thread. */
#ifndef LEARNER_ROLLOUT_LINES_H
#define LEARNER_ROLLOUT_LINES_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buffer.h"
#include "proto/messages.h"

C_BEGIN

struct rollout_line {
    uint64_t step, group, prompt_id;
    const char *source;
    uint32_t prompt_count;
    const uint32_t *prompt_ids;
    struct group_sample sample;              /* as the store sent it */
    double shaped, advantage;                /* advantage NaN: it was given none */
    bool masked;                             /* the whole sample is not trained */
    const float *logprob, *entropy, *weight; /* [sample.count] of the update; NULL: not trained */
    const uint8_t *clipped;
};

/* Appends one line with its newline. Numbers have six decimals at most; what is not finite is null. */
MUST_CHECK enum status rollout_line_put(struct buffer *text, const struct rollout_line *line);

C_END
#endif
