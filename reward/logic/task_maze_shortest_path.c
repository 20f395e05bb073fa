/* A shortest way through a maze on a grid. A breadth-first search from the start finds what is farthest; the judge
 * walks the answer and wants it to be as short as the shortest, so each shortest way counts. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"

enum { SIDE_MAX = 32, CELLS_MAX = SIDE_MAX * SIDE_MAX };

static const struct logic_knob knobs[] = {
    {"size", 3, 30, 7, "rows and columns"},
    {"walls", 50, 450, 300, "share of wall cells, permille"},
    {0},
};

struct maze {
    int rows, columns, start, goal; /* cell = row * columns + column */
    bool wall[CELLS_MAX];
};

static const struct {
    char letter;
    const char *word, *arrow;
    int dr, dc;
} steps[4] = {{'U', "up", "↑", -1, 0},
              {'D', "down", "↓", 1, 0},
              {'L', "left", "←", 0, -1},
              {'R', "right", "→", 0, 1}};

/* The cell after a step, -1: a wall or outside. */
static int step_to(const struct maze *maze, int cell, int step)
{
    int r = cell / maze->columns + steps[step].dr, c = cell % maze->columns + steps[step].dc;
    if (r < 0 || c < 0 || r >= maze->rows || c >= maze->columns)
        return -1;
    return maze->wall[r * maze->columns + c] ? -1 : r * maze->columns + c;
}

/* distance[cell] from `from`, -1: never. Returns the cell that is farthest (the last one reached). */
static int search(const struct maze *maze, int from, int distance[CELLS_MAX])
{
    int queue[CELLS_MAX], head = 0, tail = 0;
    for (int i = 0; i < maze->rows * maze->columns; i++)
        distance[i] = -1;
    distance[from] = 0;
    queue[tail++] = from;
    while (head < tail) {
        int cell = queue[head++];
        for (int step = 0; step < 4; step++) {
            int next = step_to(maze, cell, step);
            if (next < 0 || distance[next] >= 0)
                continue;
            distance[next] = distance[cell] + 1;
            queue[tail++] = next;
        }
    }
    return queue[tail - 1];
}

static char mark_of(const struct maze *maze, int cell)
{
    return cell == maze->start ? 'S' : cell == maze->goal ? 'G' : maze->wall[cell] ? '#' : '.';
}

static json_t *maze_json(const struct maze *maze)
{
    json_t *rows = json_array();
    for (int r = 0; r < maze->rows; r++) {
        char line[SIDE_MAX + 1];
        for (int c = 0; c < maze->columns; c++)
            line[c] = mark_of(maze, r * maze->columns + c);
        line[maze->columns] = '\0';
        json_array_append_new(rows, json_string(line));
    }
    return rows;
}

static enum status write_question(const json_t *rows, struct buffer *out)
{
    TRY(buffer_text(out,
                    "Find a shortest way from S to G in this maze. # is a wall, every other cell is"
                    " open. A step goes to the next cell up (U), down (D), left (L) or right"
                    " (R).\n\n"));
    for (size_t r = 0; r < json_array_size(rows); r++)
        TRY(buffer_printf(out, "%s\n", json_string_value(json_array_get(rows, r))));
    return buffer_text(out,
                       "\nEnd your answer with the letters of the steps in a box, like"
                       " \\boxed{RRDL}. The way must have the least possible number of steps.");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    struct maze maze = {.rows = settings->value[0], .columns = settings->value[0]};
    int cells = maze.rows * maze.columns, distance[CELLS_MAX];
    for (int i = 0; i < cells; i++)
        maze.wall[i] = draw_permille(rng, settings->value[1]);
    maze.goal = (int)rng_below(rng, (uint32_t)cells);
    maze.wall[maze.goal] = false;
    maze.start = search(&maze, maze.goal, distance);
    int least = distance[maze.start];
    if (least < maze.rows)
        return STATUS_AGAIN;
    char way[CELLS_MAX];
    int length = 0;
    for (int cell = maze.start; cell != maze.goal && length < CELLS_MAX - 1;)
        for (int step = 0; step < 4; step++) {
            int next = step_to(&maze, cell, step);
            if (next >= 0 && distance[next] == distance[cell] - 1) {
                way[length++] = steps[step].letter;
                cell = next;
                break;
            }
        }
    way[length] = '\0';
    json_t *rows = maze_json(&maze);
    out->answer = json_string(way);
    out->metadata = json_pack("{s:o, s:i}", "maze", rows, "least", least);
    if (out->answer == NULL || out->metadata == NULL)
        return FAIL(STATUS_NO_MEMORY, "a maze row");
    out->work = least;
    out->difficulty = logic_difficulty(out->work, 2, 120);
    return write_question(rows, &out->question);
}

/* ---- judging ---- */

static bool read_maze(const json_t *rows, struct maze *maze)
{
    *maze = (struct maze){.rows = (int)json_array_size(rows), .start = -1, .goal = -1};
    if (json_array_size(rows) == 0 || json_array_size(rows) > SIDE_MAX)
        return false;
    for (int r = 0; r < maze->rows; r++) {
        const char *line = json_string_value(json_array_get(rows, (size_t)r));
        size_t length = line != NULL ? strlen(line) : 0;
        if (length == 0 || length > SIDE_MAX || (r > 0 && length != (size_t)maze->columns))
            return false;
        maze->columns = (int)length;
        for (int c = 0; c < maze->columns; c++) {
            int cell = r * maze->columns + c;
            maze->wall[cell] = line[c] == '#';
            maze->start = line[c] == 'S' ? cell : maze->start;
            maze->goal = line[c] == 'G' ? cell : maze->goal;
        }
    }
    return maze->start >= 0 && maze->goal >= 0;
}

/* A direction at the start of the text: an arrow, a word, or one letter; its length, 0: none. */
static size_t read_step(struct answer_span text, int *step)
{
    size_t word = 0;
    while (word < text.size && isalpha((unsigned char)text.at[word]))
        word++;
    for (*step = 0; *step < 4; (*step)++) {
        size_t arrow = strlen(steps[*step].arrow);
        if (text.size >= arrow && memcmp(text.at, steps[*step].arrow, arrow) == 0)
            return arrow;
        if (word == strlen(steps[*step].word) && strncasecmp(text.at, steps[*step].word, word) == 0)
            return word;
    }
    for (*step = 0; *step < 4; (*step)++)
        if (toupper((unsigned char)text.at[0]) == steps[*step].letter)
            return 1;
    return 0;
}

/* Walks the text; false: something in it is no step, or a step runs into a wall. */
static bool walk(const struct maze *maze, struct answer_span text, int *cell, int *count)
{
    for (size_t at = 0; at < text.size;) {
        char c = text.at[at];
        int step;
        if (isspace((unsigned char)c) || (c != '\0' && strchr(",;[](){}\"'`-.|$*>", c) != NULL)) {
            at++;
            continue;
        }
        size_t length = read_step((struct answer_span){text.at + at, text.size - at}, &step);
        if (length == 0)
            return false;
        *cell = step_to(maze, *cell, step);
        if (*cell < 0)
            return false;
        ++*count;
        at += length;
    }
    return true;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    struct maze maze;
    int distance[CELLS_MAX], count = 0;
    if (!read_maze(json_object_get(metadata, "maze"), &maze)) {
        logic_broken(out, "metadata lacks maze: equally long texts with one S and one G");
        return;
    }
    search(&maze, maze.goal, distance);
    if (distance[maze.start] < 0) {
        logic_broken(out, "no way leads from S to G");
        return;
    }
    struct answer_span said = reading_short(response);
    const char *colon = said.size > 0 ? memrchr(said.at, ':', said.size) : NULL;
    if (colon != NULL)
        said = (struct answer_span){colon + 1, said.size - (size_t)(colon + 1 - said.at)};
    int cell = maze.start;
    if (!walk(&maze, reading_unwrapped(said), &cell, &count))
        logic_wrong(out, "the way runs into a wall, or holds something that is no step");
    else if (cell != maze.goal)
        logic_wrong(out, "the way does not end at G");
    else if (count != distance[maze.start])
        logic_wrong(out, "there is a shorter way");
    else
        out->correct = true;
}

const struct logic_task logic_task_maze_shortest_path = {
    "maze_shortest_path", "a shortest way through a maze", knobs, generate, verify,
};
