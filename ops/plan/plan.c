/* ops/plan/plan.c - the plan from its recipe: settings, model, then its parts in order. */
#include "ops/plan/plan.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "learner/losses.h"

enum { PLAN_ARENA_BYTES = 4 << 20 };

const char *plan_label_name(enum plan_label label)
{
    return label == PLAN_MEASURED ? "measured" : label == PLAN_ASKED ? "asked" : "modelled";
}

/* ---- lines ---- */

void plan_add_figure(struct fleet_plan *plan, const char *group, const char *name, double value,
                     const char *unit, enum plan_label label, const char *how, ...)
{
    if (plan->figure_count == PLAN_FIGURES_MAX)
        return;
    struct plan_figure *figure = &plan->figures[plan->figure_count++];
    *figure = (struct plan_figure){
        .name = name, .unit = unit, .group = group, .value = value, .label = label};
    va_list args;
    va_start(args, how);
    vsnprintf(figure->how, sizeof figure->how, how, args);
    va_end(args);
}

void plan_add_note(struct fleet_plan *plan, const char *fmt, ...)
{
    if (plan->note_count == PLAN_NOTES_MAX)
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(plan->notes[plan->note_count++], PLAN_TEXT_BYTES, fmt, args);
    va_end(args);
}

void plan_add_lack(struct fleet_plan *plan, const char *fmt, ...)
{
    if (plan->lack_count == PLAN_NOTES_MAX)
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(plan->lacks[plan->lack_count++], PLAN_TEXT_BYTES, fmt, args);
    va_end(args);
}

void plan_find(struct fleet_plan *plan, enum finding_kind kind, const char *fmt, ...)
{
    char sentence[4 * PLAN_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(sentence, sizeof sentence, fmt, args);
    va_end(args);
    findings_add(&plan->findings, kind, sentence, plan->config);
}

/* ---- what a start needs ---- */

/* False: there is no config.json to plan for, and it has been said. */
static bool find_shape(struct fleet_plan *plan)
{
    const struct settings *settings = &plan->settings;
    char path[FILE_PATH_MAX];
    const char *folder = settings->model.path, *other = settings->cluster.shape;
    bool there = folder[0] != '\0' && file_path(path, "%s/config.json", folder) == STATUS_OK &&
                 file_exists(path);
    if (!there && other[0] != '\0' && file_path(path, "%s", other) == STATUS_OK) {
        plan_add_note(plan,
                      "model.path: \"%.120s\" has no model yet; planned for the shape of %.120s",
                      folder, other);
        there = true;
    }
    if (!there) {
        plan_find(plan, FINDING_INPUT,
                  "model.path \"%s\" has no config.json: make a model folder with `weir init` or "
                  "`weir sft`, or name another (cluster.shape names a config.json for plans alone)",
                  folder);
        return false;
    }
    if (model_shape_load(&plan->shape, path) != STATUS_OK) {
        plan_find(plan, FINDING_INPUT, "model.path or cluster.shape: %s",
                  status_sentence(status_last_error()));
        return false;
    }
    return true;
}

static void check_weights_there(struct fleet_plan *plan)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json"};
    char path[FILE_PATH_MAX];
    for (int i = 0; i < 2; i++)
        if (file_path(path, "%s/%s", plan->settings.model.path, names[i]) == STATUS_OK &&
            file_exists(path))
            return;
    plan_add_note(plan,
                  "model.path: %.160s holds no model.safetensors: a plan needs its config.json "
                  "alone, a run needs the weights (weir init, weir sft, or a download)",
                  plan->settings.model.path);
}

static void check_sft_there(struct fleet_plan *plan)
{
    if (!file_exists(plan->settings.sft.train))
        plan_add_note(plan, "sft.train: %.160s is not there yet", plan->settings.sft.train);
    plan_add_figure(plan, "weir sft", "updates", plan->settings.sft.steps, "", PLAN_ASKED,
                    "sft.steps");
}

/* Data of a run. */
static void check_data_there(struct fleet_plan *plan)
{
    const char *list = plan->settings.data.train;
    char path[FILE_PATH_MAX];
    if (list[0] == '\0') {
        plan_find(plan, FINDING_INPUT,
                  "data.train is empty: name JSONL files or folders of them, between commas");
        return;
    }
    if (file_exists(list))
        return;
    while (file_list_next(&list, path) == STATUS_OK)
        if (!file_exists(path))
            plan_find(plan, FINDING_INPUT,
                      "data.train: \"%s\" does not exist; name JSONL files or folders of them, "
                      "between commas",
                      path);
}

/* A reward that is a file; built-in names are looked up when a worker starts. */
static void check_reward_there(struct fleet_plan *plan)
{
    char path[FILE_PATH_MAX];
    const char *plugin = plan->settings.reward.plugin;
    const char *end = strstr(plugin, ".py:");
    size_t size = end != NULL ? (size_t)(end - plugin) + 3 : strlen(plugin);
    bool file = end != NULL || strchr(plugin, '/') != NULL;
    if (!file || file_path(path, "%.*s", (int)size, plugin) != STATUS_OK || file_exists(path))
        return;
    plan_find(plan, FINDING_INPUT, "reward.plugin: \"%s\" does not exist", path);
}

static void check_positions(struct fleet_plan *plan)
{
    int64_t longest = (int64_t)plan->settings.data.prompt_tokens_max +
                      plan->settings.sampling.response_tokens_max;
    int64_t positions = model_positions(&plan->shape);
    if (longest > positions)
        plan_find(plan, FINDING_SETTING,
                  "data.prompt_tokens_max %u and sampling.response_tokens_max %u are %" PRId64
                  " tokens, but the model has %" PRId64 " positions: lower one of them",
                  plan->settings.data.prompt_tokens_max,
                  plan->settings.sampling.response_tokens_max, longest, positions);
}

/* ---- the plan ---- */

static enum status fill(struct fleet_plan *plan, const struct fleet_request *request)
{
    plan->sft = plan->settings.data.train[0] == '\0' && plan->settings.sft.train[0] != '\0';
    if (plan->sft)
        check_sft_there(plan);
    else
        check_data_there(plan);
    if (!plan->sft && plan->settings.reward.plugin[0] != '\0')
        check_reward_there(plan);
    bool shape = find_shape(plan);
    plan_place(plan);
    if (!shape)
        return STATUS_OK;
    check_weights_there(plan);
    check_positions(plan);
    if (!plan->sft)
        TRY(losses_explain(&plan->settings.loss, &plan->objective));
    if (plan->findings.count > 0 &&
        !plan->sft) /* sizes that cannot be cut have no memory and no speed */
        for (uint32_t i = 0; i < plan->findings.count; i++)
            if (plan->findings.rows[i].kind == FINDING_SETTING)
                return STATUS_OK;
    TRY(plan_memory(plan));
    plan->loaded = true;
    return plan->sft ? STATUS_OK : plan_rates(plan, !request->no_forecast);
}

enum status plan_make(struct fleet_plan *plan, const struct fleet_request *request)
{
    struct config_input input = {.files = request->files,
                                 .file_count = request->file_count,
                                 .overrides = request->overrides,
                                 .override_count = request->override_count,
                                 .environment = true};
    memset(plan, 0, sizeof *plan);
    buffer_init(&plan->objective, 1 << 20);
    TRY(arena_create(&plan->arena, PLAN_ARENA_BYTES));
    plan->findings.arena = plan->arena;
    TRY(findings_load(&plan->findings, &plan->settings, &plan->config, &input,
                      settings_check_plan));
    return fill(plan, request);
}

void plan_destroy(struct fleet_plan *plan)
{
    buffer_free(&plan->objective);
    config_destroy(&plan->config);
    arena_destroy(&plan->arena);
}

int plan_exit_code(const struct fleet_plan *plan)
{
    static const int codes[] = {[FINDING_SETTING] = EXIT_CODE_USAGE,
                                [FINDING_INPUT] = EXIT_CODE_INPUT,
                                [FINDING_MACHINE] = EXIT_CODE_DEPENDENCY};
    int worst = -1;
    for (uint32_t i = 0; i < plan->findings.count; i++)
        if (worst < 0 || (int)plan->findings.rows[i].kind < worst)
            worst = (int)plan->findings.rows[i].kind;
    return worst < 0 ? EXIT_CODE_OK : codes[worst];
}

static int smallest_text(const struct plan_role *role, char *text, size_t size)
{
    if (role->smallest_gpus == 0)
        return snprintf(text, size, "none up to 4096 for the %s", role->name);
    return snprintf(text, size, "%u for %s (tensor %u, experts over %u, sequence %u)",
                    role->smallest_gpus,
                    role->units > 0 && role->name[0] == 'a' ? "an actor" : "the learner",
                    role->smallest.tensor, role->smallest.expert, role->smallest.sequence);
}

bool plan_refusal(const struct fleet_plan *plan, char text[4 * PLAN_TEXT_BYTES])
{
    if (plan->lack_count == 0)
        return false;
    size_t used = 0, size = 4 * PLAN_TEXT_BYTES;
    used += (size_t)snprintf(text, size, "this recipe needs what weir cannot run yet: ");
    for (uint32_t i = 0; i < plan->lack_count && used < size; i++)
        used +=
            (size_t)snprintf(text + used, size - used, "%s%s", i > 0 ? ", " : "", plan->lacks[i]);
    if (used < size)
        used +=
            (size_t)snprintf(text + used, size - used,
                             "; it runs a data-parallel learner with a sharded optimizer on one "
                             "host, and one GPU an actor");
    if (plan->loaded && used < size) {
        char actor[PLAN_TEXT_BYTES], learner[PLAN_TEXT_BYTES];
        smallest_text(&plan->actor, actor, sizeof actor);
        smallest_text(&plan->learner, learner, sizeof learner);
        snprintf(text + used, size - used,
                 "; the smallest fleet of %s that would fit is %u GPUs: %s, %s; `--dry-run` prints "
                 "the whole plan",
                 plan->actor.hardware.name, plan->actor.smallest_gpus + plan->learner.smallest_gpus,
                 actor, learner);
    }
    return true;
}
