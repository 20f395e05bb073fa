/* reward/compose_plugin.c - see the header. */
#include "reward/compose_plugin.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/checksum.h"
#include "core/clock.h"
#include "core/memory.h"
#include "core/wait.h"
#include "reward/compose.h"

enum { RECIPE_BYTES_MAX = 1 << 20, METRICS_MAX = 128, MARGIN_MS = 50, RETRY_MS_MAX = 50 };

struct part {
    struct plugin_instance *plugin;
    pthread_mutex_t turn; /* one submit at a time unless it is THREADSAFE */
};

/* What a part said, with copies of what it lent. */
struct said {
    struct compose_answer answer;
    bool answered;
    double cost;
    json_t *metrics, *detail; /* objects or NULL, owned */
};

/* Items that one part has now, on the stack of a submit call. Their ids are first_id ... first_id + count - 1. */
struct round {
    struct round *next;
    uint64_t first_id;
    uint32_t count, missing;
    struct said **said; /* [count] */
};

struct composer {
    struct compose *recipe;
    struct part parts[COMPOSE_PARTS_MAX];
    char name[WIRE_NAME_MAX];
    uint64_t caps;
    pthread_mutex_t
        mutex; /* guards the rounds and what is said in them; only LOCK_WAIT is taken in it */
    pthread_cond_t answered;
    struct round *rounds;
    uint64_t next_id;
};

/* ---- answers of parts: any thread ---- */

static void keep(struct said *said, const weir_reward_result *result)
{
    said->answered = true;
    said->answer =
        (struct compose_answer){.called = true, .status = result->status, .value = result->score};
    said->cost = isfinite(result->cost) ? result->cost : 0;
    said->metrics = json_object();
    for (uint32_t i = 0; result->metrics != NULL && i < result->n_metrics; i++) {
        weir_reward_str name = result->metrics[i].name;
        if (name.ptr != NULL && isfinite(result->metrics[i].value))
            json_object_setn_new(said->metrics, name.ptr, name.len < 48 ? (size_t)name.len : 48,
                                 json_real(result->metrics[i].value));
    }
    if (result->detail_json.ptr != NULL && result->detail_json.len > 0)
        said->detail =
            json_loadb(result->detail_json.ptr, (size_t)result->detail_json.len, 0, NULL);
}

static void take(struct composer *self, const weir_reward_result *result)
{
    pthread_mutex_lock(&self->mutex);
    for (struct round *round = self->rounds; round != NULL; round = round->next) {
        uint64_t index = result->item_id - round->first_id;
        if (index >= round->count || round->said[index]->answered)
            continue;
        keep(round->said[index], result);
        if (--round->missing == 0)
            pthread_cond_broadcast(&self->answered);
        break;
    }
    pthread_mutex_unlock(&self->mutex);
}

static void take_all(void *user, const weir_reward_result *results, uint32_t n)
{
    const char *at = (const char *)results;
    uint32_t size = n > 0 ? results->struct_size : 0;
    for (uint32_t i = 0; i < n && size >= WEIR_REWARD_RESULT_SIZE_1_0; i++, at += size) {
        weir_reward_result result = {0};
        memcpy(&result, at, size < sizeof result ? size : sizeof result);
        take(user, &result);
    }
}

/* ---- calling a part ---- */

static void enter(struct composer *self, struct round *round)
{
    pthread_mutex_lock(&self->mutex);
    round->first_id = self->next_id;
    self->next_id += round->count;
    round->missing = round->count;
    round->next = self->rounds;
    self->rounds = round;
    pthread_mutex_unlock(&self->mutex);
}

/* What has not come until the deadline is a timeout; nobody may write into the round afterwards. */
static void leave(struct composer *self, struct round *round, int64_t deadline_ns, int code)
{
    enum status status = STATUS_OK;
    pthread_mutex_lock(&self->mutex);
    while (round->missing > 0 && code == 0 && status == STATUS_OK)
        status =
            wait_condition("reward_part", self->name, deadline_ns, &self->answered, &self->mutex);
    struct round **at = &self->rounds;
    while (*at != round)
        at = &(*at)->next;
    *at = round->next;
    pthread_mutex_unlock(&self->mutex);
    for (uint32_t i = 0; i < round->count; i++)
        if (!round->said[i]->answered)
            round->said[i]->answer = (struct compose_answer){
                .called = true,
                .status = code == 0 || code == EAGAIN ? WEIR_REWARD_TIMEOUT : WEIR_REWARD_ERROR};
}

static int submit_part(struct part *part, const weir_reward_item *items, uint32_t count,
                       struct composer *self, int64_t deadline_ns)
{
    const weir_reward_plugin *table = &part->plugin->table;
    bool whole = (table->caps & WEIR_REWARD_CAP_GROUP) != 0,
         alone = (table->caps & WEIR_REWARD_CAP_THREADSAFE) == 0;
    uint32_t step = whole || (table->caps & WEIR_REWARD_CAP_BATCH) != 0 ? count : 1;
    int code = 0;
    if (alone)
        pthread_mutex_lock(&part->turn);
    for (uint32_t at = 0; at < count && code == 0; at += step)
        for (int64_t pause_ms = 1;; pause_ms = pause_ms < RETRY_MS_MAX ? pause_ms * 2 : pause_ms) {
            code = (whole && table->submit_group != NULL ? table->submit_group : table->submit)(
                part->plugin->instance, items + at, step, take_all, self);
            if (code != EAGAIN || clock_now_ns() + pause_ms * CLOCK_NS_PER_MS >= deadline_ns)
                break;
            clock_sleep_ms(pause_ms);
        }
    if (alone)
        pthread_mutex_unlock(&part->turn);
    return code;
}

/* said: [count] one for each item, of this part. */
static void ask_part(struct composer *self, uint32_t number, weir_reward_item *items,
                     struct said **said, uint32_t count, int64_t deadline_ns)
{
    struct round round = {.count = count, .said = said};
    enter(self, &round);
    for (uint32_t i = 0; i < count; i++) {
        items[i].item_id = round.first_id + i;
        items[i].deadline_ns = deadline_ns;
    }
    leave(self, &round, deadline_ns,
          submit_part(&self->parts[number], items, count, self, deadline_ns));
}

/* ---- one call: n items through all parts ---- */

struct desk {
    const weir_reward_item *items;
    uint32_t count, parts;
    struct said *said; /* [count][parts] */
    weir_reward_item *copies;
    struct said **chosen;
    uint32_t *in_effect;
};

static bool wants(const struct composer *self, const struct desk *desk, uint32_t item,
                  uint32_t part)
{
    struct compose_answer answers[COMPOSE_PARTS_MAX] = {{0}};
    for (uint32_t p = 0; p < part; p++)
        answers[p] = desk->said[item * desk->parts + p].answer;
    return compose_calls(self->recipe, desk->in_effect[item], part, answers);
}

/* A part that reads whole groups gets the whole group as soon as one item wants it; only those count that do. */
static void run_part(struct composer *self, struct desk *desk, uint32_t part, int64_t deadline_ns)
{
    bool whole = (self->parts[part].plugin->table.caps & WEIR_REWARD_CAP_GROUP) != 0, any = false;
    uint32_t count = 0;
    for (uint32_t i = 0; i < desk->count; i++) {
        bool wanted = wants(self, desk, i, part);
        any = any || wanted;
        if (!wanted && !whole)
            continue;
        desk->copies[count] = desk->items[i];
        desk->chosen[count++] = &desk->said[i * desk->parts + part];
    }
    if (!any)
        return;
    ask_part(self, part, desk->copies, desk->chosen, count, deadline_ns);
    for (uint32_t i = 0; whole && i < desk->count; i++)
        if (!wants(self, desk, i, part))
            desk->said[i * desk->parts + part].answer.called = false;
}

/* ---- the result of one item ---- */

struct report {
    weir_reward_metric metrics[METRICS_MAX];
    char names[METRICS_MAX][96];
    uint32_t count;
    json_t *detail;
    double cost;
};

__attribute__((format(printf, 3, 4))) static void measure(struct report *report, double value,
                                                          const char *fmt, ...)
{
    if (report->count == METRICS_MAX)
        return;
    char *name = report->names[report->count];
    va_list args;
    va_start(args, fmt);
    vsnprintf(name, sizeof report->names[0], fmt, args);
    va_end(args);
    report->metrics[report->count++] = (weir_reward_metric){{name, strlen(name)}, value};
}

static const char *status_word(int32_t status)
{
    return status == WEIR_REWARD_TIMEOUT      ? "timeout"
           : status == WEIR_REWARD_SKIP       ? "skip"
           : status == WEIR_REWARD_UNSCORABLE ? "unscorable"
                                              : "error";
}

static void report_part(const struct composer *self, uint32_t part, struct said *said,
                        struct report *report)
{
    const char *name = self->recipe->parts[part].name, *key;
    double value = 0;
    json_t *metric;
    report->cost += said->cost;
    if (!said->answer.called)
        return;
    if (compose_value(self->recipe, part, &said->answer, &value))
        measure(report, value, "%s", name);
    json_object_foreach(said->metrics, key, metric)
        measure(report, json_number_value(metric), "%s/%s", name, key);
    json_t *detail = json_is_object(said->detail) ? json_incref(said->detail) : json_object();
    if (said->answer.status != WEIR_REWARD_OK)
        json_object_set_new(detail, "status", json_string(status_word(said->answer.status)));
    if (json_object_size(detail) > 0)
        json_object_set(report->detail, name, detail);
    json_decref(detail);
}

static void report_named(const struct composer *self, const struct said *said, int part,
                         const char *name, struct report *report)
{
    double value = 0;
    if (part >= 0 && strcmp(self->recipe->parts[part].name, name) != 0 &&
        compose_value(self->recipe, (uint32_t)part, &said[part].answer, &value))
        measure(report, value, "%s", name);
}

static void finish_item(const struct composer *self, struct said *said, uint64_t item_id,
                        weir_reward_done_fn done, void *user)
{
    struct report report = {.detail = json_object()};
    struct compose_answer answers[COMPOSE_PARTS_MAX] = {{0}};
    uint32_t parts = self->recipe->part_count;
    for (uint32_t p = 0; p < parts; p++) {
        answers[p] = said[p].answer;
        report_part(self, p, &said[p], &report);
    }
    report_named(self, said, self->recipe->verified, "verified", &report);
    report_named(self, said, self->recipe->judge, "judge", &report);
    struct compose_result combined = compose_combine(self->recipe, answers);
    if (combined.part >= 0)
        json_object_set_new(report.detail, "because",
                            json_string(self->recipe->parts[combined.part].name));
    char *detail =
        json_object_size(report.detail) > 0 ? json_dumps(report.detail, JSON_COMPACT) : NULL;
    weir_reward_result result = {.struct_size = sizeof result,
                                 .status = combined.status,
                                 .item_id = item_id,
                                 .score = combined.value,
                                 .n_metrics = report.count,
                                 .metrics = report.metrics,
                                 .cost = report.cost};
    if (detail != NULL)
        result.detail_json = (weir_reward_str){detail, strlen(detail)};
    done(user, &result, 1);
    free(detail); /* lint: allow(free): jansson's buffer */
    json_decref(report.detail);
}

static void desk_free(struct desk *desk)
{
    for (uint32_t i = 0; desk->said != NULL && i < desk->count * desk->parts; i++) {
        json_decref(desk->said[i].metrics);
        json_decref(desk->said[i].detail);
    }
    memory_free(desk->said);
    memory_free(desk->copies);
    memory_free(desk->chosen);
    memory_free(desk->in_effect);
}

static int submit(void *pointer, const weir_reward_item *items, uint32_t n,
                  weir_reward_done_fn done, void *user)
{
    struct composer *self = pointer;
    uint32_t parts = self->recipe->part_count;
    struct desk desk = {.items = items, .count = n, .parts = parts};
    if (n == 0)
        return 0;
    desk.said = memory_array((size_t)n * parts, sizeof *desk.said);
    desk.copies = memory_array(n, sizeof *desk.copies);
    desk.chosen = memory_array(n, sizeof(struct said *));
    desk.in_effect = memory_array(n, sizeof *desk.in_effect);
    bool ready =
        desk.said != NULL && desk.copies != NULL && desk.chosen != NULL && desk.in_effect != NULL;
    int64_t left_ns = items[0].deadline_ns - clock_now_ns();
    int64_t margin_ns = left_ns / 10 < (int64_t)MARGIN_MS * CLOCK_NS_PER_MS
                            ? left_ns / 10
                            : (int64_t)MARGIN_MS * CLOCK_NS_PER_MS;
    for (uint32_t i = 0; ready && i < n; i++)
        desk.in_effect[i] = compose_in_effect(self->recipe, items[i].data_source.ptr,
                                              (size_t)items[i].data_source.len);
    for (uint32_t p = 0; ready && p < parts; p++)
        run_part(self, &desk, p, items[0].deadline_ns - margin_ns);
    for (uint32_t i = 0; ready && i < n; i++)
        finish_item(self, desk.said + (size_t)i * parts, items[i].item_id, done, user);
    desk_free(&desk);
    return ready ? 0 : ENOMEM;
}

/* ---- life ---- */

static void destroy(void *pointer)
{
    struct composer *self = pointer;
    for (uint32_t i = 0; i < COMPOSE_PARTS_MAX; i++) {
        plugin_instance_close(&self->parts[i].plugin);
        pthread_mutex_destroy(&self->parts[i].turn);
    }
    compose_free(&self->recipe);
    pthread_cond_destroy(&self->answered);
    pthread_mutex_destroy(&self->mutex);
    memory_free(self);
}

/* A part's file is looked for beside the recipe; a bare name is a built-in plugin. */
static enum status part_path(const char *recipe, const char *plugin, char path[FILE_PATH_MAX])
{
    const char *slash = strrchr(recipe, '/');
    bool file = strchr(plugin, '/') != NULL || strchr(plugin, '.') != NULL;
    if (!file || plugin[0] == '/' || slash == NULL)
        return file_path(path, "%s%s",
                         file && plugin[0] != '/' && strchr(plugin, '/') == NULL ? "./" : "",
                         plugin);
    return file_path(path, "%.*s/%s", (int)(slash - recipe), recipe, plugin);
}

static enum status open_part(struct composer *self, struct plugin_instance *instance,
                             const struct reward_settings *settings, uint32_t number)
{
    const struct compose_part *wanted = &self->recipe->parts[number];
    struct part *part = &self->parts[number];
    char path[FILE_PATH_MAX];
    TRY(part_path(settings->plugin, wanted->plugin, path));
    if (plugin_instance_kind(path) == PLUGIN_RECIPE)
        return FAIL(STATUS_INVALID, "%s:%" PRIu32 ": plugin: a part cannot be a recipe",
                    settings->plugin, wanted->line);
    struct reward_settings own = *settings;
    own.plugin = path;
    own.config = wanted->config;
    own.style = wanted->style;
    enum status status = plugin_instance_open(&part->plugin, &own);
    if (status != STATUS_OK) {
        char why[STATUS_TEXT_MAX];
        snprintf(why, sizeof why, "%s", status_sentence(status_last_error()));
        return FAIL(status, "%s:%" PRIu32 ": part \"%s\": %s", settings->plugin, wanted->line,
                    wanted->name, why);
    }
    for (uint32_t i = 0; i < part->plugin->file_count; i++) {
        TRY(plugin_instance_watch(instance, part->plugin->files[i].path));
        instance->files[instance->file_count - 1].inode = part->plugin->files[i].inode;
        instance->files[instance->file_count - 1].bytes = part->plugin->files[i].bytes;
        instance->files[instance->file_count - 1].changed_ns = part->plugin->files[i].changed_ns;
    }
    instance->hash = hash64(&part->plugin->hash, sizeof part->plugin->hash, instance->hash);
    self->caps |= part->plugin->table.caps &
                  (uint64_t)(WEIR_REWARD_CAP_BATCH | WEIR_REWARD_CAP_GROUP |
                             WEIR_REWARD_CAP_NEEDS_IDS | WEIR_REWARD_CAP_NEEDS_LOGPROBS);
    return STATUS_OK;
}

static enum status read_file(struct composer *self, struct plugin_instance *instance,
                             const char *path)
{
    struct buffer text;
    buffer_init(&text, RECIPE_BYTES_MAX);
    enum status status = file_read(path, &text);
    if (status == STATUS_OK)
        status = compose_read(&self->recipe, path, buffer_string(&text), text.size);
    instance->hash = hash64(text.bytes, text.size, 0);
    buffer_free(&text);
    return status;
}

static enum status open_all(struct composer *self, struct plugin_instance *instance,
                            const struct reward_settings *settings)
{
    TRY(plugin_instance_watch(instance, settings->plugin));
    TRY(read_file(self, instance, settings->plugin));
    if (strspn(settings->config, " {}\n\t") != strlen(settings->config))
        return FAIL(STATUS_INVALID,
                    "reward.config has no meaning for the recipe %s: its parts have their own",
                    settings->plugin);
    for (uint32_t i = 0; i < self->recipe->part_count; i++)
        TRY(open_part(self, instance, settings, i));
    const char *base = strrchr(settings->plugin, '/');
    snprintf(self->name, sizeof self->name, "%s",
             self->recipe->name[0] != '\0' ? self->recipe->name
             : base != NULL                ? base + 1
                                           : settings->plugin);
    return STATUS_OK;
}

enum status compose_plugin_open(struct plugin_instance *instance,
                                const struct reward_settings *settings)
{
    struct composer *self = memory_alloc(sizeof *self);
    if (self == NULL)
        return FAIL(STATUS_NO_MEMORY, "recipe");
    enum status status = wait_condition_init(&self->answered);
    if (status != STATUS_OK) {
        memory_free(self);
        return status;
    }
    pthread_mutex_init(&self->mutex, NULL);
    for (uint32_t i = 0; i < COMPOSE_PARTS_MAX; i++)
        pthread_mutex_init(&self->parts[i].turn, NULL);
    status = open_all(self, instance, settings);
    if (status != STATUS_OK) {
        char kept[STATUS_TEXT_MAX];
        status_keep(kept);
        destroy(self);
        status_restore(kept);
        return status;
    }
    instance->instance = self;
    instance->created = true;
    instance->table = (weir_reward_plugin){.struct_size = sizeof instance->table,
                                           .abi_major = WEIR_REWARD_ABI_MAJOR,
                                           .abi_minor = WEIR_REWARD_ABI_MINOR,
                                           .name = self->name,
                                           .version = "recipe",
                                           .caps = self->caps | WEIR_REWARD_CAP_THREADSAFE,
                                           .submit = submit,
                                           .destroy = destroy};
    return STATUS_OK;
}
