/* transport/keys.c - reading: key files and the allow list. transport/keys_folder.c writes them. */
#include "transport/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "core/file.h"
#include "core/memory.h"
#include "transport/socket.h"

enum { KEY_FILE_BYTES = 4096, ALLOW_FILE_BYTES = ALLOWED_MAX * 256 };

void key_pair_wipe(struct key_pair *pair)
{
    explicit_bzero(pair, sizeof *pair);
}

/* ---- files that nobody else could have touched ---- */

/* `others`: permission bits of group and world that the file must not have. */
static enum status check_file(const char *path, const struct stat *file, mode_t others)
{
    if (!S_ISREG(file->st_mode))
        return FAIL(STATUS_INVALID, "%s is no regular file: make keys with `weir keys new`", path);
    if (file->st_uid != geteuid() && file->st_uid != 0)
        return FAIL(STATUS_INVALID,
                    "%s (mode %04o) belongs to user %u, this process runs as %u: chown it, or copy "
                    "it as this user",
                    path, file->st_mode & 07777u, file->st_uid, geteuid());
    if ((file->st_mode & others) != 0)
        return FAIL(STATUS_INVALID,
                    "%s has mode %04o, so other users may %s it: chmod 600 %s (and make new keys "
                    "when somebody else uses this machine)",
                    path, file->st_mode & 07777u, (file->st_mode & others & 022) ? "write" : "read",
                    path);
    return STATUS_OK;
}

/* The file as text into text[size]. */
static enum status read_checked(const char *path, mode_t others, char *text, size_t size,
                                struct stat *file)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return FAIL(STATUS_NOT_FOUND,
                    "%s is missing: make keys with `weir keys new FOLDER`, or copy it from the "
                    "store's folder",
                    path);
    if (fd < 0)
        return FAIL(STATUS_IO, "open %s: %s", path, strerror(errno));
    size_t got = 0;
    enum status status =
        fstat(fd, file) == 0 ? STATUS_OK : FAIL(STATUS_IO, "fstat %s: %s", path, strerror(errno));
    if (status == STATUS_OK)
        status = check_file(path, file, others);
    while (status == STATUS_OK && got < size) {
        ssize_t n = read(fd, text + got, size - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            status = FAIL(STATUS_IO, "read %s: %s", path, strerror(errno));
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    if (status == STATUS_OK && got == size)
        status = FAIL(STATUS_LIMIT, "%s has more than %zu bytes", path, size - 1);
    text[got < size ? got : size - 1] = '\0';
    if (status == STATUS_OK && strlen(text) != got)
        status = FAIL(STATUS_INVALID, "%s is no text", path);
    close(fd);
    return status;
}

/* ---- text ---- */

static enum role role_of(const char *name)
{
    for (int role = ROLE_STORE; role < ROLE_COUNT; role++)
        if (strcmp(role_name((enum role)role), name) == 0)
            return (enum role)role;
    return ROLE_NONE;
}

static bool good_key(const char *text)
{
    uint8_t bytes[32];
    bool good = strlen(text) == KEY_TEXT_MAX - 1 && zmq_z85_decode(bytes, text) != NULL;
    explicit_bzero(bytes, sizeof bytes);
    return good;
}

/* Ends the line at *text and moves on; NULL at the end. */
static char *next_line(char **text)
{
    char *line = *text;
    if (line == NULL || *line == '\0')
        return NULL;
    char *end = strchr(line, '\n');
    *text = end != NULL ? end + 1 : NULL;
    if (end != NULL)
        *end = '\0';
    return line;
}

/* Ends the word at *line and moves on; "" at the end. */
static char *next_word(char **line)
{
    char *word = *line + strspn(*line, " \t\r");
    size_t size = strcspn(word, " \t\r");
    *line = word + size;
    if (**line != '\0')
        *(*line)++ = '\0';
    return word;
}

/* Not one character of a bad value is repeated: it may be a secret in the wrong place. */
static enum status parse_key(const char *path, char *text, struct key_pair *pair)
{
    char *line;
    for (int number = 1; (line = next_line(&text)) != NULL; number++) {
        char *word = next_word(&line), *value = next_word(&line);
        if (word[0] == '\0' || word[0] == '#')
            continue;
        if (strcmp(word, "role") == 0)
            pair->role = role_of(value);
        else if (strcmp(word, "name") == 0)
            snprintf(pair->name, sizeof pair->name, "%s", value);
        else if (strcmp(word, "public") == 0 && good_key(value))
            memcpy(pair->public_text, value, KEY_TEXT_MAX);
        else if (strcmp(word, "secret") == 0 && good_key(value))
            memcpy(pair->secret_text, value, KEY_TEXT_MAX);
        else
            return FAIL(STATUS_INVALID, "%s: line %d is no line of a key: make a new one", path,
                        number);
    }
    if (pair->public_text[0] == '\0' || pair->role == ROLE_NONE)
        return FAIL(STATUS_INVALID, "%s lacks its role or its public key: make a new one", path);
    return STATUS_OK;
}

enum status key_pair_read(const char *folder, const char *name, struct key_pair *pair)
{
    char path[FILE_PATH_MAX], text[KEY_FILE_BYTES], public_text[KEY_TEXT_MAX];
    struct stat file;
    TRY(file_path(path, "%s/%s.key", folder, name));
    memset(pair, 0, sizeof *pair);
    enum status status = read_checked(path, 077, text, sizeof text, &file);
    if (status == STATUS_OK)
        status = parse_key(path, text, pair);
    if (status == STATUS_OK &&
        (pair->secret_text[0] == '\0' || zmq_curve_public(public_text, pair->secret_text) != 0 ||
         strcmp(public_text, pair->public_text) != 0))
        status =
            FAIL(STATUS_INVALID,
                 "%s: its secret and its public key do not belong together: make a new one", path);
    explicit_bzero(text, sizeof text);
    if (status != STATUS_OK)
        key_pair_wipe(pair);
    return status;
}

enum status key_store_public(const char *folder, char public_text[KEY_TEXT_MAX])
{
    char path[FILE_PATH_MAX], text[KEY_FILE_BYTES];
    struct stat file;
    struct key_pair pair = {0};
    TRY(file_path(path, "%s/store.pub", folder));
    TRY(read_checked(path, 022, text, sizeof text, &file));
    enum status status = parse_key(path, text, &pair);
    if (status == STATUS_OK && pair.role != ROLE_STORE)
        status =
            FAIL(STATUS_INVALID, "%s is of role %s, not of the store", path, role_name(pair.role));
    if (status == STATUS_OK)
        memcpy(public_text, pair.public_text, KEY_TEXT_MAX);
    key_pair_wipe(&pair);
    explicit_bzero(text, sizeof text);
    return status;
}

/* ---- the allow list ---- */

struct allow {
    char path[FILE_PATH_MAX];
    struct stat file; /* what was read; st_ino 0: nothing yet */
    char *text;       /* [ALLOW_FILE_BYTES] */
    struct allowed *list;
    size_t count;
};

static enum status parse_allow(struct allow *allow)
{
    char *text = allow->text, *line;
    size_t count = 0;
    for (int number = 1; (line = next_line(&text)) != NULL; number++) {
        char *role = next_word(&line), *key = next_word(&line), *name = next_word(&line);
        if (role[0] == '\0' || role[0] == '#')
            continue;
        struct allowed *entry = &allow->list[count];
        entry->role = role_of(role);
        if (entry->role == ROLE_NONE || entry->role == ROLE_STORE)
            return FAIL(STATUS_INVALID,
                        "%s:%d: a line begins with actor, learner, reward or control", allow->path,
                        number);
        if (!good_key(key))
            return FAIL(STATUS_INVALID,
                        "%s:%d: after the role stands a public key of 40 characters", allow->path,
                        number);
        if (++count == ALLOWED_MAX)
            return FAIL(STATUS_LIMIT, "%s allows more than %d keys", allow->path, ALLOWED_MAX - 1);
        memcpy(entry->public_text, key, KEY_TEXT_MAX);
        snprintf(entry->name, sizeof entry->name, "%s", name[0] != '\0' ? name : "unnamed");
    }
    allow->count = count;
    return STATUS_OK;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mode == b->st_mode && a->st_uid == b->st_uid &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

enum status allow_refresh(struct allow *allow)
{
    struct stat now;
    if (stat(allow->path, &now) == 0 && same_file(&now, &allow->file))
        return STATUS_OK;
    allow->count = 0;
    memset(&allow->file, 0, sizeof allow->file);
    TRY(read_checked(allow->path, 022, allow->text, ALLOW_FILE_BYTES, &now));
    TRY(parse_allow(allow));
    allow->file = now;
    return STATUS_OK;
}

enum status allow_open(struct allow **allow, const char *folder)
{
    struct allow *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "allow list of %s", folder);
    enum status status = STATUS_OK;
    made->text = memory_alloc(ALLOW_FILE_BYTES);
    made->list = memory_array(ALLOWED_MAX, sizeof *made->list);
    if (made->text == NULL || made->list == NULL)
        status = FAIL(STATUS_NO_MEMORY, "allow list of %s", folder);
    if (status == STATUS_OK)
        status = file_path(made->path, "%s/allow", folder);
    if (status == STATUS_OK)
        status = allow_refresh(made);
    if (status != STATUS_OK)
        allow_close(&made);
    else
        *allow = made;
    return status;
}

void allow_close(struct allow **allow)
{
    if (*allow == NULL)
        return;
    memory_free((*allow)->text);
    memory_free((*allow)->list);
    memory_free(*allow);
    *allow = NULL;
}

const struct allowed *allow_find(const struct allow *allow, const char *public_text)
{
    for (size_t i = 0; i < allow->count; i++)
        if (strcmp(allow->list[i].public_text, public_text) == 0)
            return &allow->list[i];
    return NULL;
}
