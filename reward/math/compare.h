/* reward/math/compare.h - what the files of the comparison share. "same" functions answer for the gold first, the
 * answer second; they are not symmetric (docs/math.md). When the budget ends, evaluation.over is set and the
 * result means nothing. */
#ifndef REWARD_MATH_COMPARE_H
#define REWARD_MATH_COMPARE_H

#include "reward/math/math.h"
#include "reward/math/value.h"

struct comparison {
    struct arena *arena;
    const struct math_options *options;
    struct evaluation evaluation;
    uint32_t levels;
};

bool compare_trees(struct comparison *comparison, struct node *gold, struct node *answer);
/* Numbers and expressions: equal values, at points when there are variables. */
bool compare_scalars(struct comparison *comparison, const struct node *gold,
                     const struct node *answer);
/* Whether left - right of both are in a constant proportion; sign: which one is asked for (0: either); unit: the
 * proportion is 1 or -1. */
bool compare_proportion(struct comparison *comparison, struct node *const gold[2],
                        struct node *const answer[2], int sign, bool unit);
bool compare_relations(struct comparison *comparison, struct node *gold, struct node *answer);
/* Whether a tree is a set of numbers in more than name: intervals, unions, the empty set, the reals. */
bool compare_is_real_set(const struct node *tree);
bool compare_real_sets(struct comparison *comparison, struct node *gold, struct node *answer);
/* A matrix that an expression of matrices comes to; NULL when it does not. */
struct node *compare_matrix_of(struct comparison *comparison, struct node *tree);
bool compare_matrices(struct comparison *comparison, struct node *gold, struct node *answer);
/* x in x = 5, f(x), AB, (x, y), V_1 : V_2: what an answer may leave out. */
bool compare_is_name(const struct node *tree);
bool compare_is_equation(const struct node *tree);
/* The last side of a chain of equations, or the one that is no bare name. */
struct node *compare_solved_side(const struct node *equation);

enum text_verdict { TEXT_SAME, TEXT_DIFFERENT, TEXT_NOT_TEXT };
/* Golds that are words or letters of a choice. TEXT_NOT_TEXT: compare as mathematics. */
enum text_verdict compare_texts(struct answer_span gold, struct answer_span answer);

#endif
