/* reward/plugin_host_watch.c - hot reload: a plugin file that changed is opened beside the running instance.
 *
 * The watchman looks twice a second, when the caller nudges it. A change must look the same twice, so that a file is
 * not opened while somebody writes it. A plugin whose health is not 0 is replaced by a new instance of the same file. The new instance is created and passes its self-test before it takes over; one
 * that does not is refused with one line, and its file is not tried again until it changes once more. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/wait.h"
#include "reward/plugin_host_state.h"

enum { REPLACE_MS = 5000 };

/* Under the mutex. The shape of the store's events. */
static void say(struct plugin_host *host, const char *kind, const char *name, uint64_t hash,
                const char *why)
{
    char text[512];
    struct buffer json;
    buffer_init(&json, sizeof host->event - 1);
    snprintf(text, sizeof text, "%s %016" PRIx64 "%s%s", name, hash, *why != '\0' ? ": " : "", why);
    enum status status = buffer_printf(&json, "{\"time_ms\":%" PRId64 ",\"kind\":\"%s\",\"text\":",
                                       clock_wall_ns() / CLOCK_NS_PER_MS, kind);
    if (status == STATUS_OK)
        status = buffer_json_text(&json, text);
    if (status == STATUS_OK)
        status = buffer_text(&json, "}");
    if (status == STATUS_OK)
        memcpy(host->event, buffer_string(&json), json.size + 1);
    buffer_free(&json);
}

static void refuse(struct plugin_host *host, const struct generation *running)
{
    char why[256];
    snprintf(why, sizeof why, "%s", status_sentence(status_last_error()));
    LOG_WARN("plugin", "the changed plugin is refused, the old one stays", "name=\"%s\" why=\"%s\"",
             running->plugin->name, why);
    pthread_mutex_lock(&host->mutex);
    say(host, "plugin_refused", running->plugin->name, running->plugin->hash, why);
    pthread_mutex_unlock(&host->mutex);
}

static void open_beside(struct plugin_host *host, const struct generation *running, int sick)
{
    struct generation *fresh = NULL;
    if (plugin_generation_open(&fresh, &host->settings) != STATUS_OK) {
        refuse(host, running);
        return;
    }
    bool same = fresh->plugin->hash == running->plugin->hash;
    LOG_INFO("plugin",
             sick != 0 ? "not well, replaced"
             : same    ? "touched, not changed"
                       : "changed, reloaded",
             "name=\"%s\" hash=%016" PRIx64 " health=%d", fresh->plugin->name, fresh->plugin->hash,
             sick);
    pthread_mutex_lock(&host->mutex);
    if (!same || sick != 0)
        say(host, sick != 0 ? "plugin_replaced" : "plugin_reloaded", fresh->plugin->name,
            fresh->plugin->hash, "");
    host->loaded = fresh; /* also when it is the same: it knows the new stamp */
    pthread_mutex_unlock(&host->mutex);
}

/* Takes an old generation without jobs out of the list; NULL: none. */
static struct generation *take_idle(struct plugin_host *host)
{
    struct generation *idle = NULL;
    pthread_mutex_lock(&host->mutex);
    for (struct generation **at = &host->old; *at != NULL && idle == NULL; at = &(*at)->next)
        if ((*at)->jobs == 0) {
            idle = *at;
            *at = idle->next;
            break;
        }
    pthread_mutex_unlock(&host->mutex);
    return idle;
}

/* False: the host closes. *busy: a loaded one waits to take over. */
static bool wait_nudge(struct plugin_host *host, struct generation **running)
{
    pthread_mutex_lock(&host->mutex);
    while (!host->closing && !host->nudged &&
           wait_condition("plugin_watch", "files", INT64_MAX, &host->nudge, &host->mutex) ==
               STATUS_OK) {
    }
    host->nudged = false;
    bool goes_on = !host->closing;
    *running = host->loaded == NULL ? host->current : NULL;
    pthread_mutex_unlock(&host->mutex);
    return goes_on;
}

/* 0: well, or it cannot say. */
static int health_of(const struct plugin_instance *plugin)
{
    return plugin->table.health != NULL ? plugin->table.health(plugin->instance) : 0;
}

void *plugin_watch_thread(void *self)
{
    struct plugin_host *host = self;
    struct generation *running = NULL;
    uint64_t seen = 0, tried = 0;
    int64_t well_until_ns = 0; /* a replaced one gets time before it is asked again */
    while (wait_nudge(host, &running)) {
        for (struct generation *idle; (idle = take_idle(host)) != NULL;)
            plugin_generation_close(&idle);
        if (running == NULL)
            continue;
        uint64_t now = plugin_instance_stamp(running->plugin, true);
        bool changed = now != plugin_instance_stamp(running->plugin, false);
        int sick = clock_now_ns() >= well_until_ns ? health_of(running->plugin) : 0;
        if (sick != 0)
            well_until_ns = clock_after_ms(clock_now_ns(), REPLACE_MS);
        if (sick != 0 || (changed && now == seen && now != tried)) {
            tried = now;
            open_beside(host, running, sick);
        }
        seen = now;
    }
    plugin_thread_ended(host);
    return NULL;
}
