#include "actor/serve_command.h"

#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "actor/http.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/overrides.h"
#include "core/program.h"
#include "core/weights_version.h"

enum {
    FILES_MAX = 16,
    CONTEXT_DEFAULT = 8192, /* tokens, when the model takes so many */
    IDLE_MS = 200
};

static int usage(FILE *to, int code)
{
    fputs("usage: weir serve MODEL_DIR [options] [section.name=value ...]\n"
          "  --port P         default 8000; 0: any that is free\n"
          "  --host H         default 127.0.0.1; another than this machine's own needs a token\n"
          "  --token-file F   requests must carry the bearer token in this file\n"
          "  --name N         of the model, as requests write it (default: the folder's name)\n"
          "  --context N      tokens of prompt and answer together (default: what the model\n"
          "                   takes, at most 8192)\n"
          "  --device D       run.device: cpu, cuda:0\n"
          "  --config FILE    a recipe: its model and actor settings\n"
          "actor.slots sequences are decoded together, actor.http_waiting wait. docs/serve.md.\n",
          to);
    return code;
}

enum { PORT = 1, HOST, TOKEN, NAME, CONTEXT, DEVICE, CONFIG, PARENT, HELP };

static const struct option options[] = {{"port", 1, NULL, PORT},        {"host", 1, NULL, HOST},
                                        {"token-file", 1, NULL, TOKEN}, {"name", 1, NULL, NAME},
                                        {"context", 1, NULL, CONTEXT},  {"device", 1, NULL, DEVICE},
                                        {"config", 1, NULL, CONFIG},    {"parent", 1, NULL, PARENT},
                                        {"help", 0, NULL, HELP},        {NULL, 0, NULL, 0}};

struct serving {
    const char *files[FILES_MAX];
    size_t file_count;
    struct overrides overrides;
    const char *model, *host, *name;
    uint64_t port, context, parent;
    char address[FILE_PATH_MAX], own_name[FILE_PATH_MAX];
    struct config *config;
    struct settings settings;
    struct engine engine;
    struct http_server *server;
};

/* ---- the command line ---- */

static enum status take_option(struct serving *serving, int option)
{
    switch (option) {
    case PORT:
        return option_number("--port", optarg, 0, 65535, &serving->port);
    case HOST:
        serving->host = optarg;
        return STATUS_OK;
    case TOKEN:
        return overrides_make(&serving->overrides, "actor.http_token", optarg);
    case NAME:
        serving->name = optarg;
        return STATUS_OK;
    case CONTEXT:
        return option_number("--context", optarg, 0, 1 << 24, &serving->context);
    case DEVICE:
        return overrides_make(&serving->overrides, "run.device", optarg);
    case PARENT:
        return option_number("--parent", optarg, 0, INT32_MAX, &serving->parent);
    default:
        if (serving->file_count == FILES_MAX)
            return FAIL(STATUS_LIMIT, "more than %d --config", FILES_MAX);
        serving->files[serving->file_count++] = optarg;
        return STATUS_OK;
    }
}

static enum status take_words(struct serving *serving, int argc, char **argv)
{
    for (int i = optind; i < argc; i++)
        if (overrides_is_setting(argv[i]))
            TRY(overrides_add(&serving->overrides, argv[i]));
        else if (serving->model == NULL)
            serving->model = argv[i];
        else
            return FAIL(STATUS_INVALID, "%s: MODEL_DIR is there already", argv[i]);
    if (serving->model == NULL)
        return FAIL(STATUS_INVALID, "MODEL_DIR is wanted");
    return overrides_make(&serving->overrides, "model.path", serving->model);
}

/* The engine sizes a sequence as the longest prompt with the longest response. */
static enum status set_context(struct serving *serving)
{
    struct model_shape shape;
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/config.json", serving->model));
    TRY(model_shape_load(&shape, path));
    uint64_t most = shape.positions_max > 1 << 24 ? 1 << 24 : (uint64_t)shape.positions_max;
    uint64_t context = serving->context;
    if (context == 0)
        context = most < CONTEXT_DEFAULT ? most : CONTEXT_DEFAULT;
    if (context > most || context < 2)
        return FAIL(STATUS_INVALID, "--context %" PRIu64 ": this model takes 2 to %" PRIu64,
                    context, most);
    serving->settings.data.prompt_tokens_max = (uint32_t)(context - context / 2);
    serving->settings.sampling.response_tokens_max = (uint32_t)(context / 2);
    return STATUS_OK;
}

static enum status set_names(struct serving *serving)
{
    TRY(file_path(serving->address, "%s:%" PRIu64, serving->host, serving->port));
    TRY(file_path(serving->own_name, "%s", serving->model));
    for (size_t size = strlen(serving->own_name); size > 1 && serving->own_name[size - 1] == '/';)
        serving->own_name[--size] = '\0';
    const char *slash = strrchr(serving->own_name, '/');
    if (serving->name == NULL)
        serving->name = slash != NULL && slash[1] != '\0' ? slash + 1 : serving->own_name;
    return STATUS_OK;
}

static enum status load_settings(struct serving *serving)
{
    struct config_input input = {.files = serving->files,
                                 .file_count = serving->file_count,
                                 .overrides = serving->overrides.list,
                                 .override_count = serving->overrides.count,
                                 .environment = true};
    TRY(settings_load(&serving->settings, &serving->config, &input));
    serving->settings.actor.http = ""; /* all slots serve */
    TRY(set_context(serving));
    return set_names(serving);
}

/* -1: go on. */
static int read_arguments(struct serving *serving, int argc, char **argv)
{
    static const char *const defaults[] = {"redis.mode=off", "actor.slots=32",
                                           "actor.cache_tokens=65536", "run.log_level=warn"};
    enum status status = STATUS_OK;
    serving->host = "127.0.0.1";
    serving->port = 8000;
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0] && status == STATUS_OK; i++)
        status = overrides_add(&serving->overrides, defaults[i]);
    for (int option;
         status == STATUS_OK && (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == HELP)
            return usage(stdout, EXIT_CODE_OK);
        if (option == '?')
            return usage(stderr, EXIT_CODE_USAGE);
        status = take_option(serving, option);
    }
    if (status == STATUS_OK)
        status = take_words(serving, argc, argv);
    if (status == STATUS_OK)
        status = load_settings(serving);
    if (status == STATUS_OK)
        return -1;
    fprintf(stderr, "weir serve: %s\n", status_sentence(status_last_error()));
    return program_exit_code(status);
}

/* ---- serving ---- */

/* Frames of leases: there are none. */
static enum status forget(void *self, const struct message *message)
{
    (void)self;
    (void)message;
    return STATUS_OK;
}

/* A folder that a run wrote for a version has a note of it, beside its hf/ as a rule; 0 without one. */
static uint64_t read_version(const char *folder)
{
    char above[FILE_PATH_MAX];
    struct weights_version of = {0};
    if (!weights_version_read(folder, &of) && file_path(above, "%s/..", folder) == STATUS_OK &&
        !weights_version_read(above, &of))
        return 0;
    return of.version;
}

static enum status open_all(struct serving *serving)
{
    struct engine *engine = &serving->engine;
    const struct settings *settings = &serving->settings;
    TRY(engine_create(engine, settings, 0, 1));
    TRY(engine_load_folder(engine, settings->model.path));
    engine->served = settings->actor.slots;
    TRY(engine_open_desk(engine, 1, forget, serving));
    const struct model_weights *weights = &engine->weights[engine->active];
    uint64_t version = read_version(settings->model.path);
    desk_weights(&engine->desk, version, 0, weights->digest);
    metric_set(&engine->metrics.policy_version, (double)version);
    struct http_config config = {.settings = settings,
                                 .engine = engine,
                                 .address = serving->address,
                                 .model = serving->name};
    return http_open(&serving->server, &config);
}

static enum status turn(struct serving *serving)
{
    struct serve_hub *hub = http_hub(serving->server);
    bool worked = false;
    serve_turn(hub, &serving->engine);
    TRY(engine_decode(&serving->engine, &worked));
    serve_publish(hub, &serving->engine);
    if (worked)
        return STATUS_OK;
    /* A signal ends the wait, too. */
    struct pollfd fd = {.fd = serve_fd(hub), .events = POLLIN};
    (void)poll(&fd, 1, serve_is_busy(hub) ? 1 : IDLE_MS);
    return STATUS_OK;
}

static enum status run(struct serving *serving, FILE *out)
{
    TRY(open_all(serving));
    fprintf(out, "weir serve: http://%s/v1 model=%s version=%" PRIu64 " context=%u slots=%u\n",
            http_address(serving->server), serving->name, engine_version(&serving->engine),
            serving->engine.positions_max, serving->settings.actor.slots);
    fflush(out);
    while (atomic_load(program_stop_signals()) == 0)
        TRY(turn(serving));
    return STATUS_OK;
}

int serve_command(int argc, char **argv, FILE *out)
{
    struct serving *serving = memory_alloc(sizeof *serving);
    if (serving == NULL)
        return EXIT_CODE_FAILED;
    int code = read_arguments(serving, argc, argv);
    if (code < 0) {
        if (serving->parent > 0 &&
            (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || (uint64_t)getppid() != serving->parent))
            atomic_fetch_add(program_stop_signals(), 1);
        enum status status = run(serving, out);
        if (status != STATUS_OK)
            fprintf(stderr, "weir serve: %s\n", status_sentence(status_last_error()));
        http_close(&serving->server, &serving->engine, "the server is leaving");
        engine_destroy(&serving->engine);
        code = program_exit_code(status);
    }
    config_destroy(&serving->config);
    memory_free(serving);
    return code;
}
