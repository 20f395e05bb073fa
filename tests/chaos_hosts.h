/* tests/chaos_hosts.h - two hosts made of network namespaces, and processes on them that are started again when they
 * end. Needs root, ip and nft. The hosts see each other over one veth pair: 10.213.7.1 and 10.213.7.2. Namespaces are
 * ours alone: <name><pid>; hosts_remove does away with them. */
#ifndef TESTS_CHAOS_HOSTS_H
#define TESTS_CHAOS_HOSTS_H

#include <sched.h>

#include "tests/story.h"

enum { HOSTS = 2, HOSTS_PROCESSES = 32, HOSTS_WORDS = 24, HOSTS_AGAIN_MS = 100 };

static const char *const hosts_address[HOSTS] = {"10.213.7.1", "10.213.7.2"};

struct hosts {
    char name[HOSTS][32];
    bool made[HOSTS];
};

/* Runs a shell line, whose words are all ours; true: it went well. */
static inline bool hosts_shell(const char *format, ...) PRINTF_LIKE(1, 2);
static inline bool hosts_shell(const char *format, ...)
{
    char line[1000];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    const char *const argv[] = {"sh", "-c", line, NULL};
    pid_t pid = fork();
    if (pid == 0) {
        execvp("sh", (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    int ended = -1;
    return pid > 0 && waitpid(pid, &ended, 0) == pid && WIFEXITED(ended) && WEXITSTATUS(ended) == 0;
}

static inline void hosts_remove(struct hosts *hosts)
{
    for (int i = 0; i < HOSTS; i++)
        if (hosts->made[i])
            hosts->made[i] = !hosts_shell("ip netns del %s", hosts->name[i]);
}

/* false: something of it is not to be had here. */
static inline bool hosts_make(struct hosts *hosts)
{
    *hosts = (struct hosts){0};
    if (geteuid() != 0 || !hosts_shell("command -v ip nft > /dev/null"))
        return false;
    for (int i = 0; i < HOSTS; i++) {
        snprintf(hosts->name[i], sizeof hosts->name[i], "weir%ld%c", (long)getpid(), 'a' + i);
        hosts->made[i] = hosts_shell("ip netns add %s 2> /dev/null", hosts->name[i]);
    }
    const char *a = hosts->name[0], *b = hosts->name[1];
    bool done = hosts->made[0] && hosts->made[1] &&
                hosts_shell("ip -n %s link add veth0 type veth peer name veth0 netns %s", a, b);
    for (int i = 0; i < HOSTS && done; i++)
        done = hosts_shell("ip -n %s addr add %s/30 dev veth0 && ip -n %s link set veth0 up && "
                           "ip -n %s link set lo up",
                           hosts->name[i], hosts_address[i], hosts->name[i], hosts->name[i]);
    if (!done) { /* no namespaces, or no veth: not allowed here */
        hosts_remove(hosts);
        return false;
    }
    assert_true(hosts_shell("ip netns exec %s nft 'add table inet weir; "
                            "add chain inet weir in { type filter hook input priority 0; }; "
                            "add chain inet weir out { type filter hook output priority 0; }'",
                            b));
    return true;
}
/* The second host hears nothing (in), says nothing (out); rule: "drop", or what nft says before it. */
static inline void hosts_cut(const struct hosts *hosts, bool in, bool out, const char *rule)
{
    assert_true(hosts_shell("ip netns exec %s nft '%s%s%s%s%s%s'", hosts->name[1],
                            in ? "add rule inet weir in iif veth0 " : "", in ? rule : "",
                            in ? "; " : "", out ? "add rule inet weir out oif veth0 " : "",
                            out ? rule : "", out ? ";" : ""));
}

static inline void hosts_heal(const struct hosts *hosts)
{
    assert_true(hosts_shell("ip netns exec %s nft 'flush table inet weir'", hosts->name[1]));
}

/* ---- processes ---- */

struct hosts_process {
    int host;
    const char *program, *fault; /* WEIR_FAULT of it; NULL none */
    unsigned index;
    pid_t pid;
    int64_t again_ns; /* 0: no */
    int code;         /* of its last end; -1 a signal */
    unsigned starts;
};

struct hosts_fleet {
    struct hosts *hosts;
    struct story_run run;
    const char *settings; /* words with blanks between them */
    char endpoint[64];
    struct hosts_process process[HOSTS_PROCESSES];
    size_t count;
};

static inline struct hosts_process *hosts_add(struct hosts_fleet *fleet, int host,
                                              const char *program, unsigned index)
{
    assert_true(fleet->count < HOSTS_PROCESSES);
    fleet->process[fleet->count] =
        (struct hosts_process){.host = host, .program = program, .index = index, .again_ns = 1};
    return &fleet->process[fleet->count++];
}

static inline void hosts_become(const struct hosts_fleet *fleet,
                                const struct hosts_process *process, pid_t parent)
{
    char space[80], path[FILE_PATH_MAX], recipe[FILE_PATH_MAX], log[FILE_PATH_MAX], words[2000];
    char index[16], from[16];
    snprintf(space, sizeof space, "/run/netns/%s", fleet->hosts->name[process->host]);
    if (file_path(path, "%s/bin/%s", BUILD_DIR, process->program) != STATUS_OK)
        _exit(125);
    if (file_path(log, "%s/logs/%s.%u.log", fleet->run.path, process->program, process->index) !=
        STATUS_OK)
        _exit(125);
    snprintf(index, sizeof index, "%u", process->index);
    snprintf(from, sizeof from, "%ld", (long)parent);
    snprintf(words, sizeof words, "%s", fleet->settings);
    const char *argv[STORY_ARGUMENTS] = {path,
                                         "--config",
                                         story_path(recipe, "recipe.yaml"),
                                         "--run",
                                         fleet->run.name,
                                         "--folder",
                                         fleet->run.path,
                                         "--endpoint",
                                         fleet->endpoint,
                                         "--index",
                                         index,
                                         "--parent",
                                         from};
    size_t count = 13;
    char *rest = NULL;
    for (char *word = strtok_r(words, " ", &rest); word != NULL && count + 1 < STORY_ARGUMENTS;
         word = strtok_r(NULL, " ", &rest))
        argv[count++] = word;
    if (process->fault != NULL)
        setenv("WEIR_FAULT", process->fault, 1);
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    int net = open(space, O_RDONLY | O_CLOEXEC);
    if (net < 0 || setns(net, CLONE_NEWNET) != 0 || dup2(out, STDOUT_FILENO) < 0 ||
        dup2(out, STDERR_FILENO) < 0 || chdir(SOURCE_DIR) != 0)
        _exit(126);
    execv(path, (char *const *)(uintptr_t)argv);
    _exit(127);
}

/* Makes the run's folder; the processes start with the first hosts_attend. */
static inline void hosts_begin(struct hosts_fleet *fleet, struct hosts *hosts, const char *name,
                               const char *settings)
{
    char logs[FILE_PATH_MAX];
    *fleet = (struct hosts_fleet){.hosts = hosts, .settings = settings};
    story_name_run(&fleet->run, name);
    snprintf(fleet->endpoint, sizeof fleet->endpoint, "tcp://%s:5570", hosts_address[0]);
    assert_int_equal(file_path(logs, "%s/logs", fleet->run.path), STATUS_OK);
    assert_int_equal(file_make_dirs(logs), STATUS_OK);
}

static inline void hosts_reap(struct hosts_process *process, int64_t now_ns, bool again)
{
    int ended;
    if (process->pid == 0 || waitpid(process->pid, &ended, WNOHANG) != process->pid)
        return;
    process->pid = 0;
    process->code = WIFEXITED(ended) ? WEXITSTATUS(ended) : -1;
    process->again_ns = again && process->code != 0 ? now_ns + HOSTS_AGAIN_MS * CLOCK_NS_PER_MS : 0;
}

/* Starts what is due; true: the store and the learner ended well, the run is over. */
static inline bool hosts_attend(struct hosts_fleet *fleet)
{
    int64_t now_ns = clock_now_ns();
    unsigned ended = 0;
    for (size_t i = 0; i < fleet->count; i++) {
        struct hosts_process *process = &fleet->process[i];
        hosts_reap(process, now_ns, true);
        if (process->pid == 0 && process->again_ns > 0 && now_ns >= process->again_ns) {
            pid_t parent = getpid();
            process->starts++;
            process->again_ns = 0;
            process->pid = fork();
            assert_true(process->pid >= 0);
            if (process->pid == 0)
                hosts_become(fleet, process, parent);
        }
        bool essential = strcmp(process->program, "weir-store") == 0 ||
                         strcmp(process->program, "weir-learner") == 0;
        ended += essential && process->starts > 0 && process->pid == 0 && process->code == 0 &&
                 process->again_ns == 0;
    }
    return ended == 2;
}

/* SIGTERM to what is left, SIGKILL two seconds later. */
static inline void hosts_end(struct hosts_fleet *fleet)
{
    for (int64_t end_ns = story_deadline_ns(4000), kill_ns = story_deadline_ns(2000);
         clock_now_ns() < end_ns; clock_sleep_ms(10)) {
        unsigned left = 0;
        for (size_t i = 0; i < fleet->count; i++) {
            hosts_reap(&fleet->process[i], 0, false);
            if (fleet->process[i].pid > 0)
                kill(fleet->process[i].pid, clock_now_ns() > kill_ns ? SIGKILL : SIGTERM);
            left += fleet->process[i].pid > 0;
        }
        if (left == 0)
            return;
    }
}

#endif
