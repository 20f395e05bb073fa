/* links: ops reward rollout_store */
/* label: integration */
/* timeout: 300 */
/* The ledger's disk is full, full now and then, slow, or broken. Full and slow are back-pressure: nothing is lost,
 * no lease expires for it, the outcome is the same. Broken stops the run with the sentence, and what is on disk is
 * enough to go on from. The real full disk is a small tmpfs and needs root. */
#include "tests/chaos_story.h"

#include <sys/mount.h>
#include <sys/statvfs.h>

enum { STEPS = 30, LIMIT_MS = 90000, SOON_MS = 30000 };

#define COMMON                                                                              \
    "run.seed=7 run.steps=30 run.actors=2 run.reward_workers=2 learner.checkpoint_every=2 " \
    "store.max_staleness=0 actor.slots=8 sampling.response_tokens_max=24 optim.lr=1e-5 "

static const struct audit_rules rules = {
    .group_size = 4, .groups_per_publish = 4, .steps = STEPS, .response_max = 24};

static struct audit faultless;
static bool measured;

static void assert_trains_the_same(struct story_run *run, const char *name, struct audit *audit)
{
    chaos_finish(audit, run, name, &rules, LIMIT_MS);
    assert_true(measured);
    assert_int_equal(audit_differences(&faultless, audit), 0);
}

static void test_story_chaos_disk_no_fault_is_the_measure(void **state)
{
    (void)state;
    struct story_run run;
    story_start(&run, "faultless", COMMON);
    chaos_finish(&faultless, &run, "faultless", &rules, LIMIT_MS);
    measured = true;
}

static void start_with(struct story_run *run, const char *name, const char *fault,
                       const char *settings)
{
    setenv("WEIR_FAULT", fault, 1);
    setenv("WEIR_FAULT_ROLE", "store.0", 1);
    story_start(run, name, settings);
    unsetenv("WEIR_FAULT");
    unsetenv("WEIR_FAULT_ROLE");
}

/* ---- full ---- */

static void test_story_chaos_disk_full_now_and_then_trains_the_same(void **state)
{
    (void)state;
    struct story_run run;
    struct audit audit;
    start_with(&run, "often", "ledger.write:~12=fail", COMMON);
    assert_trains_the_same(&run, "full now and then", &audit);
    assert_int_equal(audit.expired, 0);
    audit_free(&audit);
}

/* What the store says to `command`, as text; "" without an answer. */
static const char *ask(struct story_view *view, const char *command)
{
    if (store_query_ask(view->query, command, "{}", 1000, &view->text) != STATUS_OK)
        return "";
    return buffer_string(&view->text);
}

/* Bytes of the run's ledger that stay the same for a second. */
static void fill_up(const char *folder, const char *filler)
{
    static const char block[4096];
    int fd = open(filler, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    struct statvfs room;
    while (statvfs(folder, &room) == 0 && room.f_bavail > 16)
        assert_true(write(fd, block, sizeof block) > 0);
    close(fd);
}

static bool await_text(struct story_view *view, const char *command, const char *part)
{
    int64_t end_ns = story_deadline_ns(SOON_MS);
    while (clock_now_ns() < end_ns) {
        if (strstr(ask(view, command), part) != NULL)
            return true;
        clock_sleep_ms(50);
    }
    print_message("%s never said \"%s\": %.1500s\n", command, part, ask(view, command));
    return false;
}

/* Killed after two steps, its ledger moved to the small disk, and resumed there. */
static void begin_on(struct story_run *run, const char *ledger)
{
    char old[FILE_PATH_MAX], from[FILE_PATH_MAX], to[FILE_PATH_MAX];
    story_start(run, "full", COMMON);
    assert_int_equal(file_path(old, "%s/ledger", run->path), STATUS_OK);
    story_await_steps(run, 2, SOON_MS);
    kill(run->pid, SIGKILL);
    assert_int_equal(story_wait_pid(run->pid, 5000), 128 + SIGKILL);
    assert_true(story_await_gone(STORY_GONE_MS) >= 0);
    assert_int_equal(file_path(from, "%s/ledger.000000", old), STATUS_OK);
    assert_int_equal(file_path(to, "%s/ledger.000000", ledger), STATUS_OK);
    story_copy(from, to);
    assert_int_equal(file_remove_tree(old), STATUS_OK);
    assert_int_equal(symlink(ledger, old), 0);
    story_start(run, "full", COMMON "run.resume=true");
}

static void see_it_held(struct story_run *run, const char *ledger)
{
    struct story_view view;
    char filler[FILE_PATH_MAX];
    story_await_steps(run, 3, SOON_MS);
    story_view_open(&view, run);
    assert_int_equal(file_path(filler, "%s/filler", ledger), STATUS_OK);
    fill_up(ledger, filler);
    bool told = await_text(&view, "why", "room on the disk");
    size_t steps = story_steps(run);
    uint64_t bytes = audit_ledger_bytes(ledger);
    clock_sleep_ms(2000);
    bool held = audit_ledger_bytes(ledger) == bytes && story_steps(run) - steps <= 1;
    bool answers = strstr(ask(&view, "status"), "\"counters\"") != NULL;
    const char *why = ask(&view, "why");
    bool names = strstr(why, "ledger.000000") != NULL && strstr(why, "bytes") != NULL;
    print_message("full after step %zu at %" PRIu64 " bytes; why: %.600s\n", steps, bytes, why);
    assert_int_equal(unlink(filler), 0);
    story_view_close(&view);
    assert_true(told);
    assert_true(held);
    assert_true(answers);
    assert_true(names);
}

static void test_story_chaos_disk_full_holds_and_goes_on(void **state)
{
    (void)state;
    struct story_run run;
    struct audit audit;
    char ledger[FILE_PATH_MAX], log[1 << 16];
    story_path(ledger, "small");
    assert_int_equal(file_make_dirs(ledger), STATUS_OK);
    if (geteuid() != 0 || mount("weir", ledger, "tmpfs", 0, "size=2m") != 0) {
        print_message("SKIPPED: a small tmpfs needs root and mount(2)\n");
        skip();
    }
    begin_on(&run, ledger);
    see_it_held(&run, ledger);
    assert_trains_the_same(&run, "full", &audit);
    assert_non_null(strstr(story_log(&run, "store.0", log, sizeof log), "disk full"));
    audit_free(&audit);
    assert_int_equal(umount2(ledger, MNT_DETACH), 0);
}

/* ---- slow ---- */

static void test_story_chaos_disk_slow_costs_no_lease(void **state)
{
    (void)state;
    struct story_run run;
    struct audit audit;
    start_with(&run, "slow", "ledger.appended:~60=sleep.300-3000", COMMON);
    assert_trains_the_same(&run, "slow", &audit);
    assert_int_equal(audit.expired, 0);
    audit_free(&audit);
}

/* ---- broken ---- */

static void break_and_resume(const char *name, const char *fault, const char *sentence)
{
    struct story_run run;
    struct audit audit;
    struct audit_rules so_far = rules;
    so_far.steps = 0;
    start_with(&run, name, fault, COMMON);
    int code = story_wait_pid(run.pid, LIMIT_MS);
    print_message("%s: exit %d\n", name, code);
    assert_int_equal(code, 1);
    assert_true(story_said(run.err, sentence));
    assert_true(story_said(run.err, "ledger.000000"));
    chaos_audit(&audit, &run, name, &so_far);
    audit_free(&audit);
    story_start(&run, name, COMMON "run.resume=true");
    assert_trains_the_same(&run, name, &audit);
    audit_free(&audit);
}

static void test_story_chaos_disk_write_error_stops_with_the_sentence(void **state)
{
    (void)state;
    break_and_resume("write", "ledger.write_error:60=fail", "Input/output error");
}

static void test_story_chaos_disk_sync_error_stops_with_the_sentence(void **state)
{
    (void)state;
    break_and_resume("sync", "ledger.sync:60=fail", "Input/output error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_chaos_disk_no_fault_is_the_measure),
        STORY_TEST(test_story_chaos_disk_full_now_and_then_trains_the_same),
        STORY_TEST(test_story_chaos_disk_full_holds_and_goes_on),
        STORY_TEST(test_story_chaos_disk_slow_costs_no_lease),
        STORY_TEST(test_story_chaos_disk_write_error_stops_with_the_sentence),
        STORY_TEST(test_story_chaos_disk_sync_error_stops_with_the_sentence)};
    char small[FILE_PATH_MAX];
    snprintf(small, sizeof small, "%s/stories/chaos_disk/small", BUILD_DIR);
    umount2(small, MNT_DETACH); /* of an earlier try */
    story_begin("chaos_disk");
    story_make_model(&(struct story_model){14, false});
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    umount2(small, MNT_DETACH);
    audit_free(&faultless);
    return story_end(failures);
}
