/* ops/dash/rollout_list.h - the newest rollouts of a run, for the live list and its filters. One thread at a time. */
#ifndef OPS_DASH_ROLLOUT_LIST_H
#define OPS_DASH_ROLLOUT_LIST_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/buffer.h"

/* How the dashboard writes JSON: whole microseconds of this century need 16 digits, milliseconds 13. */
#define BOARD_JSON (JSON_COMPACT | JSON_REAL_PRECISION(15))

enum {
    ROLLOUT_ID_MAX = 64,
    ROLLOUT_LIST_MAX = 4000,
    ROLLOUT_LIST_BYTES = 12 << 20,
    ROLLOUT_EXCERPT = 160, /* bytes of the text that lists show */
    ROLLOUT_SOURCES_MAX = 256
};

struct rollout_row {
    char id[ROLLOUT_ID_MAX]; /* GROUP.SAMPLE.ATTEMPT */
    uint64_t group;
    double reward;   /* NaN: none */
    uint64_t prompt; /* its id; UINT64_MAX: none */
    char source[96], finish[24];
    char excerpt[ROLLOUT_EXCERPT + 1];
    char *summary, *whole; /* JSON objects, owned */
    size_t bytes;
};

struct rollout_list {
    struct rollout_row *rows; /* [ROLLOUT_LIST_MAX], a ring */
    size_t first, count, bytes;
};

MUST_CHECK enum status rollout_list_open(struct rollout_list *list);
void rollout_list_close(struct rollout_list *list);
/* A rollout as the store publishes it (docs/redis.md). One that is there already, or no rollout, changes nothing: *added. */
MUST_CHECK enum status rollout_list_add(struct rollout_list *list, const json_t *rollout,
                                        const struct rollout_row **added);

struct rollout_query {
    size_t most;
    const char *source, *finish, *before; /* NULL: any */
    const char *
        text; /* in the excerpt, large letters as small ones, or the id of the prompt or group; NULL: any */
    double reward_min, reward_max; /* NaN: any */
    bool has_group;
    uint64_t group;
};
/* Appends {"rollouts":[..newest first],"sources":[..]}. */
MUST_CHECK enum status rollout_list_json(const struct rollout_list *list,
                                         const struct rollout_query *query, struct buffer *json);
const struct rollout_row *rollout_list_find(const struct rollout_list *list, const char *id);
/* Appends ids of the group's rollouts as a JSON array, oldest first. */
MUST_CHECK enum status rollout_list_siblings(const struct rollout_list *list, uint64_t group,
                                             struct buffer *json);

#endif
