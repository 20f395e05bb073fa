/* rollout_store/server.c - see the header: what is opened in which order, and how a run ends. */
#include "rollout_store/server.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "rollout_store/server_state.h"

enum { LEDGER_FILE_BYTES = 256 << 20 };
static const size_t ROUND_ARENA_BYTES = (size_t)4 << 30;

/* ---- create ---- */

static const struct config_section *find_section(const char *name)
{
    for (size_t i = 0; i < settings_section_count; i++)
        if (strcmp(settings_sections[i].name, name) == 0)
            return &settings_sections[i];
    return NULL;
}

static enum status write_value(const struct config_field *field, const char *at,
                               struct buffer *json)
{
    char name[64];
    switch (field->type) {
    case CONFIG_U32:
        return buffer_printf(json, "%" PRIu32, *(const config_u32 *)(const void *)at);
    case CONFIG_U64:
        return buffer_printf(json, "%" PRIu64, *(const config_u64 *)(const void *)at);
    case CONFIG_F64:
        return buffer_printf(json, "%.17g", *(const config_f64 *)(const void *)at);
    case CONFIG_FLAG:
        return buffer_text(json, *(const config_flag *)(const void *)at ? "true" : "false");
    case CONFIG_TEXT:
        return buffer_json_text(json, *(const config_text *)(const void *)at);
    case CONFIG_CHOICE:
        return buffer_json_text(
            json,
            config_choice_name(field, *(const config_choice *)(const void *)at, name, sizeof name));
    }
    return STATUS_OK;
}

/* Settings that a plan carries: {"loss":{...},"sampling":{...},"store":{...}}. */
static enum status write_settings(const struct settings *settings, struct buffer *json)
{
    static const char *const sections[] = {"loss", "sampling"};
    TRY(buffer_text(json, "{"));
    for (size_t s = 0; s < sizeof sections / sizeof sections[0]; s++) {
        const struct config_section *section = find_section(sections[s]);
        TRY(buffer_printf(json, "%s\"%s\":{", s > 0 ? "," : "", sections[s]));
        for (size_t f = 0; f < section->count; f++) {
            const struct config_field *field = &section->fields[f];
            TRY(buffer_printf(json, "%s\"%s\":", f > 0 ? "," : "", field->name));
            TRY(write_value(field, (const char *)settings + section->offset + field->offset, json));
        }
        TRY(buffer_text(json, "}"));
    }
    return buffer_text(json, "}");
}

static enum status load_prompts(struct server *server)
{
    const struct settings *settings = server->settings;
    TRY(tokenizer_open(&server->tokenizer, settings->model.path, settings->model.tokenizer));
    TRY(prompts_load_run(&server->prompts, settings, server->tokenizer));
    LOG_INFO("prompts", "loaded", "count=%" PRIu64 " left_out=%" PRIu64 " path=%s",
             prompts_count(server->prompts), prompts_left_out(server->prompts),
             settings->data.train);
    return STATUS_OK;
}

static enum status replay(void *self, const struct record *record, uint64_t offset)
{
    struct server *server = self;
    enum status status = book_apply(server->book, record);
    if (status == STATUS_OK)
        return STATUS_OK;
    char why[512];
    snprintf(why, sizeof why, "%s", status_last_error());
    return FAIL(status, "ledger record at byte %" PRIu64 ": %s", offset, why);
}

static enum status open_book(struct server *server, const struct server_options *options,
                             const char *ledger_folder)
{
    const struct settings *settings = server->settings;
    buffer_init(&server->settings_json, 0);
    TRY(write_settings(settings, &server->settings_json));
    struct book_config config = {.store = settings->store,
                                 .sampling = settings->sampling,
                                 .stages = settings->stages,
                                 .curriculum = settings->curriculum,
                                 .run_seed = settings->run.seed,
                                 .steps = settings->run.steps,
                                 .updates_per_publish = settings->learner.updates_per_publish,
                                 .shuffle = settings->data.shuffle,
                                 .prompts = server->prompts,
                                 .run = options->run,
                                 .settings_json = buffer_string(&server->settings_json),
                                 .wall_offset_ns = clock_wall_ns() - clock_now_ns(),
                                 .reward_low = settings->reward.clip_low,
                                 .reward_high = settings->reward.clip_high};
    TRY(book_create(&server->book, &config));
    uint64_t torn = 0;
    TRY(ledger_open(&server->ledger, ledger_folder, LEDGER_FILE_BYTES, replay, server,
                    &server->records, &torn));
    FAULT("store.loaded");
    book_restarted(server->book, clock_now_ns());
    struct book_counters counters;
    book_read_counters(server->book, &counters);
    server->seen_version = counters.version;
    server->seen_branch = counters.branch;
    book_read_stage(server->book, &server->seen_stage);
    LOG_INFO("ledger", "opened",
             "path=%s records=%" PRIu64 " bytes=%" PRIu64 " torn_bytes=%" PRIu64
             " version=%" PRIu64,
             ledger_folder, server->records, ledger_offset(server->ledger), torn, counters.version);
    return STATUS_OK;
}

/* FOLDER/endpoint, where the store is to be found: the supervisor reads it when the port was left open, and `weir node`
 * on other machines always. */
static enum status publish_endpoint(const struct server *server, const char *folder)
{
    char path[FILE_PATH_MAX], text[FILE_PATH_MAX];
    TRY(file_path(path, "%s/endpoint", folder));
    hub_public_endpoint(server->hub, text, sizeof text - 1);
    size_t size = strlen(text);
    text[size++] = '\n';
    return file_replace(path, text, size);
}

static enum status open_services(struct server *server, const struct server_options *options,
                                 const char *ledger_folder)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/run.db", options->run_folder));
    if (index_open(&server->index, path, ledger_folder) != STATUS_OK)
        LOG_WARN("index", "switched off; the run goes on", "why=\"%s\"", status_last_error());
    index_advance(server->index, ledger_offset(server->ledger));
    TRY(server_view_open(&server->view, server->settings, server->prompts, server->tokenizer,
                         options->run, options->run_folder));
    TRY(file_path(path, "ipc://%s/store.sock", options->run_folder));
    TRY(hub_open(&server->hub,
                 options->endpoint != NULL && options->endpoint[0] != '\0' ? options->endpoint
                                                                           : path,
                 server->settings->run.keys));
    LOG_INFO("store", "listening", "endpoint=%s", hub_endpoint(server->hub));
    return publish_endpoint(server, options->run_folder);
}

enum status server_create(struct server **out, const struct server_options *options)
{
    *out = NULL;
    struct server *server = memory_alloc(sizeof *server);
    if (server == NULL)
        return FAIL(STATUS_NO_MEMORY, "server");
    server->settings = options->settings;
    server->monitor = options->monitor;
    server_metrics_open(server);
    server->quarantine.fd = -1;
    char ledger_folder[FILE_PATH_MAX];
    enum status status;
    TRY_GOTO(fail, file_path(ledger_folder, "%s/ledger", options->run_folder));
    TRY_GOTO(fail, arena_create(&server->in_arena, (size_t)WIRE_MESSAGE_MAX * 2));
    TRY_GOTO(fail, arena_create(&server->out_arena, ROUND_ARENA_BYTES));
    book_out_init(&server->out, server->out_arena);
    server->kept = memory_array(KEPT_MAX, sizeof *server->kept);
    if (server->kept == NULL) {
        status = FAIL(STATUS_NO_MEMORY, "kept messages");
        goto fail;
    }
    TRY_GOTO(fail, inbox_create(&server->inbox));
    TRY_GOTO(fail, quarantine_open(&server->quarantine, options->run_folder));
    TRY_GOTO(fail, load_prompts(server));
    TRY_GOTO(fail, open_book(server, options, ledger_folder));
    TRY_GOTO(fail, open_services(server, options, ledger_folder));
    *out = server;
    return STATUS_OK;
fail:
    server_destroy(&server);
    return status;
}

void server_destroy(struct server **server_pointer)
{
    struct server *server = *server_pointer;
    if (server == NULL)
        return;
    monitor_forget(server->monitor);
    hub_close(&server->hub);
    index_close(&server->index);
    server_view_close(&server->view);
    ledger_close(&server->ledger);
    book_destroy(&server->book);
    buffer_free(&server->settings_json);
    prompts_destroy(&server->prompts);
    tokenizer_close(&server->tokenizer);
    for (size_t i = 0; server->kept != NULL && i < KEPT_MAX; i++)
        buffer_free(&server->kept[i].bytes);
    memory_free(server->kept);
    inbox_destroy(&server->inbox);
    quarantine_close(&server->quarantine);
    book_out_free(&server->out);
    arena_destroy(&server->out_arena);
    arena_destroy(&server->in_arena);
    memory_free(server);
    *server_pointer = NULL;
}

/* ---- run ---- */

static uint32_t workers_left(const struct server *server)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < hub_peer_count(server->hub); i++)
        left += hub_peer_at(server->hub, i)->role != ROLE_CONTROL;
    return left;
}

/* Turns until every worker said bye or the time is over. */
static enum status see_off(struct server *server, int64_t limit_ms, const atomic_int *stop_signals)
{
    int64_t until_ns = clock_now_ns() + limit_ms * CLOCK_NS_PER_MS;
    bool busy = true;
    do {
        TRY(server_turn(server, &busy));
        if (*stop_signals > 1)
            return FAIL(STATUS_CANCELLED, "stopped by a second signal");
    } while (clock_now_ns() < until_ns && workers_left(server) > 0);
    return STATUS_OK;
}

static enum status finish(struct server *server, const char *reason, bool failed,
                          const atomic_int *stop_signals)
{
    char why[512];
    snprintf(why, sizeof why, "%s", reason);
    monitor_set_ready(server->monitor, false, "the run is over");
    LOG_INFO("store", "stopping", "reason=\"%s\"", why);
    TRY(server_view_event(&server->view, "stop", why));
    TRY(see_off(server, SERVER_BYE_MS, stop_signals));
    return failed ? FAIL(STATUS_LIMIT, "the run stopped: %s", why) : STATUS_OK;
}

enum status server_run(struct server *server, atomic_int *stop_signals)
{
    bool busy = true;
    server->stop_signals = stop_signals;
    server->turned_ns = server->awake_ns = clock_now_ns();
    monitor_set_ready(server->monitor, true, "");
    for (;;) {
        const char *reason = "";
        bool failed = false;
        TRY(server_turn(server, &busy));
        if (book_stopping(server->book, &reason, &failed))
            return finish(server, reason, failed, stop_signals);
        if (*stop_signals == 0)
            continue;
        monitor_set_ready(server->monitor, false, "it is draining");
        LOG_INFO("store", "draining", "drain_s=%" PRIu32, server->settings->run.drain_s);
        book_drain(server->book, "the store was told to stop (SIGTERM or Ctrl-C)");
        return see_off(server, (int64_t)server->settings->run.drain_s * 1000, stop_signals);
    }
}

/* ---- plan ---- */

enum status server_plan_text(const struct server_options *options, struct buffer *text)
{
    struct server server = {.settings = options->settings};
    const struct store_settings *store = &options->settings->store;
    enum status status = load_prompts(&server);
    uint64_t alive = (uint64_t)store->groups_per_publish * (store->max_staleness + UINT64_C(1));
    uint64_t kept =
        alive + (uint64_t)store->groups_per_publish * options->settings->learner.checkpoint_every;
    uint64_t tokens = kept * store->group_size * options->settings->sampling.response_tokens_max;
    if (status == STATUS_OK)
        status = buffer_printf(
            text,
            "prompts      %" PRIu64 " (%" PRIu64 " left out, longer than %" PRIu32 " tokens)\n"
            "groups       %" PRIu32 " of %" PRIu32 " rollouts for each of %" PRIu32 " versions\n"
            "in flight    at most %" PRIu64 " groups (store.max_staleness %" PRIu32 ")\n"
            "memory       at most %" PRIu64
            " MB of tokens until a checkpoint frees them (learner.checkpoint_every %" PRIu32 ")\n",
            prompts_count(server.prompts), prompts_left_out(server.prompts),
            options->settings->data.prompt_tokens_max, store->groups_per_publish, store->group_size,
            options->settings->run.steps, alive, store->max_staleness, tokens * 8 / 1000000 + 1,
            options->settings->learner.checkpoint_every);
    prompts_destroy(&server.prompts);
    tokenizer_close(&server.tokenizer);
    return status;
}
