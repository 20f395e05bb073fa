/* ops/render_slurm.c - `weir render slurm`: the sbatch script of a run (docs/slurm.md).
 *
 * One heterogeneous job: group 0 is one node with `weir run` (store, learner, Redis, dashboard; run.actors=0), group 1 the
 * nodes of actors with one `weir node` each. No port is chosen and nothing sleeps: the store binds port 0 and publishes
 * it in the run folder, which all nodes share. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/cmd.h"
#include "ops/render.h"

enum {
    SIGNAL_LEAST_S = 120,
    SIGNAL_SPARE_S = 60,
    NUMBER_MAX = 100000,
    DRAINED_CODE = 75 /* of a run that SIGTERM ended before its last step; also in script_end */
};

struct slurm_job {
    const char *files[PROGRAM_FILES_MAX];
    size_t file_count;
    const char *overrides[PROGRAM_OVERRIDES_MAX];
    size_t override_count;
    long nodes, actors, rewards, cpus;
    long gpus, head_gpus; /* -1: one for each actor, as learner.ranks; 0 on the CPU */
    const char *partition, *account, *time, *name;
    struct settings settings;
    char **arguments;
    int argument_count;
};

/* ---- arguments ---- */

static bool read_number(const char *text, long least, long *value)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || number < least || number > NUMBER_MAX)
        return false;
    *value = number;
    return true;
}

/* They stand in lines for sbatch and between quotes for the shell. */
static bool is_plain(const char *text)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:,+@/";
    return text[0] != 0 && strspn(text, letters) == strlen(text);
}

static int take_option(struct slurm_job *job, const char *word, const char *value)
{
    const struct {
        const char *word;
        long *number, least;
        const char **text;
    } rows[] = {{"--nodes", &job->nodes, 1, NULL},
                {"--actors-per-node", &job->actors, 0, NULL},
                {"--rewards-per-node", &job->rewards, 0, NULL},
                {"--gpus-per-node", &job->gpus, 0, NULL},
                {"--head-gpus", &job->head_gpus, 0, NULL},
                {"--cpus-per-node", &job->cpus, 1, NULL},
                {"--partition", NULL, 0, &job->partition},
                {"--account", NULL, 0, &job->account},
                {"--time", NULL, 0, &job->time},
                {"--name", NULL, 0, &job->name}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].word, word) != 0)
            continue;
        if (value == NULL)
            return command_usage("render", "%s wants a value", word);
        if (rows[i].text != NULL && !is_plain(value))
            return command_usage("render", "%s \"%s\": letters, digits and ._-:,+@/ only", word,
                                 value);
        if (rows[i].text != NULL)
            *rows[i].text = value;
        else if (!read_number(value, rows[i].least, rows[i].number))
            return command_usage("render", "%s %s: a whole number from %ld to %d is expected", word,
                                 value, rows[i].least, NUMBER_MAX);
        return EXIT_CODE_OK;
    }
    return command_usage("render", "unknown option %s", word);
}

static int parse(struct slurm_job *job, int argc, char **argv)
{
    int code = EXIT_CODE_OK;
    for (int i = 0; i < argc && code == EXIT_CODE_OK; i++) {
        if (argv[i][0] == '-') {
            code = take_option(job, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
            i++;
        } else if (strchr(argv[i], '=') != NULL) {
            if (job->override_count == PROGRAM_OVERRIDES_MAX)
                return command_usage("render", "more than %d settings", PROGRAM_OVERRIDES_MAX);
            job->overrides[job->override_count++] = argv[i];
        } else {
            if (job->file_count == PROGRAM_FILES_MAX)
                return command_usage("render", "more than %d recipes", PROGRAM_FILES_MAX);
            job->files[job->file_count++] = argv[i];
        }
    }
    if (code == EXIT_CODE_OK && job->file_count == 0)
        return command_usage("render", "name a recipe, as examples/recipes/quickstart.yaml");
    return code;
}

/* "redis.password=..." */
static bool is_secret(const char *override)
{
    char key[128];
    for (size_t s = 0; s < settings_section_count; s++)
        for (size_t f = 0; f < settings_sections[s].count; f++) {
            const struct config_field *field = &settings_sections[s].fields[f];
            snprintf(key, sizeof key, "%s.%s=", settings_sections[s].name, field->name);
            if (config_is_secret(field) && strncmp(override, key, strlen(key)) == 0)
                return true;
        }
    return false;
}

static enum status check(const struct slurm_job *job)
{
    for (size_t i = 0; i < job->override_count; i++)
        if (is_secret(job->overrides[i]))
            return FAIL(STATUS_INVALID,
                        "%.*s is a secret and would stand in the script: say it in the environment "
                        "of sbatch, as WEIR_REDIS_PASSWORD=...",
                        (int)strcspn(job->overrides[i], "="), job->overrides[i]);
    long channel = (long)job->settings.weights.channel;
    if (channel == CHANNEL_SHM || channel == CHANNEL_IPC)
        return FAIL(STATUS_INVALID,
                    "weights.channel=%s stays within one machine: the actors of other nodes need "
                    "auto, tcp or nccl",
                    channel == CHANNEL_SHM ? "shm" : "ipc");
    if (job->actors + job->rewards == 0)
        return FAIL(STATUS_INVALID, "--actors-per-node 0 and --rewards-per-node 0: the nodes would "
                                    "have nothing to do");
    if (job->gpus == 0 && render_actors_on_gpus(&job->settings))
        return FAIL(
            STATUS_INVALID,
            "--gpus-per-node 0, and the actors compute on a GPU (run.device, actor.device)");
    if (job->gpus > 0 && job->actors % job->gpus != 0)
        return FAIL(STATUS_INVALID,
                    "--actors-per-node %ld is no multiple of --gpus-per-node %ld: actors take the "
                    "GPUs of their node in turn",
                    job->actors, job->gpus);
    return STATUS_OK;
}

/* ---- the script ---- */

/* One word for the shell, between single quotes where that is needed. */
static void print_word(const char *text)
{
    if (is_plain(text)) {
        fputs(text, stdout);
        return;
    }
    putchar('\'');
    for (const char *at = text; *at != 0; at++)
        fputs(*at == '\'' ? "'\\''" : (char[]){*at, 0}, stdout);
    putchar('\'');
}

static void print_group(const struct slurm_job *job, long nodes, long gpus)
{
    printf("#SBATCH --nodes=%ld --ntasks-per-node=1 --exclusive\n", nodes);
    if (gpus > 0)
        printf("#SBATCH --gpus-per-node=%ld\n", gpus);
    if (job->cpus > 0)
        printf("#SBATCH --cpus-per-task=%ld\n", job->cpus);
    if (job->partition != NULL)
        printf("#SBATCH --partition=%s\n", job->partition);
}

static void print_head(const struct slurm_job *job, const char *name)
{
    long signal_s = (long)job->settings.run.drain_s + SIGNAL_SPARE_S;
    printf("#!/usr/bin/env bash\n# Made by: weir render slurm");
    for (int i = 0; i < job->argument_count; i++) {
        putchar(' ');
        print_word(job->arguments[i]);
    }
    printf("\n# Group 0 is one node with store, learner, Redis and dashboard; group 1 the nodes of "
           "actors. docs/slurm.md\n"
           "#SBATCH --job-name=weir-%s\n"
           "#SBATCH --requeue --open-mode=append --signal=B:TERM@%ld\n"
           "#SBATCH --output=weir-%%j.out\n",
           name, signal_s > SIGNAL_LEAST_S ? signal_s : SIGNAL_LEAST_S);
    if (job->account != NULL)
        printf("#SBATCH --account=%s\n", job->account);
    if (job->time != NULL)
        printf("#SBATCH --time=%s\n", job->time);
    print_group(job, 1, job->head_gpus);
    printf("#SBATCH hetjob\n");
    print_group(job, job->nodes, job->gpus);
}

static void print_names(const struct slurm_job *job, const char *name)
{
    const struct settings *settings = &job->settings;
    printf("\nset -u\nweir=${WEIR:-weir}\n");
    if (job->name != NULL || settings->run.name[0] != 0)
        printf("name=%s\n", name);
    else
        printf("name=%s-$SLURM_JOB_ID # the same after a requeue\n", name);
    printf("root=");
    print_word(settings->run.root);
    printf("\nkeys=");
    if (settings->run.keys[0] != 0)
        print_word(settings->run.keys);
    else
        printf("\"$root/.keys/$name\"");
    printf("\nresume=%s\n[ \"${SLURM_RESTART_COUNT:-0}\" -gt 0 ] && resume=true\n"
           "export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1\n",
           settings->run.resume ? "true" : "false");
}

/* srun is given no --cpus-per-task: its step has all CPUs of the node then. TERM to srun itself would end in SIGKILL for
 * its tasks; scancel reaches them. */
static const char script_begin[] =
    "\n# Keys: the store leaves loopback.\n"
    "if [ ! -e \"$keys/store.key\" ]; then\n"
    "    mkdir -p \"$(dirname \"$keys\")\" && \"$weir\" keys new \"$keys\" || exit 2\n"
    "fi\n"
    "\n"
    "# Before the time limit and at a preemption Slurm sends TERM to this script: everybody "
    "drains,\n"
    "# the learner writes a checkpoint, and the job goes back into the queue. TERM may come "
    "again.\n"
    "drained=no\n"
    "# shellcheck disable=SC2317\n"
    "drain() {\n"
    "    drained=yes\n"
    "    scancel --signal=TERM \"$SLURM_JOB_ID\"\n"
    "}\n"
    "trap drain TERM\n"
    "\n"
    "# A trap interrupts wait, which is begun again then. Sets code.\n"
    "await() {\n"
    "    while kill -0 \"$1\" 2>/dev/null; do wait \"$1\"; done\n"
    "    wait \"$1\"\n"
    "    code=$?\n"
    "}\n"
    "\n";

static const char script_end[] =
    "\n"
    "while kill -0 \"$run\" 2>/dev/null && kill -0 \"$nodes\" 2>/dev/null; do wait -n \"$run\" "
    "\"$nodes\"; done\n"
    "if kill -0 \"$run\" 2>/dev/null; then\n"
    "    await \"$nodes\"\n"
    "    failed=$code\n"
    "    if [ \"$failed\" -ne 0 ]; then\n"
    "        echo \"all nodes of actors ended, with $failed: the run drains\" >&2\n"
    "        scancel --signal=TERM \"$SLURM_JOB_ID\"\n"
    "    fi\n"
    "    await \"$run\"\n"
    "    [ \"$drained$code\" = no75 ] && code=$failed # the steps were not all made\n"
    "else\n"
    "    await \"$run\"\n"
    "    ended=$code\n"
    "    kill -0 \"$nodes\" 2>/dev/null && scancel --signal=TERM \"$SLURM_JOB_ID\"\n"
    "    await \"$nodes\"\n"
    "    code=$ended\n"
    "fi\n"
    "\n"
    "# 75: drained before the last step. Cancelled jobs are no longer RUNNING here, and stay "
    "ended.\n"
    "[ \"$code\" -eq 75 ] && code=0\n"
    "if [ \"$drained$code\" = yes0 ] && scontrol -o show job \"$SLURM_JOB_ID\" | grep -q "
    "JobState=RUNNING; then\n"
    "    scontrol requeue \"$SLURM_JOB_ID\"\n"
    "fi\n"
    "exit \"$code\"\n";

static void print_steps(const struct slurm_job *job)
{
    printf("srun --het-group=0 --ntasks=1 --cpu-bind=none --kill-on-bad-exit=0 \\\n"
           "    \"$weir\" run");
    for (size_t i = 0; i < job->file_count; i++) {
        putchar(' ');
        print_word(job->files[i]);
    }
    for (size_t i = 0; i < job->override_count; i++) {
        putchar(' ');
        print_word(job->overrides[i]);
    }
    printf(" --name \"$name\" --quiet --drained-code %d \\\n"
           "    run.root=\"$root\" run.keys=\"$keys\" run.resume=\"$resume\" run.actors=0",
           DRAINED_CODE);
    if (job->rewards > 0)
        printf(" run.reward_workers=0");
    const char *eval_device = render_eval_device(&job->settings, job->head_gpus);
    if (eval_device != NULL)
        printf(" eval.device=%s", eval_device);
    if (strncmp(job->settings.store.endpoint, "tcp://", 6) != 0)
        printf(" 'store.endpoint=tcp://*:0'");
    printf(" &\nrun=$!\n"
           "srun --het-group=1 --ntasks-per-node=1 --cpu-bind=none --no-kill --kill-on-bad-exit=0 "
           "\\\n    \"$weir\" node \"$root/$name\" --actors %ld --reward-workers %ld",
           job->actors, job->rewards);
    if (job->gpus > 0) {
        printf(" \\\n    actor.device=");
        for (long i = 0; i < job->gpus; i++)
            printf("%scuda:%ld", i > 0 ? "," : "", i);
    }
    printf(" &\nnodes=$!\n");
}

static void name_of(const struct slurm_job *job, char *out, size_t size)
{
    if (job->name != NULL)
        snprintf(out, size, "%s", job->name);
    else if (job->settings.run.name[0] != 0)
        snprintf(out, size, "%s", job->settings.run.name);
    else
        run_name_stem(job->files[0], size, out);
}

int render_slurm(int argc, char **argv)
{
    static struct slurm_job job = {
        .nodes = 1, .actors = 1, .gpus = -1, .head_gpus = -1}; /* large */
    struct config *config = NULL;
    char name[RUN_NAME_MAX];
    job.arguments = argv;
    job.argument_count = argc;
    int code = parse(&job, argc, argv);
    if (code != EXIT_CODE_OK)
        return code;
    struct config_input input = {.files = job.files,
                                 .file_count = job.file_count,
                                 .overrides = job.overrides,
                                 .override_count = job.override_count};
    enum status status = config_load(&config, settings_sections, settings_section_count, &input,
                                     &job.settings); /* its devices are those of other machines */
    if (job.gpus < 0)
        job.gpus = status == STATUS_OK && render_actors_on_gpus(&job.settings) ? job.actors : 0;
    if (status == STATUS_OK)
        status = check(&job);
    if (status == STATUS_OK) {
        name_of(&job, name, sizeof name);
        status = run_name_check(name);
    }
    if (status != STATUS_OK) {
        command_failed("render", status);
        config_destroy(&config);
        return EXIT_CODE_USAGE;
    }
    if (job.head_gpus < 0)
        job.head_gpus = settings_on_cuda(&job.settings) ? (long)job.settings.learner.ranks : 0;
    print_head(&job, name);
    print_names(&job, name);
    fputs(script_begin, stdout);
    print_steps(&job);
    fputs(script_end, stdout);
    config_destroy(&config);
    return EXIT_CODE_OK;
}
