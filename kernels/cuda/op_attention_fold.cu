/* kernels/cuda/op_attention_fold.cu - merges what op_attention_decode.cu has left of sequences that several blocks shared:
 * tile after tile in order, with the bits of one pass (attention.cuh). */
#include "kernels/cuda/attention_decode.cuh"
#include "kernels/cuda/early.cuh"

enum { FOLD_BATCH = 32 };

/* Factors of the merges with up to DP tiles at once, one for each thread: the running maximum is the same whichever way
 * it is found. factors[i] = a, b, l_t; m becomes the maximum behind them. */
template <int DP>
static __device__ __forceinline__ void fold_factors(const float2 *ml, int32_t count, float exponent,
                                                    float *m, float4 *factors)
{
    __shared__ float warp_most[DP / 32];
    int tid = threadIdx.x, lane = tid % 32, warp = tid / 32;
    float2 mine = tid < count ? ml[tid] : make_float2(-INFINITY, 0.0f);
    float most = mine.x; /* of this lane and those before */
    for (int offset = 1; offset < 32; offset *= 2)
        most = fmaxf(most, __shfl_sync(0xffffffffu, most, max(lane - offset, 0)));
    if (lane == 31)
        warp_most[warp] = most;
    float old = __shfl_sync(0xffffffffu, most, max(lane - 1, 0));
    __syncthreads();
    float before = *m;
    for (int i = 0; i < DP / 32; i++) {
        before = i < warp ? fmaxf(before, warp_most[i]) : before;
        *m = fmaxf(*m, warp_most[i]);
    }
    old = lane == 0 ? before : fmaxf(before, old);
    float a, b;
    merge_factors(&old, mine.x, exponent, &a, &b);
    factors[tid] = make_float4(a, b, mine.y, 0.0f);
    __syncthreads();
}

/* Merges the partials of one row and query head in order: block (segment and row, head), thread = dim. */
template <int DP>
static __global__ void __launch_bounds__(DP)
    fold_kernel(const __grid_constant__ struct decode_call call)
{
    __shared__ float4 factors[DP];
    const struct op_attention *op = &call.call.op;
    int32_t index = blockIdx.x / call.rows_max, r = blockIdx.x % call.rows_max;
    int32_t head = blockIdx.y, part = head % call.call.group / call.heads;
    int32_t pair = head / call.call.group * call.parts + part;
    struct op_segment segment = op->segments[call.first + index];
    int32_t tiles = segment_tiles(&segment, &call.call);
    early_wait(); /* until decode_kernel has ended */
    if (tiles == 0 || r >= segment.count)
        return;
    int32_t merged = call.merged[(int64_t)index * op->kv_heads * call.parts + pair];
    if (tiles <= merged)
        return;
    int64_t at = (((int64_t)index * call.rows_max + r) * op->heads + head) * op->pages_per_slot;
    const float *partial = call.partial + at * DP + threadIdx.x;
    const float2 *ml = call.partial_ml + at;
    int32_t skip = segment_first(&segment, &call.call);
    int32_t until = (segment.position + r) / CUDA_KV_TILE + 1 - skip;
    int32_t seen = first_seen(segment.position + r, call.call.window) / CUDA_KV_TILE - skip;
    float m = ml[0].x, l = ml[0].y, o = partial[0];
    for (int32_t first = max(merged, seen); first < until; first += DP) {
        int32_t count = min(DP, until - first);
        fold_factors<DP>(ml + first, count, call.call.exponent, &m, factors);
        for (int32_t base = 0; base < count; base += FOLD_BATCH) {
            float value[FOLD_BATCH];
#pragma unroll
            for (int i = 0; i < FOLD_BATCH; i++)
                value[i] = partial[(int64_t)(first + min(base + i, count - 1)) * DP];
#pragma unroll
            for (int i = 0; i < FOLD_BATCH; i++) {
                float4 factor = factors[base + i];
                if (base + i < count) {
                    l = merge(l, factor.z, factor.x, factor.y);
                    o = merge(o, value[i], factor.x, factor.y);
                }
            }
        }
        __syncthreads();
    }
    int64_t row = segment.row + r;
    bf16 *y = (bf16 *)op->y + row * op->y_stride + head * op->head_size;
    if ((int64_t)threadIdx.x < op->head_size)
        y[threadIdx.x] = __float2bfloat16_rn(__fmul_rn(o, __frcp_rn(l)));
    if (threadIdx.x == 0 && op->lse != NULL)
        op->lse[row * op->heads + head] = attention_lse(m, l, call.call.scale);
}

template <int DP>
static enum status launch_fold(struct cuda_context *cuda, const struct decode_call *call)
{
    cudaLaunchAttribute early = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)(call->count * call->rows_max), (unsigned)call->call.op.heads);
    config.blockDim = dim3(DP);
    config.stream = cuda->stream;
    config.attrs = &early;
    config.numAttrs = 1;
    CUDA_TRY(cudaLaunchKernelEx(&config, fold_kernel<DP>, *call));
    return STATUS_OK;
}

enum status attention_fold(struct cuda_context *cuda, const struct decode_call *call)
{
    int64_t size = call->call.op.head_size;
    if (size > HEAD_MAX)
        return launch_fold<HEAD_WIDE>(cuda, call);
    return size <= 64 ? launch_fold<64>(cuda, call) : launch_fold<128>(cuda, call);
}
