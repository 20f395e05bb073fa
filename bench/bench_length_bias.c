/* links: core */
/* bench/bench_length_bias.c - how often the length-bias monitor is wrong, over made-up curves (tests/length_bias_world.h).
 *
 *     bench_length_bias [worlds] [seed]      JSON lines: share of alarms of each world for series of 40, 80 and 400 steps,
 *                                            mean step of the alarm; nanoseconds of a push */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "tests/length_bias_world.h"

static void count(enum world world, uint32_t steps, uint32_t worlds, uint64_t seed)
{
    uint32_t alarms = 0;
    double at = 0;
    int64_t start = clock_now_ns();
    for (uint32_t i = 0; i < worlds; i++) {
        uint32_t step = world_run(world, steps, seed + i);
        alarms += step > 0 ? 1 : 0;
        at += step;
    }
    int64_t took = clock_now_ns() - start;
    printf("{\"bench\":\"length_bias\",\"world\":\"%s\",\"clean\":%s,\"steps\":%" PRIu32
           ",\"worlds\":%" PRIu32 ",\"alarms\":%.4f,\"mean_step\":%.1f,\"ns_per_push\":%.0f}\n",
           world_names[world], world_is_clean(world) ? "true" : "false", steps, worlds,
           (double)alarms / worlds, alarms > 0 ? at / alarms : 0,
           (double)took / ((double)worlds * steps));
}

int main(int argc, char **argv)
{
    uint32_t worlds = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 2000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    const uint32_t steps[] = {40, 80, 400};
    for (size_t s = 0; s < sizeof steps / sizeof steps[0]; s++)
        for (int world = 0; world < WORLD_COUNT; world++)
            count((enum world)world, steps[s], worlds, seed);
    return 0;
}
