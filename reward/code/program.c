/* reward/code/program.c - from a source text to something the sandbox can start. The compiler is as hostile as the
 * program (#include "/dev/zero", templates without end): it runs in the sandbox, with limits of its own. */
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "reward/code/work.h"

enum {
    COMPILE_MS = 30000,
    COMPILE_MEMORY = 1 << 30,
    COMPILE_FILE = 64 << 20,
    COMPILE_DISK = 256 << 20,
    SOURCES_MAX = 64
};
static const char binary_name[] = "program";

static struct sandbox_limits compiler_limits(void)
{
    struct sandbox_limits limits = sandbox_limits_default();
    limits.wall_ms = COMPILE_MS;
    limits.cpu_ms = COMPILE_MS;
    limits.memory_bytes = COMPILE_MEMORY;
    limits.file_bytes = COMPILE_FILE;
    limits.disk_bytes = COMPILE_DISK;
    return limits;
}

/* The first line of what the compiler says that names an error. */
static void compiler_words(const struct sandbox_result *result, char *why, size_t size)
{
    const char *text = result->error != NULL ? (const char *)result->error : "";
    const char *error = strstr(text, "error");
    while (error != NULL && error > text && error[-1] != '\n')
        error--;
    const char *line = error != NULL ? error : text;
    snprintf(why, size, "the compiler: %.*s", (int)strcspn(line, "\n"), line);
    if (result->outcome == SANDBOX_LIMIT)
        snprintf(why, size, "the compiler: %s", result->text);
}

bool code_compile(struct code_work *work, enum code_language language,
                  const struct code_source *sources, size_t count, struct sandbox_result *binary,
                  bool *refused, char *why, size_t size)
{
    struct sandbox_file files[SOURCES_MAX];
    const char *argv[SOURCES_MAX + 16];
    size_t n = 0, used = 0;
    bool cpp = language == CODE_CPP;
    argv[n++] = cpp ? work->settings->cpp : work->settings->c;
    argv[n++] = "-O2";
    argv[n++] = "-pipe";
    argv[n++] = "-w";
    argv[n++] = cpp ? "-std=gnu++20" : "-std=gnu17";
    argv[n++] = "-o";
    argv[n++] = binary_name;
    for (size_t i = 0; i < count && used < SOURCES_MAX; i++) {
        const char *path = sources[i].path.at, *dot = strrchr(path, '.');
        files[used++] = (struct sandbox_file){
            .path = path, .bytes = sources[i].text.at, .size = sources[i].text.size};
        if (dot != NULL && dot[1] == 'c') /* .c .cc .cpp, not headers */
            argv[n++] = path;
    }
    argv[n++] = "-lm";
    argv[n++] = "-pthread";
    argv[n] = NULL;
    const char *results[] = {binary_name, NULL};
    struct sandbox_run run = {SANDBOX_RUN,        .argv = argv,
                              .files = files,     .file_count = used,
                              .results = results, .mode = work->settings->native};
    run.limits = compiler_limits();
    *refused = false;
    if (!code_execute(work, &run, binary))
        return false;
    if (binary->outcome == SANDBOX_EXITED && binary->exit_code == 0 && binary->result_count == 1 &&
        binary->results[0].found)
        return true;
    *refused = true;
    compiler_words(binary, why, size);
    sandbox_result_free(binary);
    return false;
}

bool code_program_make(struct code_work *work, struct code_program *program)
{
    *program = (struct code_program){.language = work->language};
    if (work->language == CODE_PYTHON) {
        if (memchr(work->program.at, '\0', work->program.size) != NULL) {
            code_fail(work, 0, CODE_RE, "source code cannot contain null bytes");
            return false;
        }
        program->python = memory_alloc(work->program.size + 1);
        if (program->python == NULL)
            return code_give_up(work, WEIR_REWARD_ERROR, "no memory");
        memcpy(program->python, work->program.at, work->program.size);
        return true;
    }
    const char *path = work->language == CODE_C ? "main.c" : "main.cc";
    struct code_source source = {{path, strlen(path)}, work->program};
    char why[256] = "";
    bool refused;
    program->compiled =
        code_compile(work, work->language, &source, 1, &program->binary, &refused, why, sizeof why);
    if (!program->compiled && refused)
        code_fail(work, 0, CODE_CE, "%s", why);
    return program->compiled;
}

void code_program_free(struct code_program *program)
{
    memory_free(program->python);
    if (program->compiled)
        sandbox_result_free(&program->binary);
    *program = (struct code_program){0};
}

void code_program_run(const struct code_work *work, const struct code_program *program,
                      struct sandbox_run *run, struct sandbox_file *file)
{
    static const char *const native[] = {"./program", NULL}, *const python[] = {"/usr/bin/python3",
                                                                                "solution.py",
                                                                                NULL};
    run->files = file;
    run->file_count = 1;
    if (program->language == CODE_PYTHON) {
        *file = (struct sandbox_file){
            .path = "solution.py", .bytes = program->python, .size = strlen(program->python)};
        run->mode = work->settings->python;
        run->argv = python;
        if (run->mode == SANDBOX_ZYGOTE)
            run->python = program->python;
        return;
    }
    *file = (struct sandbox_file){.path = binary_name,
                                  .bytes = program->binary.results[0].bytes,
                                  .size = program->binary.results[0].size,
                                  .executable = true};
    run->mode = work->settings->native;
    run->argv = native;
    run->execute_work = true;
}
