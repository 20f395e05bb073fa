/* reward/judge/ballot.h - blind judgments of one answer or one pair: asked several times, read, and counted.
 * Any thread; blocks like judge_ask_all. */
#ifndef REWARD_JUDGE_BALLOT_H
#define REWARD_JUDGE_BALLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "reward/judge/client.h"
#include "reward/judge/verdict.h"

enum { BALLOT_BLIND_MAX = 15, BALLOT_PASSES_MAX = 2 };

struct ballot_rules {
    enum verdict_mode mode;
    uint32_t blind; /* judgments of each pass, 1 .. BALLOT_BLIND_MAX */
    uint32_t agree; /* of them must give the same verdict, 1 .. blind */
    uint32_t tries; /* how often a judgment that cannot be read is asked for, 1 .. 10 */
    double
        blind_temperature; /* of blind judgments and of further tries; one judgment: the judge's own */
};
struct ballot_rules
ballot_defaults(enum verdict_mode mode); /* blind 1, agree 1, tries 3, temperature 1 */

/* Of one pass: the same prompt asked `blind` times. */
struct ballot_pass {
    const json_t *messages; /* in; borrowed */
    int verdicts[BALLOT_BLIND_MAX];
    bool readable[BALLOT_BLIND_MAX];
    bool agreed;
    int verdict; /* when agreed */
};
struct ballot {
    struct ballot_pass pass[BALLOT_PASSES_MAX];
    uint32_t passes;
    /* out */
    enum status status; /* not OK: a question got no answer at all; then nothing else counts */
    char why[512];
    uint32_t calls, cached,
        unreadable; /* unreadable: judgments without a verdict after all tries */
    double cost;
    uint64_t prompt_tokens, completion_tokens;
};

void ballot_hold(struct judge *judge, const struct ballot_rules *rules, struct ballot *ballot,
                 int64_t deadline_ns);

#endif
