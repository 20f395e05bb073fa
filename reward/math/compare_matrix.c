/* Matrices: sums, products and multiples are worked out as trees, then shape and entries are compared. */
#include "reward/math/compare.h"

#include <string.h>

enum { CELLS_MAX = 256, POWER_MAX = 8 };

static struct node *new_matrix(struct comparison *comparison, uint32_t rows, uint32_t columns)
{
    if (rows == 0 || columns == 0 || rows > CELLS_MAX || columns > CELLS_MAX ||
        rows * columns > CELLS_MAX)
        return NULL;
    struct node *matrix = math_node(comparison->arena, NODE_MATRIX, rows * columns);
    if (matrix != NULL) {
        matrix->rows = rows;
        matrix->columns = columns;
    }
    return matrix;
}

/* Each entry combined with `other`: a matrix of the same shape, or one scalar. */
static struct node *each_entry(struct comparison *comparison, struct node *matrix,
                               enum node_kind kind, struct node *other)
{
    bool shaped = other != NULL && other->kind == NODE_MATRIX;
    if (shaped && (other->rows != matrix->rows || other->columns != matrix->columns))
        return NULL;
    struct node *result = new_matrix(comparison, matrix->rows, matrix->columns);
    for (uint32_t i = 0; result != NULL && i < result->count; i++) {
        result->child[i] = math_node_2(comparison->arena, kind, matrix->child[i],
                                       shaped ? other->child[i] : other);
        if (result->child[i] == NULL)
            return NULL;
    }
    return result;
}

static struct node *product(struct comparison *comparison, struct node *a, struct node *b)
{
    if (a->columns != b->rows || a->columns > 16)
        return NULL;
    struct node *result = new_matrix(comparison, a->rows, b->columns);
    for (uint32_t i = 0; result != NULL && i < result->count; i++) {
        uint32_t row = i / b->columns, column = i % b->columns;
        struct node *sum = math_node(comparison->arena, NODE_ADD, a->columns);
        for (uint32_t k = 0; sum != NULL && k < a->columns; k++) {
            sum->child[k] =
                math_node_2(comparison->arena, NODE_MULTIPLY, a->child[row * a->columns + k],
                            b->child[k * b->columns + column]);
            if (sum->child[k] == NULL)
                return NULL;
        }
        if (sum == NULL)
            return NULL;
        result->child[i] = sum;
    }
    return result;
}

static struct node *folded(struct comparison *comparison, struct node *tree)
{
    struct node *result = NULL;
    for (uint32_t i = 0; i < tree->count; i++) {
        struct node *next = compare_matrix_of(comparison, tree->child[i]);
        if (next == NULL)
            next = tree->child[i];
        if (result == NULL)
            result = next;
        else if (tree->kind == NODE_ADD)
            result = result->kind == NODE_MATRIX && next->kind == NODE_MATRIX
                         ? each_entry(comparison, result, NODE_ADD, next)
                         : NULL;
        else if (result->kind == NODE_MATRIX)
            result = next->kind == NODE_MATRIX
                         ? product(comparison, result, next)
                         : each_entry(comparison, result, NODE_MULTIPLY, next);
        else
            result = next->kind == NODE_MATRIX
                         ? each_entry(comparison, next, NODE_MULTIPLY, result)
                         : math_node_2(comparison->arena, NODE_MULTIPLY, result, next);
        if (result == NULL)
            return NULL;
    }
    return result;
}

static struct node *power(struct comparison *comparison, struct node *tree)
{
    struct node *base = compare_matrix_of(comparison, tree->child[0]), *result = base;
    const struct node *exponent = tree->child[1];
    if (base == NULL || exponent->kind != NODE_NUMBER || exponent->size != 1 ||
        exponent->text[0] < '1' || exponent->text[0] > '0' + POWER_MAX)
        return NULL;
    for (int i = 1; i < exponent->text[0] - '0' && result != NULL; i++)
        result = product(comparison, result, base);
    return result;
}

struct node *compare_matrix_of(struct comparison *comparison, struct node *tree)
{
    struct node *inner, *result = NULL;
    if (++comparison->levels > 32) {
        comparison->levels--;
        return NULL;
    }
    switch ((enum node_kind)tree->kind) {
    case NODE_MATRIX:
        result = tree;
        break;
    case NODE_ADD:
    case NODE_MULTIPLY:
        result = folded(comparison, tree);
        break;
    case NODE_NEGATE:
        inner = compare_matrix_of(comparison, tree->child[0]);
        result = inner != NULL ? each_entry(comparison, inner, NODE_NEGATE, NULL) : NULL;
        break;
    case NODE_DIVIDE:
        inner = compare_matrix_of(comparison, tree->child[0]);
        result = inner != NULL ? each_entry(comparison, inner, NODE_DIVIDE, tree->child[1]) : NULL;
        break;
    case NODE_POWER:
        result = power(comparison, tree);
        break;
    default:
        break;
    }
    comparison->levels--;
    return result != NULL && result->kind == NODE_MATRIX ? result : NULL;
}

bool compare_matrices(struct comparison *comparison, struct node *gold, struct node *answer)
{
    gold = compare_matrix_of(comparison, gold);
    answer = compare_matrix_of(comparison, answer);
    if (gold == NULL || answer == NULL || gold->rows != answer->rows ||
        gold->columns != answer->columns)
        return false;
    for (uint32_t i = 0; i < gold->count; i++)
        if (!compare_trees(comparison, gold->child[i], answer->child[i]))
            return false;
    return true;
}
