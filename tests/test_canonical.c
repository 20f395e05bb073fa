/* links: rollout_store core */
/* timeout: 60 */
/* The one form of a JSON text is what jansson's tree dumps, for every text; what jansson refuses is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/clock.h"
#include "core/rng.h"
#include "rollout_store/canonical.h"

enum { MUTATIONS = 60000, TEXT_MAX = 4096 };

static struct buffer text, other;

static char *dump(const json_t *json)
{
    return json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
}

static void expect_same(const struct canonical value, const json_t *json)
{
    char *wanted = dump(json);
    assert_int_equal(value.size, strlen(wanted));
    assert_memory_equal(value.text, wanted, value.size);
    free(wanted); /* lint: allow(free): jansson's */
    if (!json_is_string(json))
        return;
    buffer_clear(&other);
    assert_int_equal(canonical_text(value, &other), STATUS_OK);
    assert_string_equal(buffer_string(&other), json_string_value(json));
    buffer_clear(&other);
    assert_int_equal(canonical_quote(json_string_value(json), &other), STATUS_OK);
    assert_int_equal(other.size, value.size);
    assert_memory_equal(other.bytes, value.text, value.size);
}

/* Members, and members of members, are found by their keys. */
static void expect_members(struct canonical object, json_t *json)
{
    const char *key;
    json_t *member;
    json_object_foreach(json, key, member)
    {
        struct canonical found = canonical_member(object, key);
        expect_same(found, member);
        if (json_is_object(member))
            expect_members(found, member);
    }
    assert_int_equal(canonical_member(object, "no such key").size, 0);
}

/* true: it is a JSON object or array. */
static bool compare(const char *bytes, size_t size)
{
    json_error_t error;
    json_t *json = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &error);
    enum status status = canonical_json(bytes, size, &text);
    if ((status == STATUS_OK) != (json != NULL))
        print_message("%.*s\n", (int)size, bytes);
    assert_int_equal(status, json != NULL ? STATUS_OK : STATUS_INVALID);
    if (json == NULL)
        return false;
    expect_same(canonical_of(&text), json);
    if (json_is_object(json))
        expect_members(canonical_of(&text), json);
    json_decref(json);
    return true;
}

static const char *const good[] = {
    "{}",
    "[]",
    " { } ",
    "{\"a\":1,\"b\":[1,-2,0,{\"c\":null}],\"d\":{\"a\":true,\"e\":false}}",
    "\t{ \"a\" : [ 1 , 2 ] ,\r\n \"b\" : { \"c\" : \"x\" } } \n",
    "{\"t\":\"a\\\"b\\\\c\\/d\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\\u00e9\\u20ac\\ud83d\\ude00\"}",
    "{\"t\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f/\"}",
    "{\"\":\"\",\"\\\\\":\"\\\\\",\"\\\"\":\"\\\\\\\"\",\"k\\n\":2,\"{\":\"}\",\",\":\"[,]\"}",
    "{\"a\":999999999999999999,\"b\":-999999999999999999,\"c\":9223372036854775807}",
    "{\"a\":-9223372036854775808,\"b\":1000000000000000000}",
    "{\"a\":-0,\"b\":0.5,\"c\":1e3,\"d\":-1.25E-7,\"e\":1.0,\"f\":-0.0}",
    "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}",
    "{\"prompt\":[{\"role\":\"user\",\"content\":\"hi\"}],\"reward_model\":{\"ground_truth\":\"7\"}"
    "}",
    "[{\"a\":1},{\"a\":2}]",
};

static const char *const bad[] = {
    "",
    " ",
    "1",
    "\"a\"",
    "null",
    "{",
    "}",
    "[",
    "{]",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{,}",
    "[1,]",
    "[,1]",
    "[1 2]",
    "{\"a\":1 \"b\":2}",
    "{a:1}",
    "{\"a\":1}x",
    "{\"a\":1}{}",
    "{\"a\":01}",
    "{\"a\":-}",
    "{\"a\":+1}",
    "{\"a\":1.}",
    "{\"a\":.5}",
    "{\"a\":1e}",
    "{\"a\":99999999999999999999}",
    "{\"a\":1e999}",
    "{\"a\":nul}",
    "{\"a\":nulll}",
    "{\"a\":True}",
    "{\"a\":1,\"a\":2}",
    "{\"a\":1,\"\\u0061\":2}",
    "{\"b\":{\"a\":1,\"c\":2,\"a\":3}}",
    "{\"a\":\"\\x\"}",
    "{\"a\":\"\\u12\"}",
    "{\"a\":\"\\u12g4\"}",
    "{\"a\":\"\\u0000\"}",
    "{\"a\\u0000\":1}",
    "{\"a\":\"\\ud83d\"}",
    "{\"a\":\"\\ud83dx\"}",
    "{\"a\":\"\\ud83d\\u0041\"}",
    "{\"a\":\"\\ude00\"}",
    "{\"a\":\"\x01\"}",
    "{\"a\":\"\n\"}",
    "{\"a\":\"\xff\"}",
    "{\"a\":\"\xc0\x80\"}",
    "{\"a\":\"\xe0\x80\x80\"}",
    "{\"a\":\"\xed\xa0\x80\"}",
    "{\"a\":\"\xf0\x80\x80\x80\"}",
    "{\"a\":\"\xf4\x90\x80\x80\"}",
    "{\"a\":\"\xf5\x80\x80\x80\"}",
    "{\"a\":\"\xc3\"}",
    "{\"a\":\"",
    "{\"a\":\"\\",
    "{\"a\":\"\\u",
};

static void test_canonical_sound_texts_are_what_the_tree_dumps(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(compare(good[i], strlen(good[i])));
}

static void test_canonical_unsound_texts_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(compare(bad[i], strlen(bad[i])));
    assert_false(compare("{\"a\":\"\0\"}", 9));
    assert_int_equal(canonical_json("{\"a\":1 2}", 9, &text), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "column 8: "));
    buffer_clear(&other);
    assert_int_equal(canonical_quote("a\xff", &other), STATUS_INVALID);
}

/* More keys, and deeper, than the pass knows. */
static void test_canonical_large_texts_are_what_the_tree_dumps(void **state)
{
    (void)state;
    struct buffer large;
    buffer_init(&large, 0);
    for (int keys = 120; keys < 140; keys++) {
        buffer_clear(&large);
        for (int i = 0; i < keys; i++)
            assert_int_equal(buffer_printf(&large, "%s\"key%d\":%d", i > 0 ? "," : "{", i, i),
                             STATUS_OK);
        assert_int_equal(buffer_text(&large, "}"), STATUS_OK);
        assert_true(compare((const char *)large.bytes, large.size));
    }
    for (size_t depth = 28; depth < 36; depth++) {
        char nested[80];
        memset(nested, '[', depth);
        memset(nested + depth, ']', depth);
        assert_true(compare(nested, 2 * depth));
        assert_false(compare(nested, 2 * depth - 1));
    }
    buffer_free(&large);
}

static void test_canonical_random_texts_are_what_the_tree_says(void **state)
{
    (void)state;
    static const char alphabet[] =
        "{}[]\",:\\/bfnrtu0019-.eE dDaA \t\x7f\x01\xc3\xa9\xe2\x82\xac\xff";
    const char *given = getenv("TEST_SEED");
    uint64_t seed =
        given != NULL ? strtoull(given, NULL, 10) : (uint64_t)clock_wall_ns() / 1000 % 1000000;
    print_message("seed %llu (TEST_SEED)\n", (unsigned long long)seed);
    struct rng rng;
    unsigned sound = 0;
    rng_init(&rng, seed, 1, RNG_TEST);
    for (int i = 0; i < MUTATIONS; i++) {
        char bytes[TEXT_MAX];
        const char *from = good[rng_below(&rng, sizeof good / sizeof good[0])];
        size_t size = strlen(from);
        memcpy(bytes, from, size);
        for (uint32_t n = 1 + rng_below(&rng, 3); n > 0 && size > 1; n--) {
            size_t at = rng_below(&rng, (uint32_t)size);
            if (rng_below(&rng, 3) == 0) { /* one byte less, or one more, or another */
                memmove(bytes + at, bytes + at + 1, --size - at);
                continue;
            }
            if (rng_below(&rng, 2) == 0)
                memmove(bytes + at + 1, bytes + at, size++ - at);
            bytes[at] = alphabet[rng_below(&rng, sizeof alphabet - 1)];
        }
        sound += compare(bytes, size);
    }
    print_message("%u of %d texts were sound\n", sound, MUTATIONS);
    assert_true(sound > MUTATIONS / 20);
}

static int setup(void **state)
{
    (void)state;
    buffer_init(&text, 0);
    buffer_init(&other, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buffer_free(&text);
    buffer_free(&other);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_canonical_sound_texts_are_what_the_tree_dumps),
        TEST(test_canonical_unsound_texts_are_refused),
        TEST(test_canonical_large_texts_are_what_the_tree_dumps),
        TEST(test_canonical_random_texts_are_what_the_tree_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
