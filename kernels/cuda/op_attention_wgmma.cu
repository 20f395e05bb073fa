/* kernels/cuda/op_attention_wgmma.cu - attention for many rows with Hopper's warpgroup products, head sizes 64 and 128.
 *
 * A block has GROUPS times 64 rows of one query head. One warp asks for the key and value tiles, each one bulk copy,
 * STAGES tiles ahead; each warpgroup computes 64 rows, and the products of one run while the others take exponentials.
 * Within a warpgroup P V starts with the first quarter of the exponentials. The scores and P stay in registers; the
 * accumulator of wgmma has the layout of mma.sync's, so all arithmetic is that of attention.cuh, and a product has the
 * bits of the mma.sync chain (docs/numerics.md).
 *
 * Tried on an H100, forward at T = 8192: warpgroups whose products take turns at a barrier (the same within 2%), the
 * scores of the next tile during the softmax (spills at D = 128, slower), two warpgroups for D = 64 (8..15% slower).
 */
#include "kernels/cuda/attention_rows.cuh"

enum { GROUP = 128, GROUP_ROWS = 64, STAGES = 2 };

/* ---- wgmma ---- */

/* A matrix in shared memory with the 128-byte swizzle. `across`: bytes between its halves of 64 elements (used where the
 * 64 elements lie along M or N); lines come in groups of 8, 1024 bytes each. */
static __device__ __forceinline__ uint64_t matrix(const void *shared, uint32_t across)
{
    return (uint64_t)((shared_address(shared) & 0x3ffff) >> 4) | (uint64_t)(across >> 4) << 16 |
           (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}
static __device__ __forceinline__ void products_begin(void)
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
static __device__ __forceinline__ void products_commit(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
static __device__ __forceinline__ void products_wait(void)
{
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}
/* The accumulator of a product that runs must not be moved or read before its wait: this says that it is used here. */
template <int N> static __device__ __forceinline__ void hold(float *d)
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+f"(d[i])::"memory");
}

// clang-format off
#define D8(d, i) "+f"((d)[i]), "+f"((d)[i + 1]), "+f"((d)[i + 2]), "+f"((d)[i + 3]), \
                 "+f"((d)[i + 4]), "+f"((d)[i + 5]), "+f"((d)[i + 6]), "+f"((d)[i + 7])
#define D32(d, i) D8(d, i), D8(d, i + 8), D8(d, i + 16), D8(d, i + 24)
#define R32 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,"  \
            "%24,%25,%26,%27,%28,%29,%30,%31"
#define R64 R32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,"    \
            "%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"

/* d[64 rows, 128] (+)= a[64, 16] b[128, 16]^T, both k-major in shared memory; add = 0 starts the chain. */
static __device__ __forceinline__ void product_keys(float *d, uint64_t a, uint64_t b, int add)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " R64 "}, %64, %65, p, 1, 1, 0, 0;\n}\n"
                 : D32(d, 0), D32(d, 32) : "l"(a), "l"(b), "r"(add));
}
/* d[64 rows, DP] (+)= a[64, 16] b[16, DP], a in registers, b with its N side contiguous. */
template <int DP> static __device__ __forceinline__ void product_values(float *d, const uint32_t a[4], uint64_t b, int add);
template <> __device__ __forceinline__ void product_values<128>(float *d, const uint32_t a[4], uint64_t b, int add)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " R64 "}, {%64,%65,%66,%67}, %68, p, 1, 1, 1;\n}\n"
                 : D32(d, 0), D32(d, 32) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}
template <> __device__ __forceinline__ void product_values<64>(float *d, const uint32_t a[4], uint64_t b, int add)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " R32 "}, {%32,%33,%34,%35}, %36, p, 1, 1, 1;\n}\n"
                 : D32(d, 0) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}
// clang-format on

/* ---- the kernel ---- */

template <int DP, int GROUPS> struct wgmma_shared {
    alignas(1024) bf16 keys[STAGES][CUDA_KV_TILE * DP];
    alignas(1024) bf16 values[STAGES][CUDA_KV_TILE * DP];
    alignas(1024) bf16 q[GROUPS][GROUP_ROWS * DP];
    uint64_t keys_full[STAGES], values_full[STAGES], keys_empty[STAGES], values_empty[STAGES];
    int32_t partial[(GROUPS + 1) * GROUP];
};

/* One thread brings the tiles from `skip` on. */
template <int DP, int GROUPS>
static __device__ __forceinline__ void bring_tiles(wgmma_shared<DP, GROUPS> &shared,
                                                   const struct attention_call *call, int32_t slot,
                                                   int64_t g, int32_t skip, int32_t tiles)
{
    const struct op_attention *op = &call->op;
    const uint32_t bytes = CUDA_KV_TILE * DP * sizeof(bf16);
    for (int32_t t = 0; t < tiles; t++) {
        int at = t % STAGES;
        uint32_t round = (uint32_t)(t / STAGES);
        const bf16 *keys =
            (const bf16 *)op->pages + kv_tile_start(op->page_table, op->pages_per_slot, slot,
                                                    skip + t, op->kv_heads, DP, g, false);
        if (round > 0)
            barrier_wait(&shared.keys_empty[at], (round - 1) % 2);
        copy_bulk(shared.keys[at], keys, bytes, &shared.keys_full[at]);
        if (round > 0)
            barrier_wait(&shared.values_empty[at], (round - 1) % 2);
        copy_bulk(shared.values[at], keys + op->kv_heads * CUDA_KV_TILE * DP, bytes,
                  &shared.values_full[at]);
    }
}

/* Starts s = q k^T of tile t. */
template <int DP, int GROUPS>
static __device__ __forceinline__ void start_scores(wgmma_shared<DP, GROUPS> &shared, int group,
                                                    int32_t t, float s[64])
{
    int at = t % STAGES;
    barrier_wait(&shared.keys_full[at], t / STAGES % 2);
    products_begin();
#pragma unroll
    for (int k = 0; k < DP / 16; k++) {
        int half = k / 4, inside = k % 4 * 16;
        product_keys(s, matrix(shared.q[group] + half * GROUP_ROWS * 64 + inside, 16),
                     matrix(shared.keys[at] + half * CUDA_KV_TILE * 64 + inside, 16), k > 0);
    }
    products_commit();
}
/* All threads of a warpgroup. */
static __device__ __forceinline__ void group_wait(int group)
{
    asm volatile("bar.sync %0, %1;" ::"r"(1 + group), "n"((int)GROUP) : "memory");
}
/* What a thread of a warpgroup carries from tile to tile. */
template <int DP> struct attend_state {
    float m[2], l[2], o[DP / 2];
    float m_tile[2], l_tile[2], o_tile[DP / 2];
    int last[2]; /* last key of the tile that the thread's rows see */
};

/* Merges the tile whose o_t is there and goes on to the next. */
template <int DP>
static __device__ __forceinline__ void finish_tile(attend_state<DP> &state, int32_t window,
                                                   float exponent)
{
    tile_merge<DP>(state.m, state.l, state.o, state.m_tile, state.l_tile, state.o_tile, state.last,
                   window, exponent);
    state.last[0] -= CUDA_KV_TILE;
    state.last[1] -= CUDA_KV_TILE;
}

/* Softmax of s and, quarter by quarter behind it, the start of o_t = p v of tile t. */
template <int DP, int GROUPS, bool WINDOW>
static __device__ __forceinline__ void
start_values(wgmma_shared<DP, GROUPS> &shared, attend_state<DP> &state, int32_t t, float s[64],
             uint32_t p[8][4], int32_t window, float exponent)
{
    int at = t % STAGES;
    if (min(state.last[0], state.last[1]) < CUDA_KV_TILE - 1)
        tile_mask<16>(s, 0, state.last);
    if (WINDOW && max(state.last[0], state.last[1]) >= window)
        tile_mask_before<16>(s, 0, state.last, window);
    tile_max<16>(s, state.m_tile);
    float offset[2] = {tile_offset(state.m_tile[0], exponent),
                       tile_offset(state.m_tile[1], exponent)},
          sum[4][2];
    barrier_wait(&shared.values_full[at], t / STAGES % 2);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        quarter_exp(s + 16 * i, offset, exponent, sum[i]);
#pragma unroll
        for (int j = 0; j < 2; j++)
#pragma unroll
            for (int k = 0; k < 4; k++)
                p[2 * i + j][k] =
                    pack_bf16(s[16 * i + 8 * j + 2 * k], s[16 * i + 8 * j + 2 * k + 1]);
        products_begin();
#pragma unroll
        for (int k = 2 * i; k < 2 * i + 2; k++)
            product_values<DP>(
                state.o_tile, p[k],
                matrix(shared.values[at] + 16 * k * 64, CUDA_KV_TILE * 64 * sizeof(bf16)), k > 0);
        products_commit();
    }
#pragma unroll
    for (int r = 0; r < 2; r++)
        state.l_tile[r] = quad_sum(quarters_sum(sum[0][r], sum[1][r], sum[2][r], sum[3][r]));
}

/* All tiles of a warpgroup's rows; the scores of the next tile run during the merge. */
template <int DP, int GROUPS, bool WINDOW>
static __device__ __forceinline__ void walk_tiles(wgmma_shared<DP, GROUPS> &shared,
                                                  attend_state<DP> &state, int group, int32_t tiles,
                                                  int32_t window, float exponent)
{
    int lane = threadIdx.x % 32;
    float s[64];
    start_scores<DP, GROUPS>(shared, group, 0, s);
#pragma unroll 1
    for (int32_t t = 0;; t++) {
        uint32_t p[8][4];
        products_wait();
        hold<64>(s);
        if (lane == 0)
            barrier_arrive(&shared.keys_empty[t % STAGES]);
        start_values<DP, GROUPS, WINDOW>(shared, state, t, s, p, window, exponent);
        products_wait();
        hold<DP / 2>(state.o_tile);
        if (lane == 0)
            barrier_arrive(&shared.values_empty[t % STAGES]);
        if (t + 1 == tiles)
            break;
        start_scores<DP, GROUPS>(shared, group, t + 1, s);
        finish_tile<DP>(state, WINDOW ? window : (int32_t)NO_WINDOW, exponent);
    }
    finish_tile<DP>(state, WINDOW ? window : (int32_t)NO_WINDOW, exponent);
}

/* Results of a warpgroup's rows, through the shared memory of its queries, so that they leave 16 bytes at a time. */
template <int DP>
static __device__ __forceinline__ void store_rows(bf16 *to, const struct attention_call *call,
                                                  const attend_state<DP> &state, int64_t first,
                                                  int32_t rows, int64_t head, int group)
{
    const struct op_attention *op = &call->op;
    int thread = threadIdx.x % GROUP, lane = thread % 32, row = thread / 32 * 16 + lane / 4;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float inverse = __frcp_rn(state.l[r]);
#pragma unroll
        for (int j = 0; j < DP / 8; j++)
            *(uint32_t *)(to + tile_place<GROUP_ROWS>(row + 8 * r, j) + 2 * (lane % 4)) =
                pack_bf16(__fmul_rn(state.o[4 * j + 2 * r], inverse),
                          __fmul_rn(state.o[4 * j + 2 * r + 1], inverse));
        if (lane % 4 == 0 && op->lse != NULL && row + 8 * r < rows)
            op->lse[(first + row + 8 * r) * op->heads + head] =
                attention_lse(state.m[r], state.l[r], call->scale);
    }
    group_wait(group);
    for (int i = thread; i < rows * (DP / 8); i += GROUP) {
        int64_t at = (first + i / (DP / 8)) * op->y_stride + head * DP + i % (DP / 8) * 8;
        *(uint4 *)((bf16 *)op->y + at) =
            *(uint4 *)(to + tile_place<GROUP_ROWS>(i / (DP / 8), i % (DP / 8)));
    }
}

/* One warpgroup: its 64 rows against `tiles` tiles. */
template <int DP, int GROUPS, bool WINDOW>
static __device__ __forceinline__ void
attend(wgmma_shared<DP, GROUPS> &shared, const struct attention_call *call,
       const struct row_tile *tile, int group, int32_t rows, int32_t skip, int64_t head)
{
    int lane = threadIdx.x % 32, row = threadIdx.x % GROUP / 32 * 16 + lane / 4;
    int32_t from = tile->from + group * GROUP_ROWS, position = tile->segment.position + from;
    int32_t tiles = __shfl_sync(0xffffffffu, (position + rows - 1) / CUDA_KV_TILE + 1 - skip, 0);
    load_queries<DP, GROUP_ROWS, GROUP>(shared.q[group], call, &tile->segment, from, head,
                                        (int)threadIdx.x % GROUP);
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    group_wait(group);
    attend_state<DP> state;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        state.m[r] = -INFINITY;
        state.l[r] = 0.0f;
        state.last[r] = position + row + 8 * r - skip * CUDA_KV_TILE;
    }
#pragma unroll
    for (int i = 0; i < DP / 2; i++)
        state.o[i] = 0.0f;
    walk_tiles<DP, GROUPS, WINDOW>(shared, state, group, tiles, call->window, call->exponent);
    store_rows<DP>(shared.q[group], call, state, tile->segment.row + from, rows, head, group);
}

template <int DP, int GROUPS, bool WINDOW>
static __global__ void __launch_bounds__((GROUPS + 1) * GROUP, 1)
    wgmma_kernel(const __grid_constant__ struct attention_call call)
{
#ifdef CUDA_HOPPER_CODE
    extern __shared__ __align__(1024) char memory[];
    wgmma_shared<DP, GROUPS> &shared = *(wgmma_shared<DP, GROUPS> *)memory;
    struct row_tile tile;
    int64_t head = blockIdx.y;
    if (!find_tile<GROUPS * GROUP_ROWS, (GROUPS + 1) * GROUP>(&call, (int32_t)blockIdx.x,
                                                              shared.partial, &tile))
        return;
    int32_t rows = min(GROUPS * GROUP_ROWS, tile.segment.count - tile.from);
    int groups = (rows + GROUP_ROWS - 1) / GROUP_ROWS;
    int32_t skip = !WINDOW
                       ? 0 /* tiles that no row of the block sees */
                       : first_seen(tile.segment.position + tile.from, call.window) / CUDA_KV_TILE;
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            barrier_init(&shared.keys_full[i], 1);
            barrier_init(&shared.values_full[i], 1);
            barrier_init(&shared.keys_empty[i], 4 * groups);
            barrier_init(&shared.values_empty[i], 4 * groups);
        }
        barrier_init_done();
    }
    __syncthreads();
    int group =
        __shfl_sync(0xffffffffu, (int)threadIdx.x / GROUP, 0) - 1; /* the compiler sees: uniform */
    if (group < 0) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(GROUPS == 2 ? 24 : 32));
        int32_t tiles = (tile.segment.position + tile.from + rows - 1) / CUDA_KV_TILE + 1;
        if (threadIdx.x == 0)
            bring_tiles<DP, GROUPS>(shared, &call, tile.segment.slot, head / call.group, skip,
                                    tiles - skip);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(GROUPS == 2 ? 240 : 160));
        if (group < groups)
            attend<DP, GROUPS, WINDOW>(shared, &call, &tile, group,
                                       min(GROUP_ROWS, rows - group * GROUP_ROWS), skip, head);
    }
#endif
}

template <int DP, int GROUPS, bool WINDOW>
static enum status launch(struct cuda_context *cuda, const struct attention_call *call,
                          int64_t tiles)
{
    size_t bytes = sizeof(wgmma_shared<DP, GROUPS>);
    CUDA_TRY(cudaFuncSetAttribute(wgmma_kernel<DP, GROUPS, WINDOW>,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    dim3 grid((unsigned)tiles, (unsigned)call->op.heads);
    wgmma_kernel<DP, GROUPS, WINDOW><<<grid, (GROUPS + 1) * GROUP, bytes, cuda->stream>>>(*call);
    return cuda_launched("attention, wgmma");
}

enum status attention_wgmma(struct cuda_context *cuda, const struct attention_call *call,
                            int64_t tiles)
{
    bool small = call->op.head_size == 64;
    if (call->op.window > 0)
        return small ? launch<64, 3, true>(cuda, call, tiles)
                     : launch<128, 2, true>(cuda, call, tiles);
    return small ? launch<64, 3, false>(cuda, call, tiles)
                 : launch<128, 2, false>(cuda, call, tiles);
}
