/* model/arch.c - the list of architectures. */
#include "model/arch.h"

#include <string.h>

#include "core/check.h"

/* Every file's rows; what is written under a model_type of an enum model_arch is the first with it. */
static const struct arch *const archs[] = {
    &arch_minimax_m1, &arch_minimax_text_01, &arch_minimax_native, &arch_qwen2,   &arch_qwen3,
    &arch_llama,      &arch_gemma3,          &arch_qwen3_moe,      &arch_mixtral, &arch_mistral,
};
enum { ARCH_ROWS = sizeof archs / sizeof archs[0] };

const struct arch_names arch_names_llama = {ARCH_NAMES_LLAMA};

const struct arch *arch_of(enum model_arch id)
{
    int row = 0;
    while (row < ARCH_ROWS && archs[row]->id != id)
        row++;
    CHECK(row < ARCH_ROWS);
    return archs[row];
}

const struct arch *arch_find(const char *model_type)
{
    for (int row = 0; row < ARCH_ROWS; row++)
        if (strcmp(archs[row]->model_type, model_type) == 0)
            return archs[row];
    return NULL;
}

const char *arch_list(void)
{
    static _Thread_local char text[32 * ARCH_ROWS];
    size_t used = 0;
    for (int row = 0; row < ARCH_ROWS; row++) {
        const char *name = archs[row]->model_type;
        size_t size = strlen(name);
        CHECK(used + size + 3 < sizeof text);
        memcpy(text + used, name, size);
        used += size;
        memcpy(text + used, row + 1 < ARCH_ROWS ? ", " : "", row + 1 < ARCH_ROWS ? 3 : 1);
        used += 2;
    }
    return text;
}

const char *model_arch_name(enum model_arch arch)
{
    return arch_of(arch)->architecture;
}
