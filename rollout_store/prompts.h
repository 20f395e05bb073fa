/* rollout_store/prompts.h - the prompts of a run: JSONL rows of any number of files, tokenised once at load.
 *
 * Rows in verl's field names or with mapped keys (settings.data); a prompt is a string or a list of
 * {role, content} rendered by the chat format, or ids (a list of whole numbers, or the key prompt_ids). A line that does not parse, lacks a key or is empty is an
 * error with file, line and key. Prompts longer than prompt_tokens_max are left out and counted. */
#ifndef ROLLOUT_STORE_PROMPTS_H
#define ROLLOUT_STORE_PROMPTS_H

#include <stdbool.h>

#include "core/settings.h"
#include "core/status.h"

struct tokenizer;
struct chat;

struct prompt {
    const uint32_t *ids;
    uint32_t count;
    const char *
        record_json; /* {"data_source","prompt","ground_truth","extra":{row}} as the reward worker gets it */
    float level;     /* data.key_level */
    float pass_rate; /* data.key_pass_rate: measured before the run, 0..1 */
    bool has_level, has_pass_rate;
    uint32_t source; /* < prompts_source_count; of the record's data_source */
};
enum { PROMPT_SOURCES_MAX = 4096 };

struct prompts;
MUST_CHECK enum status prompts_load(struct prompts **prompts, const struct data_settings *data,
                                    const struct chat *chat, struct tokenizer *tokenizer);
/* With the chat format of the recipe. */
MUST_CHECK enum status prompts_load_run(struct prompts **prompts, const struct settings *settings,
                                        struct tokenizer *tokenizer);
void prompts_destroy(struct prompts **prompts);
uint64_t prompts_count(const struct prompts *prompts);
uint64_t prompts_left_out(const struct prompts *prompts);
uint64_t prompts_hash(const struct prompts *prompts); /* of all ids and records */
const struct prompt *prompts_at(const struct prompts *prompts, uint64_t prompt_id);
/* Data sources in the order in which they came. */
uint32_t prompts_source_count(const struct prompts *prompts);
const char *prompts_source(const struct prompts *prompts, uint32_t source);
/* Rows from memory, for tests and simulators; `source` is taken from the record. */
MUST_CHECK enum status prompts_from_memory(struct prompts **prompts, const struct prompt *rows,
                                           uint64_t count);

#endif
