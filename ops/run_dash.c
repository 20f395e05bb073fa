#include "ops/run_dash.h"

#include <string.h>
#include <unistd.h>

#include "ops/cmd.h"

enum { URL_MAX = 512 };

enum status run_dash_add(struct fleet *fleet)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/dash.url", fleet->folder->path));
    (void)unlink(path);
    if (fleet->settings->dash.mode == DASH_OFF || program_path("weir-dash", path) != STATUS_OK)
        return STATUS_OK;
    return fleet_add(fleet, "dash", 0, DUTY_VIEW);
}

const char *run_dash_line(const struct fleet *fleet, bool *shown, char line[FILE_PATH_MAX])
{
    char path[FILE_PATH_MAX];
    struct buffer url;
    if (*shown || fleet->settings->dash.mode == DASH_OFF)
        return NULL;
    if (program_path("weir-dash", path) != STATUS_OK) {
        *shown = true;
        return "dashboard  none: this build has no weir-dash";
    }
    buffer_init(&url, URL_MAX);
    if (file_path(path, "%s/dash.url", fleet->folder->path) == STATUS_OK &&
        file_read(path, &url) == STATUS_OK && url.size > 0) {
        const char *text = buffer_string(&url);
        *shown = file_path(line, "dashboard  %.*s", (int)strcspn(text, "\n"), text) == STATUS_OK;
    }
    buffer_free(&url);
    return *shown ? line : NULL;
}
