/* actor/report.h - log-probabilities that somebody asked for, beside those that sampling gives anyway.
 *
 * A slot with `report` or `report_prompt` gets, for each token it samples or for each of its prompt, the logprob at
 * temperature 1 over the whole vocabulary and the best ids of that position. The LM head runs once more on those rows of
 * the step, the same op as in sampling and in training: no further forward pass, no further cache. */
#ifndef ACTOR_REPORT_H
#define ACTOR_REPORT_H

#include "actor/engine.h"

enum { REPORT_TOP_MAX = 64 };

/* After the step was sampled, before its tokens are pushed: engine.report is called for every such token, positions of
 * a slot in ascending order. hidden: of the step's forward call. */
MUST_CHECK enum status engine_report_step(struct engine *engine, const act *hidden);
void reporter_destroy(struct reporter **reporter); /* NULL is fine */

#endif
