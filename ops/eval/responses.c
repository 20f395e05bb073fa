#include "ops/eval/responses.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"

static enum status note(struct responses *responses, const json_t *json, int64_t offset)
{
    json_int_t row = json_integer_value(json_object_get(json, "index")),
               sample = json_integer_value(json_object_get(json, "sample"));
    if (!json_is_integer(json_object_get(json, "index")) || row < 0 ||
        (uint64_t)row >= responses->rows || sample < 0 || sample >= (json_int_t)responses->samples)
        return FAIL(STATUS_INVALID,
                    "%s: row %" JSON_INTEGER_FORMAT ", sample %" JSON_INTEGER_FORMAT
                    " is not of this evaluation of %" PRIu64 " rows and %u samples",
                    responses->path, row, sample, responses->rows, responses->samples);
    int64_t *place = &responses->offset[(uint64_t)row * responses->samples + (uint64_t)sample];
    responses->have += *place < 0;
    if (*place < 0)
        *place = offset;
    return STATUS_OK;
}

/* Whole lines count; what follows the last of them was being written. */
static enum status read_lines(struct responses *responses)
{
    char *line = NULL;
    size_t capacity = 0;
    enum status status = STATUS_OK;
    for (ssize_t size; (size = getline(&line, &capacity, responses->file)) > 0;) {
        if (line[size - 1] != '\n')
            break;
        json_t *json = json_loadb(line, (size_t)size, JSON_ALLOW_NUL, NULL);
        status = json_is_object(json)
                     ? note(responses, json, responses->end)
                     : FAIL(STATUS_CORRUPT, "%s: the line at byte %" PRId64 " is no row",
                            responses->path, responses->end);
        json_decref(json);
        if (status != STATUS_OK)
            break;
        responses->end += size;
    }
    free(line); /* lint: allow(free): getline's buffer */
    TRY(status);
    if (ftruncate(fileno(responses->file), responses->end) != 0 ||
        fseeko(responses->file, responses->end, SEEK_SET) != 0)
        return FAIL(STATUS_IO, "%s: %s", responses->path, strerror(errno));
    return STATUS_OK;
}

enum status responses_open(struct responses *responses, const char *path, uint64_t rows,
                           uint32_t samples, bool resume)
{
    *responses = (struct responses){.rows = rows, .samples = samples};
    TRY(file_path(responses->path, "%s", path));
    uint64_t count = rows * samples;
    responses->offset = memory_array(count + 1, sizeof *responses->offset);
    if (responses->offset == NULL)
        return FAIL(STATUS_NO_MEMORY, "%" PRIu64 " samples", count);
    for (uint64_t i = 0; i < count; i++)
        responses->offset[i] = -1;
    bool there = resume && file_exists(path);
    responses->file = fopen(path, there ? "r+" : "w+");
    if (responses->file == NULL)
        return FAIL(STATUS_IO, "%s: %s", path, strerror(errno));
    return there ? read_lines(responses) : STATUS_OK;
}

void responses_close(struct responses *responses)
{
    if (responses->file != NULL)
        fclose(responses->file);
    memory_free(responses->offset);
    *responses = (struct responses){0};
}

enum status responses_add(struct responses *responses, const json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(9));
    if (text == NULL)
        return FAIL(STATUS_INVALID, "a response cannot be written as JSON");
    size_t size = strlen(text);
    bool written = fwrite(text, 1, size, responses->file) == size &&
                   fputc('\n', responses->file) != EOF && fflush(responses->file) == 0;
    free(text); /* lint: allow(free): jansson's buffer */
    if (!written)
        return FAIL(STATUS_IO, "%s: %s", responses->path, strerror(errno));
    TRY(note(responses, json, responses->end));
    responses->end += (int64_t)size + 1;
    return STATUS_OK;
}

static enum status copy_in_order(struct responses *responses, FILE *out)
{
    char *line = NULL;
    size_t capacity = 0;
    enum status status = STATUS_OK;
    for (uint64_t i = 0; i < responses->rows * responses->samples && status == STATUS_OK; i++) {
        ssize_t size = -1;
        if (responses->offset[i] >= 0 &&
            fseeko(responses->file, responses->offset[i], SEEK_SET) == 0)
            size = getline(&line, &capacity, responses->file);
        if (size <= 0 || fwrite(line, 1, (size_t)size, out) != (size_t)size)
            status =
                FAIL(STATUS_IO, "%s cannot be put in order: %s", responses->path, strerror(errno));
    }
    free(line); /* lint: allow(free): getline's buffer */
    if (status == STATUS_OK && (fflush(out) != 0 || fsync(fileno(out)) != 0))
        status = FAIL(STATUS_IO, "%s cannot be put in order: %s", responses->path, strerror(errno));
    return status;
}

enum status responses_finish(struct responses *responses)
{
    char temporary[FILE_PATH_MAX];
    TRY(file_path(temporary, "%s.tmp", responses->path));
    FILE *out = fopen(temporary, "w");
    if (out == NULL)
        return FAIL(STATUS_IO, "%s: %s", temporary, strerror(errno));
    enum status status = copy_in_order(responses, out);
    fclose(out);
    TRY(status);
    return rename(temporary, responses->path) == 0
               ? STATUS_OK
               : FAIL(STATUS_IO, "%s: %s", responses->path, strerror(errno));
}
