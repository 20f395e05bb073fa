/* weir tail: the latest rollouts, from the store of a run. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "ops/cmd.h"
#include "ops/json_text.h"
#include "ops/run_list.h"
#include "ops/screen.h"
#include "ops/store_query.h"

enum { FOLLOW_PAUSE_MS = 1000, TAIL_DEFAULT = 5, TAIL_MAX = 10000, SILENT_SAID = 5 };

/* ---- one question ---- */

struct query_options {
    const char *run;
    bool json, follow;
    uint64_t count, group;
    bool has_group;
};

static bool parse_number(const char *text, uint64_t *value)
{
    char *end;
    *value = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == 0;
}

static int parse(const char *name, int argc, char **argv, struct query_options *options)
{
    bool tail = strcmp(name, "tail") == 0;
    for (int i = 0; i < argc; i++) {
        bool count = tail && strcmp(argv[i], "-n") == 0;
        bool group = tail && strcmp(argv[i], "--group") == 0;
        if (count || group) {
            uint64_t *value = count ? &options->count : &options->group;
            if (i + 1 == argc || !parse_number(argv[i + 1], value))
                return command_usage(name, "%s wants a whole number", argv[i]);
            options->has_group |= group;
            i++;
        } else if (strcmp(argv[i], "--json") == 0) {
            options->json = true;
        } else if (tail && strcmp(argv[i], "--follow") == 0) {
            options->follow = true;
        } else if (argv[i][0] == '-' || options->run != NULL) {
            return command_usage(name, "unexpected argument %s", argv[i]);
        } else {
            options->run = argv[i];
        }
    }
    if (tail && (options->count == 0 || options->count > TAIL_MAX))
        return command_usage(name, "-n takes 1 to %d", TAIL_MAX);
    return EXIT_CODE_OK;
}

/* After the end the store is gone; what is left is on disk. */
int say_run_over(const struct known_run *known)
{
    struct buffer text;
    json_t *last = run_list_last_step(known->folder);
    buffer_init(&text, 0);
    if (last != NULL && step_line(last, known->steps, &text) == STATUS_OK)
        printf("%s\n", buffer_string(&text));
    printf("run %s is over: metrics in %s/metrics.jsonl, logs in %s/logs/latest; go on with weir "
           "resume %s\n",
           known->name, known->folder, known->folder, known->name);
    json_decref(last);
    buffer_free(&text);
    return EXIT_CODE_OK;
}

int command_over(const struct known_run *known, bool json)
{
    if (!json)
        return say_run_over(known);
    json_t *row = run_list_row(known->folder, known->name),
           *last = run_list_last_step(known->folder);
    if (last != NULL)
        json_object_set(row, "latest", last);
    json_dumpf(row, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(last);
    json_decref(row);
    return EXIT_CODE_OK;
}

static enum status show(const struct buffer *json, bool as_json)
{
    if (as_json) {
        printf("%.*s\n", (int)json->size, (const char *)json->bytes);
        return STATUS_OK;
    }
    json_error_t error;
    json_t *value = json_loadb((const char *)json->bytes, json->size, JSON_DECODE_ANY, &error);
    if (value == NULL)
        return FAIL(STATUS_CORRUPT, "the store's answer is not JSON: %s", error.text);
    struct buffer text;
    buffer_init(&text, 0);
    enum status status = json_text(value, &text);
    if (status == STATUS_OK)
        fputs(buffer_string(&text), stdout);
    buffer_free(&text);
    json_decref(value);
    return status;
}

/* ---- tail ---- */

/* Names of a rollout's long texts, in the order of reading. */
static const char *const text_keys[] = {"prompt", "text", "response", "completion"};

static bool is_text_key(const char *key)
{
    for (size_t i = 0; i < sizeof text_keys / sizeof text_keys[0]; i++)
        if (strcmp(key, text_keys[i]) == 0)
            return true;
    return false;
}

static enum status rollout_text(const json_t *rollout, struct buffer *text)
{
    const char *key;
    json_t *value;
    TRY(buffer_text(text, "---"));
    json_object_foreach((json_t *)(uintptr_t)rollout, key, value)
    {
        if (is_text_key(key))
            continue;
        TRY(buffer_printf(text, " %s ", key));
        TRY(json_text_scalar(value, text));
    }
    TRY(buffer_text(text, "\n"));
    for (size_t i = 0; i < sizeof text_keys / sizeof text_keys[0]; i++) {
        const char *words = json_string_value(json_object_get(rollout, text_keys[i]));
        if (words == NULL)
            continue;
        TRY(buffer_printf(text, "%s:\n", text_keys[i]));
        TRY(json_text_block(words, "  ", text));
    }
    return STATUS_OK;
}

/* The newest options->count of the list, of one group when that is wanted. */
static json_t *choose(const json_t *list, const struct query_options *options)
{
    json_t *chosen = json_array();
    for (size_t i = json_array_size(list); i-- > 0;) {
        json_t *rollout = json_array_get(list, i);
        json_int_t group = json_integer_value(json_object_get(rollout, "group"));
        if (options->has_group && (uint64_t)group != options->group)
            continue;
        if (json_array_size(chosen) == options->count || json_array_insert(chosen, 0, rollout) != 0)
            break;
    }
    return chosen;
}

/* One rollout as it is shown: text, or one JSON object in a line. */
static enum status render(const json_t *rollout, bool json, struct buffer *text)
{
    buffer_clear(text);
    if (!json)
        return rollout_text(rollout, text);
    char *line = json_dumps(rollout, JSON_COMPACT);
    if (line == NULL)
        return FAIL(STATUS_NO_MEMORY, "a rollout as JSON");
    enum status status = buffer_printf(text, "%s\n", line);
    free(line); /* lint: allow(free): jansson's buffer */
    return status;
}

/* Prints the rollouts after *last (newest last in the list; all when *last is not in it). */
static enum status print_rollouts(const struct buffer *json, const struct query_options *options,
                                  struct buffer *last)
{
    json_error_t error;
    json_t *value = json_loadb((const char *)json->bytes, json->size, JSON_DECODE_ANY, &error);
    const json_t *answer = json_is_object(value) ? json_object_get(value, "rollouts") : value;
    json_t *list = json_is_array(answer) ? choose(answer, options) : NULL;
    struct buffer one;
    buffer_init(&one, 0);
    enum status status = STATUS_OK;
    if (!json_is_array(list))
        status = FAIL(STATUS_CORRUPT, "the store's answer is not a list of rollouts: %s",
                      value == NULL ? error.text : "another shape");
    size_t count = status == STATUS_OK ? json_array_size(list) : 0, from = count;
    while (status == STATUS_OK && from > 0) {
        status = render(json_array_get(list, from - 1), options->json, &one);
        if (one.size == last->size && last->size > 0 &&
            memcmp(one.bytes, last->bytes, one.size) == 0)
            break;
        from--;
    }
    for (; status == STATUS_OK && from < count; from++) {
        status = render(json_array_get(list, from), options->json, last);
        if (status == STATUS_OK)
            fputs(buffer_string(last), stdout);
    }
    fflush(stdout);
    buffer_free(&one);
    json_decref(list);
    json_decref(value);
    return status;
}

static int say_followed_to_the_end(const struct known_run *known, bool json)
{
    if (!json)
        return say_run_over(known);
    fprintf(stderr, "weir tail: run %s is over\n", known->name); /* stdout has rollouts alone */
    return EXIT_CODE_OK;
}

/* The store leaves before the supervisor gives up the lock, and comes back when it was killed: with --follow silence
 * is an error only of who is to blame for it. */
static bool may_come_back(enum status status)
{
    return status == STATUS_TIMEOUT || status == STATUS_NETWORK || status == STATUS_AGAIN ||
           status == STATUS_CANCELLED;
}

static int follow(const struct known_run *known, const struct query_options *options,
                  const char *arguments)
{
    struct buffer json, last;
    enum status status;
    unsigned silent = 0;
    buffer_init(&json, 0);
    buffer_init(&last, 0);
    for (;;) {
        status = known_run_ask(known, "tail", arguments, &json);
        silent = status == STATUS_OK ? 0 : silent + 1;
        if (status == STATUS_OK)
            status = print_rollouts(&json, options, &last);
        bool goes_on = run_folder_holder(known->folder, NULL) != 0;
        if (!goes_on || (status != STATUS_OK && !may_come_back(status)))
            break;
        if (silent == SILENT_SAID)
            fprintf(stderr, "weir tail: %s; trying on\n", error_sentence());
        clock_sleep_ms(FOLLOW_PAUSE_MS);
    }
    buffer_free(&json);
    buffer_free(&last);
    return status == STATUS_OK || may_come_back(status)
               ? say_followed_to_the_end(known, options->json)
               : command_failed("tail", status);
}

static int show_latest(const struct known_run *known, const struct query_options *options,
                       const char *arguments)
{
    struct buffer json, last;
    buffer_init(&json, 0);
    buffer_init(&last, 0);
    enum status status = known_run_ask(known, "tail", arguments, &json);
    if (status == STATUS_OK)
        status = options->json ? show(&json, true) : print_rollouts(&json, options, &last);
    buffer_free(&json);
    buffer_free(&last);
    return status == STATUS_OK ? EXIT_CODE_OK : command_failed("tail", status);
}

int cmd_tail(int argc, char **argv)
{
    struct query_options options = {.count = TAIL_DEFAULT};
    struct known_run known;
    if (tail_wants_step(argc, argv))
        return tail_step(argc, argv);
    int code = parse("tail", argc, argv, &options);
    if (code != EXIT_CODE_OK)
        return code;
    enum status status = known_run_find(&known, options.run);
    if (status != STATUS_OK)
        return command_failed("tail", status);
    if (known.supervisor == 0)
        return command_over(&known, options.json);
    char arguments[96];
    if (options.has_group)
        snprintf(arguments, sizeof arguments, "{\"n\":%d,\"group\":%" PRIu64 "}", TAIL_MAX,
                 options.group); /* a store that does not filter sends all it has */
    else
        snprintf(arguments, sizeof arguments, "{\"n\":%" PRIu64 "}", options.count);
    return options.follow ? follow(&known, &options, arguments)
                          : show_latest(&known, &options, arguments);
}
