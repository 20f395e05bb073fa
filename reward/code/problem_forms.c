/* reward/code/problem_forms.c - the forms that rows come in. docs/code.md lists them; the first that fits is taken. */
#include <stdio.h>
#include <string.h>

#include "reward/code/problem.h"

enum { TESTS_MAX = 100000 };

struct reading {
    struct code_problem *problem;
    const struct reward_case *input;
    const json_t *truth;
    char *why;
    size_t size;
};

static const json_t *member(const struct reading *reading, const char *name)
{
    return code_problem_member(reading->input, reading->truth, name);
}

static const char *text_member(const struct reading *reading, const char *name)
{
    return json_string_value(member(reading, name));
}

/* ---- stdin and stdout ---- */

/* A text, or an array of lines. */
static bool read_text(struct reading *reading, const json_t *value, struct code_text *text)
{
    if (json_is_string(value)) {
        *text = (struct code_text){json_string_value(value), json_string_length(value)};
        return true;
    }
    if (!json_is_array(value))
        return code_refuse(reading->why, reading->size,
                           "a test's input and output are texts or arrays of lines");
    size_t total = 0, count = json_array_size(value);
    for (size_t i = 0; i < count; i++) {
        if (!json_is_string(json_array_get(value, i)))
            return code_refuse(reading->why, reading->size, "a test's line %zu is no text", i);
        total += json_string_length(json_array_get(value, i)) + 1;
    }
    char *joined = arena_alloc(reading->problem->arena, total + 1);
    if (joined == NULL)
        return code_refuse(reading->why, reading->size, "the tests have more than 512 MiB");
    *text = (struct code_text){joined, 0};
    for (size_t i = 0; i < count; i++) {
        const json_t *line = json_array_get(value, i);
        memcpy(joined + text->size, json_string_value(line), json_string_length(line));
        text->size += json_string_length(line);
        joined[text->size++] = '\n';
    }
    return true;
}

static bool add_tests(struct reading *reading, size_t count)
{
    struct code_problem *problem = reading->problem;
    if (count > TESTS_MAX - problem->test_count)
        return code_refuse(reading->why, reading->size, "more than %d tests", TESTS_MAX);
    struct code_test *tests =
        arena_array(problem->arena, problem->test_count + count + 1, sizeof *tests);
    if (tests == NULL)
        return code_refuse(reading->why, reading->size, "the tests have more than 512 MiB");
    if (problem->test_count > 0)
        memcpy(tests, problem->tests, problem->test_count * sizeof *tests);
    problem->tests = tests;
    return true;
}

static const json_t *first_of(const json_t *object, const char *one, const char *two)
{
    const json_t *value = json_object_get(object, one);
    return value != NULL ? value : json_object_get(object, two);
}

/* [{stdin, stdout}] or [{input, output}] */
static bool read_list(struct reading *reading, const json_t *list)
{
    if (!add_tests(reading, json_array_size(list)))
        return false;
    size_t i;
    const json_t *item;
    json_array_foreach((json_t *)list, i, item)
    {
        struct code_test *test = &reading->problem->tests[reading->problem->test_count];
        if (!read_text(reading, first_of(item, "stdin", "input"), &test->input) ||
            !read_text(reading, first_of(item, "stdout", "output"), &test->output))
            return false;
        reading->problem->test_count++;
    }
    return true;
}

/* {"inputs": [...], "outputs": [...]}, or both in the singular */
static bool read_pairs(struct reading *reading, const json_t *inputs, const json_t *outputs)
{
    size_t count = json_array_size(inputs);
    if (!json_is_array(inputs) || !json_is_array(outputs) || json_array_size(outputs) != count)
        return code_refuse(reading->why, reading->size,
                           "\"inputs\" and \"outputs\" are arrays of the same length");
    if (!add_tests(reading, count))
        return false;
    for (size_t i = 0; i < count; i++) {
        struct code_test *test = &reading->problem->tests[reading->problem->test_count];
        if (!read_text(reading, json_array_get(inputs, i), &test->input) ||
            !read_text(reading, json_array_get(outputs, i), &test->output))
            return false;
        reading->problem->test_count++;
    }
    return true;
}

/* ---- function calls ---- */

/* A text that holds JSON, one value a line: an array of them. Text that holds none stands for itself. */
static json_t *lines_of(const char *text)
{
    json_t *values = json_array();
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        if (strspn(text, " \t\r") < length) {
            json_t *value = json_loadb(text, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
            json_array_append_new(values, value != NULL ? value : json_stringn(text, length));
        }
        text += length + (text[length] == '\n');
    }
    return values;
}

static json_t *one_of(const char *text, size_t size)
{
    json_t *value = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    return value != NULL ? value : json_stringn(text, size);
}

static void add_call(json_t *calls, const json_t *input, const json_t *output)
{
    bool text = json_is_string(input);
    json_t *args = text                    ? lines_of(json_string_value(input))
                   : json_is_array(input)  ? json_incref((json_t *)input)
                   : json_is_object(input) ? json_incref((json_t *)input)
                                           : json_pack("[O]", input);
    json_t *wanted = text && json_is_string(output)
                         ? one_of(json_string_value(output), json_string_length(output))
                         : json_incref((json_t *)output);
    json_array_append_new(calls, json_pack("[oo]", args, wanted));
}

static bool make_calls(struct reading *reading, json_t *calls, const char *entry, bool wrapped)
{
    struct code_problem *problem = reading->problem;
    problem->kind = CODE_EXAM;
    problem->entry = entry;
    problem->task = json_pack("{s:o,s:s,s:b,s:I}", "calls", calls, "entry", entry, "wrapped",
                              (int)wrapped, "count", (json_int_t)json_array_size(calls));
    return problem->task != NULL ||
           code_refuse(reading->why, reading->size, "the calls cannot be written down");
}

static bool read_calls(struct reading *reading, const json_t *inputs, const json_t *outputs,
                       const char *entry)
{
    size_t count = json_array_size(inputs);
    if (!json_is_array(inputs) || !json_is_array(outputs) || json_array_size(outputs) != count)
        return code_refuse(reading->why, reading->size,
                           "\"inputs\" and \"outputs\" are arrays of the same length");
    json_t *calls = json_array();
    for (size_t i = 0; i < count; i++)
        add_call(calls, json_array_get(inputs, i), json_array_get(outputs, i));
    return make_calls(reading, calls, entry, true);
}

static bool read_call_list(struct reading *reading, const json_t *list, const char *entry)
{
    json_t *calls = json_array();
    size_t i;
    const json_t *item;
    json_array_foreach((json_t *)list, i, item)
        add_call(calls, first_of(item, "input", "stdin"), first_of(item, "output", "stdout"));
    return make_calls(reading, calls, entry, true);
}

/* The function's name: fn_name, func_name, entry_point, or LiveCodeBench's metadata. */
static const char *function_name(struct reading *reading, const json_t *near)
{
    static const char *const names[] = {"fn_name", "func_name", "entry_point"};
    for (size_t i = 0; i < 3; i++) {
        const char *text = json_string_value(json_object_get(near, names[i]));
        if (text == NULL)
            text = text_member(reading, names[i]);
        if (text != NULL && *text != '\0')
            return text;
    }
    const json_t *metadata = code_problem_parsed(reading->problem, member(reading, "metadata"));
    return json_string_value(json_object_get(metadata, "func_name"));
}

static bool read_test_list(struct reading *reading, const json_t *list)
{
    const json_t *first = json_array_get(list, 0);
    const char *type = json_string_value(json_object_get(first, "testtype"));
    const char *entry = function_name(reading, NULL);
    if (type != NULL ? strcmp(type, "functional") == 0
                     : json_object_get(first, "input") != NULL && entry != NULL) {
        if (entry == NULL)
            return code_refuse(reading->why, reading->size,
                               "tests of a function without \"fn_name\"");
        return read_call_list(reading, list, entry);
    }
    return read_list(reading, list);
}

/* ---- test programs ---- */

static bool make_exam(struct reading *reading, const char *test)
{
    struct code_problem *problem = reading->problem;
    const json_t *entry = member(reading, "entry_point"), *prompt = member(reading, "prompt");
    if (entry != NULL && !json_is_string(entry))
        return code_refuse(reading->why, reading->size, "\"entry_point\" is a text or null");
    problem->kind = CODE_EXAM;
    problem->entry = json_string_value(entry);
    problem->prompt = json_is_string(prompt) ? json_string_value(prompt) : reading->input->prompt;
    if (problem->entry != NULL && *problem->entry == '\0')
        problem->entry = NULL;
    problem->task = json_pack("{s:s,s:s}", "test", test, "prompt", problem->prompt);
    if (problem->task == NULL)
        return code_refuse(reading->why, reading->size, "the test is no text in UTF-8");
    if (problem->entry != NULL)
        json_object_set_new(problem->task, "entry", json_string(problem->entry));
    const char *members[][2] = {
        {"test_setup_code", "setup"}, {"test_imports", "imports"}, {"module", "module"}};
    for (size_t i = 0; i < 3; i++) {
        const json_t *value = member(reading, members[i][0]);
        struct code_text text = {"", 0};
        if (value == NULL)
            continue;
        if (!read_text(reading, value, &text))
            return code_refuse(reading->why, reading->size, "\"%s\" is a text or an array of lines",
                               members[i][0]);
        json_object_set_new(problem->task, members[i][1], json_stringn(text.at, text.size));
    }
    return true;
}

/* A test program ends where it fails, as it would by itself. */
static bool make_program(struct reading *reading, const char *test)
{
    return make_exam(reading, test) &&
           json_object_set_new(reading->problem->task, "stop", json_true()) == 0;
}

/* Asserts, one a line or several arrays of them. */
static bool read_asserts(struct reading *reading, const json_t *list, const json_t *more)
{
    struct code_text one = {"", 0}, two = {"", 0};
    if (!read_text(reading, list, &one) || (more != NULL && !read_text(reading, more, &two)))
        return code_refuse(reading->why, reading->size, "asserts are an array of texts");
    char *joined = arena_alloc(reading->problem->arena, one.size + two.size + 2);
    if (joined == NULL)
        return code_refuse(reading->why, reading->size, "the tests have more than 512 MiB");
    memcpy(joined, one.at, one.size);
    joined[one.size] = '\n';
    memcpy(joined + one.size + 1, two.at, two.size);
    return make_exam(reading, joined);
}

/* ---- which form ---- */

static bool read_input_output(struct reading *reading, const json_t *object)
{
    const json_t *asserts = json_object_get(object, "assert_case");
    if (asserts != NULL)
        return read_asserts(reading, asserts, NULL);
    const json_t *inputs = first_of(object, "inputs", "input"),
                 *outputs = first_of(object, "outputs", "output");
    const char *entry = function_name(reading, object);
    return entry != NULL ? read_calls(reading, inputs, outputs, entry)
                         : read_pairs(reading, inputs, outputs);
}

/* CodeContests and LiveCodeBench keep several lists. *found: there was one. */
static bool read_several(struct reading *reading, bool *found)
{
    static const char *const names[] = {"public_tests", "private_tests", "generated_tests",
                                        "public_test_cases", "private_test_cases"};
    json_t *functional = json_array();
    bool good = true;
    for (size_t i = 0; i < 5 && good; i++) {
        const json_t *value = code_problem_parsed(reading->problem, member(reading, names[i]));
        if (json_is_object(value) && json_object_get(value, "input") != NULL) {
            *found = true;
            good = read_pairs(reading, json_object_get(value, "input"),
                              json_object_get(value, "output"));
        } else if (json_is_array(value)) {
            const char *type =
                json_string_value(json_object_get(json_array_get(value, 0), "testtype"));
            *found = true;
            if (type != NULL && strcmp(type, "functional") == 0)
                json_array_extend(functional, (json_t *)value);
            else
                good = read_list(reading, value);
        }
    }
    if (good && json_array_size(functional) > 0)
        good = read_test_list(reading, functional);
    json_decref(functional);
    return good;
}

static bool read_validator(struct reading *reading)
{
    struct code_problem *problem = reading->problem;
    const json_t *object = member(reading, "validator");
    const json_t *source = json_object_get(object, "source"),
                 *language = json_object_get(object, "language");
    problem->validator.language =
        json_is_string(language)
            ? code_language_of(json_string_value(language), json_string_length(language))
            : CODE_ANY;
    if (!json_is_string(source) || problem->validator.language == CODE_ANY)
        return code_refuse(
            reading->why, reading->size,
            "\"validator\" is {\"language\": \"python\", \"c\" or \"cpp\", \"source\": "
            "text}");
    struct code_source *made = arena_alloc(problem->arena, sizeof *made);
    if (made == NULL)
        return code_refuse(reading->why, reading->size, "no memory");
    static const char *const paths[] = {"", "validate.py", "validate.c", "validate.cc"};
    const char *path = paths[problem->validator.language];
    made->path = (struct code_text){path, strlen(path)};
    made->text = (struct code_text){json_string_value(source), json_string_length(source)};
    problem->validator.sources = made;
    problem->validator.source_count = 1;
    const char *flags = json_string_value(json_object_get(object, "flags"));
    problem->validator.flags = flags != NULL ? flags : "";
    problem->validator.interactive = json_is_true(json_object_get(object, "interactive"));
    return true;
}

static bool read_form(struct reading *reading)
{
    struct code_problem *problem = reading->problem;
    const json_t *value;
    if (json_is_object(value = member(reading, "files")))
        return code_problem_package(problem, value, reading->why, reading->size);
    if ((value = code_problem_parsed(problem, member(reading, "input_output"))) != NULL)
        return read_input_output(reading, value);
    if (member(reading, "inputs") != NULL || member(reading, "assert_case") != NULL) {
        json_t *object = json_object();
        static const char *const names[] = {"inputs", "outputs", "assert_case", "fn_name"};
        for (size_t i = 0; i < 4; i++)
            if ((value = member(reading, names[i])) != NULL)
                json_object_set(object, names[i], (json_t *)value);
        bool good = read_input_output(reading, object);
        json_decref(object);
        return good;
    }
    if ((value = member(reading, "test_list")) != NULL)
        return read_asserts(reading, value, member(reading, "challenge_test_list"));
    if ((value = member(reading, "test")) != NULL)
        return json_is_string(value)  ? make_program(reading, json_string_value(value))
               : json_is_array(value) ? read_asserts(reading, value, NULL)
                                      : code_refuse(reading->why, reading->size,
                                                    "\"test\" is a text or an array of asserts");
    const json_t *tests = member(reading, "tests");
    if (tests == NULL && json_is_array(reading->truth))
        tests = reading->truth;
    if ((value = code_problem_parsed(problem, tests)) != NULL) {
        if (json_is_object(value))
            return read_input_output(reading, value);
        return json_is_string(json_array_get(value, 0)) ? read_asserts(reading, value, NULL)
                                                        : read_test_list(reading, value);
    }
    if (json_is_string(tests))
        return make_program(reading, json_string_value(tests));
    bool found = false;
    if (!read_several(reading, &found))
        return false;
    if (found)
        return true;
    if (json_is_string(reading->input->truth) && reading->truth == NULL)
        return make_program(reading, json_string_value(reading->input->truth));
    return code_refuse(
        reading->why, reading->size,
        "the row has no tests (\"tests\", \"test\", \"test_list\", \"input_output\")");
}

bool code_problem_forms(struct code_problem *problem, const struct reward_case *input,
                        const json_t *truth, char *why, size_t size)
{
    struct reading reading = {problem, input, truth, why, size};
    if (problem->checker == CODE_VALIDATOR && !read_validator(&reading))
        return false;
    if (!read_form(&reading))
        return false;
    if (problem->kind == CODE_STDIO && problem->test_count == 0)
        return code_refuse(why, size, "the row has no test");
    if (problem->kind == CODE_EXAM && problem->language != CODE_ANY &&
        problem->language != CODE_PYTHON)
        return code_refuse(why, size, "functions are tested in Python only");
    if (problem->kind == CODE_EXAM)
        problem->language = CODE_PYTHON;
    if (problem->prompt == NULL)
        problem->prompt = "";
    return true;
}
