#include "ops/run_place.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "ops/store_query.h"

/* ---- the path of the run ---- */

/* As it reads from every other working directory. */
static enum status whole_root(const char *root, char out[FILE_PATH_MAX])
{
    char here[PATH_MAX];
    if (root[0] == '/')
        return file_path(out, "%s", root);
    if (getcwd(here, sizeof here) == NULL)
        return FAIL(STATUS_IO, "the working directory: %s", strerror(errno));
    return file_path(out, "%s/%s", here, root);
}

enum status run_place_check(const struct settings *settings, const char *name)
{
    char root[FILE_PATH_MAX], folder[FILE_PATH_MAX], endpoint[FILE_PATH_MAX];
    TRY(whole_root(settings->run.root, root));
    size_t bad = strcspn(root, "\"\\\n");
    if (settings->redis.mode == REDIS_START && root[bad] != 0)
        return FAIL(STATUS_INVALID,
                    "run.root: byte %zu of %s is 0x%02x, and redis-server cannot be started in a "
                    "folder with a quote, backslash or line end in its name: choose another "
                    "run.root, or set redis.mode=off",
                    bad + 1, root, (unsigned)(unsigned char)root[bad]);
    if (settings->store.endpoint[0] != 0)
        return STATUS_OK; /* no socket in the folder */
    TRY(file_path(folder, "%s/%s", root, name));
    return store_endpoint(settings, folder, endpoint);
}

/* ---- what --clean would take along ---- */

static bool is_inside(const char *folder, const char *path)
{
    char whole[PATH_MAX];
    size_t length = strlen(folder);
    return path[0] != 0 && realpath(path, whole) != NULL && strncmp(whole, folder, length) == 0 &&
           (whole[length] == 0 || whole[length] == '/');
}

/* A path, "name=path" or "path:function". */
static bool names_inside(const char *folder, const char *item)
{
    char path[FILE_PATH_MAX];
    const char *equals = strchr(item, '='), *colon = strrchr(item, ':');
    if (is_inside(folder, item) || (equals != NULL && is_inside(folder, equals + 1)))
        return true;
    return colon != NULL && file_path(path, "%.*s", (int)(colon - item), item) == STATUS_OK &&
           is_inside(folder, path);
}

/* A value, or several between commas. */
static bool list_names_inside(const char *folder, const char *list)
{
    char item[FILE_PATH_MAX];
    if (names_inside(folder, list))
        return true;
    while (file_list_next(&list, item) == STATUS_OK)
        if (names_inside(folder, item))
            return true;
    return false;
}

static enum status refuse(const char *folder, const char *who, const char *value)
{
    return FAIL(
        STATUS_INVALID,
        "--clean would remove %s, and %s %s lies in it: take another --name, or copy it out "
        "of there first",
        folder, who, value);
}

static enum status check_settings(const struct config *config, const char *folder)
{
    for (size_t i = 0; i < settings_section_count; i++)
        for (size_t k = 0; k < settings_sections[i].count; k++) {
            const struct config_field *field = &settings_sections[i].fields[k];
            const char *text = NULL;
            char key[128];
            snprintf(key, sizeof key, "%s.%s", settings_sections[i].name, field->name);
            bool computed = strcmp(key, "redis.address") == 0; /* a socket of the run before */
            if (field->type != CONFIG_TYPE_text || computed ||
                config_source(config, key, &text) == NULL || text == NULL)
                continue;
            if (list_names_inside(folder, text))
                return refuse(folder, key, text);
        }
    return STATUS_OK;
}

enum status run_place_check_clean(const struct config *config, const char *const *recipes,
                                  size_t recipe_count, const char *folder)
{
    char whole[PATH_MAX];
    if (realpath(folder, whole) == NULL)
        return STATUS_OK; /* whoever removes it says why it cannot be */
    for (size_t i = 0; i < recipe_count; i++)
        if (is_inside(whole, recipes[i]))
            return refuse(whole, "the recipe", recipes[i]);
    return check_settings(config, whole);
}
