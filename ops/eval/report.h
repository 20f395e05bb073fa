/* ops/eval/report.h - scored answers become figures: of all prompts, and of each data source.
 *
 * Reads scores.jsonl (or responses.jsonl, when nothing scores: then lengths and ends only), whose rows of one prompt
 * follow each other. A sample passes when its value is at least `success`. Samples that were not scored (a plugin that
 * failed, a row that nobody can score) are left out of the rates and counted. */
#ifndef OPS_EVAL_REPORT_H
#define OPS_EVAL_REPORT_H

#include <jansson.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/status.h"

enum { REPORT_KS_MAX = 16 };

struct report_options {
    uint32_t ks[REPORT_KS_MAX]; /* of pass@k, ascending */
    uint32_t k_count;
    double success;
    uint64_t seed; /* of the intervals */
};

/* {"sources": [{"source": "all", ...}, ...]}; the first is of all, the others by name. *json is the caller's. */
MUST_CHECK enum status report_make(const char *path, const struct report_options *options,
                                   json_t **json);
/* The same as a table. */
MUST_CHECK enum status report_table(const json_t *json, struct buffer *text);

#endif
