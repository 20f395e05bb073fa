/* kernels/cuda/op_attention_prepare.cu - what q, k and v go through before softmax attention, in one pass over them:
 * norm of each q and k head, rotation, keys and values into pages. The arithmetic is that of rms_norm and rope
 * (norm.cuh), with the same roundings to storage between the steps, so the bits are those of the separate ops.
 *
 * Heads of more than 128 elements go through the ops themselves, one after another.
 *
 * A warp has a row, or shares one with others where rows are few; 32 lanes have a head, or 16 where D <= 64; lane l the
 * elements 4 l .. 4 l + 3. */
#include "kernels/cuda/early.cuh"
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/norm.cuh"

enum { WARPS = 8, WIDE = NORM_WARP_CHANNELS, MANY_ROWS = 1024 };

struct prepare_job {
    struct op_attention_prepare op;
    int32_t row_warps; /* warps of a row: 1, or WARPS */
    bool whole;        /* four elements move at once */
};

/* Cosine and sine of the pairs that this lane's elements belong to. */
struct angles {
    float cosine[NORM_LANE], sine[NORM_LANE];
};
static __device__ __forceinline__ void load_angles(const struct op_attention_prepare *op,
                                                   int64_t row, int d, struct angles *angles)
{
    int half = (int)op->rotary / 2;
    int64_t at = half == 0 ? 0 : (int64_t)op->positions[row] * half;
#pragma unroll
    for (int i = 0; i < NORM_LANE; i++) {
        bool turns = d + i < 2 * half;
        int j = d + i < half ? d + i : d + i - half;
        angles->cosine[i] = turns ? op->cosine[at + j] : 1.0f;
        angles->sine[i] = turns ? op->sine[at + j] : 0.0f;
    }
}
/* x[0..3] of this lane after the rotation; `line` has room for one head. All lanes of the warp. */
template <typename T>
static __device__ __forceinline__ void rotate(int half, int d, const struct angles *angles,
                                              float x[NORM_LANE], float *line)
{
    __syncwarp();
#pragma unroll
    for (int i = 0; i < NORM_LANE; i++)
        line[d + i] = x[i];
    __syncwarp();
#pragma unroll
    for (int i = 0; i < NORM_LANE; i++) {
        if (d + i >= 2 * half)
            continue;
        bool low = d + i < half;
        int j = low ? d + i : d + i - half;
        float first = line[j], second = line[j + half];
        rope_pair(&first, &second, angles->cosine[i], angles->sine[i]);
        x[i] = rounded<T>(low ? first : second);
    }
}

/* The tree of warp_sum for a vector held by LANES lanes: where the others of a warp have zeros the bits are the same. */
template <int LANES> static __device__ __forceinline__ float lanes_sum(float x)
{
#pragma unroll
    for (int offset = LANES / 2; offset > 0; offset /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, offset);
    return x;
}

/* Where k (or v) of this row goes: element 0 of kv head 0's tile and the token in it; keys < 0: nowhere. All lanes. */
struct page_place {
    int64_t keys, values, token;
};
static __device__ __forceinline__ struct page_place find_page(const struct op_attention_prepare *op,
                                                              int64_t row)
{
    struct page_place place = {-1, -1, 0};
    for (int first = 0; op->pages != NULL && first < op->segment_count; first += 32) {
        int i = first + threadIdx.x % 32;
        bool mine = i < op->segment_count && row >= op->segments[i].row &&
                    row < (int64_t)op->segments[i].row + op->segments[i].count;
        uint32_t found = __ballot_sync(0xffffffffu, mine);
        if (found == 0)
            continue;
        struct op_segment segment = op->segments[first + __ffs((int)found) - 1];
        if (segment.slot < 0)
            break;
        int64_t position = segment.position + row - segment.row;
        place.keys = kv_tile_start(op->page_table, op->pages_per_slot, segment.slot,
                                   position / CUDA_KV_TILE, op->kv_heads, op->head_size, 0, false);
        place.values = place.keys + op->kv_heads * CUDA_KV_TILE * op->head_size;
        place.token = position % CUDA_KV_TILE;
        break;
    }
    return place;
}

template <typename T, int LANES>
static __global__ void __launch_bounds__(32 * WARPS)
    prepare_kernel(const __grid_constant__ struct prepare_job job)
{
    __shared__ float lines[WARPS][WIDE];
    const int AT_ONCE = 32 / LANES; /* heads of a warp */
    const struct op_attention_prepare *op = &job.op;
    int warp = threadIdx.x / 32, part = threadIdx.x % 32 / LANES;
    int d = threadIdx.x % LANES * NORM_LANE;
    int64_t row = (int64_t)blockIdx.x * (WARPS / job.row_warps) + warp / job.row_warps;
    int64_t size = op->head_size, queries = op->heads, keys = op->kv_heads;
    early_release();
    if (row >= op->rows)
        return;
    early_wait();
    struct angles angles;
    load_angles(op, row, d, &angles);
    struct page_place place = find_page(op, row);
    bool whole = job.whole && d + NORM_LANE <= size;
    for (int64_t base = warp % job.row_warps * AT_ONCE; base < queries + 2 * keys;
         base += job.row_warps * AT_ONCE) {
        int64_t head = base + part;
        bool live = head < queries + 2 * keys;
        bool is_query = head < queries, is_value = head >= queries + keys;
        int64_t at = row * op->row_stride + head * size + d;
        float x[NORM_LANE] = {}, kept_x[NORM_LANE];
        if (live)
            load_some<T, NORM_LANE>(x, (const T *)op->x + at, size - d, whole);
#pragma unroll
        for (int i = 0; i < NORM_LANE; i++)
            kept_x[i] = x[i];
        if (op->q_gain != NULL) {
            float r = norm_scale(lanes_sum<LANES>(norm_squares<NORM_LANE>(0.0f, x)), size, op->eps);
            const T *gain = (const T *)(is_query ? op->q_gain : op->k_gain);
            float g[NORM_LANE];
            load_gain<T, NORM_LANE>(g, gain + d, size - d, false, op->one_plus);
#pragma unroll
            for (int i = 0; i < NORM_LANE; i++)
                x[i] = rounded<T>(norm_value(x[i], r, g[i]));
            float *kept = is_query ? op->r_q : op->r_k;
            if (live && !is_value && kept != NULL && d == 0)
                kept[is_query ? row * queries + head : row * keys + head - queries] = r;
        }
        if (op->rotary > 0)
            rotate<T>((int)op->rotary / 2, d, &angles, x, lines[warp] + part * LANES * NORM_LANE);
#pragma unroll
        for (int i = 0; i < NORM_LANE; i++)
            x[i] = is_value ? kept_x[i] : x[i];
        if (live && (!is_value || op->y != op->x))
            store_some<T, NORM_LANE>((T *)op->y + at, x, size - d, whole);
        if (!live || is_query || place.keys < 0 || d >= size)
            continue;
        int64_t g = is_value ? head - queries - keys : head - queries;
        int64_t tile = (is_value ? place.values : place.keys) + g * CUDA_KV_TILE * size;
        store_some<T, NORM_LANE>((T *)op->pages + tile + kv_place<T>(size, place.token, d), x,
                                 size - d, whole);
    }
}

template <typename T>
static enum status prepare(struct cuda_context *cuda, const struct prepare_job *job)
{
    unsigned blocks = cuda_blocks(job->op.rows, WARPS / job->row_warps);
    if (job->op.head_size <= WIDE / 2)
        launch_early(prepare_kernel<T, 16>, blocks, 32 * WARPS, 0, cuda, *job);
    else
        launch_early(prepare_kernel<T, 32>, blocks, 32 * WARPS, 0, cuda, *job);
    return cuda_launched("attention_prepare");
}

/* ---- heads of more than WIDE elements: the ops one after another ---- */

extern "C" enum status cuda_rms_norm(void *context, const struct op_rms_norm *args);
extern "C" enum status cuda_rope(void *context, const struct op_rope *args);
extern "C" enum status cuda_kv_write(void *context, const struct op_kv_write *args);

static void *element(void *tensor, int64_t index, bool f32)
{
    return (char *)tensor + index * (int64_t)(f32 ? sizeof(float) : sizeof(bf16));
}

static enum status norm_heads(struct cuda_context *cuda, const struct op_attention_prepare *args,
                              int64_t first, int64_t heads, const weight_t *gain, float *r)
{
    struct op_rms_norm norm = {};
    norm.rows = args->rows;
    norm.groups = heads;
    norm.channels = args->head_size;
    norm.x_stride = norm.y_stride = args->row_stride;
    norm.eps = args->eps;
    norm.y = element(args->y, first * args->head_size, cuda->f32);
    norm.x = norm.y;
    norm.gain = gain;
    norm.r = r;
    norm.one_plus = args->one_plus;
    return cuda_rms_norm(cuda, &norm);
}

static enum status rotate_heads(struct cuda_context *cuda, const struct op_attention_prepare *args)
{
    struct op_rope rope = {};
    rope.rows = args->rows;
    rope.heads = args->heads + args->kv_heads;
    rope.head_size = args->head_size;
    rope.rotary = args->rotary;
    rope.row_stride = args->row_stride;
    rope.positions = args->positions;
    rope.cosine = args->cosine;
    rope.sine = args->sine;
    rope.x = args->y;
    return args->rotary > 0 ? cuda_rope(cuda, &rope) : STATUS_OK;
}

static enum status write_heads(struct cuda_context *cuda, const struct op_attention_prepare *args)
{
    struct op_kv_write write = {};
    write.rows = args->rows;
    write.kv_heads = args->kv_heads;
    write.head_size = args->head_size;
    write.row_stride = args->row_stride;
    write.segments = args->segments;
    write.segment_count = args->segment_count;
    write.k = element(args->y, args->heads * args->head_size, cuda->f32);
    write.v = element(args->y, (args->heads + args->kv_heads) * args->head_size, cuda->f32);
    write.pages = args->pages;
    write.page_table = args->page_table;
    write.pages_per_slot = args->pages_per_slot;
    return args->pages != NULL ? cuda_kv_write(cuda, &write) : STATUS_OK;
}

static enum status prepare_parts(struct cuda_context *cuda, const struct op_attention_prepare *args)
{
    size_t bytes =
        (size_t)(args->rows * args->row_stride) * (cuda->f32 ? sizeof(float) : sizeof(bf16));
    if (args->y != args->x)
        CUDA_TRY(cudaMemcpyAsync(args->y, args->x, bytes, cudaMemcpyDeviceToDevice, cuda->stream));
    if (args->q_gain != NULL) {
        TRY(norm_heads(cuda, args, 0, args->heads, args->q_gain, args->r_q));
        TRY(norm_heads(cuda, args, args->heads, args->kv_heads, args->k_gain, args->r_k));
    }
    TRY(rotate_heads(cuda, args));
    return write_heads(cuda, args);
}

extern "C" enum status cuda_attention_prepare(void *context,
                                              const struct op_attention_prepare *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->rows == 0)
        return STATUS_OK;
    if (args->head_size > WIDE)
        return prepare_parts(cuda, args);
    struct prepare_job job = {*args, args->rows >= MANY_ROWS ? 1 : WARPS, false};
    job.whole = args->head_size % NORM_LANE == 0 && args->row_stride % NORM_LANE == 0 &&
                ((uintptr_t)args->x | (uintptr_t)args->y | (uintptr_t)args->pages) % 16 == 0;
    return cuda->f32 ? prepare<float>(cuda, &job) : prepare<bf16>(cuda, &job);
}
