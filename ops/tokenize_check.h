/* ops/tokenize_check.h - rows that another program made with a tokenizer, against ours. */
#ifndef OPS_TOKENIZE_CHECK_H
#define OPS_TOKENIZE_CHECK_H

#include <stdbool.h>

#include "text/tokenizer.h"

/* JSONL rows {"text", "ids", "decoded"} and {"messages", "add_generation_prompt", "kwargs", "text", "ids"}, the latter
 * through the folder's chat template; a row may also have "tools" and "skip_special_tokens". Compares what is there:
 * ids of the text, the text of the ids, the text of the messages. Prints counts, and the first difference with what
 * stands around it; *equal = there was none. special: texts get the post-processor's tokens. */
MUST_CHECK enum status tokenize_check(struct tokenizer *tokenizer, const char *folder,
                                      const char *path, bool special, bool *equal);

#endif
