/* links: learner */
/* timeout: 60 */
/* The learner against a store of a few lines: order of what it says, replays, drains, refusals, damage. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/arena.h"
#include "core/buffer.h"
#include "core/clock.h"
#include "learner/learner.h"
#include "tests/slow.h"
#include "tests/trainer_case.h"
#include "transport/link.h"
#include "transport/weight_channel.h"

enum { STEPS_MAX = 16, PLAN_GROUPS = 40, GROUP_SAMPLES = 2, EVENTS_MAX = 4096 };

/* A store whose plan for version v has the groups v * 1000 + i, made from their ids. */
struct store {
    struct hub *hub;
    struct arena *arena;
    pthread_t thread;
    _Atomic bool stop;
    struct weight_receiver *receiver;
    size_t weights_bytes;
    uint64_t layout_hash;
    char weights_path[FILE_PATH_MAX];

    uint64_t steps;
    uint64_t digest[STEPS_MAX + 1]; /* registered; 0: not yet */
    uint64_t newest;
    uint32_t branch;
    uint64_t pending[PLAN_GROUPS]; /* groups asked for, answered newest first */
    uint32_t pending_count;

    /* What goes wrong. */
    uint64_t silent_plan; /* this version's plan is never given */
    uint64_t signal_plan; /* asked for this version's plan: *signal = signal_value */
    int signal_value;
    atomic_int *signal;
    uint64_t drain_plan;    /* asked for it: the notices drain */
    uint64_t refuse_plan;   /* asked for it: refused */
    uint32_t deaf_plans;    /* plan requests that get lost */
    uint64_t unknown_group; /* is in no plan */
    uint64_t strange_group; /* its tokens are of a version that there is not */
    bool draining;

    /* What was seen. */
    char events[EVENTS_MAX];
    char wrong[512]; /* first broken promise */
    uint32_t reports, asked_most;
    char last_report[16384];
    uint32_t channel_branch;
};

static void event(struct store *store, char kind, uint64_t version)
{
    size_t used = strlen(store->events);
    snprintf(store->events + used, sizeof store->events - used, "%c%" PRIu64 " ", kind, version);
}

static void wrong(struct store *store, const char *text, uint64_t version)
{
    if (store->wrong[0] == '\0')
        snprintf(store->wrong, sizeof store->wrong, "version %" PRIu64 ": %s", version, text);
}

static void reply(struct store *store, const struct hub_peer *peer, const struct message *message)
{
    while (hub_send(store->hub, peer->id, message) == STATUS_AGAIN)
        clock_sleep_ms(1);
}

static void send_notice(struct store *store, const struct hub_peer *peer)
{
    struct message notice = {.type = MESSAGE_notice,
                             .notice = {.version = store->newest,
                                        .digest = store->digest[store->newest],
                                        .branch = store->branch,
                                        .draining = store->draining,
                                        .reason = "test",
                                        .weights_path = ""}};
    reply(store, peer, &notice);
}

/* Version in the weight channel, UINT64_MAX when there is none. */
static uint64_t channel_version(struct store *store, uint64_t *digest)
{
    if (store->receiver == NULL &&
        weight_receiver_open(&store->receiver, store->weights_path, store->layout_hash,
                             store->weights_bytes) != STATUS_OK)
        return UINT64_MAX;
    return weight_receiver_version(store->receiver, &store->channel_branch, digest);
}

static void take_register(struct store *store, const struct hub_peer *peer,
                          const struct version_register *said)
{
    uint64_t digest = 0, shown;
    snprintf(store->weights_path, sizeof store->weights_path, "%s", said->weights_path);
    event(store, 'r', said->version);
    shown = channel_version(store, &digest);
    if (shown != UINT64_MAX && shown >= said->version)
        wrong(store, "in the weight channel before it was registered", said->version);
    if (store->digest[said->version] != 0 && store->digest[said->version] != said->digest) {
        store->branch++;
        memset(store->digest + said->version, 0,
               (STEPS_MAX + 1 - said->version) * sizeof *store->digest);
        store->newest = said->version;
    }
    store->digest[said->version] = said->digest;
    store->newest = said->version > store->newest ? said->version : store->newest;
    struct message ack = {.type = MESSAGE_ack, .ack = {said->request, true, ""}};
    reply(store, peer, &ack);
    send_notice(store, peer);
}

static void take_plan_request(struct store *store, const struct hub_peer *peer,
                              const struct plan_request *request)
{
    uint64_t version = request->version + 1, digest = 0;
    event(store, 'p', version);
    if (channel_version(store, &digest) != request->version ||
        digest != store->digest[request->version])
        wrong(store, "asked on without its weights in the channel", request->version);
    /* Actors at a later version of a dead branch take only weights that say the new one. */
    if (store->channel_branch != store->branch)
        wrong(store, "is in the channel as of another branch", request->version);
    if (store->deaf_plans > 0) {
        store->deaf_plans--;
        return;
    }
    if (store->signal_plan == version)
        *store->signal = store->signal_value;
    if (store->drain_plan == version) {
        store->draining = true;
        send_notice(store, peer);
    }
    if (store->refuse_plan == version) {
        struct message refused = {.type = MESSAGE_refused, .refused = {"no plan for you"}};
        reply(store, peer, &refused);
    }
    if (store->silent_plan == version || store->drain_plan == version || version > store->steps)
        return;
    uint64_t ids[PLAN_GROUPS];
    for (uint64_t i = 0; i < PLAN_GROUPS; i++)
        ids[i] = version * 1000 + i * 7 % PLAN_GROUPS;
    const uint32_t cuts[] = {0, 25};
    struct message plan = {.type = MESSAGE_plan,
                           .plan = {.branch = store->branch,
                                    .version = version,
                                    .digest = store->digest[version],
                                    .group_count = PLAN_GROUPS,
                                    .group_ids = ids,
                                    .cut_count = 2,
                                    .cuts = cuts,
                                    .last = version == store->steps,
                                    .settings_json = "{}"}};
    reply(store, peer, &plan);
}

static void send_group(struct store *store, const struct hub_peer *peer, uint64_t id)
{
    if (id == store->unknown_group) {
        struct message ack = {.type = MESSAGE_ack, .ack = {id, false, "it is in no plan"}};
        reply(store, peer, &ack);
        return;
    }
    enum { TOKENS = 4 };
    uint32_t ids[GROUP_SAMPLES][TOKENS], prompt[3];
    float logprobs[TOKENS] = {-5.5F, -5.75F, -6, -5.25F}, mask[TOKENS] = {1, 1, 1, 1};
    struct group_piece pieces[2] = {{1, id / 1000 - 1, id / 1000 - 1},
                                    {TOKENS - 1, id / 1000 - 1, id / 1000 - 1}};
    struct group_sample samples[GROUP_SAMPLES];
    struct rng rng;
    if (id == store->strange_group)
        pieces[1].version += 7;
    rng_init(&rng, id, 0, RNG_TEST);
    for (int i = 0; i < 3; i++)
        prompt[i] = rng_below(&rng, CASE_VOCABULARY);
    for (uint32_t s = 0; s < GROUP_SAMPLES; s++) {
        for (int t = 0; t < TOKENS; t++)
            ids[s][t] = rng_below(&rng, CASE_VOCABULARY);
        if (id % 1000 == 3 && s == 1)
            ids[s][2] = 70000; /* no such token: this rollout is left out, the run goes on */
        samples[s] = (struct group_sample){.sample = s,
                                           .count = TOKENS,
                                           .ids = ids[s],
                                           .logprobs = logprobs,
                                           .mask = mask,
                                           .piece_count = 2,
                                           .pieces = pieces,
                                           .finish = SEGMENT_EOS,
                                           .reward = s == id % 2 ? 1 : 0};
    }
    struct message group = {.type = MESSAGE_group_data,
                            .group_data = {.group_id = id,
                                           .temperature = 1,
                                           .prompt_count = 3,
                                           .prompt_ids = prompt,
                                           .sample_count = GROUP_SAMPLES,
                                           .samples = samples}};
    reply(store, peer, &group);
    if (id % 5 == 0)
        reply(store, peer, &group); /* an answer may come twice */
}

static void take_report(struct store *store, const struct hub_peer *peer,
                        const struct checkpoint_report *said)
{
    event(store, 'c', said->version);
    if (store->digest[said->version] != said->digest)
        wrong(store, "checkpoint of another digest", said->version);
    char state[FILE_PATH_MAX];
    if (file_path(state, "%s/state.json", said->path) != STATUS_OK || !file_exists(state))
        wrong(store, "reported before the checkpoint was there", said->version);
    struct message ack = {.type = MESSAGE_ack, .ack = {said->request, true, ""}};
    reply(store, peer, &ack);
}

static void take(struct store *store, const struct hub_peer *peer, const struct message *got)
{
    struct message welcome = {.type = MESSAGE_welcome,
                              .welcome = {.heartbeat_ms = 50,
                                          .version = store->newest,
                                          .digest = store->digest[store->newest],
                                          .branch = store->branch,
                                          .weights_path = ""}};
    switch (got->type) {
    case MESSAGE_hello:
        store->layout_hash = got->hello.layout_hash;
        reply(store, peer, &welcome);
        break;
    case MESSAGE_heartbeat:
        send_notice(store, peer);
        break;
    case MESSAGE_version_register:
        take_register(store, peer, &got->version_register);
        break;
    case MESSAGE_plan_request:
        take_plan_request(store, peer, &got->plan_request);
        break;
    case MESSAGE_group_request:
        if (store->pending_count < PLAN_GROUPS)
            store->pending[store->pending_count++] = got->group_request.group_id;
        break;
    case MESSAGE_checkpoint_report:
        take_report(store, peer, &got->checkpoint_report);
        break;
    case MESSAGE_step_report:
        store->reports++;
        snprintf(store->last_report, sizeof store->last_report, "%s",
                 got->step_report.metrics_json);
        break;
    default:
        break;
    }
}

static void *serve(void *self)
{
    struct store *store = self;
    struct hub_peer learner = {0};
    while (!atomic_load(&store->stop)) {
        struct hub_peer peer;
        struct message got;
        arena_reset(store->arena);
        if (hub_poll(store->hub, 5, -1, store->arena, &peer, &got) != STATUS_OK)
            break;
        if (got.type != MESSAGE_NONE) {
            learner = peer;
            take(store, &peer, &got);
            continue;
        }
        /* Quiet: everything asked for so far is there. Answers go out newest first. */
        if (store->pending_count > store->asked_most)
            store->asked_most = store->pending_count;
        while (store->pending_count > 0)
            send_group(store, &learner, store->pending[--store->pending_count]);
    }
    return NULL;
}

/* ---- a run ---- */

static char model[FILE_PATH_MAX], base[FILE_PATH_MAX], endpoint[64], run_name[64];
static size_t weights_bytes;

static int setup(void **state)
{
    (void)state;
    struct model_shape shape;
    struct parameter_table table;
    case_folder(base, "test_learner");
    case_model(model, base, CASE_CONFIG_QWEN2);
    assert_int_equal(model_shape_load(&shape, CASE_CONFIG_QWEN2), STATUS_OK);
    assert_int_equal(parameter_table_create(&table, &shape), STATUS_OK);
    weights_bytes = (size_t)table.elements * sizeof(float);
    parameter_table_destroy(&table);
    snprintf(endpoint, sizeof endpoint, "ipc:///tmp/weir-test-learner-%d.sock", (int)getpid());
    snprintf(run_name, sizeof run_name, "test-learner-%d", (int)getpid());
    return 0;
}

struct run {
    struct store store;
    struct settings settings;
    atomic_int signal;
    char folder[FILE_PATH_MAX];
    bool must_stop; /* what the learner said of its end */
};

/* A new run in an empty folder; store and learner of it may be started several times. */
static void make_run(struct run *run, const char *name, uint64_t steps)
{
    char relative[FILE_PATH_MAX];
    *run = (struct run){.settings = case_settings()};
    assert_int_equal(file_path(relative, "test_learner/%s", name), STATUS_OK);
    case_folder(run->folder, relative);
    run->settings.model.path = model;
    run->settings.redis.mode = REDIS_OFF;
    run->settings.run.steps = (uint32_t)steps;
    run->store.steps = steps;
    run->store.weights_bytes = weights_bytes;
    run->store.signal = &run->signal;
}

/* A learner leaves its file of weights to the supervisor. */
static void remove_channel(const struct run *run)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(weight_channel_path(path, run_name, run->folder), STATUS_OK);
    unlink(path);
}

static enum status run_learner(struct run *run)
{
    struct store *store = &run->store;
    struct learner_options options = {
        .settings = &run->settings, .endpoint = endpoint, .run = run_name, .folder = run->folder};
    struct learner *learner = NULL;
    store->events[0] = '\0';
    store->reports = 0;
    store->pending_count = 0;
    store->draining = false;
    run->signal = 0;
    atomic_store(&store->stop, false);
    assert_int_equal(arena_create(&store->arena, 64 << 20), STATUS_OK);
    assert_int_equal(hub_open(&store->hub, endpoint, NULL), STATUS_OK);
    assert_int_equal(pthread_create(&store->thread, NULL, serve, store), 0);
    enum status status = learner_create(&learner, &options);
    if (status == STATUS_OK)
        status = learner_run(learner, &run->signal);
    run->must_stop = learner != NULL && learner_must_stop(learner);
    learner_destroy(&learner);
    atomic_store(&store->stop, true);
    pthread_join(store->thread, NULL);
    weight_receiver_close(&store->receiver);
    hub_close(&store->hub);
    arena_destroy(&store->arena);
    remove_channel(run);
    if (store->wrong[0] != '\0')
        fail_msg("%s", store->wrong);
    return status;
}

static void expect_run(struct run *run, enum status expected, const char *events)
{
    enum status status = run_learner(run);
    if (status != expected)
        fail_msg("%s: %s", status_name(status), status_last_error());
    if (events != NULL)
        assert_string_equal(run->store.events, events);
}

/* Versions of the lines of metrics.jsonl, in order. */
static void expect_metrics(const struct run *run, const char *versions)
{
    char path[FILE_PATH_MAX], found[256] = "";
    struct buffer text;
    buffer_init(&text, 1 << 20);
    assert_int_equal(file_path(path, "%s/metrics.jsonl", run->folder), STATUS_OK);
    assert_int_equal(file_read(path, &text), STATUS_OK);
    const char *all = buffer_string(&text);
    for (const char *at = all; (at = strstr(at, "{\"step\":")) != NULL; at++) {
        size_t used = strlen(found);
        assert_true(at == all || at[-1] == '\n');
        snprintf(found + used, sizeof found - used, "%ld ", strtol(at + 8, NULL, 10));
    }
    assert_string_equal(found, versions);
    buffer_free(&text);
}

/* ---- tests ---- */

static void test_learner_run_says_everything_in_order(void **state)
{
    (void)state;
    static struct run run;
    make_run(&run, "order", 3);
    expect_run(&run, STATUS_OK, "r0 p1 r1 p2 r2 c2 p3 r3 c3 ");
    assert_int_equal(run.store.reports, 3);
    expect_metrics(&run, "1 2 3 ");
    assert_int_equal(run.store.asked_most, 32); /* the window: not one by one, not all 40 */
    for (int v = 1; v <= 3; v++)
        assert_true(run.store.digest[v] != run.store.digest[v - 1]);
}

static void test_learner_restarted_from_a_checkpoint_makes_the_same_versions(void **state)
{
    (void)state;
    static struct run straight, killed;
    make_run(&straight, "straight", 5);
    expect_run(&straight, STATUS_OK, NULL);
    make_run(&killed, "killed", 5);
    killed.settings.run.threads = 2;
    killed.store.signal_plan = killed.store.silent_plan = 4;
    killed.store.signal_value =
        2; /* ends at once, as a kill would: version 3 is in no checkpoint */
    expect_run(&killed, STATUS_CANCELLED, "r0 p1 r1 p2 r2 c2 p3 r3 p4 ");
    expect_metrics(&killed, "1 2 3 ");
    killed.store.signal_plan = killed.store.silent_plan = 0;
    killed.settings.run.threads = 1;
    killed.store.deaf_plans = 1; /* said again after a second */
    expect_run(&killed, STATUS_OK, "r2 c2 p3 p3 r3 p4 r4 c4 p5 r5 c5 ");
    expect_metrics(&killed, "1 2 3 4 5 ");
    assert_int_equal(killed.store.branch, 0);
    assert_memory_equal(straight.store.digest, killed.store.digest, sizeof straight.store.digest);
    /* A finished run that is started again says what it has and ends. */
    expect_run(&killed, STATUS_OK, "r5 c5 ");
}

static void test_learner_drain_ends_in_a_checkpoint(void **state)
{
    (void)state;
    static struct run run;
    make_run(&run, "drain", 6);
    run.store.signal_plan = run.store.silent_plan = 2;
    run.store.signal_value = 1;
    int64_t begin_ns = clock_now_ns();
    expect_run(&run, STATUS_OK, "r0 p1 r1 p2 c1 ");
    run.store.signal_plan = run.store.silent_plan = 0;
    run.store.drain_plan = 4; /* by the store's notice */
    expect_run(&run, STATUS_OK, "r1 c1 p2 r2 c2 p3 r3 p4 c3 ");
    assert_true(clock_now_ns() - begin_ns < (int64_t)test_times(10, 100) * CLOCK_NS_PER_S);
    /* A signal while a plan comes in: it is left, or finished first when it was all there. */
    run.store.drain_plan = 0;
    run.store.signal_plan = 4;
    expect_run(&run, STATUS_OK, NULL);
    expect_metrics(&run, run.store.digest[4] != 0 ? "1 2 3 4 " : "1 2 3 ");
}

static void test_learner_plan_that_never_comes_is_a_timeout_that_names_the_store(void **state)
{
    (void)state;
    static struct run run;
    make_run(&run, "timeout", 3);
    run.settings.learner.plan_timeout_s = 1;
    run.store.silent_plan = 1;
    expect_run(&run, STATUS_TIMEOUT, NULL);
    assert_non_null(strstr(status_last_error(), "plan"));
    assert_non_null(strstr(status_last_error(), "store"));
}

static void test_learner_refused_ends_with_the_reason_and_no_checkpoint(void **state)
{
    (void)state;
    static struct run run;
    make_run(&run, "refused", 3);
    run.store.refuse_plan = run.store.silent_plan = 2;
    expect_run(&run, STATUS_INVALID, "r0 p1 r1 p2 ");
    assert_non_null(strstr(status_last_error(), "no plan for you"));
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/checkpoints/step_1", run.folder), STATUS_OK);
    assert_false(file_exists(path));
}

static void test_learner_group_of_no_plan_is_named_at_once(void **state)
{
    (void)state;
    static struct run run;
    make_run(&run, "unknown", 3);
    run.store.unknown_group = 2004;
    int64_t begin_ns = clock_now_ns();
    expect_run(&run, STATUS_INVALID, NULL);
    assert_non_null(strstr(status_last_error(), "plan of version 2: the store says: it is in no"));
    assert_true(clock_now_ns() - begin_ns < 5 * CLOCK_NS_PER_S);
}

static void test_learner_re_made_version_that_differs_starts_a_branch(void **state)
{
    (void)state;
    static struct run run;
    make_run(&run, "branch", 4);
    run.store.signal_plan = run.store.silent_plan = 4;
    run.store.signal_value = 2;
    expect_run(&run, STATUS_CANCELLED, NULL);
    run.store.signal_plan = run.store.silent_plan = 0;
    run.store.digest[3] ^= 1; /* as if other weights had been registered */
    expect_run(&run, STATUS_OK, "r2 c2 p3 r3 p4 r4 c4 ");
    assert_int_equal(run.store.branch, 1);
}

static void test_learner_damaged_checkpoint_falls_back_to_the_one_before(void **state)
{
    (void)state;
    static struct run run;
    make_run(&run, "damaged", 4);
    run.settings.learner.checkpoint_every = 1;
    run.store.signal_plan = run.store.silent_plan = 4;
    run.store.signal_value = 2;
    expect_run(&run, STATUS_CANCELLED, NULL);
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/checkpoints/step_3/optimizer.safetensors", run.folder),
                     STATUS_OK);
    assert_int_equal(truncate(path, 5000), 0);
    run.store.signal_plan = run.store.silent_plan = 0;
    expect_run(&run, STATUS_OK, "r2 c2 p3 r3 c3 p4 r4 c4 ");
    assert_int_equal(run.store.branch, 0);
    expect_metrics(&run, "1 2 3 4 ");
    /* None whole: a sentence, not a start from the beginning. */
    for (int version = 3; version <= 4; version++) {
        assert_int_equal(
            file_path(path, "%s/checkpoints/step_%d/optimizer.safetensors", run.folder, version),
            STATUS_OK);
        assert_int_equal(truncate(path, 5000), 0);
    }
    assert_int_not_equal(run_learner(&run), STATUS_OK);
    assert_non_null(strstr(status_last_error(), "no checkpoint can be loaded"));
    assert_non_null(strstr(status_last_error(), "step_4"));
}

/* ---- guards ---- */

/* A copy of the model with one weight that is not a number. */
static void make_poisoned(char folder[FILE_PATH_MAX])
{
    struct model_shape shape;
    struct parameter_table table;
    assert_int_equal(model_shape_load(&shape, CASE_CONFIG_QWEN2), STATUS_OK);
    assert_int_equal(parameter_table_create(&table, &shape), STATUS_OK);
    float *flat = malloc((size_t)table.elements * sizeof *flat);
    assert_non_null(flat);
    assert_int_equal(model_folder_load(model, &shape, &table, flat), STATUS_OK);
    flat[table.final_norm] = NAN;
    assert_int_equal(file_path(folder, "%s/poisoned", base), STATUS_OK);
    assert_int_equal(file_remove_tree(folder), STATUS_OK);
    if (model_folder_save(folder, &shape, &table, flat, ST_F32, model, 0) != STATUS_OK)
        fail_msg("%s", status_last_error());
    free(flat);
    parameter_table_destroy(&table);
}

static void test_learner_non_finite_updates_in_a_row_stop_the_run(void **state)
{
    (void)state;
    static struct run run;
    char poisoned[FILE_PATH_MAX];
    make_poisoned(poisoned);
    make_run(&run, "non_finite", 9);
    run.settings.model.path = poisoned;
    run.settings.learner.non_finite_max = 3; /* two minibatches a version */
    run.settings.learner.checkpoint_every = 9;
    expect_run(&run, STATUS_LIMIT, "r0 p1 r1 p2 ");
    assert_true(run.must_stop);
    assert_non_null(strstr(status_last_error(), "3 updates in a row were skipped "
                                                "(learner.non_finite_max)"));
    assert_non_null(strstr(status_last_error(), "minibatch 0 of version 2, because the logprob"));
    assert_true(run.store.digest[1] == run.store.digest[0]); /* not one bit moved */
    expect_metrics(&run, "1 ");
    assert_non_null(strstr(run.store.last_report, "\"alarm\":\"version 2, minibatch 0 is skipped"));
}

static void test_learner_group_of_unknown_weights_is_left_out_and_the_run_goes_on(void **state)
{
    (void)state;
    static struct run run;
    make_run(&run, "strange", 2);
    run.store.strange_group = 2007;
    expect_run(&run, STATUS_OK, "r0 p1 r1 p2 r2 c2 ");
    assert_false(run.must_stop);
    assert_non_null(strstr(run.store.last_report, "\"train/refused_groups\":1,"));
    assert_non_null(strstr(run.store.last_report, "group 2007 is left out: sample 0: tokens of "
                                                  "version 8"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learner_run_says_everything_in_order),
        cmocka_unit_test(test_learner_restarted_from_a_checkpoint_makes_the_same_versions),
        cmocka_unit_test(test_learner_drain_ends_in_a_checkpoint),
        cmocka_unit_test(test_learner_plan_that_never_comes_is_a_timeout_that_names_the_store),
        cmocka_unit_test(test_learner_refused_ends_with_the_reason_and_no_checkpoint),
        cmocka_unit_test(test_learner_group_of_no_plan_is_named_at_once),
        cmocka_unit_test(test_learner_re_made_version_that_differs_starts_a_branch),
        cmocka_unit_test(test_learner_damaged_checkpoint_falls_back_to_the_one_before),
        cmocka_unit_test(test_learner_non_finite_updates_in_a_row_stop_the_run),
        cmocka_unit_test(test_learner_group_of_unknown_weights_is_left_out_and_the_run_goes_on),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
