/* ops/dash/rollout_tokens.h - rollouts of the step files (ops/rollout_file.h) as the page shows them. One thread a reader. */
#ifndef OPS_DASH_ROLLOUT_TOKENS_H
#define OPS_DASH_ROLLOUT_TOKENS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/settings.h"
#include "text/tokenizer.h"

enum {
    ROLLOUT_LOOK_FILES = 24,     /* step files looked into for one rollout */
    ROLLOUT_SHOWN_BYTES = 16384, /* of a text in lists, as the store publishes it */
    ROLLOUT_SHOWN_FILES = 8      /* newest step files that fill the list of a run without Redis */
};

struct rollout_reader {
    const struct settings *settings; /* borrowed: model.path, model.tokenizer */
    const char *folder;              /* borrowed */
    struct tokenizer *tokenizer;     /* opened when it is needed; NULL: not yet */
    bool refused;                    /* it cannot be opened: tokens go without text */
};

void rollout_reader_close(struct rollout_reader *reader);
/* Appends ,"step","advantage","shaped","tokens":[{"t","id","logprob","trained","weight","clipped","version"}]. from_step: the
 * first step that may have trained it, NULL unknown (then the newest files are looked at). NOT_FOUND: no file has it. */
MUST_CHECK enum status rollout_tokens_json(struct rollout_reader *reader, uint64_t group,
                                           uint32_t sample, const uint64_t *from_step,
                                           struct buffer *json);
/* Gives the samples of the newest files as the store would publish them, oldest first. */
void rollout_reader_list(struct rollout_reader *reader,
                         void (*take)(void *self, const json_t *rollout), void *self);

#endif
