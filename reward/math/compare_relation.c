/* Equations, inequalities and chains of them. */
#include "reward/math/compare.h"

#include <string.h>

enum { PAIRS_MAX = 12, VARIABLES_MAX = 8 };

struct pair { /* left op right; > and >= are turned round */
    struct node *side[2];
    int operator;
};

static uint32_t pairs_of(const struct node *relation, struct pair pairs[PAIRS_MAX])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i + 1 < relation->count && count < PAIRS_MAX; i++) {
        int operator= relation->operators[i];
        bool turned = operator== OPERATOR_GREATER || operator== OPERATOR_GREATER_EQUAL;
        struct pair *pair = &pairs[count++];
        pair->side[0] = relation->child[turned ? i + 1 : i];
        pair->side[1] = relation->child[turned ? i : i + 1];
        pair->operator= operator== OPERATOR_GREATER ? OPERATOR_LESS :
        operator== OPERATOR_GREATER_EQUAL           ? OPERATOR_LESS_EQUAL
        :
        operator== OPERATOR_APPROX ? OPERATOR_EQUAL
                                   :
                                   operator;
    }
    return count;
}

static bool same_pair(struct comparison *comparison, const struct pair *gold,
                      const struct pair *answer)
{
    if (gold->operator!= answer->operator)
        return false;
    if (compare_trees(comparison, gold->side[0], answer->side[0]) &&
        compare_trees(comparison, gold->side[1], answer->side[1]))
        return true;
    if (gold->operator== OPERATOR_OTHER || gold->operator== OPERATOR_IN)
        return false;
    for (int i = 0; i < 2; i++)
        if (gold->side[i]->kind > NODE_DEGREE || answer->side[i]->kind > NODE_DEGREE)
            return false;
    int sign = gold->operator== OPERATOR_LESS || gold->operator== OPERATOR_LESS_EQUAL ? 1 : 0;
    /* A gold x > 5 is solved: 2x > 10 may be the question. */
    bool solved = false;
    for (int i = 0; i < 2; i++)
        solved |= compare_is_name(gold->side[i]) && math_tree_is_constant(gold->side[1 - i]);
    return compare_proportion(comparison, gold->side, answer->side, sign, solved);
}

static bool same_chains(struct comparison *comparison, const struct node *gold,
                        const struct node *answer)
{
    struct pair a[PAIRS_MAX], b[PAIRS_MAX];
    bool found[PAIRS_MAX] = {false};
    if (gold->count != answer->count || gold->count > PAIRS_MAX)
        return false;
    uint32_t count = pairs_of(gold, a);
    pairs_of(answer, b);
    for (uint32_t i = 0; i < count; i++) {
        bool any = false;
        for (uint32_t j = 0; j < count && !any; j++)
            if (!found[j] && same_pair(comparison, &a[i], &b[j]))
                any = found[j] = true;
        if (!any)
            return false;
    }
    return true;
}

/* ---- f(x) = ... against f(t) = ... ---- */

struct variables {
    const struct node *at[VARIABLES_MAX];
    uint32_t count;
};

static void variables_of(const struct node *tree, struct variables *variables)
{
    if (tree->kind == NODE_VARIABLE) {
        for (uint32_t i = 0; i < variables->count; i++)
            if (math_tree_same(variables->at[i], tree))
                return;
        if (variables->count < VARIABLES_MAX)
            variables->at[variables->count++] = tree;
    }
    for (uint32_t i = 0; i < tree->count; i++)
        variables_of(tree->child[i], variables);
}

/* The right sides with the variables of the answer's head read as those of the gold's. */
static bool same_definitions(struct comparison *comparison, struct node *const gold[2],
                             struct node *const answer[2])
{
    struct evaluation *evaluation = &comparison->evaluation;
    struct variables a = {.count = 0}, b = {.count = 0};
    variables_of(gold[0], &a);
    variables_of(answer[0], &b);
    if (a.count != b.count || a.count == 0 || evaluation->alias_count > 0)
        return false;
    /* Renaming x to t must not meet a t that is already there. */
    for (uint32_t i = 0; i < a.count; i++) {
        struct variables body = {.count = 0};
        variables_of(answer[1], &body);
        bool own = false;
        for (uint32_t j = 0; j < b.count; j++)
            own |= math_tree_same(b.at[j], a.at[i]);
        for (uint32_t j = 0; j < body.count && !own; j++)
            if (math_tree_same(body.at[j], a.at[i]))
                return false;
    }
    struct value x, y;
    bool same = true;
    value_init(&x);
    value_init(&y);
    evaluation->precision = 192;
    for (uint32_t point = 0; point < 4 && same && !evaluation->over; point++) {
        evaluation->point = point;
        math_evaluate(evaluation, gold[1], &x);
        evaluation->alias_from = b.at;
        evaluation->alias_to = a.at;
        evaluation->alias_count = b.count;
        math_evaluate(evaluation, answer[1], &y);
        evaluation->alias_count = 0;
        value_negate(&y);
        value_add(&x, &x, &y, evaluation->precision);
        value_to_ball(&x, evaluation->precision);
        same = x.kind == VALUE_BALL && acb_contains_zero(x.ball) && value_is_below(&x, -60);
    }
    evaluation->point = 0;
    value_clear(&x);
    value_clear(&y);
    return same;
}

/* ---- equations ---- */

/* The two sides that count: of a chain the first and the last exact one. */
static bool sides_of(struct node *equation, struct node *sides[2])
{
    struct node *solved = compare_solved_side(equation);
    sides[0] = solved == equation->child[0] ? equation->child[1] : equation->child[0];
    sides[1] = solved;
    return compare_is_name(sides[0]) && !compare_is_name(sides[1]);
}

static bool is_scalar_pair(struct node *const sides[2])
{
    return sides[0]->kind <= NODE_DEGREE && sides[1]->kind <= NODE_DEGREE;
}

static bool same_equations(struct comparison *comparison, struct node *gold, struct node *answer)
{
    struct node *a[2], *b[2];
    bool solved = sides_of(gold, a), solved_answer = sides_of(answer, b);
    if (compare_trees(comparison, a[0], b[0]) && compare_trees(comparison, a[1], b[1]))
        return true;
    if (compare_trees(comparison, a[0], b[1]) && compare_trees(comparison, a[1], b[0]))
        return true;
    if (a[0]->kind == NODE_CALL && b[0]->kind == NODE_CALL && a[0]->size == b[0]->size &&
        memcmp(a[0]->text, b[0]->text, a[0]->size) == 0 && same_definitions(comparison, a, b))
        return true;
    if (!is_scalar_pair(a) || !is_scalar_pair(b))
        return false;
    /* A gold x = 5 is no equation to be transformed: 2x = 10 may be the question. */
    if (solved && math_tree_is_constant(a[1]) && !solved_answer)
        return false;
    return compare_proportion(comparison, a, b, 0, false);
}

bool compare_relations(struct comparison *comparison, struct node *gold, struct node *answer)
{
    if (compare_is_equation(gold) && compare_is_equation(answer))
        return same_equations(comparison, gold, answer);
    return same_chains(comparison, gold, answer);
}
