/* links: rollout_store core */
/* Prompt files in the shapes people have; every mistake names file, line and key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "rollout_store/prompts.h"
#include "tests/around_tokenizer.h"
#include "text/chat.h"
#include "text/tokenizer.h"

static const struct chat none = {.format = CHAT_NONE};
static char folder[64], path[FILE_PATH_MAX];
static struct tokenizer *tokenizer;

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/test_prompts.XXXXXX");
    if (mkdtemp(folder) == NULL || file_path(path, "%s/math.jsonl", folder) != STATUS_OK)
        return -1;
    return tokenizer_open(&tokenizer, "", TOKENIZER_BYTE) == STATUS_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    tokenizer_close(&tokenizer);
    return file_remove_tree(folder) == STATUS_OK ? 0 : -1;
}

static struct data_settings defaults(void)
{
    return (struct data_settings){.train = path,
                                  .key_prompt = "prompt",
                                  .key_answer = "",
                                  .key_source = "data_source",
                                  .prompt_prefix = "",
                                  .prompt_suffix = "",
                                  .prompt_tokens_max = 100};
}

static enum status load(struct prompts **prompts, const char *text,
                        const struct data_settings *data, enum setting_chat_format chat)
{
    assert_int_equal(file_replace(path, text, strlen(text)), STATUS_OK);
    struct chat built_in = {.format = chat};
    return prompts_load(prompts, data, &built_in, tokenizer);
}

static void expect_text(const struct prompt *prompt, const char *text)
{
    assert_int_equal(prompt->count, strlen(text));
    for (uint32_t i = 0; i < prompt->count; i++)
        assert_int_equal(prompt->ids[i], (unsigned char)text[i]);
}

static void expect_record(const struct prompt *prompt, const char *part)
{
    if (strstr(prompt->record_json, part) == NULL)
        fprintf(stderr, "%s lacks %s\n", prompt->record_json, part);
    assert_non_null(strstr(prompt->record_json, part));
}

static void test_prompts_published_gsm8k_rows_load(void **state)
{
    (void)state;
    struct data_settings data = defaults();
    struct prompts *prompts = NULL;
    data.key_prompt = "question";
    data.key_answer = "answer";
    data.prompt_suffix = "\nA:";
    const char *text =
        "{\"id\":0,\"question\":\"2*9?\",\"answer\":\"2*9=18\\n#### 18\",\"final\":\"18\"}\r\n\n"
        "{\"id\":1,\"question\":\"1+1?\",\"answer\":\"#### 2\",\"final\":\"2\"}";
    assert_int_equal(load(&prompts, text, &data, CHAT_NONE), STATUS_OK);
    assert_int_equal(prompts_count(prompts), 2);
    expect_text(prompts_at(prompts, 0), "2*9?\nA:");
    expect_record(prompts_at(prompts, 0), "\"data_source\":\"math\"");
    expect_record(prompts_at(prompts, 0), "\"ground_truth\":\"2*9=18\\n#### 18\"");
    expect_record(prompts_at(prompts, 0), "\"prompt_text\":\"2*9?\\nA:\"");
    expect_record(prompts_at(prompts, 1), "\"extra\":{\"id\":1,");
    prompts_destroy(&prompts);
}

static void test_prompts_verl_and_trl_rows_load(void **state)
{
    (void)state;
    struct data_settings data = defaults();
    struct prompts *prompts = NULL;
    const char *text = "{\"data_source\":\"s1\",\"prompt\":[{\"role\":\"user\",\"content\":\"hi\"}]"
                       ",\"reward_model\":{\"style\":\"rule\",\"ground_truth\":[7]}}\n"
                       "{\"prompt\":\"a\",\"solution\":\"x\"}\n{\"prompt\":\"b\",\"label\":3}\n{"
                       "\"prompt\":\"c\",\"ground_truth\":{\"k\":1}}\n{\"prompt\":\"d\"}\n";
    assert_int_equal(load(&prompts, text, &data, CHAT_CHATML), STATUS_OK);
    assert_int_equal(prompts_count(prompts), 5);
    expect_text(prompts_at(prompts, 0), "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
    expect_text(prompts_at(prompts, 1), "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n");
    expect_record(prompts_at(prompts, 0), "\"data_source\":\"s1\"");
    expect_record(prompts_at(prompts, 0), "\"ground_truth\":[7]");
    expect_record(prompts_at(prompts, 0), "\"prompt\":[{\"role\":\"user\",\"content\":\"hi\"}]");
    expect_record(prompts_at(prompts, 1), "\"ground_truth\":\"x\"");
    expect_record(prompts_at(prompts, 2), "\"ground_truth\":3");
    expect_record(prompts_at(prompts, 3), "\"ground_truth\":{\"k\":1}");
    expect_record(prompts_at(prompts, 4), "\"ground_truth\":null");
    prompts_destroy(&prompts);
}

static void test_prompts_long_ones_are_left_out_and_counted(void **state)
{
    (void)state;
    struct data_settings data = defaults();
    struct prompts *prompts = NULL;
    data.prompt_tokens_max = 3;
    assert_int_equal(
        load(&prompts, "{\"prompt\":\"abcd\"}\n{\"prompt\":\"abc\"}\n", &data, CHAT_NONE),
        STATUS_OK);
    assert_int_equal(prompts_count(prompts), 1);
    assert_int_equal(prompts_left_out(prompts), 1);
    prompts_destroy(&prompts);
    assert_int_equal(load(&prompts, "{\"prompt\":\"abcd\"}\n", &data, CHAT_NONE), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "data.prompt_tokens_max 3"));
    assert_null(prompts);
}

static void test_prompts_mistakes_name_file_line_and_key(void **state)
{
    (void)state;
    const struct {
        const char *line, *wanted;
    } cases[] = {
        {"{\"question\":\"x\"}", "no key \"prompt\": set data.key_prompt"},
        {"{\"prompt\":\"\"}", "\"prompt\" is empty"},
        {"{\"prompt\":5}", "of another type"},
        {"{\"prompt\":[]}", "0 messages"},
        {"{\"prompt\":[{\"role\":\"user\"}]}", "message 0"},
        {"{\"prompt\":[{\"role\":\"robot\",\"content\":\"x\"}]}", "robot"},
        {"[1]", "no object"},
        {"{\"prompt\":", "one JSON object"},
        {"{\"prompt\":\"\xff\"}", "one JSON object"},
        {"{\"prompt\":\"a\\u0000b\"}", "one JSON object"},
        {"{\"prompt\":[{\"role\":\"user\",\"content\":\"a\\u0000b\"}]}", "one JSON object"},
    };
    struct data_settings data = defaults();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct prompts *prompts = NULL;
        char text[256];
        snprintf(text, sizeof text, "{\"prompt\":\"fine\"}\n%s\n", cases[i].line);
        assert_int_equal(load(&prompts, text, &data, CHAT_CHATML), STATUS_INVALID);
        assert_non_null(strstr(status_last_error(), "math.jsonl:2: "));
        assert_non_null(strstr(status_last_error(), cases[i].wanted));
        assert_null(prompts);
    }
    struct prompts *prompts = NULL;
    data.key_answer = "result";
    assert_int_equal(load(&prompts, "{\"prompt\":\"x\"}", &data, CHAT_NONE), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "\"result\": correct data.key_answer"));
}

static void test_prompts_folder_takes_files_in_order_of_name(void **state)
{
    (void)state;
    char second[FILE_PATH_MAX];
    struct data_settings data = defaults();
    struct prompts *prompts = NULL, *again = NULL;
    assert_int_equal(file_path(second, "%s/algebra.jsonl", folder), STATUS_OK);
    assert_int_equal(file_replace(second, "{\"prompt\":\"first\"}", 18), STATUS_OK);
    data.train = folder;
    assert_int_equal(load(&prompts, "{\"prompt\":\"second\"}\n", &data, CHAT_NONE), STATUS_OK);
    assert_int_equal(prompts_count(prompts), 2);
    expect_text(prompts_at(prompts, 0), "first");
    expect_record(prompts_at(prompts, 0), "\"data_source\":\"algebra\"");
    assert_int_equal(load(&again, "{\"prompt\":\"secone\"}\n", &data, CHAT_NONE), STATUS_OK);
    assert_true(prompts_hash(prompts) != prompts_hash(again));
    prompts_destroy(&prompts);
    prompts_destroy(&again);
}

static void test_prompts_absent_file_and_empty_folder_say_so(void **state)
{
    (void)state;
    struct data_settings data = defaults();
    struct prompts *prompts = NULL;
    data.train = "/nonexistent/x.jsonl";
    assert_int_equal(prompts_load(&prompts, &data, &none, tokenizer), STATUS_NOT_FOUND);
    data.train = "";
    assert_int_equal(prompts_load(&prompts, &data, &none, tokenizer), STATUS_INVALID);
    data.train = folder;
    assert_int_equal(prompts_load(&prompts, &data, &none, tokenizer), STATUS_NOT_FOUND);
    assert_non_null(strstr(status_last_error(), "*.jsonl"));
}

static void test_prompts_several_paths_load_in_their_order(void **state)
{
    (void)state;
    char second[FILE_PATH_MAX], list[3 * FILE_PATH_MAX], below[FILE_PATH_MAX];
    struct data_settings data = defaults();
    struct prompts *prompts = NULL;
    assert_int_equal(file_path(below, "%s/below", folder), STATUS_OK);
    assert_int_equal(file_path(second, "%s/logic.jsonl", below), STATUS_OK);
    assert_int_equal(file_make_dirs(below), STATUS_OK);
    const char *rows = "{\"prompt\":\"b\"}\n{\"prompt\":\"c\",\"data_source\":\"math\"}\n";
    assert_int_equal(file_replace(second, rows, strlen(rows)), STATUS_OK);
    snprintf(list, sizeof list, " %s , %s/ ", path, below);
    data.train = list;
    assert_int_equal(load(&prompts, "{\"prompt\":\"a\"}\n", &data, CHAT_NONE), STATUS_OK);
    assert_int_equal(prompts_count(prompts), 3);
    expect_text(prompts_at(prompts, 0), "a");
    expect_text(prompts_at(prompts, 2), "c");
    assert_int_equal(prompts_source_count(prompts), 2);
    assert_string_equal(prompts_source(prompts, 0), "math");
    assert_string_equal(prompts_source(prompts, 1), "logic");
    assert_int_equal(prompts_at(prompts, 2)->source, 0);
    prompts_destroy(&prompts);
    snprintf(list, sizeof list, "%s,/nonexistent/y.jsonl", path);
    assert_int_equal(prompts_load(&prompts, &data, &none, tokenizer), STATUS_NOT_FOUND);
    assert_non_null(strstr(status_last_error(), "data.train /nonexistent/y.jsonl"));
    snprintf(list, sizeof list, "%s,,%s", path, path);
    assert_int_equal(prompts_load(&prompts, &data, &none, tokenizer), STATUS_INVALID);
}

static void test_prompts_levels_and_pass_rates_are_read(void **state)
{
    (void)state;
    struct data_settings data = defaults();
    struct prompts *prompts = NULL;
    data.key_level = "difficulty";
    const char *text = "{\"prompt\":\"a\",\"difficulty\":3,\"pass_rate\":0.25}\n"
                       "{\"prompt\":\"b\",\"difficulty\":\"hard\",\"pass@10\":1}\n"
                       "{\"prompt\":\"c\",\"pass_rate\":null}\n"
                       "{\"prompt\":\"say \\\"pass@3\\\"\",\"pass@k\":7,\"difficulty\":-1.5}\n";
    assert_int_equal(load(&prompts, text, &data, CHAT_NONE), STATUS_OK);
    const struct {
        bool has_level, has_rate;
        float level, rate;
    } wanted[] = {{true, true, 3, 0.25F}, {false, true, 0, 1}, {0}, {true, false, -1.5F, 0}};
    for (uint64_t i = 0; i < 4; i++) {
        const struct prompt *row = prompts_at(prompts, i);
        assert_true(row->has_level == wanted[i].has_level &&
                    row->has_pass_rate == wanted[i].has_rate);
        assert_true(!row->has_level || row->level == wanted[i].level);
        assert_true(!row->has_pass_rate || row->pass_rate == wanted[i].rate);
    }
    prompts_destroy(&prompts);
    const char *const bad[] = {"{\"prompt\":\"a\",\"pass_rate\":1.5}",
                               "{\"prompt\":\"a\",\"pass_rate\":\"x\"}"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(load(&prompts, bad[i], &data, CHAT_NONE), STATUS_INVALID);
        assert_non_null(strstr(status_last_error(), "math.jsonl:1: \"pass_rate\" is"));
    }
    data.key_pass_rate = "solved";
    assert_int_equal(
        load(&prompts, "{\"prompt\":\"a\",\"solved\":0.5,\"pass_rate\":9}", &data, CHAT_NONE),
        STATUS_OK);
    assert_true(prompts_at(prompts, 0)->pass_rate == 0.5F);
    prompts_destroy(&prompts);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void test_prompts_ids_are_taken_as_they_are(void **state)
{
    (void)state;
    struct data_settings data = defaults();
    struct prompts *prompts = NULL;
    assert_int_equal(load(&prompts,
                          "{\"prompt\": [104, 105, 256], \"answer\": \"1\"}\n"
                          "{\"prompt_ids\": [97], \"prompt\": \"said otherwise\"}\n"
                          "{\"prompt_ids\": [98, 99]}\n",
                          &data, CHAT_CHATML),
                     STATUS_OK);
    assert_int_equal(prompts_count(prompts), 3);
    assert_int_equal(prompts_at(prompts, 0)->count, 3);
    assert_int_equal(prompts_at(prompts, 0)->ids[2], 256);
    expect_record(prompts_at(prompts, 0), "\"prompt_text\":\"hi\"");
    expect_text(prompts_at(prompts, 1), "a");
    expect_record(prompts_at(prompts, 1), "\"prompt\":\"said otherwise\",\"prompt_text\":\"a\"");
    expect_text(prompts_at(prompts, 2), "bc");
    expect_record(prompts_at(prompts, 2), "\"prompt\":\"bc\"");
    prompts_destroy(&prompts);
    assert_int_equal(load(&prompts, "{\"prompt\": [104, 257]}", &data, CHAT_NONE), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "math.jsonl:1: item 1 of the prompt's ids"));
    assert_int_equal(load(&prompts, "{\"prompt\": [1, \"a\"]}", &data, CHAT_NONE), STATUS_INVALID);
}

static void test_prompts_template_of_the_folder_renders_them(void **state)
{
    (void)state;
    static const char template[] =
        "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
        "{% endfor %}{{ '<think>' if think }}{{ tools | length if tools }}";
    char file[FILE_PATH_MAX];
    struct settings settings = {.data = defaults(),
                                .model = {.path = folder,
                                          .chat_format = CHAT_TEMPLATE,
                                          .chat_template = "",
                                          .chat_variables = "{\"think\": true}"}};
    struct prompts *prompts = NULL;
    assert_int_equal(file_path(file, "%s/chat_template.jinja", folder), STATUS_OK);
    assert_int_equal(file_replace(file, template, strlen(template)), STATUS_OK);
    const char *text = "{\"prompt\": \"hi\"}\n{\"prompt\": [{\"role\": \"user\", \"content\": "
                       "\"q\"}], \"tools\": [{\"type\": \"function\"}]}\n";
    assert_int_equal(file_replace(path, text, strlen(text)), STATUS_OK);
    assert_int_equal(prompts_load_run(&prompts, &settings, tokenizer), STATUS_OK);
    expect_text(prompts_at(prompts, 0), "<user>hi<think>");
    expect_text(prompts_at(prompts, 1), "<user>q<think>1");
    prompts_destroy(&prompts);
    text = "\n{\"prompt\": [{\"role\": \"user\", \"content\": \"q\"}]}\n";
    assert_int_equal(file_replace(path, text, strlen(text)), STATUS_OK);
    assert_int_equal(file_replace(file, "a\n{{ x.y }}", 11), STATUS_OK);
    assert_int_equal(prompts_load_run(&prompts, &settings, tokenizer), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "math.jsonl:2: \"prompt\": "));
    assert_non_null(strstr(status_last_error(), "chat_template.jinja:2: \"x\" is undefined"));
}

static void expect_ids(const struct prompt *prompt, const uint32_t *ids, uint32_t count)
{
    assert_int_equal(prompt->count, count);
    assert_memory_equal(prompt->ids, ids, count * sizeof *ids);
}

/* As the endpoint does with the same text: what a chat format would have written comes from the tokenizer. */
static void test_prompts_plain_texts_begin_as_the_tokenizer_says(void **state)
{
    (void)state;
    static const uint32_t begun[] = {AROUND_BEGIN, 6, 3}, written[] = {0, 6, 0, 3, 0};
    struct data_settings data = defaults();
    struct prompts *prompts = NULL;
    tokenizer_close(&tokenizer);
    if (around_open(&tokenizer, NULL) != STATUS_OK)
        fail_msg("%s", status_last_error());
    const char *text = "{\"prompt\":\"abc\"}\n"
                       "{\"prompt\":[{\"role\":\"user\",\"content\":\"abc\"}]}\n"
                       "{\"prompt\":[6,3]}\n";
    assert_int_equal(load(&prompts, text, &data, CHAT_NONE), STATUS_OK);
    expect_ids(prompts_at(prompts, 0), begun, 3);
    expect_ids(prompts_at(prompts, 1), begun, 3);
    expect_ids(prompts_at(prompts, 2), begun + 1, 2);
    expect_record(prompts_at(prompts, 0), "\"prompt_text\":\"abc\"");
    prompts_destroy(&prompts);
    data.prompt_tokens_max = 2; /* it counts */
    assert_int_equal(load(&prompts, "{\"prompt\":\"abc\"}", &data, CHAT_NONE), STATUS_INVALID);
    struct chat chat = {.format = CHAT_TEMPLATE};
    data.prompt_tokens_max = 100;
    static const char template[] = "-{{ messages[0].content }}-c-";
    assert_int_equal(
        chat_template_open_text(&chat.template, "t", template, sizeof template - 1, NULL, ""),
        STATUS_OK);
    assert_int_equal(file_replace(path, "{\"prompt\":\"ab\"}", 15), STATUS_OK);
    assert_int_equal(prompts_load(&prompts, &data, &chat, tokenizer), STATUS_OK);
    expect_ids(prompts_at(prompts, 0), written, 5);
    prompts_destroy(&prompts);
    chat_close(&chat);
}

/* `printf '{"prompt": "hi"}\n{"prompt": "yo"}\n' | zstd -c` */
static void test_prompts_compressed_files_are_read(void **state)
{
    (void)state;
    static const unsigned char packed[] = {40,  181, 47,  253, 4,   88,  229, 0,  0,   176, 123,
                                           34,  112, 114, 111, 109, 112, 116, 34, 58,  32,  34,
                                           104, 105, 34,  125, 10,  121, 111, 34, 125, 10,  1,
                                           0,   137, 155, 75,  10,  136, 205, 179};
    struct data_settings data = defaults();
    struct prompts *prompts = NULL;
    char inner[FILE_PATH_MAX], file[FILE_PATH_MAX];
    assert_int_equal(file_path(inner, "%s/packed", folder), STATUS_OK);
    assert_int_equal(file_make_dirs(inner), STATUS_OK);
    assert_int_equal(file_path(file, "%s/packed/set.jsonl.zst", folder), STATUS_OK);
    assert_int_equal(file_replace(file, packed, sizeof packed), STATUS_OK);
    data.train = inner;
    assert_int_equal(prompts_load(&prompts, &data, &none, tokenizer), STATUS_OK);
    assert_int_equal(prompts_count(prompts), 2);
    expect_text(prompts_at(prompts, 1), "yo");
    expect_record(prompts_at(prompts, 1), "\"data_source\":\"set\"");
    prompts_destroy(&prompts);
    assert_int_equal(file_replace(file, packed, sizeof packed - 3), STATUS_OK);
    assert_int_equal(prompts_load(&prompts, &data, &none, tokenizer), STATUS_CORRUPT);
    assert_non_null(strstr(status_last_error(), "set.jsonl.zst"));
    assert_int_equal(file_replace(file, "{}{}{}{}", 8), STATUS_OK);
    assert_int_equal(prompts_load(&prompts, &data, &none, tokenizer), STATUS_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_prompts_ids_are_taken_as_they_are),
        TEST(test_prompts_template_of_the_folder_renders_them),
        TEST(test_prompts_plain_texts_begin_as_the_tokenizer_says),
        TEST(test_prompts_compressed_files_are_read),
        TEST(test_prompts_published_gsm8k_rows_load),
        TEST(test_prompts_verl_and_trl_rows_load),
        TEST(test_prompts_long_ones_are_left_out_and_counted),
        TEST(test_prompts_mistakes_name_file_line_and_key),
        TEST(test_prompts_folder_takes_files_in_order_of_name),
        TEST(test_prompts_several_paths_load_in_their_order),
        TEST(test_prompts_levels_and_pass_rates_are_read),
        TEST(test_prompts_absent_file_and_empty_folder_say_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
