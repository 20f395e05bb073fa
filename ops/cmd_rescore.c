/* weir rescore: a judge was recalibrated, so what it said of groups that no plan has yet is asked again.
 * weir hold, weir release: a data source is not drawn any more, or is again (the store's words for it are
 * "pause" and "resume"). */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/cmd.h"
#include "ops/store_query.h"

static enum status ask(const struct known_run *known, const char *command, const char *source,
                       struct buffer *answer)
{
    json_t *arguments = source != NULL ? json_pack("{s:s}", "source", source) : json_object();
    char *text = arguments != NULL ? json_dumps(arguments, JSON_COMPACT) : NULL;
    json_decref(arguments);
    if (text == NULL)
        return FAIL(STATUS_INVALID, "--source is not UTF-8");
    enum status status = known_run_ask(known, command, text, answer);
    free(text); /* lint: allow(free): jansson's buffer */
    return status;
}

static int say(const char *command, const struct buffer *answer)
{
    json_t *said = json_loadb((const char *)answer->bytes, answer->size, 0, NULL);
    json_int_t sources = json_integer_value(json_object_get(said, "sources"));
    if (strcmp(command, "rescore") != 0)
        printf("data sources %s: %" JSON_INTEGER_FORMAT "\n",
               strcmp(command, "pause") == 0 ? "held" : "drawn again", sources);
    else
        printf("%" JSON_INTEGER_FORMAT " rollouts of %" JSON_INTEGER_FORMAT
               " groups are scored again; what a plan has already stays as it is\n",
               json_integer_value(json_object_get(said, "rollouts")),
               json_integer_value(json_object_get(said, "groups")));
    json_decref(said);
    return EXIT_CODE_OK;
}

struct wish {
    const char *name; /* of the command */
    const char *word; /* for the store */
    bool needs_source;
};

/* RUN, SOURCES, or both; --source SOURCES is the same as the last of them. */
static int parse(const struct wish *wish, int argc, char **argv, const char **run,
                 const char **source)
{
    const char *words[2] = {NULL, NULL};
    int count = 0;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--source") == 0 && i + 1 < argc)
            *source = argv[++i];
        else if (argv[i][0] == '-' || count == 2)
            return command_usage(wish->name, "unexpected argument %s", argv[i]);
        else
            words[count++] = argv[i];
    }
    if (wish->needs_source && *source == NULL && count > 0)
        *source = words[--count];
    *run = count > 0 ? words[0] : NULL;
    if (count > 1)
        return command_usage(wish->name, "unexpected argument %s", words[1]);
    if (wish->needs_source && *source == NULL)
        return command_usage(wish->name, "name the data sources, as 'math*'; '*' is all of them");
    return EXIT_CODE_OK;
}

static int tell_store(const struct wish *wish, int argc, char **argv)
{
    struct known_run known;
    const char *run = NULL, *source = NULL;
    int code = parse(wish, argc, argv, &run, &source);
    if (code != EXIT_CODE_OK)
        return code;
    enum status status = known_run_find(&known, run);
    if (status != STATUS_OK)
        return command_failed(wish->name, status);
    if (known.supervisor == 0)
        return say_run_over(&known);
    struct buffer answer;
    buffer_init(&answer, 0);
    status = ask(&known, wish->word, source, &answer);
    code = status == STATUS_OK ? say(wish->word, &answer) : command_refused(wish->name, status);
    buffer_free(&answer);
    return code;
}

int cmd_rescore(int argc, char **argv)
{
    return tell_store(&(struct wish){"rescore", "rescore", false}, argc, argv);
}

int cmd_hold(int argc, char **argv)
{
    return tell_store(&(struct wish){"hold", "pause", true}, argc, argv);
}

int cmd_release(int argc, char **argv)
{
    return tell_store(&(struct wish){"release", "resume", true}, argc, argv);
}
