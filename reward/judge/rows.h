/* reward/judge/rows.h - rows about judges that need no judge: genrm_parse, pairwise_position_switch, swiss, length_bias.
 * The area "judge" scores them with an empty configuration. Pure, any thread. */
#ifndef REWARD_JUDGE_ROWS_H
#define REWARD_JUDGE_ROWS_H

#include <stdbool.h>

#include "reward/area.h"

/* Is this one of the kinds above? Then it scores the row. */
bool judge_row_score(const char *kind, const struct reward_case *row,
                     struct reward_outcome *outcome);

#endif
