/* ops/trace_merge.h - spans of all processes of a run (core/trace.h) as one file that chrome://tracing and Perfetto read.
 *
 * Trace Event Format, JSON object form: "X" events with microseconds since the first span, one pid a process with its name
 * as metadata, args.step and args.tokens; an instant event "step N" where a step of the learner ended. One thread. */
#ifndef OPS_TRACE_MERGE_H
#define OPS_TRACE_MERGE_H

#include <stdint.h>
#include <stdio.h>

#include "core/status.h"

C_BEGIN

struct trace_range {
    uint64_t from, to; /* steps of the learner; 0 and UINT64_MAX: all */
};

struct trace_totals {
    uint64_t spans, processes;
    uint64_t bad_lines; /* no span: cut off, or another's */
};

/* With a range: spans that overlap the time in which the learner made those steps. NOT_FOUND: no spans, or none of these
 * steps. */
MUST_CHECK enum status trace_merge(const char *run_folder, const struct trace_range *range,
                                   FILE *out, struct trace_totals *totals);

C_END
#endif
