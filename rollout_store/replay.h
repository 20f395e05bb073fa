/* rollout_store/replay.h - what a ledger knows of a learner step or of a rollout, as a file of messages.
 *
 * `weir replay` recomputes steps and rollouts of a run that may be over, killed or going on. It reads the ledger
 * files from the first on, takes no lock and writes nothing but `out`: no state of the store is made, so nothing is
 * consumed, leased or expired by looking. A cut-off record at the end (a running store is writing it) ends the
 * reading. docs/replay.md has the form of the file; one thread. */
#ifndef ROLLOUT_STORE_REPLAY_H
#define ROLLOUT_STORE_REPLAY_H

#include "core/settings.h"
#include "core/status.h"

struct replay_source {
    const struct settings *settings; /* of the run */
    const char *ledger_folder;
    const char *out; /* replaced when everything is read */
};

/* The plans of versions (base, to] with their groups, each version's registered digest with it; of the branch that
 * lives now. out: version_register of base, then for each version version_register, plan and its group_data.
 * NOT_FOUND: the run has no such version, no plan of it, or has not registered it yet. */
MUST_CHECK enum status replay_steps(const struct replay_source *source, uint64_t base, uint64_t to);
/* One rollout. out: a lease_grant of one lease (prompt, sampling, budget), a segment_frame with its segments as they
 * came, and version_register of each version they name. NOT_FOUND: there is no such rollout, or it has no token. */
MUST_CHECK enum status replay_rollout(const struct replay_source *source, uint64_t group_id,
                                      uint32_t sample);

/* `weir-store replay steps BASE TO LEDGER OUT ...` and `weir-store replay rollout GROUP SAMPLE LEDGER OUT ...`, then
 * options as of weir-store. The exit code. */
int replay_main(int argc, char **argv);

#endif
