/* weir why and status: where a run stands and what it waits for, also when the store cannot say it. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/wait.h"
#include "ops/cmd.h"
#include "ops/eval_table.h"
#include "ops/json_text.h"
#include "ops/process_table.h"
#include "ops/processes.h"
#include "ops/run_list.h"
#include "ops/store_query.h"
#include "ops/why.h"

enum { ASK_MS = 1500, SLICE_MS = 50, ALARMS_SHOWN = 5, EVALUATIONS_SHOWN = 8 };

struct look {
    struct known_run known;
    bool json;
    json_t *table;     /* NULL: the supervisor has not written one yet */
    json_t *answer;    /* of the store; NULL: none */
    char trouble[600]; /* why there is none; "" */
};

static int parse(const char *name, int argc, char **argv, struct look *look)
{
    const char *run = NULL;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            look->json = true;
        else if (argv[i][0] == '-' || run != NULL)
            return command_usage(name, "unexpected argument %s", argv[i]);
        else
            run = argv[i];
    }
    enum status status = known_run_find(&look->known, run);
    return status == STATUS_OK ? EXIT_CODE_OK : command_failed(name, status);
}

static void read_table(struct look *look)
{
    json_decref(look->table);
    look->table = NULL;
    if (process_table_read_all(look->known.folder, &look->table) != STATUS_OK)
        look->table = NULL; /* a young run, or a disk in trouble: the store may still answer */
}

static void see_trouble(struct look *look)
{
    const char *trouble = look->table != NULL ? process_table_store_trouble(look->table) : NULL;
    if (trouble != NULL)
        snprintf(look->trouble, sizeof look->trouble, "%s", trouble);
}

/* Looks at the store's process while it waits: one that is stopped now will not answer. */
static enum status ask_until_trouble(struct look *look, const char *question, struct buffer *json)
{
    struct store_query *query = NULL;
    TRY(store_query_open(&query, look->known.endpoint, look->known.name, look->known.keys));
    struct wait wait = wait_begin(question, "store", ASK_MS);
    enum status status = STATUS_AGAIN;
    bool sent = false;
    while (status == STATUS_AGAIN && look->trouble[0] == 0 && wait_left_ms(&wait) > 0) {
        if (!sent)
            sent = store_query_start(query, question, "{}") == STATUS_OK;
        status = store_query_take(query, wait_slice_ms(&wait, SLICE_MS), json);
        if (status == STATUS_AGAIN) {
            read_table(look);
            see_trouble(look);
        }
    }
    enum status ended = wait_end(&wait, true);
    store_query_close(&query);
    return status != STATUS_OK ? status : ended;
}

/* A store that is stopped or gone is not waited for. */
static void ask(struct look *look, const char *question)
{
    struct buffer json;
    read_table(look);
    see_trouble(look);
    if (look->trouble[0] != 0)
        return;
    buffer_init(&json, 0);
    enum status status = ask_until_trouble(look, question, &json);
    if (status == STATUS_OK)
        look->answer = json_loadb((const char *)json.bytes, json.size, JSON_DECODE_ANY, NULL);
    buffer_free(&json);
    if (look->answer != NULL)
        return;
    char sentence[500];
    snprintf(sentence, sizeof sentence, "%s",
             status == STATUS_OK ? "its answer is not JSON" : error_sentence());
    if (look->trouble[0] == 0)
        snprintf(look->trouble, sizeof look->trouble, "%s%s",
                 status == STATUS_INVALID ? "" : "it does not answer: ", sentence);
}

static enum status print_json(const json_t *value, bool as_json)
{
    struct buffer text;
    if (as_json)
        return json_dumpf(value, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF
                   ? STATUS_OK
                   : FAIL(STATUS_IO, "stdout");
    buffer_init(&text, 0);
    enum status status = json_text(value, &text);
    if (status == STATUS_OK)
        fputs(buffer_string(&text), stdout);
    buffer_free(&text);
    return status;
}

static void release(struct look *look)
{
    json_decref(look->table);
    json_decref(look->answer);
}

/* ---- why ---- */

static bool is_stopped(pid_t pid)
{
    return process_state(pid) == 'T';
}

static enum status say_why(const struct look *look)
{
    struct why_case why = {.run = look->known.name,
                           .answer = look->answer,
                           .trouble = look->trouble[0] != 0 ? look->trouble : NULL,
                           .table = look->table,
                           .stopped_ms = (int64_t)look->known.stopped_s * 1000,
                           .supervisor_stopped = is_stopped(look->known.supervisor),
                           .supervisor = (long)look->known.supervisor};
    json_t *merged = why_merge(&why);
    struct buffer text;
    enum status status = STATUS_OK;
    buffer_init(&text, 0);
    if (look->json) {
        status = print_json(merged, true);
    } else {
        status = why_text(merged, &text);
        if (status == STATUS_OK)
            fputs(buffer_string(&text), stdout);
    }
    buffer_free(&text);
    json_decref(merged);
    return status;
}

int cmd_why(int argc, char **argv)
{
    struct look look = {0};
    int code = parse("why", argc, argv, &look);
    if (code != EXIT_CODE_OK)
        return code;
    if (look.known.supervisor == 0)
        return command_over(&look.known, look.json);
    ask(&look, "why");
    enum status status = say_why(&look);
    release(&look);
    return status == STATUS_OK ? EXIT_CODE_OK : command_failed("why", status);
}

/* ---- status ---- */

static json_int_t count_present(const json_t *answer, const char *role)
{
    json_int_t count = 0;
    size_t i;
    const json_t *peer;
    json_array_foreach(json_object_get(answer, "peers"), i, peer)
    {
        const char *is = json_string_value(json_object_get(peer, "role"));
        count += is != NULL && strcmp(is, role) == 0 &&
                 !json_is_false(json_object_get(peer, "connected"));
    }
    return count;
}

/* How many workers are wanted here and how many are there, with those of other machines. */
static json_t *fleet_of(const struct look *look)
{
    static const struct {
        const char *scaled, *role;
    } rows[] = {{"actors", ROLE_NAME_ACTOR}, {"reward_workers", ROLE_NAME_REWARD}};
    json_t *fleet = json_object();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_int_t wanted = json_integer_value(
            json_object_get(json_object_get(look->table, "wanted"), rows[i].scaled));
        json_t *row = json_pack("{s:I}", "wanted", wanted);
        if (look->answer != NULL)
            json_object_set_new(row, "present",
                                json_integer(count_present(look->answer, rows[i].role)));
        json_object_set_new(fleet, rows[i].scaled, row);
    }
    json_object_set(fleet, "processes", json_object_get(look->table, "processes"));
    return fleet;
}

/* The newest alarms of the run, oldest first; NULL: there are none, or the store does not say. */
static json_t *alarms_of(const struct look *look)
{
    struct buffer json;
    json_t *answer = NULL, *alarms = json_array(), *event;
    size_t i;
    buffer_init(&json, 0);
    if (known_run_ask(&look->known, "events", "{\"n\":1000}", &json) == STATUS_OK)
        answer = json_loadb((const char *)json.bytes, json.size, JSON_DECODE_ANY, NULL);
    json_array_foreach(json_object_get(answer, "events"), i, event)
    {
        const char *kind = json_string_value(json_object_get(event, "kind"));
        if (kind == NULL || strcmp(kind, "alarm") != 0)
            continue;
        json_array_append(alarms, event);
        if (json_array_size(alarms) > ALARMS_SHOWN)
            json_array_remove(alarms, 0);
    }
    buffer_free(&json);
    json_decref(answer);
    if (json_array_size(alarms) > 0)
        return alarms;
    json_decref(alarms);
    return NULL;
}

/* The newest rows of the run's evaluations; NULL: there are none. */
static json_t *evaluations_of(const struct look *look)
{
    json_t *rows = NULL;
    if (eval_table_read(look->known.folder, &rows) != STATUS_OK)
        return NULL;
    while (json_array_size(rows) > EVALUATIONS_SHOWN)
        json_array_remove(rows, 0);
    if (json_array_size(rows) > 0)
        return rows;
    json_decref(rows);
    return NULL;
}

static void print_evaluations(const json_t *rows)
{
    struct buffer text;
    buffer_init(&text, 0);
    if (eval_table_text(rows, 0, &text) == STATUS_OK)
        printf("evaluations\n%s", buffer_string(&text));
    buffer_free(&text);
}

/* First line of a small file of the run; NULL: there is none. */
static json_t *file_line(const char *folder, const char *file)
{
    char path[FILE_PATH_MAX];
    struct buffer text;
    json_t *line = NULL;
    buffer_init(&text, FILE_PATH_MAX);
    if (file_path(path, "%s/%s", folder, file) == STATUS_OK &&
        file_read(path, &text) == STATUS_OK && text.size > 0) {
        size_t size = strcspn(buffer_string(&text), "\r\n");
        line = json_stringn((const char *)text.bytes, size);
    }
    buffer_free(&text);
    return line;
}

/* The main figures of the last step. */
static json_t *latest_of(const struct look *look)
{
    static const char *const names[] = {
        "step",          "reward/mean",         "len/mean",        "len/p99",
        "entropy/mean",  "cispo/clip_frac",     "optim/grad_norm", "mismatch/max_abs_dlogprob",
        "stale/mean",    "group/zero_std_frac", "perf/tok_s",      "time/step",
        "learner/wait_s"};
    json_t *last = run_list_last_step(look->known.folder), *figures = json_object();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (json_object_get(last, names[i]) != NULL)
            json_object_set(figures, names[i], json_object_get(last, names[i]));
    json_decref(last);
    return figures;
}

/* What the folder says stands above what the store says. */
static json_t *head_of(const struct look *look)
{
    char whole[PATH_MAX];
    const char *folder = look->known.folder;
    json_t *head = json_pack("{s:s,s:s,s:s}", "run", look->known.name, "state", look->known.state,
                             "folder", realpath(folder, whole) != NULL ? whole : folder);
    json_t *dash = file_line(folder, "dash.url");
    if (dash != NULL)
        json_object_set_new(head, "dash", dash);
    json_object_set_new(head, "latest", latest_of(look));
    if (look->answer != NULL)
        json_object_update(head, look->answer);
    else
        json_object_set_new(head, "store", json_string(look->trouble));
    return head;
}

int cmd_status(int argc, char **argv)
{
    struct look look = {0};
    int code = parse("status", argc, argv, &look);
    if (code != EXIT_CODE_OK)
        return code;
    if (look.known.supervisor == 0)
        return command_over(&look.known, look.json);
    ask(&look, "status");
    json_t *shown = head_of(&look);
    if (look.table != NULL)
        json_object_set_new(shown, "fleet", fleet_of(&look));
    json_t *alarms = look.answer != NULL ? alarms_of(&look) : NULL;
    if (alarms != NULL)
        json_object_set_new(shown, "alarms", alarms);
    json_t *evaluations = evaluations_of(&look);
    if (evaluations != NULL && look.json)
        json_object_set(shown, "evaluations", evaluations);
    enum status status = print_json(shown, look.json);
    if (evaluations != NULL && !look.json)
        print_evaluations(evaluations);
    json_decref(evaluations);
    json_decref(shown);
    if (status == STATUS_OK && look.answer == NULL) {
        fprintf(stderr, "weir status: the store of run %s cannot be asked: %s; see `weir why`\n",
                look.known.name, look.trouble);
        code = EXIT_CODE_PEER;
    }
    release(&look);
    return status == STATUS_OK ? code : command_failed("status", status);
}
