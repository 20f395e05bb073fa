/* rollout_store/prompts.h - the prompts of a run: JSONL rows, tokenised once at load.
 *
 * Rows in verl's field names or with mapped keys (settings.data); a prompt is a string or a list of
 * {role, content} rendered by the chat format. A line that does not parse, lacks a key or is empty is an
 * error with file, line and key. Prompts longer than prompt_tokens_max are left out and counted. */
#ifndef ROLLOUT_STORE_PROMPTS_H
#define ROLLOUT_STORE_PROMPTS_H

#include "core/settings.h"
#include "core/status.h"

struct tokenizer;

struct prompt {
    const uint32_t *ids;
    uint32_t count;
    const char *
        record_json; /* {"data_source","prompt","ground_truth","extra":{row}} as the reward worker gets it */
};

struct prompts;
MUST_CHECK enum status prompts_load(struct prompts **prompts, const struct data_settings *data,
                                    enum setting_chat_format chat, struct tokenizer *tokenizer);
void prompts_destroy(struct prompts **prompts);
uint64_t prompts_count(const struct prompts *prompts);
uint64_t prompts_left_out(const struct prompts *prompts);
uint64_t prompts_hash(const struct prompts *prompts); /* of all ids and records */
const struct prompt *prompts_at(const struct prompts *prompts, uint64_t prompt_id);
/* A source from memory, for tests and simulators. */
MUST_CHECK enum status prompts_from_memory(struct prompts **prompts, const struct prompt *rows,
                                           uint64_t count);

#endif
