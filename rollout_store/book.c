/* rollout_store/book.c - messages and time in, records and messages out; what happens in which order. */
#include "rollout_store/book.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "rollout_store/book_state.h"

/* ---- life ---- */

enum status book_create(struct book **out, const struct book_config *config)
{
    if (prompts_count(config->prompts) == 0)
        return FAIL(STATUS_INVALID, "there is no prompt to train on: check data.train and "
                                    "data.prompt_tokens_max");
    struct book *book = memory_alloc(sizeof *book);
    if (book == NULL)
        return FAIL(STATUS_NO_MEMORY, "book");
    book->config = *config;
    book->next_lease_id = 1;
    buffer_init(&book->report, 0);
    struct curriculum_config curriculum = {&config->curriculum, config->prompts, config->run_seed,
                                           config->shuffle};
    enum status status =
        stages_open(&book->stages, &config->stages, config->sampling.response_tokens_max);
    if (status == STATUS_OK)
        status = curriculum_create(&book->curriculum, &curriculum);
    if (status != STATUS_OK)
        book_destroy(&book);
    *out = book;
    return status;
}

static void free_holders(struct book *book)
{
    for (size_t i = 0; i < book->holder_count; i++) {
        memory_free(book->holders[i]->cancels);
        memory_free(book->holders[i]);
    }
    memory_free(book->holders);
}

void book_destroy(struct book **book_pointer)
{
    struct book *book = *book_pointer;
    if (book == NULL)
        return;
    for (int state = 0; state < GROUP_STATE_COUNT; state++)
        for (struct group *group = book->lists[state].first, *next; group != NULL; group = next) {
            next = group->next;
            book_free_group(book, group);
        }
    book_bury_all(book);
    for (uint32_t i = 0; i < book->peer_limit; i++)
        if (book->peers[i] != NULL)
            book_peer_gone(book, book->peers[i]);
    free_holders(book);
    stages_close(&book->stages);
    curriculum_destroy(&book->curriculum);
    for (size_t i = 0; i < book->plan_count; i++)
        book_free_plan(&book->plans[i]);
    book_map_free(&book->groups);
    book_map_free(&book->leases);
    memory_free(book->peers);
    memory_free(book->plans);
    memory_free(book->versions);
    memory_free(book->returned);
    memory_free(book->weights_path);
    memory_free(book->stop_reason);
    memory_free(book->drain_reason);
    memory_free(book->numerics);
    memory_free(book->newcomers);
    buffer_free(&book->report);
    buffer_free(&book->restoring);
    memory_free(book);
    *book_pointer = NULL;
}

void book_out_init(struct book_out *out, struct arena *arena)
{
    *out = (struct book_out){.arena = arena};
    buffer_init(&out->records, 0);
}

void book_out_clear(struct book_out *out)
{
    buffer_clear(&out->records);
    out->send_count = 0;
    arena_reset(out->arena);
}

void book_out_free(struct book_out *out)
{
    buffer_free(&out->records);
    memory_free(out->sends);
    *out = (struct book_out){0};
}

void book_restarted(struct book *book, int64_t now_ns)
{
    book->now_ns = book->clock_ns = now_ns;
    for (size_t i = 0; i < book->holder_count; i++)
        book->holders[i]->heard_ns = now_ns;
    book_bury_all(book);
    book->settled = false;
    book->stopped = false; /* a run that is over stops again at the next tick; another goes on */
}

/* ---- what every part uses ---- */

enum status book_reserve(void **items, size_t *capacity, size_t count, size_t item_bytes)
{
    if (count <= *capacity)
        return STATUS_OK;
    size_t wider = *capacity < 8 ? 8 : *capacity;
    while (wider < count)
        wider *= 2;
    void *grown = memory_grow(*items, *capacity * item_bytes, wider * item_bytes);
    if (grown == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu items of %zu bytes", wider, item_bytes);
    *items = grown;
    *capacity = wider;
    return STATUS_OK;
}

enum status book_emit(struct book *book, struct book_out *out, struct record *record)
{
    record->wall_ns = book->clock_ns + book->config.wall_offset_ns;
    TRY(record_pack(record, &out->records));
    return book_apply(book, record);
}

enum status book_send(struct book_out *out, uint32_t peer, const struct message *message)
{
    void *sends = out->sends;
    TRY(book_reserve(&sends, &out->send_capacity, out->send_count + 1, sizeof *out->sends));
    out->sends = sends;
    out->sends[out->send_count++] = (struct book_send){.peer = peer, .message = *message};
    return STATUS_OK;
}

struct holder *book_holder(const struct book *book, uint32_t index, uint64_t incarnation)
{
    for (size_t i = 0; i < book->holder_count; i++)
        if (book->holders[i]->index == index && book->holders[i]->incarnation == incarnation)
            return book->holders[i];
    return NULL;
}

enum status book_hold(struct book *book, uint32_t index, uint64_t incarnation, struct holder **out)
{
    *out = book_holder(book, index, incarnation);
    if (*out != NULL)
        return STATUS_OK;
    void *holders = book->holders;
    TRY(book_reserve(&holders, &book->holder_capacity, book->holder_count + 1,
                     sizeof *book->holders));
    book->holders = holders;
    struct holder *holder = memory_alloc(sizeof *holder);
    if (holder == NULL)
        return FAIL(STATUS_NO_MEMORY, "holder");
    holder->index = index;
    holder->incarnation = incarnation;
    holder->heard_ns = book->now_ns;
    book->holders[book->holder_count++] = holder;
    *out = holder;
    return STATUS_OK;
}

uint64_t book_version(const struct book *book)
{
    return book->version_count == 0 ? 0 : book->versions[book->version_count - 1].version;
}

const struct stored_version *book_find_version(const struct book *book, uint64_t version)
{
    if (book->version_count == 0 || version < book->versions[0].version)
        return NULL;
    uint64_t at = version - book->versions[0].version;
    return at < book->version_count ? &book->versions[at] : NULL;
}

const struct stored_plan *book_find_plan(const struct book *book, uint64_t version)
{
    for (size_t i = book->plan_count; i-- > 0;)
        if (book->plans[i].plan.version == version)
            return &book->plans[i];
    return NULL;
}

uint64_t book_alive(const struct book *book)
{
    uint64_t alive = book->lists[GROUP_OPEN].count + book->lists[GROUP_ELIGIBLE].count;
    for (size_t i = book->plan_count; i-- > 0 && book->plans[i].plan.version > book_version(book);)
        alive += book->plans[i].plan.group_count;
    return alive;
}

uint64_t book_oldest_token(const struct group *group)
{
    uint64_t oldest = UINT64_MAX;
    for (uint32_t i = 0; i < group->size; i++) {
        const struct sample *sample = &group->samples[i];
        for (uint32_t p = 0; p < sample->piece_count; p++)
            if (sample->pieces[p].version < oldest)
                oldest = sample->pieces[p].version;
    }
    return oldest;
}

uint64_t book_lease_tokens(const struct book *book, const struct group *group)
{
    return (uint64_t)prompts_at(book->config.prompts, group->prompt_id)->count +
           book->config.sampling.response_tokens_max;
}

enum status book_stop(struct book *book, struct book_out *out, const char *reason, bool failed)
{
    if (book->stopped)
        return STATUS_OK;
    struct record record = {.type = RECORD_STOP, .stop = {reason, failed}};
    return book_emit(book, out, &record);
}

static const char *drop_name(enum drop_reason reason)
{
    static const char *const names[DROP_REASON_COUNT] = {
        "none",           "zero variance: all rewards of the group are equal",
        "stale",          "generation failed",
        "scoring failed", "invalid: the reward plugin skipped it or could not score it",
        "drained",        "dead branch"};
    return names[reason];
}

static const char *drop_advice(enum drop_reason reason)
{
    switch (reason) {
    case DROP_ZERO_VARIANCE:
        return "the task is too easy or too hard for this model, or the reward is constant: look "
               "at `weir tail`, change "
               "data.train, raise store.group_size, or set store.dynamic_sampling=false";
    case DROP_SCORING_FAILED:
        return "look at the reward workers' logs, raise reward.timeout_ms or mend reward.plugin";
    case DROP_INVALID:
        return "look at `weir tail`: the rows of data.train may lack what reward.plugin needs";
    case DROP_STALE:
        return "raise store.max_staleness, or set store.over_age=hold";
    default:
        return "look at the actors' logs";
    }
}

static bool returns_prompt(const struct book *book, const struct group *group,
                           enum drop_reason reason)
{
    return (reason == DROP_GENERATION_FAILED || reason == DROP_SCORING_FAILED ||
            reason == DROP_STALE) &&
           group->retry < book->config.store.prompt_retries;
}

enum status book_drop(struct book *book, struct book_out *out, struct group *group,
                      enum drop_reason reason)
{
    struct record record = {
        .type = RECORD_DROPPED,
        .dropped = {group->group_id, reason, returns_prompt(book, group, reason)}};
    TRY(book_emit(book, out, &record));
    if (book->counters.consecutive_dropped < book->config.store.max_consecutive_dropped)
        return STATUS_OK;
    char *text = arena_alloc(out->arena, 512);
    if (text == NULL)
        return FAIL(STATUS_LIMIT, "no room for a sentence");
    snprintf(text, 512,
             "%" PRIu32
             " groups in a row were dropped (store.max_consecutive_dropped), the last as %s; %s",
             book->counters.consecutive_dropped, drop_name(reason), drop_advice(reason));
    return book_stop(book, out, text, true);
}

/* ---- operators ---- */

void book_drain(struct book *book, const char *reason)
{
    char *copy = memory_text(reason);
    if (copy != NULL) {
        memory_free(book->drain_reason);
        book->drain_reason = copy;
    }
    book->draining = true;
}

bool book_stopping(const struct book *book, const char **reason, bool *failed)
{
    *reason = book->stop_reason != NULL ? book->stop_reason : "";
    *failed = book->stop_failed;
    return book->stopped;
}

/* ---- messages ---- */

static enum status keep_text(struct buffer *buffer, const char *text)
{
    bool kept = text != NULL && strlen(text) <= BOOK_TEXT_MAX; /* a peer cannot make it grow */
    buffer_clear(buffer);
    return buffer_text(buffer, kept ? text : "");
}

static enum status take_heartbeat(struct book *book, struct peer *peer,
                                  const struct heartbeat *beat, struct book_out *out)
{
    peer->version = beat->version;
    TRY(keep_text(&peer->stats, beat->stats_json));
    TRY(keep_text(&peer->waits, beat->waits_json));
    return book_send_notice(book, out, peer);
}

static void take_lease_request(struct peer *peer, const struct lease_request *request)
{
    peer->asked = true;
    peer->slots = request->slots;
    peer->tokens = request->tokens;
    peer->version = request->version;
}

static enum status take_bye(struct book *book, struct peer *peer, struct book_out *out)
{
    if (peer->holder != NULL)
        TRY(book_expire_holder(book, out, peer->holder, false, false));
    book_scorer_lost(book, peer, false);
    book_peer_gone(book, peer);
    return STATUS_OK;
}

/* What only one role may say. */
static enum status take_from_role(struct book *book, struct peer *peer,
                                  const struct message *message, struct book_out *out)
{
    bool actor = peer->role == ROLE_ACTOR, reward = peer->role == ROLE_REWARD,
         learner = peer->role == ROLE_LEARNER;
    switch (message->type) {
    case MESSAGE_lease_request:
        if (actor && message->lease_request.incarnation == peer->incarnation)
            take_lease_request(peer, &message->lease_request);
        return STATUS_OK;
    case MESSAGE_segment_frame:
        return book_segment_frame(book, peer, &message->segment_frame, out);
    case MESSAGE_score_request:
        if (reward) {
            peer->credit = message->score_request.free;
            peer->caps = message->score_request.caps;
        }
        return STATUS_OK;
    case MESSAGE_score_result:
        return book_score_result(book, peer, &message->score_result, out);
    case MESSAGE_plan_request:
        return learner ? book_plan_request(book, peer, &message->plan_request, out) : STATUS_OK;
    case MESSAGE_group_request:
        return learner ? book_group_request(book, peer, message->group_request.group_id, out)
                       : STATUS_OK;
    case MESSAGE_version_register:
        return learner ? book_register(book, peer, &message->version_register, out) : STATUS_OK;
    case MESSAGE_checkpoint_report:
        return learner ? book_checkpoint(book, peer, &message->checkpoint_report, out) : STATUS_OK;
    case MESSAGE_weight_control:
        return actor || learner ? book_hand_on(book, peer, &message->weight_control, out)
                                : STATUS_OK;
    default:
        return STATUS_OK; /* step_report is the driver's; what only the store says is ignored */
    }
}

static enum status write_run(struct book *book, struct book_out *out)
{
    struct record record = {.type = RECORD_RUN,
                            .run = {.run = book->config.run,
                                    .seed = book->config.run_seed,
                                    .data_hash = prompts_hash(book->config.prompts),
                                    .prompt_count = prompts_count(book->config.prompts),
                                    .settings_json = book->config.settings_json}};
    return book_emit(book, out, &record);
}

/* Who is not known here, but speaks, is asked for a hello. */
static enum status take_unknown(struct book *book, uint32_t id, const struct message *message,
                                struct book_out *out)
{
    if (message->type == MESSAGE_bye) {
        book_newcomer_gone(book, id);
        return STATUS_OK;
    }
    struct message wanted = {.type = MESSAGE_bye, .bye = {WIRE_WANTS_HELLO}};
    return book_send(out, id, &wanted);
}

enum status book_handle(struct book *book, int64_t now_ns, uint32_t peer_id,
                        const struct message *message, struct book_out *out)
{
    book_advance(book, now_ns);
    if (!book->run_known)
        TRY(write_run(book, out));
    if (message->type == MESSAGE_hello)
        return book_hello(book, peer_id, &message->hello, out);
    struct peer *peer = book_peer(book, peer_id);
    if (peer == NULL)
        return take_unknown(book, peer_id, message, out);
    if (peer->leaving)
        return STATUS_OK;
    peer->heard_ns =
        book->now_ns; /* its connection may be dead all the same: last words come late */
    if (peer->holder != NULL)
        peer->holder->heard_ns = book->now_ns;
    switch (message->type) {
    case MESSAGE_heartbeat:
        return take_heartbeat(book, peer, &message->heartbeat, out);
    case MESSAGE_bye:
        return take_bye(book, peer, out);
    case MESSAGE_control:
        return book_control(book, peer, &message->control, out);
    default:
        return take_from_role(book, peer, message, out);
    }
}

/* ---- time ---- */

static enum status end_run(struct book *book, struct book_out *out)
{
    uint64_t steps = book->config.steps;
    if (book->stopped || book->version_count == 0 || book_version(book) < steps ||
        book->counters.checkpoint_version < steps)
        return STATUS_OK;
    char *text = arena_alloc(out->arena, 128);
    if (text == NULL)
        return FAIL(STATUS_LIMIT, "no room for a sentence");
    snprintf(text, 128, "all %" PRIu64 " versions are trained and the last checkpoint is on disk",
             steps);
    return book_stop(book, out, text, false);
}

static void bury(struct book *book)
{
    if (book->recent_count > 0 && book->graveyard_count < 256)
        return; /* book_take_rollouts may still show them */
    book_bury_all(book);
}

enum status book_tick(struct book *book, int64_t now_ns, struct book_out *out)
{
    book_advance(book, now_ns);
    if (!book->run_known)
        TRY(write_run(book, out));
    bury(book);
    book_reap(book);
    if (!book->settled)
        TRY(book_settle(book, out));
    TRY(book_expire_silent(book, out));
    if (!book->stopped) {
        TRY(book_drop_over_age(book, out));
        TRY(book_plan_out(book, out));
        TRY(end_run(book, out));
    }
    if (!book->stopped && !book->draining)
        TRY(book_bear(book, out));
    for (uint32_t i = 0; i < book->peer_limit; i++)
        if (book->peers[i] != NULL && book->peers[i]->holder != NULL && book->peers[i]->connected)
            TRY(book_say_cancels(book, book->peers[i],
                                 out)); /* before new leases: they free its slots */
    if (!book->stopped && !book->draining)
        TRY(book_lease_out(book, out));
    if (!book->stopped)
        TRY(book_score_out(book, out));
    book->queued_since_ns = book->queued == 0       ? 0
                            : book->queued_since_ns ? book->queued_since_ns
                                                    : book->now_ns;
    book->finished_since_ns = book->finished == 0       ? 0
                              : book->finished_since_ns ? book->finished_since_ns
                                                        : book->now_ns;
    return book_tell_peers(book, out);
}

/* ---- rollouts for people ---- */

size_t book_take_rollouts(struct book *book, struct book_rollout *out, size_t max)
{
    size_t taken = 0;
    for (; taken < max && book->recent_count > 0; taken++) {
        struct recent recent = book->recent[book->recent_first];
        const struct sample *sample = &recent.group->samples[recent.sample];
        uint64_t least = UINT64_MAX, most = 0;
        for (uint32_t p = 0; p < sample->piece_count; p++) {
            uint64_t version = sample->pieces[p].version;
            least = version < least ? version : least;
            most = version > most ? version : most;
        }
        out[taken] = (struct book_rollout){
            .group_id = recent.group->group_id,
            .prompt_id = recent.group->prompt_id,
            .version_min = least == UINT64_MAX ? recent.group->level : least,
            .version_max = most,
            .sample = recent.sample,
            .attempt = sample->attempt,
            .count = sample->count,
            .ids = sample->ids,
            .finish = sample->finish,
            .score_status = sample->score_status,
            .scorer = sample->scorer,
            .reward = sample->reward,
            .detail_json = sample->detail_json != NULL ? sample->detail_json : "{}"};
        book->recent_first = (book->recent_first + 1) % BOOK_RECENT_MAX;
        book->recent_count--;
    }
    return taken;
}

const struct curriculum *book_curriculum(const struct book *book)
{
    return book->curriculum;
}
