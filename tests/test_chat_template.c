/* links: text PkgConfig::jansson */
/* timeout: 20 */
/* Chat templates: each case of tests/golden/chat (made by jinja2) gives the same text; where templates come from, which
 * form of contents they read, whose turns they mark, and what a hostile one can do. With WEIR_TEST_DATA (see
 * test_tokenizer.c) also the rows that transformers rendered. */
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
#include "text/chat_turns.h"
#include "text/jinja.h"

static char folder[64];
static struct buffer text;

static int setup(void **state)
{
    (void)state;
    setenv("TZ", "UTC", 1);
    snprintf(folder, sizeof folder, "/tmp/test_chat_template.XXXXXX");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    buffer_free(&text);
    return file_remove_tree(folder) == STATUS_OK ? 0 : -1;
}

static enum status run(const char *source, size_t size, const json_t *variables,
                       struct jinja_limits limits)
{
    struct jinja *jinja = NULL;
    struct jinja_call call = {
        .variables = &variables, .variable_count = variables != NULL, .limits = limits};
    buffer_clear(&text);
    enum status status = jinja_parse(&jinja, "t", source, size);
    if (status == STATUS_OK)
        status = jinja_render(jinja, &call, &text);
    jinja_free(&jinja);
    return status;
}

static void put(const char *name, const char *contents)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/%s", folder, name), STATUS_OK);
    assert_int_equal(file_replace(path, contents, strlen(contents)), STATUS_OK);
}

static void expect_error(enum status status, enum status wanted, const char *part)
{
    if (status != wanted || strstr(status_last_error(), part) == NULL)
        fprintf(stderr, "%s: %s (wanted: %s)\n", status_name(status), status_last_error(), part);
    assert_int_equal(status, wanted);
    assert_non_null(strstr(status_last_error(), part));
}

static json_t *parse(const char *json)
{
    json_t *made = json_loads(json, 0, NULL);
    assert_non_null(made);
    return made;
}

/* ---- against jinja2 ---- */

static void check_case(const json_t *row, const json_t *variables, size_t line)
{
    const json_t *source = json_object_get(row, "template"), *wanted = json_object_get(row, "text");
    enum status status = run(json_string_value(source), json_string_length(source), variables,
                             (struct jinja_limits){.wall_ns = INT64_C(1700000000000000000)});
    const char *got = status == STATUS_OK ? buffer_string(&text) : status_last_error();
    bool same = wanted == NULL ? status != STATUS_OK
                               : status == STATUS_OK && text.size == json_string_length(wanted) &&
                                     memcmp(text.bytes, json_string_value(wanted), text.size) == 0;
    if (!same)
        fail_msg("case %zu: %s\n gives  %s\n wanted %s", line, json_string_value(source), got,
                 wanted != NULL ? json_string_value(wanted) : "a refusal");
}

static void test_chat_template_cases_of_jinja2_render_the_same(void **state)
{
    (void)state;
    json_error_t error;
    json_t *variables = json_load_file(SOURCE_DIR "/tests/golden/chat/variables.json", 0, &error);
    FILE *file = fopen(SOURCE_DIR "/tests/golden/chat/cases.jsonl", "r");
    char *line = NULL;
    size_t capacity = 0, count = 0;
    assert_true(variables != NULL && file != NULL);
    for (ssize_t size; (size = getline(&line, &capacity, file)) >= 0;) {
        json_t *row = json_loadb(line, (size_t)size, JSON_ALLOW_NUL, &error);
        assert_non_null(row);
        check_case(row, variables, ++count);
        json_decref(row);
    }
    assert_true(count > 400);
    free(line);
    fclose(file);
    json_decref(variables);
}

static void test_chat_template_errors_name_line_and_construct(void **state)
{
    (void)state;
    static const struct {
        const char *source, *part;
    } rows[] = {{"a\n{% include 'x' %}", "t:2: the block {% include %}"},
                {"a\n\n{{ x | nope }}", "t:3: there is no filter \"nope\""},
                {"{% if true %}\n{% for i in [1] %}{% endif %}", "t:2: the block {% endif %}"},
                {"{% if true %}\na", "needs {% elif %}"},
                {"\n{{ missing.x }}", "t:2: \"missing\" is undefined"},
                {"{% set l = [] %}\n{{ l.append(1) }}", "t:2: append would change a list"},
                {"{{ 'a' + 1 }}", "+ does not go with a str and a int"},
                {"{{ raise_exception('no ' ~ 'tools') }}", "the template refuses: no tools"},
                {"{% for i in [1] %}\n{% do x %}{% endfor %}", "t:2: the block {% do %}"},
                {"{{ 'abc }}", "has no end"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum status status =
            run(rows[i].source, strlen(rows[i].source), NULL, (struct jinja_limits){0});
        assert_true(status == STATUS_INVALID || status == STATUS_UNSUPPORTED);
        expect_error(status, status, rows[i].part);
        assert_int_equal(text.size, 0);
    }
}

static void test_chat_template_hostile_templates_reach_a_limit(void **state)
{
    (void)state;
    static const char *const sources[] = {
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 'x' * 9999999999 }}",
        "{{ [1] * 9999999999 }}",
        "{% set n = namespace(s='xxxxxxxxxxxxxxxx') %}{% for i in range(99) %}{% set n.s = n.s + "
        "n.s "
        "%}{% endfor %}{{ n.s }}",
        "{% set n = namespace(l=[1]) %}{% for i in range(9999) %}{% set n.l = [n.l] %}{% endfor %}"
        "{{ n.l }}",
        "{% set n = namespace() %}{% set n.n = {'n': n} %}{{ n.n }}",
        "{% for i in range(99999) %}0123456789012345678901234567890123456789{% endfor %}",
        "{{ '%999s' % ('x' * 9999999) }}",
        "{{ ('a' * 99999) | replace('', 'b' * 99999) | length }}",
        "{{ range(999999) }}",
        "{{ 'x'.ljust(99999999) }}",
        "{{ 99999999999 ** 9 }}",
        "{{ ('a b ' * 99999).split() | join('x' * 99999) | length }}"};
    struct jinja_limits limits = {.steps = 300000, .memory = 8 << 20, .output = 1 << 20};
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        enum status status = run(sources[i], strlen(sources[i]), NULL, limits);
        bool cycle = i == 6; /* a namespace within itself has no text */
        if (status != (cycle ? STATUS_INVALID : STATUS_LIMIT))
            fail_msg("%s: %s", sources[i], status_name(status));
    }
    char deep[4096];
    memset(deep, '(', sizeof deep);
    memcpy(deep, "{{", 2);
    assert_int_equal(run(deep, sizeof deep, NULL, limits), STATUS_LIMIT);
    memset(deep, '-', sizeof deep);
    memcpy(deep, "{{ ", 3);
    memcpy(deep + sizeof deep - 4, "x }}", 4);
    assert_int_equal(run(deep, sizeof deep, NULL, limits), STATUS_LIMIT);
}

static void test_chat_template_every_allocation_may_fail(void **state)
{
    (void)state;
    static const char source[] = "{% macro m(a) %}{{ a | upper }}{% endmacro %}{% for k in ['a'] %}"
                                 "{{ m(k) ~ {'x': 1} | tojson }}{% endfor %}";
    enum status status = STATUS_NO_MEMORY;
    buffer_free(&text);
    int64_t blocks = memory_blocks_live();
    for (int64_t n = 1; n < 200 && status != STATUS_OK; n++) {
        memory_fail_after(n);
        status = run(source, sizeof source - 1, NULL, (struct jinja_limits){0});
        memory_fail_after(-1);
        if (status == STATUS_OK)
            assert_string_equal(buffer_string(&text), "A{\"x\": 1}");
        buffer_free(&text);
        assert_int_equal(memory_blocks_live(), blocks);
    }
    assert_int_equal(status, STATUS_OK);
}

/* ---- folders ---- */

static void render(const struct chat_template *template, const char *messages,
                   const char *variables, const char *wanted)
{
    json_t *list = parse(messages), *extra = variables != NULL ? parse(variables) : NULL;
    buffer_clear(&text);
    enum status status = chat_template_render(
        template,
        &(struct chat_request){.messages = list, .variables = extra, .add_generation_prompt = true},
        &text, NULL);
    if (status != STATUS_OK)
        fail_msg("%s", status_last_error());
    assert_string_equal(buffer_string(&text), wanted);
    json_decref(list);
    json_decref(extra);
}

static void test_chat_template_of_a_folder_is_found_with_its_tokens(void **state)
{
    (void)state;
    static const char hello[] = "[{\"role\": \"user\", \"content\": \"hi\"}]";
    struct chat_template *template = NULL;
    expect_error(chat_template_open(&template, folder, "", ""), STATUS_NOT_FOUND,
                 "has no chat template");
    put("special_tokens_map.json", "{\"bos_token\": \"<old>\", \"unk_token\": \"<u>\"}");
    put("tokenizer_config.json",
        "{\"bos_token\": {\"content\": \"<s>\"}, \"add_bos_token\": true, \"pad_token\": null,"
        "\"chat_template\": [{\"name\": \"default\", \"template\": \"D{{ bos_token }}"
        "{{ unk_token }}{{ pad_token }}{{ messages[0].content }}{{ tools is none }}{{ mode }}\"},"
        "{\"name\": \"rag\", \"template\": \"R{{ messages[0].content }}\"}]}");
    assert_int_equal(chat_template_open(&template, folder, "", "{\"mode\": \"m\"}"), STATUS_OK);
    render(template, hello, NULL, "D<s><u>hiTruem");
    render(template, hello, "{\"mode\": \"call\"}", "D<s><u>hiTruecall");
    chat_template_close(&template);
    assert_int_equal(chat_template_open(&template, folder, "rag", ""), STATUS_OK);
    render(template, hello, NULL, "Rhi");
    chat_template_close(&template);
    expect_error(chat_template_open(&template, folder, "other", ""), STATUS_NOT_FOUND, "other");
    put("chat_template.jinja", "J{{ messages[0].content }}\n");
    assert_int_equal(chat_template_open(&template, folder, "", ""), STATUS_OK);
    render(template, hello, NULL, "Jhi");
    chat_template_close(&template);
    expect_error(chat_template_open(&template, folder, "", "[1]"), STATUS_INVALID,
                 "model.chat_variables");
    put("chat_template.jinja", "a\n{% wrong %}");
    expect_error(chat_template_open(&template, folder, "", ""), STATUS_UNSUPPORTED,
                 "chat_template.jinja:2: the block {% wrong %}");
    assert_null(template);
}

static struct chat_template *made_of(const char *source)
{
    struct chat_template *template = NULL;
    if (chat_template_open_text(&template, "t", source, strlen(source), NULL, "") != STATUS_OK)
        fail_msg("%s", status_last_error());
    return template;
}

static void test_chat_template_contents_take_the_form_it_reads(void **state)
{
    (void)state;
    static const char as_text[] = "[{\"role\": \"user\", \"content\": \"hi\"}]";
    static const char as_parts[] = "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", "
                                   "\"text\": \"hi\"}, {\"type\": \"text\", \"text\": \"you\"}]}]";
    struct chat_template *parts =
        made_of("{% for m in messages %}{% for c in m['content'] | selectattr('type', 'equalto', "
                "'text') %}[{{ c['text'] }}]{% endfor %}{% endfor %}");
    assert_true(chat_template_wants_parts(parts));
    render(parts, as_text, NULL, "[hi]");
    render(parts, as_parts, NULL, "[hi][you]");
    chat_template_close(&parts);
    struct chat_template *plain = made_of("{{ messages[0].content }}");
    assert_false(chat_template_wants_parts(plain));
    render(plain, as_text, NULL, "hi");
    render(plain, as_parts, NULL, "hi\nyou");
    chat_template_close(&plain);
    struct chat_template *both = made_of("{% set c = messages[0].content %}{{ c if c is string "
                                         "else c | map(attribute='text') | join('+') }}");
    render(both, as_text, NULL, "hi");
    render(both, as_parts, NULL, "hi+you");
    chat_template_close(&both);
}

/* ---- turns ---- */

/* The text of the turns, what the assistant says in brackets. */
static const char *turns(const char *source, const char *messages, size_t first)
{
    static char shown[512];
    struct chat chat = {.format = CHAT_TEMPLATE, .template = made_of(source)};
    struct chat_spans spans = {0};
    json_t *list = parse(messages);
    size_t at = 0, next = 0;
    enum status status =
        chat_turns(&chat, &(struct chat_request){.messages = list}, first, &text, &spans);
    for (size_t i = 0; status == STATUS_OK && i <= text.size; i++) {
        if (next < spans.count && spans.spans[next].end == i) {
            shown[at++] = ']';
            next++;
        }
        if (next < spans.count && spans.spans[next].begin == i)
            shown[at++] = '[';
        if (i < text.size)
            shown[at++] = (char)text.bytes[i];
    }
    shown[at] = '\0';
    chat_spans_free(&spans);
    chat_close(&chat);
    json_decref(list);
    return status == STATUS_OK ? shown : status_last_error();
}

static void test_chat_template_turns_of_the_assistant_are_found(void **state)
{
    (void)state;
    static const char four[] = "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\","
                               "\"content\":\"b\"},{\"role\":\"user\",\"content\":\"c\"},"
                               "{\"role\":\"assistant\",\"content\":\"d\"}]";
    static const char plain[] =
        "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }}.{% endfor %}"
        "{% if add_generation_prompt %}<a>{% endif %}";
    static const char marked[] =
        "{% for m in messages %}<{{ m.role[0] }}>{% if m.role == 'assistant' %}{% generation %}"
        "{{ m.content }}{% endgeneration %}.{% else %}{{ m.content }}.{% endif %}{% endfor %}";
    assert_string_equal(turns(plain, four, 0), "<u>a.<a>[b.]<u>c.<a>[d.]");
    assert_string_equal(turns(plain, four, 2), "<u>a.<a>b.<u>c.<a>[d.]");
    assert_string_equal(turns(marked, four, 0), "<u>a.<a>[b].<u>c.<a>[d]");
    assert_string_equal(turns(marked, four, 2), "<u>a.<a>b.<u>c.<a>[d]");
    assert_non_null(
        strstr(turns("{% for m in messages %}{{ m.content if loop.last or m.role == 'user' "
                     "}}.{% endfor %}",
                     four, 0),
               "writes earlier turns anew (message 3)"));
    assert_non_null(strstr(turns(plain, "[{\"role\":\"user\",\"content\":\"a\"}]", 0),
                           "no message is the assistant's"));
    static const char hidden[] =
        "{% set x %}{% generation %}b{% endgeneration %}{% endset %}{{ x }}";
    assert_non_null(strstr(turns(hidden, four, 0), "cannot be found in the output"));
}

static void test_chat_template_built_in_formats_take_parts_and_no_tools(void **state)
{
    (void)state;
    struct chat chat = {.format = CHAT_CHATML};
    json_t *list = parse("[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}]");
    struct chat_request request = {.messages = list, .add_generation_prompt = true};
    buffer_clear(&text);
    assert_int_equal(chat_text(&chat, &request, &text, NULL), STATUS_OK);
    assert_string_equal(buffer_string(&text),
                        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n");
    request.tools = list;
    expect_error(chat_text(&chat, &request, &text, NULL), STATUS_INVALID, "no tools");
    json_decref(list);
    struct model_settings model = {
        .path = folder, .chat_format = CHAT_AUTO, .chat_template = "", .chat_variables = ""};
    assert_int_equal(file_remove_tree(folder), STATUS_OK);
    assert_int_equal(file_make_dirs(folder), STATUS_OK);
    assert_int_equal(chat_open(&chat, &model), STATUS_OK);
    assert_true(chat_is_none(&chat));
    put("chat_template.jinja", "x{{ messages[0].content }}");
    assert_int_equal(chat_open(&chat, &model), STATUS_OK);
    buffer_clear(&text);
    assert_int_equal(chat_user_text(&chat, "q", true, &text), STATUS_OK);
    assert_string_equal(buffer_string(&text), "xq");
    chat_close(&chat);
}

/* ---- rows of transformers ---- */

static void check_folder(const char *root, const char *name)
{
    char path[FILE_PATH_MAX], model[FILE_PATH_MAX];
    struct chat_template *template = NULL;
    char *line = NULL;
    size_t capacity = 0, count = 0;
    assert_int_equal(file_path(model, "%s/data/tokenizers/%s", root, name), STATUS_OK);
    assert_int_equal(file_path(path, "%s/golden/tokenizer/%s.chat.jsonl", root, name), STATUS_OK);
    assert_int_equal(chat_template_open(&template, model, "", ""), STATUS_OK);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    for (ssize_t size; (size = getline(&line, &capacity, file)) >= 0; count++) {
        json_t *row = json_loadb(line, (size_t)size, 0, NULL);
        struct chat_request request = {
            .messages = json_object_get(row, "messages"),
            .tools = json_object_get(row, "tools"),
            .variables = json_object_get(row, "kwargs"),
            .add_generation_prompt = json_is_true(json_object_get(row, "add_generation_prompt"))};
        buffer_clear(&text);
        assert_int_equal(chat_template_render(template, &request, &text, NULL), STATUS_OK);
        assert_string_equal(buffer_string(&text), json_string_value(json_object_get(row, "text")));
        json_decref(row);
    }
    print_message("%s: %zu rows\n", name, count);
    assert_true(count >= 20);
    free(line);
    fclose(file);
    chat_template_close(&template);
}

static void test_chat_template_rows_of_transformers_render_the_same(void **state)
{
    (void)state;
    const char *root = getenv("WEIR_TEST_DATA");
    if (root == NULL)
        skip();
    check_folder(root, "qwen3");
    check_folder(root, "llama3_1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chat_template_cases_of_jinja2_render_the_same),
        cmocka_unit_test(test_chat_template_errors_name_line_and_construct),
        cmocka_unit_test(test_chat_template_hostile_templates_reach_a_limit),
        cmocka_unit_test(test_chat_template_every_allocation_may_fail),
        cmocka_unit_test(test_chat_template_of_a_folder_is_found_with_its_tokens),
        cmocka_unit_test(test_chat_template_contents_take_the_form_it_reads),
        cmocka_unit_test(test_chat_template_turns_of_the_assistant_are_found),
        cmocka_unit_test(test_chat_template_built_in_formats_take_parts_and_no_tools),
        cmocka_unit_test(test_chat_template_rows_of_transformers_render_the_same),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
