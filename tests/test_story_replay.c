/* links: ops reward rollout_store */
/* label: integration */
/* timeout: 480 */
/* weir replay: a run with kept caches, stale tokens and an actor killed in the middle; afterwards every step has its
 * digest again and rollouts, continued ones and ones across versions among them, their tokens and logprobs; a ledger
 * with one bit changed is found out. */
#include "tests/story.h"

#include "rollout_store/record.h"

enum {
    STEPS = 12,
    GROUP_SIZE = 4,
    GROUPS_MAX = 256,
    ROLLOUTS = 20,
    LIMIT_MS = 120000,
    REPLAY_MS = 60000,
    SOON_MS = 30000,
    KILLED_STEPS = 4,
    KILLED_ROLLOUTS = 6 /* looked at, of those across versions */
};

static const char *const settings =
    "run.steps=12 run.seed=11 store.max_staleness=3 store.groups_per_publish=2 "
    "learner.updates_per_publish=1 store.dynamic_sampling=false actor.slots=5 "
    "actor.prefill_tokens=16 sampling.response_tokens_max=200 actor.kv_on_swap=keep "
    "learner.checkpoint_every=5 "
    "learner.checkpoint_keep=2 store.lease_ms=800";

/* ---- what the ledger says ---- */

struct seen {
    uint32_t leases, tokens;
    uint64_t lease_id, version_first, version_last;
    bool finished;
};

struct ledger_view {
    struct seen seen[GROUPS_MAX][GROUP_SIZE];
    uint32_t groups; /* ids are below it */
};

typedef bool (*edit_fn)(void *self, struct record *record); /* true: changed */

static void note_segment(struct ledger_view *view, const struct segment *segment)
{
    if (segment->group_id >= GROUPS_MAX)
        return;
    struct seen *seen = &view->seen[segment->group_id][segment->sample];
    if (segment->group_id >= view->groups)
        view->groups = (uint32_t)segment->group_id + 1;
    seen->finished = segment->status != SEGMENT_MORE && segment->status != SEGMENT_ABORT;
    if (segment->count == 0)
        return;
    seen->leases += seen->lease_id != segment->lease_id;
    seen->lease_id = segment->lease_id;
    seen->version_first = seen->tokens == 0 ? segment->version : seen->version_first;
    seen->version_last = segment->version;
    seen->tokens += segment->count;
}

/* Reads <run>/ledger/ledger.*; with `edit` every record goes through it and into `copy`. */
static void walk_ledger(const char *run, struct ledger_view *view, edit_fn edit, void *self,
                        struct buffer *copy)
{
    char path[FILE_PATH_MAX];
    struct arena *arena = NULL;
    assert_int_equal(arena_create(&arena, (size_t)1 << 30), STATUS_OK);
    for (unsigned n = 0; n < 100; n++) {
        struct buffer bytes;
        buffer_init(&bytes, 0);
        assert_int_equal(file_path(path, "%s/ledger/ledger.%06u", run, n), STATUS_OK);
        enum status status = file_exists(path) ? file_read(path, &bytes) : STATUS_OK;
        assert_int_equal(status, STATUS_OK);
        for (size_t at = 0, used = 0; at < bytes.size; at += used) {
            struct record record;
            arena_reset(arena);
            status = record_unpack(&record, arena, bytes.bytes + at, bytes.size - at, &used);
            if (status == STATUS_AGAIN)
                break; /* of a killed run */
            assert_int_equal(status, STATUS_OK);
            if (view != NULL && record.type == RECORD_SEGMENT)
                note_segment(view, &record.segment.segment);
            if (copy == NULL)
                continue;
            if (edit(self, &record))
                assert_int_equal(record_pack(&record, copy), STATUS_OK);
            else
                assert_int_equal(buffer_append(copy, bytes.bytes + at, used), STATUS_OK);
        }
        buffer_free(&bytes);
    }
    arena_destroy(&arena);
}

/* ---- replay ---- */

static int replay(const char *run, const char *what, char *text, size_t size)
{
    char out[FILE_PATH_MAX], err[FILE_PATH_MAX];
    const char *arguments[] = {"replay", run, what, NULL};
    story_path(out, "replay.out");
    story_path(err, "replay.err");
    int code = story_wait_pid(story_spawn("weir", arguments, out, err), REPLAY_MS);
    story_read(out, text, size);
    if (code != 0) {
        char why[2000];
        print_message("replay %s: exit %d: %s%s\n", what, code, text,
                      story_read(err, why, sizeof why));
    }
    return code;
}

static void replay_steps(const char *run, unsigned steps)
{
    for (unsigned step = 1; step <= steps; step++) {
        char text[4000], what[24];
        snprintf(what, sizeof what, "%u", step);
        assert_int_equal(replay(run, what, text, sizeof text), 0);
        assert_non_null(strstr(text, "equal"));
    }
}

enum kind { CONTINUED, ACROSS, ANY, KINDS };

static bool is_kind(const struct seen *seen, enum kind kind)
{
    return seen->finished && seen->tokens > 0 &&
           (kind == ANY || (kind == CONTINUED && seen->leases > 1) ||
            (kind == ACROSS && seen->leases == 1 && seen->version_first < seen->version_last));
}

/* Up to `most` rollouts of a kind, each once. */
static unsigned replay_rollouts(const char *run, struct ledger_view *view, enum kind kind,
                                unsigned most)
{
    unsigned done = 0;
    for (uint32_t i = 0; i < view->groups * GROUP_SIZE && done < most; i++) {
        struct seen *seen = &view->seen[i / GROUP_SIZE][i % GROUP_SIZE];
        char text[4000], what[24];
        if (!is_kind(seen, kind))
            continue;
        snprintf(what, sizeof what, "%u.%u", i / GROUP_SIZE, i % GROUP_SIZE);
        assert_int_equal(replay(run, what, text, sizeof text), 0);
        assert_non_null(strstr(text, ": equal"));
        print_message("%s", text);
        seen->finished = false;
        done++;
    }
    return done;
}

/* ---- the run ---- */

static struct story_run whole;

static void kill_one_actor(struct story_run *run)
{
    pid_t pid = story_process(run, "weir-actor", 0);
    assert_true(pid > 0);
    assert_int_equal(kill(pid, SIGKILL), 0);
}

static void test_story_replay_of_a_running_run_has_its_digest(void **state)
{
    (void)state;
    char text[4000];
    /* Actors slower than the learner: new weights come in the middle of rollouts. */
    setenv("WEIR_FAULT", "actor.decoded:*=sleep.3", 1);
    story_start(&whole, "run", settings);
    story_await_steps(&whole, 1, SOON_MS);
    kill_one_actor(&whole);
    story_await_steps(&whole, 2, SOON_MS);
    assert_int_equal(replay(whole.path, "1", text, sizeof text), 0);
    kill_one_actor(&whole);
    assert_int_equal(story_wait(&whole, LIMIT_MS), 0);
    unsetenv("WEIR_FAULT");
}

static void test_story_replay_every_step_has_its_digest(void **state)
{
    (void)state;
    replay_steps(whole.path, STEPS);
}

static void test_story_replay_twenty_rollouts_have_their_tokens(void **state)
{
    (void)state;
    static struct ledger_view view;
    walk_ledger(whole.path, &view, NULL, NULL, NULL);
    unsigned continued = replay_rollouts(whole.path, &view, CONTINUED, 8);
    unsigned across = replay_rollouts(whole.path, &view, ACROSS, 8);
    unsigned others = replay_rollouts(whole.path, &view, ANY, ROLLOUTS - continued - across);
    print_message("%u continued after a death, %u across versions, %u others\n", continued, across,
                  others);
    assert_true(continued > 0);
    assert_true(across > 0);
    assert_int_equal(continued + across + others, ROLLOUTS);
}

static void test_story_replay_of_what_is_not_there_says_so(void **state)
{
    (void)state;
    char text[4000], err[FILE_PATH_MAX];
    assert_int_equal(replay(whole.path, "99", text, sizeof text), 4);
    assert_true(story_said(story_path(err, "replay.err"), "no plan of version"));
    assert_int_equal(replay(whole.path, "99999.0", text, sizeof text), 4);
    assert_int_equal(replay(whole.path, "0.9", text, sizeof text), 4);
    assert_int_equal(replay(whole.path, "x", text, sizeof text), 2);
}

/* ---- rebuilt caches, and a run that was killed ---- */

static unsigned count_rebuilt(const char *run, struct ledger_view *view)
{
    unsigned rebuilt = 0;
    for (uint32_t i = 0, done = 0; i < view->groups * GROUP_SIZE && done < KILLED_ROLLOUTS; i++) {
        const struct seen *seen = &view->seen[i / GROUP_SIZE][i % GROUP_SIZE];
        char text[4000], what[24];
        if (seen->tokens == 0 || seen->version_first == seen->version_last)
            continue;
        snprintf(what, sizeof what, "%u.%u", i / GROUP_SIZE, i % GROUP_SIZE);
        assert_int_equal(replay(run, what, text, sizeof text), 0);
        print_message("%s", text);
        rebuilt += strstr(text, "cache rebuilt 0 times") == NULL;
        done++;
    }
    return rebuilt;
}

static void test_story_replay_of_a_killed_run_with_rebuilt_caches_is_equal(void **state)
{
    (void)state;
    static struct ledger_view view;
    struct story_run run;
    char other[1000];
    snprintf(other, sizeof other, "%s actor.kv_on_swap=recompute", settings);
    setenv("WEIR_FAULT", "actor.decoded:*=sleep.3", 1);
    story_start(&run, "killed", other);
    unsetenv("WEIR_FAULT");
    story_await_steps(&run, KILLED_STEPS, SOON_MS);
    assert_int_equal(kill(run.pid, SIGKILL), 0);
    assert_int_equal(story_wait_pid(run.pid, SOON_MS), 128 + SIGKILL);
    assert_true(story_await_gone(STORY_GONE_MS) >= 0);
    replay_steps(run.path, KILLED_STEPS);
    walk_ledger(run.path, &view, NULL, NULL, NULL);
    assert_true(count_rebuilt(run.path, &view) > 0);
}

/* ---- a ledger that says something else ---- */

struct flip {
    uint64_t group_id; /* of it the first segment's first logprob loses a bit; UINT64_MAX: none */
    uint64_t version;  /* its digest is another; 0: none */
    bool done;
    float logprobs[WIRE_SEGMENT_TOKENS_MAX];
};

static bool flip_bit(void *self, struct record *record)
{
    struct flip *flip = self;
    struct segment *segment = &record->segment.segment;
    if (flip->done)
        return false;
    if (record->type == RECORD_VERSION && record->version.version == flip->version &&
        flip->version > 0) {
        record->version.digest ^= 1;
        return flip->done = true;
    }
    if (record->type != RECORD_SEGMENT || segment->group_id != flip->group_id ||
        segment->sample != 0 || segment->count == 0)
        return false;
    uint32_t bits;
    memcpy(flip->logprobs, segment->logprobs, segment->count * sizeof *segment->logprobs);
    memcpy(&bits, flip->logprobs, sizeof bits);
    bits ^= 1;
    memcpy(flip->logprobs, &bits, sizeof bits);
    segment->logprobs = flip->logprobs;
    return flip->done = true;
}

/* A run folder like the whole run's, with another ledger. */
static void make_flipped(const char *name, struct flip *flip, char folder[FILE_PATH_MAX])
{
    char from[FILE_PATH_MAX], to[FILE_PATH_MAX];
    struct buffer copy;
    buffer_init(&copy, 0);
    walk_ledger(whole.path, NULL, flip_bit, flip, &copy);
    assert_true(flip->done);
    story_path(folder, name);
    assert_int_equal(file_path(to, "%s/ledger", folder), STATUS_OK);
    assert_int_equal(file_make_dirs(to), STATUS_OK);
    assert_int_equal(file_path(to, "%s/ledger/ledger.000000", folder), STATUS_OK);
    assert_int_equal(file_replace(to, copy.bytes, copy.size), STATUS_OK);
    assert_int_equal(file_path(from, "%s/config.resolved.yaml", whole.path), STATUS_OK);
    assert_int_equal(file_path(to, "%s/config.resolved.yaml", folder), STATUS_OK);
    story_copy(from, to);
    assert_int_equal(file_path(to, "%s/lock", folder), STATUS_OK);
    story_write(to, ""); /* a run folder has one */
    assert_int_equal(file_path(from, "%s/checkpoints", whole.path), STATUS_OK);
    assert_int_equal(file_path(to, "%s/checkpoints", folder), STATUS_OK);
    assert_int_equal(symlink(from, to), 0);
    buffer_free(&copy);
}

static void test_story_replay_one_changed_logprob_bit_is_found(void **state)
{
    (void)state;
    static struct flip flip = {.group_id = 1};
    char folder[FILE_PATH_MAX], text[4000];
    make_flipped("flipped-logprob", &flip, folder);
    assert_int_equal(replay(folder, "1.0", text, sizeof text), 1);
    assert_non_null(strstr(text, "DIFFERENT at token 0"));
    assert_int_equal(replay(folder, "1.1", text, sizeof text), 0);
}

static void test_story_replay_another_digest_is_found(void **state)
{
    (void)state;
    static struct flip flip = {.group_id = UINT64_MAX, .version = 1};
    char folder[FILE_PATH_MAX], text[4000];
    make_flipped("flipped-digest", &flip, folder);
    assert_int_equal(replay(folder, "1", text, sizeof text), 1);
    assert_non_null(strstr(text, "DIFFERENT"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_replay_of_a_running_run_has_its_digest),
        STORY_TEST(test_story_replay_every_step_has_its_digest),
        STORY_TEST(test_story_replay_twenty_rollouts_have_their_tokens),
        STORY_TEST(test_story_replay_of_what_is_not_there_says_so),
        STORY_TEST(test_story_replay_of_a_killed_run_with_rebuilt_caches_is_equal),
        STORY_TEST(test_story_replay_one_changed_logprob_bit_is_found),
        STORY_TEST(test_story_replay_another_digest_is_found)};
    story_begin("replay");
    story_make_model(&(struct story_model){14, false}); /* nothing ends but by its budget */
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
