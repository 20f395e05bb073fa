/* Dyck language reasoning errors: which steps of a written trace state a wrong stack. The generator writes the true trace and
 * spoils some steps (what a spoiled step says differs from the truth, the steps after it are true again). */
#include <string.h>

#include "reward/logic/bracket.h"
#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/literal.h"
#include "reward/logic/reading.h"

enum { STEPS_MAX = BRACKET_LENGTH_MAX + 3 };

static const struct logic_knob knobs[] = {
    {"kinds", 1, 4, 3, "kinds of brackets"},
    {"length", 6, 60, 16, "brackets of the sequence"},
    {"errors", 1, 8, 2, "wrong steps; at most a third of the brackets"},
    {0},
};

/* A stack that is not `stack`: one bracket more, less or other. */
static void spoil(struct rng *rng, const char *stack, char *wrong)
{
    size_t depth = strlen(stack);
    memcpy(wrong, stack, depth + 1);
    uint32_t way = depth == 0 ? 0 : rng_below(rng, 3);
    if (way == 0 && depth < BRACKET_LENGTH_MAX - 1) {
        wrong[depth] = "([{<"[rng_below(rng, 4)];
        wrong[depth + 1] = '\0';
    } else if (way == 1) {
        wrong[depth - 1] = '\0';
    } else {
        const char *kinds = "([{<";
        char top = stack[depth - 1];
        wrong[depth - 1] =
            kinds[((uint32_t)(strchr(kinds, top) - kinds) + 1 + rng_below(rng, 3)) % 4];
    }
}

/* The steps 3 .. length + 2 that are wrong, as marks. */
static void draw_errors(struct rng *rng, int length, int errors, bool *wrong)
{
    int order[STEPS_MAX];
    draw_permutation(rng, order, length);
    errors = errors > length / 3 ? length / 3 : errors;
    for (int i = 0; i < errors; i++)
        wrong[order[i]] = true;
}

static enum status write_steps(struct rng *rng, const char *sequence, const bool *wrong,
                               struct buffer *question)
{
    char stack[BRACKET_LENGTH_MAX + 1] = "", said[BRACKET_LENGTH_MAX + 1];
    int depth = 0;
    TRY(buffer_text(question, "Step 1: We read the brackets one by one and keep the open ones on a"
                              " stack.\nStep 2: stack: empty\n"));
    for (int i = 0; sequence[i] != '\0'; i++) {
        if (bracket_close_of(sequence[i]) != '\0')
            stack[depth++] = sequence[i];
        else
            depth--;
        stack[depth] = '\0';
        memcpy(said, stack, (size_t)depth + 1);
        if (wrong[i])
            spoil(rng, stack, said);
        TRY(buffer_printf(question, "Step %d: %c ; stack: %s\n", i + 3, sequence[i],
                          said[0] != '\0' ? said : "empty"));
    }
    return STATUS_OK;
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    char sequence[BRACKET_LENGTH_MAX + 1];
    bool wrong[BRACKET_LENGTH_MAX] = {false};
    int length = settings->value[1] / 2 * 2;
    bracket_draw(rng, settings->value[0], length, 1, sequence);
    draw_errors(rng, length, settings->value[2], wrong);
    TRY(buffer_printf(
        &out->question,
        "Someone checked the bracket sequence %s and wrote down the stack of open"
        " brackets after each one. Some steps state a stack that is not the true stack"
        " at that point (a later step may be true again).\n\n",
        sequence));
    TRY(write_steps(rng, sequence, wrong, &out->question));
    TRY(buffer_text(&out->question,
                    "\nWhich steps are wrong? Put their numbers, separated by commas,"
                    " in \\boxed{}."));
    json_t *indices = json_array();
    struct buffer text;
    buffer_init(&text, 0);
    enum status status = STATUS_OK;
    for (int i = 0; i < length; i++)
        if (wrong[i]) {
            const char *comma = json_array_size(indices) > 0 ? "," : "";
            TRY_GOTO(out, buffer_printf(&text, "%s%d", comma, i + 3));
            json_array_append_new(indices, json_integer(i + 3));
        }
    out->answer = json_string(buffer_string(&text));
    out->metadata = json_pack("{s:s, s:O, s:i, s:i, s:i}", "dyck_sequence", sequence,
                              "error_indices", indices, "n_types", settings->value[0],
                              "total_length", length, "n_errors", (int)json_array_size(indices));
    out->work = (length + 6.0 * (double)json_array_size(indices)) * settings->value[0];
    out->difficulty = logic_difficulty(out->work, 8, 432);
out:
    buffer_free(&text);
    json_decref(indices);
    return status;
}

/* Step numbers of a text like "5, 9 and 12", "[5,9]" or "Thoughts 5,9"; false: it holds anything else. */
static bool read_steps(struct answer_span text, bool marks[STEPS_MAX])
{
    static const char *const words[] = {"thoughts", "thought", "steps", "step",
                                        "and",      "和",      "，",    "、"};
    memset(marks, 0, STEPS_MAX * sizeof *marks);
    for (size_t i = 0; i < text.size;) {
        char c = text.at[i];
        if (c >= '0' && c <= '9') {
            int number = 0;
            for (; i < text.size && text.at[i] >= '0' && text.at[i] <= '9'; i++)
                if ((number = number * 10 + (text.at[i] - '0')) >= STEPS_MAX)
                    return false;
            marks[number] = true;
            continue;
        }
        size_t length = c != '\0' && strchr(" \t\r\n,;[](){}\"'\\", c) != NULL ? 1 : 0;
        for (size_t k = 0; length == 0 && k < sizeof words / sizeof words[0]; k++)
            if (text.size - i >= strlen(words[k]) &&
                strncasecmp(text.at + i, words[k], strlen(words[k])) == 0)
                length = strlen(words[k]);
        if (length == 0)
            return false;
        i += length;
    }
    return true;
}

static bool says_none(struct answer_span text)
{
    static const char *const words[] = {"no",     "none",        "no error",    "no errors",
                                        "\"\"",   "no mistakes", "all correct", "无问题",
                                        "无错误", "[]"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (reading_same_words(text, words[i]))
            return true;
    return text.size == 0;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)question;
    const json_t *indices = json_object_get(metadata, "error_indices");
    bool wanted[STEPS_MAX] = {false}, marks[STEPS_MAX];
    bool fine = json_is_array(indices);
    for (size_t i = 0; i < json_array_size(indices); i++) {
        int step;
        fine =
            fine && literal_int(json_array_get(indices, i), &step) && step >= 0 && step < STEPS_MAX;
        if (fine)
            wanted[step] = true;
    }
    if (!fine && json_is_string(answer))
        fine = read_steps(
            (struct answer_span){json_string_value(answer), json_string_length(answer)}, wanted);
    if (!fine) {
        logic_broken(out, "metadata: error_indices are missing");
        return;
    }
    struct answer_span text = reading_short(response);
    bool read = answer_trimmed(response).size > 0; /* saying nothing is no answer */
    if (read && says_none(text))
        memset(marks, 0, sizeof marks);
    else
        read = read && read_steps(text, marks);
    out->correct = read && memcmp(marks, wanted, sizeof marks) == 0;
    out->why = out->correct ? NULL : read ? "not the wrong steps" : "no list of steps was found";
}

const struct logic_task logic_task_dyck_language_reasoning_errors = {
    "dyck_language_reasoning_errors", "the wrong steps of a trace", knobs, generate, verify};
