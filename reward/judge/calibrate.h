/* reward/judge/calibrate.h - is a judge good enough, and what to do when it is not. Pure, any thread.
 *
 * Accuracy against labels, Best-of-N against pass@N (the paper's gate for generative reward models), the correction for
 * length and the neutral padding of the length probe (docs/length-bias.md). */
#ifndef REWARD_JUDGE_CALIBRATE_H
#define REWARD_JUDGE_CALIBRATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"

/* How much of what sampling can do a judge finds: gap = pass@N - mean over prompts of correct(best graded one). */
struct best_of {
    uint64_t prompts, answers, unreadable, agreed;
    double any, best; /* sums over prompts */
};
/* One prompt's answers: correct[i], grade[i] (NaN: no verdict, never chosen). Where several share the best grade, the mean
 * of them counts, so that order decides nothing; where none has a grade, the mean of all. An answer is agreed on when
 * (grade >= right) == correct. */
void best_of_add(struct best_of *sums, const bool *correct, const double *grade, size_t count,
                 double right);
double best_of_pass(const struct best_of *sums); /* pass@N */
double best_of_best(const struct best_of *sums);
double best_of_gap(const struct best_of *sums);
double best_of_accuracy(const struct best_of *sums); /* of the answers with a verdict */

/* r'[i] = r[i] - b * (log2 length[i] - mean of log2 length) inside one group; b of length_bias_group_slope. */
void length_correct_group(double *reward, const double *length, size_t count, double b);
/* The same against a fixed length, for an answer scored alone: r - b * log2(length / usual). After normalisation inside
 * groups both give the same advantages. */
double length_correct(double reward, double length, double usual, double b);

/* text and about `share` of its length of sentences that say nothing about anything. */
MUST_CHECK enum status calibrate_pad(struct buffer *out, const char *text, size_t size,
                                     double share);

/* A sample with rules and a judge against a reference: rule in [0, 1], pair in [-1, 1]. */
enum if_rule {
    IF_RULE_GATE,    /* rule < 1: -1, else pair */
    IF_RULE_PRODUCT, /* rule * (pair + 1) / 2 */
    IF_RULE_SUM      /* weight_rule * rule + weight_pair * pair */
};
double if_reward(enum if_rule how, double rule, double pair, double weight_rule,
                 double weight_pair);

#endif
