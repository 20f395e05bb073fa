/* bench/paper/lab_state.h - what the files of the lab share; nobody else includes it. */
#ifndef BENCH_PAPER_LAB_STATE_H
#define BENCH_PAPER_LAB_STATE_H

#include "bench/paper/lab.h"
#include "learner/packing.h"

/* Held-out problems have their groups, and so their random numbers, far from those of training. */
#define LAB_HELD_OUT ((uint64_t)1 << 40)

/* `count` responses in groups of `group` that share a problem. Arrays of responses are [capacity, response_max]. */
struct lab_samples {
    uint32_t capacity, count, group, response_max;
    struct task_problem *problem; /* [capacity], one a group */
    uint32_t *tokens;
    float *logprob, *mask;
    uint8_t *current;
    uint32_t *length;                 /* [capacity] */
    bool *done, *cut;                 /* [capacity] */
    uint32_t *run;                    /* [capacity] of the repetition guard */
    struct train_sequence *sequences; /* [capacity] */
    double *reward, *advantage;       /* [capacity] */
    int32_t *ids, *slot, *index;      /* [capacity] of a decode step */
    struct op_segment *segments;      /* [capacity] */
    struct op_sample_row *rows;       /* [capacity] */
    int32_t *token;                   /* [capacity] */
    float *step_logprob;              /* [capacity] */
    uint8_t *confident;               /* [capacity] */
    struct packing packing;           /* of observed minibatches */
    float *observed;                  /* [rows of the packing] */
};

struct lab_generation {
    uint64_t first_group; /* problems and random numbers of groups from this one on */
    uint32_t groups, group;
    float temperature;
    uint32_t guard_tokens;
    float guard_probability;
};
/* One problem in eight is never trained on. */
bool lab_held_out(const struct task_problem *problem);
MUST_CHECK enum status lab_samples_create(struct lab *lab);
void lab_samples_destroy(struct lab *lab);
/* Draws the problems and fills samples; rewards too. */
MUST_CHECK enum status lab_generate(struct lab *lab, const struct lab_generation *generation);

#endif
