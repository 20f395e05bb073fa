/* reward/areas.h - the kinds of reward that are built in, and what they need.
 *
 * A built-in area is a plugin by its name (reward.plugin: math) and the judge of rows (`weir reward`). Adding one is a
 * folder reward/<area>/ and one row here. */
#ifndef REWARD_AREAS_H
#define REWARD_AREAS_H

#include "core/status.h"
#include "reward/area.h"

/* Each has a `const struct reward_area NAME_area`. */
// clang-format off
#define REWARD_AREAS(ROW) \
    ROW(math) ROW(logic) ROW(code) ROW(swe) ROW(judge) \
    ROW(ifeval) ROW(format) ROW(overlong) ROW(repetition) ROW(parity)
// clang-format on

#define ROW(name) extern const struct reward_area name##_area;
REWARD_AREAS(ROW)
#undef ROW

/* NULL: no such area. names: all of them, separated by blanks, for error texts. */
const struct reward_area *reward_area_find(const char *name);
const char *reward_area_names(void);
/* The area that scores rows of this kind (docs/rows.md); NULL: no such kind. */
const struct reward_area *reward_area_of_kind(const char *kind);
/* The same area as a plugin of the ABI; NULL: no such area. */
const weir_reward_plugin *reward_area_plugin(const char *name);

/* Creates an instance for this configuration, which may hold what reward_tools_open reads. INVALID with the sentence that
 * names the key. */
MUST_CHECK enum status reward_area_create(const struct reward_area *area, const json_t *config,
                                          const struct reward_tools *tools, void **instance);

/* Opens what `needs` names: a sandbox from config's member "sandbox" ({"jobs": n}), a judge from "judge". Errors of
 * sandbox_open, INVALID with the judge's sentence or the key that is wrong. */
MUST_CHECK enum status reward_tools_open(struct reward_tools *tools, unsigned needs,
                                         const json_t *config);
void reward_tools_close(struct reward_tools *tools);

#endif
