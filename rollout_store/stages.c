#include "rollout_store/stages.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/check.h"
#include "core/memory.h"
#include "core/trend.h"

enum {
    WINDOW_MAX = 1024, /* of stages.window */
    WINDOW_DEFAULT = 50,
    EARLY_DECILES = 3, /* 0, 1, 2 */
    LATE_DECILE = 7    /* 7, 8, 9 */
};
#define TAIL_SHARE 0.01  /* of lengths that are above the 99th percentile */
#define SURE_Z     2.326 /* one in a hundred, one side */
#define TAIL_Z     4.0

/* ---- life ---- */

enum status stages_open(struct stages *stages, const struct stages_settings *settings,
                        uint32_t response_tokens_max)
{
    struct stages made = {.settings = *settings};
    TRY(stage_lengths_parse(settings->lengths, response_tokens_max, &made.lengths));
    if (made.settings.window == 0)
        made.settings.window = WINDOW_DEFAULT;
    if (made.settings.window > WINDOW_MAX)
        return FAIL(STATUS_INVALID, "stages.window is %" PRIu32 ": it is %d at most",
                    made.settings.window, WINDOW_MAX);
    made.settings.lengths = NULL; /* borrowed, and read */
    *stages = made;
    return STATUS_OK;
}

void stages_close(struct stages *stages)
{
    memory_free(stages->entries);
    *stages = (struct stages){0};
}

uint32_t stages_now(const struct stages *stages)
{
    uint32_t stage =
        stages->stage > stages->settings.start ? stages->stage : stages->settings.start;
    return stage < stages->lengths.count ? stage : stages->lengths.count - 1;
}

uint32_t stages_cap(const struct stages *stages)
{
    return stages->lengths.tokens[stages_now(stages)];
}

const struct stage_entry *stages_last(const struct stages *stages)
{
    return stages->count > 0 ? &stages->entries[stages->count - 1] : NULL;
}

/* ---- counting ---- */

struct stage_counting stages_counting(const struct stages *stages, struct stage_numbers *numbers)
{
    uint32_t cap = stages_cap(stages);
    double from = ceil(stages->settings.near_cap * cap - 1e-9);
    return (struct stage_counting){
        .numbers = numbers, .cap = cap, .near_from = from < 1 ? 1 : (uint32_t)from};
}

/* Four running sums, so that an addition need not wait for the one before it; always in this order. */
static double sum_of(const float *values, uint32_t count)
{
    double sums[4] = {0};
    uint32_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (uint32_t lane = 0; lane < 4; lane++)
            sums[lane] += (double)values[i + lane];
    for (; i < count; i++)
        sums[0] += (double)values[i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

void stages_count_rollout(struct stage_counting *counting, const float *logprobs, uint32_t count)
{
    struct stage_numbers *numbers = counting->numbers;
    uint64_t cap = counting->cap;
    uint32_t from = 0;
    for (uint32_t decile = 0; decile < STAGE_DECILES && from < count; decile++) {
        uint32_t end = (uint32_t)(cap * (decile + 1) / STAGE_DECILES);
        if (decile == STAGE_DECILES - 1 || end > count)
            end = count;
        if (end <= from)
            continue;
        numbers->tokens[decile] += end - from;
        numbers->logprob[decile] += sum_of(logprobs + from, end - from);
        from = end;
    }
    uint64_t bin = count == 0 ? 0 : ((uint64_t)count * STAGE_BINS - 1) / cap;
    numbers->lengths[bin < STAGE_BINS ? bin : STAGE_BINS - 1]++;
    numbers->rollouts++;
    counting->near += count >= counting->near_from;
}

void stages_count_group(struct stage_counting *counting)
{
    counting->numbers->groups++;
    counting->numbers->near += counting->near;
    counting->numbers->near_squares += (uint64_t)counting->near * counting->near;
    counting->near = 0;
}

/* ---- judging ---- */

/* The plans of the stage in force up to the one that is judged, newest first by `back`. */
struct window {
    const struct stages *stages;
    uint64_t version;
    const struct stage_numbers *numbers; /* of the plan that is judged */
    size_t plans;                        /* that are known, with it */
};

static struct window window_of(const struct stages *stages, uint64_t version,
                               const struct stage_numbers *numbers)
{
    struct window window = {stages, version, numbers, 1};
    uint32_t stage = stages_now(stages), cap = stages_cap(stages);
    while (window.plans <= stages->count) {
        const struct stage_entry *entry = &stages->entries[stages->count - window.plans];
        if (entry->stage != stage || entry->cap != cap || entry->version >= version)
            break;
        window.plans++;
    }
    return window;
}

static const struct stage_numbers *numbers_at(const struct window *window, size_t back,
                                              uint64_t *version)
{
    const struct stages *stages = window->stages;
    const struct stage_entry *entry = back == 0 ? NULL : &stages->entries[stages->count - back];
    *version = back == 0 ? window->version : entry->version;
    return back == 0 ? window->numbers : &entry->facts.numbers;
}

/* Mean of -logprob over the deciles from .. end - 1; false: fewer than `least` tokens. */
static bool surprise(const struct stage_numbers *numbers, int from, int end, uint64_t least,
                     double *mean)
{
    uint64_t tokens = 0;
    double sum = 0;
    for (int decile = from; decile < end; decile++) {
        tokens += numbers->tokens[decile];
        sum += numbers->logprob[decile];
    }
    if (tokens < least || tokens == 0)
        return false;
    *mean = -sum / (double)tokens;
    return isfinite(*mean);
}

static bool whole_surprise(const struct stage_numbers *numbers, double *y)
{
    return surprise(numbers, 0, STAGE_DECILES, 1, y);
}

/* Late against early text: the log of the ratio of their perplexities. */
static bool tail_surprise(const struct stage_numbers *numbers, double *y)
{
    double early, late;
    if (!surprise(numbers, 0, EARLY_DECILES, STAGE_TAIL_TOKENS, &early) ||
        !surprise(numbers, LATE_DECILE, STAGE_DECILES, STAGE_TAIL_TOKENS, &late))
        return false;
    *y = late - early;
    return true;
}

/* The line through what the newest `plans` plans say. */
static void fit(const struct window *window, size_t plans,
                bool (*value)(const struct stage_numbers *, double *), struct trend *trend)
{
    double x[WINDOW_MAX * STAGE_SPANS], y[WINDOW_MAX * STAGE_SPANS];
    uint32_t points = 0;
    for (size_t back = plans; back-- > 0;) {
        uint64_t version;
        const struct stage_numbers *numbers = numbers_at(window, back, &version);
        if (!value(numbers, &y[points]))
            continue;
        x[points++] = (double)version;
    }
    trend_fit(x, y, points, trend);
}

/* Settled: the line through one of the last 1, 2, 3, 4 windows is surely flatter than stages.settled a window, and that
 * through the last one is not surely steeper. Longer lines are surer: the error of a slope falls with length^1.5. */
static bool is_settled(const struct window *window, struct stage_verdict *verdict)
{
    const struct stages_settings *settings = &window->stages->settings;
    size_t width = settings->window;
    bool flat = false;
    for (size_t spans = 1; spans <= STAGE_SPANS && spans * width <= window->plans; spans++) {
        struct trend trend;
        fit(window, spans * width, whole_surprise, &trend);
        if (trend.points < spans * width / 2)
            continue;
        double share = width > 1 ? (double)(width - 1) / (double)(spans * width - 1) : 0;
        double change = trend.change * share, error = trend.error * share;
        if (spans == 1) {
            verdict->change = change;
            verdict->change_error = error;
        }
        flat = flat || fabs(change) + SURE_Z * error <= settings->settled;
    }
    return flat && fabs(verdict->change) - SURE_Z * verdict->change_error <= settings->settled;
}

/* The length that 99 of 100 do not pass, as the upper edge of its bin. */
static double percentile(const uint64_t lengths[STAGE_BINS], uint64_t rollouts, uint32_t cap)
{
    uint64_t most = rollouts - (uint64_t)((double)rollouts * TAIL_SHARE), sum = 0;
    for (int bin = 0; bin < STAGE_BINS; bin++) {
        sum += lengths[bin];
        if (sum >= most)
            return (double)cap * (bin + 1) / STAGE_BINS;
    }
    return cap;
}

/* How much less `rollouts` are worth than independent ones, since those of a group have one prompt: the variance of
 * the count of near ones, taken between groups, over the binomial one (design effect; Kish 1965, Survey Sampling). */
static double design_effect(double groups, double rollouts, double near, double near_squares)
{
    double share = near / rollouts, binomial = near * (1 - share), size = rollouts / groups;
    if (groups < 2 || binomial <= 0)
        return size;
    double between = (near_squares - share * size * near) * groups / (groups - 1);
    return fmax(1, fmin(size, between / binomial));
}

/* The 99th percentile is at or above stages.near_cap of the cap exactly when 1% of lengths are. With n independent
 * lengths of which the share q is near the cap, P(q or more | true share <= 0.01) <= exp(-n KL(q || 0.01))
 * (Chernoff 1952), which must be at most stages.doubt. */
static bool is_near_cap(const struct window *window, uint32_t cap, struct stage_verdict *verdict)
{
    const struct stages_settings *settings = &window->stages->settings;
    size_t plans = window->plans < settings->window ? window->plans : settings->window;
    uint64_t lengths[STAGE_BINS] = {0}, groups = 0, rollouts = 0, near = 0, squares = 0;
    for (size_t back = 0; back < plans; back++) {
        uint64_t version;
        const struct stage_numbers *numbers = numbers_at(window, back, &version);
        groups += numbers->groups;
        rollouts += numbers->rollouts;
        near += numbers->near;
        squares += numbers->near_squares;
        for (int bin = 0; bin < STAGE_BINS; bin++)
            lengths[bin] += numbers->lengths[bin];
    }
    if (rollouts == 0)
        return false;
    double share = (double)near / (double)rollouts;
    verdict->near_share = share;
    verdict->p99 = percentile(lengths, rollouts, cap);
    if (share > TAIL_SHARE) {
        double rest = share < 1 ? (1 - share) * log((1 - share) / (1 - TAIL_SHARE)) : 0;
        double worth = (double)rollouts / design_effect((double)groups, (double)rollouts,
                                                        (double)near, (double)squares);
        verdict->near_sure = worth * (share * log(share / TAIL_SHARE) + rest);
    }
    return plans == settings->window && share > TAIL_SHARE &&
           (settings->doubt <= 0 || verdict->near_sure >= -log(settings->doubt));
}

/* Late text gets worse against early text: the line climbs by stages.tail_rise over a window, and surely so. An episode
 * begins when that held for STAGE_TAIL_CONFIRM plans in a row and ends when the line climbs by less than half of it. */
static void judge_tail(const struct window *window, const struct stage_verdict *before,
                       struct stage_verdict *verdict)
{
    const struct stages_settings *settings = &window->stages->settings;
    struct trend trend = {0};
    if (settings->tail_rise <= 0)
        return;
    if (window->plans >= settings->window)
        fit(window, settings->window, tail_surprise, &trend);
    bool known = trend.points >= settings->window / 2 && trend.points >= 4;
    if (known) {
        verdict->tail_change = trend.change;
        verdict->tail_z = trend.z;
    }
    bool rises = known && trend.change >= settings->tail_rise && trend.z >= TAIL_Z;
    verdict->tail_held = rises ? (before != NULL ? before->tail_held : 0) + 1 : 0;
    bool goes_on =
        before != NULL && before->tail_alarm && (!known || trend.change >= settings->tail_rise / 2);
    verdict->tail_alarm = goes_on || verdict->tail_held >= STAGE_TAIL_CONFIRM;
}

void stages_judge(const struct stages *stages, uint64_t version,
                  const struct stage_numbers *numbers, struct stage_verdict *verdict)
{
    const struct stages_settings *settings = &stages->settings;
    struct window window = window_of(stages, version, numbers);
    const struct stage_verdict *before =
        window.plans > 1 ? &stages_last(stages)->facts.verdict : NULL;
    uint32_t stage = stages_now(stages);
    double mean;
    *verdict = (struct stage_verdict){.next_stage = stage,
                                      .plans = (before != NULL ? before->plans : 0) + 1};
    if (whole_surprise(numbers, &mean))
        verdict->perplexity = exp(fmin(mean, 700)); /* finite, whatever an actor says */
    bool settled = is_settled(&window, verdict);
    bool near = is_near_cap(&window, stages_cap(stages), verdict);
    verdict->held = settled && near ? (before != NULL ? before->held : 0) + 1 : 0;
    judge_tail(&window, before, verdict);
    if (!settings->hold && stage + 1 < stages->lengths.count && verdict->held > 0 &&
        verdict->held >= settings->confirm && verdict->plans >= settings->least)
        verdict->next_stage = stage + 1;
}

/* ---- the fold ---- */

/* Stages up to `stage` are in force after the plan of `version`. */
static void enter(struct stages *stages, uint32_t stage, uint64_t version)
{
    while (stages->stage < stage)
        stages->decided[++stages->stage] = version;
    stages->stage = stage; /* a list that became shorter goes back */
}

enum status stages_apply(struct stages *stages, uint64_t version, uint32_t stage, uint32_t cap,
                         const struct stage_facts *facts)
{
    if (facts == NULL || cap == 0)
        return STATUS_OK; /* a plan of a ledger before length stages */
    uint32_t next = facts->verdict.next_stage;
    if (stage >= STAGE_LENGTHS_MAX || next >= STAGE_LENGTHS_MAX || next < stage || next > stage + 1)
        return FAIL(STATUS_CORRUPT, "plan %" PRIu64 ": stage %" PRIu32 " follows stage %" PRIu32,
                    version, next, stage);
    if (stages->count > 0 && stages->entries[stages->count - 1].version >= version)
        return FAIL(STATUS_CORRUPT, "plan %" PRIu64 ": its stage is known already", version);
    if (stages->count == stages->capacity) {
        size_t wider = stages->capacity < 64 ? 64 : 2 * stages->capacity;
        struct stage_entry *entries =
            memory_grow(stages->entries, stages->count * sizeof *entries, wider * sizeof *entries);
        if (entries == NULL)
            return FAIL(STATUS_NO_MEMORY, "%zu entries of length stages", wider);
        stages->entries = entries;
        stages->capacity = wider;
    }
    stages->entries[stages->count++] = (struct stage_entry){version, stage, cap, *facts};
    enter(stages, stage, version - 1);
    enter(stages, next, version);
    return STATUS_OK;
}

void stages_branch(struct stages *stages, uint64_t version)
{
    while (stages->count > 0 && stages->entries[stages->count - 1].version > version)
        stages->count--;
    while (stages->stage > 0 && stages->decided[stages->stage] > version)
        stages->decided[stages->stage--] = 0;
}

void stages_forget(struct stages *stages, uint64_t version)
{
    size_t wanted = (size_t)stages->settings.window * STAGE_SPANS, known = 0;
    while (known < stages->count && stages->entries[known].version <= version)
        known++;
    if (known <= wanted)
        return;
    size_t gone = known - wanted;
    memmove(stages->entries, stages->entries + gone,
            (stages->count - gone) * sizeof *stages->entries);
    stages->count -= gone;
}
