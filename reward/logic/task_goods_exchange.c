/* Goods exchange: who owns what after a number of swaps, told in different ways; some sentences change nothing. The
 * generator keeps the books; the judge compares owners with the row's result. */
#include <string.h>

#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/literal.h"
#include "reward/logic/reading.h"
#include "reward/logic/words.h"

enum { PEOPLE_MAX = 10 };

static const struct logic_knob knobs[] = {
    {"people", 3, 8, 5, "people, one item each"},
    {"steps", 2, 24, 6, "sentences"},
    {0},
};

static const char *const colours[] = {"red",   "blue", "green", "yellow", "black",
                                      "white", "grey", "brown", "purple", "orange"};
static const char *const things[] = {"pen", "hat",   "watch", "book", "cup",
                                     "bag", "scarf", "key",   "lamp", "ball"};

struct story {
    int people, name[PEOPLE_MAX];
    int item_of[PEOPLE_MAX]; /* person -> item */
    char item[PEOPLE_MAX][32];
};

static void draw_story(struct rng *rng, int people, struct story *story)
{
    int kinds[100];
    story->people = people;
    draw_sample(rng, story->name, people, (int)words_names_count);
    draw_permutation(rng, story->item_of, people);
    draw_sample(rng, kinds, people, 100);
    for (int i = 0; i < people; i++)
        (void)snprintf(story->item[i], sizeof story->item[i], "%s %s", colours[kinds[i] / 10],
                       things[kinds[i] % 10]);
}

/* One sentence about persons a and b, and what it changes. */
static enum status tell_step(struct rng *rng, struct story *story, struct buffer *text)
{
    int a = (int)rng_below(rng, (uint32_t)story->people),
        b = (a + 1 + (int)rng_below(rng, (uint32_t)story->people - 1)) % story->people;
    const char *first = words_names[story->name[a]], *second = words_names[story->name[b]];
    const char *mine = story->item[story->item_of[a]], *theirs = story->item[story->item_of[b]];
    uint32_t way = rng_below(rng, 8);
    bool swap = way < 6;
    if (swap) {
        int kept = story->item_of[a];
        story->item_of[a] = story->item_of[b];
        story->item_of[b] = kept;
    }
    switch (way) {
    case 0:
        return buffer_printf(text, "%s and %s swap what they own.\n", first, second);
    case 1:
        return buffer_printf(text, "%s gives the %s to %s and gets the %s for it.\n", first, mine,
                             second, theirs);
    case 2:
        return buffer_printf(text, "The owners of the %s and the %s swap these two items.\n", mine,
                             theirs);
    case 3:
        return buffer_printf(text, "Whoever has the %s swaps with %s.\n", theirs, first);
    case 4:
        return buffer_printf(text, "%s trades with the owner of the %s.\n", first, theirs);
    case 5:
        return buffer_printf(text,
                             "%s hands over an item to %s, who hands over the %s in return.\n",
                             first, second, theirs);
    case 6:
        return buffer_printf(text, "%s would like to have the %s, but nothing comes of it.\n",
                             first, theirs);
    default:
        return buffer_printf(text, "%s offers the %s to %s, who declines.\n", first, mine, second);
    }
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    struct story story;
    draw_story(rng, settings->value[0], &story);
    TRY(buffer_printf(&out->question, "%d people own one item each.\n", story.people));
    for (int i = 0; i < story.people; i++)
        TRY(buffer_printf(&out->question, "%s owns the %s.\n", words_names[story.name[i]],
                          story.item[story.item_of[i]]));
    TRY(buffer_text(&out->question, "\nThen, one after the other:\n"));
    for (int step = 0; step < settings->value[1]; step++)
        TRY(tell_step(rng, &story, &out->question));
    TRY(buffer_text(&out->question,
                    "\nWho owns what in the end? End with a code block that holds one"
                    " tuple of pairs, for example:\n```python\n(('Ann', 'red pen'),"
                    " ('Bob', 'blue hat'))\n```"));
    json_t *owners = json_object(), *names = json_array();
    struct buffer answer;
    buffer_init(&answer, 0);
    enum status status = STATUS_OK;
    for (int i = 0; i < story.people; i++) {
        const char *name = words_names[story.name[i]], *item = story.item[story.item_of[i]];
        json_array_append_new(names, json_string(name));
        json_object_set_new(owners, name, json_string(item));
        TRY_GOTO(out, buffer_printf(&answer, "%s('%s','%s')", i == 0 ? "(" : ",", name, item));
    }
    TRY_GOTO(out, buffer_text(&answer, ")"));
    out->answer = json_string(buffer_string(&answer));
    out->metadata = json_pack("{s:i, s:i, s:O, s:O}", "num_people", story.people, "operator_num",
                              settings->value[1], "names", names, "owns_after", owners);
    out->work = settings->value[1] * story.people;
    out->difficulty = logic_difficulty(out->work, 6, 192);
out:
    buffer_free(&answer);
    json_decref(owners);
    json_decref(names);
    return status;
}

/* ---- judging ---- */

/* Person -> item out of a dictionary or a list of pairs; NULL: it is neither, or names somebody twice. */
static json_t *read_owners(const json_t *value)
{
    json_t *owners = json_object();
    bool fine = json_is_object(value) || (json_is_array(value) && json_array_size(value) > 0);
    if (json_is_object(value)) {
        const char *name;
        json_t *item;
        json_object_foreach((json_t *)value, name, item)
        {
            fine = fine && json_is_string(item);
            if (fine)
                json_object_set(owners, name, item);
        }
    }
    for (size_t i = 0; fine && json_is_array(value) && i < json_array_size(value); i++) {
        const json_t *pair = json_array_get(value, i);
        const char *name = json_string_value(json_array_get(pair, 0));
        json_t *item = json_array_get(pair, 1);
        fine = json_array_size(pair) == 2 && name != NULL && json_is_string(item) &&
               json_object_get(owners, name) == NULL && json_object_set(owners, name, item) == 0;
    }
    if (fine)
        return owners;
    json_decref(owners);
    return NULL;
}

/* Words are compared without regard to case and spaces. */
static bool same_owners(json_t *wanted, json_t *given)
{
    const char *name, *other;
    json_t *item, *had;
    if (json_object_size(wanted) != json_object_size(given))
        return false;
    json_object_foreach(wanted, name, item)
    {
        bool found = false;
        json_object_foreach(given, other, had)
        {
            struct answer_span theirs = {other, strlen(other)},
                               thing = {json_string_value(had), json_string_length(had)};
            if (reading_same_words(theirs, name))
                found = reading_same_words(thing, json_string_value(item));
        }
        if (!found)
            return false;
    }
    return true;
}

/* The last list of pairs or dictionary of a response. */
static json_t *owners_of_response(struct answer_span response)
{
    json_t *last = NULL, *value;
    while ((value = literal_next(&response, 1, LITERAL_WORDS)) != NULL) {
        json_t *inner = value; /* \boxed{((..), (..))} reads as a set of one */
        for (int i = 0; i < 4 && json_is_array(inner) && json_array_size(inner) == 1; i++)
            inner = json_array_get(inner, 0);
        json_t *owners = read_owners(inner);
        if (owners != NULL) {
            json_decref(last);
            last = owners;
        }
        json_decref(value);
    }
    return last;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)question;
    const json_t *stored = json_object_get(metadata, "owns_after");
    stored = stored != NULL ? stored : answer;
    json_t *parsed = json_is_string(stored)
                         ? literal_read((struct answer_span){json_string_value(stored),
                                                             json_string_length(stored)},
                                        LITERAL_WORDS)
                         : json_incref((json_t *)stored);
    json_t *wanted = read_owners(parsed);
    json_decref(parsed);
    if (wanted == NULL || json_object_size(wanted) > 64) {
        logic_broken(out, "metadata: owns_after is missing or no list of owners");
        json_decref(wanted);
        return;
    }
    json_t *given = owners_of_response(response);
    out->correct = given != NULL && same_owners(wanted, given);
    out->why = out->correct    ? NULL
               : given != NULL ? "an item has another owner"
                               : "no list of owners was found";
    json_decref(given);
    json_decref(wanted);
}

const struct logic_task logic_task_goods_exchange = {"goods_exchange", "who owns what after swaps",
                                                     knobs, generate, verify};
