/* tests/story_command.h - on top of tests/story.h: one `weir COMMAND`, its exit code and what it printed.
 *
 *     assert_int_equal(story_weir(&text, 10000, "status %s --json", run.path), 0);
 */
#ifndef TESTS_STORY_COMMAND_H
#define TESTS_STORY_COMMAND_H

#include "tests/story.h"

enum { STORY_TEXT = 1 << 18 };

struct story_text {
    char out[STORY_TEXT], err[8192];
    int64_t ms; /* that it took */
};

/* Words between blanks. -1: it still ran after limit_ms, and was killed. */
PRINTF_LIKE(3, 4)
static inline int story_weir(struct story_text *text, int64_t limit_ms, const char *fmt, ...)
{
    char line[4096], out[FILE_PATH_MAX], err[FILE_PATH_MAX];
    const char *arguments[STORY_ARGUMENTS] = {NULL};
    size_t count = 0;
    va_list values;
    va_start(values, fmt);
    vsnprintf(line, sizeof line, fmt, values);
    va_end(values);
    char said[4096], *rest = NULL;
    snprintf(said, sizeof said, "%s", line);
    for (char *word = strtok_r(line, " ", &rest); word != NULL && count + 1 < STORY_ARGUMENTS;
         word = strtok_r(NULL, " ", &rest))
        arguments[count++] = word;
    arguments[count] = NULL;
    int64_t begin_ns = clock_now_ns();
    pid_t pid = story_spawn("weir", arguments, story_path(out, "command.out"),
                            story_path(err, "command.err"));
    int code = story_wait_pid(pid, limit_ms);
    if (code < 0) {
        kill(pid, SIGKILL);
        story_wait_pid(pid, 5000);
    }
    text->ms = (clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
    story_read(out, text->out, sizeof text->out);
    story_read(err, text->err, sizeof text->err);
    if (code != 0)
        print_message("weir %s: exit %d after %lld ms: %.1500s%.1500s\n", said, code,
                      (long long)text->ms, text->err, text->out);
    return code;
}

/* What it printed as JSON; the caller's reference. */
static inline json_t *story_json(const struct story_text *text)
{
    json_t *value = json_loads(text->out, 0, NULL);
    if (value == NULL)
        print_message("no JSON: %.2000s\n", text->out);
    assert_non_null(value);
    return value;
}

static inline bool story_printed(const struct story_text *text, const char *part)
{
    if (strstr(text->out, part) != NULL)
        return true;
    print_message("\"%s\" is not in: %.3000s\n", part, text->out);
    return false;
}

#endif
