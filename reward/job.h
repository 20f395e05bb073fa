/* reward/job.h - one item of the store becomes what a plugin reads.
 *
 * Token ids are the truth: prompt and response are decoded here, invalid bytes become U+FFFD, special tokens
 * are left out. Ground truth and the rest come from the prompt's row. Pure but for the heap. */
#ifndef REWARD_JOB_H
#define REWARD_JOB_H

#include "reward/plugin_host.h"
#include "text/tokenizer.h"

/* caps: of the plugin; ids are copied when it reads them. INVALID: the row is not JSON, or an id is outside
 * the vocabulary. The job owns everything its item points to, and its score is SCORE_ERROR until scored. */
MUST_CHECK enum status reward_job_create(struct plugin_job **job, const struct tokenizer *tokenizer,
                                         uint64_t caps, const struct score_item *item);
void reward_job_drop(struct plugin_job *job);

#endif
