/* model/model.h - the one forward pass, and its backward.
 *
 * A `model` is a shape bound to an op table. It runs on a `model_weights` (a flat weight set with what
 * linear_pack made of it) and a `model_cache` (KV pages and lightning states of a number of slots).
 * Prefill, decode and training call the same model_forward; training only asks it to keep what the
 * backward pass needs. So the learner's logprob of a token equals the actor's bit for bit.
 *
 * One thread owns a model and everything made from it. Weights may be shared read-only by two models
 * of one thread. Activations come from a grow-only workspace bounded by rows_max. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "kernels/ops.h"
#include "model/parameters.h"
#include "model/shape.h"

/* In the order of settings.model.lm_head. Where weights are f32, fp32 and fp32_out are one. */
enum model_head_precision { MODEL_HEAD_FP32, MODEL_HEAD_FP32_OUT, MODEL_HEAD_BF16 };

struct model_options {
    int32_t rows_max;                  /* rows of one forward call */
    int32_t lightning_chunk;           /* settings.model.lightning_chunk */
    enum model_head_precision lm_head; /* settings.model.lm_head */
    bool train;                        /* backward will be called */
    bool
        recompute; /* with train: keep each layer's input only, run its forward again in the backward pass */
};

struct model;
MUST_CHECK enum status model_create(struct model **model, const struct model_shape *shape,
                                    const struct op_table *ops,
                                    const struct model_options *options);
void model_destroy(struct model **model);
const struct model_shape *model_get_shape(const struct model *model);
/* The RoPE base from now on, >= 1 (context extension); caches with rotated keys are to be closed first. */
MUST_CHECK enum status model_set_rope_theta(struct model *model, double theta);
const struct parameter_table *model_parameters(const struct model *model);
/* Everything that decides a bit of a logprob: backend, instruction set class, tile sizes, chunk, head
 * precision. Hashed to the numerics_id said at hello. */
void model_numerics(const struct model *model, char *text, size_t size);
/* Bytes of activations that model_create will take, all of them: with the train option everything the backward
 * pass keeps or needs is in it. Grows linearly with rows_max; weights, cache and RoPE tables come on top, and
 * the logits of model_sample or model_head (at most 256 MiB). For --check: needs no model. */
MUST_CHECK enum status model_workspace_bytes(const struct model_shape *shape,
                                             const struct op_table *ops,
                                             const struct model_options *options, int64_t *bytes);

/* ---- weights ----
 * flat holds the parameters in the canonical layout (parameters.h) as weight_t. Where weight_t is bf16, second
 * planes follow: the part of the f32 value that bf16 lost, for the weights whose products are f32-grade: the
 * routers, and the LM head with lm_head = fp32. Hi and mid planes travel, are digested and swapped together. */
struct model_weights {
    weight_t *flat; /* device, model_weights_bytes */
    void *packed;   /* device; NULL where the backend reads flat itself */
    uint64_t version;
    uint64_t digest; /* of flat, all bytes */
};
int64_t model_weights_bytes(const struct model *model); /* of flat, multiple of 8 */
/* Of what flat holds and where: names, shapes, offsets, element size, planes. Learner and actors must agree. */
uint64_t model_layout_hash(const struct model *model);
MUST_CHECK enum status model_weights_create(struct model *model, struct model_weights *weights);
void model_weights_destroy(struct model *model, struct model_weights *weights);
/* Copies flat host bytes [model_weights_bytes] to the device, then as repack. */
MUST_CHECK enum status model_weights_load(struct model *model, struct model_weights *weights,
                                          const void *flat, uint64_t version);
/* After flat was written in place: its digest, and the packed form. */
MUST_CHECK enum status model_weights_repack(struct model *model, struct model_weights *weights);
/* The same for whoever has taken the digest of `flat` already. */
MUST_CHECK enum status model_weights_repack_known(struct model *model,
                                                  struct model_weights *weights, uint64_t digest);
/* Second planes: of the `count` elements from `offset`, at element `mid` of flat. */
struct model_plane {
    int64_t offset, count, mid;
};
enum { MODEL_PLANES_MAX = MODEL_LAYERS_MAX + 1 };
int model_planes(const struct model *model, struct model_plane planes[MODEL_PLANES_MAX]);
/* Writes flat from f32 parameters on the device [elements], then as repack. planes_only: the first plane is
 * there already (the optimizer wrote it). */
MUST_CHECK enum status model_weights_round(struct model *model, struct model_weights *weights,
                                           const float *master, bool planes_only);

/* ---- cache ---- */
struct model_cache;
/* slots sequences, pages of op_table.kv_tile tokens shared by all slots. */
MUST_CHECK enum status model_cache_create(struct model *model, int32_t slots, int32_t pages,
                                          int32_t positions_max, struct model_cache **cache);
void model_cache_destroy(struct model_cache **cache);
int32_t model_cache_pages_free(const struct model_cache *cache);
int32_t model_cache_pages_needed(const struct model_cache *cache, int32_t positions);
/* Of a cache of slots and pages, for --check; needs no model. chunk: lightning_chunk. */
int64_t model_cache_bytes(const struct model_shape *shape, const struct op_table *ops,
                          int32_t chunk, int32_t slots, int32_t pages);
/* Slot becomes an empty sequence with room for `positions` tokens. LIMIT when no pages are free. */
MUST_CHECK enum status model_cache_open(struct model_cache *cache, int32_t slot, int32_t positions);
void model_cache_close(struct model_cache *cache, int32_t slot);
/* target becomes a copy of source's first `positions` tokens (= all it has); pages that are full are shared
 * (reference counted), the last partial page, states and buffers are copied: siblings prefill once. An open target
 * keeps its room (its pages that become shared go back to the free ones); a closed one gets the source's room. */
MUST_CHECK enum status model_cache_fork(struct model_cache *cache, int32_t source, int32_t target,
                                        int32_t positions);

/* ---- forward ---- */
struct model_batch {
    int32_t rows;
    const int32_t *ids;                /* [rows] host */
    const struct op_segment *segments; /* host; rows in segment order */
    int32_t segment_count;
};
/* Runs all layers on the rows and writes the final-normed hidden state to *hidden [rows, C] (device, valid until the
 * next call). With train option and save = true keeps activations for model_backward. After it the cache
 * of each slot holds position + count tokens. */
MUST_CHECK enum status model_forward(struct model *model, const struct model_weights *weights,
                                     struct model_cache *cache, const struct model_batch *batch,
                                     bool save, act **hidden);

/* LM head on `rows` rows of hidden chosen by row_index (host, NULL = all in order). Host outputs; any may be NULL. */
struct model_head {
    int32_t rows;
    const int32_t *row_index; /* [rows] host, into the rows of the forward call */
    float temperature;
    const int32_t *target; /* [rows] host, may be NULL */
    float *logprob;        /* host out */
    float *entropy;        /* host out */
    float *logits;         /* host out [rows, V] untempered: tests and verify */
};
MUST_CHECK enum status model_head(struct model *model, const struct model_weights *weights,
                                  const act *hidden, const struct model_head *head);

/* Samples one token for each of `rows` chosen rows in one pass over the vocabulary. Host outputs. */
struct model_sample {
    int32_t rows;
    const int32_t *row_index;
    const struct op_sample_row *row; /* [rows] host; all rows of a call share one temperature */
    float repetition_probability;
    int32_t *token;
    float *logprob;
    float *logprob_truncated;
    uint8_t *confident;
};
MUST_CHECK enum status model_sample(struct model *model, const struct model_weights *weights,
                                    const act *hidden, const struct model_sample *sample);

/* One decode step: model_forward (one row per segment, no save) and model_sample of all rows in order
 * (sample->row_index NULL). Where the backend records graphs the step is recorded once for a number of rows and
 * replayed, padded to the next such number; results are those of the two calls, bit for bit. */
MUST_CHECK enum status model_decode(struct model *model, const struct model_weights *weights,
                                    struct model_cache *cache, const struct model_batch *batch,
                                    const struct model_sample *sample);

/* ---- backward (train option) ---- */
/* Gradient of sum_t dlogprob[t] * logprob[t] + dentropy[t] * entropy[t] for the saved forward call whose head was run with the same
 * row_index, targets and temperature; adds into grads [elements] f32 (device). aux_coefficient > 0 adds the router
 * loss gradient with the statistics of this call's rows (aux_loss out, may be NULL). */
struct model_backward {
    int32_t rows;
    const int32_t *row_index;
    float temperature;
    const int32_t *target; /* host */
    const float *dlogprob; /* host */
    const float *dentropy; /* host, or NULL: no gradient through the entropy */
    double aux_coefficient;
    double *aux_loss; /* host out, may be NULL */
};
MUST_CHECK enum status model_backward(struct model *model, const struct model_weights *weights,
                                      const act *hidden, const struct model_backward *backward,
                                      float *grads);

/* Hidden states for `weir verify`: when set, model_forward copies the embedding output, each layer's output and the
 * final norm to host buffers [L + 2][rows, C]; NULL switches it off. */
void model_trace(struct model *model, float *const *hidden_states);
/* For `weir verify` of a rounding backend: expert [L] host [rows, J] (NULL: off) replaces the choice of the router in
 * model_forward where the set differs; model_forced_gap is how much more probable the worst replaced one was. */
void model_force_routing(struct model *model, int32_t *const *expert);
double model_forced_gap(const struct model *model);
/* The choice of the last forward call, saved, without recompute; zeros of a layer without experts. expert [rows, J] host
 * out. */
MUST_CHECK enum status model_read_routing(const struct model *model, int32_t layer,
                                          int32_t *expert);

#endif
