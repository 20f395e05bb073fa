/* Tower of Hanoi from any legal position to a full tower, with 3 or 4 pegs and a limit on the moves. A breadth-first
 * search over all positions gives the least number of moves; the judge plays the moves. */
#include <ctype.h>
#include <string.h>

#include "reward/logic/board.h"
#include "reward/logic/draw.h"
#include "reward/logic/literal.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"

enum { DISKS_MAX = 7, PEGS_MAX = 4, STATES_MAX = 1 << (2 * DISKS_MAX), MOVES_MAX = 4096 };

static const struct logic_knob knobs[] = {
    {"disks", 2, 7, 3, "disks"},
    {"pegs", 3, 4, 3, "pegs"},
    {"random_start", 0, 1000, 300,
     "share of problems that start anywhere, permille; else with a tower"},
    {"slack", 0, 50, 0, "moves allowed beyond the least number"},
    {0},
};

/* peg[d]: where disk d + 1 lies; disk 1 is the smallest. */
struct position {
    int peg[DISKS_MAX];
};

static int state_of(const struct position *position, int disks)
{
    int state = 0;
    for (int d = 0; d < disks; d++)
        state |= position->peg[d] << 2 * d;
    return state;
}

static int peg_of(int state, int disk)
{
    return state >> 2 * disk & 3;
}

/* The top disk of a peg; `disks` when it is empty. */
static int top_of(int state, int disks, int peg)
{
    int disk = 0;
    while (disk < disks && peg_of(state, disk) != peg)
        disk++;
    return disk;
}

/* The state after the move, -1 when it is against the rules. */
static int move(int state, int disks, int disk, int from, int to)
{
    if (disk < 0 || disk >= disks || from == to || top_of(state, disks, from) != disk ||
        top_of(state, disks, to) < disk)
        return -1;
    return (state & ~(3 << 2 * disk)) | to << 2 * disk;
}

/* distance[s]: moves from s to the goal, -1: never reached. */
static void search_from_goal(int goal, int disks, int pegs, int16_t distance[STATES_MAX])
{
    int queue[STATES_MAX], head = 0, tail = 0;
    for (int s = 0; s < STATES_MAX; s++)
        distance[s] = -1;
    distance[goal] = 0;
    queue[tail++] = goal;
    while (head < tail) {
        int state = queue[head++];
        for (int from = 0; from < pegs; from++)
            for (int to = 0; to < pegs; to++) {
                int next = move(state, disks, top_of(state, disks, from), from, to);
                if (next >= 0 && distance[next] < 0) {
                    distance[next] = (int16_t)(distance[state] + 1);
                    queue[tail++] = next;
                }
            }
    }
}

/* One shortest way as a list of [disk, from, to]. */
static json_t *shortest(int state, int disks, int pegs, const int16_t distance[STATES_MAX])
{
    json_t *moves = json_array();
    while (distance[state] > 0) {
        int next = -1, disk = 0, from = 0, to = 0;
        for (int i = 0; i < pegs * pegs && next < 0; i++) {
            from = i / pegs;
            to = i % pegs;
            disk = top_of(state, disks, from);
            next = move(state, disks, disk, from, to);
            if (next >= 0 && distance[next] != distance[state] - 1)
                next = -1;
        }
        if (next < 0)
            break;
        json_array_append_new(moves,
                              json_pack("[i, o, o]", disk + 1, json_sprintf("%c", 'A' + from),
                                        json_sprintf("%c", 'A' + to)));
        state = next;
    }
    return moves;
}

static enum status write_question(const struct position *start, int disks, int pegs, int target,
                                  int limit, struct buffer *out)
{
    TRY(buffer_printf(
        out,
        "Tower of Hanoi with %d pegs (A to %c) and %d disks; disk 1 is the smallest."
        " A move takes the top disk of a peg to another peg, never onto a smaller disk."
        " At the start:\n\n",
        pegs, 'A' + pegs - 1, disks));
    for (int peg = 0; peg < pegs; peg++) {
        int told = 0;
        TRY(buffer_printf(out, "Peg %c, from bottom to top:", 'A' + peg));
        for (int d = disks - 1; d >= 0; d--)
            if (start->peg[d] == peg)
                TRY(buffer_printf(out, "%s %d", told++ > 0 ? "," : "", d + 1));
        TRY(buffer_text(out, told == 0 ? " empty\n" : "\n"));
    }
    return buffer_printf(out,
                         "\nBring all disks to peg %c in at most %d moves. End your answer with the"
                         " moves as a list of [disk, from, to] in a code block:\n```python\n"
                         "[[1, \"A\", \"C\"], [2, \"A\", \"B\"], ...]\n```",
                         'A' + target, limit);
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    int disks = settings->value[0], pegs = settings->value[1];
    int16_t distance[STATES_MAX];
    struct position start, end;
    int first = (int)rng_below(rng, (uint32_t)pegs), target = (int)rng_below(rng, (uint32_t)pegs);
    bool anywhere = draw_permille(rng, settings->value[2]);
    for (int d = 0; d < disks; d++) {
        start.peg[d] = anywhere ? (int)rng_below(rng, (uint32_t)pegs) : first;
        end.peg[d] = target;
    }
    search_from_goal(state_of(&end, disks), disks, pegs, distance);
    int least = distance[state_of(&start, disks)];
    if (least < 1)
        return STATUS_AGAIN;
    int limit = least + settings->value[3];
    TRY(write_question(&start, disks, pegs, target, limit, &out->question));
    out->answer = shortest(state_of(&start, disks), disks, pegs, distance);
    out->metadata = json_pack("{s:i, s:i, s:o, s:i, s:i, s:i}", "disks", disks, "pegs", pegs,
                              "start", board_ints_json(start.peg, disks), "target", target, "limit",
                              limit, "least", least);
    if (out->answer == NULL || out->metadata == NULL)
        return FAIL(STATUS_NO_MEMORY, "a tower row");
    out->work = least;
    out->difficulty = logic_difficulty(out->work, 1, 127);
    return STATUS_OK;
}

/* ---- judging ---- */

struct play {
    int state, disks, pegs, moves;
    int disk, from; /* read of the next move: 0, -1 when not yet */
    bool broke_rules;
};

static void play_word(struct play *play, const char *word, size_t length)
{
    int value = 0;
    for (size_t i = 0; i < length && i < 4 && isdigit((unsigned char)word[i]); i++)
        value = value * 10 + (word[i] - '0');
    if (value > 0) {
        play->disk = value;
        play->from = -1;
    } else if (length == 1 && word[0] >= 'A' && word[0] < 'A' + play->pegs && play->disk > 0) {
        if (play->from < 0) {
            play->from = word[0] - 'A';
            return;
        }
        int next = move(play->state, play->disks, play->disk - 1, play->from, word[0] - 'A');
        play->broke_rules = next < 0;
        play->state = next < 0 ? play->state : next;
        play->moves++;
        play->disk = 0;
        play->from = -1;
    }
}

/* Plays every "number, peg, peg" of the text in order; a number followed by another number is a line's. */
static void play_text(struct answer_span text, struct play *play)
{
    for (size_t at = 0; at < text.size && !play->broke_rules && play->moves < MOVES_MAX;) {
        size_t length = 1;
        while (isalnum((unsigned char)text.at[at]) && at + length < text.size &&
               isalnum((unsigned char)text.at[at + length]))
            length++;
        play_word(play, text.at + at, length);
        at += length;
    }
}

/* All scalars in order; lists are at most as deep as literals are. */
static void play_list(const json_t *value, struct play *play)
{
    const char *key;
    json_t *member;
    char scratch[24];
    const char *text = literal_text(value, scratch);
    play_text((struct answer_span){text, strlen(text)}, play);
    for (size_t i = 0; i < json_array_size(value); i++)
        play_list(json_array_get(value, i), play);
    if (json_is_object(value))
        json_object_foreach((json_t *)value, key, member) play_list(member, play);
}

/* The last list of lists or texts, else the last block, else all of the response. */
static void play_response(struct answer_span response, struct play *play)
{
    struct answer_span rest = response;
    json_t *value, *last = NULL;
    while ((value = literal_next(&rest, 1, LITERAL_WORDS)) != NULL) {
        const json_t *first = json_array_get(value, 0);
        bool moves = json_is_array(first) || json_is_object(first) ||
                     (json_is_string(first) && json_string_length(first) > 4);
        if (moves) {
            json_decref(last);
            last = json_incref(value);
        }
        json_decref(value);
    }
    if (last != NULL) {
        play_list(last, play);
    } else {
        struct answer_span said = reading_short(response);
        bool block = said.size > 0 && memchr(said.at, '\n', said.size) != NULL;
        play_text(block ? said : response, play);
    }
    json_decref(last);
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    struct play play = {.from = -1};
    struct position start, end;
    int target, limit;
    bool fine = board_member(metadata, "disks", 1, DISKS_MAX, &play.disks) &&
                board_member(metadata, "pegs", 3, PEGS_MAX, &play.pegs) &&
                board_member(metadata, "target", 0, play.pegs - 1, &target) &&
                board_member(metadata, "limit", 0, MOVES_MAX - 1, &limit) &&
                board_ints(json_object_get(metadata, "start"), play.disks, start.peg);
    for (int d = 0; d < play.disks && fine; d++) {
        fine = start.peg[d] >= 0 && start.peg[d] < play.pegs;
        end.peg[d] = target;
    }
    if (!fine) {
        logic_broken(out, "metadata lacks disks, pegs, start, target or limit");
        return;
    }
    play.state = state_of(&start, play.disks);
    play_response(response, &play);
    if (play.broke_rules)
        logic_wrong(out, "a move breaks the rules");
    else if (play.moves > limit)
        logic_wrong(out, "more moves than allowed");
    else if (play.state != state_of(&end, play.disks))
        logic_wrong(out, "the disks end elsewhere");
    else
        out->correct = true;
}

const struct logic_task logic_task_tower_of_hanoi = {
    "tower_of_hanoi", "disks to another peg within so many moves", knobs, generate, verify,
};
