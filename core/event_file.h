/* core/event_file.h - TensorBoard's event files, written without TensorBoard.
 *
 *     TRY(event_file_open(&file, folder, first_step));      a new file; steps from first_step on replace earlier ones
 *     buffer_clear(&summary);
 *     TRY(event_scalar(&summary, "reward/mean", 0.5));
 *     TRY(event_file_write(file, wall_s, step, &summary));
 *
 * A file is a row of records {u64 size, masked CRC32C of the size, bytes, masked CRC32C of the bytes}, little-endian, as
 * TensorFlow's record_writer does it; the bytes are Event messages (tensorflow/core/util/event.proto), of which these
 * fields are written by hand: Event.wall_time 1, step 2, file_version 3, summary 5, session_log 7. Numbers are f32 in
 * scalars. event_scalar, event_histogram and event_text append to a Summary; pure. One thread a file. */
#ifndef CORE_EVENT_FILE_H
#define CORE_EVENT_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/status.h"

C_BEGIN

struct event_file;

/* FOLDER/events.out.tfevents.SECONDS.HOST, later by name than all that are there; made with the folder. It begins with
 * a SessionLog START at first_step, which makes readers forget what earlier files say of steps from there on. */
MUST_CHECK enum status event_file_open(struct event_file **file, const char *folder,
                                       uint64_t first_step);
void event_file_close(struct event_file **file);
/* One event with everything in `summary`; in one write. */
MUST_CHECK enum status event_file_write(struct event_file *file, double wall_s, uint64_t step,
                                        const struct buffer *summary);

MUST_CHECK enum status event_scalar(struct buffer *summary, const char *tag, double value);
/* counts [bins] between edges [bins + 1]; sums are those of values in the middle of their bins. */
MUST_CHECK enum status event_histogram(struct buffer *summary, const char *tag, const double *edges,
                                       const double *counts, size_t bins);
MUST_CHECK enum status event_text(struct buffer *summary, const char *tag, const char *text);

C_END
#endif
