/* reward/python_items.h - items of a plugin as JSON for the Python worker, and its answers as results. Pure. */
#ifndef REWARD_PYTHON_ITEMS_H
#define REWARD_PYTHON_ITEMS_H

#include <jansson.h>

#include "core/buffer.h"
#include "core/status.h"
#include "reward/weir_reward.h"

enum { PYTHON_METRICS_MAX = 64 };

/* {"type":"score","req":...,"deadline_ms":...,"items":[...]} */
MUST_CHECK enum status python_items_write(struct buffer *json, const weir_reward_item *items,
                                          uint32_t count, uint64_t request, int64_t deadline_ms);
/* Calls done once for each item: what the answer says, ERROR for what it leaves out or says wrongly. answer NULL:
 * status for all, why in the detail. */
void python_items_answer(const json_t *answer, const weir_reward_item *items, uint32_t count,
                         int32_t status, const char *why, weir_reward_done_fn done, void *user);

#endif
