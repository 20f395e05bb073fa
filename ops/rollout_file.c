#include "ops/rollout_file.h"

#include <dirent.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/packed.h"

#define FILE_BYTES_MAX ((size_t)4 << 30) /* unpacked */

enum status rollout_file_open(struct rollout_file *file, const char *run_folder, uint64_t step)
{
    *file = (struct rollout_file){0};
    TRY(file_path(file->path, "%s/rollouts/step_%06" PRIu64 ".jsonl.zst", run_folder, step));
    buffer_init(&file->text, FILE_BYTES_MAX);
    enum status status = arena_create(&file->arena, FILE_BYTES_MAX);
    if (status == STATUS_OK)
        status = packed_read(file->path, &file->text);
    if (status != STATUS_OK)
        rollout_file_close(file);
    return status;
}

void rollout_file_close(struct rollout_file *file)
{
    buffer_free(&file->text);
    arena_destroy(&file->arena);
}

/* ---- members ---- */

static enum status bad(const struct rollout_file *file, const char *member, const char *what)
{
    return FAIL(STATUS_INVALID, "%s:%" PRIu64 ": %s %s", file->path, file->line, member, what);
}

static enum status get_whole(const struct rollout_file *file, const json_t *row, const char *member,
                             uint64_t most, uint64_t *out)
{
    const json_t *value = json_object_get(row, member);
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        (uint64_t)json_integer_value(value) > most)
        return bad(file, member, "is no whole number in its range");
    *out = (uint64_t)json_integer_value(value);
    return STATUS_OK;
}

static enum status get_number(const struct rollout_file *file, const json_t *row,
                              const char *member, double *out)
{
    const json_t *value = json_object_get(row, member);
    if (!json_is_number(value) && !json_is_null(value))
        return bad(file, member, "is no number");
    *out = json_is_null(value) ? (double)NAN : json_number_value(value);
    return STATUS_OK;
}

static enum status get_text(const struct rollout_file *file, const json_t *row, const char *member,
                            char *out, size_t size)
{
    const char *text = json_string_value(json_object_get(row, member));
    if (text == NULL || strlen(text) >= size)
        return bad(file, member, "is no text, or too long");
    memcpy(out, text, strlen(text) + 1);
    return STATUS_OK;
}

/* *length: how many members are due, UINT32_MAX: any number; how many there are. Not needed and not there: *out NULL. */
static enum status get_array(const struct rollout_file *file, const json_t *row, const char *member,
                             bool needed, uint32_t *length, const json_t **out)
{
    const json_t *value = json_object_get(row, member);
    *out = NULL;
    if (value == NULL && !needed)
        return STATUS_OK;
    if (!json_is_array(value) || json_array_size(value) > UINT32_MAX - 1)
        return bad(file, member, "is no array");
    if (*length != UINT32_MAX && json_array_size(value) != *length)
        return bad(file, member, "has another length than ids");
    *length = (uint32_t)json_array_size(value);
    *out = value;
    return STATUS_OK;
}

static enum status get_ids(const struct rollout_file *file, const json_t *row, const char *member,
                           uint32_t *length, const uint32_t **out)
{
    const json_t *array, *value;
    size_t i;
    *length = UINT32_MAX;
    TRY(get_array(file, row, member, true, length, &array));
    uint32_t *ids = arena_array(file->arena, *length + (size_t)1, sizeof *ids);
    if (ids == NULL)
        return FAIL(STATUS_LIMIT, "%s: too many tokens", file->path);
    json_array_foreach((json_t *)(uintptr_t)array, i, value)
    {
        if (!json_is_integer(value) || json_integer_value(value) < 0 ||
            json_integer_value(value) > UINT32_MAX)
            return bad(file, member, "holds what is no token id");
        ids[i] = (uint32_t)json_integer_value(value);
    }
    *out = ids;
    return STATUS_OK;
}

static enum status get_reals(const struct rollout_file *file, const json_t *row, const char *member,
                             bool needed, uint32_t length, const float **out)
{
    const json_t *array, *value;
    size_t i;
    TRY(get_array(file, row, member, needed, &length, &array));
    if (array == NULL)
        return STATUS_OK;
    float *reals = arena_array(file->arena, length + (size_t)1, sizeof *reals);
    if (reals == NULL)
        return FAIL(STATUS_LIMIT, "%s: too many tokens", file->path);
    json_array_foreach((json_t *)(uintptr_t)array, i, value)
    {
        if (!json_is_number(value) && !json_is_null(value))
            return bad(file, member, "holds what is no number");
        reals[i] = json_is_null(value) ? NAN : (float)json_number_value(value);
    }
    *out = reals;
    return STATUS_OK;
}

static enum status get_flags(const struct rollout_file *file, const json_t *row, const char *member,
                             uint32_t length, const uint8_t **out)
{
    const json_t *array, *value;
    size_t i;
    TRY(get_array(file, row, member, false, &length, &array));
    if (array == NULL)
        return STATUS_OK;
    uint8_t *flags = arena_alloc(file->arena, length + (size_t)1);
    if (flags == NULL)
        return FAIL(STATUS_LIMIT, "%s: too many tokens", file->path);
    json_array_foreach((json_t *)(uintptr_t)array, i, value) flags[i] =
        json_integer_value(value) != 0 || json_is_true(value);
    *out = flags;
    return STATUS_OK;
}

static enum status get_pieces(const struct rollout_file *file, const json_t *row,
                              struct rollout_tokens *rollout)
{
    const json_t *array, *value;
    size_t i;
    rollout->piece_count = UINT32_MAX;
    TRY(get_array(file, row, "pieces", true, &rollout->piece_count, &array));
    struct rollout_piece *pieces =
        arena_array(file->arena, rollout->piece_count + (size_t)1, sizeof *pieces);
    if (pieces == NULL)
        return FAIL(STATUS_LIMIT, "%s: too many pieces", file->path);
    json_array_foreach((json_t *)(uintptr_t)array, i, value)
    {
        uint64_t from = 0;
        TRY(get_whole(file, value, "from", UINT32_MAX, &from));
        TRY(get_whole(file, value, "version", INT64_MAX, &pieces[i].version));
        pieces[i].from = (uint32_t)from;
        if (i == 0 ? from != 0 : from < pieces[i - 1].from)
            return bad(file, "pieces", "do not ascend from 0");
    }
    rollout->pieces = pieces;
    return STATUS_OK;
}

/* ---- lines ---- */

static enum status get_head(const struct rollout_file *file, const json_t *row,
                            struct rollout_tokens *rollout)
{
    uint64_t sample = 0, attempt = 0, tokens = 0;
    TRY(get_whole(file, row, "step", INT64_MAX, &rollout->step));
    TRY(get_whole(file, row, "group", INT64_MAX, &rollout->group));
    TRY(get_whole(file, row, "prompt_id", INT64_MAX, &rollout->prompt_id));
    TRY(get_whole(file, row, "sample", UINT32_MAX, &sample));
    TRY(get_whole(file, row, "attempt", UINT32_MAX, &attempt));
    TRY(get_whole(file, row, "tokens", UINT32_MAX - 1, &tokens));
    TRY(get_text(file, row, "source", rollout->source, sizeof rollout->source));
    TRY(get_text(file, row, "finish", rollout->finish, sizeof rollout->finish));
    TRY(get_number(file, row, "reward", &rollout->reward));
    TRY(get_number(file, row, "shaped", &rollout->shaped));
    TRY(get_number(file, row, "advantage", &rollout->advantage));
    rollout->masked = json_is_true(json_object_get(row, "masked"));
    rollout->sample = (uint32_t)sample;
    rollout->attempt = (uint32_t)attempt;
    rollout->count = (uint32_t)tokens;
    return STATUS_OK;
}

static enum status get_tokens(const struct rollout_file *file, const json_t *row,
                              struct rollout_tokens *rollout)
{
    uint32_t count = 0;
    TRY(get_ids(file, row, "prompt", &rollout->prompt_count, &rollout->prompt_ids));
    TRY(get_ids(file, row, "ids", &count, &rollout->ids));
    if (count != rollout->count)
        return bad(file, "ids", "are not as many as tokens says");
    TRY(get_reals(file, row, "logprobs", true, count, &rollout->streamed));
    TRY(get_reals(file, row, "trained", false, count, &rollout->trained));
    TRY(get_reals(file, row, "weights", false, count, &rollout->weight));
    TRY(get_reals(file, row, "entropy", false, count, &rollout->entropy));
    TRY(get_flags(file, row, "clipped", count, &rollout->clipped));
    TRY(get_flags(file, row, "mask", count, &rollout->mask));
    return get_pieces(file, row, rollout);
}

/* Cheap: a line begins with its step, group and sample, so that those nobody wants are not parsed. */
static bool passes(const char *line, const struct rollout_filter *filter)
{
    uint64_t step = 0, group = 0;
    uint32_t sample = 0;
    char head[128]; /* sscanf measures its whole text first, which would be the rest of the file */
    if (filter == NULL || (!filter->has_group && !filter->has_sample))
        return true;
    size_t size = strnlen(line, sizeof head - 1);
    memcpy(head, line, size);
    head[size] = 0;
    if (sscanf(head, "{\"step\":%" SCNu64 ",\"group\":%" SCNu64 ",\"sample\":%u", &step, &group,
               &sample) != 3)
        return true; /* the parser says what is wrong */
    return (!filter->has_group || group == filter->group) &&
           (!filter->has_sample || sample == filter->sample);
}

static enum status read_line(struct rollout_file *file, const char *line, size_t size,
                             const struct rollout_filter *filter, struct rollout_tokens *rollout)
{
    json_error_t error;
    json_t *row = json_loadb(line, size, 0, &error);
    if (!json_is_object(row)) {
        json_decref(row);
        return FAIL(STATUS_INVALID, "%s:%" PRIu64 ": no JSON object: %s", file->path, file->line,
                    row == NULL ? error.text : "another value");
    }
    enum status status = get_head(file, row, rollout);
    if (status == STATUS_OK && (filter == NULL || !filter->heads_only))
        status = get_tokens(file, row, rollout);
    json_decref(row);
    return status;
}

enum status rollout_file_next(struct rollout_file *file, const struct rollout_filter *filter,
                              struct rollout_tokens *rollout)
{
    (void)buffer_string(&file->text); /* a NUL behind the text */
    arena_reset(file->arena);
    while (file->at < file->text.size) {
        const char *line = (const char *)file->text.bytes + file->at;
        const char *end = memchr(line, '\n', file->text.size - file->at);
        size_t size = end != NULL ? (size_t)(end - line) : file->text.size - file->at;
        file->at += size + 1;
        file->line++;
        *rollout = (struct rollout_tokens){0};
        if (size > 0 && passes(line, filter))
            return read_line(file, line, size, filter, rollout);
    }
    return FAIL(STATUS_NOT_FOUND, "%s has no further rollout", file->path);
}

/* ---- steps ---- */

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Keeps the newest `most` of what it is given. */
static void keep_newest(uint64_t *steps, uint32_t most, uint32_t *count, uint64_t step)
{
    uint32_t least = 0;
    if (*count < most) {
        steps[(*count)++] = step;
        return;
    }
    for (uint32_t i = 1; i < *count; i++)
        least = steps[i] < steps[least] ? i : least;
    if (most > 0 && step > steps[least])
        steps[least] = step;
}

enum status rollout_file_steps(const char *run_folder, uint64_t *steps, uint32_t most,
                               uint32_t *count)
{
    char path[FILE_PATH_MAX];
    *count = 0;
    TRY(file_path(path, "%s/rollouts", run_folder));
    DIR *folder = opendir(path);
    const struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        uint64_t step = 0;
        int end = 0;
        if (sscanf(entry->d_name, "step_%" SCNu64 ".jsonl.zst%n", &step, &end) == 1 && end > 0 &&
            entry->d_name[end] == 0)
            keep_newest(steps, most, count, step);
    }
    if (folder != NULL)
        closedir(folder);
    qsort(steps, *count, sizeof *steps, by_number);
    return STATUS_OK;
}
