/* links: core */
/* config and settings: strict parsing with places, the order of sources, dump and parse, rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "core/settings.h"

static char folder[64];
static struct settings settings;
static struct config *config;

static int make_folder(void **state)
{
    (void)state;
    memcpy(folder, "/tmp/weir_test_conf_XXXXXX", 27);
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    return file_remove_tree(folder) != STATUS_OK;
}

static int forget(void **state)
{
    (void)state;
    config_destroy(&config);
    return 0;
}

/* Loads up to two YAML texts (NULL: none) as files a.yaml and b.yaml, then one override. */
static enum status load(const char *first, const char *second, const char *override)
{
    static char paths[2][FILE_PATH_MAX];
    const char *texts[] = {first, second};
    const char *files[2];
    struct config_input input = {.files = files, .environment = true};
    for (size_t i = 0; i < 2; i++) {
        if (texts[i] == NULL)
            continue;
        assert_int_equal(file_path(paths[i], "%s/%c.yaml", folder, i == 0 ? 'a' : 'b'), STATUS_OK);
        assert_int_equal(file_replace(paths[i], texts[i], strlen(texts[i])), STATUS_OK);
        files[input.file_count++] = paths[i];
    }
    input.overrides = &override;
    input.override_count = override != NULL;
    config_destroy(&config);
    return settings_load(&settings, &config, &input);
}

static void assert_error_has(const char *part)
{
    if (strstr(status_last_error(), part) == NULL)
        fail_msg("no \"%s\" in: %s", part, status_last_error());
}

static void assert_refused(const char *yaml, const char *part)
{
    assert_int_equal(load(yaml, NULL, NULL), STATUS_INVALID);
    assert_null(config);
    assert_error_has(part);
}

static void test_config_defaults_pass_their_own_checks(void **state)
{
    (void)state;
    assert_int_equal(load(NULL, NULL, NULL), STATUS_OK);
    assert_int_equal(settings_check_run(&settings), STATUS_OK);
    assert_int_equal(settings.store.group_size, 16);
    assert_true(settings.loss.weight_max == 5.0);
    assert_true(settings.optim.eps == 1e-15);
    assert_string_equal(settings.data.key_prompt, "prompt");
    assert_string_equal(settings.run.name, "");
    assert_int_equal(settings.loss.kind, LOSS_CISPO);
    assert_true(settings.data.shuffle);
    assert_false(settings.run.resume);
}

static void test_config_refusals_name_file_line_and_column(void **state)
{
    (void)state;
    assert_refused("run:\n  step: 5\n",
                   "/a.yaml:2:3: unknown setting \"run.step\", nearest known: \"run.steps\"");
    assert_refused("\nlerner:\n  x: 1\n", "/a.yaml:2:1: unknown setting \"lerner\", nearest known: "
                                          "\"learner\"");
    assert_refused("group_size: 4\n", "/a.yaml:1:1: unknown setting \"group_size\", nearest known: "
                                      "\"store.group_size\"");
    assert_refused("learner: {group_size: 4}\n", "/a.yaml:1:11: unknown setting "
                                                 "\"learner.group_size\", nearest known: "
                                                 "\"store.group_size\"");
    assert_refused("data:\n  sources:\n    a: b\n", "/a.yaml:2:3: unknown setting");
    assert_refused("run:\n  zzzzzzzzzz: 5\n", "/a.yaml:2:3: unknown setting \"run.zzzzzzzzzz\", no "
                                              "known name is near");
    assert_refused("run:\n  steps: 12abc\n",
                   "/a.yaml:2:10: run.steps is \"12abc\", wanted: a whole number from 1 to "
                   "1000000000 publishes");
    assert_refused("run:\n  'steps': '5x'\n", "/a.yaml:2:12: run.steps is \"5x\"");
    assert_refused("run:\n  steps: 0\n", "/a.yaml:2:10: run.steps is \"0\", wanted");
    assert_refused("optim:\n  beta1: 1.5\n",
                   "/a.yaml:2:10: optim.beta1 is \"1.5\", wanted: a number from 0 to 0.999999");
    assert_refused(
        "loss:\n  kind: cispoo\n",
        "/a.yaml:2:9: loss.kind is \"cispoo\", wanted one of: "
        "cispo|cispo_mask|reinforce|grpo|dapo|dr_grpo|gspo|scalerl|sft; nearest is \"cispo\"");
    assert_refused("run:\n  resume: yes\n", "/a.yaml:2:11: run.resume is \"yes\", wanted: true or");
    assert_refused("run:\n  steps: 5\n  steps: 6\n", "/a.yaml:3:3: run.steps stands twice");
    assert_refused("run:\n  seed: 2\nloss:\nrun:\n", "/a.yaml:4:1: section run stands twice");
    assert_refused("run:\n  steps: [1, 2]\n", "/a.yaml:2:3: run.steps wants one value, not a list");
    assert_refused("run:\n  name: {a: b}\n", "/a.yaml:2:3: run.name wants one value, not a mapp");
    assert_refused("run: 5\n", "/a.yaml:1:1: section run wants lines");
    assert_refused("- run\n", "/a.yaml:1:1: a recipe is a mapping");
    assert_refused("run:\n  seed: &x 5\n  steps: *x\n", "reference to an anchor");
    assert_refused("run:\n  seed: 5\n---\nrun:\n  seed: 6\n", "more than one YAML document");
}

static void test_config_broken_yaml_is_refused_with_its_place(void **state)
{
    (void)state;
    assert_refused("run:\n  name: \"open\n", "not valid YAML");
    assert_error_has("/a.yaml:2:10:");
    assert_refused("run: {steps: 5\n", "not valid YAML");
    assert_refused("run:\n\tsteps: 5\n", "not valid YAML");
    assert_refused("run:\n  name: \"a\\0b\"\n", "/a.yaml:2:9: run.name holds a NUL byte");
    assert_refused("\xff\xfe\xfd", "/a.yaml: is not UTF-8 text");
    const char *missing[] = {"/nowhere/x.yaml"};
    const struct config_input input = {.files = missing, .file_count = 1};
    assert_int_equal(settings_load(&settings, &config, &input), STATUS_NOT_FOUND);
    assert_error_has("/nowhere/x.yaml");
}

static void test_config_numbers_are_read_whole_or_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",     " 5",  "5 ",    "0x10", "inf", "nan",
                                      "1.5",  "-1",  "1e99",  "5,0",  "--5", "1e-3",
                                      "1e10", "2^3", "1_000", "e5",   "+"};
    char override[64];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(override, sizeof override, "run.steps=%s", bad[i]);
        if (load(NULL, NULL, override) != STATUS_INVALID)
            fail_msg("accepted %s", override);
        assert_error_has("argument run.steps: run.steps is \"");
    }
    assert_int_equal(load(NULL, NULL, "run.steps=1e6"), STATUS_OK);
    assert_int_equal(settings.run.steps, 1000000);
    assert_int_equal(load(NULL, NULL, "run.seed=8999999999999999"), STATUS_OK);
    assert_true(settings.run.seed == UINT64_C(8999999999999999));
    assert_int_equal(load(NULL, NULL, "optim.lr=.5e-3"), STATUS_OK);
    assert_true(settings.optim.lr == 0.5e-3);
}

static void test_config_files_merge_deep_and_later_wins(void **state)
{
    (void)state;
    assert_int_equal(load("run:\n  steps: 5\n  name: 'first'\nloss:\n  kind: grpo\nsft:\n",
                          "# only this\nrun:\n  steps: 7\n  seed: ~\n", NULL),
                     STATUS_OK);
    assert_int_equal(settings.run.steps, 7);
    assert_string_equal(settings.run.name, "first");
    assert_int_equal(settings.loss.kind, LOSS_GRPO);
    assert_int_equal(settings.run.seed, 1);
    assert_int_equal(load("run:\n  steps: 5\n", "run:\n  steps: null\n", NULL), STATUS_OK);
    assert_int_equal(settings.run.steps, 100); /* null is the default */
    assert_int_equal(load("run:\n  name: \"null\"\n", "", NULL), STATUS_OK);
    assert_string_equal(settings.run.name, "null");
}

static void test_config_environment_beats_file_and_argument_beats_both(void **state)
{
    (void)state;
    const char *yaml = "run:\n  steps: 5\n";
    assert_int_equal(setenv("WEIR_RUN_STEPS", "6", 1), 0);
    assert_int_equal(setenv("WEIR_OTHER", "not ours", 1), 0);
    assert_int_equal(load(yaml, NULL, NULL), STATUS_OK);
    assert_int_equal(settings.run.steps, 6);
    assert_int_equal(load(yaml, NULL, "run.steps=7"), STATUS_OK);
    assert_int_equal(settings.run.steps, 7);
    assert_int_equal(setenv("WEIR_RUN_STEPS", "six", 1), 0);
    assert_refused(yaml, "environment WEIR_RUN_STEPS: run.steps is \"six\"");
    assert_int_equal(unsetenv("WEIR_RUN_STEPS"), 0);
    assert_int_equal(setenv("WEIR_RUN_STEP", "6", 1), 0);
    assert_refused(yaml, "environment WEIR_RUN_STEP: unknown setting \"run.step\", nearest known: "
                         "\"run.steps\"");
    assert_int_equal(unsetenv("WEIR_RUN_STEP"), 0);
}

static void test_config_bad_arguments_are_refused(void **state)
{
    (void)state;
    assert_int_equal(load(NULL, NULL, "steps"), STATUS_INVALID);
    assert_error_has("wanted section.name=value");
    assert_int_equal(load(NULL, NULL, "steps=5.5"), STATUS_INVALID);
    assert_error_has("wanted section.name=value");
    assert_int_equal(load(NULL, NULL, "rum.steps=5"), STATUS_INVALID);
    assert_error_has("unknown setting \"rum.steps\", nearest known: \"run.steps\"");
    assert_int_equal(load(NULL, NULL, "run.stteps=5"), STATUS_INVALID);
    assert_error_has("nearest known: \"run.steps\"");
    assert_int_equal(load(NULL, NULL, "run.name=a=b.c"), STATUS_OK);
    assert_string_equal(settings.run.name, "a=b.c");
    assert_int_equal(load(NULL, NULL, "run.name=\xc3("), STATUS_INVALID);
    assert_error_has("not valid UTF-8");
}

static void test_config_failure_leaves_settings_untouched(void **state)
{
    (void)state;
    assert_int_equal(load(NULL, NULL, "run.steps=9"), STATUS_OK);
    assert_int_equal(load("run:\n  steps: 3\n  bad: 1\n", NULL, NULL), STATUS_INVALID);
    assert_int_equal(settings.run.steps, 9);
}

/* A value of each row that is not its default. */
static void other_value(const struct config_field *field, char out[256])
{
    static const char *const odd =
        "q\"b\\s#c: t\tn\n\x01\x7f\xc2\x85\xc2\x80\xe2\x80\xa8\xe2\x80\xa9\xef\xbb\xbf\xef\xbf\xbe"
        "\xf0\x9f\x8c\x8a {}[] 'x' ";
    char second[64];
    switch (field->type) {
    case CONFIG_FLAG:
        snprintf(out, 256, "%s", strcmp(field->fallback, "true") == 0 ? "false" : "true");
        break;
    case CONFIG_CHOICE:
        snprintf(out, 256, "%s", config_choice_name(field, 1, second, sizeof second));
        break;
    case CONFIG_TEXT:
        snprintf(out, 256, "%s", strcmp(field->unit, "secret") == 0 ? "" : odd);
        break;
    default:
        snprintf(out, 256, "%.10g",
                 strtod(field->fallback, NULL) == field->max ? field->min : field->max);
    }
}

static void round_trip(bool changed)
{
    enum { ROWS_MAX = 256 };
    static char values[ROWS_MAX][512];
    const char *overrides[ROWS_MAX];
    size_t rows = 0;
    char value[256];
    struct settings *before = memory_alloc(sizeof *before);
    struct settings *after = memory_alloc(sizeof *after);
    struct config *again = NULL;
    struct buffer yaml;
    buffer_init(&yaml, 0);
    for (size_t s = 0; s < settings_section_count && changed; s++) {
        for (size_t f = 0; f < settings_sections[s].count; f++) {
            const struct config_field *field = &settings_sections[s].fields[f];
            other_value(field, value);
            assert_true(rows < ROWS_MAX);
            snprintf(values[rows], sizeof values[rows], "%s.%s=%s", settings_sections[s].name,
                     field->name, value);
            overrides[rows] = values[rows];
            rows++;
        }
    }
    struct config_input input = {.overrides = overrides, .override_count = rows};
    assert_int_equal(
        config_load(&config, settings_sections, settings_section_count, &input, before), STATUS_OK);
    assert_int_equal(config_dump(config, &yaml), STATUS_OK);
    char path[FILE_PATH_MAX];
    const char *files[] = {path};
    assert_int_equal(file_path(path, "%s/dump.yaml", folder), STATUS_OK);
    assert_int_equal(file_replace(path, yaml.bytes, yaml.size), STATUS_OK);
    input = (struct config_input){.files = files, .file_count = 1};
    if (config_load(&again, settings_sections, settings_section_count, &input, after) != STATUS_OK)
        fail_msg("%s", status_last_error());
    for (size_t s = 0; s < settings_section_count; s++) {
        for (size_t f = 0; f < settings_sections[s].count; f++) {
            const struct config_field *field = &settings_sections[s].fields[f];
            size_t offset = settings_sections[s].offset + field->offset;
            const char *a = (const char *)before + offset, *b = (const char *)after + offset;
            if (field->type == CONFIG_TEXT)
                assert_string_equal(*(const char *const *)(const void *)a,
                                    *(const char *const *)(const void *)b);
            else
                assert_memory_equal(a, b,
                                    field->type == CONFIG_FLAG ? sizeof(bool)
                                    : field->type == CONFIG_U64 || field->type == CONFIG_F64 ? 8
                                                                                             : 4);
        }
    }
    config_destroy(&again);
    buffer_free(&yaml);
    memory_free(before);
    memory_free(after);
    config_destroy(&config);
}

static void test_config_dump_parses_back_to_the_same_values(void **state)
{
    (void)state;
    round_trip(false);
    round_trip(true);
}

static void test_config_dump_names_sources_and_hides_secrets(void **state)
{
    (void)state;
    struct buffer yaml;
    buffer_init(&yaml, 0);
    assert_int_equal(setenv("WEIR_REDIS_PASSWORD", "hunter2", 1), 0);
    assert_int_equal(load("run:\n  steps: 5\n", NULL, "loss.kind=dapo"), STATUS_OK);
    assert_int_equal(unsetenv("WEIR_REDIS_PASSWORD"), 0);
    assert_string_equal(settings.redis.password, "hunter2");
    assert_int_equal(config_dump(config, &yaml), STATUS_OK);
    const char *text = buffer_string(&yaml);
    assert_non_null(strstr(text, "/a.yaml:2:10\n"));
    assert_non_null(strstr(text, "  steps: 5 # "));
    assert_non_null(strstr(text, "  kind: dapo # argument loss.kind\n"));
    assert_non_null(strstr(text, "  seed: 1 # default\n"));
    assert_non_null(strstr(text, "  password: \"\" # environment WEIR_REDIS_PASSWORD, a secret"));
    assert_null(strstr(text, "hunter2"));
    buffer_free(&yaml);
}

static void test_config_help_and_markdown_hold_every_row(void **state)
{
    (void)state;
    struct buffer help, markdown;
    char name[160];
    buffer_init(&help, 0);
    buffer_init(&markdown, 0);
    assert_int_equal(config_help(settings_sections, settings_section_count, &help), STATUS_OK);
    assert_int_equal(config_markdown(settings_sections, settings_section_count, &markdown),
                     STATUS_OK);
    for (size_t s = 0; s < settings_section_count; s++) {
        for (size_t f = 0; f < settings_sections[s].count; f++) {
            snprintf(name, sizeof name, "%s.%s", settings_sections[s].name,
                     settings_sections[s].fields[f].name);
            assert_non_null(strstr(buffer_string(&help), name));
            assert_non_null(strstr(buffer_string(&markdown), name));
        }
    }
    assert_non_null(
        strstr(buffer_string(&markdown),
               "| `store.group_size` | `16` | 2 to 65536 | rollouts | Rollouts of one "));
    assert_non_null(strstr(buffer_string(&help), "loss.normaliser = prompt   (prompt|batch|samp"));
    buffer_free(&help);
    buffer_free(&markdown);
}

static void test_config_nearest_finds_typos_only(void **state)
{
    (void)state;
    const char *const known[] = {"steps", "seed", "temperature"};
    assert_string_equal(config_nearest("temprature", known, 3), "temperature");
    assert_string_equal(config_nearest("STEPS", known, 3), "steps");
    assert_null(config_nearest("learning_rate", known, 3));
    assert_null(config_nearest("x", known, 3));
    assert_null(config_nearest("steps", known, 0));
}

static void test_settings_rules_name_both_settings(void **state)
{
    (void)state;
    assert_refused("loss: {weight_min: 6}", "loss.weight_min 6 is above loss.weight_max 5");
    assert_refused("reward: {clip_low: 10}", "reward.clip_low 10 is not below reward.clip_high 10");
    assert_refused("learner: {updates_per_publish: 33}",
                   "store.groups_per_publish 32 is below learner.updates_per_publish 33");
    assert_refused("model: {lightning_chunk: 12}", "model.lightning_chunk is 12: make it a mult");
    assert_refused("model: {lm_head: fp32_out}", "model.lm_head fp32_out needs run.device cuda");
    assert_refused("redis: {mode: connect}",
                   "redis.mode is connect, but redis.address and redis.sentinels are empty");
    assert_refused("redis: {sentinels: \"a:1\"}",
                   "redis.sentinels is set, but redis.mode is start");
    assert_refused("redis: {mode: connect, sentinels: \"a:1\", address: \"b:2\"}",
                   "redis.sentinels and redis.address are both set");
    assert_refused("redis: {mode: connect, sentinels: \"a:1\", master: \"\"}", "name the master");
    assert_refused("store: {lease_ms: 2000, heartbeat_ms: 501}",
                   "store.lease_ms 2000 is below 4 * store.heartbeat_ms 501");
    assert_refused("weights: {channel: ipc}", "weights.channel is ipc, which hands on GPU memory");
    assert_refused("weights: {channel: nccl}", "weights.channel is nccl, which needs GPUs");
    assert_int_equal(load("weights: {channel: nccl, nccl_library: fake.so}", NULL, NULL),
                     STATUS_OK);
#ifndef WITH_CUDA
    assert_refused("run: {device: cuda}", "built without CUDA");
#endif
    assert_int_equal(load("redis: {mode: connect, address: 'h:1'}", NULL, NULL), STATUS_OK);
    assert_int_equal(load("learner: {updates_per_publish: 32}", NULL, NULL), STATUS_OK);
}

static void test_settings_run_refuses_greedy_and_sft(void **state)
{
    (void)state;
    assert_int_equal(load("sampling: {temperature: 0}", NULL, NULL), STATUS_OK);
    assert_int_equal(settings_check_run(&settings), STATUS_INVALID);
    assert_error_has("sampling.temperature is 0");
    assert_int_equal(load("loss: {kind: sft}", NULL, NULL), STATUS_OK);
    assert_int_equal(settings_check_run(&settings), STATUS_INVALID);
    assert_error_has("loss.kind sft");
}

static void test_config_load_every_failing_allocation_is_reported_without_a_leak(void **state)
{
    (void)state;
    const struct config_input input = {0};
    int64_t blocks = memory_blocks_live();
    int64_t n = 1;
    for (;; n++) {
        memory_fail_after(n);
        enum status status = settings_load(&settings, &config, &input);
        memory_fail_after(-1);
        if (status == STATUS_OK)
            break;
        assert_null(config);
        assert_int_equal(memory_blocks_live(), blocks);
        assert_true(n < 1000);
    }
    assert_true(n > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_config_defaults_pass_their_own_checks, forget),
        cmocka_unit_test_teardown(test_config_refusals_name_file_line_and_column, forget),
        cmocka_unit_test_teardown(test_config_broken_yaml_is_refused_with_its_place, forget),
        cmocka_unit_test_teardown(test_config_numbers_are_read_whole_or_refused, forget),
        cmocka_unit_test_teardown(test_config_files_merge_deep_and_later_wins, forget),
        cmocka_unit_test_teardown(test_config_environment_beats_file_and_argument_beats_both,
                                  forget),
        cmocka_unit_test_teardown(test_config_bad_arguments_are_refused, forget),
        cmocka_unit_test_teardown(test_config_failure_leaves_settings_untouched, forget),
        cmocka_unit_test_teardown(test_config_dump_parses_back_to_the_same_values, forget),
        cmocka_unit_test_teardown(test_config_dump_names_sources_and_hides_secrets, forget),
        cmocka_unit_test_teardown(test_config_help_and_markdown_hold_every_row, forget),
        cmocka_unit_test_teardown(test_config_nearest_finds_typos_only, forget),
        cmocka_unit_test_teardown(test_settings_rules_name_both_settings, forget),
        cmocka_unit_test_teardown(test_settings_run_refuses_greedy_and_sft, forget),
        cmocka_unit_test_teardown(
            test_config_load_every_failing_allocation_is_reported_without_a_leak, forget),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
