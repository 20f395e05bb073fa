/* ops/eval/eval_generate.c - answers: the prompts of a run's loader, the actor's engine, rows of responses.jsonl. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "actor/generate.h"
#include "core/clock.h"
#include "core/fault.h"
#include "core/log.h"
#include "core/memory.h"
#include "ops/eval/eval.h"
#include "ops/eval/responses.h"
#include "ops/jsonl.h"
#include "rollout_store/prompts.h"
#include "transport/monitor.h"

struct session {
    struct eval *eval;
    struct engine *engine, own; /* own: unless the caller has one */
    struct prompts *prompts;
    struct generate_prompt *rows; /* [count] */
    uint64_t count;
    struct responses responses;
    struct buffer text, utf8;
    int64_t start_ns, shown_ns;
};

/* ---- one answer ---- */

static const char *finish_name(enum segment_status finish)
{
    return finish == SEGMENT_LENGTH       ? "length"
           : finish == SEGMENT_REPETITION ? "repetition"
                                          : "eos";
}

static json_t *text_of(struct buffer *utf8)
{
    return json_stringn((const char *)utf8->bytes, utf8->size);
}

/* Ids are the truth; bytes that are no UTF-8 become U+FFFD, special tokens are left out: as a reward worker reads it. */
static enum status decode(struct session *session, const uint32_t *ids, uint32_t count,
                          json_t **text)
{
    buffer_clear(&session->text);
    buffer_clear(&session->utf8);
    TRY(buffer_reserve(&session->utf8, 1));
    TRY(tokenizer_decode(session->engine->tokenizer, ids, count, true, &session->text));
    TRY(text_append_utf8(&session->utf8, session->text.bytes, session->text.size));
    *text = text_of(&session->utf8);
    return *text != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "a text");
}

static double mean_logprob(const struct generated *generated)
{
    double sum = 0;
    for (uint32_t i = 0; i < generated->count; i++)
        sum += (double)generated->logprobs[i];
    return generated->count > 0 ? sum / generated->count : NAN;
}

static void add_ids(json_t *row, const struct generated *generated)
{
    json_t *ids = json_array();
    for (uint32_t i = 0; i < generated->count; i++)
        json_array_append_new(ids, json_integer((json_int_t)generated->ids[i]));
    json_object_set_new(row, "response_ids", ids);
}

/* What the data says travels along: a scorer needs nothing else. */
static enum status fill_row(struct session *session, const struct generated *generated,
                            const json_t *record, json_t *row)
{
    const struct generate_prompt *prompt = &session->rows[generated->row];
    json_t *extra = json_object_get(record, "extra"), *asked = json_object_get(record, "prompt");
    json_t *prompt_text = NULL, *response = NULL;
    char id[JSONL_ID_MAX];
    double mean = mean_logprob(generated);
    TRY(jsonl_id(extra, session->eval->key_id, id));
    json_object_set_new(row, "id", json_string(id));
    json_object_set_new(row, "index", json_integer((json_int_t)generated->row));
    json_object_set_new(row, "sample", json_integer(generated->sample));
    json_object_set_new(row, "group", json_integer((json_int_t)generated->row));
    json_object_set(row, "data_source", json_object_get(record, "data_source"));
    TRY(decode(session, prompt->ids, prompt->count, &prompt_text));
    json_object_set_new(row, "prompt", prompt_text);
    if (json_is_array(asked))
        json_object_set(row, "messages", asked);
    TRY(decode(session, generated->ids, generated->count, &response));
    json_object_set_new(row, "response", response);
    json_object_set_new(row, "tokens", json_integer(generated->count));
    json_object_set_new(row, "finish", json_string(finish_name(generated->finish)));
    json_object_set_new(row, "mean_logprob", isfinite(mean) ? json_real(mean) : json_null());
    if (session->eval->ids)
        add_ids(row, generated);
    json_object_set(row, "ground_truth", json_object_get(record, "ground_truth"));
    json_object_set(row, "row", extra);
    return STATUS_OK;
}

static enum status take_answer(void *self, const struct generated *generated)
{
    struct session *session = self;
    const struct prompt *prompt = prompts_at(session->prompts, generated->row);
    json_t *record = json_loads(prompt->record_json, 0, NULL), *row = json_object();
    enum status status =
        record != NULL && row != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "a response");
    if (status == STATUS_OK)
        status = fill_row(session, generated, record, row);
    if (status == STATUS_OK)
        status = responses_add(&session->responses, row);
    json_decref(record);
    json_decref(row);
    session->eval->made += status == STATUS_OK;
    FAULT("eval.answered");
    return status;
}

static bool is_wanted(void *self, uint64_t row, uint32_t sample)
{
    const struct session *session = self;
    return !responses_has(&session->responses, row, sample);
}

/* ---- progress ---- */

static void show_progress(struct session *session, bool end)
{
    enum { TERMINAL_MS = 500, LOG_MS = 10000 };
    bool terminal = isatty(STDERR_FILENO) != 0;
    int64_t now_ns = clock_now_ns(), pause_ms = terminal ? TERMINAL_MS : LOG_MS;
    const struct eval *eval = session->eval;
    if (eval->quiet || (!end && now_ns - session->shown_ns < pause_ms * CLOCK_NS_PER_MS))
        return;
    session->shown_ns = now_ns;
    double seconds = (double)(now_ns - session->start_ns) / CLOCK_NS_PER_S;
    uint64_t all = session->count * eval->samples, left = all - session->responses.have;
    fprintf(stderr, "%s%s%s%" PRIu64 " of %" PRIu64 " answers, %" PRIu64 " tokens, %.0f tokens/s",
            terminal ? "\r" : "", eval->name != NULL ? eval->name : "",
            eval->name != NULL ? ": " : "", session->responses.have, all, eval->tokens,
            seconds > 0 ? (double)eval->tokens / seconds : 0.0);
    if (eval->made > 0 && left > 0)
        fprintf(stderr, ", about %.0f s left", seconds / (double)eval->made * (double)left);
    fputs(terminal && !end ? "   " : "\n", stderr);
}

static void note_progress(void *self, uint64_t tokens)
{
    struct session *session = self;
    session->eval->tokens = tokens;
    monitor_beat(session->eval->monitor);
    show_progress(session, false);
}

/* ---- what an answer depends on ---- */

static json_t *fingerprint(const struct session *session)
{
    const struct settings *settings = session->eval->settings;
    const struct sampling_settings *sampling = &settings->sampling;
    char weights[32], data[32], numerics[32];
    snprintf(weights, sizeof weights, "%016" PRIx64, session->engine->weights[0].digest);
    snprintf(data, sizeof data, "%016" PRIx64, prompts_hash(session->prompts));
    snprintf(numerics, sizeof numerics, "%016" PRIx64, session->engine->numerics_id);
    return json_pack("{s:i,s:s,s:s,s:s,s:I,s:I,s:I,s:f,s:f,s:I,s:I,s:I,s:f,s:b}", "format", 1,
                     "weights", weights, "data", data, "numerics", numerics, "prompts",
                     (json_int_t)session->count, "samples", (json_int_t)session->eval->samples,
                     "seed", (json_int_t)settings->run.seed, "temperature", sampling->temperature,
                     "top_p", sampling->top_p, "top_k", (json_int_t)sampling->top_k,
                     "response_tokens_max", (json_int_t)sampling->response_tokens_max,
                     "repetition_tokens", (json_int_t)sampling->repetition_tokens,
                     "repetition_probability", sampling->repetition_probability, "ids",
                     (int)session->eval->ids);
}

static enum status compare_fingerprints(const json_t *old, const json_t *now, const char *path)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)now, key, value)
    {
        if (!json_equal(json_object_get(old, key), value))
            return FAIL(STATUS_INVALID,
                        "%s: \"%s\" is not what it is now; go on with the settings of that "
                        "evaluation, or take another --out",
                        path, key);
    }
    return STATUS_OK;
}

static enum status write_json(const char *path, const json_t *json)
{
    char *text = json_dumps(json, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    enum status status =
        text != NULL ? file_replace(path, text, strlen(text)) : FAIL(STATUS_NO_MEMORY, "%s", path);
    free(text); /* lint: allow(free): jansson's buffer */
    return status;
}

/* Of an evaluation whose weights or settings are no longer those asked for. */
static enum status begin_anew(const struct eval *eval, const char *path, const json_t *now)
{
    LOG_WARN("eval", "begun anew", "why=\"%s\"", status_last_error());
    TRY(file_remove_tree(eval->out));
    TRY(file_make_dirs(eval->out));
    return write_json(path, now);
}

/* eval.json names what the answers depend on. A folder with answers is gone on with when that is the same. */
static enum status open_folder(struct session *session)
{
    const struct eval *eval = session->eval;
    char path[FILE_PATH_MAX], answers[FILE_PATH_MAX];
    TRY(file_path(path, "%s/eval.json", eval->out));
    TRY(file_path(answers, "%s/responses.jsonl", eval->out));
    TRY(file_make_dirs(eval->out));
    bool there = file_exists(path);
    if (!eval->resume && file_exists(answers))
        return FAIL(STATUS_INVALID, "%s is there already: --resume goes on with it", answers);
    json_t *now = fingerprint(session), *old = NULL;
    enum status status = now != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "eval.json");
    if (status == STATUS_OK && there && eval->resume) {
        json_error_t error = {0};
        old = json_load_file(path, 0, &error);
        status = old != NULL ? compare_fingerprints(old, now, path)
                             : FAIL(STATUS_CORRUPT, "%s: %s", path, error.text);
        if (status != STATUS_OK && eval->restart)
            status = begin_anew(eval, path, now);
    } else if (status == STATUS_OK) {
        status = write_json(path, now);
    }
    json_decref(now);
    json_decref(old);
    TRY(status);
    return responses_open(&session->responses, answers, session->count, eval->samples,
                          eval->resume);
}

/* ---- the session ---- */

static enum status load(struct session *session)
{
    struct eval *eval = session->eval;
    const struct settings *settings = eval->settings;
    session->engine = eval->engine;
    if (eval->engine == NULL) {
        session->engine = &session->own;
        TRY(engine_create(&session->own, settings, 0, 1));
        TRY(engine_load_folder(&session->own, settings->model.path));
    }
    TRY(prompts_load_run(&session->prompts, settings, session->engine->tokenizer));
    eval->left_out = prompts_left_out(session->prompts);
    session->count = prompts_count(session->prompts);
    if (eval->limit > 0 && eval->limit < session->count)
        session->count = eval->limit;
    session->rows = memory_array(session->count, sizeof *session->rows);
    if (session->rows == NULL)
        return FAIL(STATUS_NO_MEMORY, "%" PRIu64 " prompts", session->count);
    for (uint64_t i = 0; i < session->count; i++) {
        const struct prompt *prompt = prompts_at(session->prompts, i);
        session->rows[i] = (struct generate_prompt){.ids = prompt->ids, .count = prompt->count};
    }
    return STATUS_OK;
}

static enum status run(struct session *session)
{
    struct eval *eval = session->eval;
    TRY(load(session));
    TRY(open_folder(session));
    if (session->responses.have == session->count * eval->samples)
        return responses_finish(&session->responses); /* the order may be missing */
    struct generate_order order = {.prompts = session->rows,
                                   .prompt_count = session->count,
                                   .samples = eval->samples,
                                   .wanted = is_wanted,
                                   .done = take_answer,
                                   .progress = note_progress,
                                   .self = session,
                                   .stop = eval->stop};
    session->start_ns = session->shown_ns = clock_now_ns();
    enum status status = generate(session->engine, &order);
    eval->seconds = (double)(clock_now_ns() - session->start_ns) / CLOCK_NS_PER_S;
    TRY(status);
    show_progress(session, true);
    return responses_finish(&session->responses);
}

enum status eval_generate(struct eval *eval)
{
    struct session *session = memory_alloc(sizeof *session);
    if (session == NULL)
        return FAIL(STATUS_NO_MEMORY, "an evaluation");
    session->eval = eval;
    buffer_init(&session->text, 0);
    buffer_init(&session->utf8, 0);
    enum status status = run(session);
    char kept[STATUS_TEXT_MAX];
    status_keep(kept);
    responses_close(&session->responses);
    engine_destroy(&session->own);
    prompts_destroy(&session->prompts);
    memory_free(session->rows);
    buffer_free(&session->text);
    buffer_free(&session->utf8);
    memory_free(session);
    status_restore(kept);
    return status;
}
