/* reward/rules/shaping.h - what is done to a score between a reward and the learner, as plain functions: penalties for
 * length, clipping, scales, normalisation per source, and the length correction. A composition of rewards uses them in
 * this order: correct for length, clip, normalise, scale. Pure but for struct score_norm, which one thread owns. */
#ifndef REWARD_RULES_SHAPING_H
#define REWARD_RULES_SHAPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* DAPO equation 13, with E = max_len - cache: 0 up to E tokens, then falling to -1 at max_len, -1 above. Tokens. */
double overlong_dapo(int64_t max_len, int64_t cache, int64_t length);
/* verl's DAPO reward manager: min(-(length - (max_len - buffer)) / buffer * factor, 0). buffer is at least 1. */
double overlong_verl(int64_t max_len, int64_t buffer, double factor, int64_t length);

/* Into [low, high]; what is not finite becomes NaN and has to be refused by the caller. */
double score_clip(double score, double low, double high);
enum score_scale { SCORE_SCALE_01, SCORE_SCALE_PM1 };
/* A score of [0, 1] in the scale: PM1 is 2 score - 1. */
double score_scaled(double score, enum score_scale scale);

/* Running mean and standard deviation of one source's scores. */
struct score_norm {
    double count; /* of scores, at most `window` */
    double mean, squares;
    double window; /* older scores count less once as many were seen; 0: all count alike */
};
/* Welford's recurrence (Technometrics 4(3), 1962); past `window` scores the weights decay as 1 - 1/window. */
void score_norm_add(struct score_norm *norm, double score);
double score_norm_deviation(const struct score_norm *norm); /* 0 below two scores */
/* (score - mean) / deviation within [-bound, bound]; the score itself until `warmup` scores were seen, 0 when all scores
 * so far were the same. */
double score_normalised(const struct score_norm *norm, double score, double warmup, double bound);

/* r' = r - slope (log length - mean log length of the group), in place. slope: reward per e-fold of length, fitted by the
 * length-bias monitor. A length below 1 token counts as 1. */
void score_length_correct(double *scores, const int64_t *lengths, size_t count, double slope);

#endif
