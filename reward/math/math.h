/* reward/math/math.h - whether an answer is the right one: extraction, parsing and comparison behind one call.
 *
 *     struct math_result result;
 *     math_check(arena, gold, response, &options, &time, &result);
 *
 * Pure apart from the clock; any thread; bounded in time by `time` and by the bounds of tree.h and value.h.
 * The rules are in docs/math.md. */
#ifndef REWARD_MATH_MATH_H
#define REWARD_MATH_MATH_H

#include "reward/math/tree.h"

struct math_options {
    bool last_number;  /* without a box or an answer phrase, the last number of the text counts */
    bool last_formula; /* likewise the last $...$ */
    bool join_boxes;   /* boxes side by side are one list */
    bool phrase_after_box; /* "final answer is ... I hope" after the last box counts, not the box */
    bool decimal_comma;    /* "1,22" is 1.22 */
    bool percent_lenient;  /* 28 and 28 % are the same when the gold has no percent sign */
    bool allow_set_relation_comp; /* an inequality may stand for a gold interval */
    bool strict;                  /* names of variables count; a bare list is no tuple */
    bool tuple_without_brackets;  /* "1, 2" or "{1, 2}" in this order for a gold (1, 2) */
    int float_rounding; /* decimals are the same when closer than half a unit of this digit */
    size_t window;      /* bytes at the end of the response that are read */
};

enum math_verdict { MATH_DIFFERENT, MATH_SAME, MATH_UNDECIDED };

struct math_result {
    enum math_verdict verdict;
    bool gold_empty; /* nothing in the gold: the row cannot be scored */
    struct answer_span
        answer; /* what was compared, size 0: no answer; in the arena or the response */
};

extern const struct math_options math_options_default;

void math_check(struct arena *arena, struct answer_span gold, struct answer_span response,
                const struct math_options *options, const struct math_time *time,
                struct math_result *result);

/* One text as it was found. */
struct math_extract {
    struct answer_span text;
    bool plain;   /* not from a box or formula */
    bool percent; /* a percent sign follows it */
};

/* False when there is no answer. */
bool math_extract_answer(struct arena *arena, struct answer_span response,
                         const struct math_options *options, struct math_extract *extract);
/* The last number of a sentence. */
bool math_extract_number(struct answer_span text, struct math_extract *extract);
bool math_extract_gold(struct arena *arena, struct answer_span gold,
                       const struct math_options *options, struct math_extract *extract);
enum math_verdict math_compare(struct arena *arena, const struct math_extract *gold,
                               const struct math_extract *answer,
                               const struct math_options *options, const struct math_time *time);

#endif
