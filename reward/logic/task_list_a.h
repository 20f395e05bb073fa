/* reward/logic/task_list_a.h - grids, brackets, expressions and stories: one line a task, task_<name>.c. */
#ifndef REWARD_LOGIC_TASK_LIST_A_H
#define REWARD_LOGIC_TASK_LIST_A_H

// clang-format off
#define LOGIC_TASKS_A(TASK) \
    TASK(arrow_maze) \
    TASK(boolean_expressions) \
    TASK(buggy_tables) \
    TASK(calcudoko) \
    TASK(campsite) \
    TASK(cryptarithm) \
    TASK(dyck_language) \
    TASK(dyck_language_errors) \
    TASK(dyck_language_reasoning_errors) \
    TASK(futoshiki) \
    TASK(game_of_24) \
    TASK(goods_exchange) \
    TASK(kukurasu) \
    TASK(math_path) \
    TASK(minesweeper) \
    TASK(norinori) \
    TASK(number_wall) \
    TASK(numbrix) \
    TASK(object_counting) \
    TASK(object_properties) \
    TASK(operation)
// clang-format on

#endif
