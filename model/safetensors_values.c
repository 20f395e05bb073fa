/* model/safetensors_values.c - numbers of a tensor, whatever it is stored as.
 *
 * Whole runs of weights come by pread through a small buffer on the stack: on page-cached files it is faster than
 * faulting a mapping in, a file cut behind our back is an error instead of a signal, and the pages of the file
 * do not count as memory of this process. */
#include "model/safetensors.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/check.h"

enum { STAGE_BYTES = 1 << 16, BLOCK = 32 };

static float bits_f32(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The exponent moves by 2^112, which is exact for subnormals, too; infinities and NaN keep the largest one. No
 * branches, so that it becomes vector code. */
static float f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, rest = (uint32_t)(half & 0x7fffu) << 13;
    float scaled = bits_f32(rest) * 0x1p112f;
    uint32_t bits;
    memcpy(&bits, &scaled, sizeof bits);
    bits |= rest >= 0x0f800000u ? 0x7f800000u : 0;
    return bits_f32(bits | sign);
}

/* Element i; the data need not be aligned in the file. */
static double element(const struct safetensor *tensor, int64_t i)
{
    const uint8_t *at =
        (const uint8_t *)tensor->bytes + (size_t)i * safetensors_dtype_bytes(tensor->dtype);
    union {
        double f64;
        float f32;
        uint16_t u16;
        int64_t i64;
        int32_t i32;
        uint64_t u64;
        uint32_t u32;
        int16_t i16;
        int8_t i8;
        uint8_t u8;
    } value;
    memcpy(&value, at, safetensors_dtype_bytes(tensor->dtype));
    switch (tensor->dtype) {
    case ST_F64:
        return value.f64;
    case ST_F32:
        return value.f32;
    case ST_BF16:
        return bits_f32((uint32_t)value.u16 << 16);
    case ST_F16:
        return f16_to_f32(value.u16);
    case ST_I64:
        return (double)value.i64;
    case ST_I32:
        return value.i32;
    case ST_U64:
        return (double)value.u64;
    case ST_U32:
        return value.u32;
    case ST_I16:
        return value.i16;
    case ST_U16:
        return value.u16;
    case ST_I8:
        return value.i8;
    default:
        return value.u8;
    }
}

static enum status check_known(const struct safetensor *tensor)
{
    if (tensor->dtype != ST_F8_E4M3 && tensor->dtype != ST_F8_E5M2)
        return STATUS_OK;
    return FAIL(STATUS_UNSUPPORTED, "tensor %s is %s; convert the weights to bf16 first",
                tensor->name, safetensors_dtype_name(tensor->dtype));
}

/* Blocks of a fixed size become vector code at -O2. */
static void widen_block(enum safetensors_dtype dtype, const uint16_t *restrict bits,
                        float *restrict out)
{
    if (dtype == ST_BF16)
        for (int i = 0; i < BLOCK; i++)
            out[i] = bits_f32((uint32_t)bits[i] << 16);
    else
        for (int i = 0; i < BLOCK; i++)
            out[i] = f16_to_f32(bits[i]);
}

/* `count` elements of 16 bits. */
static void widen(enum safetensors_dtype dtype, const uint16_t *bits, size_t count, float *out)
{
    size_t i = 0;
    for (; i + BLOCK <= count; i += BLOCK)
        widen_block(dtype, bits + i, out + i);
    for (; i < count; i++)
        out[i] = dtype == ST_BF16 ? bits_f32((uint32_t)bits[i] << 16) : f16_to_f32(bits[i]);
}

/* A piece of the tensor in memory, read as F64 or an integer. */
static void narrow(const struct safetensor *tensor, const void *bytes, size_t count, float *out)
{
    struct safetensor piece = *tensor;
    piece.bytes = bytes;
    for (size_t i = 0; i < count; i++)
        out[i] = (float)element(&piece, (int64_t)i);
}

enum status safetensors_read_f32(const struct safetensors *file, const struct safetensor *tensor,
                                 int64_t first, int64_t count, float *out)
{
    CHECK(first >= 0 && count >= 0 && count <= tensor->count - first);
    TRY(check_known(tensor));
    size_t each = safetensors_dtype_bytes(tensor->dtype), at = (size_t)first * each;
    if (tensor->dtype == ST_F32)
        return safetensors_read_bytes(file, tensor, at, (size_t)count * each, out);
    _Alignas(64) uint8_t stage[STAGE_BYTES];
    for (size_t left = (size_t)count; left > 0;) {
        size_t now = left < STAGE_BYTES / each ? left : STAGE_BYTES / each;
        TRY(safetensors_read_bytes(file, tensor, at, now * each, stage));
        if (each == 2 && tensor->dtype != ST_I16 && tensor->dtype != ST_U16)
            widen(tensor->dtype, (const uint16_t *)(const void *)stage, now, out);
        else
            narrow(tensor, stage, now, out);
        left -= now;
        out += now;
        at += now * each;
    }
    return STATUS_OK;
}

enum status safetensor_to_f32(const struct safetensor *tensor, float *out)
{
    TRY(check_known(tensor));
    if (tensor->dtype == ST_F32 && tensor->count > 0)
        memcpy(out, tensor->bytes, tensor->size);
    else
        for (int64_t i = 0; i < tensor->count; i++)
            out[i] = (float)element(tensor, i);
    return STATUS_OK;
}

enum status safetensor_to_f64(const struct safetensor *tensor, double *out)
{
    TRY(check_known(tensor));
    for (int64_t i = 0; i < tensor->count; i++)
        out[i] = element(tensor, i);
    return STATUS_OK;
}

enum status safetensor_to_i32(const struct safetensor *tensor, int32_t *out)
{
    TRY(check_known(tensor));
    for (int64_t i = 0; i < tensor->count; i++) {
        double value = nearbyint(element(tensor, i));
        if (!(value >= INT32_MIN && value <= INT32_MAX))
            return FAIL(STATUS_INVALID, "tensor %s: element %" PRId64 " is %g, no 32-bit integer",
                        tensor->name, i, value);
        out[i] = (int32_t)value;
    }
    return STATUS_OK;
}
