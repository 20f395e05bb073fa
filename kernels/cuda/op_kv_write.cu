/* kernels/cuda/op_kv_write.cu - keys and values of new rows into their pages; the layout is in attention.cuh. */
#include "kernels/cuda/attention.cuh"

enum { THREADS = 128 };

/* Block = row. */
template <typename T>
static __global__ void kv_write_kernel(const __grid_constant__ struct op_kv_write op)
{
    __shared__ int found;
    int64_t row = blockIdx.x, size = op.head_size;
    int index = segment_of_row(op.segments, op.segment_count, row, &found);
    if (index < 0 || op.segments[index].slot < 0)
        return;
    int64_t position = op.segments[index].position + row - op.segments[index].row;
    int64_t keys = kv_tile_start(op.page_table, op.pages_per_slot, op.segments[index].slot,
                                 position / CUDA_KV_TILE, op.kv_heads, size, 0, false);
    int64_t values = keys + op.kv_heads * CUDA_KV_TILE * size, token = position % CUDA_KV_TILE;
    for (int64_t i = threadIdx.x; i < op.kv_heads * size; i += THREADS) {
        int64_t place = i / size * CUDA_KV_TILE * size + kv_place<T>(size, token, i % size);
        ((T *)op.pages)[keys + place] = ((const T *)op.k)[row * op.row_stride + i];
        ((T *)op.pages)[values + place] = ((const T *)op.v)[row * op.row_stride + i];
    }
}

extern "C" enum status cuda_kv_write(void *context, const struct op_kv_write *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->rows == 0)
        return STATUS_OK;
    if (cuda->f32)
        kv_write_kernel<float><<<(unsigned)args->rows, THREADS, 0, cuda->stream>>>(*args);
    else
        kv_write_kernel<bf16><<<(unsigned)args->rows, THREADS, 0, cuda->stream>>>(*args);
    return cuda_launched("kv_write");
}
