/* links: ops transport reward */
/* label: integration */
/* timeout: 120 */
/* A hostile actor joins a real run and sends poison: counted and listed, it is sent away with a sentence, and the run
 * ends with every rollout trained once. */
#include "tests/story.h"
#include "transport/link.h"

enum { STEPS = 40, LIMIT_MS = 60000, SOON_MS = 20000 };

struct intruder {
    struct link *link;
    struct arena *arena;
    struct lease lease; /* the newest it got; id 0: none */
    uint64_t frame;
    char why[512]; /* of its refusal */
};

static void intruder_open(struct intruder *intruder, const struct story_run *run)
{
    char endpoint[FILE_PATH_MAX + 32];
    struct hello hello = {.run = run->name, .role = ROLE_ACTOR, .index = 7, .host = "elsewhere"};
    *intruder = (struct intruder){0};
    snprintf(endpoint, sizeof endpoint, "ipc://%s/store.sock", run->path);
    assert_int_equal(arena_create(&intruder->arena, (size_t)64 << 20), STATUS_OK);
    assert_int_equal(link_open(&intruder->link, endpoint, NULL, &hello), STATUS_OK);
}

static void intruder_close(struct intruder *intruder)
{
    link_close(&intruder->link, "");
    arena_destroy(&intruder->arena);
}

/* Until the store says something of interest, or for limit_ms. False: refused. */
static bool listen(struct intruder *intruder, int64_t limit_ms)
{
    int64_t end_ns = story_deadline_ns(limit_ms);
    while (clock_now_ns() < end_ns) {
        struct message message;
        arena_reset(intruder->arena);
        enum status status = link_poll(intruder->link, 20, -1, intruder->arena, &message);
        if (status != STATUS_OK) {
            snprintf(intruder->why, sizeof intruder->why, "%s", status_last_error());
            return false;
        }
        if (message.type == MESSAGE_lease_grant && message.lease_grant.count > 0)
            intruder->lease = message.lease_grant.leases[0];
        if (message.type == MESSAGE_frame_ack || message.type == MESSAGE_lease_grant)
            return true;
    }
    return true;
}

static void say(struct intruder *intruder, const struct message *message)
{
    for (int n = 0; n < 200 && link_send(intruder->link, message) == STATUS_AGAIN; n++)
        if (!listen(intruder, 50))
            return;
}

static bool send_poison(struct intruder *intruder, int kind)
{
    uint32_t ids[2] = {1, kind == 1 ? 100000000 : 2};
    float logprobs[2] = {-1, -1};
    struct segment segment = {.lease_id = kind == 3 ? 1 : UINT64_C(1) << 40,
                              .group_id = kind == 2 ? UINT64_C(1) << 40 : 0,
                              .sample = kind == 4 ? 60000 : 0,
                              .attempt = 1,
                              .count = 2,
                              .ids = ids,
                              .logprobs = logprobs,
                              .version = kind == 5 ? 1000000 : 0,
                              .digest = 5,
                              .rebuilt_at = UINT32_MAX};
    struct message message = {
        .type = MESSAGE_segment_frame,
        .segment_frame = {++intruder->frame, link_incarnation(intruder->link), 1, &segment}};
    say(intruder, &message);
    return listen(intruder, 1000);
}

static size_t quarantine_lines(const struct story_run *run, const char *kind)
{
    static char text[1 << 20];
    char path[FILE_PATH_MAX], key[64];
    size_t count = 0;
    assert_int_equal(file_path(path, "%s/quarantine.jsonl", run->path), STATUS_OK);
    story_read(path, text, sizeof text);
    snprintf(key, sizeof key, "\"kind\":\"%s\"", kind);
    for (const char *at = strstr(text, key); at != NULL; at = strstr(at + 1, key))
        count++;
    return count;
}

static void test_story_poison_is_refused_and_the_run_ends(void **state)
{
    (void)state;
    struct story_run run;
    struct story_view view;
    struct intruder intruder;
    story_start(&run, "run", "run.steps=40 store.max_staleness=0 store.dynamic_sampling=false");
    story_await_steps(&run, 1, SOON_MS);
    story_view_open(&view, &run);
    intruder_open(&intruder, &run);
    uint32_t frames = 0;
    while (intruder.why[0] == '\0' && frames < 50 && send_poison(&intruder, (int)(frames % 6)))
        frames++;
    print_message("refused after %u frames: %s\n", frames, intruder.why);
    assert_int_equal(frames,
                     9); /* one of them is of a lease that is over, which honest actors send too */
    assert_non_null(strstr(intruder.why, "in a row held something refused"));
    json_t *status = story_status(&view, 2000);
    assert_non_null(status);
    assert_true(story_counter(status, "refused_unknown_lease") > 0);
    assert_true(story_counter(status, "refused_unknown_group") > 0);
    assert_true(story_counter(status, "refused_unknown_sample") > 0);
    assert_true(story_counter(status, "segments_refused") >= 8);
    json_decref(status);
    intruder_close(&intruder);
    story_view_close(&view);
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    assert_true(quarantine_lines(&run, "unknown_lease") > 0);
    assert_true(quarantine_lines(&run, "unknown_group") > 0);
    json_t *lines = story_metrics(&run);
    story_assert_steps(lines, STEPS);
    for (size_t i = 0; i < STEPS; i++)
        assert_int_equal((int)story_number(lines, i, "train/rollouts"), 16);
    json_decref(lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_poison_is_refused_and_the_run_ends),
    };
    story_begin("poison");
    story_make_model(&(struct story_model){14, false});
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
