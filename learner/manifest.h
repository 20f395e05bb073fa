/* learner/manifest.h - what a checkpoint folder holds, file by file, so that any changed byte is noticed before use.
 *
 * <folder>/manifest is text: a head line, for each file "bytes xxh3-64 crc32c path", and an end line with the count
 * and both checksums of everything before it. It is written last. One thread. */
#ifndef LEARNER_MANIFEST_H
#define LEARNER_MANIFEST_H

#include "core/status.h"

/* Hashes every file below the folder (but the manifest) and writes the manifest, synced. */
MUST_CHECK enum status manifest_write(const char *folder);
/* Reads every byte of every file once. NOT_FOUND: there is no manifest. CORRUPT names the file: it is missing, of
 * another size or hash, or (for *.json and *.safetensors, which a loader would pick up) not in the manifest. */
MUST_CHECK enum status manifest_verify(const char *folder);

#endif
