/* reward/rules/ifeval.h - the verifiable instructions of IFEval (Zhou et al. 2023, arXiv:2311.07911): 25 kinds, each a check
 * of a response alone. The verdicts are those of google-research/instruction_following_eval. */
#ifndef REWARD_RULES_IFEVAL_H
#define REWARD_RULES_IFEVAL_H

#include <jansson.h>

#include "core/arena.h"
#include "reward/rules/language.h"
#include "reward/rules/read.h"
#include "reward/rules/runes.h"

/* What a check may use. */
struct ifeval_check {
    const json_t *arguments; /* of this instruction, an object; null members count as absent */
    const struct language_model *languages;
    struct arena *arena; /* for this check alone */
    struct read_note *note;
    bool out_of_memory, too_hard; /* set by a check: no verdict */
};

/* One instruction against one text that is not blank. False on a failure too: look at the note and the flags. */
typedef bool ifeval_fn(struct ifeval_check *check, struct runes text);

/* NULL: no such instruction. */
ifeval_fn *ifeval_find(const char *id);
/* The ids, one after another; NULL behind the last. */
const char *ifeval_id(size_t index);

ifeval_fn ifeval_existence, ifeval_frequency, ifeval_forbidden_words, ifeval_letter_frequency,
    ifeval_response_language, ifeval_number_sentences, ifeval_number_words,
    ifeval_capital_word_frequency, ifeval_english_capital, ifeval_english_lowercase,
    ifeval_no_comma, ifeval_postscript, ifeval_multiple_sections;
ifeval_fn ifeval_number_paragraphs, ifeval_nth_paragraph_first_word, ifeval_number_placeholders,
    ifeval_number_bullet_lists, ifeval_constrained_response, ifeval_number_highlighted_sections,
    ifeval_json_format, ifeval_title, ifeval_two_responses, ifeval_repeat_prompt,
    ifeval_end_checker, ifeval_quotation;

/* Arguments. A text is decoded into the check's arena, without white space at its ends. */
bool ifeval_text(struct ifeval_check *check, const char *key, struct runes *text);
/* A count of at least 0. */
int64_t ifeval_count(struct ifeval_check *check, const char *key);
/* count against the argument named by `key`, by the relation ("less than", "at least") of the argument `relation`. */
bool ifeval_relation(struct ifeval_check *check, const char *key, const char *relation,
                     size_t count);
bool ifeval_lowered(struct ifeval_check *check, struct runes text, struct runes *lowered);

#endif
