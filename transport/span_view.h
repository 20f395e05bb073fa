/* transport/span_view.h - spans of this process (core/trace.h) to the stream `spans` of its view. One thread. */
#ifndef TRANSPORT_SPAN_VIEW_H
#define TRANSPORT_SPAN_VIEW_H

#include "core/program.h"
#include "transport/redis_view.h"

C_BEGIN

/* The file of spans that metrics.trace asks for, in the folder of the run: "learner.0", "store.0". Without one, as on a
 * full disk, there are no spans, and the log says so. */
void span_view_open(const struct program *program);
/* From now on spans go to `view` (of decode and prefill every k-th, k = 1 + run.actors / 8) (NULL: nowhere), too; before it is closed: span_view_end. */
void span_view_begin(struct redis_view *view);
void span_view_end(void);

C_END
#endif
