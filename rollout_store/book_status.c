/* rollout_store/book_status.c - what the book tells people: status, and who waits for whom. */
#include <inttypes.h>
#include <stdio.h>

#include "rollout_store/book_state.h"

static const char *const drop_keys[DROP_REASON_COUNT] = {
    "none",           "zero_variance", "stale",   "generation_failed",
    "scoring_failed", "invalid",       "drained", "dead_branch"};

static int64_t since_ms(const struct book *book, int64_t then_ns)
{
    return (book->now_ns - then_ns) / CLOCK_NS_PER_MS;
}

/* Flat, with the names of struct book_counters. */
static enum status write_counters(const struct book *book, struct buffer *json)
{
    struct book_counters c;
    book_read_counters(book, &c);
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"version", c.version},
        {"planned_version", c.planned_version},
        {"checkpoint_version", c.checkpoint_version},
        {"branch", c.branch},
        {"groups_born", c.groups_born},
        {"groups_open", c.groups_open},
        {"groups_eligible", c.groups_eligible},
        {"groups_planned", c.groups_planned},
        {"groups_consumed", c.groups_consumed},
        {"consecutive_dropped", c.consecutive_dropped},
        {"rollouts_finished", c.rollouts_finished},
        {"rollouts_scored", c.rollouts_scored},
        {"samples_queued", book->queued},
        {"samples_unscored", book->finished},
        {"tokens", c.tokens},
        {"tokens_repeated_refused", c.tokens_repeated_refused},
        {"tokens_regenerated", c.tokens_regenerated},
        {"leases_live", book->leases.count},
        {"leases_issued", c.leases_issued},
        {"leases_expired", c.leases_expired},
        {"leases_continued", c.leases_continued},
        {"segments_refused", c.segments_refused},
        {"scores_refused", c.scores_refused},
        {"scores_retried", c.scores_retried},
        {"staleness_max", c.staleness_max},
    };
    TRY(buffer_text(json, "{"));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        TRY(buffer_printf(json, "\"%s\":%" PRIu64 ",", rows[i].name, rows[i].value));
    for (int i = 1; i < DROP_REASON_COUNT; i++)
        TRY(buffer_printf(json, "\"dropped_%s\":%" PRIu64 ",", drop_keys[i], c.dropped[i]));
    return buffer_printf(json, "\"staleness_mean\":%.4f}", c.staleness_mean);
}

enum status book_counters_json(const struct book *book, struct buffer *json)
{
    return write_counters(book, json);
}

static enum status write_peer(const struct book *book, struct peer *peer, struct buffer *json)
{
    TRY(buffer_printf(json,
                      "{\"role\":\"%s\",\"index\":%" PRIu32 ",\"pid\":%" PRIu32
                      ",\"incarnation\":\"%016" PRIx64 "\",\"host\":",
                      book_role_name(peer->role), peer->index, peer->pid, peer->incarnation));
    TRY(buffer_json_text(json, peer->host));
    TRY(buffer_printf(json, ",\"silent_ms\":%" PRId64 ",\"up_ms\":%" PRId64 ",\"version\":%" PRIu64,
                      since_ms(book, peer->heard_ns), since_ms(book, peer->hello_ns),
                      peer->version));
    if (peer->holder != NULL)
        TRY(buffer_printf(json,
                          ",\"slots\":%" PRIu32 ",\"leases\":%" PRIu32 ",\"lease_tokens\":%" PRIu64,
                          peer->slots, peer->holder->leases, peer->holder->tokens));
    if (peer->role == ROLE_REWARD)
        TRY(buffer_printf(json, ",\"credit\":%" PRIu32 ",\"scoring\":%" PRIu32, peer->credit,
                          peer->scoring));
    const char *stats = buffer_string(&peer->stats);
    TRY(buffer_printf(json, ",\"stats\":%s}", stats[0] == '{' ? stats : "{}"));
    return STATUS_OK;
}

enum status book_status_json(const struct book *book, int64_t now_ns, struct buffer *json)
{
    (void)now_ns;
    TRY(buffer_text(json, "{\"run\":"));
    TRY(buffer_json_text(json, book->config.run));
    TRY(buffer_printf(json, ",\"draining\":%s,\"stopping\":%s,\"failed\":%s,\"reason\":",
                      book->draining ? "true" : "false", book->stopped ? "true" : "false",
                      book->stop_failed ? "true" : "false"));
    const char *reason = book->stopped    ? book->stop_reason
                         : book->draining ? book->drain_reason
                                          : "";
    TRY(buffer_json_text(json, reason != NULL ? reason : ""));
    TRY(buffer_printf(json, ",\"version\":%" PRIu64 ",\"steps\":%" PRIu64 ",\"counters\":",
                      book_version(book), book->config.steps));
    TRY(write_counters(book, json));
    TRY(buffer_text(json, ",\"peers\":["));
    bool first = true;
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        if (book->peers[i] == NULL || book->peers[i]->role == ROLE_CONTROL)
            continue;
        TRY(buffer_text(json, first ? "" : ","));
        TRY(write_peer(book, book->peers[i], json));
        first = false;
    }
    return buffer_text(json, "]}");
}

/* ---- why ---- */

struct waits {
    struct buffer *json;
    bool some;
};

static enum status write_wait(struct waits *waits, const char *who, const char *whom, int64_t ms,
                              const char *what)
{
    TRY(buffer_printf(waits->json, "%s{\"who\":", waits->some ? "," : ""));
    waits->some = true;
    TRY(buffer_json_text(waits->json, who));
    TRY(buffer_text(waits->json, ",\"for\":"));
    TRY(buffer_json_text(waits->json, whom));
    TRY(buffer_printf(waits->json, ",\"since_ms\":%" PRId64 ",\"what\":", ms));
    TRY(buffer_json_text(waits->json, what));
    return buffer_text(waits->json, "}");
}

static uint32_t count_role(const struct book *book, enum role role)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < book->peer_limit; i++)
        count += book->peers[i] != NULL && book->peers[i]->role == role;
    return count;
}

static enum status write_learner_wait(const struct book *book, const struct peer *peer,
                                      struct waits *waits)
{
    char who[WIRE_NAME_MAX], what[512];
    snprintf(who, sizeof who, "learner.%" PRIu32, peer->index);
    uint64_t held = book_held_by(book);
    uint64_t eligible = book->lists[GROUP_ELIGIBLE].count;
    if (book->version_count == 0)
        snprintf(what, sizeof what, "no version is registered yet");
    else if (eligible < book->config.store.groups_per_publish)
        snprintf(what, sizeof what,
                 "plan %" PRIu64 " needs %" PRIu32 " eligible groups, there are %" PRIu64
                 "; %" PRIu64 " are open with %" PRIu64 " samples queued, %zu generating, %" PRIu64
                 " unscored",
                 peer->wanted_version, book->config.store.groups_per_publish, eligible,
                 book->lists[GROUP_OPEN].count, book->queued, book->leases.count, book->finished);
    else
        snprintf(what, sizeof what,
                 "plan %" PRIu64 " waits for %" PRIu64
                 " open groups that would pass store.max_staleness (over_age=hold)",
                 peer->wanted_version, held);
    const char *whom = book->leases.count > 0 ? "actors"
                       : book->finished > 0   ? "reward workers"
                                              : "actors";
    return write_wait(waits, who, whom, since_ms(book, peer->wanted_ns), what);
}

static enum status write_store_waits(const struct book *book, struct waits *waits)
{
    char what[256];
    if (count_role(book, ROLE_LEARNER) == 0)
        TRY(write_wait(waits, "store", "learner", 0, "no learner is connected"));
    if (book->queued > 0 && book->queued_since_ns > 0) {
        snprintf(what, sizeof what,
                 "%" PRIu64 " samples are queued; %" PRIu32 " actors are connected, none with room",
                 book->queued, count_role(book, ROLE_ACTOR));
        TRY(write_wait(waits, "store", "actors", since_ms(book, book->queued_since_ns), what));
    }
    if (book->finished > 0 && book->finished_since_ns > 0) {
        snprintf(what, sizeof what,
                 "%" PRIu64 " rollouts wait for a score; %" PRIu32 " reward workers are connected",
                 book->finished, count_role(book, ROLE_REWARD));
        TRY(write_wait(waits, "store", "reward workers", since_ms(book, book->finished_since_ns),
                       what));
    }
    return STATUS_OK;
}

static enum status write_peer_waits(const struct book *book, struct peer *peer, struct waits *waits)
{
    char who[WIRE_NAME_MAX], what[256];
    snprintf(who, sizeof who, "%s.%" PRIu32, book_role_name(peer->role), peer->index);
    if (book->now_ns - peer->heard_ns > (int64_t)book->config.store.lease_ms * CLOCK_NS_PER_MS)
        TRY(write_wait(waits, "store", who, since_ms(book, peer->heard_ns),
                       "no sign of life for longer than store.lease_ms"));
    if (peer->wants_plan)
        TRY(write_learner_wait(book, peer, waits));
    if (peer->role == ROLE_ACTOR && peer->version < book_version(book)) {
        snprintf(what, sizeof what, "it has version %" PRIu64 ", the newest is %" PRIu64,
                 peer->version, book_version(book));
        TRY(write_wait(waits, who, "weights", 0, what));
    }
    return STATUS_OK;
}

enum status book_why_json(const struct book *book, int64_t now_ns, struct buffer *json)
{
    (void)now_ns;
    struct waits waits = {.json = json};
    TRY(buffer_text(json, "{\"waits\":["));
    TRY(write_store_waits(book, &waits));
    for (uint32_t i = 0; i < book->peer_limit; i++)
        if (book->peers[i] != NULL && book->peers[i]->role != ROLE_CONTROL)
            TRY(write_peer_waits(book, book->peers[i], &waits));
    TRY(buffer_text(json, "],\"processes\":{"));
    bool first = true;
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        struct peer *peer = book->peers[i];
        if (peer == NULL || peer->role == ROLE_CONTROL)
            continue;
        const char *own = buffer_string(&peer->waits);
        TRY(buffer_printf(json, "%s\"%s.%" PRIu32 "\":%s", first ? "" : ",",
                          book_role_name(peer->role), peer->index, own[0] == '[' ? own : "[]"));
        first = false;
    }
    return buffer_text(json, "}}");
}
