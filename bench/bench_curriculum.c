/* links: rollout_store core */
/* bench/bench_curriculum.c - how fast births are drawn: a million prompts of thirty sources, every rule on.
 *
 *     build/<preset>/bench/bench_curriculum [PROMPTS]
 *
 * One JSON line for each curriculum: births a second with the fold (draw, born, closed), limit 10^5; seconds to make it;
 * bytes of the state in a snapshot for a prompt that was tried, limit 64. A store bears some hundred groups a second at
 * most, so a birth should cost nothing that can be seen. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "rollout_store/bytes.h"
#include "rollout_store/curriculum.h"

enum { SOURCES = 30, BIRTHS = 1000000, GROUP = 16 };

static void stop(enum status status)
{
    if (status == STATUS_OK)
        return;
    fprintf(stderr, "%s\n", status_last_error());
    exit(1);
}

static double seconds_since(int64_t begin_ns)
{
    return (double)(clock_now_ns() - begin_ns) * 1e-9;
}

static struct prompts *make_prompts(uint64_t count)
{
    struct prompt *rows = memory_array(count, sizeof *rows);
    char(*records)[48] = memory_array(count, sizeof *records);
    uint32_t ids[1] = {0};
    struct prompts *prompts = NULL;
    if (rows == NULL || records == NULL)
        stop(FAIL(STATUS_NO_MEMORY, "%" PRIu64 " prompts", count));
    for (uint64_t i = 0; i < count; i++) {
        snprintf(records[i], sizeof records[i], "{\"data_source\":\"source%u\"}",
                 (unsigned)(i % SOURCES));
        rows[i] = (struct prompt){.ids = ids,
                                  .count = 1,
                                  .record_json = records[i],
                                  .level = (float)(i / SOURCES % 8),
                                  .has_level = true};
    }
    stop(prompts_from_memory(&prompts, rows, count));
    memory_free(rows);
    memory_free(records);
    return prompts;
}

static void measure(const char *name, const struct prompts *prompts,
                    const struct curriculum_settings *settings)
{
    struct curriculum *curriculum = NULL;
    struct curriculum_config config = {settings, prompts, 1, true};
    int64_t begin_ns = clock_now_ns();
    stop(curriculum_create(&curriculum, &config));
    double create_s = seconds_since(begin_ns);
    begin_ns = clock_now_ns();
    for (uint64_t n = 0; n < BIRTHS; n++) {
        struct curriculum_draw draw;
        stop(curriculum_draw(curriculum, n / 256, &draw));
        curriculum_born(curriculum, n / 256, draw.prompt_id, draw.position);
        uint32_t passed =
            (uint32_t)(draw.prompt_id * 7919 % 64); /* a quarter is solved, most is not */
        curriculum_closed(curriculum, draw.prompt_id, passed < GROUP ? passed : passed % 2 * GROUP,
                          GROUP);
    }
    double births_s = seconds_since(begin_ns);
    struct buffer bytes;
    buffer_init(&bytes, 0);
    struct walk walk = {.of = "curriculum", .out = &bytes, .format = 3};
    stop(curriculum_walk(curriculum, &walk));
    printf("{\"bench\":\"curriculum\",\"rules\":\"%s\",\"prompts\":%" PRIu64
           ",\"births_per_s\":%.0f,\"births_per_s_limit\":100000,\"create_s\":%.3f,"
           "\"snapshot_bytes_per_birth\":%.1f,\"snapshot_bytes_limit\":64}\n",
           name, prompts_count(prompts), BIRTHS / births_s, create_s, (double)bytes.size / BIRTHS);
    buffer_free(&bytes);
    curriculum_destroy(&curriculum);
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    struct curriculum_settings settings = {.mix = "",
                                           .quotas = "",
                                           .quota_window = 1000,
                                           .pass_value = 0.5,
                                           .pass_high = 1,
                                           .band_groups = 64,
                                           .review = 0.1,
                                           .retire_after = 1,
                                           .hard_epochs = 1,
                                           .priority_floor = 0.05};
    int64_t begin_ns = clock_now_ns();
    struct prompts *prompts = make_prompts(count);
    printf("{\"bench\":\"curriculum\",\"rules\":\"rows from memory\",\"prompts\":%" PRIu64
           ",\"load_s\":%.3f}\n",
           count, seconds_since(begin_ns));
    measure("none", prompts, &settings);
    settings.mix = "source1*: 1; source2*: 0.2@0 1@2000; *: 2";
    measure("mix", prompts, &settings);
    settings.quotas = "source1: 0.02";
    settings.raise_at = 0.3;
    settings.lower_at = 0.1;
    settings.retire_at = 0.9;
    settings.hard_after = 1;
    settings.priority = PRIORITY_VARIANCE;
    settings.when_retired = WHEN_RETIRED_REOPEN;
    measure("all", prompts, &settings);
    prompts_destroy(&prompts);
    return 0;
}
