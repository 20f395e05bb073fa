/* links: ops */
/* label: integration */
/* timeout: 120 */
/* What a run leaves for people: rollout files, histograms, TensorBoard files and spans agree with metrics.jsonl, also when
 * the learner is killed between two checkpoints and makes steps again: then each file is the one of the run that nobody
 * touched, byte for byte. And weir forward hands every step on once. */
#include "tests/story.h"

enum { STEPS = 5, LIMIT_MS = 60000 };

static const char *const settings =
    "run.steps=5 run.actors=1 store.max_staleness=0 store.dynamic_sampling=false "
    "learner.updates_per_publish=2 learner.checkpoint_every=3";

static void run_python(const char *script, const struct story_run *run)
{
    char path[FILE_PATH_MAX], weir[FILE_PATH_MAX], out[FILE_PATH_MAX], text[4000];
    assert_int_equal(file_path(path, SOURCE_DIR "/tests/views/%s", script), STATUS_OK);
    assert_int_equal(file_path(weir, BUILD_DIR "/bin/weir"), STATUS_OK);
    story_path(out, "python.out");
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        dup2(fd, 1);
        dup2(fd, 2);
        execlp("python3", "python3", path, weir, run->path, (char *)NULL);
        _exit(127);
    }
    int code = story_wait_pid(pid, LIMIT_MS);
    if (code != 0)
        print_message("%s: exit %d: %s\n", script, code, story_read(out, text, sizeof text));
    assert_int_equal(code, 0);
}

static void read_step(const struct story_run *run, int step, struct buffer *bytes)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/rollouts/step_%06d.jsonl.zst", run->path, step),
                     STATUS_OK);
    buffer_init(bytes, 0);
    assert_int_equal(file_read(path, bytes), STATUS_OK);
}

static void test_story_views_of_steps_made_again_are_those_of_the_untouched_run(void **state)
{
    (void)state;
    struct story_run whole, killed;
    story_make_model(&(struct story_model){.vocabulary = 14, .ends = true});
    char once[FILE_PATH_MAX];
    story_run_whole(&whole, "whole", settings, LIMIT_MS);
    assert_int_equal(file_make_dirs(story_path(once, "once")), STATUS_OK);
    setenv("WEIR_FAULT", "learner.published:6=kill", 1); /* version 0 is the first: after step 5 */
    setenv("WEIR_FAULT_ROLE", "learner.0", 1);
    setenv("WEIR_FAULT_ONCE", once, 1);
    story_run_whole(&killed, "killed", settings, LIMIT_MS);
    unsetenv("WEIR_FAULT");
    unsetenv("WEIR_FAULT_ROLE");
    unsetenv("WEIR_FAULT_ONCE");
    assert_true(file_exists(story_path(once, "once/learner.published")));
    for (int step = 1; step <= STEPS; step++) {
        struct buffer a, b;
        read_step(&whole, step, &a);
        read_step(&killed, step, &b);
        assert_int_equal(a.size, b.size);
        assert_memory_equal(a.bytes, b.bytes, a.size);
        buffer_free(&a);
        buffer_free(&b);
    }
    run_python("check_run.py", &whole);
    run_python("check_run.py", &killed);
    run_python("check_forward.py", &whole);
}

int main(void)
{
    story_begin("views");
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_views_of_steps_made_again_are_those_of_the_untouched_run),
    };
    return story_end(cmocka_run_group_tests(tests, NULL, NULL));
}
