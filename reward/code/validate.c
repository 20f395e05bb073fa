/* reward/code/validate.c - output validators of the Kattis format: a program that reads the test's input, the judge's
 * answer and the judged output (its stdin), and exits with 42 to accept or 43 to reject. It is trusted, but reads what a
 * hostile program wrote, so it runs in a sandbox of its own. An interactive one talks to the program while it runs: the
 * bytes go through here, so that it is known which of the two fell silent first. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "reward/code/work.h"

enum {
    ACCEPTED = 42,
    REJECTED = 43,
    VALIDATE_MS = 30000,
    FLAGS_MAX = 24,
    TALK_BYTES = 65536,
    TALK_MAX = 64 << 20,
    POLL_MS = 50
};

struct code_validating {
    struct code_program program;
    char *flags;
    const char *arguments[FLAGS_MAX + 8];
    size_t argument_count;
};

static void add_argument(struct code_validating *validating, const char *argument)
{
    validating->arguments[validating->argument_count++] = argument;
}

static bool make_arguments(struct code_work *work, struct code_validating *validating)
{
    validating->flags = memory_text(work->problem->validator.flags);
    if (validating->flags == NULL)
        return code_give_up(work, WEIR_REWARD_ERROR, "no memory");
    if (validating->program.language == CODE_PYTHON) {
        add_argument(validating, "/usr/bin/python3");
        add_argument(validating, "solution.py");
    } else {
        add_argument(validating, "./program");
    }
    add_argument(validating, "input");
    add_argument(validating, "answer");
    add_argument(validating, "feedback/");
    char *rest = validating->flags;
    for (char *word;
         validating->argument_count < FLAGS_MAX && (word = strsep(&rest, " \t")) != NULL;)
        if (*word != '\0')
            add_argument(validating, word);
    return true;
}

/* A validator that does not compile is the row's fault. */
static bool make_program(struct code_work *work, struct code_validating *validating)
{
    const struct code_validator *validator = &work->problem->validator;
    struct code_program *program = &validating->program;
    program->language = validator->language;
    if (validator->language == CODE_PYTHON) {
        program->python = memory_alloc(validator->sources[0].text.size + 1);
        if (program->python == NULL)
            return code_give_up(work, WEIR_REWARD_ERROR, "no memory");
        memcpy(program->python, validator->sources[0].text.at, validator->sources[0].text.size);
        return true;
    }
    char why[256] = "";
    bool refused;
    program->compiled =
        code_compile(work, validator->language, validator->sources, validator->source_count,
                     &program->binary, &refused, why, sizeof why);
    if (!program->compiled && refused)
        code_give_up(work, WEIR_REWARD_UNSCORABLE, "the row's validator: %s", why);
    return program->compiled;
}

bool code_validating_make(struct code_work *work, struct code_validating **validating)
{
    *validating = memory_alloc(sizeof **validating);
    if (*validating == NULL)
        return code_give_up(work, WEIR_REWARD_ERROR, "no memory");
    return make_program(work, *validating) && make_arguments(work, *validating);
}

void code_validating_free(struct code_validating **validating)
{
    if (*validating == NULL)
        return;
    code_program_free(&(*validating)->program);
    memory_free((*validating)->flags);
    memory_free(*validating);
    *validating = NULL;
}

/* What starts the validator on one test. files: four. */
static void validator_run(const struct code_work *work, const struct code_validating *validating,
                          const struct code_test *test, struct sandbox_run *run,
                          struct sandbox_file files[4], const char *results[2])
{
    code_program_run(work, &validating->program, run, &files[0]);
    run->mode = work->settings->native;
    run->python = NULL;
    run->argv = validating->arguments;
    files[1] =
        (struct sandbox_file){.path = "input", .bytes = test->input.at, .size = test->input.size};
    files[2] = (struct sandbox_file){
        .path = "answer", .bytes = test->output.at, .size = test->output.size};
    files[3] = (struct sandbox_file){.path = "feedback/.keep", .bytes = "", .size = 0};
    run->files = files;
    run->file_count = 4;
    results[0] = "feedback/judgemessage.txt";
    results[1] = NULL;
    run->results = results;
    run->limits = sandbox_limits_default();
    run->limits.wall_ms = run->limits.cpu_ms = VALIDATE_MS;
    run->limits.memory_bytes = INT64_C(1) << 30;
    run->limits.disk_bytes += (int64_t)(test->input.size + test->output.size + files[0].size);
    for (int i = 0; i < 3; i++)
        if ((int64_t)files[i].size > run->limits.file_bytes)
            run->limits.file_bytes = (int64_t)files[i].size;
}

static bool read_verdict(struct code_work *work, const struct sandbox_result *result,
                         bool *accepted, char *why, size_t size)
{
    *accepted = result->outcome == SANDBOX_EXITED && result->exit_code == ACCEPTED;
    if (!*accepted && (result->outcome != SANDBOX_EXITED || result->exit_code != REJECTED))
        return code_give_up(work, WEIR_REWARD_ERROR, "the validator ended with %s",
                            result->text[0] != '\0' ? result->text
                                                    : sandbox_outcome_name(result->outcome));
    snprintf(why, size, "rejected");
    if (result->result_count == 1 && result->results[0].found && result->results[0].size > 0) {
        const char *text = (const char *)result->results[0].bytes;
        snprintf(why, size, "%.*s", (int)strcspn(text, "\r\n"), text);
    }
    return true;
}

bool code_validate(struct code_work *work, struct code_validating *validating,
                   const struct code_test *test, struct code_text output, bool *accepted, char *why,
                   size_t size)
{
    struct sandbox_file files[4];
    const char *results[2];
    struct sandbox_run run = {SANDBOX_RUN, .input = output.at, .input_size = output.size};
    validator_run(work, validating, test, &run, files, results);
    struct sandbox_result result;
    if (!code_execute(work, &run, &result))
        return false;
    bool good = read_verdict(work, &result, accepted, why, size);
    sandbox_result_free(&result);
    return good;
}

/* ---- interactive ---- */

/* One direction: what comes from `from` goes to `to`. */
struct pipe_way {
    int from, to;
    char bytes[TALK_BYTES];
    size_t at, size;
    uint64_t total;
    bool ended;
};

/* ways[0]: program to validator; ways[1]: back. first: which of them fell silent first, -1: neither. */
struct talk {
    struct pipe_way ways[2];
    int first;
};

static void close_end(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Moves what it can. */
static void move(struct talk *talk, int index)
{
    struct pipe_way *way = &talk->ways[index];
    if (way->at == way->size && way->from >= 0) {
        ssize_t n = read(way->from, way->bytes, sizeof way->bytes);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) || way->total > TALK_MAX) {
            way->ended = true;
            if (talk->first < 0)
                talk->first = index;
            close_end(&way->from);
            close_end(&way->to);
            return;
        }
        way->at = 0;
        way->size = n > 0 ? (size_t)n : 0;
        way->total += way->size;
    }
    while (way->at < way->size) {
        ssize_t n = way->to < 0 ? (ssize_t)(way->size - way->at)
                                : write(way->to, way->bytes + way->at, way->size - way->at);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) /* the reader is gone: what is said to it is lost */
            close_end(&way->to);
        else
            way->at += (size_t)n;
    }
}

static void relay(void *self)
{
    struct talk *talk = self;
    sigset_t pipe_signal, before;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    while (!talk->ways[0].ended || !talk->ways[1].ended) {
        struct pollfd waits[2];
        int index[2], count = 0;
        for (int i = 0; i < 2; i++) {
            struct pipe_way *way = &talk->ways[i];
            if (way->ended)
                continue;
            bool full = way->at < way->size && way->to >= 0;
            index[count] = i;
            waits[count++] = (struct pollfd){.fd = full ? way->to : way->from,
                                             .events = full ? POLLOUT : POLLIN};
        }
        if (poll(waits, (nfds_t)count, POLL_MS) < 0 && errno != EINTR)
            break;
        for (int i = 0; i < count; i++)
            if (waits[i].revents != 0)
                move(talk, index[i]);
    }
    if (!sigismember(&before, SIGPIPE)) { /* one that we caused is ours */
        while (sigtimedwait(&pipe_signal, NULL, &(struct timespec){0, 0}) == SIGPIPE)
            ;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
}

/* Pipes: program stdout -> us -> validator stdin, validator stdout -> us -> program stdin. */
static bool open_pipes(struct talk *talk, struct code_pair *pair)
{
    int pipes[4][2] = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
    for (int i = 0; i < 4; i++)
        if (pipe2(pipes[i], O_CLOEXEC) != 0) {
            for (int j = 0; j < i; j++) {
                close(pipes[j][0]);
                close(pipes[j][1]);
            }
            return false;
        }
    pair->runs[0].output_fd = pair->ours[0][0] = pipes[0][1];
    talk->ways[0].from = pipes[0][0];
    talk->ways[0].to = pipes[1][1];
    pair->runs[1].input_fd = pair->ours[1][0] = pipes[1][0];
    pair->runs[1].output_fd = pair->ours[1][1] = pipes[2][1];
    talk->ways[1].from = pipes[2][0];
    talk->ways[1].to = pipes[3][1];
    pair->runs[0].input_fd = pair->ours[0][1] = pipes[3][0];
    for (int i = 0; i < 2; i++) {
        fcntl(talk->ways[i].from, F_SETFL, O_NONBLOCK);
        fcntl(talk->ways[i].to, F_SETFL, O_NONBLOCK);
    }
    return true;
}

/* The program's own failure counts when it came first: a validator that hears nothing more rejects. */
static bool decide(struct code_work *work, const struct code_pair *pair, const struct talk *talk,
                   size_t test, bool *passed)
{
    bool accepted = false;
    char why[200] = "", failure[300] = "";
    enum code_verdict verdict;
    bool well = code_ended_well(work, &pair->results[0], &verdict, failure, sizeof failure);
    const struct sandbox_result *judge = &pair->results[1];
    bool rejected_first =
        talk->first == 1 && judge->outcome == SANDBOX_EXITED && judge->exit_code == REJECTED;
    if (!well && !rejected_first)
        code_fail(work, test, verdict, "%s", failure);
    else if (!read_verdict(work, judge, &accepted, why, sizeof why))
        return false;
    else if (!accepted)
        code_fail(work, test, CODE_WA, "the validator: %s", why);
    *passed = well && accepted;
    return true;
}

static bool interact_once(struct code_work *work, struct code_validating *validating,
                          const struct code_program *program, size_t test, unsigned attempt,
                          bool *again, bool *passed)
{
    struct sandbox_file file, files[4];
    const char *results[2];
    struct code_pair pair = {.runs = {{SANDBOX_RUN}, {SANDBOX_RUN}}, .ours = {{-1, -1}, {-1, -1}}};
    struct talk *talk = memory_alloc(sizeof *talk);
    *again = false;
    if (talk == NULL)
        return code_give_up(work, WEIR_REWARD_ERROR, "no memory");
    code_program_run(work, program, &pair.runs[0], &file);
    pair.runs[0].limits = code_limits(work, 1);
    validator_run(work, validating, &work->problem->tests[test], &pair.runs[1], files, results);
    talk->first = -1;
    bool good = open_pipes(talk, &pair);
    if (!good) {
        code_give_up(work, WEIR_REWARD_ERROR, "no pipes: %s", strerror(errno));
    } else {
        pair.between = relay;
        pair.self = talk;
        good = code_execute_pair(work, &pair, attempt, again);
        for (int i = 0; i < 2; i++) {
            close_end(&talk->ways[i].from);
            close_end(&talk->ways[i].to);
        }
    }
    if (good) {
        good = decide(work, &pair, talk, test, passed);
        sandbox_result_free(&pair.results[0]);
        sandbox_result_free(&pair.results[1]);
    }
    memory_free(talk);
    return good;
}

bool code_interact(struct code_work *work, struct code_validating *validating,
                   const struct code_program *program, size_t test, bool *passed)
{
    bool again = true, good = false;
    for (unsigned attempt = 0; again; attempt++)
        good = interact_once(work, validating, program, test, attempt, &again, passed);
    return good;
}
