/* rollout_store/curriculum.h - which prompt is drawn next: sources with weights, levels, and what prompts have shown.
 *
 *     TRY(curriculum_draw(curriculum, version, &draw));             looks only
 *     curriculum_born(curriculum, version, draw.prompt_id, draw.position);
 *     curriculum_closed(curriculum, prompt_id, passed, size);
 *
 * A pure fold: born, closed and pause come from ledger records alone (book_apply), and a draw is a function of the state
 * they made and of the newest registered version; no clock, no hidden randomness. docs/curriculum.md has the rules.
 *
 *   source    each birth gives every source its share (weight / sum of weights, capped by quotas) and takes 1 from the
 *             one that is drawn. Of the sources that have at least 1 / (2n - 2) the one that would first reach
 *             1 - 1 / (2n - 2) is drawn (Tijdeman, "The chairman assignment problem", Discrete Math. 32, 1980): births
 *             stay within one of the exact shares, always.
 *   level     of a source: drawn from the open one, `review` of the draws from those below it.
 *   prompt    each (source, level) is a stream: epoch e goes once through its prompts in the order that rng_permute gives;
 *             retired and resting prompts are passed over, `priority` passes over some more.
 *
 * Without curriculum.mix, quotas and raise_at there is one stream over all rows, the one of runs without a curriculum,
 * bit for bit. At most 48 bytes for a prompt. One thread. */
#ifndef ROLLOUT_STORE_CURRICULUM_H
#define ROLLOUT_STORE_CURRICULUM_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/settings.h"
#include "rollout_store/prompts.h"

struct curriculum;
struct walk;

struct curriculum_config {
    const struct curriculum_settings *settings; /* read at create only */
    const struct prompts *prompts;              /* borrowed */
    uint64_t seed;
    bool shuffle;
};

/* INVALID: a list that does not parse, an entry that matches no source, no source to begin with. */
MUST_CHECK enum status curriculum_create(struct curriculum **curriculum,
                                         const struct curriculum_config *config);
void curriculum_destroy(struct curriculum **curriculum);

struct curriculum_draw {
    uint64_t prompt_id;
    uint64_t position; /* of its stream: draws and what was passed over before it */
};
/* What a birth takes now. Changes nothing. AGAIN: sources are paused, an operator's word is awaited; NOT_FOUND: nothing
 * is left to draw. Both with a sentence. */
MUST_CHECK enum status curriculum_draw(const struct curriculum *curriculum, uint64_t version,
                                       struct curriculum_draw *draw);
/* A fresh birth of a record; a prompt that returns after a failure is none. */
void curriculum_born(struct curriculum *curriculum, uint64_t version, uint64_t prompt_id,
                     uint64_t position);
/* A group with all its scores: closed, or dropped for zero variance. */
void curriculum_closed(struct curriculum *curriculum, uint64_t prompt_id, uint32_t passed,
                       uint32_t size);
/* Weight 0, or its own again. */
void curriculum_pause(struct curriculum *curriculum, uint32_t source, bool paused);
bool curriculum_paused(const struct curriculum *curriculum, uint32_t source);

struct curriculum_source { /* for people */
    const char *name;
    uint64_t prompts, drawable; /* rows; of them inside pass_low..pass_high and not retired */
    uint64_t births, groups;
    double share_wanted;    /* of the next births */
    double pass_rate;       /* of the latest groups; NaN before the first */
    uint64_t retired, hard; /* too easy; never passed yet in hard_after groups */
    uint64_t reopened;      /* times that all its retired prompts returned */
    uint32_t level, levels; /* open one from 0; 1 without levels */
    double level_value;     /* of the rows on the open level; NaN without */
    bool paused;
};
uint32_t curriculum_source_count(const struct curriculum *curriculum);
void curriculum_source(const struct curriculum *curriculum, uint64_t version, uint32_t source,
                       struct curriculum_source *out);
/* One of them as an object. */
MUST_CHECK enum status curriculum_source_json(const struct curriculum *curriculum, uint64_t version,
                                              uint32_t source, struct buffer *json);
/* [{"source","prompts","drawable","births","share_wanted","share","pass_rate","level","levels",...}] */
MUST_CHECK enum status curriculum_json(const struct curriculum *curriculum, uint64_t version,
                                       struct buffer *json);

/* The state as bytes, either way: part of a snapshot of the book. Reading fills a curriculum as created; of one that was
 * made under other settings what still fits is taken over. */
MUST_CHECK enum status curriculum_walk(struct curriculum *curriculum, struct walk *walk);
/* After a snapshot from before there was a curriculum: the one stream had so many draws. */
void curriculum_seek(struct curriculum *curriculum, uint64_t draws);
uint64_t curriculum_walk_bytes(const struct curriculum *curriculum); /* about */

#endif
