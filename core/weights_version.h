/* core/weights_version.h - which weights of a run a folder holds: its version.json.
 *
 *     {"version": 5, "branch": 0, "digest": "89ab...", "numerics": "0123..."}
 *
 * The learner writes it beside the weights of a version that is due for evaluation; the evaluator and `weir serve` read
 * it. Any thread. */
#ifndef CORE_WEIGHTS_VERSION_H
#define CORE_WEIGHTS_VERSION_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

struct weights_version {
    uint64_t version, digest,
        numerics; /* digest of the flat weights; how they compute (numerics_id) */
    uint32_t branch;
};

MUST_CHECK enum status weights_version_write(const char *folder,
                                             const struct weights_version *version);
/* false: there is none that is whole; *version is unchanged then. */
bool weights_version_read(const char *folder, struct weights_version *version);

#endif
