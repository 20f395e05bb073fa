#include "learner/token_counts.h"

#include <math.h>

const double counts_fork_below[COUNTS_FORKS] = {0.5, 0.2, 0.05};

static int bin_of_weight(double ratio)
{
    if (!(ratio > 0))
        return 0;
    float at = (log2f((float)ratio) + COUNTS_WEIGHT_OCTAVES) *
               COUNTS_WEIGHT_PARTS; /* half of log2's time */
    return at < 0 ? 0 : at >= COUNTS_WEIGHT_BINS ? COUNTS_WEIGHT_BINS - 1 : (int)at;
}

static int bin_of_probability(double p)
{
    int bin = (int)(p * COUNTS_DENSITY);
    return bin < 0 ? 0 : bin >= COUNTS_DENSITY ? COUNTS_DENSITY - 1 : bin;
}

void token_counts_add(struct token_counts *counts, const struct counted_token *token)
{
    if (!isfinite(token->probability) || !isfinite(token->streamed) || isnan(token->ratio))
        return;
    counts->weight[bin_of_weight(token->ratio)]++;
    counts->density[bin_of_probability(token->streamed)][bin_of_probability(token->probability)]++;
    counts->positive += token->advantage > 0;
    counts->negative += token->advantage < 0;
    counts->positive_clipped += token->clipped && token->advantage > 0;
    counts->negative_clipped += token->clipped && token->advantage < 0;
    for (int i = 0; i < COUNTS_FORKS; i++)
        counts->fork[i] += token->streamed < counts_fork_below[i];
    uint64_t bin = token->span > 0 ? (uint64_t)token->index * COUNTS_POSITIONS / token->span : 0;
    bin = bin < COUNTS_POSITIONS ? bin : COUNTS_POSITIONS - 1;
    counts->position_tokens[bin]++;
    counts->position_logprob[bin] += token->logprob;
    double difference = fabs(token->probability - token->streamed);
    counts->difference_sq_sum += difference * difference;
    counts->difference_max = fmax(counts->difference_max, difference);
}

void token_counts_merge(struct token_counts *sum, const struct token_counts *part)
{
    for (int i = 0; i < COUNTS_WEIGHT_BINS; i++)
        sum->weight[i] += part->weight[i];
    for (int i = 0; i < COUNTS_DENSITY; i++)
        for (int k = 0; k < COUNTS_DENSITY; k++)
            sum->density[i][k] += part->density[i][k];
    sum->positive += part->positive;
    sum->negative += part->negative;
    sum->positive_clipped += part->positive_clipped;
    sum->negative_clipped += part->negative_clipped;
    for (int i = 0; i < COUNTS_FORKS; i++)
        sum->fork[i] += part->fork[i];
    for (int i = 0; i < COUNTS_POSITIONS; i++) {
        sum->position_tokens[i] += part->position_tokens[i];
        sum->position_logprob[i] += part->position_logprob[i];
    }
    sum->difference_sq_sum += part->difference_sq_sum;
    sum->difference_max = fmax(sum->difference_max, part->difference_max);
}

double token_counts_edge(int i)
{
    return exp2((double)i / COUNTS_WEIGHT_PARTS - COUNTS_WEIGHT_OCTAVES);
}

double token_counts_weight_quantile(const struct token_counts *counts, double share)
{
    uint64_t total = 0;
    for (int i = 0; i < COUNTS_WEIGHT_BINS; i++)
        total += counts->weight[i];
    double wanted = share * (double)total, before = 0;
    for (int i = 0; total > 0 && i < COUNTS_WEIGHT_BINS; i++) {
        double here = (double)counts->weight[i];
        if (here > 0 && before + here >= wanted) /* between its edges, on a logarithmic scale */
            return exp2(((double)i + (wanted - before) / here) / COUNTS_WEIGHT_PARTS -
                        COUNTS_WEIGHT_OCTAVES);
        before += here;
    }
    return 0;
}
