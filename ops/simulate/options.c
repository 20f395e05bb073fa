/* ops/simulate/options.c - the command line of `weir simulate`. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ops/simulate/batch.h"

const char simulate_help[] =
    "weir simulate --seeds FROM:COUNT [--faults LIST] [--jobs N] [--trace]\n"
    "    plays COUNT small fleets with faults, from seed FROM on, and checks that nothing is lost, "
    "nothing\n"
    "    trained twice, nothing too stale; a JSON line a seed, then a summary. --trace prints "
    "every event.\n"
    "weir simulate --actors N [RECIPE] [section.name=value ...]\n"
    "    predicts what a planned fleet will do, from measured rates and the recipe's settings.\n"
    "\n"
    "  --faults LIST             all, none, or of: kill store stop cut partition loss duplicate "
    "wire disk\n"
    "                            skew weights poison score branch churn twin, with commas (seeds: "
    "all)\n"
    "  --jobs N                  processes (default 2)\n"
    "  --seed N                  of a forecast (default 1)\n"
    "  --workers N               reward workers (default: run.reward_workers)\n"
    "  --tokens-per-s X          that one actor generates, all its sequences together (default "
    "2000)\n"
    "  --learner-tokens-per-s Y  that the learner trains (default 20000)\n"
    "  --score-ms Z              of one rollout in the plugin (default 5)\n"
    "  --score-lanes N           rollouts that a worker scores at the same time (default 1)\n"
    "  --response-tokens M[:MAX] mean length, and the longest (default: a quarter of\n"
    "                            sampling.response_tokens_max, and that)\n"
    "  --step-ms T               of a learner's step besides its tokens (default 0)\n"
    "  --checkpoint-s T          of writing a checkpoint (default 1)\n"
    "  --mtbf-s T                one process dies in T seconds on average (default: none does)\n"
    "  --restart-s T             until it is back (default 5)\n"
    "  --minutes M               of virtual time that are measured, after a fifth of it (default "
    "5)\n"
    "  --json                    one JSON object instead of the table\n"
    "  --quiet                   no progress on stderr\n";

/* ---- values ---- */

static enum status whole(const char *name, const char *text, uint64_t least, uint64_t most,
                         uint64_t *value)
{
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || number < least ||
        number > most)
        return FAIL(STATUS_INVALID, "%s \"%s\" is not a whole number from %llu to %llu", name, text,
                    (unsigned long long)least, (unsigned long long)most);
    *value = number;
    return STATUS_OK;
}

static enum status small(const char *name, const char *text, uint32_t least, uint32_t most,
                         uint32_t *value)
{
    uint64_t number = 0;
    TRY(whole(name, text, least, most, &number));
    *value = (uint32_t)number;
    return STATUS_OK;
}

static enum status real(const char *name, const char *text, double least, double most,
                        double *value)
{
    char *end = NULL;
    errno = 0;
    double number = strtod(text, &end);
    if (errno != 0 || end == text || *end != '\0' || !isfinite(number) || number < least ||
        number > most)
        return FAIL(STATUS_INVALID, "%s \"%s\" is not a number from %g to %g", name, text, least,
                    most);
    *value = number;
    return STATUS_OK;
}

/* "A:B", or "A" alone (*second stays). */
static enum status pair(const char *name, const char *text, uint64_t least, uint64_t most,
                        uint64_t *first, uint64_t *second)
{
    char left[32];
    const char *colon = strchr(text, ':');
    size_t size = colon != NULL ? (size_t)(colon - text) : strlen(text);
    if (size >= sizeof left)
        return FAIL(STATUS_INVALID, "%s \"%s\" is too long", name, text);
    memcpy(left, text, size);
    left[size] = '\0';
    TRY(whole(name, left, least, most, first));
    return colon != NULL ? whole(name, colon + 1, 1, most, second) : STATUS_OK;
}

/* ---- options ---- */

static enum status parse_plant(const char *text, enum sim_plant *plant)
{
    if (strcmp(text, "ack_before_commit") == 0)
        *plant = PLANT_ACK_BEFORE_COMMIT;
    else if (strcmp(text, "lease_twice") == 0)
        *plant = PLANT_LEASE_TWICE;
    else if (strcmp(text, "staleness") == 0)
        *plant = PLANT_STALENESS;
    else
        return FAIL(STATUS_INVALID,
                    "--plant \"%s\": there are ack_before_commit, lease_twice and staleness", text);
    return STATUS_OK;
}

static enum status parse_seeds(struct simulate_options *options, const char *text)
{
    options->seeds_given = true;
    return pair("--seeds", text, 0, UINT64_C(1000000000000), &options->from, &options->count);
}

static enum status parse_lengths(struct simulate_options *options, const char *text)
{
    uint64_t mean = 0, most = 0;
    TRY(pair("--response-tokens", text, 1, 10000000, &mean, &most));
    if (most != 0 && most < mean)
        return FAIL(STATUS_INVALID, "--response-tokens \"%s\": the longest is below the mean",
                    text);
    options->response_mean = (uint32_t)mean;
    options->response_max = (uint32_t)most;
    return STATUS_OK;
}

static enum status parse_fleet(struct simulate_options *options, const char *name,
                               const char *value, bool *known)
{
    *known = true;
    if (strcmp(name, "--actors") == 0) {
        options->forecast = true;
        return small(name, value, 1, 3500, &options->actors);
    }
    if (strcmp(name, "--workers") == 0)
        return small(name, value, 1, 500, &options->workers);
    if (strcmp(name, "--tokens-per-s") == 0)
        return real(name, value, 0.01, 1e9, &options->tokens_per_s);
    if (strcmp(name, "--learner-tokens-per-s") == 0)
        return real(name, value, 0.01, 1e12, &options->learner_tokens_per_s);
    if (strcmp(name, "--score-ms") == 0)
        return real(name, value, 0.001, 1e7, &options->score_ms);
    if (strcmp(name, "--score-lanes") == 0)
        return small(name, value, 1, 4096, &options->score_lanes);
    if (strcmp(name, "--response-tokens") == 0)
        return parse_lengths(options, value);
    if (strcmp(name, "--step-ms") == 0)
        return real(name, value, 0, 1e7, &options->step_ms);
    if (strcmp(name, "--checkpoint-s") == 0)
        return real(name, value, 0, 1e5, &options->checkpoint_s);
    if (strcmp(name, "--mtbf-s") == 0)
        return real(name, value, 1, 1e9, &options->mtbf_s);
    if (strcmp(name, "--restart-s") == 0)
        return real(name, value, 0.001, 1e5, &options->restart_s);
    if (strcmp(name, "--minutes") == 0)
        return real(name, value, 0.01, 1e5, &options->minutes);
    *known = false;
    return STATUS_OK;
}

static enum status parse_value(struct simulate_options *options, const char *name,
                               const char *value)
{
    bool known = false;
    if (strcmp(name, "--seeds") == 0)
        return parse_seeds(options, value);
    if (strcmp(name, "--seed") == 0)
        return whole(name, value, 0, UINT64_C(1000000000000), &options->seed);
    if (strcmp(name, "--jobs") == 0)
        return small(name, value, 1, 256, &options->jobs);
    if (strcmp(name, "--plant") == 0)
        return parse_plant(value, &options->plant);
    if (strcmp(name, "--faults") == 0) {
        options->faults_given = true;
        return sim_faults_parse(value, &options->faults);
    }
    TRY(parse_fleet(options, name, value, &known));
    return known ? STATUS_OK : FAIL(STATUS_INVALID, "there is no option %s; see --help", name);
}

static bool parse_flag(struct simulate_options *options, const char *name)
{
    bool *flag = strcmp(name, "--help") == 0    ? &options->help
                 : strcmp(name, "--json") == 0  ? &options->json
                 : strcmp(name, "--trace") == 0 ? &options->trace
                 : strcmp(name, "--quiet") == 0 ? &options->quiet
                                                : NULL;
    if (flag != NULL)
        *flag = true;
    return flag != NULL;
}

static enum status parse_setting(struct simulate_options *options, const char *text)
{
    bool recipe = strchr(text, '=') == NULL;
    size_t *count = recipe ? &options->file_count : &options->override_count;
    size_t most = recipe ? sizeof options->files / sizeof options->files[0]
                         : sizeof options->overrides / sizeof options->overrides[0];
    if (*count == most)
        return FAIL(STATUS_INVALID, "more than %zu %s", most, recipe ? "recipes" : "settings");
    (recipe ? options->files : options->overrides)[(*count)++] = text;
    return STATUS_OK;
}

static enum status check(const struct simulate_options *options)
{
    if (options->help)
        return STATUS_OK;
    if (options->forecast && options->seeds_given)
        return FAIL(STATUS_INVALID, "--seeds plays small random fleets, --actors a planned one: "
                                    "give one of them");
    if (!options->forecast && !options->seeds_given)
        return FAIL(STATUS_INVALID, "give --seeds FROM:COUNT or --actors N; see --help");
    if (options->seeds_given && (options->file_count > 0 || options->override_count > 0))
        return FAIL(STATUS_INVALID, "\"%s\": seeds draw their own settings",
                    options->file_count > 0 ? options->files[0] : options->overrides[0]);
    return STATUS_OK;
}

enum status simulate_parse(struct simulate_options *options, int argc, char **argv)
{
    *options = (struct simulate_options){.count = 1,
                                         .jobs = 2,
                                         .seed = 1,
                                         .tokens_per_s = 2000,
                                         .learner_tokens_per_s = 20000,
                                         .score_ms = 5,
                                         .score_lanes = 1,
                                         .minutes = 5,
                                         .restart_s = 5,
                                         .checkpoint_s = 1};
    for (int i = 1; i < argc; i++) {
        if (parse_flag(options, argv[i]))
            continue;
        if (strncmp(argv[i], "--", 2) != 0) {
            TRY(parse_setting(options, argv[i]));
            continue;
        }
        if (i + 1 == argc)
            return FAIL(STATUS_INVALID, "%s needs a value; see --help", argv[i]);
        TRY(parse_value(options, argv[i], argv[i + 1]));
        i++;
    }
    if (!options->faults_given)
        options->faults = options->forecast ? 0 : SIM_ALL_FAULTS;
    return check(options);
}
