/* links: ops reward rollout_store */
/* label: integration */
/* timeout: 500 */
/* Store, learner and reward worker on one host, three actors on another; CURVE on every link, weights by TCP. The
 * cable is cut 200 times, in both directions or in one, and in a phase of its own loses 5 % of all packets: the
 * run trains what the run without a fault trains. */
#include "tests/chaos_hosts.h"
#include "tests/chaos_story.h"

enum { STEPS = 260, CUTS = 200, ACTORS = 3, LIMIT_MS = 200000, LOSS_STEPS = 60 };

static const struct audit_rules rules = {
    .group_size = 4, .groups_per_publish = 4, .steps = STEPS, .response_max = 24};

static char settings[FILE_PATH_MAX + 1000];
static uint64_t seed;
static struct hosts hosts;
static struct audit faultless;
static bool measured;

/* `pace`: a fault of the learner that makes it slow, so that the run lasts as long as the cuts. */
static void start(struct hosts_fleet *fleet, const char *name, const char *pace)
{
    hosts_begin(fleet, &hosts, name, settings);
    hosts_add(fleet, 0, "weir-store", 0);
    hosts_add(fleet, 0, "weir-learner", 0)->fault = pace;
    hosts_add(fleet, 0, "weir-reward", 0);
    for (unsigned i = 0; i < ACTORS; i++)
        hosts_add(fleet, 1, "weir-actor", i);
}

static bool attend(struct hosts_fleet *fleet, int64_t for_ms)
{
    bool over = hosts_attend(fleet);
    for (int64_t end_ns = story_deadline_ns(for_ms); !over && clock_now_ns() < end_ns;
         over = hosts_attend(fleet))
        clock_sleep_ms(5);
    return over;
}

static void finish(struct hosts_fleet *fleet, const char *name, struct audit *audit)
{
    bool over = attend(fleet, LIMIT_MS);
    hosts_end(fleet);
    for (size_t i = 0; i < fleet->count; i++)
        if (fleet->process[i].starts > 1)
            print_message("%s: %s.%u was started %u times\n", name, fleet->process[i].program,
                          fleet->process[i].index, fleet->process[i].starts);
    if (!over)
        print_message("%s: %zu steps of %d, logs in %s\n", name, story_steps(&fleet->run), STEPS,
                      fleet->run.path);
    assert_true(over);
    chaos_audit(audit, &fleet->run, name, &rules);
}

static void test_story_chaos_net_no_fault_is_the_measure(void **state)
{
    (void)state;
    struct hosts_fleet fleet;
    start(&fleet, "faultless", NULL);
    finish(&fleet, "faultless", &faultless);
    measured = true;
}

static unsigned cut_often(struct hosts_fleet *fleet, struct rng *rng, int64_t *cut_ms)
{
    for (unsigned cuts = 0; cuts < CUTS; cuts++) {
        if (attend(fleet, 50 + rng_below(rng, 250)))
            return cuts;
        bool in = rng_below(rng, 3) != 0, out = !in || rng_below(rng, 2) != 0;
        /* most are short, some outlive the leases */
        int64_t ms = rng_below(rng, 4) == 0 ? 300 + rng_below(rng, 700) : 50 + rng_below(rng, 300);
        hosts_cut(fleet->hosts, in, out, "drop");
        attend(fleet, ms);
        hosts_heal(fleet->hosts);
        *cut_ms += ms;
    }
    return CUTS;
}

static void test_story_chaos_net_partitions_and_loss_train_the_same(void **state)
{
    (void)state;
    struct hosts_fleet fleet;
    struct audit audit;
    struct rng rng;
    int64_t cut_ms = 0;
    rng_init(&rng, seed, 2, RNG_TEST);
    start(&fleet, "cut", "learner.planned:*=sleep.50");
    for (int i = 0; i < 400 && story_steps(&fleet.run) == 0; i++)
        attend(&fleet, 50);
    int64_t begin_ns = clock_now_ns();
    unsigned cuts = cut_often(&fleet, &rng, &cut_ms);
    size_t steps = story_steps(&fleet.run);
    print_message("%u cuts of %lld ms in all, in %lld ms; %zu steps are done\n", cuts,
                  (long long)cut_ms, (long long)((clock_now_ns() - begin_ns) / CLOCK_NS_PER_MS),
                  steps);
    hosts_cut(&hosts, true, true, "numgen random mod 100 < 5 drop");
    finish(&fleet, "cut, then 5 % of the packets lost", &audit);
    hosts_heal(&hosts);
    print_message("%zu steps with 5 %% of the packets lost\n", STEPS - steps);
    assert_int_equal(cuts, CUTS);
    assert_true(STEPS - steps >= LOSS_STEPS);
    assert_true(measured);
    assert_int_equal(audit_differences(&faultless, &audit), 0);
    audit_free(&audit);
}

static void make_keys(char folder[FILE_PATH_MAX])
{
    char out[FILE_PATH_MAX], err[FILE_PATH_MAX];
    const char *arguments[] = {"keys", "new", story_path(folder, "keys"), NULL};
    pid_t pid =
        story_spawn("weir", arguments, story_path(out, "keys.out"), story_path(err, "keys.err"));
    assert_int_equal(story_wait_pid(pid, 10000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY_TEST(test_story_chaos_net_no_fault_is_the_measure),
        STORY_TEST(test_story_chaos_net_partitions_and_loss_train_the_same)};
    char keys[FILE_PATH_MAX];
    story_begin("chaos_net");
    if (!hosts_make(&hosts)) {
        print_message("SKIPPED: network namespaces need root, ip (iproute2) and nft (nftables)\n");
        return 77;
    }
    seed = chaos_seed();
    make_keys(keys);
    snprintf(settings, sizeof settings,
             "run.seed=7 run.steps=%d learner.checkpoint_every=10 store.max_staleness=0 "
             "actor.slots=8 sampling.response_tokens_max=24 optim.lr=1e-5 store.lease_ms=400 "
             "store.heartbeat_ms=100 weights.channel=tcp weights.timeout_ms=1000 "
             "store.endpoint=tcp://%s:5570 run.keys=%s",
             STEPS, hosts_address[0], keys);
    story_make_model(&(struct story_model){14, false});
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    hosts_remove(&hosts);
    audit_free(&faultless);
    return story_end(failures);
}
