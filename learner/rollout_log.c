#include "learner/rollout_log.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/arena.h"
#include "core/check.h"
#include "core/checksum.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/packed.h"
#include "core/wait.h"
#include "learner/rollout_lines.h"
#include "learner/shaping.h"
#include "learner/token_results.h"

enum {
    PUT_WAIT_MS = 1000,  /* for the step before */
    FLUSH_WAIT_MS = 5000 /* for all; a disk that takes longer must not hold the training up */
};
#define LINES_ARENA_BYTES ((size_t)64 << 30)

/* Lines whose arrays live in an arena. */
struct lines {
    struct arena *arena;
    struct rollout_line *all;
    uint32_t count;
    uint64_t step;
};

struct rollout_log {
    char folder[FILE_PATH_MAX];
    uint64_t seed, steps_kept;
    uint64_t tokens;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t mutex; /* guards busy and closing */
    pthread_cond_t wake, done;
    bool busy, closing; /* busy: `lines` belong to the thread */
    bool late;          /* of the caller: the last wait ended without the file */
    struct lines lines;
    struct buffer text; /* of the thread */
};

/* ---- a step becomes lines ---- */

struct place {
    uint32_t group, sample; /* of a sequence */
    const struct train_sequence *sequence;
};

static int by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    return (x->sample > y->sample) - (x->sample < y->sample);
}

/* The admitted sequences of the step in the order of groups and samples; most are there already. */
static struct place *places_of(const struct rollout_step *step, struct arena *arena)
{
    struct place *places = arena_array(arena, step->sequence_count + (size_t)1, sizeof *places);
    for (uint32_t i = 0; places != NULL && i < step->sequence_count; i++)
        places[i] = (struct place){.group = step->sequences[i].group,
                                   .sample = step->sequences[i].sample,
                                   .sequence = &step->sequences[i]};
    if (places != NULL)
        qsort(places, step->sequence_count, sizeof *places, by_place);
    return places;
}

/* The same member of a line, with arrays of the arena. */
static enum status keep(struct arena *arena, struct rollout_line *line)
{
    struct group_sample *sample = &line->sample;
    size_t count = sample->count, size = count * sizeof(float);
    sample->ids = arena_copy(arena, sample->ids, count * sizeof *sample->ids);
    sample->logprobs = arena_copy(arena, sample->logprobs, size);
    sample->mask = arena_copy(arena, sample->mask, size);
    sample->pieces =
        arena_copy(arena, sample->pieces, sample->piece_count * sizeof *sample->pieces);
    bool kept = sample->ids != NULL && sample->logprobs != NULL && sample->mask != NULL &&
                sample->pieces != NULL;
    if (line->logprob != NULL) {
        line->logprob = arena_copy(arena, line->logprob, size);
        line->entropy = arena_copy(arena, line->entropy, size);
        line->weight = arena_copy(arena, line->weight, size);
        line->clipped = arena_copy(arena, line->clipped, count);
        kept = kept && line->logprob != NULL && line->entropy != NULL && line->weight != NULL &&
               line->clipped != NULL;
    }
    return kept ? STATUS_OK : FAIL(STATUS_LIMIT, "no room for the tokens of rollouts");
}

static void describe(const struct rollout_step *step, const struct group_sample *sample,
                     const struct train_sequence *sequence, struct rollout_line *line)
{
    struct shaped_reward shaped =
        shaping_of(step->loss, step->response_cap, sample->finish, sample->count, sample->reward);
    line->sample = *sample;
    line->shaped = shaped.reward;
    line->masked = sequence == NULL;
    line->advantage = sequence != NULL ? sequence->advantage : (double)NAN;
    const struct token_results *results = sequence != NULL ? sequence->results : NULL;
    if (results == NULL || !results->filled)
        return;
    line->logprob = results->logprob;
    line->entropy = results->entropy;
    line->weight = results->weight;
    line->clipped = results->clipped;
}

static enum status keep_group(const struct rollout_step *step, uint32_t g,
                              const struct place **place, const struct place *end,
                              struct lines *lines)
{
    const struct group_data *group = &step->groups[g];
    const uint32_t *prompt = arena_copy(lines->arena, group->prompt_ids,
                                        group->prompt_count * sizeof *group->prompt_ids);
    const char *source = arena_text(lines->arena, group->source != NULL ? group->source : "");
    if (prompt == NULL || source == NULL)
        return FAIL(STATUS_LIMIT, "no room for a prompt of %u tokens", group->prompt_count);
    for (uint32_t s = 0; s < group->sample_count; s++) {
        while (*place < end &&
               ((*place)->group < g || ((*place)->group == g && (*place)->sample < s)))
            (*place)++;
        bool admitted = *place < end && (*place)->group == g && (*place)->sample == s;
        struct rollout_line *line = &lines->all[lines->count++];
        *line = (struct rollout_line){.step = step->step,
                                      .group = group->group_id,
                                      .prompt_id = group->prompt_id,
                                      .source = source,
                                      .prompt_count = group->prompt_count,
                                      .prompt_ids = prompt};
        describe(step, &group->samples[s], admitted ? (*place)->sequence : NULL, line);
        TRY(keep(lines->arena, line));
    }
    return STATUS_OK;
}

static enum status lines_of(const struct rollout_step *step, struct lines *lines)
{
    size_t samples = 0;
    arena_reset(lines->arena);
    lines->count = 0;
    lines->step = step->step;
    for (uint32_t g = 0; g < step->group_count; g++)
        samples += step->chosen[g] ? step->groups[g].sample_count : 0;
    struct place *places = places_of(step, lines->arena);
    lines->all = arena_array(lines->arena, samples + 1, sizeof *lines->all);
    if (lines->all == NULL || places == NULL)
        return FAIL(STATUS_LIMIT, "no room for %zu rollouts", samples);
    const struct place *place = places, *end = places + step->sequence_count;
    for (uint32_t g = 0; g < step->group_count; g++)
        if (step->chosen[g])
            TRY(keep_group(step, g, &place, end, lines));
    return STATUS_OK;
}

static enum status lines_text(const struct lines *lines, struct buffer *text)
{
    for (uint32_t i = 0; i < lines->count; i++)
        TRY(rollout_line_put(text, &lines->all[i]));
    return STATUS_OK;
}

enum status rollout_log_text(const struct rollout_step *step, struct buffer *text)
{
    struct lines lines = {0};
    TRY(arena_create(&lines.arena, LINES_ARENA_BYTES));
    enum status status = lines_of(step, &lines);
    if (status == STATUS_OK)
        status = lines_text(&lines, text);
    arena_destroy(&lines.arena);
    return status;
}

/* ---- files ---- */

static enum status path_of(const struct rollout_log *log, uint64_t step, char path[FILE_PATH_MAX])
{
    return file_path(path, "%s/step_%06" PRIu64 ".jsonl.zst", log->folder, step);
}

/* Removes the files of steps in [from, to]. */
static enum status remove_steps(const struct rollout_log *log, uint64_t from, uint64_t to)
{
    DIR *folder = opendir(log->folder);
    if (folder == NULL)
        return FAIL(STATUS_IO, "%s cannot be listed: %s", log->folder, strerror(errno));
    const struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        uint64_t step = 0;
        int end = 0;
        if (sscanf(entry->d_name, "step_%" SCNu64 ".jsonl.zst%n", &step, &end) == 1 && end > 0 &&
            step >= from && step <= to)
            (void)unlinkat(dirfd(folder), entry->d_name, 0);
    }
    closedir(folder);
    return STATUS_OK;
}

static enum status write_lines(struct rollout_log *log)
{
    char path[FILE_PATH_MAX], old[FILE_PATH_MAX];
    buffer_clear(&log->text);
    TRY(lines_text(&log->lines, &log->text));
    TRY(path_of(log, log->lines.step, path));
    TRY(packed_write(path, &log->text));
    if (log->lines.step <= log->steps_kept)
        return STATUS_OK;
    TRY(path_of(log, log->lines.step - log->steps_kept, old));
    (void)unlink(old);
    return STATUS_OK;
}

/* ---- the thread ---- */

static void *write_steps(void *self)
{
    struct rollout_log *log = self;
    wait_unlisted();
    pthread_mutex_lock(&log->mutex);
    for (;;) {
        while (!log->busy && !log->closing)
            if (wait_condition("rollouts to write", "learner", INT64_MAX, &log->wake,
                               &log->mutex) != STATUS_OK)
                break;
        if (!log->busy)
            break;
        pthread_mutex_unlock(&log->mutex);
        enum status status = write_lines(log);
        if (status != STATUS_OK)
            LOG_FAILURE("rollouts", "a file of rollouts is not written", status);
        pthread_mutex_lock(&log->mutex);
        log->busy = false;
        pthread_cond_signal(&log->done);
    }
    pthread_mutex_unlock(&log->mutex);
    return NULL;
}

static enum status await_written(struct rollout_log *log, int64_t limit_ms)
{
    int64_t deadline_ns = clock_after_ms(clock_now_ns(), limit_ms);
    enum status status = STATUS_OK;
    pthread_mutex_lock(&log->mutex);
    while (log->busy && status == STATUS_OK)
        status = wait_condition("rollouts written", "disk", deadline_ns, &log->done, &log->mutex);
    log->late = log->busy;
    pthread_mutex_unlock(&log->mutex);
    return log->late ? status : STATUS_OK;
}

enum status rollout_log_flush(struct rollout_log *log)
{
    return log != NULL ? await_written(log, FLUSH_WAIT_MS) : STATUS_OK;
}

enum status rollout_log_put(struct rollout_log *log, const struct rollout_step *step)
{
    if (log == NULL)
        return STATUS_OK;
    TRY(await_written(log, log->late ? 0 : PUT_WAIT_MS));
    TRY(lines_of(step, &log->lines));
    pthread_mutex_lock(&log->mutex);
    log->busy = true;
    pthread_cond_signal(&log->wake);
    pthread_mutex_unlock(&log->mutex);
    return STATUS_OK;
}

/* ---- choice ---- */

struct drawn {
    uint64_t order, tokens;
    uint32_t group;
};

static int by_order(const void *a, const void *b)
{
    const struct drawn *x = a, *y = b;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return (x->group > y->group) - (x->group < y->group);
}

static uint64_t tokens_of(const struct group_data *group)
{
    uint64_t tokens = 0;
    for (uint32_t s = 0; s < group->sample_count; s++)
        tokens += group->samples[s].count;
    return tokens;
}

void rollout_log_choose(const struct rollout_log *log, const struct plan *plan,
                        const struct group_data *groups, bool *chosen)
{
    uint32_t count = plan->group_count, smallest = 0;
    uint64_t left = log != NULL ? log->tokens : 0;
    memset(chosen, 0, count * sizeof *chosen);
    struct drawn *drawn = log != NULL && count > 0 ? memory_array(count, sizeof *drawn) : NULL;
    if (drawn == NULL)
        return;
    for (uint32_t g = 0; g < count; g++) {
        const uint64_t key[3] = {log->seed, plan->version, groups[g].group_id};
        drawn[g] = (struct drawn){hash64(key, sizeof key, 0), tokens_of(&groups[g]), g};
    }
    qsort(drawn, count, sizeof *drawn, by_order);
    bool any = false;
    for (uint32_t i = 0; i < count; i++) {
        smallest = drawn[i].tokens < drawn[smallest].tokens ? i : smallest;
        if (drawn[i].tokens > left)
            continue;
        chosen[drawn[i].group] = any = true;
        left -= drawn[i].tokens;
    }
    if (!any)
        chosen[drawn[smallest].group] = true;
    memory_free(drawn);
}

/* ---- life ---- */

enum status rollout_log_open(struct rollout_log **out, const char *folder,
                             const struct settings *settings, uint64_t version)
{
    *out = NULL;
    if (settings->metrics.rollout_tokens == 0)
        return STATUS_OK;
    struct rollout_log *log = memory_alloc(sizeof *log);
    if (log == NULL)
        return FAIL(STATUS_NO_MEMORY, "rollout log");
    log->seed = settings->run.seed;
    log->tokens = settings->metrics.rollout_tokens;
    log->steps_kept = settings->metrics.rollout_steps;
    pthread_mutex_init(&log->mutex, NULL);
    buffer_init(&log->text, 0);
    enum status status;
    TRY_GOTO(fail, file_path(log->folder, "%s/rollouts", folder));
    TRY_GOTO(fail, file_make_dirs(log->folder));
    TRY_GOTO(fail, remove_steps(log, version + 1, UINT64_MAX));
    if (version > log->steps_kept)
        TRY_GOTO(fail, remove_steps(log, 0, version - log->steps_kept));
    TRY_GOTO(fail, arena_create(&log->lines.arena, LINES_ARENA_BYTES));
    TRY_GOTO(fail, wait_condition_init(&log->wake));
    TRY_GOTO(fail, wait_condition_init(&log->done));
    if (pthread_create(&log->thread, NULL, write_steps, log) != 0) {
        status = FAIL(STATUS_LIMIT, "no thread for rollout files: %s", strerror(errno));
        goto fail;
    }
    log->has_thread = true;
    *out = log;
    return STATUS_OK;
fail:
    rollout_log_close(&log);
    return status;
}

void rollout_log_close(struct rollout_log **pointer)
{
    struct rollout_log *log = *pointer;
    if (log == NULL)
        return;
    if (log->has_thread) {
        pthread_mutex_lock(&log->mutex);
        log->closing = true;
        pthread_cond_signal(&log->wake);
        pthread_mutex_unlock(&log->mutex);
        enum status status = rollout_log_flush(log);
        *pointer = NULL;
        if (status != STATUS_OK) { /* its thread hangs in the disk, with what it uses */
            LOG_FAILURE("rollouts", "a file of rollouts is left behind", status);
            pthread_detach(log->thread);
            return;
        }
        pthread_join(log->thread, NULL);
    }
    buffer_free(&log->text);
    arena_destroy(&log->lines.arena);
    memory_free(log);
    *pointer = NULL;
}
