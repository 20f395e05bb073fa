/* reward/judge/judge_area.h - the kind of reward that asks a judge. docs/judge.md has its settings.
 *
 * Configuration {} makes an instance that scores the rows of reward/judge/rows.h and answers ERROR to anything else;
 * with members it needs "judge". */
#ifndef REWARD_JUDGE_JUDGE_AREA_H
#define REWARD_JUDGE_JUDGE_AREA_H

#include "reward/area.h"
#include "reward/judge/ballot.h"
#include "reward/judge/calibrate.h"

extern const struct reward_area judge_area;

/* Settings of the area besides "judge". */
struct judge_rules {
    struct ballot_rules ballot; /* mode grade5, pair or pair5 */
    double map[5];              /* value of grades 1 to 5 */
    double guard_chars;         /* a slight win becomes a tie when the winner is longer by more */
    bool invalid_is_zero;       /* a pair without a verdict: 0 instead of UNSCORABLE */
    bool has_if_rule;
    enum if_rule if_rule;
    double if_weight_rule, if_weight_pair;
    double text_bytes_max;         /* of each quoted text */
    double length_b, length_usual; /* of length_correct; b 0: off */
    double clip;                   /* 0: off */
    double deadline_s;             /* of an item that comes without one */
    double consistency_least, consistency_window;
};

/* INVALID names the key. "judge" is left to judge_create. */
MUST_CHECK enum status judge_rules_read(struct judge_rules *rules, const json_t *config);
/* Score of a pair for the policy from its two passes, each the verdict for A; guard in characters. */
int judge_pair_score(enum verdict_mode mode, int verdict, bool policy_is_a, size_t policy_chars,
                     size_t other_chars, double guard_chars);
size_t judge_chars(const char *text, size_t size); /* UTF-8 characters */

#endif
