/* weir-sandbox: one program in a sandbox from the command line, and what this machine's sandbox is worth.
 *
 *     weir-sandbox run [options] -- PROGRAM [ARGUMENT ...]     a JSON verdict on stdout
 *     weir-sandbox check                                       the self-test, and what was found
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/program.h"
#include "sandbox/sandbox.h"

enum { FILES_MAX = 256, LISTED_MAX = 64, FILE_BYTES_MAX = 1 << 30 };

static const char usage[] = "usage: weir sandbox run [--mode strict|pooled|zygote] [--limit "
                            "NAME=VALUE ...] [--file HOST:PATH ...]\n"
                            "                        [--base FOLDER] [--show FOLDER ...] [--result "
                            "PATH ...] [--execute-work] [--file-locks] [--stdin FILE]\n"
                            "                        -- PROGRAM [ARGUMENT ...]      (zygote: "
                            "PROGRAM is a Python file of the host)\n"
                            "       weir sandbox check\n"
                            "limits: wall_ms cpu_ms memory_bytes output_bytes disk_bytes "
                            "file_bytes stack_bytes inodes processes open_files\n";

struct request {
    struct sandbox_run run;
    struct sandbox_file files[FILES_MAX];
    struct buffer contents[FILES_MAX], input, python;
    const char *results[LISTED_MAX + 1], *shown[LISTED_MAX + 1];
    size_t result_count, shown_count;
};

static int refuse(const char *why, const char *what)
{
    fprintf(stderr, "weir sandbox: %s%s\n%s", why, what, usage);
    return EXIT_CODE_USAGE;
}

static bool set_limit(struct sandbox_limits *limits, const char *text)
{
    const char *equals = strchr(text, '=');
    char *end;
    errno = 0;
    long long value = equals == NULL ? 0 : strtoll(equals + 1, &end, 10);
    if (equals == NULL || value <= 0 || errno != 0 || *end != 0 || end == equals + 1)
        return false;
    const struct {
        const char *name;
        int64_t *wide;
        uint32_t *narrow;
    } rows[] = {
        {"wall_ms", &limits->wall_ms, NULL},
        {"cpu_ms", &limits->cpu_ms, NULL},
        {"memory_bytes", &limits->memory_bytes, NULL},
        {"output_bytes", &limits->output_bytes, NULL},
        {"disk_bytes", &limits->disk_bytes, NULL},
        {"file_bytes", &limits->file_bytes, NULL},
        {"stack_bytes", &limits->stack_bytes, NULL},
        {"inodes", NULL, &limits->inodes},
        {"processes", NULL, &limits->processes},
        {"open_files", NULL, &limits->open_files},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strncmp(text, rows[i].name, (size_t)(equals - text)) == 0 &&
            rows[i].name[equals - text] == 0) {
            if (rows[i].wide != NULL)
                *rows[i].wide = value;
            else if (value > UINT32_MAX)
                return false;
            else
                *rows[i].narrow = (uint32_t)value;
            return true;
        }
    return false;
}

static bool set_mode(enum sandbox_mode *mode, const char *text)
{
    static const char *const names[] = {"strict", "pooled", "zygote"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0) {
            *mode = (enum sandbox_mode)i;
            return true;
        }
    return false;
}

/* HOST:PATH */
static enum status add_file(struct request *request, const char *text)
{
    const char *colon = strrchr(text, ':');
    char host[FILE_PATH_MAX];
    size_t count = request->run.file_count;
    if (colon == NULL || colon[1] == 0 || count == FILES_MAX)
        return FAIL(STATUS_INVALID, "--file takes HOST:PATH, at most %d times", FILES_MAX);
    TRY(file_path(host, "%.*s", (int)(colon - text), text));
    struct buffer *contents = &request->contents[count];
    buffer_init(contents, FILE_BYTES_MAX);
    TRY(file_read(host, contents));
    request->files[count] = (struct sandbox_file){.path = colon + 1,
                                                  .bytes = buffer_string(contents),
                                                  .size = contents->size,
                                                  .executable = access(host, X_OK) == 0};
    request->run.file_count = count + 1;
    return STATUS_OK;
}

static bool add_name(const char **list, size_t *count, const char *name)
{
    if (*count == LISTED_MAX)
        return false;
    list[(*count)++] = name;
    return true;
}

/* One option with its value. */
static enum status option(struct request *request, const char *name, const char *value)
{
    struct sandbox_run *run = &request->run;
    bool fine = false;
    if (strcmp(name, "--limit") == 0)
        fine = set_limit(&run->limits, value);
    else if (strcmp(name, "--mode") == 0)
        fine = set_mode(&run->mode, value);
    else if (strcmp(name, "--file") == 0)
        return add_file(request, value);
    else if (strcmp(name, "--base") == 0)
        fine = (run->base = value) != NULL;
    else if (strcmp(name, "--show") == 0)
        fine = add_name(request->shown, &request->shown_count, value);
    else if (strcmp(name, "--result") == 0)
        fine = add_name(request->results, &request->result_count, value);
    else if (strcmp(name, "--stdin") == 0)
        return file_read(value, &request->input);
    return fine ? STATUS_OK : FAIL(STATUS_INVALID, "%s %s is not understood", name, value);
}

static enum status parse(struct request *request, int argc, char **argv)
{
    struct sandbox_run *run = &request->run;
    int at = 0;
    while (at < argc && strcmp(argv[at], "--") != 0 && argv[at][0] == '-') {
        if (strcmp(argv[at], "--file-locks") == 0) {
            run->file_locks = true;
            at++;
            continue;
        }
        if (strcmp(argv[at], "--execute-work") == 0) {
            run->execute_work = true;
            at++;
            continue;
        }
        if (at + 1 == argc)
            return FAIL(STATUS_INVALID, "%s needs a value", argv[at]);
        TRY(option(request, argv[at], argv[at + 1]));
        at += 2;
    }
    at += at < argc && strcmp(argv[at], "--") == 0;
    if (at >= argc)
        return FAIL(STATUS_INVALID, "no program");
    if (run->mode == SANDBOX_ZYGOTE) {
        TRY(file_read(argv[at], &request->python));
        run->python = buffer_string(&request->python);
    }
    run->argv = (const char *const *)(argv + at);
    run->results = request->results;
    run->shown = request->shown;
    run->files = request->files;
    run->input = buffer_string(&request->input);
    run->input_size = request->input.size;
    return STATUS_OK;
}

/* Bytes as JSON: text where they are UTF-8, otherwise base64 under another name. */
static void put_bytes(json_t *object, const char *name, const uint8_t *bytes, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    json_t *text = json_stringn((const char *)bytes, size);
    if (text != NULL) {
        json_object_set_new(object, name, text);
        return;
    }
    char key[256];
    struct buffer coded;
    buffer_init(&coded, 0);
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t word = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                        (left > 2 ? bytes[i + 2] : 0);
        char four[4] = {digits[word >> 18], digits[word >> 12 & 63],
                        left > 1 ? digits[word >> 6 & 63] : '=',
                        left > 2 ? digits[word & 63] : '='};
        if (buffer_append(&coded, four, 4) != STATUS_OK)
            break;
    }
    snprintf(key, sizeof key, "%.200s_base64", name);
    json_object_set_new(object, key, json_string(buffer_string(&coded)));
    buffer_free(&coded);
}

static int print_result(const struct request *request, const struct sandbox_result *result)
{
    json_t *verdict = json_object(), *found = json_object();
    json_object_set_new(verdict, "outcome", json_string(sandbox_outcome_name(result->outcome)));
    if (result->outcome == SANDBOX_LIMIT)
        json_object_set_new(verdict, "limit", json_string(sandbox_limit_name(result->limit)));
    if (result->outcome == SANDBOX_EXITED)
        json_object_set_new(verdict, "exit_code", json_integer(result->exit_code));
    if (result->outcome == SANDBOX_SIGNALED)
        json_object_set_new(verdict, "signal", json_integer(result->signal));
    json_object_set_new(verdict, "text", json_string(result->text));
    json_object_set_new(verdict, "wall_ms", json_integer(result->wall_ms));
    json_object_set_new(verdict, "cpu_ms", json_integer(result->cpu_ms));
    json_object_set_new(verdict, "memory_peak_bytes", json_integer(result->memory_peak_bytes));
    put_bytes(verdict, "stdout", result->output, result->output_size);
    put_bytes(verdict, "stderr", result->error, result->error_size);
    for (size_t i = 0; i < result->result_count; i++)
        if (result->results[i].found)
            put_bytes(found, request->results[i], result->results[i].bytes,
                      result->results[i].size);
        else
            json_object_set_new(found, request->results[i], json_null());
    if (result->result_count > 0)
        json_object_set(verdict, "results", found);
    json_decref(found);
    json_dumpf(verdict, stdout, JSON_INDENT(1));
    printf("\n");
    json_decref(verdict);
    return result->outcome == SANDBOX_INFRA ? EXIT_CODE_FAILED : EXIT_CODE_OK;
}

static int run_command(int argc, char **argv)
{
    static struct request request;
    struct sandbox *sandbox = NULL;
    struct sandbox_options options = {.jobs = 1};
    struct sandbox_result result;
    request.run = (struct sandbox_run){SANDBOX_RUN};
    buffer_init(&request.input, FILE_BYTES_MAX);
    buffer_init(&request.python, FILE_BYTES_MAX);
    if (parse(&request, argc, argv) != STATUS_OK)
        return refuse("", status_sentence(status_last_error()));
    if (sandbox_open(&sandbox, &options) != STATUS_OK) {
        fprintf(stderr, "weir sandbox: %s\n", status_sentence(status_last_error()));
        return EXIT_CODE_DEPENDENCY;
    }
    sandbox_execute(sandbox, &request.run, &result);
    int code = print_result(&request, &result);
    sandbox_result_free(&result);
    sandbox_close(&sandbox);
    for (size_t i = 0; i < request.run.file_count; i++)
        buffer_free(&request.contents[i]);
    buffer_free(&request.input);
    buffer_free(&request.python);
    return code;
}

static int check_command(void)
{
    struct sandbox *sandbox = NULL;
    struct sandbox_options options = {.jobs = 1};
    char text[SANDBOX_DESCRIPTION_MAX];
    int64_t begin = clock_now_ns();
    if (sandbox_open(&sandbox, &options) != STATUS_OK) {
        fprintf(stderr, "weir sandbox: %s\n", status_sentence(status_last_error()));
        return EXIT_CODE_DEPENDENCY;
    }
    sandbox_describe(sandbox, text);
    printf("the self-test's attacks are contained (%.0f ms)\n%s",
           (double)(clock_now_ns() - begin) / CLOCK_NS_PER_MS, text);
    struct sandbox_run run = {SANDBOX_RUN, .mode = SANDBOX_ZYGOTE, .python = "pass"};
    struct sandbox_result result;
    sandbox_execute(sandbox, &run, &result);
    printf("zygote mode: %s\n",
           result.outcome != SANDBOX_EXITED ? result.text
           : sandbox_has_zygote(sandbox)
               ? "works"
               : "each run is made anew, strictly, because /proc is masked here: "
                 "slower, see docs/sandbox.md");
    sandbox_result_free(&result);
    sandbox_close(&sandbox);
    return EXIT_CODE_OK;
}

int main(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "run") == 0)
        return run_command(argc - 2, argv + 2);
    if (argc == 2 && strcmp(argv[1], "check") == 0)
        return check_command();
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        printf("%s", usage);
        return EXIT_CODE_OK;
    }
    return refuse("write run or check", "");
}
