/* reward/rules/language.h - which language a text is in, among those that the instruction rules name and their look-alikes.
 * Writing systems of one language decide by themselves; for the others n-grams learned from a page per language do. */
#ifndef REWARD_RULES_LANGUAGE_H
#define REWARD_RULES_LANGUAGE_H

#include "core/status.h"
#include "reward/rules/runes.h"

enum language_group { LANGUAGE_LATIN, LANGUAGE_CYRILLIC, LANGUAGE_ARABIC, LANGUAGE_DEVANAGARI };

struct language_sample {
    const char *code; /* ISO 639-1 */
    enum language_group group;
    const char *text; /* UTF-8 */
};
extern const struct language_sample language_samples[];
extern const size_t language_sample_count;

/* Learned from the samples; read-only afterwards, any thread. About 2 MB and 3 ms. */
struct language_model;
MUST_CHECK enum status language_model_create(struct language_model **model);
void language_model_destroy(struct language_model **model); /* NULL is fine */

/* Its code ("en", "zh-cn"); NULL when the text has no letter that could tell. Looks at the first 10,000 characters. */
const char *language_detect(const struct language_model *model, struct runes text);

#endif
