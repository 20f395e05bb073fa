/* links: reward_math */
/* Any bytes as a gold answer and a response, parted by the first NUL or in the middle, with options from the first byte:
 * a verdict in bounded time, twice the same, and nothing left. */
#include <string.h>

#include <flint/flint.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/memory.h"
#include "reward/math/math.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static enum math_verdict check(struct answer_span gold, struct answer_span response,
                               const struct math_options *options)
{
    struct arena *arena = NULL;
    struct math_result result;
    struct math_time time = {CLOCK_NS_PER_S / 2, clock_now_ns() + CLOCK_NS_PER_S};
    CHECK(arena_create(&arena, 8 << 20) == STATUS_OK);
    math_check(arena, gold, response, options, &time, &result);
    CHECK(result.verdict <= MATH_UNDECIDED);
    arena_destroy(&arena);
    return result.verdict;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    int64_t blocks = memory_blocks_live();
    if (size < 2)
        return 0;
    struct math_options options = math_options_default;
    options.last_number = options.last_formula = (bytes[0] & 1) != 0;
    options.join_boxes = options.tuple_without_brackets = (bytes[0] & 2) != 0;
    options.decimal_comma = (bytes[0] & 4) != 0;
    options.allow_set_relation_comp = (bytes[0] & 8) != 0;
    options.strict = (bytes[0] & 16) == 0;
    options.percent_lenient = (bytes[0] & 32) != 0;
    const char *text = (const char *)bytes + 1;
    size_t left = size - 1;
    const char *end = memchr(text, '\0', left);
    size_t part = end != NULL ? (size_t)(end - text) : left / 2;
    size_t from = end != NULL ? part + 1 : part;
    struct answer_span gold = {text, part}, response = {text + from, left - from};
    struct math_extract whole = {response, (bytes[0] & 64) != 0, (bytes[0] & 128) != 0},
                        truth = {gold, false, false};
    enum math_verdict first = check(gold, response, &options),
                      second = check(gold, response, &options);
    CHECK(first == second || first == MATH_UNDECIDED || second == MATH_UNDECIDED);
    struct arena *arena = NULL;
    CHECK(arena_create(&arena, 8 << 20) == STATUS_OK);
    struct math_time time = {CLOCK_NS_PER_S / 2, clock_now_ns() + CLOCK_NS_PER_S};
    math_compare(arena, &truth, &whole, &options, &time);
    arena_destroy(&arena);
    flint_cleanup();
    CHECK(memory_blocks_live() == blocks);
    return 0;
}
