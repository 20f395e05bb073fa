/* ops/simulate/world.c - one run: makes the fleet, lets events happen in order, judges the end. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/checksum.h"
#include "core/memory.h"
#include "ops/simulate/sim.h"

enum { STREAM_WORLD = 1, STREAM_FAULTS = 2, PROMPT_TOKENS = 3, GRACE_MS = 5000 };

/* ---- what everybody uses ---- */

void sim_violation(struct world *world, const char *invariant, const char *fmt, ...)
{
    struct sim_result *result = world->result;
    if (result->failed)
        return;
    result->failed = true;
    result->now_ns = world->now_ns;
    snprintf(result->invariant, sizeof result->invariant, "%s", invariant);
    va_list args;
    va_start(args, fmt);
    vsnprintf(result->text, sizeof result->text, fmt, args);
    va_end(args);
    sim_trace(world, "VIOLATION %s: %s", invariant, result->text);
}

void sim_trace(struct world *world, const char *fmt, ...)
{
    struct sim_tail *tail = world->setup->tail;
    if (!world->setup->trace && tail == NULL)
        return;
    char line[SIM_TAIL_BYTES];
    int used = snprintf(line, sizeof line, "%12.6f ", (double)world->now_ns / (double)SIM_S);
    va_list args;
    va_start(args, fmt);
    vsnprintf(line + used, sizeof line - (size_t)used, fmt, args);
    va_end(args);
    if (world->setup->trace)
        puts(line);
    if (tail != NULL)
        memcpy(tail->lines[tail->count++ % SIM_TAIL_LINES], line, sizeof line);
}

bool sim_quiet(const struct world *world)
{
    return world->now_ns >= world->setup->faults_end_ns;
}

bool sim_has(const struct world *world, enum sim_fault fault)
{
    return (world->setup->faults & (UINT32_C(1) << fault)) != 0;
}

bool sim_chance(struct rng *rng, double probability)
{
    return rng_uniform(rng) < probability;
}

int64_t sim_spread(struct rng *rng, int64_t mean_ns)
{
    double factor = -log(rng_uniform(rng));
    return 1 + (int64_t)((factor < 8 ? factor : 8) * (double)mean_ns);
}

/* ---- making it ---- */

static enum status make_prompts(struct world *world)
{
    uint32_t count = world->setup->prompts;
    struct prompt *rows = arena_array(world->arena, count, sizeof *rows);
    if (rows == NULL)
        return FAIL(STATUS_LIMIT, "%u prompts", count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t *ids = arena_array(world->arena, PROMPT_TOKENS, sizeof *ids);
        char *record = arena_alloc(world->arena, 48);
        if (ids == NULL || record == NULL)
            return FAIL(STATUS_LIMIT, "%u prompts", count);
        for (uint32_t t = 0; t < PROMPT_TOKENS; t++)
            ids[t] = (i * 7 + t) % world->setup->vocabulary;
        snprintf(record, 48, "{\"data_source\":\"%c\",\"row\":%u}", 'a' + (int)(i % SIM_SOURCES),
                 i);
        rows[i] = (struct prompt){.ids = ids,
                                  .count = 1 + i % PROMPT_TOKENS,
                                  .record_json = record,
                                  .level = (float)(i / SIM_SOURCES % 3),
                                  .has_level = true};
    }
    return prompts_from_memory(&world->prompts, rows, count);
}

static void add_proc(struct world *world, enum role role, uint32_t index)
{
    struct proc *proc = &world->procs[world->proc_count];
    *proc = (struct proc){.world = world,
                          .id = world->proc_count++,
                          .role = role,
                          .index = index,
                          .clock_offset_ns = SIM_S,
                          .clock_rate = 1,
                          .wake_ns = INT64_MAX,
                          .conn = UINT32_MAX};
    if (!sim_has(world, SIM_SKEW))
        return;
    proc->clock_offset_ns = (int64_t)rng_below(&world->rng, 2000000) * SIM_MS;
    proc->clock_rate = 0.95 + 0.1 * rng_uniform(&world->rng);
}

static enum status make_procs(struct world *world)
{
    const struct sim_setup *setup = world->setup;
    uint32_t spare = sim_has(world, SIM_CHURN) ? 1 + setup->actors / 4 : 0;
    bool twin = sim_has(world, SIM_TWIN);
    world->procs =
        memory_array((size_t)setup->actors + spare + setup->workers + 3, sizeof *world->procs);
    if (world->procs == NULL)
        return FAIL(STATUS_NO_MEMORY, "%u actors", setup->actors);
    add_proc(world, ROLE_STORE, 0);
    add_proc(world, ROLE_LEARNER, 0);
    for (uint32_t i = 0; i < setup->workers; i++)
        add_proc(world, ROLE_REWARD, i);
    for (uint32_t i = 0; i < setup->actors + spare; i++) {
        add_proc(world, ROLE_ACTOR, i);
        world->procs[world->proc_count - 1].gone = i >= setup->actors;
    }
    if (twin) {
        add_proc(world, ROLE_ACTOR, 0);
        world->procs[world->proc_count - 1].twin = true;
        world->procs[world->proc_count - 1].gone = true;
    }
    return STATUS_OK;
}

static void make_config(struct world *world)
{
    const struct settings *settings = &world->setup->settings;
    world->store.book_config =
        (struct book_config){.store = settings->store,
                             .sampling = settings->sampling,
                             .stages = settings->stages,
                             .curriculum = settings->curriculum,
                             .run_seed = settings->run.seed,
                             .steps = settings->run.steps,
                             .updates_per_publish = settings->learner.updates_per_publish,
                             .shuffle = true,
                             .prompts = world->prompts,
                             .run = "simulated",
                             .settings_json = "{}"};
    if (world->setup->plant == PLANT_STALENESS) /* the planted mistake */
        world->store.book_config.store.max_staleness++;
}

static enum status create(struct world *world)
{
    const struct sim_setup *setup = world->setup;
    rng_init(&world->rng, setup->seed, STREAM_WORLD, RNG_TEST);
    rng_init(&world->fault_rng, setup->seed, STREAM_FAULTS, RNG_TEST);
    TRY(arena_create(&world->arena, (size_t)1 << 30));
    TRY(make_prompts(world));
    make_config(world);
    if (setup->check)
        TRY(audit_create(world));
    TRY(make_procs(world));
    for (uint32_t i = 0; i < world->proc_count; i++)
        if (!world->procs[i].gone)
            TRY(event_push(
                &world->heap,
                (struct event){.at_ns = i == 0 ? 0 : sim_spread(&world->rng, setup->start_ns),
                               .kind = EVENT_ACTION,
                               .target = i,
                               .value = ACTION_BOOT}));
    return faults_begin(world);
}

static void destroy(struct world *world)
{
    for (uint32_t i = 1; i < world->proc_count; i++) {
        proc_free(&world->procs[i]);
        inbox_free(&world->procs[i].inbox);
    }
    if (world->proc_count > 0)
        inbox_free(&world->procs[0].inbox);
    sim_store_free(&world->store);
    event_heap_free(&world->heap);
    audit_destroy(world);
    prompts_destroy(&world->prompts);
    arena_destroy(&world->arena);
    memory_free(world->procs);
    memory_free(world->conns);
    memory_free(world->publications);
}

/* ---- running it ---- */

static enum status wake(struct world *world, const struct event *event)
{
    struct proc *proc = &world->procs[event->target];
    if (event->value != proc->wake_serial || !proc->up)
        return STATUS_OK;
    proc->wake_ns = INT64_MAX;
    return proc->stopped ? STATUS_OK : proc_turn(world, proc);
}

static enum status happen(struct world *world, struct event *event)
{
    switch (event->kind) {
    case EVENT_WAKE:
        return wake(world, event);
    case EVENT_DELIVER:
        return net_deliver(world, event);
    case EVENT_CONNECT:
        return net_connect(world, &world->procs[event->target], event->value);
    case EVENT_CLOSE:
        return net_closed(world, event->target, (enum side)event->value);
    case EVENT_FAULT:
        return event->value == 0 ? faults_strike(world) : faults_wear(world);
    case EVENT_ACTION:
        return faults_act(world, event);
    }
    return STATUS_OK;
}

static void add_to_hash(struct world *world, const struct event *event)
{
    uint64_t words[4] = {(uint64_t)event->at_ns, (uint64_t)event->kind << 32 | event->target,
                         event->value, event->size};
    world->result->hash = hash64(words, sizeof words, world->result->hash);
    if (event->size > 0)
        world->result->hash = hash64(event->bytes, event->size, world->result->hash);
}

/* Of long forecasts. */
static void say_progress(struct world *world)
{
    const struct sim_setup *setup = world->setup;
    if (!setup->progress || (world->result->events & 0xffff) != 0)
        return;
    int64_t real_ns = clock_now_ns();
    if (world->said_ns == 0)
        world->said_ns = real_ns;
    if (real_ns - world->said_ns < 2 * SIM_S)
        return;
    world->said_ns = real_ns;
    fprintf(stderr, "%.0f of %.0f s of virtual time\n", (double)world->now_ns / 1e9,
            (double)setup->stop_ns / 1e9);
}

static bool everybody_left(const struct world *world)
{
    for (uint32_t i = 1; i < world->proc_count; i++)
        if (world->procs[i].up)
            return false;
    return true;
}

static bool is_over(struct world *world)
{
    const struct store *store = &world->store;
    if (world->setup->stop_ns > 0 && world->now_ns >= world->setup->stop_ns)
        return true;
    return store->over && world->procs[0].up &&
           (everybody_left(world) || world->now_ns > store->over_ns + GRACE_MS * SIM_MS);
}

/* Who is still there, for the sentence of a run that does not end. */
static void describe(const struct world *world, char *text, size_t size)
{
    struct book_counters counters = {0};
    size_t used = 0;
    if (world->store.book != NULL)
        book_read_counters(world->store.book, &counters);
    int wrote = snprintf(text, size,
                         "version %" PRIu64 " of %u, %" PRIu64 " groups open, %" PRIu64
                         " eligible, planned %" PRIu64 ";",
                         counters.version, world->setup->settings.run.steps, counters.groups_open,
                         counters.groups_eligible, counters.planned_version);
    used = wrote > 0 ? (size_t)wrote : 0;
    for (uint32_t i = 0; i < world->proc_count && used + 40 < size; i++) {
        const struct proc *proc = &world->procs[i];
        bool welcomed = proc->up && proc->link != NULL && link_core_welcomed(proc->link);
        if (proc->gone && !proc->up)
            continue;
        wrote = snprintf(text + used, size - used, " %d.%u:%s", (int)proc->role, proc->index,
                         !proc->up       ? "down"
                         : proc->stopped ? "stopped"
                         : i == 0        ? "up"
                         : welcomed      ? "welcomed"
                                         : "outside");
        used += wrote > 0 ? (size_t)wrote : 0;
    }
}

/* The store's own words on what it waits for. */
static void trace_why(struct world *world)
{
    struct buffer json;
    buffer_init(&json, 0);
    if (world->setup->trace && world->store.book != NULL &&
        book_why_json(world->store.book, proc_clock(world, &world->procs[0]), &json) == STATUS_OK)
        printf("why: %s\n", buffer_string(&json));
    buffer_clear(&json);
    if (world->setup->trace && world->store.book != NULL &&
        book_status_json(world->store.book, proc_clock(world, &world->procs[0]), &json) ==
            STATUS_OK)
        printf("status: %s\n", buffer_string(&json));
    buffer_free(&json);
}

static void measure(struct world *world)
{
    struct sim_figures *figures = &world->result->figures;
    double made = 0, idle = 0, actors = 0;
    for (uint32_t i = 1; i < world->proc_count; i++) {
        const struct proc *proc = &world->procs[i];
        if (proc->role == ROLE_ACTOR) {
            idle += (double)proc->busy_ns;
            actors++;
        } else if (proc->role == ROLE_LEARNER) {
            figures->learner_idle = (double)proc->busy_ns;
        } else {
            figures->worker_busy += (double)proc->busy_ns / world->setup->workers;
        }
    }
    struct book_counters counters = {0};
    if (world->store.book != NULL)
        book_read_counters(world->store.book, &counters);
    made = (double)counters.tokens;
    figures->tokens_made = made;
    figures->tokens_again = (double)counters.tokens_regenerated;
    figures->tokens_trained = world->trained;
    figures->versions = (double)counters.version;
    figures->actor_idle = actors > 0 ? idle / actors : 0;
    figures->seconds = (double)world->now_ns / (double)SIM_S;
    figures->staleness_mean = world->staleness_sum;
    figures->staleness_max = world->staleness_count;
    figures->kills = world->result->kills;
}

static enum status run(struct world *world)
{
    struct sim_result *result = world->result;
    struct event event;
    bool warm = world->setup->warm_ns == 0;
    while (!result->failed && !is_over(world) && event_pop(&world->heap, &event)) {
        world->now_ns = event.at_ns;
        result->events++;
        if (world->audit != NULL)
            add_to_hash(world, &event);
        else
            say_progress(world);
        if (!warm && world->now_ns >= world->setup->warm_ns) {
            warm = true;
            measure(world);
            world->base = result->figures;
            result->figures = (struct sim_figures){0};
        }
        TRY(happen(world, &event));
        if (world->setup->stop_ns == 0 && world->now_ns > world->setup->bound_ns) {
            char text[512];
            describe(world, text, sizeof text);
            trace_why(world);
            sim_violation(world, "liveness",
                          "not over after %.1f s, %.1f s after the last fault: %s",
                          (double)world->now_ns / 1e9,
                          (double)(world->now_ns - world->setup->faults_end_ns) / 1e9, text);
        }
    }
    if (result->failed || world->audit == NULL)
        return STATUS_OK;
    audit_end(world);
    return world->store.step == STORE_IDLE ? sim_store_check(world) : STATUS_OK;
}

/* Differences to the figures at warm_ns, and shares of time. */
static void finish_figures(struct world *world)
{
    struct sim_figures *now = &world->result->figures, *base = &world->base;
    measure(world);
    double seconds = now->seconds - base->seconds, ns = seconds * (double)SIM_S;
    double groups = world->staleness_count - base->staleness_max;
    now->tokens_made -= base->tokens_made;
    now->tokens_again -= base->tokens_again;
    now->tokens_trained -= base->tokens_trained;
    now->versions -= base->versions;
    now->staleness_mean = groups > 0 ? (now->staleness_mean - base->staleness_mean) / groups : 0;
    now->staleness_max = world->staleness_max;
    now->actor_idle = ns > 0 ? 1 - (now->actor_idle - base->actor_idle) / ns : 0;
    now->learner_idle = ns > 0 ? 1 - (now->learner_idle - base->learner_idle) / ns : 0;
    now->worker_busy = ns > 0 ? (now->worker_busy - base->worker_busy) / ns : 0;
    now->kills -= base->kills;
    now->seconds = seconds;
}

enum status sim_run(const struct sim_setup *setup, struct sim_result *result)
{
    struct world world = {.setup = setup, .result = result};
    *result = (struct sim_result){0};
    enum status status = create(&world);
    if (status == STATUS_OK)
        status = run(&world);
    if (status == STATUS_OK)
        finish_figures(&world);
    struct book_counters counters = {0};
    if (world.store.book != NULL)
        book_read_counters(world.store.book, &counters);
    result->tokens = counters.tokens;
    result->now_ns = world.now_ns;
    destroy(&world);
    return status;
}
