/* kernels/cuda/op_attention_prepare.cu - what q, k and v go through before softmax attention, in one pass over them:
 * norm of each q and k head, rotation, keys and values into pages. The arithmetic is that of rms_norm and rope
 * (norm.cuh), with the same roundings to storage between the steps, so the bits are those of the separate ops.
 *
 * One block has a row, one warp a head; lane l has the elements 4 l .. 4 l + 3. */
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/norm.cuh"

enum { WARPS = 8, WIDE = NORM_WARP_CHANNELS };

struct prepare_job {
    struct op_attention_prepare op;
    bool whole; /* four elements move at once */
};

/* x[0..3] of this lane after the rotation; `line` [WIDE] is this warp's. */
template <typename T>
static __device__ __forceinline__ void rotate(const struct op_attention_prepare *op, int64_t row,
                                              float x[NORM_LANE], float *line)
{
    int lane = threadIdx.x % 32, half = (int)op->rotary / 2;
    int64_t angle = (int64_t)op->positions[row] * half;
    __syncwarp();
#pragma unroll
    for (int i = 0; i < NORM_LANE; i++)
        line[NORM_LANE * lane + i] = x[i];
    __syncwarp();
#pragma unroll
    for (int i = 0; i < NORM_LANE; i++) {
        int d = NORM_LANE * lane + i, j = d < half ? d : d - half;
        if (d >= 2 * half)
            continue;
        float first = line[j], second = line[j + half];
        rope_pair(&first, &second, op->cosine[angle + j], op->sine[angle + j]);
        x[i] = rounded<T>(d < half ? first : second);
    }
}

/* Where k (or v) of this row goes: element 0 of kv head 0's tile and the token in it; false: nowhere. All threads. */
struct page_place {
    int64_t keys, values, token;
};
static __device__ __forceinline__ bool find_page(const struct op_attention_prepare *op, int64_t row,
                                                 struct page_place *place)
{
    __shared__ int found;
    if (op->pages == NULL)
        return false;
    int index = segment_of_row(op->segments, op->segment_count, row, &found);
    if (index < 0 || op->segments[index].slot < 0)
        return false;
    int64_t position = op->segments[index].position + row - op->segments[index].row;
    place->keys = kv_tile_start(op->page_table, op->pages_per_slot, op->segments[index].slot,
                                position / CUDA_KV_TILE, op->kv_heads, op->head_size, 0, false);
    place->values = place->keys + op->kv_heads * CUDA_KV_TILE * op->head_size;
    place->token = position % CUDA_KV_TILE;
    return true;
}

template <typename T>
static __global__ void __launch_bounds__(32 * WARPS)
    prepare_kernel(const __grid_constant__ struct prepare_job job)
{
    __shared__ float lines[WARPS][WIDE];
    const struct op_attention_prepare *op = &job.op;
    struct page_place place;
    int64_t row = blockIdx.x, size = op->head_size, queries = op->heads, keys = op->kv_heads;
    int warp = threadIdx.x / 32, d = threadIdx.x % 32 * NORM_LANE;
    bool paged = find_page(op, row, &place), whole = job.whole && d + NORM_LANE <= size;
    for (int64_t head = warp; head < queries + 2 * keys; head += WARPS) {
        bool is_query = head < queries, is_value = head >= queries + keys;
        int64_t at = row * op->row_stride + head * size + d;
        float x[NORM_LANE];
        load_some<T, NORM_LANE>(x, (const T *)op->x + at, size - d, whole);
        const T *gain = (const T *)(is_query ? op->q_gain : op->k_gain);
        if (!is_value && gain != NULL) {
            float r = norm_warp_scale(x, size, op->eps), g[NORM_LANE];
            load_some<T, NORM_LANE>(g, gain + d, size - d, false);
#pragma unroll
            for (int i = 0; i < NORM_LANE; i++)
                x[i] = rounded<T>(norm_value(x[i], r, g[i]));
            float *kept = is_query ? op->r_q : op->r_k;
            if (kept != NULL && d == 0)
                kept[is_query ? row * queries + head : row * keys + head - queries] = r;
        }
        if (!is_value && op->rotary > 0)
            rotate<T>(op, row, x, lines[warp]);
        if (!is_value || op->y != op->x)
            store_some<T, NORM_LANE>((T *)op->y + at, x, size - d, whole);
        if (is_query || !paged || d >= size)
            continue;
        int64_t g = is_value ? head - queries - keys : head - queries;
        int64_t tile = (is_value ? place.values : place.keys) + g * CUDA_KV_TILE * size;
        store_some<T, NORM_LANE>((T *)op->pages + tile + kv_place<T>(size, place.token, d), x,
                                 size - d, whole);
    }
}

extern "C" enum status cuda_attention_prepare(void *context,
                                              const struct op_attention_prepare *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->rows == 0)
        return STATUS_OK;
    CHECK(args->head_size <= WIDE);
    struct prepare_job job = {*args, false};
    job.whole = args->head_size % NORM_LANE == 0 && args->row_stride % NORM_LANE == 0 &&
                ((uintptr_t)args->x | (uintptr_t)args->y | (uintptr_t)args->pages) % 16 == 0;
    unsigned rows = (unsigned)args->rows;
    if (cuda->f32)
        prepare_kernel<float><<<rows, 32 * WARPS, 0, cuda->stream>>>(job);
    else
        prepare_kernel<bf16><<<rows, 32 * WARPS, 0, cuda->stream>>>(job);
    return cuda_launched("attention_prepare");
}
