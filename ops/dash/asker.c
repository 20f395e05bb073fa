#include "ops/dash/asker.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/queue.h"
#include "core/wait.h"
#include "ops/dash/dash.h"
#include "ops/dash/rollout_tokens.h"
#include "ops/process_table.h"
#include "ops/processes.h"
#include "ops/run_folder.h"
#include "ops/scale_file.h"
#include "ops/store_query.h"
#include "ops/why.h"

enum { SLICE_MS = 50, IDLE_MS = 200 };

struct asker {
    struct dash *dash;
    pthread_t thread;
    struct queue *queue; /* of struct asker_job */
    struct store_query *query;
    struct rollout_reader reader;
    struct buffer why; /* the last answer */
    int64_t why_ns;
    atomic_bool closing;
};

static enum status refuse(struct asker_job *job, unsigned http_status, const char *sentence)
{
    job->http_status = http_status;
    buffer_clear(&job->answer);
    TRY(buffer_text(&job->answer, "{\"error\":"));
    TRY(buffer_json_text(&job->answer, sentence));
    return buffer_text(&job->answer, "}");
}

static bool is_over(const struct asker *asker)
{
    return run_folder_holder(asker->dash->folder, NULL) == 0;
}

/* ---- the store ---- */

/* Stops waiting when its process turns out to be stopped or dead. */
static enum status ask_store(struct asker *asker, const char *question, const char *arguments,
                             struct buffer *json)
{
    const struct dash *dash = asker->dash;
    if (asker->query == NULL)
        TRY(store_query_open(&asker->query, dash->endpoint, dash->run,
                             dash->program->settings.run.keys));
    struct wait wait = wait_begin(question, "store", ASKER_ASK_MS);
    enum status status = STATUS_AGAIN;
    bool sent = false;
    while (status == STATUS_AGAIN && wait_left_ms(&wait) > 0 && !atomic_load(&asker->closing)) {
        if (!sent)
            sent = store_query_start(asker->query, question, arguments) == STATUS_OK;
        status = store_query_take(asker->query, wait_slice_ms(&wait, SLICE_MS), json);
    }
    enum status ended = wait_end(&wait, true);
    if (status != STATUS_AGAIN)
        return status != STATUS_OK ? status : ended;
    store_query_close(&asker->query);
    return FAIL(STATUS_TIMEOUT, "the store gave no answer to %s in %d ms", question, ASKER_ASK_MS);
}

/* ---- why ---- */

static enum status write_merged(const json_t *merged, struct buffer *out)
{
    size_t size = merged != NULL ? json_dumpb(merged, NULL, 0, BOARD_JSON) : 0;
    if (size == 0)
        return FAIL(STATUS_NO_MEMORY, "the answer to why");
    TRY(buffer_reserve(out, size));
    out->size += json_dumpb(merged, (char *)out->bytes + out->size, size, BOARD_JSON);
    return STATUS_OK;
}

static enum status make_why(struct asker *asker)
{
    const struct dash *dash = asker->dash;
    struct buffer json;
    json_t *table = NULL, *answer = NULL;
    char trouble[600] = "";
    pid_t supervisor = run_folder_holder(dash->folder, NULL);
    buffer_init(&json, 0);
    if (process_table_read_all(dash->folder, &table) != STATUS_OK)
        table = NULL;
    const char *sick = table != NULL ? process_table_store_trouble(table) : NULL;
    if (sick != NULL)
        snprintf(trouble, sizeof trouble, "%s", sick);
    else if (ask_store(asker, "why", "{}", &json) == STATUS_OK)
        answer = json_loadb((const char *)json.bytes, json.size, JSON_DECODE_ANY, NULL);
    if (answer == NULL && trouble[0] == 0)
        snprintf(trouble, sizeof trouble, "it does not answer: %.500s",
                 status_sentence(status_last_error()));
    struct why_case why = {.run = dash->run,
                           .answer = answer,
                           .trouble = trouble[0] != 0 ? trouble : NULL,
                           .table = table,
                           .stopped_ms = (int64_t)dash->program->settings.run.stopped_s * 1000,
                           .supervisor_stopped = supervisor > 0 && process_state(supervisor) == 'T',
                           .supervisor = (long)supervisor};
    json_t *merged = why_merge(&why);
    buffer_clear(&asker->why);
    enum status status = write_merged(merged, &asker->why);
    json_decref(merged);
    json_decref(answer);
    json_decref(table);
    buffer_free(&json);
    asker->why_ns = clock_now_ns();
    return status;
}

static enum status answer_why(struct asker *asker, struct asker_job *job)
{
    job->http_status = 200;
    if (is_over(asker)) {
        TRY(buffer_text(&job->answer, "{\"run\":"));
        TRY(buffer_json_text(&job->answer, asker->dash->run));
        return buffer_text(&job->answer,
                           ",\"because\":\"the run is over\",\"store\":\"gone with the "
                           "run\",\"waits\":[],\"sick\":[],\"fleet\":[]}");
    }
    if (asker->why.size == 0 ||
        clock_now_ns() - asker->why_ns > (int64_t)ASKER_KEEP_MS * CLOCK_NS_PER_MS)
        TRY(make_why(asker));
    return buffer_append(&job->answer, asker->why.bytes, asker->why.size);
}

/* ---- drain and scale ---- */

static enum status hand_over(struct asker *asker, struct asker_job *job, struct scale_wish *wish)
{
    json_t *table = NULL;
    uint64_t applied = process_table_read(asker->dash->folder, &table) == STATUS_OK
                           ? process_table_applied(table)
                           : 0;
    json_decref(table);
    TRY(scale_file_add(asker->dash->folder, applied, wish));
    job->http_status = 202;
    return buffer_printf(&job->answer, "{\"asked\":true,\"request\":%llu}",
                         (unsigned long long)wish->request);
}

static enum status drain_by_store(struct asker *asker, struct asker_job *job)
{
    char arguments[160] = "{}";
    if (job->process[0] != 0)
        snprintf(arguments, sizeof arguments, "{\"process\":\"%.63s\"}", job->process);
    TRY(ask_store(asker, "drain", arguments, &job->answer));
    job->http_status = 202;
    return STATUS_OK;
}

static enum status answer_drain(struct asker *asker, struct asker_job *job)
{
    static struct scale_wish wish; /* large; of the one asking thread */
    json_t *table = NULL;
    if (job->process[0] == 0)
        return drain_by_store(asker, job);
    enum status status = process_table_read(asker->dash->folder, &table);
    const json_t *row = status == STATUS_OK ? process_table_find(table, job->process) : NULL;
    const char *state = json_string_value(json_object_get(row, "state"));
    bool ours = row != NULL, out = state != NULL && strcmp(state, "out") == 0;
    json_decref(table);
    if (!ours)
        return drain_by_store(asker, job);
    if (out) {
        job->http_status = 200;
        return buffer_text(&job->answer, "{\"asked\":false,\"why\":\"it is out already\"}");
    }
    wish = (struct scale_wish){.actors = SCALE_AS_IT_IS, .reward_workers = SCALE_AS_IT_IS};
    snprintf(wish.drain[wish.drain_count++], PROCESS_NAME_MAX, "%.31s", job->process);
    return hand_over(asker, job, &wish);
}

static enum status answer_scale(struct asker *asker, struct asker_job *job)
{
    static struct scale_wish wish;
    wish = (struct scale_wish){.actors = job->actors, .reward_workers = job->reward_workers};
    return hand_over(asker, job, &wish);
}

/* ---- a rollout ---- */

/* What the step file says stands instead of the number of tokens. */
static enum status join(struct buffer *answer, const struct buffer *tokens)
{
    json_t *whole = json_loadb((const char *)answer->bytes, answer->size, 0, NULL);
    json_object_del(whole, "tokens");
    buffer_clear(answer);
    enum status status = write_merged(whole, answer);
    json_decref(whole);
    TRY(status);
    answer->size--; /* the brace */
    TRY(buffer_append(answer, tokens->bytes, tokens->size));
    return buffer_text(answer, "}");
}

static enum status answer_rollout_job(struct asker *asker, struct asker_job *job)
{
    struct buffer tokens;
    buffer_init(&tokens, 0);
    enum status status = rollout_tokens_json(&asker->reader, job->group, job->sample,
                                             job->known ? &job->from_step : NULL, &tokens);
    if (status == STATUS_OK)
        status = join(&job->answer, &tokens);
    else if (job->known) /* not trained yet, or its file has gone */
        status = STATUS_OK;
    buffer_free(&tokens);
    job->http_status = 200;
    return status;
}

/* ---- the thread ---- */

static void answer(struct asker *asker, struct asker_job *job)
{
    enum status status;
    if (atomic_load(&asker->closing))
        status = refuse(job, 503, "the dashboard is closing");
    else if (job->kind == ASKER_WHY)
        status = answer_why(asker, job);
    else if (job->kind == ASKER_ROLLOUT)
        status = answer_rollout_job(asker, job);
    else if (is_over(asker))
        status = refuse(job, 409, "the run is over: nothing can be drained or scaled");
    else
        status = job->kind == ASKER_DRAIN ? answer_drain(asker, job) : answer_scale(asker, job);
    if (status != STATUS_OK) {
        char sentence[600];
        snprintf(sentence, sizeof sentence, "%.590s", status_sentence(status_last_error()));
        unsigned code = status == STATUS_NOT_FOUND ? 404
                        : status == STATUS_TIMEOUT ? 504
                        : status == STATUS_INVALID ? 409
                                                   : 500;
        if (refuse(job, code, sentence) != STATUS_OK)
            job->http_status = 500;
    }
    job->done(job->self);
}

static void *asker_thread(void *self)
{
    struct asker *asker = self;
    for (;;) {
        void *item = NULL;
        enum status status = queue_pop(asker->queue, IDLE_MS, &item);
        if (status == STATUS_OK)
            answer(asker, item);
        else if (status == STATUS_CANCELLED)
            return NULL;
    }
}

enum status asker_start(struct asker **out, struct dash *dash)
{
    struct asker *asker = memory_alloc(sizeof *asker);
    if (asker == NULL)
        return FAIL(STATUS_NO_MEMORY, "the dashboard's questions");
    asker->dash = dash;
    buffer_init(&asker->why, 0);
    asker->reader =
        (struct rollout_reader){.settings = &dash->program->settings, .folder = dash->folder};
    enum status status = queue_create(&asker->queue, "questions", ASKER_WAITING_MAX);
    if (status == STATUS_OK && pthread_create(&asker->thread, NULL, asker_thread, asker) != 0)
        status = FAIL(STATUS_NO_MEMORY, "a thread for the dashboard's questions");
    if (status != STATUS_OK) {
        queue_destroy(&asker->queue);
        memory_free(asker);
        return status;
    }
    *out = asker;
    return STATUS_OK;
}

enum status asker_push(struct asker *asker, struct asker_job *job)
{
    return queue_push(asker->queue, job);
}

void asker_close(struct asker *asker)
{
    if (asker == NULL || atomic_exchange(&asker->closing, true))
        return;
    queue_close(asker->queue);
    CHECK(pthread_join(asker->thread, NULL) == 0);
}

void asker_free(struct asker **pointer)
{
    struct asker *asker = *pointer;
    if (asker == NULL)
        return;
    asker_close(asker);
    queue_destroy(&asker->queue);
    store_query_close(&asker->query);
    rollout_reader_close(&asker->reader);
    buffer_free(&asker->why);
    memory_free(asker);
    *pointer = NULL;
}
