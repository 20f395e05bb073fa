/* reward/plugin_file.h - the shared object of a reward plugin: found, copied, opened, its ABI checked.
 *
 * A name without '/' and ".so" is a built-in one, <folder of the program>/../plugins/NAME.so. The bytes are
 * copied to a memory file before they are opened, so a rebuild does not change running code. */
#ifndef REWARD_PLUGIN_FILE_H
#define REWARD_PLUGIN_FILE_H

#include <stdint.h>

#include "core/file.h"
#include "core/status.h"
#include "reward/weir_reward.h"

struct plugin_file {
    char path[FILE_PATH_MAX];
    void *handle;
    int fd; /* of the copy; kept open because the loader knows libraries by its /proc name */
    uint64_t hash;
    const weir_reward_plugin *plugin; /* lives in the copy */
};

/* NOT_FOUND or IO: the file; INVALID: not a shared object, no weir_reward_query, another major version (both
 * are named), structs too small, functions missing, caps this host does not serve. */
MUST_CHECK enum status plugin_file_open(struct plugin_file *file, const char *name);
/* Where the shared object `name` is looked for. */
MUST_CHECK enum status plugin_file_path(const char *name, char path[FILE_PATH_MAX]);
void plugin_file_close(struct plugin_file *file);

#endif
