/* core/eval_schedule.h - evaluation during a run: which sets, which versions, and which of those that wait is next.
 *
 * The learner leaves a folder of weights for each version that is due; another process evaluates them in order. When
 * more of them wait than eval.queue allows, it goes on with the newest and skips the others: training is never slowed
 * down by evaluation, and evaluation never falls further and further behind. Pure; any thread. */
#ifndef CORE_EVAL_SCHEDULE_H
#define CORE_EVAL_SCHEDULE_H

#include "core/file.h"
#include "core/settings.h"

enum { EVAL_SETS_MAX = 32, EVAL_SET_NAME_MAX = 64 };

struct eval_set {
    char name
        [EVAL_SET_NAME_MAX]; /* letters, digits, '-', '_' and '.': a folder and part of metric names */
    char path[FILE_PATH_MAX];
};

struct eval_sets {
    struct eval_set rows[EVAL_SETS_MAX];
    uint32_t count;
};

/* "name=path" or "path", which has the name of its file without the ending; setting: who asks, for errors. INVALID: no
 * such name, or there twice. */
MUST_CHECK enum status eval_sets_add(struct eval_sets *sets, const char *setting, const char *item);
/* Several between commas (eval.sets); "" is none. */
MUST_CHECK enum status eval_sets_parse(struct eval_sets *sets, const char *setting,
                                       const char *list);
static inline bool eval_is_on(const struct settings *settings)
{
    return settings->eval.every > 0;
}
/* By the schedule; the last version of a run is due besides. */
static inline bool eval_is_due(const struct settings *settings, uint64_t version)
{
    return eval_is_on(settings) && version % settings->eval.every == 0;
}
/* Of `waiting` versions (>= 1), oldest first, the index of the one to evaluate; those before it are skipped. */
static inline size_t eval_next(size_t waiting, uint32_t queue)
{
    return waiting > queue ? waiting - 1 : 0;
}
/* The settings that evaluation runs with: sampling, device, threads and slots are those of section eval. */
struct settings eval_settings_of(const struct settings *settings);

#endif
