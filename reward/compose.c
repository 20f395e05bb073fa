/* reward/compose.c - see the header. */
#include "reward/compose.h"

#include <fnmatch.h>
#include <math.h>
#include <string.h>

#include "core/memory.h"

void compose_free(struct compose **pointer)
{
    struct compose *recipe = *pointer;
    *pointer = NULL;
    if (recipe == NULL)
        return;
    for (uint32_t i = 0; i < COMPOSE_PARTS_MAX; i++) {
        memory_free(recipe->parts[i].plugin);
        memory_free(recipe->parts[i].config);
    }
    memory_free(recipe);
}

/* ---- which parts ---- */

static bool matches(const char *pattern, const char *source)
{
    return fnmatch(pattern, source, 0) == 0;
}

static bool is_on(const struct compose_part *part, const char *source)
{
    for (uint32_t i = 0; i < part->on_count; i++)
        if (matches(part->on[i], source))
            return true;
    return part->on_count == 0;
}

uint32_t compose_in_effect(const struct compose *recipe, const char *source, size_t size)
{
    char name[1024];
    size_t length = size < sizeof name - 1 ? size : sizeof name - 1;
    if (length > 0)
        memcpy(name, source, length);
    name[length] = '\0';
    uint32_t parts = recipe->otherwise, found = 0;
    for (uint32_t i = 0; i < recipe->source_count; i++)
        if (matches(recipe->sources[i].pattern, name)) {
            parts = recipe->sources[i].parts;
            break;
        }
    for (uint32_t i = 0; i < recipe->part_count; i++)
        if ((parts >> i & 1U) != 0 && is_on(&recipe->parts[i], name))
            found |= 1U << i;
    return found;
}

bool compose_calls(const struct compose *recipe, uint32_t in_effect, uint32_t part,
                   const struct compose_answer *answers)
{
    const struct compose_part *self = &recipe->parts[part];
    if ((in_effect >> part & 1U) == 0)
        return false;
    if (self->gate < 0)
        return true;
    double value = 0;
    return compose_value(recipe, (uint32_t)self->gate, &answers[self->gate], &value) &&
           value >= self->gate_low && value <= self->gate_high;
}

/* ---- values ---- */

static enum compose_failure failure_of(int32_t status)
{
    return status == WEIR_REWARD_TIMEOUT      ? COMPOSE_TIMEOUT
           : status == WEIR_REWARD_SKIP       ? COMPOSE_SKIPPED
           : status == WEIR_REWARD_UNSCORABLE ? COMPOSE_UNSCORABLE
                                              : COMPOSE_ERROR;
}

static double clip(double value, double low, double high)
{
    return value < low ? low : value > high ? high : value;
}

static bool is_value(const struct compose_answer *answer)
{
    return answer->status == WEIR_REWARD_OK && isfinite(answer->value);
}

bool compose_value(const struct compose *recipe, uint32_t part, const struct compose_answer *answer,
                   double *value)
{
    const struct compose_part *self = &recipe->parts[part];
    if (!answer->called)
        return false;
    if (!is_value(answer)) {
        const struct compose_rule *rule = &self->rules[failure_of(answer->status)];
        *value = rule->value;
        return rule->policy == COMPOSE_VALUE;
    }
    double raw = answer->value;
    if (self->normalises)
        raw = (raw - self->low) / (self->high - self->low);
    *value = clip(raw, self->clip_low, self->clip_high);
    return true;
}

/* Of two failures, the one that says more: an item that can never be scored is not tried again. */
static int rank(int32_t status)
{
    return status == WEIR_REWARD_UNSCORABLE ? 4
           : status == WEIR_REWARD_SKIP     ? 3
           : status == WEIR_REWARD_ERROR    ? 2
           : status == WEIR_REWARD_TIMEOUT  ? 1
                                            : 0;
}

static int32_t failure_status(int32_t status)
{
    return rank(status) > 0 ? status : WEIR_REWARD_ERROR;
}

static void note_failure(const struct compose *recipe, uint32_t part,
                         const struct compose_answer *answer, struct compose_result *result)
{
    bool matters = recipe->parts[part].weight < 0 || recipe->parts[part].weight > 0 ||
                   (recipe->gates >> part & 1U) != 0;
    if (!matters || is_value(answer) ||
        recipe->parts[part].rules[failure_of(answer->status)].policy != COMPOSE_PASS)
        return;
    int32_t status = failure_status(answer->status);
    if (rank(status) <= rank(result->status))
        return;
    result->status = status;
    result->part = (int)part;
}

static double combine(enum compose_combine how, uint32_t counted, double sum, double value)
{
    if (counted == 0)
        return value;
    return how == COMPOSE_SUM       ? sum + value
           : how == COMPOSE_PRODUCT ? sum * value
           : how == COMPOSE_MIN     ? (value < sum ? value : sum)
                                    : sum;
}

struct compose_result compose_combine(const struct compose *recipe,
                                      const struct compose_answer *answers)
{
    struct compose_result result = {.status = WEIR_REWARD_OK, .value = NAN, .part = -1};
    uint32_t counted = 0;
    double total = 0;
    for (uint32_t i = 0; i < recipe->part_count; i++) {
        const struct compose_part *part = &recipe->parts[i];
        double value = 0;
        if (!answers[i].called)
            continue;
        note_failure(recipe, i, &answers[i], &result);
        if ((part->weight < 0 || part->weight > 0) && compose_value(recipe, i, &answers[i], &value))
            total = combine(recipe->combine, counted++, total, part->weight * value);
    }
    if (result.status != WEIR_REWARD_OK)
        return result;
    if (counted == 0) {
        result.status = WEIR_REWARD_SKIP;
        return result;
    }
    result.value =
        clip(recipe->plus_minus ? 2 * total - 1 : total, recipe->clip_low, recipe->clip_high);
    if (!isfinite(result.value))
        result.status = WEIR_REWARD_ERROR;
    return result;
}
