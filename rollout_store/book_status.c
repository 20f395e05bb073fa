/* rollout_store/book_status.c - what the book tells people: counters and who is there. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "rollout_store/book_state.h"

static const char *const drop_keys[DROP_REASON_COUNT] = {
    "none",           "zero_variance", "stale",   "generation_failed",
    "scoring_failed", "invalid",       "drained", "dead_branch"};

const char *book_drop_reason(enum drop_reason reason)
{
    return drop_keys[reason];
}

void book_read_load(const struct book *book, struct book_load *load)
{
    *load = (struct book_load){.samples_queued = book->queued,
                               .samples_unscored = book->finished,
                               .leases_live = book->leases.count};
}

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
    for (int i = 1; i < REFUSAL_COUNT; i++)
        TRY(buffer_printf(json, "\"refused_%s\":%" PRIu64 ",", refusal_name((enum refusal)i),
                          book_refused(book, (enum refusal)i)));
    for (int i = 1; i < DROP_REASON_COUNT; i++)
        TRY(buffer_printf(json, "\"dropped_%s\":%" PRIu64 ",", drop_keys[i], c.dropped[i]));
    uint64_t retired = 0, hard = 0, paused = 0;
    for (uint32_t i = 0; i < curriculum_source_count(book->curriculum); i++) {
        struct curriculum_source source;
        curriculum_source(book->curriculum, book_version(book), i, &source);
        retired += source.retired;
        hard += source.hard;
        paused += source.paused;
    }
    TRY(buffer_printf(json,
                      "\"prompts_retired\":%" PRIu64 ",\"prompts_hard\":%" PRIu64
                      ",\"sources_paused\":%" PRIu64 ",",
                      retired, hard, paused));
    struct book_stage stage;
    book_read_stage(book, &stage);
    TRY(buffer_printf(json,
                      "\"stage/index\":%" PRIu32 ",\"stage/cap\":%" PRIu32
                      ",\"stage/plans\":%" PRIu32 ",\"stage/perplexity\":%.9g,\"stage/p99\":%.9g"
                      ",\"stage/tail_change\":%.6g,\"stage/tail_alarm\":%d,",
                      stage.stage, stage.cap, stage.verdict.plans, stage.verdict.perplexity,
                      stage.verdict.p99, stage.verdict.tail_change, stage.verdict.tail_alarm));
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
                      role_name(peer->role), peer->index, peer->pid, peer->incarnation));
    TRY(buffer_json_text(json, peer->host));
    TRY(buffer_printf(json, ",\"connected\":%s,\"disconnected_ms\":%" PRId64 ",\"draining\":%s",
                      peer->connected ? "true" : "false",
                      peer->connected ? 0 : since_ms(book, peer->disconnected_ns),
                      peer->draining || book->draining ? "true" : "false"));
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
    json_t *sound = json_loads(stats, 0, NULL); /* a peer cannot break the answer for all */
    enum status status =
        buffer_printf(json, ",\"stats\":%s}", json_is_object(sound) ? stats : "{}");
    json_decref(sound);
    return status;
}

/* Processes whose place another one holds. */
static enum status write_newcomers(const struct book *book, struct buffer *json)
{
    TRY(buffer_text(json, ",\"newcomers\":["));
    for (size_t i = 0; i < book->newcomer_count; i++) {
        const struct newcomer *newcomer = &book->newcomers[i];
        TRY(buffer_printf(
            json, "%s{\"role\":\"%s\",\"index\":%" PRIu32 ",\"pid\":%" PRIu32 ",\"host\":",
            i > 0 ? "," : "", role_name(newcomer->role), newcomer->index, newcomer->pid));
        TRY(buffer_json_text(json, newcomer->host));
        TRY(buffer_printf(json, ",\"waits_ms\":%" PRId64 "}", since_ms(book, newcomer->first_ns)));
    }
    return buffer_text(json, "]");
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
    TRY(buffer_text(json, ",\"hold\":"));
    TRY(buffer_json_text(json, book->hold));
    TRY(buffer_printf(json, ",\"version\":%" PRIu64 ",\"steps\":%" PRIu64 ",\"counters\":",
                      book_version(book), book->config.steps));
    TRY(write_counters(book, json));
    TRY(buffer_text(json, ",\"sources\":"));
    TRY(curriculum_json(book->curriculum, book_version(book), json));
    TRY(buffer_text(json, ",\"stage\":"));
    TRY(book_stage_json(book, json));
    TRY(buffer_text(json, ",\"peers\":["));
    bool first = true;
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        if (book->peers[i] == NULL || book->peers[i]->role == ROLE_CONTROL)
            continue;
        TRY(buffer_text(json, first ? "" : ","));
        TRY(write_peer(book, book->peers[i], json));
        first = false;
    }
    TRY(buffer_text(json, "]"));
    TRY(write_newcomers(book, json));
    return buffer_text(json, "}");
}
