/* model/verify.c - runs reference cases and compares. See verify.h; the case format is that of
 * tests/golden/model. Bounds are for f32 against a float64 reference:
 *   logits, logprob  2e-5: about 100 f32 roundings of a value near 2
 *   entropy          1e-4: |dH/dz| sums to at most ln V (5.8 here) times the logit error
 *   ratio            2.1e-5 relative: exp(x) turns an absolute error of x into a relative one
 *   loss             2e-5 times mean(w |A| (1 + |logprob|)): error of logprob, and of w = exp(logprob - old)
 *   gradients        1e-3 of the tensor's norm: 8 layers of f32 backward, and room for sums of both signs
 *   AdamW            1e-6: an f32 rounding of a parameter below 8
 *   hidden           2e-5 of the largest value (postnorm residuals scale with alpha, so relative) */
#include "model/verify.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "model/folder.h"
#include "model/safetensors.h"

enum { VERIFY_CHUNK = 32 }; /* default of settings.model.lightning_chunk */
#define LOGIT_BOUND 2e-5

static const char *const check_names[VERIFY_COUNT] = {
    "hidden",   "logits",    "logprob", "entropy", "ratio",  "loss",
    "gradient", "grad_norm", "adamw",   "greedy",  "decode",
};

const char *verify_check_name(enum verify_check check)
{
    return check_names[check];
}

/* Everything of one case; freed in one place (verify_close). */
struct verify {
    const char *folder;
    struct verify_report *report;
    const struct op_table *ops;
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

/* ---- reading the case ---- */

static enum status find(const struct verify *verify, const char *name, int64_t count,
                        const struct safetensor **tensor)
{
    *tensor = safetensors_find(verify->file, name);
    if (!*tensor)
        return FAIL(STATUS_NOT_FOUND, "%s/case.safetensors: tensor %s is missing", verify->folder,
                    name);
    if (count >= 0 && (*tensor)->count != count)
        return FAIL(STATUS_INVALID, "%s/case.safetensors: tensor %s has %lld values, expected %lld",
                    verify->folder, name, (long long)(*tensor)->count, (long long)count);
    return STATUS_OK;
}

static enum status make(void **array, int64_t count, size_t item_bytes)
{
    *array = memory_array((size_t)(count > 0 ? count : 1), item_bytes);
    return *array ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "verify: %lld values", (long long)count);
}

static enum status read_i32(const struct verify *verify, const char *name, int32_t **values,
                            int32_t *count)
{
    const struct safetensor *tensor = NULL;
    TRY(find(verify, name, -1, &tensor));
    if (tensor->count > INT32_MAX)
        return FAIL(STATUS_LIMIT, "%s: tensor %s is too long", verify->folder, name);
    TRY(make((void **)values, tensor->count, sizeof(int32_t)));
    *count = (int32_t)tensor->count;
    return safetensor_to_i32(tensor, *values);
}

static enum status read_f64(const struct verify *verify, const char *name, int64_t count,
                            double **values)
{
    const struct safetensor *tensor = NULL;
    TRY(find(verify, name, count, &tensor));
    TRY(make((void **)values, tensor->count, sizeof(double)));
    return safetensor_to_f64(tensor, *values);
}

static enum status json_number(const struct verify *verify, const json_t *object, const char *key,
                               double *value)
{
    const json_t *number = json_object_get(object, key);
    if (!json_is_number(number))
        return FAIL(STATUS_INVALID, "%s/case.json: %s is missing or not a number", verify->folder,
                    key);
    *value = json_number_value(number);
    return STATUS_OK;
}

static enum status read_case_json(struct verify *verify)
{
    char path[FILE_PATH_MAX];
    struct buffer text;
    TRY(file_path(path, "%s/case.json", verify->folder));
    buffer_init(&text, 16U << 20);
    enum status status = file_read(path, &text);
    if (status == STATUS_OK) {
        json_error_t error;
        verify->json = json_loadb((const char *)text.bytes, text.size, 0, &error);
        if (!verify->json)
            status = FAIL(STATUS_INVALID, "%s:%d: %s", path, error.line, error.text);
    }
    buffer_free(&text);
    return status;
}

static enum status check_sequences(struct verify *verify, int32_t prompts)
{
    TRY(make((void **)&verify->start, verify->sequences + 1, sizeof(int32_t)));
    if (prompts != verify->sequences || verify->sequences < 1)
        return FAIL(STATUS_INVALID, "%s: %d seq_lens and %d prompt_lens", verify->folder,
                    verify->sequences, prompts);
    int64_t total = 0;
    for (int32_t s = 0; s < verify->sequences; s++) {
        int32_t length = verify->lengths[s], prompt = verify->prompts[s];
        if (length < 1 || prompt < 1 || prompt > length || total + length > verify->rows)
            return FAIL(STATUS_INVALID, "%s: sequence %d: length %d, prompt %d of %d ids",
                        verify->folder, s, length, prompt, verify->rows);
        total += length;
        verify->start[s + 1] = (int32_t)total;
    }
    if (total != verify->rows)
        return FAIL(STATUS_INVALID, "%s: seq_lens add up to %lld of %d input_ids", verify->folder,
                    (long long)total, verify->rows);
    if (verify->greedy_rows < verify->prompts[0])
        return FAIL(STATUS_INVALID, "%s: greedy_ids has %d tokens, the prompt %d", verify->folder,
                    verify->greedy_rows, verify->prompts[0]);
    return STATUS_OK;
}

static enum status read_case(struct verify *verify)
{
    char path[FILE_PATH_MAX];
    int32_t prompts = 0;
    TRY(read_case_json(verify));
    TRY(file_path(path, "%s/case.safetensors", verify->folder));
    TRY(safetensors_open(&verify->file, path));
    TRY(read_i32(verify, "input_ids", &verify->ids, &verify->rows));
    TRY(read_i32(verify, "seq_lens", &verify->lengths, &verify->sequences));
    TRY(read_i32(verify, "prompt_lens", &verify->prompts, &prompts));
    TRY(read_i32(verify, "greedy_ids", &verify->greedy, &verify->greedy_rows));
    TRY(check_sequences(verify, prompts));
    TRY(read_f64(verify, "advantage", verify->sequences, &verify->advantage));
    int32_t rows = verify->rows;
    TRY(make((void **)&verify->logprob, rows, sizeof(float)));
    TRY(make((void **)&verify->entropy, rows, sizeof(float)));
    TRY(make((void **)&verify->dlogprob, rows, sizeof(float)));
    TRY(make((void **)&verify->old_logprob, rows, sizeof(double)));
    TRY(make((void **)&verify->target, rows, sizeof(int32_t)));
    for (int32_t s = 0; s < verify->sequences; s++)
        for (int32_t t = verify->start[s]; t < verify->start[s + 1]; t++)
            verify->target[t] = t + 1 < verify->start[s + 1] ? verify->ids[t + 1] : -1;
    return STATUS_OK;
}

/* Values packed L - 1 a sequence (logprob, old_logprob, is_ratio) put on their rows. */
static enum status read_on_rows(const struct verify *verify, const char *name, double *on_rows)
{
    double *packed = NULL;
    TRY(read_f64(verify, name, verify->rows - verify->sequences, &packed));
    int32_t from = 0;
    for (int32_t s = 0; s < verify->sequences; s++)
        for (int32_t t = verify->start[s]; t + 1 < verify->start[s + 1]; t++)
            on_rows[t] = packed[from++];
    memory_free(packed);
    return STATUS_OK;
}

/* ---- results ---- */

static void bound(const struct verify *verify, enum verify_check check, double value)
{
    verify->report->result[check].bound = value;
}

static void worst(const struct verify *verify, enum verify_check check, double error,
                  const char *where)
{
    struct verify_result *result = &verify->report->result[check];
    if (error <= result->error) /* false for NaN, which must stick */
        return;
    if (isnan(result->error))
        return;
    result->error = error;
    (void)snprintf(result->where, sizeof(result->where), "%s", where);
}

static double max_difference(const float *ours, const double *reference, int64_t count)
{
    double largest = 0.0;
    for (int64_t i = 0; i < count; i++) {
        double error = fabs((double)ours[i] - reference[i]);
        if (!(error <= largest))
            largest = error;
        if (isnan(error))
            return error;
    }
    return largest;
}

/* ---- forward ---- */

static enum status make_model(struct verify *verify, const struct model_shape *shape)
{
    int32_t rows = verify->rows > verify->greedy_rows ? verify->rows : verify->greedy_rows;
    struct model_options options = {
        .rows_max = rows, .lightning_chunk = VERIFY_CHUNK, .train = true};
    TRY(model_create(&verify->model, shape, verify->ops, &options));
    const struct parameter_table *table = model_parameters(verify->model);
    TRY(make((void **)&verify->flat, table->elements, sizeof(float)));
    TRY(model_folder_load(verify->folder, shape, table, verify->flat));
    TRY(model_weights_create(verify->model, &verify->weights));
    TRY(model_weights_load(verify->model, &verify->weights, verify->flat, 0));
    /* Slots: the sequences, then one for decode and one for its prefill. */
    int32_t slots = verify->sequences + 2;
    int32_t pages_each = (int32_t)(rows / verify->ops->kv_tile + 1);
    TRY(model_cache_create(verify->model, slots, slots * pages_each, rows, &verify->cache));
    int64_t vocabulary = shape->vocabulary, state = (int64_t)verify->rows * shape->hidden;
    TRY(make((void **)&verify->logits, verify->rows * vocabulary, sizeof(float)));
    TRY(make((void **)&verify->trace, (shape->layers + 2) * state, sizeof(float)));
    TRY(make((void **)&verify->trace_rows, shape->layers + 2, sizeof(float *)));
    for (int32_t i = 0; i < shape->layers + 2; i++)
        verify->trace_rows[i] = verify->trace + i * state;
    for (int32_t i = 0; i < 2; i++) {
        void *memory = NULL;
        TRY(verify->ops->memory_create(verify->ops->context,
                                       (size_t)table->elements * sizeof(float), &memory));
        verify->device[i] = memory;
    }
    return STATUS_OK;
}

static enum status run_forward(struct verify *verify, act **hidden)
{
    struct op_segment *segments = NULL;
    TRY(make((void **)&segments, verify->sequences, sizeof(*segments)));
    enum status status = STATUS_OK;
    for (int32_t s = 0; s < verify->sequences; s++) {
        segments[s] =
            (struct op_segment){.slot = s, .row = verify->start[s], .count = verify->lengths[s]};
        TRY_GOTO(out, model_cache_open(verify->cache, s, verify->lengths[s]));
    }
    struct model_batch batch = {verify->rows, verify->ids, segments, verify->sequences};
    model_trace(verify->model, verify->trace_rows);
    TRY_GOTO(out,
             model_forward(verify->model, &verify->weights, verify->cache, &batch, true, hidden));
    model_trace(verify->model, NULL);
    struct model_head head = {
        .rows = verify->rows,
        .temperature = 1.0F,
        .target = verify->target,
        .logprob = verify->logprob,
        .entropy = verify->entropy,
        .logits = verify->logits,
    };
    TRY_GOTO(out, model_head(verify->model, &verify->weights, *hidden, &head));
out:
    memory_free(segments);
    return status;
}

static enum status compare_hidden(const struct verify *verify)
{
    const struct model_shape *shape = model_get_shape(verify->model);
    int64_t count = (int64_t)verify->lengths[0] * shape->hidden;
    bound(verify, VERIFY_HIDDEN, LOGIT_BOUND);
    for (int32_t k = 0; k <= shape->layers; k++) {
        char name[32];
        double *reference = NULL;
        (void)snprintf(name, sizeof(name), "hidden.0.%d", k);
        TRY(read_f64(verify, name, count, &reference));
        double largest = 0.0;
        for (int64_t i = 0; i < count; i++)
            largest = fmax(largest, fabs(reference[i]));
        /* The reference's last one is after the final norm. */
        const float *ours = verify->trace_rows[k < shape->layers ? k : k + 1];
        worst(verify, VERIFY_HIDDEN,
              max_difference(ours, reference, count) / (largest > 0.0 ? largest : 1.0), name);
        memory_free(reference);
    }
    return STATUS_OK;
}

static enum status compare_logits(const struct verify *verify)
{
    int64_t vocabulary = model_get_shape(verify->model)->vocabulary;
    bound(verify, VERIFY_LOGITS, LOGIT_BOUND);
    for (int32_t s = 0; s < verify->sequences; s++) {
        char name[32];
        double *reference = NULL;
        int64_t count = verify->lengths[s] * vocabulary;
        (void)snprintf(name, sizeof(name), "logits.%d", s);
        TRY(read_f64(verify, name, count, &reference));
        worst(verify, VERIFY_LOGITS,
              max_difference(verify->logits + verify->start[s] * vocabulary, reference, count),
              name);
        memory_free(reference);
    }
    return STATUS_OK;
}

static enum status compare_rows(const struct verify *verify)
{
    double *reference = NULL;
    TRY(make((void **)&reference, verify->rows, sizeof(double)));
    enum status status;
    TRY_GOTO(out, read_on_rows(verify, "logprob", reference));
    bound(verify, VERIFY_LOGPROB, LOGIT_BOUND);
    worst(verify, VERIFY_LOGPROB, max_difference(verify->logprob, reference, verify->rows), "");
    TRY_GOTO(out, read_on_rows(verify, "old_logprob", verify->old_logprob));
    TRY_GOTO(out, read_on_rows(verify, "is_ratio", reference));
    bound(verify, VERIFY_RATIO, 2.1e-5);
    for (int32_t t = 0; t < verify->rows; t++) {
        if (verify->target[t] < 0)
            continue;
        double ratio = exp((double)verify->logprob[t] - verify->old_logprob[t]);
        worst(verify, VERIFY_RATIO, fabs(ratio - reference[t]) / fmax(1.0, reference[t]), "");
    }
    memory_free(reference);
    reference = NULL;
    TRY_GOTO(out, read_f64(verify, "entropy", verify->rows, &reference));
    bound(verify, VERIFY_ENTROPY, 1e-4);
    worst(verify, VERIFY_ENTROPY, max_difference(verify->entropy, reference, verify->rows), "");
out:
    memory_free(reference);
    return status;
}

/* ---- loss ---- */

struct loss_inputs {
    float *logprob, *logprob_old, *advantage, *mask, *scale; /* device [rows] */
    float *ratio, *dlogprob;                                 /* device, out */
    uint8_t *clipped;                                        /* device, out */
    int32_t *start;                                          /* device [sequences + 1] */
};

/* Response tokens are logprob indexes >= prompt - 1; the case's loss is their mean. */
static double fill_loss(const struct verify *verify, float *columns)
{
    int32_t rows = verify->rows, trained = 0;
    double bound_sum = 0.0;
    float *old = columns, *advantage = columns + rows, *mask = columns + 2 * (int64_t)rows;
    float *scale = columns + 3 * (int64_t)rows;
    for (int32_t s = 0; s < verify->sequences; s++)
        for (int32_t t = verify->start[s]; t < verify->start[s + 1]; t++) {
            bool response =
                t + 1 < verify->start[s + 1] && t - verify->start[s] >= verify->prompts[s] - 1;
            old[t] = (float)verify->old_logprob[t];
            advantage[t] = (float)verify->advantage[s];
            mask[t] = response ? 1.0F : 0.0F;
            trained += response;
            if (response)
                bound_sum += exp((double)verify->logprob[t] - verify->old_logprob[t]) *
                             fabs(verify->advantage[s]) * (1.0 + fabs((double)verify->logprob[t]));
        }
    double mean = 1.0 / (trained > 0 ? trained : 1);
    for (int32_t t = 0; t < rows; t++)
        scale[t] = (float)mean;
    return LOGIT_BOUND * bound_sum * mean;
}

/* The policy_loss op on device copies: columns [old, advantage, mask, scale], each [rows]. */
static enum status run_loss(const struct verify *verify, const float *columns, char *device,
                            double weight_min, double weight_max, double *loss)
{
    const struct op_table *ops = verify->ops;
    size_t bytes = (size_t)verify->rows * sizeof(float);
    float *inputs = (float *)(void *)device, *outputs = inputs + 5 * (int64_t)verify->rows;
    int32_t *start = (int32_t *)(void *)(outputs + 3 * (int64_t)verify->rows);
    TRY(ops->memory_write(ops->context, inputs, verify->logprob, bytes));
    TRY(ops->memory_write(ops->context, inputs + verify->rows, columns, 4 * bytes));
    TRY(ops->memory_write(ops->context, start, verify->start,
                          (size_t)(verify->sequences + 1) * sizeof(int32_t)));
    TRY(ops->policy_loss(ops->context,
                         &(struct op_policy_loss){
                             .kind = POLICY_LOSS_CISPO,
                             .rows = verify->rows,
                             .sequences = verify->sequences,
                             .sequence_start = start,
                             .logprob = inputs,
                             .logprob_old = inputs + verify->rows,
                             .advantage = inputs + 2 * (int64_t)verify->rows,
                             .mask = inputs + 3 * (int64_t)verify->rows,
                             .scale = inputs + 4 * (int64_t)verify->rows,
                             .weight_min = (float)weight_min,
                             .weight_max = (float)weight_max,
                             .ratio = outputs,
                             .dlogprob = outputs + verify->rows,
                             .clipped = (uint8_t *)(outputs + 2 * (int64_t)verify->rows),
                             .loss = loss,
                         }));
    return ops->memory_read(ops->context, outputs + verify->rows, verify->dlogprob, bytes);
}

static enum status compare_loss(const struct verify *verify)
{
    double low = 0.0, high = 0.0, reference = 0.0, loss = 0.0;
    TRY(json_number(verify, verify->json, "eps_low", &low));
    TRY(json_number(verify, verify->json, "eps_high", &high));
    TRY(json_number(verify, verify->json, "loss_value", &reference));
    const struct op_table *ops = verify->ops;
    void *columns = NULL, *device = NULL;
    size_t bytes = ((size_t)verify->rows * 8 + (size_t)verify->sequences + 1) * sizeof(float);
    enum status status;
    TRY_GOTO(out, make(&columns, verify->rows * 4, sizeof(float)));
    TRY_GOTO(out, ops->memory_create(ops->context, bytes, &device));
    bound(verify, VERIFY_LOSS, fill_loss(verify, columns));
    TRY_GOTO(out, run_loss(verify, columns, device, 1.0 - low, 1.0 + high, &loss));
    worst(verify, VERIFY_LOSS, fabs(loss - reference), "");
out:
    if (device)
        ops->memory_destroy(ops->context, &device);
    memory_free(columns);
    return status;
}

/* ---- gradients and AdamW ---- */

/* A case names tensors as the checkpoint does, or as native transformers keeps them in memory: the
 * router as mlp.gate.weight, experts stacked as mlp.experts.gate_up_proj [E, 2F, C] (w1 rows, then w3
 * rows) and mlp.experts.down_proj [E, C, F]. Finds the values of a row of our table in either. */
static enum status find_row(const struct verify *verify, const char *prefix,
                            const struct parameter *row, const struct safetensor **tensor,
                            int64_t *first)
{
    char name[2 * PARAMETER_NAME_MAX];
    (void)snprintf(name, sizeof(name), "%s.%s", prefix, row->name);
    *first = 0;
    *tensor = safetensors_find(verify->file, name);
    const char *moe = strstr(row->name, "block_sparse_moe.");
    if (*tensor || !moe)
        return find(verify, name, row->count, tensor);
    int stem = (int)(moe - row->name), expert = 0;
    if (strcmp(moe, "block_sparse_moe.gate.weight") == 0) {
        (void)snprintf(name, sizeof(name), "%s.%.*smlp.gate.weight", prefix, stem, row->name);
        return find(verify, name, row->count, tensor);
    }
    const char *digits = moe + strlen("block_sparse_moe.experts.");
    char *end = NULL;
    expert = (int)strtol(digits, &end, 10);
    int part = end[0] == '.' && end[1] == 'w' ? end[2] - '0' : 0;
    int64_t experts = model_get_shape(verify->model)->experts;
    bool down = part == 2;
    (void)snprintf(name, sizeof(name), "%s.%.*smlp.experts.%s", prefix, stem, row->name,
                   down ? "down_proj" : "gate_up_proj");
    *first = down ? expert * row->count : (2 * expert + (part == 3)) * row->count;
    return find(verify, name, (down ? experts : 2 * experts) * row->count, tensor);
}

/* values [row->count] f64 of the case's tensor `prefix`.`row`. */
static enum status read_row(const struct verify *verify, const char *prefix,
                            const struct parameter *row, double **values)
{
    const struct safetensor *tensor = NULL;
    int64_t first = 0;
    TRY(find_row(verify, prefix, row, &tensor, &first));
    struct safetensor slice = *tensor;
    size_t item = tensor->size / (size_t)tensor->count;
    slice.count = row->count;
    slice.bytes = (const char *)tensor->bytes + (size_t)first * item;
    slice.size = (size_t)row->count * item;
    slice.dims = 1;
    slice.shape[0] = row->count;
    TRY(make((void **)values, row->count, sizeof(double)));
    return safetensor_to_f64(&slice, *values);
}

static enum status run_backward(const struct verify *verify, const act *hidden, float *ours)
{
    const struct op_table *ops = verify->ops;
    const struct parameter_table *table = model_parameters(verify->model);
    struct model_backward backward = {
        .rows = verify->rows,
        .temperature = 1.0F,
        .target = verify->target,
        .dlogprob = verify->dlogprob,
    };
    TRY(model_backward(verify->model, &verify->weights, hidden, &backward, verify->device[0]));
    return ops->memory_read(ops->context, verify->device[0], ours,
                            (size_t)table->elements * sizeof(float));
}

static enum status compare_gradient(const struct verify *verify, const struct parameter *row,
                                    const float *ours, double floor)
{
    double *reference = NULL;
    TRY(read_row(verify, "grad", row, &reference));
    double error = 0.0, norm = 0.0;
    for (int64_t i = 0; i < row->count; i++) {
        double difference = (double)ours[row->offset + i] - reference[i];
        error += difference * difference;
        norm += reference[i] * reference[i];
    }
    worst(verify, VERIFY_GRADIENT, sqrt(error) / fmax(sqrt(norm), floor), row->name);
    memory_free(reference);
    return STATUS_OK;
}

static enum status compare_grad_norm(const struct verify *verify, double reference)
{
    const struct op_table *ops = verify->ops;
    double sum = 0.0;
    int64_t non_finite = 0;
    TRY(ops->grad_norm(ops->context,
                       &(struct op_grad_norm){.count = model_parameters(verify->model)->elements,
                                              .grad = verify->device[0],
                                              .sum_squares = &sum,
                                              .non_finite = &non_finite}));
    bound(verify, VERIFY_GRAD_NORM, 1e-4);
    worst(verify, VERIFY_GRAD_NORM,
          non_finite > 0 ? NAN : fabs(sqrt(sum) - reference) / fmax(reference, 1e-30), "");
    return STATUS_OK;
}

static enum status compare_gradients(const struct verify *verify, const act *hidden)
{
    const struct parameter_table *table = model_parameters(verify->model);
    double norm = 0.0;
    float *ours = NULL;
    TRY(json_number(verify, verify->json, "grad_norm", &norm));
    TRY(make((void **)&ours, table->elements, sizeof(float)));
    enum status status;
    TRY_GOTO(out, run_backward(verify, hidden, ours));
    bound(verify, VERIFY_GRADIENT, 1e-3);
    /* A tensor whose gradient is 1e-5 of the whole (an expert nobody chose, a key bias) is held to
     * 1e-3 of that instead: its own norm is made of cancelled sums. */
    for (int64_t i = 0; i < table->count; i++)
        TRY_GOTO(out, compare_gradient(verify, &table->rows[i], ours, 1e-5 * norm));
    TRY_GOTO(out, compare_grad_norm(verify, norm));
out:
    memory_free(ours);
    return status;
}

struct adamw_case {
    double lr, beta1, beta2, eps, decay;
};

static enum status run_adamw(const struct verify *verify, const struct adamw_case *settings,
                             const float *grads, float *ours)
{
    const struct op_table *ops = verify->ops;
    int64_t count = model_parameters(verify->model)->elements;
    size_t bytes = (size_t)count * sizeof(float);
    void *moments = NULL;
    TRY(ops->memory_create(ops->context, 2 * bytes, &moments));
    float *m = moments;
    enum status status;
    TRY_GOTO(out, ops->memory_write(ops->context, verify->device[0], grads, bytes));
    TRY_GOTO(out, ops->memory_write(ops->context, verify->device[1], verify->flat, bytes));
    struct op_adamw args = {
        .count = count,
        .update = 1,
        .lr = settings->lr,
        .beta1 = settings->beta1,
        .beta2 = settings->beta2,
        .eps = settings->eps,
        .weight_decay = settings->decay,
        .grad_scale = 1.0,
        .parameter = verify->device[1],
        .m = m,
        .v = m + count,
        .grad = verify->device[0],
    };
    TRY_GOTO(out, ops->adamw(ops->context, &args));
    TRY_GOTO(out, ops->memory_read(ops->context, verify->device[1], ours, bytes));
out:
    ops->memory_destroy(ops->context, &moments);
    return status;
}

static enum status read_adamw(const struct verify *verify, struct adamw_case *settings)
{
    const json_t *object = json_object_get(verify->json, "adamw");
    TRY(json_number(verify, object, "lr", &settings->lr));
    TRY(json_number(verify, object, "beta1", &settings->beta1));
    TRY(json_number(verify, object, "beta2", &settings->beta2));
    TRY(json_number(verify, object, "eps", &settings->eps));
    return json_number(verify, object, "weight_decay", &settings->decay);
}

/* One step from the case's own gradients: with eps 1e-15 the first step is nearly lr * sign(g), so a
 * rounding of ours would show as twice the learning rate. */
static enum status compare_adamw(const struct verify *verify)
{
    const struct parameter_table *table = model_parameters(verify->model);
    struct adamw_case settings;
    TRY(read_adamw(verify, &settings));
    float *grads = NULL;
    double *values = NULL;
    TRY(make((void **)&grads, table->elements, sizeof(float)));
    enum status status = STATUS_OK;
    for (int64_t i = 0; i < table->count; i++) {
        const struct parameter *row = &table->rows[i];
        TRY_GOTO(out, read_row(verify, "grad", row, &values));
        for (int64_t j = 0; j < row->count; j++)
            grads[row->offset + j] = (float)values[j];
        memory_free(values);
        values = NULL;
    }
    TRY_GOTO(out, run_adamw(verify, &settings, grads, grads));
    bound(verify, VERIFY_ADAMW, 1e-6);
    for (int64_t i = 0; i < table->count; i++) {
        const struct parameter *row = &table->rows[i];
        TRY_GOTO(out, read_row(verify, "adamw1", row, &values));
        worst(verify, VERIFY_ADAMW, max_difference(grads + row->offset, values, row->count),
              row->name);
        memory_free(values);
        values = NULL;
    }
out:
    memory_free(values);
    memory_free(grads);
    return status;
}

/* ---- decode ---- */

/* One forward call of `count` tokens at `position` of `slot`, and the logits of all its rows. */
static enum status step(const struct verify *verify, int32_t slot, int32_t position, int32_t count,
                        const int32_t *ids, act **hidden, float *logits)
{
    struct op_segment segment = {slot, position, 0, count};
    struct model_batch batch = {count, ids, &segment, 1};
    TRY(model_forward(verify->model, &verify->weights, verify->cache, &batch, false, hidden));
    struct model_head head = {.rows = count, .temperature = 1.0F, .logits = logits};
    return model_head(verify->model, &verify->weights, *hidden, &head);
}

/* Decodes greedily after the prompt of sequence 0; the ids so far are in `ids`. */
static enum status decode(const struct verify *verify, const double *margin, int32_t *ids,
                          float *logits)
{
    int32_t prompt = verify->prompts[0], slot = verify->sequences;
    int64_t vocabulary = model_get_shape(verify->model)->vocabulary;
    double doubt = 4.0 * verify->report->result[VERIFY_LOGITS].error;
    bool same = true;
    TRY(model_cache_open(verify->cache, slot, verify->greedy_rows));
    for (int32_t t = 0; t + 1 < verify->greedy_rows; t = t == 0 ? prompt : t + 1) {
        int32_t count = t == 0 ? prompt : 1, last = t + count - 1;
        act *hidden = NULL;
        TRY(step(verify, slot, t, count, ids + t, &hidden, logits + t * vocabulary));
        if (last + 1 >= verify->greedy_rows)
            break;
        struct op_sample_row row = {.temperature = 0.0F, .top_p = 1.0F};
        int32_t index = count - 1;
        struct model_sample sample = {
            .rows = 1, .row_index = &index, .row = &row, .token = &ids[last + 1]};
        TRY(model_sample(verify->model, &verify->weights, hidden, &sample));
        same = same && margin[last + 1 - prompt] > doubt;
        if (!same)
            continue;
        verify->report->greedy_checked++;
        if (ids[last + 1] != verify->greedy[last + 1]) {
            char where[32];
            (void)snprintf(where, sizeof(where), "token %d", last + 1);
            worst(verify, VERIFY_GREEDY, 1.0, where);
            same = false;
        }
    }
    return STATUS_OK;
}

/* The decoded tokens as one prefill must give the bits of the decode steps. */
static enum status compare_decode(const struct verify *verify, const int32_t *ids,
                                  const float *logits, float *prefill)
{
    int32_t slot = verify->sequences + 1, count = verify->greedy_rows - 1;
    size_t row = (size_t)model_get_shape(verify->model)->vocabulary;
    act *hidden = NULL;
    TRY(model_cache_open(verify->cache, slot, verify->greedy_rows));
    TRY(step(verify, slot, 0, count, ids, &hidden, prefill));
    int32_t differ = 0;
    for (int32_t t = 0; t < count; t++)
        differ +=
            memcmp(logits + (size_t)t * row, prefill + (size_t)t * row, row * sizeof(float)) != 0;
    bound(verify, VERIFY_DECODE, 0.0);
    worst(verify, VERIFY_DECODE, differ, "");
    return STATUS_OK;
}

static enum status compare_greedy(const struct verify *verify)
{
    int32_t prompt = verify->prompts[0], rows = verify->greedy_rows;
    int64_t values = (int64_t)rows * model_get_shape(verify->model)->vocabulary;
    double *margin = NULL;
    int32_t *ids = NULL;
    float *logits = NULL, *prefill = NULL;
    enum status status;
    verify->report->greedy_count = rows - prompt;
    if (rows == prompt)
        return STATUS_OK;
    TRY_GOTO(out, read_f64(verify, "greedy_margin", rows - prompt, &margin));
    TRY_GOTO(out, make((void **)&ids, rows, sizeof(*ids)));
    TRY_GOTO(out, make((void **)&logits, values, sizeof(*logits)));
    TRY_GOTO(out, make((void **)&prefill, values, sizeof(*prefill)));
    memcpy(ids, verify->greedy, (size_t)prompt * sizeof(*ids));
    bound(verify, VERIFY_GREEDY, 0.0);
    TRY_GOTO(out, decode(verify, margin, ids, logits));
    TRY_GOTO(out, compare_decode(verify, ids, logits, prefill));
out:
    memory_free(margin);
    memory_free(ids);
    memory_free(logits);
    memory_free(prefill);
    return status;
}

/* ---- a case ---- */

static void verify_close(struct verify *verify)
{
    for (int32_t i = 0; i < 2; i++) {
        void *memory = verify->device[i];
        if (memory)
            verify->ops->memory_destroy(verify->ops->context, &memory);
    }
    model_cache_destroy(&verify->cache);
    if (verify->model)
        model_weights_destroy(verify->model, &verify->weights);
    model_destroy(&verify->model);
    safetensors_close(&verify->file);
    json_decref(verify->json);
    void *owned[] = {verify->lengths, verify->prompts,     verify->ids,       verify->greedy,
                     verify->start,   verify->advantage,   verify->flat,      verify->logprob,
                     verify->entropy, verify->logits,      verify->target,    verify->dlogprob,
                     verify->trace,   verify->old_logprob, verify->trace_rows};
    for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
        memory_free(owned[i]);
}

static enum status run_case(struct verify *verify, const struct model_shape *shape)
{
    act *hidden = NULL;
    TRY(read_case(verify));
    verify->report->tokens = verify->rows;
    TRY(make_model(verify, shape));
    TRY(run_forward(verify, &hidden));
    TRY(compare_hidden(verify));
    TRY(compare_logits(verify));
    TRY(compare_rows(verify));
    TRY(compare_loss(verify));
    TRY(compare_gradients(verify, hidden));
    TRY(compare_adamw(verify));
    return compare_greedy(verify);
}

enum status verify_shape(const char *folder, const struct model_shape *shape,
                         const struct op_table *ops, struct verify_report *report)
{
    *report = (struct verify_report){0};
    struct verify verify = {.folder = folder, .report = report, .ops = ops};
    enum status status = run_case(&verify, shape);
    verify_close(&verify);
    report->passed = status == STATUS_OK;
    for (int i = 0; i < VERIFY_COUNT; i++)
        if (!(report->result[i].error <= report->result[i].bound))
            report->passed = false;
    return status;
}

enum status verify_case(const char *folder, int32_t threads, struct verify_report *report)
{
    char path[FILE_PATH_MAX];
    struct model_shape shape;
    struct op_table *ops = NULL;
    *report = (struct verify_report){0};
    TRY(file_path(path, "%s/config.json", folder));
    TRY(model_shape_load(&shape, path));
    TRY(op_table_create_cpu(&ops, threads));
    enum status status = verify_shape(folder, &shape, ops, report);
    op_table_destroy(&ops);
    return status;
}

/* ---- the command ---- */

static void print_report(const char *folder, const struct verify_report *report, FILE *out)
{
    (void)fprintf(out, "%s: %d tokens, %d of %d greedy steps compared\n", folder, report->tokens,
                  report->greedy_checked, report->greedy_count);
    for (int i = 0; i < VERIFY_COUNT; i++) {
        const struct verify_result *result = &report->result[i];
        bool within = result->error <= result->bound;
        (void)fprintf(out, "  %-10s %10.3g  bound %10.3g  %s  %s\n", check_names[i], result->error,
                      result->bound, within ? "ok    " : "BROKEN", result->where);
    }
}

static int usage(FILE *out, const char *problem)
{
    (void)fprintf(out, "%s\nusage: verify [--threads N] CASE_DIR...\n", problem);
    return 2;
}

int verify_main(int argc, char **argv, FILE *out)
{
    int32_t threads = 2;
    int first = 1, worst_result = 0;
    if (argc > 2 && strcmp(argv[1], "--threads") == 0) {
        char *end = NULL;
        long value = strtol(argv[2], &end, 10);
        if (*argv[2] == '\0' || *end != '\0' || value < 1 || value > 64)
            return usage(out, "--threads takes a number from 1 to 64");
        threads = (int32_t)value;
        first = 3;
    }
    if (first >= argc)
        return usage(out, "no case folder given");
    for (int i = first; i < argc; i++) {
        struct verify_report report;
        int result = 2;
        if (verify_case(argv[i], threads, &report) != STATUS_OK) {
            (void)fprintf(out, "%s: %s\n", argv[i], status_last_error());
        } else {
            print_report(argv[i], &report, out);
            result = report.passed ? 0 : 1;
        }
        worst_result = result > worst_result ? result : worst_result;
    }
    return worst_result;
}
