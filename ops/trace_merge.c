#include "ops/trace_merge.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/trace.h"

enum { PROCESSES_MAX = 4096, NAME_MAX_BYTES = 64 };

struct merged_span {
    uint32_t process;
    char name[NAME_MAX_BYTES];
    uint64_t step, tokens;
    bool has_tokens;
    int64_t begin_us, duration_us;
};

struct merge {
    char (*processes)[TRACE_PROCESS_MAX]; /* [PROCESSES_MAX] */
    uint32_t process_count;
    struct merged_span *spans;
    size_t count, capacity;
    uint64_t bad_lines;
    struct buffer text;
};

/* ---- in ---- */

static enum status keep(struct merge *merge, const struct merged_span *span)
{
    if (merge->count == merge->capacity) {
        size_t more = merge->capacity > 0 ? merge->capacity * 2 : 4096;
        struct merged_span *grown =
            memory_grow(merge->spans, merge->capacity * sizeof *grown, more * sizeof *grown);
        if (grown == NULL)
            return FAIL(STATUS_NO_MEMORY, "%zu spans", more);
        merge->spans = grown;
        merge->capacity = more;
    }
    merge->spans[merge->count++] = *span;
    return STATUS_OK;
}

static bool parse_span(const char *line, size_t size, struct merged_span *span)
{
    json_t *row = json_loadb(line, size, 0, NULL);
    const char *name = json_string_value(json_object_get(row, "name"));
    const json_t *begin = json_object_get(row, "begin_us"),
                 *duration = json_object_get(row, "duration_us"),
                 *tokens = json_object_get(row, "tokens");
    bool good = name != NULL && strlen(name) < NAME_MAX_BYTES && json_is_integer(begin) &&
                json_is_integer(duration) && json_integer_value(duration) >= 0;
    if (good) {
        memcpy(span->name, name, strlen(name) + 1);
        span->begin_us = json_integer_value(begin);
        span->duration_us = json_integer_value(duration);
        span->step = (uint64_t)json_integer_value(json_object_get(row, "step"));
        span->has_tokens = json_is_integer(tokens);
        span->tokens = (uint64_t)json_integer_value(tokens);
    }
    json_decref(row);
    return good;
}

static enum status read_spans(struct merge *merge, const char *path, uint32_t process)
{
    buffer_clear(&merge->text);
    TRY(file_read(path, &merge->text));
    const char *at = (const char *)merge->text.bytes, *end = at + merge->text.size;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t size = (size_t)((newline != NULL ? newline : end) - at);
        struct merged_span span = {.process = process};
        if (size > 0 && parse_span(at, size, &span))
            TRY(keep(merge, &span));
        else
            merge->bad_lines += size > 0;
        at += size + 1;
    }
    return STATUS_OK;
}

static enum status read_process(struct merge *merge, const char *folder, uint32_t process)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/%s.jsonl.1", folder, merge->processes[process]));
    if (file_exists(path))
        TRY(read_spans(merge, path, process));
    TRY(file_path(path, "%s/%s.jsonl", folder, merge->processes[process]));
    return read_spans(merge, path, process);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static enum status find_processes(struct merge *merge, const char *folder)
{
    static const char end[] = ".jsonl";
    DIR *list = opendir(folder);
    const struct dirent *entry;
    if (list == NULL)
        return FAIL(STATUS_NOT_FOUND, "%s: %s: the run was not traced (metrics.trace)", folder,
                    strerror(errno));
    while ((entry = readdir(list)) != NULL && merge->process_count < PROCESSES_MAX) {
        size_t size = strlen(entry->d_name);
        if (size <= sizeof end - 1 || size - (sizeof end - 1) >= TRACE_PROCESS_MAX ||
            strcmp(entry->d_name + size - (sizeof end - 1), end) != 0)
            continue;
        memcpy(merge->processes[merge->process_count++], entry->d_name, size - (sizeof end - 1));
    }
    closedir(list);
    qsort(merge->processes, merge->process_count, sizeof *merge->processes, by_text);
    return STATUS_OK;
}

/* ---- which ---- */

static bool is_step_of_learner(const struct merge *merge, const struct merged_span *span)
{
    return strcmp(span->name, "step") == 0 &&
           strncmp(merge->processes[span->process], "learner.", 8) == 0;
}

/* The time of the wanted steps. */
static enum status window_of(const struct merge *merge, const struct trace_range *range,
                             int64_t *begin_us, int64_t *end_us)
{
    *begin_us = INT64_MAX, *end_us = INT64_MIN;
    for (size_t i = 0; i < merge->count; i++) {
        const struct merged_span *span = &merge->spans[i];
        if (!is_step_of_learner(merge, span) || span->step < range->from || span->step > range->to)
            continue;
        int64_t end = span->begin_us + span->duration_us;
        *begin_us = span->begin_us < *begin_us ? span->begin_us : *begin_us;
        *end_us = end > *end_us ? end : *end_us;
    }
    if (*begin_us > *end_us)
        return FAIL(STATUS_NOT_FOUND,
                    "no step of %" PRIu64 " to %" PRIu64 " has a span of the learner", range->from,
                    range->to);
    return STATUS_OK;
}

static void leave_window(struct merge *merge, int64_t begin_us, int64_t end_us)
{
    size_t kept = 0;
    for (size_t i = 0; i < merge->count; i++) {
        const struct merged_span *span = &merge->spans[i];
        if (span->begin_us < end_us && span->begin_us + span->duration_us > begin_us)
            merge->spans[kept++] = *span;
    }
    merge->count = kept;
}

/* By time; of spans that begin together the longer one contains the other. */
static int by_time(const void *a, const void *b)
{
    const struct merged_span *x = a, *y = b;
    if (x->begin_us != y->begin_us)
        return x->begin_us < y->begin_us ? -1 : 1;
    return (y->duration_us > x->duration_us) - (y->duration_us < x->duration_us);
}

/* ---- out ---- */

static enum status put_span(const struct merge *merge, const struct merged_span *span,
                            int64_t zero_us, struct buffer *text)
{
    TRY(buffer_text(text, ",\n{\"ph\":\"X\",\"cat\":\"weir\",\"name\":"));
    TRY(buffer_json_text(text, span->name));
    TRY(buffer_printf(text,
                      ",\"pid\":%u,\"tid\":1,\"ts\":%" PRId64 ",\"dur\":%" PRId64
                      ",\"args\":{\"step\":%" PRIu64,
                      span->process + 1, span->begin_us - zero_us, span->duration_us, span->step));
    if (span->has_tokens)
        TRY(buffer_printf(text, ",\"tokens\":%" PRIu64, span->tokens));
    TRY(buffer_text(text, "}}"));
    if (!is_step_of_learner(merge, span))
        return STATUS_OK;
    return buffer_printf(text,
                         ",\n{\"ph\":\"i\",\"s\":\"g\",\"name\":\"step %" PRIu64
                         "\",\"pid\":%u,\"tid\":1,\"ts\":%" PRId64 "}",
                         span->step, span->process + 1,
                         span->begin_us + span->duration_us - zero_us);
}

static enum status put_process(const struct merge *merge, uint32_t process, struct buffer *text)
{
    TRY(buffer_printf(text,
                      "%s{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":%u,\"tid\":1,\"args\":"
                      "{\"name\":",
                      process > 0 ? ",\n" : "", process + 1));
    TRY(buffer_json_text(text, merge->processes[process]));
    return buffer_printf(
        text,
        "}},\n{\"ph\":\"M\",\"name\":\"process_sort_index\",\"pid\":%u,\"tid\":1,"
        "\"args\":{\"sort_index\":%d}}",
        process + 1, strncmp(merge->processes[process], "learner.", 8) == 0 ? -1 : (int)process);
}

static enum status flush_text(struct buffer *text, FILE *out)
{
    if (fwrite(text->bytes, 1, text->size, out) != text->size)
        return FAIL(STATUS_IO, "the trace cannot be written: %s", strerror(errno));
    buffer_clear(text);
    return STATUS_OK;
}

static enum status put_all(struct merge *merge, FILE *out)
{
    struct buffer *text = &merge->text;
    int64_t zero_us = merge->count > 0 ? merge->spans[0].begin_us : 0;
    buffer_clear(text);
    TRY(buffer_text(text, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n"));
    for (uint32_t p = 0; p < merge->process_count; p++)
        TRY(put_process(merge, p, text));
    for (size_t i = 0; i < merge->count; i++) {
        TRY(put_span(merge, &merge->spans[i], zero_us, text));
        if (text->size > 1 << 20)
            TRY(flush_text(text, out));
    }
    TRY(buffer_printf(text, "\n],\"otherData\":{\"begin_us\":\"%" PRId64 "\"}}\n", zero_us));
    return flush_text(text, out);
}

static enum status merge_folder(struct merge *merge, const char *folder,
                                const struct trace_range *range, FILE *out)
{
    int64_t begin_us, end_us;
    TRY(find_processes(merge, folder));
    for (uint32_t p = 0; p < merge->process_count; p++)
        TRY(read_process(merge, folder, p));
    if (range->from > 0 || range->to < UINT64_MAX) {
        TRY(window_of(merge, range, &begin_us, &end_us));
        leave_window(merge, begin_us, end_us);
    }
    if (merge->count == 0)
        return FAIL(STATUS_NOT_FOUND, "%s holds no spans", folder);
    qsort(merge->spans, merge->count, sizeof *merge->spans, by_time);
    return put_all(merge, out);
}

enum status trace_merge(const char *run_folder, const struct trace_range *range, FILE *out,
                        struct trace_totals *totals)
{
    char folder[FILE_PATH_MAX];
    struct merge merge = {0};
    TRY(file_path(folder, "%s/trace", run_folder));
    buffer_init(&merge.text, 0);
    merge.processes = memory_array(PROCESSES_MAX, sizeof *merge.processes);
    enum status status = merge.processes != NULL ? merge_folder(&merge, folder, range, out)
                                                 : FAIL(STATUS_NO_MEMORY, "names of processes");
    *totals = (struct trace_totals){
        .spans = merge.count, .processes = merge.process_count, .bad_lines = merge.bad_lines};
    memory_free(merge.processes);
    memory_free(merge.spans);
    buffer_free(&merge.text);
    return status;
}
