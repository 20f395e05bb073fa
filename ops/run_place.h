/* ops/run_place.h - may a run lie where it is asked to? Looked at before its folder is made or removed.
 *
 *     TRY(run_place_check(&settings, name));
 *     TRY(run_place_check_clean(config, recipes, recipe_count, folder));
 *
 * Reads the disk, changes nothing. */
#ifndef OPS_RUN_PLACE_H
#define OPS_RUN_PLACE_H

#include "core/settings.h"

/* INVALID: bytes of run.root that redis-server's settings cannot hold. LIMIT: the store's socket would have a path that
 * only commands of this working directory can reach, because the whole of it is too long. */
MUST_CHECK enum status run_place_check(const struct settings *settings, const char *name);
/* INVALID: a recipe, or what a setting names (model, data, plugin), lies inside `folder`, which --clean removes before
 * the run begins. A folder that is not there holds nothing. */
MUST_CHECK enum status run_place_check_clean(const struct config *config,
                                             const char *const *recipes, size_t recipe_count,
                                             const char *folder);

#endif
