#include "core/checksum.h"

#include <pthread.h>
#include <string.h>

#include <xxhash.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are read as they lie in memory");

static uint32_t crc_table[256];

static void crc_table_fill(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0); /* Castagnoli, reflected */
        crc_table[byte] = crc;
    }
}

uint32_t crc32c_table(uint32_t crc, const void *bytes, size_t size)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, crc_table_fill);
    const uint8_t *from = bytes;
    crc = ~crc;
    for (size_t i = 0; i < size; i++)
        crc = (crc >> 8) ^ crc_table[(crc ^ from[i]) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const void *bytes,
                                                               size_t size)
{
    const uint8_t *from = bytes;
    uint64_t state = (uint32_t)~crc;
    for (; size >= 8; size -= 8, from += 8) {
        uint64_t word;
        memcpy(&word, from, sizeof word);
        state = _mm_crc32_u64(state, word);
    }
    uint32_t tail = (uint32_t)state;
    for (; size > 0; size--, from++)
        tail = _mm_crc32_u8(tail, *from);
    return ~tail;
}
#endif

uint32_t crc32c(uint32_t crc, const void *bytes, size_t size)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2"))
        return crc32c_sse42(crc, bytes, size);
#endif
    return crc32c_table(crc, bytes, size);
}

uint64_t hash64(const void *bytes, size_t size, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, size, seed);
}

static uint64_t digest_mix(uint64_t word, uint64_t index)
{
    uint64_t x = word + (index + 1) * UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 33)) * UINT64_C(0xff51afd7ed558ccd); /* fmix64 of MurmurHash3 */
    x = (x ^ (x >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ (x >> 33);
}

#if defined(__x86_64__)
enum { LANES = 8 };
typedef uint64_t lanes __attribute__((vector_size(LANES * sizeof(uint64_t))));

/* The same sum, eight words at a time: 64-bit products are one instruction here. to: copied there past the cache, at
 * a multiple of its size; NULL: nowhere. */
__attribute__((target("avx512f,avx512dq"))) static uint64_t
digest_avx512(uint8_t *to, const uint8_t *from, size_t blocks, uint64_t first_word)
{
    const uint64_t step = UINT64_C(0x9E3779B97F4A7C15);
    lanes sum = {0}, at;
    for (uint64_t i = 0; i < LANES; i++)
        at[i] = (first_word + i + 1) * step;
    for (size_t block = 0; block < blocks; block++, from += sizeof(lanes), at += LANES * step) {
        lanes x;
        memcpy(&x, from, sizeof x);
        if (to != NULL) {
            _mm512_stream_si512((void *)to, (__m512i)x);
            to += sizeof x;
        }
        x += at;
        x = (x ^ (x >> 33)) * UINT64_C(0xff51afd7ed558ccd);
        x = (x ^ (x >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
        sum += x ^ (x >> 33);
    }
    _mm_sfence();
    uint64_t all = 0;
    for (int i = 0; i < LANES; i++)
        all += sum[i];
    return all;
}
#endif

uint64_t weight_digest(const void *bytes, size_t size, uint64_t first_word)
{
    const uint8_t *from = bytes;
    uint64_t sum = 0;
    uint64_t index = first_word;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512dq")) {
        const size_t blocks = size / sizeof(lanes);
        sum = digest_avx512(NULL, from, blocks, first_word);
        from += blocks * sizeof(lanes);
        size -= blocks * sizeof(lanes);
        index += blocks * LANES;
    }
#endif
    for (; size >= 8; size -= 8, from += 8) {
        uint64_t word;
        memcpy(&word, from, sizeof word);
        sum += digest_mix(word, index++);
    }
    if (size > 0) {
        uint64_t word = 0;
        memcpy(&word, from, size);
        sum += digest_mix(word, index);
    }
    return sum;
}

uint64_t weight_digest_copy(void *to, const void *from, size_t size, uint64_t first_word)
{
    enum { BLOCK = 256 << 10 }; /* stays in the cache between copy and digest */
    uint64_t sum = 0;
    uint8_t *target = to;
    const uint8_t *source = from;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512dq") && (uintptr_t)to % sizeof(lanes) == 0) {
        const size_t blocks = size / sizeof(lanes), done = blocks * sizeof(lanes);
        sum = digest_avx512(target, source, blocks, first_word);
        target += done;
        source += done;
        size -= done;
        first_word += blocks * LANES;
    }
#endif
    for (size_t at = 0; at < size; at += BLOCK) {
        const size_t some = size - at < BLOCK ? size - at : BLOCK;
        memcpy(target + at, source + at, some);
        sum += weight_digest(target + at, some, first_word + at / 8);
    }
    return sum;
}
