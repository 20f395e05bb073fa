/* kernels/cuda/gemm_small.cu - products of 1 to 64 rows: weights stream through the tensor cores once.
 *
 * Decoding is bound by the reading of weights, and an output element is one chain over k that must not be split
 * (docs/numerics.md). So every warp owns a tile of 16 weight rows (the M side of mma m16n8k16), walks k alone, and
 * holds the accumulators of all tokens (N side, tiles of 8); bandwidth comes from many warps that each have several
 * chunks of their weights in flight. Three roles:
 *   - a warp fills its own ring of weight chunks [16, KS] by bulk copies, one per weight row, and waits for nobody;
 *   - one extra warp keeps a ring of chunks of x [rows, KS], which all warps of the block read at their own pace;
 *   - fragments of the next 4 steps are loaded while the mma of these 4 run: the chain never waits for shared memory.
 * Tiles go to (warp, block) so that what is left for the last round is spread over all multiprocessors. The second
 * plane `mid` is more k behind the first. What an element is made of never depends on rows, n or this machine. */
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/gemm.h"

enum { TILE = 16, STEP = 16, GROUP = 4, WARPS_MAX = 8, STAGES_MAX = 16, X_STAGES_MAX = 4 };

struct small_job {
    int64_t n, k, x_stride, y_stride;
    const bf16 *x, *w, *mid, *bias;
    bf16 *y;
    float *y_float;
    int rows, tiles, rounds, planes;
    int chunks; /* of one plane */
    int stages, x_stages;
};

/* ---- barriers in shared memory that count arrivals and bytes ---- */
static __device__ __forceinline__ uint32_t shared_address(const void *at)
{
    return (uint32_t)__cvta_generic_to_shared(at);
}
static __device__ __forceinline__ void barrier_init(uint64_t *barrier, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(arrivals)
                 : "memory");
}
static __device__ __forceinline__ void barrier_arrive(uint64_t *barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
                 : "memory");
}
static __device__ __forceinline__ void barrier_expect(uint64_t *barrier, uint32_t bytes)
{
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
        "r"(bytes)
        : "memory");
}
static __device__ __forceinline__ void barrier_wait(uint64_t *barrier, uint32_t parity)
{
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra again;\n"
                 "}" ::"r"(shared_address(barrier)),
                 "r"(parity)
                 : "memory");
}
/* bytes: a multiple of 16, both ends aligned to 16 */
static __device__ __forceinline__ void copy_bulk(void *shared, const void *global, uint32_t bytes,
                                                 uint64_t *barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], "
                 "%2, [%3];" ::"r"(shared_address(shared)),
                 "l"(global), "r"(bytes), "r"(shared_address(barrier))
                 : "memory");
}
static __device__ __forceinline__ void load_matrix_x2(uint32_t out[2], const void *shared)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(out[0]), "=r"(out[1])
                 : "r"(shared_address(shared))
                 : "memory");
}

/* A place in the walk: turns (rounds) of tiles, planes of a tile, chunks of a plane; slot and parity in a ring. */
struct walk {
    int turn, plane, chunk, slot;
    uint32_t parity;
};
static __device__ __forceinline__ void walk_on(struct walk *at, const small_job &job, int slots)
{
    if (++at->slot == slots) {
        at->slot = 0;
        at->parity ^= 1;
    }
    if (++at->chunk < job.chunks)
        return;
    at->chunk = 0;
    if (++at->plane < job.planes)
        return;
    at->plane = 0;
    at->turn++;
}

/* Elements of k in a chunk. */
template <int KS> static __device__ __forceinline__ int chunk_size(const small_job &job, int chunk)
{
    int64_t left = job.k - (int64_t)chunk * KS;
    return left < KS ? (int)left : KS;
}

/* Rows in shared memory are one access wider than a chunk: eight rows of ldmatrix lie in eight different banks. */
template <int KS> struct layout {
    enum { PITCH = KS * 2 + 16, W_BYTES = TILE * PITCH };
};

/* The extra warp: chunks of x, in the order in which every warp walks. */
template <int KS>
static __device__ __forceinline__ void feed_x(const small_job &job, char *ring, int slot_rows,
                                              uint64_t *full, uint64_t *empty)
{
    int lane = (int)threadIdx.x % 32;
    struct walk at = {};
    bool again = false; /* the ring has been around */
    while (at.turn < job.rounds) {
        int size = chunk_size<KS>(job, at.chunk);
        if (again)
            barrier_wait(&empty[at.slot], at.parity ^ 1);
        if (lane == 0)
            barrier_expect(&full[at.slot], (uint32_t)(job.rows * size * 2));
        __syncwarp();
        char *slot = ring + at.slot * slot_rows * layout<KS>::PITCH;
        for (int row = lane; row < job.rows; row += 32)
            copy_bulk(slot + row * layout<KS>::PITCH,
                      job.x + row * job.x_stride + (int64_t)at.chunk * KS, (uint32_t)size * 2,
                      &full[at.slot]);
        walk_on(&at, job, job.x_stages);
        again = again || at.slot == 0;
    }
}

/* One chunk of this warp's 16 weight rows; nothing when the round has no tile for it. */
template <int KS>
static __device__ __forceinline__ void fetch_w(const small_job &job, const struct walk &at,
                                               int64_t tile, char *ring, uint64_t *full)
{
    if (tile >= job.tiles)
        return;
    int lane = (int)threadIdx.x % 32, size = chunk_size<KS>(job, at.chunk);
    int64_t row = tile * TILE + lane, left = job.n - tile * TILE;
    int rows = left < TILE ? (int)left : TILE;
    if (lane == 0)
        barrier_expect(&full[at.slot], (uint32_t)(rows * size * 2));
    __syncwarp();
    if (lane < rows)
        copy_bulk(ring + at.slot * layout<KS>::W_BYTES + lane * layout<KS>::PITCH,
                  (at.plane == 0 ? job.w : job.mid) + row * job.k + (int64_t)at.chunk * KS,
                  (uint32_t)size * 2, &full[at.slot]);
}

/* d: weight row l/4 (+ 8), token 2 (l % 4) (+ 1) of each tile of 8 tokens */
template <int NT>
static __device__ __forceinline__ void write_tile(const small_job &job, int64_t tile,
                                                  const float d[NT][4])
{
    int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int upper = 0; upper < 2; upper++) {
        int64_t n = tile * TILE + lane / 4 + upper * 8;
        if (n >= job.n)
            continue;
        float bias = job.bias != NULL ? to_float(job.bias[n]) : 0.0f;
#pragma unroll
        for (int t = 0; t < NT; t++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                int row = t * 8 + lane % 4 * 2 + i;
                float y = d[t][upper * 2 + i];
                if (job.bias != NULL)
                    y = __fadd_rn(y, bias);
                if (row < job.rows && job.y != NULL)
                    job.y[row * job.y_stride + n] = from_float<bf16>(y);
                else if (row < job.rows)
                    job.y_float[row * job.y_stride + n] = y;
            }
    }
}

/* Fragments of one step of 16 k: w and x point to this lane's part of the step. */
template <int NT> struct fragments {
    uint32_t a[4], b[NT][2];
};
template <int NT, int KS>
static __device__ __forceinline__ void load_step(fragments<NT> *f, const char *w, const char *x)
{
    load_matrix_x4(f->a, w);
    if constexpr (NT == 1)
        load_matrix_x2(f->b[0], x);
    else
#pragma unroll
        for (int t = 0; t < NT; t += 2)
            load_matrix_x4(&f->b[t][0], x + t * 8 * layout<KS>::PITCH);
}

template <int NT, int KS>
static __global__ void __launch_bounds__(32 * (WARPS_MAX + 1), 1) small_kernel(const small_job job)
{
    extern __shared__ __align__(128) char memory[];
    __shared__ uint64_t full_w[WARPS_MAX][STAGES_MAX], full_x[X_STAGES_MAX], empty_x[X_STAGES_MAX];
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    int warps = (int)blockDim.x / 32 - 1;
    char *x_ring = memory, *w_ring = memory + job.x_stages * NT * 8 * layout<KS>::PITCH +
                                     (int64_t)warp * job.stages * layout<KS>::W_BYTES;
    int64_t step_tiles = (int64_t)warps * gridDim.x, tile = (int64_t)warp * gridDim.x + blockIdx.x;
    struct walk fetch = {};
    int64_t fetch_tile = tile;
    uint64_t *full = full_w[warp < WARPS_MAX ? warp : 0];
    if (warp == warps && lane < job.x_stages) {
        barrier_init(&full_x[lane], 1);
        barrier_init(&empty_x[lane], warps);
    }
    if (warp < warps && lane < job.stages)
        barrier_init(&full[lane], 1);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    __syncwarp();
    if (warp < warps) /* own barriers are enough for the first weights */
        for (int i = 0; i < job.stages && fetch.turn < job.rounds; i++) {
            int turn = fetch.turn;
            fetch_w<KS>(job, fetch, fetch_tile, w_ring, full);
            walk_on(&fetch, job, job.stages);
            fetch_tile += fetch.turn != turn ? step_tiles : 0;
        }
    __syncthreads();
    if (warp == warps) {
        feed_x<KS>(job, x_ring, NT * 8, full_x, empty_x);
        return;
    }

    /* This lane's rows and columns for ldmatrix: a: matrices (rows 0-7, 8-15) x (k 0-7, 8-15), rows first; b: k
     * halves of 8 tokens, then of the next 8. */
    int w_lane = (lane % 16) * layout<KS>::PITCH + lane / 16 * 16;
    int x_lane = (lane % 8 + (NT > 1 ? lane / 16 * 8 : 0)) * layout<KS>::PITCH + lane / 8 % 2 * 16;
    struct walk at = {}; /* of the weights */
    int x_slot = 0, x_parity = 0;
    fragments<NT> f[GROUP];
    float d[NT][4] = {};
    while (at.turn < job.rounds) {
        bool mine = tile < job.tiles;
        int size = chunk_size<KS>(job, at.chunk), steps = (size + STEP - 1) / STEP;
        if (mine)
            barrier_wait(&full[at.slot], at.parity);
        barrier_wait(&full_x[x_slot], (uint32_t)x_parity);
        const char *w = w_ring + at.slot * layout<KS>::W_BYTES + w_lane;
        const char *x = x_ring + x_slot * NT * 8 * layout<KS>::PITCH + x_lane;
        if (mine) {
#pragma unroll
            for (int j = 0; j < GROUP; j++)
                load_step<NT, KS>(&f[j], w + j * STEP * 2, x + j * STEP * 2);
            for (int step = 0; step < steps; step += GROUP) {
                const char *next_w = w + (step + GROUP) * STEP * 2;
                const char *next_x = x + (step + GROUP) * STEP * 2;
                bool more = step + GROUP < steps;
#pragma unroll
                for (int j = 0; j < GROUP; j++) {
                    if ((step + j + 1) * STEP > size) { /* no step, or the upper half is missing */
                        f[j].a[2] = f[j].a[3] = 0;
#pragma unroll
                        for (int t = 0; t < NT; t++)
                            f[j].b[t][1] = 0;
                    }
                    if (step + j < steps)
#pragma unroll
                        for (int t = 0; t < NT; t++)
                            mma_16816(d[t], f[j].a, f[j].b[t]);
                    if (more)
                        load_step<NT, KS>(&f[j], next_w + j * STEP * 2, next_x + j * STEP * 2);
                }
            }
        }
        __syncwarp(); /* all lanes have read: both slots may be filled again */
        if (lane == 0)
            barrier_arrive(&empty_x[x_slot]);
        if (++x_slot == job.x_stages) {
            x_slot = 0;
            x_parity ^= 1;
        }
        if (fetch.turn < job.rounds) {
            int turn = fetch.turn;
            fetch_w<KS>(job, fetch, fetch_tile, w_ring, full);
            walk_on(&fetch, job, job.stages);
            fetch_tile += fetch.turn != turn ? step_tiles : 0;
        }
        int turn = at.turn;
        walk_on(&at, job, job.stages);
        if (at.turn == turn)
            continue;
        if (mine)
            write_tile<NT>(job, tile, d);
#pragma unroll
        for (int t = 0; t < NT; t++)
            d[t][0] = d[t][1] = d[t][2] = d[t][3] = 0.0f;
        tile += step_tiles;
    }
}

/* Rings: x takes a few chunks, the weights what is left of the block's shared memory. */
template <int NT, int KS>
static enum status small_launch(struct cuda_context *cuda, struct small_job job)
{
    int64_t each = (job.tiles + cuda->multiprocessors - 1) / cuda->multiprocessors;
    job.rounds = (int)((each + WARPS_MAX - 1) / WARPS_MAX);
    int warps = (int)((each + job.rounds - 1) / job.rounds);
    int grid = job.tiles < cuda->multiprocessors ? job.tiles : cuda->multiprocessors;
    job.chunks = (int)((job.k + KS - 1) / KS);
    int64_t walk = (int64_t)job.chunks * job.planes * job.rounds;
    job.x_stages = NT == 8 ? X_STAGES_MAX - 1 : X_STAGES_MAX;
    size_t x_bytes = (size_t)job.x_stages * NT * 8 * layout<KS>::PITCH;
    size_t ring = (size_t)warps * layout<KS>::W_BYTES;
    size_t most = (cuda->shared_max - 2048 - x_bytes) / ring;
    job.stages = most > STAGES_MAX ? STAGES_MAX : (int)most;
    if (job.stages > walk)
        job.stages = (int)walk;
    size_t bytes = x_bytes + (size_t)job.stages * ring;
    CUDA_TRY(cudaFuncSetAttribute(small_kernel<NT, KS>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  (int)bytes));
    small_kernel<NT, KS><<<(unsigned)grid, 32 * (warps + 1), bytes, cuda->stream>>>(job);
    return cuda_launched("gemm_small");
}

enum status gemm_small(struct cuda_context *cuda, const struct gemm_small_call *call)
{
    if (call->rows == 0 || call->n == 0)
        return STATUS_OK;
    CHECK(call->rows <= GEMM_SMALL_ROWS && call->k > 0 && call->k % 8 == 0 &&
          call->x_stride % 8 == 0);
    CHECK((uintptr_t)call->x % 16 == 0 && (uintptr_t)call->w % 16 == 0 &&
          (uintptr_t)call->mid % 16 == 0 && (call->y == NULL) != (call->y_float == NULL));
    struct small_job job = {};
    job.n = call->n;
    job.k = call->k;
    job.x_stride = call->x_stride;
    job.y_stride = call->y_stride;
    job.x = call->x;
    job.w = call->w;
    job.mid = call->mid;
    job.bias = call->bias;
    job.y = call->y;
    job.y_float = call->y_float;
    job.rows = (int)call->rows;
    job.tiles = (int)((call->n + TILE - 1) / TILE);
    job.planes = call->mid != NULL ? 2 : 1;
    bool wide = call->k % 256 == 0;
    if (call->rows <= 8)
        return wide ? small_launch<1, 256>(cuda, job) : small_launch<1, 128>(cuda, job);
    if (call->rows <= 16)
        return wide ? small_launch<2, 256>(cuda, job) : small_launch<2, 128>(cuda, job);
    return call->rows <= 32 ? small_launch<4, 128>(cuda, job) : small_launch<8, 128>(cuda, job);
}
