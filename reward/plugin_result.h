/* reward/plugin_result.h - what a plugin answered becomes a status, a value and a JSON text.
 *
 * Plugin bytes are not trusted: a score that is not finite or out of [clip_low, clip_high] is SCORE_ERROR,
 * names become valid UTF-8, detail_json must be an object. Pure, any thread. */
#ifndef REWARD_PLUGIN_RESULT_H
#define REWARD_PLUGIN_RESULT_H

#include "proto/messages.h"
#include "reward/weir_reward.h"

enum { PLUGIN_DETAIL_MAX = 64 << 10 }; /* bytes; 256 of them fit into one message */

/* Status and value of `score`. */
void plugin_result_score(const weir_reward_result *result, double clip_low, double clip_high,
                         struct score *score);
/* {"metric":value,...,"cost":c,"detail":{...}}, owned by the caller (memory_free). NULL when there is nothing to
 * tell, no memory, or more than PLUGIN_DETAIL_MAX. */
char *plugin_result_detail(const weir_reward_result *result);

#endif
