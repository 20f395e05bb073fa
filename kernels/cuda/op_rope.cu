/* kernels/cuda/op_rope.cu - rotary position embedding, rotate-half (RoFormer, arXiv:2104.09864 eq. 34), in place.
 *
 * One block has a row; a thread takes 8 pairs at a time, (x_j, x_{j + R/2}) for 8 consecutive j, so that both halves
 * move in 16-byte pieces where R/2 and the strides allow it. */
#include "kernels/cuda/norm.cuh"

enum { PAIRS = 8 };

template <typename T> static __global__ void rope_rows(const struct op_rope args, bool whole)
{
    int64_t row = blockIdx.x, half = args.rotary / 2;
    int pieces = (int)((half + PAIRS - 1) / PAIRS), all = (int)args.heads * pieces;
    const float *cosine = args.cosine + args.positions[row] * half;
    const float *sine = args.sine + args.positions[row] * half;
    for (int i = (int)threadIdx.x; i < all; i += (int)blockDim.x) {
        int head = i / pieces, j = (i - head * pieces) * PAIRS;
        T *x = (T *)args.x + row * args.row_stride + head * args.head_size + j;
        float first[PAIRS], second[PAIRS], c[PAIRS], s[PAIRS];
        load_some<T, PAIRS>(first, x, half - j, whole);
        load_some<T, PAIRS>(second, x + half, half - j, whole);
        load_some<float, PAIRS / 2>(c, cosine + j, half - j, whole);
        load_some<float, PAIRS / 2>(c + PAIRS / 2, cosine + j + PAIRS / 2, half - j - PAIRS / 2,
                                    whole);
        load_some<float, PAIRS / 2>(s, sine + j, half - j, whole);
        load_some<float, PAIRS / 2>(s + PAIRS / 2, sine + j + PAIRS / 2, half - j - PAIRS / 2,
                                    whole);
#pragma unroll
        for (int p = 0; p < PAIRS; p++)
            rope_pair(&first[p], &second[p], c[p], args.inverse ? -s[p] : s[p]);
        store_some<T, PAIRS>(x, first, half - j, whole);
        store_some<T, PAIRS>(x + half, second, half - j, whole);
    }
}

template <typename T> static enum status rope(struct cuda_context *cuda, const struct op_rope *args)
{
    int64_t half = args->rotary / 2;
    bool whole = half % PAIRS == 0 && args->row_stride % PAIRS == 0 &&
                 args->head_size % PAIRS == 0 && (uintptr_t)args->x % 16 == 0 &&
                 (uintptr_t)args->cosine % 16 == 0 && (uintptr_t)args->sine % 16 == 0;
    int64_t work = args->heads * ((half + PAIRS - 1) / PAIRS);
    unsigned threads = work >= 256 ? 256 : (unsigned)((work + 31) / 32 * 32);
    rope_rows<T><<<(unsigned)args->rows, threads, 0, cuda->stream>>>(*args, whole);
    return cuda_launched("rope");
}

extern "C" enum status cuda_rope(void *context, const struct op_rope *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->rows == 0 || args->heads == 0 || args->rotary == 0)
        return STATUS_OK;
    return cuda->f32 ? rope<float>(cuda, args) : rope<bf16>(cuda, args);
}
