/* ops/plan/plan.h - what a run would take and do, said without starting anything: `weir run R --dry-run`.
 *
 *     plan_make    settings (all that is wrong with them at once), model shape, fleet, memory, speed
 *     plan_report  as text, or as JSON
 *
 * A fleet is what the section `cluster` describes, else this machine. Sharded layouts (tensor, expert, sequence
 * parallel) are planned by taking the sizes of one GPU's part of the model, through the same functions that actor and
 * learner size themselves with; with all degrees 1 the memory is theirs to the byte. weir cannot run them yet.
 * docs/plan.md says how each number is made. One thread. */
#ifndef OPS_PLAN_PLAN_H
#define OPS_PLAN_PLAN_H

#include "core/findings.h"
#include "core/program.h"
#include "model/flops.h"
#include "model/plan.h"

enum {
    PLAN_FIGURES_MAX = 48,
    PLAN_TEXT_BYTES = 320,
    PLAN_NOTES_MAX = 16,
    PLAN_PROCESSES_MAX = 8,
};

/* measured: a figure of weir's own benches (hardware.c has the table). asked: the recipe says so. */
enum plan_label { PLAN_MODELLED, PLAN_MEASURED, PLAN_ASKED };
const char *plan_label_name(enum plan_label label);

/* ---- hardware ---- */

struct plan_hardware {
    const char *name;
    double memory_bytes;
    double flops; /* dense bf16 products (f32 on the CPU), of one GPU or one process's threads */
    double bandwidth;   /* of its memory, bytes/s */
    double copy_share;  /* of it that a copy reaches */
    double link;        /* to a GPU of the same host, bytes/s one way; 0: none */
    double network;     /* to another host, bytes/s and GPU */
    const char *source; /* of these numbers */
    bool cpu;
};
/* A row of the table; NULL for GPU_NONE. */
const struct plan_hardware *plan_gpu(enum setting_gpu gpu);
/* The GPU row whose name is in a driver's name of a GPU; NULL when none is. */
const struct plan_hardware *plan_gpu_named(const char *driver_name);
/* This machine's CPU with so many threads. */
struct plan_hardware plan_cpu(uint32_t threads);
double plan_cores(void); /* of this machine, at least 1 */

/* A measured share of a limit, of the run that is nearest in size. */
struct plan_share {
    const char *source;
    double body;  /* weights that a token multiplies, without embedding and head */
    double batch; /* sequences of a decode step; tokens of a packed sequence in training */
    double share; /* of the limit by bytes (decode), of the peak (training: MFU) */
    bool cpu, hybrid;
};
const struct plan_share *plan_decode_share(bool cpu, double body, double batch);
const struct plan_share *plan_train_share(bool cpu, bool hybrid, double body, double length);

/* ---- the plan ---- */

struct plan_degrees {
    uint32_t tensor, expert, sequence;
};
struct plan_role {
    const char *name;     /* "actor", "learner", "evaluator" */
    uint32_t gpus, units; /* of the role; actors, or data-parallel ranks */
    uint32_t unit_gpus;   /* that hold one of them */
    struct plan_degrees degrees;
    struct memory_plan memory; /* of one GPU */
    struct plan_hardware hardware;
    double device_bytes; /* what the plan may fill */
    bool fits;
    uint32_t smallest_gpus; /* that one actor, or the learner, would fit on; 0: none found */
    struct plan_degrees smallest;
};
struct plan_figure {
    const char *name, *unit, *group;
    double value;
    enum plan_label label;
    char how[PLAN_TEXT_BYTES];
};
struct plan_process {
    char name[32], where[PLAN_TEXT_BYTES];
    uint32_t count;
};
struct fleet_plan {
    struct settings settings;
    struct config *config;
    struct arena *arena;
    struct findings findings;
    struct model_shape shape;
    bool cluster; /* else this machine */
    bool sft;     /* a recipe of `weir sft`: one learner, no run */
    bool loaded;  /* shape, roles and below are filled */
    uint32_t nodes, gpus, node_gpus;
    struct plan_role actor, learner, evaluator; /* evaluator: units 0 without eval.every */
    struct plan_process processes[PLAN_PROCESSES_MAX];
    uint32_t process_count;
    struct plan_figure figures[PLAN_FIGURES_MAX];
    uint32_t figure_count;
    char notes[PLAN_NOTES_MAX][PLAN_TEXT_BYTES]; /* what a start still needs */
    uint32_t note_count;
    char lacks[PLAN_NOTES_MAX][PLAN_TEXT_BYTES]; /* what weir cannot run yet */
    uint32_t lack_count;
    char advice[PLAN_TEXT_BYTES];
    struct buffer objective;
};

struct fleet_request {
    const char *files[PROGRAM_FILES_MAX];
    size_t file_count;
    const char *overrides[PROGRAM_OVERRIDES_MAX];
    size_t override_count;
    bool json, refuse, no_forecast;
};

/* Fills the plan; what is wrong is in plan->findings. Destroy it whatever came back. */
MUST_CHECK enum status plan_make(struct fleet_plan *plan, const struct fleet_request *request);
void plan_destroy(struct fleet_plan *plan);
int plan_exit_code(const struct fleet_plan *plan);
/* The one sentence with which `weir run` refuses a plan that lacks something; false: it may start. */
bool plan_refusal(const struct fleet_plan *plan, char text[4 * PLAN_TEXT_BYTES]);

/* fleet.c: who runs where; contradictions between degrees and sizes are findings */
void plan_place(struct fleet_plan *plan);
/* memory.c */
MUST_CHECK enum status plan_memory(struct fleet_plan *plan);
/* The part of the model that one GPU of `degrees` computes. */
struct model_shape plan_part(const struct model_shape *shape, const struct plan_degrees *degrees);
/* rates.c: speed, then the simulator (unless told not to), then the whole run */
MUST_CHECK enum status plan_rates(struct fleet_plan *plan, bool forecast);

/* For the files of the plan. */
void plan_add_figure(struct fleet_plan *plan, const char *group, const char *name, double value,
                     const char *unit, enum plan_label label, const char *how, ...)
    PRINTF_LIKE(7, 8);
void plan_add_note(struct fleet_plan *plan, const char *fmt, ...) PRINTF_LIKE(2, 3);
void plan_add_lack(struct fleet_plan *plan, const char *fmt, ...) PRINTF_LIKE(2, 3);
void plan_find(struct fleet_plan *plan, enum finding_kind kind, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

MUST_CHECK enum status plan_report(struct fleet_plan *plan, const struct fleet_request *request,
                                   struct buffer *text);
MUST_CHECK enum status plan_report_json(struct fleet_plan *plan, struct buffer *text);

#endif
