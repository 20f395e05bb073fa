/* learner/manifest.h - what a checkpoint folder holds, file by file, so that any changed byte is noticed before use.
 *
 * <folder>/manifest is text: a head line, for each file "bytes xxh3-64 crc32c path", and an end line with the count
 * and both checksums of everything before it. It is written last. One thread. */
#ifndef LEARNER_MANIFEST_H
#define LEARNER_MANIFEST_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

/* Of one file; starts as zeros. Pieces of whole MiB may be added one after another. Pure. */
struct manifest_sums {
    uint64_t size, hash; /* hash: XXH3-64 of each MiB, seeded with that of the one before */
    uint32_t crc;        /* CRC32C of everything */
};
void manifest_add(struct manifest_sums *sums, const void *bytes, size_t size);

/* Hashes every file below the folder (but the manifest) and writes the manifest, synced. */
MUST_CHECK enum status manifest_write(const char *folder);
/* Reads every byte of every file once. NOT_FOUND: there is no manifest. CORRUPT names the file: it is missing, of
 * another size or hash, or (for *.json and *.safetensors, which a loader would pick up) not in the manifest. */
MUST_CHECK enum status manifest_verify(const char *folder);

#endif
