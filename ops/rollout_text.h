/* ops/rollout_text.h - samples of a rollout file as people read them: text, or each token with its numbers. One thread. */
#ifndef OPS_ROLLOUT_TEXT_H
#define OPS_ROLLOUT_TEXT_H

#include <stdbool.h>

#include "core/buffer.h"
#include "ops/rollout_file.h"
#include "text/tokenizer.h"

C_BEGIN

struct rollout_text_options {
    bool tokens;  /* a line for each token */
    bool colours; /* of a terminal: by probability, clipped ones underlined */
    bool json;    /* one object a line, with the decoded text */
};

/* tokenizer NULL: ids instead of text. */
MUST_CHECK enum status rollout_text(const struct rollout_tokens *rollout,
                                    const struct tokenizer *tokenizer,
                                    const struct rollout_text_options *options,
                                    struct buffer *text);

C_END
#endif
