/* model/arch_config.c - see arch_config.h. */
#include "model/arch_config.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "core/buffer.h"
#include "core/file.h"

const json_t *config_get(const struct arch_config *config, const char *key)
{
    const json_t *value = json_object_get(config->root, key);
    return json_is_null(value) ? NULL : value;
}

enum status config_fail_value(const struct arch_config *config, const char *key, const char *wanted)
{
    char text[128] = "(absent)";
    const json_t *value = json_object_get(config->root, key);
    if (value != NULL) {
        size_t size = json_dumpb(value, text, sizeof text - 1, JSON_ENCODE_ANY | JSON_COMPACT);
        if (size > sizeof text - 1)
            (void)snprintf(text, sizeof text, "(%zu bytes of JSON)", size);
        else
            text[size] = '\0';
    }
    return FAIL(STATUS_INVALID, "%s: \"%s\" is %s, wanted %s", config->path, key, text, wanted);
}

enum status config_fail_feature(const struct arch_config *config, const char *key,
                                const char *advice)
{
    char text[128];
    size_t size = json_dumpb(json_object_get(config->root, key), text, sizeof text - 1,
                             JSON_ENCODE_ANY | JSON_COMPACT);
    text[size < sizeof text ? size : 0] = '\0';
    return FAIL(STATUS_UNSUPPORTED, "%s: \"%s\" = %s is not supported; %s", config->path, key, text,
                advice);
}

enum status config_int(const struct arch_config *config, const char *key, enum need need,
                       int64_t low, int64_t high, int64_t *out)
{
    const json_t *value = config_get(config, key);
    if (value == NULL && need == OPTIONAL)
        return STATUS_OK;
    char wanted[80];
    (void)snprintf(wanted, sizeof wanted, "an integer in [%" PRId64 ", %" PRId64 "]", low, high);
    if (!json_is_integer(value))
        return config_fail_value(config, key, wanted);
    int64_t number = json_integer_value(value);
    if (number < low || number > high)
        return config_fail_value(config, key, wanted);
    *out = number;
    return STATUS_OK;
}

enum status config_i32(const struct arch_config *config, const char *key, enum need need,
                       int32_t low, int32_t high, int32_t *out)
{
    int64_t number = *out;
    TRY(config_int(config, key, need, low, high, &number));
    *out = (int32_t)number;
    return STATUS_OK;
}

enum status config_real(const struct arch_config *config, const char *key, enum need need,
                        double low, double high, double *out)
{
    const json_t *value = config_get(config, key);
    if (value == NULL && need == OPTIONAL)
        return STATUS_OK;
    double number = json_is_number(value) ? json_number_value(value) : NAN;
    if (!(number >= low && number <= high)) {
        char wanted[80];
        (void)snprintf(wanted, sizeof wanted, "a number in [%g, %g]", low, high);
        return config_fail_value(config, key, wanted);
    }
    *out = number;
    return STATUS_OK;
}

enum status config_bool(const struct arch_config *config, const char *key, bool *out)
{
    const json_t *value = config_get(config, key);
    if (value == NULL)
        return STATUS_OK;
    if (!json_is_boolean(value))
        return config_fail_value(config, key, "true or false");
    *out = json_is_true(value);
    return STATUS_OK;
}

enum status config_text(const struct arch_config *config, const char *key, const char **out)
{
    const json_t *value = config_get(config, key);
    if (!json_is_string(value))
        return config_fail_value(config, key, "a string");
    *out = json_string_value(value);
    return STATUS_OK;
}

enum status config_refuse_true(const struct arch_config *config, const char *key,
                               const char *advice)
{
    bool on = false;
    TRY(config_bool(config, key, &on));
    return on ? config_fail_feature(config, key, advice) : STATUS_OK;
}

enum status config_refuse_other(const struct arch_config *config, const char *key, double neutral,
                                const char *advice)
{
    double number = neutral;
    TRY(config_real(config, key, OPTIONAL, -1e300, 1e300, &number));
    return number < neutral || number > neutral ? config_fail_feature(config, key, advice)
                                                : STATUS_OK;
}

static enum status parse(const char *path, const struct buffer *text, json_t **root)
{
    json_error_t error;
    json_t *value =
        json_loadb((const char *)text->bytes, text->size, JSON_REJECT_DUPLICATES, &error);
    if (value == NULL)
        return FAIL(STATUS_INVALID, "%s:%d: %s", path, error.line, error.text);
    if (!json_is_object(value)) {
        json_decref(value);
        return FAIL(STATUS_INVALID, "%s: no JSON object", path);
    }
    *root = value;
    return STATUS_OK;
}

enum status config_open(struct arch_config *config, const char *path)
{
    struct buffer text;
    buffer_init(&text, 16u << 20);
    config->path = path;
    config->root = NULL;
    enum status status = file_read(path, &text);
    if (status == STATUS_OK)
        status = parse(path, &text, &config->root);
    buffer_free(&text);
    return status;
}

void config_close(struct arch_config *config)
{
    json_decref(config->root);
    config->root = NULL;
}
