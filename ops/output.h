/* ops/output.h - what a supervisor prints, without ever waiting for whoever reads it.
 *
 *     output_guard();                  stdout and stderr of this process are guarded from here on
 *     printf("step 1\n");              as ever
 *     output_be_patient(1000);         for the last words
 *
 * A pager that does not scroll, a terminal after Ctrl-S or a log driver that hangs must not stop the one thread that
 * keeps a run alive. What cannot be written at once is dropped, line by line, and counted; the count is said when
 * there is room again. Flags of the open file, which other processes share, are not changed. One thread. */
#ifndef OPS_OUTPUT_H
#define OPS_OUTPUT_H

#include <stdint.h>

/* Does nothing the second time, and nothing when there is no memory for it. */
void output_guard(void);
/* From here on a write waits for room, wait_ms in all. */
void output_be_patient(int64_t wait_ms);
/* Lines of both streams that nobody got. */
uint64_t output_dropped(void);

#endif
