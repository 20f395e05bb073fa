#define PCRE2_CODE_UNIT_WIDTH 8
#include "ops/data/math_clean.h"

#include <ctype.h>
#include <pcre2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/arena.h"
#include "core/clock.h"
#include "core/memory.h"
#include "reward/math/lex.h"
#include "reward/math/math.h"

enum { ARENA_BYTES = 16 << 20, STEPS_MAX = 1000000, PROMPT_BYTES_MAX = 64 << 10 };

/* A clause begins here: the start, after punctuation, or after a word that joins clauses. */
#define CLAUSE \
    "(?:^|[.?!:;,\\n(]\\s*|\\$\\s+|\\b(?:and|then|please|hence|or|thus|also|must|should)\\s+)"
/* (a) as a label: not f(a), not a power, not after a closing bracket. */
#define LABEL(x)      "(?<![\\w\\\\^_)\\]}$])\\(\\s*(?:" x ")\\s*\\)\\s"
#define LINE_LABEL(x) "(?:^|\\n)\\s*(?:" x ")[.)]\\s"
/* How an item of a list asks: at its beginning, or with a question mark. */
#define ASKS                                                                                     \
    "(?:\\s*(?:find|prove|determine|compute|calculate|what|how|show|evaluate|solve|state|which|" \
    "express|sketch|draw|explain|deduce|list|describe|verify|write|give|draw|if\\b[^.]*\\bfind)" \
    "\\b|"                                                                                       \
    "[^?]*\\?)"

enum target { PROMPT, ANSWER };

struct rule {
    enum math_clean_reason reason;
    enum target target;
    uint32_t options;
    const char *pattern;
};

#define ANY_CASE (PCRE2_CASELESS | PCRE2_DOTALL)
#define AS_IS    (PCRE2_DOTALL)
#define AT(name) MATH_CLEAN_##name##_AT

static const struct rule rules[] = {
    {AT(INCOMPLETE), PROMPT, ANY_CASE, "(?:[,;(]|\\b(?:and|or|the|of|with|by|for))\\s*$"},
    {AT(FIGURE), PROMPT, ANY_CASE,
     "^(?!.*(?:\\[asy\\]|\\\\begin\\{tikz)).*(?:<image|!\\[[^\\]]*\\]\\(|\\\\includegraphics|"
     "\\b(?:figure|diagram|graph|picture|image)\\s+(?:below|above|shown|provided)|"
     "\\b(?:shown|pictured|depicted)\\s+(?:below|above|in the "
     "(?:figure|diagram|picture|graph|image))|"
     "\\bin the (?:figure|diagram|picture)\\b|\\bsee (?:the )?(?:figure|diagram))"},
    {AT(TRUE_FALSE), PROMPT, ANY_CASE,
     "\\btrue\\s*(?:or|/)\\s*false\\b|\\bfalse\\s*(?:or|/)\\s*true\\b|"
     "(?:determine|decide|say|state|tell)\\s+(?:whether|if)\\b[^.?]*\\b(?:is|are)\\s+(?:true|false|"
     "correct|valid)\\b|"
     "\\bis (?:the|this) (?:following "
     ")?(?:statement|claim|assertion)\\b[^.?]*\\b(?:true|false|correct)\\b"},
    {AT(TRUE_FALSE), ANSWER, ANY_CASE,
     "^[\\s$]*(?:\\\\(?:text|mathrm|textbf|boxed)\\s*\\{\\s*)*(?:true|false|yes|no|correct|"
     "incorrect)"
     "[\\s.}$]*$"},
    {AT(MULTIPLE_CHOICE), PROMPT, AS_IS,
     "(?:^|[\\s{$~])\\(A\\)[\\s}~\\\\$].*(?:^|[\\s{$~])\\(B\\)[\\s}~\\\\$].*\\(C\\)"},
    {AT(MULTIPLE_CHOICE), PROMPT, AS_IS,
     "(?:^|\\n|\\s{2,}|[?:]\\s*)\\(?A[.):]\\s.+?\\s\\(?B[.):]\\s.+?\\s\\(?C[.):]\\s"},
    {AT(MULTIPLE_CHOICE), PROMPT, ANY_CASE,
     "\\bwhich (?:one )?of the (?:following|above|below)\\b|"
     "\\b(?:choose|select|pick|mark) the (?:correct|best|right)\\b"},
    {AT(MULTIPLE_CHOICE), ANSWER, AS_IS,
     "^[\\s$]*(?:\\\\(?:text|mathrm|textbf|boxed)\\s*\\{\\s*)*\\([A-E]\\)[\\s.}$]*$"},
    {AT(PROOF), PROMPT, ANY_CASE,
     CLAUSE "(?:(?:prove|disprove)\\b|(?:show|verify|demonstrate|justify|establish|deduce|conclude)"
            "\\s+(?:that|:|why|the following)\\b)"},
    {AT(PROOF), PROMPT, ANY_CASE,
     "\\b(?:give|write|provide|find|complete|present)\\s+(?:a|an|the|your)\\s+(?:\\w+\\s+)?"
     "proof\\b"},
    {AT(MULTI_PART), PROMPT, ANY_CASE, LABEL("a|i|1") ASKS "(?:.*?)" LABEL("b|ii|2") ASKS},
    {AT(MULTI_PART), PROMPT, ANY_CASE,
     LINE_LABEL("a|i|1") ASKS "(?:.*?)" LINE_LABEL("b|ii|2") ASKS},
    {AT(MULTI_PART), PROMPT, ANY_CASE,
     "\\bpart\\s*\\(?(?:a|i|1|one)\\b\\)?.*\\bpart\\s*\\(?(?:b|ii|2|two)\\b"},
    {AT(MULTI_PART), PROMPT, ANY_CASE,
     "\\banswer (?:all|each|both)(?: of)?(?: the)?(?: following)? (?:questions|parts)\\b|"
     "\\banswer the following questions\\b"},
    {AT(MULTI_PART), PROMPT, ANY_CASE,
     "\\b(?:what|how|which|when|where|who)\\b[^.?!]*\\?.*\\b(?:what|how|which|when|where|who)\\b[^."
     "?!]*\\?"},
};

enum { RULE_COUNT = sizeof rules / sizeof rules[0] };

struct math_clean {
    pcre2_code *code[RULE_COUNT];
    pcre2_match_data *match;
    pcre2_match_context *limits;
    struct arena *arena;
};

const char *math_clean_name(enum math_clean_reason reason)
{
    static const char *const names[] = {
#define ROW(name, text, what) text,
        MATH_CLEAN_REASONS(ROW)
#undef ROW
    };
    return (unsigned)reason < MATH_CLEAN_COUNT ? names[reason] : "?";
}

static enum status compile(struct math_clean *clean)
{
    for (size_t i = 0; i < RULE_COUNT; i++) {
        int error = 0;
        PCRE2_SIZE at = 0;
        clean->code[i] = pcre2_compile((PCRE2_SPTR)rules[i].pattern, PCRE2_ZERO_TERMINATED,
                                       rules[i].options, &error, &at, NULL);
        if (clean->code[i] == NULL)
            return FAIL(STATUS_INVALID, "rule %zu of math_clean: error %d at %zu", i, error,
                        (size_t)at);
        (void)pcre2_jit_compile(clean->code[i], PCRE2_JIT_COMPLETE); /* slower without */
    }
    clean->match = pcre2_match_data_create(1, NULL);
    clean->limits = pcre2_match_context_create(NULL);
    if (clean->match == NULL || clean->limits == NULL)
        return FAIL(STATUS_NO_MEMORY, "rules");
    pcre2_set_match_limit(clean->limits, STEPS_MAX);
    return STATUS_OK;
}

enum status math_clean_create(struct math_clean **out)
{
    struct math_clean *clean = memory_alloc(sizeof *clean);
    *out = NULL;
    if (clean == NULL)
        return FAIL(STATUS_NO_MEMORY, "rules");
    enum status status = compile(clean);
    if (status == STATUS_OK)
        status = arena_create(&clean->arena, ARENA_BYTES);
    if (status != STATUS_OK)
        math_clean_destroy(&clean);
    *out = clean;
    return status;
}

void math_clean_destroy(struct math_clean **pointer)
{
    struct math_clean *clean = *pointer;
    if (clean == NULL)
        return;
    for (size_t i = 0; i < RULE_COUNT; i++)
        pcre2_code_free(clean->code[i]);
    pcre2_match_data_free(clean->match);
    pcre2_match_context_free(clean->limits);
    arena_destroy(&clean->arena);
    memory_free(clean);
    *pointer = NULL;
}

/* A text that takes too long to match is not matched: the row stays. */
static bool matches(const struct math_clean *clean, size_t rule, const char *text)
{
    size_t size = strnlen(text, PROMPT_BYTES_MAX);
    return pcre2_match(clean->code[rule], (PCRE2_SPTR)text, size, 0, 0, clean->match,
                       clean->limits) >= 0;
}

/* Environments that end, and in a text with LaTeX commands dollar signs in pairs. */
static bool is_balanced(const char *text)
{
    long begins = 0, dollars = 0;
    bool commands = false;
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '\\' && at[1] != '\0') {
            begins += strncmp(at, "\\begin{", 7) == 0;
            begins -= strncmp(at, "\\end{", 5) == 0;
            commands |= (at[1] >= 'a' && at[1] <= 'z');
            at++;
        } else {
            dollars += *at == '$';
        }
    }
    return begins == 0 && (!commands || dollars % 2 == 0);
}

/* A plain word that is neither a function, a constant nor a unit: the checker would compare letters, not values. */
static bool has_words(struct answer_span text)
{
    enum { WORD_LETTERS = 3 };
    for (size_t i = 0; i < text.size;) {
        size_t from = i;
        while (i < text.size && isalpha((unsigned char)text.at[i]) != 0)
            i++;
        bool command = from > 0 && text.at[from - 1] == '\\';
        bool environment =
            from > 1 && text.at[from - 1] == '{' && isalpha((unsigned char)text.at[from - 2]) != 0;
        size_t size = i - from;
        if (size >= WORD_LETTERS && !command && !environment &&
            math_word(text.at + from, size) == NULL && !math_word_is_unit(text.at + from, size))
            return true;
        i += size == 0;
    }
    return false;
}

/* What the checker would compare with: it parses, says no words, and equals itself. */
static bool is_readable(struct math_clean *clean, const char *answer)
{
    struct math_extract gold = {0};
    struct math_time time = {.cpu_ns = CLOCK_NS_PER_S,
                             .deadline_ns = clock_now_ns() + 2 * CLOCK_NS_PER_S};
    struct answer_span text = {answer, strlen(answer)};
    arena_reset(clean->arena);
    if (!math_extract_gold(clean->arena, text, &math_options_default, &gold))
        return false;
    const struct node *tree =
        math_parse(clean->arena, gold.text, (struct math_notation){.thousands = true});
    return tree != NULL && !math_tree_has(tree, NODE_TEXT) && !has_words(gold.text) &&
           math_compare(clean->arena, &gold, &gold, &math_options_default, &time) == MATH_SAME;
}

static bool is_blank(const char *text)
{
    return text == NULL || text[strspn(text, " \t\r\n")] == '\0';
}

enum status math_clean_check(struct math_clean *clean, const char *prompt, const char *answer,
                             unsigned *reasons)
{
    *reasons = 0;
    if (is_blank(prompt) || is_blank(answer)) {
        *reasons = 1U << AT(EMPTY);
        return STATUS_OK;
    }
    for (size_t i = 0; i < RULE_COUNT; i++)
        if ((*reasons >> rules[i].reason & 1) == 0 &&
            matches(clean, i, rules[i].target == PROMPT ? prompt : answer))
            *reasons |= 1U << rules[i].reason;
    if (!is_balanced(prompt))
        *reasons |= 1U << AT(INCOMPLETE);
    if (!is_readable(clean, answer))
        *reasons |= 1U << AT(UNPARSABLE);
    return STATUS_OK;
}
