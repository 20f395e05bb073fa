/* Unicode signs as LaTeX, so that the rest of the parser reads ASCII: minus signs, superscripts, Greek letters, set signs,
 * full-width punctuation. Other bytes above 127 stay and are read as words. */
#include "reward/math/lex.h"

#include <string.h>

// clang-format off
static const struct sign {
    const char *from, *to;
} signs[] = {
    {"\xe2\x88\x92", "-"}, {"\xe2\x80\x93", "-"}, {"\xe2\x80\x94", "-"}, {"\xe2\x80\x90", "-"},
    {"\xe2\x80\x91", "-"}, {"\xc3\x97", "*"}, {"\xc3\xb7", "/"}, {"\xc2\xb7", "*"},
    {"\xe2\x8b\x85", "*"}, {"\xe2\x88\x99", "*"}, {"\xe2\x88\x97", "*"}, {"\xcf\x80", "\\pi "},
    {"\xe2\x88\x9a", "\\sqrt "}, {"\xe2\x88\x9e", "\\infty "}, {"\xe2\x89\xa4", "\\le "}, {"\xe2\x89\xa5", "\\ge "},
    {"\xe2\xa9\xbd", "\\le "}, {"\xe2\xa9\xbe", "\\ge "}, {"\xe2\x89\xa0", "\\ne "}, {"\xe2\x89\x88", "\\approx "},
    {"\xe2\x88\x88", "\\in "}, {"\xe2\x88\xaa", "\\cup "}, {"\xe2\x88\xa9", "\\cap "}, {"\xe2\x88\x85", "\\emptyset "},
    {"\xc2\xb1", "\\pm "}, {"\xe2\x88\x93", "\\mp "}, {"\xc2\xb0", "\\degree "}, {"\xe2\x88\x96", "\\setminus "},
    {"\xe2\x8c\x8a", "\\lfloor "}, {"\xe2\x8c\x8b", "\\rfloor "}, {"\xe2\x8c\x88", "\\lceil "}, {"\xe2\x8c\x89", "\\rceil "},
    {"\xe2\x9f\xa8", "\\langle "}, {"\xe2\x9f\xa9", "\\rangle "}, {"\xe2\x80\xb2", "'"}, {"\xc2\xbd", "\\frac{1}{2}"},
    {"\xc2\xbc", "\\frac{1}{4}"}, {"\xc2\xbe", "\\frac{3}{4}"}, {"\xe2\x85\x93", "\\frac{1}{3}"}, {"\xe2\x85\x94", "\\frac{2}{3}"},
    {"\xe2\x85\x9b", "\\frac{1}{8}"}, {"\xe2\x84\x9d", "\\mathbb{R}"}, {"\xe2\x84\xa4", "\\mathbb{Z}"}, {"\xe2\x84\x95", "\\mathbb{N}"},
    {"\xe2\x84\x9a", "\\mathbb{Q}"}, {"\xe2\x84\x82", "\\mathbb{C}"}, {"\xe2\x86\x92", "\\to "}, {"\xe2\x87\x92", "\\Rightarrow "},
    {"\xe2\x88\x91", "\\sum "}, {"\xe2\x88\x8f", "\\prod "}, {"\xe2\x8a\x86", "\\subseteq "}, {"\xe2\x8a\x82", "\\subset "},
    {"\xe2\x89\xa1", "\\equiv "}, {"\xe2\x88\xa7", "\\land "}, {"\xe2\x88\xa8", "\\lor "}, {"\xef\xbc\x8c", ","},
    {"\xef\xbc\x88", "("}, {"\xef\xbc\x89", ")"}, {"\xef\xbc\x9a", ":"}, {"\xef\xbc\x9b", ";"},
    {"\xef\xbc\x9d", "="}, {"\xe3\x80\x82", "."}, {"\xc2\xa0", " "}, {"\xe2\x80\x89", " "},
    {"\xe2\x80\xaf", " "}, {"\xe2\x80\x83", " "}, {"\xe2\x80\x82", " "}, {"\xe2\x80\x8b", ""},
    {"\xe2\x81\xa1", ""}, {"\xe2\x82\xac", ""}, {"\xc2\xa3", ""}, {"\xc2\xa5", ""},
    {"\xe2\x82\xb9", ""}, {"\xe2\x80\xa6", "\\dots "}, {"\xe2\x88\xa3", "|"}, {"\xe2\x81\x84", "/"},
    {"\xe2\x88\x95", "/"}, {"\xef\xac\x81", "fi"}, {"\xce\xb1", "\\alpha "}, {"\xce\xb2", "\\beta "},
    {"\xce\xb3", "\\gamma "}, {"\xce\xb4", "\\delta "}, {"\xce\xb5", "\\epsilon "}, {"\xce\xb6", "\\zeta "},
    {"\xce\xb7", "\\eta "}, {"\xce\xb8", "\\theta "}, {"\xce\xb9", "\\iota "}, {"\xce\xba", "\\kappa "},
    {"\xce\xbb", "\\lambda "}, {"\xce\xbc", "\\mu "}, {"\xce\xbd", "\\nu "}, {"\xce\xbe", "\\xi "},
    {"\xcf\x81", "\\rho "}, {"\xcf\x83", "\\sigma "}, {"\xcf\x84", "\\tau "}, {"\xcf\x85", "\\upsilon "},
    {"\xcf\x86", "\\phi "}, {"\xcf\x95", "\\phi "}, {"\xcf\x87", "\\chi "}, {"\xcf\x88", "\\psi "},
    {"\xcf\x89", "\\omega "}, {"\xce\x93", "\\Gamma "}, {"\xce\x94", "\\Delta "}, {"\xce\x98", "\\Theta "},
    {"\xce\x9b", "\\Lambda "}, {"\xce\x9e", "\\Xi "}, {"\xce\xa0", "\\Pi "}, {"\xce\xa3", "\\Sigma "},
    {"\xce\xa6", "\\Phi "}, {"\xce\xa8", "\\Psi "}, {"\xce\xa9", "\\Omega "},
};

/* Runs of these become ^{...} or _{...}. */
static const struct script {
    const char *from;
    char to, mark;
} scripts[] = {
    {"\xe2\x81\xb0", '0', '^'}, {"\xc2\xb9", '1', '^'}, {"\xc2\xb2", '2', '^'}, {"\xc2\xb3", '3', '^'}, {"\xe2\x81\xb4", '4', '^'}, {"\xe2\x81\xb5", '5', '^'}, {"\xe2\x81\xb6", '6', '^'}, {"\xe2\x81\xb7", '7', '^'}, {"\xe2\x81\xb8", '8', '^'}, {"\xe2\x81\xb9", '9', '^'}, {"\xe2\x81\xba", '+', '^'}, {"\xe2\x81\xbb", '-', '^'}, {"\xe2\x81\xbf", 'n', '^'},
    {"\xe2\x82\x80", '0', '_'}, {"\xe2\x82\x81", '1', '_'}, {"\xe2\x82\x82", '2', '_'}, {"\xe2\x82\x83", '3', '_'}, {"\xe2\x82\x84", '4', '_'}, {"\xe2\x82\x85", '5', '_'}, {"\xe2\x82\x86", '6', '_'}, {"\xe2\x82\x87", '7', '_'}, {"\xe2\x82\x88", '8', '_'}, {"\xe2\x82\x89", '9', '_'}, {"\xe2\x82\x8b", '-', '_'}, {"\xe2\x82\x99", 'n', '_'},
};
// clang-format on

struct writer {
    char *at;
    size_t size, capacity;
};

static void put(struct writer *out, const char *text, size_t size)
{
    if (size > out->capacity - out->size)
        size = out->capacity - out->size; /* too long anyway: the parser refuses it */
    memcpy(out->at + out->size, text, size);
    out->size += size;
}

static const struct script *script_at(const char *at, size_t left)
{
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        size_t n = strlen(scripts[i].from);
        if (n <= left && memcmp(at, scripts[i].from, n) == 0)
            return &scripts[i];
    }
    return NULL;
}

/* Bytes of the run that were read; 0 when no script stands here. */
static size_t put_scripts(struct writer *out, const char *at, size_t left)
{
    const struct script *first = script_at(at, left), *next = first;
    size_t read = 0;
    if (first == NULL)
        return 0;
    put(out, &first->mark, 1);
    put(out, "{", 1);
    while (next != NULL && next->mark == first->mark) {
        put(out, &next->to, 1);
        read += strlen(next->from);
        next = script_at(at + read, left - read);
    }
    put(out, "}", 1);
    return read;
}

static size_t put_sign(struct writer *out, const char *at, size_t left)
{
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++) {
        size_t n = strlen(signs[i].from);
        if (n <= left && memcmp(at, signs[i].from, n) == 0) {
            put(out, signs[i].to, strlen(signs[i].to));
            return n;
        }
    }
    put(out, at, 1);
    return 1;
}

struct answer_span math_plain_signs(struct arena *arena, struct answer_span text)
{
    size_t i = 0;
    while (i < text.size && (unsigned char)text.at[i] < 128)
        i++;
    if (i == text.size || text.size > MATH_TEXT_MAX)
        return text;
    struct writer out = {.capacity = text.size * 8}; /* the longest expansion of a byte */
    out.at = arena_alloc(arena, out.capacity);
    if (out.at == NULL)
        return text;
    for (i = 0; i < text.size;) {
        if ((unsigned char)text.at[i] < 128) {
            put(&out, text.at + i, 1);
            i++;
            continue;
        }
        size_t read = put_scripts(&out, text.at + i, text.size - i);
        i += read > 0 ? read : put_sign(&out, text.at + i, text.size - i);
    }
    return (struct answer_span){out.at, out.size};
}
