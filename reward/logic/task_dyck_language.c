/* Dyck language: close what is open. There is one shortest completion, so the judge builds it from the question's sequence. */
#include <string.h>

#include "reward/logic/bracket.h"
#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"

static const struct logic_knob knobs[] = {
    {"kinds", 1, 4, 3, "kinds of brackets"},
    {"length", 8, 80, 20, "brackets of the finished sequence"},
    {"missing", 1, 16, 4, "closing brackets to add; at most half of the length"},
    {0},
};

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    char full[BRACKET_LENGTH_MAX + 1];
    int length = settings->value[1] / 2 * 2, missing = settings->value[2];
    missing = missing > length / 2 ? length / 2 : missing;
    bracket_draw(rng, settings->value[0], length, missing, full);
    TRY(buffer_printf(
        &out->question,
        "Complete this sequence of brackets with as few brackets as possible, added at"
        " its end, so that every bracket is closed by its own kind and in the right"
        " order:\n\n%.*s\n\nThe kinds are () [] {} <>. End with the whole sequence,"
        " the given part included, alone on the last line.",
        length - missing, full));
    char given[BRACKET_LENGTH_MAX + 1];
    memcpy(given, full, (size_t)(length - missing));
    given[length - missing] = '\0';
    out->answer = json_string(full);
    out->metadata =
        json_pack("{s:s, s:s, s:i, s:i, s:i}", "full_sequence", full, "question_sequence", given,
                  "n_types", settings->value[0], "total_length", length, "fill_length", missing);
    out->work = (length + 4.0 * missing) * settings->value[0];
    out->difficulty = logic_difficulty(out->work, 12, 576);
    return STATUS_OK;
}

/* given + what closes it; false: it is no beginning of a correct sequence. */
static bool complete(const char *given, char full[BRACKET_LENGTH_MAX + 1])
{
    char stack[BRACKET_LENGTH_MAX];
    int size = (int)strlen(given), depth = 0, error = bracket_first_error(given);
    if (size == 0 || error == 0 || (error > 0 && error != size + 1))
        return false;
    for (int i = 0; i < size; i++) {
        full[i] = given[i];
        if (bracket_close_of(given[i]) != '\0')
            stack[depth++] = given[i];
        else
            depth--;
    }
    if (size + depth > BRACKET_LENGTH_MAX)
        return false;
    while (depth > 0)
        full[size++] = bracket_close_of(stack[--depth]);
    full[size] = '\0';
    return true;
}

/* The last line with brackets as an answer of brackets only; words around them are cut off. */
static bool brackets_of_last_line(struct answer_span response, char clean[BRACKET_LENGTH_MAX + 1])
{
    response = answer_trimmed(response);
    const char *line = response.size > 0 ? memrchr(response.at, '\n', response.size) : NULL;
    struct answer_span text = response;
    if (line != NULL)
        text = (struct answer_span){line + 1, (size_t)(response.at + response.size - line - 1)};
    const char *end = text.at + text.size;
    while (end > text.at && bracket_close_of(end[-1]) == '\0' && bracket_open_of(end[-1]) == '\0')
        end--;
    const char *from = end;
    while (from > text.at && (bracket_close_of(from[-1]) != '\0' ||
                              bracket_open_of(from[-1]) != '\0' || from[-1] == ' '))
        from--;
    return bracket_clean((struct answer_span){from, (size_t)(end - from)}, clean);
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)question;
    const char *given = json_string_value(json_object_get(metadata, "question_sequence"));
    char wanted[BRACKET_LENGTH_MAX + 1], clean[BRACKET_LENGTH_MAX + 1];
    if (given == NULL || !complete(given, wanted)) {
        const char *stored = json_string_value(json_object_get(metadata, "full_sequence"));
        stored = stored != NULL ? stored : json_string_value(answer);
        if (stored == NULL || bracket_first_error(stored) != -1) {
            logic_broken(
                out,
                "metadata: question_sequence is missing or no beginning of a correct sequence");
            return;
        }
        (void)snprintf(wanted, sizeof wanted, "%s", stored);
    }
    if (!bracket_clean(reading_short(response), clean) && !brackets_of_last_line(response, clean)) {
        logic_wrong(out, "no sequence of brackets was found");
        return;
    }
    out->correct = strcmp(clean, wanted) == 0;
    out->why = out->correct ? NULL : "not the shortest completion";
}

const struct logic_task logic_task_dyck_language = {"dyck_language", "close what is open", knobs,
                                                    generate, verify};
