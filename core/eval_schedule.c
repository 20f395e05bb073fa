#include "core/eval_schedule.h"

#include <string.h>

static bool is_name(const char *name, size_t size)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    for (size_t i = 0; i < size; i++)
        if (memchr(allowed, name[i], sizeof allowed - 1) == NULL)
            return false;
    return size > 0 && size < EVAL_SET_NAME_MAX && name[0] != '.';
}

/* "data/aime.jsonl" -> "aime". */
static size_t stem_of(const char *path, const char **start)
{
    const char *slash = strrchr(path, '/');
    *start = slash != NULL ? slash + 1 : path;
    const char *dot = strchr(*start, '.');
    return dot != NULL ? (size_t)(dot - *start) : strlen(*start);
}

enum status eval_sets_add(struct eval_sets *sets, const char *setting, const char *item)
{
    const char *equals = strchr(item, '='), *name = item, *path = item;
    size_t size = equals != NULL ? (size_t)(equals - item) : 0;
    /* a path may have a = too: what stands before it is a name only when it could be one */
    if (equals != NULL && memchr(item, '/', size) == NULL) {
        path = equals + 1 + strspn(equals + 1, " \t");
        while (size > 0 && strchr(" \t", item[size - 1]) != NULL)
            size--;
    } else {
        size = stem_of(item, &name);
    }
    if (sets->count == EVAL_SETS_MAX)
        return FAIL(STATUS_LIMIT, "%s: more than %d sets", setting, EVAL_SETS_MAX);
    if (!is_name(name, size) || (size == 2 && memcmp(name, "hf", 2) == 0))
        return FAIL(STATUS_INVALID,
                    "%s: \"%.*s\" in \"%s\" is no name for a set: take up to %d letters, digits, "
                    "'-', '_' and '.', not \"hf\", as in name=%s",
                    setting, (int)size, name, item, EVAL_SET_NAME_MAX - 1, path);
    if (path[0] == '\0')
        return FAIL(STATUS_INVALID, "%s: \"%s\" names no file", setting, item);
    struct eval_set *set = &sets->rows[sets->count];
    memcpy(set->name, name, size);
    set->name[size] = '\0';
    TRY(file_path(set->path, "%s", path));
    for (uint32_t i = 0; i < sets->count; i++)
        if (strcmp(sets->rows[i].name, set->name) == 0)
            return FAIL(STATUS_INVALID, "%s: two sets are named \"%s\": name one, as in other=%s",
                        setting, set->name, path);
    sets->count++;
    return STATUS_OK;
}

enum status eval_sets_parse(struct eval_sets *sets, const char *setting, const char *list)
{
    char item[FILE_PATH_MAX];
    enum status status = STATUS_OK;
    sets->count = 0;
    while (status == STATUS_OK && (status = file_list_next(&list, item)) == STATUS_OK)
        status = eval_sets_add(sets, setting, item);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

struct settings eval_settings_of(const struct settings *settings)
{
    struct settings own = *settings;
    const struct eval_settings *eval = &settings->eval;
    own.sampling.temperature = eval->temperature;
    own.sampling.top_p = eval->top_p;
    own.sampling.top_k = 0;
    if (eval->tokens > 0)
        own.sampling.response_tokens_max = eval->tokens;
    if (eval->slots > 0)
        own.actor.slots = eval->slots;
    if (eval->slots > 0 || eval->tokens > 0)
        own.actor.cache_tokens = 0; /* was chosen for others */
    if (eval->device[0] != '\0')
        own.actor.device = eval->device;
    if (eval->reward[0] != '\0')
        own.reward.plugin = eval->reward;
    own.run.threads = eval->threads;
    return own;
}
