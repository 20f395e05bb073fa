#include "reward/rules/ifeval.h"

#include <string.h>

enum { COUNT_MAX = 1 << 30 };

static const struct {
    const char *id;
    ifeval_fn *fn;
} instructions[] = {
    {"change_case:capital_word_frequency", ifeval_capital_word_frequency},
    {"change_case:english_capital", ifeval_english_capital},
    {"change_case:english_lowercase", ifeval_english_lowercase},
    {"combination:repeat_prompt", ifeval_repeat_prompt},
    {"combination:two_responses", ifeval_two_responses},
    {"detectable_content:number_placeholders", ifeval_number_placeholders},
    {"detectable_content:postscript", ifeval_postscript},
    {"detectable_format:constrained_response", ifeval_constrained_response},
    {"detectable_format:json_format", ifeval_json_format},
    {"detectable_format:multiple_sections", ifeval_multiple_sections},
    {"detectable_format:number_bullet_lists", ifeval_number_bullet_lists},
    {"detectable_format:number_highlighted_sections", ifeval_number_highlighted_sections},
    {"detectable_format:title", ifeval_title},
    {"keywords:existence", ifeval_existence},
    {"keywords:forbidden_words", ifeval_forbidden_words},
    {"keywords:frequency", ifeval_frequency},
    {"keywords:letter_frequency", ifeval_letter_frequency},
    {"language:response_language", ifeval_response_language},
    {"length_constraints:nth_paragraph_first_word", ifeval_nth_paragraph_first_word},
    {"length_constraints:number_paragraphs", ifeval_number_paragraphs},
    {"length_constraints:number_sentences", ifeval_number_sentences},
    {"length_constraints:number_words", ifeval_number_words},
    {"punctuation:no_comma", ifeval_no_comma},
    {"startend:end_checker", ifeval_end_checker},
    {"startend:quotation", ifeval_quotation},
};
enum { INSTRUCTION_COUNT = sizeof instructions / sizeof instructions[0] };

ifeval_fn *ifeval_find(const char *id)
{
    for (size_t i = 0; i < INSTRUCTION_COUNT; i++) {
        if (strcmp(instructions[i].id, id) == 0)
            return instructions[i].fn;
    }
    return NULL;
}

const char *ifeval_id(size_t index)
{
    return index < INSTRUCTION_COUNT ? instructions[index].id : NULL;
}

bool ifeval_text(struct ifeval_check *check, const char *key, struct runes *text)
{
    const char *bytes = read_text(check->arguments, key, NULL, check->note);
    if (bytes == NULL) {
        read_fail(check->note, "%s is missing: a text is needed", key);
        return false;
    }
    size_t size = json_string_length(json_object_get(check->arguments, key));
    if (!runes_decode(check->arena, bytes, size, text)) {
        check->out_of_memory = true;
        return false;
    }
    *text = runes_trimmed(*text);
    return true;
}

int64_t ifeval_count(struct ifeval_check *check, const char *key)
{
    return read_needed_integer(check->arguments, key, 0, COUNT_MAX, check->note);
}

bool ifeval_relation(struct ifeval_check *check, const char *key, const char *relation,
                     size_t count)
{
    int64_t threshold =
        read_needed_integer(check->arguments, key, -COUNT_MAX, COUNT_MAX, check->note);
    unsigned kind = read_choice(check->arguments, relation, "less than|at least", 2, check->note);
    if (kind == 2)
        read_fail(check->note, "%s is missing: \"less than\" or \"at least\"", relation);
    return kind == 0 ? (int64_t)count < threshold : (int64_t)count >= threshold;
}

bool ifeval_lowered(struct ifeval_check *check, struct runes text, struct runes *lowered)
{
    if (!runes_lowered(check->arena, text, lowered))
        check->out_of_memory = true;
    return !check->out_of_memory;
}
