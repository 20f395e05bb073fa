/* links: ops reward rollout_store */
/* label: integration */
/* timeout: 600 */
/* A hundred actors join a run and a hundred leave it, by SIGTERM, by kill -9 and by `drain`, while the learner trains:
 * its process stays, a step costs it the same processor time as before, nothing is lost and nothing is done twice.
 * Synchronous: while the learner computes the actors have nothing to do, so what is compared is its work and not the
 * cache they leave it. For the same reason the quiet steps have processes come and go as well, strangers: the same program, at
 * the same rate, that speaks to nobody of this run. Without them the comparison measures the machine: starting a process a
 * few times a second costs whoever else computes there up to 8 % of processor time (shared caches, hyper-threads).
 * Joiners are started by hand, as another machine's supervisor would: the run knows nothing of them before their hello. */
#include <pthread.h>
#include <stdatomic.h>

#include "tests/chaos_ledger.h"
#include "tests/story.h"

enum {
    JOINS = 100,
    STEADY = 3,        /* joiners that are there at a time */
    ROUNDS = 10,       /* quiet steps and churn in turns, so that both see the same machine */
    QUIET_STEPS = 13,  /* before each churn and after the last */
    BLOCK_STEPS = 4,   /* processor time is looked at once so many steps */
    STRANGER_MS = 120, /* a joiner serves after so long */
    SERVE_MS = 5000,   /* from start to the first token, at most */
    LIMIT_MS = 120000,
    SAMPLES_MAX = 1 << 16,
    FIRST_INDEX = 10
};

#define SETTINGS                                                                                   \
    "run.steps=1000000 run.actors=1 run.reward_workers=1 learner.checkpoint_every=1000 "           \
    "store.max_consecutive_dropped=1000000 store.dynamic_sampling=false actor.slots=4 "            \
    "store.max_staleness=0 sampling.response_tokens_max=128 optim.lr=1e-5 store.heartbeat_ms=100 " \
    "store.lease_ms=2000"

/* ---- the learner's processor time, by a thread ---- */

struct sample {
    size_t step;
    int64_t cpu_ns;
};

static struct {
    pid_t learner;
    char metrics[FILE_PATH_MAX];
    _Atomic bool stop;
    _Atomic size_t count;
    struct sample samples[SAMPLES_MAX]; /* one for each new step, `count` of them */
} watch;

/* Of all its threads; ended ones count in none, so the learner must not end any, and it does not. */
static int64_t cpu_ns(pid_t pid)
{
    char path[320], text[128];
    int64_t sum = 0;
    snprintf(path, sizeof path, "/proc/%ld/task", (long)pid);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/%ld/task/%.32s/schedstat", (long)pid, entry->d_name);
        FILE *file = fopen(path, "r");
        if (file != NULL && fgets(text, sizeof text, file) != NULL)
            sum += strtoll(text, NULL, 10);
        if (file != NULL)
            fclose(file);
    }
    if (dir != NULL)
        closedir(dir);
    return sum;
}

static void *watch_learner(void *self)
{
    (void)self;
    FILE *file = NULL;
    size_t steps = 0;
    while (!atomic_load(&watch.stop)) {
        size_t before = steps;
        if (file == NULL)
            file = fopen(watch.metrics, "r");
        for (int c; file != NULL && (c = fgetc(file)) != EOF;)
            steps += c == '\n';
        if (file != NULL)
            clearerr(file);
        size_t count = atomic_load(&watch.count);
        if (steps > before && count < SAMPLES_MAX) {
            watch.samples[count] = (struct sample){steps, cpu_ns(watch.learner)};
            atomic_store(&watch.count, count + 1);
        }
        clock_sleep_ms(1);
    }
    if (file != NULL)
        fclose(file);
    return NULL;
}

static size_t watched_steps(void)
{
    size_t count = atomic_load(&watch.count);
    return count > 0 ? watch.samples[count - 1].step : 0;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Milliseconds of processor time a step: of each block of steps in (from, to], appended to `out`. */
static size_t step_ms(size_t from, size_t to, double *out, size_t count)
{
    const struct sample *first = NULL;
    for (size_t i = 0; i < atomic_load(&watch.count); i++) {
        const struct sample *sample = &watch.samples[i];
        if (sample->step < from || sample->step > to)
            continue;
        if (first == NULL) {
            first = sample;
        } else if (sample->step >= first->step + BLOCK_STEPS) {
            out[count++] = (double)(sample->cpu_ns - first->cpu_ns) /
                           (double)(sample->step - first->step) * 1e-6;
            first = sample;
        }
    }
    return count;
}

/* ---- joiners ---- */

struct joiner {
    pid_t pid;
    unsigned index;
    int64_t began_ns;
};

static struct joiner joiners[STEADY];
static unsigned joined, left;
static double serve_ms[JOINS + STEADY];
static char words[8192];
static const char *arguments[STORY_ARGUMENTS];

/* As actor 0 was started, but by nobody's supervisor. */
static void learn_arguments(const struct story_run *run)
{
    pid_t model = story_process(run, "weir-actor", 0);
    assert_true(model > 0);
    story_command_line(model, words, sizeof words);
    size_t count = 0;
    char *rest = NULL;
    (void)strtok_r(words, " ", &rest); /* the program */
    for (char *word; (word = strtok_r(NULL, " ", &rest)) != NULL;) {
        if (strcmp(word, "--parent") == 0) {
            (void)strtok_r(NULL, " ", &rest);
            continue;
        }
        assert_true(count + 3 < STORY_ARGUMENTS);
        arguments[count++] = word;
    }
    arguments[count] = NULL;
}

static void replace_argument(const char *name, const char *value)
{
    for (size_t i = 0; arguments[i] != NULL; i++)
        if (strcmp(arguments[i], name) == 0)
            arguments[i + 1] = value;
}

static pid_t start_actor(void)
{
    char out[FILE_PATH_MAX], err[FILE_PATH_MAX];
    return story_spawn("weir-actor", arguments, story_path(out, "joiner.out"),
                       story_path(err, "joiner.err"));
}

static void join(struct joiner *joiner)
{
    static char index[16];
    *joiner =
        (struct joiner){.index = FIRST_INDEX + joined % (2 * STEADY), .began_ns = clock_now_ns()};
    snprintf(index, sizeof index, "%u", joiner->index);
    replace_argument("--index", index);
    joiner->pid = start_actor();
}

/* It has sampled tokens, by its own count. */
static bool serves(const json_t *status, const struct joiner *joiner)
{
    size_t i;
    json_t *peer;
    json_array_foreach(json_object_get(status, "peers"), i, peer)
    {
        const json_t *stats = json_object_get(peer, "stats");
        if (json_integer_value(json_object_get(peer, "pid")) == joiner->pid)
            return json_number_value(json_object_get(stats, "actor/tokens_sampled")) > 0;
    }
    return false;
}

static void await_serving(struct story_view *view, const struct joiner *joiner)
{
    for (;;) {
        json_t *status = story_status(view, 1000);
        bool yes = status != NULL && serves(status, joiner);
        json_decref(status);
        double ms = (double)(clock_now_ns() - joiner->began_ns) * 1e-6;
        if (yes)
            serve_ms[joined++] = ms;
        if (yes)
            return;
        if (ms > SERVE_MS)
            fail_msg("actor.%u (pid %ld) does not serve after %.0f ms", joiner->index,
                     (long)joiner->pid, ms);
        clock_sleep_ms(5);
    }
}

/* In turns: SIGTERM, kill -9, and the store's word. */
static void leave(struct story_view *view, struct joiner *joiner)
{
    char request[64];
    int expected = 0;
    switch (left % 3) {
    case 0:
        assert_int_equal(kill(joiner->pid, SIGTERM), 0);
        break;
    case 1:
        assert_int_equal(kill(joiner->pid, SIGKILL), 0);
        expected = 128 + SIGKILL;
        break;
    default:
        snprintf(request, sizeof request, "{\"process\":\"actor.%u\"}", joiner->index);
        assert_int_equal(store_query_ask(view->query, "drain", request, 5000, &view->text),
                         STATUS_OK);
    }
    int code = story_wait_pid(joiner->pid, 30000);
    if (code != expected)
        print_message("joiner %u, leave %u: exit %d, not %d\n", joiner->index, left % 3, code,
                      expected);
    assert_int_equal(code, expected);
    joiner->pid = 0;
    left++;
}

static void churn(struct story_view *view, unsigned joins)
{
    for (unsigned i = 0; i < joins; i++) {
        struct joiner *oldest = &joiners[joined % STEADY];
        leave(view, oldest);
        join(oldest);
        await_serving(view, oldest);
    }
}

/* ---- quiet steps ---- */

/* Waits for `steps` more; meanwhile strangers come and go. */
static void await_more_steps(size_t steps)
{
    char path[FILE_PATH_MAX], nobody[FILE_PATH_MAX + 8];
    const char *kept[STORY_ARGUMENTS];
    memcpy(kept, arguments, sizeof kept);
    snprintf(nobody, sizeof nobody, "ipc://%s", story_path(path, "nobody"));
    replace_argument("--endpoint", nobody);
    size_t until = watched_steps() + steps;
    int64_t end_ns = story_deadline_ns(LIMIT_MS);
    while (watched_steps() < until) {
        if (clock_now_ns() > end_ns)
            fail_msg("%zu steps, not %zu", watched_steps(), until);
        pid_t stranger = start_actor();
        clock_sleep_ms(STRANGER_MS);
        assert_int_equal(kill(stranger, SIGKILL), 0);
        assert_int_equal(story_wait_pid(stranger, 30000), 128 + SIGKILL);
    }
    memcpy(arguments, kept, sizeof kept);
}

/* ---- the story ---- */

static double quiet[SAMPLES_MAX], busy[SAMPLES_MAX];
static size_t quiet_count, busy_count, busy_steps;

static void rounds(struct story_view *view)
{
    for (int round = 0; round <= ROUNDS; round++) {
        size_t begin = watched_steps();
        await_more_steps(QUIET_STEPS);
        size_t middle = watched_steps();
        quiet_count = step_ms(begin + 1, middle, quiet, quiet_count);
        if (round == ROUNDS)
            return;
        churn(view, JOINS / ROUNDS);
        size_t end = watched_steps();
        busy_count = step_ms(middle, end, busy, busy_count);
        busy_steps += end - middle;
    }
}

static void check_figures(void)
{
    assert_true(quiet_count > 5 && busy_count > 5);
    qsort(quiet, quiet_count, sizeof *quiet, compare);
    qsort(busy, busy_count, sizeof *busy, compare);
    qsort(serve_ms, joined, sizeof *serve_ms, compare);
    double without = quiet[quiet_count / 2], with = busy[busy_count / 2];
    print_message("%u joins, %u leaves in %zu steps; a joiner serves after %.0f ms (median), %.0f "
                  "ms (slowest)\n"
                  "learner, processor time a step: %.2f ms with churn (%zu blocks of %d steps), "
                  "%.2f ms without (%zu): %+.1f %%\n",
                  joined, left, busy_steps, serve_ms[joined / 2], serve_ms[joined - 1], with,
                  busy_count, BLOCK_STEPS, without, quiet_count, 100 * (with / without - 1));
    assert_true(serve_ms[joined - 1] <= SERVE_MS);
    assert_true(with <= 1.05 * without);
}

static void check_counters(struct story_view *view)
{
    json_t *status = story_status(view, 5000);
    assert_non_null(status);
    static const char *const none[] = {"dropped_generation_failed", "dropped_scoring_failed",
                                       "dropped_invalid", "dropped_stale"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_int_equal(story_counter(status, none[i]), 0);
    print_message("%" PRIu64 " leases continued elsewhere, %" PRIu64 " tokens made again\n",
                  story_counter(status, "leases_continued"),
                  story_counter(status, "tokens_regenerated"));
    json_decref(status);
}

static void test_story_elastic_hundred_actors_come_and_go(void **state)
{
    (void)state;
    struct story_run run;
    struct story_view view;
    struct audit audit;
    pthread_t thread;
    story_start(&run, "run", SETTINGS);
    story_await_steps(&run, 1, LIMIT_MS);
    story_view_open(&view, &run);
    watch.learner = story_process(&run, "weir-learner", 0);
    assert_true(watch.learner > 0);
    assert_int_equal(file_path(watch.metrics, "%s/metrics.jsonl", run.path), STATUS_OK);
    assert_int_equal(pthread_create(&thread, NULL, watch_learner, NULL), 0);
    learn_arguments(&run);
    for (unsigned i = 0; i < STEADY; i++) {
        join(&joiners[i]);
        await_serving(&view, &joiners[i]);
    }
    rounds(&view);
    assert_int_equal(story_process(&run, "weir-learner", 0), watch.learner);
    for (unsigned i = 0; i < STEADY; i++)
        leave(&view, &joiners[i]);
    atomic_store(&watch.stop, true);
    pthread_join(thread, NULL);
    check_counters(&view);
    story_view_close(&view);
    assert_int_equal(kill(run.pid, SIGTERM), 0);
    assert_int_equal(story_wait(&run, LIMIT_MS), 0);
    audit_run(
        &audit, run.path,
        &(struct audit_rules){
            .group_size = 4, .groups_per_publish = 4, .max_staleness = 0, .response_max = 128});
    audit_print("elastic", &audit);
    assert_int_equal(audit.violations, 0);
    audit_free(&audit);
    check_figures();
}

int main(void)
{
    const struct CMUnitTest tests[] = {STORY_TEST(test_story_elastic_hundred_actors_come_and_go)};
    story_begin("elastic");
    story_make_model(&(struct story_model){14, false}); /* every step has the same tokens */
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
