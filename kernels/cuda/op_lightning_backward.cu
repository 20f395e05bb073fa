/* kernels/cuda/op_lightning_backward.cu - gradients of lightning attention: three walks of lightning.cuh,
 *   dq_t = sum_{j<=t} w^{t-j} (dy_t . v_j) k_j     dv_j = sum_{t>=j} w^{t-j} (k_j . q_t) dy_t
 *   dk_j = sum_{t>=j} w^{t-j} (v_j . dy_t) q_t
 * in one launch; states are recomputed, not stored by forward. Every sum has one fixed order for given rows; cuts
 * in time do not change bits. */
#include "kernels/cuda/lightning.cuh"

/* f32: token by token, S [D, D] in shared memory, thread = channel of y; one block a head, segment and role. */
struct plain_call {
    struct lightning_role<float> role[LIGHTNING_ROLES];
    int size;
    const float *slopes;
    const struct op_segment *segments;
};

static __global__ void lightning_backward_plain(const __grid_constant__ struct plain_call call)
{
    extern __shared__ float shared[]; /* S [D, D], q [D], k [D] */
    const struct lightning_role<float> &role = call.role[blockIdx.z];
    struct op_segment segment = call.segments[blockIdx.y];
    int size = call.size, head = (int)blockIdx.x, a = (int)threadIdx.x;
    float *s = shared, *q = s + size * size, *k = q + size;
    float decay = lightning_decay(call.slopes[head], 1);
    for (int b = 0; b < size; b++)
        s[b * size + a] = 0.0f;
    for (int t = 0; t < segment.count; t++) {
        int64_t row = (int64_t)segment.row + (role.reverse ? segment.count - 1 - t : t);
        q[a] = role.q[row * role.q_row + head * role.q_head + a];
        k[a] = role.k[row * role.k_row + head * role.k_head + a];
        float v = role.v[row * role.v_row + head * role.v_head + a];
        __syncthreads();
        double sum = 0;
        for (int b = 0; b < size; b++) {
            float next = __fmaf_rn(decay, s[b * size + a], k[b] * v);
            s[b * size + a] = next;
            sum += (double)q[b] * (double)next;
        }
        role.y[row * role.y_row + head * role.y_head + a] = (float)sum;
        __syncthreads();
    }
}

template <typename T>
static void fill_roles(const struct op_lightning_backward *args,
                       struct lightning_role<T> role[LIGHTNING_ROLES])
{
    const T *q = (const T *)args->q, *k = (const T *)args->k, *v = (const T *)args->v;
    const T *dy = (const T *)args->dy;
    int64_t row = args->row_stride, head = args->head_stride;
    int64_t dy_head = args->head_size, dy_row = args->heads * dy_head;
    role[0] = lightning_role<T>{dy,   v,   k,    (T *)args->dq, dy_row, dy_head, row,
                                head, row, head, row,           head,   0};
    role[1] = lightning_role<T>{k,    q,      dy,      (T *)args->dv, row,  head, row,
                                head, dy_row, dy_head, row,           head, 1};
    role[2] = lightning_role<T>{v,       dy,  q,    (T *)args->dk, row,  head, dy_row,
                                dy_head, row, head, row,           head, 1};
}

static enum status plain(struct cuda_context *cuda, const struct op_lightning_backward *args)
{
    struct plain_call call = {};
    fill_roles<float>(args, call.role);
    call.size = (int)args->head_size;
    call.slopes = args->slopes;
    call.segments = args->segments;
    size_t bytes = (size_t)(call.size * call.size + 2 * call.size) * sizeof(float);
    dim3 grid((unsigned)args->heads, (unsigned)args->segment_count, LIGHTNING_ROLES);
    CUDA_TRY(cudaFuncSetAttribute(lightning_backward_plain,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    lightning_backward_plain<<<grid, (unsigned)call.size, bytes, cuda->stream>>>(call);
    return cuda_launched("lightning backward f32");
}

static bool all_aligned(const struct op_lightning_backward *args)
{
    const void *strided[] = {args->q, args->k, args->v, args->dq, args->dk, args->dv};
    for (const void *pointer : strided)
        if (!lightning_aligned(pointer, args->row_stride, args->head_stride))
            return false;
    return lightning_aligned(args->dy, args->head_size, args->head_size);
}

extern "C" enum status cuda_lightning_backward(void *context,
                                               const struct op_lightning_backward *args)
{
    struct cuda_context *cuda = cuda_begin(context);
    if (args->rows == 0 || args->segment_count == 0)
        return STATUS_OK;
    TRY(lightning_supported(cuda, args->head_size, args->chunk, args->segment_count));
    if (cuda->f32)
        return plain(cuda, args);
    struct lightning_walk walk = {};
    fill_roles<bf16>(args, walk.role);
    walk.roles = LIGHTNING_ROLES;
    walk.heads = (int)args->heads;
    walk.head_size = (int)args->head_size;
    walk.chunk = (int)args->chunk;
    walk.rows = args->rows;
    walk.slopes = args->slopes;
    walk.segments = args->segments;
    walk.segment_count = args->segment_count;
    walk.aligned = all_aligned(args);
    return lightning_walk_run(cuda, &walk);
}
