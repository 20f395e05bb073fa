/* kernels/cpu/op_activation.c - elementwise ops: SiLU, gated units, the output gate, residual sums.
 *
 * Every element goes through the same sixteen-lane code, the last ones in a padded vector, so its bits
 * do not depend on where it stands. Loads come before stores: outputs may be inputs. */
#include "kernels/cpu/fused.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/spans.h"
#include "kernels/cpu/vector.h"

static int64_t vectors(int64_t count)
{
    return (count + V16 - 1) / V16;
}

/* d SiLU(x) / dx with s = sigmoid(x) */
static v16 silu_slope(v16 x, v16 s)
{
    return s * (v16_set(1) + x * (v16_set(1) - s));
}

/* f(x) and f'(x) of a gate. GELU's polynomial sees x within [-12, 12]: beyond that the sigmoid is 0
 * or 1 in f32, and x^2 cannot overflow. */
static inline v16 gate_value(v16 x, enum glu_gate gate, v16 *slope)
{
    if (gate == GLU_SILU) {
        v16 s = v16_sigmoid(x);
        *slope = silu_slope(x, s);
        return x * s;
    }
    const v16 c = v16_min(v16_max(x, v16_set(-12)), v16_set(12));
    const v16 square = c * c;
    /* 2 sqrt(2 / pi) = 1.595769..., times 0.044715 = 0.0713548..., times 3 */
    const v16 twice = c * (v16_set(1.5957691216F) + v16_set(0.0713548162726F) * square);
    const v16 power = v16_exp(-twice), s = v16_set(1) / (v16_set(1) + power);
    const v16 steep = v16_set(1.5957691216F) + v16_set(0.2140644488178F) * square;
    *slope = s * (v16_set(1) + x * (power * s) * steep); /* 1 - s without its cancellation */
    return x * s;
}

/* ---- spans: begin and end count vectors ----------------------------------------------------------- */
static void silu_span(const void *argument, int64_t begin, int64_t end)
{
    const struct op_silu *args = argument;
    const float *x = args->x;
    float *y = args->y;
    for (int64_t i = begin * V16; i < end * V16; i += V16) {
        int64_t n = args->count - i;
        v16 x_i = v16_load_tail(x + i, n, 0);
        v16_store_tail(y + i, x_i * v16_sigmoid(x_i), n);
    }
}

static void silu_backward_span(const void *argument, int64_t begin, int64_t end)
{
    const struct op_silu_backward *args = argument;
    const float *x = args->x;
    const float *dy = args->dy;
    float *dx = args->dx;
    for (int64_t i = begin * V16; i < end * V16; i += V16) {
        int64_t n = args->count - i;
        v16 x_i = v16_load_tail(x + i, n, 0);
        v16 slope = silu_slope(x_i, v16_sigmoid(x_i));
        v16_store_tail(dx + i, v16_load_tail(dy + i, n, 0) * slope, n);
    }
}

static void gate_span(const void *argument, int64_t begin, int64_t end)
{
    const struct op_gate *args = argument;
    const float *x = args->x;
    const float *z = args->z;
    float *y = args->y;
    for (int64_t i = begin * V16; i < end * V16; i += V16) {
        int64_t n = args->count - i;
        v16 s = v16_sigmoid(v16_load_tail(z + i, n, 0));
        v16_store_tail(y + i, s * v16_load_tail(x + i, n, 0), n);
    }
}

static void gate_backward_span(const void *argument, int64_t begin, int64_t end)
{
    const struct op_gate_backward *args = argument;
    const float *x = args->x;
    const float *z = args->z;
    const float *dy = args->dy;
    float *dz = args->dz;
    float *dx = args->dx;
    for (int64_t i = begin * V16; i < end * V16; i += V16) {
        int64_t n = args->count - i;
        v16 s = v16_sigmoid(v16_load_tail(z + i, n, 0));
        v16 x_i = v16_load_tail(x + i, n, 0);
        v16 dx_i = v16_load_tail(dy + i, n, 0) * s;
        v16_store_tail(dz + i, dx_i * x_i * (v16_set(1) - s), n);
        v16_store_tail(dx + i, dx_i, n);
    }
}

static void axpby_span(const void *argument, int64_t begin, int64_t end)
{
    const struct op_axpby *args = argument;
    const float *a = args->a;
    const float *b = args->b;
    float *y = args->y;
    v16 alpha = v16_set(args->alpha);
    v16 beta = v16_set(args->beta);
    for (int64_t i = begin * V16; i < end * V16; i += V16) {
        int64_t n = args->count - i;
        v16 sum = alpha * v16_load_tail(a + i, n, 0);
        if (args->beta != 0)
            sum = v16_fused(beta, v16_load_tail(b + i, n, 0), sum);
        v16_store_tail(y + i, sum, n);
    }
}

/* ---- spans of rows -------------------------------------------------------------------------------- */
static void swiglu_rows(const void *argument, int64_t begin, int64_t end)
{
    const struct op_swiglu *args = argument;
    for (int64_t t = begin; t < end; t++) {
        const float *gate = (const float *)args->gate_up + 2 * t * args->channels;
        const float *up = gate + args->channels;
        float *y = (float *)args->y + t * args->channels;
        for (int64_t c = 0; c < args->channels; c += V16) {
            int64_t n = args->channels - c;
            v16 g = v16_load_tail(gate + c, n, 0);
            v16 u = v16_load_tail(up + c, n, 0);
            v16 slope; /* not used: never computed */
            v16_store_tail(y + c, gate_value(g, args->gate, &slope) * u, n);
        }
    }
}

static void swiglu_backward_rows(const void *argument, int64_t begin, int64_t end)
{
    const struct op_swiglu_backward *args = argument;
    for (int64_t t = begin; t < end; t++) {
        const float *gate = (const float *)args->gate_up + 2 * t * args->channels;
        const float *up = gate + args->channels;
        const float *dy = (const float *)args->dy + t * args->channels;
        float *dgate = (float *)args->dgate_up + 2 * t * args->channels;
        float *dup = dgate + args->channels;
        for (int64_t c = 0; c < args->channels; c += V16) {
            int64_t n = args->channels - c;
            v16 g = v16_load_tail(gate + c, n, 0);
            v16 u = v16_load_tail(up + c, n, 0);
            v16 dy_c = v16_load_tail(dy + c, n, 0);
            v16 slope;
            v16 f = gate_value(g, args->gate, &slope);
            v16_store_tail(dgate + c, dy_c * u * slope, n);
            v16_store_tail(dup + c, dy_c * f, n);
        }
    }
}

/* ---- ops ------------------------------------------------------------------------------------------ */
enum status CPU_NAME(silu)(void *context, const struct op_silu *args)
{
    spans_run(context, silu_span, args, vectors(args->count), 4 * V16);
    return STATUS_OK;
}

enum status CPU_NAME(silu_backward)(void *context, const struct op_silu_backward *args)
{
    spans_run(context, silu_backward_span, args, vectors(args->count), 4 * V16);
    return STATUS_OK;
}

enum status CPU_NAME(swiglu)(void *context, const struct op_swiglu *args)
{
    spans_run(context, swiglu_rows, args, args->rows, 4 * args->channels);
    return STATUS_OK;
}

enum status CPU_NAME(swiglu_backward)(void *context, const struct op_swiglu_backward *args)
{
    spans_run(context, swiglu_backward_rows, args, args->rows, 4 * args->channels);
    return STATUS_OK;
}

enum status CPU_NAME(gate)(void *context, const struct op_gate *args)
{
    spans_run(context, gate_span, args, vectors(args->count), 4 * V16);
    return STATUS_OK;
}

enum status CPU_NAME(gate_backward)(void *context, const struct op_gate_backward *args)
{
    spans_run(context, gate_backward_span, args, vectors(args->count), 4 * V16);
    return STATUS_OK;
}

enum status CPU_NAME(axpby)(void *context, const struct op_axpby *args)
{
    spans_run(context, axpby_span, args, vectors(args->count), V16);
    return STATUS_OK;
}
