/* links: learner */
/* timeout: 60 */
/* Checkpoints: a resumed training is the uninterrupted one bit for bit, kills and damage at any place leave a
 * whole one to go on from, and a full disk leaves nothing half-written. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/wait.h"
#include "learner/checkpoint.h"
#include "tests/trainer_case.h"

static char model[FILE_PATH_MAX], base[FILE_PATH_MAX];
static struct settings settings;

static int setup(void **state)
{
    (void)state;
    settings = case_settings();
    settings.learner.microbatch_tokens = 64;
    settings.optim.weight_decay = 0.01;
    case_folder(base, "test_checkpoint");
    case_model(model, base, CASE_CONFIG_QWEN2);
    return 0;
}

static void make_folder(char folder[FILE_PATH_MAX], const char *name)
{
    char relative[FILE_PATH_MAX];
    assert_int_equal(file_path(relative, "test_checkpoint/%s", name), STATUS_OK);
    case_folder(folder, relative);
}

static void open_trainer(struct trainer *trainer, const char *from)
{
    if (trainer_create(trainer, &settings, from, 2 * CASE_TOKENS) != STATUS_OK)
        fail_msg("%s", status_last_error());
}

static void train(struct trainer *trainer, uint64_t seed)
{
    struct case_batch batch;
    struct train_stats stats;
    case_fill(&batch, seed);
    case_update(trainer, &batch, &stats);
    assert_true(stats.updated);
}

static struct checkpoint_state state_of(const struct trainer *trainer, uint64_t version)
{
    return (struct checkpoint_state){.version = version,
                                     .branch = 3,
                                     .digest = trainer->weights.digest,
                                     .updates = trainer->updates,
                                     .skipped = trainer->skipped};
}

static enum status save(const char *folder, struct trainer *trainer, uint64_t version,
                        uint32_t keep)
{
    char path[FILE_PATH_MAX];
    struct checkpoint_state state = state_of(trainer, version);
    return checkpoint_save(folder, trainer, &state, model, keep, path, sizeof path);
}

static enum status load(const char *path, struct trainer *trainer, struct checkpoint_state *state)
{
    char hf[FILE_PATH_MAX];
    TRY(file_path(hf, "%s/hf", path));
    TRY(trainer_create(trainer, &settings, hf, 2 * CASE_TOKENS));
    return checkpoint_load(path, trainer, state);
}

static void test_checkpoint_resumed_training_equals_the_uninterrupted_one(void **state)
{
    (void)state;
    char folder[FILE_PATH_MAX], path[FILE_PATH_MAX];
    make_folder(folder, "resume");
    struct trainer straight, resumed;
    open_trainer(&straight, model);
    uint64_t digest[6];
    for (uint64_t u = 0; u < 6; u++) {
        train(&straight, u);
        digest[u] = straight.weights.digest;
        if (u == 2)
            assert_int_equal(save(folder, &straight, 3, 1), STATUS_OK);
    }
    struct checkpoint_state loaded = {0};
    uint64_t version = 0;
    assert_int_equal(checkpoint_newest(folder, UINT64_MAX, path, sizeof path, &version), STATUS_OK);
    assert_int_equal(version, 3);
    assert_int_equal(load(path, &resumed, &loaded), STATUS_OK);
    assert_true(loaded.version == 3 && loaded.branch == 3 && loaded.updates == 3);
    assert_true(loaded.digest == digest[2] && resumed.weights.digest == digest[2]);
    for (uint64_t u = 3; u < 6; u++) {
        train(&resumed, u);
        assert_true(resumed.weights.digest == digest[u]);
    }
    size_t bytes = (size_t)model_parameters(straight.model)->elements * sizeof(float);
    assert_memory_equal(straight.m, resumed.m, bytes); /* cpu backend: host memory */
    assert_memory_equal(straight.v, resumed.v, bytes);
    trainer_destroy(&straight);
    trainer_destroy(&resumed);
}

static void expect_versions(const char *folder, const char *expected)
{
    char found[256] = "", path[FILE_PATH_MAX];
    uint64_t version = UINT64_MAX;
    while (checkpoint_newest(folder, version, path, sizeof path, &version) == STATUS_OK) {
        size_t used = strlen(found);
        snprintf(found + used, sizeof found - used, "%" PRIu64 " ", version);
    }
    assert_string_equal(found, expected);
}

static void test_checkpoint_keep_removes_older_ones_only(void **state)
{
    (void)state;
    char folder[FILE_PATH_MAX], path[FILE_PATH_MAX];
    make_folder(folder, "keep");
    struct trainer trainer;
    open_trainer(&trainer, model);
    for (uint64_t version = 8; version <= 11; version++) {
        assert_int_equal(save(folder, &trainer, version, 2), STATUS_OK);
    }
    expect_versions(folder, "11 10 ");
    /* A newer one that was passed over as damaged does not push out what was just saved. */
    assert_int_equal(file_path(path, "%s/step_40", folder), STATUS_OK);
    assert_int_equal(file_make_dirs(path), STATUS_OK);
    assert_int_equal(save(folder, &trainer, 12, 1), STATUS_OK);
    expect_versions(folder, "12 ");
    assert_int_equal(save(folder, &trainer, 40, 1), STATUS_OK); /* takes the damaged one's place */
    expect_versions(folder, "40 ");
    trainer_destroy(&trainer);
}

/* ---- damage ---- */

static void change_byte(const char *path, off_t offset)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    uint8_t byte = 0;
    assert_int_equal(pread(fd, &byte, 1, offset), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    close(fd);
}

static off_t size_of(const char *path)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_size;
}

/* Saves version 1, damages one of its files, and expects a load that says where. */
static void expect_damage_seen(const char *file, bool cut)
{
    char folder[FILE_PATH_MAX], path[FILE_PATH_MAX], victim[FILE_PATH_MAX];
    make_folder(folder, "damage");
    struct trainer trainer, loaded;
    struct checkpoint_state state;
    open_trainer(&trainer, model);
    train(&trainer, 1);
    assert_int_equal(save(folder, &trainer, 1, 1), STATUS_OK);
    trainer_destroy(&trainer);
    assert_int_equal(file_path(path, "%s/step_1", folder), STATUS_OK);
    assert_int_equal(file_path(victim, "%s/%s", path, file), STATUS_OK);
    off_t size = size_of(victim);
    if (cut)
        assert_int_equal(truncate(victim, size - 100), 0);
    else
        change_byte(victim, size - 5001); /* among the values */
    enum status status = load(path, &loaded, &state);
    trainer_destroy(&loaded);
    if (status != STATUS_CORRUPT && status != STATUS_INVALID)
        fail_msg("%s %s: %s", file, cut ? "cut" : "changed", status_name(status));
    /* The sentence names the file or, for a digest over all of it, the folder hf. */
    if (strstr(status_last_error(), "step_1/") == NULL)
        fail_msg("no file in: %s", status_last_error());
}

static void test_checkpoint_damaged_file_is_named(void **state)
{
    (void)state;
    expect_damage_seen("optimizer.safetensors", false);
    expect_damage_seen("optimizer.safetensors", true);
    expect_damage_seen("hf/model.safetensors", false);
    expect_damage_seen("hf/model.safetensors", true);
    expect_damage_seen("state.json", true);
}

static void test_checkpoint_unreadable_state_falls_back_to_the_one_before(void **state)
{
    (void)state;
    char folder[FILE_PATH_MAX], path[FILE_PATH_MAX];
    uint64_t version = 0;
    make_folder(folder, "fallback");
    assert_int_equal(checkpoint_newest(folder, UINT64_MAX, path, sizeof path, &version),
                     STATUS_NOT_FOUND);
    struct trainer trainer;
    open_trainer(&trainer, model);
    assert_int_equal(save(folder, &trainer, 4, 2), STATUS_OK);
    assert_int_equal(save(folder, &trainer, 9, 2), STATUS_OK);
    trainer_destroy(&trainer);
    expect_versions(folder, "9 4 ");
    assert_int_equal(file_path(path, "%s/step_9/state.json", folder), STATUS_OK);
    assert_int_equal(truncate(path, 20), 0);
    expect_versions(folder, "4 ");
    /* A state.json in the wrong folder is not that version's. */
    char from[FILE_PATH_MAX], to[FILE_PATH_MAX];
    assert_int_equal(file_path(from, "%s/step_4", folder), STATUS_OK);
    assert_int_equal(file_path(to, "%s/step_7", folder), STATUS_OK);
    assert_int_equal(rename(from, to), 0);
    expect_versions(folder, "");
}

/* ---- kills ---- */

static void save_for_ever(const char *folder)
{
    struct trainer trainer;
    if (trainer_create(&trainer, &settings, model, 2 * CASE_TOKENS) != STATUS_OK)
        _exit(1);
    char path[FILE_PATH_MAX];
    uint64_t version = 0;
    if (checkpoint_newest(folder, UINT64_MAX, path, sizeof path, &version) != STATUS_OK)
        version = 0;
    for (;;)
        if (save(folder, &trainer, ++version, 1) != STATUS_OK)
            _exit(2);
}

/* How long a learner takes here from its start to its first checkpoint, in ms. */
static uint64_t time_first_save(void)
{
    char folder[FILE_PATH_MAX];
    make_folder(folder, "kills_pace");
    struct trainer trainer;
    int64_t begin_ns = clock_now_ns();
    open_trainer(&trainer, model);
    assert_int_equal(save(folder, &trainer, 1, 1), STATUS_OK);
    int64_t end_ns = clock_now_ns();
    trainer_destroy(&trainer);
    return (uint64_t)((end_ns - begin_ns) / CLOCK_NS_PER_MS);
}

static void test_checkpoint_killed_learner_always_leaves_a_whole_one(void **state)
{
    (void)state;
    enum { KILLS = 50 };
    char folder[FILE_PATH_MAX], path[FILE_PATH_MAX];
    make_folder(folder, "kills");
    struct rng rng;
    rng_init(&rng, 11, 0, RNG_TEST);
    uint64_t newest = 0, first_ms = time_first_save();
    uint64_t span_ms = first_ms < 20 ? 60 : 3 * first_ms; /* kills before, in and after saves */
    for (int i = 0; i < KILLS; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            save_for_ever(folder);
        clock_sleep_ms(5 + (int64_t)rng_below(&rng, (uint32_t)span_ms));
        kill(child, SIGKILL);
        int exit_status = 0;
        assert_int_equal(wait_child("kill", "saver", 10000, child, &exit_status), STATUS_OK);
        assert_true(WIFSIGNALED(exit_status)); /* no save failed on what the one before left */
        uint64_t version = 0;
        enum status found = checkpoint_newest(folder, UINT64_MAX, path, sizeof path, &version);
        if (found == STATUS_NOT_FOUND && newest == 0)
            continue; /* killed before its first */
        assert_int_equal(found, STATUS_OK);
        assert_true(version >= newest);
        newest = version;
        struct trainer trainer;
        struct checkpoint_state loaded;
        if (load(path, &trainer, &loaded) != STATUS_OK)
            fail_msg("kill %d, version %" PRIu64 ": %s", i, version, status_last_error());
        assert_true(loaded.version == version);
        trainer_destroy(&trainer);
    }
    print_message("%d kills within %" PRIu64 " ms, newest version %" PRIu64 "\n", KILLS, span_ms,
                  newest);
    assert_true(newest > 1); /* saves did end between the kills; how many depends on the machine */
}

/* ---- full disk ---- */

/* In a child whose files may have `bytes`: exit 0 when the save failed with a sentence and left no trace. */
static void save_with_limit(const char *folder, rlim_t bytes)
{
    struct trainer trainer;
    char path[FILE_PATH_MAX];
    if (trainer_create(&trainer, &settings, model, 2 * CASE_TOKENS) != STATUS_OK)
        _exit(10);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {bytes, bytes};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        _exit(11);
    if (save(folder, &trainer, 2, 1) == STATUS_OK)
        _exit(12);
    if (strstr(status_last_error(), "checkpoint") == NULL)
        _exit(13);
    uint64_t version = 0;
    if (checkpoint_newest(folder, UINT64_MAX, path, sizeof path, &version) != STATUS_OK ||
        version != 1)
        _exit(14);
    if (file_path(path, "%s/partial", folder) != STATUS_OK || file_exists(path))
        _exit(15);
    if (file_path(path, "%s/step_2", folder) != STATUS_OK || file_exists(path))
        _exit(16);
    _exit(0);
}

static void test_checkpoint_full_disk_leaves_the_one_before_and_nothing_else(void **state)
{
    (void)state;
    char folder[FILE_PATH_MAX], path[FILE_PATH_MAX];
    make_folder(folder, "full");
    struct trainer trainer;
    open_trainer(&trainer, model);
    assert_int_equal(save(folder, &trainer, 1, 1), STATUS_OK);
    assert_int_equal(file_path(path, "%s/step_1/hf/model.safetensors", folder), STATUS_OK);
    /* The model file does not fit; it does, but the optimizer's does not; not even config.json does. */
    const rlim_t limits[] = {4096, (rlim_t)size_of(path) + 4096, 16};
    trainer_destroy(&trainer);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            save_with_limit(folder, limits[i]);
        int exit_status = 0;
        assert_int_equal(wait_child("full disk", "saver", 20000, child, &exit_status), STATUS_OK);
        assert_true(WIFEXITED(exit_status));
        assert_int_equal(WEXITSTATUS(exit_status), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checkpoint_resumed_training_equals_the_uninterrupted_one),
        cmocka_unit_test(test_checkpoint_keep_removes_older_ones_only),
        cmocka_unit_test(test_checkpoint_damaged_file_is_named),
        cmocka_unit_test(test_checkpoint_unreadable_state_falls_back_to_the_one_before),
        cmocka_unit_test(test_checkpoint_killed_learner_always_leaves_a_whole_one),
        cmocka_unit_test(test_checkpoint_full_disk_leaves_the_one_before_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
