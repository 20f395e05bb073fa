/* links: learner PkgConfig::jansson */
/* What it costs to show a step of 200,000 tokens (metrics.rollout_tokens), as JSON lines. In the way of training stand the
 * counts of each token and the copy of what is written; the text is made by a thread of its own. The limit is 1 % of a
 * step: such a step takes at least 1.5 s (0.5 B parameters at 400 TFLOP/s: 6 x 0.5e9 x 200,000 = 6e14), so 15 ms. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/memory.h"
#include "learner/rollout_log.h"
#include "learner/token_counts.h"
#include "learner/token_results.h"

enum { GROUPS = 25, SAMPLES = 16, TOKENS = 500, ALL = GROUPS * SAMPLES * TOKENS };
static const double LIMIT_MS = 15;

static uint32_t ids[ALL];
static float streamed[ALL], trained[ALL], weight[ALL], entropy[ALL], mask[ALL];
static uint8_t clipped[ALL];
static struct group_sample samples[GROUPS][SAMPLES];
static struct group_data groups[GROUPS];
static struct train_sequence sequences[GROUPS * SAMPLES];
static struct token_results results[GROUPS * SAMPLES];
static bool chosen[GROUPS];
static const struct group_piece piece = {.count = TOKENS, .version = 3, .kv_version_min = 3};
static const uint32_t prompt[] = {1, 2, 3};

static double next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(*state >> 11) + 0.5) * 0x1p-53;
}

static void make_step(void)
{
    uint64_t state = 1;
    for (int i = 0; i < ALL; i++) {
        ids[i] = (uint32_t)(next_random(&state) * 150000);
        streamed[i] = (float)(next_random(&state) < 0.8 ? -0.01 * next_random(&state)
                                                        : log(next_random(&state)));
        trained[i] = (float)((double)streamed[i] * (0.95 + 0.1 * next_random(&state)));
        weight[i] = (float)exp((double)(trained[i] - streamed[i]));
        entropy[i] = (float)(next_random(&state) * 3);
        mask[i] = 1;
    }
    for (uint32_t g = 0; g < GROUPS; g++) {
        chosen[g] = true;
        groups[g] = (struct group_data){.group_id = g,
                                        .prompt_count = 3,
                                        .prompt_ids = prompt,
                                        .sample_count = SAMPLES,
                                        .samples = samples[g],
                                        .source = "bench"};
        for (uint32_t s = 0; s < SAMPLES; s++) {
            uint32_t i = g * SAMPLES + s, at = i * TOKENS;
            samples[g][s] = (struct group_sample){.sample = s,
                                                  .count = TOKENS,
                                                  .ids = ids + at,
                                                  .logprobs = streamed + at,
                                                  .mask = mask + at,
                                                  .piece_count = 1,
                                                  .pieces = &piece,
                                                  .finish = SEGMENT_EOS};
            results[i] =
                (struct token_results){trained + at, entropy + at, weight + at, clipped + at, true};
            sequences[i] = (struct train_sequence){
                .response_count = TOKENS, .group = g, .sample = s, .results = &results[i]};
        }
    }
}

static double count_tokens(void)
{
    static struct token_counts counts;
    static double p[ALL], q[ALL]; /* the trainer has them for its own figures */
    for (int i = 0; i < ALL; i++) {
        p[i] = exp((double)trained[i]);
        q[i] = exp((double)streamed[i]);
    }
    int64_t begin_ns = clock_now_ns();
    for (int i = 0; i < ALL; i++)
        token_counts_add(&counts, &(struct counted_token){.probability = p[i],
                                                          .streamed = q[i],
                                                          .logprob = (double)trained[i],
                                                          .ratio = (double)weight[i],
                                                          .advantage = i & 1 ? 1 : -1,
                                                          .index = (uint32_t)(i % TOKENS),
                                                          .span = TOKENS});
    return (double)(clock_now_ns() - begin_ns) / 1e6;
}

static enum status bench(double *counts_ms, double *copy_ms, double *write_ms)
{
    char folder[] = "/tmp/weir-bench-views-XXXXXX";
    struct settings settings = {.metrics = {.rollout_tokens = ALL, .rollout_steps = 2}};
    struct rollout_log *log = NULL;
    if (mkdtemp(folder) == NULL)
        return FAIL(STATUS_IO, "%s cannot be made", folder);
    TRY(rollout_log_open(&log, folder, &settings, 0));
    for (uint64_t step = 1; step <= 5; step++) { /* the first copies take new memory */
        struct rollout_step put = {.step = step,
                                   .groups = groups,
                                   .chosen = chosen,
                                   .group_count = GROUPS,
                                   .sequences = sequences,
                                   .sequence_count = GROUPS * SAMPLES,
                                   .loss = &settings.loss,
                                   .response_cap = TOKENS};
        double counts = count_tokens();
        int64_t begin_ns = clock_now_ns();
        TRY(rollout_log_put(log, &put));
        int64_t copied_ns = clock_now_ns();
        TRY(rollout_log_flush(log));
        double copy = (double)(copied_ns - begin_ns) / 1e6,
               written = (double)(clock_now_ns() - copied_ns) / 1e6;
        *counts_ms = step == 1 || counts < *counts_ms ? counts : *counts_ms;
        *copy_ms = step == 1 || copy < *copy_ms ? copy : *copy_ms;
        *write_ms = step == 1 || written < *write_ms ? written : *write_ms;
    }
    char path[FILE_PATH_MAX];
    struct buffer bytes;
    buffer_init(&bytes, 0);
    TRY(file_path(path, "%s/rollouts/step_000005.jsonl.zst", folder));
    TRY(file_read(path, &bytes));
    printf("{\"bench\":\"views.file\",\"bytes_per_token\":%.1f}\n", (double)bytes.size / ALL);
    buffer_free(&bytes);
    rollout_log_close(&log);
    return file_remove_tree(folder);
}

int main(void)
{
    double counts_ms = 0, copy_ms = 0, write_ms = 0;
    make_step();
    if (bench(&counts_ms, &copy_ms, &write_ms) != STATUS_OK) {
        fprintf(stderr, "%s\n", status_last_error());
        return 1;
    }
    printf("{\"bench\":\"views.in_the_way\",\"tokens\":%d,\"counts_ms\":%.2f,\"copy_ms\":%.2f,"
           "\"ms\":%.2f,\"limit_ms\":%.0f}\n",
           ALL, counts_ms, copy_ms, counts_ms + copy_ms, LIMIT_MS);
    printf("{\"bench\":\"views.thread\",\"tokens\":%d,\"ms\":%.1f}\n", ALL, write_ms);
    return counts_ms + copy_ms <= LIMIT_MS ? 0 : 1;
}
