#include "reward/swe/log_formats.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

struct span {
    const char *at;
    size_t size;
};

static bool begins(struct span line, const char *word)
{
    size_t n = strlen(word);
    return line.size >= n && memcmp(line.at, word, n) == 0;
}

static struct span skip(struct span line, size_t n)
{
    return (struct span){line.at + n, line.size - n};
}

static struct span trimmed(struct span line)
{
    while (line.size > 0 && strchr(" \t", line.at[0]) != NULL)
        line = skip(line, 1);
    while (line.size > 0 && strchr(" \t\r", line.at[line.size - 1]) != NULL)
        line.size--;
    return line;
}

/* Size of what comes before `mark`; SIZE_MAX when it is not there. */
static size_t before(struct span line, const char *mark)
{
    const char *found = memmem(line.at, line.size, mark, strlen(mark));
    return found != NULL ? (size_t)(found - line.at) : (size_t)-1;
}

static int badness(const char *outcome)
{
    return strcmp(outcome, "PASSED") == 0    ? 0
           : strcmp(outcome, "XFAIL") == 0   ? 1
           : strcmp(outcome, "SKIPPED") == 0 ? 2
                                             : 3;
}

static void add(json_t *outcomes, struct span name, const char *outcome)
{
    char key[1024];
    name = trimmed(name);
    if (name.size == 0 || name.size >= sizeof key || outcome == NULL)
        return;
    memcpy(key, name.at, name.size);
    key[name.size] = '\0';
    const char *known = json_string_value(json_object_get(outcomes, key));
    if (known == NULL || badness(outcome) > badness(known))
        json_object_set_new(outcomes, key, json_string(outcome));
}

struct word {
    const char *said, *outcome;
};

static const char *outcome_of(struct span said, const struct word *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (begins(said, words[i].said))
            return words[i].outcome;
    return NULL;
}
#define OUTCOME(said, words) outcome_of(said, words, sizeof words / sizeof words[0])

/* "PASSED a.py::t", "FAILED a.py::t - why", "a.py::t PASSED [ 5%]" */
static bool read_pytest(json_t *outcomes, struct span line)
{
    static const struct word words[] = {{"PASSED", "PASSED"}, {"FAILED", "FAILED"},
                                        {"ERROR", "ERROR"},   {"SKIPPED", "SKIPPED"},
                                        {"XFAIL", "XFAIL"},   {"XPASS", "FAILED"}};
    const char *outcome = OUTCOME(line, words);
    size_t names = before(line, "::");
    if (names == (size_t)-1)
        return false;
    size_t blank = before(line, " ");
    if (outcome != NULL && blank < names) {
        struct span name = skip(line, blank);
        size_t why = before(name, " - ");
        add(outcomes, why != (size_t)-1 ? (struct span){name.at, why} : name, outcome);
        return true;
    }
    for (size_t i = line.size; outcome == NULL && i > names; i--)
        if (line.at[i - 1] == ' ' && (outcome = OUTCOME(skip(line, i), words)) != NULL) {
            add(outcomes, (struct span){line.at, i - 1}, outcome);
            return true;
        }
    return false;
}

/* "test_x (mod.Class) ... ok", "test mod::x ... FAILED" */
static bool read_dots(json_t *outcomes, struct span line)
{
    static const struct word words[] = {{"ok", "PASSED"},
                                        {"FAILED", "FAILED"},
                                        {"FAIL", "FAILED"},
                                        {"ERROR", "ERROR"},
                                        {"skipped", "SKIPPED"},
                                        {"ignored", "SKIPPED"},
                                        {"expected failure", "XFAIL"},
                                        {"unexpected success", "FAILED"}};
    size_t dots = before(line, " ... ");
    if (dots == (size_t)-1)
        return false;
    struct span name = {line.at, dots};
    if (begins(name, "test ") && before(name, "(") == (size_t)-1)
        name = skip(name, 5);
    add(outcomes, name, OUTCOME(skip(line, dots + 5), words));
    return true;
}

/* "--- PASS: TestX/sub (0.00s)" */
static bool read_go(json_t *outcomes, struct span line)
{
    static const struct word words[] = {
        {"PASS: ", "PASSED"}, {"FAIL: ", "FAILED"}, {"SKIP: ", "SKIPPED"}};
    if (!begins(line, "--- "))
        return false;
    const char *outcome = OUTCOME(skip(line, 4), words);
    if (outcome == NULL)
        return false;
    struct span name = skip(line, 10);
    size_t time = before(name, " (");
    add(outcomes, time != (size_t)-1 ? (struct span){name.at, time} : name, outcome);
    return true;
}

/* Begins with the word, in any case. */
static bool says(struct span text, const char *word)
{
    return text.size >= strlen(word) && strncasecmp(text.at, word, strlen(word)) == 0;
}

/* "ok 3 - name", "not ok 4 name # SKIP why" */
static bool read_tap(json_t *outcomes, struct span line)
{
    bool bad = begins(line, "not ok ");
    if (!bad && !begins(line, "ok "))
        return false;
    struct span name = skip(line, bad ? 7 : 3);
    size_t digits = 0;
    while (digits < name.size && name.at[digits] >= '0' && name.at[digits] <= '9')
        digits++;
    if (digits == 0)
        return false;
    name = trimmed(skip(name, digits));
    if (begins(name, "- "))
        name = skip(name, 2);
    size_t note = before(name, " # ");
    struct span said = note != (size_t)-1 ? skip(name, note + 3) : (struct span){"", 0};
    add(outcomes, note != (size_t)-1 ? (struct span){name.at, note} : name,
        says(said, "skip")   ? "SKIPPED"
        : says(said, "todo") ? "XFAIL"
        : bad                ? "FAILED"
                             : "PASSED");
    return true;
}

void log_read(json_t *outcomes, const char *text, size_t size)
{
    for (const char *at = text, *end = text + size; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline != NULL ? newline : end;
        struct span line = trimmed((struct span){at, (size_t)(stop - at)});
        if (!read_dots(outcomes, line) && !read_pytest(outcomes, line) && !read_go(outcomes, line))
            (void)read_tap(outcomes, line);
        at = newline != NULL ? newline + 1 : end;
    }
}
