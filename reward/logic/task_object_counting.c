/* Object counting: how many things of a kind somebody has, among the things of others and the histories of some counts. One answer, so
 * the judge compares numbers. */
#include <string.h>

#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/literal.h"
#include "reward/logic/reading.h"

enum { KINDS = 5, THINGS = 8, PERSONS = 8 };

static const struct logic_knob knobs[] = {
    {"things", 4, 60, 16, "counts that are told"},
    {"history", 0, 800, 200, "counts told with gains and losses, permille"},
    {0},
};

static const char *const kinds[KINDS] = {"fruits", "animals", "pieces of furniture", "tools",
                                         "pieces of clothing"};
static const char *const things[KINDS][THINGS] = {
    {"apples", "pears", "plums", "lemons", "cherries", "grapes", "bananas", "peaches"},
    {"ducks", "rabbits", "goats", "hamsters", "parrots", "sheep", "frogs", "geese"},
    {"chairs", "tables", "sofas", "desks", "stools", "wardrobes", "benches", "cupboards"},
    {"hammers", "saws", "drills", "pliers", "spanners", "chisels", "screwdrivers", "files"},
    {"shirts", "jackets", "socks", "gloves", "scarves", "hats", "skirts", "coats"}};
static const char *const persons[PERSONS] = {"My aunt",   "My uncle",    "My brother",
                                             "My sister", "My teacher",  "My cousin",
                                             "My friend", "My neighbour"};

/* "12 apples" or with what happened before; *sentences grows with it. */
static enum status tell_count(struct rng *rng, const char *thing, int count, bool history,
                              struct buffer *text, int *sentences)
{
    TRY(buffer_printf(text, "%d %s", count, thing));
    if (!history)
        return STATUS_OK;
    int changes = draw_between(rng, 1, 4), change[4], start = count;
    for (int i = changes; i-- > 0;) { /* backwards from the end */
        bool more = start > 1 && rng_below(rng, 2) == 0;
        change[i] = more ? draw_between(rng, 1, start - 1) : -draw_between(rng, 1, 40);
        start -= change[i];
    }
    TRY(buffer_printf(text, " (at first %d", start));
    for (int i = 0; i < changes; i++)
        TRY(buffer_printf(text, ", then %d %s", change[i] > 0 ? change[i] : -change[i],
                          change[i] > 0 ? "came" : "went"));
    *sentences += changes;
    return buffer_text(text, ")");
}

/* What is asked: 0 sum of one kind, 1 sum of two kinds, 2 their difference. */
static enum status ask(struct rng *rng, const int *mine, struct buffer *question, int *result)
{
    int first = (int)rng_below(rng, KINDS),
        second = (first + 1 + (int)rng_below(rng, KINDS - 1)) % KINDS;
    switch (rng_below(rng, 3)) {
    case 0:
        *result = mine[first];
        return buffer_printf(question, "How many %s do I have in total?", kinds[first]);
    case 1:
        *result = mine[first] + mine[second];
        return buffer_printf(question, "How many %s and %s do I have together?", kinds[first],
                             kinds[second]);
    default:
        *result =
            mine[first] > mine[second] ? mine[first] - mine[second] : mine[second] - mine[first];
        return buffer_printf(question,
                             "What is the absolute difference between the number of %s and the"
                             " number of %s that I have?",
                             kinds[first], kinds[second]);
    }
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    int mine[KINDS] = {0}, sentences = 0, result;
    bool told[PERSONS + 1][KINDS][THINGS] = {{{false}}};
    TRY(buffer_text(&out->question, "Read this list:\n"));
    for (int i = 0; i < settings->value[0]; i++) {
        bool is_mine = rng_below(rng, 2) == 0;
        uint32_t person = is_mine ? PERSONS : rng_below(rng, PERSONS), kind = rng_below(rng, KINDS),
                 thing = rng_below(rng, THINGS);
        if (told[person][kind][thing])
            continue;
        told[person][kind][thing] = true;
        int count = draw_between(rng, 2, 99);
        mine[kind] += is_mine ? count : 0;
        sentences++;
        TRY(buffer_printf(&out->question, "%s ", is_mine ? "I have" : persons[person]));
        TRY(buffer_text(&out->question, is_mine ? "" : "has "));
        TRY(tell_count(rng, things[kind][thing], count, draw_permille(rng, settings->value[1]),
                       &out->question, &sentences));
        TRY(buffer_text(&out->question, ".\n"));
    }
    TRY(buffer_printf(&out->question,
                      "\nKinds: %s are apples, pears and the like; %s are tables, desks"
                      " and the like; likewise %s, %s and %s.\n\n",
                      kinds[0], kinds[2], kinds[1], kinds[3], kinds[4]));
    TRY(ask(rng, mine, &out->question, &result));
    TRY(buffer_text(&out->question, " Put the number in \\boxed{}."));
    char answer[16];
    (void)snprintf(answer, sizeof answer, "%d", result);
    out->answer = json_string(answer);
    out->metadata = json_pack("{s:i, s:i}", "result", result, "sentences", sentences);
    out->work = sentences;
    out->difficulty = logic_difficulty(out->work, 4, 180);
    return STATUS_OK;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)metadata;
    (void)question;
    int wanted;
    double number;
    if (!literal_int(answer, &wanted)) {
        logic_broken(out, "answer: must be a whole number");
        return;
    }
    bool found = reading_number(reading_short(response), &number);
    out->correct = found && number == wanted;
    out->why = out->correct ? NULL : found ? "another number" : "no number was found";
}

const struct logic_task logic_task_object_counting = {
    "object_counting", "count the things of a kind", knobs, generate, verify};
