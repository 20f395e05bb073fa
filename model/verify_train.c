/* model/verify_train.c - the training side of `weir verify`: policy loss, gradients, AdamW. Bounds and
 * their reasons: model/verify.c. */
#include "model/verify_case.h"

#include <math.h>

#include "core/memory.h"

/* ---- loss ---- */

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
    return verify->allowed.logprob * bound_sum * mean;
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

enum status verify_loss(const struct verify *verify)
{
    double low = 0.0, high = 0.0, reference = 0.0, loss = 0.0;
    TRY(case_number(verify, verify->json, "eps_low", &low));
    TRY(case_number(verify, verify->json, "eps_high", &high));
    TRY(case_number(verify, verify->json, "loss_value", &reference));
    const struct op_table *ops = verify->ops;
    void *columns = NULL, *device = NULL;
    size_t bytes = ((size_t)verify->rows * 8 + (size_t)verify->sequences + 1) * sizeof(float);
    enum status status;
    TRY_GOTO(out, case_make(&columns, verify->rows * 4, sizeof(float)));
    TRY_GOTO(out, ops->memory_create(ops->context, bytes, &device));
    verify_bound(verify, VERIFY_LOSS, fill_loss(verify, columns));
    TRY_GOTO(out, run_loss(verify, columns, device, 1.0 - low, 1.0 + high, &loss));
    verify_worst(verify, VERIFY_LOSS, fabs(loss - reference), "");
out:
    if (device)
        ops->memory_destroy(ops->context, &device);
    memory_free(columns);
    return status;
}

/* ---- gradients and AdamW ---- */

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
    TRY(case_row(verify, "grad", row, &reference));
    double error = 0.0, norm = 0.0;
    for (int64_t i = 0; i < row->count; i++) {
        double difference = (double)ours[row->offset + i] - reference[i];
        error += difference * difference;
        norm += reference[i] * reference[i];
    }
    verify_worst(verify, VERIFY_GRADIENT, sqrt(error) / fmax(sqrt(norm), floor), row->name);
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
    verify_bound(verify, VERIFY_GRAD_NORM, verify->allowed.grad_norm);
    verify_worst(verify, VERIFY_GRAD_NORM,
                 non_finite > 0 ? NAN : fabs(sqrt(sum) - reference) / fmax(reference, 1e-30), "");
    return STATUS_OK;
}

enum status verify_gradients(const struct verify *verify, const act *hidden)
{
    const struct parameter_table *table = model_parameters(verify->model);
    double norm = 0.0;
    float *ours = NULL;
    TRY(case_number(verify, verify->json, "grad_norm", &norm));
    TRY(case_make((void **)&ours, table->elements, sizeof(float)));
    enum status status;
    TRY_GOTO(out, run_backward(verify, hidden, ours));
    verify_bound(verify, VERIFY_GRADIENT, verify->allowed.gradient);
    /* A tensor whose gradient is 1e-5 of the whole (an expert nobody chose, a key bias) is held to the bound times
     * that instead: its own norm is made of cancelled sums. In bf16 such a sum keeps the roundings of its terms,
     * so the floor is one of them (2^-9). */
    double floor = verify->ops->act_bytes == (int64_t)sizeof(float) ? 1e-5 : 0x1p-9;
    for (int64_t i = 0; i < table->count; i++)
        TRY_GOTO(out, compare_gradient(verify, &table->rows[i], ours, floor * norm));
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
    TRY(case_number(verify, object, "lr", &settings->lr));
    TRY(case_number(verify, object, "beta1", &settings->beta1));
    TRY(case_number(verify, object, "beta2", &settings->beta2));
    TRY(case_number(verify, object, "eps", &settings->eps));
    return case_number(verify, object, "weight_decay", &settings->decay);
}

/* One step from the case's own gradients: with eps 1e-15 the first step is nearly lr * sign(g), so a
 * rounding of ours would show as twice the learning rate. */
enum status verify_adamw(const struct verify *verify)
{
    const struct parameter_table *table = model_parameters(verify->model);
    struct adamw_case settings;
    TRY(read_adamw(verify, &settings));
    float *grads = NULL;
    double *values = NULL;
    TRY(case_make((void **)&grads, table->elements, sizeof(float)));
    enum status status = STATUS_OK;
    for (int64_t i = 0; i < table->count; i++) {
        const struct parameter *row = &table->rows[i];
        TRY_GOTO(out, case_row(verify, "grad", row, &values));
        for (int64_t j = 0; j < row->count; j++)
            grads[row->offset + j] = (float)values[j];
        memory_free(values);
        values = NULL;
    }
    TRY_GOTO(out, run_adamw(verify, &settings, grads, grads));
    verify_bound(verify, VERIFY_ADAMW, 1e-6);
    for (int64_t i = 0; i < table->count; i++) {
        const struct parameter *row = &table->rows[i];
        TRY_GOTO(out, case_row(verify, "adamw1", row, &values));
        verify_worst(verify, VERIFY_ADAMW,
                     verify_difference(grads + row->offset, values, row->count), row->name);
        memory_free(values);
        values = NULL;
    }
out:
    memory_free(values);
    memory_free(grads);
    return status;
}
