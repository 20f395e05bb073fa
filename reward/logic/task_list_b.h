/* reward/logic/task_list_b.h - towers, stars, liars, words and the tasks of our own: one line a task,
 * task_<name>.c. */
#ifndef REWARD_LOGIC_TASK_LIST_B_H
#define REWARD_LOGIC_TASK_LIST_B_H

// clang-format off
#define LOGIC_TASKS_B(TASK) \
    TASK(skyscraper_puzzle) \
    TASK(sudoku) \
    TASK(mini_sudoku) \
    TASK(star_placement_puzzle) \
    TASK(survo) \
    TASK(wordscapes) \
    TASK(web_of_lies) \
    TASK(knights_knaves) \
    TASK(word_sorting) \
    TASK(word_sorting_mistake) \
    TASK(propositional_entailment) \
    TASK(space_reasoning) \
    TASK(space_reasoning_tree) \
    TASK(cipher) \
    TASK(n_queens) \
    TASK(tower_of_hanoi) \
    TASK(maze_shortest_path) \
    TASK(mathador) \
    TASK(time_sequence) \
    TASK(zebra_puzzle)
// clang-format on

#endif
