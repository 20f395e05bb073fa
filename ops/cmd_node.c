/* ops/cmd_node.c - `weir node`: the words of ops/node.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ops/cmd.h"
#include "ops/node.h"
#include "ops/run.h"

struct number {
    const char *word;
    long *value;
    long most;
};

static bool read_number(const char *text, long most, long *value)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || number < 0 || number > most)
        return false;
    *value = number;
    return true;
}

static void default_name(char name[NODE_NAME_MAX])
{
    const char *slurm = getenv("SLURMD_NODENAME");
    if (slurm != NULL && slurm[0] != 0 && strlen(slurm) < NODE_NAME_MAX)
        memcpy(name, slurm, strlen(slurm) + 1);
    else if (gethostname(name, NODE_NAME_MAX - 1) != 0)
        memcpy(name, "node", sizeof "node");
}

static int take_word(struct node_request *request, const char *word, const char *value)
{
    const struct number numbers[] = {{"--actors", &request->actors, 4096},
                                     {"--reward-workers", &request->reward_workers, 4096},
                                     {"--first-index", &request->first_index, 1000000},
                                     {"--first-reward", &request->first_reward, 1000000},
                                     {"--wait", &request->wait_s, 864000}};
    if (value == NULL)
        return command_usage("node", "%s wants a value", word);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(word, numbers[i].word) != 0)
            continue;
        if (!read_number(value, numbers[i].most, numbers[i].value))
            return command_usage("node", "%s %s: a whole number from 0 to %ld is expected", word,
                                 value, numbers[i].most);
        return EXIT_CODE_OK;
    }
    if (strcmp(word, "--drained-code") == 0)
        return run_drained_code(value, &request->drained_code)
                   ? EXIT_CODE_OK
                   : command_usage("node", "--drained-code wants a number from %d to 125",
                                   EXIT_CODE_STOPPED + 1);
    if (strcmp(word, "--endpoint") == 0) {
        request->endpoint = value;
        return EXIT_CODE_OK;
    }
    if (strcmp(word, "--name") != 0)
        return command_usage("node", "unknown option %s", word);
    if (run_name_check(value) != STATUS_OK)
        return command_usage("node", "%s", error_sentence());
    memcpy(request->name, value, strlen(value) + 1);
    return EXIT_CODE_OK;
}

int cmd_node(int argc, char **argv)
{
    static struct node_request request = {
        .actors = 1, .first_index = -1, .first_reward = -1, .wait_s = NODE_WAIT_S};
    int code = EXIT_CODE_OK;
    default_name(request.name);
    request.arguments = argv - 2; /* "weir node ..." as it was typed */
    for (int i = 0; i < argc && code == EXIT_CODE_OK; i++) {
        if (argv[i][0] == '-') {
            code = take_word(&request, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
            i++;
        } else if (strchr(argv[i], '=') != NULL) {
            if (request.override_count == PROGRAM_OVERRIDES_MAX)
                return command_usage("node", "more than %d settings", PROGRAM_OVERRIDES_MAX);
            request.overrides[request.override_count++] = argv[i];
        } else if (request.run_folder == NULL) {
            request.run_folder = argv[i];
        } else {
            return command_usage("node", "one run folder, not %s too", argv[i]);
        }
    }
    if (code != EXIT_CODE_OK)
        return code;
    if (request.run_folder == NULL)
        return command_usage("node", "name the folder of a run, as runs/NAME");
    if (request.actors + request.reward_workers == 0)
        return command_usage("node", "no actor and no reward worker: nothing to do");
    return node_run(&request);
}
