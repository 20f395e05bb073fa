/* reward/logic/task_list_a.h - grids, brackets, expressions and stories: one line a task, task_<name>.c. */
#ifndef REWARD_LOGIC_TASK_LIST_A_H
#define REWARD_LOGIC_TASK_LIST_A_H

// clang-format off
#define LOGIC_TASKS_A(TASK) \
    TASK(arrow_maze) \
    TASK(calcudoko) \
    TASK(campsite) \
    TASK(futoshiki) \
    TASK(kukurasu) \
    TASK(minesweeper) \
    TASK(norinori) \
    TASK(number_wall) \
    TASK(numbrix)
// clang-format on

#endif
