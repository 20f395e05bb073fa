/* reward/code/exam.c - tests that call functions. Two sandboxes: the candidate with driver.py, the examiner with the tests;
 * they talk through a socket pair. The verdict is the line with the nonce that the examiner prints after the last test. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "core/memory.h"
#include "reward/code/work.h"

/* BESIDE: what the examiner may take longer than the candidate, whose end it waits for. */
enum { NONCE_BYTES = 16, BESIDE_MS = 3000, RECORD_MAX = 16384, CALLS_TIMES_MAX = 8 };
#define EXAMINER_MEMORY (INT64_C(1) << 30)

/* Embedded by the build. */
extern const char code_codec_py[], code_driver_py[], code_proxies_py[], code_examiner_py[];

struct exam {
    struct code_work *work;
    char nonce[2 * NONCE_BYTES + 1];
    char *task, *public; /* jansson's */
    double times;        /* the time limit is one test's; calls: of so many */
};

static char *joined(const char *one, const char *two, const char *three)
{
    size_t size = strlen(one) + strlen(two) + strlen(three) + 1;
    char *text = memory_alloc(size);
    if (text != NULL)
        snprintf(text, size, "%s%s%s", one, two, three);
    return text;
}

static bool draw_nonce(struct exam *exam)
{
    uint8_t bytes[NONCE_BYTES];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return false;
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(exam->nonce + 2 * i, 3, "%02x", bytes[i]);
    return true;
}

static bool prepare(struct exam *exam)
{
    const struct code_problem *problem = exam->work->problem;
    bool stop = exam->work->settings->fraction == CODE_FRACTION_NONE ||
                json_is_true(json_object_get(problem->task, "stop"));
    size_t calls = json_array_size(json_object_get(problem->task, "calls"));
    json_t *task = json_copy(problem->task), *public = json_object();
    exam->times = 1;
    if (calls > 0) {
        exam->times = calls < CALLS_TIMES_MAX ? (double)calls : CALLS_TIMES_MAX;
        json_object_set_new(task, "each_s", json_real(problem->time_limit_s * 2 + 2));
    }
    if (draw_nonce(exam))
        json_object_set_new(task, "nonce", json_string(exam->nonce));
    json_object_set_new(task, "stop", json_boolean(stop));
    json_object_set_new(public, "prompt", json_string(problem->prompt));
    json_object_set_new(public, "entry",
                        problem->entry != NULL ? json_string(problem->entry) : json_null());
    exam->task = json_dumps(task, JSON_COMPACT | JSON_REAL_PRECISION(17));
    exam->public = json_dumps(public, JSON_COMPACT);
    json_decref(task);
    json_decref(public);
    return exam->nonce[0] != '\0' && exam->task != NULL && exam->public != NULL;
}

static void drop(struct exam *exam)
{
    free(exam->task);   /* lint: allow(free): jansson's buffer */
    free(exam->public); /* lint: allow(free): jansson's buffer */
}

/* ---- what came back ---- */

/* The examiner's record; NULL when it wrote none. */
static json_t *find_record(const struct exam *exam, const struct sandbox_result *result)
{
    const char *text = (const char *)result->output;
    char mark[sizeof exam->nonce + 2];
    int length = snprintf(mark, sizeof mark, "\n%s ", exam->nonce);
    const char *at = text == NULL ? NULL : memmem(text, result->output_size, mark, (size_t)length);
    if (at == NULL)
        return NULL;
    at += length;
    size_t size = strcspn(at, "\n");
    return size <= RECORD_MAX ? json_loadb(at, size, JSON_REJECT_DUPLICATES, NULL) : NULL;
}

static enum code_verdict verdict_named(const char *name)
{
    for (enum code_verdict verdict = CODE_AC; verdict <= CODE_NOCODE; verdict++)
        if (name != NULL && strcmp(name, code_verdict_name(verdict)) == 0)
            return verdict;
    return CODE_RE;
}

static bool read_record(struct code_work *work, const json_t *record,
                        const struct sandbox_result *candidate)
{
    const char *sentence = json_string_value(json_object_get(record, "unscorable"));
    if (sentence != NULL)
        return code_give_up(work, WEIR_REWARD_UNSCORABLE, "%.300s", sentence);
    json_int_t passed = json_integer_value(json_object_get(record, "passed")),
               passed_first = json_integer_value(json_object_get(record, "passed_first")),
               total = json_integer_value(json_object_get(record, "total")),
               first = json_integer_value(json_object_get(record, "first"));
    enum code_verdict verdict =
        verdict_named(json_string_value(json_object_get(record, "verdict")));
    const char *why = json_string_value(json_object_get(record, "why"));
    work->passed = (size_t)passed;
    work->passed_first = (size_t)passed_first;
    work->total = (size_t)total;
    char words[300];
    enum code_verdict ended;
    bool own_end =
        candidate->outcome != SANDBOX_LIMIT || candidate->limit != SANDBOX_LIMIT_CANCELLED;
    if (json_is_true(json_object_get(record, "gone")) && own_end &&
        !code_ended_well(work, candidate, &ended, words, sizeof words))
        code_fail(work, (size_t)first, ended, "%s", words);
    else if (verdict != CODE_AC || passed < total)
        code_fail(work, first >= 0 ? (size_t)first : 0, verdict == CODE_AC ? CODE_WA : verdict,
                  "%.400s", why != NULL ? why : "");
    return true;
}

/* The examiner ended without a record. It computes with what the candidate sent: a limit is the candidate's doing. */
static bool no_record(struct code_work *work, const struct sandbox_result *examiner,
                      const struct sandbox_result *candidate)
{
    char words[300];
    enum code_verdict verdict;
    work->total = work->total > 0 ? work->total : 1;
    if (examiner->outcome != SANDBOX_LIMIT)
        return code_give_up(work, WEIR_REWARD_ERROR,
                            "the examiner ended without a verdict: %s %.200s", examiner->text,
                            examiner->error != NULL ? (const char *)examiner->error : "");
    const struct sandbox_result *blamed =
        candidate->outcome == SANDBOX_LIMIT && candidate->limit != SANDBOX_LIMIT_CANCELLED
            ? candidate
            : examiner;
    code_ended_well(work, blamed, &verdict, words, sizeof words);
    code_fail(work, 0, verdict, "%s", words);
    return true;
}

/* Starts one of the two programs; files: three, of which the first ones are given. */
static void set_program(const struct code_settings *settings, int which, struct sandbox_run *run,
                        struct sandbox_file *files, size_t count)
{
    static const char *const argv[] = {"/usr/bin/python3", "start.py", NULL};
    static const char start[] = "import marshal\n"
                                "exec(marshal.loads(open('start.bin', 'rb').read()))\n";
    const struct sandbox_found *program = &settings->exam.compiled.results[which];
    files[count] =
        (struct sandbox_file){.path = "start.bin", .bytes = program->bytes, .size = program->size};
    files[count + 1] =
        (struct sandbox_file){.path = "start.py", .bytes = start, .size = sizeof start - 1};
    run->files = files;
    run->file_count = count + 2;
    run->argv = argv;
    run->mode = settings->python;
    run->python = settings->python == SANDBOX_ZYGOTE ? start : NULL;
}

bool code_exam_prepare(struct code_settings *settings, char *why, size_t size)
{
    static const char *const argv[] = {"/usr/bin/python3", "compile.py", NULL}, *const results[] = {
                                                                                    "driver.bin",
                                                                                    "examiner.bin",
                                                                                    NULL};
    static const char compile[] =
        "import marshal\n"
        "for name in ('driver', 'examiner'):\n"
        "    code = compile(open('%s.py' % name).read(), name + '.py', 'exec')\n"
        "    open('%s.bin' % name, 'wb').write(marshal.dumps(code))\n";
    char *driver = joined(code_codec_py, code_driver_py, ""),
         *examiner = joined(code_codec_py, code_proxies_py, code_examiner_py);
    bool good = false;
    struct sandbox_result *made = &settings->exam.compiled;
    snprintf(why, size, "no memory");
    for (unsigned i = 0; i <= settings->retries && driver != NULL && examiner != NULL && !good;
         i++) {
        const struct sandbox_file files[] = {
            {.path = "driver.py", .bytes = driver, .size = strlen(driver)},
            {.path = "examiner.py", .bytes = examiner, .size = strlen(examiner)},
            {.path = "compile.py", .bytes = compile, .size = sizeof compile - 1}};
        struct sandbox_run run = {SANDBOX_RUN,     .argv = argv,       .files = files,
                                  .file_count = 3, .results = results, .mode = SANDBOX_STRICT};
        sandbox_result_free(made);
        sandbox_execute(settings->sandbox, &run, made);
        good = made->outcome == SANDBOX_EXITED && made->exit_code == 0 && made->result_count == 2 &&
               made->results[0].found && made->results[1].found;
        snprintf(why, size, "the driver of tests cannot be prepared: %s %.150s", made->text,
                 made->error != NULL ? (const char *)made->error : "");
    }
    if (!good)
        sandbox_result_free(made);
    memory_free(driver);
    memory_free(examiner);
    return good;
}

static bool examine_once(struct exam *exam, unsigned attempt, bool *again)
{
    struct code_work *work = exam->work;
    int sockets[2];
    *again = false;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
        return code_give_up(work, WEIR_REWARD_ERROR, "no socket pair");
    struct sandbox_file examiner_files[2],
        files[4] = {{.path = "solution.py", .bytes = work->program.at, .size = work->program.size},
                    {.path = "prompt.json", .bytes = exam->public, .size = strlen(exam->public)}};
    struct code_pair pair = {.runs = {{SANDBOX_RUN}, {SANDBOX_RUN}},
                             .ours = {{sockets[0], -1}, {sockets[1], -1}},
                             .first_decides = true};
    struct sandbox_run *examiner = &pair.runs[0], *candidate = &pair.runs[1];
    set_program(work->settings, 1, examiner, examiner_files, 0);
    examiner->input = exam->task;
    examiner->input_size = strlen(exam->task);
    set_program(work->settings, 0, candidate, files, 2);
    examiner->channel = sockets[0];
    candidate->channel = sockets[1];
    candidate->limits = code_limits(work, exam->times);
    examiner->limits = code_limits(work, exam->times);
    examiner->limits.wall_ms += BESIDE_MS;
    examiner->limits.cpu_ms = examiner->limits.wall_ms;
    examiner->limits.memory_bytes = EXAMINER_MEMORY;
    if (!code_execute_pair(work, &pair, attempt, again))
        return false;
    json_t *record = find_record(exam, &pair.results[0]);
    bool good = record != NULL ? read_record(work, record, &pair.results[1])
                               : no_record(work, &pair.results[0], &pair.results[1]);
    json_decref(record);
    sandbox_result_free(&pair.results[0]);
    sandbox_result_free(&pair.results[1]);
    return good;
}

void code_exam(struct code_work *work)
{
    struct exam exam = {.work = work};
    work->total = json_array_size(json_object_get(work->problem->task, "calls"));
    bool again = true;
    if (!prepare(&exam))
        code_give_up(work, WEIR_REWARD_ERROR, "no memory for the exam");
    else
        for (unsigned attempt = 0; again; attempt++)
            examine_once(&exam, attempt, &again);
    drop(&exam);
}
