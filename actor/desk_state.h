/* actor/desk_state.h - what the files of the desk share; nobody else includes it. */
#ifndef ACTOR_DESK_STATE_H
#define ACTOR_DESK_STATE_H

#include "actor/desk.h"

/* desk_leases.c */
MUST_CHECK enum status desk_take_grant(struct desk *desk, const struct lease_grant *grant);
void desk_end_slot(struct desk *desk, uint32_t index); /* state FREE; the engine is told */

/* desk_segments.c: makes what is due and sends what the store takes. */
MUST_CHECK enum status desk_send_frames(struct desk *desk, int64_t now_ns, bool all);

#endif
