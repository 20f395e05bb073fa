/* reward/compose.h - a reward made of parts: which of them count, and what their values come to.
 *
 * A recipe (docs/compose.md) names parts, each a plugin of its own. For one item:
 *   1. The parts in effect are those of the first pattern of `sources` that matches its data source, else `default`,
 *      else all; of them, those whose own `on` matches.
 *   2. In the order of the recipe. A part with a gate is called only when the gate's part gave a value within the gate's
 *      bounds; a gate names an earlier part. A part that is not called is left out.
 *   3. An OK of a part is its value: (raw - low) / (high - low) when it has `normalise`, then its `clip`. Another status
 *      becomes, by the part's or the recipe's `status`: the status of the item (retry, drop), nothing (skip), or the
 *      stated value. Only the word `value` ever makes a number of a failure.
 *   4. Parts of weight 0 are metrics, and their failures change nothing unless a gate stands on them.
 *   5. combine: sum of weight x value; product of them; the least (min); or the first one (first). Then scale: pm1 is
 *      2r - 1, and clip. No part that counts: SKIP.
 * Of several failures the item gets UNSCORABLE before SKIP before ERROR before TIMEOUT. All of it is pure. */
#ifndef REWARD_COMPOSE_H
#define REWARD_COMPOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "reward/weir_reward.h"

enum {
    COMPOSE_PARTS_MAX = 32,
    COMPOSE_PATTERNS_MAX = 64,
    COMPOSE_NAME_MAX = 32,
    COMPOSE_PATTERN_MAX = 128
};

enum compose_policy {
    COMPOSE_PASS, /* the item gets the part's status: "retry", "drop" */
    COMPOSE_SKIP, /* the part is left out */
    COMPOSE_VALUE /* value stands for it */
};

struct compose_rule {
    enum compose_policy policy;
    double value;
};

/* Failures a part may have; the index of its rules. */
enum compose_failure {
    COMPOSE_TIMEOUT,
    COMPOSE_ERROR,
    COMPOSE_SKIPPED,
    COMPOSE_UNSCORABLE,
    COMPOSE_FAILURES
};

enum compose_combine { COMPOSE_SUM, COMPOSE_PRODUCT, COMPOSE_MIN, COMPOSE_FIRST };

struct compose_part {
    char name[COMPOSE_NAME_MAX];
    char *plugin, *config; /* owned; config is JSON text */
    uint32_t style, line;  /* of reward.style; where it stands */
    double weight;
    int gate; /* index of an earlier part, or -1 */
    double gate_low, gate_high;
    bool normalises;
    double low, high;           /* of the raw value */
    double clip_low, clip_high; /* -inf, inf: none */
    struct compose_rule rules[COMPOSE_FAILURES];
    char on[COMPOSE_PATTERNS_MAX][COMPOSE_PATTERN_MAX]; /* [on_count]; 0: everywhere */
    uint32_t on_count;
};

struct compose_source {
    char pattern[COMPOSE_PATTERN_MAX];
    uint32_t parts; /* bits */
};

struct compose {
    char name[COMPOSE_NAME_MAX];
    struct compose_part parts[COMPOSE_PARTS_MAX];
    uint32_t part_count;
    struct compose_source sources[COMPOSE_PATTERNS_MAX];
    uint32_t source_count;
    uint32_t otherwise; /* bits: `default` */
    uint32_t gates;     /* bits: parts that a gate stands on */
    enum compose_combine combine;
    bool plus_minus; /* scale: pm1 */
    double clip_low, clip_high;
    int verified, judge; /* parts whose value is the metric of that name, or -1 */
};

/* Reads a recipe, YAML or JSON. text: of `path`, which names it in errors. INVALID: "path:line: key: what is wrong".
 * On success compose_free. */
MUST_CHECK enum status compose_read(struct compose **recipe, const char *path, const char *text,
                                    size_t size);
void compose_free(struct compose **recipe); /* NULL is fine */

/* What one part said about one item; zero: it was not called. */
struct compose_answer {
    bool called;
    int32_t status;
    double value; /* raw; read when status is OK */
};

struct compose_result {
    int32_t status;
    double value;
    int part; /* whose failure it is; -1: nobody's */
};

/* Bits of the parts for this data source. */
uint32_t compose_in_effect(const struct compose *recipe, const char *source, size_t size);
/* Is `part` to be called, given the answers of the parts before it? */
bool compose_calls(const struct compose *recipe, uint32_t in_effect, uint32_t part,
                   const struct compose_answer *answers);
/* False: it has no value. The value after normalise and clip, or what `value` says for its failure. */
bool compose_value(const struct compose *recipe, uint32_t part, const struct compose_answer *answer,
                   double *value);
/* answers: [part_count]. */
struct compose_result compose_combine(const struct compose *recipe,
                                      const struct compose_answer *answers);

#endif
