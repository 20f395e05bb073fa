/* kernels/cpu/kv_page.h - how keys and values of one softmax-attention layer lie in a page.
 *
 * A page holds KV_TILE consecutive tokens of one sequence: first the keys, transposed, [G, D, KV_TILE],
 * so that one load takes a channel of 16 keys; then the values, [G, KV_TILE, D], so that one load takes
 * 16 channels of a value. Token n of a sequence is column n % KV_TILE of page
 * page_table[slot * pages_per_slot + n / KV_TILE]. All f32. */
#ifndef KERNELS_CPU_KV_PAGE_H
#define KERNELS_CPU_KV_PAGE_H

#include <stddef.h>
#include <stdint.h>

enum { KV_TILE = 64 }; /* op_table.kv_tile; a constant of the numerics: it fixes the merge points */

static inline size_t kv_page_floats(int64_t kv_heads, int64_t head_size)
{
    return 2 * (size_t)kv_heads * (size_t)head_size * KV_TILE;
}

/* Element offset in a page of the keys [D, KV_TILE] of key head `head`. */
static inline size_t kv_page_keys(int64_t head, int64_t head_size)
{
    return (size_t)head * (size_t)head_size * KV_TILE;
}

/* Element offset in a page of the values [KV_TILE, D] of key head `head`. */
static inline size_t kv_page_values(int64_t kv_heads, int64_t head, int64_t head_size)
{
    return (size_t)(kv_heads + head) * (size_t)head_size * KV_TILE;
}

#endif
