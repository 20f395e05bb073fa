/* transport/monitor_self.h - what every process tells Prometheus besides its own tables: build, processor time, memory,
 * open files, start. The names are those of Prometheus' client libraries. Any thread. */
#ifndef TRANSPORT_MONITOR_SELF_H
#define TRANSPORT_MONITOR_SELF_H

#include "core/buffer.h"

/* What /proc does not say is left out. */
MUST_CHECK enum status monitor_self_text(const char *labels, struct buffer *text);

#endif
