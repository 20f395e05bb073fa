/* Sandboxes and judges for areas. */
#include <stdio.h>
#include <string.h>

#include "reward/areas.h"
#include "reward/judge/client.h"
#include "sandbox/sandbox.h"

static enum status open_sandbox(struct sandbox **sandbox, const json_t *config)
{
    struct sandbox_options options = {0};
    const char *key = NULL;
    json_t *value = NULL;
    if (config != NULL && !json_is_object(config))
        return FAIL(STATUS_INVALID, "\"sandbox\" is not an object, as {\"jobs\": 2}");
    json_object_foreach((json_t *)(uintptr_t)config, key, value)
    {
        if (strcmp(key, "jobs") != 0 || !json_is_integer(value) || json_integer_value(value) < 0 ||
            json_integer_value(value) > 64)
            return FAIL(STATUS_INVALID, "\"sandbox\" has \"%s\": it takes \"jobs\", 0 to 64", key);
        options.jobs = (uint32_t)json_integer_value(value);
    }
    return sandbox_open(sandbox, &options);
}

enum status reward_tools_open(struct reward_tools *tools, unsigned needs, const json_t *config)
{
    char why[512] = "";
    const json_t *judge = json_object_get(config, "judge");
    *tools = (struct reward_tools){0};
    if (needs & REWARD_NEEDS_SANDBOX)
        TRY(open_sandbox(&tools->sandbox, json_object_get(config, "sandbox")));
    if (needs & REWARD_NEEDS_JUDGE && judge != NULL &&
        judge_create(judge, &tools->judge, why, sizeof why) != 0) {
        reward_tools_close(tools);
        return FAIL(STATUS_INVALID, "\"judge\": %s", why);
    }
    return STATUS_OK;
}

void reward_tools_close(struct reward_tools *tools)
{
    sandbox_close(&tools->sandbox);
    judge_destroy(&tools->judge);
}

enum status reward_area_create(const struct reward_area *area, const json_t *config,
                               const struct reward_tools *tools, void **instance)
{
    char why[512] = "", names[1024];
    *instance = NULL;
    if (area->settings != NULL) {
        snprintf(names, sizeof names, "%s%s%s", area->settings,
                 area->needs & REWARD_NEEDS_SANDBOX ? " sandbox" : "",
                 area->needs & REWARD_NEEDS_JUDGE ? " judge" : "");
        if (!reward_settings_known(config, names, why, sizeof why))
            return FAIL(STATUS_INVALID, "%s: %s", area->name, why);
    }
    if (area->create == NULL)
        return STATUS_OK;
    return area->create(config, tools, instance, why, sizeof why) == 0
               ? STATUS_OK
               : FAIL(STATUS_INVALID, "%s: %s", area->name, why);
}
