#include "learner/replay.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/program.h"
#include "learner/learner_state.h"
#include "model/folder.h"
#include "proto/codec.h"
#include "proto/tape.h"

/* ---- the file: {u32 bytes}{message} ---- */

/* ---- weights to begin with ---- */

static enum status load(struct learner *learner, const struct learner_replay *replay,
                        const struct version_register *base)
{
    struct checkpoint_state state = {0};
    if (replay->checkpoint[0] != '\0')
        TRY(learner_load_checkpoint(learner, replay->checkpoint, &state));
    else
        TRY(learner_load_start(learner));
    TRY(learner_join_ranks(learner));
    if (state.version != base->version)
        return FAIL(STATUS_CORRUPT, "%s is of version %" PRIu64 ", version %" PRIu64 " is due",
                    replay->checkpoint, state.version, base->version);
    uint64_t own = learner->trainer.weights.digest;
    if (base->digest != 0 && own != base->digest)
        return FAIL(STATUS_CORRUPT,
                    "%s has digest %016" PRIx64 ", registered as version %" PRIu64 " is %016" PRIx64
                    ": it is of another branch, or was changed",
                    replay->checkpoint[0] != '\0' ? replay->checkpoint : learner->start_folder, own,
                    base->version, base->digest);
    learner->version = learner->checkpoint_version = base->version;
    learner->trainer.weights.version = base->version;
    return STATUS_OK;
}

/* ---- what came out ---- */

static bool is_wanted(const char *versions, uint64_t version)
{
    for (const char *at = versions; *at != '\0'; at += strspn(at, ",")) {
        char *end = NULL;
        uint64_t one = strtoull(at, &end, 10);
        if (end == at)
            return false;
        if (one == version)
            return true;
        at = end;
    }
    return false;
}

static enum status save(struct learner *learner, const struct learner_replay *replay)
{
    if (!is_wanted(replay->versions, learner->version))
        return STATUS_OK;
    char folder[FILE_PATH_MAX], path[FILE_PATH_MAX];
    struct checkpoint_state state = {.version = learner->version,
                                     .branch = learner->branch,
                                     .digest = learner->trainer.weights.digest,
                                     .updates = learner->trainer.updates,
                                     .skipped = learner->trainer.skipped};
    TRY(file_path(folder, "%s/checkpoints", replay->save));
    TRY(file_make_dirs(folder));
    return checkpoint_save(folder, &learner->trainer, &state, learner->start_folder, UINT32_MAX,
                           path, sizeof path);
}

/* Elements of the parameter row that differ, and the first of them. */
static int64_t count_different(const struct parameter *row, const float *own, const float *recorded,
                               int64_t *first)
{
    int64_t count = 0;
    for (int64_t i = row->offset; i < row->offset + row->count; i++)
        if (memcmp(&own[i], &recorded[i], sizeof own[i]) != 0 && count++ == 0)
            *first = i - row->offset;
    return count;
}

/* With a checkpoint of the version the first parameter that differs has a name. */
static void name_difference(struct learner *learner, const struct learner_replay *replay)
{
    const struct parameter_table *table = model_parameters(learner->trainer.model);
    const char *checkpoints = replay->run_checkpoints;
    char folder[FILE_PATH_MAX];
    float *own = memory_array((size_t)table->elements, sizeof *own);
    float *recorded = memory_array((size_t)table->elements, sizeof *recorded);
    if (own != NULL && recorded != NULL && checkpoints[0] != '\0' &&
        file_path(folder, "%s/step_%" PRIu64 "/hf", checkpoints, learner->version) == STATUS_OK &&
        file_exists(folder) &&
        model_folder_load(folder, &learner->trainer.shape, table, recorded) == STATUS_OK &&
        trainer_read(&learner->trainer, ARRAY_MASTER, own) == STATUS_OK) {
        for (int64_t r = 0; r < table->count; r++) {
            int64_t first = 0, count = count_different(&table->rows[r], own, recorded, &first);
            if (count == 0)
                continue;
            int64_t at = table->rows[r].offset + first;
            fprintf(replay->out,
                    "first difference: %s, element %" PRId64
                    ": %.9g, in the checkpoint %.9g; %" PRId64 " of its %" PRId64
                    " elements differ\n",
                    table->rows[r].name, first, (double)own[at], (double)recorded[at], count,
                    table->rows[r].count);
            break;
        }
    }
    memory_free(own);
    memory_free(recorded);
}

/* *equal: it has the registered digest. NOT_FOUND: none is registered yet. */
static enum status compare(struct learner *learner, const struct learner_replay *replay,
                           uint64_t registered, bool *equal)
{
    uint64_t own = learner->trainer.weights.digest;
    if (registered == 0)
        return FAIL(STATUS_NOT_FOUND,
                    "step %" PRIu64 " has digest %016" PRIx64
                    " here; the run has planned it and not registered it yet",
                    learner->version, own);
    *equal = own == registered;
    fprintf(replay->out, "step %" PRIu64 ": digest %016" PRIx64 ", registered %016" PRIx64 ": %s\n",
            learner->version, own, registered, *equal ? "equal" : "DIFFERENT");
    if (!*equal)
        name_difference(learner, replay);
    return STATUS_OK;
}

/* ---- steps ---- */

/* *last: the file is over. */
static enum status replay_one(struct learner *learner, struct tape *tape, uint64_t *registered,
                              bool *last)
{
    struct message message;
    arena_reset(learner->arena);
    TRY(tape_next(tape, learner->arena, &message));
    *last = message.type == MESSAGE_NONE;
    if (*last)
        return STATUS_OK;
    if (message.type != MESSAGE_version_register)
        return FAIL(STATUS_CORRUPT, "%s: %s where a version is due", tape->path,
                    message_name(message.type));
    *registered = message.version_register.digest;
    TRY(tape_expect(tape, learner->arena, MESSAGE_plan, &message));
    struct plan plan = message.plan;
    struct group_data *groups = arena_array(learner->arena, plan.group_count, sizeof *groups);
    if (groups == NULL)
        return FAIL(STATUS_LIMIT, "a plan of %u groups does not fit", plan.group_count);
    for (uint32_t g = 0; g < plan.group_count; g++) {
        TRY(tape_expect(tape, learner->arena, MESSAGE_group_data, &message));
        groups[g] = message.group_data;
    }
    struct train_stats stats;
    TRY(learner_train(learner, &plan, groups, &stats));
    learner->version = learner->trainer.weights.version = plan.version;
    learner->branch = plan.branch;
    learner->mid_plan = false;
    return STATUS_OK;
}

/* The versions after the first that differs come from other weights and say nothing. */
static enum status replay_all(struct learner *learner, const struct learner_replay *replay,
                              struct tape *tape, bool *equal)
{
    struct message base;
    TRY(tape_expect(tape, learner->arena, MESSAGE_version_register, &base));
    TRY(load(learner, replay, &base.version_register));
    for (bool last = false; *equal;) {
        uint64_t registered = 0;
        TRY(replay_one(learner, tape, &registered, &last));
        if (last)
            break;
        TRY(compare(learner, replay, registered, equal));
        if (*equal)
            TRY(save(learner, replay));
    }
    learner->finished = true;
    return STATUS_OK;
}

enum status learner_replay(const struct learner_options *options,
                           const struct learner_replay *replay, bool *equal)
{
    struct learner *learner = NULL;
    struct tape tape;
    *equal = true;
    TRY(tape_open(&tape, replay->file));
    enum status status = learner_make(&learner, options);
    if (status == STATUS_OK)
        status = replay_all(learner, replay, &tape, equal);
    learner_destroy(&learner);
    tape_close(&tape);
    return status;
}

/* ---- the program ---- */

static const char *word(const char *text)
{
    return strcmp(text, "-") == 0 ? "" : text;
}

int learner_replay_main(int argc, char **argv, FILE *out)
{
    enum { WORDS = 5 };
    if (argc <= WORDS) {
        fputs("usage: weir-learner replay FILE CHECKPOINT RUN_CHECKPOINTS SAVE VERSIONS --config "
              "FILE ... (- for none)\n",
              stderr);
        return EXIT_CODE_USAGE;
    }
    struct program program;
    struct learner_replay replay = {.file = argv[1],
                                    .checkpoint = word(argv[2]),
                                    .run_checkpoints = word(argv[3]),
                                    .save = word(argv[4]),
                                    .versions = word(argv[5]),
                                    .out = out};
    int code = program_start(&program, argc - WORDS, argv + WORDS, ROLE_NAME_LEARNER,
                             "Trains steps of a run once more.");
    if (code >= 0)
        return code;
    struct learner_options options = {.settings = &program.settings,
                                      .endpoint = "",
                                      .run = program.run,
                                      .folder = program.run_folder};
    bool equal = true;
    enum status status = learner_replay(&options, &replay, &equal);
    fflush(out);
    code = program_end(&program, status);
    return status == STATUS_OK && !equal ? EXIT_CODE_FAILED : code;
}
