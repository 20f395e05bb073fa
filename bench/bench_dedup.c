/* links: data_tools */
/* bench_dedup [ROWS] - near-duplicates among ROWS (100000) problems of word length 30 to 90, one in ten a rewording, and one in
 * ten the same problem with another number; against 1000 evaluation rows. Limit: 30 s and 1 GB for 100000 rows on one core. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "core/clock.h"
#include "core/rng.h"
#include "ops/data/dedup.h"

enum { WORDS = 5000, LENGTH_MAX = 90, EVAL_ROWS = 1000, SECONDS_MAX = 30, MEGABYTES_MAX = 1024 };

struct problem {
    uint32_t count, at[LENGTH_MAX];
};

static void draw(struct rng *rng, struct problem *problem)
{
    problem->count = 30 + rng_below(rng, LENGTH_MAX - 30);
    for (uint32_t i = 0; i < problem->count; i++) {
        uint32_t a = rng_below(rng, WORDS), b = rng_below(rng, WORDS);
        problem->at[i] = a < b ? a : b; /* some words are frequent */
    }
}

static const char *write_text(const struct problem *problem, uint32_t number)
{
    static char text[LENGTH_MAX * 16];
    size_t used = 0;
    for (uint32_t i = 0; i < problem->count; i++) {
        uint32_t word = problem->at[i];
        used += (size_t)snprintf(text + used, sizeof text - used, i % 12 == 5 ? "%u " : "%c%c%c%c ",
                                 i % 12 == 5 ? (int)(word + (i == 5 ? number : 0))
                                             : 'a' + (int)(word % 26),
                                 'a' + (int)(word / 26 % 26), 'a' + (int)(word / 676), 'x');
    }
    return text;
}

int main(int argc, char **argv)
{
    uint32_t rows = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 100000, number = 0;
    struct dedup *dedup = NULL;
    struct dedup_verdict verdict;
    struct problem problem = {0};
    struct rng rng;
    uint64_t counts[DEDUP_REASON_COUNT] = {0};
    rng_init(&rng, 3, 0, RNG_TEST);
    enum status status = dedup_create(&dedup, &dedup_options_default);
    int64_t begin_ns = clock_now_ns();
    for (uint32_t i = 0; i < EVAL_ROWS && status == STATUS_OK; i++) {
        draw(&rng, &problem);
        status = dedup_add(dedup, DEDUP_EVAL, write_text(&problem, 0), NULL, &number, &verdict);
    }
    for (uint32_t i = 0; i < rows && status == STATUS_OK; i++) {
        uint32_t kind = rng_below(&rng, 10);
        if (kind > 1 || i == 0)
            draw(&rng, &problem);
        if (kind == 0)
            problem.at[1 + rng_below(&rng, 3)] = rng_below(&rng, WORDS);
        status = dedup_add(dedup, DEDUP_TRAIN, write_text(&problem, kind == 1 ? i : 0), NULL,
                           &number, &verdict);
        counts[verdict.reason]++;
    }
    double seconds = (double)(clock_now_ns() - begin_ns) / CLOCK_NS_PER_S;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    if (status != STATUS_OK) {
        fprintf(stderr, "bench_dedup: %s\n", status_last_error());
        return 1;
    }
    printf(
        "{\"bench\":\"dedup\",\"rows\":%u,\"seconds\":%.2f,\"seconds_max\":%d,\"rows_per_s\":%.0f,"
        "\"resident_mb\":%ld,\"resident_mb_max\":%d,\"kept\":%" PRIu64 ",\"near\":%" PRIu64
        ",\"exact\":%" PRIu64 ",\"capped\":%" PRIu64 "}\n",
        rows, seconds, SECONDS_MAX, rows / seconds, usage.ru_maxrss / 1024, MEGABYTES_MAX,
        counts[DEDUP_KEPT], counts[DEDUP_NEAR], counts[DEDUP_EXACT], dedup_capped(dedup));
    dedup_destroy(&dedup);
    return seconds <= SECONDS_MAX ? 0 : 1;
}
