/* reward/area.h - one kind of reward, whoever calls it: a plugin in a reward worker, or `weir reward` over rows.
 *
 * An area knows texts and a data row, never messages, policies or the ABI. reward/area_plugin.h makes a plugin of
 * it (reward/plugins/<name>.c is three lines), reward/rows.c calls it for each row. An instance is read-only after
 * create: score is called on several threads at once. */
#ifndef REWARD_AREA_H
#define REWARD_AREA_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "reward/weir_reward.h"

struct sandbox;
struct judge;

/* What an area may use; made once a process, on demand. */
struct reward_tools {
    struct sandbox *sandbox; /* NULL unless the area asks for it */
    struct judge *judge;     /* likewise */
};

enum {
    REWARD_NEEDS_SANDBOX = 1,
    REWARD_NEEDS_JUDGE = 2,
    REWARD_NEEDS_GROUP = 4,
    REWARD_NEEDS_IDS = 8
};

/* One response to score. All borrowed for the call; texts end with a NUL and may hold others. */
struct reward_case {
    const json_t *row;   /* the whole data row, an object; never NULL */
    const json_t *truth; /* its ground truth, NULL when it has none */
    const char *response;
    size_t response_size;
    const char *prompt;          /* text, "" when not known */
    const char *data_source;     /* "" when not known */
    uint32_t finish_reason;      /* WEIR_REWARD_FIN_ */
    const int32_t *response_ids; /* NULL unless the area asks for ids */
    uint32_t response_tokens;    /* 0 when not known */
    int64_t deadline_ns;         /* CLOCK_MONOTONIC; INT64_MAX: none */
};

/* Starts as {UNSCORABLE, NaN}. fields: kind-specific results and named sub-metrics (numbers and booleans become
 * metrics of the rollout, the rest its detail); owned by the caller. */
struct reward_outcome {
    int32_t status; /* WEIR_REWARD_OK ... */
    double value;   /* finite when OK, else ignored */
    json_t *fields; /* an object, made by the caller; the area adds to it */
};

struct reward_area {
    const char *name,
        *version; /* the version is recorded with each score: raise it when a verdict may change */
    unsigned needs;
    /* Names of its settings, separated by blanks: any other is refused. NULL: create looks itself. */
    const char *settings;
    const char *
        truth_keys; /* where a row of `weir reward` has its ground truth: "gold answer", first found */
    /* config: an object, never NULL. 0, or a sentence in why that names the key. NULL: no settings. */
    int (*create)(const json_t *config, const struct reward_tools *tools, void **instance,
                  char *why, size_t size);
    /* count is 1 unless NEEDS_GROUP: then all samples of one group. */
    void (*score)(void *instance, const struct reward_case *cases, size_t count,
                  struct reward_outcome *outcomes);
    void (*destroy)(void *instance); /* NULL: nothing to do */
};

/* Whether every member of config is one of `names` (separated by blanks); else the sentence in why names it. */
static inline bool reward_settings_known(const json_t *config, const char *names, char *why,
                                         size_t size)
{
    for (void *at = json_object_iter((json_t *)(uintptr_t)config); at != NULL;
         at = json_object_iter_next((json_t *)(uintptr_t)config, at)) {
        const char *key = json_object_iter_key(at);
        bool known = false;
        for (const char *name = names; *name != '\0' && !known;) {
            size_t n = strcspn(name, " ");
            known = n == strlen(key) && memcmp(name, key, n) == 0;
            name += n;
            name += strspn(name, " ");
        }
        if (!known) {
            snprintf(why, size, "\"%.60s\" is no setting; there %s %.400s", key,
                     *names != '\0' ? "are:" : "are none", names);
            return false;
        }
    }
    return true;
}

/* Sets status OK and the value. */
static inline void reward_outcome_ok(struct reward_outcome *outcome, double value)
{
    outcome->status = WEIR_REWARD_OK;
    outcome->value = value;
}

/* A sentence as a JSON string. One that is no UTF-8 (it quotes hostile text, or cut it inside a character) has '?' for every
 * byte above 127 and at most 1023 bytes. */
static inline json_t *reward_sentence(const char *text)
{
    json_t *whole = json_string(text);
    if (whole != NULL || text == NULL)
        return whole;
    char plain[1024];
    size_t size = 0;
    for (; text[size] != '\0' && size + 1 < sizeof plain; size++)
        plain[size] = (unsigned char)text[size] < 128 ? text[size] : '?';
    plain[size] = '\0';
    return json_string(plain);
}

/* Status and a sentence, as field "why". */
static inline void reward_outcome_not(struct reward_outcome *outcome, int32_t status,
                                      const char *why)
{
    outcome->status = status;
    json_object_set_new(outcome->fields, "why", reward_sentence(why));
}

#endif
