/* Extraction, then comparison in the readings that a text may have: commas as thousands separators or between items,
 * \log as natural or to base 10. */
#include "reward/math/math.h"

#include <string.h>

#include "reward/math/compare.h"
#include "reward/math/lex.h"

const struct math_options math_options_default = {
    .strict = true,
    .float_rounding = 6,
    .window = 4096,
};

static bool same_token(const struct token *a, const struct token *b)
{
    bool named = a->kind != TOKEN_FRACTION && a->kind != TOKEN_BINOMIAL;
    return a->kind == b->kind && a->value == b->value &&
           (!named || (a->size == b->size && memcmp(a->text, b->text, a->size) == 0));
}

/* Braces around all of it. */
static void unwrap(struct token_list *tokens)
{
    size_t depth = 0;
    if (tokens->count < 4 || tokens->at[0].kind != '{' || tokens->at[tokens->count - 2].kind != '}')
        return;
    for (size_t i = 0; i + 2 < tokens->count; i++) {
        depth += tokens->at[i].kind == '{' ? 1u : 0u;
        depth -= tokens->at[i].kind == '}' ? 1u : 0u;
        if (depth == 0)
            return; /* {a}b{c} */
    }
    tokens->at++;
    tokens->count -= 2;
    tokens->at[tokens->count - 1].kind = TOKEN_END;
}

/* The same tokens: also for what cannot be parsed. */
static bool same_as_written(struct arena *arena, struct answer_span gold, struct answer_span answer)
{
    struct token_list a, b;
    struct math_notation notation = {.thousands = true};
    if (!math_lex(arena, gold, notation, &a) || !math_lex(arena, answer, notation, &b))
        return false;
    unwrap(&a);
    unwrap(&b);
    if (a.count != b.count || a.count < 2)
        return false;
    for (size_t i = 0; i + 1 < a.count; i++)
        if (!same_token(&a.at[i], &b.at[i]))
            return false;
    return true;
}

/* Whether the text has a comma or a space that reads as a thousands separator. */
static bool has_thousands(struct answer_span text)
{
    for (size_t i = 1; i + 3 < text.size; i++) {
        const char *at = text.at + i;
        if ((*at == ',' || *at == ' ') && at[-1] >= '0' && at[-1] <= '9' && at[1] >= '0' &&
            at[1] <= '9' && at[2] >= '0' && at[2] <= '9' && at[3] >= '0' && at[3] <= '9')
            return true;
    }
    return false;
}

static struct node *parsed(struct arena *arena, const struct math_extract *extract,
                           const struct math_options *options, bool thousands)
{
    struct math_notation notation = {options->decimal_comma && extract->plain, thousands};
    struct node *tree = math_parse(arena, extract->text, notation);
    if (tree != NULL && extract->percent && tree->kind != NODE_PERCENT)
        tree = math_node_2(arena, NODE_PERCENT, tree, NULL);
    return tree;
}

/* "12 m", "15 m^2": for a gold without variables a letter that stands apart behind a number is a unit. */
static struct node *without_unit(struct node *tree, struct answer_span text)
{
    const struct node *unit;
    bool apart = false;
    if (tree->kind != NODE_MULTIPLY || tree->count != 2 || !math_tree_is_constant(tree->child[0]))
        return tree;
    unit = tree->child[1]->kind == NODE_POWER ? tree->child[1]->child[0] : tree->child[1];
    if (unit->kind != NODE_VARIABLE || unit->size != 1 ||
        strchr("mgsLlhJNWVK", unit->text[0]) == NULL ||
        (tree->child[1]->kind == NODE_POWER && tree->child[1]->child[1]->kind != NODE_NUMBER))
        return tree;
    for (size_t i = 1; i < text.size; i++)
        apart |= text.at[i] == unit->text[0] &&
                 (text.at[i - 1] == ' ' || text.at[i - 1] == ',' || text.at[i - 1] == '~');
    return apart ? tree->child[0] : tree;
}

/* Variables of the answer in the order of the gold's, for comparisons that ignore names. */
struct names {
    const struct node *at[8];
    uint32_t count;
};

static void names_of(const struct node *tree, struct names *names)
{
    if (tree->kind == NODE_VARIABLE) {
        for (uint32_t i = 0; i < names->count; i++)
            if (math_tree_same(names->at[i], tree))
                return;
        if (names->count < 8)
            names->at[names->count++] = tree;
    }
    for (uint32_t i = 0; i < tree->count; i++)
        names_of(tree->child[i], names);
}

/* A copy of the answer with the gold's names. */
static struct node *renamed(struct arena *arena, struct node *tree, const struct names *from,
                            const struct names *to)
{
    for (uint32_t i = 0; i < from->count; i++)
        if (math_tree_same(tree, from->at[i])) {
            struct node *name = math_node(arena, NODE_VARIABLE, 0);
            if (name != NULL) {
                name->text = to->at[i]->text;
                name->size = to->at[i]->size;
            }
            return name;
        }
    if (tree->count == 0)
        return tree;
    struct node *copy = arena_copy(arena, tree, sizeof *tree);
    struct node **child = arena_array(arena, tree->count, sizeof *child);
    if (copy == NULL || child == NULL)
        return NULL;
    copy->child = child;
    for (uint32_t i = 0; i < tree->count; i++)
        if ((child[i] = renamed(arena, tree->child[i], from, to)) == NULL)
            return NULL;
    return copy;
}

static bool same_in_a_reading(struct comparison *comparison, const struct math_extract *gold,
                              const struct math_extract *answer, bool thousands)
{
    struct node *a = parsed(comparison->arena, gold, comparison->options, thousands);
    struct node *b = parsed(comparison->arena, answer, comparison->options, thousands);
    if (a == NULL || b == NULL)
        return false;
    if (math_tree_is_constant(a))
        b = without_unit(b, answer->text);
    if (!comparison->options->strict) {
        struct names from = {.count = 0}, to = {.count = 0};
        names_of(a, &to);
        names_of(b, &from);
        if (from.count == to.count)
            b = renamed(comparison->arena, b, &from, &to);
        if (b == NULL)
            return false;
    }
    if (compare_trees(comparison, a, b))
        return true;
    if (!math_tree_has_function(a, FUNCTION_LOG) && !math_tree_has_function(b, FUNCTION_LOG))
        return false;
    comparison->evaluation.log_is_10 = true;
    bool same = compare_trees(comparison, a, b);
    comparison->evaluation.log_is_10 = false;
    return same;
}

/* "all real numbers" is \mathbb{R}. */
static struct answer_span named_set(struct answer_span text)
{
    static const char *const names[] = {"all real numbers", "all reals", "\\text{all real numbers}",
                                        "\\text{All real numbers}", "All real numbers"};
    text = answer_trimmed(text);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (math_text_is(text.at, text.size, names[i]))
            return (struct answer_span){"\\mathbb{R}", 10};
    return text;
}

enum math_verdict math_compare(struct arena *arena, const struct math_extract *gold,
                               const struct math_extract *answer,
                               const struct math_options *options, const struct math_time *time)
{
    struct comparison comparison = {.arena = arena, .options = options};
    struct math_extract truth = *gold, given = *answer;
    evaluation_start(&comparison.evaluation, time);
    truth.text = named_set(gold->text);
    given.text = named_set(answer->text);
    gold = &truth;
    answer = &given;
    if (gold->percent == answer->percent && same_as_written(arena, gold->text, answer->text))
        return MATH_SAME;
    enum text_verdict text = compare_texts(gold->text, answer->text);
    if (text != TEXT_NOT_TEXT)
        return text == TEXT_SAME ? MATH_SAME : MATH_DIFFERENT;
    bool same = same_in_a_reading(&comparison, gold, answer, true);
    if (!same && (has_thousands(gold->text) || has_thousands(answer->text)))
        same = same_in_a_reading(&comparison, gold, answer, false);
    if (same)
        return MATH_SAME;
    return comparison.evaluation.over ? MATH_UNDECIDED : MATH_DIFFERENT;
}

/* Words that are no names of functions or units: two and more, or a long one beside a number. */
static bool is_sentence(struct answer_span text)
{
    size_t words = 0, longest = 0, from = 0;
    bool digit = false;
    for (size_t i = 0; i <= text.size; i++) {
        char c = i < text.size ? text.at[i] : ' ';
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
            continue;
        digit |= c >= '0' && c <= '9';
        size_t size = i - from;
        bool command = from > 0 && (text.at[from - 1] == '\\' || text.at[from - 1] == '{');
        if (size >= 3 && !command && math_word(text.at + from, size) == NULL &&
            !math_word_is_unit(text.at + from, size)) {
            words++;
            longest = size > longest ? size : longest;
        }
        from = i + 1;
    }
    return words >= 2 || (digit && longest >= 4);
}

void math_check(struct arena *arena, struct answer_span gold, struct answer_span response,
                const struct math_options *options, const struct math_time *time,
                struct math_result *result)
{
    struct math_extract truth, answer;
    *result = (struct math_result){.verdict = MATH_DIFFERENT};
    if (!math_extract_gold(arena, gold, options, &truth)) {
        result->gold_empty = true;
        return;
    }
    if (!math_extract_answer(arena, response, options, &answer) || answer.text.size == 0)
        return;
    /* "The answer is that she has 3 left": a sentence, of which only its number can be meant. */
    struct math_extract number;
    if (answer.plain &&
        (is_sentence(answer.text) || parsed(arena, &answer, options, true) == NULL) &&
        compare_texts(truth.text, answer.text) != TEXT_SAME &&
        math_extract_number(answer.text, &number))
        answer = number;
    result->answer = answer.text;
    result->verdict = math_compare(arena, &truth, &answer, options, time);
}
