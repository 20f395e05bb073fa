/* bench/cuda/probe_rows.cu - what a CUDA backend may rely on for bit-equal rows (docs/numerics.md).
 *
 * Question 1: does an element of a tensor-core product depend on the N tile of the instruction? Runs the
 * same columns through mma.sync m16n8k16 and wgmma m64nNk16 for several N and compares bits.
 * Question 2: which cublasLt algorithms give a row the same bits for every number of rows M? For each weight
 * shape (N, K) and M it asks the heuristic for algorithms without split-K, reduction or workspace, runs all
 * of them, and groups them by the bits of row 0; a class is usable when it has an algorithm for every M.
 * Question 3: are the bits of that class those of one plain chain of mma.sync m16n8k16 over k = 0, 16, 32, ...,
 * with the weights as either operand? Then own kernels and cublasLt may be mixed freely.
 * Prints one JSON line per instruction and per shape. Times are medians of 9 launches with a cold L2. */
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#define MUST(call)                                                                    \
    do {                                                                              \
        int code_ = (int)(call);                                                      \
        if (code_ != 0) {                                                             \
            fprintf(stderr, "%s:%d: %s gave %d\n", __FILE__, __LINE__, #call, code_); \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

/* ---- question 1 ---- */

enum { TILE_K = 1024, TILE_M = 64, TILE_N_MAX = 256 };

template <int N> __device__ void wgmma(float *d, uint64_t a, uint64_t b);
template <> __device__ void wgmma<8>(float *d, uint64_t a, uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0, %1, %2, %3}, %4, %5, 1, "
                 "1, 1, 0, 0;"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "l"(a), "l"(b));
}
template <> __device__ void wgmma<16>(float *d, uint64_t a, uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, "
                 "%6, %7}, %8, %9, 1, 1, 1, 0, 0;"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]),
                   "+f"(d[6]), "+f"(d[7])
                 : "l"(a), "l"(b));
}
template <> __device__ void wgmma<32>(float *d, uint64_t a, uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, "
                 "%6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, %16, %17, 1, 1, 1, 0, 0;"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]),
                   "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]),
                   "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])
                 : "l"(a), "l"(b));
}
template <> __device__ void wgmma<64>(float *d, uint64_t a, uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, "
                 "%6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, "
                 "%23, %24, %25, %26, %27, %28, %29, %30, %31}, %32, %33, 1, 1, 1, 0, 0;"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]),
                   "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]),
                   "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]),
                   "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
                   "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]),
                   "+f"(d[30]), "+f"(d[31])
                 : "l"(a), "l"(b));
}
template <> __device__ void wgmma<128>(float *d, uint64_t a, uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, "
                 "%6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, "
                 "%23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, "
                 "%39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, "
                 "%55, %56, %57, %58, %59, %60, %61, %62, %63}, %64, %65, 1, 1, 1, 0, 0;"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]),
                   "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]),
                   "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]),
                   "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
                   "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]),
                   "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]),
                   "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]),
                   "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]),
                   "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]),
                   "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]),
                   "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
                 : "l"(a), "l"(b));
}
template <> __device__ void wgmma<256>(float *d, uint64_t a, uint64_t b)
{
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, "
        "%8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, "
        "%26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, "
        "%44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, "
        "%62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
        "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, "
        "%98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, "
        "%113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, "
        "%127}, %128, %129, 1, 1, 1, 0, 0;"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
          "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
          "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]),
          "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]),
          "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]),
          "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]),
          "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
          "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
          "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]),
          "+f"(d[63]), "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]),
          "+f"(d[70]), "+f"(d[71]), "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]),
          "+f"(d[77]), "+f"(d[78]), "+f"(d[79]), "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]),
          "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87]), "+f"(d[88]), "+f"(d[89]), "+f"(d[90]),
          "+f"(d[91]), "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95]), "+f"(d[96]), "+f"(d[97]),
          "+f"(d[98]), "+f"(d[99]), "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103]),
          "+f"(d[104]), "+f"(d[105]), "+f"(d[106]), "+f"(d[107]), "+f"(d[108]), "+f"(d[109]),
          "+f"(d[110]), "+f"(d[111]), "+f"(d[112]), "+f"(d[113]), "+f"(d[114]), "+f"(d[115]),
          "+f"(d[116]), "+f"(d[117]), "+f"(d[118]), "+f"(d[119]), "+f"(d[120]), "+f"(d[121]),
          "+f"(d[122]), "+f"(d[123]), "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), "+f"(d[127])
        : "l"(a), "l"(b));
}

/* K-major tile without swizzle: core matrices of 8 rows x 16 bytes; leading = next in K, stride = next 8 rows. */
static __device__ uint64_t describe(const void *tile, uint32_t leading, uint32_t stride)
{
    uint64_t address = (uint64_t)__cvta_generic_to_shared(tile);
    return ((address & 0x3ffff) >> 4) | ((uint64_t)(leading >> 4) << 16) |
           ((uint64_t)(stride >> 4) << 32);
}

/* x [64, K], w [N_MAX, K]; out [64, 8]: the first 8 columns, computed inside a tile of N columns. */
template <int N>
__global__ void tile_product(const __nv_bfloat16 *x, const __nv_bfloat16 *w, float *out)
{
    __shared__ alignas(128) __nv_bfloat16 a[2 * 8 * 64], b[2 * N * 8];
    float d[N / 2];
    for (int i = 0; i < N / 2; i++)
        d[i] = 0;
    for (int k = 0; k < TILE_K; k += 16) {
        __syncthreads();
        for (int i = (int)threadIdx.x; i < 64 * 16; i += 128) {
            int row = i / 16, column = i % 16;
            a[((column / 8) * 8 + row / 8) * 64 + (row % 8) * 8 + column % 8] =
                x[row * TILE_K + k + column];
        }
        for (int i = (int)threadIdx.x; i < N * 16; i += 128) {
            int row = i / 16, column = i % 16;
            b[((column / 8) * (N / 8) + row / 8) * 64 + (row % 8) * 8 + column % 8] =
                w[row * TILE_K + k + column];
        }
        asm volatile("fence.proxy.async;" ::: "memory");
        __syncthreads();
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
        wgmma<N>(d, describe(a, 8 * 128, 128), describe(b, (N / 8) * 128, 128));
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
        asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
    }
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
            out[(warp * 16 + lane / 4 + 8 * i) * 8 + (lane % 4) * 2 + j] = d[i * 2 + j];
}

/* The same with mma.sync: one warp for 16 rows. */
__global__ void mma_product(const __nv_bfloat16 *x, const __nv_bfloat16 *w, float *out)
{
    int lane = (int)threadIdx.x, base = (int)blockIdx.x * 16;
    float d[4] = {0, 0, 0, 0};
    for (int k = 0; k < TILE_K; k += 16) {
        uint32_t a[4], b[2];
        for (int i = 0; i < 4; i++)
            a[i] = *(const uint32_t *)&x[(base + lane / 4 + (i % 2) * 8) * TILE_K + k +
                                         (lane % 4) * 2 + (i / 2) * 8];
        for (int i = 0; i < 2; i++)
            b[i] = *(const uint32_t *)&w[(lane / 4) * TILE_K + k + (lane % 4) * 2 + i * 8];
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
                     "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
            out[(base + lane / 4 + 8 * i) * 8 + (lane % 4) * 2 + j] = d[i * 2 + j];
}

/* Values with spread exponents, so that the order of a sum shows in its bits. */
static float draw(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    uint32_t bits = (uint32_t)(*state >> 33);
    float sign = bits & 1 ? -1.0f : 1.0f,
          fraction = 1.0f + (float)((bits >> 1) & 0xffff) / 65536.0f;
    return sign * fraction * (float)(1 << ((bits >> 17) & 7)) / 128.0f;
}

static __nv_bfloat16 *upload_random(size_t count, uint64_t seed)
{
    std::vector<__nv_bfloat16> host(count);
    for (size_t i = 0; i < count; i++)
        host[i] = __float2bfloat16(draw(&seed));
    __nv_bfloat16 *device;
    MUST(cudaMalloc(&device, count * sizeof host[0]));
    MUST(cudaMemcpy(device, host.data(), count * sizeof host[0], cudaMemcpyHostToDevice));
    return device;
}

static void compare(const char *name, const float *out, std::vector<float> *first)
{
    std::vector<float> host(TILE_M * 8);
    MUST(cudaDeviceSynchronize());
    MUST(cudaMemcpy(host.data(), out, host.size() * sizeof(float), cudaMemcpyDeviceToHost));
    if (first->empty())
        *first = host;
    int differ = 0;
    for (size_t i = 0; i < host.size(); i++)
        differ += memcmp(&host[i], &(*first)[i], sizeof(float)) != 0;
    printf("{\"probe\":\"instruction\",\"name\":\"%s\",\"k\":%d,\"elements\":%zu,\"differ_from_"
           "first\":%d,\"first_value\":%.9g}\n",
           name, TILE_K, host.size(), differ, (double)host[0]);
}

static void probe_instructions(void)
{
    __nv_bfloat16 *x = upload_random((size_t)TILE_M * TILE_K, 1),
                  *w = upload_random((size_t)TILE_N_MAX * TILE_K, 2);
    float *out;
    MUST(cudaMalloc(&out, TILE_M * 8 * sizeof(float)));
    std::vector<float> first;
    tile_product<8><<<1, 128>>>(x, w, out), compare("wgmma n8", out, &first);
    tile_product<16><<<1, 128>>>(x, w, out), compare("wgmma n16", out, &first);
    tile_product<32><<<1, 128>>>(x, w, out), compare("wgmma n32", out, &first);
    tile_product<64><<<1, 128>>>(x, w, out), compare("wgmma n64", out, &first);
    tile_product<128><<<1, 128>>>(x, w, out), compare("wgmma n128", out, &first);
    tile_product<256><<<1, 128>>>(x, w, out), compare("wgmma n256", out, &first);
    mma_product<<<TILE_M / 16, 32>>>(x, w, out), compare("mma.sync m16n8", out, &first);
    MUST(cudaFree(x));
    MUST(cudaFree(w));
    MUST(cudaFree(out));
}

/* ---- question 3 ---- */

/* Rows 0..15 of x [16, K] times w [N, K]: one warp for 8 columns, or for 16 with the weights as operand A. K % 16 = 0.
 * Result f32 [16, N]. */
template <bool SWAP>
__global__ void chain(const __nv_bfloat16 *x, const __nv_bfloat16 *w, float *out, int n, int k_count)
{
    int lane = (int)threadIdx.x, base = (int)blockIdx.x * (SWAP ? 16 : 8);
    const __nv_bfloat16 *left = SWAP ? w + (size_t)base * k_count : x;
    const __nv_bfloat16 *right = SWAP ? x : w + (size_t)base * k_count;
    for (int half = 0; half < (SWAP ? 2 : 1); half++, right += (size_t)8 * k_count) {
        float d[4] = {0, 0, 0, 0};
        for (int k = 0; k < k_count; k += 16) {
            uint32_t a[4], b[2];
            for (int i = 0; i < 4; i++)
                a[i] = *(const uint32_t *)&left[(size_t)(lane / 4 + (i % 2) * 8) * k_count + k +
                                                (lane % 4) * 2 + (i / 2) * 8];
            for (int i = 0; i < 2; i++)
                b[i] = *(const uint32_t *)&right[(size_t)(lane / 4) * k_count + k + (lane % 4) * 2 +
                                                 i * 8];
            asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
                         "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                         : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
        }
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 2; j++) {
                int row = lane / 4 + 8 * i, column = (lane % 4) * 2 + j;
                if (SWAP)
                    out[(size_t)(half * 8 + column) * n + base + row] = d[i * 2 + j];
                else
                    out[(size_t)row * n + base + column] = d[i * 2 + j];
            }
    }
}

/* How many elements of rows 0..15 differ between cublasLt's f32 result y [>= 16, N] and the chain. */
static void probe_chain(const __nv_bfloat16 *x, const __nv_bfloat16 *w, const unsigned char *y,
                        int64_t n, int64_t k)
{
    std::vector<float> library((size_t)(16 * n)), own(library.size()), swapped(library.size());
    float *out;
    MUST(cudaMalloc(&out, library.size() * sizeof(float)));
    MUST(cudaMemcpy(library.data(), y, library.size() * sizeof(float), cudaMemcpyDeviceToHost));
    chain<false><<<(unsigned)(n / 8), 32>>>(x, w, out, (int)n, (int)k);
    MUST(cudaMemcpy(own.data(), out, own.size() * sizeof(float), cudaMemcpyDeviceToHost));
    chain<true><<<(unsigned)(n / 16), 32>>>(x, w, out, (int)n, (int)k);
    MUST(cudaMemcpy(swapped.data(), out, own.size() * sizeof(float), cudaMemcpyDeviceToHost));
    size_t differ = 0, differ_swapped = 0;
    for (size_t i = 0; i < own.size(); i++) {
        differ += memcmp(&own[i], &library[i], sizeof(float)) != 0;
        differ_swapped += memcmp(&swapped[i], &library[i], sizeof(float)) != 0;
    }
    printf("{\"probe\":\"chain\",\"n\":%lld,\"k\":%lld,\"elements\":%zu,\"differ\":%zu,\"differ_swapped\":%zu}\n",
           (long long)n, (long long)k, own.size(), differ, differ_swapped);
    MUST(cudaFree(out));
}

/* ---- question 2 ---- */

enum { ALGORITHMS_MAX = 64, LAUNCHES = 9 };

struct result {
    uint64_t bits; /* of row 0 */
    bool position; /* the same row at the end of the product has the same bits */
    float us;
    std::string name;
};

struct bench {
    cublasLtHandle_t handle;
    cudaEvent_t begin, end;
    char *flush; /* written between launches: 64 MiB, more than L2 */
};

static uint64_t hash_row(const unsigned char *bytes, size_t size)
{
    uint64_t hash = 1469598103934665603ull;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 1099511628211ull;
    return hash;
}

template <typename T>
static T attribute(const cublasLtMatmulAlgo_t *algorithm, cublasLtMatmulAlgoConfigAttributes_t key)
{
    T value = 0;
    size_t written = 0;
    MUST(cublasLtMatmulAlgoConfigGetAttribute(algorithm, key, &value, sizeof value, &written));
    return value;
}

static std::string describe_algorithm(const cublasLtMatmulAlgo_t *algorithm)
{
    char text[96];
    snprintf(text, sizeof text, "id%d tile%u stages%u cluster%u inner%u",
             attribute<int32_t>(algorithm, CUBLASLT_ALGO_CONFIG_ID),
             attribute<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID),
             attribute<uint32_t>(algorithm, CUBLASLT_ALGO_CONFIG_STAGES_ID),
             (unsigned)attribute<uint16_t>(algorithm, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID),
             (unsigned)attribute<uint16_t>(algorithm, CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID));
    return text;
}

/* y [M, N] = x [M, K] W^T with W [N, K]: column-major C (N x M) = W^T x. */
static std::vector<result> run_all(struct bench *bench, int64_t m, int64_t n, int64_t k,
                                   cudaDataType_t out_type, const __nv_bfloat16 *x,
                                   const __nv_bfloat16 *w, unsigned char *y)
{
    size_t element = out_type == CUDA_R_32F ? 4 : 2;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t la, lb, lc;
    cublasLtMatmulPreference_t preference;
    cublasOperation_t transpose = CUBLAS_OP_T;
    uint32_t none = CUBLASLT_REDUCTION_SCHEME_NONE;
    size_t workspace = 0;
    MUST(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    MUST(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                                        sizeof transpose));
    MUST(cublasLtMatrixLayoutCreate(&la, CUDA_R_16BF, (uint64_t)k, (uint64_t)n, k));
    MUST(cublasLtMatrixLayoutCreate(&lb, CUDA_R_16BF, (uint64_t)k, (uint64_t)m, k));
    MUST(cublasLtMatrixLayoutCreate(&lc, out_type, (uint64_t)n, (uint64_t)m, n));
    MUST(cublasLtMatmulPreferenceCreate(&preference));
    MUST(cublasLtMatmulPreferenceSetAttribute(
        preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &none, sizeof none));
    MUST(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                              &workspace, sizeof workspace));
    cublasLtMatmulHeuristicResult_t found[ALGORITHMS_MAX];
    int count = 0;
    cublasLtMatmulAlgoGetHeuristic(bench->handle, product, la, lb, lc, lc, preference,
                                   ALGORITHMS_MAX, found, &count);
    std::vector<result> results;
    std::vector<unsigned char> row(n * element), last(n * element);
    for (int i = 0; i < count; i++) {
        if (attribute<int32_t>(&found[i].algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM) > 1)
            continue;
        const float one = 1, zero = 0;
        std::vector<float> times;
        bool works = true;
        for (int launch = 0; launch < LAUNCHES && works; launch++) {
            MUST(cudaMemsetAsync(bench->flush, launch, 64 << 20));
            MUST(cudaEventRecord(bench->begin));
            works = cublasLtMatmul(bench->handle, product, &one, w, la, x, lb, &zero, y, lc, y, lc,
                                   &found[i].algo, NULL, 0, 0) == CUBLAS_STATUS_SUCCESS;
            MUST(cudaEventRecord(bench->end));
            MUST(cudaEventSynchronize(bench->end));
            float ms = 0;
            MUST(cudaEventElapsedTime(&ms, bench->begin, bench->end));
            times.push_back(ms * 1000);
        }
        if (!works)
            continue;
        MUST(cudaMemcpy(row.data(), y, row.size(), cudaMemcpyDeviceToHost));
        MUST(cudaMemcpy(last.data(), y + (size_t)(m - 1) * n * element, last.size(),
                        cudaMemcpyDeviceToHost));
        std::sort(times.begin(), times.end());
        results.push_back({hash_row(row.data(), row.size()), row == last, times[times.size() / 2],
                           describe_algorithm(&found[i].algo)});
    }
    cublasLtMatmulPreferenceDestroy(preference);
    cublasLtMatrixLayoutDestroy(la);
    cublasLtMatrixLayoutDestroy(lb);
    cublasLtMatrixLayoutDestroy(lc);
    cublasLtMatmulDescDestroy(product);
    return results;
}

static const int64_t row_counts[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096};
enum { ROW_COUNTS = sizeof row_counts / sizeof row_counts[0] };

static void probe_shape(struct bench *bench, int64_t n, int64_t k, cudaDataType_t out_type,
                        const __nv_bfloat16 *x, const __nv_bfloat16 *w, unsigned char *y)
{
    std::map<uint64_t, std::vector<float>> classes; /* bits -> fastest time for each M, 0 = none */
    std::vector<float> fastest(ROW_COUNTS, 0);
    int algorithms = 0, position_fails = 0;
    for (int i = 0; i < ROW_COUNTS; i++) {
        int64_t m = row_counts[i];
        /* row m - 1 holds the values of row 0 */
        MUST(cudaMemcpy((void *)(x + (m - 1) * k), x, (size_t)k * sizeof *x,
                        cudaMemcpyDeviceToDevice));
        for (const result &one : run_all(bench, m, n, k, out_type, x, w, y)) {
            algorithms++;
            position_fails += !one.position;
            std::vector<float> &times = classes[one.bits];
            times.resize(ROW_COUNTS, 0);
            if (times[i] == 0 || one.us < times[i])
                times[i] = one.us;
            if (fastest[i] == 0 || one.us < fastest[i])
                fastest[i] = one.us;
        }
    }
    int whole = 0;
    const std::vector<float> *best = NULL;
    double best_cost = 0;
    for (const auto &one : classes) {
        double cost = 0;
        bool covers = true;
        for (int i = 0; i < ROW_COUNTS; i++) {
            covers = covers && one.second[i] > 0;
            cost += one.second[i] / fastest[i];
        }
        whole += covers;
        if (covers && (best == NULL || cost < best_cost))
            best = &one.second, best_cost = cost;
    }
    printf("{\"probe\":\"rows\",\"n\":%lld,\"k\":%lld,\"out\":\"%s\",\"algorithms\":%d,\"position_"
           "fails\":%d,\"classes\":%zu,\"classes_for_every_m\":%d",
           (long long)n, (long long)k, out_type == CUDA_R_32F ? "f32" : "bf16", algorithms,
           position_fails, classes.size(), whole);
    printf(",\"us\":{");
    for (int i = 0; i < ROW_COUNTS; i++)
        printf("%s\"%lld\":[%.1f,%.1f]", i > 0 ? "," : "", (long long)row_counts[i],
               best != NULL ? (double)(*best)[i] : 0.0, (double)fastest[i]);
    printf("}}\n");
    fflush(stdout);
}

int main(void)
{
    cudaDeviceProp device;
    MUST(cudaGetDeviceProperties(&device, 0));
    printf("{\"probe\":\"device\",\"name\":\"%s\",\"sm\":%d%d,\"cublaslt\":%zu}\n", device.name,
           device.major, device.minor, cublasLtGetVersion());
    probe_instructions();
    static const int64_t shapes[][2] = {{1152, 896},  {896, 896},    {9728, 896},   {896, 4864},
                                        {2048, 1536}, {1536, 1536},  {17920, 1536}, {1536, 8960},
                                        {4608, 3584}, {3584, 3584},  {3584, 18944}, {24576, 6144},
                                        {6144, 8192}, {151936, 1536}};
    struct bench bench;
    MUST(cublasLtCreate(&bench.handle));
    MUST(cudaEventCreate(&bench.begin));
    MUST(cudaEventCreate(&bench.end));
    MUST(cudaMalloc(&bench.flush, 64 << 20));
    for (const auto &shape : shapes) {
        int64_t n = shape[0], k = shape[1];
        __nv_bfloat16 *x = upload_random((size_t)4096 * k, 3), *w = upload_random((size_t)n * k, 4);
        unsigned char *y;
        MUST(cudaMalloc(&y, (size_t)4096 * n * 4));
        probe_shape(&bench, n, k, CUDA_R_16BF, x, w, y);
        probe_shape(&bench, n, k, CUDA_R_32F, x, w, y);
        probe_chain(x, w, y, n, k); /* y: the last algorithm's, M = 4096 */
        MUST(cudaFree(x));
        MUST(cudaFree(w));
        MUST(cudaFree(y));
    }
    return 0;
}
