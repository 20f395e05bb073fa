#include "ops/cmd.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ops/processes.h"
#include "ops/store_query.h"

const struct command commands[] = {
    {"run", cmd_run,
     "RECIPE... [section.name=value ...] [--name NAME] [--quiet] [--check | --dry-run [--json]]",
     "train in the foreground: starts all processes, shows each step, ends with them"},
    {"up", cmd_up, "RECIPE... [section.name=value ...] [--name NAME] [--dry-run [--json]]",
     "the same in the background"},
    {"down", cmd_down, "[RUN]", "drain a run and wait for its end; a second time: stop at once"},
    {"status", cmd_status, "[RUN] [--json]", "where a run stands: version, groups, processes"},
    {"why", cmd_why, "[RUN] [--json]", "who waits for whom, since when, until when"},
    {"tail", cmd_tail, "[RUN] [-n N] [--group G] [--follow] [--json]",
     "latest rollouts as text with their reward"},
    {"top", cmd_top, "[RUN]", "status and reward curve, every second"},
    {"drain", cmd_drain, "[RUN] [PROCESS [--no-wait]]",
     "make one worker leave, as actor.3; without PROCESS: ask the whole run to drain and return"},
    {"scale", cmd_scale, "[RUN] actors=N [reward_workers=M] [--no-wait]",
     "start or drain workers of this machine until there are so many"},
    {"replay", cmd_replay, "RUN STEP|GROUP.SAMPLE",
     "make a learner step or a rollout once more and compare: 0 equal, 1 different"},
    {"init", cmd_init, "CONFIG_JSON OUT_FOLDER [SEED]",
     "make a model folder with random weights from a config.json"},
    {"sft", cmd_sft, "RECIPE... [section.name=value ...]",
     "supervised warm start with the learner's code"},
    {"export", cmd_export,
     "RUN|CHECKPOINT|MODEL_DIR OUT [--dtype bf16|f32] [--naming hf|minimax|native] [--like DIR] "
     "[--shard-gb N]",
     "a checkpoint as a folder that transformers, vLLM and SGLang load"},
    {"verify", cmd_verify, "CASE...", "run reference cases and print the worst errors"},
    {"explain", cmd_explain, "RECIPE... [section.name=value ...]",
     "the objective a run would train, with its numbers"},
    {"eval", cmd_eval,
     "MODEL_DIR DATA.jsonl... [--samples K] [--reward NAME] [--out FOLDER] [--resume] | --table "
     "RUN",
     "answers of a model to files of prompts, scored: avg@k, pass@k, lengths, with intervals"},
    {"score", cmd_score, "MODEL_DIR ROWS.jsonl [--out FILE] [--top K] [--special]",
     "log-probabilities of given ids or texts, their sums and perplexities"},
    {"serve", cmd_serve,
     "MODEL_DIR [--port P] [--host H] [--token-file F] [section.name=value ...]",
     "an endpoint that speaks OpenAI's protocol, for evaluation harnesses and clients"},
    {"tokenize", cmd_tokenize,
     "MODEL_DIR [FILE] [--decode] [--special] [--json] | MODEL_DIR --check ROWS.jsonl [--special]",
     "text to token ids and back; --check compares with rows that another program made"},
    {"filter", cmd_filter,
     "IN.jsonl [--rates FILE ...] [--keep EXPRESSION] [--math-clean] --out OUT.jsonl",
     "keep rows by pass rate, and those of mathematics whose answer a rule can check"},
    {"dedup", cmd_dedup, "A.jsonl [B.jsonl ...] [--against EVAL.jsonl ...] --out FOLDER",
     "near-duplicates within and between data files, and overlap with evaluation sets"},
    {"simulate", cmd_simulate, "--seeds FROM:COUNT | --actors N [RECIPE] [section.name=value ...]",
     "play a fleet on a virtual clock: with faults and a checker, or to predict a planned one"},
    {"reward", cmd_reward,
     "--in cases.jsonl --out scores.jsonl [--jobs N] [--kind KIND] [--config JSON|FILE]",
     "score rows of any kind, as the rewards of a run do"},
    {"plugin", cmd_plugin,
     "new NAME [--python] | check FILE [--rows F] [--json] [reward.name=value ...] | bench FILE "
     "[--seconds N] [reward.name=value ...]",
     "a template of a reward of your own; try one on sample rows; how fast it is"},
    {"logic", cmd_logic, "list | generate --task T --count N [--seed S] [--knob k=v] [--out FILE]",
     "logic problems with a proven solution, as training data"},
    {"judge", cmd_judge, "references|check --in FILE --out FILE --judge JSON",
     "choose references by Swiss rounds; how good a judge is"},
    {"pause", cmd_pause, "[RUN] --source GLOB",
     "no new prompt of the data sources that match is drawn; what is open goes on"},
    {"resume", cmd_resume, "[RUN] --source GLOB", "draw them again"},
    {"rescore", cmd_rescore, "[RUN] [--source GLOB]",
     "after a judge was recalibrated: score open groups again"},
    {"sandbox", cmd_sandbox,
     "run [--limit NAME=VALUE ...] [--mode M] [--file HOST:PATH ...] -- PROGRAM... | check",
     "run a hostile program and print what happened to it; or test this machine's sandbox"},
    {"doctor", cmd_doctor, "", "what this machine has and lacks"},
    {"keys", cmd_keys,
     "new FOLDER [--force] | add FOLDER ROLE NAME | revoke FOLDER NAME | show FOLDER",
     "keys with which processes of other machines may connect"},
    {"docs", cmd_docs, "config|metrics", "reference pages as markdown"},
    {"help", cmd_help, "[COMMAND|config]", "this text, one command, or every setting"},
};

const size_t command_count = sizeof commands / sizeof commands[0];

const char *error_sentence(void)
{
    return status_sentence(status_last_error());
}

int command_failed(const char *name, enum status status)
{
    fprintf(stderr, "weir %s: %s\n", name, error_sentence());
    return program_exit_code(status);
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

enum status known_run_find(struct known_run *known, const char *run)
{
    struct known_run found = {0};
    char path[FILE_PATH_MAX];
    TRY(run_folder_find(runs_root(), run, found.folder, found.name));
    found.supervisor = run_folder_holder(found.folder, found.state);
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
