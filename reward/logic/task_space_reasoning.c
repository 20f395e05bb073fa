/* Space reasoning: a walk over a net of squares or triangles on which some corners' things are named, then a second
 * walk from where it ended: which thing is there? Corners are coordinates, so the end is computed, and it holds one
 * named thing or none ("unknown"); the judge compares names. */
#include <string.h>
#include <strings.h>

#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"
#include "reward/logic/words.h"

enum { WAYPOINTS_MAX = 12, LEG_MAX = 4, SQUARE = 0, TRIANGLE = 1 };

static const struct logic_knob knobs[] = {
    {"n", 3, 15, 8, "size of the net"},
    {"num_waypoints", 2, 12, 3, "things that are named; at most half of the corners"},
    {"walk", 1, 40, 6, "parts of the walk that is asked about, besides those that lead to its end"},
    {"unknown", 0, 1000, 100, "share of walks that end where nothing was named, permille"},
    {0},
};

static const struct {
    const char *name;
    int dr, dc;
} steps[2][6] = {
    {{"up", -1, 0}, {"down", 1, 0}, {"left", 0, -1}, {"right", 0, 1}},
    {{"left", 0, -1},
     {"right", 0, 1},
     {"bottom-left", 1, 0},
     {"bottom-right", 1, 1},
     {"top-right", -1, 0},
     {"top-left", -1, -1}},
};

struct net {
    int shape, n, r, c; /* where the walker is */
    int parts;          /* written so far */
    struct buffer *out;
    const char *before, *between, *after; /* how a part is told */
    bool first;
};

static bool is_inside(const struct net *net, int r, int c)
{
    return r >= 0 && c >= 0 && r <= net->n && c <= (net->shape == SQUARE ? net->n : r);
}

static enum status walk(struct net *net, int step, int count)
{
    net->r += steps[net->shape][step].dr * count;
    net->c += steps[net->shape][step].dc * count;
    net->parts++;
    TRY(buffer_printf(net->out, "%s%s%d step%s %s", net->first ? "" : net->between, net->before,
                      count, count == 1 ? "" : "s", steps[net->shape][step].name));
    net->first = false;
    return STATUS_OK;
}

/* A part in a random direction other than that of `avoid`'s. */
static enum status walk_randomly(struct net *net, struct rng *rng, int *last)
{
    int directions = net->shape == SQUARE ? 4 : 6;
    for (int i = 0; i < 50; i++) {
        int step = (int)rng_below(rng, (uint32_t)directions), count = draw_between(rng, 1, LEG_MAX);
        if (step == *last || !is_inside(net, net->r + steps[net->shape][step].dr * count,
                                        net->c + steps[net->shape][step].dc * count))
            continue;
        *last = step;
        return walk(net, step, count);
    }
    return STATUS_OK;
}

/* Straight to a corner: the rows first, then along the row. */
static enum status walk_to(struct net *net, int r, int c)
{
    int rows = r - net->r;
    if (net->shape == SQUARE && rows != 0)
        TRY(walk(net, rows > 0 ? 1 : 0, rows > 0 ? rows : -rows));
    else if (rows > 0)
        TRY(walk(net, 2, rows));
    else if (rows < 0) { /* top-left as often as the row above is too short */
        int left = net->c - r > 0 ? net->c - r : 0;
        if (left > 0)
            TRY(walk(net, 5, left));
        if (-rows - left > 0)
            TRY(walk(net, 4, -rows - left));
    }
    int columns = c - net->c;
    int left = net->shape == SQUARE ? 2 : 0;
    if (columns != 0)
        TRY(walk(net, columns > 0 ? left + 1 : left, columns > 0 ? columns : -columns));
    return STATUS_OK;
}

struct story {
    int things[WAYPOINTS_MAX], r[WAYPOINTS_MAX], c[WAYPOINTS_MAX], count;
};

static int thing_at(const struct story *story, int r, int c)
{
    for (int i = 0; i < story->count; i++)
        if (story->r[i] == r && story->c[i] == c)
            return i;
    return -1;
}

static enum status write_net(const struct net *net)
{
    if (net->shape == SQUARE)
        return buffer_printf(
            net->out,
            "A net of %d x %d squares has a thing on every corner, each another one."
            " You walk along the sides of the squares.",
            net->n, net->n);
    return buffer_printf(
        net->out,
        "A triangle is made of small triangles: its first row of corners has 1"
        " corner, the next 2 and so on, the last %d. From a corner you can go left and"
        " right along its row, and to the next rows bottom-left, bottom-right,"
        " top-left and top-right. There is a thing on every corner, each another one.",
        net->n + 1);
}

static enum status tell(struct net *net, struct rng *rng, int count, struct story *story)
{
    draw_sample(rng, story->things, count, (int)words_things_count);
    net->r = draw_between(rng, 0, net->n);
    net->c = draw_between(rng, 0, net->shape == SQUARE ? net->n : net->r);
    TRY(buffer_printf(net->out, " You start at the %s.", words_things[story->things[0]]));
    for (int i = 0; i < count; i++) {
        int last = -1;
        if (i > 0) {
            net->first = true;
            net->before = "";
            net->between = ", then ";
            TRY(buffer_text(net->out, " You go "));
            for (int part = draw_between(rng, 1, 4); part > 0; part--)
                TRY(walk_randomly(net, rng, &last));
            TRY(buffer_printf(net->out, ", and there is the %s.", words_things[story->things[i]]));
        }
        if (net->first && i > 0)
            return STATUS_AGAIN; /* nowhere to go */
        if (thing_at(story, net->r, net->c) >= 0)
            return STATUS_AGAIN; /* two things on one corner */
        story->r[i] = net->r;
        story->c[i] = net->c;
        story->count++;
    }
    return STATUS_OK;
}

/* The second walk; *end: the thing there, or -1. */
static enum status ask(struct net *net, struct rng *rng, int parts, bool unknown,
                       const struct story *story, int *end)
{
    int last = -1, r, c;
    net->first = true;
    TRY(buffer_text(net->out, " From there you go "));
    for (; parts > 0; parts--)
        TRY(walk_randomly(net, rng, &last));
    if (unknown) {
        r = draw_between(rng, 0, net->n);
        c = draw_between(rng, 0, net->shape == SQUARE ? net->n : r);
        if (thing_at(story, r, c) >= 0)
            return STATUS_AGAIN;
    } else {
        int target = (int)rng_below(rng, (uint32_t)story->count);
        r = story->r[target];
        c = story->c[target];
    }
    TRY(walk_to(net, r, c));
    *end = thing_at(story, net->r, net->c);
    if (net->r != r || net->c != c || net->first)
        return STATUS_AGAIN;
    return buffer_text(net->out,
                       ". Which thing is there?\n\nEnd your answer with its name in a box,"
                       " written as above, like \\boxed{apple}; write \\boxed{unknown} when"
                       " nothing was said about that corner.");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    struct net net = {.shape = (int)rng_below(rng, 2),
                      .n = settings->value[0],
                      .out = &out->question,
                      .before = ""};
    struct story story = {.count = 0};
    int side = net.n + 1, corners = net.shape == SQUARE ? side * side : side * (side + 1) / 2;
    int things = settings->value[1] < corners / 2 ? settings->value[1] : corners / 2, end;
    TRY(write_net(&net));
    TRY(tell(&net, rng, things, &story));
    TRY(ask(&net, rng, settings->value[2], draw_permille(rng, settings->value[3]), &story, &end));
    out->answer = json_string(end < 0 ? "unknown" : words_things[story.things[end]]);
    out->metadata =
        json_pack("{s:s, s:i, s:i, s:[ii]}", "shape", net.shape == SQUARE ? "square" : "triangle",
                  "n", net.n, "num_waypoints", story.count, "end", net.r, net.c);
    if (out->answer == NULL || out->metadata == NULL)
        return FAIL(STATUS_NO_MEMORY, "a space reasoning row");
    out->work = net.parts;
    out->difficulty = logic_difficulty(out->work, 4, 80);
    return STATUS_OK;
}

static struct answer_span without_article(struct answer_span text)
{
    static const char *const articles[] = {"the ", "a ", "an "};
    for (size_t i = 0; i < sizeof articles / sizeof articles[0]; i++) {
        size_t size = strlen(articles[i]);
        if (text.size > size && strncasecmp(text.at, articles[i], size) == 0)
            return (struct answer_span){text.at + size, text.size - size};
    }
    return text;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)metadata;
    (void)question;
    const char *wanted = json_string_value(answer);
    struct answer_span said = reading_short(response);
    if (wanted == NULL)
        logic_broken(out, "answer is to be the name of a thing");
    else if (reading_same_words(said, wanted) || reading_same_words(without_article(said), wanted))
        out->correct = true;
    else
        logic_wrong(out, "another thing is there");
}

const struct logic_task logic_task_space_reasoning = {
    "space_reasoning", "what lies at the end of a walk over a net", knobs, generate, verify,
};
