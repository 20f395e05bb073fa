#include "core/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/wait.h"

enum { WRITE_EVERY_MS = 500, SLICE_MS = 50, LINE_BYTES = 256, WAKE_AT = TRACE_QUEUE_MAX / 2 };

struct span {
    const char *name;
    int64_t begin_ns, end_ns;
    uint64_t step, tokens;
    bool has_tokens;
};

static struct {
    atomic_bool open;
    pthread_mutex_t mutex; /* guards queued, queued_count and closing */
    pthread_cond_t wake;
    pthread_t thread;
    struct span *queued, *writing; /* [TRACE_QUEUE_MAX] each; the thread owns `writing` */
    size_t queued_count;
    bool closing, said;
    atomic_uint_fast64_t dropped;
    int64_t wall_minus_now_ns;
    int fd;
    size_t written, limit;
    char process[TRACE_PROCESS_MAX], path[FILE_PATH_MAX];
    void (*sink)(void *self, const char *line);
    void *sink_self;
} trace = {.mutex = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

/* ---- the thread ---- */

static enum status open_file(void)
{
    struct stat about;
    trace.fd = open(trace.path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (trace.fd < 0)
        return FAIL(STATUS_IO, "%s cannot be opened for writing: %s", trace.path, strerror(errno));
    trace.written = fstat(trace.fd, &about) == 0 ? (size_t)about.st_size : 0;
    return STATUS_OK;
}

/* The full file replaces the one before it. */
static enum status next_file(void)
{
    char old[FILE_PATH_MAX];
    TRY(file_path(old, "%s.1", trace.path));
    if (rename(trace.path, old) != 0)
        return FAIL(STATUS_IO, "%s cannot be renamed: %s", trace.path, strerror(errno));
    close(trace.fd);
    return open_file();
}

/* `head` stands behind the opening brace: nothing in the file, the process for the sink. */
static enum status put_line(struct buffer *out, const struct span *span, const char *head)
{
    int64_t begin_us = (span->begin_ns + trace.wall_minus_now_ns) / 1000;
    int64_t end_us = (span->end_ns + trace.wall_minus_now_ns) / 1000;
    TRY(buffer_printf(out, "{%s\"name\":\"%s\",", head, span->name));
    if (span->step > 0)
        TRY(buffer_printf(out, "\"step\":%" PRIu64 ",", span->step));
    if (span->has_tokens)
        TRY(buffer_printf(out, "\"tokens\":%" PRIu64 ",", span->tokens));
    return buffer_printf(out, "\"begin_us\":%" PRId64 ",\"duration_us\":%" PRId64 "}", begin_us,
                         end_us - begin_us);
}

static enum status write_file(const struct buffer *lines)
{
    if (trace.fd < 0)
        TRY(open_file());
    if (!file_has_room(trace.path))
        return FAIL(STATUS_LIMIT, "%s: the disk is nearly full", trace.path);
    if (trace.written > 0 && trace.written + lines->size > trace.limit)
        TRY(next_file());
    TRY(file_append_all(trace.fd, lines->bytes, lines->size, trace.path));
    trace.written += lines->size;
    return STATUS_OK;
}

struct sink {
    void (*take)(void *self, const char *line);
    void *self;
};

static void give_sink(const struct sink *sink, const struct span *spans, size_t count)
{
    char head[TRACE_PROCESS_MAX + 16];
    struct buffer line;
    snprintf(head, sizeof head, "\"process\":\"%s\",", trace.process);
    buffer_init(&line, 0);
    for (size_t i = 0; i < count; i++) {
        buffer_clear(&line);
        if (put_line(&line, &spans[i], head) == STATUS_OK)
            sink->take(sink->self, buffer_string(&line));
    }
    buffer_free(&line);
}

static void write_spans(const struct sink *sink, const struct span *spans, size_t count)
{
    struct buffer lines;
    enum status status = STATUS_OK;
    buffer_init(&lines, (size_t)TRACE_QUEUE_MAX * LINE_BYTES);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        status = put_line(&lines, &spans[i], "");
        if (status == STATUS_OK)
            status = buffer_text(&lines, "\n");
    }
    if (status == STATUS_OK)
        status = write_file(&lines);
    if (status != STATUS_OK) {
        trace.dropped += count;
        if (!trace.said)
            LOG_FAILURE("trace", "spans are lost", status);
        trace.said = true;
    }
    buffer_free(&lines);
    if (sink->take != NULL)
        give_sink(sink, spans, count);
}

/* Sleeps while nothing is queued (an idle wait: nobody waits for this thread), then lets spans gather. */
static void gather(void)
{
    while (!trace.closing && trace.queued_count == 0)
        if (wait_condition("spans", "this process", INT64_MAX, &trace.wake, &trace.mutex) !=
            STATUS_OK)
            break;
    for (int slept = 0;
         !trace.closing && trace.queued_count < WAKE_AT && slept < WRITE_EVERY_MS / SLICE_MS;
         slept++) {
        pthread_mutex_unlock(&trace.mutex);
        clock_sleep_ms(SLICE_MS);
        pthread_mutex_lock(&trace.mutex);
    }
}

static void *write_until_closed(void *unused)
{
    (void)unused;
    wait_unlisted();
    pthread_mutex_lock(&trace.mutex);
    for (bool closing = false; !closing;) {
        gather();
        struct span *spans = trace.queued;
        size_t count = trace.queued_count;
        closing = trace.closing;
        struct sink sink = {trace.sink, trace.sink_self};
        trace.queued = trace.writing;
        trace.writing = spans;
        trace.queued_count = 0;
        pthread_mutex_unlock(&trace.mutex);
        if (count > 0)
            write_spans(&sink, spans, count);
        pthread_mutex_lock(&trace.mutex);
    }
    pthread_mutex_unlock(&trace.mutex);
    return NULL;
}

/* ---- public ---- */

static void free_queues(void)
{
    memory_free(trace.queued);
    memory_free(trace.writing);
    trace.queued = trace.writing = NULL;
}

enum status trace_open(const char *folder, const char *process)
{
    char path[FILE_PATH_MAX];
    if (folder == NULL || folder[0] == 0 || trace.open)
        return STATUS_OK;
    TRY(file_path(path, "%s/trace", folder));
    TRY(file_make_dirs(path));
    TRY(file_path(trace.path, "%s/trace/%s.jsonl", folder, process));
    snprintf(trace.process, sizeof trace.process, "%s", process);
    trace.queued = memory_array(TRACE_QUEUE_MAX, sizeof *trace.queued);
    trace.writing = memory_array(TRACE_QUEUE_MAX, sizeof *trace.writing);
    trace.queued_count = 0;
    trace.closing = trace.said = false;
    trace.dropped = 0;
    trace.limit = trace.limit > 0 ? trace.limit : TRACE_FILE_MAX;
    trace.wall_minus_now_ns = clock_wall_ns() - clock_now_ns();
    enum status status = trace.queued != NULL && trace.writing != NULL
                             ? wait_condition_init(&trace.wake)
                             : FAIL(STATUS_NO_MEMORY, "spans");
    if (status == STATUS_OK && pthread_create(&trace.thread, NULL, write_until_closed, NULL) != 0)
        status = FAIL(STATUS_LIMIT, "no thread for spans: %s", strerror(errno));
    if (status != STATUS_OK) {
        free_queues();
        return status;
    }
    trace.open = true;
    return STATUS_OK;
}

void trace_set_sink(void (*sink)(void *self, const char *line), void *self)
{
    pthread_mutex_lock(&trace.mutex);
    trace.sink_self = self;
    trace.sink = sink;
    pthread_mutex_unlock(&trace.mutex);
}

void trace_close(void)
{
    if (!trace.open)
        return;
    trace.open = false;
    pthread_mutex_lock(&trace.mutex);
    trace.closing = true;
    pthread_cond_signal(&trace.wake);
    pthread_mutex_unlock(&trace.mutex);
    pthread_join(trace.thread, NULL);
    pthread_cond_destroy(&trace.wake);
    if (trace.fd >= 0)
        close(trace.fd);
    trace.fd = -1;
    trace.sink = NULL;
    free_queues();
}

static void push(const struct span *span)
{
    if (!atomic_load_explicit(&trace.open, memory_order_relaxed))
        return;
    pthread_mutex_lock(&trace.mutex);
    bool room = trace.queued != NULL && !trace.closing && trace.queued_count < TRACE_QUEUE_MAX;
    if (room) {
        trace.queued[trace.queued_count++] = *span;
        if (trace.queued_count == 1)
            pthread_cond_signal(&trace.wake);
    }
    pthread_mutex_unlock(&trace.mutex);
    if (!room)
        trace.dropped++;
}

void trace_span(const char *name, int64_t begin_ns, int64_t end_ns, uint64_t step)
{
    push(&(struct span){.name = name, .begin_ns = begin_ns, .end_ns = end_ns, .step = step});
}

void trace_span_tokens(const char *name, int64_t begin_ns, int64_t end_ns, uint64_t step,
                       uint64_t tokens)
{
    push(&(struct span){.name = name,
                        .begin_ns = begin_ns,
                        .end_ns = end_ns,
                        .step = step,
                        .tokens = tokens,
                        .has_tokens = true});
}

/* What was gathered becomes a span; the next one begins where it ended. */
static void end_chunk(struct trace_chunk *chunk, uint64_t step)
{
    if (chunk->name != NULL && chunk->tokens_end == 0) /* it counts none */
        trace_span(chunk->name, chunk->begin_ns, chunk->end_ns, step);
    else if (chunk->name != NULL)
        trace_span_tokens(chunk->name, chunk->begin_ns, chunk->end_ns, step,
                          chunk->tokens_end - chunk->tokens);
    chunk->name = NULL;
    chunk->tokens = chunk->tokens_end;
    chunk->begin_ns = chunk->end_ns;
}

/* No work: a gap that has become long is a wait. */
static void turn_without_work(struct trace_chunk *chunk, int64_t now_ns, uint64_t step)
{
    int64_t gap_ns = now_ns - chunk->end_ns;
    if (gap_ns < TRACE_GAP_MS * (int64_t)CLOCK_NS_PER_MS)
        return;
    end_chunk(chunk, step);
    if (gap_ns < TRACE_WAIT_MS * (int64_t)CLOCK_NS_PER_MS)
        return;
    trace_span("wait", chunk->end_ns, now_ns, step);
    chunk->begin_ns = chunk->end_ns = now_ns;
}

void trace_chunk_turn(struct trace_chunk *chunk, const char *name, int64_t begin_ns,
                      uint64_t tokens, uint64_t step)
{
    if (!atomic_load_explicit(&trace.open, memory_order_relaxed))
        return;
    int64_t now_ns = clock_now_ns(), least_ns = TRACE_GAP_MS * (int64_t)CLOCK_NS_PER_MS;
    if (chunk->end_ns == 0)
        *chunk = (struct trace_chunk){
            .begin_ns = begin_ns, .end_ns = begin_ns, .tokens = tokens, .tokens_end = tokens};
    if (name == NULL) {
        turn_without_work(chunk, now_ns, step);
        return;
    }
    if (begin_ns - chunk->end_ns >= least_ns) {
        end_chunk(chunk, step);
        trace_span("wait", chunk->end_ns, begin_ns, step);
        chunk->begin_ns = chunk->end_ns = begin_ns;
    }
    bool other = chunk->name != NULL && strcmp(chunk->name, name) != 0;
    if (other && begin_ns - chunk->begin_ns >= 2 * least_ns)
        end_chunk(chunk, step);
    chunk->name = chunk->name != NULL ? chunk->name : name;
    chunk->end_ns = now_ns;
    chunk->tokens_end = tokens;
    if (now_ns - chunk->begin_ns >= TRACE_CHUNK_MS * (int64_t)CLOCK_NS_PER_MS)
        end_chunk(chunk, step);
}

uint64_t trace_dropped(void)
{
    return trace.dropped;
}

void trace_limit(size_t bytes)
{
    trace.limit = bytes;
}
