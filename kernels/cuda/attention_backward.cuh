/* kernels/cuda/attention_backward.cuh - Hopper's warpgroup products and the shared-memory tiles of attention's
 * backward kernels.
 *
 * A tile is rows of DP = 64 or 128 bf16 in panels of 64 columns, [DP/64][rows][64], with the 128-byte swizzle: the
 * 16-byte piece c of a line lies in place c ^ (row % 8). The same tile serves as an operand over its columns (scores:
 * k = d) and, turned, over its rows (gradients: k = row), so nothing is stored twice. */
#ifndef KERNELS_CUDA_ATTENTION_BACKWARD_CUH
#define KERNELS_CUDA_ATTENTION_BACKWARD_CUH

#include "kernels/cuda/device.cuh"

#ifndef CUDA_HOPPER_CODE
#pragma nv_diag_suppress 177 /* functions that Hopper's kernels alone call */
#endif

enum { STREAM = 64, STAGES = 3, LINE_BYTES = 128 };

/* Matrix descriptor of a tile (PTX ISA, asynchronous warpgroup matrix instructions): 128-byte swizzle, groups of
 * eight lines 1024 bytes apart; `panel` bytes between panels, which only a turned operand crosses. `tile` is the
 * address in units of 16 bytes; the low word alone changes within a tile. */
static __device__ __forceinline__ uint64_t tile_descriptor(uint32_t tile, uint32_t panel)
{
    uint32_t low = tile | (panel >> 4) << 16, high = (1024 >> 4) | 1u << 30;
    uint64_t descriptor;
    asm("mov.b64 %0, {%1, %2};" : "=l"(descriptor) : "r"(low), "r"(high));
    return descriptor;
}
/* Address in units of 16 bytes, known to be the same in all lanes. */
static __device__ __forceinline__ uint32_t tile_address(const void *tile)
{
    uint32_t address = (uint32_t)__cvta_generic_to_shared(tile) >> 4;
    return __shfl_sync(0xffffffffu, address, 0);
}
static __device__ __forceinline__ void product_fence(void)
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
static __device__ __forceinline__ void product_commit(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/* Until at most PENDING of the latest groups are unfinished. */
template <int PENDING> static __device__ __forceinline__ void product_wait(void)
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}
/* The compiler moves arithmetic on accumulators neither before nor behind this; it goes beside each wait. */
template <int COUNT> static __device__ __forceinline__ void pin(float (&x)[COUNT])
{
#pragma unroll
    for (int i = 0; i < COUNT; i++)
        asm volatile("" : "+f"(x[i])::"memory");
}
/* Before tensor cores read what ordinary or asynchronous copies wrote to shared memory; then a barrier. */
static __device__ __forceinline__ void copies_visible(void)
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* d [64 x 64] (+)= a b^T, both from shared memory along their columns; and d [64 x N] += a b with a in registers and b
 * turned: lane l of warp w holds rows 16 w + l/4 (d[4 j], d[4 j + 1]) and + 8 (d[4 j + 2], d[4 j + 3]) of columns
 * 8 j + 2 (l%4) + {0, 1}; a is one 16 x 16 piece a warp, as in device.cuh. */
#define FOUR_NEW(i) "=f"(d[i]), "=f"(d[i + 1]), "=f"(d[i + 2]), "=f"(d[i + 3])
#define FOUR(i)     "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
static __device__ __forceinline__ void product_first(float *d, uint64_t a, uint64_t b)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
                 "}"
                 ", %32, %33, p, 1, 1, 0, 0;\n}\n"
                 : FOUR_NEW(0), FOUR_NEW(4), FOUR_NEW(8), FOUR_NEW(12), FOUR_NEW(16), FOUR_NEW(20),
                   FOUR_NEW(24), FOUR_NEW(28)
                 : "l"(a), "l"(b));
}
static __device__ __forceinline__ void product_shared(float *d, uint64_t a, uint64_t b)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 1, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
                 "}"
                 ", %32, %33, p, 1, 1, 0, 0;\n}\n"
                 : FOUR(0), FOUR(4), FOUR(8), FOUR(12), FOUR(16), FOUR(20), FOUR(24), FOUR(28)
                 : "l"(a), "l"(b));
}
static __device__ __forceinline__ void product_kept_first(float *d, const uint32_t *a, uint64_t b)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
                 "}"
                 ", {%32, %33, %34, %35}, %36, p, 1, 1, 0;\n}\n"
                 : FOUR_NEW(0), FOUR_NEW(4), FOUR_NEW(8), FOUR_NEW(12), FOUR_NEW(16), FOUR_NEW(20),
                   FOUR_NEW(24), FOUR_NEW(28)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
static __device__ __forceinline__ void product_kept(float *d, const uint32_t *a, uint64_t b)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 1, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
                 "}"
                 ", {%32, %33, %34, %35}, %36, p, 1, 1, 0;\n}\n"
                 : FOUR(0), FOUR(4), FOUR(8), FOUR(12), FOUR(16), FOUR(20), FOUR(24), FOUR(28)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
static __device__ __forceinline__ void product_turned_64(float *d, const uint32_t *a, uint64_t b)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
                 "}"
                 ", {%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}\n"
                 : FOUR(0), FOUR(4), FOUR(8), FOUR(12), FOUR(16), FOUR(20), FOUR(24), FOUR(28)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1));
}
static __device__ __forceinline__ void product_turned_128(float *d, const uint32_t *a, uint64_t b)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
                 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
                 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
                 "}"
                 ", {%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}\n"
                 : FOUR(0), FOUR(4), FOUR(8), FOUR(12), FOUR(16), FOUR(20), FOUR(24), FOUR(28),
                   FOUR(32), FOUR(36), FOUR(40), FOUR(44), FOUR(48), FOUR(52), FOUR(56), FOUR(60)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1));
}
#undef FOUR
#undef FOUR_NEW

/* x [64 x 64] = a [64 x DP] b [64 x DP]^T; a_panel: bytes between a's panels; tiles as tile_address gives them. */
template <int DP, int a_panel>
static __device__ __forceinline__ void scores(float x[32], uint32_t a, uint32_t b)
{
    product_first(x, tile_descriptor(a, 16), tile_descriptor(b, 16));
#pragma unroll
    for (int k = 1; k < DP / 16; k++)
        product_shared(x, tile_descriptor(a + (k / 4 * a_panel + k % 4 * 32) / 16, 16),
                       tile_descriptor(b + (k / 4 * (STREAM * LINE_BYTES) + k % 4 * 32) / 16, 16));
}
/* The same with a kept in registers, which halves what shared memory must deliver. Not for DP = 64: ptxas 13.0 then
 * gives the kept registers to other values inside the loop. */
template <int DP>
static __device__ __forceinline__ void scores_kept(float x[32], const uint32_t *a, uint32_t b)
{
    static_assert(DP == 128, "see above");
    product_kept_first(x, a, tile_descriptor(b, 16));
#pragma unroll
    for (int k = 1; k < DP / 16; k++)
        product_kept(x, a + 4 * k,
                     tile_descriptor(b + (k / 4 * (STREAM * LINE_BYTES) + k % 4 * 32) / 16, 16));
}
/* This warp's 16 of a team's 64 rows, as a's registers. */
template <int DP>
static __device__ __forceinline__ void keep_rows(uint32_t kept[DP / 4], const char *a, int a_panel)
{
    int lane = (int)threadIdx.x % 32, row = (int)threadIdx.x % 128 / 32 * 16 + lane % 16;
#pragma unroll
    for (int k = 0; k < DP / 16; k++) {
        int piece = 2 * k + lane / 16;
        load_matrix_x4(kept + 4 * k,
                       a + piece / 8 * a_panel + row * LINE_BYTES + ((piece % 8) ^ (row % 8)) * 16);
    }
}

/* sum [64 x DP] += weights [64 x 64] b [64 x DP], weights as 4 pieces of 16 columns. */
template <int DP>
static __device__ __forceinline__ void accumulate(float sum[DP / 2], const uint32_t weights[16],
                                                  uint32_t b)
{
#pragma unroll
    for (int k = 0; k < 4; k++) {
        uint64_t rows = tile_descriptor(b + k * LINE_BYTES, STREAM * LINE_BYTES);
        if constexpr (DP == 128)
            product_turned_128(sum, weights + 4 * k, rows);
        else
            product_turned_64(sum, weights + 4 * k, rows);
    }
}

/* Columns 8 j .. of an accumulator as a's registers: two blocks of 8 columns make a 16 x 16 piece. */
static __device__ __forceinline__ void pack_weights(uint32_t weights[16], const float x[32])
{
#pragma unroll
    for (int i = 0; i < 16; i++)
        weights[i] = pack_bf16(x[2 * i], x[2 * i + 1]);
}

/* Asks for a tile of ROWS rows; rows from `rows_left` on and columns from `size` on become zeros. */
template <int DP, int ROWS, int THREADS>
static __device__ __forceinline__ void tile_load(char *tile, const bf16 *from, int64_t stride,
                                                 int rows_left, int size)
{
    constexpr int PIECES = DP / 8, AT_ONCE = THREADS / PIECES;
    static_assert(AT_ONCE % 8 == 0, "the swizzle repeats after 8 rows");
    int piece = (int)threadIdx.x % PIECES, row = (int)threadIdx.x / PIECES;
    char *to =
        tile + piece / 8 * (ROWS * LINE_BYTES) + row * LINE_BYTES + ((piece % 8) ^ (row % 8)) * 16;
    const bf16 *source = from + row * stride + piece * 8;
    bool inside = piece * 8 < size;
#pragma unroll
    for (int first = 0; first < ROWS; first += AT_ONCE) {
        if (ROWS % AT_ONCE == 0 || first + row < ROWS)
            copy_async_16(to + first * LINE_BYTES, source + first * stride,
                          inside && first + row < rows_left);
    }
}

/* ---- the ring of passing tiles: who may read and who may write a place ----
 * A team may be almost a step ahead of another, so that one computes probabilities while the other multiplies. */
struct ring_barriers {
    uint64_t full[STAGES];   /* all threads' copies of a step have arrived */
    uint64_t passed[STAGES]; /* all warps are done with a step */
};
static __device__ __forceinline__ uint32_t barrier_address(const uint64_t *barrier)
{
    return (uint32_t)__cvta_generic_to_shared(barrier);
}
/* Where a step's tiles lie, and the parity of the barriers there for this round. */
struct ring_place {
    int turn;
    uint32_t parity;
};
static __device__ __forceinline__ struct ring_place ring_next(struct ring_place at)
{
    return at.turn + 1 < STAGES ? (struct ring_place){at.turn + 1, at.parity}
                                : (struct ring_place){0, at.parity ^ 1};
}
/* All threads; a barrier of the block must follow. */
template <int THREADS> static __device__ __forceinline__ void ring_init(struct ring_barriers *ring)
{
    if (threadIdx.x != 0)
        return;
    for (int i = 0; i < STAGES; i++) {
        asm volatile(
            "mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier_address(&ring->full[i])),
            "r"(THREADS)
            : "memory");
        asm volatile(
            "mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier_address(&ring->passed[i])),
            "r"(THREADS / 32)
            : "memory");
    }
}
/* Arrives when this thread's copies so far have. */
static __device__ __forceinline__ void ring_arrive_copies(uint64_t *barrier)
{
    asm volatile(
        "cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier_address(barrier))
        : "memory");
}
static __device__ __forceinline__ void ring_arrive_warp(uint64_t *barrier)
{
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier_address(barrier))
                     : "memory");
}
static __device__ __forceinline__ void ring_wait(uint64_t *barrier, uint32_t parity)
{
    asm volatile("{\n.reg .pred ready;\nagain:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 ready, [%0], %1;\n"
                 "@ready bra done;\nbra again;\ndone:\n}\n" ::"r"(barrier_address(barrier)),
                 "r"(parity)
                 : "memory");
}
/* After the copies of what stays and of the first step; waits for them. */
template <int GROUPS> static __device__ __forceinline__ void ring_begin(struct ring_barriers *ring)
{
    if (GROUPS > 1)
        ring_arrive_copies(&ring->full[0]);
    copy_async_commit();
    copy_async_wait<0>();
    copies_visible();
    __syncthreads();
}
/* Start of a step: asks for the tiles of the next one, then waits for this one's. A single team needs no more than the
 * barrier of its block. */
template <int GROUPS, typename LOAD>
static __device__ __forceinline__ void ring_enter(struct ring_barriers *ring, struct ring_place at,
                                                  int step, int steps, LOAD load)
{
    if constexpr (GROUPS == 1) {
        copy_async_wait<0>();
        copies_visible();
        __syncthreads();
        if (step + 1 < steps)
            load();
        copy_async_commit();
    } else {
        struct ring_place next = ring_next(at);
        if (step + 1 < steps) {
            if (step + 1 >= STAGES)
                ring_wait(&ring->passed[next.turn], next.parity ^ 1);
            load();
            ring_arrive_copies(&ring->full[next.turn]);
        }
        ring_wait(&ring->full[at.turn], at.parity);
        copies_visible();
    }
}
/* This warp's products of the step before are done. */
template <int GROUPS>
static __device__ __forceinline__ void ring_leave(struct ring_barriers *ring, struct ring_place at,
                                                  int step)
{
    if (GROUPS > 1 && step > 0)
        ring_arrive_warp(&ring->passed[at.turn > 0 ? at.turn - 1 : STAGES - 1]);
}
static __device__ __forceinline__ void copy_async_4(void *shared, const void *global, bool valid)
{
    uint32_t address = (uint32_t)__cvta_generic_to_shared(shared);
    int bytes = valid ? 4 : 0;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(address), "l"(global),
                 "r"(bytes)
                 : "memory");
}

#endif
