#include "learner/histograms.h"

#include <inttypes.h>
#include <math.h>

#include "learner/losses.h"

enum {
    ADVANTAGE_BINS = 41,
    LAGS = 1026 /* 0 to the most of store.max_staleness, and beyond */,
    LENGTH_BINS = 32
};

/* ---- figures ---- */

struct advantage_figures histograms_advantages(const struct train_sequence *sequences,
                                               uint32_t count)
{
    struct advantage_figures figures = {0};
    double sum = 0, squares = 0;
    if (count == 0)
        return figures;
    figures.min = INFINITY, figures.max = -INFINITY;
    for (uint32_t i = 0; i < count; i++) {
        double advantage = sequences[i].advantage;
        sum += advantage;
        squares += advantage * advantage;
        figures.min = fmin(figures.min, advantage);
        figures.max = fmax(figures.max, advantage);
    }
    figures.mean = sum / count;
    figures.std = sqrt(fmax(0, squares / count - figures.mean * figures.mean));
    return figures;
}

uint64_t histograms_lag(const struct plan *plan, const struct group_sample *sample)
{
    uint64_t lag = 0;
    for (uint32_t p = 0; p < sample->piece_count; p++)
        if (sample->pieces[p].version < plan->version &&
            plan->version - 1 - sample->pieces[p].version > lag)
            lag = plan->version - 1 - sample->pieces[p].version;
    return lag;
}

/* Samples by lag; the last bin takes those beyond. */
static uint64_t count_lags(const struct plan *plan, const struct group_data *groups,
                           uint64_t lags[LAGS])
{
    uint64_t samples = 0;
    for (uint32_t g = 0; g < plan->group_count; g++)
        for (uint32_t s = 0; s < groups[g].sample_count; s++, samples++) {
            uint64_t lag = histograms_lag(plan, &groups[g].samples[s]);
            lags[lag < LAGS ? lag : LAGS - 1]++;
        }
    return samples;
}

double histograms_lag_percentile(const struct plan *plan, const struct group_data *groups,
                                 double share)
{
    uint64_t lags[LAGS] = {0}, below = 0;
    double wanted = share * (double)count_lags(plan, groups, lags);
    for (int lag = 0; lag < LAGS; lag++) {
        below += lags[lag];
        if (below > 0 && (double)below >= wanted)
            return lag;
    }
    return 0;
}

/* ---- JSON ---- */

static enum status put_real(struct buffer *json, double value)
{
    if (!isfinite(value))
        return buffer_text(json, "null");
    return buffer_printf(json, "%.6g", value);
}

static enum status put_counts(struct buffer *json, const uint64_t *counts, size_t size)
{
    TRY(buffer_text(json, "\"counts\":["));
    for (size_t i = 0; i < size; i++)
        TRY(buffer_printf(json, "%s%" PRIu64, i > 0 ? "," : "", counts[i]));
    return buffer_text(json, "]");
}

/* `bins` equal bins from `from` to `to`. */
static enum status put_edges(struct buffer *json, double from, double to, int bins)
{
    TRY(buffer_text(json, "\"edges\":["));
    for (int i = 0; i <= bins; i++) {
        TRY(buffer_text(json, i > 0 ? "," : ""));
        TRY(put_real(json, from + (to - from) * i / bins));
    }
    return buffer_text(json, "],");
}

/* The bins that hold anything, and one more on each side. bound: what the loss clips weights at, null: nothing above. */
static enum status put_weights(struct buffer *json, const struct step_distributions *step)
{
    const uint64_t *weight = step->counts->weight;
    int first = 0, last = COUNTS_WEIGHT_BINS;
    while (first + 1 < COUNTS_WEIGHT_BINS && weight[first] == 0 && weight[first + 1] == 0)
        first++;
    while (last > first + 1 && weight[last - 1] == 0 && (last < 2 || weight[last - 2] == 0))
        last--;
    TRY(buffer_text(json, ",\"is_weight\":{\"edges\":["));
    for (int i = first; i <= last; i++) {
        TRY(buffer_text(json, i > first ? "," : ""));
        TRY(put_real(json, token_counts_edge(i)));
    }
    TRY(buffer_text(json, "],"));
    TRY(put_counts(json, weight + first, (size_t)(last - first)));
    struct op_policy_loss bounds = {0};
    losses_fill(step->loss, &bounds);
    TRY(buffer_text(json, ",\"bound\":"));
    TRY(put_real(json, (double)bounds.weight_max));
    TRY(buffer_text(json, ",\"lower_bound\":"));
    TRY(put_real(json, (double)bounds.weight_min));
    return buffer_text(json, "}");
}

/* Rows: streamed probability, columns: trained. */
static enum status put_density(struct buffer *json, const struct step_distributions *step)
{
    TRY(buffer_text(json, ",\"logprob_density\":{"));
    TRY(put_edges(json, 0, 1, COUNTS_DENSITY));
    TRY(put_counts(json, &step->counts->density[0][0], COUNTS_DENSITY * COUNTS_DENSITY));
    TRY(buffer_text(json, ",\"pearson\":"));
    TRY(put_real(json, step->pearson));
    return buffer_text(json, "}");
}

/* Symmetric about 0, as wide as the largest. */
static enum status put_advantages(struct buffer *json, const struct step_distributions *step)
{
    uint64_t counts[ADVANTAGE_BINS] = {0};
    struct advantage_figures figures = histograms_advantages(step->sequences, step->sequence_count);
    double wide = fmax(fabs(figures.min), fabs(figures.max));
    wide = wide > 0 ? wide * ADVANTAGE_BINS / (ADVANTAGE_BINS - 1) : 1;
    for (uint32_t i = 0; i < step->sequence_count; i++) {
        double at = (step->sequences[i].advantage + wide) / (2 * wide) * ADVANTAGE_BINS;
        counts[at < 0 ? 0 : at >= ADVANTAGE_BINS ? ADVANTAGE_BINS - 1 : (int)at]++;
    }
    TRY(buffer_text(json, ",\"advantage\":{"));
    TRY(put_edges(json, -wide, wide, ADVANTAGE_BINS));
    TRY(put_counts(json, counts, ADVANTAGE_BINS));
    return buffer_text(json, "}");
}

static enum status put_lags(struct buffer *json, const struct step_distributions *step)
{
    uint64_t lags[LAGS] = {0};
    size_t used = LAGS;
    (void)count_lags(step->plan, step->groups, lags);
    while (used > 1 && lags[used - 1] == 0)
        used--;
    TRY(buffer_text(json, ",\"version_lag\":{"));
    TRY(put_counts(json, lags, used));
    return buffer_text(json, "}");
}

static enum status put_lengths(struct buffer *json, const struct step_distributions *step)
{
    uint64_t counts[LENGTH_BINS] = {0};
    uint64_t cap = step->response_cap > 0 ? step->response_cap : 1;
    for (uint32_t g = 0; g < step->plan->group_count; g++)
        for (uint32_t s = 0; s < step->groups[g].sample_count; s++) {
            uint64_t bin = step->groups[g].samples[s].count * (uint64_t)LENGTH_BINS / cap;
            counts[bin < LENGTH_BINS ? bin : LENGTH_BINS - 1]++;
        }
    TRY(buffer_text(json, ",\"length\":{"));
    TRY(put_edges(json, 0, (double)cap, LENGTH_BINS));
    TRY(put_counts(json, counts, LENGTH_BINS));
    return buffer_printf(json, ",\"cap\":%" PRIu64 "}", cap);
}

/* exp of the mean negative logprob, by position in the response; null where no response got to. */
static enum status put_positions(struct buffer *json, const struct step_distributions *step)
{
    const struct token_counts *counts = step->counts;
    TRY(buffer_text(json, ",\"ppl_position\":{"));
    TRY(put_edges(json, 0, step->response_cap, COUNTS_POSITIONS));
    TRY(put_counts(json, counts->position_tokens, COUNTS_POSITIONS));
    TRY(buffer_text(json, ",\"ppl\":["));
    for (int i = 0; i < COUNTS_POSITIONS; i++) {
        double tokens = (double)counts->position_tokens[i];
        TRY(buffer_text(json, i > 0 ? "," : ""));
        TRY(put_real(json, tokens > 0 ? exp(-counts->position_logprob[i] / tokens) : (double)NAN));
    }
    return buffer_text(json, "]}");
}

static enum status put_forks(struct buffer *json, const struct step_distributions *step)
{
    uint64_t tokens = 0;
    for (int i = 0; i < COUNTS_POSITIONS; i++)
        tokens += step->counts->position_tokens[i];
    TRY(buffer_text(json, ",\"fork\":{\"below\":["));
    for (int i = 0; i < COUNTS_FORKS; i++)
        TRY(buffer_printf(json, "%s%g", i > 0 ? "," : "", counts_fork_below[i]));
    TRY(buffer_text(json, "],"));
    TRY(put_counts(json, step->counts->fork, COUNTS_FORKS));
    return buffer_printf(json, ",\"tokens\":%" PRIu64 "}", tokens);
}

static enum status put_clip(struct buffer *json, const struct token_counts *counts)
{
    return buffer_printf(json,
                         ",\"clip\":{\"positive\":%" PRIu64 ",\"positive_clipped\":%" PRIu64
                         ",\"negative\":%" PRIu64 ",\"negative_clipped\":%" PRIu64 "}",
                         counts->positive, counts->positive_clipped, counts->negative,
                         counts->negative_clipped);
}

enum status histograms_json(const struct step_distributions *step, struct buffer *json)
{
    TRY(buffer_printf(json, "{\"step\":%" PRIu64, step->step));
    TRY(put_weights(json, step));
    TRY(put_clip(json, step->counts));
    TRY(put_density(json, step));
    TRY(put_advantages(json, step));
    TRY(put_lags(json, step));
    TRY(put_lengths(json, step));
    TRY(put_positions(json, step));
    TRY(put_forks(json, step));
    return buffer_text(json, "}");
}
