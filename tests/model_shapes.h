/* tests/model_shapes.h - shapes of small models that several tests build. */
#ifndef TESTS_MODEL_SHAPES_H
#define TESTS_MODEL_SHAPES_H

#include "model/shape.h"

/* M1 in small: two lightning layers to one softmax, rotary on half of a head, H D != C. */
static inline struct model_shape hybrid_shape(void)
{
    struct model_shape shape = {.arch = ARCH_MINIMAX_M1,
                                .vocabulary = 67,
                                .hidden = 48,
                                .intermediate = 40,
                                .layers = 3,
                                .heads = 4,
                                .kv_heads = 2,
                                .head_size = 16,
                                .rotary = 8,
                                .experts = 5,
                                .experts_per_token = 2,
                                .postnorm = true,
                                .rope_theta = 1e7,
                                .rms_norm_eps = 1e-5,
                                .lightning_norm_eps = 1e-6,
                                .alpha_lightning = 1.5,
                                .beta_lightning = 1.0,
                                .alpha_softmax = 1.6,
                                .beta_softmax = 0.9,
                                .alpha_mlp = 1.7,
                                .beta_mlp = 1.1,
                                .initializer_range = 0.2,
                                .positions_max = 4096};
    shape.layer_kind[1] = LAYER_SOFTMAX;
    return shape;
}

#endif
