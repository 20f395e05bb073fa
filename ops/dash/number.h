/* ops/dash/number.h - numbers as JSON, fast: an answer holds hundreds of thousands of them. Pure. */
#ifndef OPS_DASH_NUMBER_H
#define OPS_DASH_NUMBER_H

#include <stddef.h>

enum { NUMBER_TEXT_MAX = 32 };

/* Writes at most NUMBER_TEXT_MAX bytes, no NUL; how many. Whole numbers below 2^53 exactly, others with 9 significant
 * digits (relative error below 1e-8, far below a pixel); NaN and infinities as null. */
size_t number_text(double value, char out[NUMBER_TEXT_MAX]);
/* Seconds with three decimals. */
size_t number_seconds(double value, char out[NUMBER_TEXT_MAX]);

#endif
