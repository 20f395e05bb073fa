/* weir logs: what the processes of a run logged, as one text in the order of time. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "ops/cmd.h"
#include "ops/log_merge.h"

enum { FOLLOW_MS = 100, AGAIN_MS = 2000, LINES_DEFAULT = 100, WANTED_MAX = 64, LEVEL_MAX = 12 };

struct wish {
    const char *run;
    const char *wanted[WANTED_MAX];
    size_t wanted_count, most;
    bool follow, json, colour;
};

/* ---- one line ---- */

/* What another program wrote may hold escape sequences: they do not reach the terminal. */
static void put_text(const char *text)
{
    for (; *text != 0; text++) {
        unsigned char byte = (unsigned char)*text, next = (unsigned char)text[1];
        bool c1 = byte == 0xc2 && next >= 0x80 && next <= 0x9f; /* U+0080 to U+009F, as 8-bit CSI */
        putchar((byte < 0x20 && byte != '\t') || byte == 0x7f || c1 ? '?' : byte);
        text += c1;
    }
}

static const char *level_of(const struct log_line *line, char level[LEVEL_MAX])
{
    size_t at = LOG_TIME_SIZE, size = 0; /* behind the time and a blank */
    level[0] = 0;
    if (!line->dated || strlen(line->text) <= at)
        return level;
    size = strcspn(line->text + at, " ");
    if (size < LEVEL_MAX)
        snprintf(level, LEVEL_MAX, "%.*s", (int)size, line->text + at);
    return level;
}

static void put_colours(const struct log_line *line, const char *level)
{
    static const char *const hues[] = {"36", "32", "35", "34", "33", "96", "92", "95"};
    const char *paint = strcmp(level, "ERROR") == 0   ? "1;31"
                        : strcmp(level, "WARN") == 0  ? "33"
                        : strcmp(level, "DEBUG") == 0 ? "2"
                                                      : "";
    unsigned hue = 0;
    for (const char *at = line->process; *at != 0; at++)
        hue = hue * 31 + (unsigned char)*at;
    const char *rest = line->text + LOG_TIME_SIZE + strlen(level);
    size_t process = strlen(line->process);
    printf("\033[2m%s\033[0m \033[%sm%s\033[0m", line->time, paint, level);
    if (rest[0] == ' ' && strncmp(rest + 1, line->process, process) == 0) {
        printf(" \033[%sm%s\033[0m", hues[hue % 8], line->process);
        rest += 1 + process;
    }
    put_text(rest);
    putchar('\n');
}

static void put_json(const struct log_line *line, const char *level)
{
    const char *text = line->text + (level[0] != 0 ? LOG_TIME_SIZE + strlen(level) : 0);
    json_t *object = json_object();
    json_t *words = json_string(text + (level[0] != 0 && *text == ' '));
    json_object_set_new(object, "time", json_string(line->time));
    json_object_set_new(object, "process", json_string(line->process));
    json_object_set_new(object, "level", json_string(level));
    json_object_set_new(object, "text", words != NULL ? words : json_string("(not UTF-8)"));
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

static void put_line(const struct wish *wish, const struct log_line *line)
{
    char level[LEVEL_MAX];
    /* redis-server's lines have another form and name nobody */
    bool ours = line->dated && strncmp(line->text, line->time, LOG_TIME_SIZE - 1) == 0;
    level_of(line, level);
    if (!ours)
        level[0] = 0;
    if (wish->json) {
        put_json(line, level);
    } else if (!ours) {
        printf("%s %s| ", line->time, line->process);
        put_text(line->text);
        putchar('\n');
    } else if (wish->colour && level[0] != 0) {
        put_colours(line, level);
    } else {
        put_text(line->text);
        putchar('\n');
    }
}

/* ---- the command ---- */

static int parse(struct wish *wish, int argc, char **argv)
{
    wish->most = LINES_DEFAULT;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "-f") == 0 || strcmp(argv[i], "--follow") == 0) {
            wish->follow = true;
        } else if (strcmp(argv[i], "--json") == 0) {
            wish->json = true;
        } else if (strcmp(argv[i], "-n") == 0) {
            char *end = NULL;
            const char *number = i + 1 < argc ? argv[++i] : "";
            wish->most = strtoul(number, &end, 10);
            if (number[0] < '0' || number[0] > '9' || *end != 0)
                return command_usage("logs", "-n wants a whole number; 0: all lines");
        } else if (argv[i][0] == '-') {
            return command_usage("logs", "unknown option %s", argv[i]);
        } else if (wish->wanted_count == WANTED_MAX) {
            return command_usage("logs", "more than %d processes", WANTED_MAX);
        } else {
            wish->wanted[wish->wanted_count++] = argv[i];
        }
    }
    return EXIT_CODE_OK;
}

/* The first word is a run, unless there is none of that name: then it is a process of the only run that goes on. */
static enum status find_run(struct wish *wish, char folder[FILE_PATH_MAX], char name[RUN_NAME_MAX])
{
    char why[1024];
    if (wish->wanted_count == 0)
        return run_folder_find(runs_root(), NULL, folder, name);
    enum status status = run_folder_find(runs_root(), wish->wanted[0], folder, name);
    if (status == STATUS_OK) {
        wish->wanted_count--;
        memmove(wish->wanted, wish->wanted + 1, wish->wanted_count * sizeof wish->wanted[0]);
        return STATUS_OK;
    }
    snprintf(why, sizeof why, "%s", error_sentence());
    size_t role = strcspn(wish->wanted[0], ".");
    static const char *const roles[] = {
        ROLE_NAME_STORE, ROLE_NAME_ACTOR, ROLE_NAME_REWARD, ROLE_NAME_LEARNER,
        ROLE_NAME_EVAL,  "redis",         "dash",           "weir"};
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
        if (strlen(roles[i]) == role && strncmp(wish->wanted[0], roles[i], role) == 0)
            return run_folder_find(runs_root(), NULL, folder, name);
    return FAIL(status, "%s", why);
}

/* Until the run has been over for a while in which no new attempt began. */
static enum status follow(const struct wish *wish, struct log_merge *merge, const char *folder)
{
    int64_t over_ns = 0;
    const struct log_line *lines;
    size_t count;
    for (;;) {
        bool over = run_folder_holder(folder, NULL) == 0;
        int64_t now_ns = clock_now_ns();
        over_ns = !over ? 0 : over_ns == 0 ? now_ns : over_ns;
        bool last = over && now_ns - over_ns > (int64_t)AGAIN_MS * CLOCK_NS_PER_MS;
        TRY(log_merge_poll(merge, 0, last, &lines, &count));
        for (size_t i = 0; i < count; i++)
            put_line(wish, &lines[i]);
        if (fflush(stdout) != 0)
            return FAIL(STATUS_IO, "standard output is gone");
        if (last)
            return STATUS_OK;
        clock_sleep_ms(FOLLOW_MS);
    }
}

int cmd_logs(int argc, char **argv)
{
    static struct wish wish;
    char folder[FILE_PATH_MAX], name[RUN_NAME_MAX], names[600];
    struct log_merge *merge = NULL;
    const struct log_line *lines;
    size_t count = 0;
    int code = parse(&wish, argc, argv);
    if (code != EXIT_CODE_OK)
        return code;
    enum status status = find_run(&wish, folder, name);
    if (status == STATUS_OK)
        status = log_merge_open(&merge, folder, wish.wanted, wish.wanted_count);
    if (status == STATUS_OK && log_merge_sources(merge) == 0 && !wish.follow) {
        log_merge_names(merge, names, sizeof names);
        status = FAIL(STATUS_INVALID, "run %s has no log of %s; it has those of:%s", name,
                      wish.wanted_count > 0 ? wish.wanted[0] : "any process", names);
    }
    wish.colour = isatty(STDOUT_FILENO) == 1 && !wish.json && getenv("NO_COLOR") == NULL;
    if (status == STATUS_OK)
        status = log_merge_poll(merge, wish.most, !wish.follow, &lines, &count);
    for (size_t i = 0; i < count && status == STATUS_OK; i++)
        put_line(&wish, &lines[i]);
    if (status == STATUS_OK && wish.follow)
        status = follow(&wish, merge, folder);
    if (status == STATUS_OK && wish.follow)
        fprintf(stderr, "weir logs: run %s is over\n", name);
    log_merge_close(&merge);
    return status == STATUS_OK ? EXIT_CODE_OK : command_refused("logs", status);
}
