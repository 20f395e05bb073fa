#include "reward/swe/suite.h"

#include <errno.h>
#include <fnmatch.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/memory.h"
#include "reward/swe/log_formats.h"

extern const char swe_runner[];

enum { REPORT_BYTES_MAX = 16 << 20, WORDS_MAX = 64, NONCE_BYTES = 16 };

/* ---- the command of an instance ---- */

struct words {
    char text[4096];
    const char *items[WORDS_MAX];
    size_t count;
};

/* Words with simple quotes; false: more than that, for a shell. */
static bool split_words(const char *command, struct words *words)
{
    char quote = '\0', *out = words->text;
    bool inside = false;
    words->count = 0;
    if (strlen(command) >= sizeof words->text)
        return false;
    for (const char *at = command; *at != '\0'; at++) {
        bool blank = quote == '\0' && (*at == ' ' || *at == '\t');
        if (quote == '\0' && strchr("|&;<>$`\\*?()[]{}~\n", *at) != NULL)
            return false;
        if (quote == '"' && strchr("$`\\", *at) != NULL)
            return false;
        if (!blank && !inside) {
            if (words->count == WORDS_MAX)
                return false;
            words->items[words->count++] = out;
        }
        inside = !blank;
        if (blank)
            *out++ = '\0';
        else if (*at == quote || (quote == '\0' && (*at == '\'' || *at == '"')))
            quote = *at == quote ? '\0' : *at;
        else
            *out++ = *at;
    }
    *out = '\0';
    return quote == '\0';
}

/* "pkg.mod", "pkg/mod.py" or "pkg.mod.Class.test": the file of the longest module there is, and its dotted name. */
static bool find_module(const struct tree *tree, const char *word, char name[TREE_PATH_MAX],
                        char path[TREE_PATH_MAX])
{
    snprintf(name, TREE_PATH_MAX, "%s", word);
    size_t length = strlen(name);
    if (length > 3 && strcmp(name + length - 3, ".py") == 0)
        name[length - 3] = '\0';
    for (char *at = name; *at != '\0'; at++)
        if (*at == '/')
            *at = '.';
    for (;;) {
        char slashed[TREE_PATH_MAX];
        snprintf(slashed, sizeof slashed, "%s", name);
        for (char *at = slashed; *at != '\0'; at++)
            if (*at == '.')
                *at = '/';
        int size = snprintf(path, TREE_PATH_MAX, "%.500s.py", slashed);
        if (size > 0 && size < TREE_PATH_MAX && tree_find(tree, path) != NULL)
            return true;
        char *dot = strrchr(name, '.');
        if (dot == NULL)
            return false;
        *dot = '\0';
    }
}

static void add_module(json_t *modules, const char *name, const char *path)
{
    char full[TREE_PATH_MAX + 16];
    snprintf(full, sizeof full, "/box/%s", path);
    json_array_append_new(modules, json_pack("[s, s]", name, full));
}

/* unittest discover [-s folder] [-p pattern] [-t top] */
static void discover(const struct tree *tree, const struct words *words, size_t at, json_t *order)
{
    const char *start = "", *pattern = "test*.py";
    json_t *modules = json_object_get(order, "modules");
    for (; at + 1 < words->count; at++)
        if (strcmp(words->items[at], "-s") == 0)
            start = words->items[at + 1];
        else if (strcmp(words->items[at], "-p") == 0)
            pattern = words->items[at + 1];
    if (strcmp(start, ".") == 0)
        start = "";
    size_t length = strlen(start);
    while (length > 0 && start[length - 1] == '/')
        length--;
    for (size_t i = 0; i < tree->count; i++) {
        const char *path = tree->files[i].path, *base = strrchr(path, '/');
        char name[TREE_PATH_MAX], same[TREE_PATH_MAX];
        bool inside = length == 0 || (strncmp(path, start, length) == 0 && path[length] == '/');
        if (inside && fnmatch(pattern, base != NULL ? base + 1 : path, 0) == 0 &&
            find_module(tree, path, name, same))
            add_module(modules, length > 0 ? name + length + 1 : name, path);
    }
    if (length > 0) {
        char top[TREE_PATH_MAX + 16];
        snprintf(top, sizeof top, "/box/%.*s", (int)length, start);
        json_object_set_new(order, "top", json_string(top));
    }
}

/* What the runner is told, when the command is one of unittest; NULL: it is another. */
static json_t *unittest_order(const struct tree *tree, const char *command)
{
    struct words words;
    if (!split_words(command, &words) || words.count < 3 ||
        strncmp(words.items[0], "python", 6) != 0)
        return NULL;
    size_t at = 1;
    while (at + 1 < words.count &&
           !(strcmp(words.items[at], "-m") == 0 && strcmp(words.items[at + 1], "unittest") == 0))
        at++;
    if (at + 1 >= words.count)
        return NULL;
    json_t *modules = json_array();
    json_t *order = json_pack("{s:s, s:o}", "folder", "/box", "modules", modules);
    size_t named = 0;
    for (at += 2; order != NULL && at < words.count; at++) {
        char name[TREE_PATH_MAX], path[TREE_PATH_MAX];
        if (strcmp(words.items[at], "discover") == 0)
            break;
        if (words.items[at][0] == '-')
            continue;
        named++;
        if (find_module(tree, words.items[at], name, path))
            add_module(modules, name, path);
    }
    if (order != NULL && (named == 0 || at < words.count))
        discover(tree, &words, at, order);
    return order;
}

/* ---- the runner's words ---- */

struct listener {
    int fd;
    struct buffer text;
};

static void *listen_to_runner(void *self)
{
    struct listener *listener = self;
    char piece[65536];
    for (ssize_t n; (n = read(listener->fd, piece, sizeof piece)) != 0;) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || buffer_append(&listener->text, piece, (size_t)n) != STATUS_OK)
            break;
    }
    return NULL;
}

static void note(struct suite_report *report, const char *id, const char *outcome, const char *why)
{
    if (strcmp(outcome, "TAMPERED") == 0 || why[0] != '\0') {
        report->forged = true;
        snprintf(report->why, sizeof report->why, "%s", why);
    }
    const char *known = json_string_value(json_object_get(report->outcomes, id));
    if (known != NULL) { /* a test is said once */
        report->forged = true;
        snprintf(report->why, sizeof report->why, "%.200s was said twice", id);
    }
    json_object_set_new(report->outcomes, id, json_string(outcome));
}

/* One line: [nonce, id, outcome, asserts, why]. Lines without the nonce are somebody else's. */
static void take_line(struct suite_report *report, const char *line, size_t size, const char *nonce)
{
    json_t *said = json_loadb(line, size, 0, NULL);
    const char *mark = json_string_value(json_array_get(said, 0)),
               *id = json_string_value(json_array_get(said, 1)),
               *outcome = json_string_value(json_array_get(said, 2)),
               *why = json_string_value(json_array_get(said, 4));
    if (mark != NULL && strcmp(mark, nonce) == 0 && id != NULL && outcome != NULL && why != NULL &&
        !report->ended) {
        if (id[0] == '\0') {
            size_t count = (size_t)json_integer_value(json_array_get(said, 3));
            report->ended = count == json_object_size(report->outcomes);
            report->forged = report->forged || why[0] != '\0';
        } else {
            note(report, id, outcome, why);
            if (json_integer_value(json_array_get(said, 3)) != 0)
                json_object_set_new(report->asserting, id, json_true());
        }
    }
    json_decref(said);
}

static void take_lines(struct suite_report *report, const struct buffer *text, const char *nonce)
{
    const char *at = (const char *)text->bytes, *end = at + text->size;
    for (const char *newline; at < end && (newline = memchr(at, '\n', (size_t)(end - at))) != NULL;
         at = newline + 1)
        take_line(report, at, (size_t)(newline - at), nonce);
}

/* ---- a run ---- */

static enum status make_nonce(char nonce[2 * NONCE_BYTES + 1])
{
    unsigned char bytes[NONCE_BYTES];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return FAIL(STATUS_IO, "getrandom: %s", strerror(errno));
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(nonce + 2 * i, 3, "%02x", bytes[i]);
    return STATUS_OK;
}

static enum status judge_result(const struct sandbox_result *result, struct suite_report *report)
{
    if (result->outcome == SANDBOX_INFRA)
        return FAIL(STATUS_IO, "sandbox: %s", result->text);
    if (result->outcome == SANDBOX_LIMIT) {
        report->limit = result->limit;
        snprintf(report->why, sizeof report->why, "%s", result->text);
    }
    return STATUS_OK;
}

static enum status execute(const struct tree *tree, const struct suite_options *options,
                           const char *const *argv, int channel, struct sandbox_result *result)
{
    static const char *const env[] = {"PATH=/usr/local/bin:/usr/bin:/bin",
                                      "HOME=/tmp",
                                      "LANG=C.UTF-8",
                                      "PYTHONHASHSEED=0",
                                      "TMPDIR=/tmp",
                                      NULL};
    struct sandbox_file *files = memory_array(tree->count + 1, sizeof *files);
    if (files == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu files", tree->count);
    for (size_t i = 0; i < tree->count; i++)
        files[i] = (struct sandbox_file){tree->files[i].path, tree->files[i].bytes,
                                         tree->files[i].size, tree->files[i].executable};
    struct sandbox_run run = {
        SANDBOX_RUN,         .argv = argv, .env = env, .files = files, .file_count = tree->count,
        .execute_work = true};
    run.channel = channel;
    run.file_locks = true; /* sqlite and build tools want them; the tree is this run's alone */
    run.limits = options->limits;
    sandbox_execute(options->sandbox, &run, result);
    memory_free(files);
    return STATUS_OK;
}

/* One line; it fits into the socket, or the suite is too large. */
static enum status send_order(int fd, const json_t *order)
{
    struct buffer line;
    char *text = json_dumps(order, JSON_COMPACT);
    buffer_init(&line, 0);
    enum status status = buffer_text(&line, text != NULL ? text : "");
    free(text); /* lint: allow(free): jansson's buffer */
    if (status == STATUS_OK)
        status = buffer_text(&line, "\n");
    if (status == STATUS_OK &&
        send(fd, line.bytes, line.size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)line.size)
        status =
            FAIL(STATUS_LIMIT, "the runner cannot be told about %zu bytes of tests", line.size);
    buffer_free(&line);
    return status;
}

/* Sends the order, runs the runner, hears what it says until everything in the sandbox is dead. */
static enum status run_runner(const struct tree *tree, const struct suite_options *options,
                              const json_t *order, const char *nonce, struct suite_report *report)
{
    static const char *argv[] = {"/usr/bin/python3", "-s", "-B", "-c", swe_runner, NULL};
    int ends[2];
    struct listener listener;
    struct sandbox_result result = {0};
    pthread_t thread;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return FAIL(STATUS_NO_MEMORY, "a channel to the runner: %s", strerror(errno));
    listener.fd = ends[0];
    buffer_init(&listener.text, REPORT_BYTES_MAX);
    enum status status = send_order(ends[0], order);
    if (status == STATUS_OK && pthread_create(&thread, NULL, listen_to_runner, &listener) != 0)
        status = FAIL(STATUS_NO_MEMORY, "a thread that hears the runner");
    if (status == STATUS_OK) {
        status = execute(tree, options, argv, ends[1], &result);
        shutdown(ends[1], SHUT_RDWR);
        pthread_join(thread, NULL);
    }
    if (status == STATUS_OK)
        status = judge_result(&result, report);
    if (status == STATUS_OK)
        take_lines(report, &listener.text, nonce);
    close(ends[0]);
    close(ends[1]);
    buffer_free(&listener.text);
    sandbox_result_free(&result);
    return status;
}

static enum status report_open(struct suite_report *report)
{
    *report = (struct suite_report){.outcomes = json_object(), .asserting = json_object()};
    return report->outcomes != NULL && report->asserting != NULL
               ? STATUS_OK
               : FAIL(STATUS_NO_MEMORY, "a report");
}

static enum status run_unittest(const struct tree *tree, const struct suite_options *options,
                                json_t *order, bool control, struct suite_report *report)
{
    char nonce[2 * NONCE_BYTES + 1];
    TRY(report_open(report));
    TRY(make_nonce(nonce));
    json_object_set_new(order, "nonce", json_string(nonce));
    json_object_set_new(order, "control", json_boolean(control));
    return run_runner(tree, options, order, nonce, report);
}

static bool any_passed(const struct suite_report *report)
{
    const char *id;
    json_t *outcome;
    json_object_foreach(report->outcomes, id, outcome)
    {
        if (strcmp(json_string_value(outcome), "PASSED") == 0)
            return true;
    }
    return false;
}

/* A test whose assertions all raise cannot pass. One that does was made to, unless it does the same in the tree without
 * the model's changes; which tests have assertions is that run's word too. */
static enum status run_control(const struct tree *tree, const struct suite_options *options,
                               json_t *order, struct suite_report *report)
{
    struct suite_report control, pristine = {0};
    enum status status = run_unittest(tree, options, order, true, &control);
    if (status == STATUS_OK && any_passed(&control))
        status = run_unittest(options->pristine, options, order, true, &pristine);
    const char *id;
    json_t *outcome;
    json_object_foreach(status == STATUS_OK ? control.outcomes : NULL, id, outcome)
    {
        const char *before = json_string_value(json_object_get(pristine.outcomes, id));
        if (strcmp(json_string_value(outcome), "PASSED") != 0 ||
            json_object_get(pristine.asserting, id) == NULL ||
            (before != NULL && strcmp(before, "PASSED") == 0))
            continue;
        report->forged = true;
        snprintf(report->why, sizeof report->why, "%.150s passes although its assertions raise",
                 id);
    }
    suite_report_free(&control);
    suite_report_free(&pristine);
    return status;
}

static enum status run_shell(const struct tree *tree, const struct suite_options *options,
                             struct suite_report *report)
{
    const char *argv[] = {"/bin/sh", "-c", options->command, NULL};
    struct sandbox_result result = {0};
    TRY(report_open(report));
    enum status status = execute(tree, options, argv, -1, &result);
    if (status == STATUS_OK)
        status = judge_result(&result, report);
    if (status == STATUS_OK) {
        report->ended = result.outcome == SANDBOX_EXITED;
        log_read(report->outcomes, (const char *)result.output, result.output_size);
        log_read(report->outcomes, (const char *)result.error, result.error_size);
    }
    sandbox_result_free(&result);
    return status;
}

enum status suite_run(const struct tree *tree, const struct suite_options *options,
                      struct suite_report *report)
{
    *report = (struct suite_report){0};
    json_t *order = unittest_order(tree, options->command);
    if (order == NULL)
        return run_shell(tree, options, report);
    enum status status = run_unittest(tree, options, order, false, report);
    if (status == STATUS_OK && options->pristine != NULL && !report->forged &&
        json_object_size(report->asserting) > 0)
        status = run_control(tree, options, order, report);
    json_decref(order);
    return status;
}

void suite_report_free(struct suite_report *report)
{
    json_decref(report->outcomes);
    json_decref(report->asserting);
    *report = (struct suite_report){0};
}

/* ---- names ---- */

/* "test_x (module.Class)" or "test_x (module.Class.test_x)" as module.Class.test_x */
static bool dotted(const char *test, char out[TREE_PATH_MAX])
{
    const char *open = strstr(test, " (");
    size_t length = strlen(test);
    if (open == NULL || length < 4 || test[length - 1] != ')')
        return false;
    size_t name = (size_t)(open - test), owner = length - name - 3;
    const char *last = NULL;
    for (const char *at = open + 2; at < test + length - 1; at++)
        if (*at == '.')
            last = at + 1;
    bool named =
        last != NULL && (size_t)(test + length - 1 - last) == name && memcmp(last, test, name) == 0;
    int size =
        named ? snprintf(out, TREE_PATH_MAX, "%.*s", (int)owner, open + 2)
              : snprintf(out, TREE_PATH_MAX, "%.*s.%.*s", (int)owner, open + 2, (int)name, test);
    return size > 0 && size < TREE_PATH_MAX;
}

static bool is_named(const char *id, const char *test)
{
    size_t long_ = strlen(id), short_ = strlen(test);
    if (strcmp(id, test) == 0)
        return true;
    if (short_ == 0 || short_ >= long_ || strcmp(id + long_ - short_, test) != 0)
        return false;
    char before = id[long_ - short_ - 1];
    return before == '.' || before == ':' || before == '/';
}

static int badness(const char *outcome)
{
    static const char *const order[] = {"PASSED", "XFAIL", "SKIPPED", "FAILED", "ERROR"};
    for (int i = 0; i < 5; i++)
        if (strcmp(outcome, order[i]) == 0)
            return i;
    return 5;
}

const char *suite_outcome(const struct suite_report *report, const char *test)
{
    char name[TREE_PATH_MAX];
    const char *wanted = dotted(test, name) ? name : test, *id, *worst = NULL;
    json_t *outcome;
    json_object_foreach(report->outcomes, id, outcome)
    {
        const char *said = json_string_value(outcome);
        if (is_named(id, wanted) && (worst == NULL || badness(said) > badness(worst)))
            worst = said;
    }
    return worst;
}
