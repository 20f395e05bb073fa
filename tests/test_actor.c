/* links: actor */
/* label: unit */
/* timeout: 60 */
/* The real actor between a store and a learner that the test plays: what it samples depends on the lease
 * and the weights alone, and what it says about them is true. */
#include "tests/actor_case.h"

static struct world world; /* one at a time; too large for the stack */

#define OPEN(...)                                                                 \
    do {                                                                          \
        const char *const overrides_[] = {__VA_ARGS__};                           \
        world_open(&world, overrides_, sizeof overrides_ / sizeof overrides_[0]); \
    } while (0)

/* ---- same tokens, same bits ---- */

static void add_groups(void)
{
    static const uint32_t prompts[] = {5, 150, 64};
    for (uint64_t g = 0; g < 3; g++)
        for (uint32_t s = 0; s < 4; s++)
            add_job(&world, g, s, prompts[g], 60, NULL, 0);
}

static void check_groups(const char *slots, const char *prefill, const char *segment, bool queue)
{
    OPEN(slots, prefill, segment);
    publish(&world, 0);
    uint32_t granted = 0;
    if (!queue)
        add_groups();
    actor_begin(&world);
    if (queue) { /* no more leases than slots: one after another */
        static const uint32_t prompts[] = {5, 150, 64};
        for (; granted < 12; granted++) {
            add_job(&world, granted / 4, granted % 4, prompts[granted / 4], 60, NULL, 0);
            assert_true(wait_until(&world, all_ended, 5000));
        }
    }
    assert_true(wait_until(&world, all_ended, 20000));
    actor_stop(&world);
    for (uint32_t j = 0; j < 12; j++) {
        check_job(&world, job_at(&world, j), 0, 60);
        for (uint32_t t = 0; t < job_at(&world, j)->count; t++)
            assert_int_equal(job_at(&world, j)->kv_version_min[t], 0);
    }
    double shared = metric_read(&world.actor->engine.metrics.prefills_shared);
    double prefilled = metric_read(&world.actor->engine.metrics.tokens_prefilled);
    print_message("%s %s %s: prefills_shared %g, tokens_prefilled %g\n", slots, prefill, segment,
                  shared, prefilled);
    assert_true(shared == (queue ? 0 : 9));
    assert_true(prefilled == (queue ? 4 : 1) * (5 + 150 + 64));
    double ms = (double)(world.actor->engine.first_token_ns - world.actor->engine.start_ns) / 1e6;
    print_message("create to first token: %.1f ms\n", ms);
    assert_true(queue || ms < 500);
    world_close(&world);
}

static void test_actor_one_slot_equals_reference(void **state)
{
    (void)state;
    check_groups("actor.slots=1", "actor.prefill_tokens=16", "actor.segment_tokens=1", true);
}

static void test_actor_small_prefill_equals_reference(void **state)
{
    (void)state;
    check_groups("actor.slots=64", "actor.prefill_tokens=16", "actor.segment_tokens=7", false);
}

static void test_actor_large_prefill_equals_reference(void **state)
{
    (void)state;
    check_groups("actor.slots=12", "actor.prefill_tokens=512", "actor.segment_tokens=64", false);
}

static bool seven_granted_ended(struct world *w)
{
    uint32_t open = 0;
    for (uint32_t j = 0; j < w->store.job_count; j++)
        open += !w->store.jobs[j].ended;
    return open < 7;
}

static void test_actor_seven_slots_equals_reference(void **state)
{
    (void)state;
    static const uint32_t prompts[] = {5, 150, 64};
    OPEN("actor.slots=7", "actor.prefill_tokens=512", "actor.segment_tokens=5");
    publish(&world, 0);
    actor_begin(&world);
    for (uint32_t j = 0; j < 24; j++) {
        assert_true(wait_until(&world, seven_granted_ended, 5000));
        add_job(&world, j / 8, j % 8, prompts[j / 8], 60, NULL, 0);
    }
    assert_true(wait_until(&world, all_ended, 20000));
    actor_stop(&world);
    for (uint32_t j = 0; j < 24; j++)
        check_job(&world, job_at(&world, j), 0, 60);
    world_close(&world);
}

static void test_actor_greedy_and_truncated_equal_reference(void **state)
{
    (void)state;
    OPEN("actor.slots=8");
    publish(&world, 0);
    for (uint32_t s = 0; s < 6; s++) {
        struct job *job = add_job(&world, 1, s, 20, 40, NULL, 0);
        LOCKED(world.store, {
            job->lease.temperature = s < 2 ? 0.0F : 0.5F + 0.5F * (float)(s % 2);
            job->lease.top_p = s == 3 ? 0.7F : 1.0F;
            job->lease.top_k = s == 4 ? 5 : 0;
        });
    }
    actor_begin(&world);
    assert_true(wait_until(&world, all_ended, 10000));
    actor_stop(&world);
    for (uint32_t j = 0; j < 6; j++)
        check_job(&world, job_at(&world, j), 0, 40);
    world_close(&world);
}

/* ---- continued leases ---- */

static void test_actor_continued_lease_equals_uninterrupted(void **state)
{
    (void)state;
    static struct truth truth;
    static const uint32_t cuts[] = {1, 31, 32, 33, 60};
    OPEN("actor.slots=8", "actor.segment_tokens=9");
    publish(&world, 0);
    struct job *whole = add_job(&world, 1, 6, 45, 120, NULL, 0);
    generate(&world, whole, 0, 120, &truth);
    print_message("the whole has %u tokens\n", truth.count);
    for (uint32_t i = 0; i < 5; i++)
        if (cuts[i] < truth.count)
            add_job(&world, 1, 6, 45, 120, truth.ids, cuts[i]);
    assert_true(world.store.job_count >= 4);
    actor_begin(&world);
    assert_true(wait_until(&world, all_ended, 10000));
    actor_stop(&world);
    for (uint32_t j = 0; j < world.store.job_count; j++) {
        const struct job *job = job_at(&world, j);
        check_job(&world, job, 0, 120);
        assert_int_equal(job->first_position, job->inherited);
        assert_int_equal(job->rebuilt_at, job->inherited > 0 ? job->inherited : UINT32_MAX);
    }
    assert_true(metric_read(&world.actor->engine.metrics.rollouts_continued) ==
                world.store.job_count - 1.0);
    world_close(&world);
}

/* ---- swaps ---- */

/* The store acknowledges nothing after so many tokens of job 0, so the actor stops soon after: what
 * happens now happens in the middle. */
static void pause_at(uint32_t tokens)
{
    LOCKED(world.store, world.store.pause_at = tokens);
}

static bool paused(struct world *w)
{
    return is_paused(&w->store) || w->store.jobs[0].ended;
}

/* Lengths at which no end of text comes are found by trying samples against the truth. */
static uint32_t long_sample(uint64_t set, uint64_t group, uint32_t prompt, uint32_t from)
{
    static struct truth truth;
    static struct job job;
    for (uint32_t s = from;; s++) {
        job = (struct job){.prompt_count = prompt};
        job.lease =
            (struct lease){.group_id = group, .sample = s, .temperature = 0.8F, .top_p = 1.0F};
        for (uint32_t t = 0; t < prompt; t++)
            job.prompt[t] = (uint32_t)((t * 7 + group * 13 + t * t / 3) % 38);
        generate(&world, &job, set, 150, &truth);
        if (truth.count == 150)
            return s;
    }
}

struct swap_counts {
    uint32_t own, stale, stale_differs, versions;
};

static void check_swapped(const struct job *job, bool recompute, struct swap_counts *counts)
{
    static float logprob[TOKENS_MAX];
    assert_false(job->gap);
    for (uint32_t t = 1; t < job->count; t++) {
        assert_true(job->version[t] >= job->version[t - 1]);
        counts->versions += job->version[t] != job->version[t - 1];
    }
    for (uint64_t v = 0; v < VERSIONS; v++) {
        score(&world, job, v, logprob);
        for (uint32_t t = 0; t < job->count; t++) {
            if (job->version[t] != v)
                continue;
            bool same = memcmp(&logprob[t], &job->logprobs[t], sizeof logprob[t]) == 0;
            /* keep: of the first row of the prompt, which may be older than the first token */
            assert_int_equal(job->kv_version_min[t], recompute ? v : job->kv_version_min[0]);
            assert_true(recompute || job->kv_version_min[t] <= job->version[0]);
            if (job->kv_version_min[t] == v) {
                assert_true(same);
                counts->own++;
            } else {
                counts->stale++;
                counts->stale_differs += !same;
            }
        }
    }
}

static void run_swaps(const char *kv_on_swap, bool recompute)
{
    OPEN("actor.slots=6", "actor.segment_tokens=4", "actor.prefill_tokens=16",
         "actor.unacked_frames_max=2", kv_on_swap);
    publish(&world, 0);
    uint32_t a = long_sample(0, 1, 40, 0), b = long_sample(0, 1, 40, a + 1);
    add_job(&world, 1, a, 40, 400, NULL, 0);
    add_job(&world, 1, b, 40, 400, NULL, 0);
    struct job *later = add_job(&world, 2, 0, 30, 50, NULL, 0);
    LOCKED(world.store, later->lease.min_version = 2);
    for (uint32_t s = 0; s < 3; s++)
        add_job(&world, 3, s, 190, 60, NULL, 0);
    pause_at(20);
    actor_begin(&world);
    assert_true(wait_until(&world, paused, 5000));
    uint32_t early;
    LOCKED(world.store, early = later->segments);
    assert_int_equal(early, 0);
    publish(&world, 1);
    pause_at(28);
    assert_true(wait_until(&world, paused, 5000));
    publish(&world, 2);
    publish(&world, 3); /* only the newest counts */
    pause_at(0);
    assert_true(wait_until(&world, all_ended, 20000));
    actor_stop(&world);
    struct swap_counts counts = {0};
    for (uint32_t j = 0; j < world.store.job_count; j++)
        check_swapped(job_at(&world, j), recompute, &counts);
    assert_true(later->version[0] >= 2);
    print_message("%s: %u tokens with kv_version_min == version, all bits equal; %u of %u older "
                  "ones differ; %u swaps inside samples\n",
                  kv_on_swap, counts.own, counts.stale_differs, counts.stale, counts.versions);
    assert_true(counts.own > 60 && counts.versions >= 2);
    assert_true(recompute ? counts.stale == 0 : counts.stale_differs > 0);
    if (recompute) /* the last swap came while the sample had tokens */
        assert_true(job_at(&world, 0)->rebuilt_at >= 20 &&
                    job_at(&world, 0)->rebuilt_at < job_at(&world, 0)->count);
    world_close(&world);
}

static void test_actor_swap_keep_says_which_keys_are_old(void **state)
{
    (void)state;
    run_swaps("actor.kv_on_swap=keep", false);
}

static void test_actor_swap_recompute_equals_learner(void **state)
{
    (void)state;
    run_swaps("actor.kv_on_swap=recompute", true);
}

/* Version 2 is served when branch 1 makes version 1 again: keys of the dead branch must go, or the
 * smaller number would make them look new. */
static void test_actor_other_branch_recomputes(void **state)
{
    (void)state;
    OPEN("actor.slots=2", "actor.segment_tokens=4", "actor.unacked_frames_max=2",
         "actor.kv_on_swap=keep");
    publish(&world, 2);
    pause_at(20);
    uint32_t a = long_sample(2, 1, 40, 0);
    add_job(&world, 1, a, 40, 400, NULL, 0);
    add_job(&world, 1, long_sample(2, 1, 40, a + 1), 40, 400, NULL, 0);
    actor_begin(&world);
    assert_true(wait_until(&world, paused, 5000));
    publish_as(&world, 3, 1, 1, 0);
    pause_at(0);
    assert_true(wait_until(&world, all_ended, 20000));
    actor_stop(&world);
    static float logprob[TOKENS_MAX];
    uint32_t checked = 0;
    for (uint32_t j = 0; j < 2; j++) {
        const struct job *job = job_at(&world, j);
        score(&world, job, 3, logprob);
        for (uint32_t t = 0; t < job->count; t++) {
            if (job->version[t] != 1)
                continue;
            assert_int_equal(job->kv_version_min[t], 1);
            assert_memory_equal(&logprob[t], &job->logprobs[t], sizeof logprob[t]);
            checked++;
        }
    }
    print_message("%u tokens of the new branch\n", checked);
    assert_true(checked > 0);
    world_close(&world);
}

static bool refused_a_copy(struct world *w)
{
    return metric_read(&w->actor->engine.metrics.digest_refused) > 0;
}

static bool serves_two(struct world *w)
{
    return metric_read(&w->actor->engine.metrics.swaps) > 1;
}

static bool serves(struct world *w)
{
    return metric_read(&w->actor->engine.metrics.swaps) > 0;
}

static void test_actor_wrong_digest_is_never_served(void **state)
{
    (void)state;
    OPEN("actor.slots=2", "actor.segment_tokens=1");
    publish(&world, 0);
    actor_begin(&world);
    assert_true(wait_until(&world, serves, 5000));
    publish_as(&world, 1, 1, 0, 1);
    assert_true(wait_until(&world, refused_a_copy, 5000));
    add_job(&world, 1, 0, 10, 50, NULL, 0);
    assert_true(wait_until(&world, all_ended, 5000));
    check_job(&world, job_at(&world, 0), 0, 50);
    assert_true(metric_read(&world.actor->engine.metrics.digest_refused) <= 3); /* not every turn */
    publish(&world, 2);
    clock_sleep_ms(100);
    add_job(&world, 1, 1, 10, 50, NULL, 0);
    assert_true(wait_until(&world, all_ended, 5000));
    check_job(&world, job_at(&world, 1), 2, 50);
    actor_stop(&world);
    world_close(&world);
}

/* ---- weights by TCP ---- */

/* Leases run on what came from `ways`; the learner's weights are offered from its own memory. */
static void run_by_tcp(const char *channel, const char *before)
{
    OPEN("actor.slots=4", "actor.segment_tokens=4", channel);
    struct weight_server *server = NULL;
    struct weight_server_config config = {.endpoint = "tcp://127.0.0.1:*",
                                          .layout_hash = model_parameters(world.model)->layout_hash,
                                          .bytes = world.bytes,
                                          .keys = ""};
    must(weight_server_open(&server, &config));
    snprintf(world.store.weights_path, sizeof world.store.weights_path, "%s%s", before,
             weight_server_endpoint(server));
    actor_begin(&world);
    for (uint64_t version = 0; version < 3; version++) {
        const struct model_weights *weights = &world.weights[version];
        weight_server_offer(server, version, 0, weights->digest, weights->flat);
        for (int i = 0; i < 1500 && metric_read(&world.actor->engine.metrics.swaps) <= version; i++)
            clock_sleep_ms(10); /* or it begins with the version before */
        uint32_t job = world.store.job_count;
        add_job(&world, version, 0, 10, 50, NULL, 0);
        assert_true(wait_until(&world, all_ended, 10000));
        check_job(&world, job_at(&world, job), version, 50);
    }
    assert_true(metric_read(&world.actor->engine.metrics.swaps) == 3);
    actor_stop(&world);
    world_close(&world);
    weight_server_close(&server);
}

static void test_actor_weights_by_tcp_equal_reference(void **state)
{
    (void)state;
    run_by_tcp("weights.channel=tcp", "/dev/shm/weir.is-not-looked-at.weights ");
}

/* The learner's file is on another host. */
static void test_actor_without_the_file_takes_weights_by_tcp(void **state)
{
    (void)state;
    run_by_tcp("weights.channel=auto", "/dev/shm/weir.is-not-there.weights ");
}

/* A file that some learner left here long ago holds what is registered no more. */
static void test_actor_leaves_a_stale_file_for_tcp(void **state)
{
    (void)state;
    OPEN("actor.slots=4", "actor.segment_tokens=4");
    publish(&world, 1);
    struct weight_server *server = NULL;
    struct weight_server_config config = {.endpoint = "tcp://127.0.0.1:*",
                                          .layout_hash = model_parameters(world.model)->layout_hash,
                                          .bytes = world.bytes,
                                          .keys = ""};
    must(weight_server_open(&server, &config));
    size_t used = strlen(world.store.weights_path);
    snprintf(world.store.weights_path + used, sizeof world.store.weights_path - used, " %s",
             weight_server_endpoint(server));
    weight_server_offer(server, 2, 0, world.weights[2].digest, world.weights[2].flat);
    LOCKED(world.store, {
        world.store.notice_version = 2;
        world.store.notice_digest = world.weights[2].digest;
    });
    actor_begin(&world);
    assert_true(wait_until(&world, serves_two, 15000));
    add_job(&world, 1, 0, 10, 50, NULL, 0);
    assert_true(wait_until(&world, all_ended, 10000));
    check_job(&world, job_at(&world, 0), 2, 50);
    actor_stop(&world);
    world_close(&world);
    weight_server_close(&server);
}

/* ---- frames ---- */

static bool frame_came(struct world *w)
{
    return w->store.frames_new >= 2;
}

static void test_actor_unacknowledged_frames_stop_decoding(void **state)
{
    (void)state;
    OPEN("actor.slots=2", "actor.segment_tokens=4", "actor.unacked_frames_max=2");
    publish(&world, 0);
    add_job(&world, 1, long_sample(0, 1, 40, 0), 40, 150, NULL, 0);
    LOCKED(world.store, world.store.hold_acks = true);
    actor_begin(&world);
    assert_true(wait_until(&world, frame_came, 5000));
    clock_sleep_ms(200);
    double sampled = metric_read(&world.actor->engine.metrics.tokens_sampled);
    clock_sleep_ms(100);
    assert_true(metric_read(&world.actor->engine.metrics.tokens_sampled) == sampled);
    uint32_t frames;
    LOCKED(world.store, frames = world.store.frames_new);
    assert_int_equal(frames, 2);
    assert_true(sampled <= 8);
    /* The store dies without them; the next one gets everything. */
    store_close(&world.store);
    world.store.hold_acks = false;
    store_open(&world.store);
    assert_true(wait_until(&world, all_ended, 10000));
    actor_stop(&world);
    check_job(&world, job_at(&world, 0), 0, 150);
    world_close(&world);
}

static void test_actor_store_restart_loses_nothing(void **state)
{
    (void)state;
    OPEN("actor.slots=4", "actor.segment_tokens=3", "actor.segment_ms=1");
    publish(&world, 0);
    for (uint32_t s = 0, from = 0; s < 4; s++) {
        from = long_sample(0, 1, 40, from);
        add_job(&world, 1, from++, 40, 150, NULL, 0);
    }
    actor_begin(&world);
    for (int i = 0; i < 3; i++) {
        clock_sleep_ms(15);
        LOCKED(world.store, world.store.hold_acks = true);
        clock_sleep_ms(10);
        store_close(&world.store);
        world.store.hold_acks = false;
        store_open(&world.store);
    }
    assert_true(wait_until(&world, all_ended, 20000));
    actor_stop(&world);
    for (uint32_t j = 0; j < 4; j++)
        check_job(&world, job_at(&world, j), 0, 150);
    print_message("frames %u, repeated %u, hellos %u\n", world.store.frames_new,
                  world.store.frames_repeated, world.store.hellos);
    assert_true(world.store.hellos >= 2);
    world_close(&world);
}

/* ---- leases that end otherwise ---- */

static bool second_ended(struct world *w)
{
    return w->store.jobs[w->store.job_count - 1].ended;
}

static void test_actor_cancelled_lease_frees_its_slot(void **state)
{
    (void)state;
    OPEN("actor.slots=1", "actor.segment_tokens=2", "actor.unacked_frames_max=2");
    pause_at(10);
    publish(&world, 0);
    add_job(&world, 1, long_sample(0, 1, 40, 0), 40, 400, NULL, 0);
    actor_begin(&world);
    assert_true(wait_until(&world, paused, 5000));
    LOCKED(world.store, {
        world.store.cancel = 1000;
        world.store.pause_at = 0;
    });
    clock_sleep_ms(50);
    bool ended;
    LOCKED(world.store, ended = job_at(&world, 0)->ended);
    assert_false(ended);
    add_job(&world, 2, 0, 30, 20, NULL, 0);
    assert_true(wait_until(&world, second_ended, 5000));
    actor_stop(&world);
    check_job(&world, job_at(&world, 1), 0, 20);
    world_close(&world);
}

/* Without the threads: leases in, then as many decode steps as the test wants. */
static void open_still(const char *kv_on_swap)
{
    static struct lease leases[JOBS_MAX];
    OPEN("actor.slots=4", "actor.prefill_tokens=16", kv_on_swap);
    publish(&world, 0);
    struct lease_grant grant = {4, leases};
    for (uint32_t s = 0; s < 4; s++)
        leases[s] = add_job(&world, 1, s, 200, 30, NULL, 0)->lease;
    struct actor_options options = {
        .settings = &world.settings, .endpoint = world.store.endpoint, .run = "run-1"};
    must(actor_create(&world.actor, &options));
    struct actor *actor = world.actor;
    actor->engine.desk.run_seed = RUN_SEED;
    snprintf(actor->engine.desk.weights_path, sizeof actor->engine.desk.weights_path, "%s",
             world.store.weights_path);
    must(actor_swap_weights(actor));
    struct message message = {.type = MESSAGE_lease_grant, .lease_grant = grant};
    must(desk_take(&actor->engine.desk, 0, &message));
    bool worked = false;
    for (int i = 0; i < 3; i++)
        must(engine_decode(&actor->engine, &worked));
    assert_int_equal(actor->engine.desk.slots[0].state, SLOT_PREFILL);
    assert_int_equal(actor->engine.desk.slots[0].cached, 48);
    assert_int_equal(actor->engine.desk.slots[3].state, SLOT_FOLLOWING);
}

static void check_still(uint32_t first, uint64_t set, uint64_t kv_version_min)
{
    static struct truth truth;
    bool worked = true;
    while (worked)
        must(engine_decode(&world.actor->engine, &worked));
    for (uint32_t i = first; i < 4; i++) {
        const struct slot *slot = &world.actor->engine.desk.slots[i];
        generate(&world, job_at(&world, i), set, 30, &truth);
        assert_int_equal(slot->state, SLOT_FINISHED);
        assert_int_equal(slot->kv_version_min, kv_version_min);
        if (kv_version_min != engine_version(&world.actor->engine))
            continue;
        assert_int_equal(slot->response, truth.count);
        assert_memory_equal(slot->ids + slot->prompt, truth.ids, truth.count * sizeof(uint32_t));
        assert_memory_equal(slot->logprobs, truth.logprobs, truth.count * sizeof(float));
    }
    world_close(&world);
}

/* The first follower becomes the leader of the others. */
static void test_actor_cancelled_leader_leaves_its_followers(void **state)
{
    (void)state;
    open_still("actor.kv_on_swap=keep");
    desk_cancel(&world.actor->engine.desk, (const uint64_t[]){1000}, 1);
    bool worked;
    must(engine_decode(&world.actor->engine, &worked));
    assert_int_equal(world.actor->engine.desk.slots[1].state, SLOT_PREFILL);
    assert_int_equal(world.actor->engine.desk.slots[3].state, SLOT_FOLLOWING);
    assert_int_equal(world.actor->engine.desk.slots[3].leader, 1);
    check_still(1, 0, 0);
}

static void test_actor_swap_in_prefill_keep_marks_followers(void **state)
{
    (void)state;
    open_still("actor.kv_on_swap=keep");
    publish(&world, 1);
    must(actor_swap_weights(world.actor));
    check_still(0, 1, 0);
}

static void test_actor_swap_in_prefill_recompute_starts_over(void **state)
{
    (void)state;
    open_still("actor.kv_on_swap=recompute");
    publish(&world, 1);
    must(actor_swap_weights(world.actor));
    assert_int_equal(world.actor->engine.desk.slots[0].cached, 0);
    check_still(0, 1, 1);
}

static bool said_bye(struct world *w)
{
    return w->store.bye;
}

static void test_actor_drain_hands_tokens_back(void **state)
{
    (void)state;
    OPEN("actor.slots=3", "actor.segment_tokens=4", "actor.unacked_frames_max=2");
    publish(&world, 0);
    pause_at(20);
    uint32_t sample = long_sample(0, 1, 40, 0);
    add_job(&world, 1, sample, 40, 150, NULL, 0);
    struct job *waits = add_job(&world, 2, 0, 40, 150, NULL, 0);
    LOCKED(world.store, waits->lease.min_version = 3);
    actor_begin(&world);
    assert_true(wait_until(&world, paused, 5000));
    world.signals = 1;
    clock_sleep_ms(30);
    pause_at(0);
    actor_join(&world);
    assert_int_equal(world.ended, STATUS_OK);
    actor_destroy(&world.actor);
    world.signals = 0;
    assert_true(wait_until(&world, said_bye, 5000));
    static struct job first;
    uint32_t waited;
    LOCKED(world.store, {
        first = *job_at(&world, 0);
        waited = waits->segments;
        waits->ended = true;
        world.store.frame_last = 0;
    });
    print_message("handed back with %u tokens, status %d\n", first.count, (int)first.status);
    assert_true(first.ended && first.count > 0);
    assert_int_equal(first.status, SEGMENT_ABORT);
    assert_int_equal(waited, 0); /* it goes back with the bye */
    add_job(&world, 1, sample, 40, 150, first.ids, first.count);
    actor_begin(&world);
    assert_true(wait_until(&world, all_ended, 5000));
    actor_stop(&world);
    check_job(&world, job_at(&world, 2), 0, 150);
    world_close(&world);
}

static void test_actor_impossible_leases_are_given_back(void **state)
{
    (void)state;
    OPEN("actor.slots=2");
    publish(&world, 0);
    struct job *vocabulary = add_job(&world, 1, 0, 10, 20, NULL, 0);
    LOCKED(world.store, vocabulary->prompt[3] = 40);
    struct job *length = add_job(&world, 1, 1, 10, 591, NULL, 0);
    struct job *spans = add_job(&world, 1, 2, 10, 20, (const uint32_t[]){1, 2}, 2);
    LOCKED(world.store, {
        spans->spans[0].source = SPAN_MODEL;
        spans->spans[1].source = SPAN_ENV;
        spans->count = spans->inherited = 10;
    });
    struct job *budget = add_job(&world, 1, 3, 10, 2, (const uint32_t[]){1, 2}, 2);
    actor_begin(&world);
    assert_true(wait_until(&world, all_ended, 5000));
    struct job *bad[] = {vocabulary, length, spans};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(bad[i]->status, SEGMENT_ABORT);
        assert_true(bad[i]->version_said == UINT64_MAX); /* of no weights: a failed attempt */
        assert_false(bad[i]->gap);
    }
    assert_int_equal(budget->status, SEGMENT_LENGTH);
    for (uint32_t s = 0; s < 3; s++) /* one more than slots */
        add_job(&world, 2, s, 10, 30, NULL, 0);
    assert_true(wait_until(&world, all_ended, 5000));
    uint32_t aborted = 0;
    for (uint32_t j = 4; j < 7; j++)
        if (job_at(&world, j)->status == SEGMENT_ABORT) {
            assert_true(job_at(&world, j)->version_said == 0);
            aborted++;
        } else {
            check_job(&world, job_at(&world, j), 0, 30);
        }
    assert_int_equal(aborted, 1);
    actor_stop(&world);
    world_close(&world);
}

/* The frames of a drain outlive a store that dies with them. */
static void test_actor_drain_through_a_store_restart_loses_nothing(void **state)
{
    (void)state;
    OPEN("actor.slots=2", "actor.segment_tokens=4", "actor.unacked_frames_max=8");
    publish(&world, 0);
    add_job(&world, 1, long_sample(0, 1, 40, 0), 40, 150, NULL, 0);
    pause_at(20);
    actor_begin(&world);
    assert_true(wait_until(&world, paused, 5000));
    LOCKED(world.store, world.store.hold_acks = true);
    world.signals = 1;
    clock_sleep_ms(50);
    store_close(&world.store);
    world.store.hold_acks = false;
    world.store.pause_at = 0;
    store_open(&world.store);
    actor_join(&world);
    assert_int_equal(world.ended, STATUS_OK);
    static struct truth truth;
    static struct job copy;
    LOCKED(world.store, copy = *job_at(&world, 0));
    const struct job *job = &copy;
    generate(&world, job, 0, 150, &truth);
    assert_true(job->ended && !job->gap && job->count >= 20);
    assert_int_equal(job->status, SEGMENT_ABORT);
    assert_memory_equal(job->ids, truth.ids, job->count * sizeof *job->ids);
    world_close(&world);
}

static void test_actor_second_signal_ends_a_drain(void **state)
{
    (void)state;
    OPEN("actor.slots=2", "actor.segment_tokens=4", "actor.unacked_frames_max=2");
    publish(&world, 0);
    add_job(&world, 1, long_sample(0, 1, 40, 0), 40, 150, NULL, 0);
    LOCKED(world.store, world.store.hold_acks = true);
    actor_begin(&world);
    assert_true(wait_until(&world, frame_came, 5000));
    world.signals = 1;
    clock_sleep_ms(50);
    int64_t begin_ns = clock_now_ns();
    world.signals = 2;
    actor_join(&world);
    assert_int_equal(world.ended, STATUS_CANCELLED);
    assert_true(clock_now_ns() - begin_ns < CLOCK_NS_PER_S);
    world_close(&world);
}

static void test_actor_refused_by_the_store_says_why(void **state)
{
    (void)state;
    OPEN("actor.slots=2");
    LOCKED(world.store, world.store.refuse = true);
    actor_begin(&world);
    actor_join(&world);
    assert_int_equal(world.ended, STATUS_INVALID); /* not CANCELLED: nobody asked it to stop */
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_actor_one_slot_equals_reference),
        cmocka_unit_test(test_actor_small_prefill_equals_reference),
        cmocka_unit_test(test_actor_large_prefill_equals_reference),
        cmocka_unit_test(test_actor_seven_slots_equals_reference),
        cmocka_unit_test(test_actor_greedy_and_truncated_equal_reference),
        cmocka_unit_test(test_actor_continued_lease_equals_uninterrupted),
        cmocka_unit_test(test_actor_swap_keep_says_which_keys_are_old),
        cmocka_unit_test(test_actor_swap_recompute_equals_learner),
        cmocka_unit_test(test_actor_other_branch_recomputes),
        cmocka_unit_test(test_actor_wrong_digest_is_never_served),
        cmocka_unit_test(test_actor_weights_by_tcp_equal_reference),
        cmocka_unit_test(test_actor_without_the_file_takes_weights_by_tcp),
        cmocka_unit_test(test_actor_leaves_a_stale_file_for_tcp),
        cmocka_unit_test(test_actor_unacknowledged_frames_stop_decoding),
        cmocka_unit_test(test_actor_store_restart_loses_nothing),
        cmocka_unit_test(test_actor_cancelled_lease_frees_its_slot),
        cmocka_unit_test(test_actor_cancelled_leader_leaves_its_followers),
        cmocka_unit_test(test_actor_swap_in_prefill_keep_marks_followers),
        cmocka_unit_test(test_actor_swap_in_prefill_recompute_starts_over),
        cmocka_unit_test(test_actor_drain_hands_tokens_back),
        cmocka_unit_test(test_actor_drain_through_a_store_restart_loses_nothing),
        cmocka_unit_test(test_actor_second_signal_ends_a_drain),
        cmocka_unit_test(test_actor_refused_by_the_store_says_why),
        cmocka_unit_test(test_actor_impossible_leases_are_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
