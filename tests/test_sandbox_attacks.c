/* links: core sandbox */
/* label: integration */
/* timeout: 1500 */
/* Every program of tests/attacks in strict and pooled mode, the Python ones in zygote mode too, as root and as a user
 * without rights: the verdict of each, and after each that nothing is left on the host: no process, cgroup, mount,
 * descriptor or connection, and the bait as it was. One line each with ATTACKS_VERBOSE=1, otherwise the failures; the
 * count at the end. ATTACKS_ONLY=name runs one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/clock.h"
#include "core/file.h"
#include "sandbox/sandbox.h"

enum { ATTACKS_MAX = 512, NOBODY = 65534, ATTACKS_LEAST = 90 };

/* ---- what is expected; "contained" of all that is not here ---- */

struct expectation {
    const char *name, *verdict; /* alternatives between '|' */
    const char *weak;           /* where no cgroup counts; NULL: the same */
};

#define ANY_LIMIT "limit:cpu|limit:wall|limit:memory|limit:output|limit:files"

static const struct expectation expectations[] = {
    {"fork_bomb", "limit:cpu|limit:wall", NULL},
    {"session_bomb", "limit:cpu|limit:wall", NULL},
    {"vfork_hang", "limit:wall", NULL},
    {"fork_chain", "exit:0", NULL},
    {"exec_loop", "limit:cpu|limit:wall", NULL},
    {"memory_touch", "limit:memory", "contained|limit:memory"},
    {"memory", "limit:memory", "contained|limit:memory"},
    {"memory_children", "limit:memory", "limit:memory|limit:wall|limit:cpu"},
    {"memory_mapped_twice", "limit:memory", "contained|limit:memory"},
    {"memory_many_ranges", "contained|limit:memory", NULL},
    {"deep_recursion", "signal:11", NULL},
    {"memory_file", "limit:files", NULL},
    {"pipe_buffers", "contained|limit:memory", NULL},
    {"socket_buffers", "contained|limit:memory", NULL},
    {"big_file.c", "limit:files", NULL},
    {"big_tmp_file", "limit:files", NULL},
    {"big_shm_file", "limit:files", NULL},
    {"sparse_file", "limit:files", NULL},
    {"allocated_file", "limit:files", NULL},
    {"core_file", "signal:6", NULL},
    {"stdout_flood", "limit:output", NULL},
    {"stderr_flood", "limit:output", NULL},
    {"children_flood", "limit:output", NULL},
    {"reopened_stdout", "limit:output", NULL},
    {"flood", "limit:output", NULL},
    {"flood_stderr", "limit:output", NULL},
    {"slow_drip", "limit:wall", NULL},
    {"spin", "limit:cpu", NULL},
    {"spin_in_c", "limit:cpu", NULL},
    {"ignore_cpu_signal", "limit:cpu", NULL},
    {"spin_children", "limit:cpu", NULL},
    {"spin_short_children", "limit:cpu", "limit:cpu|limit:wall"},
    {"sleep_long", "limit:wall", NULL},
    {"sleep", "limit:wall", NULL},
    {"ignore_signals", "limit:wall", NULL},
    {"stop_itself", "limit:wall", NULL},
    {"stopped_children", "limit:wall", NULL},
    {"exit_256", "exit:0", NULL},
    {"exit_at_once", "exit:0", NULL},
    {"exit_7", "exit:7", NULL},
    {"exit_in_thread", "exit:7", NULL},
    {"raise_at_end", "exit:1", NULL},
    {"forge_status", "exit:7", NULL},
    {"kill_itself", "signal:9", NULL},
    {"call_32_bit", "signal:31|signal:11", NULL},
    {"call_x32", "contained|signal:31", NULL},
    {"crash_interpreter", "signal:11", NULL},
    {"recursion", "signal:11|limit:wall|limit:cpu|limit:memory|exit:1", NULL},
    {"include_zero", ANY_LIMIT "|exit:1|exit:4", NULL},
    {"macro_bomb", ANY_LIMIT "|exit:1|exit:4", NULL},
    {"template_bomb", ANY_LIMIT "|exit:1|exit:4", NULL},
    {"huge_array", ANY_LIMIT "|contained", NULL},
    {"include_itself", ANY_LIMIT "|contained", NULL},
    {"compiler_output", "limit:output|exit:1", NULL},
    {"endless_pipe", "limit:cpu", NULL},
};

/* ---- the programs ---- */

enum kind { C_PROGRAM, PYTHON_PROGRAM, SHELL_PROGRAM };

struct attack {
    enum kind kind;
    char name[64];
    const struct buffer *binary; /* C_PROGRAM */
    struct buffer text;          /* the others */
};

static struct attack attacks[ATTACKS_MAX];
static size_t attack_count;
static struct buffer binaries[2];

static void load_binary(struct buffer *binary, const char *path)
{
    char command[FILE_PATH_MAX + 16], line[128];
    buffer_init(binary, 0);
    assert_int_equal(file_read(path, binary), STATUS_OK);
    snprintf(command, sizeof command, "'%s' list", path);
    FILE *names = popen(command, "r");
    assert_non_null(names);
    while (fgets(line, sizeof line, names) != NULL && attack_count < ATTACKS_MAX) {
        struct attack *attack = &attacks[attack_count++];
        line[strcspn(line, "\n")] = 0;
        *attack = (struct attack){.kind = C_PROGRAM, .binary = binary};
        snprintf(attack->name, sizeof attack->name, "%.63s", line);
    }
    pclose(names);
}

static void load_texts(const char *folder, const char *ending, enum kind kind)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name, *dot = strrchr(name, '.');
        if (dot != NULL && strcmp(dot, ending) == 0 && attack_count < ATTACKS_MAX) {
            struct attack *attack = &attacks[attack_count++];
            char path[FILE_PATH_MAX];
            *attack = (struct attack){.kind = kind};
            snprintf(attack->name, sizeof attack->name, "%.*s", (int)(dot - name), name);
            buffer_init(&attack->text, 0);
            assert_int_equal(file_path(path, "%s/%s", folder, name), STATUS_OK);
            assert_int_equal(file_read(path, &attack->text), STATUS_OK);
        }
        free(entries[i]);
    }
    free(entries);
}

/* ---- the bait ---- */

static struct {
    char folder[64], canary[96], socket[96], abstract[64], port[16];
    int listeners[4]; /* tcp, udp, abstract, path */
} bait;

static int listener(int family, int kind, const void *address, socklen_t size)
{
    int fd = socket(family, kind | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, address, size), 0);
    assert_true(kind == SOCK_DGRAM || listen(fd, 4) == 0);
    return fd;
}

static void bait_make(void)
{
    struct sockaddr_in inet = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un name = {.sun_family = AF_UNIX}, path = {.sun_family = AF_UNIX};
    socklen_t size = sizeof inet;
    snprintf(bait.folder, sizeof bait.folder, "/tmp/weir-bait-XXXXXX");
    assert_non_null(mkdtemp(bait.folder));
    chmod(bait.folder, 0777);
    snprintf(bait.canary, sizeof bait.canary, "%s/canary", bait.folder);
    snprintf(bait.socket, sizeof bait.socket, "%s/socket", bait.folder);
    snprintf(bait.abstract, sizeof bait.abstract, "weir-bait-%d", getpid());
    assert_int_equal(file_replace(bait.canary, "sings", 5), STATUS_OK);
    chmod(bait.canary, 0666);
    bait.listeners[0] = listener(AF_INET, SOCK_STREAM, &inet, sizeof inet);
    assert_int_equal(getsockname(bait.listeners[0], (struct sockaddr *)&inet, &size), 0);
    snprintf(bait.port, sizeof bait.port, "%u", ntohs(inet.sin_port));
    bait.listeners[1] = listener(AF_INET, SOCK_DGRAM, &inet, sizeof inet);
    memcpy(name.sun_path + 1, bait.abstract, strlen(bait.abstract));
    bait.listeners[2] =
        listener(AF_UNIX, SOCK_STREAM, &name,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(bait.abstract)));
    memcpy(path.sun_path, bait.socket, strlen(bait.socket));
    bait.listeners[3] = listener(AF_UNIX, SOCK_STREAM, &path, sizeof path);
    chmod(bait.socket, 0777);
}

static bool bait_taken(void)
{
    struct buffer canary;
    char byte;
    buffer_init(&canary, 0);
    bool taken = file_read(bait.canary, &canary) != STATUS_OK || canary.size != 5 ||
                 memcmp(canary.bytes, "sings", 5) != 0;
    buffer_free(&canary);
    for (int i = 0; i < 4; i++)
        taken = taken || (i == 1 ? recv(bait.listeners[i], &byte, 1, 0)
                                 : accept(bait.listeners[i], NULL, NULL)) >= 0;
    return taken;
}

/* ---- the host ---- */

struct host {
    long processes, cgroups, mounts, descriptors, launcher_descriptors, shared_memory;
};

static long count_lines(const char *path)
{
    FILE *file = fopen(path, "r");
    long count = 0;
    for (int byte; file != NULL && (byte = fgetc(file)) != EOF;)
        count += byte == '\n';
    if (file != NULL)
        fclose(file);
    return count;
}

static long count_entries(const char *path)
{
    DIR *folder = opendir(path);
    long count = 0;
    while (folder != NULL && readdir(folder) != NULL)
        count++;
    if (folder != NULL)
        closedir(folder);
    return count;
}

/* Cgroups below those named "weir.<launcher>". */
static long count_groups(const char *path, const char *own, bool inside)
{
    DIR *folder = opendir(path);
    long count = 0;
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        char below[2048];
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
            continue;
        snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        bool ours = inside || strncmp(entry->d_name, own, strlen(own)) == 0;
        count += ours + count_groups(below, own, ours);
    }
    if (folder != NULL)
        closedir(folder);
    return count;
}

static pid_t parent_of(const char *pid)
{
    char path[300], text[512];
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    const char *name = strrchr(text, ')');
    return name == NULL ? 0 : (pid_t)strtol(name + 4, NULL, 10);
}

/* Everything below this process: launchers, keepers, and what should not be there; zombies too. */
static long count_below(pid_t ancestor, pid_t *child)
{
    static pid_t pids[32768], parents[32768];
    size_t known = 0;
    long count = 0;
    DIR *folder = opendir("/proc");
    for (struct dirent *entry;
         folder != NULL && (entry = readdir(folder)) != NULL && known < 32768;)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9') {
            pids[known] = (pid_t)strtol(entry->d_name, NULL, 10);
            parents[known++] = parent_of(entry->d_name);
        }
    closedir(folder);
    for (size_t i = 0; i < known; i++) {
        pid_t at = parents[i];
        if (at == ancestor)
            *child = pids[i];
        for (int depth = 0; depth < 8 && at > 1 && at != ancestor; depth++) {
            size_t j = 0;
            while (j < known && pids[j] != at)
                j++;
            at = j < known ? parents[j] : 0;
        }
        count += at == ancestor;
    }
    return count;
}

static struct host host_look(void)
{
    struct host now = {0};
    char path[64], own[32];
    pid_t launcher = 0;
    now.processes = count_below(getpid(), &launcher);
    snprintf(own, sizeof own, "weir.%d.", launcher);
    snprintf(path, sizeof path, "/proc/%d/fd", launcher);
    now.cgroups = count_groups("/sys/fs/cgroup", own, false);
    now.mounts = count_lines("/proc/self/mountinfo");
    now.descriptors = count_entries("/proc/self/fd");
    now.launcher_descriptors = count_entries(path);
    now.shared_memory = count_lines("/proc/sysvipc/shm");
    return now;
}

/* ---- one attack ---- */

static const char *const mode_names[] = {"strict", "pooled", "zygote"};
static unsigned runs_done, runs_failed;

/* Two seconds where they are to be seen; long where another limit is, so that a busy machine changes no verdict. */
static int64_t wall_ms(const char *expected)
{
    return strstr(expected, "limit:wall") != NULL ? 2000 : 20000;
}

static void execute(struct sandbox *sandbox, const struct attack *attack, const char *expected,
                    enum sandbox_mode mode, bool shown, struct sandbox_result *result)
{
    char pid[16];
    snprintf(pid, sizeof pid, "%d", getppid());
    const char *const native[] = {"./attack",  attack->name, bait.port, bait.abstract,
                                  bait.socket, bait.canary,  pid,       NULL};
    const char *const python[] = {"/usr/bin/python3", "main.py", NULL}, *const shell[] = {"/bin/sh",
                                                                                          "main.sh",
                                                                                          NULL};
    const char *const folders[] = {bait.folder, NULL};
    const char *const results[] = {
        strcmp(attack->name, "result_behind_link") == 0 ? "folder/passwd" : "out", NULL};
    const struct buffer *bytes = attack->kind == C_PROGRAM ? attack->binary : &attack->text;
    static const char *const names[] = {"attack", "main.py", "main.sh"};
    struct sandbox_file file = {names[attack->kind], bytes->bytes, bytes->size, true};
    struct sandbox_run run = {SANDBOX_RUN, .mode = mode, .files = &file, .file_count = 1,
                              .results = results};
    run.argv = attack->kind == C_PROGRAM ? native : attack->kind == PYTHON_PROGRAM ? python : shell;
    run.execute_work = attack->kind == C_PROGRAM;
    if (mode == SANDBOX_ZYGOTE) {
        run.python = (const char *)bytes->bytes;
        run.file_count = 0;
    }
    run.shown = shown ? folders : NULL;
    run.limits = (struct sandbox_limits){.wall_ms = wall_ms(expected),
                                         .cpu_ms = 1000,
                                         .memory_bytes = INT64_C(256) << 20,
                                         .output_bytes = 65536,
                                         .disk_bytes = INT64_C(32) << 20,
                                         .file_bytes = INT64_C(16) << 20,
                                         .stack_bytes = INT64_C(16) << 20,
                                         .inodes = 2048,
                                         .processes = 32,
                                         .open_files = 64};
    sandbox_execute(sandbox, &run, result);
}

static void verdict_of(const struct sandbox_result *result, char out[64])
{
    static const char word[] = "contained\n";
    size_t size = sizeof word - 1;
    if (result->outcome == SANDBOX_LIMIT)
        snprintf(out, 64, "limit:%s", sandbox_limit_name(result->limit));
    else if (result->outcome == SANDBOX_SIGNALED)
        snprintf(out, 64, "signal:%d", result->signal);
    else if (result->outcome == SANDBOX_INFRA)
        snprintf(out, 64, "infra");
    else if (result->exit_code == 0 && result->output_size >= size &&
             memcmp(result->output + result->output_size - size, word, size) == 0)
        snprintf(out, 64, "contained");
    else
        snprintf(out, 64, "exit:%d", result->exit_code);
}

static bool among(const char *alternatives, const char *verdict)
{
    size_t size = strlen(verdict);
    for (const char *at = alternatives; *at != 0;
         at += at[strcspn(at, "|")] == '|' ? strcspn(at, "|") + 1 : strlen(at))
        if (strcspn(at, "|") == size && memcmp(at, verdict, size) == 0)
            return true;
    return false;
}

static const char *expected_of(const struct attack *attack, bool weak)
{
    char with_kind[80];
    snprintf(with_kind, sizeof with_kind, "%s.c", attack->name);
    for (size_t i = 0; i < sizeof expectations / sizeof expectations[0]; i++) {
        const struct expectation *row = &expectations[i];
        if (strcmp(row->name, attack->name) == 0 ||
            (attack->kind == C_PROGRAM && strcmp(row->name, with_kind) == 0))
            return weak && row->weak != NULL ? row->weak : row->verdict;
    }
    return "contained";
}

/* Beyond the verdict: what must not be in the output or among the results. */
static const char *wrong_with(const struct attack *attack, const struct sandbox_result *result)
{
    static const char odd[] = "a\0b\033[2J\xff\xfe\xed\xa0\x80\xf4\x90\x80\x80\ncontained\n";
    if (memmem(result->output, result->output_size, "LEAK", 4) != NULL)
        return "LEAK";
    bool may_be_read = strcmp(attack->name, "result_unreadable") == 0 ||
                       strcmp(attack->name, "result_huge") == 0; /* "x"; empty */
    if (strncmp(attack->name, "result_", 7) == 0 && !may_be_read && result->results[0].found)
        return "its result was read";
    if (strcmp(attack->name, "odd_bytes") == 0 &&
        (result->output_size != sizeof odd - 1 || memcmp(result->output, odd, sizeof odd - 1) != 0))
        return "its bytes were changed";
    return bait_taken() ? "the bait is taken" : NULL;
}

static void attack_once(struct sandbox *sandbox, const struct attack *attack,
                        enum sandbox_mode mode, bool weak, bool shown, const struct host *before)
{
    struct sandbox_result result;
    char verdict[64];
    const char *only = getenv("ATTACKS_ONLY"), *expected = expected_of(attack, weak);
    if (only != NULL && strcmp(only, attack->name) != 0)
        return;
    execute(sandbox, attack, expected, mode, shown, &result);
    verdict_of(&result, verdict);
    const char *wrong = among(expected, verdict) ? wrong_with(attack, &result) : "another verdict";
    struct host now = host_look();
    if (wrong == NULL && memcmp(&now, before, sizeof now) != 0)
        wrong = "something is left on the host";
    runs_done++;
    runs_failed += wrong != NULL;
    if (wrong != NULL || getenv("ATTACKS_VERBOSE") != NULL)
        printf("%s %-7s%s %-24s %-14s %5ld ms  %s%s%s\n", geteuid() == 0 ? "root" : "user",
               mode_names[mode], shown ? "+shown" : "", attack->name, verdict, (long)result.wall_ms,
               wrong == NULL ? "ok" : "FAILED: ", wrong == NULL ? "" : wrong,
               wrong == NULL ? "" : result.text);
    if (wrong != NULL && strcmp(wrong, "something is left on the host") == 0)
        printf("    processes %+ld cgroups %+ld mounts %+ld descriptors %+ld launcher's %+ld "
               "shared memory %+ld\n",
               now.processes - before->processes, now.cgroups - before->cgroups,
               now.mounts - before->mounts, now.descriptors - before->descriptors,
               now.launcher_descriptors - before->launcher_descriptors,
               now.shared_memory - before->shared_memory);
    if (wrong != NULL && result.output != NULL)
        printf("    expected %s; stdout: %.300s stderr: %.600s\n", expected,
               (const char *)result.output, (const char *)result.error);
    sandbox_result_free(&result);
}

static void warm_up(struct sandbox *sandbox)
{
    for (int mode = SANDBOX_STRICT; mode <= SANDBOX_ZYGOTE; mode++) {
        static const char *const argv[] = {"/usr/bin/true", NULL};
        struct sandbox_run run = {SANDBOX_RUN, .argv = argv, .mode = (enum sandbox_mode)mode,
                                  .python = "pass"};
        struct sandbox_result result;
        sandbox_execute(sandbox, &run, &result);
        if (result.outcome != SANDBOX_EXITED)
            printf("%s: %s\n", mode_names[mode], result.text);
        sandbox_result_free(&result);
    }
}

/* How many went wrong; -1: no sandbox here. */
static int attack_all(void)
{
    struct sandbox *sandbox = NULL;
    struct sandbox_options options = {.jobs = 1};
    char about[SANDBOX_DESCRIPTION_MAX];
    if (sandbox_open(&sandbox, &options) != STATUS_OK) {
        printf("no sandbox: %s\n", status_last_error());
        return -1;
    }
    sandbox_describe(sandbox, about);
    bool weak = strstr(about, "weaker") != NULL;
    warm_up(sandbox);
    struct host before = host_look();
    for (int mode = SANDBOX_STRICT; mode <= SANDBOX_ZYGOTE; mode++)
        for (size_t i = 0; i < attack_count; i++) {
            if (mode == SANDBOX_ZYGOTE && attacks[i].kind != PYTHON_PROGRAM)
                continue;
            attack_once(sandbox, &attacks[i], (enum sandbox_mode)mode, weak, false, &before);
            if (mode == SANDBOX_STRICT &&
                strncmp(attacks[i].name, "unix_", 5) == 0) /* its socket in plain sight */
                attack_once(sandbox, &attacks[i], SANDBOX_STRICT, weak, true, &before);
        }
    sandbox_close(&sandbox);
    struct host after = host_look();
    if (after.processes != 0 || after.mounts != before.mounts) {
        printf("left at the end: %ld processes\n", after.processes);
        runs_failed++;
    }
    printf("%s%s: %zu programs, %u runs, %u not contained\n",
           geteuid() == 0 ? "root" : "user without rights", weak ? " (no cgroups)" : "",
           attack_count, runs_done, runs_failed);
    fflush(stdout);
    return (int)runs_failed;
}

/* Mounts of our own, for whoever may: other programs of the machine do not look like leaks then. They are shared, as
 * below systemd, so that a mount which a sandbox does not keep to itself comes out here. */
static void take_own_mounts(void)
{
    bool own = unshare(CLONE_NEWNS) == 0 &&
               mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
               mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL) == 0;
    if (!own)
        print_message("mounts of other programs are counted, too: %s\n", strerror(errno));
}

static void test_sandbox_attacks_all_are_contained_as_root_and_as_nobody(void **state)
{
    (void)state;
    int status = 0;
    load_binary(&binaries[0], BUILD_DIR "/tests/attacks/attack_ways_out");
    load_binary(&binaries[1], BUILD_DIR "/tests/attacks/attack_limits");
    load_texts(SOURCE_DIR "/tests/attacks/py", ".py", PYTHON_PROGRAM);
    load_texts(SOURCE_DIR "/tests/attacks/sh", ".sh", SHELL_PROGRAM);
    assert_true(attack_count >= ATTACKS_LEAST);
    bait_make();
    setvbuf(stdout, NULL, _IOLBF, 0);
    take_own_mounts();
    fflush(stdout);
    pid_t nobody = geteuid() == 0 ? fork() : -1; /* beside each other: each has its own sandbox */
    if (nobody == 0) {
        if (setgroups(0, NULL) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
            _exit(99);
        int failed = attack_all();
        _exit(failed < 0 ? 98 : failed > 90 ? 90 : failed);
    }
    /* the child beside us is not what an attack left */
    pid_t judge = fork();
    if (judge == 0) {
        int failed = attack_all();
        _exit(failed < 0 ? 98 : failed > 90 ? 90 : failed);
    }
    int own = 0;
    waitpid(judge, &own, 0);
    if (nobody > 0)
        waitpid(nobody, &status, 0);
    file_remove_tree(bait.folder) == STATUS_OK ? (void)0 : fail();
    assert_int_equal(WEXITSTATUS(own), 0);
    assert_true(WIFEXITED(own));
    assert_true(nobody < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sandbox_attacks_all_are_contained_as_root_and_as_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
