/* The format reward: is the response laid out as the task asks. Each rule is a sub-metric:
 *   think_once    exactly one <think> and one </think>
 *   think_first   <think> is the first thing, and </think> comes after it
 *   answer        something other than white space follows </think>
 *   wrapper_once  what holds the answer (a box, a fenced block, <answer>) is there exactly once after </think>
 *   eos           the response ended by itself
 * The value is 1 when all hold, or with score: fraction the share that do. rule: trl_think is TRL's think_format_reward,
 * ^<think>(?!.*<think>)(.*?)</think>.*$ with DOTALL and MULTILINE, which asks for less. A prompt that ends in "<think>"
 * has opened the thinking already, so the response must not. */
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "reward/answer/answer.h"
#include "reward/rules/pieces.h"
#include "reward/rules/read.h"
#include "reward/rules/rules.h"

#define SETTINGS "rule|wrapper|thinking|eos|score"
#define WRAPPERS "none|boxed|fence|answer"
#define FINISHES "eos|length|repetition|abort"
enum wrapper { WRAPPER_NONE, WRAPPER_BOXED, WRAPPER_FENCE, WRAPPER_ANSWER };

struct format_settings {
    bool trl, fraction, eos, thinking;
    enum wrapper wrapper;
};

static int format_create(const json_t *config, const struct reward_tools *tools, void **instance,
                         char *why, size_t size)
{
    (void)tools;
    struct read_note note = {0};
    struct format_settings settings = {0};
    read_only(config, SETTINGS, &note);
    settings.trl = read_choice(config, "rule", "weir|trl_think", 0, &note) == 1;
    settings.wrapper = (enum wrapper)read_choice(config, "wrapper", WRAPPERS, 0, &note);
    settings.thinking = read_choice(config, "thinking", "required|none", 0, &note) == 0;
    settings.eos = read_boolean(config, "eos", true, &note);
    settings.fraction = read_choice(config, "score", "all|fraction", 0, &note) == 1;
    struct format_settings *made = note.failed ? NULL : memory_alloc(sizeof *made);
    if (made == NULL) {
        snprintf(why, size, "%s", note.failed ? note.why : "out of memory");
        return -1;
    }
    *made = settings;
    *instance = made;
    return 0;
}

static void format_destroy(void *instance)
{
    memory_free(instance);
}

/* ---- wrappers ---- */

/* The marks that open or close a block on this line: their number and kind; 0 for none. */
static size_t fence_marks(struct piece line, char *mark, bool *bare)
{
    size_t at = 0, from;
    while (at < line.size && at < 3 && line.at[at] == ' ')
        at++;
    from = at;
    if (at == line.size || (line.at[at] != '`' && line.at[at] != '~'))
        return 0;
    *mark = line.at[at];
    while (at < line.size && line.at[at] == *mark)
        at++;
    struct piece rest = piece_trimmed(piece_from(line, at));
    *bare = rest.size == 0;
    bool code = *mark == '`' && piece_find(rest, "`", 0) < rest.size; /* `code` inside a line */
    return at - from >= 3 && !code ? at - from : 0;
}

/* Complete fenced blocks. */
static size_t count_fences(struct piece text)
{
    size_t count = 0, open = 0;
    char open_mark = 0, mark = 0;
    for (size_t at = 0; at < text.size;) {
        size_t end = piece_find(text, "\n", at);
        bool bare = false;
        size_t marks = fence_marks((struct piece){text.at + at, end - at}, &mark, &bare);
        if (marks > 0 && open == 0) {
            open = marks;
            open_mark = mark;
        } else if (marks >= open && open > 0 && mark == open_mark && bare) {
            open = 0;
            count++;
        }
        at = end + 1;
    }
    return count;
}

static bool has_one_box(struct piece text)
{
    struct answer_span inside;
    size_t words = piece_count(text, "\\boxed") + piece_count(text, "\\fbox");
    return words == 1 && answer_boxed((struct answer_span){text.at, text.size}, &inside) &&
           inside.size > 0;
}

static bool has_one_tag(struct piece text)
{
    size_t from = piece_find(text, "<answer>", 0), to = piece_find(text, "</answer>", 0);
    if (piece_count(text, "<answer>") != 1 || piece_count(text, "</answer>") != 1 || to < from + 8)
        return false;
    return piece_trimmed((struct piece){text.at + from + 8, to - from - 8}).size > 0;
}

static bool has_wrapper(struct piece text, enum wrapper wrapper)
{
    switch (wrapper) {
    case WRAPPER_BOXED:
        return has_one_box(text);
    case WRAPPER_FENCE:
        return count_fences(text) == 1;
    case WRAPPER_ANSWER:
        return has_one_tag(text);
    case WRAPPER_NONE:
        break;
    }
    return true;
}

/* ---- rules ---- */

static bool trl_think_format(struct piece text)
{
    return piece_starts(text, "<think>") && piece_find(text, "<think>", 7) >= text.size &&
           piece_find(text, "</think>", 7) < text.size;
}

struct tally {
    json_t *fields;
    unsigned asked, held;
};

static void rule(struct tally *tally, const char *name, bool holds)
{
    json_object_set_new(tally->fields, name, json_boolean(holds));
    tally->asked++;
    tally->held += holds;
}

/* The rules about thinking; the answer is what follows it. */
static struct piece judge_thinking(struct piece text, bool opened, struct tally *tally)
{
    size_t begins = piece_count(text, "<think>"), ends = piece_count(text, "</think>");
    size_t end = piece_find_last(text, "</think>");
    bool first = opened || piece_starts(text, "<think>");
    rule(tally, "think_once", begins == (opened ? 0 : 1) && ends == 1);
    rule(tally, "think_first", first && end < text.size && (opened || end >= 7));
    if (end == text.size)
        return (struct piece){text.at, 0};
    return piece_from(text, end + 8);
}

static bool ends_in_think(const char *prompt)
{
    struct piece text = piece_trimmed(piece_of(prompt));
    return text.size >= 7 && piece_starts(piece_from(text, text.size - 7), "<think>");
}

static void score_one(const struct format_settings *settings, const struct reward_case *one,
                      struct reward_outcome *outcome)
{
    struct read_note note = {0};
    struct piece text = {one->response, one->response_size}, answer = text;
    struct tally tally = {.fields = outcome->fields};
    enum wrapper wrapper =
        (enum wrapper)read_choice(one->row, "wrapper", WRAPPERS, settings->wrapper, &note);
    unsigned finish = read_choice(one->row, "finish_reason", FINISHES, one->finish_reason, &note);
    if (note.failed) {
        reward_outcome_not(outcome, WEIR_REWARD_UNSCORABLE, note.why);
        return;
    }
    if (settings->trl) {
        reward_outcome_ok(outcome, trl_think_format(text) ? 1.0 : 0.0);
        return;
    }
    if (settings->thinking)
        answer = judge_thinking(text, ends_in_think(one->prompt), &tally);
    rule(&tally, "answer", piece_trimmed(answer).size > 0);
    if (wrapper != WRAPPER_NONE)
        rule(&tally, "wrapper_once", has_wrapper(answer, wrapper));
    if (settings->eos)
        rule(&tally, "eos", finish == WEIR_REWARD_FIN_EOS);
    double share = (double)tally.held / (double)tally.asked;
    reward_outcome_ok(outcome, settings->fraction ? share : tally.held == tally.asked ? 1.0 : 0.0);
}

static void format_score(void *instance, const struct reward_case *cases, size_t count,
                         struct reward_outcome *outcomes)
{
    for (size_t i = 0; i < count; i++)
        score_one(instance, &cases[i], &outcomes[i]);
}

const struct reward_area format_area = {
    .name = "format",
    .version = "1",
    .needs = 0,
    .truth_keys = "",
    .create = format_create,
    .score = format_score,
    .destroy = format_destroy,
};
