/* Settings of the area "judge". */
#include <math.h>
#include <string.h>

#include "reward/judge/judge_area.h"

static const double map_linear[5] = {0, 0.25, 0.5, 0.75, 1};
static const double map_centred[5] = {-1, -0.5, 0, 0.5, 1};
static const double map_threshold[5] = {0, 0, 0, 1, 1};

static enum status read_mode(struct judge_rules *rules, const json_t *value)
{
    const char *name = json_string_value(value);
    if (name != NULL && strcmp(name, "grade5") == 0)
        rules->ballot.mode = VERDICT_GRADE5;
    else if (name != NULL && (strcmp(name, "pairwise") == 0 || strcmp(name, "pair") == 0))
        rules->ballot.mode = VERDICT_PAIR;
    else if (name != NULL && strcmp(name, "pair5") == 0)
        rules->ballot.mode = VERDICT_PAIR5;
    else
        return FAIL(STATUS_INVALID, "mode must be grade5, pairwise or pair5");
    return STATUS_OK;
}

static enum status read_map(struct judge_rules *rules, const json_t *value)
{
    const char *name = json_string_value(value);
    const double *map = NULL;
    if (json_is_array(value) && json_array_size(value) == 5) {
        for (size_t i = 0; i < 5; i++) {
            const json_t *number = json_array_get(value, i);
            if (!json_is_number(number))
                return FAIL(STATUS_INVALID, "map[%zu] must be a number", i);
            rules->map[i] = json_number_value(number);
        }
        return STATUS_OK;
    }
    if (name != NULL && strcmp(name, "linear") == 0)
        map = map_linear;
    else if (name != NULL && strcmp(name, "centred") == 0)
        map = map_centred;
    else if (name != NULL && strcmp(name, "threshold") == 0)
        map = map_threshold;
    if (map == NULL)
        return FAIL(STATUS_INVALID, "map must be linear, centred, threshold or five numbers");
    memcpy(rules->map, map, sizeof rules->map);
    return STATUS_OK;
}

static enum status read_if_rule(struct judge_rules *rules, const json_t *value)
{
    static const char *const names[] = {"gate", "product", "sum"};
    const char *name = json_string_value(value);
    for (int i = 0; name != NULL && i < 3; i++)
        if (strcmp(name, names[i]) == 0) {
            rules->has_if_rule = true;
            rules->if_rule = (enum if_rule)i;
            return STATUS_OK;
        }
    return FAIL(STATUS_INVALID, "if_rule must be gate, product or sum");
}

static enum status read_invalid(struct judge_rules *rules, const json_t *value)
{
    const char *name = json_string_value(value);
    if (name == NULL || (strcmp(name, "zero") != 0 && strcmp(name, "unscorable") != 0))
        return FAIL(STATUS_INVALID, "invalid must be unscorable or zero");
    rules->invalid_is_zero = strcmp(name, "zero") == 0;
    return STATUS_OK;
}

static enum status read_double(const json_t *value, const char *key, double least, double most,
                               double *number)
{
    if (!json_is_number(value) || !(json_number_value(value) >= least) ||
        !(json_number_value(value) <= most))
        return FAIL(STATUS_INVALID, "%s must be a number from %g to %g", key, least, most);
    *number = json_number_value(value);
    return STATUS_OK;
}

static enum status read_whole(const json_t *value, const char *key, double least, double most,
                              uint32_t *number)
{
    double read = 0;
    TRY(read_double(value, key, least, most, &read));
    if (read != floor(read))
        return FAIL(STATUS_INVALID, "%s must be a whole number", key);
    *number = (uint32_t)read;
    return STATUS_OK;
}

static enum status read_number(struct judge_rules *rules, const char *key, const json_t *value)
{
    const struct {
        const char *key;
        double least, most;
        double *number;
    } numbers[] = {{"length_guard_chars", 0, 1e9, &rules->guard_chars},
                   {"if_weight_rule", -100, 100, &rules->if_weight_rule},
                   {"if_weight_pair", -100, 100, &rules->if_weight_pair},
                   {"text_bytes_max", 256, 1e8, &rules->text_bytes_max},
                   {"length_per_doubling", -100, 100, &rules->length_b},
                   {"length_usual_tokens", 1, 1e9, &rules->length_usual},
                   {"clip", 0, 1e9, &rules->clip},
                   {"deadline_s", 1, 86400, &rules->deadline_s},
                   {"blind_temperature", 0, 100, &rules->ballot.blind_temperature},
                   {"consistency_least", 0, 1, &rules->consistency_least},
                   {"consistency_window", 1, PAIR_WINDOW_MAX, &rules->consistency_window}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (strcmp(key, numbers[i].key) == 0)
            return read_double(value, key, numbers[i].least, numbers[i].most, numbers[i].number);
    return FAIL(
        STATUS_INVALID,
        "\"%s\" is not known; settings are mode, map, blind, agree, tries, invalid, if_rule, "
        "length_guard_chars and others of docs/judge.md",
        key);
}

static enum status read_member(struct judge_rules *rules, const char *key, const json_t *value)
{
    if (strcmp(key, "judge") == 0)
        return STATUS_OK;
    if (strcmp(key, "mode") == 0)
        return read_mode(rules, value);
    if (strcmp(key, "map") == 0)
        return read_map(rules, value);
    if (strcmp(key, "if_rule") == 0)
        return read_if_rule(rules, value);
    if (strcmp(key, "invalid") == 0)
        return read_invalid(rules, value);
    if (strcmp(key, "blind") == 0)
        return read_whole(value, key, 1, BALLOT_BLIND_MAX, &rules->ballot.blind);
    if (strcmp(key, "agree") == 0)
        return read_whole(value, key, 1, BALLOT_BLIND_MAX, &rules->ballot.agree);
    if (strcmp(key, "tries") == 0)
        return read_whole(value, key, 1, 10, &rules->ballot.tries);
    return read_number(rules, key, value);
}

enum status judge_rules_read(struct judge_rules *rules, const json_t *config)
{
    const char *key;
    json_t *value;
    *rules = (struct judge_rules){.ballot = ballot_defaults(VERDICT_GRADE5),
                                  .guard_chars = 50,
                                  .if_weight_rule = 0.5,
                                  .if_weight_pair = 0.5,
                                  .text_bytes_max = 24000,
                                  .length_usual = 500,
                                  .clip = 1,
                                  .deadline_s = 600,
                                  .consistency_least = 0.7,
                                  .consistency_window = 200};
    memcpy(rules->map, map_linear, sizeof rules->map);
    json_object_foreach((json_t *)(uintptr_t)config, key, value)
        TRY(read_member(rules, key, value));
    if (json_object_get(config, "agree") == NULL)
        rules->ballot.agree = rules->ballot.blind / 2 + 1;
    if (rules->ballot.agree > rules->ballot.blind)
        return FAIL(STATUS_INVALID, "agree is larger than blind");
    return STATUS_OK;
}
