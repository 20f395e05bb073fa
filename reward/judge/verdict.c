#include "reward/judge/verdict.h"

#include <string.h>

#include "core/check.h"

bool verdict_mode_named(const char *name, enum verdict_mode *mode)
{
    static const struct {
        const char *name;
        enum verdict_mode mode;
    } modes[] = {{"grade5", VERDICT_GRADE5},
                 {"prometheus", VERDICT_PROMETHEUS},
                 {"pair", VERDICT_PAIR},
                 {"pairwise", VERDICT_PAIR},
                 {"pair5", VERDICT_PAIR5}};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        if (strcmp(name, modes[i].name) == 0) {
            *mode = modes[i].mode;
            return true;
        }
    return false;
}

/* Bytes of the white space character at the start of [at, end), 0 when there is none: ASCII, and the no-break and wide
 * spaces of Unicode that models write. */
static size_t space_at(const char *at, const char *end)
{
    static const char *const wide[] = {"\xc2\xa0",     "\xe2\x80\x89", "\xe2\x80\xaf",
                                       "\xe3\x80\x80", "\xe2\x80\x82", "\xe2\x80\x83"};
    if (at == end)
        return 0;
    if (*at == ' ' || (*at >= '\t' && *at <= '\r'))
        return 1;
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++) {
        size_t size = strlen(wide[i]);
        if ((size_t)(end - at) >= size && memcmp(at, wide[i], size) == 0)
            return size;
    }
    return 0;
}

static const char *skip_space(const char *at, const char *end)
{
    size_t size;
    while ((size = space_at(at, end)) > 0)
        at += size;
    return at;
}

/* Moves *at over `what`; false when it is not there. */
static bool take(const char **at, const char *end, const char *what)
{
    size_t size = strlen(what);
    if ((size_t)(end - *at) < size || memcmp(*at, what, size) != 0)
        return false;
    *at += size;
    return true;
}

static bool take_digit(const char **at, const char *end, int *grade)
{
    if (*at == end || **at < '1' || **at > '5')
        return false;
    *grade = *(*at)++ - '0';
    return true;
}

struct label {
    const char *text;
    int verdict;
};
static const struct label pair_labels[] = {{"A", 1}, {"B", -1}, {"C", 0}, {NULL, 0}};
static const struct label pair5_labels[] = {{"A>>B", 2}, {"A>B", 1},   {"A=B", 0},
                                            {"B>A", -1}, {"B>>A", -2}, {NULL, 0}};

/* "[[" label "]]" at `at`. */
static bool bracketed(enum verdict_mode mode, const char *at, const char *end, int *verdict)
{
    if (!take(&at, end, "[["))
        return false;
    const char *inside = skip_space(at, end);
    if (mode == VERDICT_GRADE5) {
        at = inside;
        if (!take_digit(&at, end, verdict))
            return false;
        at = skip_space(at, end);
        return take(&at, end, "]]");
    }
    for (const struct label *label = mode == VERDICT_PAIR ? pair_labels : pair5_labels;
         label->text != NULL; label++) {
        at = inside;
        if (!take(&at, end, label->text))
            continue;
        at = skip_space(at, end);
        if (take(&at, end, "]]")) {
            *verdict = label->verdict;
            return true;
        }
    }
    return false;
}

/* "[RESULT] 4" at `at`: the digit may stand in brackets of its own, and is not the start of a longer number. */
static bool prometheus(const char *at, const char *end, int *verdict)
{
    if (!take(&at, end, "[RESULT]"))
        return false;
    at = skip_space(at, end);
    bool open = take(&at, end, "(") || take(&at, end, "[");
    if (!take_digit(&at, end, verdict))
        return false;
    if (open)
        return take(&at, end, ")") || take(&at, end, "]");
    bool fraction = end - at >= 2 && (*at == '.' || *at == ',') && at[1] >= '0' && at[1] <= '9';
    return !fraction && (at == end || !(*at >= '0' && *at <= '9'));
}

static const char *after_thinking(const char *text, const char *end)
{
    const char *from = text;
    while ((text = memmem(text, (size_t)(end - text), "</think>", 8)) != NULL)
        from = text += 8;
    const char *first = skip_space(from, end);
    return take(&first, end, "<think>") ? NULL
                                        : from; /* it thinks (again) and never came to an end */
}

bool verdict_read(enum verdict_mode mode, const char *text, size_t size, int *verdict)
{
    const char *end = text + size, *from = after_thinking(text, end), *at = end;
    bool result = mode == VERDICT_GRADE5 || mode == VERDICT_PROMETHEUS;
    if (from == NULL)
        return false;
    while ((at = memrchr(from, '[', (size_t)(at - from))) !=
           NULL) { /* the last mark is the first found */
        int read = 0;
        if ((mode != VERDICT_PROMETHEUS && bracketed(mode, at, end, &read)) ||
            (result && prometheus(at, end, &read))) {
            *verdict = read;
            return true;
        }
    }
    return false;
}

bool verdict_majority(const int *verdicts, const bool *readable, size_t votes, size_t least,
                      int *verdict)
{
    size_t most = 0;
    bool shared = false;
    int winner = 0;
    for (size_t i = 0; i < votes; i++) {
        size_t same = 0;
        for (size_t j = 0; j < votes && readable[i]; j++)
            same += readable[j] && verdicts[j] == verdicts[i];
        if (same > most) {
            most = same;
            winner = verdicts[i];
            shared = false;
        } else if (same == most && same > 0 && verdicts[i] != winner) {
            shared = true;
        }
    }
    if (most == 0 || most < least || shared)
        return false;
    *verdict = winner;
    return true;
}

const char *pair_state_name(enum pair_state state)
{
    static const char *const names[] = {"consistent", "inconsistent", "invalid"};
    return names[state];
}

struct pair_result pair_combine(const int *as_a, const int *as_b)
{
    if (as_a == NULL || as_b == NULL)
        return (struct pair_result){PAIR_INVALID, 0};
    if (*as_a != *as_b)
        return (struct pair_result){PAIR_INCONSISTENT, 0};
    return (struct pair_result){PAIR_CONSISTENT, *as_a};
}

void pair_watch_init(struct pair_watch *watch, unsigned window)
{
    CHECK(window >= 1 && window <= PAIR_WINDOW_MAX);
    *watch = (struct pair_watch){.window = window};
}

void pair_watch_push(struct pair_watch *watch, const int *as_a, const int *as_b)
{
    struct pair_result result = pair_combine(as_a, as_b);
    watch->pairs++;
    watch->consistent += result.state == PAIR_CONSISTENT;
    watch->inconsistent += result.state == PAIR_INCONSISTENT;
    watch->invalid += result.state == PAIR_INVALID;
    if (as_a == NULL || as_b == NULL)
        return;
    /* The first place won as_a (the policy in it) and -as_b (the reference in it); 0 .. 4 halves of a win. */
    int halves = (*as_a + 1) + (1 - *as_b);
    watch->seen[watch->next] =
        (unsigned char)((result.state == PAIR_CONSISTENT ? 1 : 0) | (halves << 1));
    watch->next = (watch->next + 1) % watch->window;
    watch->count += watch->count < watch->window;
}

struct pair_rates pair_watch_rates(const struct pair_watch *watch, double least)
{
    struct pair_rates rates = {1, 0.5, false};
    if (watch->count == 0)
        return rates;
    unsigned consistent = 0, halves = 0;
    for (unsigned i = 0; i < watch->count; i++) {
        consistent += watch->seen[i] & 1;
        halves += watch->seen[i] >> 1;
    }
    rates.consistency = (double)consistent / watch->count;
    rates.first = (double)halves / (4.0 * watch->count);
    rates.alarm = watch->count == watch->window && rates.consistency < least;
    return rates;
}
