/* Word sorting with a mistake to find: a list of thoughts puts one word after another where it belongs; from some
 * thought on (or never) something is wrong. Later thoughts follow the wrong list faithfully, so the first wrong one
 * is the only answer. The generator reads its own thoughts again with an independent check. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "reward/logic/draw.h"
#include "reward/logic/literal.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"
#include "reward/logic/words.h"

enum { WORDS_MAX = 30 };

static const struct logic_knob knobs[] = {
    {"word_count", 3, 30, 8, "words to sort; one thought each"},
    {"mistake_rate", 0, 1000, 800, "share of problems with a mistake, permille"},
    {0},
};

/* What goes wrong: the word is put elsewhere, or is lost, or pushes its neighbour out. */
enum mistake { WRONG_PLACE, WRONG_LOST, WRONG_REPLACED, WRONG_KINDS };

struct run {
    const char *list[WORDS_MAX];
    int count;
};

static int place_of(const struct run *run, const char *word)
{
    int at = 0;
    while (at < run->count && strcmp(run->list[at], word) < 0)
        at++;
    return at;
}

static void insert(struct run *run, int at, const char *word)
{
    for (int i = run->count; i > at; i--)
        run->list[i] = run->list[i - 1];
    run->list[at] = word;
    run->count++;
}

/* False: this kind of mistake would not show here. */
static bool insert_wrong(struct run *run, const char *word, enum mistake kind, struct rng *rng)
{
    int at = place_of(run, word);
    if (kind == WRONG_LOST)
        return true;
    if (kind == WRONG_REPLACED) {
        if (at >= run->count)
            return false;
        run->list[at] = word;
        return true;
    }
    int wrong = (int)rng_below(rng, (uint32_t)run->count + 1);
    insert(run, wrong, word);
    return wrong != at;
}

static enum status write_thought(int number, const char *word, const struct run *run,
                                 struct buffer *out)
{
    TRY(buffer_printf(out, "Thought %d: I put \"%s\" where it belongs. The list is now:", number,
                      word));
    for (int i = 0; i < run->count; i++)
        TRY(buffer_printf(out, "%s%s", i > 0 ? " < " : " ", run->list[i]));
    return buffer_text(out, run->count == 0 ? " empty.\n" : ".\n");
}

/* Whether `after` is `before` with the word where it belongs. */
static bool is_right_step(const struct run *before, const struct run *after, const char *word)
{
    if (after->count != before->count + 1)
        return false;
    int at = place_of(before, word);
    for (int i = 0; i < after->count; i++) {
        const char *wanted = i < at ? before->list[i] : i == at ? word : before->list[i - 1];
        if (strcmp(after->list[i], wanted) != 0)
            return false;
    }
    return true;
}

static enum status think(const int *chosen, int count, int wrong_at, struct rng *rng,
                         struct buffer *out, int *first_wrong)
{
    struct run run = {.count = 0};
    *first_wrong = 0;
    for (int i = 0; i < count; i++) {
        const char *word = words_common[chosen[i]];
        struct run before = run;
        if (i + 1 == wrong_at) {
            enum mistake kind = (enum mistake)rng_below(rng, WRONG_KINDS);
            if (!insert_wrong(&run, word, kind, rng))
                return STATUS_AGAIN;
        } else {
            insert(&run, place_of(&run, word), word);
        }
        if (*first_wrong == 0 && !is_right_step(&before, &run, word))
            *first_wrong = i + 1;
        TRY(write_thought(i + 1, word, &run, out));
    }
    return STATUS_OK;
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    int count = settings->value[0], chosen[WORDS_MAX], first_wrong;
    bool mistake = draw_permille(rng, settings->value[1]);
    int wrong_at = mistake ? draw_between(rng, 2, count) : 0;
    for (int i = 0; i < count;) {
        bool fresh = true;
        chosen[i] = (int)rng_below(rng, (uint32_t)words_common_count);
        for (int j = 0; j < i; j++)
            fresh = fresh && chosen[j] != chosen[i];
        i += fresh;
    }
    TRY(buffer_text(&out->question,
                    "Somebody sorts words into alphabetical order, one after another. Each thought"
                    " takes the next word and puts it into the list of the thought before; nothing"
                    " else may change. Find the first thought that is wrong.\n\nWords:"));
    json_t *words = json_array();
    out->metadata = json_pack("{s:o}", "words", words);
    for (int i = 0; i < count; i++) {
        TRY(buffer_printf(&out->question, " %s", words_common[chosen[i]]));
        json_array_append_new(words, json_string(words_common[chosen[i]]));
    }
    TRY(buffer_text(&out->question, "\n\n"));
    TRY(think(chosen, count, wrong_at, rng, &out->question, &first_wrong));
    if (first_wrong != wrong_at)
        return STATUS_AGAIN;
    TRY(buffer_text(&out->question,
                    "\nEnd your answer with the number of the first wrong thought in a"
                    " box, like \\boxed{3}, or with \\boxed{No} when all are right."));
    out->answer = mistake ? json_integer(first_wrong) : json_null();
    json_object_set_new(out->metadata, "is_mistake", json_boolean(mistake));
    json_object_set(out->metadata, "answer", out->answer);
    if (out->answer == NULL || out->metadata == NULL)
        return FAIL(STATUS_NO_MEMORY, "a word sorting mistake row");
    int last = mistake ? first_wrong : count;
    out->work = (double)last * (last + 1) / 2; /* words to look at until it shows */
    out->difficulty = logic_difficulty(out->work, 2, WORDS_MAX * (WORDS_MAX + 1) / 2.0);
    return STATUS_OK;
}

/* "No", "none", "No mistake": 0; a number; -1 when it is neither. */
static int read_step(struct answer_span text)
{
    static const char *const none[] = {"no", "none", "null", "没有", "无"};
    long long number;
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        size_t size = strlen(none[i]);
        if (text.size >= size && strncasecmp(text.at, none[i], size) == 0 &&
            (text.size == size || !isalnum((unsigned char)text.at[size])))
            return 0;
    }
    size_t runs = 0; /* "3 or 4" is no answer */
    for (size_t i = 0; i < text.size; i++)
        runs += isdigit((unsigned char)text.at[i]) &&
                (i == 0 || !isdigit((unsigned char)text.at[i - 1]));
    return runs == 1 && reading_last_int(text, &number) && number > 0 && number < 10000
               ? (int)number
               : -1;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)question;
    const json_t *stored = answer != NULL ? answer : json_object_get(metadata, "answer");
    const char *text = json_string_value(stored);
    int wanted;
    if (stored != NULL && json_is_null(stored))
        wanted = 0;
    else if (text != NULL)
        wanted = read_step((struct answer_span){text, strlen(text)});
    else if (!literal_int(stored, &wanted))
        wanted = -1;
    if (wanted < 0)
        logic_broken(out, "answer is to be the number of a thought, null or \"No\"");
    else if (read_step(reading_short(response)) == wanted)
        out->correct = true;
    else
        logic_wrong(out, "another thought is the first wrong one");
}

const struct logic_task logic_task_word_sorting_mistake = {
    "word_sorting_mistake",
    "the first wrong step of somebody who sorts words",
    knobs,
    generate,
    verify,
};
