/* rollout_store/curriculum_draw.c - whose turn it is, and which prompt: the choice, and what a birth leaves behind. */
#include <inttypes.h>
#include <math.h>

#include "core/check.h"
#include "core/rng.h"
#include "rollout_store/curriculum_state.h"

/* ---- sources ---- */

bool curriculum_weighs(const struct curriculum *curriculum, const struct source_state *source,
                       uint64_t version, double *weight)
{
    *weight = curriculum->mix->count == 0 ? (double)source->rows
              : source->weight != NULL    ? mix_value(source->weight, version)
                                          : 0;
    return *weight > 0 && source->active > 0;
}

/* One birth more stays inside its quota. One that waits for room keeps its share: it is drawn once there is room. */
static bool has_room(const struct curriculum *curriculum, const struct source_state *source)
{
    return !curriculum->quotas_given || source->recent < source->quota_births;
}

/* Those whose share would pass their quota get the quota, the others share the rest by weight; again, until all fit. */
static void cap_shares(struct source_state *sources, uint32_t count)
{
    bool again = true;
    while (again) {
        double rest = 1, sum = 0;
        again = false;
        for (uint32_t i = 0; i < count; i++)
            if (sources[i].share < 0) /* capped before */
                rest -= sources[i].quota;
            else
                sum += sources[i].wish;
        for (uint32_t i = 0; i < count; i++)
            if (sources[i].share == 0 && sources[i].wish > 0 &&
                sources[i].wish / sum * rest > sources[i].quota) {
                sources[i].share = -1;
                again = true;
            }
        if (again)
            continue;
        for (uint32_t i = 0; i < count; i++) {
            double share = sources[i].share < 0 ? sources[i].quota
                           : sum > 0            ? sources[i].wish / sum * rest
                                                : 0;
            sources[i].share = llround(share * (double)SHARE_ONE);
        }
    }
}

bool curriculum_shares(const struct curriculum *curriculum, uint64_t version)
{
    struct source_state *sources = curriculum->sources;
    struct share_cache *cache = curriculum->shares;
    bool any = false;
    if (cache->known && cache->version == version)
        return cache->any;
    for (uint32_t i = 0; i < curriculum->source_count; i++) {
        double weight;
        bool may = curriculum_weighs(curriculum, &sources[i], version, &weight) &&
                   !sources[i].paused && sources[i].quota_births > 0;
        sources[i].wish = may ? weight : 0;
        sources[i].share = 0;
        any = any || may;
    }
    if (any)
        cap_shares(sources, curriculum->source_count);
    *cache = (struct share_cache){.version = version, .known = true, .any = any};
    return any;
}

/* Tijdeman's rule: of those that may be drawn the one whose time is up first; see the header of curriculum.h.
 * UINT32_MAX: nobody has room. */
static uint32_t whose_turn(const struct curriculum *curriculum)
{
    uint32_t count = 0, best = UINT32_MAX, richest = UINT32_MAX;
    for (uint32_t i = 0; i < curriculum->source_count; i++)
        count += curriculum->sources[i].share > 0;
    int64_t least = count > 1 ? SHARE_ONE / (2 * (int64_t)count - 2) : 0;
    double soonest = INFINITY;
    int64_t most = INT64_MIN;
    for (uint32_t i = 0; i < curriculum->source_count; i++) {
        const struct source_state *source = &curriculum->sources[i];
        if (source->share <= 0 || !has_room(curriculum, source))
            continue;
        int64_t credit = source->credit + source->share;
        double left = (double)(SHARE_ONE - least - credit) / (double)source->share;
        if (credit > most) {
            most = credit;
            richest = i;
        }
        if (credit >= least && left < soonest) {
            soonest = left;
            best = i;
        }
    }
    return best != UINT32_MAX ? best : richest;
}

/* ---- prompts ---- */

/* Epoch e goes through all prompts of a stream once, in an order that depends on seed, stream and e alone. */
static uint64_t member_at(const struct curriculum *curriculum, uint32_t pool, uint64_t position)
{
    const struct pool *stream = &curriculum->pools[pool];
    uint64_t epoch = position / stream->count, at = position % stream->count;
    uint64_t seed = curriculum->seed + epoch * UINT64_C(0x9e3779b97f4a7c15);
    if (curriculum->members != NULL)
        seed ^= (pool + UINT64_C(1)) * UINT64_C(0xd1342543de82ef95);
    if (curriculum->shuffle)
        at = rng_permute(seed, stream->count, at);
    return curriculum->members != NULL ? curriculum->members[stream->first + at] : at;
}

double skill_rate(const struct skill *skill, uint32_t count)
{
    uint32_t known = skill->groups < SKILL_GROUPS ? skill->groups : SKILL_GROUPS;
    double sum = 0;
    count = count < known ? count : known;
    for (uint32_t i = 1; i <= count; i++)
        sum += skill->rates[(skill->groups - i) % SKILL_GROUPS];
    return count > 0 ? sum / (65535.0 * count) : 0;
}

/* p (1 - p) / (1/4) with one group of one half added, so that a prompt nobody tried has 1 and none has 0. */
static bool wins_visit(const struct curriculum *curriculum, const struct skill *skill, uint64_t id,
                       uint64_t epoch)
{
    if (curriculum->settings.priority == PRIORITY_UNIFORM)
        return true;
    uint32_t known = skill->groups < SKILL_GROUPS ? skill->groups : SKILL_GROUPS;
    double p = (skill_rate(skill, known) * known + 0.5) / (known + 1.0), weight = 4 * p * (1 - p);
    if (weight < curriculum->settings.priority_floor)
        weight = curriculum->settings.priority_floor;
    struct rng rng;
    rng_init(&rng, curriculum->seed ^ (epoch + 1) * UINT64_C(0xa0761d6478bd642f), id, RNG_SHUFFLE);
    return rng_uniform(&rng) <= weight;
}

/* The next visit of a stream that takes its prompt. Some prompt of it is active. */
static struct curriculum_draw next_visit(const struct curriculum *curriculum, uint32_t pool)
{
    const struct pool *stream = &curriculum->pools[pool];
    uint64_t count = stream->count, visits = 0, wake = UINT64_MAX;
    bool awake = false;
    for (uint64_t position = stream->position;; position++) {
        if (visits ==
            count) { /* a whole round for nothing: if all rest, go to where the first wakes */
            if (!awake && wake != UINT64_MAX && wake * count > position)
                position = wake * count;
            visits = 0;
            wake = UINT64_MAX;
            awake = false;
        }
        visits++;
        uint64_t id = member_at(curriculum, pool, position), epoch = position / count;
        const struct skill *skill = &curriculum->skills[id];
        if (skill->retired || skill->excluded)
            continue;
        if (curriculum->members == NULL &&
            curriculum->sources[prompts_at(curriculum->prompts, id)->source].paused)
            continue;
        if (skill->rest_until > epoch) {
            wake = skill->rest_until < wake ? skill->rest_until : wake;
            continue;
        }
        awake = true;
        if (wins_visit(curriculum, skill, id, epoch))
            return (struct curriculum_draw){id, position};
    }
}

/* The open level, or one below it in turn. */
static uint32_t choose_pool(const struct curriculum *curriculum, const struct source_state *source)
{
    const struct pool *pools = &curriculum->pools[source->pool_first];
    uint64_t below = 0;
    for (uint32_t i = 0; i < source->level; i++)
        below += pools[i].active;
    int64_t share = llround(curriculum->settings.review * (double)SHARE_ONE);
    bool review = below > 0 && (pools[source->level].active == 0 ||
                                (share > 0 && source->review + share >= SHARE_ONE / 2));
    if (!review)
        return source->pool_first + source->level;
    uint32_t at = (uint32_t)(source->reviews % source->level);
    while (pools[at].active == 0)
        at = (at + 1) % source->level;
    return source->pool_first + at;
}

/* Why nothing can be drawn: somebody paused what there is, or it is used up. */
static enum status say_empty(const struct curriculum *curriculum, uint64_t version)
{
    uint32_t paused = 0, retired = 0, weightless = 0, full = 0, outside = 0;
    for (uint32_t i = 0; i < curriculum->source_count; i++) {
        const struct source_state *source = &curriculum->sources[i];
        double weight;
        bool weighs = curriculum_weighs(curriculum, source, version, &weight);
        paused += weighs && source->paused;
        full += weighs && !source->paused;
        outside += source->rows == 0;
        retired += source->rows > 0 && source->active == 0;
        weightless += source->active > 0 && weight <= 0;
    }
    if (paused > 0 && full == 0)
        return FAIL(STATUS_AGAIN,
                    "no prompt is drawn: every data source that has some left is paused (%" PRIu32
                    "); `weir rescore` or `weir release` lets them go on",
                    paused);
    return FAIL(STATUS_NOT_FOUND,
                "no prompt is left to draw at version %" PRIu64 ": of %" PRIu32
                " data sources %" PRIu32 " have all prompts retired (curriculum.retire_at), "
                "%" PRIu32 " have weight 0 (curriculum.mix), %" PRIu32
                " are at their share (curriculum.quotas), %" PRIu32
                " have no row between curriculum.pass_low and pass_high; set "
                "curriculum.when_retired=reopen, or change what is named",
                version, curriculum->source_count, retired, weightless, full, outside);
}

enum status curriculum_draw(const struct curriculum *curriculum, uint64_t version,
                            struct curriculum_draw *draw)
{
    if (!curriculum->by_source) {
        bool any = false;
        for (uint32_t i = 0; i < curriculum->source_count && !any; i++)
            any = !curriculum->sources[i].paused && curriculum->sources[i].active > 0;
        if (!any)
            return say_empty(curriculum, version);
        *draw = next_visit(curriculum, 0);
        return STATUS_OK;
    }
    if (!curriculum_shares(curriculum, version))
        return say_empty(curriculum, version);
    uint32_t turn = whose_turn(curriculum);
    if (turn == UINT32_MAX)
        return say_empty(curriculum, version);
    *draw = next_visit(curriculum, choose_pool(curriculum, &curriculum->sources[turn]));
    return STATUS_OK;
}

/* ---- births ---- */

static int64_t clamp(int64_t credit)
{
    int64_t most = 2 * SHARE_ONE; /* only a ledger made under other settings gets there */
    return credit > most ? most : credit < -most ? -most : credit;
}

static void pay(struct curriculum *curriculum, uint64_t version, struct source_state *drawn)
{
    int64_t sum = 0;
    if (!curriculum_shares(curriculum, version))
        return;
    for (uint32_t i = 0; i < curriculum->source_count; i++) {
        struct source_state *source = &curriculum->sources[i];
        sum += source->share;
        source->credit = clamp(source->credit + source->share);
    }
    drawn->credit = clamp(drawn->credit - sum);
}

static void note_window(struct curriculum *curriculum, uint32_t source)
{
    if (curriculum->window == NULL)
        return;
    if (curriculum->window_count == curriculum->window_size) {
        curriculum->sources[curriculum->window[curriculum->window_first]].recent--;
        curriculum->window_first = (curriculum->window_first + 1) % curriculum->window_size;
        curriculum->window_count--;
    }
    uint32_t at = (curriculum->window_first + curriculum->window_count) % curriculum->window_size;
    curriculum->window[at] = (uint16_t)source;
    curriculum->window_count++;
    curriculum->sources[source].recent++;
}

void curriculum_born(struct curriculum *curriculum, uint64_t version, uint64_t prompt_id,
                     uint64_t position)
{
    uint32_t number = prompts_at(curriculum->prompts, prompt_id)->source;
    struct source_state *source = &curriculum->sources[number];
    uint32_t pool = curriculum->skills[prompt_id].pool;
    source->births++;
    if (curriculum->by_source)
        pay(curriculum, version, source);
    note_window(curriculum, number);
    if (pool >= curriculum->pool_count)
        return;
    if (position >= curriculum->pools[pool].position)
        curriculum->pools[pool].position = position + 1;
    if (!curriculum->by_source || source->level == 0)
        return;
    bool below = pool < source->pool_first + source->level;
    source->reviews += below;
    source->review =
        clamp(source->review + llround(curriculum->settings.review * (double)SHARE_ONE) -
              (below ? SHARE_ONE : 0));
}
