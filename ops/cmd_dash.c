/* weir dash: where the dashboard of a run is, or one for a run that is over. */
#include <stdio.h>
#include <string.h>

#include "ops/cmd.h"

enum { URL_MAX = 512 };

/* The run goes on and has a dashboard: its address. */
static bool print_url(const struct known_run *known)
{
    char path[FILE_PATH_MAX];
    struct buffer url;
    buffer_init(&url, URL_MAX);
    bool there = known->supervisor != 0 &&
                 file_path(path, "%s/dash.url", known->folder) == STATUS_OK &&
                 file_read(path, &url) == STATUS_OK && url.size > 0;
    if (there)
        printf("%.*s\n", (int)strcspn(buffer_string(&url), "\n"), buffer_string(&url));
    buffer_free(&url);
    return there;
}

static int become_dash(const struct known_run *known, const char *address, const char *web)
{
    char config[FILE_PATH_MAX], setting[FILE_PATH_MAX], url[FILE_PATH_MAX];
    char *arguments[12];
    int count = 0;
    enum status status = file_path(config, "%s/config.resolved.yaml", known->folder);
    if (status == STATUS_OK && address != NULL)
        status = file_path(setting, "dash.address=%s", address);
    if (status != STATUS_OK)
        return command_failed("dash", status);
    const char *const texts[] = {"--run", known->name, "--folder", known->folder};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        arguments[count++] = (char *)(uintptr_t)texts[i]; /* execv's array changes nothing */
    if (web != NULL) {
        arguments[count++] = (char *)(uintptr_t) "--web";
        arguments[count++] = (char *)(uintptr_t)web;
    }
    if (known->supervisor != 0 && file_path(url, "%s/dash.url", known->folder) == STATUS_OK &&
        file_exists(url)) /* the run has one of its own, which it goes on to name */
        arguments[count++] = (char *)(uintptr_t) "--extra";
    if (address != NULL)
        arguments[count++] = setting;
    char *whole[14] = {config};
    memcpy(whole + 1, arguments, (size_t)count * sizeof arguments[0]);
    return command_become("dash", "weir-dash", "--config", count + 1, whole);
}

int cmd_dash(int argc, char **argv)
{
    const char *run = NULL, *address = NULL, *web = NULL;
    struct known_run known;
    for (int i = 0; i < argc; i++) {
        bool takes = strcmp(argv[i], "--address") == 0 || strcmp(argv[i], "--web") == 0;
        if (takes && i + 1 == argc)
            return command_usage("dash", "%s wants a value", argv[i]);
        if (strcmp(argv[i], "--address") == 0)
            address = argv[++i];
        else if (takes)
            web = argv[++i];
        else if (argv[i][0] == '-' || run != NULL)
            return command_usage("dash", "unexpected argument %s", argv[i]);
        else
            run = argv[i];
    }
    enum status status = known_run_find(&known, run);
    if (status != STATUS_OK)
        return command_failed("dash", status);
    if (address == NULL && web == NULL && print_url(&known))
        return EXIT_CODE_OK;
    return become_dash(&known, address, web);
}
