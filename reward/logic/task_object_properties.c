/* Object properties: a collection changes step by step (painted, given away, copied); how many of its things have some properties
 * in the end. One answer; the generator keeps the collection. */
#include <string.h>

#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/literal.h"
#include "reward/logic/reading.h"

enum { SIDES = 3, VALUES = 6, NAMES = 8, ITEMS_MAX = 128 };

static const struct logic_knob knobs[] = {
    {"items", 3, 16, 6, "things at the start"},
    {"steps", 0, 10, 3, "changes"},
    {0},
};

/* Sides of a thing: colour, material, size. */
static const char *const side_names[SIDES] = {"colour", "material", "size"};
static const char *const values[SIDES][VALUES] = {
    {"red", "blue", "green", "yellow", "black", "white"},
    {"wood", "glass", "steel", "paper", "wool", "gold"},
    {"tiny", "small", "medium", "large", "huge", "flat"}};
static const char *const names[NAMES] = {"bowl",  "chair", "clock", "ball",
                                         "plate", "shoe",  "lamp",  "box"};

struct item {
    int side[SIDES], name;
};
struct collection {
    int count;
    struct item item[ITEMS_MAX];
};

static enum status tell_item(const struct item *item, struct buffer *text)
{
    return buffer_printf(text, "- a %s %s %s made of %s\n", values[2][item->side[2]],
                         values[0][item->side[0]], names[item->name], values[1][item->side[1]]);
}

/* "things whose colour is red" */
static enum status tell_which(int side, int value, struct buffer *text)
{
    return buffer_printf(text, "thing whose %s is %s", side_names[side], values[side][value]);
}

/* A change of all things with one value; LIMIT when the collection grows too large. */
static enum status change(struct rng *rng, struct collection *all, struct buffer *text)
{
    /* the value of a thing that is there, so the change does something */
    int pick = (int)rng_below(rng, (uint32_t)(all->count > 0 ? all->count : 1));
    int side = (int)rng_below(rng, SIDES), other = (int)rng_below(rng, SIDES);
    int value = all->count > 0 ? all->item[pick].side[side] : 0;
    int new_value = (int)rng_below(rng, VALUES), count = all->count, kept = 0;
    uint32_t way = rng_below(rng, 5);
    TRY(buffer_text(text, way < 2    ? "For every "
                          : way == 2 ? "My sister takes away every "
                                     : "Every "));
    TRY(tell_which(side, value, text));
    if (way < 2)
        TRY(buffer_printf(text, ", a copy of it is added whose %s is %s.\n", side_names[other],
                          values[other][new_value]));
    else if (way == 2)
        TRY(buffer_text(text, ".\n"));
    else
        TRY(buffer_printf(text, " is changed: its %s becomes %s.\n", side_names[other],
                          values[other][new_value]));
    for (int i = 0; i < count; i++) {
        struct item item = all->item[i];
        bool matches = item.side[side] == value;
        if (matches && way == 2)
            continue;
        if (matches && way > 2)
            item.side[other] = new_value;
        all->item[kept++] = item;
        if (!matches || way > 1)
            continue;
        if (all->count == ITEMS_MAX)
            return STATUS_AGAIN;
        item.side[other] = new_value;
        all->item[all->count++] = item;
    }
    if (way == 2)
        all->count = kept;
    return STATUS_OK;
}

/* "colour is red or size is small"; the number of things of which that is true. */
static enum status ask(struct rng *rng, const struct collection *all, struct buffer *text,
                       int *result)
{
    int wanted[SIDES], first = (int)rng_below(rng, SIDES), parts = draw_between(rng, 1, SIDES);
    for (int side = 0; side < SIDES; side++)
        wanted[side] = (int)rng_below(rng, VALUES);
    *result = 0;
    for (int i = 0; i < all->count; i++) {
        bool matches = false;
        for (int k = 0; k < parts; k++) {
            int side = (first + k) % SIDES;
            matches = matches || all->item[i].side[side] == wanted[side];
        }
        *result += matches;
    }
    TRY(buffer_text(text, "\nHow many things of my collection have now"));
    for (int k = 0; k < parts; k++) {
        int side = (first + k) % SIDES;
        TRY(buffer_printf(text, "%s the %s %s", k == 0 ? "" : " or", side_names[side],
                          values[side][wanted[side]]));
    }
    return buffer_text(text,
                       "? A thing to which more than one of these applies counts once. Put the"
                       " number in \\boxed{}.");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    struct collection all = {.count = settings->value[0]};
    int result;
    char answer[16];
    TRY(buffer_text(&out->question, "I had a collection of these things:\n"));
    for (int i = 0; i < all.count; i++) {
        for (int side = 0; side < SIDES; side++)
            all.item[i].side[side] = (int)rng_below(rng, VALUES);
        all.item[i].name = (int)rng_below(rng, NAMES);
        TRY(tell_item(&all.item[i], &out->question));
    }
    TRY(buffer_text(&out->question,
                    settings->value[1] > 0 ? "\nThen, one after the other:\n" : ""));
    for (int step = 0; step < settings->value[1]; step++)
        TRY(change(rng, &all, &out->question));
    TRY(ask(rng, &all, &out->question, &result));
    (void)snprintf(answer, sizeof answer, "%d", result);
    out->answer = json_string(answer);
    out->metadata = json_pack("{s:i, s:i, s:i}", "result", result, "items", all.count, "steps",
                              settings->value[1]);
    out->work = settings->value[0] * (1 + settings->value[1]);
    out->difficulty = logic_difficulty(out->work, 3, 176);
    return STATUS_OK;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)question;
    int wanted;
    double number;
    struct answer_span text = reading_short(response);
    const json_t *stored = answer != NULL ? answer : json_object_get(metadata, "answer");
    if (json_is_string(stored) && strcmp(json_string_value(stored), "unknown") == 0) {
        out->correct = reading_same_words(text, "unknown");
    } else if (literal_int(stored, &wanted)) {
        out->correct = reading_number(text, &number) && number == wanted;
    } else {
        logic_broken(out, "answer: must be a whole number or \"unknown\"");
        return;
    }
    out->why = out->correct ? NULL : "another number, or none";
}

const struct logic_task logic_task_object_properties = {
    "object_properties", "count things after a collection changed", knobs, generate, verify};
