/* links: reward_judge core */
/* bench/bench_judge.c - the judge's client against a judge on loopback that answers at once.
 *
 *     bench_judge [questions]      JSON lines: questions/s of 1 and of 64 threads, the processor time of this process a
 *                                  question (client and judge), answers/s out of the cache, verdicts/s of a 4 KiB answer
 *
 * limit: what a run needs. 512 rollouts a step judged twice in 10 s are about 100 questions/s. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "core/clock.h"
#include "core/file.h"
#include "reward/judge/client.h"
#include "reward/judge/verdict.h"
#include "tests/judge_server.h"

enum { THREADS = 64, QUESTIONS_LIMIT = 1000, CACHED_LIMIT = 10000, VERDICTS_LIMIT = 1000 };

struct crowd {
    struct judge *judge;
    atomic_uint next;
    uint32_t questions;
    atomic_uint failed;
};

static void *ask(void *self)
{
    struct crowd *crowd = self;
    json_t *messages = json_pack("[{s:s,s:s}]", "role", "user", "content", "What?");
    for (uint32_t i; (i = crowd->next++) < crowd->questions;) {
        struct judge_question question = {.messages = messages, .temperature = -1, .sample = i};
        judge_ask_all(crowd->judge, &question, 1, clock_now_ns() + 60 * CLOCK_NS_PER_S);
        crowd->failed += question.status != STATUS_OK;
        judge_answer_free(&question.answer);
    }
    json_decref(messages);
    return NULL;
}

static double processor_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void measure(const char *name, struct judge *judge, uint32_t threads, uint32_t questions,
                    int limit)
{
    struct crowd crowd = {.judge = judge, .questions = questions};
    pthread_t thread[THREADS];
    struct judge_counters counts;
    double start_s = processor_s();
    int64_t start_ns = clock_now_ns();
    for (uint32_t i = 0; i < threads; i++)
        if (pthread_create(&thread[i], NULL, ask, &crowd) != 0)
            exit(1);
    for (uint32_t i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    double took_s = (double)(clock_now_ns() - start_ns) / 1e9;
    judge_counters(judge, &counts);
    printf("{\"bench\":\"judge\",\"case\":\"%s\",\"threads\":%" PRIu32 ",\"questions\":%" PRIu32
           ",\"failed\":%u,\"per_s\":%.0f,\"limit_per_s\":%d,\"cpu_us\":%.1f,\"p50_ms\":%.2f,\"p95_"
           "ms\":%.2f}\n",
           name, threads, questions, crowd.failed, questions / took_s, limit,
           1e6 * (processor_s() - start_s) / questions, counts.p50_ms, counts.p95_ms);
}

static void verdicts(void)
{
    enum { SIZE = 4096, TIMES = 20000 };
    static char text[SIZE];
    int verdict = 0, sum = 0;
    memset(text, '[', sizeof text); /* the worst: a mark may begin everywhere */
    memcpy(text, "Grade: [[4]]    ", 16);
    double start_s = processor_s();
    for (int i = 0; i < TIMES; i++)
        sum += verdict_read(VERDICT_GRADE5, text, sizeof text, &verdict) ? verdict : 0;
    double took_s = processor_s() - start_s;
    printf("{\"bench\":\"judge\",\"case\":\"verdict of 4 KiB of "
           "brackets\",\"sum\":%d,\"per_s\":%.0f,\"limit_per_s\":%d}\n",
           sum, TIMES / took_s, VERDICTS_LIMIT);
}

int main(int argc, char **argv)
{
    static struct judge_server server;
    char base[64], cache[] = "/tmp/weir-judge-bench-XXXXXX", why[512];
    uint32_t questions = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 4000;
    struct judge *judge = NULL;
    if (mkdtemp(cache) == NULL || !judge_server_start(&server, 0))
        return 1;
    snprintf(base, sizeof base, "http://127.0.0.1:%d/v1", server.port);
    json_t *config = json_pack("{s:s,s:s}", "base_url", base, "model", "m");
    if (judge_create(config, &judge, why, sizeof why) != 0)
        return 1;
    measure("one thread", judge, 1, questions / 4, 0);
    measure("64 threads", judge, THREADS, questions, QUESTIONS_LIMIT);
    judge_destroy(&judge);
    json_object_set_new(config, "cache", json_string(cache));
    if (judge_create(config, &judge, why, sizeof why) != 0)
        return 1;
    measure("64 threads, written to the cache", judge, THREADS, questions, QUESTIONS_LIMIT);
    measure("64 threads, from the cache", judge, THREADS, questions, CACHED_LIMIT);
    judge_destroy(&judge);
    json_decref(config);
    verdicts();
    judge_server_stop(&server);
    return file_remove_tree(cache) == STATUS_OK ? 0 : 1;
}
