/* links: reward core */
/* A recipe's text: accepted or refused with a sentence, and what is accepted combines any answers to a status. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/check.h"
#include "reward/compose.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void combine(const struct compose *recipe, const uint8_t *bytes, size_t size)
{
    static const double values[] = {0, 1, -1, 0.5, 1e300, -1e300, NAN, INFINITY};
    struct compose_answer answers[COMPOSE_PARTS_MAX] = {{0}};
    uint32_t in_effect = compose_in_effect(recipe, (const char *)bytes, size < 40 ? size : 40);
    for (uint32_t i = 0; i < recipe->part_count; i++) {
        uint8_t draw = bytes[(i * 7) % size];
        if (!compose_calls(recipe, in_effect, i, answers))
            continue;
        answers[i] = (struct compose_answer){
            .called = true, .status = draw % 7, .value = values[draw >> 3 & 7]};
    }
    struct compose_result result = compose_combine(recipe, answers);
    CHECK(result.status != WEIR_REWARD_OK || isfinite(result.value));
    CHECK(result.part < (int)recipe->part_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct compose *recipe = NULL;
    if (compose_read(&recipe, "r", (const char *)bytes, size) == STATUS_OK && size > 0)
        combine(recipe, bytes, size);
    compose_free(&recipe);
    return 0;
}
