/* tests/book_world.h - the book driven by scripted actors, reward workers and a learner: no sockets, no clock, one seed
 * per schedule. Included by test_book*.c. */
#ifndef TESTS_BOOK_WORLD_H
#define TESTS_BOOK_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/arena.h"
#include "core/clock.h"
#include "core/memory.h"
#include "core/rng.h"
#include "rollout_store/book.h"

enum {
    PROMPTS = 37,
    G = 4,
    P = 4,
    BUDGET = 12,
    ACTORS_MAX = 4,
    REWARDS = 2,
    HELD_MAX = 64,
    INBOX_MAX = 512,
    PLAN_MAX = 64,
    LEARNER_PEER = 90,
    REWARD_PEER = 50,
    FRAMES_MAX = 64
};
#define MS INT64_C(1000000)

static inline uint64_t seed_base(void)
{
    const char *text = getenv("TEST_SEED");
    return text != NULL ? strtoull(text, NULL, 10) : 20240601;
}

/* ---- a fake world ---- */

struct held { /* a lease in an actor */
    bool live;
    uint64_t lease_id, group_id, min_version;
    uint32_t sample, attempt, position, unsent;
    uint32_t most; /* tokens that its budget allows in all */
};

struct kept_frame {
    uint64_t frame_id;
    uint32_t count;
    struct segment segments[HELD_MAX];
    uint32_t ids[HELD_MAX][BUDGET];
    float logprobs[HELD_MAX][BUDGET];
};

struct actor {
    bool up;
    uint64_t incarnation, version, digest, next_frame;
    uint32_t slots;
    struct held held[HELD_MAX];
    struct kept_frame *frames; /* [FRAMES_MAX] not acknowledged */
    uint32_t frame_count;
};

struct work {
    uint64_t group_id;
    uint32_t sample, attempt;
};

struct reward {
    bool up;
    uint64_t incarnation, frame;
    struct work work[INBOX_MAX];
    uint32_t count;
};

struct learner {
    bool up;
    uint64_t incarnation, version, digest, checkpoint, checkpoint_digest, request;
    bool asked;
    uint64_t plan_hash[PLAN_MAX]; /* of the plan for a version, 0 not seen */
    uint32_t branch;
};

struct world {
    struct book *book;
    struct book_config config;
    struct prompts *prompts;
    struct arena *arena;
    struct book_out out;
    struct buffer ledger; /* every record so far */
    struct rng rng;
    int64_t now_ns;
    struct actor actors[ACTORS_MAX];
    struct reward rewards[REWARDS];
    struct learner learner;
    uint64_t next_incarnation;
    uint32_t zero_variance_every; /* groups whose id is a multiple get equal rewards; 0 none */
    uint32_t reward_caps;         /* of all reward workers */
    uint64_t items_along;         /* items that came with a score, for the others of their group */
    uint32_t error_every;         /* scores that fail first; 0 none */
    bool shaped; /* rewards lose something for their sample; the detail has the accuracy */
    uint64_t planned[4096]; /* version that planned a group, by group id */
    uint64_t consumed_tokens;
    bool stopping;
    uint32_t checkpoint_every; /* versions; 0: 2 */
    uint32_t mistake;          /* the learner's digest from this version on differs once; 0 never */
};

static inline uint64_t digest_of(const struct world *world, uint64_t version)
{
    return 1000 + version + (world->mistake != 0 && version >= world->mistake ? 500 : 0);
}

static inline void make_prompts(struct prompts **prompts)
{
    static uint32_t ids[PROMPTS][3];
    static char records[PROMPTS][48];
    struct prompt rows[PROMPTS];
    for (uint32_t i = 0; i < PROMPTS; i++) {
        for (uint32_t t = 0; t < 3; t++)
            ids[i][t] = i * 3 + t;
        snprintf(records[i], sizeof records[i], "{\"data_source\":\"s%u\",\"row\":%u}", i % 3, i);
        rows[i] = (struct prompt){.ids = ids[i],
                                  .count = 1 + i % 3,
                                  .record_json = records[i],
                                  .level = (float)(i % 4),
                                  .has_level = true};
    }
    assert_int_equal(prompts_from_memory(prompts, rows, PROMPTS), STATUS_OK);
}

/* A curriculum with everything on. */
static inline struct curriculum_settings every_rule(void)
{
    return (struct curriculum_settings){.mix = "s0: 1; s1: 0.2@0 1@4; s2: 0@1 0.5@3",
                                        .quotas = "s0: 0.7",
                                        .quota_window = 20,
                                        .pass_value = 0.5000001,
                                        .pass_high = 1,
                                        .raise_at = 0.5,
                                        .lower_at = 0.45,
                                        .band_groups = 3,
                                        .review = 0.25,
                                        .retire_at = 0.9,
                                        .retire_after = 1,
                                        .hard_after = 1,
                                        .hard_epochs = 1,
                                        .priority = PRIORITY_VARIANCE,
                                        .priority_floor = 0.05,
                                        .when_retired = WHEN_RETIRED_REOPEN};
}

/* Stages that end as soon as they can: an example of the fold in runs of a few plans. */
static inline struct stages_settings quick_stages(void)
{
    return (struct stages_settings){.lengths = "4, 8, 12",
                                    .window = 2,
                                    .settled = 1,
                                    .near_cap = 0.5,
                                    .confirm = 1,
                                    .least = 2,
                                    .tail_rise = 0.1};
}

static inline void world_create(struct world *world, uint64_t seed, uint32_t staleness)
{
    memset(world, 0, sizeof *world);
    make_prompts(&world->prompts);
    assert_int_equal(arena_create(&world->arena, (size_t)64 << 20), STATUS_OK);
    book_out_init(&world->out, world->arena);
    buffer_init(&world->ledger, 0);
    rng_init(&world->rng, seed, 7, RNG_TEST);
    world->now_ns = 1000 * MS;
    world->config = (struct book_config){
        .store = {.group_size = G,
                  .groups_per_publish = P,
                  .max_staleness = staleness,
                  .dynamic_sampling = true,
                  .max_consecutive_dropped = 1000,
                  .max_attempts = 3,
                  .max_deaths = 16,
                  .prompt_retries = 1,
                  .lease_ms = 1000,
                  .heartbeat_ms = 100,
                  .prefill_share = 16},
        .sampling = {.response_tokens_max = BUDGET, .temperature = 1, .top_p = 1},
        .run_seed = 5,
        .steps = 6,
        .updates_per_publish = 2,
        .shuffle = true,
        .prompts = world->prompts,
        .run = "test",
        .settings_json = "{}"};
    assert_int_equal(book_create(&world->book, &world->config), STATUS_OK);
    book_restarted(world->book, world->now_ns);
    world->next_incarnation = 100;
    for (int i = 0; i < ACTORS_MAX; i++) {
        world->actors[i].frames = memory_array(FRAMES_MAX, sizeof *world->actors[i].frames);
        assert_non_null(world->actors[i].frames);
    }
}

static inline void world_destroy(struct world *world)
{
    for (int i = 0; i < ACTORS_MAX; i++)
        memory_free(world->actors[i].frames);
    book_destroy(&world->book);
    prompts_destroy(&world->prompts);
    buffer_free(&world->ledger);
    book_out_free(&world->out);
    arena_destroy(&world->arena);
}

static inline void deliver(struct world *world, uint32_t peer, const struct message *message);

static inline void must(enum status status)
{
    if (status != STATUS_OK)
        fprintf(stderr, "%s: %s\n", status_name(status), status_last_error());
    assert_int_equal(status, STATUS_OK);
}

/* A cap of a length stage; where there are none, response_tokens_max. */
static inline bool may_have(const struct world *world, uint32_t tokens)
{
    struct stage_lengths lengths;
    bool found = false;
    must(stage_lengths_parse(world->config.stages.lengths,
                             world->config.sampling.response_tokens_max, &lengths));
    for (uint32_t i = 0; i < lengths.count; i++)
        found = found || lengths.tokens[i] == tokens;
    return found;
}

static inline void receive_actor(struct world *world, uint32_t index, const struct message *message)
{
    struct actor *actor = &world->actors[index];
    if (!actor->up)
        return;
    if (message->type == MESSAGE_welcome) {
        actor->version = message->welcome.version;
        actor->digest = message->welcome.digest;
    } else if (message->type == MESSAGE_lease_grant) {
        for (uint32_t i = 0; i < message->lease_grant.count; i++) {
            const struct lease *lease = &message->lease_grant.leases[i];
            uint32_t at = 0;
            while (at < actor->slots && actor->held[at].live)
                at++;
            assert_true(at < actor->slots); /* never more than the actor's slots */
            uint32_t position = lease->span_count > 1 ? lease->spans[1].count : 0;
            for (uint32_t t = 0; t < position;
                 t++) /* the tokens so far are the ones that were made */
                assert_int_equal(lease->spans[1].ids[t],
                                 lease->group_id * 100 + lease->sample * 20 + t);
            uint32_t most = lease->budget + position;
            assert_true(lease->budget == 0 ? position >= world->config.sampling.response_tokens_max
                                           : may_have(world, most));
            actor->held[at] = (struct held){.live = true,
                                            .lease_id = lease->lease_id,
                                            .group_id = lease->group_id,
                                            .min_version = lease->min_version,
                                            .sample = lease->sample,
                                            .attempt = lease->attempt,
                                            .position = position,
                                            .most = lease->budget == 0 ? BUDGET : most};
        }
    } else if (message->type == MESSAGE_frame_ack) {
        uint32_t gone = 0;
        while (gone < actor->frame_count &&
               actor->frames[gone].frame_id <= message->frame_ack.frame_id)
            gone++;
        memmove(actor->frames, actor->frames + gone,
                (actor->frame_count - gone) * sizeof *actor->frames);
        actor->frame_count -= gone;
        for (uint32_t f = 0; f < actor->frame_count; f++) /* their pointers moved along */
            for (uint32_t s = 0; s < actor->frames[f].count; s++) {
                actor->frames[f].segments[s].ids = actor->frames[f].ids[s];
                actor->frames[f].segments[s].logprobs = actor->frames[f].logprobs[s];
            }
        for (uint32_t c = 0; c < message->frame_ack.cancelled_count; c++)
            for (uint32_t i = 0; i < actor->slots; i++)
                if (actor->held[i].live &&
                    actor->held[i].lease_id == message->frame_ack.cancelled[c])
                    actor->held[i].live = false;
    } else if (message->type == MESSAGE_notice &&
               rng_below(&world->rng, 3) > 0) { /* swaps now or at a later notice */
        actor->version = message->notice.version;
        actor->digest = message->notice.digest;
    }
}

static inline void receive_reward(struct world *world, uint32_t index,
                                  const struct message *message)
{
    struct reward *reward = &world->rewards[index];
    if (!reward->up || message->type != MESSAGE_score_work)
        return;
    if ((world->reward_caps & SCORE_CAP_GROUP) != 0)
        assert_int_equal(message->score_work.count, G);
    for (uint32_t i = 0; i < message->score_work.count; i++) {
        const struct score_item *item = &message->score_work.items[i];
        assert_true(reward->count < INBOX_MAX);
        assert_true(item->response_count > 0 && item->response_count <= BUDGET);
        assert_int_equal(item->response_logprobs != NULL,
                         (world->reward_caps & SCORE_CAP_LOGPROBS) != 0);
        if ((world->reward_caps & SCORE_CAP_GROUP) != 0) {
            assert_true(item->group_id == message->score_work.items[0].group_id);
            assert_int_equal(item->sample, i);
        }
        world->items_along += item->scored;
        if (item->scored)
            continue;
        reward->work[reward->count++] = (struct work){item->group_id, item->sample, item->attempt};
    }
}

static inline void check_group(struct world *world, const struct group_data *group,
                               uint64_t plan_version)
{
    assert_int_equal(group->sample_count, G);
    for (uint32_t i = 0; i < G; i++) {
        const struct group_sample *sample = &group->samples[i];
        uint32_t sum = 0;
        for (uint32_t t = 0; t < sample->count; t++)
            assert_int_equal(sample->ids[t], group->group_id * 100 + i * 20 + t);
        for (uint32_t p = 0; p < sample->piece_count; p++) {
            sum += sample->pieces[p].count;
            if (world->config.store.over_age == OVER_AGE_HOLD) /* the staleness bound */
                assert_true(sample->pieces[p].version + world->config.store.max_staleness + 1 >=
                            plan_version);
        }
        assert_int_equal(sum, sample->count);
        world->consumed_tokens += sum;
    }
}

static inline uint64_t plan_hash(const struct plan *plan)
{
    uint64_t hash = 77 + plan->group_count;
    for (uint32_t i = 0; i < plan->group_count; i++)
        hash = hash * UINT64_C(6364136223846793005) + plan->group_ids[i];
    return hash;
}

/* Trains a plan: fetches all groups, registers, now and then reports a checkpoint. */
static inline void train(struct world *world, const struct plan *said)
{
    struct learner *learner = &world->learner;
    struct plan plan = *said;
    uint64_t ids[P];
    assert_int_equal(plan.group_count, P);
    memcpy(ids, plan.group_ids, sizeof ids);
    if (plan.version != learner->version + 1)
        return;
    if (learner->plan_hash[plan.version] != 0 &&
        plan.digest != 0) /* a restarted learner gets the same plan */
        assert_int_equal(learner->plan_hash[plan.version], plan_hash(&plan));
    learner->plan_hash[plan.version] = plan_hash(&plan);
    for (uint32_t i = 0; i < P; i++) {
        assert_true(ids[i] < 4096);
        if (learner->branch == 0) /* trained once only: at most one version ever plans it */
            assert_true(world->planned[ids[i]] == 0 || world->planned[ids[i]] == plan.version);
        world->planned[ids[i]] = plan.version;
        struct message request = {.type = MESSAGE_group_request, .group_request = {ids[i]}};
        struct arena *arena = NULL;
        struct book_out out;
        must(arena_create(&arena, 8 << 20));
        book_out_init(&out, arena);
        must(book_handle(world->book, world->now_ns, LEARNER_PEER, &request, &out));
        assert_int_equal(out.send_count, 1);
        assert_int_equal(out.sends[0].message.type, MESSAGE_group_data);
        check_group(world, &out.sends[0].message.group_data, plan.version);
        book_out_free(&out);
        arena_destroy(&arena);
    }
    learner->version = plan.version;
    learner->digest = digest_of(world, plan.version);
    learner->asked = false;
}

static inline void receive_learner(struct world *world, const struct message *message)
{
    struct learner *learner = &world->learner;
    if (!learner->up)
        return;
    if (message->type == MESSAGE_refused)
        fprintf(stderr, "refused: %s\n", message->refused.reason);
    assert_true(message->type != MESSAGE_refused);
    if (message->type == MESSAGE_ack && !message->ack.ok)
        fprintf(stderr, "not ok: %s\n", message->ack.error);
    if (message->type == MESSAGE_ack)
        assert_true(message->ack.ok);
    if (message->type == MESSAGE_notice || message->type == MESSAGE_welcome) {
        learner->branch =
            message->type == MESSAGE_notice ? message->notice.branch : message->welcome.branch;
        world->stopping =
            world->stopping || (message->type == MESSAGE_notice && message->notice.stopping);
    }
}

/* Sends of a round arrive; `plans` are trained last, since that talks back. */
static inline void settle(struct world *world)
{
    must(book_tick(world->book, world->now_ns, &world->out));
    must(buffer_append(&world->ledger, world->out.records.bytes, world->out.records.size));
    const struct plan *plan = NULL;
    for (size_t i = 0; i < world->out.send_count; i++) {
        const struct message *message = &world->out.sends[i].message;
        uint32_t peer = world->out.sends[i].peer;
        if (peer < ACTORS_MAX)
            receive_actor(world, peer, message);
        else if (peer == LEARNER_PEER && message->type == MESSAGE_plan && world->learner.up)
            plan = &message->plan;
        else if (peer == LEARNER_PEER)
            receive_learner(world, message);
        else if (peer >= REWARD_PEER && peer < REWARD_PEER + REWARDS)
            receive_reward(world, peer - REWARD_PEER, message);
    }
    uint64_t before = world->learner.version;
    if (plan != NULL)
        train(world, plan);
    book_out_clear(&world->out);
    if (world->learner.version != before) {
        struct learner *learner = &world->learner;
        struct message message = {.type = MESSAGE_version_register,
                                  .version_register = {++learner->request, learner->branch,
                                                       learner->version, before, learner->digest,
                                                       "w"}};
        deliver(world, LEARNER_PEER, &message);
        uint32_t every = world->checkpoint_every != 0 ? world->checkpoint_every : 2;
        if (learner->version % every == 0 || learner->version == world->config.steps) {
            struct message report = {.type = MESSAGE_checkpoint_report,
                                     .checkpoint_report = {++learner->request, learner->branch,
                                                           learner->version, learner->digest, "c"}};
            deliver(world, LEARNER_PEER, &report);
            learner->checkpoint = learner->version;
            learner->checkpoint_digest = learner->digest;
        }
    }
}

static inline void check_invariants(const struct world *world)
{
    struct book_counters c;
    book_read_counters(world->book, &c);
    assert_true(c.groups_open + c.groups_eligible <= (world->config.store.max_staleness + 1) * P ||
                c.branch > 0);
    assert_true(c.rollouts_scored <= c.rollouts_finished);
    if (world->config.store.over_age == OVER_AGE_HOLD)
        assert_true(c.staleness_max <= world->config.store.max_staleness);
    assert_true(c.groups_consumed <= c.groups_planned);
}

static inline void deliver(struct world *world, uint32_t peer, const struct message *message)
{
    must(book_handle(world->book, world->now_ns, peer, message, &world->out));
    settle(world);
    check_invariants(world);
}

/* ---- what the processes do ---- */

static inline void hello(struct world *world, uint32_t peer, enum role role, uint32_t index,
                         uint64_t incarnation)
{
    struct message message = {.type = MESSAGE_hello,
                              .hello = {.run = "test",
                                        .role = role,
                                        .index = index,
                                        .incarnation = incarnation,
                                        .host = "here",
                                        .layout_hash = role == ROLE_REWARD ? 0 : 9,
                                        .numerics_id = role == ROLE_REWARD ? 0 : 8,
                                        .numerics = "n"}};
    deliver(world, peer, &message);
}

static inline void ask_leases(struct world *world, uint32_t i)
{
    struct actor *actor = &world->actors[i];
    struct message message = {
        .type = MESSAGE_lease_request,
        .lease_request = {actor->incarnation, actor->slots, 10000, actor->version}};
    deliver(world, i, &message);
}

static inline void start_actor(struct world *world, uint32_t i, uint32_t slots)
{
    struct actor *actor = &world->actors[i];
    struct kept_frame *frames = actor->frames;
    *actor = (struct actor){.up = true,
                            .incarnation = world->next_incarnation++,
                            .slots = slots,
                            .next_frame = 1,
                            .frames = frames};
    hello(world, i, ROLE_ACTOR, i, actor->incarnation);
    ask_leases(world, i);
}

static inline void start_reward(struct world *world, uint32_t i)
{
    struct reward *reward = &world->rewards[i];
    *reward = (struct reward){.up = true, .incarnation = world->next_incarnation++};
    hello(world, REWARD_PEER + i, ROLE_REWARD, i, reward->incarnation);
    struct message message = {.type = MESSAGE_score_request,
                              .score_request = {reward->incarnation, 8, world->reward_caps}};
    deliver(world, REWARD_PEER + i, &message);
}

static inline void start_learner(struct world *world)
{
    struct learner *learner = &world->learner;
    learner->up = true;
    learner->incarnation = world->next_incarnation++;
    learner->asked = false;
    learner->version = learner->checkpoint;
    learner->digest = learner->checkpoint == 0 ? 1000 : learner->checkpoint_digest;
    hello(world, LEARNER_PEER, ROLE_LEARNER, 0, learner->incarnation);
    struct message message = {.type = MESSAGE_version_register,
                              .version_register = {++learner->request, learner->branch,
                                                   learner->version, 0, learner->digest, "w"}};
    deliver(world, LEARNER_PEER, &message);
}

/* Where most tests begin: the learner has its weights, actor 0 has 16 samples to make. */
static inline void world_with_actor(struct world *world)
{
    world_create(world, seed_base(), 0);
    start_learner(world);
    start_actor(world, 0, 16);
}

/* Time passes in steps that the store pays attention to. */
static inline void pass_ms(struct world *world, int64_t ms)
{
    for (int64_t at = 0; at < ms; at += 50) {
        world->now_ns += (ms - at < 50 ? ms - at : 50) * MS;
        settle(world);
    }
}

/* kill -9: the hub sees at once that the connection is dead. */
static inline void kill_actor(struct world *world, uint32_t i)
{
    world->actors[i].up = false;
    book_connection(world->book, world->now_ns, i, false);
}

static inline uint32_t length_of(uint64_t group_id, uint32_t sample)
{
    return 1 + (uint32_t)(group_id * 7 + sample * 5) % BUDGET;
}

/* Each running sample makes up to n tokens; all new ones leave in one frame. `lost`: the frame stays unsent. */
static inline void generate(struct world *world, uint32_t i, uint32_t n, bool lost)
{
    struct actor *actor = &world->actors[i];
    if (!actor->up || actor->frame_count == FRAMES_MAX)
        return;
    struct kept_frame *frame = &actor->frames[actor->frame_count];
    *frame = (struct kept_frame){.frame_id = actor->next_frame};
    for (uint32_t h = 0; h < actor->slots; h++) {
        struct held *held = &actor->held[h];
        if (!held->live || held->min_version > actor->version)
            continue;
        uint32_t wanted = length_of(held->group_id, held->sample), first = held->position;
        uint32_t length = wanted < held->most ? wanted : held->most;
        uint32_t count = length - first < n ? length - first : n, s = frame->count++;
        for (uint32_t t = 0; t < count; t++) {
            frame->ids[s][t] = (uint32_t)(held->group_id * 100 + held->sample * 20 + first + t);
            frame->logprobs[s][t] = -0.5F;
        }
        held->position += count;
        bool ends = held->position == length;
        frame->segments[s] = (struct segment){.lease_id = held->lease_id,
                                              .group_id = held->group_id,
                                              .sample = held->sample,
                                              .attempt = held->attempt,
                                              .first_position = first,
                                              .count = count,
                                              .ids = frame->ids[s],
                                              .logprobs = frame->logprobs[s],
                                              .version = actor->version,
                                              .digest = actor->digest,
                                              .kv_version_min = actor->version,
                                              .rebuilt_at = UINT32_MAX,
                                              .numerics_id = 8,
                                              .proof = PROOF_OWN,
                                              .status = !ends                 ? SEGMENT_MORE
                                                        : wanted > held->most ? SEGMENT_LENGTH
                                                                              : SEGMENT_EOS};
        if (ends)
            held->live = false;
    }
    if (frame->count == 0)
        return;
    actor->next_frame++;
    actor->frame_count++;
    if (lost)
        return;
    struct message message = {
        .type = MESSAGE_segment_frame,
        .segment_frame = {frame->frame_id, actor->incarnation, frame->count, frame->segments}};
    deliver(world, i, &message);
}

static inline void resend_frames(struct world *world, uint32_t i)
{
    struct actor *actor = &world->actors[i];
    struct kept_frame *copy = memory_array(FRAMES_MAX, sizeof *copy);
    uint32_t count = actor->frame_count;
    assert_non_null(copy);
    memcpy(copy, actor->frames, count * sizeof *copy);
    for (uint32_t f = 0; f < count; f++) {
        for (uint32_t s = 0; s < copy[f].count; s++) {
            copy[f].segments[s].ids = copy[f].ids[s];
            copy[f].segments[s].logprobs = copy[f].logprobs[s];
        }
        struct message message = {.type = MESSAGE_segment_frame,
                                  .segment_frame = {copy[f].frame_id, actor->incarnation,
                                                    copy[f].count, copy[f].segments}};
        deliver(world, i, &message);
    }
    memory_free(copy);
}

static inline void reconnect_actor(struct world *world, uint32_t i)
{
    if (!world->actors[i].up)
        return;
    hello(world, i, ROLE_ACTOR, i, world->actors[i].incarnation);
    ask_leases(world, i);
    resend_frames(world, i);
}

/* A pure function of group and sample, so that outcomes never depend on the schedule. */
static inline double reward_of(const struct world *world, uint64_t group_id, uint32_t sample)
{
    if (world->zero_variance_every != 0 && group_id % world->zero_variance_every == 0)
        return 1;
    return sample % 2;
}

static inline void score(struct world *world, uint32_t i, uint32_t most)
{
    struct reward *reward = &world->rewards[i];
    if (!reward->up || reward->count == 0)
        return;
    struct score scores[INBOX_MAX];
    uint32_t count = reward->count < most ? reward->count : most;
    for (uint32_t s = 0; s < count; s++) {
        struct work work = reward->work[s];
        bool fails = world->error_every != 0 && rng_below(&world->rng, world->error_every) == 0;
        double value = reward_of(world, work.group_id, work.sample);
        const char *detail = value > 0.5 ? "{\"accuracy\":1}" : "{\"accuracy\":0}";
        scores[s] = (struct score){work.group_id,
                                   work.sample,
                                   work.attempt,
                                   fails ? SCORE_TIMEOUT : SCORE_OK,
                                   fails           ? 0
                                   : world->shaped ? value - 0.01 * work.sample
                                                   : value,
                                   world->shaped ? detail : "{}",
                                   0};
    }
    memmove(reward->work, reward->work + count, (reward->count - count) * sizeof *reward->work);
    reward->count -= count;
    struct message message = {
        .type = MESSAGE_score_result,
        .score_result = {++reward->frame, reward->incarnation, count, scores}};
    deliver(world, REWARD_PEER + i, &message);
}

static inline void ask_plan(struct world *world)
{
    struct learner *learner = &world->learner;
    if (!learner->up || learner->version >= world->config.steps)
        return;
    struct message message = {.type = MESSAGE_plan_request,
                              .plan_request = {learner->version, learner->branch,
                                               learner->checkpoint, learner->checkpoint_digest}};
    deliver(world, LEARNER_PEER, &message);
}

static inline void beat(struct world *world, uint32_t peer)
{
    struct message message = {.type = MESSAGE_heartbeat,
                              .heartbeat = {.version = 0, .stats_json = "{}", .waits_json = "[]"}};
    if (peer < ACTORS_MAX)
        message.heartbeat.version = world->actors[peer].version;
    deliver(world, peer, &message);
}

static inline void beat_all(struct world *world)
{
    for (uint32_t i = 0; i < ACTORS_MAX; i++)
        if (world->actors[i].up)
            beat(world, i);
    for (uint32_t i = 0; i < REWARDS; i++)
        if (world->rewards[i].up)
            beat(world, REWARD_PEER + i);
    if (world->learner.up)
        beat(world, LEARNER_PEER);
}

/* Everything that can go wrong may; probabilities in 1000. */
struct trouble {
    uint32_t actor_dies, reward_dies, learner_dies, frame_lost, duplicate, store_dies;
};

static inline void compare_books(struct world *world, struct book *rebuilt)
{
    struct book_counters a, b;
    book_read_counters(world->book, &a);
    book_read_counters(rebuilt, &b);
    a.tokens_repeated_refused = a.tokens_regenerated = a.segments_refused = a.scores_refused =
        0; /* not on disk */
    assert_memory_equal(&a, &b, sizeof a);
}

static inline struct book *rebuild(const struct world *world)
{
    struct book *book = NULL;
    struct arena *arena = NULL;
    must(book_create(&book, &world->config));
    must(arena_create(&arena, 1 << 20));
    for (size_t at = 0, used = 0; at < world->ledger.size; at += used) {
        struct record record;
        arena_reset(arena);
        must(record_unpack(&record, arena, world->ledger.bytes + at, world->ledger.size - at,
                           &used));
        must(book_apply(book, &record));
    }
    arena_destroy(&arena);
    return book;
}

/* kill -9 and a new store on the same ledger; everybody says hello again and resends. */
static inline void restart_store(struct world *world)
{
    struct book *rebuilt = rebuild(world);
    compare_books(world, rebuilt);
    book_destroy(&world->book);
    world->book = rebuilt;
    book_restarted(world->book, world->now_ns);
    for (uint32_t i = 0; i < ACTORS_MAX; i++)
        reconnect_actor(world, i);
    for (uint32_t i = 0; i < REWARDS; i++)
        if (world->rewards[i].up) {
            struct reward *reward = &world->rewards[i];
            hello(world, REWARD_PEER + i, ROLE_REWARD, i, reward->incarnation);
            struct message message = {
                .type = MESSAGE_score_request,
                .score_request = {reward->incarnation, 8, world->reward_caps}};
            deliver(world, REWARD_PEER + i, &message);
        }
    if (world->learner.up)
        hello(world, LEARNER_PEER, ROLE_LEARNER, 0, world->learner.incarnation);
}

static inline bool happens(struct world *world, uint32_t per_thousand)
{
    return per_thousand > 0 && rng_below(&world->rng, 1000) < per_thousand;
}

static inline void step(struct world *world, const struct trouble *trouble)
{
    uint32_t actor = rng_below(&world->rng, ACTORS_MAX), reward = rng_below(&world->rng, REWARDS);
    world->now_ns += rng_below(&world->rng, 20) * MS;
    if (happens(world, trouble->actor_dies))
        kill_actor(world, actor);
    if (happens(world, trouble->reward_dies)) {
        world->rewards[reward].up = false;
        book_connection(world->book, world->now_ns, REWARD_PEER + reward, false);
    }
    if (happens(world, trouble->learner_dies)) {
        world->learner.up = false;
        book_connection(world->book, world->now_ns, LEARNER_PEER, false);
    }
    if (happens(world, trouble->store_dies))
        restart_store(world);
    if (happens(world, trouble->duplicate) && world->actors[actor].up)
        resend_frames(world, actor);
    switch (rng_below(&world->rng, 8)) {
    case 0:
    case 1:
    case 2:
        if (happens(world, trouble->frame_lost)) {
            generate(world, actor, 1 + rng_below(&world->rng, 5), true);
            reconnect_actor(world, actor);
        } else {
            generate(world, actor, 1 + rng_below(&world->rng, 5), false);
        }
        break;
    case 3:
    case 4:
        score(world, reward, 1 + rng_below(&world->rng, 6));
        break;
    case 5:
        ask_plan(world);
        break;
    case 6:
        beat_all(world);
        break;
    default:
        if (!world->actors[actor].up)
            start_actor(world, actor, 4 + actor * 3);
        if (!world->rewards[reward].up)
            start_reward(world, reward);
        if (!world->learner.up)
            start_learner(world);
        break;
    }
}

static inline void start_all(struct world *world)
{
    start_learner(world);
    for (uint32_t i = 0; i < ACTORS_MAX; i++)
        start_actor(world, i, 4 + i * 3);
    for (uint32_t i = 0; i < REWARDS; i++)
        start_reward(world, i);
}

static inline void run_to_end(struct world *world, const struct trouble *trouble,
                              uint32_t steps_max)
{
    for (uint32_t n = 0; n < steps_max && !world->stopping; n++)
        step(world, trouble);
    if (!world->stopping) {
        struct buffer json;
        buffer_init(&json, 0);
        must(book_why_json(world->book, world->now_ns, &json));
        fprintf(stderr, "%s\n", buffer_string(&json));
        buffer_clear(&json);
        must(book_status_json(world->book, world->now_ns, &json));
        fprintf(stderr, "%s\n", buffer_string(&json));
        buffer_free(&json);
    }
    assert_true(world->stopping);
}

#endif
