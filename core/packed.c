/* core/packed.c - see packed.h. */
#include "core/packed.h"

#include <string.h>
#include <zstd.h>

#include "core/file.h"

bool packed_is(const char *path)
{
    size_t size = strlen(path);
    return size > 4 && strcmp(path + size - 4, ".zst") == 0;
}

static enum status unpack(ZSTD_DStream *stream, const char *path, const struct buffer *packed,
                          struct buffer *contents)
{
    ZSTD_inBuffer in = {packed->bytes, packed->size, 0};
    size_t rest = 1; /* 0: a frame is complete; no frame at all is none */
    while (in.pos < in.size || rest != 0) {
        size_t before = in.pos, chunk = ZSTD_DStreamOutSize();
        TRY(buffer_reserve(contents, chunk));
        ZSTD_outBuffer out = {contents->bytes + contents->size, chunk, 0};
        rest = ZSTD_decompressStream(stream, &out, &in);
        if (ZSTD_isError(rest))
            return FAIL(STATUS_CORRUPT, "%s: byte %zu: %s", path, in.pos, ZSTD_getErrorName(rest));
        contents->size += out.pos;
        if (rest != 0 && in.pos == before && out.pos == 0)
            return FAIL(STATUS_CORRUPT, "%s: ends within a frame, it is cut off", path);
    }
    return STATUS_OK;
}

enum status packed_read(const char *path, struct buffer *contents)
{
    if (!packed_is(path))
        return file_read(path, contents);
    struct buffer packed;
    size_t before = contents->size;
    buffer_init(&packed, 0);
    enum status status = file_read(path, &packed);
    ZSTD_DStream *stream = status == STATUS_OK ? ZSTD_createDStream() : NULL;
    if (status == STATUS_OK && stream == NULL)
        status = FAIL(STATUS_NO_MEMORY, "%s", path);
    if (status == STATUS_OK)
        status = unpack(stream, path, &packed, contents);
    ZSTD_freeDStream(stream);
    buffer_free(&packed);
    if (status != STATUS_OK)
        contents->size = before;
    return status;
}

enum status packed_write(const char *path, const struct buffer *contents)
{
    if (!packed_is(path))
        return file_replace(path, contents->bytes, contents->size);
    struct buffer packed;
    buffer_init(&packed, 0);
    ZSTD_CCtx *context = ZSTD_createCCtx();
    enum status status =
        context != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "%s: no room to pack it", path);
    if (status == STATUS_OK)
        status = buffer_reserve(&packed, ZSTD_compressBound(contents->size));
    if (status == STATUS_OK) {
        ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
        size_t size =
            ZSTD_compress2(context, packed.bytes, packed.capacity, contents->bytes, contents->size);
        if (ZSTD_isError(size))
            status = FAIL(STATUS_IO, "%s: %s", path, ZSTD_getErrorName(size));
        else
            status = file_replace(path, packed.bytes, size);
    }
    ZSTD_freeCCtx(context);
    buffer_free(&packed);
    return status;
}
