/* reward/logic/reading.h - finds the final answer in a response. Always the LAST one: what a response tries before is
 * not what it answers. Linear in the text, any thread. */
#ifndef REWARD_LOGIC_READING_H
#define REWARD_LOGIC_READING_H

#include <jansson.h>
#include <stdbool.h>

#include "reward/answer/answer.h"

/* A short answer (a number, some words, a formula): what the last of \boxed{..}, a fenced block, <answer>..</answer>,
 * {"answer": ..} or "answer is|: .." holds; else the last **bold** text; else the last line with text.
 * Without $, **, `, quotes, \text{}, <answer> and a final full stop around it. */
struct answer_span reading_short(struct answer_span response);
/* The same without the wrappers of `text` itself, as often as they nest. */
struct answer_span reading_unwrapped(struct answer_span text);

/* A grid of rows x columns (0: any) in the response: the last list of lists, [[1 2,3 4]], or the last run of lines
 * with one row of tokens each (separated by spaces, commas or |). A list of lists of texts or numbers; NULL:
 * none. The caller's. */
json_t *reading_grid(struct answer_span response, size_t rows, size_t columns);
/* The cell as a text; "" when there is none. */
const char *reading_cell(const json_t *grid, size_t row, size_t column, char scratch[24]);
/* The cell as a number; false when it is none. */
bool reading_cell_int(const json_t *grid, size_t row, size_t column, int *number);

/* The last list of coordinate pairs in the response: [(1, 2), (3, 4)], {..}, or [] for none; when there is no such list,
 * all pairs of the last line that has any. A list of lists of two whole numbers; pairs inside lists, such as dominoes
 * [[(1,2),(1,3)],..], come out in their order. NULL: none. The caller's. */
json_t *reading_pairs(struct answer_span response);

/* The last whole number of the text: "x = -12." gives -12. False: none, or too long. */
bool reading_last_int(struct answer_span text, long long *number);
/* The number that the text is: 12, -3.5, 1,234, 2/3, \frac{2}{3}, 1.5e3, with a unit or words after or "x =" before
 * it. False when there is none, or a second one. */
bool reading_number(struct answer_span text, double *number);
/* Equal without regard to case and to runs of white space (and to spaces at the ends). */
bool reading_same_words(struct answer_span a, const char *b);

#endif
