/* actor/engine.h - the decode engine: a model, its cache and the slots of a desk, run as one continuous batch.
 *
 * Two programs own one: the live actor (weights and leases come from a run) and `weir eval` (weights come from a
 * folder, leases from a file). Which rows share a step changes no bit of any result: a token is a function of the
 * weights, the tokens before it and (seed, group, sample, position).
 *
 *     engine_create -> engine_open_desk -> leases through desk_take; engine_decode until nothing is left; desk_turn
 *
 * One thread. Fields are read by everybody; written by the files of actor/. */
#ifndef ACTOR_ENGINE_H
#define ACTOR_ENGINE_H

#include "actor/actor_metrics.h"
#include "actor/desk.h"
#include "core/settings.h"
#include "model/model.h"
#include "model/plan.h"
#include "text/tokenizer.h"

enum { ENGINE_EOS_MAX = MODEL_EOS_MAX + 1, ENGINE_SETS_LIVE = 2, ENGINE_SETS_MAX = 2 };

/* Scratch of one decode step, sized once: rows_max rows, `slots` segments and samples. */
struct decode_step {
    int32_t *ids;
    struct op_segment *segments;
    int32_t rows, segment_count;
    int32_t *row_index;   /* [slots] row that samples */
    uint32_t *slot_index; /* [slots] for which slot */
    struct op_sample_row *row;
    int32_t *token;
    float *logprob, *logprob_truncated;
    uint8_t *confident;
    int32_t samples;
};

struct reporter;
/* Of the token at index `position` of a slot's sequence: its logprob, and the best ids there (`top` of them, most
 * probable first), at temperature 1 over the whole vocabulary. */
struct engine_report {
    uint32_t slot, position, id;
    float logprob;
    uint32_t top;
    const uint32_t *top_ids;   /* [top] borrowed */
    const float *top_logprobs; /* [top] */
};
typedef void (*engine_report_fn)(void *self, const struct engine_report *report);

struct engine {
    const struct settings *settings; /* borrowed */
    struct actor_metrics metrics;
    struct op_table *ops;
    struct model_shape shape;
    struct model *model;
    struct model_cache *cache;
    struct model_weights weights[ENGINE_SETS_MAX];
    int sets;   /* of weights that exist: 2 where new ones are swapped in, 1 where they stay */
    int active; /* of weights; -1 before the first */
    size_t weights_bytes;
    uint64_t numerics_id;
    struct tokenizer *tokenizer;
    uint32_t eos[ENGINE_EOS_MAX];
    uint32_t eos_count;
    struct desk desk;       /* slots, frames, and what the store says */
    int64_t cache_pages;    /* of keys and values */
    uint64_t cache_tokens;  /* capacity said to the store */
    uint32_t positions_max; /* tokens of one sequence */
    int64_t prefill_row_ns; /* measured in the last step with prefill rows; 0 before it */
    struct decode_step step;
    uint32_t served;           /* slots that requests of the endpoint have */
    struct reporter *reporter; /* actor/report.h; NULL until a slot asks for it */
    engine_report_fn report;   /* of whoever fills such slots; NULL: nobody */
    void *report_self;
    segment_send_fn send; /* of the owner */
    void *send_self;
    int64_t start_ns, first_token_ns, busy_ns;
};

/* Model (without weights: all sets are made and empty), cache and tokenizer as the settings say; `index` picks the
 * device. After a failure engine_destroy is still due. */
MUST_CHECK enum status engine_create(struct engine *engine, const struct settings *settings,
                                     uint32_t index, int sets);
void engine_destroy(struct engine *engine); /* a zeroed one is fine */
/* Weights of a Hugging Face folder become set 0 and serve: where nobody sends new ones. `folder` has the shape of
 * model.path. */
MUST_CHECK enum status engine_load_folder(struct engine *engine, const char *folder);
/* The desk, whose messages leave through send(self, ...). */
MUST_CHECK enum status engine_open_desk(struct engine *engine, uint64_t incarnation,
                                        segment_send_fn send, void *self);
/* Rows of the device memory that engine_create takes with so many sets of weights; ops: for sizes. */
MUST_CHECK enum status engine_plan(const struct settings *settings, const struct model_shape *shape,
                                   const struct op_table *ops, int sets, struct memory_plan *plan);
/* Of a live actor, without starting: for --check. */
MUST_CHECK enum status engine_budget_text(const struct settings *settings, struct buffer *text);

static inline uint64_t engine_version(const struct engine *engine)
{
    return desk_version(&engine->desk);
}
/* leases.c */
void engine_slot_ended(struct engine *engine, uint32_t index); /* its cache is free */
/* WAITING slots that may run get cache and a state. */
void engine_start_waiting(struct engine *engine);
/* decode.c: one step. *worked: there was something to compute. */
MUST_CHECK enum status engine_decode(struct engine *engine, bool *worked);

#endif
