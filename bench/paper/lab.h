/* bench/paper/lab.h - a whole training run in one process, in seconds, made of weir's own parts only.
 *
 * A hybrid model of some 50,000 parameters (lightning and softmax attention, experts) is warmed up by the trainer on a
 * task of bench/paper/tasks.h, then trained by the loop of MiniMax-M1: draw prompts, sample a group for each with the
 * actors' decode step, reward, group advantages, drop groups without variance, and `minibatches` optimizer updates on
 * that one batch, the later ones off-policy. No processes, no clocks: the same configuration gives the same curve bit
 * for bit. One thread; run many labs as many processes. */
#ifndef BENCH_PAPER_LAB_H
#define BENCH_PAPER_LAB_H

#include "bench/paper/runs.h"
#include "bench/paper/tasks.h"
#include "learner/trainer.h"

struct lab_config {
    const char *task;
    const char *device; /* "cpu", "cuda:0" */
    const char
        *folder; /* of the model's config and first weights; made, and removed by lab_destroy */
    uint64_t seed;
    uint32_t hidden, layers; /* every second layer is softmax attention */
    uint32_t prompts, group; /* of a generation batch */
    uint32_t response_max;
    uint32_t warm_updates, warm_batch;
    double warm_lr;
    double rare; /* share of the warm start's fork tokens that are the rare word */
    double
        loop_share; /* of the warm start's problems that are answered by an endless loop: those of first digit 0 */
    uint32_t score_prompts; /* held-out problems of a score */
};
/* The configuration of figure 2 for a task. */
struct lab_config lab_defaults(const char *task);

/* The same on the device and of the size that the options ask for; folder: of this process, kept by the caller. */
enum { LAB_FOLDER_MAX = 64 };
struct lab_config lab_config_of(const struct run_options *options, const char *task,
                                char folder[LAB_FOLDER_MAX]);

/* One arm of an experiment. */
struct lab_run {
    struct loss_settings loss;
    double lr, grad_clip, weight_decay;
    double eps, beta2;
    double scale;         /* of every advantage, as a larger normaliser would: 1 */
    uint32_t minibatches; /* optimizer updates of a generation batch */
    bool observe; /* measure each token before its update (fills what lab_point calls observed) */
};
struct lab_run lab_run_defaults(const struct settings *settings);

enum { LAB_BINS = 6 }; /* old probability: <1e-3, <1e-2, <0.1, <0.5, <0.9, the rest */

/* Of one generation batch. */
struct lab_point {
    double reward;  /* mean over all samples, before the batch's updates */
    double rare;    /* share of responses with the rare word */
    double length;  /* mean tokens of a response */
    double entropy; /* nats a token, under the policy being trained */
    double clipped; /* share of trained tokens that the loss's own bound acted on */
    double ratio_max, grad_norm, mismatch;
    uint32_t updates, groups; /* groups with variance */
    uint64_t tokens;          /* sampled */
    /* Observed: tokens with an advantage other than 0, and those whose gradient PPO's clip would have set to zero with
     * DAPO's bounds (0.2, 0.28), by old probability, by token, and whether their advantage is positive. */
    uint64_t seen[LAB_BINS], zeroed[LAB_BINS];
    uint64_t token_seen[TASK_TOKENS], token_zeroed[TASK_TOKENS], token_up[TASK_TOKENS],
        token_up_zeroed[TASK_TOKENS];
    double token_old[TASK_TOKENS]; /* sum of old probabilities */
};

struct lab_samples; /* a generation batch */

struct lab {
    struct lab_config config;
    const struct task *task;
    struct settings settings;
    struct config *source; /* owns the texts of settings */
    struct trainer trainer;
    struct model_cache *cache; /* of decode */
    struct lab_samples *samples;
    float *warm; /* [elements] parameters after the warm start */
    float *work; /* [elements] scratch */
    double warm_loss;
    uint32_t batches; /* since the last reset */
};

MUST_CHECK enum status lab_create(struct lab *lab, const struct lab_config *config);
void lab_destroy(struct lab *lab);
/* Back to the end of the warm start: weights, optimizer state, data. */
MUST_CHECK enum status lab_reset(struct lab *lab);
/* The next generation batch and its updates. */
MUST_CHECK enum status lab_batch(struct lab *lab, const struct lab_run *run,
                                 struct lab_point *point);
/* Held-out problems, one sample each: the same problems and numbers at every call. temperature 0: greedy. */
MUST_CHECK enum status lab_score(struct lab *lab, float temperature, double *score);

/* For experiments that look inside. */
struct lab_response {
    const struct task_problem *problem;
    const uint32_t *tokens; /* [count] */
    const float *logprob;   /* [count] */
    uint32_t count;
    bool cut; /* by the repetition guard */
};
/* Samples `count` responses to held-out problems with a repetition guard (0 tokens: off). */
MUST_CHECK enum status lab_sample(struct lab *lab, uint32_t count, uint32_t guard_tokens,
                                  float guard_probability);
struct lab_response lab_response(const struct lab *lab, uint32_t index);
/* The parameters as they are now; valid until the next call. */
MUST_CHECK enum status lab_parameters(struct lab *lab, const float **parameters, int64_t *count);

#endif
