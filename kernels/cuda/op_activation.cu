/* kernels/cuda/op_activation.cu - elementwise ops: SiLU, gated units, the sigmoid gate, residual sums.
 *
 * All are bound by memory. A thread has 8 consecutive elements: it reads all its inputs, then writes, so that outputs
 * may be inputs. 16-byte accesses where the pointers allow it; the arithmetic does not depend on that. */
#include "kernels/cuda/early.cuh"
#include "kernels/cuda/norm.cuh"

enum { CHUNK = 8, THREADS = 128 };

/* 1 / (1 + exp(-x)). f32 storage: within a few ulp. bf16 storage: about 2^-20, far below the rounding of the result. */
template <typename T> static __device__ __forceinline__ float sigmoid(float x);
template <> __device__ __forceinline__ float sigmoid<float>(float x)
{
    return __fdiv_rn(1.0f, __fadd_rn(1.0f, expf(-x)));
}
template <> __device__ __forceinline__ float sigmoid<bf16>(float x)
{
    float power, inverse; /* exp(-x) = 2^(-x log2 e); infinity gives 0 */
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(__fmul_rn(x, -1.4426950408889634f)));
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(__fadd_rn(1.0f, power)));
    return inverse;
}
/* SiLU'(x) = s (1 + x (1 - s)) */
static __device__ __forceinline__ float silu_slope(float x, float s)
{
    return __fmul_rn(s, __fmaf_rn(x, __fadd_rn(1.0f, -s), 1.0f));
}

/* f(x) of a gate and f'(x) (kernels/ops.h). GELU's polynomial sees x within [-12, 12]: beyond that the sigmoid is 0 or 1
 * in f32, and x^2 cannot overflow. */
struct gate_value {
    float f, slope;
};
template <typename T>
static __device__ __forceinline__ struct gate_value gate_value_of(float x, enum glu_gate gate)
{
    struct gate_value value;
    if (gate == GLU_SILU) {
        float s = sigmoid<T>(x);
        value.f = __fmul_rn(x, s);
        value.slope = silu_slope(x, s);
        return value;
    }
    float c = fminf(fmaxf(x, -12.0f), 12.0f), square = __fmul_rn(c, c);
    float twice = __fmul_rn(c, __fmaf_rn(0.0713548162726f, square, 1.5957691216f));
    float s = sigmoid<T>(twice), rest = sigmoid<T>(-twice); /* 1 - s without its cancellation */
    float steep = __fmaf_rn(0.2140644488178f, square, 1.5957691216f);
    value.f = __fmul_rn(x, s);
    value.slope = __fmul_rn(s, __fmaf_rn(__fmul_rn(x, rest), steep, 1.0f));
    return value;
}

static bool aligned_16(const void *at)
{
    return (uintptr_t)at % 16 == 0;
}

/* ---- one index: INPUTS arrays in, OUTPUTS out; formula(in, out) on the values of one element ---- */
template <typename T, int INPUTS, int OUTPUTS> struct flat_job {
    int64_t count;
    bool whole;
    const T *in[INPUTS];
    T *out[OUTPUTS];
};

template <bool WHOLE, typename T, int INPUTS, int OUTPUTS, typename FORMULA>
static __device__ __forceinline__ void flat_chunk(const flat_job<T, INPUTS, OUTPUTS> &job,
                                                  const FORMULA &formula, int64_t at, int64_t left)
{
    float in[INPUTS][CHUNK], out[OUTPUTS][CHUNK];
#pragma unroll
    for (int i = 0; i < INPUTS; i++)
        load_some<T, CHUNK>(in[i], job.in[i] + at, left, WHOLE);
#pragma unroll
    for (int e = 0; e < CHUNK; e++) {
        float from[INPUTS], to[OUTPUTS];
#pragma unroll
        for (int i = 0; i < INPUTS; i++)
            from[i] = in[i][e];
        formula(from, to);
#pragma unroll
        for (int i = 0; i < OUTPUTS; i++)
            out[i][e] = to[i];
    }
#pragma unroll
    for (int i = 0; i < OUTPUTS; i++)
        store_some<T, CHUNK>(job.out[i] + at, out[i], left, WHOLE);
}
template <typename T, int INPUTS, int OUTPUTS, typename FORMULA>
static __global__ void __launch_bounds__(THREADS)
    flat_kernel(const flat_job<T, INPUTS, OUTPUTS> job, FORMULA formula)
{
    int64_t at = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * CHUNK, left = job.count - at;
    early_wait();
    early_release();
    if (left >= CHUNK && job.whole)
        flat_chunk<true>(job, formula, at, left);
    else if (left > 0)
        flat_chunk<false>(job, formula, at, left);
}

template <typename T, int INPUTS, int OUTPUTS, typename FORMULA>
static enum status flat_run(struct cuda_context *cuda, const char *name,
                            flat_job<T, INPUTS, OUTPUTS> job, FORMULA formula)
{
    job.whole = true;
    for (int i = 0; i < INPUTS; i++)
        job.whole = job.whole && aligned_16(job.in[i]);
    for (int i = 0; i < OUTPUTS; i++)
        job.whole = job.whole && aligned_16(job.out[i]);
    launch_early(flat_kernel<T, INPUTS, OUTPUTS, FORMULA>, cuda_blocks(job.count, THREADS * CHUNK),
                 THREADS, 0, cuda, job, formula);
    return cuda_launched(name);
}

template <typename T> struct silu_formula {
    __device__ void operator()(const float *in, float *out) const
    {
        out[0] = __fmul_rn(in[0], sigmoid<T>(in[0]));
    }
};
template <typename T> struct silu_backward_formula { /* x, dy */
    __device__ void operator()(const float *in, float *out) const
    {
        out[0] = __fmul_rn(in[1], silu_slope(in[0], sigmoid<T>(in[0])));
    }
};
template <typename T> struct gate_formula { /* z, x */
    __device__ void operator()(const float *in, float *out) const
    {
        out[0] = __fmul_rn(sigmoid<T>(in[0]), in[1]);
    }
};
template <typename T> struct gate_backward_formula { /* z, x, dy to dz, dx */
    __device__ void operator()(const float *in, float *out) const
    {
        float s = sigmoid<T>(in[0]), dx = __fmul_rn(in[2], s);
        out[0] = __fmul_rn(__fmul_rn(dx, in[1]), __fadd_rn(1.0f, -s));
        out[1] = dx;
    }
};
struct axpby_formula {
    float alpha, beta;
    __device__ void operator()(const float *in, float *out) const
    {
        out[0] = axpby_value(alpha, in[0], beta, in[1]);
    }
};
struct scale_formula { /* beta = 0 */
    float alpha;
    __device__ void operator()(const float *in, float *out) const
    {
        out[0] = axpby_value(alpha, in[0], 0.0f, 0.0f);
    }
};

template <typename T> static enum status silu(struct cuda_context *cuda, const struct op_silu *args)
{
    flat_job<T, 1, 1> job = {args->count, false, {(const T *)args->x}, {(T *)args->y}};
    return flat_run(cuda, "silu", job, silu_formula<T>());
}

template <typename T>
static enum status silu_backward(struct cuda_context *cuda, const struct op_silu_backward *args)
{
    flat_job<T, 2, 1> job = {
        args->count, false, {(const T *)args->x, (const T *)args->dy}, {(T *)args->dx}};
    return flat_run(cuda, "silu_backward", job, silu_backward_formula<T>());
}

template <typename T> static enum status gate(struct cuda_context *cuda, const struct op_gate *args)
{
    flat_job<T, 2, 1> job = {
        args->count, false, {(const T *)args->z, (const T *)args->x}, {(T *)args->y}};
    return flat_run(cuda, "gate", job, gate_formula<T>());
}

template <typename T>
static enum status gate_backward(struct cuda_context *cuda, const struct op_gate_backward *args)
{
    flat_job<T, 3, 2> job = {args->count,
                             false,
                             {(const T *)args->z, (const T *)args->x, (const T *)args->dy},
                             {(T *)args->dz, (T *)args->dx}};
    return flat_run(cuda, "gate_backward", job, gate_backward_formula<T>());
}

template <typename T>
static enum status axpby(struct cuda_context *cuda, const struct op_axpby *args)
{
    if (args->beta == 0.0f) { /* b may be anything, NULL included */
        flat_job<T, 1, 1> job = {args->count, false, {(const T *)args->a}, {(T *)args->y}};
        return flat_run(cuda, "axpby", job, scale_formula{args->alpha});
    }
    flat_job<T, 2, 1> job = {
        args->count, false, {(const T *)args->a, (const T *)args->b}, {(T *)args->y}};
    return flat_run(cuda, "axpby", job, axpby_formula{args->alpha, args->beta});
}

/* ---- gated units: rows of [gate | up] ---- */
template <typename T> struct swiglu_job {
    int64_t channels;
    unsigned row_blocks; /* blocks of one row */
    bool whole;
    const T *gate_up, *dy;
    T *out; /* y or dgate_up */
    enum glu_gate gate;
};

template <typename T, bool BACKWARD, bool WHOLE>
static __device__ __forceinline__ void swiglu_chunk(const swiglu_job<T> &job, unsigned row,
                                                    int64_t c)
{
    int64_t wide = row * 2 * job.channels + c, narrow = row * job.channels + c;
    int64_t left = job.channels - c;
    float gate[CHUNK], up[CHUNK], dy[CHUNK];
    load_some<T, CHUNK>(gate, job.gate_up + wide, left, WHOLE);
    load_some<T, CHUNK>(up, job.gate_up + wide + job.channels, left, WHOLE);
    if (BACKWARD)
        load_some<T, CHUNK>(dy, job.dy + narrow, left, WHOLE);
#pragma unroll
    for (int i = 0; i < CHUNK; i++) {
        struct gate_value value = gate_value_of<T>(gate[i], job.gate);
        if (BACKWARD) {
            gate[i] = __fmul_rn(__fmul_rn(dy[i], up[i]), value.slope);
            up[i] = __fmul_rn(dy[i], value.f);
        } else
            gate[i] = __fmul_rn(value.f, up[i]);
    }
    store_some<T, CHUNK>(job.out + (BACKWARD ? wide : narrow), gate, left, WHOLE);
    if (BACKWARD)
        store_some<T, CHUNK>(job.out + wide + job.channels, up, left, WHOLE);
}
template <typename T, bool BACKWARD>
static __global__ void __launch_bounds__(THREADS) swiglu_kernel(const swiglu_job<T> job)
{
    unsigned row = blockIdx.x / job.row_blocks, part = blockIdx.x - row * job.row_blocks;
    int64_t c = ((int64_t)part * THREADS + threadIdx.x) * CHUNK;
    early_wait();
    early_release();
    if (c >= job.channels)
        return;
    if (job.whole)
        swiglu_chunk<T, BACKWARD, true>(job, row, c);
    else
        swiglu_chunk<T, BACKWARD, false>(job, row, c);
}

template <typename T, bool BACKWARD>
static enum status swiglu_run(struct cuda_context *cuda, int64_t rows, swiglu_job<T> job)
{
    job.row_blocks = cuda_blocks(job.channels, THREADS * CHUNK);
    job.whole = job.channels % CHUNK == 0 && aligned_16(job.gate_up) && aligned_16(job.out) &&
                (!BACKWARD || aligned_16(job.dy));
    CHECK(rows * job.row_blocks < INT32_MAX);
    launch_early(swiglu_kernel<T, BACKWARD>, (unsigned)rows * job.row_blocks, THREADS, 0, cuda,
                 job);
    return cuda_launched("swiglu");
}

template <typename T>
static enum status swiglu(struct cuda_context *cuda, const struct op_swiglu *args)
{
    swiglu_job<T> job = {args->channels, 0,         false, (const T *)args->gate_up, NULL,
                         (T *)args->y,   args->gate};
    return swiglu_run<T, false>(cuda, args->rows, job);
}

template <typename T>
static enum status swiglu_backward(struct cuda_context *cuda, const struct op_swiglu_backward *args)
{
    swiglu_job<T> job = {
        args->channels,      0,         false, (const T *)args->gate_up, (const T *)args->dy,
        (T *)args->dgate_up, args->gate};
    return swiglu_run<T, true>(cuda, args->rows, job);
}

/* ---- entries ---- */
#define ENTRY(op, size)                                                         \
    extern "C" enum status cuda_##op(void *context, const struct op_##op *args) \
    {                                                                           \
        struct cuda_context *cuda = cuda_begin(context);                        \
        if (args->size == 0)                                                    \
            return STATUS_OK;                                                   \
        return cuda->f32 ? op<float>(cuda, args) : op<bf16>(cuda, args);        \
    }
ENTRY(silu, count)
ENTRY(silu_backward, count)
ENTRY(swiglu, rows)
ENTRY(swiglu_backward, rows)
ENTRY(gate, count)
ENTRY(gate_backward, count)
ENTRY(axpby, count)
