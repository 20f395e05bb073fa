#include "ops/scale_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/clock.h"
#include "ops/run_folder.h"

enum { LOCK_TRIES = 100, LOCK_PAUSE_MS = 20, FILE_BYTES_MAX = 1 << 16 };

static bool take_count(const json_t *object, const char *key, int most, int *count)
{
    const json_t *value = json_object_get(object, key);
    *count = SCALE_AS_IT_IS;
    if (value == NULL)
        return true;
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || number > most)
        return false;
    *count = (int)number;
    return true;
}

static bool take_names(const json_t *object, struct scale_wish *wish)
{
    const json_t *list = json_object_get(object, "drain");
    if (json_array_size(list) > SCALE_DRAIN_MAX)
        return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (name == NULL || strlen(name) >= PROCESS_NAME_MAX)
            return false;
        snprintf(wish->drain[wish->drain_count++], PROCESS_NAME_MAX, "%s", name);
    }
    return true;
}

enum status scale_file_read(const char *run_folder, struct scale_wish *wish)
{
    json_t *object = NULL;
    *wish = (struct scale_wish){0};
    TRY(run_folder_json(run_folder, "scale.json", FILE_BYTES_MAX, &object));
    json_int_t request = json_integer_value(json_object_get(object, "request"));
    wish->request = request > 0 ? (uint64_t)request : 0;
    bool sound =
        wish->request > 0 && take_count(object, "actors", SCALE_ACTORS_MAX, &wish->actors) &&
        take_count(object, "reward_workers", SCALE_REWARD_WORKERS_MAX, &wish->reward_workers) &&
        take_names(object, wish);
    json_decref(object);
    return sound ? STATUS_OK
                 : FAIL(STATUS_CORRUPT,
                        "%s/scale.json is not what `weir scale` writes: it is left alone",
                        run_folder);
}

static enum status write_wish(const char *run_folder, const struct scale_wish *wish)
{
    char path[FILE_PATH_MAX];
    struct buffer text;
    buffer_init(&text, FILE_BYTES_MAX);
    enum status status;
    TRY_GOTO(out, file_path(path, "%s/scale.json", run_folder));
    TRY_GOTO(out, buffer_printf(&text, "{\"request\":%" PRIu64, wish->request));
    if (wish->actors != SCALE_AS_IT_IS)
        TRY_GOTO(out, buffer_printf(&text, ",\"actors\":%d", wish->actors));
    if (wish->reward_workers != SCALE_AS_IT_IS)
        TRY_GOTO(out, buffer_printf(&text, ",\"reward_workers\":%d", wish->reward_workers));
    TRY_GOTO(out, buffer_text(&text, ",\"drain\":["));
    for (size_t i = 0; i < wish->drain_count; i++) {
        TRY_GOTO(out, buffer_text(&text, i > 0 ? "," : ""));
        TRY_GOTO(out, buffer_json_text(&text, wish->drain[i]));
    }
    TRY_GOTO(out, buffer_text(&text, "]}\n"));
    status = file_replace(path, text.bytes, text.size);
out:
    buffer_free(&text);
    return status;
}

/* What an earlier command asked and is not done yet; a count of now beats the older one. */
static enum status merge(const char *run_folder, uint64_t applied, struct scale_wish *wish)
{
    struct scale_wish open;
    enum status status = scale_file_read(run_folder, &open);
    wish->request = (uint64_t)clock_wall_ns();
    if (status != STATUS_OK) /* none, or nobody can read it: it is replaced */
        return STATUS_OK;
    if (wish->request <= open.request) /* the wall clock was set back */
        wish->request = open.request + 1;
    if (open.request <= applied)
        return STATUS_OK;
    if (wish->actors == SCALE_AS_IT_IS)
        wish->actors = open.actors;
    if (wish->reward_workers == SCALE_AS_IT_IS)
        wish->reward_workers = open.reward_workers;
    for (size_t i = 0; i < open.drain_count; i++) {
        if (wish->drain_count == SCALE_DRAIN_MAX)
            return FAIL(STATUS_LIMIT, "%d drains wait for the supervisor already", SCALE_DRAIN_MAX);
        memcpy(wish->drain[wish->drain_count++], open.drain[i], PROCESS_NAME_MAX);
    }
    return STATUS_OK;
}

enum status scale_file_add(const char *run_folder, uint64_t applied, struct scale_wish *wish)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/scale.lock", run_folder));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return FAIL(STATUS_IO, "%s: %s", path, strerror(errno));
    int tries = 0;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0 && tries++ < LOCK_TRIES)
        clock_sleep_ms(LOCK_PAUSE_MS);
    enum status status =
        tries <= LOCK_TRIES
            ? STATUS_OK
            : FAIL(STATUS_TIMEOUT, "%s is held by another `weir scale` for %d ms: try again", path,
                   LOCK_TRIES * LOCK_PAUSE_MS);
    if (status == STATUS_OK)
        status = merge(run_folder, applied, wish);
    if (status == STATUS_OK)
        status = write_wish(run_folder, wish);
    close(fd);
    return status;
}

void scale_file_remove(const char *run_folder)
{
    char path[FILE_PATH_MAX];
    if (file_path(path, "%s/scale.json", run_folder) == STATUS_OK)
        unlink(path);
}
