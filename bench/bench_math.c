/* links: reward_math */
/* Comparing maths answers, as JSON lines: median and 99th percentile over answers of many forms (limit: median 200 us), the
 * worst of hostile answers (limit: the 50 ms of a case and 10 for the rest) and of responses of 1 MB.
 * Napkin: two texts of 30 bytes are 100 tokens and nodes at 10 ns, a few balls of 96 bits at 1 us each, one arena: about
 * 10 us for numbers, 100 us where a function is evaluated at 4 points and 768 bits. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bench/must.h"
#include "core/memory.h"
#include "reward/area.h"

extern const struct reward_area math_area;

enum { ROUNDS = 201, BIG = 1 << 20 };

static const char *const pairs[][2] = {
    {"42", "42"},
    {"70000", "70,000"},
    {"\\frac{14}{3}", "\\dfrac{14}{3}"},
    {"-\\frac{35}{9}", "-3\\frac{8}{9}"},
    {"3\\sqrt{13}", "\\sqrt{117}"},
    {"\\frac{\\sqrt{3}}{3}", "\\frac{1}{\\sqrt3}"},
    {"\\sqrt{11+6\\sqrt{2}}", "3+\\sqrt2"},
    {"12\\pi", "24\\cdot\\frac{\\pi}{2}"},
    {"90^\\circ", "90"},
    {"28\\%", "\\frac{7}{25}"},
    {"6 - 5i", "-5i+6"},
    {"e^{i\\pi/3}", "\\frac12+\\frac{\\sqrt3}{2}i"},
    {"(a+5)(b+2)", "ab+2a+5b+10"},
    {"x^5 - x^4 + x^3 - x^2 + x - 1", "(x-1)(x^4+x^2+1)"},
    {"\\tan^2 y+1", "\\sec^2 y"},
    {"n!", "n\\cdot(n-1)!"},
    {"\\binom{n}{2}", "\\frac{n(n-1)}{2}"},
    {"|x-3|", "\\sqrt{(x-3)^2}"},
    {"2^{1008}", "4^{504}"},
    {"\\sum_{k=1}^{10} k", "55"},
    {"(3,\\frac{\\pi}{2})", "(3,\\pi/2)"},
    {"\\{1\\pm\\sqrt{5},-2\\}", "-2,1+\\sqrt5,1-\\sqrt5"},
    {"(-\\infty, 2) \\cup (3, \\infty)", "(3,\\infty)\\cup(-\\infty,2)"},
    {"\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}",
     "\\begin{bmatrix}1&2\\\\3&4\\end{bmatrix}"},
    {"y = 2x + 3", "2x-y+3=0"},
    {"x<1 \\text{ or } x>3", "(-\\infty,1)\\cup(3,\\infty)"},
    {"\\text{Evelyn}", "Evelyn"},
    {"\\text{(C)}", "C"},
    {"7:32", "14:64"},
    {"204_5", "204_{5}"},
};

static const char *const hostile[] = {"10^{10^{10}}",
                                      "9999999999!",
                                      "\\binom{10^9}{5\\cdot10^8}",
                                      "2^{2^{40}}",
                                      "\\sum_{k=1}^{10^9}\\frac1k",
                                      "\\sum_{a=1}^{999}\\sum_{b=1}^{999}\\sum_{c=1}^{999} abc",
                                      "\\prod_{k=1}^{999}\\prod_{j=1}^{999}(k^{99}+j^{99})",
                                      "\\sum_{k=1}^{1000}\\sum_{j=1}^{1000} x^{k y+j}",
                                      "\\Gamma(x)^{\\Gamma(x)^{\\Gamma(x)}}",
                                      "1e999999-1e999998"};

static double score_us(void *instance, const char *gold, const char *response, size_t size,
                       double *value)
{
    json_t *row = json_object();
    json_t *truth = json_string(gold);
    struct reward_case one = {.row = row,
                              .truth = truth,
                              .response = response,
                              .response_size = size,
                              .prompt = "",
                              .data_source = "",
                              .deadline_ns = INT64_MAX};
    struct reward_outcome outcome = {
        .status = WEIR_REWARD_UNSCORABLE, .value = -1, .fields = json_object()};
    int64_t begin_ns = clock_now_ns();
    math_area.score(instance, &one, 1, &outcome);
    double us = since_ms(begin_ns) * 1e3;
    *value = outcome.status == WEIR_REWARD_OK ? outcome.value : -1;
    json_decref(outcome.fields);
    json_decref(row);
    json_decref(truth);
    return us;
}

static double boxed_us(void *instance, const char *gold, const char *answer, double *value)
{
    char text[1200];
    int size = snprintf(text, sizeof text, "We get $\\boxed{%s}$.", answer);
    return score_us(instance, gold, text, (size_t)size, value);
}

static void answers(void *instance)
{
    enum { PAIRS = sizeof pairs / sizeof pairs[0] };
    static double medians[PAIRS], all[PAIRS * ROUNDS];
    double one[ROUNDS], value;
    size_t right = 0, n = 0;
    for (size_t i = 0; i < PAIRS; i++) {
        for (size_t r = 0; r < ROUNDS; r++)
            all[n++] = one[r] = boxed_us(instance, pairs[i][0], pairs[i][1], &value);
        right += value == 1 ? 1 : 0;
        qsort(one, ROUNDS, sizeof one[0], compare);
        medians[i] = one[ROUNDS / 2];
    }
    qsort(all, n, sizeof all[0], compare);
    qsort(medians, PAIRS, sizeof medians[0], compare);
    printf("{\"bench\": \"math.answers\", \"pairs\": %d, \"right\": %zu, \"rounds\": %d, "
           "\"median_us\": %.1f, "
           "\"slowest_pair_us\": %.1f, \"p99_us\": %.1f, \"limit_median_us\": 200}\n",
           (int)PAIRS, right, ROUNDS, all[n / 2], medians[PAIRS - 1], all[n * 99 / 100]);
}

static double cpu_ms(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3;
}

/* The limit is CPU time: on a busy machine the clock may show up to ten times as much. */
static void hostile_answers(void *instance)
{
    double worst = 0, worst_wall = 0, value;
    const char *which = "";
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++)
        for (int r = 0; r < 3; r++) {
            double begin = cpu_ms();
            double wall = boxed_us(instance, r == 1 ? "x^2+1" : "5", hostile[i], &value) / 1e3;
            double used = cpu_ms() - begin;
            worst_wall = wall > worst_wall ? wall : worst_wall;
            if (used > worst) {
                worst = used;
                which = hostile[i];
            }
        }
    json_t *name = json_string(which);
    char *text = json_dumps(name, JSON_ENCODE_ANY);
    printf("{\"bench\": \"math.hostile\", \"cases\": %zu, \"worst_cpu_ms\": %.2f, "
           "\"limit_cpu_ms\": 60, "
           "\"worst_wall_ms\": %.2f, \"limit_wall_ms\": 500, \"case\": %s}\n",
           sizeof hostile / sizeof hostile[0], worst, worst_wall, text);
    free(text);
    json_decref(name);
}

static void large_responses(void *instance)
{
    static const char *const pieces[] = {"\\boxed{", "\\(", "$",       "1 ", "the answer is ",
                                         "<think>",  "{",   "\\frac{", "a"};
    double worst = 0, value;
    char *text = memory_alloc(BIG + 32);
    must(text != NULL ? STATUS_OK : STATUS_NO_MEMORY, "1 MB");
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        size_t n = strlen(pieces[i]), size = 0;
        for (; size + n <= BIG; size += n)
            memcpy(text + size, pieces[i], n);
        double us = score_us(instance, "5", text, size, &value);
        worst = us > worst ? us : worst;
    }
    memory_free(text);
    printf("{\"bench\": \"math.large\", \"bytes\": %d, \"worst_ms\": %.2f, \"limit_ms\": 100}\n",
           BIG, worst / 1e3);
}

int main(void)
{
    char why[200];
    void *instance = NULL;
    json_t *config = json_object();
    if (math_area.create(config, NULL, &instance, why, sizeof why) != 0) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    answers(instance);
    hostile_answers(instance);
    large_responses(instance);
    math_area.destroy(instance);
    json_decref(config);
    return 0;
}
