/* reward/code/problem_kattis.c - a problem package of the Kattis format (icpc.io/problem-package-format) as one object
 * {path: text}: data/sample and data/secret/ *.in with *.ans, problem.yaml, output validators. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reward/code/problem.h"

/* TIME: a package has no limit of its own, it is measured on accepted programs. */
#define PACKAGE_TIME_S 5.0

static bool ends_with(const char *text, const char *tail)
{
    size_t length = strlen(text), end = strlen(tail);
    return length >= end && strcmp(text + length - end, tail) == 0;
}

static struct code_text text_of(const json_t *value)
{
    return (struct code_text){json_string_value(value), json_string_length(value)};
}

/* A link of the package, written down as the path it holds: what it points to. */
static struct code_text followed(const json_t *files, const char *path, const json_t *value)
{
    const char *text = json_string_value(value), *end = strrchr(path, '/');
    if (end == NULL || json_string_length(value) > 200 || strncmp(text, "../", 3) != 0)
        return text_of(value);
    size_t folder = (size_t)(end - path);
    while (strncmp(text, "../", 3) == 0) {
        text += 3;
        while (folder > 0 && path[folder - 1] != '/')
            folder--;
        folder -= folder > 0;
    }
    char target[1024];
    snprintf(target, sizeof target, "%.*s/%.*s", (int)folder, path, (int)strcspn(text, "\r\n"),
             text);
    const json_t *found = json_object_get(files, target);
    return text_of(json_is_string(found) ? found : value);
}

static int by_path(const void *one, const void *two)
{
    const struct code_source *a = one, *b = two;
    return strcmp(a->path.at, b->path.at);
}

/* All files below a folder whose names end so; sorted. */
static bool collect(struct code_problem *problem, const json_t *files, const char *below,
                    const char *tail, struct code_source **found, size_t *count)
{
    *found = arena_array(problem->arena, json_object_size(files) + 1, sizeof **found);
    *count = 0;
    if (*found == NULL)
        return false;
    const char *path;
    json_t *value;
    json_object_foreach((json_t *)files, path, value)
    {
        if (strncmp(path, below, strlen(below)) == 0 && ends_with(path, tail) &&
            json_is_string(value)) {
            (*found)[*count].path = (struct code_text){path, strlen(path)};
            (*found)[(*count)++].text = followed(files, path, value);
        }
    }
    qsort(*found, *count, sizeof **found, by_path);
    return true;
}

/* The value of "key: value" of a line of problem.yaml, without comment; NULL when absent. A package uses no more of YAML
 * for these keys. */
static const char *setting(struct code_problem *problem, const char *yaml, const char *key)
{
    size_t length = strlen(key);
    for (const char *line = yaml; *line != '\0';) {
        size_t size = strcspn(line, "\n"), from = strspn(line, " ");
        if (from + length < size && strncmp(line + from, key, length) == 0 &&
            line[from + length] == ':') {
            const char *at = line + from + length + 1;
            size_t left = size - from - length - 1, blank = strspn(at, " \t'\"");
            blank = blank < left ? blank : left;
            at += blank;
            left -= blank;
            size_t end = strcspn(at, "#\n");
            end = end < left ? end : left;
            while (end > 0 && strchr(" \t\r'\"", at[end - 1]) != NULL)
                end--;
            char *text = arena_alloc(problem->arena, end + 1);
            if (text != NULL)
                memcpy(text, at, end);
            return text;
        }
        line += size + (line[size] == '\n');
    }
    return NULL;
}

static void read_flags(struct code_problem *problem, const char *flags)
{
    problem->compare = (struct code_compare){.ignore_case = true, .tolerance = -1};
    if (flags == NULL)
        return;
    problem->compare.ignore_case = strstr(flags, "case_sensitive") == NULL;
    problem->compare.exact = strstr(flags, "space_change_sensitive") != NULL;
    static const char *const names[] = {"float_tolerance ", "float_absolute_tolerance ",
                                        "float_relative_tolerance "};
    for (size_t i = 0; i < 3; i++) {
        const char *at = strstr(flags, names[i]);
        double value = at != NULL ? strtod(at + strlen(names[i]), NULL) : -1;
        if (value > problem->compare.tolerance && value < 1)
            problem->compare.tolerance = value;
    }
}

static bool read_validator(struct code_problem *problem, const json_t *files, const char *flags,
                           bool interactive, char *why, size_t size)
{
    struct code_validator *validator = &problem->validator;
    static const char *const folders[] = {"output_validators/", "output_validator/"};
    for (size_t i = 0; i < 2 && validator->source_count == 0; i++)
        if (!collect(problem, files, folders[i], "", &validator->sources, &validator->source_count))
            return code_refuse(why, size, "no memory");
    for (size_t i = 0; i < validator->source_count; i++) {
        struct code_text *path = &validator->sources[i].path;
        const char *name = strrchr(path->at, '/') + 1, *dot = strrchr(name, '.');
        *path = (struct code_text){name, strlen(name)};
        enum code_language language = dot == NULL
                                          ? CODE_ANY
                                          : (strcmp(dot, ".cpp") == 0 || strcmp(dot, ".cc") == 0
                                                 ? CODE_CPP
                                                 : code_language_of(dot + 1, strlen(dot + 1)));
        if (validator->language == CODE_ANY)
            validator->language = language;
    }
    if (validator->language == CODE_ANY)
        return code_refuse(why, size,
                           "the package's output validator is none of Python, C and C++");
    validator->flags = flags != NULL ? flags : "";
    validator->interactive = interactive;
    problem->checker = CODE_VALIDATOR;
    return true;
}

static bool read_tests(struct code_problem *problem, const json_t *files, char *why, size_t size)
{
    static const char *const folders[] = {"data/sample/", "data/secret/"};
    problem->tests =
        arena_array(problem->arena, json_object_size(files) + 1, sizeof *problem->tests);
    for (size_t i = 0; i < 2 && problem->tests != NULL; i++) {
        struct code_source *inputs;
        size_t count;
        if (!collect(problem, files, folders[i], ".in", &inputs, &count))
            return code_refuse(why, size, "no memory");
        for (size_t j = 0; j < count; j++) {
            char path[512];
            snprintf(path, sizeof path, "%.*s.ans", (int)inputs[j].path.size - 3,
                     inputs[j].path.at);
            const json_t *answer = json_object_get(files, path);
            if (!json_is_string(answer))
                return code_refuse(why, size, "the package has no %.200s", path);
            problem->tests[problem->test_count++] =
                (struct code_test){inputs[j].text, followed(files, path, answer)};
        }
    }
    return problem->test_count > 0 || code_refuse(why, size, "the package has no tests");
}

bool code_problem_package(struct code_problem *problem, const json_t *files, char *why, size_t size)
{
    const char *yaml = json_string_value(json_object_get(files, "problem.yaml"));
    yaml = yaml != NULL ? yaml : "";
    const char *validation = setting(problem, yaml, "validation"),
               *type = setting(problem, yaml, "type"),
               *flags = setting(problem, yaml, "validator_flags"),
               *memory = setting(problem, yaml, "memory"),
               *time = setting(problem, yaml, "time_limit");
    if (memory != NULL && strtod(memory, NULL) > 0)
        problem->memory_limit_mb = strtod(memory, NULL);
    if (time != NULL && strtod(time, NULL) > 0)
        problem->time_limit_s = strtod(time, NULL);
    else if (problem->time_limit_s > PACKAGE_TIME_S)
        problem->time_limit_s = PACKAGE_TIME_S;
    bool interactive = (validation != NULL && strstr(validation, "interactive") != NULL) ||
                       (type != NULL && strstr(type, "interactive") != NULL);
    bool custom = interactive || (validation != NULL && strstr(validation, "custom") != NULL);
    const char *path;
    json_t *value;
    json_object_foreach((json_t *)files, path, value)
    { /* 2023-07: its folder is enough */
        custom |= strncmp(path, "output_validator/", 17) == 0;
    }
    read_flags(problem, flags);
    if (custom && !read_validator(problem, files, flags, interactive, why, size))
        return false;
    return read_tests(problem, files, why, size);
}
