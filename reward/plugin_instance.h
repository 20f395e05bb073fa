/* reward/plugin_instance.h - one opened plugin, whatever it is made of: a shared object, a recipe or a Python function.
 *
 * All three end in the same table (weir_reward.h), so whoever calls a plugin does not ask which it is. What was opened
 * is a copy: when a file changes on disk the instance stays as it is, and plugin_instance_stamp says that it changed.
 *     reward.plugin: addition | path/mine.so | recipe.yaml | mine.py:compute_score */
#ifndef REWARD_PLUGIN_INSTANCE_H
#define REWARD_PLUGIN_INSTANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/file.h"
#include "core/settings.h"
#include "core/status.h"
#include "proto/messages.h"
#include "reward/plugin_file.h"
#include "reward/weir_reward.h"

enum { PLUGIN_FILES_MAX = 64 };

/* A file as it was when its bytes were read. */
struct plugin_watch {
    char *path; /* owned */
    uint64_t inode, bytes;
    int64_t changed_ns; /* 0: it could not be read */
};

struct plugin_instance {
    weir_reward_plugin table; /* of this host's size: what the plugin does not have is NULL */
    void *instance;
    bool created;
    uint64_t hash;                /* of all its files; recorded with each score */
    char name[2 * WIRE_NAME_MAX]; /* "addition 1.0" */
    struct plugin_file file;      /* shared objects only */
    struct plugin_watch files[PLUGIN_FILES_MAX];
    uint32_t file_count;
};

enum plugin_kind { PLUGIN_SHARED_OBJECT, PLUGIN_RECIPE, PLUGIN_PYTHON };
enum plugin_kind plugin_instance_kind(const char *plugin);

/* settings: plugin, config and what Python needs are read; borrowed for the call. Creates the instance and runs its
 * self-test. INVALID with the plugin's own sentence when either refuses. */
MUST_CHECK enum status plugin_instance_open(struct plugin_instance **instance,
                                            const struct reward_settings *settings);
void plugin_instance_close(struct plugin_instance **instance); /* NULL is fine */

/* Remembers a file before its bytes are read. LIMIT: PLUGIN_FILES_MAX. */
MUST_CHECK enum status plugin_instance_watch(struct plugin_instance *instance, const char *path);
/* One number for the state of its files: as they were opened, or as they are now. */
uint64_t plugin_instance_stamp(const struct plugin_instance *instance, bool now);

#endif
