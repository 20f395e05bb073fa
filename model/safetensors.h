/* model/safetensors.h - reading and writing one .safetensors file, with strict header checks.
 *
 * Reading maps the file. Refused with file, tensor and numbers: a header longer than the file or than
 * 100 MB, JSON that does not parse or has duplicate names, unknown dtypes, offsets that overlap, leave
 * holes, do not match shape x dtype, or do not cover the data exactly (a truncated file). */
#ifndef MODEL_SAFETENSORS_H
#define MODEL_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

/* All that files of this format hold; weights are F32, BF16, F16 or F64. */
enum safetensors_dtype {
    ST_F64,
    ST_F32,
    ST_BF16,
    ST_F16,
    ST_I64,
    ST_I32,
    ST_U8,
    ST_U64,
    ST_U32,
    ST_I16,
    ST_U16,
    ST_I8,
    ST_BOOL,
    ST_F8_E4M3,
    ST_F8_E5M2,
    ST_DTYPE_COUNT
};

struct safetensor {
    const char *name;
    enum safetensors_dtype dtype;
    int32_t dims;
    int64_t shape[8];
    int64_t count;     /* elements */
    const void *bytes; /* in the mapped file */
    size_t size;
};

struct safetensors; /* an open file */

MUST_CHECK enum status safetensors_open(struct safetensors **file, const char *path);
/* The same on bytes in memory, borrowed until close; name stands for the path in errors. */
MUST_CHECK enum status safetensors_open_bytes(struct safetensors **file, const void *bytes,
                                              size_t size, const char *name);
void safetensors_close(struct safetensors **file);
int64_t safetensors_count(const struct safetensors *file);
const struct safetensor *safetensors_at(const struct safetensors *file,
                                        int64_t index); /* in file order */
const struct safetensor *safetensors_find(const struct safetensors *file,
                                          const char *name); /* NULL: none */
const char *safetensors_path(const struct safetensors *file);
/* `size` bytes of the tensor from byte `begin`. Any thread. IO; CORRUPT: the file has become shorter. */
MUST_CHECK enum status safetensors_read_bytes(const struct safetensors *file,
                                              const struct safetensor *tensor, size_t begin,
                                              size_t size, void *out);
/* Elements first .. first + count - 1 as f32, read from the file: several threads may read pieces of one tensor. */
MUST_CHECK enum status safetensors_read_f32(const struct safetensors *file,
                                            const struct safetensor *tensor, int64_t first,
                                            int64_t count, float *out);
/* Converts count elements to f32 / f64 / i32 (exact or rounded to nearest). UNSUPPORTED: eight-bit floats. */
MUST_CHECK enum status safetensor_to_f32(const struct safetensor *tensor, float *out);
MUST_CHECK enum status safetensor_to_f64(const struct safetensor *tensor, double *out);
MUST_CHECK enum status safetensor_to_i32(const struct safetensor *tensor, int32_t *out);

/* Writing: data as f32 in memory, stored as `dtype` (F32 or BF16, round to nearest even): the F32 rows in the
 * given order, then the BF16 rows, so that every tensor is aligned to its element. path.tmp, fsync, rename. metadata: {"format":"pt"} plus the given key/value pairs. */
struct safetensors_row {
    const char *name;
    enum safetensors_dtype dtype;
    int32_t dims;
    int64_t shape[8];
    const float *values; /* NULL: from `fill` */
};
/* Elements first .. first + count - 1 of row `row` of the list into out; pieces of a row come in order. */
typedef enum status (*safetensors_fill_fn)(void *self, int64_t row, int64_t first, int64_t count,
                                           float *out);
/* The same for rows without values; no more than 256 KiB are asked for at a time. */
MUST_CHECK enum status safetensors_write_filled(const char *path,
                                                const struct safetensors_row *rows, int64_t count,
                                                safetensors_fill_fn fill, void *self);
MUST_CHECK enum status safetensors_write(const char *path, const struct safetensors_row *rows,
                                         int64_t count, const char *const *metadata_keys,
                                         const char *const *metadata_values,
                                         int64_t metadata_count);
const char *safetensors_dtype_name(enum safetensors_dtype dtype);
size_t safetensors_dtype_bytes(enum safetensors_dtype dtype);

#endif
