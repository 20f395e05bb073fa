/* Attacks before service: a sandbox that lets one through is not opened. One program tries about twenty ways out, in
 * strict and in pooled mode, with a listener of ours on the host as bait; five more run into a limit each. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "sandbox/sandbox_internal.h"

#define PROBE "./probe"

struct bait {
    int tcp, abstract;
    char port[16], name[64], canary[64], pid[16];
};

static enum status listen_on(int family, const void *address, socklen_t size, int *out)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, address, size) != 0 || listen(fd, 1) != 0) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        return FAIL(STATUS_IO, "the self-test's listener: %s", strerror(error));
    }
    *out = fd;
    return STATUS_OK;
}

static enum status bait_open(struct bait *bait)
{
    struct sockaddr_in inet = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    socklen_t size = sizeof inet;
    snprintf(bait->name, sizeof bait->name, "weir-bait-%d-%p", getpid(), (void *)bait);
    snprintf(bait->pid, sizeof bait->pid, "%d", getpid());
    snprintf(bait->canary, sizeof bait->canary, "/proc/%d/status", getpid());
    memcpy(local.sun_path + 1, bait->name, strlen(bait->name));
    TRY(listen_on(AF_INET, &inet, sizeof inet, &bait->tcp));
    if (getsockname(bait->tcp, (struct sockaddr *)&inet, &size) != 0)
        return FAIL(STATUS_IO, "the self-test's listener: %s", strerror(errno));
    snprintf(bait->port, sizeof bait->port, "%u", ntohs(inet.sin_port));
    return listen_on(AF_UNIX, &local,
                     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(bait->name)),
                     &bait->abstract);
}

static struct sandbox_limits small_limits(void)
{
    struct sandbox_limits limits = sandbox_limits_default();
    limits.wall_ms =
        30000; /* of a busy machine; where /proc is masked a second of CPU time is the least limit */
    limits.cpu_ms = 3000;
    limits.memory_bytes = INT64_C(48) << 20;
    limits.output_bytes = 65536;
    limits.processes = 16;
    return limits;
}

static void probe(struct sandbox *sandbox, const char *const *argv, enum sandbox_mode mode,
                  const struct sandbox_limits *limits, struct sandbox_result *result)
{
    struct sandbox_file file = {.path = "probe",
                                .bytes = embedded_probe.begin,
                                .size = (size_t)(embedded_probe.end - embedded_probe.begin),
                                .executable = true};
    struct sandbox_run run = {SANDBOX_RUN,    .argv = argv,    .mode = mode,
                              .files = &file, .file_count = 1, .execute_work = true};
    run.limits = *limits;
    sandbox_execute(sandbox, &run, result);
}

static enum status escapes(struct sandbox *sandbox, const struct bait *bait, enum sandbox_mode mode)
{
    const char *const argv[] = {PROBE,        "escape",  bait->port, bait->name,
                                bait->canary, bait->pid, NULL};
    struct sandbox_limits limits = small_limits();
    struct sandbox_result result;
    enum status status = STATUS_OK;
    probe(sandbox, argv, mode, &limits, &result);
    /* A container's /proc is masked, and the kernel then allows no other: no zygote, no sums over processes. */
    bool masked = result.outcome == SANDBOX_EXITED && result.exit_code == PROBE_WITHOUT_PROC;
    sandbox->no_proc = masked;
    if (result.outcome == SANDBOX_INFRA)
        status = FAIL(STATUS_UNSUPPORTED, "this machine has no sandbox: %s", result.text);
    else if (result.outcome == SANDBOX_EXITED && result.exit_code == 1)
        status = FAIL(STATUS_UNSUPPORTED, "the sandbox does not hold on this machine: %.400s",
                      (const char *)result.output);
    else if (result.outcome != SANDBOX_EXITED || (result.exit_code != 0 && !masked))
        status = FAIL(STATUS_UNSUPPORTED, "the sandbox's self-test ends oddly: %s", result.text);
    sandbox_result_free(&result);
    return status;
}

static enum status limit_holds(struct sandbox *sandbox, const char *what,
                               enum sandbox_limit expected)
{
    const char *const argv[] = {PROBE, what, NULL};
    struct sandbox_limits limits = small_limits();
    struct sandbox_result result;
    if (expected == SANDBOX_LIMIT_CPU)
        limits.cpu_ms = 50;
    if (expected == SANDBOX_LIMIT_WALL)
        limits.wall_ms = 50;
    probe(sandbox, argv, SANDBOX_STRICT, &limits, &result);
    bool held = result.outcome == SANDBOX_LIMIT && result.limit == expected;
    if (expected == SANDBOX_LIMIT_NONE) /* forks: stopped at the number of processes */
        held = result.outcome == SANDBOX_EXITED && result.exit_code == 0 &&
               strtol((const char *)result.output, NULL, 10) < limits.processes;
    if (expected == SANDBOX_LIMIT_MEMORY) /* without a cgroup the program is told */
        held = held || (result.outcome == SANDBOX_EXITED && result.exit_code == ENOMEM);
    enum status status = held ? STATUS_OK
                              : FAIL(STATUS_UNSUPPORTED,
                                     "the sandbox does not hold on this machine: limit test %s: %s",
                                     what, result.text);
    sandbox_result_free(&result);
    return status;
}

static enum status all(struct sandbox *sandbox, struct bait *bait)
{
    TRY(bait_open(bait));
    TRY(escapes(sandbox, bait, SANDBOX_STRICT));
    TRY(escapes(sandbox, bait, SANDBOX_POOLED));
    TRY(limit_holds(sandbox, "spin", SANDBOX_LIMIT_CPU));
    TRY(limit_holds(sandbox, "sleep", SANDBOX_LIMIT_WALL));
    TRY(limit_holds(sandbox, "grow", SANDBOX_LIMIT_MEMORY));
    TRY(limit_holds(sandbox, "flood", SANDBOX_LIMIT_OUTPUT));
    return limit_holds(sandbox, "forks", SANDBOX_LIMIT_NONE);
}

enum status sandbox_self_test(struct sandbox *sandbox)
{
    struct bait bait = {.tcp = -1, .abstract = -1};
    enum status status = all(sandbox, &bait);
    if (bait.tcp >= 0)
        close(bait.tcp);
    if (bait.abstract >= 0)
        close(bait.abstract);
    return status;
}
