/* The tokenizer. What it drops: white space, \left and \right, spacing commands, $ signs, \( \), a lone period. */
#include "reward/math/lex.h"

#include <ctype.h>
#include <string.h>

enum { TOKENS_MAX = MATH_TEXT_MAX + 1, STYLE_DEPTH_MAX = 6 };

struct lexer {
    struct arena *arena;
    const char *at, *end;
    struct math_notation notation;
    struct token *tokens;
    size_t count;
    int brackets; /* open ( [ \{ */
    int styles;   /* nested \text{} */
    bool space, failed;
    bool rows; /* an environment: \\ ends a row */
};

bool math_text_is(const char *text, size_t size, const char *word)
{
    return strlen(word) == size && memcmp(text, word, size) == 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '~';
}

static char peek(const struct lexer *lexer, const char *at)
{
    return at < lexer->end ? *at : '\0';
}

static void push(struct lexer *lexer, int kind, int value, const char *text, size_t size)
{
    if (lexer->count >= TOKENS_MAX) {
        lexer->failed = true;
        return;
    }
    lexer->tokens[lexer->count++] = (struct token){kind, value, text, size, lexer->space};
    lexer->space = false;
    if (kind == '(' || kind == '[' || kind == TOKEN_SET_OPEN)
        lexer->brackets++;
    else if ((kind == ')' || kind == ']' || kind == TOKEN_SET_CLOSE) && lexer->brackets > 0)
        lexer->brackets--;
}

/* ---- numbers ---- */

static const char *skip(const struct lexer *lexer, const char *at, const char *text)
{
    size_t n = strlen(text);
    return (size_t)(lexer->end - at) >= n && memcmp(at, text, n) == 0 ? at + n : NULL;
}

/* The end of a thousands separator at `at`, or NULL. "strong" ones cannot be anything else. */
static const char *separator(const struct lexer *lexer, const char *at)
{
    static const char *const strong[] = {
        "{,}",  ",\\!",  "\\!,", "{, }", "{ , }",  "\\,",    "\\ ",
        " {,}", " {, }", "\\:",  "\\;",  "{,\\!}", ",{\\!}", "{,\\,}"};
    for (size_t i = 0; i < sizeof strong / sizeof strong[0]; i++) {
        const char *next = skip(lexer, at, strong[i]);
        if (next == NULL)
            continue;
        while (is_space(peek(lexer, next)))
            next++;
        return next;
    }
    if (!lexer->notation.thousands || lexer->brackets > 0)
        return NULL;
    return peek(lexer, at) == ',' || peek(lexer, at) == ' ' ? at + 1 : NULL;
}

static const char *digits(const struct lexer *lexer, const char *at)
{
    while (is_digit(peek(lexer, at)))
        at++;
    return at;
}

/* "\overline{36}" or "\bar{3}" after a decimal point: its digits. */
static const char *repeating(const struct lexer *lexer, const char *at, const char **from,
                             const char **to)
{
    static const char *const marks[] = {"\\overline", "\\bar", "\\dot"};
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        const char *next = skip(lexer, at, marks[i]);
        if (next == NULL)
            continue;
        while (peek(lexer, next) == ' ')
            next++;
        bool braced = peek(lexer, next) == '{';
        *from = next + (braced ? 1 : 0);
        *to = braced ? digits(lexer, *from) : *from + (is_digit(peek(lexer, *from)) ? 1 : 0);
        if (*to > *from && (!braced || peek(lexer, *to) == '}'))
            return *to + (braced ? 1 : 0);
    }
    return NULL;
}

struct number_text {
    char *at;
    size_t size;
};

static void append(struct number_text *number, const char *from, const char *to)
{
    memcpy(number->at + number->size, from, (size_t)(to - from));
    number->size += (size_t)(to - from);
}

static void append_one(struct number_text *number, char c)
{
    number->at[number->size++] = c;
}

static void lex_integer_part(struct lexer *lexer, struct number_text *number)
{
    const char *from = lexer->at, *to = digits(lexer, from);
    append(number, from, to);
    bool grouped = to - from <= 3 && to > from && *from != '0';
    lexer->at = to;
    while (grouped) {
        const char *next = separator(lexer, lexer->at);
        const char *after = next != NULL ? digits(lexer, next) : NULL;
        grouped = next != NULL && after - next == 3;
        if (grouped) {
            append(number, next, after);
            lexer->at = after;
        }
    }
}

static void lex_fraction_part(struct lexer *lexer, struct number_text *number)
{
    const char *at = lexer->at, *from, *to;
    bool comma = peek(lexer, at) == ',' && lexer->notation.decimal_comma && lexer->brackets == 0 &&
                 is_digit(peek(lexer, at + 1));
    if (peek(lexer, at) != '.' && !comma)
        return;
    const char *fraction = at + 1, *end = digits(lexer, fraction);
    const char *after = repeating(lexer, end, &from, &to);
    if (end == fraction && after == NULL)
        return; /* a sentence's period */
    append_one(number, '.');
    append(number, fraction, end);
    if (after != NULL) {
        append_one(number, '(');
        append(number, from, to);
        append_one(number, ')');
    }
    lexer->at = after != NULL ? after : end;
}

static void lex_exponent(struct lexer *lexer, struct number_text *number)
{
    const char *at = lexer->at;
    if (peek(lexer, at) != 'e' && peek(lexer, at) != 'E')
        return;
    const char *sign = at + 1;
    const char *from = peek(lexer, sign) == '-' || peek(lexer, sign) == '+' ? sign + 1 : sign;
    const char *to = digits(lexer, from);
    if (to == from || to - from > 6 || is_letter(peek(lexer, to)))
        return;
    append(number, at, to);
    lexer->at = to;
}

static void lex_number(struct lexer *lexer)
{
    size_t room = (size_t)(lexer->end - lexer->at) + 4;
    struct number_text number = {arena_alloc(lexer->arena, room), 0};
    if (number.at == NULL) {
        lexer->failed = true;
        lexer->at = lexer->end;
        return;
    }
    lex_integer_part(lexer, &number);
    lex_fraction_part(lexer, &number);
    lex_exponent(lexer, &number);
    push(lexer, TOKEN_NUMBER, 0, number.at, number.size);
}

/* ---- words ---- */

/* "1orW", "5and6": the run of letters begins with a separator. */
static size_t joined_separator(const struct lexer *lexer, const char *from, size_t size)
{
    int before = lexer->count > 0 ? lexer->tokens[lexer->count - 1].kind : 0;
    if (before != TOKEN_NUMBER && before != ')' && before != ']' && before != '}')
        return 0;
    if (size > 2 && memcmp(from, "or", 2) == 0 && math_word(from, size) == NULL)
        return 2;
    return size > 3 && memcmp(from, "and", 3) == 0 && math_word(from, size) == NULL ? 3 : 0;
}

/* The x of "3 x 10^8". */
static bool is_times(const struct lexer *lexer, const char *from, size_t size)
{
    const char *after = from + size;
    while (is_space(peek(lexer, after)))
        after++;
    return size == 1 && (*from == 'x' || *from == 'X') && lexer->count > 0 &&
           lexer->tokens[lexer->count - 1].kind == TOKEN_NUMBER &&
           skip(lexer, after, "10^") != NULL;
}

static void lex_letters(struct lexer *lexer)
{
    const char *from = lexer->at;
    while (is_letter(peek(lexer, lexer->at)))
        lexer->at++;
    size_t size = (size_t)(lexer->at - from), joined = joined_separator(lexer, from, size);
    if (joined > 0) {
        push(lexer, TOKEN_AND, 0, from, joined);
        lexer->at = from + joined;
        return;
    }
    if (is_times(lexer, from, size)) {
        push(lexer, '*', 0, from, 1);
        return;
    }
    const struct lex_command *word = size > 1 ? math_word(from, size) : NULL;
    if (word != NULL && word->kind != TOKEN_SKIP)
        push(lexer, word->kind, word->value, word->text != NULL ? word->text : from,
             word->text != NULL ? strlen(word->text) : size);
    else if (size == 1 && (*from == 'e' || *from == 'i'))
        push(lexer, TOKEN_CONSTANT, 0, from, 1);
    else
        push(lexer, size == 1 ? TOKEN_LETTER : TOKEN_WORD, 0, from, size);
}

/* Bytes above 127 that are no known sign: a word of another script. */
static void lex_foreign(struct lexer *lexer)
{
    const char *from = lexer->at;
    while (lexer->at < lexer->end && (unsigned char)*lexer->at >= 128)
        lexer->at++;
    push(lexer, TOKEN_TEXT, 0, from, (size_t)(lexer->at - from));
}

/* ---- commands ---- */

/* The contents of {...} here; without braces the next character or command. */
static struct answer_span take_group(struct lexer *lexer)
{
    while (is_space(peek(lexer, lexer->at)))
        lexer->at++;
    const char *from = lexer->at;
    if (peek(lexer, from) != '{') {
        if (from < lexer->end)
            lexer->at++;
        if (peek(lexer, from) == '\\')
            while (is_letter(peek(lexer, lexer->at)))
                lexer->at++;
        return (struct answer_span){from, (size_t)(lexer->at - from)};
    }
    size_t depth = 0;
    for (; lexer->at < lexer->end; lexer->at++) {
        if (*lexer->at == '\\' && lexer->at + 1 < lexer->end)
            lexer->at++;
        else if (*lexer->at == '{')
            depth++;
        else if (*lexer->at == '}' && --depth == 0) {
            lexer->at++;
            return answer_trimmed((struct answer_span){from + 1, (size_t)(lexer->at - from - 2)});
        }
    }
    return (struct answer_span){from + 1, (size_t)(lexer->end - from - 1)};
}

static void lex_run(struct lexer *lexer);

static void lex_inside(struct lexer *lexer, struct answer_span inside)
{
    const char *at = lexer->at, *end = lexer->end;
    if (lexer->styles >= STYLE_DEPTH_MAX) {
        lexer->failed = true;
        return;
    }
    lexer->styles++;
    lexer->at = inside.at;
    lexer->end = inside.at + inside.size;
    lex_run(lexer);
    lexer->styles--;
    lexer->at = at;
    lexer->end = end;
}

/* \text{...}: a separator, a function, a number, or words. */
static void lex_text(struct lexer *lexer, bool is_math)
{
    struct answer_span inside = take_group(lexer);
    struct answer_span word = inside;
    while (word.size > 0 && (is_space(word.at[0]) || strchr(",;", word.at[0]) != NULL)) {
        word.at++;
        word.size--;
    }
    while (word.size > 0 &&
           (is_space(word.at[word.size - 1]) || strchr(",;", word.at[word.size - 1]) != NULL))
        word.size--;
    const struct lex_command *known = word.size > 1 ? math_word(word.at, word.size) : NULL;
    bool numeric =
        word.size > 0 && (is_digit(word.at[0]) || strchr("-+.(\\$", word.at[0]) != NULL) &&
        memchr(word.at, ' ', word.size) == NULL && !is_letter(word.at[word.size > 1 ? 1 : 0]);
    if (word.size == 0)
        lexer->space = true;
    else if (known != NULL)
        push(lexer, known->kind, known->value, known->text != NULL ? known->text : word.at,
             known->text != NULL ? strlen(known->text) : word.size);
    else if ((is_math && word.size == 1) || numeric)
        lex_inside(lexer, word);
    else
        push(lexer, TOKEN_TEXT, 0, word.at, word.size);
}

/* \mathbf{x}, \hat x: a variable with its own name; \mathbf{13} is a number. */
static void lex_styled(struct lexer *lexer, struct answer_span style)
{
    struct answer_span inside = take_group(lexer);
    if (inside.size == 0)
        return;
    if (inside.size > 32 || is_digit(inside.at[0]) || inside.at[0] == '-') {
        lex_inside(lexer, inside);
        return;
    }
    char *name = arena_alloc(lexer->arena, style.size + 1 + inside.size);
    if (name == NULL) {
        lexer->failed = true;
        return;
    }
    memcpy(name, style.at, style.size);
    name[style.size] = ' ';
    memcpy(name + style.size + 1, inside.at, inside.size);
    push(lexer, TOKEN_LETTER, 0, name, style.size + 1 + inside.size);
}

static bool is_one_of(struct answer_span name, const char *const *words)
{
    for (; *words != NULL; words++)
        if (math_text_is(name.at, name.size, *words))
            return true;
    return false;
}

/* After \left or \right (side 1 or 2): a bar that opens or closes; "." is none. */
static void lex_sized(struct lexer *lexer, int side)
{
    while (is_space(peek(lexer, lexer->at)))
        lexer->at++;
    if (peek(lexer, lexer->at) == '.') {
        lexer->at++;
    } else if (peek(lexer, lexer->at) == '|') {
        lexer->at++;
        push(lexer, side == 1 ? TOKEN_BAR_OPEN : TOKEN_BAR_CLOSE, 0, "|", 1);
    } else if (skip(lexer, lexer->at, "\\|") != NULL) {
        lexer->at += 2;
        push(lexer, side == 1 ? TOKEN_BAR_OPEN : TOKEN_BAR_CLOSE, 0, "|", 1);
    }
}

static void lex_known(struct lexer *lexer, const struct lex_command *command)
{
    if (command->kind == TOKEN_SKIP) {
        lexer->space = true;
        if (command->value != 0)
            lex_sized(lexer, command->value);
    } else if (command->kind == TOKEN_BEGIN || command->kind == TOKEN_FINISH) {
        struct answer_span inside = take_group(lexer);
        push(lexer, command->kind, 0, inside.at, inside.size);
    } else {
        const char *text = command->text != NULL ? command->text : command->name;
        push(lexer, command->kind, command->value, text, strlen(text));
    }
}

static void lex_command_name(struct lexer *lexer)
{
    static const char *const texts[] = {"text",       "textbf", "textit", "textrm",
                                        "textnormal", "mbox",   "textsf", "texttt",
                                        "hbox",       "emph",   "textup", NULL},
                             *const roman[] = {"mathrm", "operatorname",  "mathit",
                                               "mathsf", "operatorname*", NULL},
                             *const styles[] = {"mathbb",   "mathbf",  "mathcal",
                                                "mathfrak", "mathscr", "boldsymbol",
                                                "bm",       "vec",     "hat",
                                                "tilde",    "widehat", "overrightarrow",
                                                "dot",      "ddot",    NULL};
    const char *from = lexer->at;
    while (is_letter(peek(lexer, lexer->at)))
        lexer->at++;
    struct answer_span name = {from, (size_t)(lexer->at - from)};
    if (is_one_of(name, texts) || is_one_of(name, roman)) {
        if (peek(lexer, lexer->at) == '*')
            lexer->at++;
        lex_text(lexer, is_one_of(name, roman));
        return;
    }
    if (is_one_of(name, styles)) {
        lex_styled(lexer, name);
        return;
    }
    for (size_t size = name.size; size > 0;
         size--) { /* "\quadx": the longest command that is known */
        const struct lex_command *known = math_command(from, size);
        if (known == NULL || (size < name.size && size < 3))
            continue;
        lexer->at = from + size;
        lex_known(lexer, known);
        return;
    }
    push(lexer, TOKEN_LETTER, 0, name.at,
         name.size); /* an unknown symbol is a variable of its own */
}

static void lex_backslash(struct lexer *lexer)
{
    char c = peek(lexer, ++lexer->at);
    if (c == '\\' && !lexer->rows && strchr("({[)}]", peek(lexer, lexer->at + 1)) == NULL)
        c = peek(lexer, ++lexer->at); /* escaped once too often: \\frac */
    if (is_letter(c)) {
        lex_command_name(lexer);
        return;
    }
    if (c != '\0')
        lexer->at++;
    if (c == '{')
        push(lexer, TOKEN_SET_OPEN, 0, "{", 1);
    else if (c == '}')
        push(lexer, TOKEN_SET_CLOSE, 0, "}", 1);
    else if (c == '%')
        push(lexer, '%', 0, "%", 1);
    else if (c == '|')
        push(lexer, '|', 0, "|", 1);
    else if (c == '\\')
        push(lexer, TOKEN_ROW, 0, "\\\\", 2);
    else
        lexer->space = true; /* \! \, \; \: \( \) \[ \] \$ \# and a backslash before white space */
}

/* ---- all ---- */

static void lex_symbol(struct lexer *lexer)
{
    static const struct {
        const char *text;
        int kind, value;
    } pairs[] = {
        {"<=", TOKEN_RELATION, OPERATOR_LESS_EQUAL}, {">=", TOKEN_RELATION, OPERATOR_GREATER_EQUAL},
        {"!=", TOKEN_RELATION, OPERATOR_NOT_EQUAL},  {"=<", TOKEN_RELATION, OPERATOR_LESS_EQUAL},
        {"==", TOKEN_RELATION, OPERATOR_EQUAL},      {"**", '^', 0},
        {"->", TOKEN_RELATION, OPERATOR_OTHER},      {"=>", TOKEN_RELATION, OPERATOR_OTHER}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (skip(lexer, lexer->at, pairs[i].text) != NULL) {
            push(lexer, pairs[i].kind, pairs[i].value, lexer->at, 2);
            lexer->at += 2;
            return;
        }
    char c = *lexer->at++;
    if (c == '=')
        push(lexer, TOKEN_RELATION, OPERATOR_EQUAL, "=", 1);
    else if (c == '<')
        push(lexer, TOKEN_RELATION, OPERATOR_LESS, "<", 1);
    else if (c == '>')
        push(lexer, TOKEN_RELATION, OPERATOR_GREATER, ">", 1);
    else if (c == '\'')
        push(lexer, TOKEN_PRIME, 0, "'", 1);
    else if (strchr("+-*/^_!|()[]{},;:&%", c) != NULL)
        push(lexer, c, 0, lexer->at - 1, 1);
    else if (c == '.' || c == '$' || c == '"' || c == '`' || c == '?')
        lexer->space = true;
    else
        push(lexer, TOKEN_TEXT, 0, lexer->at - 1, 1);
}

static void lex_run(struct lexer *lexer)
{
    while (lexer->at < lexer->end && !lexer->failed) {
        char c = *lexer->at;
        if (is_space(c)) {
            lexer->space = true;
            lexer->at++;
        } else if (is_digit(c) || (c == '.' && is_digit(peek(lexer, lexer->at + 1)))) {
            lex_number(lexer);
        } else if (is_letter(c)) {
            lex_letters(lexer);
        } else if (c == '\\') {
            lex_backslash(lexer);
        } else if ((unsigned char)c >= 128) {
            lex_foreign(lexer);
        } else if (c == '\0') {
            lexer->at++;
        } else {
            lex_symbol(lexer);
        }
    }
}

bool math_lex(struct arena *arena, struct answer_span text, struct math_notation notation,
              struct token_list *tokens)
{
    struct lexer lexer = {.arena = arena, .notation = notation};
    text = math_plain_signs(arena, text);
    if (text.size > MATH_TEXT_MAX)
        return false;
    lexer.at = text.at;
    lexer.end = text.at + text.size;
    lexer.rows = memmem(text.at, text.size, "\\begin", 6) != NULL;
    lexer.tokens = arena_array(arena, text.size + 2, sizeof *lexer.tokens);
    if (lexer.tokens == NULL)
        return false;
    lex_run(&lexer);
    lexer.tokens[lexer.count] = (struct token){.kind = TOKEN_END, .text = "", .size = 0};
    *tokens = (struct token_list){lexer.tokens, lexer.count + 1};
    return !lexer.failed;
}
