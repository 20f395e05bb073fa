#include "learner/follower.h"

#include <stdio.h>
#include <string.h>

#include "core/checksum.h"
#include "core/fault.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "learner/checkpoint.h"
#include "learner/token_results.h"
#include "learner/trainer.h"
#include "transport/monitor.h"

/* ---- a minibatch on the wire: the objective, then each sequence with its arrays ----
 * Both ends are one program on one kind of machine, so numbers travel as they are in memory. */

struct sequence_head {
    uint32_t prompt_count, response_count, group, has_old, has_current, has_streamed, wanted;
    float temperature;
    double advantage, scale;
};

static enum status put(struct buffer *bytes, const void *values, size_t size)
{
    static const char zeros[8];
    TRY(buffer_append(bytes, values, size));
    return buffer_append(bytes, zeros, (8 - size % 8) % 8);
}

static enum status put_sequence(struct buffer *bytes, const struct train_sequence *sequence,
                                double scale)
{
    struct sequence_head head = {.prompt_count = sequence->prompt_count,
                                 .response_count = sequence->response_count,
                                 .group = sequence->group,
                                 .has_old = sequence->logprob_old != NULL,
                                 .has_current = sequence->current != NULL,
                                 .has_streamed = sequence->logprob_streamed != NULL,
                                 .wanted = sequence->results != NULL,
                                 .temperature = sequence->temperature,
                                 .advantage = sequence->advantage,
                                 .scale = scale};
    size_t count = sequence->response_count;
    TRY(put(bytes, &head, sizeof head));
    TRY(put(bytes, sequence->prompt_ids, sequence->prompt_count * sizeof(uint32_t)));
    TRY(put(bytes, sequence->response_ids, count * sizeof(uint32_t)));
    TRY(put(bytes, sequence->mask, count * sizeof(float)));
    if (head.has_old)
        TRY(put(bytes, sequence->logprob_old, count * sizeof(float)));
    if (head.has_streamed)
        TRY(put(bytes, sequence->logprob_streamed, count * sizeof(float)));
    return head.has_current ? put(bytes, sequence->current, count) : STATUS_OK;
}

/* objective NULL: the sequences are only scored, and scale may be NULL. */
static enum status send_sequences(struct rank_wire *wire, uint32_t command,
                                  const struct train_sequence *sequences, uint32_t count,
                                  const double *scale, const struct trainer_loss *objective)
{
    struct buffer bytes;
    buffer_init(&bytes, 0);
    uint64_t number = count;
    static const struct trainer_loss none;
    enum status status = put(&bytes, objective != NULL ? objective : &none, sizeof *objective);
    if (status == STATUS_OK)
        status = put(&bytes, &number, sizeof number);
    for (uint32_t i = 0; i < count && status == STATUS_OK; i++)
        status = put_sequence(&bytes, &sequences[i], scale != NULL ? scale[i] : 0);
    if (status == STATUS_OK)
        status = rank_wire_tell(wire, command, bytes.bytes, bytes.size);
    buffer_free(&bytes);
    return status;
}

enum status follower_send_update(struct rank_wire *wire, const struct train_sequence *sequences,
                                 uint32_t count, const double *scale,
                                 const struct trainer_loss *objective)
{
    return send_sequences(wire, COMMAND_UPDATE, sequences, count, scale, objective);
}

enum status follower_send_score(struct rank_wire *wire, const struct train_sequence *sequences,
                                uint32_t count)
{
    return send_sequences(wire, COMMAND_SCORE, sequences, count, NULL, NULL);
}

struct reader {
    const char *at, *end;
};

/* The next `size` bytes, NULL when the message is shorter. */
static const void *get(struct reader *reader, size_t size)
{
    size_t whole = (size + 7) / 8 * 8;
    const char *place = reader->at;
    if ((size_t)(reader->end - reader->at) < whole)
        return NULL;
    reader->at += whole;
    return place;
}

static bool get_sequence(struct reader *reader, struct train_sequence *sequence, double *scale)
{
    const struct sequence_head *head = get(reader, sizeof *head);
    if (head == NULL)
        return false;
    size_t count = head->response_count;
    *sequence = (struct train_sequence){.prompt_count = head->prompt_count,
                                        .response_count = head->response_count,
                                        .group = head->group,
                                        .wanted = head->wanted != 0,
                                        .temperature = head->temperature,
                                        .advantage = head->advantage};
    *scale = head->scale;
    sequence->prompt_ids = get(reader, head->prompt_count * sizeof(uint32_t));
    sequence->response_ids = get(reader, count * sizeof(uint32_t));
    sequence->mask = get(reader, count * sizeof(float));
    if (head->has_old)
        sequence->logprob_old = get(reader, count * sizeof(float));
    if (head->has_streamed)
        sequence->logprob_streamed = get(reader, count * sizeof(float));
    if (head->has_current)
        sequence->current = get(reader, count);
    return sequence->prompt_ids && sequence->response_ids && sequence->mask &&
           (!head->has_old || sequence->logprob_old) &&
           (!head->has_streamed || sequence->logprob_streamed) &&
           (!head->has_current || sequence->current);
}

/* ---- commands ---- */

struct follower {
    const struct settings *settings;
    const char *folder;
    int64_t longest;
    atomic_int *stop_signals;
    struct monitor *monitor; /* borrowed */
    struct ranks ranks;
    struct trainer trainer;
    struct arena *results; /* of the minibatch in hand; NULL before the first */
    bool made;
};

static enum status between(void *self)
{
    struct follower *follower = self;
    monitor_beat(follower->monitor);
    if (*follower->stop_signals > 1)
        return FAIL(STATUS_CANCELLED, "stopped by a second signal");
    return STATUS_OK;
}

/* "C" and the path of a checkpoint, or "M" and a model folder. */
static enum status make_trainer(struct follower *follower, struct buffer *command)
{
    const char *text = buffer_string(command);
    char model[FILE_PATH_MAX];
    struct checkpoint_state state;
    if (follower->made)
        trainer_destroy(&follower->trainer);
    follower->made = true;
    if (text[0] == 'M')
        return trainer_create_rank(&follower->trainer, follower->settings, text + 1,
                                   follower->longest, &follower->ranks);
    TRY(file_path(model, "%s/hf", text + 1));
    TRY(trainer_create_rank(&follower->trainer, follower->settings, model, follower->longest,
                            &follower->ranks));
    return checkpoint_load(text + 1, &follower->trainer, &state);
}

static enum status start(struct follower *follower, struct buffer *command)
{
    enum status made = make_trainer(follower, command);
    int32_t own = (int32_t)made, all[RANKS_MAX];
    if (made != STATUS_OK)
        LOG_FAILURE("follower", "cannot start from what rank 0 named", made);
    return rank_wire_gather(&follower->ranks.wire, &own, sizeof own, all);
}

/* What send_sequences sent; arrays point into the command. */
struct minibatch {
    const struct trainer_loss *objective;
    struct train_sequence *sequences;
    double *scale;
    uint32_t count;
};

static void minibatch_free(struct minibatch *minibatch)
{
    memory_free(minibatch->sequences);
    memory_free(minibatch->scale);
}

static enum status minibatch_read(struct minibatch *minibatch, const struct buffer *command)
{
    const char *bytes = (const char *)command->bytes;
    struct reader reader = {bytes, bytes + command->size};
    minibatch->objective = get(&reader, sizeof *minibatch->objective);
    const uint64_t *count = get(&reader, sizeof *count);
    if (minibatch->objective == NULL || count == NULL || *count > command->size)
        return FAIL(STATUS_CORRUPT, "the minibatch of rank 0 is cut off");
    minibatch->count = (uint32_t)*count;
    minibatch->sequences = memory_array(*count, sizeof *minibatch->sequences);
    minibatch->scale = memory_array(*count, sizeof *minibatch->scale);
    if (minibatch->sequences == NULL || minibatch->scale == NULL)
        return FAIL(STATUS_NO_MEMORY, "%llu sequences", (unsigned long long)*count);
    for (uint32_t i = 0; i < minibatch->count; i++)
        if (!get_sequence(&reader, &minibatch->sequences[i], &minibatch->scale[i]))
            return FAIL(STATUS_CORRUPT, "the minibatch of rank 0 is cut off");
    return STATUS_OK;
}

/* Room for what rank 0 wants to know of each token. */
static enum status make_results(struct follower *follower, const struct minibatch *minibatch)
{
    if (follower->results == NULL)
        TRY(arena_create(&follower->results, (size_t)64 << 30)); /* taken as needed */
    arena_reset(follower->results);
    return token_results_make(follower->results, minibatch->sequences, minibatch->count);
}

static enum status update(struct follower *follower, const struct buffer *command)
{
    struct minibatch minibatch = {0};
    struct train_stats stats;
    enum status status = minibatch_read(&minibatch, command);
    if (status == STATUS_OK)
        status = make_results(follower, &minibatch);
    if (status == STATUS_OK)
        status = trainer_update_share(&follower->trainer, minibatch.sequences, minibatch.count,
                                      minibatch.scale, minibatch.objective, &stats);
    FAULT("learner.updated");
    minibatch_free(&minibatch);
    return status;
}

static enum status score(struct follower *follower, const struct buffer *command)
{
    struct minibatch minibatch = {0};
    enum status status = minibatch_read(&minibatch, command);
    uint64_t tokens = 0;
    for (uint32_t i = 0; status == STATUS_OK && i < minibatch.count; i++)
        tokens += minibatch.sequences[i].response_count;
    float **logprob = memory_array(minibatch.count + (size_t)1, sizeof *logprob);
    float *all = memory_array(tokens + 1, sizeof *all);
    if (status == STATUS_OK && (logprob == NULL || all == NULL))
        status = FAIL(STATUS_NO_MEMORY, "%llu logprobs", (unsigned long long)tokens);
    float *at = all;
    for (uint32_t i = 0; status == STATUS_OK && i < minibatch.count; i++) {
        logprob[i] = at;
        at += minibatch.sequences[i].response_count;
    }
    if (status == STATUS_OK)
        status = trainer_score(&follower->trainer, minibatch.sequences, minibatch.count, logprob);
    memory_free(logprob);
    memory_free(all);
    minibatch_free(&minibatch);
    return status;
}

static enum status send_shard(struct follower *follower, const struct buffer *command)
{
    uint32_t which = 0;
    if (command->size != sizeof which)
        return FAIL(STATUS_CORRUPT, "rank 0 asks for no array");
    memcpy(&which, command->bytes, sizeof which);
    const struct trainer *trainer = &follower->trainer;
    const float *array = which == ARRAY_MASTER ? trainer->master
                         : which == ARRAY_M    ? trainer->m
                                               : trainer->v;
    size_t size = (size_t)trainer->shard.count * sizeof(float);
    void *host = memory_alloc(size);
    if (host == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu bytes of optimizer state", size);
    enum status status = trainer->ops->memory_read(trainer->ops->context, array, host, size);
    if (status == STATUS_OK)
        status = rank_wire_send(&follower->ranks.wire, 0, COMMAND_READ, host, size);
    memory_free(host);
    return status;
}

static enum status obey(struct follower *follower, uint32_t kind, struct buffer *command)
{
    switch (kind) {
    case COMMAND_START:
        return start(follower, command);
    case COMMAND_JOIN:
        return trainer_join_ranks(&follower->trainer);
    case COMMAND_UPDATE:
        return update(follower, command);
    case COMMAND_SCORE:
        return score(follower, command);
    case COMMAND_READ:
        return send_shard(follower, command);
    default:
        return FAIL(STATUS_CORRUPT, "rank 0 sent command %u, which this build does not know", kind);
    }
}

enum status follower_run(const struct settings *settings, int rank, const char *folder,
                         int64_t longest, struct monitor *monitor, atomic_int *stop_signals)
{
    char device[SETTINGS_DEVICE_MAX];
    struct follower *follower = memory_alloc(sizeof *follower);
    if (follower == NULL)
        return FAIL(STATUS_NO_MEMORY, "follower");
    follower->settings = settings;
    follower->folder = folder;
    follower->monitor = monitor;
    settings_device(settings, settings->learner.device, (uint32_t)rank, device);
    monitor_set_device(monitor, device);
    follower->longest = longest;
    follower->stop_signals = stop_signals;
    struct buffer command;
    uint32_t kind = 0;
    buffer_init(&command, 0);
    /* Between two commands rank 0 waits for plans. */
    int64_t idle_ms = (int64_t)settings->learner.plan_timeout_s * 1000 +
                      (int64_t)settings->learner.rank_timeout_ms;
    enum status status = ranks_open(&follower->ranks, settings, rank, folder);
    follower->ranks.wire.between = between;
    follower->ranks.wire.between_self = follower;
    monitor_set_ready(monitor, status == STATUS_OK, "it has not met rank 0");
    while (status == STATUS_OK) {
        status = rank_wire_receive(&follower->ranks.wire, 0, idle_ms, &kind, &command);
        if (status != STATUS_OK || kind == COMMAND_STOP)
            break;
        status = obey(follower, kind, &command);
    }
    char kept[STATUS_TEXT_MAX];
    status_keep(kept);
    buffer_free(&command);
    ranks_close(&follower->ranks);
    if (follower->made)
        trainer_destroy(&follower->trainer);
    arena_destroy(&follower->results);
    memory_free(follower);
    status_restore(kept);
    return status;
}
