/* actor/actor_main.c - weir-actor: generates rollouts (docs/dataflow.md). Started by `weir run` and `weir up`. */
#include <stdio.h>
#include <string.h>

#include "actor/actor.h"
#include "actor/engine.h"
#include "actor/replay.h"
#include "core/program.h"
#include "actor/actor_metrics.h"
#include "core/log.h"
#include "transport/monitor.h"
#include "transport/span_view.h"

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "replay") == 0)
        return actor_replay_main(argc - 1, argv + 1, stdout);
    struct program program;
    program_set_metrics(actor_metrics_table);
    int code =
        program_start(&program, argc, argv, ROLE_NAME_ACTOR,
                      "Generates rollouts. (\"Actor\" here is the process that generates; in verl, "
                      "AReaL, OpenRLHF and\n"
                      "slime the word means the policy being trained, which is weir-learner.)");
    if (code >= 0)
        return code;
    if (program.check) {
        struct buffer text;
        buffer_init(&text, 0);
        enum status status = engine_budget_text(&program.settings, &text);
        if (status == STATUS_OK)
            fputs(buffer_string(&text), stdout);
        buffer_free(&text);
        return program_end(&program, status);
    }
    struct actor_options options = {.settings = &program.settings,
                                    .endpoint = program.endpoint,
                                    .index = program.index,
                                    .run = program.run};
    struct actor *actor = NULL;
    enum status status = monitor_open_program(&options.monitor, &program);
    if (status == STATUS_OK)
        span_view_open(&program);
    if (status == STATUS_OK)
        status = actor_create(&actor, &options);
    if (status == STATUS_OK)
        status = actor_run(actor, program_stop_signals());
    span_view_end();
    actor_destroy(&actor);
    monitor_close(&options.monitor);
    return program_end(&program, status);
}
