/* learner/gradient_stats.h - statistics of gradients and updates of each part of a model, every so many updates.
 *
 * Groups: embedding, each layer's mixer ("layers.3.attention", "layers.3.lightning") and feed-forward part
 * ("layers.3.mlp", "layers.3.experts"), all norms together, head (untied). Of each at most GRADIENT_SAMPLE elements
 * are looked at: all of a small group; else blocks of GRADIENT_BLOCK neighbours at places that a hash fixes for the
 * whole run, so memory is bounded, the correlation with the update before is of the same elements, and a measurement
 * is the same whoever makes it. Everything but "elements" is of this subsample.
 *
 * Gradients are those that AdamW is given, before clipping, summed over ranks; each rank counts the elements of its own
 * shard and the counts are added, so the numbers do not depend on the ranks but for the order of additions. The
 * update is what the f32 master weights moved by, weight decay and rounding included.
 *
 * The gradient of the update before is read for measured updates only and is in no checkpoint: the first
 * measurement after a restart may lack its correlation. One thread. */
#ifndef LEARNER_GRADIENT_STATS_H
#define LEARNER_GRADIENT_STATS_H

#include "kernels/ops.h"
#include "learner/gradient_sums.h"
#include "learner/ranks.h"
#include "model/parameters.h"

C_BEGIN

enum { GRADIENT_SAMPLE = 65536, GRADIENT_BLOCK = 128, GRADIENT_NAME_MAX = 48 };

struct gradient_stats;

/* shard: what of the flat layout this process has the gradient of. every: updates, > 0. */
MUST_CHECK enum status gradient_stats_create(struct gradient_stats **stats,
                                             const struct parameter_table *table,
                                             const struct model_shape *shape,
                                             const struct shard *shard, uint32_t every);
void gradient_stats_destroy(struct gradient_stats **stats);

/* Around AdamW of update n (from 1). grads [elements], master [shard.count], both on the device of ops. ranks: NULL
 * for one process. Outside measured updates and those just before them nothing is read. */
MUST_CHECK enum status gradient_stats_before(struct gradient_stats *stats,
                                             const struct op_table *ops, const float *grads,
                                             const float *master, uint64_t update);
MUST_CHECK enum status gradient_stats_after(struct gradient_stats *stats,
                                            const struct op_table *ops, const float *master,
                                            struct ranks *ranks, uint64_t update);

/* The measurement of update `update`, if there was one (rank 0). */
bool gradient_stats_of(const struct gradient_stats *stats, uint64_t update);
/* Over all groups, weighted by their elements; NAN without elements that are not 0, or without an update before. */
struct gradient_summary {
    double p50_log10, below_tiny, correlation;
};
struct gradient_summary gradient_stats_summary(const struct gradient_stats *stats);
/* {"update":n,"lr":..,"p50_log10":..,...,"groups":[{"name":..,...},...]} without a newline. */
MUST_CHECK enum status gradient_stats_json(const struct gradient_stats *stats, double lr,
                                           struct buffer *text);

C_END
#endif
