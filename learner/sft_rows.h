/* learner/sft_rows.h - the rows of `weir sft`: JSONL to token ids and masks.
 *
 *     {"prompt": text, "completion": text}       loss on the completion and the end of text after it
 *     {"messages": [{"role","content"}, ...]}     in model.chat_format; loss on what the assistant said and what ends
 *                                                 its turn, up to the end of text
 *     {"prompt": [message], "completion": [message]}   the same, loss on the completion's turns only
 *     {"text": text}                              with sft.mode pretrain: loss on all of it
 *
 * With a chat format a prompt text is one user message, as in runs. Each part between two borders of the mask is
 * tokenised alone, so the ids before an assistant's turn are those an actor makes of the same messages. In mode pretrain
 * rows of the first two forms are documents, too. One thread. */
#ifndef LEARNER_SFT_ROWS_H
#define LEARNER_SFT_ROWS_H

#include "core/arena.h"
#include "core/settings.h"
#include "learner/sequence.h"
#include "text/tokenizer.h"

C_BEGIN

struct sft_rows {
    struct arena *arena;
    struct train_sequence
        *rows; /* [count]; mode pretrain: prompt_ids are the document, response_count is 0 */
    uint32_t count, capacity;
    int64_t longest, tokens;
    uint64_t cut, skipped; /* too long: sft.too_long */
    uint64_t digest;       /* of all ids and masks, in order */
};

/* paths: files or folders of .jsonl files, between commas. limit: tokens of a row at most, 0: none (longer ones as
 * settings.sft.too_long says). NOT_FOUND or INVALID name file and line. */
MUST_CHECK enum status sft_rows_load(struct sft_rows *rows, const struct settings *settings,
                                     struct tokenizer *tokenizer, const char *name,
                                     const char *paths, int64_t limit);
void sft_rows_free(struct sft_rows *rows);

C_END
#endif
