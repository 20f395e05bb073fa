#include "learner/eval_folder.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/checksum.h"
#include "core/fault.h"
#include "core/log.h"
#include "core/memory.h"
#include "model/folder.h"

/* ---- one folder ---- */

/* Of another branch: its reports stay, under another name. */
static enum status move_away(const char *path)
{
    struct weights_version old = {0};
    char other[FILE_PATH_MAX];
    if (!weights_version_read(path, &old))
        return file_remove_tree(path);
    TRY(file_path(other, "%s.branch_%u", path, old.branch));
    TRY(file_remove_tree(other));
    return rename(path, other) == 0
               ? STATUS_OK
               : FAIL(STATUS_IO, "rename %s to %s: %s", path, other, strerror(errno));
}

static enum status take_name(const struct eval_writer *writer, const struct eval_job *job,
                             const char *partial)
{
    char path[FILE_PATH_MAX];
    TRY(weights_version_write(partial, &job->of));
    TRY(file_sync_dir(partial));
    FAULT("eval.written");
    TRY(file_path(path, "%s/step_%" PRIu64, writer->root, job->of.version));
    if (file_exists(path))
        TRY(move_away(path));
    if (rename(partial, path) != 0)
        return FAIL(STATUS_IO, "rename %s to %s: %s", partial, path, strerror(errno));
    return file_sync_dir(writer->root);
}

static enum status begin_partial(const struct eval_writer *writer, const char *name,
                                 char partial[FILE_PATH_MAX])
{
    TRY(file_path(partial, "%s/%s", writer->root, name));
    TRY(file_remove_tree(partial));
    return file_make_dirs(partial);
}

static enum status write_weights(const struct eval_writer *writer)
{
    char partial[FILE_PATH_MAX], model[FILE_PATH_MAX];
    const struct trainer *trainer = writer->trainer;
    TRY(begin_partial(writer, "partial", partial));
    TRY(file_path(model, "%s/hf", partial));
    TRY(model_folder_save(model, &trainer->shape, model_parameters(trainer->model),
                          writer->job.flat, ST_F32, writer->like, 0));
    return take_name(writer, &writer->job, partial);
}

/* The files of a checkpoint are never written again, only removed: a second name keeps them. */
static enum status link_files(const char *from, const char *to)
{
    enum status status = STATUS_OK;
    DIR *directory = opendir(from);
    if (directory == NULL)
        return FAIL(STATUS_IO, "%s: %s", from, strerror(errno));
    for (struct dirent *entry; status == STATUS_OK && (entry = readdir(directory)) != NULL;) {
        char source[FILE_PATH_MAX], target[FILE_PATH_MAX];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        status = file_path(source, "%s/%s", from, entry->d_name);
        if (status == STATUS_OK)
            status = file_path(target, "%s/%s", to, entry->d_name);
        if (status == STATUS_OK && link(source, target) != 0)
            status = FAIL(STATUS_IO, "link %s to %s: %s", source, target, strerror(errno));
    }
    closedir(directory);
    return status;
}

/* Beside the thread, which may be writing an earlier version. */
static enum status link_checkpoint(const struct eval_writer *writer, const struct eval_job *job,
                                   const char *checkpoint)
{
    char partial[FILE_PATH_MAX], from[FILE_PATH_MAX], to[FILE_PATH_MAX];
    TRY(begin_partial(writer, "linked", partial));
    TRY(file_path(from, "%s/hf", checkpoint));
    TRY(file_path(to, "%s/hf", partial));
    TRY(file_make_dirs(to));
    TRY(link_files(from, to));
    TRY(file_sync_dir(to));
    return take_name(writer, job, partial);
}

/* ---- the thread ---- */

static void *write_job(void *self)
{
    struct eval_writer *writer = self;
    writer->status = write_weights(writer);
    if (writer->status != STATUS_OK)
        snprintf(writer->sentence, sizeof writer->sentence, "%s", status_last_error());
    atomic_store(&writer->done, true);
    return NULL;
}

/* The thread has ended, or is waited for. */
static void collect(struct eval_writer *writer)
{
    if (!writer->running)
        return;
    pthread_join(writer->thread, NULL);
    writer->running = false;
    memory_free(writer->job.flat);
    writer->job.flat = NULL;
    if (writer->status != STATUS_OK)
        alarms_raise(writer->alarms, "version %" PRIu64 " cannot be evaluated: %s",
                     writer->job.of.version, writer->sentence);
}

static void start_next(struct eval_writer *writer)
{
    if (writer->running || writer->waiting_count == 0)
        return;
    writer->job = writer->waiting[0];
    writer->waiting_count--;
    memmove(writer->waiting, writer->waiting + 1, writer->waiting_count * sizeof writer->job);
    atomic_store(&writer->done, false);
    int error = pthread_create(&writer->thread, NULL, write_job, writer);
    writer->running = error == 0;
    if (error == 0)
        return;
    memory_free(writer->job.flat);
    writer->job.flat = NULL;
    alarms_raise(writer->alarms, "version %" PRIu64 " cannot be evaluated: pthread_create: %s",
                 writer->job.of.version, strerror(error));
}

void eval_writer_turn(struct eval_writer *writer)
{
    if (writer->running && atomic_load(&writer->done))
        collect(writer);
    start_next(writer);
}

static void finish_all(struct eval_writer *writer)
{
    while (writer->running || writer->waiting_count > 0) {
        collect(writer);
        start_next(writer);
    }
}

static bool has_room(const struct eval_writer *writer, size_t bytes)
{
    uint32_t copies = writer->waiting_count + writer->running;
    return copies == 0 || (writer->waiting_count < EVAL_WAITING_MAX &&
                           bytes <= (size_t)EVAL_WAITING_BYTES_MAX / (writer->waiting_count + 1));
}

/* A copy of the weights that waits for the thread. */
static enum status add_copy(struct eval_writer *writer, struct trainer *trainer,
                            const struct eval_job *job)
{
    size_t elements = (size_t)model_parameters(trainer->model)->elements;
    struct eval_job copy = *job;
    if (!has_room(writer, elements * sizeof *copy.flat)) {
        writer->passed_over++;
        LOG_WARN("eval", "no folder: those before it are still being written",
                 "version=%" PRIu64 " writing=%" PRIu64 " passed_over=%" PRIu64, job->of.version,
                 writer->job.of.version, writer->passed_over);
        return STATUS_OK;
    }
    copy.flat = memory_array(elements, sizeof *copy.flat);
    if (copy.flat == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu parameters to evaluate", elements);
    enum status status = trainer_read(trainer, ARRAY_MASTER, copy.flat);
    if (status == STATUS_OK)
        writer->waiting[writer->waiting_count++] = copy;
    else
        memory_free(copy.flat);
    start_next(writer);
    return status;
}

/* ---- life ---- */

enum status eval_writer_open(struct eval_writer *writer, const char *run_folder, const char *like,
                             struct alarms *alarms)
{
    char path[FILE_PATH_MAX];
    *writer = (struct eval_writer){.alarms = alarms};
    TRY(file_path(writer->root, "%s/eval", run_folder));
    TRY(file_path(writer->like, "%s", like));
    TRY(file_make_dirs(writer->root));
    TRY(file_path(path, "%s/partial", writer->root));
    TRY(file_remove_tree(path));
    TRY(file_path(path, "%s/linked", writer->root));
    TRY(file_remove_tree(path));
    TRY(file_path(path, "%s/last.json", writer->root));
    return file_remove_tree(path);
}

void eval_writer_close(struct eval_writer *writer)
{
    finish_all(writer);
}

/* True: this version has its folder, or had it. */
static bool stands(const struct eval_writer *writer, const struct weights_version *version)
{
    char path[FILE_PATH_MAX];
    struct weights_version old;
    return file_path(path, "%s/step_%" PRIu64, writer->root, version->version) == STATUS_OK &&
           weights_version_read(path, &old) && old.digest == version->digest;
}

enum status eval_writer_put(struct eval_writer *writer, struct trainer *trainer,
                            const struct weights_version *version, const char *checkpoint,
                            bool must)
{
    if (must)
        finish_all(writer);
    eval_writer_turn(writer);
    if (stands(writer, version))
        return STATUS_OK;
    char numerics[256];
    model_numerics(trainer->model, numerics, sizeof numerics);
    struct eval_job job = {.of = *version};
    job.of.numerics = hash64(numerics, strlen(numerics), 0);
    writer->trainer = trainer;
    if (checkpoint[0] != '\0') {
        enum status status = link_checkpoint(writer, &job, checkpoint);
        if (status == STATUS_OK)
            return STATUS_OK;
        LOG_FAILURE("eval", "files of a checkpoint cannot be linked, they are written again",
                    status);
    }
    return add_copy(writer, trainer, &job);
}

void eval_writer_end(struct eval_writer *writer, uint64_t version)
{
    char path[FILE_PATH_MAX], text[64];
    finish_all(writer);
    int size = snprintf(text, sizeof text, "{\"version\": %" PRIu64 "}\n", version);
    enum status status = file_path(path, "%s/last.json", writer->root);
    if (status == STATUS_OK)
        status = file_replace(path, text, (size_t)size);
    if (status != STATUS_OK)
        LOG_FAILURE("eval", "the last version may not be evaluated", status);
}
