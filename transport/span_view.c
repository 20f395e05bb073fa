#include "transport/span_view.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/trace.h"

enum { SPANS_KEPT = 20000, ACTORS_WHOLE = 8 };

/* Set before the thread of spans starts; `turns` is that thread's. */
static uint64_t every = 1, turns;

/* An actor says ten times a second that it decodes: of a large fleet Redis gets every k-th of these, so that the stream
 * holds a minute or more; the files have all. */
static bool is_left_out(const char *line)
{
    bool frequent =
        strstr(line, "\"name\":\"decode\"") != NULL || strstr(line, "\"name\":\"prefill\"") != NULL;
    return frequent && turns++ % every != 0;
}

static void send_span(void *self, const char *line)
{
    if (!is_left_out(line))
        redis_view_stream(self, "spans", line, SPANS_KEPT);
}

/* A view only: a run goes on without it. */
static void warn(enum status status)
{
    if (status != STATUS_OK)
        LOG_FAILURE("trace", "no spans are written", status);
}

void span_view_open(const struct program *program)
{
    char name[TRACE_PROCESS_MAX];
    if (!program->settings.metrics.trace)
        return;
    every = 1 + program->settings.run.actors / ACTORS_WHOLE;
    snprintf(name, sizeof name, "%s.%u", program->role, program->index);
    warn(trace_open(program->run_folder, name));
}

void span_view_begin(struct redis_view *view)
{
    if (view != NULL)
        trace_set_sink(send_span, view);
}

void span_view_end(void)
{
    trace_close();
}
