#include "learner/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/checksum.h"
#include "core/fault.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "learner/manifest.h"
#include "model/folder.h"

/* Format 1 had no manifest: its config and tokenizer files are not covered by any digest. */
enum { CHECKPOINT_FORMAT = 2 };

/* What checkpoint_newest gave last: the load that follows need not look at every byte again. One load, one thread. */
static char verified[FILE_PATH_MAX];

/* m and v of the flat layout. */
static enum status read_state_arrays(struct trainer *trainer, float *host[2])
{
    size_t bytes = (size_t)model_parameters(trainer->model)->elements * sizeof(float);
    for (int i = 0; i < 2; i++) {
        host[i] = memory_alloc(bytes);
        if (host[i] == NULL)
            return FAIL(STATUS_NO_MEMORY, "%zu bytes for optimizer state", bytes);
        TRY(trainer_read(trainer, i == 0 ? ARRAY_M : ARRAY_V, host[i]));
    }
    return STATUS_OK;
}

static enum status write_optimizer(const char *folder, struct trainer *trainer, uint64_t digests[2])
{
    int64_t elements = model_parameters(trainer->model)->elements;
    float *host[2] = {NULL, NULL};
    char path[FILE_PATH_MAX];
    enum status status;
    TRY_GOTO(out, read_state_arrays(trainer, host));
    for (int i = 0; i < 2; i++)
        digests[i] = weight_digest(host[i], (size_t)elements * sizeof(float), 0);
    struct safetensors_row rows[2] = {
        {.name = "m", .dtype = ST_F32, .dims = 1, .shape = {elements}, .values = host[0]},
        {.name = "v", .dtype = ST_F32, .dims = 1, .shape = {elements}, .values = host[1]}};
    TRY_GOTO(out, file_path(path, "%s/optimizer.safetensors", folder));
    status = safetensors_write(path, rows, 2, NULL, NULL, 0);
out:
    memory_free(host[0]);
    memory_free(host[1]);
    return status;
}

static enum status write_state(const char *folder, const struct checkpoint_state *state,
                               const uint64_t digests[2], uint64_t layout_hash)
{
    char path[FILE_PATH_MAX], text[1024];
    int size = snprintf(text, sizeof text,
                        "{\n  \"format\": %d,\n  \"version\": %" PRIu64
                        ",\n  \"branch\": %u,\n  \"updates\": %" PRIu64 ",\n  \"skipped\": %" PRIu64
                        ",\n  \"layout_hash\": \"%016" PRIx64 "\",\n  \"digest\": \"%016" PRIx64
                        "\",\n  \"digest_m\": \"%016" PRIx64 "\",\n  \"digest_v\": \"%016" PRIx64
                        "\"\n}\n",
                        CHECKPOINT_FORMAT, state->version, state->branch, state->updates,
                        state->skipped, layout_hash, state->digest, digests[0], digests[1]);
    TRY(file_path(path, "%s/state.json", folder));
    return file_replace(path, text, (size_t)size);
}

/* Versions of the complete checkpoints of a folder, newest first; at most `max`. */
static size_t list_versions(const char *folder, uint64_t *versions, size_t max)
{
    size_t count = 0;
    DIR *directory = opendir(folder);
    if (directory == NULL)
        return 0;
    for (struct dirent *entry; count < max && (entry = readdir(directory)) != NULL;) {
        char *end = NULL;
        if (strncmp(entry->d_name, "step_", 5) != 0)
            continue;
        uint64_t version = strtoull(entry->d_name + 5, &end, 10);
        if (end == entry->d_name + 5 || *end != '\0')
            continue;
        size_t at = count++;
        for (; at > 0 && versions[at - 1] < version; at--)
            versions[at] = versions[at - 1];
        versions[at] = version;
    }
    closedir(directory);
    return count;
}

enum { VERSIONS_MAX = 4096 };

/* Renamed before it is emptied, so that a kill leaves no half of it under its name. */
static enum status remove_checkpoint(const char *folder, const char *path)
{
    char removed[FILE_PATH_MAX];
    TRY(file_path(removed, "%s/removed", folder));
    TRY(file_remove_tree(removed));
    if (rename(path, removed) != 0)
        return FAIL(STATUS_IO, "rename %s to %s: %s", path, removed, strerror(errno));
    return file_remove_tree(removed);
}

/* Newer ones are damaged or of a dead branch (we went on from an older one): they do not count. */
static void remove_old(const char *folder, uint64_t newest, uint32_t keep)
{
    static uint64_t versions[VERSIONS_MAX]; /* one learner thread a process */
    size_t count = list_versions(folder, versions, VERSIONS_MAX);
    uint32_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (versions[i] > newest || kept++ < keep)
            continue;
        char path[FILE_PATH_MAX];
        enum status status = file_path(path, "%s/step_%" PRIu64, folder, versions[i]);
        if (status == STATUS_OK)
            status = remove_checkpoint(folder, path);
        if (status != STATUS_OK) /* the new one stands: no reason to stop */
            LOG_FAILURE("checkpoint", "an old one stays", status);
    }
}

static enum status write_model(const char *partial, struct trainer *trainer, const char *like)
{
    const struct parameter_table *table = model_parameters(trainer->model);
    char model[FILE_PATH_MAX];
    TRY(file_path(model, "%s/hf", partial));
    float *flat = memory_array((size_t)table->elements, sizeof *flat);
    if (flat == NULL)
        return FAIL(STATUS_NO_MEMORY, "%" PRId64 " parameters", table->elements);
    enum status status = trainer_read(trainer, ARRAY_MASTER, flat);
    const struct settings *settings = trainer->settings;
    struct model_generation generation = {.temperature = settings->sampling.temperature,
                                          .top_p = settings->sampling.top_p,
                                          .top_k = settings->sampling.top_k};
    struct model_folder_content content = {.shape = &trainer->shape,
                                           .table = table,
                                           .flat = flat,
                                           .dtype = ST_F32,
                                           .like = like,
                                           .generation = &generation};
    if (status == STATUS_OK)
        status = model_folder_write(model, &content);
    memory_free(flat);
    return status;
}

static enum status write_parts(const char *partial, struct trainer *trainer,
                               const struct checkpoint_state *state, const char *like)
{
    uint64_t digests[2] = {0};
    TRY(file_make_dirs(partial));
    FAULT("checkpoint.begun");
    TRY(write_model(partial, trainer, like));
    FAULT("checkpoint.model");
    TRY(write_optimizer(partial, trainer, digests));
    FAULT("checkpoint.optimizer");
    TRY(write_state(partial, state, digests, model_parameters(trainer->model)->layout_hash));
    TRY(manifest_write(partial));
    TRY(file_sync_dir(partial));
    FAULT("checkpoint.written");
    return STATUS_OK;
}

/* One of the same version is there only if it was passed over as damaged at the start: loading takes the newest
 * whole one, and a learner trains on from there. It is exchanged, so that no moment lacks both. */
static enum status take_name(const char *folder, const char *partial, const char *path)
{
    verified[0] = '\0';
    if (rename(partial, path) == 0)
        return STATUS_OK;
    int error = errno;
    if (error == EEXIST || error == ENOTEMPTY || error == ENOTDIR) {
        if (renameat2(AT_FDCWD, partial, AT_FDCWD, path, RENAME_EXCHANGE) == 0) {
            TRY(file_sync_dir(folder)); /* or the removal may reach the disk before the exchange */
            return file_remove_tree(partial);
        }
        TRY(file_remove_tree(path)); /* a file system that cannot exchange */
        if (rename(partial, path) == 0)
            return STATUS_OK;
        error = errno;
    }
    return FAIL(STATUS_IO, "rename %s to %s: %s", partial, path, strerror(error));
}

/* Frees the disk again; the sentence of what went wrong stays the last one. */
static enum status give_up(const char *partial, enum status status)
{
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", status_last_error());
    if (file_remove_tree(partial) != STATUS_OK)
        LOG_WARN("checkpoint", "the unfinished folder stays", "path=%s", partial);
    return FAIL(status, "checkpoint: %s", sentence);
}

enum status checkpoint_save(const char *folder, struct trainer *trainer,
                            const struct checkpoint_state *state, const char *like, uint32_t keep,
                            char *out, size_t out_size)
{
    char partial[FILE_PATH_MAX], path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/step_%" PRIu64, folder, state->version));
    TRY(file_path(partial, "%s/partial", folder));
    TRY(file_remove_tree(partial));
    enum status status = write_parts(partial, trainer, state, like);
    if (status != STATUS_OK)
        return give_up(partial, status);
    TRY(take_name(folder, partial, path));
    FAULT("checkpoint.renamed");
    TRY(file_sync_dir(folder));
    char above[FILE_PATH_MAX];
    TRY(file_path(above, "%s/..", folder));
    TRY(file_sync_dir(above)); /* the folder itself may be new */
    FAULT("checkpoint.saved");
    snprintf(out, out_size, "%s", path);
    remove_old(folder, state->version, keep);
    return STATUS_OK;
}

static enum status hex_member(const json_t *root, const char *key, const char *path,
                              uint64_t *value)
{
    const char *text = json_string_value(json_object_get(root, key));
    char *end = NULL;
    if (text == NULL || strlen(text) != 16 || (*value = strtoull(text, &end, 16), *end != '\0'))
        return FAIL(STATUS_CORRUPT, "%s: \"%s\" is no hexadecimal text", path, key);
    return STATUS_OK;
}

static enum status read_state(const char *folder, struct checkpoint_state *state,
                              uint64_t digests[2], uint64_t *layout_hash, json_int_t *format)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/state.json", folder));
    json_error_t error;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL)
        return FAIL(file_exists(path) ? STATUS_CORRUPT : STATUS_NOT_FOUND, "%s:%d: %s", path,
                    error.line, error.text);
    enum status status = STATUS_OK;
    *format = json_integer_value(json_object_get(root, "format"));
    if (*format < 1 || *format > CHECKPOINT_FORMAT)
        status = FAIL(STATUS_CORRUPT, "%s: format is %lld, known are 1 to %d", path,
                      (long long)*format, CHECKPOINT_FORMAT);
    const char *names[] = {"version", "branch", "updates", "skipped"};
    uint64_t numbers[4] = {0};
    for (int i = 0; status == STATUS_OK && i < 4; i++) {
        const json_t *value = json_object_get(root, names[i]);
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            status = FAIL(STATUS_CORRUPT, "%s: \"%s\" is no whole number", path, names[i]);
        else
            numbers[i] = (uint64_t)json_integer_value(value);
    }
    if (status == STATUS_OK)
        status = hex_member(root, "digest", path, &state->digest);
    if (status == STATUS_OK)
        status = hex_member(root, "digest_m", path, &digests[0]);
    if (status == STATUS_OK)
        status = hex_member(root, "digest_v", path, &digests[1]);
    if (status == STATUS_OK)
        status = hex_member(root, "layout_hash", path, layout_hash);
    json_decref(root);
    state->version = numbers[0];
    state->branch = (uint32_t)numbers[1];
    state->updates = numbers[2];
    state->skipped = numbers[3];
    return status;
}

/* Every byte against the manifest, then state.json. */
static enum status read_whole(const char *folder, struct checkpoint_state *state,
                              uint64_t digests[2], uint64_t *layout_hash)
{
    json_int_t format = 0;
    enum status manifest = STATUS_OK;
    if (strcmp(verified, folder) != 0)
        manifest = manifest_verify(folder);
    if (manifest != STATUS_OK && manifest != STATUS_NOT_FOUND)
        return manifest;
    TRY(read_state(folder, state, digests, layout_hash, &format));
    if (manifest == STATUS_OK) {
        snprintf(verified, sizeof verified, "%s", folder);
        return STATUS_OK;
    }
    if (format > 1)
        return FAIL(STATUS_CORRUPT, "%s/manifest is missing", folder);
    LOG_WARN("checkpoint",
             "of an older format without a manifest: weights and optimizer state are checked by "
             "their digests, config.json and tokenizer files are not",
             "path=%s", folder);
    return STATUS_OK;
}

bool checkpoint_stands(const char *folder, char *path, size_t path_size)
{
    static uint64_t versions[VERSIONS_MAX];
    if (list_versions(folder, versions, VERSIONS_MAX) == 0)
        return false;
    snprintf(path, path_size, "%s/step_%" PRIu64, folder, versions[0]);
    return true;
}

enum status checkpoint_newest(const char *folder, uint64_t below, char *path, size_t path_size,
                              uint64_t *version)
{
    static uint64_t versions[VERSIONS_MAX];
    size_t count = list_versions(folder, versions, VERSIONS_MAX);
    for (size_t i = 0; i < count; i++) {
        struct checkpoint_state state;
        uint64_t digests[2], layout_hash;
        char candidate[FILE_PATH_MAX];
        if (versions[i] >= below)
            continue;
        TRY(file_path(candidate, "%s/step_%" PRIu64, folder, versions[i]));
        verified[0] = '\0';
        enum status status = read_whole(candidate, &state, digests, &layout_hash);
        if (status == STATUS_OK && state.version != versions[i])
            status = FAIL(STATUS_CORRUPT, "%s/state.json is of version %" PRIu64, candidate,
                          state.version);
        if (status == STATUS_OK) {
            snprintf(path, path_size, "%s", candidate);
            *version = versions[i];
            return STATUS_OK;
        }
        LOG_FAILURE("checkpoint", "passed over", status);
    }
    return FAIL(STATUS_NOT_FOUND, "%s holds no checkpoint", folder);
}

static enum status load_array(const struct safetensors *file, const char *path, const char *name,
                              uint64_t digest, struct trainer *trainer, enum trainer_array array)
{
    int64_t elements = model_parameters(trainer->model)->elements;
    const struct safetensor *tensor = safetensors_find(file, name);
    if (tensor == NULL || tensor->dtype != ST_F32 || tensor->count != elements)
        return FAIL(STATUS_CORRUPT, "%s: tensor \"%s\" of %" PRId64 " F32 values is not there",
                    path, name, elements);
    uint64_t found = weight_digest(tensor->bytes, tensor->size, 0);
    if (found != digest)
        return FAIL(STATUS_CORRUPT,
                    "%s: digest of \"%s\" is %016" PRIx64 ", state.json says %016" PRIx64, path,
                    name, found, digest);
    return trainer_write(trainer, array, (const float *)(const void *)tensor->bytes);
}

enum status checkpoint_load(const char *folder, struct trainer *trainer,
                            struct checkpoint_state *state)
{
    uint64_t digests[2], layout_hash;
    enum status whole = read_whole(folder, state, digests, &layout_hash);
    verified[0] = '\0';
    if (whole != STATUS_OK)
        return whole;
    if (layout_hash != model_parameters(trainer->model)->layout_hash)
        return FAIL(STATUS_CORRUPT,
                    "%s: parameter layout %016" PRIx64 ", the model's is %016" PRIx64, folder,
                    layout_hash, model_parameters(trainer->model)->layout_hash);
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/optimizer.safetensors", folder));
    struct safetensors *file = NULL;
    TRY(safetensors_open(&file, path));
    enum status status = load_array(file, path, "m", digests[0], trainer, ARRAY_M);
    if (status == STATUS_OK)
        status = load_array(file, path, "v", digests[1], trainer, ARRAY_V);
    safetensors_close(&file);
    if (status != STATUS_OK)
        return status;
    trainer->updates = state->updates;
    trainer->skipped = state->skipped;
    TRY(trainer_refresh(trainer, state->version));
    if (trainer->weights.digest != state->digest)
        return FAIL(STATUS_CORRUPT,
                    "%s/hf: weight digest is %016" PRIx64 ", state.json says %016" PRIx64, folder,
                    trainer->weights.digest, state->digest);
    return STATUS_OK;
}
