/* links: rollout_store core */
/* label: unit */
/* timeout: 60 */
/* Which prompt is drawn next: shares, quotas, levels, retirement, and the state as bytes at any birth. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "core/rng.h"
#include "rollout_store/bytes.h"
#include "rollout_store/curriculum.h"
#include "tests/slow.h"

#define SLOW test_is_slow()

enum { ROWS_MAX = 512, GROUP = 8 };

struct rows {
    struct prompt rows[ROWS_MAX];
    char records[ROWS_MAX][64];
    uint32_t ids[1];
    uint64_t count;
};

static struct rows rows;

static void add_row(const char *source, double level, double pass_rate)
{
    assert_true(rows.count < ROWS_MAX);
    char *record = rows.records[rows.count];
    snprintf(record, sizeof rows.records[0], "{\"data_source\":\"%s\"}", source);
    rows.rows[rows.count++] = (struct prompt){.ids = rows.ids,
                                              .count = 1,
                                              .record_json = record,
                                              .level = (float)level,
                                              .pass_rate = (float)pass_rate,
                                              .has_level = !isnan(level),
                                              .has_pass_rate = !isnan(pass_rate)};
}

static void add_rows(const char *source, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        add_row(source, NAN, NAN);
}

static int clear_rows(void **state)
{
    (void)state;
    memset(&rows, 0, sizeof rows);
    return 0;
}

static struct curriculum_settings defaults(void)
{
    return (struct curriculum_settings){.mix = "",
                                        .quotas = "",
                                        .quota_window = 1000,
                                        .pass_value = 0.5000001,
                                        .pass_high = 1,
                                        .band_groups = 4,
                                        .review = 0.25,
                                        .retire_after = 1,
                                        .hard_epochs = 1,
                                        .priority_floor = 0.05};
}

struct stage { /* a curriculum and its prompts */
    struct prompts *prompts;
    struct curriculum *curriculum;
    struct curriculum_settings settings;
    uint64_t version, births;
};

static enum status open_stage(struct stage *stage, const struct curriculum_settings *settings)
{
    *stage = (struct stage){.settings = *settings};
    assert_int_equal(prompts_from_memory(&stage->prompts, rows.rows, rows.count), STATUS_OK);
    struct curriculum_config config = {&stage->settings, stage->prompts, 7, true};
    return curriculum_create(&stage->curriculum, &config);
}

static void begin(struct stage *stage, const struct curriculum_settings *settings)
{
    enum status status = open_stage(stage, settings);
    if (status != STATUS_OK)
        fprintf(stderr, "%s\n", status_last_error());
    assert_int_equal(status, STATUS_OK);
}

static void end(struct stage *stage)
{
    curriculum_destroy(&stage->curriculum);
    prompts_destroy(&stage->prompts);
}

/* One birth; its prompt. */
static uint64_t bear(struct stage *stage)
{
    struct curriculum_draw draw;
    enum status status = curriculum_draw(stage->curriculum, stage->version, &draw);
    if (status != STATUS_OK)
        fprintf(stderr, "%s\n", status_last_error());
    assert_int_equal(status, STATUS_OK);
    curriculum_born(stage->curriculum, stage->version, draw.prompt_id, draw.position);
    stage->births++;
    return draw.prompt_id;
}

static uint32_t source_of(const struct stage *stage, uint64_t prompt_id)
{
    return prompts_at(stage->prompts, prompt_id)->source;
}

static struct curriculum_source look(const struct stage *stage, uint32_t source)
{
    struct curriculum_source seen;
    curriculum_source(stage->curriculum, stage->version, source, &seen);
    return seen;
}

static void write_state(const struct stage *stage, struct buffer *bytes)
{
    struct walk walk = {.of = "curriculum", .out = bytes, .format = 3};
    assert_int_equal(curriculum_walk(stage->curriculum, &walk), STATUS_OK);
}

/* ---- sources ---- */

static void test_curriculum_without_a_mix_draws_as_before(void **state)
{
    (void)state;
    add_rows("a", 11);
    add_rows("b", 26);
    struct stage stage;
    struct curriculum_settings settings = defaults();
    begin(&stage, &settings);
    for (uint64_t draw = 0; draw < 200; draw++) {
        struct curriculum_draw next;
        assert_int_equal(curriculum_draw(stage.curriculum, 0, &next), STATUS_OK);
        uint64_t epoch = draw / 37;
        assert_int_equal(next.prompt_id,
                         rng_permute(7 + epoch * UINT64_C(0x9e3779b97f4a7c15), 37, draw % 37));
        assert_int_equal(next.position, draw); /* so its record is that of a run without one */
        bear(&stage);
    }
    end(&stage);
}

static void test_curriculum_shares_stay_within_one_birth(void **state)
{
    (void)state;
    const uint32_t births = SLOW ? 5000 : 100000;
    const char *mixes[] = {"a: 1; b: 1; *: 1", "a: 0.5; b: 0.01; c: 0.03; d: 0.46",
                           "a: 7; b: 3; c: 0; d: 1e-3", "*: 2"};
    for (size_t m = 0; m < 4; m++) {
        clear_rows(NULL);
        const char *names[] = {"a", "b", "c", "d"};
        for (size_t i = 0; i < 4; i++)
            add_rows(names[i], 3 + 5 * (uint32_t)i);
        struct stage stage;
        struct curriculum_settings settings = defaults();
        settings.mix = mixes[m];
        begin(&stage, &settings);
        double share[4], drawn[4] = {0}, worst = 0;
        for (uint32_t i = 0; i < 4; i++)
            share[i] = look(&stage, i).share_wanted;
        for (uint32_t n = 1; n <= births; n++) {
            drawn[source_of(&stage, bear(&stage))]++;
            for (uint32_t i = 0; i < 4; i++)
                worst = fmax(worst, fabs(drawn[i] - n * share[i]));
        }
        assert_true(worst < 1);
        if (m == 2)
            assert_true(drawn[2] == 0 && share[2] == 0);
        end(&stage);
    }
}

/* Rates of every kind beside each other: what a plain "largest deficit first" misses by more than one birth. */
static void test_curriculum_many_sources_stay_within_one_birth(void **state)
{
    (void)state;
    enum { SOURCES = 60 };
    char mix[2048] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < SOURCES; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%u", i);
        add_rows(name, 2);
        used += (size_t)snprintf(mix + used, sizeof mix - used, "%ss%u: %g", i > 0 ? "; " : "", i,
                                 1.0 / (i + 1));
    }
    struct stage stage;
    struct curriculum_settings settings = defaults();
    settings.mix = mix;
    begin(&stage, &settings);
    double share[SOURCES], drawn[SOURCES] = {0}, worst = 0;
    for (uint32_t i = 0; i < SOURCES; i++)
        share[i] = look(&stage, i).share_wanted;
    for (uint32_t n = 1; n <= (SLOW ? 2000 : 20000); n++) {
        drawn[source_of(&stage, bear(&stage))]++;
        for (uint32_t i = 0; i < SOURCES; i++)
            worst = fmax(worst, fabs(drawn[i] - n * share[i]));
    }
    assert_true(worst < 1);
    end(&stage);
}

static void test_curriculum_weights_move_with_versions(void **state)
{
    (void)state;
    add_rows("math/x", 40);
    add_rows("logic/y", 40);
    add_rows("judged/z", 40);
    struct stage stage;
    struct curriculum_settings settings = defaults();
    settings.mix = "math/*: 1; logic/*: 0.2@0 1@200; judged/*: 0@100 0.3@300";
    begin(&stage, &settings);
    double wanted[3] = {0}, drawn[3] = {0}, worst = 0;
    for (; stage.version <= 400; stage.version++)
        for (int n = 0; n < 7; n++) {
            double v = (double)stage.version;
            double weights[3] = {1, v < 200 ? 0.2 + 0.8 * v / 200 : 1,
                                 v <= 100  ? 0
                                 : v < 300 ? 0.3 * (v - 100) / 200
                                           : 0.3};
            double sum = weights[0] + weights[1] + weights[2];
            for (int i = 0; i < 3; i++)
                wanted[i] += weights[i] / sum;
            uint32_t source = source_of(&stage, bear(&stage));
            assert_true(weights[source] > 0);
            drawn[source]++;
            for (int i = 0; i < 3; i++)
                worst = fmax(worst, fabs(drawn[i] - wanted[i]));
        }
    assert_true(worst < 1);
    end(&stage);
}

static void test_curriculum_quotas_hold_in_every_window(void **state)
{
    (void)state;
    enum { BIRTHS = 3000, WINDOW = 50 };
    static uint8_t drawn[BIRTHS];
    add_rows("judged", 20);
    add_rows("math", 20);
    add_rows("code", 20);
    struct stage stage;
    struct curriculum_settings settings = defaults();
    settings.mix = "judged: 10; math: 1; code: 3";
    settings.quotas = "judged: 0.3; code: 0.5";
    settings.quota_window = WINDOW;
    begin(&stage, &settings);
    assert_true(fabs(look(&stage, 0).share_wanted - 0.3) < 1e-9);
    assert_true(fabs(look(&stage, 1).share_wanted - 0.2) < 1e-9); /* what code may not take */
    uint32_t total[3] = {0};
    for (uint32_t n = 0; n < BIRTHS; n++) {
        uint32_t recent[3] = {0};
        drawn[n] = (uint8_t)source_of(&stage, bear(&stage));
        total[drawn[n]]++;
        for (uint32_t i = 0; i < WINDOW && i <= n; i++)
            recent[drawn[n - i]]++;
        assert_true(recent[0] <= 15 && recent[2] <= 25);
    }
    assert_true(total[0] >= BIRTHS * 0.29 && total[1] >= BIRTHS * 0.19);
    end(&stage);
}

static void test_curriculum_paused_source_waits_and_others_take_its_share(void **state)
{
    (void)state;
    for (int mixed = 0; mixed < 2; mixed++) {
        clear_rows(NULL);
        add_rows("judged", 9);
        add_rows("math", 9);
        struct stage stage;
        struct curriculum_settings settings = defaults();
        settings.mix = mixed ? "*: 1" : "";
        begin(&stage, &settings);
        curriculum_pause(stage.curriculum, 0, true);
        for (int n = 0; n < 50; n++)
            assert_int_equal(source_of(&stage, bear(&stage)), 1);
        curriculum_pause(stage.curriculum, 1, true);
        struct curriculum_draw draw;
        assert_int_equal(curriculum_draw(stage.curriculum, 0, &draw), STATUS_AGAIN);
        assert_non_null(strstr(status_last_error(), "paused"));
        curriculum_pause(stage.curriculum, 0, false);
        assert_int_equal(source_of(&stage, bear(&stage)), 0);
        end(&stage);
    }
}

static void test_curriculum_mistakes_say_what_to_change(void **state)
{
    (void)state;
    add_rows("math", 4);
    add_rows("logic", 4);
    const struct {
        const char *mix, *quotas;
        double raise_at;
        const char *wanted;
    } cases[] = {
        {"maths: 1", "", 0, "no data source matches \"maths\""},
        {"*: 1; math: 2", "", 0, "no data source matches \"math\" that an entry before"},
        {"math: 0; logic: 0@0 1@9", "", 0, "no prompt is left to draw at version 0"},
        {"math: 1", "math: 0.5", 0, "may take 0.5 of the births"},
        {"math: 1", "logic: 0.0001", 0, "is not one birth"},
        {"math: x", "", 0, "curriculum.mix: column 7: \"x\" is no number"},
        {"math: 1@5 2@5", "", 0, "column 11: \"2@5\" does not come after"},
        {"math: 1 2@5", "", 0, "stands beside another value"},
        {"math", "", 0, "has no colon"},
        {"math: 1;; logic: 1", "", 0, "an entry that is empty"},
        {"math: 1", "math: 1.5", 0, "no number from 0 to 1"},
        {"math: 1", "math: 1@3", 0, "names a version"},
        {"math: 1; math: 2", "", 0, "stands twice"},
        {"", "", 0.7, "no row has a number under data.key_level"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct stage stage;
        struct curriculum_settings settings = defaults();
        settings.mix = cases[i].mix;
        settings.quotas = cases[i].quotas;
        settings.raise_at = cases[i].raise_at;
        assert_int_equal(open_stage(&stage, &settings), STATUS_INVALID);
        if (strstr(status_last_error(), cases[i].wanted) == NULL)
            fprintf(stderr, "%s\n  lacks: %s\n", status_last_error(), cases[i].wanted);
        assert_non_null(strstr(status_last_error(), cases[i].wanted));
        end(&stage);
    }
}

/* ---- levels ---- */

static void close_passed(struct stage *stage, uint64_t prompt_id, uint32_t passed)
{
    curriculum_closed(stage->curriculum, prompt_id, passed, GROUP);
}

static void test_curriculum_levels_rise_and_fall_with_the_pass_rate(void **state)
{
    (void)state;
    for (int level = 0; level < 4; level++)
        for (int i = 0; i < 6; i++)
            add_row("synlogic", 1 + 2 * level, NAN);
    add_row("synlogic", NAN, NAN); /* stands on the lowest */
    struct stage stage;
    struct curriculum_settings settings = defaults();
    settings.raise_at = 0.75;
    settings.lower_at = 0.25;
    settings.review = 0;
    begin(&stage, &settings);
    assert_int_equal(look(&stage, 0).levels, 4);
    for (int level = 0; level < 3; level++) {
        for (int n = 0; n < 4;
             n++) { /* 3/4 on the average, and not before band_groups have closed */
            uint64_t id = bear(&stage);
            const struct prompt *row = prompts_at(stage.prompts, id);
            assert_true(!row->has_level || row->level == (float)(1 + 2 * level));
            assert_int_equal(look(&stage, 0).level, level);
            close_passed(&stage, id, n == 0 ? 0 : GROUP);
        }
        assert_int_equal(look(&stage, 0).level, level + 1);
        assert_true(look(&stage, 0).level_value == 1 + 2 * (level + 1));
    }
    for (int n = 0; n < 20; n++)
        close_passed(&stage, bear(&stage), GROUP);
    assert_int_equal(look(&stage, 0).level, 3); /* the last one */
    for (int n = 0; n < 4; n++)
        close_passed(&stage, 0, GROUP); /* of another level: says nothing of this one */
    for (int n = 0; n < 4; n++)
        close_passed(&stage, bear(&stage), 0);
    assert_int_equal(look(&stage, 0).level, 2);
    end(&stage);
}

static void test_curriculum_review_keeps_its_share_below_the_open_level(void **state)
{
    (void)state;
    for (int level = 0; level < 3; level++)
        for (int i = 0; i < 5; i++)
            add_row("logic", level, NAN);
    struct stage stage;
    struct curriculum_settings settings = defaults();
    settings.raise_at = 0.7;
    settings.review = 0.2;
    begin(&stage, &settings);
    for (int n = 0; look(&stage, 0).level < 2; n++) {
        uint64_t id = bear(&stage);
        assert_true(n < 100);
        close_passed(&stage, id, GROUP);
    }
    double drawn[3] = {0};
    for (int n = 1; n <= 1000; n++) {
        drawn[(int)prompts_at(stage.prompts, bear(&stage))->level]++;
        assert_true(fabs(drawn[0] + drawn[1] - 0.2 * n) < 1);
    }
    assert_true(fabs(drawn[0] - drawn[1]) <= 1);
    end(&stage);
}

static void test_curriculum_rows_outside_the_measured_band_are_not_drawn(void **state)
{
    (void)state;
    for (int mixed = 0; mixed < 2; mixed++) {
        clear_rows(NULL);
        for (int i = 0; i <= 10; i++)
            add_row("math", NAN, i / 10.0);
        add_row("math", NAN, NAN);
        struct stage stage;
        struct curriculum_settings settings = defaults();
        settings.mix = mixed ? "math: 1" : "";
        settings.pass_low = 0.1;
        settings.pass_high = 0.9;
        begin(&stage, &settings);
        uint32_t seen[12] = {0};
        for (int n = 0; n < 100; n++)
            seen[bear(&stage)]++;
        assert_int_equal(seen[0], 0);
        assert_int_equal(seen[10], 0);
        for (int i = 1; i < 12; i++)
            assert_true(i == 10 || seen[i] == 10); /* ten times each, an epoch is whole */
        assert_int_equal(look(&stage, 0).drawable, 10);
        end(&stage);
    }
}

/* ---- prompts ---- */

static void test_curriculum_easy_prompts_retire_and_the_last_one_stops_the_draws(void **state)
{
    (void)state;
    for (int mixed = 0; mixed < 2; mixed++) {
        clear_rows(NULL);
        add_rows("math", 6);
        add_rows("logic", 6);
        struct stage stage;
        struct curriculum_settings settings = defaults();
        settings.mix = mixed ? "*: 1" : "";
        settings.retire_at = 0.9;
        settings.retire_after = 2;
        begin(&stage, &settings);
        close_passed(&stage, 0, GROUP);
        close_passed(&stage, 0, GROUP - 2); /* 0.875 of the last two */
        assert_int_equal(look(&stage, 0).retired, 0);
        close_passed(&stage, 0, GROUP); /* still */
        close_passed(&stage, 0, GROUP);
        assert_int_equal(look(&stage, 0).retired, 1);
        for (int n = 0; n < 60; n++)
            assert_true(bear(&stage) != 0);
        for (uint64_t id = 1; id < 12; id++)
            for (int n = 0; n < 2; n++)
                close_passed(&stage, id, GROUP);
        struct curriculum_draw draw;
        assert_int_equal(curriculum_draw(stage.curriculum, 5, &draw), STATUS_NOT_FOUND);
        assert_non_null(strstr(status_last_error(), "2 have all prompts retired"));
        end(&stage);
    }
}

static void test_curriculum_retired_source_reopens_when_told_to(void **state)
{
    (void)state;
    add_rows("math", 5);
    struct stage stage;
    struct curriculum_settings settings = defaults();
    settings.retire_at = 0.9;
    settings.when_retired = WHEN_RETIRED_REOPEN;
    begin(&stage, &settings);
    for (uint64_t id = 0; id < 5; id++) {
        assert_int_equal(look(&stage, 0).retired, id);
        close_passed(&stage, id, GROUP);
    }
    assert_int_equal(look(&stage, 0).retired, 0);
    assert_int_equal(look(&stage, 0).reopened, 1);
    assert_int_equal(look(&stage, 0).drawable, 5);
    bear(&stage);
    end(&stage);
}

static void test_curriculum_prompts_that_never_pass_rest_and_return(void **state)
{
    (void)state;
    add_rows("math", 10);
    struct stage stage;
    struct curriculum_settings settings = defaults();
    settings.hard_after = 2;
    settings.hard_epochs = 3;
    begin(&stage, &settings);
    uint64_t hard = 4;
    uint32_t when[16] = {0}, count = 0;
    for (uint32_t epoch = 0; epoch < 14; epoch++)
        for (uint32_t n = 0, drawn = 0; n < 10; n++) { /* an epoch is at most 10 draws long */
            struct curriculum_draw draw;
            assert_int_equal(curriculum_draw(stage.curriculum, 0, &draw), STATUS_OK);
            if (draw.position / 10 != epoch)
                break;
            uint64_t id = bear(&stage);
            drawn++;
            if (id == hard)
                when[count++] = epoch;
            close_passed(&stage, id, id == hard ? 0 : 4);
        }
    const uint32_t wanted[] = {0, 1, 5, 9, 13}; /* sits out three epochs each time */
    assert_int_equal(count, 5);
    assert_memory_equal(when, wanted, sizeof wanted);
    assert_int_equal(look(&stage, 0).hard, 1);
    close_passed(&stage, hard, 1);
    assert_int_equal(look(&stage, 0).hard, 0);
    end(&stage);
}

static void test_curriculum_all_prompts_resting_are_woken(void **state)
{
    (void)state;
    add_rows("math", 3);
    struct stage stage;
    struct curriculum_settings settings = defaults();
    settings.hard_after = 1;
    settings.hard_epochs = 1000;
    begin(&stage, &settings);
    for (int n = 0; n < 30; n++)
        close_passed(&stage, bear(&stage), 0);
    assert_int_equal(look(&stage, 0).births, 30);
    end(&stage);
}

static void test_curriculum_priority_follows_the_variance(void **state)
{
    (void)state;
    add_rows("math", 4);
    struct stage stage;
    struct curriculum_settings settings = defaults();
    settings.priority = PRIORITY_VARIANCE;
    settings.priority_floor = 0.2;
    begin(&stage, &settings);
    const uint32_t passed[] = {4, 8, 0, 1};
    for (uint64_t id = 0; id < 4; id++)
        for (int n = 0; n < 8; n++)
            close_passed(&stage, id, passed[id]);
    double weight[4], sum = 0, drawn[4] = {0};
    for (int i = 0; i < 4; i++) {
        double p = (passed[i] / 8.0 * 8 + 0.5) / 9;
        weight[i] = fmax(0.2, 4 * p * (1 - p));
        sum += weight[i];
    }
    uint32_t births = SLOW ? 4000 : 40000;
    for (uint32_t n = 0; n < births; n++)
        drawn[bear(&stage)]++;
    for (int i = 0; i < 4; i++)
        assert_true(fabs(drawn[i] / births - weight[i] / sum) < (SLOW ? 0.04 : 0.012));
    end(&stage);
}

/* ---- state ---- */

/* What a run does to it, from a seed: births of moving weights, groups that close late, pauses. */
static void act(struct stage *stage, struct rng *rng)
{
    uint64_t open[16];
    static uint64_t held[16];
    static uint32_t count;
    memcpy(open, held, sizeof open);
    uint32_t kind = rng_below(rng, 20);
    if (stage->births == 0)
        count = 0;
    if (kind < 10 && count < 16) {
        struct curriculum_draw draw;
        if (curriculum_draw(stage->curriculum, stage->version, &draw) == STATUS_OK) {
            curriculum_born(stage->curriculum, stage->version, draw.prompt_id, draw.position);
            held[count++] = draw.prompt_id;
            stage->births++;
        }
    } else if (kind < 18 && count > 0) {
        uint32_t at = rng_below(rng, count);
        uint64_t id = held[at];
        held[at] = held[--count];
        uint32_t passed = id % 5 == 0 ? 0 : id % 5 == 1 ? GROUP : rng_below(rng, GROUP + 1);
        curriculum_closed(stage->curriculum, id, passed, GROUP);
    } else if (kind == 18) {
        stage->version++;
    } else {
        uint32_t source = rng_below(rng, 3);
        curriculum_pause(stage->curriculum, source,
                         !curriculum_paused(stage->curriculum, source) && source == 2);
    }
}

static struct curriculum_settings everything(void)
{
    struct curriculum_settings settings = defaults();
    settings.mix = "a*: 1; b: 0.2@0 1@20; c: 0@5 0.6@30";
    settings.quotas = "c: 0.3";
    settings.quota_window = 30;
    settings.raise_at = 0.6;
    settings.lower_at = 0.2;
    settings.retire_at = 0.9;
    settings.retire_after = 2;
    settings.hard_after = 2;
    settings.priority = PRIORITY_VARIANCE;
    settings.when_retired = WHEN_RETIRED_REOPEN;
    return settings;
}

static void add_mixed_rows(void)
{
    for (uint32_t i = 0; i < 90; i++)
        add_row(i % 3 == 0   ? "a"
                : i % 3 == 1 ? "b"
                             : "c",
                i % 7 == 0 ? (double)NAN : i % 4, i % 11 == 0 ? 0.99 : (double)NAN);
}

/* At each prefix: bytes -> another curriculum, which then goes on alike and writes the same bytes. */
static void test_curriculum_state_at_every_prefix_goes_on_alike(void **state)
{
    (void)state;
    const char *text = getenv("TEST_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : 20260;
    printf("TEST_SEED=%llu\n", (unsigned long long)seed);
    add_mixed_rows();
    struct curriculum_settings settings = everything();
    settings.pass_high = 0.95;
    for (int one_stream = 0; one_stream < 2; one_stream++) {
        if (one_stream) {
            settings.mix = settings.quotas = "";
            settings.raise_at = 0;
        }
        struct stage stage;
        struct rng rng;
        begin(&stage, &settings);
        rng_init(&rng, seed, 1, RNG_TEST);
        for (uint32_t n = 0; n < (SLOW ? 200 : 2500); n++) {
            struct buffer bytes, again;
            struct stage copy;
            buffer_init(&bytes, 0);
            buffer_init(&again, 0);
            write_state(&stage, &bytes);
            begin(&copy, &settings);
            struct walk walk = {
                .of = "curriculum", .bytes = bytes.bytes, .size = bytes.size, .format = 3};
            assert_int_equal(curriculum_walk(copy.curriculum, &walk), STATUS_OK);
            assert_int_equal(walk.at, bytes.size);
            struct curriculum_draw a = {0}, b = {0};
            assert_int_equal(curriculum_draw(stage.curriculum, stage.version, &a),
                             curriculum_draw(copy.curriculum, stage.version, &b));
            assert_memory_equal(&a, &b, sizeof a);
            write_state(&copy, &again);
            assert_int_equal(bytes.size, again.size);
            assert_memory_equal(bytes.bytes, again.bytes, bytes.size);
            if (n % 3 == 0) { /* the copy goes on */
                struct curriculum *other = stage.curriculum;
                struct prompts *prompts = stage.prompts;
                stage.curriculum = copy.curriculum;
                stage.prompts = copy.prompts;
                copy.curriculum = other;
                copy.prompts = prompts;
            }
            end(&copy);
            buffer_free(&bytes);
            buffer_free(&again);
            act(&stage, &rng);
        }
        assert_true(stage.births > (SLOW ? 30 : 500));
        end(&stage);
    }
}

static void test_curriculum_state_of_other_settings_is_taken_over(void **state)
{
    (void)state;
    add_mixed_rows();
    struct curriculum_settings settings = everything(), other = defaults();
    other.mix = "a: 3; *: 1";
    other.band_groups = 2;
    struct stage stage, copy;
    struct rng rng;
    begin(&stage, &settings);
    rng_init(&rng, 5, 1, RNG_TEST);
    for (uint32_t n = 0; n < 1500; n++)
        act(&stage, &rng);
    struct buffer bytes;
    buffer_init(&bytes, 0);
    write_state(&stage, &bytes);
    begin(&copy, &other);
    struct walk walk = {.of = "curriculum", .bytes = bytes.bytes, .size = bytes.size, .format = 3};
    assert_int_equal(curriculum_walk(copy.curriculum, &walk), STATUS_OK);
    assert_int_equal(look(&copy, 0).births, look(&stage, 0).births);
    assert_int_equal(look(&copy, 1).retired, look(&stage, 1).retired);
    double drawn[3] = {0};
    curriculum_pause(copy.curriculum, 2, false);
    for (int n = 0; n < 500; n++)
        drawn[source_of(&copy, bear(&copy))]++;
    assert_true(fabs(drawn[0] - 300) < 2); /* by the new weights, no debt of the old ones */
    for (size_t cut = 0; cut < bytes.size; cut += 7) { /* and a cut one is damaged */
        struct stage third;
        begin(&third, &other);
        struct walk part = {.of = "curriculum", .bytes = bytes.bytes, .size = cut, .format = 3};
        assert_int_equal(curriculum_walk(third.curriculum, &part), STATUS_CORRUPT);
        end(&third);
    }
    buffer_free(&bytes);
    end(&copy);
    end(&stage);
}

#define TEST(name) cmocka_unit_test_setup(name, clear_rows)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_curriculum_without_a_mix_draws_as_before),
        TEST(test_curriculum_shares_stay_within_one_birth),
        TEST(test_curriculum_many_sources_stay_within_one_birth),
        TEST(test_curriculum_weights_move_with_versions),
        TEST(test_curriculum_quotas_hold_in_every_window),
        TEST(test_curriculum_paused_source_waits_and_others_take_its_share),
        TEST(test_curriculum_mistakes_say_what_to_change),
        TEST(test_curriculum_levels_rise_and_fall_with_the_pass_rate),
        TEST(test_curriculum_review_keeps_its_share_below_the_open_level),
        TEST(test_curriculum_rows_outside_the_measured_band_are_not_drawn),
        TEST(test_curriculum_easy_prompts_retire_and_the_last_one_stops_the_draws),
        TEST(test_curriculum_retired_source_reopens_when_told_to),
        TEST(test_curriculum_prompts_that_never_pass_rest_and_return),
        TEST(test_curriculum_all_prompts_resting_are_woken),
        TEST(test_curriculum_priority_follows_the_variance),
        TEST(test_curriculum_state_at_every_prefix_goes_on_alike),
        TEST(test_curriculum_state_of_other_settings_is_taken_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
