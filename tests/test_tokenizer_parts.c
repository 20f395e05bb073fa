/* links: text PkgConfig::jansson */
/* timeout: 20 */
/* Parts of tokenizer.json that models other than GPT-2's family have, patterns in Oniguruma's syntax, tokenizers in several
 * files, and decoding as ids come. What is wanted here was given by Hugging Face's `tokenizers` package. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"
#include "tests/slow.h"
#include "text/detokenizer.h"
#include "text/scanner.h"
#include "text/tokenizer_parts.h"
#include "text/utf8.h"

static struct arena *arena;

#define MARK "\xe2\x96\x81"
/* As Gemma and Llama 2 have it: marks for spaces, bytes for what the vocabulary lacks. */
#define MARKED(normalizer, strip)                                                                  \
    "{\"added_tokens\":[{\"id\":9,\"content\":\"<s>\",\"special\":true,\"normalized\":false}],"    \
    "\"normalizer\":" normalizer ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":" \
    "\" \"},\"behavior\":\"MergedWithPrevious\"},\"post_processor\":{\"type\":"                    \
    "\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{"       \
    "\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[9]}}},\"decoder\":{\"type\":"           \
    "\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"" MARK "\"},"      \
    "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}" strip "]},\"model\":{"    \
    "\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":true,"           \
    "\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2,\"" MARK "\":3,\"" MARK "a\":4,\"ab\":5,"              \
    "\"<0xC3>\":6,\"<0xA9>\":7,\"<0xE9>\":8},\"merges\":[[\"" MARK "\",\"a\"],[\"a\",\"b\"]]}}"
#define REPLACE "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" MARK "\"}"

static struct tokenizer *open_text(const char *json)
{
    struct tokenizer *tokenizer = NULL;
    if (tokenizer_open_json(&tokenizer, "t.json", json, strlen(json), NULL, 0) != STATUS_OK)
        fail_msg("%s", status_last_error());
    return tokenizer;
}

/* ids as "1 2 3" */
static void assert_ids(struct tokenizer *tokenizer, bool special, const char *text,
                       const char *wanted)
{
    uint32_t *ids = NULL;
    size_t count = 0;
    struct buffer got;
    buffer_init(&got, 0);
    arena_reset(arena);
    if ((special ? tokenizer_encode_special : tokenizer_encode)(tokenizer, text, strlen(text),
                                                                arena, &ids, &count) != STATUS_OK)
        fail_msg("%s", status_last_error());
    for (size_t i = 0; i < count; i++)
        assert_int_equal(buffer_printf(&got, "%s%u", i == 0 ? "" : " ", ids[i]), STATUS_OK);
    assert_string_equal(buffer_string(&got), wanted);
    buffer_free(&got);
}

/* All at once and one by one. */
static void assert_text(const struct tokenizer *tokenizer, const uint32_t *ids, size_t count,
                        const char *wanted)
{
    struct detokenizer *detokenizer = NULL;
    struct buffer raw, whole, parts;
    buffer_init(&raw, 0);
    buffer_init(&whole, 0);
    buffer_init(&parts, 0);
    assert_int_equal(tokenizer_decode(tokenizer, ids, count, true, &raw), STATUS_OK);
    assert_int_equal(text_append_utf8(&whole, raw.bytes, raw.size), STATUS_OK);
    assert_int_equal(detokenizer_create(&detokenizer, tokenizer, true), STATUS_OK);
    for (int round = 0; round < 2; round++) { /* a flush begins a new text */
        parts.size = 0;
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(detokenizer_push(detokenizer, ids[i], &parts), STATUS_OK);
            assert_int_equal(utf8_check(parts.bytes, parts.size), parts.size);
        }
        assert_int_equal(detokenizer_flush(detokenizer, &parts), STATUS_OK);
        assert_string_equal(buffer_string(&parts), wanted);
    }
    assert_string_equal(buffer_string(&whole), wanted);
    detokenizer_destroy(&detokenizer);
    assert_null(detokenizer);
    buffer_free(&raw);
    buffer_free(&whole);
    buffer_free(&parts);
}
#define IDS(...) \
    (const uint32_t[]){__VA_ARGS__}, sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)

static void test_tokenizer_parts_marks_and_bytes_of_gemma(void **state)
{
    (void)state;
    struct tokenizer *t = open_text(MARKED(REPLACE, ""));
    assert_ids(t, false, "a ab a", "1 4 2 4"); /* the merge with the mark has the lower rank */
    assert_ids(t, false,
               "\xc3\xa9"
               "b",
               "6 7 2");
    assert_ids(t, false, "zqab", "0 5"); /* fuse_unk: one unknown */
    assert_ids(t, false, "<s>a", "9 1");
    assert_ids(t, true, "a", "9 1");
    assert_text(t, IDS(1, 4, 6, 7, 2),
                "a a\xc3\xa9"
                "b");
    assert_text(t, IDS(6, 7, 6, 1),
                "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                "a");                         /* one bad run */
    assert_text(t, IDS(6, 9, 7), "\xc3\xa9"); /* a special token that is left out ends no run */
    assert_text(t, IDS(8), "\xef\xbf\xbd");
    tokenizer_close(&t);
}

static void test_tokenizer_parts_space_in_front_of_llama2(void **state)
{
    (void)state;
    struct tokenizer *t = open_text(
        MARKED("{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"" MARK
               "\"}," REPLACE "]}",
               ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}"));
    assert_ids(t, false, "a", "4");
    assert_ids(t, false, " a", "3 4");
    assert_ids(t, false, "a<s>a", "4 9 4"); /* each part between added tokens gets one */
    assert_text(t, IDS(4, 4), "a a");
    assert_text(t, IDS(3, 4), " a");
    assert_text(t, IDS(9, 3, 3, 1), " a");
    tokenizer_close(&t);
}

static void test_tokenizer_parts_metaspace_puts_its_mark_in_front(void **state)
{
    (void)state;
    static const char *const json =
        "{\"added_tokens\":[{\"id\":5,\"content\":\"<s>\",\"special\":true}],\"pre_tokenizer\":{"
        "\"type\":\"Metaspace\",\"replacement\":\"" MARK "\",\"prepend_scheme\":\"%s\"},"
        "\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"" MARK
        "\",\"prepend_scheme\":\"%s\"},"
        "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"" MARK "\":1,\"" MARK "a\":2,\"a" MARK
        "\":3},\"merges\":[\"" MARK " a\",\"a " MARK "\"]}}";
    static const char *const rows[][3] = {
        {"always", "2 2 5 2", "a aa"}, {"first", "2 2 5 0", "a aa"}, {"never", "0 2 5 0", " a aa"}};
    for (size_t i = 0; i < 3; i++) {
        char text[1024];
        (void)snprintf(text, sizeof text, json, rows[i][0], rows[i][0]);
        struct tokenizer *t = open_text(text);
        assert_ids(t, false, "a a<s>a", rows[i][1]);
        assert_text(t, IDS(2, 2, 0), rows[i][2]);
        tokenizer_close(&t);
    }
}

static enum status write_piece(void *context, const uint8_t *bytes, size_t size)
{
    struct buffer *out = context;
    TRY(buffer_append(out, bytes, size));
    return buffer_text(out, "|");
}

/* Each piece with a "|" behind it, for the behaviours in the order of the enum, with ";" between them; fewer will do. */
static void assert_pieces(const char *pattern, const char *text, const char *wanted)
{
    for (int behavior = SPLIT_REMOVED; behavior <= SPLIT_CONTIGUOUS; behavior++) {
        struct pretokenizer pretokenizer = {0};
        struct buffer out;
        buffer_init(&out, 0);
        if (pretokenizer_split(&pretokenizer, pattern, false, (enum split_behavior)behavior,
                               false) != STATUS_OK)
            fail_msg("%s", status_last_error());
        assert_int_equal(pretokenizer_run(&pretokenizer, (const uint8_t *)text, strlen(text), true,
                                          write_piece, &out),
                         STATUS_OK);
        size_t size = strcspn(wanted, ";");
        if (out.size != size || memcmp(out.bytes, wanted, size) != 0)
            fail_msg("%s on %s: %s, wanted %.*s", pattern, text, buffer_string(&out), (int)size,
                     wanted);
        wanted += size + (wanted[size] == ';');
        if (*wanted == '\0')
            behavior = SPLIT_CONTIGUOUS;
        buffer_free(&out);
        pretokenizer_destroy(&pretokenizer);
    }
}

static void test_tokenizer_parts_five_behaviours_of_a_split(void **state)
{
    (void)state;
    assert_pieces("-", "the-final--countdown",
                  "the|final|countdown|;the|-|final|-|-|countdown|;the-|final-|-|countdown|;"
                  "the|-final|-|-countdown|;the|-|final|--|countdown|");
    assert_pieces("-", "-a-", "a|;-|a|-|;-|a-|;-a|-|;-|a|-|");
}

static void test_tokenizer_parts_patterns_are_read_as_oniguruma_does(void **state)
{
    (void)state;
    assert_pieces("\\d{1,3}+", "1234567a", "a|;1234567|a|"); /* a repeated repeat */
    assert_pieces("(?:ab|c){1,2}+", "abcabx", "x|;abcab|x|");
    assert_pieces("[a[bc]d]+", "abcde", "e|;abcd|e|"); /* the union of classes */
    assert_pieces("\\h+", "xffG", "x|G|;x|ff|G|");
    assert_pieces("^b|b$", "b\nab", "\na|;b|\na|b|"); /* lines */
    assert_pieces("\\u0061", "ba", "b|;b|a|");
    assert_pieces("(?=b)", "abb", "a|b|b|;a|b|b|"); /* an empty match cuts */
    assert_pieces("\\p{L}+",
                  "a\xf0\xb1\x8d\x90"
                  "1",
                  "1|;a\xf0\xb1\x8d\x90|1|"); /* U+31350: 15.0 */
    static const char *const refused[] = {"[a&&b]", "\\bx", "[[:alpha:]]", "(?m:.)", "a(?i)b",
                                          "x{,3}",  "[",    "\\p{Nope}",   "[\\H]",  "(?<=a*)b"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct pattern pattern;
        int64_t blocks = memory_blocks_live();
        assert_int_equal(pattern_compile(&pattern, refused[i], false), STATUS_UNSUPPORTED);
        assert_non_null(strstr(status_last_error(), refused[i]));
        assert_int_equal(memory_blocks_live(), blocks);
    }
}

static void test_tokenizer_parts_scanners_match_what_pcre2_matches(void **state)
{
    (void)state;
    static const char *const parts[] = {"a",
                                        "Z",
                                        "'s",
                                        "'LL",
                                        "'",
                                        "7",
                                        "42",
                                        " ",
                                        "  ",
                                        "\n",
                                        "\r",
                                        "\t",
                                        "!",
                                        "_",
                                        "\x7f",
                                        "\xc3\xa9",
                                        "\xe3\x80\x80",
                                        "\xc5\xbf",
                                        "\xc2\xb2",
                                        "\xe2\x80\x94",
                                        "\x01"};
    uint32_t seed = 1;
    for (size_t i = 0; scanner_pattern(i) != NULL; i++) {
        struct pattern fast, plain;
        assert_int_equal(pattern_compile(&fast, scanner_pattern(i), false), STATUS_OK);
        assert_non_null(fast.scan);
        plain = fast;
        plain.scan = NULL;
        for (uint64_t round = 0; round < test_times(2000, 100); round++) {
            char text[64] = "";
            for (size_t k = 0; k < 10; k++) {
                seed = seed * 1664525u + 1013904223u;
                const char *part = parts[(seed >> 16) % (sizeof parts / sizeof parts[0])];
                memcpy(text + strlen(text), part, strlen(part) + 1);
            }
            struct pattern_search a = {0}, b = {0};
            bool found = true, wanted = true;
            while (wanted) {
                size_t one[2] = {0}, two[2] = {0};
                assert_int_equal(
                    pattern_next(&fast, &a, (const uint8_t *)text, strlen(text), one, &found),
                    STATUS_OK);
                assert_int_equal(
                    pattern_next(&plain, &b, (const uint8_t *)text, strlen(text), two, &wanted),
                    STATUS_OK);
                if (found != wanted || one[0] != two[0] || one[1] != two[1])
                    fail_msg("%s on \"%s\": %zu-%zu, PCRE2 %zu-%zu", scanner_pattern(i), text,
                             one[0], one[1], two[0], two[1]);
            }
        }
        pattern_free(&fast);
    }
}

static void test_tokenizer_parts_added_tokens_take_spaces_or_stand_alone(void **state)
{
    (void)state;
    struct tokenizer *t = open_text(
        "{\"added_tokens\":[{\"id\":4,\"content\":\"<l>\",\"lstrip\":true},{\"id\":5,\"content\":"
        "\"<r>\",\"rstrip\":true},{\"id\":6,\"content\":\"bb\",\"single_word\":true},{\"id\":7,"
        "\"content\":\"CC\",\"normalized\":true}],\"normalizer\":{\"type\":\"Lowercase\"},"
        "\"decoder\":{\"type\":\"Fuse\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\" \":1,"
        "\"b\":2,\"c\":3},\"merges\":[]}}");
    assert_ids(t, false, "a  <l> a", "0 4 1 0");
    assert_ids(t, false, "a <r>\t\n a", "0 1 5 0");
    assert_ids(t, false, "bb abb a bb", "6 1 0 2 2 1 0 1 6");
    assert_ids(t, false, "Acc cC", "0 7 1 7"); /* found in the normalized text */
    tokenizer_close(&t);
}

/* Each part asks the tables that the package asks: words and cases those of 16.0, punctuation those of 8.0. */
static void test_tokenizer_parts_tables_are_of_the_unicode_that_the_package_has(void **state)
{
    (void)state;
    struct tokenizer *t = open_text(
        "{\"added_tokens\":[{\"id\":9,\"content\":\"bb\",\"single_word\":true}],\"normalizer\":{"
        "\"type\":\"Lowercase\"},\"pre_tokenizer\":{\"type\":\"Punctuation\"},\"decoder\":{"
        "\"type\":"
        "\"Fuse\"},\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"a\":1,"
        "\"b\":2,\"\xe2\xb9\x83\":3,\"a\xe2\xb9\x83\":4,\"\xe1\x99\xad\":5,"
        "\"a\xe1\x99\xad\":6,\"\xea\x9f\x9b\":7,\"\xf0\x90\xb5\xb0\":8},"
        "\"merges\":[[\"a\",\"\xe2\xb9\x83\"],[\"a\",\"\xe1\x99\xad\"]]}}");
    assert_ids(t, false, "a\xe2\xb9\x83", "4");          /* U+2E43: punctuation of 9.0 */
    assert_ids(t, false, "a\xe1\x99\xad", "1 5");        /* U+166D: a symbol since 12.0 */
    assert_ids(t, false, "\xea\x9f\x9a", "7");           /* U+A7DA: 16.0 */
    assert_ids(t, false, "\xf0\x90\xb5\x90", "8");       /* U+10D50 */
    assert_ids(t, false, "bb\xf0\x90\xb5\x8a", "2 2 0"); /* U+10D4A: a letter of 16.0 */
    assert_ids(t, false, "bb\xf0\x90\xb5\x80", "2 2 0"); /* U+10D40: a digit */
    assert_ids(t, false, "bb\xf0\x9d\x8b\x80", "9 0");   /* U+1D2C0: a number and no digit */
    tokenizer_close(&t);
}

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/%s", folder, name), STATUS_OK);
    assert_int_equal(file_replace(path, text, strlen(text)), STATUS_OK);
}

static void test_tokenizer_parts_vocab_and_merges_stand_in_for_tokenizer_json(void **state)
{
    (void)state;
    char folder[] = "/tmp/weir-tokenizer-XXXXXX";
    assert_non_null(mkdtemp(folder));
    write_file(folder, "vocab.json", "{\"a\":0,\"b\":1,\"\\u0120\":2,\"ab\":3,\"\\u0120ab\":4}");
    write_file(folder, "merges.txt", "#version: 0.2\na b\n\xc4\xa0 ab\n");
    write_file(folder, "tokenizer_config.json",
               "{\"tokenizer_class\":\"GPT2Tokenizer\",\"eos_token\":{\"content\":\"<end>\"},"
               "\"bos_token\":\"<new>\",\"add_bos_token\":true,"
               "\"added_tokens_decoder\":{\"6\":{\"content\":\"<end>\",\"special\":true}}}");
    write_file(folder, "added_tokens.json", "{\"<word>\":5}");
    struct tokenizer *t = NULL;
    if (tokenizer_open(&t, folder, TOKENIZER_AUTO) != STATUS_OK)
        fail_msg("%s", status_last_error());
    assert_ids(t, false, "ab ab<end>a<word>", "3 4 6 0 5");
    assert_ids(t, true, "ab", "7 3"); /* <new> has no id: the next one */
    assert_int_equal(tokenizer_eos(t), 6);
    assert_true(tokenizer_is_special(t, 6) && !tokenizer_is_special(t, 5));
    tokenizer_close(&t);
    write_file(folder, "merges.txt", "#version: 0.2\na b\nab\n");
    assert_int_equal(tokenizer_open(&t, folder, TOKENIZER_JSON), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "merges.txt:3"));
    write_file(folder, "tokenizer_config.json", "{\"tokenizer_class\":\"CLIPTokenizer\"}");
    assert_int_equal(tokenizer_open(&t, folder, TOKENIZER_JSON), STATUS_UNSUPPORTED);
    assert_non_null(strstr(status_last_error(), "CLIPTokenizer"));
    assert_int_equal(file_remove_tree(folder), STATUS_OK);
}

static void test_tokenizer_parts_unicode_forms_work_around_what_may_change(void **state)
{
    (void)state;
    struct normalizer normalizer = {0};
    static const char *const rows[][2] = {
        {"plain \xc3\xa9", "plain \xc3\xa9"},
        {"e\xcc\x81x\xe4\xb8\xad", "\xc3\xa9x\xe4\xb8\xad"},
        {"\xcc\x81"
         "a",
         "\xcc\x81"
         "a"},
        {"\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81"}, /* Hangul */
        {"a\xcc\x95\xcc\xb4", "a\xcc\xb4\xcc\x95"},               /* marks in order */
        {"\xe2\x84\xab", "\xc3\x85"},                             /* the sign of Angstrom */
        {"a\xe0\xa2\x98\xcc\xb4", "a\xe0\xa2\x98\xcc\xb4"}, /* U+0898 is younger than the tables */
    };
    assert_int_equal(normalizer_form(&normalizer, "NFC"), STATUS_OK);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const uint8_t *text = (const uint8_t *)rows[i][0];
        size_t size = strlen(rows[i][0]);
        assert_int_equal(normalizer_run(&normalizer, &text, &size), STATUS_OK);
        assert_int_equal(size, strlen(rows[i][1]));
        assert_memory_equal(text, rows[i][1], size);
    }
    normalizer_destroy(&normalizer);
}

static void test_tokenizer_parts_byte_level_text_streams_in_whole_characters(void **state)
{
    (void)state;
    struct tokenizer *t = NULL;
    assert_int_equal(tokenizer_open(&t, "", TOKENIZER_BYTE), STATUS_OK);
    assert_text(t, IDS('a', 0xf0, 0x9f, 0x98, 0x80, 'b'),
                "a\xf0\x9f\x98\x80"
                "b");
    assert_text(t, IDS(0xe2, 0x82, 'x', 0xff, 0xc3),
                "\xef\xbf\xbd"
                "x\xef\xbf\xbd\xef\xbf\xbd");
    struct detokenizer *detokenizer = NULL;
    struct buffer text;
    buffer_init(&text, 0);
    assert_int_equal(detokenizer_create(&detokenizer, t, true), STATUS_OK);
    assert_int_equal(detokenizer_push(detokenizer, 0xc3, &text), STATUS_OK);
    assert_int_equal(text.size, 0); /* half a character waits */
    assert_int_equal(detokenizer_push(detokenizer, 0xa9, &text), STATUS_OK);
    assert_int_equal(text.size, 2);
    detokenizer_destroy(&detokenizer);
    buffer_free(&text);
    tokenizer_close(&t);
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
        cmocka_unit_test(test_tokenizer_parts_marks_and_bytes_of_gemma),
        cmocka_unit_test(test_tokenizer_parts_space_in_front_of_llama2),
        cmocka_unit_test(test_tokenizer_parts_metaspace_puts_its_mark_in_front),
        cmocka_unit_test(test_tokenizer_parts_five_behaviours_of_a_split),
        cmocka_unit_test(test_tokenizer_parts_patterns_are_read_as_oniguruma_does),
        cmocka_unit_test(test_tokenizer_parts_scanners_match_what_pcre2_matches),
        cmocka_unit_test(test_tokenizer_parts_tables_are_of_the_unicode_that_the_package_has),
        cmocka_unit_test(test_tokenizer_parts_added_tokens_take_spaces_or_stand_alone),
        cmocka_unit_test(test_tokenizer_parts_vocab_and_merges_stand_in_for_tokenizer_json),
        cmocka_unit_test(test_tokenizer_parts_unicode_forms_work_around_what_may_change),
        cmocka_unit_test(test_tokenizer_parts_byte_level_text_streams_in_whole_characters),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
