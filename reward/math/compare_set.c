/* Sets of real numbers as disjoint intervals in order: unions are merged, differences and intersections worked out, and a
 * solved inequality of the gold is read as its set. Ends are compared as expressions. */
#include "reward/math/compare.h"

#include <math.h>
#include <string.h>

enum { PIECES_MAX = 24 };

struct piece {
    struct node *end[2]; /* low, high */
    double at[2];        /* about there; infinite for -oo and oo */
    bool closed[2];
};

struct pieces {
    struct piece at[PIECES_MAX];
    uint32_t count;
    bool unknown;            /* an end that is no real number, or too many pieces */
    bool relations;          /* inequalities may be read as sets */
    const struct node *name; /* the unknown of the inequalities */
};

static struct node infinity = {.kind = NODE_CONSTANT, .text = "inf", .size = 3};
static struct node *const low_end = &infinity; /* which infinity is known by its place */

/* ---- ends ---- */

static double about(struct comparison *comparison, const struct node *tree)
{
    struct evaluation *evaluation = &comparison->evaluation;
    struct value value;
    double result = NAN;
    if (tree->kind > NODE_DEGREE || !math_tree_is_constant(tree))
        return NAN;
    value_init(&value);
    evaluation->precision = 96;
    math_evaluate(evaluation, tree, &value);
    if (value.kind == VALUE_INFINITE)
        result = value.sign * HUGE_VAL;
    value_to_ball(&value, 96);
    if (value.kind == VALUE_BALL && value_is_below(&value, 900) &&
        arb_contains_zero(acb_imagref(value.ball)))
        result = arf_get_d(arb_midref(acb_realref(value.ball)), ARF_RND_NEAR);
    value_clear(&value);
    return result;
}

/* -1, 0, 1 as the order of two ends. */
static int order(struct comparison *comparison, const struct piece *a, int end_a,
                 const struct piece *b, int end_b)
{
    double x = a->at[end_a], y = b->at[end_b];
    if (isinf(x) || isinf(y))
        return (x > y) - (x < y);
    if (fabs(x - y) <= 1e-5 * fmax(1, fabs(x)) &&
        compare_scalars(comparison, a->end[end_a], b->end[end_b]))
        return 0;
    return x < y ? -1 : 1;
}

static void add_piece(struct comparison *comparison, struct pieces *pieces, struct node *low,
                      struct node *high, bool low_closed, bool high_closed)
{
    struct piece piece = {.end = {low, high}, .closed = {low_closed, high_closed}};
    piece.at[0] = low == low_end ? -HUGE_VAL : about(comparison, low);
    piece.at[1] = high == &infinity ? HUGE_VAL : about(comparison, high);
    for (int i = 0; i < 2; i++)
        piece.closed[i] = piece.closed[i] && !isinf(piece.at[i]);
    if (pieces->count == PIECES_MAX || isnan(piece.at[0]) || isnan(piece.at[1])) {
        pieces->unknown = true;
        return;
    }
    int sign = low == high && !isinf(piece.at[0]) ? 0 : order(comparison, &piece, 0, &piece, 1);
    if (sign > 0 || (sign == 0 && !(piece.closed[0] && piece.closed[1]))) {
        pieces->unknown = true; /* (3, 1) is a tuple */
        return;
    }
    pieces->at[pieces->count++] = piece;
}

/* ---- the algebra ---- */

static void normalise(struct comparison *comparison, struct pieces *pieces)
{
    for (uint32_t i = 1; i < pieces->count; i++) /* insertion sort by the low end */
        for (uint32_t j = i; j > 0; j--) {
            struct piece *a = &pieces->at[j - 1], *b = &pieces->at[j];
            int sign = order(comparison, a, 0, b, 0);
            if (sign < 0 || (sign == 0 && (a->closed[0] || !b->closed[0])))
                break;
            struct piece swap = *a;
            *a = *b;
            *b = swap;
        }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < pieces->count; i++) {
        struct piece *next = &pieces->at[i], *last = kept > 0 ? &pieces->at[kept - 1] : NULL;
        int touch = last != NULL ? order(comparison, last, 1, next, 0) : -1;
        if (touch < 0 || (touch == 0 && !last->closed[1] && !next->closed[0])) {
            pieces->at[kept++] = *next;
            continue;
        }
        int sign = order(comparison, last, 1, next, 1);
        if (sign == 0)
            last->closed[1] = last->closed[1] || next->closed[1];
        if (sign < 0) {
            last->end[1] = next->end[1];
            last->at[1] = next->at[1];
            last->closed[1] = next->closed[1];
        }
    }
    pieces->count = kept;
}

/* The rest of the line; `pieces` is normalised. */
static void complement(struct pieces *pieces)
{
    struct pieces rest = {
        .unknown = pieces->unknown, .relations = pieces->relations, .name = pieces->name};
    struct piece gap = {.end = {low_end, NULL}, .at = {-HUGE_VAL, 0}};
    bool open = true; /* a gap has begun */
    for (uint32_t i = 0; i < pieces->count; i++) {
        const struct piece *piece = &pieces->at[i];
        if (!isinf(piece->at[0]) || i > 0) {
            gap.end[1] = piece->end[0];
            gap.at[1] = piece->at[0];
            gap.closed[1] = !piece->closed[0];
            if (rest.count < PIECES_MAX)
                rest.at[rest.count++] = gap;
        }
        open = !isinf(piece->at[1]);
        gap = (struct piece){.end = {piece->end[1], NULL},
                             .at = {piece->at[1], 0},
                             .closed = {!piece->closed[1], false}};
    }
    if (open) {
        gap.end[1] = &infinity;
        gap.at[1] = HUGE_VAL;
        if (rest.count < PIECES_MAX)
            rest.at[rest.count++] = gap;
        else
            rest.unknown = true;
    }
    *pieces = rest;
}

static void unite(struct comparison *comparison, struct pieces *pieces, const struct pieces *more)
{
    pieces->unknown |= more->unknown || pieces->count + more->count > PIECES_MAX;
    if (pieces->unknown)
        return;
    memcpy(pieces->at + pieces->count, more->at, more->count * sizeof more->at[0]);
    pieces->count += more->count;
    normalise(comparison, pieces);
}

static void intersect(struct comparison *comparison, struct pieces *pieces, struct pieces *other)
{
    complement(pieces);
    complement(other);
    unite(comparison, pieces, other);
    complement(pieces);
}

/* ---- inequalities ---- */

static void take_name(struct pieces *pieces, const struct node *name)
{
    if (pieces->name != NULL && !math_tree_same(pieces->name, name))
        pieces->unknown = true;
    pieces->name = name;
}

/* |x| op c. */
static void absolute_pair(struct comparison *comparison, struct pieces *pieces, struct node *bound,
                          int operator, bool bound_is_low)
{
    struct node *negative = math_node_2(comparison->arena, NODE_NEGATE, bound, NULL);
    bool closed = operator== OPERATOR_LESS_EQUAL || operator== OPERATOR_EQUAL;
    if (negative == NULL) {
        pieces->unknown = true;
    } else if (operator== OPERATOR_EQUAL || operator== OPERATOR_NOT_EQUAL) {
        add_piece(comparison, pieces, bound, bound, true, true);
        add_piece(comparison, pieces, negative, negative, true, true);
        normalise(comparison, pieces);
    } else {
        add_piece(comparison, pieces, negative, bound, closed != bound_is_low,
                  closed != bound_is_low);
        if (bound_is_low)
            complement(pieces);
    }
}

/* left op right with op one of < <= = !=, one side the unknown and the other a number. */
static void pair_pieces(struct comparison *comparison, struct pieces *pieces, struct node *left,
                        struct node *right, int operator)
{
    bool bound_is_low = math_tree_is_constant(left);
    struct node *name = bound_is_low ? right : left, *bound = bound_is_low ? left : right;
    bool closed = operator== OPERATOR_LESS_EQUAL;
    bool absolute = name->kind == NODE_FUNCTION && name->function == FUNCTION_ABS;
    if (absolute)
        name = name->child[0];
    if (!math_tree_is_constant(bound) || !compare_is_name(name) || math_tree_is_constant(name)) {
        pieces->unknown = true;
        return;
    }
    take_name(pieces, name);
    if (absolute) {
        absolute_pair(comparison, pieces, bound, operator, bound_is_low);
    } else if (operator== OPERATOR_EQUAL || operator== OPERATOR_NOT_EQUAL) {
        add_piece(comparison, pieces, bound, bound, true, true);
    } else if (bound_is_low) {
        add_piece(comparison, pieces, bound, &infinity, closed, false);
    } else {
        add_piece(comparison, pieces, low_end, bound, false, closed);
    }
    if (operator== OPERATOR_NOT_EQUAL)
        complement(pieces);
}

static void whole_line(struct comparison *comparison, struct pieces *pieces)
{
    add_piece(comparison, pieces, low_end, &infinity, false, false);
}

static void relation_pieces(struct comparison *comparison, struct pieces *pieces,
                            const struct node *relation)
{
    whole_line(comparison, pieces);
    for (uint32_t i = 0; i + 1 < relation->count && !pieces->unknown; i++) {
        struct pieces pair = {.relations = true, .name = pieces->name};
        int operator= relation->operators[i];
        bool turned = operator== OPERATOR_GREATER || operator== OPERATOR_GREATER_EQUAL;
        if (operator> OPERATOR_GREATER_EQUAL) {
            pieces->unknown = true;
            return;
        }
        operator= turned ? operator- OPERATOR_GREATER + OPERATOR_LESS : operator;
        pair_pieces(comparison, &pair, relation->child[turned ? i + 1 : i],
                    relation->child[turned ? i : i + 1], operator);
        pieces->name = pair.name;
        intersect(comparison, pieces, &pair);
    }
}

/* ---- any set ---- */

static void pieces_of(struct comparison *comparison, struct node *tree, struct pieces *pieces);

/* x < 1 or x > 3 is a union; when that is the whole line, as for x > 1 and x < 3, both must hold. */
static void list_pieces(struct comparison *comparison, struct pieces *pieces,
                        const struct node *list)
{
    struct pieces both = {.relations = true};
    whole_line(comparison, &both);
    for (uint32_t i = 0; i < list->count && !pieces->unknown; i++) {
        struct pieces next = {.relations = true, .name = pieces->name};
        if (list->child[i]->kind != NODE_RELATION) {
            pieces->unknown = true;
            return;
        }
        relation_pieces(comparison, &next, list->child[i]);
        pieces->name = next.name;
        unite(comparison, pieces, &next);
        intersect(comparison, &both, &next);
    }
    if (pieces->count == 1 && isinf(pieces->at[0].at[0]) && isinf(pieces->at[0].at[1])) {
        pieces->at[0] = both.at[0];
        memcpy(pieces->at, both.at, sizeof both.at);
        pieces->count = both.count;
    }
}

static void operation_pieces(struct comparison *comparison, struct node *tree,
                             struct pieces *pieces)
{
    struct pieces other = {.relations = pieces->relations};
    if (++comparison->levels > 40) {
        comparison->levels--;
        pieces->unknown = true;
        return;
    }
    pieces_of(comparison, tree->child[0], pieces);
    pieces_of(comparison, tree->child[1], &other);
    comparison->levels--;
    pieces->unknown |= other.unknown;
    if (pieces->unknown)
        return;
    if (tree->kind == NODE_DIFFERENCE)
        complement(&other);
    if (tree->kind == NODE_UNION)
        unite(comparison, pieces, &other);
    else
        intersect(comparison, pieces, &other);
}

static void elements(struct comparison *comparison, const struct node *set, struct pieces *pieces)
{
    for (uint32_t i = 0; i < set->count && !pieces->unknown; i++) {
        struct node *element = set->child[i];
        bool two =
            math_tree_has(element, NODE_PLUS_MINUS) || math_tree_has(element, NODE_MINUS_PLUS);
        for (int sign = 1; sign >= (two ? -1 : 1); sign -= 2) {
            struct node *value = two ? math_tree_signed(comparison->arena, element, sign) : element;
            if (value == NULL)
                pieces->unknown = true;
            else
                add_piece(comparison, pieces, value, value, true, true);
        }
    }
    normalise(comparison, pieces);
}

static void pieces_of(struct comparison *comparison, struct node *tree, struct pieces *pieces)
{
    bool reals = tree->kind == NODE_VARIABLE && math_text_is(tree->text, tree->size, "mathbb R");
    if (tree->kind == NODE_BRACKET && tree->count == 2)
        add_piece(comparison, pieces, tree->child[0], tree->child[1], tree->open == '[',
                  tree->close == ']');
    else if (tree->kind == NODE_UNION || tree->kind == NODE_INTERSECTION ||
             tree->kind == NODE_DIFFERENCE)
        operation_pieces(comparison, tree, pieces);
    else if (tree->kind == NODE_SET)
        elements(comparison, tree, pieces);
    else if (reals)
        whole_line(comparison, pieces);
    else if (tree->kind == NODE_RELATION && tree->count == 2 && tree->operators[0] == OPERATOR_IN)
        pieces_of(comparison, tree->child[1], pieces);
    else if (tree->kind == NODE_RELATION && pieces->relations)
        relation_pieces(comparison, pieces, tree);
    else if (tree->kind == NODE_LIST && pieces->relations)
        list_pieces(comparison, pieces, tree);
    else if (tree->kind == NODE_BUILDER && tree->child[1]->kind == NODE_RELATION &&
             pieces->relations)
        relation_pieces(comparison, pieces, tree->child[1]);
    else if (tree->kind == NODE_BUILDER && tree->child[1]->kind == NODE_LIST && pieces->relations)
        list_pieces(comparison, pieces, tree->child[1]);
    else if (!(tree->kind == NODE_CONSTANT && math_text_is(tree->text, tree->size, "empty")))
        pieces->unknown = true;
}

bool compare_is_real_set(const struct node *tree)
{
    switch ((enum node_kind)tree->kind) {
    case NODE_BRACKET:
        return tree->count == 2;
    case NODE_UNION:
    case NODE_INTERSECTION:
    case NODE_DIFFERENCE:
    case NODE_BUILDER:
        return true;
    case NODE_CONSTANT:
        return math_text_is(tree->text, tree->size, "empty");
    case NODE_VARIABLE:
        return math_text_is(tree->text, tree->size, "mathbb R");
    default:
        return false;
    }
}

/* ---- unions whose ends are no numbers: piece by piece, in any order ---- */

struct flat {
    struct node *at[PIECES_MAX];
    uint32_t count;
};

static bool flatten(struct node *tree, struct flat *flat)
{
    if (tree->kind == NODE_UNION)
        return flatten(tree->child[0], flat) && flatten(tree->child[1], flat);
    if (flat->count == PIECES_MAX)
        return false;
    flat->at[flat->count++] = tree;
    return true;
}

static bool same_flat(struct comparison *comparison, struct node *gold, struct node *answer)
{
    struct flat a = {.count = 0}, b = {.count = 0};
    bool used[PIECES_MAX] = {false};
    if (!flatten(gold, &a) || !flatten(answer, &b) || a.count != b.count)
        return false;
    if (a.count == 1) { /* {x | ...}, A \ B */
        bool same = gold->kind == answer->kind && gold->count == answer->count;
        for (uint32_t i = 0; i < gold->count && same && gold->kind != NODE_BRACKET; i++)
            same = compare_trees(comparison, gold->child[i], answer->child[i]);
        return same && gold->kind != NODE_BRACKET && gold->count > 0;
    }
    for (uint32_t i = 0; i < a.count; i++) {
        bool any = false;
        for (uint32_t j = 0; j < b.count && !any; j++)
            if (!used[j] && compare_trees(comparison, a.at[i], b.at[j]))
                any = used[j] = true;
        if (!any)
            return false;
    }
    return true;
}

bool compare_real_sets(struct comparison *comparison, struct node *gold, struct node *answer)
{
    struct pieces a = {.relations = true},
                  b = {.relations = comparison->options->allow_set_relation_comp ||
                                    gold->kind == NODE_RELATION || gold->kind == NODE_LIST};
    if (gold->kind == NODE_BRACKET && answer->kind == NODE_BRACKET)
        return false; /* compared before, part by part */
    pieces_of(comparison, gold, &a);
    pieces_of(comparison, answer, &b);
    if (a.unknown || b.unknown)
        return same_flat(comparison, gold, answer);
    if (a.count != b.count)
        return false;
    for (uint32_t i = 0; i < a.count; i++)
        for (int end = 0; end < 2; end++)
            if (order(comparison, &a.at[i], end, &b.at[i], end) != 0 ||
                a.at[i].closed[end] != b.at[i].closed[end])
                return false;
    return true;
}
