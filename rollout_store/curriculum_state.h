/* rollout_store/curriculum_state.h - what the curriculum remembers; private to curriculum*.c. */
#ifndef ROLLOUT_STORE_CURRICULUM_STATE_H
#define ROLLOUT_STORE_CURRICULUM_STATE_H

#include "core/mix.h"
#include "rollout_store/curriculum.h"

enum {
    SKILL_GROUPS = 8,  /* of a prompt that are remembered */
    LEVELS_MAX = 1024, /* of a source */
    SHARE_BITS = 40,   /* credits are multiples of 2^-40 births */
    QUOTA_NOBODY = 0xffff
};
#define SHARE_ONE (INT64_C(1) << SHARE_BITS)

struct skill {                    /* of one prompt */
    uint16_t rates[SKILL_GROUPS]; /* pass rate x 65535, ring of `groups` */
    uint32_t groups;              /* closed ones */
    uint32_t rest_until;          /* epoch of its stream; before it the prompt is passed over */
    uint32_t pool;
    uint8_t retired;  /* too easy */
    uint8_t hard;     /* never passed in hard_after groups */
    uint8_t excluded; /* its measured pass rate is outside pass_low .. pass_high */
};

struct pool { /* the stream of one level of one source, or of all rows */
    uint32_t source;
    float level;           /* NAN: rows without one */
    uint64_t first, count; /* in members */
    uint64_t active;       /* neither retired nor excluded; of the one stream: unused */
    uint64_t position;     /* visits so far; epoch = position / count */
};

struct source_state {
    const struct mix_entry *weight; /* NULL: none matches */
    double quota;                   /* 1 without */
    uint32_t quota_births;          /* at most, of a window */
    uint64_t prompts, rows;         /* rows: not excluded */
    uint64_t active;                /* of them not retired */
    uint32_t pool_first, levels;    /* pools pool_first .. + levels, ascending */

    int64_t credit, review; /* multiples of 1 / SHARE_ONE births */
    uint64_t births, reviews, groups, retired, hard, reopened;
    uint32_t level; /* open: draws come from pools pool_first .. pool_first + level */
    bool paused;
    uint32_t recent; /* births in the quota window */
    uint16_t *rates; /* [band_groups] of groups on the open level, ring */
    uint32_t rate_count, rate_first;

    int64_t share; /* scratch: of the next birth */
    double wish;
};

struct share_cache { /* the shares that stand in the sources */
    uint64_t version;
    bool known; /* false: something else than the version has changed */
    bool any;
};

struct curriculum {
    struct curriculum_settings settings; /* texts are not kept */
    const struct prompts *prompts;
    uint64_t seed, settings_hash;
    bool shuffle, by_source; /* false: one stream */
    bool quotas_given;
    struct mix *mix, *quotas;
    struct source_state *sources; /* [source_count] */
    uint32_t source_count;
    struct share_cache *shares;
    struct skill *skills; /* [prompts] */
    struct pool *pools;   /* [pool_count] */
    uint32_t pool_count;
    uint32_t *members; /* [prompts] ids by pool; NULL with one stream */
    uint16_t
        *window; /* [quota_window - 1] sources of the latest births, ring; NULL without quotas */
    uint32_t window_size, window_first, window_count;
};

/* ---- curriculum_draw.c ---- */
/* Fills `share` of every source; false: no source may be drawn. */
bool curriculum_shares(const struct curriculum *curriculum, uint64_t version);
bool curriculum_weighs(const struct curriculum *curriculum, const struct source_state *source,
                       uint64_t version, double *weight);
/* Mean of the latest `count` groups, 0..1. */
double skill_rate(const struct skill *skill, uint32_t count);
/* ---- curriculum.c ---- */
/* Counts the active prompts of sources and pools again. */
void curriculum_count(struct curriculum *curriculum);
/* ---- curriculum_skill.c ---- */
/* The same, and opens levels where nothing is left on those that are open. */
void curriculum_recount(struct curriculum *curriculum);

#endif
