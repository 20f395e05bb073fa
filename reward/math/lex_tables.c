/* The commands, words and units that the tokens come from. Tables are searched in order: they are short, and an answer
 * has few commands. */
#include "reward/math/lex.h"

#include <string.h>

// clang-format off
static const struct lex_command commands[] = {
    {"frac", TOKEN_FRACTION, 0, NULL}, {"dfrac", TOKEN_FRACTION, 0, NULL}, {"tfrac", TOKEN_FRACTION, 0, NULL},
    {"cfrac", TOKEN_FRACTION, 0, NULL}, {"sqrt", TOKEN_ROOT, 0, NULL}, {"pi", TOKEN_CONSTANT, 0, "pi"},
    {"left", TOKEN_SKIP, 1, NULL}, {"right", TOKEN_SKIP, 2, NULL}, {"middle", TOKEN_SKIP, 0, NULL},
    {"cdot", '*', 0, NULL}, {"times", '*', 0, NULL}, {"ast", '*', 0, NULL}, {"star", '*', 0, NULL}, {"div", '/', 0, NULL},
    {"infty", TOKEN_CONSTANT, 0, "inf"}, {"infin", TOKEN_CONSTANT, 0, "inf"},
    {"emptyset", TOKEN_CONSTANT, 0, "empty"}, {"varnothing", TOKEN_CONSTANT, 0, "empty"},
    {"pm", TOKEN_PLUS_MINUS, 0, NULL}, {"mp", TOKEN_MINUS_PLUS, 0, NULL}, {"circ", TOKEN_DEGREE, 0, NULL},
    {"degree", TOKEN_DEGREE, 0, NULL}, {"degrees", TOKEN_DEGREE, 0, NULL},
    {"binom", TOKEN_BINOMIAL, 0, NULL}, {"dbinom", TOKEN_BINOMIAL, 0, NULL}, {"tbinom", TOKEN_BINOMIAL, 0, NULL},
    {"choose", TOKEN_CHOOSE, 0, NULL}, {"over", TOKEN_CHOOSE, 1, NULL},
    {"begin", TOKEN_BEGIN, 0, NULL}, {"end", TOKEN_FINISH, 0, NULL},
    {"sin", TOKEN_FUNCTION, FUNCTION_SIN, NULL}, {"cos", TOKEN_FUNCTION, FUNCTION_COS, NULL},
    {"tan", TOKEN_FUNCTION, FUNCTION_TAN, NULL}, {"cot", TOKEN_FUNCTION, FUNCTION_COT, NULL},
    {"tg", TOKEN_FUNCTION, FUNCTION_TAN, NULL}, {"ctg", TOKEN_FUNCTION, FUNCTION_COT, NULL},
    {"sec", TOKEN_FUNCTION, FUNCTION_SEC, NULL}, {"csc", TOKEN_FUNCTION, FUNCTION_CSC, NULL},
    {"arcsin", TOKEN_FUNCTION, FUNCTION_ASIN, NULL}, {"arccos", TOKEN_FUNCTION, FUNCTION_ACOS, NULL},
    {"arctan", TOKEN_FUNCTION, FUNCTION_ATAN, NULL}, {"arccot", TOKEN_FUNCTION, FUNCTION_ACOT, NULL},
    {"arctg", TOKEN_FUNCTION, FUNCTION_ATAN, NULL},
    {"sinh", TOKEN_FUNCTION, FUNCTION_SINH, NULL}, {"cosh", TOKEN_FUNCTION, FUNCTION_COSH, NULL},
    {"tanh", TOKEN_FUNCTION, FUNCTION_TANH, NULL}, {"coth", TOKEN_FUNCTION, FUNCTION_COTH, NULL},
    {"ln", TOKEN_FUNCTION, FUNCTION_LN, NULL}, {"log", TOKEN_FUNCTION, FUNCTION_LOG, NULL},
    {"lg", TOKEN_FUNCTION, FUNCTION_LG, NULL}, {"exp", TOKEN_FUNCTION, FUNCTION_EXP, NULL},
    {"gcd", TOKEN_FUNCTION, FUNCTION_GCD, NULL}, {"lcm", TOKEN_FUNCTION, FUNCTION_LCM, NULL},
    {"min", TOKEN_FUNCTION, FUNCTION_MIN, NULL}, {"max", TOKEN_FUNCTION, FUNCTION_MAX, NULL},
    {"det", TOKEN_FUNCTION, FUNCTION_DET, NULL}, {"arg", TOKEN_FUNCTION, FUNCTION_ARG, NULL},
    {"Re", TOKEN_FUNCTION, FUNCTION_RE, NULL}, {"Im", TOKEN_FUNCTION, FUNCTION_IM, NULL},
    {"lfloor", TOKEN_FLOOR_OPEN, 0, NULL}, {"rfloor", TOKEN_FLOOR_CLOSE, 0, NULL},
    {"lceil", TOKEN_CEIL_OPEN, 0, NULL}, {"rceil", TOKEN_CEIL_CLOSE, 0, NULL},
    {"lvert", TOKEN_BAR_OPEN, 0, NULL}, {"rvert", TOKEN_BAR_CLOSE, 0, NULL}, {"vert", '|', 0, NULL},
    {"lVert", TOKEN_BAR_OPEN, 0, NULL}, {"rVert", TOKEN_BAR_CLOSE, 0, NULL}, {"Vert", '|', 0, NULL},
    {"langle", TOKEN_ANGLE_OPEN, 0, NULL}, {"rangle", TOKEN_ANGLE_CLOSE, 0, NULL},
    {"lbrace", TOKEN_SET_OPEN, 0, NULL}, {"rbrace", TOKEN_SET_CLOSE, 0, NULL},
    {"lbrack", '[', 0, NULL}, {"rbrack", ']', 0, NULL}, {"lparen", '(', 0, NULL}, {"rparen", ')', 0, NULL},
    {"le", TOKEN_RELATION, OPERATOR_LESS_EQUAL, NULL}, {"leq", TOKEN_RELATION, OPERATOR_LESS_EQUAL, NULL},
    {"leqslant", TOKEN_RELATION, OPERATOR_LESS_EQUAL, NULL}, {"leqq", TOKEN_RELATION, OPERATOR_LESS_EQUAL, NULL},
    {"ge", TOKEN_RELATION, OPERATOR_GREATER_EQUAL, NULL}, {"geq", TOKEN_RELATION, OPERATOR_GREATER_EQUAL, NULL},
    {"geqslant", TOKEN_RELATION, OPERATOR_GREATER_EQUAL, NULL}, {"geqq", TOKEN_RELATION, OPERATOR_GREATER_EQUAL, NULL},
    {"lt", TOKEN_RELATION, OPERATOR_LESS, NULL}, {"gt", TOKEN_RELATION, OPERATOR_GREATER, NULL},
    {"ne", TOKEN_RELATION, OPERATOR_NOT_EQUAL, NULL}, {"neq", TOKEN_RELATION, OPERATOR_NOT_EQUAL, NULL},
    {"approx", TOKEN_RELATION, OPERATOR_APPROX, NULL}, {"simeq", TOKEN_RELATION, OPERATOR_APPROX, NULL},
    {"thickapprox", TOKEN_RELATION, OPERATOR_APPROX, NULL}, {"in", TOKEN_RELATION, OPERATOR_IN, NULL},
    {"equiv", TOKEN_RELATION, OPERATOR_OTHER, NULL}, {"cong", TOKEN_RELATION, OPERATOR_OTHER, NULL},
    {"sim", TOKEN_RELATION, OPERATOR_OTHER, NULL}, {"subset", TOKEN_RELATION, OPERATOR_OTHER, NULL},
    {"subseteq", TOKEN_RELATION, OPERATOR_OTHER, NULL}, {"supset", TOKEN_RELATION, OPERATOR_OTHER, NULL},
    {"supseteq", TOKEN_RELATION, OPERATOR_OTHER, NULL}, {"notin", TOKEN_RELATION, OPERATOR_OTHER, NULL},
    {"mid", TOKEN_RELATION, OPERATOR_OTHER, NULL}, {"parallel", TOKEN_RELATION, OPERATOR_OTHER, NULL},
    {"perp", TOKEN_RELATION, OPERATOR_OTHER, NULL}, {"to", TOKEN_RELATION, OPERATOR_OTHER, NULL},
    {"rightarrow", TOKEN_RELATION, OPERATOR_OTHER, NULL}, {"Rightarrow", TOKEN_RELATION, OPERATOR_OTHER, NULL},
    {"implies", TOKEN_RELATION, OPERATOR_OTHER, NULL}, {"iff", TOKEN_RELATION, OPERATOR_OTHER, NULL},
    {"Leftrightarrow", TOKEN_RELATION, OPERATOR_OTHER, NULL}, {"mapsto", TOKEN_RELATION, OPERATOR_OTHER, NULL},
    {"propto", TOKEN_RELATION, OPERATOR_OTHER, NULL}, {"gg", TOKEN_RELATION, OPERATOR_OTHER, NULL},
    {"ll", TOKEN_RELATION, OPERATOR_OTHER, NULL},
    {"cup", TOKEN_UNION, 0, NULL}, {"bigcup", TOKEN_UNION, 0, NULL}, {"cap", TOKEN_INTERSECTION, 0, NULL},
    {"setminus", TOKEN_DIFFERENCE, 0, NULL}, {"backslash", TOKEN_DIFFERENCE, 0, NULL},
    {"sum", TOKEN_SUM, 0, NULL}, {"prod", TOKEN_PRODUCT, 0, NULL}, {"int", TOKEN_INTEGRAL, 0, NULL},
    {"oint", TOKEN_INTEGRAL, 0, NULL}, {"iint", TOKEN_INTEGRAL, 0, NULL}, {"lim", TOKEN_INTEGRAL, 0, NULL},
    {"sup", TOKEN_INTEGRAL, 0, NULL}, {"inf", TOKEN_INTEGRAL, 0, NULL},
    {"land", TOKEN_AND, 0, NULL}, {"lor", TOKEN_AND, 0, NULL},
    {"prime", TOKEN_PRIME, 0, NULL}, {"bmod", TOKEN_MOD, 0, NULL}, {"mod", TOKEN_MOD, 0, NULL}, {"pmod", TOKEN_PMOD, 0, NULL},
    {"otimes", TOKEN_OPERATOR, 0, NULL}, {"oplus", TOKEN_OPERATOR, 0, NULL}, {"wedge", TOKEN_OPERATOR, 0, NULL},
    {"vee", TOKEN_OPERATOR, 0, NULL}, {"rtimes", TOKEN_OPERATOR, 0, NULL}, {"ltimes", TOKEN_OPERATOR, 0, NULL},
    {"overline", TOKEN_OVERLINE, 0, NULL}, {"bar", TOKEN_OVERLINE, 0, NULL},
    {"exists", TOKEN_LETTER, 0, NULL}, {"forall", TOKEN_LETTER, 0, NULL}, {"angle", TOKEN_SKIP, 0, NULL},
    {"triangle", TOKEN_SKIP, 0, NULL},
    {"dots", TOKEN_LETTER, 0, "dots"}, {"ldots", TOKEN_LETTER, 0, "dots"}, {"cdots", TOKEN_LETTER, 0, "dots"},
    {"dotsc", TOKEN_LETTER, 0, "dots"}, {"aleph", TOKEN_LETTER, 0, NULL}, {"partial", TOKEN_LETTER, 0, NULL},
    {"nabla", TOKEN_LETTER, 0, NULL}, {"hbar", TOKEN_LETTER, 0, NULL}, {"ell", TOKEN_LETTER, 0, NULL},
    {"imath", TOKEN_CONSTANT, 0, "i"}, {"top", TOKEN_LETTER, 0, "T"}, {"dim", TOKEN_LETTER, 0, NULL},
    {"ker", TOKEN_LETTER, 0, NULL}, {"deg", TOKEN_LETTER, 0, NULL}, {"bot", TOKEN_LETTER, 0, NULL},
    {"alpha", TOKEN_LETTER, 0, NULL}, {"beta", TOKEN_LETTER, 0, NULL}, {"gamma", TOKEN_LETTER, 0, NULL},
    {"delta", TOKEN_LETTER, 0, NULL}, {"epsilon", TOKEN_LETTER, 0, NULL}, {"varepsilon", TOKEN_LETTER, 0, "epsilon"},
    {"zeta", TOKEN_LETTER, 0, NULL}, {"eta", TOKEN_LETTER, 0, NULL}, {"theta", TOKEN_LETTER, 0, NULL},
    {"vartheta", TOKEN_LETTER, 0, "theta"}, {"iota", TOKEN_LETTER, 0, NULL}, {"kappa", TOKEN_LETTER, 0, NULL},
    {"lambda", TOKEN_LETTER, 0, NULL}, {"mu", TOKEN_LETTER, 0, NULL}, {"nu", TOKEN_LETTER, 0, NULL},
    {"xi", TOKEN_LETTER, 0, NULL}, {"rho", TOKEN_LETTER, 0, NULL}, {"sigma", TOKEN_LETTER, 0, NULL},
    {"tau", TOKEN_LETTER, 0, NULL}, {"upsilon", TOKEN_LETTER, 0, NULL}, {"phi", TOKEN_LETTER, 0, NULL},
    {"varphi", TOKEN_LETTER, 0, "phi"}, {"chi", TOKEN_LETTER, 0, NULL}, {"psi", TOKEN_LETTER, 0, NULL},
    {"omega", TOKEN_LETTER, 0, NULL}, {"Gamma", TOKEN_LETTER, 0, NULL}, {"Delta", TOKEN_LETTER, 0, NULL},
    {"Theta", TOKEN_LETTER, 0, NULL}, {"Lambda", TOKEN_LETTER, 0, NULL}, {"Xi", TOKEN_LETTER, 0, NULL},
    {"Pi", TOKEN_LETTER, 0, NULL}, {"Sigma", TOKEN_LETTER, 0, NULL}, {"Upsilon", TOKEN_LETTER, 0, NULL},
    {"Phi", TOKEN_LETTER, 0, NULL}, {"Psi", TOKEN_LETTER, 0, NULL}, {"Omega", TOKEN_LETTER, 0, NULL},
    {"quad", TOKEN_SKIP, 0, NULL}, {"qquad", TOKEN_SKIP, 0, NULL}, {"displaystyle", TOKEN_SKIP, 0, NULL},
    {"textstyle", TOKEN_SKIP, 0, NULL}, {"limits", TOKEN_SKIP, 0, NULL}, {"nolimits", TOKEN_SKIP, 0, NULL},
    {"big", TOKEN_SKIP, 0, NULL}, {"Big", TOKEN_SKIP, 0, NULL}, {"bigg", TOKEN_SKIP, 0, NULL}, {"Bigg", TOKEN_SKIP, 0, NULL},
    {"bigl", TOKEN_SKIP, 1, NULL}, {"bigr", TOKEN_SKIP, 2, NULL}, {"Bigl", TOKEN_SKIP, 1, NULL}, {"Bigr", TOKEN_SKIP, 2, NULL},
    {"biggl", TOKEN_SKIP, 1, NULL}, {"biggr", TOKEN_SKIP, 2, NULL}, {"thinspace", TOKEN_SKIP, 0, NULL},
    {"enspace", TOKEN_SKIP, 0, NULL}, {"hline", TOKEN_SKIP, 0, NULL}, {"rm", TOKEN_SKIP, 0, NULL}, {"bf", TOKEN_SKIP, 0, NULL},
    {"it", TOKEN_SKIP, 0, NULL}, {"par", TOKEN_SKIP, 0, NULL}, {"newline", TOKEN_SKIP, 0, NULL},
    {"boxed", TOKEN_SKIP, 0, NULL}, {"fbox", TOKEN_SKIP, 0, NULL}, {"pounds", TOKEN_SKIP, 0, NULL}, {"euro", TOKEN_SKIP, 0, NULL},
    {"cents", TOKEN_SKIP, 0, NULL}, {"centerdot", '*', 0, NULL}, {"colon", ':', 0, NULL}, {"therefore", TOKEN_SKIP, 0, NULL},
};

/* Words without a backslash, and inside \text{} and \operatorname{}. */
static const struct lex_command words[] = {
    {"and", TOKEN_AND, 0, NULL}, {"or", TOKEN_AND, 0, NULL}, {"AND", TOKEN_AND, 0, NULL}, {"OR", TOKEN_AND, 0, NULL},
    {"percent", '%', 0, NULL}, {"percentage", '%', 0, NULL}, {"pct", '%', 0, NULL}, {"Percent", '%', 0, NULL},
    {"degrees", TOKEN_DEGREE, 0, NULL}, {"degree", TOKEN_DEGREE, 0, NULL}, {"deg", TOKEN_DEGREE, 0, NULL},
    {"base", TOKEN_BASE, 0, NULL}, {"choose", TOKEN_CHOOSE, 0, NULL}, {"mod", TOKEN_MOD, 0, NULL},
    {"sqrt", TOKEN_ROOT, 0, NULL}, {"cbrt", TOKEN_ROOT, 3, NULL}, {"pi", TOKEN_CONSTANT, 0, "pi"},
    {"infinity", TOKEN_CONSTANT, 0, "inf"}, {"Infinity", TOKEN_CONSTANT, 0, "inf"}, {"oo", TOKEN_CONSTANT, 0, "inf"},
    {"inf", TOKEN_CONSTANT, 0, "inf"}, {"abs", TOKEN_FUNCTION, FUNCTION_ABS, NULL},
    {"floor", TOKEN_FUNCTION, FUNCTION_FLOOR, NULL}, {"ceil", TOKEN_FUNCTION, FUNCTION_CEIL, NULL},
    {"sgn", TOKEN_FUNCTION, FUNCTION_SIGN, NULL}, {"sign", TOKEN_FUNCTION, FUNCTION_SIGN, NULL},
    {"binom", TOKEN_FUNCTION, FUNCTION_BINOMIAL, NULL}, {"binomial", TOKEN_FUNCTION, FUNCTION_BINOMIAL, NULL},
    {"cis", TOKEN_LETTER, 0, NULL}, {"asin", TOKEN_FUNCTION, FUNCTION_ASIN, NULL}, {"acos", TOKEN_FUNCTION, FUNCTION_ACOS, NULL},
    {"atan", TOKEN_FUNCTION, FUNCTION_ATAN, NULL}, {"arsinh", TOKEN_FUNCTION, FUNCTION_ASINH, NULL},
    {"arcosh", TOKEN_FUNCTION, FUNCTION_ACOSH, NULL}, {"artanh", TOKEN_FUNCTION, FUNCTION_ATANH, NULL},
    {"arcsinh", TOKEN_FUNCTION, FUNCTION_ASINH, NULL}, {"arccosh", TOKEN_FUNCTION, FUNCTION_ACOSH, NULL},
    {"arctanh", TOKEN_FUNCTION, FUNCTION_ATANH, NULL}, {"asinh", TOKEN_FUNCTION, FUNCTION_ASINH, NULL},
    {"acosh", TOKEN_FUNCTION, FUNCTION_ACOSH, NULL}, {"atanh", TOKEN_FUNCTION, FUNCTION_ATANH, NULL},
    {"sech", TOKEN_FUNCTION, FUNCTION_SECH, NULL}, {"csch", TOKEN_FUNCTION, FUNCTION_CSCH, NULL},
    {"union", TOKEN_UNION, 0, NULL}, {"if", TOKEN_IF, 0, NULL}, {"for", TOKEN_IF, 0, NULL}, {"where", TOKEN_IF, 0, NULL},
    {"when", TOKEN_IF, 0, NULL}, {"with", TOKEN_IF, 0, NULL},
};

static const char *const units[] = {
    "cm", "mm", "km", "dm", "nm", "kg", "mg", "lb", "lbs", "oz", "ml", "mL", "ft", "in", "yd", "mi", "mph", "kph", "km/h",
    "sec", "min", "hr", "hrs", "day", "days", "week", "weeks", "year", "years", "hour", "hours", "minute", "minutes",
    "second", "seconds", "month", "months", "cent", "cents", "dollar", "dollars", "euro", "euros", "yuan", "USD", "usd", "Rs",
    "EUR", "unit", "units", "sq", "square", "cubic", "meter", "meters", "metre", "metres", "inch", "inches", "foot",
    "per", "each", "feet", "mile", "miles", "yard", "yards", "gram", "grams", "liter", "liters", "litre", "litres", "people", "ways", "way", "pts",
    "men", "cups", "cup", "eggs", "pm", "am", "PM", "AM", "Hz", "kHz", "kW", "kWh", "ms", "rad", "radians", "bps", "GB", "MB", "kB",
    "am", "rpm", "psi", "atm", "mol", "Pa", "kPa", "eV", "kJ", "dB",
};
// clang-format on

static const struct lex_command *find(const struct lex_command *table, size_t count,
                                      const char *name, size_t size)
{
    for (size_t i = 0; i < count; i++)
        if (math_text_is(name, size, table[i].name))
            return &table[i];
    return NULL;
}

const struct lex_command *math_command(const char *name, size_t size)
{
    return find(commands, sizeof commands / sizeof commands[0], name, size);
}

const struct lex_command *math_word(const char *name, size_t size)
{
    const struct lex_command *found = find(words, sizeof words / sizeof words[0], name, size);
    if (found != NULL)
        return found;
    found = math_command(name, size);
    if (found != NULL &&
        (found->kind == TOKEN_FUNCTION || (found->kind == TOKEN_LETTER && size > 2)))
        return found;
    return NULL;
}

bool math_word_is_unit(const char *name, size_t size)
{
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (math_text_is(name, size, units[i]))
            return true;
    return false;
}
