/* rollout_store/curriculum.c - the curriculum is made: rows become sources, levels and streams; births are counted. */
#include "rollout_store/curriculum.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/checksum.h"
#include "core/memory.h"
#include "rollout_store/curriculum_state.h"

/* ---- life ---- */

void curriculum_destroy(struct curriculum **curriculum_pointer)
{
    struct curriculum *curriculum = *curriculum_pointer;
    if (curriculum == NULL)
        return;
    for (uint32_t i = 0; curriculum->sources != NULL && i < curriculum->source_count; i++)
        memory_free(curriculum->sources[i].rates);
    memory_free(curriculum->shares);
    memory_free(curriculum->mix);
    memory_free(curriculum->quotas);
    memory_free(curriculum->sources);
    memory_free(curriculum->skills);
    memory_free(curriculum->pools);
    memory_free(curriculum->members);
    memory_free(curriculum->window);
    memory_free(curriculum);
    *curriculum_pointer = NULL;
}

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

/* Settings made by hand (all zero) mean the defaults. */
static void take_settings(struct curriculum *curriculum, const struct curriculum_settings *given)
{
    struct curriculum_settings *settings = &curriculum->settings;
    *settings = *given;
    settings->mix = or_empty(given->mix);
    settings->quotas = or_empty(given->quotas);
    if (settings->pass_low <= 0 && settings->pass_high <= 0)
        settings->pass_high = 1;
    settings->band_groups = given->band_groups > 0 ? given->band_groups : 1;
    settings->retire_after = given->retire_after > 0 ? given->retire_after : 1;
    settings->hard_epochs = given->hard_epochs > 0 ? given->hard_epochs : 1;
    settings->quota_window = given->quota_window > 0 ? given->quota_window : 1;
    settings->priority_floor = given->priority_floor > 0 ? given->priority_floor : 0.05;
}

/* Of all that changes a birth, so that a snapshot knows whether it was made under the same rules. */
static uint64_t hash_settings(const struct curriculum *curriculum)
{
    const struct curriculum_settings *s = &curriculum->settings;
    const double numbers[] = {
        s->quota_window, s->pass_low,    s->pass_high,      s->raise_at,
        s->lower_at,     s->band_groups, s->review,         s->retire_at,
        s->retire_after, s->hard_after,  s->hard_epochs,    s->priority,
        s->when_retired, s->pass_value,  s->priority_floor, curriculum->shuffle};
    uint64_t hash = hash64(numbers, sizeof numbers, curriculum->seed);
    hash = hash64(s->mix, strlen(s->mix), hash);
    return hash64(s->quotas, strlen(s->quotas), hash);
}

/* ---- sources ---- */

static enum status refuse_entry(const struct curriculum *curriculum, const char *setting,
                                const struct mix_entry *entry)
{
    char names[400] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < curriculum->source_count && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s\"%.80s\"",
                                 i > 0 ? ", " : "", prompts_source(curriculum->prompts, i));
    return FAIL(STATUS_INVALID,
                "%s: no data source matches \"%s\" that an entry before it does not match; the "
                "data has %" PRIu32 ": %s%s",
                setting, entry->glob, curriculum->source_count, names,
                used >= sizeof names ? "..." : "");
}

/* Every entry must decide for some source: one that does not is a slip. */
static enum status check_entries(const struct curriculum *curriculum, const char *setting,
                                 const struct mix *mix)
{
    for (uint32_t e = 0; e < mix->count; e++) {
        bool decides = false;
        for (uint32_t i = 0; i < curriculum->source_count && !decides; i++)
            decides = mix_match(mix, prompts_source(curriculum->prompts, i)) == &mix->entries[e];
        if (!decides)
            return refuse_entry(curriculum, setting, &mix->entries[e]);
    }
    return STATUS_OK;
}

static enum status read_lists(struct curriculum *curriculum)
{
    curriculum->mix = memory_alloc(sizeof *curriculum->mix);
    curriculum->quotas = memory_alloc(sizeof *curriculum->quotas);
    if (curriculum->mix == NULL || curriculum->quotas == NULL)
        return FAIL(STATUS_NO_MEMORY, "curriculum.mix");
    TRY(mix_parse(curriculum->mix, "curriculum.mix", curriculum->settings.mix, 1e9, true));
    TRY(mix_parse(curriculum->quotas, "curriculum.quotas", curriculum->settings.quotas, 1, false));
    TRY(check_entries(curriculum, "curriculum.mix", curriculum->mix));
    TRY(check_entries(curriculum, "curriculum.quotas", curriculum->quotas));
    curriculum->quotas_given = curriculum->quotas->count > 0;
    curriculum->by_source =
        curriculum->mix->count > 0 || curriculum->quotas_given || curriculum->settings.raise_at > 0;
    return STATUS_OK;
}

static enum status make_source(struct curriculum *curriculum, uint32_t i)
{
    struct source_state *source = &curriculum->sources[i];
    const char *name = prompts_source(curriculum->prompts, i);
    const struct mix_entry *quota = mix_match(curriculum->quotas, name);
    uint32_t window = curriculum->settings.quota_window;
    *source = (struct source_state){.weight = mix_match(curriculum->mix, name),
                                    .quota = quota != NULL ? mix_value(quota, 0) : 1,
                                    .levels = 1};
    source->quota_births = (uint32_t)(source->quota * window + 1e-6);
    if (quota != NULL && source->quota > 0 && source->quota_births == 0)
        return FAIL(STATUS_INVALID,
                    "curriculum.quotas: %g of a window of %" PRIu32
                    " births is not one birth of source \"%s\": raise curriculum.quota_window",
                    source->quota, window, name);
    source->rates = memory_array(curriculum->settings.band_groups, sizeof *source->rates);
    return source->rates != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "sources");
}

static enum status make_sources(struct curriculum *curriculum)
{
    curriculum->source_count = prompts_source_count(curriculum->prompts);
    TRY(read_lists(curriculum));
    curriculum->sources = memory_array(curriculum->source_count, sizeof *curriculum->sources);
    curriculum->shares = memory_alloc(sizeof *curriculum->shares);
    if (curriculum->sources == NULL || curriculum->shares == NULL)
        return FAIL(STATUS_NO_MEMORY, "%" PRIu32 " sources", curriculum->source_count);
    for (uint32_t i = 0; i < curriculum->source_count; i++)
        TRY(make_source(curriculum, i));
    if (!curriculum->quotas_given || curriculum->settings.quota_window == 1)
        return STATUS_OK;
    curriculum->window_size = curriculum->settings.quota_window - 1;
    curriculum->window = memory_array(curriculum->window_size, sizeof *curriculum->window);
    return curriculum->window != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "window of quotas");
}

/* ---- streams ---- */

struct place {
    uint32_t source, id;
    float level; /* -INFINITY: none */
};

static int compare_places(const void *left, const void *right)
{
    const struct place *a = left, *b = right;
    if (a->source != b->source)
        return a->source < b->source ? -1 : 1;
    if (a->level != b->level)
        return a->level < b->level ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* Rows without a level stand on the lowest of their source. */
static void join_unlevelled(struct place *places, uint64_t count)
{
    for (uint64_t i = 0; i < count;) {
        uint64_t first = i, leveled;
        while (i < count && places[i].source == places[first].source && isinf(places[i].level))
            i++;
        leveled = i;
        while (i < count && places[i].source == places[first].source)
            i++;
        for (uint64_t j = first; leveled < i && j < leveled; j++)
            places[j].level = places[leveled].level;
    }
}

static enum status add_pool(struct curriculum *curriculum, const struct place *place,
                            uint64_t first)
{
    struct source_state *source = &curriculum->sources[place->source];
    bool fresh = curriculum->pool_count == 0 ||
                 curriculum->pools[curriculum->pool_count - 1].source != place->source;
    if (fresh)
        source->pool_first = curriculum->pool_count;
    source->levels = curriculum->pool_count - source->pool_first + 1;
    if (source->levels > LEVELS_MAX)
        return FAIL(STATUS_INVALID,
                    "source \"%s\" has more than %d levels (data.key_level): round them",
                    prompts_source(curriculum->prompts, place->source), LEVELS_MAX);
    curriculum->pools[curriculum->pool_count++] = (struct pool){
        .source = place->source, .level = isinf(place->level) ? NAN : place->level, .first = first};
    return STATUS_OK;
}

static bool begins(const struct place *places, uint64_t i)
{
    return i == 0 || places[i].source != places[i - 1].source ||
           places[i].level != places[i - 1].level;
}

static enum status cut_pools(struct curriculum *curriculum, const struct place *places,
                             uint64_t count)
{
    uint64_t pools = 0;
    for (uint64_t i = 0; i < count; i++)
        pools += begins(places, i);
    curriculum->pools = memory_array(pools > 0 ? pools : 1, sizeof *curriculum->pools);
    if (curriculum->pools == NULL)
        return FAIL(STATUS_NO_MEMORY, "%" PRIu64 " streams", pools);
    for (uint64_t i = 0; i < count; i++) {
        if (begins(places, i))
            TRY(add_pool(curriculum, &places[i], i));
        curriculum->pools[curriculum->pool_count - 1].count++;
        curriculum->members[i] = places[i].id;
        curriculum->skills[places[i].id].pool = curriculum->pool_count - 1;
    }
    return STATUS_OK;
}

static enum status make_pools(struct curriculum *curriculum)
{
    uint64_t prompts = prompts_count(curriculum->prompts), count = 0;
    struct place *places = memory_array(prompts, sizeof *places);
    curriculum->members = memory_array(prompts, sizeof *curriculum->members);
    enum status status = STATUS_OK;
    if (places == NULL || curriculum->members == NULL)
        status = FAIL(STATUS_NO_MEMORY, "streams of %" PRIu64 " prompts", prompts);
    bool levels = curriculum->settings.raise_at > 0, any = false;
    for (uint64_t id = 0; status == STATUS_OK && id < prompts; id++) {
        const struct prompt *row = prompts_at(curriculum->prompts, id);
        curriculum->skills[id].pool = UINT32_MAX;
        any = any || row->has_level;
        if (!curriculum->skills[id].excluded)
            places[count++] = (struct place){row->source, (uint32_t)id,
                                             levels && row->has_level ? row->level : -INFINITY};
    }
    if (status == STATUS_OK && levels && !any)
        status = FAIL(STATUS_INVALID, "curriculum.raise_at is set, but no row has a number under "
                                      "data.key_level: name the key of the difficulty");
    if (status == STATUS_OK) {
        qsort(places, count, sizeof *places, compare_places);
        join_unlevelled(places, count);
        status = cut_pools(curriculum, places, count);
    }
    memory_free(places);
    return status;
}

static enum status make_streams(struct curriculum *curriculum)
{
    uint64_t count = prompts_count(curriculum->prompts);
    const struct curriculum_settings *settings = &curriculum->settings;
    curriculum->skills = memory_array(count, sizeof *curriculum->skills);
    if (curriculum->skills == NULL || count > UINT32_MAX)
        return FAIL(STATUS_NO_MEMORY, "skills of %" PRIu64 " prompts", count);
    for (uint64_t id = 0; id < count; id++) {
        const struct prompt *row = prompts_at(curriculum->prompts, id);
        bool outside = row->has_pass_rate && ((double)row->pass_rate < settings->pass_low - 1e-7 ||
                                              (double)row->pass_rate > settings->pass_high + 1e-7);
        curriculum->skills[id].excluded = outside;
        curriculum->sources[row->source].prompts++;
        curriculum->sources[row->source].rows += !outside;
    }
    if (curriculum->by_source)
        return make_pools(curriculum);
    curriculum->pools = memory_array(1, sizeof *curriculum->pools);
    if (curriculum->pools == NULL)
        return FAIL(STATUS_NO_MEMORY, "the stream of prompts");
    curriculum->pools[0] = (struct pool){.level = NAN, .count = count};
    curriculum->pool_count = 1;
    return STATUS_OK;
}

void curriculum_count(struct curriculum *curriculum)
{
    curriculum->shares->known = false;
    for (uint32_t i = 0; i < curriculum->source_count; i++)
        curriculum->sources[i].active = curriculum->sources[i].retired =
            curriculum->sources[i].hard = 0;
    for (uint32_t p = 0; p < curriculum->pool_count; p++)
        curriculum->pools[p].active = 0;
    for (uint64_t id = 0; id < prompts_count(curriculum->prompts); id++) {
        const struct skill *skill = &curriculum->skills[id];
        struct source_state *source =
            &curriculum->sources[prompts_at(curriculum->prompts, id)->source];
        source->retired += skill->retired;
        source->hard += skill->hard && !skill->retired;
        source->active += !skill->retired && !skill->excluded;
        if (skill->pool < curriculum->pool_count)
            curriculum->pools[skill->pool].active += !skill->retired && !skill->excluded;
    }
}

/* Something must be there to begin with. */
static enum status check_start(const struct curriculum *curriculum)
{
    struct curriculum_draw first;
    enum status status = curriculum_draw(curriculum, 0, &first);
    char why[512];
    snprintf(why, sizeof why, "%s", status == STATUS_OK ? "" : status_last_error());
    if (status != STATUS_OK)
        return FAIL(STATUS_INVALID, "%s", why);
    double most = 0;
    for (uint32_t i = 0; i < curriculum->source_count; i++) {
        double weight;
        if (curriculum_weighs(curriculum, &curriculum->sources[i], 0, &weight))
            most += curriculum->sources[i].quota;
    }
    if (most < 1 - 1e-9)
        return FAIL(STATUS_INVALID,
                    "curriculum.quotas: the sources that have a weight at version 0 may take %g of "
                    "the births together, so nobody could take the rest: raise a quota",
                    most);
    return STATUS_OK;
}

enum status curriculum_create(struct curriculum **out, const struct curriculum_config *config)
{
    *out = NULL;
    struct curriculum *curriculum = memory_alloc(sizeof *curriculum);
    if (curriculum == NULL)
        return FAIL(STATUS_NO_MEMORY, "curriculum");
    curriculum->prompts = config->prompts;
    curriculum->seed = config->seed;
    curriculum->shuffle = config->shuffle;
    take_settings(curriculum, config->settings);
    curriculum->settings_hash = hash_settings(curriculum);
    enum status status = make_sources(curriculum);
    if (status == STATUS_OK)
        status = make_streams(curriculum);
    if (status == STATUS_OK) {
        curriculum_count(curriculum);
        curriculum->settings.mix = curriculum->settings.quotas = NULL;
        status = check_start(curriculum);
    }
    if (status != STATUS_OK)
        curriculum_destroy(&curriculum);
    *out = curriculum;
    return status;
}
