#include "reward/logic/zebra.h"

#include <string.h>

#include "reward/logic/draw.h"

enum { NODES_MAX = 400 };

struct search {
    const struct zebra *zebra;
    int solutions, limit;
    long nodes;
};

/* Houses (bits) in which each thing may be. */
struct state {
    unsigned may[ZEBRA_THINGS];
};

static int thing(int attribute, int value)
{
    return attribute * ZEBRA_HOUSES_MAX + value;
}

/* Houses for b when a may be in the houses of `a`. */
static unsigned allowed(enum zebra_kind kind, unsigned a, bool a_first, int houses)
{
    unsigned all = (1u << houses) - 1, out = 0;
    bool one = (a & (a - 1)) == 0;
    switch (kind) {
    case ZEBRA_SAME:
        return a;
    case ZEBRA_DIFFER:
        return one ? all & ~a : all;
    case ZEBRA_NEXT:
        return (a << 1 | a >> 1) & all;
    case ZEBRA_LEFT:
        return (a_first ? a << 1 : a >> 1) & all;
    case ZEBRA_BEFORE:
        for (int h = 0; h < houses; h++) {
            unsigned before = (1u << h) - 1, after = all & ~(before | 1u << h);
            if (a & (a_first ? before : after))
                out |= 1u << h;
        }
        return out;
    default:
        return all;
    }
}

static bool narrow(unsigned *may, unsigned to, bool *changed)
{
    if ((*may & to) != *may) {
        *may &= to;
        *changed = true;
    }
    return *may != 0;
}

static bool use_clue(const struct zebra *zebra, const struct zebra_clue *clue, struct state *state,
                     bool *changed)
{
    int n = zebra->houses;
    if (clue->kind == ZEBRA_AT)
        return narrow(&state->may[clue->a], 1u << clue->b, changed);
    if (clue->kind == ZEBRA_NOT_AT)
        return narrow(&state->may[clue->a], ~(1u << clue->b), changed);
    return narrow(&state->may[clue->b], allowed(clue->kind, state->may[clue->a], true, n),
                  changed) &&
           narrow(&state->may[clue->a], allowed(clue->kind, state->may[clue->b], false, n),
                  changed);
}

/* Within an attribute: a house that is taken is no other's; a house that only one may have is its. */
static bool use_difference(const struct zebra *zebra, int attribute, struct state *state,
                           bool *changed)
{
    unsigned *may = &state->may[thing(attribute, 0)];
    for (int i = 0; i < zebra->houses; i++)
        if ((may[i] & (may[i] - 1)) == 0)
            for (int j = 0; j < zebra->houses; j++)
                if (j != i && !narrow(&may[j], ~may[i], changed))
                    return false;
    for (int h = 0; h < zebra->houses; h++) {
        int only = -1, count = 0;
        for (int i = 0; i < zebra->houses; i++)
            if (may[i] >> h & 1) {
                only = i;
                count++;
            }
        if (count == 0 || (count == 1 && !narrow(&may[only], 1u << h, changed)))
            return false;
    }
    return true;
}

static bool propagate(const struct zebra *zebra, struct state *state)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (int i = 0; i < zebra->count; i++)
            if (!use_clue(zebra, &zebra->clue[i], state, &changed))
                return false;
        for (int a = 0; a < zebra->attributes; a++)
            if (!use_difference(zebra, a, state, &changed))
                return false;
    }
    return true;
}

/* False: stop. Recursion is as deep as there are things. */
static bool search_from(struct search *search, struct state state)
{
    const struct zebra *zebra = search->zebra;
    int best = -1, fewest = ZEBRA_HOUSES_MAX + 1;
    search->nodes++;
    if (!propagate(zebra, &state))
        return search->nodes < NODES_MAX;
    for (int a = 0; a < zebra->attributes; a++)
        for (int v = 0; v < zebra->houses; v++) {
            int count = __builtin_popcount(state.may[thing(a, v)]);
            if (count > 1 && count < fewest) {
                fewest = count;
                best = thing(a, v);
            }
        }
    if (best < 0)
        return ++search->solutions < search->limit;
    for (int h = 0; h < zebra->houses; h++) {
        struct state next = state;
        next.may[best] = 1u << h;
        if ((state.may[best] >> h & 1) && !search_from(search, next))
            return false;
    }
    return search->nodes < NODES_MAX;
}

int zebra_solve(const struct zebra *zebra, int limit, long *nodes)
{
    struct search search = {.zebra = zebra, .limit = limit};
    struct state state;
    for (int i = 0; i < ZEBRA_THINGS; i++)
        state.may[i] = (1u << zebra->houses) - 1;
    (void)search_from(&search, state);
    *nodes = search.nodes;
    return search.nodes >= NODES_MAX && search.solutions < limit ? limit : search.solutions;
}

/* A true clue about two random things; false: this draw gave none. */
static bool draw_clue(const struct zebra *zebra, int easy, struct rng *rng, struct zebra_clue *clue)
{
    int a = thing((int)rng_below(rng, (uint32_t)zebra->attributes),
                  (int)rng_below(rng, (uint32_t)zebra->houses));
    int b = thing((int)rng_below(rng, (uint32_t)zebra->attributes),
                  (int)rng_below(rng, (uint32_t)zebra->houses));
    int gap = zebra->house[b] - zebra->house[a];
    clue->a = a;
    clue->b = b;
    if (draw_permille(rng, easy)) {
        clue->kind = draw_permille(rng, 150) ? ZEBRA_AT : ZEBRA_SAME;
        clue->b = clue->kind == ZEBRA_AT ? zebra->house[a] : b;
        return clue->kind == ZEBRA_AT || (gap == 0 && a != b);
    }
    clue->kind = (enum zebra_kind)draw_between(rng, ZEBRA_DIFFER, ZEBRA_NOT_AT);
    switch (clue->kind) {
    case ZEBRA_DIFFER:
        return gap != 0 && a / ZEBRA_HOUSES_MAX != b / ZEBRA_HOUSES_MAX;
    case ZEBRA_NEXT:
        return gap == 1 || gap == -1;
    case ZEBRA_LEFT:
        return gap == 1;
    case ZEBRA_BEFORE:
        return gap > 0;
    case ZEBRA_NOT_AT:
        clue->b = (int)rng_below(rng, (uint32_t)zebra->houses);
        return clue->b != zebra->house[a];
    default:
        return false;
    }
}

static bool has_clue(const struct zebra *zebra, const struct zebra_clue *clue)
{
    for (int i = 0; i < zebra->count; i++) {
        const struct zebra_clue *other = &zebra->clue[i];
        bool symmetric =
            clue->kind == ZEBRA_SAME || clue->kind == ZEBRA_NEXT || clue->kind == ZEBRA_DIFFER;
        if (other->kind == clue->kind &&
            ((other->a == clue->a && other->b == clue->b) ||
             (symmetric && other->a == clue->b && other->b == clue->a)))
            return true;
    }
    return false;
}

/* Leaves out, one after another, each clue without which one solution is left still. */
static void leave_out_idle(struct zebra *zebra)
{
    long nodes;
    for (int i = zebra->count - 1; i >= 0; i--) {
        struct zebra_clue left_out = zebra->clue[i];
        zebra->clue[i] = zebra->clue[--zebra->count];
        if (zebra_solve(zebra, 2, &nodes) == 1)
            continue;
        zebra->clue[zebra->count++] = zebra->clue[i];
        zebra->clue[i] = left_out;
    }
}

bool zebra_make(int houses, int attributes, int easy, struct rng *rng, struct zebra *zebra)
{
    *zebra = (struct zebra){.houses = houses, .attributes = attributes};
    for (int a = 0; a < attributes; a++)
        draw_permutation(rng, &zebra->house[thing(a, 0)], houses);
    int solutions = 2;
    for (int tries = 0; tries < 4000 && zebra->count < ZEBRA_CLUES_MAX && solutions > 1; tries++) {
        struct zebra_clue clue;
        if (!draw_clue(zebra, easy, rng, &clue) || has_clue(zebra, &clue))
            continue;
        zebra->clue[zebra->count++] = clue;
        if (zebra->count >= houses * attributes / 3)
            solutions = zebra_solve(zebra, 2, &zebra->nodes);
    }
    if (solutions != 1)
        return false;
    leave_out_idle(zebra);
    return zebra_solve(zebra, 2, &zebra->nodes) == 1;
}
