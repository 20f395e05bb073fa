/* ops/rollout_file.h - rollouts/step_N.jsonl.zst of a run: what the learner trained in a step, token by token.
 *
 * One line a sample, written by learner/rollout_log.h (docs/rollout-files.md has the members). The one reader of the
 * format, for `weir tail --step` and the dashboard.
 *
 *     TRY(rollout_file_open(&file, run_folder, step));
 *     while ((status = rollout_file_next(&file, &filter, &rollout)) == STATUS_OK) ...    NOT_FOUND: that was the last
 *     rollout_file_close(&file);
 *
 * The bytes are hostile: lengths that disagree, ids that are none and texts too long are INVALID. One thread. */
#ifndef OPS_ROLLOUT_FILE_H
#define OPS_ROLLOUT_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/buffer.h"
#include "core/status.h"

enum { ROLLOUT_SOURCE_MAX = 256, ROLLOUT_FINISH_MAX = 32 };

struct rollout_piece { /* tokens from index `from` on were made by weights `version` */
    uint32_t from;
    uint64_t version;
};

/* Arrays have `count` members and live in the file's arena until the next rollout_file_next. */
struct rollout_tokens {
    uint64_t step, group, prompt_id;
    uint32_t sample, attempt;
    char source[ROLLOUT_SOURCE_MAX]; /* data source of the prompt; "" when the file does not say */
    char finish[ROLLOUT_FINISH_MAX]; /* "eos", "length", "repetition", "stop", ... */
    double reward, shaped, advantage;
    bool masked; /* the whole sample is not trained: trained, weight, entropy are NULL */
    uint32_t prompt_count, count, piece_count;
    const uint32_t *prompt_ids; /* [prompt_count] */
    const uint32_t *ids;        /* [count] */
    const float *streamed;      /* [count] nats, as the actor said them */
    const float *trained;       /* [count] nats, by the weights that the minibatch found; or NULL */
    const float *weight;        /* [count] importance weight before the clip; or NULL */
    const float *entropy;       /* [count] nats; or NULL */
    const uint8_t *clipped;     /* [count] 1: the weight hit a bound; or NULL */
    const uint8_t
        *mask; /* [count] 0: the token is not trained (of an environment); NULL: all are */
    const struct rollout_piece *pieces; /* [piece_count] ascending, the first from 0 */
};

struct rollout_filter {
    bool has_group, has_sample;
    uint64_t group;
    uint32_t sample;
    bool heads_only; /* arrays are left NULL: for lists */
};

struct rollout_file {
    char path[1024];
    struct buffer text;
    size_t at;
    uint64_t line;
    struct arena *arena;
};

/* NOT_FOUND: the run has no file of this step; CORRUPT: damaged or cut off. */
MUST_CHECK enum status rollout_file_open(struct rollout_file *file, const char *run_folder,
                                         uint64_t step);
void rollout_file_close(struct rollout_file *file); /* a zeroed one is fine */
/* The next sample that the filter lets through (NULL: any). NOT_FOUND: there is none. */
MUST_CHECK enum status rollout_file_next(struct rollout_file *file,
                                         const struct rollout_filter *filter,
                                         struct rollout_tokens *rollout);
/* Numbers of the steps that have a file, ascending, the newest `most`; *count of them. No folder: none. */
MUST_CHECK enum status rollout_file_steps(const char *run_folder, uint64_t *steps, uint32_t most,
                                          uint32_t *count);

#endif
