/* weir scale and drain: how many workers a run has, and one that is to leave.
 *
 * The supervisor of the run does it (ops/scale_file.h, ops/fleet.h); a process of another machine is drained by
 * the store alone. Both commands wait until it is done, with a deadline. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/wait.h"
#include "ops/cmd.h"
#include "ops/process_table.h"
#include "ops/scale_file.h"
#include "ops/store_query.h"

enum { PAUSE_MS = 50, SAY_MS = 2000, START_MS = 60000, LEAVE_EXTRA_MS = 10000, LIST_MAX = 400 };

struct request {
    const char *name; /* of the command */
    struct known_run known;
    bool no_wait;
    const char *process; /* drain: which; NULL: the run */
    struct scale_wish wish;
};

/* ---- arguments ---- */

/* "actor.3": a role and an index. */
static bool is_process(const char *text)
{
    static const char *const roles[] = {ROLE_NAME_ACTOR, ROLE_NAME_REWARD, ROLE_NAME_LEARNER,
                                        ROLE_NAME_STORE};
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        size_t size = strlen(roles[i]);
        if (strncmp(text, roles[i], size) != 0 || text[size] != '.')
            continue;
        const char *number = text + size + 1;
        return number[0] != 0 && strspn(number, "0123456789") == strlen(number) &&
               strlen(number) < 10;
    }
    return false;
}

static int take_count(const char *text, const char *key, int most, int *count)
{
    const char *number = text + strlen(key) + 1;
    char *end;
    long value = strtol(number, &end, 10);
    if (number[0] < '0' || number[0] > '9' || *end != 0 || value > most)
        return command_usage("scale", "%s: %s takes a whole number from 0 to %d", text, key, most);
    *count = (int)value;
    return EXIT_CODE_OK;
}

static int take_setting(const char *text, struct scale_wish *wish)
{
    if (strncmp(text, "actors=", 7) == 0)
        return take_count(text, "actors", SCALE_ACTORS_MAX, &wish->actors);
    if (strncmp(text, "reward_workers=", 15) == 0)
        return take_count(text, "reward_workers", SCALE_REWARD_WORKERS_MAX, &wish->reward_workers);
    return command_usage("scale", "%s cannot be scaled: actors=N and reward_workers=M can", text);
}

static int parse(struct request *request, int argc, char **argv)
{
    const char *run = NULL;
    bool scale = strcmp(request->name, "scale") == 0;
    int code = EXIT_CODE_OK;
    request->wish = (struct scale_wish){.actors = SCALE_AS_IT_IS, .reward_workers = SCALE_AS_IT_IS};
    for (int i = 0; i < argc && code == EXIT_CODE_OK; i++) {
        if (strcmp(argv[i], "--no-wait") == 0)
            request->no_wait = true;
        else if (argv[i][0] == '-')
            code = command_usage(request->name, "unknown option %s", argv[i]);
        else if (scale && strchr(argv[i], '=') != NULL)
            code = take_setting(argv[i], &request->wish);
        else if (!scale && request->process == NULL && is_process(argv[i]))
            request->process = argv[i];
        else if (run != NULL)
            code = command_usage(request->name, "unexpected argument %s", argv[i]);
        else
            run = argv[i];
    }
    if (code != EXIT_CODE_OK)
        return code;
    if (scale && request->wish.actors == SCALE_AS_IT_IS &&
        request->wish.reward_workers == SCALE_AS_IT_IS)
        return command_usage("scale", "say how many: actors=N, reward_workers=M");
    enum status status = known_run_find(&request->known, run);
    return status == STATUS_OK ? EXIT_CODE_OK : command_failed(request->name, status);
}

/* ---- the store alone ---- */

static int ask_store(const struct request *request, const char *arguments)
{
    struct buffer json;
    buffer_init(&json, 0);
    enum status status = known_run_ask(&request->known, "drain", arguments, &json);
    if (status == STATUS_OK)
        printf("%s\n", buffer_string(&json));
    buffer_free(&json);
    return status == STATUS_OK ? EXIT_CODE_OK : command_failed(request->name, status);
}

static int drain_elsewhere(const struct request *request)
{
    char arguments[128];
    snprintf(arguments, sizeof arguments, "{\"process\":\"%s\"}", request->process);
    int code = ask_store(request, arguments);
    if (code == EXIT_CODE_OK)
        printf("%s is not of this machine: the store has told it to leave, and its own supervisor "
               "sees to the rest\n",
               request->process);
    return code;
}

/* ---- waiting until it is done ---- */

static bool is_one_of(const char *text, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, list[i]) == 0)
            return true;
    return false;
}

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text != NULL ? text : "";
}

/* Appends the processes that are not where they shall be: " actor.3 (joining)". */
static bool is_done(const json_t *table, uint64_t request, char list[LIST_MAX])
{
    static const char *const settled[] = {"running", "out", "ended"};
    list[0] = 0;
    if (process_table_applied(table) < request) {
        snprintf(list, LIST_MAX, " the supervisor");
        return false;
    }
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(table, "processes"), i, row)
    {
        const char *name = text_of(row, "name"), *state = text_of(row, "state");
        bool worker = strncmp(name, ROLE_NAME_ACTOR ".", sizeof ROLE_NAME_ACTOR) == 0 ||
                      strncmp(name, ROLE_NAME_REWARD ".", sizeof ROLE_NAME_REWARD) == 0;
        size_t used = strlen(list);
        if (worker && !is_one_of(state, settled, sizeof settled / sizeof settled[0]))
            snprintf(list + used, LIST_MAX - used, " %s (%s)", name, state);
    }
    return list[0] == 0;
}

static void print_result(const json_t *table)
{
    static const char *const out[] = {"out"};
    const json_t *wanted = json_object_get(table, "wanted");
    size_t i;
    const json_t *row;
    printf("actors %lld, reward workers %lld;",
           (long long)json_integer_value(json_object_get(wanted, "actors")),
           (long long)json_integer_value(json_object_get(wanted, "reward_workers")));
    json_array_foreach(json_object_get(table, "processes"), i,
                       row) if (!is_one_of(text_of(row, "state"), out, 1))
        printf(" %s", text_of(row, "name"));
    printf("\n");
    if (json_integer_value(json_object_get(wanted, "actors")) == 0)
        printf("no actor of this machine is left: without actors elsewhere the run waits\n");
}

/* The end of a run does what a drain wanted, but not what a scale did. */
static int ended_first(const struct request *request)
{
    if (request->process != NULL)
        return say_run_over(&request->known);
    fprintf(stderr, "weir scale: run %s ended before it was done\n", request->known.name);
    return EXIT_CODE_FAILED;
}

static int wait_done(const struct request *request)
{
    char list[LIST_MAX] = "";
    int64_t say_at_ns = clock_now_ns() + (int64_t)SAY_MS * CLOCK_NS_PER_MS;
    struct wait wait =
        wait_begin(request->name, request->known.name,
                   START_MS + LEAVE_EXTRA_MS + (int64_t)request->known.drain_s * 1000);
    json_t *table = NULL;
    bool done = false, over = false;
    while (!done && !over && wait_left_ms(&wait) > 0) {
        clock_sleep_ms(PAUSE_MS);
        over = run_folder_holder(request->known.folder, NULL) == 0;
        json_decref(table);
        table = NULL;
        if (process_table_read(request->known.folder, &table) != STATUS_OK)
            continue;
        done = is_done(table, request->wish.request, list);
        if (!done && clock_now_ns() >= say_at_ns) {
            printf("waiting for%s\n", list);
            fflush(stdout);
            say_at_ns += (int64_t)SAY_MS * CLOCK_NS_PER_MS;
        }
    }
    enum status status = wait_end(&wait, done || over);
    if (done)
        print_result(table);
    json_decref(table);
    if (over && !done)
        return ended_first(request);
    if (status != STATUS_OK)
        fprintf(stderr,
                "weir %s: not done in time, still missing:%s; it goes on, see `weir "
                "status`\n",
                request->name, list);
    return status == STATUS_OK ? EXIT_CODE_OK : program_exit_code(status);
}

static int hand_over(struct request *request)
{
    json_t *table = NULL;
    uint64_t applied = process_table_read(request->known.folder, &table) == STATUS_OK
                           ? process_table_applied(table)
                           : 0;
    json_decref(table);
    enum status status = scale_file_add(request->known.folder, applied, &request->wish);
    if (status != STATUS_OK)
        return command_failed(request->name, status);
    if (request->no_wait) {
        printf("asked; see `weir status %s`\n", request->known.name);
        return EXIT_CODE_OK;
    }
    return wait_done(request);
}

/* ---- commands ---- */

int cmd_scale(int argc, char **argv)
{
    static struct request request = {.name = "scale"};
    int code = parse(&request, argc, argv);
    if (code != EXIT_CODE_OK)
        return code;
    if (strcmp(request.known.state, "draining") == 0 && request.known.supervisor != 0) {
        fprintf(stderr,
                "weir scale: run %s is draining: nothing is started or drained for it any more; "
                "`weir resume %s run.actors=N` goes on with it afterwards\n",
                request.known.name, request.known.name);
        return EXIT_CODE_FAILED;
    }
    if (request.known.supervisor != 0)
        return hand_over(&request);
    fprintf(stderr, "weir scale: run %s is over\n", request.known.name);
    return EXIT_CODE_FAILED;
}

static int drain_one(struct request *request)
{
    json_t *table = NULL;
    bool worker = strncmp(request->process, ROLE_NAME_ACTOR ".", sizeof ROLE_NAME_ACTOR) == 0 ||
                  strncmp(request->process, ROLE_NAME_REWARD ".", sizeof ROLE_NAME_REWARD) == 0;
    if (!worker)
        return command_usage("drain",
                             "%s cannot leave alone, the run would wait for it: `weir drain %s` "
                             "drains the whole run",
                             request->process, request->known.name);
    enum status status = process_table_read(request->known.folder, &table);
    const json_t *row = status == STATUS_OK ? process_table_find(table, request->process) : NULL;
    bool ours = row != NULL, out = ours && strcmp(text_of(row, "state"), "out") == 0;
    json_decref(table);
    if (!ours)
        return drain_elsewhere(request);
    if (out) {
        printf("%s is out already\n", request->process);
        return EXIT_CODE_OK;
    }
    snprintf(request->wish.drain[request->wish.drain_count++], PROCESS_NAME_MAX, "%s",
             request->process);
    return hand_over(request);
}

int cmd_drain(int argc, char **argv)
{
    static struct request request = {.name = "drain"};
    int code = parse(&request, argc, argv);
    if (code != EXIT_CODE_OK)
        return code;
    if (request.known.supervisor == 0)
        return say_run_over(&request.known);
    return request.process != NULL ? drain_one(&request) : ask_store(&request, "{}");
}
