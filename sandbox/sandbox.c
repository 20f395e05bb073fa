#include "sandbox/sandbox.h"

#include <linux/filter.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "core/memory.h"
#include "sandbox/filter.h"
#include "sandbox/sandbox_internal.h"

#define USUAL_IMPORTS                                                                             \
    "abc argparse array ast base64 bisect calendar cmath collections collections.abc contextlib " \
    "copy "                                                                                       \
    "dataclasses datetime decimal enum fractions functools hashlib heapq io inspect itertools "   \
    "json "                                                                                       \
    "math numbers operator os queue random re statistics string struct sys textwrap threading "   \
    "time "                                                                                       \
    "traceback types typing unicodedata"

struct sandbox_limits sandbox_limits_default(void)
{
    return (struct sandbox_limits){
        .wall_ms = 10000,
        .cpu_ms = 10000,
        .memory_bytes = INT64_C(512) << 20,
        .output_bytes = INT64_C(1) << 20,
        .disk_bytes = INT64_C(64) << 20,
        .file_bytes = INT64_C(32) << 20,
        .stack_bytes = INT64_C(64) << 20,
        .inodes = 4096,
        .processes = 64,
        .open_files = 64,
    };
}

static enum status make(struct sandbox *made, const struct sandbox_options *options)
{
    int processors = get_nprocs();
    made->slot_count =
        options->jobs != 0 ? options->jobs : (uint32_t)(processors > 0 ? processors : 1);
    if (made->slot_count > SANDBOX_JOBS_MAX)
        made->slot_count = SANDBOX_JOBS_MAX;
    const char *imports = options->zygote_imports != NULL ? options->zygote_imports : USUAL_IMPORTS;
    const char *cgroup = options->cgroup != NULL ? options->cgroup : "";
    if (strlen(imports) >= sizeof made->setup.imports)
        return FAIL(STATUS_INVALID, "zygote_imports has %zu bytes, at most %zu", strlen(imports),
                    sizeof made->setup.imports - 1);
    if (strlen(cgroup) >= sizeof made->setup.cgroup)
        return FAIL(STATUS_INVALID, "the cgroup's path has %zu bytes, at most %zu", strlen(cgroup),
                    sizeof made->setup.cgroup - 1);
    snprintf(made->setup.imports, sizeof made->setup.imports, "%s", imports);
    snprintf(made->setup.cgroup, sizeof made->setup.cgroup, "%s", cgroup);
    for (int locks = 0; locks < 2; locks++) {
        size_t before = made->filter.size;
        TRY(filter_make(&made->filter, locks == 1));
        made->setup.filter_counts[locks] =
            (uint32_t)((made->filter.size - before) / sizeof(struct sock_filter));
    }
    for (uint32_t i = 0; i < made->slot_count; i++)
        TRY(slot_start(made, i));
    return options->no_self_test ? STATUS_OK : sandbox_self_test(made);
}

enum status sandbox_open(struct sandbox **sandbox, const struct sandbox_options *options)
{
    struct sandbox *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "a sandbox");
    buffer_init(&made->filter, 0);
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->free, NULL);
    enum status status = make(made, options);
    if (status != STATUS_OK) {
        char kept[STATUS_TEXT_MAX];
        status_keep(kept);
        sandbox_close(&made);
        status_restore(kept);
        return status;
    }
    *sandbox = made;
    return STATUS_OK;
}

void sandbox_close(struct sandbox **sandbox)
{
    struct sandbox *old = *sandbox;
    if (old == NULL)
        return;
    *sandbox = NULL;
    for (uint32_t i = 0; i < SANDBOX_SLOTS_MAX; i++)
        slot_stop(&old->slots[i]);
    buffer_free(&old->filter);
    pthread_cond_destroy(&old->free);
    pthread_mutex_destroy(&old->lock);
    memory_free(old);
}

/* A run beside another has the slots after slot_count, started when they are first needed, and never waits:
 * SANDBOX_SLOTS_MAX when there is none. */
static uint32_t take_slot(struct sandbox *sandbox, bool beside)
{
    uint32_t from = beside ? sandbox->slot_count : 0,
             end = beside ? SANDBOX_SLOTS_MAX : sandbox->slot_count;
    pthread_mutex_lock(&sandbox->lock);
    for (;;) {
        for (uint32_t i = from; i < end; i++)
            if (!sandbox->slots[i].busy) {
                sandbox->slots[i].busy = true;
                pthread_mutex_unlock(&sandbox->lock);
                return i;
            }
        if (beside) {
            pthread_mutex_unlock(&sandbox->lock);
            return SANDBOX_SLOTS_MAX;
        }
        pthread_cond_wait(&sandbox->free, &sandbox->lock);
    }
}

static void give_slot(struct sandbox *sandbox, uint32_t index)
{
    pthread_mutex_lock(&sandbox->lock);
    sandbox->slots[index].busy = false;
    pthread_cond_signal(&sandbox->free);
    pthread_mutex_unlock(&sandbox->lock);
}

static bool has_any(const char *const *list)
{
    return list != NULL && list[0] != NULL;
}

/* A prepared tree has no place for folders of one run, a zygote knows one filter and finds the run by /proc. */
static bool is_as_asked(const struct sandbox *sandbox, const struct sandbox_run *run)
{
    if (run->mode == SANDBOX_STRICT)
        return true;
    return run->base == NULL && !has_any(run->shown) &&
           (run->mode != SANDBOX_ZYGOTE || (!run->file_locks && !sandbox->no_proc));
}

/* Such a run is made anew, with the same promises. `files` is to be freed. */
static enum status as_strict(const struct sandbox *sandbox, const struct sandbox_run *run,
                             struct sandbox_run *strict, struct sandbox_file **files)
{
    static const char *const python[] = {"/usr/bin/python3", ".main.py", NULL};
    *strict = *run;
    *files = NULL;
    if (is_as_asked(sandbox, run))
        return STATUS_OK;
    strict->mode = SANDBOX_STRICT;
    if (run->mode != SANDBOX_ZYGOTE || run->python == NULL)
        return STATUS_OK;
    struct sandbox_file *list = memory_array(run->file_count + 1, sizeof *list);
    if (list == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu files of a run", run->file_count + 1);
    if (run->file_count > 0)
        memcpy(list, run->files, run->file_count * sizeof *list);
    list[run->file_count] =
        (struct sandbox_file){.path = python[1], .bytes = run->python, .size = strlen(run->python)};
    strict->argv = python;
    strict->files = *files = list;
    strict->file_count = run->file_count + 1;
    return STATUS_OK;
}

static enum status execute(struct sandbox *sandbox, uint32_t index, const struct sandbox_run *run,
                           struct sandbox_result *result)
{
    struct slot *slot = &sandbox->slots[index];
    if (slot->pid == 0)
        TRY(slot_start(sandbox, index));
    enum status status = slot_execute(slot, run, result);
    if (status != STATUS_OK && status != STATUS_INVALID) {
        char kept[STATUS_TEXT_MAX];
        status_keep(kept);
        kill(slot->pid, SIGKILL); /* out of step, or dead; the next run starts another */
        slot_stop(slot);
        status_restore(kept);
    }
    return status;
}

void sandbox_execute(struct sandbox *sandbox, const struct sandbox_run *run,
                     struct sandbox_result *result)
{
    struct sandbox_run now;
    memset(result, 0, sizeof *result);
    struct sandbox_file *files = NULL;
    enum status status = as_strict(sandbox, run, &now, &files);
    if (status == STATUS_OK) {
        uint32_t index = take_slot(sandbox, run->beside);
        if (index < SANDBOX_SLOTS_MAX) {
            status = execute(sandbox, index, &now, result);
            give_slot(sandbox, index);
        } else {
            status = FAIL(STATUS_LIMIT, "more than %u runs beside others",
                          SANDBOX_SLOTS_MAX - sandbox->slot_count);
        }
    }
    memory_free(files);
    if (status == STATUS_OK)
        return;
    sandbox_result_free(result);
    result->outcome = SANDBOX_INFRA;
    result->memory_peak_bytes = -1;
    snprintf(result->text, sizeof result->text, "%s", status_sentence(status_last_error()));
}

void sandbox_result_free(struct sandbox_result *result)
{
    memory_free(result->output);
    memory_free(result->error);
    for (size_t i = 0; i < result->result_count; i++)
        memory_free(result->results[i].bytes);
    memory_free(result->results);
    memset(result, 0, sizeof *result);
}

void sandbox_describe(const struct sandbox *sandbox, char text[SANDBOX_DESCRIPTION_MAX])
{
    uint32_t has = sandbox->slots[0].features;
    const char *memory = (has & FEATURE_MEMORY_V1) != 0   ? "cgroup v1, all processes together"
                         : (has & FEATURE_MEMORY_V2) != 0 ? "cgroup v2, all processes together"
                         : sandbox->no_proc
                             ? "address space of each process (/proc is masked: no sum of them): "
                               "much weaker, give it a cgroup that it may write or unmask /proc"
                             : "address space of each process, and a sum every 10 ms: "
                               "weaker, give it a cgroup that it may write";
    const char *processes = (has & FEATURE_PIDS_V1) != 0 ? "cgroup v1 and rlimit"
                            : (has & FEATURE_PIDS_V2) != 0
                                ? "cgroup v2 and rlimit"
                                : "rlimit in a user namespace of its own";
    const char *cpu = (has & FEATURE_UNIFIED) != 0  ? "cgroup v2, all processes together"
                      : (has & FEATURE_CPU_V1) != 0 ? "cgroup v1, all processes together"
                      : sandbox->no_proc            ? "rlimit of each process"
                                         : "rlimit of each process, and a sum every 10 ms";
    const char *users = (has & FEATURE_ROOT) != 0 ? "a user of the host that owns nothing"
                                                  : "this user, without capabilities";
    snprintf(text, SANDBOX_DESCRIPTION_MAX,
             "programs run as: %s\nmemory: %s\nprocesses: %s\nCPU time: %s\n", users, memory,
             processes, cpu);
}

bool sandbox_has_zygote(const struct sandbox *sandbox)
{
    return !sandbox->no_proc;
}

const char *sandbox_outcome_name(enum sandbox_outcome outcome)
{
    static const char *const names[] = {"exited", "signaled", "limit", "infra"};
    return (size_t)outcome < sizeof names / sizeof names[0] ? names[outcome] : "?";
}

const char *sandbox_limit_name(enum sandbox_limit limit)
{
    static const char *const names[] = {"none",   "wall",  "cpu",      "memory",
                                        "output", "files", "cancelled"};
    return (size_t)limit < sizeof names / sizeof names[0] ? names[limit] : "?";
}
