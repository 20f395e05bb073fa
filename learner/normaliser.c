#include "learner/normaliser.h"

#include "core/check.h"

int64_t normaliser_add_group(struct normaliser *minibatch, const int64_t *response_tokens,
                             int32_t count)
{
    int64_t tokens = 0;
    for (int32_t i = 0; i < count; i++) {
        CHECK(response_tokens[i] >= 0);
        tokens += response_tokens[i];
        minibatch->responses += response_tokens[i] > 0;
    }
    minibatch->tokens += tokens;
    minibatch->prompts += tokens > 0;
    return tokens;
}

double normaliser_scale(const struct normaliser *minibatch, int64_t group_tokens,
                        int64_t response_tokens)
{
    if (response_tokens == 0)
        return 0.0;
    CHECK(group_tokens >= response_tokens && minibatch->tokens >= group_tokens);
    double sample = 1.0 / ((double)minibatch->responses * (double)response_tokens);
    double batch = 1.0 / (double)minibatch->tokens;
    switch (minibatch->kind) {
    case NORMALISER_PROMPT:
        return 1.0 / ((double)minibatch->prompts * (double)group_tokens);
    case NORMALISER_BATCH:
        return batch;
    case NORMALISER_SAMPLE:
        return sample;
    case NORMALISER_CONSTANT:
        CHECK(minibatch->constant > 0);
        return 1.0 / ((double)minibatch->responses * minibatch->constant);
    case NORMALISER_COMBINED:
        return minibatch->lambda * sample + (1.0 - minibatch->lambda) * batch;
    }
    CHECK_NEVER("a normaliser of core/settings.h");
}
