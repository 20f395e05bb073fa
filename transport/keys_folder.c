/* transport/keys_folder.c - what `weir keys` does to a folder of keys. Files appear whole and with mode 0600. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "core/file.h"
#include "transport/keys.h"
#include "transport/socket.h"

static const enum role key_roles[] = {ROLE_STORE, ROLE_ACTOR, ROLE_LEARNER, ROLE_REWARD,
                                      ROLE_CONTROL};

/* Unlike file_replace nobody else can read it at any time. */
static enum status write_private(const char *folder, const char *name, const void *bytes,
                                 size_t size)
{
    char path[FILE_PATH_MAX], fresh[FILE_PATH_MAX];
    TRY(file_path(path, "%s/%s", folder, name));
    TRY(file_path(fresh, "%s/.%s.%d", folder, name, (int)getpid()));
    if (unlink(fresh) != 0 && errno != ENOENT)
        return FAIL(STATUS_IO, "unlink %s: %s", fresh, strerror(errno));
    int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return FAIL(STATUS_IO, "open %s: %s", fresh, strerror(errno));
    enum status status = file_write_all(fd, bytes, size, fresh);
    if (status == STATUS_OK && fsync(fd) != 0)
        status = FAIL(STATUS_IO, "fsync %s: %s", fresh, strerror(errno));
    close(fd);
    if (status == STATUS_OK && rename(fresh, path) != 0)
        status = FAIL(STATUS_IO, "rename %s: %s", fresh, strerror(errno));
    if (status != STATUS_OK)
        unlink(fresh);
    return status == STATUS_OK ? file_sync_dir(folder) : status;
}

static enum status make_key(const char *folder, enum role role, const char *name,
                            struct key_pair *pair)
{
    char text[512], file[KEY_NAME_MAX + 8];
    *pair = (struct key_pair){.role = role};
    snprintf(pair->name, sizeof pair->name, "%s", name);
    if (zmq_curve_keypair(pair->public_text, pair->secret_text) != 0)
        return FAIL(STATUS_UNSUPPORTED, "libzmq makes no CURVE keys: %s", zmq_strerror(errno));
    snprintf(text, sizeof text,
             "# weir key; whoever can read this file is %s.\nrole %s\nname %s\npublic %s\n"
             "secret %s\n",
             name, role_name(role), name, pair->public_text, pair->secret_text);
    snprintf(file, sizeof file, "%s.key", name);
    enum status status = write_private(folder, file, text, strlen(text));
    explicit_bzero(text, sizeof text);
    explicit_bzero(pair->secret_text, sizeof pair->secret_text);
    return status;
}

/* ---- the allow list as text ---- */

static enum status read_allow(const char *folder, struct buffer *text)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/allow", folder));
    return file_read(path, text);
}

static enum status allow_line(struct buffer *text, const struct key_pair *pair)
{
    if (text->size > 0 && text->bytes[text->size - 1] != '\n')
        TRY(buffer_text(text, "\n"));
    return buffer_printf(text, "%s %s %s\n", role_name(pair->role), pair->public_text, pair->name);
}

/* ---- commands ---- */

static enum status make_folder(const char *folder, bool force)
{
    char path[FILE_PATH_MAX];
    TRY(file_path(path, "%s/store.key", folder));
    if (file_exists(path) && !force)
        return FAIL(STATUS_INVALID,
                    "%s exists: --force makes all keys new, and every process must then get the "
                    "new ones",
                    path);
    TRY(file_path(path, "%s/allow", folder));
    if (file_exists(path) && !force)
        return FAIL(STATUS_INVALID, "%s exists: --force makes all keys new", path);
    TRY(file_make_dirs(folder));
    if (chmod(folder, 0700) != 0)
        return FAIL(STATUS_IO, "chmod 700 %s: %s", folder, strerror(errno));
    return STATUS_OK;
}

enum status keys_new(const char *folder, bool force)
{
    TRY(make_folder(folder, force));
    struct buffer allow;
    char public_key[256];
    buffer_init(&allow, 0);
    enum status status;
    TRY_GOTO(out, buffer_text(&allow, "# role public-key name: these keys may connect to the "
                                      "store\n"));
    for (size_t i = 0; i < sizeof key_roles / sizeof key_roles[0]; i++) {
        struct key_pair pair;
        TRY_GOTO(out, make_key(folder, key_roles[i], role_name(key_roles[i]), &pair));
        if (key_roles[i] != ROLE_STORE) {
            TRY_GOTO(out, allow_line(&allow, &pair));
            continue;
        }
        snprintf(public_key, sizeof public_key,
                 "# public key of the store; every machine needs this file\nrole store\npublic "
                 "%s\n",
                 pair.public_text);
        TRY_GOTO(out, write_private(folder, "store.pub", public_key, strlen(public_key)));
    }
    status = write_private(folder, "allow", allow.bytes, allow.size);
out:
    buffer_free(&allow);
    return status;
}

/* A name is a file name and a word of a line. */
static enum status check_name(const char *name)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    if (name[0] == '\0' || name[0] == '.' || strlen(name) >= KEY_NAME_MAX - 1 ||
        name[strspn(name, letters)] != '\0')
        return FAIL(STATUS_INVALID,
                    "\"%.80s\" is no name of a key: at most %d letters, digits, '.', '_' and '-'",
                    name, KEY_NAME_MAX - 2);
    return STATUS_OK;
}

static enum status check_add(const char *folder, const char *role, const char *name,
                             enum role *found)
{
    char path[FILE_PATH_MAX];
    *found = ROLE_NONE;
    for (size_t i = 1; i < sizeof key_roles / sizeof key_roles[0]; i++)
        if (strcmp(role_name(key_roles[i]), role) == 0)
            *found = key_roles[i];
    if (*found == ROLE_NONE)
        return FAIL(STATUS_INVALID, "\"%.80s\" is no role: actor, learner, reward or control",
                    role);
    TRY(check_name(name));
    TRY(file_path(path, "%s/%s.key", folder, name));
    if (file_exists(path))
        return FAIL(STATUS_INVALID, "%s exists: choose another name, or remove it", path);
    return STATUS_OK;
}

enum status keys_add(const char *folder, const char *role, const char *name)
{
    enum role found;
    TRY(check_add(folder, role, name, &found));
    struct buffer allow;
    struct key_pair pair;
    buffer_init(&allow, 0);
    enum status status;
    TRY_GOTO(out, read_allow(folder, &allow));
    TRY_GOTO(out, make_key(folder, found, name, &pair));
    TRY_GOTO(out, allow_line(&allow, &pair));
    status = write_private(folder, "allow", allow.bytes, allow.size);
out:
    buffer_free(&allow);
    return status;
}

/* Copies the lines of `old` that are not `who`'s. */
static enum status without(struct buffer *old, const char *who, struct buffer *kept,
                           unsigned *count)
{
    const char *line = buffer_string(old);
    while (*line != '\0') {
        char role[16], key[64], name[KEY_NAME_MAX];
        const char *end = strchr(line, '\n');
        size_t size = end != NULL ? (size_t)(end - line) + 1 : strlen(line);
        char copy[512];
        snprintf(copy, sizeof copy, "%.*s", (int)size, line);
        int words = sscanf(copy, "%15s %63s %63s", role, key, name);
        bool his = words >= 2 && role[0] != '#' &&
                   (strcmp(key, who) == 0 || (words == 3 && strcmp(name, who) == 0));
        *count += his;
        if (!his)
            TRY(buffer_append(kept, line, size));
        line += size;
    }
    return STATUS_OK;
}

enum status keys_revoke(const char *folder, const char *who, unsigned *count)
{
    struct buffer old, kept;
    buffer_init(&old, 0);
    buffer_init(&kept, 0);
    *count = 0;
    enum status status;
    TRY_GOTO(out, read_allow(folder, &old));
    TRY_GOTO(out, without(&old, who, &kept, count));
    if (*count == 0)
        status = FAIL(STATUS_NOT_FOUND,
                      "%s/allow has no key \"%.80s\": `weir keys show %s` lists "
                      "them",
                      folder, who, folder);
    else
        status = write_private(folder, "allow", kept.bytes, kept.size);
out:
    buffer_free(&old);
    buffer_free(&kept);
    return status;
}

enum status keys_show(const char *folder, struct buffer *text)
{
    char store[KEY_TEXT_MAX];
    struct buffer allow;
    TRY(key_store_public(folder, store));
    TRY(buffer_printf(text, "store %s\n", store));
    buffer_init(&allow, 0);
    enum status status = read_allow(folder, &allow);
    const char *line = buffer_string(&allow);
    while (status == STATUS_OK && *line != '\0') {
        const char *end = strchr(line, '\n');
        size_t size = end != NULL ? (size_t)(end - line) + 1 : strlen(line);
        if (line[0] != '#')
            status = buffer_append(text, line, size);
        line += size;
    }
    buffer_free(&allow);
    return status;
}
