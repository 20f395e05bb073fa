/* tests/slow.h - fewer repetitions where each costs many times more: with a sanitizer, or under valgrind, whose tests
 * run with TEST_SLOW=1. What a plain build proves is not touched. */
#ifndef TESTS_SLOW_H
#define TESTS_SLOW_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

static inline bool test_is_slow(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#else
    const char *text = getenv("TEST_SLOW");
    return text != NULL && text[0] == '1';
#endif
}

/* `watched` repetitions with a sanitizer or under valgrind, `full` otherwise. */
static inline uint64_t test_times(uint64_t full, uint64_t watched)
{
    return test_is_slow() ? watched : full;
}

#endif
