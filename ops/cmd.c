#include "ops/cmd.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ops/processes.h"
#include "ops/store_query.h"

const char *const command_groups[COMMAND_GROUPS] = {
    "Runs",   "Looking at a run", "Changing a run that goes on",
    "Models", "Data and rewards", "This machine and this program",
};

const struct command commands[] = {
    {"run", cmd_run,
     "RECIPE... [section.name=value ...] [--name NAME] [--resume | --clean] [--quiet] "
     "[--drained-code C] [--check | --dry-run [--json]]",
     "train in the foreground: starts all processes, shows each step, ends with them", GROUP_RUNS},
    {"up", cmd_up,
     "RECIPE... [section.name=value ...] [--name NAME] [--resume | --clean] "
     "[--check | --dry-run [--json]]",
     "the same in the background", GROUP_RUNS},
    {"stop", cmd_stop, "[RUN] [--now]",
     "drain a run, wait for its end; a second time or with --now: stop at once", GROUP_RUNS},
    {"down", cmd_down, "[RUN] [--now]", "the same as stop", GROUP_RUNS},
    {"resume", cmd_resume, "RUN [section.name=value ...] [--step N] [--foreground] [--quiet]",
     "go on with a run that is over, with the settings it had", GROUP_RUNS},
    {"fork", cmd_fork, "RUN NEW [section.name=value ...] [--step N] [--no-start]",
     "a new run that begins with the weights of another one's checkpoint", GROUP_RUNS},
    {"node", cmd_node,
     "RUN_FOLDER [section.name=value ...] [--actors N] [--reward-workers M] [--first-index K] "
     "[--first-reward K] [--endpoint E] [--name NAME] [--wait S] [--drained-code C]",
     "actors and reward workers of one more machine, for a run whose store is elsewhere",
     GROUP_RUNS},
    {"rm", cmd_rm, "RUN... [--yes]", "remove the folders of runs that are over", GROUP_RUNS},

    {"ls", cmd_ls, "[--json]", "all runs: state, steps, reward, age, disk use", GROUP_LOOK},
    {"status", cmd_status, "[RUN] [--json]", "where a run stands: version, groups, processes",
     GROUP_LOOK},
    {"top", cmd_top, "[RUN] [--once] [--json]",
     "processes, waits and curves of a run, full screen, every second", GROUP_LOOK},
    {"why", cmd_why, "[RUN] [--json]", "who waits for whom, since when, until when", GROUP_LOOK},
    {"logs", cmd_logs, "[RUN] [PROCESS...] [-f] [-n N] [--json]",
     "what the processes logged, in the order of time", GROUP_LOOK},
    {"tail", cmd_tail,
     "[RUN] [-n N] [--group G] [--follow] [--json] [--step N|last [--sample S] [--tokens]]",
     "latest rollouts as text with their reward", GROUP_LOOK},
    {"events", cmd_events, "[RUN] [-n N] [--json]",
     "what happened besides steps: alarms, deaths, branches, stages, stops", GROUP_LOOK},
    {"dash", cmd_dash, "[RUN] [--address HOST:PORT] [--web FOLDER]",
     "the address of a run's dashboard; one in the foreground for a run that is over", GROUP_LOOK},
    {"trace", cmd_trace, "[RUN] [--from STEP] [--to STEP] [-o FILE]",
     "what each process did when, as a file for Perfetto and chrome://tracing", GROUP_LOOK},
    {"forward", cmd_forward,
     "[RUN] --to wandb|mlflow|trackio|tensorboard|csv|stdout [--project P] [--name N] [--out PATH] "
     "[--alias weir|verl|trl] [--once] [--again]",
     "metrics, settings and alarms to the tool that you watch, live", GROUP_LOOK},
    {"replay", cmd_replay, "RUN STEP|GROUP.SAMPLE",
     "make a learner step or a rollout once more and compare: 0 equal, 1 different", GROUP_LOOK},

    {"drain", cmd_drain, "[RUN] [PROCESS] [--no-wait]",
     "make one worker leave, as actor.3; without PROCESS: ask the whole run to drain and return",
     GROUP_FLEET},
    {"scale", cmd_scale, "[RUN] actors=N [reward_workers=M] [--no-wait]",
     "start or drain workers of this machine until there are so many", GROUP_FLEET},
    {"hold", cmd_hold, "[RUN] SOURCES",
     "no new prompt of the data sources that match is drawn; what is open goes on", GROUP_FLEET},
    {"release", cmd_release, "[RUN] SOURCES", "draw them again", GROUP_FLEET},
    {"rescore", cmd_rescore, "[RUN] [--source SOURCES]",
     "after a judge was recalibrated: score open groups again", GROUP_FLEET},

    {"init", cmd_init, "CONFIG_JSON OUT_FOLDER [SEED]",
     "make a model folder with random weights from a config.json", GROUP_MODELS},
    {"sft", cmd_sft, "RECIPE... [section.name=value ...]",
     "supervised warm start with the learner's code", GROUP_MODELS},
    {"export", cmd_export,
     "RUN|CHECKPOINT|MODEL_DIR OUT [--dtype bf16|f32] [--naming hf|minimax|native] [--like DIR] "
     "[--shard-gb N]",
     "a checkpoint as a folder that transformers, vLLM and SGLang load", GROUP_MODELS},
    {"eval", cmd_eval,
     "MODEL_DIR DATA.jsonl... [--samples K] [--reward NAME] [--out FOLDER] [--resume] | --table "
     "RUN",
     "answers of a model to files of prompts, scored: avg@k, pass@k, lengths, with intervals",
     GROUP_MODELS},
    {"score", cmd_score, "MODEL_DIR ROWS.jsonl [--out FILE] [--top K] [--special]",
     "log-probabilities of given ids or texts, their sums and perplexities", GROUP_MODELS},
    {"serve", cmd_serve,
     "MODEL_DIR [--port P] [--host H] [--token-file F] [section.name=value ...]",
     "an endpoint that speaks OpenAI's protocol, for evaluation harnesses and clients",
     GROUP_MODELS},
    {"tokenize", cmd_tokenize,
     "MODEL_DIR [FILE] [--decode] [--special] [--json] | MODEL_DIR --check ROWS.jsonl [--special]",
     "text to token ids and back; --check compares with rows that another program made",
     GROUP_MODELS},
    {"verify", cmd_verify, "CASE...", "run reference cases and print the worst errors",
     GROUP_MODELS},
    {"explain", cmd_explain, "RECIPE... [section.name=value ...]",
     "the objective a run would train, with its numbers", GROUP_MODELS},

    {"filter", cmd_filter,
     "IN.jsonl [--rates FILE ...] [--keep EXPRESSION] [--math-clean] --out OUT.jsonl",
     "keep rows by pass rate, and those of mathematics whose answer a rule can check", GROUP_DATA},
    {"dedup", cmd_dedup, "A.jsonl [B.jsonl ...] [--against EVAL.jsonl ...] --out FOLDER",
     "near-duplicates within and between data files, and overlap with evaluation sets", GROUP_DATA},
    {"reward", cmd_reward,
     "--in cases.jsonl --out scores.jsonl [--jobs N] [--kind KIND] [--config JSON|FILE]",
     "score rows of any kind, as the rewards of a run do", GROUP_DATA},
    {"plugin", cmd_plugin,
     "new NAME [--python] | check FILE [--rows F] [--json] [reward.name=value ...] | bench FILE "
     "[--seconds N] [reward.name=value ...]",
     "a template of a reward of your own; try one on sample rows; how fast it is", GROUP_DATA},
    {"logic", cmd_logic, "list | generate --task T --count N [--seed S] [--knob k=v] [--out FILE]",
     "logic problems with a proven solution, as training data", GROUP_DATA},
    {"judge", cmd_judge, "references|check --in FILE --out FILE --judge JSON",
     "choose references by Swiss rounds; how good a judge is", GROUP_DATA},

    {"doctor", cmd_doctor, "[RUN] [--json]",
     "what this machine has and lacks; of a run: which thresholds it crossed and what to do",
     GROUP_MACHINE},
    {"probe", cmd_probe, "live|ready [FOLDER]",
     "are the processes of this machine alive, and ready: for Kubernetes and scripts",
     GROUP_MACHINE},
    {"sandbox", cmd_sandbox,
     "run [--limit NAME=VALUE ...] [--mode M] [--file HOST:PATH ...] -- PROGRAM... | check",
     "run a hostile program and print what happened to it; or test this machine's sandbox",
     GROUP_MACHINE},
    {"simulate", cmd_simulate, "--seeds FROM:COUNT | --actors N [RECIPE] [section.name=value ...]",
     "play a fleet on a virtual clock: with faults and a checker, or to predict a planned one",
     GROUP_MACHINE},
    {"keys", cmd_keys,
     "new FOLDER [--force] | add FOLDER ROLE NAME | revoke FOLDER NAME | show FOLDER",
     "keys with which processes of other machines may connect", GROUP_MACHINE},
    {"render", cmd_render,
     "slurm RECIPE... | systemd run|node | k8s RECIPE... [section.name=value ...]",
     "files that start a run elsewhere: an sbatch script, units, manifests; render NAME --help",
     GROUP_MACHINE},
    {"completion", cmd_completion, "bash|zsh", "a script that completes weir's commands in a shell",
     GROUP_MACHINE},
    {"man", cmd_man, "FOLDER", "write the manual pages, weir.1 and weir-COMMAND.1", GROUP_MACHINE},
    {"docs", cmd_docs,
     "config|metrics|commands|alerts|prometheus-rules [RECIPE...] [section.name=value ...]",
     "reference pages as markdown, and Prometheus' rules; with a run's recipes its own thresholds",
     GROUP_MACHINE},
    {"help", cmd_help, "[COMMAND|config]", "this text, one command, or every setting",
     GROUP_MACHINE},
};

const size_t command_count = sizeof commands / sizeof commands[0];

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

int command_unknown(const char *name)
{
    const char *names[sizeof commands / sizeof commands[0]];
    for (size_t i = 0; i < command_count; i++)
        names[i] = commands[i].name;
    const char *near = config_nearest(name, names, command_count);
    fprintf(stderr, "weir: unknown command \"%s\"%s%s%s; see `weir help`\n", name,
            near != NULL ? ", did you mean " : "", near != NULL ? near : "",
            near != NULL ? "?" : "");
    return EXIT_CODE_USAGE;
}

const char *error_sentence(void)
{
    return status_sentence(status_last_error());
}

int command_failed(const char *name, enum status status)
{
    fprintf(stderr, "weir %s: %s\n", name, error_sentence());
    return program_exit_code(status);
}

int command_refused(const char *name, enum status status)
{
    int code = command_failed(name, status);
    bool asked = status == STATUS_INVALID || status == STATUS_NOT_FOUND || status == STATUS_LIMIT;
    return asked ? EXIT_CODE_USAGE : code;
}

int command_usage(const char *name, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "weir %s: ", name);
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "; see `weir help %s`\n", name);
    va_end(args);
    return EXIT_CODE_USAGE;
}

enum status program_path(const char *program, char out[FILE_PATH_MAX])
{
    char self[FILE_PATH_MAX], path[FILE_PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    self[size > 0 ? size : 0] = 0;
    char *slash = strrchr(self, '/');
    if (slash == NULL)
        return FAIL(STATUS_IO, "/proc/self/exe cannot be read, so %s cannot be found", program);
    *slash = 0;
    TRY(file_path(path, "%s/%s", self, program));
    if (access(path, X_OK) != 0)
        return FAIL(STATUS_NOT_FOUND,
                    "%s is missing or cannot be executed: build it (cmake --build "
                    "build/release)",
                    path);
    memcpy(out, path, sizeof path);
    return STATUS_OK;
}

const char *runs_root(void)
{
    const char *root = getenv("WEIR_RUN_ROOT");
    return root != NULL && root[0] != 0 ? root : "runs";
}

enum status known_run_locate(struct known_run *known, const char *run)
{
    struct known_run found = {0};
    TRY(run_folder_find(runs_root(), run, found.folder, found.name));
    found.supervisor = run_folder_holder(found.folder, found.state);
    *known = found;
    return STATUS_OK;
}

enum status known_run_find(struct known_run *known, const char *run)
{
    struct known_run found;
    char path[FILE_PATH_MAX];
    TRY(known_run_locate(&found, run));
    TRY(file_path(path, "%s/config.resolved.yaml", found.folder));
    const char *files[] = {path};
    struct config_input input = {.files = files, .file_count = 1};
    struct settings settings;
    struct config *config;
    TRY(settings_load(&settings, &config, &input));
    found.steps = settings.run.steps;
    found.drain_s = settings.run.drain_s;
    found.stopped_s = settings.run.stopped_s;
    enum status status = store_endpoint(&settings, found.folder, found.endpoint);
    if (status == STATUS_OK)
        status = file_path(found.keys, "%s", settings.run.keys);
    config_destroy(&config);
    if (status == STATUS_OK)
        *known = found;
    return status;
}

enum status known_run_ask(const struct known_run *known, const char *question,
                          const char *arguments_json, struct buffer *json)
{
    struct store_query *query = NULL;
    TRY(store_query_open(&query, known->endpoint, known->name, known->keys));
    enum status status = store_query_ask(query, question, arguments_json, STORE_QUERY_MS, json);
    store_query_close(&query);
    return status;
}
