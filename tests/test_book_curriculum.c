/* links: rollout_store core */
/* label: unit */
/* timeout: 60 */
/* The curriculum inside the book: the filter looks at accuracy before shaping, what is dropped is replaced, sources are
 * paused and resumed, and a ledger and its prefixes lead to one state. */
#include "core/checksum.h"
#include "rollout_store/book_snapshot.h"
#include "tests/book_world.h"
#include "tests/slow.h"

static void create(struct world *world, uint64_t seed, uint32_t staleness,
                   const struct curriculum_settings *curriculum, const char *filter_on)
{
    world_create(world, seed, staleness);
    world->config.curriculum = *curriculum;
    world->config.store.filter_on = filter_on;
    book_destroy(&world->book);
    must(book_create(&world->book, &world->config));
    book_restarted(world->book, world->now_ns);
}

static struct curriculum_settings plain(void)
{
    return (struct curriculum_settings){
        .mix = "", .quotas = "", .pass_value = 0.5000001, .pass_high = 1};
}

/* Rewards differ by their samples' numbers, so that only the accuracy says that all are right. */
static void test_book_filter_sees_accuracy_through_shaped_rewards(void **state)
{
    (void)state;
    const struct trouble none = {0};
    for (int filtered = 0; filtered < 2; filtered++) {
        struct world world;
        struct curriculum_settings curriculum = plain();
        create(&world, seed_base(), 1, &curriculum, filtered ? "accuracy" : "");
        world.shaped = true;
        world.zero_variance_every = 3;
        start_all(&world);
        run_to_end(&world, &none, 100000);
        struct book_counters c;
        book_read_counters(world.book, &c);
        assert_int_equal(c.groups_consumed, world.config.steps * P); /* each plan has its size */
        for (uint64_t id = 0; filtered && id < c.groups_born; id += 3)
            assert_int_equal(world.planned[id], 0);
        if (filtered)
            assert_true(c.dropped[DROP_ZERO_VARIANCE] > 0 &&
                        c.groups_born == c.groups_consumed + c.dropped[DROP_ZERO_VARIANCE]);
        else
            assert_int_equal(c.dropped[DROP_ZERO_VARIANCE], 0);
        world_destroy(&world);
    }
}

static void test_book_filter_names_are_tried_in_turn(void **state)
{
    (void)state;
    const struct trouble none = {0};
    const char *names[] = {"correct, accuracy", "correct,value", "value"};
    for (size_t i = 0; i < 3; i++) {
        struct world world;
        struct curriculum_settings curriculum = plain();
        create(&world, seed_base(), 0, &curriculum, names[i]);
        world.shaped = true;
        world.zero_variance_every = 4;
        start_all(&world);
        run_to_end(&world, &none, 100000);
        struct book_counters c;
        book_read_counters(world.book, &c);
        assert_true((c.dropped[DROP_ZERO_VARIANCE] > 0) == (i == 0));
        world_destroy(&world);
    }
}

/* A plugin that lacks it is an error with a sentence, not a filter that is silently off. */
static void test_book_filter_without_its_metric_says_so(void **state)
{
    (void)state;
    struct world world;
    const struct trouble none = {0};
    struct curriculum_settings curriculum = plain();
    create(&world, seed_base(), 1, &curriculum, "acc");
    world.config.store.max_consecutive_dropped = 5;
    book_destroy(&world.book);
    must(book_create(&world.book, &world.config));
    world.shaped = true;
    start_all(&world);
    run_to_end(&world, &none, 100000);
    const char *reason = NULL;
    bool failed = false;
    assert_true(book_stopping(world.book, &reason, &failed) && failed);
    assert_non_null(strstr(reason, "scoring failed"));
    bool said = false;
    struct arena *arena = NULL;
    must(arena_create(&arena, 1 << 20));
    for (size_t at = 0, used = 0; at < world.ledger.size; at += used) {
        struct record record;
        arena_reset(arena);
        must(record_unpack(&record, arena, world.ledger.bytes + at, world.ledger.size - at, &used));
        said = said || (record.type == RECORD_SCORED &&
                        strstr(record.scored.score.detail_json,
                               "no sub-metric \\\"acc\\\" (store.filter_on); it has: accuracy"));
        assert_true(record.type != RECORD_CLOSED);
    }
    assert_true(said);
    arena_destroy(&arena);
    world_destroy(&world);
}

/* Over-age tokens are masked, samples span versions, and the filter still sees whole groups. */
static void test_book_filter_works_with_samples_that_span_versions(void **state)
{
    (void)state;
    uint64_t spanning = 0, masked = 0, dropped = 0;
    for (uint64_t seed = 0; seed < test_times(40, 8); seed++) {
        struct world world;
        struct trouble trouble = {.actor_dies = 5, .store_dies = 3};
        struct curriculum_settings curriculum = every_rule();
        create(&world, seed_base() + seed, 1, &curriculum, "accuracy");
        world.config.store.over_age = OVER_AGE_MASK;
        world.config.store.max_deaths = 1000;
        book_destroy(&world.book);
        must(book_create(&world.book, &world.config));
        world.shaped = true;
        world.zero_variance_every = 5;
        start_all(&world);
        run_to_end(&world, &trouble, 200000);
        struct book_counters c;
        book_read_counters(world.book, &c);
        assert_int_equal(c.groups_consumed, world.config.steps * P);
        for (uint64_t id = 0; id < c.groups_born; id += 5)
            assert_int_equal(world.planned[id], 0);
        dropped += c.dropped[DROP_ZERO_VARIANCE];
        masked += c.staleness_max > 1;
        spanning += c.leases_continued;
        world_destroy(&world);
    }
    assert_true(spanning > 0 && masked > 0 && dropped > 0);
}

static void test_book_everything_retired_stops_with_a_sentence(void **state)
{
    (void)state;
    struct world world;
    const struct trouble none = {0};
    struct curriculum_settings curriculum = plain();
    curriculum.retire_at = 0.5; /* what every group of this world reaches */
    create(&world, seed_base(), 1, &curriculum, "");
    world.config.steps = 40;
    book_destroy(&world.book);
    must(book_create(&world.book, &world.config));
    start_all(&world);
    run_to_end(&world, &none, 100000);
    const char *reason = NULL;
    bool failed = false;
    assert_true(book_stopping(world.book, &reason, &failed) && failed);
    assert_non_null(strstr(reason, "no prompt is left to draw"));
    assert_non_null(strstr(reason, "curriculum.when_retired=reopen"));
    struct book_counters c;
    book_read_counters(world.book, &c);
    assert_true(c.groups_born >= PROMPTS && c.groups_born < 2 * PROMPTS);
    world_destroy(&world);
}

static const char *ask(struct world *world, const char *command, const char *arguments)
{
    static char json[65536];
    struct message message = {.type = MESSAGE_control, .control = {1, command, arguments}};
    hello(world, 95, ROLE_CONTROL, 0, 1);
    must(book_handle(world->book, world->now_ns, 95, &message, &world->out));
    must(buffer_append(&world->ledger, world->out.records.bytes, world->out.records.size));
    const struct message *reply = &world->out.sends[world->out.send_count - 1].message;
    assert_int_equal(reply->type, MESSAGE_control_reply);
    snprintf(json, sizeof json, "%s", reply->control_reply.json);
    book_out_clear(&world->out);
    return json;
}

static void test_book_paused_sources_survive_a_restart_and_rescore_resumes_them(void **state)
{
    (void)state;
    struct world world;
    const struct trouble none = {0};
    struct curriculum_settings curriculum = plain();
    create(&world, seed_base(), 1, &curriculum, "");
    start_all(&world);
    for (int n = 0; n < 30; n++)
        step(&world, &none);
    assert_string_equal(ask(&world, "pause", "{\"source\":\"s[02]\"}"), "{\"sources\":2}");
    assert_string_equal(ask(&world, "pause", "{\"source\":\"s0\"}"), "{\"sources\":0}");
    assert_non_null(strstr(ask(&world, "pause", "{}"), "error"));
    const char *refusal = ask(&world, "pause", "{\"source\":\"nosuch\"}");
    assert_non_null(strstr(refusal, "no data source matches"));
    assert_non_null(strstr(refusal, " s0, s1"));
    assert_non_null(strstr(ask(&world, "status", "{}"), "\"source\":\"s1\""));
    restart_store(&world);
    struct book_counters before, after;
    book_read_counters(world.book, &before);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(curriculum_paused(book_curriculum(world.book), i), i != 1);
    for (int n = 0; n < 400 && !world.stopping; n++)
        step(&world, &none);
    book_read_counters(world.book, &after);
    assert_true(after.groups_born > before.groups_born);
    struct curriculum_source sources[3];
    for (uint32_t i = 0; i < 3; i++)
        curriculum_source(book_curriculum(world.book), after.version, i, &sources[i]);
    assert_true(sources[0].births + sources[2].births <= before.groups_born);
    assert_string_equal(ask(&world, "pause", "{\"source\":\"*\"}"), "{\"sources\":1}");
    for (int n = 0; n < 400; n++)
        step(&world, &none);
    const char *reason;
    bool failed;
    if (!book_stopping(world.book, &reason, &failed)) /* waits, and `why` says for whom */
        assert_non_null(strstr(ask(&world, "why", "{}"), "weir release"));
    ask(&world, "rescore", "{}");
    for (uint32_t i = 0; i < 3; i++)
        assert_false(curriculum_paused(book_curriculum(world.book), i));
    world_destroy(&world);
}

/* State after a prefix of the ledger and the rest = the state of the whole, by way of a snapshot at the cut. */
static void test_book_curriculum_prefix_and_rest_are_the_whole(void **state)
{
    (void)state;
    struct world world;
    struct trouble trouble = {.actor_dies = 5, .learner_dies = 4, .store_dies = 5};
    struct curriculum_settings curriculum = every_rule();
    create(&world, seed_base(), 2, &curriculum, "accuracy");
    world.shaped = true;
    world.zero_variance_every = 3;
    world.mistake = 0;
    start_all(&world);
    for (uint32_t n = 0; n < 3000 && !world.stopping; n++) {
        if (world.learner.version == 3)
            world.mistake = 3; /* and a branch: births and skills of the dead one stay */
        step(&world, &trouble);
    }
    struct buffer whole, half, end;
    buffer_init(&whole, 0);
    struct book *replayed = rebuild(&world);
    must(book_snapshot(replayed, &whole));
    size_t births = 0;
    struct arena *arena = NULL;
    must(arena_create(&arena, 1 << 20));
    struct book *first = NULL;
    must(book_create(&first, &world.config));
    for (size_t at = 0, used = 0, number = 0; at < world.ledger.size; at += used, number++) {
        struct record record;
        arena_reset(arena);
        must(record_unpack(&record, arena, world.ledger.bytes + at, world.ledger.size - at, &used));
        must(book_apply(first, &record));
        births += record.type == RECORD_BORN && record.born.retry == 0;
        if (number == 0 || (record.type != RECORD_BORN && number % 97 != 0))
            continue;
        struct book *second = NULL;
        buffer_init(&half, 0);
        buffer_init(&end, 0);
        must(book_snapshot(first, &half));
        must(book_create(&second, &world.config));
        struct record part = {.type = RECORD_SNAPSHOT,
                              .snapshot = {at, half.size, hash64(half.bytes, half.size, 0), 0,
                                           (uint32_t)half.size, half.bytes}};
        must(book_apply(second, &part));
        for (size_t rest = at + used, more = 0; number % 97 == 0 && rest < world.ledger.size;
             rest += more) {
            struct record next;
            arena_reset(arena);
            must(record_unpack(&next, arena, world.ledger.bytes + rest, world.ledger.size - rest,
                               &more));
            must(book_apply(second, &next));
        }
        must(book_snapshot(second, &end));
        const struct buffer *wanted = number % 97 == 0 ? &whole : &half;
        size_t core = book_snapshot_core(wanted);
        assert_int_equal(core, book_snapshot_core(&end));
        assert_memory_equal(wanted->bytes, end.bytes, core);
        buffer_free(&half);
        buffer_free(&end);
        book_destroy(&second);
    }
    uint64_t counted = 0;
    for (uint32_t i = 0; i < 3; i++) {
        struct curriculum_source source;
        curriculum_source(book_curriculum(first), 0, i, &source);
        counted += source.births;
    }
    assert_int_equal(counted, births);
    buffer_free(&whole);
    arena_destroy(&arena);
    book_destroy(&first);
    book_destroy(&replayed);
    world_destroy(&world);
}

/* A resumed run may have another recipe: the ledger of the old one is read, and life goes on by the new one. */
static void test_book_curriculum_of_another_recipe_reads_the_ledger(void **state)
{
    (void)state;
    const struct trouble trouble = {.actor_dies = 5};
    for (int to_rules = 0; to_rules < 2; to_rules++) {
        struct world world;
        struct curriculum_settings with = every_rule(), without = plain();
        create(&world, seed_base(), 1, to_rules ? &without : &with, "");
        world.zero_variance_every = 5;
        start_all(&world);
        for (int n = 0; n < 400; n++)
            step(&world, &trouble);
        world.config.curriculum = to_rules ? with : without;
        world.config.store.filter_on = "accuracy, value";
        restart_store(&world);
        run_to_end(&world, &trouble, 200000);
        struct book_counters c;
        book_read_counters(world.book, &c);
        assert_int_equal(c.groups_consumed, world.config.steps * P);
        restart_store(&world);
        world_destroy(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_book_filter_sees_accuracy_through_shaped_rewards),
        cmocka_unit_test(test_book_filter_names_are_tried_in_turn),
        cmocka_unit_test(test_book_filter_without_its_metric_says_so),
        cmocka_unit_test(test_book_filter_works_with_samples_that_span_versions),
        cmocka_unit_test(test_book_everything_retired_stops_with_a_sentence),
        cmocka_unit_test(test_book_paused_sources_survive_a_restart_and_rescore_resumes_them),
        cmocka_unit_test(test_book_curriculum_of_another_recipe_reads_the_ledger),
        cmocka_unit_test(test_book_curriculum_prefix_and_rest_are_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
