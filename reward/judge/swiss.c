#include "reward/judge/swiss.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/memory.h"
#include "core/rng.h"

enum { TRIES_MAX = 200000, NOBODY = UINT32_MAX, SWISS_SEATS_MAX = SWISS_PLAYERS_MAX + 1 };

struct swiss {
    uint32_t players, seats;           /* seats: even */
    uint32_t rounds, round;            /* round: current, from 0; rounds when finished */
    uint32_t order[SWISS_PLAYERS_MAX]; /* seeded shuffle: order[i] is a player */
    uint32_t rank[SWISS_PLAYERS_MAX];  /* its inverse */
    uint64_t size[SWISS_PLAYERS_MAX];
    bool met[SWISS_SEATS_MAX][SWISS_SEATS_MAX]; /* of player `players`, the empty seat: had a bye */
    bool all_play_all;
    struct swiss_game *games; /* owned */
    uint32_t game_count, game_capacity, open;
    /* of the pairing search */
    uint32_t line[SWISS_SEATS_MAX];
    uint32_t *partner; /* [rounds][seats] places in line, owned */
    uint32_t tries;
};

uint32_t swiss_rounds_for(uint32_t players)
{
    uint32_t rounds = 0;
    while ((UINT32_C(1) << rounds) < players)
        rounds++;
    return rounds + (players > 8 ? 1 : 0);
}

static int half_points(const struct swiss *swiss, uint32_t player)
{
    int sum = 0;
    for (uint32_t g = 0; g < swiss->game_count; g++) {
        const struct swiss_game *game = &swiss->games[g];
        if (game->result == SWISS_OPEN)
            continue;
        if (game->a == player)
            sum += game->result;
        else if (game->b == player)
            sum += 2 - game->result;
    }
    return sum;
}

struct standing {
    uint32_t player, rank;
    uint64_t size;
    int points, buchholz, berger; /* half points; berger in quarters */
};

static int compare(int a, int b) /* larger first */
{
    return (a < b) - (a > b);
}

static int by_standing(const void *left, const void *right)
{
    const struct standing *a = left, *b = right;
    int order = compare(a->points, b->points);
    order = order != 0 ? order : compare(a->buchholz, b->buchholz);
    order = order != 0 ? order : compare(a->berger, b->berger);
    order = order != 0 ? order : (a->size > b->size) - (a->size < b->size);
    return order != 0 ? order : (a->rank > b->rank) - (a->rank < b->rank);
}

/* final: all tie-breaks; else points, Buchholz and seed only. */
static void standings(const struct swiss *swiss, bool final, struct standing table[])
{
    int points[SWISS_PLAYERS_MAX];
    for (uint32_t i = 0; i < swiss->players; i++) {
        points[i] = half_points(swiss, i);
        table[i] =
            (struct standing){i, swiss->rank[i], final ? swiss->size[i] : 0, points[i], 0, 0};
    }
    for (uint32_t g = 0; g < swiss->game_count; g++) {
        const struct swiss_game *game = &swiss->games[g];
        if (game->a == game->b || game->result == SWISS_OPEN)
            continue;
        table[game->a].buchholz += points[game->b];
        table[game->b].buchholz += points[game->a];
        if (final) {
            table[game->a].berger += points[game->b] * game->result;
            table[game->b].berger += points[game->a] * (2 - game->result);
        }
    }
    qsort(table, swiss->players, sizeof *table, by_standing);
}

/* Pairs the first free one of the line with the nearest it has not met and the rest likewise; a full round, while
 * `ahead` more are asked for, must leave room for another one. `round` of them are laid out already. */
static bool pair_line(struct swiss *swiss, uint32_t from, uint32_t round, uint32_t ahead)
{
    uint32_t *partner = swiss->partner + (size_t)round * swiss->seats;
    while (from < swiss->seats && partner[from] != NOBODY)
        from++;
    if (from == swiss->seats) {
        if (ahead == 0)
            return true;
        memset(partner + swiss->seats, 0xff, swiss->seats * sizeof *partner);
        return pair_line(swiss, 0, round + 1, ahead - 1);
    }
    for (uint32_t to = from + 1; to < swiss->seats; to++) {
        uint32_t a = swiss->line[from], b = swiss->line[to];
        if (partner[to] != NOBODY || swiss->met[a][b])
            continue;
        if (++swiss->tries > TRIES_MAX)
            return false;
        partner[from] = to;
        partner[to] = from;
        swiss->met[a][b] = swiss->met[b][a] = true;
        bool found = pair_line(swiss, from + 1, round, ahead);
        swiss->met[a][b] = swiss->met[b][a] = false; /* games mark it, not plans */
        if (found)
            return true;
        partner[from] = partner[to] = NOBODY;
    }
    return false;
}

static bool search(struct swiss *swiss, uint32_t ahead)
{
    swiss->tries = 0;
    memset(swiss->partner, 0xff, swiss->seats * sizeof *swiss->partner);
    return pair_line(swiss, 0, 0, ahead);
}

/* When no pairing leaves room for the next round, or none was found: whom it can, the others sit the round out. */
static void pair_greedily(struct swiss *swiss)
{
    memset(swiss->partner, 0xff, swiss->seats * sizeof *swiss->partner);
    for (uint32_t from = 0; from < swiss->seats; from++)
        for (uint32_t to = from + 1; to < swiss->seats && swiss->partner[from] == NOBODY; to++)
            if (swiss->partner[to] == NOBODY && !swiss->met[swiss->line[from]][swiss->line[to]]) {
                swiss->partner[from] = to;
                swiss->partner[to] = from;
            }
}

/* By Dirac's theorem a next round exists while everybody has at least half the field left to meet; only from there on
 * all rounds to come are laid out on trial. */
static uint32_t rounds_ahead(const struct swiss *swiss)
{
    uint32_t left = swiss->rounds - swiss->round - 1;
    return 2 * (swiss->rounds + 1) > swiss->seats ? left : 0;
}

static void add_game(struct swiss *swiss, uint32_t a, uint32_t b)
{
    CHECK(swiss->game_count < swiss->game_capacity);
    bool bye = a == b;
    swiss->games[swiss->game_count++] =
        (struct swiss_game){swiss->round, a, b, bye ? 2 : SWISS_OPEN};
    uint32_t other = bye ? swiss->players : b;
    swiss->met[a][other] = swiss->met[other][a] = true;
    swiss->open += bye ? 0 : 1;
}

/* The circle method: place 0 stays, the others turn by one each round. */
static void pair_circle(struct swiss *swiss)
{
    uint32_t turning = swiss->seats - 1;
    for (uint32_t i = 0; i < swiss->seats / 2; i++) {
        uint32_t left = i == 0 ? turning : (swiss->round + i) % turning;
        uint32_t right = (swiss->round + turning - i) % turning;
        bool empty = left >= swiss->players || right >= swiss->players;
        uint32_t a = swiss->order[left < swiss->players ? left : right];
        add_game(swiss, a, empty ? a : swiss->order[right]);
    }
}

/* Everybody in order into the line; when they are odd, the empty seat at its end is the bye. */
static void seat(struct swiss *swiss)
{
    struct standing table[SWISS_PLAYERS_MAX];
    standings(swiss, false, table);
    for (uint32_t i = 0; i < swiss->players; i++)
        swiss->line[i] = table[i].player;
    if (swiss->seats > swiss->players)
        swiss->line[swiss->players] = swiss->players;
}

static void pair_round(struct swiss *swiss)
{
    if (swiss->all_play_all) {
        pair_circle(swiss);
        return;
    }
    seat(swiss);
    uint32_t ahead = rounds_ahead(swiss);
    bool found = search(swiss, ahead);
    while (!found && ahead > 0) {
        ahead /= 2;
        found = search(swiss, ahead);
    }
    if (!found)
        pair_greedily(swiss);
    for (uint32_t i = 0; i < swiss->seats; i++) {
        uint32_t to = swiss->partner[i];
        if (to != NOBODY && to > i) {
            bool bye = swiss->line[to] == swiss->players;
            add_game(swiss, swiss->line[i], bye ? swiss->line[i] : swiss->line[to]);
        }
    }
}

/* Pairs rounds until one has a game to play. */
static void go_on(struct swiss *swiss)
{
    while (swiss->open == 0 && swiss->round < swiss->rounds) {
        pair_round(swiss);
        if (swiss->open == 0)
            swiss->round++;
    }
}

static void shuffle(struct swiss *swiss, uint64_t seed)
{
    for (uint32_t i = 0; i < swiss->players; i++) {
        uint32_t player = (uint32_t)rng_permute(seed, swiss->players, i);
        swiss->order[i] = player;
        swiss->rank[player] = i;
    }
}

enum status swiss_create(struct swiss **swiss, uint32_t players, uint32_t rounds,
                         const uint64_t *sizes, uint64_t seed)
{
    if (players < 1 || players > SWISS_PLAYERS_MAX)
        return FAIL(STATUS_INVALID, "%" PRIu32 " candidates; a tournament has 1 to %d", players,
                    SWISS_PLAYERS_MAX);
    struct swiss *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "a tournament of %" PRIu32, players);
    uint32_t most = players - 1 + players % 2; /* nobody meets anybody twice */
    made->players = players;
    made->seats = players + players % 2;
    made->rounds = rounds == 0 ? swiss_rounds_for(players) : rounds;
    made->rounds = players == 1 ? 0 : made->rounds < most ? made->rounds : most;
    made->all_play_all = players > 1 && made->rounds == most;
    made->game_capacity = made->rounds * (players / 2 + 1);
    made->games = memory_array(made->game_capacity + 1, sizeof *made->games);
    made->partner = memory_array((size_t)made->rounds * made->seats + 1, sizeof *made->partner);
    if (made->games == NULL || made->partner == NULL) {
        swiss_destroy(&made);
        return FAIL(STATUS_NO_MEMORY, "a tournament of %" PRIu32, players);
    }
    for (uint32_t i = 0; i < players; i++) {
        made->size[i] = sizes != NULL ? sizes[i] : 0;
    }
    shuffle(made, seed);
    go_on(made);
    *swiss = made;
    return STATUS_OK;
}

void swiss_destroy(struct swiss **swiss)
{
    if (*swiss != NULL) {
        memory_free((*swiss)->games);
        memory_free((*swiss)->partner);
        memory_free(*swiss);
    }
    *swiss = NULL;
}

const struct swiss_game *swiss_games(const struct swiss *swiss, uint32_t *count)
{
    *count = swiss->game_count;
    return swiss->games;
}

enum status swiss_report(struct swiss *swiss, uint32_t game, int half_points_of_a)
{
    if (game >= swiss->game_count || swiss->games[game].result != SWISS_OPEN ||
        half_points_of_a < 0 || half_points_of_a > 2)
        return FAIL(STATUS_INVALID,
                    "game %" PRIu32 " of %" PRIu32 " has no open result, or %d is none", game,
                    swiss->game_count, half_points_of_a);
    swiss->games[game].result = half_points_of_a;
    if (--swiss->open == 0) {
        swiss->round++;
        go_on(swiss);
    }
    return STATUS_OK;
}

bool swiss_finished(const struct swiss *swiss)
{
    return swiss->round >= swiss->rounds;
}

uint32_t swiss_rounds(const struct swiss *swiss)
{
    return swiss->rounds;
}

void swiss_places(const struct swiss *swiss, struct swiss_place places[])
{
    struct standing table[SWISS_PLAYERS_MAX];
    standings(swiss, true, table);
    for (uint32_t i = 0; i < swiss->players; i++)
        places[i] = (struct swiss_place){table[i].player, table[i].points / 2.0,
                                         table[i].buchholz / 2.0, table[i].berger / 4.0};
}
