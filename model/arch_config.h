/* model/arch_config.h - reading one config.json, for the files that describe architectures.
 *
 * Every reader names file, key and value when something is off, and leaves *out alone when an OPTIONAL key is absent
 * or null. Keys are those of the object itself; `inside` opens an object within it under the same file name. */
#ifndef MODEL_ARCH_CONFIG_H
#define MODEL_ARCH_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

struct arch_config {
    const char *path;
    json_t *root;
};

enum need { OPTIONAL, REQUIRED };

MUST_CHECK enum status config_open(struct arch_config *config, const char *path);
void config_close(struct arch_config *config);

/* NULL: absent or null. */
const json_t *config_get(const struct arch_config *config, const char *key);
/* INVALID: "key" is <value>, wanted <wanted>. */
MUST_CHECK enum status config_fail_value(const struct arch_config *config, const char *key,
                                         const char *wanted);
/* UNSUPPORTED: "key" = <value> is not supported; <advice>. */
MUST_CHECK enum status config_fail_feature(const struct arch_config *config, const char *key,
                                           const char *advice);

MUST_CHECK enum status config_int(const struct arch_config *config, const char *key, enum need need,
                                  int64_t low, int64_t high, int64_t *out);
MUST_CHECK enum status config_i32(const struct arch_config *config, const char *key, enum need need,
                                  int32_t low, int32_t high, int32_t *out);
MUST_CHECK enum status config_real(const struct arch_config *config, const char *key,
                                   enum need need, double low, double high, double *out);
MUST_CHECK enum status config_bool(const struct arch_config *config, const char *key, bool *out);
/* Must be there; *out lives as long as the config. */
MUST_CHECK enum status config_text(const struct arch_config *config, const char *key,
                                   const char **out);
/* A switch that must be absent, null or false. */
MUST_CHECK enum status config_refuse_true(const struct arch_config *config, const char *key,
                                          const char *advice);
/* A number that must be absent, null or `neutral`. */
MUST_CHECK enum status config_refuse_other(const struct arch_config *config, const char *key,
                                           double neutral, const char *advice);

#endif
