/* links: text PkgConfig::jansson */
/* timeout: 30 */
/* Small tokenizers written here, refusals, UTF-8 repair, chat formats; with WEIR_TEST_DATA set to a folder with
 * data/tokenizers/NAME and golden/tokenizer/NAME.jsonl also every row that Hugging Face's package gave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "text/chat.h"
#include "text/tokenizer.h"

static struct arena *arena;

/* Characters as tokens, as the quickstart model has them; "$" ends a text. */
static const char *const characters =
    "{\"added_tokens\":[{\"id\":4,\"content\":\"<end>\",\"special\":true,\"normalized\":false}],"
    "\"normalizer\":null,\"pre_tokenizer\":null,\"decoder\":{\"type\":\"Fuse\"},"
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\" \":2,\"\\u00e9\":3,\"<end>\":4},"
    "\"merges\":[]}}";

/* Byte level with two merges, an added token and NFC. \u0120 is a space in the alphabet. */
static const char *const byte_level =
    "{\"added_tokens\":[{\"id\":9,\"content\":\"<|x|>\",\"special\":true,\"normalized\":false},"
    "{\"id\":10,\"content\":\"<|x|>y\",\"special\":false,\"normalized\":false}],"
    "\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"ByteLevel\","
    "\"add_prefix_space\":false},\"decoder\":{\"type\":\"ByteLevel\"},"
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"\\u0120\":2,\"\\u00c3\":3,"
    "\"\\u00a9\":4,\"ab\":5,\"aba\":6,\"\\u0120ab\":7,\"y\":8,\"ba\":11},"
    "\"merges\":[\"b a\",[\"a\",\"b\"],\"\\u0120 ab\",\"ab a\"]}}";

static struct tokenizer *open_text(const char *json)
{
    struct tokenizer *tokenizer = NULL;
    enum status status = tokenizer_open_json(&tokenizer, "t.json", json, strlen(json), NULL, 0);
    if (status != STATUS_OK)
        fail_msg("%s", status_last_error());
    return tokenizer;
}

static void assert_ids(struct tokenizer *tokenizer, const char *text, size_t count,
                       const uint32_t *wanted)
{
    uint32_t *ids = NULL;
    size_t found = 0;
    arena_reset(arena);
    if (tokenizer_encode(tokenizer, text, strlen(text), arena, &ids, &found) != STATUS_OK)
        fail_msg("%s", status_last_error());
    assert_int_equal(found, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(ids[i], wanted[i]);
}
#define IDS(...)                                                             \
    sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), (const uint32_t[]) \
    {                                                                        \
        __VA_ARGS__                                                          \
    }

static void assert_decoded(const struct tokenizer *tokenizer, size_t count, const uint32_t *ids,
                           bool skip, const char *wanted)
{
    struct buffer text;
    buffer_init(&text, 0);
    assert_int_equal(tokenizer_decode(tokenizer, ids, count, skip, &text), STATUS_OK);
    assert_string_equal(buffer_string(&text), wanted);
    buffer_free(&text);
}

static void test_tokenizer_characters_round_trip(void **state)
{
    (void)state;
    struct tokenizer *t = open_text(characters);
    assert_int_equal(tokenizer_vocabulary(t), 5);
    assert_ids(t, "ab \xc3\xa9<end>b", IDS(0, 1, 2, 3, 4, 1));
    assert_decoded(t, IDS(0, 1, 2, 3, 4, 1), true,
                   "ab \xc3\xa9"
                   "b");
    assert_decoded(t, IDS(3, 4), false, "\xc3\xa9<end>");
    assert_int_equal(tokenizer_token_id(t, "<end>"), 4);
    assert_int_equal(tokenizer_token_id(t, "c"), -1);
    assert_true(tokenizer_is_special(t, 4) && !tokenizer_is_special(t, 0));
    uint32_t *ids;
    size_t count;
    assert_int_equal(tokenizer_encode(t, "abc", 3, arena, &ids, &count), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "\"c\""));
    assert_int_equal(tokenizer_encode(t, "a\xff", 2, arena, &ids, &count), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "offset 1"));
    assert_int_equal(tokenizer_encode(t, "", 0, arena, &ids, &count), STATUS_OK);
    assert_int_equal(count, 0);
    assert_decoded(t, IDS(0, 5), false, "a\xef\xbf\xbd"); /* beyond the vocabulary: U+FFFD */
    tokenizer_close(&t);
    assert_null(t);
}

static void test_tokenizer_merges_go_by_rank_then_from_the_left(void **state)
{
    (void)state;
    struct tokenizer *t = open_text(byte_level);
    assert_ids(t, "ab", IDS(5));
    assert_ids(t, "aba", IDS(0, 11)); /* "b a" ranks before "a b" */
    assert_ids(t, "abab", IDS(0, 11, 1));
    assert_ids(t, "abb abb", IDS(5, 1, 7, 1));
    assert_ids(t, "y ab", IDS(8, 7));
    tokenizer_close(&t);
}

static void test_tokenizer_added_tokens_are_cut_out_longest_first(void **state)
{
    (void)state;
    struct tokenizer *t = open_text(byte_level);
    assert_ids(t, "ab<|x|>ab<|x|>y<|x|>", IDS(5, 9, 5, 10, 9));
    assert_decoded(t, IDS(5, 9, 5, 10, 9), true, "abab<|x|>y");
    tokenizer_close(&t);
}

static void test_tokenizer_text_is_normalized_and_decodes_to_bytes(void **state)
{
    (void)state;
    struct tokenizer *t = open_text(
        "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}]},"
        "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"use_regex\":false},"
        "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"ignore_merges\":true,"
        "\"vocab\":{\"\\u0120\":0,\"\\u00c3\":1,\"\\u00a9\":2,\"\\u00c3\\u00a9\":3,\"e\":4,"
        "\"\\u0120e\\u00c3\\u00a9\":5},\"merges\":[\"\\u00c3 \\u00a9\"]}}");
    assert_ids(t, "e\xcc\x81", IDS(0, 3)); /* e + combining acute = U+00E9, after the space */
    assert_ids(t, "ee\xcc\x81", IDS(5));   /* ignore_merges: the piece is a token */
    assert_ids(t, " e", IDS(0, 4));
    assert_decoded(t, IDS(1), false, "\xc3"); /* half a character stays a byte */
    assert_int_equal(tokenizer_token_id(t, "\xc3\xa9"), 3);
    tokenizer_close(&t);
}

static void test_tokenizer_splits_keep_or_drop_their_matches(void **state)
{
    (void)state;
    static const char *const head =
        "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
        "\"pattern\":{\"Regex\":\"\\\\s\"},\"behavior\":\"%s\",\"invert\":%s},"
        "{\"type\":\"Digits\",\"individual_digits\":true}]},\"decoder\":{\"type\":\"Fuse\"},"
        "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\" \":1,\"1\":2,\"a \":3,\"11\":4,"
        "\"aa\":5},\"merges\":[\"1 1\",\"a a\"]}}";
    char json[1024];
    (void)snprintf(json, sizeof json, head, "Isolated", "false");
    struct tokenizer *t = open_text(json);
    assert_ids(t, "aa aa11", IDS(5, 1, 5, 2, 2));
    tokenizer_close(&t);
    (void)snprintf(json, sizeof json, head, "Removed", "false");
    t = open_text(json);
    assert_ids(t, "aa a a", IDS(5, 0, 0));
    tokenizer_close(&t);
    (void)snprintf(json, sizeof json, head, "Removed", "true");
    t = open_text(json);
    assert_ids(t, "aa a a", IDS(1, 1));
    tokenizer_close(&t);
}

/* byte_level with its first `from` replaced */
static void refuse(const char *from, const char *to, enum status status, const char *word)
{
    char json[4096];
    const char *at = strstr(byte_level, from);
    assert_non_null(at);
    (void)snprintf(json, sizeof json, "%.*s%s%s", (int)(at - byte_level), byte_level, to,
                   at + strlen(from));
    struct tokenizer *tokenizer = NULL;
    int64_t blocks = memory_blocks_live();
    enum status got = tokenizer_open_json(&tokenizer, "t.json", json, strlen(json), NULL, 0);
    if (got != status || strstr(status_last_error(), word) == NULL)
        fail_msg("%s; no \"%s\" in: %s", status_name(got), word, status_last_error());
    assert_int_equal(memory_blocks_live(), blocks);
}

static void test_tokenizer_parts_it_does_not_do_are_refused_by_name(void **state)
{
    (void)state;
    enum status no = STATUS_UNSUPPORTED;
    refuse("BPE", "Unigram", no, "model Unigram");
    refuse("BPE", "WordPiece", no, "model WordPiece");
    refuse("NFC", "Nmt", no, "normalizer Nmt");
    refuse("\"type\":\"ByteLevel\"", "\"type\":\"BertPreTokenizer\"", no,
           "pre-tokenizer BertPreTokenizer");
    refuse("{\"type\":\"ByteLevel\"}", "{\"type\":\"WordPiece\"}", no, "decoder WordPiece");
    refuse("{\"type\":\"ByteLevel\"}", "null", no, "decoder null");
    refuse("{\"type\":\"ByteLevel\"}", "{\"type\":\"Fuse\"}", no, "decoder");
    refuse("\"normalizer\"", "\"post_processor\":{\"type\":\"Odd\"},\"normalizer\"", no,
           "post-processor Odd");
    refuse("\"merges\":", "\"dropout\":0.1,\"merges\":", no, "dropout");
    refuse("\"b a\"", "\"b q\"", STATUS_INVALID, "merge 0");
    refuse("\"b a\"", "7", STATUS_INVALID, "merge 0");
    refuse("\"b\":1", "\"b\":-1", STATUS_INVALID, "\"b\"");
    refuse("\"b\":1", "\"b\":99999999", STATUS_INVALID, "\"b\"");
    refuse("\"b\":1", "\"b\":9999999", STATUS_INVALID, "9999999");
    refuse("\"b\":1", "\"b\":9", STATUS_INVALID, "id 9");
    refuse("\"id\":10", "\"id\":9", STATUS_INVALID, "id 9");
    refuse("}}", "}", STATUS_INVALID, "t.json");
    refuse("{\"type\":\"ByteLevel\",",
           "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"}, \"z\":{",
           no, "pattern (");
}

static void test_tokenizer_out_of_memory_fails_cleanly(void **state)
{
    (void)state;
    int64_t blocks = memory_blocks_live();
    enum status status = STATUS_NO_MEMORY;
    for (int n = 1; status != STATUS_OK && n < 100; n++) {
        struct tokenizer *t = NULL;
        uint32_t *ids;
        size_t count;
        memory_fail_after(n);
        status = tokenizer_open_json(&t, "t", byte_level, strlen(byte_level), NULL, 0);
        if (status == STATUS_OK)
            status = tokenizer_encode(t, "ab ab", 5, arena, &ids, &count);
        memory_fail_after(-1);
        assert_true(status == STATUS_OK || status == STATUS_NO_MEMORY);
        tokenizer_close(&t);
        assert_int_equal(memory_blocks_live(), blocks);
    }
    assert_int_equal(status, STATUS_OK);
}

static void test_tokenizer_of_bytes_needs_no_file(void **state)
{
    (void)state;
    struct tokenizer *t = NULL;
    assert_int_equal(tokenizer_open(&t, "/nonexistent", TOKENIZER_JSON), STATUS_NOT_FOUND);
    assert_non_null(strstr(status_last_error(), "/nonexistent/tokenizer.json"));
    assert_int_equal(tokenizer_open(&t, "/nonexistent", TOKENIZER_AUTO), STATUS_OK);
    assert_int_equal(tokenizer_vocabulary(t), 257);
    assert_int_equal(tokenizer_eos(t), 256);
    assert_ids(t, "a\xff", IDS('a', 0xff));
    assert_decoded(t, IDS('a', 0xff, 256), false, "a\xff");
    tokenizer_close(&t);
}

static void test_tokenizer_config_names_the_eos_token(void **state)
{
    (void)state;
    const char *const configs[] = {"{\"eos_token\":\"<|x|>\"}",
                                   "{\"eos_token\":{\"content\":\"<|x|>\"}}",
                                   "{\"model_max_length\":1000000000000000019884624838656}"};
    const int64_t wanted[] = {9, 9, -1};
    struct tokenizer *t = NULL;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(tokenizer_open_json(&t, "t", byte_level, strlen(byte_level), configs[i],
                                             strlen(configs[i])),
                         STATUS_OK);
        assert_int_equal(tokenizer_eos(t), wanted[i]);
        tokenizer_close(&t);
    }
    assert_int_equal(
        tokenizer_open_json(&t, "t", byte_level, strlen(byte_level), "{\"eos_token\":\"no\"}", 18),
        STATUS_INVALID);
}

static void test_tokenizer_invalid_bytes_become_replacement_characters(void **state)
{
    (void)state;
    const struct {
        const char *in, *out;
    } rows[] = {
        {"a\xc3\xa9z", "a\xc3\xa9z"},
        {"a\xc3", "a\xef\xbf\xbd"},
        {"\xe2\x82x", "\xef\xbf\xbdx"},                           /* one piece of two bytes */
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* a surrogate */
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                 /* overlong */
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf0\x9f\x98\x80\xf0\x9f\x98", "\xf0\x9f\x98\x80\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buffer text;
        buffer_init(&text, 0);
        assert_int_equal(text_append_utf8(&text, rows[i].in, strlen(rows[i].in)), STATUS_OK);
        assert_string_equal(buffer_string(&text), rows[i].out);
        buffer_free(&text);
    }
}

static void test_tokenizer_chat_formats_render_turns(void **state)
{
    (void)state;
    const struct chat_message messages[] = {{"system", "S"}, {"user", "U"}};
    const struct {
        enum setting_chat_format format;
        bool prompt;
        const char *wanted;
    } rows[] = {
        {CHAT_NONE, true, "SU"},
        {CHAT_CHATML, true,
         "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"},
        {CHAT_CHATML, false, "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"},
        {CHAT_MINIMAX, true,
         "<begin_of_document><beginning_of_sentence>system "
         "ai_setting=assistant\nS<end_of_sentence>\n"
         "<beginning_of_sentence>user name=user\nU<end_of_sentence>\n"
         "<beginning_of_sentence>ai name=assistant\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buffer text;
        buffer_init(&text, 0);
        assert_int_equal(chat_render(rows[i].format, messages, 2, rows[i].prompt, &text),
                         STATUS_OK);
        assert_string_equal(buffer_string(&text), rows[i].wanted);
        buffer_free(&text);
    }
    struct buffer text;
    buffer_init(&text, 0);
    const struct chat_message odd = {"tool", "x"};
    assert_int_equal(chat_render(CHAT_CHATML, &odd, 1, true, &text), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "tool"));
    buffer_free(&text);
}

/* ---- rows of the Hugging Face package ---- */

static bool row_is_right(struct tokenizer *t, const json_t *row)
{
    const char *text = json_string_value(json_object_get(row, "text"));
    const json_t *wanted = json_object_get(row, "ids");
    const char *decoded = json_string_value(json_object_get(row, "decoded"));
    uint32_t *ids = NULL;
    size_t count = 0, size = json_string_length(json_object_get(row, "text"));
    arena_reset(arena);
    bool right = tokenizer_encode(t, text, size, arena, &ids, &count) == STATUS_OK &&
                 count == json_array_size(wanted);
    for (size_t i = 0; right && i < count; i++)
        right = (json_int_t)ids[i] == json_integer_value(json_array_get(wanted, i));
    if (right && decoded != NULL) {
        struct buffer out;
        buffer_init(&out, 0);
        right = tokenizer_decode(t, ids, count, false, &out) == STATUS_OK &&
                strcmp(buffer_string(&out), decoded) == 0;
        buffer_free(&out);
    }
    return right;
}

static void check_rows(const char *folder, const char *name)
{
    char path[FILE_PATH_MAX];
    struct tokenizer *t = NULL;
    assert_int_equal(file_path(path, "%s/data/tokenizers/%s", folder, name), STATUS_OK);
    if (tokenizer_open(&t, path, TOKENIZER_JSON) != STATUS_OK)
        fail_msg("%s", status_last_error());
    int total = 0, right = 0;
    for (int kind = 0; kind < 2; kind++) {
        assert_int_equal(
            file_path(path, "%s/golden/tokenizer/%s%s.jsonl", folder, name, kind ? ".chat" : ""),
            STATUS_OK);
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        json_t *row;
        while ((row = json_loadf(file, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL)) != NULL) {
            bool ok = row_is_right(t, row);
            if (!ok && total - right < 5)
                print_message("%s row %d: %s\n", path, total,
                              json_string_value(json_object_get(row, "text")));
            total++;
            right += ok;
            json_decref(row);
        }
        assert_int_equal(fclose(file), 0);
    }
    print_message("%s: %d of %d rows, vocabulary %u, eos %d\n", name, right, total,
                  tokenizer_vocabulary(t), (int)tokenizer_eos(t));
    tokenizer_close(&t);
    assert_true(total > 900);
    assert_int_equal(right, total);
}

static void test_tokenizer_rows_of_hugging_face_are_the_same(void **state)
{
    (void)state;
    const char *folder = getenv("WEIR_TEST_DATA");
    if (folder == NULL) {
        print_message("WEIR_TEST_DATA is not set: tokenizers of real models are not checked\n");
        skip();
    }
    check_rows(folder, "qwen3");
    check_rows(folder, "llama3_1");
}

static int set_up(void **state)
{
    (void)state;
    return arena_create(&arena, 16u << 20) != STATUS_OK;
}

static int tear_down(void **state)
{
    (void)state;
    arena_destroy(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenizer_characters_round_trip),
        cmocka_unit_test(test_tokenizer_merges_go_by_rank_then_from_the_left),
        cmocka_unit_test(test_tokenizer_added_tokens_are_cut_out_longest_first),
        cmocka_unit_test(test_tokenizer_text_is_normalized_and_decodes_to_bytes),
        cmocka_unit_test(test_tokenizer_splits_keep_or_drop_their_matches),
        cmocka_unit_test(test_tokenizer_parts_it_does_not_do_are_refused_by_name),
        cmocka_unit_test(test_tokenizer_out_of_memory_fails_cleanly),
        cmocka_unit_test(test_tokenizer_of_bytes_needs_no_file),
        cmocka_unit_test(test_tokenizer_config_names_the_eos_token),
        cmocka_unit_test(test_tokenizer_invalid_bytes_become_replacement_characters),
        cmocka_unit_test(test_tokenizer_chat_formats_render_turns),
        cmocka_unit_test(test_tokenizer_rows_of_hugging_face_are_the_same),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
