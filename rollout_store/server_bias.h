/* rollout_store/server_bias.h - watches sources that a judge rewards for length bias (core/length_bias.h), as the run goes.
 *
 * Reads the sub-metrics "judge" (raw reward of the judge) and "verified" (0 or 1 where a rule can tell) of each score, by
 * data source and weight version. An alarm is an event that names the numbers and what to do; with
 * curriculum.on_length_bias=pause the driver takes the source out besides, by a record of the book. The monitors
 * themselves are a view and start empty after a restart. One thread. */
#ifndef ROLLOUT_STORE_SERVER_BIAS_H
#define ROLLOUT_STORE_SERVER_BIAS_H

#include "core/length_bias.h"
#include "rollout_store/book.h"

enum { BIAS_SOURCES_MAX = 64, BIAS_SAMPLES_MAX = 4096, BIAS_SOURCE_NAME_MAX = 128 };

struct bias_source {
    char name[BIAS_SOURCE_NAME_MAX];
    struct length_bias *monitor;
    struct length_bias_sample
        *samples; /* [BIAS_SAMPLES_MAX] of this step; what is more counts in the sums alone */
    size_t count; /* rollouts of this step */
    double length, reward, verified; /* their sums */
    size_t verified_count;
    bool alarmed; /* said already */
    bool fresh;   /* raised since server_bias_take_alarm looked */
};

struct server_bias {
    uint32_t window;             /* steps, 0: off */
    struct bias_source *sources; /* [BIAS_SOURCES_MAX] */
    size_t source_count;
    uint64_t version; /* of the step that is being summed */
};

MUST_CHECK enum status server_bias_open(struct server_bias *bias, uint32_t window);
void server_bias_close(struct server_bias *bias);
/* A scored rollout. Without a "judge" it is nobody's business. */
MUST_CHECK enum status server_bias_take(struct server_bias *bias, const struct prompt *prompt,
                                        const struct book_rollout *rollout);
/* The learner is at `version`: when that is a new one, the step is judged. An alarm is handed to `say`. */
MUST_CHECK enum status server_bias_step(struct server_bias *bias, uint64_t version,
                                        enum status (*say)(void *self, const char *text),
                                        void *self);
/* A source whose alarm nobody took yet, by name; NULL: none. */
const char *server_bias_take_alarm(struct server_bias *bias);
/* The judge of these sources was recalibrated, or an operator wants them back: their monitors begin anew. */
void server_bias_clear(struct server_bias *bias, const char *glob);

#endif
