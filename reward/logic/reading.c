#include "reward/logic/reading.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "reward/logic/expression.h"
#include "reward/logic/literal.h"

static struct answer_span span_of(const char *from, const char *to)
{
    return (struct answer_span){from, (size_t)(to - from)};
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static bool starts_with(struct answer_span text, const char *what, bool any_case)
{
    size_t length = strlen(what);
    return text.size >= length && (any_case ? strncasecmp(text.at, what, length) == 0
                                            : memcmp(text.at, what, length) == 0);
}

/* ---- taking wrappers off ---- */

static const struct {
    const char *open, *close;
} wrappers[] = {{"**", "**"},       {"__", "__"},       {"```", "```"},
                {"`", "`"},         {"$$", "$$"},       {"$", "$"},
                {"\\(", "\\)"},     {"\\[", "\\]"},     {"\"", "\""},
                {"'", "'"},         {"“", "”"},         {"‘", "’"},
                {"\\boxed{", "}"},  {"\\fbox{", "}"},   {"\\text{", "}"},
                {"\\textbf{", "}"}, {"\\texttt{", "}"}, {"\\mathrm{", "}"},
                {"\\mathbf{", "}"}, {"\\mathtt{", "}"}, {"<answer>", "</answer>"}};

/* Whether the brace that `text` ends with closes the one before `inside`. */
static bool is_one_group(struct answer_span inside)
{
    size_t depth = 1;
    for (size_t i = 0; i < inside.size; i++) {
        if (inside.at[i] == '\\' && i + 1 < inside.size)
            i++;
        else if (inside.at[i] == '{')
            depth++;
        else if (inside.at[i] == '}' && --depth == 0)
            return false;
    }
    return depth == 1;
}

/* One wrapper or full stop less; false when there was none. */
static bool unwrap_once(struct answer_span *text)
{
    *text = answer_trimmed(*text);
    for (size_t i = 0; i < sizeof wrappers / sizeof wrappers[0]; i++) {
        size_t open = strlen(wrappers[i].open), close = strlen(wrappers[i].close);
        if (text->size < open + close || !starts_with(*text, wrappers[i].open, false) ||
            memcmp(text->at + text->size - close, wrappers[i].close, close) != 0)
            continue;
        struct answer_span inside = {text->at + open, text->size - open - close};
        if (close == 1 && wrappers[i].close[0] == '}' && !is_one_group(inside))
            continue;
        *text = inside;
        return true;
    }
    if (text->size > 1 && text->at[text->size - 1] == '.') {
        text->size--;
        return true;
    }
    if (text->size > 3 && memcmp(text->at + text->size - 3, "。", 3) == 0) {
        text->size -= 3;
        return true;
    }
    return false;
}

struct answer_span reading_unwrapped(struct answer_span text)
{
    for (int i = 0; i < 16 && unwrap_once(&text); i++) {
    }
    return answer_trimmed(text);
}

/* ---- places where a final answer stands ---- */

static const char *find_last(struct answer_span text, const char *what)
{
    size_t length = strlen(what);
    const char *found = NULL, *next = text.at, *end = text.at + text.size;
    while ((next = memmem(next, (size_t)(end - next), what, length)) != NULL)
        found = next++;
    return found;
}

/* The rest of the line of `at`, or the next line that holds something. */
static struct answer_span rest_of_line(const char *at, const char *end)
{
    while (at < end && is_space(*at))
        at++;
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    return span_of(at, newline != NULL ? newline : end);
}

static bool find_tag(struct answer_span text, struct answer_span *inside)
{
    const char *open = find_last(text, "<answer>"), *end = text.at + text.size;
    if (open == NULL)
        return false;
    open += 8;
    const char *close = memmem(open, (size_t)(end - open), "</answer>", 9);
    *inside = span_of(open, close != NULL ? close : end);
    return true;
}

/* The value of the last "answer": a text (quotes are taken off later), a list, or what stands before , } and the
 * line's end. */
static bool find_member(struct answer_span text, struct answer_span *inside)
{
    const char *at = find_last(text, "\"answer\""), *end = text.at + text.size;
    if (at == NULL)
        return false;
    at += 8;
    while (at < end && is_space(*at))
        at++;
    if (at == end || *at != ':')
        return false;
    at++;
    while (at < end && is_space(*at))
        at++;
    const char *stop = at;
    if (stop < end && *stop == '"') {
        for (stop++; stop < end && *stop != '"'; stop++)
            if (*stop == '\\' && stop + 1 < end)
                stop++;
        stop += stop < end;
    } else {
        int depth = 0;
        for (; stop < end && (depth > 0 || strchr(",}\n", *stop) == NULL); stop++)
            depth += *stop == '[' ? 1 : *stop == ']' ? -1 : 0;
    }
    *inside = span_of(at, stop);
    return at < end;
}

/* The body of the last block between ``` and ```; a block on one line may begin with its language. */
static bool find_fence(struct answer_span text, struct answer_span *inside)
{
    struct answer_span language, body;
    bool found = answer_fenced(text, "* -", &body, &language);
    const char *close = find_last(text, "```");
    if (close != NULL) {
        const char *line = memrchr(text.at, '\n', (size_t)(close - text.at));
        line = line != NULL ? line + 1 : text.at;
        const char *open = memmem(line, (size_t)(close - line), "```", 3);
        if (open != NULL && (!found || open > body.at)) {
            body = span_of(open + 3, close);
            static const char *const languages[] = {"python", "text", "json", "plaintext"};
            for (size_t i = 0; i < sizeof languages / sizeof languages[0]; i++)
                if (starts_with(body, languages[i], false)) {
                    body.at += strlen(languages[i]);
                    body.size -= strlen(languages[i]);
                    break;
                }
            found = true;
        }
    }
    *inside = found ? body : *inside;
    return found;
}

/* What follows "answer" when it is "is", ":" or "=", with bold marks between; NULL when it is none of them. */
static const char *after_answer(const char *at, const char *end)
{
    while (at < end && strchr(" \t*_", *at) != NULL && *at != '\0')
        at++;
    struct answer_span rest = span_of(at, end);
    if (starts_with(rest, "is", true) && (rest.size == 2 || !isalnum((unsigned char)rest.at[2])))
        at += 2;
    else if (starts_with(rest, ":", false) || starts_with(rest, "=", false))
        at++;
    else if (starts_with(rest, "：", false) || starts_with(rest, "是", false))
        at += 3;
    else
        return NULL;
    while (at < end) {
        rest = span_of(at, end);
        if (starts_with(rest, "：", false))
            at += 3;
        else if (*at == ':' || *at == ' ' || *at == '\t')
            at++;
        else
            break;
    }
    return at;
}

static bool find_phrase(struct answer_span text, struct answer_span *inside)
{
    const char *end = text.at + text.size, *found = NULL;
    for (const char *at = text.at; at < end; at++) {
        struct answer_span rest = span_of(at, end);
        const char *after = starts_with(rest, "answer", true)  ? after_answer(at + 6, end)
                            : starts_with(rest, "答案", false) ? after_answer(at + 6, end)
                                                               : NULL;
        found = after != NULL && answer_trimmed(span_of(after, end)).size > 0 ? after : found;
    }
    if (found == NULL)
        return false;
    /* "**Answer:** 5": the closing mark belongs to the words before */
    struct answer_span rest = span_of(found, end);
    size_t line = rest_of_line(found, end).size;
    if (starts_with(rest, "**", false) &&
        (line < 4 || memmem(rest.at + 2, line - 2, "**", 2) == NULL))
        found += 2;
    *inside = rest_of_line(found, end);
    return true;
}

static bool find_bold(struct answer_span text, struct answer_span *inside)
{
    const char *close = find_last(text, "**");
    if (close == NULL)
        return false;
    while (close > text.at && close[-1] == '*') /* the first two of *** */
        close--;
    const char *open = find_last(span_of(text.at, close), "**");
    if (open == NULL)
        return false;
    *inside = span_of(open + 2, close);
    return true;
}

static struct answer_span last_line(struct answer_span text)
{
    text = answer_trimmed(text);
    const char *newline = text.size > 0 ? memrchr(text.at, '\n', text.size) : NULL;
    return newline != NULL ? span_of(newline + 1, text.at + text.size) : text;
}

struct answer_span reading_short(struct answer_span response)
{
    struct answer_span best = {response.at, 0}, one = best;
    bool named = false;
    const char *best_at = NULL;
    if (answer_boxed(response, &one) && one.at >= response.at)
        best = one, best_at = one.at, named = true;
    if (find_tag(response, &one) && (best_at == NULL || one.at > best_at))
        best = one, best_at = one.at, named = true;
    if (find_member(response, &one) && (best_at == NULL || one.at > best_at))
        best = one, best_at = one.at, named = true;
    if (find_fence(response, &one) && (best_at == NULL || one.at > best_at))
        best = one, best_at = one.at;
    /* "the answer is" also opens sentences that explain: it counts beside no box */
    if (!named && find_phrase(response, &one) && (best_at == NULL || one.at > best_at))
        best = one, best_at = one.at;
    if (best_at == NULL && find_bold(response, &one))
        best = one, best_at = one.at;
    if (best_at == NULL)
        best = last_line(response);
    return reading_unwrapped(best);
}

/* ---- grids ---- */

/* The tokens of a line or text: separated by spaces, commas, | and brackets. */
static json_t *tokens_of(struct answer_span line)
{
    json_t *row = json_array();
    const char *end = line.at + line.size, *from = NULL;
    for (const char *at = line.at; at <= end && row != NULL; at++) {
        bool gap = at == end || *at == '\0' || is_space(*at) || strchr(",|[]()\"'`&", *at) != NULL;
        if (!gap && from == NULL)
            from = at;
        if (!gap || from == NULL)
            continue;
        json_t *token = json_stringn(from, (size_t)(at - from));
        if (token == NULL || json_array_append_new(row, token) != 0) {
            json_decref(row);
            return NULL;
        }
        from = NULL;
    }
    return row;
}

static bool fits(size_t size, size_t wanted)
{
    return size > 0 && (wanted == 0 || size == wanted);
}

/* The rows of `value` when it is a grid of that shape: rows that are lists, or texts of tokens. */
static json_t *grid_of(json_t *value, size_t rows, size_t columns)
{
    if (!json_is_array(value) || !fits(json_array_size(value), rows))
        return NULL;
    json_t *grid = json_array();
    for (size_t i = 0; grid != NULL && i < json_array_size(value); i++) {
        json_t *row = json_array_get(value, i);
        json_t *cells =
            json_is_array(row) ? json_incref(row)
            : json_is_string(row)
                ? tokens_of((struct answer_span){json_string_value(row), json_string_length(row)})
                : NULL;
        if (cells != NULL && json_array_size(cells) == 1 && columns > 1 &&
            json_is_string(json_array_get(cells, 0))) { /* [["1 2"], ["3 4"]] */
            json_t *only = json_array_get(cells, 0);
            json_t *parts =
                tokens_of((struct answer_span){json_string_value(only), json_string_length(only)});
            json_decref(cells);
            cells = parts;
        }
        size_t count = json_array_size(cells);
        bool flat = fits(count, columns);
        for (size_t j = 0; j < count; j++)
            flat = flat && !json_is_array(json_array_get(cells, j)) &&
                   !json_is_object(json_array_get(cells, j));
        if (!flat || json_array_append_new(grid, json_incref(cells)) != 0) {
            json_decref(grid);
            grid = NULL;
        }
        json_decref(cells);
    }
    return grid;
}

/* The same for a grid inside lists of one element or a dictionary. */
static json_t *grid_within(json_t *value, size_t rows, size_t columns)
{
    for (int i = 0; i < 4 && value != NULL; i++) {
        json_t *grid = grid_of(value, rows, columns);
        if (grid != NULL)
            return grid;
        if (json_is_array(value) && json_array_size(value) == 1) {
            value = json_array_get(value, 0);
        } else if (json_is_object(value)) {
            const char *key;
            json_t *member, *last = NULL;
            json_object_foreach(value, key, member) last =
                json_is_array(member) || json_is_object(member) ? member : last;
            value = last;
        } else {
            return NULL;
        }
    }
    return NULL;
}

/* "1234" as four tokens. */
static json_t *digits_of(const json_t *row)
{
    const char *text = json_string_value(json_array_get(row, 0));
    json_t *cells = json_array();
    for (; cells != NULL && *text != '\0'; text++)
        if (!isdigit((unsigned char)*text) ||
            json_array_append_new(cells, json_stringn(text, 1)) != 0) {
            json_decref(cells);
            return NULL;
        }
    return cells;
}

/* The last `rows` lines with `columns` tokens each that follow one another; lines without a letter or digit between
 * them (rules, blanks) do not count. */
static json_t *grid_of_lines(struct answer_span text, size_t rows, size_t columns)
{
    json_t *run = json_array(), *grid = NULL;
    const char *end = text.at + text.size;
    for (const char *at = text.at; at < end && run != NULL;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        struct answer_span line = span_of(at, newline != NULL ? newline : end);
        at = newline != NULL ? newline + 1 : end;
        bool mark = true; /* +---+---+ and ``` */
        for (size_t i = 0; i < line.size; i++)
            mark = mark && (is_space(line.at[i]) || strchr("+-|=`", line.at[i]) != NULL);
        if (mark || line.size > 4096)
            continue;
        json_t *row = tokens_of(line);
        if (json_array_size(row) == 1 && columns > 1 &&
            json_string_length(json_array_get(row, 0)) == columns) {
            json_t *cells = digits_of(row);
            json_decref(row);
            row = cells;
        }
        if (row == NULL || json_array_size(row) != columns) {
            json_array_clear(run);
            json_decref(row);
            continue;
        }
        json_array_append_new(run, row);
        if (json_array_size(run) > rows)
            json_array_remove(run, 0);
        if (json_array_size(run) == rows) {
            json_decref(grid);
            grid = json_copy(run);
        }
    }
    json_decref(run);
    return grid;
}

json_t *reading_grid(struct answer_span response, size_t rows, size_t columns)
{
    json_t *grid = NULL, *value;
    struct answer_span rest = response;
    while ((value = literal_next(&rest, 1, LITERAL_WORDS)) != NULL) {
        json_t *next = grid_within(value, rows, columns);
        if (next != NULL) {
            json_decref(grid);
            grid = next;
        }
        json_decref(value);
    }
    return grid != NULL || rows == 0 || columns == 0 ? grid
                                                     : grid_of_lines(response, rows, columns);
}

const char *reading_cell(const json_t *grid, size_t row, size_t column, char scratch[24])
{
    return literal_text(json_array_get(json_array_get(grid, row), column), scratch);
}

bool reading_cell_int(const json_t *grid, size_t row, size_t column, int *number)
{
    return literal_int(json_array_get(json_array_get(grid, row), column), number);
}

/* ---- pairs ---- */

static bool is_pair(const json_t *value)
{
    int number;
    return json_is_array(value) && json_array_size(value) == 2 &&
           literal_int(json_array_get(value, 0), &number) &&
           literal_int(json_array_get(value, 1), &number);
}

/* Appends the pairs of a list of pairs, or of lists of pairs; false when it holds anything else. */
static bool collect_pairs(json_t *value, int depth, json_t *pairs)
{
    if (!json_is_array(value))
        return false;
    for (size_t i = 0; i < json_array_size(value); i++) {
        json_t *item = json_array_get(value, i);
        int numbers[2];
        if (is_pair(item)) {
            (void)literal_int(json_array_get(item, 0), &numbers[0]);
            (void)literal_int(json_array_get(item, 1), &numbers[1]);
            json_array_append_new(pairs, json_pack("[i, i]", numbers[0], numbers[1]));
        } else if (depth == 0 || json_array_size(item) == 0 ||
                   !collect_pairs(item, depth - 1, pairs)) {
            return false;
        }
    }
    return true;
}

/* Whether only commas, spaces or "and" stand before the next bracket. */
static bool is_joined(struct answer_span rest)
{
    for (size_t i = 0; i < rest.size; i++) {
        if (strchr("[({", rest.at[i]) != NULL && rest.at[i] != '\0')
            return true;
        if (i + 3 <= rest.size && memcmp(rest.at + i, "and", 3) == 0)
            i += 2;
        else if (!is_space(rest.at[i]) && rest.at[i] != ',' && rest.at[i] != ';')
            return false;
    }
    return false;
}

/* The pairs (or lists of them) of the last line that has any; words between two of them start anew. */
static json_t *pairs_of_lines(struct answer_span text)
{
    json_t *last = NULL;
    const char *end = text.at + text.size;
    for (const char *at = text.at; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        struct answer_span rest = span_of(at, newline != NULL ? newline : end);
        json_t *pairs = json_array(), *value;
        bool joined = false;
        at = newline != NULL ? newline + 1 : end;
        while ((value = literal_next(&rest, 1, LITERAL_WORDS)) != NULL) {
            json_t *one = json_array(), *list = is_pair(value) ? json_pack("[O]", value) : NULL;
            if (collect_pairs(list != NULL ? list : value, 2, one)) {
                if (!joined)
                    json_array_clear(pairs);
                json_array_extend(pairs, one);
            }
            joined = is_joined(rest);
            json_decref(list);
            json_decref(one);
            json_decref(value);
        }
        if (json_array_size(pairs) > 0) {
            json_decref(last);
            last = json_incref(pairs);
        }
        json_decref(pairs);
    }
    return last;
}

json_t *reading_pairs(struct answer_span response)
{
    json_t *last = NULL, *value;
    struct answer_span rest = response;
    while ((value = literal_next(&rest, 1, LITERAL_WORDS)) != NULL) {
        json_t *pairs = json_array();
        /* one domino [(1,2),(1,3)] may be the first of several without brackets around them */
        if (!is_pair(value) && collect_pairs(value, 3, pairs)) {
            json_decref(last);
            last = json_incref(pairs);
        }
        json_decref(pairs);
        json_decref(value);
    }
    json_t *line = json_array_size(last) > 2 || (last != NULL && json_array_size(last) != 2)
                       ? NULL
                       : pairs_of_lines(response);
    if (line == NULL || (last != NULL && json_array_size(line) <= json_array_size(last))) {
        json_decref(line);
        return last;
    }
    json_decref(last);
    return line;
}

/* ---- numbers and words ---- */

bool reading_last_int(struct answer_span text, long long *number)
{
    size_t end = text.size;
    while (end > 0 && !isdigit((unsigned char)text.at[end - 1]))
        end--;
    size_t from = end;
    while (from > 0 && isdigit((unsigned char)text.at[from - 1]))
        from--;
    if (from == end || end - from > 18)
        return false;
    long long value = 0;
    for (size_t i = from; i < end; i++)
        value = value * 10 + (text.at[i] - '0');
    bool minus = from > 0 && text.at[from - 1] == '-' &&
                 (from < 2 || !isalnum((unsigned char)text.at[from - 2]));
    *number = minus ? -value : value;
    return true;
}

/* Copies without $, commas between digits, "\\," and a leading "x =". */
static size_t clean_number(struct answer_span text, char *clean, size_t capacity)
{
    const char *equals = find_last(text, "=");
    if (equals != NULL)
        text = span_of(equals + 1, text.at + text.size);
    size_t size = 0;
    for (size_t i = 0; i < text.size && size + 1 < capacity; i++) {
        char c = text.at[i];
        bool between = i > 0 && i + 3 < text.size && isdigit((unsigned char)text.at[i - 1]) &&
                       isdigit((unsigned char)text.at[i + 1]) &&
                       isdigit((unsigned char)text.at[i + 2]) &&
                       isdigit((unsigned char)text.at[i + 3]);
        if (c == '\0')
            c = ' ';
        if ((c == ',' && between) || c == '$')
            continue;
        if (c == '\\' && i + 1 < text.size && strchr(",!;", text.at[i + 1]) != NULL) {
            i++;
            continue;
        }
        if (strncmp(text.at + i, "−", text.size - i < 3 ? text.size - i : 3) == 0) {
            c = '-';
            i += 2;
        }
        clean[size++] = c;
    }
    clean[size] = '\0';
    return size;
}

bool reading_number(struct answer_span text, double *number)
{
    char clean[128], *end;
    if (text.size >= sizeof clean)
        return false;
    size_t size = clean_number(text, clean, sizeof clean);
    struct answer_span whole = answer_trimmed((struct answer_span){clean, size});
    struct fraction exact;
    if (whole.size > 0 &&
        expression_value(whole, EXPRESSION_DIVIDE | EXPRESSION_SIGN | EXPRESSION_DECIMAL, &exact,
                         NULL)) {
        *number = (double)exact.numerator / (double)exact.denominator;
        return true;
    }
    size_t from = strcspn(clean, "0123456789");
    if (clean[from] == '\0')
        return false;
    if (from > 0 && clean[from - 1] == '.')
        from--;
    if (from > 0 && (clean[from - 1] == '-' || clean[from - 1] == '+'))
        from--;
    if (strspn(clean + from, "0123456789+-.eE") >= 64)
        return false;
    double value = strtod(clean + from, &end);
    if (end == clean + from || !isfinite(value) || end[strcspn(end, "0123456789")] != '\0')
        return false;
    *number = value;
    return true;
}

bool reading_same_words(struct answer_span a, const char *b)
{
    a = answer_trimmed(a);
    struct answer_span other = answer_trimmed((struct answer_span){b, strlen(b)});
    size_t i = 0, j = 0;
    while (i < a.size && j < other.size) {
        bool gap = is_space(a.at[i]);
        if (gap != is_space(other.at[j]) ||
            (!gap && tolower((unsigned char)a.at[i]) != tolower((unsigned char)other.at[j])))
            return false;
        do
            i++;
        while (gap && i < a.size && is_space(a.at[i]));
        do
            j++;
        while (gap && j < other.size && is_space(other.at[j]));
    }
    return i == a.size && j == other.size;
}
