/* weir stop (weir down): the end of a run. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/wait.h"
#include "ops/cmd.h"
#include "ops/run_folder.h"
#include "ops/run_meta.h"

enum {
    PAUSE_MS = 50,
    SAY_MS = 5000,
    DRAIN_EXTRA_S = 12, /* beyond run.drain_s: checkpoint, evaluation, the last process */
    NOTICE_MS = 2000,   /* --now: until the first signal is seen */
    KILL_MS = 5000,     /* until the supervisor has killed all */
    GONE_MS = 2000      /* after SIGKILL to a supervisor that does not answer */
};

static bool gone(const struct known_run *known)
{
    return run_folder_holder(known->folder, NULL) == 0;
}

static bool draining(const struct known_run *known)
{
    char state[16] = "";
    return run_folder_holder(known->folder, state) != 0 && strcmp(state, "draining") == 0;
}

static enum status wait_for(const struct known_run *known, const char *what,
                            bool (*done)(const struct known_run *known), int64_t limit_ms, bool say)
{
    struct wait wait = wait_begin(what, known->name, limit_ms);
    int64_t say_at_ns = clock_now_ns() + (int64_t)SAY_MS * CLOCK_NS_PER_MS;
    while (!done(known) && !gone(known) && wait_left_ms(&wait) > 0) {
        clock_sleep_ms(PAUSE_MS);
        if (!say || clock_now_ns() < say_at_ns)
            continue;
        printf("still waiting for process %ld; weir stop --now %s ends it at once\n",
               (long)known->supervisor, known->name);
        fflush(stdout);
        say_at_ns += (int64_t)SAY_MS * CLOCK_NS_PER_MS;
    }
    return wait_end(&wait, done(known) || gone(known));
}

static int cannot_signal(const struct known_run *known)
{
    int error = errno; /* before looking at the lock changes it */
    if (gone(known))
        return EXIT_CODE_OK;
    fprintf(stderr, "weir stop: process %ld: %s\n", (long)known->supervisor, strerror(error));
    return EXIT_CODE_FAILED;
}

/* Two SIGINT, as two Ctrl-C: the second is one only once the first was seen. A supervisor that does not answer (it is
 * stopped) gets SIGKILL, and its processes go with it. */
static int stop_now(const struct known_run *known)
{
    bool begun = draining(known);
    if (kill(known->supervisor, begun ? 0 : SIGINT) != 0) /* 0: may we? */
        return cannot_signal(known);
    printf("run %s is stopped at once\n", known->name);
    fflush(stdout);
    bool seen = wait_for(known, "start of the drain", draining, NOTICE_MS, false) == STATUS_OK;
    if (seen && !gone(known) && kill(known->supervisor, SIGINT) != 0)
        return cannot_signal(known);
    if (seen && wait_for(known, "end of the run", gone, KILL_MS, false) == STATUS_OK)
        return EXIT_CODE_OK;
    printf("process %ld does not answer and is killed; its processes die with it\n",
           (long)known->supervisor);
    if (!gone(known) && kill(known->supervisor, SIGKILL) != 0)
        return cannot_signal(known);
    enum status status = wait_for(known, "end of the run", gone, GONE_MS, false);
    return status == STATUS_OK ? EXIT_CODE_OK : command_failed("stop", status);
}

static int stop_softly(const struct known_run *known)
{
    const union sigval ours = {.sival_int = 0}; /* queued: nobody else's SIGTERM (--drained-code) */
    if (sigqueue(known->supervisor, SIGTERM, ours) != 0)
        return cannot_signal(known);
    printf("run %s drains and checkpoints; weir stop again stops it at once\n", known->name);
    fflush(stdout);
    enum status status = wait_for(known, "end of the run", gone,
                                  (int64_t)(known->drain_s + DRAIN_EXTRA_S) * 1000, true);
    return status == STATUS_OK ? EXIT_CODE_OK : command_failed("stop", status);
}

/* run.drain_s of the run; the default where its settings cannot be read. */
static uint32_t find_drain_s(const struct known_run *known)
{
    struct known_run whole;
    struct settings settings;
    struct config *config = NULL;
    const struct config_input nothing = {0};
    if (known_run_find(&whole, known->folder) == STATUS_OK)
        return whole.drain_s;
    if (settings_load(&settings, &config, &nothing) != STATUS_OK)
        return 0;
    uint32_t drain_s = settings.run.drain_s;
    config_destroy(&config);
    return drain_s;
}

static void sweep(const struct known_run *known)
{
    struct run_folder folder = {.lock_fd = -1};
    snprintf(folder.name, sizeof folder.name, "%s", known->name);
    snprintf(folder.path, sizeof folder.path, "%s", known->folder);
    run_folder_sweep_shared_memory(&folder);
}

int cmd_stop(int argc, char **argv)
{
    struct known_run known;
    const char *run = NULL;
    bool now = false;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--now") == 0)
            now = true;
        else if (argv[i][0] == '-' || run != NULL)
            return command_usage(
                "stop", "unexpected argument %s: it takes at most one run and --now", argv[i]);
        else
            run = argv[i];
    }
    enum status status = known_run_locate(&known, run);
    if (status != STATUS_OK)
        return command_failed("stop", status);
    if (known.supervisor == 0) {
        printf("run %s is over already\n", known.name);
        return EXIT_CODE_OK;
    }
    char host[RUN_META_HOST_MAX];
    if (run_meta_is_elsewhere(known.folder, host)) {
        status =
            FAIL(STATUS_INVALID,
                 "run %s goes on on %s, where process %ld is its supervisor: say `weir stop %s` "
                 "there",
                 known.name, host, (long)known.supervisor, known.name);
        return command_refused("stop", status);
    }
    known.drain_s = find_drain_s(&known);
    int code = now || draining(&known) ? stop_now(&known) : stop_softly(&known);
    if (code != EXIT_CODE_OK)
        return code;
    sweep(&known);
    printf("run %s has ended; weir resume %s goes on with it\n", known.name, known.name);
    return EXIT_CODE_OK;
}

int cmd_down(int argc, char **argv)
{
    return cmd_stop(argc, argv);
}
