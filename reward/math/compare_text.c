/* Words: names, yes and no, the letter of a choice. */
#include <ctype.h>
#include <string.h>

#include "reward/math/compare.h"
#include "reward/math/lex.h"

enum { PLAIN_MAX = 480 };

struct plain {
    char at[PLAIN_MAX];                   /* letters and digits, in lower case */
    size_t size, letters, words, longest; /* longest: letters of a word */
    bool wrapped;                         /* \text{...} */
    bool bracketed;                       /* begins with ( */
    bool other;                           /* has something that is no word */
    bool comma;
    char first[2]; /* the first two letters as written */
};

/* Past a command; says whether it only wraps or spaces. */
static size_t read_command(struct plain *plain, const char *at, size_t left)
{
    static const char *const wraps[] = {"text",       "textbf", "textit", "textrm",
                                        "textnormal", "mbox",   NULL},
                             *const silent[] = {"mathrm", "operatorname", "left",   "right",
                                                "quad",   "qquad",        "mathbf", NULL};
    size_t n = 1;
    while (n < left && isalpha((unsigned char)at[n]))
        n++;
    if (n == 1) {
        if (left > 1 && strchr("%|", at[1]) != NULL)
            plain->other = true;
        return left > 1 ? 2 : 1;
    }
    for (size_t i = 0; wraps[i] != NULL; i++)
        if (math_text_is(at + 1, n - 1, wraps[i])) {
            plain->wrapped = true;
            return n;
        }
    for (size_t i = 0; silent[i] != NULL; i++)
        if (math_text_is(at + 1, n - 1, silent[i]))
            return n;
    plain->other = true;
    return n;
}

static void read_plain(struct answer_span text, struct plain *plain)
{
    size_t word = 0;
    *plain = (struct plain){.size = 0};
    for (size_t i = 0; i < text.size;) {
        unsigned char c = (unsigned char)text.at[i];
        if (c == '\\') {
            i += read_command(plain, text.at + i, text.size - i);
            word = 0;
            continue;
        }
        i++;
        bool letter = isalpha(c) || c >= 128;
        if (letter || isdigit(c)) {
            if (letter && plain->letters < 2)
                plain->first[plain->letters] = (char)c;
            plain->letters += letter ? 1 : 0;
            plain->other |= plain->size == PLAIN_MAX || isdigit(c);
            if (plain->size < PLAIN_MAX)
                plain->at[plain->size++] = (char)tolower(c);
            plain->words += word == 0 ? 1 : 0;
            word++;
            if (word > plain->longest)
                plain->longest = word;
        } else {
            plain->bracketed |= c == '(' && plain->size == 0;
            plain->comma |= c == ',';
            plain->other |= strchr("^_=+*/<>|&%!", c) != NULL;
            plain->other |= c == '-' && plain->size == 0; /* a sign, no hyphen */
            plain->other |= c == '(' && word > 0;         /* f(x) */
            if (c != '\'')
                word = 0;
        }
    }
}

/* "(C) 42", "C. 42", "Option C": the letter of a choice before its text, and no other choice after it. */
static bool is_choice(struct answer_span answer, char letter)
{
    char text[64];
    size_t size = 0;
    for (size_t i = 0; i < answer.size && size < sizeof text - 1; i++)
        if (strchr("{}$*", answer.at[i]) == NULL)
            text[size++] = answer.at[i];
    text[size] = '\0';
    const char *at = text;
    static const char *const prefixes[] = {"\\text", "\\textbf", "\\mathrm", "option", "Option",
                                           "choice", "Choice",   "answer",   "Answer"};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        at += strspn(at, " :");
        if (strncmp(at, prefixes[i], strlen(prefixes[i])) == 0 &&
            !islower((unsigned char)at[strlen(prefixes[i])]))
            at += strlen(prefixes[i]);
    }
    at += strspn(at, " :(");
    bool bracket = at > text && at[-1] == '(';
    if (toupper((unsigned char)at[0]) != letter)
        return false;
    const char *rest = at + 1;
    if (*rest != '\0' && !(bracket ? *rest == ')' : strchr(").:", *rest) != NULL))
        return false;
    if (*rest != '\0' && rest[1] == ',') /* a list */
        return false;
    for (; *rest != '\0'; rest++) /* another choice: "(C) or (D)" */
        if (isupper((unsigned char)rest[0]) && (rest[-1] == '(' || rest[-1] == ' ') &&
            (rest[1] == ')' || rest[1] == '.' || rest[1] == '\0'))
            return false;
    return true;
}

static bool is_words(const struct plain *gold, struct answer_span text)
{
    static const char *const known[] = {"yes",   "no",  "odd",  "even", "true",
                                        "false", "all", "none", "not"};
    if (gold->other || gold->letters == 0 || (gold->comma && !gold->wrapped))
        return false;
    if (gold->wrapped || gold->longest >= 4)
        return gold->wrapped || gold->words > 1 || math_word(text.at, text.size) == NULL;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (math_text_is(gold->at, gold->size, known[i]))
            return true;
    return false;
}

enum text_verdict compare_texts(struct answer_span gold, struct answer_span answer)
{
    struct plain a, b;
    gold = answer_trimmed(gold);
    read_plain(gold, &a);
    if (a.other || a.size == 0)
        return TEXT_NOT_TEXT;
    read_plain(answer, &b);
    bool same = a.size == b.size && memcmp(a.at, b.at, a.size) == 0 && !b.other;
    if (a.letters == 1 && (a.wrapped || a.bracketed || isupper((unsigned char)a.first[0]))) {
        bool sure = a.wrapped || a.bracketed;
        char letter = (char)toupper((unsigned char)a.first[0]);
        if ((same && (sure || b.first[0] == a.first[0])) || is_choice(answer, letter))
            return TEXT_SAME;
        return sure ? TEXT_DIFFERENT : TEXT_NOT_TEXT;
    }
    if (!is_words(&a, gold))
        return TEXT_NOT_TEXT;
    return same ? TEXT_SAME : TEXT_DIFFERENT;
}
