#include "reward/plugin_file.h"

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/checksum.h"

enum status plugin_file_path(const char *name, char path[FILE_PATH_MAX])
{
    size_t length = strlen(name);
    if (strchr(name, '/') != NULL || (length > 3 && strcmp(name + length - 3, ".so") == 0))
        return file_path(path, "%s", name);
    char self[FILE_PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    if (size < 0)
        return FAIL(STATUS_IO, "/proc/self/exe: %s", strerror(errno));
    self[size] = '\0';
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(self, '/');
        if (slash != NULL)
            *slash = '\0';
    }
    return file_path(path, "%s/plugins/%s.so", self, name);
}

static enum status open_copy(struct plugin_file *file)
{
    struct buffer bytes;
    buffer_init(&bytes, (size_t)1 << 30);
    enum status status = file_read(file->path, &bytes);
    if (status == STATUS_OK && (file->fd = memfd_create("weir-plugin", MFD_CLOEXEC)) < 0)
        status = FAIL(STATUS_IO, "memfd_create: %s", strerror(errno));
    if (status == STATUS_OK)
        status = file_write_all(file->fd, bytes.bytes, bytes.size, file->path);
    if (status == STATUS_OK) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", file->fd);
        file->hash = hash64(bytes.bytes, bytes.size, 0);
        file->handle = dlopen(link, RTLD_NOW | RTLD_LOCAL);
        if (file->handle == NULL)
            status = FAIL(STATUS_INVALID, "reward plugin %s: %s", file->path, dlerror());
    }
    buffer_free(&bytes);
    return status;
}

static enum status check_table(const struct plugin_file *file, const weir_reward_plugin *plugin)
{
    if (plugin->abi_major != WEIR_REWARD_ABI_MAJOR)
        return FAIL(STATUS_INVALID,
                    "reward plugin %s has ABI %u.%u, this weir has %d.%d; build it against this "
                    "reward/weir_reward.h",
                    file->path, plugin->abi_major, plugin->abi_minor, WEIR_REWARD_ABI_MAJOR,
                    WEIR_REWARD_ABI_MINOR);
    if (plugin->struct_size < WEIR_REWARD_PLUGIN_SIZE_1_0)
        return FAIL(STATUS_INVALID,
                    "reward plugin %s: weir_reward_plugin of %u bytes, %u wanted; set struct_size "
                    "to sizeof and build it against this reward/weir_reward.h",
                    file->path, plugin->struct_size, WEIR_REWARD_PLUGIN_SIZE_1_0);
    const char *missing = plugin->name == NULL      ? "name"
                          : plugin->version == NULL ? "version"
                          : plugin->create == NULL  ? "create"
                          : plugin->submit == NULL  ? "submit"
                          : plugin->destroy == NULL ? "destroy"
                                                    : NULL;
    if (missing != NULL)
        return FAIL(STATUS_INVALID, "reward plugin %s: weir_reward_plugin.%s is NULL", file->path,
                    missing);
    uint64_t served = WEIR_REWARD_CAP_BATCH | WEIR_REWARD_CAP_GROUP | WEIR_REWARD_CAP_NEEDS_IDS |
                      WEIR_REWARD_CAP_NEEDS_LOGPROBS | WEIR_REWARD_CAP_THREADSAFE;
    if ((plugin->caps & ~served) != 0)
        return FAIL(STATUS_INVALID,
                    "reward plugin %s asks for caps 0x%" PRIx64 ", this weir serves 0x%" PRIx64
                    "; it is made for a newer weir",
                    file->path, plugin->caps, served);
    return STATUS_OK;
}

static enum status query_table(struct plugin_file *file)
{
    const weir_reward_plugin *(*query)(uint32_t, uint32_t) = NULL;
    void *symbol = dlsym(file->handle, "weir_reward_query");
    memcpy(&query, &symbol, sizeof query);
    if (query == NULL)
        return FAIL(STATUS_INVALID,
                    "reward plugin %s has no symbol weir_reward_query; see reward/weir_reward.h",
                    file->path);
    const weir_reward_plugin *plugin = query(WEIR_REWARD_ABI_MAJOR, WEIR_REWARD_ABI_MINOR);
    if (plugin == NULL)
        return FAIL(STATUS_INVALID,
                    "reward plugin %s does not serve ABI %d.%d of this weir; build it against this "
                    "reward/weir_reward.h",
                    file->path, WEIR_REWARD_ABI_MAJOR, WEIR_REWARD_ABI_MINOR);
    TRY(check_table(file, plugin));
    file->plugin = plugin;
    return STATUS_OK;
}

enum status plugin_file_open(struct plugin_file *file, const char *name)
{
    *file = (struct plugin_file){.fd = -1};
    enum status status;
    TRY_GOTO(fail, plugin_file_path(name, file->path));
    TRY_GOTO(fail, open_copy(file));
    TRY_GOTO(fail, query_table(file));
    return STATUS_OK;
fail:
    plugin_file_close(file);
    return status;
}

void plugin_file_close(struct plugin_file *file)
{
    if (file->handle != NULL)
        dlclose(file->handle);
    if (file->fd >= 0)
        close(file->fd);
    file->handle = NULL;
    file->plugin = NULL;
    file->fd = -1;
}
