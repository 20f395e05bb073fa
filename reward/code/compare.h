/* reward/code/compare.h - whether a program printed what was expected. Bytes, never decoded; linear; any thread. */
#ifndef REWARD_CODE_COMPARE_H
#define REWARD_CODE_COMPARE_H

#include "reward/code/problem.h"

/* exact: the same lines, where a last newline may be missing or extra. Else the same tokens between white space; with a
 * tolerance two tokens that are decimal numbers may differ by it, absolutely or relative to the expected one. */
bool code_compare_outputs(const struct code_compare *compare, struct code_text got,
                          struct code_text wanted);

#endif
