/* Zebra puzzle: who lives where and has what, from clues that leave exactly one solution (zebra.h). The answer is a
 * JSON object, house by house; since it is the only one, the judge compares objects, without regard to case and to
 * the order of members. */
#include <ctype.h>
#include <string.h>

#include "reward/logic/board.h"
#include "reward/logic/draw.h"
#include "reward/logic/literal.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"
#include "reward/logic/words.h"
#include "reward/logic/zebra.h"

enum { DEPTH_MAX = 6 };

static const struct logic_knob knobs[] = {
    {"houses", 2, 6, 4, "houses"},
    {"attributes", 2, 6, 3, "things to find out about each house, the name included"},
    {"easy", 100, 900, 400, "share of clues about one house only, permille"},
    {0},
};

/* Attributes after the name; %s is the value. */
static const struct {
    const char *name, *phrase, *values[10];
} attributes[] = {
    {"drink",
     "the person who drinks %s",
     {"tea", "coffee", "milk", "juice", "water", "cocoa", "lemonade", "cider", "soda", "broth"}},
    {"pet",
     "the owner of the %s",
     {"cat", "dog", "parrot", "hamster", "goldfish", "turtle", "rabbit", "pony", "snail", "zebra"}},
    {"color",
     "the person in the %s house",
     {"red", "green", "blue", "yellow", "white", "brown", "orange", "purple", "gray", "pink"}},
    {"job",
     "the %s",
     {"baker", "doctor", "farmer", "painter", "pilot", "teacher", "writer", "tailor", "nurse",
      "judge"}},
    {"hobby",
     "the person who loves %s",
     {"chess", "sailing", "knitting", "singing", "hiking", "cooking", "drawing", "cycling",
      "reading", "fishing"}},
};

struct naming {
    int attribute[ZEBRA_ATTRIBUTES_MAX]; /* index into attributes; of 0 not used: the name */
    const char *value[ZEBRA_THINGS];
};

static void draw_naming(int houses, int count, struct rng *rng, struct naming *naming)
{
    int chosen[10], other[sizeof attributes / sizeof attributes[0]];
    draw_sample(rng, chosen, houses, 10);
    draw_permutation(rng, other, (int)(sizeof attributes / sizeof attributes[0]));
    for (int a = 0; a < count; a++) {
        naming->attribute[a] = a > 0 ? other[a - 1] : -1;
        draw_sample(rng, chosen, houses, 10);
        for (int v = 0; v < houses; v++)
            naming->value[a * ZEBRA_HOUSES_MAX + v] =
                a > 0 ? attributes[other[a - 1]].values[chosen[v]] : NULL;
    }
    int names[ZEBRA_HOUSES_MAX];
    draw_sample(rng, names, houses, (int)words_names_count);
    for (int v = 0; v < houses; v++)
        naming->value[v] = words_names[names[v]];
}

static const char *attribute_name(const struct naming *naming, int a)
{
    return a == 0 ? "name" : attributes[naming->attribute[a]].name;
}

/* "the owner of the cat"; the phrase is split at its %s. */
static enum status write_thing(const struct naming *naming, int thing, struct buffer *out)
{
    int a = thing / ZEBRA_HOUSES_MAX;
    if (a == 0)
        return buffer_text(out, naming->value[thing]);
    const char *phrase = attributes[naming->attribute[a]].phrase, *place = strstr(phrase, "%s");
    return buffer_printf(out, "%.*s%s%s", (int)(place - phrase), phrase, naming->value[thing],
                         place + 2);
}

static enum status write_clue(const struct naming *naming, const struct zebra_clue *clue,
                              int number, struct buffer *out)
{
    static const char *const between[ZEBRA_KINDS] = {" is ",
                                                     " is not ",
                                                     " lives next to ",
                                                     " lives directly to the left of ",
                                                     " lives somewhere to the left of ",
                                                     " lives in house ",
                                                     " does not live in house "};
    TRY(buffer_printf(out, "%d. ", number));
    size_t first = out->size;
    TRY(write_thing(naming, clue->a, out));
    out->bytes[first] = (uint8_t)toupper(out->bytes[first]);
    TRY(buffer_text(out, between[clue->kind]));
    if (clue->kind == ZEBRA_AT || clue->kind == ZEBRA_NOT_AT)
        return buffer_printf(out, "%d.\n", clue->b + 1);
    TRY(write_thing(naming, clue->b, out));
    return buffer_text(out, ".\n");
}

static enum status write_values(const struct zebra *zebra, const struct naming *naming, int a,
                                struct rng *rng, struct buffer *out)
{
    int order[ZEBRA_HOUSES_MAX];
    draw_permutation(rng, order, zebra->houses);
    TRY(buffer_printf(out, "- %s: ", attribute_name(naming, a)));
    for (int i = 0; i < zebra->houses; i++)
        TRY(buffer_printf(out, "%s%s", i > 0 ? ", " : "",
                          naming->value[a * ZEBRA_HOUSES_MAX + order[i]]));
    return buffer_text(out, "\n");
}

static enum status write_question(const struct zebra *zebra, const struct naming *naming,
                                  struct rng *rng, struct buffer *out)
{
    TRY(buffer_printf(out,
                      "%d houses stand in a row, numbered from 1 at the left. One person lives in"
                      " each, and they differ in all of these:\n\n",
                      zebra->houses));
    for (int a = 0; a < zebra->attributes; a++)
        TRY(write_values(zebra, naming, a, rng, out));
    TRY(buffer_text(out, "\nClues:\n"));
    for (int i = 0; i < zebra->count; i++)
        TRY(write_clue(naming, &zebra->clue[i], i + 1, out));
    TRY(buffer_text(out,
                    "\nWho lives where and has what? There is exactly one solution. End your answer"
                    " with a JSON object in a code block that has one member for each house:\n"
                    "```json\n{\"House 1\": {"));
    for (int a = 0; a < zebra->attributes; a++)
        TRY(buffer_printf(out, "%s\"%s\": \"...\"", a > 0 ? ", " : "", attribute_name(naming, a)));
    return buffer_text(out, "}, \"House 2\": ...}\n```");
}

static json_t *solution_json(const struct zebra *zebra, const struct naming *naming)
{
    json_t *solution = json_object();
    for (int h = 0; h < zebra->houses; h++) {
        json_t *house = json_object();
        char key[24];
        for (int a = 0; a < zebra->attributes; a++)
            for (int v = 0; v < zebra->houses; v++)
                if (zebra->house[a * ZEBRA_HOUSES_MAX + v] == h)
                    json_object_set_new(house, attribute_name(naming, a),
                                        json_string(naming->value[a * ZEBRA_HOUSES_MAX + v]));
        (void)snprintf(key, sizeof key, "House %d", h + 1);
        json_object_set_new(solution, key, house);
    }
    return solution;
}

/* The object as JSON text, as rows of other origin have their answers. */
static enum status write_solution(const json_t *solution, struct buffer *out)
{
    TRY(buffer_reserve(out, 8192));
    size_t size = json_dumpb(solution, (char *)out->bytes, 8191, 0);
    if (size == 0 || size > 8191)
        return FAIL(STATUS_LIMIT, "a solution of %zu bytes", size);
    out->size = size;
    return STATUS_OK;
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    struct zebra zebra;
    struct naming naming;
    if (!zebra_make(settings->value[0], settings->value[1], settings->value[2], rng, &zebra))
        return STATUS_AGAIN;
    draw_naming(zebra.houses, zebra.attributes, rng, &naming);
    TRY(write_question(&zebra, &naming, rng, &out->question));
    json_t *solution = solution_json(&zebra, &naming);
    out->metadata = json_pack("{s:i, s:i, s:i, s:O}", "houses", zebra.houses, "attributes",
                              zebra.attributes, "clues", zebra.count, "solution", solution);
    struct buffer text;
    buffer_init(&text, 0);
    enum status status = write_solution(solution, &text);
    out->answer = json_string(buffer_string(&text));
    buffer_free(&text);
    json_decref(solution);
    TRY(status);
    if (out->answer == NULL || out->metadata == NULL)
        return FAIL(STATUS_NO_MEMORY, "a zebra row");
    out->work = (double)zebra.nodes * zebra.count;
    out->difficulty = logic_difficulty(out->work, 2, 2000);
    return STATUS_OK;
}

/* ---- judging ---- */

static bool same_text(const json_t *a, const json_t *b)
{
    char left[24], right[24];
    const char *x = literal_text(a, left), *y = literal_text(b, right);
    return json_typeof(a) == json_typeof(b) && *x == '\0'
               ? json_equal(a, b)
               : *x != '\0' && reading_same_words((struct answer_span){x, strlen(x)}, y);
}

/* The member with that name, in any case. */
static json_t *member_of(const json_t *object, const char *name)
{
    const char *key;
    json_t *member, *found = json_object_get(object, name);
    json_object_foreach((json_t *)object, key, member)
    {
        if (found == NULL && reading_same_words((struct answer_span){key, strlen(key)}, name))
            found = member;
    }
    return found;
}

static bool same_value(const json_t *wanted, const json_t *read, int depth)
{
    const char *key;
    json_t *member;
    if (wanted == NULL || read == NULL || depth == 0)
        return false;
    if (json_is_object(wanted)) {
        if (json_object_size(wanted) != json_object_size(read))
            return false;
        json_object_foreach((json_t *)wanted, key, member)
        {
            if (!same_value(member, member_of(read, key), depth - 1))
                return false;
        }
        return true;
    }
    if (!json_is_array(wanted))
        return same_text(wanted, read);
    if (json_array_size(wanted) != json_array_size(read))
        return false;
    for (size_t i = 0; i < json_array_size(wanted); i++)
        if (!same_value(json_array_get(wanted, i), json_array_get(read, i), depth - 1))
            return false;
    return true;
}

/* The last object of the response; NULL when there is none. The caller's. */
static json_t *read_object(struct answer_span response)
{
    json_t *value, *last = NULL;
    while ((value = literal_next(&response, 1, LITERAL_WORDS)) != NULL) {
        const json_t *inside = board_unwrapped(value);
        if (json_is_object(inside)) {
            json_decref(last);
            last = json_incref((json_t *)inside);
        }
        json_decref(value);
    }
    return last;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)question;
    json_t *wanted = json_is_object(answer) ? json_incref((json_t *)answer) : NULL;
    const char *text = json_string_value(answer);
    if (wanted == NULL && text != NULL && strchr(text, '{') != NULL)
        wanted = literal_read((struct answer_span){text, strlen(text)}, 0);
    if (wanted == NULL && text == NULL)
        wanted = json_incref(json_object_get(metadata, "solution"));
    if (wanted != NULL) {
        json_t *read = read_object(response);
        out->correct = same_value(wanted, read, DEPTH_MAX);
        out->why = out->correct   ? NULL
                   : read == NULL ? "no JSON object was found"
                                  : "the solution differs";
        json_decref(read);
    } else if (text != NULL && *text != '\0') {
        out->correct = reading_same_words(reading_short(response), text);
        out->why = out->correct ? NULL : "the answer differs";
    } else {
        logic_broken(out, "answer is to be a text or an object");
    }
    json_decref(wanted);
}

const struct logic_task logic_task_zebra_puzzle = {
    "zebra_puzzle", "who lives where and has what, from clues", knobs, generate, verify,
};
