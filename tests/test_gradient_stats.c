/* links: learner */
/* timeout: 60 */
/* Statistics of gradients: the sums against a naive count, planted zeros, tiny values and correlations, groups that
 * cover the model once, shards that add up to the whole, and a trainer whose training is not changed by measuring. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/slow.h"
#include "tests/trainer_case.h"

static char folder[FILE_PATH_MAX], model[FILE_PATH_MAX];

static int setup(void **state)
{
    (void)state;
    case_folder(folder, "test_gradient_stats");
    case_model(model, folder, CASE_CONFIG_M1);
    return 0;
}

/* ---- sums ---- */

static void test_gradient_stats_sums_count_what_was_planted(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    float *x = calloc(COUNT, sizeof *x), *y = calloc(COUNT, sizeof *y);
    struct rng rng;
    rng_init(&rng, 7, 0, RNG_TEST);
    /* 10% zeros, 30% below 1e-14; log10 |x| is -16 with 30%, -9 with the rest. */
    for (int i = 0; i < COUNT; i++) {
        double size = i % 10 == 0 ? 0 : i % 10 <= 3 ? 2e-16 : 3e-9;
        double sign = rng_below(&rng, 2) ? 1 : -1;
        x[i] = (float)(size * sign);
        y[i] = (float)(rng_uniform(&rng) < 0.75 ? x[i] : -x[i]); /* correlation 0.5 */
    }
    struct gradient_sums sums;
    gradient_sums_init(&sums);
    gradient_sums_gradient(&sums, x, COUNT);
    gradient_sums_pairs(&sums, x, y, COUNT);
    int64_t elements = COUNT;
    assert_int_equal(sums.sampled, COUNT);
    assert_int_equal(sums.zeros, COUNT / 10);
    assert_int_equal(sums.tiny, 3 * COUNT / 10);
    assert_true(fabs(gradient_sums_tiny(&sums, &elements, 1) - 1.0 / 3) < 1e-12);
    assert_true(fabs(sums.least - 2e-16) < 1e-22 && fabs(sums.most - 3e-9) < 1e-15);
    assert_true(fabs(gradient_sums_quantile(&sums, &elements, 1, 0.3) - log10(2e-16)) <= 0.0501);
    assert_true(fabs(gradient_sums_quantile(&sums, &elements, 1, 0.5) - log10(3e-9)) <= 0.0501);
    assert_true(fabs(gradient_sums_pearson(&sums) - 0.5) < 0.02);
    assert_true(fabs(gradient_sums_cosine(&sums) - 0.5) < 0.02);
    assert_true(fabs(sqrt(sums.squares / COUNT) / sqrt(0.6) / 3e-9 - 1) < 1e-6);
    struct gradient_sums half, rest; /* parts add up to the whole */
    gradient_sums_init(&half);
    gradient_sums_init(&rest);
    gradient_sums_gradient(&half, x, 4321);
    gradient_sums_gradient(&rest, x + 4321, COUNT - 4321);
    gradient_sums_add(&half, &rest);
    assert_int_equal(half.tiny, sums.tiny);
    assert_memory_equal(half.bins, sums.bins, sizeof sums.bins);
    assert_true(half.least == sums.least && half.most == sums.most);
    free(x);
    free(y);
}

static void test_gradient_stats_sums_of_nothing_zero_and_non_finite_have_no_numbers(void **state)
{
    (void)state;
    static const float odd[] = {0, NAN, INFINITY, 1e-45F, 3e38F}, still[] = {2, 2, 2};
    struct gradient_sums sums;
    int64_t elements = 5;
    gradient_sums_init(&sums);
    assert_true(isnan(gradient_sums_quantile(&sums, &elements, 1, 0.5)));
    assert_true(isnan(gradient_sums_tiny(&sums, &elements, 1)));
    assert_true(isnan(gradient_sums_pearson(&sums)) && isnan(gradient_sums_cosine(&sums)));
    assert_true(isnan(gradient_sums_update_ratio(&sums)));
    gradient_sums_gradient(&sums, odd, 5);
    assert_int_equal(sums.non_finite, 2);
    assert_int_equal(sums.tiny, 1);
    assert_true(gradient_sums_quantile(&sums, &elements, 1, 0.1) < -44.8);
    assert_true(gradient_sums_quantile(&sums, &elements, 1, 1) > 38.4);
    gradient_sums_pairs(&sums, still, still, 3); /* no spread: a cosine, and no correlation */
    assert_true(fabs(gradient_sums_cosine(&sums) - 1) < 1e-15 &&
                isnan(gradient_sums_pearson(&sums)));
    static const float moved[] = {2, 2.02F, 1.98F};
    gradient_sums_update(&sums, still, moved, 3);
    assert_true(fabs(gradient_sums_update_ratio(&sums) - 0.01 * sqrt(2.0 / 3)) < 1e-7);
    struct buffer text;
    buffer_init(&text, 0);
    assert_int_equal(buffer_text(&text, "{"), STATUS_OK);
    assert_int_equal(gradient_sums_json(&sums, 5, &text), STATUS_OK);
    assert_int_equal(buffer_text(&text, "}"), STATUS_OK);
    json_t *root = json_loads(buffer_string(&text), JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    assert_true(json_is_null(json_object_get(root, "correlation")));
    json_decref(root);
    buffer_free(&text);
}

/* ---- of a trainer ---- */

static void open_trainer(struct trainer *trainer, const struct settings *settings)
{
    if (trainer_create(trainer, settings, model, 2 * CASE_TOKENS) != STATUS_OK)
        fail_msg("%s", status_last_error());
}

static json_t *json_of(const struct gradient_stats *stats)
{
    struct buffer text;
    buffer_init(&text, 0);
    assert_int_equal(gradient_stats_json(stats, 1e-3, &text), STATUS_OK);
    json_error_t error;
    json_t *root = json_loads(buffer_string(&text), JSON_REJECT_DUPLICATES, &error);
    if (root == NULL)
        fail_msg("%s: %s", error.text, buffer_string(&text));
    buffer_free(&text);
    return root;
}

static double number_of(const json_t *root, const char *group, const char *key)
{
    size_t i;
    json_t *entry;
    if (group == NULL)
        return json_number_value(json_object_get(root, key));
    json_array_foreach(
        json_object_get(root, "groups"), i,
        entry) if (strcmp(json_string_value(json_object_get(entry, "name")), group) == 0)
    {
        const json_t *value = json_object_get(entry, key);
        return json_is_number(value) ? json_number_value(value) : (double)NAN;
    }
    fail_msg("no group %s", group);
    return 0;
}

static void test_gradient_stats_groups_cover_the_model_and_training_is_the_same(void **state)
{
    (void)state;
    struct settings settings = case_settings();
    struct trainer trainer, plain;
    struct train_stats stats;
    static struct case_batch batch;
    open_trainer(&plain, &settings);
    struct settings measuring = settings;
    measuring.learner.statistics_every = 2;
    open_trainer(&trainer, &measuring);
    const struct parameter_table *table = model_parameters(trainer.model);
    int64_t elements = 0;
    for (int64_t r = 0; r < table->count; r++)
        elements += table->rows[r].count;
    uint64_t updates = test_times(4, 2);
    float *before = calloc((size_t)table->elements, sizeof *before);
    float *after = calloc((size_t)table->elements, sizeof *after);
    for (uint64_t update = 1; update <= updates; update++) {
        case_fill(&batch, 5 + update / 2);
        case_update(&plain, &batch, &stats);
        assert_int_equal(trainer_read(&trainer, ARRAY_MASTER, before), STATUS_OK);
        case_update(&trainer, &batch, &stats);
        assert_true(stats.updated);
        assert_int_equal(gradient_stats_of(trainer.statistics, trainer.updates), update % 2 == 0);
    }
    assert_true(plain.weights.digest == trainer.weights.digest);
    json_t *root = json_of(trainer.statistics);
    assert_int_equal(number_of(root, NULL, "update"), updates);
    int64_t covered = 0, sampled = 0;
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(root, "groups"), i, entry)
    {
        covered += json_integer_value(json_object_get(entry, "elements"));
        int64_t own = json_integer_value(json_object_get(entry, "sampled"));
        assert_true(own > 0 && own <= GRADIENT_SAMPLE);
        sampled += own;
    }
    assert_int_equal(covered, elements);
    assert_int_equal(number_of(root, "embedding", "elements"),
                     trainer.shape.vocabulary * trainer.shape.hidden);
    /* rms of the head's update over that of its weight, from the weights themselves; the group is small */
    assert_int_equal(trainer_read(&trainer, ARRAY_MASTER, after), STATUS_OK);
    double moved = 0, weight = 0;
    for (int64_t r = 0; r < table->count; r++)
        for (int64_t e = 0; table->rows[r].offset == table->lm_head && e < table->rows[r].count;
             e++) {
            double x = before[table->lm_head + e], y = after[table->lm_head + e];
            weight += x * x;
            moved += (y - x) * (y - x);
        }
    assert_int_equal(number_of(root, "head", "sampled"), number_of(root, "head", "elements"));
    assert_true(fabs(number_of(root, "head", "update_ratio") / sqrt(moved / weight) - 1) < 1e-5);
    assert_true(fabs(number_of(root, NULL, "correlation")) <= 1);
    print_message("%lld of %lld elements, correlation %g, p50 %g\n", (long long)sampled,
                  (long long)covered, number_of(root, NULL, "correlation"),
                  number_of(root, NULL, "p50_log10"));
    json_decref(root);
    free(before);
    free(after);
    trainer_destroy(&trainer);
    trainer_destroy(&plain);
}

/* Gradients made by hand, in place of those of a backward pass. */
static float *fill_gradients(struct trainer *trainer, uint64_t seed, double scale)
{
    size_t count = (size_t)model_parameters(trainer->model)->elements;
    float *host = calloc(count, sizeof *host);
    struct rng rng;
    rng_init(&rng, seed, 0, RNG_TEST);
    for (size_t i = 0; i < count; i++)
        host[i] = (float)(scale * rng_normal(&rng));
    assert_int_equal(trainer->ops->memory_write(trainer->ops->context, trainer->grads, host,
                                                count * sizeof *host),
                     STATUS_OK);
    return host;
}

static void measure(struct trainer *trainer, struct gradient_stats *stats, const struct shard *own,
                    struct ranks *ranks, uint64_t update)
{
    const float *master = trainer->master + own->first;
    assert_int_equal(gradient_stats_before(stats, trainer->ops, trainer->grads, master, update),
                     STATUS_OK);
    assert_int_equal(gradient_stats_after(stats, trainer->ops, master, ranks, update), STATUS_OK);
}

static void test_gradient_stats_correlation_is_of_the_same_elements(void **state)
{
    (void)state;
    struct settings settings = case_settings();
    struct trainer trainer;
    settings.learner.statistics_every = 1;
    open_trainer(&trainer, &settings);
    struct gradient_stats *stats = trainer.statistics;
    free(fill_gradients(&trainer, 1, 1e-18));
    measure(&trainer, stats, &trainer.shard, NULL, 1);
    assert_true(isnan(gradient_stats_summary(stats).correlation)); /* nothing before it */
    assert_true(gradient_stats_summary(stats).below_tiny == 1);
    assert_true(fabs(gradient_stats_summary(stats).p50_log10 - (-18 + log10(0.6745))) < 0.1);
    free(fill_gradients(&trainer, 1, 1e-5)); /* the same direction */
    measure(&trainer, stats, &trainer.shard, NULL, 2);
    assert_true(gradient_stats_summary(stats).correlation > 0.999999);
    assert_true(gradient_stats_summary(stats).below_tiny == 0);
    free(fill_gradients(&trainer, 2, 1e-5)); /* another */
    measure(&trainer, stats, &trainer.shard, NULL, 3);
    assert_true(fabs(gradient_stats_summary(stats).correlation) < 0.02);
    measure(&trainer, stats, &trainer.shard, NULL, 7); /* not the next update: no correlation */
    assert_true(isnan(gradient_stats_summary(stats).correlation));
    trainer_destroy(&trainer);
}

/* Three ranks, each a process that measures its shard, and their sums on rank 0: what one process counts at once. */
static void test_gradient_stats_of_three_ranks_are_those_of_one(void **state)
{
    (void)state;
    enum { RANKS = 3 };
    struct settings settings = case_settings();
    struct trainer trainer;
    settings.learner.statistics_every = 1;
    open_trainer(&trainer, &settings);
    free(fill_gradients(&trainer, 3, 1e-7));
    measure(&trainer, trainer.statistics, &trainer.shard, NULL, 1);
    free(fill_gradients(&trainer, 4, 1e-7));
    measure(&trainer, trainer.statistics, &trainer.shard, NULL, 2);
    json_t *whole = json_of(trainer.statistics);
    char path[64];
    snprintf(path, sizeof path, "/tmp/weir-test-gradients-%d", (int)getpid());
    int rank = 0;
    pid_t children[RANKS] = {0};
    for (int r = 1; r < RANKS && rank == 0; r++)
        if ((children[r] = fork()) == 0)
            rank = r;
    struct ranks ranks = {0};
    struct gradient_stats *part = NULL;
    struct shard own = ranks_shard(model_parameters(trainer.model)->elements, RANKS, rank);
    assert_int_equal(rank_wire_open(&ranks.wire, path, rank, RANKS, 1, 20000), STATUS_OK);
    assert_int_equal(
        gradient_stats_create(&part, model_parameters(trainer.model), &trainer.shape, &own, 1),
        STATUS_OK);
    free(fill_gradients(&trainer, 3, 1e-7));
    measure(&trainer, part, &own, &ranks, 1);
    free(fill_gradients(&trainer, 4, 1e-7));
    measure(&trainer, part, &own, &ranks, 2);
    if (rank > 0)
        _exit(0);
    json_t *sum = json_of(part);
    static const char *const same[] = {"sampled", "elements", "zeros",     "min",
                                       "max",     "rms",      "p50_log10", "correlation"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        double one = number_of(whole, "head", same[i]), three = number_of(sum, "head", same[i]);
        if (!(fabs(one - three) <= 1e-5 * fabs(one)))
            fail_msg("head %s: %g of one, %g of three ranks", same[i], one, three);
    }
    assert_true(fabs(number_of(whole, NULL, "correlation") - number_of(sum, NULL, "correlation")) <
                1e-6);
    for (int r = 1; r < RANKS; r++) {
        int how = -1;
        assert_int_equal(waitpid(children[r], &how, 0), children[r]);
        assert_int_equal(how, 0);
    }
    json_decref(whole);
    json_decref(sum);
    rank_wire_close(&ranks.wire);
    gradient_stats_destroy(&part);
    trainer_destroy(&trainer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradient_stats_sums_count_what_was_planted),
        cmocka_unit_test(test_gradient_stats_sums_of_nothing_zero_and_non_finite_have_no_numbers),
        cmocka_unit_test(test_gradient_stats_groups_cover_the_model_and_training_is_the_same),
        cmocka_unit_test(test_gradient_stats_correlation_is_of_the_same_elements),
        cmocka_unit_test(test_gradient_stats_of_three_ranks_are_those_of_one),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
