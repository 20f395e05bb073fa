/* Time sequence: when can several people meet, each with a week of busy or free times and perhaps a rule of their own?
 * Answer: the longest possible meeting in minutes and in how many ways it can be had. The week is a table of
 * five-minute slots, so the answer is counted; the judge compares the two numbers. */
#include <string.h>

#include "reward/logic/board.h"
#include "reward/logic/draw.h"
#include "reward/logic/literal.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"
#include "reward/logic/words.h"

enum { PEOPLE_MAX = 6, DAYS = 5, SLOTS = 96, SPANS_MAX = 8, DAY_MINUTES = 5 * SLOTS };

static const struct logic_knob knobs[] = {
    {"n", 2, 6, 2, "people"},
    {"rule_prob", 0, 1000, 300, "permille of people with a rule of their own"},
    {"max_spans", 1, 6, 3, "most times listed for a day"},
    {0},
};

static const char *const day_names[DAYS] = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday"};

enum rule { NO_RULE, LUNCH, ENDS_BY_FOUR, TWO_DAYS, DROPS_SHORT, REST_BEFORE, RULES };
static const char *const rule_words[RULES] = {
    "",
    " has lunch from 12:30 to 13:00 on every day and cannot meet then.",
    " wants every meeting to end by 16:00.",
    " only takes new meetings on Tuesday and Thursday, of 60 minutes at most.",
    " can drop every time listed as busy above that lasts 30 minutes or less.",
    " needs the 10 minutes before the meeting free, too, inside working hours.",
};

struct day {
    bool lists_free; /* else the spans are busy */
    int count, from[SPANS_MAX], to[SPANS_MAX];
};
struct person {
    int name;
    enum rule rule;
    struct day day[DAYS];
    bool free[DAYS][SLOTS];
};

static void draw_day(struct rng *rng, int most, struct day *day)
{
    int at = 0;
    day->lists_free = draw_permille(rng, 500);
    for (int i = draw_between(rng, 1, most); i > 0; i--) {
        int from = at + draw_between(rng, day->lists_free ? 0 : 2, 20);
        int to = from + draw_between(rng, day->lists_free ? 6 : 1, day->lists_free ? 40 : 16);
        if (to > SLOTS)
            return;
        if (day->count > 0 && from == at)
            from++; /* not two spans that touch */
        if (from >= to)
            continue;
        day->from[day->count] = from;
        day->to[day->count++] = to;
        at = to;
    }
}

static void mark_free(struct person *person)
{
    for (int d = 0; d < DAYS; d++) {
        const struct day *day = &person->day[d];
        for (int s = 0; s < SLOTS; s++)
            person->free[d][s] = !day->lists_free;
        for (int i = 0; i < day->count; i++) {
            bool dropped =
                person->rule == DROPS_SHORT && !day->lists_free && day->to[i] - day->from[i] <= 6;
            for (int s = day->from[i]; s < day->to[i]; s++)
                person->free[d][s] = day->lists_free || dropped;
        }
        for (int s = 42; s < 48 && person->rule == LUNCH; s++)
            person->free[d][s] = false;
        for (int s = 84; s < SLOTS && person->rule == ENDS_BY_FOUR; s++)
            person->free[d][s] = false;
        for (int s = 0; s < SLOTS && person->rule == TWO_DAYS && d != 1 && d != 3; s++)
            person->free[d][s] = false;
    }
}

/* Slots that a meeting may last that starts at s; 0: none may. */
static int longest_from(const struct person *people, int count, int d, int s)
{
    int limit = SLOTS - s;
    for (int i = 0; i < count; i++) {
        const bool *free = people[i].free[d];
        int run = 0;
        while (s + run < SLOTS && free[s + run])
            run++;
        if (people[i].rule == TWO_DAYS && run > 12)
            run = 12;
        if (people[i].rule == REST_BEFORE && (s < 2 || !free[s - 1] || !free[s - 2]))
            run = 0;
        limit = run < limit ? run : limit;
    }
    return limit;
}

/* Starts are the full and half hours. */
static void solve(const struct person *people, int count, int *minutes, int *options)
{
    *minutes = *options = 0;
    for (int d = 0; d < DAYS; d++)
        for (int s = 0; s < SLOTS; s += 6) {
            int here = 5 * longest_from(people, count, d, s);
            if (here > *minutes) {
                *minutes = here;
                *options = 0;
            }
            *options += here == *minutes && here > 0;
        }
}

static enum status write_time(int slot, struct buffer *out)
{
    return buffer_printf(out, "%02d:%02d", 9 + slot / 12, slot % 12 * 5);
}

static enum status write_person(const struct person *person, struct buffer *out)
{
    TRY(buffer_printf(out, "\n%s:\n", words_names[person->name]));
    for (int d = 0; d < DAYS; d++) {
        const struct day *day = &person->day[d];
        TRY(buffer_printf(out, "%s: ", day_names[d]));
        if (day->count == 0)
            TRY(buffer_text(out, day->lists_free ? "busy all day" : "free all day"));
        else
            TRY(buffer_text(out, day->lists_free ? "only free " : "busy "));
        for (int i = 0; i < day->count; i++) {
            TRY(buffer_text(out, i > 0 ? ", " : ""));
            TRY(write_time(day->from[i], out));
            TRY(buffer_text(out, "-"));
            TRY(write_time(day->to[i], out));
        }
        TRY(buffer_text(out, "\n"));
    }
    return STATUS_OK;
}

static enum status write_question(const struct person *people, int count, struct buffer *out)
{
    TRY(buffer_printf(out,
                      "%d people work from 9:00 to 17:00 on five days and look for one meeting this"
                      " week, on one day, inside working hours, with all of them free.\n",
                      count));
    for (int i = 0; i < count; i++)
        TRY(write_person(&people[i], out));
    TRY(buffer_text(out, "\n"));
    for (int i = 0; i < count; i++)
        if (people[i].rule != NO_RULE)
            TRY(buffer_printf(out, "%s%s\n", words_names[people[i].name],
                              rule_words[people[i].rule]));
    return buffer_text(out,
                       "\nThe meeting must start on a full or half hour. How many minutes can it"
                       " last at most, and how many choices of day and start are there for a"
                       " meeting of that length? End your answer with both numbers in square"
                       " brackets, like [45, 3]; write [0, 0] when no meeting is possible.");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    struct person people[PEOPLE_MAX] = {{0}};
    int count = settings->value[0], names[PEOPLE_MAX], minutes, options, spans = 0;
    draw_sample(rng, names, count, (int)words_names_count);
    for (int i = 0; i < count; i++) {
        people[i].name = names[i];
        people[i].rule = draw_permille(rng, settings->value[1])
                             ? (enum rule)draw_between(rng, 1, RULES - 1)
                             : NO_RULE;
        for (int d = 0; d < DAYS; d++) {
            draw_day(rng, settings->value[2], &people[i].day[d]);
            spans += people[i].day[d].count;
        }
        mark_free(&people[i]);
    }
    solve(people, count, &minutes, &options);
    if (minutes == 0 && !draw_permille(rng, 100))
        return STATUS_AGAIN;
    TRY(write_question(people, count, &out->question));
    out->answer = json_pack("[i, i]", minutes, options);
    out->metadata = json_pack("{s:i, s:{s:{s:i, s:i}}}", "n", count, "records", "answers",
                              "answer_maxLen", minutes, "answer_nums", options);
    if (out->answer == NULL || out->metadata == NULL)
        return FAIL(STATUS_NO_MEMORY, "a time sequence row");
    out->work = spans;
    out->difficulty = logic_difficulty(out->work, 8, 120);
    return STATUS_OK;
}

/* ---- judging ---- */

static bool is_pair(const json_t *value, int pair[2])
{
    return json_array_size(value) == 2 && literal_int(json_array_get(value, 0), &pair[0]) &&
           literal_int(json_array_get(value, 1), &pair[1]);
}

/* [a, b], or only [0]. */
static bool is_answer(const json_t *value, int pair[2])
{
    value = board_unwrapped(value);
    pair[1] = 0;
    return is_pair(value, pair) ||
           (json_array_size(value) == 1 && literal_int(json_array_get(value, 0), &pair[0]) &&
            pair[0] == 0);
}

/* A short answer "[a, b]", "a, b" or "0", else the last such list of the response. */
static bool read_pair(struct answer_span response, int pair[2])
{
    struct answer_span said = reading_short(response);
    char list[64];
    if (said.size > 0 && said.size < sizeof list - 2) {
        list[0] = '[';
        memcpy(list + 1, said.at, said.size);
        list[said.size + 1] = ']';
        json_t *value = literal_read((struct answer_span){list, said.size + 2}, LITERAL_WORDS);
        bool found = is_answer(value, pair);
        json_decref(value);
        if (found)
            return true;
    }
    bool found = false;
    json_t *value;
    while ((value = literal_next(&response, 1, LITERAL_WORDS)) != NULL) {
        int read[2];
        if (is_answer(value, read)) {
            memcpy(pair, read, sizeof read);
            found = true;
        }
        json_decref(value);
    }
    return found;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)question;
    int wanted[2], read[2] = {0, 0};
    const json_t *stored = json_object_get(json_object_get(metadata, "records"), "answers");
    json_t *parsed = NULL;
    if (json_is_string(answer))
        parsed = literal_read(
            (struct answer_span){json_string_value(answer), json_string_length(answer)}, 0);
    bool fine = is_pair(parsed != NULL ? parsed : answer, wanted) ||
                (literal_int(json_object_get(stored, "answer_maxLen"), &wanted[0]) &&
                 literal_int(json_object_get(stored, "answer_nums"), &wanted[1]));
    json_decref(parsed);
    if (!fine)
        logic_broken(out, "answer is to be two whole numbers");
    else if (!read_pair(response, read))
        logic_wrong(out, "no two numbers were found");
    else if (read[0] == wanted[0] && (read[1] == wanted[1] || (read[0] == 0 && read[1] == 0)))
        out->correct = true;
    else
        logic_wrong(out, "the length or the number of choices is another");
}

const struct logic_task logic_task_time_sequence = {
    "time_sequence", "the longest meeting in calendars with rules", knobs, generate, verify,
};
