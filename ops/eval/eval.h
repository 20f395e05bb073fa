/* ops/eval/eval.h - `weir eval MODEL DATA`: how good a folder of weights is on a file of prompts (docs/eval.md).
 *
 * Three steps, each of which leaves a file in the output folder: k answers to each prompt (responses.jsonl; with --resume
 * those that are there stay), their scores by a reward of the run's kind (scores.jsonl, made by weir-reward), and the
 * figures (report.json and a table). One thread; weir-reward is a child. */
#ifndef OPS_EVAL_EVAL_H
#define OPS_EVAL_EVAL_H

#include <stdatomic.h>
#include <stdbool.h>

#include "actor/engine.h"
#include "core/file.h"
#include "core/settings.h"
#include "ops/eval/report.h"

enum { EVAL_PASSED_ON_MAX = 512 };

struct monitor;
struct eval {
    const struct settings *settings; /* model.path and data.train are the folder and the file */
    char out[FILE_PATH_MAX];
    const char *key_id; /* of data rows */
    uint32_t samples;   /* of each prompt */
    uint64_t limit;     /* prompts at most; 0: all */
    bool resume, ids, quiet;
    bool score; /* false: generate and measure lengths only */
    bool
        plain; /* report.json without what this session did: the same bytes however often it was cut off */
    bool
        restart; /* with resume: a folder of other weights, data or sampling is emptied, not refused */
    const char *name; /* of the set, for the progress line; NULL: none */
    struct engine
        *engine; /* borrowed, with its weights; NULL: one of its own, with those of model.path */
    struct report_options report;
    const char *passed_on[EVAL_PASSED_ON_MAX]; /* arguments of weir-reward: --config and settings */
    int passed_on_count;
    atomic_int *stop;
    struct monitor *monitor; /* borrowed; told that the loop turns; NULL: none */
    /* out: of the answers made in this session */
    uint64_t tokens, made;
    double seconds;
    uint64_t left_out; /* prompts longer than data.prompt_tokens_max */
};

MUST_CHECK enum status eval_generate(struct eval *eval);
MUST_CHECK enum status eval_score(const struct eval *eval);
/* Writes report.json; its content is the caller's. */
MUST_CHECK enum status eval_figures(const struct eval *eval, json_t **report);
/* The same, and *table: text for people. */
MUST_CHECK enum status eval_report(const struct eval *eval, struct buffer *table);
/* pass@1, 2, 4, ... up to the samples. */
void eval_default_ks(struct eval *eval);
int eval_command(int argc, char **argv);
/* ops/eval/follow.c: `weir-eval --follow`, the service that evaluates the versions of a run while it trains. */
int follow_command(int argc, char **argv);
/* ops/eval/score_command.c: `weir score`. */
int score_command(int argc, char **argv);

#endif
