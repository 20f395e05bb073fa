/* Areas as plugins of the ABI: JSON in, a case for the area, metrics and detail out. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "reward/areas.h"

enum { METRICS_MAX = 64, GROUP_MAX = 65536 };

struct area_instance {
    const struct reward_area *area;
    struct reward_tools tools;
    void *instance;
};

static int refuse(char *why, size_t size, int code, const char *text)
{
    snprintf(why, size, "%s", text);
    return code;
}

static int create(const struct reward_area *area, const char *config_json, void **out, char *why,
                  size_t size)
{
    json_error_t error;
    json_t *config = json_loads(config_json, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(config)) {
        json_decref(config);
        return refuse(why, size, EINVAL,
                      config == NULL ? error.text : "reward.config is not an object");
    }
    struct area_instance *self = memory_alloc(sizeof *self);
    int code = self == NULL ? refuse(why, size, ENOMEM, "no memory") : 0;
    if (code == 0)
        self->area = area;
    if (code == 0 && reward_tools_open(&self->tools, area->needs, config) != STATUS_OK)
        code = refuse(why, size, EINVAL, status_sentence(status_last_error()));
    if (code == 0 && reward_area_create(area, config, &self->tools, &self->instance) != STATUS_OK)
        code = refuse(why, size, EINVAL, status_sentence(status_last_error()));
    json_decref(config);
    if (code != 0 && self != NULL) {
        reward_tools_close(&self->tools);
        memory_free(self);
        return code;
    }
    *out = self;
    return code;
}

static void destroy(void *pointer)
{
    struct area_instance *self = pointer;
    if (self->area->destroy != NULL)
        self->area->destroy(self->instance);
    reward_tools_close(&self->tools);
    memory_free(self);
}

/* ---- one item ---- */

struct scored {
    struct reward_case input;
    struct reward_outcome outcome;
    json_t *row, *truth;   /* owned */
    char *response, *text; /* owned, with a NUL */
};

static char *text_of(weir_reward_str string)
{
    char *text = memory_alloc(string.len + 1);
    if (text != NULL && string.len > 0)
        memcpy(text, string.ptr, string.len);
    return text;
}

static bool open_item(struct scored *scored, const weir_reward_item *item)
{
    scored->row = json_loadb(item->extra_json.ptr, item->extra_json.len, 0, NULL);
    if (!json_is_object(scored->row)) {
        json_decref(scored->row);
        scored->row = json_object();
    }
    scored->truth =
        json_loadb(item->ground_truth_json.ptr, item->ground_truth_json.len, JSON_DECODE_ANY, NULL);
    scored->response = text_of(item->response);
    size_t prompt = item->prompt_text.len, source = item->data_source.len;
    scored->text = memory_alloc(prompt + source + 2);
    scored->outcome = (struct reward_outcome){
        .status = WEIR_REWARD_UNSCORABLE, .value = NAN, .fields = json_object()};
    if (scored->row == NULL || scored->response == NULL || scored->text == NULL ||
        scored->outcome.fields == NULL)
        return false;
    if (prompt > 0)
        memcpy(scored->text, item->prompt_text.ptr, prompt);
    if (source > 0)
        memcpy(scored->text + prompt + 1, item->data_source.ptr, source);
    scored->input = (struct reward_case){
        .row = scored->row,
        .truth = json_is_null(scored->truth) ? NULL : scored->truth,
        .response = scored->response,
        .response_size = item->response.len,
        .prompt = scored->text,
        .data_source = scored->text + prompt + 1,
        .finish_reason = item->finish_reason,
        .response_ids = item->response_ids,
        .response_tokens = item->n_response_ids,
        .deadline_ns = item->deadline_ns,
    };
    return true;
}

static void close_item(struct scored *scored)
{
    json_decref(scored->row);
    json_decref(scored->truth);
    json_decref(scored->outcome.fields);
    memory_free(scored->response);
    memory_free(scored->text);
}

/* Numbers and booleans are metrics; what is left is the detail. */
static uint32_t split_fields(json_t *fields, weir_reward_metric metrics[METRICS_MAX], char **detail)
{
    uint32_t count = 0;
    const char *key;
    json_t *value;
    json_t *rest = json_object();
    json_object_foreach(fields, key, value)
    {
        bool number = json_is_number(value) && isfinite(json_number_value(value));
        if ((number || json_is_boolean(value)) && count < METRICS_MAX)
            metrics[count++] = (weir_reward_metric){
                {key, strlen(key)}, number ? json_number_value(value) : json_is_true(value)};
        else
            json_object_set(rest, key, value);
    }
    *detail = json_object_size(rest) > 0 ? json_dumps(rest, JSON_COMPACT) : NULL;
    json_decref(rest);
    return count;
}

static void answer(const struct scored *scored, uint64_t item_id, weir_reward_done_fn done,
                   void *user)
{
    weir_reward_metric metrics[METRICS_MAX];
    char *detail = NULL;
    bool ok = scored->outcome.status == WEIR_REWARD_OK && isfinite(scored->outcome.value);
    weir_reward_result result = {
        .struct_size = sizeof result,
        .status = ok || scored->outcome.status != WEIR_REWARD_OK ? scored->outcome.status
                                                                 : WEIR_REWARD_ERROR,
        .item_id = item_id,
        .score = ok ? scored->outcome.value : NAN,
        .metrics = metrics,
    };
    result.n_metrics = split_fields(scored->outcome.fields, metrics, &detail);
    if (detail != NULL)
        result.detail_json = (weir_reward_str){detail, strlen(detail)};
    done(user, &result, 1);
    free(detail); /* lint: allow(free): jansson's buffer */
}

static void score_items(const struct area_instance *self, struct scored *items, uint32_t n)
{
    if (!(self->area->needs & REWARD_NEEDS_GROUP)) {
        for (uint32_t i = 0; i < n; i++)
            self->area->score(self->instance, &items[i].input, 1, &items[i].outcome);
        return;
    }
    struct reward_case *cases = memory_array(n, sizeof *cases);
    struct reward_outcome *outcomes = memory_array(n, sizeof *outcomes);
    for (uint32_t i = 0; cases != NULL && outcomes != NULL && i < n; i++) {
        cases[i] = items[i].input;
        outcomes[i] = items[i].outcome;
    }
    if (cases != NULL && outcomes != NULL)
        self->area->score(self->instance, cases, n, outcomes);
    for (uint32_t i = 0; i < n; i++) {
        if (cases != NULL && outcomes != NULL)
            items[i].outcome = outcomes[i];
        else
            items[i].outcome.status = WEIR_REWARD_ERROR;
    }
    memory_free(cases);
    memory_free(outcomes);
}

static int submit(void *pointer, const weir_reward_item *items, uint32_t n,
                  weir_reward_done_fn done, void *user)
{
    struct scored *all = n <= GROUP_MAX ? memory_array(n, sizeof *all) : NULL;
    bool opened = all != NULL;
    uint32_t count = 0;
    const char *at = (const char *)items; /* a newer host's items may be longer */
    for (; opened && count < n; at += items->struct_size)
        opened = open_item(&all[count++], (const weir_reward_item *)(const void *)at);
    if (opened)
        score_items(pointer, all, n);
    at = (const char *)items;
    for (uint32_t i = 0; opened && i < n; i++, at += items->struct_size)
        answer(&all[i], ((const weir_reward_item *)(const void *)at)->item_id, done, user);
    for (uint32_t i = 0; i < count; i++)
        close_item(&all[i]);
    memory_free(all);
    return opened ? 0 : ENOMEM;
}

/* ---- one plugin an area ---- */

/* Items of one submit share a deadline, so those that run programs or ask a judge come one by one. */
static uint64_t caps_of(unsigned needs)
{
    bool slow = (needs & (REWARD_NEEDS_SANDBOX | REWARD_NEEDS_JUDGE)) != 0;
    return WEIR_REWARD_CAP_THREADSAFE | (slow ? 0u : WEIR_REWARD_CAP_BATCH) |
           (needs & REWARD_NEEDS_GROUP ? WEIR_REWARD_CAP_GROUP : 0u) |
           (needs & REWARD_NEEDS_IDS ? WEIR_REWARD_CAP_NEEDS_IDS : 0u);
}

#define ROW(area)                                                                   \
    static int create_##area(const char *config_json, const weir_reward_host *host, \
                             void **instance, char *err, size_t errlen)             \
    {                                                                               \
        (void)host;                                                                 \
        return create(&area##_area, config_json, instance, err, errlen);            \
    }
REWARD_AREAS(ROW)
#undef ROW

static const struct {
    const struct reward_area *area;
    int (*create)(const char *config_json, const weir_reward_host *host, void **instance, char *err,
                  size_t errlen);
} creators[] = {
#define ROW(area) {&area##_area, create_##area},
    REWARD_AREAS(ROW)
#undef ROW
        {NULL, NULL}};

enum { AREAS_COUNT = sizeof creators / sizeof creators[0] };

const weir_reward_plugin *reward_area_plugin(const char *name)
{
    static weir_reward_plugin plugins[AREAS_COUNT]; /* filled with the same words each time */
    for (size_t i = 0; creators[i].area != NULL; i++) {
        const struct reward_area *area = creators[i].area;
        if (strcmp(area->name, name) != 0)
            continue;
        plugins[i] = (weir_reward_plugin){.struct_size = sizeof plugins[i],
                                          .abi_major = WEIR_REWARD_ABI_MAJOR,
                                          .abi_minor = WEIR_REWARD_ABI_MINOR,
                                          .name = area->name,
                                          .version = area->version,
                                          .caps = caps_of(area->needs),
                                          .create = creators[i].create,
                                          .submit = submit,
                                          .destroy = destroy};
        return &plugins[i];
    }
    return NULL;
}
