/* ops/simulate/forecast.c - a planned fleet: settings of the recipe, rates as measured, figures as they will be.
 *
 * Tokens are simulated in units of several, so that a sequence has about UNITS of them; rates and limits are scaled
 * alike. What is not modelled is in docs/simulate.md. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "ops/simulate/batch.h"

enum {
    UNITS = 24,
    TURN_MIN_MS = 20,
    TURN_MAX_MS = 1000,
    TURNS = 4000,
    BEAT_MS = 1000,
    BEATS = 2000
};

static uint32_t in_units(uint32_t tokens, uint32_t unit)
{
    uint32_t units = (tokens + unit - 1) / unit;
    return units > 0 ? units : 1;
}

static int64_t ns_of(double seconds)
{
    return (int64_t)(seconds * (double)SIM_S);
}

static void set_times(const struct simulate_options *options, uint32_t unit,
                      struct sim_setup *setup)
{
    setup->slot_tokens_per_s = options->tokens_per_s / unit;
    setup->train_tokens_per_s = options->learner_tokens_per_s / unit;
    double turn_s = setup->settings.actor.slots / setup->slot_tokens_per_s;
    setup->turn_ns = ns_of(turn_s);
    if (setup->turn_ns < TURN_MIN_MS * SIM_MS)
        setup->turn_ns = TURN_MIN_MS * SIM_MS;
    int64_t longest_ns =
        ns_of(options->minutes * 60 / TURNS); /* slow fleets are looked at less often */
    if (longest_ns < TURN_MAX_MS * SIM_MS)
        longest_ns = TURN_MAX_MS * SIM_MS;
    if (setup->turn_ns > longest_ns)
        setup->turn_ns = longest_ns;
    setup->score_ns = ns_of(options->score_ms / 1000);
    setup->score_lanes = options->score_lanes;
    setup->train_ns = ns_of(options->step_ms / 1000) + 1;
    setup->checkpoint_ns = ns_of(options->checkpoint_s) + 1;
    setup->start_ns = ns_of(options->restart_s);
    setup->delay_ns = SIM_MS / 5;
    setup->sync_ns = SIM_MS;
    setup->mtbf_ns = ns_of(options->mtbf_s);
    setup->fault_ns = 10 * SIM_S;
    setup->warm_ns = ns_of(options->minutes * 12);
    setup->stop_ns = setup->warm_ns + ns_of(options->minutes * 60);
    setup->faults_end_ns = setup->stop_ns;
    setup->bound_ns = INT64_MAX;
}

static void set_up(const struct simulate_options *options, const struct settings *settings,
                   struct sim_setup *setup)
{
    *setup = (struct sim_setup){.seed = options->seed, .faults = options->faults};
    setup->settings = *settings;
    uint32_t most =
        options->response_max > 0 ? options->response_max : settings->sampling.response_tokens_max;
    uint32_t mean = options->response_mean > 0 ? options->response_mean : in_units(most, 4);
    most = most < mean ? mean : most;
    uint32_t unit = in_units(mean, UNITS);
    setup->response_mean = in_units(mean, unit);
    setup->settings.sampling.response_tokens_max = in_units(most, unit);
    setup->settings.stages =
        (struct stages_settings){0}; /* one length: --response-max, or the last stage's */
    setup->settings.actor.segment_tokens = in_units(settings->actor.segment_tokens, unit);
    setup->settings.run.steps = 1000000;
    setup->settings.curriculum.mix = ""; /* the sources of the recipe's data are not here */
    setup->settings.curriculum.quotas = "";
    setup->settings.curriculum.retire_at = 0;
    setup->settings.curriculum.raise_at = setup->settings.curriculum.lower_at = 0;
    setup->settings.curriculum.hard_after = 0;
    setup->settings.stages.lengths = ""; /* lengths of the last stage */
    setup->settings.store.max_consecutive_dropped = 1000000000;
    if (options->mtbf_s <= 0 && options->faults == 0) {
        double beat_ms = options->minutes * 60000 / BEATS;
        beat_ms = beat_ms < BEAT_MS ? BEAT_MS : beat_ms > 60 * BEAT_MS ? 60 * BEAT_MS : beat_ms;
        setup->settings.store.heartbeat_ms = (uint32_t)beat_ms;
        setup->settings.store.lease_ms = 5 * (uint32_t)beat_ms;
    }
    setup->settings.actor.cache_tokens = 0;
    setup->actors = options->actors;
    setup->workers = options->workers > 0 ? options->workers : settings->run.reward_workers;
    if (setup->workers == 0)
        setup->workers = 1; /* run.reward_workers=0: they run elsewhere */
    setup->prompts = 1000;
    setup->vocabulary = 1000;
    setup->turn_tokens = 1;
    set_times(options, unit, setup);
}

/* ---- words ---- */

static void print_json(const struct simulate_options *options, const struct sim_setup *setup,
                       const struct forecast *is)
{
    printf("{\"actors\":%u,\"workers\":%u,\"seed\":%" PRIu64
           ",\"virtual_s\":%.1f,\"trained_tokens_per_s\":%.1f,\"generated_tokens_per_s\":%.1f,"
           "\"regenerated_share\":%.6f,\"versions_per_hour\":%.2f,\"staleness_mean\":%.4f,"
           "\"staleness_max\":%.0f,\"actor_idle\":%.4f,\"learner_idle\":%.4f,"
           "\"worker_busy\":%.4f,\"deaths\":%" PRIu64 ",\"wall_s\":%.2f}\n",
           setup->actors, setup->workers, options->seed, is->figures.seconds, is->trained_per_s,
           is->made_per_s, is->again_share, is->versions_per_hour, is->figures.staleness_mean,
           is->figures.staleness_max, is->figures.actor_idle, is->figures.learner_idle,
           is->figures.worker_busy, is->figures.kills, is->wall_s);
}

const char *forecast_advice(const struct forecast *is)
{
    const struct sim_figures *figures = &is->figures;
    if (figures->worker_busy > 0.9)
        return "the reward workers limit it: more of them (run.reward_workers), or more lanes";
    if (figures->learner_idle < 0.1)
        return "the learner limits it: fewer actors would do, or a faster learner";
    if (figures->actor_idle < 0.1)
        return "the actors limit it: more of them would be used";
    if (figures->actor_idle > 0.3 && figures->learner_idle > 0.3)
        return "both wait for each other: raise store.max_staleness or store.groups_per_publish";
    return "actors and learner are balanced";
}

static void print_table(const struct sim_setup *setup, const struct forecast *is)
{
    const struct sim_figures *figures = &is->figures;
    printf("fleet            %u actors, %u reward workers, 1 learner; staleness at most %u, "
           "%u groups of %u a version\n",
           setup->actors, setup->workers, setup->settings.store.max_staleness,
           setup->settings.store.groups_per_publish, setup->settings.store.group_size);
    printf("measured         %.0f s of virtual time, in %.1f s\n", figures->seconds, is->wall_s);
    printf("trained          %.0f tokens/s\n", is->trained_per_s);
    printf("generated        %.0f tokens/s, %.2f %% of them again\n", is->made_per_s,
           100 * is->again_share);
    printf("versions         %.1f an hour\n", is->versions_per_hour);
    printf("staleness        mean %.2f, max %.0f versions\n", figures->staleness_mean,
           figures->staleness_max);
    printf("idle             actors %.1f %%, learner %.1f %%; reward workers busy %.1f %%\n",
           100 * figures->actor_idle, 100 * figures->learner_idle, 100 * figures->worker_busy);
    if (setup->mtbf_ns > 0 || setup->faults != 0)
        printf("deaths           %" PRIu64 "\n", figures->kills);
    printf("so               %s\n", forecast_advice(is));
}

/* ---- running ---- */

enum status forecast_play(const struct simulate_options *options, const struct settings *settings,
                          struct sim_setup *setup, struct forecast *is)
{
    static struct sim_result result;
    set_up(options, settings, setup);
    setup->trace = options->trace;
    setup->progress = !options->quiet;
    int64_t begin_ns = clock_now_ns();
    TRY(sim_run(setup, &result));
    if (result.failed)
        return FAIL(STATUS_LIMIT, "the simulated run failed (%s): %s", result.invariant,
                    result.text);
    uint32_t unit =
        in_units(options->response_mean > 0
                     ? options->response_mean
                     : in_units(options->response_max > 0 ? options->response_max
                                                          : settings->sampling.response_tokens_max,
                                4),
                 UNITS);
    double seconds = result.figures.seconds > 0 ? result.figures.seconds : 1;
    *is = (struct forecast){.figures = result.figures,
                            .trained_per_s = result.figures.tokens_trained * unit / seconds,
                            .made_per_s = result.figures.tokens_made * unit / seconds,
                            .versions_per_hour = result.figures.versions * 3600 / seconds,
                            .wall_s = (double)(clock_now_ns() - begin_ns) / 1e9};
    if (result.figures.tokens_made > 0)
        is->again_share = result.figures.tokens_again / result.figures.tokens_made;
    return STATUS_OK;
}

static enum status play(const struct simulate_options *options, const struct settings *settings)
{
    static struct sim_setup setup;
    struct forecast is;
    TRY(forecast_play(options, settings, &setup, &is));
    if (options->json)
        print_json(options, &setup, &is);
    else
        print_table(&setup, &is);
    return STATUS_OK;
}

enum status forecast_run(const struct simulate_options *options)
{
    struct settings settings;
    struct config *config = NULL;
    struct config_input input = {.files = options->files,
                                 .file_count = options->file_count,
                                 .overrides = options->overrides,
                                 .override_count = options->override_count,
                                 .environment = true};
    TRY(settings_load(&settings, &config, &input));
    enum status status = play(options, &settings);
    config_destroy(&config);
    return status;
}
