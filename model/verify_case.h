/* model/verify_case.h - what the files of `weir verify` share: an open reference case and the results.
 * Nothing outside verify.c, verify_case.c and verify_train.c includes it. */
#ifndef MODEL_VERIFY_CASE_H
#define MODEL_VERIFY_CASE_H

#include <jansson.h>

#include "model/safetensors.h"
#include "model/verify.h"

/* What an error may be, by the precision of the backend (verify.c has the reasons). */
struct verify_tolerance {
    double hidden, logit, logprob, entropy, ratio, gradient, grad_norm, routing;
};

/* Everything of one case; freed in one place (verify_close). */
struct verify {
    const char *folder;
    struct verify_report *report;
    const struct op_table *ops;
    struct verify_tolerance allowed;
    int32_t **routing; /* [L] host [rows, J] of the f32 forward, where ours is not f32; else NULL */
    struct safetensors *file;
    json_t *json;
    struct model *model;
    struct model_cache *cache;
    struct model_weights weights;
    int32_t sequences, rows, greedy_rows;
    int32_t *lengths, *prompts, *ids, *greedy; /* [sequences], [sequences], [rows], [greedy_rows] */
    int32_t *start;                            /* [sequences + 1] first row */
    double *advantage;                         /* [sequences] */
    double *old_logprob;                       /* [rows], reference placed on rows */
    float *flat;                               /* [elements] f32 host */
    float *logprob, *entropy, *logits;         /* ours: [rows], [rows], [rows, V] */
    int32_t *target;                           /* [rows] next token, -1 at the end of a sequence */
    float *dlogprob;                           /* [rows] */
    float *trace;                              /* [L + 2, rows, C] */
    float **trace_rows;                        /* [L + 2] */
    float *device[2]; /* [elements] of the op table: gradient, moments... */
};

/* ---- reading: sentences name the folder and the tensor or key ---- */
/* Ids, lengths, advantages; rows get their place and their target. */
MUST_CHECK enum status case_read(struct verify *verify);
void case_close(struct verify *verify);
MUST_CHECK enum status case_make(void **array, int64_t count, size_t item_bytes);
/* count < 0: any. */
MUST_CHECK enum status case_find(const struct verify *verify, const char *name, int64_t count,
                                 const struct safetensor **tensor);
/* *values [count] is the caller's to free. */
MUST_CHECK enum status case_f64(const struct verify *verify, const char *name, int64_t count,
                                double **values);
MUST_CHECK enum status case_number(const struct verify *verify, const json_t *object,
                                   const char *key, double *value);
/* Values packed L - 1 a sequence (logprob, old_logprob, is_ratio) put on their rows. */
MUST_CHECK enum status case_on_rows(const struct verify *verify, const char *name, double *on_rows);
/* *values [row->count] of the case's tensor `prefix`.`row` ("grad", "adamw1"); the caller frees. */
MUST_CHECK enum status case_row(const struct verify *verify, const char *prefix,
                                const struct parameter *row, double **values);

/* ---- results ---- */
void verify_bound(const struct verify *verify, enum verify_check check, double value);
/* Keeps the larger error; NaN sticks. */
void verify_worst(const struct verify *verify, enum verify_check check, double error,
                  const char *where);
/* Largest |ours - reference|, NaN when there is one. */
double verify_difference(const float *ours, const double *reference, int64_t count);

/* ---- verify_train.c ---- */
MUST_CHECK enum status verify_loss(const struct verify *verify);
MUST_CHECK enum status verify_gradients(const struct verify *verify, const act *hidden);
MUST_CHECK enum status verify_adamw(const struct verify *verify);

#endif
