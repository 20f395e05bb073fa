/* links: planner */
/* label: unit */
/* timeout: 60 */
/* Every recipe in examples/recipes/ has a sound plan; plans take what actor and learner take; a bad recipe hears
 * everything at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "actor/engine.h"
#include "core/log.h"
#include "kernels/ops.h"
#include "learner/trainer.h"
#include "ops/plan/plan.h"
#include "tests/slow.h"

static struct fleet_plan plan;

static void make(const char *file, size_t count, const char *const *overrides, bool forecast)
{
    static struct fleet_request request;
    request = (struct fleet_request){.file_count = 1, .no_forecast = !forecast};
    request.files[0] = file;
    for (size_t i = 0; i < count; i++)
        request.overrides[request.override_count++] = overrides[i];
    if (plan_make(&plan, &request) != STATUS_OK)
        fail_msg("%s: %s", file, status_last_error());
}

static const struct plan_figure *figure(const char *name)
{
    for (uint32_t i = 0; i < plan.figure_count; i++)
        if (strcmp(plan.figures[i].name, name) == 0)
            return &plan.figures[i];
    fail_msg("the plan has no figure \"%s\"", name);
    return NULL;
}

static void test_recipes_have_sound_plans(void **state)
{
    (void)state;
    DIR *folder = opendir("examples/recipes");
    assert_non_null(folder);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char path[512];
        size_t length = strlen(entry->d_name);
        if (length < 5 || strcmp(entry->d_name + length - 5, ".yaml") != 0)
            continue;
        snprintf(path, sizeof path, "examples/recipes/%s", entry->d_name);
        static const char *const plenty[] = {"cluster.memory_share=1"};
        make(path, 1, plenty, false);
        for (uint32_t i = 0; i < plan.findings.count; i++)
            if (plan.settings.cluster.gpu != GPU_NONE ||
                plan.findings.rows[i].kind != FINDING_MACHINE) /* memory of the test's machine */
                fail_msg("%s: %s", path, plan.findings.rows[i].sentence);
        assert_true(plan.loaded);
        plan_destroy(&plan);
        count++;
    }
    closedir(folder);
    assert_true(count >= 10);
}

static void test_recipes_m1_80k_says_speed_staleness_and_step_time(void **state)
{
    (void)state;
    make("examples/recipes/m1-80k.yaml", 0, NULL, !test_is_slow());
    assert_int_equal(plan_exit_code(&plan), EXIT_CODE_OK);
    assert_int_equal(plan.gpus, 512);
    assert_int_equal(plan.actor.gpus + plan.learner.gpus, 512);
    assert_true(plan.actor.fits && plan.learner.fits);
    const char *const names[] = {"tokens/s of all", "tokens/s, all of it", "step time",
                                 "staleness, mean"};
    for (int i = 0; i < (test_is_slow() ? 3 : 4); i++) {
        assert_true(figure(names[i])->value > 0);
        assert_int_equal(figure(names[i])->label, PLAN_MODELLED);
    }
    char sentence[4 * PLAN_TEXT_BYTES];
    assert_true(plan_refusal(&plan, sentence));
    assert_non_null(strstr(sentence, "tensor parallelism"));
    assert_non_null(strstr(sentence, "expert parallelism"));
    assert_non_null(strstr(sentence, "sequence parallelism"));
    assert_non_null(strstr(sentence, "smallest fleet of h800"));
    plan_destroy(&plan);
}

/* A bf16 model of N parameters on one GPU of the learner: 12 N / ranks of f32 state, 4 N of gradients. */
static void test_recipes_unsharded_memory_is_that_of_actor_and_learner(void **state)
{
    (void)state;
    struct memory_plan actor = {0}, learner = {0};
    struct op_table *ops = NULL;
    make("examples/recipes/scalerl.yaml", 0, NULL, false);
    assert_int_equal(op_table_create_plan(&ops, "cuda"), STATUS_OK);
    int64_t longest =
        (int64_t)plan.settings.data.prompt_tokens_max + plan.settings.sampling.response_tokens_max;
    assert_int_equal(engine_plan(&plan.settings, &plan.shape, ops, ENGINE_SETS_LIVE, &actor),
                     STATUS_OK);
    assert_int_equal(trainer_plan(&plan.settings, &plan.shape, ops, longest, 3, &learner),
                     STATUS_OK);
    assert_int_equal(plan_total(&actor), plan_total(&plan.actor.memory));
    assert_int_equal(plan_total(&learner), plan_total(&plan.learner.memory));
    char sentence[4 * PLAN_TEXT_BYTES];
    assert_false(plan_refusal(&plan, sentence)); /* one host, one GPU an actor: it may start */
    op_table_destroy(&ops);
    plan_destroy(&plan);
}

/* All GPUs of a copy together hold each weight of the experts once, in both layouts. */
static void test_recipes_sharded_weights_add_up(void **state)
{
    (void)state;
    make("examples/recipes/m1-80k.yaml", 0, NULL, false);
    struct plan_degrees degrees = {8, 32, 1};
    struct model_shape part = plan_part(&plan.shape, &degrees);
    struct flops_weights whole = flops_weights(&plan.shape), cut = flops_weights(&part);
    double experts = whole.expert_rows * whole.expert;
    assert_true(fabs(cut.expert_rows * cut.expert * 8 * 32 / experts - 1) < 1e-9);
    double dense = whole.total - experts, own = cut.total - cut.expert_rows * cut.expert;
    assert_true(fabs(own * 8 / dense - 1) < 0.01); /* norms are on every GPU */
    plan_destroy(&plan);
}

static void test_recipes_every_contradiction_is_said_at_once_with_its_place(void **state)
{
    (void)state;
    static const char text[] = "run:\n  steps: ten\nloss:\n  weight_min: 6\n  weight_max: 5\n"
                               "store:\n  lease_ms: 300\n  heartbeat_ms: 200\nlearner:\n  typo: 3\n"
                               "reward:\n  clip_low: 1\n  clip_high: 1\ndata:\n  train: nothing\n"
                               "model:\n  path: nowhere\n";
    char path[] = "/tmp/weir_recipe_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, sizeof text - 1) == (ssize_t)sizeof text - 1);
    close(fd);
    make(path, 0, NULL, false);
    const char *const words[] = {"run.steps is \"ten\"",  "unknown setting \"learner.typo\"",
                                 "loss.weight_min 6",     "store.lease_ms 300",
                                 "reward.clip_low 1",     "data.train: \"nothing\"",
                                 "model.path \"nowhere\""};
    for (size_t w = 0; w < sizeof words / sizeof words[0]; w++) {
        bool found = false;
        for (uint32_t i = 0; i < plan.findings.count; i++)
            found = found || strstr(plan.findings.rows[i].sentence, words[w]) != NULL;
        if (!found)
            fail_msg("nobody said: %s", words[w]);
    }
    assert_int_equal(plan.findings.count, sizeof words / sizeof words[0]);
    assert_int_equal(plan_exit_code(&plan), EXIT_CODE_USAGE);
    bool placed = false;
    for (uint32_t i = 0; i < plan.findings.count; i++)
        for (uint32_t k = 0; k < plan.findings.rows[i].key_count; k++)
            placed = placed || (strcmp(plan.findings.rows[i].keys[k].key, "store.lease_ms") == 0 &&
                                strstr(plan.findings.rows[i].keys[k].source, ":7:13") != NULL);
    assert_true(placed);
    plan_destroy(&plan);
    remove(path);
}

static void test_recipes_kinds_of_trouble_have_their_exit_codes(void **state)
{
    (void)state;
    static const char *const missing[] = {"data.train=nothing.jsonl"};
    make("examples/recipes/quickstart.yaml", 1, missing, false);
    assert_int_equal(plan_exit_code(&plan), EXIT_CODE_INPUT);
    plan_destroy(&plan);
    static const char *const small[] = {"cluster.gpu=h100", "actor.cache_tokens=4000000000"};
    make("examples/recipes/scalerl.yaml", 2, small, false);
    assert_int_equal(plan_exit_code(&plan), EXIT_CODE_DEPENDENCY);
    plan_destroy(&plan);
    static const char *const odd[] = {"cluster.tensor_parallel=5"};
    make("examples/recipes/m1-40k.yaml", 1, odd, false);
    assert_int_equal(plan_exit_code(&plan), EXIT_CODE_USAGE);
    plan_destroy(&plan);
}

static void test_recipes_json_and_text_of_a_plan_are_whole(void **state)
{
    (void)state;
    struct fleet_request request = {.file_count = 1};
    struct buffer text;
    buffer_init(&text, 0);
    make("examples/recipes/m1-40k.yaml", 0, NULL, false);
    request.files[0] = "examples/recipes/m1-40k.yaml";
    assert_int_equal(plan_report_json(&plan, &text), STATUS_OK);
    assert_non_null(strstr(buffer_string(&text), "\"label\": \"modelled\""));
    buffer_clear(&text);
    assert_int_equal(plan_report(&plan, &request, &text), STATUS_OK);
    const char *const words[] = {
        "processes",          "objective", "memory of one GPU of the learner",
        "[measured]",         "[asked]",   "step time",
        "weir cannot run yet"};
    for (size_t w = 0; w < sizeof words / sizeof words[0]; w++)
        if (strstr(buffer_string(&text), words[w]) == NULL)
            fail_msg("the text lacks: %s", words[w]);
    buffer_free(&text);
    plan_destroy(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recipes_have_sound_plans),
        cmocka_unit_test(test_recipes_m1_80k_says_speed_staleness_and_step_time),
        cmocka_unit_test(test_recipes_unsharded_memory_is_that_of_actor_and_learner),
        cmocka_unit_test(test_recipes_sharded_weights_add_up),
        cmocka_unit_test(test_recipes_every_contradiction_is_said_at_once_with_its_place),
        cmocka_unit_test(test_recipes_kinds_of_trouble_have_their_exit_codes),
        cmocka_unit_test(test_recipes_json_and_text_of_a_plan_are_whole),
    };
    log_init("test", 0, LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
