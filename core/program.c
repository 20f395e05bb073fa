#include "core/program.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "core/fault.h"
#include "core/log.h"

_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "a signal handler may touch lock-free atomics only");
static atomic_int stop_signals;

static const struct metric_row *(*metrics_table)(size_t *count);

void program_set_metrics(const struct metric_row *(*table)(size_t *count))
{
    metrics_table = table;
}

/* Nothing for a program without a table. */
static int print_metrics(const char *role)
{
    char title[64];
    size_t count = 0;
    const struct metric_row *rows = metrics_table != NULL ? metrics_table(&count) : NULL;
    if (count == 0)
        return EXIT_CODE_OK;
    struct buffer text;
    buffer_init(&text, 0);
    snprintf(title, sizeof title, "weir-%s", role);
    enum status status = metrics_markdown(title, rows, count, &text);
    if (status == STATUS_OK)
        fputs(buffer_string(&text), stdout);
    buffer_free(&text);
    return program_exit_code(status);
}

/* A second SIGTERM says nothing new: Slurm sends it two or three times, to every process. A second Ctrl-C means now. */
static void count_signal(int number)
{
    int none = 0;
    if (number == SIGTERM)
        atomic_compare_exchange_strong(&stop_signals, &none, 1);
    else
        atomic_fetch_add(&stop_signals, 1);
}

atomic_int *program_stop_signals(void)
{
    return &stop_signals;
}

static void install_signals(void)
{
    struct sigaction action = {.sa_handler = count_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* A child whose parent dies gets SIGKILL; when the parent died before prctl, it is already another process. */
static int follow_parent(long parent)
{
    if (parent <= 0)
        return 0;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        return -1;
    return 0;
}

static void print_help(const char *role, const char *about)
{
    struct buffer text;
    buffer_init(&text, 0);
    /* lint: allow(printf): --help answers on stdout */
    printf("weir-%s " WEIR_VERSION "\n%s\n\n"
           "usage: weir-%s --config FILE [--config FILE ...] [options] [section.name=value ...]\n"
           "  --config FILE     settings in YAML; several are merged, later beats earlier\n"
           "  --endpoint E      of the store, ipc:// or tcp:// (default: store.endpoint)\n"
           "  --run NAME        name of the run (default: run.name)\n"
           "  --folder PATH     run folder\n"
           "  --index N         number of this process among its role (default 0)\n"
           "  --parent PID      die when this parent dies\n"
           "  --check           read the settings, print plan and memory, exit\n"
           "  --help --version\n\nsettings (also WEIR_SECTION_NAME in the environment):\n",
           role, about, role);
    if (config_help(settings_sections, settings_section_count, &text) == STATUS_OK)
        fputs(buffer_string(&text), stdout);
    buffer_free(&text);
}

static bool parse_count(const char *text, long *value)
{
    char *end = NULL;
    errno = 0;
    *value = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *value >= 0 && *value <= 0x7fffffff;
}

enum { CONFIG = 1, ENDPOINT, RUN, FOLDER, INDEX, PARENT, CHECK_ONLY, DOCS_METRICS, HELP, VERSION };
static const struct option options[] = {{"config", required_argument, NULL, CONFIG},
                                        {"endpoint", required_argument, NULL, ENDPOINT},
                                        {"run", required_argument, NULL, RUN},
                                        {"folder", required_argument, NULL, FOLDER},
                                        {"index", required_argument, NULL, INDEX},
                                        {"parent", required_argument, NULL, PARENT},
                                        {"check", no_argument, NULL, CHECK_ONLY},
                                        {"docs-metrics", no_argument, NULL, DOCS_METRICS},

                                        {"help", no_argument, NULL, HELP},
                                        {"version", no_argument, NULL, VERSION},
                                        {NULL, 0, NULL, 0}};

/* -1 to go on, else the exit code. */
static int parse_arguments(struct program *program, int argc, char **argv, const char *about)
{
    long number = 0, parent = 0;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case CONFIG:
            if (program->file_count == PROGRAM_FILES_MAX)
                return fprintf(stderr, "weir-%s: more than %d --config files\n", program->role,
                               PROGRAM_FILES_MAX),
                       EXIT_CODE_USAGE;
            program->files[program->file_count++] = optarg;
            break;
        case ENDPOINT:
            program->endpoint = optarg;
            break;
        case RUN:
            program->run = optarg;
            break;
        case FOLDER:
            program->run_folder = optarg;
            break;
        case INDEX:
        case PARENT:
            if (!parse_count(optarg, &number))
                return fprintf(stderr, "weir-%s: \"%s\" is not a whole number\n", program->role,
                               optarg),
                       EXIT_CODE_USAGE;
            if (option == INDEX)
                program->index = (unsigned)number;
            else
                parent = number;
            break;
        case CHECK_ONLY:
            program->check = true;
            break;
        case DOCS_METRICS:
            return print_metrics(program->role);
        case HELP:
            print_help(program->role, about);
            return EXIT_CODE_OK;
        case VERSION:
            fputs("weir-" WEIR_VERSION "\n", stdout);
            return EXIT_CODE_OK;
        default:
            fprintf(stderr, "weir-%s: see --help\n", program->role);
            return EXIT_CODE_USAGE;
        }
    }
    for (; optind < argc; optind++) {
        if (program->override_count == PROGRAM_OVERRIDES_MAX)
            return fprintf(stderr, "weir-%s: more than %d overrides\n", program->role,
                           PROGRAM_OVERRIDES_MAX),
                   EXIT_CODE_USAGE;
        program->overrides[program->override_count++] = argv[optind];
    }
    if (follow_parent(parent) != 0)
        return fprintf(stderr, "weir-%s: parent %ld is gone\n", program->role, parent),
               EXIT_CODE_PEER;
    return -1;
}

int program_start(struct program *program, int argc, char **argv, const char *role,
                  const char *about)
{
    *program = (struct program){.role = role, .run_folder = ""};
    install_signals();
    int code = parse_arguments(program, argc, argv, about);
    if (code >= 0)
        return code;
    struct config_input input = {.files = program->files,
                                 .file_count = program->file_count,
                                 .overrides = program->overrides,
                                 .override_count = program->override_count,
                                 .environment = true};
    enum status status = settings_load(&program->settings, &program->config, &input);
    if (status != STATUS_OK) {
        fprintf(stderr, "weir-%s: %s\n", role, status_last_error());
        return EXIT_CODE_USAGE;
    }
    if (program->endpoint == NULL)
        program->endpoint = program->settings.store.endpoint;
    if (program->run == NULL)
        program->run = program->settings.run.name;
    log_init(role, program->index, (enum log_level)program->settings.run.log_level);
    if (fault_init(role, program->index) != STATUS_OK) {
        fprintf(stderr, "weir-%s: %s\n", role, status_last_error());
        return EXIT_CODE_USAGE;
    }
    return -1;
}

int program_exit_code(enum status status)
{
    switch (status) {
    case STATUS_OK:
        return EXIT_CODE_OK;
    case STATUS_INVALID:
    case STATUS_CORRUPT:
    case STATUS_NOT_FOUND:
        return EXIT_CODE_INPUT;
    case STATUS_UNSUPPORTED:
        return EXIT_CODE_USAGE;
    case STATUS_TIMEOUT:
    case STATUS_NETWORK:
        return EXIT_CODE_PEER;
    case STATUS_CANCELLED:
        return EXIT_CODE_INTERRUPTED;
    default:
        return EXIT_CODE_FAILED;
    }
}

int program_end(struct program *program, enum status status)
{
    if (status != STATUS_OK)
        LOG_ERROR(program->role, "ended", "status=%s why=\"%s\"", status_name(status),
                  status_last_error());
    config_destroy(&program->config);
    return program_exit_code(status);
}
