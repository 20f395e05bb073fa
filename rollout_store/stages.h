/* rollout_store/stages.h - length stages: when may responses be longer? A pure fold over plans (M1 section 5).
 *
 * A run begins with short responses and goes to longer ones when (1) the perplexity of the generated text has settled
 * and (2) the 99th percentile of lengths is near the cap. The paper gives no numbers; docs/stages.md has ours with their
 * error rates.
 *
 * Each plan's record carries the numbers of its rollouts and the verdict on them (struct stage_facts), so replay counts
 * no token and decides nothing again: the stage after a plan is what its record says. One entry is kept for each plan,
 * as far back as a new branch can go and a window before that.
 *
 * The same numbers tell the collapse of the tail: text at late positions gets worse while that at early ones does not.
 *
 * No I/O, no clock, no randomness. One thread: that of the book. */
#ifndef ROLLOUT_STORE_STAGES_H
#define ROLLOUT_STORE_STAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/settings.h"
#include "core/stage_lengths.h"
#include "core/status.h"

enum {
    STAGE_DECILES = 10, /* of the cap: decile d holds positions d/10 .. (d+1)/10 of it */
    STAGE_BINS = 100,   /* of the cap: bin b holds lengths above b/100 and up to (b+1)/100 of it */
    STAGE_SPANS = 4, /* windows that a line is fitted through where noise hides the slope in one */
    STAGE_TAIL_CONFIRM = 10, /* plans in a row that the rule of the tail must hold */
    STAGE_TAIL_TOKENS = 16 /* early and late ones that a plan needs to say something of its tail */
};

/* Of the rollouts of one plan. */
struct stage_numbers {
    uint32_t groups, rollouts;
    uint32_t near;                  /* rollouts of at least stages.near_cap of the cap */
    uint64_t near_squares;          /* sum over groups of (near ones of the group)^2 */
    uint64_t tokens[STAGE_DECILES]; /* by position; what is past the cap counts as the last */
    double logprob[STAGE_DECILES];  /* their sums, nats, <= 0, at the sampling temperature */
    uint32_t lengths[STAGE_BINS];   /* rollouts by length */
};

/* What the numbers of a plan and those before it in its stage say. */
struct stage_verdict {
    uint32_t next_stage; /* in force after this plan */
    uint32_t plans;      /* of this stage, with this one */
    uint32_t held;       /* plans in a row for which both conditions hold */
    uint32_t tail_held;  /* the same for the rule of the tail */
    bool tail_alarm;     /* an episode of tail collapse goes on */
    double perplexity;   /* of this plan: exp(-mean logprob); 0 without tokens */
    double change,
        change_error; /* of log perplexity over the last window, and its standard error; 0 before it is full */
    double p99;        /* tokens, of the lengths of the window, to 1/100 of the cap */
    double near_share; /* of the rollouts of the window, near the cap */
    double
        near_sure; /* n * KL(share || 0.01) for rollouts that are worth n independent ones, nats */
    double tail_change, tail_z; /* of log perplexity late against early over the window */
};

struct stage_facts {
    struct stage_numbers numbers;
    struct stage_verdict verdict;
};

struct stage_entry {
    uint64_t version; /* that the plan makes */
    uint32_t stage, cap;
    struct stage_facts facts;
};

struct stages {
    struct stages_settings settings;
    struct stage_lengths lengths;
    uint32_t stage;                      /* after the newest plan, as its record says */
    uint64_t decided[STAGE_LENGTHS_MAX]; /* version of the plan after which stage i is in force */
    struct stage_entry *entries;         /* [count] by version */
    size_t count, capacity;
};

/* INVALID: stages.lengths says nothing sound. Settings that are all 0 are one stage that is watched by the defaults. */
MUST_CHECK enum status stages_open(struct stages *stages, const struct stages_settings *settings,
                                   uint32_t response_tokens_max);
void stages_close(struct stages *stages);

/* In force now: of the next plan and of leases made now. */
uint32_t stages_now(const struct stages *stages);
uint32_t stages_cap(const struct stages *stages); /* tokens */

/* Adds the rollouts of one group, one after the other, then the group. */
struct stage_counting {
    struct stage_numbers *numbers;
    uint32_t cap, near_from; /* tokens */
    uint32_t near;           /* of this group so far */
};
struct stage_counting stages_counting(const struct stages *stages, struct stage_numbers *numbers);
void stages_count_rollout(struct stage_counting *counting, const float *logprobs, uint32_t count);
void stages_count_group(struct stage_counting *counting);

/* The verdict on the plan that makes `version`, to be made in the stage that is in force. */
void stages_judge(const struct stages *stages, uint64_t version,
                  const struct stage_numbers *numbers, struct stage_verdict *verdict);
/* A plan of the ledger. CORRUPT when it contradicts what came before. */
MUST_CHECK enum status stages_apply(struct stages *stages, uint64_t version, uint32_t stage,
                                    uint32_t cap, const struct stage_facts *facts);
/* Plans that make versions above `version` are void. */
void stages_branch(struct stages *stages, uint64_t version);
/* No branch goes back beyond `version` any more: entries that no window will want are forgotten. */
void stages_forget(struct stages *stages, uint64_t version);
/* NULL before the first plan. */
const struct stage_entry *stages_last(const struct stages *stages);

/* ---- stages_bytes.c: in records and snapshots ---- */
struct walk;
MUST_CHECK enum status stage_facts_walk(struct walk *walk, struct stage_facts *facts);
/* All but settings and lengths. Reading fills an opened one without entries. */
MUST_CHECK enum status stages_walk(struct walk *walk, struct stages *stages);

#endif
