#include "actor/replay.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "actor/slot.h"
#include "core/arena.h"
#include "core/checksum.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/program.h"
#include "model/folder.h"
#include "model/model.h"
#include "proto/codec.h"
#include "proto/tape.h"

enum {
    ROWS = 512,        /* of one forward call; changes no bit */
    SEARCH_MAX = 8192, /* tokens of a prefill that weights changed in */
    NOW = 0,
    OLD = 1
};

struct player {
    const struct actor_replay *replay;
    struct arena *arena;
    const struct lease *lease;
    const struct segment *segments;
    uint32_t segment_count;

    struct op_table *ops;
    struct model_shape shape;
    struct model *model;
    struct model_cache *cache;
    uint64_t numerics_id;
    struct model_weights
        weights[2]; /* NOW: that make tokens; OLD: of the first part of a mixed prefill */
    bool loaded[2];
    float *flat, *device_flat; /* [elements] f32, host and device */

    struct slot slot; /* ids and sampling; `cached` tokens are in cache slot `at` */
    int32_t at;       /* of the two cache slots */
    bool open[2];
};

/* What one token came out as. */
struct drawn {
    int32_t token;
    float logprob, logprob_truncated;
    uint8_t confident;
};

/* ---- the file ---- */

static enum status read_rollout(struct player *player)
{
    struct tape tape;
    struct message grant = {0}, frame = {0};
    TRY(tape_open(&tape, player->replay->file));
    enum status status = tape_expect(&tape, player->arena, MESSAGE_lease_grant, &grant);
    if (status == STATUS_OK)
        status = tape_expect(&tape, player->arena, MESSAGE_segment_frame, &frame);
    tape_close(&tape);
    TRY(status);
    if (grant.lease_grant.count != 1)
        return FAIL(STATUS_CORRUPT, "%s is not of `weir-store replay rollout`",
                    player->replay->file);
    player->lease = grant.lease_grant.leases;
    player->segments = frame.segment_frame.segments;
    player->segment_count = frame.segment_frame.count;
    return STATUS_OK;
}

/* ---- model ---- */

static enum status create_model(struct player *player)
{
    const struct settings *settings = player->replay->settings;
    char path[FILE_PATH_MAX], device[SETTINGS_DEVICE_MAX], numerics[256];
    TRY(file_path(path, "%s/config.json", settings->model.path));
    TRY(model_shape_load(&player->shape, path));
    settings_device(settings, settings->actor.device, 0, device);
    TRY(op_table_create(&player->ops, device, (int32_t)settings->run.threads));
    struct model_options options = {.rows_max = ROWS,
                                    .lightning_chunk = (int32_t)settings->model.lightning_chunk,
                                    .lm_head = (enum model_head_precision)settings->model.lm_head};
    TRY(model_create(&player->model, &player->shape, player->ops, &options));
    model_numerics(player->model, numerics, sizeof numerics);
    player->numerics_id = hash64(numerics, strlen(numerics), 0);
    for (int i = 0; i < 2; i++)
        TRY(model_weights_create(player->model, &player->weights[i]));
    int32_t positions =
        (int32_t)(settings->data.prompt_tokens_max + settings->sampling.response_tokens_max);
    int32_t tile = (int32_t)player->ops->kv_tile, pages = 2 * ((positions + tile - 1) / tile);
    TRY(model_cache_create(player->model, 2, pages, positions, &player->cache));
    size_t bytes = (size_t)model_parameters(player->model)->elements * sizeof(float);
    void *device_flat = NULL;
    TRY(player->ops->memory_create(player->ops->context, bytes, &device_flat));
    player->device_flat = device_flat;
    player->flat = memory_alloc(bytes);
    return player->flat != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "%zu bytes", bytes);
}

/* "3=FOLDER,4=FOLDER" */
static enum status folder_of(const struct player *player, uint64_t version,
                             char folder[FILE_PATH_MAX])
{
    for (const char *at = player->replay->folders; *at != '\0';) {
        char *end = NULL;
        uint64_t one = strtoull(at, &end, 10);
        size_t size = strcspn(end, ",");
        if (end == at || *end != '=')
            return FAIL(STATUS_INVALID, "\"%s\" is not VERSION=FOLDER", at);
        if (one == version)
            return file_path(folder, "%.*s", (int)size - 1, end + 1);
        at = end + size + (end[size] == ',');
    }
    return FAIL(STATUS_NOT_FOUND, "no folder is given for version %" PRIu64, version);
}

/* digest: 0 when the ledger does not say it (of the old part of a mixed prefill). */
static enum status load_weights(struct player *player, int which, uint64_t version, uint64_t digest)
{
    struct model_weights *weights = &player->weights[which];
    const struct parameter_table *table = model_parameters(player->model);
    char folder[FILE_PATH_MAX];
    if (player->loaded[which] && weights->version == version &&
        (digest == 0 || weights->digest == digest))
        return STATUS_OK;
    TRY(folder_of(player, version, folder));
    TRY(model_folder_load(folder, &player->shape, table, player->flat));
    TRY(player->ops->memory_write(player->ops->context, player->device_flat, player->flat,
                                  (size_t)table->elements * sizeof(float)));
    TRY(model_weights_round(player->model, weights, player->device_flat, false));
    weights->version = version;
    player->loaded[which] = true;
    if (digest != 0 && weights->digest != digest)
        return FAIL(STATUS_NOT_FOUND,
                    "the weights of version %" PRIu64 " that made these tokens are gone: they had "
                    "digest %016" PRIx64 ", those in %s have %016" PRIx64,
                    version, digest, folder, weights->digest);
    return STATUS_OK;
}

/* ---- tokens ---- */

static enum status open_cache(struct player *player, int32_t slot)
{
    if (player->open[slot])
        model_cache_close(player->cache, slot);
    player->open[slot] = false;
    TRY(model_cache_open(player->cache, slot, (int32_t)player->slot.capacity));
    player->open[slot] = true;
    return STATUS_OK;
}

/* Feeds tokens [from, to) into a cache slot; *hidden is of the last call, whose last row is *row. */
static enum status feed(struct player *player, int which, int32_t slot, uint32_t from, uint32_t to,
                        act **hidden, int32_t *row)
{
    int32_t ids[ROWS];
    for (uint32_t count; from < to; from += count) {
        count = to - from < ROWS ? to - from : ROWS;
        for (uint32_t i = 0; i < count; i++)
            ids[i] = (int32_t)player->slot.ids[from + i];
        struct op_segment segment = {
            .slot = slot, .position = (int32_t)from, .row = 0, .count = (int32_t)count};
        struct model_batch batch = {
            .rows = (int32_t)count, .ids = ids, .segments = &segment, .segment_count = 1};
        TRY(model_forward(player->model, &player->weights[which], player->cache, &batch, false,
                          hidden));
        *row = (int32_t)count - 1;
    }
    return STATUS_OK;
}

/* The token after everything the slot has, from row `row` of hidden. */
static enum status draw(struct player *player, const act *hidden, int32_t row, struct drawn *drawn)
{
    struct op_sample_row sampling = player->slot.sampling;
    sampling.position = slot_length(&player->slot);
    struct model_sample sample = {
        .rows = 1,
        .row_index = &row,
        .row = &sampling,
        .repetition_probability = (float)player->replay->settings->sampling.repetition_probability,
        .token = &drawn->token,
        .logprob = &drawn->logprob,
        .logprob_truncated = &drawn->logprob_truncated,
        .confident = &drawn->confident};
    return model_sample(player->model, &player->weights[NOW], hidden, &sample);
}

static bool same_bits(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

static bool is_recorded(const struct segment *segment, uint32_t i, const struct drawn *drawn)
{
    return drawn->token == (int32_t)segment->ids[i] &&
           same_bits(drawn->logprob, segment->logprobs[i]) &&
           (segment->logprobs_truncated == NULL ||
            same_bits(drawn->logprob_truncated, segment->logprobs_truncated[i]));
}

/* The slot is as before the segment and its next token comes from `hidden`. *same: how many tokens came out as
 * recorded; when not all, *drawn is the first that did not. */
static enum status play_tokens(struct player *player, const struct segment *segment, act *hidden,
                               int32_t row, uint32_t *same, struct drawn *drawn)
{
    struct slot *slot = &player->slot;
    for (*same = 0; *same < segment->count; (*same)++) {
        if (*same > 0) {
            TRY(feed(player, NOW, player->at, slot->cached, slot_length(slot), &hidden, &row));
            slot->cached = slot_length(slot);
        }
        TRY(draw(player, hidden, row, drawn));
        if (!is_recorded(segment, *same, drawn))
            return STATUS_OK;
        slot->ids[slot_length(slot)] = segment->ids[*same];
        slot->response++;
    }
    return STATUS_OK;
}

/* ---- caches ---- */

static void rewind_to(struct slot *slot, uint32_t response)
{
    slot->response = response;
    slot->cached = slot_length(slot);
}

static enum status play_fresh(struct player *player, const struct segment *segment, uint32_t *same,
                              struct drawn *drawn)
{
    act *hidden = NULL;
    int32_t row = 0;
    rewind_to(&player->slot, segment->first_position);
    TRY(open_cache(player, player->at));
    TRY(feed(player, NOW, player->at, 0, player->slot.cached, &hidden, &row));
    return play_tokens(player, segment, hidden, row, same, drawn);
}

/* The weights changed while the tokens so far were prefilled: the first `cut` of them are of the old ones. Every cut
 * is tried until the whole segment comes out. The best attempt is left in *same and *drawn when none does. */
static enum status play_mixed(struct player *player, const struct segment *segment, uint32_t *same,
                              struct drawn *drawn)
{
    struct slot *slot = &player->slot;
    int32_t old = 1 - player->at;
    uint32_t best = 0;
    struct drawn best_drawn = {0};
    rewind_to(slot, segment->first_position);
    uint32_t length = slot_length(slot);
    if (length > SEARCH_MAX)
        return FAIL(STATUS_UNSUPPORTED,
                    "weights changed from version %" PRIu64 " to %" PRIu64
                    " within a prefill of %u tokens: the ledger does not say where, and %d are "
                    "tried at most",
                    segment->kv_version_min, segment->version, length, SEARCH_MAX);
    TRY(load_weights(player, OLD, segment->kv_version_min, 0));
    TRY(open_cache(player, old));
    for (uint32_t cut = 1; cut < length; cut++) {
        act *hidden = NULL;
        int32_t row = 0;
        rewind_to(slot, segment->first_position);
        TRY(feed(player, OLD, old, cut - 1, cut, &hidden, &row));
        TRY(open_cache(player, player->at));
        TRY(model_cache_fork(player->cache, old, player->at, (int32_t)cut));
        TRY(feed(player, NOW, player->at, cut, length, &hidden, &row));
        TRY(play_tokens(player, segment, hidden, row, same, drawn));
        if (*same == segment->count)
            return STATUS_OK;
        if (cut == 1 || *same > best) {
            best = *same;
            best_drawn = *drawn;
        }
    }
    *same = best;
    *drawn = best_drawn;
    return STATUS_OK;
}

/* One more token after those in the cache, which is kept. */
static enum status play_on(struct player *player, const struct segment *segment, uint32_t *same,
                           struct drawn *drawn)
{
    act *hidden = NULL;
    int32_t row = 0;
    struct slot *slot = &player->slot;
    TRY(feed(player, NOW, player->at, slot->cached, slot_length(slot), &hidden, &row));
    slot->cached = slot_length(slot);
    return play_tokens(player, segment, hidden, row, same, drawn);
}

static enum status play_segment(struct player *player, const struct segment *segment, bool fresh,
                                uint32_t *same, struct drawn *drawn)
{
    if (segment->numerics_id != player->numerics_id)
        return FAIL(STATUS_UNSUPPORTED,
                    "the tokens from %u on were made with other numerics (%016" PRIx64
                    ", here %016" PRIx64 "): replay on the same kind of device",
                    segment->first_position, segment->numerics_id, player->numerics_id);
    TRY(load_weights(player, NOW, segment->version, segment->digest));
    if (!fresh)
        return play_on(player, segment, same, drawn);
    return segment->kv_version_min < segment->version ? play_mixed(player, segment, same, drawn)
                                                      : play_fresh(player, segment, same, drawn);
}

/* ---- a whole rollout ---- */

struct tally {
    uint32_t tokens, leases, rebuilt, mixed;
    uint64_t version_first, version_last;
};

static void print_equal(const struct player *player, const struct tally *tally)
{
    fprintf(player->replay->out,
            "rollout %" PRIu64 ".%u: %u tokens of versions %" PRIu64 " to %" PRIu64
            ", %u lease%s, cache rebuilt %u times, %u prefills across versions: equal\n",
            player->lease->group_id, player->lease->sample, tally->tokens, tally->version_first,
            tally->version_last, tally->leases, tally->leases == 1 ? "" : "s", tally->rebuilt,
            tally->mixed);
}

static void print_different(const struct player *player, const struct segment *segment,
                            uint32_t same, const struct drawn *drawn)
{
    fprintf(player->replay->out,
            "rollout %" PRIu64 ".%u: DIFFERENT at token %u (version %" PRIu64
            "): recorded id %u logprob %.9g, now id %d logprob %.9g\n",
            player->lease->group_id, player->lease->sample, segment->first_position + same,
            segment->version, segment->ids[same], (double)segment->logprobs[same], drawn->token,
            (double)drawn->logprob);
}

static enum status play(struct player *player, bool *equal)
{
    struct tally tally = {0};
    uint64_t lease_id = 0;
    for (uint32_t s = 0; s < player->segment_count && *equal; s++) {
        const struct segment *segment = &player->segments[s];
        if (segment->count == 0)
            continue;
        bool leased = tally.tokens == 0 || segment->lease_id != lease_id;
        bool rebuilt = !leased && segment->rebuilt_at != UINT32_MAX;
        uint32_t same = 0;
        struct drawn drawn = {0};
        if (segment->first_position != tally.tokens ||
            segment->count > player->slot.budget - tally.tokens)
            return FAIL(STATUS_CORRUPT, "a segment of %u tokens at %u, %u are there",
                        segment->count, segment->first_position, tally.tokens);
        TRY(play_segment(player, segment, leased || rebuilt, &same, &drawn));
        lease_id = segment->lease_id;
        tally.version_first = tally.tokens == 0 ? segment->version : tally.version_first;
        tally.version_last = segment->version;
        tally.leases += leased;
        tally.rebuilt += rebuilt;
        tally.mixed += (leased || rebuilt) && segment->kv_version_min < segment->version;
        tally.tokens += same;
        *equal = same == segment->count;
        if (!*equal)
            print_different(player, segment, same, &drawn);
    }
    if (*equal)
        print_equal(player, &tally);
    return STATUS_OK;
}

static void player_close(struct player *player)
{
    slot_clear(&player->slot);
    memory_free(player->flat);
    if (player->device_flat != NULL) {
        void *memory = player->device_flat;
        player->ops->memory_destroy(player->ops->context, &memory);
    }
    model_cache_destroy(&player->cache);
    for (int i = 0; player->model != NULL && i < 2; i++)
        model_weights_destroy(player->model, &player->weights[i]);
    model_destroy(&player->model);
    op_table_destroy(&player->ops);
    arena_destroy(&player->arena);
}

enum status actor_replay(const struct actor_replay *replay, bool *equal)
{
    struct player player = {.replay = replay};
    const struct settings *settings = replay->settings;
    *equal = true;
    enum status status = arena_create(&player.arena, (size_t)WIRE_MESSAGE_MAX * 4);
    if (status == STATUS_OK)
        status = read_rollout(&player);
    if (status == STATUS_OK)
        status = create_model(&player);
    if (status == STATUS_OK)
        status = slot_fill(&player.slot, player.lease, settings->run.seed,
                           settings->sampling.repetition_tokens);
    if (status == STATUS_OK)
        status = play(&player, equal);
    char kept[STATUS_TEXT_MAX];
    status_keep(kept);
    player_close(&player);
    status_restore(kept);
    return status;
}

/* ---- the program ---- */

int actor_replay_main(int argc, char **argv, FILE *out)
{
    enum { WORDS = 2 };
    if (argc <= WORDS) {
        fputs("usage: weir-actor replay FILE VERSION=FOLDER,... --config FILE ...\n", stderr);
        return EXIT_CODE_USAGE;
    }
    struct program program;
    struct actor_replay replay = {
        .settings = &program.settings, .file = argv[1], .folders = argv[2], .out = out};
    int code = program_start(&program, argc - WORDS, argv + WORDS, ROLE_NAME_ACTOR,
                             "Generates a rollout once more.");
    if (code >= 0)
        return code;
    bool equal = true;
    enum status status = actor_replay(&replay, &equal);
    fflush(out);
    code = program_end(&program, status);
    return status == STATUS_OK && !equal ? EXIT_CODE_FAILED : code;
}
