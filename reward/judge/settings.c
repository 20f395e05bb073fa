#include "reward/judge/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/checksum.h"
#include "core/memory.h"
#include "reward/judge/prompts.h"

static enum status copy_text(const json_t *value, const char *key, char *to, size_t size)
{
    if (!json_is_string(value))
        return FAIL(STATUS_INVALID, "judge.%s must be a text", key);
    if (json_string_length(value) >= size)
        return FAIL(STATUS_INVALID, "judge.%s is longer than %zu bytes", key, size - 1);
    snprintf(to, size, "%s", json_string_value(value));
    return STATUS_OK;
}

static enum status number_of(const json_t *value, const char *key, double least, double most,
                             double *number)
{
    if (!json_is_number(value) || !(json_number_value(value) >= least) ||
        !(json_number_value(value) <= most))
        return FAIL(STATUS_INVALID, "judge.%s must be a number from %g to %g", key, least, most);
    *number = json_number_value(value);
    return STATUS_OK;
}

/* ---- the key ---- */

/* A header must not be split by it, and what is not printable is a mistake. */
static enum status check_key(const char *key, const char *source)
{
    if (key[0] == '\0')
        return FAIL(STATUS_INVALID, "the API key from %s is empty", source);
    for (const char *at = key; *at != '\0'; at++)
        if (*at <= 0x20 || *at >= 0x7f)
            return FAIL(STATUS_INVALID, "the API key from %s has a character that is none of a key",
                        source);
    return STATUS_OK;
}

static enum status key_from_environment(const char *name, char *key)
{
    const char *value = getenv(name);
    if (value == NULL)
        return FAIL(STATUS_INVALID, "judge.api_key_env: the variable %s is not set", name);
    if (strlen(value) >= JUDGE_KEY_MAX)
        return FAIL(STATUS_INVALID, "the API key from %s is too long", name);
    snprintf(key, JUDGE_KEY_MAX, "%s", value);
    return check_key(key, name);
}

static enum status key_from_file(const char *path, char *key)
{
    struct stat stat;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return FAIL(STATUS_INVALID, "judge.api_key_file %s: %s", path, strerror(errno));
    bool safe = fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode) && (stat.st_mode & 077) == 0 &&
                (stat.st_uid == geteuid() || stat.st_uid == 0);
    ssize_t size = safe ? read(fd, key, JUDGE_KEY_MAX - 1) : 0;
    close(fd);
    if (!safe)
        return FAIL(STATUS_INVALID,
                    "judge.api_key_file %s must be ours and for nobody else: chmod 600", path);
    key[size > 0 ? size : 0] = '\0';
    key[strcspn(key, "\r\n")] = '\0';
    return check_key(key, path);
}

/* ---- the address ---- */

static bool is_loopback(const char *host, size_t size)
{
    static const char *const names[] = {"localhost", "[::1]", "::1"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strlen(names[i]) == size && strncmp(host, names[i], size) == 0)
            return true;
    return size > 4 && strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") >= size;
}

static enum status read_address(struct judge_settings *settings, const char *base,
                                bool plain_allowed)
{
    bool plain = strncmp(base, "http://", 7) == 0, tls = strncmp(base, "https://", 8) == 0;
    const char *host = base + (tls ? 8 : 7);
    if ((!plain && !tls) || *host == '\0' || strpbrk(base, " \r\n\t@?#") != NULL)
        return FAIL(STATUS_INVALID,
                    "judge.base_url must be http://host[:port]/v1 or https://..., without a user, "
                    "a query or blanks");
    size_t size = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/");
    settings->loopback = is_loopback(host, size);
    if (plain && !settings->loopback && settings->key[0] != '\0' && !plain_allowed)
        return FAIL(
            STATUS_INVALID,
            "judge.base_url is plain http to another machine and would show the API key; use "
            "https, or set judge.allow_plain_http");
    size_t length = strlen(base);
    while (length > 0 && base[length - 1] == '/')
        length--;
    return file_path(settings->url, "%.*s/chat/completions", (int)length, base);
}

/* ---- the object ---- */

struct texts {
    char base[FILE_PATH_MAX - 32], key_env[256], key_file[FILE_PATH_MAX];
    bool plain_allowed;
};

static enum status read_number(struct judge_settings *settings, const char *key,
                               const json_t *value, bool *known)
{
    *known = true;
#define ROW(type, name, fallback, least, most, meaning) \
    if (strcmp(key, #name) == 0)                        \
        return number_of(value, key, least, most, &settings->name);
    JUDGE_NUMBERS(ROW)
#undef ROW
    *known = false;
    return STATUS_OK;
}

static enum status read_seed(struct judge_settings *settings, const json_t *value)
{
    settings->has_seed = !json_is_null(value);
    if (settings->has_seed && !json_is_integer(value))
        return FAIL(STATUS_INVALID, "judge.seed must be a whole number or null");
    settings->seed = json_integer_value(value);
    return STATUS_OK;
}

static enum status read_extra(struct judge_settings *settings, const json_t *value)
{
    static const char *const ours[] = {"model", "messages", "stream", "n"};
    if (!json_is_object(value))
        return FAIL(STATUS_INVALID, "judge.extra must be an object");
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (json_object_get(value, ours[i]) != NULL)
            return FAIL(STATUS_INVALID, "judge.extra must not set %s", ours[i]);
    settings->extra = json_deep_copy(value);
    return settings->extra != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "judge.extra");
}

static enum status read_flag(const json_t *value, const char *key, bool *flag)
{
    if (!json_is_boolean(value))
        return FAIL(STATUS_INVALID, "judge.%s must be true or false", key);
    *flag = json_is_true(value);
    return STATUS_OK;
}

static enum status read_member(struct judge_settings *settings, struct texts *texts,
                               const char *key, const json_t *value)
{
    bool known;
    if (strcmp(key, "base_url") == 0)
        return copy_text(value, key, texts->base, sizeof texts->base);
    if (strcmp(key, "model") == 0)
        return copy_text(value, key, settings->model, sizeof settings->model);
    if (strcmp(key, "api_key_env") == 0)
        return copy_text(value, key, texts->key_env, sizeof texts->key_env);
    if (strcmp(key, "api_key_file") == 0)
        return copy_text(value, key, texts->key_file, sizeof texts->key_file);
    if (strcmp(key, "cache") == 0)
        return copy_text(value, key, settings->cache, sizeof settings->cache);
    if (strcmp(key, "seed") == 0)
        return read_seed(settings, value);
    if (strcmp(key, "extra") == 0)
        return read_extra(settings, value);
    if (strcmp(key, "allow_plain_http") == 0)
        return read_flag(value, key, &texts->plain_allowed);
    if (strcmp(key, "wait_when_down") == 0)
        return read_flag(value, key, &settings->wait_when_down);
    if (strcmp(key, "api_key") == 0)
        return FAIL(STATUS_INVALID,
                    "judge.api_key: a key does not belong into a recipe; name its variable in "
                    "judge.api_key_env or its file in judge.api_key_file");
    TRY(read_number(settings, key, value, &known));
    return known ? STATUS_OK : FAIL(STATUS_INVALID, "judge.%s is not known", key);
}

enum status judge_settings_read(struct judge_settings *settings, const json_t *config)
{
    struct texts texts = {0};
    const char *key;
    json_t *value;
    *settings = (struct judge_settings){.has_seed = true, .wait_when_down = true};
#define ROW(type, name, fallback, least, most, meaning) settings->name = fallback;
    JUDGE_NUMBERS(ROW)
#undef ROW
    if (!json_is_object(config))
        return FAIL(STATUS_INVALID, "\"judge\" must be an object with base_url and model");
    json_object_foreach((json_t *)(uintptr_t)config, key, value)
        TRY(read_member(settings, &texts, key, value));
    if (texts.base[0] == '\0' || settings->model[0] == '\0')
        return FAIL(STATUS_INVALID, "\"judge\" needs base_url and model");
    if (texts.key_env[0] != '\0' && texts.key_file[0] != '\0')
        return FAIL(STATUS_INVALID, "give judge.api_key_env or judge.api_key_file, not both");
    if (texts.key_env[0] != '\0')
        TRY(key_from_environment(texts.key_env, settings->key));
    if (texts.key_file[0] != '\0')
        TRY(key_from_file(texts.key_file, settings->key));
    return read_address(settings, texts.base, texts.plain_allowed);
}

void judge_settings_clear(struct judge_settings *settings)
{
    json_decref(settings->extra);
    explicit_bzero(settings, sizeof *settings);
}

void judge_settings_version(const struct judge_settings *settings, char version[JUDGE_VERSION_SIZE])
{
    char numbers[128];
    char *extra =
        settings->extra != NULL ? json_dumps(settings->extra, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    uint64_t hash = hash64(settings->model, strlen(settings->model), 1);
    hash = hash64(prompts_words(), strlen(prompts_words()), hash);
    int length = snprintf(numbers, sizeof numbers, "%g %g %d %" PRId64, settings->temperature,
                          settings->max_tokens, settings->has_seed, settings->seed);
    hash = hash64(numbers, (size_t)length, hash);
    if (extra != NULL)
        hash = hash64(extra, strlen(extra), hash);
    free(extra); /* lint: allow(free): jansson's buffer */
    snprintf(version, JUDGE_VERSION_SIZE, "%016" PRIx64, hash);
}
