/* learner/errand.h - one thing the learner wants of the store, from its first word to the answer.
 *
 * A pure state machine: messages and time come in, messages leave through a callback; no socket, no clock. It says
 * its request, says it again every second and after each new connection, and knows the answer among whatever else
 * comes. Answers may come twice or in any order. The learner (learner/store.c) drives it around its link and gives
 * it a deadline; the simulator drives the same errands on its own clock.
 *
 *     errand_plan(&errand, &request, &plan);
 *     while (!errand_done(&errand)) {
 *         TRY(errand_say(&errand, now_ns, welcomes, send, self));
 *         TRY(errand_hear(&errand, &message));             each message that came
 *     }
 *
 * Any thread, one at a time. What an answer points to lives where its message lived. */
#ifndef LEARNER_ERRAND_H
#define LEARNER_ERRAND_H

#include "proto/messages.h"

C_BEGIN

enum {
    ERRAND_WINDOW = 32,           /* groups of a plan asked for at the same time */
    ERRAND_AGAIN_MS = 1000,       /* until an unanswered request is said again */
    ERRAND_GROUP_AGAIN_MS = 5000, /* groups are large */
    ERRAND_FULL_MS = 100          /* after a connection that took nothing */
};

enum errand_kind {
    ERRAND_PLAN,       /* the plan that makes version + 1 */
    ERRAND_GROUPS,     /* all groups of a plan */
    ERRAND_REGISTER,   /* a version, before its first byte is published */
    ERRAND_CHECKPOINT, /* a checkpoint is on disk */
    ERRAND_NOTICE      /* the next notice, whatever it says; nothing is said */
};

struct errand {
    enum errand_kind kind;
    const char *name;          /* for waits: "plan", "group", "register version", ... */
    struct message request;    /* of all but GROUPS and NOTICE; its texts and arrays are borrowed */
    struct plan *plan;         /* PLAN: receives it; GROUPS: whose groups, borrowed */
    struct group_data *groups; /* GROUPS: [plan->group_count], receives them */
    bool done;
    uint32_t answers;                /* that counted: a deadline may begin anew at each */
    bool said;                       /* on `welcomes` */
    uint32_t welcomes;               /* of the connection it was said on */
    int64_t again_ns;                /* not before: said again */
    uint32_t pending[ERRAND_WINDOW]; /* GROUPS: indices into the plan */
    uint32_t pending_count, asked;   /* the first `asked` of them are asked for */
    uint32_t next;                   /* first index that was never pending */
};

void errand_plan(struct errand *errand, const struct plan_request *request, struct plan *plan);
/* A plan without groups is done at once. */
void errand_groups(struct errand *errand, struct plan *plan, struct group_data *groups);
void errand_register(struct errand *errand, const struct version_register *request);
void errand_checkpoint(struct errand *errand, const struct checkpoint_report *request);
void errand_notice(struct errand *errand);

/* Queues one message towards the store; AGAIN: it takes nothing now. */
typedef enum status (*errand_send_fn)(void *self, const struct message *message);
/* Says what is due at now_ns. welcomes: how often the store has welcomed this process, 0: not yet (nothing is said).
 * Whatever send returns but OK and AGAIN. */
MUST_CHECK enum status errand_say(struct errand *errand, int64_t now_ns, uint32_t welcomes,
                                  errand_send_fn send, void *self);
/* When errand_say has something to do again, if no message and no connection comes first. */
int64_t errand_due_ns(const struct errand *errand);
/* A message that came; those of others are ignored. INVALID with the store's sentence when it refuses. */
MUST_CHECK enum status errand_hear(struct errand *errand, const struct message *message);
static inline bool errand_done(const struct errand *errand)
{
    return errand->done;
}

C_END
#endif
