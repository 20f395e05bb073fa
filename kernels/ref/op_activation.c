/* kernels/ref/op_activation.c - elementwise ops: SiLU, gated units, the sigmoid gate, residual sums. */
#include "kernels/ref/ref.h"

#include <math.h>

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double silu_slope(double x)
{
    double s = sigmoid(x);
    return s * (1.0 + x * (1.0 - s));
}

/* f(x) and f'(x) of a gate. */
struct gate_value {
    double f, slope;
};
static struct gate_value gate_of(double x, enum glu_gate gate)
{
    if (gate == GLU_SILU)
        return (struct gate_value){x * sigmoid(x), silu_slope(x)};
    double root = sqrt(2.0 / acos(-1.0)), u = root * (x + 0.044715 * x * x * x);
    double du = root * (1.0 + 3.0 * 0.044715 * x * x), t = tanh(u);
    return (struct gate_value){0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * du};
}

enum status ref_silu(void *context, const struct op_silu *args)
{
    (void)context;
    const float *x = args->x;
    float *y = args->y;
    for (int64_t i = 0; i < args->count; i++)
        y[i] = (float)((double)x[i] * sigmoid((double)x[i]));
    return STATUS_OK;
}

enum status ref_silu_backward(void *context, const struct op_silu_backward *args)
{
    (void)context;
    const float *x = args->x, *dy = args->dy;
    float *dx = args->dx;
    for (int64_t i = 0; i < args->count; i++)
        dx[i] = (float)((double)dy[i] * silu_slope((double)x[i]));
    return STATUS_OK;
}

enum status ref_swiglu(void *context, const struct op_swiglu *args)
{
    (void)context;
    const float *gate_up = args->gate_up;
    float *y = args->y;
    for (int64_t t = 0; t < args->rows; t++)
        for (int64_t c = 0; c < args->channels; c++) {
            double gate = (double)gate_up[t * 2 * args->channels + c];
            double up = (double)gate_up[t * 2 * args->channels + args->channels + c];
            y[t * args->channels + c] = (float)(gate_of(gate, args->gate).f * up);
        }
    return STATUS_OK;
}

enum status ref_swiglu_backward(void *context, const struct op_swiglu_backward *args)
{
    (void)context;
    const float *gate_up = args->gate_up, *dy = args->dy;
    float *dgate_up = args->dgate_up;
    for (int64_t t = 0; t < args->rows; t++)
        for (int64_t c = 0; c < args->channels; c++) {
            int64_t at_gate = t * 2 * args->channels + c, at_up = at_gate + args->channels;
            double gate = (double)gate_up[at_gate], up = (double)gate_up[at_up];
            double d = (double)dy[t * args->channels + c];
            struct gate_value value = gate_of(gate, args->gate);
            dgate_up[at_gate] = (float)(d * up * value.slope);
            dgate_up[at_up] = (float)(d * value.f);
        }
    return STATUS_OK;
}

enum status ref_gate(void *context, const struct op_gate *args)
{
    (void)context;
    const float *z = args->z, *x = args->x;
    float *y = args->y;
    for (int64_t i = 0; i < args->count; i++)
        y[i] = (float)(sigmoid((double)z[i]) * (double)x[i]);
    return STATUS_OK;
}

enum status ref_gate_backward(void *context, const struct op_gate_backward *args)
{
    (void)context;
    const float *z = args->z, *x = args->x, *dy = args->dy;
    float *dz = args->dz, *dx = args->dx;
    for (int64_t i = 0; i < args->count; i++) {
        double s = sigmoid((double)z[i]), d = (double)dy[i], x_i = (double)x[i];
        dx[i] = (float)(d * s);
        dz[i] = (float)(d * x_i * s * (1.0 - s));
    }
    return STATUS_OK;
}

enum status ref_axpby(void *context, const struct op_axpby *args)
{
    (void)context;
    const float *a = args->a, *b = args->b;
    float *y = args->y;
    for (int64_t i = 0; i < args->count; i++) {
        double sum = (double)args->alpha * (double)a[i];
        if (args->beta != 0.0f)
            sum += (double)args->beta * (double)b[i];
        y[i] = (float)sum;
    }
    return STATUS_OK;
}
