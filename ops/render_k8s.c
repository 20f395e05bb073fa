/* ops/render_k8s.c - `weir render k8s`: its words, the recipe that the cluster gets, and what cannot be rendered. */
#include "ops/render_k8s.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/cmd.h"
#include "ops/render.h"

enum { NUMBER_MAX = 1024, OVERRIDES_OF_OURS = 16, OVERRIDE_BYTES = 160 };

struct k8s_request {
    const char *files[PROGRAM_FILES_MAX];
    const char *overrides[PROGRAM_OVERRIDES_MAX + OVERRIDES_OF_OURS];
    size_t file_count, override_count;
    char ours[OVERRIDES_OF_OURS][OVERRIDE_BYTES];
    size_t our_count;
    long actors, rewards, gpus; /* -1: from the settings */
    const char *name, *namespace;
    struct k8s k8s;
    struct settings settings;
    struct config *config;
    struct buffer recipe;
};

/* ---- arguments ---- */

static bool read_number(const char *text, long *value)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || number < 0 || number > NUMBER_MAX)
        return false;
    *value = number;
    return true;
}

/* They stand in YAML as they are: names, images, quantities. */
static bool is_plain(const char *text)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:/@";
    return text[0] != 0 && text[0] != '-' && strspn(text, letters) == strlen(text) &&
           text[strlen(text) - 1] != ':';
}

/* "64Gi", "500M", "1.5Ti": a number, then a suffix of resource quantities, or none. */
static bool is_quantity(const char *text)
{
    static const char *const suffixes[] = {"",   "k",  "M",  "G",  "T", "P",
                                           "Ki", "Mi", "Gi", "Ti", "Pi"};
    size_t digits = strspn(text, "0123456789");
    if (digits > 0 && text[digits] == '.') {
        size_t more = strspn(text + digits + 1, "0123456789");
        digits += more > 0 ? 1 + more : 0;
    }
    for (size_t i = 0; digits > 0 && i < sizeof suffixes / sizeof suffixes[0]; i++)
        if (strcmp(text + digits, suffixes[i]) == 0)
            return true;
    return false;
}

static int take_option(struct k8s_request *request, const char *word, const char *value)
{
    const struct {
        const char *word;
        long *number;
        const char **text;
        bool quantity;
    } rows[] = {{"--actors", &request->actors, NULL, false},
                {"--rewards", &request->rewards, NULL, false},
                {"--gpus-per-actor", &request->gpus, NULL, false},
                {"--name", NULL, &request->name, false},
                {"--namespace", NULL, &request->namespace, false},
                {"--image", NULL, &request->k8s.image, false},
                {"--data-claim", NULL, &request->k8s.data_claim, false},
                {"--reward-secret", NULL, &request->k8s.reward_secret, false},
                {"--storage", NULL, &request->k8s.storage, true},
                {"--head-memory", NULL, &request->k8s.head_memory, true},
                {"--worker-memory", NULL, &request->k8s.worker_memory, true}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].word, word) != 0)
            continue;
        if (value == NULL)
            return command_usage("render", "%s wants a value", word);
        if (rows[i].number != NULL && !read_number(value, rows[i].number))
            return command_usage("render", "%s %s: a whole number from 0 to %d is expected", word,
                                 value, NUMBER_MAX);
        if (rows[i].quantity && !is_quantity(value))
            return command_usage("render", "%s %s: a quantity such as 64Gi is expected", word,
                                 value);
        if (rows[i].text != NULL && !is_plain(value))
            return command_usage("render", "%s \"%s\": letters, digits and ._-:/@ only", word,
                                 value);
        if (rows[i].text != NULL)
            *rows[i].text = value;
        return EXIT_CODE_OK;
    }
    return command_usage("render", "unknown option %s", word);
}

static int take_argument(struct k8s_request *request, const char *argument)
{
    if (strchr(argument, '=') != NULL) {
        if (request->override_count == PROGRAM_OVERRIDES_MAX)
            return command_usage("render", "more than %d settings", PROGRAM_OVERRIDES_MAX);
        request->overrides[request->override_count++] = argument;
    } else {
        if (request->file_count == PROGRAM_FILES_MAX)
            return command_usage("render", "more than %d recipes", PROGRAM_FILES_MAX);
        request->files[request->file_count++] = argument;
    }
    return EXIT_CODE_OK;
}

static int parse(struct k8s_request *request, int argc, char **argv)
{
    int code = EXIT_CODE_OK;
    for (int i = 0; i < argc && code == EXIT_CODE_OK; i++) {
        if (strcmp(argv[i], "--jobset") == 0 || strcmp(argv[i], "--plain") == 0) {
            request->k8s.plain = strcmp(argv[i], "--plain") == 0;
        } else if (argv[i][0] == '-') {
            code = take_option(request, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
            i++;
        } else {
            code = take_argument(request, argv[i]);
        }
    }
    if (code == EXIT_CODE_OK && request->file_count == 0)
        return command_usage("render", "name a recipe, as examples/recipes/quickstart.yaml");
    return code;
}

/* ---- settings ---- */

/* A device that only this machine lacks is no error here. */
static enum status load(struct k8s_request *request)
{
    struct config_input input = {.files = request->files,
                                 .file_count = request->file_count,
                                 .overrides = request->overrides,
                                 .override_count = request->override_count,
                                 .environment = true};
    config_destroy(&request->config);
    TRY(config_load(&request->config, settings_sections, settings_section_count, &input,
                    &request->settings));
    return settings_check_plan(&request->settings);
}

static PRINTF_LIKE(2, 3) void add(struct k8s_request *request, const char *format, ...)
{
    va_list arguments;
    char *place = request->ours[request->our_count++];
    va_start(arguments, format);
    vsnprintf(place, OVERRIDE_BYTES, format, arguments);
    va_end(arguments);
    request->overrides[request->override_count++] = place;
}

/* How many devices "cuda:0,cuda:1" of the learner names; 0 on the CPU. */
static unsigned gpus_of_learner(const struct settings *settings)
{
    char device[SETTINGS_DEVICE_MAX];
    settings_device(settings, settings->learner.device, 0, device);
    return strncmp(device, "cuda", 4) == 0 ? settings->learner.ranks : 0;
}

/* What a cluster needs in place of what one machine has. */
static void add_overrides(struct k8s_request *request)
{
    struct k8s *k8s = &request->k8s;
    char devices[OVERRIDE_BYTES - 32] = "";
    add(request, "run.name=%s", k8s->name);
    add(request, "run.root=/runs");
    add(request, "run.actors=0");
    add(request, "run.reward_workers=0");
    add(request, "run.keys=/keys/run");
    add(request, "weights.channel=tcp");
    add(request, "dash.address=0.0.0.0:%d", K8S_DASH_PORT);
    add(request, "dash.token_file=/keys/dash.token");
    add(request, "metrics.http=0.0.0.0:%d", K8S_MONITOR_PORT);
    for (unsigned i = 0; i < k8s->head_gpus; i++) {
        size_t at = strlen(devices);
        snprintf(devices + at, sizeof devices - at, "%scuda:%u", i > 0 ? "," : "", i);
    }
    if (k8s->head_gpus > 0)
        add(request, "learner.device=%s", devices);
    const char *eval_device = render_eval_device(&request->settings, (long)k8s->head_gpus);
    if (eval_device != NULL)
        add(request, "eval.device=%s", eval_device);
}

static enum status check(const struct k8s_request *request)
{
    const struct settings *settings = &request->settings;
    if (request->gpus > 0 && !render_actors_on_gpus(settings))
        return FAIL(
            STATUS_INVALID,
            "--gpus-per-actor %ld, and the actors compute on the CPU: say run.device=cuda:0 "
            "or actor.device=cuda:0",
            request->gpus);
    if (request->gpus > 1)
        return FAIL(
            STATUS_INVALID,
            "--gpus-per-actor %ld: an actor computes on one GPU; say --gpus-per-actor 1 and "
            "more --actors",
            request->gpus);
    if (request->gpus == 0 && render_actors_on_gpus(settings))
        return FAIL(
            STATUS_INVALID,
            "--gpus-per-actor 0, and the actors compute on a GPU (run.device, actor.device)");
    if (settings->weights.channel == CHANNEL_SHM || settings->weights.channel == CHANNEL_IPC ||
        settings->weights.channel == CHANNEL_NCCL)
        return FAIL(STATUS_INVALID, "weights.channel: between pods weights go by tcp; leave it out "
                                    "or say weights.channel=tcp");
    if (settings->redis.mode == REDIS_CONNECT)
        return FAIL(
            STATUS_INVALID,
            "redis.mode=connect: the pods may reach neither a Redis of others nor get its "
            "password; leave it out (the head starts one of its own) or say redis.mode=off");
    if (settings->redis.mode == REDIS_START && settings->redis.address[0] != 0)
        return FAIL(STATUS_INVALID, "redis.address names a Redis of this machine: leave it out");
    return STATUS_OK;
}

/* The settings that are no defaults: a new default of a newer weir stays one. Secrets come from the environment. */
static enum status put_recipe(const struct config *config, struct buffer *yaml)
{
    for (size_t s = 0; s < settings_section_count; s++) {
        const struct config_section *section = &settings_sections[s];
        bool begun = false;
        for (size_t f = 0; f < section->count; f++) {
            const struct config_field *field = &section->fields[f];
            const char *text = NULL, *source;
            char key[128];
            snprintf(key, sizeof key, "%s.%s", section->name, field->name);
            source = config_source(config, key, &text);
            if (source == NULL || strcmp(source, "default") == 0 || config_is_secret(field))
                continue;
            TRY(buffer_printf(yaml, "%s%s  %s: ", begun ? "" : section->name, begun ? "" : ":\n",
                              field->name));
            begun = true;
            if (field->type == CONFIG_TEXT)
                TRY(buffer_json_text(yaml, text));
            else
                TRY(buffer_text(yaml, text));
            TRY(buffer_text(yaml, "\n"));
        }
    }
    return STATUS_OK;
}

static enum status prepare(struct k8s_request *request)
{
    struct k8s *k8s = &request->k8s;
    struct settings *settings = &request->settings;
    char made[RUN_NAME_MAX];
    TRY(load(request));
    TRY(check(request));
    run_name_stem(request->files[0], sizeof made, made);
    TRY(k8s_name(request->name != NULL        ? request->name
                 : settings->run.name[0] != 0 ? settings->run.name
                                              : made,
                 k8s->name));
    if (request->namespace != NULL && strlen(request->namespace) >= sizeof k8s->namespace)
        return FAIL(STATUS_INVALID, "--namespace %s has more than %zu letters", request->namespace,
                    sizeof k8s->namespace - 1);
    if (request->namespace != NULL)
        snprintf(k8s->namespace, sizeof k8s->namespace, "%s", request->namespace);
    k8s->actors = request->actors >= 0 ? (unsigned)request->actors : settings->run.actors;
    k8s->rewards =
        request->rewards >= 0 ? (unsigned)request->rewards : settings->run.reward_workers;
    k8s->gpus_per_actor =
        request->gpus >= 0 ? (unsigned)request->gpus : render_actors_on_gpus(settings);
    k8s->head_gpus = gpus_of_learner(settings);
    k8s->settings = settings;
    TRY(k8s_look_at_reward(k8s));
    add_overrides(request);
    TRY(load(request));
    TRY(put_recipe(request->config, &request->recipe));
    k8s->recipe = buffer_string(&request->recipe);
    return STATUS_OK;
}

int render_k8s(int argc, char **argv)
{
    static struct k8s_request request; /* large; one thread */
    struct buffer text;
    request = (struct k8s_request){.actors = -1,
                                   .rewards = -1,
                                   .gpus = -1,
                                   .k8s = {.image = "weir:" WEIR_VERSION,
                                           .storage = "50Gi",
                                           .head_memory = "8Gi",
                                           .worker_memory = "4Gi"}};
    int code = parse(&request, argc, argv);
    if (code != EXIT_CODE_OK)
        return code;
    buffer_init(&text, 0);
    buffer_init(&request.recipe, 0);
    enum status status = prepare(&request);
    if (status == STATUS_OK)
        status = k8s_text(&request.k8s, &text);
    if (status == STATUS_OK)
        fputs(buffer_string(&text), stdout);
    buffer_free(&text);
    buffer_free(&request.recipe);
    config_destroy(&request.config);
    return status == STATUS_OK ? EXIT_CODE_OK : command_failed("render", status);
}
