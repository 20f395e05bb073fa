/* The dispatch on structure: collections, relations, sets, matrices, ratios, numbers to a base, expressions. */
#include "reward/math/compare.h"

#include <string.h>

enum { LEVELS_MAX = 24, ITEMS_MAX = 64 };

/* ---- names ---- */

bool compare_is_name(const struct node *tree)
{
    switch ((enum node_kind)tree->kind) {
    case NODE_VARIABLE:
    case NODE_TEXT:
        return true;
    case NODE_CONSTANT: /* e and i as names of unknowns, in i = 5 */
        return tree->size == 1;
    case NODE_CALL:
        return true;
    case NODE_FUNCTION:
        return (tree->function == FUNCTION_ABS || tree->function >= FUNCTION_RE) &&
               !math_tree_is_constant(tree);
    case NODE_MULTIPLY: /* AB, a product of capitals or f x */
    case NODE_BRACKET:
    case NODE_RATIO:
    case NODE_DIVIDE:
        for (uint32_t i = 0; i < tree->count; i++)
            if (!compare_is_name(tree->child[i]))
                return false;
        return true;
    default:
        return false;
    }
}

bool compare_is_equation(const struct node *tree)
{
    if (tree->kind != NODE_RELATION)
        return false;
    for (uint32_t i = 0; i + 1 < tree->count; i++)
        if (tree->operators[i] != OPERATOR_EQUAL && tree->operators[i] != OPERATOR_APPROX)
            return false;
    return true;
}

/* x = 1/3 \approx 0.33 is x = 1/3; x \approx 11 and a lone 1/3 \approx 0.33 keep their only equation. */
static uint32_t sides_before_approximation(const struct node *equation)
{
    for (uint32_t i = 0; i + 1 < equation->count; i++)
        if (equation->operators[i] == OPERATOR_APPROX)
            return i > 0 || !compare_is_name(equation->child[0]) ? i + 1 : equation->count;
    return equation->count;
}

struct node *compare_solved_side(const struct node *equation)
{
    uint32_t count = sides_before_approximation(equation);
    struct node *last = equation->child[count - 1];
    if (count == 2 && compare_is_name(last) && math_tree_is_constant(equation->child[0]))
        return equation->child[0]; /* 5 = x */
    return last;
}

/* x = 5, f(x) = x, AB = 4; not AB = BA. */
static bool is_assignment(const struct node *equation)
{
    const struct node *name = equation->child[0], *value = equation->child[1];
    if (compare_is_name(value) && math_tree_is_constant(name))
        return true; /* 5 = x */
    return compare_is_name(name) && !(name->kind == NODE_MULTIPLY && compare_is_name(value));
}

/* ---- rewriting ---- */

/* x \in S is S; {x | ...} is its condition for a gold. */
static struct node *simplified(struct node *tree)
{
    if (tree->kind == NODE_RELATION && tree->count == 2 && tree->operators[0] == OPERATOR_IN)
        return tree->child[1];
    return tree;
}

struct items {
    struct node *at[ITEMS_MAX];
    uint32_t count;
    bool too_many;
};

static void add_item(struct comparison *comparison, struct items *items, struct node *tree)
{
    bool two = math_tree_has(tree, NODE_PLUS_MINUS) || math_tree_has(tree, NODE_MINUS_PLUS);
    for (int sign = 1; sign >= (two ? -1 : 1); sign -= 2) {
        struct node *item = two ? math_tree_signed(comparison->arena, tree, sign) : tree;
        if (item == NULL || items->count == ITEMS_MAX)
            items->too_many = true;
        else
            items->at[items->count++] = item;
    }
}

/* k \in \mathbb{Z} beside x = 2k\pi says what k is. */
static bool is_range_of_index(const struct node *list, const struct node *item)
{
    return list->count > 1 && item->kind == NODE_RELATION && item->count == 2 &&
           item->operators[0] == OPERATOR_IN && item->child[1]->kind == NODE_VARIABLE &&
           item->child[1]->size > 6 && memcmp(item->child[1]->text, "mathbb", 6) == 0;
}

/* The elements of a list or set, or the tree itself; \pm gives two. */
static void collect(struct comparison *comparison, struct node *tree, struct items *items)
{
    items->count = 0;
    items->too_many = false;
    if (tree->kind != NODE_LIST && tree->kind != NODE_SET) {
        add_item(comparison, items, tree);
        return;
    }
    for (uint32_t i = 0; i < tree->count && !items->too_many; i++) {
        if (i > 0 && is_range_of_index(tree, tree->child[i]))
            continue;
        struct node *child = simplified(tree->child[i]);
        if (child->kind == NODE_SET && tree->kind == NODE_SET && tree->count == 1) /* {{1, 2}} */
            collect(comparison, child, items);
        else
            add_item(comparison, items, child);
    }
}

static bool is_collection(const struct node *tree)
{
    return tree->kind == NODE_LIST || tree->kind == NODE_SET ||
           math_tree_has(tree, NODE_PLUS_MINUS) || math_tree_has(tree, NODE_MINUS_PLUS);
}

/* ---- collections ---- */

static bool same_in_order(struct comparison *comparison, struct node *const *gold,
                          struct node *const *answer, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (!compare_trees(comparison, gold[i], answer[i]))
            return false;
    return true;
}

/* Every element of one has its equal in the other, both ways. */
static bool same_as_sets(struct comparison *comparison, const struct items *gold,
                         const struct items *answer)
{
    bool found[ITEMS_MAX] = {false};
    for (uint32_t i = 0; i < answer->count; i++) {
        bool any = false;
        for (uint32_t step = 0; step < gold->count && !comparison->evaluation.over; step++) {
            uint32_t j = (i + step) % gold->count; /* the same place first */
            if (found[j] && any)
                continue;
            if (compare_trees(comparison, gold->at[j], answer->at[i])) {
                any = true;
                found[j] = true;
            }
        }
        if (!any)
            return false;
    }
    for (uint32_t j = 0; j < gold->count; j++)
        if (!found[j])
            return false;
    return answer->count > 0;
}

/* x_1 and x_2 are two of the same. */
static bool same_family(const struct node *a, const struct node *b)
{
    const char *mark = a->kind == NODE_VARIABLE ? memchr(a->text, '_', a->size) : NULL;
    size_t size = mark != NULL ? (size_t)(mark - a->text) + 1 : 0;
    return size > 0 && b->kind == NODE_VARIABLE && b->size >= size &&
           memcmp(a->text, b->text, size) == 0;
}

/* x = 1, y = 2: different names, so that their order or their names matter. */
static bool are_assignments(const struct items *items)
{
    for (uint32_t i = 0; i < items->count; i++) {
        if (!compare_is_equation(items->at[i]) || !compare_is_name(items->at[i]->child[0]))
            return false;
        for (uint32_t j = 0; j < i; j++)
            if (math_tree_same(items->at[i]->child[0], items->at[j]->child[0]) ||
                same_family(items->at[i]->child[0], items->at[j]->child[0]))
                return false;
    }
    return items->count > 1;
}

static bool none_is_relation(const struct items *items)
{
    for (uint32_t i = 0; i < items->count; i++)
        if (items->at[i]->kind == NODE_RELATION)
            return false;
    return true;
}

/* A tuple against a list without brackets. */
static bool same_tuple(struct comparison *comparison, struct node *gold, struct node *answer)
{
    struct node *list = gold->kind == NODE_BRACKET ? answer : gold;
    struct items items;
    if (list->kind != NODE_LIST || gold->count != answer->count)
        return false;
    collect(comparison, list, &items);
    bool bare = gold->kind == NODE_BRACKET ? comparison->options->tuple_without_brackets
                                           : !comparison->options->strict;
    if (!bare && !are_assignments(&items))
        return false;
    return same_in_order(comparison, gold->child, answer->child, gold->count);
}

static bool same_collections(struct comparison *comparison, struct node *gold, struct node *answer)
{
    struct items a, b;
    if (comparison->options->tuple_without_brackets && gold->kind == NODE_BRACKET &&
        answer->kind == NODE_SET && gold->count == answer->count)
        return same_in_order(comparison, gold->child, answer->child, gold->count);
    if ((gold->kind == NODE_BRACKET) != (answer->kind == NODE_BRACKET) && gold->kind != NODE_SET &&
        answer->kind != NODE_SET && gold->count > 1 && answer->count > 1 &&
        (gold->kind == NODE_LIST || answer->kind == NODE_LIST))
        return same_tuple(comparison, gold, answer);
    collect(comparison, gold, &a);
    collect(comparison, answer, &b);
    if (a.too_many || b.too_many)
        return math_tree_same(gold, answer);
    if (a.count == 1 && b.count == 1 && a.at[0] == gold && b.at[0] == answer)
        return false; /* nothing was taken apart */
    if (are_assignments(&a) && none_is_relation(&b) && gold->kind == NODE_LIST)
        return a.count == b.count && same_in_order(comparison, a.at, b.at, a.count);
    return same_as_sets(comparison, &a, &b);
}

/* ---- other structures ---- */

static bool same_brackets(struct comparison *comparison, const struct node *gold,
                          const struct node *answer)
{
    if (gold->count != answer->count)
        return false;
    if (gold->count == 2 && (gold->open != answer->open || gold->close != answer->close))
        return false;
    return same_in_order(comparison, gold->child, answer->child, gold->count);
}

/* a : b and c : d in proportion; with a zero, part by part. */
static bool same_ratios(struct comparison *comparison, const struct node *gold,
                        const struct node *answer)
{
    struct node zero = {.kind = NODE_NUMBER, .text = "0", .size = 1};
    bool with_zero = false;
    if (gold->count != answer->count)
        return false;
    for (uint32_t i = 0; i < gold->count; i++)
        with_zero |= compare_scalars(comparison, gold->child[i], &zero) ||
                     compare_scalars(comparison, answer->child[i], &zero);
    if (with_zero)
        return same_in_order(comparison, gold->child, answer->child, gold->count);
    for (uint32_t i = 1; i < gold->count; i++) {
        struct node *a =
            math_node_2(comparison->arena, NODE_MULTIPLY, gold->child[0], answer->child[i]);
        struct node *b =
            math_node_2(comparison->arena, NODE_MULTIPLY, gold->child[i], answer->child[0]);
        if (a == NULL || b == NULL || !compare_scalars(comparison, a, b))
            return false;
    }
    return true;
}

static struct node *ratio_as_fraction(struct comparison *comparison, struct node *tree)
{
    if (tree->kind != NODE_RATIO || tree->count != 2)
        return tree;
    struct node *fraction =
        math_node_2(comparison->arena, NODE_DIVIDE, tree->child[0], tree->child[1]);
    return fraction != NULL ? fraction : tree;
}

/* Numbers to a base agree in the base too; base ten may be left out. */
static bool same_bases(struct comparison *comparison, const struct node *gold,
                       const struct node *answer)
{
    struct node ten = {.kind = NODE_NUMBER, .text = "10", .size = 2};
    const struct node *base = gold->kind == NODE_BASE ? gold->child[0] : &ten;
    const struct node *base_answer = answer->kind == NODE_BASE ? answer->child[0] : &ten;
    return compare_scalars(comparison, base, base_answer) &&
           compare_scalars(comparison, gold, answer);
}

static bool has_matrix(const struct node *tree)
{
    return tree->kind == NODE_MATRIX ||
           ((tree->kind == NODE_ADD || tree->kind == NODE_MULTIPLY || tree->kind == NODE_NEGATE ||
             tree->kind == NODE_DIVIDE || tree->kind == NODE_POWER) &&
            math_tree_has(tree, NODE_MATRIX) && !math_tree_has_function(tree, FUNCTION_DET));
}

static bool is_scalar(const struct node *tree)
{
    return tree->kind <= NODE_DEGREE;
}

static bool same_percent(struct comparison *comparison, const struct node *gold,
                         const struct node *answer)
{
    return comparison->options->percent_lenient && gold->kind != NODE_PERCENT &&
           answer->kind == NODE_PERCENT && compare_scalars(comparison, gold, answer->child[0]);
}

/* Relations on one side or both. */
static bool same_with_relation(struct comparison *comparison, struct node *gold,
                               struct node *answer)
{
    if (gold->kind == NODE_RELATION && answer->kind == NODE_RELATION)
        return compare_relations(comparison, gold, answer);
    if (answer->kind == NODE_RELATION && compare_is_equation(answer))
        return compare_trees(comparison, gold, compare_solved_side(answer));
    if (answer->kind == NODE_RELATION)
        return comparison->options->allow_set_relation_comp && compare_is_real_set(gold) &&
               compare_real_sets(comparison, gold, answer);
    if (compare_is_equation(gold))
        return (is_assignment(gold) || sides_before_approximation(gold) > 2) &&
               compare_trees(comparison, compare_solved_side(gold), answer);
    return compare_is_real_set(answer) && compare_real_sets(comparison, gold, answer);
}

static bool same_structures(struct comparison *comparison, struct node *gold, struct node *answer)
{
    if (is_collection(gold) || is_collection(answer)) {
        if (same_collections(comparison, gold, answer))
            return true;
        if (gold->kind == NODE_SET && gold->count == 1 && answer->kind != NODE_LIST &&
            !is_collection(answer))
            return compare_trees(comparison, gold->child[0], answer);
        bool sets = compare_is_real_set(gold) || compare_is_real_set(answer);
        return sets && (answer->kind != NODE_LIST || compare_is_real_set(gold)) &&
               compare_real_sets(comparison, gold, answer);
    }
    if (gold->kind == NODE_RELATION || answer->kind == NODE_RELATION)
        return same_with_relation(comparison, gold, answer);
    if (has_matrix(gold) || has_matrix(answer))
        return compare_matrices(comparison, gold, answer);
    if (gold->kind == NODE_BRACKET && answer->kind == NODE_BRACKET &&
        same_brackets(comparison, gold, answer))
        return true;
    if (compare_is_real_set(gold) || compare_is_real_set(answer))
        return compare_real_sets(comparison, gold, answer);
    if (gold->kind == NODE_RATIO && answer->kind == NODE_RATIO)
        return same_ratios(comparison, gold, answer);
    gold = ratio_as_fraction(comparison, gold);
    answer = ratio_as_fraction(comparison, answer);
    if (gold->kind == NODE_BASE || answer->kind == NODE_BASE)
        return same_bases(comparison, gold, answer);
    if (!is_scalar(gold) || !is_scalar(answer))
        return math_tree_same(gold, answer);
    return compare_scalars(comparison, gold, answer) || same_percent(comparison, gold, answer);
}

bool compare_trees(struct comparison *comparison, struct node *gold, struct node *answer)
{
    gold = simplified(gold);
    answer = simplified(answer);
    if (math_tree_same(gold, answer))
        return true;
    if (comparison->evaluation.over || comparison->levels >= LEVELS_MAX)
        return false;
    comparison->levels++;
    bool same = same_structures(comparison, gold, answer);
    comparison->levels--;
    return same;
}
