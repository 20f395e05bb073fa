/* tests/chaos_story.h - on top of tests/story.h: a storm of signals over the processes of one run, by seed.
 *
 *     uint64_t seed = chaos_seed();                      TEST_SEED, or drawn; printed
 *     struct storm storm = {.interval_ms = 100, .learner_percent = 4};
 *     storm_begin(&storm, &run, seed);
 *     storm_kill(&storm, 1000, 120000);                  at most so many, for at most so long
 *     storm_print(&storm, "storm");
 *
 * Victims are children of `weir run` that have become a weir program; every kill is a line of <story>/<run>.kills. */
#ifndef TESTS_CHAOS_STORY_H
#define TESTS_CHAOS_STORY_H

#include "core/rng.h"
#include "tests/chaos_ledger.h"
#include "tests/story.h"

enum chaos_role { CHAOS_STORE, CHAOS_ACTOR, CHAOS_REWARD, CHAOS_LEARNER, CHAOS_ROLES };
enum { CHAOS_PROCESSES = 64 };

/* How many times longer everything takes: storms under sanitizers are thinner and runs shorter by it. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { CHAOS_SLOW = 5 };
#else
enum { CHAOS_SLOW = 1 };
#endif

static const char *const chaos_programs[CHAOS_ROLES] = {"weir-store", "weir-actor", "weir-reward",
                                                        "weir-learner"};

struct chaos_process {
    pid_t pid;
    enum chaos_role role;
    unsigned index;
};

static inline uint64_t chaos_seed(void)
{
    const char *given = getenv("TEST_SEED");
    uint64_t seed =
        given != NULL ? strtoull(given, NULL, 10) : (uint64_t)clock_wall_ns() / 1000 % 1000000;
    print_message("seed %" PRIu64 " (TEST_SEED)\n", seed);
    return seed;
}

/* The weir programs that `parent` runs now; a child before its exec is none of them. */
static inline unsigned chaos_children(pid_t parent, struct chaos_process found[CHAOS_PROCESSES])
{
    char path[80], text[4096], line[8192], comm[32];
    unsigned count = 0;
    snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", (long)parent, (long)parent);
    char *rest = story_read(path, text, sizeof text);
    for (pid_t pid; count < CHAOS_PROCESSES && (pid = (pid_t)strtol(rest, &rest, 10)) > 0;) {
        snprintf(path, sizeof path, "/proc/%ld/comm", (long)pid);
        story_read(path, comm, sizeof comm);
        comm[strcspn(comm, "\n")] = 0;
        story_command_line(pid, line, sizeof line); /* "" for a zombie */
        const char *index = strstr(line, "--index ");
        for (int role = 0; index != NULL && role < CHAOS_ROLES; role++)
            if (strcmp(comm, chaos_programs[role]) == 0)
                found[count++] = (struct chaos_process){pid, (enum chaos_role)role,
                                                        (unsigned)strtoul(index + 8, NULL, 10)};
    }
    return count;
}

struct storm {
    int64_t
        interval_ms; /* between two kills, on average; each is drawn from half to one and a half */
    unsigned learner_percent;                                      /* of the kills, at most */
    int (*before)(void *self, const struct chaos_process *victim); /* NULL, or looked at it first */
    void (*meanwhile)(void *self); /* NULL, or called again and again between the kills */
    void *self;

    struct story_run *run; /* the rest is the storm's own */
    struct rng rng;
    FILE *log;
    int64_t begin_ns, took_ms;
    unsigned kills, of_role[CHAOS_ROLES];
    bool run_ended;
};

static inline void storm_begin(struct storm *storm, struct story_run *run, uint64_t seed)
{
    char path[FILE_PATH_MAX], name[160];
    storm->run = run;
    rng_init(&storm->rng, seed, 1, RNG_TEST);
    snprintf(name, sizeof name, "%s.kills", run->name);
    storm->log = fopen(story_path(path, name), "w");
    assert_non_null(storm->log);
    fprintf(storm->log, "seed %" PRIu64 "\n", seed);
    storm->begin_ns = clock_now_ns();
}

/* The learner as often as allowed, else anybody else with equal chances; NULL: nobody is there. */
static inline const struct chaos_process *
storm_choose(struct storm *storm, const struct chaos_process *found, unsigned count)
{
    bool learner = rng_below(&storm->rng, 100) < storm->learner_percent &&
                   storm->of_role[CHAOS_LEARNER] * 100 <= storm->kills * storm->learner_percent;
    unsigned fitting = 0;
    for (unsigned i = 0; i < count; i++)
        fitting += (found[i].role == CHAOS_LEARNER) == learner;
    if (fitting == 0)
        return NULL;
    unsigned nth = rng_below(&storm->rng, fitting);
    for (unsigned i = 0; i < count; i++)
        if ((found[i].role == CHAOS_LEARNER) == learner && nth-- == 0)
            return &found[i];
    return NULL;
}

static inline bool storm_run_ended(struct storm *storm)
{
    siginfo_t ended = {0};
    waitid(P_PID, (id_t)storm->run->pid, &ended, WEXITED | WNOHANG | WNOWAIT);
    storm->run_ended = ended.si_pid != 0;
    return storm->run_ended;
}

static inline void storm_strike(struct storm *storm)
{
    struct chaos_process found[CHAOS_PROCESSES];
    unsigned count = chaos_children(storm->run->pid, found);
    const struct chaos_process *victim = storm_choose(storm, found, count);
    if (victim == NULL)
        return;
    if (storm->before != NULL && storm->before(storm->self, victim) != 0)
        return;
    if (kill(victim->pid, SIGKILL) != 0)
        return;
    storm->kills++;
    storm->of_role[victim->role]++;
    fprintf(storm->log, "%lld ms: %s %u (pid %ld), %u processes alive\n",
            (long long)((clock_now_ns() - storm->begin_ns) / CLOCK_NS_PER_MS),
            chaos_programs[victim->role], victim->index, (long)victim->pid, count);
    fflush(storm->log);
}

/* Until `kills` were made, `limit_ms` passed or the run ended. The pace is kept on average. */
static inline void storm_kill(struct storm *storm, unsigned kills, int64_t limit_ms)
{
    int64_t begin_ns = clock_now_ns(), due_ns = begin_ns, end_ns = story_deadline_ns(limit_ms);
    unsigned first = storm->kills;
    while (storm->kills - first < kills && clock_now_ns() < end_ns && !storm_run_ended(storm)) {
        int64_t half_us = storm->interval_ms * 500;
        due_ns += (half_us + rng_below(&storm->rng, (uint32_t)(2 * half_us + 1))) * 1000;
        while (clock_now_ns() < due_ns) {
            if (storm->meanwhile != NULL)
                storm->meanwhile(storm->self);
            clock_sleep_ms(1);
        }
        storm_strike(storm);
    }
    storm->took_ms += (clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS;
}

static inline void storm_end(struct storm *storm, const char *name)
{
    print_message("%s: %u kill -9 in %lld ms (store %u, actors %u, reward workers %u, learner %u); "
                  "the run %s, %zu steps are done\n",
                  name, storm->kills, (long long)storm->took_ms, storm->of_role[CHAOS_STORE],
                  storm->of_role[CHAOS_ACTOR], storm->of_role[CHAOS_REWARD],
                  storm->of_role[CHAOS_LEARNER], storm->run_ended ? "has ended" : "goes on",
                  story_steps(storm->run));
    fclose(storm->log);
}

/* ---- what a story ends with ---- */

/* The run is over: audited, printed, without violations and without a lost group. */
static inline void chaos_audit(struct audit *audit, const struct story_run *run, const char *name,
                               const struct audit_rules *rules)
{
    audit_run(audit, run->path, rules);
    audit_print(name, audit);
    assert_int_equal(audit->violations, 0);
    assert_int_equal(audit->dropped_lost, 0);
}

/* Waits for the end of the run, which must be a good one, and audits it. */
static inline void chaos_finish(struct audit *audit, struct story_run *run, const char *name,
                                const struct audit_rules *rules, int64_t limit_ms)
{
    int64_t begin_ns = clock_now_ns();
    int code = story_wait(run, limit_ms);
    print_message("%s: exit %d, %lld ms later\n", name, code,
                  (long long)((clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS));
    assert_int_equal(code, 0);
    chaos_audit(audit, run, name, rules);
}

#endif
