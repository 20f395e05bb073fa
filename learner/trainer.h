/* learner/trainer.h - parameters, optimizer state and one update: pack, forward, loss, backward, AdamW.
 *
 * RL and `weir sft` share it. Sequences of a minibatch are packed without padding into micro-batches;
 * the forward pass is the actors' own (model/model.h), so the logprob of a token made by these weights is
 * the streamed one bit for bit, and train_stats.mismatch_max must print 0. One thread. */
#ifndef LEARNER_TRAINER_H
#define LEARNER_TRAINER_H

#include "core/settings.h"
#include "learner/gradient_stats.h"
#include "learner/guard.h"
#include "learner/ranks.h"
#include "learner/sequence.h"
#include "learner/token_counts.h"
#include "model/plan.h"

struct trainer {
    const struct settings *settings; /* borrowed */
    struct op_table *ops;
    struct model_shape shape;
    struct model *model;
    struct model_cache *cache;
    struct model_weights weights; /* what forward reads, and what is broadcast */
    struct model_weights
        reference;         /* of the start model; only with a KL term (flat NULL otherwise) */
    struct ranks *ranks;   /* borrowed; NULL: this is the only one */
    struct shard shard;    /* of master, m, v: all elements, or this rank's */
    float *master, *m, *v; /* [shard.count] f32, device */
    float *grads;          /* [elements] */
    uint64_t updates;      /* AdamW steps so far */
    uint64_t skipped;      /* updates without signal or not finite */
    int32_t rows_max, slots;
    char device[SETTINGS_DEVICE_MAX];
    struct trainer_scratch *scratch;
    struct token_counts
        *counts; /* of the last update, all ranks; zeros without trainer_loss.span */
    struct gradient_stats *statistics; /* NULL: learner.statistics_every is 0 */
    /* Called after every micro-batch (heartbeats of a long step); a failure ends the update. NULL: none. */
    enum status (*between)(void *self);
    void *between_self;
};

/* Sums over the trained tokens of one minibatch. Plain numbers; train_stats_add merges two. */
struct train_stats {
    uint64_t tokens, sequences, clipped;
    uint64_t updates; /* minibatches that had a gradient: loss and grad_norm are their sums */
    double loss, aux_loss, grad_norm; /* grad_norm: before clipping */
    double entropy_sum, ratio_sum, ratio_sq_sum, ratio_min, ratio_max, logprob_sum;
    double k3_sum;                /* exp(d) - 1 - d, d = logprob - streamed logprob */
    double abs_diff_sum;          /* |exp(logprob) - exp(streamed logprob)| */
    double kl_sum;                /* k3 to the start model; only with loss.kl_coefficient */
    double rollout_weight_sum;    /* min(p_old / p_streamed, rollout_weight_max) */
    double pa, pb, paa, pbb, pab; /* sums for the Pearson correlation of probabilities */
    uint64_t current_tokens;      /* made by exactly these weights */
    double mismatch_max;          /* max |logprob - streamed logprob| over them: must be 0 */
    bool updated;                 /* false: no signal, or not finite */
    bool non_finite;              /* skipped because of `skip` */
    enum train_skip skip;
    uint64_t bad_logprobs;            /* of trained tokens, not finite */
    int64_t bad_gradients, bad_state; /* elements */
};
void train_stats_init(struct train_stats *stats);
void train_stats_add(struct train_stats *sum, const struct train_stats *part);

struct
    trainer_loss { /* one minibatch's objective; loss.aux_coefficient's statistics are a micro-batch's */
    struct loss_settings loss;
    double lr;
    double weight_decay, grad_clip;
    double beta1, beta2, eps; /* eps 0: these three are those of the trainer's settings */
    uint32_t span; /* tokens of a response at most, for trainer->counts; 0: nothing is counted */
};

/* folder: Hugging Face folder to start from. longest: tokens of the longest sequence that will come. */
MUST_CHECK enum status trainer_create(struct trainer *trainer, const struct settings *settings,
                                      const char *folder, int64_t longest);
/* The same for rank ranks->wire.rank, with its shard of the optimizer state. */
MUST_CHECK enum status trainer_create_rank(struct trainer *trainer, const struct settings *settings,
                                           const char *folder, int64_t longest,
                                           struct ranks *ranks);
/* The communicator of its ranks. */
MUST_CHECK enum status trainer_join_ranks(struct trainer *trainer);
void trainer_destroy(struct trainer *trainer);
/* One optimizer update on `count` sequences, those of a group next to each other. Skipped, with parameters and
 * optimizer state untouched, when no token pulls, the gradient is zero, or something is not finite (stats->skip):
 * before AdamW writes, the gradient, the master weights, m and v are looked at, and from their sizes it follows that
 * what it will write is finite. After a
 * failure (status) the trainer is to be destroyed. */
MUST_CHECK enum status trainer_update(struct trainer *trainer,
                                      const struct train_sequence *sequences, uint32_t count,
                                      const struct trainer_loss *objective,
                                      struct train_stats *stats);
/* One rank's part of an update: its share of all sequences of the minibatch, then what trainer_update does. scale
 * [count]: w of each sequence's tokens. stats: of all ranks. */
MUST_CHECK enum status trainer_update_share(struct trainer *trainer,
                                            const struct train_sequence *sequences, uint32_t count,
                                            const double *scale,
                                            const struct trainer_loss *objective,
                                            struct train_stats *stats);
/* Logprobs of the responses by the weights in the trainer: logprob[i] [response_count] of sequence i, filled. With ranks
 * each scores its share; on a follower only that share is filled, and sent. The forward pass is the one of an update. */
MUST_CHECK enum status trainer_score(struct trainer *trainer,
                                     const struct train_sequence *sequences, uint32_t count,
                                     float *const *logprob);
/* Arrays of the optimizer on the host: all elements; with ranks, rank 0 asks the others for their shards. */
enum trainer_array { ARRAY_MASTER, ARRAY_M, ARRAY_V };
MUST_CHECK enum status trainer_read(struct trainer *trainer, enum trainer_array array, float *host);
/* host: all elements; the own shard is taken. */
MUST_CHECK enum status trainer_write(struct trainer *trainer, enum trainer_array array,
                                     const float *host);
/* After master, m, v were set from a checkpoint: rebuilds the forward copy. */
MUST_CHECK enum status trainer_refresh(struct trainer *trainer, uint64_t version);
/* Rows of the largest micro-batch. */
int64_t trainer_rows(const struct settings *settings, int64_t longest);
/* Device memory of one of `ranks` trainers that share the optimizer state; ops: for sizes. */
MUST_CHECK enum status trainer_plan(const struct settings *settings,
                                    const struct model_shape *shape, const struct op_table *ops,
                                    int64_t longest, int64_t ranks, struct memory_plan *plan);

#endif
