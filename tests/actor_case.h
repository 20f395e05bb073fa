/* tests/actor_case.h - a store on a thread, a learner's weights and a real actor, for tests/test_actor.c.
 *
 * The store grants what the test queues, keeps what segments say, and acknowledges each frame (or not, on
 * request). `reference` is the truth: the same model, one sequence at a time, a token a call. */
#ifndef TESTS_ACTOR_CASE_H
#define TESTS_ACTOR_CASE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "actor/actor_state.h"
#include "core/checksum.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/memory.h"
#include "transport/weight_tcp_server.h"

enum { JOBS_MAX = 64, TOKENS_MAX = 512, PROMPT_MAX = 200, VERSIONS = 4, RUN_SEED = 77 };

static void must_at(enum status status, int line)
{
    if (status != STATUS_OK)
        fail_msg("line %d: %s", line, status_last_error());
}
#define must(call) must_at((call), __LINE__)

/* ---- one sample: what is leased and what came back ---- */

struct job {
    struct lease lease;
    struct span spans[2];
    uint32_t prompt[PROMPT_MAX], prompt_count;
    uint32_t inherited; /* first tokens of ids below, given with the lease */
    bool granted;
    /* out */
    uint32_t ids[TOKENS_MAX], count;
    float logprobs[TOKENS_MAX];
    uint64_t version[TOKENS_MAX], kv_version_min[TOKENS_MAX];
    uint32_t rebuilt_at; /* last that was said */
    uint32_t segments, first_position;
    uint32_t run;
    uint64_t version_said;
    enum segment_status status;
    bool ended, gap;
};

struct fake_store {
    struct hub *hub;
    pthread_t thread;
    _Atomic bool stop;
    char endpoint[128], weights_path[128];
    pthread_mutex_t lock; /* guards everything below */
    struct job jobs[JOBS_MAX];
    uint32_t job_count;
    uint32_t pause_at; /* no acknowledgements while job 0 has so many tokens; 0 off */
    bool ack_owed;
    bool refuse, hold_acks, draining, stopping, bye;
    uint64_t cancel; /* lease to cancel; 0 none */
    uint64_t notice_version, notice_digest;
    uint32_t peer, hellos;
    bool known, asked; /* after hello; after lease_request */
    uint64_t frame_last;
    uint32_t frames_new, frames_repeated;
};

static void take_segment(struct fake_store *store, const struct segment *segment)
{
    for (uint32_t j = 0; j < store->job_count; j++) {
        struct job *job = &store->jobs[j];
        if (job->lease.lease_id != segment->lease_id || job->ended)
            continue;
        if (job->segments++ == 0)
            job->first_position = segment->first_position;
        if (segment->first_position != job->count || job->count + segment->count > TOKENS_MAX) {
            job->gap = true;
            return;
        }
        for (uint32_t t = 0; t < segment->count; t++, job->count++) {
            job->ids[job->count] = segment->ids[t];
            job->logprobs[job->count] = segment->logprobs[t];
            job->version[job->count] = segment->version;
            job->kv_version_min[job->count] = segment->kv_version_min;
        }
        if (segment->rebuilt_at != UINT32_MAX)
            job->rebuilt_at = segment->rebuilt_at;
        job->run = segment->repetition_run;
        job->version_said = segment->version;
        job->status = segment->status;
        job->ended = segment->status != SEGMENT_MORE;
    }
}

static void reply(struct fake_store *store, const struct message *message)
{
    while (hub_send(store->hub, store->peer, message) == STATUS_AGAIN)
        clock_sleep_ms(1);
}

static void take_frame(struct fake_store *store, const struct segment_frame *frame)
{
    bool repeated = frame->frame_id <= store->frame_last;
    store->frames_new += !repeated;
    store->frames_repeated += repeated;
    if (store->hold_acks)
        return; /* not on disk: neither kept nor acknowledged */
    if (!repeated) {
        for (uint32_t i = 0; i < frame->count; i++)
            take_segment(store, &frame->segments[i]);
        store->frame_last = frame->frame_id;
    }
    store->ack_owed = true;
}

static bool is_paused(const struct fake_store *store)
{
    return store->pause_at > 0 && store->jobs[0].count >= store->pause_at;
}

static void handle(struct fake_store *store, const struct hub_peer *peer,
                   const struct message *message)
{
    store->peer = peer->id;
    switch (message->type) {
    case MESSAGE_hello: {
        store->hellos++;
        if (store->refuse) {
            struct message refused = {.type = MESSAGE_refused, .refused = {"not you"}};
            reply(store, &refused);
            break;
        }
        struct message welcome = {.type = MESSAGE_welcome,
                                  .welcome = {.run_seed = RUN_SEED,
                                              .heartbeat_ms = 50,
                                              .weights_path = store->weights_path}};
        reply(store, &welcome);
        store->known = true;
        break;
    }
    case MESSAGE_lease_request:
        store->asked = true;
        break;
    case MESSAGE_segment_frame:
        take_frame(store, &message->segment_frame);
        break;
    case MESSAGE_bye:
        store->bye = true;
        store->known = store->asked = false;
        break;
    default:
        break;
    }
}

static void push_out(struct fake_store *store)
{
    struct lease leases[JOBS_MAX];
    struct message grant = {.type = MESSAGE_lease_grant, .lease_grant = {.leases = leases}};
    if (!store->known)
        return;
    for (uint32_t j = 0; j < store->job_count; j++)
        if (store->asked && !store->jobs[j].granted) {
            store->jobs[j].granted = true;
            leases[grant.lease_grant.count++] = store->jobs[j].lease;
        }
    if (grant.lease_grant.count > 0)
        reply(store, &grant);
    if (store->cancel != 0) {
        struct message ack = {.type = MESSAGE_frame_ack,
                              .frame_ack = {.frame_id = store->frame_last,
                                            .cancelled_count = 1,
                                            .cancelled = &store->cancel}};
        reply(store, &ack);
        store->cancel = 0;
    }
    if (store->ack_owed && !is_paused(store)) {
        struct message ack = {.type = MESSAGE_frame_ack, .frame_ack = {store->frame_last, 0, NULL}};
        reply(store, &ack);
        store->ack_owed = false;
    }
    if (store->draining || store->stopping || store->notice_digest != 0) {
        struct message notice = {
            .type = MESSAGE_notice,
            .notice = {.version = store->notice_version != 0 ? store->notice_version : 1,
                       .digest = store->notice_digest,
                       .draining = store->draining,
                       .stopping = store->stopping,
                       .reason = "test",
                       .weights_path = store->weights_path}};
        reply(store, &notice);
    }
}

static void *serve(void *self)
{
    struct fake_store *store = self;
    struct arena *arena = NULL;
    if (arena_create(&arena, 64 << 20) != STATUS_OK)
        return NULL;
    while (!atomic_load(&store->stop)) {
        struct hub_peer peer;
        struct message message;
        arena_reset(arena);
        if (hub_poll(store->hub, 2, -1, arena, &peer, &message) != STATUS_OK)
            break;
        pthread_mutex_lock(&store->lock);
        if (message.type != MESSAGE_NONE)
            handle(store, &peer, &message);
        push_out(store);
        pthread_mutex_unlock(&store->lock);
    }
    arena_destroy(&arena);
    return NULL;
}

/* What a test does to the store, or reads of it, while the store's thread runs. */
#define LOCKED(store, ...)                   \
    do {                                     \
        pthread_mutex_lock(&(store).lock);   \
        __VA_ARGS__;                         \
        pthread_mutex_unlock(&(store).lock); \
    } while (0)

static void store_open(struct fake_store *store)
{
    atomic_store(&store->stop, false);
    store->known = store->asked = false;
    must(hub_open(&store->hub, store->endpoint, NULL));
    assert_int_equal(pthread_create(&store->thread, NULL, serve, store), 0);
}

static void store_close(struct fake_store *store)
{
    atomic_store(&store->stop, true);
    pthread_join(store->thread, NULL);
    hub_close(&store->hub);
}

/* ---- the model, by itself and as a learner ---- */

static const char config_json[] =
    "{\"architectures\": [\"MiniMaxM1ForCausalLM\"], \"model_type\": \"minimax_m1\","
    "\"attn_type_list\": [0, 1, 0], \"vocab_size\": 40, \"hidden_size\": 32,"
    "\"intermediate_size\": 32, \"num_hidden_layers\": 3, \"num_attention_heads\": 4,"
    "\"num_key_value_heads\": 2, \"head_dim\": 16, \"rotary_dim\": 8, \"rope_theta\": 10000.0,"
    "\"rms_norm_eps\": 1e-05, \"hidden_act\": \"silu\", \"num_local_experts\": 4,"
    "\"num_experts_per_tok\": 2, \"shared_intermediate_size\": 0, \"postnorm\": true,"
    "\"tie_word_embeddings\": false, \"layernorm_full_attention_alpha\": 2.0,"
    "\"layernorm_full_attention_beta\": 1.0, \"layernorm_linear_attention_alpha\": 2.0,"
    "\"layernorm_linear_attention_beta\": 1.0, \"layernorm_mlp_alpha\": 2.0,"
    "\"layernorm_mlp_beta\": 1.0, \"router_aux_loss_coef\": 0.001, \"router_jitter_noise\": 0.0,"
    "\"max_position_embeddings\": 4096, \"initializer_range\": 0.3, \"bos_token_id\": null,"
    "\"eos_token_id\": [38, 39], \"torch_dtype\": \"float32\"}";

struct world {
    char folder[64];
    struct config *config;
    struct settings settings;
    struct fake_store store;
    struct weight_sender *sender;
    /* learner's side */
    struct op_table *ops;
    struct model_shape shape;
    struct model *model;
    struct model_cache *cache;
    struct model_weights weights[VERSIONS];
    float *flat;
    size_t bytes;
    /* actor's side */
    struct actor *actor;
    pthread_t thread;
    atomic_int signals;
    enum status ended;
    bool running;
};

static void *run_actor(void *self)
{
    struct world *world = self;
    world->ended = actor_run(world->actor, &world->signals);
    if (world->ended != STATUS_OK)
        print_error("actor: %s\n", status_last_error());
    return NULL;
}

static void load_settings(struct world *world, const char *const *overrides, size_t count)
{
    char path[128];
    const char *all[24] = {path,
                           "redis.mode=off",
                           "actor.segment_ms=20",
                           "sampling.response_tokens_max=400",
                           "data.prompt_tokens_max=200",
                           "sampling.repetition_tokens=0"};
    size_t used = 6;
    snprintf(path, sizeof path, "model.path=%s", world->folder);
    for (size_t i = 0; i < count; i++)
        all[used++] = overrides[i];
    struct config_input input = {.overrides = all, .override_count = used};
    must(settings_load(&world->settings, &world->config, &input));
}

static void make_weights(struct world *world)
{
    const struct parameter_table *table = model_parameters(world->model);
    world->bytes = (size_t)table->elements * sizeof(float);
    world->flat = calloc(1, world->bytes);
    for (uint64_t v = 0; v < VERSIONS; v++) {
        parameter_table_init(table, &world->shape, 100 + v, world->flat);
        must(model_weights_create(world->model, &world->weights[v]));
        must(model_weights_load(world->model, &world->weights[v], world->flat, v));
    }
    must(weight_sender_open(&world->sender, world->store.weights_path, table->layout_hash,
                            world->bytes));
}

/* The weights of seed `set` become `version` in the channel. */
static void publish_as(struct world *world, uint64_t set, uint64_t version, uint32_t branch,
                       uint64_t digest_error)
{
    const struct model_weights *weights = &world->weights[set];
    void *place = weight_sender_begin(world->sender, version);
    must(world->ops->memory_read(world->ops->context, weights->flat, place, world->bytes));
    weight_sender_commit(world->sender, version, branch, weights->digest + digest_error);
}

static void publish(struct world *world, uint64_t version)
{
    publish_as(world, version, version, 0, 0);
}

static void world_open(struct world *world, const char *const *overrides, size_t count)
{
    static int number;
    if (world->folder[0] != '\0')
        fail_msg("a test before this one failed and left its actor running");
    memset(world, 0, sizeof *world);
    snprintf(world->folder, sizeof world->folder, "/tmp/weir-actor-%d-%d", (int)getpid(), number++);
    must(file_make_dirs(world->folder));
    char path[FILE_PATH_MAX];
    must(file_path(path, "%s/config.json", world->folder));
    must(file_replace(path, config_json, sizeof config_json - 1));
    load_settings(world, overrides, count);
    struct fake_store *store = &world->store;
    snprintf(store->endpoint, sizeof store->endpoint, "ipc://%s/store.sock", world->folder);
    snprintf(store->weights_path, sizeof store->weights_path, "%s/weights", world->folder);
    pthread_mutex_init(&store->lock, NULL);
    must(model_shape_load(&world->shape, path));
    must(op_table_create_cpu(&world->ops, 1));
    struct model_options options = {.rows_max = PROMPT_MAX + TOKENS_MAX,
                                    .lightning_chunk =
                                        (int32_t)world->settings.model.lightning_chunk};
    must(model_create(&world->model, &world->shape, world->ops, &options));
    must(model_cache_create(world->model, 1, 32, PROMPT_MAX + TOKENS_MAX, &world->cache));
    make_weights(world);
    store_open(store);
}

static void actor_begin(struct world *world)
{
    struct actor_options options = {
        .settings = &world->settings, .endpoint = world->store.endpoint, .run = "run-1"};
    must(actor_create(&world->actor, &options));
    world->running = true;
    assert_int_equal(pthread_create(&world->thread, NULL, run_actor, world), 0);
}

/* Waits for the actor's own end; then its metrics may be read. */
static void actor_join(struct world *world)
{
    if (world->running)
        pthread_join(world->thread, NULL);
    world->running = false;
}

static void actor_stop(struct world *world)
{
    LOCKED(world->store, world->store.stopping = true);
    actor_join(world);
    assert_int_equal(world->ended, STATUS_OK);
    LOCKED(world->store, world->store.stopping = world->store.draining = false);
}

static void world_close(struct world *world)
{
    actor_destroy(&world->actor);
    store_close(&world->store);
    weight_sender_close(&world->sender);
    model_cache_destroy(&world->cache);
    for (int v = 0; v < VERSIONS; v++)
        model_weights_destroy(world->model, &world->weights[v]);
    model_destroy(&world->model);
    op_table_destroy(&world->ops);
    config_destroy(&world->config);
    free(world->flat);
    must(file_remove_tree(world->folder));
    world->folder[0] = '\0';
}

/* ---- jobs ---- */

static struct job *job_at(struct world *world, uint32_t j)
{
    return &world->store.jobs[j];
}

/* Group g has its own prompt of `prompt` tokens. `so_far`: tokens of an earlier lease, or NULL. */
static struct job *add_job(struct world *world, uint64_t group, uint32_t sample, uint32_t prompt,
                           uint32_t budget, const uint32_t *so_far, uint32_t so_far_count)
{
    pthread_mutex_lock(&world->store.lock);
    uint32_t j = world->store.job_count;
    assert_true(j < JOBS_MAX && prompt <= PROMPT_MAX);
    struct job *job = job_at(world, j);
    *job =
        (struct job){.prompt_count = prompt, .inherited = so_far_count, .rebuilt_at = UINT32_MAX};
    for (uint32_t t = 0; t < prompt; t++)
        job->prompt[t] = (uint32_t)((t * 7 + group * 13 + t * t / 3) % 38);
    if (so_far_count > 0)
        memcpy(job->ids, so_far, so_far_count * sizeof *so_far);
    job->count = so_far_count;
    job->spans[0] = (struct span){.source = SPAN_PROMPT, .count = prompt, .ids = job->prompt};
    job->spans[1] =
        (struct span){.source = SPAN_MODEL, .train = true, .count = so_far_count, .ids = job->ids};
    job->lease = (struct lease){.lease_id = 1000 + j,
                                .group_id = group,
                                .sample = sample,
                                .attempt = 1,
                                .budget = budget - so_far_count,
                                .temperature = 0.8F,
                                .top_p = 1.0F,
                                .kv_version_min = UINT64_MAX,
                                .span_count = so_far_count > 0 ? 2 : 1,
                                .spans = job->spans};
    world->store.job_count++;
    pthread_mutex_unlock(&world->store.lock);
    return job;
}

static bool wait_until(struct world *world, bool (*done)(struct world *), int64_t ms)
{
    int64_t until = clock_now_ns() + ms * CLOCK_NS_PER_MS;
    for (;;) {
        bool yes;
        LOCKED(world->store, yes = done(world));
        if (yes || clock_now_ns() > until)
            return yes;
        clock_sleep_ms(1);
    }
}

static bool all_ended(struct world *world)
{
    for (uint32_t j = 0; j < world->store.job_count; j++)
        if (!job_at(world, j)->ended)
            return false;
    return true;
}

/* ---- the truth ---- */

struct truth {
    uint32_t ids[TOKENS_MAX], count;
    float logprobs[TOKENS_MAX];
    enum segment_status status;
};

static void generate(struct world *world, const struct job *job, uint64_t set, uint32_t budget,
                     struct truth *truth)
{
    int32_t fed[PROMPT_MAX];
    struct op_segment segment = {.count = (int32_t)job->prompt_count};
    for (uint32_t t = 0; t < job->prompt_count; t++)
        fed[t] = (int32_t)job->prompt[t];
    must(model_cache_open(world->cache, 0, (int32_t)(job->prompt_count + budget)));
    truth->count = 0;
    for (truth->status = SEGMENT_MORE; truth->status == SEGMENT_MORE;) {
        struct model_batch batch = {segment.count, fed, &segment, 1};
        act *hidden = NULL;
        must(model_forward(world->model, &world->weights[set], world->cache, &batch, false,
                           &hidden));
        int32_t last = segment.count - 1, token = 0;
        float logprob = 0, truncated = 0;
        uint8_t confident = 0;
        struct op_sample_row row = {.seed = RUN_SEED,
                                    .group = job->lease.group_id,
                                    .sample = job->lease.sample,
                                    .position = job->prompt_count + truth->count,
                                    .temperature = job->lease.temperature,
                                    .top_p = job->lease.top_p,
                                    .top_k = (int32_t)job->lease.top_k};
        struct model_sample sample = {1,      &last,    &row,       0.99F,
                                      &token, &logprob, &truncated, &confident};
        must(model_sample(world->model, &world->weights[set], hidden, &sample));
        truth->ids[truth->count] = (uint32_t)token;
        truth->logprobs[truth->count++] = logprob;
        if (token >= 38)
            truth->status = SEGMENT_EOS;
        else if (truth->count == budget)
            truth->status = SEGMENT_LENGTH;
        segment.position += segment.count;
        segment.count = 1;
        fed[0] = token;
    }
}

/* The learner's logprobs: prompt and response packed into one forward call of the weights `set`. */
static void score(struct world *world, const struct job *job, uint64_t set, float *logprob)
{
    static int32_t ids[PROMPT_MAX + TOKENS_MAX], target[TOKENS_MAX], index[TOKENS_MAX];
    int32_t rows = 0;
    for (uint32_t t = 0; t < job->prompt_count; t++)
        ids[rows++] = (int32_t)job->prompt[t];
    for (uint32_t t = 0; t < job->count; t++) {
        target[t] = (int32_t)job->ids[t];
        index[t] = rows - 1;
        ids[rows++] = target[t];
    }
    struct op_segment segment = {.count = rows};
    struct model_batch batch = {rows, ids, &segment, 1};
    act *hidden = NULL;
    must(model_cache_open(world->cache, 0, rows));
    must(model_forward(world->model, &world->weights[set], world->cache, &batch, false, &hidden));
    struct model_head head = {.rows = (int32_t)job->count,
                              .row_index = index,
                              .temperature = job->lease.temperature,
                              .target = target,
                              .logprob = logprob};
    must(model_head(world->model, &world->weights[set], hidden, &head));
}

/* Every token and every bit of every logprob. */
static void check_job(struct world *world, const struct job *job, uint64_t set, uint32_t budget)
{
    static struct truth truth;
    generate(world, job, set, budget, &truth);
    assert_false(job->gap);
    assert_true(job->ended);
    assert_int_equal(job->count, truth.count);
    assert_int_equal(job->status, truth.status);
    assert_memory_equal(job->ids, truth.ids, truth.count * sizeof *truth.ids);
    assert_memory_equal(job->logprobs + job->inherited, truth.logprobs + job->inherited,
                        (truth.count - job->inherited) * sizeof(float));
}

#endif
