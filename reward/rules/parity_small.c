/* verl's gsm8k.py and search_r1_like_qa_em.py, its dispatch by data source, and TRL's rewards that need no judge. */
#include <string.h>

#include "reward/rules/parity.h"
#include "reward/rules/repetition.h"
#include "reward/rules/runes.h"
#include "reward/rules/shaping.h"

enum { CLIP_CHARS = 300, TAGS_MAX = 10, LENGTH_MAX = 1 << 30 };

static bool has_solution(const struct parity_call *call, struct read_note *note)
{
    if (call->solution.at == NULL)
        read_fail(note, "solution_str is missing: a text is needed");
    return call->solution.at != NULL;
}

/* ---- gsm8k ---- */

/* -?[0-9.,]+ at `at`: its end, or `at`. */
static size_t number_end(struct piece text, size_t at)
{
    size_t end = at;
    if (end < text.size && text.at[end] == '-')
        end++;
    size_t from = end;
    while (end < text.size && text.at[end] != '\0' && strchr("0123456789.,", text.at[end]) != NULL)
        end++;
    return end > from ? end : at;
}

static bool strict_answer(struct pieces *pieces, struct piece text, struct piece *answer)
{
    bool found = false;
    for (size_t at = piece_find(text, "#### ", 0); at < text.size;) {
        size_t end = number_end(text, at + 5);
        if (end > at + 5) {
            *answer = (struct piece){text.at + at + 5, end - at - 5};
            found = true;
        }
        at = piece_find(text, "#### ", end > at + 5 ? end : at + 1);
    }
    if (found)
        *answer = pieces_replace(pieces, *answer, ",", "");
    return found;
}

/* The last number that is more than a point; if all are points, the first. */
static bool flexible_answer(struct piece text, struct piece *answer)
{
    bool found = false;
    for (size_t at = 0; at < text.size;) {
        size_t end = number_end(text, at);
        struct piece number = {text.at + at, end - at};
        if (end == at) {
            at++;
            continue;
        }
        if (!piece_is(number, ".") || !found)
            *answer = number;
        found = true;
        at = end;
    }
    return found;
}

double parity_gsm8k(struct pieces *pieces, const struct parity_call *call, json_t *fields,
                    struct read_note *note)
{
    (void)fields;
    unsigned method = read_choice(call->arguments, "method", "strict|flexible", 0, note);
    double format_score = read_number(call->arguments, "format_score", 0.0, note);
    double score = read_number(call->arguments, "score", 1.0, note);
    struct piece answer = {0};
    if (!has_solution(call, note))
        return 0.0;
    struct piece text = piece_last(call->solution, CLIP_CHARS);
    bool found =
        method == 0 ? strict_answer(pieces, text, &answer) : flexible_answer(text, &answer);
    if (!found)
        return 0.0;
    struct piece truth = {json_string_value(call->truth), json_string_length(call->truth)};
    return truth.at != NULL && piece_equal(answer, truth) ? score : format_score;
}

/* ---- question answering by exact match ---- */

static bool is_article(struct runes word)
{
    return (word.size == 1 && word.at[0] == 'a') || (word.size == 2 && runes_have(word, 0, "an")) ||
           (word.size == 3 && runes_have(word, 0, "the"));
}

/* Lower case, no ASCII punctuation, no articles, single spaces. */
static struct runes qa_normal(struct pieces *pieces, struct piece piece)
{
    struct runes text = {0}, none = {0};
    uint32_t *kept = NULL;
    size_t count = 0;
    if (!runes_decode(pieces->arena, piece.at, piece.size, &text) ||
        !runes_lowered(pieces->arena, text, &text) ||
        (kept = arena_array(pieces->arena, text.size + 1, 2 * sizeof *kept)) == NULL) {
        pieces->full = true;
        return none;
    }
    for (size_t i = 0; i < text.size; i++) {
        uint32_t rune = text.at[i];
        bool mark = (rune >= '!' && rune <= '/') || (rune >= ':' && rune <= '@') ||
                    (rune >= '[' && rune <= '`') || (rune >= '{' && rune <= '~');
        if (!mark)
            kept[count++] = rune;
    }
    struct runes bare = {kept, count};
    size_t used = 0;
    uint32_t *out = kept + text.size + 1; /* the second half of the array */
    for (size_t i = 0; i < count;) {
        size_t end = i;
        while (end < count && rune_is_word(bare.at[end]))
            end++;
        bool word = end > i;
        bool drop = word ? is_article(runes_part(bare, i, end)) : rune_is_space(bare.at[i]);
        if (!word)
            end = i + 1;
        if (drop && used > 0 && out[used - 1] != ' ')
            out[used++] = ' ';
        for (; i < end && !drop; i++)
            out[used++] = bare.at[i];
        i = end;
    }
    while (used > 0 && out[used - 1] == ' ')
        used--;
    return (struct runes){out, used};
}

static bool contains(struct runes text, struct runes part)
{
    for (size_t i = 0; i + part.size <= text.size; i++) {
        if (runes_equal(runes_part(text, i, i + part.size), part))
            return true;
    }
    return false;
}

static bool answers(struct pieces *pieces, struct runes answer, const json_t *target, bool inside)
{
    if (!json_is_string(target))
        return false;
    struct runes gold =
        qa_normal(pieces, (struct piece){json_string_value(target), json_string_length(target)});
    return inside ? contains(answer, gold) : runes_equal(answer, gold);
}

/* What stands in the last <answer>...</answer>. */
static bool tagged_answer(struct piece text, struct piece *answer)
{
    bool found = false;
    for (size_t at = piece_find(text, "<answer>", 0); at < text.size;) {
        size_t end = piece_find(text, "</answer>", at + 8);
        if (end >= text.size)
            break;
        *answer = piece_trimmed((struct piece){text.at + at + 8, end - at - 8});
        found = true;
        at = piece_find(text, "<answer>", end + 9);
    }
    return found;
}

static double qa_score(struct pieces *pieces, const struct parity_call *call, bool inside,
                       struct read_note *note)
{
    double format_score = read_number(call->arguments, "format_score", 0.0, note);
    double score = read_number(call->arguments, "score", 1.0, note);
    const json_t *target = json_object_get(call->truth, "target");
    struct piece answer;
    if (!has_solution(call, note))
        return 0.0;
    if (!json_is_string(target) && !json_is_array(target)) {
        read_fail(note,
                  "ground_truth has to be an object with a target: a text, or a list of them");
        return 0.0;
    }
    if (!tagged_answer(call->solution, &answer))
        return 0.0;
    struct runes normal = qa_normal(pieces, answer);
    bool right = answers(pieces, normal, target, inside);
    for (size_t i = 0; i < json_array_size(target) && !right; i++)
        right = answers(pieces, normal, json_array_get(target, i), inside);
    if (!right)
        return format_score;
    bool flooded = piece_count(call->solution, "<answer>") > TAGS_MAX ||
                   piece_count(call->solution, "</answer>") > TAGS_MAX;
    return flooded && !inside ? score / 4.0 : score;
}

double parity_qa_em(struct pieces *pieces, const struct parity_call *call, json_t *fields,
                    struct read_note *note)
{
    (void)fields;
    return qa_score(pieces, call, false, note);
}

double parity_qa_subem(struct pieces *pieces, const struct parity_call *call, json_t *fields,
                       struct read_note *note)
{
    (void)fields;
    return qa_score(pieces, call, true, note);
}

/* ---- verl's dispatch ---- */

double parity_default_score(struct pieces *pieces, const struct parity_call *call, json_t *fields,
                            struct read_note *note)
{
    static const struct {
        const char *sources; /* between bars */
        parity_fn *fn;
    } routes[] = {
        {"|openai/gsm8k|", parity_gsm8k},
        {"|lighteval/MATH|DigitalLearningGmbH/MATH-lighteval|HuggingFaceH4/MATH-500|",
         parity_math_reward},
        {"|math_dapo|math|math_dapo_reasoning|", parity_math_dapo},
        {"|searchR1_nq|searchR1_triviaqa|searchR1_popqa|searchR1_hotpotqa|searchR1_2wikimultihopqa"
         "|searchR1_musique|searchR1_bamboogle|",
         parity_qa_em},
    };
    const char *source = read_text(call->arguments, "data_source", "", note);
    struct parity_call plain = *call; /* keyword arguments are not passed on */
    json_t *none = json_object();
    plain.arguments = none;
    parity_fn *fn = strncmp(source, "aime", 4) == 0 ? parity_math_dapo : NULL;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0] && fn == NULL; i++) {
        bool name = *source != '\0' && strchr(source, '|') == NULL;
        const char *found = name ? strstr(routes[i].sources, source) : NULL;
        if (found != NULL && found[-1] == '|' && found[strlen(source)] == '|')
            fn = routes[i].fn;
    }
    double value = fn != NULL && none != NULL ? fn(pieces, &plain, fields, note) : 0.0;
    json_decref(none);
    if (fn == NULL)
        read_fail(note, "data_source \"%.60s\" has no native function here", source);
    return value;
}

/* ---- TRL ---- */

/* ^<think>(?!.*<think>)(.*?)</think>.*$ with DOTALL and MULTILINE, matched at the start. */
double parity_think_format(struct pieces *pieces, const struct parity_call *call, json_t *fields,
                           struct read_note *note)
{
    (void)pieces;
    (void)fields;
    struct piece text = call->solution;
    if (text.at == NULL) {
        read_fail(note, "completion is missing: a text, or a list of one message, is needed");
        return 0.0;
    }
    bool right = piece_starts(text, "<think>") && piece_find(text, "<think>", 7) >= text.size &&
                 piece_find(text, "</think>", 7) < text.size;
    return right ? 1.0 : 0.0;
}

double parity_soft_overlong(struct pieces *pieces, const struct parity_call *call, json_t *fields,
                            struct read_note *note)
{
    (void)pieces;
    (void)fields;
    const json_t *arguments = call->arguments;
    int64_t most =
        read_needed_integer(arguments, "max_completion_len", -LENGTH_MAX, LENGTH_MAX, note);
    int64_t cache = read_needed_integer(arguments, "soft_punish_cache", 0, LENGTH_MAX, note);
    int64_t length =
        read_integer(arguments, "completion_length", call->tokens, 0, LENGTH_MAX, note);
    if (length < 0)
        read_fail(note, "completion_length is missing, and completion_ids too");
    return note->failed ? 0.0 : overlong_dapo(most, cache, length);
}

double parity_repetition_penalty(struct pieces *pieces, const struct parity_call *call,
                                 json_t *fields, struct read_note *note)
{
    (void)fields;
    json_int_t n = read_integer(call->arguments, "ngram_size", 3, 1, REPETITION_NGRAM_MAX, note);
    double most = read_number(call->arguments, "max_penalty", -1.0, note), penalty = 0.0;
    size_t count = json_array_size(call->ids);
    if (most > 0.0)
        read_fail(note, "max_penalty is %g, it has to be 0 or below", most);
    if (call->ids == NULL)
        read_fail(note, "completion_ids is missing: a list of token ids is needed");
    int32_t *ids = arena_array(pieces->arena, count + 1, sizeof *ids);
    for (size_t i = 0; i < count && ids != NULL; i++) {
        const json_t *id = json_array_get(call->ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < INT32_MIN ||
            json_integer_value(id) > INT32_MAX)
            read_fail(note, "completion_ids[%zu] is no token id", i);
        ids[i] = (int32_t)json_integer_value(id);
    }
    if (note->failed)
        return 0.0;
    if (ids == NULL || !repetition_penalty(pieces->arena, ids, count, (size_t)n, most, &penalty))
        pieces->full = true;
    return penalty;
}
