/* Wants whole groups. */
#define CAPS WEIR_REWARD_CAP_GROUP
#include "tests/plugins/refused.h"
