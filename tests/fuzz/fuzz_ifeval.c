/* links: reward_rules */
/* Any bytes as a response (and as a pattern) under every instruction of IFEval, and as a completion of the scoring functions
 * of other trainers: a verdict or a refusal with a sentence, the same one twice, and loose is never stricter than strict. */
#include <math.h>
#include <string.h>

#include "core/check.h"
#include "core/memory.h"
#include "reward/rules/ifeval.h"
#include "reward/rules/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const char arguments[] =
    "{\"num_sentences\": 2, \"relation\": \"at least\", \"num_paragraphs\": 2, \"num_words\": 5,"
    "\"nth_paragraph\": 1, \"first_word\": \"a\", \"num_placeholders\": 1, \"num_bullets\": 1,"
    "\"postscript_marker\": \"P.S.\", \"num_highlights\": 1, \"section_spliter\": \"Section\","
    "\"num_sections\": 1, \"keywords\": [\"a+b*\"], \"keyword\": \"(a|b)\", \"frequency\": 2,"
    "\"forbidden_words\": [\"the\"], \"letter\": \"e\", \"let_frequency\": 3, \"let_relation\": "
    "\"less than\", \"language\": \"en\", \"prompt_to_repeat\": \"A\", \"end_phrase\": \"z\","
    "\"capital_frequency\": 1, \"capital_relation\": \"at least\"}";

static struct reward_outcome score(const struct reward_area *area, void *instance,
                                   const json_t *row, const uint8_t *bytes, size_t size)
{
    char *text = memory_alloc(size + 1);
    CHECK(text != NULL);
    if (size > 0)
        memcpy(text, bytes, size);
    struct reward_outcome outcome = {WEIR_REWARD_UNSCORABLE, NAN, json_object()};
    struct reward_case one = {.row = row,
                              .truth = json_object_get(row, "ground_truth"),
                              .response = text,
                              .response_size = size,
                              .prompt = "",
                              .data_source = "",
                              .deadline_ns = INT64_MAX};
    area->score(instance, &one, 1, &outcome);
    memory_free(text);
    CHECK(outcome.status == WEIR_REWARD_OK ? isfinite(outcome.value) != 0
                                           : json_object_get(outcome.fields, "why") != NULL);
    return outcome;
}

static void *open_area(const struct reward_area *area, const char *config)
{
    char why[512];
    void *instance = NULL;
    struct reward_tools tools = {0};
    json_t *settings = json_loads(config, 0, NULL);
    CHECK(area->create(settings, &tools, &instance, why, sizeof why) == 0);
    json_decref(settings);
    return instance;
}

static void under_instructions(const uint8_t *bytes, size_t size)
{
    static void *instance;
    static json_t *row;
    if (instance == NULL) {
        instance = open_area(&ifeval_area, "{\"thinking\": \"keep\"}");
        json_t *ids = json_array(), *kwargs = json_array();
        for (size_t i = 0; ifeval_id(i) != NULL; i++) {
            json_array_append_new(ids, json_string(ifeval_id(i)));
            json_array_append_new(kwargs, json_loads(arguments, 0, NULL));
        }
        row = json_pack("{s:o, s:o}", "instruction_id_list", ids, "kwargs", kwargs);
    }
    struct reward_outcome first = score(&ifeval_area, instance, row, bytes, size);
    struct reward_outcome second = score(&ifeval_area, instance, row, bytes, size);
    CHECK(json_equal(first.fields, second.fields));
    const json_t *strict = json_object_get(first.fields, "list");
    const json_t *loose = json_object_get(first.fields, "loose");
    for (size_t i = 0; i < json_array_size(strict); i++)
        CHECK(!json_is_true(json_array_get(strict, i)) || json_is_true(json_array_get(loose, i)));
    json_decref(first.fields);
    json_decref(second.fields);
}

/* The bytes as a keyword, against themselves. */
static void as_pattern(const uint8_t *bytes, size_t size)
{
    static void *instance;
    if (instance == NULL)
        instance = open_area(&ifeval_area, "{}");
    json_t *word = json_stringn((const char *)bytes, size < 200 ? size : 200);
    if (word == NULL)
        return;
    json_t *row = json_pack("{s:[s], s:[{s:[o]}]}", "instruction_id_list", "keywords:existence",
                            "kwargs", "keywords", word);
    struct reward_outcome outcome = score(&ifeval_area, instance, row, bytes, size);
    json_decref(outcome.fields);
    json_decref(row);
}

static void as_completion(const uint8_t *bytes, size_t size)
{
    static const char *const names[] = {
        "{\"fn\": \"gsm8k.compute_score\"}",
        "{\"fn\": \"gsm8k.compute_score\", \"kwargs\": {\"method\": \"flexible\"}}",
        "{\"fn\": \"math_reward.compute_score\"}",
        "{\"fn\": \"math_dapo.compute_score\"}",
        "{\"fn\": \"math_dapo.compute_score\", \"kwargs\": {\"strict_box_verify\": true}}",
        "{\"fn\": \"think_format_reward\"}"};
    enum { NAMES = sizeof names / sizeof names[0] };
    static void *instances[NAMES];
    json_t *truth = json_stringn((const char *)bytes, size / 2);
    json_t *row = json_object();
    json_object_set_new(row, "ground_truth", truth != NULL ? truth : json_string("1/2"));
    for (size_t i = 0; i < NAMES; i++) {
        if (instances[i] == NULL)
            instances[i] = open_area(&parity_area, names[i]);
        struct reward_outcome outcome = score(&parity_area, instances[i], row, bytes, size);
        CHECK(outcome.status == WEIR_REWARD_OK);
        json_decref(outcome.fields);
    }
    json_decref(row);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    under_instructions(bytes, size);
    as_pattern(bytes, size);
    as_completion(bytes, size);
    return 0;
}
