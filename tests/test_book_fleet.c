/* links: rollout_store core PkgConfig::jansson */
/* label: unit */
/* timeout: 60 */
/* Who may take which place, what silence and death mean, draining one process, and what `why` says of it. */
#include <inttypes.h>
#include <jansson.h>

#include "tests/book_world.h"
#include "tests/slow.h"

/* ---- helpers ---- */

static struct hello hello_of(enum role role, uint32_t index, uint64_t incarnation, uint32_t pid)
{
    return (struct hello){.run = "test",
                          .role = role,
                          .index = index,
                          .incarnation = incarnation,
                          .pid = pid,
                          .host = "far",
                          .layout_hash = role == ROLE_REWARD ? 0 : 9,
                          .numerics_id = role == ROLE_REWARD ? 0 : 8,
                          .numerics = "n"};
}

/* What `peer` is told in answer to a hello: type of the first message to it, NONE nothing; a refusal's text. */
static enum message_type answer(struct world *world, uint32_t peer, const struct hello *said,
                                char text[512])
{
    struct message message = {.type = MESSAGE_hello, .hello = *said};
    enum message_type type = MESSAGE_NONE;
    book_out_clear(&world->out);
    text[0] = '\0';
    must(book_handle(world->book, world->now_ns, peer, &message, &world->out));
    for (size_t i = 0; i < world->out.send_count && type == MESSAGE_NONE; i++)
        if (world->out.sends[i].peer == peer) {
            type = world->out.sends[i].message.type;
            if (type == MESSAGE_refused)
                snprintf(text, 512, "%s", world->out.sends[i].message.refused.reason);
        }
    settle(world);
    return type;
}

static struct book_counters counters(const struct world *world)
{
    struct book_counters c;
    book_read_counters(world->book, &c);
    return c;
}

static json_t *ask(const struct world *world, const char *what)
{
    struct buffer json;
    buffer_init(&json, 0);
    must(strcmp(what, "why") == 0 ? book_why_json(world->book, world->now_ns, &json)
                                  : book_status_json(world->book, world->now_ns, &json));
    json_t *value = json_loads(buffer_string(&json), 0, NULL);
    assert_non_null(value);
    buffer_free(&json);
    return value;
}

static void assert_because(const struct world *world, const char *text)
{
    json_t *why = ask(world, "why");
    const char *because = json_string_value(json_object_get(why, "because"));
    assert_non_null(because);
    if (strstr(because, text) == NULL)
        fprintf(stderr, "because: %s\nwanted: %s\n", because, text);
    assert_non_null(strstr(because, text));
    json_decref(why);
}

static uint32_t held_count(const struct world *world, uint32_t i)
{
    uint32_t count = 0;
    for (uint32_t h = 0; h < world->actors[i].slots; h++)
        count += world->actors[i].held[h].live;
    return count;
}

/* Beats of actor 0 and the learner while time passes. */
static void live_ms(struct world *world, int64_t ms)
{
    for (int64_t at = 0; at < ms; at += 50) {
        world->now_ns += 50 * MS;
        beat_all(world);
    }
}

/* ---- places ---- */

static void test_book_fleet_second_process_waits_and_is_refused_by_name(void **state)
{
    (void)state;
    struct world world;
    char why[512];
    world_with_actor(&world);
    uint64_t issued = counters(&world).leases_issued;
    struct hello second = hello_of(ROLE_ACTOR, 0, 7, 4711);
    struct hello first = hello_of(ROLE_ACTOR, 1, 8, 4242);
    assert_int_equal(answer(&world, 1, &first, why), MESSAGE_welcome);
    second.index = 1;
    int64_t begin_ns = world.now_ns;
    enum message_type type = MESSAGE_NONE;
    for (int n = 0; n < 60 && type == MESSAGE_NONE; n++) {
        world.now_ns += 100 * MS;
        beat_all(&world);
        beat(&world, 1); /* the holder lives */
        type = answer(&world, 2, &second, why);
    }
    assert_int_equal(type, MESSAGE_refused);
    assert_in_range(world.now_ns - begin_ns, 2000 * MS, 2300 * MS);
    assert_non_null(strstr(why, "actor.1 is process 4242 on host far"));
    assert_int_equal(counters(&world).leases_expired, 0);
    assert_true(counters(&world).leases_issued >= issued);
    world_destroy(&world);
}

static void test_book_fleet_dead_connection_gives_the_place_at_once(void **state)
{
    (void)state;
    struct world world;
    world_with_actor(&world);
    generate(&world, 0, 2, false);
    uint32_t held = held_count(&world, 0);
    assert_true(held > 0);
    uint64_t larger = world.actors[0].incarnation;
    kill_actor(&world, 0);
    char why[512];
    struct hello next =
        hello_of(ROLE_ACTOR, 0, larger - 50, 9); /* a smaller number is another process too */
    assert_int_equal(answer(&world, 3, &next, why), MESSAGE_welcome);
    assert_int_equal(counters(&world).leases_expired, held);
    struct hello old = hello_of(ROLE_ACTOR, 0, larger, 8); /* it was only cut off, and comes back */
    assert_int_equal(answer(&world, 0, &old, why), MESSAGE_NONE);
    world_destroy(&world);
}

static void test_book_fleet_cut_off_process_comes_back_to_its_leases(void **state)
{
    (void)state;
    struct world world;
    world_with_actor(&world);
    generate(&world, 0, 1, false);
    uint32_t held = held_count(&world, 0);
    book_connection(world.book, world.now_ns, 0, false);
    pass_ms(&world, 600); /* under lease_ms */
    reconnect_actor(&world, 0);
    assert_int_equal(counters(&world).leases_expired, 0);
    generate(&world, 0, 1, false);
    assert_int_equal(counters(&world).segments_refused, 0);
    assert_int_equal(held_count(&world, 0) <= held, 1);
    world_destroy(&world);
}

static void test_book_fleet_nothing_is_leased_to_a_dead_connection(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, seed_base(), 0);
    start_learner(&world);
    start_actor(&world, 0, 4);
    uint64_t issued = counters(&world).leases_issued;
    book_connection(world.book, world.now_ns, 0, false);
    generate(&world, 1, 1, false);
    pass_ms(&world, 300);
    assert_int_equal(counters(&world).leases_issued, issued);
    reconnect_actor(&world, 0);
    assert_true(counters(&world).leases_issued > issued);
    world_destroy(&world);
}

static void test_book_fleet_stopped_store_blames_nobody(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, seed_base(), 0);
    start_all(&world);
    generate(&world, 0, 1, false);
    for (int n = 0; n < 5; n++) { /* five times a minute in which the store did not run */
        world.now_ns += 60000 * MS;
        settle(&world);
        beat_all(&world);
    }
    assert_int_equal(counters(&world).leases_expired, 0);
    json_t *status = ask(&world, "status");
    json_t *peers = json_object_get(status, "peers");
    for (size_t i = 0; i < json_array_size(peers); i++)
        assert_true(json_integer_value(json_object_get(json_array_get(peers, i), "silent_ms")) <
                    1000);
    json_decref(status);
    world_destroy(&world);
}

static void test_book_fleet_deaths_are_no_failures(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, seed_base(), 0);
    start_learner(&world);
    for (uint32_t n = 0; n + 1 < world.config.store.max_deaths; n++) {
        start_actor(&world, 0, 16);
        kill_actor(&world, 0);
    }
    assert_int_equal(counters(&world).dropped[DROP_GENERATION_FAILED], 0);
    start_actor(&world, 0, 16);
    generate(&world, 0, 1, false); /* a token: the count begins anew */
    kill_actor(&world, 0);
    for (uint32_t n = 0; n + 1 < world.config.store.max_deaths; n++) {
        start_actor(&world, 0, 16);
        kill_actor(&world, 0);
    }
    assert_int_equal(counters(&world).dropped[DROP_GENERATION_FAILED], 0);
    struct book *rebuilt = rebuild(&world);
    compare_books(&world, rebuilt);
    book_destroy(&rebuilt);
    world_destroy(&world);
}

/* ---- drain ---- */

static bool control(struct world *world, const char *command, const char *arguments, char text[512])
{
    struct message message = {.type = MESSAGE_control, .control = {1, command, arguments}};
    book_out_clear(&world->out);
    must(book_handle(world->book, world->now_ns, 99, &message, &world->out));
    const struct message *reply = &world->out.sends[world->out.send_count - 1].message;
    assert_int_equal(reply->type, MESSAGE_control_reply);
    snprintf(text, 512, "%s", reply->control_reply.json);
    return reply->control_reply.ok;
}

static void test_book_fleet_drain_one_process(void **state)
{
    (void)state;
    struct world world;
    char text[512];
    world_create(&world, seed_base(), 1);
    start_all(&world);
    hello(&world, 99, ROLE_CONTROL, 0, 1);
    assert_false(control(&world, "drain", "{\"process\":\"actor.9\"}", text));
    assert_non_null(strstr(text, "there is no actor.9 here"));
    assert_non_null(strstr(text, "actor.0, actor.1"));
    assert_false(control(&world, "drain", "{\"process\":\"learner.0\"}", text));
    assert_false(control(&world, "drain", "{\"process\":7}", text));
    assert_false(control(&world, "drain", "nonsense", text));
    assert_true(control(&world, "drain", "{\"process\":\"actor.1\"}", text));
    must(book_tick(world.book, world.now_ns, &world.out));
    bool told = false;
    for (size_t i = 0; i < world.out.send_count; i++) {
        const struct message *sent = &world.out.sends[i].message;
        if (sent->type != MESSAGE_notice)
            continue;
        told = told || world.out.sends[i].peer == 1;
        assert_int_equal(sent->notice.draining, world.out.sends[i].peer == 1);
        assert_false(sent->notice.stopping);
    }
    assert_true(told);
    settle(&world);
    json_t *status = ask(&world, "status");
    json_t *peers = json_object_get(status, "peers");
    for (size_t i = 0; i < json_array_size(peers); i++) {
        json_t *peer = json_array_get(peers, i);
        bool drained = strcmp(json_string_value(json_object_get(peer, "role")), "actor") == 0 &&
                       json_integer_value(json_object_get(peer, "index")) == 1;
        assert_int_equal(json_is_true(json_object_get(peer, "draining")), drained);
    }
    json_decref(status);
    uint32_t before = held_count(&world, 1);
    live_ms(&world, 200);
    assert_true(held_count(&world, 1) <= before); /* nothing new */
    uint64_t expired = counters(&world).leases_expired;
    struct message bye = {.type = MESSAGE_bye, .bye = {"drained"}};
    world.actors[1].up = false;
    deliver(&world, 1, &bye);
    assert_int_equal(counters(&world).leases_expired, expired + before);
    struct trouble none = {0};
    run_to_end(&world, &none, 200000);
    assert_int_equal(counters(&world).dropped[DROP_GENERATION_FAILED], 0);
    world_destroy(&world);
}

/* ---- rescoring ---- */

static void work_rounds(struct world *world, uint32_t rounds)
{
    for (uint32_t n = 0; n < rounds; n++) {
        world->now_ns += 10 * MS;
        generate(world, n % ACTORS_MAX, 3, false);
        score(world, n % REWARDS, 8);
        if (n % 10 == 0)
            beat_all(world);
    }
}

/* Voids every score that no plan has, again and again, and the run still ends: nothing trained twice, nothing lost. */
static void test_book_fleet_rescore_scores_open_groups_again(void **state)
{
    (void)state;
    struct world world;
    char text[512];
    world_create(&world, seed_base(), 1);
    start_all(&world);
    hello(&world, 99, ROLE_CONTROL, 0, 1);
    assert_false(control(&world, "rescore", "{\"source\":7}", text));
    world.learner.up = false; /* groups become eligible and stay */
    book_connection(world.book, world.now_ns, LEARNER_PEER, false);
    work_rounds(&world, 500);
    struct book_counters before = counters(&world);
    assert_true(before.groups_eligible > 0);
    assert_true(control(&world, "rescore", "{\"source\":\"no such source\"}", text));
    assert_string_equal(text, "{\"groups\":0,\"rollouts\":0}");
    assert_true(control(&world, "rescore", "{}", text));
    settle(&world);
    assert_int_equal(counters(&world).groups_eligible, 0);
    assert_true(counters(&world).rollouts_scored +
                    before.groups_eligible * world.config.store.group_size <=
                before.rollouts_scored);
    assert_int_equal(counters(&world).groups_open, before.groups_open + before.groups_eligible);
    struct book *rebuilt = rebuild(&world);
    compare_books(&world, rebuilt);
    book_destroy(&rebuilt);
    work_rounds(&world, 500);
    assert_true(counters(&world).rollouts_scored >= before.rollouts_scored);
    assert_true(counters(&world).groups_eligible > 0);
    start_learner(&world);
    struct trouble none = {0};
    run_to_end(&world, &none, 200000);
    world_destroy(&world);
}

/* ---- bounds ---- */

/* A learner that is away for long: actors and reward workers fill what admission allows, then all stands still. */
static void test_book_fleet_absent_learner_bounds_everything(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, seed_base(), 2);
    start_all(&world);
    world.learner.up = false;
    book_connection(world.book, world.now_ns, LEARNER_PEER, false);
    size_t ledger = 0;
    struct book_counters then = {0};
    for (uint32_t n = 0; n < 4000; n++) {
        world.now_ns += 10 * MS;
        generate(&world, n % ACTORS_MAX, 3, false);
        score(&world, n % REWARDS, 8);
        if (n % 10 == 0)
            beat_all(&world);
        if (n == 2000) {
            ledger = world.ledger.size;
            then = counters(&world);
        }
    }
    struct book_counters now = counters(&world);
    assert_int_equal(world.ledger.size, ledger);
    assert_int_equal(now.groups_born, then.groups_born);
    assert_int_equal(now.tokens, then.tokens);
    assert_true(now.groups_open + now.groups_eligible <=
                (world.config.store.max_staleness + 1) * (uint64_t)P);
    assert_because(&world, "learner.0");
    struct trouble none = {0};
    start_learner(&world);
    run_to_end(&world, &none, 200000);
    assert_int_equal(counters(&world).groups_consumed, world.config.steps * P);
    world_destroy(&world);
}

static void test_book_fleet_long_texts_of_a_peer_are_not_kept(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, seed_base(), 0);
    start_learner(&world);
    start_actor(&world, 0, 4);
    static char big[1 << 20];
    memset(big, ' ', sizeof big - 1);
    big[0] = '{';
    big[sizeof big - 2] = '}';
    struct message message = {.type = MESSAGE_heartbeat,
                              .heartbeat = {.stats_json = big, .waits_json = big}};
    deliver(&world, 0, &message);
    message.heartbeat.stats_json = "{\"broken\":";
    message.heartbeat.waits_json = "[{\"name\":";
    deliver(&world, LEARNER_PEER, &message);
    json_t *status = ask(&world, "status"), *why = ask(&world, "why"); /* both are still JSON */
    char *text = json_dumps(status, 0);
    assert_true(strlen(text) < 65536);
    free(text);
    json_decref(status);
    json_decref(why);
    world_destroy(&world);
}

/* ---- why ---- */

static void test_book_fleet_why_names_the_stopped_actor(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, seed_base(), 0);
    assert_because(&world, "no learner is connected");
    start_learner(&world);
    start_actor(&world, 0, 16);
    ask_plan(&world);
    assert_because(&world, "actor.0");
    book_connection(world.book, world.now_ns, 0, false);
    pass_ms(&world, 400);
    assert_because(
        &world, "the run waits for actor.0 because actor.0 (pid 0 on host here) is stopped or cut "
                "off since 400 ms; its 16 leases are given to others in 600 ms");
    json_t *why = ask(&world, "why"), *edge;
    size_t at;
    bool seen = false;
    json_array_foreach(json_object_get(why, "waits"), at, edge)
    {
        if (strcmp(json_string_value(json_object_get(edge, "who")), "actor.0") != 0)
            continue;
        seen = seen || json_integer_value(json_object_get(edge, "deadline_ms")) == 600;
    }
    assert_true(seen);
    json_decref(why);
    world.actors[0].up = false;
    live_ms(&world, 700); /* its leases are queued again, and nobody takes them */
    assert_because(&world, "actor.0 (pid 0 on host here)");
    world_destroy(&world);
}

static void test_book_fleet_why_names_what_is_missing(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, seed_base(), 0);
    start_learner(&world);
    ask_plan(&world);
    assert_because(&world, "no actor is connected");
    start_actor(&world, 0, 16);
    for (int n = 0; n < 20; n++)
        generate(&world, 0, 5, false);
    assert_because(&world, "the run waits for reward workers because 16 rollouts wait");
    start_reward(&world, 0);
    beat_all(&world);
    book_connection(world.book, world.now_ns, REWARD_PEER, false);
    pass_ms(&world, 100);
    assert_because(&world,
                   "the run waits for reward.0 because reward.0 (pid 0 on host here) is stopped");
    book_hold_for(world.book, world.now_ns, "the disk is full");
    assert_because(&world, "the run waits for store because the disk is full");
    book_hold_for(world.book, world.now_ns, NULL);
    book_connection(world.book, world.now_ns, LEARNER_PEER, false);
    world_destroy(&world);
}

static void test_book_fleet_why_merges_what_processes_wait_for(void **state)
{
    (void)state;
    struct world world;
    world_with_actor(&world);
    struct message message = {
        .type = MESSAGE_heartbeat,
        .heartbeat = {.stats_json = "{}",
                      .waits_json = "[{\"name\":\"weights\",\"peer\":\"learner.0\",\"since_ms\":5,"
                                    "\"left_ms\":70},{\"name\":\"message\",\"peer\":\"store\","
                                    "\"since_ms\":1,\"left_ms\":-1}]"}};
    deliver(&world, 0, &message);
    json_t *why = ask(&world, "why"), *edge;
    size_t at;
    uint32_t own = 0;
    json_array_foreach(json_object_get(why, "waits"), at, edge)
    {
        if (json_object_get(edge, "name") == NULL)
            continue;
        own++;
        assert_string_equal(json_string_value(json_object_get(edge, "who")), "actor.0");
        assert_non_null(json_object_get(edge, "left_ms"));
    }
    assert_int_equal(own, 2);
    assert_true(json_is_array(json_object_get(json_object_get(why, "processes"), "actor.0")));
    json_decref(why);
    world_destroy(&world);
}

/* ---- schedules ---- */

/* Connections flap while processes live, places are fought over, the store is stopped now and then. */
static void test_book_fleet_flapping_schedules_keep_invariants(void **state)
{
    (void)state;
    const char *count_text = getenv("TEST_SCHEDULES");
    uint64_t count = count_text != NULL ? strtoull(count_text, NULL, 10) : test_times(300, 30);
    print_message("TEST_SEED=%" PRIu64 "\n", seed_base());
    for (uint64_t seed = 0; seed < count; seed++) {
        struct world world;
        struct trouble trouble = {.actor_dies = 5,
                                  .reward_dies = 3,
                                  .learner_dies = 2,
                                  .frame_lost = 20,
                                  .duplicate = 20,
                                  .store_dies = seed % 2 ? 3 : 0};
        world_create(&world, seed_base() + seed, (uint32_t)(seed % 3));
        world.config.store.max_attempts = world.config.store.max_deaths = 1000;
        book_destroy(&world.book);
        must(book_create(&world.book, &world.config));
        world.error_every = 10;
        start_all(&world);
        for (uint32_t n = 0; n < 200000 && !world.stopping; n++) {
            uint32_t i = rng_below(&world.rng, ACTORS_MAX);
            char why[512];
            if (happens(&world, 10))
                book_connection(world.book, world.now_ns, i, false);
            if (happens(&world, 10) && world.actors[i].up)
                reconnect_actor(&world, i);
            if (happens(&world, 3) && world.actors[i].up) { /* an intruder; it never comes again */
                struct hello other = hello_of(ROLE_ACTOR, i, 5000000 + n, 1);
                if (answer(&world, 200 + i, &other, why) == MESSAGE_welcome) {
                    world.actors[i].up = false;
                    book_connection(world.book, world.now_ns, 200 + i, false);
                }
            }
            if (happens(&world, 2))
                world.now_ns += 5000 * MS;
            step(&world, &trouble);
        }
        assert_true(world.stopping);
        assert_int_equal(counters(&world).groups_consumed, world.config.steps * P);
        world_destroy(&world);
    }
}

/* A learner that dies and re-makes versions differently, again and again, under everything else. */
static void test_book_fleet_branching_schedules_end(void **state)
{
    (void)state;
    const char *count_text = getenv("TEST_SCHEDULES");
    uint64_t count = count_text != NULL ? strtoull(count_text, NULL, 10) : test_times(300, 30),
             branches = 0;
    for (uint64_t seed = 0; seed < count; seed++) {
        struct world world;
        struct trouble trouble = {.actor_dies = 4,
                                  .reward_dies = 2,
                                  .frame_lost = 20,
                                  .duplicate = 20,
                                  .store_dies = seed % 2 ? 4 : 0};
        world_create(&world, seed_base() + seed, (uint32_t)(seed % 4));
        world.config.store.max_attempts = world.config.store.max_deaths = 1000;
        world.config.store.over_age = seed % 5 ? OVER_AGE_HOLD : OVER_AGE_MASK;
        book_destroy(&world.book);
        must(book_create(&world.book, &world.config));
        start_all(&world);
        for (uint32_t n = 0, mistakes = 0; n < 200000 && !world.stopping; n++) {
            if (mistakes < 6 && world.learner.up &&
                world.learner.version > world.learner.checkpoint && happens(&world, 20)) {
                mistakes++;
                world.mistake = world.mistake == 0 ? (uint32_t)world.learner.version : 0;
                world.learner.up = false;
                book_connection(world.book, world.now_ns, LEARNER_PEER, false);
                start_learner(&world);
            }
            step(&world, &trouble);
        }
        if (!world.stopping)
            run_to_end(&world, &trouble, 1);
        struct book_counters c = counters(&world);
        branches += c.branch;
        assert_int_equal(c.version, world.config.steps);
        restart_store(&world);
        world_destroy(&world);
    }
    print_message("%" PRIu64 " branches\n", branches);
    assert_true(branches > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_book_fleet_second_process_waits_and_is_refused_by_name),
        cmocka_unit_test(test_book_fleet_dead_connection_gives_the_place_at_once),
        cmocka_unit_test(test_book_fleet_cut_off_process_comes_back_to_its_leases),
        cmocka_unit_test(test_book_fleet_nothing_is_leased_to_a_dead_connection),
        cmocka_unit_test(test_book_fleet_stopped_store_blames_nobody),
        cmocka_unit_test(test_book_fleet_deaths_are_no_failures),
        cmocka_unit_test(test_book_fleet_rescore_scores_open_groups_again),
        cmocka_unit_test(test_book_fleet_drain_one_process),
        cmocka_unit_test(test_book_fleet_absent_learner_bounds_everything),
        cmocka_unit_test(test_book_fleet_long_texts_of_a_peer_are_not_kept),
        cmocka_unit_test(test_book_fleet_why_names_the_stopped_actor),
        cmocka_unit_test(test_book_fleet_why_names_what_is_missing),
        cmocka_unit_test(test_book_fleet_why_merges_what_processes_wait_for),
        cmocka_unit_test(test_book_fleet_flapping_schedules_keep_invariants),
        cmocka_unit_test(test_book_fleet_branching_schedules_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
