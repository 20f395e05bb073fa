/* learner/sft_stages.h - sft.context_stages: how long sequences are, and with which RoPE base, at an update; pure.
 *
 *     "4096@rope=10000: 100; 16384@rope=1e6: 50"
 *
 * 100 updates of sequences of 4096 tokens with base 10000, then 50 of 16384 with base 1e6. Without "@rope=" the base
 * stays what it is. MiniMax-M1 (section 2.1) extended 32K to 1M in four such stages. */
#ifndef LEARNER_SFT_STAGES_H
#define LEARNER_SFT_STAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

C_BEGIN

enum { SFT_STAGES_MAX = 64 };

struct sft_stage {
    int64_t tokens;    /* of a sequence, >= 2 */
    double rope_theta; /* 0: as before */
    uint64_t first, updates;
};

struct sft_stages {
    uint32_t count; /* 0: the setting is empty */
    struct sft_stage rows[SFT_STAGES_MAX];
};

/* INVALID names the column, from 1, and the word. */
MUST_CHECK enum status sft_stages_parse(struct sft_stages *stages, const char *text);
/* The stage of update n (from 0); the last one after all. count > 0. */
const struct sft_stage *sft_stages_at(const struct sft_stages *stages, uint64_t update);
uint64_t sft_stages_updates(const struct sft_stages *stages); /* of all together */
int64_t sft_stages_longest(const struct sft_stages *stages);

C_END
#endif
