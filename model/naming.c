/* model/naming.c - one network under two architectures: MiniMaxAI's own code (minimax_m1) and transformers' `minimax`.
 *
 * The tensors have the same names and shapes in both; config.json has other keys. Native code rotates whole heads and
 * takes the plain ladder of decay slopes for every count of heads (M1-SPEC 1.4, 1.5), so a model that needs otherwise
 * would be another one there. Its ladder over the layers ends 1e-5 further away: at most 1.3e-7 of a slope. */
#include <stdbool.h>

#include "model/folder.h"

static bool is_minimax(const struct model_shape *shape)
{
    return shape->arch == ARCH_MINIMAX_M1 || shape->arch == ARCH_MINIMAX_NATIVE;
}

static enum status check_same(const struct model_shape *shape)
{
    if (shape->rotary != shape->head_size)
        return FAIL(STATUS_UNSUPPORTED,
                    "native minimax rotates whole heads and ignores rotary_dim; this model has "
                    "rotary_dim %d of head_dim %d and would compute something else there",
                    shape->rotary, shape->head_size);
    if ((shape->heads & (shape->heads - 1)) != 0)
        return FAIL(STATUS_UNSUPPORTED,
                    "native minimax and MiniMaxAI's code have other decay slopes for %d heads, "
                    "which is no power of two",
                    shape->heads);
    return STATUS_OK;
}

enum status model_shape_rename(const struct model_shape *shape, enum model_naming naming,
                               struct model_shape *renamed)
{
    struct model_shape result = *shape;
    if (naming != NAMING_HF && !is_minimax(shape))
        return FAIL(STATUS_UNSUPPORTED, "naming %s is for MiniMax models, this one is %s",
                    naming == NAMING_MINIMAX ? "minimax" : "native", model_arch_name(shape->arch));
    enum model_arch arch = naming == NAMING_HF        ? shape->arch
                           : naming == NAMING_MINIMAX ? ARCH_MINIMAX_M1
                                                      : ARCH_MINIMAX_NATIVE;
    if (arch != shape->arch) {
        TRY(check_same(shape));
        result.arch = arch;
        result.lightning_layer_epsilon = arch == ARCH_MINIMAX_M1 ? 0.0 : 1e-5;
    }
    *renamed = result;
    return STATUS_OK;
}
