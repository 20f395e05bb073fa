/* reward/compose_plugin.h - a recipe as a plugin: reward.plugin: path/to/recipe.yaml
 *
 * Each part is a plugin of its own (built in, shared object, Python), opened when the recipe is. Parts are asked in the
 * order of the recipe, so that a gate saves the call of the part behind it. Metrics: "<part>" its value,
 * "<part>/<metric>" what it measured, "verified" and "judge" the values of the parts that the recipe names so. */
#ifndef REWARD_COMPOSE_PLUGIN_H
#define REWARD_COMPOSE_PLUGIN_H

#include "reward/plugin_instance.h"

/* INVALID: the recipe's text, or a part does not open; the sentence names file and line. */
MUST_CHECK enum status compose_plugin_open(struct plugin_instance *instance,
                                           const struct reward_settings *settings);

#endif
