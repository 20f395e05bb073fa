/* reward/judge/swiss.h - Swiss rounds: which of n candidates is the reference answer, in about n/2 * log2 n games.
 *
 * A pure state machine: it says which games a round has, takes their results in any order, and pairs the next round when
 * all are in. Who plays them (a judge, a test) is not its business.
 *
 * Rules: round 1 by a seeded shuffle. Later rounds in the order of (points, Buchholz, seed): the best plays the nearest
 * one that it has not met; who cannot be paired in its score group floats down, by backtracking, so that no pair meets
 * twice. With an odd number the lowest that had none gets a bye, worth a win and no game. A round that could leave the
 * next one without a pairing is avoided; with n - 1 rounds or more the schedule is the round robin. Final order: points,
 * Buchholz (sum of the opponents' points), Sonneborn-Berger (points of those beaten, half of those tied), shorter, seed.
 * One thread. */
#ifndef REWARD_JUDGE_SWISS_H
#define REWARD_JUDGE_SWISS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

enum { SWISS_PLAYERS_MAX = 256, SWISS_OPEN = -1 };

struct swiss_game {
    uint32_t round; /* from 0 */
    uint32_t a, b;  /* players; a bye has b == a */
    int result;     /* SWISS_OPEN, else half points of a: 2 win, 1 tie, 0 loss */
};
struct swiss_place {
    uint32_t player;
    double points, buchholz, sonneborn_berger;
};
struct swiss;

/* ceil(log2 n), one more above 8 players. */
uint32_t swiss_rounds_for(uint32_t players);
/* rounds 0: swiss_rounds_for; more than every pair allows are cut. sizes [players]: lengths for the tie-break, may be
 * NULL. INVALID: no player or too many. */
MUST_CHECK enum status swiss_create(struct swiss **swiss, uint32_t players, uint32_t rounds,
                                    const uint64_t *sizes, uint64_t seed);
void swiss_destroy(struct swiss **swiss);
/* All games so far; those of the current round whose result is SWISS_OPEN can be played now. */
const struct swiss_game *swiss_games(const struct swiss *swiss, uint32_t *count);
/* Result of an open game; after the round's last one the next round is paired. */
MUST_CHECK enum status swiss_report(struct swiss *swiss, uint32_t game, int half_points_of_a);
bool swiss_finished(const struct swiss *swiss);
uint32_t swiss_rounds(const struct swiss *swiss); /* planned */
/* Order of all players, the best first; also of an unfinished tournament. */
void swiss_places(const struct swiss *swiss, struct swiss_place places[]);

#endif
