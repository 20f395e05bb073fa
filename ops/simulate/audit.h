/* ops/simulate/audit.h - what the checker believes; private to audit*.c.
 *
 * It is rebuilt from the durable bytes of the ledger alone, record by record, with rules of its own: not one line of
 * the book is used. Memory is one arena that dies with the run. */
#ifndef OPS_SIMULATE_AUDIT_H
#define OPS_SIMULATE_AUDIT_H

#include "ops/simulate/sim.h"

enum audit_sample_state { AUDIT_QUEUED, AUDIT_LEASED, AUDIT_FINISHED, AUDIT_SCORED };
enum audit_group_state { AUDIT_OPEN, AUDIT_ELIGIBLE, AUDIT_PLANNED, AUDIT_DROPPED, AUDIT_DEAD };

struct audit_sample {
    enum audit_sample_state state;
    uint32_t attempt;
    uint64_t lease; /* live one, 0 none */
    uint32_t *ids;  /* [response_tokens_max] */
    uint32_t count;
    struct group_piece *pieces;
    size_t piece_count, piece_capacity;
    uint32_t failures, deaths; /* of generation; deaths since the last token */
    uint32_t scorings;         /* that gave no score */
    bool voided;               /* had a score that a rescoring took back */
    enum segment_status finish;
    enum score_status score_status;
    double reward;
};

struct audit_group {
    enum audit_group_state state;
    uint64_t prompt, planned_version;
    bool skipped;                 /* a score said SKIP or UNSCORABLE */
    struct audit_sample *samples; /* [G] */
    uint32_t *trained;            /* nodes whose training took it */
    size_t trained_count, trained_capacity;
};

struct audit_lease {
    uint64_t group;
    uint32_t sample, attempt, holder_index;
    uint64_t holder;
    bool live, granted;
    uint32_t cap; /* tokens that the sample may have under it */
};

struct audit_plan {
    uint64_t version;
    uint32_t group_count;
    uint64_t *groups;
};

struct audit_version {
    uint64_t version, digest;
};

/* Weights that a learner has made, and of what. */
struct audit_node {
    uint64_t version, digest;
    uint32_t parent; /* node; its own number at the start */
    uint32_t group_count;
    uint64_t *groups;
};

/* What a process has said and what must be durable before it is acknowledged. */
struct audit_said {
    uint32_t proc;
    uint64_t boot, frame;
    uint32_t count;
    struct audit_claim {
        uint64_t lease, group;
        uint32_t sample, attempt, end;
        bool final, good;
    } * claims;
    enum message_type type;
    uint64_t version, digest; /* of version_register, checkpoint_report */
};

struct audit_births; /* audit_births.c */
struct audit_stages; /* audit_stage.c */

struct audit {
    struct arena *arena, *scratch;
    bool run_known, stopped;
    struct audit_group *groups;
    size_t group_count, group_capacity;
    struct audit_lease *leases; /* by lease id */
    size_t lease_count, lease_capacity;
    struct audit_version *versions; /* of the branch, ascending */
    size_t version_count, version_capacity;
    struct audit_version *ever; /* every one that was registered */
    size_t ever_count, ever_capacity;
    struct audit_plan *plans;
    size_t plan_count, plan_capacity;
    struct audit_node *nodes;
    size_t node_count, node_capacity;
    struct audit_said *said;
    size_t said_count, said_capacity;
    uint64_t checkpoint_version, checkpoint_digest;
    uint32_t branch;
    struct audit_births *births;
    struct audit_stages *stages;
};

struct audit_group *audit_group(struct world *world, uint64_t group);
/* NULL: unknown, and a violation is reported. */
struct audit_sample *audit_sample(struct world *world, uint64_t group, uint32_t sample,
                                  const char *who);
uint64_t audit_newest(const struct audit *audit);
const struct audit_version *audit_version(const struct audit *audit, uint64_t version);
const struct audit_plan *audit_plan_of(const struct audit *audit, uint64_t version);
bool audit_known(const struct audit *audit, uint64_t version, uint64_t digest);

/* audit_stage.c: length stages */
MUST_CHECK enum status audit_stages_create(struct world *world);
uint32_t audit_cap(const struct world *world); /* in force: tokens of a response */
void audit_staged(struct world *world, const struct record *record); /* a plan */
void audit_stage_branched(struct world *world, const struct record *record);

/* audit_births.c: which prompts may be drawn */
MUST_CHECK enum status audit_births_create(struct world *world);
void audit_births_destroy(struct audit *audit);
void audit_drawn(struct world *world, const struct record *record);
void audit_learned(struct world *world, uint64_t group); /* all its scores are known */
/* What the filter looks at. */
double audit_filter(const struct world *world, uint64_t group, uint32_t sample);

/* audit_group.c: rules of groups and plans */
void audit_born(struct world *world, const struct record *record);
void audit_dropped(struct world *world, const struct record *record);
void audit_closed(struct world *world, const struct record *record);
void audit_reopened(struct world *world, const struct record *record);
void audit_planned(struct world *world, const struct plan *plan);
void audit_branched(struct world *world, const struct record *record);
void audit_registered(struct world *world, const struct record *record);
void audit_saved(struct world *world, const struct record *record);

#endif
