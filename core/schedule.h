/* core/schedule.h - settings that change during a run: `schedule.changes`.
 *
 *     step 200: loss.weight_max=2 optim.grad_clip=0.5; stage 3: loss.kind=dapo
 *
 * Changes stand between semicolons; each names from which weight version (`step`) or length stage (`stage`) on its
 * settings of the sections loss and optim hold. All changes that have begun apply in the order they are written, so
 * where two set the same the later one counts. Steps rise, and so do stages. Which settings a plan is trained with is
 * a function of the text and of the plan's version and stage alone: a plan that is trained again is trained the same.
 * Pure, any thread. */
#ifndef CORE_SCHEDULE_H
#define CORE_SCHEDULE_H

#include "core/settings.h"

C_BEGIN

enum { SCHEDULE_CHANGES_MAX = 64, SCHEDULE_SETS_MAX = 256, SCHEDULE_VALUE_MAX = 64 };
enum schedule_unit { SCHEDULE_STEP, SCHEDULE_STAGE };

struct schedule_change {
    enum schedule_unit unit;
    uint64_t from;        /* version that the plan makes, or stage, from which on it holds */
    uint32_t first, last; /* its settings: sets [first, last) */
};
struct schedule_set {
    bool optim; /* else loss */
    const struct config_field *field;
    char text[SCHEDULE_VALUE_MAX]; /* as written */
    union {
        uint32_t u32; /* also a choice */
        uint64_t u64;
        double f64;
        bool flag;
    };
};
struct schedule {
    uint32_t change_count, set_count;
    struct schedule_change changes[SCHEDULE_CHANGES_MAX];
    struct schedule_set sets[SCHEDULE_SETS_MAX];
};

/* What changes during a run. */
struct schedule_settings_now {
    struct loss_settings loss;
    struct optim_settings optim;
};

/* INVALID names the column (from 1) and the offending word; LIMIT: too many changes. Empty or NULL: no changes. */
MUST_CHECK enum status schedule_parse(struct schedule *schedule, const char *text);
/* The settings of the plan that makes `version` in length stage `stage`. */
void schedule_apply(const struct schedule *schedule, uint64_t version, uint64_t stage,
                    struct schedule_settings_now *now);
/* The settings of the recipe, before any change. */
struct schedule_settings_now schedule_begin(const struct settings *settings);

/* Every objective the run can reach, with and without each change: contradictions (core/loss_rules.h), and numbers
 * that none of them reads. INVALID says from when on. */
MUST_CHECK enum status schedule_check(const struct settings *settings);
/* Whether the run may at some time have a KL term, so that a reference model is needed. */
bool schedule_needs_reference(const struct settings *settings);

C_END
#endif
