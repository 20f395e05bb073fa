/* model/arch_rope.c - the base of RoPE and how it is stretched to longer contexts.
 *
 * Old files: rope_theta and rope_scaling; transformers 5: rope_parameters with both inside. Both may be there, and a
 * conversion is known to drop one (M1-SPEC trap T2), so a difference is refused. A scaling changes the inverse
 * frequencies (and for yarn the length of the rotated vectors) once, in the tables that the model makes: no kernel knows. */
#include "model/arch.h"

#include <math.h>
#include <string.h>

#define ROPE_THETA_MAX 1e30
#define PI             3.14159265358979323846

static const char *const kinds[] = {"default", "linear", "llama3", "yarn"};
enum { ROPE_KINDS = sizeof kinds / sizeof kinds[0] };

static const char *const places[] = {"rope_parameters", "rope_scaling"};

/* ---- reading ---- */

/* The number `name` inside the object `place`; absent leaves *out alone unless it is REQUIRED. */
static enum status inner_real(const struct arch_config *config, const char *place, const char *name,
                              enum need need, double low, double high, double *out)
{
    const json_t *value = json_object_get(config_get(config, place), name);
    if ((value == NULL || json_is_null(value)) && need == OPTIONAL)
        return STATUS_OK;
    double number = json_is_number(value) ? json_number_value(value) : NAN;
    if (!(number >= low && number <= high))
        return FAIL(STATUS_INVALID, "%s: \"%s\": \"%s\" is %s, wanted a number in [%g, %g]",
                    config->path, place, name, value == NULL ? "absent" : "no such number", low,
                    high);
    *out = number;
    return STATUS_OK;
}

static enum status read_kind(const struct arch_config *config, const char *place,
                             enum rope_kind *kind)
{
    const json_t *object = config_get(config, place);
    const json_t *type = json_object_get(object, "rope_type");
    if (type == NULL)
        type = json_object_get(object, "type");
    const char *name = type == NULL ? "default" : json_string_value(type);
    for (int i = 0; i < ROPE_KINDS && name != NULL; i++)
        if (strcmp(name, kinds[i]) == 0) {
            *kind = (enum rope_kind)i;
            return STATUS_OK;
        }
    return config_fail_feature(config, place,
                               "rope_type default, linear, llama3 and yarn are; set it to null and "
                               "keep positions within the unscaled length");
}

static enum status read_llama3(const struct arch_config *config, const char *place,
                               struct rope_scaling *scaling)
{
    TRY(inner_real(config, place, "low_freq_factor", REQUIRED, 1e-3, 1e6, &scaling->low_frequency));
    TRY(inner_real(config, place, "high_freq_factor", REQUIRED, 1e-3, 1e6,
                   &scaling->high_frequency));
    if (!(scaling->high_frequency > scaling->low_frequency))
        return config_fail_value(config, place, "high_freq_factor above low_freq_factor inside");
    return inner_real(config, place, "original_max_position_embeddings", REQUIRED, 1, 1e12,
                      &scaling->original_positions);
}

static enum status read_yarn(const struct arch_config *config, const char *place,
                             struct rope_scaling *scaling)
{
    scaling->beta_fast = 32.0;
    scaling->beta_slow = 1.0;
    TRY(inner_real(config, place, "beta_fast", OPTIONAL, 1e-3, 1e6, &scaling->beta_fast));
    TRY(inner_real(config, place, "beta_slow", OPTIONAL, 1e-3, 1e6, &scaling->beta_slow));
    if (!(scaling->beta_fast > scaling->beta_slow))
        return config_fail_value(config, place, "beta_fast above beta_slow inside");
    TRY(inner_real(config, place, "attention_factor", OPTIONAL, 1e-6, 1e6,
                   &scaling->attention_factor));
    TRY(inner_real(config, place, "mscale", OPTIONAL, 0, 1e6, &scaling->mscale));
    TRY(inner_real(config, place, "mscale_all_dim", OPTIONAL, 0, 1e6, &scaling->mscale_all));
    const json_t *object = config_get(config, place);
    scaling->whole_bounds = !json_is_false(json_object_get(object, "truncate"));
    /* Files of the first days leave the length out and mean the one that they say they have. */
    double positions = 0;
    TRY(config_real(config, "max_position_embeddings", REQUIRED, 1, 1e12, &positions));
    scaling->original_positions = positions;
    TRY(inner_real(config, place, "original_max_position_embeddings", OPTIONAL, 1, 1e12,
                   &scaling->original_positions));
    /* And a factor of null is the ratio of the two lengths. */
    if (json_is_null(json_object_get(object, "factor")) && positions >= scaling->original_positions)
        scaling->factor = positions / scaling->original_positions;
    return STATUS_OK;
}

static enum status read_scaling(const struct arch_config *config, const char *place,
                                struct rope_scaling *scaling)
{
    TRY(read_kind(config, place, &scaling->kind));
    if (scaling->kind == ROPE_DEFAULT)
        return STATUS_OK;
    if (scaling->kind == ROPE_YARN)
        TRY(read_yarn(config, place, scaling));
    enum need need = scaling->factor > 0 ? OPTIONAL : REQUIRED;
    TRY(inner_real(config, place, "factor", need, 1.0, 1e6, &scaling->factor));
    return scaling->kind == ROPE_LLAMA3 ? read_llama3(config, place, scaling) : STATUS_OK;
}

static enum status read_place(const struct arch_config *config, const char *place, double *theta,
                              struct rope_scaling *scaling)
{
    const json_t *value = config_get(config, place);
    if (!json_is_object(value))
        return config_fail_value(config, place, "an object");
    TRY(read_scaling(config, place, scaling));
    const json_t *part = json_object_get(value, "partial_rotary_factor");
    if (json_is_number(part) && !(json_number_value(part) >= 1.0))
        return config_fail_feature(config, place, "rotary must cover the head");
    double number = 0;
    TRY(inner_real(config, place, "rope_theta", OPTIONAL, 1.0, ROPE_THETA_MAX, &number));
    if (number > 0 && *theta > 0 && (*theta < number || *theta > number))
        return FAIL(STATUS_INVALID,
                    "%s: \"rope_theta\" is %g but \"%s\" says %g; keep the one the model was "
                    "trained with",
                    config->path, *theta, place, number);
    *theta = number > 0 ? number : *theta;
    return STATUS_OK;
}

enum status arch_read_rope(const struct arch_config *config, struct model_shape *shape)
{
    double theta = 0;
    bool found = false;
    TRY(config_real(config, "rope_theta", OPTIONAL, 1.0, ROPE_THETA_MAX, &theta));
    for (int i = 0; i < 2; i++) {
        struct rope_scaling scaling;
        memset(&scaling, 0, sizeof scaling);
        if (config_get(config, places[i]) == NULL)
            continue;
        TRY(read_place(config, places[i], &theta, &scaling));
        if (found && memcmp(&scaling, &shape->rope_scaling, sizeof scaling) != 0)
            return config_fail_value(config, places[i], "the same scaling as in rope_parameters");
        shape->rope_scaling = scaling;
        found = true;
    }
    if (!(theta > 0))
        theta = arch_of(shape->arch)->rope_theta;
    if (!(theta > 0))
        return config_fail_value(config, "rope_theta", "a number >= 1, here or in rope_parameters");
    shape->rope_theta = theta;
    if (shape->rope_scaling.kind == ROPE_YARN && !(theta > 1.0))
        return config_fail_value(config, "rope_theta", "more than 1 with yarn");
    return config_refuse_other(config, "partial_rotary_factor", 1.0, "rotary must cover the head");
}

/* ---- writing ---- */

/* Lengths are integers to those who check types. */
static json_t *json_whole(double number)
{
    bool whole = floor(number) >= number;
    return whole ? json_integer((json_int_t)number) : json_real(number);
}

static json_t *json_scaling(const struct model_shape *shape)
{
    const struct rope_scaling *scaling = &shape->rope_scaling;
    json_t *object =
        json_pack("{s:f, s:s}", "rope_theta", shape->rope_theta, "rope_type", kinds[scaling->kind]);
    if (scaling->kind == ROPE_DEFAULT)
        return object;
    json_object_set_new(object, "factor", json_real(scaling->factor));
    if (scaling->original_positions > 0)
        json_object_set_new(object, "original_max_position_embeddings",
                            json_whole(scaling->original_positions));
    if (scaling->kind == ROPE_LLAMA3) {
        json_object_set_new(object, "low_freq_factor", json_real(scaling->low_frequency));
        json_object_set_new(object, "high_freq_factor", json_real(scaling->high_frequency));
    }
    if (scaling->kind != ROPE_YARN)
        return object;
    json_object_set_new(object, "beta_fast", json_real(scaling->beta_fast));
    json_object_set_new(object, "beta_slow", json_real(scaling->beta_slow));
    if (scaling->attention_factor > 0)
        json_object_set_new(object, "attention_factor", json_real(scaling->attention_factor));
    if (scaling->mscale > 0)
        json_object_set_new(object, "mscale", json_real(scaling->mscale));
    if (scaling->mscale_all > 0)
        json_object_set_new(object, "mscale_all_dim", json_real(scaling->mscale_all));
    if (!scaling->whole_bounds)
        json_object_set_new(object, "truncate", json_false());
    return object;
}

/* Programs before transformers 5 know rope_theta and rope_scaling, those after it rope_parameters. */
void arch_write_rope(const struct model_shape *shape, json_t *root)
{
    json_object_set_new(root, "rope_theta", json_real(shape->rope_theta));
    json_object_set_new(root, "rope_parameters", json_scaling(shape));
    if (shape->rope_scaling.kind != ROPE_DEFAULT)
        json_object_set_new(root, "rope_scaling", json_scaling(shape));
}

/* ---- frequencies ---- */

/* Llama 3.1: what turns often enough within the original length stays, what turns less than low_frequency times is
 * divided by the factor, and between the two a line (the rule that Meta published with the model). */
static double llama3(const struct rope_scaling *scaling, double frequency)
{
    double turns = scaling->original_positions * frequency / (2.0 * PI);
    if (turns < scaling->low_frequency)
        return frequency / scaling->factor;
    if (turns > scaling->high_frequency)
        return frequency;
    double smooth =
        (turns - scaling->low_frequency) / (scaling->high_frequency - scaling->low_frequency);
    return (1.0 - smooth) * frequency / scaling->factor + smooth * frequency;
}

/* The pair (counted from 0, broken) that turns `turns` times within the original length. */
static double yarn_pair(const struct rope_scaling *scaling, double theta, int32_t rotary,
                        double turns)
{
    return rotary * log(scaling->original_positions / (turns * 2.0 * PI)) / (2.0 * log(theta));
}

/* YaRN (Peng et al., arXiv:2309.00071) section 3.2: pairs that turn more than beta_fast times stay, those below
 * beta_slow are interpolated, a ramp over the index of the pair between. */
static double yarn(const struct rope_scaling *scaling, double theta, int32_t rotary, int32_t pair,
                   double frequency)
{
    double low = yarn_pair(scaling, theta, rotary, scaling->beta_fast);
    double high = yarn_pair(scaling, theta, rotary, scaling->beta_slow);
    if (scaling->whole_bounds) {
        low = floor(low);
        high = ceil(high);
    }
    low = low > 0.0 ? low : 0.0;
    high = high < rotary - 1.0 ? high : rotary - 1.0;
    high = high > low || high < low ? high : high + 0.001;
    double ramp = (pair - low) / (high - low);
    ramp = ramp < 0.0 ? 0.0 : ramp > 1.0 ? 1.0 : ramp;
    return frequency / scaling->factor * ramp + frequency * (1.0 - ramp);
}

static double mscale(double factor, double weight)
{
    return factor <= 1.0 ? 1.0 : 0.1 * weight * log(factor) + 1.0;
}

/* YaRN section 3.4: sqrt(1/t) = 0.1 ln s + 1 on queries and keys, so its square on the scores. */
static double yarn_length(const struct rope_scaling *scaling)
{
    if (scaling->attention_factor > 0.0)
        return scaling->attention_factor;
    if (scaling->mscale > 0.0 && scaling->mscale_all > 0.0)
        return mscale(scaling->factor, scaling->mscale) /
               mscale(scaling->factor, scaling->mscale_all);
    return mscale(scaling->factor, 1.0);
}

double model_rope_length(const struct rope_scaling *scaling)
{
    return scaling->kind == ROPE_YARN ? yarn_length(scaling) : 1.0;
}

int64_t model_positions(const struct model_shape *shape)
{
    const struct rope_scaling *scaling = &shape->rope_scaling;
    double stretched =
        scaling->kind == ROPE_YARN ? scaling->original_positions * scaling->factor : 0.0;
    return stretched > (double)shape->positions_max ? (int64_t)stretched : shape->positions_max;
}

double model_rope_frequency(const struct rope_scaling *scaling, double theta, int32_t rotary,
                            int32_t pair)
{
    double frequency = pow(theta, -2.0 * pair / rotary);
    switch (scaling->kind) {
    case ROPE_LINEAR:
        return frequency / scaling->factor;
    case ROPE_LLAMA3:
        return llama3(scaling, frequency);
    case ROPE_YARN:
        return yarn(scaling, theta, rotary, pair, frequency);
    case ROPE_DEFAULT:
        break;
    }
    return frequency;
}
