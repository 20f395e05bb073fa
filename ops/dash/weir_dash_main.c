/* weir-dash: the dashboard of one run (docs/dashboard.md).
 *
 *     weir-dash --config RUN/config.resolved.yaml --run NAME --folder RUN [--web FOLDER] [--extra] [dash.address=host:port]
 *
 * --extra: a second one beside that of the run, which dash.url goes on to name.
 * --web: the page's files from disk instead of those inside this program, for work on them. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/memory.h"
#include "ops/dash/asker.h"
#include "ops/dash/feed.h"
#include "ops/dash/server.h"
#include "ops/dash/token.h"
#include "ops/store_query.h"

enum { STOP_LOOK_MS = 50, URL_LINE_MAX = 512 };

/* Takes --web FOLDER and --extra out of the arguments. */
static enum status take_own(struct dash *dash, int *argc, char **argv)
{
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--web") == 0 && i + 1 < *argc)
            TRY(file_path(dash->web, "%s", argv[++i]));
        else if (strcmp(argv[i], "--extra") == 0)
            dash->extra = true;
        else
            argv[kept++] = argv[i];
    }
    argv[kept] = NULL;
    *argc = kept;
    return STATUS_OK;
}

static enum status write_url(const struct dash *dash)
{
    char path[FILE_PATH_MAX], line[URL_LINE_MAX];
    if (dash->extra)
        return STATUS_OK;
    int size = snprintf(line, sizeof line, "%s\n", server_url(dash));
    TRY(file_path(path, "%s/dash.url", dash->folder));
    return file_replace(path, line, (size_t)size);
}

/* dash.url says where a dashboard listens, so it goes with it, unless a later one has put its own there. */
static void remove_url(const struct dash *dash)
{
    char path[FILE_PATH_MAX];
    struct buffer url;
    buffer_init(&url, URL_LINE_MAX);
    if (file_path(path, "%s/dash.url", dash->folder) == STATUS_OK &&
        file_read(path, &url) == STATUS_OK) {
        const char *text = buffer_string(&url), *own = server_url(dash);
        if (strcspn(text, "\n") == strlen(own) && strncmp(text, own, strlen(own)) == 0)
            (void)unlink(path);
    }
    buffer_free(&url);
}

static enum status prepare(struct dash *dash)
{
    const struct settings *settings = &dash->program->settings;
    struct access_rules *access = &dash->access;
    TRY(store_endpoint(settings, dash->folder, dash->endpoint));
    TRY(access_split(settings->dash.address, access->host, &access->port));
    access->loopback = access_is_loopback(access->host);
    if (gethostname(access->name, sizeof access->name - 1) != 0)
        access->name[0] = 0;
    TRY(token_read(settings->dash.token_file, dash->folder, access->token));
    return board_open(&dash->board);
}

static enum status serve(struct dash *dash)
{
    struct feed *feed = NULL;
    enum status status;
    TRY_GOTO(out, asker_start(&dash->asker, dash));
    TRY_GOTO(out, asker_start(&dash->files, dash));
    TRY_GOTO(out, server_start(dash));
    TRY_GOTO(out, feed_start(&feed, dash));
    TRY_GOTO(out, write_url(dash));
    LOG_INFO("dash", "listening", "url=%s run=%s start_ms=%lld", server_url(dash), dash->run,
             (long long)((clock_now_ns() - dash->started_ns) / CLOCK_NS_PER_MS));
    printf("dashboard  %s\n", server_url(dash));
    fflush(stdout);
    while (atomic_load(program_stop_signals()) == 0)
        clock_sleep_ms(STOP_LOOK_MS);
out:
    if (dash->server != NULL)
        remove_url(dash);
    atomic_store(&dash->closing, true);
    feed_stop(&feed);
    asker_close(dash->asker);
    asker_close(dash->files);
    server_stop(dash);
    asker_free(&dash->asker);
    asker_free(&dash->files);
    return status;
}

int main(int argc, char **argv)
{
    static struct program program;
    static struct dash dash;
    dash.started_ns = clock_now_ns();
    if (take_own(&dash, &argc, argv) != STATUS_OK)
        return EXIT_CODE_USAGE;
    int code = program_start(&program, argc, argv, "dash",
                             "The dashboard of one run: page, API and streams over HTTP.");
    if (code >= 0)
        return code;
    dash.program = &program;
    dash.run = program.run;
    dash.folder = program.run_folder;
    enum status status =
        dash.folder[0] != 0 ? prepare(&dash)
                            : FAIL(STATUS_INVALID, "--folder RUN_FOLDER is wanted; `weir dash RUN` "
                                                   "gives all arguments");
    if (status == STATUS_OK && !program.check)
        status = serve(&dash);
    board_close(&dash.board);
    return program_end(&program, status);
}
