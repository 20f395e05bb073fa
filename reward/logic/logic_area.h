/* reward/logic/logic_area.h - the area of the logic tasks (reward/area.h). Stateless, any thread. */
#ifndef REWARD_LOGIC_LOGIC_AREA_H
#define REWARD_LOGIC_LOGIC_AREA_H

#include "reward/area.h"

extern const struct reward_area logic_area;

#endif
