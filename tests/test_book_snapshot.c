/* links: rollout_store core */
/* label: unit */
/* timeout: 120 */
/* A book restored from a snapshot is the book that replayed everything: equal bytes, and equal records and messages
 * in whatever comes next. In the world of test_book.c, after any schedule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/checksum.h"
#include "proto/codec.h"
#include "rollout_store/book_snapshot.h"
#include "rollout_store/book_state.h"

/* Everything that book_tick says, if anybody listens. */
static struct buffer *spoken;

static enum status listened_tick(struct book *book, int64_t now_ns, struct book_out *out)
{
    TRY(book_tick(book, now_ns, out));
    for (size_t i = 0; spoken != NULL && i < out->send_count; i++) {
        TRY(buffer_append(spoken, &out->sends[i].peer, sizeof out->sends[i].peer));
        TRY(message_pack(&out->sends[i].message, spoken));
    }
    return STATUS_OK;
}

#define book_tick listened_tick
#define main      book_tests
#include "tests/slow.h"
#include "tests/test_book.c"
#undef main
#undef book_tick

enum { SCHEDULES = 500, ROUNDS_AFTER = 50 };

/* What the schedules must have met for this test to mean anything. */
struct met {
    uint64_t leased, streaming, finished, scored, retried, eligible, planned, cancels, returned,
        branches, dead, dropped, plans, zero_variance, deaths, settled, stages, stages_back;
};

static void note(struct met *met, const struct book *book)
{
    met->returned += book->returned_count;
    met->branches += book->counters.branch > 0;
    met->dead += book->dead_count;
    met->plans += book->plan_count;
    met->stages += book->stages.stage;
    met->stages_back += book->counters.branch > 0 && book->stages.stage > 0;
    met->zero_variance += book->zero_variance;
    met->eligible += book->lists[GROUP_ELIGIBLE].count;
    met->planned += book->lists[GROUP_PLANNED].count;
    for (int i = 0; i < DROP_REASON_COUNT; i++)
        met->dropped += book->counters.dropped[i];
    for (size_t i = 0; i < book->holder_count; i++)
        met->cancels += book->holders[i]->cancel_count;
    for (const struct group *g = book->lists[GROUP_OPEN].first; g != NULL; g = g->next)
        for (uint32_t i = 0; i < g->size; i++) {
            const struct sample *sample = &g->samples[i];
            met->leased += sample->state == SAMPLE_LEASED;
            met->streaming += sample->state == SAMPLE_LEASED && sample->count > 0;
            met->finished += sample->state == SAMPLE_FINISHED;
            met->scored += sample->state == SAMPLE_SCORED;
            met->retried += sample->scoring_attempts > 1;
            met->deaths += sample->deaths > 0;
        }
}

static void snapshot_of(const struct book *book, struct buffer *bytes)
{
    buffer_init(bytes, 0);
    must(book_snapshot(book, bytes));
}

/* Through the records of a ledger, in parts of `part` bytes. */
static enum status restore(struct book *book, const struct buffer *bytes, uint32_t part)
{
    uint64_t hash = hash64(bytes->bytes, bytes->size, 0);
    for (uint64_t at = 0; at < bytes->size; at += part) {
        uint64_t left = bytes->size - at;
        struct record record = {.type = RECORD_SNAPSHOT,
                                .snapshot = {7, bytes->size, hash, at,
                                             left < part ? (uint32_t)left : part,
                                             bytes->bytes + at}};
        TRY(book_apply(book, &record));
    }
    return STATUS_OK;
}

static void assert_same(const struct buffer *a, const struct buffer *b, const char *what)
{
    size_t at = 0;
    while (at < a->size && at < b->size && a->bytes[at] == b->bytes[at])
        at++;
    if (a->size != b->size || at < a->size)
        fail_msg("%s: %zu and %zu bytes, they differ at byte %zu", what, a->size, b->size, at);
}

/* A world of its own around `book`, everything else copied. */
static void clone_world(struct world *to, const struct world *from, struct book *book)
{
    *to = *from;
    to->book = book;
    must(arena_create(&to->arena, (size_t)64 << 20));
    book_out_init(&to->out, to->arena);
    buffer_init(&to->ledger, 0);
    for (int i = 0; i < ACTORS_MAX; i++) {
        struct kept_frame *frames = memory_array(FRAMES_MAX, sizeof *frames);
        assert_non_null(frames);
        memcpy(frames, from->actors[i].frames, FRAMES_MAX * sizeof *frames);
        for (uint32_t f = 0; f < FRAMES_MAX; f++)
            for (uint32_t s = 0; s < frames[f].count; s++) {
                frames[f].segments[s].ids = frames[f].ids[s];
                frames[f].segments[s].logprobs = frames[f].logprobs[s];
            }
        to->actors[i].frames = frames;
    }
}

static void free_clone(struct world *world)
{
    for (int i = 0; i < ACTORS_MAX; i++)
        memory_free(world->actors[i].frames);
    book_destroy(&world->book);
    buffer_free(&world->ledger);
    book_out_free(&world->out);
    arena_destroy(&world->arena);
}

/* The store is new; everybody says hello, and life goes on. */
static void live_on(struct world *world, struct buffer *words, uint32_t rounds)
{
    struct trouble trouble = {
        .actor_dies = 20, .reward_dies = 10, .frame_lost = 50, .duplicate = 50};
    buffer_init(words, 0);
    spoken = words;
    book_restarted(world->book, world->now_ns);
    for (uint32_t i = 0; i < ACTORS_MAX; i++)
        reconnect_actor(world, i);
    for (uint32_t i = 0; i < REWARDS; i++)
        if (world->rewards[i].up)
            start_reward(world, i);
    if (world->learner.up)
        hello(world, LEARNER_PEER, ROLE_LEARNER, 0, world->learner.incarnation);
    for (uint32_t n = 0; n < rounds && !world->stopping; n++)
        step(world, &trouble);
    spoken = NULL;
}

static struct book *restored_from(const struct world *world, const struct buffer *bytes,
                                  uint32_t part)
{
    struct book *book = NULL;
    must(book_create(&book, &world->config));
    must(restore(book, bytes, part));
    return book;
}

static void compare_futures(const struct world *world, struct book *replayed, struct book *restored)
{
    struct world a, b;
    struct buffer words_a, words_b, end_a, end_b;
    clone_world(&a, world, replayed);
    clone_world(&b, world, restored);
    live_on(&a, &words_a, ROUNDS_AFTER);
    live_on(&b, &words_b, ROUNDS_AFTER);
    assert_same(&a.ledger, &b.ledger, "records of the next rounds");
    assert_same(&words_a, &words_b, "messages of the next rounds");
    snapshot_of(a.book, &end_a);
    snapshot_of(b.book, &end_b);
    assert_same(&end_a, &end_b, "snapshots after the next rounds");
    buffer_free(&words_a);
    buffer_free(&words_b);
    buffer_free(&end_a);
    buffer_free(&end_b);
    free_clone(&a);
    free_clone(&b);
}

/* What is counted and not written. */
static void assert_same_counts(const struct book *a, const struct book *b)
{
    for (int state = 0; state < GROUP_STATE_COUNT; state++) {
        const struct group *g = a->lists[state].first, *h = b->lists[state].first;
        for (; g != NULL && h != NULL; g = g->next, h = h->next)
            assert_true(g->group_id == h->group_id && g->scored == h->scored &&
                        g->queued == h->queued && g->unscored == h->unscored);
        assert_true(g == NULL && h == NULL && a->lists[state].count == b->lists[state].count);
    }
    assert_int_equal(a->holder_count, b->holder_count);
    for (size_t i = 0; i < a->holder_count; i++)
        assert_true(a->holders[i]->leases == b->holders[i]->leases &&
                    a->holders[i]->tokens == b->holders[i]->tokens);
}

static void one_schedule(uint64_t seed, struct met *met)
{
    static struct world world;
    struct rng rng;
    rng_init(&rng, seed, 11, RNG_TEST);
    struct trouble trouble = {.actor_dies = 8,
                              .reward_dies = 5,
                              .learner_dies = seed % 4 ? 6 : 0,
                              .frame_lost = 30,
                              .duplicate = 30,
                              .store_dies = seed % 3 ? 5 : 0};
    world_create(&world, seed, (uint32_t)(seed % 4));
    world.config.store.max_deaths = seed % 2 ? 1000 : 2;
    if (seed / 2 % 2 == 0)
        world.config.stages = quick_stages();
    world.config.store.over_age = seed % 5 ? OVER_AGE_HOLD : OVER_AGE_DROP;
    world.shaped = seed % 2 != 0;
    if (world.shaped) {
        world.config.curriculum = every_rule();
        world.config.store.filter_on = "accuracy";
    }
    book_destroy(&world.book);
    must(book_create(&world.book, &world.config));
    world.zero_variance_every = seed % 2 ? 3 : 0;
    world.error_every = 2 + (uint32_t)(seed % 5);
    start_all(&world);
    uint32_t rounds = 20 + rng_below(&rng, 1500);
    for (uint32_t n = 0; n < rounds && !world.stopping; n++) {
        if (seed % 3 == 0 && world.learner.version == 3)
            world.mistake = 3;
        if (seed % 5 == 2 && n + 60 == rounds)
            book_drain(world.book, "so that prompts that return wait");
        step(&world, &trouble);
    }
    struct buffer live, first, second;
    struct book *replayed = rebuild(&world);
    note(met, replayed);
    snapshot_of(world.book, &live);
    snapshot_of(replayed, &first);
    struct book *restored = restored_from(&world, &first, 1 + rng_below(&rng, 3000));
    snapshot_of(restored, &second);
    assert_same(&first, &second, "snapshot of the restored book");
    assert_int_equal(book_snapshot_core(&live), book_snapshot_core(&first));
    assert_memory_equal(live.bytes, first.bytes, book_snapshot_core(&first));
    must(restore(replayed, &live, 1 << 20)); /* what it knows already is compared */
    struct book_counters a, b;
    book_read_counters(replayed, &a);
    book_read_counters(restored, &b);
    assert_memory_equal(&a, &b, sizeof a);
    assert_true(replayed->queued == restored->queued && replayed->finished == restored->finished &&
                replayed->committed == restored->committed &&
                replayed->unassigned == restored->unassigned &&
                replayed->leases.count == restored->leases.count);
    assert_same_counts(replayed, restored);
    met->settled += world.stopping;
    compare_futures(&world, replayed, restored);
    buffer_free(&live);
    buffer_free(&first);
    buffer_free(&second);
    world_destroy(&world);
}

static void test_book_snapshot_restored_and_replayed_books_live_alike(void **state)
{
    (void)state;
    struct met met = {0};
    print_message("TEST_SEED=%llu\n", (unsigned long long)seed_base());
    for (uint64_t seed = 0; seed < test_times(SCHEDULES, 100); seed++)
        one_schedule(seed_base() + seed, &met);
    print_message(
        "met: leased %llu, streaming %llu, finished %llu, scored %llu, scored again %llu, "
        "eligible %llu, planned %llu, plans %llu, cancels %llu, returned %llu, branches "
        "%llu, dropped %llu, zero variance %llu, deaths %llu\n",
        (unsigned long long)met.leased, (unsigned long long)met.streaming,
        (unsigned long long)met.finished, (unsigned long long)met.scored,
        (unsigned long long)met.retried, (unsigned long long)met.eligible,
        (unsigned long long)met.planned, (unsigned long long)met.plans,
        (unsigned long long)met.cancels, (unsigned long long)met.returned,
        (unsigned long long)met.branches, (unsigned long long)met.dropped,
        (unsigned long long)met.zero_variance, (unsigned long long)met.deaths);
    assert_true(met.leased && met.streaming && met.finished && met.scored && met.retried);
    assert_true(met.eligible && met.planned && met.plans && met.cancels);
    assert_true(met.stages && (met.stages_back || test_is_slow()));
    assert_true((met.returned && met.deaths) ||
                test_is_slow()); /* rare: none in the fewer schedules of a slow build */
    assert_true(met.branches && met.dead && met.dropped && met.zero_variance);
}

/* A book in the middle of its work. */
static void mid_world(struct world *world, struct buffer *bytes)
{
    struct trouble none = {.actor_dies = 5};
    world_create(world, seed_base(), 2);
    start_all(world);
    for (int n = 0; n < 120; n++)
        step(world, &none);
    snapshot_of(world->book, bytes);
}

static void test_book_snapshot_that_records_do_not_lead_to_is_corrupt(void **state)
{
    (void)state;
    static struct world world;
    struct buffer bytes;
    mid_world(&world, &bytes);
    struct trouble none = {0};
    struct book_counters before, now;
    book_read_counters(world.book, &before);
    now = before;
    for (int n = 0; n < 1000 && now.tokens == before.tokens; n++) {
        step(&world, &none);
        book_read_counters(world.book, &now);
    }
    assert_true(now.tokens > before.tokens);
    assert_int_equal(restore(world.book, &bytes, 1000), STATUS_CORRUPT);
    assert_non_null(strstr(status_last_error(), "do not lead to it"));
    buffer_free(&bytes);
    world_destroy(&world);
}

static void test_book_snapshot_of_another_run_or_out_of_turn_is_refused(void **state)
{
    (void)state;
    static struct world world;
    struct buffer bytes;
    struct book *other = NULL;
    mid_world(&world, &bytes);
    struct book_config config = world.config;
    config.run_seed++;
    must(book_create(&other, &config));
    assert_int_equal(restore(other, &bytes, 1 << 20), STATUS_INVALID);
    book_destroy(&other);
    must(book_create(&other, &world.config));
    struct record part = {.type = RECORD_SNAPSHOT,
                          .snapshot = {0, bytes.size, 1, 5, 4, bytes.bytes}};
    assert_int_equal(book_apply(other, &part), STATUS_CORRUPT);
    part.snapshot.at = 0;
    part.snapshot.size = (uint32_t)bytes.size; /* whole, but its hash is not 1 */
    assert_int_equal(book_apply(other, &part), STATUS_CORRUPT);
    book_destroy(&other);
    buffer_free(&bytes);
    world_destroy(&world);
}

/* With a hash that fits, as nobody but an enemy writes it: an error or a book, never a crash. */
static void test_book_snapshot_of_changed_bytes_never_crashes(void **state)
{
    (void)state;
    static struct world world;
    struct buffer bytes;
    struct rng rng;
    uint64_t refused = 0;
    mid_world(&world, &bytes);
    rng_init(&rng, seed_base(), 12, RNG_TEST);
    for (int i = 0; i < 3000; i++) {
        struct book *book = NULL;
        size_t at = rng_below(&rng, (uint32_t)bytes.size), whole = bytes.size;
        uint8_t old = bytes.bytes[at];
        bytes.bytes[at] = (uint8_t)rng_below(&rng, 256);
        if (i % 5 == 0)
            bytes.size = at + 1;
        must(book_create(&book, &world.config));
        if (restore(book, &bytes, 1 << 20) != STATUS_OK)
            refused++;
        bytes.bytes[at] = old;
        bytes.size = whole;
        book_destroy(&book);
    }
    assert_true(refused > 500);
    buffer_free(&bytes);
    world_destroy(&world);
}

/* Whoever adds a field to the book comes by here: does it survive a restart? Then book_snapshot.c has to walk it.
 * After that the number here follows. */
static void test_book_snapshot_knows_every_field(void **state)
{
    (void)state;
#if defined(__x86_64__)
    assert_int_equal(sizeof(struct sample), 184);
    assert_int_equal(sizeof(struct group), 96);
    assert_int_equal(sizeof(struct holder), 88);
    assert_int_equal(sizeof(struct stored_plan), 120);
    assert_int_equal(sizeof(struct stored_version), 16);
    assert_int_equal(sizeof(struct returned_prompt), 24);
    assert_int_equal(sizeof(struct book_counters), 240);
    assert_int_equal(offsetof(struct book, peers) - offsetof(struct book, lists), 2728);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_book_snapshot_restored_and_replayed_books_live_alike),
        cmocka_unit_test(test_book_snapshot_that_records_do_not_lead_to_is_corrupt),
        cmocka_unit_test(test_book_snapshot_of_another_run_or_out_of_turn_is_refused),
        cmocka_unit_test(test_book_snapshot_of_changed_bytes_never_crashes),
        cmocka_unit_test(test_book_snapshot_knows_every_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
