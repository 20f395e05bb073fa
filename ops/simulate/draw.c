/* ops/simulate/draw.c - a seed becomes a fleet: its size, its settings, its times and its troubles. */
#include <string.h>

#include "ops/simulate/sim.h"

enum { STREAM_SETUP = 3, STREAM_CURRICULUM = 6, STREAM_STAGES = 7 };

static uint32_t pick(struct rng *rng, uint32_t least, uint32_t most)
{
    return least + rng_below(rng, most - least + 1);
}

static int64_t pick_ms(struct rng *rng, uint32_t least, uint32_t most)
{
    return (int64_t)pick(rng, least, most) * SIM_MS;
}

static void draw_store(struct rng *rng, struct store_settings *store)
{
    store->group_size = pick(rng, 2, 6);
    store->groups_per_publish = pick(rng, 1, 6);
    store->max_staleness = pick(rng, 0, 3);
    store->over_age = pick(rng, 0, 2);
    store->dynamic_sampling = pick(rng, 0, 4) > 0;
    store->max_consecutive_dropped = 1000000;
    store->max_attempts = pick(rng, 1, 4);
    store->max_deaths = pick(rng, 4, 20);
    store->prompt_retries = pick(rng, 0, 2);
    store->lease_ms = pick(rng, 300, 1500);
    store->heartbeat_ms = pick(rng, 50, 300);
    store->prefill_share = pick(rng, 1, 64);
}

static void draw_processes(struct rng *rng, struct settings *settings)
{
    settings->run.seed = rng_u64(rng) % 1000000;
    settings->run.steps = pick(rng, 3, 12);
    settings->run.drain_s = 5;
    settings->sampling.response_tokens_max = pick(rng, 3, 40);
    settings->sampling.temperature = settings->sampling.top_p = 1;
    settings->actor.slots = pick(rng, 1, 12);
    settings->actor.segment_tokens = pick(rng, 1, 16);
    settings->actor.segment_ms = pick(rng, 10, 250);
    settings->actor.unacked_frames_max = pick(rng, 1, 16);
    settings->actor.kv_on_swap = pick(rng, 0, 1);
    settings->learner.updates_per_publish = pick(rng, 1, 4);
    settings->learner.checkpoint_every = pick(rng, 1, 5);
    settings->reward.queue = pick(rng, 1, 64);
}

/* Half of the seeds have a curriculum; from a stream of its own, so that the other draws stay what they were. */
static void draw_curriculum(uint64_t seed, struct sim_setup *setup)
{
    static const char *const mixes[] = {"", "a: 1; b: 1; c: 1", "a: 3; b: 0.5@0 2@4; c: 0@1 1@3",
                                        "*: 2@0 1@5"};
    struct curriculum_settings *curriculum = &setup->settings.curriculum;
    struct rng rng;
    rng_init(&rng, seed, STREAM_CURRICULUM, RNG_TEST);
    *curriculum = (struct curriculum_settings){.mix = "",
                                               .quotas = "",
                                               .quota_window = 10,
                                               .pass_value = 0.5,
                                               .pass_high = 1,
                                               .band_groups = 2,
                                               .review = 0.3,
                                               .retire_after = 1,
                                               .hard_epochs = 1,
                                               .priority_floor = 0.1,
                                               .when_retired = WHEN_RETIRED_REOPEN};
    setup->settings.store.filter_on = "";
    if (pick(&rng, 0, 1) == 0)
        return;
    curriculum->mix = mixes[pick(&rng, 0, 3)];
    curriculum->quotas = pick(&rng, 0, 2) == 0 ? "a: 0.4" : "";
    curriculum->raise_at = pick(&rng, 0, 1) * 0.5;
    curriculum->lower_at = curriculum->raise_at > 0 && pick(&rng, 0, 1) == 0 ? 0.4 : 0;
    curriculum->retire_at = pick(&rng, 0, 1) * 0.9;
    curriculum->hard_after = pick(&rng, 0, 2);
    curriculum->priority = pick(&rng, 0, 1);
    setup->shaped = pick(&rng, 0, 1) == 1;
    setup->settings.store.filter_on = setup->shaped ? "accuracy" : "";
}

/* Stages that end after a few plans, for one fleet in three; drawn apart, so that the rest of a seed stays as it was. */
static void draw_stages(uint64_t seed, struct sim_setup *setup)
{
    static const struct {
        const char *lengths;
        uint32_t last;
    } lists[] = {{"3, 8", 8}, {"4, 8, 12", 12}, {"6, 12, 18, 24", 24}, {"5, 39, 40", 40}};
    struct rng rng;
    rng_init(&rng, seed, STREAM_STAGES, RNG_TEST);
    if (pick(&rng, 0, 2) != 0)
        return;
    uint32_t list = pick(&rng, 0, 3), window = pick(&rng, 2, 3);
    setup->settings.sampling.response_tokens_max = lists[list].last;
    setup->response_mean = pick(&rng, 1, lists[list].last);
    setup->settings.stages =
        (struct stages_settings){.lengths = lists[list].lengths,
                                 .window = window,
                                 .settled = 1,
                                 .near_cap = pick(&rng, 0, 1) == 0 ? 0.5 : 0.95,
                                 .confirm = pick(&rng, 1, 2),
                                 .least = window + pick(&rng, 0, 1),
                                 .start = pick(&rng, 0, 5) == 0 ? 1 : 0,
                                 .tail_rise = 0.1};
}

static uint32_t draw_faults(struct rng *rng)
{
    if (pick(rng, 0, 19) == 0)
        return 0;
    if (pick(rng, 0, 4) == 0)
        return SIM_ALL_FAULTS;
    uint32_t faults = 0;
    for (uint32_t i = pick(rng, 1, 6); i > 0; i--)
        faults |= UINT32_C(1) << rng_below(rng, SIM_FAULT_COUNT);
    return faults;
}

void sim_draw(struct sim_setup *setup, uint64_t seed, uint32_t faults)
{
    struct rng rng;
    rng_init(&rng, seed, STREAM_SETUP, RNG_TEST);
    memset(setup, 0, sizeof *setup);
    setup->seed = seed;
    setup->check = true;
    draw_store(&rng, &setup->settings.store);
    draw_processes(&rng, &setup->settings);
    setup->faults = draw_faults(&rng) & faults;
    setup->actors = pick(&rng, 1, 12);
    setup->workers = pick(&rng, 1, 3);
    if (pick(&rng, 0, 199) == 0) { /* now and then a large fleet with little to do */
        setup->actors = pick(&rng, 100, 300);
        setup->settings.run.steps = 2;
        setup->settings.store.groups_per_publish = pick(&rng, 6, 40);
        setup->settings.actor.slots = pick(&rng, 1, 3);
    }
    setup->prompts = pick(&rng, 3, 40);
    setup->vocabulary = pick(&rng, 20, 300);
    setup->response_mean = pick(&rng, 1, setup->settings.sampling.response_tokens_max);
    setup->equal_rewards = pick(&rng, 0, 5);
    if (setup->equal_rewards == 1)
        setup->equal_rewards = 0;
    setup->turn_ns = pick_ms(&rng, 5, 40);
    setup->turn_tokens = pick(&rng, 1, 4);
    setup->score_ns = pick_ms(&rng, 1, 60);
    setup->score_lanes = pick(&rng, 1, 4);
    setup->train_ns = pick_ms(&rng, 5, 300);
    setup->checkpoint_ns = pick_ms(&rng, 1, 150);
    setup->start_ns = pick_ms(&rng, 5, 200);
    setup->delay_ns = pick(&rng, 0, 3) == 0 ? pick_ms(&rng, 1, 30) : SIM_MS / 3;
    setup->sync_ns = pick(&rng, 0, 3) == 0 ? pick_ms(&rng, 1, 20) : SIM_MS;
    setup->fault_ns = pick_ms(&rng, 30, 300);
    setup->faults_end_ns = setup->faults == 0 ? 0 : pick_ms(&rng, 1000, 10000);
    setup->bound_ns = setup->faults_end_ns + 120 * SIM_S;
    draw_curriculum(seed, setup);
    draw_stages(seed, setup);
}
