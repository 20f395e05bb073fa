/* weir doctor: what this machine has and lacks for a run; weir doctor RUN: what was wrong with one (ops/doctor.h). */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/clock.h"
#include "ops/cmd.h"
#include "ops/doctor.h"
#include "ops/gpu_info.h"
#include "ops/redis_server.h"

enum { SHARED_MEMORY_MB_LEAST = 64, REDIS_PORT = 6399, FILES_LEAST = 1024 };

static unsigned lacking;
static json_t *lines; /* --json; NULL: for people */

static void say(const char *state, const char *what, const char *found)
{
    if (lines == NULL)
        printf("%-8s%-16s%s\n", state, what, found);
    else
        json_array_append_new(
            lines, json_pack("{s:s, s:s, s:s}", "state", state, "what", what, "found", found));
}

static void line(bool fine, const char *what, const char *found)
{
    say(fine ? "ok" : "LACKS", what, found);
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

/* The folder of runs, or the nearest one above it that is there: it will be made. */
static void check_runs(void)
{
    char path[FILE_PATH_MAX], text[FILE_PATH_MAX + 100];
    if (file_path(path, "%s", runs_root()) != STATUS_OK)
        return;
    while (!file_exists(path)) {
        char *slash = strrchr(path, '/');
        if (slash == NULL)
            snprintf(path, sizeof path, ".");
        else
            slash[slash == path ? 1 : 0] = '\0';
    }
    check_space(path, SHARED_MEMORY_MB_LEAST, "runs live here");
    if (access(path, W_OK | X_OK) == 0)
        return;
    snprintf(text, sizeof text, "%s: runs cannot be written here; name a folder in WEIR_RUN_ROOT",
             strerror(errno));
    line(false, path, text);
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

/* "1 2": the GPUs that this one reaches directly, or "no other". */
static void peer_list(const struct gpu *gpu, char *text, size_t size)
{
    size_t at = 0;
    text[0] = '\0';
    for (int i = 0; i < GPU_MAX && at + 4 < size; i++)
        if (gpu->peers >> i & 1)
            at += (size_t)snprintf(text + at, size - at, "%s%d", at > 0 ? " " : "", i);
    if (at == 0)
        snprintf(text, size, "no other");
}

/* A machine without GPUs lacks nothing: run.device=cpu. One with GPUs that this build cannot use is told so. */
static void check_gpus(void)
{
    static struct gpu_info info; /* large; one thread */
    char what[32], text[400], peers[160];
    gpu_info_read(&info);
    if (info.count == 0) {
        snprintf(text, sizeof text, "none: %s; run.device=cpu works", info.problem);
        line(true, "gpu", text);
        return;
    }
    for (int i = 0; i < info.count; i++) {
        const struct gpu *gpu = &info.gpus[i];
        peer_list(gpu, peers, sizeof peers);
        bool hopper = gpu->major == 9 && gpu->minor == 0;
        bool same = strcmp(gpu->name, info.gpus[0].name) == 0;
        snprintf(what, sizeof what, "cuda:%d", i);
        snprintf(text, sizeof text,
                 "%s, sm_%d%d%s, %" PRIu64 " of %" PRIu64 " MiB free, reaches %s%s", gpu->name,
                 gpu->major, gpu->minor, hopper ? "" : " (this build is for sm_90)", gpu->free_mb,
                 gpu->total_mb, peers,
                 same ? "" : ", not the same as cuda:0: their probabilities may differ");
        line(hopper, what, text);
    }
    snprintf(text, sizeof text, "driver for CUDA %d.%d%s", info.cuda_version / 1000,
             info.cuda_version / 10 % 100,
             info.cuda_version >= 13000 ? "" : ": 13.0 or newer is needed");
    line(info.cuda_version >= 13000, "cuda", text);
    if (info.nccl_version > 0)
        snprintf(text, sizeof text, "%d.%d.%d", info.nccl_version / 10000,
                 info.nccl_version / 100 % 100, info.nccl_version % 100);
    else
        snprintf(text, sizeof text,
                 "libnccl.so.2 is not found: weights go to other GPUs through it");
    line(info.nccl_version > 0 || info.count == 1, "nccl", text);
#ifndef WITH_CUDA
    line(false, "build",
         "this build has no CUDA: cmake --preset cuda, or ops/bundle on a machine with nvcc");
#endif
}

static void check_limits(void)
{
    struct rlimit files = {0}, locked = {0};
    char text[160];
    (void)getrlimit(RLIMIT_NOFILE, &files);
    (void)getrlimit(RLIMIT_MEMLOCK, &locked);
    bool fine = files.rlim_cur >= FILES_LEAST;
    snprintf(text, sizeof text, "%" PRIu64 " open files%s, %s locked memory",
             (uint64_t)files.rlim_cur, fine ? "" : " (ulimit -n 4096)",
             locked.rlim_cur == RLIM_INFINITY ? "unlimited" : "limited");
    line(fine, "limits", text);
}

/* Only informs: rewards that run programs need it, others do not. */
static void check_sandbox(void)
{
    char path[FILE_PATH_MAX], command[FILE_PATH_MAX + 32], said[256] = "";
    if (program_path("weir-sandbox", path) != STATUS_OK)
        return line(false, "weir-sandbox", error_sentence());
    snprintf(command, sizeof command, "'%s' check 2>&1", path);
    FILE *check = popen(command, "r");
    if (check == NULL || fgets(said, sizeof said, check) == NULL)
        snprintf(said, sizeof said, "weir sandbox check says nothing");
    said[strcspn(said, "\n")] = 0;
    bool fine = check != NULL && pclose(check) == 0;
    say(fine ? "ok" : "without", "sandbox", said);
}

static void print_json(json_t *json)
{
    json_dumpf(json, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(json);
}

static int examine_machine(bool as_json)
{
    lines = as_json ? json_array() : NULL;
    check_programs();
    check_redis();
    check_space("/dev/shm", SHARED_MEMORY_MB_LEAST, "weights travel through it");
    check_runs();
    check_cpu();
    check_gpus();
    check_limits();
    check_port();
    check_sandbox();
    if (as_json)
        print_json(json_pack("{s:i, s:o}", "lacking", (int)lacking, "lines", lines));
    if (lacking == 0)
        return EXIT_CODE_OK;
    if (!as_json)
        fprintf(stderr, "weir doctor: %u thing%s missing, see above\n", lacking,
                lacking == 1 ? "" : "s");
    return EXIT_CODE_DEPENDENCY;
}

static int examine_run(const char *run, bool as_json)
{
    static struct doctor doctor; /* large; one thread */
    char folder[FILE_PATH_MAX], name[RUN_NAME_MAX];
    struct buffer text;
    enum status status = run_folder_find(runs_root(), run, folder, name);
    if (status != STATUS_OK)
        return command_failed("doctor", status);
    bool running = run_folder_holder(folder, NULL) != 0;
    status = doctor_read(&doctor, folder, running, (double)clock_wall_ns() / 1e9);
    if (status != STATUS_OK)
        return command_failed("doctor", status);
    buffer_init(&text, 0);
    if (as_json)
        print_json(doctor_json(&doctor, name, running));
    else if ((status = doctor_text(&doctor, name, &text)) == STATUS_OK)
        fputs(buffer_string(&text), stdout);
    buffer_free(&text);
    if (status != STATUS_OK)
        return command_failed("doctor", status);
    return doctor_crossed(&doctor) > 0 ? EXIT_CODE_FAILED : EXIT_CODE_OK;
}

int cmd_doctor(int argc, char **argv)
{
    const char *run = NULL;
    bool as_json = false;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            as_json = true;
        else if (argv[i][0] == '-')
            return command_usage("doctor", "unknown option %s", argv[i]);
        else if (run != NULL)
            return command_usage("doctor", "it takes one run");
        else
            run = argv[i];
    }
    return run != NULL ? examine_run(run, as_json) : examine_machine(as_json);
}
