#include "ops/dash/token.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TOKEN_BYTES = 32 };

/* RFC 4648 part 5, without padding. */
static size_t write_base64(const uint8_t *bytes, size_t size, char *out)
{
    static const char signs[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t made = 0;
    uint32_t bits = 0;
    int have = 0;
    for (size_t i = 0; i < size; i++) {
        bits = bits << 8 | bytes[i];
        for (have += 8; have >= 6; have -= 6)
            out[made++] = signs[bits >> (have - 6) & 63];
    }
    if (have > 0)
        out[made++] = signs[bits << (6 - have) & 63];
    return made;
}

static enum status make(const char *path)
{
    uint8_t random[TOKEN_BYTES];
    char text[2 * TOKEN_BYTES];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return FAIL(STATUS_IO, "getrandom: %s", strerror(errno));
    size_t size = write_base64(random, sizeof random, text);
    text[size++] = '\n';
    char made[FILE_PATH_MAX];
    TRY(file_path(made, "%s.XXXXXX", path));
    int fd = mkostemp(made, O_CLOEXEC); /* 0600 */
    if (fd < 0)
        return FAIL(STATUS_IO, "%s: %s", made, strerror(errno));
    enum status status = file_write_all(fd, text, size, made);
    close(fd);
    /* Whole or not there; EEXIST: another one was faster. */
    if (status == STATUS_OK && link(made, path) != 0 && errno != EEXIST)
        status = FAIL(STATUS_IO, "%s: %s", path, strerror(errno));
    (void)unlink(made);
    return status;
}

enum status token_read(const char *token_file, const char *folder, char token[ACCESS_TOKEN_MAX])
{
    char path[FILE_PATH_MAX], text[ACCESS_TOKEN_MAX];
    struct stat info;
    if (token_file[0] != 0)
        TRY(file_path(path, "%s", token_file));
    else
        TRY(file_path(path, "%s/dash.token", folder));
    if (token_file[0] == 0 && !file_exists(path))
        TRY(make(path));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    int error = errno;
    bool open_to_all =
        fd >= 0 && fstat(fd, &info) == 0 && (info.st_mode & (S_IRWXG | S_IRWXO)) != 0;
    if (fd >= 0)
        close(fd);
    if (got < 0)
        return FAIL(STATUS_IO, "%s: %s", path, strerror(error));
    if (open_to_all)
        return FAIL(STATUS_INVALID, "%s may be read by others: chmod 600 it", path);
    text[got] = 0;
    text[strcspn(text, "\r\n")] = 0;
    if (strlen(text) < ACCESS_TOKEN_LEAST || text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                               "abcdefghijklmnopqrstuvwxyz"
                                                               "0123456789-_.~+/=")] != 0)
        return FAIL(STATUS_INVALID,
                    "%s: a token is one line of at least %d letters, digits and -_.~+/=", path,
                    ACCESS_TOKEN_LEAST);
    memcpy(token, text, strlen(text) + 1);
    return STATUS_OK;
}
