/* weir replay RUN STEP, weir replay RUN GROUP.SAMPLE: a learner step or a rollout made once more and compared with what
 * the ledger says. The run may be over, killed or going on; nothing is written into its folder. docs/replay.md.
 *
 * weir-store reads the ledger into a file, weir-learner trains the plans in it, weir-actor generates the rollout in it;
 * all of it in a temporary folder. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/arena.h"
#include "core/clock.h"
#include "core/settings.h"
#include "core/wait.h"
#include "ops/cmd.h"
#include "ops/processes.h"
#include "proto/codec.h"

enum {
    VERSIONS_MAX = 4096,     /* checkpoints of a folder */
    NEEDED_MAX = 1024,       /* versions of one rollout */
    LIMIT_MS = 24 * 3600000, /* of one program */
    WORD_MAX = 24,
    FOLLOWERS_MAX = 64
};

struct replay {
    char folder[FILE_PATH_MAX];    /* of the run */
    char temporary[FILE_PATH_MAX]; /* ours */
    char config[FILE_PATH_MAX], ledger[FILE_PATH_MAX], checkpoints[FILE_PATH_MAX];
    char steps[FILE_PATH_MAX], rollout[FILE_PATH_MAX]; /* what weir-store made of the ledger */
    char start_model[FILE_PATH_MAX];
    char name[RUN_NAME_MAX]; /* of our processes: not the run's, whose shared memory is in use */
    uint32_t ranks;
    uint32_t keep; /* learner.checkpoint_keep */
    struct process followers[FOLLOWERS_MAX];
    char ranks_text[FOLLOWERS_MAX][WORD_MAX];
};

/* ---- programs ---- */

static int exit_code(int wait_status)
{
    return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : EXIT_CODE_FAILED;
}

/* Runs to its end; log "": our own output. */
static int run_program(const char *program, const char *const *words, const char *log)
{
    struct process process = {.name = "replay"};
    char path[FILE_PATH_MAX];
    int ended = 0;
    size_t count = 0;
    if (program_path(program, path) != STATUS_OK)
        return command_failed("replay", STATUS_NOT_FOUND), EXIT_CODE_DEPENDENCY;
    process.arguments[count++] = path;
    for (; *words != NULL && count + 1 < PROCESS_ARGUMENTS_MAX; words++)
        process.arguments[count++] = *words;
    snprintf(process.log, sizeof process.log, "%s", log);
    fflush(NULL);
    enum status status = process_start(&process, clock_now_ns());
    if (status == STATUS_OK)
        status = wait_child("replay", program, LIMIT_MS, process.pid, &ended);
    if (status != STATUS_OK) {
        process_signal(&process, SIGKILL);
        return command_failed("replay", status);
    }
    return exit_code(ended);
}

static void show_log(const char *path)
{
    char line[4096];
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        fputs(line, stdout);
    if (file != NULL)
        fclose(file);
}

/* The last error in a log, or its last line. */
static void say_why(const char *program, const char *log)
{
    struct process process = {.name = "replay"};
    char words[1024];
    snprintf(process.log, sizeof process.log, "%s", log);
    process_last_words(&process, words, sizeof words);
    fprintf(stderr, "weir replay: %s: %s\n", program, words[0] != 0 ? words : "failed");
}

/* ---- ledger ---- */

/* kind: "steps" BASE TO, or "rollout" GROUP SAMPLE. */
static int extract(const struct replay *replay, const char *kind, uint64_t first, uint64_t second,
                   const char *tape)
{
    char a[WORD_MAX], b[WORD_MAX], log[FILE_PATH_MAX];
    snprintf(a, sizeof a, "%" PRIu64, first);
    snprintf(b, sizeof b, "%" PRIu64, second);
    if (file_path(log, "%s/store.log", replay->temporary) != STATUS_OK)
        return command_failed("replay", STATUS_LIMIT);
    const char *words[] = {"replay",   kind,           a,
                           b,          replay->ledger, tape,
                           "--config", replay->config, "run.log_level=warn",
                           NULL};
    int code = run_program("weir-store", words, log);
    if (code != EXIT_CODE_OK)
        say_why("weir-store", log);
    return code;
}

/* ---- steps ---- */

static int newest_first(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

/* Versions with a checkpoint in `folder`, newest first. */
static size_t list_checkpoints(const char *folder, uint64_t versions[VERSIONS_MAX])
{
    size_t count = 0;
    DIR *directory = opendir(folder);
    for (struct dirent *entry;
         directory != NULL && count < VERSIONS_MAX && (entry = readdir(directory)) != NULL;) {
        char rest;
        if (sscanf(entry->d_name, "step_%" SCNu64 "%c", &versions[count], &rest) == 1)
            count++;
    }
    if (directory != NULL)
        closedir(directory);
    qsort(versions, count, sizeof *versions, newest_first);
    return count;
}

/* Ranks 1 and above; rank 0 tells them when it is over. */
static enum status start_followers(struct replay *replay, const char *program)
{
    for (uint32_t r = 1; r < replay->ranks && r < FOLLOWERS_MAX; r++) {
        struct process *process = &replay->followers[r];
        *process = (struct process){.name = "replay"};
        snprintf(replay->ranks_text[r], sizeof replay->ranks_text[r], "%u", r);
        TRY(file_path(process->log, "%s/rank_%u.log", replay->temporary, r));
        const char *words[] = {
            program,           "--config", replay->config,        "--run", replay->name, "--folder",
            replay->temporary, "--index",  replay->ranks_text[r], NULL};
        memcpy(process->arguments, words, sizeof words);
        TRY(process_start(process, clock_now_ns()));
    }
    return STATUS_OK;
}

static void end_followers(struct replay *replay)
{
    for (uint32_t r = 1; r < replay->ranks && r < FOLLOWERS_MAX; r++) {
        struct process *process = &replay->followers[r];
        int ended;
        if (process->pid <= 0)
            continue;
        process_signal(process, SIGKILL);
        if (wait_child("end of a rank", "weir-learner", 5000, process->pid, &ended) != STATUS_OK)
            fprintf(stderr, "weir replay: %s\n", error_sentence());
        process->pid = 0;
    }
}

/* Trains (base, to]; base_path "-": the start model. */
static int train(struct replay *replay, const char *base_path, const char *versions,
                 const char *log)
{
    char program[FILE_PATH_MAX];
    unlink(log);
    if (program_path("weir-learner", program) != STATUS_OK ||
        start_followers(replay, program) != STATUS_OK)
        return command_failed("replay", STATUS_NOT_FOUND);
    const char *words[] = {"replay",
                           replay->steps,
                           base_path,
                           replay->checkpoints,
                           versions[0] != 0 ? replay->temporary : "-",
                           versions[0] != 0 ? versions : "-",
                           "--config",
                           replay->config,
                           "--run",
                           replay->name,
                           "--folder",
                           replay->temporary,
                           "run.log_level=warn",
                           NULL};
    int code = run_program("weir-learner", words, log);
    end_followers(replay);
    return code;
}

/* From the newest checkpoint older than `below` that is whole and of this branch, else from the start model. Versions
 * up to `to` are trained; those in `versions` ("3,5") are kept in our folder. */
static int replay_steps(struct replay *replay, uint64_t below, uint64_t to, const char *versions,
                        bool quiet)
{
    static uint64_t bases[VERSIONS_MAX + 1];
    char path[FILE_PATH_MAX], log[FILE_PATH_MAX];
    size_t count = list_checkpoints(replay->checkpoints, bases);
    bases[count++] = 0;
    if (file_path(log, "%s/learner.log", replay->temporary) != STATUS_OK)
        return command_failed("replay", STATUS_LIMIT);
    for (size_t i = 0; i < count; i++) {
        bool start = i + 1 == count;
        if (bases[i] >= below && !start)
            continue;
        if (file_path(path, "%s/step_%" PRIu64, replay->checkpoints, bases[i]) != STATUS_OK)
            return command_failed("replay", STATUS_LIMIT);
        int code = extract(replay, "steps", bases[i], to, replay->steps);
        if (code != EXIT_CODE_OK)
            return code;
        code = train(replay, start ? "-" : path, versions, log);
        if (code == EXIT_CODE_INPUT && !start) {
            fprintf(stderr, "weir replay: %s cannot be used, an older one is tried\n", path);
            continue;
        }
        if (!quiet || code != EXIT_CODE_OK)
            show_log(log);
        if (code == EXIT_CODE_OK && !quiet)
            printf("from %s\n", start ? replay->start_model : path);
        return code;
    }
    return EXIT_CODE_INPUT;
}

/* ---- rollouts ---- */

struct needed {
    uint64_t version, digest;
    char folder[FILE_PATH_MAX]; /* with its weights; "": to be made again */
};

static int by_version(const void *a, const void *b)
{
    const struct needed *x = a, *y = b;
    return (x->version > y->version) - (x->version < y->version);
}

static void need(struct needed *needed, size_t *count, const struct version_register *version)
{
    for (size_t i = 0; i < *count; i++)
        if (needed[i].version == version->version)
            return;
    if (*count < NEEDED_MAX)
        needed[(*count)++] =
            (struct needed){.version = version->version, .digest = version->digest};
}

/* Versions named in the file of a rollout, ascending. */
static enum status read_needed(const struct replay *replay, struct needed *needed, size_t *count)
{
    struct buffer bytes;
    struct arena *arena = NULL;
    uint32_t size;
    buffer_init(&bytes, 0);
    enum status status = file_read(replay->rollout, &bytes);
    if (status == STATUS_OK)
        status = arena_create(&arena, (size_t)WIRE_MESSAGE_MAX * 4);
    for (size_t at = 0; status == STATUS_OK && at + sizeof size < bytes.size; at += size) {
        struct message message;
        memcpy(&size, bytes.bytes + at, sizeof size);
        at += sizeof size;
        arena_reset(arena);
        status = size <= bytes.size - at ? message_unpack(&message, arena, bytes.bytes + at, size)
                                         : FAIL(STATUS_CORRUPT, "%s is cut off", replay->rollout);
        if (status == STATUS_OK && message.type == MESSAGE_version_register)
            need(needed, count, &message.version_register);
    }
    qsort(needed, *count, sizeof *needed, by_version);
    arena_destroy(&arena);
    buffer_free(&bytes);
    return status;
}

/* A checkpoint under `folder` whose state.json has the digest. */
static bool has_weights(const char *folder, struct needed *needed)
{
    char path[FILE_PATH_MAX], digest[40];
    struct buffer state;
    buffer_init(&state, 1 << 16);
    snprintf(digest, sizeof digest, "\"digest\": \"%016" PRIx64 "\"", needed->digest);
    bool has =
        file_path(path, "%s/step_%" PRIu64 "/state.json", folder, needed->version) == STATUS_OK &&
        file_read(path, &state) == STATUS_OK && strstr(buffer_string(&state), digest) != NULL &&
        file_path(needed->folder, "%s/step_%" PRIu64 "/hf", folder, needed->version) == STATUS_OK;
    buffer_free(&state);
    if (!has)
        needed->folder[0] = 0;
    return has;
}

/* Versions without weights are trained again, all in one go. */
static int make_weights(struct replay *replay, struct needed *needed, size_t count)
{
    struct buffer versions;
    char made[FILE_PATH_MAX];
    uint64_t first = 0, last = 0;
    int code = EXIT_CODE_OK;
    buffer_init(&versions, 0);
    for (size_t i = 0; i < count; i++) {
        if (needed[i].version == 0)
            snprintf(needed[i].folder, sizeof needed[i].folder, "%s", replay->start_model);
        else if (!has_weights(replay->checkpoints, &needed[i])) {
            first = versions.size == 0 ? needed[i].version : first;
            last = needed[i].version;
            if (buffer_printf(&versions, "%s%" PRIu64, versions.size > 0 ? "," : "", last) !=
                STATUS_OK)
                code = command_failed("replay", STATUS_LIMIT);
        }
    }
    if (code == EXIT_CODE_OK && versions.size > 0)
        code = replay_steps(replay, first, last, buffer_string(&versions), true);
    if (file_path(made, "%s/checkpoints", replay->temporary) != STATUS_OK)
        code = EXIT_CODE_FAILED;
    for (size_t i = 0; i < count && code == EXIT_CODE_OK; i++)
        if (needed[i].folder[0] == 0 && !has_weights(made, &needed[i]))
            code = EXIT_CODE_INPUT;
    if (code != EXIT_CODE_OK && versions.size > 0)
        fprintf(
            stderr,
            "weir replay: the weights of versions %s are not kept (learner.checkpoint_keep=%" PRIu32
            ") and cannot be made again from what is: checkpoints in %s, start model %s\n",
            buffer_string(&versions), replay->keep, replay->checkpoints, replay->start_model);
    buffer_free(&versions);
    return code;
}

static int generate(const struct replay *replay, const struct needed *needed, size_t count)
{
    struct buffer folders;
    char log[FILE_PATH_MAX];
    enum status status = file_path(log, "%s/actor.log", replay->temporary);
    buffer_init(&folders, 0);
    for (size_t i = 0; i < count && status == STATUS_OK; i++)
        status = buffer_printf(&folders, "%s%" PRIu64 "=%s", i > 0 ? "," : "", needed[i].version,
                               needed[i].folder);
    if (status != STATUS_OK) {
        buffer_free(&folders);
        return command_failed("replay", status);
    }
    const char *words[] = {"replay",     replay->rollout,      buffer_string(&folders),
                           "--config",   replay->config,       "--run",
                           replay->name, "run.log_level=warn", NULL};
    int code = run_program("weir-actor", words, log);
    if (code == EXIT_CODE_OK || code == EXIT_CODE_FAILED)
        show_log(log);
    else
        say_why("weir-actor", log);
    buffer_free(&folders);
    return code;
}

static int replay_rollout(struct replay *replay, uint64_t group_id, uint64_t sample)
{
    static struct needed needed[NEEDED_MAX];
    size_t count = 0;
    int code = extract(replay, "rollout", group_id, sample, replay->rollout);
    if (code != EXIT_CODE_OK)
        return code;
    char log[FILE_PATH_MAX]; /* the score and who gave it */
    enum status status = file_path(log, "%s/store.log", replay->temporary);
    if (status == STATUS_OK)
        show_log(log);
    if (status == STATUS_OK)
        status = read_needed(replay, needed, &count);
    if (status != STATUS_OK)
        return command_failed("replay", status);
    code = make_weights(replay, needed, count);
    return code == EXIT_CODE_OK ? generate(replay, needed, count) : code;
}

/* ---- the command ---- */

static enum status read_run(struct replay *replay, const char *run)
{
    struct config *config = NULL;
    struct settings settings;
    char name[RUN_NAME_MAX];
    TRY(run_folder_find(runs_root(), run, replay->folder, name));
    TRY(file_path(replay->config, "%s/config.resolved.yaml", replay->folder));
    TRY(file_path(replay->ledger, "%s/ledger", replay->folder));
    TRY(file_path(replay->checkpoints, "%s/checkpoints", replay->folder));
    const char *files[] = {replay->config};
    struct config_input input = {.files = files, .file_count = 1};
    TRY(settings_load(&settings, &config, &input));
    replay->ranks = settings.learner.ranks;
    replay->keep = settings.learner.checkpoint_keep;
    enum status status = file_path(replay->start_model, "%s", settings.model.path);
    config_destroy(&config);
    return status;
}

static enum status make_temporary(struct replay *replay)
{
    const char *root = getenv("TMPDIR");
    TRY(file_path(replay->temporary, "%s/weir-replay-XXXXXX",
                  root != NULL && root[0] != 0 ? root : "/tmp"));
    if (mkdtemp(replay->temporary) == NULL)
        return FAIL(STATUS_IO, "%s: %s", replay->temporary, strerror(errno));
    snprintf(replay->name, sizeof replay->name, "replay-%ld", (long)getpid());
    TRY(file_path(replay->steps, "%s/steps", replay->temporary));
    return file_path(replay->rollout, "%s/rollout", replay->temporary);
}

/* "STEP" or "GROUP.SAMPLE" */
static bool parse_what(const char *text, bool *rollout, uint64_t numbers[2])
{
    char *end = NULL;
    errno = 0;
    numbers[0] = strtoull(text, &end, 10);
    *rollout = *end == '.';
    if (text[0] < '0' || text[0] > '9' || errno != 0)
        return false;
    if (!*rollout)
        return *end == 0;
    const char *second = end + 1;
    numbers[1] = strtoull(second, &end, 10);
    return second[0] >= '0' && second[0] <= '9' && *end == 0 && errno == 0;
}

int cmd_replay(int argc, char **argv)
{
    static struct replay replay;
    uint64_t numbers[2] = {0};
    bool rollout = false;
    if (argc != 2)
        return command_usage("replay", "RUN and STEP, or RUN and GROUP.SAMPLE, are wanted");
    if (!parse_what(argv[1], &rollout, numbers) || (!rollout && numbers[0] == 0))
        return command_usage("replay", "\"%s\" is neither a step from 1 on nor GROUP.SAMPLE",
                             argv[1]);
    enum status status = read_run(&replay, argv[0]);
    if (status == STATUS_OK)
        status = make_temporary(&replay);
    if (status != STATUS_OK)
        return command_failed("replay", status);
    int code = rollout ? replay_rollout(&replay, numbers[0], numbers[1])
                       : replay_steps(&replay, numbers[0], numbers[0], "", false);
    if (file_remove_tree(replay.temporary) != STATUS_OK)
        fprintf(stderr, "weir replay: %s stays: %s\n", replay.temporary, error_sentence());
    return code;
}
