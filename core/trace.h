/* core/trace.h - what this process did when: spans with a name, a beginning and an end.
 *
 *     trace_open(folder, "learner.0");                       nothing is noted before; folder NULL or "": stays off
 *     int64_t begin_ns = clock_now_ns();
 *     ... work ...
 *     trace_span("update", begin_ns, clock_now_ns(), step);
 *     trace_close();
 *
 * Spans go to FOLDER/trace/PROCESS.jsonl, one line each: {"name":,"step":,"begin_us":,"duration_us":} with begin_us of
 * the wall clock since 1970, and "tokens" where a number of them was said. A file that reached its limit becomes
 * PROCESS.jsonl.1, whose place the one before loses: a process keeps at most two of them. `weir trace` (docs/trace.md)
 * merges the files of a run. A sink gets the same lines with "process" in them, for Redis.
 *
 * trace_span costs a clock-free copy under one mutex; a thread of this module writes twice a second. When it cannot keep
 * up, or the disk refuses, spans are dropped and counted, and nothing else happens. trace_span: any thread; open, sink and
 * close: one, while no other traces. */
#ifndef CORE_TRACE_H
#define CORE_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

C_BEGIN

enum { TRACE_PROCESS_MAX = 64, TRACE_FILE_MAX = 16 << 20, TRACE_QUEUE_MAX = 16384 };

MUST_CHECK enum status trace_open(const char *folder, const char *process);
/* line: one JSON object; called by the writing thread, which holds no lock then. */
void trace_set_sink(void (*sink)(void *self, const char *line), void *self);
void trace_close(void); /* writes what is left; fine when nothing is open */

/* Times of clock_now_ns(); `name` is a literal. step 0: of no step. Nothing when no trace is open. */
void trace_span(const char *name, int64_t begin_ns, int64_t end_ns, uint64_t step);
/* The same, with a number of tokens made or taken. */
void trace_span_tokens(const char *name, int64_t begin_ns, int64_t end_ns, uint64_t step,
                       uint64_t tokens);

/* Work that comes in many small turns, as decode steps, becomes spans of about TRACE_CHUNK_MS: turns of one name next to
 * each other are one span; gaps of less than TRACE_GAP_MS and turns of another name at its beginning belong to it. A gap
 * that is longer becomes a span "wait". Zeroed at first; one thread each. */
enum { TRACE_CHUNK_MS = 100, TRACE_GAP_MS = 10, TRACE_WAIT_MS = 1000 };
struct trace_chunk {
    const char *name;
    int64_t begin_ns, end_ns;    /* of the turns so far; 0: none yet */
    uint64_t tokens, tokens_end; /* the counter when it began, and after its last turn */
};
/* The turn that began at begin_ns is over. name: of its work, a literal; NULL: there was none. tokens: a counter that
 * only grows (0: none is kept). step: as trace_span. */
void trace_chunk_turn(struct trace_chunk *chunk, const char *name, int64_t begin_ns,
                      uint64_t tokens, uint64_t step);

uint64_t trace_dropped(void);
/* Bytes after which a file gives way to the next; 0: TRACE_FILE_MAX. For tests. */
void trace_limit(size_t bytes);

C_END
#endif
