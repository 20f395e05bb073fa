/* Making, copying and looking at trees. */
#include "reward/math/tree.h"

#include <string.h>

struct node *math_node(struct arena *arena, enum node_kind kind, uint32_t count)
{
    struct node *node = arena_alloc(arena, sizeof *node);
    if (node == NULL)
        return NULL;
    node->kind = (uint8_t)kind;
    node->count = count;
    if (count > 0) {
        node->child = arena_array(arena, count, sizeof *node->child);
        if (node->child == NULL)
            return NULL;
    }
    return node;
}

struct node *math_node_2(struct arena *arena, enum node_kind kind, struct node *first,
                         struct node *second)
{
    struct node *node = math_node(arena, kind, second != NULL ? 2 : 1);
    if (node == NULL || first == NULL)
        return NULL;
    node->child[0] = first;
    if (second != NULL)
        node->child[1] = second;
    return node;
}

bool math_tree_same(const struct node *a, const struct node *b)
{
    if (a == b)
        return true;
    if (a->kind != b->kind || a->function != b->function || a->count != b->count ||
        a->open != b->open || a->close != b->close || a->rows != b->rows || a->size != b->size ||
        (a->size > 0 && memcmp(a->text, b->text, a->size) != 0))
        return false;
    if (a->operators != NULL && memcmp(a->operators, b->operators, a->count - 1) != 0)
        return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (!math_tree_same(a->child[i], b->child[i]))
            return false;
    return true;
}

bool math_tree_has(const struct node *tree, enum node_kind kind)
{
    if (tree->kind == (uint8_t)kind)
        return true;
    for (uint32_t i = 0; i < tree->count; i++)
        if (math_tree_has(tree->child[i], kind))
            return true;
    return false;
}

bool math_tree_has_function(const struct node *tree, enum math_function function)
{
    if (tree->kind == NODE_FUNCTION && tree->function == (uint8_t)function)
        return true;
    for (uint32_t i = 0; i < tree->count; i++)
        if (math_tree_has_function(tree->child[i], function))
            return true;
    return false;
}

bool math_tree_is_constant(const struct node *tree)
{
    return !math_tree_has(tree, NODE_VARIABLE) && !math_tree_has(tree, NODE_CALL) &&
           !math_tree_has(tree, NODE_TEXT);
}

struct node *math_tree_signed(struct arena *arena, struct node *tree, int sign)
{
    if (tree->count == 0)
        return tree;
    struct node *copy = arena_copy(arena, tree, sizeof *tree);
    if (copy == NULL)
        return NULL;
    copy->child = arena_array(arena, tree->count, sizeof *copy->child);
    if (copy->child == NULL)
        return NULL;
    for (uint32_t i = 0; i < tree->count; i++) {
        copy->child[i] = math_tree_signed(arena, tree->child[i], sign);
        if (copy->child[i] == NULL)
            return NULL;
    }
    bool minus =
        (tree->kind == NODE_PLUS_MINUS && sign < 0) || (tree->kind == NODE_MINUS_PLUS && sign > 0);
    if (tree->kind == NODE_PLUS_MINUS || tree->kind == NODE_MINUS_PLUS) {
        if (!minus)
            return copy->child[0];
        copy->kind = NODE_NEGATE;
    }
    return copy;
}
