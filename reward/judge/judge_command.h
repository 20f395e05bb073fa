/* reward/judge/judge_command.h - `weir judge references` and `weir judge check`. docs/judge.md has their formats. */
#ifndef REWARD_JUDGE_JUDGE_COMMAND_H
#define REWARD_JUDGE_JUDGE_COMMAND_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/status.h"
#include "reward/judge/ballot.h"

/* argv[0] is "judge". Returns an exit code; the summary goes to `out`, errors to stderr. */
int judge_command(int argc, char **argv, FILE *out);

/* ---- between its files ---- */

struct judge_command_options {
    const char *in, *results; /* results: "" none */
    struct ballot_rules rules;
    uint32_t rounds, jobs;
    uint64_t seed;
    double text_bytes_max, guard_chars;
    int64_t deadline_ms; /* of one row's questions, each */
    double right;        /* a grade from here on says "correct" */
    bool pairs, padded;  /* check: consistency over pairs; the padded probe */
    double pad_share;
};

/* Scores one row: a new reference, an object. Any thread. */
typedef json_t *(*judge_row_fn)(struct judge *judge, const struct judge_command_options *options,
                                const json_t *row);
json_t *judge_references_row(struct judge *judge, const struct judge_command_options *options,
                             const json_t *row);
json_t *judge_check_row(struct judge *judge, const struct judge_command_options *options,
                        const json_t *row);
/* Over all results: one line for people and one JSON object for programs. */
json_t *judge_check_summary(json_t *const *results, size_t count,
                            const struct judge_command_options *options);
json_t *judge_references_summary(json_t *const *results, size_t count);

/* One switched pair. false: the judge gave no answer, why says so. as_a, as_b: score of the first text, NULL-like when
 * readable_ is false. */
struct judge_command_pair {
    int as_a, as_b;
    bool has_a, has_b;
    double cost;
    char why[512];
};
bool judge_command_pair(struct judge *judge, const struct judge_command_options *options,
                        const char *question, const char *first, const char *second,
                        struct judge_command_pair *pair);
/* "prompt" (or "question") of a row as text: a string, or the last turn of a conversation. */
const char *judge_command_question(const json_t *row);

#endif
