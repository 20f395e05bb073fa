#include "reward/judge/calibrate.h"

#include <math.h>
#include <string.h>

void best_of_add(struct best_of *sums, const bool *correct, const double *grade, size_t count,
                 double right)
{
    double most = -(double)INFINITY, chosen = 0, chosen_right = 0, all_right = 0;
    if (count == 0)
        return;
    for (size_t i = 0; i < count; i++) {
        all_right += correct[i];
        if (isnan(grade[i])) {
            sums->unreadable++;
            continue;
        }
        sums->agreed += (grade[i] >= right) == correct[i];
        if (grade[i] > most) {
            most = grade[i];
            chosen = chosen_right = 0;
        }
        if (grade[i] >= most) {
            chosen++;
            chosen_right += correct[i];
        }
    }
    sums->prompts++;
    sums->answers += count;
    sums->any += all_right > 0;
    sums->best += chosen > 0 ? chosen_right / chosen : all_right / (double)count;
}

static double share(double part, uint64_t whole)
{
    return whole > 0 ? part / (double)whole : 0;
}

double best_of_pass(const struct best_of *sums)
{
    return share(sums->any, sums->prompts);
}

double best_of_best(const struct best_of *sums)
{
    return share(sums->best, sums->prompts);
}

double best_of_gap(const struct best_of *sums)
{
    return share(sums->any - sums->best, sums->prompts);
}

double best_of_accuracy(const struct best_of *sums)
{
    return share((double)sums->agreed, sums->answers - sums->unreadable);
}

static double log_length(double length)
{
    return log2(fmax(1, length)); /* an empty answer counts as one token */
}

void length_correct_group(double *reward, const double *length, size_t count, double b)
{
    double mean = 0;
    for (size_t i = 0; i < count; i++)
        mean += log_length(length[i]) / (double)count;
    for (size_t i = 0; i < count; i++)
        reward[i] -= b * (log_length(length[i]) - mean);
}

double length_correct(double reward, double length, double usual, double b)
{
    return reward - b * (log_length(length) - log_length(usual));
}

enum status calibrate_pad(struct buffer *out, const char *text, size_t size, double share_wanted)
{
    static const char *const sentences[] = {
        "It is worth keeping all of this in mind when reading the above.",
        "The points made here can be looked at from more than one side.",
        "As with many questions of this kind, context plays its part.",
        "Taken together, these remarks complete the picture given above.",
        "Further thoughts along the same lines would lead to the same place.",
        "This concludes the present considerations on the matter at hand."};
    TRY(buffer_append(out, text, size));
    double wanted = fmax(0, fmin(share_wanted, 100)) * (double)size;
    size_t i = 0;
    for (double added = 0; added < wanted; i++) {
        const char *sentence = sentences[i % (sizeof sentences / sizeof sentences[0])];
        TRY(buffer_printf(out, "%s%s", i % 3 == 0 ? "\n\n" : " ", sentence));
        added += (double)strlen(sentence) + 1;
    }
    return STATUS_OK;
}

double if_reward(enum if_rule how, double rule, double pair, double weight_rule, double weight_pair)
{
    if (how == IF_RULE_PRODUCT)
        return rule * (pair + 1) / 2;
    if (how == IF_RULE_SUM)
        return weight_rule * rule + weight_pair * pair;
    return rule < 1 ? -1 : pair;
}
