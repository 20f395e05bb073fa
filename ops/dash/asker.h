/* ops/dash/asker.h - questions to the store, and looks into large files, on threads of their own (two askers): a store that is stopped or dead keeps no viewer waiting
 * who asks for anything else.
 *
 * A request's connection is suspended while its question is out; many who ask why share one answer, which is kept for
 * ASKER_KEEP_MS. */
#ifndef OPS_DASH_ASKER_H
#define OPS_DASH_ASKER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/status.h"

enum { ASKER_KEEP_MS = 1000, ASKER_WAITING_MAX = 256, ASKER_ASK_MS = 1500 };

struct asker;
struct dash;

struct asker_job {
    enum asker_kind { ASKER_WHY, ASKER_DRAIN, ASKER_SCALE, ASKER_ROLLOUT } kind;
    char process[64];           /* DRAIN: which; "": the whole run */
    int actors, reward_workers; /* SCALE: SCALE_AS_IT_IS or how many */
    uint64_t group,
        from_step; /* ROLLOUT; its answer begins as what is known without the step files */
    uint32_t sample;
    bool known;               /* ROLLOUT: there is an answer without them */
    void (*done)(void *self); /* on the asker's thread; the job is the caller's again */
    void *self;
    unsigned http_status; /* of the answer */
    struct buffer answer; /* JSON; initialised by the caller */
};

MUST_CHECK enum status asker_start(struct asker **asker, struct dash *dash);
/* What waits is answered 503, and so is what comes from here on: before the server stops. */
void asker_close(struct asker *asker);
/* After the server has stopped. */
void asker_free(struct asker **asker);
/* LIMIT: too many wait. The job is the asker's until `done`. */
MUST_CHECK enum status asker_push(struct asker *asker, struct asker_job *job);

#endif
