#include "reward/areas.h"

#include <string.h>

static const struct reward_area *const areas[] = {
#define ROW(name) &name##_area,
    REWARD_AREAS(ROW)
#undef ROW
        NULL};

/* Kinds of rows that are not called like their area. */
static const struct {
    const char *kind, *area;
} kinds[] = {
    {"math_verify", "math"},
    {"code_assert", "code"},
    {"code_stdio", "code"},
    {"overlong_dapo", "overlong"},
    {"overlong_verl_manager", "overlong"},
    {"repetition_truncation", "repetition"},
    {"plugin_parity", "parity"},
    {"genrm_parse", "judge"},
    {"pairwise_position_switch", "judge"},
    {"swiss", "judge"},
    {"length_bias", "judge"},
};

const struct reward_area *reward_area_find(const char *name)
{
    for (size_t i = 0; areas[i] != NULL; i++)
        if (strcmp(areas[i]->name, name) == 0)
            return areas[i];
    return NULL;
}

const char *reward_area_names(void)
{
    static const char names[] = ""
#define ROW(name) #name " "
        REWARD_AREAS(ROW)
#undef ROW
        ;
    return names;
}

const struct reward_area *reward_area_of_kind(const char *kind)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i].kind, kind) == 0)
            return reward_area_find(kinds[i].area);
    return reward_area_find(kind);
}
