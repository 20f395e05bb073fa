/* links: reward proto text transport sandbox core */
/* label: unit */
/* valgrind: no, its connections are given up after 300 ms of silence; test_reward_desk has the conversation */
/* timeout: 60 */
/* A reward worker on a thread, and a store that the test plays through the hub: items out, scores in,
 * every score once, whatever becomes of store and plugin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/memory.h"
#include "reward/job.h"
#include "reward/worker.h"
#include "transport/link.h"

enum { ITEMS_MAX = 1000, IDS_MAX = 64, FRAMES_SEEN_MAX = 2048, PATIENCE_MS = 15000, QUEUE = 128 };

/* ---- the store ---- */

struct item {
    const char *response;
    uint32_t first_id; /* != 0: instead of the first byte */
    enum segment_status finish;
    uint32_t scores; /* how often a new frame had it */
    struct score score;
};

struct store {
    struct hub *hub;
    struct arena *arena;
    struct item items[ITEMS_MAX];
    uint32_t item_count, sent;
    const char *record_json;
    bool acks, refuses;
    uint64_t credit, peak; /* most items that were out at once */
    uint32_t peer, hellos, byes, requests, frees[64];
    uint32_t frame_scores[FRAMES_SEEN_MAX]; /* by frame_id; 0 = not seen */
    uint32_t frames_again, scored;
};

static struct store store;
static char endpoint[80];

static void store_open(void)
{
    enum status status = hub_open(&store.hub, endpoint, NULL);
    if (status != STATUS_OK)
        fail_msg("%s", status_last_error());
    store.peer = UINT32_MAX;
    store.credit = 0;
}

static void reply(const struct message *message)
{
    enum status status;
    while ((status = hub_send(store.hub, store.peer, message)) == STATUS_AGAIN)
        clock_sleep_ms(1);
    assert_true(status == STATUS_OK || status == STATUS_NETWORK);
}

static void send_work(void)
{
    static const uint32_t prompt[] = {'1', '+', '='};
    struct score_item items[32];
    uint32_t ids[32][IDS_MAX], count = 0;
    for (; count < 32 && store.credit > 0 && store.sent < store.item_count; store.credit--) {
        const struct item *item = &store.items[store.sent];
        uint32_t size = (uint32_t)strlen(item->response);
        assert_true(size < IDS_MAX);
        for (uint32_t i = 0; i < size; i++)
            ids[count][i] = (unsigned char)item->response[i];
        if (item->first_id != 0)
            ids[count][0] = item->first_id;
        ids[count][size] = 256; /* the end of the text */
        items[count] = (struct score_item){.group_id = 1000 + store.sent,
                                           .sample = store.sent % 7,
                                           .attempt = 2,
                                           .record_json = store.record_json,
                                           .prompt_count = 3,
                                           .prompt_ids = prompt,
                                           .response_count = size + 1,
                                           .response_ids = ids[count],
                                           .finish = item->finish,
                                           .group_size = 7};
        count++;
        store.sent++;
    }
    struct message message = {.type = MESSAGE_score_work, .score_work = {count, items}};
    if (count > 0)
        reply(&message);
    if (store.sent - store.scored > store.peak)
        store.peak = store.sent - store.scored;
}

static void take_frame(const struct score_result *result)
{
    assert_in_range(result->frame_id, 1, FRAMES_SEEN_MAX - 1);
    uint32_t *seen = &store.frame_scores[result->frame_id];
    bool again = *seen != 0;
    if (again) /* a frame that was sent once never grows */
        assert_int_equal(*seen, result->count);
    store.frames_again += again;
    *seen = result->count;
    for (uint32_t i = 0; i < result->count; i++) {
        uint64_t number = result->scores[i].group_id - 1000;
        assert_true(number < store.sent);
        assert_int_equal(result->scores[i].sample, number % 7);
        assert_true(result->scores[i].scorer != 0 || result->scores[i].status == SCORE_ERROR);
        assert_int_equal(result->scores[i].attempt, 2);
        store.items[number].scores += !again;
        store.items[number].score = result->scores[i];
        store.credit++;
        store.scored += !again;
    }
    struct message ack = {.type = MESSAGE_score_ack, .score_ack = {result->frame_id}};
    if (store.acks)
        reply(&ack);
}

static void take_request(const struct score_request *request)
{
    assert_true(request->free <= QUEUE);
    store.credit = request->free;
    if (store.requests < 64)
        store.frees[store.requests++] = request->free;
}

static void store_step(void)
{
    struct hub_peer peer;
    struct message got;
    arena_reset(store.arena);
    assert_int_equal(hub_poll(store.hub, 10, -1, store.arena, &peer, &got), STATUS_OK);
    struct message welcome = {.type = MESSAGE_welcome,
                              .welcome = {.heartbeat_ms = 50, .weights_path = ""}};
    struct message refused = {.type = MESSAGE_refused, .refused = {"another run"}};
    switch (got.type) {
    case MESSAGE_hello:
        assert_int_equal(got.hello.role, ROLE_REWARD);
        assert_string_equal(got.hello.run, "test");
        store.hellos++;
        store.peer = peer.id;
        reply(store.refuses ? &refused : &welcome);
        break;
    case MESSAGE_score_request:
        take_request(&got.score_request);
        break;
    case MESSAGE_score_result:
        take_frame(&got.score_result);
        break;
    case MESSAGE_bye:
        store.byes++;
        break;
    default:
        break;
    }
    if (store.peer != UINT32_MAX && store.byes == 0)
        send_work();
}

#define STORE_UNTIL(condition)                                             \
    do {                                                                   \
        int64_t end_ns_ = clock_now_ns() + PATIENCE_MS * INT64_C(1000000); \
        while (!(condition) && clock_now_ns() < end_ns_)                   \
            store_step();                                                  \
        assert_true(condition);                                            \
    } while (0)

/* ---- the worker ---- */

static struct settings settings;
static struct reward_worker *worker;
static pthread_t thread;
static atomic_int stop_signals;
static _Atomic bool ended;
static enum status end_status;
static char end_text[1024];

static void *run_worker(void *unused)
{
    (void)unused;
    end_status = reward_worker_run(worker, &stop_signals);
    if (end_status != STATUS_OK)
        snprintf(end_text, sizeof end_text, "%s", status_last_error());
    reward_worker_destroy(&worker);
    atomic_store(&ended, true);
    return NULL;
}

static void start(const char *plugin, uint32_t timeout_ms)
{
    settings = (struct settings){0};
    settings.model.path = (char *)"";
    settings.model.tokenizer = TOKENIZER_BYTE;
    settings.redis.mode = REDIS_OFF;
    settings.run.drain_s = 30;
    settings.reward = (struct reward_settings){.plugin = (char *)plugin,
                                               .config = (char *)"{}",
                                               .timeout_ms = timeout_ms,
                                               .queue = QUEUE,
                                               .clip_low = -10,
                                               .clip_high = 10};
    struct reward_worker_options options = {
        .settings = &settings, .endpoint = endpoint, .run = "test", .index = 3};
    stop_signals = 0;
    end_text[0] = '\0';
    atomic_store(&ended, false);
    enum status status = reward_worker_create(&worker, &options);
    if (status != STATUS_OK)
        fail_msg("%s", status_last_error());
    assert_int_equal(pthread_create(&thread, NULL, run_worker, NULL), 0);
}

static void finish(enum status wanted)
{
    STORE_UNTIL(atomic_load(&ended));
    pthread_join(thread, NULL);
    if (end_status != wanted)
        fail_msg("worker ended with %s: %s", status_name(end_status), end_text);
}

static void add_item(const char *response, enum segment_status finished)
{
    assert_true(store.item_count < ITEMS_MAX);
    store.items[store.item_count++] = (struct item){.response = response, .finish = finished};
}

static int setup(void **state)
{
    (void)state;
    static int number;
    snprintf(endpoint, sizeof endpoint, "ipc:///tmp/weir-test-reward-%d-%d.sock", (int)getpid(),
             number++);
    memset(&store, 0, sizeof store);
    store.acks = true;
    store.record_json =
        "{\"data_source\":\"t\",\"prompt\":\"1+=\",\"ground_truth\":\"06783\",\"extra\":{}}";
    store_open();
    return arena_create(&store.arena, 64 << 20) == STATUS_OK ? 0 : 1;
}

static int teardown(void **state)
{
    (void)state;
    hub_close(&store.hub);
    arena_destroy(&store.arena);
    return 0;
}

/* Right, wrong, right but cut off, in turn. */
static void add_sums(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        add_item(i % 3 == 1 ? "06784" : "06783", i % 3 == 2 ? SEGMENT_LENGTH : SEGMENT_EOS);
}

static void check_sums(void)
{
    for (uint32_t i = 0; i < store.item_count; i++) {
        assert_int_equal(store.items[i].scores, 1);
        assert_int_equal(store.items[i].score.status, SCORE_OK);
        assert_true(store.items[i].score.value > 0.5 ? i % 3 == 0 : i % 3 != 0);
    }
}

/* ---- tests ---- */

static void check_text(weir_reward_str text, const char *wanted)
{
    if (text.len != strlen(wanted) || memcmp(text.ptr, wanted, strlen(wanted)) != 0)
        fail_msg("\"%.*s\", wanted \"%s\"", (int)text.len, text.ptr, wanted);
}

static void test_reward_worker_plugin_sees_texts_and_ids_of_an_item(void **state)
{
    (void)state;
    struct tokenizer *tokenizer = NULL;
    assert_int_equal(tokenizer_open(&tokenizer, "", TOKENIZER_BYTE), STATUS_OK);
    const uint32_t prompt[] = {'1', '+', '='}, response[] = {'6', 0xff, 256};
    const struct score_item item = {
        .group_id = 9,
        .sample = 2,
        .attempt = 1,
        .record_json = "{\"data_source\": \"sums\", \"prompt\": [{\"role\": \"user\"}], "
                       "\"ground_truth\": {\"a\": 1.5}, \"extra\": [1, \"x\"]}",
        .prompt_count = 3,
        .prompt_ids = prompt,
        .response_count = 3,
        .response_ids = response,
        .finish = SEGMENT_REPETITION,
        .group_size = 7,
        .version = 5,
        .purpose = PURPOSE_EVAL};
    struct plugin_job *job = NULL;
    assert_int_equal(reward_job_create(&job, tokenizer, WEIR_REWARD_CAP_NEEDS_IDS, &item),
                     STATUS_OK);
    check_text(job->item.data_source, "sums");
    check_text(job->item.prompt_text, "1+=");
    check_text(job->item.prompt_json, "[{\"role\":\"user\"}]");
    check_text(job->item.response, "6\xef\xbf\xbd"); /* valid UTF-8, no end-of-text token */
    check_text(job->item.ground_truth_json, "{\"a\":1.5}");
    check_text(job->item.extra_json, "[1,\"x\"]");
    assert_int_equal(job->item.n_prompt_ids, 3);
    assert_int_equal(job->item.n_response_ids, 3);
    assert_int_equal(job->item.prompt_ids[2], '=');
    assert_int_equal(job->item.response_ids[2], 256);
    assert_int_equal(job->item.struct_size, sizeof job->item);
    assert_int_equal(job->item.finish_reason, WEIR_REWARD_FIN_REPETITION);
    assert_int_equal(job->item.group_id, 9);
    assert_int_equal(job->item.group_index, 2);
    assert_int_equal(job->item.group_size, 7);
    assert_int_equal(job->item.policy_version, 5);
    assert_int_equal(job->item.is_eval, 1);
    reward_job_drop(job);
    assert_int_equal(reward_job_create(&job, tokenizer, 0, &item), STATUS_OK);
    assert_null(job->item.response_ids);
    reward_job_drop(job);
    tokenizer_close(&tokenizer);
}

static void test_reward_worker_thousand_items_are_scored_once_each(void **state)
{
    (void)state;
    add_sums(ITEMS_MAX);
    start(BUILD_DIR "/plugins/addition.so", 5000);
    STORE_UNTIL(store.scored == ITEMS_MAX);
    check_sums();
    assert_int_equal(store.hellos, 1);
    assert_int_equal(store.requests, 1); /* said once; credit comes back with the scores */
    assert_int_equal(store.frees[0], QUEUE);
    assert_true(store.peak <= QUEUE);
    assert_int_equal(store.frames_again, 0);
    stop_signals = 1;
    finish(STATUS_OK);
    STORE_UNTIL(store.byes == 1);
}

static void test_reward_worker_restarted_store_gets_unacknowledged_frames_again(void **state)
{
    (void)state;
    add_sums(100);
    store.acks = false;
    start(BUILD_DIR "/plugins/addition.so", 5000);
    STORE_UNTIL(store.scored == 100);
    assert_int_equal(store.frames_again, 0);
    uint32_t asked =
        store.requests; /* 1, or more on a machine so busy that it had to say hello again */
    hub_close(&store.hub);
    clock_sleep_ms(100);
    store_open();
    STORE_UNTIL(store.requests == asked + 1);
    assert_int_equal(store.frees[asked], QUEUE - 100); /* the worker still holds 100 scores */
    uint32_t frames = 0, last = 0;
    for (uint32_t i = 1; i < FRAMES_SEEN_MAX; i++)
        if (store.frame_scores[i] != 0)
            frames++, last = i;
    store.acks = true;
    add_sums(50);
    STORE_UNTIL(store.scored == 150 && store.frames_again >= frames);
    assert_int_equal(last, frames);
    assert_int_equal(store.frames_again, frames);
    STORE_UNTIL(store.requests >= asked + 2); /* nothing is left: all of the queue is free again */
    assert_int_equal(store.frees[asked + 1], QUEUE);
    for (uint32_t i = 0; i < 150; i++)
        assert_int_equal(store.items[i].scores, 1);
    stop_signals = 1;
    finish(STATUS_OK);
}

static void test_reward_worker_items_it_cannot_read_are_errors(void **state)
{
    (void)state;
    add_sums(1);
    add_item("x6783", SEGMENT_EOS);
    store.items[1].first_id = 9999; /* outside the vocabulary */
    start(BUILD_DIR "/plugins/addition.so", 5000);
    STORE_UNTIL(store.scored == 2);
    assert_int_equal(store.items[0].score.status, SCORE_OK);
    /* a padded id reaches the plugin as U+FFFD: scored, and wrong */
    assert_int_equal(store.items[1].score.status, SCORE_OK);
    assert_true(store.items[1].score.value == 0);
    store.record_json = "{\"ground_truth\": ";
    add_sums(1);
    STORE_UNTIL(store.scored == 3);
    assert_int_equal(store.items[2].score.status, SCORE_ERROR);
    store.record_json = "{\"prompt\":\"no ground truth\"}";
    add_sums(1);
    STORE_UNTIL(store.scored == 4);
    assert_int_equal(store.items[3].score.status, SCORE_UNSCORABLE);
    stop_signals = 1;
    finish(STATUS_OK);
}

static void test_reward_worker_stuck_plugin_is_reported_and_ends_the_worker(void **state)
{
    (void)state;
    add_item("ok", SEGMENT_EOS);
    add_item("never", SEGMENT_EOS);
    add_item("hang for ever", SEGMENT_EOS);
    start(BUILD_DIR "/tests/plugins/behaves.so", 300);
    store.acks = false;
    STORE_UNTIL(store.scored == 3);
    assert_int_equal(store.items[0].score.status, SCORE_OK);
    assert_int_equal(store.items[1].score.status, SCORE_TIMEOUT);
    assert_int_equal(store.items[2].score.status, SCORE_TIMEOUT);
    for (int i = 0; i < 20; i++)
        store_step();
    assert_int_equal(store.byes, 0); /* not before the store has it on disk */
    store.acks = true;
    for (uint64_t frame_id = 1; frame_id < FRAMES_SEEN_MAX; frame_id++) {
        struct message ack = {.type = MESSAGE_score_ack, .score_ack = {frame_id}};
        if (store.frame_scores[frame_id] != 0) /* as the book does it: each frame by itself */
            reply(&ack);
    }
    finish(STATUS_TIMEOUT);
    assert_non_null(strstr(end_text, "behaves 0.1"));
    assert_non_null(strstr(end_text, "reward.timeout_ms=300"));
    STORE_UNTIL(store.byes == 1);
}

static void test_reward_worker_sigterm_finishes_what_it_holds(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++)
        add_item("too late", SEGMENT_EOS); /* 250 ms, here in time */
    start(BUILD_DIR "/tests/plugins/behaves.so", 10000);
    STORE_UNTIL(store.sent == 20);
    while (store.requests == 0)
        store_step();
    clock_sleep_ms(100); /* the worker has taken them */
    stop_signals = 1;
    STORE_UNTIL(store.requests == 2);
    assert_int_equal(store.frees[1], 0);
    finish(STATUS_OK);
    STORE_UNTIL(store.byes == 1);
    assert_int_equal(store.scored, 20);
    for (int i = 0; i < 20; i++)
        assert_int_equal(store.items[i].score.status, SCORE_OK);
}

static void test_reward_worker_second_signal_ends_it_at_once(void **state)
{
    (void)state;
    add_item("never", SEGMENT_EOS);
    start(BUILD_DIR "/tests/plugins/behaves.so", 60000);
    STORE_UNTIL(store.sent == 1);
    stop_signals = 2;
    finish(STATUS_CANCELLED);
    assert_int_equal(store.scored, 0);
}

static void test_reward_worker_refused_by_the_store_says_why(void **state)
{
    (void)state;
    store.refuses = true;
    start(BUILD_DIR "/plugins/addition.so", 5000);
    finish(STATUS_CANCELLED);
    assert_non_null(strstr(end_text, "another run"));
}

static void test_reward_worker_stopping_notice_ends_it(void **state)
{
    (void)state;
    start(BUILD_DIR "/plugins/addition.so", 5000);
    STORE_UNTIL(store.requests == 1);
    struct message notice = {
        .type = MESSAGE_notice,
        .notice = {.stopping = true, .reason = "the run is over", .weights_path = ""}};
    reply(&notice);
    finish(STATUS_OK);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reward_worker_plugin_sees_texts_and_ids_of_an_item),
        TEST(test_reward_worker_thousand_items_are_scored_once_each),
        TEST(test_reward_worker_restarted_store_gets_unacknowledged_frames_again),
        TEST(test_reward_worker_items_it_cannot_read_are_errors),
        TEST(test_reward_worker_sigterm_finishes_what_it_holds),
        TEST(test_reward_worker_second_signal_ends_it_at_once),
        TEST(test_reward_worker_refused_by_the_store_says_why),
        TEST(test_reward_worker_stopping_notice_ends_it),
        TEST(test_reward_worker_stuck_plugin_is_reported_and_ends_the_worker),
    };
    return cmocka_run_group_tests_name("reward_worker", tests, NULL, NULL);
}
