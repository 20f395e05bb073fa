/* actor/actor.h - the process that generates (in other systems "actor" is the policy being trained).
 *
 * One thread owns everything: leases come in from the store, the decode loop runs them in one
 * continuous batch, segments go out, and between two decode steps newer weights are swapped in.
 * An actor knows leases and weights, never rewards.
 *
 *     actor_main.c: actor_create -> actor_run (until the store says stop, a drain, or SIGTERM) -> actor_destroy
 */
#ifndef ACTOR_ACTOR_H
#define ACTOR_ACTOR_H

#include <stdatomic.h>

#include "core/settings.h"
#include "core/status.h"

struct actor;
struct monitor;

struct actor_options {
    const struct settings *settings; /* borrowed */
    const char *endpoint;            /* of the store */
    uint32_t index;
    const char *run;
    struct monitor *monitor; /* borrowed; NULL: none */
};

MUST_CHECK enum status actor_create(struct actor **actor, const struct actor_options *options);
void actor_destroy(struct actor **actor);
/* Returns OK after an orderly end. *stop_signals counts SIGTERM and SIGINT: 1 drains (leases go back with
 * their tokens), 2 ends at once. */
MUST_CHECK enum status actor_run(struct actor *actor, atomic_int *stop_signals);
#endif
