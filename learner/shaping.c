#include "learner/shaping.h"

#include "core/check.h"

double shaping_overlong(uint32_t length, uint32_t cap, uint32_t buffer)
{
    CHECK(buffer > 0);
    int64_t over = (int64_t)length - ((int64_t)cap - buffer);
    if (over <= 0)
        return 0;
    if (length > cap || over >= buffer)
        return -1;
    return -(double)over / buffer;
}

struct shaped_reward shaping_of(const struct loss_settings *loss, uint32_t cap,
                                enum segment_status finish, uint32_t length, double reward)
{
    struct shaped_reward shaped = {.reward = reward, .trained = true};
    bool repeats = finish == SEGMENT_REPETITION;
    if (loss->overlong_buffer > 0)
        shaped.reward +=
            loss->overlong_factor * shaping_overlong(length, cap, loss->overlong_buffer);
    if (repeats && loss->repetition == REPETITION_PENALISE)
        shaped.reward -= loss->repetition_penalty;
    if (repeats && loss->repetition == REPETITION_MASK)
        shaped.trained = false;
    if (finish == SEGMENT_LENGTH && loss->overlong == OVERLONG_MASK)
        shaped.trained = false;
    return shaped;
}
