/* core/packed.h - data files that may be compressed: NAME.zst is Zstandard (RFC 8878), anything else as it is.
 * Any thread. */
#ifndef CORE_PACKED_H
#define CORE_PACKED_H

#include <stdbool.h>

#include "core/buffer.h"
#include "core/status.h"

C_BEGIN

bool packed_is(const char *path); /* the name ends in .zst */
/* Appends what the file holds, uncompressed; several frames in a row are one text. LIMIT: more than the buffer takes;
 * CORRUPT: damaged or cut off; NOT_FOUND, IO as file_read. */
MUST_CHECK enum status packed_read(const char *path, struct buffer *contents);
/* The whole file or none (file_replace), packed when its name says so, with a checksum; the same contents give the same
 * bytes. IO, NO_MEMORY. */
MUST_CHECK enum status packed_write(const char *path, const struct buffer *contents);

C_END
#endif
