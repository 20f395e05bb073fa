#include "rollout_store/replay.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "core/program.h"
#include "proto/tape.h"
#include "rollout_store/ledger.h"
#include "rollout_store/prompts.h"
#include "rollout_store/record.h"
#include "text/tokenizer.h"

static const size_t KEPT_ARENA_BYTES = (size_t)256 << 30; /* limit; taken as needed */

/* ---- what is kept ---- */

struct kept_version {
    uint64_t digest; /* 0: not registered */
    struct plan plan;
    bool planned;
};

struct kept_sample {
    struct segment *segments; /* [count] as they came; arrays in the arena */
    uint32_t count, capacity;
    struct score score;
};

struct kept_group {
    uint64_t group_id, prompt_id;
    struct kept_sample *samples; /* [group_size] */
};

struct reader {
    const struct replay_source *source;
    struct tokenizer *tokenizer;
    struct prompts *prompts;
    struct arena *arena;
    struct buffer out;
    struct kept_version *versions; /* [version_limit] by number */
    uint64_t version_limit;
    struct kept_group *groups; /* [group_count], ascending */
    size_t group_count;
};

/* ---- first pass: versions, plans, branches ---- */

static enum status version_at(struct reader *reader, uint64_t version, struct kept_version **kept)
{
    if (version >= (uint64_t)1 << 32)
        return FAIL(STATUS_CORRUPT, "version %" PRIu64, version);
    if (version >= reader->version_limit) {
        uint64_t limit = reader->version_limit < 64 ? 64 : reader->version_limit;
        while (limit <= version)
            limit *= 2;
        struct kept_version *wider = memory_grow(
            reader->versions, reader->version_limit * sizeof *wider, limit * sizeof *wider);
        if (wider == NULL)
            return FAIL(STATUS_NO_MEMORY, "%" PRIu64 " versions", limit);
        memset(wider + reader->version_limit, 0, (limit - reader->version_limit) * sizeof *wider);
        reader->versions = wider;
        reader->version_limit = limit;
    }
    *kept = &reader->versions[version];
    return STATUS_OK;
}

/* As the book does: versions after the branching point are void; the plan of the first of them was trained again and
 * stays, those after it were made from dead weights. */
static void forget_after(struct reader *reader, uint64_t last_alive)
{
    for (uint64_t v = last_alive + 1; v < reader->version_limit; v++) {
        reader->versions[v].digest = 0;
        if (v > last_alive + 1)
            reader->versions[v].planned = false;
    }
}

static enum status keep_plan(struct reader *reader, const struct plan *plan)
{
    struct kept_version *kept;
    TRY(version_at(reader, plan->version, &kept));
    kept->plan = *plan;
    kept->planned = true;
    kept->plan.group_ids =
        arena_copy(reader->arena, plan->group_ids, plan->group_count * sizeof *plan->group_ids);
    kept->plan.cuts = arena_copy(reader->arena, plan->cuts, plan->cut_count * sizeof *plan->cuts);
    kept->plan.settings_json = arena_text(reader->arena, plan->settings_json);
    if (kept->plan.group_ids == NULL || kept->plan.cuts == NULL || kept->plan.settings_json == NULL)
        return FAIL(STATUS_LIMIT, "no room for a plan of %u groups", plan->group_count);
    return STATUS_OK;
}

static enum status check_run(const struct reader *reader, const struct record *record)
{
    uint64_t seed = reader->source->settings->run.seed;
    if (record->run.seed != seed)
        return FAIL(STATUS_INVALID,
                    "the ledger is of run.seed %" PRIu64 ", the settings say %" PRIu64,
                    record->run.seed, seed);
    if (record->run.data_hash != prompts_hash(reader->prompts))
        return FAIL(STATUS_INVALID,
                    "the prompts of data.train (%" PRIu64
                    ") are not those the run was made with (%" PRIu64 ")",
                    prompts_count(reader->prompts), record->run.prompt_count);
    return STATUS_OK;
}

static enum status take_history(void *self, const struct record *record, uint64_t offset)
{
    (void)offset;
    struct reader *reader = self;
    struct kept_version *kept;
    switch (record->type) {
    case RECORD_RUN:
        return check_run(reader, record);
    case RECORD_VERSION:
        TRY(version_at(reader, record->version.version, &kept));
        kept->digest = record->version.digest;
        return STATUS_OK;
    case RECORD_BRANCH:
        forget_after(reader, record->branch.after_version);
        return STATUS_OK;
    case RECORD_PLAN:
        return keep_plan(reader, &record->plan.plan);
    default:
        return STATUS_OK; /* snapshots among them: they repeat what the records say */
    }
}

/* ---- second pass: tokens and scores of the wanted groups ---- */

static int compare_groups(const void *a, const void *b)
{
    const struct kept_group *x = a, *y = b;
    return (x->group_id > y->group_id) - (x->group_id < y->group_id);
}

static struct kept_group *find_group(const struct reader *reader, uint64_t group_id)
{
    struct kept_group key = {.group_id = group_id};
    return reader->group_count == 0
               ? NULL
               : bsearch(&key, reader->groups, reader->group_count, sizeof key, compare_groups);
}

static enum status find_sample(const struct reader *reader, uint64_t group_id, uint32_t number,
                               struct kept_sample **sample)
{
    struct kept_group *group = find_group(reader, group_id);
    *sample = NULL;
    if (group == NULL)
        return STATUS_OK;
    if (number >= reader->source->settings->store.group_size)
        return FAIL(STATUS_CORRUPT, "group %" PRIu64 " has a sample %u", group_id, number);
    *sample = &group->samples[number];
    return STATUS_OK;
}

static enum status keep_segment(struct reader *reader, const struct segment *segment)
{
    struct kept_sample *sample;
    TRY(find_sample(reader, segment->group_id, segment->sample, &sample));
    if (sample == NULL)
        return STATUS_OK;
    if (sample->count == sample->capacity) {
        uint32_t capacity = sample->capacity < 8 ? 8 : 2 * sample->capacity;
        struct segment *wider = arena_array(reader->arena, capacity, sizeof *wider);
        if (wider == NULL)
            return FAIL(STATUS_LIMIT, "no room for %u segments", capacity);
        if (sample->count > 0)
            memcpy(wider, sample->segments, sample->count * sizeof *wider);
        sample->segments = wider;
        sample->capacity = capacity;
    }
    struct segment *kept = &sample->segments[sample->count++];
    *kept = *segment;
    kept->ids = arena_copy(reader->arena, segment->ids, segment->count * sizeof *kept->ids);
    kept->logprobs =
        arena_copy(reader->arena, segment->logprobs, segment->count * sizeof *kept->logprobs);
    if (segment->logprobs_truncated != NULL)
        kept->logprobs_truncated = arena_copy(reader->arena, segment->logprobs_truncated,
                                              segment->count * sizeof *kept->logprobs_truncated);
    if (kept->ids == NULL || kept->logprobs == NULL)
        return FAIL(STATUS_LIMIT, "no room for a segment of %u tokens", segment->count);
    return STATUS_OK;
}

static enum status take_groups(void *self, const struct record *record, uint64_t offset)
{
    (void)offset;
    struct reader *reader = self;
    struct kept_group *group;
    struct kept_sample *sample;
    switch (record->type) {
    case RECORD_BORN:
        group = find_group(reader, record->born.group_id);
        if (group != NULL)
            group->prompt_id = record->born.prompt_id;
        return STATUS_OK;
    case RECORD_SEGMENT:
        return keep_segment(reader, &record->segment.segment);
    case RECORD_SCORED:
        TRY(find_sample(reader, record->scored.score.group_id, record->scored.score.sample,
                        &sample));
        if (sample != NULL) { /* the last one is the one that counts */
            sample->score = record->scored.score;
            sample->score.detail_json = NULL; /* lives as long as the record */
        }
        return STATUS_OK;
    default:
        return STATUS_OK;
    }
}

/* ---- open, close ---- */

static enum status reader_open(struct reader *reader, const struct replay_source *source)
{
    const struct settings *settings = source->settings;
    *reader = (struct reader){.source = source};
    buffer_init(&reader->out, 0);
    TRY(arena_create(&reader->arena, KEPT_ARENA_BYTES));
    TRY(tokenizer_open(&reader->tokenizer, settings->model.path, settings->model.tokenizer));
    TRY(prompts_load_run(&reader->prompts, settings, reader->tokenizer));
    return ledger_read(source->ledger_folder, take_history, reader);
}

static void reader_close(struct reader *reader)
{
    memory_free(reader->versions);
    memory_free(reader->groups);
    buffer_free(&reader->out);
    prompts_destroy(&reader->prompts);
    tokenizer_close(&reader->tokenizer);
    arena_destroy(&reader->arena);
}

/* The ids become groups to be filled by the second pass. */
static enum status want_groups(struct reader *reader, const uint64_t *ids, size_t count)
{
    uint32_t size = reader->source->settings->store.group_size;
    struct kept_group *groups = memory_grow(reader->groups, reader->group_count * sizeof *groups,
                                            (reader->group_count + count) * sizeof *groups);
    if (groups == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu groups", reader->group_count + count);
    reader->groups = groups;
    for (size_t i = 0; i < count; i++) {
        struct kept_group *group = &groups[reader->group_count++];
        *group = (struct kept_group){.group_id = ids[i],
                                     .prompt_id = UINT64_MAX,
                                     .samples =
                                         arena_array(reader->arena, size, sizeof *group->samples)};
        if (group->samples == NULL)
            return FAIL(STATUS_LIMIT, "no room for a group of %u", size);
    }
    return STATUS_OK;
}

static enum status fill_groups(struct reader *reader)
{
    if (reader->group_count > 0)
        qsort(reader->groups, reader->group_count, sizeof *reader->groups, compare_groups);
    return ledger_read(reader->source->ledger_folder, take_groups, reader);
}

static enum status prompt_of(const struct reader *reader, const struct kept_group *group,
                             const struct prompt **prompt)
{
    if (group->prompt_id >= prompts_count(reader->prompts))
        return FAIL(STATUS_CORRUPT, "group %" PRIu64 " was never born", group->group_id);
    *prompt = prompts_at(reader->prompts, group->prompt_id);
    return STATUS_OK;
}

/* ---- out ---- */

static enum status put_version(struct reader *reader, uint64_t version)
{
    uint64_t digest = version < reader->version_limit ? reader->versions[version].digest : 0;
    struct message message = {.type = MESSAGE_version_register,
                              .version_register = {.version = version,
                                                   .parent = version > 0 ? version - 1 : 0,
                                                   .digest = digest,
                                                   .weights_path = ""}};
    return tape_put(&reader->out, &message);
}

/* Segments joined, as the book does it. limit: tokens of older weights are masked. */
static enum status describe_sample(struct reader *reader, const struct kept_sample *sample,
                                   uint32_t number, uint64_t limit, struct group_sample *out)
{
    uint32_t count = 0, at = 0, pieces = 0;
    for (uint32_t s = 0; s < sample->count; s++)
        count += sample->segments[s].count;
    uint32_t *ids = arena_array(reader->arena, count, sizeof *ids);
    float *logprobs = arena_array(reader->arena, count, sizeof *logprobs);
    float *mask = arena_array(reader->arena, count, sizeof *mask);
    struct group_piece *piece = arena_array(reader->arena, sample->count, sizeof *piece);
    if (ids == NULL || logprobs == NULL || mask == NULL || piece == NULL)
        return FAIL(STATUS_LIMIT, "no room for a rollout of %u tokens", count);
    for (uint32_t s = 0; s < sample->count; s++) {
        const struct segment *segment = &sample->segments[s];
        if (segment->count == 0)
            continue;
        if (segment->first_position != at)
            return FAIL(STATUS_CORRUPT,
                        "group %" PRIu64 " sample %u: a segment at %u where %u is due",
                        segment->group_id, number, segment->first_position, at);
        memcpy(ids + at, segment->ids, segment->count * sizeof *ids);
        memcpy(logprobs + at, segment->logprobs, segment->count * sizeof *logprobs);
        for (uint32_t i = 0; i < segment->count; i++)
            mask[at + i] = segment->version >= limit ? 1.0F : 0.0F;
        at += segment->count;
        if (pieces > 0 && piece[pieces - 1].version == segment->version &&
            piece[pieces - 1].kv_version_min == segment->kv_version_min)
            piece[pieces - 1].count += segment->count;
        else
            piece[pieces++] =
                (struct group_piece){segment->count, segment->version, segment->kv_version_min};
    }
    const struct segment *last = sample->count > 0 ? &sample->segments[sample->count - 1] : NULL;
    *out = (struct group_sample){.sample = number,
                                 .attempt = last != NULL ? last->attempt : 0,
                                 .count = count,
                                 .ids = ids,
                                 .logprobs = logprobs,
                                 .mask = mask,
                                 .piece_count = pieces,
                                 .pieces = piece,
                                 .finish = last != NULL ? last->status : SEGMENT_MORE,
                                 .score_status = sample->score.status,
                                 .reward = sample->score.value};
    return STATUS_OK;
}

static enum status put_group(struct reader *reader, uint64_t group_id, uint64_t planned_version)
{
    const struct settings *settings = reader->source->settings;
    const struct kept_group *group = find_group(reader, group_id);
    const struct prompt *prompt;
    TRY(prompt_of(reader, group, &prompt));
    uint32_t size = settings->store.group_size;
    uint64_t at_version = planned_version - 1, s = settings->store.max_staleness;
    uint64_t limit =
        settings->store.over_age == OVER_AGE_MASK && at_version > s ? at_version - s : 0;
    struct group_sample *samples = arena_array(reader->arena, size, sizeof *samples);
    if (samples == NULL)
        return FAIL(STATUS_LIMIT, "no room for a group of %u", size);
    for (uint32_t i = 0; i < size; i++)
        TRY(describe_sample(reader, &group->samples[i], i, limit, &samples[i]));
    struct message message = {
        .type = MESSAGE_group_data,
        .group_data = {.group_id = group_id,
                       .prompt_id = group->prompt_id,
                       .temperature = (float)settings->sampling.temperature,
                       .prompt_count = prompt->count,
                       .prompt_ids = prompt->ids,
                       .sample_count = size,
                       .samples = samples,
                       .source = prompts_source(reader->prompts, prompt->source)}};
    return tape_put(&reader->out, &message);
}

/* ---- steps ---- */

static uint64_t newest_registered(const struct reader *reader)
{
    uint64_t newest = 0;
    for (uint64_t v = 0; v < reader->version_limit; v++)
        if (reader->versions[v].digest != 0)
            newest = v;
    return newest;
}

static enum status want_plans(struct reader *reader, uint64_t base, uint64_t to)
{
    for (uint64_t v = base + 1; v <= to; v++) {
        if (v >= reader->version_limit || !reader->versions[v].planned)
            return FAIL(STATUS_NOT_FOUND,
                        "the ledger has no plan of version %" PRIu64
                        "; the newest version is %" PRIu64,
                        v, newest_registered(reader));
        if (reader->versions[v].digest == 0)
            return FAIL(STATUS_NOT_FOUND,
                        "version %" PRIu64
                        " is planned and not registered yet: there is nothing to compare with",
                        v);
        const struct plan *plan = &reader->versions[v].plan;
        TRY(want_groups(reader, plan->group_ids, plan->group_count));
    }
    return STATUS_OK;
}

static enum status put_steps(struct reader *reader, uint64_t base, uint64_t to)
{
    TRY(put_version(reader, base));
    for (uint64_t v = base + 1; v <= to; v++) {
        const struct kept_version *kept = &reader->versions[v];
        struct message message = {.type = MESSAGE_plan, .plan = kept->plan};
        message.plan.digest = kept->digest;
        TRY(put_version(reader, v));
        TRY(tape_put(&reader->out, &message));
        for (uint32_t g = 0; g < kept->plan.group_count; g++)
            TRY(put_group(reader, kept->plan.group_ids[g], v));
    }
    return file_replace(reader->source->out, reader->out.bytes, reader->out.size);
}

enum status replay_steps(const struct replay_source *source, uint64_t base, uint64_t to)
{
    struct reader reader;
    enum status status = reader_open(&reader, source);
    if (status == STATUS_OK)
        status = want_plans(&reader, base, to);
    if (status == STATUS_OK)
        status = fill_groups(&reader);
    if (status == STATUS_OK)
        status = put_steps(&reader, base, to);
    reader_close(&reader);
    return status;
}

/* ---- one rollout ---- */

/* What the ledger says of its score; `weir replay` shows this line. */
static void say_score(const struct score *score, uint64_t group_id, uint32_t number)
{
    static const char *const names[SCORE_STATUS_COUNT] = {"ok",    "fail", "timeout",
                                                          "error", "skip", "unscorable"};
    if (score->attempt == 0)
        fprintf(stderr, "rollout %" PRIu64 ".%" PRIu32 ": no score\n", group_id, number);
    else if (score->scorer == 0)
        fprintf(stderr, "rollout %" PRIu64 ".%" PRIu32 ": score %s %.9g\n", group_id, number,
                names[score->status], score->value);
    else
        fprintf(stderr, "rollout %" PRIu64 ".%" PRIu32 ": score %s %.9g by plugin %016" PRIx64 "\n",
                group_id, number, names[score->status], score->value, score->scorer);
}

static enum status put_rollout(struct reader *reader, uint64_t group_id, uint32_t number)
{
    const struct sampling_settings *sampling = &reader->source->settings->sampling;
    const struct kept_group *group = find_group(reader, group_id);
    if (group->prompt_id == UINT64_MAX || group->samples[number].count == 0)
        return FAIL(STATUS_NOT_FOUND, "the ledger has no token of rollout %" PRIu64 ".%u", group_id,
                    number);
    const struct kept_sample *sample = &group->samples[number];
    const struct prompt *prompt;
    TRY(prompt_of(reader, group, &prompt));
    struct span span = {.source = SPAN_PROMPT, .count = prompt->count, .ids = prompt->ids};
    struct lease lease = {.lease_id = sample->segments[0].lease_id,
                          .group_id = group_id,
                          .sample = number,
                          .attempt = sample->segments[0].attempt,
                          .purpose = PURPOSE_TRAIN,
                          .prompt_id = group->prompt_id,
                          .budget = sampling->response_tokens_max,
                          .temperature = (float)sampling->temperature,
                          .top_p = (float)sampling->top_p,
                          .top_k = sampling->top_k,
                          .kv_version_min = UINT64_MAX,
                          .span_count = 1,
                          .spans = &span};
    struct message grant = {.type = MESSAGE_lease_grant, .lease_grant = {1, &lease}};
    struct message frame = {
        .type = MESSAGE_segment_frame,
        .segment_frame = {
            .frame_id = 1, .incarnation = 1, .count = sample->count, .segments = sample->segments}};
    TRY(tape_put(&reader->out, &grant));
    TRY(tape_put(&reader->out, &frame));
    uint64_t said[2] = {UINT64_MAX, UINT64_MAX};
    for (uint32_t s = 0; s < sample->count; s++) {
        const struct segment *segment = &sample->segments[s];
        if (segment->count == 0)
            continue;
        if (segment->version != said[0])
            TRY(put_version(reader, segment->version));
        if (segment->kv_version_min != said[1] && segment->kv_version_min < segment->version)
            TRY(put_version(reader, segment->kv_version_min));
        said[0] = segment->version;
        said[1] = segment->kv_version_min;
    }
    return file_replace(reader->source->out, reader->out.bytes, reader->out.size);
}

enum status replay_rollout(const struct replay_source *source, uint64_t group_id, uint32_t sample)
{
    struct reader reader;
    if (sample >= source->settings->store.group_size)
        return FAIL(STATUS_NOT_FOUND,
                    "rollout %" PRIu64 ".%u: a group has %u samples (store.group_size)", group_id,
                    sample, source->settings->store.group_size);
    enum status status = reader_open(&reader, source);
    if (status == STATUS_OK)
        status = want_groups(&reader, &group_id, 1);
    if (status == STATUS_OK)
        status = fill_groups(&reader);
    if (status == STATUS_OK)
        status = put_rollout(&reader, group_id, sample);
    if (status == STATUS_OK)
        say_score(&find_group(&reader, group_id)->samples[sample].score, group_id, sample);
    reader_close(&reader);
    return status;
}

/* ---- the program ---- */

static bool parse_number(const char *text, uint64_t *number)
{
    char *end = NULL;
    *number = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0';
}

/* argv: replay steps|rollout NUMBER NUMBER LEDGER OUT [options] */
int replay_main(int argc, char **argv)
{
    enum { WORDS = 5 };
    uint64_t numbers[2];
    if (argc < WORDS + 1 || !parse_number(argv[2], &numbers[0]) ||
        !parse_number(argv[3], &numbers[1]) || numbers[1] > UINT32_MAX) {
        fputs("usage: weir-store replay steps BASE TO LEDGER OUT --config FILE ...\n"
              "       weir-store replay rollout GROUP SAMPLE LEDGER OUT --config FILE ...\n",
              stderr);
        return EXIT_CODE_USAGE;
    }
    struct program program;
    bool rollout = strcmp(argv[1], "rollout") == 0;
    const char *ledger = argv[4], *out = argv[5];
    int code = program_start(&program, argc - WORDS, argv + WORDS, ROLE_NAME_STORE,
                             "Reads steps or a rollout out of a ledger.");
    if (code >= 0)
        return code;
    struct replay_source source = {
        .settings = &program.settings, .ledger_folder = ledger, .out = out};
    return program_end(&program, rollout ? replay_rollout(&source, numbers[0], (uint32_t)numbers[1])
                                         : replay_steps(&source, numbers[0], numbers[1]));
}
