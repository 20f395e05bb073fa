/* rollout_store/curriculum_skill.c - what groups have shown: prompts retire or rest, sources rise and fall. */
#include <math.h>

#include "core/check.h"
#include "rollout_store/curriculum_state.h"

/* ---- sources ---- */

static uint64_t active_up_to(const struct curriculum *curriculum, const struct source_state *source,
                             uint32_t level)
{
    uint64_t active = 0;
    for (uint32_t i = 0; i <= level; i++)
        active += curriculum->pools[source->pool_first + i].active;
    return active;
}

static void set_level(struct source_state *source, uint32_t level)
{
    source->level = level;
    source->rate_count = source->rate_first = 0;
    source->review = 0;
}

/* A source that has something left has it on an open level. */
static void open_what_is_left(struct curriculum *curriculum, struct source_state *source)
{
    while (source->active > 0 && source->level + 1 < source->levels &&
           active_up_to(curriculum, source, source->level) == 0)
        set_level(source, source->level + 1);
}

void curriculum_recount(struct curriculum *curriculum)
{
    curriculum_count(curriculum);
    for (uint32_t i = 0; curriculum->by_source && i < curriculum->source_count; i++)
        open_what_is_left(curriculum, &curriculum->sources[i]);
}

static double level_rate(const struct curriculum *curriculum, const struct source_state *source)
{
    double sum = 0;
    for (uint32_t i = 0; i < source->rate_count; i++)
        sum += source->rates[(source->rate_first + i) % curriculum->settings.band_groups];
    return source->rate_count > 0 ? sum / (65535.0 * source->rate_count) : NAN;
}

static void note_rate(const struct curriculum *curriculum, struct source_state *source,
                      uint16_t rate)
{
    uint32_t most = curriculum->settings.band_groups;
    if (source->rate_count == most) {
        source->rate_first = (source->rate_first + 1) % most;
        source->rate_count--;
    }
    source->rates[(source->rate_first + source->rate_count) % most] = rate;
    source->rate_count++;
}

static void rise_or_fall(struct curriculum *curriculum, struct source_state *source)
{
    const struct curriculum_settings *settings = &curriculum->settings;
    if (source->rate_count < settings->band_groups)
        return;
    double rate = level_rate(curriculum, source);
    if (rate >= settings->raise_at - 1e-5 && source->level + 1 < source->levels)
        set_level(source, source->level + 1);
    else if (rate < settings->lower_at - 1e-5 && source->level > 0 &&
             active_up_to(curriculum, source, source->level - 1) > 0)
        set_level(source, source->level - 1);
}

/* ---- prompts ---- */

static struct pool *stream_of(struct curriculum *curriculum, const struct skill *skill)
{
    return skill->pool < curriculum->pool_count ? &curriculum->pools[skill->pool] : NULL;
}

/* All prompts of a source that retired return, as if nobody had tried them. */
static void reopen(struct curriculum *curriculum, uint32_t number)
{
    for (uint64_t id = 0; id < prompts_count(curriculum->prompts); id++) {
        struct skill *skill = &curriculum->skills[id];
        if (!skill->retired || prompts_at(curriculum->prompts, id)->source != number)
            continue;
        *skill = (struct skill){.pool = skill->pool, .excluded = skill->excluded};
    }
    curriculum_count(curriculum);
    curriculum->sources[number].reopened++;
}

static void retire(struct curriculum *curriculum, uint32_t number, struct skill *skill)
{
    struct source_state *source = &curriculum->sources[number];
    struct pool *stream = stream_of(curriculum, skill);
    skill->retired = 1;
    source->retired++;
    source->hard -= skill->hard;
    if (skill->excluded)
        return;
    source->active--;
    curriculum->shares->known = curriculum->shares->known && source->active > 0;
    if (stream != NULL)
        stream->active--;
    if (source->active == 0 && curriculum->settings.when_retired == WHEN_RETIRED_REOPEN)
        reopen(curriculum, number);
}

static void judge_prompt(struct curriculum *curriculum, uint32_t number, struct skill *skill)
{
    const struct curriculum_settings *settings = &curriculum->settings;
    struct source_state *source = &curriculum->sources[number];
    struct pool *stream = stream_of(curriculum, skill);
    bool never = settings->hard_after > 0 && skill->groups >= settings->hard_after &&
                 skill_rate(skill, SKILL_GROUPS) <= 0;
    if (skill->retired)
        return;
    source->hard += never;
    source->hard -= skill->hard;
    skill->hard = never;
    skill->rest_until = 0;
    if (never && stream != NULL)
        skill->rest_until =
            (uint32_t)(stream->position / stream->count) + 1 + settings->hard_epochs;
    if (settings->retire_at > 0 && skill->groups >= settings->retire_after &&
        skill_rate(skill, settings->retire_after) >= settings->retire_at - 1e-5)
        retire(curriculum, number, skill);
}

void curriculum_closed(struct curriculum *curriculum, uint64_t prompt_id, uint32_t passed,
                       uint32_t size)
{
    CHECK(size > 0 && passed <= size);
    struct skill *skill = &curriculum->skills[prompt_id];
    uint32_t number = prompts_at(curriculum->prompts, prompt_id)->source;
    struct source_state *source = &curriculum->sources[number];
    uint16_t rate = (uint16_t)lround(65535.0 * passed / size);
    bool on_level = !curriculum->by_source || skill->pool == source->pool_first + source->level;
    skill->rates[skill->groups++ % SKILL_GROUPS] = rate;
    source->groups++;
    if (on_level)
        note_rate(curriculum, source, rate);
    judge_prompt(curriculum, number, skill);
    if (!curriculum->by_source)
        return;
    if (on_level && curriculum->settings.raise_at > 0)
        rise_or_fall(curriculum, source);
    open_what_is_left(curriculum, source);
}

void curriculum_pause(struct curriculum *curriculum, uint32_t source, bool paused)
{
    CHECK(source < curriculum->source_count);
    curriculum->sources[source].paused = paused;
    curriculum->shares->known = false;
}

bool curriculum_paused(const struct curriculum *curriculum, uint32_t source)
{
    return curriculum->sources[source].paused;
}

/* ---- for people ---- */

uint32_t curriculum_source_count(const struct curriculum *curriculum)
{
    return curriculum->source_count;
}

static double share_wanted(const struct curriculum *curriculum, uint64_t version, uint32_t number)
{
    const struct source_state *source = &curriculum->sources[number];
    uint64_t rows = 0;
    if (curriculum->by_source)
        return curriculum_shares(curriculum, version) ? (double)source->share / (double)SHARE_ONE
                                                      : 0;
    for (uint32_t i = 0; i < curriculum->source_count; i++)
        rows += curriculum->sources[i].paused ? 0 : curriculum->sources[i].active;
    return rows > 0 && !source->paused ? (double)source->active / (double)rows : 0;
}

void curriculum_source(const struct curriculum *curriculum, uint64_t version, uint32_t number,
                       struct curriculum_source *out)
{
    CHECK(number < curriculum->source_count);
    const struct source_state *source = &curriculum->sources[number];
    bool levels = curriculum->by_source && source->rows > 0;
    *out = (struct curriculum_source){
        .name = prompts_source(curriculum->prompts, number),
        .prompts = source->prompts,
        .drawable = source->active,
        .births = source->births,
        .groups = source->groups,
        .share_wanted = share_wanted(curriculum, version, number),
        .pass_rate = level_rate(curriculum, source),
        .retired = source->retired,
        .hard = source->hard,
        .reopened = source->reopened,
        .level = source->level,
        .levels = source->levels,
        .level_value =
            levels ? (double)curriculum->pools[source->pool_first + source->level].level : NAN,
        .paused = source->paused};
}
