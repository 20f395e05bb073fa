/* rollout_store/curriculum_walk.c - the curriculum as bytes of a snapshot, and as JSON for people.
 *
 * A snapshot that was made under other settings is read too: what prompts have shown, births and pauses are facts;
 * credits are of the old weights and begin anew; what does not fit any more is left out. Written again it is the same
 * bytes only under the same settings. */
#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "rollout_store/bytes.h"
#include "rollout_store/curriculum_state.h"

/* ---- bytes ---- */

static enum status walk_i64(struct walk *walk, int64_t *value)
{
    return walk_bytes(walk, value, sizeof *value);
}

/* The latest rates, oldest first, so that equal states are equal bytes. */
static enum status walk_rates(struct walk *walk, struct source_state *source, uint32_t most)
{
    uint32_t count = source->rate_count, first = source->rate_first;
    TRY(walk_u32(walk, &count));
    if (walk->out == NULL && count > (walk->size - walk->at) / sizeof(uint16_t))
        return walk_damaged(walk, "rates that go past the end");
    if (walk->out == NULL)
        source->rate_count = source->rate_first = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint16_t rate = walk->out != NULL ? source->rates[(first + i) % most] : 0;
        TRY(walk_bytes(walk, &rate, sizeof rate));
        if (walk->out == NULL && count - i <= most)
            source->rates[source->rate_count++] = rate;
    }
    return STATUS_OK;
}

static enum status walk_source(struct walk *walk, struct curriculum *curriculum,
                               struct source_state *source, bool same)
{
    TRY(walk_i64(walk, &source->credit));
    TRY(walk_i64(walk, &source->review));
    TRY(walk_u64(walk, &source->births));
    TRY(walk_u64(walk, &source->reviews));
    TRY(walk_u64(walk, &source->groups));
    TRY(walk_u64(walk, &source->reopened));
    TRY(walk_u32(walk, &source->level));
    TRY(walk_flag(walk, &source->paused));
    TRY(walk_rates(walk, source, curriculum->settings.band_groups));
    int64_t most = 2 * SHARE_ONE;
    if (source->credit > most || source->credit < -most || source->review > most ||
        source->review < -most)
        return walk_damaged(walk, "a credit that cannot be");
    if (walk->out == NULL && !same)
        source->credit = source->review = 0;
    if (walk->out == NULL && source->level >= source->levels)
        source->level = source->levels - 1;
    return STATUS_OK;
}

static enum status walk_window(struct walk *walk, struct curriculum *curriculum)
{
    uint32_t count = curriculum->window_count, first = curriculum->window_first,
             most = curriculum->window_size;
    TRY(walk_u32(walk, &count));
    if (walk->out == NULL && count > (walk->size - walk->at) / sizeof(uint16_t))
        return walk_damaged(walk, "a window of births that goes past the end");
    for (uint32_t i = 0; i < count; i++) {
        uint16_t source = walk->out != NULL ? curriculum->window[(first + i) % most] : 0;
        TRY(walk_bytes(walk, &source, sizeof source));
        if (source >= curriculum->source_count)
            return walk_damaged(walk, "a birth of a source that is not there");
        if (walk->out != NULL || count - i > most)
            continue;
        curriculum->window[curriculum->window_count++] = source;
        curriculum->sources[source].recent++;
    }
    return STATUS_OK;
}

static enum status walk_pools(struct walk *walk, struct curriculum *curriculum)
{
    uint32_t count = curriculum->pool_count;
    TRY(walk_u32(walk, &count));
    for (uint32_t i = 0; i < count; i++) {
        uint64_t position = walk->out != NULL ? curriculum->pools[i].position : 0;
        TRY(walk_u64(walk, &position));
        if (walk->out == NULL && count == curriculum->pool_count)
            curriculum->pools[i].position = position;
    }
    return STATUS_OK;
}

static bool is_known(const struct skill *skill)
{
    return skill->groups > 0 || skill->rest_until > 0 || skill->retired || skill->hard;
}

static enum status walk_skill(struct walk *walk, struct curriculum *curriculum, uint64_t *last)
{
    uint64_t id = *last;
    TRY(walk_u64(walk, &id));
    if (id >= prompts_count(curriculum->prompts) ||
        (*last != UINT64_MAX && id <= *last && walk->out == NULL))
        return walk_damaged(walk, "a prompt out of order");
    *last = id;
    struct skill *skill = &curriculum->skills[id];
    bool retired = skill->retired, hard = skill->hard;
    TRY(walk_bytes(walk, skill->rates, sizeof skill->rates));
    TRY(walk_u32(walk, &skill->groups));
    TRY(walk_u32(walk, &skill->rest_until));
    TRY(walk_flag(walk, &retired));
    TRY(walk_flag(walk, &hard));
    skill->retired = retired;
    skill->hard = hard;
    return STATUS_OK;
}

/* Only prompts that somebody tried. */
static enum status walk_skills(struct walk *walk, struct curriculum *curriculum)
{
    uint64_t prompts = prompts_count(curriculum->prompts), count = 0, last = UINT64_MAX;
    for (uint64_t id = 0; walk->out != NULL && id < prompts; id++)
        count += is_known(&curriculum->skills[id]);
    TRY(walk_u64(walk, &count));
    if (walk->out == NULL) {
        for (uint64_t i = 0; i < count; i++)
            TRY(walk_skill(walk, curriculum, &last));
        return STATUS_OK;
    }
    for (uint64_t id = 0; id < prompts; id++)
        if (is_known(&curriculum->skills[id])) {
            last = id;
            TRY(walk_skill(walk, curriculum, &last));
        }
    return STATUS_OK;
}

enum status curriculum_walk(struct curriculum *curriculum, struct walk *walk)
{
    uint64_t hash = curriculum->settings_hash;
    uint32_t sources = curriculum->source_count;
    TRY(walk_u64(walk, &hash));
    TRY(walk_u32(walk, &sources));
    if (sources != curriculum->source_count)
        return walk_damaged(walk, "another number of data sources");
    for (uint32_t i = 0; i < sources; i++)
        TRY(walk_source(walk, curriculum, &curriculum->sources[i],
                        hash == curriculum->settings_hash));
    TRY(walk_window(walk, curriculum));
    TRY(walk_pools(walk, curriculum));
    TRY(walk_skills(walk, curriculum));
    if (walk->out == NULL)
        curriculum_recount(curriculum); /* and pauses may differ */
    return STATUS_OK;
}

void curriculum_seek(struct curriculum *curriculum, uint64_t draws)
{
    if (!curriculum->by_source)
        curriculum->pools[0].position = draws;
}

uint64_t curriculum_walk_bytes(const struct curriculum *curriculum)
{
    uint64_t groups = 0, prompts = prompts_count(curriculum->prompts);
    for (uint32_t i = 0; i < curriculum->source_count; i++)
        groups += curriculum->sources[i].groups;
    return 256 + 8 * (uint64_t)curriculum->pool_count + 2 * (uint64_t)curriculum->window_size +
           (64 + 2 * (uint64_t)curriculum->settings.band_groups) * curriculum->source_count +
           40 * (groups < prompts ? groups : prompts);
}

/* ---- JSON ---- */

static enum status write_number(struct buffer *json, const char *name, double value)
{
    return isfinite(value) ? buffer_printf(json, ",\"%s\":%.6g", name, value)
                           : buffer_printf(json, ",\"%s\":null", name);
}

static enum status write_source(const struct curriculum_source *source, uint64_t births,
                                struct buffer *json)
{
    TRY(buffer_text(json, "{\"source\":"));
    TRY(buffer_json_text(json, source->name));
    TRY(buffer_printf(json,
                      ",\"prompts\":%" PRIu64 ",\"drawable\":%" PRIu64 ",\"births\":%" PRIu64
                      ",\"groups\":%" PRIu64 ",\"retired_easy\":%" PRIu64 ",\"hard\":%" PRIu64
                      ",\"reopened\":%" PRIu64 ",\"level\":%" PRIu32 ",\"levels\":%" PRIu32
                      ",\"paused\":%s",
                      source->prompts, source->drawable, source->births, source->groups,
                      source->retired, source->hard, source->reopened, source->level + 1,
                      source->levels, source->paused ? "true" : "false"));
    TRY(write_number(json, "share_wanted", source->share_wanted));
    TRY(write_number(json, "share", births > 0 ? (double)source->births / (double)births : NAN));
    TRY(write_number(json, "pass_rate", source->pass_rate));
    TRY(write_number(json, "level_value", source->level_value));
    return buffer_text(json, "}");
}

enum status curriculum_source_json(const struct curriculum *curriculum, uint64_t version,
                                   uint32_t number, struct buffer *json)
{
    struct curriculum_source source;
    uint64_t births = 0;
    for (uint32_t i = 0; i < curriculum->source_count; i++)
        births += curriculum->sources[i].births;
    curriculum_source(curriculum, version, number, &source);
    return write_source(&source, births, json);
}

enum status curriculum_json(const struct curriculum *curriculum, uint64_t version,
                            struct buffer *json)
{
    TRY(buffer_text(json, "["));
    for (uint32_t i = 0; i < curriculum->source_count; i++) {
        TRY(buffer_text(json, i > 0 ? "," : ""));
        TRY(curriculum_source_json(curriculum, version, i, json));
    }
    return buffer_text(json, "]");
}
