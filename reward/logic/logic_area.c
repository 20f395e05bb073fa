/* reward/logic/logic_area.c - the logic tasks as one kind of reward: value 1 or 0. The row is its own ground truth: {"task"
 * (or data_source "logic/<task>"), "question", "answer", "metadata"}; a truth that is such an object is taken too. */
#include "reward/logic/logic_area.h"

#include "reward/logic/logic.h"

static void score(void *instance, const struct reward_case *cases, size_t count,
                  struct reward_outcome *outcomes)
{
    (void)instance;
    for (size_t i = 0; i < count; i++) {
        const json_t *row = cases[i].row;
        if (json_object_get(row, "metadata") == NULL && json_object_get(row, "task") == NULL &&
            json_is_object(cases[i].truth))
            row = cases[i].truth;
        struct logic_verdict verdict;
        logic_verify_row(row, cases[i].response, cases[i].response_size, &verdict);
        if (verdict.unscorable) {
            reward_outcome_not(&outcomes[i], WEIR_REWARD_UNSCORABLE,
                               verdict.why != NULL ? verdict.why : "the row cannot be judged");
            continue;
        }
        reward_outcome_ok(&outcomes[i], verdict.correct ? 1 : 0);
        if (!verdict.correct && verdict.why != NULL)
            json_object_set_new(outcomes[i].fields, "why", reward_sentence(verdict.why));
    }
}

const struct reward_area logic_area = {.name = "logic",
                                       .version = "1",
                                       .needs = 0,
                                       .settings = "",
                                       .truth_keys = "answer",
                                       .create = NULL,
                                       .score = score,
                                       .destroy = NULL};
