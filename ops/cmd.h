/* ops/cmd.h - the subcommands of `weir`: one table for dispatch, help and docs.
 *
 * A command gets the arguments after its name and returns an exit code (docs/exit-codes.md); it has
 * printed why. */
#ifndef OPS_CMD_H
#define OPS_CMD_H

#include <stdbool.h>
#include <stddef.h>

#include "core/file.h"
#include "core/program.h"
#include "ops/run_folder.h"

/* By purpose, in the order of `weir help`. */
enum command_group {
    GROUP_RUNS,
    GROUP_LOOK,
    GROUP_FLEET,
    GROUP_MODELS,
    GROUP_DATA,
    GROUP_MACHINE,
    COMMAND_GROUPS
};

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char
        *usage; /* after "weir name"; RUN, PROCESS, RECIPE and section.name=value are completed */
    const char *what; /* one line */
    enum command_group group;
};

extern const char *const command_groups[COMMAND_GROUPS]; /* headings */
extern const struct command commands[];
extern const size_t command_count;

/* What an option of a usage line means: every one has a row (tests/test_commands.c). Rows of one command stand together. */
struct command_option {
    const char *command, *flag;
    const char *argument; /* "": it takes none */
    const char *what;
};
extern const struct command_option command_options[];
extern const size_t command_option_count;

int cmd_init(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_up(int argc, char **argv);
int cmd_down(int argc, char **argv);
int cmd_stop(int argc, char **argv);
int cmd_resume(int argc, char **argv);
int cmd_fork(int argc, char **argv);
int cmd_rm(int argc, char **argv);
int cmd_ls(int argc, char **argv);
int cmd_logs(int argc, char **argv);
int cmd_completion(int argc, char **argv);
int cmd_man(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_why(int argc, char **argv);
int cmd_tail(int argc, char **argv);
int cmd_events(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_forward(int argc, char **argv);
int cmd_dash(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_drain(int argc, char **argv);
int cmd_scale(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_sft(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_simulate(int argc, char **argv);
int cmd_sandbox(int argc, char **argv);
int cmd_plugin(int argc, char **argv);
int cmd_reward(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_score(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_filter(int argc, char **argv);
int cmd_dedup(int argc, char **argv);
int cmd_rescore(int argc, char **argv);
int cmd_hold(int argc, char **argv);
int cmd_release(int argc, char **argv);
int cmd_logic(int argc, char **argv);
int cmd_judge(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_docs(int argc, char **argv);
int cmd_probe(int argc, char **argv);
/* ops/cmd_alerts.c: exit codes of `weir docs alerts` and `weir docs prometheus-rules`. */
int docs_alerts(int argc, char **argv); /* recipes and settings of a run; none: the defaults */
int docs_prometheus_rules(int argc, char **argv);
int cmd_keys(int argc, char **argv);
int cmd_node(int argc, char **argv);
int cmd_render(int argc, char **argv);
int cmd_help(int argc, char **argv);

/* ---- shared by the commands ---- */

/* weir tail with --step is another command: of rollout files instead of the store. */
bool tail_wants_step(int argc, char **argv);
int tail_step(int argc, char **argv);

const struct command *command_find(const char *name); /* NULL: there is none */
/* "weir: unknown command ..., did you mean ...?"; EXIT_CODE_USAGE. */
int command_unknown(const char *name);
/* The last error without the place in the source: people read it. */
const char *error_sentence(void);
/* "weir NAME: <last error>" on stderr; the exit code of `status`. */
int command_failed(const char *name, enum status status);
/* The same for what the user asked for and cannot have (INVALID, NOT_FOUND, LIMIT): EXIT_CODE_USAGE. */
int command_refused(const char *name, enum status status);
/* "weir NAME: <text>; see weir help NAME"; EXIT_CODE_USAGE. */
int command_usage(const char *name, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Becomes `program [word] arguments...`; returns only when it cannot, with an exit code. */
int command_become(const char *name, const char *program, const char *word, int argc, char **argv);
/* Path of one of our programs, beside this one. NOT_FOUND with what to do. */
MUST_CHECK enum status program_path(const char *program, char out[FILE_PATH_MAX]);
/* Where runs are looked for: WEIR_RUN_ROOT, else the default of run.root. */
const char *runs_root(void);

/* A run of this machine, for the commands that look at one. */
struct known_run {
    char name[RUN_NAME_MAX], folder[FILE_PATH_MAX], endpoint[FILE_PATH_MAX], keys[FILE_PATH_MAX];
    pid_t supervisor; /* 0: the run is over */
    char state[16];   /* "running", "draining" */
    uint64_t steps;   /* run.steps */
    uint32_t drain_s, stopped_s;
};
/* Folder, name, supervisor and state alone; the rest is 0 or "". Needs no settings, which another version of weir may
 * have written, and no socket. */
MUST_CHECK enum status known_run_locate(struct known_run *known, const char *run);
/* `run`: name or folder, NULL: the only one running. */
MUST_CHECK enum status known_run_find(struct known_run *known, const char *run);
/* One question to its store (ops/store_query.h), whose answer replaces what `json` holds. */
MUST_CHECK enum status known_run_ask(const struct known_run *known, const char *question,
                                     const char *arguments_json, struct buffer *json);
/* "run a is over: ..." and where its results are; EXIT_CODE_OK. */
int say_run_over(const struct known_run *known);
/* The same, as a JSON object (ops/run_list.h) when that was asked for. */
int command_over(const struct known_run *known, bool json);

#endif
