/* links: rollout_store core */
/* bench/bench_store.c - the book and the ledger without sockets: one actor, one scorer, one learner in a loop.
 *
 *     bench_store [folder] [versions]      JSON lines: groups/s and segments/s with one fdatasync a round, replay records/s
 *     bench_store restart [rollouts]       milliseconds of a restart with that many rollouts (10^6), from a snapshot and
 *                                          from the first record, for rollouts of 16 and of 256 tokens
 *
 * Ceiling beside it: rounds/s of append + fdatasync alone, of the same bytes a round. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/memory.h"
#include "rollout_store/book.h"
#include "rollout_store/ledger.h"
#include "rollout_store/snapshots.h"

enum { GROUP = 16, GROUPS = 32, TOKENS = 256, SEGMENT = 64, SLOTS = 256, PROMPT = 64 };
enum { RESTART_LIMIT_MS = 2000, TOKENS_LIMIT_PER_S = 1000000 };

struct bench {
    struct book *book;
    struct ledger *ledger;
    struct arena *arena;
    struct book_out out;
    struct lease leases[SLOTS];
    uint32_t position[SLOTS], live;
    struct score scores[GROUPS * GROUP * 4];
    uint32_t score_count;
    uint64_t frame, segments, rounds, version, request, fetched;
    uint64_t plan[GROUPS];
    bool planned;
    uint32_t tokens, segment; /* of a rollout; of a segment */
    bool sync, snapshot;
    struct snapshots snapshots;
};

static void stop(enum status status)
{
    if (status == STATUS_OK)
        return;
    fprintf(stderr, "%s: %s\n", status_name(status), status_last_error());
    exit(1);
}

static void take(struct bench *bench, const struct message *message)
{
    if (message->type == MESSAGE_lease_grant) {
        for (uint32_t i = 0; i < message->lease_grant.count; i++) {
            bench->position[bench->live] = 0;
            bench->leases[bench->live++] = message->lease_grant.leases[i];
        }
    } else if (message->type == MESSAGE_score_work) {
        for (uint32_t i = 0; i < message->score_work.count; i++) {
            const struct score_item *item = &message->score_work.items[i];
            bench->scores[bench->score_count++] = (struct score){
                item->group_id, item->sample, item->attempt, SCORE_OK, item->sample % 2, "{}", 0};
        }
    } else if (message->type == MESSAGE_plan) {
        memcpy(bench->plan, message->plan.group_ids, sizeof bench->plan);
        bench->planned = true;
    } else if (message->type == MESSAGE_group_data) {
        bench->fetched++;
    }
}

static void finish_round(struct bench *bench)
{
    stop(book_tick(bench->book, clock_now_ns(), &bench->out));
    if (bench->out.records.size > 0) {
        stop(ledger_append(bench->ledger, bench->out.records.bytes, bench->out.records.size));
        if (bench->sync)
            stop(ledger_sync(bench->ledger));
        if (bench->snapshot)
            stop(snapshots_round(&bench->snapshots, bench->book, bench->ledger));
    }
    for (size_t i = 0; i < bench->out.send_count; i++)
        take(bench, &bench->out.sends[i].message);
    book_out_clear(&bench->out);
    bench->rounds++;
}

static void say(struct bench *bench, uint32_t peer, const struct message *message)
{
    stop(book_handle(bench->book, clock_now_ns(), peer, message, &bench->out));
}

static void say_segments(struct bench *bench)
{
    static struct segment segments[SLOTS];
    static uint32_t ids[SEGMENT];
    static float logprobs[SEGMENT];
    uint32_t kept = 0, count = bench->live;
    for (uint32_t i = 0; i < count; i++) {
        const struct lease *lease = &bench->leases[i];
        bool ends = bench->position[i] + bench->segment == bench->tokens;
        segments[i] = (struct segment){.lease_id = lease->lease_id,
                                       .group_id = lease->group_id,
                                       .sample = lease->sample,
                                       .attempt = lease->attempt,
                                       .first_position = bench->position[i],
                                       .count = bench->segment,
                                       .ids = ids,
                                       .logprobs = logprobs,
                                       .version = bench->version,
                                       .digest = bench->version + 1,
                                       .kv_version_min = bench->version,
                                       .rebuilt_at = UINT32_MAX,
                                       .proof = PROOF_OWN,
                                       .status = ends ? SEGMENT_LENGTH : SEGMENT_MORE};
        if (ends)
            continue;
        bench->leases[kept] = *lease;
        bench->position[kept++] = bench->position[i] + bench->segment;
    }
    bench->live = kept;
    bench->segments += count;
    struct message message = {.type = MESSAGE_segment_frame,
                              .segment_frame = {++bench->frame, 1, count, segments}};
    if (count > 0)
        say(bench, 0, &message);
}

static void say_scores(struct bench *bench)
{
    struct message message = {.type = MESSAGE_score_result,
                              .score_result = {bench->frame, 1, bench->score_count, bench->scores}};
    if (bench->score_count > 0)
        say(bench, 1, &message);
    bench->score_count = 0;
}

static void say_learner(struct bench *bench)
{
    if (!bench->planned) {
        struct message ask = {.type = MESSAGE_plan_request,
                              .plan_request = {.version = bench->version}};
        say(bench, 2, &ask);
        return;
    }
    for (uint32_t i = 0; i < GROUPS; i++) {
        struct message fetch = {.type = MESSAGE_group_request, .group_request = {bench->plan[i]}};
        say(bench, 2, &fetch);
    }
    bench->planned = false;
    bench->version++;
    struct message made = {.type = MESSAGE_version_register,
                           .version_register = {++bench->request, 0, bench->version,
                                                bench->version - 1, bench->version + 1, "w"}};
    say(bench, 2, &made);
    struct message saved = {
        .type = MESSAGE_checkpoint_report,
        .checkpoint_report = {++bench->request, 0, bench->version, bench->version + 1, "c"}};
    if (bench->version % 5 == 0)
        say(bench, 2, &saved);
}

static void start_peers(struct bench *bench)
{
    const enum role roles[] = {ROLE_ACTOR, ROLE_REWARD, ROLE_LEARNER};
    for (uint32_t i = 0; i < 3; i++) {
        struct message hello = {.type = MESSAGE_hello,
                                .hello = {.run = "bench", .role = roles[i], .incarnation = 1}};
        say(bench, i, &hello);
    }
    struct message first = {.type = MESSAGE_version_register,
                            .version_register = {++bench->request, 0, 0, 0, 1, "w"}};
    struct message slots = {.type = MESSAGE_lease_request,
                            .lease_request = {1, SLOTS, UINT64_MAX / 2, 0}};
    struct message credit = {.type = MESSAGE_score_request, .score_request = {1, 1024, 0}};
    say(bench, 2, &first);
    say(bench, 0, &slots);
    say(bench, 1, &credit);
}

static enum status count_record(void *self, const struct record *record, uint64_t offset)
{
    (void)offset;
    return book_apply(self, record);
}

/* Runs until `versions` are trained. */
static void live(struct bench *bench, const char *folder, const struct book_config *config,
                 uint64_t versions)
{
    uint64_t records, torn;
    stop(book_create(&bench->book, config));
    stop(arena_create(&bench->arena, (size_t)1 << 30));
    book_out_init(&bench->out, bench->arena);
    stop(ledger_open(&bench->ledger, folder, 256 << 20, NULL, NULL, &records, &torn));
    start_peers(bench);
    while (bench->version < versions) {
        finish_round(bench);
        say_segments(bench);
        say_scores(bench);
        say_learner(bench);
    }
    finish_round(bench);
}

static void leave(struct bench *bench)
{
    ledger_close(&bench->ledger);
    book_destroy(&bench->book);
    book_out_free(&bench->out);
    arena_destroy(&bench->arena);
}

static enum status skip_snapshots(void *self, const struct record *record, uint64_t offset)
{
    (void)offset;
    return record->type == RECORD_SNAPSHOT ? STATUS_OK : book_apply(self, record);
}

static void print_restart(const char *from, uint32_t tokens, uint64_t rollouts, uint64_t bytes,
                          double seconds)
{
    printf("{\"bench\":\"store_restart\",\"from\":\"%s\",\"rollouts\":%" PRIu64
           ",\"tokens\":%" PRIu32 ",\"ledger_mb\":%.0f,\"ms\":%.0f,\"limit_ms\":%d}\n",
           from, rollouts, tokens, (double)bytes * 1e-6, seconds * 1e3, RESTART_LIMIT_MS);
    fflush(stdout);
}

/* A ledger of that many rollouts, opened as the store does, and once more from its first record. */
static void measure_restart(const char *folder, struct book_config config, uint32_t tokens,
                            uint64_t rollouts)
{
    static struct bench bench;
    uint64_t records, torn, versions = rollouts / (GROUP * GROUPS) + 1;
    bench = (struct bench){
        .tokens = tokens, .segment = tokens < SEGMENT ? tokens : SEGMENT, .snapshot = true};
    config.steps = versions;
    config.sampling.response_tokens_max = tokens;
    live(&bench, folder, &config, versions);
    stop(ledger_sync(bench.ledger));
    uint64_t bytes = ledger_offset(bench.ledger);
    printf("{\"bench\":\"store_snapshot\",\"tokens\":%" PRIu32 ",\"snapshots\":%" PRIu64
           ",\"bytes\":%" PRIu64 ",\"ms\":%.1f}\n",
           tokens, bench.snapshots.count, bench.snapshots.bytes,
           (double)bench.snapshots.took_ns * 1e-6);
    leave(&bench);

    stop(book_create(&bench.book, &config));
    int64_t begin_ns = clock_now_ns();
    stop(ledger_open(&bench.ledger, folder, 256 << 20, count_record, bench.book, &records, &torn));
    print_restart("snapshot", tokens, rollouts, bytes, (double)(clock_now_ns() - begin_ns) * 1e-9);
    ledger_close(&bench.ledger);
    book_destroy(&bench.book);

    stop(book_create(&bench.book, &config));
    begin_ns = clock_now_ns();
    stop(ledger_scan(folder, 0, bytes, skip_snapshots, bench.book));
    print_restart("first record", tokens, rollouts, bytes,
                  (double)(clock_now_ns() - begin_ns) * 1e-9);
    book_destroy(&bench.book);
    stop(file_remove_tree(folder));
}

static void measure(const char *folder, const struct book_config *config, uint64_t versions)
{
    static struct bench bench = {
        .tokens = TOKENS, .segment = SEGMENT, .sync = true, .snapshot = true};
    uint64_t records, torn;
    int64_t begin_ns = clock_now_ns();
    live(&bench, folder, config, versions);
    double seconds = (double)(clock_now_ns() - begin_ns) * 1e-9,
           bytes = (double)ledger_offset(bench.ledger);
    double groups = (double)(versions * GROUPS);
    printf("{\"bench\":\"store_book_ledger\",\"group_size\":%d,\"tokens\":%d,\"segment_tokens\":%d,"
           "\"versions\":%" PRIu64 ",\"groups_per_s\":%.0f,\"segments_per_s\":%.0f,\"tokens_per_"
           "s\":%.0f,\"limit_tokens_per_s\":%d,\"rounds\":%" PRIu64 ",\"mb_per_s\":%.1f}\n",
           GROUP, TOKENS, SEGMENT, versions, groups / seconds, (double)bench.segments / seconds,
           (double)bench.segments * SEGMENT / seconds, TOKENS_LIMIT_PER_S, bench.rounds,
           bytes / seconds * 1e-6);
    ledger_close(&bench.ledger);
    book_destroy(&bench.book);

    stop(book_create(&bench.book, config));
    begin_ns = clock_now_ns();
    stop(ledger_open(&bench.ledger, folder, 64 << 20, count_record, bench.book, &records, &torn));
    seconds = (double)(clock_now_ns() - begin_ns) * 1e-9;
    printf("{\"bench\":\"store_replay\",\"records\":%" PRIu64
           ",\"records_per_s\":%.0f,\"mb_per_s\":%.1f}\n",
           records, (double)records / seconds, bytes / seconds * 1e-6);

    size_t round_bytes = (size_t)(bytes / (double)bench.rounds);
    uint8_t *block = memory_alloc(round_bytes);
    begin_ns = clock_now_ns();
    for (int i = 0; i < 200 && block != NULL; i++) {
        stop(ledger_append(bench.ledger, block, round_bytes));
        stop(ledger_sync(bench.ledger));
    }
    seconds = (double)(clock_now_ns() - begin_ns) * 1e-9;
    printf("{\"bench\":\"store_sync_ceiling\",\"round_bytes\":%zu,\"rounds_per_s\":%.0f,\"mb_per_"
           "s\":%.1f}\n",
           round_bytes, 200 / seconds, 200 * (double)round_bytes / seconds * 1e-6);
    memory_free(block);
    ledger_close(&bench.ledger);
    book_destroy(&bench.book);
    book_out_free(&bench.out);
    arena_destroy(&bench.arena);
}

int main(int argc, char **argv)
{
    char folder[] = "bench_store.XXXXXX", path[FILE_PATH_MAX];
    uint64_t versions = argc > 2 ? strtoull(argv[2], NULL, 10) : 20;
    uint32_t ids[PROMPT] = {0};
    struct prompt row = {.ids = ids, .count = PROMPT, .record_json = "{}"};
    struct prompts *prompts = NULL;
    stop(prompts_from_memory(&prompts, &row, 1));
    if (argc < 2 && mkdtemp(folder) == NULL)
        return 1;
    bool restart = argc > 1 && strcmp(argv[1], "restart") == 0;
    if (restart && mkdtemp(folder) == NULL)
        return 1;
    stop(file_path(path, "%s", argc > 1 && !restart ? argv[1] : folder));
    struct book_config config = {
        .store = {.group_size = GROUP,
                  .groups_per_publish = GROUPS,
                  .max_staleness = 1,
                  .dynamic_sampling = true,
                  .max_consecutive_dropped = 100,
                  .max_attempts = 3,
                  .lease_ms = 100000,
                  .heartbeat_ms = 1000,
                  .prefill_share = SLOTS},
        .sampling = {.response_tokens_max = TOKENS, .temperature = 1, .top_p = 1},
        .run_seed = 1,
        .steps = versions,
        .updates_per_publish = 2,
        .prompts = prompts,
        .run = "bench",
        .settings_json = "{}"};
    uint64_t rollouts = argc > 2 ? versions : 1000000;
    for (uint32_t tokens = 16; restart && tokens <= 256; tokens *= 16)
        measure_restart(path, config, tokens, rollouts);
    if (!restart)
        measure(path, &config, versions);
    prompts_destroy(&prompts);
    if (argc < 2)
        stop(file_remove_tree(folder));
    return 0;
}
