#include "reward/code/problem.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* TIME, MEMORY: of a program when the row names none. */
#define TIME_LIMIT_S    10.0
#define TIME_MAX_S      600.0
#define MEMORY_LIMIT_MB 1024.0
#define MEMORY_MAX_MB   65536.0
#define TOLERANCE       1e-6
enum { ARENA_BYTES = 512 << 20 };

bool code_refuse(char *why, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, size, format, args);
    va_end(args);
    return false;
}

enum code_language code_language_of(const char *name, size_t size)
{
    static const struct {
        const char *name;
        enum code_language language;
    } names[] = {
        {"python", CODE_PYTHON}, {"py", CODE_PYTHON},   {"python3", CODE_PYTHON},
        {"pypy3", CODE_PYTHON},  {"pypy", CODE_PYTHON}, {"c", CODE_C},
        {"gnu-c", CODE_C},       {"cpp", CODE_CPP},     {"c++", CODE_CPP},
        {"cc", CODE_CPP},        {"cxx", CODE_CPP},     {"c++17", CODE_CPP},
        {"c++20", CODE_CPP},     {"cpp17", CODE_CPP},   {"cpp20", CODE_CPP},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strlen(names[i].name) == size && strncasecmp(names[i].name, name, size) == 0)
            return names[i].language;
    return CODE_ANY;
}

const json_t *code_problem_member(const struct reward_case *input, const json_t *truth,
                                  const char *name)
{
    const json_t *places[] = {truth, input->row, json_object_get(input->row, "extra_info")};
    for (size_t i = 0; i < 3; i++) {
        const json_t *value = json_object_get(places[i], name);
        if (value != NULL && !json_is_null(value))
            return value;
    }
    return NULL;
}

const json_t *code_problem_parsed(struct code_problem *problem, const json_t *value)
{
    if (!json_is_string(value))
        return value;
    if (problem->parsed_count == sizeof problem->parsed / sizeof problem->parsed[0])
        return NULL;
    const char *text = json_string_value(value);
    const char first = text[strspn(text, " \t\r\n")];
    if (first != '{' && first != '[')
        return NULL;
    json_t *parsed =
        json_loadb(text, json_string_length(value), JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
    if (parsed != NULL)
        problem->parsed[problem->parsed_count++] = parsed;
    return parsed;
}

static bool read_number(const struct reward_case *input, const json_t *truth, const char *name,
                        double most, double *number, char *why, size_t size)
{
    const json_t *value = code_problem_member(input, truth, name);
    if (value == NULL)
        return true;
    double read = json_number_value(value);
    if (!json_is_number(value) || !isfinite(read) || read <= 0)
        return code_refuse(why, size, "\"%s\" is a number above 0", name);
    *number = read < most ? read : most;
    return true;
}

static bool read_checker(struct code_problem *problem, const struct reward_case *input,
                         const json_t *truth, char *why, size_t size)
{
    static const char *const names[] = {"tokens", "exact", "float", "validator"};
    const json_t *value = code_problem_member(input, truth, "checker");
    problem->compare.tolerance = -1;
    if (value == NULL)
        return true;
    const char *name = json_string_value(value);
    for (int i = 0; name != NULL && i < 4; i++) {
        if (strcmp(name, names[i]) != 0)
            continue;
        problem->checker = (enum code_checker)i;
        problem->compare.exact = i == CODE_EXACT;
        problem->compare.tolerance = i == CODE_FLOAT ? TOLERANCE : -1;
        return read_number(input, truth, "tolerance", 1, &problem->compare.tolerance, why, size);
    }
    return code_refuse(why, size,
                       "\"checker\" is \"tokens\", \"exact\", \"float\" or \"validator\"");
}

static bool read_limits(struct code_problem *problem, const struct reward_case *input,
                        const json_t *truth, char *why, size_t size)
{
    problem->time_limit_s = TIME_LIMIT_S;
    problem->memory_limit_mb = MEMORY_LIMIT_MB;
    const json_t *language = code_problem_member(input, truth, "language");
    if (language != NULL) {
        if (!json_is_string(language))
            return code_refuse(why, size, "\"language\" is a text");
        problem->language =
            code_language_of(json_string_value(language), json_string_length(language));
        if (problem->language == CODE_ANY)
            return code_refuse(why, size,
                               "\"language\" is \"python\", \"c\" or \"cpp\", not \"%.40s\"",
                               json_string_value(language));
    }
    return read_number(input, truth, "time_limit_s", TIME_MAX_S, &problem->time_limit_s, why,
                       size) &&
           read_number(input, truth, "memory_limit_mb", MEMORY_MAX_MB, &problem->memory_limit_mb,
                       why, size);
}

bool code_problem_read(struct code_problem *problem, const struct reward_case *input, char *why,
                       size_t size)
{
    *problem = (struct code_problem){.kind = CODE_STDIO};
    if (arena_create(&problem->arena, ARENA_BYTES) != STATUS_OK)
        return code_refuse(why, size, "no memory");
    const json_t *truth = code_problem_parsed(problem, input->truth);
    return read_limits(problem, input, truth, why, size) &&
           read_checker(problem, input, truth, why, size) &&
           code_problem_forms(problem, input, truth, why, size);
}

void code_problem_free(struct code_problem *problem)
{
    json_decref(problem->task);
    for (size_t i = 0; i < problem->parsed_count; i++)
        json_decref(problem->parsed[i]);
    arena_destroy(&problem->arena);
}
