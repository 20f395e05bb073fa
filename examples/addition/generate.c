/* examples/addition/generate.c - rows of the quickstart task: 4-digit addition worked digit by digit.
 *
 *     weir-addition rl ROWS SEED            prompts with ground truth, for `weir run`
 *     weir-addition sft ROWS SEED NOISE     prompts with a worked completion, for `weir sft`
 *
 * The text of 4827+1956: prompt "4827+1956=", completion
 *
 *     7+6+0=13;2+5+1=08;8+9+0=17;4+1+1=06;06783
 *
 * one step a digit from the right (digit + digit + carry = two digits), then the answer with five digits. With
 * probability NOISE a step's sum is wrong (off by 1..9 modulo 20) and everything after it follows from the
 * wrong sum: a model trained on such a teacher samples right answers about (1 - NOISE)^4 of the time, and
 * reinforcement learning has to find out by itself which steps are right. Rows are a function of the seed. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"

enum { DIGITS = 4 };

static void work(struct rng *rng, uint32_t a, uint32_t b, double noise, char *text, size_t size)
{
    uint32_t carry = 0, answer[DIGITS + 1];
    size_t used = 0;
    for (int i = 0; i < DIGITS; i++, a /= 10, b /= 10) {
        uint32_t sum = a % 10 + b % 10 + carry;
        if (rng_uniform(rng) < noise)
            sum = (sum + 1 + rng_below(rng, 9)) % 20;
        used += (size_t)snprintf(text + used, size - used, "%u+%u+%u=%02u;", a % 10, b % 10, carry,
                                 sum);
        answer[i] = sum % 10;
        carry = sum / 10;
    }
    answer[DIGITS] = carry;
    for (int i = DIGITS; i >= 0; i--)
        used += (size_t)snprintf(text + used, size - used, "%u", answer[i]);
}

static int usage(void)
{
    fputs("usage: weir-addition rl ROWS SEED | weir-addition sft ROWS SEED NOISE\n", stderr);
    return 2;
}

static int parse(const char *text, double least, double most, double *value)
{
    char *end = NULL;
    errno = 0;
    *value = strtod(text, &end);
    return errno == 0 && end != text && *end == '\0' && *value >= least && *value <= most;
}

int main(int argc, char **argv)
{
    double rows, seed, noise = 0;
    int sft = argc == 5 && strcmp(argv[1], "sft") == 0,
        rl = argc == 4 && strcmp(argv[1], "rl") == 0;
    if (!(sft || rl) || !parse(argv[2], 1, 1e9, &rows) || !parse(argv[3], 0, 9e15, &seed) ||
        (sft && !parse(argv[4], 0, 1, &noise)))
        return usage();
    struct rng rng;
    rng_init(&rng, (uint64_t)seed, sft ? 1 : 2, RNG_TASK);
    for (uint64_t row = 0; row < (uint64_t)rows; row++) {
        uint32_t a = rng_below(&rng, 10000), b = rng_below(&rng, 10000);
        char text[128];
        if (sft) {
            work(&rng, a, b, noise, text, sizeof text);
            printf("{\"prompt\":\"%04u+%04u=\",\"completion\":\"%s\"}\n", a, b, text);
        } else {
            printf("{\"data_source\":\"addition\",\"prompt\":\"%04u+%04u=\",\"ability\":\"math\","
                   "\"reward_model\":{\"style\":"
                   "\"rule\",\"ground_truth\":\"%05u\"},\"extra_info\":{\"index\":%" PRIu64 "}}\n",
                   a, b, a + b, row);
        }
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
