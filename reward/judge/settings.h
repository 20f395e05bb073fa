/* reward/judge/settings.h - the object "judge" of a configuration: where the judge is and how it is asked.
 * docs/judge.md has every key. Read-only after judge_settings_read. */
#ifndef REWARD_JUDGE_SETTINGS_H
#define REWARD_JUDGE_SETTINGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/file.h"
#include "core/status.h"

enum { JUDGE_KEY_MAX = 1024 };

// clang-format off
/*      type    name                default min  max    meaning */
#define JUDGE_NUMBERS(ROW) \
    ROW(double, temperature,        0,      0,   100,   "of one judgment; blind ones are asked at 1") \
    ROW(double, max_tokens,         2048,   1,   1e6,   "of one answer") \
    ROW(double, timeout_ms,         120000, 1,   3.6e6, "of one attempt") \
    ROW(double, connect_timeout_ms, 10000,  1,   3.6e6, "of a connection") \
    ROW(double, retries,            4,      0,   100,   "further attempts after a failed one") \
    ROW(double, backoff_ms,         500,    0,   6e5,   "pause before the first retry; doubles, with jitter") \
    ROW(double, backoff_max_ms,     20000,  0,   6e5,   "no pause is longer, unless the server asks for it") \
    ROW(double, concurrency,        32,     1,   1024,  "requests at a time") \
    ROW(double, queue_max,          65536,  1,   1e7,   "requests that wait") \
    ROW(double, body_bytes_max,     4194304,1024,268435456, "of an answer") \
    ROW(double, down_after,         8,      1,   1e6,   "failed attempts in a row after which the judge is down") \
    ROW(double, down_ms,            5000,   1,   3.6e6, "then nobody asks for so long; after it one request probes") \
    ROW(double, cache_bytes_max,    1073741824, 65536, 1e13, "of the folder of answers") \
    ROW(double, price_prompt,       0,      0,   1e9,   "of a million prompt tokens") \
    ROW(double, price_completion,   0,      0,   1e9,   "of a million completion tokens")
// clang-format on

struct judge_settings {
    char url[FILE_PATH_MAX]; /* base_url and /chat/completions */
    char model[256];
    char key[JUDGE_KEY_MAX];   /* secret: never in a log, an error or the cache; "" is none */
    char cache[FILE_PATH_MAX]; /* folder, "" is none */
    bool loopback;             /* no proxy */
    bool wait_when_down; /* hold requests until their deadline instead of failing them at once */
    bool has_seed;       /* true unless "seed" is null */
    int64_t seed;
    json_t *extra; /* members added to each request's body, or NULL; owned */
#define ROW(type, name, value, least, most, meaning) type name;
    JUDGE_NUMBERS(ROW)
#undef ROW
};

/* Zeroed settings in. INVALID names the key. `judge_settings_clear` also after a failure. */
MUST_CHECK enum status judge_settings_read(struct judge_settings *settings, const json_t *config);
void judge_settings_clear(struct judge_settings *settings);

/* Identity of the judge: model, prompts and what changes its answers; 16 hex digits. Not: address, key, times, prices. */
enum { JUDGE_VERSION_SIZE = 17 };
void judge_settings_version(const struct judge_settings *settings,
                            char version[JUDGE_VERSION_SIZE]);

#endif
