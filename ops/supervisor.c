#include "ops/supervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "ops/signals.h"

enum {
    FOLLOW_MS =
        5000, /* to follow the store's notice before SIGTERM; before a lone exit 0 is news */
    LEAVE_MS = 1000,
    START_PAUSE_MS = 1000,
    VIEW_STOP_MS = 2000,
    LAST_LINES = 8,
};

static int64_t ms(int64_t count)
{
    return count * CLOCK_NS_PER_MS;
}

static PRINTF_LIKE(2, 3) void say(struct supervisor *supervisor, const char *fmt, ...)
{
    char line[1200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    supervisor->hooks.say(supervisor->hooks.self, line);
}

static void note_death(struct supervisor *supervisor, const char *line)
{
    if (supervisor->hooks.died != NULL)
        supervisor->hooks.died(supervisor->hooks.self, line);
}

/* The first reason stays: what follows is its consequence. */
static PRINTF_LIKE(3, 4) void set_outcome(struct supervisor *supervisor, int exit_code,
                                          const char *fmt, ...)
{
    if (supervisor->exit_code != EXIT_CODE_OK)
        return;
    supervisor->exit_code = exit_code;
    va_list args;
    va_start(args, fmt);
    vsnprintf(supervisor->why, sizeof supervisor->why, fmt, args);
    va_end(args);
}

/* Ends the run: SIGTERM after terminate_ms to what is still there, SIGKILL drain_ms later. An
 * earlier deadline stays. */
static void begin_end(struct supervisor *supervisor, int64_t now_ns, int64_t terminate_ms)
{
    int64_t terminate_at_ns = now_ns + ms(terminate_ms);
    if (supervisor->phase == PHASE_RUNNING) {
        supervisor->phase = PHASE_ENDING;
        supervisor->terminate_at_ns = terminate_at_ns;
        supervisor->kill_at_ns = terminate_at_ns + ms(supervisor->drain_ms);
    } else if (terminate_at_ns < supervisor->terminate_at_ns) {
        supervisor->terminate_at_ns = terminate_at_ns;
    }
    for (size_t i = 0; i < supervisor->count; i++)
        supervisor->processes[i].start_at_ns = 0;
}

void supervisor_end(struct supervisor *supervisor, int64_t now_ns, int exit_code, const char *why)
{
    set_outcome(supervisor, exit_code, "%s", why);
    begin_end(supervisor, now_ns, 0);
}

static struct process *find_duty(struct supervisor *supervisor, enum process_duty duty)
{
    for (size_t i = 0; i < supervisor->count; i++)
        if (supervisor->processes[i].duty == duty)
            return &supervisor->processes[i];
    return NULL;
}

/* It serves what the others do, and leaves after them. */
static bool is_aside(const struct process *process)
{
    return process->duty == DUTY_VIEW || process->duty == DUTY_EVAL;
}

static void signal_all(struct supervisor *supervisor, int number, bool all)
{
    for (size_t i = 0; i < supervisor->count; i++)
        if (all || !is_aside(&supervisor->processes[i]))
            process_signal(&supervisor->processes[i], number);
}

static size_t count_running(const struct supervisor *supervisor, bool all)
{
    size_t running = 0;
    for (size_t i = 0; i < supervisor->count; i++)
        running +=
            supervisor->processes[i].pid > 0 && (all || !is_aside(&supervisor->processes[i]));
    return running;
}

static bool essentials_gone(struct supervisor *supervisor)
{
    const struct process *store = find_duty(supervisor, DUTY_STORE);
    const struct process *learner = find_duty(supervisor, DUTY_LEARNER);
    return (store == NULL || store->pid == 0) && (learner == NULL || learner->pid == 0);
}

/* ---- signals ---- */

static void drain(struct supervisor *supervisor, int64_t now_ns, const char *reason)
{
    if (supervisor->drained)
        return;
    supervisor->drained = true;
    say(supervisor, "%s: draining; %s (at most %lld s; Ctrl-C again stops at once)", reason,
        supervisor->node ? "the workers of this node hand back what they have and leave"
                         : "the learner writes a checkpoint, then everybody leaves",
        (long long)(supervisor->drain_ms / 1000));
    if (supervisor->hooks.draining != NULL)
        supervisor->hooks.draining(supervisor->hooks.self);
    const struct process *store = find_duty(supervisor, DUTY_STORE);
    const struct process *learner = find_duty(supervisor, DUTY_LEARNER);
    bool reachable = store != NULL && store->pid > 0 && learner != NULL && learner->pid > 0;
    if (reachable && supervisor->hooks.drain(supervisor->hooks.self, reason)) {
        begin_end(supervisor, now_ns, supervisor->drain_ms);
        supervisor->kill_at_ns = supervisor->terminate_at_ns + ms(FOLLOW_MS);
    } else {
        begin_end(supervisor, now_ns, 0);
    }
}

static void take_signals(struct supervisor *supervisor, int64_t now_ns)
{
    struct signalfd_siginfo info;
    while (read(supervisor->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
            supervisor->watch.states_ns = 0; /* it may have been stopped: look now */
            continue;
        }
        if (info.ssi_signo == SIGINT && supervisor->drained) {
            set_outcome(supervisor, EXIT_CODE_INTERRUPTED,
                        "stopped by the second Ctrl-C, without waiting for the drain");
            supervisor->phase = PHASE_KILLED;
            continue;
        }
        supervisor->evicted |= info.ssi_signo == SIGTERM && info.ssi_code != SI_QUEUE &&
                               supervisor->phase == PHASE_RUNNING;
        drain(supervisor, now_ns, signals_name((int)info.ssi_signo));
    }
}

/* ---- deaths ---- */

static bool is_permanent(const struct process *process, int code)
{
    if (is_aside(process))
        return false;
    return code == EXIT_CODE_USAGE || code == EXIT_CODE_DEPENDENCY || code == EXIT_CODE_INPUT ||
           code == EXIT_CODE_STOPPED || (code == EXIT_CODE_FAILED && process->duty == DUTY_STORE) ||
           (code == EXIT_CODE_PEER && process->duty == DUTY_LEARNER);
}

static void give_up(struct supervisor *supervisor, const struct process *process, int64_t now_ns,
                    const char *why)
{
    struct buffer lines;
    note_death(supervisor, why);
    buffer_init(&lines, 0);
    if (process_log_tail(process, LAST_LINES, &lines) == STATUS_OK && lines.size > 0)
        say(supervisor, "%s, last lines of %s:\n%.1000s", process->name, process->log,
            buffer_string(&lines));
    buffer_free(&lines);
    if (is_aside(process)) {
        say(supervisor, "%s is not started again: the run goes on without %s", process->name,
            process->duty == DUTY_VIEW ? "the dashboard's view" : "evaluations");
        return;
    }
    set_outcome(supervisor, EXIT_CODE_FAILED, "%s", why);
    begin_end(supervisor, now_ns, 0);
}

static void restart_later(struct supervisor *supervisor, struct process *process, int64_t now_ns,
                          int wait_status)
{
    int64_t lived_ms = (now_ns - process->started_ns) / CLOCK_NS_PER_MS, delay_ms = 0;
    char why[600], words[300] = "", line[1200];
    deaths_progress(&supervisor->deaths, now_ns,
                    supervisor->hooks.progress(supervisor->hooks.self));
    if (!deaths_judge(&supervisor->deaths, process, now_ns, wait_status, &delay_ms, why,
                      sizeof why)) {
        give_up(supervisor, process, now_ns, why);
        return;
    }
    process->start_at_ns = now_ns + ms(delay_ms);
    if (process->isolated)
        return;                 /* said when it was killed */
    if (WIFEXITED(wait_status)) /* a signal comes without a reason of its own */
        process_last_words(process, words, sizeof words);
    snprintf(line, sizeof line, "%s: %s after %lld.%lld s; started again%s%s%s", process->name,
             process->end, (long long)(lived_ms / 1000), (long long)(lived_ms % 1000 / 100),
             delay_ms > 0 ? " after a pause" : "", words[0] != 0 ? "; it said: " : "", words);
    say(supervisor, "%s", line);
    note_death(supervisor, line);
}

/* It was asked to leave. */
static void left(struct supervisor *supervisor, struct process *process, int64_t now_ns)
{
    say(supervisor, "%s left (%s)%s", process->name, process->end,
        process->again ? "; started again" : "");
    process->place = process->again ? PLACE_WANTED : PLACE_OUT;
    process->start_at_ns = process->again ? now_ns : 0;
    process->again = false;
    process->fruitless = process->quick = 0;
}

/* Exit code, -1 for a signal. While the run ends 0 also for what we asked for: 130 (left on a signal) and, once
 * SIGTERM was sent to all, death by it (before a handler was installed). */
static int orderly_code(const struct supervisor *supervisor, int wait_status)
{
    if (WIFEXITED(wait_status) && supervisor->phase != PHASE_RUNNING &&
        WEXITSTATUS(wait_status) == EXIT_CODE_INTERRUPTED)
        return 0;
    if (WIFEXITED(wait_status))
        return WEXITSTATUS(wait_status);
    return supervisor->terminated && WTERMSIG(wait_status) == SIGTERM ? 0 : -1;
}

static bool start_one(struct supervisor *supervisor, struct process *process, int64_t now_ns)
{
    bool again = process->starts > 0;
    if (process_start(process, now_ns) != STATUS_OK) {
        if (again &&
            ++process->quick < DEATHS_FRUITLESS_MAX) { /* no room for a process just now? */
            say(supervisor, "%s", status_sentence(status_last_error()));
            process->start_at_ns = now_ns + ms(START_PAUSE_MS);
            return true;
        }
        set_outcome(supervisor, EXIT_CODE_FAILED, "%s", status_last_error());
        begin_end(supervisor, now_ns, 0);
        return false;
    }
    supervisor->restarts += again;
    if (process->duty == DUTY_STORE)
        watch_store_started(&supervisor->watch);
    supervisor->changed = true;
    return true;
}

/* Killed after the other essential one ended well: what the run was to do is done and on disk. A store that is
 * started once more reads so in its ledger, and ends with the run's own verdict. */
static bool ends_well_without(struct supervisor *supervisor, struct process *process,
                              int64_t now_ns)
{
    bool store = process->duty == DUTY_STORE;
    const struct process *other = find_duty(supervisor, store ? DUTY_LEARNER : DUTY_STORE);
    if (other == NULL || other->pid > 0 || strcmp(other->end, "exit 0") != 0 ||
        supervisor->terminated || (!store && supervisor->drained))
        return false;
    return !store || supervisor->drained || start_one(supervisor, process, now_ns);
}

static void died_at_the_end(struct supervisor *supervisor, struct process *process, int code,
                            int64_t now_ns)
{
    bool essential = process->duty == DUTY_STORE || process->duty == DUTY_LEARNER;
    bool ending = supervisor->phase == PHASE_ENDING;
    if (code != 0 && !is_aside(process) && ending)
        say(supervisor, "%s: %s while the run was ending", process->name, process->end);
    if (code != 0 && essential && ending &&
        !(code < 0 && ends_well_without(supervisor, process, now_ns)))
        set_outcome(supervisor, EXIT_CODE_FAILED,
                    "%s ended by %s before it was done: go on with run.resume=true", process->name,
                    process->end);
    bool last = essentials_gone(supervisor) || /* the workers have no one left to hear from */
                (supervisor->drained && process->duty == DUTY_LEARNER); /* it is saved */
    if (essential)
        begin_end(supervisor, now_ns, last ? LEAVE_MS : FOLLOW_MS);
}

static void died(struct supervisor *supervisor, struct process *process, int wait_status,
                 int64_t now_ns)
{
    char words[600], line[1200];
    const char *end = process->end;
    process_describe_end(wait_status, process->end, sizeof process->end);
    supervisor->changed = true;
    int code = orderly_code(supervisor, wait_status);
    bool essential = process->duty == DUTY_STORE || process->duty == DUTY_LEARNER;
    if (code > 0 && is_permanent(process, code)) {
        process_last_words(process, words, sizeof words);
        set_outcome(supervisor, code == EXIT_CODE_STOPPED ? EXIT_CODE_FAILED : code, "%s (%s, %s)",
                    words[0] != 0 ? words : end, process->name, words[0] != 0 ? end : process->log);
        snprintf(line, sizeof line, "%s: %s, which ends the run%s%s", process->name, end,
                 words[0] != 0 ? "; it said: " : "", words);
        note_death(supervisor, line);
        begin_end(supervisor, now_ns, 0);
    } else if (supervisor->phase != PHASE_RUNNING) {
        died_at_the_end(supervisor, process, code, now_ns);
    } else if (process->place == PLACE_LEAVING) {
        left(supervisor, process, now_ns);
    } else if (code == 0 && essential) {
        begin_end(supervisor, now_ns, FOLLOW_MS);
    } else if (code == 0 && process->duty == DUTY_WORKER) {
        process->place = PLACE_OUT;
        process->say_out_at_ns = now_ns + ms(FOLLOW_MS); /* unless this is the end of the run */
    } else if (code == 0) {
        process->start_at_ns = now_ns + ms(FOLLOW_MS);
    } else {
        restart_later(supervisor, process, now_ns, wait_status);
    }
}

static void reap(struct supervisor *supervisor, int64_t now_ns)
{
    for (size_t i = 0; i < supervisor->count; i++) {
        int wait_status;
        if (process_reap(&supervisor->processes[i], &wait_status))
            died(supervisor, &supervisor->processes[i], wait_status, now_ns);
    }
}

static void start_due(struct supervisor *supervisor, int64_t now_ns)
{
    for (size_t i = 0; i < supervisor->count && supervisor->phase == PHASE_RUNNING; i++) {
        struct process *process = &supervisor->processes[i];
        if (process->say_out_at_ns != 0 && process->say_out_at_ns <= now_ns) {
            process->say_out_at_ns = 0;
            if (process->place == PLACE_OUT && process->pid == 0)
                say(supervisor,
                    "%s left (%s: it was drained or got SIGTERM) and stays out; `weir scale` asks "
                    "for more",
                    process->name, process->end);
        }
        if (process->start_at_ns == 0 || process->start_at_ns > now_ns || process->pid > 0)
            continue;
        if (!start_one(supervisor, process, now_ns))
            return;
    }
}

/* ---- stopped, cut off, silent ---- */

static void isolate(struct supervisor *supervisor, int64_t now_ns)
{
    char sentence[300];
    watch_attend(&supervisor->watch, now_ns);
    supervisor->changed |=
        watch_states(&supervisor->watch, now_ns, supervisor->processes, supervisor->count);
    for (size_t i = 0; i < supervisor->count && supervisor->phase != PHASE_KILLED; i++) {
        struct process *process = &supervisor->processes[i];
        bool ends = supervisor->phase == PHASE_ENDING && process->duty != DUTY_EVAL;
        if (process->isolated || ends)
            continue; /* it is dying, or its end has a deadline */
        bool kill_it = watch_judge(&supervisor->watch, process, sentence, sizeof sentence);
        if (sentence[0] != 0) {
            say(supervisor, "%s", sentence);
            supervisor->changed = true;
        }
        if (kill_it) {
            note_death(supervisor, sentence);
            process->isolated = supervisor->changed = true;
            process_signal(process, SIGKILL);
        }
    }
}

/* ---- the end ---- */

/* The run ended well, so that its last version is worth waiting for. */
static bool waits_for_evaluation(const struct supervisor *supervisor)
{
    return supervisor->exit_code == EXIT_CODE_OK && !supervisor->drained && supervisor->eval_ms > 0;
}

/* All others are gone. false: nobody evaluates (any more). */
static bool evaluation_goes_on(struct supervisor *supervisor, int64_t now_ns)
{
    struct process *process = find_duty(supervisor, DUTY_EVAL);
    struct supervisor_eval *eval = &supervisor->eval;
    if (process == NULL)
        return false;
    bool waits = waits_for_evaluation(supervisor) && !eval->terminated;
    if (process->pid == 0 &&
        (!waits || strcmp(process->end, "exit 0") == 0 ||
         eval->restarts++ == DEATHS_FRUITLESS_MAX || !start_one(supervisor, process, now_ns)))
        return false;
    if (eval->until_ns == 0) {
        eval->until_ns = now_ns + (waits ? ms(supervisor->eval_ms) : 0);
        if (waits)
            say(supervisor,
                "the run is over; its last version is being evaluated, %lld s at most "
                "(eval.final_wait_s; Ctrl-C ends it)",
                (long long)(supervisor->eval_ms / 1000));
    }
    if (!eval->terminated && (!waits || now_ns >= eval->until_ns)) {
        if (waits)
            say(supervisor,
                "the last version is not evaluated: %lld s (eval.final_wait_s) were not "
                "enough; run.resume=true or `weir eval` finishes it",
                (long long)(supervisor->eval_ms / 1000));
        process_signal(process, SIGTERM);
        process_signal(process, SIGCONT);
        eval->terminated = true;
        eval->until_ns = now_ns + ms(VIEW_STOP_MS);
    } else if (eval->terminated && now_ns >= eval->until_ns) {
        process_signal(process, SIGKILL);
    }
    return true;
}

static void enforce_end(struct supervisor *supervisor, int64_t now_ns)
{
    if (supervisor->phase != PHASE_ENDING)
        return;
    if (!supervisor->terminated && now_ns >= supervisor->terminate_at_ns) {
        supervisor->terminated = true;
        signal_all(supervisor, SIGTERM, false);
        signal_all(supervisor, SIGCONT, false); /* who is stopped could not leave */
    }
    if (count_running(supervisor, false) == 0) {
        if (evaluation_goes_on(supervisor, now_ns))
            return;
        struct process *view = find_duty(supervisor, DUTY_VIEW);
        if (view != NULL && supervisor->kill_at_ns != INT64_MAX) {
            if (supervisor->hooks.views_leave != NULL)
                supervisor->hooks.views_leave(supervisor->hooks.self);
            for (size_t i = 0; i < supervisor->count; i++)
                if (supervisor->processes[i].duty == DUTY_VIEW)
                    process_signal(&supervisor->processes[i], SIGTERM);
            supervisor->terminated = true;
            supervisor->terminate_at_ns = now_ns + ms(VIEW_STOP_MS);
            supervisor->kill_at_ns =
                INT64_MAX; /* from here terminate_at_ns is the views' deadline */
        } else if (view != NULL && now_ns >= supervisor->terminate_at_ns) {
            supervisor->phase = PHASE_KILLED;
        }
    } else if (now_ns >= supervisor->kill_at_ns) {
        set_outcome(supervisor, EXIT_CODE_FAILED,
                    "not all processes left within run.drain_s (%lld s), they were killed: go on "
                    "with run.resume=true",
                    (long long)(supervisor->drain_ms / 1000));
        supervisor->phase = PHASE_KILLED;
    }
}

/* Until a signal arrives or the next thing is due, SUPERVISOR_TICK_MS at most. */
static void pause_until_due(const struct supervisor *supervisor, int64_t now_ns)
{
    int64_t wait_ms = SUPERVISOR_TICK_MS;
    for (size_t i = 0; i < supervisor->count; i++) {
        int64_t at_ns = supervisor->processes[i].start_at_ns;
        if (at_ns > 0 && at_ns - now_ns < ms(wait_ms))
            wait_ms = at_ns > now_ns ? (at_ns - now_ns) / CLOCK_NS_PER_MS + 1 : 0;
    }
    struct pollfd fd = {.fd = supervisor->signal_fd, .events = POLLIN};
    poll(&fd, 1, (int)wait_ms);
}

int supervisor_run(struct supervisor *supervisor)
{
    for (;;) {
        int64_t now_ns = clock_now_ns();
        take_signals(supervisor, now_ns);
        reap(supervisor, now_ns);
        start_due(supervisor, now_ns);
        isolate(supervisor, now_ns);
        enforce_end(supervisor, now_ns);
        supervisor->hooks.tick(supervisor->hooks.self, now_ns);
        if (supervisor->phase == PHASE_KILLED ||
            (supervisor->phase == PHASE_ENDING && count_running(supervisor, true) == 0))
            break;
        pause_until_due(supervisor, now_ns);
    }
    signal_all(supervisor, SIGKILL, true);
    process_kill_all(); /* ours and what they left behind */
    for (size_t i = 0; i < supervisor->count; i++)
        supervisor->processes[i].pid = 0;
    supervisor->hooks.tick(supervisor->hooks.self, clock_now_ns());
    close(supervisor->signal_fd);
    return supervisor->exit_code;
}

enum status supervisor_start(struct supervisor *supervisor)
{
    sigset_t signals;
    signals_fill(&signals);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    supervisor->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (supervisor->signal_fd < 0)
        return FAIL(STATUS_IO, "signalfd: %s", strerror(errno));
    deaths_progress(&supervisor->deaths, clock_now_ns(),
                    supervisor->hooks.progress(supervisor->hooks.self));
    supervisor->changed = true;
    for (size_t i = 0; i < supervisor->count; i++) {
        if (supervisor->processes[i].pid > 0 ||
            supervisor->processes[i].start_at_ns == PROCESS_HELD)
            continue; /* redis-server runs already; others wait for the store's port */
        enum status status = process_start(&supervisor->processes[i], clock_now_ns());
        if (status != STATUS_OK) {
            signal_all(supervisor, SIGKILL, true);
            process_kill_all();
            return status;
        }
    }
    return STATUS_OK;
}
