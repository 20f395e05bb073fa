/* links: rollout_store core */
/* label: unit */
/* timeout: 120 */
/* The book driven by scripted actors, reward workers and a learner: no sockets, no clock, one seed per schedule. */
#include "tests/book_world.h"
#include "tests/slow.h"

/* ---- tests ---- */

static void test_book_sync_shuffled_schedules_same_plans(void **state)
{
    (void)state;
    uint64_t first[PLAN_MAX] = {0};
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct world world;
        struct trouble trouble = {
            .actor_dies = seed % 2 ? 3 : 0, .frame_lost = 20, .duplicate = 20};
        world_create(&world, seed_base() + seed, 0);
        world.config.store.max_deaths = 1000;
        book_destroy(&world.book);
        must(book_create(&world.book, &world.config));
        world.zero_variance_every = 5;
        start_all(&world);
        run_to_end(&world, &trouble, 200000);
        if (seed == 0)
            memcpy(first, world.learner.plan_hash, sizeof first);
        assert_memory_equal(first, world.learner.plan_hash, sizeof first);
        world_destroy(&world);
    }
    assert_true(first[1] != 0 && first[1] != first[2]);
}

/* Who scores decides nothing: plans are those of workers that take single samples. */
static void test_book_whole_groups_to_one_worker_same_plans(void **state)
{
    (void)state;
    uint64_t first[PLAN_MAX] = {0}, along = 0;
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct world world;
        struct trouble trouble = {.actor_dies = seed % 2 ? 3 : 0,
                                  .reward_dies = seed % 3 ? 5 : 0,
                                  .store_dies = seed % 4 == 3 ? 4 : 0,
                                  .frame_lost = 20,
                                  .duplicate = 20};
        world_create(&world, seed_base() + seed, 0);
        world.config.store.max_deaths = world.config.store.max_attempts = 1000;
        book_destroy(&world.book);
        must(book_create(&world.book, &world.config));
        world.zero_variance_every = 5;
        world.error_every = seed % 5 ? 6 : 0;
        world.reward_caps = seed == 0 ? 0 : SCORE_CAP_GROUP | (seed % 2 ? SCORE_CAP_LOGPROBS : 0);
        start_all(&world);
        run_to_end(&world, &trouble, 200000);
        if (seed == 0)
            memcpy(first, world.learner.plan_hash, sizeof first);
        assert_memory_equal(first, world.learner.plan_hash, sizeof first);
        along += world.items_along;
        world_destroy(&world);
    }
    assert_true(along > 0); /* some were scored before the rest of their group failed */
}

static void test_book_random_schedules_keep_invariants(void **state)
{
    (void)state;
    uint64_t base = seed_base(), restarts = 0;
    print_message("TEST_SEED=%llu\n", (unsigned long long)base);
    const char *count_text = getenv("TEST_SCHEDULES");
    uint64_t count = count_text != NULL ? strtoull(count_text, NULL, 10) : test_times(1500, 150);
    for (uint64_t seed = 0; seed < count; seed++) {
        struct world world;
        struct trouble trouble = {.actor_dies = 5,
                                  .reward_dies = 3,
                                  .learner_dies = seed % 4 ? 2 : 0,
                                  .frame_lost = 30,
                                  .duplicate = 30,
                                  .store_dies = seed % 3 ? 4 : 0};
        world_create(&world, base + seed, (uint32_t)(seed % 4));
        world.config.store.max_attempts = world.config.store.max_deaths =
            1000; /* deaths never end a run here */
        book_destroy(&world.book);
        must(book_create(&world.book, &world.config));
        world.zero_variance_every = seed % 2 ? 7 : 0;
        world.error_every = 10;
        start_all(&world);
        run_to_end(&world, &trouble, 200000);
        struct book_counters c;
        book_read_counters(world.book, &c);
        assert_int_equal(c.groups_consumed, world.config.steps * P);
        restarts += trouble.store_dies > 0;
        world_destroy(&world);
    }
    assert_true(restarts > 0);
}

static void test_book_actor_dies_next_goes_on_from_acknowledged_tokens(void **state)
{
    (void)state;
    struct world world;
    world_with_actor(&world);
    generate(&world, 0, 2, false);
    generate(&world, 0, 1, true); /* never arrives in time */
    struct kept_frame late = world.actors[0].frames[0];
    uint64_t dead_incarnation = world.actors[0].incarnation;
    kill_actor(&world, 0);
    pass_ms(&world, 1500);
    start_actor(&world, 1, 16);
    struct book_counters c;
    book_read_counters(world.book, &c);
    assert_true(c.leases_expired > 0 && c.leases_continued > 0);
    for (uint32_t i = 0; i < 16; i++)
        if (world.actors[1].held[i].live &&
            length_of(world.actors[1].held[i].group_id, world.actors[1].held[i].sample) > 2)
            assert_int_equal(world.actors[1].held[i].position, 2);
    for (uint32_t s = 0; s < late.count; s++) {
        late.segments[s].ids = late.ids[s];
        late.segments[s].logprobs = late.logprobs[s];
    }
    struct message message = {
        .type = MESSAGE_segment_frame,
        .segment_frame = {late.frame_id, dead_incarnation, late.count, late.segments}};
    must(book_handle(world.book, world.now_ns, 0, &message, &world.out));
    struct book_counters after;
    book_read_counters(world.book, &after);
    assert_int_equal(after.tokens, c.tokens);
    assert_true(after.tokens_regenerated > 0);
    world_destroy(&world);
}

/* A run resumed with a smaller sampling.response_tokens_max: samples beyond it are leased with nothing left. */
static void test_book_resumed_with_less_room_leases_no_budget(void **state)
{
    (void)state;
    struct world world;
    world_with_actor(&world);
    generate(&world, 0, 3, false);
    kill_actor(&world, 0);
    world.config.sampling.response_tokens_max = 2;
    restart_store(&world);
    pass_ms(&world, 1500);
    start_actor(&world, 1, 16);
    uint32_t longer = 0;
    for (uint32_t i = 0; i < 16; i++)
        longer += world.actors[1].held[i].live && world.actors[1].held[i].position > 2;
    assert_true(longer > 0); /* receive_actor saw that their budget is 0 */
    world_destroy(&world);
}

static void test_book_wrong_digest_again_makes_a_branch(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct world world;
        struct trouble none = {0};
        world_create(&world, seed_base() + seed, (uint32_t)(seed % 3));
        start_all(&world);
        for (uint32_t n = 0; n < 100000 && world.learner.version < 3; n++)
            step(&world, &none);
        assert_int_equal(world.learner.version, 3);
        assert_int_equal(world.learner.checkpoint, 2);
        world.mistake = 3; /* version 3 comes out different the second time */
        world.learner.up = false;
        book_connection(world.book, world.now_ns, LEARNER_PEER, false);
        start_learner(&world);
        run_to_end(&world, &none, 200000);
        struct book_counters c;
        book_read_counters(world.book, &c);
        assert_int_equal(c.branch, 1);
        assert_int_equal(c.version, world.config.steps);
        restart_store(&world);
        world_destroy(&world);
    }
}

static void test_book_all_groups_equal_stops_with_a_sentence(void **state)
{
    (void)state;
    struct world world;
    struct trouble none = {0};
    world_create(&world, seed_base(), 1);
    world.config.store.max_consecutive_dropped = 9;
    book_destroy(&world.book);
    must(book_create(&world.book, &world.config));
    world.zero_variance_every = 1;
    start_all(&world);
    run_to_end(&world, &none, 50000);
    const char *reason = NULL;
    bool failed = false;
    assert_true(book_stopping(world.book, &reason, &failed));
    assert_true(failed);
    assert_non_null(strstr(reason, "9 groups in a row"));
    assert_non_null(strstr(reason, "zero variance"));
    assert_non_null(strstr(reason, "store.dynamic_sampling=false"));
    world_destroy(&world);
}

static void test_book_dynamic_sampling_replaces_the_group(void **state)
{
    (void)state;
    struct world world;
    struct trouble none = {0};
    world_create(&world, seed_base(), 0);
    world.zero_variance_every = 3;
    start_all(&world);
    run_to_end(&world, &none, 100000);
    struct book_counters c;
    book_read_counters(world.book, &c);
    assert_true(c.dropped[DROP_ZERO_VARIANCE] > 0);
    assert_int_equal(c.groups_consumed, world.config.steps * P);
    assert_int_equal(c.groups_born, c.groups_consumed + c.dropped[DROP_ZERO_VARIANCE]);
    for (uint64_t id = 0; id < c.groups_born; id += 3)
        assert_int_equal(world.planned[id], 0);
    world_destroy(&world);
}

static void test_book_poison_segments_are_refused(void **state)
{
    (void)state;
    for (int kind = 0; kind < 7; kind++) {
        struct world world;
        world_create(&world, seed_base(), 0);
        start_learner(&world);
        start_actor(&world, 0, 16);
        struct held held = world.actors[0].held[0];
        assert_true(held.live);
        uint32_t ids[BUDGET + 1] = {0};
        float logprobs[BUDGET + 1] = {0};
        struct segment segment = {.lease_id = held.lease_id,
                                  .group_id = held.group_id,
                                  .sample = held.sample,
                                  .attempt = held.attempt,
                                  .count = 1,
                                  .ids = ids,
                                  .logprobs = logprobs,
                                  .version = 0,
                                  .digest = 1000,
                                  .rebuilt_at = UINT32_MAX,
                                  .numerics_id = 8};
        switch (kind) {
        case 0:
            segment.digest = 1;
            break;
        case 1:
            segment.version = 9;
            break;
        case 2:
            segment.first_position = 5;
            break;
        case 3:
            segment.count = BUDGET + 1;
            break;
        case 4:
            logprobs[0] = 0.5F;
            break;
        case 5:
            segment.numerics_id = 3;
            break;
        default:
            segment.status = SEGMENT_TURN;
            break;
        }
        struct message message = {.type = MESSAGE_segment_frame,
                                  .segment_frame = {1, world.actors[0].incarnation, 1, &segment}};
        deliver(&world, 0, &message);
        struct book_counters c;
        book_read_counters(world.book, &c);
        assert_int_equal(c.segments_refused, 1);
        assert_int_equal(c.tokens, 0);
        for (uint32_t i = 0; i < 16;
             i++) /* the actor was told to stop; it got the sample anew, if at all */
            assert_true(!world.actors[0].held[i].live ||
                        world.actors[0].held[i].lease_id != held.lease_id);
        world_destroy(&world);
    }
}

static void test_book_leases_without_tokens_drop_the_group_and_its_prompt_returns(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, seed_base(), 0);
    start_learner(&world);
    struct book_counters c = {0};
    uint32_t deaths = 0;
    for (; c.dropped[DROP_GENERATION_FAILED] == 0 && deaths < 30; deaths++) {
        start_actor(&world, 0, 16);
        kill_actor(&world, 0); /* never makes a token */
        pass_ms(&world, 1500);
        book_read_counters(world.book, &c);
    }
    assert_int_equal(deaths, world.config.store.max_deaths);
    assert_int_equal(c.dropped[DROP_GENERATION_FAILED], P);
    assert_int_equal(c.groups_born, 2 * P); /* the same prompts once more */
    start_actor(&world, 1, 16);
    uint64_t groups[16] = {0};
    for (uint32_t i = 0; i < 16; i++)
        groups[i] = world.actors[1].held[i].group_id;
    for (uint32_t i = 0; i < 16; i++)
        assert_true(groups[i] >= P && groups[i] < 2 * P);
    struct book *rebuilt = rebuild(&world);
    compare_books(&world, rebuilt);
    book_destroy(&rebuilt);
    world_destroy(&world);
}

static const char *refusal(struct world *world, const struct hello *said)
{
    struct message message = {.type = MESSAGE_hello, .hello = *said};
    book_out_clear(&world->out);
    must(book_handle(world->book, world->now_ns, 3, &message, &world->out));
    for (size_t i = 0; i < world->out.send_count; i++)
        if (world->out.sends[i].message.type == MESSAGE_refused)
            return world->out.sends[i].message.refused.reason;
    return "";
}

static void test_book_strangers_are_refused_with_both_texts(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, seed_base(), 0);
    start_learner(&world);
    struct hello said = {.run = "other",
                         .role = ROLE_ACTOR,
                         .index = 3,
                         .incarnation = 5,
                         .layout_hash = 9,
                         .numerics_id = 8,
                         .numerics = "n"};
    assert_non_null(strstr(refusal(&world, &said), "run \"test\", you are of run \"other\""));
    said.run = "test";
    said.layout_hash = 10;
    assert_non_null(strstr(refusal(&world, &said), "000000000000000a"));
    said.layout_hash = 9;
    said.numerics_id = 7;
    said.numerics = "avx2";
    assert_non_null(strstr(refusal(&world, &said), "\"avx2\", the learner's are \"n\""));
    said.role = (enum role)77;
    assert_non_null(strstr(refusal(&world, &said), "role 77"));
    world_destroy(&world);
}

static void test_book_over_age_mask_and_drop_end(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct world world;
        struct trouble trouble = {.actor_dies = 3, .learner_dies = 2, .store_dies = 3};
        world_create(&world, seed_base() + seed, (uint32_t)(seed % 2));
        world.config.store.over_age = seed % 3 ? OVER_AGE_MASK : OVER_AGE_DROP;
        world.config.store.max_deaths = 1000;
        book_destroy(&world.book);
        must(book_create(&world.book, &world.config));
        start_all(&world);
        run_to_end(&world, &trouble, 200000);
        world_destroy(&world);
    }
}

static void test_book_control_answers_json(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, seed_base(), 1);
    start_all(&world);
    hello(&world, 99, ROLE_CONTROL, 0, 1);
    const char *const commands[] = {"status", "why", "counters", "nonsense", "drain", "stop"};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        struct message message = {.type = MESSAGE_control, .control = {i, commands[i], "{}"}};
        book_out_clear(&world.out);
        must(book_handle(world.book, world.now_ns, 99, &message, &world.out));
        const struct message *reply = &world.out.sends[world.out.send_count - 1].message;
        assert_int_equal(reply->type, MESSAGE_control_reply);
        assert_int_equal(reply->control_reply.ok, strcmp(commands[i], "nonsense") != 0);
        assert_int_equal(reply->control_reply.json[0], '{');
    }
    const char *reason;
    bool failed;
    assert_true(book_stopping(world.book, &reason, &failed));
    assert_false(failed);
    world_destroy(&world);
}

/* The only message of the answer to what `peer` says; NULL: none. */
static const struct book_send *handed_on(struct world *world, uint32_t peer,
                                         const struct weight_control *control)
{
    struct message message = {.type = MESSAGE_weight_control, .weight_control = *control};
    book_out_clear(&world->out);
    must(book_handle(world->book, world->now_ns, peer, &message, &world->out));
    assert_int_equal(world->out.records.size, 0); /* nothing of it is kept */
    assert_in_range(world->out.send_count, 0, 1);
    return world->out.send_count > 0 ? &world->out.sends[0] : NULL;
}

static void test_book_weight_controls_are_handed_on_and_not_kept(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, seed_base(), 1);
    start_all(&world);
    uint32_t id[WIRE_WEIGHT_ID_WORDS] = {5, [WIRE_WEIGHT_ID_WORDS - 1] = 6};
    const uint64_t incarnation = world.actors[1].incarnation;
    struct weight_control control = {.kind = WEIGHT_EPOCH,
                                     .actor = 1,
                                     .incarnation = incarnation,
                                     .rank = 1,
                                     .ranks = 2,
                                     .id_count = WIRE_WEIGHT_ID_WORDS,
                                     .id = id};
    const struct book_send *sent = handed_on(&world, LEARNER_PEER, &control);
    assert_non_null(sent);
    assert_int_equal(sent->peer, 1);
    assert_ptr_not_equal(sent->message.weight_control.id, id); /* the message may be gone by then */
    assert_memory_equal(sent->message.weight_control.id, id, sizeof id);
    control.incarnation++;
    assert_null(handed_on(&world, LEARNER_PEER, &control));
    control.actor = ACTORS_MAX;
    assert_null(handed_on(&world, LEARNER_PEER, &control));
    assert_null(handed_on(&world, REWARD_PEER, &control));
    /* An actor speaks for itself, whatever it says. */
    control =
        (struct weight_control){.kind = WEIGHT_HERE, .actor = 0, .incarnation = 1, .epoch = 7};
    sent = handed_on(&world, 1, &control);
    assert_non_null(sent);
    assert_int_equal(sent->peer, LEARNER_PEER);
    assert_int_equal(sent->message.weight_control.actor, 1);
    assert_int_equal(sent->message.weight_control.incarnation, incarnation);
    assert_int_equal(sent->message.weight_control.epoch, 7);
    world_destroy(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_book_sync_shuffled_schedules_same_plans),
        cmocka_unit_test(test_book_actor_dies_next_goes_on_from_acknowledged_tokens),
        cmocka_unit_test(test_book_resumed_with_less_room_leases_no_budget),
        cmocka_unit_test(test_book_wrong_digest_again_makes_a_branch),
        cmocka_unit_test(test_book_all_groups_equal_stops_with_a_sentence),
        cmocka_unit_test(test_book_dynamic_sampling_replaces_the_group),
        cmocka_unit_test(test_book_leases_without_tokens_drop_the_group_and_its_prompt_returns),
        cmocka_unit_test(test_book_poison_segments_are_refused),
        cmocka_unit_test(test_book_strangers_are_refused_with_both_texts),
        cmocka_unit_test(test_book_over_age_mask_and_drop_end),
        cmocka_unit_test(test_book_control_answers_json),
        cmocka_unit_test(test_book_weight_controls_are_handed_on_and_not_kept),
        cmocka_unit_test(test_book_whole_groups_to_one_worker_same_plans),
        cmocka_unit_test(test_book_random_schedules_keep_invariants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
