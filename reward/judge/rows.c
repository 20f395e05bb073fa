#include "reward/judge/rows.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#include "core/length_bias.h"
#include "reward/judge/swiss.h"
#include "reward/judge/verdict.h"

static void unscorable(struct reward_outcome *outcome, const char *why)
{
    reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE, why);
}

/* Our own failure (memory): tried again elsewhere. */
static void failed(struct reward_outcome *outcome)
{
    reward_outcome_not(outcome, WEIR_REWARD_ERROR, status_sentence(status_last_error()));
}

static void score_parse(const struct reward_case *row, struct reward_outcome *outcome)
{
    const json_t *mode_text = json_object_get(row->row, "mode");
    const json_t *output = json_object_get(row->row, "judge_output");
    const char *text = row->response != NULL ? row->response : "";
    size_t size = row->response != NULL ? row->response_size : 0;
    enum verdict_mode mode = VERDICT_GRADE5;
    int verdict = 0;
    if (mode_text != NULL &&
        (!json_is_string(mode_text) || !verdict_mode_named(json_string_value(mode_text), &mode))) {
        unscorable(outcome, "mode is none of grade5, prometheus, pair, pair5");
        return;
    }
    if (output != NULL && !json_is_string(output)) {
        unscorable(outcome, "judge_output is not a string");
        return;
    }
    if (output != NULL) {
        text = json_string_value(output);
        size = json_string_length(output);
    }
    if (!verdict_read(mode, text, size, &verdict)) {
        unscorable(outcome, "no verdict that can be read after the judge's thinking");
        return;
    }
    reward_outcome_ok(outcome, verdict);
    if (mode == VERDICT_PAIR) { /* the label is the verdict; the number is what it is worth for A */
        const char *label = verdict > 0 ? "A" : verdict < 0 ? "B" : "C";
        json_object_set_new(outcome->fields, "value", json_string(label));
        json_object_set_new(outcome->fields, "score", json_integer(verdict));
    }
}

/* A label of the pass in which the policy has place `ours`; false: of a wrong type. *score is set for A, B, C, and
 * *readable says whether it is one of them. */
static bool read_label(const json_t *label, char ours, int *score, bool *readable)
{
    *readable = false;
    if (label == NULL || json_is_null(label))
        return true;
    if (!json_is_string(label))
        return false;
    const char *text = json_string_value(label);
    if (strlen(text) != 1 || strchr("ABC", text[0]) == NULL)
        return true;
    *readable = true;
    *score = text[0] == 'C' ? 0 : text[0] == ours ? 1 : -1;
    return true;
}

static void score_pair(const struct reward_case *row, struct reward_outcome *outcome)
{
    int as_a = 0, as_b = 0;
    bool has_a, has_b;
    if (!read_label(json_object_get(row->row, "pass1_policy_is_A"), 'A', &as_a, &has_a) ||
        !read_label(json_object_get(row->row, "pass2_policy_is_B"), 'B', &as_b, &has_b)) {
        unscorable(outcome,
                   "pass1_policy_is_A and pass2_policy_is_B must be \"A\", \"B\", \"C\" or null");
        return;
    }
    struct pair_result result = pair_combine(has_a ? &as_a : NULL, has_b ? &as_b : NULL);
    reward_outcome_ok(outcome, result.score);
    json_object_set_new(outcome->fields, "score", json_integer(result.score));
    json_object_set_new(outcome->fields, "state", json_string(pair_state_name(result.state)));
}

static bool read_strength(const json_t *list, double strength[SWISS_PLAYERS_MAX], size_t *count)
{
    *count = json_array_size(list);
    if (!json_is_array(list) || *count < 1 || *count > SWISS_PLAYERS_MAX)
        return false;
    for (size_t i = 0; i < *count; i++) {
        if (!json_is_number(json_array_get(list, i)))
            return false;
        strength[i] = json_number_value(json_array_get(list, i));
    }
    return true;
}

static enum status play(struct swiss *swiss, const double *strength)
{
    uint32_t count, next = 0;
    while (!swiss_finished(swiss)) {
        const struct swiss_game *game = &swiss_games(swiss, &count)[next];
        if (game->result == SWISS_OPEN) {
            double a = strength[game->a], b = strength[game->b];
            TRY(swiss_report(swiss, next, a > b ? 2 : a < b ? 0 : 1));
        }
        next++;
    }
    return STATUS_OK;
}

/* Also counts the points given out, byes included, and whether two met twice. */
static json_t *games_json(const struct swiss *swiss, double *points, bool *twice)
{
    uint32_t count;
    const struct swiss_game *games = swiss_games(swiss, &count);
    json_t *list = json_array();
    *points = count; /* one for each game and bye */
    *twice = false;
    for (uint32_t i = 0; i < count; i++) {
        bool bye = games[i].a == games[i].b;
        for (uint32_t j = 0; j < i && !bye; j++)
            *twice |= (games[j].a == games[i].a && games[j].b == games[i].b) ||
                      (games[j].a == games[i].b && games[j].b == games[i].a);
        json_array_append_new(list,
                              bye ? json_pack("{s:i,s:i,s:b}", "round", (int)games[i].round + 1,
                                              "player", (int)games[i].a, "bye", 1)
                                  : json_pack("{s:i,s:i,s:i,s:f}", "round", (int)games[i].round + 1,
                                              "a", (int)games[i].a, "b", (int)games[i].b,
                                              "points_of_a", games[i].result / 2.0));
    }
    return list;
}

static void score_swiss(const struct reward_case *row, struct reward_outcome *outcome)
{
    double strength[SWISS_PLAYERS_MAX], points;
    size_t players;
    struct swiss_place places[SWISS_PLAYERS_MAX];
    const json_t *rounds = json_object_get(row->row, "rounds");
    if (!read_strength(json_object_get(row->row, "strength"), strength, &players)) {
        unscorable(outcome, "strength is not a list of 1 to 256 numbers");
        return;
    }
    if (rounds != NULL && (!json_is_integer(rounds) || json_integer_value(rounds) < 0 ||
                           json_integer_value(rounds) > UINT32_MAX)) {
        unscorable(outcome, "rounds is not a whole number from 0 up");
        return;
    }
    struct swiss *swiss = NULL;
    bool twice;
    if (swiss_create(&swiss, (uint32_t)players, (uint32_t)json_integer_value(rounds), NULL, 1) !=
            STATUS_OK ||
        play(swiss, strength) != STATUS_OK) {
        failed(outcome);
        swiss_destroy(&swiss);
        return;
    }
    swiss_places(swiss, places);
    json_t *games = games_json(swiss, &points, &twice), *order = json_array();
    for (size_t i = 0; i < players; i++)
        json_array_append_new(order, json_integer(places[i].player));
    reward_outcome_ok(outcome, places[0].player);
    json_object_set_new(outcome->fields, "winner", json_integer(places[0].player));
    json_object_set_new(outcome->fields, "winner_points", json_real(places[0].points));
    json_object_set_new(outcome->fields, "total_points", json_real(points));
    json_object_set_new(outcome->fields, "no_pair_twice", json_boolean(!twice));
    json_object_set_new(outcome->fields, "rounds", json_integer(swiss_rounds(swiss)));
    json_object_set_new(outcome->fields, "order", order);
    json_object_set_new(outcome->fields, "games", games);
    swiss_destroy(&swiss);
}

/* Which column of a step holds length, reward and success; by the names in "fields" when they are given. */
static void read_columns(const json_t *names, size_t column[3])
{
    static const char *const words[3][2] = {
        {"len", "length"}, {"reward", "genrm"}, {"success", "verified"}};
    size_t found[3] = {SIZE_MAX, SIZE_MAX, SIZE_MAX}, i;
    const json_t *name;
    for (size_t c = 0; c < 3; c++)
        column[c] = c;
    json_array_foreach(
        (json_t *)(uintptr_t)names, i,
        name) for (size_t c = 0; c < 3;
                   c++) if (json_is_string(name) && found[c] == SIZE_MAX &&
                            (strcasestr(json_string_value(name), words[c][0]) != NULL ||
                             strcasestr(json_string_value(name), words[c][1]) != NULL))
    {
        found[c] = i;
        break;
    }
    if (found[0] != SIZE_MAX && found[1] != SIZE_MAX && found[2] != SIZE_MAX)
        memcpy(column, found, sizeof found);
}

/* INVALID names the step. */
static enum status push_steps(struct length_bias *monitor, const json_t *steps,
                              const size_t column[3], struct length_bias_report *report)
{
    size_t i;
    const json_t *step;
    json_array_foreach((json_t *)(uintptr_t)steps, i, step)
    {
        double value[3];
        for (size_t c = 0; c < 3; c++) {
            const json_t *number = json_array_get(step, column[c]);
            if (!json_is_number(number) && !(c == 2 && json_is_null(number)))
                return FAIL(STATUS_INVALID, "steps[%zu][%zu] is not a number", i, column[c]);
            value[c] = json_is_number(number) ? json_number_value(number) : (double)NAN;
        }
        TRY(length_bias_push(monitor, i + 1, value[0], value[1], value[2], report));
        if (report->state == LENGTH_BIAS_ALARM)
            break;
    }
    return STATUS_OK;
}

static void trend_fields(json_t *fields, const char *name, const struct trend *trend)
{
    json_object_set_new(
        fields, name,
        json_pack("{s:f,s:f,s:f}", "mean", trend->mean, "change", trend->change, "z", trend->z));
}

static void score_length_bias(const struct reward_case *row, struct reward_outcome *outcome)
{
    const json_t *steps = json_object_get(row->row, "steps");
    struct length_bias *monitor = NULL;
    struct length_bias_config config = length_bias_defaults();
    struct length_bias_report report = {0};
    size_t column[3];
    if (!json_is_array(steps)) {
        unscorable(outcome, "steps is not a list of [length, reward, success]");
        return;
    }
    read_columns(json_object_get(row->row, "fields"), column);
    if (length_bias_create(&monitor, &config) != STATUS_OK) {
        failed(outcome);
        return;
    }
    if (push_steps(monitor, steps, column, &report) != STATUS_OK) {
        unscorable(outcome, status_sentence(status_last_error()));
    } else {
        /* The series is over: what is suspected at its end will not be confirmed by more of it. */
        bool alarm = report.state != LENGTH_BIAS_QUIET;
        uint64_t at = report.state == LENGTH_BIAS_ALARM ? report.alarm_step : report.step;
        reward_outcome_ok(outcome, alarm ? 1 : 0);
        json_object_set_new(outcome->fields, "alarm", json_boolean(alarm));
        json_object_set_new(outcome->fields, "confirmed",
                            json_boolean(report.state == LENGTH_BIAS_ALARM));
        if (alarm)
            json_object_set_new(outcome->fields, "alarm_step", json_integer((json_int_t)at));
        trend_fields(outcome->fields, "length", &report.length);
        trend_fields(outcome->fields, "reward", &report.reward);
        trend_fields(outcome->fields, "success", &report.success);
    }
    length_bias_destroy(&monitor);
}

bool judge_row_score(const char *kind, const struct reward_case *row,
                     struct reward_outcome *outcome)
{
    static const struct {
        const char *kind;
        void (*score)(const struct reward_case *, struct reward_outcome *);
    } kinds[] = {{"genrm_parse", score_parse},
                 {"pairwise_position_switch", score_pair},
                 {"swiss", score_swiss},
                 {"length_bias", score_length_bias}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kind, kinds[i].kind) == 0) {
            kinds[i].score(row, outcome);
            return true;
        }
    return false;
}
