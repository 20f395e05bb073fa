/* kernels/cuda/gemm_small.cu - products of 1 to 64 rows: weights stream through the tensor cores once.
 *
 * Decoding is bound by the reading of weights, and an output element is one chain over k that must not be split
 * (docs/numerics.md). So every warp owns a tile of 16 weight rows (the M side of mma m16n8k16), walks k alone, and
 * holds the accumulators of all tokens (N side, tiles of 8); bandwidth comes from many warps that each have several
 * (docs/numerics.md). So a warp owns a tile of 16 weight rows (the M side of mma m16n8k16), walks k alone, and holds
 * the accumulators of all tokens (N side, tiles of 8); bandwidth comes from many such warps with several chunks of
 * weights each in flight. The warps of a block:
 *   - up to 8 that multiply, each at its own pace; fragments of the next steps are loaded while the mma of these run,
 *     so that the chain never waits for shared memory;
 *   - 2 that fill a ring of weight chunks [16, KS] for each of those;
 *   - 2 that fill one ring of chunks of x [rows, KS] for all of them.
 * Tiles go to (warp, block) so that what is left for the last round is spread over all multiprocessors. The second
 * plane `mid` is more k behind the first. What an element is made of never depends on rows, n or this machine. */
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/early.cuh"
#include "kernels/cuda/gemm.h"

enum { TILE = 16, STEP = 16, WARPS_MAX = 8, FEEDERS = 2, STAGES_MAX = 16, X_STAGES_MAX = 8 };

struct small_job {
    int64_t n, k, x_stride, y_stride;
    const bf16 *x, *w, *mid, *bias;
    bf16 *y;
    float *y_float;
    int rows, tiles, rounds, planes;
    int chunks; /* of one plane */
    int stages, x_stages;
};

/* ---- barriers in shared memory that count arrivals ---- */
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
static __device__ __forceinline__ void barrier_arrive_if(bool one, uint64_t *barrier)
{
    asm volatile("{\n"
                 ".reg .pred one;\n"
                 "setp.ne.u32 one, %1, 0;\n"
                 "@one mbarrier.arrive.shared::cta.b64 _, [%0];\n"
                 "}" ::"r"(shared_address(barrier)),
                 "r"((uint32_t)one)
                 : "memory");
}
/* Arrives when all asynchronous copies that this thread began have landed. */
static __device__ __forceinline__ void barrier_arrive_copied(uint64_t *barrier)
{
    asm volatile(
        "cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_address(barrier))
        : "memory");
}
static __device__ __forceinline__ void barrier_wait(uint64_t *barrier, uint32_t parity)
{
#ifdef CUDA_HOPPER_CODE
#define BARRIER_TEST "mbarrier.try_wait.parity.shared::cta.b64"
#else
#define BARRIER_TEST "mbarrier.test_wait.parity.shared::cta.b64"
#endif
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "again:\n" BARRIER_TEST " done, [%0], %1;\n"
                 "@!done bra again;\n"
                 "}" ::"r"(shared_address(barrier)),
                 "r"(parity)
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

/* Lanes of a row of a chunk, 16 bytes each. */
template <int KS> struct lanes {
    enum { ROW = KS / 8, ROWS = 32 / ROW };
};

/* Chunks of x, in the order in which every warp walks; this warp copies rows feeder, feeder + 2, ... (KS = 256). */
template <int KS>
static __device__ __forceinline__ void feed_x(const small_job &job, int feeder, char *ring,
                                              int slot_rows, uint64_t *full, uint64_t *empty)
{
    int lane = (int)threadIdx.x % 32, column = lane % lanes<KS>::ROW * 8;
    int first = feeder * lanes<KS>::ROWS + lane / lanes<KS>::ROW;
    struct walk at = {};
    bool again = false; /* the ring has been around */
    while (at.turn < job.rounds) {
        if (again)
            barrier_wait(&empty[at.slot], at.parity ^ 1);
        char *to = ring + (at.slot * slot_rows + first) * layout<KS>::PITCH + column * 2;
        const bf16 *from = job.x + first * job.x_stride + (int64_t)at.chunk * KS + column;
        if (column < chunk_size<KS>(job, at.chunk))
#pragma unroll 4
            for (int row = first; row < job.rows; row += FEEDERS * lanes<KS>::ROWS) {
                copy_async_16(to, from, true);
                to += FEEDERS * lanes<KS>::ROWS * layout<KS>::PITCH;
                from += FEEDERS * lanes<KS>::ROWS * job.x_stride;
            }
        barrier_arrive_copied(&full[at.slot]);
        walk_on(&at, job, job.x_stages);
        again = again || at.slot == 0;
    }
}

/* Weight chunks of all multiplying warps, chunk by chunk; this warp copies 8 of the 16 rows. */
template <int KS>
static __device__ __forceinline__ void feed_w(const small_job &job, int feeder, int warps,
                                              char *ring, uint64_t (*full)[STAGES_MAX],
                                              uint64_t (*empty)[STAGES_MAX])
{
    enum { MINE = TILE / FEEDERS };
    int lane = (int)threadIdx.x % 32, column = lane % lanes<KS>::ROW * 8;
    int first = feeder * MINE + lane / lanes<KS>::ROW;
    struct walk at = {};
    bool again = false;
    while (at.turn < job.rounds) {
        int64_t k = (int64_t)at.chunk * KS + column;
        const bf16 *plane = (at.plane == 0 ? job.w : job.mid) + k;
        for (int warp = 0; warp < warps; warp++) {
            int64_t tile = ((int64_t)at.turn * warps + warp) * gridDim.x + blockIdx.x;
            if (tile >= job.tiles)
                break;
            if (again)
                barrier_wait(&empty[warp][at.slot], at.parity ^ 1);
            char *to = ring + (warp * job.stages + at.slot) * layout<KS>::W_BYTES +
                       first * layout<KS>::PITCH + column * 2;
            int64_t row = tile * TILE + first;
            const bf16 *from = plane + row * job.k;
#pragma unroll
            for (int i = 0; i < MINE; i += lanes<KS>::ROWS)
                if (row + i < job.n && k < job.k)
                    copy_async_16(to + i * layout<KS>::PITCH, from + i * job.k, true);
            barrier_arrive_copied(&full[warp][at.slot]);
        }
        walk_on(&at, job, job.stages);
        again = again || at.slot == 0;
    }
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

/* The mma of one group of steps, and the loads of the next. A warp waits for its oldest load by waiting for all of
 * them, so all are issued behind the first mma, which has waited, and are back when the last has been issued. */
template <int NT, int KS, int GROUP>
static __device__ __forceinline__ void run_group(float d[NT][4], const fragments<NT> *now,
                                                 fragments<NT> *next, const char *w, const char *x)
{
#pragma unroll
    for (int j = 0; j < GROUP; j++) {
#pragma unroll
        for (int t = 0; t < NT; t++)
            mma_16816(d[t], now[j].a, now[j].b[t]);
        if (j == 0)
#pragma unroll
            for (int i = 0; i < GROUP; i++)
                load_step<NT, KS>(&next[i], w + i * STEP * 2, x + i * STEP * 2);
    }
}

/* Zeros for what lies past the last `left` elements of k: such a step adds nothing, bit for bit. */
template <int NT, int GROUP>
static __device__ __forceinline__ void cut_steps(fragments<NT> *f, int left)
{
#pragma unroll
    for (int j = 0; j < GROUP; j++)
#pragma unroll
        for (int half = 0; half < 2; half++)
            if (j * STEP + half * 8 >= left) {
                f[j].a[2 * half] = f[j].a[2 * half + 1] = 0;
#pragma unroll
                for (int t = 0; t < NT; t++)
                    f[j].b[t][half] = 0;
            }
}

/* A warp that multiplies: tiles `tile`, tile + step_tiles, ... from its own ring of weights and the block's of x. */
template <int NT, int KS>
static __device__ __forceinline__ void
multiply(const small_job &job, int64_t step_tiles, int64_t tile, const char *w_ring, uint64_t *full,
         uint64_t *empty, const char *x_ring, uint64_t *full_x, uint64_t *empty_x)
{
    constexpr int GROUP = NT >= 4 ? 2 : 4;
    int lane = (int)threadIdx.x % 32;
    /* This lane's rows and columns for ldmatrix: a: matrices (rows 0-7, 8-15) x (k 0-7, 8-15), rows first; b: k
     * halves of 8 tokens, then of the next 8. */
    w_ring += (lane % 16) * layout<KS>::PITCH + lane / 16 * 16;
    x_ring += (lane % 8 + (NT > 1 ? lane / 16 * 8 : 0)) * layout<KS>::PITCH + lane / 8 % 2 * 16;
    struct walk at = {}, x_at = {};
    fragments<NT> even[GROUP], odd[GROUP];
    float d[NT][4] = {};
    bool mine = tile < job.tiles;
    const char *w = w_ring, *x = x_ring;
    if (mine) {
        barrier_wait(&full[0], 0);
        barrier_wait(&full_x[0], 0);
#pragma unroll
        for (int j = 0; j < GROUP; j++)
            load_step<NT, KS>(&even[j], w + j * STEP * 2, x + j * STEP * 2);
    }
    while (at.turn < job.rounds) {
        struct walk next = at, x_next = x_at;
        walk_on(&next, job, job.stages);
        walk_on(&x_next, job, job.x_stages);
        int64_t next_tile = tile + (next.turn != at.turn ? step_tiles : 0);
        bool next_mine = next.turn < job.rounds && next_tile < job.tiles;
        if (mine) {
#pragma unroll 1
            for (int left = chunk_size<KS>(job, at.chunk); left > 0; left -= 2 * GROUP * STEP) {
                if (left < 2 * GROUP * STEP)
                    cut_steps<NT, GROUP>(even, left);
                w += GROUP * STEP * 2;
                x += GROUP * STEP * 2;
                run_group<NT, KS, GROUP>(d, even, odd, w, x);
                if (left < 2 * GROUP * STEP)
                    cut_steps<NT, GROUP>(odd, left - GROUP * STEP);
                if (left > 2 * GROUP * STEP) {
                    w += GROUP * STEP * 2;
                    x += GROUP * STEP * 2;
                } else if (next_mine) { /* on to the next chunk, which should be there by now */
                    barrier_wait(&full[next.slot], next.parity);
                    barrier_wait(&full_x[x_next.slot], x_next.parity);
                    w = w_ring + next.slot * layout<KS>::W_BYTES;
                    x = x_ring + x_next.slot * NT * 8 * layout<KS>::PITCH;
                } /* else the same fragments again, for nothing */
                run_group<NT, KS, GROUP>(d, odd, even, w, x);
            }
        } else
            barrier_wait(&full_x[x_at.slot], x_at.parity);
        __syncwarp(); /* all lanes have read: both slots may be filled again */
        barrier_arrive_if(lane == 0, &empty_x[x_at.slot]);
        barrier_arrive_if(lane == 0, &empty[at.slot]);
        if (next.turn != at.turn) {
            if (mine)
                write_tile<NT>(job, tile, d);
#pragma unroll
            for (int t = 0; t < NT; t++)
                d[t][0] = d[t][1] = d[t][2] = d[t][3] = 0.0f;
        }
        at = next;
        x_at = x_next;
        tile = next_tile;
        mine = next_mine;
    }
}

template <int NT, int KS>
static __global__ void __launch_bounds__(32 * (WARPS_MAX + 2 * FEEDERS), 1)
    small_kernel(const small_job job)
{
    extern __shared__ __align__(128) char memory[];
    __shared__ uint64_t full_w[WARPS_MAX][STAGES_MAX], empty_w[WARPS_MAX][STAGES_MAX];
    __shared__ uint64_t full_x[X_STAGES_MAX], empty_x[X_STAGES_MAX];
    int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    int warps = (int)blockDim.x / 32 - 2 * FEEDERS;
    if (warp < warps && lane < job.stages) {
        barrier_init(&full_w[warp][lane], 32 * FEEDERS);
        barrier_init(&empty_w[warp][lane], 1);
    } else if (warp == warps && lane < job.x_stages) {
        barrier_init(&full_x[lane], 32 * FEEDERS);
        barrier_init(&empty_x[lane], warps);
    }
    __syncthreads();
    char *x_ring = memory, *w_ring = memory + job.x_stages * NT * 8 * layout<KS>::PITCH;
    if (warp >= warps + FEEDERS) {
        early_wait(); /* the weights need not wait; what is written depends on x */
        early_release();
        feed_x<KS>(job, warp - warps - FEEDERS, x_ring, NT * 8, full_x, empty_x);
        return;
    }
    if (warp >= warps) {
        feed_w<KS>(job, warp - warps, warps, w_ring, full_w, empty_w);
        return;
    }
    multiply<NT, KS>(job, (int64_t)warps * gridDim.x, (int64_t)warp * gridDim.x + blockIdx.x,
                     w_ring + warp * job.stages * layout<KS>::W_BYTES, full_w[warp], empty_w[warp],
                     x_ring, full_x, empty_x);
}

/* Rings: x gets up to 8 chunks as long as 4 are left for each of the weights' rings, these what is left then. */
template <int NT, int KS>
static enum status small_launch(struct cuda_context *cuda, struct small_job job)
{
    int64_t each = (job.tiles + cuda->multiprocessors - 1) / cuda->multiprocessors;
    job.rounds = (int)((each + WARPS_MAX - 1) / WARPS_MAX);
    int warps = (int)((each + job.rounds - 1) / job.rounds);
    int grid = job.tiles < cuda->multiprocessors ? job.tiles : cuda->multiprocessors;
    job.chunks = (int)((job.k + KS - 1) / KS);
    int64_t walk = (int64_t)job.chunks * job.planes * job.rounds;
    size_t room = cuda->shared_max - 3072, ring = (size_t)warps * layout<KS>::W_BYTES;
    size_t slot = (size_t)NT * 8 * layout<KS>::PITCH;
    job.x_stages = walk < X_STAGES_MAX ? (int)walk : X_STAGES_MAX;
    while (job.x_stages > 3 && (room - (size_t)job.x_stages * slot) / ring < 4)
        job.x_stages--;
    size_t most = (room - (size_t)job.x_stages * slot) / ring;
    job.stages = most > STAGES_MAX ? STAGES_MAX : (int)most;
    if (job.stages > walk)
        job.stages = (int)walk;
    if (job.stages < 2 && walk > 1) /* a warp begins the next chunk before it gives one back */
        return FAIL(STATUS_UNSUPPORTED, "gemm_small: %zu bytes of shared memory are too few",
                    cuda->shared_max);
    size_t bytes = (size_t)job.x_stages * slot + (size_t)job.stages * ring;
    CUDA_TRY(cudaFuncSetAttribute(small_kernel<NT, KS>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  (int)bytes));
    launch_early(small_kernel<NT, KS>, (unsigned)grid, (unsigned)(32 * (warps + 2 * FEEDERS)),
                 bytes, cuda, job);
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
    if (call->rows <= 8)
        return small_launch<1, 256>(cuda, job);
    if (call->rows <= 16)
        return small_launch<2, 256>(cuda, job);
    return call->rows <= 32 ? small_launch<4, 128>(cuda, job) : small_launch<8, 128>(cuda, job);
}
