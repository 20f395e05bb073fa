/* model/plan.h - what a process will take of its device's memory, said before anything is taken.
 *
 * Rows are added by actor and learner with the sizes that model.h computes; `--check` prints them, and a start on
 * a GPU compares the total with what is free and refuses with the setting that would help. Pure but for
 * plan_check. */
#ifndef MODEL_PLAN_H
#define MODEL_PLAN_H

#include "core/buffer.h"
#include "model/model.h"

enum { PLAN_ROWS_MAX = 16 };

struct memory_plan {
    const char *process; /* "actor", "learner" */
    struct plan_row {
        const char *name;    /* "keys and values" */
        const char *setting; /* that makes it smaller, or NULL */
        int64_t bytes;
    } rows[PLAN_ROWS_MAX];
    int count;
};

void plan_add(struct memory_plan *plan, const char *name, int64_t bytes, const char *setting);
int64_t plan_total(const struct memory_plan *plan);
/* One line a row, largest first, and the total. */
MUST_CHECK enum status plan_text(const struct memory_plan *plan, struct buffer *text);
/* LIMIT when the device has less left than the plan takes: the sentence names the largest row and its setting. */
MUST_CHECK enum status plan_check(const struct memory_plan *plan, const struct op_table *ops);
/* Device memory of a weight set, from the shape alone. */
MUST_CHECK enum status plan_weights_bytes(const struct model_shape *shape,
                                          const struct op_table *ops,
                                          enum model_head_precision lm_head, int64_t *flat,
                                          int64_t *packed);
/* Elements of the flat layout. */
MUST_CHECK enum status plan_parameters(const struct model_shape *shape, int64_t *elements);
/* Tables that grow with the positions: RoPE. */
int64_t plan_tables_bytes(const struct model_shape *shape, int64_t positions);
/* What ops take for themselves on a GPU: logits of a part of the rows, partial results. 0 on the CPU. */
int64_t plan_scratch_bytes(const struct model_shape *shape, const struct op_table *ops,
                           int64_t rows, bool train);

#endif
