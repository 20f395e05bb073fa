/* weir judge references: Swiss rounds among the candidates of each prompt. */
#include <inttypes.h>
#include <string.h>

#include "core/memory.h"
#include "reward/judge/judge_command.h"
#include "reward/judge/swiss.h"
#include "reward/judge/verdict.h"

static const char *candidate_text(const json_t *candidate)
{
    const char *text = json_string_value(candidate);
    return text != NULL ? text : json_string_value(json_object_get(candidate, "text"));
}

static json_t *row_result(const json_t *row, const char *status, const char *why)
{
    json_t *result = json_object(), *id = json_object_get(row, "id");
    if (id != NULL)
        json_object_set(result, "id", id);
    json_object_set_new(result, "status", json_string(status));
    if (why != NULL)
        json_object_set_new(result, "why", json_string(why));
    return result;
}

static json_t *label(bool has, int score)
{
    return has ? json_integer(score) : json_null();
}

/* 2, 1 or 0 half points for a; a game without a consistent verdict is a tie. */
static int play_game(struct judge *judge, const struct judge_command_options *options,
                     const json_t *row, const struct swiss_game *game, json_t *games, double *cost,
                     char *why, size_t size)
{
    const json_t *candidates = json_object_get(row, "candidates");
    struct judge_command_pair pair;
    bool asked = judge_command_pair(judge, options, judge_command_question(row),
                                    candidate_text(json_array_get(candidates, game->a)),
                                    candidate_text(json_array_get(candidates, game->b)), &pair);
    if (!asked) {
        snprintf(why, size, "%s", pair.why);
        return -1;
    }
    struct pair_result result =
        pair_combine(pair.has_a ? &pair.as_a : NULL, pair.has_b ? &pair.as_b : NULL);
    *cost += pair.cost;
    json_array_append_new(
        games, json_pack("{s:i,s:i,s:i,s:f,s:o,s:o,s:s}", "round", (int)game->round + 1, "a",
                         (int)game->a, "b", (int)game->b, "points_of_a", (result.score + 1) / 2.0,
                         "first_pass", label(pair.has_a, pair.as_a), "second_pass",
                         label(pair.has_b, pair.as_b), "state", pair_state_name(result.state)));
    return result.score + 1;
}

static void add_bye(json_t *games, const struct swiss_game *game)
{
    json_array_append_new(games, json_pack("{s:i,s:i,s:b}", "round", (int)game->round + 1, "player",
                                           (int)game->a, "bye", 1));
}

static bool play_all(struct judge *judge, const struct judge_command_options *options,
                     const json_t *row, struct swiss *swiss, json_t *games, double *cost, char *why,
                     size_t size)
{
    uint32_t count;
    for (uint32_t next = 0;; next++) {
        const struct swiss_game *all = swiss_games(swiss, &count); /* a result may add games */
        if (next == count)
            return true;
        const struct swiss_game game = all[next];
        if (game.result != SWISS_OPEN) {
            add_bye(games, &game);
            continue;
        }
        int half_points = play_game(judge, options, row, &game, games, cost, why, size);
        if (half_points < 0 || swiss_report(swiss, next, half_points) != STATUS_OK)
            return false;
    }
}

static void add_places(const struct swiss *swiss, size_t players, const json_t *candidates,
                       json_t *result)
{
    struct swiss_place places[SWISS_PLAYERS_MAX];
    json_t *list = json_array();
    swiss_places(swiss, places);
    for (size_t i = 0; i < players; i++)
        json_array_append_new(list,
                              json_pack("{s:i,s:f,s:f,s:f}", "candidate", (int)places[i].player,
                                        "points", places[i].points, "buchholz", places[i].buchholz,
                                        "sonneborn_berger", places[i].sonneborn_berger));
    json_object_set_new(result, "reference_index", json_integer(places[0].player));
    json_object_set_new(result, "reference",
                        json_string(candidate_text(json_array_get(candidates, places[0].player))));
    json_object_set_new(result, "places", list);
}

json_t *judge_references_row(struct judge *judge, const struct judge_command_options *options,
                             const json_t *row)
{
    const json_t *candidates = json_object_get(row, "candidates");
    size_t players = json_array_size(candidates);
    uint64_t sizes[SWISS_PLAYERS_MAX];
    struct swiss *swiss = NULL;
    char why[512] = "";
    double cost = 0;
    if (players < 1 || players > SWISS_PLAYERS_MAX)
        return row_result(row, "unscorable", "candidates is not a list of 1 to 256 answers");
    for (size_t i = 0; i < players; i++) {
        const char *text = candidate_text(json_array_get(candidates, i));
        if (text == NULL)
            return row_result(row, "unscorable",
                              "a candidate is neither a text nor has one in \"text\"");
        sizes[i] = strlen(text);
    }
    if (swiss_create(&swiss, (uint32_t)players, options->rounds, sizes, options->seed) != STATUS_OK)
        return row_result(row, "error", status_sentence(status_last_error()));
    json_t *games = json_array();
    bool finished = play_all(judge, options, row, swiss, games, &cost, why, sizeof why);
    json_t *result = row_result(row, finished ? "ok" : "error", finished ? NULL : why);
    if (finished)
        add_places(swiss, players, candidates, result);
    json_object_set_new(result, "games", games);
    json_object_set_new(result, "judge_version", json_string(judge_version(judge)));
    json_object_set_new(result, "cost", json_real(cost));
    swiss_destroy(&swiss);
    return result;
}

json_t *judge_references_summary(json_t *const *results, size_t count)
{
    json_int_t chosen = 0, games = 0, states[3] = {0, 0, 0};
    for (size_t i = 0; i < count; i++) {
        size_t g;
        const json_t *game;
        chosen += json_object_get(results[i], "reference_index") != NULL;
        json_array_foreach(json_object_get(results[i], "games"), g, game)
        {
            const char *state = json_string_value(json_object_get(game, "state"));
            games += state != NULL;
            for (int s = 0; state != NULL && s < 3; s++)
                states[s] += strcmp(state, pair_state_name((enum pair_state)s)) == 0;
        }
    }
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:f}", "rows", (json_int_t)count, "chosen", chosen,
                     "games", games, "consistent", states[0], "inconsistent", states[1], "invalid",
                     states[2], "consistency",
                     states[0] + states[1] > 0 ? (double)states[0] / (double)(states[0] + states[1])
                                               : 1.0);
}
