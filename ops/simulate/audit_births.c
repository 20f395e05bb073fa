/* ops/simulate/audit_births.c - the checker: whether a birth in the durable ledger was allowed, by rules of its own.
 *
 * A source without weight is not drawn; shares stay within one birth of what the weights say, quotas hold in every window,
 * and a prompt that everybody solved is not drawn until its source reopens. What groups have shown comes from the truth,
 * not from the scores. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/mix.h"
#include "ops/simulate/audit.h"

enum { WINDOW_MAX = 64 };

struct audit_births {
    struct mix mix, quotas;
    double wanted[SIM_SOURCES], drawn[SIM_SOURCES];
    uint8_t window[WINDOW_MAX]; /* sources of the latest births, ring of `count` */
    uint64_t count;
    bool *retired; /* [prompts] */
};

enum status audit_births_create(struct world *world)
{
    const struct curriculum_settings *settings = &world->setup->settings.curriculum;
    struct audit_births *births = memory_alloc(sizeof *births);
    if (births == NULL)
        return FAIL(STATUS_NO_MEMORY, "checker of births");
    world->audit->births = births;
    births->retired = memory_array(world->setup->prompts, sizeof *births->retired);
    if (births->retired == NULL)
        return FAIL(STATUS_NO_MEMORY, "checker of births");
    TRY(mix_parse(&births->mix, "mix", settings->mix != NULL ? settings->mix : "", 1e9, true));
    return mix_parse(&births->quotas, "quotas", settings->quotas != NULL ? settings->quotas : "", 1,
                     false);
}

void audit_births_destroy(struct audit *audit)
{
    if (audit->births != NULL)
        memory_free(audit->births->retired);
    memory_free(audit->births);
    audit->births = NULL;
}

static void check_shares(struct world *world, uint32_t source)
{
    struct audit_births *births = world->audit->births;
    double weights[SIM_SOURCES], sum = 0;
    for (uint32_t i = 0; i < SIM_SOURCES; i++) {
        const char name[2] = {(char)('a' + (int)i), 0};
        const struct mix_entry *entry = mix_match(&births->mix, name);
        weights[i] = entry != NULL ? mix_value(entry, audit_newest(world->audit)) : 0;
        sum += weights[i];
    }
    if (weights[source] <= 0)
        sim_violation(world, "births", "source %c is drawn at version %" PRIu64 " with weight 0",
                      'a' + (int)source, audit_newest(world->audit));
    births->drawn[source]++;
    for (uint32_t i = 0; i < SIM_SOURCES && births->quotas.count == 0; i++) {
        births->wanted[i] += weights[i] / sum;
        if (fabs(births->drawn[i] - births->wanted[i]) > 1.5) /* weights may jump with a branch */
            sim_violation(world, "births", "source %c has %g births, its share is %g", 'a' + (int)i,
                          births->drawn[i], births->wanted[i]);
    }
}

static void check_quota(struct world *world, uint32_t source)
{
    struct audit_births *births = world->audit->births;
    uint32_t size = world->setup->settings.curriculum.quota_window, recent = 0;
    const char name[2] = {(char)('a' + (int)source), 0};
    const struct mix_entry *entry = mix_match(&births->quotas, name);
    births->window[births->count++ % WINDOW_MAX] = (uint8_t)source;
    for (uint64_t i = 1; i <= size && i <= births->count; i++)
        recent += births->window[(births->count - i) % WINDOW_MAX] == source;
    if (entry != NULL && recent > mix_value(entry, 0) * size + 1e-6)
        sim_violation(world, "births", "source %s has %u of the latest %u births, its quota is %g",
                      name, recent, size, mix_value(entry, 0));
}

void audit_drawn(struct world *world, const struct record *record)
{
    struct audit_births *births = world->audit->births;
    uint32_t source = (uint32_t)(record->born.prompt_id % SIM_SOURCES);
    if (record->born.retry > 0 || record->born.prompt_id >= world->setup->prompts)
        return;
    if (births->retired[record->born.prompt_id])
        sim_violation(world, "births", "prompt %" PRIu64 " is retired and drawn again",
                      record->born.prompt_id);
    if (births->mix.count > 0)
        check_shares(world, source);
    if (births->quotas.count > 0)
        check_quota(world, source);
}

double audit_filter(const struct world *world, uint64_t group, uint32_t sample)
{
    const char *filter_on = world->setup->settings.store.filter_on;
    return filter_on != NULL && filter_on[0] != '\0' ? truth_accuracy(world->setup, group, sample)
                                                     : truth_reward(world->setup, group, sample);
}

/* Its source's prompts are all retired: they return together. */
static void reopen(struct world *world, uint64_t source)
{
    bool *retired = world->audit->births->retired;
    for (uint64_t i = source; i < world->setup->prompts; i += SIM_SOURCES)
        if (!retired[i])
            return;
    for (uint64_t i = source; i < world->setup->prompts; i += SIM_SOURCES)
        retired[i] = false;
}

void audit_learned(struct world *world, uint64_t group)
{
    const struct curriculum_settings *settings = &world->setup->settings.curriculum;
    uint64_t prompt = world->audit->groups[group].prompt;
    uint32_t size = world->setup->settings.store.group_size, passed = 0;
    for (uint32_t s = 0; s < size; s++)
        passed += audit_filter(world, group, s) >= settings->pass_value;
    if (settings->retire_at <= 0 || (double)passed / size < settings->retire_at ||
        world->audit->births->retired[prompt])
        return;
    world->audit->births->retired[prompt] = true;
    reopen(world, prompt % SIM_SOURCES);
}
