/* ops/doctor.h - what was wrong with a run, going on or over: the rules of core/alert_rules.h over its whole record.
 *
 * Reads config.resolved.yaml (thresholds), metrics.jsonl (rules of steps, from which step on), alarms.jsonl (what the
 * supervisor raised) and, of a run that goes on, processes.json and the age of the last step. Nothing is asked of a
 * process, so a dead run answers like a live one. One thread. */
#ifndef OPS_DOCTOR_H
#define OPS_DOCTOR_H

#include <jansson.h>

#include "core/alert_rules.h"
#include "core/file.h"

struct doctor_finding {
    bool crossed, now;                     /* ever; at the last step, or at this moment */
    uint64_t since_step, last_step, steps; /* first and last step that crossed it, how many */
    int64_t since_ms;         /* of a rule of processes: Unix time of the first; 0: unknown */
    struct alert_state worst; /* of the steps that crossed it; else the largest seen */
    uint64_t worst_step;
    char text
        [ALERT_SENTENCE_MAX]; /* of a rule of processes: what the supervisor or processes.json says */
};

enum { DOCTOR_ATTEMPTS_MAX = 1024 }; /* later ones are not told from waiting */

struct doctor {
    struct alert_watch watch;
    struct settings settings;
    uint64_t steps, first_step, last_step, bad_lines;
    double last_wall;                     /* Unix time of the last step, s; NAN without one */
    double attempts[DOCTOR_ATTEMPTS_MAX]; /* Unix times at which they began */
    size_t attempt_count;
    uint64_t alarms; /* steps with the key alarm */
    struct doctor_finding findings[ALERT_COUNT];
};

/* folder: of the run. running: its supervisor lives. now_s: Unix time. NOT_FOUND: no run there. */
MUST_CHECK enum status doctor_read(struct doctor *doctor, const char *folder, bool running,
                                   double now_s);
/* How many rules were crossed. */
unsigned doctor_crossed(const struct doctor *doctor);
MUST_CHECK enum status doctor_text(const struct doctor *doctor, const char *run,
                                   struct buffer *text);
/* A new reference; NULL: no memory. */
json_t *doctor_json(const struct doctor *doctor, const char *run, bool running);

#endif
