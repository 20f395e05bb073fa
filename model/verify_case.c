/* model/verify_case.c - reading a reference case: its tensors and numbers, checked and named when they
 * are missing, and the two ways in which a case names the tensors of a mixture of experts. */
#include "model/verify_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"

enum status case_find(const struct verify *verify, const char *name, int64_t count,
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

enum status case_make(void **array, int64_t count, size_t item_bytes)
{
    *array = memory_array((size_t)(count > 0 ? count : 1), item_bytes);
    return *array ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "verify: %lld values", (long long)count);
}

static enum status case_i32(const struct verify *verify, const char *name, int32_t **values,
                            int32_t *count)
{
    const struct safetensor *tensor = NULL;
    TRY(case_find(verify, name, -1, &tensor));
    if (tensor->count > INT32_MAX)
        return FAIL(STATUS_LIMIT, "%s: tensor %s is too long", verify->folder, name);
    TRY(case_make((void **)values, tensor->count, sizeof(int32_t)));
    *count = (int32_t)tensor->count;
    return safetensor_to_i32(tensor, *values);
}

enum status case_f64(const struct verify *verify, const char *name, int64_t count, double **values)
{
    const struct safetensor *tensor = NULL;
    TRY(case_find(verify, name, count, &tensor));
    TRY(case_make((void **)values, tensor->count, sizeof(double)));
    return safetensor_to_f64(tensor, *values);
}

enum status case_number(const struct verify *verify, const json_t *object, const char *key,
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
    TRY(case_make((void **)&verify->start, verify->sequences + 1, sizeof(int32_t)));
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

enum status case_read(struct verify *verify)
{
    char path[FILE_PATH_MAX];
    int32_t prompts = 0;
    TRY(read_case_json(verify));
    TRY(file_path(path, "%s/case.safetensors", verify->folder));
    TRY(safetensors_open(&verify->file, path));
    TRY(case_i32(verify, "input_ids", &verify->ids, &verify->rows));
    TRY(case_i32(verify, "seq_lens", &verify->lengths, &verify->sequences));
    TRY(case_i32(verify, "prompt_lens", &verify->prompts, &prompts));
    TRY(case_i32(verify, "greedy_ids", &verify->greedy, &verify->greedy_rows));
    TRY(check_sequences(verify, prompts));
    TRY(case_f64(verify, "advantage", verify->sequences, &verify->advantage));
    int32_t rows = verify->rows;
    TRY(case_make((void **)&verify->logprob, rows, sizeof(float)));
    TRY(case_make((void **)&verify->entropy, rows, sizeof(float)));
    TRY(case_make((void **)&verify->dlogprob, rows, sizeof(float)));
    TRY(case_make((void **)&verify->old_logprob, rows, sizeof(double)));
    TRY(case_make((void **)&verify->target, rows, sizeof(int32_t)));
    for (int32_t s = 0; s < verify->sequences; s++)
        for (int32_t t = verify->start[s]; t < verify->start[s + 1]; t++)
            verify->target[t] = t + 1 < verify->start[s + 1] ? verify->ids[t + 1] : -1;
    return STATUS_OK;
}

/* Values packed L - 1 a sequence (logprob, old_logprob, is_ratio) put on their rows. */
enum status case_on_rows(const struct verify *verify, const char *name, double *on_rows)
{
    double *packed = NULL;
    TRY(case_f64(verify, name, verify->rows - verify->sequences, &packed));
    int32_t from = 0;
    for (int32_t s = 0; s < verify->sequences; s++)
        for (int32_t t = verify->start[s]; t + 1 < verify->start[s + 1]; t++)
            on_rows[t] = packed[from++];
    memory_free(packed);
    return STATUS_OK;
}

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
        return case_find(verify, name, row->count, tensor);
    int stem = (int)(moe - row->name), expert = 0;
    if (strcmp(moe, "block_sparse_moe.gate.weight") == 0) {
        (void)snprintf(name, sizeof(name), "%s.%.*smlp.gate.weight", prefix, stem, row->name);
        return case_find(verify, name, row->count, tensor);
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
    return case_find(verify, name, (down ? experts : 2 * experts) * row->count, tensor);
}

/* values [row->count] f64 of the case's tensor `prefix`.`row`. */
enum status case_row(const struct verify *verify, const char *prefix, const struct parameter *row,
                     double **values)
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
    TRY(case_make((void **)values, row->count, sizeof(double)));
    return safetensor_to_f64(&slice, *values);
}

/* ---- results ---- */

void verify_bound(const struct verify *verify, enum verify_check check, double value)
{
    verify->report->result[check].bound = value;
}

void verify_worst(const struct verify *verify, enum verify_check check, double error,
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

double verify_difference(const float *ours, const double *reference, int64_t count)
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

/* ---- the end ---- */

void case_close(struct verify *verify)
{
    for (int32_t l = 0; verify->routing && l < model_get_shape(verify->model)->layers; l++)
        memory_free(verify->routing[l]);
    memory_free(verify->routing);
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
