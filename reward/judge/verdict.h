/* reward/judge/verdict.h - what a judge's answer says. Pure, any thread, linear in the text.
 *
 * A verdict is the last readable mark after the judge's last "</think>"; an answer that opens with "<think>" and never
 * closes it has none. Marks by mode:
 *   grade5      [[1]] .. [[5]], or Prometheus' [RESULT] 1 .. 5: the later one
 *   prometheus  [RESULT] 1 .. 5 only
 *   pair        [[A]] [[B]] [[C]] (MT-bench; C is a tie): 1, -1, 0 for A
 *   pair5       [[A>>B]] [[A>B]] [[A=B]] [[B>A]] [[B>>A]] (arena-hard): 2, 1, 0, -1, -2 for A
 * White space inside the brackets is allowed, nothing else: "[[4.5]]", "[[6]]" and "[[A>>>B]]" are no marks. */
#ifndef REWARD_JUDGE_VERDICT_H
#define REWARD_JUDGE_VERDICT_H

#include <stdbool.h>
#include <stddef.h>

enum verdict_mode { VERDICT_GRADE5, VERDICT_PROMETHEUS, VERDICT_PAIR, VERDICT_PAIR5 };

/* False: no such mode. */
bool verdict_mode_named(const char *name, enum verdict_mode *mode);
/* False when nothing can be read; then *verdict stays. */
bool verdict_read(enum verdict_mode mode, const char *text, size_t size, int *verdict);

/* The verdict that most of `votes` blind judgments gave. False (no agreement) when fewer than `least` gave it or another
 * one has as many. readable[i] false: judgment i had no verdict; it agrees with nobody. */
bool verdict_majority(const int *verdicts, const bool *readable, size_t votes, size_t least,
                      int *verdict);

/* Of a policy against a reference, judged twice with places switched. */
enum pair_state { PAIR_CONSISTENT, PAIR_INCONSISTENT, PAIR_INVALID };
struct pair_result {
    enum pair_state state;
    int score; /* -1, 0, 1 for the policy; 0 unless consistent */
};
const char *pair_state_name(enum pair_state state); /* "consistent" */
/* as_a, as_b: score of the policy in {-1, 0, 1} when it was shown as A and as B; NULL: no verdict. */
struct pair_result pair_combine(const int *as_a, const int *as_b);

/* Do the judge's pairs still mean something? Of the last `window` pairs with two verdicts. One thread. */
enum { PAIR_WINDOW_MAX = 1024 };
struct pair_watch {
    unsigned char
        seen[PAIR_WINDOW_MAX];    /* bit 0: consistent; above: half wins of the first place, 0..4 */
    unsigned window, count, next; /* window: set by pair_watch_init */
    unsigned long long pairs, consistent, inconsistent, invalid;
};
struct pair_rates {
    double consistency; /* share of pairs whose two passes agree; 1 before the first */
    double first; /* share of passes won by the one in the first place, ties half; 0.5 is fair */
    bool alarm;   /* the window is full and consistency below the least: stop using this judge */
};
void pair_watch_init(struct pair_watch *watch, unsigned window); /* 1 .. PAIR_WINDOW_MAX */
void pair_watch_push(struct pair_watch *watch, const int *as_a, const int *as_b);
struct pair_rates pair_watch_rates(const struct pair_watch *watch, double least);

#endif
