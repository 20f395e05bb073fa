/* weir doctor: what this machine has and lacks for a run. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "ops/cmd.h"
#include "ops/redis_server.h"

enum { SHARED_MEMORY_MB_LEAST = 64, REDIS_PORT = 6399 };

static unsigned lacking;

static void line(bool fine, const char *what, const char *found)
{
    printf("%-8s%-16s%s\n", fine ? "ok" : "LACKS", what, found);
    lacking += !fine;
}

static void check_programs(void)
{
    static const char *const names[] = {"weir-store", "weir-learner", "weir-actor", "weir-reward"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[FILE_PATH_MAX];
        bool found = program_path(names[i], path) == STATUS_OK;
        line(found, names[i], found ? path : error_sentence());
    }
}

static void check_redis(void)
{
    char path[FILE_PATH_MAX];
    bool found = redis_server_find(path) == STATUS_OK;
    line(found, "redis-server", found ? path : error_sentence());
}

static void check_space(const char *path, uint64_t least_mb, const char *use)
{
    struct statvfs info;
    char text[FILE_PATH_MAX + 128];
    if (statvfs(path, &info) != 0) {
        snprintf(text, sizeof text, "%s", strerror(errno));
        line(false, path, text);
        return;
    }
    uint64_t free_mb = (uint64_t)info.f_bavail * info.f_frsize >> 20;
    snprintf(text, sizeof text, "%" PRIu64 " MiB free (%s)", free_mb, use);
    line(free_mb >= least_mb, path, text);
}

static void check_cpu(void)
{
    char text[160];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
#if defined(__x86_64__)
    const char *set = __builtin_cpu_supports("avx512f") ? "AVX-512"
                      : __builtin_cpu_supports("avx2")  ? "AVX2"
                                                        : "no AVX2: the CPU backend will be slow";
#else
    const char *set = "not x86-64: portable kernels";
#endif
    snprintf(text, sizeof text, "%ld cores, %s", cores, set);
    line(true, "cpu", text);
}

/* Only informs: the default is a unix socket. */
static void check_port(void)
{
    char text[160];
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(REDIS_PORT),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool taken = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0)
        close(fd);
    snprintf(text, sizeof text, "127.0.0.1:%d is %s", REDIS_PORT,
             taken ? "in use (fine unless redis.address names it)" : "free");
    line(true, "redis port", text);
}

int cmd_doctor(int argc, char **argv)
{
    (void)argv;
    if (argc > 0)
        return command_usage("doctor", "it takes no arguments");
    check_programs();
    check_redis();
    check_space("/dev/shm", SHARED_MEMORY_MB_LEAST, "weights travel through it");
    check_space(".", SHARED_MEMORY_MB_LEAST, "runs live here");
    check_cpu();
    check_port();
    if (lacking == 0)
        return EXIT_CODE_OK;
    fprintf(stderr, "weir doctor: %u thing%s missing, see above\n", lacking,
            lacking == 1 ? "" : "s");
    return EXIT_CODE_DEPENDENCY;
}
