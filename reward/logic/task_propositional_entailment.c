/* Propositional entailment: do the premises entail the conclusion, contradict it, or leave it open? Formulas are
 * random trees; a truth table over all valuations decides, and each of the three answers is drawn equally often. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"

enum {
    VARIABLES_MAX = 10,
    TABLE_WORDS = (1 << VARIABLES_MAX) / 64,
    PREMISES_MAX = 10,
    TRIES = 200
};

static const struct logic_knob knobs[] = {
    {"variables", 2, 10, 4, "letters that may occur"},
    {"premises", 1, 10, 3, "formulas taken as true"},
    {"depth", 1, 4, 2, "levels of connectives in a formula"},
    {0},
};

enum verdict { ENTAILED, CONTRADICTED, UNDETERMINED, VERDICTS };
static const char *const verdict_names[] = {"entailed", "contradicted", "undetermined"};

/* Bit v % 64 of word v / 64: the formula's value under valuation v (bit i of v: letter i). */
struct table {
    uint64_t word[TABLE_WORDS];
};

struct drawing {
    int variables, words;
    uint64_t last; /* bits in use of the last word */
    long leaves;
    struct rng *rng;
};

static struct table table_of_letter(const struct drawing *drawing, int letter)
{
    struct table table = {{0}};
    for (int v = 0; v < 1 << drawing->variables; v++)
        if (v >> letter & 1)
            table.word[v / 64] |= (uint64_t)1 << v % 64;
    return table;
}

static struct table combine(const struct drawing *drawing, char op, const struct table *a,
                            const struct table *b)
{
    struct table table = {{0}};
    for (int i = 0; i < drawing->words; i++) {
        uint64_t x = a->word[i], y = b->word[i];
        table.word[i] = op == '&' ? x & y : op == '|' ? x | y : op == '>' ? ~x | y : ~(x ^ y);
    }
    table.word[drawing->words - 1] &= drawing->last;
    return table;
}

static struct table negated(const struct drawing *drawing, const struct table *a)
{
    struct table table = {{0}};
    for (int i = 0; i < drawing->words; i++)
        table.word[i] = ~a->word[i];
    table.word[drawing->words - 1] &= drawing->last;
    return table;
}

static bool is_false(const struct table *table)
{
    uint64_t any = 0;
    for (int i = 0; i < TABLE_WORDS; i++)
        any |= table->word[i];
    return any == 0;
}

/* Writes a random formula; recursion is `depth` deep. */
static enum status draw_formula(struct drawing *drawing, int depth, struct buffer *out,
                                struct table *table)
{
    struct table left, right;
    if (depth == 0 || draw_permille(drawing->rng, 150)) {
        int letter = (int)rng_below(drawing->rng, (uint32_t)drawing->variables);
        drawing->leaves++;
        *table = table_of_letter(drawing, letter);
        if (draw_permille(drawing->rng, 300)) {
            *table = negated(drawing, table);
            return buffer_printf(out, "not %c", 'P' + letter);
        }
        return buffer_printf(out, "%c", 'P' + letter);
    }
    static const struct {
        char op;
        const char *word;
    } ops[] = {{'&', "and"}, {'|', "or"}, {'>', "implies"}, {'=', "if and only if"}};
    size_t op = rng_below(drawing->rng, 20);
    op = op < 6 ? 0 : op < 12 ? 1 : op < 18 ? 2 : 3;
    bool negate = draw_permille(drawing->rng, 120);
    TRY(buffer_text(out, negate ? "not (" : "("));
    TRY(draw_formula(drawing, depth - 1, out, &left));
    TRY(buffer_printf(out, " %s ", ops[op].word));
    TRY(draw_formula(drawing, depth - 1, out, &right));
    *table = combine(drawing, ops[op].op, &left, &right);
    if (negate)
        *table = negated(drawing, table);
    return buffer_text(out, ")");
}

static enum verdict verdict_of(const struct drawing *drawing, const struct table *premises,
                               const struct table *conclusion)
{
    struct table other = negated(drawing, conclusion);
    struct table with = combine(drawing, '&', premises, conclusion),
                 against = combine(drawing, '&', premises, &other);
    return is_false(&against) ? ENTAILED : is_false(&with) ? CONTRADICTED : UNDETERMINED;
}

/* Premises that can all be true, each of them neither always true nor always false. */
static enum status draw_premises(struct drawing *drawing, int count, int depth, json_t *list,
                                 struct table *all)
{
    struct buffer text;
    buffer_init(&text, 0);
    enum status status = STATUS_OK;
    struct table none = {{0}};
    *all = negated(drawing, &none);
    for (int i = 0, tries = 0; i < count && status == STATUS_OK; tries++) {
        struct table one;
        buffer_clear(&text);
        if (tries == TRIES)
            status = STATUS_AGAIN;
        else
            status = draw_formula(drawing, depth, &text, &one);
        if (status != STATUS_OK)
            break;
        struct table other = negated(drawing, &one), next = combine(drawing, '&', all, &one);
        if (is_false(&one) || is_false(&other) || is_false(&next))
            continue;
        *all = next;
        json_array_append_new(list, json_string(buffer_string(&text)));
        i++;
    }
    buffer_free(&text);
    return status;
}

/* A conclusion that is no premise and may be true or false by itself, with the wanted verdict. */
static enum status draw_conclusion(struct drawing *drawing, int depth, const struct table *premises,
                                   enum verdict wanted, const json_t *list, struct buffer *text)
{
    for (int i = 0; i < TRIES; i++) {
        struct table table;
        buffer_clear(text);
        TRY(draw_formula(drawing, depth, text, &table));
        struct table other = negated(drawing, &table);
        bool listed = false;
        for (size_t j = 0; j < json_array_size(list); j++)
            listed = listed ||
                     strcmp(json_string_value(json_array_get(list, j)), buffer_string(text)) == 0;
        if (!listed && !is_false(&table) && !is_false(&other) &&
            verdict_of(drawing, premises, &table) == wanted)
            return STATUS_OK;
    }
    return STATUS_AGAIN;
}

static enum status write_question(const json_t *premises, const char *conclusion,
                                  struct buffer *out)
{
    TRY(buffer_text(out, "Take these propositional formulas as true:\n\n"));
    for (size_t i = 0; i < json_array_size(premises); i++)
        TRY(buffer_printf(out, "%zu. %s\n", i + 1, json_string_value(json_array_get(premises, i))));
    return buffer_printf(
        out,
        "\nWhat follows for this formula?\n\n%s\n\nIt is \"entailed\" when it is true"
        " in every case in which all formulas above are true, \"contradicted\" when"
        " it is false in every such case, else \"undetermined\". (\"implies\" is only"
        " false when its left side is true and its right side false; \"or\" includes"
        " both.) End your answer with that word in a box, like \\boxed{entailed}.",
        conclusion);
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    struct drawing drawing = {.variables = settings->value[0], .rng = rng};
    int valuations = 1 << drawing.variables;
    drawing.words = valuations <= 64 ? 1 : valuations / 64;
    drawing.last = valuations >= 64 ? UINT64_MAX : ((uint64_t)1 << valuations) - 1;
    enum verdict wanted = (enum verdict)rng_below(rng, VERDICTS);
    struct table premises;
    struct buffer conclusion;
    buffer_init(&conclusion, 0);
    json_t *list = json_array();
    out->metadata = json_pack("{s:o}", "premises", list);
    enum status status = STATUS_OK;
    TRY_GOTO(out, draw_premises(&drawing, settings->value[1], settings->value[2], list, &premises));
    long leaves = drawing.leaves; /* of all that was drawn; close to what is kept */
    TRY_GOTO(out, draw_conclusion(&drawing, settings->value[2] > 1 ? settings->value[2] - 1 : 1,
                                  &premises, wanted, list, &conclusion));
    TRY_GOTO(out, write_question(list, buffer_string(&conclusion), &out->question));
    json_object_set_new(out->metadata, "conclusion", json_string(buffer_string(&conclusion)));
    out->answer = json_string(verdict_names[wanted]);
    out->work = (double)valuations * (double)leaves;
    out->difficulty = logic_difficulty(out->work, 8, 1 << 16);
    if (out->answer == NULL || out->metadata == NULL)
        status = FAIL(STATUS_NO_MEMORY, "an entailment row");
out:
    buffer_free(&conclusion);
    return status;
}

/* ---- judging ---- */

/* Which of the three the words say; -1: none, or several. */
static int read_verdict(struct answer_span text)
{
    static const struct {
        const char *word;
        enum verdict verdict;
    } words[] = {{"entailed", ENTAILED},         {"entails", ENTAILED},
                 {"contradicted", CONTRADICTED}, {"contradicts", CONTRADICTED},
                 {"undetermined", UNDETERMINED}, {"undecided", UNDETERMINED},
                 {"unknown", UNDETERMINED},      {"neither", UNDETERMINED}};
    unsigned found = 0;
    for (size_t at = 0; at < text.size;) {
        size_t from = at;
        while (at < text.size && isalpha((unsigned char)text.at[at]))
            at++;
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
            if (strlen(words[i].word) == at - from &&
                strncasecmp(words[i].word, text.at + from, at - from) == 0)
                found |= 1u << words[i].verdict;
        if (at - from == 3 && strncasecmp("not", text.at + from, 3) == 0)
            found |= 1u << VERDICTS; /* "not entailed" says none of the three */
        at += at == from;
    }
    for (int i = 0; i < VERDICTS; i++)
        if (found == 1u << i)
            return i;
    return -1;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)metadata;
    (void)question;
    const char *text = json_string_value(answer);
    int wanted = text != NULL ? read_verdict((struct answer_span){text, strlen(text)}) : -1;
    if (wanted < 0)
        logic_broken(out, "answer is to be entailed, contradicted or undetermined");
    else if (read_verdict(reading_short(response)) == wanted)
        out->correct = true;
    else
        logic_wrong(out, "another verdict follows");
}

const struct logic_task logic_task_propositional_entailment = {
    "propositional_entailment",
    "whether formulas entail another one, contradict it or leave it open",
    knobs,
    generate,
    verify,
};
