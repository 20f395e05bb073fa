#include "reward/logic/liars.h"

#include "reward/logic/board.h"
#include "reward/logic/draw.h"

enum { DRAWS_PER_PERSON = 40 };

bool liars_holds(const struct liars_claim *claim, unsigned world)
{
    bool a = ((world >> claim->a & 1) != 0) == claim->a_truthful;
    bool b = ((world >> claim->b & 1) != 0) == claim->b_truthful;
    bool same = (world >> claim->a & 1) == (world >> claim->b & 1);
    switch (claim->kind) {
    case LIARS_IS:
        return a;
    case LIARS_BOTH:
        return a && b;
    case LIARS_EITHER:
        return a || b;
    case LIARS_SAME:
        return same;
    case LIARS_DIFFER:
        return !same;
    default:
        return !a || b;
    }
}

static bool fits(const struct liars_claim *claim, unsigned world)
{
    bool truthful = claim->speaker < 0 || (world >> claim->speaker & 1) != 0;
    return liars_holds(claim, world) == truthful;
}

bool liars_world_fits(const struct liars_puzzle *puzzle, unsigned world)
{
    for (int i = 0; i < puzzle->count; i++)
        if (!fits(&puzzle->claim[i], world))
            return false;
    return true;
}

static int last_person(const struct liars_claim *claim)
{
    int last = claim->speaker > claim->a ? claim->speaker : claim->a;
    return claim->kind != LIARS_IS && claim->b > last ? claim->b : last;
}

/* Person by person, checking what is known: how much there is to think about. */
static void count_nodes(struct liars_puzzle *puzzle, int person, unsigned world)
{
    if (person == puzzle->people)
        return;
    for (unsigned truthful = 0; truthful < 2; truthful++) {
        unsigned next = world | truthful << person;
        bool fine = true;
        puzzle->nodes++;
        for (int i = 0; i < puzzle->count && fine; i++)
            if (last_person(&puzzle->claim[i]) == person)
                fine = fits(&puzzle->claim[i], next);
        if (fine)
            count_nodes(puzzle, person + 1, next);
    }
}

/* A claim that its speaker would make in this world. */
static bool draw_claim(int people, int compound, unsigned world, struct rng *rng,
                       struct liars_claim *claim)
{
    int others[3];
    draw_sample(rng, others, people < 3 ? 2 : 3, people);
    if (people < 3 || draw_permille(rng, 100))
        others[2] = others[0]; /* of somebody and themselves */
    claim->kind =
        draw_permille(rng, compound) ? draw_between(rng, LIARS_BOTH, LIARS_KINDS - 1) : LIARS_IS;
    claim->speaker = others[0];
    claim->a = others[1];
    claim->b = claim->kind == LIARS_IS ? claim->a : others[2];
    claim->a_truthful = draw_permille(rng, 500);
    claim->b_truthful = draw_permille(rng, 500);
    return fits(claim, world);
}

bool liars_make(int people, int compound, bool anchor, struct rng *rng, struct liars_puzzle *puzzle)
{
    unsigned worlds = 1u << people, left = worlds;
    bool open[1u << LIARS_PEOPLE_MAX];
    *puzzle = (struct liars_puzzle){.people = people, .world = rng_below(rng, worlds)};
    for (unsigned w = 0; w < worlds; w++)
        open[w] = true;
    for (int i = 0; i < DRAWS_PER_PERSON * people && left > 1; i++) {
        struct liars_claim claim;
        if (anchor && puzzle->count == 0) {
            int who = (int)rng_below(rng, (uint32_t)people);
            claim = (struct liars_claim){.speaker = -1,
                                         .kind = LIARS_IS,
                                         .a = who,
                                         .b = who,
                                         .a_truthful = (puzzle->world >> who & 1) != 0};
        } else if (!draw_claim(people, compound, puzzle->world, rng, &claim)) {
            continue;
        }
        unsigned gone = 0;
        for (unsigned w = 0; w < worlds; w++)
            if (open[w] && !fits(&claim, w)) {
                open[w] = false;
                gone++;
            }
        left -= gone;
        if (gone > 0 && puzzle->count < LIARS_CLAIMS_MAX)
            puzzle->claim[puzzle->count++] = claim;
        else if (gone > 0)
            return false;
    }
    count_nodes(puzzle, 0, 0);
    return left == 1;
}

json_t *liars_json(const struct liars_puzzle *puzzle)
{
    json_t *list = json_array();
    for (int i = 0; i < puzzle->count; i++) {
        const struct liars_claim *claim = &puzzle->claim[i];
        const int part[6] = {claim->speaker,    claim->kind, claim->a,
                             claim->a_truthful, claim->b,    claim->b_truthful};
        json_array_append_new(list, board_ints_json(part, 6));
    }
    return list;
}

bool liars_of_json(const json_t *claims, int people, struct liars_puzzle *puzzle)
{
    size_t count = json_array_size(claims);
    if (count == 0 || count > LIARS_CLAIMS_MAX || people < 1 || people > LIARS_PEOPLE_MAX)
        return false;
    *puzzle = (struct liars_puzzle){.people = people, .count = (int)count};
    for (size_t i = 0; i < count; i++) {
        int part[6];
        if (!board_ints(json_array_get(claims, i), 6, part) || part[0] < -1 || part[0] >= people ||
            part[1] < 0 || part[1] >= LIARS_KINDS || part[2] < 0 || part[2] >= people ||
            part[4] < 0 || part[4] >= people)
            return false;
        puzzle->claim[i] =
            (struct liars_claim){part[0], part[1], part[2], part[4], part[3] != 0, part[5] != 0};
    }
    return true;
}
