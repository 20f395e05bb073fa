/* core/checksum.h - CRC32C for frames and log records, XXH3 for names and files, and the weight digest.
 *
 * Weight digest (DESIGN.md part 4): sum mod 2^64 over the 8-byte little-endian words w[i] of the
 * canonical layout of mix(w[i], i), mix bijective in w for each i; a last partial word is padded with
 * zeros. A sum, so any shard in any order can be added: digest of a piece starting at word `first_word`
 * adds to the others. mix(w, i) = fmix64(w + (i + 1) * 0x9E3779B97F4A7C15), fmix64 the finaliser of
 * MurmurHash3. The value does not depend on backend, threads or sharding. Pure, any thread. */
#ifndef CORE_CHECKSUM_H
#define CORE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

C_BEGIN

uint32_t crc32c(uint32_t crc, const void *bytes,
                size_t size); /* start with 0; crc32c(0,"123456789") = 0xe3069283 */
uint32_t crc32c_table(uint32_t crc, const void *bytes,
                      size_t size); /* same value without SSE4.2; crc32c picks */
uint64_t hash64(const void *bytes, size_t size, uint64_t seed); /* XXH3-64 */
uint64_t weight_digest(const void *bytes, size_t size, uint64_t first_word);
/* memcpy and the digest of what is copied, in one pass: about as fast as the copy. They must not overlap. */
uint64_t weight_digest_copy(void *to, const void *from, size_t size, uint64_t first_word);

C_END
#endif
