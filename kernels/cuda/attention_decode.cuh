/* kernels/cuda/attention_decode.cuh - what decode_kernel leaves for fold_kernel (op_attention_decode.cu). */
#ifndef KERNELS_CUDA_ATTENTION_DECODE_CUH
#define KERNELS_CUDA_ATTENTION_DECODE_CUH

#include "kernels/cuda/attention.cuh"

/* A kv head's group of query heads is cut into `parts` of at most DECODE_HEADS heads. Vectors of a partial: rows of the
 * segment times query heads. Without partials sequences are not cut. */
struct decode_call {
    struct attention_call call;
    int32_t first, count; /* segments of this launch */
    int32_t parts, heads; /* heads of a part, the last may have fewer */
    int32_t rows_max;     /* rows of a segment that can come here */
    float *partial;       /* [count, rows_max, H, pages_per_slot, 64 or 128] o_t, or NULL */
    float2 *partial_ml;   /* [count, rows_max, H, pages_per_slot] m_t, l_t */
    int32_t *merged;      /* [count, G, parts] tiles of the first piece of each sequence */
};

/* The first tile that a row of the segment sees. Tiles of a segment are counted from it in these kernels. */
static __device__ __forceinline__ int segment_first(const struct op_segment *segment,
                                                    const struct attention_call *call)
{
    return first_seen(segment->position, call->window) / CUDA_KV_TILE;
}

/* Tiles of a segment that decodes; 0: it is not for these kernels. */
static __device__ __forceinline__ int segment_tiles(const struct op_segment *segment,
                                                    const struct attention_call *call)
{
    if (segment->slot < 0 || !decodes(segment, call))
        return 0;
    return (segment->position + segment->count - 1) / CUDA_KV_TILE + 1 -
           segment_first(segment, call);
}

/* op_attention_fold.cu: launched right behind decode_kernel. */
enum status attention_fold(struct cuda_context *cuda, const struct decode_call *call);

#endif
