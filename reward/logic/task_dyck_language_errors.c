/* Dyck language errors: where a sequence of brackets goes wrong first. The judge finds the place itself. */
#include <string.h>
#include <strings.h>

#include "reward/logic/bracket.h"
#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/literal.h"
#include "reward/logic/reading.h"

static const struct logic_knob knobs[] = {
    {"kinds", 1, 4, 3, "kinds of brackets"},
    {"length", 8, 100, 20, "brackets of the sequence"},
    {0},
};

/* One change in ten problems stays out. */
static void spoil(struct rng *rng, int kinds, char *sequence)
{
    int length = (int)strlen(sequence);
    if (rng_below(rng, 10) == 0)
        return;
    int at = (int)rng_below(rng, (uint32_t)length);
    if (rng_below(rng, 4) == 0) { /* cut off: only closing ones are missing */
        sequence[at < 2 ? 2 : at] = '\0';
        return;
    }
    static const char all[] = "()[]{}<>";
    sequence[at] = all[rng_below(rng, (uint32_t)(2 * kinds))];
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    char sequence[BRACKET_LENGTH_MAX + 1], answer[16];
    int length = settings->value[1] / 2 * 2;
    bracket_draw(rng, settings->value[0], length, 1, sequence);
    spoil(rng, settings->value[0], sequence);
    int place = bracket_first_error(sequence);
    (void)snprintf(answer, sizeof answer, "%d", place);
    TRY(buffer_printf(
        &out->question,
        "Find the first place where this sequence of brackets goes wrong:\n\n%s\n\nPlaces"
        " count from 1. A closing bracket goes wrong when the bracket opened last and"
        " still open is not of its kind, or when nothing is open. If no closing"
        " bracket goes wrong but some bracket is never closed, the answer is the"
        " length of the sequence plus 1; if the sequence is correct, it is -1. Put"
        " the number in \\boxed{}.",
        sequence));
    out->answer = json_string(answer);
    out->metadata = json_pack("{s:s, s:i, s:b, s:i, s:i}", "bracket_string", sequence,
                              "first_error_pos", place, "is_valid", place == -1, "n_types",
                              settings->value[0], "total_length", (int)strlen(sequence));
    /* what has to be kept in mind until then */
    out->work = (double)(place == -1 ? (int)strlen(sequence) : place) * settings->value[0];
    out->difficulty = logic_difficulty(out->work, 2, 400);
    return STATUS_OK;
}

static bool says_valid(struct answer_span text)
{
    static const char *const words[] = {"valid", "correct", "the sequence is valid",
                                        "the sequence is correct", "合法"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (reading_same_words(text, words[i]))
            return true;
    return false;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)question;
    const char *sequence = json_string_value(json_object_get(metadata, "bracket_string"));
    int wanted = sequence != NULL ? bracket_first_error(sequence) : 0;
    if (wanted == 0 && !literal_int(json_object_get(metadata, "first_error_pos"), &wanted) &&
        !literal_int(answer, &wanted)) {
        logic_broken(out, "metadata: bracket_string is missing or holds something else");
        return;
    }
    struct answer_span text = reading_short(response);
    double number;
    if (says_valid(text))
        out->correct = wanted == -1;
    else if (reading_number(text, &number))
        out->correct = number == wanted;
    out->why = out->correct ? NULL : "not the first place that goes wrong";
}

const struct logic_task logic_task_dyck_language_errors = {
    "dyck_language_errors", "the first wrong place of a sequence", knobs, generate, verify};
