/* reward/plugins/gsm8k.c - GSM8K's answer format, and the plugin to copy for a task of your own.
 *
 * The data's answer ends in "#### 72"; a response is right when the number after its last "####" is the same
 * number. Commas and a leading $ are ignored, 72.0 equals 72. Config: {"format_score": 0.0} is the score of a
 * wrong answer in the right format. Metrics: formatted.
 *
 * What a plugin does: answer `query` with its table, keep what `create` parsed in an instance, and call `done`
 * exactly once for each item of `submit` - here at once; a plugin that waits for others may do it later, from
 * any thread, before the item's deadline. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reward/weir_reward.h"

struct gsm8k {
    double format_score;
};

static int create(const char *config_json, const weir_reward_host *host, void **instance, char *err,
                  size_t errlen)
{
    (void)host;
    json_error_t error;
    json_t *config = json_loads(config_json, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(config)) {
        snprintf(err, errlen, "not a JSON object: %s",
                 config == NULL ? error.text : "another type");
        json_decref(config);
        return EINVAL;
    }
    struct gsm8k *self = calloc(1, sizeof *self);
    const json_t *format_score = json_object_get(config, "format_score");
    int known = format_score == NULL ? 0 : 1;
    int code = self == NULL ? ENOMEM : 0;
    if (code == 0 &&
        (json_object_size(config) != (size_t)known || (known && !json_is_number(format_score)))) {
        snprintf(err, errlen, "the only key is \"format_score\", a number");
        code = EINVAL;
    }
    if (code == 0)
        self->format_score = known ? json_number_value(format_score) : 0;
    else
        free(self);
    json_decref(config);
    if (code == 0)
        *instance = self;
    return code;
}

/* The number after the last "####" of text; 0 when there is none. */
static int final_number(const char *text, size_t size, double *number)
{
    size_t at = size;
    while (at >= 4 && memcmp(text + at - 4, "####", 4) != 0)
        at--;
    if (at < 4)
        return 0;
    char digits[64];
    size_t n = 0;
    for (; at < size && (text[at] == ' ' || text[at] == '$'); at++)
        ;
    for (; at < size && n + 1 < sizeof digits && strchr("+-.0123456789,", text[at]) != NULL &&
           text[at] != '\0';
         at++)
        if (text[at] != ',')
            digits[n++] = text[at];
    if (n + 1 == sizeof digits) /* longer than any answer: not cut to another number */
        return 0;
    while (n > 0 && digits[n - 1] == '.') /* the end of a sentence */
        n--;
    digits[n] = '\0';
    char *end = NULL;
    *number = strtod(digits, &end);
    return n > 0 && *end == '\0' && isfinite(*number);
}

static int submit(void *instance, const weir_reward_item *items, uint32_t n,
                  weir_reward_done_fn done, void *user)
{
    const struct gsm8k *self = instance;
    for (uint32_t i = 0; i < n; i++) {
        double truth = 0, answer = 0;
        /* the ground truth is a JSON value: a string "... #### 72" or "72", or a number */
        json_t *value = json_loadb(items[i].ground_truth_json.ptr, items[i].ground_truth_json.len,
                                   JSON_DECODE_ANY, NULL);
        int known = json_is_number(value);
        if (known)
            truth = json_number_value(value);
        else if (json_is_string(value)) {
            char text[80];
            const char *string = json_string_value(value);
            known = final_number(string, strlen(string), &truth);
            if (!known && strlen(string) < sizeof text - 5)
                known = final_number(text, (size_t)snprintf(text, sizeof text, "####%s", string),
                                     &truth);
        }
        json_decref(value);
        int formatted = final_number(items[i].response.ptr, items[i].response.len, &answer);
        weir_reward_metric metric = {{"formatted", 9}, formatted};
        weir_reward_result result = {.struct_size = sizeof result,
                                     .status = known ? WEIR_REWARD_OK : WEIR_REWARD_UNSCORABLE,
                                     .item_id = items[i].item_id,
                                     .score = !formatted        ? 0
                                              : answer == truth ? 1
                                                                : self->format_score,
                                     .n_metrics = 1,
                                     .metrics = &metric};
        done(user, &result, 1);
    }
    return 0;
}

static void destroy(void *instance)
{
    free(instance);
}

const weir_reward_plugin *weir_reward_query(uint32_t host_major, uint32_t host_minor)
{
    static const weir_reward_plugin plugin = {.struct_size = sizeof plugin,
                                              .abi_major = WEIR_REWARD_ABI_MAJOR,
                                              .abi_minor = WEIR_REWARD_ABI_MINOR,
                                              .name = "gsm8k",
                                              .version = "1.0",
                                              .caps = WEIR_REWARD_CAP_BATCH |
                                                      WEIR_REWARD_CAP_THREADSAFE,
                                              .create = create,
                                              .submit = submit,
                                              .destroy = destroy};
    (void)host_minor;
    return host_major == WEIR_REWARD_ABI_MAJOR ? &plugin : NULL;
}
