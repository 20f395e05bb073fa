/* core/stage_lengths.h - the caps of responses that a run goes through: stages.lengths, "40960, 49152, 81920".
 *
 * An ascending list of tokens; its last is sampling.response_tokens_max, by which memory is planned. An empty list is
 * one stage of that length. docs/stages.md. Pure, any thread. */
#ifndef CORE_STAGE_LENGTHS_H
#define CORE_STAGE_LENGTHS_H

#include <stdint.h>

#include "core/status.h"

C_BEGIN

enum { STAGE_LENGTHS_MAX = 64 };

struct stage_lengths {
    uint32_t count;                     /* 1 .. STAGE_LENGTHS_MAX */
    uint32_t tokens[STAGE_LENGTHS_MAX]; /* ascending */
};

/* `text` (NULL: empty) with `last` tokens as the cap of the last stage. INVALID names the column, from 1, and the word. */
MUST_CHECK enum status stage_lengths_parse(const char *text, uint32_t last,
                                           struct stage_lengths *lengths);

C_END
#endif
