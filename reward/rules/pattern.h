/* reward/rules/pattern.h - the regular expressions that a data row brings along (keywords, section names), with Python's
 * meaning: Unicode classes, '.' stops at a line feed. Matching is bounded; a pattern that needs more work is refused.
 * Pure, any thread. */
#ifndef REWARD_RULES_PATTERN_H
#define REWARD_RULES_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

enum pattern_result { PATTERN_OK, PATTERN_BAD, PATTERN_TOO_HARD, PATTERN_NO_MEMORY };

/* head + middle + tail is the expression. Counts matches that do not overlap, up to `most`; groups: of the expression.
 * text is UTF-8. BAD: `why` says where it is wrong. */
enum pattern_result pattern_count(const char *head, const char *middle, const char *tail,
                                  bool ignore_case, const char *text, size_t size, size_t most,
                                  size_t *count, size_t *groups, char *why, size_t why_size);

#endif
