/* Web of lies: people at places, each a truth-teller or a liar, say of each other what they are; some of them are
 * asked about. The generator filters all 2^n worlds until one is left; the questions have one right answer each, so
 * the judge compares the list of yes and no (also Chinese ones). */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "reward/logic/draw.h"
#include "reward/logic/liars.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"
#include "reward/logic/words.h"

enum { VERDICTS_MAX = 32 };

static const struct logic_knob knobs[] = {
    {"num_person", 3, 14, 6, "people"},
    {"compound", 0, 1000, 200, "share of statements about two people, permille"},
    {"targets", 1, 5, 3, "people asked about; at most num_person"},
    {0},
};

struct cast {
    int name[LIARS_PEOPLE_MAX], place[LIARS_PEOPLE_MAX];
};

static enum status write_person(const struct cast *cast, int person, struct rng *rng,
                                struct buffer *out)
{
    if (draw_permille(rng, 500))
        return buffer_text(out, words_names[cast->name[person]]);
    return buffer_printf(out, "the person at the %s", words_places[cast->place[person]]);
}

static enum status write_kind(const struct cast *cast, int person, bool truthful, struct rng *rng,
                              struct buffer *out)
{
    TRY(write_person(cast, person, rng, out));
    return buffer_text(out, truthful ? " tells the truth" : " lies");
}

static enum status write_two(const struct cast *cast, const struct liars_claim *claim,
                             const char *between, struct rng *rng, struct buffer *out)
{
    TRY(write_kind(cast, claim->a, claim->a_truthful, rng, out));
    TRY(buffer_text(out, between));
    return write_kind(cast, claim->b, claim->b_truthful, rng, out);
}

static enum status write_alike(const struct cast *cast, const struct liars_claim *claim,
                               struct rng *rng, struct buffer *out)
{
    TRY(buffer_text(out, "of "));
    TRY(write_person(cast, claim->a, rng, out));
    TRY(buffer_text(out, " and "));
    TRY(write_person(cast, claim->b, rng, out));
    return buffer_text(out, claim->kind == LIARS_SAME ? ", either both lie or neither does"
                                                      : ", exactly one lies");
}

static enum status write_claim(const struct cast *cast, const struct liars_claim *claim,
                               struct rng *rng, struct buffer *out)
{
    TRY(buffer_text(out, "- "));
    size_t first = out->size;
    if (claim->speaker >= 0) {
        TRY(write_person(cast, claim->speaker, rng, out));
        TRY(buffer_text(out, " says that "));
    }
    if (claim->kind == LIARS_IS)
        TRY(write_kind(cast, claim->a, claim->a_truthful, rng, out));
    else if (claim->kind == LIARS_BOTH)
        TRY(write_two(cast, claim, " and ", rng, out));
    else if (claim->kind == LIARS_EITHER)
        TRY(write_two(cast, claim, ", or else ", rng, out));
    else if (claim->kind == LIARS_IF) {
        TRY(buffer_text(out, "if "));
        TRY(write_two(cast, claim, ", then ", rng, out));
    } else
        TRY(write_alike(cast, claim, rng, out));
    out->bytes[first] = (uint8_t)toupper(out->bytes[first]);
    return buffer_text(out, claim->kind == LIARS_EITHER ? " (or both hold).\n" : ".\n");
}

static enum status write_question(const struct liars_puzzle *puzzle, const struct cast *cast,
                                  const int *target, int targets, struct rng *rng,
                                  struct buffer *out)
{
    int order[LIARS_CLAIMS_MAX];
    TRY(buffer_text(out, "Each person below either always tells the truth or always lies.\n\n"));
    for (int i = 0; i < puzzle->people; i++)
        TRY(buffer_printf(out, "- %s is at the %s.\n", words_names[cast->name[i]],
                          words_places[cast->place[i]]));
    draw_permutation(rng, order, puzzle->count);
    for (int i = 0; i < puzzle->count; i++)
        TRY(write_claim(cast, &puzzle->claim[order[i]], rng, out));
    TRY(buffer_text(out, "\nQuestions:"));
    for (int i = 0; i < targets; i++) {
        TRY(buffer_text(out, " Does "));
        TRY(write_person(cast, target[i], rng, out));
        TRY(buffer_text(out, " tell the truth?"));
    }
    return buffer_printf(
        out,
        "\nThink step by step and write in the last line \"The answer is **...**.\""
        " with %d word%s, yes or no, separated by commas, in the order of the"
        " questions, for example \"The answer is **yes, no**.\"",
        targets, targets == 1 ? "" : "s");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    struct liars_puzzle puzzle;
    struct cast cast;
    int people = settings->value[0], target[5];
    int targets = settings->value[2] < people ? settings->value[2] : people;
    if (!liars_make(people, settings->value[1], true, rng, &puzzle))
        return STATUS_AGAIN;
    draw_sample(rng, cast.name, people, (int)words_names_count);
    draw_sample(rng, cast.place, people, (int)words_places_count);
    draw_sample(rng, target, targets, people);
    TRY(write_question(&puzzle, &cast, target, targets, rng, &out->question));
    struct buffer answer;
    buffer_init(&answer, 0);
    enum status status = STATUS_OK;
    for (int i = 0; i < targets && status == STATUS_OK; i++)
        status = buffer_printf(&answer, "%s%s", i > 0 ? ", " : "",
                               puzzle.world >> target[i] & 1 ? "yes" : "no");
    out->answer = json_string(buffer_string(&answer));
    buffer_free(&answer);
    out->metadata = json_pack("{s:i, s:o, s:o}", "num_person", people, "claims",
                              liars_json(&puzzle), "names", json_array());
    for (int i = 0; i < people; i++)
        json_array_append_new(json_object_get(out->metadata, "names"),
                              json_string(words_names[cast.name[i]]));
    out->work = (double)puzzle.nodes;
    out->difficulty = logic_difficulty(out->work, 6, 1000);
    return status != STATUS_OK || (out->answer != NULL && out->metadata != NULL)
               ? status
               : FAIL(STATUS_NO_MEMORY, "a web of lies row");
}

/* ---- judging ---- */

enum verdict { NONE, YES, NO, MIXED };

/* What one piece of an answer says. */
static enum verdict piece_verdict(struct answer_span piece)
{
    static const struct {
        const char *word;
        enum verdict verdict;
    } words[] = {{"yes", YES},  {"true", YES}, {"y", YES},   {"truth", YES}, {"no", NO},
                 {"false", NO}, {"n", NO},     {"lie", NO},  {"lies", NO},   {"liar", NO},
                 {"不是", NO},  {"否", NO},    {"假话", NO}, {"假", NO},     {"谎", NO},
                 {"真话", YES}, {"真", YES},   {"是", YES}};
    unsigned found = 0;
    for (size_t at = 0; at < piece.size;) {
        size_t length = 1;
        bool letter = isalpha((unsigned char)piece.at[at]) != 0;
        while (letter && at + length < piece.size && isalpha((unsigned char)piece.at[at + length]))
            length++;
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
            size_t size = strlen(words[i].word);
            if (letter
                    ? size == length && strncasecmp(words[i].word, piece.at + at, size) == 0
                    : size <= piece.size - at && memcmp(words[i].word, piece.at + at, size) == 0) {
                found |= 1u << words[i].verdict;
                length = size;
                break;
            }
        }
        at += length;
    }
    /* "说的是真话" and "说的是假话": the word for "is" is no verdict beside another */
    return found == 0 ? NONE : found == 1u << YES ? YES : found == 1u << NO ? NO : MIXED;
}

/* The pieces between commas, or between spaces too; -1 when one says both or too many are there. */
static int read_verdicts(struct answer_span text, bool spaces, enum verdict *verdicts)
{
    static const char *const marks[] = {",", ";", "\n", "，", "、", "；", "|"};
    int count = 0;
    size_t from = 0;
    for (size_t at = 0; at <= text.size;) {
        size_t length = at == text.size ? 1 : 0;
        for (size_t i = 0; i < sizeof marks / sizeof marks[0] && length == 0; i++)
            if (strlen(marks[i]) <= text.size - at &&
                memcmp(text.at + at, marks[i], strlen(marks[i])) == 0)
                length = strlen(marks[i]);
        if (length == 0 && spaces && text.at[at] == ' ')
            length = 1;
        if (length == 0) {
            at++;
            continue;
        }
        enum verdict verdict = piece_verdict((struct answer_span){text.at + from, at - from});
        if (verdict == MIXED || (verdict != NONE && count == VERDICTS_MAX))
            return -1;
        if (verdict != NONE)
            verdicts[count++] = verdict;
        at += length;
        from = at;
    }
    return count;
}

static bool says_the_same(struct answer_span text, const enum verdict *wanted, int count)
{
    enum verdict verdicts[VERDICTS_MAX];
    for (int spaces = 0; spaces < 2; spaces++)
        if (read_verdicts(text, spaces == 1, verdicts) == count &&
            memcmp(verdicts, wanted, (size_t)count * sizeof *wanted) == 0)
            return true;
    return false;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)metadata;
    (void)question;
    enum verdict wanted[VERDICTS_MAX];
    const char *text = json_string_value(answer);
    int count =
        text == NULL ? 0 : read_verdicts((struct answer_span){text, strlen(text)}, false, wanted);
    if (count <= 0)
        logic_broken(out, "answer is to be a text of yes and no, separated by commas");
    else if (says_the_same(reading_short(response), wanted, count))
        out->correct = true;
    else
        logic_wrong(out, "the list of yes and no differs");
}

const struct logic_task logic_task_web_of_lies = {
    "web_of_lies", "who lies, from what people say of each other", knobs, generate, verify,
};
