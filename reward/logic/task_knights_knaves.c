/* Knights and knaves: each inhabitant says one or more things of others; knights always tell the truth, knaves always
 * lie. One world fits (all 2^n were filtered); the judge reads everybody's role and checks all statements. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "reward/logic/draw.h"
#include "reward/logic/liars.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"
#include "reward/logic/words.h"

static const struct logic_knob knobs[] = {
    {"people", 2, 12, 4, "inhabitants"},
    {"compound", 100, 1000, 600, "share of statements about two people, permille"},
    {0},
};

static const char *role(bool truthful)
{
    return truthful ? "knight" : "knave";
}

static enum status write_claim(const struct liars_claim *claim, const int *name, struct buffer *out)
{
    const char *a = words_names[name[claim->a]], *b = words_names[name[claim->b]];
    const char *a_is = role(claim->a_truthful), *b_is = role(claim->b_truthful);
    TRY(buffer_printf(out, "- %s says: \"", words_names[name[claim->speaker]]));
    switch (claim->kind) {
    case LIARS_IS:
        TRY(buffer_printf(out, "%s is a %s.", a, a_is));
        break;
    case LIARS_BOTH:
        TRY(buffer_printf(out, "%s is a %s and %s is a %s.", a, a_is, b, b_is));
        break;
    case LIARS_EITHER:
        TRY(buffer_printf(out, "%s is a %s, or %s is a %s, or both.", a, a_is, b, b_is));
        break;
    case LIARS_SAME:
        TRY(buffer_printf(out, "%s and %s are of the same kind.", a, b));
        break;
    case LIARS_DIFFER:
        TRY(buffer_printf(out, "%s and %s are of different kinds.", a, b));
        break;
    default:
        TRY(buffer_printf(out, "If %s is a %s, then %s is a %s.", a, a_is, b, b_is));
    }
    return buffer_text(out, "\"\n");
}

static enum status write_question(const struct liars_puzzle *puzzle, const int *name,
                                  struct buffer *out)
{
    TRY(buffer_text(out,
                    "On an island every inhabitant is a knight, who only says what is true, or a"
                    " knave, who only says what is false. You meet "));
    for (int i = 0; i < puzzle->people; i++)
        TRY(buffer_printf(out, "%s%s",
                          i == 0                   ? ""
                          : i + 1 < puzzle->people ? ", "
                                                   : " and ",
                          words_names[name[i]]));
    TRY(buffer_text(out, ".\n\n"));
    for (int i = 0; i < puzzle->count; i++)
        TRY(write_claim(&puzzle->claim[i], name, out));
    return buffer_printf(
        out,
        "\nWho is what? There is one solution. End your answer with one line that names"
        " everybody's kind, like \"Answer: %s is a knight, %s is a knave, ...\".",
        words_names[name[0]], words_names[name[1]]);
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    struct liars_puzzle puzzle;
    int people = settings->value[0], name[LIARS_PEOPLE_MAX];
    if (!liars_make(people, settings->value[1], false, rng, &puzzle))
        return STATUS_AGAIN;
    draw_sample(rng, name, people, (int)words_names_count);
    TRY(write_question(&puzzle, name, &out->question));
    struct buffer answer;
    buffer_init(&answer, 0);
    enum status status = STATUS_OK;
    json_t *names = json_array();
    for (int i = 0; i < people && status == STATUS_OK; i++) {
        status = buffer_printf(&answer, "%s%s is a %s", i > 0 ? ", " : "", words_names[name[i]],
                               role(puzzle.world >> i & 1));
        json_array_append_new(names, json_string(words_names[name[i]]));
    }
    out->answer = json_string(buffer_string(&answer));
    buffer_free(&answer);
    out->metadata = json_pack("{s:o, s:o}", "names", names, "claims", liars_json(&puzzle));
    out->work = (double)puzzle.nodes;
    out->difficulty = logic_difficulty(out->work, 4, 600);
    return status != STATUS_OK || (out->answer != NULL && out->metadata != NULL)
               ? status
               : FAIL(STATUS_NO_MEMORY, "a knights and knaves row");
}

/* ---- judging ---- */

enum { ROLE_NONE = 0, ROLE_KNIGHT, ROLE_KNAVE, ROLE_BOTH };

struct reading {
    const json_t *names;
    int people, role[LIARS_PEOPLE_MAX];
    unsigned pending, last; /* names since the last role; those it was given to */
    bool negated;
    bool apart; /* another word than "and" came since the last name */
};

static bool is_word(struct answer_span word, const char *text)
{
    return strlen(text) == word.size && strncasecmp(word.at, text, word.size) == 0;
}

static void give_role(struct reading *reading, int given)
{
    given = reading->negated ? ROLE_KNIGHT + ROLE_KNAVE - given : given;
    for (int i = 0; i < reading->people; i++) {
        if (reading->pending >> i & 1)
            reading->role[i] = given;
        else if (reading->pending == 0 && (reading->last >> i & 1) && reading->role[i] != given)
            reading->role[i] = ROLE_BOTH; /* "is a knight or a knave" */
    }
    reading->last = reading->pending != 0 ? reading->pending : reading->last;
    reading->pending = 0;
    reading->negated = false;
}

static void take_word(struct reading *reading, struct answer_span word)
{
    unsigned named = 0;
    for (int i = 0; i < reading->people; i++)
        if (is_word(word, json_string_value(json_array_get(reading->names, (size_t)i))))
            named |= 1u << i;
    if (named != 0) { /* "A and B are knights", but not "A is a what, B is a knight" */
        reading->pending = reading->apart ? named : reading->pending | named;
        reading->apart = false;
        return;
    }
    reading->apart = reading->apart || !(is_word(word, "and") || is_word(word, "both"));
    if (is_word(word, "not") || is_word(word, "isn't"))
        reading->negated = true;
    else if (is_word(word, "knight") || is_word(word, "knights"))
        give_role(reading, ROLE_KNIGHT);
    else if (is_word(word, "knave") || is_word(word, "knaves"))
        give_role(reading, ROLE_KNAVE);
}

/* True when everybody got a role. */
static bool read_roles(struct answer_span text, struct reading *reading)
{
    reading->pending = reading->last = 0;
    reading->negated = reading->apart = false;
    memset(reading->role, 0, sizeof reading->role);
    for (size_t at = 0; at < text.size;) {
        size_t from = at;
        while (at < text.size && (isalpha((unsigned char)text.at[at]) || text.at[at] == '\''))
            at++;
        while (from < at && text.at[from] == '\'')
            from++;
        size_t to = at;
        while (to > from && text.at[to - 1] == '\'')
            to--;
        if (to > from)
            take_word(reading, (struct answer_span){text.at + from, to - from});
        at += at < text.size && !isalpha((unsigned char)text.at[at]);
    }
    for (int i = 0; i < reading->people; i++)
        if (reading->role[i] == ROLE_NONE)
            return false;
    return true;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    struct liars_puzzle puzzle;
    struct reading reading = {.names = json_object_get(metadata, "names")};
    reading.people = (int)json_array_size(reading.names);
    bool fine = liars_of_json(json_object_get(metadata, "claims"), reading.people, &puzzle);
    for (int i = 0; i < reading.people && fine; i++)
        fine = json_is_string(json_array_get(reading.names, (size_t)i));
    if (!fine) {
        logic_broken(out, "metadata lacks names (1 to 14 texts) or claims");
        return;
    }
    if (!read_roles(reading_short(response), &reading) && !read_roles(response, &reading)) {
        logic_wrong(out, "somebody's kind is missing");
        return;
    }
    unsigned world = 0;
    for (int i = 0; i < reading.people; i++) {
        if (reading.role[i] == ROLE_BOTH) {
            logic_wrong(out, "somebody is said to be both");
            return;
        }
        world |= reading.role[i] == ROLE_KNIGHT ? 1u << i : 0;
    }
    out->correct = liars_world_fits(&puzzle, world);
    out->why = out->correct ? NULL : "a statement does not fit its speaker";
}

const struct logic_task logic_task_knights_knaves = {
    "knights_knaves", "who always lies, from statements with and, or, if", knobs, generate, verify,
};
