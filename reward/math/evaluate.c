/* From a tree to its value at one point. */
#include <string.h>
#include <sys/resource.h>

#include "core/clock.h"
#include "reward/math/value.h"

enum { LEVELS_MAX = MATH_DEPTH_MAX * 4, COMBINE_MAX = 16 };

static int64_t thread_cpu_ns(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_THREAD, &usage) != 0)
        return INT64_MAX; /* then the wall clock alone counts */
    return (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * CLOCK_NS_PER_S +
           (int64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

void evaluation_start(struct evaluation *evaluation, const struct math_time *time)
{
    evaluation->cpu_begin_ns = thread_cpu_ns();
    evaluation->cpu_ns = time->cpu_ns;
    evaluation->check_ns = clock_now_ns() + time->cpu_ns;
    evaluation->deadline_ns = time->deadline_ns;
}

/* On a busy machine the clock runs on while this thread waits: what it used itself decides, up to the deadline. */
static bool has_time(struct evaluation *evaluation)
{
    int64_t now_ns = clock_now_ns();
    if (now_ns <= evaluation->check_ns)
        return true;
    int64_t left_ns = evaluation->cpu_ns - (thread_cpu_ns() - evaluation->cpu_begin_ns);
    evaluation->check_ns = now_ns + left_ns;
    return left_ns > 0 && now_ns < evaluation->deadline_ns;
}

static bool may_go_on(struct evaluation *evaluation)
{
    evaluation->work++;
    if (evaluation->work > VALUE_WORK_MAX || (evaluation->work % 64 == 0 && !has_time(evaluation)))
        evaluation->over = true;
    return !evaluation->over;
}

/* A variable's value: (0.3, 2.7) in steps of 2^-30, fixed by its name and the point; wide: four times that, of both signs. */
static void variable_value(const struct evaluation *evaluation, const char *name, size_t size,
                           struct value *value)
{
    for (uint32_t i = 0; i < evaluation->alias_count; i++)
        if (evaluation->alias_from[i]->size == size &&
            memcmp(evaluation->alias_from[i]->text, name, size) == 0) {
            name = evaluation->alias_to[i]->text;
            size = evaluation->alias_to[i]->size;
            break;
        }
    uint64_t hash = value_hash(name, size, UINT64_C(0x5eed) + evaluation->point);
    slong step = (slong)(0.3 * (1 << 30)) + (slong)(hash % (uint64_t)(2.4 * (1 << 30)));
    if (evaluation->wide)
        step *= (hash >> 40) % 2 == 1 ? -4 : 4;
    arb_set_si(acb_realref(value->ball), step);
    arb_mul_2exp_si(acb_realref(value->ball), acb_realref(value->ball), -30);
    arb_zero(acb_imagref(value->ball));
    value->kind = VALUE_BALL;
}

/* True when the name is an index of a sum around it. */
static bool bound_value(const struct evaluation *evaluation, const struct node *tree,
                        struct value *value)
{
    for (uint32_t i = evaluation->bound_count; i > 0; i--) {
        const struct bound_index *bound = &evaluation->bound[i - 1];
        if (bound->name->size != tree->size ||
            memcmp(bound->name->text, tree->text, tree->size) != 0)
            continue;
        char name[2] = {'\1', (char)('0' + i)}; /* no text has this name */
        if (bound->open)
            variable_value(evaluation, name, sizeof name, value);
        else
            value_set_integer(value, bound->at);
        return true;
    }
    return false;
}

static void constant_value(const struct evaluation *evaluation, const struct node *tree,
                           struct value *value)
{
    value->kind = VALUE_BALL;
    acb_zero(value->ball);
    if (math_text_is(tree->text, tree->size, "pi")) {
        arb_const_pi(acb_realref(value->ball), evaluation->precision);
    } else if (math_text_is(tree->text, tree->size, "e")) {
        arb_const_e(acb_realref(value->ball), evaluation->precision);
    } else if (math_text_is(tree->text, tree->size, "i")) {
        arb_one(acb_imagref(value->ball));
    } else if (math_text_is(tree->text, tree->size, "inf")) {
        value->kind = VALUE_INFINITE;
        value->sign = 1;
    } else {
        variable_value(evaluation, tree->text, tree->size, value);
    }
}

/* The digits of tree->text to the base of its child. */
static void base_value(struct evaluation *evaluation, const struct node *tree, struct value *value)
{
    math_evaluate(evaluation, tree->child[0], value);
    slong base = 0;
    if (value->kind == VALUE_EXACT && fmpz_is_one(fmpq_denref(value->exact)) &&
        fmpz_cmp_si(fmpq_numref(value->exact), 36) <= 0)
        base = fmpz_get_si(fmpq_numref(value->exact));
    fmpz_t sum;
    fmpz_init(sum);
    for (size_t i = 0; i < tree->size && base != 0; i++) {
        slong digit = tree->text[i] - '0';
        if (base < 2 || digit < 0 || digit >= base) {
            base = 0;
            break;
        }
        fmpz_mul_si(sum, sum, base);
        fmpz_add_si(sum, sum, digit);
    }
    fmpq_set_fmpz(value->exact, sum);
    fmpz_clear(sum);
    value->kind = base != 0 ? VALUE_EXACT : VALUE_NONE;
}

static void fold(struct evaluation *evaluation, const struct node *tree, struct value *value)
{
    struct value next;
    value_init(&next);
    math_evaluate(evaluation, tree->child[0], value);
    for (uint32_t i = 1; i < tree->count && !evaluation->over && value->kind != VALUE_NONE; i++) {
        math_evaluate(evaluation, tree->child[i], &next);
        if (tree->kind == NODE_ADD)
            value_add(value, value, &next, evaluation->precision);
        else
            value_multiply(value, value, &next, evaluation->precision);
    }
    value_clear(&next);
}

static void two(struct evaluation *evaluation, const struct node *tree, struct value *value)
{
    struct value a, b;
    value_init(&a);
    value_init(&b);
    math_evaluate(evaluation, tree->child[0], &a);
    math_evaluate(evaluation, tree->child[1], &b);
    if (tree->kind == NODE_DIVIDE)
        value_divide(value, &a, &b, evaluation->precision);
    else if (tree->kind == NODE_POWER)
        value_power(value, &a, &b, evaluation->precision);
    else if (tree->kind == NODE_ROOT)
        value_root(value, &a, &b, evaluation->precision);
    else
        value_binomial(value, &a, &b, evaluation->precision);
    value_clear(&a);
    value_clear(&b);
}

/* A number that depends on every child in its place, and on the name. symmetric: in any place. */
static void mixed_value(struct evaluation *evaluation, const struct node *tree, bool symmetric,
                        struct value *value)
{
    struct value child, sum;
    uint64_t seed = (uint64_t)tree->kind * 64 + tree->function + 1;
    if (tree->kind == NODE_CALL) /* another function at each point */
        seed += UINT64_C(0x10000) * (evaluation->point + 1);
    seed = value_hash(tree->text, tree->size, seed);
    value_init(&child);
    value_init(&sum);
    value_set_integer(&sum, 0);
    for (uint32_t i = 0; i < tree->count && !evaluation->over; i++) {
        unsigned place = symmetric ? 0 : i;
        char key[3] = {(char)(place & 127), (char)(place >> 7 & 127),
                       tree->operators != NULL && i > 0 ? (char)tree->operators[i - 1] : 0};
        math_evaluate(evaluation, tree->child[i], &child);
        value_mix(&sum, &child, value_hash(key, sizeof key, seed), evaluation->precision);
    }
    if (tree->count == 0) {
        value_set_integer(&child, 1);
        value_mix(&sum, &child, seed, evaluation->precision);
    }
    value_set(value, &sum);
    value_clear(&child);
    value_clear(&sum);
}

static bool whole(const struct value *value, slong *number)
{
    if (value->kind != VALUE_EXACT || !fmpz_is_one(fmpq_denref(value->exact)) ||
        fmpz_bits(fmpq_numref(value->exact)) > 40)
        return false;
    *number = fmpz_get_si(fmpq_numref(value->exact));
    return true;
}

/* Term by term when both limits are numbers and near; otherwise a value that depends on limits and body. */
static void sum_value(struct evaluation *evaluation, const struct node *tree, struct value *value)
{
    struct value term;
    slong from = 0, to = 0;
    if (evaluation->bound_count == VALUE_BOUND_MAX) {
        value->kind = VALUE_NONE;
        return;
    }
    value_init(&term);
    math_evaluate(evaluation, tree->child[1], value);
    bool known = whole(value, &from);
    math_evaluate(evaluation, tree->child[2], value);
    known = known && whole(value, &to) && to - from < VALUE_TERMS_MAX;
    struct bound_index *bound = &evaluation->bound[evaluation->bound_count++];
    *bound = (struct bound_index){tree->child[0], !known, 0};
    if (!known) {
        mixed_value(evaluation, tree, false, value);
    } else {
        value_set_integer(value, tree->kind == NODE_SUM ? 0 : 1);
        for (slong i = from; i <= to && !evaluation->over && value->kind != VALUE_NONE; i++) {
            bound->at = i;
            math_evaluate(evaluation, tree->child[3], &term);
            if (tree->kind == NODE_SUM)
                value_add(value, value, &term, evaluation->precision);
            else
                value_multiply(value, value, &term, evaluation->precision);
        }
    }
    evaluation->bound_count--;
    value_clear(&term);
}

static void combined_value(struct evaluation *evaluation, const struct node *tree,
                           struct value *value)
{
    struct value values[COMBINE_MAX];
    uint32_t count = tree->count < COMBINE_MAX ? tree->count : COMBINE_MAX;
    for (uint32_t i = 0; i < count; i++) {
        value_init(&values[i]);
        math_evaluate(evaluation, tree->child[i], &values[i]);
    }
    bool known =
        count == tree->count &&
        value_combine(values, count, (enum math_function)tree->function, evaluation->precision);
    if (known)
        value_set(value, &values[0]);
    for (uint32_t i = 0; i < count; i++)
        value_clear(&values[i]);
    if (!known)
        mixed_value(evaluation, tree, tree->function != FUNCTION_MOD, value);
}

/* By Laplace along the first row; matrices of more than 5 rows are not taken. */
static void determinant(struct evaluation *evaluation, const struct node *matrix, uint32_t row,
                        uint32_t used, struct value *value)
{
    struct value term, minor;
    int sign = 1;
    if (row == matrix->rows) {
        value_set_integer(value, 1);
        return;
    }
    value_init(&term);
    value_init(&minor);
    value_set_integer(value, 0);
    for (uint32_t column = 0; column < matrix->columns && !evaluation->over; column++) {
        if (used >> column & 1)
            continue;
        math_evaluate(evaluation, matrix->child[row * matrix->columns + column], &term);
        determinant(evaluation, matrix, row + 1, used | 1u << column, &minor);
        value_multiply(&term, &term, &minor, evaluation->precision);
        if (sign < 0)
            value_negate(&term);
        value_add(value, value, &term, evaluation->precision);
        sign = -sign;
    }
    value_clear(&term);
    value_clear(&minor);
}

static void function_value(struct evaluation *evaluation, const struct node *tree,
                           struct value *value)
{
    enum math_function function = (enum math_function)tree->function;
    if (function == FUNCTION_BINOMIAL) {
        two(evaluation, tree, value);
    } else if (function == FUNCTION_DET) {
        const struct node *matrix = tree->child[0];
        if (matrix->kind == NODE_MATRIX && matrix->rows == matrix->columns && matrix->rows <= 5)
            determinant(evaluation, matrix, 0, 0, value);
        else
            mixed_value(evaluation, tree, false, value);
    } else if (function >= FUNCTION_GCD && function <= FUNCTION_MOD) {
        combined_value(evaluation, tree, value);
    } else if (function == FUNCTION_LOG_BASE) {
        struct value base;
        value_init(&base);
        math_evaluate(evaluation, tree->child[0], &base);
        math_evaluate(evaluation, tree->child[1], value);
        value_function(&base, FUNCTION_LN, false, evaluation->precision);
        value_function(value, FUNCTION_LN, false, evaluation->precision);
        value_divide(value, value, &base, evaluation->precision);
        value_clear(&base);
    } else {
        bool outer = evaluation->angle;
        evaluation->angle = function <= FUNCTION_CSC;
        math_evaluate(evaluation, tree->child[0], value);
        evaluation->angle = outer;
        value_function(value, function, evaluation->log_is_10, evaluation->precision);
    }
}

static void scaled(struct evaluation *evaluation, const struct node *tree, struct value *value)
{
    struct value factor;
    math_evaluate(evaluation, tree->child[0], value);
    if (tree->kind == NODE_DEGREE && !evaluation->angle)
        return;
    value_init(&factor);
    factor.kind = VALUE_EXACT;
    fmpq_set_si(factor.exact, 1, tree->kind == NODE_PERCENT ? 100 : 180);
    value_multiply(value, value, &factor, evaluation->precision);
    if (tree->kind == NODE_DEGREE) {
        arb_const_pi(acb_realref(factor.ball), evaluation->precision);
        factor.kind = VALUE_BALL;
        value_multiply(value, value, &factor, evaluation->precision);
    }
    value_clear(&factor);
}

static void kind_value(struct evaluation *evaluation, const struct node *tree, struct value *value)
{
    switch ((enum node_kind)tree->kind) {
    case NODE_NUMBER:
        value_number(value, tree->text, tree->size, evaluation->precision);
        break;
    case NODE_CONSTANT:
        if (!bound_value(evaluation, tree, value))
            constant_value(evaluation, tree, value);
        break;
    case NODE_VARIABLE:
    case NODE_TEXT:
        if (!bound_value(evaluation, tree, value))
            variable_value(evaluation, tree->text, tree->size, value);
        break;
    case NODE_ADD:
    case NODE_MULTIPLY:
        fold(evaluation, tree, value);
        break;
    case NODE_NEGATE:
        math_evaluate(evaluation, tree->child[0], value);
        value_negate(value);
        break;
    case NODE_DIVIDE:
    case NODE_POWER:
    case NODE_ROOT:
        two(evaluation, tree, value);
        break;
    case NODE_FACTORIAL:
        math_evaluate(evaluation, tree->child[0], value);
        value_factorial(value, evaluation->precision);
        break;
    case NODE_FUNCTION:
        function_value(evaluation, tree, value);
        break;
    case NODE_SUM:
    case NODE_PRODUCT:
        sum_value(evaluation, tree, value);
        break;
    case NODE_BASE:
        base_value(evaluation, tree, value);
        break;
    case NODE_PERCENT:
    case NODE_DEGREE:
        scaled(evaluation, tree, value);
        break;
    default:
        mixed_value(evaluation, tree, tree->kind == NODE_LIST || tree->kind == NODE_SET, value);
        break;
    }
}

void math_evaluate(struct evaluation *evaluation, const struct node *tree, struct value *value)
{
    value->kind = VALUE_NONE;
    if (!may_go_on(evaluation) || evaluation->levels >= LEVELS_MAX)
        return;
    evaluation->levels++;
    kind_value(evaluation, tree, value);
    evaluation->levels--;
    if (evaluation->over)
        value->kind = VALUE_NONE;
}
