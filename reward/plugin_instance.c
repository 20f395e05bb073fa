/* reward/plugin_instance.c - see the header. */
#include "reward/plugin_instance.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/checksum.h"
#include "core/clock.h"
#include "core/memory.h"
#include "reward/areas.h"
#include "reward/compose_plugin.h"
#include "reward/plugin_services.h"
#include "reward/python_host.h"

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), size = strlen(end);
    return length > size && strcmp(text + length - size, end) == 0;
}

enum plugin_kind plugin_instance_kind(const char *plugin)
{
    if (ends_with(plugin, ".yaml") || ends_with(plugin, ".yml") || ends_with(plugin, ".json"))
        return PLUGIN_RECIPE;
    return ends_with(plugin, ".py") || strstr(plugin, ".py:") != NULL ? PLUGIN_PYTHON
                                                                      : PLUGIN_SHARED_OBJECT;
}

/* ---- files ---- */

static void look_at(struct plugin_watch *watch)
{
    struct stat info;
    bool there = stat(watch->path, &info) == 0;
    watch->inode = there ? (uint64_t)info.st_ino : 0;
    watch->bytes = there ? (uint64_t)info.st_size : 0;
    watch->changed_ns =
        there ? (int64_t)info.st_mtim.tv_sec * CLOCK_NS_PER_S + info.st_mtim.tv_nsec : 0;
}

enum status plugin_instance_watch(struct plugin_instance *instance, const char *path)
{
    if (instance->file_count == PLUGIN_FILES_MAX)
        return FAIL(STATUS_LIMIT, "reward plugin %s: more than %d files", instance->files[0].path,
                    PLUGIN_FILES_MAX);
    struct plugin_watch *watch = &instance->files[instance->file_count];
    watch->path = memory_text(path);
    if (watch->path == NULL)
        return FAIL(STATUS_NO_MEMORY, "path of a plugin");
    look_at(watch);
    instance->file_count++;
    return STATUS_OK;
}

uint64_t plugin_instance_stamp(const struct plugin_instance *instance, bool now)
{
    uint64_t stamp = 0;
    for (uint32_t i = 0; i < instance->file_count; i++) {
        struct plugin_watch watch = instance->files[i];
        if (now)
            look_at(&watch);
        uint64_t parts[3] = {watch.inode, watch.bytes, (uint64_t)watch.changed_ns};
        stamp = hash64(parts, sizeof parts, stamp);
    }
    return stamp;
}

/* ---- life ---- */

static enum status create_instance(struct plugin_instance *self, const char *config)
{
    char error[512] = "";
    int code = self->table.create(config, plugin_services(), &self->instance, error, sizeof error);
    error[sizeof error - 1] = '\0';
    if (code != 0)
        return FAIL(STATUS_INVALID, "reward plugin %s refused reward.config %s: %s",
                    self->file.path, config, error[0] != '\0' ? error : "it gave no reason");
    self->created = true;
    return STATUS_OK;
}

static const weir_reward_plugin *built_in_area(const char *plugin)
{
    return strchr(plugin, '/') == NULL ? reward_area_plugin(plugin) : NULL;
}

/* An area is part of this program: what it is called and its version stand for the file. */
static enum status open_area(struct plugin_instance *self, const struct reward_settings *settings,
                             const weir_reward_plugin *area)
{
    memcpy(&self->table, area,
           area->struct_size < sizeof self->table ? area->struct_size : sizeof self->table);
    snprintf(self->file.path, sizeof self->file.path, "%s", settings->plugin);
    self->hash =
        hash64(area->name, strlen(area->name), hash64(area->version, strlen(area->version), 0));
    return create_instance(self, settings->config);
}

static enum status open_shared_object(struct plugin_instance *self,
                                      const struct reward_settings *settings)
{
    char path[FILE_PATH_MAX];
    const weir_reward_plugin *area = built_in_area(settings->plugin);
    if (area != NULL)
        return open_area(self, settings, area);
    TRY(plugin_file_path(settings->plugin, path));
    if (strchr(settings->plugin, '/') == NULL && !file_exists(path))
        return FAIL(STATUS_NOT_FOUND,
                    "reward.plugin=%s is none of the built-in ones (%saddition gsm8k), and %s: No "
                    "such file; a file of your own is named with its folder, as ./mine.so",
                    settings->plugin, reward_area_names(), path);
    TRY(plugin_instance_watch(self, path));
    TRY(plugin_file_open(&self->file, settings->plugin));
    size_t size = self->file.plugin->struct_size;
    memcpy(&self->table, self->file.plugin, size < sizeof self->table ? size : sizeof self->table);
    self->hash = self->file.hash;
    return create_instance(self, settings->config);
}

static enum status selftest(struct plugin_instance *self)
{
    char error[512] = "";
    if (self->table.selftest == NULL)
        return STATUS_OK;
    int code = self->table.selftest(self->instance, error, sizeof error);
    error[sizeof error - 1] = '\0';
    return code == 0 ? STATUS_OK
                     : FAIL(STATUS_INVALID, "reward plugin %s fails its self-test: %s",
                            self->table.name, error[0] != '\0' ? error : "it gave no reason");
}

static enum status open_kind(struct plugin_instance *self, const struct reward_settings *settings)
{
    switch (plugin_instance_kind(settings->plugin)) {
    case PLUGIN_RECIPE:
        TRY(compose_plugin_open(self, settings));
        break;
    case PLUGIN_PYTHON:
        TRY(python_host_open(self, settings));
        break;
    default:
        TRY(open_shared_object(self, settings));
    }
    snprintf(self->name, sizeof self->name, "%s %s", self->table.name, self->table.version);
    return selftest(self);
}

enum status plugin_instance_open(struct plugin_instance **out,
                                 const struct reward_settings *settings)
{
    *out = NULL;
    struct plugin_instance *self = memory_alloc(sizeof *self);
    if (self == NULL)
        return FAIL(STATUS_NO_MEMORY, "plugin instance");
    self->file.fd = -1;
    enum status status = open_kind(self, settings);
    if (status != STATUS_OK)
        plugin_instance_close(&self);
    *out = self;
    return status;
}

void plugin_instance_close(struct plugin_instance **pointer)
{
    struct plugin_instance *self = *pointer;
    *pointer = NULL;
    if (self == NULL)
        return;
    char kept[STATUS_TEXT_MAX];
    status_keep(kept);
    if (self->created)
        self->table.destroy(self->instance);
    plugin_file_close(&self->file);
    for (uint32_t i = 0; i < self->file_count; i++)
        memory_free(self->files[i].path);
    memory_free(self);
    status_restore(kept);
}
