/* rollout_store/store_main.c - weir-store: the book-keeper of a run (docs/dataflow.md). Started by `weir run`. */
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/program.h"
#include "rollout_store/replay.h"
#include "rollout_store/server.h"
#include "rollout_store/store_metrics.h"
#include "transport/monitor.h"
#include "transport/span_view.h"

static enum status run(struct program *program)
{
    char folder[FILE_PATH_MAX];
    if (program->run_folder[0] != '\0')
        TRY(file_path(folder, "%s", program->run_folder));
    else
        TRY(file_path(folder, "%s/%s", program->settings.run.root, program->run));
    struct server_options options = {.settings = &program->settings,
                                     .run = program->run,
                                     .run_folder = folder,
                                     .endpoint = program->endpoint};
    if (program->check) {
        struct buffer text;
        buffer_init(&text, 0);
        enum status status = server_plan_text(&options, &text);
        if (status == STATUS_OK)
            fputs(buffer_string(&text), stdout);
        buffer_free(&text);
        return status;
    }
    if (program->run[0] == '\0')
        return FAIL(STATUS_INVALID, "the run has no name: give --run NAME or set run.name");
    TRY(file_make_dirs(folder));
    struct server *server = NULL;
    enum status status = monitor_open_program(&options.monitor, program);
    if (status == STATUS_OK)
        span_view_open(program);
    if (status == STATUS_OK)
        status = server_create(&server, &options);
    if (status == STATUS_OK)
        status = server_run(server, program_stop_signals());
    span_view_end();
    server_destroy(&server);
    monitor_close(&options.monitor);
    return status;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "replay") == 0)
        return replay_main(argc - 1, argv + 1);
    struct program program;
    program_set_metrics(store_metrics_table);
    int code = program_start(&program, argc, argv, ROLE_NAME_STORE,
                             "Keeps the book of a run: prompts, groups, leases, scores, plans and "
                             "versions, on disk before\n"
                             "anybody hears of them.");
    return code >= 0 ? code : program_end(&program, run(&program));
}
