/* links: reward_rules */
/* Rewards by rule: microseconds a row of the recorded rows, the slowest row, and a response of 1 MB under five instructions,
 * in JSON lines beside the limits. Usage: bench_rules [repeats = 50]; run from the top of the tree. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "reward/rules/rules.h"

enum { ROWS_MAX = 1000, LONG = 1 << 20 };

static void *open_area(const struct reward_area *area)
{
    char why[512];
    void *instance = NULL;
    struct reward_tools tools = {0};
    json_t *settings = json_object();
    if (area->create(settings, &tools, &instance, why, sizeof why) != 0) {
        fprintf(stderr, "%s\n", why);
        exit(1);
    }
    json_decref(settings);
    return instance;
}

/* Microseconds of one call. */
static double score(const struct reward_area *area, void *instance, const json_t *row,
                    const char *response, size_t size)
{
    struct reward_case one = {.row = row,
                              .response = response,
                              .response_size = size,
                              .prompt = "",
                              .data_source = "",
                              .deadline_ns = INT64_MAX};
    struct reward_outcome outcome = {WEIR_REWARD_UNSCORABLE, NAN, json_object()};
    int64_t start = clock_now_ns();
    area->score(instance, &one, 1, &outcome);
    int64_t end = clock_now_ns();
    json_decref(outcome.fields);
    return (double)(end - start) * 1e-3;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static size_t load(const char *path, json_t **rows)
{
    char *line = NULL;
    size_t size = 0, count = 0;
    FILE *file = fopen(path, "r");
    while (file != NULL && count < ROWS_MAX && getline(&line, &size, file) > 0)
        rows[count++] = json_loads(line, 0, NULL);
    free(line);
    if (file == NULL || fclose(file) != 0) {
        fprintf(stderr, "cannot read %s: run from the top of the tree\n", path);
        exit(1);
    }
    return count;
}

static void bench_rows(const char *what, const struct reward_area *area, const char *path,
                       int repeats, double limit)
{
    static json_t *rows[ROWS_MAX];
    static double least[ROWS_MAX];
    size_t count = load(path, rows);
    void *instance = open_area(area);
    for (size_t i = 0; i < count; i++) {
        const json_t *response = json_object_get(rows[i], "response");
        const char *text = response != NULL ? json_string_value(response) : "";
        for (int repeat = 0; repeat < repeats; repeat++) {
            double us = score(area, instance, rows[i], text, strlen(text));
            least[i] = repeat == 0 || us < least[i] ? us : least[i];
        }
        json_decref(rows[i]);
    }
    qsort(least, count, sizeof least[0], compare);
    printf("{\"bench\": \"%s\", \"rows\": %zu, \"median_us\": %.1f, \"worst_us\": %.1f, "
           "\"limit_median_us\": %.0f}\n",
           what, count, least[count / 2], least[count - 1], limit);
    area->destroy(instance);
}

static void bench_long(void)
{
    static char text[LONG + 1];
    static const char unit[] = "It is a sentence of some WORDS, they're many. [x] *y* ";
    for (size_t i = 0; i < LONG; i++)
        text[i] = unit[i % (sizeof unit - 1)];
    json_t *row = json_loads(
        "{\"instruction_id_list\": [\"length_constraints:number_sentences\", "
        "\"change_case:capital_word_frequency\", \"keywords:frequency\", "
        "\"language:response_language\", \"punctuation:no_comma\"], \"kwargs\": "
        "[{\"num_sentences\": 9, \"relation\": \"less than\"}, {\"capital_frequency\": 9, "
        "\"capital_relation\": \"less than\"}, {\"keyword\": \"some\", \"frequency\": 9, "
        "\"relation\": \"less than\"}, {\"language\": \"de\"}, {}]}",
        0, NULL);
    void *instance = open_area(&ifeval_area);
    double us = score(&ifeval_area, instance, row, text, LONG);
    printf("{\"bench\": \"ifeval 1 MB, 5 instructions that fail in all 8 readings\", "
           "\"ms\": %.0f, \"limit_ms\": 10000}\n",
           us * 1e-3);
    ifeval_area.destroy(instance);
    json_decref(row);
}

int main(int argc, char **argv)
{
    int repeats = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 50;
    bench_rows("ifeval", &ifeval_area, "tests/golden/reward/ifeval.jsonl", repeats, 200);
    bench_rows("parity", &parity_area, "tests/golden/reward/parity.jsonl", repeats, 50);
    bench_long();
    return 0;
}
