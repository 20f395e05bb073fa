#include "ops/run_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "ops/cmd.h"
#include "ops/run_meta.h"

enum { TICK_MS = 1000, META_MS = 10000, URL_BYTES_MAX = 512 };

void run_view_open(struct run_view *view, const struct settings *settings,
                   const struct run_folder *folder)
{
    *view = (struct run_view){.folder = folder};
    buffer_init(&view->meta, 0);
    buffer_init(&view->fleet, 0);
    if (settings->redis.mode == REDIS_CONNECT && folder->attempt == 1 &&
        redis_forget_run(folder->name, &settings->redis) != STATUS_OK)
        fprintf(stderr, "weir: %s\n", error_sentence());
    if (redis_view_open_set(&view->redis, folder->name, &settings->redis) != STATUS_OK)
        fprintf(stderr, "weir: %s\n", error_sentence());
}

/* The first line of the file in which the dashboard says where it is. */
static void add_url(const struct run_view *view, json_t *meta)
{
    char path[FILE_PATH_MAX];
    struct buffer text;
    buffer_init(&text, URL_BYTES_MAX);
    if (file_path(path, "%s/dash.url", view->folder->path) == STATUS_OK && file_exists(path) &&
        file_read(path, &text) == STATUS_OK) {
        const char *url = buffer_string(&text);
        json_t *value = json_stringn(url, strcspn(url, "\r\n"));
        if (value != NULL)
            json_object_set_new(meta, "dash", value);
    }
    buffer_free(&text);
}

static void read_meta(struct run_view *view, const char *state)
{
    json_t *meta = NULL;
    if (run_meta_read(view->folder->path, &meta) != STATUS_OK) /* of an older run: none */
        meta = json_pack("{s:s}", "name", view->folder->name);
    if (meta == NULL)
        return;
    json_object_set_new(meta, "state", json_string(state));
    add_url(view, meta);
    char *text = json_dumps(meta, JSON_COMPACT);
    buffer_clear(&view->meta);
    if (text == NULL || buffer_text(&view->meta, text) != STATUS_OK)
        buffer_clear(&view->meta);
    free(text); /* lint: allow(free): jansson's */
    json_decref(meta);
}

static void publish(struct run_view *view, const struct fleet *fleet,
                    const struct supervisor *supervisor)
{
    if (view->meta.size > 0)
        redis_view_hash(view->redis, "meta", buffer_string(&view->meta), 0);
    buffer_clear(&view->fleet);
    if (fleet_table_json(fleet, &supervisor->watch, &view->fleet) == STATUS_OK)
        redis_view_hash(view->redis, "fleet", buffer_string(&view->fleet), 0);
}

void run_view_tick(struct run_view *view, const struct fleet *fleet,
                   const struct supervisor *supervisor, bool changed, int64_t now_ns)
{
    if (view->redis == NULL || (!changed && now_ns < view->next_ns))
        return;
    view->next_ns = clock_after_ms(now_ns, TICK_MS);
    if (changed || now_ns >= view->next_meta_ns) {
        view->next_meta_ns = clock_after_ms(now_ns, META_MS);
        read_meta(view, supervisor->phase == PHASE_RUNNING ? "running" : "draining");
    }
    publish(view, fleet, supervisor);
}

void run_view_close(struct run_view *view, const struct fleet *fleet,
                    const struct supervisor *supervisor)
{
    if (view->redis != NULL) {
        read_meta(view, "over");
        publish(view, fleet, supervisor);
    }
    redis_view_close(&view->redis);
    buffer_free(&view->meta);
    buffer_free(&view->fleet);
}
